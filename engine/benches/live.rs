//! What the live service costs: events per second through NATS, time from an event to its alert, share of a core.
//!
//! `cargo bench --bench live`; needs nats-server and, for the last case, bitcoin-node (see testdata/build_bitcoind.sh).
//! Everything runs on loopback on the same machine, so the publisher takes its share of the cores too.

#![allow(clippy::disallowed_methods)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use prost::Message as _;
use tocsin_proto::pb::ebpf_extractor::ebpf::EbpfEvent;
use tocsin_proto::pb::ebpf_extractor::message_event::Msg;
use tocsin_proto::pb::ebpf_extractor::{Ebpf, MessageEvent, Metadata, Ping};
use tocsin_proto::pb::event::Event;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_testing::{NatsServer, Node, eventually, free_port};

const PATIENCE: Duration = Duration::from_secs(120);
/// Clock ticks per second in /proc/PID/stat.
const TICKS_PER_S: f64 = 100.0;

/// A rule that finds something in every ping: from here on the time is the program's own.
const EVERY_PING: &str = r#"
const RULE = #{ severity: "info", status: "stable", by: ["message.peer_id"], max_keys: 100000,
    on: "message", keep_firing_for_s: 1 };
fn on_event(e) { #{ value: 1, limit: 0, summary: "a ping" } }
"#;

struct Tocsin {
    folder: tempfile::TempDir,
    child: Child,
    http: u16,
}

impl Tocsin {
    fn start(config: &str, rules: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let http = free_port();
        let text = format!(
            "data = {:?}\n[log]\nlevel = \"warn\"\n[http]\nlisten = \"127.0.0.1:{http}\"\n[rules]\npaths = [{:?}]\n{config}",
            folder.path().join("data").display().to_string(),
            rules.display().to_string(),
        );
        let file = folder.path().join("tocsin.toml");
        std::fs::write(&file, text).expect("writable");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tocsin"));
        command.args(["run", "--format", "json", "--config"]).arg(file).stdout(Stdio::piped());
        let mut tocsin = Tocsin { folder, child: command.spawn().expect("tocsin starts"), http };
        eventually(PATIENCE, "tocsin to be ready", || {
            assert!(tocsin.child.try_wait().expect("our child").is_none(), "tocsin ended at once");
            ureq::get(format!("http://127.0.0.1:{http}/-/ready")).call().ok()
        });
        // The subscription follows the connection.
        std::thread::sleep(Duration::from_secs(1));
        tocsin
    }

    fn metric(&self, name: &str) -> f64 {
        let url = format!("http://127.0.0.1:{}/metrics", self.http);
        let text = ureq::get(url).call().expect("metrics").body_mut().read_to_string().expect("text");
        let values = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    fn cpu_s(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().expect("ticks")).sum();
        ticks / TICKS_PER_S
    }

    fn peak_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a peak");
        line.split_whitespace().nth(1).expect("a number").parse::<f64>().expect("kB") / 1024.0
    }
}

impl Drop for Tocsin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = &self.folder;
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

fn ping(sequence: u64, peer_id: u64) -> Bytes {
    let meta = Metadata {
        peer_id,
        addr: "203.0.113.7:8333".to_string(),
        conn_type: 1,
        command: "ping".to_string(),
        inbound: true,
        size: 8,
    };
    let message = MessageEvent { meta, msg: Some(Msg::Ping(Ping { value: sequence })), captured: None };
    let event = Event {
        timestamp: now_ms(),
        node: Some("alice".to_string()),
        received_at: None,
        sequence: Some(sequence),
        peer_observer_event: Some(PeerObserverEvent::Ebpf(Ebpf {
            ebpf_event: Some(EbpfEvent::Message(message)),
        })),
    };
    event.encode_to_vec().into()
}

/// Publishes `count` pings, `per_second` of them a second, or as fast as it goes.
fn publish(server: &NatsServer, first: u64, count: u64, per_second: Option<u64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let options = async_nats::ConnectOptions::new().client_capacity(65_536);
        let client = options.connect(server.url()).await.expect("the server is there");
        let started = Instant::now();
        for n in 0..count {
            if let Some(rate) = per_second.filter(|rate| n.is_multiple_of((rate / 200).max(1))) {
                let due = Duration::from_secs_f64(n as f64 / rate as f64);
                tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
            }
            let payload = ping(first + n, n % 100);
            client.publish("tocsin.alice.ebpf", payload).await.expect("published");
        }
        client.flush().await.expect("flushed");
    });
}

fn config(server: &NatsServer) -> String {
    format!("[[nats]]\nname = \"bench\"\nurl = {:?}\n", server.url())
}

fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("rules")
}

