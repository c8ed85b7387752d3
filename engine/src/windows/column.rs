//! One window over all keys of a table: a cell with samples for each row that has any.
//!
//! A row without samples costs four bytes. The column also keeps which rows changed since each group of rules last
//! looked, so that a tick touches only those.

use serde::{Deserialize, Serialize};

use super::distinct::Distinct;
use super::quantile::Sketch;
use super::samples::{Count, Extent, Samples, Slot, Spread, Sum};
use super::steps::Steps;
use super::watch::Watch;
use super::{Aggregate, Reading, Window};
use crate::time::Timestamp;

/// Index of a row in a table.
pub type RowId = u32;
/// A set of groups of rules that tick together, one bit each.
pub type Groups = u32;

/// Sketches of half a megabyte a column may hold before the keys with the stalest are given up.
pub const SKETCHES_MAX: usize = 64;

/// One window over all keys of a table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Column {
    pub(super) window: Window,
    /// Cell number plus one by row; 0 is none.
    #[serde(skip)]
    pub(super) cell_of: Vec<u32>,
    pub(super) cells: Vec<Cell>,
    pub(super) free: Vec<u32>,
    /// Rows changed since the group last ticked, by the group's bit number.
    pub(super) changed: Vec<Vec<RowId>>,
    /// Groups that have a row in their list of changes, by row.
    #[serde(skip)]
    pub(super) listed: Vec<Groups>,
    pub(super) groups: Groups,
    #[serde(skip)]
    pub(super) sketches: usize,
    /// Of an anomaly window.
    pub(super) steps: Steps,
    /// Samples before that were not seen: the window was made later than its node.
    pub since: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Cell {
    pub row: RowId,
    /// When the cell was last asked to be looked at for expiry.
    wake_at: Timestamp,
    /// First sample since the cell was last empty.
    pub since: Timestamp,
    /// Newest sample.
    pub last_at: Timestamp,
    #[serde(with = "super::stored_reading")]
    reading: Reading,
    pub body: Body,
}

/// What the aggregate needs to keep.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Body {
    Count(Samples<Count>),
    Sum(Samples<Sum>),
    Extent(Samples<Extent>),
    Spread(Samples<Spread>),
    Sketch(Samples<Sketch>),
    Growth { previous: f64, samples: Samples<Sum> },
    Distinct(Distinct),
    Newest(f64),
    Watch(Box<Watch>),
}

/// What a sample did to its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// The row had no samples before.
    pub is_new: bool,
    /// The cell wants to be looked at by then ([`Column::expire`]).
    pub wake_at: Option<Timestamp>,
}

/// What time did to a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// All samples have left; the cell is gone.
    Empty,
    /// Look again then.
    WakeAt(Timestamp),
    /// There was no cell.
    Absent,
}

impl Column {
    /// An empty window that lists its changes for these groups.
    pub fn new(window: Window, groups: Groups) -> Self {
        Column {
            window,
            cell_of: Vec::new(),
            cells: Vec::new(),
            free: Vec::new(),
            changed: vec![Vec::new(); (Groups::BITS - groups.leading_zeros()) as usize],
            listed: Vec::new(),
            groups,
            sketches: 0,
            steps: Steps::default(),
            since: Timestamp::MIN,
        }
    }

