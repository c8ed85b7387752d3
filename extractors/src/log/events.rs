//! From what was found in a message to its event: what several rows of [`super::messages`] have in common.

use tocsin_proto::pb::log_extractor::block_timing::Step as Timed;
use tocsin_proto::pb::log_extractor::connection_opened::Step as Opened;
use tocsin_proto::pb::log_extractor::connection_refused::Reason as Refused;
use tocsin_proto::pb::log_extractor::fatal::Cause;
use tocsin_proto::pb::log_extractor::header_error::Fault;
use tocsin_proto::pb::log_extractor::header_sync::Step as Headers;
use tocsin_proto::pb::log_extractor::invalid_block::Stage;
use tocsin_proto::pb::log_extractor::log::LogEvent;
use tocsin_proto::pb::log_extractor::node_progress::Step as Progress;
use tocsin_proto::pb::log_extractor::orphans_removed::Reason as Removed;
use tocsin_proto::pb::log_extractor::peer_gone::Step as Gone;
use tocsin_proto::pb::log_extractor::peer_punished::Outcome;
use tocsin_proto::pb::log_extractor::rpc_refused::Reason as Rpc;
use tocsin_proto::pb::log_extractor::*;

use super::template::{Found, bounded, is_hash};

/// What disconnecting lines begin with, and the reason that is.
const REASONS: &[(&str, disconnect::Reason)] = {
    use disconnect::Reason::*;
    &[
        ("socket closed", SocketClosed),
        ("socket send error", SocketError),
        ("socket recv error", SocketError),
        ("socket sending timeout", SendTimeout),
        ("socket receive timeout", ReceiveTimeout),
        ("socket no message in first", NoFirstMessage),
        ("version handshake timeout", HandshakeTimeout),
        ("V2 handshake timeout", V2HandshakeTimeout),
        ("ping timeout", PingTimeout),
        ("Peer is stalling block download", BlockStalling),
        ("Timeout downloading block", BlockTimeout),
        ("Timeout downloading headers", HeadersTimeout),
        ("Outbound peer has old chain", OldChain),
        ("outbound peer headers chain has insufficient work", OldChain),
        ("selected ", Evicted),
        ("extra ", ExtraOutbound),
        ("feeler connection completed", Finished),
        ("addrfetch connection completed", Finished),
        ("peer does not offer the expected services", MissingServices),
        ("peer using obsolete version", ObsoleteVersion),
        ("disconnect by ", Requested),
        ("Network not active", NetworkInactive),
        ("Stopping node", NodeStopping),
        ("receiving message bytes failed", ProtocolViolation),
        ("transaction ", ProtocolViolation),
        ("txreconciliation protocol violation", ProtocolViolation),
        ("sendtxrcncl received", ProtocolViolation),
        ("wtxidrelay received after verack", ProtocolViolation),
        ("sendaddrv2 received after verack", ProtocolViolation),
        ("feature received", ProtocolViolation),
        ("invalid feature payload", ProtocolViolation),
        ("getblocks locator size", ProtocolViolation),
        ("getheaders locator size", ProtocolViolation),
        ("mempool request", ProtocolViolation),
        ("filter", ProtocolViolation),
        ("peer requested", ProtocolViolation),
        ("peer sent", ProtocolViolation),
    ]
};

/// `bad-txnmrklroot, hashMerkleRoot mismatch`
pub(super) fn reason_and_debug(text: &str) -> (String, Option<String>) {
    match text.split_once(", ") {
        Some((reason, debug)) => (bounded(reason), Some(bounded(debug))),
        None => (bounded(text), None),
    }
}

pub(super) fn update_tip(found: &Found, background: bool) -> LogEvent {
    let warning = found.str(9).strip_prefix(" warning='").map(|text| bounded(text.trim_end_matches('\'')));
    LogEvent::UpdateTip(UpdateTip {
        block_hash: found.text(0),
        block_height: found.u32(1),
        version: found.u32(2),
        log2_work: found.f64(3),
        transactions: found.u64(4),
        block_time: found.u64(5),
        progress: found.f64(6),
        cache_bytes: (found.f64(7) * 1024.0 * 1024.0) as u64,
        cache_coins: found.u64(8),
        warning,
        background,
    })
}

