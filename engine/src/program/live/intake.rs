//! What happens to an event on arrival: it is stamped, its running number is checked, and what its extractor says of
//! itself is noted. No clock in here: the time of arrival is an argument.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use tocsin_proto::archive::{EnvelopeError, Frame, OBSERVER, envelope};
use tocsin_proto::pb::event::Event;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::pb::observer::events_lost::Place;
use tocsin_proto::pb::observer::extractor_status::State;
use tocsin_proto::pb::observer::observer::ObserverEvent;
use tocsin_proto::pb::observer::{Downtime, EventsLost, ExtractorStatus, Observer};

use super::status::ExtractorState;

/// Numbers of extractors' messages in `Event`, and their names.
const EXTRACTORS: [(u32, &str); 5] = [(1, "ebpf"), (2, "rpc"), (3, "p2p"), (4, "log"), (5, "ipc")];
/// Extractors and nodes remembered at most: names come with the events, so somebody could make up any number.
const REMEMBERED_MAX: usize = 4096;

/// Longest name of a node that is remembered, in bytes.
const NAME_MAX: usize = 256;

/// Looks at events as they arrive.
#[derive(Debug, Default)]
pub struct Intake {
    /// What a restart has to know.
    pub memory: Memory,
    /// Newest state of each extractor, by node and extractor.
    pub extractors: BTreeMap<(String, String), ExtractorState>,
    /// Events missing from the numbering, by node and extractor.
    pub lost: BTreeMap<(String, String), u64>,
    /// Payloads that were no events, by node.
    pub undecodable: BTreeMap<String, u64>,
}

/// What a restart has to know: kept in the checkpoint.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// By node.
    pub nodes: BTreeMap<String, NodeMemory>,
}

/// Of one node.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeMemory {
    /// Last running number by extractor.
    sequences: BTreeMap<String, u64>,
    /// Arrival of the newest event; unix ms.
    pub last_event_ms: u64,
    /// Arrival less event time of the newest event, in ms.
    pub lag_ms: i64,
}

/// An event as it goes into recording and engine, and the loss that its number shows.
#[derive(Debug)]
pub struct Accepted {
    /// Goes first, if there is one.
    pub lost: Option<Frame>,
    /// The event.
    pub frame: Frame,
}

impl Intake {
    /// Takes a payload that arrived at `now_ms` from a source of `node` (which the payload itself may name).
    pub fn accept(&mut self, payload: &Bytes, node: &str, now_ms: u64) -> Result<Accepted, EnvelopeError> {
        let stamped = stamp(payload, node, now_ms).inspect_err(|_| {
            if self.undecodable.len() < REMEMBERED_MAX {
                *self.undecodable.entry(node.to_string()).or_default() += 1;
            }
        })?;
        let missing = self.note(&stamped, now_ms);
        let lost = missing.map(|(extractor, count)| {
            let node = stamped.node().unwrap_or_default();
            let lost = EventsLost { extractor, place: Place::Transport as i32, count, what: None };
            own_event(node, stamped.timestamp_ms, now_ms, ObserverEvent::EventsLost(lost))
        });
        Ok(Accepted { lost, frame: stamped })
    }

    /// Notes an event that was recorded before; nothing is stamped or reported.
    pub fn recall(&mut self, frame: &Frame) {
        self.note(frame, frame.received_at_ms.unwrap_or(frame.timestamp_ms));
    }

