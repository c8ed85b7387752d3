//! The one lifecycle of all alerts: pending, firing, resolved.
//!
//! A finding creates or refreshes the alert of its key. The alert fires when findings have lasted `for_s`, and
//! resolves when none came for `keep_firing_for_s`: Prometheus' two knobs and its state names. A pending alert whose
//! findings stop before it fires goes without a word, as in Prometheus.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tocsin_proto::pb::notification::Evidence;

use crate::rules::{Finding, Severity};
use crate::time::Timestamp;
use crate::windows::key::Key;

mod trail;

pub use trail::{Measure, POINTS_MAX, Telling};

use trail::Trail;

/// State of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum State {
    Pending,
    Firing,
    Resolved,
}

impl State {
    /// The word Prometheus uses.
    pub fn name(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Firing => "firing",
            State::Resolved => "resolved",
        }
    }
}

/// How long findings must last and may stay away.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Findings must last this long before the alert fires.
    pub pending_for: Duration,
    /// The alert keeps firing this long without findings.
    pub keep_firing_for: Duration,
}

/// An alert that is pending or firing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Alert {
    /// Pending or firing.
    pub state: State,
    /// First finding.
    pub since: Timestamp,
    /// When it entered firing, if it fires.
    pub fired_at: Option<Timestamp>,
    /// Newest finding.
    pub last_finding_at: Timestamp,
    /// The newest finding.
    pub finding: Finding,
    /// What its first finding said of how bad it is, if it said so. It is kept, for it is part of what the alert is known by.
    severity: Option<Severity>,
    /// The rule still found it when it last looked.
    pub holds: bool,
    /// When the script last put the finding together.
    told_at: Timestamp,
    trail: Trail,
}

impl Alert {
    /// The rule holds at this instant. Returns the state the alert entered, if it entered one.
    fn hold(&mut self, at: Timestamp, timing: Timing) -> Option<State> {
        self.last_finding_at = at;
        self.holds = true;
        let has_lasted = at.ms_since(self.since) >= timing.pending_for.as_millis() as i64;
        if self.state == State::Firing || !has_lasted {
            return None;
        }
        (self.state, self.fired_at) = (State::Firing, Some(at));
        Some(State::Firing)
    }

    /// How bad it is, if the rule's findings are as bad as `of_rule`.
    pub fn severity(&self, of_rule: Severity) -> Severity {
        self.severity.map_or(of_rule, |own| own.min(of_rule))
    }

    /// When it began to fire; the first finding while it is pending.
    pub fn began_at(&self) -> Timestamp {
        self.fired_at.unwrap_or(self.since)
    }

    /// What its values are.
    pub fn measure(&self) -> &Measure {
        &self.trail.measure
    }

    /// What was measured over time, in at most [`POINTS_MAX`] points: what the window shows of the time before the first
    /// finding, then each finding the script told.
    pub fn evidence(&self) -> Evidence {
        self.trail.evidence()
    }

    /// Notes what is measured although no script told it.
    pub fn note_value(&mut self, at: Timestamp, value: f64) {
        self.trail.measure(at, value, self.finding.limit.number());
    }
}

/// The alerts of one rule on one node, by key.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Alerts {
    active: BTreeMap<Key, Alert>,
}

impl Alerts {
    /// A finding for a key. Returns the state the alert entered, if it entered one.
    pub fn refresh(&mut self, key: Key, telling: Telling, at: Timestamp, timing: Timing) -> Option<State> {
        let is_new = !self.active.contains_key(&key);
        let alert = self.active.entry(key).or_insert_with(|| Alert {
            state: State::Pending,
            since: at,
            fired_at: None,
            last_finding_at: at,
            finding: telling.finding.clone(),
            severity: telling.finding.severity,
            holds: true,
            told_at: at,
            trail: Trail::before(&telling, at),
        });
        alert.trail.tell(&telling, at);
        alert.told_at = at;
        alert.finding = telling.finding;
        alert.hold(at, timing).or(is_new.then_some(State::Pending))
    }

    /// Nothing changed for a key since the rule last looked: what it found then still holds. Returns the state the
    /// alert entered, if it entered one.
    pub fn keep(&mut self, key: &Key, at: Timestamp, timing: Timing) -> Option<State> {
        let alert = self.active.get_mut(key).filter(|alert| alert.holds)?;
        let entered = alert.hold(at, timing)?;
        // What fires is shown up to the instant it began to.
        alert.trail.note(&alert.finding, at);
        Some(entered)
    }

    /// The rule certainly still holds for a key: if its alert is firing and its finding is younger than this, the
    /// alert goes on with it. False if the finding must be put together anew.
    pub fn keep_firing(&mut self, key: &Key, at: Timestamp, told_within_ms: i64) -> bool {
        match self.active.get_mut(key) {
            Some(alert) if alert.state == State::Firing && at.ms_since(alert.told_at) < told_within_ms => {
                alert.last_finding_at = at;
                alert.holds = true;
                true
            }
            _ => false,
        }
    }

    /// The rule looked at a key and found nothing.
    pub fn release(&mut self, key: &Key) {
        if let Some(alert) = self.active.get_mut(key) {
            alert.holds = false;
        }
    }

