//! Random recordings of several nodes, and rules that use everything an engine can remember of them.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use prost::Message as _;
use tocsin_engine::engine::{Engine, Library};
use tocsin_engine::rules::Rule;
use tocsin_engine::rules::script::Sandbox;
use tocsin_engine::timeline::Change;
use tocsin_proto::archive::Frame;
use tocsin_proto::pb::ebpf_extractor::{
    ClosedConnection, Connection, ConnectionEvent, Ebpf, MessageEvent, Metadata, MisbehavingConnection, Ping,
    connection_event, ebpf, message_event,
};
use tocsin_proto::pb::event::Event;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::pb::rpc_extractor::{MempoolInfo, Rpc, rpc::RpcEvent};
use tocsin_proto::schema::Schema;

/// When recordings begin, in unix ms.
pub const START_MS: i64 = 1_767_225_600_000;

/// A rule for each thing an engine remembers, by name.
pub const RULES: [(&str, &str); 12] = [
    ("outlier", super::fleet::OUTLIER),
    ("lull", include_str!("rules/lull.rhai")),
    ("silent", super::fleet::SILENT),
    ("burst", include_str!("rules/burst.rhai")),
    ("few", include_str!("rules/few.rhai")),
    ("strikes", include_str!("rules/strikes.rhai")),
    ("looks", include_str!("rules/looks.rhai")),
    ("broken", include_str!("rules/broken.rhai")),
    ("sizes", include_str!("rules/sizes.rhai")),
    ("begun", include_str!("rules/begun.rhai")),
    ("unusual", include_str!("rules/unusual.rhai")),
    ("unusual_peer", include_str!("rules/unusual_peer.rhai")),
];

/// A library of rules given by name and text.
pub fn library(rules: &[(&str, &str)]) -> Library {
    let sandbox = Sandbox::new();
    let load = |(name, text): &(&str, &str)| {
        Rule::load(Schema::embedded(), &sandbox, &format!("rules/{name}.rhai"), text)
            .expect("the rule is right")
    };
    let loaded: Vec<Rule> = rules.iter().map(load).collect();
    let known: Vec<String> = loaded.iter().map(|rule| rule.name.clone()).collect();
    Library::new(sandbox, loaded, &known).expect("the rules fit")
}

/// An engine with all of [`RULES`].
pub fn engine() -> Engine {
    Engine::new(library(&RULES))
}

/// All of a change, after a tab what its line does not say: when the episode began and what was measured.
pub fn line(change: &Change) -> String {
    format!("{}\t{} {:?}", change.to_json(), change.since, change.evidence)
}

/// What a node reports.
#[derive(Debug, Clone)]
pub enum Fact {
    Mempool(i64),
    Uptime(u32),
    Message { peer_id: u64, size: u64, times: u64 },
    Misbehaving { peer_id: u64, message: &'static str },
    Closed(u64),
}

/// An event of a random recording.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub node: &'static str,
    /// On the node's clock, after [`START_MS`].
    pub at_ms: i64,
    /// On the engine's clock, after [`START_MS`].
    pub received_ms: i64,
    pub fact: Fact,
}

/// What happens next in a random recording.
#[derive(Debug, Clone)]
pub enum Step {
    /// After so long a node reports something.
    Report { gap_ms: i64, late_ms: i64, node: usize, fact: Fact },
    /// Nothing arrives for so long, while the nodes go on; then what they sent meanwhile arrives at once, perhaps after
    /// something fresh.
    Stall { ms: i64, events: usize, spacing_ms: i64, fresh_first: bool },
    /// Nobody reports anything for so long.
    Silence { ms: i64 },
    /// A node's clock is set.
    SetClock { node: usize, ms: i64 },
}

pub const NODES: [&str; 3] = ["ada", "hal", "len"];

impl Recorded {
    /// The event, stamped or not.
    pub fn frame(&self, is_stamped: bool) -> Frame {
        let rpc = |event| PeerObserverEvent::Rpc(Rpc { rpc_event: Some(event) });
        let ebpf = |event| PeerObserverEvent::Ebpf(Ebpf { ebpf_event: Some(event) });
        let connection = |event| ebpf(ebpf::EbpfEvent::Connection(ConnectionEvent { event: Some(event) }));
        let fact = match &self.fact {
            Fact::Mempool(size) => {
                rpc(RpcEvent::MempoolInfo(MempoolInfo { size: *size, ..Default::default() }))
            }
            Fact::Uptime(seconds) => rpc(RpcEvent::Uptime(*seconds)),
            Fact::Message { peer_id, size, .. } => {
                let meta = Metadata {
                    peer_id: *peer_id,
                    command: if size % 2 == 0 { "ping".into() } else { "pong".into() },
                    inbound: true,
                    size: *size,
                    ..Default::default()
                };
                let msg = Some(message_event::Msg::Ping(Ping { value: *size }));
                ebpf(ebpf::EbpfEvent::Message(MessageEvent { meta, msg, captured: None }))
            }
            Fact::Misbehaving { peer_id, message } => {
                connection(connection_event::Event::Misbehaving(MisbehavingConnection {
                    id: *peer_id,
                    message: message.to_string(),
                }))
            }
            Fact::Closed(peer_id) => {
                let conn = Connection { peer_id: *peer_id, ..Default::default() };
                connection(connection_event::Event::Closed(ClosedConnection { conn, time_established: 0 }))
            }
        };
        let event = Event {
            timestamp: (START_MS + self.at_ms) as u64,
            node: Some(self.node.to_string()),
            received_at: is_stamped.then_some((START_MS + self.received_ms) as u64),
            peer_observer_event: Some(fact),
            ..Default::default()
        };
        Frame::parse(0, Bytes::from(event.encode_to_vec())).expect("an event")
    }
}

