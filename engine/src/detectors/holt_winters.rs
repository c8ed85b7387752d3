//! Holt-Winters: a level that follows, and what is usual at this time of the season on top of it. No trend.
//!
//! Alone it was the best single method on service metrics by the minute (facts/anomaly.md 3.1).

use serde::{Deserialize, Serialize};

use super::rarity::Rarity;
use super::scale::{Scale, floor};
use super::slots::{SLOTS_MAX, Season};
use super::{Assessment, Method, Settings};
use crate::time::Timestamp;

/// Smoothing of the level for each sample and of the season for each visit of a slot (facts: D3).
const ALPHA: f64 = 0.1;
const GAMMA: f64 = 0.2;
/// Deviations beyond which samples are winsorised (facts: D3).
const WINSORISED_AT: f64 = 4.0;
/// Rate of the standard deviation of the residuals: half of what is known is from the last 140 samples.
const RATE: f64 = 0.005;
/// Samples whose mean is the first level, and after which residuals say something.
const WARM_UP: u32 = 8;

/// What Holt-Winters expects next.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Smoothing {
    settings: Settings,
    season: Season,
    gamma: f64,
    level: f64,
    /// Samples since the level began.
    samples: u32,
    offsets: Vec<f32>,
    scale: Scale,
}

impl Smoothing {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        let season = Season::new(settings, SLOTS_MAX);
        Smoothing {
            settings: *settings,
            season,
            gamma: season.rate(GAMMA),
            level: 0.0,
            samples: 0,
            offsets: vec![0.0; season.slots()],
            scale: Scale::new(RATE, WINSORISED_AT),
        }
    }

    /// What is expected at an instant, and its standard deviation.
    pub fn expected(&self, at: Timestamp) -> Option<(f64, f64)> {
        let expected = self.level + f64::from(self.offsets[self.season.slot(at)]);
        (self.samples >= WARM_UP).then(|| (expected, self.scale.at_least(floor(&self.settings, expected))))
    }

    /// Learns a sample.
    pub fn learn(&mut self, at: Timestamp, value: f64) {
        let slot = self.season.slot(at);
        let offset = f64::from(self.offsets[slot]);
        self.samples = self.samples.saturating_add(1);
        if self.samples == 1 {
            self.level = value - offset;
            return;
        }
        let expected = self.level + offset;
        let learnt = self.scale.learn(value - expected, floor(&self.settings, expected));
        self.level += ALPHA.max(1.0 / f64::from(self.samples)) * learnt;
        self.offsets[slot] = (offset + self.gamma * learnt) as f32;
    }

    /// The level begins anew with the next sample; the season stays.
    pub fn restart(&mut self) {
        self.samples = 0;
    }

    /// The level begins anew and what is known of residuals is forgotten with it.
    pub fn restart_elsewhere(&mut self) {
        self.restart();
        self.scale = Scale::new(RATE, WINSORISED_AT);
    }
}

/// Holt-Winters alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HoltWinters {
    smoothing: Smoothing,
    rarity: Rarity,
}

impl HoltWinters {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        HoltWinters { smoothing: Smoothing::new(settings), rarity: Rarity::new(settings, WINSORISED_AT) }
    }
}

impl Method for HoltWinters {
    fn push(&mut self, at: Timestamp, value: f64) -> Assessment {
        let assessment = match self.smoothing.expected(at) {
            Some((expected, scale)) => self.rarity.push(value, expected, scale),
            None => Assessment::unknown(value),
        };
        self.smoothing.learn(at, value);
        assessment
    }

    fn skip(&mut self) {
        self.smoothing.restart();
    }
}

#[cfg(test)]
mod tests {
    use super::super::noise::{Noise, check_goes_on};
    use super::super::{Kind, Tier};
    use super::*;

    const HOUR: fn() -> Settings = || Settings { step_ms: 3_600_000, ..Settings::default() };

    /// A day with a peak of 50 above 100 from twelve to eighteen o'clock.
    fn daily(hour: i64) -> f64 {
        if (12..18).contains(&(hour % 24)) { 150.0 } else { 100.0 }
    }

    #[test]
    fn scores_know_nothing_of_the_future_and_survive_a_restart() {
        check_goes_on(Kind::HoltWinters, &HOUR());
    }

    #[test]
    fn usual_peak_is_expected_and_a_peak_at_night_is_reported() {
        let (mut method, mut noise) = (HoltWinters::new(&HOUR()), Noise::new(6));
        let mut push = |hour: i64, value: f64| {
            method.push(Timestamp::from_unix_s(hour * 3_600), value + 2.0 * noise.normal())
        };
        for hour in 0..90 * 24 {
            push(hour, daily(hour));
        }
        let told: Vec<_> = (2_160..2_160 + 13).map(|hour| push(hour, daily(hour))).collect();
        assert!((told[12].expected - 150.0).abs() < 15.0, "{:?}", told[12]);
        assert!(told.iter().all(|one| one.tier == Tier::Usual), "{told:?}");
        for hour in 2_173..2_187 {
            push(hour, daily(hour));
        }
        assert!(push(2_187, 150.0).tier > Tier::Usual, "at three o'clock at night");
    }

    #[test]
    fn level_begins_anew_after_a_gap_and_the_season_stays() {
        let mut smoothing = Smoothing::new(&HOUR());
        let at = |hour: i64| Timestamp::from_unix_s(hour * 3_600);
        (0..60 * 24).for_each(|hour| smoothing.learn(at(hour), daily(hour)));
        smoothing.restart();
        assert_eq!(smoothing.expected(at(1_440)), None);
        (1_440..1_450).for_each(|hour| smoothing.learn(at(hour), 1_000.0 + daily(hour)));
        let (night, day) = (smoothing.expected(at(1_450)), smoothing.expected(at(1_452)));
        let rise = day.expect("known").0 - night.expect("known").0;
        assert!((rise - 50.0).abs() < 10.0, "{rise}");
    }
}
