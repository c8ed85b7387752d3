//! A dispatcher on simulated time, played from lines.
//!
//! ```text
//! 0s fire a/1 severity=critical     alert "a" with the label peer="1" begins to fire
//! 30s chat: first a/1               what is told; resolved alerts have a "-", flapping ones a "~"
//! 1m reconcile a/1 ?b               the engine says what fires, and what is pending
//! until 1h                          how long to wait in the end
//! ```

use std::collections::BTreeMap;

use tocsin_engine::dispatch::alert::{AlertChange, AlertState, Fingerprint, Labels};
use tocsin_engine::dispatch::decision::{Decision, DecisionKind};
use tocsin_engine::dispatch::matcher::Matcher;
use tocsin_engine::dispatch::routing::{RateLimit, Receiver, Routing, Written};
use tocsin_engine::dispatch::silence::SilenceDraft;
use tocsin_engine::dispatch::{Dispatcher, Input, Outcome, Row, Table};
use tocsin_engine::time::Timestamp;
use tocsin_proto::Span;
use tocsin_proto::pb::notification::{Notification, Reason, Status};

/// 2027-01-15T08:00:00Z, a Friday.
pub const START_MS: i64 = 1_800_000_000_000;

pub struct Scene {
    routing: Routing,
    pub dispatcher: Dispatcher,
    pub now: Timestamp,
    /// What was told, as lines.
    pub lines: Vec<String>,
    pub notifications: Vec<Notification>,
    decisions: Vec<Decision>,
    /// What a store would hold.
    pub rows: BTreeMap<(Table, String), String>,
    /// Episodes by name: when the engine says they began.
    episodes: BTreeMap<String, Timestamp>,
    /// Labels by name, as they last fired.
    fired: BTreeMap<String, Labels>,
}

impl std::fmt::Debug for Scene {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:#?}", self.lines)?;
        for decision in &self.decisions {
            writeln!(f, "{:?} {:?}: {}", decision.at, decision.kind, decision.reason)?;
        }
        Ok(())
    }
}

/// `chat` is told everything, `phone` wakes people, `mute` wants no resolves, `slow` has a rate limit.
pub fn receivers() -> Vec<Receiver> {
    let receiver = |name: &str| Receiver {
        name: name.to_string(),
        wakes: name == "phone",
        send_resolved: name != "mute",
        rate_limit: (name == "slow").then_some(RateLimit { notifications: 2, per: Span::from_secs(1200) }),
    };
    ["chat", "phone", "mute", "slow"].map(receiver).into()
}

pub fn try_routing(toml: &str) -> Result<Routing, Vec<String>> {
    let written: Written = toml::from_str(toml).map_err(|error| vec![error.to_string()])?;
    Routing::new(written, receivers())
}

#[track_caller]
pub fn routing(toml: &str) -> Routing {
    try_routing(toml).expect("a right routing")
}

/// Plays a script; what is told must be what it says.
#[track_caller]
pub fn check(toml: &str, script: &str) -> Scene {
    let is_told = |line: &&str| line.split(' ').nth(1).is_some_and(|word| word.ends_with(':'));
    let expected: Vec<&str> = script.lines().map(str::trim).filter(is_told).collect();
    let scene = Scene::played(toml, script);
    assert_eq!(scene.lines, expected, "{scene:?}");
    scene
}

/// Plays a script; returns what is told.
pub fn told(toml: &str, script: &str) -> Vec<String> {
    Scene::played(toml, script).lines
}

impl Scene {
    #[track_caller]
    pub fn new(toml: &str) -> Scene {
        Scene {
            dispatcher: Dispatcher::new(routing(toml)),
            routing: routing(toml),
            now: Timestamp::from_unix_ms(START_MS),
            lines: Vec::new(),
            notifications: Vec::new(),
            decisions: Vec::new(),
            rows: BTreeMap::new(),
            episodes: BTreeMap::new(),
            fired: BTreeMap::new(),
        }
    }

    #[track_caller]
    pub fn played(toml: &str, script: &str) -> Scene {
        let mut scene = Scene::new(toml);
        scene.play(script);
        scene
    }

