//! From the kernel's monotonic time, which records carry, to Unix time.

use rustix::time::{ClockId, clock_gettime};

const NS_PER_S: i64 = 1_000_000_000;
const NS_PER_MS: i64 = 1_000_000;

/// How far Unix time is ahead of monotonic time. Taken anew each second, so it follows a clock that is set.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    offset_ns: i64,
}

impl Clock {
    /// Reads both clocks.
    pub fn read() -> Self {
        Clock { offset_ns: read_ns(ClockId::Realtime) - read_ns(ClockId::Monotonic) }
    }

    /// Unix milliseconds of an instant of CLOCK_MONOTONIC in nanoseconds; 0 for what lies before 1970.
    pub fn unix_ms(self, monotonic_ns: u64) -> u64 {
        let monotonic_ns = i64::try_from(monotonic_ns).unwrap_or(i64::MAX);
        u64::try_from(monotonic_ns.saturating_add(self.offset_ns) / NS_PER_MS).unwrap_or(0)
    }
}

/// Now, in nanoseconds of CLOCK_MONOTONIC.
pub fn monotonic_ns() -> u64 {
    u64::try_from(read_ns(ClockId::Monotonic)).unwrap_or(0)
}

fn read_ns(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec.saturating_mul(NS_PER_S).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_now_on_both_clocks() {
        let unix_ms = Clock::read().unix_ms(monotonic_ns());
        assert!(unix_ms.abs_diff(crate::emitter::now_ms()) < 100);
    }

    #[test]
    fn no_time_overflows() {
        assert_eq!(Clock { offset_ns: -5 * NS_PER_S }.unix_ms(0), 0);
        assert!(Clock { offset_ns: i64::MAX }.unix_ms(u64::MAX) > 0);
    }
}
