//! Why an alert was told to a receiver, or was not.

use crate::time::Timestamp;

use super::alert::Fingerprint;

/// One decision about one alert. The same decision in a row is told once.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// When, on the program's clock.
    pub at: Timestamp,
    /// The alert.
    pub fingerprint: Fingerprint,
    /// The episode: when it began to fire, on the node's clock.
    pub starts_at: Timestamp,
    /// Whom it concerns; none if all receivers, or none.
    pub receiver: Option<String>,
    /// What was decided.
    pub kind: DecisionKind,
    /// Why, in words: names the silence, the inhibiting alert, the route, the time.
    pub reason: String,
    /// The notification that was decided, if one was.
    pub notification: Option<String>,
}

/// What was decided; names are those of `tocsin alerts explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecisionKind {
    /// The alert fired, with why.
    Fired,
    /// The alert resolved.
    Resolved,
    /// It joined a group that waits.
    Grouped,
    /// The receiver is told.
    Notified,
    /// A silence covers it.
    Silenced,
    /// Another alert inhibits it.
    Inhibited,
    /// Its route is muted at this time.
    Muted,
    /// The receiver's rate limit holds it back for a digest.
    RateLimited,
    /// It changes too often; its further changes are not sent.
    Flapping,
    /// Somebody takes care of it.
    Acknowledged,
    /// Somebody takes care of it no longer.
    Unacknowledged,
    /// Nobody took care of it in time.
    Escalated,
    /// Its rule is experimental and the receiver wakes people.
    Experimental,
}

impl DecisionKind {
    /// As `tocsin alerts explain` and metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            DecisionKind::Fired => "fired",
            DecisionKind::Resolved => "resolved",
            DecisionKind::Grouped => "grouped",
            DecisionKind::Notified => "notified",
            DecisionKind::Silenced => "silenced",
            DecisionKind::Inhibited => "inhibited",
            DecisionKind::Muted => "muted",
            DecisionKind::RateLimited => "rate_limited",
            DecisionKind::Flapping => "flapping",
            DecisionKind::Acknowledged => "acknowledged",
            DecisionKind::Unacknowledged => "unacknowledged",
            DecisionKind::Escalated => "escalated",
            DecisionKind::Experimental => "experimental",
        }
    }
}
