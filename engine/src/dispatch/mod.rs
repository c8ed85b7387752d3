//! Decides who is told what and when: silences, inhibition, routes, groups, repeats, acknowledgement, escalation.
//!
//! Alertmanager's words and semantics, as a value: `step(now, input) -> outcome`. It reads no clock and draws no number;
//! the same inputs give the same notifications with the same ids. Each decision says its reason. What must survive a
//! restart comes out as rows ([`Row`]), which the program stores in one transaction with the notifications.
//!
//! `matcher`, `silence` and `interval` are what routes and silences are made of.

pub mod alert;
pub mod decision;
pub mod delivery;
pub mod interval;
pub mod matcher;
pub mod routing;
pub mod silence;
pub mod view;

use std::collections::BTreeSet;

use tocsin_proto::pb::notification::Notification;

use crate::time::Timestamp;
use alert::{AlertChange, Fingerprint};
use decision::Decision;
use routing::Routing;
use silence::SilenceDraft;
use view::View;

/// What dispatch is given.
#[derive(Debug, Clone)]
pub enum Input {
    /// An alert fired or resolved.
    Changed(AlertChange),
    /// A newer value, summary and evidence of an alert that fires on; nothing is decided for it and nothing stored.
    Refreshed(AlertChange),
    /// All alerts that the engine says fire now, after a restart or a reload. Those dispatch knows and the engine does
    /// not are resolved if they do not fire again within [`ORPHANED_FOR_MS`].
    Reconciled(BTreeSet<Fingerprint>),
    /// Nothing happened; timers may be due.
    Tick,
    /// A new silence, or a changed one if the id is known. The id is the caller's: dispatch draws no random number.
    Silence {
        /// A UUID for a new silence.
        id: String,
        /// What it is to be.
        draft: SilenceDraft,
    },
    /// A silence ends now.
    ExpireSilence {
        /// Its id.
        id: String,
    },
    /// Somebody takes care of an alert: no repeats and no escalation until it resolves.
    Acknowledge {
        /// The alert.
        fingerprint: Fingerprint,
        /// Who.
        by: String,
        /// Why, in words; may be empty.
        comment: String,
    },
    /// The acknowledgement is taken back.
    Unacknowledge {
        /// The alert.
        fingerprint: Fingerprint,
        /// Who.
        by: String,
    },
}

/// Alerts that only dispatch knows of are resolved after this time.
pub const ORPHANED_FOR_MS: i64 = 300_000;

/// What a step decided and what of it must be stored, all of it in one transaction.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// To be stored and then sent.
    pub notifications: Vec<Notification>,
    /// Why each was sent or was not; to be stored for `tocsin alerts explain`.
    pub decisions: Vec<Decision>,
    /// State that changed.
    pub rows: Vec<Row>,
    /// A request that cannot be met: what was found and what would be right. Nothing changed.
    pub refused: Option<String>,
}

/// One piece of state as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which kind.
    pub table: Table,
    /// Differs for all rows of a table.
    pub key: String,
    /// JSON; `None` removes the row.
    pub value: Option<String>,
}

/// Kinds of stored state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Table {
    Alert,
    Group,
    Silence,
    Acknowledgement,
    Receiver,
}

/// The state machine.
#[derive(Debug)]
pub struct Dispatcher {
    routing: Routing,
}

impl Dispatcher {
    /// One that knows of no alert.
    pub fn new(routing: Routing) -> Self {
        Dispatcher { routing }
    }

    /// One with the state of a run before. What does not fit the routing any more is said in words, one text each.
    pub fn restore(routing: Routing, rows: &[Row]) -> (Self, Vec<String>) {
        let _ = rows;
        (Dispatcher::new(routing), Vec::new())
    }

    /// Advances by one input. `now` is the program's clock and never runs back.
    pub fn step(&mut self, now: Timestamp, input: Input) -> Outcome {
        let _ = (now, input);
        Outcome::default()
    }

    /// When a timer is due next; a `Tick` before that changes nothing.
    pub fn next_due(&self) -> Option<Timestamp> {
        None
    }

    /// Everything it knows, for interfaces.
    pub fn view(&self, now: Timestamp) -> View {
        View {
            at: now,
            receivers: self.routing.receivers.iter().map(|r| r.name.clone()).collect(),
            ..View::default()
        }
    }
}
