//! Each hot part alone, over the events of a recorded attack. `cargo bench --bench parts`

#![allow(missing_docs, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use prost::Message as _;
use tocsin_engine::detectors::{Detector, Kind, Settings};
use tocsin_engine::dispatch::alert::{AlertChange, AlertState};
use tocsin_engine::dispatch::routing::{Receiver, Routing};
use tocsin_engine::dispatch::{Dispatcher, Input as Told};
use tocsin_engine::engine::{Engine, Input, Library};
use tocsin_engine::plan::Plan;
use tocsin_engine::project::walk::{Scratch, Value};
use tocsin_engine::rules::Rule;
use tocsin_engine::rules::guard::Guard;
use tocsin_engine::rules::script::Sandbox;
use tocsin_engine::sequence::{Arrival, Sequencer};
use tocsin_engine::time::Timestamp;
use tocsin_engine::windows::column::Column;
use tocsin_engine::windows::table::{Table, TableDef};
use tocsin_engine::windows::{Aggregate, Reading, Shown, Window};
use tocsin_proto::archive::{ArchiveReader, Frame};
use tocsin_proto::pb::ebpf_extractor::ebpf::EbpfEvent;
use tocsin_proto::pb::ebpf_extractor::{Ebpf, MessageEvent, Metadata, Ping, message_event};
use tocsin_proto::pb::event::Event;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::schema::Schema;

