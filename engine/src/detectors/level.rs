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

#[cfg(test)]
mod tests {
    use super::super::noise::{Noise, check_goes_on};
    use super::super::{Direction, Kind, Tier};
    use super::*;

    const HOUR: fn() -> Settings = || Settings { step_ms: 3_600_000, ..Settings::default() };

    fn warm(settings: &Settings) -> (Level, i64) {
        let (mut level, mut noise) = (Level::new(settings), Noise::new(5));
        for hour in 0..2_000 {
            let told = level.push(Timestamp::from_unix_s(hour * 3_600), 10.0 + noise.normal());
            assert!(told.tier <= Tier::Note, "{told:?}");
        }
        (level, 2_000 * 3_600)
    }

    #[test]
    fn scores_know_nothing_of_the_future_and_survive_a_restart() {
        check_goes_on(Kind::Level, &HOUR());
    }

    #[test]
    fn sudden_change_is_reported_in_the_direction_asked_for() {
        for (direction, is_reported) in [(Direction::Both, true), (Direction::Down, false)] {
            let (mut level, at) = warm(&Settings { direction, ..HOUR() });
            let told = level.push(Timestamp::from_unix_s(at), 25.0);
            assert_eq!(told.tier > Tier::Usual, is_reported, "{told:?}");
            assert!((told.expected - 10.0).abs() < 0.5 && told.value > told.upper && told.warm);
        }
    }

    #[test]
    fn one_departure_does_not_move_the_level_and_a_lasting_one_does() {
        let (mut level, at) = warm(&HOUR());
        level.push(Timestamp::from_unix_s(at), 1e6);
        assert!(level.mean < 1_000.0, "{}", level.mean);
        let (mut level, _) = warm(&HOUR());
        for _ in 0..600 {
            level.push(Timestamp::from_unix_s(at), 30.0);
        }
        assert!((level.mean - 30.0).abs() < 1.0, "{}", level.mean);
    }
}
