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

    /// Begins to watch the node itself if its source was heard just now: without any sample a total is zero, and what is
    /// zero for long must be known before it is something else. True if that made a cell.
    pub(super) fn begin_watch(&mut self, now: Timestamp, hearing: &Hearing) -> bool {
        let Some(watched) = self.window.watched() else { return false };
        let since = now.plus_ms(-watched.step_ms);
        let is_heard = match watched.heard_by {
            HeardBy::Samples => false,
            HeardBy::Polls => self.steps.polled_at >= since,
            HeardBy::Extractor(extractor) => hearing.heard.within(extractor, since, now),
        };
        if !is_heard || self.steps.ends_at.is_some() {
            return false;
        }
        self.steps.ends_at = Some(now.next_multiple_ms(watched.step_ms));
        self.cell_for(0, now).1
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

    /// Ends the step under way; the only row may be that of the node itself. Returns the rows whose last sample is longer ago than the window reaches; they are given
    /// up.
    pub(super) fn close_step(&mut self, hearing: &Hearing, is_of_node: bool) -> Vec<RowId> {
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
        let is_cut = match watched.heard_by {
            HeardBy::Extractor(extractor) => hearing.heard.is_cut(extractor, begins_at),
            _ => false,
        };
        let step = Step { ends_at, is_heard, is_cut, poll: self.steps.poll, is_syncing: hearing.is_syncing };
        let (mut gone, mut is_awake) = (Vec::new(), false);
        for id in self.live_cells() {
            let cell = &mut self.cells[id];
            let row = cell.row;
            let is_old = ends_at.ms_since(cell.last_at) > window.over_ms;
            let Body::Watch(watch) = &mut cell.body else { continue };
            let has_changed = watch.close(&window, &watched, &step);
            if step.is_heard && is_of_node {
                // Nothing happens to it for long, and that is known.
                cell.last_at = cell.last_at.max(begins_at);
            }
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

    /// Gives up a row's detector. Rules must see that it is gone.
    pub(super) fn give_up_detector(&mut self, row: RowId) {
        if let Some(id) = self.cell(row) {
            self.list_change(id);
            self.remove(row);
        }
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

#[cfg(test)]
mod tests {
    use super::super::table::{Table, TableDef};
    use super::super::watch::{Take, Watched};
    use super::*;
    use crate::detectors::{Direction, Kind};
    use crate::project::walk::Value;

    fn table(take: Take, over_ms: i64) -> Table {
        let watched = Watched {
            take,
            step_ms: 10_000,
            detector: Kind::Default,
            season_ms: 86_400_000,
            direction: Direction::Both,
            effect_min: 0.0,
            heard_by: take.heard_by(1),
        };
        let window = Window { aggregate: Aggregate::Anomaly(watched), over_ms, integers: true };
        Table::new(&TableDef {
            key_names: vec!["peer_id".into()],
            peer_part: Some(0),
            keys_max: 10_000,
            columns: vec![(window, 1)],
            every_max_ms: 5_000,
        })
    }

    fn push(table: &mut Table, peer_id: u64, at: Timestamp) -> RowId {
        let row = table.row_for(&[Value::U64(peer_id)], &[0], &[], at).expect("a key");
        table.push(0, row, at, 1.0, 0);
        row
    }

    /// Ends all steps up to an instant, the extractor heard in each or in none.
    fn close(table: &mut Table, until: Timestamp, is_heard: bool) -> usize {
        let mut steps = 0;
        while table.closes_at() <= until {
            let at = table.closes_at();
            let mut heard = Heard::default();
            if is_heard {
                heard.note(1, at.plus_ms(-1));
            }
            table.close_steps(at, &Hearing { heard: &heard, is_syncing: false });
            steps += 1;
        }
        steps
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_s(1_767_225_600 + second)
    }

    #[test]
    fn steps_end_at_multiples_of_the_step_although_no_sample_comes() {
        let mut table = table(Take::Count, 86_400_000);
        let row = push(&mut table, 7, at(3));
        assert_eq!(table.closes_at(), at(10));
        assert_eq!(close(&mut table, at(60), true), 6);
        let shown = table.columns[0].shown(row, at(60));
        assert!(matches!(shown, Shown::Assessed(said) if said.assessment.value == 0.0), "{shown:?}");
        assert_eq!(table.columns[0].changed(0), [row]);
        assert_eq!(table.columns[0].series(row, at(60)).len(), 5);
    }

    #[test]
    fn while_nobody_listens_the_clock_stands_still_after_sixty_steps() {
        let mut table = table(Take::Count, 86_400_000);
        push(&mut table, 7, at(3));
        assert_eq!(close(&mut table, at(86_000), false), 62);
        assert!(table.is_idle());
        push(&mut table, 7, at(86_003));
        assert_eq!(table.closes_at(), at(86_010));
        assert!(!table.is_idle());
    }

    #[test]
    fn a_key_whose_last_sample_is_older_than_the_window_is_given_up() {
        let mut table = table(Take::Count, 3_600_000);
        push(&mut table, 7, at(0));
        close(&mut table, at(1_800), true);
        push(&mut table, 8, at(1_800));
        close(&mut table, at(3_600), true);
        table.sweep(at(3_700));
        assert_eq!(table.used_rows().count(), 2);
        close(&mut table, at(3_620), true);
        table.sweep(at(3_700));
        assert_eq!(table.used_rows().count(), 1);
    }

    #[test]
    fn detectors_are_bounded_and_those_of_the_stalest_keys_go() {
        let mut table = table(Take::Count, 86_400_000);
        let kept = push(&mut table, 0, at(0));
        for peer_id in 1..3_000 {
            push(&mut table, peer_id, at(0).plus_ms(peer_id as i64));
            push(&mut table, 0, at(0).plus_ms(peer_id as i64 + 1));
        }
        table.sweep(at(100));
        assert_eq!(table.used_rows().count(), DETECTORS_MAX);
        assert_eq!(table.evicted, 3_000 - DETECTORS_MAX as u64);
        assert!(table.columns[0].holds(kept));
    }

    #[test]
    fn a_closed_connection_frees_its_detector() {
        let mut table = table(Take::Count, 86_400_000);
        push(&mut table, 7, at(0));
        table.close_peer(7, at(1));
        table.sweep(at(10));
        assert_eq!(table.used_rows().count(), 0);
        close(&mut table, at(20), true);
        assert!(table.is_idle());
    }
}
