//! The clock of an anomaly window: all its keys end their steps together, at multiples of the step.
//!
//! A step ends when its time has come, whether or not an event comes. While nobody listens the clock stands still
//! after [`AWAKE_STEPS`](super::watch::AWAKE_STEPS) missing steps, so that a gap of a year costs no more than one of an hour.

use serde::{Deserialize, Serialize};

use super::column::{Body, Column, Pushed, RowId};
use super::watch::{Assessed, Heard, HeardBy, Step, Watch, Watched};
use super::{Aggregate, Reading, Shown, Window};
use crate::time::Timestamp;

/// Detectors a window may hold before the stalest key's is given up; each has at most 20 KiB.
pub const DETECTORS_MAX: usize = 256;

/// Where an anomaly window is in time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Steps {
    /// End of the step under way; none while the window sleeps.
    pub ends_at: Option<Timestamp>,
    /// Number and time of the newest poll.
    poll: u64,
    polled_at: Timestamp,
}

impl Default for Steps {
    fn default() -> Self {
        Steps { ends_at: None, poll: 0, polled_at: Timestamp::MIN }
    }
}

/// What a node knows of a step besides the samples.
#[derive(Debug, Clone, Copy)]
pub struct Hearing<'n> {
    /// When its extractors were heard.
    pub heard: &'n Heard,
    /// It loads the chain for the first time.
    pub is_syncing: bool,
}

impl Window {
    /// The series that is watched, if it is an anomaly window.
    pub fn watched(&self) -> Option<Watched> {
        match self.aggregate {
            Aggregate::Anomaly(watched) => Some(watched),
            _ => None,
        }
    }
}

impl Column {
    /// When the step under way ends; never while there is none.
    pub fn closes_at(&self) -> Timestamp {
        self.steps.ends_at.unwrap_or(Timestamp::MAX)
    }

    /// Notes the answer to a poll, before its rows.
    pub fn note_poll(&mut self, at: Timestamp) {
        self.steps.poll += 1;
        self.steps.polled_at = at;
    }

    /// Takes a sample of an anomaly window.
    pub(super) fn push_watched(
        &mut self,
        watched: Watched,
        row: RowId,
        at: Timestamp,
        value: f64,
        group: u64,
    ) -> Pushed {
        let (id, is_new) = self.cell_for(row, at);
        let ends_at = self.steps.ends_at.get_or_insert(at.next_multiple_ms(watched.step_ms));
        debug_assert!(at < *ends_at, "steps are closed before samples of the next one come");
        let cell = &mut self.cells[id];
        cell.last_at = at;
        if let Body::Watch(watch) = &mut cell.body {
            watch.push(watched.take, at, value, group, self.steps.poll);
        }
        Pushed { is_new, wake_at: None }
    }

    /// Ends the step under way. Returns the rows whose last sample is longer ago than the window reaches; they are given
    /// up.
    pub(super) fn close_step(&mut self, hearing: &Hearing) -> Vec<RowId> {
        let window = self.window;
        let (Some(watched), Some(ends_at)) = (window.watched(), self.steps.ends_at) else {
            return Vec::new();
        };
        let begins_at = ends_at.plus_ms(-watched.step_ms);
        let is_heard = match watched.heard_by {
            HeardBy::Samples => false,
            HeardBy::Polls => self.steps.polled_at >= begins_at,
            HeardBy::Extractor(extractor) => hearing.heard.within(extractor, begins_at, ends_at),
        };
        let step = Step { ends_at, is_heard, poll: self.steps.poll, is_syncing: hearing.is_syncing };
        let mut gone = Vec::new();
        let mut is_awake = false;
        for id in self.live_cells() {
            let cell = &mut self.cells[id];
            let row = cell.row;
            let is_old = ends_at.ms_since(cell.last_at) > window.over_ms;
            let Body::Watch(watch) = &mut cell.body else { continue };
            let has_changed = watch.close(&window, &watched, &step);
            if has_changed || is_old {
                self.list_change(id);
            }
            if is_old {
                gone.push(row);
                continue;
            }
            let Body::Watch(watch) = &self.cells[id].body else { continue };
            is_awake |= watch.is_awake();
        }
        gone.iter().for_each(|row| {
            self.remove(*row);
        });
        self.steps.ends_at = is_awake.then(|| ends_at.plus_ms(watched.step_ms));
        gone
    }

    /// Masks what comes after a restart.
    pub(super) fn mask(&mut self, at: Timestamp) {
        for id in self.live_cells() {
            if let Body::Watch(watch) = &mut self.cells[id].body
                && watch.mask(at)
            {
                self.list_change(id);
            }
        }
    }

    /// True for an anomaly window.
    pub fn is_watch(&self) -> bool {
        matches!(self.window.aggregate, Aggregate::Anomaly(_))
    }

    /// The row whose samples ended longest ago, if there are more detectors than allowed; never `fed`.
    pub(super) fn detector_to_give_up(&self, fed: RowId) -> Option<RowId> {
        if self.cells.len() - self.free.len() <= DETECTORS_MAX {
            return None;
        }
        let others = self.live_cells().into_iter().filter(|id| self.cells[*id].row != fed);
        others.min_by_key(|id| (self.cells[*id].last_at, *id)).map(|id| self.cells[id].row)
    }

    fn live_cells(&self) -> Vec<usize> {
        (0..self.cells.len()).filter(|id| self.cell(self.cells[*id].row) == Some(*id)).collect()
    }

    fn watch(&self, row: RowId) -> Option<&Watch> {
        match &self.cells[self.cell(row)?].body {
            Body::Watch(watch) => Some(watch),
            _ => None,
        }
    }

    /// What was said of a row's newest step.
    pub(super) fn assessment(&self, row: RowId) -> Option<Assessed> {
        self.watch(row)?.assessment()
    }

    /// What a rule is shown for a row.
    pub fn shown(&self, row: RowId, now: Timestamp) -> Shown {
        match self.window.aggregate {
            Aggregate::Anomaly(_) => {
                self.assessment(row).map_or(Shown::Number(Reading::Nothing), Shown::Assessed)
            }
            _ => Shown::Number(self.reading(row, now)),
        }
    }

    /// [`Column::shown`], worked out now.
    pub fn shown_now(&self, row: RowId, now: Timestamp) -> Shown {
        match self.window.aggregate {
            Aggregate::Anomaly(_) => self.shown(row, now),
            _ => Shown::Number(self.read(row, now)),
        }
    }
}
