//! Not here yet.

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::Emitter;

/// Settings of the extractor.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// Runs until `shutdown` is cancelled.
pub async fn run(_config: Config, emitter: Emitter, shutdown: CancellationToken) {
    emitter.waiting("its implementation");
    shutdown.cancelled().await;
}
