//! Anomaly windows in rules: what a rule sees of a series, of silence, of a restart, and across many nodes.

use bytes::Bytes;
use prost::Message as _;
use tocsin_engine::engine::{Engine, Input};
use tocsin_engine::rules::Rule;
use tocsin_engine::rules::script::Sandbox;
use tocsin_engine::time::Timestamp;
use tocsin_proto::archive::Frame;
use tocsin_proto::pb::ebpf_extractor::{Ebpf, MessageEvent, Metadata, Ping, ebpf, message_event};
use tocsin_proto::pb::event::Event;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::pb::observer::{ExtractorStatus, Observer, extractor_status, observer::ObserverEvent};
use tocsin_proto::pb::rpc_extractor::{
    BlockchainInfo, MempoolInfo, NetworkInfo, PeerInfo, PeerInfos, Rpc, rpc::RpcEvent,
};
use tocsin_proto::schema::Schema;

use super::stream::{self, START_MS};

/// An engine with a rule that tells whatever its window `x` says.
struct Told {
    engine: Engine,
}

impl Told {
    fn new(by: &str, window: &str) -> Told {
        let rule = format!(
            r#"const RULE = #{{ severity: "info", every: "1s", keep_firing_for_s: 0, by: [{by}],
                 windows: #{{ x: #{{ {window} }} }} }};
               fn check(w, params) {{
                   if w.x == () {{ return; }}
                   // The script, not the guard, so that each step is told.
                   let value = w.x.value;
                   #{{ value: value, summary: `${{value}}` }}
               }}"#
        );
        Told { engine: Engine::new(stream::library(&[("told", &rule)])) }
    }

    fn event(&mut self, node: &str, at_ms: i64, fact: PeerObserverEvent) {
        let event = Event {
            timestamp: (START_MS + at_ms) as u64,
            node: Some(node.to_string()),
            received_at: Some((START_MS + at_ms + 1) as u64),
            peer_observer_event: Some(fact),
            ..Default::default()
        };
        let frame = Frame::parse(0, Bytes::from(event.encode_to_vec())).expect("an event");
        self.engine.step(Input::Event { frame, node: "", origin: 0 });
        assert_eq!(self.engine.take_problems(), []);
    }

    fn say(&mut self, at_s: i64, fact: PeerObserverEvent) {
        self.event("ada", at_s * 1000, fact);
    }

    /// What the window says at a time, by keys.
    fn at(&mut self, at_s: i64) -> Vec<String> {
        self.engine.step(Input::Tick(Timestamp::from_unix_ms(START_MS + at_s * 1000 + 500)));
        assert_eq!(self.engine.take_problems(), []);
        self.engine.alerts().into_iter().map(|alert| alert.summary).collect()
    }
}

fn rpc(event: RpcEvent) -> PeerObserverEvent {
    PeerObserverEvent::Rpc(Rpc { rpc_event: Some(event) })
}

fn inbound(connections_in: u32) -> PeerObserverEvent {
    rpc(RpcEvent::NetworkInfo(NetworkInfo { connections_in, ..Default::default() }))
}

fn mempool(size: i64) -> PeerObserverEvent {
    rpc(RpcEvent::MempoolInfo(MempoolInfo { size, ..Default::default() }))
}

fn message(command: &str) -> PeerObserverEvent {
    let meta = Metadata { command: command.into(), inbound: true, ..Default::default() };
    let msg = Some(message_event::Msg::Ping(Ping { value: 1 }));
    let event = ebpf::EbpfEvent::Message(MessageEvent { meta, msg, captured: None });
    PeerObserverEvent::Ebpf(Ebpf { ebpf_event: Some(event) })
}

fn peers(ids: &[u32]) -> PeerObserverEvent {
    let info = |id: &u32| PeerInfo { id: *id, inbound: true, ..Default::default() };
    rpc(RpcEvent::PeerInfos(PeerInfos { infos: ids.iter().map(info).collect() }))
}

fn ebpf_is(state: extractor_status::State) -> PeerObserverEvent {
    let status = ExtractorStatus { name: "ebpf".into(), state: state as i32, ..Default::default() };
    PeerObserverEvent::Observer(Observer { observer_event: Some(ObserverEvent::Extractor(status)) })
}