    /// Takes one sample; `hash` stands for the value where different ones are counted.
    pub fn push(&mut self, row: RowId, at: Timestamp, value: f64, hash: u64) -> Pushed {
        if let Aggregate::Anomaly(watched) = self.window.aggregate {
            return self.push_watched(watched, row, at, value, hash);
        }
        let (id, is_new) = self.cell_for(row, at);
        let window = &self.window;
        let cell = &mut self.cells[id];
        cell.last_at = at;
        let was_sketch = matches!(&cell.body, Body::Distinct(distinct) if distinct.is_sketch());
        match &mut cell.body {
            Body::Count(samples) => samples.push(window, at, value),
            Body::Sum(samples) => samples.push(window, at, value),
            Body::Extent(samples) => samples.push(window, at, value),
            Body::Spread(samples) => samples.push(window, at, value),
            Body::Sketch(samples) => samples.push(window, at, value),
            Body::Growth { previous, samples } => {
                // A counter that fell was reset, and has grown from zero since.
                let grown = if value >= *previous { value - *previous } else { value };
                samples.push(window, at, if is_new { 0.0 } else { grown });
                *previous = value;
            }
            Body::Distinct(distinct) => distinct.push(window, at, hash),
            Body::Newest(newest) => *newest = value,
            Body::Watch(_) => {}
        }
        if !was_sketch && matches!(&cell.body, Body::Distinct(distinct) if distinct.is_sketch()) {
            self.sketches += 1;
        }
        self.list_change(id);
        let (cell, window) = (&mut self.cells[id], &self.window);
        let wake_at = (cell.wake_at == Timestamp::MAX).then(|| {
            cell.wake_at = wake_after(window, at.plus_ms(window.over_ms + 1), at);
            cell.wake_at
        });
        Pushed { is_new, wake_at }
    }

    /// Forgets what left the span by `now`. A change is listed for the groups.
    pub fn expire(&mut self, row: RowId, now: Timestamp) -> Expired {
        let Some(id) = self.cell(row) else { return Expired::Absent };
        self.list_change(id);
        let (cell, window) = (&mut self.cells[id], &self.window);
        let next = match &mut cell.body {
            Body::Count(samples) => advance(samples, window, now),
            Body::Sum(samples) => advance(samples, window, now),
            Body::Extent(samples) => advance(samples, window, now),
            Body::Spread(samples) => advance(samples, window, now),
            Body::Sketch(samples) => advance(samples, window, now),
            Body::Growth { samples, .. } => advance(samples, window, now),
            Body::Distinct(distinct) => {
                let was_sketch = distinct.is_sketch();
                distinct.expire(window, now);
                self.sketches -= usize::from(was_sketch && !distinct.is_sketch());
                distinct.next_expiry(window, now)
            }
            Body::Newest(_) => {
                Some(cell.last_at.plus_ms(window.over_ms + 1)).filter(|leaves_at| *leaves_at > now)
            }
            // Its steps end by the column's clock.
            Body::Watch(_) => None,
        };
        match next {
            Some(leaves_at) => {
                let wake_at = wake_after(window, leaves_at, now);
                cell.wake_at = wake_at;
                Expired::WakeAt(wake_at)
            }
            None => {
                self.remove(row);
                Expired::Empty
            }
        }
    }

    /// Gives up a row's samples. Returns false if it had none.
    pub fn remove(&mut self, row: RowId) -> bool {
        let Some(id) = self.cell(row) else { return false };
        self.sketches -= usize::from(matches!(&self.cells[id].body, Body::Distinct(d) if d.is_sketch()));
        self.cells[id].body = Body::Newest(0.0);
        self.cell_of[row as usize] = 0;
        self.free.push(id as u32);
        true
    }

    /// Works out the readings of the rows changed since the group last ticked.
    pub fn refresh(&mut self, group: u32, now: Timestamp) {
        let Some(changed) = self.changed.get_mut(group as usize).map(std::mem::take) else { return };
        for row in &changed {
            if let Some(id) = self.cell(*row) {
                self.cells[id].reading = self.read_cell(id, now);
            }
        }
        self.changed[group as usize] = changed;
    }

    /// Rows changed since the group last ticked; rows may have gone since.
    pub fn changed(&self, group: u32) -> &[RowId] {
        self.changed.get(group as usize).map_or(&[], Vec::as_slice)
    }

    /// Begins a new list of changes for the group.
    pub fn clear_changed(&mut self, group: u32) {
        let Some(list) = self.changed.get_mut(group as usize) else { return };
        let mut rows = std::mem::take(list);
        for row in rows.drain(..) {
            self.listed[row as usize] &= !(1 << group);
        }
        self.changed[group as usize] = rows;
    }

