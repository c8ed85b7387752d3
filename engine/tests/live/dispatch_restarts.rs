//! What dispatch keeps over kills, over a damaged store, and while the disk is full.

use std::process::Command;

use serde_json::{Value, json};
use tocsin_testing::eventually;

use crate::dispatch_log::{Reason, Stored, notifications, reasons};
use crate::harness::{PATIENCE, Tocsin};
use crate::peers::Peers;
use crate::receiver::{Arrived, Mood, Receiver};

/// A token for writes over HTTP.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn config(peers: &Peers, receiver: &Receiver, group_wait: &str) -> String {
    format!(
        "{}[dispatch.route]\nreceiver = \"hook\"\ngroup_by = [\"...\"]\ngroup_wait = {group_wait:?}\n\
         group_interval = \"1s\"\n[[receiver]]\nname = \"hook\"\n[receiver.webhook]\nurl = {:?}\ntimeout = \"2s\"\n",
        peers.config(),
        receiver.url()
    )
}

/// Alerts of a request with a status: their peers.
fn peers_of(arrived: &Arrived, status: &str) -> Vec<u64> {
    let body = arrived.json();
    let alerts = body["alerts"].as_array().expect("alerts").iter();
    alerts
        .filter(|alert| alert["status"] == status)
        .filter_map(|alert| alert["labels"]["peer_id"].as_str()?.parse().ok())
        .collect()
}

/// Since when the one alert of a request fires, if it does.
fn fires_since(arrived: &Arrived) -> Option<String> {
    let body = arrived.json();
    let alert = &body["alerts"][0];
    (alert["status"] == "firing").then(|| alert["startsAt"].to_string())
}

/// Waits until a receiver was told that a peer's alert has this status.
#[track_caller]
fn wait_for(receiver: &Receiver, peer: u64, status: &str) {
    eventually(PATIENCE, &format!("{status} of peer {peer} to be told"), || {
        let arrived = receiver.taken();
        arrived.iter().any(|arrived| peers_of(arrived, status).contains(&peer)).then_some(())
    });
}

/// Has a peer speak until its alert is in the timeline.
#[track_caller]
fn fire(peers: &Peers, tocsin: &Tocsin, peer: u64) {
    eventually(PATIENCE, "the alert to fire", || {
        peers.speak([peer]);
        let timeline = tocsin.timeline();
        let fires = |change: &Value| change["state"] == "firing" && change["key"]["peer_id"] == peer;
        timeline.iter().any(fires).then_some(())
    });
}

/// Texts of emergencies that arrived.
fn emergencies(receiver: &Receiver) -> Vec<String> {
    let arrived = receiver.taken().into_iter().map(|arrived| arrived.body);
    arrived.filter(|body| body.contains("tocsin_store")).collect()
}

#[test]
fn a_kill_while_a_group_waits_loses_nothing_and_repeats_nothing() {
    let peers = Peers::start();
    let receiver = Receiver::start(Mood::Well, 1);
    let mut tocsin = Tocsin::run(&config(&peers, &receiver, "8s"));
    fire(&peers, &tocsin, 7);
    eventually(PATIENCE, "the change to be stored", || (!reasons(&tocsin).is_empty()).then_some(()));
    tocsin.kill();
    assert_eq!(receiver.taken().len(), 0, "the group still waits");
    tocsin.start_again();
    // The alert goes on: it must not resolve before it is told.
    eventually(PATIENCE, "it to be told", || {
        peers.speak([7]);
        (!receiver.taken().is_empty()).then_some(())
    });
    tocsin.kill();
    tocsin.start_again();
    wait_for(&receiver, 7, "resolved");
    tocsin.stop();
    // On a busy machine the peer may have been quiet for so long that its alert resolved and fired again.
    let mut told: Vec<String> = receiver.taken().iter().filter_map(fires_since).collect();
    let count = told.len();
    told.sort();
    told.dedup();
    assert!(count > 0 && told.len() == count, "{:?}", receiver.taken());
}

/// A tocsin that takes writes over HTTP, and the file of its token.
fn with_token(peers: &Peers, receiver: &Receiver) -> (Tocsin, tempfile::NamedTempFile) {
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), TOKEN).expect("writable");
    let config = config(peers, receiver, "100ms");
    let mut tocsin = Tocsin::run(&config);
    tocsin.kill();
    tocsin.configure_http(&format!("token_file = {:?}", token.path().display().to_string()), &config);
    tocsin.start_again();
    (tocsin, token)
}

