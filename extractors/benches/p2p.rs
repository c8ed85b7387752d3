//! From bytes on the wire to events: what an announcement of so many entries costs.

// A benchmark reads clocks and files.
#![allow(clippy::disallowed_methods)]

use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use tocsin_extractors::p2p::{
    Blocks, Command, Conversation, Greeting, Reaction, Settings, Transport, encode_v1,
};

const REGTEST: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];

fn main() {
    divan::main();
}

/// A conversation over v1 after its handshake.
fn conversation() -> Conversation {
    let settings =
        Settings { addresses: true, transactions: true, fee_filter: true, blocks: Blocks::Headers };
    let transport = Transport::v1(REGTEST);
    let mut conversation = Conversation::new(transport, settings, Greeting { time_s: 0, nonce: 0 });
    let mut hello = Vec::new();
    let mut version = vec![0; 86];
    version[..4].copy_from_slice(&70_016_u32.to_le_bytes());
    encode_v1(REGTEST, Command::Version, &version, &mut hello);
    encode_v1(REGTEST, Command::Verack, &[], &mut hello);
    conversation.receive(Duration::ZERO, &hello, &mut Reaction::default()).expect("valid");
    assert!(conversation.is_up());
    conversation
}

/// A message whose payload is a count and as many entries.
fn message(command: Command, count: u16, entry: &[u8]) -> Vec<u8> {
    let mut payload = vec![0xfd];
    payload.extend_from_slice(&count.to_le_bytes());
    (0..count).for_each(|_| payload.extend_from_slice(entry));
    let mut bytes = Vec::new();
    encode_v1(REGTEST, command, &payload, &mut bytes);
    bytes
}

fn measure(bencher: Bencher<'_, '_>, count: u16, bytes: &[u8]) {
    let mut conversation = conversation();
    bencher.counter(ItemsCount::new(usize::from(count))).bench_local(|| {
        let mut reaction = Reaction::default();
        conversation.receive(Duration::ZERO, divan::black_box(bytes), &mut reaction).expect("valid");
        assert_eq!(reaction.events.len(), 1);
        reaction
    });
}

// From 253 entries on a count has three bytes; that makes no difference in time.
#[divan::bench(args = [253, 1000, 10_000])]
fn inv(bencher: Bencher<'_, '_>, count: u16) {
    let entry = [5_u32.to_le_bytes().as_slice(), &[7; 32]].concat();
    measure(bencher, count, &message(Command::Inv, count, &entry));
}

#[divan::bench(args = [253, 1000])]
fn addrv2_ipv4(bencher: Bencher<'_, '_>, count: u16) {
    let entry = [[0, 0, 0, 1, 9, 1, 4].as_slice(), &[10, 1, 2, 3], &[0x20, 0x8d]].concat();
    measure(bencher, count, &message(Command::AddrV2, count, &entry));
}

#[divan::bench(args = [253, 1000])]
fn addrv2_torv3(bencher: Bencher<'_, '_>, count: u16) {
    let entry = [[0, 0, 0, 1, 9, 4, 32].as_slice(), &[7; 32], &[0x20, 0x8d]].concat();
    measure(bencher, count, &message(Command::AddrV2, count, &entry));
}
