//! A dispatcher from stored rows, under a routing that may have changed since.
//!
//! What a receiver was told is not told again: where a group is gone, what was told moves to the group of the same
//! receiver that the alert is in now.

use std::collections::BTreeMap;

use crate::time::Timestamp;

use super::alert::Fingerprint;
use super::group::{Group, GroupId, Thread, Told};
use super::record::{Membership, Record};
use super::routing::Routing;
use super::stored::Restored;
use super::{Dispatcher, Row};

/// What a receiver was told by a group that is gone.
struct Gone {
    receiver: String,
    thread: Thread,
    next_flush_at: Timestamp,
    has_flushed: bool,
}

impl Dispatcher {
    pub(super) fn from_rows(routing: Routing, rows: &[Row]) -> (Self, Vec<String>) {
        let Restored { alerts, groups, silences, buckets, mut notes } = Restored::read(rows);
        let mut dispatcher = Dispatcher::new(routing);
        dispatcher.silences = silences;
        dispatcher.buckets = buckets;
        dispatcher.alerts = alerts;
        // Two minutes from the first step on, as there is no clock here.
        dispatcher.unheard_until = Timestamp::MAX;
        let gone = dispatcher.restore_groups(groups, &mut notes);
        let fingerprints: Vec<Fingerprint> = dispatcher.alerts.keys().copied().collect();
        for fingerprint in &fingerprints {
            dispatcher.restore_alert(*fingerprint, &gone, &mut notes);
        }
        dispatcher.drop_ended();
        for fingerprint in fingerprints {
            dispatcher.schedule_alert(fingerprint);
        }
        let ids: Vec<GroupId> = dispatcher.groups.keys().cloned().collect();
        for id in ids {
            let held: Vec<String> = dispatcher.groups[&id].held.keys().cloned().collect();
            for receiver in held {
                dispatcher.held.entry(receiver).or_default().insert(id.clone());
            }
            match dispatcher.unsaved.groups.contains(&id) {
                true => dispatcher.plan_escalation(&id),
                false => dispatcher.schedule_group(&id),
            }
        }
        let names: Vec<String> = dispatcher.held.keys().cloned().collect();
        names.iter().for_each(|name| dispatcher.schedule_receiver(name));
        let ids: Vec<String> = dispatcher.silences.keys().cloned().collect();
        ids.iter().for_each(|id| dispatcher.schedule_silence(id));
        (dispatcher, notes)
    }

    /// Keeps the groups whose routes are still there. Returns what the others told, by alert.
    fn restore_groups(
        &mut self,
        groups: BTreeMap<GroupId, Group>,
        notes: &mut Vec<String>,
    ) -> BTreeMap<Fingerprint, Vec<Gone>> {
        let places = self.places();
        let mut gone: BTreeMap<Fingerprint, Vec<Gone>> = BTreeMap::new();
        for (id, mut group) in groups {
            self.drop_unknown(&id, &mut group, notes);
            if let Some(place) = places.get(&id) {
                group.route = *place;
                self.groups.insert(id, group);
                continue;
            }
            notes.push(format!("group {} of {} is dropped: its route is gone", id.key, id.receiver));
            self.unsaved.groups.insert(id);
            for (receiver, thread) in group.threads {
                for fingerprint in thread.told.keys() {
                    gone.entry(*fingerprint).or_default().push(Gone {
                        receiver: receiver.clone(),
                        thread: thread.clone(),
                        next_flush_at: group.next_flush_at,
                        has_flushed: group.has_flushed,
                    });
                }
            }
        }
        gone
    }

    /// Where the groups that alerts are in now have their routes.
    fn places(&self) -> BTreeMap<GroupId, usize> {
        let mut places = BTreeMap::new();
        for record in self.alerts.values().filter(|record| !record.memberships.is_empty()) {
            for (id, place) in self.routes.groups(&record.labels) {
                places.entry(id).or_insert(place);
            }
        }
        places
    }

    /// Receivers that are gone, and alerts that could not be read.
    fn drop_unknown(&mut self, id: &GroupId, group: &mut Group, notes: &mut Vec<String>) {
        let before = (group.threads.len(), group.held.len());
        let routing = &self.routing;
        group.threads.retain(|name, _| {
            let is_known = routing.receiver(name).is_some();
            if !is_known {
                notes.push(format!("what {name} was told of {} is dropped: that receiver is gone", id.key));
            }
            is_known
        });
        group.held.retain(|name, _| routing.receiver(name).is_some());
        let mut lost = 0;
        for thread in group.threads.values_mut() {
            let known = thread.told.len();
            thread.told.retain(|fingerprint, _| self.alerts.contains_key(fingerprint));
            lost += known - thread.told.len();
        }
        group.threads.retain(|_, thread| !thread.told.is_empty());
        if lost > 0 || before != (group.threads.len(), group.held.len()) {
            self.unsaved.groups.insert(id.clone());
        }
    }

