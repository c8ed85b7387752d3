//! All five extractors on a real node that is really attacked: each rule fires for the right peer, and resolves.
//!
//! The rules run with their own parameters, so alerts last the five minutes they are meant to last.

use std::collections::BTreeSet;
use std::thread::spawn;
use std::time::{Duration, Instant};

use serde_json::Value;
use tocsin_testing::attacker::{self, Misbehaviour, Peer};
use tocsin_testing::eventually;

use crate::harness::{PATIENCE, Tocsin, replay};
use crate::site::{Site, can_trace};

const ALL: [&str; 5] = ["rpc", "p2p", "log", "ebpf", "ipc"];

/// The changes of a rule into a state; with a peer only those of this peer.
fn changes<'t>(timeline: &'t [Value], rule: &str, state: &str, peer: Option<u64>) -> Vec<&'t Value> {
    let has_key = |change: &Value| match peer {
        None => true,
        Some(peer) => {
            let keys = change["key"].as_object().expect("a key");
            keys.values().any(|key| key.as_str() == Some(&peer.to_string()) || key.as_u64() == Some(peer))
        }
    };
    let fits = |change: &&Value| change["rule"] == rule && change["state"] == state && has_key(change);
    timeline.iter().filter(fits).collect()
}

#[track_caller]
fn wait_for(tocsin: &Tocsin, rule: &str, state: &str, peer: Option<u64>, seconds: u64) {
    let what = format!("{rule} {state} for {peer:?}");
    eventually(Duration::from_secs(seconds), &what, || {
        let timeline = tocsin.timeline();
        (!changes(&timeline, rule, state, peer).is_empty()).then_some(())
    });
    println!("{what}");
}

#[test]
fn every_attack_is_told_and_is_over_when_it_is_over() {
    if !can_trace() {
        return;
    }
    let mut site = Site::start();
    let mut tocsin = Tocsin::run(&site.config("alice", &ALL));
    for extractor in ALL {
        eventually(PATIENCE, &format!("{extractor} to read the node"), || {
            let series = format!("tocsin_extractor_up{{extractor=\"{extractor}\",node=\"alice\"}}");
            tocsin.metric(&series).filter(|up| *up == 1.0)
        });
    }
    let port = site.node.p2p_port();
    let began = Instant::now();

    // Many connections that stay for a while; and attackers meanwhile.
    let crowd = attacker::open_many(port, 25);
    let attackers: Vec<Peer> = (0..5).map(|_| Peer::connect(port)).collect();
    let ids: Vec<u64> = attackers.iter().map(|peer| peer.id(&site.node).expect("connected") as u64).collect();
    let mut attackers = attackers.into_iter();
    let mut next = || attackers.next().expect("five");
    let (pinging, flooding, announcing, orphaning, breaking) = (next(), next(), next(), next(), next());
    let seconds = Duration::from_secs;
    let attacks = [
        spawn(move || attacker::ping_spam(&pinging, 10, seconds(15)).map(|_| ())),
        spawn(move || attacker::addr_flood(&flooding, 1000, seconds(2), seconds(10)).map(|_| ())),
        spawn(move || attacker::inv_flood(&announcing, 1000, seconds(1), seconds(10)).map(|_| ())),
        spawn(move || attacker::orphans(&orphaning, 20, seconds(15)).map(|_| ())),
    ];
    attacker::misbehave(&breaking, Misbehaviour::HeaderWithoutWork).expect("sent");
    for attack in attacks {
        attack.join().expect("no panic").expect("the attack went on");
    }
    let by_peer = [
        ("ping_spam", ids[0]),
        ("addr_flood", ids[1]),
        ("inv_flood", ids[2]),
        ("orphan_dos", ids[3]),
        ("peer_misbehaving", ids[4]),
    ];
    for (rule, peer) in by_peer {
        wait_for(&tocsin, rule, "firing", Some(peer), 40);
    }

    std::thread::sleep(seconds(75).saturating_sub(began.elapsed()));
    drop(crowd);
    wait_for(&tocsin, "inbound_drop", "firing", None, 60);

    std::thread::sleep(seconds(150).saturating_sub(began.elapsed()));
    let busy: Vec<Peer> = attacker::open_many(port, 16);
    attacker::getdata_flood(&busy, seconds(45)).expect("the attack went on");
    drop(busy);
    wait_for(&tocsin, "ping_backlog", "firing", None, 30);

    for rule in ["ping_backlog", "inbound_drop"] {
        wait_for(&tocsin, rule, "resolved", None, 300);
    }
    for (rule, peer) in by_peer {
        wait_for(&tocsin, rule, "resolved", Some(peer), 360);
    }

    // The node is stopped for more than a minute, and comes back.
    site.node.stop();
    wait_for(&tocsin, "node_unreachable", "firing", None, 120);
    site.node.start_again();
    wait_for(&tocsin, "node_unreachable", "resolved", None, 90);
    wait_for(&tocsin, "node_restarted", "firing", None, 60);
    tocsin.stop();

    let timeline = tocsin.timeline();
    for (rule, peer) in by_peer {
        let all = changes(&timeline, rule, "firing", None);
        let right = changes(&timeline, rule, "firing", Some(peer));
        assert_eq!(all, right, "{rule} fired for somebody else");
    }
    let fired: BTreeSet<&str> = timeline
        .iter()
        .filter(|change| change["state"] == "firing")
        .filter_map(|change| change["rule"].as_str())
        .collect();
    let expected = [
        "addr_flood",
        "inbound_drop",
        "inv_flood",
        "node_restarted",
        "node_unreachable",
        "orphan_dos",
        "peer_misbehaving",
        "ping_backlog",
        "ping_spam",
    ];
    assert_eq!(fired.into_iter().collect::<Vec<_>>(), expected);
    // The recording says the same, byte for byte.
    let replayed = replay(&tocsin.recordings());
    assert_eq!(timeline[..], replayed[..timeline.len()]);
}
