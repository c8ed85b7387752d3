//! A value that has stopped changing: an exporter that is stuck, a tracepoint that is dead.
//!
//! No residual shows it (facts/anomaly.md 3.4: a stuck value is found by nothing else, hence 5.2 D8). A series that is
//! constant by nature, such as a count that is zero for hours, has long runs in its past and is left alone.

use serde::{Deserialize, Serialize};

use super::rarity::{NOTE, score, tier};
use super::{Assessment, Method, Settings};
use crate::time::Timestamp;

/// A run is reported if it is so many times the longest run seen, and lasts at least so long (facts: D8).
const OF_LONGEST: u32 = 3;
const LASTS_MIN_MS: i64 = 1_800_000;
/// Samples and changes that tell what runs are usual.
const CHANGES_MIN: u32 = 100;
/// A series of which more samples than this part are as the one before is not a lively one.
const SAME_MAX: f64 = 0.5;

/// State of the flat line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FlatLine {
    settings: Settings,
    value: f64,
    /// Samples in a row with this value.
    run: u32,
    /// Longest run that ended in this half of the memory, and in the half before.
    longest: u32,
    longest_before: u32,
    half: i64,
    /// Samples and changes seen, until they are too many to matter.
    samples: u32,
    changes: u32,
    began_at: Option<Timestamp>,
}

impl FlatLine {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        FlatLine {
            settings: *settings,
            value: f64::NAN,
            run: 0,
            longest: 0,
            longest_before: 0,
            half: i64::MIN,
            samples: 0,
            changes: 0,
            began_at: None,
        }
    }

    fn end_run(&mut self) {
        self.longest = self.longest.max(self.run);
        // A run is learnt as its samples once it has ended: while it lasts it must not make the series a dull one.
        self.samples = self.samples.saturating_add(self.run);
        self.changes = self.changes.saturating_add(1);
        if self.samples > 1 << 20 {
            (self.samples, self.changes) = (self.samples / 2, self.changes / 2);
        }
        self.run = 0;
    }
}

impl Method for FlatLine {
    fn push(&mut self, at: Timestamp, value: f64) -> Assessment {
        let began_at = *self.began_at.get_or_insert(at);
        let half = at.unix_ms().div_euclid((self.settings.over_ms / 2).max(1));
        if half != self.half {
            (self.half, self.longest_before, self.longest) = (half, self.longest, 0);
        }
        if value.to_bits() != self.value.to_bits() && self.run > 0 {
            self.end_run();
        }
        (self.value, self.run) = (value, self.run.saturating_add(1));
        let is_lively = self.changes >= CHANGES_MIN
            && f64::from(self.changes) >= (1.0 - SAME_MAX) * f64::from(self.samples);
        let warm = at.ms_since(began_at) >= self.settings.season_ms && is_lively;
        let lasts_min = (LASTS_MIN_MS / self.settings.step_ms.max(1)).max(2) as u32;
        let longest = self.longest.max(self.longest_before).max(1);
        let limit = longest.saturating_mul(OF_LONGEST).max(lasts_min);
        // A run is rarer the longer it is: a note at the limit, a page at 2.2 times that.
        let rarity = if warm { NOTE * f64::from(self.run) / f64::from(limit) } else { 0.0 };
        Assessment { warm, score: score(rarity), tier: tier(rarity), ..Assessment::unknown(value) }
    }

    fn skip(&mut self) {
        // What is missing was neither the same nor another value: the run begins anew and teaches nothing.
        self.run = 0;
    }
}
