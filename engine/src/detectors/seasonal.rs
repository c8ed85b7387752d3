//! Departure from what the series usually is at this time of the season, smoothed.
//!
//! Each of [`SLOTS`] parts of the season remembers a mean and a mean absolute deviation; with its neighbours it says what
//! is expected. Two samples are enough for that, so on the first day it is what came just before: a poor guess, but its
//! errors are what the calibration needs first (waiting for a second day costs NAB four points of low false positives).
//! A sample's residual, in robust standard deviations of its slot, goes into a running mean over about 33 samples: so a
//! level that is a little off for long counts as much as one that is far off for a short time. Where the season is a day
//! and three weeks are known, an offset by the hour of the week is added, if that makes the residuals smaller.
//!
//! What is learnt is cut at four deviations, so an incident does not become the norm at once. With five-minute samples a new
//! level is a sixth of the norm after a day, half of it after three days, and the norm after two weeks.
//!
//! Sources: Holt (1957) and Winters (1960) for the slots; Huber (1964) for the cut. The numbers are from plateaus on NAB:
//! 48 to 288 slots, smoothing 0.015 to 0.05 and rates 0.05 to 0.15 do about as well.

use serde::{Deserialize, Serialize};

use super::Settings;
use super::alone::{Opinion, Raw};
use super::calibration::Calibration;
use super::season::Season;
use crate::time::Timestamp;

/// Parts of the season: a quarter of an hour each if it is a day.
pub const SLOTS: usize = 96;

/// What a new sample counts in its slot, once there were some.
const RATE: f64 = 0.1;
/// What a new residual counts in their running mean.
const SMOOTHING: f64 = 0.03;
/// What a new deviation counts in that of all slots.
const SCALE_RATE: f64 = 0.01;
/// Share of the deviation of all slots in the scale of each: a slot that was calm by chance is not believed.
const SCALE_SHARE: f64 = 0.25;
/// From the mean absolute deviation to the standard deviation, as for a median deviation of normal samples.
const TO_STANDARD: f64 = 1.4826;
/// Samples further off are learnt from as if they were this far off, in deviations.
const CUT: f64 = 4.0;
/// Residuals count as at most this many standard deviations: a spike is no level. Without it one wild sample would hold
/// the running mean for a day, and the scale for longer (8 to 15 do about as well on NAB, none is two points worse).
const RESIDUAL_MAX: f64 = 10.0;

/// The band holds all but one in a thousand samples.
const MARGIN_RARITY: f64 = 3.0;

const DAY_MS: i64 = 86_400_000;
const WEEK_HOURS: usize = 168;

/// What a slot remembers.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Slot {
    mean: f64,
    deviation: f32,
    /// At most [`Slot::VISITS_MAX`].
    visits: u8,
}

/// What the season says of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Residual {
    /// What the series usually is at this time.
    pub expected: f64,
    /// A standard deviation of the samples around it, in their unit.
    pub scale: f64,
    /// The running mean of residuals with this sample, in standard deviations; positive is above.
    pub smoothed: f64,
    /// How far from what is expected samples usually stay, in their unit; NaN while unknown.
    pub margin: f64,
}

/// State of the method.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seasonal {
    season: Season,
    slots: Vec<Slot>,
    /// Mean absolute deviation from what was expected, over all slots.
    deviation: f64,
    /// Samples that went into it, at most 100.
    deviations: u8,
    smoothed: f64,
    /// Of single residuals, in standard deviations.
    residuals: Calibration,
    week: Week,
}

impl Raw for Seasonal {
    fn judge(&mut self, at: Timestamp, value: f64) -> Option<Opinion> {
        let Residual { expected, margin, smoothed, scale } = self.push(at, value)?;
        // A level a little off for long is judged: its direction counts, and its effect or that of the sample.
        let departure = smoothed.signum() * (smoothed * scale).abs().max((value - expected).abs());
        Some(Opinion {
            score: smoothed.abs(),
            departure,
            expected,
            lower: expected - margin,
            upper: expected + margin,
        })
    }
}

/// What the hour of the week adds to the hour of the day.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Week {
    offsets: Vec<f32>,
    /// The hour under way, counted from the epoch; sum and number of what was left of its samples.
    hour: i64,
    sum: f64,
    count: u32,
    /// The first hour.
    since: i64,
    /// Mean absolute rest of an hour without and with its offset, over about a week.
    plain: f64,
    adjusted: f64,
}

