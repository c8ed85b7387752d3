//! The first line: what is wrong, where.

use tocsin_proto::pb::notification::{Alert, Notification, Reason, Status};

use super::TITLE_MAX;
use crate::text::{cut, line};

/// Most characters of one name in it.
const NAME_MAX: usize = 60;
/// Names told one by one; of more, the first ones and a count.
const NAMES_TOLD: usize = 3;

/// The first line in two parts, and what it is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headline {
    /// `[FIRING 2]`.
    pub state: String,
    /// `addr_flood on hal (critical)`.
    pub rest: String,
    /// `firing` or `resolved`.
    pub status: &'static str,
    /// The worst severity of the alerts that fire, else of all; empty if none has one.
    pub severity: &'static str,
    /// Rules of the alerts, in their order, each once.
    pub names: Vec<String>,
    /// Nodes of the alerts, in their order, each once.
    pub nodes: Vec<String>,
}

impl Headline {
    /// The headline of a notification.
    pub fn of(notification: &Notification) -> Self {
        let is_firing = |alert: &&Alert| alert.status() == Status::Firing;
        let firing: Vec<&Alert> = notification.alerts.iter().filter(is_firing).collect();
        let resolved = notification.alerts.len() - firing.len();
        let all: Vec<&Alert> = notification.alerts.iter().collect();
        // While something fires, what no longer does is none of the first line's business.
        let told = if firing.is_empty() { &all } else { &firing };
        let mut headline = Headline {
            state: String::new(),
            rest: String::new(),
            status: if firing.is_empty() && resolved > 0 { "resolved" } else { "firing" },
            severity: worst(told),
            names: distinct(told, "alertname"),
            nodes: distinct(told, "node"),
        };
        headline.state = state(notification, firing.len(), resolved);
        headline.rest = headline.subject(notification);
        headline
    }

    /// The same under another title.
    pub fn titled(&self, title: &str) -> Self {
        Headline { state: String::new(), rest: title.to_string(), ..self.clone() }
    }

    /// The whole line.
    pub fn line(&self) -> String {
        let line = format!("{} {}", self.state, self.rest);
        cut(line.trim(), TITLE_MAX)
    }

    /// A colour that is readable on light and on dark ground.
    pub fn color(&self) -> &'static str {
        match (self.status, self.severity) {
            ("resolved", _) => "#43a047",
            (_, "critical") => "#e53935",
            (_, "warning") => "#fb8c00",
            _ => "#1e88e5",
        }
    }

    fn subject(&self, notification: &Notification) -> String {
        if notification.reason() == Reason::Emergency {
            let first = notification.alerts.first().and_then(|alert| alert.annotations.get("summary"));
            return line(first.unwrap_or(&notification.reason_text), TITLE_MAX);
        }
        let mut subject = list(&self.names, "rules");
        if subject.is_empty() {
            subject = line(&notification.reason_text, TITLE_MAX);
        }
        if !self.nodes.is_empty() {
            subject.push_str(&format!(" on {}", list(&self.nodes, "nodes")));
        }
        if self.status == "firing" && !self.severity.is_empty() {
            subject.push_str(&format!(" ({})", self.severity));
        }
        subject
    }
}

/// `[FIRING 2, RESOLVED 1]`, with what is special about this notification before it.
fn state(notification: &Notification, firing: usize, resolved: usize) -> String {
    let more = if notification.truncated_alerts > 0 { "+" } else { "" };
    let counts = match (firing, resolved) {
        (0, 0) => String::new(),
        (0, 1) if more.is_empty() => "RESOLVED".to_string(),
        (0, resolved) => format!("RESOLVED {resolved}{more}"),
        // Firing alerts come first, so those that were left out may be firing only if no resolved one is listed.
        (firing, 0) => format!("FIRING {firing}{more}"),
        (firing, resolved) => format!("FIRING {firing}, RESOLVED {resolved}{more}"),
    };
    let special = match notification.reason() {
        Reason::Escalation => "ESCALATED",
        Reason::Flapping => "FLAPPING",
        Reason::Settled => "SETTLED",
        Reason::Digest => "DIGEST",
        // A test fires nothing, and the program's own trouble is no group of alerts: counts would mislead.
        Reason::Test => return "[TEST]".to_string(),
        Reason::Emergency => return "[EMERGENCY]".to_string(),
        _ => "",
    };
    match (special, counts.as_str()) {
        ("", "") => String::new(),
        ("", counts) => format!("[{counts}]"),
        (special, "") => format!("[{special}]"),
        // What flaps is neither.
        ("FLAPPING", _) => "[FLAPPING]".to_string(),
        (special, counts) => format!("[{special}, {counts}]"),
    }
}

fn worst(alerts: &[&Alert]) -> &'static str {
    let has = |severity: &&str| {
        alerts.iter().any(|alert| alert.labels.get("severity").map(String::as_str) == Some(*severity))
    };
    ["critical", "warning", "info"].into_iter().find(has).unwrap_or("")
}

fn distinct(alerts: &[&Alert], label: &str) -> Vec<String> {
    let mut values: Vec<String> = Vec::new();
    for value in alerts.iter().filter_map(|alert| alert.labels.get(label)) {
        let value = line(value, NAME_MAX);
        if !value.is_empty() && !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

/// `a, b, c`, or `a, b and 5 more nodes`.
fn list(names: &[String], kind: &str) -> String {
    if names.len() <= NAMES_TOLD {
        return names.join(", ");
    }
    let told = &names[..NAMES_TOLD - 1];
    format!("{} and {} more {kind}", told.join(", "), names.len() - told.len())
}
