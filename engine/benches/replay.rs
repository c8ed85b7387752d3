//! The whole engine over a long recording: events and bytes per second, peak memory, and how both grow.
//!
//! `cargo bench --bench replay` makes the recording with `tocsin repeat` (once, below `target/`) and runs each case in
//! a process of its own, so that its peak memory is its own. All figures of one run are from one machine at one time;
//! the ratios between them are what counts. `-- --events N` sets the length, `-- CASE` runs one case.

#![allow(missing_docs, clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use bytes::Bytes;
use prost::Message as _;
use tocsin_engine::engine::{Engine, Input, Library};
use tocsin_engine::rules::Rule;
use tocsin_engine::rules::script::Sandbox;
use tocsin_proto::archive::{ArchiveReader, Frame};
use tocsin_proto::pb;
use tocsin_proto::schema::Schema;

const CASES: [(&str, &str); 9] = [
    ("framing", "reading the recording only"),
    ("prost", "baseline: decode each event fully with prost, count pings and addresses per peer"),
    ("rules", "all rules"),
    ("rules12", "12 rules"),
    ("copies1000", "1,000 rules: 12 again and again, so that each alert fires 83 times"),
    ("thresholds1000", "1,000 rules: 12 with other thresholds"),
    ("spans1000", "1,000 rules: 12 with other thresholds and spans, so that no window is shared"),
    ("peers", "all rules, a million peers within ten minutes (3 events each)"),
    ("script", "one rule whose check only the script can tell, each second, 100 peers"),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [mode, case, recording] = arguments.as_slice()
        && mode == "run"
    {
        return run(case, Path::new(recording));
    }
    let value_of = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let events = value_of("--events").unwrap_or(3_000_000);
    let recording = recording(events);
    let asked = |case: &str| {
        !arguments.iter().any(|argument| CASES.iter().any(|(name, _)| name == argument))
            || arguments.iter().any(|argument| argument == case)
    };
    println!("{:<15} {:>11} {:>10} {:>8} {:>9}  case", "", "events/s", "ns/event", "MB/s", "peak MiB");
    for (case, about) in CASES.iter().filter(|(case, _)| asked(case)) {
        let status = Command::new(std::env::current_exe().expect("a running program has a path"))
            .args(["run", case])
            .arg(&recording)
            .status()
            .expect("this program starts");
        assert!(status.success(), "{case} ({about}) failed");
    }
}

/// The long recording, made by the project's own command unless it is there.
fn recording(events: u64) -> PathBuf {
    let root = root();
    let folder = root.join("target/bench");
    fs::create_dir_all(&folder).expect("target/ is writable");
    let path = folder.join(format!("mixed-{events}.bin"));
    if !path.exists() {
        let mut sources = Vec::new();
        for group in ["incidents", "quiet"] {
            let folders = fs::read_dir(root.join("testdata").join(group)).expect("testdata is there");
            sources.extend(folders.map(|folder| folder.expect("readable").path().join("recording.bin.zst")));
        }
        sources.sort();
        let made = Command::new(env!("CARGO_BIN_EXE_tocsin"))
            .arg("repeat")
            .args(&sources)
            .args(["--events", &events.to_string(), "--output"])
            .arg(&path)
            .status()
            .expect("tocsin starts");
        assert!(made.success(), "tocsin repeat failed");
    }
    path
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

fn run(case: &str, recording: &Path) {
    let about = CASES.iter().find(|(name, _)| *name == case).expect("a case").1;
    // Warms the page cache: the disk is not what is measured.
    each_frame(recording, |_| {});
    let before_kib = peak_kib();
    let started;
    let (events, bytes) = match case {
        "framing" => {
            started = Instant::now();
            each_frame(recording, |_| {})
        }
        "prost" => {
            let (mut pings, mut addresses) = (HashMap::new(), HashMap::new());
            started = Instant::now();
            let read =
                each_frame(recording, |frame| count_with_prost(&frame.payload, &mut pings, &mut addresses));
            assert!(!pings.is_empty() && !addresses.is_empty());
            read
        }
        "peers" => {
            let mut engine = engine(&rule_texts());
            let (mut count, mut bytes) = (0, 0);
            started = Instant::now();
            // Made one by one, and their making timed too: keeping them all would be the peak memory.
            for frame in many_peers() {
                count += 1;
                bytes += frame.payload.len() as u64;
                engine.step(Input::Event { frame, node: "node", origin: 0 });
            }
            engine.finish();
            (count, bytes)
        }
        "script" => {
            let mut engine = engine(&[("scripted.rhai".to_string(), SCRIPTED.to_string())]);
            started = Instant::now();
            let read = each_frame(recording, |frame| {
                engine.step(Input::Event { frame, node: "node", origin: 0 });
            });
            let calls = engine.rules()[0].health.script_calls;
            println!("{:<15} {calls} script calls", "");
            read
        }
        _ => {
            let mut texts = rule_texts();
            if case != "rules" {
                texts.truncate(12);
            }
            if case.ends_with("1000") {
                texts = copies(&texts, 1000, case);
            }
            let mut engine = engine(&texts);
            started = Instant::now();
            let read = each_frame(recording, |frame| {
                engine.step(Input::Event { frame, node: "node", origin: 0 });
            });
            engine.finish();
            let calls: u64 = engine.rules().iter().map(|rule| rule.health.script_calls).sum();
            println!("{:<15} {calls} script calls", "");
            read
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{case:<15} {:>11.0} {:>10.0} {:>8.0} {:>9.1}  {about}",
        events as f64 / seconds,
        seconds * 1e9 / events as f64,
        bytes as f64 / seconds / 1e6,
        (peak_kib() - before_kib) as f64 / 1024.0,
    );
}

fn each_frame(recording: &Path, mut take: impl FnMut(Frame)) -> (u64, u64) {
    let file = fs::File::open(recording).expect("the recording is there");
    let mut reader = ArchiveReader::new(file).expect("the recording has a header");
    let (mut events, mut bytes) = (0, 0);
    while let Some(frame) = reader.next_frame() {
        let frame = frame.expect("the recording is intact");
        events += 1;
        bytes += frame.payload.len() as u64;
        take(frame);
    }
    (events, bytes)
}

fn count_with_prost(payload: &Bytes, pings: &mut HashMap<u64, u64>, addresses: &mut HashMap<u64, u64>) {
    use pb::ebpf_extractor::{ebpf::EbpfEvent, message_event::Msg};
    use pb::event::event::PeerObserverEvent;
    let event = pb::event::Event::decode(payload.clone()).expect("the recording is intact");
    let Some(PeerObserverEvent::Ebpf(event)) = event.peer_observer_event else { return };
    let Some(EbpfEvent::Message(message)) = event.ebpf_event else { return };
    let peer = message.meta.peer_id;
    match message.msg {
        Some(Msg::Ping(_)) => *pings.entry(peer).or_default() += 1,
        Some(Msg::Addr(addr)) => *addresses.entry(peer).or_default() += addr.addresses.len() as u64,
        Some(Msg::Addrv2(addr)) => *addresses.entry(peer).or_default() += addr.addresses.len() as u64,
        _ => {}
    }
}

/// Names and texts of the project's rules, but the generic ones: what they cost is that of their detectors.
fn rule_texts() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    for topic in fs::read_dir(root().join("rules")).expect("rules are there") {
        let topic = topic.expect("readable").path();
        if topic.is_dir() && !topic.ends_with("anomaly") {
            paths.extend(fs::read_dir(topic).expect("readable").map(|entry| entry.expect("readable").path()));
        }
    }
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "rhai"));
    paths.sort();
    let text = |path: &PathBuf| (path.display().to_string(), fs::read_to_string(path).expect("readable"));
    paths.iter().map(text).collect()
}

