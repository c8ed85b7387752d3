//! PagerDuty's Events API, version 2: one incident for a thread.
//! Source: https://developer.pagerduty.com/docs/events-api-v2-overview, "Send an alert event".

use serde_json::{Map, Value, json};
use tocsin_proto::pb::notification::{Notification, Reason, Status};

use super::alertmanager::rfc3339;
use super::story::Story;
use crate::text::{cut, cut_bytes};

/// Most characters of the summary; PagerDuty's limit.
const SUMMARY_MAX: usize = 1024;
/// Most bytes of the text among the details; PagerDuty takes 512 kB over all.
const TEXT_MAX: usize = 32_768;
/// Where people read who look for the key of a digest or an emergency.
const SOURCE: &str = "tocsin";

/// The body. The key of the incident is the thread, so that a resolve finds what it resolves.
pub fn body(notification: &Notification, story: &Story, routing_key: &str) -> Value {
    let firing: Vec<_> =
        notification.alerts.iter().filter(|alert| alert.status() == Status::Firing).collect();
    let all_acknowledged = !firing.is_empty() && firing.iter().all(|alert| !alert.acknowledged_by.is_empty());
    let action = match story.headline.status {
        "resolved" => "resolve",
        // A digest is a thread of its own, which no later notification resolves: it opens nothing by itself.
        _ if firing.is_empty() && notification.reason() == Reason::Digest => "resolve",
        _ if all_acknowledged => "acknowledge",
        _ => "trigger",
    };
    let mut body = json!({
        "routing_key": routing_key,
        "event_action": action,
        "dedup_key": notification.thread,
        "client": "tocsin",
        "payload": payload(notification, story),
    });
    if !story.link.is_empty() {
        body["client_url"] = json!(story.link);
        body["links"] = json!([{"href": story.link, "text": "tocsin"}]);
    }
    body
}

fn payload(notification: &Notification, story: &Story) -> Value {
    let nodes = story.headline.nodes.join(", ");
    let severity = match story.headline.severity {
        "" => "error",
        severity => severity,
    };
    let at = match notification.alerts.iter().map(|alert| alert.starts_at).min() {
        Some(starts_at) => starts_at,
        None => notification.decided_at,
    };
    let mut details = Map::new();
    for (title, text) in &story.advice {
        // Several rules may each have something to do.
        let known = details.entry(title.as_str()).or_insert_with(|| json!(""));
        let known_text = known.as_str().unwrap_or_default();
        *known = if known_text.is_empty() { json!(text) } else { json!(format!("{known_text}\n{text}")) };
    }
    details.insert("text".to_string(), json!(cut_bytes(&story.text, TEXT_MAX, "\n[cut]")));
    details.insert("sent because".to_string(), json!(story.footer));
    json!({
        "summary": cut(&story.title, SUMMARY_MAX),
        "source": if nodes.is_empty() { SOURCE.to_string() } else { cut(&nodes, SUMMARY_MAX) },
        "severity": severity,
        "timestamp": rfc3339(at),
        "component": "bitcoin node",
        "group": cut(&notification.group_key, SUMMARY_MAX),
        "class": cut(&story.headline.names.join(", "), SUMMARY_MAX),
        "custom_details": details,
    })
}
