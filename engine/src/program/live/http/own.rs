//! Calls of our own, below `/api/tocsin/v1`: what Alertmanager has no word for. Made for the commands of this program, and
//! free to use by others: alerts with value, limit and acknowledgement, their story, notifications, receivers.
//!
//! Errors are texts as JSON, as in Alertmanager's API.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tocsin_engine::dispatch::alert::Fingerprint;
use tocsin_engine::dispatch::decision::Decision;
use tocsin_engine::dispatch::view::AlertView;
use tocsin_engine::time::Timestamp;

use super::super::dispatch::status::{NotificationRecord, NotificationState, ReceiverStatus};
use super::super::dispatch::{Dispatch, Request};
use super::Interface;
use super::access::{Refusal, Writer};
use super::api::in_range;

/// Notifications in an answer, if the caller does not say, and at most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 10_000;

/// Hex digits of an alert's id, and of the beginning of one at least.
const ID_DIGITS: usize = 16;
const ID_DIGITS_MIN: usize = 4;

/// The calls.
pub fn router() -> Router<Interface> {
    Router::new()
        .route("/alerts", get(alerts))
        .route("/alerts/{id}/explain", get(explain))
        .route("/alerts/{id}/acknowledge", post(acknowledge))
        .route("/alerts/{id}/unacknowledge", post(unacknowledge))
        .route("/notifications", get(notifications))
        .route("/notifications/{id}/resend", post(resend))
        .route("/receivers", get(receivers))
}

/// What a call answers.
type Answer = Result<Response, Refusal>;

/// Who acknowledges, and why.
#[derive(Debug, Deserialize)]
struct Acknowledging {
    by: String,
    #[serde(default)]
    comment: String,
}

/// Dispatch and the alert an address names.
fn found(interface: &Interface, id: &str) -> Result<(Dispatch, Fingerprint), Refusal> {
    let fingerprint = Fingerprint::from_str(id).map_err(Refusal::of_bad)?;
    Ok((interface.dispatch()?.clone(), fingerprint))
}

/// The answer of dispatch; what it refuses was asked wrongly.
fn answer<T>(answer: Result<T, String>, shown: impl FnOnce(T) -> Value) -> Answer {
    Ok(Json(shown(answer.map_err(Refusal::of_bad)?)).into_response())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::of_bad(format!("the body is wrong: {error}")))
}

async fn alerts(State(interface): State<Interface>) -> Answer {
    let status = interface.dispatch()?.status();
    let alerts: Vec<Value> = status.view.alerts.iter().map(alert).collect();
    Ok(Json(alerts).into_response())
}

async fn explain(State(interface): State<Interface>, Path(id): Path<String>) -> Answer {
    let dispatch = interface.dispatch()?;
    let fingerprint = meant(dispatch, &id).await?;
    match story_of(dispatch, fingerprint).await {
        Ok(Some(story)) => Ok(Json(story).into_response()),
        Ok(None) => {
            let text = format!("nothing is known of an alert {fingerprint}");
            Err(Refusal::new(StatusCode::NOT_FOUND, text))
        }
        Err(error) => Err(Refusal::of_bad(error)),
    }
}

/// The alert that an id or its beginning names, among those that fire and those of the last 30 days.
async fn meant(dispatch: &Dispatch, id: &str) -> Result<Fingerprint, Refusal> {
    let beginning = id.to_ascii_lowercase();
    if beginning.len() == ID_DIGITS {
        return Fingerprint::from_str(&beginning).map_err(Refusal::of_bad);
    }
    let is_hex = beginning.chars().all(|c| c.is_ascii_hexdigit());
    if !is_hex || !(ID_DIGITS_MIN..ID_DIGITS).contains(&beginning.len()) {
        let expected = format!("expected {ID_DIGITS_MIN} to {ID_DIGITS} hex digits");
        return Err(Refusal::of_bad(format!("{id:?} is no id of an alert, {expected}")));
    }
    let stored = dispatch.ask(|reply| Request::Find { beginning: beginning.clone(), reply }).await;
    let mut found: BTreeSet<Fingerprint> = stored.map_err(Refusal::of_bad)?.into_iter().collect();
    let status = dispatch.status();
    let shown = status.view.alerts.iter().map(|alert| alert.fingerprint);
    found.extend(shown.filter(|shown| shown.to_string().starts_with(&beginning)));
    let mut found = found.into_iter();
    match (found.next(), found.len()) {
        (Some(one), 0) => Ok(one),
        (Some(_), _) => {
            Err(Refusal::of_bad(format!("{beginning}... fits several alerts, expected more digits")))
        }
        (None, _) => {
            let expected = "expected the id of one of the last 30 days";
            let text = format!("there is no alert {beginning}..., {expected}");
            Err(Refusal::new(StatusCode::NOT_FOUND, text))
        }
    }
}

/// Why an alert fired, who was told of it and why; none if nothing is known of it.
async fn story_of(dispatch: &Dispatch, fingerprint: Fingerprint) -> Result<Option<Value>, String> {
    let told = dispatch.ask(|reply| Request::Explain { fingerprint, reply }).await?;
    let status = dispatch.status();
    let known = status.view.alerts.iter().find(|alert| alert.fingerprint == fingerprint);
    if known.is_none() && told.decisions.is_empty() && told.notifications.is_empty() {
        return Ok(None);
    }
    Ok(Some(json!({
        "fingerprint": fingerprint.to_string(),
        "alert": known.map(alert),
        "labels": known.map(|alert| &alert.labels).or(told.labels.as_ref()),
        "decisions": told.decisions.iter().map(decision).collect::<Vec<_>>(),
        "notifications": told.notifications.iter().map(notification).collect::<Vec<_>>(),
    })))
}