    /// Notes an event; returns extractor and number of the events that are missing before it.
    fn note(&mut self, frame: &Frame, now_ms: u64) -> Option<(String, u64)> {
        let node = frame.node()?;
        if !self.memory.nodes.contains_key(node) {
            if self.memory.nodes.len() >= REMEMBERED_MAX || node.len() > NAME_MAX {
                return None;
            }
            self.memory.nodes.insert(node.to_string(), NodeMemory::default());
        }
        let memory = self.memory.nodes.get_mut(node).expect("just made sure of");
        memory.last_event_ms = now_ms;
        memory.lag_ms = now_ms as i64 - frame.timestamp_ms as i64;
        let status = observer(frame);
        let extractor = match &status {
            Some(ObserverEvent::Extractor(status)) => status.name.as_str(),
            Some(ObserverEvent::EventsLost(lost)) => lost.extractor.as_str(),
            Some(ObserverEvent::Downtime(_)) => return None,
            None => EXTRACTORS.iter().find(|(number, _)| *number == frame.extractor)?.1,
        };
        if !EXTRACTORS.iter().any(|(_, name)| *name == extractor) {
            return None;
        }
        let missing = frame.sequence.map_or(0, |sequence| memory.missing_before(extractor, sequence));
        let found = (missing > 0).then(|| (extractor.to_string(), missing));
        if missing > 0 {
            let lost = self.lost.entry((node.to_string(), extractor.to_string())).or_default();
            *lost = lost.saturating_add(missing);
        }
        if let Some(ObserverEvent::Extractor(status)) = status {
            self.extractors.insert((node.to_string(), status.name.clone()), state_of(status, now_ms));
        }
        found
    }

    /// An event that tells of a loss which no running number shows.
    pub fn loss(&self, node: &str, source: &str, count: u64, what: &str, now_ms: u64) -> Frame {
        let lag_ms = self.memory.nodes.get(node).map_or(0, |memory| memory.lag_ms);
        let lost = EventsLost {
            extractor: source.to_string(),
            place: Place::Transport as i32,
            count,
            what: Some(what.to_string()),
        };
        own_event(node, now_ms.saturating_add_signed(-lag_ms), now_ms, ObserverEvent::EventsLost(lost))
    }

    /// Events that tell each node's rules that nothing was seen from its last event until now.
    pub fn downtime(&self, now_ms: u64, clean: bool) -> Vec<Frame> {
        let nodes = self.memory.nodes.iter().filter(|(_, memory)| memory.last_event_ms < now_ms);
        nodes
            .map(|(node, memory)| {
                let downtime = Downtime { from: memory.last_event_ms, until: now_ms, clean };
                let node_now_ms = now_ms.saturating_add_signed(-memory.lag_ms);
                own_event(node, node_now_ms, now_ms, ObserverEvent::Downtime(downtime))
            })
            .collect()
    }
}

impl NodeMemory {
    /// Notes a running number; returns how many are missing before it.
    fn missing_before(&mut self, extractor: &str, sequence: u64) -> u64 {
        let Some(last) = self.sequences.get_mut(extractor) else {
            // The first one seen: whatever came before was not for us.
            self.sequences.insert(extractor.to_string(), sequence);
            return 0;
        };
        let missing = match sequence.checked_sub(*last) {
            // The same again: a repeated delivery.
            Some(0) => 0,
            Some(ahead) => ahead - 1,
            // It counts from one again: the extractor started anew.
            None => sequence.saturating_sub(1),
        };
        *last = sequence;
        missing
    }
}

/// Puts the time of arrival, and the node if it is missing, behind a payload: in protobuf the last occurrence counts.
fn stamp(payload: &Bytes, node: &str, now_ms: u64) -> Result<Frame, EnvelopeError> {
    let has_node = envelope(payload)?.node.is_some();
    let mut stamped = BytesMut::with_capacity(payload.len() + node.len() + 16);
    stamped.put_slice(payload);
    if !has_node {
        prost::encoding::string::encode(100, &node.to_string(), &mut stamped);
    }
    prost::encoding::uint64::encode(101, &now_ms, &mut stamped);
    Frame::parse(0, stamped.freeze())
}

/// An event of our own, at `timestamp_ms` on the node's clock.
fn own_event(node: &str, timestamp_ms: u64, now_ms: u64, event: ObserverEvent) -> Frame {
    let event = Event {
        // A clock close to the end of Bitcoin's time must not take the event beyond it.
        timestamp: timestamp_ms.min(u64::from(u32::MAX) * 1000),
        node: Some(node.to_string()),
        received_at: Some(now_ms),
        sequence: None,
        peer_observer_event: Some(PeerObserverEvent::Observer(Observer { observer_event: Some(event) })),
    };
    Frame::parse(0, event.encode_to_vec().into()).expect("a time of the same clock was accepted")
}

