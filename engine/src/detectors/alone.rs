//! One method by itself: its score, calibrated on its own past, behind a gate of its own.

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::gate::{self, Gate};
use super::{Assessment, Method};
use crate::time::Timestamp;

/// What a method says of a sample before calibration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Opinion {
    /// At least 0; higher is stranger. In any unit.
    pub score: f64,
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
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Alone<R> {
    raw: R,
    calibration: Calibration,
    gate: Gate,
}

impl<R> Alone<R> {
    /// One that has seen nothing.
    pub fn new(raw: R) -> Self {
        Alone { raw, calibration: Calibration::default(), gate: Gate::default() }
    }
}

impl<R: Raw> Method for Alone<R> {
    fn push(&mut self, at: Timestamp, value: f64) -> Assessment {
        let Some(opinion) = self.raw.judge(at, value) else { return Assessment::unknown(value) };
        let rarity = self.calibration.rarity(opinion.score);
        self.calibration.learn(opinion.score);
        let tier = self.gate.pass(rarity.unwrap_or(0.0));
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
