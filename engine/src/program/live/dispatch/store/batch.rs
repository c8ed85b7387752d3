//! What one transaction stores.

use std::collections::BTreeMap;

use tocsin_engine::dispatch::alert::{AlertChange, AlertState, Fingerprint, Labels};
use tocsin_engine::dispatch::decision::Decision;
use tocsin_engine::dispatch::{Outcome, Table};
use tocsin_notifiers::Receipt;
use tocsin_proto::pb::notification::Notification;

use super::super::status::NotificationState;

/// All that belongs together: stored as a whole or not at all.
#[derive(Debug, Default)]
pub struct Batch {
    /// Changes of alerts.
    pub changes: Vec<StoredChange>,
    /// Labels of the alerts that changed.
    pub labels: BTreeMap<Fingerprint, Labels>,
    /// State of the dispatcher; the newest value of each row.
    pub rows: BTreeMap<(Table, String), Option<String>>,
    /// Why something was sent or was not.
    pub decisions: Vec<Decision>,
    /// To be sent once they are stored.
    pub notifications: Vec<Notification>,
    /// What became of notifications.
    pub updates: Vec<Update>,
    /// What the first deliveries of threads left.
    pub receipts: Vec<(String, String, Receipt)>,
}

/// A change as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChange {
    /// The alert.
    pub fingerprint: Fingerprint,
    /// When, on the node's clock; unix ms.
    pub at_ms: i64,
    /// Fires or resolved.
    pub state: AlertState,
    /// When it began to fire, on the node's clock; unix ms.
    pub starts_at_ms: i64,
}

/// What became of a notification.
#[derive(Debug, Clone)]
pub struct Update {
    /// The notification.
    pub id: String,
    /// What became of it.
    pub state: NotificationState,
    /// Attempts so far.
    pub attempts: u32,
    /// The last failure.
    pub last_error: Option<String>,
    /// When it was sent again by hand, if this is that; unix ms.
    pub since_ms: Option<i64>,
}

impl StoredChange {
    /// What is remembered of a change.
    pub fn of(change: &AlertChange) -> Self {
        StoredChange {
            fingerprint: change.fingerprint(),
            at_ms: change.at.unix_ms(),
            state: change.state,
            starts_at_ms: change.starts_at.unix_ms(),
        }
    }

    /// The same for the same change, told again after a restart.
    pub fn id(&self) -> String {
        format!("{}-{}-{}", self.fingerprint, self.at_ms, state_name(self.state))
    }
}

/// As the store names a state.
pub fn state_name(state: AlertState) -> &'static str {
    match state {
        AlertState::Firing => "firing",
        AlertState::Resolved => "resolved",
    }
}

impl Batch {
    /// Adds what a step decided.
    pub fn add(&mut self, outcome: Outcome) {
        let rows = outcome.rows.into_iter().map(|row| ((row.table, row.key), row.value));
        self.rows.extend(rows);
        self.decisions.extend(outcome.decisions);
        self.notifications.extend(outcome.notifications);
    }

    /// True if there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && self.labels.is_empty()
            && self.rows.is_empty()
            && self.decisions.is_empty()
            && self.notifications.is_empty()
            && self.updates.is_empty()
            && self.receipts.is_empty()
    }
}
