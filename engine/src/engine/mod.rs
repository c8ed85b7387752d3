//! The engine as a value: `step(input)` takes an event or the time and returns what alerts did.
//!
//! It reads no clock, sleeps not, spawns nothing, does no I/O and draws no random number: the same inputs give the
//! same changes, live or replayed. Each node is sequenced on its own clock; the time of arrival moves all of them on,
//! in beats of [`BEAT_MS`]. An event implies all beats up to its arrival, so that a replay, which has no clock to tick
//! between events, takes the same steps in the same order as the live engine did.

use std::collections::BTreeMap;
use std::sync::Arc;

use tocsin_proto::archive::{Frame, OBSERVER};

use crate::alerts::State;
use crate::plan::RuleId;
use crate::project::walk::{Scratch, Value};
use crate::rules::RuleError;
use crate::sequence::Arrival;
use crate::time::Timestamp;
use crate::timeline::Change;

mod adopt;
mod arrival;
mod evidence;
mod fleet;
mod library;
mod node;
mod report;
mod state;

pub use fleet::FLEET;
pub use library::Library;
pub use node::RuleHealth;
pub use report::AlertReport;
pub use state::StateError;

use arrival::Aside;
use fleet::Fleet;
use node::{Held, Node, Output};

/// Nodes at most. Their names come with the events, so somebody could make up any number of them.
pub const NODES_MAX: usize = 1024;

/// Time between two beats, in which time moves on for all nodes alike.
pub const BEAT_MS: i64 = 100;

/// One input of the engine.
#[derive(Debug)]
pub enum Input<'a> {
    /// An event arrived.
    Event {
        /// The event; its `received_at` is when it arrived, if that was recorded.
        frame: Frame,
        /// The node, if the event does not say.
        node: &'a str,
        /// A number that finds the event again, for errors.
        origin: u64,
    },
    /// It is now this late, and nothing arrived: no event that is still to come may be stamped earlier. A clock that
    /// is set back must be held until it has caught up.
    Tick(Timestamp),
}

