//! The rpc extractor against real nodes, and against a server that does everything wrong.

// Tests have clocks, files and processes.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use prost::Message as _;
use serde_json::{Value, json};
use tocsin_extractors::{CancellationToken, NodeExtractors, Outgoing, bus, start};
use tocsin_proto::pb::event::Event;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::pb::observer::ExtractorStatus;
use tocsin_proto::pb::observer::extractor_status::State;
use tocsin_proto::pb::observer::observer::ObserverEvent;
use tocsin_proto::pb::rpc_extractor::RpcCall;
use tocsin_proto::pb::rpc_extractor::rpc::RpcEvent;
use tocsin_proto::pb::rpc_extractor::rpc_call::Outcome;
use tocsin_testing::Node;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const METHODS: [&str; 13] = [
    "uptime",
    "getpeerinfo",
    "getmempoolinfo",
    "getnettotals",
    "getnetworkinfo",
    "getblockchaininfo",
    "getorphantxs",
    "getaddrmaninfo",
    "getmemoryinfo",
    "getchaintxstats",
    "getchaintips",
    "estimatesmartfee",
    "getrawaddrman",
];

/// A running extractor and what came of it.
struct Watch {
    received: Receiver<Outgoing>,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Watch {
    /// Starts it with this configuration, polling `methods` ten times a second and no others.
    fn start(mut config: Value, methods: &[&str]) -> Self {
        let every = |name: &&str| if methods.contains(name) { "100ms" } else { "off" };
        let intervals = METHODS.iter().map(|name| (name.to_string(), json!(every(name))));
        config["intervals"] = Value::Object(intervals.collect());
        let rpc = serde_json::from_value(config).expect("a configuration");
        let (bus, received) = bus();
        let shutdown = CancellationToken::new();
        let extractors = NodeExtractors { rpc: Some(rpc), ..NodeExtractors::default() };
        let tasks = start("alice", extractors, &bus, &shutdown);
        Watch { received, shutdown, tasks }
    }

    /// Waits for the event that `pick` takes.
    async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(PeerObserverEvent) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let outgoing = self.received.recv().await.expect("the extractor runs");
                let event = Event::decode(outgoing.payload).expect("an event");
                if let Some(found) = event.peer_observer_event.and_then(&mut pick) {
                    return found;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, waiting).await;
        found.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
    }

    async fn until_call(&mut self, method: &str, outcome: Outcome) -> RpcCall {
        let is_it = |call: &RpcCall| call.method == method && call.outcome() == outcome;
        self.until(&format!("{method} with {outcome:?}"), |event| call(event).filter(is_it)).await
    }

    async fn until_state(&mut self, state: State, detail: &str) -> ExtractorStatus {
        let is_it = |status: &ExtractorStatus| status.state() == state && status.detail.contains(detail);
        self.until(&format!("{state:?} with {detail:?}"), |event| status(event).filter(is_it)).await
    }

    /// Tells it to end; the last status.
    async fn end(mut self) -> ExtractorStatus {
        self.shutdown.cancel();
        let last = self.until_state(State::Stopped, "").await;
        for task in self.tasks {
            task.await.expect("no panic");
        }
        last
    }
}

fn rpc_event(event: PeerObserverEvent) -> Option<RpcEvent> {
    match event {
        PeerObserverEvent::Rpc(rpc) => rpc.rpc_event,
        _ => None,
    }
}

fn call(event: PeerObserverEvent) -> Option<RpcCall> {
    match rpc_event(event)? {
        RpcEvent::RpcCall(call) => Some(call),
        _ => None,
    }
}

fn status(event: PeerObserverEvent) -> Option<ExtractorStatus> {
    match event {
        PeerObserverEvent::Observer(observer) => match observer.observer_event? {
            ObserverEvent::Extractor(status) => Some(status),
            _ => None,
        },
        _ => None,
    }
}

