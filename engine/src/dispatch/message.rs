//! A notification of what is to be told: its ids, its words, its alerts.
//!
//! Ids are hashes of what was decided, so that the same decision has the same id however often it is made.

use std::collections::{BTreeMap, BTreeSet};

use tocsin_proto::pb::notification::{Alert, Notification, Reason, Status};

use crate::time::Timestamp;

use super::Dispatcher;
use super::alert::{Fingerprint, Labels};
use super::content::Content;
use super::group::{Group, GroupId};
use super::hash::hash;
use super::record::Record;
use super::routing::Receiver;
use super::text;

/// Alerts in a notification; the others are counted.
pub const LISTED_ALERTS_MAX: usize = 200;
/// Length of a reason, in bytes.
pub const REASON_BYTES_MAX: usize = 1000;

/// An alert as a notification tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listed {
    pub fingerprint: Fingerprint,
    /// The episode; the one the receiver knows, if another has begun since.
    pub starts_at: Timestamp,
    /// When it resolved.
    pub ends_at: Option<Timestamp>,
}

/// What a notification is made of.
pub(super) struct Draft<'a> {
    pub receiver: &'a str,
    pub group_key: String,
    pub group_labels: Labels,
    pub thread: String,
    pub number: u32,
    pub reason: Reason,
    pub reason_text: String,
    pub listed: &'a [Listed],
}

/// Alerts as text, for hashes.
pub(super) fn told_text(listed: &[Listed]) -> String {
    let text = |alert: &Listed| {
        let state = if alert.ends_at.is_none() { "firing" } else { "resolved" };
        format!("{} {} {state}\n", alert.fingerprint, alert.starts_at.unix_ms())
    };
    listed.iter().map(text).collect()
}

impl Dispatcher {
    /// The alerts of a notification, firing ones first, and among them those that are news; then by their labels.
    pub(super) fn listed(&self, group: &Group, receiver: &str, content: &Content) -> Vec<Listed> {
        let firing: BTreeSet<Fingerprint> = content.firing.iter().copied().collect();
        let others = [&content.resolved, &content.flapping, &content.settled];
        let others = others.into_iter().flatten().filter(|fingerprint| !firing.contains(fingerprint));
        let firing = firing.iter().filter_map(|fingerprint| {
            let starts_at = self.alerts.get(fingerprint)?.starts_at;
            Some(Listed { fingerprint: *fingerprint, starts_at, ends_at: None })
        });
        let resolved =
            others.filter_map(|fingerprint| self.listed_as_resolved(group, receiver, *fingerprint));
        let mut listed: Vec<Listed> = firing.chain(resolved).collect();
        let is_known = |alert: &Listed| {
            [&content.new, &content.escalated]
                .iter()
                .all(|news| news.binary_search(&alert.fingerprint).is_err())
        };
        listed.sort_by(|a, b| {
            let rank = |alert: &Listed| (alert.ends_at.is_some(), is_known(alert));
            let labels = |alert: &Listed| self.alerts.get(&alert.fingerprint).map(|record| &record.labels);
            rank(a).cmp(&rank(b)).then_with(|| labels(a).cmp(&labels(b)))
        });
        listed
    }

    fn listed_as_resolved(&self, group: &Group, receiver: &str, fingerprint: Fingerprint) -> Option<Listed> {
        let record = self.alerts.get(&fingerprint)?;
        let told = group.told(receiver, fingerprint).filter(|told| !told.is_flapping);
        let starts_at = told.map_or(record.starts_at, |told| told.starts_at);
        let is_newest = starts_at == record.starts_at;
        let ends_at = if is_newest { record.ends_at } else { record.ended_before_at };
        Some(Listed { fingerprint, starts_at, ends_at: Some(ends_at.unwrap_or(starts_at).max(starts_at)) })
    }

    /// The notification of a draft.
    pub(super) fn notification(&self, draft: Draft) -> Notification {
        let Draft { receiver, group_key, group_labels, thread, number, reason, reason_text, listed } = draft;
        let records: Vec<&Record> = listed.iter().map(|alert| &self.alerts[&alert.fingerprint]).collect();
        let number_text = number.to_string();
        let parts = [receiver, &group_key, &thread, &number_text, reason.as_str_name(), &told_text(listed)];
        Notification {
            id: hash(parts),
            decided_at: self.now.unix_ms(),
            receiver: receiver.to_string(),
            group_key,
            reason: reason.into(),
            reason_text: text::bounded(&reason_text, REASON_BYTES_MAX),
            group_labels,
            common_labels: common(records.iter().map(|record| &record.labels)),
            common_annotations: common(records.iter().map(|record| &record.annotations)),
            alerts: listed.iter().take(LISTED_ALERTS_MAX).map(|alert| self.alert(alert)).collect(),
            truncated_alerts: listed.len().saturating_sub(LISTED_ALERTS_MAX) as u32,
            thread,
            number,
            external_url: String::new(),
        }
    }

