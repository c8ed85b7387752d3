//! What the last eight samples say of the next: a linear prediction that learns by recursive least squares.
//!
//! Reports what does not follow from what was just seen: spikes, dips, breaks (facts/anomaly.md 5.2, D3). The recursion
//! is Haykin, Adaptive Filter Theory, chapter on RLS; its matrix is symmetric and kept as one triangle.

use serde::{Deserialize, Serialize};

use super::rarity::Rarity;
use super::scale::{Scale, floor};
use super::{Assessment, Method, Settings};
use crate::time::Timestamp;

/// Samples that a prediction is made from.
const ORDER: usize = 8;
/// Numbers in a triangle of the matrix.
const TRIANGLE: usize = ORDER * (ORDER + 1) / 2;
/// Forgetting for each sample (facts: D3).
const FORGETTING: f64 = 0.9995;
/// Deviations beyond which samples are winsorised (facts: D3).
const WINSORISED_AT: f64 = 4.0;
/// Rates of the standard deviation of the residuals and of the mean that samples are taken from.
const RATE: f64 = 0.005;
const RATE_OF_MEAN: f64 = 0.002;
/// Uncertainty of the first coefficients, in the unit of the first samples' energy.
const FIRST_UNCERTAINTY: f64 = 100.0;
/// The matrix, in the unit of the samples' energy, from which on nothing is forgotten: what does not vary teaches
/// nothing, and forgetting by itself would let the matrix grow without bound (wind-up).
const UNCERTAINTY_MAX: f64 = 80.0;

/// The prediction.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prediction {
    settings: Settings,
    coefficients: [f64; ORDER],
    /// Lower triangle, row by row: the inverse correlation of the samples.
    inverse: Vec<f64>,
    /// Mean square of the samples' distance from their mean, all eight together.
    energy: f64,
    /// The last samples, winsorised, newest first.
    lags: [f64; ORDER],
    known: u8,
    mean: f64,
    samples: u32,
    scale: Scale,
}

impl Prediction {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        Prediction {
            settings: *settings,
            coefficients: [0.0; ORDER],
            inverse: vec![0.0; TRIANGLE],
            energy: 0.0,
            lags: [0.0; ORDER],
            known: 0,
            mean: 0.0,
            samples: 0,
            scale: Scale::new(RATE, WINSORISED_AT),
        }
    }

    fn centred(&self) -> [f64; ORDER] {
        self.lags.map(|lag| lag - self.mean)
    }

    fn predict(&self, inputs: &[f64; ORDER]) -> f64 {
        self.mean + self.coefficients.iter().zip(inputs).map(|(weight, input)| weight * input).sum::<f64>()
    }

    /// What is expected next, and its standard deviation; nothing until there are eight samples in a row.
    pub fn expected(&self) -> Option<(f64, f64)> {
        if usize::from(self.known) < ORDER {
            return None;
        }
        let expected = self.predict(&self.centred());
        Some((expected, self.scale.at_least(floor(&self.settings, expected))))
    }

    /// Learns a sample.
    pub fn learn(&mut self, value: f64) {
        self.samples = self.samples.saturating_add(1);
        if self.samples == 1 {
            self.mean = value;
        }
        let mut learnt = value;
        if usize::from(self.known) == ORDER {
            let inputs = self.centred();
            let expected = self.predict(&inputs);
            let residual = self.scale.learn(value - expected, floor(&self.settings, expected));
            learnt = expected + residual;
            self.fit(&inputs, residual);
        }
        self.mean += RATE_OF_MEAN.max(1.0 / f64::from(self.samples)) * (learnt - self.mean);
        self.lags.rotate_right(1);
        self.lags[0] = learnt;
        self.known = self.known.saturating_add(1).min(ORDER as u8);
    }

    /// One step of the recursion.
    fn fit(&mut self, inputs: &[f64; ORDER], residual: f64) {
        let energy: f64 = inputs.iter().map(|input| input * input).sum();
        if energy <= 1e-12 * (1.0 + self.mean * self.mean) {
            return;
        }
        if self.energy == 0.0 {
            self.energy = energy;
            self.reset();
        }
        self.energy += (1.0 - FORGETTING) * (energy - self.energy);
        let gains = self.times(inputs);
        let spread: f64 = gains.iter().zip(inputs).map(|(gain, input)| gain * input).sum();
        if !(spread >= 0.0 && spread.is_finite()) {
            return self.reset();
        }
        let trace: f64 = (0..ORDER).map(|row| self.inverse[row * (row + 3) / 2]).sum();
        let kept = if trace * self.energy < UNCERTAINTY_MAX { FORGETTING } else { 1.0 };
        let divisor = kept + spread;
        let mut cells = self.inverse.iter_mut();
        for row in 0..ORDER {
            self.coefficients[row] += gains[row] / divisor * residual;
            for column in 0..=row {
                if let Some(cell) = cells.next() {
                    *cell = (*cell - gains[row] * gains[column] / divisor) / kept;
                }
            }
        }
    }

    /// The matrix times a vector.
    fn times(&self, inputs: &[f64; ORDER]) -> [f64; ORDER] {
        let mut product = [0.0; ORDER];
        let mut cells = self.inverse.iter();
        for row in 0..ORDER {
            for column in 0..row {
                let cell = cells.next().copied().unwrap_or_default();
                product[row] += cell * inputs[column];
                product[column] += cell * inputs[row];
            }
            product[row] += cells.next().copied().unwrap_or_default() * inputs[row];
        }
        product
    }

    /// Nothing is known of the coefficients any more, whatever they are.
    fn reset(&mut self) {
        self.inverse.fill(0.0);
        for row in 0..ORDER {
            self.inverse[row * (row + 3) / 2] = FIRST_UNCERTAINTY / self.energy;
        }
    }

    /// What follows does not continue what was: the last samples are forgotten, the coefficients stay.
    pub fn restart(&mut self) {
        self.known = 0;
    }

    /// The series goes on elsewhere: its mean and what is known of residuals are forgotten too.
    pub fn restart_elsewhere(&mut self) {
        self.restart();
        self.samples = 0;
        self.scale = Scale::new(RATE, WINSORISED_AT);
    }
}

