//! The messages that become events of their own: one row each, in the shapes of Bitcoin Core 25 to 31.99.
//!
//! A new message is a row here and a message in `proto/schema/log_extractor.proto`. Of rows that begin alike the first
//! that fits wins. Where versions differ there is a row for each; `ERROR: ` and `Warning: ` before a message are taken
//! off. Source: the sources of Bitcoin Core, `net.cpp`, `net_processing.cpp`, `validation.cpp` above all.

use std::sync::LazyLock;

use tocsin_proto::pb::log_extractor::log::LogEvent;
use tocsin_proto::pb::log_extractor::*;

use super::template::{Found, Template, bounded, is_hash};

type Build = fn(&Found) -> LogEvent;

/// Words that stood before messages when lines had no levels.
const LEVEL_WORDS: [&str; 4] = ["ERROR: ", "Error: ", "WARNING: ", "Warning: "];

/// The event a message stands for.
pub fn event_of(message: &str) -> Option<LogEvent> {
    let message = LEVEL_WORDS.iter().find_map(|word| message.strip_prefix(word)).unwrap_or(message);
    let first = *message.as_bytes().first()?;
    let find = |(template, build): &(Template, Build)| template.find(message).map(|found| build(&found));
    let shapes = &*SHAPES;
    shapes.by_first_byte[usize::from(first)]
        .iter()
        .find_map(find)
        .or_else(|| shapes.others.iter().find_map(find))
}

struct Shapes {
    by_first_byte: Vec<Vec<(Template, Build)>>,
    /// Those that begin with a hole.
    others: Vec<(Template, Build)>,
}

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| {
    let mut shapes = Shapes { by_first_byte: Vec::new(), others: Vec::new() };
    shapes.by_first_byte.resize_with(256, Vec::new);
    for (text, build) in CHAIN.iter().chain(PEERS).chain(DISCONNECTS).chain(TRANSACTIONS).chain(NODE) {
        let template = Template::new(text);
        match template.first_byte() {
            Some(byte) => shapes.by_first_byte[usize::from(byte)].push((template, *build)),
            None => shapes.others.push((template, *build)),
        }
    }
    shapes
});

