//! The bands that Prometheus users put around Bitcoin nodes, to compare with: written anew from their formulas.
//!
//! Each takes a series as Prometheus would see it (a sample each `step_s`, nothing where there was none) and says after
//! each sample what its rules would. All have `for: 5m`, as in the field.

use std::collections::VecDeque;

/// A finding must last so long before the alert fires.
const FOR_S: i64 = 300;
const HOUR_S: i64 = 3600;
const DAY_S: i64 = 86_400;

/// Whose rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// peer-observer's anomaly rules as first proposed, the misnamed series put right: a margin of half the mean, a
    /// deviation that is only taken where it is over half the mean, and nothing at zero.
    Branch,
    /// The same as merged: zero counts, deviations over a quarter of the mean, lower bands less 5.
    Merged,
    /// The z-score of its dashboard, called unusual beyond 3 (the dashboard leaves that to the eye).
    Dashboard,
    /// The robust z of peer-observer-agents' sweep: 3.5 and an effect size of each series, on medians of five minutes.
    Sweep,
    /// Grafana's promql-anomaly-detection, strategy adaptive.
    Adaptive,
    /// Grafana's promql-anomaly-detection, strategy robust.
    Robust,
}

impl Kind {
    /// All of them, with the names tables show.
    pub const NAMES: [(&str, Kind); 6] = [
        ("peer-observer, branch", Kind::Branch),
        ("peer-observer, merged", Kind::Merged),
        ("peer-observer, dashboard z", Kind::Dashboard),
        ("peer-observer-agents, sweep", Kind::Sweep),
        ("grafana, adaptive", Kind::Adaptive),
        ("grafana, robust", Kind::Robust),
    ];
}

/// What the rules say after a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Said {
    /// How far the level is outside the band, in units of half the band's width: above 1 is outside. NaN while unknown.
    pub excess: f64,
    /// The alert fires.
    pub fires: bool,
}

/// One series with the bands of one kind around it.
#[derive(Debug, Clone)]
pub struct Bands {
    kind: Kind,
    step_s: i64,
    /// Smallest departure from the median that the sweep reports.
    effect_min: f64,
    hour: Span,
    /// What the kind averages over: 26 hours of deviations, two days, or one day.
    long: Span,
    /// Means, deviations or medians of an hour as they were, for the same hour of yesterday and of last week.
    past: VecDeque<(f64, f64)>,
    day: Sorted,
    departures: Sorted,
    recent: VecDeque<f64>,
    newest: f64,
    newest_at_s: i64,
    outside_since_s: Option<i64>,
}

impl Bands {
    /// Around a series with a sample each `step_s` seconds. `effect_min` is in the series' unit and used by the sweep only.
    pub fn new(kind: Kind, step_s: i64, effect_min: f64) -> Self {
        let long_s = match kind {
            Kind::Dashboard => 2 * DAY_S,
            Kind::Sweep => DAY_S,
            _ => 26 * HOUR_S,
        };
        Bands {
            kind,
            step_s,
            effect_min,
            hour: Span::new(HOUR_S, step_s),
            long: Span::new(long_s, step_s),
            past: VecDeque::new(),
            day: Sorted::new(if kind == Kind::Sweep { DAY_S - 900 } else { DAY_S }, step_s),
            departures: Sorted::new(DAY_S, step_s),
            recent: VecDeque::new(),
            newest: f64::NAN,
            newest_at_s: i64::MIN,
            outside_since_s: None,
        }
    }

    /// The next sample, `step_s` after the one before; NaN if there was none.
    pub fn push(&mut self, at_s: i64, value: f64) -> Said {
        // A gap in the rows is a gap in the series.
        if self.newest_at_s > i64::MIN {
            let missing = ((at_s - self.newest_at_s) / self.step_s - 1).clamp(0, 7 * DAY_S / self.step_s);
            for late in 0..missing {
                let _ = self.sample(self.newest_at_s + (late + 1) * self.step_s, f64::NAN);
            }
        }
        self.newest_at_s = at_s;
        self.sample(at_s, value)
    }

