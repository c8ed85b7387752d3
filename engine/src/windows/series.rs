//! How a reading came about, worked out from the samples that are kept anyway: nothing is stored for it.
//!
//! A window does not remember what it said before. What can be told is what it would have said of the samples that are in
//! it now as each of them came: totals rise from zero to the present reading, means and quantiles settle on it. Where
//! samples have left the window already, a total that seems to rise may have been level; it is shown only if most of it is
//! recent, so that what came before matters little.

use super::column::{Body, Column, RowId};
use super::samples::{Part, Samples, Slot};
use super::{Aggregate, Window};
use crate::time::Timestamp;

/// Points of a series at most; with the present reading they are 60.
pub const SERIES_MAX: usize = 59;

/// Share of a total that may be from the older half of a window that samples have left.
const OLDER_SHARE_MAX: f64 = 0.25;

/// When and what, in order of time.
pub type Series = Vec<(Timestamp, f64)>;

impl Column {
    /// How the reading of a row came about, up to `now`. Empty for different values, of which only the newest sighting is
    /// kept, and for the newest value, before which nothing is kept.
    pub fn series(&self, row: RowId, now: Timestamp) -> Series {
        let Some(id) = self.cell(row) else { return Series::new() };
        let (cell, window) = (&self.cells[id], &self.window);
        let is_whole = now.ms_since(cell.since) <= window.over_ms;
        let series = match &cell.body {
            Body::Count(samples) => running(samples, window, now, |total| Some(total.0 as f64)),
            Body::Sum(samples) => running(samples, window, now, |total| window.of_sum(total)),
            Body::Extent(samples) => running(samples, window, now, |total| window.of_extent(total)),
            Body::Spread(samples) => running(samples, window, now, |total| total.stddev()),
            Body::Sketch(samples) => running(samples, window, now, |total| window.of_sketch(total)),
            Body::Growth { samples, .. } => {
                running(samples, window, now, |total| Some(window.of_growth(total)))
            }
            // Time alone makes it grow.
            Body::Newest(_) if window.aggregate == Aggregate::Age => vec![(cell.last_at, 0.0)],
            Body::Newest(_) | Body::Distinct(_) => Series::new(),
            // Samples after each other, and none of them a total of those before.
            Body::Watch(watch) => return watch.points().collect(),
        };
        let is_total = matches!(cell.body, Body::Count(_) | Body::Sum(_) | Body::Growth { .. });
        if is_total && !is_whole && is_steady(&series, now.plus_ms(-window.over_ms / 2)) {
            return Series::new();
        }
        bounded(series)
    }

    /// The values that a row's samples have, up to `now`: each, or the newest, the mean or the median of each slot,
    /// whichever the window keeps. Empty if it keeps none of them.
    pub fn values(&self, row: RowId, now: Timestamp) -> Series {
        let Some(id) = self.cell(row) else { return Series::new() };
        let window = &self.window;
        // A sketch is exact to half a percent: a whole number is most often found again.
        let whole = |value: f64| if window.integers { value.round() } else { value };
        bounded(match &self.cells[id].body {
            Body::Sum(samples) => {
                each(samples, window, now, |slot| (slot.count > 0).then(|| slot.sum / slot.count as f64))
            }
            Body::Extent(samples) => each(samples, window, now, |slot| slot.ends.map(|(_, last)| last)),
            Body::Spread(samples) => each(samples, window, now, |slot| slot.mean()),
            Body::Sketch(samples) => each(samples, window, now, |slot| slot.quantile(0.5).map(whole)),
            Body::Count(_) | Body::Growth { .. } | Body::Distinct(_) | Body::Newest(_) | Body::Watch(_) => {
                Series::new()
            }
        })
    }
}

/// What the window would have said as each sample came, and just before.
fn running<S: Slot>(
    samples: &Samples<S>,
    window: &Window,
    now: Timestamp,
    said: impl Fn(&S) -> Option<f64>,
) -> Series {
    let mut total = S::default();
    let mut value = window.aggregate.of_nothing().number();
    let mut series = Series::new();
    for Part { begins_at, at, total: part, .. } in samples.parts(window, now) {
        let last_at = series.last().map_or(Timestamp::MIN, |(at, _)| *at);
        if let Some(before) = value.filter(|_| begins_at > last_at) {
            series.push((begins_at, before));
        }
        total.merge(&part);
        value = said(&total);
        series.extend(value.map(|value| (at, value)));
    }
    series
}

/// True if a good part of a rising total is from before an instant.
fn is_steady(series: &Series, before: Timestamp) -> bool {
    let older = series.iter().rev().find(|(at, _)| *at < before).map_or(0.0, |(_, value)| *value);
    series.last().is_some_and(|(_, total)| older.abs() > total.abs() * OLDER_SHARE_MAX)
}

fn each<S: Slot>(
    samples: &Samples<S>,
    window: &Window,
    now: Timestamp,
    value: impl Fn(&S) -> Option<f64>,
) -> Series {
    let parts = samples.parts(window, now).into_iter();
    parts.filter_map(|part| Some((part.at, part.exact.or_else(|| value(&part.total))?))).collect()
}

