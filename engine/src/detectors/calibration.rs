//! What turns any score into a probability that means the same on every series.
//!
//! A score is compared with the scores of the same series before it: by its rank among them as long as it is one of the
//! common ones, by a generalised Pareto distribution fitted to the highest tenth beyond. The result is a rarity:
//! `-log10` of the probability that a usual sample scores as high.
//!
//! The past is a sketch, not a list: groups of neighbouring scores, each at most an eighth of what lies above it, so a
//! probability is within an eighth of the exact one however small it is. Old scores fade; what is 4000 samples old counts
//! a third. Bounded by [`GROUPS_MAX`].
//!
//! Sources: Siffer et al. (2017), extreme value theory in streams; Hosking & Wallis (1987), moment estimates of the
//! generalised Pareto distribution; Dunning & Ertl (2019), groups that shrink towards the tail.

use serde::{Deserialize, Serialize};

/// Scores that must have been seen before one is judged: with fewer, the highest tenth says nothing of the tail.
pub const WARMUP_SCORES: u32 = 100;

/// After so many scores one counts 1/e of a new one. Half or double that costs little (facts on NAB: 2000 to 8000 lose
/// one to three points of 74).
const MEMORY_SCORES: f32 = 4000.0;

/// New scores wait here until they are sorted into the groups.
const FRESH_MAX: usize = 32;

/// A group holds at most this share of what lies above it.
const SHARE_MAX: f32 = 1.0 / 8.0;

/// More groups cannot be: they grow by an eighth each from one score, and the top eight are single.
#[cfg(test)]
const GROUPS_MAX: usize = 128;

/// Where the tail begins.
const TAIL_SHARE: f64 = 0.1;

/// Heavier tails are not believed: their variance would be infinite at 0.5, and moments say nothing then.
const SHAPE_MAX: f64 = 0.45;

/// Rarer than this cannot be told from a sketch.
const RARITY_MAX: f64 = 12.0;

/// Scores that are as good as equal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Group {
    /// Their mean.
    score: f32,
    /// How many, faded.
    weight: f32,
}

/// The highest scores: a generalised Pareto distribution.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Tail {
    /// Begins here.
    from: f64,
    /// The share of all scores that is higher.
    share: f64,
    shape: f64,
    scale: f64,
}

/// The past of one score.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Calibration {
    /// After so many scores one counts 1/e of a new one.
    memory: f32,
    /// Highest first.
    groups: Vec<Group>,
    fresh: Vec<f32>,
    tail: Tail,
    /// Weight of all groups.
    total: f64,
    /// Scores seen, at most [`WARMUP_SCORES`].
    seen: u32,
}

impl Default for Calibration {
    /// One with the memory that roll-ups need.
    fn default() -> Self {
        Calibration::new(MEMORY_SCORES)
    }
}

impl Calibration {
    /// One in which a score counts 1/e after `memory` others.
    pub fn new(memory: f32) -> Self {
        let (groups, fresh) = (Vec::new(), Vec::new());
        Calibration { memory, groups, fresh, tail: Tail::default(), total: 0.0, seen: 0 }
    }

    /// Enough has been seen to judge a score.
    pub fn is_warm(&self) -> bool {
        self.seen >= WARMUP_SCORES
    }

    /// How rare a score is that is at least 0: 0 (usual) to 12. `None` for the first [`WARMUP_SCORES`] scores.
    pub fn rarity(&self, score: f64) -> Option<f64> {
        if !self.is_warm() {
            return None;
        }
        if score > self.tail.from {
            return Some(self.tail.rarity(score).min(RARITY_MAX));
        }
        let score = score as f32;
        let grouped: f32 =
            self.groups.iter().take_while(|group| group.score >= score).map(|group| group.weight).sum();
        let fresh = self.fresh.iter().filter(|other| **other >= score).count();
        let total = self.total + self.fresh.len() as f64;
        // Sums of weights are rounded.
        let probability = ((f64::from(grouped) + fresh as f64 + 1.0) / (total + 1.0)).min(1.0);
        Some(-probability.log10())
    }

