//! stub
use super::status::StatusBoard;
use tocsin_extractors::CancellationToken;
/// stub
pub async fn serve(l: tokio::net::TcpListener, b: StatusBoard, s: CancellationToken) {
    let metrics = {
        let b = b.clone();
        move || {
            let b = b.clone();
            async move {
                format!(
                    "tocsin_recording_events_total {}\n",
                    b.read().recording.as_ref().map_or(0, |r| r.events)
                )
            }
        }
    };
    let ready = move || {
        let b = b.clone();
        async move {
            if b.read().is_ready {
                axum::http::StatusCode::OK
            } else {
                axum::http::StatusCode::SERVICE_UNAVAILABLE
            }
        }
    };
    let app = axum::Router::new()
        .route("/metrics", axum::routing::get(metrics))
        .route("/-/ready", axum::routing::get(ready));
    let _ = axum::serve(l, app).with_graceful_shutdown(async move { s.cancelled().await }).await;
}
