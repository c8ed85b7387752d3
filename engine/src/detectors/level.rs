//! A robust level: exponentially weighted mean and variance that departures do not drag along.
//!
//! The cheap default (facts/anomaly.md 5.2, D1). Knows no season; a slow change is followed, a sudden one is reported.

use serde::{Deserialize, Serialize};

use super::rarity::Rarity;
use super::scale::{Scale, floor};
use super::{Assessment, Method, Settings};
use crate::time::Timestamp;

/// Rate of forgetting, deviations beyond which samples are winsorised, and samples to warm up with (facts: D1).
const RATE: f64 = 0.01;
const WINSORISED_AT: f64 = 3.0;
const WARM_UP: u32 = 50;

/// State of the robust level.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Level {
    settings: Settings,
    mean: f64,
    scale: Scale,
    rarity: Rarity,
}

impl Level {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        Level {
            settings: *settings,
            mean: 0.0,
            scale: Scale::new(RATE, WINSORISED_AT),
            rarity: Rarity::new(settings, WINSORISED_AT),
        }
    }
}

impl Method for Level {
    fn push(&mut self, _at: Timestamp, value: f64) -> Assessment {
        let seen = self.scale.samples();
        if seen == 0 {
            self.mean = value;
        }
        let floor = floor(&self.settings, self.mean);
        let assessment = if seen < WARM_UP {
            Assessment { expected: self.mean, ..Assessment::unknown(value) }
        } else {
            self.rarity.push(value, self.mean, self.scale.at_least(floor))
        };
        let learnt = self.scale.learn(value - self.mean, floor);
        self.mean += RATE.max(1.0 / f64::from(self.scale.samples())) * learnt;
        assessment
    }

    fn skip(&mut self) {
        // A level is not a sequence: it goes on where it was.
    }
}
