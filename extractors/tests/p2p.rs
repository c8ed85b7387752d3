//! The p2p extractor against a real node.

// Tests have clocks and sockets.
#![allow(clippy::disallowed_methods)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prost::Message as _;
use serde_json::{Value, json};
use tocsin_extractors::p2p::{Command, Config, encode_v1};
use tocsin_extractors::{CancellationToken, Emitter, NodeExtractors, bus, start};
use tocsin_proto::pb::bitcoin_primitives::inventory_item::Item;
use tocsin_proto::pb::bitcoin_primitives::{BlockHeader, address};
use tocsin_proto::pb::event::Event;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::pb::observer::ExtractorStatus;
use tocsin_proto::pb::observer::extractor_status::State;
use tocsin_proto::pb::observer::observer::ObserverEvent;
use tocsin_proto::pb::p2p_extractor::HandshakeDone;
use tocsin_proto::pb::p2p_extractor::p2p::P2pEvent;
use tocsin_testing::{Node, eventually, free_port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A busy machine may be slow; a node dials again after up to a minute.
const PATIENCE: Duration = Duration::from_secs(100);
const PING_INTERVAL: Duration = Duration::from_millis(250);
const REGTEST: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

/// A running extractor and all it said.
struct Watch {
    port: u16,
    events: Arc<Mutex<Vec<(Instant, Event)>>>,
    shutdown: CancellationToken,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Watch {
    fn start(settings: Value) -> Self {
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let mut table = json!({"listen": listen, "network": "regtest", "ping_interval": "250ms"});
        table.as_object_mut().expect("a table").extend(settings.as_object().expect("a table").clone());
        let config: Config = serde_json::from_value(table).expect("valid settings");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let (bus, mut received) = bus();
        let shutdown = CancellationToken::new();
        let extractors = NodeExtractors { p2p: Some(config), ..NodeExtractors::default() };
        runtime.block_on(async { start("alice", extractors, &bus, &shutdown) });
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = events.clone();
        std::thread::spawn(move || {
            while let Some(outgoing) = received.blocking_recv() {
                let event = Event::decode(outgoing.payload).expect("an event");
                seen.lock().expect("no panic").push((Instant::now(), event));
            }
        });
        Watch { port, events, shutdown, runtime: Some(runtime) }
    }

    fn addnode(&self) -> String {
        format!("-addnode=127.0.0.1:{}", self.port)
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port))).expect("it listens")
    }

    /// All that happened since, in order.
    fn since(&self, start: Instant) -> Vec<(Instant, PeerObserverEvent)> {
        let events = self.events.lock().expect("no panic");
        let later = events.iter().filter(|(at, _)| *at >= start);
        later.filter_map(|(at, event)| event.peer_observer_event.clone().map(|event| (*at, event))).collect()
    }

    fn p2p_since(&self, start: Instant) -> Vec<(Instant, P2pEvent)> {
        let events = self.since(start).into_iter();
        events.filter_map(|(at, event)| p2p_event(event).map(|event| (at, event))).collect()
    }

    /// The first thing since `start` that `pick` takes.
    #[track_caller]
    fn wait_for<T>(&self, what: &str, start: Instant, pick: impl Fn(&P2pEvent) -> Option<T>) -> T {
        eventually(PATIENCE, what, || self.p2p_since(start).iter().find_map(|(_, event)| pick(event)))
    }

    #[track_caller]
    fn wait_for_handshake(&self, start: Instant) -> HandshakeDone {
        self.wait_for("a handshake", start, |event| match event {
            P2pEvent::HandshakeDone(handshake) => Some(handshake.clone()),
            _ => None,
        })
    }

    /// The header of this hash, and whether it came as a compact block.
    #[track_caller]
    fn wait_for_header(&self, hash: &str, start: Instant) -> (BlockHeader, bool) {
        self.wait_for(&format!("the header of {hash}"), start, |event| match event {
            P2pEvent::HeaderAnnouncement(announcement) => {
                let header = announcement.headers.iter().find(|header| shown(&header.hash) == hash);
                header.map(|header| (header.clone(), announcement.compact))
            }
            _ => None,
        })
    }

    /// The last status since `start` that `is_it` takes.
    #[track_caller]
    fn wait_for_status(
        &self,
        what: &str,
        start: Instant,
        is_it: impl Fn(&ExtractorStatus) -> bool,
    ) -> ExtractorStatus {
        eventually(PATIENCE, what, || {
            let statuses = self.since(start).into_iter().filter_map(|(_, event)| status(event));
            statuses.filter(|status| is_it(status)).last()
        })
    }

    fn pings_since(&self, start: Instant) -> Vec<(Instant, Duration)> {
        let durations = self.p2p_since(start).into_iter().filter_map(|(at, event)| match event {
            P2pEvent::PingDuration(ping) => Some((at, Duration::from_nanos(ping.duration))),
            _ => None,
        });
        durations.collect()
    }

    /// When, how old the oldest, and how many.
    fn pending_since(&self, start: Instant) -> Vec<(Instant, Duration, u32)> {
        let pending = self.p2p_since(start).into_iter().filter_map(|(at, event)| match event {
            P2pEvent::PingPending(pending) => {
                Some((at, Duration::from_nanos(pending.duration), pending.pending))
            }
            _ => None,
        });
        pending.collect()
    }

    /// Inventory entries since `start`.
    fn items_since(&self, start: Instant) -> Vec<Item> {
        let announcements = self.p2p_since(start).into_iter().filter_map(|(_, event)| match event {
            P2pEvent::InventoryAnnouncement(announcement) => Some(announcement.inventory),
            _ => None,
        });
        announcements.flatten().filter_map(|entry| entry.item).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

fn p2p_event(event: PeerObserverEvent) -> Option<P2pEvent> {
    match event {
        PeerObserverEvent::P2p(event) => event.p2p_event,
        _ => None,
    }
}

fn status(event: PeerObserverEvent) -> Option<ExtractorStatus> {
    match event {
        PeerObserverEvent::Observer(event) => match event.observer_event {
            Some(ObserverEvent::Extractor(status)) => Some(status),
            _ => None,
        },
        _ => None,
    }
}

/// A hash as people write it.
fn shown(hash: &[u8]) -> String {
    hash.iter().rev().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks the greeting of both sides and that pings are answered all the time.
#[track_caller]
fn check_transport(node: &Node, watch: &Watch, start: Instant, transport: &str) {
    let handshake = watch.wait_for_handshake(start);
    assert_eq!(handshake.transport, transport);
    assert!(handshake.user_agent.starts_with("/Satoshi:"), "{handshake:?}");
    assert_eq!((handshake.start_height, handshake.services & 1), (0, 1));
    let peers = node.rpc("getpeerinfo", json!([]));
    let peer = &peers.as_array().expect("a list")[0];
    assert_eq!(peer["transport_protocol_type"], transport);
    assert_eq!(peer["connection_type"], "manual");
    assert_eq!(peer["services"], "0000000000000000");
    assert!(peer["subver"].as_str().expect("a text").starts_with("/tocsin:"), "{peer}");

    let from = Instant::now();
    let pings =
        eventually(PATIENCE, "ten pongs", || Some(watch.pings_since(from)).filter(|pings| pings.len() >= 10));
    // Nine intervals lie between ten pongs.
    let (first, tenth) = (pings[0].0, pings[9].0);
    assert!(tenth - first > PING_INTERVAL * 7, "{:?}", tenth - first);
    let fastest = pings.iter().map(|(_, duration)| *duration).min().expect("ten");
    println!("{transport}: the fastest of {} pings took {fastest:?}", pings.len());
    assert!(!fastest.is_zero() && fastest < PING_INTERVAL, "{fastest:?}");
}

#[test]
fn a_node_connects_over_v2_and_is_measured_while_it_hangs_and_after_it_died() {
    let (watch, start) = (Watch::start(json!({})), Instant::now());
    let mut node = Node::start(&[&watch.addnode()]);
    check_transport(&node, &watch, start, "v2");

    let stopped_at = Instant::now();
    node.process().send("STOP");
    let seen = eventually(PATIENCE, "eight pending pings", || {
        Some(watch.pending_since(stopped_at)).filter(|seen| seen.len() >= 8)
    });
    // One interval until the next ping, one more until it is missed, and some time for a busy machine.
    let noticed = seen[0].0 - stopped_at;
    println!("a stopped node showed after {noticed:?}");
    assert!(noticed < PING_INTERVAL * 2 + Duration::from_millis(500), "{noticed:?}");
    assert!(seen.windows(2).all(|pair| pair[0].1 < pair[1].1 && pair[0].2 < pair[1].2), "{seen:?}");
    assert!(watch.pings_since(stopped_at + PING_INTERVAL).is_empty());

    let resumed_at = Instant::now();
    node.process().send("CONT");
    let pings = eventually(PATIENCE, "the pongs that were due", || {
        Some(watch.pings_since(resumed_at)).filter(|pings| pings.len() >= 8)
    });
    let longest = pings.iter().map(|(_, duration)| *duration).max().expect("eight");
    assert!(longest >= resumed_at - stopped_at - PING_INTERVAL * 2, "{longest:?}");

    let killed_at = Instant::now();
    node.kill();
    let lost = watch.wait_for("the loss", killed_at, |event| match event {
        P2pEvent::ConnectionLost(lost) => Some(lost.clone()),
        _ => None,
    });
    assert!(["closed", "failed"].contains(&lost.reason.as_str()), "{lost:?}");
    assert!(lost.lasted > 2.0, "{lost:?}");
    watch.wait_for_status("waiting", killed_at, |status| status.state == State::Waiting as i32);
    let started_at = Instant::now();
    node.start_again();
    watch.wait_for_handshake(started_at);
    let up = watch.wait_for_status("up", started_at, |status| status.state == State::Up as i32);
    assert_eq!((up.reconnects, up.errors), (1, 0), "{up:?}");
}

/// Has the node take a transaction that spends what anyone can; returns its wtxid in internal order.
fn send_transaction(node: &Node) -> Vec<u8> {
    let block = node.rpc("getblockhash", json!([1]));
    let coinbase = node.rpc("getblock", json!([block]))["tx"][0].clone();
    let inputs = json!([{"txid": coinbase, "vout": 0}]);
    let raw = node.rpc("createrawtransaction", json!([inputs, [{"data": "00".repeat(40)}]]));
    let txid = node.rpc("sendrawtransaction", json!([raw, 0, 50]));
    let entry = node.rpc("getmempoolentry", json!([txid]));
    let wtxid = entry["wtxid"].as_str().expect("a hash");
    let bytes = (0..32).rev().map(|byte| u8::from_str_radix(&wtxid[2 * byte..2 * byte + 2], 16));
    bytes.collect::<Result<_, _>>().expect("hexadecimal")
}

#[test]
fn a_node_over_v1_announces_blocks_transactions_fees_and_its_address() {
    let (watch, start) = (Watch::start(json!({})), Instant::now());
    let mut node = Node::start(&[
        &watch.addnode(),
        "-v2transport=0",
        "-acceptnonstdtxn=1",
        "-externalip=2.125.160.216",
        "-whitelist=noban,out@127.0.0.1",
    ]);
    check_transport(&node, &watch, start, "v1");

    let hashes = [node.mine(1), node.mine(1)].concat();
    for hash in &hashes {
        let (header, compact) = watch.wait_for_header(hash, start);
        assert!(!compact, "{header:?}");
    }
    let (second, _) = watch.wait_for_header(&hashes[1], start);
    assert_eq!(shown(&second.prev_blockhash), hashes[0]);
    let from = Instant::now();
    let third = &node.mine(1)[0];
    watch.wait_for_header(third, from);
    // By now the node announces by headers alone.
    let blocks = watch.items_since(from).into_iter().filter(|item| matches!(item, Item::Block(_)));
    assert_eq!(blocks.count(), 0);

    node.mine(100);
    let wtxid = send_transaction(&node);
    eventually(PATIENCE, "the transaction", || {
        watch.items_since(from).into_iter().find(|item| *item == Item::Wtx(wtxid.clone()))
    });

    // A node that is no longer behind names its lowest fee rate and its own address to those it connects to.
    node.stop();
    let restarted_at = Instant::now();
    node.start_again();
    let fee = watch.wait_for("a fee filter", restarted_at, |event| match event {
        P2pEvent::FeefilterAnnouncement(fee) => Some(*fee),
        _ => None,
    });
    assert!((0..100_000).contains(&fee), "{fee}");
    let own = watch.wait_for("an address", restarted_at, |event| match event {
        P2pEvent::AddressAnnouncement(announcement) => Some(announcement.addresses[0].clone()),
        _ => None,
    });
    assert_eq!(own.address, Some(address::Address::Ipv4("2.125.160.216".to_string())));
    assert!(own.timestamp > 1_700_000_000 && own.services & 1 == 1, "{own:?}");
}

#[test]
fn blocks_can_be_announced_as_compact_blocks() {
    let (watch, start) = (Watch::start(json!({"blocks": "compact"})), Instant::now());
    let node = Node::start(&[&watch.addnode()]);
    watch.wait_for_handshake(start);
    for hash in [node.mine(1), node.mine(1)].concat() {
        watch.wait_for_header(&hash, start);
    }
    let (header, compact) = watch.wait_for_header(&node.mine(1)[0], start);
    assert!(compact, "{header:?}");
}

#[test]
fn strangers_do_not_disturb_the_node() {
    let (watch, start) = (Watch::start(json!({})), Instant::now());
    let _node = Node::start(&[&watch.addnode()]);
    watch.wait_for_handshake(start);
    let from = Instant::now();

    let mut too_long = REGTEST.to_vec();
    too_long.extend_from_slice(b"version\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0");
    let mut no_version = Vec::new();
    encode_v1(REGTEST, Command::Version, &[1, 2, 3], &mut no_version);
    let other_network = b"\xf9\xbe\xb4\xd9version\0\0\0\0\0".to_vec();
    // No terminator of BIP 324 within the garbage that it allows.
    let noise: Vec<u8> = (0..6000_u32).map(|number| ((number * number) >> 3) as u8).collect();
    for bytes in [too_long, no_version, noise, other_network] {
        let mut stranger = watch.connect();
        stranger.write_all(&bytes).expect("sent");
        stranger.set_read_timeout(Some(PATIENCE)).expect("set");
        // To the end: it is closed from the other side.
        let ended = stranger.read_to_end(&mut Vec::new());
        assert!(!matches!(ended, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock));
    }
    let after = watch.wait_for_status("four errors", from, |status| status.errors >= 4);
    assert_eq!(after.state, State::Up as i32);
    let last = after.last_error.expect("four");
    assert!(last.contains("the peer is on bitcoin, expected regtest"), "{last}");

    // One says that it is a node too, and lies; twelve say nothing and take the room there is.
    let mut impostor = watch.connect();
    let mut hello = Vec::new();
    let mut version = vec![0; 86];
    version[..4].copy_from_slice(&70_016_u32.to_le_bytes());
    encode_v1(REGTEST, Command::Version, &version, &mut hello);
    encode_v1(REGTEST, Command::Verack, &[], &mut hello);
    impostor.write_all(&hello).expect("sent");
    let mut lies = Vec::new();
    for _ in 0..500 {
        encode_v1(REGTEST, Command::FeeFilter, &i64::MAX.to_le_bytes(), &mut lies);
        encode_v1(REGTEST, Command::Inv, &[&[1, 1, 0, 0, 0], [7; 32].as_slice()].concat(), &mut lies);
    }
    impostor.write_all(&lies).expect("sent");
    let mut answer = [0; 24];
    impostor.read_exact(&mut answer).expect("it is answered");
    assert_eq!(&answer[4..11], b"version");
    let idle: Vec<TcpStream> = (0..12).map(|_| watch.connect()).collect();
    watch.wait_for_status("no more room", from, |status| {
        status.last_error.as_deref().is_some_and(|error| error.contains("too many connections"))
    });
    drop(idle);

    let later = Instant::now();
    eventually(PATIENCE, "the node to be measured on", || {
        Some(()).filter(|()| watch.pings_since(later).len() >= 8)
    });
    let odd = watch.p2p_since(from).into_iter().filter(|(_, event)| match event {
        P2pEvent::FeefilterAnnouncement(fee) => *fee == i64::MAX,
        P2pEvent::InventoryAnnouncement(_) | P2pEvent::HandshakeDone(_) => true,
        P2pEvent::ConnectionLost(_) => true,
        _ => false,
    });
    assert_eq!(odd.count(), 0);
}

/// Writes a valid greeting, `bytes` every ten seconds, and returns how long the listener bore it. Time is not
/// real.
async fn drip(bytes: usize) -> Duration {
    let (bus, _received) = bus();
    let port = free_port();
    let table = json!({"listen": format!("127.0.0.1:{port}"), "network": "regtest"});
    let config: Config = serde_json::from_value(table).expect("valid settings");
    let emitter = Emitter::new("alice", "p2p", bus);
    let listener = tokio::spawn(tocsin_extractors::p2p::run(config, emitter, CancellationToken::new()));
    let mut stranger = loop {
        match tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stranger) => break stranger,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    let start = tokio::time::Instant::now();
    let mut greeting = Vec::new();
    encode_v1(REGTEST, Command::Version, &[0; 200], &mut greeting);
    for part in greeting.chunks(bytes) {
        if stranger.write_all(part).await.is_err() {
            break;
        }
        let mut answer = [0; 1];
        match tokio::time::timeout(Duration::from_secs(10), stranger.read(&mut answer)).await {
            Err(_) => {}
            Ok(ended) => {
                assert!(!matches!(ended, Ok(1)), "answered before it had greeted");
                break;
            }
        }
    }
    listener.abort();
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn who_takes_too_long_to_greet_is_sent_away() {
    // One byte at a time never gets as far as a header, twenty do, and neither gets more time.
    for bytes in [1, 20] {
        let borne = drip(bytes).await;
        assert!((55..=75).contains(&borne.as_secs()), "{bytes}: {borne:?}");
    }
}
