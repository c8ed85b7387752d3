//! A token bucket on the program's clock, in whole numbers, so that it comes out the same everywhere.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

use super::routing::RateLimit;

/// How much of a limit is left. A notification costs `per`; each millisecond brings `notifications`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Bucket {
    credit: i64,
    at: Timestamp,
}

impl Bucket {
    pub fn full(limit: RateLimit, now: Timestamp) -> Self {
        Bucket { credit: i64::MAX, at: now }.filled(limit, now)
    }

    fn filled(&self, limit: RateLimit, now: Timestamp) -> Self {
        let notifications = i64::from(limit.notifications);
        let brought = now.ms_since(self.at).max(0).saturating_mul(notifications);
        let most = limit.per.millis().saturating_mul(notifications);
        Bucket { credit: self.credit.saturating_add(brought).min(most), at: now.max(self.at) }
    }

    /// Takes one notification out, if one is in.
    pub fn take(&mut self, limit: RateLimit, now: Timestamp) -> bool {
        let filled = self.filled(limit, now);
        let is_allowed = filled.credit >= limit.per.millis();
        if is_allowed {
            *self = Bucket { credit: filled.credit - limit.per.millis(), ..filled };
        }
        is_allowed
    }

    /// The clock was set back: nothing was taken in the future.
    pub fn mend_clock(&mut self, now: Timestamp) {
        self.at = self.at.min(now);
    }

    /// When one notification will be in.
    pub fn ready_at(&self, limit: RateLimit) -> Timestamp {
        let missing = limit.per.millis().saturating_sub(self.credit).max(0);
        let notifications = i64::from(limit.notifications);
        self.at.plus_ms((missing + notifications - 1) / notifications)
    }
}

#[cfg(test)]
mod tests {
    use tocsin_proto::Span;

    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_one_at_a_time() {
        let limit = RateLimit { notifications: 3, per: Span::from_secs(10) };
        let at = Timestamp::from_unix_ms;
        let mut bucket = Bucket::full(limit, at(0));
        let taken: Vec<bool> = (0..4).map(|ms| bucket.take(limit, at(ms))).collect();
        assert_eq!(taken, [true, true, true, false]);
        // A third of ten seconds, rounded up: what `ready_at` promises holds to the millisecond.
        let ready_at = bucket.ready_at(limit);
        assert_eq!(ready_at, at(3334));
        assert!(!bucket.take(limit, ready_at.plus_ms(-1)) && bucket.take(limit, ready_at));
    }
}