pub(super) fn saw_header(
    block_hash: String,
    block_height: u32,
    peer_id: u64,
    is_cmpctblock: bool,
) -> LogEvent {
    LogEvent::SawNewHeaderLog(SawNewHeaderLog { block_hash, block_height, peer_id, is_cmpctblock })
}

pub(super) fn block_connected(found: &Found) -> LogEvent {
    let (block_hash, block_height) = (found.text(0), found.u32(1));
    LogEvent::BlockConnectedLog(BlockConnectedLog { block_hash, block_height })
}

pub(super) fn block_disconnected(found: &Found) -> LogEvent {
    let (block_hash, block_height) = (found.text(0), found.u32(1));
    LogEvent::BlockDisconnected(BlockDisconnected { block_hash, block_height })
}

pub(super) fn updated_block_tip(found: &Found) -> LogEvent {
    LogEvent::UpdatedBlockTip(UpdatedBlockTip {
        block_hash: found.text(0),
        fork_hash: is_hash(found.str(1)).then(|| found.text(1)),
        in_ibd: ["true", "1"].contains(&found.str(2)),
    })
}

pub(super) fn reconstructed(found: &Found) -> LogEvent {
    LogEvent::CompactBlockReconstructedLog(CompactBlockReconstructedLog {
        block_hash: found.text(0),
        prefilled_txn_count: found.u32(1),
        mempool_txn_count: found.u32(2),
        extra_pool_txn_count: found.u32(3),
        requested_txn_count: found.u32(4),
        requested_txn_bytes: found.u64(5),
    })
}

pub(super) fn at(stage: Stage) -> InvalidBlock {
    InvalidBlock { stage: stage as i32, ..Default::default() }
}

pub(super) fn invalid(block: InvalidBlock) -> LogEvent {
    LogEvent::InvalidBlock(block)
}

pub(super) fn because(state: &str, block: InvalidBlock) -> InvalidBlock {
    let (reason, debug_message) = reason_and_debug(state);
    InvalidBlock { reason: Some(reason), debug_message, ..block }
}

pub(super) fn invalid_chain(found: &Found, stage: Stage) -> LogEvent {
    invalid(InvalidBlock {
        block_hash: Some(found.text(0)),
        block_height: Some(found.u32(1)),
        log2_work: Some(found.f64(2)),
        ..at(stage)
    })
}

pub(super) fn timing(step: Timed, duration: f64, inputs: Option<u32>) -> LogEvent {
    LogEvent::BlockTiming(BlockTiming { step: step as i32, duration, inputs })
}

pub(super) fn header_sync(found: &Found, step: Headers) -> LogEvent {
    LogEvent::HeaderSync(HeaderSync {
        step: step as i32,
        peer_id: found.peer(0),
        detail: Some(found.text(1)),
    })
}

pub(super) fn traffic(found: &Found, inbound: bool) -> LogEvent {
    let (command, size, peer_id) = (found.text(0), found.u64(1), found.peer(2));
    LogEvent::Traffic(Traffic { inbound, command, size, peer_id })
}

pub(super) fn opened(step: Opened, peer_id: Option<u64>, address: Option<String>) -> LogEvent {
    LogEvent::ConnectionOpened(ConnectionOpened { step: step as i32, peer_id, address })
}

pub(super) fn refused(reason: Refused, address: Option<String>) -> LogEvent {
    LogEvent::ConnectionRefused(ConnectionRefused { reason: reason as i32, address })
}

pub(super) fn peer_of(found: &Found, hole: usize) -> NewPeer {
    NewPeer { peer_id: found.peer(hole), address: found.address(hole), ..Default::default() }
}

/// Fills in what stands before and after the common part: `outbound-full-relay v1`, `, mapped_as=3`, ` (block-relay)`.
pub(super) fn new_peer(peer: NewPeer, before: &str, after: &str) -> LogEvent {
    let number = after.split_once("mapped_as=").map(|(_, number)| number);
    let mapped_as = number.and_then(|number| number.parse().ok());
    let type_at_end = after.strip_prefix(" (").and_then(|rest| rest.strip_suffix(')'));
    let (kind, transport) = match before.rsplit_once(' ') {
        Some((kind, transport)) if peer.transport.is_none() => (kind, Some(bounded(transport))),
        _ => (type_at_end.unwrap_or(before), peer.transport.clone()),
    };
    LogEvent::NewPeer(NewPeer { connection_type: bounded(kind), transport, mapped_as, ..peer })
}

