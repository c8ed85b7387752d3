//! What changes and reports show of the time before and during an alert, on recorded attacks.

use tocsin_engine::alerts::{POINTS_MAX, State};
use tocsin_engine::engine::{Engine, Input};
use tocsin_engine::timeline::Change;
use tocsin_proto::archive::ArchiveReader;

use super::recording;
use super::state::rules_of_the_project;
use super::stream::{self, Fact, Recorded};

/// What a rule says on a recorded attack.
fn changes_of(rule: &str) -> Vec<Change> {
    run(rule).0
}

/// What a rule says on a recorded attack, and the engine at its end.
fn run(rule: &str) -> (Vec<Change>, Engine) {
    let bytes = std::fs::read(recording(&format!("incidents/{rule}"))).expect("a recording");
    let mut engine = Engine::new(rules_of_the_project());
    let mut changes = Vec::new();
    for frame in ArchiveReader::new(&bytes[..]).expect("a header") {
        let frame = frame.expect("intact");
        changes.extend(engine.step(Input::Event { frame, node: "unnamed", origin: 0 }));
    }
    changes.extend(engine.finish());
    changes.retain(|change| &*change.rule == rule);
    (changes, engine)
}

/// What holds of every change: in order of time, bounded, up to the change at the latest.
#[track_caller]
fn assert_sound(change: &Change) {
    let points = &change.evidence.points;
    assert!(!points.is_empty() && points.len() <= POINTS_MAX, "{change:?}");
    assert!(points.windows(2).all(|pair| pair[0].at < pair[1].at), "{change:?}");
    assert!(points.iter().all(|point| point.value.is_finite()), "{change:?}");
    assert!(points.last().is_some_and(|last| last.at <= change.at.unix_ms()), "{change:?}");
}

/// Checks the firing changes of a rule on its attack and returns all its changes: each shows this quantity, begins so long
/// before it fired at least, has so many points, and ends at the change's own value and limit.
#[track_caller]
fn check(
    rule: &str,
    quantity: &str,
    unit: &str,
    before_ms: i64,
    points: std::ops::Range<usize>,
) -> Vec<Change> {
    let changes = changes_of(rule);
    changes.iter().for_each(assert_sound);
    for c in &changes {
        eprintln!(
            "{} {:?} since {} at {}: {}",
            c.rule,
            c.state,
            c.since,
            c.at,
            c.evidence
                .points
                .iter()
                .map(|p| format!(
                    "({:.1} {} {:?})",
                    (p.at - c.since.unix_ms()) as f64 / 1000.0,
                    p.value,
                    p.limit
                ))
                .collect::<Vec<_>>()
                .join(" ")
        );
    }
    let firing: Vec<&Change> = changes.iter().filter(|change| change.state == State::Firing).collect();
    assert!(!firing.is_empty(), "{rule} did not fire");
    for change in firing {
        let evidence = &change.evidence;
        assert_eq!((&*evidence.quantity, &*evidence.unit), (quantity, unit));
        assert!(points.contains(&evidence.points.len()), "{change:?}");
        let (first, last) = (&evidence.points[0], evidence.points.last().expect("counted above"));
        assert_eq!(change.since, change.at, "it fires since it fires");
        assert_eq!(last.at, change.at.unix_ms());
        assert_eq!((Some(last.value), last.limit), (change.value.number(), change.limit.number()));
        assert!(change.at.unix_ms() - first.at >= before_ms, "{change:?}");
    }
    changes
}

#[test]
fn a_flood_of_addresses_is_shown_from_nothing_to_above_its_limit() {
    let changes = check("addr_flood", "sum of message.addresses over 10m", "", 100, 2..20);
    for change in changes.iter().filter(|change| change.state == State::Firing) {
        let points = &change.evidence.points;
        assert_eq!(points[0].value, 0.0);
        assert!(points.windows(2).all(|pair| pair[0].value <= pair[1].value), "{points:?}");
        assert!(points.iter().all(|point| point.limit == change.limit.number()));
    }
}

