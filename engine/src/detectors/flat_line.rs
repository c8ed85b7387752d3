//! A value that has stopped changing: an exporter that is stuck, a tracepoint that is dead.
//!
//! No residual shows it (facts/anomaly.md 3.4: a stuck value is found by nothing else, hence 5.2 D8). A series that is
//! constant by nature, such as a count that is zero for hours, has long runs in its past and is left alone.

use serde::{Deserialize, Serialize};

use super::gate::{NOTE, score, tier};
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

#[cfg(test)]
mod tests {
    use super::super::noise::{Noise, check_goes_on};
    use super::super::{Kind, Tier};
    use super::*;

    const MINUTE: fn() -> Settings = || Settings { step_ms: 60_000, ..Settings::default() };

    /// Minutes of the run that is reported first when a series gets stuck after two days.
    fn stuck_after(mut value: impl FnMut(i64) -> f64) -> Option<i64> {
        let mut flat_line = FlatLine::new(&MINUTE());
        for minute in 0..2_880 {
            let told = flat_line.push(Timestamp::from_unix_s(minute * 60), value(minute));
            assert_eq!(told.tier, Tier::Usual, "minute {minute}");
        }
        (0..1_440).find(|minute| {
            flat_line.push(Timestamp::from_unix_s((2_880 + minute) * 60), 0.0).tier > Tier::Usual
        })
    }

    #[test]
    fn scores_know_nothing_of_the_future_and_survive_a_restart() {
        check_goes_on(Kind::FlatLine, &Settings { step_ms: 600_000, ..Settings::default() });
    }

    #[test]
    fn lively_series_that_gets_stuck_is_reported_after_half_an_hour() {
        let mut noise = Noise::new(1);
        assert_eq!(stuck_after(|_| 10.0 + noise.normal()), Some(29));
    }

    #[test]
    fn longest_run_seen_counts_three_times() {
        let value = |minute: i64| if (1_000..1_020).contains(&minute) { 5.0 } else { minute as f64 };
        assert_eq!(stuck_after(value), Some(59));
    }

    #[test]
    fn series_of_zeros_and_bursts_is_left_alone() {
        assert_eq!(stuck_after(|minute| if minute % 50 == 0 { minute as f64 } else { 0.0 }), None);
    }

    #[test]
    fn gap_ends_a_run() {
        let (mut flat_line, mut noise) = (FlatLine::new(&MINUTE()), Noise::new(1));
        for minute in 0..2_880 {
            flat_line.push(Timestamp::from_unix_s(minute * 60), noise.normal());
        }
        for minute in 2_880..2_960 {
            if minute % 20 == 0 {
                flat_line.skip();
            }
            let told = flat_line.push(Timestamp::from_unix_s(minute * 60), 1.0);
            assert_eq!(told.tier, Tier::Usual);
        }
    }
}
