//! Decides who is told what and when: silences, inhibition, routes, groups, repeats, acknowledgement, escalation.
//!
//! Alertmanager's words and semantics, as a value: `step(now, input) -> outcome`. It reads no clock and draws no number;
//! the same inputs give the same notifications with the same ids. Each decision says its reason. What must survive a
//! restart comes out as rows ([`Row`]), which the program stores in one transaction with the notifications.
//!
//! An alert's way: `change` begins its episode and puts it into the groups of its `routes`; when a group is due, `content`
//! asks inhibition, silences, mutes and flapping what is left to tell; `tell` tells it, or `digest` holds it back where the
//! rate limit is reached; `message` makes the notification. `request` is what people ask for, `stored` and `restore` are
//! the way to rows and back. `matcher`, `silence` and `interval` are what routes and silences are made of.
//!
//! Where it is other than Alertmanager:
//! - What a receiver was told as firing is told as resolved, whatever silence, mute or inhibition has begun since; what
//!   it was never told is not.
//! - An alert that fires again is another episode and is told again.
//! - Repeats go to the route's receiver only, and not while all that fires is acknowledged. A step of escalation tells
//!   each episode that nobody acknowledged within its time since it was told, once. Its receiver hears when these resolve,
//!   but no new alerts and no repeats.
//! - An alert that changes too often is told once as flapping and once when it has settled. While its route's receiver
//!   knows that, it is told with others of its group, marked as flapping.
//! - What a rate limit holds back is told once a token is there: one group as itself, several in one digest.
//! - Alerts of experimental rules inhibit only those of such rules.
//! - Routes have steps of escalation, which routes below inherit.
//!
//! Work for an alert that changes does not grow with the number of alerts: timers are a queue, sources of inhibition an
//! index. A silence is compared with all alerts, an acknowledgement looks at all that its groups' receivers know.

pub mod alert;
mod change;
mod content;
pub mod decision;
pub mod delivery;
mod digest;
mod flapping;
mod group;
mod hash;
mod inhibition;
pub mod interval;
mod limit;
pub mod matcher;
mod message;
mod record;
mod request;
mod restore;
mod routes;
pub mod routing;
pub mod silence;
mod stored;
mod tell;
mod text;
mod timers;
pub mod view;

use std::collections::{BTreeMap, BTreeSet};

use tocsin_proto::pb::notification::Notification;

use crate::time::Timestamp;
use alert::{AlertChange, AlertState, Fingerprint};
use decision::Decision;
use group::{Group, GroupId};
use inhibition::Inhibition;
use limit::Bucket;
use record::Record;
use routes::Routes;
use routing::Routing;
use silence::{Silence, SilenceDraft};
use stored::Unsaved;
use timers::{Due, Timers};
use view::View;

pub use message::{LISTED_ALERTS_MAX, REASON_BYTES_MAX};

/// What dispatch is given.
#[derive(Debug, Clone)]
pub enum Input {
    /// An alert fired or resolved.
    Changed(AlertChange),
    /// A newer value, summary and evidence of an alert that fires on; nothing is decided for it and nothing stored.
    Refreshed(AlertChange),
    /// All alerts that the engine says fire now, after a restart or a reload. After a restart escalation and repeats wait
    /// for it, at most [`UNHEARD_FOR_MS`]: what fired before may have resolved while nobody was there. Those dispatch knows and the engine does
    /// not are resolved if they do not fire again within [`ORPHANED_FOR_MS`] since they were last said to be pending. To be
    /// said again each second while [`Dispatcher::has_orphans`].
    Reconciled {
        /// Those that fire.
        firing: BTreeSet<Fingerprint>,
        /// Those that will fire if their conditions hold on.
        pending: BTreeSet<Fingerprint>,
    },
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
    /// Somebody takes care of an alert: no repeats and no escalation until it resolves, or settles if it flaps.
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

/// Escalation and repeats wait no longer than this for the engine after a restart.
pub const UNHEARD_FOR_MS: i64 = 120_000;

/// What a step decided and what of it must be stored, all of it in one transaction.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// To be stored and then sent.
    pub notifications: Vec<Notification>,
    /// Why each was sent or was not; to be stored for `tocsin alerts explain`.
    pub decisions: Vec<Decision>,
    /// State that changed.
    pub rows: Vec<Row>,
    /// Id of the silence that was made or changed. A change that would alter the past makes another with another id.
    pub silence: Option<String>,
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
    routes: Routes,
    alerts: BTreeMap<Fingerprint, Record>,
    /// Resolved alerts that are only remembered, by when they resolved.
    resting: BTreeSet<(Timestamp, Fingerprint)>,
    groups: BTreeMap<GroupId, Group>,
    silences: BTreeMap<String, Silence>,
    inhibition: Inhibition,
    buckets: BTreeMap<String, Bucket>,
    /// Groups that rate limits hold back, by receiver.
    held: BTreeMap<String, BTreeSet<GroupId>>,
    timers: Timers,
    unsaved: Unsaved,
    now: Timestamp,
    /// Neither escalation nor repeats before this: the engine has still to say what fires.
    unheard_until: Timestamp,
    /// Groups whose escalation waits for that.
    unheard: BTreeSet<GroupId>,
}

