//! Quantiles within 1 % of the value, by a sketch of logarithmic bins.
//!
//! Source: Masson, Rim, Lee (2019), "DDSketch: a fast and fully-mergeable quantile sketch with relative-error
//! guarantees". Bins are kept sparse and sorted, because most slots of a window see a handful of values.

use serde::{Deserialize, Serialize};

use super::samples::Slot;

/// Half the guaranteed 1 %, so that the rank between two samples stays within it too.
const ACCURACY: f64 = 0.005;
/// Values nearer to zero than this count as zero: a nanosecond in seconds, a satoshi in bitcoin.
const SMALLEST: f64 = 1e-9;
/// Bins a slot may hold; beyond, the smallest magnitudes are folded together. Covers 1e-9 to 1e9 on both sides.
const BINS_MAX: usize = 8192;

/// Counts of values by magnitude.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sketch {
    /// `(bin, count)` sorted by bin; negative values have negative bins, zero has bin 0.
    bins: Vec<(i32, u64)>,
    count: u64,
}

impl Slot for Sketch {
    fn add(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        self.add_to_bin(bin_of(value), 1);
    }

    fn merge(&mut self, later: &Self) {
        for (bin, count) in &later.bins {
            self.add_to_bin(*bin, *count);
        }
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Sketch {
    fn add_to_bin(&mut self, bin: i32, count: u64) {
        self.count += count;
        match self.bins.binary_search_by_key(&bin, |(bin, _)| *bin) {
            Ok(index) => self.bins[index].1 += count,
            Err(index) if self.bins.len() < BINS_MAX => self.bins.insert(index, (bin, count)),
            Err(index) => self.bins[index.min(BINS_MAX - 1)].1 += count,
        }
    }

    /// The value below which the share `q` (0 to 1) of the samples lies; none without samples.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = (q.clamp(0.0, 1.0) * (self.count.checked_sub(1)? as f64)).round() as u64;
        let mut seen = 0;
        for (bin, count) in &self.bins {
            seen += count;
            if seen > rank {
                return Some(value_of(*bin));
            }
        }
        None
    }
}

fn growth() -> f64 {
    (1.0 + ACCURACY) / (1.0 - ACCURACY)
}

fn bin_of(value: f64) -> i32 {
    let magnitude = value.abs();
    if magnitude < SMALLEST {
        return 0;
    }
    let steps = ((magnitude / SMALLEST).ln() / growth().ln()).ceil().min(f64::from(i32::MAX - 1)) as i32 + 1;
    if value < 0.0 { -steps } else { steps }
}

fn value_of(bin: i32) -> f64 {
    if bin == 0 {
        return 0.0;
    }
    let upper = SMALLEST * growth().powi(bin.abs() - 1);
    // The middle of a bin is at most ACCURACY away from everything in it.
    let middle = 2.0 * upper / (1.0 + growth());
    if bin < 0 { -middle } else { middle }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_one_percent_of_the_exact_ones() {
        let mut sketch = Sketch::default();
        // A heavy tail over nine decades, on both sides of zero.
        let mut values: Vec<f64> = (0..20_000)
            .map(|i| {
                let magnitude = 10_f64.powf(f64::from(i * 7919 % 20_000) / 20_000.0 * 9.0 - 3.0);
                if i % 3 == 0 { -magnitude } else { magnitude }
            })
            .collect();
        for value in &values {
            sketch.add(*value);
        }
        values.sort_by(f64::total_cmp);
        for q in [0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 1.0] {
            let exact = values[(q * (values.len() - 1) as f64).round() as usize];
            let found = sketch.quantile(q).unwrap();
            assert!((found - exact).abs() <= 0.01 * exact.abs(), "q {q}: {found} for {exact}");
        }
    }

    #[test]
    fn merged_sketches_equal_one_of_all_values() {
        let (mut one, mut left, mut right) = (Sketch::default(), Sketch::default(), Sketch::default());
        for value in 1..1000 {
            one.add(f64::from(value));
            if value < 300 { left.add(f64::from(value)) } else { right.add(f64::from(value)) }
        }
        left.merge(&right);
        assert_eq!(left.quantile(0.9), one.quantile(0.9));
    }
}