/// Blocks and headers.
#[rustfmt::skip]
const CHAIN: &[(&str, Build)] = &[
    ("UpdateTip: new best={hash} height={uint} version=0x{hex} log2_work={float} tx={uint} date='{date}' progress={float} cache={float}MiB({uint}txo){rest}",
        |f| update_tip(f, false)),
    ("[background validation] UpdateTip: new best={hash} height={uint} version=0x{hex} log2_work={float} tx={uint} date='{date}' progress={float} cache={float}MiB({uint}txo){rest}",
        |f| update_tip(f, true)),
    ("Saw new header hash={hash} height={uint} peer={peer}", |f| saw_header(f.text(0), f.u32(1), f.peer(2), false)),
    ("Saw new cmpctblock header hash={hash} height={uint} peer={peer}", |f| saw_header(f.text(0), f.u32(1), f.peer(2), true)),
    // 28 and 29.
    ("Saw new header hash={hash} height={uint}", |f| saw_header(f.text(0), f.u32(1), u64::MAX, false)),
    ("Saw new cmpctblock header hash={hash} peer={peer}", |f| saw_header(f.text(0), 0, f.peer(1), true)),
    ("Enqueuing BlockConnected: block hash={hash} block height={uint}", block_connected),
    ("BlockConnected: block hash={hash} block height={uint}", block_connected),
    ("BlockChecked: block hash={hash} state={rest}", |f| {
        let (state, debug) = reason_and_debug(f.str(1));
        LogEvent::BlockCheckedLog(BlockCheckedLog { block_hash: f.text(0), state, debug_message: debug.unwrap_or_default() })
    }),
    ("Enqueuing BlockDisconnected: block hash={hash} block height={uint}", block_disconnected),
    ("BlockDisconnected: block hash={hash} block height={uint}", block_disconnected),
    ("Enqueuing UpdatedBlockTip: new block hash={hash} fork block hash={word} (in IBD={text})", updated_block_tip),
    ("UpdatedBlockTip: new block hash={hash} fork block hash={word} (in IBD={text})", updated_block_tip),
    ("Successfully reconstructed block {hash} with {uint} txn prefilled, {uint} txn from mempool (incl at least {uint} from extra pool) and {uint} txn ({uint} bytes) requested",
        reconstructed),
    // Up to 29.
    ("Successfully reconstructed block {hash} with {uint} txn prefilled, {uint} txn from mempool (incl at least {uint} from extra pool) and {uint} txn requested",
        reconstructed),
    ("peer={peer} sent us a GETBLOCKTXN for block {hash}, sending a BLOCKTXN with {uint} txns. ({uint} bytes)", |f| {
        LogEvent::CompactBlockServed(CompactBlockServed {
            peer_id: f.peer(0), address: f.address(0), block_hash: f.text(1), transactions: f.u32(2), size: f.u64(3),
        })
    }),
    ("peer={peer}, not marked as high-bandwidth, sent us an unsolicited compact block!", |f| {
        LogEvent::UnsolicitedCompactBlock(UnsolicitedCompactBlock { peer_id: f.peer(0), address: f.address(0) })
    }),
    ("Block mutated: {rest}", |f| {
        let (reason, debug_message) = reason_and_debug(f.str(0));
        LogEvent::BlockMutated(BlockMutated { reason: Some(reason), debug_message, peer_id: None })
    }),
    ("Received mutated block from peer={peer}", |f| {
        LogEvent::BlockMutated(BlockMutated { peer_id: Some(f.peer(0)), ..Default::default() })
    }),
    ("ProcessNewBlock: AcceptBlock FAILED ({rest}", |f| {
        let reason = bounded(f.str(0).trim_end_matches(')'));
        invalid(InvalidBlock { reason: Some(reason), ..at(invalid_block::Stage::Accept) })
    }),
    ("ConnectTip: ConnectBlock {hash} failed, {rest}", |f| {
        invalid(InvalidBlock { block_hash: Some(f.text(0)), reason: Some(f.text(1)), ..at(invalid_block::Stage::Connect) })
    }),
    ("Block validation error: {rest}", |f| {
        invalid(InvalidBlock { reason: Some(f.text(0)), ..at(invalid_block::Stage::Rules) })
    }),
    ("InvalidChainFound: invalid block={hash} height={uint} log2_work={float} ", |f| invalid_chain(f, invalid_block::Stage::Chain)),
    ("InvalidChainFound: current best={hash} height={uint} log2_work={float} ", |f| invalid_chain(f, invalid_block::Stage::OurTip)),
    // Up to 31.
    ("InvalidChainFound: invalid block={hash}  height={uint}  log2_work={float} ", |f| invalid_chain(f, invalid_block::Stage::Chain)),
    ("InvalidChainFound:  current best={hash}  height={uint}  log2_work={float} ", |f| invalid_chain(f, invalid_block::Stage::OurTip)),
    ("Found invalid chain more than 6 blocks longer", |_| invalid(at(invalid_block::Stage::LongerChain))),
    ("Found invalid chain at least ~6 blocks longer", |_| invalid(at(invalid_block::Stage::LongerChain))),
    ("{text} (received from peer={peer}). If this happens with all peers", |f| {
        invalid(InvalidBlock { reason: Some(f.text(0)), peer_id: Some(f.peer(1)), ..at(invalid_block::Stage::HeaderOfInvalid) })
    }),
    ("- Connect block: {float}ms", |f| timing(block_timing::Step::Connect, f.f64(0), None)),
    ("- Disconnect block: {float}ms", |f| timing(block_timing::Step::Disconnect, f.f64(0), None)),
    ("    - Verify {uint} txins: {float}ms", |f| timing(block_timing::Step::Verify, f.f64(1), Some(f.u32(0)))),
    ("Potential stale tip detected, will try using extra outbound peer (last tip update: {uint} seconds ago)", |f| {
        LogEvent::StaleTip(StaleTip { since_tip: f.u64(0) })
    }),
    ("Ignoring low-work chain (height={uint}) from peer={peer}", |f| {
        LogEvent::LowWorkChain(LowWorkChain { block_height: f.u32(0), peer_id: f.peer(1) })
    }),
    ("Initial headers sync started with peer={peer}: {rest}", |f| header_sync(f, header_sync::Step::Started)),
    ("Initial headers sync aborted with peer={peer}: {rest}", |f| header_sync(f, header_sync::Step::Aborted)),
    ("Initial headers sync transition with peer={peer}: {rest}", |f| header_sync(f, header_sync::Step::Redownloading)),
    ("Initial headers sync complete with peer={peer}: {rest}", |f| header_sync(f, header_sync::Step::Complete)),
    ("Large reorg, won't direct fetch to {hash} ({uint})", |f| {
        LogEvent::LargeReorg(LargeReorg { block_hash: f.text(0), block_height: f.u32(1) })
    }),
];