#[test]
fn pings_are_counted_up_to_their_limit() {
    let changes = check("ping_spam", "count of message over 1m", "", 4_000, 5..60);
    assert_eq!(changes[0].evidence.points[0].value, 0.0);
}

#[test]
fn lost_connections_are_shown_with_those_there_were() {
    let changes = check("inbound_drop", "last of network_info.connections_in over 5m", "", 100_000, 10..60);
    let fired = changes.iter().find(|change| change.state == State::Firing).expect("checked");
    let most = fired.evidence.points.iter().map(|point| point.value).fold(0.0, f64::max);
    assert!((60.0..100.0).contains(&most), "of about 70 connections: {most}");
}

#[test]
fn a_backlog_is_shown_in_the_unit_of_its_rule() {
    let quantity = "quantile 0.5 of ping_duration.duration over 30s";
    let changes = check("ping_backlog", quantity, "ms", 10_000, 3..60);
    let fired = changes.iter().find(|change| change.state == State::Firing).expect("checked");
    assert!(fired.evidence.points[0].value < 50.0, "{fired:?}");
}

#[test]
fn different_values_have_no_past_but_a_present() {
    check("orphan_dos", "distinct of orphan_txs.orphans.wtxid over 30s", "", 0, 1..2);
    // They are shown from then on.
    let mut reports = run("orphan_dos").1.alerts();
    reports.retain(|report| *report.rule == *"orphan_dos");
    assert_eq!(reports.len(), 3);
    for report in reports {
        assert!(report.evidence.points.len() > 3, "{report:?}");
    }
}

#[test]
fn what_resolves_is_shown_from_before_it_fired_to_its_end() {
    for rule in ["inbound_drop", "ping_backlog"] {
        let changes = changes_of(rule);
        let fired = changes.iter().find(|change| change.state == State::Firing).expect("it fires");
        let resolved = changes.iter().find(|change| change.state == State::Resolved).expect("it ends");
        assert_eq!(resolved.since, fired.at);
        let points = &resolved.evidence.points;
        assert_eq!(points[0], fired.evidence.points[0]);
        assert!(points[0].at < fired.at.unix_ms());
        assert_eq!(points.last().map(|last| last.at), Some(resolved.at.unix_ms()));
        assert!(points.len() > fired.evidence.points.len() + 2);
    }
}

/// An engine with one rule, and what it says of a message of this size each second, from second to second.
fn messages(engine: &mut Engine, seconds: std::ops::Range<i64>, size: u64) -> Vec<Change> {
    let step = |second: i64| {
        let fact = Fact::Message { peer_id: 7, size, times: 1 };
        let event = Recorded { node: "hal", at_ms: second * 1000, received_ms: second * 1000, fact };
        engine.step(Input::Event { frame: event.frame(true), node: "", origin: 0 })
    };
    seconds.flat_map(step).collect()
}

