//! Decoding on records of a real node, and what wrong ones do.
//!
//! `records.bin` holds records one after the other, each behind its length (u32, little-endian). With TOCSIN_UPDATE=1 a
//! node is started and they are taken anew; that needs root.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bitcoin::hashes::Hash as _;
use libbpf_rs::RingBufferBuilder;
use proptest::prelude::*;
use serde_json::json;
use tocsin_proto::pb::ebpf_extractor::message_event::Msg;
use tocsin_proto::pb::event::Event;
use tocsin_testing::{Node, expect_events};

use super::config::Config;
use super::message::{RawTransactions, decode, decode_cut};
use super::probes::Programs;
use super::process::Process;
use super::record;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/extract/ebpf").join(name)
}

fn records() -> Vec<Vec<u8>> {
    let bytes = std::fs::read(file("records.bin")).expect("records; TOCSIN_UPDATE=1 takes them");
    let (mut rest, mut records) = (bytes.as_slice(), Vec::new());
    while let Some((length, after)) = rest.split_first_chunk() {
        let (record, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        records.push(record.to_vec());
        rest = after;
    }
    records
}

/// The events of the records, with the times of the node that was recorded.
fn events(records: &[Vec<u8>]) -> Vec<Event> {
    let decoded =
        records.iter().map(|record| super::decode(record, RawTransactions::Keep).expect("a record"));
    let event = |decoded: super::Decoded| {
        assert_eq!(decoded.unread, 0);
        Event {
            timestamp: decoded.at / 1_000_000,
            peer_observer_event: Some(decoded.event),
            ..Event::default()
        }
    };
    decoded.map(event).collect()
}

#[test]
fn records_of_a_real_node_are_the_expected_events() {
    if std::env::var_os("TOCSIN_UPDATE").is_some() {
        record_a_node();
    }
    expect_events(&file("events.json"), &events(&records()));
}

/// Takes the records of a short life of a node: a handshake, blocks, transactions, a refusal, the end.
fn record_a_node() {
    let (alice, bob) = (Node::start(&["-acceptnonstdtxn=1"]), Node::start(&[]));
    let config = Config { pid: Some(alice.pid()), ..Config::default() };
    let programs = Programs::load(&config).expect("root may");
    let process = Process::find(&config).expect("it runs");
    let taken = Rc::new(RefCell::new(Vec::new()));
    let rings: Vec<_> = programs
        .rings()
        .map(|map| {
            let taken = taken.clone();
            let mut builder = RingBufferBuilder::new();
            let take = move |bytes: &[u8]| {
                taken.borrow_mut().push(record::used(bytes).to_vec());
                0
            };
            builder.add(&map, take).expect("a ring");
            builder.build().expect("rings")
        })
        .collect();
    let attached = programs.attach(&process, &config.groups);
    let blocks = alice.mine(101);
    bob.rpc("addnode", json!([format!("127.0.0.1:{}", alice.p2p_port()), "onetry"]));
    tocsin_testing::eventually(Duration::from_secs(20), "the chain on both", || {
        (bob.rpc("getblockcount", json!([])) == json!(101)).then_some(())
    });
    let coinbase = alice.rpc("getblock", json!([blocks[0], 1]))["tx"][0].clone();
    for fee in [1_000, 50_000] {
        let _ = alice.try_rpc("sendrawtransaction", json!([spend(coinbase.as_str().expect("an id"), fee)]));
    }
    let _ = alice.try_rpc("sendrawtransaction", json!([spend(&"11".repeat(32), 0)]));
    alice.mine(1);
    tocsin_testing::eventually(Duration::from_secs(20), "the last block on both", || {
        (bob.rpc("getblockcount", json!([])) == json!(102)).then_some(())
    });
    alice.rpc("gettxoutsetinfo", json!([]));
    bob.rpc("disconnectnode", json!([format!("127.0.0.1:{}", alice.p2p_port())]));
    std::thread::sleep(Duration::from_secs(1));
    drop(attached);
    for ring in &rings {
        ring.consume().expect("readable");
    }
    write(&chosen(taken.take()));
}

/// Three of each kind, or of each type and direction of message, in the order of time.
fn chosen(mut all: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    all.sort_by_key(|bytes| record::read(bytes).expect("a record").at);
    let mut seen = std::collections::BTreeMap::new();
    all.retain(|bytes| {
        let name = match record::read(bytes).expect("a record").body {
            record::Body::Message(message) => (bytes[8], message.msg_type.to_vec()),
            _ => (bytes[8], Vec::new()),
        };
        let count = seen.entry(name).or_insert(0);
        *count += 1;
        *count <= 3
    });
    all
}

fn write(records: &[Vec<u8>]) {
    let mut bytes = Vec::new();
    for record in records {
        bytes.extend((record.len() as u32).to_le_bytes());
        bytes.extend(record);
    }
    std::fs::create_dir_all(file("")).expect("writable");
    std::fs::write(file("records.bin"), bytes).expect("writable");
}

/// A transaction that spends output 0 of `txid`, which anyone can, in hexadecimal.
fn spend(txid: &str, fee: u64) -> String {
    let output = bitcoin::TxOut {
        value: bitcoin::Amount::from_sat(5_000_000_000 - fee),
        script_pubkey: bitcoin::ScriptBuf::from_bytes([vec![0, 20], vec![7; 20]].concat()),
    };
    let input = bitcoin::TxIn {
        previous_output: bitcoin::OutPoint { txid: txid.parse().expect("an id"), vout: 0 },
        sequence: bitcoin::Sequence::ENABLE_RBF_NO_LOCKTIME,
        ..bitcoin::TxIn::default()
    };
    bitcoin::consensus::encode::serialize_hex(&bitcoin::Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: vec![input],
        output: vec![output],
    })
}