/// Peers, what they send and what the address manager makes of it.
#[rustfmt::skip]
const PEERS: &[(&str, Build)] = &[
    ("received: {text} ({uint} bytes) peer={peer}", |f| traffic(f, true)),
    ("sending {text} ({uint} bytes) peer={peer}", |f| traffic(f, false)),
    ("connection from {word} accepted", |f| opened(connection_opened::Step::Accepted, None, Some(f.text(0)))),
    ("Added connection peer={peer}", |f| opened(connection_opened::Step::Added, Some(f.peer(0)), None)),
    ("Added connection to {text} peer={peer}", |f| opened(connection_opened::Step::Added, Some(f.peer(1)), Some(f.text(0)))),
    ("connection from {word} dropped (banned)", |f| refused(connection_refused::Reason::Banned, Some(f.text(0)))),
    ("connection from {word} dropped (discouraged)", |f| refused(connection_refused::Reason::Discouraged, Some(f.text(0)))),
    ("connection from {word} dropped: not accepting new connections", |f| refused(connection_refused::Reason::NotAccepting, Some(f.text(0)))),
    ("connection from {word} dropped: non-selectable socket", |f| refused(connection_refused::Reason::Socket, Some(f.text(0)))),
    ("failed to find an eviction candidate - connection dropped (full)", |_| refused(connection_refused::Reason::Full, None)),
    // After 31; 31; 26 to 30 with type and transport; 25 with the type at the end.
    ("New {text} peer connected: transport: {text}, version: {int}, peer={peer}{rest}", |f| {
        new_peer(f, NewPeer { transport: Some(f.text(1)), version: f.i32(2), ..peer_of(f, 3) }, f.str(0), f.str(4))
    }),
    ("New {text} peer connected: transport: {text}, version: {int}, blocks={int} peer={peer}{rest}", |f| {
        new_peer(f, NewPeer { transport: Some(f.text(1)), version: f.i32(2), blocks: Some(f.i32(3)), ..peer_of(f, 4) }, f.str(0), f.str(5))
    }),
    ("New {text} peer connected: version: {int}, blocks={int}, peer={peer}{rest}", |f| {
        new_peer(f, NewPeer { version: f.i32(1), blocks: Some(f.i32(2)), ..peer_of(f, 3) }, f.str(0), f.str(4))
    }),
    // Up to 27.
    ("Misbehaving: peer={peer} ({uint} -> {uint}){rest}", |f| {
        misbehaving(f, Misbehaving { score_before: Some(f.u32(1)), score_after: Some(f.u32(2)), ..Default::default() }, f.str(3))
    }),
    ("Misbehaving: peer={peer}{rest}", |f| misbehaving(f, Misbehaving::default(), f.str(1))),
    ("Disconnecting and discouraging peer {peer}!", |f| punished(peer_punished::Outcome::Discouraged, f.peer(0))),
    ("disconnecting but not discouraging {text} peer {peer}!", |f| punished(peer_punished::Outcome::Disconnected, f.peer(1))),
    ("Not punishing noban peer {peer}!", |f| punished(peer_punished::Outcome::SparedNoban, f.peer(0))),
    ("Not punishing manually connected peer {peer}!", |f| punished(peer_punished::Outcome::SparedManual, f.peer(0))),
    ("Timeout downloading headers from noban peer, not disconnecting peer={peer}", |f| punished(peer_punished::Outcome::SparedNoban, f.peer(0))),
    ("Timeout downloading headers from noban peer={peer}, not disconnecting", |f| punished(peer_punished::Outcome::SparedNoban, f.peer(0))),
    ("Header error: Wrong MessageStart {word} received, peer={peer}", |f| {
        header_error(HeaderError { detail: Some(f.text(0)), ..fault(header_error::Fault::WrongMessageStart, f, 1) })
    }),
    ("Header error: Size too large ({text}, {uint} bytes), peer={peer}", |f| header_error(sized(header_error::Fault::SizeTooLarge, f, 2))),
    ("Header error: Wrong checksum ({text}, {uint} bytes), expected {word} was {text}, peer={peer}", |f| {
        header_error(HeaderError { detail: Some(bounded(&format!("expected {} was {}", f.str(2), f.str(3)))), ..sized(header_error::Fault::WrongChecksum, f, 4) })
    }),
    ("Header error: Invalid message type ({text}, {uint} bytes), peer={peer}", |f| header_error(sized(header_error::Fault::InvalidMessageType, f, 2))),
    ("Header error: Unable to deserialize, peer={peer}", |f| header_error(fault(header_error::Fault::NotDeserializable, f, 0))),
    ("Header error: {text}, peer={peer}", |f| header_error(HeaderError { detail: Some(f.text(0)), ..fault(header_error::Fault::Other, f, 1) })),
    ("V2 transport error: V1 peer with wrong MessageStart {word}", |f| {
        header_error(HeaderError { fault: header_error::Fault::V2WrongMessageStart as i32, detail: Some(f.text(0)), ..Default::default() })
    }),
    ("V2 transport error: missing garbage terminator, peer={peer}", |f| header_error(fault(header_error::Fault::V2NoGarbageTerminator, f, 0))),
    ("V2 transport error: packet too large ({uint} bytes), peer={peer}", |f| {
        header_error(HeaderError { size: Some(f.u64(0)), ..fault(header_error::Fault::V2PacketTooLarge, f, 1) })
    }),
    ("V2 transport error: packet decryption failure ({uint} bytes), peer={peer}", |f| {
        header_error(HeaderError { size: Some(f.u64(0)), ..fault(header_error::Fault::V2DecryptionFailure, f, 1) })
    }),
    ("V2 transport error: invalid message type ({uint} bytes contents), peer={peer}", |f| {
        header_error(HeaderError { size: Some(f.u64(0)), ..fault(header_error::Fault::V2InvalidMessageType, f, 1) })
    }),
    ("V2 transport error: {text}, peer={peer}", |f| header_error(HeaderError { detail: Some(f.text(0)), ..fault(header_error::Fault::Other, f, 1) })),
    ("Received addr: {uint} addresses ({uint} processed, {uint} rate-limited) from peer={peer}", |f| {
        LogEvent::AddrReceived(AddrReceived { addresses: f.u32(0), processed: f.u32(1), rate_limited: f.u32(2), peer_id: f.peer(3) })
    }),
    ("Added {uint} addresses (of {uint}) from {text}: {uint} tried, {uint} new", |f| {
        LogEvent::AddrmanAdded(AddrmanAdded {
            added: f.u32(0), offered: f.u32(1), source_address: f.text(2), tried: f.u32(3), new: f.u32(4),
        })
    }),
    ("Added {word} to new[{uint}][{uint}]", |f| placed(f, false)),
    ("Added {word} mapped to AS{uint} to new[{uint}][{uint}]", |f| placed_mapped(f, false)),
    ("Moved {word} to tried[{uint}][{uint}]", |f| placed(f, true)),
    ("Moved {word} mapped to AS{uint} to tried[{uint}][{uint}]", |f| placed_mapped(f, true)),
    ("Collision with {word} while attempting to move {word} to tried table. Collisions={uint}", |f| {
        LogEvent::AddrmanCollision(AddrmanCollision { resident: f.text(0), candidate: f.text(1), collisions: f.u32(2) })
    }),
    ("connected to self at {text}, disconnecting", |f| LogEvent::SelfConnection(SelfConnection { address: f.text(0) })),
];

