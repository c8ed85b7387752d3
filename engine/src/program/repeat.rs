//! `tocsin repeat`: a long recording out of short ones, for benchmarks.
//!
//! Each round begins a second after the one before, and its peers get new ids, so that the rules see a node that
//! never ends rather than the same minutes again and again.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Instant;

use anyhow::{Context, bail};
use prost::Message as _;
use tocsin_proto::archive::{ArchiveReader, ArchiveWriter, Compression, Frame};
use tocsin_proto::pb;
use tocsin_proto::pb::event::Event;

use super::Ended;
use super::arguments::RepeatArguments;
use super::output::{bytes, grouped};

/// Room for the peer ids of one round.
const PEERS_A_ROUND: u64 = 100_000;

/// Runs the command.
pub fn run(arguments: &RepeatArguments) -> anyhow::Result<Ended> {
    let started = Instant::now();
    let mut recordings = Vec::new();
    for path in &arguments.files {
        let file =
            File::open(path).with_context(|| format!("{}: cannot open the recording", path.display()))?;
        let reader = ArchiveReader::new(file).with_context(|| path.display().to_string())?;
        let frames = reader.collect::<Result<Vec<Frame>, _>>().with_context(|| path.display().to_string())?;
        recordings.push(frames);
    }
    if recordings.iter().all(Vec::is_empty) {
        bail!("the recordings have no events to repeat");
    }
    let output = &arguments.output;
    let compression = match output.extension().is_some_and(|ending| ending == "zst") {
        true => Compression::Zstd { level: 3 },
        false => Compression::None,
    };
    let file =
        File::create(output).with_context(|| format!("{}: cannot create the recording", output.display()))?;
    let first_ms = recordings.iter().flatten().map(|frame| frame.timestamp_ms).min().unwrap_or(0);
    let header = pb::archive::ArchiveHeader {
        created: first_ms / 1000,
        node: arguments.node.clone(),
        ..Default::default()
    };
    let mut writer = ArchiveWriter::new(BufWriter::new(file), &header, compression)?;
    let written = repeat(&recordings, first_ms, arguments.events, &mut writer)?;
    writer.finish()?.flush()?;
    let size = std::fs::metadata(output)?.len();
    println!(
        "{}: {} events, {} in {:.1} s",
        output.display(),
        grouped(written),
        bytes(size as f64),
        started.elapsed().as_secs_f64()
    );
    Ok(Ended::Well)
}

fn repeat(
    recordings: &[Vec<Frame>],
    first_ms: u64,
    events: u64,
    writer: &mut ArchiveWriter<BufWriter<File>>,
) -> anyhow::Result<u64> {
    let (mut written, mut begins_ms) = (0, first_ms);
    for round in 0.. {
        let frames = &recordings[round as usize % recordings.len()];
        let (Some(from_ms), Some(to_ms)) = (
            frames.iter().map(|frame| frame.timestamp_ms).min(),
            frames.iter().map(|frame| frame.timestamp_ms).max(),
        ) else {
            continue;
        };
        for frame in frames {
            if written == events {
                return Ok(written);
            }
            let mut event = Event::decode(frame.payload.clone())?;
            event.timestamp = event.timestamp - from_ms + begins_ms;
            event.received_at = None;
            shift_peers(&mut event, round * PEERS_A_ROUND);
            writer.write_event(&event.encode_to_vec())?;
            written += 1;
        }
        begins_ms += to_ms - from_ms + 1000;
    }
    Ok(written)
}

/// Adds `shift` to every peer id of an event.
fn shift_peers(event: &mut Event, shift: u64) {
    use pb::ebpf_extractor::{connection_event, ebpf};
    use pb::event::event::PeerObserverEvent;
    use pb::rpc_extractor::rpc;
    match &mut event.peer_observer_event {
        Some(PeerObserverEvent::Ebpf(event)) => match &mut event.ebpf_event {
            Some(ebpf::EbpfEvent::Message(message)) => message.meta.peer_id += shift,
            Some(ebpf::EbpfEvent::Connection(connection)) => match &mut connection.event {
                Some(connection_event::Event::Closed(closed)) => closed.conn.peer_id += shift,
                Some(connection_event::Event::InboundEvicted(evicted)) => evicted.conn.peer_id += shift,
                Some(connection_event::Event::Inbound(inbound)) => inbound.conn.peer_id += shift,
                Some(connection_event::Event::Outbound(outbound)) => outbound.conn.peer_id += shift,
                Some(connection_event::Event::Misbehaving(misbehaving)) => misbehaving.id += shift,
                None => {}
            },
            _ => {}
        },
        Some(PeerObserverEvent::Rpc(event)) => match &mut event.rpc_event {
            Some(rpc::RpcEvent::PeerInfos(peers)) => {
                peers.infos.iter_mut().for_each(|peer| peer.id = peer.id.wrapping_add(shift as u32));
            }
            Some(rpc::RpcEvent::OrphanTxs(orphans)) => {
                orphans
                    .orphans
                    .iter_mut()
                    .flat_map(|orphan| &mut orphan.from)
                    .for_each(|peer| *peer += shift);
            }
            _ => {}
        },
        _ => {}
    }
}
