//! A group of alerts, and what its receivers were told of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

use super::alert::{Fingerprint, Labels};

/// Names a group. Routes beside each other may have the same matchers and so the same keys, but not the same receivers:
/// then they are one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct GroupId {
    /// As Alertmanager writes it.
    pub key: String,
    /// The route's receiver.
    pub receiver: String,
}

/// A group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Group {
    /// The labels it is grouped by.
    pub labels: Labels,
    /// Whether it waited for its first alerts already.
    pub has_flushed: bool,
    /// What was told, by receiver: the route's, and those of its escalation.
    pub threads: BTreeMap<String, Thread>,
    /// Receivers whose rate limits hold it back, and since when.
    pub held: BTreeMap<String, Timestamp>,
    /// When it is flushed next. The two instants are stored on their own, as they change most.
    #[serde(skip)]
    pub next_flush_at: Timestamp,
    /// When a step of escalation is due.
    #[serde(skip)]
    pub next_escalation_at: Option<Timestamp>,
    /// Place of its route.
    #[serde(skip)]
    pub route: usize,
    /// Alerts that fire, and resolved ones that somebody has still to be told of.
    #[serde(skip)]
    pub members: BTreeSet<Fingerprint>,
}

/// What a receiver was told of a group, from its first alert to its last resolve.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Thread {
    /// 32 hex digits.
    pub id: String,
    /// Of the last notification.
    pub number: u32,
    /// When the last notification was decided.
    pub told_at: Timestamp,
    /// Alerts that are firing, or flapping, as far as the receiver knows.
    pub told: BTreeMap<Fingerprint, Told>,
}

/// What a receiver knows of an alert.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Told {
    /// The episode.
    pub starts_at: Timestamp,
    /// When it was first told.
    pub at: Timestamp,
    /// Told that its changes are not told.
    pub is_flapping: bool,
    /// Steps of escalation that told it; only with the route's receiver.
    pub steps: BTreeSet<usize>,
}

impl Group {
    pub fn new(labels: Labels, route: usize, next_flush_at: Timestamp) -> Self {
        Group {
            labels,
            has_flushed: false,
            threads: BTreeMap::new(),
            held: BTreeMap::new(),
            next_flush_at,
            next_escalation_at: None,
            route,
            members: BTreeSet::new(),
        }
    }

    pub fn told(&self, receiver: &str, fingerprint: Fingerprint) -> Option<&Told> {
        self.threads.get(receiver)?.told.get(&fingerprint)
    }

    /// Nobody has to be told anything any more.
    pub fn has_ended(&self) -> bool {
        self.members.is_empty() && self.threads.is_empty() && self.held.is_empty()
    }
}

impl Thread {
    /// One with nothing told yet.
    pub fn new(id: String, number: u32, told_at: Timestamp) -> Self {
        Thread { id, number, told_at, told: BTreeMap::new() }
    }
}
