//! Spans of time as people write them in rules and in the configuration.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A span of time, written `250ms`, `10s`, `2m`, `1h`, `7d` or `4w`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Span(Duration::from_millis(millis))
    }

    /// So many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Span(Duration::from_secs(seconds))
    }

    /// The span itself.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// The span in milliseconds.
    pub const fn millis(self) -> i64 {
        self.0.as_millis() as i64
    }
}

impl FromStr for Span {
    type Err = String;

    /// The error says what would be accepted.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no span of time, expected a whole number and ms, s, m, h, d or w, as \"10s\""
            )
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return Err(wrong()),
        };
        // A thousand years bound every sum of a time and a span.
        let millis = number.checked_mul(unit_ms).filter(|millis| *millis <= 365_000 * 86_400_000);
        millis.map(Span::from_millis).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_whole_numbers_with_a_unit() {
        assert_eq!("250ms".parse(), Ok(Span::from_millis(250)));
        assert_eq!("2m".parse(), Ok(Span::from_secs(120)));
        assert_eq!("7d".parse(), Ok(Span::from_secs(604_800)));
        assert_eq!("4w".parse(), Ok(Span::from_secs(4 * 604_800)));
        for wrong in ["", "10", "s", "-1s", "1.5s", "1 s", "99999999999999999999s", "18446744073709551615d"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }
}