/// What an event says of the monitor, if it says anything of it.
fn observer(frame: &Frame) -> Option<ObserverEvent> {
    if frame.extractor != OBSERVER {
        return None;
    }
    Observer::decode(frame.body()).ok()?.observer_event
}

fn state_of(status: ExtractorStatus, now_ms: u64) -> ExtractorState {
    ExtractorState {
        is_up: status.state() == State::Up,
        detail: status.detail,
        events: status.events,
        errors: status.errors,
        lost: status.lost,
        reconnects: status.reconnects,
        last_error: status.last_error,
        since_ms: status.since,
        reported_ms: now_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_790_000_000_000;

    fn uptime(sequence: Option<u64>, node: Option<&str>) -> Bytes {
        use tocsin_proto::pb::rpc_extractor::{Rpc, rpc::RpcEvent};
        let event = Event {
            timestamp: NOW_MS - 5,
            node: node.map(str::to_string),
            received_at: None,
            sequence,
            peer_observer_event: Some(PeerObserverEvent::Rpc(Rpc { rpc_event: Some(RpcEvent::Uptime(7)) })),
        };
        event.encode_to_vec().into()
    }

    fn lost(accepted: &Accepted) -> Option<(String, u64)> {
        match observer(accepted.lost.as_ref()?) {
            Some(ObserverEvent::EventsLost(lost)) => Some((lost.extractor, lost.count)),
            other => panic!("{other:?} is no loss"),
        }
    }

    #[test]
    fn an_event_gets_its_arrival_and_where_it_lacks_one_its_node() {
        let mut intake = Intake::default();
        let accepted = intake.accept(&uptime(None, None), "alice", NOW_MS).expect("an event");
        assert_eq!(accepted.frame.node(), Some("alice"));
        assert_eq!(accepted.frame.received_at_ms, Some(NOW_MS));
        let accepted = intake.accept(&uptime(None, Some("bob")), "alice", NOW_MS).expect("an event");
        assert_eq!(accepted.frame.node(), Some("bob"));
        assert_eq!(intake.memory.nodes["bob"].lag_ms, 5);
    }

    #[test]
    fn a_jump_of_the_numbers_is_a_loss_and_a_new_start_is_none() {
        let mut intake = Intake::default();
        let mut missing = |sequence| {
            lost(&intake.accept(&uptime(Some(sequence), None), "alice", NOW_MS).expect("an event"))
        };
        assert_eq!(missing(17), None, "the first one seen");
        assert_eq!(missing(18), None);
        assert_eq!(missing(18), None, "delivered twice");
        assert_eq!(missing(29), Some(("rpc".to_string(), 10)));
        assert_eq!(missing(1), None, "the extractor started anew");
        assert_eq!(missing(2), None);
        assert_eq!(missing(1), None, "and once more");
        assert_eq!(intake.lost[&("alice".to_string(), "rpc".to_string())], 10);
    }

    #[test]
    fn what_is_no_event_is_counted() {
        let mut intake = Intake::default();
        assert!(intake.accept(&Bytes::from_static(b"garbage"), "alice", NOW_MS).is_err());
        assert_eq!(intake.undecodable["alice"], 1);
    }

    #[test]
    fn a_downtime_runs_from_the_last_event_to_now() {
        let mut intake = Intake::default();
        intake.accept(&uptime(None, None), "alice", NOW_MS).expect("an event");
        let frames = intake.downtime(NOW_MS + 60_000, false);
        let Some(ObserverEvent::Downtime(downtime)) = observer(&frames[0]) else { panic!("no downtime") };
        assert_eq!((downtime.from, downtime.until, downtime.clean), (NOW_MS, NOW_MS + 60_000, false));
    }
}
