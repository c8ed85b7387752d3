//! How long the season of a series is, looked for once a day.
//!
//! The season that was asked for is kept unless the evidence is clear and stable: fourteen days are known; the profile of
//! the other season, learnt in the first half of them, leaves a fifth less of the second half than the present one's
//! does; and it did so on three days in a row. So a season that divides the day changes nothing, as the day shows it too.
//!
//! Candidates come from the periodogram of `augurs` (Welch's method) over half-hourly means; its periods are as coarse as
//! its frequencies, so the lengths around are tried too. Bounded by [`MEANS`] means of 4 bytes.

use augurs::seasons::{Detector as _, PeriodogramDetector};
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Means kept: two weeks of half hours.
const MEANS: usize = 14 * 48;
const MEAN_MS: i64 = 1_800_000;
const DAY_MS: i64 = 86_400_000;
/// Shorter seasons than this many means have no shape left.
const PERIOD_MIN: usize = 4;
/// A third of what is kept: three seasons are needed to call something a season.
const PERIOD_MAX: usize = MEANS / 3;
/// What another season may leave, of what the present one leaves.
const GAIN: f64 = 0.8;
/// Days in a row that must find the same.
const DAYS: u8 = 3;

/// State of the search.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Season {
    /// The season that was asked for, in milliseconds.
    asked_ms: i64,
    /// The season in use, in milliseconds.
    length_ms: i64,
    /// Time that one mean covers, in milliseconds.
    mean_ms: i64,
    /// The oldest first, less `origin`.
    means: Vec<f32>,
    origin: f64,
    /// The mean under way: its number, sum and number of samples.
    number: i64,
    sum: f64,
    count: u32,
    /// The day of the last search.
    day: i64,
    /// What the last search found, and on how many days in a row.
    found_ms: i64,
    days: u8,
}

impl Season {
    /// One that has seen nothing, for samples every `step_ms`.
    pub fn new(season_ms: i64, step_ms: i64) -> Self {
        Season {
            asked_ms: season_ms,
            length_ms: season_ms,
            mean_ms: step_ms.max(MEAN_MS),
            means: Vec::new(),
            origin: 0.0,
            number: i64::MIN,
            sum: 0.0,
            count: 0,
            day: i64::MIN,
            found_ms: season_ms,
            days: 0,
        }
    }

    /// The season in use, in milliseconds.
    pub fn length_ms(&self) -> i64 {
        self.length_ms
    }

    /// Takes a sample, a finite value: is the season another from now on?
    pub fn push(&mut self, at: Timestamp, value: f64) -> bool {
        let number = at.unix_ms().div_euclid(self.mean_ms);
        if number != self.number {
            self.close(number);
        }
        self.sum += value;
        self.count += 1;
        let day = at.unix_ms().div_euclid(DAY_MS);
        if day == self.day {
            return false;
        }
        self.day = day;
        self.means.len() == MEANS && self.search()
    }

    /// Ends the mean under way; `number` is the next one's.
    fn close(&mut self, number: i64) {
        if self.count > 0 {
            let mean = self.sum / f64::from(self.count);
            if self.means.is_empty() {
                self.origin = mean;
            }
            let mean = (mean - self.origin) as f32;
            let missing = number.saturating_sub(self.number).clamp(1, MEANS as i64) as usize - 1;
            if missing as i64 * self.mean_ms > DAY_MS.max(2 * self.mean_ms) {
                // A day of nothing has the season of nothing.
                self.means.clear();
            } else {
                self.means.extend(std::iter::repeat_n(mean, 1 + missing));
                let surplus = self.means.len().saturating_sub(MEANS);
                self.means.drain(..surplus);
            }
        }
        (self.number, self.sum, self.count) = (number, 0.0, 0);
    }

    /// Looks for a season that is clearly better; true if it is in use from now on.
    fn search(&mut self) -> bool {
        let means: Vec<f64> = self.means.iter().map(|mean| f64::from(*mean)).collect();
        let Some(present) = self.left_at(&means, self.length_ms) else { return false };
        let best = candidates(&means)
            .map(|period| period as i64 * self.mean_ms)
            .chain([self.asked_ms])
            .filter_map(|length_ms| Some((self.left_at(&means, length_ms)?, length_ms)))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        let found_ms = match best {
            Some((left, length_ms)) if left < GAIN * present => length_ms,
            _ => self.length_ms,
        };
        self.days = if found_ms == self.found_ms { (self.days + 1).min(DAYS) } else { 1 };
        self.found_ms = found_ms;
        if self.days < DAYS || found_ms == self.length_ms {
            return false;
        }
        self.length_ms = found_ms;
        true
    }