    #[track_caller]
    pub fn play(&mut self, script: &str) {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (time, rest) = line.split_once(' ').expect("a time and what happens");
            if time == "until" {
                self.run_until(rest);
            } else if !rest.split(' ').next().is_some_and(|word| word.ends_with(':')) {
                self.run_to(instant(time), Ending::Before);
                self.input(rest);
            }
        }
    }

    pub fn run_until(&mut self, time: &str) {
        self.run_to(instant(time), Ending::With);
    }

    /// Ticks whenever something is due.
    fn run_to(&mut self, end: Timestamp, ending: Ending) {
        let end_of_ticks = if ending == Ending::With { end.plus_ms(1) } else { end };
        while self.tick_before(end_of_ticks).is_some() {}
        self.now = self.now.max(end);
    }

    /// Ticks if something is due before.
    fn tick_before(&mut self, end: Timestamp) -> Option<Outcome> {
        let due = self.dispatcher.next_due().filter(|due| *due < end)?;
        self.now = self.now.max(due);
        Some(self.step(Input::Tick))
    }

    /// Ticks if something is due in so many seconds after the start; otherwise it is as late as that.
    pub fn tick_within(&mut self, at_s: u64) -> Option<Outcome> {
        let end = Timestamp::from_unix_ms(START_MS + at_s as i64 * 1000);
        let outcome = self.tick_before(end);
        if outcome.is_none() {
            self.now = self.now.max(end);
        }
        outcome
    }

    #[track_caller]
    pub fn input(&mut self, line: &str) -> Outcome {
        let mut words = line.split(' ');
        let (verb, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let options: Vec<(&str, &str)> =
            words.clone().map(|word| word.split_once('=').unwrap_or((word, ""))).collect();
        let option = |name: &str| options.iter().find(|(option, _)| *option == name).map(|(_, value)| *value);
        let by = words.next().unwrap_or_default().to_string();
        let input = match verb {
            "restart" => {
                let notes = self.restart(self.routing.clone());
                assert_eq!(notes, [""; 0]);
                return Outcome::default();
            }
            "away" => {
                self.now = self.now.plus_ms(span_ms(name));
                let notes = self.restart(self.routing.clone());
                assert_eq!(notes, [""; 0]);
                return Outcome::default();
            }
            "fire" => Input::Changed(self.change(name, AlertState::Firing, &options)),
            "resolve" => Input::Changed(self.change(name, AlertState::Resolved, &options)),
            "refresh" => Input::Refreshed(self.change(name, AlertState::Firing, &[("since", "known")])),
            "reconcile" => {
                let names =
                    line.split(' ').skip(1).map(|name| (name.starts_with('?'), name.trim_start_matches('?')));
                let names = names.map(|(is_pending, name)| (is_pending, Fingerprint::of(&labels(name, &[]))));
                let (pending, firing): (Vec<_>, Vec<_>) = names.partition(|(is_pending, _)| *is_pending);
                let ids = |named: Vec<(bool, Fingerprint)>| named.into_iter().map(|(_, id)| id).collect();
                Input::Reconciled { firing: ids(firing), pending: ids(pending) }
            }
            "silence" => Input::Silence {
                id: name.to_string(),
                draft: SilenceDraft {
                    matchers: vec![
                        Matcher::parse(&format!("alertname={}", option("alertname").unwrap_or_default()))
                            .expect("right"),
                    ],
                    starts_at: option("start").map_or(self.now, instant),
                    ends_at: instant(option("until").expect("an end")),
                    created_by: "anna".to_string(),
                    comment: "upgrade".to_string(),
                },
            },
            "expire" => Input::ExpireSilence { id: name.to_string() },
            "ack" => Input::Acknowledge {
                fingerprint: Fingerprint::of(&labels(name, &[])),
                by,
                comment: "on it".to_string(),
            },
            "unack" => Input::Unacknowledge { fingerprint: Fingerprint::of(&labels(name, &[])), by },
            verb => panic!("{verb}: nothing that can happen"),
        };
        self.step(input)
    }

    /// Decisions of a kind that came with a notification, by alert.
    pub fn told_decisions(&self, kind: DecisionKind) -> BTreeMap<Fingerprint, usize> {
        let mut counts = BTreeMap::new();
        let told =
            self.decisions.iter().filter(|decision| decision.kind == kind && decision.notification.is_some());
        told.for_each(|decision| *counts.entry(decision.fingerprint).or_default() += 1);
        counts
    }

    #[track_caller]
    pub fn refused(&mut self, line: &str) -> String {
        self.input(line).refused.expect("refused")
    }

    fn change(&mut self, name: &str, state: AlertState, options: &[(&str, &str)]) -> AlertChange {
        let option = |name: &str| options.iter().find(|(option, _)| *option == name).map(|(_, value)| *value);
        let ago = |text: &str| self.now.plus_ms(-span_ms(text.trim_start_matches('-')));
        let at = option("at").map_or(self.now, ago);
        let known = self.episodes.get(name).copied();
        let starts_at = match (option("since"), state) {
            (Some("known"), _) | (None, AlertState::Resolved) => known.unwrap_or(self.now),
            (Some(text), _) => ago(text),
            (None, AlertState::Firing) => self.now,
        };
        if state == AlertState::Firing && known.is_none_or(|known| known < starts_at) {
            self.episodes.insert(name.to_string(), starts_at);
        }
        // An alert resolves with the labels it fired with.
        let plain: Vec<(&str, &str)> =
            options.iter().filter(|(name, _)| !["since", "at", "summary"].contains(name)).copied().collect();
        let labels = match self.fired.get(name).filter(|_| plain.is_empty()) {
            Some(labels) => labels.clone(),
            None => labels(name, &plain),
        };
        self.fired.insert(name.to_string(), labels.clone());
        let summary = option("summary").map_or(format!("{name} is bad"), str::to_string);
        AlertChange {
            at,
            state,
            labels,
            annotations: [("summary".to_string(), summary)].into(),
            starts_at,
            value: Some(7.0),
            limit: Some(5.0),
            evidence: Default::default(),
        }
    }

    pub fn step(&mut self, input: Input) -> Outcome {
        let outcome = self.dispatcher.step(self.now, input);
        for notification in &outcome.notifications {
            assert_eq!(notification.decided_at, self.now.unix_ms());
            self.lines.push(format!("{} {}", time(self.now), line(notification)));
            self.notifications.push(notification.clone());
        }
        self.decisions.extend(outcome.decisions.iter().cloned());
        for Row { table, key, value } in outcome.rows.iter().cloned() {
            match value {
                Some(value) => self.rows.insert((table, key), value),
                None => self.rows.remove(&(table, key)),
            };
        }
        let due = self.dispatcher.next_due();
        assert!(due.is_none_or(|due| self.now < due), "{due:?} is not after {:?}", self.now);
        outcome
    }

    /// What a store has.
    pub fn rows(&self) -> Vec<Row> {
        let row = |((table, key), value): (&(Table, String), &String)| Row {
            table: *table,
            key: key.clone(),
            value: Some(value.clone()),
        };
        self.rows.iter().map(row).collect()
    }

    /// Goes on with what the store has.
    pub fn restart(&mut self, routing: Routing) -> Vec<String> {
        let (dispatcher, notes) = Dispatcher::restore(routing, &self.rows());
        self.dispatcher = dispatcher;
        self.step(Input::Tick);
        notes
    }

    pub fn told_to(&self, receiver: &str) -> impl Iterator<Item = &Notification> {
        self.notifications.iter().filter(move |notification| notification.receiver == receiver)
    }

    /// Decisions about an alert.
    #[track_caller]
    pub fn decisions(&self, name: &str) -> Vec<String> {
        let fingerprint = Fingerprint::of(self.fired.get(name).expect("an alert that fired"));
        let own = self.decisions.iter().filter(|decision| decision.fingerprint == fingerprint);
        own.map(|decision| {
            let receiver = decision.receiver.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
            format!("{:?}{receiver}: {}", decision.kind, decision.reason)
        })
        .collect()
    }
}

