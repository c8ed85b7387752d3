//! Alertmanager's webhook payload, version 4.
//! Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config.

use serde_json::{Value, json};
use tocsin_proto::pb::notification::{Alert, Notification, Reason, Status};

use super::truncated;
use crate::template::{Headline, reason_name};
use crate::text;

/// Go's zero time: the end of what has not ended.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The body, with at most so many alerts; 0 is no limit.
pub fn body(notification: &Notification, alerts_max: u32) -> Value {
    let status = Headline::of(notification).status;
    let notification = truncated(notification, alerts_max);
    json!({
        "version": "4",
        "groupKey": notification.group_key,
        "truncatedAlerts": notification.truncated_alerts,
        "status": status,
        "receiver": notification.receiver,
        "groupLabels": notification.group_labels,
        "commonLabels": notification.common_labels,
        "commonAnnotations": notification.common_annotations,
        "externalURL": notification.external_url,
        "notification_reason": reason(notification.reason()),
        "alerts": notification.alerts.iter().map(|one| alert(one, &notification)).collect::<Vec<Value>>(),
    })
}

fn alert(alert: &Alert, notification: &Notification) -> Value {
    let is_resolved = alert.status() == Status::Resolved;
    json!({
        "status": if is_resolved { "resolved" } else { "firing" },
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": rfc3339(alert.starts_at),
        "endsAt": if is_resolved { rfc3339(alert.ends_at) } else { NEVER.to_string() },
        "generatorURL": notification.external_url,
        "fingerprint": alert.fingerprint,
    })
}

/// Alertmanager's words for its own reasons, the name for ours.
fn reason(reason: Reason) -> String {
    match reason {
        Reason::FirstNotification => "first notification".to_string(),
        Reason::NewAlerts => "new alerts added".to_string(),
        Reason::SomeResolved => "some alerts resolved".to_string(),
        Reason::AllResolved => "all alerts resolved".to_string(),
        Reason::RepeatInterval => "repeat interval elapsed".to_string(),
        ours => reason_name(ours),
    }
}

/// An instant (unix ms) as RFC 3339; the zero time if there is no such instant.
pub fn rfc3339(ms: i64) -> String {
    text::rfc3339(ms).unwrap_or_else(|| NEVER.to_string())
}
