//! Small departures that add up: a two-sided cumulative sum on what is unusual for the time of the season.
//!
//! Finds a slow drain that no single sample shows (facts/anomaly.md 5.2, D9; Page, Biometrika 1954). Works on means of
//! half an hour, whatever the step.

use serde::{Deserialize, Serialize};

use super::gate::{score, tier};
use super::rarity::matters;
use super::scale::floor;
use super::slots::Slots;
use super::{Assessment, Method, Settings, Tier};
use crate::time::Timestamp;

/// Samples are means over this time.
const MEAN_OVER_MS: i64 = 1_800_000;
/// Half-hour slots of a day; other seasons are cut into as many.
const SLOTS: i64 = 48;
/// Deviations that are put down to noise at each sample, and the sum that is reported (facts: D9).
const ALLOWED: f64 = 0.5;
const REPORTED_FROM: f64 = 8.0;
/// One sample adds no more than this: a single departure is not a drift.
const ADDED_MAX: f64 = 3.0;
/// Rate at which departures are learnt: half of what is known is from the last week.
const RATE: f64 = 0.002;
/// Neighbours are not believed to be more alike than this; a series without any level has no drift.
const CORRELATION_MAX: f64 = 0.9;
/// Samples in the twelve hours that reports are counted over.
const COUNTED_OVER: f64 = 24.0;

/// State of the cumulative sum.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cusum {
    settings: Settings,
    slots: Slots,
    /// Of departures: mean square, mean product of neighbours, how many, and the last.
    square: f64,
    product: f64,
    known: u32,
    before: f64,
    /// Sums of what is above and what is below.
    above: f64,
    below: f64,
    /// The mean under way: its number, sum and number of samples.
    number: i64,
    sum: f64,
    count: u32,
    full: u32,
    newest: Assessment,
}

impl Cusum {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        let mean_over_ms = settings.step_ms.max(MEAN_OVER_MS);
        let settings_of_means = Settings { step_ms: mean_over_ms, ..*settings };
        Cusum {
            settings: settings_of_means,
            slots: Slots::new(&settings_of_means, SLOTS),
            square: 0.0,
            product: 0.0,
            known: 0,
            before: 0.0,
            above: 0.0,
            below: 0.0,
            number: i64::MIN,
            sum: 0.0,
            count: 0,
            full: (mean_over_ms / settings.step_ms.max(1)) as u32,
            newest: Assessment::unknown(f64::NAN),
        }
    }

    /// What a departure is to be measured by, so that sums grow as those of independent samples of deviation 1 do.
    ///
    /// The variance of a sum of an autoregressive series is `(1 + r) / (1 - r)` times that of independent samples
    /// (Johnson and Bagshaw, Technometrics 1974). At least 1: a calm past is not believed.
    fn spread(&self) -> f64 {
        let correlation = if self.square > 0.0 { self.product / self.square } else { 0.0 };
        let correlation = correlation.clamp(0.0, CORRELATION_MAX);
        (self.square * (1.0 + correlation) / (1.0 - correlation)).sqrt().max(1.0)
    }

    fn learn(&mut self, departure: f64) {
        self.known = self.known.saturating_add(1);
        let rate = RATE.max(1.0 / f64::from(self.known));
        self.square += rate * (departure * departure - self.square);
        self.product += rate * (departure * self.before - self.product);
        self.before = departure;
    }

    fn push_mean(&mut self, at: Timestamp, value: f64) -> Assessment {
        let Some((expected, scale)) = self.slots.expected(at) else {
            self.slots.learn(at, value);
            return Assessment::unknown(value);
        };
        self.slots.learn(at, value);
        let scale = scale.max(floor(&self.settings, expected));
        let departure = ((value - expected) / scale).clamp(-ADDED_MAX, ADDED_MAX);
        let spread = self.spread();
        self.learn(departure);
        if self.known < SLOTS as u32 {
            return Assessment { expected, ..Assessment::unknown(value) };
        }
        let z = (departure / spread).clamp(-ADDED_MAX, ADDED_MAX);
        self.above = (self.above + z - ALLOWED).max(0.0);
        self.below = (self.below - z - ALLOWED).max(0.0);
        let sum = self.above.max(self.below);
        let rarity = rarity_of(sum);
        let is_reported = sum >= REPORTED_FROM && matters(&self.settings, value - expected);
        if sum >= REPORTED_FROM {
            (self.above, self.below) = (0.0, 0.0);
        }
        Assessment {
            value,
            score: score(rarity),
            expected,
            lower: expected - ADDED_MAX * spread * scale,
            upper: expected + ADDED_MAX * spread * scale,
            warm: true,
            tier: if is_reported { tier(rarity) } else { Tier::Usual },
        }
    }
}

