//! The ebpf extractor on real nodes. Needs CAP_BPF and CAP_PERFMON; without them a test says so and ends.

#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use bitcoin::absolute::LockTime;
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness};
use prost::Message as _;
use serde_json::{Value, json};
use tocsin_extractors::ebpf::{Config, Group};
use tocsin_extractors::{CancellationToken, NodeExtractors, Outgoing, bus, start};
use tocsin_proto::pb::bitcoin_primitives::ConnType;
use tocsin_proto::pb::ebpf_extractor::connection_event::Event as Conn;
use tocsin_proto::pb::ebpf_extractor::ebpf::EbpfEvent;
use tocsin_proto::pb::ebpf_extractor::mempool_event::Event as Mempool;
use tocsin_proto::pb::ebpf_extractor::message_event::Msg;
use tocsin_proto::pb::ebpf_extractor::utxo_cache_event::Event as UtxoCache;
use tocsin_proto::pb::ebpf_extractor::validation_event::Event as Validation;
use tocsin_proto::pb::ebpf_extractor::{MessageEvent, Probes, ProcessUsage};
use tocsin_proto::pb::event::Event;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::pb::observer::extractor_status::State;
use tocsin_proto::pb::observer::observer::ObserverEvent;
use tocsin_testing::{Node, eventually, free_port};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

const PATIENCE: Duration = Duration::from_secs(30);
/// Script that anyone can spend, as `Node::mine` pays to.
const ANYONE: [u8; 1] = [0x51];

/// The capabilities to load programs, from /proc: bits 38 and 39.
fn may_load() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is there");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).expect("it is there");
    let needed = 0b11 << 38;
    let may = u64::from_str_radix(effective, 16).expect("hexadecimal") & needed == needed;
    if !may {
        println!("skipped: loading tracepoint programs needs CAP_BPF and CAP_PERFMON");
    }
    may
}

/// A running extractor and what it sent.
struct Extractor {
    runtime: Runtime,
    shutdown: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    received: Receiver<Outgoing>,
    events: Vec<Event>,
}

impl Extractor {
    fn start(config: Config) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let (bus, received) = bus();
        let shutdown = CancellationToken::new();
        let extractors = NodeExtractors { ebpf: Some(config), ..NodeExtractors::default() };
        let tasks = {
            let _runtime = runtime.enter();
            start("alice", extractors, &bus, &shutdown)
        };
        Extractor { runtime, shutdown, tasks, received, events: Vec::new() }
    }

    /// An extractor that has attached to this node.
    fn of(node: &Node) -> Self {
        let mut extractor = Extractor::start(config(node));
        extractor.probes(node.pid());
        extractor
    }

    fn receive(&mut self) {
        while let Ok(outgoing) = self.received.try_recv() {
            self.events.push(Event::decode(outgoing.payload).expect("an event"));
        }
    }

    /// What `pick` makes of the first event it takes.
    #[track_caller]
    fn find<T>(&mut self, what: &str, pick: impl Fn(&EbpfEvent) -> Option<T>) -> T {
        eventually(PATIENCE, what, || {
            self.receive();
            self.events.iter().filter_map(ebpf_event).find_map(&pick)
        })
    }

    #[track_caller]
    fn message(&mut self, command: &str, inbound: bool) -> MessageEvent {
        self.find(command, |event| match event {
            EbpfEvent::Message(message)
                if message.meta.command == command && message.meta.inbound == inbound =>
            {
                Some(message.clone())
            }
            _ => None,
        })
    }

    #[track_caller]
    fn connection<T>(&mut self, what: &str, pick: impl Fn(&Conn) -> Option<T>) -> T {
        self.find(what, |event| match event {
            EbpfEvent::Connection(connection) => connection.event.as_ref().and_then(&pick),
            _ => None,
        })
    }

    #[track_caller]
    fn mempool<T>(&mut self, what: &str, pick: impl Fn(&Mempool) -> Option<T>) -> T {
        self.find(what, |event| match event {
            EbpfEvent::Mempool(mempool) => mempool.event.as_ref().and_then(&pick),
            _ => None,
        })
    }

    /// The event that tells of attaching to process `pid`.
    #[track_caller]
    fn probes(&mut self, pid: u32) -> Probes {
        self.find("attaching", |event| match event {
            EbpfEvent::Probes(probes) if probes.pid == pid => Some(probes.clone()),
            _ => None,
        })
    }

    fn stop(mut self) -> Vec<Event> {
        self.shutdown.cancel();
        for task in std::mem::take(&mut self.tasks) {
            self.runtime.block_on(task).expect("no panic");
        }
        self.receive();
        self.events
    }
}

