//! Small departures that add up: a two-sided cumulative sum on what is unusual for the time of the season.
//!
//! Finds a slow drain that no single sample shows (facts/anomaly.md 5.2, D9; Page, Biometrika 1954). Works on means of
//! half an hour, whatever the step.

use serde::{Deserialize, Serialize};

use super::rarity::{matters, score, tier};
use super::scale::floor;
use super::slots::Slots;
use super::{Assessment, Method, Settings, Tier};
use crate::time::Timestamp;

/// Samples are means over this time.
const MEAN_OVER_MS: i64 = 1_800_000;
/// Half-hour slots of a day; other seasons are cut into as many.
const SLOTS: i64 = 48;
/// Deviations that are put down to noise at each sample, and the sum that is reported (facts: D9).
const ALLOWED: f64 = 0.5;
const REPORTED_FROM: f64 = 8.0;
/// One sample adds no more than this: a single departure is not a drift.
const ADDED_MAX: f64 = 3.0;
/// Samples in the twelve hours that reports are counted over.
const COUNTED_OVER: f64 = 24.0;

/// State of the cumulative sum.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cusum {
    settings: Settings,
    slots: Slots,
    /// Sums of what is above and what is below.
    above: f64,
    below: f64,
    /// The mean under way: its number, sum and number of samples.
    number: i64,
    sum: f64,
    count: u32,
    full: u32,
    newest: Assessment,
}

impl Cusum {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        let mean_over_ms = settings.step_ms.max(MEAN_OVER_MS);
        let settings_of_means = Settings { step_ms: mean_over_ms, ..*settings };
        Cusum {
            settings: settings_of_means,
            slots: Slots::new(&settings_of_means, SLOTS),
            above: 0.0,
            below: 0.0,
            number: i64::MIN,
            sum: 0.0,
            count: 0,
            full: (mean_over_ms / settings.step_ms.max(1)) as u32,
            newest: Assessment::unknown(f64::NAN),
        }
    }

    fn push_mean(&mut self, at: Timestamp, value: f64) -> Assessment {
        let Some((expected, scale)) = self.slots.expected(at) else {
            self.slots.learn(at, value);
            return Assessment::unknown(value);
        };
        self.slots.learn(at, value);
        let scale = scale.max(floor(&self.settings, expected));
        let z = ((value - expected) / scale).clamp(-ADDED_MAX, ADDED_MAX);
        self.above = (self.above + z - ALLOWED).max(0.0);
        self.below = (self.below - z - ALLOWED).max(0.0);
        let sum = self.above.max(self.below);
        let rarity = rarity_of(sum);
        let is_reported = sum >= REPORTED_FROM && matters(&self.settings, value - expected);
        if sum >= REPORTED_FROM {
            (self.above, self.below) = (0.0, 0.0);
        }
        Assessment {
            value,
            score: score(rarity),
            expected,
            lower: expected - ADDED_MAX * scale,
            upper: expected + ADDED_MAX * scale,
            warm: true,
            tier: if is_reported { tier(rarity) } else { Tier::Usual },
        }
    }
}

/// `-log10` of how often a sum is reached in twelve hours of usual samples: Siegmund's approximation of the run length
/// of a one-sided sum (Sequential Analysis, 1985), twice as often for two sides.
fn rarity_of(sum: f64) -> f64 {
    let reach = 2.0 * ALLOWED * (sum + 1.166);
    let run_length = (reach.exp() - reach - 1.0) / (2.0 * ALLOWED * ALLOWED) / 2.0;
    (run_length / COUNTED_OVER).max(1.0).log10()
}

impl Method for Cusum {
    fn push(&mut self, at: Timestamp, value: f64) -> Assessment {
        let number = at.unix_ms().div_euclid(self.settings.step_ms);
        // A report stands for one sample; what is known besides stands until the next mean.
        self.newest = Assessment { value, tier: Tier::Usual, ..self.newest };
        if number != self.number {
            if self.count > 0 && 2 * self.count >= self.full {
                let closed_at = Timestamp::from_unix_ms(self.number * self.settings.step_ms);
                self.newest = self.push_mean(closed_at, self.sum / f64::from(self.count));
            }
            (self.number, self.sum, self.count) = (number, 0.0, 0);
        }
        self.sum += value;
        self.count += 1;
        self.newest
    }

    fn skip(&mut self) {
        // Half a mean is as good as a whole one, and the sums go on where they were: a gap adds nothing.
    }
}
