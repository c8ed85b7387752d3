//! Silences: alerts that match are not sent until they end.

use crate::time::Timestamp;

use super::matcher::Matcher;

/// What a silence is to be.
#[derive(Debug, Clone)]
pub struct SilenceDraft {
    /// All must match; at least one must not match the empty value.
    pub matchers: Vec<Matcher>,
    /// First instant.
    pub starts_at: Timestamp,
    /// Last instant.
    pub ends_at: Timestamp,
    /// Who.
    pub created_by: String,
    /// Why.
    pub comment: String,
}

/// A silence.
#[derive(Debug, Clone)]
pub struct Silence {
    /// A UUID.
    pub id: String,
    /// What it is.
    pub draft: SilenceDraft,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Where a silence is in its life; Alertmanager's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SilenceState {
    Pending,
    Active,
    Expired,
}

impl Silence {
    /// Its state at an instant.
    pub fn state(&self, now: Timestamp) -> SilenceState {
        let _ = now;
        SilenceState::Pending
    }
}
