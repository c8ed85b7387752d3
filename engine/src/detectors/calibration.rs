//! How rare a score is among the scores of the same series: what makes one limit mean the same everywhere.
//!
//! The body is an empirical rank over logarithmic bins that forget; beyond the 95 % quantile a generalised Pareto
//! distribution is fitted to the excesses (peaks over threshold; Siffer et al., KDD 2017). Memory is constant.

use serde::{Deserialize, Serialize};

/// Bins of equal ratio: 7 % wide, from 0.001 to 60,000.
const BINS: usize = 256;
const LOWEST: f64 = 1e-3;
const BINS_PER_E: f64 = 14.3;
/// Fewer scores than this say nothing of a tail (facts/anomaly.md 2.2).
const SCORES_MIN: f64 = 100.0;
/// Where the tail begins, for memories this long (facts/anomaly.md 3.1).
const TAIL: f64 = 0.05;
/// Excesses that a fit needs.
const EXCESSES_MIN: f64 = 25.0;
/// Weight of the newest score at which all weights are scaled back.
const WEIGHT_MAX: f64 = 1e6;

/// A sketch of the last scores of a series.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Calibration {
    /// Scores are remembered for about so many.
    memory: f64,
    /// Weight of the next score: it grows where the old ones would fade, which costs nothing.
    weight: f64,
    total: f64,
    learnt: u32,
    bins: Vec<f32>,
}

impl Calibration {
    /// One that remembers about `memory` scores.
    pub fn new(memory: u32) -> Self {
        Calibration { memory: f64::from(memory), weight: 1.0, total: 0.0, learnt: 0, bins: vec![0.0; BINS] }
    }

    /// Scores learnt, ever.
    pub fn learnt(&self) -> u32 {
        self.learnt
    }

    /// `-log10` of the probability that a score is as high as `score`; nothing while fewer than 100 are known.
    pub fn rarity(&self, score: f64) -> Option<f64> {
        let known = self.total / self.weight;
        if known < SCORES_MIN {
            return None;
        }
        let bin = bin_of(score);
        let above: f64 = self.bins[bin + 1..].iter().map(|count| f64::from(*count)).sum();
        let inside = f64::from(self.bins[bin]) * (1.0 - fraction_of(score, bin));
        let by_rank = -(((above + inside) / self.weight + 1.0) / (known + 1.0)).min(1.0).log10();
        if by_rank < -TAIL.log10() {
            return Some(by_rank);
        }
        // A sample says nothing of what is rarer than the square of its size.
        let limit = 2.0 * known.log10();
        Some(self.by_tail(score).map_or(by_rank, |by_tail| by_tail.max(0.0)).min(limit))
    }

    fn by_tail(&self, score: f64) -> Option<f64> {
        let (mut count, mut first) = (0.0, BINS);
        while first > 0 && count < TAIL * self.total {
            first -= 1;
            count += f64::from(self.bins[first]);
        }
        if count < EXCESSES_MIN * self.weight {
            return None;
        }
        let from = edge(first);
        let (mut sum, mut squares) = (0.0, 0.0);
        for (number, weight) in self.bins.iter().enumerate().skip(first) {
            let excess = (edge(number) + edge(number + 1)) / 2.0 - from;
            sum += f64::from(*weight) * excess;
            squares += f64::from(*weight) * excess * excess;
        }
        let mean = sum / count;
        let variance = squares / count - mean * mean;
        if variance <= 1e-3 * mean * mean {
            return None;
        }
        // Hosking and Wallis (1987), moments; their limits keep the tail between exponential and finite variance.
        let shape = ((1.0 - mean * mean / variance) / 2.0).clamp(0.0, 0.45);
        let scale = mean * (1.0 - shape);
        let reach = ((score - from) / scale).max(0.0);
        let survival = if shape < 1e-6 {
            reach / std::f64::consts::LN_10
        } else {
            (1.0 + shape * reach).log10() / shape
        };
        Some(survival - (count / self.total).log10())
    }

    /// Learns a score.
    pub fn learn(&mut self, score: f64) {
        self.bins[bin_of(score)] += self.weight as f32;
        self.total += self.weight;
        self.learnt = self.learnt.saturating_add(1);
        self.weight /= 1.0 - 1.0 / self.memory;
        if self.weight > WEIGHT_MAX {
            self.bins.iter_mut().for_each(|count| *count /= self.weight as f32);
            self.total /= self.weight;
            self.weight = 1.0;
        }
    }
}

fn bin_of(score: f64) -> usize {
    (((score.max(LOWEST) / LOWEST).ln() * BINS_PER_E) as usize).min(BINS - 2)
}

fn edge(bin: usize) -> f64 {
    LOWEST * (bin as f64 / BINS_PER_E).exp()
}

fn fraction_of(score: f64, bin: usize) -> f64 {
    ((score.max(LOWEST) / LOWEST).ln() * BINS_PER_E - bin as f64).clamp(0.0, 1.0)
}