    /// What the window said for a row when it was last refreshed; ages are always of `now`.
    pub fn reading(&self, row: RowId, now: Timestamp) -> Reading {
        match self.cell(row) {
            None => self.window.aggregate.of_nothing(),
            Some(id) if matches!(self.window.aggregate, Aggregate::Age | Aggregate::Anomaly(_)) => {
                self.read_cell(id, now)
            }
            Some(id) => self.cells[id].reading,
        }
    }

    /// What the window says for a row at `now`.
    pub fn read(&self, row: RowId, now: Timestamp) -> Reading {
        self.cell(row).map_or(self.window.aggregate.of_nothing(), |id| self.read_cell(id, now))
    }

    /// What the window says for a row without samples.
    pub fn of_nothing(&self) -> Reading {
        self.window.aggregate.of_nothing()
    }

    /// True if the row has samples.
    pub fn holds(&self, row: RowId) -> bool {
        self.cell(row).is_some()
    }

    /// The row whose sketch was fed longest ago, if there are more sketches than allowed; never `fed`, whose samples
    /// are just coming in.
    pub fn sketch_to_give_up(&self, fed: RowId) -> Option<RowId> {
        if self.sketches <= SKETCHES_MAX {
            return None;
        }
        let live = (0..self.cells.len()).filter(|id| {
            self.cells[*id].row != fed
                && self.cell(self.cells[*id].row) == Some(*id)
                && matches!(&self.cells[*id].body, Body::Distinct(distinct) if distinct.is_sketch())
        });
        live.min_by_key(|id| self.cells[*id].last_at).map(|id| self.cells[id].row)
    }

    fn read_cell(&self, id: usize, now: Timestamp) -> Reading {
        let (cell, window) = (&self.cells[id], &self.window);
        let number = |value: Option<f64>| value.map_or(Reading::Nothing, |value| window.reading(value));
        match &cell.body {
            Body::Count(samples) => Reading::Int(samples.total(window, now).0 as i64),
            Body::Sum(samples) => number(window.of_sum(&samples.total(window, now))),
            Body::Extent(samples) => number(window.of_extent(&samples.total(window, now))),
            Body::Spread(samples) => number(samples.total(window, now).stddev()),
            Body::Sketch(samples) => number(window.of_sketch(&samples.total(window, now))),
            Body::Growth { samples, .. } => number(Some(window.of_growth(&samples.total(window, now)))),
            Body::Distinct(distinct) => Reading::Int(distinct.count(window, now) as i64),
            Body::Newest(_) if now.ms_since(cell.last_at) > window.over_ms => Reading::Nothing,
            Body::Newest(_) if window.aggregate == Aggregate::Age => {
                Reading::Float(now.ms_since(cell.last_at).max(0) as f64 / 1000.0)
            }
            Body::Newest(value) => number(Some(*value)),
            Body::Watch(watch) => number(watch.assessment().map(|shown| shown.assessment.value)),
        }
    }

    pub(super) fn cell(&self, row: RowId) -> Option<usize> {
        match self.cell_of.get(row as usize) {
            Some(0) | None => None,
            Some(id) => Some(*id as usize - 1),
        }
    }

    pub(super) fn cell_for(&mut self, row: RowId, at: Timestamp) -> (usize, bool) {
        if let Some(id) = self.cell(row) {
            return (id, false);
        }
        let cell = Cell {
            row,
            wake_at: Timestamp::MAX,
            since: at,
            last_at: at,
            reading: Reading::Nothing,
            body: Body::new(self.window.aggregate),
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.cells[id as usize] = cell;
                id as usize
            }
            None => {
                self.cells.push(cell);
                self.cells.len() - 1
            }
        };
        if self.cell_of.len() <= row as usize {
            self.cell_of.resize(row as usize + 1, 0);
            self.listed.resize(row as usize + 1, 0);
        }
        self.cell_of[row as usize] = id as u32 + 1;
        (id, true)
    }

    pub(super) fn list_change(&mut self, id: usize) {
        let row = self.cells[id].row;
        let listed = &mut self.listed[row as usize];
        let mut missing = self.groups & !*listed;
        *listed |= missing;
        while missing != 0 {
            let group = missing.trailing_zeros();
            self.changed[group as usize].push(row);
            missing &= missing - 1;
        }
    }
}

