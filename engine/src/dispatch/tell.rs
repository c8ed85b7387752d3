//! Groups are looked at, and receivers are told.

use std::collections::BTreeSet;

use tocsin_proto::pb::notification::Notification;

use super::alert::Fingerprint;
use super::content::{Content, Remark};
use super::decision::{Decision, DecisionKind};
use super::group::{Group, GroupId, Thread, Told};
use super::hash::hash;
use super::message::{Draft, Listed, REASON_BYTES_MAX, told_text};
use super::routing::Receiver;
use super::timers::Due;
use super::{Dispatcher, Outcome, text};

impl Dispatcher {
    /// The timer of a group is due: it is flushed, or a step of escalation is due.
    pub(super) fn attend_group(&mut self, id: &GroupId, outcome: &mut Outcome) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let interval_ms = self.routes.at(group.route).group_interval_ms;
        let is_flush = group.next_flush_at <= self.now;
        if is_flush {
            group.next_flush_at = self.now.plus_ms(interval_ms);
            self.unsaved.next_flushes.insert(id.clone());
            if !group.has_flushed {
                group.has_flushed = true;
                self.unsaved.groups.insert(id.clone());
            }
            self.drop_untold(id, outcome);
        }
        for receiver in self.receivers_of(id) {
            self.attend_receiver(id, &receiver, is_flush, outcome);
        }
        if is_flush {
            self.sweep(id);
        }
        self.plan_escalation(id);
    }

    /// The route's receiver, and those of its escalation.
    fn receivers_of(&self, id: &GroupId) -> Vec<Receiver> {
        let Some(group) = self.groups.get(id) else { return Vec::new() };
        let steps = self.routes.at(group.route).escalate.iter().map(|step| &step.receiver);
        let names = [&id.receiver].into_iter().chain(group.threads.keys()).chain(steps);
        let mut seen = BTreeSet::new();
        let names = names.filter(|name| seen.insert(name.as_str()));
        names.filter_map(|name| self.routing.receiver(name)).cloned().collect()
    }

    /// Inhibition, silences, mutes and flapping decide on the content; then comes the limit, and then it is told.
    fn attend_receiver(&mut self, id: &GroupId, receiver: &Receiver, is_flush: bool, outcome: &mut Outcome) {
        let Some(group) = self.groups.get(id) else { return };
        let mut content = self.content(id, group, receiver);
        if !is_flush && content.steps.is_empty() && content.hidden.is_empty() {
            return;
        }
        self.remark(id, receiver, &mut content, outcome);
        // Between flushes only a step of escalation is told.
        if !is_flush && content.steps.is_empty() {
            return;
        }
        if content.reason().is_none() {
            return;
        }
        // What waits for a digest already goes before what comes later.
        let is_queued = self.held.contains_key(&receiver.name);
        if is_queued || !self.take_token(receiver) {
            self.hold(id, receiver, &content, outcome);
        } else {
            self.tell(id, receiver, &content, outcome);
        }
    }

    /// Says why alerts are not told, and forgets what need not be told.
    pub(super) fn remark(
        &mut self,
        id: &GroupId,
        receiver: &Receiver,
        content: &mut Content,
        outcome: &mut Outcome,
    ) {
        for remark in content.hidden.drain(..) {
            self.say(id, &receiver.name, remark, None, outcome);
        }
        if content.lapsed.is_empty() {
            return;
        }
        let Some(group) = self.groups.get_mut(id) else { return };
        let Some(thread) = group.threads.get_mut(&receiver.name) else { return };
        for fingerprint in &content.lapsed {
            thread.told.remove(fingerprint);
        }
        if thread.told.is_empty() && content.new.is_empty() {
            group.threads.remove(&receiver.name);
        }
        self.unsaved.groups.insert(id.clone());
    }

    /// A decision for one receiver, if it is news.
    pub(super) fn say(
        &mut self,
        id: &GroupId,
        receiver: &str,
        remark: Remark,
        notification: Option<&str>,
        outcome: &mut Outcome,
    ) {
        let Remark { fingerprint, kind, subject, reason } = remark;
        let Some(record) = self.alerts.get_mut(&fingerprint) else { return };
        if !record.is_news(id, receiver, kind, &subject) {
            return;
        }
        self.unsaved.alerts.insert(fingerprint);
        outcome.decisions.push(Decision {
            at: self.now,
            fingerprint,
            starts_at: record.starts_at,
            receiver: Some(receiver.to_string()),
            kind,
            reason: text::bounded(&reason, REASON_BYTES_MAX),
            notification: notification.map(str::to_string),
        });
    }

    /// A receiver is told of one group.
    pub(super) fn tell(
        &mut self,
        id: &GroupId,
        receiver: &Receiver,
        content: &Content,
        outcome: &mut Outcome,
    ) {
        let (Some(group), Some(reason)) = (self.groups.get(id), content.reason()) else { return };
        let listed = self.listed(group, &receiver.name, content);
        let thread = group.threads.get(&receiver.name);
        let (thread, number) = match thread {
            Some(thread) => (thread.id.clone(), thread.number + 1),
            None => (self.new_thread(id, receiver, &listed), 1),
        };
        let notification = self.notification(Draft {
            receiver: &receiver.name,
            group_key: id.key.clone(),
            group_labels: group.labels.clone(),
            thread: thread.clone(),
            number,
            reason,
            reason_text: self.reason_text(id, group, receiver, content, reason),
            listed: &listed,
        });
        self.say_told(id, receiver, content, &notification, outcome);
        self.mark(id, receiver, content, Thread::new(thread, number, self.now));
        outcome.notifications.push(notification);
    }

    pub(super) fn new_thread(&self, id: &GroupId, receiver: &Receiver, listed: &[Listed]) -> String {
        let now = self.now.unix_ms().to_string();
        hash(["thread", &receiver.name, &id.key, &now, &told_text(listed)])
    }

    /// Says of each alert that it is told.
    pub(super) fn say_told(
        &mut self,
        id: &GroupId,
        receiver: &Receiver,
        content: &Content,
        notification: &Notification,
        outcome: &mut Outcome,
    ) {
        for fingerprint in content.all() {
            let kind = if content.escalated.binary_search(&fingerprint).is_ok() {
                DecisionKind::Escalated
            } else if content.flapping.binary_search(&fingerprint).is_ok() {
                DecisionKind::Flapping
            } else {
                DecisionKind::Notified
            };
            let (subject, reason) = (notification.id.clone(), notification.reason_text.clone());
            self.say(
                id,
                &receiver.name,
                Remark { fingerprint, kind, subject, reason },
                Some(&notification.id),
                outcome,
            );
        }
    }

    /// The receiver knows it now. `thread` is the one it was told in, as it is after that.
    pub(super) fn mark(&mut self, id: &GroupId, receiver: &Receiver, content: &Content, thread: Thread) {
        let now = self.now;
        let Some(group) = self.groups.get_mut(id) else { return };
        let Thread { id: thread_id, number, .. } = thread.clone();
        let thread = group.threads.entry(receiver.name.clone()).or_insert(thread);
        (thread.id, thread.number, thread.told_at) = (thread_id, number, now);
        for fingerprint in content.resolved.iter().chain(&content.lapsed) {
            thread.told.remove(fingerprint);
        }
        for fingerprint in [&content.firing, &content.flapping, &content.settled].into_iter().flatten() {
            let Some(record) = self.alerts.get_mut(fingerprint) else { continue };
            if record.told_to.insert(receiver.name.clone()) {
                self.unsaved.alerts.insert(*fingerprint);
            }
            if !record.fires() && !record.is_flapping() {
                thread.told.remove(fingerprint);
                continue;
            }
            let before = thread.told.get(fingerprint);
            let is_same =
                |told: &&Told| told.is_flapping || record.is_flapping() || told.starts_at == record.starts_at;
            let (at, steps) =
                before.filter(is_same).map_or((now, BTreeSet::new()), |told| (told.at, told.steps.clone()));
            let told = Told { starts_at: record.starts_at, at, is_flapping: record.is_flapping(), steps };
            thread.told.insert(*fingerprint, told);
        }
        if thread.told.is_empty() {
            group.threads.remove(&receiver.name);
        }
        if let Some(own) = group.threads.get_mut(&id.receiver) {
            for (step, fingerprint) in &content.steps {
                if let Some(told) = own.told.get_mut(fingerprint) {
                    told.steps.insert(*step);
                }
            }
        }
        self.unsaved.groups.insert(id.clone());
    }

    /// Resolved alerts of which nobody was told and nobody will be.
    fn drop_untold(&mut self, id: &GroupId, outcome: &mut Outcome) {
        for fingerprint in self.leavers(id) {
            let reason = format!("{} is not told: it resolved before it was told that it fires", id.receiver);
            let remark = Remark { fingerprint, kind: DecisionKind::Resolved, subject: String::new(), reason };
            self.say(id, &id.receiver, remark, None, outcome);
        }
        self.sweep(id);
    }

    /// Members that resolved and of which nobody has to be told.
    fn leavers(&self, id: &GroupId) -> Vec<Fingerprint> {
        let Some(group) = self.groups.get(id).filter(|group| group.held.is_empty()) else {
            return Vec::new();
        };
        let leaves = |fingerprint: &&Fingerprint| {
            let is_told = group.threads.values().any(|thread| thread.told.contains_key(fingerprint));
            let record = self.alerts.get(fingerprint);
            !is_told && record.is_none_or(|record| !record.fires() && !record.is_flapping())
        };
        group.members.iter().filter(leaves).copied().collect()
    }

    /// Those who have nothing to tell leave the group; an empty group ends.
    pub(super) fn sweep(&mut self, id: &GroupId) {
        for fingerprint in self.leavers(id) {
            if let Some(group) = self.groups.get_mut(id) {
                group.members.remove(&fingerprint);
            }
            if let Some(record) = self.alerts.get_mut(&fingerprint) {
                record.memberships.retain(|membership| membership.group != *id);
                self.unsaved.alerts.insert(fingerprint);
            }
            self.schedule_alert(fingerprint);
        }
        if self.groups.get(id).is_some_and(Group::has_ended) {
            self.groups.remove(id);
            self.unsaved.groups.insert(id.clone());
        }
    }

    /// Looks when a step of escalation is due next, after what was told or acknowledged has changed.
    pub(super) fn plan_escalation(&mut self, id: &GroupId) {
        let Some(group) = self.groups.get(id) else { return self.schedule_group(id) };
        // What was due and hidden is looked at again with the group.
        let mut at = self.escalations(id, group).filter(|at| self.now < *at).min();
        if self.now < self.unheard_until && self.escalations(id, group).any(|at| at <= self.now) {
            at = Some(at.map_or(self.unheard_until, |at| at.min(self.unheard_until)));
            self.unheard.insert(id.clone());
        }
        if let Some(group) = self.groups.get_mut(id).filter(|group| group.next_escalation_at != at) {
            group.next_escalation_at = at;
            self.unsaved.next_flushes.insert(id.clone());
        }
        self.schedule_group(id);
    }

    pub(super) fn schedule_group(&mut self, id: &GroupId) {
        let due_at = self.groups.get(id).map(|group| {
            group.next_escalation_at.map_or(group.next_flush_at, |at| at.min(group.next_flush_at))
        });
        self.timers.set(Due::Group(id.clone()), due_at);
    }
}