#[test]
fn a_long_episode_keeps_a_bounded_trail_with_its_beginning() {
    // What the guard cannot vouch for is told anew with each look.
    let rule = r#"const RULE = #{ severity: "info", every: "1s", keep_firing_for_s: 0,
        windows: #{ most: #{ max: "message.size", over: "10s" } } };
        fn check(w, params) { if w.most % 2 == 1 { #{ value: w.most, limit: (), summary: "odd" } } }"#;
    let mut engine = Engine::new(stream::library(&[("odd", rule)]));
    let fired = messages(&mut engine, 0..5, 99).pop().expect("it fires");
    messages(&mut engine, 5..3_000, 99);
    let report = engine.alerts().pop().expect("it fires");
    assert_eq!(report.fired_at, Some(fired.at));
    assert_eq!(report.evidence.points[0], fired.evidence.points[0]);
    assert!((POINTS_MAX / 2..=POINTS_MAX).contains(&report.evidence.points.len()));
    assert_eq!(report.evidence.points[0].limit, None);
    let resolved = messages(&mut engine, 3_000..3_030, 98).pop().expect("it ends");
    assert_sound(&resolved);
    assert_eq!(resolved.state, State::Resolved);
    let last = resolved.evidence.points.last().expect("there are some");
    assert_eq!((last.at, last.value), (resolved.at.unix_ms(), 98.0));
}

#[test]
fn a_pending_alert_names_its_first_finding_and_a_firing_one_when_it_fired() {
    let rule = r#"const RULE = #{ severity: "info", every: "1s", for_s: 5,
        windows: #{ pings: #{ count: "message", over: "20s" } } };
        fn check(w, params) { if w.pings > 3 { #{ value: w.pings, limit: 3, summary: "pings" } } }"#;
    let mut engine = Engine::new(stream::library(&[("pings", rule)]));
    let changes = messages(&mut engine, 0..60, 2);
    let [pending, firing] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((pending.state, firing.state), (State::Pending, State::Firing));
    assert_eq!((pending.since, firing.since), (pending.at, firing.at));
    let report = engine.alerts().pop().expect("it fires");
    assert_eq!((report.since, report.fired_at), (pending.at, Some(firing.at)));
    assert_eq!(firing.evidence.points[0], pending.evidence.points[0]);
    assert_eq!(firing.evidence.points.last().map(|last| last.at), Some(firing.at.unix_ms()));
}

#[test]
fn what_an_event_tells_has_points_where_it_has_numbers() {
    let rule = r#"const RULE = #{ severity: "info", by: ["message.peer_id"], keep_firing_for_s: 60, on: "message" };
        fn on_event(e) { #{ value: if e.size == 1 { () } else { e.size }, limit: 5, summary: "told" } }"#;
    let mut engine = Engine::new(stream::library(&[("told", rule)]));
    let fired = messages(&mut engine, 0..2, 1).pop().expect("it fires");
    assert_eq!((&*fired.evidence.quantity, fired.evidence.points.len()), ("value", 0));
    messages(&mut engine, 2..4, 8);
    let report = engine.alerts().pop().expect("it fires");
    let values: Vec<f64> = report.evidence.points.iter().map(|point| point.value).collect();
    assert!(!values.is_empty() && values.iter().all(|value| *value == 8.0), "{values:?}");
}

#[test]
fn a_fleet_rule_shows_the_past_of_the_node_it_names() {
    let rule = r#"const RULE = #{ severity: "info", scope: "fleet", every: "5s", for_s: 10,
        windows: #{ messages: #{ count: "message", over: "1m" } } };
        fn check(w, params) {
            let found = [];
            for (node, index) in w.nodes {
                let n = w.messages[index];
                if n > 20 { found.push(#{ node: node, value: n, limit: 20, summary: "many" }); }
            }
            found
        }
        "#;
    let mut engine = Engine::new(stream::library(&[("many", rule)]));
    let fact = || Fact::Message { peer_id: 1, size: 1, times: 1 };
    let quiet = Recorded { node: "ada", at_ms: 0, received_ms: 0, fact: fact() };
    engine.step(Input::Event { frame: quiet.frame(true), node: "", origin: 0 });
    let changes = messages(&mut engine, 1..60, 1);
    let [pending, firing] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((&*firing.node, pending.state, firing.state), ("hal", State::Pending, State::Firing));
    changes.iter().for_each(assert_sound);
    assert_eq!(
        (&*firing.evidence.quantity, pending.evidence.points[0].value),
        ("count of message over 1m", 0.0)
    );
    assert!(pending.evidence.points.len() > 10);
    let last = firing.evidence.points.last().expect("there are some");
    assert_eq!((last.at, Some(last.value)), (firing.at.unix_ms(), firing.value.number()));
    assert_eq!(firing.since, firing.at);
}
