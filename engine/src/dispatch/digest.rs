//! What rate limits hold back is told once they allow it: one group as itself, several in one digest.

use std::collections::BTreeSet;

use tocsin_proto::pb::notification::Reason;

use crate::time::Timestamp;

use super::content::{Content, Remark};
use super::decision::DecisionKind;
use super::group::{GroupId, Thread};
use super::hash::hash;
use super::limit::Bucket;
use super::message::{Draft, Listed, common, told_text};
use super::routing::Receiver;
use super::timers::Due;
use super::{Dispatcher, Outcome, text};

/// Groups that a digest names; the others are counted.
const DIGEST_GROUPS_MAX: usize = 20;

impl Dispatcher {
    /// Whether the rate limit allows a notification, which is counted then.
    pub(super) fn take_token(&mut self, receiver: &Receiver) -> bool {
        let Some(limit) = receiver.rate_limit else { return true };
        let now = self.now;
        let bucket = self.buckets.entry(receiver.name.clone()).or_insert_with(|| Bucket::full(limit, now));
        let is_allowed = bucket.take(limit, now);
        if is_allowed {
            self.unsaved.buckets.insert(receiver.name.clone());
        }
        is_allowed
    }

    /// The rate limit holds the group back.
    pub(super) fn hold(
        &mut self,
        id: &GroupId,
        receiver: &Receiver,
        content: &Content,
        outcome: &mut Outcome,
    ) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let since = *group.held.entry(receiver.name.clone()).or_insert_with(|| {
            self.unsaved.groups.insert(id.clone());
            self.now
        });
        self.held.entry(receiver.name.clone()).or_default().insert(id.clone());
        self.schedule_receiver(&receiver.name);
        let at =
            receiver.rate_limit.and_then(|limit| Some(self.buckets.get(&receiver.name)?.ready_at(limit)));
        let reason = format!(
            "the rate limit of {} holds it back since {since}; it is told together with others at {}",
            limit_text(receiver),
            at.unwrap_or(self.now)
        );
        for fingerprint in content.all() {
            let (kind, subject) = (DecisionKind::RateLimited, since.to_string());
            let remark = Remark { fingerprint, kind, subject, reason: reason.clone() };
            self.say(id, &receiver.name, remark, None, outcome);
        }
    }

    /// The timer of a receiver is due: its limit allows a notification, which tells all that was held back.
    pub(super) fn attend_limit(&mut self, name: &str, outcome: &mut Outcome) {
        let Some(ids) = self.held.get(name).cloned() else { return };
        let Some(receiver) = self.routing.receiver(name).cloned() else { return };
        let mut contents = Vec::new();
        let mut held_since = self.now;
        for id in &ids {
            let Some(group) = self.groups.get(id) else { continue };
            held_since = group.held.get(name).copied().unwrap_or(held_since).min(held_since);
            let mut content = self.content(id, group, &receiver);
            self.remark(id, &receiver, &mut content, outcome);
            if content.reason().is_some() {
                contents.push((id.clone(), content));
            }
        }
        if !contents.is_empty() && !self.take_token(&receiver) {
            return self.schedule_receiver(name);
        }
        match &contents[..] {
            [] => {}
            [(id, content)] => self.tell(id, &receiver, content, outcome),
            many => self.tell_digest(&receiver, many, held_since, outcome),
        }
        self.held.remove(name);
        for id in &ids {
            if self.groups.get_mut(id).is_some_and(|group| group.held.remove(name).is_some()) {
                self.unsaved.groups.insert(id.clone());
            }
            self.sweep(id);
            self.plan_escalation(id);
        }
    }

    /// One notification tells what was held back of several groups.
    fn tell_digest(
        &mut self,
        receiver: &Receiver,
        contents: &[(GroupId, Content)],
        held_since: Timestamp,
        outcome: &mut Outcome,
    ) {
        let mut all = Vec::new();
        let mut seen = BTreeSet::new();
        let mut threads = Vec::new();
        for (id, content) in contents {
            let group = &self.groups[id];
            let listed = self.listed(group, &receiver.name, content);
            let thread = group.threads.get(&receiver.name);
            threads.push(match thread {
                Some(thread) => Thread::new(thread.id.clone(), thread.number, self.now),
                None => Thread::new(self.new_thread(id, receiver, &listed), 0, self.now),
            });
            all.extend(listed.into_iter().filter(|alert| seen.insert(alert.fingerprint)));
        }
        all.sort_by_key(|alert| alert.ends_at.is_some());
        let now = self.now.unix_ms().to_string();
        let notification = self.notification(Draft {
            receiver: &receiver.name,
            group_key: format!("digest:{{receiver={:?}}}", receiver.name),
            group_labels: common(contents.iter().map(|(id, _)| &self.groups[id].labels)),
            thread: hash(["digest", &receiver.name, &now, &told_text(&all)]),
            number: 1,
            reason: Reason::Digest,
            reason_text: digest_text(receiver, contents, held_since, &all),
            listed: &all,
        });
        for ((id, content), thread) in contents.iter().zip(threads) {
            self.say_told(id, receiver, content, &notification, outcome);
            self.mark(id, receiver, content, thread);
        }
        outcome.notifications.push(notification);
    }

    pub(super) fn schedule_receiver(&mut self, name: &str) {
        let is_held = self.held.contains_key(name);
        let limit = self.routing.receiver(name).and_then(|receiver| receiver.rate_limit);
        // Without a limit, as after a restart with another configuration, what was held is told now.
        let ready_at =
            limit.and_then(|limit| Some(self.buckets.get(name)?.ready_at(limit))).unwrap_or(self.now);
        self.timers.set(Due::Receiver(name.to_string()), is_held.then_some(ready_at));
    }
}

fn limit_text(receiver: &Receiver) -> String {
    match receiver.rate_limit {
        Some(limit) => format!("{} in {}", limit.notifications, text::span(limit.per.millis())),
        None => "another configuration".to_string(),
    }
}

fn digest_text(
    receiver: &Receiver,
    contents: &[(GroupId, Content)],
    since: Timestamp,
    all: &[Listed],
) -> String {
    let firing = all.iter().filter(|alert| alert.ends_at.is_none()).count();
    let named = contents.iter().take(DIGEST_GROUPS_MAX).map(|(id, content)| {
        format!("{} ({} firing, {} resolved)", id.key, content.firing.len(), content.resolved.len())
    });
    let mut named: Vec<String> = named.collect();
    if contents.len() > DIGEST_GROUPS_MAX {
        named.push(format!("and {} more", contents.len() - DIGEST_GROUPS_MAX));
    }
    format!(
        "{}: the rate limit of {} held back {} since {since}; {} firing, {} resolved: {}",
        receiver.name,
        limit_text(receiver),
        text::count(contents.len(), "group"),
        text::count(firing, "alert"),
        all.len() - firing,
        named.join(", ")
    )
}