/// What a window says of its samples, from what they add up to.
impl Window {
    pub(super) fn of_sum(&self, total: &Sum) -> Option<f64> {
        match self.aggregate {
            Aggregate::Mean => (total.count > 0).then(|| total.sum / total.count as f64),
            _ => Some(total.sum),
        }
    }

    pub(super) fn of_extent(&self, total: &Extent) -> Option<f64> {
        total.ends.map(|(first, last)| match self.aggregate {
            Aggregate::Min => total.min,
            Aggregate::Max => total.max,
            Aggregate::First => first,
            _ => last - first,
        })
    }

    pub(super) fn of_sketch(&self, total: &Sketch) -> Option<f64> {
        match self.aggregate {
            Aggregate::Quantile(q) => total.quantile(q),
            _ => None,
        }
    }

    pub(super) fn of_growth(&self, grown: &Sum) -> f64 {
        match self.aggregate {
            Aggregate::Rate => grown.sum * 1000.0 / self.over_ms as f64,
            _ => grown.sum,
        }
    }
}

impl Body {
    pub fn new(aggregate: Aggregate) -> Self {
        match aggregate {
            Aggregate::Count => Body::Count(Samples::default()),
            Aggregate::Sum | Aggregate::Mean => Body::Sum(Samples::default()),
            Aggregate::Min | Aggregate::Max | Aggregate::First | Aggregate::Delta => {
                Body::Extent(Samples::default())
            }
            Aggregate::Stddev => Body::Spread(Samples::default()),
            Aggregate::Quantile(_) => Body::Sketch(Samples::default()),
            Aggregate::Increase | Aggregate::Rate => {
                Body::Growth { previous: 0.0, samples: Samples::default() }
            }
            Aggregate::Distinct => Body::Distinct(Distinct::default()),
            Aggregate::Last | Aggregate::Age => Body::Newest(0.0),
            Aggregate::Anomaly(_) => Body::Watch(Box::default()),
        }
    }
}

/// When to look at a cell whose oldest sample leaves at `leaves_at`: at the end of a slot, because one slot is the
/// promised exactness and waking less often keeps busy keys cheap. A sample may leave earlier by what the span is
/// longer than its slots, if slots take over from single samples meanwhile.
fn wake_after(window: &Window, leaves_at: Timestamp, now: Timestamp) -> Timestamp {
    let left_over_ms = window.over_ms - window.slots() * window.slot_ms();
    leaves_at.plus_ms(-left_over_ms - 1).max(now).next_multiple_ms(window.slot_ms())
}

