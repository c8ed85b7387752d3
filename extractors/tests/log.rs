//! The log extractor on fixtures, on files that are treated badly, and on a real node.

#![allow(clippy::disallowed_methods)]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;
use tocsin_extractors::log::{Config, Decoder, run};
use tocsin_extractors::{CancellationToken, Emitter, Outgoing, bus};
use tocsin_proto::pb::event::Event;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::pb::log_extractor::Log;
use tocsin_proto::pb::log_extractor::log::LogEvent;
use tocsin_testing::{Node, expect_events};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(60);
/// The time of reading in the fixtures, 2026-01-01.
const NOW_US: u64 = 1_767_225_600_000_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/extract/log")
}

fn decode(pieces: &[&[u8]]) -> Vec<Log> {
    let mut events = Vec::new();
    let mut decoder = Decoder::new(true);
    for piece in pieces {
        decoder.push(piece, NOW_US, &mut events);
    }
    decoder.end(NOW_US, &mut events);
    events.extend(decoder.take_volume(NOW_US, Duration::from_secs(10)));
    events
}

#[track_caller]
fn check_fixture(name: &str) {
    let bytes = fs::read(folder().join(name)).expect("a fixture");
    let events: Vec<Event> = decode(&[&bytes])
        .into_iter()
        .map(|log| Event {
            timestamp: NOW_US / 1000,
            peer_observer_event: Some(PeerObserverEvent::Log(log)),
            ..Default::default()
        })
        .collect();
    expect_events(&folder().join(name).with_extension("json"), &events);
}

#[test]
fn lines_of_version_25_become_events() {
    check_fixture("v25.log");
}

#[test]
fn lines_of_version_28_become_events() {
    check_fixture("v28.log");
}

#[test]
fn lines_of_version_30_with_source_locations_become_events() {
    check_fixture("v30.log");
}

#[test]
fn lines_of_version_31_become_events() {
    check_fixture("v31.log");
}

#[test]
fn lines_of_a_real_node_with_all_categories_become_events() {
    check_fixture("real_debug.log");
}

#[test]
fn lines_of_a_real_node_without_options_become_events() {
    check_fixture("real_plain.log");
}

#[test]
fn lines_of_a_real_node_with_source_locations_levels_and_mocktime_become_events() {
    check_fixture("real_source.log");
}

#[test]
fn lines_of_a_real_node_without_times_become_events() {
    check_fixture("real_notime.log");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        decode(&[&bytes]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_cut_of_a_real_log_gives_the_same_events(cuts in prop::collection::vec(0usize..40_000, 0..20)) {
        let bytes = fs::read(folder().join("real_debug.log")).expect("a fixture");
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(decode(&pieces), decode(&[&bytes]));
    }
}

#[test]
fn unknown_lines_are_only_counted_without_raw_lines() {
    let mut events = Vec::new();
    let mut decoder = Decoder::new(false);
    decoder.push(b"[net] who knows\nShutdown done\n", NOW_US, &mut events);
    decoder.flush(NOW_US, &mut events);
    assert_eq!(events.len(), 1);
    let volume = decoder.take_volume(NOW_US, Duration::from_secs(10)).expect("lines came");
    let Some(LogEvent::Volume(volume)) = volume.log_event else { panic!("no volume") };
    assert_eq!((volume.lines, volume.unknown_lines, volume.bytes), (2, 1, 30));
    assert_eq!(volume.counts.len(), 2);
    assert!(decoder.take_volume(NOW_US, Duration::from_secs(10)).is_none(), "counting begins anew");
}

#[test]
fn a_start_says_whether_the_node_had_stopped_if_anything_was_read_before() {
    let before = "half a line\n2026-01-01T00:00:00Z Shutdown done\n";
    for (before, clean) in [("", None), (before, Some(true)), ("half\n2026-01-01T00:00:00Z x\n", Some(false))]
    {
        let mut decoder = Decoder::new(true);
        let mut events = Vec::new();
        decoder.learn(before.as_bytes());
        decoder.push(b"\n\n\n\n\n2026-01-01T00:00:01Z Bitcoin Core version v31.0.0\n", NOW_US, &mut events);
        decoder.flush(NOW_US, &mut events);
        assert_eq!(events.len(), 1, "what stood before is not sent");
        let event = events.remove(0).log_event.expect("a start");
        assert_eq!(start_of(event), Some(clean));
    }
}

/// The extractor on a file of the test.
struct Running {
    events: mpsc::Receiver<Outgoing>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(path: &Path, options: serde_json::Value) -> Self {
        let mut config = json!({ "path": path, "poll_interval": "10ms" });
        config.as_object_mut().expect("an object").extend(options.as_object().expect("an object").clone());
        let config: Config = serde_json::from_value(config).expect("a configuration");
        let (sender, events) = bus();
        let stop = CancellationToken::new();
        let emitter = Emitter::new("alice", "log", sender);
        let task = tokio::spawn(run(config, emitter, stop.clone()));
        Running { events, stop, task }
    }

    /// The next event of a line.
    async fn next(&mut self, what: &str) -> Log {
        loop {
            let received = tokio::time::timeout(PATIENCE, self.events.recv()).await;
            let outgoing = received.unwrap_or_else(|_| panic!("not in time: {what}")).expect("it runs");
            let event = Event::decode(outgoing.payload).expect("an event");
            if let Some(PeerObserverEvent::Log(log)) = event.peer_observer_event
                && !matches!(log.log_event, Some(LogEvent::Volume(_)))
            {
                return log;
            }
        }
    }

    /// Reads on until `wanted` finds something.
    async fn find<T>(&mut self, what: &str, mut wanted: impl FnMut(LogEvent) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < until, "not in time: {what}");
            if let Some(found) = self.next(what).await.log_event.and_then(&mut wanted) {
                return found;
            }
        }
    }

    /// The next line, as its text.
    async fn line(&mut self) -> String {
        match self.next("a line").await.log_event {
            Some(LogEvent::UnknownLogMessage(unknown)) => unknown.raw_message,
            other => panic!("a known line: {other:?}"),
        }
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it stops").expect("no panic");
    }
}