    fn sample(&mut self, at_s: i64, value: f64) -> Said {
        self.newest = value;
        let (level, lower, upper) = match self.kind {
            Kind::Branch => self.peer_observer(if value > 0.0 { value } else { f64::NAN }, 0.5, 0.0),
            Kind::Merged => self.peer_observer(value, 0.25, 5.0),
            Kind::Dashboard => self.dashboard(value),
            Kind::Sweep => self.sweep(value),
            Kind::Adaptive => self.adaptive(if value > 0.0 { value } else { f64::NAN }),
            Kind::Robust => self.robust(if value > 0.0 { value } else { f64::NAN }),
        };
        let half = (0.5 * (upper - lower)).max(1e-9);
        let excess = (level - 0.5 * (upper + lower)).abs() / half;
        if excess > 1.0 + 1e-9 {
            self.outside_since_s.get_or_insert(at_s);
        } else {
            self.outside_since_s = None;
        }
        Said { excess, fires: self.outside_since_s.is_some_and(|since| since + FOR_S <= at_s) }
    }

    /// `avg_1h`, `stddev_1h` where it is over `variation` of the mean, its mean over 26 hours; a margin of half the mean.
    fn peer_observer(&mut self, value: f64, variation: f64, below: f64) -> (f64, f64, f64) {
        self.hour.push(value);
        let (mean, deviation) = (self.hour.mean(), self.hour.deviation());
        self.long.push(if deviation > variation * mean { deviation } else { f64::NAN });
        let spread = self.long.mean();
        // Without deviations there is no such series, and the margin alone stands.
        let spread = if spread.is_nan() { 0.0 } else { 2.0 * spread };
        let upper = (1.5 * mean).max(mean + spread);
        let lower = ((mean / 1.5).min(mean - spread) - below).max(0.0);
        (value, lower, upper)
    }

    /// `(avg(x[5m]) - avg(x[2d])) / stddev(x[2d])` beyond 3.
    fn dashboard(&mut self, value: f64) -> (f64, f64, f64) {
        self.long.push(value);
        self.remember(value, 300);
        let known: Vec<f64> = self.recent.iter().copied().filter(|value| value.is_finite()).collect();
        let level = known.iter().sum::<f64>() / known.len() as f64;
        let (mean, deviation) = (self.long.mean(), self.long.deviation());
        (level, mean - 3.0 * deviation, mean + 3.0 * deviation)
    }

    /// `(x - median) / max(1.4826 MAD, 0.10 |median|)` of at least 3.5, where x is the median of the last three samples (of five
    /// minutes each) or that of the last hour, against the 24 hours before.
    fn sweep(&mut self, value: f64) -> (f64, f64, f64) {
        self.remember(value, HOUR_S);
        // The tail is no part of what it is compared with: it enters the baseline a quarter of an hour later.
        let tail = (900 / self.step_s).max(1) as usize;
        let entering = self.recent.len().checked_sub(tail + 1).map_or(f64::NAN, |index| self.recent[index]);
        self.day.push(entering);
        let Some(median) = self.day.median().filter(|_| self.day.len() >= 6) else {
            return (f64::NAN, f64::NAN, f64::NAN);
        };
        let scale = (1.4826 * self.day.spread(median)).max(0.10 * median.abs()).max(1e-9);
        let reach = (3.5 * scale).max(self.effect_min);
        let tail = middle(self.recent.iter().rev().take(tail).copied());
        let hour = middle(self.recent.iter().copied());
        let level = if (tail - median).abs() >= (hour - median).abs() || hour.is_nan() { tail } else { hour };
        (level, median - reach, median + reach)
    }

    /// The bands of an hour, with a margin, and the same hour of yesterday and of last week.
    fn adaptive(&mut self, value: f64) -> (f64, f64, f64) {
        self.hour.push(value);
        let (mean, deviation) = (self.hour.mean(), self.hour.deviation());
        self.long.push(if deviation > 0.5 * mean { deviation } else { f64::NAN });
        let spread = self.long.mean();
        let spread = if spread.is_nan() { 0.0 } else { 2.0 * spread };
        let (mut upper, mut lower) = ((1.5 * mean).max(mean + spread), (0.5 * mean).min(mean - spread));
        self.widen(mean, deviation, 23 * HOUR_S + 1800, 167 * HOUR_S + 1800, &mut lower, &mut upper);
        (value, lower.max(0.0), upper)
    }