    /// The score that is as rare as this, for rarities of 1 and more. `None` while there is no tail.
    pub fn score_at(&self, rarity: f64) -> Option<f64> {
        self.is_warm().then(|| self.tail.score_at(rarity))
    }

    /// Remembers a score.
    pub fn learn(&mut self, score: f64) {
        self.seen = self.seen.saturating_add(1).min(WARMUP_SCORES);
        self.fresh.push(score as f32);
        // The tail must be known when the first score is judged.
        if self.fresh.len() == FRESH_MAX || self.groups.is_empty() && self.is_warm() {
            self.sort_in();
        }
    }

    /// Takes the fresh scores into the groups and fits the tail.
    fn sort_in(&mut self) {
        let fade = (1.0 - 1.0 / self.memory).powi(self.fresh.len() as i32);
        let mut all: Vec<Group> = self.fresh.drain(..).map(|score| Group { score, weight: 1.0 }).collect();
        all.extend(self.groups.drain(..).map(|group| Group { weight: group.weight * fade, ..group }));
        all.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut above = 0.0;
        for group in all {
            if let Some(last) = self.groups.last_mut() {
                let weight = last.weight + group.weight;
                if last.score == group.score || weight <= ((above + weight) * SHARE_MAX).max(1.0) {
                    last.score += (group.score - last.score) * (group.weight / weight);
                    last.weight = weight;
                    continue;
                }
                above += last.weight;
            }
            self.groups.push(group);
        }
        self.total = self.groups.iter().map(|group| f64::from(group.weight)).sum();
        self.tail = Tail::fit(&self.groups, self.total);
    }
}

impl Tail {
    fn fit(groups: &[Group], total: f64) -> Self {
        let mut weight = 0.0;
        let mut count = 0;
        for group in groups {
            if weight + f64::from(group.weight) > TAIL_SHARE * total {
                break;
            }
            weight += f64::from(group.weight);
            count += 1;
        }
        // The share above is at most a tenth, so there is always a group left.
        let from = groups.get(count).map_or(0.0, |group| f64::from(group.score));
        let moment = |power: i32, centre: f64| {
            let sum: f64 = groups[..count]
                .iter()
                .map(|group| f64::from(group.weight) * (f64::from(group.score) - from - centre).powi(power))
                .sum();
            sum / weight.max(f64::MIN_POSITIVE)
        };
        let mean = moment(1, 0.0);
        let variance = moment(2, mean);
        let shape =
            if variance > 0.0 { (0.5 * (1.0 - mean * mean / variance)).clamp(0.0, SHAPE_MAX) } else { 0.0 };
        // Scores that are all alike have no scale: then a hundredth of themselves.
        let scale = (mean * (1.0 - shape)).max(0.01 * from.abs()).max(f64::MIN_POSITIVE);
        // A tail without a single score in it begins below the next one.
        Tail { from, share: (weight / total).max(1.0 / total), shape, scale }
    }

    fn rarity(&self, score: f64) -> f64 {
        let excess = (score - self.from) / self.scale;
        let beyond = if self.shape < 1e-6 {
            excess / std::f64::consts::LN_10
        } else {
            (1.0 + self.shape * excess).log10() / self.shape
        };
        beyond - self.share.log10()
    }