impl Seasonal {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        Seasonal {
            season: Season::new(settings.season_ms.max(SLOTS as i64), settings.step_ms),
            slots: vec![Slot::default(); SLOTS],
            deviation: 0.0,
            deviations: 0,
            smoothed: 0.0,
            residuals: Calibration::default(),
            week: Week::default(),
        }
    }

    /// The next sample, a finite value. `None` until this part of the season, or one beside it, had two samples.
    pub fn push(&mut self, at: Timestamp, value: f64) -> Option<Residual> {
        if self.season.push(at, value) {
            self.slots = vec![Slot::default(); SLOTS];
        }
        let season_ms = self.season.length_ms();
        let number = slot_of(at, season_ms);
        let residual = self.expect(number).map(|(mean, deviation)| {
            let is_daily = season_ms == DAY_MS;
            let expected = mean + if is_daily { self.week.offset_at(at) } else { 0.0 };
            let residual = self.compare(value, expected, deviation);
            if is_daily {
                self.week.learn(at, value - mean, CUT * (deviation + SCALE_SHARE * self.deviation));
            }
            residual
        });
        self.slots[number].learn(value, SCALE_SHARE * self.deviation);
        residual
    }

    /// Takes the sample into what is known of residuals.
    fn compare(&mut self, value: f64, expected: f64, deviation: f64) -> Residual {
        let scale = TO_STANDARD * (deviation + SCALE_SHARE * self.deviation);
        let off = value - expected;
        let residual = if off == 0.0 { 0.0 } else { (off / scale).clamp(-1e9, 1e9) };
        self.smoothed += SMOOTHING * (residual.clamp(-RESIDUAL_MAX, RESIDUAL_MAX) - self.smoothed);
        // One wild sample is neither in the band nor makes it wider: it goes into no score.
        let reach = self.residuals.score_at(MARGIN_RARITY);
        let margin = reach.map_or(f64::NAN, |residuals| scale * residuals.min(RESIDUAL_MAX));
        self.residuals.learn(residual.abs().min(RESIDUAL_MAX));
        self.deviations = self.deviations.saturating_add(1).min(100);
        let rate = (1.0 / f64::from(self.deviations)).max(SCALE_RATE);
        let limit = RESIDUAL_MAX * (deviation + SCALE_SHARE * self.deviation);
        // The first ten say how far samples are off.
        let counted = if self.deviations > 10 && limit > 0.0 { off.abs().min(limit) } else { off.abs() };
        self.deviation += rate * (counted - self.deviation);
        Residual { expected, scale, smoothed: self.smoothed, margin }
    }

    /// Mean and deviation at a slot, over it and its neighbours.
    fn expect(&self, number: usize) -> Option<(f64, f64)> {
        let near = [number + SLOTS - 1, number, number + 1].map(|number| &self.slots[number % SLOTS]);
        let known = near.iter().filter(|slot| slot.visits >= 2);
        let count = known.clone().count() as f64;
        let mean = known.clone().map(|slot| slot.mean / count).sum();
        let deviation = known.map(|slot| f64::from(slot.deviation) / count).sum();
        (count > 0.0).then_some((mean, deviation))
    }
}

fn slot_of(at: Timestamp, season_ms: i64) -> usize {
    let into = at.unix_ms().rem_euclid(season_ms);
    (i128::from(into) * SLOTS as i128 / i128::from(season_ms)) as usize
}

impl Slot {
    const VISITS_MAX: u8 = 100;

    fn learn(&mut self, value: f64, of_all: f64) {
        self.visits = self.visits.saturating_add(1).min(Self::VISITS_MAX);
        if self.visits == 1 {
            self.mean = value;
            return;
        }
        let rate = (1.0 / f64::from(self.visits)).max(RATE);
        let limit = CUT * (f64::from(self.deviation) + of_all);
        let off = value - self.mean;
        // The first two visits say how far samples are apart.
        let off = if self.visits > 2 && limit > 0.0 { off.clamp(-limit, limit) } else { off };
        self.mean += rate * off;
        self.deviation += (rate * (off.abs() - f64::from(self.deviation))) as f32;
    }
}

impl Default for Week {
    fn default() -> Self {
        Week {
            offsets: vec![0.0; WEEK_HOURS],
            hour: i64::MAX,
            sum: 0.0,
            count: 0,
            since: i64::MAX,
            plain: 0.0,
            adjusted: 0.0,
        }
    }
}

impl Week {
    /// Three weeks, in hours.
    const KNOWN_AFTER: i64 = 3 * WEEK_HOURS as i64;
    /// The offsets must take a tenth off what is left.
    const GAIN: f64 = 0.9;
    /// What a new week counts, once there were five.
    const RATE_MIN: f64 = 0.2;

    fn hour(at: Timestamp) -> i64 {
        at.unix_ms().div_euclid(3_600_000)
    }

    fn offset_at(&self, at: Timestamp) -> f64 {
        let hour = Self::hour(at);
        let helps = hour - self.since >= Self::KNOWN_AFTER && self.adjusted < Self::GAIN * self.plain;
        if helps { f64::from(self.offsets[hour.rem_euclid(WEEK_HOURS as i64) as usize]) } else { 0.0 }
    }

    /// Takes what is left of a sample when its slot's mean is taken off, at most `limit` of it.
    fn learn(&mut self, at: Timestamp, left: f64, limit: f64) {
        let hour = Self::hour(at);
        if hour != self.hour {
            self.close();
            (self.hour, self.sum, self.count) = (hour, 0.0, 0);
            self.since = self.since.min(hour);
        }
        self.sum += left.clamp(-limit, limit);
        self.count = self.count.saturating_add(1);
    }