proptest! {
    #[test]
    fn no_change_to_a_record_makes_a_decoder_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let records = records();
        let mut record = which.get(&records).clone();
        for (at, value) in changes {
            let length = record.len();
            record[at.index(length)] = value;
        }
        super::decode(&record, RawTransactions::Keep);
        record.truncate(cut.index(record.len()));
        super::decode(&record, RawTransactions::Keep);
    }

    #[test]
    fn no_payload_of_any_type_makes_a_decoder_panic(
        which in 0..TYPES.len(),
        payload in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        decode(TYPES[which], &payload, RawTransactions::Keep);
        decode_cut(TYPES[which], &payload);
    }
}

/// The types of messages there are (protocol.h of Bitcoin Core), and those it has forgotten.
const TYPES: [&str; 39] = [
    "version",
    "verack",
    "addr",
    "addrv2",
    "sendaddrv2",
    "inv",
    "getdata",
    "merkleblock",
    "getblocks",
    "getheaders",
    "tx",
    "headers",
    "block",
    "getaddr",
    "mempool",
    "ping",
    "pong",
    "notfound",
    "filterload",
    "filteradd",
    "filterclear",
    "sendheaders",
    "feefilter",
    "sendcmpct",
    "cmpctblock",
    "getblocktxn",
    "blocktxn",
    "getcfilters",
    "cfilter",
    "getcfheaders",
    "cfheaders",
    "getcfcheckpt",
    "cfcheckpt",
    "wtxidrelay",
    "alert",
    "reject",
    "sendtxrcncl",
    "feature",
    "",
];

fn hex(text: &str) -> Vec<u8> {
    bitcoin::hex::FromHex::from_hex(&text.replace(' ', "")).expect("hexadecimal")
}

#[test]
fn old_and_empty_forms_have_fields_of_their_own() {
    let keep = RawTransactions::Keep;
    assert_eq!(decode("ping", &[], keep), Msg::Oldping(true));
    assert_eq!(decode("addrv2", &[0], keep), Msg::Emptyaddrv2(true));
    assert!(matches!(decode("addr", &[0], keep), Msg::Addr(addr) if addr.addresses.is_empty()));
    assert!(matches!(decode("getcfcheckpt", &[7; 33], keep), Msg::Getcfcheckpt(get) if get.filter_type == 7));
}

#[test]
fn what_does_not_decode_is_unknown_with_the_beginning_of_its_bytes() {
    let payload = vec![0xff; 5_000];
    for msg_type in ["inv", "block", "nonsense"] {
        match decode(msg_type, &payload, RawTransactions::Keep) {
            Msg::Unknown(unknown) => {
                assert_eq!((unknown.command.as_str(), unknown.payload.len()), (msg_type, 4096));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn one_malformed_address_hides_none_of_the_others() {
    // Three entries: IPv4, an IPv4 address of five bytes, network 200.
    let entry = |network: &str, address: &str| format!("01020304 fd0904 {network} {address} 208d");
    let all = [entry("01", "04 01020304"), entry("01", "05 0102030405"), entry("c8", "01 09")].concat();
    let Msg::Addrv2(addrv2) = decode("addrv2", &hex(&format!("03{all}")), RawTransactions::Keep) else {
        panic!("no addrv2")
    };
    use tocsin_proto::pb::bitcoin_primitives::address::Address;
    let places: Vec<_> = addrv2.addresses.iter().map(|address| address.address.clone()).collect();
    assert_eq!(places[0], Some(Address::Ipv4("1.2.3.4".to_string())));
    assert!(matches!(&places[1..], [Some(Address::Unknown(_)), Some(Address::Unknown(_))]), "{places:?}");
    assert_eq!((addrv2.addresses[0].services, addrv2.addresses[0].port), (0x409, 8333));
}

#[test]
fn a_version_without_the_relay_byte_relays() {
    let address = "0000000000000000 00000000000000000000ffff01020304 208d";
    let text = format!(
        "80110100 0900000000000000 0000000000000000 {address} {address} 0100000000000000 00 07000000"
    );
    for (end, relay) in [("", true), ("00", false), ("01", true)] {
        let msg = decode("version", &hex(&format!("{text}{end}")), RawTransactions::Keep);
        assert!(matches!(&msg, Msg::Version(v) if v.relay == relay && v.start_height == 7), "{msg:?}");
    }
}

#[test]
fn a_block_that_was_cut_behind_its_header_keeps_it() {
    let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Bitcoin);
    let bytes = bitcoin::consensus::serialize(&genesis);
    let Some(Msg::Block(block)) = decode_cut("block", &bytes[..80]) else { panic!("no header") };
    assert_eq!(block.header.hash, genesis.block_hash().as_byte_array());
    assert!(block.transactions.is_empty());
    assert_eq!(decode_cut("block", &bytes[..79]), None);
    assert_eq!(decode_cut("headers", &bytes), None);
}
