//! The messages that become events of their own: one row each, in the shapes of Bitcoin Core 25 to 31.99.
//!
//! A new message is a row here and a message in `proto/schema/log_extractor.proto`. Of rows that begin alike the first
//! that fits wins. Where versions differ there is a row for each; `ERROR: ` and `Warning: ` before a message are taken
//! off. Source: the sources of Bitcoin Core, `net.cpp`, `net_processing.cpp`, `validation.cpp` above all.

use std::sync::LazyLock;

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

use super::events::*;
use super::template::{Found, Template, bounded};

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
const CHAIN: &[(&str, Build)] = &[
    (
        "UpdateTip: new best={hash} height={uint} version=0x{hex} log2_work={float} tx={uint} \
         date='{date}' progress={float} cache={float}MiB({uint}txo){rest}",
        |f| update_tip(f, false),
    ),
    (
        "[background validation] UpdateTip: new best={hash} height={uint} version=0x{hex} \
         log2_work={float} tx={uint} date='{date}' progress={float} cache={float}MiB({uint}txo){rest}",
        |f| update_tip(f, true),
    ),
    ("Saw new header hash={hash} height={uint} peer={peer}", |f| {
        saw_header(f.text(0), f.u32(1), f.peer(2), false)
    }),
    ("Saw new cmpctblock header hash={hash} height={uint} peer={peer}", |f| {
        saw_header(f.text(0), f.u32(1), f.peer(2), true)
    }),
    // 28 and 29.
    ("Saw new header hash={hash} height={uint}", |f| saw_header(f.text(0), f.u32(1), u64::MAX, false)),
    ("Saw new cmpctblock header hash={hash} peer={peer}", |f| saw_header(f.text(0), 0, f.peer(1), true)),
    ("Enqueuing BlockConnected: block hash={hash} block height={uint}", block_connected),
    ("BlockConnected: block hash={hash} block height={uint}", block_connected),
    ("BlockChecked: block hash={hash} state={rest}", |f| {
        let (state, debug) = reason_and_debug(f.str(1));
        LogEvent::BlockCheckedLog(BlockCheckedLog {
            block_hash: f.text(0),
            state,
            debug_message: debug.unwrap_or_default(),
        })
    }),
    ("Enqueuing BlockDisconnected: block hash={hash} block height={uint}", block_disconnected),
    ("BlockDisconnected: block hash={hash} block height={uint}", block_disconnected),
    (
        "Enqueuing UpdatedBlockTip: new block hash={hash} fork block hash={word} (in IBD={text})",
        updated_block_tip,
    ),
    ("UpdatedBlockTip: new block hash={hash} fork block hash={word} (in IBD={text})", updated_block_tip),
    (
        "Successfully reconstructed block {hash} with {uint} txn prefilled, {uint} txn from mempool \
         (incl at least {uint} from extra pool) and {uint} txn ({uint} bytes) requested",
        reconstructed,
    ),
    // Up to 29.
    (
        "Successfully reconstructed block {hash} with {uint} txn prefilled, {uint} txn from mempool \
         (incl at least {uint} from extra pool) and {uint} txn requested",
        reconstructed,
    ),
    (
        "peer={peer} sent us a GETBLOCKTXN for block {hash}, sending a BLOCKTXN with {uint} txns. \
         ({uint} bytes)",
        |f| {
            LogEvent::CompactBlockServed(CompactBlockServed {
                peer_id: f.peer(0),
                address: f.address(0),
                block_hash: f.text(1),
                transactions: f.u32(2),
                size: f.u64(3),
            })
        },
    ),
    ("peer={peer}, not marked as high-bandwidth, sent us an unsolicited compact block!", |f| {
        LogEvent::UnsolicitedCompactBlock(UnsolicitedCompactBlock {
            peer_id: f.peer(0),
            address: f.address(0),
        })
    }),
    ("Block mutated: {rest}", |f| {
        let (reason, debug_message) = reason_and_debug(f.str(0));
        LogEvent::BlockMutated(BlockMutated { reason: Some(reason), debug_message, peer_id: None })
    }),
    ("Received mutated block from peer={peer}", |f| {
        LogEvent::BlockMutated(BlockMutated { peer_id: Some(f.peer(0)), ..Default::default() })
    }),
    ("ProcessNewBlock: AcceptBlock FAILED ({rest}", |f| {
        let state = f.str(0);
        invalid(because(state.strip_suffix(')').unwrap_or(state), at(Stage::Accept)))
    }),
    ("ConnectTip: ConnectBlock {hash} failed, {rest}", |f| {
        invalid(because(f.str(1), InvalidBlock { block_hash: Some(f.text(0)), ..at(Stage::Connect) }))
    }),
    ("Block validation error: {rest}", |f| invalid(because(f.str(0), at(Stage::Rules)))),
    ("InvalidChainFound: invalid block={hash} height={uint} log2_work={float} ", |f| {
        invalid_chain(f, Stage::Chain)
    }),
    ("InvalidChainFound: current best={hash} height={uint} log2_work={float} ", |f| {
        invalid_chain(f, Stage::OurTip)
    }),
    // Up to 31.
    ("InvalidChainFound: invalid block={hash}  height={uint}  log2_work={float} ", |f| {
        invalid_chain(f, Stage::Chain)
    }),
    ("InvalidChainFound:  current best={hash}  height={uint}  log2_work={float} ", |f| {
        invalid_chain(f, Stage::OurTip)
    }),
    ("Found invalid chain more than 6 blocks longer", |_| invalid(at(Stage::LongerChain))),
    ("Found invalid chain at least ~6 blocks longer", |_| invalid(at(Stage::LongerChain))),
    ("{text} (received from peer={peer}). If this happens with all peers", |f| {
        invalid(InvalidBlock {
            reason: Some(f.text(0)),
            peer_id: Some(f.peer(1)),
            ..at(Stage::HeaderOfInvalid)
        })
    }),
    ("- Connect block: {float}ms", |f| timing(Timed::Connect, f.f64(0), None)),
    ("- Disconnect block: {float}ms", |f| timing(Timed::Disconnect, f.f64(0), None)),
    ("    - Verify {uint} txins: {float}ms", |f| timing(Timed::Verify, f.f64(1), Some(f.u32(0)))),
    (
        "Potential stale tip detected, will try using extra outbound peer (last tip update: {uint} \
         seconds ago)",
        |f| LogEvent::StaleTip(StaleTip { since_tip: f.u64(0) }),
    ),
    ("Ignoring low-work chain (height={uint}) from peer={peer}", |f| {
        LogEvent::LowWorkChain(LowWorkChain { block_height: f.u32(0), peer_id: f.peer(1) })
    }),
    ("Initial headers sync started with peer={peer}: {rest}", |f| header_sync(f, Headers::Started)),
    ("Initial headers sync aborted with peer={peer}: {rest}", |f| header_sync(f, Headers::Aborted)),
    ("Initial headers sync transition with peer={peer}: {rest}", |f| header_sync(f, Headers::Redownloading)),
    ("Initial headers sync complete with peer={peer}: {rest}", |f| header_sync(f, Headers::Complete)),
    ("Large reorg, won't direct fetch to {hash} ({uint})", |f| {
        LogEvent::LargeReorg(LargeReorg { block_hash: f.text(0), block_height: f.u32(1) })
    }),
];

