//! The extractor against a node of our own making: versions, answers and damage that no real node shows at will.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, new_client, twoparty};
use prost::Message as _;
use tocsin_proto::pb::event::Event;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::pb::ipc_extractor::ipc::IpcEvent;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;
use tokio_util::compat::{TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};

use super::node_capnp::{init, mining, thread, thread_map};
use super::*;
use crate::{Outgoing, bus};

/// What the node knows and answers.
#[derive(Clone)]
struct Made {
    /// Knows `makeMining @2`, as v29 and v30 do.
    has_old: bool,
    /// Knows `makeMining @3`.
    has_new: bool,
    /// The answers of `waitTipChanged` in their order; the last again and again.
    tips: Vec<Option<(Vec<u8>, i32)>>,
    /// How long each of them takes.
    delay: Duration,
    /// Calls of `waitTipChanged` so far.
    asked: Rc<Cell<usize>>,
    /// Bits of the timeout of the last of them.
    timeout: Rc<Cell<u64>>,
}

impl Made {
    fn with_tips(tips: Vec<Option<(Vec<u8>, i32)>>) -> Self {
        Made {
            has_old: false,
            has_new: true,
            tips,
            delay: Duration::ZERO,
            asked: Rc::default(),
            timeout: Rc::default(),
        }
    }

    fn make(&self, is_known: bool) -> Result<mining::Client, capnp::Error> {
        match is_known {
            true => Ok(new_client(self.clone())),
            false => Err(capnp::Error::unimplemented("no such method".to_string())),
        }
    }
}

impl init::Server for Made {
    async fn construct(
        self: Rc<Self>,
        _: init::ConstructParams,
        mut results: init::ConstructResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_thread_map(new_client(Threads));
        Ok(())
    }

    async fn make_mining_old(
        self: Rc<Self>,
        _: init::MakeMiningOldParams,
        mut results: init::MakeMiningOldResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_result(self.make(self.has_old)?);
        Ok(())
    }

    async fn make_mining(
        self: Rc<Self>,
        _: init::MakeMiningParams,
        mut results: init::MakeMiningResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_result(self.make(self.has_new)?);
        Ok(())
    }
}

struct Threads;

impl thread_map::Server for Threads {
    async fn make_thread(
        self: Rc<Self>,
        _: thread_map::MakeThreadParams,
        mut results: thread_map::MakeThreadResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_result(new_client(Threads));
        Ok(())
    }
}

impl thread::Server for Threads {}

impl mining::Server for Made {
    async fn is_initial_block_download(
        self: Rc<Self>,
        _: mining::IsInitialBlockDownloadParams,
        mut results: mining::IsInitialBlockDownloadResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_result(false);
        Ok(())
    }

    async fn get_tip(
        self: Rc<Self>,
        _: mining::GetTipParams,
        _: mining::GetTipResults,
    ) -> Result<(), capnp::Error> {
        Ok(())
    }

    async fn wait_tip_changed(
        self: Rc<Self>,
        params: mining::WaitTipChangedParams,
        mut results: mining::WaitTipChangedResults,
    ) -> Result<(), capnp::Error> {
        self.timeout.set(params.get()?.get_timeout());
        sleep(self.delay).await;
        let number = self.asked.replace(self.asked.get() + 1).min(self.tips.len() - 1);
        if let Some((hash, height)) = &self.tips[number] {
            let mut block = results.get().init_result();
            block.set_hash(hash);
            block.set_height(*height);
        }
        Ok(())
    }
}

/// Serves one connection.
async fn serve_one(node: Made, reader: OwnedReadHalf, writer: OwnedWriteHalf) {
    let (reader, writer) = (reader.compat(), writer.compat_write());
    let network = twoparty::VatNetwork::new(reader, writer, Side::Server, Default::default());
    let init: init::Client = new_client(node);
    let _ = RpcSystem::new(Box::new(network), Some(init.client)).await;
}

/// Serves all who connect. Must run in a `LocalSet`.
fn serve(node: Made, socket: &Path) {
    let listener = UnixListener::bind(socket).expect("a socket");
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (reader, writer) = stream.into_split();
            spawn_local(serve_one(node.clone(), reader, writer));
        }
    });
}

fn config(socket: PathBuf) -> Config {
    let span = Span::from_millis(200);
    Config { socket, tip_timeout: span, poll_every: span, call_timeout: span }
}

fn next(received: &mut mpsc::Receiver<Outgoing>) -> Option<IpcEvent> {
    let event = Event::decode(received.try_recv().ok()?.payload).expect("an event");
    match event.peer_observer_event {
        Some(PeerObserverEvent::Ipc(ipc)) => ipc.ipc_event,
        other => panic!("{other:?}"),
    }
}

/// Reads the node for a second; how it ended if it did, and the heights it told.
fn read(node: Made) -> (Option<Failure>, Vec<i32>) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path().join("node.sock"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (bus, mut received) = bus();
    let emitter = Emitter::new("alice", "ipc", bus);
    let failure = LocalSet::new().block_on(&runtime, async {
        serve(node, &config.socket);
        let (mut news, mut backoff) = (News::default(), Backoff::default());
        let session = session::read(&config, &emitter, &mut news, &mut backoff);
        timeout(Duration::from_secs(1), session).await.ok().map(|Err(failure)| failure)
    });
    let events = std::iter::from_fn(|| next(&mut received));
    let heights = events.filter_map(|event| match event {
        IpcEvent::BlockTip(tip) => Some(tip.height),
        _ => None,
    });
    (failure, heights.collect())
}