pub(super) fn misbehaving(found: &Found, misbehaving: Misbehaving, reason: &str) -> LogEvent {
    let reason = bounded(reason.trim_start_matches([':', ' ']));
    LogEvent::Misbehaving(Misbehaving { peer_id: found.peer(0), reason, ..misbehaving })
}

pub(super) fn punished(outcome: Outcome, peer_id: u64) -> LogEvent {
    LogEvent::PeerPunished(PeerPunished { outcome: outcome as i32, peer_id })
}

pub(super) fn fault(fault: Fault, found: &Found, peer: usize) -> HeaderError {
    HeaderError { fault: fault as i32, peer_id: Some(found.peer(peer)), ..Default::default() }
}

/// A fault of a message whose name and length are in the first two holes.
pub(super) fn sized(kind: Fault, found: &Found, peer: usize) -> HeaderError {
    HeaderError { command: Some(found.text(0)), size: Some(found.u64(1)), ..fault(kind, found, peer) }
}

pub(super) fn header_error(error: HeaderError) -> LogEvent {
    LogEvent::HeaderError(error)
}

pub(super) fn placed(found: &Found, tried: bool) -> LogEvent {
    let (address, bucket, position) = (found.text(0), found.u32(1), found.u32(2));
    LogEvent::AddrmanPlaced(AddrmanPlaced { tried, address, mapped_as: None, bucket, position })
}

pub(super) fn placed_mapped(found: &Found, tried: bool) -> LogEvent {
    LogEvent::AddrmanPlaced(AddrmanPlaced {
        tried,
        address: found.text(0),
        mapped_as: Some(found.u32(1)),
        bucket: found.u32(2),
        position: found.u32(3),
    })
}

pub(super) fn gone(step: Gone, found: &Found) -> LogEvent {
    LogEvent::PeerGone(PeerGone { step: step as i32, peer_id: found.peer(0), address: found.address(0) })
}

/// The reason is known from what the line begins with; detail is what it says besides, after that.
pub(super) fn disconnect(why: &str, found: &Found, peer: usize, more: &str) -> LogEvent {
    let known = REASONS.iter().find(|(beginning, _)| why.starts_with(beginning));
    let reason = known.map_or(disconnect::Reason::Other, |(_, reason)| *reason);
    let detail = format!("{why}{}", more.strip_suffix("; disconnecting").unwrap_or(more));
    LogEvent::Disconnect(Disconnect {
        reason: reason as i32,
        peer_id: found.peer(peer),
        address: found.address(peer),
        block_hash: detail.split(' ').find(|word| is_hash(word)).map(str::to_string),
        detail: Some(bounded(&detail)),
    })
}

pub(super) fn orphan_stored(found: &Found, stored: OrphanStored) -> LogEvent {
    LogEvent::OrphanStored(OrphanStored { txid: found.text(0), ..stored })
}

pub(super) fn orphans(reason: Removed, removed: OrphansRemoved) -> LogEvent {
    LogEvent::OrphansRemoved(OrphansRemoved { reason: reason as i32, ..removed })
}

pub(super) fn peer_orphans(found: &Found) -> LogEvent {
    let removed = OrphansRemoved {
        transactions: Some(found.u32(0)),
        peer_id: Some(found.peer(1)),
        ..Default::default()
    };
    orphans(Removed::PeerGone, removed)
}

pub(super) fn progress(step: Progress, progress: NodeProgress) -> LogEvent {
    LogEvent::NodeProgress(NodeProgress { step: step as i32, ..progress })
}

pub(super) fn rpc_refused(reason: Rpc, refused: RpcRefused) -> LogEvent {
    LogEvent::RpcRefused(RpcRefused { reason: reason as i32, ..refused })
}

pub(super) fn excessive(found: &Found, restarting: bool) -> LogEvent {
    LogEvent::ExcessiveLogging(ExcessiveLogging {
        restarting,
        location: found.text(0),
        function: Some(found.text(1)),
        bytes: found.u64(2),
        window: found.u64(3),
    })
}

pub(super) fn fatal(cause: Cause, text: &str) -> LogEvent {
    let text = text.trim_start_matches([':', '.', ' ']);
    LogEvent::Fatal(Fatal { cause: cause as i32, text: (!text.is_empty()).then(|| bounded(text)) })
}
