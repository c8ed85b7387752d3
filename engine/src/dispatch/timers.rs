//! What is due when: one timer for each alert, receiver, silence and group.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Timestamp;

use super::alert::Fingerprint;
use super::group::GroupId;

/// What a timer is for. What is due at the same instant is done in this order: an alert is calm again before its group
/// tells of it, and a digest goes before what would have to wait for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Alert(Fingerprint),
    Silence(String),
    Receiver(String),
    Group(GroupId),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Timestamp, Due)>,
    at: BTreeMap<Due, Timestamp>,
}

impl Timers {
    /// Sets the timer, or takes it away.
    pub fn set(&mut self, due: Due, at: Option<Timestamp>) {
        if self.at.get(&due).copied() == at {
            return;
        }
        if let Some((due, old)) = self.at.remove_entry(&due) {
            self.queue.remove(&(old, due));
        }
        if let Some(at) = at {
            self.queue.insert((at, due.clone()));
            self.at.insert(due, at);
        }
    }

    /// Takes the first timer that is due.
    pub fn pop(&mut self, now: Timestamp) -> Option<Due> {
        let (at, _) = self.queue.first()?;
        if now < *at {
            return None;
        }
        let (_, due) = self.queue.pop_first()?;
        self.at.remove(&due);
        Some(due)
    }

    pub fn next(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _)| *at)
    }
}
