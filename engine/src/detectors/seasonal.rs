//! Departure from what the series usually is at this time of the season, smoothed.
//!
//! Each of [`SLOTS`] parts of the season remembers a mean and a mean absolute deviation. A sample's residual, in robust
//! standard deviations of its slot, goes into a running mean over about 33 samples: so a level that is a little off for
//! long counts as much as one that is far off for a short time. Where the season is a day and three weeks are known, an
//! offset by the hour of the week is added, if it makes the residuals smaller.
//!
//! What is learnt is cut at four deviations, so an incident does not become the norm at once: a day's outage moves its
//! slots by a seventh of their cut, and a new level is the norm after about a week.
//!
//! Sources: Holt (1957) and Winters (1960) for the slots; Huber (1964) for the cut. The numbers are from plateaus on NAB:
//! 48 to 288 slots and smoothing 0.015 to 1 do about as well.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Parts of the season: a quarter of an hour each if it is a day.
pub const SLOTS: usize = 96;

/// What a new visit of a slot counts, once there were some.
const RATE: f64 = 0.15;
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
/// the running mean for a day (8 to 15 do about as well on NAB, none two points worse).
const RESIDUAL_MAX: f64 = 10.0;

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
    /// The same without this sample.
    before: f64,
}

impl Residual {
    /// The values between which the running mean stays within `limit` standard deviations.
    pub fn band(&self, limit: f64) -> (f64, f64) {
        let at = |end: f64| self.expected + self.scale * (end - (1.0 - SMOOTHING) * self.before) / SMOOTHING;
        (at(-limit), at(limit))
    }
}

/// State of the method.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seasonal {
    season_ms: i64,
    slots: Vec<Slot>,
    /// Mean absolute deviation from what was expected, over all slots.
    deviation: f64,
    /// Samples that went into it, at most 100.
    deviations: u8,
    smoothed: f64,
    week: Option<Week>,
}

/// What the hour of the week adds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Week {
    offsets: Vec<f32>,
    /// When the first sample came.
    since: Timestamp,
    /// Mean absolute residual without and with the offsets, running over about a week of half hours.
    plain: f64,
    offset: f64,
}

impl Seasonal {
    /// One that has seen nothing.
    pub fn new(season_ms: i64) -> Self {
        let season_ms = season_ms.max(SLOTS as i64);
        Seasonal {
            season_ms,
            slots: vec![Slot::default(); SLOTS],
            deviation: 0.0,
            deviations: 0,
            smoothed: 0.0,
            week: (season_ms == DAY_MS).then(|| Week {
                offsets: vec![0.0; WEEK_HOURS],
                since: Timestamp::MAX,
                plain: 0.0,
                offset: 0.0,
            }),
        }
    }

    /// Length of the season in milliseconds.
    pub fn season_ms(&self) -> i64 {
        self.season_ms
    }

    /// The next sample, a finite value. `None` until this time of the season has been seen on two days.
    pub fn push(&mut self, at: Timestamp, value: f64) -> Option<Residual> {
        let number = slot_of(at, self.season_ms);
        let residual = self.expect(number).map(|(mean, deviation)| {
            let expected = mean + self.week.as_ref().map_or(0.0, |week| week.offset_at(at));
            let scale = TO_STANDARD * (deviation + SCALE_SHARE * self.deviation);
            let residual = if value == expected { 0.0 } else { (value - expected) / scale };
            let before = self.smoothed;
            self.smoothed += SMOOTHING * (residual.clamp(-RESIDUAL_MAX, RESIDUAL_MAX) - before);
            self.deviations = (self.deviations + 1).min(100);
            let rate = (1.0 / f64::from(self.deviations)).max(SCALE_RATE);
            self.deviation += rate * ((value - expected).abs() - self.deviation);
            if let Some(week) = &mut self.week {
                week.learn(at, value - mean, CUT * (deviation + SCALE_SHARE * self.deviation));
            }
            Residual { expected, scale, smoothed: self.smoothed, before }
        });
        self.slots[number].learn(value, SCALE_SHARE * self.deviation);
        residual
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
        self.visits = (self.visits + 1).min(Self::VISITS_MAX);
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

impl Week {
    const KNOWN_AFTER_MS: i64 = 21 * DAY_MS;
    /// The offsets must take a tenth off the residuals.
    const GAIN_MIN: f64 = 0.9;
    const OFFSET_RATE: f64 = 0.15;

    fn hour_of(at: Timestamp) -> usize {
        (at.unix_ms().div_euclid(3_600_000)).rem_euclid(WEEK_HOURS as i64) as usize
    }

    fn offset_at(&self, at: Timestamp) -> f64 {
        let is_known = at.ms_since(self.since) >= Self::KNOWN_AFTER_MS;
        if is_known && self.offset < Self::GAIN_MIN * self.plain {
            f64::from(self.offsets[Self::hour_of(at)])
        } else {
            0.0
        }
    }

    /// Learns from what is left of a sample when its slot's mean is taken off.
    fn learn(&mut self, at: Timestamp, left: f64, limit: f64) {
        // About a week of five-minute samples: less would follow the day of the week.
        const RESIDUAL_RATE: f64 = 1.0 / 2000.0;
        self.since = self.since.min(at);
        let offset = &mut self.offsets[Self::hour_of(at)];
        let left = left.clamp(-limit, limit);
        self.plain += RESIDUAL_RATE * (left.abs() - self.plain);
        self.offset += RESIDUAL_RATE * ((left - f64::from(*offset)).abs() - self.offset);
        *offset += (Self::OFFSET_RATE * (left - f64::from(*offset))) as f32;
    }
}