/// Peers, what they send and what the address manager makes of it.
const PEERS: &[(&str, Build)] = &[
    ("received: {text} ({uint} bytes) peer={peer}", |f| traffic(f, true)),
    ("sending {text} ({uint} bytes) peer={peer}", |f| traffic(f, false)),
    ("connection from {word} accepted", |f| opened(Opened::Accepted, None, Some(f.text(0)))),
    ("Added connection peer={peer}", |f| opened(Opened::Added, Some(f.peer(0)), None)),
    ("Added connection to {text} peer={peer}", |f| opened(Opened::Added, Some(f.peer(1)), Some(f.text(0)))),
    ("connection from {word} dropped (banned)", |f| refused(Refused::Banned, Some(f.text(0)))),
    ("connection from {word} dropped (discouraged)", |f| refused(Refused::Discouraged, Some(f.text(0)))),
    ("connection from {word} dropped: not accepting new connections", |f| {
        refused(Refused::NotAccepting, Some(f.text(0)))
    }),
    ("connection from {word} dropped: non-selectable socket", |f| refused(Refused::Socket, Some(f.text(0)))),
    ("failed to find an eviction candidate - connection dropped (full)", |_| refused(Refused::Full, None)),
    // After 31; 31; 26 to 30 with type and transport; 25 with the type at the end.
    ("New {text} peer connected: transport: {text}, version: {int}, peer={peer}{rest}", |f| {
        new_peer(
            NewPeer { transport: Some(f.text(1)), version: f.i32(2), ..peer_of(f, 3) },
            f.str(0),
            f.str(4),
        )
    }),
    ("New {text} peer connected: transport: {text}, version: {int}, blocks={int} peer={peer}{rest}", |f| {
        new_peer(
            NewPeer {
                transport: Some(f.text(1)),
                version: f.i32(2),
                blocks: Some(f.i32(3)),
                ..peer_of(f, 4)
            },
            f.str(0),
            f.str(5),
        )
    }),
    ("New {text} peer connected: version: {int}, blocks={int}, peer={peer}{rest}", |f| {
        new_peer(NewPeer { version: f.i32(1), blocks: Some(f.i32(2)), ..peer_of(f, 3) }, f.str(0), f.str(4))
    }),
    // Up to 27.
    ("Misbehaving: peer={peer} ({uint} -> {uint}){rest}", |f| {
        misbehaving(
            f,
            Misbehaving { score_before: Some(f.u32(1)), score_after: Some(f.u32(2)), ..Default::default() },
            f.str(3),
        )
    }),
    ("Misbehaving: peer={peer}{rest}", |f| misbehaving(f, Misbehaving::default(), f.str(1))),
    ("Disconnecting and discouraging peer {peer}!", |f| punished(Outcome::Discouraged, f.peer(0))),
    ("disconnecting but not discouraging {text} peer {peer}!", |f| {
        punished(Outcome::Disconnected, f.peer(1))
    }),
    ("Not punishing noban peer {peer}!", |f| punished(Outcome::SparedNoban, f.peer(0))),
    ("Not punishing manually connected peer {peer}!", |f| punished(Outcome::SparedManual, f.peer(0))),
    ("Timeout downloading headers from noban peer, not disconnecting peer={peer}", |f| {
        punished(Outcome::SparedNoban, f.peer(0))
    }),
    ("Timeout downloading headers from noban peer={peer}, not disconnecting", |f| {
        punished(Outcome::SparedNoban, f.peer(0))
    }),
    ("Header error: Wrong MessageStart {word} received, peer={peer}", |f| {
        header_error(HeaderError { detail: Some(f.text(0)), ..fault(Fault::WrongMessageStart, f, 1) })
    }),
    ("Header error: Size too large ({text}, {uint} bytes), peer={peer}", |f| {
        header_error(sized(Fault::SizeTooLarge, f, 2))
    }),
    ("Header error: Wrong checksum ({text}, {uint} bytes), expected {word} was {text}, peer={peer}", |f| {
        header_error(HeaderError {
            detail: Some(bounded(&format!("expected {} was {}", f.str(2), f.str(3)))),
            ..sized(Fault::WrongChecksum, f, 4)
        })
    }),
    ("Header error: Invalid message type ({text}, {uint} bytes), peer={peer}", |f| {
        header_error(sized(Fault::InvalidMessageType, f, 2))
    }),
    ("Header error: Unable to deserialize, peer={peer}", |f| {
        header_error(fault(Fault::NotDeserializable, f, 0))
    }),
    ("Header error: {text}, peer={peer}", |f| {
        header_error(HeaderError { detail: Some(f.text(0)), ..fault(Fault::Other, f, 1) })
    }),
    ("V2 transport error: V1 peer with wrong MessageStart {word}", |f| {
        header_error(HeaderError {
            fault: Fault::V2WrongMessageStart as i32,
            detail: Some(f.text(0)),
            ..Default::default()
        })
    }),
    ("V2 transport error: missing garbage terminator, peer={peer}", |f| {
        header_error(fault(Fault::V2NoGarbageTerminator, f, 0))
    }),
    ("V2 transport error: packet too large ({uint} bytes), peer={peer}", |f| {
        header_error(HeaderError { size: Some(f.u64(0)), ..fault(Fault::V2PacketTooLarge, f, 1) })
    }),
    ("V2 transport error: packet decryption failure ({uint} bytes), peer={peer}", |f| {
        header_error(HeaderError { size: Some(f.u64(0)), ..fault(Fault::V2DecryptionFailure, f, 1) })
    }),
    ("V2 transport error: invalid message type ({uint} bytes contents), peer={peer}", |f| {
        header_error(HeaderError { size: Some(f.u64(0)), ..fault(Fault::V2InvalidMessageType, f, 1) })
    }),
    ("V2 transport error: {text}, peer={peer}", |f| {
        header_error(HeaderError { detail: Some(f.text(0)), ..fault(Fault::Other, f, 1) })
    }),
    ("Received addr: {uint} addresses ({uint} processed, {uint} rate-limited) from peer={peer}", |f| {
        LogEvent::AddrReceived(AddrReceived {
            addresses: f.u32(0),
            processed: f.u32(1),
            rate_limited: f.u32(2),
            peer_id: f.peer(3),
        })
    }),
    ("Added {uint} addresses (of {uint}) from {text}: {uint} tried, {uint} new", |f| {
        LogEvent::AddrmanAdded(AddrmanAdded {
            added: f.u32(0),
            offered: f.u32(1),
            source_address: f.text(2),
            tried: f.u32(3),
            new: f.u32(4),
        })
    }),
    ("Added {word} to new[{uint}][{uint}]", |f| placed(f, false)),
    ("Added {word} mapped to AS{uint} to new[{uint}][{uint}]", |f| placed_mapped(f, false)),
    ("Moved {word} to tried[{uint}][{uint}]", |f| placed(f, true)),
    ("Moved {word} mapped to AS{uint} to tried[{uint}][{uint}]", |f| placed_mapped(f, true)),
    ("Collision with {word} while attempting to move {word} to tried table. Collisions={uint}", |f| {
        LogEvent::AddrmanCollision(AddrmanCollision {
            resident: f.text(0),
            candidate: f.text(1),
            collisions: f.u32(2),
        })
    }),
    ("connected to self at {text}, disconnecting", |f| {
        LogEvent::SelfConnection(SelfConnection { address: f.text(0) })
    }),
];

