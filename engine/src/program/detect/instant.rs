//! Times as files write them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use tocsin_engine::time::Timestamp;

/// What is accepted, for error texts.
pub const EXPECTED: &str =
    "a time as 2014-02-14T14:27:00Z, 2014-02-14 14:27:00 (UTC), 2014-02-14, or unix seconds, ms or us";

/// Unix times from here on are milliseconds: as seconds they would be after the year 5000, as milliseconds they are
/// after February 1973.
const MILLISECONDS_FROM: f64 = 1e11;
/// Unix times from here on are microseconds.
const MICROSECONDS_FROM: f64 = 1e14;
/// Unix times from here on are none that anybody writes.
const MICROSECONDS_UP_TO: f64 = 1e17;

/// The instant a field names, cut to milliseconds; without a zone it is UTC. None if it names none.
pub fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        return of_unix(number).map(Timestamp::from_unix_ms);
    }
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(Timestamp::from_unix_ms(instant.as_millisecond()));
    }
    // With an offset or a zone it would have been an instant; without the rest it would be read wrongly.
    let text = text.strip_suffix("UTC").unwrap_or(text).trim_end();
    let is_civil = |c: char| c.is_ascii_digit() || "-:., tT".contains(c);
    let date_time: DateTime = Some(text).filter(|text| text.chars().all(is_civil))?.parse().ok()?;
    let instant = TimeZone::UTC.to_timestamp(date_time).ok()?;
    Some(Timestamp::from_unix_ms(instant.as_millisecond()))
}

/// Unix milliseconds, from a number whose unit its size tells.
fn of_unix(number: f64) -> Option<i64> {
    let ms = match number.abs() {
        size if size < MILLISECONDS_FROM => number * 1e3,
        size if size < MICROSECONDS_FROM => number,
        size if size < MICROSECONDS_UP_TO => number / 1e3,
        _ => return None,
    };
    // A fraction of a second such as .1 has no exact double: rounding gives the millisecond that was written.
    Some(ms.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_one_instant_is_the_same_instant() {
        for text in [
            "2014-02-14T14:27:00Z",
            "2014-02-14t14:27:00z",
            "2014-02-14T15:27:00+01:00",
            "2014-02-14 14:27:00+00",
            "2014-02-14 14:27:00",
            "2014-02-14 14:27:00 UTC",
            "2014-02-14T14:27",
            " 2014-02-14 14:27:00.000 ",
            "1392388020",
            "1392388020.0",
            "1.39238802e9",
            "1392388020000",
            "1392388020000000",
        ] {
            assert_eq!(parse(text), Some(Timestamp::from_unix_s(1_392_388_020)), "{text}");
        }
    }

    #[test]
    fn fractions_are_kept_to_the_millisecond() {
        for text in
            ["2014-02-14 14:27:00.123456", "2014-02-14T14:27:00.123Z", "1392388020.123", "1392388020123456"]
        {
            assert_eq!(parse(text), Some(Timestamp::from_unix_ms(1_392_388_020_123)), "{text}");
        }
    }

    #[test]
    fn a_date_is_its_midnight() {
        assert_eq!(parse("1970-01-02"), Some(Timestamp::from_unix_s(86_400)));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "time",
            "NaN",
            "inf",
            "1e300",
            "14/02/2014",
            "2014-02-30",
            "2014-02-14 25:00:00",
            "14:27:00",
            "2014-02-14 14:27:00 +01:00 x",
            "2014-02-14T14:27:00[Europe/Berlin]",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