fn main() {
    for (name, kind) in [("point", Kind::Point), ("default", Kind::Default)] {
        let bytes = postcard::to_stdvec(&warm_detector(kind).0).expect("can be written").len();
        println!("state of detector_{name}: {bytes} bytes");
    }
    divan::main();
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

fn archive() -> Vec<u8> {
    std::fs::read(root().join("testdata/incidents/addr_flood/recording.bin.zst")).expect("there")
}

fn frames() -> Vec<Frame> {
    let bytes = archive();
    ArchiveReader::new(&bytes[..]).expect("a header").map(|frame| frame.expect("intact")).collect()
}

fn rules(sandbox: &Sandbox) -> Vec<Rule> {
    ["peers/addr_flood", "peers/ping_spam", "peers/inv_flood", "node/ping_backlog", "chain/tip_behind"]
        .iter()
        .map(|name| {
            let path = root().join("rules").join(format!("{name}.rhai"));
            let text = std::fs::read_to_string(&path).expect("there");
            let text = text.replace("unless: [\"node_restarted\"],", "");
            Rule::load(Schema::embedded(), sandbox, &path.display().to_string(), &text).expect("right")
        })
        .collect()
}

fn body_of(frame: &Frame) -> Value {
    let range = frame.body_range();
    Value::Bytes { start: range.start, len: range.end - range.start }
}

/// Decompressing and framing a recording.
#[divan::bench]
fn read_archive(bencher: Bencher) {
    let bytes = archive();
    let count = frames().len();
    bencher.counter(ItemsCount::new(count)).bench(|| {
        ArchiveReader::new(&bytes[..])
            .expect("a header")
            .map(|frame| frame.expect("intact").payload.len())
            .sum::<usize>()
    });
}

/// What the walk is compared with: decoding every event.
#[divan::bench]
fn decode_with_prost(bencher: Bencher) {
    let frames = frames();
    let bytes: usize = frames.iter().map(|frame| frame.payload.len()).sum();
    bencher
        .counter(ItemsCount::new(frames.len()))
        .counter(BytesCount::new(bytes))
        .bench(|| frames.iter().filter(|frame| Event::decode(frame.payload.clone()).is_ok()).count());
}

/// Finding the kind, walking, and following the filters, without windows behind them.
#[divan::bench]
fn classify_walk_filter(bencher: Bencher) {
    let frames = frames();
    let rules = rules(&Sandbox::new());
    let known: Vec<String> = rules.iter().map(|rule| rule.name.clone()).collect();
    let plan = Plan::new(Schema::embedded(), &rules, &known).expect("fits");
    let mut scratch = Scratch::default();
    plan.kinds.iter().flatten().for_each(|kind| scratch.fit(&kind.projection));
    let bytes: usize = frames.iter().map(|frame| frame.payload.len()).sum();
    bencher.counter(ItemsCount::new(frames.len())).counter(BytesCount::new(bytes)).bench_local(|| {
        let mut taken = 0;
        for frame in &frames {
            let event = &frame.payload[..];
            let found = plan.classify(event, frame.extractor, body_of(frame)).expect("intact");
            let Some((kind, body)) = found else { continue };
            let Some(kind) = &plan.kinds[kind] else { continue };
            let rows = |scope: usize, slots: &[Value]| {
                kind.scopes[scope].filters.each(slots, event, &mut |feed| taken += feed + 1);
            };
            let mut rows = rows;
            kind.projection.rows(event, body, &mut scratch, &mut rows).expect("intact");
        }
        taken
    });
}

/// Holding and releasing events a little out of order.
#[divan::bench]
fn sequence(bencher: Bencher) {
    let times: Vec<Timestamp> =
        frames().iter().map(|frame| Timestamp::from_unix_ms(frame.timestamp_ms as i64)).collect();
    bencher.counter(ItemsCount::new(times.len())).bench(|| {
        let mut sequencer = Sequencer::default();
        let mut released = 0;
        for at in &times {
            let arrival = Arrival::Derived(sequencer.derive_arrival(*at, sequencer.newest()));
            sequencer.accept(*at, arrival, ());
            while sequencer.pop().is_some() {
                released += 1;
            }
        }
        released
    });
}

const WINDOW: Window = Window { aggregate: Aggregate::Count, over_ms: 600_000, integers: true };

/// One sample into a window of one of 100 keys, key look-up included.
#[divan::bench]
fn push_sample(bencher: Bencher) {
    let def = TableDef {
        key_names: vec!["peer_id".into()],
        peer_part: Some(0),
        keys_max: 1_000,
        columns: vec![(WINDOW, 1)],
        every_max_ms: 5_000,
    };
    let mut table = Table::new(&def);
    let mut at = 0;
    bencher.bench_local(|| {
        at += 10;
        let (now, slots) = (Timestamp::from_unix_ms(at), [Value::U64(at as u64 % 100)]);
        let row = table.row_for(&slots, &[0], &[], now).expect("a key");
        table.push(0, row, now, 1.0, 0);
    });
}

/// An engine with a million keys of one rule, each with a few samples.
fn engine_of_a_million_keys() -> Engine {
    const TEXT: &str = "const RULE = #{ severity: \"info\", by: [\"message.peer_id\"], every: \"5s\", \
                        max_keys: 1000000, windows: #{ n: #{ count: \"message\", over: \"1h\" }, \
                        bytes: #{ sum: \"message.size\", over: \"1h\" } } }; \
                        fn check(w, params) { if w.n > 1000 { #{ value: w.bytes } } }";
    let sandbox = Sandbox::new();
    let rule = Rule::load(Schema::embedded(), &sandbox, "keys.rhai", TEXT).expect("right");
    let mut engine = Engine::new(Library::new(sandbox, vec![rule], &[]).expect("fits"));
    for n in 0..3_000_000_u64 {
        let meta = Metadata { peer_id: n % 1_000_000, size: n, ..Default::default() };
        let msg = Some(message_event::Msg::Ping(Ping { value: n }));
        let event = Event {
            timestamp: 1_767_225_600_000 + n / 10_000,
            peer_observer_event: Some(PeerObserverEvent::Ebpf(Ebpf {
                ebpf_event: Some(EbpfEvent::Message(MessageEvent { meta, msg, ..Default::default() })),
            })),
            ..Default::default()
        };
        let frame = Frame::parse(0, event.encode_to_vec().into()).expect("an event");
        engine.step(Input::Event { frame, node: "node", origin: n });
    }
    engine
}

/// Writing a million keys.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn snapshot(bencher: Bencher) {
    let engine = engine_of_a_million_keys();
    bencher.counter(BytesCount::new(engine.snapshot().len())).bench_local(|| engine.snapshot());
}

/// Reading them back.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn restore(bencher: Bencher) {
    let engine = engine_of_a_million_keys();
    let bytes = engine.snapshot();
    let mut library = Some(engine.into_library());
    bencher.counter(BytesCount::new(bytes.len())).bench_local(|| {
        let (engine, notes) = Engine::restore(library.take().expect("given back"), &bytes).expect("intact");
        assert!(notes.is_empty());
        library = Some(engine.into_library());
    });
}

/// Reading a full window of each aggregate.
#[divan::bench(args = ["count", "sum", "max", "quantile", "stddev", "distinct"])]
fn read_window(bencher: Bencher, name: &str) {
    let aggregate = Aggregate::from_name(name, 0.99).expect("a name");
    let mut column = Column::new(Window { aggregate, ..WINDOW }, 1);
    for second in 0..1_200_u64 {
        column.push(
            0,
            Timestamp::from_unix_s(second as i64),
            second as f64,
            second.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        );
    }
    bencher.bench(|| column.read(0, Timestamp::from_unix_s(1_200)));
}

