//! From a departure to a report: how rare it is in this series, and what that is worth.
//!
//! The scale is the same for every step: a departure counts by how many as large are to be expected in twelve hours of
//! usual samples. So a note, which begins at 10^-1.8, is one a month. (facts/anomaly.md 2.2)

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::gate::{NOTE, score, tier};
use super::{Assessment, Direction, Settings};

/// Departures are counted over this time.
const COUNTED_OVER_MS: f64 = 43_200_000.0;
/// Decades between the probability of one sample and the expected number in twelve hours.
pub fn shift(settings: &Settings) -> f64 {
    (COUNTED_OVER_MS / settings.step_ms.max(1) as f64).log10().max(0.0)
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

/// Scores that a tail needs in any case (Siffer et al., KDD 2017, begin with a batch of 1000).
const SCORES_MIN: f64 = 1000.0;
/// A tail is believed for so many decades beyond the scores it was taken from.
const DECADES_BEYOND: f64 = 2.0;

/// Scores from which on a note can be told, where a note is so rare (`-log10` of the probability of one sample): eight
/// hours of them, and at least a thousand.
pub fn scores_warm(note: f64) -> u32 {
    10_f64.powf(note - DECADES_BEYOND).max(SCORES_MIN).ceil() as u32
}

/// Index of the heaviest tail that is thought of beyond the scores seen: of Pareto's distributions the first with a finite
/// variance and a third moment that has none. Gopikrishnan et al. (1999) found this cubic law in series far wilder than a
/// node's. So a score ten times the largest is worth three decades.
const TAIL_INDEX: f64 = 3.0;

/// The most that can be said after so many scores of one that is `times` the largest of them.
pub fn limit(scores: u32, times: f64) -> f64 {
    f64::from(scores.max(1)).log10() + DECADES_BEYOND.max(TAIL_INDEX * times.log10())
}

/// How rare a score is after so many others, no rarer than they can tell; 0 if it is not known yet.
pub fn of_score(among: &Calibration, scores: u32, score: f64) -> f64 {
    let Some(rarity) = among.rarity(score) else { return 0.0 };
    let largest = among.score_at(f64::from(scores.max(10)).log10()).unwrap_or(score);
    rarity.min(limit(scores, if largest > 0.0 { score / largest } else { 1.0 }))
}

/// Judges residuals of a method that stands alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rarity {
    settings: Settings,
    shift: f64,
    calibration: Calibration,
    scores: u32,
    /// Standard deviations from which on a residual can be reported.
    from: f64,
}

impl Rarity {
    /// One that has seen nothing and reports from `from` standard deviations on.
    pub fn new(settings: &Settings, from: f64) -> Self {
        Rarity {
            settings: *settings,
            shift: shift(settings),
            calibration: Calibration::default(),
            scores: 0,
            from,
        }
    }

    /// Judges a value by what was expected, then learns how far off it was.
    pub fn push(&mut self, value: f64, expected: f64, scale: f64) -> Assessment {
        let departure = value - expected;
        let z = departure.abs() / scale;
        let warm = self.scores >= scores_warm(self.shift + NOTE);
        let rarity = (of_score(&self.calibration, self.scores, z) - self.shift).max(0.0);
        self.calibration.learn(z);
        self.scores = self.scores.saturating_add(1);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(step_ms: i64) -> Settings {
        Settings { step_ms, ..Settings::default() }
    }

    #[test]
    fn note_is_one_a_month_at_every_step() {
        for step_ms in [10_000, 60_000, 300_000, 3_600_000] {
            let of_one_sample = 10_f64.powf(-(NOTE + shift(&settings(step_ms))));
            let days = step_ms as f64 / of_one_sample / 86_400_000.0;
            assert!((28.0..35.0).contains(&days), "once in {days} days");
        }
    }

    #[test]
    fn note_can_be_told_as_soon_as_a_series_is_warm() {
        for step_ms in [10_000, 60_000, 300_000] {
            let note = shift(&settings(step_ms)) + NOTE;
            assert!(limit(scores_warm(note), 1.0) >= note);
        }
        assert_eq!(scores_warm(shift(&settings(10_000)) + NOTE), 2_726);
    }
}
