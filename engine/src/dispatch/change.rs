//! Alerts that fire and resolve: episodes begin and end, and join the groups of their routes.
//!
//! After a crash the engine says again what it said before. An episode that is known, or older than the one that is known,
//! changes nothing.

use std::collections::BTreeSet;

use crate::time::Timestamp;

use super::alert::{AlertChange, Fingerprint};
use super::content::Remark;
use super::decision::{Decision, DecisionKind};
use super::group::Group;
use super::record::{Membership, Record};
use super::routes::Settings;
use super::timers::Due;
use super::{Dispatcher, ORPHANED_FOR_MS, Outcome, text};

/// How long a resolved alert is remembered.
const REMEMBERED_FOR_MS: i64 = 3_600_000;
/// How often it is noted that an alert is pending that is known as firing.
const PENDING_EVERY_MS: i64 = 60_000;
/// Resolved alerts that are remembered; the oldest are forgotten first.
const REMEMBERED_MAX: usize = 10_000;

impl Dispatcher {
    /// Whether another alert has the same fingerprint: a key that peers write may be chosen so. Neither is told as the
    /// other; one that is over gives way.
    pub(super) fn is_other(&mut self, change: &AlertChange) -> bool {
        let fingerprint = change.fingerprint();
        let Some(record) = self.alerts.get(&fingerprint).filter(|record| !record.is_of(change)) else {
            return false;
        };
        let is_open = record.is_open() || !record.memberships.is_empty();
        if !is_open {
            self.forget(fingerprint);
        }
        is_open
    }

    pub(super) fn other(&self, change: &AlertChange) -> String {
        let fingerprint = change.fingerprint();
        let known = self.alerts.get(&fingerprint).map(Record::name).unwrap_or_default();
        let found = text::bounded(&text::labels(&change.labels), super::message::REASON_BYTES_MAX);
        format!(
            "{found} has the fingerprint {fingerprint} of {known}, expected one of its own; it is not told"
        )
    }

    pub(super) fn fire(&mut self, change: AlertChange, outcome: &mut Outcome) {
        let fingerprint = change.fingerprint();
        let Some(record) = self.alerts.get_mut(&fingerprint) else {
            let record = Record::new(change, self.now);
            self.alerts.insert(fingerprint, record);
            return self.begin(fingerprint, outcome);
        };
        if change.starts_at <= record.known_as && !record.is_back(&change) {
            return self.keep(fingerprint);
        }
        if record.fires() && record.orphaned_at.is_some() {
            // The engine lost its state, the alert goes on: nobody is told twice.
            record.known_as = change.starts_at;
            record.refresh(change);
            return self.keep(fingerprint);
        }
        if record.fires() {
            let ends_at = change.starts_at;
            self.end(fingerprint, ends_at, "it fires anew", outcome);
        }
        self.rest_no_longer(fingerprint);
        if let Some(record) = self.alerts.get_mut(&fingerprint) {
            record.begin(change, self.now);
        }
        self.begin(fingerprint, outcome);
    }

    /// The engine says of a known alert that it fires.
    fn keep(&mut self, fingerprint: Fingerprint) {
        let Some(record) = self.alerts.get_mut(&fingerprint).filter(|record| record.fires()) else { return };
        if record.orphaned_at.take().is_some() {
            self.unsaved.alerts.insert(fingerprint);
            self.schedule_alert(fingerprint);
        }
    }

    pub(super) fn refresh(&mut self, change: AlertChange, outcome: &mut Outcome) {
        let fingerprint = change.fingerprint();
        match self.alerts.get_mut(&fingerprint) {
            Some(record) if change.starts_at <= record.known_as && !record.is_back(&change) => {
                if record.fires() {
                    record.refresh(change);
                    self.keep(fingerprint);
                }
            }
            // The store is behind the engine.
            _ => self.fire(change, outcome),
        }
    }

    pub(super) fn resolve(&mut self, change: &AlertChange, outcome: &mut Outcome) {
        let fingerprint = change.fingerprint();
        let Some(record) = self.alerts.get_mut(&fingerprint).filter(|record| record.fires()) else { return };
        let is_this_episode = change.starts_at == record.known_as || record.known_as <= change.at;
        if is_this_episode {
            // The engine knows of it after all.
            record.orphaned_at = None;
            self.end(fingerprint, change.at, "it no longer holds", outcome);
        }
    }

