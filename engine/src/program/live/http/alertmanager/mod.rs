//! Alertmanager's API, version 2: alerts, groups, silences, receivers and status, so that `amtool` works;
//! tests try Debian's. Alerts come from rules alone.
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
use super::access::{Refusal, Writer};
use query::{AlertsQuery, SilencesQuery};
use shapes::{PostedSilence, ShownAlert, ShownGroup, ShownSilence};

/// Parameters of a URL.
type Pairs = Query<Vec<(String, String)>>;
/// What a call answers.
type Answer = Result<Response, Refusal>;

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

/// Newest status of dispatch; without it there are no alerts, groups, silences and receivers.
fn newest(interface: &Interface) -> Arc<DispatchStatus> {
    interface.dispatch_status().unwrap_or_default()
}

async fn status(State(interface): State<Interface>) -> Response {
    Json(shapes::status(&interface.board.read(), &interface.configuration)).into_response()
}

async fn receivers(State(interface): State<Interface>) -> Response {
    let status = newest(&interface);
    let names: Vec<_> = status.view.receivers.iter().map(|name| json!({"name": name})).collect();
    Json(names).into_response()
}

async fn alerts(State(interface): State<Interface>, Query(pairs): Pairs) -> Answer {
    let query = AlertsQuery::read(pairs).map_err(Refusal::of_bad)?;
    let status = newest(&interface);
    let taken = status.view.alerts.iter().filter(|alert| query.takes(alert));
    let shown: Vec<_> = taken.map(|alert| ShownAlert::new(alert, status.view.at)).collect();
    Ok(Json(shown).into_response())
}

async fn groups(State(interface): State<Interface>, Query(pairs): Pairs) -> Answer {
    let query = AlertsQuery::read(pairs).map_err(Refusal::of_bad)?;
    let status = newest(&interface);
    Ok(Json(ShownGroup::all(&status.view, &query)).into_response())
}

async fn post_alerts(_: Writer) -> Refusal {
    let text = "alerts come from rules: write one, or send yours to an Alertmanager";
    Refusal::new(StatusCode::NOT_IMPLEMENTED, text)
}

async fn silences(State(interface): State<Interface>, Query(pairs): Pairs) -> Answer {
    let query = SilencesQuery::read(pairs).map_err(Refusal::of_bad)?;
    let status = newest(&interface);
    let at = status.view.at;
    let mut taken: Vec<&Silence> =
        status.view.silences.iter().filter(|silence| query.takes(silence, at)).collect();
    taken.sort_by_key(|silence| shapes::silence_order(silence, at));
    let shown: Vec<_> = taken.into_iter().map(|silence| ShownSilence::new(silence, at)).collect();
    Ok(Json(shown).into_response())
}

async fn silence(State(interface): State<Interface>, Path(id): Path<String>) -> Answer {
    let status = newest(&interface);
    let found = status.view.silences.iter().find(|silence| silence.id == id);
    let shown = found.map(|silence| ShownSilence::new(silence, status.view.at));
    Ok(Json(shown.ok_or_else(|| no_silence(&id))?).into_response())
}

fn no_silence(id: &str) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("there is no silence {id:?}"))
}

async fn post_silence(
    _: Writer,
    State(interface): State<Interface>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let now = Timestamp::from_unix_ms(tocsin_extractors::now_ms() as i64);
    let (id, draft) = PostedSilence::read(&body?, now).map_err(Refusal::of_bad)?;
    let dispatch = interface.dispatch()?;
    if let Some(id) = &id {
        expect_silence(dispatch, id)?;
    }
    let id = dispatch.ask(|reply| Request::Silence { id, draft, reply }).await.map_err(Refusal::of_bad)?;
    Ok(Json(json!({"silenceID": id})).into_response())
}

async fn expire_silence(_: Writer, State(interface): State<Interface>, Path(id): Path<String>) -> Answer {
    let dispatch = interface.dispatch()?;
    expect_silence(dispatch, &id)?;
    let done = dispatch.ask(|reply| Request::ExpireSilence { id, reply }).await;
    // As Alertmanager answers where a silence has expired already.
    done.map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
    Ok(StatusCode::OK.into_response())
}

fn expect_silence(dispatch: &Dispatch, id: &str) -> Result<(), Refusal> {
    let is_there = dispatch.status().view.silences.iter().any(|silence| silence.id == id);
    if is_there { Ok(()) } else { Err(no_silence(id)) }
}
