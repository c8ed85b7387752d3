//! The JSON-RPC interface, polled: each answer is an event, and each call is one of its own that says how
//! long it took.
//!
//! All calls are ones that change nothing in the node. A slow one holds up no other, an odd answer costs no
//! more than what is odd in it, and a node that goes away is found again, with the cookie it has then. What
//! is not as expected is counted and named; it stops nothing.

mod call;
mod client;
mod config;
pub mod decode;
mod method;
mod over_ipc;
mod poll;
mod transport;

pub use config::{Config, HttpUrl, Interval, Network, Secret, TransportKind};
pub use method::{METHODS, Method};
use tokio_util::sync::CancellationToken;

use crate::Emitter;

/// Runs until `shutdown` is cancelled.
pub async fn run(config: Config, emitter: Emitter, shutdown: CancellationToken) {
    let mut tasks = poll::start(&config, emitter);
    tokio::select! {
        () = shutdown.cancelled() => {}
        // They have no end of their own, so this is a defect of ours: the supervisor starts the extractor
        // again.
        Some(Err(error)) = tasks.join_next() => std::panic::resume_unwind(error.into_panic()),
    }
    tasks.shutdown().await;
}