fn tip(height: i32) -> Option<(Vec<u8>, i32)> {
    Some((vec![height as u8; 32], height))
}

#[test]
fn nodes_before_v31_are_asked_by_the_old_method() {
    let node = Made { has_old: true, has_new: false, ..Made::with_tips(vec![tip(1), tip(2)]) };
    let timeout = node.timeout.clone();
    assert_eq!(read(node), (None, vec![1, 2]));
    assert_eq!(timeout.get(), 200f64.to_bits());
}

#[test]
fn from_v31_on_a_timeout_is_combined_with_its_default() {
    let node = Made::with_tips(vec![tip(1), tip(2)]);
    let timeout = node.timeout.clone();
    assert_eq!(read(node), (None, vec![1, 2]));
    assert_eq!(timeout.get(), 200f64.to_bits() ^ f64::MAX.to_bits());
}

#[test]
fn a_node_without_the_interface_is_named_as_such() {
    let node = Made { has_new: false, ..Made::with_tips(vec![tip(1)]) };
    let (failure, heights) = read(node);
    let failure = failure.expect("no interface");
    assert_eq!(failure.to_string(), "this node has no Mining interface; it needs v29 or later");
    assert!(failure.is_absence() && heights.is_empty());
}

#[test]
fn json_rpc_needs_a_node_that_has_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("node.sock");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let outcome = LocalSet::new().block_on(&runtime, async {
        serve(Made::with_tips(vec![tip(1)]), &socket);
        IpcRpc::new(socket).execute("{}".to_string()).await
    });
    assert_eq!(outcome, Err("this node has no Rpc interface; it needs v31.99 or later".to_string()));
}

#[test]
fn an_answer_that_is_no_block_ends_the_connection() {
    for (answer, complaint) in [
        ((vec![1; 31], 1), "the answer to waitTipChanged: a hash of 31 bytes, not 32"),
        ((vec![1; 33], 1), "the answer to waitTipChanged: a hash of 33 bytes, not 32"),
        ((vec![1; 32], -1), "the answer to waitTipChanged: a height of -1"),
    ] {
        let (failure, heights) = read(Made::with_tips(vec![tip(7), Some(answer)]));
        let failure = failure.expect("an error");
        assert_eq!((failure.to_string().as_str(), heights), (complaint, vec![7]));
        assert!(!failure.is_absence());
    }
}

#[test]
fn an_interrupted_wait_is_no_news_and_no_reason_to_hurry() {
    let node = Made::with_tips(vec![tip(7), None]);
    let asked = node.asked.clone();
    assert_eq!(read(node), (None, vec![7]));
    assert!((3..=6).contains(&asked.get()), "asked {} times in a second", asked.get());
}

/// Passes on what the node says, with one bit turned over after `at` bytes.
async fn damage(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut at: usize, bit: u8) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if let Some(byte) = buffer[..length].get_mut(at) {
            *byte ^= 1 << bit;
        }
        at = at.wrapping_sub(length);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn serve_damaged(node: Made, stream: UnixStream, at: usize, bit: u8) {
    let (near, far) = UnixStream::pair().expect("a pair");
    let (near_reader, near_writer) = near.into_split();
    let (far_reader, mut far_writer) = far.into_split();
    let (mut reader, writer) = stream.into_split();
    spawn_local(serve_one(node, near_reader, near_writer));
    spawn_local(async move { tokio::io::copy(&mut reader, &mut far_writer).await });
    damage(far_reader, writer, at, bit).await;
}

/// Reads a node whose answers have this bit turned over until two dozen tips came; true if it ended before.
async fn survive(at: usize, bit: u8) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path().join("node.sock"));
    let listener = UnixListener::bind(&config.socket).expect("a socket");
    let node = Made::with_tips((0..120).map(tip).collect());
    let asked = node.asked.clone();
    let (bus, _received) = bus();
    let emitter = Emitter::new("alice", "ipc", bus);
    let (mut news, mut backoff) = (News::default(), Backoff::default());
    let session = session::read(&config, &emitter, &mut news, &mut backoff);
    let served = async {
        let (stream, _) = listener.accept().await.expect("it connects");
        serve_damaged(node, stream, at, bit).await;
        std::future::pending().await
    };
    let all_is_said = async {
        while asked.get() < 24 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        Err(failure) = session => {
            assert!((10..400).contains(&failure.to_string().len()), "{failure}");
            true
        }
        () = served => false,
        () = all_is_said => false,
        // An answer that was lost is waited for.
        () = sleep(Duration::from_millis(500)) => true,
    }
}

#[test]
fn a_turned_bit_in_any_answer_costs_the_connection_at_most() {
    // The first two kilobytes are the handshake and the first answers. A prime step meets every place of a word.
    let mut cases = (0..2048 * 8).step_by(CASES_STEP).map(|bit| (bit / 8, (bit % 8) as u8));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (ended, total) = LocalSet::new().block_on(&runtime, async {
        let mut running = tokio::task::JoinSet::new();
        let (mut ended, mut total) = (0, 0);
        loop {
            while running.len() < 16
                && let Some((at, bit)) = cases.next()
            {
                running.spawn_local(survive(at, bit));
            }
            let Some(case) = running.join_next().await else { break (ended, total) };
            total += 1;
            ended += usize::from(case.expect("no panic"));
        }
    });
    // Many bits mean nothing; those of pointers, ids and kinds do.
    assert!(ended > total / 10 && ended < total, "{ended} of {total}");
}

/// Every 97th bit; 1 tries them all, in some minutes.
const CASES_STEP: usize = 97;
