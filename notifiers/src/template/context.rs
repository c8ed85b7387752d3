//! What templates are given: the notification's fields as plain names, and what is derived from them.
//!
//! Labels and annotations hold what attackers wrote (user agents of peers, say): every text here is one line without
//! control characters, and has a bound.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use minijinja::Value;
use tocsin_proto::pb::notification::{Alert, Evidence, Notification, Reason, Status};

use super::filters;
use super::headline::Headline;
use crate::plot;
use crate::text::{cut, line};

/// Most characters of a label's value or a name.
const LABEL_MAX: usize = 200;
/// Most characters of a summary or a reason.
const SUMMARY_MAX: usize = 1000;
/// Most characters of any other annotation.
const ANNOTATION_MAX: usize = 3000;
/// Points of a line of blocks.
const SPARKLINE_POINTS: usize = 24;
/// Labels that the title tells already.
const TOLD: [&str; 4] = ["alertname", "node", "severity", "status"];

/// Names known to templates, besides those of minijinja; a test and the README tell what they are.
pub const NAMES: [&str; 28] = [
    "alerts",
    "color",
    "common_annotations",
    "common_labels",
    "decided_at",
    "external_url",
    "firing",
    "group_key",
    "group_labels",
    "headline",
    "headline_rest",
    "headline_state",
    "id",
    "link",
    "names",
    "nodes",
    "number",
    "others",
    "reason",
    "reason_text",
    "receiver",
    "resolved",
    "rules",
    "severity",
    "status",
    "thread",
    "truncated_alerts",
    "zone",
];

type Map = BTreeMap<&'static str, Value>;

/// The context for a notification under a headline, with at most `shown` alerts in `rules`.
pub fn context(notification: &Notification, headline: &Headline, zone: &TimeZone, shown: usize) -> Value {
    let alerts: Vec<Value> =
        notification.alerts.iter().map(|one| alert(one, notification.decided_at)).collect();
    let with = |status: Status| -> Vec<Value> {
        let pairs = notification.alerts.iter().zip(&alerts);
        pairs.filter(|(alert, _)| alert.status() == status).map(|(_, value)| value.clone()).collect()
    };
    let link = &notification.external_url;
    let is_link = link.starts_with("http://") || link.starts_with("https://");
    let context = Map::from([
        ("id", text(&notification.id, LABEL_MAX)),
        ("decided_at", Value::from(notification.decided_at)),
        ("receiver", text(&notification.receiver, LABEL_MAX)),
        ("group_key", text(&notification.group_key, SUMMARY_MAX)),
        ("reason", Value::from(reason_name(notification.reason()))),
        ("reason_text", text(&notification.reason_text, SUMMARY_MAX)),
        ("group_labels", labels(&notification.group_labels)),
        ("common_labels", labels(&notification.common_labels)),
        ("common_annotations", annotations(&notification.common_annotations)),
        ("firing", Value::from(with(Status::Firing))),
        ("resolved", Value::from(with(Status::Resolved))),
        ("rules", rules(&notification.alerts[..shown.min(notification.alerts.len())], &alerts)),
        ("others", Value::from(others(notification, shown))),
        ("alerts", Value::from(alerts)),
        ("truncated_alerts", Value::from(notification.truncated_alerts)),
        ("thread", text(&notification.thread, LABEL_MAX)),
        ("number", Value::from(notification.number)),
        ("external_url", text(link, SUMMARY_MAX)),
        ("link", if is_link { text(link, SUMMARY_MAX) } else { Value::from("") }),
        ("status", Value::from(headline.status)),
        ("severity", Value::from(headline.severity)),
        ("color", Value::from(headline.color())),
        ("names", Value::from(headline.names.clone())),
        ("nodes", Value::from(headline.nodes.clone())),
        ("headline", Value::from(headline.line())),
        ("headline_state", Value::from(headline.state.clone())),
        ("headline_rest", Value::from(headline.rest.clone())),
        ("zone", Value::from(zone.iana_name().unwrap_or("UTC"))),
    ]);
    Value::from(context)
}

/// A reason as templates know it: `first_notification`. Alertmanager's webhook has words in its place (`first notification`).
pub fn reason_name(reason: Reason) -> String {
    reason.as_str_name().to_ascii_lowercase()
}

fn text(text: &str, max: usize) -> Value {
    Value::from(line(text, max))
}

fn labels(labels: &BTreeMap<String, String>) -> Value {
    let pairs = labels.iter().map(|(name, value)| (name.clone(), text(value, LABEL_MAX)));
    Value::from(pairs.collect::<BTreeMap<String, Value>>())
}

fn annotations(annotations: &BTreeMap<String, String>) -> Value {
    let pairs = annotations.iter().map(|(name, value)| (name.clone(), text(value, ANNOTATION_MAX)));
    Value::from(pairs.collect::<BTreeMap<String, Value>>())
}

