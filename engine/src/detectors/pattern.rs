//! The pattern channel: changes of level and of shape, on roll-ups of five minutes or what comes coarser.
//!
//! Three methods look at each sample: subsequence novelty, the smoothed seasonal residual, and range novelty. The first
//! two are calibrated, each on its own past, and the mean of their rarities plus that of the range is the sample's: one
//! of the two must be very sure or both a little, and a value never seen is enough alone.
//!
//! On NAB no single method comes near (facts: novelty 64, range 57, seasonal 53, the three together 74), and no further
//! one adds to them.

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::gate::{self, Gate};
use super::novelty::{self, Novelty};
use super::range::Range;
use super::seasonal::Seasonal;
use super::{Assessment, Direction, Method, Settings, Tier};
use crate::time::Timestamp;

/// An interval between samples this many times the usual one is a gap that no stretch goes across: a quarter of a stretch.
/// A shorter hole shifts what follows by less than a quarter, which is less than what most changes of shape are.
const GAP: f64 = (novelty::STRETCH / 4) as f64;

/// State of the pattern channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pattern {
    direction: Direction,
    effect_min: f64,
    novelty: Novelty,
    of_novelty: Calibration,
    seasonal: Seasonal,
    of_seasonal: Calibration,
    range: Range,
    gate: Gate,
    rhythm: Rhythm,
}

impl Pattern {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        Pattern {
            direction: settings.direction,
            effect_min: settings.effect_min,
            novelty: Novelty::default(),
            of_novelty: Calibration::default(),
            seasonal: Seasonal::new(settings.season_ms),
            of_seasonal: Calibration::default(),
            range: Range::new(settings.over_ms),
            gate: Gate::default(),
            rhythm: Rhythm::default(),
        }
    }
}

impl Method for Pattern {
    fn push(&mut self, at: Timestamp, value: f64) -> Assessment {
        if self.rhythm.is_gap(at) {
            self.novelty.skip();
        }
        let novelty = self.novelty.push(value).map_or(0.0, |distance| {
            let rarity = self.of_novelty.rarity(distance);
            self.of_novelty.learn(distance);
            rarity.unwrap_or(0.0)
        });
        let residual = self.seasonal.push(at, value);
        let seasonal = residual.map_or(0.0, |residual| {
            let rarity = self.of_seasonal.rarity(residual.smoothed.abs());
            self.of_seasonal.learn(residual.smoothed.abs());
            rarity.unwrap_or(0.0)
        });
        let place = self.range.push(at, value);
        let rarity = 0.5 * (novelty + seasonal) + place.map_or(0.0, |place| place.rarity);
        let tier = self.gate.pass(rarity);
        Assessment {
            value,
            score: gate::score(rarity),
            expected: f64::NAN,
            lower: f64::NAN,
            upper: f64::NAN,
            warm: self.of_seasonal.is_warm(),
            tier,
        }
    }

    /// Nothing: what a gap is follows from the time between samples. Series whose samples come irregularly by nature
    /// would never have an unbroken stretch if each longer wait broke it.
    fn skip(&mut self) {}
}

/// How often samples come.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Rhythm {
    last: Option<Timestamp>,
    /// Mean interval in milliseconds.
    interval_ms: f64,
    /// Intervals seen, at most 50.
    count: u8,
}

impl Rhythm {
    /// Takes the next sample's time: did it come after a gap?
    fn is_gap(&mut self, at: Timestamp) -> bool {
        let Some(last) = self.last.replace(at) else { return false };
        let interval_ms = at.ms_since(last).max(0) as f64;
        let is_gap = self.count >= 4 && interval_ms > GAP * self.interval_ms;
        self.count = (self.count + 1).min(50);
        // One long night must not make short gaps look usual.
        let interval_ms = if self.count > 4 { interval_ms.min(10.0 * self.interval_ms) } else { interval_ms };
        self.interval_ms += (interval_ms - self.interval_ms) / f64::from(self.count);
        is_gap
    }
}