/// Something that concerns no single alert: reported, counted, and nothing stops for it.
#[derive(Debug, Clone, PartialEq)]
pub enum Problem {
    /// A rule's script erred.
    Rule {
        /// On which node.
        node: Arc<str>,
        /// When.
        at: Timestamp,
        /// What and where.
        error: RuleError,
    },
    /// An event of a node beyond [`NODES_MAX`] was not taken.
    TooManyNodes {
        /// Its name.
        node: String,
        /// The event's number, as its input gave it.
        origin: u64,
    },
    /// An event's bytes do not decode.
    Undecodable {
        /// Of which node.
        node: Arc<str>,
        /// When.
        at: Timestamp,
        /// The event's number, as its input gave it.
        origin: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// What the engine saw of a node; all totals.
#[derive(Debug, Clone)]
pub struct NodeReport {
    /// Its name.
    pub name: Arc<str>,
    /// Events by kind, of the kinds seen.
    pub events: Vec<(&'static str, u64)>,
    /// Events released after their time had passed.
    pub late: u64,
    /// Events dropped because no other bore out their time.
    pub implausible: u64,
    /// Times its clock was set back or forth.
    pub clock_steps: u64,
    /// Events whose bytes do not decode.
    pub undecodable: u64,
    /// Keys given up because there were too many.
    pub evicted: u64,
    /// How far arrivals are behind its clock.
    pub skew_ms: i64,
}

/// How a rule did, over all nodes.
#[derive(Debug, Clone)]
pub struct RuleReport {
    /// Its name.
    pub name: Arc<str>,
    /// Its work and its errors.
    pub health: RuleHealth,
    /// Alerts now firing.
    pub firing: usize,
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    library: Library,
    nodes: Vec<Node>,
    /// Numbers of the nodes by name, in order of names.
    names: BTreeMap<String, usize>,
    last_node: usize,
    fleet: Fleet,
    scratch: Scratch,
    /// The latest arrival the events have shown.
    arrived: Timestamp,
    /// An event that waits for the next one to bear its stamp out.
    aside: Option<Box<Aside>>,
    /// The latest arrival or tick.
    now: Timestamp,
    /// When time next moves on for all nodes.
    next_beat: Timestamp,
    output: Output,
}

impl Engine {
    /// An engine that has seen nothing.
    pub fn new(library: Library) -> Self {
        let mut scratch = Scratch::default();
        for kind in library.plan.kinds.iter().flatten() {
            scratch.fit(&kind.projection);
        }
        let fleet = Fleet::new(&library);
        Engine {
            library,
            nodes: Vec::new(),
            names: BTreeMap::new(),
            last_node: 0,
            fleet,
            scratch,
            arrived: Timestamp::MIN,
            aside: None,
            now: Timestamp::MIN,
            next_beat: Timestamp::MIN,
            output: Output::default(),
        }
    }

    /// Advances by one input. Pure: same inputs, same changes.
    pub fn step(&mut self, input: Input) -> Vec<Change> {
        match input {
            Input::Event { frame, node, origin } => self.event(frame, node, origin),
            Input::Tick(at) => self.beat_until(at),
        }
        std::mem::take(&mut self.output.changes)
    }

    /// Nothing more will come: releases what is held and ticks up to the last event.
    pub fn finish(&mut self) -> Vec<Change> {
        self.take_aside();
        for node in &mut self.nodes {
            node.sequencer.finish();
            node.drain(&self.library, &mut self.scratch, &mut self.output);
        }
        self.tick_fleet(self.now);
        std::mem::take(&mut self.output.changes)
    }

    /// What went wrong since this was last asked.
    pub fn take_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.output.problems)
    }

    /// Takes an event; `stamp` is when it arrived, if that is known.
    fn take(&mut self, frame: Frame, default_node: &str, origin: u64, stamp: Option<Timestamp>) {
        if let Some(stamp) = stamp {
            // Before a new node is made: what it was not there for, it must not be part of.
            self.arrive(stamp);
        }
        let name = frame.node().unwrap_or(default_node);
        let Some(id) = self.node(name) else {
            self.output.problems.push(Problem::TooManyNodes { node: name.to_string(), origin });
            return;
        };
        let at = Timestamp::from_unix_ms(frame.timestamp_ms as i64);
        let arrival = match stamp {
            Some(stamp) => Arrival::Stamped(stamp),
            None => Arrival::Derived(self.nodes[id].sequencer.derive_arrival(at, self.arrived)),
        };
        if let Arrival::Stamped(stamp) = arrival {
            // Time begins now if this is the first node.
            self.beat_until(stamp);
        }
        let node = &mut self.nodes[id];
        let range = frame.body_range();
        let body = Value::Bytes { start: range.start, len: range.end - range.start };
        let (kind, body) = match self.library.plan.classify(&frame.payload, frame.extractor, body) {
            Ok(Some(found)) => found,
            // A kind of a later schema: counted, and it still tells the time.
            Ok(None) => (self.library.plan.kinds.len(), Value::Absent),
            // Its bytes are of no use, but it still tells the time.
            Err(error) => {
                node.undecodable += 1;
                let (node, reason) = (node.name.clone(), error.to_string());
                self.output.problems.push(Problem::Undecodable { node, at, origin, reason });
                (self.library.plan.kinds.len(), Value::Absent)
            }
        };
        node.events[kind] += 1;
        let extractor = frame.extractor;
        let held = Held { kind, body, event: frame.payload, origin };
        let is_wanted = self.library.plan.kinds.get(kind).is_some_and(Option::is_some);
        let newest = if is_wanted {
            node.sequencer.accept(at, arrival, held)
        } else {
            node.observe(at, arrival, held)
        };
        // What the monitor says of itself shows nothing of the node.
        if extractor != OBSERVER {
            node.note_presence(extractor, newest);
        }
        self.fleet.note_event();
        node.drain(&self.library, &mut self.scratch, &mut self.output);
        if let Arrival::Derived(_) = arrival {
            let arrived_at = node.sequencer.derive_arrival(newest, self.arrived);
            self.arrive(arrived_at);
        }
    }

    fn arrive(&mut self, at: Timestamp) {
        self.arrived = self.arrived.max(at);
        self.beat_until(at);
    }

    /// Moves time on for all nodes, beat by beat, up to `now`.
    fn beat_until(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        if self.nodes.is_empty() {
            // Time begins with the first event, not with the first tick.
            return;
        }
        if self.next_beat == Timestamp::MIN {
            self.next_beat = self.now.next_multiple_ms(BEAT_MS);
        }
        while self.next_beat <= self.now {
            let beat = self.next_beat;
            self.next_beat = beat.plus_ms(BEAT_MS);
            for node in &mut self.nodes {
                node.sequencer.advance(beat);
                node.drain(&self.library, &mut self.scratch, &mut self.output);
            }
            self.tick_fleet(beat);
            if self.next_beat.plus_ms(BEAT_MS) < self.now && self.is_idle() {
                // Beats without anything to happen need not be counted out.
                self.next_beat = self.now.next_multiple_ms(BEAT_MS).plus_ms(-BEAT_MS);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.fleet.is_idle() && self.nodes.iter().all(|node| node.is_idle(&self.library))
    }

    /// The number of a node by name; a new one is made for a new name while there is room.
    fn node(&mut self, name: &str) -> Option<usize> {
        if self.nodes.get(self.last_node).is_some_and(|node| *node.name == *name) {
            return Some(self.last_node);
        }
        self.last_node = match self.names.get(name) {
            Some(id) => *id,
            None if self.nodes.len() >= NODES_MAX => return None,
            None => {
                self.nodes.push(Node::new(&self.library, name));
                self.names.insert(name.to_string(), self.nodes.len() - 1);
                self.nodes.len() - 1
            }
        };
        Some(self.last_node)
    }

    fn tick_fleet(&mut self, now: Timestamp) {
        if now < self.fleet.next {
            return;
        }
        let nodes: Vec<&Node> = self.names.values().map(|id| &self.nodes[*id]).collect();
        self.fleet.tick(&self.library, &nodes, now, &mut self.output);
    }

    /// What was seen of each node, in order of names.
    pub fn nodes(&self) -> Vec<NodeReport> {
        self.names.values().map(|id| self.nodes[*id].report()).collect()
    }

    /// How each rule did, in the order of the rules.
    pub fn rules(&self) -> Vec<RuleReport> {
        (0..self.library.rules.len()).map(|rule| self.rule_report(rule)).collect()
    }

    fn rule_report(&self, rule: RuleId) -> RuleReport {
        let mut health = self.fleet.health(rule).cloned().unwrap_or_default();
        let mut firing = self.fleet.firing(rule);
        for node in &self.nodes {
            let on_node = &node.rules[rule].health;
            health.evaluations += on_node.evaluations;
            health.script_calls += on_node.script_calls;
            health.findings += on_node.findings;
            health.inhibited += on_node.inhibited;
            health.crowded_out += on_node.crowded_out;
            health.failures += on_node.failures;
            health.skipped += on_node.skipped;
            health.last_error = health.last_error.or_else(|| on_node.last_error.clone());
            firing += node.alerts[rule].count(State::Firing);
        }
        RuleReport { name: self.library.names[rule].clone(), health, firing }
    }

    /// Gives up what was seen and returns the rules.
    pub fn into_library(self) -> Library {
        self.library
    }

    /// The rules and their plan.
    pub fn library(&self) -> &Library {
        &self.library
    }
}

impl Node {
    fn report(&self) -> NodeReport {
        let kinds = tocsin_proto::schema::Schema::embedded().kinds();
        let names = kinds.iter().map(|kind| kind.name.as_str()).chain(["unknown"]);
        let counts = self.sequencer.counts;
        NodeReport {
            name: self.name.clone(),
            events: names.zip(self.events.iter().copied()).filter(|(_, count)| *count > 0).collect(),
            late: counts.late,
            implausible: counts.implausible,
            clock_steps: counts.clock_steps,
            undecodable: self.undecodable,
            evicted: self.tables.iter().map(|table| table.evicted).sum(),
            skew_ms: self.sequencer.skew_ms(),
        }
    }
}