    /// What the profile of a season, learnt in the first half, leaves of the second: mean absolute difference. `None` if
    /// the season is longer than the half.
    fn left_at(&self, means: &[f64], length_ms: i64) -> Option<f64> {
        let period = usize::try_from(length_ms / self.mean_ms).ok().filter(|period| *period > 0)?;
        let (first, second) = means.split_at(means.len() / 2);
        if period > first.len() {
            return None;
        }
        let profile: Vec<f64> = (0..period)
            .map(|phase| {
                let (sum, count) = first
                    .iter()
                    .skip(phase)
                    .step_by(period)
                    .fold((0.0, 0.0), |(sum, count), mean| (sum + mean, count + 1.0));
                sum / count
            })
            .collect();
        let phases = (0..period).cycle().skip(first.len() % period);
        let left: f64 = second.iter().zip(phases).map(|(mean, phase)| (mean - profile[phase]).abs()).sum();
        Some(left / second.len() as f64)
    }
}

/// Periods worth trying, in means.
fn candidates(means: &[f64]) -> impl Iterator<Item = usize> {
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // The periodogram of a constant is noise, that of infinities nothing.
    let is_fit = means.len() == MEANS && high > low && (high - low).is_finite();
    let detector = PeriodogramDetector::builder()
        .min_period(PERIOD_MIN as u32)
        .max_period(PERIOD_MAX as u32)
        .threshold(0.5)
        .build();
    let peaks = if is_fit { detector.detect(means) } else { Vec::new() };
    // The strongest come last.
    peaks.into_iter().rev().take(3).flat_map(|period| {
        let period = period as usize;
        let around = period / 8 + 1;
        period.saturating_sub(around).max(PERIOD_MIN)..=(period + around).min(PERIOD_MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::samples::{STEP_MS, at, daily, noise};

    const DAY: usize = (DAY_MS / STEP_MS) as usize;

    /// The seasons in use over some days, one entry a change: day and hours.
    fn changes(days: usize, value: impl Fn(usize) -> f64) -> Vec<(usize, f64)> {
        let mut season = Season::new(DAY_MS, STEP_MS);
        (0..days * DAY)
            .map(|i| (i / DAY, season.push(at(i), value(i)), season.length_ms() as f64 / 3_600_000.0))
            .filter_map(|(day, has_changed, hours)| has_changed.then_some((day, hours)))
            .collect()
    }

    fn wave(i: usize, hours: f64) -> f64 {
        10.0 * ((i as i64 * STEP_MS) as f64 / 3_600_000.0 / hours * std::f64::consts::TAU).sin()
    }

    #[test]
    fn a_clear_season_that_the_day_does_not_show_is_followed_on_the_third_day_after_two_weeks() {
        assert_eq!(changes(20, |i| wave(i, 5.0) + noise(i)), [(16, 5.0)]);
        assert_eq!(changes(20, |i| wave(i, 33.0) + noise(i)), [(16, 33.0)]);
    }

    #[test]
    fn what_the_day_shows_too_changes_nothing() {
        assert_eq!(changes(30, |i| daily(i) + noise(i)), []);
        assert_eq!(changes(30, |i| wave(i, 6.0) + noise(i)), []);
        assert_eq!(changes(30, |i| daily(i) + wave(i, 8.0) + noise(i)), []);
    }

    #[test]
    fn noise_constants_and_single_spikes_have_no_season() {
        assert_eq!(changes(30, noise), []);
        assert_eq!(changes(30, |_| 3.0), []);
        assert_eq!(changes(30, |i| if i == 20 * DAY { 1e300 } else { noise(i) }), []);
        let walk = |i: usize| (0..i / 100).map(noise).sum::<f64>();
        assert_eq!(changes(30, walk), []);
    }

    #[test]
    fn the_day_comes_back_when_it_is_clear_again() {
        let value = |i: usize| if i < 20 * DAY { wave(i, 5.0) } else { 10.0 * daily(i) } + noise(i);
        let changes = changes(50, value);
        assert_eq!(changes.first(), Some(&(16, 5.0)));
        assert_eq!(changes.last().map(|change| change.1), Some(24.0), "{changes:?}");
    }

    #[test]
    fn a_day_of_nothing_begins_anew() {
        let mut season = Season::new(DAY_MS, STEP_MS);
        (0..13 * DAY).for_each(|i| _ = season.push(at(i), wave(i, 5.0)));
        (15 * DAY..20 * DAY).for_each(|i| assert!(!season.push(at(i), wave(i, 5.0)), "{i}"));
    }
}