const INBOUND: &str = r#"anomaly: "network_info.connections_in", effect_min: 5, direction: "both""#;
const PINGS: &str = r#"anomaly: "message", take: "count", where: #{ command: "ping" }"#;

#[test]
fn a_step_is_told_when_it_is_over_and_the_first_one_not_at_all() {
    let mut told = Told::new("", INBOUND);
    told.say(3, inbound(103));
    told.say(13, inbound(113));
    // Not the part of a step from 3 s to 10 s.
    assert_eq!(told.at(15), Vec::<String>::new());
    told.say(17, inbound(117));
    assert_eq!(told.at(20), ["117"]);
    told.say(23, inbound(123));
    assert_eq!(told.at(30), ["123"]);
    // What is read lasts for a minute, and of what was judged the last three steps count.
    assert_eq!(told.at(119), ["123"]);
    assert_eq!(told.at(120), Vec::<String>::new());
}

#[test]
fn an_alert_shows_the_series_before_it() {
    let mut told = Told::new("", INBOUND);
    (0..200).for_each(|n| told.say(n, inbound(100 + n as u32 / 10)));
    told.say(200, mempool(1));
    told.engine.step(Input::Tick(Timestamp::from_unix_ms(START_MS + 200_500)));
    let alerts = told.engine.alerts();
    let evidence = &alerts[0].evidence;
    assert_eq!(evidence.quantity, "last of network_info.connections_in each 10s");
    let points: Vec<(i64, f64)> =
        evidence.points.iter().map(|point| ((point.at - START_MS) / 1000, point.value)).collect();
    assert_eq!(points[..3], [(20, 101.0), (30, 102.0), (40, 103.0)]);
    assert_eq!(points.last(), Some(&(200, 119.0)));
}

#[test]
fn silence_is_zero_while_the_extractor_is_heard_and_missing_else() {
    let mut told = Told::new("", PINGS);
    for second in 0..20 {
        told.say(second, message("ping"));
    }
    assert_eq!(told.at(20), ["10"]);
    // Another message of the same extractor, and then one of another.
    told.say(25, message("pong"));
    assert_eq!(told.at(30), ["0"]);
    told.say(35, message("ping"));
    told.say(45, mempool(1));
    assert_eq!(told.at(50), ["1"], "the step of the newest ping");
    // The extractor says that it reads the node, and then that it does not.
    told.say(55, ebpf_is(extractor_status::State::Up));
    assert_eq!(told.at(60), ["0"]);
    told.say(65, message("ping"));
    told.say(66, ebpf_is(extractor_status::State::Waiting));
    assert_eq!(told.at(70), ["0"], "a step of which a part was not seen");
}

#[test]
fn a_peer_without_a_row_in_the_newest_poll_has_none() {
    let window = r#"anomaly: "peer_infos", take: "poll_count", where: #{ inbound: true }, step: "5s""#;
    let mut told = Told::new("", window);
    told.say(1, peers(&[1, 2, 3]));
    told.say(6, peers(&[1, 2]));
    told.say(8, peers(&[2]));
    assert_eq!(told.at(10), ["1"]);
    told.say(11, peers(&[]));
    assert_eq!(told.at(15), ["0"]);
    assert_eq!(told.at(20), ["0"], "a step without a poll says nothing new");
    told.say(21, peers(&[4, 5]));
    assert_eq!(told.at(25), ["2"]);
}