/// Ten-second samples with a season, noise and bursts.
fn sample(number: i64) -> f64 {
    let noise = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let day = (number as f64 / 8_640.0 * std::f64::consts::TAU).sin();
    let burst = if number % 613 == 0 { 40.0 } else { 0.0 };
    60.0 + 10.0 * day + noise as f64 / (1 << 22) as f64 + burst
}

fn push(detector: &mut Detector, number: i64) -> f64 {
    detector.push(Timestamp::from_unix_s(number * 10), sample(number)).score
}

/// A detector after five days, and the number of the next sample: its rings and slots are full.
fn warm_detector(kind: Kind) -> (Detector, i64) {
    const SAMPLES: i64 = 5 * 8_640;
    let mut detector = Detector::new(kind, &Settings { step_ms: 10_000, ..Settings::default() });
    for number in 0..SAMPLES {
        push(&mut detector, number);
    }
    (detector, SAMPLES)
}

/// A thousand samples at steady state; the item is one sample.
fn judge_samples(bencher: Bencher, kind: Kind) {
    let (mut detector, mut number) = warm_detector(kind);
    bencher.counter(ItemsCount::new(1_000_u32)).bench_local(|| {
        let from = number;
        number += 1_000;
        (from..number).map(|number| push(&mut detector, number)).sum::<f64>()
    });
}

/// The point channel: the bar is 2 microseconds a sample.
#[divan::bench]
fn detector_point(bencher: Bencher) {
    judge_samples(bencher, Kind::Point);
}

/// Both channels: the bar is 6 microseconds a sample.
#[divan::bench]
fn detector_default(bencher: Bencher) {
    judge_samples(bencher, Kind::Default);
}

/// Asking the guard of a rule about a quiet key.
#[divan::bench]
fn guard(bencher: Bencher) {
    let rules = rules(&Sandbox::new());
    let rule = &rules[0];
    let windows: Vec<String> = rule.definition.windows.iter().map(|window| window.name.clone()).collect();
    let guard = Guard::new(rule.script.check.as_ref().expect("there"), &windows, rule.params.on(""));
    bencher.bench(|| {
        guard.outlook(&|window| Shown::Number(Reading::Int(divan::black_box(window as i64))), true)
    });
}

/// Running the same check as a script, which the guard spares.
#[divan::bench]
fn script(bencher: Bencher) {
    let sandbox = Sandbox::new();
    let rules = rules(&sandbox);
    let map = |pairs: &[(&str, i64)]| -> rhai::Map {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    };
    bencher.bench(|| {
        let (w, params) = (map(&[("entries", 5), ("asked", 0)]), map(&[("entries_max", 60)]));
        sandbox.call(&rules[0].script, "check", None, (w, params)).expect("runs")
    });
}

/// One alert that fires, or resolves, while so many others fire.
#[divan::bench(args = [0, 1_000, 20_000])]
fn dispatch_change(bencher: Bencher, others: i64) {
    let written = "[route]\nreceiver = \"a\"\ngroup_by = [\"alertname\", \"node\"]";
    let receiver = Receiver { name: "a".to_string(), wakes: false, send_resolved: true, rate_limit: None };
    let routing = Routing::new(toml::from_str(written).expect("right"), vec![receiver]).expect("right");
    let mut dispatcher = Dispatcher::new(routing);
    let change = |number: i64, at_ms: i64, state: AlertState| {
        let labels = [
            ("alertname", "x".to_string()),
            ("node", (number % 50).to_string()),
            ("peer", number.to_string()),
        ];
        Told::Changed(AlertChange {
            at: Timestamp::from_unix_ms(at_ms),
            state,
            labels: labels.map(|(name, value)| (name.to_string(), value)).into(),
            annotations: BTreeMap::new(),
            starts_at: Timestamp::from_unix_ms(at_ms),
            value: Some(1.0),
            limit: None,
            evidence: Default::default(),
        })
    };
    for number in 0..others {
        dispatcher.step(Timestamp::from_unix_ms(1), change(number, 1, AlertState::Firing));
    }
    let mut now_ms = 1_000;
    bencher.bench_local(|| {
        now_ms += 1;
        let at = Timestamp::from_unix_ms(now_ms);
        dispatcher.step(at, change(-1, now_ms, AlertState::Firing));
        dispatcher.step(at, change(-1, now_ms, AlertState::Resolved))
    });
}
