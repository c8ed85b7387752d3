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
use super::novelty::Novelty;
use super::range::{Place, Range};
use super::seasonal::{Residual, Seasonal};
use super::{Assessment, Direction, Method, Settings, Tier};
use crate::time::Timestamp;

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
}

impl Pattern {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        Pattern {
            direction: settings.direction,
            effect_min: settings.effect_min,
            novelty: Novelty::default(),
            of_novelty: Calibration::default(),
            seasonal: Seasonal::new(settings),
            of_seasonal: Calibration::default(),
            range: Range::new(settings.over_ms),
            gate: Gate::default(),
        }
    }

    /// Is it the direction that was asked for, and far enough off to matter? Shape has no direction of its own: it takes
    /// that of the level.
    fn matters(&self, value: f64, residual: Option<Residual>, place: Option<Place>) -> bool {
        let level = residual.map_or(0.0, |residual| residual.smoothed * residual.scale);
        let off = residual.map_or(0.0, |residual| value - residual.expected);
        let beyond = place
            .filter(|place| place.rarity > 0.0)
            .map_or(0.0, |place| value - place.lower.max(value.min(place.upper)));
        let towards = if beyond != 0.0 { beyond } else { level };
        let is_asked = match self.direction {
            Direction::Both => true,
            Direction::Up => towards > 0.0,
            Direction::Down => towards < 0.0,
        };
        is_asked && (residual.is_none() || level.abs().max(off.abs()) >= self.effect_min)
    }
}

impl Method for Pattern {
    fn push(&mut self, at: Timestamp, value: f64) -> Assessment {
        let calibrated = |calibration: &mut Calibration, score: f64| {
            let rarity = calibration.rarity(score);
            calibration.learn(score);
            rarity.unwrap_or(0.0)
        };
        let distance = self.novelty.push(at, value);
        let novelty = distance.map_or(0.0, |distance| calibrated(&mut self.of_novelty, distance));
        let residual = self.seasonal.push(at, value);
        let seasonal =
            residual.map_or(0.0, |residual| calibrated(&mut self.of_seasonal, residual.smoothed.abs()));
        let place = self.range.push(at, value);
        let rarity = 0.5 * (novelty + seasonal) + place.map_or(0.0, |place| place.rarity);
        let warm = place.is_some() && self.of_seasonal.is_warm();
        let tier =
            if self.matters(value, residual, place) { self.gate.pass(rarity) } else { self.gate.pass(0.0) };
        let (low, high) = place.map_or((f64::NAN, f64::NAN), |place| (place.lower, place.upper));
        let (expected, margin) =
            residual.map_or((f64::NAN, f64::NAN), |residual| (residual.expected, residual.margin));
        Assessment {
            value,
            score: gate::score(rarity),
            expected,
            // Of two ends the nearer one; NaN is as good as none.
            lower: low.max(expected - margin),
            upper: high.min(expected + margin),
            warm,
            // What has just begun is seldom worth more than a note.
            tier: if warm { tier } else { tier.min(Tier::Note) },
        }
    }

    /// Nothing: what a gap is follows from the time between samples, see [`super::novelty`].
    fn skip(&mut self) {}
}
