//! The chain: its state, its statistics, its branches.

use tocsin_proto::pb::rpc_extractor::rpc::RpcEvent;
use tocsin_proto::pb::rpc_extractor::{
    BackgroundValidation, BlockchainInfo, ChainTip, ChainTips, ChainTxStats,
};

use super::json::Object;
use super::{Answer, Odd};

/// `getblockchaininfo`.
pub fn blockchain_info(answer: &Answer<'_>) -> Result<RpcEvent, Odd> {
    let value = answer.parse()?;
    let chain = answer.top(&value).object()?;
    let background = chain.object("backgroundvalidation");
    Ok(RpcEvent::BlockchainInfo(BlockchainInfo {
        chain: chain.field("chain"),
        blocks: chain.essential("blocks")?,
        headers: chain.field("headers"),
        bestblockhash: chain.field("bestblockhash"),
        difficulty: chain.field("difficulty"),
        time: chain.field("time"),
        mediantime: chain.field("mediantime"),
        verificationprogress: chain.field("verificationprogress"),
        initialblockdownload: chain.field("initialblockdownload"),
        chainwork: chain.field("chainwork"),
        size_on_disk: chain.field("size_on_disk"),
        pruned: chain.field("pruned"),
        prune_height: chain.maybe("pruneheight").unwrap_or_default(),
        prune_target_size: chain.maybe("prune_target_size").unwrap_or_default(),
        warnings: warnings(&chain),
        automatic_pruning: chain.maybe("automatic_pruning"),
        background_validation: background.map(|validation| BackgroundValidation {
            snapshot_height: validation.field("snapshotheight"),
            blocks: validation.field("blocks"),
            verificationprogress: validation.field("verificationprogress"),
        }),
    }))
}

/// A list since Bitcoin Core 28; before, one string that is empty if there is none.
pub fn warnings(object: &Object<'_>) -> Vec<String> {
    match object.find("warnings").map(|warnings| warnings.read::<String>()) {
        Some(Ok(text)) if text.is_empty() => Vec::new(),
        Some(Ok(text)) => vec![text],
        _ => object.list("warnings"),
    }
}

/// `getchaintxstats`.
pub fn chain_tx_stats(answer: &Answer<'_>) -> Result<RpcEvent, Odd> {
    let value = answer.parse()?;
    let stats = answer.top(&value).object()?;
    Ok(RpcEvent::ChainTxStats(ChainTxStats {
        time: stats.field("time"),
        // Left out while the blocks below a loaded snapshot are unknown.
        tx_count: stats.maybe("txcount").unwrap_or_default(),
        window_final_block_hash: stats.field("window_final_block_hash"),
        window_final_block_height: stats.essential("window_final_block_height")?,
        window_block_count: stats.field("window_block_count"),
        window_tx_count: stats.maybe("window_tx_count"),
        window_interval: stats.maybe("window_interval"),
        tx_rate: stats.maybe("txrate"),
    }))
}

/// `getchaintips`.
pub fn chain_tips(answer: &Answer<'_>) -> Result<RpcEvent, Odd> {
    let value = answer.parse()?;
    let tips = answer.top(&value).list(|tip| {
        let tip = tip.object()?;
        Ok(ChainTip {
            height: tip.essential("height")?,
            hash: tip.essential("hash")?,
            branchlen: tip.field("branchlen"),
            status: tip.essential("status")?,
        })
    })?;
    Ok(RpcEvent::ChainTips(ChainTips { tips }))
}