/// Ends of connections. From 29 on they all say `disconnecting peer=`; before, each in its own way.
#[rustfmt::skip]
const DISCONNECTS: &[(&str, Build)] = &[
    ("Resetting socket for peer={peer}", |f| gone(peer_gone::Step::SocketReset, f)),
    // Up to 28, the same.
    ("disconnecting peer={peer}", |f| gone(peer_gone::Step::SocketReset, f)),
    ("Cleared nodestate for peer={peer}", |f| gone(peer_gone::Step::StateCleared, f)),
    ("disconnecting extra outbound peer={peer}{rest}", |f| disconnect("extra outbound", f, 0, f.str(1))),
    ("disconnecting extra block-relay-only peer={peer}{rest}", |f| disconnect("extra block-relay-only", f, 0, f.str(1))),
    // Up to 28.
    ("socket closed for peer={peer}", |f| disconnect("socket closed", f, 0, "")),
    ("socket send error for peer={peer}{rest}", |f| disconnect("socket send error", f, 0, f.str(1))),
    ("socket recv error for peer={peer}{rest}", |f| disconnect("socket recv error", f, 0, f.str(1))),
    ("socket sending timeout: {word} peer={peer}", |f| disconnect("socket sending timeout: ", f, 1, f.str(0))),
    ("socket receive timeout: {word} peer={peer}", |f| disconnect("socket receive timeout: ", f, 1, f.str(0))),
    ("socket no message in first {uint} seconds, {uint} {uint} peer={peer}", |f| disconnect("socket no message in first seconds", f, 3, "")),
    ("version handshake timeout peer={peer}", |f| disconnect("version handshake timeout", f, 0, "")),
    ("V2 handshake timeout peer={peer}", |f| disconnect("V2 handshake timeout", f, 0, "")),
    ("ping timeout: {word} peer={peer}", |f| disconnect("ping timeout: ", f, 1, f.str(0))),
    ("Peer={peer} is stalling block download, disconnecting", |f| disconnect("Peer is stalling block download", f, 0, "")),
    ("Timeout downloading block {hash} from peer={peer}", |f| disconnect("Timeout downloading block ", f, 1, f.str(0))),
    ("Timeout downloading headers from peer={peer}", |f| disconnect("Timeout downloading headers", f, 0, "")),
    ("Disconnecting outbound peer {peer} for old chain, best known block = {word}", |f| disconnect("Outbound peer has old chain, best known block = ", f, 0, f.str(1))),
    ("Disconnecting outbound peer {peer} because headers chain has insufficient work", |f| disconnect("outbound peer headers chain has insufficient work", f, 0, "")),
    ("Network not active, dropping peer={peer}", |f| disconnect("Network not active", f, 0, "")),
    ("peer={peer} does not offer the expected services{rest}", |f| disconnect("peer does not offer the expected services", f, 0, f.str(1))),
    ("peer={peer} using obsolete version{rest}", |f| disconnect("peer using obsolete version", f, 0, f.str(1))),
    ("disconnect by {text} peer={peer}; disconnecting", |f| disconnect("disconnect by ", f, 1, f.str(0))),
    ("selected {text} peer={peer}; disconnecting", |f| disconnect("selected ", f, 1, f.str(0))),
    ("feeler connection completed peer={peer}", |f| disconnect("feeler connection completed", f, 0, "")),
    ("addrfetch connection completed peer={peer}", |f| disconnect("addrfetch connection completed", f, 0, "")),
    // From 29 on.
    ("{text}, disconnecting peer={peer}{rest}", |f| disconnect(f.str(0), f, 1, f.str(2))),
];

