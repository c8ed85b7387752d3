//! How long an answer takes to become an event.

// Benchmarks read files.
#![allow(clippy::disallowed_methods)]

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tocsin_extractors::rpc::{Method, decode};

fn main() {
    divan::main();
}

/// The `result` of a recorded answer.
fn recorded(name: &str) -> Value {
    let path = format!("{}/../testdata/extract/rpc/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("recorded");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    answer["result"].clone()
}

fn measure(bencher: Bencher<'_, '_>, name: &str, items: usize, result: &Value) {
    let method = Method::named(name).expect("in the table");
    let result = RawValue::from_string(result.to_string()).expect("JSON");
    bencher
        .counter(ItemsCount::new(items))
        .counter(BytesCount::new(result.get().len()))
        .bench(|| decode::decode(method, &Value::Null, divan::black_box(&result)).expect("an event"));
}

/// A node with all its default connections before Bitcoin Core 32.
#[divan::bench]
fn getpeerinfo_of_125_peers(bencher: Bencher<'_, '_>) {
    let peers = recorded("getpeerinfo");
    let of_one = peers.as_array().expect("a list");
    let many: Vec<Value> = (0..125)
        .map(|id| {
            let mut peer = of_one[id % of_one.len()].clone();
            peer["id"] = json!(id);
            peer
        })
        .collect();
    measure(bencher, "getpeerinfo", 125, &Value::from(many));
}

/// A full address manager.
#[divan::bench(sample_count = 10)]
fn getrawaddrman_of_81920_addresses(bencher: Bencher<'_, '_>) {
    let entry = recorded("getrawaddrman")["tried"]["48/26"].clone();
    let table = |buckets: u32| -> Value {
        let places =
            (0..buckets).flat_map(|bucket| (0..64).map(move |position| format!("{bucket}/{position}")));
        Value::Object(places.map(|place| (place, entry.clone())).collect())
    };
    measure(bencher, "getrawaddrman", 81_920, &json!({"new": table(1024), "tried": table(256)}));
}