/// Ends of connections. From 29 on they all say `disconnecting peer=`; before, each in its own way.
const DISCONNECTS: &[(&str, Build)] = &[
    ("Resetting socket for peer={peer}", |f| gone(Gone::SocketReset, f)),
    // Up to 28, the same.
    ("disconnecting peer={peer}", |f| gone(Gone::SocketReset, f)),
    ("Cleared nodestate for peer={peer}", |f| gone(Gone::StateCleared, f)),
    ("disconnecting extra outbound peer={peer}{rest}", |f| disconnect("extra outbound", f, 0, f.str(1))),
    ("disconnecting extra block-relay-only peer={peer}{rest}", |f| {
        disconnect("extra block-relay-only", f, 0, f.str(1))
    }),
    // Up to 28.
    ("socket closed for peer={peer}", |f| disconnect("socket closed", f, 0, "")),
    ("socket send error for peer={peer}{rest}", |f| disconnect("socket send error", f, 0, f.str(1))),
    ("socket recv error for peer={peer}{rest}", |f| disconnect("socket recv error", f, 0, f.str(1))),
    ("socket sending timeout: {word} peer={peer}", |f| {
        disconnect("socket sending timeout: ", f, 1, f.str(0))
    }),
    ("socket receive timeout: {word} peer={peer}", |f| {
        disconnect("socket receive timeout: ", f, 1, f.str(0))
    }),
    ("socket no message in first {uint} seconds, {uint} {uint} peer={peer}", |f| {
        disconnect(&format!("socket no message in first {} seconds", f.u64(0)), f, 3, "")
    }),
    ("version handshake timeout peer={peer}", |f| disconnect("version handshake timeout", f, 0, "")),
    ("V2 handshake timeout peer={peer}", |f| disconnect("V2 handshake timeout", f, 0, "")),
    ("ping timeout: {word} peer={peer}", |f| disconnect("ping timeout: ", f, 1, f.str(0))),
    ("Peer={peer} is stalling block download, disconnecting", |f| {
        disconnect("Peer is stalling block download", f, 0, "")
    }),
    ("Timeout downloading block {hash} from peer={peer}", |f| {
        disconnect("Timeout downloading block ", f, 1, f.str(0))
    }),
    ("Timeout downloading headers from peer={peer}", |f| disconnect("Timeout downloading headers", f, 0, "")),
    ("Disconnecting outbound peer {peer} for old chain, best known block = {word}", |f| {
        disconnect("Outbound peer has old chain, best known block = ", f, 0, f.str(1))
    }),
    ("Disconnecting outbound peer {peer} because headers chain has insufficient work", |f| {
        disconnect("outbound peer headers chain has insufficient work", f, 0, "")
    }),
    ("Network not active, dropping peer={peer}", |f| disconnect("Network not active", f, 0, "")),
    ("peer={peer} does not offer the expected services{rest}", |f| {
        disconnect("peer does not offer the expected services", f, 0, f.str(1))
    }),
    ("peer={peer} using obsolete version{rest}", |f| {
        disconnect("peer using obsolete version", f, 0, f.str(1))
    }),
    ("disconnect by {text} peer={peer}; disconnecting", |f| disconnect("disconnect by ", f, 1, f.str(0))),
    ("selected {text} peer={peer}; disconnecting", |f| disconnect("selected ", f, 1, f.str(0))),
    ("feeler connection completed peer={peer}", |f| disconnect("feeler connection completed", f, 0, "")),
    ("addrfetch connection completed peer={peer}", |f| {
        disconnect("addrfetch connection completed", f, 0, "")
    }),
    // From 29 on.
    ("{text}, disconnecting peer={peer}{rest}", |f| disconnect(f.str(0), f, 1, f.str(2))),
];

