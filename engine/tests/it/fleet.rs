//! Several nodes in one engine: fleet rules, skewed clocks, silent nodes.

use bytes::Bytes;
use prost::Message as _;
use tocsin_engine::alerts::State;
use tocsin_engine::engine::{Engine, Input, Library};
use tocsin_engine::rules::Rule;
use tocsin_engine::rules::script::Sandbox;
use tocsin_engine::time::Timestamp;
use tocsin_engine::timeline::Change;
use tocsin_proto::archive::Frame;
use tocsin_proto::pb::event::Event;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::pb::rpc_extractor::{MempoolInfo, Rpc, rpc::RpcEvent};
use tocsin_proto::schema::Schema;

const START_MS: i64 = 1_767_225_600_000;

fn engine(rule: &str) -> Engine {
    let sandbox = Sandbox::new();
    let rule = Rule::load(Schema::embedded(), &sandbox, "rules/test.rhai", rule).expect("the rule is right");
    Engine::new(Library::new(sandbox, vec![rule], &["test".to_string()]).expect("one rule fits"))
}

/// A mempool of this size, seen on a node at a time; received when the second time says.
fn mempool(node: &str, at_ms: i64, received_ms: Option<i64>, size: i64) -> Frame {
    let info = MempoolInfo { size, ..Default::default() };
    let event = Event {
        timestamp: (START_MS + at_ms) as u64,
        node: Some(node.to_string()),
        received_at: received_ms.map(|ms| (START_MS + ms) as u64),
        peer_observer_event: Some(PeerObserverEvent::Rpc(Rpc {
            rpc_event: Some(RpcEvent::MempoolInfo(info)),
        })),
        ..Default::default()
    };
    Frame::parse(0, Bytes::from(event.encode_to_vec())).expect("an event")
}

fn step(engine: &mut Engine, frame: Frame) -> Vec<Change> {
    engine.step(Input::Event { frame, node: "unnamed", origin: 0 })
}