#[test]
fn the_top_share_is_that_of_the_largest_netgroup() {
    let mut told =
        Told::new("", r#"anomaly: "message.meta.addr", take: "top_share", where: #{ inbound: true }"#);
    told.say(1, message("ping"));
    for (n, addr) in
        ["203.0.113.1:8333", "203.0.7.9:1", "[2001:db8::1]:8333", "x.onion:8333"].iter().enumerate()
    {
        let PeerObserverEvent::Ebpf(Ebpf { ebpf_event: Some(ebpf::EbpfEvent::Message(mut event)) }) =
            message("ping")
        else {
            panic!("a message")
        };
        event.meta.addr = addr.to_string();
        let event = ebpf::EbpfEvent::Message(event);
        told.say(11 + n as i64, PeerObserverEvent::Ebpf(Ebpf { ebpf_event: Some(event) }));
    }
    assert_eq!(told.at(20), ["0.5"]);
}

#[test]
fn a_restart_masks_for_an_hour_and_the_first_load_of_the_chain_as_long_as_it_lasts() {
    let mut told = Told::new("", INBOUND);
    let syncing = |initialblockdownload| {
        rpc(RpcEvent::BlockchainInfo(BlockchainInfo { initialblockdownload, ..Default::default() }))
    };
    let mut shown = Vec::new();
    for second in (1..6_000).step_by(10) {
        told.say(second, inbound(50));
        let uptime_s = if second < 301 { 5_000 + second } else { second - 300 };
        told.say(second, rpc(RpcEvent::Uptime(uptime_s as u32)));
        told.say(second, syncing((4_801..5_401).contains(&second)));
        shown.push((second, !told.at(second + 5).is_empty()));
    }
    let changes: Vec<(i64, bool)> =
        shown.windows(2).filter(|pair| pair[0].1 != pair[1].1).map(|pair| pair[1]).collect();
    assert_eq!(changes, [(21, true), (301, false), (3_921, true), (4_811, false), (5_411, true)]);
}

#[test]
fn rules_of_a_fleet_see_a_list_of_what_each_node_says() {
    let rule = r#"
        const RULE = #{ severity: "info", scope: "fleet", every: "1s", keep_firing_for_s: 0,
            windows: #{ x: #{ anomaly: "mempool_info.size", step: "5s" } } };
        fn check(w, params) {
            let known = w.x.filter(|said| said != ()).map(|said| said.value);
            if known.len() > 0 { #{ summary: `${w.nodes} ${known}` } }
        }"#;
    let mut told = Told { engine: Engine::new(stream::library(&[("told", rule)])) };
    for second in 0..12 {
        told.event("ada", second * 1000, mempool(second));
        told.event("hal", second * 1000 + 1, mempool(100));
        if second == 9 {
            told.event("len", second * 1000 + 2, mempool(7));
        }
    }
    assert_eq!(told.at(12), [r#"["ada", "hal", "len"] [9, 100]"#]);
}

#[test]
fn a_gap_costs_little_and_what_comes_after_it_is_as_before() {
    const YEAR_S: i64 = 366 * 86_400;
    let mut told = Told::new("", r#"anomaly: "mempool_info.size", step: "1s", over: "52w""#);
    (0..30).for_each(|second| told.say(second, mempool(second)));
    assert_eq!(told.at(30), ["29"]);
    (0..30).for_each(|second| told.say(YEAR_S + second, mempool(1_000 + second)));
    assert_eq!(told.at(YEAR_S + 30), ["1029"]);
}

#[test]
fn time_does_not_jump_over_the_end_of_a_step() {
    let rule = r#"
        const RULE = #{ severity: "info", every: "1s", keep_firing_for_s: 0,
            windows: #{ x: #{ anomaly: "mempool_info.size", step: "1m" } } };
        fn check(w, params) { if w.x == () { #{ summary: "silent" } } }"#;
    for is_live in [false, true] {
        let mut told = Told { engine: Engine::new(stream::library(&[("told", rule)])) };
        (0..600).step_by(20).for_each(|second| told.say(second, mempool(1)));
        assert_eq!(told.at(600), Vec::<String>::new());
        if is_live {
            (601..9_000).for_each(|second| assert_eq!(told.at(second).len(), usize::from(second >= 840)));
        }
        told.say(9_000, mempool(1));
        let alerts = told.engine.alerts();
        let since: Vec<i64> = alerts.iter().map(|alert| alert.since.unix_ms() - START_MS).collect();
        assert_eq!(
            since,
            [840_000],
            "three steps after the last one that was judged, a minute after the last poll"
        );
    }
}

#[test]
fn an_anomaly_window_does_not_keep_the_others_from_being_filled() {
    let rule = r#"
        const RULE = #{ severity: "info", every: "1s",
            windows: #{ x: #{ anomaly: "mempool_info.size" }, n: #{ count: "mempool_info", over: "20s" } } };
        fn check(w, params) { if w.filled && w.x != () { #{ value: w.n, summary: `${w.n}` } } }"#;
    let mut told = Told { engine: Engine::new(stream::library(&[("told", rule)])) };
    (0..40).for_each(|second| told.say(second, mempool(1)));
    assert_eq!(told.at(40).len(), 1);
}

/// What is wrong with a rule that has this window and this check.
#[track_caller]
fn check_refused(window: &str, check: &str, expected: &[&str]) {
    let rule = format!(
        "const RULE = #{{ severity: \"info\", by: [],\n windows: #{{ x: #{{ {window} }} }} }};\nfn check(w, params) {{ {check} }}"
    );
    let errors = Rule::load(Schema::embedded(), &Sandbox::new(), "rules/test.rhai", &rule)
        .expect_err("nothing refused it");
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let errors = errors.join("\n");
    for expected in expected {
        assert!(errors.contains(expected), "{expected:?} is not in: {errors}");
    }
}

#[test]
fn mistakes_are_errors_that_say_what_is_right() {
    let read = "if w.x != () { #{} }";
    let of = |rest: &str| format!("anomaly: \"network_info.connections_in\", {rest}");
    check_refused(&of("take: \"lats\""), read, &["rules/test.rhai:2:", "take is \"lats\"", "last"]);
    check_refused(&of("detector: \"patern\""), read, &["detector is \"patern\"", "pattern"]);
    check_refused(&of("direction: \"left\""), read, &["direction is \"left\"", "both, up, down"]);
    check_refused(&of("step: \"10m\""), read, &["step is \"10m\"", "expected 1s to 5m"]);
    check_refused(&of("step: \"1500ms\""), read, &["whole number of seconds"]);
    check_refused(&of("season: \"30d\""), read, &["season is \"30d\"", "1h to 7d"]);
    check_refused(&of("over: \"1m\""), read, &["over is \"1m\"", "1h to a year"]);
    check_refused(&of("over: \"4weeks\""), read, &["is not a duration", "d or w"]);
    check_refused(&of("step: \"2s\""), read, &["rules/test.rhai:2:", "every: \"2s\" or less"]);
    check_refused(&of("effect_min: -1"), read, &["effect_min is -1"]);
    check_refused(&of("q: 0.5"), read, &["no key \"q\""]);
    check_refused(&of("take: \"top_share\""), read, &["top_share is of the text of an address"]);
    check_refused("anomaly: \"network_info.conections_in\"", read, &["connections_in"]);
    check_refused("anomly: \"network_info.connections_in\"", read, &["no key \"anomly\"", "anomaly"]);
    check_refused(&of(""), "if w.x.sccore > 0.5 { #{} }", &["rules/test.rhai:3:", "\"sccore\"", "score"]);
}

#[test]
fn a_drop_is_reported_and_two_usual_days_are_not() {
    let rule = r#"
        const RULE = #{ severity: "info", every: "10s",
            windows: #{ x: #{ anomaly: "network_info.connections_in", effect_min: 5 } } };
        fn check(w, params) {
            if w.x == () || w.x.tier < 1 { return; }
            #{ value: w.x.value, limit: w.x.lower, summary: `${w.x}` }
        }"#;
    let mut told = Told { engine: Engine::new(stream::library(&[("told", rule)])) };
    const DAY_S: i64 = 86_400;
    let mut mixed = 1_u64;
    let mut fired = Vec::new();
    for second in (1..2 * DAY_S + 600).step_by(10) {
        mixed = mixed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let noise = (mixed >> 33) % 5;
        let season = 10.0 * (second as f64 / DAY_S as f64 * std::f64::consts::TAU).sin();
        let level = if second > 2 * DAY_S { 20 } else { 110 };
        told.say(second, inbound((level as f64 + season) as u32 + noise as u32));
        if told.at(second + 5).len() > fired.len() {
            fired.push((second - 2 * DAY_S, told.engine.alerts()[0].summary.clone()));
        }
    }
    assert!(fired.len() == 1 && (0..60).contains(&fired[0].0), "{fired:?}");
    // Only the reports need the script.
    let health = &told.engine.rules()[0].health;
    assert!(health.script_calls < 50 && health.evaluations > 17_000, "{health:?}");
    let snapshot = told.engine.snapshot().len();
    assert!(snapshot < 24 * 1024, "{snapshot}");
    eprintln!("{fired:?} {snapshot} {health:?}");
}
