//! From the payload of a P2P message to the content of its event.
//!
//! Any bytes may come: what does not decode is `unknown`, with the beginning of its bytes. What decodes is at most some
//! ten times as large as the payload, whose length the node bounds at 4,000,000.

use bitcoin::bip152::{BlockTransactions, BlockTransactionsRequest, HeaderAndShortIds};
use bitcoin::block::Header;
use bitcoin::consensus::encode::{Error, VarInt};
use bitcoin::consensus::{Decodable, deserialize, deserialize_partial};
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::{AddrV2Message, Address as AddressV1};
use bitcoin::p2p::message_blockdata::{GetBlocksMessage, GetHeadersMessage, Inventory};
use bitcoin::p2p::message_bloom::{BloomFlags, FilterAdd, FilterLoad};
use bitcoin::p2p::message_compact_blocks::SendCmpct;
use bitcoin::p2p::message_filter::{CFCheckpt, CFHeaders, CFilter, GetCFCheckpt, GetCFHeaders, GetCFilters};
use bitcoin::p2p::message_network::{Reject, RejectReason, VersionMessage};
use bitcoin::{Block, BlockHash, MerkleBlock, Transaction};
use tocsin_proto::pb::bitcoin_primitives as primitive;
use tocsin_proto::pb::ebpf_extractor as pb;
use tocsin_proto::pb::ebpf_extractor::message_event::Msg;

use crate::primitives;

/// Bytes kept of a payload that does not decode.
const UNKNOWN_BYTES: usize = 4096;
/// Bytes of an address in `addrv2`, at most (BIP 155).
const ADDRESS_BYTES: u64 = 512;
/// Bytes of a block header.
const HEADER_BYTES: usize = 80;

/// Whether events carry the serialised transactions besides their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawTransactions {
    /// They do.
    Keep,
    /// They do not.
    Leave,
}

/// The content of a message of this type.
pub fn decode(msg_type: &str, payload: &[u8], raw: RawTransactions) -> Msg {
    known(msg_type, payload, raw).unwrap_or_else(|_| unknown(msg_type, payload))
}

/// The content of a message of whose payload only the beginning is there: a block's header, else nothing.
pub fn decode_cut(msg_type: &str, payload: &[u8]) -> Option<Msg> {
    if msg_type != "block" {
        return None;
    }
    let header: Header = deserialize(payload.get(..HEADER_BYTES)?).ok()?;
    Some(Msg::Block(pb::Block { header: primitives::block_header(&header), transactions: Vec::new() }))
}

fn unknown(msg_type: &str, payload: &[u8]) -> Msg {
    let payload = payload[..payload.len().min(UNKNOWN_BYTES)].to_vec();
    Msg::Unknown(pb::Unknown { command: msg_type.to_string(), payload })
}

/// Decodes what comes first in `payload`; Core ignores what follows, and so do we.
fn first<T: Decodable>(payload: &[u8]) -> Result<T, Error> {
    deserialize_partial(payload).map(|(value, _)| value)
}

fn known(msg_type: &str, payload: &[u8], raw: RawTransactions) -> Result<Msg, Error> {
    Ok(match msg_type {
        "ping" if payload.is_empty() => Msg::Oldping(true),
        "ping" => Msg::Ping(pb::Ping { value: first(payload)? }),
        "pong" => Msg::Pong(pb::Pong { value: first(payload)? }),
        "inv" => Msg::Inv(pb::Inv { items: inventory(payload)? }),
        "getdata" => Msg::Getdata(pb::GetData { items: inventory(payload)? }),
        "notfound" => Msg::Notfound(pb::NotFound { items: inventory(payload)? }),
        "addr" => Msg::Addr(pb::Addr { addresses: addr(payload)? }),
        "addrv2" => match addrv2(payload)? {
            empty if empty.is_empty() => Msg::Emptyaddrv2(true),
            addresses => Msg::Addrv2(pb::AddrV2 { addresses }),
        },
        "headers" => Msg::Headers(pb::Headers { headers: headers(payload)? }),
        "getheaders" => getheaders(first(payload)?),
        "getblocks" => getblocks(first(payload)?),
        "version" => Msg::Version(version(payload)?),
        "feefilter" => Msg::Feefilter(pb::FeeFilter { fee: first(payload)? }),
        "sendcmpct" => sendcmpct(first(payload)?),
        "verack" => Msg::Verack(true),
        "sendheaders" => Msg::Sendheaders(true),
        "getaddr" => Msg::Getaddr(true),
        "mempool" => Msg::Mempool(true),
        "wtxidrelay" => Msg::Wtxidrelay(true),
        "sendaddrv2" => Msg::Sendaddrv2(true),
        "filterclear" => Msg::Filterclear(true),
        "alert" => Msg::Alert(pb::Alert { alert: payload[..payload.len().min(UNKNOWN_BYTES)].to_vec() }),
        "reject" => reject(first(payload)?),
        "tx" | "block" | "cmpctblock" | "getblocktxn" | "blocktxn" => blocks(msg_type, payload, raw)?,
        _ => return filters(msg_type, payload),
    })
}

