//! What Bitcoin Core calls misbehaving: one message of it, and the connection is over.

use std::io;

use bitcoin::block::{Header, Version};
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::{BlockHash, CompactTarget, Network, TxMerkleNode};

use super::Peer;
use super::blocks::{block_on, coinbase, mined_header};
use super::floods::{ADDR_ENTRIES_MAX, INV_ENTRIES_MAX, addresses, announcements};
use super::random::Random;

/// A way to break the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misbehaviour {
    /// An inv of 50,001 entries.
    OversizedInv,
    /// An addr of 1,001 entries.
    OversizedAddr,
    /// A header whose hash is not low enough for the difficulty it states.
    HeaderWithoutWork,
    /// Two headers of which the second does not follow the first.
    DisconnectedHeaders,
    /// A block whose transaction is not the one its header commits to (CVE-2024-52921).
    MutatedBlock,
}

impl Misbehaviour {
    /// All of them.
    pub const ALL: [Misbehaviour; 5] = [
        Misbehaviour::OversizedInv,
        Misbehaviour::OversizedAddr,
        Misbehaviour::HeaderWithoutWork,
        Misbehaviour::DisconnectedHeaders,
        Misbehaviour::MutatedBlock,
    ];

    /// What Bitcoin Core v31.99 gives as the reason, in its log and its tracepoint.
    pub fn reason(self) -> &'static str {
        match self {
            Misbehaviour::OversizedInv => "inv message size = 50001",
            Misbehaviour::OversizedAddr => "addr message size = 1001",
            Misbehaviour::HeaderWithoutWork => "header with invalid proof of work",
            Misbehaviour::DisconnectedHeaders => "non-continuous headers sequence",
            Misbehaviour::MutatedBlock => "mutated block",
        }
    }

    fn message(self) -> NetworkMessage {
        let mut random = Random::next_of_program();
        match self {
            Misbehaviour::OversizedInv => announcements(&mut random, INV_ENTRIES_MAX + 1),
            Misbehaviour::OversizedAddr => addresses(&mut random, ADDR_ENTRIES_MAX + 1),
            Misbehaviour::HeaderWithoutWork => {
                NetworkMessage::Headers(vec![header_without_work(&mut random)])
            }
            Misbehaviour::DisconnectedHeaders => NetworkMessage::Headers(disconnected_headers(&mut random)),
            Misbehaviour::MutatedBlock => {
                let (genesis, time) = genesis();
                let mut block = block_on(genesis, time + 1, coinbase(1, random.number()));
                block.txdata = vec![coinbase(1, random.number())];
                NetworkMessage::Block(block)
            }
        }
    }
}

/// Breaks the protocol; the node then disconnects the peer. Addresses on loopback are never discouraged, so another
/// peer can connect at once.
pub fn misbehave(peer: &Peer, how: Misbehaviour) -> io::Result<()> {
    peer.send(how.message())
}

/// The one block that every regtest node knows, and its time.
fn genesis() -> (BlockHash, u32) {
    let block = genesis_block(Network::Regtest);
    (block.block_hash(), block.header.time)
}

fn header_without_work(random: &mut Random) -> Header {
    let (prev_blockhash, time) = genesis();
    Header {
        version: Version::from_consensus(1),
        prev_blockhash,
        merkle_root: TxMerkleNode::from_byte_array(random.hash()),
        time: time + 1,
        // The difficulty of mainnet's first blocks: one hash in four thousand million is low enough.
        bits: CompactTarget::from_consensus(0x1d00_ffff),
        nonce: 0,
    }
}

fn disconnected_headers(random: &mut Random) -> Vec<Header> {
    let (parent, time) = genesis();
    let nowhere = BlockHash::from_byte_array(random.hash());
    [parent, nowhere]
        .map(|parent| mined_header(parent, time + 1, TxMerkleNode::from_byte_array(random.hash())))
        .to_vec()
}
