//! What dispatch remembers of one alert: its newest episode, its changes, and what was said of it.
//!
//! A resolved alert is remembered for a while, so that changes which come again after a crash are known.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tocsin_proto::pb::notification::Evidence;

use crate::stored::checksum;
use crate::time::Timestamp;

use super::alert::{AlertChange, Labels};
use super::decision::DecisionKind;
use super::flapping::Changes;
use super::group::GroupId;
use super::stored;
use super::text;
use super::view::Acknowledgement;

/// Length of a value of a label, in bytes.
const LABEL_BYTES_MAX: usize = 1024;
/// Length of an annotation, in bytes.
const ANNOTATION_BYTES_MAX: usize = 8192;
/// Labels of an alert, and annotations.
const NAMES_MAX: usize = 64;
/// Points of the evidence that are kept: the newest.
const POINTS_MAX: usize = 1000;

/// One alert.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub labels: Labels,
    pub annotations: Labels,
    /// The episode: when it began to fire, on the node's clock.
    pub starts_at: Timestamp,
    /// What the engine calls the episode: later than `starts_at` if the engine lost its state in between.
    pub known_as: Timestamp,
    /// When it resolved, on the node's clock.
    pub ends_at: Option<Timestamp>,
    /// When the episode before resolved.
    pub ended_before_at: Option<Timestamp>,
    /// When it last changed, on the program's clock.
    pub updated_at: Timestamp,
    pub value: Option<f64>,
    pub limit: Option<f64>,
    #[serde(with = "stored::evidence")]
    pub evidence: Evidence,
    /// Since when the engine says neither that it fires nor that it is pending, give or take a minute.
    pub orphaned_at: Option<Timestamp>,
    pub changes: Changes,
    /// The groups it is in.
    pub memberships: Vec<Membership>,
    /// Receivers that were told of it.
    pub told_to: BTreeSet<String>,
    /// Stored on its own.
    #[serde(skip)]
    pub acknowledgement: Option<Acknowledgement>,
    /// Silences whose matchers it meets, whenever they hold.
    #[serde(skip)]
    pub silences: BTreeSet<String>,
}

/// An alert in a group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Membership {
    pub group: GroupId,
    /// What was last said of it, by receiver: a number that differs for different decisions.
    pub said: BTreeMap<String, u64>,
}

impl Record {
    /// An alert that begins to fire.
    pub fn new(change: AlertChange, now: Timestamp) -> Self {
        let mut record = Record {
            labels: bounded(&change.labels, LABEL_BYTES_MAX),
            annotations: Labels::new(),
            starts_at: change.starts_at,
            known_as: change.starts_at,
            ends_at: None,
            ended_before_at: None,
            updated_at: now,
            value: None,
            limit: None,
            evidence: Evidence::default(),
            orphaned_at: None,
            changes: Changes::default(),
            memberships: Vec::new(),
            told_to: BTreeSet::new(),
            acknowledgement: None,
            silences: BTreeSet::new(),
        };
        record.refresh(change);
        record
    }

    /// Whether a change is one of this alert.
    pub fn is_of(&self, change: &AlertChange) -> bool {
        self.labels == change.labels || self.labels == bounded(&change.labels, LABEL_BYTES_MAX)
    }

    /// It fires again.
    pub fn begin(&mut self, change: AlertChange, now: Timestamp) {
        self.starts_at = change.starts_at;
        self.known_as = change.starts_at;
        self.ended_before_at = self.ends_at.take();
        self.updated_at = now;
        self.orphaned_at = None;
        self.refresh(change);
    }

    /// Newer values.
    pub fn refresh(&mut self, change: AlertChange) {
        let is_number = |number: &f64| number.is_finite();
        self.annotations = bounded(&change.annotations, ANNOTATION_BYTES_MAX);
        self.value = change.value.filter(is_number);
        self.limit = change.limit.filter(is_number);
        self.evidence = change.evidence;
        let points = &mut self.evidence.points;
        points.retain(|point| point.value.is_finite() && point.limit.as_ref().is_none_or(is_number));
        points.drain(..points.len().saturating_sub(POINTS_MAX));
    }

    pub fn fires(&self) -> bool {
        self.ends_at.is_none()
    }

    /// Whether the engine knows the episode after all that was resolved because the engine no longer knew it.
    pub fn is_back(&self, change: &AlertChange) -> bool {
        !self.fires() && self.orphaned_at.is_some() && self.known_as == change.starts_at
    }

    pub fn is_flapping(&self) -> bool {
        self.changes.flapping_since.is_some()
    }

    /// Whether somebody may take care of it: it fires, or flaps and will fire again.
    pub fn is_open(&self) -> bool {
        self.fires() || self.is_flapping()
    }

    /// Its name for people: `addr_flood on alice (peer_id=7)`.
    pub fn name(&self) -> String {
        let of = |label: &str| self.labels.get(label).map(String::as_str).filter(|value| !value.is_empty());
        let Some(alert) = of("alertname") else { return text::labels(&self.labels) };
        let node = of("node").map(|node| format!(" on {node}")).unwrap_or_default();
        let is_key = |name: &str| !["alertname", "node", "severity", "status"].contains(&name);
        let keys = self.labels.iter().filter(|(name, _)| is_key(name));
        let keys: Vec<String> = keys.map(|(name, value)| format!("{name}={value}")).collect();
        let keys = if keys.is_empty() { String::new() } else { format!(" ({})", keys.join(", ")) };
        format!("{alert}{node}{keys}")
    }

    /// Whether this differs from what was last said of it to the receiver of the group; it is said now.
    pub fn is_news(&mut self, group: &GroupId, receiver: &str, kind: DecisionKind, subject: &str) -> bool {
        let Some(membership) = self.memberships.iter_mut().find(|membership| membership.group == *group)
        else {
            return true;
        };
        let said = checksum(format!("{} {kind:?} {subject}", self.starts_at.unix_ms()).as_bytes());
        membership.said.insert(receiver.to_string(), said) != Some(said)
    }
}

fn bounded(labels: &Labels, bytes_max: usize) -> Labels {
    let kept = labels.iter().take(NAMES_MAX);
    kept.map(|(name, value)| (text::bounded(name, LABEL_BYTES_MAX), text::bounded(value, bytes_max)))
        .collect()
}