impl Dispatcher {
    /// One that knows of no alert.
    pub fn new(routing: Routing) -> Self {
        Dispatcher {
            routes: Routes::new(&routing),
            inhibition: Inhibition::new(&routing.inhibit_rules),
            routing,
            alerts: BTreeMap::new(),
            resting: BTreeSet::new(),
            groups: BTreeMap::new(),
            silences: BTreeMap::new(),
            buckets: BTreeMap::new(),
            held: BTreeMap::new(),
            timers: Timers::default(),
            unsaved: Unsaved::default(),
            now: Timestamp::MIN,
            unheard_until: Timestamp::MIN,
            unheard: BTreeSet::new(),
        }
    }

    /// One with the state of a run before. What does not fit the routing any more is said in words, one text each. Rows
    /// that this changes come out of the next step.
    pub fn restore(routing: Routing, rows: &[Row]) -> (Self, Vec<String>) {
        Dispatcher::from_rows(routing, rows)
    }

    /// Advances by one input. `now` is the program's clock and never runs back.
    pub fn step(&mut self, now: Timestamp, input: Input) -> Outcome {
        let mut outcome = Outcome::default();
        if self.now == Timestamp::MIN {
            self.unheard_until = self.unheard_until.min(now.plus_ms(UNHEARD_FOR_MS));
            self.mend_clock(now);
        }
        self.now = now.max(self.now);
        // What was due before is told without the input; what the input makes due is told with it.
        self.attend(&mut outcome);
        self.take(input, &mut outcome);
        self.attend(&mut outcome);
        outcome.rows = self.take_rows();
        outcome
    }

    /// All that is due.
    fn attend(&mut self, outcome: &mut Outcome) {
        while let Some(due) = self.timers.pop(self.now) {
            match due {
                Due::Alert(fingerprint) => self.attend_alert(fingerprint, outcome),
                Due::Silence(id) => self.forget_silence(&id),
                Due::Receiver(name) => self.attend_limit(&name, outcome),
                Due::Group(id) => self.attend_group(&id, outcome),
            }
        }
    }

    fn take(&mut self, input: Input, outcome: &mut Outcome) {
        let mut met = Ok(());
        match input {
            Input::Changed(change) | Input::Refreshed(change) if self.is_other(&change) => {
                met = Err(self.other(&change));
            }
            Input::Changed(change) => match change.state {
                AlertState::Firing => self.fire(change, outcome),
                AlertState::Resolved => self.resolve(&change, outcome),
            },
            Input::Refreshed(change) => self.refresh(change, outcome),
            Input::Reconciled { firing, pending } => self.reconcile(&firing, &pending),
            Input::Tick => {}
            Input::Silence { id, draft } => {
                met = self.silence(id, draft).map(|id| outcome.silence = Some(id))
            }
            Input::ExpireSilence { id } => met = self.expire_silence(&id),
            Input::Acknowledge { fingerprint, by, comment } => {
                met = self.acknowledge(fingerprint, &by, &comment, outcome);
            }
            Input::Unacknowledge { fingerprint, by } => met = self.unacknowledge(fingerprint, &by, outcome),
        }
        outcome.refused = met.err();
    }

    /// When a timer is due next; a `Tick` before that changes nothing.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// Whether it knows alerts as firing that the engine did not say to fire.
    pub fn has_orphans(&self) -> bool {
        self.alerts.values().any(|record| record.fires() && record.orphaned_at.is_some())
    }

    /// Everything it knows, for interfaces. Times of silences and mutes are those of `now`.
    pub fn view(&self, now: Timestamp) -> View {
        self.look(now)
    }
}