    fn alert(&self, listed: &Listed) -> Alert {
        let record = &self.alerts[&listed.fingerprint];
        let status = if listed.ends_at.is_none() { Status::Firing } else { Status::Resolved };
        let acknowledgement = record.acknowledgement.as_ref().filter(|_| listed.ends_at.is_none());
        Alert {
            fingerprint: listed.fingerprint.to_string(),
            status: status.into(),
            labels: record.labels.clone(),
            annotations: record.annotations.clone(),
            starts_at: listed.starts_at.unix_ms(),
            ends_at: listed.ends_at.map_or(0, Timestamp::unix_ms),
            value: record.value,
            limit: record.limit,
            evidence: Some(record.evidence.clone()),
            acknowledged_by: acknowledgement.map(|found| found.by.clone()).unwrap_or_default(),
            flapping: record.is_flapping(),
        }
    }

    /// Why a notification is sent, in words: the route, the receiver, and what happened.
    pub(super) fn reason_text(
        &self,
        id: &GroupId,
        group: &Group,
        receiver: &Receiver,
        content: &Content,
        reason: Reason,
    ) -> String {
        let settings = self.routes.at(group.route);
        let what = match reason {
            Reason::FirstNotification => "first notification of the group".to_string(),
            Reason::NewAlerts => match content.new.len() {
                1 => format!("1 new alert fires: {}", self.names(&content.new)),
                many => format!("{many} new alerts fire: {}", self.names(&content.new)),
            },
            Reason::SomeResolved | Reason::AllResolved => self.resolved_text(content, reason),
            Reason::RepeatInterval => {
                let thread = group.threads.get(&receiver.name);
                let since_ms = thread.map_or(0, |thread| self.now.ms_since(thread.told_at));
                format!("still firing, {} after the last notification", text::span(since_ms))
            }
            Reason::Escalation => self.escalation_text(id, group, content),
            Reason::Flapping => self.flapping_text(content),
            Reason::Settled => format!("no longer changes: {}", self.names(&content.settled)),
            _ => String::new(),
        };
        let also = match content.flapping.is_empty() || reason == Reason::Flapping {
            true => String::new(),
            false => format!("; {}", self.flapping_text(content)),
        };
        format!("route {} -> {}: {what}{also}", settings.name, receiver.name)
    }

    fn resolved_text(&self, content: &Content, reason: Reason) -> String {
        let is_orphan = |fingerprint: &Fingerprint| {
            self.alerts.get(fingerprint).is_some_and(|record| !record.fires() && record.orphaned_at.is_some())
        };
        let lost = match content.resolved.iter().any(is_orphan) {
            true => "; the engine no longer knows of some since a restart or a reload",
            false => "",
        };
        match reason {
            Reason::AllResolved => format!("all alerts resolved{lost}"),
            _ => format!(
                "{} resolved, {} on{lost}",
                text::count(content.resolved.len(), "alert"),
                match content.firing.len() {
                    1 => "1 fires".to_string(),
                    many => format!("{many} fire"),
                }
            ),
        }
    }

    fn escalation_text(&self, id: &GroupId, group: &Group, content: &Content) -> String {
        let steps = &self.routes.at(group.route).escalate;
        let after_ms =
            content.steps.iter().filter_map(|(step, _)| steps.get(*step)).map(|step| step.after.millis());
        let after = text::span(after_ms.max().unwrap_or_default());
        let names = self.names(&content.escalated);
        format!("nobody acknowledged within {after} of telling {}: {names}", id.receiver)
    }

    fn flapping_text(&self, content: &Content) -> String {
        let flapping = &self.routing.flapping;
        format!(
            "changed {} times within {}, and changes are not sent until there was none for {}: {}",
            flapping.changes,
            text::span(flapping.within.millis()),
            text::span(flapping.calm.millis()),
            self.names(&content.flapping)
        )
    }

    /// Names of a few alerts.
    fn names(&self, fingerprints: &[Fingerprint]) -> String {
        const NAMED_MAX: usize = 5;
        let records =
            fingerprints.iter().take(NAMED_MAX).filter_map(|fingerprint| self.alerts.get(fingerprint));
        let mut names: Vec<String> = records.map(|record| text::bounded(&record.name(), 100)).collect();
        if fingerprints.len() > NAMED_MAX {
            names.push(format!("and {} more", fingerprints.len() - NAMED_MAX));
        }
        names.join(", ")
    }
}

/// What is the same in all.
pub(super) fn common<'a>(mut all: impl Iterator<Item = &'a Labels>) -> Labels {
    let mut common: BTreeMap<_, _> = all.next().cloned().unwrap_or_default();
    for labels in all {
        common.retain(|name, value| labels.get(name) == Some(value));
        if common.is_empty() {
            break;
        }
    }
    common
}
