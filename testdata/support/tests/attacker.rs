//! Each attack does to a real node what it is meant to do.

// Tests have clocks, files and threads.
#![allow(clippy::disallowed_methods)]

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};
use tocsin_testing::attacker::{
    ATTACKS, ForeignChain, Misbehaviour, Peer, addr_flood, connection_churn, getdata_flood, inv_flood,
    misbehave, open_many, orphans, ping_spam,
};
use tocsin_testing::{Node, eventually};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);

/// A node out of initial block download that dials nobody.
#[track_caller]
fn node(options: &[&str]) -> Node {
    let options: Vec<&str> = options.iter().copied().chain(["-connect=0"]).collect();
    let node = Node::start(&options);
    node.mine(1);
    node
}

#[track_caller]
fn bytes_received(info: &Value, command: &str) -> u64 {
    info["bytesrecv_per_msg"][command].as_u64().unwrap_or_default()
}

fn inbound(node: &Node) -> u64 {
    node.rpc("getnetworkinfo", json!([]))["connections_in"].as_u64().expect("a count")
}

fn log(node: &Node) -> String {
    std::fs::read_to_string(node.datadir().join("debug.log")).expect("the node's log")
}

#[test]
fn a_peer_is_known_by_its_address_and_gone_when_dropped() {
    let node = node(&[]);
    let first = Peer::connect(node.p2p_port());
    let second = Peer::connect_from(Ipv4Addr::new(127, 0, 0, 9), node.p2p_port()).expect("a handshake");
    assert_ne!(first.id(&node), second.id(&node));
    let info = second.info(&node).expect("listed");
    assert!(info["addr"].as_str().is_some_and(|address| address.starts_with("127.0.0.9:")));
    assert_eq!(info["inbound"], json!(true));
    first.close();
    eventually(PATIENCE, "one peer to be left", || (inbound(&node) == 1).then_some(()));
    assert!(second.is_connected());
}

#[test]
fn a_peer_answers_the_nodes_pings() {
    let node = node(&[]);
    let peer = Peer::connect(node.p2p_port());
    let answered = |peer: &Peer| bytes_received(&peer.info(&node).expect("listed"), "pong");
    let before = eventually(PATIENCE, "the ping that follows a handshake", || {
        Some(answered(&peer)).filter(|bytes| *bytes > 0)
    });
    node.rpc("ping", json!([]));
    eventually(PATIENCE, "a second pong", || (answered(&peer) > before).then_some(()));
}

#[test]
fn pings_are_sent_at_the_rate_asked_for() {
    let node = node(&[]);
    let peer = Peer::connect(node.p2p_port());
    let sent = ping_spam(&peer, 50, 2 * SECOND).expect("the node takes them");
    assert!((80..=100).contains(&sent), "{sent} pings in two seconds");
    peer.round_trip().expect("the node answers");
    // 24 bytes of header and 8 of nonce.
    assert_eq!(bytes_received(&peer.info(&node).expect("listed"), "ping"), (sent + 1) * 32);
}

#[test]
fn most_of_an_addr_flood_is_rate_limited() {
    let node = node(&[]);
    let peer = Peer::connect(node.p2p_port());
    let messages = addr_flood(&peer, 1000, SECOND / 5, SECOND).expect("the node takes them");
    peer.round_trip().expect("the node answers");
    let info = peer.info(&node).expect("listed");
    let counted = |name: &str| info[name].as_u64().expect("a count");
    // All count as routable, else they would not be counted at all; few pass the limit of one in ten seconds.
    assert_eq!(counted("addr_processed") + counted("addr_rate_limited"), messages * 1000);
    assert!(counted("addr_processed") >= 1 && counted("addr_rate_limited") >= messages * 1000 - 10);
}

#[test]
fn an_inv_flood_makes_the_node_ask() {
    let node = node(&[]);
    let peer = Peer::connect(node.p2p_port());
    let messages = inv_flood(&peer, 1000, SECOND / 5, SECOND).expect("the node takes them");
    peer.round_trip().expect("the node answers");
    let info = peer.info(&node).expect("listed");
    assert_eq!(bytes_received(&info, "inv"), messages * (24 + 3 + 36 * 1000));
    // Inbound peers are asked after two seconds; what they do not have is asked for next.
    eventually(PATIENCE, "a getdata answered by notfound", || {
        (bytes_received(&peer.info(&node).expect("listed"), "notfound") > 0).then_some(())
    });
    assert!(peer.is_connected());
}

