//! From a departure to a report: how rare it is in this series, and what that is worth.
//!
//! The scale is the same for every step: a departure counts by how many as large are to be expected in twelve hours of
//! usual samples. A note is 10^-1.8 (one a month), a warning 10^-3, a page 10^-4 (facts/anomaly.md 2.2).

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::{Assessment, Direction, Settings, Tier};

/// Departures are counted over this time.
const COUNTED_OVER_MS: f64 = 43_200_000.0;
/// `-log10` of that number from which on there is a tier, rarest first.
const TIERS: [(f64, Tier); 3] = [(4.0, Tier::Page), (3.0, Tier::Warning), (NOTE, Tier::Note)];
/// The lowest of them.
pub const NOTE: f64 = 1.8;

/// What a rarity is worth.
pub fn tier(rarity: f64) -> Tier {
    TIERS.iter().find(|(least, _)| rarity >= *least).map_or(Tier::Usual, |(_, tier)| *tier)
}

/// Decades between the probability of one sample and the expected number in twelve hours.
pub fn shift(settings: &Settings) -> f64 {
    (COUNTED_OVER_MS / settings.step_ms.max(1) as f64).log10().max(0.0)
}

/// The score of a rarity: one less the number of such departures expected in twelve hours.
pub fn score(rarity: f64) -> f64 {
    1.0 - 10_f64.powf(-rarity.max(0.0))
}

/// Whether a departure is one that is to be reported at all: it goes the right way, and far enough.
pub fn matters(settings: &Settings, departure: f64) -> bool {
    let fits = match settings.direction {
        Direction::Both => true,
        Direction::Up => departure > 0.0,
        Direction::Down => departure < 0.0,
    };
    fits && departure.abs() >= settings.effect_min
}

/// Scores that a series needs before rarities mean what they say (Siffer et al., KDD 2017: batches of 1000).
pub const SCORES_WARM: u32 = 1000;
/// Scores remembered.
const MEMORY: u32 = 4000;

/// Judges residuals of a method that stands alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rarity {
    settings: Settings,
    shift: f64,
    calibration: Calibration,
    /// Standard deviations from which on a residual can be reported.
    from: f64,
}

impl Rarity {
    /// One that has seen nothing and reports from `from` standard deviations on.
    pub fn new(settings: &Settings, from: f64) -> Self {
        Rarity { settings: *settings, shift: shift(settings), calibration: Calibration::new(MEMORY), from }
    }

    /// Judges a value by what was expected, then learns how far off it was.
    pub fn push(&mut self, value: f64, expected: f64, scale: f64) -> Assessment {
        let departure = value - expected;
        let z = departure.abs() / scale;
        let rarity = self.calibration.rarity(z).map_or(0.0, |rarity| (rarity - self.shift).max(0.0));
        self.calibration.learn(z);
        let warm = self.calibration.learnt() > SCORES_WARM;
        let is_far = z >= self.from && matters(&self.settings, departure);
        let rarity = if is_far && warm { rarity } else { rarity.min(NOTE - 0.01) };
        Assessment {
            value,
            score: score(rarity),
            expected,
            lower: expected - self.from * scale,
            upper: expected + self.from * scale,
            warm,
            tier: tier(rarity),
        }
    }
}
