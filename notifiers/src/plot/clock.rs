//! The axis of times: its marks, and what day and zone they are of.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Stands for a month of the calendar, which begins with its first.
const MONTH_MS: i64 = 30 * DAY_MS;
/// Distances of marks that people read easily.
const STEPS_MS: [i64; 35] = [
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    SECOND_MS,
    2 * SECOND_MS,
    5 * SECOND_MS,
    10 * SECOND_MS,
    15 * SECOND_MS,
    30 * SECOND_MS,
    MINUTE_MS,
    2 * MINUTE_MS,
    5 * MINUTE_MS,
    10 * MINUTE_MS,
    15 * MINUTE_MS,
    30 * MINUTE_MS,
    HOUR_MS,
    2 * HOUR_MS,
    3 * HOUR_MS,
    6 * HOUR_MS,
    12 * HOUR_MS,
    DAY_MS,
    2 * DAY_MS,
    5 * DAY_MS,
    10 * DAY_MS,
    MONTH_MS,
    3 * MONTH_MS,
    12 * MONTH_MS,
    60 * MONTH_MS,
    240 * MONTH_MS,
];
/// Texts with milliseconds are long: so many fewer of them have room.
const LONG_FEWER: i64 = 2;

/// A time in the zone; none if it is outside of the calendar.
pub fn zoned(at: i64, zone: &TimeZone) -> Option<Zoned> {
    Some(Timestamp::from_millisecond(at).ok()?.to_zoned(zone.clone()))
}

/// About `most` marks at most from `from` to `to` (unix ms, both in the calendar) at round local times, with their texts.
pub fn marks(from: i64, to: i64, zone: &TimeZone, most: i64) -> Vec<(i64, String)> {
    let span = to - from;
    let fits = |step: &i64| span / step <= if *step < SECOND_MS { most - LONG_FEWER } else { most };
    let step = STEPS_MS.into_iter().find(fits).unwrap_or(span / 4);
    let mut marks: Vec<i64> = round_times(from, to, step, zone).unwrap_or_default();
    // Where clocks go forward two round local times can be one moment.
    marks.dedup();
    marks.into_iter().filter_map(|at| Some((at, text(&zoned(at, zone)?, step)))).collect()
}

fn round_times(from: i64, to: i64, step: i64, zone: &TimeZone) -> Option<Vec<i64>> {
    let start = zoned(from, zone)?;
    let midnight = start.datetime().date().to_datetime(jiff::civil::Time::midnight());
    let is_inside = |at: &i64| (from..=to).contains(at);
    let count = (to - from).min(DAY_MS) / step + (to - from) / step + 3;
    if step >= MONTH_MS {
        return months(from, to, (step / MONTH_MS) as i32, zone);
    }
    if step <= HOUR_MS {
        // Round by the offset at the start. Offsets change by whole or half hours, so marks stay round; and both hours
        // of a repeated one have theirs.
        let offset = i64::from(start.offset().seconds()) * SECOND_MS;
        let first = (from + offset).div_euclid(step) * step - offset;
        return Some((0..count).map(|number| first + number * step).filter(is_inside).collect());
    }
    let local = |number: i64| {
        let civil = midnight.checked_add(SignedDuration::from_millis(number.checked_mul(step)?)).ok()?;
        Some(zone.to_ambiguous_zoned(civil).compatible().ok()?.timestamp().as_millisecond())
    };
    Some((0..count).filter_map(local).filter(is_inside).collect())
}

/// The firsts of each `every`th month, counted from a January.
fn months(from: i64, to: i64, every: i32, zone: &TimeZone) -> Option<Vec<i64>> {
    let start = zoned(from, zone)?.date();
    let months = i32::from(start.year()) * 12 + i32::from(start.month()) - 1;
    let first_of = |month: i32| {
        let (year, month) = (month.div_euclid(12), month.rem_euclid(12) + 1);
        let date = jiff::civil::Date::new(year.try_into().ok()?, month.try_into().ok()?, 1).ok()?;
        Some(date.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond())
    };
    let numbers = (0..).map(|number| (months.div_euclid(every) + number) * every);
    let marks = numbers.map_while(first_of).take_while(|at| *at <= to);
    Some(marks.filter(|at| *at >= from).collect())
}

fn text(at: &Zoned, step: i64) -> String {
    let is_midnight = at.time() == jiff::civil::Time::midnight();
    let format = match step {
        step if step >= 12 * MONTH_MS => "%Y",
        step if step >= MONTH_MS => "%b %Y",
        step if step >= DAY_MS || is_midnight => "%-d %b",
        step if step >= MINUTE_MS => "%H:%M",
        step if step >= SECOND_MS => "%H:%M:%S",
        _ => "%H:%M:%S%.3f",
    };
    at.strftime(format).to_string()
}

