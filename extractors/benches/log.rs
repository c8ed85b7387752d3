//! How many lines of debug.log a second become events.

#![allow(clippy::disallowed_methods)]

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use tocsin_extractors::log::Decoder;

fn main() {
    divan::main();
}

/// The lines of a fixture, repeated to about a megabyte.
fn lines(name: &str) -> Vec<u8> {
    let path = format!("{}/../testdata/extract/log/{name}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(path).expect("the fixture is in the repository");
    bytes.repeat(1_000_000 / bytes.len() + 1)
}

/// Lines of all shapes, and those of a real node with -debug=net and others.
#[divan::bench(args = ["v31.log", "real_debug.log"])]
fn decode(bencher: Bencher, name: &str) {
    let bytes = lines(name);
    let count = bytes.iter().filter(|byte| **byte == b'\n').count();
    bencher.counter(ItemsCount::new(count)).counter(BytesCount::new(bytes.len())).bench(|| {
        let mut events = Vec::with_capacity(count);
        let mut decoder = Decoder::new(true);
        for piece in bytes.chunks(64 * 1024) {
            decoder.push(divan::black_box(piece), 0, &mut events);
        }
        events
    });
}
