//! One method by itself: its score, calibrated on its own past, behind a gate of its own.

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::gate::{self, Gate};
use super::rarity::matters;
use super::{Assessment, Method, Settings};
use crate::time::Timestamp;

/// What a method says of a sample before calibration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Opinion {
    /// At least 0; higher is stranger. In any unit.
    pub score: f64,
    /// How far off it is, in the unit of the series: positive is above.
    pub departure: f64,
    /// What was expected; NaN if the method expects nothing.
    pub expected: f64,
    /// Lower end of what is usual; NaN if unknown.
    pub lower: f64,
    /// Upper end of what is usual; NaN if unknown.
    pub upper: f64,
}

/// A method whose scores mean something only beside its other scores.
pub trait Raw {
    /// Judges a sample by what came before, then learns from it. `None` while it knows too little.
    fn judge(&mut self, at: Timestamp, value: f64) -> Option<Opinion>;
}

/// State of such a method with its calibration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Alone<R> {
    settings: Settings,
    raw: R,
    calibration: Calibration,
    gate: Gate,
}

impl<R> Alone<R> {
    /// One that has seen nothing.
    pub fn new(settings: &Settings, raw: R) -> Self {
        Alone { settings: *settings, raw, calibration: Calibration::default(), gate: Gate::default() }
    }
}

impl<R: Raw> Method for Alone<R> {
    fn push(&mut self, at: Timestamp, value: f64) -> Assessment {
        let Some(opinion) = self.raw.judge(at, value) else { return Assessment::unknown(value) };
        let rarity = self.calibration.rarity(opinion.score);
        self.calibration.learn(opinion.score);
        // What may not be reported must not begin a cool-down.
        let may = matters(&self.settings, opinion.departure);
        let tier = self.gate.pass(rarity.filter(|_| may).unwrap_or(0.0));
        Assessment {
            value,
            score: gate::score(rarity.unwrap_or(0.0)),
            expected: opinion.expected,
            lower: opinion.lower,
            upper: opinion.upper,
            warm: rarity.is_some(),
            tier,
        }
    }

    /// Nothing: these methods see from the time between samples what is missing.
    fn skip(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::samples::{at, daily, noise};
    use crate::detectors::{Detector, Direction, Kind, Tier};

    #[test]
    fn direction_and_least_effect_are_respected() {
        for (direction, effect_min, shift, is_reported) in [
            (Direction::Both, 0.0, -80.0, true),
            (Direction::Down, 40.0, -80.0, true),
            (Direction::Up, 20.0, 80.0, true),
            (Direction::Up, 0.0, -80.0, false),
            (Direction::Down, 0.0, 80.0, false),
            (Direction::Both, 150.0, -80.0, false),
        ] {
            for kind in [Kind::Seasonal, Kind::Novelty, Kind::Range] {
                let settings = Settings { direction, effect_min, ..Settings::default() };
                let mut detector = Detector::new(kind, &settings);
                (0..4000).for_each(|i| _ = detector.push(at(i), daily(i) + noise(i)));
                let mut tiers = (4000..4060).map(|i| detector.push(at(i), daily(i) + noise(i) + shift).tier);
                let was_reported = tiers.any(|tier| tier > Tier::Usual);
                assert_eq!(was_reported, is_reported, "{kind:?} {direction:?} {effect_min} {shift}");
            }
        }
    }
}