    /// Learns from the hour that is over.
    fn close(&mut self) {
        if self.count == 0 {
            return;
        }
        let left = self.sum / f64::from(self.count);
        let offset = &mut self.offsets[self.hour.rem_euclid(WEEK_HOURS as i64) as usize];
        let off = left - f64::from(*offset);
        let weeks = (self.hour - self.since) / WEEK_HOURS as i64;
        *offset += (off * (1.0 / (weeks + 1) as f64).max(Self::RATE_MIN)) as f32;
        // In the first week there is nothing to compare with.
        if weeks > 0 {
            self.plain += (left.abs() - self.plain) / WEEK_HOURS as f64;
            self.adjusted += (off.abs() - self.adjusted) / WEEK_HOURS as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::samples::{STEP_MS, at, daily, noise};

    /// Feeds samples and returns what was said of the last.
    #[track_caller]
    fn feed(seasonal: &mut Seasonal, from: usize, to: usize, value: impl Fn(usize) -> f64) -> Residual {
        (from..to).map(|i| seasonal.push(at(i), value(i))).last().flatten().expect("there is one by then")
    }

    const DAY: usize = (DAY_MS / STEP_MS) as usize;

    #[test]
    fn the_time_of_day_is_expected() {
        let mut seasonal = Seasonal::new(&Settings::default());
        for i in 0..5 * DAY {
            let residual = seasonal.push(at(i), daily(i));
            if i > 4 * DAY {
                let residual = residual.expect("the time of day has been seen");
                assert!((residual.expected - daily(i)).abs() < 2.0, "{i}: {residual:?}");
            }
        }
    }

    #[test]
    fn a_new_level_is_no_norm_on_the_first_day_and_is_after_two_weeks() {
        let mut seasonal = Seasonal::new(&Settings::default());
        let shifted = |i: usize| daily(i) + noise(i) + if i >= 14 * DAY { 30.0 } else { 0.0 };
        let before = feed(&mut seasonal, 0, 14 * DAY, shifted);
        assert!(before.smoothed.abs() < 1.0, "{before:?}");
        let soon = feed(&mut seasonal, 14 * DAY, 14 * DAY + 24, shifted);
        assert!(soon.smoothed > 2.0, "{soon:?}");
        let share = |day: usize, residual: Residual| (residual.expected - daily((14 + day) * DAY - 1)) / 30.0;
        let mut shares = Vec::new();
        for day in 1..=14 {
            let from = if day == 1 { 14 * DAY + 24 } else { (13 + day) * DAY };
            let residual = feed(&mut seasonal, from, (14 + day) * DAY, shifted);
            shares.push(share(day, residual));
        }
        assert!(shares[0] < 0.25 && (0.4..0.7).contains(&shares[2]) && shares[13] > 0.95, "{shares:?}");
    }

    #[test]
    fn an_hour_far_off_moves_what_is_expected_little() {
        let mut seasonal = Seasonal::new(&Settings::default());
        let value =
            |i: usize| daily(i) + noise(i) + if (10 * DAY..10 * DAY + 12).contains(&i) { 1e6 } else { 0.0 };
        feed(&mut seasonal, 0, 11 * DAY, value);
        let next_day = seasonal.push(at(11 * DAY), value(11 * DAY)).expect("the time of day has been seen");
        assert!((next_day.expected - daily(11 * DAY)).abs() < 15.0, "{next_day:?}");
    }

    #[test]
    fn the_day_of_the_week_is_expected_after_three_weeks_if_it_differs() {
        let weekend = |i: usize| if (i / DAY) % 7 >= 5 { 60.0 } else { 0.0 };
        let saturday_noon = |week: usize| (7 * week + 5) * DAY + DAY / 2;
        let off_at = |week: usize, value: &dyn Fn(usize) -> f64| {
            let mut seasonal = Seasonal::new(&Settings::default());
            let residual = feed(&mut seasonal, 0, saturday_noon(week), value);
            residual.expected - value(saturday_noon(week) - 1)
        };
        let with_weekends = |i: usize| daily(i) + weekend(i) + noise(i);
        assert!(off_at(2, &with_weekends).abs() > 20.0, "two weeks are not enough");
        assert!(off_at(6, &with_weekends).abs() < 10.0);
        let mut plain = Seasonal::new(&Settings::default());
        feed(&mut plain, 0, 42 * DAY, |i| daily(i) + noise(i));
        assert_eq!(plain.week.offset_at(at(42 * DAY)), 0.0, "offsets that do not help are not used");
    }

    #[test]
    fn one_wild_sample_moves_the_running_mean_by_a_third_at_most() {
        let mut seasonal = Seasonal::new(&Settings::default());
        let before = feed(&mut seasonal, 0, 3 * DAY, |i| daily(i) + noise(i));
        let after = feed(&mut seasonal, 3 * DAY, 3 * DAY + 1, |_| 1e12);
        assert!(after.smoothed - before.smoothed <= SMOOTHING * (RESIDUAL_MAX + 1.0), "{before:?} {after:?}");
    }
}
