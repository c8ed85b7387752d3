//! Filters of templates: times, spans, numbers and lines as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind};

/// Columns of wrapped text.
const COLUMNS: usize = 78;

/// Makes ours known to templates. `time` needs the zone and is added for each rendering.
pub fn add(environment: &mut Environment<'static>) {
    environment.add_filter("duration", |ms: i64| duration(ms));
    environment.add_filter("number", |value: f64| number(value));
    environment.add_filter("wrap", |text: String| wrap(&text, COLUMNS));
    environment.add_filter("links", |text: String| Value::from_safe_string(links(&text)));
    environment.add_filter("time", |state: &minijinja::State<'_, '_>, ms: i64| {
        let zone = state.lookup("zone");
        let zone = zone.as_ref().and_then(|zone| zone.as_str()).unwrap_or("UTC");
        let zone = TimeZone::get(zone)
            .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("zone is {zone:?}: {error}")))?;
        Ok::<_, Error>(time(ms, &zone))
    });
}

/// An instant (unix ms) in a zone: `2026-11-21 18:00:05 CET`; `?` if there is no such instant.
pub fn time(ms: i64, zone: &TimeZone) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(at) => at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
        Err(_) => "?".to_string(),
    }
}

/// A span in ms by its two greatest units: `45 s`, `12 min 5 s`, `2 h 5 min`, `3 d 4 h`. Less than nothing is nothing.
pub fn duration(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (value, unit, rest, rest_unit) = match seconds {
        0..60 => return format!("{seconds} s"),
        60..3600 => (seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => (seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => (seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    };
    match rest {
        0 => format!("{value} {unit}"),
        rest => format!("{value} {unit} {rest} {rest_unit}"),
    }
}

/// A number as short as it can be without hiding anything that matters: whole below 10^15, else four significant digits.
pub fn number(value: f64) -> String {
    if value.is_nan() {
        return "no number".to_string();
    }
    if value.is_infinite() {
        return if value > 0.0 { "infinite" } else { "-infinite" }.to_string();
    }
    if value == 0.0 {
        return "0".to_string();
    }
    let magnitude = value.abs().log10().floor();
    if !(-5.0..15.0).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    if value.fract() == 0.0 || magnitude >= 3.0 {
        return format!("{value:.0}");
    }
    // Four significant digits, without zeros at the end.
    let text = format!("{value:.*}", (3.0 - magnitude) as usize);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Breaks lines at spaces so that none has more than so many characters, unless a single word has.
pub fn wrap(text: &str, columns: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut current = String::new();
        let mut width = 0;
        for word in line.split_whitespace() {
            let word_width = word.chars().count();
            if width > 0 && width + 1 + word_width > columns {
                lines.push(std::mem::take(&mut current));
                width = 0;
            }
            if width > 0 {
                current.push(' ');
                width += 1;
            }
            current.push_str(word);
            width += word_width;
        }
        lines.push(current);
    }
    lines.join("\n")
}

/// The text for a place between tags or quotes of HTML.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The text escaped for HTML, with its http and https addresses as links.
pub fn links(text: &str) -> String {
    with_links(text, escape, |address| {
        let escaped = escape(address);
        format!("<a href=\"{escaped}\">{escaped}</a>")
    })
}

/// The text with `plain` made of what is no address, and `link` of each http or https address. An address holds no white
/// space, quotes, bars, backslashes or angle brackets.
pub fn with_links(text: &str, plain: impl Fn(&str) -> String, link: impl Fn(&str) -> String) -> String {
    let mut made = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find("http://").into_iter().chain(rest.find("https://")).min() {
        let end = rest[begin..].find(|c: char| c.is_whitespace() || "<>\"'`|\\".contains(c));
        let end = end.map_or(rest.len(), |length| begin + length);
        // A stop or bracket after an address is the sentence's.
        let address = rest[begin..end].trim_end_matches(['.', ',', ';', ':', ')', '!', '?']);
        made.push_str(&plain(&rest[..begin]));
        made.push_str(&link(address));
        rest = &rest[begin + address.len()..];
    }
    made.push_str(&plain(rest));
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_their_two_greatest_units() {
        let spans = [-5, 999, 59_999, 60_000, 725_000, 7_500_000, 273_600_000].map(duration);
        assert_eq!(spans, ["0 s", "0 s", "59 s", "1 min", "12 min 5 s", "2 h 5 min", "3 d 4 h"]);
    }

    #[test]
    fn numbers_are_short_and_lose_nothing_that_matters() {
        let numbers = [1160.0, 0.1, 0.123_456, -2.5, 1234.56, 98.76, 0.0, 1e300, 1e-9, f64::NAN].map(number);
        assert_eq!(
            numbers,
            ["1160", "0.1", "0.1235", "-2.5", "1235", "98.76", "0", "1.000e300", "1.000e-9", "no number"]
        );
    }

    #[test]
    fn times_are_told_in_the_zone_with_its_name() {
        let zone = TimeZone::get("Europe/Berlin").expect("bundled");
        assert_eq!(time(1_795_280_405_000, &zone), "2026-11-21 18:00:05 CET");
        assert_eq!(time(1_784_000_000_000, &zone), "2026-07-14 05:33:20 CEST");
        assert_eq!(time(i64::MAX, &zone), "?");
    }

    #[test]
    fn lines_break_at_spaces() {
        assert_eq!(wrap("one two three\nfour", 8), "one two\nthree\nfour");
        assert_eq!(wrap("a-very-long-word b", 4), "a-very-long-word\nb");
    }

    #[test]
    fn addresses_become_links_and_everything_else_is_escaped() {
        assert_eq!(
            links("see https://a.example/x?a=1&b=2 (the <b>)."),
            "see <a href=\"https://a.example/x?a=1&amp;b=2\">https://a.example/x?a=1&amp;b=2</a> \
             (the &lt;b&gt;)."
        );
        assert!(!links("javascript:alert(1) http://\" onclick=x").contains("\" onclick"));
    }
}
