//! Alertmanager's API, version 2: alerts, groups, silences, receivers and status, so that `amtool`, Grafana and Karma
//! work. Alerts come from rules alone.
//!
//! Source of the shapes and codes: <https://github.com/prometheus/alertmanager/blob/v0.25.0/api/v2/openapi.yaml>; the
//! parameters `muted`, `active`, `expired` and `pending` are those of later versions.

pub mod configuration;
mod query;
pub mod shapes;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tocsin_engine::dispatch::silence::Silence;
use tocsin_engine::time::Timestamp;

use super::super::dispatch::status::DispatchStatus;
use super::super::dispatch::{Dispatch, Request};
use super::Interface;
use super::access::{Writer, refusal};
use query::{AlertsQuery, SilencesQuery};
use shapes::{PostedSilence, ShownAlert, ShownGroup, ShownSilence};

/// Parameters of a URL.
type Pairs = Query<Vec<(String, String)>>;

/// The calls below `/api/v2`.
pub fn router() -> Router<Interface> {
    Router::new()
        .route("/status", get(status))
        .route("/receivers", get(receivers))
        .route("/silences", get(silences).post(post_silence))
        .route("/silence/{id}", get(silence).delete(expire_silence))
        .route("/alerts", get(alerts).post(post_alerts))
        .route("/alerts/groups", get(groups))
}

/// Dispatch, or why there is none.
fn dispatch_of(interface: &Interface) -> Result<&Dispatch, Response> {
    let text = "dispatch is off, expected a [[receiver]] in the configuration";
    interface.dispatch.as_ref().ok_or_else(|| refusal(StatusCode::SERVICE_UNAVAILABLE, text))
}

/// Its newest status; without dispatch there are no alerts, groups, silences and receivers.
fn newest(interface: &Interface) -> Arc<DispatchStatus> {
    interface.dispatch_status().unwrap_or_default()
}

fn bad(text: &str) -> Response {
    refusal(StatusCode::BAD_REQUEST, text)
}

async fn status(State(interface): State<Interface>) -> Response {
    Json(shapes::status(&interface.board.read(), &interface.configuration)).into_response()
}

async fn receivers(State(interface): State<Interface>) -> Response {
    let status = newest(&interface);
    let names: Vec<_> = status.view.receivers.iter().map(|name| json!({"name": name})).collect();
    Json(names).into_response()
}

async fn alerts(State(interface): State<Interface>, Query(pairs): Pairs) -> Response {
    let query = match AlertsQuery::read(pairs) {
        Ok(query) => query,
        Err(error) => return bad(&error),
    };
    let status = newest(&interface);
    let taken = status.view.alerts.iter().filter(|alert| query.takes(alert));
    Json(taken.map(|alert| ShownAlert::new(alert, status.view.at)).collect::<Vec<_>>()).into_response()
}

async fn groups(State(interface): State<Interface>, Query(pairs): Pairs) -> Response {
    let query = match AlertsQuery::read(pairs) {
        Ok(query) => query,
        Err(error) => return bad(&error),
    };
    let status = newest(&interface);
    Json(ShownGroup::all(&status.view, &query)).into_response()
}

async fn post_alerts(_: Writer) -> Response {
    let text = "alerts come from rules: write one, or send yours to an Alertmanager";
    refusal(StatusCode::NOT_IMPLEMENTED, text)
}

async fn silences(State(interface): State<Interface>, Query(pairs): Pairs) -> Response {
    let query = match SilencesQuery::read(pairs) {
        Ok(query) => query,
        Err(error) => return bad(&error),
    };
    let status = newest(&interface);
    let at = status.view.at;
    let mut taken: Vec<&Silence> =
        status.view.silences.iter().filter(|silence| query.takes(silence, at)).collect();
    taken.sort_by_key(|silence| shapes::silence_order(silence, at));
    let shown: Vec<_> = taken.into_iter().map(|silence| ShownSilence::new(silence, at)).collect();
    Json(shown).into_response()
}

async fn silence(State(interface): State<Interface>, Path(id): Path<String>) -> Response {
    let status = newest(&interface);
    match status.view.silences.iter().find(|silence| silence.id == id) {
        Some(silence) => Json(ShownSilence::new(silence, status.view.at)).into_response(),
        None => no_silence(&id),
    }
}

fn no_silence(id: &str) -> Response {
    refusal(StatusCode::NOT_FOUND, &format!("there is no silence {id:?}"))
}

async fn post_silence(
    _: Writer,
    State(interface): State<Interface>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return refusal(rejection.status(), &rejection.body_text()),
    };
    let now = Timestamp::from_unix_ms(tocsin_extractors::now_ms() as i64);
    let (id, draft) = match PostedSilence::read(&body, now) {
        Ok(posted) => posted,
        Err(error) => return bad(&error),
    };
    let dispatch = match dispatch_of(&interface) {
        Ok(dispatch) => dispatch,
        Err(answer) => return answer,
    };
    if let Some(id) = &id
        && !has_silence(dispatch, id)
    {
        return no_silence(id);
    }
    match dispatch.ask(|reply| Request::Silence { id, draft, reply }).await {
        Ok(id) => Json(json!({"silenceID": id})).into_response(),
        Err(error) => bad(&error),
    }
}

async fn expire_silence(_: Writer, State(interface): State<Interface>, Path(id): Path<String>) -> Response {
    let dispatch = match dispatch_of(&interface) {
        Ok(dispatch) => dispatch,
        Err(answer) => return answer,
    };
    if !has_silence(dispatch, &id) {
        return no_silence(&id);
    }
    match dispatch.ask(|reply| Request::ExpireSilence { id, reply }).await {
        Ok(()) => StatusCode::OK.into_response(),
        // As Alertmanager answers to a silence that has expired already.
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

fn has_silence(dispatch: &Dispatch, id: &str) -> bool {
    dispatch.status().view.silences.iter().any(|silence| silence.id == id)
}
