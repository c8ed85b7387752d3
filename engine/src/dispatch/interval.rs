//! Recurring times, as Alertmanager's `time_intervals`: times of day, weekdays, days of the month, months, years, in a
//! time zone.
//!
//! What counts is the clock on the wall of the place: an hour that a change of the clock leaves out does not come, one
//! that it repeats comes twice. Zones are those built into the program, so that a recording replays alike everywhere.
//! What Alertmanager reads means the same here, or is refused as a slip: month 13, the year 26, an empty list.

use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Deserializer, de};

use crate::time::Timestamp;

/// A recurring time: all that is given must hold, and of each list one entry; what is not given always holds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeInterval {
    #[serde(default, deserialize_with = "some")]
    times: Vec<Times>,
    #[serde(default, deserialize_with = "some")]
    weekdays: Vec<Weekdays>,
    #[serde(default, deserialize_with = "some")]
    days_of_month: Vec<DaysOfMonth>,
    #[serde(default, deserialize_with = "some")]
    months: Vec<Months>,
    #[serde(default, deserialize_with = "some")]
    years: Vec<Years>,
    /// An IANA name.
    #[serde(default = "utc", deserialize_with = "zone")]
    location: TimeZone,
}

impl TimeInterval {
    /// Whether an instant lies in it.
    pub fn contains(&self, at: Timestamp) -> bool {
        let Ok(instant) = jiff::Timestamp::from_millisecond(at.unix_ms()) else {
            return false;
        };
        let local = self.location.to_datetime(instant);
        let minute = i16::from(local.hour()) * 60 + i16::from(local.minute());
        let weekday = i16::from(local.weekday().to_sunday_zero_offset());
        one_of(&self.times, |times| times.0.has(minute))
            && one_of(&self.weekdays, |days| days.0.has(weekday))
            && one_of(&self.days_of_month, |days| days.have(local))
            && one_of(&self.months, |months| months.0.has(i16::from(local.month())))
            && one_of(&self.years, |years| years.0.has(local.year()))
    }
}

fn one_of<Entry>(entries: &[Entry], has: impl Fn(&Entry) -> bool) -> bool {
    entries.is_empty() || entries.iter().any(has)
}

/// From the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: i16,
    last: i16,
}

impl Range {
    fn has(self, number: i16) -> bool {
        self.first <= number && number <= self.last
    }

    /// Reads one entry, or two with a colon between them; `expected` says what an entry is.
    fn read(text: &str, entry: impl Fn(&str) -> Option<i16>, expected: &str) -> Result<Range, String> {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        let number = |text: &str| entry(text.trim().to_lowercase().as_str());
        match (number(first), number(last)) {
            (Some(first), Some(last)) => Ok(Range { first, last }),
            (None, _) => Err(format!("{first:?} in {text:?} is wrong, expected {expected}")),
            (_, None) => Err(format!("{last:?} in {text:?} is wrong, expected {expected}")),
        }
    }

    /// Refuses a range that runs backwards.
    fn forward(self, text: &str, hint: &str) -> Result<Range, String> {
        match self.first <= self.last {
            true => Ok(self),
            false => Err(format!("{text:?} ends before it begins, expected {hint}")),
        }
    }
}

/// Minutes of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenTimes")]
struct Times(Range);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTimes {
    start_time: String,
    end_time: String,
}

impl TryFrom<WrittenTimes> for Times {
    type Error = String;

    fn try_from(written: WrittenTimes) -> Result<Self, String> {
        let WrittenTimes { start_time, end_time } = written;
        let (first, end) = (minute(&start_time)?, minute(&end_time)?);
        if first == end {
            return Err(format!("times begin and end at {start_time}, expected a later end_time"));
        }
        if first > end {
            let night = format!("{start_time} to 24:00 and 00:00 to {end_time}");
            return Err(format!(
                "start_time {start_time} is later than end_time {end_time}, expected two entries: {night}"
            ));
        }
        Ok(Times(Range { first, last: end - 1 }))
    }
}

