//! Kills and restarts of each part: what is missing afterwards is named, and nothing else is.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

use prost::Message as _;
use tocsin_proto::archive::{ArchiveReader, Frame, OBSERVER};
use tocsin_proto::pb::observer::observer::ObserverEvent;
use tocsin_proto::pb::observer::{EventsLost, Observer};
use tocsin_testing::{NatsServer, eventually, free_port};

use crate::harness::{PATIENCE, Tocsin, replay_with, root};
use crate::site::Site;

/// What was recorded, in order. A file that was cut off by a kill ends where it ends.
fn recorded(tocsin: &Tocsin) -> Vec<Frame> {
    let mut frames = Vec::new();
    for path in tocsin.recordings() {
        // The newest may have nothing readable yet.
        let Ok(reader) = ArchiveReader::new(File::open(path).expect("readable")) else { continue };
        frames.extend(reader.filter_map(Result::ok));
    }
    frames
}

fn observer(frame: &Frame) -> Option<ObserverEvent> {
    if frame.extractor != OBSERVER {
        return None;
    }
    Observer::decode(frame.body()).expect("decodes").observer_event
}

/// Numbers missing between events, by extractor; a number that starts over is a new start.
fn missing(frames: &[Frame]) -> BTreeMap<String, u64> {
    let names = ["ebpf", "rpc", "p2p", "log", "ipc"];
    let (mut last, mut missing) = (BTreeMap::new(), BTreeMap::new());
    for frame in frames {
        let name = match observer(frame) {
            Some(ObserverEvent::Extractor(status)) => status.name,
            Some(ObserverEvent::EventsLost(lost)) => lost.extractor,
            Some(ObserverEvent::Downtime(_)) => continue,
            None => names[frame.extractor as usize - 1].to_string(),
        };
        let Some(sequence) = frame.sequence else { continue };
        if let Some(before) = last.insert(name.clone(), sequence)
            && sequence > before + 1
        {
            *missing.entry(name).or_default() += sequence - before - 1;
        }
    }
    missing
}

fn losses(frames: &[Frame]) -> Vec<EventsLost> {
    let loss = |frame: &Frame| match observer(frame) {
        Some(ObserverEvent::EventsLost(lost)) => Some(lost),
        _ => None,
    };
    frames.iter().filter_map(loss).collect()
}

fn downtimes(frames: &[Frame]) -> Vec<(u64, u64, bool)> {
    let downtime = |frame: &Frame| match observer(frame) {
        Some(ObserverEvent::Downtime(downtime)) => Some((downtime.from, downtime.until, downtime.clean)),
        _ => None,
    };
    frames.iter().filter_map(downtime).collect()
}

#[track_caller]
fn more_events(tocsin: &Tocsin, count: usize) {
    let before = recorded(tocsin).len();
    eventually(PATIENCE, "more events", || (recorded(tocsin).len() >= before + count).then_some(()));
}

/// Fires with the sixth poll, and only once if windows and alerts outlive a restart.
const POLLS: &str = "const RULE = #{ severity: \"info\", status: \"stable\", every: \"1s\", windows: #{ polls: #{ count: \
                     \"uptime\", over: \"10m\" } } };\nfn check(w, params) { if w.polls > 5 { #{ value: w.polls, limit: 5, \
                     summary: `${w.polls} polls` } } }\n";

/// A folder with the rule `polls`, and the configuration that runs it on a site.
fn polls(site: &Site) -> (tempfile::TempDir, String) {
    let rules = tempfile::tempdir().expect("a folder");
    std::fs::write(rules.path().join("polls.rhai"), POLLS).expect("writable");
    let config = format!(
        "[rules]\npaths = [{:?}]\n[checkpoint]\nevery = \"3s\"\n{}",
        rules.path().display().to_string(),
        site.config("alice", &["rpc", "p2p", "log"])
    );
    (rules, config)
}