/// One point an instant, none in the midst of a level stretch, and of what is left the newest.
fn bounded(series: Series) -> Series {
    let mut kept = Series::new();
    for (at, value) in series.into_iter().filter(|(_, value)| value.is_finite()) {
        // What was said last at an instant counts.
        kept.pop_if(|(last_at, _)| *last_at == at);
        if let [.., (_, first), (_, second)] = kept[..]
            && (first, second) == (value, value)
        {
            kept.pop();
        }
        kept.push((at, value));
    }
    kept.drain(..kept.len().saturating_sub(SERIES_MAX));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(aggregate: Aggregate, over_s: i64, samples: &[(i64, f64)]) -> Column {
        let window = Window { aggregate, over_ms: over_s * 1000, integers: true };
        let mut column = Column::new(window, 1);
        for (at_s, value) in samples {
            column.push(0, Timestamp::from_unix_s(*at_s), *value, value.to_bits());
        }
        column
    }

    fn seconds(series: Series) -> Vec<(f64, f64)> {
        series.into_iter().map(|(at, value)| (at.unix_ms() as f64 / 1000.0, value)).collect()
    }

    /// The series of these `(second, value)` samples at `now_s`, in seconds.
    #[track_caller]
    fn check(aggregate: Aggregate, samples: &[(i64, f64)], now_s: i64, expected: &[(f64, f64)]) {
        let column = column(aggregate, 60, samples);
        assert_eq!(seconds(column.series(0, Timestamp::from_unix_s(now_s))), expected, "{aggregate:?}");
    }

    #[test]
    fn totals_rise_from_zero_to_the_reading() {
        let samples = [(100, 5.0), (120, 7.0)];
        check(Aggregate::Sum, &samples, 130, &[(99.0, 0.0), (100.0, 5.0), (119.0, 5.0), (120.0, 12.0)]);
        check(Aggregate::Count, &samples, 130, &[(99.0, 0.0), (100.0, 1.0), (119.0, 1.0), (120.0, 2.0)]);
        check(Aggregate::Increase, &samples, 130, &[(99.0, 0.0), (119.0, 0.0), (120.0, 2.0)]);
    }

    #[test]
    fn what_left_the_span_is_not_counted() {
        check(Aggregate::Count, &[(0, 1.0), (100, 1.0)], 130, &[(99.0, 0.0), (100.0, 1.0)]);
        check(Aggregate::Count, &[(0, 1.0), (100, 1.0)], 161, &[]);
    }

    #[test]
    fn a_steady_total_is_not_shown_as_a_rise() {
        let steady: Vec<(i64, f64)> = (0..20).map(|n| (n * 10, 1.0)).collect();
        check(Aggregate::Count, &steady, 190, &[]);
        // Much more of late: what left the window matters little.
        let burst: Vec<(i64, f64)> = (0..20).map(|n| (n * 10, if n < 18 { 1.0 } else { 100.0 })).collect();
        let series = column(Aggregate::Sum, 60, &burst).series(0, Timestamp::from_unix_s(190));
        assert_eq!(seconds(series).last(), Some(&(190.0, 205.0)));
    }

    #[test]
    fn samples_of_one_instant_are_one_point() {
        check(Aggregate::Sum, &[(9, 1.0), (9, 2.0), (9, 3.0)], 9, &[(8.0, 0.0), (9.0, 6.0)]);
    }

    #[test]
    fn other_aggregates_say_what_they_would_have_said() {
        let samples = [(10, 4.0), (11, 10.0), (12, 1.0)];
        check(Aggregate::Max, &samples, 20, &[(10.0, 4.0), (11.0, 10.0), (12.0, 10.0)]);
        check(Aggregate::Mean, &samples, 20, &[(10.0, 4.0), (11.0, 7.0), (12.0, 5.0)]);
        check(Aggregate::Age, &samples, 20, &[(12.0, 0.0)]);
        check(Aggregate::Last, &samples, 20, &[]);
        check(Aggregate::Distinct, &samples, 20, &[]);
    }

    #[test]
    fn a_busy_window_has_a_point_a_slot_and_not_too_many() {
        let samples: Vec<(i64, f64)> = (0..600).map(|n| (1_000 + n / 10, 1.0)).collect();
        for aggregate in [Aggregate::Count, Aggregate::Sum, Aggregate::Quantile(0.5), Aggregate::Stddev] {
            let column = column(aggregate, 60, &samples);
            let now = Timestamp::from_unix_ms(1_059_500);
            let series = column.series(0, now);
            assert!(series.len() <= SERIES_MAX && !series.is_empty());
            assert!(series.windows(2).all(|pair| pair[0].0 < pair[1].0), "{series:?}");
            assert_eq!(series.last().map(|(_, value)| *value), column.read(0, now).number(), "{aggregate:?}");
        }
    }

    #[test]
    fn values_are_those_of_the_samples_or_of_their_slots() {
        let now = Timestamp::from_unix_s(20);
        for aggregate in [Aggregate::Mean, Aggregate::First, Aggregate::Stddev, Aggregate::Quantile(0.25)] {
            let few = column(aggregate, 60, &[(10, 70.0), (15, 69.0)]);
            assert_eq!(seconds(few.values(0, now)), [(10.0, 70.0), (15.0, 69.0)]);
            let many: Vec<(i64, f64)> = (0..40).map(|n| (n / 4, 60.0 + (n / 4) as f64)).collect();
            let values = column(aggregate, 60, &many).values(0, now);
            assert_eq!(seconds(values)[..2], [(1.0, 60.0), (2.0, 61.0)]);
        }
        assert_eq!(column(Aggregate::Count, 60, &[(10, 1.0)]).values(0, now), []);
    }
}
