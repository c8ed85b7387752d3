//! Everything dispatch knows, for interfaces.

use serde::{Deserialize, Serialize};
use tocsin_proto::pb::notification::Evidence;

use crate::time::Timestamp;

use super::Dispatcher;
use super::alert::{Fingerprint, Labels};
use super::group::{Group, GroupId};
use super::record::Record;
use super::silence::{Silence, SilenceState};

/// Everything dispatch knows at one moment.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// When.
    pub at: Timestamp,
    /// Alerts that fire, and resolved ones that somebody has still to be told of; in order of fingerprints.
    pub alerts: Vec<AlertView>,
    /// Groups in order of their keys.
    pub groups: Vec<GroupView>,
    /// Silences, expired ones too until they are forgotten, in order of ids.
    pub silences: Vec<Silence>,
    /// Names of the receivers, in the order of the configuration.
    pub receivers: Vec<String>,
}

/// An alert.
#[derive(Debug, Clone)]
pub struct AlertView {
    /// Its id.
    pub fingerprint: Fingerprint,
    /// What it is.
    pub labels: Labels,
    /// What to know of it.
    pub annotations: Labels,
    /// When it began to fire.
    pub starts_at: Timestamp,
    /// When it last changed, on the program's clock.
    pub updated_at: Timestamp,
    /// When it resolved.
    pub ends_at: Option<Timestamp>,
    /// What was measured.
    pub value: Option<f64>,
    /// What it should not have passed.
    pub limit: Option<f64>,
    /// What was measured over time.
    pub evidence: Evidence,
    /// Receivers of the routes that take it.
    pub receivers: Vec<String>,
    /// Ids of silences that cover it.
    pub silenced_by: Vec<String>,
    /// Alerts that inhibit it.
    pub inhibited_by: Vec<Fingerprint>,
    /// Names of time intervals that mute all its routes now.
    pub muted_by: Vec<String>,
    /// Who takes care of it.
    pub acknowledgement: Option<Acknowledgement>,
    /// True if it changes too often.
    pub is_flapping: bool,
}

/// Somebody takes care of an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// Why.
    pub comment: String,
    /// Since when, on the program's clock.
    pub at: Timestamp,
}

/// A group.
#[derive(Debug, Clone)]
pub struct GroupView {
    /// As Alertmanager writes it.
    pub key: String,
    /// The labels it is grouped by.
    pub labels: Labels,
    /// Its route's receiver.
    pub receiver: String,
    /// Its alerts.
    pub alerts: Vec<Fingerprint>,
    /// When it is looked at next.
    pub next_flush_at: Timestamp,
    /// When a receiver was last told, if one was.
    pub told_at: Option<Timestamp>,
}

/// Alerts that are named as inhibiting another one.
const INHIBITING_MAX: usize = 16;

impl Dispatcher {
    pub(super) fn look(&self, now: Timestamp) -> View {
        let is_shown = |record: &Record| record.fires() || !record.memberships.is_empty();
        let alerts = self.alerts.iter().filter(|(_, record)| is_shown(record));
        View {
            at: now,
            alerts: alerts.map(|(fingerprint, record)| self.look_at(*fingerprint, record, now)).collect(),
            groups: self.groups.iter().map(|(id, group)| look_at_group(id, group)).collect(),
            silences: self.silences.values().cloned().collect(),
            receivers: self.routing.receivers.iter().map(|receiver| receiver.name.clone()).collect(),
        }
    }

    fn look_at(&self, fingerprint: Fingerprint, record: &Record, now: Timestamp) -> AlertView {
        let is_active = |id: &&String| {
            self.silences.get(*id).is_some_and(|silence| silence.state(now) == SilenceState::Active)
        };
        let mut receivers: Vec<String> = Vec::new();
        let mut muted_by: Vec<String> = Vec::new();
        let mut is_muted = true;
        for place in self.routes.matching(&record.labels) {
            let settings = self.routes.at(place);
            if !receivers.contains(&settings.receiver) {
                receivers.push(settings.receiver.clone());
            }
            let muting = self.muted_by(settings, now);
            is_muted &= !muting.is_empty();
            muted_by.extend(muting);
        }
        muted_by.sort();
        muted_by.dedup();
        muted_by.retain(|_| is_muted);
        AlertView {
            fingerprint,
            labels: record.labels.clone(),
            annotations: record.annotations.clone(),
            starts_at: record.starts_at,
            updated_at: record.updated_at,
            ends_at: record.ends_at,
            value: record.value,
            limit: record.limit,
            evidence: record.evidence.clone(),
            receivers,
            silenced_by: record.silences.iter().filter(is_active).cloned().collect(),
            inhibited_by: self.inhibition.sources(&record.labels).take(INHIBITING_MAX).collect(),
            muted_by,
            acknowledgement: record.acknowledgement.clone(),
            is_flapping: record.is_flapping(),
        }
    }
}

fn look_at_group(id: &GroupId, group: &Group) -> GroupView {
    GroupView {
        key: id.key.clone(),
        labels: group.labels.clone(),
        receiver: id.receiver.clone(),
        alerts: group.members.iter().copied().collect(),
        next_flush_at: group.next_flush_at,
        told_at: group.threads.values().map(|thread| thread.told_at).max(),
    }
}