    pub(super) fn reconcile(&mut self, firing: &BTreeSet<Fingerprint>, pending: &BTreeSet<Fingerprint>) {
        self.hear();
        let mut changed = Vec::new();
        for (fingerprint, record) in self.alerts.iter_mut().filter(|(_, record)| record.fires()) {
            let since = record.orphaned_at;
            let orphaned_at = match since {
                _ if firing.contains(fingerprint) => None,
                // Not each second: it is stored.
                Some(at) if pending.contains(fingerprint) && at.plus_ms(PENDING_EVERY_MS) <= self.now => {
                    Some(self.now)
                }
                _ => since.or(Some(self.now)),
            };
            if orphaned_at != since {
                record.orphaned_at = orphaned_at;
                changed.push(*fingerprint);
            }
        }
        for fingerprint in changed {
            self.unsaved.alerts.insert(fingerprint);
            self.schedule_alert(fingerprint);
        }
    }

    /// The engine has said what fires: what waited for that is due now.
    fn hear(&mut self) {
        let is_first = self.now < self.unheard_until;
        self.unheard_until = self.unheard_until.min(self.now);
        for id in std::mem::take(&mut self.unheard) {
            if let Some(group) = self.groups.get_mut(&id).filter(|_| is_first) {
                group.next_escalation_at = Some(self.now);
                self.unsaved.next_flushes.insert(id.clone());
                self.schedule_group(&id);
            }
        }
    }

    /// An episode begins.
    fn begin(&mut self, fingerprint: Fingerprint, outcome: &mut Outcome) {
        self.match_silences(fingerprint);
        let Some(record) = self.alerts.get_mut(&fingerprint) else { return };
        record.changes.note(self.now, &self.routing.flapping);
        if record.acknowledgement.is_some() {
            // It is stored with the episode.
            self.unsaved.acknowledgements.insert(fingerprint);
        }
        self.inhibition.add(fingerprint, &record.labels);
        let summary = record.annotations.get("summary").cloned().unwrap_or_else(|| record.name());
        let measured = record.value.map(|value| format!("; measured {value}")).unwrap_or_default();
        let limit = record.limit.map(|limit| format!(", limit {limit}")).unwrap_or_default();
        self.decide(fingerprint, DecisionKind::Fired, format!("fires: {summary}{measured}{limit}"), outcome);
        self.unsaved.alerts.insert(fingerprint);
        self.schedule_alert(fingerprint);
        self.join_groups(fingerprint, outcome);
    }

    /// An episode ends.
    fn end(&mut self, fingerprint: Fingerprint, ends_at: Timestamp, why: &str, outcome: &mut Outcome) {
        let Some(record) = self.alerts.get_mut(&fingerprint) else { return };
        record.ends_at = Some(ends_at.max(record.starts_at));
        record.updated_at = self.now;
        record.changes.note(self.now, &self.routing.flapping);
        self.inhibition.remove(fingerprint, &record.labels);
        // Who takes care of an alert that flaps does so until it settles.
        if !record.is_flapping() && record.acknowledgement.take().is_some() {
            self.unsaved.acknowledgements.insert(fingerprint);
        }
        let lasted = text::span(ends_at.ms_since(record.starts_at));
        self.decide(fingerprint, DecisionKind::Resolved, format!("resolved after {lasted}: {why}"), outcome);
        self.unsaved.alerts.insert(fingerprint);
        self.schedule_alert(fingerprint);
    }

    fn join_groups(&mut self, fingerprint: Fingerprint, outcome: &mut Outcome) {
        let Some(record) = self.alerts.get_mut(&fingerprint) else { return };
        let mut joined = Vec::new();
        for (id, place) in self.routes.groups(&record.labels) {
            let settings = self.routes.at(place);
            let waited = first_flush_at(settings, record.starts_at, self.now);
            let group = self.groups.entry(id.clone()).or_insert_with(|| {
                self.unsaved.groups.insert(id.clone());
                Group::new(settings.group_labels(&record.labels), place, waited)
            });
            if !group.has_flushed && waited < group.next_flush_at {
                group.next_flush_at = waited;
                self.unsaved.next_flushes.insert(id.clone());
            }
            group.members.insert(fingerprint);
            if !record.memberships.iter().any(|membership| membership.group == id) {
                record.memberships.push(Membership { group: id.clone(), said: Default::default() });
            }
            joined.push((id, settings.name.clone(), group.next_flush_at));
        }
        for (id, name, at) in joined {
            let receiver = id.receiver.clone();
            let reason = format!("route {name} -> {receiver}: group {} waits until {at}", id.key);
            let remark = Remark { fingerprint, kind: DecisionKind::Grouped, subject: at.to_string(), reason };
            self.say(&id, &receiver, remark, None, outcome);
            self.schedule_group(&id);
        }
    }