fn ebpf_event(event: &Event) -> Option<&EbpfEvent> {
    match event.peer_observer_event.as_ref()? {
        PeerObserverEvent::Ebpf(ebpf) => ebpf.ebpf_event.as_ref(),
        _ => None,
    }
}

fn config(node: &Node) -> Config {
    Config { pid_file: Some(node.datadir().join("bitcoind.pid")), ..Config::default() }
}

fn connect(from: &Node, to: &Node) {
    from.rpc("addnode", json!([format!("127.0.0.1:{}", to.p2p_port()), "onetry"]));
}

/// Spends an output that anyone can spend, less a fee.
fn spend(previous: OutPoint, value: u64, fee: u64) -> Transaction {
    let input = TxIn {
        previous_output: previous,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    };
    // Padding: a transaction of less than 65 bytes is not relayed.
    let output = TxOut {
        value: Amount::from_sat(value - fee),
        script_pubkey: ScriptBuf::from_bytes([vec![0x00, 0x14], vec![7; 20]].concat()),
    };
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: vec![input], output: vec![output] }
}

/// The coinbase of a block.
fn coinbase(node: &Node, block: &str) -> (OutPoint, u64) {
    let block: Value = node.rpc("getblock", json!([block, 1]));
    let txid: Txid = block["tx"][0].as_str().expect("a coinbase").parse().expect("an id");
    let raw = node.rpc("getrawtransaction", json!([txid.to_string(), false, block["hash"]]));
    let transaction: Transaction =
        deserialize_hex(raw.as_str().expect("hexadecimal")).expect("a transaction");
    assert_eq!(transaction.output[0].script_pubkey.as_bytes(), ANYONE);
    (OutPoint { txid, vout: 0 }, transaction.output[0].value.to_sat())
}

/// Mines a block whose second transaction has 9,000 outputs: 280 kB, more than the largest class but one takes.
fn mine_large_block(node: &Node) -> (Transaction, Vec<u8>) {
    let blocks = node.mine(101);
    let (previous, value) = coinbase(node, &blocks[0]);
    let mut large = spend(previous, value, 10_000_000);
    large.output = vec![TxOut { value: Amount::from_sat(1_000), ..large.output[0].clone() }; 9_000];
    let mined = node.rpc("generateblock", json!(["raw(51)#8lvh9jxk", [serialize_hex(&large)]]));
    (large, reversed(mined["hash"].as_str().expect("a hash")))
}

fn reversed(hash: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..hash.len() / 2)
        .map(|byte| u8::from_str_radix(&hash[2 * byte..2 * byte + 2], 16).expect("hexadecimal"))
        .collect();
    bytes.reverse();
    bytes
}