/// The prediction alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Autoregressive {
    prediction: Prediction,
    rarity: Rarity,
}

impl Autoregressive {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        Autoregressive { prediction: Prediction::new(settings), rarity: Rarity::new(settings, WINSORISED_AT) }
    }
}

impl Method for Autoregressive {
    fn push(&mut self, _at: Timestamp, value: f64) -> Assessment {
        let assessment = match self.prediction.expected() {
            Some((expected, scale)) => self.rarity.push(value, expected, scale),
            None => Assessment::unknown(value),
        };
        self.prediction.learn(value);
        assessment
    }

    fn skip(&mut self) {
        self.prediction.restart();
    }
}

#[cfg(test)]
mod tests {
    use super::super::noise::{Noise, check_goes_on};
    use super::super::{Kind, Tier};
    use super::*;

    const HOUR: fn() -> Settings = || Settings { step_ms: 3_600_000, ..Settings::default() };

    fn learn_all(prediction: &mut Prediction, values: impl Iterator<Item = f64>) {
        values.for_each(|value| prediction.learn(value));
    }

    #[test]
    fn scores_know_nothing_of_the_future_and_survive_a_restart() {
        check_goes_on(Kind::Autoregressive, &HOUR());
    }

    #[test]
    fn a_wave_is_foretold_from_eight_samples() {
        let wave = |number: i32| 5.0 + 2.0 * (f64::from(number) * 0.7).sin();
        let mut prediction = Prediction::new(&HOUR());
        learn_all(&mut prediction, (0..2_000).map(wave));
        let (expected, _) = prediction.expected().expect("known");
        assert!((expected - wave(2_000)).abs() < 0.05, "{expected} for {}", wave(2_000));
    }

    #[test]
    fn coefficients_of_a_known_process_are_found() {
        let (mut noise, mut value, mut prediction) = (Noise::new(2), 0.0, Prediction::new(&HOUR()));
        for _ in 0..20_000 {
            value = 0.8 * value + noise.normal();
            prediction.learn(100.0 + value);
        }
        assert!((prediction.coefficients[0] - 0.8).abs() < 0.08, "{:?}", prediction.coefficients);
        assert!(prediction.coefficients[1..].iter().all(|weight| weight.abs() < 0.12));
    }

    #[test]
    fn what_does_not_vary_for_long_does_not_unsettle_it() {
        let mut noise = Noise::new(9);
        let mut prediction = Prediction::new(&HOUR());
        learn_all(&mut prediction, (0..500).map(|_| 10.0 + noise.normal()));
        learn_all(&mut prediction, std::iter::repeat_n(10.0, 200_000));
        learn_all(&mut prediction, (0..500).map(|_| 10.0 + noise.normal()));
        let (expected, _) = prediction.expected().expect("known");
        assert!((expected - 10.0).abs() < 2.0, "{expected}");
        assert!(prediction.coefficients.iter().all(|weight| weight.abs() < 2.0));
    }

    #[test]
    fn nothing_is_foretold_across_a_gap() {
        let mut prediction = Prediction::new(&HOUR());
        learn_all(&mut prediction, (0..50).map(f64::from));
        prediction.restart();
        learn_all(&mut prediction, (0..7).map(f64::from));
        assert_eq!(prediction.expected(), None);
        prediction.learn(7.0);
        assert!(prediction.expected().is_some());
    }

    #[test]
    fn a_break_is_reported() {
        let mut noise = Noise::new(4);
        let mut method = Autoregressive::new(&HOUR());
        for hour in 0..2_000 {
            method.push(Timestamp::from_unix_s(hour * 3_600), 10.0 + noise.normal());
        }
        assert!(method.push(Timestamp::from_unix_s(2_000 * 3_600), 30.0).tier > Tier::Usual);
    }
}
