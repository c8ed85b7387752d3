//! What the ebpf extractor costs: decoding by type of record, and events per second from a process that fires probes.
//!
//! `cargo bench -p tocsin-extractors --bench ebpf` prints both. The second part needs CAP_BPF and CAP_PERFMON; it starts
//! this program again as the process that fires `net:inbound_message` as bitcoind would, and reads it with the whole
//! extractor, bus included. What is missing is counted by the kernel's counters and shows as received less than fired.

// A benchmark has clocks and processes.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use prost::Message as _;
use tocsin_extractors::ebpf::{Config, Group, RawTransactions, decode};
use tocsin_extractors::{CancellationToken, NodeExtractors, bus, start};
use tocsin_proto::pb::ebpf_extractor::ebpf::EbpfEvent;
use tocsin_proto::pb::event::Event;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::pb::observer::observer::ObserverEvent;

/// Set for the process that fires: messages per second (0: as fast as it can), messages, payload bytes.
const FIRE: &str = "TOCSIN_FIRE";

fn main() {
    if let Ok(order) = std::env::var(FIRE) {
        let numbers: Vec<u64> = order.split(' ').map(|number| number.parse().expect("a number")).collect();
        fire(numbers[0], numbers[1], numbers[2]);
        return;
    }
    divan::main();
    if std::env::args().any(|argument| argument == "--test") || !may_load() {
        return;
    }
    println!("messages/s  payload    fired  received  dropped  seconds  fired/s");
    for (rate, count, bytes) in [(20_000, 100_000, 61), (20_000, 60_000, 1_000), (0, 500_000, 61)] {
        sustain(rate, count, bytes);
    }
}

fn may_load() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap_or("0");
    let may = u64::from_str_radix(effective, 16).unwrap_or(0) >> 38 & 0b11 == 0b11;
    if !may {
        println!("skipped: events per second; needs CAP_BPF and CAP_PERFMON");
    }
    may
}

/// Waits for a line, or the end, of what our parent says.
fn wait() {
    std::io::stdin().read_line(&mut String::new()).expect("readable");
}

/// Fires `count` messages, `rate` a second.
fn fire(rate: u64, count: u64, bytes: u64) {
    let text = |text: &str| CString::new(text).expect("no NUL");
    let (addr, conn_type, msg_type) = (text("203.0.113.7:8333"), text("inbound"), text("inv"));
    // An inv; what does not fill a whole entry follows and is ignored, as Core ignores it.
    let entries = (bytes as usize).saturating_sub(1) / 36;
    let mut payload = vec![entries.min(252) as u8];
    payload.resize(bytes as usize, 1);
    // The extractor attaches while we wait.
    wait();
    let started = Instant::now();
    for number in 0..count {
        probe::probe!(
            net,
            inbound_message,
            number,
            addr.as_ptr(),
            conn_type.as_ptr(),
            msg_type.as_ptr(),
            payload.len(),
            payload.as_ptr()
        );
        // In bursts of a millisecond.
        if rate > 0 && number % (rate / 1000) == 0 {
            let due = Duration::from_secs_f64(number as f64 / rate as f64);
            std::thread::sleep(due.saturating_sub(started.elapsed()));
        }
    }
    println!("{}", started.elapsed().as_secs_f64());
    // Stay until the rings are empty and the counters read.
    wait();
}

fn start_firing(rate: u64, count: u64, bytes: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("there is one"));
    command.env(FIRE, format!("{rate} {count} {bytes}")).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().expect("we can be started again")
}

/// What an event adds: messages, drops, and whether the extractor has attached.
fn tally(event: Event) -> (u64, u64, bool) {
    match event.peer_observer_event {
        Some(PeerObserverEvent::Ebpf(ebpf)) => match ebpf.ebpf_event {
            Some(EbpfEvent::Message(_)) => (1, 0, false),
            Some(EbpfEvent::Probes(_)) => (0, 0, true),
            _ => (0, 0, false),
        },
        Some(PeerObserverEvent::Observer(observer)) => match observer.observer_event {
            Some(ObserverEvent::EventsLost(lost)) => (0, lost.count, false),
            _ => (0, 0, false),
        },
        _ => (0, 0, false),
    }
}

/// Lets a process fire and reads it; prints what came.
fn sustain(rate: u64, count: u64, bytes: u64) {
    let mut child = start_firing(rate, count, bytes);
    let mut input = child.stdin.take().expect("piped");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let fired = std::thread::spawn(move || output.lines().next().expect("a line").expect("text"));

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (bus, mut received) = bus();
    let shutdown = CancellationToken::new();
    let config = Config { pid: Some(child.id()), groups: vec![Group::Messages], ..Config::default() };
    let extractors = NodeExtractors { ebpf: Some(config), ..NodeExtractors::default() };
    let tasks = {
        let _runtime = runtime.enter();
        start("bench", extractors, &bus, &shutdown)
    };
    let (mut messages, mut dropped) = (0, 0);
    let mut until: Option<Instant> = None;
    while until.is_none_or(|until| Instant::now() < until) {
        match received.try_recv() {
            Ok(outgoing) => {
                let (message, lost, has_attached) = tally(Event::decode(outgoing.payload).expect("an event"));
                messages += message;
                dropped += lost;
                if has_attached {
                    input.write_all(b"go\n").expect("it waits");
                }
            }
            // The counters are read each second.
            Err(_) if fired.is_finished() && until.is_none() => {
                until = Some(Instant::now() + Duration::from_millis(2_500));
            }
            Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
    }
    let seconds: f64 = fired.join().expect("no panic").parse().expect("seconds");
    let per_second = count as f64 / seconds;
    println!("{rate:10}  {bytes:7}  {count:7}  {messages:8}  {dropped:7}  {seconds:7.2}  {per_second:7.0}");
    shutdown.cancel();
    for task in tasks {
        runtime.block_on(task).expect("no panic");
    }
    drop(input);
    child.wait().expect("ours");
}

/// The recorded records by what they are; of several the largest.
fn records() -> BTreeMap<String, Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/extract/ebpf/records.bin");
    let bytes = std::fs::read(file).expect("records");
    let (mut rest, mut records) = (bytes.as_slice(), BTreeMap::<String, Vec<u8>>::new());
    while let Some((length, after)) = rest.split_first_chunk() {
        let (record, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        let kept = records.entry(name(record)).or_default();
        if record.len() > kept.len() {
            *kept = record.to_vec();
        }
        rest = after;
    }
    records
}

fn name(record: &[u8]) -> String {
    let decoded = decode(record, RawTransactions::Keep).expect("a record");
    match decoded.event {
        PeerObserverEvent::Ebpf(ebpf) => match ebpf.ebpf_event.expect("always set") {
            EbpfEvent::Message(message) => message.meta.command,
            EbpfEvent::Connection(_) => "connection".to_string(),
            EbpfEvent::Mempool(_) => "mempool".to_string(),
            EbpfEvent::Validation(_) => "block_connected".to_string(),
            _ => "utxocache".to_string(),
        },
        _ => unreachable!("records are of the ebpf extractor"),
    }
}

#[divan::bench(args = [
    "ping", "getdata", "headers", "block", "cmpctblock", "connection", "mempool", "block_connected"
])]
fn decode_record(bencher: divan::Bencher<'_, '_>, what: &str) {
    let records = records();
    let record = &records[what];
    bencher.bench(|| decode(divan::black_box(record), RawTransactions::Keep));
}