/// `-log10` of how often a sum is reached in twelve hours of usual samples: Siegmund's approximation of the run length
/// of a one-sided sum (Sequential Analysis, 1985), twice as often for two sides.
fn rarity_of(sum: f64) -> f64 {
    let reach = 2.0 * ALLOWED * (sum + 1.166);
    let run_length = (reach.exp() - reach - 1.0) / (2.0 * ALLOWED * ALLOWED) / 2.0;
    (run_length / COUNTED_OVER).max(1.0).log10()
}

impl Method for Cusum {
    fn push(&mut self, at: Timestamp, value: f64) -> Assessment {
        let number = at.unix_ms().div_euclid(self.settings.step_ms);
        // A report stands for one sample; what is known besides stands until the next mean.
        self.newest = Assessment { value, tier: Tier::Usual, ..self.newest };
        if number != self.number {
            if self.count > 0 && 2 * self.count >= self.full {
                let closed_at = Timestamp::from_unix_ms(self.number * self.settings.step_ms);
                self.newest = self.push_mean(closed_at, self.sum / f64::from(self.count));
            }
            (self.number, self.sum, self.count) = (number, 0.0, 0);
        }
        self.sum += value;
        self.count = self.count.saturating_add(1);
        self.newest
    }

    fn skip(&mut self) {
        // Half a mean is as good as a whole one, and the sums go on where they were: a gap adds nothing.
    }
}

#[cfg(test)]
mod tests {
    use super::super::noise::{Noise, check_goes_on};
    use super::super::{Direction, Kind};
    use super::*;

    const MINUTE: fn() -> Settings = || Settings { step_ms: 60_000, ..Settings::default() };

    /// Hours at which something was reported, of a daily series that is drained by `drained` over two days from hour 240.
    fn reports(settings: &Settings, drained: f64, hours: i64) -> Vec<i64> {
        let (mut cusum, mut noise) = (Cusum::new(settings), Noise::new(8));
        let mut reported = Vec::new();
        for minute in 0..hours * 60 {
            let day = (minute as f64 / 1_440.0 * std::f64::consts::TAU).sin();
            let drain = ((minute - 14_400) as f64 / 2_880.0).clamp(0.0, 1.0) * drained;
            let value = (60.0 + 10.0 * day) * (1.0 - drain) + 5.0 * noise.normal();
            if cusum.push(Timestamp::from_unix_s(minute * 60), value).tier > Tier::Usual {
                reported.push(minute / 60);
            }
        }
        reported
    }

    #[test]
    fn scores_know_nothing_of_the_future_and_survive_a_restart() {
        check_goes_on(Kind::Cusum, &Settings { step_ms: 600_000, ..Settings::default() });
    }

    #[test]
    fn slow_drain_is_reported_before_it_is_over() {
        let reported = reports(&MINUTE(), 0.3, 288);
        assert!(reported.first().is_some_and(|hour| (241..264).contains(hour)), "{reported:?}");
    }

    #[test]
    fn drain_is_not_reported_where_only_rises_matter() {
        let settings = Settings { direction: Direction::Up, ..MINUTE() };
        assert_eq!(reports(&settings, 0.3, 288), Vec::<i64>::new());
    }

    #[test]
    fn ordinary_month_is_silent() {
        assert_eq!(reports(&MINUTE(), 0.0, 28 * 24), Vec::<i64>::new());
    }

    #[test]
    fn run_lengths_are_those_of_the_literature() {
        // Siegmund: about 9,550 samples of two sides at 8, 70,600 at 10.
        for (sum, run_length) in [(8.0, 9_550.0), (10.0, 70_600.0)] {
            let told = 24.0 * 10_f64.powf(rarity_of(sum));
            assert!((told / run_length - 1.0).abs() < 0.01, "{told}");
        }
    }
}
