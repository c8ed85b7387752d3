//! Writes samples of plots and of an email into a folder, to be looked at.
//!
//! `cargo run -p tocsin-notifiers --example samples -- FOLDER`, then open `email.html` in a browser, or `email.eml` in a
//! mail client. In the HTML the pictures are the files beside it; in the letter they are inside.

#![allow(clippy::disallowed_methods)]

use std::path::Path;

use jiff::tz::TimeZone;
use tocsin_notifiers::config::Context;
use tocsin_notifiers::template::Templates;
use tocsin_notifiers::{Delivery, email, plot};
use tocsin_proto::pb::notification::{Alert, Evidence, Notification, Point, Reason, Status};

/// 21 November 2026, 10:00 UTC.
const START_MS: i64 = 1_795_255_200_000;

/// A rule's words about an alert.
struct Story {
    labels: [(&'static str, &'static str); 4],
    summary: &'static str,
    runbook: &'static str,
    why: &'static str,
    quantity: &'static str,
    unit: &'static str,
}

fn alert(story: &Story, fired_s: i64, points: impl Iterator<Item = (i64, f64, Option<f64>)>) -> Alert {
    let text = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    let points: Vec<Point> =
        points.map(|(at_s, value, limit)| Point { at: START_MS + at_s * 1000, value, limit }).collect();
    let last = points.last().cloned().unwrap_or_default();
    Alert {
        fingerprint: "00c0ffee00c0ffee".to_string(),
        status: Status::Firing as i32,
        labels: text(&story.labels),
        annotations: text(&[("summary", story.summary), ("runbook", story.runbook), ("why", story.why)]),
        starts_at: START_MS + fired_s * 1000,
        value: Some(last.value),
        limit: last.limit,
        evidence: Some(Evidence {
            quantity: story.quantity.to_string(),
            unit: story.unit.to_string(),
            points,
        }),
        ..Alert::default()
    }
}

fn flood() -> Alert {
    let story = Story {
        labels: [("alertname", "addr_flood"), ("node", "hal"), ("severity", "critical"), ("peer_id", "45")],
        summary: "peer 45 (203.0.113.7:8333, /Satoshi:30.0.0/) sent 1240 addresses in 10 minutes",
        runbook: "Look at the peer with bitcoin-cli getpeerinfo; ban it with bitcoin-cli setban if it goes on.",
        why: "Nodes answer one getaddr with up to 1000 addresses, and send single ones after that.",
        quantity: "sum of message.addresses over 10m",
        unit: "addresses",
    };
    let value =
        |at_s: i64| if at_s < 240 { 8.0 + (at_s % 70) as f64 / 10.0 } else { (at_s - 240) as f64 * 2.2 };
    alert(&story, 270, (0..=80).map(|number| (number * 10, value(number * 10), Some(60.0))))
}

fn drop_of_inbound() -> Alert {
    let story = Story {
        labels: [
            ("alertname", "inbound_lost"),
            ("node", "hal"),
            ("severity", "warning"),
            ("network", "onion"),
        ],
        summary: "inbound peers fell from 61 to 5 within a minute",
        runbook: "Check that the port is reachable and that Tor runs.",
        why: "Peers leave one by one; all at once they were cut off.",
        quantity: "min of peers.inbound over 1m",
        unit: "count",
    };
    let value = |at: i64| if at < 150 { 58.0 + (at * 7 % 5) as f64 } else { 5.0 + (at * 3 % 2) as f64 };
    let mut alert = alert(&story, 150 * 30, (0..=240).map(|at| (at * 30, value(at), Some(10.0))));
    alert.status = Status::Resolved as i32;
    alert.ends_at = START_MS + 200 * 30 * 1000;
    alert
}

fn slow_pings() -> Alert {
    let story = Story {
        labels: [("alertname", "ping_backlog"), ("node", "hal"), ("severity", "warning"), ("peer_id", "7")],
        summary: "peer 7 answers pings after 42 s",
        runbook: "Nothing, if it is one peer.",
        why: "The message thread is busy, or the peer is.",
        quantity: "median of peer.ping_ms over 5m, against three times the day before",
        unit: "ms",
    };
    let value = |at: i64| 90.0 + (at * 7919 % 60) as f64 + ((at - 150).max(0) as f64).powi(2) * 4.5;
    let limit = |at: i64| 12_000.0 + (at as f64 / 40.0).sin() * 3000.0;
    alert(&story, 203 * 120, (0..=250).map(|at| (at * 120, value(at), Some(limit(at)))))
}

fn main() {
    let folder = std::env::args().nth(1).expect("a folder to write to");
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder).expect("a folder");
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).expect("writable");
    let zone = TimeZone::get("Europe/Berlin").expect("a zone");
    let alerts = vec![flood(), slow_pings(), drop_of_inbound()];
    for (alert, number) in alerts.iter().zip(1..) {
        let began = std::time::Instant::now();
        let plot = plot::evidence(alert, &zone).expect("a plot");
        println!(
            "plot{number}: {:?}, PNG {} bytes, SVG {} bytes",
            began.elapsed(),
            plot.png.len(),
            plot.svg.len()
        );
        write(&format!("plot{number}.png"), &plot.png);
        write(&format!("plot{number}.svg"), plot.svg.as_bytes());
    }
    let notification = Notification {
        id: "5eed".repeat(8),
        decided_at: START_MS + 800_000,
        receiver: "mail".to_string(),
        reason: Reason::FirstNotification as i32,
        reason_text: "the group had no notification yet".to_string(),
        alerts,
        thread: "0f".repeat(16),
        number: 1,
        external_url: "http://127.0.0.1:9393".to_string(),
        ..Notification::default()
    };
    let context = Context { receiver: "mail".to_string(), zone, templates: Templates::default() };
    let table = serde_json::json!({
        "smarthost": "smtp.example.org:587", "from": "tocsin <tocsin@example.org>", "to": ["anna@example.org"],
    });
    let config = serde_json::from_value(table).expect("a table");
    let letter =
        email::preview(&config, &context, &Delivery { notification, first: None }).expect("a letter");
    write("email.eml", &letter.bytes);
    let mut html = letter.html;
    for number in 1..=3 {
        html = html.replace(
            &format!("cid:plot{number}.{}@example.org", "5eed".repeat(8)),
            &format!("plot{number}.png"),
        );
    }
    write("email.html", html.as_bytes());
}
