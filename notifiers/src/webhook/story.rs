//! What a chat is told, as parts that each chat puts into its own markup within its own limits.

use tocsin_proto::pb::notification::{Alert, Notification, Reason, Status};

use crate::config::Context;
use crate::template::{ALERTS_SHOWN, Headline, duration, measured, summary, time};
use crate::text::line;

/// Most characters of one part.
const PART_MAX: usize = 600;

/// A notification told in parts.
#[derive(Debug, Clone, Default)]
pub struct Story {
    /// The title, by the receiver's template if it has one.
    pub title: String,
    /// The plain text, by the receiver's template if it has one.
    pub text: String,
    /// Severity, state and colour.
    pub headline: Headline,
    /// The alerts shown in full; empty if the receiver has a template for texts, which then is all that is told.
    pub items: Vec<Item>,
    /// How many alerts are not shown, if any; then `What to do`, `Why` and the like, once a rule.
    pub advice: Vec<(String, String)>,
    /// Small print: why it is sent, and where more is.
    pub footer: String,
    /// Link to tocsin; empty if there is none.
    pub link: String,
    /// When it was decided, unix ms.
    pub decided_at: i64,
}

/// An alert.
#[derive(Debug, Clone, Default)]
pub struct Item {
    /// What is wrong.
    pub summary: String,
    /// Value, times, labels: a line each.
    pub details: Vec<String>,
}

impl Story {
    /// The parts of a notification.
    pub fn of(notification: &Notification, context: &Context) -> Self {
        let message = context.templates.render(notification, &context.zone);
        let mut story = Story {
            title: message.title,
            text: message.text,
            headline: Headline::of(notification),
            footer: footer(notification),
            decided_at: notification.decided_at,
            ..Story::default()
        };
        if notification.external_url.starts_with("http") {
            story.link = line(&notification.external_url, PART_MAX);
        }
        if context.templates.has("text") {
            return story;
        }
        let shown = notification.alerts.iter().take(ALERTS_SHOWN);
        story.items = shown.map(|alert| Item::of(alert, notification.decided_at, context)).collect();
        story.advice = advice(notification);
        story
    }

    /// The text without its first line, which is the title.
    pub fn body(&self) -> &str {
        let rest = self.text.trim_start().strip_prefix(self.title.as_str());
        rest.filter(|rest| rest.starts_with('\n')).unwrap_or(&self.text).trim()
    }
}

impl Item {
    fn of(alert: &Alert, decided_at: i64, context: &Context) -> Self {
        let evidence = alert.evidence.clone().unwrap_or_default();
        let at = |ms: i64| time(ms, &context.zone);
        let lasted = |until: i64| duration(until.saturating_sub(alert.starts_at));
        let times = match alert.status() {
            Status::Resolved => format!("resolved {} after {}", at(alert.ends_at), lasted(alert.ends_at)),
            _ => format!("since {} ({})", at(alert.starts_at), lasted(decided_at)),
        };
        let by = match alert.acknowledged_by.as_str() {
            "" => String::new(),
            by => format!("acknowledged by {}", line(by, PART_MAX)),
        };
        let id = format!("id {}", line(&alert.fingerprint, PART_MAX));
        let details = [measured(alert, &evidence), times, by, id];
        let details = details.into_iter().filter(|detail| !detail.is_empty()).collect();
        Item { summary: line(&summary(alert), PART_MAX), details }
    }
}

fn advice(notification: &Notification) -> Vec<(String, String)> {
    const KINDS: [(&str, &str); 3] =
        [("runbook", "What to do"), ("why", "Why"), ("false_positives", "May be harmless")];
    let firing =
        notification.alerts.iter().take(ALERTS_SHOWN).filter(|alert| alert.status() == Status::Firing);
    let mut rules: Vec<&str> = Vec::new();
    let mut advice = Vec::new();
    for alert in firing {
        let rule = alert.labels.get("alertname").map_or("", String::as_str);
        if rules.contains(&rule) {
            continue;
        }
        rules.push(rule);
        for (annotation, title) in KINDS {
            let text = alert.annotations.get(annotation).map_or("", String::as_str);
            if !text.trim().is_empty() {
                advice.push((title.to_string(), line(text, PART_MAX)));
            }
        }
    }
    let left_out = notification.alerts.len().saturating_sub(ALERTS_SHOWN) as u64
        + u64::from(notification.truncated_alerts);
    if left_out > 0 {
        // First, so that nothing else takes its place where there is little.
        advice.insert(0, ("Not shown".to_string(), format!("{left_out} more alerts")));
    }
    advice
}

fn footer(notification: &Notification) -> String {
    let mut footer = match notification.reason() {
        Reason::Unspecified => String::new(),
        _ => line(&notification.reason_text, PART_MAX),
    };
    if let Some(alert) = notification.alerts.first() {
        let separator = if footer.is_empty() { "" } else { " · " };
        footer.push_str(&format!("{separator}tocsin alerts explain {}", line(&alert.fingerprint, PART_MAX)));
    }
    footer
}