    /// The median of a day and twice its MAD, at least half of it; the same hour of yesterday and of last week. The level is
    /// the median of an hour.
    fn robust(&mut self, value: f64) -> (f64, f64, f64) {
        self.remember(value, HOUR_S);
        self.day.push(value);
        let Some(median) = self.day.median() else { return (f64::NAN, f64::NAN, f64::NAN) };
        self.departures.push((value - median).abs());
        let reach = (2.0 * self.departures.median().unwrap_or(0.0)).max(0.5 * median);
        let level = middle(self.recent.iter().copied());
        let departure = middle(self.recent.iter().map(|value| (value - level).abs()));
        let (mut lower, mut upper) = (median - reach, median + reach);
        self.widen(level, departure, 23 * HOUR_S + 2700, 167 * HOUR_S + 2700, &mut lower, &mut upper);
        (level, lower.max(0.0), upper)
    }

    /// Widens a band to what was usual at two times before, twice the deviation of then included.
    fn widen(
        &mut self,
        mean: f64,
        deviation: f64,
        day_s: i64,
        week_s: i64,
        lower: &mut f64,
        upper: &mut f64,
    ) {
        self.past.push_back((mean, deviation));
        let week = (week_s / self.step_s) as usize;
        if self.past.len() > week + 1 {
            self.past.pop_front();
        }
        for ago in [(day_s / self.step_s) as usize, week] {
            let Some(&(mean, deviation)) =
                self.past.len().checked_sub(ago + 1).and_then(|i| self.past.get(i))
            else {
                continue;
            };
            if mean.is_finite() && deviation.is_finite() {
                *upper = upper.max(mean + 2.0 * deviation);
                *lower = lower.min(mean - 2.0 * deviation);
            }
        }
    }

    fn remember(&mut self, value: f64, span_s: i64) {
        self.recent.push_back(value);
        while self.recent.len() as i64 > (span_s / self.step_s).max(1) {
            self.recent.pop_front();
        }
    }
}

/// Mean and deviation over a span, of what was there.
#[derive(Debug, Clone)]
struct Span {
    size: usize,
    values: VecDeque<f64>,
    count: f64,
    sum: f64,
    squares: f64,
    /// Values are summed as departures from the first, so that large ones keep their digits.
    shift: f64,
}

impl Span {
    fn new(span_s: i64, step_s: i64) -> Self {
        let size = (span_s / step_s).max(1) as usize;
        Span { size, values: VecDeque::new(), count: 0.0, sum: 0.0, squares: 0.0, shift: f64::NAN }
    }

    fn push(&mut self, value: f64) {
        if self.shift.is_nan() {
            self.shift = value;
        }
        self.add(value, 1.0);
        self.values.push_back(value);
        if self.values.len() > self.size {
            let old = self.values.pop_front().expect("longer than its size");
            self.add(old, -1.0);
        }
    }

    fn add(&mut self, value: f64, sign: f64) {
        if value.is_finite() {
            self.count += sign;
            self.sum += sign * (value - self.shift);
            self.squares += sign * (value - self.shift).powi(2);
        }
    }

    /// NaN if nothing was there.
    fn mean(&self) -> f64 {
        if self.count < 0.5 { f64::NAN } else { self.shift + self.sum / self.count }
    }

    fn deviation(&self) -> f64 {
        if self.count < 0.5 {
            return f64::NAN;
        }
        (self.squares / self.count - (self.sum / self.count).powi(2)).max(0.0).sqrt()
    }
}

/// The values of a span in order of size.
#[derive(Debug, Clone)]
struct Sorted {
    size: usize,
    values: VecDeque<f64>,
    sorted: Vec<f64>,
}

impl Sorted {
    fn new(span_s: i64, step_s: i64) -> Self {
        Sorted { size: (span_s / step_s).max(1) as usize, values: VecDeque::new(), sorted: Vec::new() }
    }