/// All that is published within some seconds, at a rate or as fast as it goes.
fn throughput(per_second: Option<u64>) {
    const COUNT: u64 = 2_000_000;
    let server = NatsServer::start();
    let tocsin = Tocsin::start(&config(&server), &rules());
    let (started, cpu_s) = (Instant::now(), tocsin.cpu_s());
    publish(&server, 1, COUNT, per_second);
    let published = started.elapsed();
    let mut seen = (0.0, Instant::now());
    while seen.0 < COUNT as f64 && seen.1.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(50));
        let recorded = tocsin.metric("tocsin_recording_events_total");
        if recorded > seen.0 {
            seen = (recorded, Instant::now());
        }
    }
    let took = seen.1.duration_since(started).as_secs_f64();
    println!(
        "NATS to alerts, offered at {}/s: {COUNT} pings of {} bytes, 13 rules, recorded: {:.0} events/s (published at {:.0}/s), lost {}, \
         {:.2} us of CPU an event, peak {:.0} MiB",
        per_second.map_or("more than it can take".to_string(), |rate| rate.to_string()),
        ping(1, 1).len(),
        seen.0 / took,
        COUNT as f64 / published.as_secs_f64(),
        tocsin.metric("tocsin_events_lost_total") as u64,
        (tocsin.cpu_s() - cpu_s) * 1e6 / seen.0,
        tocsin.peak_mib(),
    );
}

fn share_of_a_core(per_second: u64) {
    const SECONDS: u64 = 20;
    let server = NatsServer::start();
    let tocsin = Tocsin::start(&config(&server), &rules());
    publish(&server, 1, per_second * 2, Some(per_second));
    let (started, cpu_s) = (Instant::now(), tocsin.cpu_s());
    publish(&server, 1 + per_second * 2, per_second * SECONDS, Some(per_second));
    let share = (tocsin.cpu_s() - cpu_s) / started.elapsed().as_secs_f64();
    println!("share of a core at {per_second} events/s through NATS: {:.2} %", share * 100.0);
}

fn latency() {
    const COUNT: u64 = 2000;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("every_ping.rhai"), EVERY_PING).expect("writable");
    let server = NatsServer::start();
    let mut tocsin = Tocsin::start(&config(&server), folder.path());
    let output = BufReader::new(tocsin.child.stdout.take().expect("piped"));
    let reader = std::thread::spawn(move || {
        let firing = output.lines().map_while(Result::ok).filter(|line| line.contains("\"firing\""));
        let late = firing.map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            now_ms() as i64 - line["at_ms"].as_i64().expect("a time")
        });
        let mut late: Vec<i64> = late.take(COUNT as usize).collect();
        late.sort_unstable();
        late
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = async_nats::connect(server.url()).await.expect("the server is there");
        for n in 0..COUNT {
            client.publish("tocsin.alice.ebpf", ping(n + 1, n)).await.expect("published");
            client.flush().await.expect("flushed");
            tokio::time::sleep(Duration::from_micros(7100)).await;
        }
        // What follows brings the last ones out.
        tokio::time::sleep(Duration::from_secs(1)).await;
    });
    let late = reader.join().expect("read");
    let quantile = |q: f64| late[((late.len() - 1) as f64 * q) as usize];
    println!(
        "from an event to its alert on standard output, {} alerts: median {} ms, p99 {} ms, longest {} ms",
        late.len(),
        quantile(0.5),
        quantile(0.99),
        quantile(1.0)
    );
}

fn main() {
    throughput(Some(200_000));
    throughput(Some(300_000));
    throughput(None);
    latency();
    share_of_a_core(500);
    share_of_a_core(5000);
    idle_node();
}

/// All five extractors on a regtest node that does nothing.
fn idle_node() {
    const SECONDS: u64 = 30;
    let p2p = free_port();
    let node = Node::start_ipc(&[&format!("-addnode=127.0.0.1:{p2p}")]);
    node.mine(1);
    let datadir = node.datadir();
    let datadir = datadir.display();
    let config = format!(
        "[[node]]\nname = \"alice\"\n[node.rpc]\nurl = \"http://127.0.0.1:{}\"\ncookie_file = \"{datadir}/.cookie\"\n\
         [node.p2p]\nlisten = \"127.0.0.1:{p2p}\"\nnetwork = \"regtest\"\n[node.log]\npath = \"{datadir}/debug.log\"\n\
         [node.ebpf]\npid = {}\n[node.ipc]\nsocket = \"{datadir}/node.sock\"\n",
        node.rpc_port(),
        node.pid(),
    );
    let tocsin = Tocsin::start(&config, &rules());
    std::thread::sleep(Duration::from_secs(10));
    let (started, cpu_s) = (Instant::now(), tocsin.cpu_s());
    let events = tocsin.metric("tocsin_recording_events_total");
    std::thread::sleep(Duration::from_secs(SECONDS));
    let share = (tocsin.cpu_s() - cpu_s) / started.elapsed().as_secs_f64();
    let events = tocsin.metric("tocsin_recording_events_total") - events;
    println!(
        "share of a core with five extractors on an idle regtest node, {:.1} events/s: {:.2} %, peak {:.0} MiB",
        events / SECONDS as f64,
        share * 100.0,
        tocsin.peak_mib()
    );
}
