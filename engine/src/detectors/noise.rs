//! Series for the tests of the detectors: the same on every run.

use super::{Assessment, Detector, Kind, Settings};
use crate::time::Timestamp;

/// A generator of noise (Marsaglia, Xorshift RNGs, 2003).
pub struct Noise(u64);

impl Noise {
    /// Another noise for each seed.
    pub fn new(seed: u64) -> Self {
        Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Uniform in 0 to 1.
    pub fn uniform(&mut self) -> f64 {
        for (left, by) in [(true, 13), (false, 7), (true, 17)] {
            self.0 ^= if left { self.0 << by } else { self.0 >> by };
        }
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normal, mean 0 and deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().max(f64::MIN_POSITIVE).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Student's t.
    pub fn student(&mut self, freedom: u32) -> f64 {
        let square: f64 = (0..freedom).map(|_| self.normal().powi(2)).sum();
        self.normal() / (square / f64::from(freedom)).sqrt()
    }
}

fn bits(told: &Assessment) -> [u64; 5] {
    [told.score, told.expected, told.lower, told.upper, f64::from(told.tier as u8)].map(f64::to_bits)
}

/// Checks that what a method says of the beginning of a series does not change with what comes after, and that one that
/// is written and read back in the middle goes on bit for bit. The series has noise, spikes, a step, gaps and bursts.
#[track_caller]
pub fn check_goes_on(kind: Kind, settings: &Settings) {
    const SAMPLES: i64 = 7_000;
    let mut noise = Noise::new(11);
    let series: Vec<f64> = (0..SAMPLES)
        .map(|number| {
            let step = if (6_300..6_500).contains(&number) { 80.0 } else { 0.0 };
            let spike = if number % 997 == 0 { 60.0 } else { 0.0 };
            50.0 + step + spike + 3.0 * noise.student(4)
        })
        .collect();
    let push = |detector: &mut Detector, number: i64| {
        if number % 1_500 < 4 {
            detector.skip();
            return None;
        }
        let at = Timestamp::from_unix_ms(number * settings.step_ms);
        Some(detector.push(at, series[number as usize]))
    };
    let mut whole = Detector::new(kind, settings);
    let all: Vec<_> = (0..SAMPLES).map(|number| push(&mut whole, number)).collect();
    assert!(
        all.iter().flatten().any(|told| !told.expected.is_nan() || told.score > 0.0),
        "something is said"
    );
    for cut in [1, 5, 60, 700, 3_000, 6_001, 6_301, 6_303, 6_900] {
        let mut prefix = Detector::new(kind, settings);
        let said: Vec<_> = (0..cut).map(|number| push(&mut prefix, number)).collect();
        let bytes = postcard::to_stdvec(&prefix).expect("can be written");
        let mut restored: Detector = postcard::from_bytes(&bytes).expect("can be read");
        let rest: Vec<_> = (cut..SAMPLES.min(cut + 700)).map(|number| push(&mut restored, number)).collect();
        for (number, (told, of_whole)) in said.iter().chain(&rest).zip(&all).enumerate() {
            assert_eq!(told.as_ref().map(bits), of_whole.as_ref().map(bits), "sample {number}, cut at {cut}");
        }
    }
}
