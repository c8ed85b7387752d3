//! Instants of event time. There is no clock here: an instant comes from an event or from an input's `received_at`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tocsin_proto::Span;

/// An instant in unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Before every event.
    pub const MIN: Timestamp = Timestamp(i64::MIN / 4);
    /// After every event.
    pub const MAX: Timestamp = Timestamp(i64::MAX / 4);

    /// The instant `ms` milliseconds after the epoch.
    pub const fn from_unix_ms(ms: i64) -> Self {
        Timestamp(ms)
    }

    /// The instant `s` seconds after the epoch.
    pub const fn from_unix_s(s: i64) -> Self {
        Timestamp(s.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// Milliseconds from `earlier` to `self`; negative if `earlier` is later.
    pub const fn ms_since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The instant `ms` later (or earlier, if negative).
    pub const fn plus_ms(self, ms: i64) -> Self {
        Timestamp(self.0.saturating_add(ms))
    }

    /// The first multiple of `step_ms` after `self`.
    pub const fn next_multiple_ms(self, step_ms: i64) -> Self {
        Timestamp((self.0.div_euclid(step_ms) + 1).saturating_mul(step_ms))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 with milliseconds, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// A duration as rules write it: a whole number and `ms`, `s`, `m`, `h`, `d` or `w`; longer than nothing and at most a year,
/// which bounds the slots and the ticks that anything can ask for.
///
/// The error says what would be accepted.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: Option<Span> = text.parse().ok();
    span.map(Span::get)
        .filter(|span| !span.is_zero() && *span <= Duration::from_secs(366 * 86_400))
        .ok_or_else(|| {
            format!("{text:?} is not a duration, expected a number and ms, s, m, h, d or w, as \"10m\"")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        assert_eq!(parse_duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse_duration("4w"), Ok(Duration::from_secs(28 * 86_400)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "10", "m", "0s", "-1s", "1.5s", "99999999999999999999d", "9999d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn instants_print_as_rfc_3339() {
        assert_eq!(Timestamp::from_unix_ms(1_795_229_898_758).to_string(), "2026-11-21T02:58:18.758Z");
    }

    #[test]
    fn the_next_multiple_is_strictly_later() {
        assert_eq!(Timestamp::from_unix_s(10).next_multiple_ms(5000), Timestamp::from_unix_s(15));
        assert_eq!(Timestamp::from_unix_s(11).next_multiple_ms(5000), Timestamp::from_unix_s(15));
    }
}
