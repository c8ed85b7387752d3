//! What dispatch knows of itself, as one value, for interfaces and metrics. Counts are totals since the program started
//! unless they say otherwise.

use std::collections::BTreeMap;

use tocsin_engine::dispatch::view::View;
use tocsin_notifiers::Failure;
use tocsin_proto::pb::notification::Reason;

/// Dispatch at one moment.
#[derive(Debug, Clone, Default)]
pub struct DispatchStatus {
    /// Alerts, groups, silences.
    pub view: View,
    /// The receivers, in the order of the configuration.
    pub receivers: Vec<ReceiverStatus>,
    /// The store.
    pub store: StoreStatus,
    /// Decisions not to send, by kind ([`tocsin_engine::dispatch::decision::DecisionKind`]'s name).
    pub suppressed: BTreeMap<&'static str, u64>,
}

/// One receiver.
#[derive(Debug, Clone, Default)]
pub struct ReceiverStatus {
    /// Its name.
    pub name: String,
    /// `matrix`, `email`, `webhook` or `alertmanager`.
    pub integration: &'static str,
    /// Notifications that wait at this moment.
    pub pending: u64,
    /// Notifications given up that nobody has sent again, at this moment.
    pub dead: u64,
    /// Notifications decided.
    pub decided: u64,
    /// Notifications delivered.
    pub delivered: u64,
    /// Attempts.
    pub attempts: u64,
    /// Attempts that failed, by kind.
    pub failed: BTreeMap<Failure, u64>,
    /// Seconds from decision to delivery, summed over those delivered.
    pub delay_s: f64,
    /// Nothing is tried before this instant, because so much failed; unix ms.
    pub broken_until_ms: Option<u64>,
    /// The last failure.
    pub last_error: Option<String>,
    /// When something was last delivered; unix ms.
    pub delivered_at_ms: Option<u64>,
}

/// The store.
#[derive(Debug, Clone, Default)]
pub struct StoreStatus {
    /// Transactions committed.
    pub commits: u64,
    /// Transactions that failed; they are tried again.
    pub failed: u64,
    /// The error, while it cannot be written.
    pub error: Option<String>,
    /// Its size in bytes.
    pub bytes: u64,
    /// What was found damaged when it was opened, in words.
    pub damage: Option<String>,
}

/// A notification in the log.
#[derive(Debug, Clone)]
pub struct NotificationRecord {
    /// Its id.
    pub id: String,
    /// Whom it is for.
    pub receiver: String,
    /// The group.
    pub group_key: String,
    /// Why it is sent.
    pub reason: Reason,
    /// Why, in words.
    pub reason_text: String,
    /// When it was decided; unix ms.
    pub decided_at_ms: i64,
    /// What became of it.
    pub state: NotificationState,
    /// Attempts so far.
    pub attempts: u32,
    /// The last failure.
    pub last_error: Option<String>,
}

/// What became of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationState {
    /// It is tried (again) at this instant; unix ms.
    Pending {
        /// Unix ms.
        next_attempt_at_ms: i64,
    },
    /// It was delivered at this instant.
    Delivered {
        /// Unix ms.
        at_ms: i64,
    },
    /// It was given up at this instant.
    Dead {
        /// Unix ms.
        at_ms: i64,
    },
}
