//! What can be said of a series after eight samples: a departure no one would call usual.
//!
//! Nothing is known of the series' tail yet, so everything is stricter than it is later: the departure is far beyond a
//! robust scale with floors, it changes the level by half, it dwarfs the largest departure seen, and it lasts for two
//! samples. A series that is zero most of the time and bursts now and then passes none of the last two.

use serde::{Deserialize, Serialize};

use super::rarity::matters;
use super::{Assessment, Settings};

/// Samples that the level is taken from: ten minutes of ten seconds.
const SAMPLES: usize = 60;
/// Samples that a level needs. Their median stands if three of them are bad.
const SAMPLES_MIN: usize = 8;
/// Robust deviations that a departure must reach; 3.5 is what is usual for this score with these floors, taken once a
/// median of three (facts/peer-observer.md 3.8). Two samples of nearly twice that are asked for here.
const DEVIATIONS_MIN: f64 = 6.0;
/// A median absolute deviation of normal samples is this part of their standard deviation.
const TO_STANDARD: f64 = 1.4826;
/// Floor of the scale as a part of the level, and as a part of the least effect.
const OF_LEVEL: f64 = 0.1;
const OF_EFFECT: f64 = 1.0 / 3.0;
/// The level must rise by this factor, or fall by it.
const FACTOR: f64 = 1.5;
/// A departure must be so many times the largest seen. Of exponentially spread bursts the largest of a hundred is five
/// times the mean: the next is not five times that, twice.
const OF_LARGEST: f64 = 5.0;
/// The newest samples are not part of the level: the beginning of a departure would hide the rest of it
/// (facts/peer-observer.md 3.8: a baseline without its tail).
const HELD: usize = 2;

/// The last samples of a young series.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Recent {
    values: Vec<f32>,
    next: u8,
    held: Vec<f32>,
    /// Least and largest of all samples ever learnt.
    range: Option<(f64, f64)>,
}

/// What is usual in a young series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// Median of the samples.
    pub median: f64,
    /// Robust standard deviation, with its floors.
    pub scale: f64,
    /// Largest departure from the median that was ever seen.
    pub largest: f64,
}

impl Recent {
    /// Learns a sample.
    pub fn learn(&mut self, value: f64) {
        self.held.push(value as f32);
        if self.held.len() <= HELD {
            return;
        }
        let value = self.held.remove(0);
        self.widen(f64::from(value));
        if self.values.len() < SAMPLES {
            self.values.push(value);
            return;
        }
        self.values[usize::from(self.next)] = value;
        self.next = (self.next + 1) % SAMPLES as u8;
    }

    /// Knows of a value without taking it for the level.
    pub fn widen(&mut self, value: f64) {
        let (least, largest) = self.range.unwrap_or((value, value));
        self.range = Some((least.min(value), largest.max(value)));
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Recent::default();
    }

    /// Samples known.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// What is usual; nothing while fewer than eight samples are known.
    pub fn level(&self, settings: &Settings) -> Option<Level> {
        if self.values.len() < SAMPLES_MIN {
            return None;
        }
        let mut sorted: Vec<f64> = self.values.iter().map(|value| f64::from(*value)).collect();
        sorted.sort_by(f64::total_cmp);
        let median = sorted[sorted.len() / 2];
        sorted.iter_mut().for_each(|value| *value = (*value - median).abs());
        sorted.sort_by(f64::total_cmp);
        let of_counts = if settings.counts { median.abs().max(1.0).sqrt() } else { 0.0 };
        let scale = (TO_STANDARD * sorted[sorted.len() / 2])
            .max(OF_LEVEL * median.abs())
            .max(OF_EFFECT * settings.effect_min)
            .max(of_counts)
            .max(1e-9);
        let (least, largest) = self.range?;
        Some(Level { median, scale, largest: (median - least).max(largest - median) })
    }
}

impl Level {
    /// Whether a value departs so far that two of them in a row are to be reported.
    pub fn is_far(&self, settings: &Settings, value: f64) -> bool {
        let departure = value - self.median;
        let (least, most) = if self.median < 0.0 { (FACTOR, 1.0 / FACTOR) } else { (1.0 / FACTOR, FACTOR) };
        departure.abs() >= DEVIATIONS_MIN * self.scale
            && departure.abs() >= OF_LARGEST * self.largest
            && matters(settings, departure)
            && (value <= least * self.median || value >= most * self.median)
    }

    /// Whether a departure that was reported goes on.
    pub fn is_still_far(&self, settings: &Settings, value: f64) -> bool {
        let departure = value - self.median;
        departure.abs() >= DEVIATIONS_MIN / 2.0 * self.scale && matters(settings, departure)
    }

    /// Says of a value that nothing is to be reported of it.
    pub fn assess(&self, value: f64) -> Assessment {
        Assessment {
            expected: self.median,
            lower: self.median - DEVIATIONS_MIN * self.scale,
            upper: self.median + DEVIATIONS_MIN * self.scale,
            ..Assessment::unknown(value)
        }
    }
}