    /// Puts an alert back into its groups, and into those of routes that are new.
    fn restore_alert(
        &mut self,
        fingerprint: Fingerprint,
        gone: &BTreeMap<Fingerprint, Vec<Gone>>,
        notes: &mut Vec<String>,
    ) {
        self.match_silences(fingerprint);
        let Some(record) = self.alerts.get(&fingerprint) else { return };
        if record.fires() {
            self.inhibition.add(fingerprint, &record.labels);
        }
        let before = record.memberships.clone();
        if before.is_empty() && !record.fires() {
            return;
        }
        let ids = self.routes.groups(&record.labels);
        let told_before = gone.get(&fingerprint).map(Vec::as_slice).unwrap_or_default();
        let mut memberships: Vec<Membership> = Vec::new();
        for (id, place) in &ids {
            if memberships.iter().any(|membership| membership.group == *id) {
                continue;
            }
            let old = before.iter().find(|membership| membership.group == *id);
            // A resolved alert has nothing to do in a group that did not know it, unless a receiver was told of it.
            let carries = told_before.iter().any(|gone| self.tells(id, *place, &gone.receiver));
            let fires = self.alerts.get(&fingerprint).is_some_and(Record::fires);
            if old.is_none() && !fires && !carries {
                continue;
            }
            let fresh = Membership { group: id.clone(), said: BTreeMap::new() };
            memberships.push(old.cloned().unwrap_or(fresh));
            self.enter(fingerprint, id, *place, told_before);
        }
        for Gone { receiver, .. } in told_before {
            if !ids.iter().any(|(id, place)| self.tells(id, *place, receiver)) {
                let what = "is not told any more of alert";
                notes.push(format!("{receiver} {what} {fingerprint}, of which it was told"));
            }
        }
        let is_in = |group: &GroupId| memberships.iter().any(|membership| membership.group == *group);
        let is_same = before.len() == memberships.len() && before.iter().all(|old| is_in(&old.group));
        if let Some(record) = self.alerts.get_mut(&fingerprint).filter(|_| !is_same) {
            record.memberships = memberships;
            self.unsaved.alerts.insert(fingerprint);
        }
    }

    /// Whether a group tells a receiver, at once or by escalation.
    fn tells(&self, id: &GroupId, place: usize, receiver: &str) -> bool {
        id.receiver == receiver || self.routes.at(place).escalate.iter().any(|step| step.receiver == receiver)
    }

    /// An alert enters a group; what the group's receivers were told of it elsewhere counts here.
    fn enter(&mut self, fingerprint: Fingerprint, id: &GroupId, place: usize, told_before: &[Gone]) {
        let Some(record) = self.alerts.get(&fingerprint) else { return };
        let settings = self.routes.at(place);
        let told_before: Vec<&Gone> =
            told_before.iter().filter(|gone| self.tells(id, place, &gone.receiver)).collect();
        let first_flush_at = record.updated_at.plus_ms(settings.group_wait_ms);
        let group = self.groups.entry(id.clone()).or_insert_with(|| {
            self.unsaved.groups.insert(id.clone());
            let mut group = Group::new(settings.group_labels(&record.labels), place, first_flush_at);
            if let Some(gone) = told_before.iter().find(|gone| gone.receiver == id.receiver) {
                (group.next_flush_at, group.has_flushed) = (gone.next_flush_at, gone.has_flushed);
            }
            group
        });
        group.members.insert(fingerprint);
        for gone in told_before {
            let Some(told): Option<&Told> = gone.thread.told.get(&fingerprint) else { continue };
            let Thread { id: thread, number, told_at, .. } = gone.thread.clone();
            let thread =
                group.threads.entry(gone.receiver.clone()).or_insert(Thread::new(thread, number, told_at));
            thread.told.entry(fingerprint).or_insert_with(|| told.clone());
            self.unsaved.groups.insert(id.clone());
        }
    }

    /// The clock may have been set back while the program was away: nothing waits for an instant that is far off now, and
    /// nothing was told in the future.
    pub(super) fn mend_clock(&mut self, now: Timestamp) {
        let mut mended = Vec::new();
        for (id, group) in &mut self.groups {
            let settings = self.routes.at(group.route);
            let latest = now.plus_ms(settings.group_wait_ms.max(settings.group_interval_ms));
            if latest < group.next_flush_at {
                group.next_flush_at = latest;
                mended.push(id.clone());
            }
            for thread in group.threads.values_mut() {
                thread.told_at = thread.told_at.min(now);
                thread.told.values_mut().for_each(|told| told.at = told.at.min(now));
            }
            group.held.values_mut().for_each(|since| *since = now.min(*since));
        }
        for id in mended {
            self.unsaved.groups.insert(id.clone());
            self.plan_escalation(&id);
        }
        self.buckets.values_mut().for_each(|bucket| bucket.mend_clock(now));
        let names: Vec<String> = self.held.keys().cloned().collect();
        names.iter().for_each(|name| self.schedule_receiver(name));
        let later: Vec<Fingerprint> =
            self.alerts.iter().filter(|(_, record)| now < record.updated_at).map(|(id, _)| *id).collect();
        for fingerprint in later {
            self.rest_no_longer(fingerprint);
            if let Some(record) = self.alerts.get_mut(&fingerprint) {
                record.updated_at = now;
                record.orphaned_at = record.orphaned_at.map(|at| at.min(now));
                record.changes.mend_clock(now);
            }
            self.unsaved.alerts.insert(fingerprint);
            self.schedule_alert(fingerprint);
        }
    }

    /// Groups that no alert is in any more.
    fn drop_ended(&mut self) {
        for (id, group) in std::mem::take(&mut self.groups) {
            match group.members.is_empty() {
                true => _ = self.unsaved.groups.insert(id),
                false => _ = self.groups.insert(id, group),
            }
        }
    }
}