    fn push(&mut self, value: f64) {
        self.values.push_back(value);
        if value.is_finite() {
            let place = self.sorted.partition_point(|other| *other < value);
            self.sorted.insert(place, value);
        }
        if self.values.len() > self.size {
            let old = self.values.pop_front().expect("longer than its size");
            if old.is_finite() {
                let place = self.sorted.partition_point(|other| *other < old);
                self.sorted.remove(place);
            }
        }
    }

    fn len(&self) -> usize {
        self.sorted.len()
    }

    fn median(&self) -> Option<f64> {
        self.sorted.get(self.sorted.len() / 2).copied()
    }

    /// Median of the distances from `centre`: the two sides are in order, so it is where they are merged halfway.
    fn spread(&self, centre: f64) -> f64 {
        let mut right = self.sorted.partition_point(|value| *value < centre);
        let mut left = right;
        let mut distance = 0.0;
        for _ in 0..=self.sorted.len() / 2 {
            let below = left.checked_sub(1).map_or(f64::INFINITY, |index| centre - self.sorted[index]);
            let above = self.sorted.get(right).map_or(f64::INFINITY, |value| value - centre);
            distance = below.min(above);
            if below < above { left -= 1 } else { right += 1 }
        }
        distance
    }
}

/// Median of what is there; NaN if nothing is.
fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut known: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    known.sort_by(f64::total_cmp);
    known.get(known.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minutes of `level` with a little noise, then `values`: the minutes after which the alert fires.
    #[track_caller]
    fn check(kind: Kind, level: f64, values: &[f64], firing: &[usize]) {
        let mut bands = Bands::new(kind, 60, 0.0);
        let days = 9 * 1440;
        let usual = (0..days).map(|minute| level * (1.0 + 0.01 * f64::from(minute % 7)));
        let mut fired = Vec::new();
        for (minute, value) in usual.chain(values.iter().copied()).enumerate() {
            if bands.push(60 * minute as i64, value).fires {
                fired.push(minute as i64 - i64::from(days));
            }
        }
        assert_eq!(fired, firing.iter().map(|minute| *minute as i64).collect::<Vec<_>>(), "{kind:?}");
    }

    #[test]
    fn what_doubles_for_ten_minutes_fires_after_five() {
        let doubled: Vec<f64> = [[200.0; 10].as_slice(), &[100.0; 5]].concat();
        check(Kind::Branch, 100.0, &doubled, &[5, 6, 7, 8, 9]);
        check(Kind::Merged, 100.0, &doubled, &[5, 6, 7, 8, 9]);
        check(Kind::Adaptive, 100.0, &doubled, &[5, 6, 7, 8, 9]);
    }

    #[test]
    fn a_loss_of_a_third_is_inside_the_margin_of_all_but_robust_statistics() {
        let lost = [68.0; 30];
        check(Kind::Branch, 100.0, &lost, &[]);
        check(Kind::Merged, 100.0, &lost, &[]);
        check(Kind::Adaptive, 100.0, &lost, &[]);
        check(Kind::Robust, 100.0, &lost, &[]);
        // The median of the last quarter of an hour falls with the eighth minute of the loss.
        check(Kind::Sweep, 100.0, &[60.0; 15], &[12, 13, 14]);
    }

    #[test]
    fn what_falls_to_zero_is_invisible_where_zero_is_dropped() {
        check(Kind::Branch, 100.0, &[0.0; 20], &[]);
        check(Kind::Adaptive, 100.0, &[0.0; 20], &[]);
        // And where it is not, the deviation of the hour soon widens the band until zero is inside.
        let firing: Vec<usize> = (5..14).collect();
        check(Kind::Merged, 100.0, &[0.0; 20], &firing);
    }

    #[test]
    fn the_spread_is_the_median_absolute_departure() {
        let mut sorted = Sorted::new(600, 60);
        for value in [1.0, 2.0, 3.0, 4.0, 100.0, 5.0, 6.0] {
            sorted.push(value);
        }
        assert_eq!(sorted.median(), Some(4.0));
        assert_eq!(sorted.spread(4.0), 2.0);
    }
}
