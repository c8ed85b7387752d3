//! How far residuals usually go: a standard deviation that single departures do not inflate, with a floor below it.

use serde::{Deserialize, Serialize};

use super::Settings;

/// The part of a departure that is learnt however large it is. Without it a series that never varied, and so has no
/// deviation to measure a departure by, would never learn anything else.
pub const LEARNT_AT_LEAST: f64 = 0.05;
/// Samples before deviations are winsorised: fewer do not tell what is far.
const SAMPLES_MIN: u32 = 20;
/// What a departure must come to, in the standard deviations of the point channel, to be reported
/// (facts/anomaly.md 3.1).
pub const REPORTED_FROM: f64 = 7.0;
/// A scale is at least this part of what is expected: changes of 7 % and less are of no interest.
const RELATIVE_FLOOR: f64 = 0.01;

/// Least scale of a departure from `expected`, in the series' unit.
///
/// The least effect is just reported in a series without noise. Counts of independent events have the square root of
/// what is expected as their standard deviation (Poisson); one event more or less is never a departure.
pub fn floor(settings: &Settings, expected: f64) -> f64 {
    let of_effect = settings.effect_min / REPORTED_FROM;
    let of_counts = if settings.counts { expected.abs().max(1.0).sqrt() } else { 0.0 };
    of_effect.max(of_counts).max(RELATIVE_FLOOR * expected.abs()).max(1e-9)
}

/// Running standard deviation of residuals.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scale {
    rate: f64,
    winsorised_at: f64,
    variance: f64,
    samples: u32,
}

impl Scale {
    /// One that forgets with `rate` and learns a residual as at most `winsorised_at` standard deviations.
    pub fn new(rate: f64, winsorised_at: f64) -> Self {
        Scale { rate, winsorised_at, variance: 0.0, samples: 0 }
    }

    /// Residuals learnt.
    pub fn samples(&self) -> u32 {
        self.samples
    }

    /// The standard deviation, at least `floor`.
    pub fn at_least(&self, floor: f64) -> f64 {
        self.variance.sqrt().max(floor)
    }

    /// Learns a residual and gives back what of it is to be learnt by others.
    pub fn learn(&mut self, residual: f64, floor: f64) -> f64 {
        let usual = if self.samples < SAMPLES_MIN {
            f64::INFINITY
        } else {
            self.winsorised_at * self.at_least(floor)
        };
        let bound = usual.max(LEARNT_AT_LEAST * residual.abs());
        let learnt = residual.clamp(-bound, bound);
        self.samples = self.samples.saturating_add(1);
        let rate = self.rate.max(1.0 / f64::from(self.samples));
        self.variance += rate * (learnt * learnt - self.variance);
        learnt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_floor(settings: Settings, expected: f64, least: f64) {
        assert!((floor(&settings, expected) - least).abs() < 1e-12, "{}", floor(&settings, expected));
    }

    #[test]
    fn floor_is_of_what_matters() {
        check_floor(Settings::default(), 100.0, 1.0);
        check_floor(Settings { effect_min: 70.0, ..Settings::default() }, 100.0, 10.0);
        check_floor(Settings { counts: true, ..Settings::default() }, 400.0, 20.0);
        check_floor(Settings { counts: true, ..Settings::default() }, 0.0, 1.0);
    }

    #[test]
    fn one_departure_does_not_inflate_it() {
        let mut scale = Scale::new(0.01, 4.0);
        for number in 0..1_000 {
            scale.learn(if number % 2 == 0 { 1.0 } else { -1.0 }, 0.1);
        }
        let before = scale.at_least(0.1);
        assert_eq!(scale.learn(50.0, 0.1), 4.0 * before);
        assert!(scale.at_least(0.1) < 1.1 * before);
    }

    #[test]
    fn series_that_never_varied_learns_all_the_same() {
        let mut scale = Scale::new(0.01, 4.0);
        for _ in 0..100 {
            scale.learn(0.0, 1e-9);
        }
        let learnt: f64 = (0..200).map(|_| scale.learn(1.0, 1e-9)).sum();
        assert!(learnt > 10.0, "{learnt}");
    }
}
