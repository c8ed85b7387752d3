//! Spans of time as people write them in the configuration.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A span of time, written `250ms`, `10s`, `2m`, `1h` or `7d`.
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
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is no span of time; write a whole number and ms, s, m, h or d, such as \"10s\"")
        };
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(unit_ms).map(Span::from_millis).ok_or_else(wrong)
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
        for wrong in ["", "10", "s", "-1s", "1.5s", "1 s", "99999999999999999999s", "18446744073709551615d"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }
}