/// Minutes since midnight of a time `HH:MM`.
fn minute(text: &str) -> Result<i16, String> {
    let digits = |text: &str| -> Option<i16> {
        let is_right = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_right { text.parse().ok() } else { None }
    };
    let read = text.split_once(':').and_then(|(hour, minute)| digits(hour).zip(digits(minute)));
    match read {
        Some((hour @ 0..=23, minute @ 0..=59)) => Ok(hour * 60 + minute),
        Some((24, 0)) => Ok(24 * 60),
        _ => Err(format!("{text:?} is no time of day, expected HH:MM from 00:00 to 24:00")),
    }
}

/// Days since sunday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Weekdays(Range);

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

impl TryFrom<String> for Weekdays {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let expected = r#"a weekday as "monday", or two as "monday:friday""#;
        let range = Range::read(&text, |name| named(&WEEKDAYS, name), expected)?;
        let hint = r#"the days as entries of their own, as "saturday", "sunday": the week begins on sunday"#;
        range.forward(&text, hint).map(Weekdays)
    }
}

/// Days of a month, from 1, or from its end: -1 is the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct DaysOfMonth(Range);

impl DaysOfMonth {
    fn have(self, local: DateTime) -> bool {
        let days = i16::from(local.days_in_month());
        let from_start = |day: i16| if day < 0 { days + day + 1 } else { day };
        let range = Range { first: from_start(self.0.first), last: from_start(self.0.last) };
        range.has(i16::from(local.day()))
    }
}

impl TryFrom<String> for DaysOfMonth {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let day = |text: &str| number(text).filter(|day| (1..=31).contains(&day.abs()));
        let expected = r#"a day from 1 to 31, or -1 to -31 from the month's end, or two as "1:5" or "-3:-1""#;
        let range = Range::read(&text, day, expected)?;
        if range.first < 0 && range.last > 0 {
            return Err(format!("{text:?} runs into the next month, expected two entries"));
        }
        // A range to a day from the end is wrong if it is empty in the longest month.
        let is_mixed = range.first > 0 && range.last < 0;
        let last = if is_mixed { range.last + 32 } else { range.last };
        Range { last, ..range }.forward(&text, "the earlier day first")?;
        Ok(DaysOfMonth(range))
    }
}

/// Months from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Months(Range);

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

impl TryFrom<String> for Months {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let month = |text: &str| {
            let named = named(&MONTHS, text).map(|place| place + 1);
            named.or_else(|| number(text).filter(|month| (1..=12).contains(month)))
        };
        let expected = r#"a month as "march" or "3", or two as "march:may""#;
        let hint = r#"two entries, as "november:december", "january:february""#;
        Range::read(&text, month, expected)?.forward(&text, hint).map(Months)
    }
}

/// Years of our era.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Years(Range);

impl TryFrom<String> for Years {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let year = |text: &str| number(text).filter(|year| (1970..=9999).contains(year));
        let expected = r#"a year from 1970 to 9999, or two as "2026:2030""#;
        Range::read(&text, year, expected)?.forward(&text, "the earlier year first").map(Years)
    }
}

fn number(text: &str) -> Option<i16> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

fn named(names: &[&str], name: &str) -> Option<i16> {
    names.iter().position(|known| *known == name).and_then(|place| i16::try_from(place).ok())
}

/// A list that is not empty. Alertmanager takes an empty one for "never", its reader for "always".
fn some<'de, D: Deserializer<'de>, Entry: Deserialize<'de>>(deserializer: D) -> Result<Vec<Entry>, D::Error> {
    let entries = Vec::deserialize(deserializer)?;
    match entries.is_empty() {
        true => Err(de::Error::custom("the list is empty, expected an entry, or no list for all")),
        false => Ok(entries),
    }
}

fn utc() -> TimeZone {
    TimeZone::UTC
}