/// The time of a moment, with seconds if the axis is short, and with the day if the axis does not tell it.
pub fn time_of(at: i64, from: i64, to: i64, zone: &TimeZone) -> String {
    let Some(moment) = zoned(at, zone) else {
        return String::new();
    };
    let is_day_told = to - from < 2 * DAY_MS
        && [from, to].iter().any(|end| zoned(*end, zone).is_some_and(|end| end.date() == moment.date()));
    let format = match is_day_told {
        true if to - from <= 5 * MINUTE_MS => "%H:%M:%S",
        true => "%H:%M",
        false => "%-d %b %H:%M",
    };
    moment.strftime(format).to_string()
}

/// The days and the zone: `21 Nov 2026, Europe/Berlin (CET)`.
pub fn caption(from: i64, to: i64, zone: &TimeZone) -> String {
    let (Some(first), Some(last)) = (zoned(from, zone), zoned(to, zone)) else {
        return String::new();
    };
    let day = |at: &Zoned, format: &str| at.strftime(format).to_string();
    let days = if first.date() == last.date() {
        day(&last, "%-d %b %Y")
    } else if first.year() == last.year() {
        format!("{} to {}", day(&first, "%-d %b"), day(&last, "%-d %b %Y"))
    } else {
        format!("{} to {}", day(&first, "%-d %b %Y"), day(&last, "%-d %b %Y"))
    };
    let short = |at: &Zoned| zone.to_offset_info(at.timestamp()).abbreviation().to_string();
    let (before, after) = (short(&first), short(&last));
    let short = if before == after { after } else { format!("{before}, then {after}") };
    match zone.iana_name() {
        Some(name) if name != short => format!("{days}, {name} ({short})"),
        _ => format!("{days}, {short}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().expect("a time").as_millisecond()
    }

    #[track_caller]
    fn check(from: &str, to: &str, zone: &str, expected: &[&str], caption_expected: &str) {
        let zone = TimeZone::get(zone).expect("a zone");
        let (from, to) = (at(from), at(to));
        let texts: Vec<String> = marks(from, to, &zone, 5).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, expected);
        assert_eq!(caption(from, to, &zone), caption_expected);
    }

    #[test]
    fn marks_are_round_in_the_zone() {
        let expected = ["15:35", "15:40", "15:45"];
        check(
            "2026-11-21T10:03:00Z",
            "2026-11-21T10:19:00Z",
            "Asia/Kolkata",
            &expected,
            "21 Nov 2026, Asia/Kolkata (IST)",
        );
    }

    #[test]
    fn midnight_is_written_as_its_day() {
        let expected = ["23:30", "22 Nov", "00:30"];
        check("2026-11-21T23:15:00Z", "2026-11-22T00:55:00Z", "UTC", &expected, "21 Nov to 22 Nov 2026, UTC");
    }

    #[test]
    fn months_begin_with_their_first() {
        let expected = ["Dec 2025", "Jan 2026", "Feb 2026", "Mar 2026"];
        let caption = "21 Nov 2025 to 20 Mar 2026, Europe/Berlin (CET)";
        check("2025-11-21T10:00:00Z", "2026-03-20T10:00:00Z", "Europe/Berlin", &expected, caption);
    }

    #[test]
    fn a_repeated_hour_has_both_its_marks() {
        let expected = ["01:00", "02:00", "02:00", "03:00", "04:00"];
        let caption = "25 Oct 2026, Europe/Berlin (CEST, then CET)";
        check("2026-10-24T22:30:00Z", "2026-10-25T03:15:00Z", "Europe/Berlin", &expected, caption);
    }

    #[test]
    fn a_missing_hour_has_no_mark() {
        let expected = ["00:00", "04:00", "06:00", "08:00"];
        let zone = TimeZone::get("Europe/Berlin").expect("a zone");
        let marks = marks(at("2026-03-28T23:00:00Z"), at("2026-03-29T07:30:00Z"), &zone, 5);
        assert!(marks.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(marks.last().map(|(_, text)| text.as_str()), expected.last().copied());
    }

    #[test]
    fn any_span_has_few_marks() {
        let from = at("2026-11-21T10:03:00.123Z");
        let mut span = 1;
        while let Some(to) = from.checked_add(span).filter(|to| zoned(*to, &TimeZone::UTC).is_some()) {
            assert!(marks(from, to, &TimeZone::UTC, 5).len() <= 7, "{span} ms");
            span *= 3;
        }
    }
}
