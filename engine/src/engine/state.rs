//! The engine's state as data: written to bytes, read back, and carried over to other rules.
//!
//! Everything that can change what the engine says later is in a snapshot, so that an engine restored from it goes on as
//! if nothing had happened. It says itself what is in it: rules, windows and kinds by their names and definitions, not
//! by their numbers. What the rules of now do not know is dropped. Damaged bytes are an error.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tocsin_proto::schema::Schema;

use super::adopt::{Gone, Mapping};
use super::arrival::Aside;
use super::fleet::Fleet;
use super::node::Node;
use super::{Engine, Library, NODES_MAX};
use crate::plan::TableIdentity;
use crate::rules::Severity;
use crate::rules::definition::Scope;
use crate::stored::checksum;
use crate::time::Timestamp;
use crate::timeline::Change;

/// First bytes of a snapshot: name and version of the format.
const MAGIC: [u8; 8] = *b"tocsnap\x03";

/// A snapshot cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StateError {
    /// It begins with other bytes.
    #[error("this is no snapshot of this version of tocsin")]
    Unknown,
    /// Its bytes have changed.
    #[error("the snapshot is damaged")]
    Damaged,
}

/// All an engine remembers; borrowed from one that runs on, or owned.
#[derive(Debug, Serialize, Deserialize)]
struct State<'e> {
    identity: Identity,
    nodes: Cow<'e, [Node]>,
    fleet: Cow<'e, Fleet>,
    arrived: Timestamp,
    aside: Cow<'e, Option<Box<Aside>>>,
    now: Timestamp,
    next_beat: Timestamp,
}

/// What the numbers in a state stand for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Milliseconds between ticks of each group of rules.
    pub groups: Vec<i64>,
    pub tables: Vec<TableIdentity>,
    pub rules: Vec<RuleIdentity>,
    pub kinds: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RuleIdentity {
    pub name: String,
    pub severity: Severity,
    pub is_fleet: bool,
    /// The table of its keys.
    pub table: usize,
    /// Of the text of its file.
    pub text: u64,
    /// Of its parameters, on all nodes.
    pub params: u64,
}

impl Library {
    pub(super) fn identity(&self) -> Identity {
        let rules = self.rules.iter().zip(&self.plan.rules).map(|(rule, plan)| RuleIdentity {
            name: rule.name.clone(),
            severity: rule.definition.severity,
            is_fleet: rule.definition.scope == Scope::Fleet,
            table: plan.table,
            text: rule.digest,
            params: checksum(format!("{:?}", rule.params).as_bytes()),
        });
        Identity {
            groups: self.plan.groups.clone(),
            tables: self.plan.identities.clone(),
            rules: rules.collect(),
            kinds: Schema::embedded().kinds().iter().map(|kind| kind.name.clone()).collect(),
        }
    }
}