    /// Measures the firing alerts of which nothing was noted for so long; `value` says what is measured of one now, if that
    /// can be known. So it shows what became of them, also when the rule finds nothing any more.
    pub fn note_values(
        &mut self,
        now: Timestamp,
        every_ms: i64,
        value: impl Fn(&Key, &Measure) -> Option<f64>,
    ) {
        let is_due = |alert: &Alert| {
            alert.state == State::Firing
                && alert.trail.last_at().is_some_and(|last| now.ms_since(last) >= every_ms)
        };
        for (key, alert) in self.active.iter_mut().filter(|(_, alert)| is_due(alert)) {
            if let Some(value) = value(key, &alert.trail.measure) {
                alert.note_value(now, value);
            }
        }
    }

    /// Ends the alerts that no finding keeps alive at `now`. Returns those that were firing, in order of their keys.
    pub fn settle(&mut self, now: Timestamp, timing: Timing) -> Vec<(Key, Alert)> {
        let ends = |alert: &Alert| match alert.state {
            State::Firing => {
                alert.last_finding_at < now
                    && now.ms_since(alert.last_finding_at) >= timing.keep_firing_for.as_millis() as i64
            }
            _ => alert.last_finding_at < now,
        };
        if !self.active.values().any(ends) {
            return Vec::new();
        }
        let (ended, active) =
            std::mem::take(&mut self.active).into_iter().partition(|(_, alert)| ends(alert));
        self.active = active;
        let ended: BTreeMap<Key, Alert> = ended;
        ended.into_iter().filter(|(_, alert)| alert.state == State::Firing).collect()
    }

    /// All alerts, in order of their keys.
    pub fn into_all(self) -> impl Iterator<Item = (Key, Alert)> {
        self.active.into_iter()
    }

    /// Keys with an alert, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.active.keys()
    }

    /// The alert of a key.
    pub fn get(&self, key: &Key) -> Option<&Alert> {
        self.active.get(key)
    }

    /// True if any alert is firing.
    pub fn any_firing(&self) -> bool {
        self.active.values().any(|alert| alert.state == State::Firing)
    }

    /// Number of alerts pending and firing.
    pub fn count(&self, state: State) -> usize {
        self.active.values().filter(|alert| alert.state == state).count()
    }

    /// Number of alerts.
    pub fn len(&self) -> usize {
        self.active.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::Reading;

    fn telling_of(severity: Option<Severity>) -> Telling {
        let (value, limit) = (Reading::Int(1), Reading::Int(0));
        let finding = Finding { value, limit, summary: "x".into(), node: None, severity };
        Telling { finding, measure: Measure::default(), series: Vec::new() }
    }

    fn telling() -> Telling {
        telling_of(None)
    }

    /// Findings at these seconds, ticks every 5 s: the states entered, with their seconds.
    #[track_caller]
    fn check(for_s: u64, keep_s: u64, findings_s: &[i64], expected: &[(i64, State)]) {
        let timing =
            Timing { pending_for: Duration::from_secs(for_s), keep_firing_for: Duration::from_secs(keep_s) };
        let mut alerts = Alerts::default();
        let mut entered = Vec::new();
        for second in (0..100).step_by(5) {
            let now = Timestamp::from_unix_s(second);
            if findings_s.contains(&second) {
                let state = alerts.refresh(Key::default(), telling(), now, timing);
                entered.extend(state.map(|state| (second, state)));
            }
            entered.extend(alerts.settle(now, timing).iter().map(|_| (second, State::Resolved)));
        }
        assert_eq!(entered, expected);
    }

    #[test]
    fn without_for_s_the_first_finding_fires() {
        check(0, 20, &[5, 10], &[(5, State::Firing), (30, State::Resolved)]);
    }

    #[test]
    fn findings_must_last_for_s_before_the_alert_fires() {
        check(10, 0, &[5, 10, 15], &[(5, State::Pending), (15, State::Firing), (20, State::Resolved)]);
    }

    #[test]
    fn a_pending_alert_that_never_fires_goes_without_a_word() {
        check(10, 60, &[5, 10, 30], &[(5, State::Pending), (30, State::Pending)]);
    }

    #[test]
    fn a_finding_within_keep_firing_for_s_keeps_the_alert() {
        check(0, 15, &[5, 15, 25], &[(5, State::Firing), (40, State::Resolved)]);
    }

    #[test]
    fn an_alert_keeps_the_severity_it_began_with() {
        let timing = Timing { pending_for: Duration::ZERO, keep_firing_for: Duration::from_secs(10) };
        let mut alerts = Alerts::default();
        let severity_at = |alerts: &mut Alerts, second: i64, severity| {
            let now = Timestamp::from_unix_s(second);
            alerts.settle(now, timing);
            alerts.refresh(Key::default(), telling_of(severity), now, timing);
            alerts.get(&Key::default()).expect("it fires").severity(Severity::Warning)
        };
        assert_eq!(severity_at(&mut alerts, 0, Some(Severity::Info)), Severity::Info);
        assert_eq!(severity_at(&mut alerts, 5, None), Severity::Info);
        assert_eq!(severity_at(&mut alerts, 20, None), Severity::Warning);
        assert_eq!(severity_at(&mut alerts, 25, Some(Severity::Info)), Severity::Warning);
        assert_eq!(severity_at(&mut alerts, 60, Some(Severity::Critical)), Severity::Warning);
    }
}