#[test]
fn two_nodes_that_connect_show_the_whole_handshake_on_both_sides() {
    if !may_load() {
        return;
    }
    let (alice, bob) = (Node::start(&[]), Node::start(&[]));
    let mut extractor = Extractor::of(&alice);
    let before = Instant::now();
    connect(&bob, &alice);
    let inbound = extractor.connection("an inbound connection", |event| match event {
        Conn::Inbound(inbound) => Some(inbound.clone()),
        _ => None,
    });
    assert_eq!((inbound.conn.conn_type(), inbound.existing_connections), (ConnType::Inbound, 1));
    assert!(inbound.conn.addr.starts_with("127.0.0.1:"), "{}", inbound.conn.addr);
    assert_eq!(inbound.conn.network, 0);
    for inbound in [true, false] {
        let version = extractor.message("version", inbound);
        let Some(Msg::Version(content)) = &version.msg else { panic!("{version:?}") };
        assert!(content.user_agent.starts_with("/Satoshi:"), "{}", content.user_agent);
        assert!(content.nonce != 0 && version.captured.is_none());
        let (verack, ping) = (extractor.message("verack", inbound), extractor.message("ping", inbound));
        assert_eq!((verack.msg, verack.meta.size), (Some(Msg::Verack(true)), 0));
        assert!(matches!(ping.msg, Some(Msg::Ping(ping)) if ping.value != 0));
    }
    bob.rpc("disconnectnode", json!([format!("127.0.0.1:{}", alice.p2p_port())]));
    let closed = extractor.connection("the end of the connection", |event| match event {
        Conn::Closed(closed) => Some(closed.clone()),
        _ => None,
    });
    assert_eq!(closed.conn, inbound.conn);

    connect(&alice, &bob);
    let outbound = extractor.connection("an outbound connection", |event| match event {
        Conn::Outbound(outbound) => Some(outbound.clone()),
        _ => None,
    });
    assert_eq!(outbound.conn.conn_type(), ConnType::Manual);
    assert_eq!(outbound.conn.addr, format!("127.0.0.1:{}", bob.p2p_port()));
    let events = extractor.stop();
    let times: Vec<u64> = events.iter().filter(|e| is_message(e)).map(|e| e.timestamp).collect();
    assert!(times.is_sorted(), "messages are in the order of time: {times:?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let started_ms = (now - before.elapsed()).as_millis() as u64;
    assert!(times.iter().all(|at| (started_ms..=now.as_millis() as u64).contains(at)), "{times:?}");
    let numbers: Vec<u64> = events.iter().filter_map(|event| event.sequence).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
}

fn is_message(event: &Event) -> bool {
    matches!(ebpf_event(event), Some(EbpfEvent::Message(_)))
}

#[test]
fn blocks_transactions_and_replacements_are_seen() {
    if !may_load() {
        return;
    }
    let node = Node::start(&["-acceptnonstdtxn=1"]);
    let blocks = node.mine(102);
    let mut extractor = Extractor::of(&node);
    let (previous, value) = coinbase(&node, &blocks[0]);
    let (cheap, dear) = (spend(previous, value, 1_000), spend(previous, value, 50_000));
    let send =
        |transaction: &Transaction| node.try_rpc("sendrawtransaction", json!([serialize_hex(transaction)]));
    send(&cheap).expect("valid");
    let added = extractor.mempool("a transaction", |event| match event {
        Mempool::Added(added) => Some(added.clone()),
        _ => None,
    });
    let id = |transaction: &Transaction| reversed(&transaction.compute_txid().to_string());
    assert_eq!((added.txid, added.fee, added.vsize), (id(&cheap), 1_000, cheap.vsize() as i32));
    send(&dear).expect("pays more");
    let replaced = extractor.mempool("a replacement", |event| match event {
        Mempool::Replaced(replaced) => Some(replaced.clone()),
        _ => None,
    });
    assert_eq!((replaced.replaced_txid, replaced.replacement_id), (id(&cheap), id(&dear)));
    assert_eq!((replaced.replaced_fee, replaced.replacement_fee), (1_000, 50_000));
    assert!(replaced.replaced_by_transaction);
    let nowhere = spend(OutPoint { txid: dear.compute_txid(), vout: 7 }, 5_000, 1_000);
    send(&nowhere).expect_err("an orphan");
    let rejected = extractor.mempool("a refusal", |event| match event {
        Mempool::Rejected(rejected) => Some(rejected.clone()),
        _ => None,
    });
    assert_eq!(rejected.txid, id(&nowhere));
    assert_eq!(rejected.reason, "bad-txns-inputs-missingorspent");

    let block = node.mine(1).remove(0);
    let removed = extractor.mempool("a removal by a block", |event| match event {
        Mempool::Removed(removed) if removed.reason == "block" => Some(removed.clone()),
        _ => None,
    });
    assert_eq!((removed.txid, removed.fee), (id(&dear), 50_000));
    let connected = extractor.find("a block", |event| match event {
        EbpfEvent::Validation(validation) => validation.event.clone(),
        _ => None,
    });
    let Validation::BlockConnected(connected) = connected;
    assert_eq!((connected.hash, connected.height), (reversed(&block), 103));
    assert_eq!((connected.transactions, connected.inputs), (2, 2));
    assert!(connected.connection_time > 1_000, "nanoseconds: {}", connected.connection_time);
    node.rpc("gettxoutsetinfo", json!([]));
    extractor.find("a flush", |event| match event {
        EbpfEvent::Utxocache(cache) => matches!(cache.event, Some(UtxoCache::Flush(_))).then_some(()),
        _ => None,
    });
    extractor.stop();
}

#[test]
fn a_large_block_arrives_whole_and_a_cut_one_keeps_its_header() {
    if !may_load() {
        return;
    }
    let (alice, bob) = (Node::start(&[]), Node::start(&[]));
    let (large, hash) = mine_large_block(&alice);

    let mut whole = Extractor::of(&bob);
    let mut cut_config = config(&alice);
    (cut_config.capture.payload_bytes, cut_config.capture.block_bytes) = (256, 80);
    let mut cut = Extractor::start(cut_config);
    cut.probes(alice.pid());
    connect(&bob, &alice);
    let is_large = |event: &EbpfEvent| match event {
        EbpfEvent::Message(MessageEvent { meta, captured, msg: Some(Msg::Block(block)) }) => {
            (block.header.hash == hash).then(|| (meta.clone(), *captured, block.clone()))
        }
        _ => None,
    };
    let (meta, captured, block) = whole.find("the block, received", is_large);
    assert!(meta.size > 270_000 && captured.is_none(), "{meta:?}");
    assert_eq!(block.transactions.len(), 2);
    assert_eq!(block.transactions[1].txid, reversed(&large.compute_txid().to_string()));
    assert!(block.transactions[1].raw.as_ref().is_some_and(|raw| raw.len() > 270_000));
    let (meta, captured, block) = cut.find("the block, sent", is_large);
    assert_eq!((meta.inbound, captured, block.transactions.len()), (false, Some(80), 0));
    cut.stop();
    whole.stop();
}

#[test]
fn a_node_that_was_killed_and_started_again_is_attached_to_again() {
    if !may_load() {
        return;
    }
    let (mut alice, bob) = (Node::start(&[]), Node::start(&[]));
    let first = alice.pid();
    let mut extractor = Extractor::of(&alice);
    let probes = extractor.probes(first);
    assert_eq!(probes.missing, Vec::<String>::new());
    assert_eq!(probes.attached.len(), 13);
    assert_eq!(probes.binary, alice.exe().display().to_string());
    alice.kill();
    alice.start_again();
    assert_ne!(alice.pid(), first);
    extractor.probes(alice.pid());
    connect(&bob, &alice);
    extractor.message("version", true);
    alice.stop();
    eventually(PATIENCE, "the state to be waiting", || {
        extractor.receive();
        extractor.events.iter().rev().find_map(status).filter(|state| *state == State::Waiting)
    });
    extractor.stop();
}

fn status(event: &Event) -> Option<State> {
    match event.peer_observer_event.as_ref()? {
        PeerObserverEvent::Observer(observer) => match observer.observer_event.as_ref()? {
            ObserverEvent::Extractor(status) => Some(status.state()),
            _ => None,
        },
        _ => None,
    }
}

#[test]
fn an_extractor_waits_for_a_node_that_is_not_there_and_sees_its_first_connection() {
    if !may_load() {
        return;
    }
    let bob = Node::start(&[]);
    let binary = std::env::temp_dir().join(format!("bitcoind-of-{}", std::process::id()));
    std::fs::copy(bob.exe(), &binary).expect("room for a copy");
    let mut extractor = Extractor::start(Config { binary: Some(binary.clone()), ..Config::default() });
    eventually(PATIENCE, "the state to be waiting", || {
        extractor.receive();
        extractor.events.iter().find_map(status).filter(|state| *state == State::Waiting)
    });
    // The program under another name, as an operator may have several versions.
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = std::process::Command::new(&binary);
    command.arg("-regtest").arg(format!("-datadir={}", folder.path().display()));
    command.arg(format!("-bind=127.0.0.1:{}", free_port())).arg(format!("-rpcport={}", free_port()));
    command.arg(format!("-addnode=127.0.0.1:{}", bob.p2p_port())).args(["-listenonion=0", "-dnsseed=0"]);
    let mut process = tocsin_testing::Process::start(&mut command, &folder.path().join("output.log"));
    extractor.probes(process.pid());
    extractor.message("version", false);
    process.kill();
    extractor.stop();
    std::fs::remove_file(&binary).expect("ours");
}

#[test]
fn the_threads_of_the_node_are_reported_by_name() {
    if !may_load() {
        return;
    }
    let node = Node::start(&[]);
    let mut wanted = config(&node);
    wanted.threads_every = "1s".parse().expect("a span");
    let mut extractor = Extractor::start(wanted);
    extractor.probes(node.pid());
    node.mine(50);
    let usage: ProcessUsage = extractor.find("what the threads use", |event| match event {
        EbpfEvent::Process(usage) => Some(usage.clone()),
        _ => None,
    });
    let names: Vec<&str> = usage.threads.iter().map(|thread| thread.name.as_str()).collect();
    for name in ["b-msghand", "b-net", "b-scheduler"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(usage.threads.iter().all(|thread| (0.0..=1.0).contains(&thread.cpu)));
    assert!(usage.resident > Some(1 << 20) && usage.open_files > Some(10), "{usage:?}");
    assert!((0.9..10.0).contains(&usage.interval), "{}", usage.interval);
    extractor.stop();
}

#[test]
fn what_a_tiny_ring_cannot_hold_is_counted() {
    if !may_load() {
        return;
    }
    let node = Node::start(&[]);
    let mut tiny = config(&node);
    tiny.groups = vec![Group::Coins];
    tiny.rings.utxocache = Some(4);
    let mut extractor = Extractor::start(tiny);
    extractor.probes(node.pid());
    // A page holds 51 coins; a block's come within milliseconds.
    mine_large_block(&node);
    let count = |extractor: &mut Extractor| {
        extractor.receive();
        let is_coin = |event: &&Event| matches!(ebpf_event(event), Some(EbpfEvent::Utxocache(_)));
        let lost: u64 = extractor.events.iter().filter_map(lost).sum();
        (extractor.events.iter().filter(is_coin).count() as u64, lost)
    };
    let (seen, lost) = eventually(PATIENCE, "9,000 coins, seen or lost", || {
        let (seen, lost) = count(&mut extractor);
        (seen + lost >= 9_000).then_some((seen, lost))
    });
    assert!(seen > 0 && lost > 0, "{seen} seen, {lost} lost");
    extractor.stop();
}

fn lost(event: &Event) -> Option<u64> {
    match event.peer_observer_event.as_ref()? {
        PeerObserverEvent::Observer(observer) => match observer.observer_event.as_ref()? {
            ObserverEvent::EventsLost(lost) if lost.what.as_deref() == Some("utxocache ring") => {
                Some(lost.count)
            }
            _ => None,
        },
        _ => None,
    }
}

#[test]
fn a_program_without_tracepoints_is_waited_for_and_named() {
    if !may_load() {
        return;
    }
    let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep is there");
    let mut extractor = Extractor::start(Config { pid: Some(child.id()), ..Config::default() });
    let detail = eventually(PATIENCE, "a state that names the program", || {
        extractor.receive();
        extractor.events.iter().find_map(|event| match event.peer_observer_event.as_ref()? {
            PeerObserverEvent::Observer(observer) => match observer.observer_event.as_ref()? {
                ObserverEvent::Extractor(status) if status.detail.contains("tracepoints") => {
                    Some(status.detail.clone())
                }
                _ => None,
            },
            _ => None,
        })
    });
    assert!(detail.contains("sleep") && detail.contains("WITH_USDT"), "{detail}");
    child.kill().expect("ours");
    child.wait().expect("ours");
    extractor.stop();
}

/// A node of the user `nobody`, with a data folder that is closed to others.
struct NodeOfNobody {
    folder: tempfile::TempDir,
    process: Option<tocsin_testing::Process>,
}

impl NodeOfNobody {
    fn new(exe: &std::path::Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::copy(exe, folder.path().join("bitcoind")).expect("room for a copy");
        std::os::unix::fs::chown(folder.path(), Some(65_534), Some(65_534)).expect("root may");
        NodeOfNobody { folder, process: None }
    }

    fn start(&mut self, peer: &Node) -> u32 {
        self.process = None;
        let folder = self.folder.path();
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(folder.join("bitcoind"));
        command.arg("-regtest").arg(format!("-datadir={}", folder.display())).arg("-listenonion=0");
        command.arg(format!("-bind=127.0.0.1:{}", free_port())).arg(format!("-rpcport={}", free_port()));
        command.arg(format!("-connect=127.0.0.1:{}", peer.p2p_port()));
        let process = tocsin_testing::Process::start(&mut command, &folder.join("output.log"));
        self.process.insert(process).pid()
    }

    fn config(&self) -> Config {
        Config { pid_file: Some(self.folder.path().join("regtest/bitcoind.pid")), ..Config::default() }
    }
}

/// User ids and effective capabilities of our threads called `ebpf`.
fn rights() -> Vec<(String, String)> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("it is there").flatten();
    let statuses = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    let line = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it is there");
        line.trim().to_string()
    };
    let ours = statuses.filter(|status| line(status, "Name:") == "ebpf");
    ours.map(|status| (line(&status, "Uid:"), line(&status, "CapPrm:"))).collect()
}