async fn acknowledge(
    _: Writer,
    State(interface): State<Interface>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let (dispatch, fingerprint) = found(&interface, &id)?;
    let Acknowledging { by, comment } = read(&body?)?;
    let done = dispatch.ask(|reply| Request::Acknowledge { fingerprint, by, comment, reply }).await;
    answer(done, |()| Value::Null)
}

async fn unacknowledge(
    _: Writer,
    State(interface): State<Interface>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let (dispatch, fingerprint) = found(&interface, &id)?;
    let Acknowledging { by, .. } = read(&body?)?;
    let done = dispatch.ask(|reply| Request::Unacknowledge { fingerprint, by, reply }).await;
    answer(done, |()| Value::Null)
}

async fn notifications(
    State(interface): State<Interface>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Answer {
    let (mut only_dead, mut limit) = (false, LIMIT);
    for (name, value) in pairs {
        let wrong = |expected: String| Refusal::of_bad(format!("{name} is {value:?}, expected {expected}"));
        match name.as_str() {
            "only_dead" => only_dead = value.parse().map_err(|_| wrong("true or false".to_string()))?,
            "limit" => {
                let number = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                limit = number.ok_or_else(|| wrong(format!("1 to {LIMIT_MAX}")))?;
            }
            _ => {}
        }
    }
    let asked = interface.dispatch()?.ask(|reply| Request::Notifications { only_dead, limit, reply });
    answer(asked.await, |found| found.iter().map(notification).collect())
}

async fn resend(_: Writer, State(interface): State<Interface>, Path(id): Path<String>) -> Answer {
    let done = interface.dispatch()?.ask(|reply| Request::Resend { id, reply }).await;
    answer(done, |()| Value::Null)
}

async fn receivers(State(interface): State<Interface>) -> Answer {
    let status = interface.dispatch()?.status();
    let receivers = status.receivers.iter().map(|found| receiver(found, status.view.at));
    Ok(Json(receivers.collect::<Vec<_>>()).into_response())
}

fn at(instant: Timestamp) -> Value {
    in_range(instant).to_string().into()
}

fn at_ms(unix_ms: i64) -> Value {
    at(Timestamp::from_unix_ms(unix_ms))
}

fn alert(alert: &AlertView) -> Value {
    json!({
        "fingerprint": alert.fingerprint.to_string(),
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": at(alert.starts_at),
        "updatedAt": at(alert.updated_at),
        "endsAt": alert.ends_at.map(at),
        "value": alert.value,
        "limit": alert.limit,
        "receivers": alert.receivers,
        "silencedBy": alert.silenced_by,
        "inhibitedBy": alert.inhibited_by.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "mutedBy": alert.muted_by,
        "acknowledgement": alert.acknowledgement.as_ref().map(|acknowledgement| json!({
            "by": acknowledgement.by,
            "comment": acknowledgement.comment,
            "at": at(acknowledgement.at),
        })),
        "isFlapping": alert.is_flapping,
    })
}

fn decision(decision: &Decision) -> Value {
    json!({
        "at": at(decision.at),
        "startsAt": at(decision.starts_at),
        "receiver": decision.receiver,
        "kind": decision.kind.name(),
        "reason": decision.reason,
        "notification": decision.notification,
    })
}

fn notification(record: &NotificationRecord) -> Value {
    let (state, when) = match record.state {
        NotificationState::Pending { next_attempt_at_ms } => ("pending", next_attempt_at_ms),
        NotificationState::Delivered { at_ms } => ("delivered", at_ms),
        NotificationState::Dead { at_ms } => ("dead", at_ms),
    };
    json!({
        "id": record.id,
        "receiver": record.receiver,
        "groupKey": record.group_key,
        "reason": record.reason.as_str_name().to_lowercase(),
        "reasonText": record.reason_text,
        "decidedAt": at_ms(record.decided_at_ms),
        "state": state,
        // Of a pending one: when it is tried next. Of another: since when it is so.
        "stateAt": at_ms(when),
        "attempts": record.attempts,
        "lastError": record.last_error,
    })
}

fn receiver(receiver: &ReceiverStatus, now: Timestamp) -> Value {
    let failed: BTreeMap<_, _> = receiver.failed.iter().map(|(kind, count)| (kind.name(), count)).collect();
    let at_ms = |unix_ms: Option<u64>| unix_ms.map(|ms| at_ms(i64::try_from(ms).unwrap_or(i64::MAX)));
    json!({
        "name": receiver.name,
        "integration": receiver.integration,
        "pending": receiver.pending,
        "dead": receiver.dead,
        "decided": receiver.decided,
        "delivered": receiver.delivered,
        "attempts": receiver.attempts,
        "failed": failed,
        "brokenUntil": at_ms(receiver.broken_until_ms.filter(|until_ms| *until_ms as i64 > now.unix_ms())),
        "lastError": receiver.last_error,
        "deliveredAt": at_ms(receiver.delivered_at_ms),
    })
}