/// Transactions and orphans.
const TRANSACTIONS: &[(&str, Build)] = &[
    ("{hash} (wtxid={hash}) from peer={peer} was not accepted: {rest}", |f| {
        let (reason, debug_message) = reason_and_debug(f.str(3));
        LogEvent::TxRejected(TxRejected {
            txid: f.text(0),
            wtxid: Some(f.text(1)),
            peer_id: f.peer(2),
            reason,
            debug_message,
        })
    }),
    // 25.
    ("{hash} from peer={peer} was not accepted: {rest}", |f| {
        let (reason, debug_message) = reason_and_debug(f.str(2));
        LogEvent::TxRejected(TxRejected {
            txid: f.text(0),
            wtxid: None,
            peer_id: f.peer(1),
            reason,
            debug_message,
        })
    }),
    (
        "AcceptToMemoryPool: peer={peer}: accepted {hash} (wtxid={hash}) (poolsz {uint} txn, {uint} \
         kB)",
        |f| {
            LogEvent::TxAccepted(TxAccepted {
                txid: f.text(1),
                wtxid: Some(f.text(2)),
                peer_id: f.peer(0),
                mempool_transactions: f.u32(3),
                mempool_usage: f.u64(4),
            })
        },
    ),
    // 25.
    ("AcceptToMemoryPool: peer={peer}: accepted {hash} (poolsz {uint} txn, {uint} kB)", |f| {
        LogEvent::TxAccepted(TxAccepted {
            txid: f.text(1),
            wtxid: None,
            peer_id: f.peer(0),
            mempool_transactions: f.u32(2),
            mempool_usage: f.u64(3),
        })
    }),
    ("stored orphan tx {hash} (wtxid={hash}), weight: {uint} (mapsz {uint} outsz {uint})", |f| {
        orphan_stored(
            f,
            OrphanStored {
                wtxid: Some(f.text(1)),
                weight: Some(f.u64(2)),
                orphans: f.u32(3),
                outpoints: f.u32(4),
                ..Default::default()
            },
        )
    }),
    // 26 and 27; 25.
    ("stored orphan tx {hash} (wtxid={hash}) (mapsz {uint} outsz {uint})", |f| {
        orphan_stored(
            f,
            OrphanStored {
                wtxid: Some(f.text(1)),
                orphans: f.u32(2),
                outpoints: f.u32(3),
                ..Default::default()
            },
        )
    }),
    ("stored orphan tx {hash} (mapsz {uint} outsz {uint})", |f| {
        orphan_stored(f, OrphanStored { orphans: f.u32(1), outpoints: f.u32(2), ..Default::default() })
    }),
    ("peer={peer} orphanage overflow, removed {uint} of {uint} announcements", |f| {
        orphans(
            Removed::PeerOverflow,
            OrphansRemoved {
                peer_id: Some(f.peer(0)),
                announcements: Some(f.u32(1)),
                announcements_before: Some(f.u32(2)),
                ..Default::default()
            },
        )
    }),
    ("orphanage overflow, removed {uint} tx ({uint} announcements)", |f| {
        orphans(
            Removed::Overflow,
            OrphansRemoved {
                transactions: Some(f.u32(0)),
                announcements: Some(f.u32(1)),
                ..Default::default()
            },
        )
    }),
    // Up to 29.
    ("orphanage overflow, removed {uint} tx", |f| {
        orphans(Removed::Overflow, OrphansRemoved { transactions: Some(f.u32(0)), ..Default::default() })
    }),
    ("Erased {uint} orphan transaction(s) from peer={peer}", peer_orphans),
    // Up to 29.
    ("Erased {uint} orphan tx from peer={peer}", peer_orphans),
    ("ignoring large orphan tx (size: {uint}", |f| {
        orphans(Removed::TooLarge, OrphansRemoved { size: Some(f.u64(0)), ..Default::default() })
    }),
    (
        "Transaction rate-limiting backlog inbound={uint} itok={float} isz={float} outbound={uint} \
         otok={float} osz={float}",
        |f| {
            LogEvent::TxBacklog(TxBacklog {
                inbound: f.u64(0),
                inbound_tokens: f.f64(1),
                inbound_size: f.f64(2),
                outbound: f.u64(3),
                outbound_tokens: f.f64(4),
                outbound_size: f.f64(5),
            })
        },
    ),
];