#[test]
fn what_was_recorded_without_rules_counts_for_the_next_run() {
    let site = Site::start();
    let (rules, config) = polls(&site);
    let mut tocsin = Tocsin::run(&config);
    eventually(PATIENCE, "the alert", || (!tocsin.timeline().is_empty()).then_some(()));
    tocsin.stop();
    tocsin.becomes("record");
    tocsin.start_again();
    more_events(&tocsin, 20);
    tocsin.stop();
    tocsin.becomes("run");
    tocsin.start_again();
    more_events(&tocsin, 20);
    tocsin.stop();
    let timeline = tocsin.timeline();
    assert_eq!(timeline.len(), 1, "{timeline:?}");
    assert_eq!(timeline, replay_with(rules.path(), &tocsin.recordings()));
    assert!(tocsin.log().contains("read"), "what was recorded is read: {}", tocsin.log());
}

#[test]
fn a_killed_tocsin_goes_on_where_it_was() {
    let site = Site::start();
    let (rules, config) = polls(&site);
    let mut tocsin = Tocsin::run(&config);
    eventually(PATIENCE, "the alert", || (!tocsin.timeline().is_empty()).then_some(()));
    more_events(&tocsin, 30);
    tocsin.kill();
    let last_ms = recorded(&tocsin).last().and_then(|frame| frame.received_at_ms).expect("a stamp");
    std::thread::sleep(Duration::from_secs(2));
    tocsin.start_again();
    more_events(&tocsin, 30);
    tocsin.stop();
    std::thread::sleep(Duration::from_millis(1100));
    tocsin.start_again();
    more_events(&tocsin, 5);
    tocsin.stop();

    let frames = recorded(&tocsin);
    let downtimes = downtimes(&frames);
    assert_eq!(downtimes.len(), 2, "{downtimes:?}");
    let (from, until, clean) = downtimes[0];
    assert_eq!((from, clean), (last_ms, false));
    assert!(until - from >= 2000, "{downtimes:?}");
    assert!(downtimes[1].2, "the second end was an orderly one: {downtimes:?}");
    assert_eq!(missing(&frames), BTreeMap::new());
    assert!(losses(&frames).is_empty());
    // Alerts and windows went on: three runs gave what one replay gives, and the alert fired once.
    let timeline = tocsin.timeline();
    assert_eq!(timeline.len(), 1, "{timeline:?}");
    assert_eq!(timeline, replay_with(rules.path(), &tocsin.recordings()));
}

#[test]
fn a_killed_node_is_waited_for_and_read_again() {
    let mut site = Site::start();
    let tocsin = Tocsin::run(&site.config("alice", &["rpc", "p2p", "log", "ipc"]));
    site.connect_p2p();
    for extractor in ["rpc", "p2p", "log", "ipc"] {
        tocsin.wait_for_extractor(extractor, true);
    }
    site.node.kill();
    // debug.log is still there: the log extractor has nothing to wait for.
    for extractor in ["rpc", "p2p", "ipc"] {
        tocsin.wait_for_extractor(extractor, false);
    }
    site.node.start_again();
    for extractor in ["rpc", "p2p", "log", "ipc"] {
        tocsin.wait_for_extractor(extractor, true);
    }
    more_events(&tocsin, 20);
    assert_eq!(missing(&recorded(&tocsin)), BTreeMap::new());
}

#[test]
fn what_a_killed_nats_server_lost_is_named() {
    let site = Site::start();
    let mut server = NatsServer::start();
    let publish = format!("[publish]\nurl = {:?}\n", server.url());
    let config = publish + &site.config("alice", &["rpc", "p2p"]);
    let mut extractors = [Tocsin::start("extract rpc", &config), Tocsin::start("extract p2p", &config)];
    let mut tocsin = Tocsin::run(&format!("[[nats]]\nname = \"remote\"\nurl = {:?}\n", server.url()));
    more_events(&tocsin, 30);
    server.kill();
    std::thread::sleep(Duration::from_secs(3));
    server.start_again();
    eventually(PATIENCE, "events to come again", || {
        let connected = tocsin.metric("tocsin_source_connected{source=\"remote\"}");
        connected.filter(|connected| *connected == 1.0)
    });
    more_events(&tocsin, 30);
    for extractor in &mut extractors {
        extractor.stop();
    }
    tocsin.stop();

    let frames = recorded(&tocsin);
    let mut named = BTreeMap::new();
    for lost in losses(&frames) {
        *named.entry(lost.extractor).or_default() += lost.count;
    }
    assert_eq!(named, missing(&frames));
    // Extractors held back what they could not send, so an outage of seconds loses little or nothing.
    assert!(named.values().sum::<u64>() < 50, "{named:?}");
}