pub const OUTLIER: &str = r#"
const RULE = #{
    severity: "warning", scope: "fleet", every: "5s", keep_firing_for_s: 10,
    windows: #{ size: #{ last: "mempool_info.size", over: "1m" } },
};
fn check(w, params) {
    if w.nodes.len() < 3 { return; }
    let found = [];
    for (node, index) in w.nodes {
        let others = 0;
        for (size, other) in w.size { if other != index { others += size; } }
        let mean = others / (w.nodes.len() - 1);
        if w.size[index] * 10 < mean {
            found.push(#{ node: node, value: w.size[index], limit: mean / 10, summary: `${node} is alone` });
        }
    }
    found
}
"#;

#[test]
fn a_fleet_rule_finds_the_node_unlike_its_siblings() {
    let mut engine = engine(OUTLIER);
    let mut changes = Vec::new();
    for second in 0..120 {
        for node in ["ada", "hal", "len"] {
            let size = if node == "hal" && (30..60).contains(&second) { 5 } else { 1000 };
            changes.extend(step(&mut engine, mempool(node, second * 1000, None, size)));
        }
    }
    changes.extend(engine.finish());
    assert_eq!(engine.take_problems(), []);
    let seen: Vec<(&str, State, i64)> = changes
        .iter()
        .map(|change| (&*change.node, change.state, change.at.ms_since(Timestamp::from_unix_ms(START_MS))))
        .collect();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!((seen[0].0, seen[0].1), ("hal", State::Firing));
    assert!((30_000..=40_000).contains(&seen[0].2), "{seen:?}");
    assert_eq!((seen[1].0, seen[1].1), ("hal", State::Resolved));
    assert!((65_000..=80_000).contains(&seen[1].2), "{seen:?}");
    // It is shown with its own values, from the first finding to the end.
    for (change, last) in changes.iter().zip([5.0, 1000.0]) {
        let points = &change.evidence.points;
        assert_eq!(&*change.evidence.quantity, "last of mempool_info.size over 1m");
        assert_eq!((points[0].value, points[0].at), (5.0, changes[0].at.unix_ms()));
        assert_eq!(points.last().map(|last| (last.value, last.at)), Some((last, change.at.unix_ms())));
    }
}

pub const SILENT: &str = r#"
const RULE = #{
    severity: "critical", every: "5s", keep_firing_for_s: 0,
    windows: #{ age_s: #{ age: "mempool_info", over: "1h" } },
};
fn check(w, params) { if w.age_s > 60 { #{ value: w.age_s, limit: 60, summary: "silent" } } }
"#;

#[test]
fn a_node_that_goes_silent_is_noticed_by_the_time_of_the_others() {
    let mut engine = engine(SILENT);
    let mut changes = Vec::new();
    for second in 0..200 {
        changes.extend(step(&mut engine, mempool("ada", second * 1000, None, 1)));
        if second < 50 {
            changes.extend(step(&mut engine, mempool("hal", second * 1000, None, 1)));
        }
    }
    let fired: Vec<&Change> = changes.iter().filter(|change| change.state == State::Firing).collect();
    assert_eq!(fired.len(), 1);
    assert_eq!(&*fired[0].node, "hal");
    let after_ms = fired[0].at.ms_since(Timestamp::from_unix_ms(START_MS));
    assert!((110_000..=120_000).contains(&after_ms), "{after_ms}");
}

#[test]
fn time_alone_moves_the_engine_on() {
    let mut engine = engine(SILENT);
    assert!(step(&mut engine, mempool("ada", 0, Some(20), 1)).is_empty());
    let mut changes = Vec::new();
    for second in 1..100 {
        changes.extend(engine.step(Input::Tick(Timestamp::from_unix_ms(START_MS + second * 1000))));
    }
    assert_eq!(changes.len(), 1, "{changes:?}");
}

#[test]
fn a_skewed_clock_shows_as_skew_and_makes_nothing_late() {
    let mut engine = engine(SILENT);
    let hour_ms = 3_600_000;
    for second in 0..300 {
        let now_ms = second * 1000;
        step(&mut engine, mempool("ada", now_ms, Some(now_ms + 5), 1));
        step(&mut engine, mempool("fast", now_ms + hour_ms, Some(now_ms + 6), 1));
        step(&mut engine, mempool("slow", now_ms - hour_ms, Some(now_ms + 7), 1));
    }
    let changes = engine.finish();
    assert!(changes.is_empty(), "{changes:?}");
    let reports = engine.nodes();
    let skews: Vec<(&str, i64, u64)> =
        reports.iter().map(|node| (&*node.name, node.skew_ms, node.late)).collect();
    assert_eq!(skews, [("ada", 5, 0), ("fast", 6 - hour_ms, 0), ("slow", 7 + hour_ms, 0)]);
}

#[test]
fn live_ticks_and_a_replay_of_what_was_recorded_give_the_same_timeline() {
    // Live: events with their arrival, and ticks of the clock in between.
    let arrivals: Vec<(i64, i64)> = (0..40).map(|n| (n * 7_000, n * 7_000 + 3 + n % 40)).collect();
    let run = |ticks: bool| {
        let mut engine = engine(SILENT);
        let mut changes = Vec::new();
        let mut now_ms = 0;
        for (number, (at_ms, received_ms)) in arrivals.iter().enumerate() {
            while ticks && now_ms < *received_ms {
                changes.extend(engine.step(Input::Tick(Timestamp::from_unix_ms(START_MS + now_ms))));
                now_ms += 100;
            }
            let node = if number % 11 == 0 { "hal" } else { "ada" };
            changes.extend(step(&mut engine, mempool(node, *at_ms, Some(*received_ms), 1)));
        }
        changes.extend(engine.finish());
        changes
    };
    assert!(!run(true).is_empty());
    assert_eq!(run(true), run(false));
}

#[test]
fn one_stamp_of_another_time_makes_nothing_late() {
    for wrong in [86_400_000, -86_400_000, i64::MAX - START_MS, i64::MIN / 2] {
        let mut engine = engine(SILENT);
        let mut changes = Vec::new();
        for second in 0..300 {
            let received_ms = if second == 100 { wrong } else { second * 1000 + 5 };
            changes.extend(step(&mut engine, mempool("ada", second * 1000, Some(received_ms), 1)));
        }
        changes.extend(engine.finish());
        assert!(changes.is_empty(), "{wrong}: {changes:?}");
        assert_eq!(engine.nodes()[0].late, 0, "{wrong}");
    }
}

#[test]
fn one_event_time_far_ahead_makes_nothing_late() {
    let mut engine = engine(SILENT);
    let mut changes = Vec::new();
    for second in 0..300 {
        let at_ms = if second == 100 { 59 * 60_000 } else { second * 1000 };
        changes.extend(step(&mut engine, mempool("ada", at_ms, Some(second * 1000 + 5), 1)));
    }
    changes.extend(engine.finish());
    assert!(changes.is_empty(), "{changes:?}");
    assert_eq!((engine.nodes()[0].late, engine.nodes()[0].implausible), (0, 1));
}

#[test]
fn a_node_whose_clock_is_ahead_makes_no_other_late_without_stamps_either() {
    let mut engine = engine(SILENT);
    let mut changes = Vec::new();
    for second in 0..1_200 {
        changes.extend(step(&mut engine, mempool("ada", second * 1000, None, 1)));
        if second > 60 {
            changes.extend(step(&mut engine, mempool("fast", second * 1000 + 600_000, None, 1)));
        }
    }
    changes.extend(engine.finish());
    assert!(changes.is_empty(), "{changes:?}");
    assert!(engine.nodes().iter().all(|node| node.late == 0));
}

#[test]
fn an_event_of_a_kind_from_a_later_schema_is_counted_and_tells_the_time() {
    let mut engine = engine(SILENT);
    for second in 0..10 {
        // Field 19 of the rpc extractor is no kind of ours.
        let mut bytes = vec![0x12, 0x03, 0x9a, 0x01, 0x00, 0x50];
        prost::encoding::encode_varint((START_MS + second * 1000) as u64, &mut bytes);
        let frame = Frame::parse(0, Bytes::from(bytes)).expect("an event");
        assert!(step(&mut engine, frame).is_empty());
    }
    engine.finish();
    assert_eq!(engine.nodes()[0].events, [("unknown", 10)]);
}