#[derive(PartialEq)]
enum Ending {
    Before,
    With,
}

/// `a/1` is alert "a" of peer 1.
pub fn labels(name: &str, more: &[(&str, &str)]) -> Labels {
    let (alert, peer) = name.split_once('/').unwrap_or((name, ""));
    let plain =
        [("alertname", alert), ("node", "n"), ("severity", "warning"), ("status", "stable"), ("peer", peer)];
    let labels = plain.iter().chain(more).map(|(name, value)| (name.to_string(), value.to_string()));
    labels.filter(|(_, value)| !value.is_empty()).collect::<BTreeMap<_, _>>()
}

fn line(notification: &Notification) -> String {
    let reason = match notification.reason() {
        Reason::FirstNotification => "first".to_string(),
        Reason::NewAlerts => "new".to_string(),
        Reason::RepeatInterval => "repeat".to_string(),
        reason => reason.as_str_name().to_lowercase(),
    };
    let alerts = notification.alerts.iter().map(|alert| {
        let mark = match (alert.flapping, alert.status()) {
            (true, _) => "~",
            (false, Status::Resolved) => "-",
            _ => "",
        };
        let peer = alert.labels.get("peer").map(|peer| format!("/{peer}")).unwrap_or_default();
        format!(" {mark}{}{peer}", alert.labels["alertname"])
    });
    format!("{}: {reason}{}", notification.receiver, alerts.collect::<String>())
}

/// `1h5m30s` after the start.
fn instant(text: &str) -> Timestamp {
    Timestamp::from_unix_ms(START_MS + span_ms(text))
}

fn span_ms(text: &str) -> i64 {
    text.split_inclusive(['d', 'h', 'm', 's'])
        .map(|part| part.parse::<Span>().expect("a span").millis())
        .sum()
}

pub fn time(at: Timestamp) -> String {
    let mut rest = (at.unix_ms() - START_MS) / 1000;
    let mut text = String::new();
    for (unit, name) in [(3600, "h"), (60, "m"), (1, "s")] {
        if rest / unit > 0 || (unit == 1 && text.is_empty()) {
            text += &format!("{}{name}", rest / unit);
        }
        rest %= unit;
    }
    text
}
