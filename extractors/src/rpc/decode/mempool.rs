//! The mempool and the transactions that wait for their parents.

use tocsin_proto::pb::bitcoin_primitives::Transaction;
use tocsin_proto::pb::rpc_extractor::rpc::RpcEvent;
use tocsin_proto::pb::rpc_extractor::{MempoolInfo, OrphanTx, OrphanTxs};

use super::json::{Cursor, Object};
use super::{Answer, Odd};

/// `getmempoolinfo`.
pub fn mempool_info(answer: &Answer<'_>) -> Result<RpcEvent, Odd> {
    let value = answer.parse()?;
    let pool = answer.top(&value).object()?;
    Ok(RpcEvent::MempoolInfo(MempoolInfo {
        loaded: pool.field("loaded"),
        size: pool.essential("size")?,
        bytes: pool.field("bytes"),
        usage: pool.field("usage"),
        total_fee: pool.field("total_fee"),
        max_mempool: pool.field("maxmempool"),
        mempoolminfee: pool.field("mempoolminfee"),
        minrelaytxfee: pool.field("minrelaytxfee"),
        incrementalrelayfee: pool.field("incrementalrelayfee"),
        unbroadcastcount: pool.field("unbroadcastcount"),
        // Left out after Bitcoin Core 31, where replacement always needs no signal.
        fullrbf: pool.maybe("fullrbf").unwrap_or(true),
        permitbaremultisig: pool.maybe("permitbaremultisig"),
        maxdatacarriersize: pool.maybe("maxdatacarriersize"),
        limitclustercount: pool.maybe("limitclustercount"),
        limitclustersize: pool.maybe("limitclustersize"),
        optimal: pool.maybe("optimal"),
    }))
}

/// `getorphantxs` with verbosity 1.
pub fn orphan_txs(answer: &Answer<'_>) -> Result<RpcEvent, Odd> {
    let value = answer.parse()?;
    let orphans = answer.top(&value).list(|orphan| orphan_tx(orphan.object()?))?;
    Ok(RpcEvent::OrphanTxs(OrphanTxs { orphans }))
}

fn orphan_tx(orphan: Object<'_>) -> Result<OrphanTx, Odd> {
    let ids = |name| -> Result<(String, Vec<u8>), Odd> {
        let text: String = orphan.essential(name)?;
        let cursor = orphan.find(name).expect("just read");
        let bytes = hash(&text, cursor)?;
        Ok((text, bytes))
    };
    let (txid, txid_bytes) = ids("txid")?;
    let (wtxid, wtxid_bytes) = ids("wtxid")?;
    // After Bitcoin Core 31 `vsize` is deprecated in favour of `vsize_bip141`.
    let vsize = orphan.maybe("vsize_bip141").unwrap_or_else(|| orphan.field("vsize"));
    Ok(OrphanTx {
        txid,
        wtxid,
        bytes: orphan.field("bytes"),
        vsize,
        weight: orphan.field("weight"),
        from: orphan.list("from"),
        transaction: Transaction { txid: txid_bytes, wtxid: wtxid_bytes, raw: None },
    })
}

/// The 32 bytes of a hash in the order of the wire; text has them reversed.
fn hash(text: &str, cursor: Cursor<'_>) -> Result<Vec<u8>, Odd> {
    let digits = text.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = digits.chunks_exact(2).rev();
    let bytes: Option<Vec<u8>> = pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
    bytes.filter(|_| digits.len() == 64).ok_or_else(|| cursor.odd("64 hex digits"))
}
