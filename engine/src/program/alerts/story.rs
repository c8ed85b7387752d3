//! The story of an alert: why it fired, who was told, when, and what became of it; or why nobody was.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::table::{items, printable, second, text};
use super::{head, head_of, number};

/// Characters of a reason.
const REASON_MAX: usize = 400;

/// The story as lines for people, from the answer of `/explain`.
pub fn tell(story: &Value) -> String {
    let mut lines = Vec::new();
    match &story["alert"] {
        Value::Null if story["labels"].is_object() => lines.push(head_of(story, "fires no more")),
        Value::Null => lines.push(format!("{}  fires no more", printable(text(&story["fingerprint"]), 16))),
        alert => {
            lines.push(head(alert));
            lines.push(format!("  {}", printable(text(&alert["annotations"]["summary"]), REASON_MAX)));
            lines.push(format!("  value {}, limit {}", number(&alert["value"]), number(&alert["limit"])));
        }
    }
    let known: BTreeMap<&str, &Value> =
        items(&story["notifications"]).map(|record| (text(&record["id"]), record)).collect();
    let mut told = Vec::new();
    let (mut episode, mut day) = ("", String::new());
    for decision in items(&story["decisions"]) {
        let starts_at = text(&decision["startsAt"]);
        if starts_at != episode {
            episode = starts_at;
            lines.push(format!("\nEpisode since {} UTC (the node's clock)", second(&decision["startsAt"])));
            day.clear();
        }
        let at = second(&decision["at"]);
        let (date, time) = at.split_once(' ').unwrap_or(("", &at));
        if date != day {
            day = date.to_string();
            lines.push(format!("  {date}"));
        }
        lines.push(line(time, decision));
        let id = text(&decision["notification"]);
        if let Some(record) = known.get(id) {
            told.push(id);
            lines.push(format!("{:28}{}", "", fate(record)));
        } else if !id.is_empty() {
            lines.push(format!("{:28}notification {}", "", printable(id, 32)));
        }
    }
    let others: Vec<&Value> =
        items(&story["notifications"]).filter(|record| !told.contains(&text(&record["id"]))).collect();
    if !others.is_empty() {
        lines.push("\nOther notifications that told it".to_string());
    }
    for record in others {
        let (at, receiver) = (second(&record["decidedAt"]), text(&record["receiver"]));
        lines.push(format!("  {at}  to {}: {}", printable(receiver, 60), fate(record)));
    }
    if items(&story["decisions"]).next().is_none() {
        lines.push("\nNothing was decided on it yet".to_string());
    }
    lines.join("\n")
}

/// Time, what was decided, and why.
fn line(time: &str, decision: &Value) -> String {
    let kind = printable(text(&decision["kind"]), 20).replace('_', " ");
    let reason = printable(text(&decision["reason"]), REASON_MAX);
    let whom = match decision["receiver"].as_str() {
        Some(receiver) => format!("{}: ", printable(receiver, 60)),
        None => String::new(),
    };
    format!("  {time:<10}  {kind:<12}  {whom}{reason}")
}

/// What became of a notification.
fn fate(record: &Value) -> String {
    let (id, attempts) = (printable(text(&record["id"]), 32), record["attempts"].as_u64().unwrap_or(0));
    let at = second(&record["stateAt"]);
    let tried = if attempts == 1 { "1 attempt".to_string() } else { format!("{attempts} attempts") };
    let error = match record["lastError"].as_str() {
        Some(error) => format!("; last error: {}", printable(error, REASON_MAX)),
        None => String::new(),
    };
    match text(&record["state"]) {
        "delivered" => format!("notification {id}, delivered at {at} after {tried}"),
        "dead" => format!(
            "notification {id}, given up at {at} after {tried}{error}; `tocsin notify resend {}` tries again",
            id.get(..8).unwrap_or(&id)
        ),
        _ => format!("notification {id}, waits, is tried next at {at} ({tried} so far{error})"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "00112233445566778899aabbccddeeff";

    fn decision(at: &str, kind: &str, receiver: Option<&str>, notification: Option<&str>) -> Value {
        json!({
            "at": at, "startsAt": "2026-11-21T18:00:00.000Z", "receiver": receiver, "kind": kind,
            "reason": format!("because of {kind}\u{1b}[31m"), "notification": notification,
        })
    }

    #[test]
    fn it_says_in_order_who_was_told_and_what_became_of_it() {
        let story = json!({
            "fingerprint": "0123456789abcdef",
            "alert": {
                "fingerprint": "0123456789abcdef", "value": 2000.0, "limit": 60.5,
                "labels": {"alertname": "addr_flood", "node": "alice", "severity": "warning"},
                "annotations": {"summary": "2000 addresses"},
            },
            "decisions": [
                decision("2026-11-21T18:00:01.000Z", "fired", None, None),
                decision("2026-11-21T18:00:31.000Z", "notified", Some("ops"), Some(ID)),
                decision("2026-11-22T00:00:31.000Z", "rate_limited", Some("ops"), None),
            ],
            "notifications": [{
                "id": ID, "receiver": "ops", "state": "dead", "stateAt": "2026-11-21T19:00:00.000Z",
                "attempts": 9, "lastError": "503",
            }],
        });
        let expected = "\
0123456789abcdef  addr_flood on alice, warning, firing
  2000 addresses
  value 2000, limit 60.5

Episode since 2026-11-21 18:00:00 UTC (the node's clock)
  2026-11-21
  18:00:01    fired         because of fired?[31m
  18:00:31    notified      ops: because of notified?[31m
                            notification 00112233445566778899aabbccddeeff, given up at 2026-11-21 19:00:00 \
after 9 attempts; last error: 503; `tocsin notify resend 00112233` tries again
  2026-11-22
  00:00:31    rate limited  ops: because of rate_limited?[31m";
        assert_eq!(tell(&story), expected);
    }

    #[test]
    fn an_alert_that_fires_no_more_has_its_name() {
        let labels = json!({"alertname": "addr_flood", "node": "alice\u{1b}", "severity": "warning"});
        let story = json!({"fingerprint": "0123456789abcdef", "alert": null, "labels": labels});
        let first = tell(&story).lines().next().map(str::to_string);
        assert_eq!(first.as_deref(), Some("0123456789abcdef  addr_flood on alice?, warning, fires no more"));
    }

    #[test]
    fn an_answer_of_another_shape_breaks_nothing() {
        for odd in [json!(null), json!({}), json!({"decisions": 5, "alert": []}), json!({"decisions": [{}]})]
        {
            assert!(!tell(&odd).is_empty());
        }
    }
}
