//! Pushes alerts to Alertmanagers that exist already.
//!
//! An Alertmanager resolves an alert by itself when its `endsAt` has passed. Dispatch repeats every `repeat_interval`, and
//! not at all what is acknowledged, silenced, muted or flapping: so a firing alert is sent with an end `lasting` from now,
//! which must be longer than the `repeat_interval` of its route and than people leave such an alert alone. All Alertmanagers are told, as Prometheus does; one that takes it is enough, as those of
//! a cluster tell each other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tocsin_proto::Span;
use tocsin_proto::pb::notification::{Alert, Notification, Reason, Status};
use tokio::task::JoinSet;

use crate::config::Context;
use crate::http::{self, Access, BasicAuth, Request};
use crate::secret::{Given, Secret, SecretSource};
use crate::{Attempt, Delivery, Notifier, NotifyError, Receipt, text};

/// How long a sample and a trouble of the program last, ms: nobody sends their end.
const SHORT_MS: i64 = 300_000;

/// Table `[receiver.alertmanager]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where they are: `http://127.0.0.1:9093`, with the prefix of the path if they have one.
    pub urls: Vec<Secret>,
    /// How long a firing alert lasts if it is not sent again, a week if absent; longer than the route's `repeat_interval`.
    #[serde(default = "lasting")]
    pub lasting: Span,
    /// Further headers.
    #[serde(default)]
    pub headers: BTreeMap<String, Given>,
    /// Token of `Authorization: Bearer`.
    pub bearer_token: Option<SecretSource>,
    /// Name and password of `Authorization: Basic`.
    pub basic_auth: Option<BasicAuth>,
    /// How long one attempt may take.
    #[serde(default = "http::timeout")]
    pub timeout: Span,
    /// Certificates (PEM) of the authorities to trust, in place of the system's.
    pub ca_file: Option<PathBuf>,
}

fn lasting() -> Span {
    Span::from_secs(7 * 86_400)
}

/// The notifier of a table.
pub fn notifier(config: &Config, context: Context) -> Result<Box<dyn Notifier>, String> {
    let _ = context;
    let in_table = |error: String| format!("alertmanager: {error}");
    if config.urls.is_empty() {
        return Err("alertmanager: urls is empty, expected urls = [\"http://127.0.0.1:9093\"]".to_string());
    }
    for given in &config.urls {
        http::url(given.expose()).map_err(in_table)?;
    }
    if config.lasting.millis() < 60_000 {
        let found_s = config.lasting.get().as_secs_f64();
        return Err(format!("alertmanager: lasting is {found_s} s, expected 1m or more"));
    }
    let access = Access {
        headers: config.headers.clone(),
        bearer_token: config.bearer_token.clone(),
        basic_auth: config.basic_auth.clone(),
        ca_file: config.ca_file.clone(),
        timeout: config.timeout.get(),
        ..Access::default()
    };
    access.check().map_err(in_table)?;
    Ok(Box::new(Alertmanagers { config: config.clone(), access }))
}

struct Alertmanagers {
    config: Config,
    access: Access,
}

impl Notifier for Alertmanagers {
    fn notify<'a>(&'a self, delivery: &'a Delivery) -> Attempt<'a> {
        Box::pin(async move {
            let now_ms = Timestamp::now().as_millisecond();
            let alerts = alerts(&delivery.notification, now_ms, self.config.lasting.millis());
            // A cluster without any alert in the group has nothing to learn.
            if alerts.is_empty() {
                return Ok(Receipt::default());
            }
            let body = Value::from(alerts).to_string().into_bytes();
            self.tell_all(&body, &delivery.notification.id).await.map(|()| Receipt::default())
        })
    }
}

impl Alertmanagers {
    async fn tell_all(&self, body: &[u8], id: &str) -> Result<(), NotifyError> {
        let mut attempts = JoinSet::new();
        for url in &self.config.urls {
            let request = Request {
                url: Secret::new(format!("{}/api/v2/alerts", url.expose().trim_end_matches('/'))),
                body: body.to_vec(),
                content_type: "application/json".to_string(),
                headers: vec![("idempotency-key", id.to_string())],
                secrets: Vec::new(),
            };
            let access = self.access.clone();
            attempts.spawn(async move { access.post(request).await });
        }
        let mut failures = Vec::new();
        let mut is_taken = false;
        while let Some(ended) = attempts.join_next().await {
            match ended {
                Ok(Ok(())) => is_taken = true,
                Ok(Err(error)) => failures.push(error),
                Err(error) => failures.push(http::misconfigured(format!("the attempt was stopped: {error}"))),
            }
        }
        if is_taken {
            for failure in &failures {
                tracing::warn!("an Alertmanager was not told, another one was: {failure}");
            }
            return Ok(());
        }
        Err(together(failures))
    }
}

/// One error of several: another attempt helps if it helps any of them.
fn together(failures: Vec<NotifyError>) -> NotifyError {
    let text = failures.iter().map(|failure| failure.text.clone()).collect::<Vec<String>>().join("; ");
    let can_retry = failures.iter().any(|failure| failure.can_retry);
    let retry_after = failures.iter().filter_map(|failure| failure.retry_after).min();
    let first = failures.into_iter().find(|failure| failure.can_retry == can_retry);
    let failure = first.map_or(crate::Failure::Other, |failure| failure.failure);
    NotifyError { failure, can_retry, retry_after, text }
}

/// The body: one entry an alert.
fn alerts(notification: &Notification, now_ms: i64, lasting_ms: i64) -> Vec<Value> {
    if notification.alerts.is_empty() && notification.reason() == Reason::Emergency {
        let trouble = emergency(notification);
        return vec![alert(&trouble, notification, now_ms, SHORT_MS)];
    }
    let lasting_ms = if notification.reason() == Reason::Test { SHORT_MS } else { lasting_ms };
    notification.alerts.iter().map(|one| alert(one, notification, now_ms, lasting_ms)).collect()
}

/// The program's own trouble as an alert.
fn emergency(notification: &Notification) -> Alert {
    let map =
        |pairs: [(&str, &str); 2]| pairs.map(|(name, value)| (name.to_string(), value.to_string())).into();
    Alert {
        status: Status::Firing as i32,
        labels: map([("alertname", "tocsin_emergency"), ("severity", "critical")]),
        annotations: map([("summary", &notification.reason_text), ("runbook", "see the log of tocsin")]),
        starts_at: notification.decided_at,
        ..Alert::default()
    }
}

fn alert(alert: &Alert, notification: &Notification, now_ms: i64, lasting_ms: i64) -> Value {
    let ends_at = match alert.status() {
        // An end to come, by a node's clock that is ahead, would leave it firing until then.
        Status::Resolved => alert.ends_at.min(now_ms),
        _ => now_ms + lasting_ms,
    };
    json!({
        "labels": alert.labels,
        "annotations": alert.annotations,
        // It refuses what ends before it begins.
        "startsAt": rfc3339(alert.starts_at.min(ends_at)),
        "endsAt": rfc3339(ends_at),
        "generatorURL": generator(&notification.external_url),
    })
}

/// The beginning of 1970 if there is no such instant: it refuses a whole request for one that cannot be read.
fn rfc3339(ms: i64) -> String {
    text::rfc3339(ms).unwrap_or_else(|| Timestamp::UNIX_EPOCH.to_string())
}

/// It refuses a whole request for one that is no URL.
fn generator(url: &str) -> &str {
    if http::url(url).is_ok() { url } else { "" }
}
