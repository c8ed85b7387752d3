//! Alerts that change too often. Memory is bounded: only so many changes are remembered as are too many.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

use super::routing::Flapping;

/// The newest changes of an alert, on the program's clock.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Changes {
    recent: Vec<Timestamp>,
    /// Since when it changes too often.
    pub flapping_since: Option<Timestamp>,
}

impl Changes {
    /// The alert fired or resolved.
    pub fn note(&mut self, now: Timestamp, flapping: &Flapping) {
        if flapping.changes == 0 {
            self.recent.clear();
            self.flapping_since = None;
            return;
        }
        self.recent.push(now);
        self.recent.retain(|at| now.ms_since(*at) < flapping.within.millis());
        let too_many = flapping.changes as usize;
        self.recent.drain(..self.recent.len().saturating_sub(too_many));
        if self.recent.len() == too_many && self.flapping_since.is_none() {
            self.flapping_since = Some(now);
        }
    }

    /// When it is calm again, unless it changes before.
    pub fn calm_at(&self, flapping: &Flapping) -> Option<Timestamp> {
        self.flapping_since.map(|since| self.recent.last().unwrap_or(&since).plus_ms(flapping.calm.millis()))
    }

    /// The clock was set back: no change was in the future.
    pub fn mend_clock(&mut self, now: Timestamp) {
        self.recent.iter_mut().for_each(|at| *at = now.min(*at));
        self.flapping_since = self.flapping_since.map(|since| since.min(now));
    }

    /// It is calm again.
    pub fn settle(&mut self) {
        *self = Changes::default();
    }
}
