//! The clock of dispatch: unix ms that never run backwards, also over a restart.

use tocsin_engine::time::Timestamp;
use tocsin_extractors::now_ms;

/// What a run before stored is believed if it is at most this far ahead of the machine's clock.
const AHEAD_MAX_MS: i64 = 600_000;
/// Where dispatch is ahead it runs slower by one part in so many, until the machine's clock has caught up.
const SLOWER_BY_ONE_IN: i64 = 10;

/// Reads the machine's clock. Where that was set back, time runs on from where it was, a little slower.
#[derive(Debug)]
pub struct Clock {
    /// What was told last.
    last_ms: i64,
    /// What the machine's clock said then.
    clock_ms: i64,
    /// How far dispatch is ahead of it, in parts of a millisecond: [`SLOWER_BY_ONE_IN`] are one.
    ahead: i64,
}

impl Clock {
    /// A clock that begins no earlier than `stored_ms`, which is what the run before stored; unless that is far ahead.
    pub fn new(stored_ms: i64) -> Self {
        Clock::at(stored_ms, now_ms() as i64)
    }

    /// Now.
    pub fn now(&mut self) -> Timestamp {
        Timestamp::from_unix_ms(self.read(now_ms() as i64))
    }

    fn at(stored_ms: i64, clock_ms: i64) -> Self {
        let ahead_ms = stored_ms - clock_ms;
        let last_ms = if ahead_ms > AHEAD_MAX_MS {
            tracing::warn!(
                "the store is {ahead_ms} ms ahead of the clock, which is not believed: dispatch goes on from the clock"
            );
            clock_ms
        } else {
            stored_ms
        };
        Clock { last_ms, clock_ms, ahead: 0 }
    }

    fn read(&mut self, clock_ms: i64) -> i64 {
        let passed_ms = (clock_ms - self.clock_ms).max(0);
        self.clock_ms = clock_ms;
        self.ahead = (self.ahead - passed_ms).max(0);
        if clock_ms + self.ahead / SLOWER_BY_ONE_IN < self.last_ms {
            let ahead_ms = self.last_ms - clock_ms;
            tracing::warn!(
                "the clock was set back; dispatch runs {ahead_ms} ms ahead of it, and less with time"
            );
            self.ahead = ahead_ms * SLOWER_BY_ONE_IN;
        }
        self.last_ms = clock_ms + self.ahead / SLOWER_BY_ONE_IN;
        self.last_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_runs_on_and_slower_until_it_is_right() {
        let mut clock = Clock::at(0, 1_000_000);
        assert_eq!(clock.read(1_000_000), 1_000_000);
        let mut before_ms = clock.read(990_000);
        assert_eq!(before_ms, 1_000_000);
        // Looks are more frequent than the steps in which it gives in.
        for clock_ms in 990_000..1_090_000 {
            let now_ms = clock.read(clock_ms);
            assert!((before_ms..=before_ms + 1).contains(&now_ms), "{now_ms} after {before_ms}");
            before_ms = now_ms;
        }
        assert_eq!(before_ms, 1_089_999);
        assert_eq!(clock.read(2_000_000), 2_000_000);
    }

    #[test]
    fn what_a_run_before_stored_is_believed_unless_it_is_far_ahead() {
        assert_eq!(Clock::at(1_600_000, 1_000_000).read(1_000_000), 1_600_000);
        assert_eq!(Clock::at(1_600_001, 1_000_000).read(1_000_000), 1_000_000);
    }
}
