//! Alerts on demand: a rule that fires for each peer that speaks, and peers that speak over NATS.

use prost::Message as _;
use tocsin_proto::pb::ebpf_extractor::ebpf::EbpfEvent;
use tocsin_proto::pb::ebpf_extractor::{Ebpf, MessageEvent, Metadata};
use tocsin_proto::pb::event::Event;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_testing::NatsServer;

/// Fires for a peer that spoke within two seconds, and resolves a second later.
const RULE: &str = r#"//! A peer speaks.
//!
//! Why: in this test every word is one too many.
//! False positives: none.
//! Do: nothing.
const RULE = #{ severity: "critical", status: "stable", by: ["message.peer_id"], every: "1s", keep_firing_for_s: 1,
    windows: #{ words: #{ count: "message", over: "2s" } } };
fn check(w, params) {
    if w.words > 0 { #{ value: w.words, limit: 0, summary: `${w.words} words` } }
}
"#;

/// Peers that speak.
pub struct Peers {
    server: NatsServer,
    rules: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    client: async_nats::Client,
}

impl Peers {
    /// Starts the NATS server.
    pub fn start() -> Self {
        let server = NatsServer::start();
        let rules = tempfile::tempdir().expect("a folder");
        std::fs::write(rules.path().join("peer_speaks.rhai"), RULE).expect("writable");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let client = runtime.block_on(async_nats::connect(server.url())).expect("the server is there");
        Peers { server, rules, runtime, client }
    }

    /// The configuration that hears them: rules and the NATS server.
    pub fn config(&self) -> String {
        format!(
            "[rules]\npaths = [{:?}]\n[checkpoint]\nevery = \"2s\"\n\
             [[nats]]\nname = \"peers\"\nurl = {:?}\nsubjects = \"peer-observer\"\nnode = \"alice\"\n",
            self.rules.path().display().to_string(),
            self.server.url()
        )
    }

    /// Each of these says a word.
    pub fn speak(&self, peers: impl IntoIterator<Item = u64>) {
        self.runtime.block_on(async {
            for peer in peers {
                self.client.publish("netmsg", word(peer).into()).await.expect("published");
            }
            self.client.flush().await.expect("flushed");
        });
    }
}

fn word(peer_id: u64) -> Vec<u8> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let meta = Metadata {
        peer_id,
        addr: format!("192.0.2.{}:8333", peer_id % 250),
        command: "ping".to_string(),
        inbound: true,
        size: 8,
        ..Metadata::default()
    };
    let message = MessageEvent { meta, msg: None, ..MessageEvent::default() };
    let ebpf = Ebpf { ebpf_event: Some(EbpfEvent::Message(message)) };
    let event = Event {
        timestamp: now.as_millis() as u64,
        peer_observer_event: Some(PeerObserverEvent::Ebpf(ebpf)),
        ..Event::default()
    };
    event.encode_to_vec()
}