#[test]
fn what_was_given_up_stays_listed_over_a_kill_and_is_sent_again_when_asked_for() {
    let peers = Peers::start();
    let receiver = Receiver::start(Mood::Refuses, 1);
    let (mut tocsin, _token) = with_token(&peers, &receiver);
    fire(&peers, &tocsin, 7);
    let dead = |stored: &Stored| stored.state == "dead";
    let id = eventually(PATIENCE, "it to be given up", || {
        notifications(&tocsin).into_iter().find(dead).map(|stored| stored.id)
    });
    tocsin.kill();
    tocsin.start_again();
    receiver.becomes(Mood::Well);
    let resend = format!("/api/tocsin/v1/notifications/{id}/resend");
    tocsin.post(&resend, TOKEN, &json!({})).expect("it is sent again");
    eventually(PATIENCE, "it to arrive", || receiver.taken().into_iter().find(|arrived| arrived.id == id));
    let error = tocsin.post(&resend, TOKEN, &json!({})).expect_err("it is no longer given up");
    assert!(error.contains("40"), "{error}");
    tocsin.stop();
    let stored = notifications(&tocsin);
    assert!(stored.iter().any(|stored| stored.id == id && stored.state == "delivered"), "{stored:?}");
}

/// A silence of an hour for the alerts of a peer.
fn silence_of(peer: &str) -> Value {
    let now = jiff::Timestamp::now();
    json!({
        "matchers": [{ "name": "peer_id", "value": peer, "isRegex": false, "isEqual": true }],
        "startsAt": now.to_string(),
        "endsAt": (now + jiff::SignedDuration::from_hours(1)).to_string(),
        "createdBy": "test",
        "comment": "a known peer",
    })
}

#[test]
fn a_silence_that_was_answered_outlives_a_kill() {
    let peers = Peers::start();
    let receiver = Receiver::start(Mood::Well, 1);
    let (mut tocsin, _token) = with_token(&peers, &receiver);
    tocsin.post("/api/v2/silences", TOKEN, &silence_of("7")).expect("the silence is taken");
    tocsin.kill();
    tocsin.start_again();
    let silences = tocsin.get("/api/v2/silences").expect("an answer");
    assert!(silences.contains("a known peer"), "{silences}");
    fire(&peers, &tocsin, 7);
    fire(&peers, &tocsin, 8);
    wait_for(&receiver, 8, "firing");
    let silenced = |reason: &Reason| reason.kind == "silenced";
    eventually(PATIENCE, "the decision", || reasons(&tocsin).iter().any(silenced).then_some(()));
    tocsin.stop();
    assert!(receiver.taken().iter().all(|arrived| peers_of(arrived, "firing") != [7]));
}

#[test]
fn a_store_that_cannot_be_used_ends_tocsin_with_an_error_that_names_it() {
    let peers = Peers::start();
    let receiver = Receiver::start(Mood::Well, 1);
    let mut tocsin = Tocsin::run(&config(&peers, &receiver, "100ms"));
    tocsin.stop();
    let path = tocsin.data().join("store.sqlite");
    std::fs::remove_file(&path).expect("removable");
    std::fs::create_dir(&path).expect("creatable");
    tocsin.start_unwatched();
    assert_ne!(tocsin.process().wait(PATIENCE), Some(0));
    let log = tocsin.log();
    assert!(log.contains("store.sqlite: the store cannot be used, expected"), "{log}");
}

#[test]
fn a_damaged_store_is_told_and_tocsin_goes_on() {
    let peers = Peers::start();
    let receiver = Receiver::start(Mood::Well, 1);
    let mut tocsin = Tocsin::run(&config(&peers, &receiver, "100ms"));
    fire(&peers, &tocsin, 7);
    wait_for(&receiver, 7, "resolved");
    tocsin.stop();
    let path = tocsin.data().join("store.sqlite");
    let mut bytes = std::fs::read(&path).expect("readable");
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 2048].fill(0x5a);
    std::fs::write(&path, bytes).expect("writable");
    tocsin.start_again();
    eventually(PATIENCE, "the damage to be told", || (!emergencies(&receiver).is_empty()).then_some(()));
    assert!(emergencies(&receiver)[0].contains("was damaged"), "{}", emergencies(&receiver)[0]);
    assert!(tocsin.log().contains("store.sqlite.damaged-"), "{}", tocsin.log());
    fire(&peers, &tocsin, 8);
    wait_for(&receiver, 8, "firing");
    tocsin.stop();
    assert_eq!(emergencies(&receiver).len(), 1, "it is told once");
}