fn advance<S: Slot>(samples: &mut Samples<S>, window: &Window, now: Timestamp) -> Option<Timestamp> {
    samples.expire(window, now);
    samples.next_expiry(window, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes `(second, value)` pairs and compares the reading at `now_s`.
    #[track_caller]
    fn check(aggregate: Aggregate, over_s: i64, samples: &[(i64, f64)], now_s: i64, expected: Reading) {
        let window = Window { aggregate, over_ms: over_s * 1000, integers: true };
        let mut column = Column::new(window, 1);
        for (at_s, value) in samples {
            column.push(0, Timestamp::from_unix_s(*at_s), *value, value.to_bits());
        }
        assert_eq!(column.read(0, Timestamp::from_unix_s(now_s)), expected);
    }

    #[test]
    fn a_sample_exactly_one_span_old_still_counts() {
        check(Aggregate::Count, 10, &[(0, 1.0), (10, 1.0)], 10, Reading::Int(2));
        check(Aggregate::Count, 10, &[(0, 1.0), (10, 1.0)], 11, Reading::Int(1));
    }

    #[test]
    fn each_aggregate_says_what_its_name_says() {
        let samples = [(1, 4.0), (2, 10.0), (3, 1.0), (4, 5.0)];
        check(Aggregate::Sum, 60, &samples, 5, Reading::Int(20));
        check(Aggregate::Min, 60, &samples, 5, Reading::Int(1));
        check(Aggregate::Max, 60, &samples, 5, Reading::Int(10));
        check(Aggregate::Mean, 60, &samples, 5, Reading::Float(5.0));
        check(Aggregate::First, 60, &samples, 5, Reading::Int(4));
        check(Aggregate::Last, 60, &samples, 5, Reading::Int(5));
        check(Aggregate::Delta, 60, &samples, 5, Reading::Int(1));
        check(Aggregate::Age, 60, &samples, 6, Reading::Float(2.0));
        check(Aggregate::Distinct, 60, &[(1, 7.0), (2, 7.0), (3, 8.0)], 5, Reading::Int(2));
        check(
            Aggregate::Stddev,
            60,
            &[(1, 2.0), (2, 4.0), (3, 4.0), (4, 6.0)],
            5,
            Reading::Float(2_f64.sqrt()),
        );
    }

    #[test]
    fn growth_counts_from_zero_after_a_reset() {
        let counter = [(0, 100.0), (10, 160.0), (20, 5.0), (30, 25.0)];
        check(Aggregate::Increase, 60, &counter, 30, Reading::Int(85));
        check(Aggregate::Rate, 50, &counter, 30, Reading::Float(85.0 / 50.0));
    }

    #[test]
    fn nothing_is_zero_for_counts_and_nothing_for_gauges() {
        check(Aggregate::Count, 10, &[], 0, Reading::Int(0));
        check(Aggregate::Last, 10, &[], 0, Reading::Nothing);
        check(Aggregate::Last, 10, &[(0, 3.0)], 11, Reading::Nothing);
        check(Aggregate::Max, 10, &[(0, 3.0)], 11, Reading::Nothing);
    }

    #[test]
    fn a_busy_window_misses_at_most_one_slot_in_sixty_and_never_counts_older_samples() {
        let window = Window { aggregate: Aggregate::Count, over_ms: 60_000, integers: true };
        let mut column = Column::new(window, 1);
        // Ten samples a second for five minutes.
        for tenth in 0..3_000 {
            let at = Timestamp::from_unix_ms(tenth * 100);
            column.push(0, at, 1.0, 0);
            let Reading::Int(count) = column.read(0, at) else { panic!("a count is whole") };
            let exact = (tenth + 1).min(601);
            assert!((exact - 11..=exact).contains(&count), "{count} of {exact} at {at}");
        }
    }

    #[test]
    fn a_quiet_key_is_given_back_when_its_samples_have_left() {
        let window = Window { aggregate: Aggregate::Sum, over_ms: 60_000, integers: true };
        let mut column = Column::new(window, 1);
        let pushed = column.push(3, Timestamp::from_unix_s(0), 5.0, 0);
        assert!(pushed.is_new);
        let wake_at = pushed.wake_at.unwrap();
        assert!(wake_at > Timestamp::from_unix_s(60) && wake_at <= Timestamp::from_unix_s(61));
        assert_eq!(column.expire(3, wake_at), Expired::Empty);
        assert!(!column.holds(3));
    }

    #[test]
    fn each_group_sees_a_change_once() {
        let window = Window { aggregate: Aggregate::Count, over_ms: 60_000, integers: true };
        let mut column = Column::new(window, 0b101);
        column.push(1, Timestamp::from_unix_s(0), 1.0, 0);
        column.push(1, Timestamp::from_unix_s(1), 1.0, 0);
        assert_eq!((column.changed(0), column.changed(2)), (&[1][..], &[1][..]));
        column.clear_changed(0);
        column.push(1, Timestamp::from_unix_s(2), 1.0, 0);
        assert_eq!((column.changed(0), column.changed(2)), (&[1][..], &[1][..]));
    }
}