/// Messages that carry transactions or ask for them.
fn blocks(msg_type: &str, payload: &[u8], raw: RawTransactions) -> Result<Msg, Error> {
    Ok(match msg_type {
        "tx" => Msg::Tx(pb::Tx { tx: transaction(&first(payload)?, raw) }),
        "block" => {
            let block: Block = first(payload)?;
            let header = primitives::block_header(&block.header);
            Msg::Block(pb::Block { header, transactions: transactions(&block.txdata, raw) })
        }
        "cmpctblock" => compact_block(&first(payload)?, raw),
        "getblocktxn" => {
            let request: BlockTransactionsRequest = first(payload)?;
            let block_hash = hash(&request.block_hash);
            Msg::Getblocktxn(pb::GetBlockTxn { block_hash, tx_indexes: request.indexes })
        }
        _ => {
            let answer: BlockTransactions = first(payload)?;
            let transactions = transactions(&answer.transactions, raw);
            Msg::Blocktxn(pb::BlockTxn { block_hash: hash(&answer.block_hash), transactions })
        }
    })
}

/// Messages of BIP 37, BIP 157, and none at all.
fn filters(msg_type: &str, payload: &[u8]) -> Result<Msg, Error> {
    Ok(match msg_type {
        "filteradd" => Msg::Filteradd(pb::FilterAdd { filter: first::<FilterAdd>(payload)?.data }),
        "filterload" => filterload(first(payload)?),
        "merkleblock" => merkleblock(&first(payload)?),
        "getcfilters" => {
            let GetCFilters { filter_type, start_height, stop_hash } = first(payload)?;
            let (filter_type, stop_hash) = (filter_type.into(), hash(&stop_hash));
            Msg::Getcfilter(pb::GetCFilter { filter_type, start_height, stop_hash })
        }
        "cfilter" => {
            let CFilter { filter_type, block_hash, filter } = first(payload)?;
            let (filter_type, block_hash) = (filter_type.into(), hash(&block_hash));
            Msg::Cfilter(pb::CFilter { filter_type, block_hash, filter })
        }
        "getcfheaders" => {
            let GetCFHeaders { filter_type, start_height, stop_hash } = first(payload)?;
            let (filter_type, stop_hash) = (filter_type.into(), hash(&stop_hash));
            Msg::Getcfheaders(pb::GetCfHeaders { filter_type, start_height, stop_hash })
        }
        "cfheaders" => cfheaders(&first(payload)?),
        "getcfcheckpt" => {
            let GetCFCheckpt { filter_type, stop_hash } = first(payload)?;
            let (filter_type, stop_hash) = (filter_type.into(), hash(&stop_hash));
            Msg::Getcfcheckpt(pb::GetCfCheckpt { filter_type, stop_hash })
        }
        "cfcheckpt" => cfcheckpt(&first(payload)?),
        _ => return Err(Error::ParseFailed("unknown message type")),
    })
}

fn hash(hash: &BlockHash) -> Vec<u8> {
    hash.as_byte_array().to_vec()
}

fn hashes(hashes: &[BlockHash]) -> Vec<Vec<u8>> {
    hashes.iter().map(hash).collect()
}

fn transaction(transaction: &Transaction, raw: RawTransactions) -> primitive::Transaction {
    primitives::transaction(transaction, raw == RawTransactions::Keep)
}

fn transactions(all: &[Transaction], raw: RawTransactions) -> Vec<primitive::Transaction> {
    all.iter().map(|one| transaction(one, raw)).collect()
}

/// Decodes a counted list entry by entry, so that a false count allocates nothing.
fn list<T>(payload: &[u8], mut entry: impl FnMut(&mut &[u8]) -> Result<T, Error>) -> Result<Vec<T>, Error> {
    let mut rest = payload;
    let count = VarInt::consensus_decode(&mut rest)?.0;
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(entry(&mut rest)?);
    }
    Ok(entries)
}

fn inventory(payload: &[u8]) -> Result<Vec<primitive::InventoryItem>, Error> {
    list(payload, |rest| Ok(primitives::inventory(&Inventory::consensus_decode(rest)?)))
}

fn addr(payload: &[u8]) -> Result<Vec<primitive::Address>, Error> {
    list(payload, |rest| {
        let last_seen = u32::consensus_decode(rest)?;
        Ok(primitives::address_v1(last_seen, &AddressV1::consensus_decode(rest)?))
    })
}

fn addrv2(payload: &[u8]) -> Result<Vec<primitive::Address>, Error> {
    list(payload, |rest| {
        let time = u32::consensus_decode(rest)?;
        let services = ServiceFlags::from(VarInt::consensus_decode(rest)?.0);
        let network = u8::consensus_decode(rest)?;
        let length = VarInt::consensus_decode(rest)?.0;
        if length > ADDRESS_BYTES {
            return Err(Error::ParseFailed("address longer than 512 bytes"));
        }
        let cut = || Error::ParseFailed("address cut short");
        let (bytes, after) = rest.split_at_checked(length as usize).ok_or_else(cut)?;
        *rest = after;
        let port = u16::from_be_bytes(Decodable::consensus_decode(rest)?);
        let addr = primitives::bip155(network, bytes);
        Ok(primitives::address_v2(&AddrV2Message { time, services, addr, port }))
    })
}