/// One alert: its fields as plain names, and what is derived from them.
fn alert(alert: &Alert, decided_at: i64) -> Value {
    let label = |name: &str| alert.labels.get(name).map_or("", String::as_str);
    let small: Vec<String> = alert
        .labels
        .iter()
        .filter(|(name, _)| !TOLD.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}={}", line(value, LABEL_MAX)))
        .collect();
    let small = cut(&small.join(" "), SUMMARY_MAX);
    let is_resolved = alert.status() == Status::Resolved;
    let until = if is_resolved { alert.ends_at } else { decided_at };
    let evidence = alert.evidence.clone().unwrap_or_default();
    let id_line = if small.is_empty() {
        format!("id {}", line(&alert.fingerprint, LABEL_MAX))
    } else {
        format!("{small} (id {})", line(&alert.fingerprint, LABEL_MAX))
    };
    Value::from(Map::from([
        ("fingerprint", text(&alert.fingerprint, LABEL_MAX)),
        ("status", Value::from(if is_resolved { "resolved" } else { "firing" })),
        ("labels", labels(&alert.labels)),
        ("annotations", annotations(&alert.annotations)),
        ("name", text(label("alertname"), LABEL_MAX)),
        ("node", text(label("node"), LABEL_MAX)),
        ("severity", text(label("severity"), LABEL_MAX)),
        ("summary", Value::from(summary(alert))),
        ("starts_at", Value::from(alert.starts_at)),
        ("ends_at", if is_resolved { Value::from(alert.ends_at) } else { Value::from(()) }),
        ("lasted_ms", Value::from(until.saturating_sub(alert.starts_at).max(0))),
        ("value", Value::from(alert.value)),
        ("limit", Value::from(alert.limit)),
        ("quantity", text(&evidence.quantity, LABEL_MAX)),
        ("unit", text(&evidence.unit, LABEL_MAX)),
        ("measured", Value::from(measured(alert, &evidence))),
        ("sparkline", Value::from(sparkline(&evidence))),
        ("acknowledged_by", text(&alert.acknowledged_by, LABEL_MAX)),
        ("flapping", Value::from(alert.flapping)),
        ("labels_small", Value::from(small)),
        ("id_line", Value::from(id_line)),
    ]))
}

/// What an alert says in one line; its name if its rule gave no summary.
pub fn summary(alert: &Alert) -> String {
    let given = alert.annotations.get("summary").map(|summary| line(summary, SUMMARY_MAX));
    let name = || alert.labels.get("alertname").map_or("an alert without a name", String::as_str);
    given.filter(|summary| !summary.is_empty()).unwrap_or_else(|| line(name(), LABEL_MAX))
}

/// `1160 against a limit of 60 (sum of message.addresses over 10m)`; empty if nothing was measured. Units are those of
/// plots: spans of time in the unit that suits them, and none for a number of things.
pub fn measured(alert: &Alert, evidence: &Evidence) -> String {
    let unit = line(&evidence.unit, LABEL_MAX);
    let what = match line(&evidence.quantity, LABEL_MAX).as_str() {
        "" => String::new(),
        quantity => format!(" ({quantity})"),
    };
    match (alert.value, alert.limit) {
        (Some(value), Some(limit)) => {
            format!("{} against a limit of {}{what}", with_unit(value, &unit), with_unit(limit, &unit))
        }
        (Some(value), None) => format!("{}{what}", with_unit(value, &unit)),
        (None, _) => String::new(),
    }
}

/// `45.1 s` of 45140 ms, `12 mB` of 12 mB, `5` of a count of 5.
fn with_unit(value: f64, unit: &str) -> String {
    let (factor, unit) = plot::shown_unit(unit, value.abs());
    let number = if factor == 1.0 { filters::number(value) } else { plot::short(value / factor) };
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}

/// The evidence as a line of blocks, each the greatest of its part; empty if there are fewer than two points.
fn sparkline(evidence: &Evidence) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values: Vec<f64> =
        evidence.points.iter().map(|point| point.value).filter(|value| value.is_finite()).collect();
    if values.len() < 2 {
        return String::new();
    }
    let chunk = values.len().div_ceil(SPARKLINE_POINTS);
    let parts: Vec<f64> =
        values.chunks(chunk).map(|part| part.iter().copied().fold(f64::NEG_INFINITY, f64::max)).collect();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let block = |value: &f64| {
        let share = (value - least) / (greatest - least);
        // All the same: the lowest block, as no share of nothing is known.
        BLOCKS[if share.is_finite() { (share * 7.0).round() as usize } else { 0 }.min(7)]
    };
    parts.iter().map(block).collect()
}