/// Copies of rules until there are `count`, each with thresholds or spans of its own as the case says.
fn copies(texts: &[(String, String)], count: usize, case: &str) -> Vec<(String, String)> {
    (0..count)
        .map(|number| {
            let (path, text) = &texts[number % texts.len()];
            let copy = number / texts.len();
            let mut text = text.clone();
            if copy > 0 && case != "copies1000" {
                for span in ["30s", "1m", "2m", "5m", "10m", "30m"] {
                    let seconds: usize = match span.strip_suffix('m') {
                        Some(minutes) => minutes.parse::<usize>().expect("a number") * 60,
                        None => 30,
                    };
                    let own = format!("over: \"{}s\"", seconds + copy);
                    if case == "spans1000" {
                        text = text.replace(&format!("over: \"{span}\""), &own);
                    }
                }
                for name in ["_max: ", "_min: "] {
                    // The first digit of each threshold gets company: 60 becomes 1060, 2060 and so on.
                    text = text.replace(name, &format!("{name}{copy}0"));
                }
            }
            (
                path.replace(".rhai", &format!("_{copy}.rhai")),
                if copy == 0 { text } else { without_unless(&text) },
            )
        })
        .collect()
}

/// Copies inhibit nobody and nobody inhibits them: their names differ.
fn without_unless(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("unless:")).collect::<Vec<_>>().join("\n")
}

fn engine(texts: &[(String, String)]) -> Engine {
    let sandbox = Sandbox::new();
    let rules: Vec<Rule> = texts
        .iter()
        .map(|(path, text)| {
            let text =
                if texts.len() > 100 || texts.len() == 12 { without_unless(text) } else { text.clone() };
            Rule::load(Schema::embedded(), &sandbox, path, &text).expect("the rules are right")
        })
        .collect();
    let known: Vec<String> = rules.iter().map(|rule| rule.name.clone()).collect();
    Engine::new(Library::new(sandbox, rules, &known).expect("the rules fit together"))
}

/// Three events of each of a million peers within ten minutes, none of which ever closes.
fn many_peers() -> impl Iterator<Item = Frame> {
    use pb::ebpf_extractor::{Ebpf, MessageEvent, Metadata, Ping, ebpf::EbpfEvent, message_event::Msg};
    use pb::event::event::PeerObserverEvent;
    let start_ms = 1_767_225_600_000_u64;
    (0..3_000_000_u64).map(move |number| {
        let meta = Metadata {
            peer_id: number / 3,
            addr: String::new(),
            conn_type: 1,
            command: "ping".into(),
            inbound: true,
            size: 8,
        };
        let message = MessageEvent { meta, msg: Some(Msg::Ping(Ping { value: number })), captured: None };
        let event = pb::event::Event {
            timestamp: start_ms + number / 5,
            peer_observer_event: Some(PeerObserverEvent::Ebpf(Ebpf {
                ebpf_event: Some(EbpfEvent::Message(message)),
            })),
            ..Default::default()
        };
        Frame::parse(0, Bytes::from(event.encode_to_vec())).expect("an event")
    })
}

const SCRIPTED: &str = r#"
const RULE = #{
    severity: "info", by: ["message.peer_id"], every: "1s",
    windows: #{ messages: #{ count: "message", over: "1m" }, bytes: #{ sum: "message.size", over: "1m" } },
};
fn check(w, params) {
    let text = `${w.messages}`;
    if text.len() > 9 { #{ value: w.bytes } }
}
"#;

/// Peak resident memory of this process so far.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("linux tells it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}
