//! Starts the extractors of a node and keeps them running: one that panics is started again, and the others go on.

use std::future::Future;
use std::time::Duration;

use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Backoff, Bus, Emitter, ebpf, ipc, log, p2p, rpc};

/// The extractors of one node: those whose table is there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeExtractors {
    /// The JSON-RPC interface.
    pub rpc: Option<rpc::Config>,
    /// A peer the node connects to.
    pub p2p: Option<p2p::Config>,
    /// The node's debug.log.
    pub log: Option<log::Config>,
    /// The node's tracepoints and threads.
    pub ebpf: Option<ebpf::Config>,
    /// The Cap'n Proto interface of bitcoin-node.
    pub ipc: Option<ipc::Config>,
}

impl NodeExtractors {
    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        let NodeExtractors { rpc, p2p, log, ebpf, ipc } = self;
        rpc.is_none() && p2p.is_none() && log.is_none() && ebpf.is_none() && ipc.is_none()
    }
}

/// Starts the extractors of a node. Each ends, after a last status, when `shutdown` is cancelled.
pub fn start(
    node: &str,
    extractors: NodeExtractors,
    bus: &Bus,
    shutdown: &CancellationToken,
) -> Vec<JoinHandle<()>> {
    // A new extractor is one line here, one in `NodeExtractors`, and its module.
    let NodeExtractors { rpc, p2p, log, ebpf, ipc } = extractors;
    let mut tasks = Vec::new();
    tasks.extend(rpc.map(|config| supervise(node, "rpc", config, rpc::run, bus, shutdown)));
    tasks.extend(p2p.map(|config| supervise(node, "p2p", config, p2p::run, bus, shutdown)));
    tasks.extend(log.map(|config| supervise(node, "log", config, log::run, bus, shutdown)));
    tasks.extend(ebpf.map(|config| supervise(node, "ebpf", config, ebpf::run, bus, shutdown)));
    tasks.extend(ipc.map(|config| supervise(node, "ipc", config, ipc::run, bus, shutdown)));
    tasks
}

fn supervise<C, F>(
    node: &str,
    name: &'static str,
    config: C,
    run: impl Fn(C, Emitter, CancellationToken) -> F + Send + 'static,
    bus: &Bus,
    shutdown: &CancellationToken,
) -> JoinHandle<()>
where
    C: Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let emitter = Emitter::new(node, name, bus.clone());
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        let stop_status = CancellationToken::new();
        let status = tokio::spawn({
            let (emitter, stop) = (emitter.clone(), stop_status.clone());
            async move { emitter.report_status(stop).await }
        });
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        while !shutdown.is_cancelled() {
            let running = tokio::spawn(run(config.clone(), emitter.clone(), shutdown.clone()));
            if let Err(error) = running.await {
                // A defect of ours; the node goes on being watched.
                emitter.error(format!("the extractor failed and is started again: {error}"));
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.wait()) => {}
                () = shutdown.cancelled() => {}
            }
        }
        stop_status.cancel();
        let _ = status.await;
        emitter.stopped().await;
    })
}