#[test]
fn a_store_that_is_damaged_while_tocsin_runs_keeps_what_tocsin_still_knows() {
    let peers = Peers::start();
    let receiver = Receiver::start(Mood::Refuses, 1);
    let (mut tocsin, _token) = with_token(&peers, &receiver);
    tocsin.post("/api/v2/silences", TOKEN, &silence_of("9")).expect("the silence is taken");
    fire(&peers, &tocsin, 7);
    let dead = |stored: &Stored| stored.state == "dead";
    let id = eventually(PATIENCE, "it to be given up", || {
        notifications(&tocsin).into_iter().find(dead).map(|stored| stored.id)
    });
    let connection = rusqlite::Connection::open(tocsin.data().join("store.sqlite")).expect("a store");
    connection.busy_timeout(PATIENCE).expect("set");
    connection.execute("UPDATE notifications SET body = x'5a'", []).expect("stored");
    connection.execute("DELETE FROM state WHERE kind = 'silence'", []).expect("stored");
    drop(connection);
    receiver.becomes(Mood::Well);
    let resend = format!("/api/tocsin/v1/notifications/{id}/resend");
    tocsin.post(&resend, TOKEN, &json!({})).expect("it is tried");
    eventually(PATIENCE, "the damage to be told", || (!emergencies(&receiver).is_empty()).then_some(()));
    tocsin.kill();
    tocsin.start_again();
    let silences = tocsin.get("/api/v2/silences").expect("an answer");
    assert!(silences.contains("a known peer"), "{silences}");
    fire(&peers, &tocsin, 8);
    wait_for(&receiver, 8, "firing");
    tocsin.stop();
    assert_eq!(emergencies(&receiver).len(), 1, "it is told once");
}

/// Files of a process may not grow beyond this; "unlimited" for any size.
fn limit_files(pid: u32, size: &str) {
    let arguments = ["--pid".to_string(), pid.to_string(), format!("--fsize={size}:unlimited")];
    let status = Command::new("prlimit").args(arguments).status().expect("prlimit is there");
    assert!(status.success(), "the limit can be set");
}

#[test]
fn a_full_disk_is_told_loudly_and_loses_nothing_when_there_is_space_again() {
    let peers = Peers::start();
    let receiver = Receiver::start(Mood::Well, 1);
    let mut tocsin = Tocsin::run_below_limits(&config(&peers, &receiver, "100ms"));
    fire(&peers, &tocsin, 7);
    wait_for(&receiver, 7, "resolved");
    eventually(PATIENCE, "nothing else to be stored", || {
        notifications(&tocsin).iter().all(|stored| stored.state == "delivered").then_some(())
    });
    let pid = tocsin.process().pid();
    limit_files(pid, "1");
    let waits = |line: &str| line.contains("can") && line.contains("wait");
    eventually(PATIENCE, "it to be told that nothing can be stored", || {
        peers.speak([8]);
        emergencies(&receiver).iter().any(|body| waits(body)).then_some(())
    });
    // Also the change that ran into it.
    let first = receiver.taken().into_iter().find(|arrived| waits(&arrived.body)).expect("it is told");
    assert_eq!(peers_of(&first, "firing"), [8], "{}", first.body);
    assert!(
        receiver.taken().iter().all(|arrived| peers_of(arrived, "firing") != [8] || waits(&arrived.body))
    );
    limit_files(pid, "unlimited");
    eventually(PATIENCE, "it to be told that it is over", || {
        emergencies(&receiver).iter().any(|body| body.contains("can store again")).then_some(())
    });
    wait_for(&receiver, 8, "firing");
    wait_for(&receiver, 8, "resolved");
    tocsin.stop();
    let stored = notifications(&tocsin);
    assert!(!stored.is_empty() && stored.iter().all(|stored| stored.state == "delivered"), "{stored:?}");
    let log = tocsin.log();
    assert!(log.contains("can be written again"), "{log}");
}
