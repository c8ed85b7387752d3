//! `tocsin alerts`: the alerts of a running tocsin, why they fired and who was told, and who takes care of them.

mod story;

use serde_json::{Value, json};

use super::Ended;
use super::arguments::{AlertsAction, AlertsArguments, Format};
use super::client::{Client, beginning, resolve};
use super::progress::print_line;
use super::table::{columns, items, printable, second, text};

/// Hex digits of an alert's id.
const ID_DIGITS: usize = 16;
/// Labels that have a column of their own, or say nothing of one alert.
const COMMON: [&str; 4] = ["alertname", "node", "severity", "status"];

/// Runs the command.
pub fn run(arguments: &AlertsArguments) -> anyhow::Result<Ended> {
    let client = Client::new(&arguments.server)?;
    let format = arguments.format;
    match arguments.action.as_ref().unwrap_or(&AlertsAction::List) {
        AlertsAction::List => {
            let alerts = client.get("/api/tocsin/v1/alerts", &[])?;
            print(format, &alerts, || list(&alerts));
        }
        AlertsAction::Show { id } => {
            let (id, alerts) = find(&client, id)?;
            let Some(alert) = items(&alerts).find(|alert| text(&alert["fingerprint"]) == id) else {
                anyhow::bail!("alert {id} does not fire now; `tocsin alerts explain {id}` may know of it");
            };
            print(format, alert, || show(alert));
        }
        AlertsAction::Explain { id } => {
            // An alert that fires no more is known to the store only: it finds the whole id.
            let id = beginning("alert", id, ID_DIGITS)?;
            let story = client.get(&format!("/api/tocsin/v1/alerts/{id}/explain"), &[])?;
            print(format, &story, || story::tell(&story));
        }
        AlertsAction::Ack { id, comment, by } => {
            let (id, _) = find(&client, id)?;
            let body = json!({"by": by.clone().unwrap_or_else(super::user), "comment": comment});
            client.post(&format!("/api/tocsin/v1/alerts/{id}/acknowledge"), &body)?;
            print_line(&format!(
                "alert {id} is acknowledged: no repeats and no escalation until it resolves"
            ));
        }
        AlertsAction::Unack { id, by } => {
            let (id, _) = find(&client, id)?;
            let body = json!({"by": by.clone().unwrap_or_else(super::user)});
            client.post(&format!("/api/tocsin/v1/alerts/{id}/unacknowledge"), &body)?;
            print_line(&format!("alert {id} is no longer acknowledged"));
        }
    }
    Ok(Ended::Well)
}

/// Prints an answer as it is, or as text.
fn print(format: Format, answer: &Value, for_people: impl FnOnce() -> String) {
    match format {
        Format::Json => print_line(&answer.to_string()),
        Format::Text => print_line(for_people().trim_end()),
    }
}

/// The alert that an id or its beginning names, and all alerts.
fn find(client: &Client, id: &str) -> anyhow::Result<(String, Value)> {
    let alerts = client.get("/api/tocsin/v1/alerts", &[])?;
    let ids: Vec<&str> = items(&alerts).map(|alert| text(&alert["fingerprint"])).collect();
    let id = resolve("alert", id, ID_DIGITS, ids.into_iter())?;
    Ok((id, alerts))
}

/// A number as short as it can be; `-` if there is none.
fn number(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_string(), |value| value.to_string())
}

/// What is special about an alert: acknowledged, held back, resolved.
fn mark(alert: &Value) -> String {
    let mut marks = Vec::new();
    if let Some(by) = alert["acknowledgement"]["by"].as_str() {
        marks.push(format!("acknowledged by {by}"));
    }
    for (field, word) in [("silencedBy", "silenced"), ("inhibitedBy", "inhibited"), ("mutedBy", "muted")] {
        if items(&alert[field]).next().is_some() {
            marks.push(word.to_string());
        }
    }
    if alert["isFlapping"] == true {
        marks.push("flapping".to_string());
    }
    if alert["endsAt"].is_string() {
        marks.push("resolved".to_string());
    }
    marks.join(", ")
}

/// The labels that tell alerts of one rule and node apart.
fn key(alert: &Value) -> String {
    let labels = alert["labels"].as_object().into_iter().flatten();
    let own = labels.filter(|(name, _)| !COMMON.contains(&name.as_str()));
    own.map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join(" ")
}

fn list(alerts: &Value) -> String {
    let row = |alert: &Value| {
        let label = |name: &str| text(&alert["labels"][name]).to_string();
        [
            text(&alert["fingerprint"]).to_string(),
            label("severity"),
            label("alertname"),
            label("node"),
            second(&alert["startsAt"]),
            format!("{} / {}", number(&alert["value"]), number(&alert["limit"])),
            printable(&key(alert), 40),
            mark(alert),
        ]
    };
    let rows: Vec<_> = items(alerts).map(row).collect();
    if rows.is_empty() {
        return "no alert fires".to_string();
    }
    columns(["ID", "SEVERITY", "RULE", "NODE", "SINCE (UTC)", "VALUE / LIMIT", "KEY", "STATE"], &rows)
}

fn show(alert: &Value) -> String {
    let mut lines = vec![head(alert)];
    let mut line = |name: &str, text: &str| lines.push(format!("  {name:<16} {}", printable(text, 1000)));
    line("since", &format!("{} UTC", second(&alert["startsAt"])));
    line("value", &number(&alert["value"]));
    line("limit", &number(&alert["limit"]));
    for (name, value) in alert["labels"].as_object().into_iter().flatten() {
        if !COMMON.contains(&name.as_str()) {
            line(&printable(name, 40), text(value));
        }
    }
    for (name, value) in alert["annotations"].as_object().into_iter().flatten() {
        line(&printable(name, 40), text(value));
    }
    let receivers: Vec<&str> = items(&alert["receivers"]).map(text).collect();
    line("receivers", &receivers.join(", "));
    let acknowledgement = &alert["acknowledgement"];
    if let Some(by) = acknowledgement["by"].as_str() {
        let (at, comment) = (second(&acknowledgement["at"]), text(&acknowledgement["comment"]));
        line("acknowledged", &format!("by {by} at {at} UTC: {comment}"));
    }
    for (field, name) in
        [("silencedBy", "silenced by"), ("inhibitedBy", "inhibited by"), ("mutedBy", "muted by")]
    {
        for by in items(&alert[field]) {
            line(name, text(by));
        }
    }
    lines.join("\n")
}

/// The first line on an alert.
fn head(alert: &Value) -> String {
    let mark = mark(alert);
    head_of(alert, if mark.is_empty() { "firing" } else { &mark })
}

/// The first line on what has a fingerprint and labels.
fn head_of(alert: &Value, state: &str) -> String {
    let label = |name: &str| text(&alert["labels"][name]);
    let line = format!(
        "{}  {} on {}, {}, {state}",
        text(&alert["fingerprint"]),
        label("alertname"),
        label("node"),
        label("severity")
    );
    printable(&line, 300)
}