fn append(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a file");
    file.write_all(bytes).expect("writable");
}

/// Long enough for the extractor to look at the file several times.
async fn some_looks() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn a_file_is_followed_through_rename_truncation_noise_and_deletion() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("debug.log");
    let mut running = Running::start(&path, json!({}));
    some_looks().await;
    append(&path, b"2026-01-01T00:00:00Z one\n");
    assert_eq!(running.line().await, "one");

    // Half a line is waited for.
    append(&path, b"2026-01-01T00:00:01Z tw");
    some_looks().await;
    append(&path, b"o\n");
    assert_eq!(running.line().await, "two");

    let old = folder.path().join("debug.log.1");
    fs::rename(&path, &old).expect("renamed");
    append(&old, b"2026-01-01T00:00:02Z three\n");
    append(&path, b"2026-01-01T00:00:03Z four\n");
    assert_eq!(running.line().await, "three");
    assert_eq!(running.line().await, "four");

    fs::write(&path, b"").expect("emptied");
    some_looks().await;
    append(&path, b"2026-01-01T00:00:04Z five\n");
    assert_eq!(running.line().await, "five");

    // Noise is a record of its own once the line before it was sent, and stops nothing.
    let noise: Vec<u8> = (0..=255u8).filter(|byte| *byte != b'\n').cycle().take(100_000).collect();
    append(&path, &noise);
    append(&path, b"\n2026-01-01T00:00:05Z six\n");
    let noisy = running.next("the noise").await;
    assert_eq!(noisy.log_line_bytes, 100_000);
    assert!(noisy.encoded_len() < 10_000, "what is sent of it is bounded");
    assert_eq!(running.line().await, "six");

    fs::remove_file(&path).expect("deleted");
    some_looks().await;
    append(&path, b"2026-01-01T00:00:06Z seven\n");
    assert_eq!(running.line().await, "seven");
    running.end().await;
}

#[tokio::test]
async fn only_new_lines_are_read_unless_all_are_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("debug.log");
    append(&path, b"cut off\n2026-01-01T00:00:00Z [msghand] old\n");
    let mut new = Running::start(&path, json!({}));
    let mut all = Running::start(&path, json!({ "from_start": true }));
    assert_eq!(all.line().await, "cut off");
    assert_eq!(all.line().await, "old");
    some_looks().await;
    append(&path, b"2026-01-01T00:00:01Z [net] new\n");
    for running in [&mut new, &mut all] {
        let log = running.next("the new line").await;
        assert_eq!(log.threadname, "net", "that lines have threads was learned from the old one");
    }
    new.end().await;
    all.end().await;
}

#[tokio::test]
async fn a_fifo_is_read_across_its_writers() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("debug.log");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo is there");
    assert!(made.success());
    let mut running = Running::start(&path, json!({}));
    for text in ["one", "two"] {
        let (path, line) = (path.clone(), format!("2026-01-01T00:00:00Z {text}\n"));
        let written = tokio::task::spawn_blocking(move || append(&path, line.as_bytes()));
        assert_eq!(running.line().await, text);
        written.await.expect("written");
    }
    running.end().await;
}

fn start_of(event: LogEvent) -> Option<Option<bool>> {
    match event {
        LogEvent::NodeStart(start) => Some(start.after_clean_stop),
        _ => None,
    }
}

fn is_stopped(event: LogEvent) -> Option<()> {
    matches!(event, LogEvent::NodeStop(stop) if stop.done).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_followed_through_tips_stops_and_kills() {
    let mut node = Node::start(&["-debug=validation"]);
    let mut running = Running::start(&node.datadir().join("debug.log"), json!({ "from_start": true }));
    assert_eq!(running.find("the first start", start_of).await, None);
    for hash in node.mine(2) {
        let tip = running.find("a tip", |event| match event {
            LogEvent::UpdateTip(tip) if tip.block_height > 0 => Some(tip.block_hash),
            _ => None,
        });
        assert_eq!(tip.await, hash);
    }
    node.stop();
    running.find("the stop", is_stopped).await;
    node.start_again();
    assert_eq!(running.find("the start after a stop", start_of).await, Some(true));
    node.kill();
    node.start_again();
    assert_eq!(running.find("the start after a kill", start_of).await, Some(false));
    running.end().await;
}

/// At its start a node without `-debug` cuts a log of more than 11 MB down to its last 10 MB, in place.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_the_node_shrinks_is_not_read_twice() {
    let mut node = Node::start(&[]);
    let path = node.datadir().join("debug.log");
    node.stop();
    let mut running = Running::start(&path, json!({}));
    some_looks().await;
    let filling = format!("2026-01-01T00:00:00Z {}\n", "filling ".repeat(125)).repeat(12_000);
    append(&path, filling.as_bytes());
    append(&path, b"2026-01-01T00:00:01Z Shutdown done\n");
    running.find("the end of the filling", is_stopped).await;
    node.start_again();
    assert!(fs::metadata(&path).expect("the log").len() < 11_000_000, "the node has shrunk it");
    let first = running.next("a line of the start").await.log_event.expect("an event");
    assert_eq!(start_of(first), Some(Some(true)), "nothing is read between the old end and the start");
    running.end().await;
}