/// The events of these steps, in the order they arrive.
pub fn recording(steps: &[Step]) -> Vec<Recorded> {
    let mut events = Vec::new();
    let mut clocks = [7, -3_600_000, 240_000];
    let mut now_ms = 0;
    for step in steps {
        match step {
            Step::Report { gap_ms, late_ms, node, fact } => {
                now_ms += gap_ms;
                let times = if let Fact::Message { times, .. } = fact { *times } else { 1 };
                for n in 0..times as i64 {
                    let mut fact = fact.clone();
                    if let Fact::Message { size, .. } = &mut fact {
                        *size += n as u64 * 2;
                    }
                    let at_ms = now_ms - late_ms + clocks[*node];
                    events.push(Recorded { node: NODES[*node], at_ms, received_ms: now_ms, fact });
                    now_ms += n % 2;
                }
            }
            Step::Stall { ms, events: count, spacing_ms, fresh_first } => {
                let (begun_ms, step_ms) = (now_ms, ms / (*count as i64 + 1));
                now_ms += ms;
                if *fresh_first {
                    let at_ms = now_ms + clocks[0];
                    events.push(Recorded {
                        node: NODES[0],
                        at_ms,
                        received_ms: now_ms,
                        fact: Fact::Uptime(1),
                    });
                }
                for n in 0..*count {
                    let node = n * n % 5 % 3;
                    let fact = if n % 3 == 0 { Fact::Mempool(1000) } else { Fact::Uptime(n as u32) };
                    let at_ms = begun_ms + step_ms * (n as i64 + 1) + clocks[node];
                    events.push(Recorded { node: NODES[node], at_ms, received_ms: now_ms, fact });
                    now_ms += spacing_ms;
                }
            }
            Step::Silence { ms } => now_ms += ms,
            Step::SetClock { node, ms } => clocks[*node] += ms,
        }
    }
    events
}

fn fact() -> impl Strategy<Value = Fact> {
    let message = prop_oneof![Just("mutated block"), Just("throw"), Just("")];
    let times = prop_oneof![6 => Just(1_u64), 3 => 2_u64..8, 1 => 40_u64..400];
    prop_oneof![
        4 => prop_oneof![3 => Just(1000_i64), 1 => 0..50_i64].prop_map(Fact::Mempool),
        2 => (0..5_000_u32).prop_map(Fact::Uptime),
        6 => (0..12_u64, 0..300_u64, times)
            .prop_map(|(peer_id, size, times)| Fact::Message { peer_id, size, times }),
        2 => (0..12_u64, message).prop_map(|(peer_id, message)| Fact::Misbehaving { peer_id, message }),
        1 => (0..12_u64).prop_map(Fact::Closed),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let gap_ms = prop_oneof![4 => 0..20_i64, 8 => 0..2_000_i64, 1 => 0..15_000_i64];
    let late_ms = prop_oneof![8 => 0..60_i64, 1 => 0..20_000_i64];
    let stall_ms = prop_oneof![3 => 500..70_000_i64, 3 => 61_000..900_000_i64];
    let clock_ms = prop_oneof![1 => -7_200_000..7_200_000_i64, 1 => -90_000..90_000_i64];
    let stall = (stall_ms, 0..120_usize, prop_oneof![Just(0_i64), 0..50_i64, 50..2_000_i64], any::<bool>());
    prop_oneof![
        60 => (gap_ms, late_ms, 0..3_usize, fact())
            .prop_map(|(gap_ms, late_ms, node, fact)| Step::Report { gap_ms, late_ms, node, fact }),
        3 => stall.prop_map(|(ms, events, spacing_ms, fresh_first)|
            Step::Stall { ms, events, spacing_ms, fresh_first }),
        2 => prop_oneof![0..100_000_i64, 0..4_000_000_i64].prop_map(|ms| Step::Silence { ms }),
        1 => (0..3_usize, clock_ms).prop_map(|(node, ms)| Step::SetClock { node, ms }),
    ]
}

/// Steps of a random recording.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..120)
}

/// A runner with a fixed seed; `PROPTEST_RNG_SEED` sets another, and `PROPTEST_CASES` scales the number of cases.
pub fn runner(cases: u32, seed: u64) -> TestRunner {
    let mut config = Config { failure_persistence: None, max_shrink_iters: 500, ..Config::default() };
    config.cases = (cases * config.cases / 256).max(1);
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(seed);
    }
    TestRunner::new(config)
}
