//! Reads bitcoin-node's IPC interface: Cap'n Proto over a unix socket.
//!
//! A tip is pushed by the node (`waitTipChanged`), not polled. Blocks that connect faster than one call takes are seen
//! as one tip, which says how many it skips; while the node downloads, tips are read ten times a second at most.

use std::future::Future;
use std::path::PathBuf;

use serde::Deserialize;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{Backoff, Emitter};
use tocsin_proto::Span;

mod answers;
mod connection;
mod local;
mod news;
mod ration;
mod rpc;
mod session;
#[cfg(test)]
mod tests;

use connection::Failure;
use news::News;
pub use rpc::IpcRpc;

/// Generated from `schema/node.capnp`.
#[allow(missing_docs, dead_code, clippy::all)]
mod node_capnp {
    include!(concat!(env!("OUT_DIR"), "/node_capnp.rs"));
}

/// Settings of the IPC extractor. The node is a `bitcoin-node` with `-ipcbind=unix`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The node's socket: `node.sock` in its network's folder, unless `-ipcbind` says otherwise.
    pub socket: PathBuf,
    /// Longest time the node holds a call that waits for the next tip; a dead node is noticed this much later.
    #[serde(default = "default_tip_timeout")]
    pub tip_timeout: Span,
    /// How often initial block download and the answer times are asked for.
    #[serde(default = "default_poll_every")]
    pub poll_every: Span,
    /// A call that is not answered in this time is told as unanswered, and again after each such time.
    #[serde(default = "default_call_timeout")]
    pub call_timeout: Span,
}

fn default_tip_timeout() -> Span {
    Span::from_secs(10)
}

fn default_poll_every() -> Span {
    Span::from_secs(5)
}

fn default_call_timeout() -> Span {
    Span::from_secs(10)
}

/// Shortest configurable time: less would be a load on the node.
const SHORTEST: Span = Span::from_millis(100);

/// Runs until `shutdown` is cancelled.
pub async fn run(mut config: Config, emitter: Emitter, shutdown: CancellationToken) {
    for span in [&mut config.tip_timeout, &mut config.poll_every, &mut config.call_timeout] {
        *span = (*span).max(SHORTEST);
    }
    // Ends the thread also if this future is dropped.
    let stop = shutdown.child_token();
    let _guard = stop.clone().drop_guard();
    let thread = local::spawn("ipc", {
        let emitter = emitter.clone();
        move || follow(config, emitter, stop)
    });
    match thread {
        Ok(end) => assert!(end.await.is_ok(), "the IPC thread panicked"),
        Err(error) => emitter.error(format_args!("no thread for IPC: {error}")),
    }
}

/// Connects, reads until that fails, and connects again.
async fn follow(config: Config, emitter: Emitter, stop: CancellationToken) {
    let mut news = News::default();
    let mut backoff = Backoff::default();
    loop {
        let session = session::read(&config, &emitter, &mut news, &mut backoff);
        let Some(ended) = unless_stopped(&stop, session).await else { return };
        let Err(failure) = ended;
        report(&emitter, &failure);
        if unless_stopped(&stop, sleep(backoff.wait())).await.is_none() {
            return;
        }
    }
}

fn report(emitter: &Emitter, failure: &Failure) {
    if !failure.is_absence() {
        emitter.error(failure);
    }
    emitter.waiting(failure);
}

async fn unless_stopped<T>(stop: &CancellationToken, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        outcome = future => Some(outcome),
        () = stop.cancelled() => None,
    }
}