/// The node itself.
const NODE: &[(&str, Build)] = &[
    ("Bitcoin Core version {rest}", |f| {
        LogEvent::NodeStart(NodeStart { version: f.text(0), after_clean_stop: None })
    }),
    ("Shutdown in progress...", |_| LogEvent::NodeStop(NodeStop { done: false })),
    ("Shutdown done", |_| LogEvent::NodeStop(NodeStop { done: true })),
    // Up to 29.
    ("Shutdown: In progress...", |_| LogEvent::NodeStop(NodeStop { done: false })),
    ("Shutdown: done", |_| LogEvent::NodeStop(NodeStop { done: true })),
    ("Using at most {uint} automatic connections ({uint} file descriptors available)", |f| {
        progress(
            Progress::ConnectionLimits,
            NodeProgress {
                connections_max: Some(f.u32(0)),
                file_descriptors: Some(f.u32(1)),
                ..Default::default()
            },
        )
    }),
    ("Generated RPC authentication cookie", |_| progress(Progress::Cookie, NodeProgress::default())),
    ("Loaded best chain: hashBestChain={hash} height={uint} date={date} progress={float}", |f| {
        progress(
            Progress::ChainLoaded,
            NodeProgress {
                block_hash: Some(f.text(0)),
                block_height: Some(f.u32(1)),
                progress: Some(f.f64(3)),
                ..Default::default()
            },
        )
    }),
    ("init message: Done loading", |_| progress(Progress::DoneLoading, NodeProgress::default())),
    ("Leaving InitialBlockDownload (latching to false)", |_| {
        progress(Progress::LeftIbd, NodeProgress::default())
    }),
    (
        "Your computer's date and time appear to be more than {uint} minutes out of sync with the \
         network",
        |f| LogEvent::ClockWarning(ClockWarning { offset_min: Some(f.u32(0)) }),
    ),
    // Up to 27.
    ("Please check that your computer's date and time are correct!", |_| {
        LogEvent::ClockWarning(ClockWarning { offset_min: None })
    }),
    ("ThreadRPCServer incorrect password attempt from {word}", |f| {
        rpc_refused(Rpc::WrongPassword, RpcRefused { address: Some(f.text(0)), ..Default::default() })
    }),
    ("Request rejected because http work queue depth exceeded", |_| {
        rpc_refused(Rpc::QueueFull, RpcRefused::default())
    }),
    ("request rejected because http work queue depth exceeded", |_| {
        rpc_refused(Rpc::QueueFull, RpcRefused::default())
    }),
    ("RPC User {text} not allowed to call method {rest}", |f| {
        rpc_refused(
            Rpc::NotAllowed,
            RpcRefused { user: Some(f.text(0)), method: Some(f.text(1)), ..Default::default() },
        )
    }),
    ("RPC User {text} not allowed to call any methods", |f| {
        rpc_refused(Rpc::NotAllowed, RpcRefused { user: Some(f.text(0)), ..Default::default() })
    }),
    (
        "Excessive logging detected from {text} ({text}): >{uint} bytes logged during the last time \
         window of {uint}s.",
        |f| excessive(f, false),
    ),
    ("Restarting logging from {text} ({text}): {uint} bytes were dropped during the last {uint}s.", |f| {
        excessive(f, true)
    }),
    ("A fatal internal error occurred, see {text} for details{rest}", |f| fatal(Cause::Internal, f.str(1))),
    ("Disk space is too low!", |_| fatal(Cause::DiskSpace, "")),
    ("Shutting down due to lack of disk space!", |_| fatal(Cause::DiskSpace, "")),
    ("LevelDB read failure: {rest}", |f| fatal(Cause::Database, f.str(0))),
    ("Fatal LevelDB error: {rest}", |f| fatal(Cause::Database, f.str(0))),
    ("Out of memory. Terminating.", |_| fatal(Cause::Memory, "")),
];

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
