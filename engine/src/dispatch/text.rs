//! Texts for people: spans of time, and bounds, as labels and summaries hold what peers send.

use super::alert::Labels;

/// The text, cut so that it has at most `bytes_max` bytes and a mark.
pub(super) fn bounded(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_string();
    }
    let end = (0..=bytes_max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}...", &text[..end])
}

/// A span in its two largest units: `2h 5m`.
pub(super) fn span(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(unit, _)| seconds >= *unit);
    let Some(first) = first else { return format!("{} ms", ms.max(0)) };
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, name) in &units[first..units.len().min(first + 2)] {
        if rest / unit > 0 {
            parts.push(format!("{}{name}", rest / unit));
        }
        rest %= unit;
    }
    parts.join(" ")
}

/// `1 alert`, `2 alerts`.
pub(super) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Labels as Alertmanager prints them: `{alertname="x", node="y"}`.
pub(super) fn labels(labels: &Labels) -> String {
    let parts: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_two_units() {
        let told = [0, 999, 1000, 90_000, 3_600_000, 7_500_000, 90_061_000].map(span);
        assert_eq!(told, ["0 ms", "999 ms", "1s", "1m 30s", "1h", "2h 5m", "1d 1h"]);
    }

    #[test]
    fn a_cut_does_not_split_a_character() {
        assert_eq!(bounded("aé", 3), "aé");
        assert_eq!(bounded("aéé", 4), "aé...");
    }
}
