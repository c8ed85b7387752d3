//! The clock of dispatch: unix ms that never run backwards, also over a restart.

use tocsin_engine::time::Timestamp;
use tocsin_extractors::now_ms;

/// Reads the machine's clock. Where that was set back, time runs on from where it was.
#[derive(Debug)]
pub struct Clock {
    last_ms: i64,
    ahead_ms: i64,
}

impl Clock {
    /// A clock that begins no earlier than `last_ms`, which is what the run before stored.
    pub fn new(last_ms: i64) -> Self {
        Clock { last_ms, ahead_ms: 0 }
    }

    /// Now.
    pub fn now(&mut self) -> Timestamp {
        let clock_ms = now_ms() as i64;
        if clock_ms + self.ahead_ms < self.last_ms {
            self.ahead_ms = self.last_ms - clock_ms;
            tracing::warn!("the clock was set back; dispatch runs {} ms ahead of it", self.ahead_ms);
        }
        self.last_ms = clock_ms + self.ahead_ms;
        Timestamp::from_unix_ms(self.last_ms)
    }
}
