//! What the running program shows over HTTP: metrics for Prometheus, its rules and alerts in Prometheus' shapes, alerts
//! and silences in Alertmanager's, calls of our own for the commands, and a page for people.
//!
//! Every answer is made from the newest [`Status`] and dispatch's; what changes something is asked of dispatch and needs
//! a token (`access`). Alerts name addresses, which are nobody's business elsewhere: on a loopback address only callers
//! that ask for it by address or as localhost are answered, so that no web page can read it under a name of its own (DNS
//! rebinding).

mod access;
mod alertmanager;
mod api;
mod metrics;
mod own;
mod page;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, FromRef, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS,
};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tocsin_engine::rules::Status as RuleStatus;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::dispatch::Dispatch;
use super::dispatch::status::{DispatchStatus, NotificationRecord};
use super::status::{Status, StatusBoard};

use access::Refusal;
use alertmanager::configuration;

/// Requests under way get this long to end at shutdown; a caller that dawdles does not hold the program.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// The engine writes a status each second; if none came for so long, it hangs.
const STATUS_AGE_MAX: Duration = Duration::from_secs(60);
/// Bytes of a request's body; a silence has some hundreds.
const BODY_MAX: usize = 64 << 10;
/// Notifications on the page, and how long it waits for them.
const PAGE_NOTIFICATIONS: usize = 20;
const PAGE_PATIENCE: Duration = Duration::from_secs(2);
/// The page runs nothing and fetches nothing, whatever is in it.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// What is shown, and what is asked to change it.
#[derive(Debug, Clone)]
pub struct Interface {
    /// What the engine says.
    pub board: StatusBoard,
    /// Dispatch, if there is any receiver.
    pub dispatch: Option<Dispatch>,
    /// The file of the token that writes need; without it every write is refused.
    pub token_file: Option<PathBuf>,
    /// Routing as Alertmanager writes it, for `amtool config`.
    pub configuration: Arc<str>,
}

impl Interface {
    /// The interface that a configuration asks for.
    pub fn new(config: &Config, board: StatusBoard, dispatch: Option<Dispatch>) -> Self {
        let configuration = configuration::text(config).into();
        Interface { board, dispatch, token_file: config.http.token_file.clone(), configuration }
    }

    /// Dispatch, or why there is none.
    fn dispatch(&self) -> Result<&Dispatch, Refusal> {
        let text = "dispatch is off, expected a [[receiver]] in the configuration";
        self.dispatch.as_ref().ok_or_else(|| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text))
    }

    /// The newest status of dispatch, if it is on.
    fn dispatch_status(&self) -> Option<Arc<DispatchStatus>> {
        self.dispatch.as_ref().map(Dispatch::status)
    }

    /// The newest notifications; none if dispatch is off or takes its time.
    async fn newest_notifications(&self) -> Vec<NotificationRecord> {
        let Some(dispatch) = &self.dispatch else { return Vec::new() };
        let asked = dispatch.ask(|reply| super::dispatch::Request::Notifications {
            only_dead: false,
            limit: PAGE_NOTIFICATIONS,
            reply,
        });
        match tokio::time::timeout(PAGE_PATIENCE, asked).await {
            Ok(Ok(notifications)) => notifications,
            _ => Vec::new(),
        }
    }
}

impl FromRef<Interface> for StatusBoard {
    fn from_ref(interface: &Interface) -> Self {
        interface.board.clone()
    }
}

/// Answers requests until `shutdown`; returns at most two seconds after it.
pub async fn serve(listener: TcpListener, interface: Interface, shutdown: CancellationToken) {
    let is_local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let mut app = router(interface);
    if is_local {
        app = app.layer(from_fn(only_local_names));
    }
    let serving = axum::serve(listener, app).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let grace = async {
        shutdown.cancelled().await;
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        // It never ends with an error: failures to accept are waited out inside.
        _ = serving => {}
        () = grace => tracing::debug!("HTTP connections were cut at shutdown"),
    }
}

fn router(interface: Interface) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics))
        .route("/api/v1/rules", get(rules))
        .route("/api/v1/alerts", get(alerts))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .nest("/api/v2", alertmanager::router())
        .nest("/api/tocsin/v1", own::router())
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(map_response(as_it_is))
        .with_state(interface)
}

/// Browsers shall neither guess what an answer is nor keep it.
async fn as_it_is(response: Response) -> impl IntoResponse {
    ([(X_CONTENT_TYPE_OPTIONS, "nosniff"), (CACHE_CONTROL, "no-store")], response)
}

async fn page(State(interface): State<Interface>) -> impl IntoResponse {
    let notifications = interface.newest_notifications().await;
    let dispatch = interface.dispatch_status();
    let told = dispatch.as_deref().map(|status| page::Told { status, notifications: &notifications });
    ([(CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(page::render(&interface.board.read(), told)))
}

async fn metrics(State(interface): State<Interface>) -> impl IntoResponse {
    let dispatch = interface.dispatch_status();
    let text = metrics::render(&interface.board.read(), dispatch.as_deref());
    ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text)
}

async fn rules(State(board): State<StatusBoard>, Query(pairs): Query<Vec<(String, String)>>) -> Response {
    match api::RulesQuery::read(pairs) {
        Ok(query) => Json(api::rules(&board.read(), &query)).into_response(),
        Err(error) => {
            let answer = json!({"status": "error", "errorType": "bad_data", "error": error});
            (StatusCode::BAD_REQUEST, Json(answer)).into_response()
        }
    }
}

async fn alerts(State(board): State<StatusBoard>) -> Response {
    Json(api::alerts(&board.read())).into_response()
}

/// 503 if the engine hangs: a monitor that has gone blind must say so.
async fn healthy(State(board): State<StatusBoard>) -> impl IntoResponse {
    match health(&board.read(), Duration::from_millis(tocsin_extractors::now_ms())) {
        Ok(()) => (StatusCode::OK, "tocsin is healthy.\n".to_string()),
        Err(age) => {
            let text = format!("The engine has said nothing for {} s.\n", age.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

async fn ready(State(board): State<StatusBoard>) -> impl IntoResponse {
    match board.read().is_ready {
        true => (StatusCode::OK, "tocsin is ready.\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "tocsin is catching up.\n"),
    }
}

/// The age of the status, if it is too old. While it catches up, the engine has better things to do.
fn health(status: &Status, now: Duration) -> Result<(), Duration> {
    let age = now.saturating_sub(Duration::from_millis(status.at_ms));
    if status.is_ready && age > STATUS_AGE_MAX { Err(age) } else { Ok(()) }
}

async fn only_local_names(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    match host {
        Some(host) if !is_local_name(&host) => {
            let text =
                "asked under a name, expected an address or localhost; a proxy must set the header Host\n";
            (StatusCode::FORBIDDEN, text).into_response()
        }
        _ => next.run(request).await,
    }
}

/// True for `localhost` and for addresses, with or without a port.
fn is_local_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<std::net::IpAddr>().is_ok()
}

/// The word of a rule's status.
fn status_name(status: RuleStatus) -> &'static str {
    match status {
        RuleStatus::Stable => "stable",
        RuleStatus::Experimental => "experimental",
    }
}