#[test]
fn the_thread_becomes_the_nodes_user_and_still_attaches_to_a_restarted_node() {
    if !may_load() {
        return;
    }
    let peer = Node::start(&[]);
    let mut node = NodeOfNobody::new(peer.exe());
    let mut extractor = Extractor::start(node.config());
    let first = node.start(&peer);
    assert_eq!(extractor.probes(first).missing, Vec::<String>::new());
    extractor.message("version", true);
    // Capabilities 38 and 39, and of a user who owns nothing.
    let nobody = ("65534\t65534\t65534\t65534".to_string(), "000000c000000000".to_string());
    assert!(rights().contains(&nobody), "{:?}", rights());
    let second = node.start(&peer);
    let probes = extractor.probes(second);
    assert!(probes.binary.ends_with("/bitcoind") && probes.attached.len() == 13, "{probes:?}");
    eventually(PATIENCE, "a message of the second node", || {
        peer.rpc("ping", json!([]));
        extractor.receive();
        let is_attach =
            |event: &Event| matches!(ebpf_event(event), Some(EbpfEvent::Probes(p)) if p.pid == second);
        extractor
            .events
            .iter()
            .skip_while(|event| !is_attach(event))
            .find(|event| is_message(event))
            .map(|_| ())
    });
    extractor.stop();
}