/// Transactions and orphans.
#[rustfmt::skip]
const TRANSACTIONS: &[(&str, Build)] = &[
    ("{hash} (wtxid={hash}) from peer={peer} was not accepted: {rest}", |f| {
        LogEvent::TxRejected(TxRejected { txid: f.text(0), wtxid: Some(f.text(1)), peer_id: f.peer(2), reason: f.text(3) })
    }),
    // 25.
    ("{hash} from peer={peer} was not accepted: {rest}", |f| {
        LogEvent::TxRejected(TxRejected { txid: f.text(0), wtxid: None, peer_id: f.peer(1), reason: f.text(2) })
    }),
    ("AcceptToMemoryPool: peer={peer}: accepted {hash} (wtxid={hash}) (poolsz {uint} txn, {uint} kB)", |f| {
        LogEvent::TxAccepted(TxAccepted {
            txid: f.text(1), wtxid: Some(f.text(2)), peer_id: f.peer(0), mempool_transactions: f.u32(3), mempool_usage: f.u64(4),
        })
    }),
    // 25.
    ("AcceptToMemoryPool: peer={peer}: accepted {hash} (poolsz {uint} txn, {uint} kB)", |f| {
        LogEvent::TxAccepted(TxAccepted {
            txid: f.text(1), wtxid: None, peer_id: f.peer(0), mempool_transactions: f.u32(2), mempool_usage: f.u64(3),
        })
    }),
    ("stored orphan tx {hash} (wtxid={hash}), weight: {uint} (mapsz {uint} outsz {uint})", |f| {
        orphan_stored(f, OrphanStored { wtxid: Some(f.text(1)), weight: Some(f.u64(2)), orphans: f.u32(3), outpoints: f.u32(4), ..Default::default() })
    }),
    // 26 and 27; 25.
    ("stored orphan tx {hash} (wtxid={hash}) (mapsz {uint} outsz {uint})", |f| {
        orphan_stored(f, OrphanStored { wtxid: Some(f.text(1)), orphans: f.u32(2), outpoints: f.u32(3), ..Default::default() })
    }),
    ("stored orphan tx {hash} (mapsz {uint} outsz {uint})", |f| {
        orphan_stored(f, OrphanStored { orphans: f.u32(1), outpoints: f.u32(2), ..Default::default() })
    }),
    ("peer={peer} orphanage overflow, removed {uint} of {uint} announcements", |f| {
        orphans(orphans_removed::Reason::PeerOverflow, OrphansRemoved {
            peer_id: Some(f.peer(0)), announcements: Some(f.u32(1)), announcements_before: Some(f.u32(2)), ..Default::default()
        })
    }),
    ("orphanage overflow, removed {uint} tx ({uint} announcements)", |f| {
        orphans(orphans_removed::Reason::Overflow, OrphansRemoved { transactions: Some(f.u32(0)), announcements: Some(f.u32(1)), ..Default::default() })
    }),
    // Up to 29.
    ("orphanage overflow, removed {uint} tx", |f| {
        orphans(orphans_removed::Reason::Overflow, OrphansRemoved { transactions: Some(f.u32(0)), ..Default::default() })
    }),
    ("Erased {uint} orphan transaction(s) from peer={peer}", peer_orphans),
    // Up to 29.
    ("Erased {uint} orphan tx from peer={peer}", peer_orphans),
    ("ignoring large orphan tx (size: {uint}", |f| {
        orphans(orphans_removed::Reason::TooLarge, OrphansRemoved { size: Some(f.u64(0)), ..Default::default() })
    }),
    ("Transaction rate-limiting backlog inbound={uint} itok={float} isz={float} outbound={uint} otok={float} osz={float}", |f| {
        LogEvent::TxBacklog(TxBacklog {
            inbound: f.u64(0), inbound_tokens: f.f64(1), inbound_size: f.f64(2),
            outbound: f.u64(3), outbound_tokens: f.f64(4), outbound_size: f.f64(5),
        })
    }),
];