fn headers(payload: &[u8]) -> Result<Vec<primitive::BlockHeader>, Error> {
    list(payload, |rest| {
        let header = Header::consensus_decode(rest)?;
        // Number of transactions, always 0.
        VarInt::consensus_decode(rest)?;
        Ok(primitives::block_header(&header))
    })
}

fn getheaders(message: GetHeadersMessage) -> Msg {
    Msg::Getheaders(pb::GetHeaders {
        version: message.version,
        locator_hashes: hashes(&message.locator_hashes),
        stop_hash: hash(&message.stop_hash),
    })
}

fn getblocks(message: GetBlocksMessage) -> Msg {
    Msg::Getblocks(pb::GetBlocks {
        version: message.version,
        locator_hashes: hashes(&message.locator_hashes),
        stop_hash: hash(&message.stop_hash),
    })
}

fn version(payload: &[u8]) -> Result<pb::Version, Error> {
    let message: VersionMessage = first(payload).or_else(|error| {
        // The last byte is optional, and 1 if it is absent (BIP 37).
        deserialize(&[payload, &[1]].concat()).map_err(|_| error)
    })?;
    Ok(pb::Version {
        version: message.version,
        services: message.services.to_u64(),
        timestamp: message.timestamp,
        receiver: primitives::address_v1(0, &message.receiver),
        sender: primitives::address_v1(0, &message.sender),
        nonce: message.nonce,
        user_agent: message.user_agent,
        start_height: message.start_height,
        relay: message.relay,
    })
}

fn sendcmpct(message: SendCmpct) -> Msg {
    Msg::Sendcompact(pb::SendCompact { send_compact: message.send_compact, version: message.version })
}

fn reject(message: Reject) -> Msg {
    use pb::reject::Reason;
    let reason = match message.ccode {
        RejectReason::Malformed => Reason::Malformed,
        RejectReason::Invalid => Reason::Invalid,
        RejectReason::Obsolete => Reason::Obsolete,
        RejectReason::Duplicate => Reason::Duplicate,
        RejectReason::NonStandard => Reason::Nonstandard,
        RejectReason::Dust => Reason::Dust,
        RejectReason::Fee => Reason::Fee,
        RejectReason::Checkpoint => Reason::Checkpoint,
    };
    Msg::Reject(pb::Reject {
        rejected_command: message.message.into_owned(),
        reason: reason as i32,
        reason_details: message.reason.into_owned(),
        hash: message.hash.as_byte_array().to_vec(),
    })
}

fn compact_block(block: &HeaderAndShortIds, raw: RawTransactions) -> Msg {
    let prefilled = block.prefilled_txs.iter().map(|prefilled| primitive::PrefilledTransaction {
        diff_index: prefilled.idx.into(),
        tx: transaction(&prefilled.tx, raw),
    });
    Msg::Compactblock(pb::CompactBlock {
        header: primitives::block_header(&block.header),
        nonce: block.nonce,
        short_ids: block.short_ids.iter().map(|id| id.as_bytes().to_vec()).collect(),
        transactions: prefilled.collect(),
    })
}

fn filterload(message: FilterLoad) -> Msg {
    use pb::filter_load::Flags;
    let flags = match message.flags {
        BloomFlags::None => Flags::None,
        BloomFlags::All => Flags::All,
        BloomFlags::PubkeyOnly => Flags::PubkeyOnly,
    };
    Msg::Filterload(pb::FilterLoad {
        filter: message.filter,
        hash_funcs: message.hash_funcs,
        tweak: message.tweak,
        flags: flags as i32,
    })
}

fn merkleblock(message: &MerkleBlock) -> Msg {
    Msg::Merkleblock(pb::MerkleBlock {
        header: primitives::block_header(&message.header),
        num_transactions: message.txn.num_transactions(),
        bits: message.txn.bits().clone(),
        hashes: message.txn.hashes().iter().map(|hash| hash.as_byte_array().to_vec()).collect(),
    })
}

fn cfheaders(message: &CFHeaders) -> Msg {
    Msg::Cfheaders(pb::CfHeaders {
        filter_type: message.filter_type.into(),
        stop_hash: hash(&message.stop_hash),
        previous_filter_header: message.previous_filter_header.as_byte_array().to_vec(),
        filter_hashes: message.filter_hashes.iter().map(|hash| hash.as_byte_array().to_vec()).collect(),
    })
}

fn cfcheckpt(message: &CFCheckpt) -> Msg {
    Msg::Cfcheckpt(pb::CfCheckpt {
        filter_type: message.filter_type.into(),
        stop_hash: hash(&message.stop_hash),
        filter_headers: message.filter_headers.iter().map(|header| header.as_byte_array().to_vec()).collect(),
    })
}