    /// A decision for no receiver in particular.
    pub(super) fn decide(
        &self,
        fingerprint: Fingerprint,
        kind: DecisionKind,
        reason: String,
        outcome: &mut Outcome,
    ) {
        let Some(record) = self.alerts.get(&fingerprint) else { return };
        outcome.decisions.push(Decision {
            at: self.now,
            fingerprint,
            starts_at: record.starts_at,
            receiver: None,
            kind,
            reason: text::bounded(&reason, super::message::REASON_BYTES_MAX),
            notification: None,
        });
    }

    /// The timer of an alert is due.
    pub(super) fn attend_alert(&mut self, fingerprint: Fingerprint, outcome: &mut Outcome) {
        let now = self.now;
        let Some(record) = self.alerts.get_mut(&fingerprint) else { return };
        if record.changes.calm_at(&self.routing.flapping).is_some_and(|at| at <= now) {
            record.changes.settle();
            if !record.fires() && record.acknowledgement.take().is_some() {
                self.unsaved.acknowledgements.insert(fingerprint);
            }
            self.unsaved.alerts.insert(fingerprint);
        }
        let is_orphan =
            record.fires() && record.orphaned_at.is_some_and(|at| at.plus_ms(ORPHANED_FOR_MS) <= now);
        if is_orphan {
            self.end(fingerprint, now, "the engine no longer knows it since a restart or a reload", outcome);
        } else if self.is_done(fingerprint) && self.forget_at(fingerprint) <= now {
            return self.forget(fingerprint);
        }
        self.schedule_alert(fingerprint);
    }

    /// It resolved, and nobody has to be told of it.
    fn is_done(&self, fingerprint: Fingerprint) -> bool {
        self.alerts
            .get(&fingerprint)
            .is_some_and(|record| !record.fires() && record.memberships.is_empty() && !record.is_flapping())
    }

    fn forget_at(&self, fingerprint: Fingerprint) -> Timestamp {
        let span_ms = REMEMBERED_FOR_MS.max(self.routing.flapping.within.millis());
        self.alerts.get(&fingerprint).map_or(self.now, |record| record.updated_at.plus_ms(span_ms))
    }

    pub(super) fn schedule_alert(&mut self, fingerprint: Fingerprint) {
        let Some(record) = self.alerts.get(&fingerprint) else { return };
        let calm_at = record.changes.calm_at(&self.routing.flapping);
        let resolves_at = record.orphaned_at.filter(|_| record.fires()).map(|at| at.plus_ms(ORPHANED_FOR_MS));
        let updated_at = record.updated_at;
        let is_done = self.is_done(fingerprint);
        let forget_at = is_done.then(|| self.forget_at(fingerprint));
        let due_at = [calm_at, resolves_at, forget_at].into_iter().flatten().min();
        self.timers.set(Due::Alert(fingerprint), due_at);
        if !is_done || !self.resting.insert((updated_at, fingerprint)) || self.resting.len() <= REMEMBERED_MAX
        {
            return;
        }
        if let Some((_, oldest)) = self.resting.first().copied() {
            self.forget(oldest);
        }
    }

    pub(super) fn rest_no_longer(&mut self, fingerprint: Fingerprint) {
        if let Some(record) = self.alerts.get(&fingerprint) {
            self.resting.remove(&(record.updated_at, fingerprint));
        }
    }

    fn forget(&mut self, fingerprint: Fingerprint) {
        self.rest_no_longer(fingerprint);
        self.timers.set(Due::Alert(fingerprint), None);
        self.alerts.remove(&fingerprint);
        self.unsaved.alerts.insert(fingerprint);
    }
}

/// When a new group is looked at: at once if the alert fires for longer than the group would wait.
fn first_flush_at(settings: &Settings, starts_at: Timestamp, now: Timestamp) -> Timestamp {
    let wait_ms = settings.group_wait_ms;
    if now.ms_since(starts_at) > wait_ms { now } else { now.plus_ms(wait_ms) }
}