/// The node itself.
#[rustfmt::skip]
const NODE: &[(&str, Build)] = &[
    ("Bitcoin Core version {rest}", |f| LogEvent::NodeStart(NodeStart { version: f.text(0), after_clean_stop: None })),
    ("Shutdown in progress...", |_| LogEvent::NodeStop(NodeStop { done: false })),
    ("Shutdown done", |_| LogEvent::NodeStop(NodeStop { done: true })),
    // Up to 29.
    ("Shutdown: In progress...", |_| LogEvent::NodeStop(NodeStop { done: false })),
    ("Shutdown: done", |_| LogEvent::NodeStop(NodeStop { done: true })),
    ("Using at most {uint} automatic connections ({uint} file descriptors available)", |f| {
        progress(node_progress::Step::ConnectionLimits, NodeProgress { connections_max: Some(f.u32(0)), file_descriptors: Some(f.u32(1)), ..Default::default() })
    }),
    ("Generated RPC authentication cookie", |_| progress(node_progress::Step::Cookie, NodeProgress::default())),
    ("Loaded best chain: hashBestChain={hash} height={uint} date={date} progress={float}", |f| {
        progress(node_progress::Step::ChainLoaded, NodeProgress {
            block_hash: Some(f.text(0)), block_height: Some(f.u32(1)), progress: Some(f.f64(3)), ..Default::default()
        })
    }),
    ("init message: Done loading", |_| progress(node_progress::Step::DoneLoading, NodeProgress::default())),
    ("Leaving InitialBlockDownload (latching to false)", |_| progress(node_progress::Step::LeftIbd, NodeProgress::default())),
    ("Your computer's date and time appear to be more than {uint} minutes out of sync with the network", |f| {
        LogEvent::ClockWarning(ClockWarning { offset_min: Some(f.u32(0)) })
    }),
    // Up to 27.
    ("Please check that your computer's date and time are correct!", |_| LogEvent::ClockWarning(ClockWarning { offset_min: None })),
    ("ThreadRPCServer incorrect password attempt from {word}", |f| {
        rpc_refused(rpc_refused::Reason::WrongPassword, RpcRefused { address: Some(f.text(0)), ..Default::default() })
    }),
    ("Request rejected because http work queue depth exceeded", |_| rpc_refused(rpc_refused::Reason::QueueFull, RpcRefused::default())),
    ("request rejected because http work queue depth exceeded", |_| rpc_refused(rpc_refused::Reason::QueueFull, RpcRefused::default())),
    ("RPC User {text} not allowed to call method {rest}", |f| {
        rpc_refused(rpc_refused::Reason::NotAllowed, RpcRefused { user: Some(f.text(0)), method: Some(f.text(1)), ..Default::default() })
    }),
    ("RPC User {text} not allowed to call any methods", |f| {
        rpc_refused(rpc_refused::Reason::NotAllowed, RpcRefused { user: Some(f.text(0)), ..Default::default() })
    }),
    ("Excessive logging detected from {text} ({text}): >{uint} bytes logged during the last time window of {uint}s.", |f| excessive(f, false)),
    ("Restarting logging from {text} ({text}): {uint} bytes were dropped during the last {uint}s.", |f| excessive(f, true)),
    ("A fatal internal error occurred, see {text} for details{rest}", |f| fatal(fatal::Cause::Internal, f.str(1))),
    ("Disk space is too low!", |_| fatal(fatal::Cause::DiskSpace, "")),
    ("Shutting down due to lack of disk space!", |_| fatal(fatal::Cause::DiskSpace, "")),
    ("LevelDB read failure: {rest}", |f| fatal(fatal::Cause::Database, f.str(0))),
    ("Fatal LevelDB error: {rest}", |f| fatal(fatal::Cause::Database, f.str(0))),
    ("Out of memory. Terminating.", |_| fatal(fatal::Cause::Memory, "")),
];

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
fn reason_and_debug(text: &str) -> (String, Option<String>) {
    match text.split_once(", ") {
        Some((reason, debug)) => (bounded(reason), Some(bounded(debug))),
        None => (bounded(text), None),
    }
}

