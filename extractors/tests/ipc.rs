//! The IPC extractor and JSON-RPC over IPC against a real bitcoin-node, and against what is none.

// Tests have clocks, sockets and threads.
#![allow(clippy::disallowed_methods)]

use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prost::Message as _;
use serde_json::{Value, json};
use tocsin_extractors::ipc::{Config, IpcRpc};
use tocsin_extractors::{CancellationToken, NodeExtractors, bus, start};
use tocsin_proto::pb::event::Event;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::pb::ipc_extractor::ipc::IpcEvent;
use tocsin_proto::pb::ipc_extractor::{BlockTip, Call};
use tocsin_proto::pb::observer::ExtractorStatus;
use tocsin_proto::pb::observer::extractor_status::State;
use tocsin_proto::pb::observer::observer::ObserverEvent;
use tocsin_testing::{Node, eventually};
use tokio::runtime::Runtime;

/// How long a node on a busy machine may take for what it does at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// An extractor that runs, and what it sent.
struct Watch {
    runtime: Option<Runtime>,
    events: Arc<Mutex<Vec<Event>>>,
    shutdown: CancellationToken,
}

impl Watch {
    fn start(socket: &Path, options: Value) -> Self {
        let mut config = options;
        config["socket"] = json!(socket);
        let config: Config = serde_json::from_value(config).expect("a configuration");
        let runtime = Runtime::new().expect("a runtime");
        let shutdown = CancellationToken::new();
        let (bus, mut received) = bus();
        let extractors = NodeExtractors { ipc: Some(config), ..NodeExtractors::default() };
        runtime.block_on(async { start("alice", extractors, &bus, &shutdown) });
        let events = Arc::new(Mutex::new(Vec::new()));
        runtime.spawn({
            let events = events.clone();
            async move {
                while let Some(outgoing) = received.recv().await {
                    let event = Event::decode(outgoing.payload).expect("an event");
                    events.lock().expect("no panic").push(event);
                }
            }
        });
        Watch { runtime: Some(runtime), events, shutdown }
    }

    fn all<T>(&self, pick: impl Fn(PeerObserverEvent) -> Option<T>) -> Vec<T> {
        let events = self.events.lock().expect("no panic");
        events.iter().filter_map(|event| event.peer_observer_event.clone().and_then(&pick)).collect()
    }

    fn ipc(&self) -> Vec<IpcEvent> {
        self.all(|event| match event {
            PeerObserverEvent::Ipc(ipc) => ipc.ipc_event,
            _ => None,
        })
    }

    fn tips(&self) -> Vec<BlockTip> {
        let tips = self.ipc().into_iter().map(|event| match event {
            IpcEvent::BlockTip(tip) => Some(tip),
            _ => None,
        });
        tips.flatten().collect()
    }

    fn calls(&self) -> Vec<Call> {
        let calls = self.ipc().into_iter().map(|event| match event {
            IpcEvent::IpcCall(call) => Some(call),
            _ => None,
        });
        calls.flatten().collect()
    }

    fn downloads(&self) -> Vec<bool> {
        let downloads = self.ipc().into_iter().map(|event| match event {
            IpcEvent::InitialBlockDownload(download) => Some(download.active),
            _ => None,
        });
        downloads.flatten().collect()
    }

    fn status(&self) -> Option<ExtractorStatus> {
        let mut states = self.all(|event| match event {
            PeerObserverEvent::Observer(observer) => match observer.observer_event {
                Some(ObserverEvent::Extractor(status)) => Some(status),
                _ => None,
            },
            _ => None,
        });
        states.pop()
    }

    #[track_caller]
    fn becomes(&self, state: State) -> ExtractorStatus {
        eventually(PATIENCE, state.as_str_name(), || self.status().filter(|status| status.state() == state))
    }

    /// Ends it in an orderly way, within a second.
    #[track_caller]
    fn stop(mut self) {
        self.shutdown.cancel();
        self.becomes(State::Stopped);
        self.runtime.take().expect("running").shutdown_background();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            self.shutdown.cancel();
            runtime.shutdown_background();
        }
    }
}