/// The shown alerts by rule, in the order in which rules first appear; what to do is said once a rule.
fn rules(shown: &[Alert], values: &[Value]) -> Value {
    let mut rules: Vec<(String, Vec<usize>)> = Vec::new();
    for (index, alert) in shown.iter().enumerate() {
        let name = alert.labels.get("alertname").cloned().unwrap_or_default();
        match rules.iter_mut().find(|(known, _)| *known == name) {
            Some((_, indexes)) => indexes.push(index),
            None => rules.push((name, vec![index])),
        }
    }
    let rule = |(name, indexes): &(String, Vec<usize>)| {
        let first = &shown[indexes[0]];
        let annotation =
            |name: &str| text(first.annotations.get(name).map_or("", String::as_str), ANNOTATION_MAX);
        let has_firing = indexes.iter().any(|index| shown[*index].status() == Status::Firing);
        let alerts: Vec<Value> = indexes.iter().map(|index| values[*index].clone()).collect();
        Value::from(Map::from([
            ("name", text(name, LABEL_MAX)),
            ("severity", text(first.labels.get("severity").map_or("", String::as_str), LABEL_MAX)),
            ("runbook", annotation("runbook")),
            ("why", annotation("why")),
            ("false_positives", annotation("false_positives")),
            ("references", annotation("references")),
            ("has_firing", Value::from(has_firing)),
            ("alerts", Value::from(alerts)),
        ]))
    };
    Value::from(rules.iter().map(rule).collect::<Vec<Value>>())
}

/// Alerts that are not shown in full, counted by name and node: `12 of addr_flood on hal, 3 more`.
fn others(notification: &Notification, shown: usize) -> String {
    const KINDS_MAX: usize = 20;
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for alert in notification.alerts.iter().skip(shown) {
        let label = |name: &str| alert.labels.get(name).map_or("", String::as_str);
        *counts.entry((label("alertname"), label("node"))).or_default() += 1;
    }
    let kinds = counts.iter().take(KINDS_MAX).map(|((name, node), count)| {
        let (name, node) = (line(name, LABEL_MAX), line(node, LABEL_MAX));
        if node.is_empty() { format!("{count} of {name}") } else { format!("{count} of {name} on {node}") }
    });
    let mut kinds: Vec<String> = kinds.collect();
    let rest = counts.values().skip(KINDS_MAX).sum::<u32>().saturating_add(notification.truncated_alerts);
    if rest > 0 {
        kinds.push(format!("{rest} more"));
    }
    kinds.join(", ")
}

#[cfg(test)]
mod tests {
    use tocsin_proto::pb::notification::Point;

    use super::*;

    #[test]
    fn every_name_of_the_context_is_a_known_one() {
        let context = context(&Notification::default(), &Headline::default(), &TimeZone::UTC, 10);
        let mut names: Vec<String> =
            context.try_iter().expect("a map").map(|name| name.to_string()).collect();
        names.sort();
        let mut known = NAMES.to_vec();
        known.sort_unstable();
        assert_eq!(names, known);
    }

    #[test]
    fn every_name_is_documented() {
        let manual = include_str!("../../README.md");
        for name in NAMES {
            assert!(manual.contains(&format!("`{name}`")), "{name} is missing in notifiers/README.md");
        }
        let reasons = (1..=11).map(|number| reason_name(Reason::try_from(number).expect("a reason")));
        for reason in reasons {
            assert!(manual.contains(&format!("`{reason}`")), "{reason} is missing in notifiers/README.md");
        }
    }

    #[test]
    fn what_was_measured_has_the_units_of_plots() {
        let check = |value: f64, limit: Option<f64>, unit: &str, expected: &str| {
            let evidence = Evidence { unit: unit.to_string(), ..Evidence::default() };
            let alert = Alert { value: Some(value), limit, ..Alert::default() };
            assert_eq!(measured(&alert, &evidence), expected);
        };
        check(5.0, Some(10.0), "count", "5 against a limit of 10");
        check(0.75, None, "1", "0.75");
        check(45_140.0, Some(30_000.0), "ms", "45.1 s against a limit of 30 s");
        check(45_140.0, Some(250.0), "ms", "45.1 s against a limit of 250 ms");
        check(7_500.0, Some(200_000.0), "s", "2.08 h against a limit of 2.31 days");
        check(12_500.0, Some(1e6), "bytes", "12500 bytes against a limit of 1000000 bytes");
        check(-20.0, None, "s", "-20 s");
        check(f64::NAN, Some(f64::INFINITY), "ms", "no number ms against a limit of infinite ms");
    }

    #[test]
    fn evidence_becomes_a_line_of_blocks() {
        let evidence = |values: &[f64]| Evidence {
            points: values.iter().map(|value| Point { value: *value, ..Point::default() }).collect(),
            ..Evidence::default()
        };
        assert_eq!(sparkline(&evidence(&[0.0, 1.0, 7.0])), "▁▂█");
        assert_eq!(sparkline(&evidence(&[5.0, 5.0, f64::NAN])), "▁▁");
        assert_eq!(sparkline(&evidence(&[5.0])), "");
        assert_eq!(sparkline(&evidence(&[-f64::MAX, f64::MAX])).chars().count(), 2);
        let many: Vec<f64> = (0..1000).map(f64::from).collect();
        assert!(sparkline(&evidence(&many)).chars().count() <= SPARKLINE_POINTS);
    }
}