#[test]
fn an_extractor_without_a_nats_server_ends_when_it_is_told_to() {
    let site = Site::start();
    let publish = "[publish]\nurl = \"nats://127.0.0.1:1\"\n".to_string();
    let mut extractor = Tocsin::start("extract rpc", &(publish + &site.config("alice", &["rpc"])));
    eventually(PATIENCE, "the extractor to start", || extractor.log().contains("waiting for").then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    extractor.stop();
}

#[test]
fn readers_that_leave_stop_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, http) = (folder.path().join("tocsin.toml"), free_port());
    let text = format!(
        "data = {:?}\n[log]\nlevel = \"debug\"\n[http]\nlisten = \"127.0.0.1:{http}\"\n[rules]\npaths = [{:?}]\n\
         [[node]]\nname = \"alice\"\n[node.log]\npath = \"/nowhere/debug.log\"\n",
        folder.path().join("data").display().to_string(),
        root().join("rules").display().to_string(),
    );
    std::fs::write(&config, text).expect("writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tocsin"));
    command.args(["run", "--config"]).arg(&config).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("tocsin starts");
    let ready = || ureq::get(format!("http://127.0.0.1:{http}/-/ready")).call().ok();
    eventually(PATIENCE, "tocsin to be ready", ready);
    drop((child.stdout.take(), child.stderr.take()));
    // It has something to say to nobody: a signal, and the alerts of a node that is not there.
    for signal in ["-HUP", "-TERM"] {
        std::thread::sleep(Duration::from_secs(2));
        assert!(ready().is_some(), "it runs on");
        let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(status.expect("kill is there").success());
    }
    let ended = eventually(PATIENCE, "its end", || child.try_wait().expect("our child"));
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn without_a_node_it_says_what_it_waits_for_and_recovers_when_the_node_comes() {
    let mut site = Site::start();
    let config = site.config("alice", &["rpc", "p2p", "log", "ipc"]);
    site.node.stop();
    std::fs::remove_file(site.node.datadir().join("debug.log")).expect("removable");
    let mut tocsin = Tocsin::run(&config);
    for extractor in ["rpc", "p2p", "log", "ipc"] {
        eventually(PATIENCE, &format!("{extractor} to say what it waits for"), || {
            let log = tocsin.log();
            let waits = |line: &str| {
                line.contains("waiting for") && line.contains(&format!("extractor=\"{extractor}\""))
            };
            log.lines().any(waits).then_some(())
        });
    }
    site.node.start_again();
    for extractor in ["rpc", "p2p", "log", "ipc"] {
        tocsin.wait_for_extractor(extractor, true);
    }
    tocsin.stop();
}

#[test]
fn record_keeps_what_arrives_and_runs_no_rules() {
    let site = Site::start();
    let config = "[log]\nformat = \"json\"\n".to_string() + &site.config("alice", &["rpc", "p2p"]);
    let mut tocsin = Tocsin::start("record", &config);
    more_events(&tocsin, 20);
    tocsin.stop();
    let log = tocsin.log();
    assert!(log.lines().count() >= 2, "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        assert!(line["message"].is_string() && line["level"].is_string(), "{line}");
    }
    assert!(!tocsin.data().join("timeline.jsonl").exists());
    assert_eq!(missing(&recorded(&tocsin)), BTreeMap::new());
}
