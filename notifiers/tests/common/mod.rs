//! A server that keeps what it gets and answers as told, and a notification to send.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tocsin_notifiers::{Delivery, Notifier, ReceiverConfig};
use tocsin_proto::pb::notification::{Alert, Evidence, Notification, Point, Reason, Status};

/// When the notification was decided: 2026-11-21 17:00:05.123 UTC.
pub const AT: i64 = 1_795_280_405_123;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("{name} is missing")).to_str().expect("text")
    }
}

/// What a server answers.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// A server on loopback; gone with the test's runtime.
pub struct Server {
    pub url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Server {
    pub async fn start(answer: Answer) -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        let handler = move |request: Request| {
            let (kept, answer) = (Arc::clone(&kept), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = to_bytes(body, 1 << 22).await.expect("a body");
                let received = Received { path: parts.uri.to_string(), headers: parts.headers, body };
                kept.lock().expect("no panic").push(received);
                respond(&answer)
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
        Server { url, received }
    }

    pub async fn answering(status: u16) -> Self {
        Server::start(Answer { status, headers: Vec::new(), body: String::new() }).await
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().expect("no panic").clone()
    }

    #[track_caller]
    pub fn only(&self) -> Received {
        let received = self.received();
        assert_eq!(received.len(), 1, "requests");
        received[0].clone()
    }
}

fn respond(answer: &Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).expect("a code");
    let mut response = (status, answer.body.clone()).into_response();
    for (name, value) in &answer.headers {
        response.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    response
}

/// The notifier of a receiver with one destination.
#[track_caller]
pub fn notifier(integration: &str, config: Value) -> Box<dyn Notifier> {
    receiver(json!({"name": "ops", integration: config})).unwrap_or_else(|error| panic!("{error}"))
}

pub fn receiver(config: Value) -> Result<Box<dyn Notifier>, String> {
    let config: ReceiverConfig = serde_json::from_value(config).map_err(|error| error.to_string())?;
    config.notifier()
}

pub fn delivery(notification: Notification) -> Delivery {
    Delivery { notification, first: None }
}

pub fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// A firing alert with what strangers may write.
pub fn firing() -> Alert {
    Alert {
        fingerprint: "0123456789abcdef".to_string(),
        status: Status::Firing as i32,
        labels: map(&[
            ("alertname", "addr_flood"),
            ("node", "hal"),
            ("severity", "critical"),
            ("peer_id", "7"),
            ("agent", "/<@everyone> & *co*/"),
        ]),
        annotations: map(&[
            ("summary", "peer 7 </b><!channel> @everyone *flood* & more"),
            ("why", "an honest peer relays few"),
            ("runbook", "compare other nodes"),
        ]),
        starts_at: AT - 725_000,
        value: Some(1160.0),
        limit: Some(60.0),
        evidence: Some(Evidence {
            quantity: "addresses in 10m".to_string(),
            unit: String::new(),
            points: vec![Point { at: AT, value: 1160.0, limit: Some(60.0) }],
        }),
        ..Alert::default()
    }
}

pub fn resolved() -> Alert {
    Alert { status: Status::Resolved as i32, ends_at: AT - 5_000, ..firing() }
}

pub fn notification(reason: Reason, alerts: Vec<Alert>) -> Notification {
    Notification {
        id: "0f".repeat(16),
        decided_at: AT,
        receiver: "ops".to_string(),
        group_key: "{}:{alertname=\"addr_flood\"}".to_string(),
        reason: reason as i32,
        reason_text: "nobody was told yet".to_string(),
        group_labels: map(&[("alertname", "addr_flood")]),
        common_labels: map(&[("alertname", "addr_flood"), ("node", "hal")]),
        common_annotations: map(&[("why", "an honest peer relays few")]),
        alerts,
        thread: "ab".repeat(16),
        number: 1,
        external_url: "https://tocsin.example/".to_string(),
        ..Notification::default()
    }
}

pub fn fires() -> Notification {
    notification(Reason::FirstNotification, vec![firing()])
}