fn update_tip(found: &Found, background: bool) -> LogEvent {
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

fn saw_header(block_hash: String, block_height: u32, peer_id: u64, is_cmpctblock: bool) -> LogEvent {
    LogEvent::SawNewHeaderLog(SawNewHeaderLog { block_hash, block_height, peer_id, is_cmpctblock })
}

fn block_connected(found: &Found) -> LogEvent {
    let (block_hash, block_height) = (found.text(0), found.u32(1));
    LogEvent::BlockConnectedLog(BlockConnectedLog { block_hash, block_height })
}

fn block_disconnected(found: &Found) -> LogEvent {
    let (block_hash, block_height) = (found.text(0), found.u32(1));
    LogEvent::BlockDisconnected(BlockDisconnected { block_hash, block_height })
}

fn updated_block_tip(found: &Found) -> LogEvent {
    LogEvent::UpdatedBlockTip(UpdatedBlockTip {
        block_hash: found.text(0),
        fork_hash: is_hash(found.str(1)).then(|| found.text(1)),
        in_ibd: ["true", "1"].contains(&found.str(2)),
    })
}

fn reconstructed(found: &Found) -> LogEvent {
    LogEvent::CompactBlockReconstructedLog(CompactBlockReconstructedLog {
        block_hash: found.text(0),
        prefilled_txn_count: found.u32(1),
        mempool_txn_count: found.u32(2),
        extra_pool_txn_count: found.u32(3),
        requested_txn_count: found.u32(4),
        requested_txn_bytes: found.u64(5),
    })
}

fn at(stage: invalid_block::Stage) -> InvalidBlock {
    InvalidBlock { stage: stage as i32, ..Default::default() }
}

fn invalid(block: InvalidBlock) -> LogEvent {
    LogEvent::InvalidBlock(block)
}

fn invalid_chain(found: &Found, stage: invalid_block::Stage) -> LogEvent {
    invalid(InvalidBlock {
        block_hash: Some(found.text(0)),
        block_height: Some(found.u32(1)),
        log2_work: Some(found.f64(2)),
        ..at(stage)
    })
}

fn timing(step: block_timing::Step, duration: f64, inputs: Option<u32>) -> LogEvent {
    LogEvent::BlockTiming(BlockTiming { step: step as i32, duration, inputs })
}

fn header_sync(found: &Found, step: header_sync::Step) -> LogEvent {
    LogEvent::HeaderSync(HeaderSync {
        step: step as i32,
        peer_id: found.peer(0),
        detail: Some(found.text(1)),
    })
}

fn traffic(found: &Found, inbound: bool) -> LogEvent {
    let (command, size, peer_id) = (found.text(0), found.u64(1), found.peer(2));
    LogEvent::Traffic(Traffic { inbound, command, size, peer_id })
}

fn opened(step: connection_opened::Step, peer_id: Option<u64>, address: Option<String>) -> LogEvent {
    LogEvent::ConnectionOpened(ConnectionOpened { step: step as i32, peer_id, address })
}

fn refused(reason: connection_refused::Reason, address: Option<String>) -> LogEvent {
    LogEvent::ConnectionRefused(ConnectionRefused { reason: reason as i32, address })
}

fn peer_of(found: &Found, hole: usize) -> NewPeer {
    NewPeer { peer_id: found.peer(hole), address: found.address(hole), ..Default::default() }
}

/// Fills in what stands before and after the common part: `outbound-full-relay v1`, `, mapped_as=3`, ` (block-relay)`.
fn new_peer(_found: &Found, peer: NewPeer, before: &str, after: &str) -> LogEvent {
    let number = after.split_once("mapped_as=").map(|(_, number)| number);
    let mapped_as = number.and_then(|number| number.parse().ok());
    let type_at_end = after.strip_prefix(" (").and_then(|rest| rest.strip_suffix(')'));
    let (kind, transport) = match before.rsplit_once(' ') {
        Some((kind, transport)) if peer.transport.is_none() => (kind, Some(bounded(transport))),
        _ => (type_at_end.unwrap_or(before), peer.transport.clone()),
    };
    LogEvent::NewPeer(NewPeer { connection_type: bounded(kind), transport, mapped_as, ..peer })
}

fn misbehaving(found: &Found, misbehaving: Misbehaving, reason: &str) -> LogEvent {
    let reason = bounded(reason.trim_start_matches([':', ' ']));
    LogEvent::Misbehaving(Misbehaving { peer_id: found.peer(0), reason, ..misbehaving })
}

fn punished(outcome: peer_punished::Outcome, peer_id: u64) -> LogEvent {
    LogEvent::PeerPunished(PeerPunished { outcome: outcome as i32, peer_id })
}

fn fault(fault: header_error::Fault, found: &Found, peer: usize) -> HeaderError {
    HeaderError { fault: fault as i32, peer_id: Some(found.peer(peer)), ..Default::default() }
}

/// A fault of a message whose name and length are in the first two holes.
fn sized(kind: header_error::Fault, found: &Found, peer: usize) -> HeaderError {
    HeaderError { command: Some(found.text(0)), size: Some(found.u64(1)), ..fault(kind, found, peer) }
}

fn header_error(error: HeaderError) -> LogEvent {
    LogEvent::HeaderError(error)
}

fn placed(found: &Found, tried: bool) -> LogEvent {
    let (address, bucket, position) = (found.text(0), found.u32(1), found.u32(2));
    LogEvent::AddrmanPlaced(AddrmanPlaced { tried, address, mapped_as: None, bucket, position })
}

fn placed_mapped(found: &Found, tried: bool) -> LogEvent {
    LogEvent::AddrmanPlaced(AddrmanPlaced {
        tried,
        address: found.text(0),
        mapped_as: Some(found.u32(1)),
        bucket: found.u32(2),
        position: found.u32(3),
    })
}

fn gone(step: peer_gone::Step, found: &Found) -> LogEvent {
    LogEvent::PeerGone(PeerGone { step: step as i32, peer_id: found.peer(0), address: found.address(0) })
}

/// The reason is known from what the line begins with; detail is what it says besides, after that.
fn disconnect(why: &str, found: &Found, peer: usize, more: &str) -> LogEvent {
    let known = REASONS.iter().find(|(beginning, _)| why.starts_with(beginning));
    let reason = known.map_or(disconnect::Reason::Other, |(_, reason)| *reason);
    let detail = format!("{why}{more}");
    LogEvent::Disconnect(Disconnect {
        reason: reason as i32,
        peer_id: found.peer(peer),
        address: found.address(peer),
        block_hash: detail.split(' ').find(|word| is_hash(word)).map(str::to_string),
        detail: Some(bounded(detail.trim_end_matches([';', ' ']))),
    })
}

fn orphan_stored(found: &Found, stored: OrphanStored) -> LogEvent {
    LogEvent::OrphanStored(OrphanStored { txid: found.text(0), ..stored })
}

fn orphans(reason: orphans_removed::Reason, removed: OrphansRemoved) -> LogEvent {
    LogEvent::OrphansRemoved(OrphansRemoved { reason: reason as i32, ..removed })
}

fn peer_orphans(found: &Found) -> LogEvent {
    let removed = OrphansRemoved {
        transactions: Some(found.u32(0)),
        peer_id: Some(found.peer(1)),
        ..Default::default()
    };
    orphans(orphans_removed::Reason::PeerGone, removed)
}

fn progress(step: node_progress::Step, progress: NodeProgress) -> LogEvent {
    LogEvent::NodeProgress(NodeProgress { step: step as i32, ..progress })
}

fn rpc_refused(reason: rpc_refused::Reason, refused: RpcRefused) -> LogEvent {
    LogEvent::RpcRefused(RpcRefused { reason: reason as i32, ..refused })
}

fn excessive(found: &Found, restarting: bool) -> LogEvent {
    LogEvent::ExcessiveLogging(ExcessiveLogging {
        restarting,
        location: found.text(0),
        function: Some(found.text(1)),
        bytes: found.u64(2),
        window: found.u64(3),
    })
}

fn fatal(cause: fatal::Cause, text: &str) -> LogEvent {
    let text = text.trim_start_matches([':', '.', ' ']);
    LogEvent::Fatal(Fatal { cause: cause as i32, text: (!text.is_empty()).then(|| bounded(text)) })
}

#[cfg(test)]
mod tests {
    use super::super::layout;
    use super::*;
    use proptest::prelude::*;

    /// All lines of the fixtures, without what stands before the message.
    fn fixture_messages() -> Vec<String> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/extract/log");
        let mut messages = Vec::new();
        for entry in std::fs::read_dir(folder).expect("the fixtures") {
            let path = entry.expect("readable").path();
            if path.extension().is_some_and(|ending| ending == "log") {
                let bytes = std::fs::read(path).expect("readable");
                let mut layout = layout::Layout::default();
                let lines = bytes.split(|byte| *byte == b'\n').map(String::from_utf8_lossy);
                messages.extend(lines.map(|line| layout.read(&line).message.to_string()));
            }
        }
        messages
    }

    #[test]
    fn every_row_has_a_line_in_the_fixtures() {
        let messages = fixture_messages();
        let tables = [CHAIN, PEERS, DISCONNECTS, TRANSACTIONS, NODE];
        let mut unmet = Vec::new();
        for (text, _) in tables.into_iter().flatten() {
            let template = Template::new(text);
            let is_met = messages.iter().any(|message| {
                let message =
                    LEVEL_WORDS.iter().find_map(|word| message.strip_prefix(word)).unwrap_or(message);
                template.find(message).is_some()
            });
            if !is_met {
                unmet.push(*text);
            }
        }
        assert!(unmet.is_empty(), "no line for\n{}", unmet.join("\n"));
    }

    proptest! {
        #[test]
        fn no_message_panics(message in "\\PC{0,80}") {
            event_of(&message);
        }

        #[test]
        fn no_damaged_message_panics(row in 0usize..200, cut in 0usize..200, noise in "\\PC{0,9}") {
            let messages = fixture_messages();
            let message = &messages[row % messages.len()];
            let mut cut = cut.min(message.len());
            while !message.is_char_boundary(cut) {
                cut -= 1;
            }
            event_of(&format!("{}{noise}{}", &message[..cut], &message[cut..]));
        }
    }
}