fn with_cookie(node: &Node) -> Value {
    let url = format!("http://127.0.0.1:{}", node.rpc_port());
    json!({"url": url, "cookie_file": node.cookie_file(), "timeout": "20s"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_node_answers_all_methods_and_nothing_in_the_answers_is_odd() {
    let node = Node::start(&["-test=addrman"]);
    check_all_methods(&node, with_cookie(&node)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_does_over_its_socket_and_it_is_found_again_there() {
    let mut node = Node::start_ipc(&["-test=addrman"]);
    let config = json!({"transport": "ipc", "socket": node.socket()});
    check_all_methods(&node, config.clone()).await;

    let mut watch = Watch::start(config, &["uptime"]);
    watch.until_call("uptime", Outcome::Ok).await;
    node.kill();
    watch.until_call("uptime", Outcome::Unreachable).await;
    watch.until_state(State::Waiting, "node.sock").await;
    node.start_again();
    watch.until_state(State::Up, "node.sock").await;
    watch.until_call("uptime", Outcome::Ok).await;
    watch.end().await;
}

async fn check_all_methods(node: &Node, config: Value) {
    node.mine(3);
    node.rpc("addpeeraddress", json!(["11.20.30.41", 8333, true]));
    let mut watch = Watch::start(config, &METHODS);
    let mut kinds = BTreeMap::new();
    let mut calls = BTreeMap::new();
    watch
        .until("all methods", |event| {
            match rpc_event(event)? {
                RpcEvent::RpcCall(call) => {
                    assert_eq!(call.outcome(), Outcome::Ok, "{call:?}");
                    assert!(call.duration > 0.0 && call.response_bytes > 10, "{call:?}");
                    calls.insert(call.method.clone(), call);
                }
                other => {
                    kinds.insert(format!("{:?}", std::mem::discriminant(&other)), other);
                }
            }
            (calls.len() == METHODS.len() && kinds.len() == METHODS.len()).then_some(())
        })
        .await;
    let blocks = kinds.values().find_map(|kind| match kind {
        RpcEvent::BlockchainInfo(chain) => Some(chain.blocks),
        _ => None,
    });
    let tip = kinds.values().find_map(|kind| match kind {
        RpcEvent::ChainTips(tips) => Some(tips.tips[0].status.as_str()),
        _ => None,
    });
    assert_eq!((blocks, tip), (Some(3), Some("active")));
    let last = watch.end().await;
    assert_eq!((last.errors, last.last_error), (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_or_dies_is_found_again_with_its_new_cookie() {
    let mut node = Node::start(&[]);
    let cookie = std::fs::read_to_string(node.cookie_file()).expect("a cookie");
    let mut watch = Watch::start(with_cookie(&node), &["uptime", "getpeerinfo"]);
    watch.until_state(State::Up, "127.0.0.1").await;
    watch.until_call("getpeerinfo", Outcome::Ok).await;

    node.stop();
    let gone = watch.until_call("uptime", Outcome::Unreachable).await;
    assert!(gone.error.is_some() && gone.response_bytes == 0, "{gone:?}");
    watch.until_state(State::Waiting, ".cookie: No such file").await;
    node.start_again();
    assert_ne!(std::fs::read_to_string(node.cookie_file()).expect("a cookie"), cookie);
    watch.until_state(State::Up, "127.0.0.1").await;
    watch.until_call("getpeerinfo", Outcome::Ok).await;

    node.kill();
    watch.until_call("uptime", Outcome::Unreachable).await;
    watch.until_state(State::Waiting, "refused").await;
    node.start_again();
    let found = watch.until_state(State::Up, "127.0.0.1").await;
    watch.until_call("getpeerinfo", Outcome::Ok).await;
    assert_eq!((found.reconnects, found.errors), (2, 0), "a node that is gone is no error: {found:?}");
    watch.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_gives_timeouts_and_goes_on_when_it_wakes() {
    let mut node = Node::start(&[]);
    let mut config = with_cookie(&node);
    config["timeout"] = json!("1s");
    let mut watch = Watch::start(config, &["uptime", "getpeerinfo"]);
    watch.until_call("getpeerinfo", Outcome::Ok).await;
    node.process().send("STOP");
    let hung = watch.until_call("uptime", Outcome::Timeout).await;
    assert!((1.0..10.0).contains(&hung.duration), "{hung:?}");
    watch.until_state(State::Waiting, "to answer").await;
    node.process().send("CONT");
    watch.until_state(State::Up, "").await;
    watch.until_call("getpeerinfo", Outcome::Ok).await;
    watch.end().await;
}

/// User alice with the password hunter2.
const ALICE: &str =
    "-rpcauth=alice:aabbccdd$ec045bb196cb886657ccf9f3c016f03791898a31f6b55fd291bc2ba80709fe80";

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_named_but_not_shown_and_the_right_one_is_taken_from_then_on() {
    let node = Node::start(&[ALICE]);
    let folder = tempfile::tempdir().expect("a folder");
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, "sesame\n").expect("writable");
    let url = format!("http://127.0.0.1:{}", node.rpc_port());
    let config = json!({"url": url, "user": "alice", "password_file": password_file});
    let mut watch = Watch::start(config, &["uptime"]);
    let refused = watch.until_call("uptime", Outcome::Unauthorized).await;
    let waiting = watch.until_state(State::Waiting, "401").await;
    assert!(!format!("{refused:?}{waiting:?}").contains("sesame"));
    std::fs::write(&password_file, "hunter2\n").expect("writable");
    watch.until_call("uptime", Outcome::Ok).await;
    let last = watch.end().await;
    assert!(last.errors > 0 && !format!("{last:?}").contains("hunter2"), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_the_user_may_not_call_is_left_out_and_the_others_go_on() {
    let node = Node::start(&[ALICE, "-rpcwhitelistdefault=0", "-rpcwhitelist=alice:uptime"]);
    let url = format!("http://127.0.0.1:{}", node.rpc_port());
    let config = json!({"url": url, "user": "alice", "password": "hunter2"});
    let mut watch = Watch::start(config, &["uptime", "getpeerinfo"]);
    watch.until_call("getpeerinfo", Outcome::Unauthorized).await;
    let mut uptimes = 0;
    watch
        .until("ten more polls", |event| {
            let call = call(event)?;
            assert_eq!((call.method.as_str(), call.outcome()), ("uptime", Outcome::Ok));
            uptimes += 1;
            (uptimes == 10).then_some(())
        })
        .await;
    watch.end().await;
}

/// What a server does with a call.
enum Reply {
    /// These bytes, and the connection stays open.
    Raw(String),
    /// These bytes, and the connection is closed without a word.
    ThenClose(String),
    /// Nothing for so long, then an empty object.
    Silence(Duration),
    /// A body without end.
    Endless,
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn result(text: &str) -> Reply {
    Reply::Raw(http("200 OK", &format!(r#"{{"jsonrpc":"2.0","result":{text},"id":1}}"#)))
}

/// What a server saw.
#[derive(Default)]
struct Counts {
    connections: u64,
    /// Calls by method.
    calls: BTreeMap<String, u64>,
    /// Calls by method that are under way.
    pending: BTreeMap<String, u64>,
    /// The most that were under way at once.
    pending_max: BTreeMap<String, u64>,
}

impl Counts {
    /// Returns how often the method was called before.
    fn begin(&mut self, method: &str) -> u64 {
        let pending = self.pending.entry(method.to_string()).or_default();
        *pending += 1;
        let most = self.pending_max.entry(method.to_string()).or_default();
        *most = (*most).max(*pending);
        let calls = self.calls.entry(method.to_string()).or_default();
        *calls += 1;
        *calls - 1
    }

    fn end(&mut self, method: &str) {
        *self.pending.get_mut(method).expect("it began") -= 1;
    }
}

/// The reply to a method that was called so often before.
type Answers = dyn Fn(&str, u64) -> Reply + Send + Sync;

#[derive(Clone)]
struct Server {
    answer: Arc<Answers>,
    counts: Arc<Mutex<Counts>>,
}

impl Server {
    /// Answers each method as `answer` says; its number is how often the method was called before.
    async fn start(answer: impl Fn(&str, u64) -> Reply + Send + Sync + 'static) -> (Value, Server) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let server = Server { answer: Arc::new(answer), counts: Arc::default() };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepting.counts().connections += 1;
                let server = accepting.clone();
                tokio::spawn(async move { server.connection(BufStream::new(stream)).await });
            }
        });
        (json!({"url": url, "user": "alice", "password": "hunter2", "timeout": "2s"}), server)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().expect("no panic")
    }

    async fn connection(&self, mut stream: BufStream<TcpStream>) -> Option<()> {
        loop {
            let method = request(&mut stream).await?;
            let before = self.counts().begin(&method);
            let reply = (self.answer)(&method, before);
            if let Reply::Silence(long) = reply {
                tokio::time::sleep(long).await;
            }
            self.counts().end(&method);
            match reply {
                Reply::Raw(text) => stream.write_all(text.as_bytes()).await.ok()?,
                Reply::Silence(_) => {
                    stream.write_all(http("200 OK", r#"{"result":{}}"#).as_bytes()).await.ok()?;
                }
                Reply::ThenClose(text) => {
                    stream.write_all(text.as_bytes()).await.ok()?;
                    return stream.flush().await.ok();
                }
                Reply::Endless => {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.ok()?;
                    let chunk = format!("10000\r\n{}\r\n", "[".repeat(0x10000));
                    loop {
                        stream.write_all(chunk.as_bytes()).await.ok()?;
                    }
                }
            }
            stream.flush().await.ok()?;
        }
    }
}

/// Reads a request and returns the method it calls; `None` at the end.
async fn request(stream: &mut BufStream<TcpStream>) -> Option<String> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if let Some(number) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = number.trim().parse().expect("a length");
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let call: Value = serde_json::from_slice(&body).expect("JSON");
    Some(call["method"].as_str().expect("a method").to_string())
}

fn wrong(method: &str) -> Reply {
    match method {
        "uptime" => result("81"),
        "getpeerinfo" => {
            Reply::ThenClose(http("200 OK", r#"{"result":[]"#).replace("Length: 1", "Length: 9"))
        }
        "getmempoolinfo" => result("[]"),
        "getnettotals" => Reply::Silence(Duration::from_secs(3600)),
        "getnetworkinfo" => Reply::Endless,
        "getblockchaininfo" => Reply::Raw(http("503 Service Unavailable", "Work queue depth exceeded")),
        "getorphantxs" => result(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
        "getmemoryinfo" => Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{".to_string()),
        "getchaintxstats" => Reply::Raw(http("500 Internal Server Error", "<html>")),
        "getchaintips" => {
            result(r#"[{"height":"7"},{"height":7,"hash":"00","branchlen":0,"status":"active"}]"#)
        }
        "getrawaddrman" => Reply::Raw(http("200 OK", "\u{0}\u{1}\u{2}")),
        "estimatesmartfee" => Reply::ThenClose("\u{0}\u{1}\u{2}".to_string()),
        _ => Reply::Raw(http("500 Internal Server Error", r#"{"error":{"code":-8,"message":"no"}}"#)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_server_answers_nothing_stops_and_the_others_go_on() {
    let (config, _server) = Server::start(|method, _| wrong(method)).await;
    let mut watch = Watch::start(config, &METHODS);
    let mut seen: BTreeMap<String, RpcCall> = BTreeMap::new();
    let mut tips = 0;
    watch
        .until("all methods", |event| {
            match rpc_event(event)? {
                RpcEvent::RpcCall(call) => drop(seen.insert(call.method.clone(), call)),
                RpcEvent::ChainTips(found) => tips = found.tips.len(),
                _ => {}
            }
            (seen.len() == METHODS.len() && tips > 0).then_some(())
        })
        .await;
    assert_eq!(tips, 1, "the one that can be read");
    for (method, outcome, error) in [
        ("uptime", Outcome::Ok, ""),
        ("getpeerinfo", Outcome::Malformed, "cut off"),
        ("getmempoolinfo", Outcome::Malformed, "found a list, expected an object"),
        ("getnettotals", Outcome::Timeout, "in time"),
        ("getblockchaininfo", Outcome::Busy, "queue"),
        ("getorphantxs", Outcome::Malformed, "recursion limit"),
        ("getmemoryinfo", Outcome::Malformed, "larger than"),
        ("getchaintxstats", Outcome::Malformed, "HTTP status 500"),
        ("getchaintips", Outcome::Ok, ""),
        ("getrawaddrman", Outcome::Malformed, "no JSON-RPC"),
        ("estimatesmartfee", Outcome::Malformed, "no HTTP"),
        ("getaddrmaninfo", Outcome::Error, "no (error -8)"),
    ] {
        let call = &seen[method];
        let text = call.error.as_deref().unwrap_or_default();
        assert!(call.outcome() == outcome && text.contains(error), "{call:?}");
    }
    assert_eq!(seen["getaddrmaninfo"].error_code, Some(-8));
    // Too large, or on a slow machine too late.
    assert!([Outcome::Malformed, Outcome::Timeout].contains(&seen["getnetworkinfo"].outcome()));
    watch.until_call("uptime", Outcome::Ok).await;
    let last = watch.end().await;
    assert!(last.errors >= 9 && !format!("{last:?}").contains("hunter2"), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_method_holds_up_no_other_and_is_called_once_at_a_time() {
    let (config, server) = Server::start(|method, _| match method {
        "uptime" => result("81"),
        _ => Reply::Silence(Duration::from_millis(1500)),
    })
    .await;
    let mut watch = Watch::start(config, &["uptime", "getrawaddrman"]);
    let started = Instant::now();
    let mut polls = 0;
    watch
        .until("two slow calls", |event| {
            polls += u64::from(call(event)?.method == "uptime");
            (server.counts().calls.get("getrawaddrman") >= Some(&3)).then_some(())
        })
        .await;
    // Fifteen are half of those that are due in three seconds.
    assert!(polls >= 15 && started.elapsed() >= Duration::from_secs(3), "{polls} polls");
    assert_eq!(server.counts().pending_max["getrawaddrman"], 1);
    watch.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept_and_one_that_was_closed_meanwhile_costs_no_call() {
    let answer = http("200 OK", r#"{"result":81}"#);
    // Every fifth answer is the last of its connection, which the extractor is not told.
    let (config, server) = Server::start(move |_, number| match number % 5 {
        4 => Reply::ThenClose(answer.clone()),
        _ => Reply::Raw(answer.clone()),
    })
    .await;
    let mut watch = Watch::start(config, &["uptime"]);
    for _ in 0..20 {
        let call = watch.until("a call", call).await;
        assert_eq!(call.outcome(), Outcome::Ok, "{call:?}");
    }
    let connections = server.counts().connections;
    assert!((3..=8).contains(&connections), "{connections} connections for 20 calls");
    watch.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_on_a_connection_that_breaks_before_the_answer_is_made_once_more() {
    // The second request on a connection is read, and the connection closed.
    let (config, server) = Server::start(|_, number| match number {
        1 => Reply::ThenClose(String::new()),
        _ => result("81"),
    })
    .await;
    let mut watch = Watch::start(config, &["uptime"]);
    for _ in 0..4 {
        let call = watch.until("a call", call).await;
        assert_eq!(call.outcome(), Outcome::Ok, "{call:?}");
    }
    assert!(server.counts().calls["uptime"] >= 5, "one of them twice");
    watch.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn something_else_that_listens_there_does_not_pass_for_the_node() {
    let (config, _server) = Server::start(|_, number| match number {
        0..3 => Reply::ThenClose("SSH-2.0-OpenSSH\r\n".to_string()),
        3..5 => Reply::Raw(http("200 OK", "<html>")),
        _ => result("81"),
    })
    .await;
    let mut watch = Watch::start(config, &["uptime"]);
    let waiting = watch.until_state(State::Waiting, "no HTTP").await;
    assert!(waiting.errors > 0, "{waiting:?}");
    watch.until_state(State::Waiting, "no JSON-RPC").await;
    watch.until_state(State::Up, "").await;
    watch.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_is_waited_for() {
    let starting = r#"{"result":null,"error":{"code":-28,"message":"Loading block index"},"id":1}"#;
    let (config, server) = Server::start(move |method, number| match (method, number) {
        ("uptime", 0..4) => Reply::Raw(http("500 Internal Server Error", starting)),
        _ => result("81"),
    })
    .await;
    let mut watch = Watch::start(config, &["uptime", "getmempoolinfo"]);
    let warming = watch.until_call("uptime", Outcome::Error).await;
    assert_eq!(warming.error_code, Some(-28));
    watch.until_state(State::Waiting, "the node to finish starting").await;
    assert_eq!(server.counts().calls.get("getmempoolinfo"), None, "the others wait");
    let found = watch.until_state(State::Up, "").await;
    assert_eq!(found.errors, 0, "starting is no error: {found:?}");
    watch.until_call("getmempoolinfo", Outcome::Malformed).await;
    watch.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_the_node_lacks_is_asked_again_only_after_a_restart() {
    let unknown = r#"{"jsonrpc":"2.0","error":{"code":-32601,"message":"Method not found"},"id":1}"#;
    // The uptime falls at the thirtieth poll: the node is another one.
    let (config, server) = Server::start(move |method, number| match method {
        "uptime" => result(if number < 30 { "1000" } else { "3" }),
        _ => Reply::Raw(http("404 Not Found", unknown)),
    })
    .await;
    let mut watch = Watch::start(config, &["uptime", "getorphantxs"]);
    watch.until_call("getorphantxs", Outcome::Error).await;
    watch
        .until("the restart", |event| match rpc_event(event)? {
            RpcEvent::Uptime(3) => Some(()),
            RpcEvent::RpcCall(call) => {
                assert_eq!(call.method, "uptime");
                None
            }
            _ => None,
        })
        .await;
    watch.until_call("getorphantxs", Outcome::Error).await;
    assert_eq!(server.counts().calls["getorphantxs"], 2);
    let last = watch.end().await;
    assert_eq!(last.errors, 0, "{last:?}");
}