fn zone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TimeZone, D::Error> {
    let name = String::deserialize(deserializer)?;
    // Not the database of the machine, which would be input from outside.
    let database = TimeZoneDatabase::bundled();
    database.get(&name).map_err(|_| {
        let likeness = |known: &str| strsim::jaro_winkler(&known.to_lowercase(), &name.to_lowercase());
        let known = database.available().map(|known| (likeness(known.as_str()), known.to_string()));
        let near =
            known.max_by(|one, other| one.0.total_cmp(&other.0)).filter(|(likeness, _)| *likeness > 0.9);
        let near = near.map_or_else(|| "Europe/Berlin".to_string(), |(_, known)| known);
        de::Error::custom(format!("{name:?} is no time zone, expected an IANA name as {near:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(toml: &str) -> TimeInterval {
        toml::from_str(toml).unwrap_or_else(|error| panic!("{toml}: {error}"))
    }

    /// Instants are RFC 3339.
    #[track_caller]
    fn check(toml: &str, instants: &[(&str, bool)]) {
        let interval = interval(toml);
        for (text, expected) in instants {
            let instant: jiff::Timestamp = text.parse().expect("an instant");
            let at = Timestamp::from_unix_ms(instant.as_millisecond());
            assert_eq!(interval.contains(at), *expected, "{text} in {toml}");
        }
    }

    #[track_caller]
    fn refused(toml: &str, error: &str) {
        let found = toml::from_str::<TimeInterval>(toml).expect_err(toml);
        assert_eq!(found.message(), error, "{toml}");
    }

    #[test]
    fn nothing_given_is_always() {
        check("", &[("1970-01-01T00:00:00Z", true), ("2026-11-21T18:00:00Z", true)]);
        assert!(!interval("").contains(Timestamp::MAX));
    }

    #[test]
    fn times_hold_from_their_start_until_before_their_end() {
        let office = r#"times = [{ start_time = "09:00", end_time = "17:00" }]"#;
        check(
            office,
            &[
                ("2026-11-21T08:59:59.999Z", false),
                ("2026-11-21T09:00:00Z", true),
                ("2026-11-21T16:59:59.999Z", true),
                ("2026-11-21T17:00:00Z", false),
            ],
        );
        let night = r#"times = [{ start_time = "22:30", end_time = "24:00" }, { start_time = "00:00", end_time = "06:00" }]"#;
        check(
            night,
            &[
                ("2026-11-21T22:29:00Z", false),
                ("2026-11-21T22:30:00Z", true),
                ("2026-11-21T23:59:59.999Z", true),
                ("2026-11-22T00:00:00Z", true),
                ("2026-11-22T06:00:00Z", false),
            ],
        );
    }

    #[test]
    fn weekdays_are_inclusive_and_begin_on_sunday() {
        // 2026-11-22 is a Sunday.
        let days: Vec<(String, u8)> =
            (22..=28).map(|day| (format!("2026-11-{day}T12:00:00Z"), day)).collect();
        for (toml, from, to) in [
            (r#"weekdays = ["monday:friday"]"#, 23, 27),
            (r#"weekdays = ["Sunday"]"#, 22, 22),
            (r#"weekdays = ["sunday:saturday"]"#, 22, 28),
            (r#"weekdays = ["wednesday", "Thursday : SATURDAY"]"#, 25, 28),
        ] {
            let expected: Vec<_> =
                days.iter().map(|(text, day)| (text.as_str(), (from..=to).contains(day))).collect();
            check(toml, &expected);
        }
    }

    #[test]
    fn days_count_from_the_end_of_every_month() {
        check(
            r#"days_of_month = ["1:5", "-3:-1"]"#,
            &[
                ("2026-11-01T00:00:00Z", true),
                ("2026-11-05T23:59:59Z", true),
                ("2026-11-06T00:00:00Z", false),
                ("2026-11-27T12:00:00Z", false),
                ("2026-11-28T12:00:00Z", true),
                ("2026-12-28T12:00:00Z", false),
                ("2026-12-29T12:00:00Z", true),
                ("2026-12-31T12:00:00Z", true),
                ("2026-02-25T12:00:00Z", false),
                ("2026-02-26T12:00:00Z", true),
                ("2028-02-26T12:00:00Z", false),
                ("2028-02-27T12:00:00Z", true),
                ("2028-02-29T12:00:00Z", true),
            ],
        );
    }

    #[test]
    fn days_that_a_month_lacks_do_not_spill_over() {
        check(
            r#"days_of_month = ["30:31"]"#,
            &[
                ("2026-02-28T12:00:00Z", false),
                ("2026-03-01T12:00:00Z", false),
                ("2026-04-30T12:00:00Z", true),
            ],
        );
        check(
            r#"days_of_month = ["-31:-31"]"#,
            &[
                ("2026-01-01T12:00:00Z", true),
                ("2026-02-01T12:00:00Z", false),
                ("2026-02-28T12:00:00Z", false),
            ],
        );
        check(
            r#"days_of_month = ["29:-1"]"#,
            &[
                ("2026-02-28T12:00:00Z", false),
                ("2028-02-29T12:00:00Z", true),
                ("2026-01-31T12:00:00Z", true),
            ],
        );
        check(r#"days_of_month = ["-31:-1"]"#, &[("2026-02-01T12:00:00Z", true)]);
    }

    #[test]
    fn months_and_years_are_inclusive() {
        check(
            r#"months = ["january:march", "12"]
               years = ["2026:2030"]"#,
            &[
                ("2025-12-31T23:59:59Z", false),
                ("2026-01-01T00:00:00Z", true),
                ("2026-03-31T23:59:59Z", true),
                ("2026-04-01T00:00:00Z", false),
                ("2026-11-30T23:59:59Z", false),
                ("2026-12-01T00:00:00Z", true),
                ("2030-12-31T23:59:59Z", true),
                ("2031-01-01T00:00:00Z", false),
            ],
        );
        check(r#"months = ["May"]"#, &[("2026-05-15T00:00:00Z", true), ("2026-06-15T00:00:00Z", false)]);
    }

    #[test]
    fn everything_given_must_hold() {
        let toml = r#"times = [{ start_time = "09:00", end_time = "17:00" }]
            weekdays = ["monday:friday"]
            days_of_month = ["20:25"]
            months = ["11"]
            years = ["2026"]"#;
        check(
            toml,
            &[
                ("2026-11-23T12:00:00Z", true),
                ("2026-11-23T08:00:00Z", false),
                ("2026-11-22T12:00:00Z", false),
                ("2026-11-26T12:00:00Z", false),
                ("2026-10-23T12:00:00Z", false),
                ("2027-11-23T12:00:00Z", false),
            ],
        );
    }

    #[test]
    fn the_day_is_that_of_the_place() {
        check(
            r#"location = "Asia/Tokyo"
               weekdays = ["monday"]
               months = ["12"]"#,
            // Sunday in UTC, Monday in Tokyo; and November in UTC, December in Tokyo.
            &[
                ("2026-12-06T15:00:00Z", true),
                ("2026-12-06T14:59:59Z", false),
                ("2026-11-30T15:00:00Z", false),
            ],
        );
        check(
            r#"location = "Asia/Tokyo"
               months = ["december"]"#,
            &[("2026-11-30T15:00:00Z", true), ("2026-12-31T15:00:00Z", false)],
        );
        check(
            r#"location = "Asia/Kathmandu"
               times = [{ start_time = "09:00", end_time = "17:00" }]"#,
            &[("2026-11-21T03:14:00Z", false), ("2026-11-21T03:15:00Z", true)],
        );
    }

    #[test]
    fn an_hour_that_the_clock_leaves_out_does_not_come() {
        let times = r#"times = [{ start_time = "02:00", end_time = "03:00" }]"#;
        // 2026-03-29: 02:00 +01 becomes 03:00 +02.
        check(
            &format!("location = \"Europe/Berlin\"\n{times}"),
            &[
                ("2026-03-28T01:30:00Z", true),
                ("2026-03-29T00:59:59.999Z", false),
                ("2026-03-29T01:00:00Z", false),
                ("2026-03-29T01:30:00Z", false),
                ("2026-03-30T00:30:00Z", true),
            ],
        );
        // 2026-03-08: 02:00 -05 becomes 03:00 -04.
        check(
            &format!("location = \"America/New_York\"\n{times}"),
            &[
                ("2026-03-07T07:30:00Z", true),
                ("2026-03-08T06:59:59.999Z", false),
                ("2026-03-08T07:00:00Z", false),
                ("2026-03-09T06:30:00Z", true),
            ],
        );
    }

    #[test]
    fn an_hour_that_the_clock_repeats_comes_twice() {
        let times = r#"times = [{ start_time = "02:00", end_time = "03:00" }]"#;
        // 2026-10-25: 03:00 +02 becomes 02:00 +01.
        check(
            &format!("location = \"Europe/Berlin\"\n{times}"),
            &[
                ("2026-10-24T23:59:59.999Z", false),
                ("2026-10-25T00:00:00Z", true),
                ("2026-10-25T01:59:59.999Z", true),
                ("2026-10-25T02:00:00Z", false),
            ],
        );
        // 2026-11-01: 02:00 -04 becomes 01:00 -05, so it is the hour before that repeats.
        check(
            r#"location = "America/New_York"
               times = [{ start_time = "01:00", end_time = "02:00" }]"#,
            &[
                ("2026-11-01T04:59:59.999Z", false),
                ("2026-11-01T05:00:00Z", true),
                ("2026-11-01T06:59:59.999Z", true),
                ("2026-11-01T07:00:00Z", false),
            ],
        );
    }

    #[test]
    fn office_hours_follow_the_clock_over_its_changes() {
        let toml = r#"location = "Europe/Berlin"
            weekdays = ["monday:friday"]
            times = [{ start_time = "09:00", end_time = "17:00" }]"#;
        check(
            toml,
            &[
                ("2026-03-27T07:59:00Z", false),
                ("2026-03-27T08:00:00Z", true),
                ("2026-03-30T06:59:00Z", false),
                ("2026-03-30T07:00:00Z", true),
                ("2026-10-23T15:00:00Z", false),
                ("2026-10-26T15:00:00Z", true),
                ("2026-10-26T16:00:00Z", false),
            ],
        );
    }

    #[test]
    fn wrong_times_are_refused() {
        for wrong in
            ["9:00", "09:0", "25:00", "24:01", "23:60", "0900", "", "09:00:00", "+9:00", "-1:00", "٠٩:٠٠"]
        {
            let toml = format!(r#"times = [{{ start_time = "{wrong}", end_time = "17:00" }}]"#);
            refused(&toml, &format!("{wrong:?} is no time of day, expected HH:MM from 00:00 to 24:00"));
        }
        refused(
            r#"times = [{ start_time = "22:00", end_time = "06:00" }]"#,
            "start_time 22:00 is later than end_time 06:00, expected two entries: 22:00 to 24:00 and 00:00 to 06:00",
        );
        refused(
            r#"times = [{ start_time = "09:00", end_time = "09:00" }]"#,
            "times begin and end at 09:00, expected a later end_time",
        );
        refused(r#"times = [{ start_time = "09:00" }]"#, "missing field `end_time`");
    }

    #[test]
    fn wrong_ranges_are_refused() {
        let days = r#"expected the days as entries of their own, as "saturday", "sunday": the week begins on sunday"#;
        let month = r#"is wrong, expected a month as "march" or "3", or two as "march:may""#;
        let day = r#"is wrong, expected a day from 1 to 31, or -1 to -31 from the month's end, or two as "1:5" or "-3:-1""#;
        let weekday = r#"is wrong, expected a weekday as "monday", or two as "monday:friday""#;
        let year = r#"is wrong, expected a year from 1970 to 9999, or two as "2026:2030""#;
        for (toml, error) in [
            (r#"weekdays = ["mon"]"#, format!(r#""mon" in "mon" {weekday}"#)),
            (r#"weekdays = ["1"]"#, format!(r#""1" in "1" {weekday}"#)),
            (r#"weekdays = ["monday:"]"#, format!(r#""" in "monday:" {weekday}"#)),
            (
                r#"weekdays = ["monday:tuesday:friday"]"#,
                format!(r#""tuesday:friday" in "monday:tuesday:friday" {weekday}"#),
            ),
            (r#"weekdays = ["saturday:sunday"]"#, format!(r#""saturday:sunday" ends before it begins, {days}"#)),
            (r#"days_of_month = ["0"]"#, format!(r#""0" in "0" {day}"#)),
            (r#"days_of_month = ["1:32"]"#, format!(r#""32" in "1:32" {day}"#)),
            (r#"days_of_month = ["-32"]"#, format!(r#""-32" in "-32" {day}"#)),
            (r#"days_of_month = ["99999999999"]"#, format!(r#""99999999999" in "99999999999" {day}"#)),
            (r#"days_of_month = ["+1"]"#, format!(r#""+1" in "+1" {day}"#)),
            (
                r#"days_of_month = ["5:1"]"#,
                r#""5:1" ends before it begins, expected the earlier day first"#.to_string(),
            ),
            (
                r#"days_of_month = ["-1:-3"]"#,
                r#""-1:-3" ends before it begins, expected the earlier day first"#.to_string(),
            ),
            (
                r#"days_of_month = ["20:-31"]"#,
                r#""20:-31" ends before it begins, expected the earlier day first"#.to_string(),
            ),
            (
                r#"days_of_month = ["-3:2"]"#,
                r#""-3:2" runs into the next month, expected two entries"#.to_string(),
            ),
            (r#"months = ["13"]"#, format!(r#""13" in "13" {month}"#)),
            (r#"months = ["0:3"]"#, format!(r#""0" in "0:3" {month}"#)),
            (r#"months = ["mai"]"#, format!(r#""mai" in "mai" {month}"#)),
            (
                r#"months = ["november:february"]"#,
                r#""november:february" ends before it begins, expected two entries, as "november:december", "january:february""#
                    .to_string(),
            ),
            (r#"years = ["26"]"#, format!(r#""26" in "26" {year}"#)),
            (
                r#"years = ["2030:2026"]"#,
                r#""2030:2026" ends before it begins, expected the earlier year first"#.to_string(),
            ),
        ] {
            refused(toml, &error);
        }
    }

    #[test]
    fn wrong_zones_are_refused_with_one_that_is_near() {
        for (name, near) in [
            ("Europe/Berln", "Europe/Berlin"),
            ("new york", "Europe/Berlin"),
            ("", "Europe/Berlin"),
            ("../../etc/passwd", "Europe/Berlin"),
            ("america/new_yrok", "America/New_York"),
        ] {
            let error = format!("{name:?} is no time zone, expected an IANA name as {near:?}");
            refused(&format!("location = {name:?}"), &error);
        }
        assert_eq!(interval(r#"location = "europe/berlin""#), interval(r#"location = "Europe/Berlin""#));
        assert_eq!(interval(r#"location = "UTC""#), interval(""));
    }

    #[test]
    fn empty_lists_and_unknown_keys_are_refused() {
        for list in ["times", "weekdays", "days_of_month", "months", "years"] {
            let error = "the list is empty, expected an entry, or no list for all";
            refused(&format!("{list} = []"), error);
        }
        let error =
            toml::from_str::<TimeInterval>("weekday = [\"monday\"]").expect_err("unknown").to_string();
        assert!(error.contains("unknown field `weekday`, expected one of"), "{error}");
    }
}
