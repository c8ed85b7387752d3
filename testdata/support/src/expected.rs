//! Events as JSON, and files that say which are expected.

use std::path::Path;

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;
use tocsin_proto::pb::event::Event;

/// An event as protobuf's JSON, with the schema's field names; bytes are in base64.
pub fn event_json(event: &Event) -> Value {
    let pool = DescriptorPool::decode(tocsin_proto::schema::descriptors()).expect("our descriptors");
    let descriptor = pool.get_message_by_name("event.Event").expect("the event");
    let message = DynamicMessage::decode(descriptor, event.encode_to_vec().as_slice()).expect("an event");
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).expect("events are JSON")
}

/// Compares events with those in a file, a JSON array. With TOCSIN_UPDATE=1 the file is written instead: read it then.
#[track_caller]
pub fn expect_events(path: &Path, events: &[Event]) {
    let found: Vec<Value> = events.iter().map(event_json).collect();
    if std::env::var_os("TOCSIN_UPDATE").is_some() {
        let lines: Vec<String> = found.iter().map(Value::to_string).collect();
        std::fs::write(path, format!("[\n{}\n]\n", lines.join(",\n"))).expect("writable");
        return;
    }
    let text = std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}; TOCSIN_UPDATE=1 writes it", path.display()));
    let expected: Vec<Value> = serde_json::from_str(&text).expect("a JSON array");
    for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found, expected, "{}: event {number}", path.display());
    }
    assert_eq!(found.len(), expected.len(), "{}: number of events", path.display());
}
