//! Everything dispatch knows, for interfaces.

use tocsin_proto::pb::notification::Evidence;

use crate::time::Timestamp;

use super::alert::{Fingerprint, Labels};
use super::silence::Silence;

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
#[derive(Debug, Clone, PartialEq, Eq)]
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
