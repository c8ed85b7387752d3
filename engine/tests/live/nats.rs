//! Events from NATS servers: those of peer-observer, and those of our own extractors.

use std::fs::File;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tocsin_proto::archive::ArchiveReader;
use tocsin_proto::pb::ebpf_extractor::ebpf::EbpfEvent;
use tocsin_proto::pb::event::Event;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_testing::{NatsServer, eventually};

use crate::harness::{PATIENCE, Tocsin, replay, root};

/// The subject that peer-observer publishes an event under.
fn subject(payload: &Bytes) -> &'static str {
    match Event::decode(payload.clone()).expect("an event").peer_observer_event {
        Some(PeerObserverEvent::Ebpf(ebpf)) => match ebpf.ebpf_event {
            Some(EbpfEvent::Message(_)) => "netmsg",
            Some(EbpfEvent::Connection(_)) => "netconn",
            Some(EbpfEvent::Mempool(_)) => "mempool",
            _ => "validation",
        },
        Some(PeerObserverEvent::Rpc(_)) => "rpc",
        Some(PeerObserverEvent::P2p(_)) => "p2p-extractor",
        Some(PeerObserverEvent::Log(_)) => "log-extractor",
        _ => "ipc",
    }
}

/// Publishes payloads, each under the subject that `subject` gives it, as fast as the server takes them.
fn publish(server: &NatsServer, payloads: &[Bytes], subject: impl Fn(&Bytes) -> String) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client = async_nats::connect(server.url()).await.expect("the server is there");
        for payload in payloads {
            client.publish(subject(payload), payload.clone()).await.expect("published");
        }
        client.flush().await.expect("flushed");
    });
}

fn recorded(incident: &str) -> Vec<Bytes> {
    let path = root().join("testdata/incidents").join(incident).join("recording.bin.zst");
    let reader = ArchiveReader::new(File::open(path).expect("a recording")).expect("an archive");
    reader.map(|frame| frame.expect("undamaged").payload).collect()
}

#[test]
fn what_peer_observer_publishes_gives_the_timeline_that_replay_gives() {
    let server = NatsServer::start();
    let mut tocsin = Tocsin::run(&format!(
        "[[nats]]\nname = \"relative\"\nurl = {:?}\nsubjects = \"peer-observer\"\nnode = \"node\"\n",
        server.url()
    ));
    eventually(PATIENCE, "the connection", || tocsin.log().contains("connected to").then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    let payloads = recorded("addr_flood");
    publish(&server, &payloads, |payload| subject(payload).to_string());
    eventually(PATIENCE, "all events to be recorded", || {
        tocsin.metric("tocsin_recording_events_total").filter(|count| *count >= payloads.len() as f64)
    });
    tocsin.stop();

    let path = root().join("testdata/incidents/addr_flood/recording.bin.zst");
    let expected = replay(&[path]);
    let found = tocsin.timeline();
    assert!(found.iter().filter(|change| change["state"] == "firing").count() >= 4, "{found:?}");
    // A replay knows where a recording ends; a live stream never does.
    assert_eq!(found[..], expected[..found.len()]);
    assert!(found.len() + 4 >= expected.len(), "{} of {} changes", found.len(), expected.len());
    // What was recorded on the way says the same, with the live times of arrival in it.
    let recorded_here = replay(&tocsin.recordings());
    assert_eq!(found[..], recorded_here[..found.len()]);
}
