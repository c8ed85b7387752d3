//! How often rows come, worked out from those that came.

use std::collections::VecDeque;

/// Rows after which their step is known.
pub const ROWS_MIN: usize = 10;
/// What is usual now is the median of so many intervals.
const INTERVALS: usize = 31;
/// An interval of more than so many usual ones is a gap.
const GAP_STEPS: i64 = 3;
/// Rows after which another step is no passing disturbance.
pub const ROWS_OF_CHANGE: usize = 30;
/// Steps that people choose, in milliseconds.
const ROUND_MS: [i64; 20] = [
    1_000, 2_000, 5_000, 10_000, 15_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000,
    1_200_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000, 21_600_000, 43_200_000, 86_400_000,
];

/// The latest intervals between rows.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    intervals: VecDeque<i64>,
}

impl Pace {
    /// Notes an interval in milliseconds; more than nothing.
    pub fn note(&mut self, interval_ms: i64) {
        if self.intervals.len() == INTERVALS {
            self.intervals.pop_front();
        }
        self.intervals.push_back(interval_ms);
    }

    /// The usual interval; none until enough rows came.
    pub fn step_ms(&self) -> Option<i64> {
        (self.intervals.len() + 1 >= ROWS_MIN).then(|| self.part(1, 2))
    }

    /// An interval so much longer than the others that rows are missing. In a series whose rows come irregularly, long
    /// intervals are part of how it comes: nine tenths of the latest are the measure.
    pub fn is_gap(&self, interval_ms: i64) -> bool {
        self.step_ms().is_some() && interval_ms > GAP_STEPS * self.part(9, 10)
    }

    /// The interval that `of`-ths `part` of the latest do not exceed.
    fn part(&self, part: usize, of: usize) -> i64 {
        let mut sorted: Vec<i64> = self.intervals.iter().copied().collect();
        sorted.sort_unstable();
        sorted[((sorted.len() - 1) * part).div_ceil(of)]
    }
}

/// The round step that is meant: rows that come every 299.9 s come every five minutes.
pub fn round(step_ms: i64) -> i64 {
    let meant = ROUND_MS.into_iter().find(|round| (round - step_ms).abs() * 50 <= *round);
    meant.unwrap_or(step_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_is_known_after_ten_rows() {
        let mut pace = Pace::default();
        for _ in 0..8 {
            pace.note(60_000);
            assert_eq!(pace.step_ms(), None);
        }
        pace.note(900_000);
        assert_eq!(pace.step_ms(), Some(60_000));
    }

    #[test]
    fn long_intervals_are_gaps_unless_they_are_usual() {
        let mut regular = Pace::default();
        let mut irregular = Pace::default();
        for number in 0..40 {
            regular.note(60_000);
            irregular.note(if number % 5 == 0 { 600_000 } else { 60_000 });
        }
        assert!(!regular.is_gap(180_000) && regular.is_gap(180_001));
        assert!(!irregular.is_gap(600_000) && irregular.is_gap(1_800_001));
    }

    #[test]
    fn a_step_is_rounded_within_two_percent() {
        let steps = [(299_900, 300_000), (3_601_000, 3_600_000), (310_000, 310_000), (7, 7)];
        for (step_ms, meant_ms) in steps {
            assert_eq!(round(step_ms), meant_ms);
        }
    }
}
