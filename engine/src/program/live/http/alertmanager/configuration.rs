//! Routing as Alertmanager's YAML, for `amtool config show` and `amtool config routes`.
//!
//! Receivers are there by name only: how they are reached is nobody's business. What Alertmanager has no word for, such as
//! escalation, is a comment; time intervals are names, since `amtool` asks for no more.

use std::fmt::Write as _;

use tocsin_engine::dispatch::matcher::Matcher;
use tocsin_engine::dispatch::routing::{InhibitRule, Route};
use tocsin_proto::Span;

use super::super::super::config::Config;

/// The text.
pub fn text(config: &Config) -> String {
    let Some(dispatch) = &config.dispatch else {
        return "# Dispatch is off: tocsin's configuration has no [[receiver]].\n".to_string();
    };
    let mut text =
        String::from("# Made from tocsin's configuration; its [dispatch] has all of it.\nroute:\n");
    route(&mut text, &dispatch.route, 1);
    text.push_str("receivers:\n");
    for receiver in &config.receivers {
        let _ = writeln!(text, "- name: {} # {}", quoted(&receiver.name), receiver.integration());
    }
    if !dispatch.inhibit_rules.is_empty() {
        text.push_str("inhibit_rules:\n");
    }
    for rule in &dispatch.inhibit_rules {
        inhibit_rule(&mut text, rule);
    }
    if !dispatch.time_intervals.is_empty() {
        text.push_str("time_intervals:\n");
    }
    for interval in &dispatch.time_intervals {
        let _ = writeln!(text, "- name: {}\n  time_intervals: []", quoted(&interval.name));
    }
    text
}

fn route(text: &mut String, route: &Route, depth: usize) {
    let mut lines: Vec<String> = Vec::new();
    if let Some(receiver) = &route.receiver {
        lines.push(format!("receiver: {}", quoted(receiver)));
    }
    if let Some(labels) = &route.group_by {
        lines.push(format!("group_by: {}", list(labels)));
    }
    if !route.matchers.is_empty() {
        lines.push(format!("matchers: {}", matchers(&route.matchers)));
    }
    for (name, span) in [
        ("group_wait", route.group_wait),
        ("group_interval", route.group_interval),
        ("repeat_interval", route.repeat_interval),
    ] {
        lines.extend(span.map(|span| format!("{name}: {}", duration(span))));
    }
    if route.r#continue {
        lines.push("continue: true".to_string());
    }
    for (name, names) in [
        ("mute_time_intervals", &route.mute_time_intervals),
        ("active_time_intervals", &route.active_time_intervals),
    ] {
        if !names.is_empty() {
            lines.push(format!("{name}: {}", list(names)));
        }
    }
    for step in route.escalate.iter().flatten() {
        lines.push(format!("# escalates to {} after {}", quoted(&step.receiver), duration(step.after)));
    }
    if !route.routes.is_empty() {
        lines.push("routes:".to_string());
    }
    let indent = "  ".repeat(depth);
    for line in lines {
        let _ = writeln!(text, "{indent}{line}");
    }
    for below in &route.routes {
        let mut inner = String::new();
        self::route(&mut inner, below, depth + 1);
        // A route without any option takes everything, but must be there.
        if inner.lines().all(|line| line.trim_start().starts_with('#')) {
            let _ = writeln!(inner, "{indent}  {{}}");
        }
        let _ = write!(text, "{indent}-\n{inner}");
    }
}

fn inhibit_rule(text: &mut String, rule: &InhibitRule) {
    let _ = writeln!(text, "- source_matchers: {}", matchers(&rule.source_matchers));
    let _ = writeln!(text, "  target_matchers: {}", matchers(&rule.target_matchers));
    let _ = writeln!(text, "  equal: {}", list(&rule.equal));
}

fn matchers(matchers: &[Matcher]) -> String {
    list(&matchers.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

/// A text in single quotes on one line, where YAML gives no character but the quote a meaning.
fn quoted(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("'{}'", line.replace('\'', "''"))
}

/// Alertmanager has no spans with a fraction, and none of nothing but `0s`.
fn duration(span: Span) -> String {
    match span.millis() {
        millis if millis % 1000 == 0 => format!("{}s", millis / 1000),
        millis => format!("{millis}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_leave_their_quotes() {
        assert_eq!(quoted("a'b\n- c: #"), "'a''b - c: #'");
    }
}
