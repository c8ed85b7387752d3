//! stub
use super::status::StatusBoard;
use tocsin_extractors::CancellationToken;
/// stub
pub async fn serve(_l: tokio::net::TcpListener, _b: StatusBoard, s: CancellationToken) {
    s.cancelled().await
}