impl Engine {
    /// All the engine remembers, as bytes for [`Engine::restore`]. Take its problems first: they are not in it.
    pub fn snapshot(&self) -> Vec<u8> {
        let state = State {
            identity: self.library.identity(),
            nodes: Cow::Borrowed(&self.nodes),
            fleet: Cow::Borrowed(&self.fleet),
            arrived: self.arrived,
            aside: Cow::Borrowed(&self.aside),
            now: self.now,
            next_beat: self.next_beat,
        };
        let mut head = MAGIC.to_vec();
        head.extend([0; 8]);
        let mut bytes = postcard::to_extend(&state, head).expect("plain data always serialises");
        let sum = checksum(&bytes[16..]);
        bytes[8..16].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// An engine that goes on where another was when its snapshot was taken, and in words what of it the rules of now do
    /// not know. Alerts of rules that are gone are resolved by the next step. The error gives the library back.
    #[expect(clippy::result_large_err, reason = "the error is as large as what succeeds: the library")]
    pub fn restore(library: Library, bytes: &[u8]) -> Result<(Engine, Vec<String>), (Library, StateError)> {
        match State::read(bytes) {
            Ok(state) => {
                let (mut engine, changes, notes) = state.into_engine(library);
                engine.output.changes = changes;
                Ok((engine, notes))
            }
            Err(error) => Err((library, error)),
        }
    }

    /// Goes on with other rules. Windows that are still asked for keep their samples, and alerts of rules that are still
    /// there go on; those of rules that are gone, or have other keys now, are resolved at once. Says in words what
    /// changed.
    pub fn reload(&mut self, library: Library) -> (Vec<Change>, Vec<String>) {
        let state = State {
            identity: self.library.identity(),
            nodes: Cow::Owned(std::mem::take(&mut self.nodes)),
            fleet: Cow::Owned(std::mem::replace(&mut self.fleet, Fleet::new(&library))),
            arrived: self.arrived,
            aside: Cow::Owned(self.aside.take()),
            now: self.now,
            next_beat: self.next_beat,
        };
        let (mut engine, changes, notes) = state.into_engine(library);
        engine.output = std::mem::take(&mut self.output);
        *self = engine;
        (changes, notes)
    }
}

impl State<'_> {
    fn read(bytes: &[u8]) -> Result<State<'static>, StateError> {
        let Some(rest) = bytes.strip_prefix(&MAGIC) else { return Err(StateError::Unknown) };
        let (sum, body) = rest.split_first_chunk::<8>().ok_or(StateError::Damaged)?;
        if checksum(body) != u64::from_le_bytes(*sum) {
            return Err(StateError::Damaged);
        }
        let state: State<'static> = match postcard::take_from_bytes(body) {
            Ok((state, [])) => state,
            _ => return Err(StateError::Damaged),
        };
        if state.is_sound() { Ok(state) } else { Err(StateError::Damaged) }
    }

    /// False if nothing can have made this but damage.
    fn is_sound(&self) -> bool {
        let identity = &self.identity;
        let names: BTreeSet<&str> = self.nodes.iter().map(|node| &*node.name).collect();
        let is_sound = |node: &Node| {
            let tables = node.tables.iter().zip(&identity.tables);
            node.tables.len() == identity.tables.len()
                && tables.clone().all(|(table, known)| table.is_sound(known.keys.len(), known.windows.len()))
                && node.alerts.len() == identity.rules.len()
                && node.rules.len() == identity.rules.len()
                && node.next_tick.len() == identity.groups.len()
                && node.events.len() == identity.kinds.len() + 1
        };
        self.nodes.len() <= NODES_MAX
            && names.len() == self.nodes.len()
            && identity.rules.iter().all(|rule| rule.table < identity.tables.len())
            && self.fleet.rules.iter().all(|rule| rule.rule < identity.rules.len())
            && self.nodes.iter().all(is_sound)
    }

    fn into_engine(self, library: Library) -> (Engine, Vec<Change>, Vec<String>) {
        let mapping = Mapping::new(self.identity, library.identity());
        let mut engine = Engine::new(library);
        let mut gone = Gone::default();
        for node in self.nodes.into_owned() {
            engine.names.insert(node.name.to_string(), engine.nodes.len());
            engine.nodes.push(mapping.node(node, &engine.library, &mut gone));
        }
        engine.fleet = mapping.fleet(self.fleet.into_owned(), &engine.library, self.now, &mut gone);
        engine.arrived = self.arrived;
        engine.aside = self.aside.into_owned();
        engine.now = self.now;
        engine.next_beat = self.next_beat;
        (engine, gone.changes, mapping.notes(gone.states))
    }
}

/// An event as its bytes.
pub(super) mod frame {
    use bytes::Bytes;
    use serde::de::Error;
    use serde::{Deserializer, Serializer};
    use tocsin_proto::archive::Frame;

    pub fn serialize<S: Serializer>(frame: &Frame, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&frame.payload)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Frame, D::Error> {
        let payload: Bytes = crate::stored::bytes::deserialize(deserializer)?;
        Frame::parse(0, payload).map_err(D::Error::custom)
    }
}

/// What a script remembers, as pieces.
pub(super) mod plain {
    use rhai::Dynamic;
    use serde::de::Error;
    use serde::{Deserializer, Serializer};

    use super::*;
    use crate::rules::plain::{Piece, pieces_of, value_of};

    pub fn serialize<S: Serializer>(this: &Dynamic, serializer: S) -> Result<S::Ok, S::Error> {
        // What a call leaves behind is checked, and so it is plain.
        pieces_of(this).unwrap_or(vec![Piece::Unit]).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Dynamic, D::Error> {
        let pieces: Vec<Piece> = Vec::deserialize(deserializer)?;
        value_of(pieces).ok_or_else(|| D::Error::custom("no value"))
    }
}