    fn score_at(&self, rarity: f64) -> f64 {
        let beyond = (rarity + self.share.log10()).max(0.0);
        let excess = if self.shape < 1e-6 {
            beyond * std::f64::consts::LN_10
        } else {
            (10f64.powf(self.shape * beyond) - 1.0) / self.shape
        };
        self.from + self.scale * excess
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::samples::noise;

    /// The same without a sketch: the last 4000 scores, each as it was.
    fn exact(past: &[f64], score: f64) -> f64 {
        let mut past = past[past.len().saturating_sub(4000)..].to_vec();
        past.sort_by(f64::total_cmp);
        let n = past.len() as f64;
        let from = past[(0.9 * n) as usize];
        if score <= from {
            let as_high = past.iter().filter(|other| **other >= score).count() as f64;
            return -((as_high + 1.0) / (n + 1.0)).log10();
        }
        let tail: Vec<f64> = past.iter().filter(|other| **other > from).map(|other| other - from).collect();
        let count = tail.len() as f64;
        let mean = tail.iter().sum::<f64>() / count;
        let variance = tail.iter().map(|excess| (excess - mean).powi(2)).sum::<f64>() / count;
        let shape = (0.5 * (1.0 - mean * mean / variance)).clamp(1e-9, SHAPE_MAX);
        let scale = mean * (1.0 - shape);
        (1.0 + shape * (score - from) / scale).log10() / shape - (count / n).log10()
    }

    fn learnt(scores: &[f64]) -> Calibration {
        let mut calibration = Calibration::default();
        scores.iter().for_each(|score| calibration.learn(*score));
        calibration
    }

    /// Light tail, heavy tail.
    const SHAPES: [fn(usize) -> f64; 2] = [|i| noise(i).abs(), |i| (1.5 * noise(i)).exp()];

    #[test]
    fn a_sketch_says_what_the_exact_history_says() {
        for shape in SHAPES {
            let scores: Vec<f64> = (0..12_000).map(shape).collect();
            for seen in [150, 400, 1000, 4000, 12_000] {
                let calibration = learnt(&scores[..seen]);
                for k in 0..200 {
                    let score = shape(20_000 + k);
                    let expected = exact(&scores[..seen], score);
                    let found = calibration.rarity(score).expect("more than 100");
                    assert!(
                        (found - expected).abs() < 0.1 + 0.1 * expected,
                        "{seen}: {score}: {found}, exact {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn one_in_a_hundred_is_called_so() {
        for shape in SHAPES {
            let calibration = learnt(&(0..8000).map(shape).collect::<Vec<_>>());
            let rare = (8000..28_000).filter(|i| calibration.rarity(shape(*i)) >= Some(2.0)).count();
            assert!((130..=280).contains(&rare), "{rare} of 20000");
        }
    }

    #[test]
    fn the_score_of_a_rarity_has_that_rarity() {
        for shape in SHAPES {
            let calibration = learnt(&(0..5000).map(shape).collect::<Vec<_>>());
            for rarity in [1.5, 3.0, 6.0] {
                let score = calibration.score_at(rarity).expect("warm");
                assert!((calibration.rarity(score).expect("warm") - rarity).abs() < 0.01, "{rarity}");
            }
        }
    }

    #[test]
    fn nothing_is_said_of_the_first_hundred() {
        let calibration = learnt(&[1.0; 99]);
        assert_eq!(calibration.rarity(1.0), None);
        assert_eq!(calibration.score_at(3.0), None);
    }

    #[test]
    fn what_always_was_is_usual_and_anything_else_is_rare() {
        for constant in [0.0, 5.0] {
            let calibration = learnt(&[constant; 500]);
            assert!(calibration.rarity(constant).expect("warm") < 0.01);
            assert!(calibration.rarity(constant + 10.0).expect("warm") > 3.0);
        }
    }

    #[test]
    fn the_past_fades() {
        let mut calibration = learnt(&(0..4000).map(|i| 100.0 + noise(i).abs()).collect::<Vec<_>>());
        assert!(calibration.rarity(100.5).expect("warm") < 1.0);
        (0..12_000).for_each(|i| calibration.learn(noise(i).abs()));
        let rarity = calibration.rarity(100.5).expect("warm");
        assert!(rarity > 1.2, "less than a twentieth is left: {rarity}");
    }

    #[test]
    fn the_groups_are_bounded_whatever_comes() {
        let orders: [fn(usize) -> f64; 4] =
            [|i| i as f64, |i| 1e9 - i as f64, |i| (i as f64).exp2(), |i| noise(i).abs().powi(9)];
        for order in orders {
            let mut calibration = Calibration::default();
            for i in 0..20_000 {
                calibration.learn(order(i).min(1e30));
                assert!(calibration.groups.len() <= GROUPS_MAX, "{}", calibration.groups.len());
            }
        }
    }
}
