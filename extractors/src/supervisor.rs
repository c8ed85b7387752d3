//! Starts the extractors of a node and keeps them running: one that panics is started again, and the others go on.

use std::future::Future;
use std::time::{Duration, Instant};

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
            let started = Instant::now();
            let running = tokio::spawn(run(config.clone(), emitter.clone(), shutdown.clone()));
            let ended = running.await;
            if shutdown.is_cancelled() {
                break;
            }
            // A defect of ours; the node goes on being watched, and what it did meanwhile is lost.
            let why = ended.err().map_or("it ended by itself".to_string(), |error| error.to_string());
            emitter.error(format!("the extractor failed: {why}"));
            emitter.waiting("a new start of the extractor, which failed");
            emitter.lost(1, "what happened while the extractor was failed").await;
            if started.elapsed() > Duration::from_secs(60) {
                backoff.reset();
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use prost::Message as _;
    use tocsin_proto::pb::event::Event;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_extractor_that_fails_is_started_again_and_says_so() {
        let (bus, mut events) = crate::bus();
        let shutdown = CancellationToken::new();
        let starts = Arc::new(AtomicUsize::new(0));
        let counted = starts.clone();
        let run = move |(), emitter: Emitter, shutdown: CancellationToken| {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                assert!(number >= 2, "the first two fail");
                emitter.up("the test");
                shutdown.cancelled().await;
            }
        };
        let task = supervise("alice", "test", (), run, &bus, &shutdown);
        drop(bus);
        tokio::time::sleep(Duration::from_secs(30)).await;
        shutdown.cancel();
        task.await.expect("the supervisor does not fail");
        assert_eq!(starts.load(Ordering::Relaxed), 3);
        let mut told = Vec::new();
        while let Some(event) = events.recv().await {
            told.push(format!("{:?}", Event::decode(event.payload).expect("an event")));
        }
        assert!(told.iter().any(|event| event.contains("a new start")), "{told:?}");
        assert_eq!(told.iter().filter(|event| event.contains("EventsLost")).count(), 2);
        assert!(told.last().expect("a status").contains("Stopped"), "{told:?}");
    }
}
