//! Blocks of a miner who is not the node.

use std::io;
use std::str::FromStr;

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::script::Builder;
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, Sequence, Transaction, TxIn, TxMerkleNode, TxOut,
    Witness,
};
use serde_json::json;

use super::Peer;
use super::random::Random;
use crate::Node;

/// Regtest's lowest difficulty: every other hash is good enough.
pub(super) const EASIEST: u32 = 0x207f_ffff;
/// Blocks between halvings on regtest.
const HALVING_BLOCKS: u64 = 150;
/// BIP 9's version without any bit set.
const BLOCK_VERSION: i32 = 0x2000_0000;

/// Valid blocks on one of the node's that the node does not know yet.
///
/// Announced on the tip and withheld they are what `tip_behind` finds; delivered on a block below the tip, one more
/// than the node has above it, they are what `chain_reorg` finds.
#[derive(Debug)]
pub struct ForeignChain {
    blocks: Vec<Block>,
}

impl ForeignChain {
    /// Mines so many blocks on the one that is `depth` below the node's tip; 0 is the tip itself.
    #[track_caller]
    pub fn mine(node: &Node, depth: u64, blocks: u64) -> Self {
        let tip = node.rpc("getblockcount", json!([])).as_u64().expect("a height");
        let height = tip.checked_sub(depth).expect("no block below the first");
        let parent = node.rpc("getblockhash", json!([height]));
        let header = node.rpc("getblockheader", json!([parent]));
        let mut hash = BlockHash::from_str(parent.as_str().expect("a hash")).expect("a hash");
        let time = header["time"].as_u64().expect("seconds") as u32;
        let mut random = Random::next_of_program();
        let mut mined = Vec::new();
        for number in 1..=blocks {
            let coinbase = coinbase(height + number, random.number());
            let block = block_on(hash, time + number as u32, coinbase);
            hash = block.block_hash();
            mined.push(block);
        }
        ForeignChain { blocks: mined }
    }

    /// Announces the blocks by their headers.
    pub fn announce(&self, peer: &Peer) -> io::Result<()> {
        peer.send(NetworkMessage::Headers(self.blocks.iter().map(|block| block.header).collect()))
    }

    /// Sends the blocks, asked for or not.
    pub fn deliver(&self, peer: &Peer) -> io::Result<()> {
        self.blocks.iter().try_for_each(|block| peer.send(NetworkMessage::Block(block.clone())))
    }

    /// Hash of the last block, as RPCs show it.
    pub fn tip(&self) -> Option<String> {
        self.blocks.last().map(|block| block.block_hash().to_string())
    }
}

/// A block of regtest with this transaction and a good proof of work.
pub(super) fn block_on(parent: BlockHash, time: u32, coinbase: Transaction) -> Block {
    let merkle_root = TxMerkleNode::from_raw_hash(coinbase.compute_txid().to_raw_hash());
    Block { header: mined_header(parent, time, merkle_root), txdata: vec![coinbase] }
}

/// A header whose hash is low enough for regtest.
pub(super) fn mined_header(parent: BlockHash, time: u32, merkle_root: TxMerkleNode) -> Header {
    let bits = CompactTarget::from_consensus(EASIEST);
    let version = Version::from_consensus(BLOCK_VERSION);
    let mut header = Header { version, prev_blockhash: parent, merkle_root, time, bits, nonce: 0 };
    while !header.target().is_met_by(header.block_hash()) {
        header.nonce += 1;
    }
    header
}

/// Begins with the height (BIP 34); `extra` makes it differ from others of that height. Pays to anyone.
pub(super) fn coinbase(height: u64, extra: u64) -> Transaction {
    let script_sig = Builder::new().push_int(height as i64).push_slice(extra.to_le_bytes()).into_script();
    let subsidy = Amount::from_sat((50 * Amount::ONE_BTC.to_sat()) >> (height / HALVING_BLOCKS).min(63));
    let input = TxIn {
        previous_output: OutPoint::null(),
        script_sig,
        sequence: Sequence::MAX,
        witness: Witness::new(),
    };
    let anyone = Builder::new().push_int(1).into_script();
    Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![input],
        output: vec![TxOut { value: subsidy, script_pubkey: anyone }],
    }
}