#[test]
fn the_node_keeps_the_orphans() {
    let node = node(&[]);
    let peer = Peer::connect(node.p2p_port());
    let sent = orphans(&peer, 100, 2 * SECOND).expect("the node takes them");
    peer.round_trip().expect("the node answers");
    let kept = node.rpc("getorphantxs", json!([1]));
    let kept = kept.as_array().expect("a list");
    assert_eq!(kept.len() as u64, sent);
    assert!(kept.iter().all(|orphan| orphan["from"] == json!([peer.id(&node)])));
}

#[test]
fn the_node_disconnects_for_each_misbehaviour_and_says_why() {
    let node = node(&["-debug=net"]);
    for how in Misbehaviour::ALL {
        let peer = Peer::connect(node.p2p_port());
        let said = format!("Misbehaving: peer={}: {}", peer.id(&node), how.reason());
        misbehave(&peer, how).expect("the node takes it");
        eventually(PATIENCE, how.reason(), || (!peer.is_connected()).then_some(()));
        assert!(log(&node).contains(&said), "{said:?} is not in the log");
    }
}

#[test]
fn requests_for_the_unknown_keep_the_message_handler_busy() {
    let node = node(&[]);
    let watcher = Peer::connect(node.p2p_port());
    let attackers = open_many(node.p2p_port(), 16);
    let median = || {
        let look = |_| {
            std::thread::sleep(SECOND / 4);
            watcher.round_trip().expect("the node answers")
        };
        let mut round_trips: Vec<Duration> = (0..9).map(look).collect();
        round_trips.sort();
        round_trips[4]
    };
    let idle = median();
    let flood = std::thread::spawn(move || getdata_flood(&attackers, 6 * SECOND));
    std::thread::sleep(SECOND);
    let busy = median();
    let sent = flood.join().expect("no panic").expect("the node takes them");
    // Compared with the same machine a moment before: another may be busy with something else.
    assert!(busy > 5 * idle, "{sent} messages; {idle:?} before, {busy:?} meanwhile");
}

#[test]
fn many_connections_come_and_go_together() {
    let node = node(&[]);
    let peers = open_many(node.p2p_port(), 25);
    eventually(PATIENCE, "all to be there", || (inbound(&node) == 25).then_some(()));
    drop(peers);
    eventually(PATIENCE, "all to be gone", || (inbound(&node) == 0).then_some(()));
}

#[test]
fn churn_opens_and_closes() {
    let node = node(&["-debug=net"]);
    let opened = connection_churn(node.p2p_port(), 600, 2 * SECOND).expect("the node takes them");
    assert!((10..=20).contains(&opened), "{opened} in two seconds");
    eventually(PATIENCE, "all to be gone", || (inbound(&node) == 0).then_some(()));
    assert_eq!(log(&node).matches("Cleared nodestate for peer=").count() as u64, opened);
}

#[test]
fn withheld_blocks_leave_the_tip_behind_until_they_are_delivered() {
    let node = node(&[]);
    let peer = Peer::connect(node.p2p_port());
    let chain = ForeignChain::mine(&node, 0, 3);
    let heights = || {
        let info = node.rpc("getblockchaininfo", json!([]));
        (info["headers"].as_u64(), info["blocks"].as_u64())
    };
    chain.announce(&peer).expect("the node takes it");
    eventually(PATIENCE, "the headers", || (heights() == (Some(4), Some(1))).then_some(()));
    peer.round_trip().expect("the node still talks to a peer that withholds");
    assert_eq!(peer.info(&node).expect("listed")["synced_headers"], json!(4));
    chain.deliver(&peer).expect("the node takes them");
    eventually(PATIENCE, "the blocks", || (heights() == (Some(4), Some(4))).then_some(()));
}

#[test]
fn a_longer_foreign_chain_replaces_the_nodes_blocks() {
    let node = node(&[]);
    node.mine(3);
    let peer = Peer::connect(node.p2p_port());
    let chain = ForeignChain::mine(&node, 2, 3);
    chain.announce(&peer).expect("the node takes it");
    chain.deliver(&peer).expect("the node takes them");
    eventually(PATIENCE, "the other tip", || {
        (node.rpc("getbestblockhash", json!([])).as_str() == chain.tip().as_deref()).then_some(())
    });
    assert_eq!(node.rpc("getblockcount", json!([])), json!(5));
}

#[test]
fn every_attack_of_the_catalogue_runs_against_a_real_node() {
    let node = node(&[]);
    for attack in &ATTACKS {
        let done = (attack.run)(node.p2p_port(), SECOND);
        println!("{}: {done:?}", attack.name);
        assert!(done.is_ok(), "{}: {done:?}", attack.name);
    }
}