/// A hash as RPC writes it.
fn hash_text(hash: &[u8]) -> String {
    hash.iter().rev().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn tips_come_at_once_and_none_is_lost_without_a_word() {
    let node = Node::start_ipc(&[]);
    let watch = Watch::start(&node.socket(), json!({"poll_every": "500ms"}));
    let genesis = eventually(Duration::from_secs(5), "the tip at the start", || watch.tips().pop());
    assert_eq!((genesis.height, genesis.skipped), (0, Some(0)));
    eventually(PATIENCE, "download to be told", || (watch.downloads() == [true]).then_some(()));

    for height in 1..=5 {
        let hash = node.mine(1).remove(0);
        let tip = eventually(Duration::from_secs(1), "the mined block", || {
            watch.tips().pop().filter(|tip| tip.height == height)
        });
        assert_eq!(hash_text(&tip.hash), hash);
    }
    // A current block ends initial block download.
    eventually(PATIENCE, "the end of download", || (watch.downloads() == [true, false]).then_some(()));

    let last = node.mine(50).pop().expect("a hash");
    let tip = eventually(Duration::from_secs(1), "the last of many", || {
        watch.tips().pop().filter(|tip| tip.height == 55)
    });
    assert_eq!(hash_text(&tip.hash), last);
    let tips = watch.tips();
    for (before, after) in tips.iter().zip(&tips[1..]) {
        let skipped = after.skipped.expect("ours says so") as i32;
        assert_eq!(after.height, before.height + 1 + skipped, "{tips:?}");
    }
    eprintln!("50 blocks in one call were told as {} tips", tips.len() - 6);

    let methods: Vec<String> = watch.calls().into_iter().map(|call| call.method).collect();
    for method in ["makeMining", "getTip", "isInitialBlockDownload"] {
        assert!(methods.iter().any(|called| called == method), "{method}: {methods:?}");
    }
    assert!(watch.calls().iter().all(|call| call.answered && call.duration < 10.0), "{:?}", watch.calls());
    // The node outlives a watcher that leaves in the middle of its calls.
    watch.stop();
    assert_eq!(node.rpc("getblockcount", json!([])), json!(55));
}

#[test]
fn the_node_holds_the_call_until_there_is_a_tip() {
    let node = Node::start_ipc(&["-debug=ipc"]);
    let watch = Watch::start(&node.socket(), json!({"tip_timeout": "1h"}));
    let asked = || {
        let log = std::fs::read(node.datadir().join("debug.log")).expect("a log");
        let log = String::from_utf8_lossy(&log);
        log.lines().filter(|line| line.contains(" recv ") && line.contains("waitTipChanged")).count()
    };
    eventually(PATIENCE, "the first tip", || watch.tips().pop());
    eventually(PATIENCE, "the second call", || (asked() == 2).then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(asked(), 2);
    node.mine(1);
    eventually(PATIENCE, "the block", || watch.tips().pop().filter(|tip| tip.height == 1));
    eventually(PATIENCE, "the third call", || (asked() == 3).then_some(()));
}

#[test]
fn a_reorganisation_is_told_and_skips_nothing() {
    let node = Node::start_ipc(&[]);
    let watch = Watch::start(&node.socket(), json!({}));
    let hashes = node.mine(3);
    eventually(PATIENCE, "height 3", || watch.tips().pop().filter(|tip| tip.height == 3));
    node.rpc("invalidateblock", json!([hashes[1]]));
    let tip = eventually(PATIENCE, "height 1", || watch.tips().pop().filter(|tip| tip.height == 1));
    assert_eq!((hash_text(&tip.hash), tip.skipped), (hashes[0].clone(), Some(0)));
}

#[test]
fn a_node_that_goes_away_is_followed_when_it_returns() {
    let mut node = Node::start_ipc(&[]);
    node.mine(2);
    let watch = Watch::start(&node.socket(), json!({}));
    eventually(PATIENCE, "height 2", || watch.tips().pop().filter(|tip| tip.height == 2));
    for is_killed in [true, false] {
        let told = watch.tips().len();
        if is_killed {
            node.kill()
        } else {
            node.stop()
        }
        watch.becomes(State::Waiting);
        node.start_again();
        watch.becomes(State::Up);
        // A new connection tells the tip anew.
        eventually(PATIENCE, "the tip anew", || (watch.tips().len() > told).then_some(()));
        let height = node.rpc("getblockcount", json!([])).as_i64().expect("a number") as i32 + 1;
        node.mine(1);
        eventually(PATIENCE, "the next block", || watch.tips().pop().filter(|tip| tip.height == height));
    }
    let status = watch.becomes(State::Up);
    assert_eq!((status.errors, status.reconnects), (0, 2), "{status:?}");
}

#[test]
fn a_node_that_stands_still_is_told_and_heard_again() {
    let mut node = Node::start_ipc(&[]);
    let options = json!({"poll_every": "200ms", "call_timeout": "500ms", "tip_timeout": "500ms"});
    let watch = Watch::start(&node.socket(), options);
    watch.becomes(State::Up);
    node.process().send("STOP");
    let silent = |method: &'static str| move |call: &Call| call.method == method && !call.answered;
    eventually(PATIENCE, "three reports of silence", || {
        (watch.calls().iter().filter(|call| !call.answered).count() >= 3).then_some(())
    });
    eventually(PATIENCE, "silence of the long poll", || {
        watch.calls().iter().any(silent("waitTipChanged")).then_some(())
    });
    watch.becomes(State::Waiting);
    node.process().send("CONT");
    watch.becomes(State::Up);
    let late = watch.calls().into_iter().find(|call| call.answered && call.duration > 0.5);
    assert!(late.is_some(), "{:?}", watch.calls());
    node.mine(1);
    eventually(PATIENCE, "the next block", || watch.tips().pop().filter(|tip| tip.height == 1));
}

fn request(method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

async fn result(rpc: &IpcRpc, method: &str, params: Value) -> Value {
    let text = rpc.execute(request(method, params)).await.unwrap_or_else(|error| panic!("{method}: {error}"));
    let mut response: Value = serde_json::from_str(&text).expect("JSON");
    response["result"].take()
}

#[test]
fn json_rpc_over_ipc_runs_many_calls_at_once() {
    let node = Node::start_ipc(&[]);
    node.mine(1);
    let runtime = Runtime::new().expect("a runtime");
    let rpc = Arc::new(IpcRpc::new(node.socket()));
    runtime.block_on(async {
        assert_eq!(result(&rpc, "getblockcount", json!([])).await, json!(1));
        assert!(result(&rpc, "uptime", json!([])).await.is_u64());
        // A method's error is a response like any other.
        let response = rpc.execute(request("getblockhash", json!([99]))).await.expect("a response");
        assert!(response.contains("out of range"), "{response}");
        let response = rpc.execute(request("nonsense", json!([]))).await.expect("a response");
        assert!(response.contains("Method not found"), "{response}");
        let response = rpc.execute("no JSON".to_string()).await.expect("a response");
        assert!(response.contains("-32700"), "{response}");

        // Fifteen that last three seconds leave a place for the others.
        let slow: Vec<_> = (0..15)
            .map(|_| {
                let rpc = rpc.clone();
                tokio::spawn(async move { result(&rpc, "waitfornewblock", json!([3000])).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let began = Instant::now();
        let quick: Vec<_> = (0..20)
            .map(|_| {
                let rpc = rpc.clone();
                tokio::spawn(async move { result(&rpc, "getblockcount", json!([])).await })
            })
            .collect();
        for call in quick {
            assert_eq!(call.await.expect("no panic"), json!(1));
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert!(slow.iter().all(|call| !call.is_finished()), "they ran at once");
        for call in slow {
            assert_eq!(call.await.expect("no panic")["height"], json!(1));
        }
    });
}

#[test]
fn json_rpc_over_ipc_outlives_the_node_and_bounds_the_answer() {
    let mut node = Node::start_ipc(&[]);
    let runtime = Runtime::new().expect("a runtime");
    let rpc = IpcRpc::new(node.socket());
    runtime.block_on(result(&rpc, "uptime", json!([])));
    node.kill();
    let error = runtime.block_on(rpc.execute(request("uptime", json!([])))).expect_err("no node");
    assert!(error.contains("node.sock") || error.contains("closed"), "{error}");
    node.start_again();
    runtime.block_on(result(&rpc, "uptime", json!([])));

    // Each of these characters is written as six.
    let echo = |characters: usize| request("echo", json!(["\u{7f}".repeat(characters)]));
    let answer = runtime.block_on(rpc.execute(echo(9 << 20))).expect("54 MiB are allowed");
    assert!(answer.len() > 54 << 20);
    let error = runtime.block_on(rpc.execute(echo(12 << 20))).expect_err("72 MiB are too much");
    assert!(error.contains("larger than"), "{error}");
    runtime.block_on(result(&rpc, "uptime", json!([])));
}

/// What a socket says that is no node's.
type Noise = fn(UnixStream);

/// Listens at `path` and meets everyone with `noise`; counts them.
fn listen(path: &Path, noise: Noise) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(path).expect("a socket");
    let met = Arc::new(AtomicUsize::new(0));
    let count = met.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || noise(stream));
        }
    });
    met
}

fn hang(mut stream: UnixStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

fn random(mut stream: UnixStream) {
    let mut state = 1u64;
    loop {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if stream.write_all(&(state >> 24).to_le_bytes()[..5]).is_err() {
            return;
        }
    }
}

fn huge_segment(mut stream: UnixStream) {
    let _ = stream.write_all(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f]);
    hang(stream);
}

fn many_segments(mut stream: UnixStream) {
    let _ = stream.write_all(&[0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    hang(stream);
}

/// Messages without content, which the protocol answers, without end.
fn empty_messages(mut stream: UnixStream) {
    let message = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    while stream.write_all(&message.repeat(64)).is_ok() {}
}

/// Well-formed questions without end, each to be remembered by whoever is asked: what a connection begins with.
fn questions(mut stream: UnixStream) {
    let mut question = [0; 48];
    for (at, byte) in [(4, 5), (12, 1), (14, 1), (16, 8), (28, 1), (30, 1)] {
        question[at] = byte;
    }
    for number in 0u32.. {
        question[32..36].copy_from_slice(&number.to_le_bytes());
        if stream.write_all(&question).is_err() {
            return;
        }
    }
}

fn web_server(mut stream: UnixStream) {
    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
}

#[test]
fn noise_is_counted_and_the_node_is_found_after_it() {
    let node = Node::start_ipc(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let kinds: [(&str, Noise); 8] = [
        ("closes", drop),
        ("hangs", hang),
        ("random", random),
        ("huge", huge_segment),
        ("segments", many_segments),
        ("empty", empty_messages),
        ("questions", questions),
        ("web", web_server),
    ];
    let watched: Vec<(&str, PathBuf, Watch)> = kinds
        .into_iter()
        .map(|(name, noise)| {
            let link = folder.path().join(format!("{name}.link"));
            let socket = folder.path().join(name);
            listen(&socket, noise);
            symlink(&socket, &link).expect("a link");
            let watch = Watch::start(&link, json!({"call_timeout": "500ms"}));
            (name, link, watch)
        })
        .collect();
    for (name, link, watch) in &watched {
        let status = eventually(PATIENCE, name, || watch.status().filter(|status| status.errors >= 2));
        assert_eq!((status.state(), status.reconnects), (State::Waiting, 0), "{name}: {status:?}");
        eprintln!("{name}: {}", status.last_error.expect("an error"));
        std::fs::remove_file(link).expect("ours");
        symlink(node.socket(), link).expect("a link");
    }
    for (name, _, watch) in &watched {
        eventually(PATIENCE, name, || watch.tips().pop());
    }
}

#[test]
fn json_rpc_over_ipc_gives_up_on_noise() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = Runtime::new().expect("a runtime");
    let kinds: [(&str, Noise); 4] =
        [("closes", drop), ("random", random), ("huge", huge_segment), ("web", web_server)];
    for (name, noise) in kinds {
        let socket = folder.path().join(name);
        let met = listen(&socket, noise);
        let rpc = IpcRpc::new(socket);
        for attempt in 1..=3 {
            let error = runtime.block_on(rpc.execute(request("uptime", json!([])))).expect_err("noise");
            assert!(error.contains("handshake"), "{name}: {error}");
            assert_eq!(met.load(Ordering::Relaxed), attempt, "{name}");
        }
    }
    let rpc = IpcRpc::new(folder.path().join("nobody"));
    let error = runtime.block_on(rpc.execute(request("uptime", json!([])))).expect_err("nobody");
    assert!(error.contains("nobody"), "{error}");
}

#[test]
fn a_node_that_is_not_there_is_no_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let watch = Watch::start(&folder.path().join("node.sock"), json!({}));
    let status = eventually(PATIENCE, "a status that names the socket", || {
        watch.status().filter(|status| status.detail.contains("node.sock"))
    });
    assert_eq!((status.state(), status.errors), (State::Waiting, 0));
    watch.stop();
}
