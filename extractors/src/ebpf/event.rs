//! From records to events.

use tocsin_proto::pb::bitcoin_primitives::ConnType;
use tocsin_proto::pb::ebpf_extractor::connection_event::Event as Conn;
use tocsin_proto::pb::ebpf_extractor::ebpf::EbpfEvent;
use tocsin_proto::pb::ebpf_extractor::mempool_event::Event as Mempool;
use tocsin_proto::pb::ebpf_extractor::utxo_cache_event::Event as UtxoCache;
use tocsin_proto::pb::ebpf_extractor::validation_event::Event as Validation;
use tocsin_proto::pb::ebpf_extractor::{
    Added, BlockConnected, ClosedConnection, Connection, ConnectionEvent, Ebpf, EvictedInboundConnection,
    InboundConnection, MempoolEvent, MessageEvent, Metadata, MisbehavingConnection, OutboundConnection,
    Rejected, Removed, Replaced, UtxoCacheEvent, UtxoCoin, UtxoFlush, ValidationEvent,
};
use tocsin_proto::pb::event::event::PeerObserverEvent;

use super::message::{self, RawTransactions};
use super::record::{self, Body, Record};

/// The event a record stands for.
pub fn event(record: &Record<'_>, raw: RawTransactions) -> PeerObserverEvent {
    let event = match record.body {
        Body::Message(message) => EbpfEvent::Message(message_event(&message, raw)),
        Body::InboundConnection(c) => {
            connection(Conn::Inbound(InboundConnection { conn: conn(&c), existing_connections: c.number }))
        }
        Body::OutboundConnection(c) => {
            connection(Conn::Outbound(OutboundConnection { conn: conn(&c), existing_connections: c.number }))
        }
        Body::ClosedConnection(c) => {
            connection(Conn::Closed(ClosedConnection { conn: conn(&c), time_established: c.number }))
        }
        Body::EvictedConnection(c) => connection(Conn::InboundEvicted(EvictedInboundConnection {
            conn: conn(&c),
            time_established: c.number,
        })),
        Body::Misbehaving { peer_id, reason } => {
            connection(Conn::Misbehaving(MisbehavingConnection { id: peer_id, message: text(reason) }))
        }
        Body::Added(entry) => {
            mempool(Mempool::Added(Added { txid: entry.id.to_vec(), vsize: entry.vsize, fee: entry.fee }))
        }
        Body::Removed { entry, entry_time, reason } => mempool(Mempool::Removed(Removed {
            txid: entry.id.to_vec(),
            reason: text(reason),
            vsize: entry.vsize,
            fee: entry.fee,
            entry_time,
        })),
        Body::Replaced { .. } => mempool(Mempool::Replaced(replaced(&record.body))),
        Body::Rejected { txid, reason } => {
            mempool(Mempool::Rejected(Rejected { txid: txid.to_vec(), reason: text(reason) }))
        }
        Body::BlockConnected(block) => EbpfEvent::Validation(ValidationEvent {
            event: Some(Validation::BlockConnected(block_connected(&block))),
        }),
        Body::Flush(flush) => utxocache(UtxoCache::Flush(UtxoFlush {
            duration: flush.duration,
            mode: flush.mode,
            coins: flush.coins,
            size: flush.bytes,
            prune: flush.prune,
        })),
        Body::CoinAdded(c) => utxocache(UtxoCache::Added(coin(&c))),
        Body::CoinSpent(c) => utxocache(UtxoCache::Spent(coin(&c))),
        Body::CoinUncached(c) => utxocache(UtxoCache::Uncached(coin(&c))),
    };
    ebpf(event)
}

/// Puts an event of this extractor into its envelope.
pub fn ebpf(event: EbpfEvent) -> PeerObserverEvent {
    PeerObserverEvent::Ebpf(Ebpf { ebpf_event: Some(event) })
}

fn connection(event: Conn) -> EbpfEvent {
    EbpfEvent::Connection(ConnectionEvent { event: Some(event) })
}

fn mempool(event: Mempool) -> EbpfEvent {
    EbpfEvent::Mempool(MempoolEvent { event: Some(event) })
}

fn utxocache(event: UtxoCache) -> EbpfEvent {
    EbpfEvent::Utxocache(UtxoCacheEvent { event: Some(event) })
}

fn message_event(message: &record::Message<'_>, raw: RawTransactions) -> MessageEvent {
    let captured = message.payload.len() as u64;
    let meta = Metadata {
        peer_id: message.peer_id,
        addr: text(message.addr),
        conn_type: conn_type(message.conn_type) as i32,
        command: text(message.msg_type),
        inbound: message.inbound,
        size: message.size,
    };
    let is_whole = captured == message.size;
    let msg = match is_whole {
        true => Some(message::decode(&meta.command, message.payload, raw)),
        false => message::decode_cut(&meta.command, message.payload),
    };
    MessageEvent { meta, captured: (!is_whole).then_some(captured), msg }
}

fn conn(connection: &record::Connection<'_>) -> Connection {
    Connection {
        peer_id: connection.peer_id,
        addr: text(connection.addr),
        conn_type: conn_type(connection.conn_type) as i32,
        network: connection.network,
    }
}

/// As Core names them, see `ConnectionTypeAsString` in node/connection_types.cpp.
fn conn_type(name: &[u8]) -> ConnType {
    match name {
        b"inbound" => ConnType::Inbound,
        b"outbound-full-relay" => ConnType::OutboundFullRelay,
        b"block-relay-only" => ConnType::BlockRelayOnly,
        b"feeler" => ConnType::Feeler,
        b"manual" => ConnType::Manual,
        b"addr-fetch" => ConnType::AddrFetch,
        b"private-broadcast" => ConnType::PrivateBroadcast,
        _ => ConnType::Unknown,
    }
}

fn replaced(body: &Body<'_>) -> Replaced {
    let Body::Replaced { replaced, entry_time, replacement, by_transaction } = *body else {
        return Replaced::default();
    };
    Replaced {
        replaced_txid: replaced.id.to_vec(),
        replaced_vsize: replaced.vsize,
        replaced_fee: replaced.fee,
        replaced_entry_time: entry_time,
        replacement_id: replacement.id.to_vec(),
        replacement_vsize: replacement.vsize,
        replacement_fee: replacement.fee,
        replaced_by_transaction: by_transaction,
    }
}

fn block_connected(block: &record::BlockConnected<'_>) -> BlockConnected {
    BlockConnected {
        hash: block.hash.to_vec(),
        height: block.height,
        transactions: i64::try_from(block.transactions).unwrap_or(i64::MAX),
        inputs: block.inputs,
        sigops: block.sigops,
        // A steady clock does not go backwards; a negative duration would be garbage.
        connection_time: u64::try_from(block.duration).unwrap_or(0),
    }
}

fn coin(coin: &record::Coin<'_>) -> UtxoCoin {
    UtxoCoin {
        txid: coin.txid.to_vec(),
        vout: coin.vout,
        height: coin.height,
        value: coin.value,
        coinbase: coin.coinbase,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
