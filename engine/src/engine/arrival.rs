//! When events arrived: which stamps are believed.
//!
//! A stamp is judged by the events and stamps before it, and by the one after it, but never by ticks: a replay sees
//! none, and must come to the same. A backlog after a stall looks, at its first event, like a wrong stamp; that event
//! waits for the next one, which shows which it is. At most one event waits.

use serde::{Deserialize, Serialize};
use tocsin_proto::archive::Frame;

use super::Engine;
use crate::sequence::{JUMP_MS, Sequencer};
use crate::time::Timestamp;

/// The latest stamp that can be true: the last second of bitcoin's 32-bit unix time.
const STAMP_MAX_MS: u64 = (u32::MAX as u64) * 1000 + 999;

/// An event whose stamp is far ahead of all before it, and does not fit the event's own time either.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Aside {
    #[serde(with = "super::state::frame")]
    pub frame: Frame,
    /// The node, if the event does not say.
    pub node: String,
    pub origin: u64,
    pub stamp: Timestamp,
}

/// What is to be thought of a stamp.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stamp {
    Believed(Timestamp),
    /// Far ahead: a wrong stamp, or the begin of a backlog.
    Doubtful(Timestamp),
    /// There is none, or it cannot be true.
    Absent,
}

impl Engine {
    /// Takes an event once it is known what to think of its stamp.
    pub(super) fn event(&mut self, frame: Frame, node: &str, origin: u64) {
        let recorded = frame.received_at_ms.filter(|ms| *ms <= STAMP_MAX_MS);
        let recorded = recorded.map(|ms| Timestamp::from_unix_ms(ms as i64));
        if let Some(aside) = self.aside.take() {
            match recorded {
                // Two stamps bear each other out. All time up to now has passed, also for the first of them: a live
                // clock has ticked meanwhile.
                Some(stamp) if stamp >= aside.stamp.plus_ms(-JUMP_MS) => {
                    self.take(aside.frame, &aside.node, aside.origin, Some(stamp));
                }
                _ => self.take(aside.frame, &aside.node, aside.origin, None),
            }
        }
        match self.judge(&frame, node, recorded) {
            Stamp::Believed(stamp) => self.take(frame, node, origin, Some(stamp)),
            Stamp::Doubtful(stamp) => {
                self.aside = Some(Box::new(Aside { frame, node: node.to_string(), origin, stamp }));
            }
            Stamp::Absent => self.take(frame, node, origin, None),
        }
    }

    /// Takes the event that waits for another, if one does: none will come.
    pub(super) fn take_aside(&mut self) {
        if let Some(aside) = self.aside.take() {
            self.take(aside.frame, &aside.node, aside.origin, None);
        }
    }

    fn judge(&self, frame: &Frame, default_node: &str, recorded: Option<Timestamp>) -> Stamp {
        let Some(stamp) = recorded else { return Stamp::Absent };
        let is_first = self.arrived == Timestamp::MIN;
        if !is_first && stamp.ms_since(self.arrived).abs() <= JUMP_MS {
            return Stamp::Believed(stamp);
        }
        let at = Timestamp::from_unix_ms(frame.timestamp_ms as i64);
        let node = self.names.get(frame.node().unwrap_or(default_node)).map(|id| &self.nodes[*id].sequencer);
        if node.map_or(stamp.ms_since(at).abs() <= JUMP_MS, |node: &Sequencer<_>| node.fits(at, stamp)) {
            Stamp::Believed(stamp)
        } else if is_first || stamp > self.arrived {
            Stamp::Doubtful(stamp)
        } else {
            Stamp::Absent
        }
    }
}
