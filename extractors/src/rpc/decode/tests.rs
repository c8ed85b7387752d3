//! Answers recorded from a node of version 31.99, answers as older versions give them, and answers that make
//! no sense.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tocsin_proto::pb::event::Event;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::pb::rpc_extractor::Rpc;
use tocsin_proto::pb::rpc_extractor::rpc::RpcEvent;
use tocsin_testing::expect_events;

use super::*;
use crate::rpc::METHODS;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/extract/rpc")
}

/// The `result` of a recorded answer, as the node wrote it.
fn recorded_text(name: &str) -> Box<RawValue> {
    #[derive(serde::Deserialize)]
    struct Recorded {
        result: Box<RawValue>,
    }
    let path = folder().join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str::<Recorded>(&text).expect("an answer").result
}

fn recorded(name: &str) -> Value {
    serde_json::from_str(recorded_text(name).get()).expect("JSON")
}

fn method(name: &str) -> &'static Method {
    Method::named(name).expect("a method of the table")
}

fn raw(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_string()).ok()
}

fn decode_value(name: &str, params: Value, result: &Value) -> Result<Decoded, Odd> {
    decode(method(name), &params, &raw(&result.to_string()).expect("JSON"))
}

/// Decodes the recorded answers `name` and compares with the file beside it; nothing in them may be odd.
#[track_caller]
fn check_with(name: &str, params: Value) -> RpcEvent {
    let called = name.split('_').next().expect("a name");
    let decoded = decode(method(called), &params, &recorded_text(name)).expect("an event");
    assert_eq!(decoded.oddities, Oddities::default(), "{name}");
    let rpc = Rpc { rpc_event: Some(decoded.event.clone()) };
    let event = Event { peer_observer_event: Some(PeerObserverEvent::Rpc(rpc)), ..Event::default() };
    expect_events(&folder().join(format!("{name}.expected.json")), &[event]);
    decoded.event
}

#[track_caller]
fn check(name: &str) -> RpcEvent {
    check_with(name, json!([]))
}

#[test]
fn answers_of_a_node_of_31_99_become_events() {
    for method in &METHODS {
        check_with(method.name, method.params().next().expect("a call"));
    }
}

#[test]
fn what_later_builds_of_31_99_add_is_read() {
    check("getnetworkinfo_v31.99_later");
    check("getblockchaininfo_v31.99_later");
    check("getorphantxs_v31.99_later");
    check_with("estimatesmartfee_v31.99_later", json!([6, "conservative"]));
}

#[test]
fn answers_of_older_versions_are_read_without_a_complaint() {
    for name in [
        "getpeerinfo_v25",
        "getpeerinfo_v28",
        "getmempoolinfo_v25",
        "getmempoolinfo_v28",
        "getnetworkinfo_v25",
        "getnetworkinfo_v28",
        "getblockchaininfo_v25",
        "getblockchaininfo_v28",
        "getorphantxs_v29",
    ] {
        check(name);
    }
}

#[test]
fn units_are_those_of_the_schema() {
    let RpcEvent::PeerInfos(peers) = check("getpeerinfo") else { panic!("peers") };
    assert_eq!(peers.infos[0].ping_time, 0.000239978, "seconds, as the node has it");
    let mut fee = recorded("estimatesmartfee");
    fee["feerate"] = json!(0.00001234);
    let decoded = decode_value("estimatesmartfee", json!([6, "economical"]), &fee).expect("an event");
    let RpcEvent::EstimateSmartFee(fee) = decoded.event else { panic!("a fee") };
    assert_eq!((fee.fee_rate, fee.requested_blocks), (Some(1.234), 6), "sat/vB");
}

#[test]
fn buckets_and_positions_are_those_of_the_keys() {
    let RpcEvent::Addrman(addrman) = check("getrawaddrman") else { panic!("an address manager") };
    assert_eq!(addrman.new[&255].entries[&52].address, "44.20.30.44");
    assert_eq!(addrman.tried[&48].entries[&26].address, "11.20.30.41");

    let mut odd = recorded("getrawaddrman");
    let entry = odd["tried"]["48/26"].clone();
    for key in ["256/1", "1/64", "1", "x/1", "1/2/3", "-1/2"] {
        odd["tried"][key] = entry.clone();
    }
    let decoded = decode_value("getrawaddrman", json!([]), &odd).expect("an event");
    assert_eq!((decoded.event, decoded.oddities.count()), (RpcEvent::Addrman(addrman), 6));
}

#[test]
fn the_bytes_of_an_orphans_ids_are_in_the_order_of_the_wire() {
    let RpcEvent::OrphanTxs(orphans) = check("getorphantxs") else { panic!("orphans") };
    let orphan = &orphans.orphans[0];
    assert!(orphan.txid.starts_with("b0be") && orphan.transaction.txid.ends_with(&[0xbe, 0xb0]));
    assert_eq!(orphan.transaction.wtxid.len(), 32);
}

#[test]
fn a_field_of_another_type_costs_itself_and_is_named() {
    let mut peers = recorded("getpeerinfo");
    peers[0]["bytessent"] = json!("many");
    peers[1]["bytessent"] = json!(-1);
    peers[1]["bytesrecv_per_msg"]["tx"] = json!(0.5);
    peers[1]["subver"] = json!(null);
    let decoded = decode_value("getpeerinfo", json!([]), &peers).expect("an event");
    let RpcEvent::PeerInfos(found) = decoded.event else { panic!("peers") };
    assert_eq!((found.infos.len(), found.infos[0].bytes_sent, found.infos[0].bytes_received), (2, 0, 1130));
    assert_eq!(found.infos[1].bytes_received_per_message.len(), 5);
    assert_eq!(
        decoded.oddities.named().collect::<Vec<_>>(),
        [
            "getpeerinfo[].bytesrecv_per_msg.*: found a fraction, expected a whole number from 0",
            "getpeerinfo[].bytessent: found a negative number, expected a whole number from 0",
            "getpeerinfo[].bytessent: found a string, expected a whole number from 0",
            "getpeerinfo[].subver: found nothing, expected a string",
        ]
    );
}

#[test]
fn a_peer_without_an_id_does_not_pass_for_peer_0() {
    let mut peers = recorded("getpeerinfo");
    peers[0]["id"] = json!("one");
    let decoded = decode_value("getpeerinfo", json!([]), &peers).expect("an event");
    let RpcEvent::PeerInfos(found) = decoded.event else { panic!("peers") };
    assert_eq!((found.infos.len(), found.infos[0].id, decoded.oddities.count()), (1, 2, 1));
}

#[test]
fn an_answer_that_lacks_what_it_is_about_is_refused() {
    for method in &METHODS {
        for wrong in [json!(null), json!("text"), json!(-1), json!({}), json!([[]]), json!({"blocks": "1"})] {
            let decoded = decode_value(method.name, json!([]), &wrong);
            // A list of what cannot be read is an empty list, and the element is counted.
            let is_left_out = decoded.as_ref().is_ok_and(|decoded| decoded.oddities.count() > 0);
            assert!(decoded.is_err() || is_left_out, "{}: {wrong} gave {decoded:?}", method.name);
        }
    }
    let error = decode_value("getblockchaininfo", json!([]), &json!([])).expect_err("refused");
    assert_eq!(error.to_string(), "getblockchaininfo: found a list, expected an object");
}

/// Any JSON at all.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z/0-9]{0,6}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Puts `with` in the place of the value that a walk meets as number `at`; returns how many are left to meet.
fn replace(value: &mut Value, at: usize, with: &Value) -> Option<usize> {
    if at == 0 {
        *value = with.clone();
        return None;
    }
    let inner: Vec<&mut Value> = match value {
        Value::Array(elements) => elements.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => Vec::new(),
    };
    let mut left = at - 1;
    for value in inner {
        left = replace(value, left, with)?;
    }
    Some(left)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_json_makes_decoding_panic(value in any_json(), number in 0..METHODS.len()) {
        let _ = decode_value(METHODS[number].name, json!([]), &value);
    }

    /// Replacing one value in a good answer is noticed or harmless, and at most the answer is refused.
    #[test]
    fn no_changed_value_makes_decoding_panic(
        value in any_json(),
        number in 0..METHODS.len(),
        at in 0..400usize,
    ) {
        let mut answer = recorded(METHODS[number].name);
        let is_changed = replace(&mut answer, at, &value).is_none();
        let decoded = decode_value(METHODS[number].name, json!([]), &answer);
        prop_assert!(is_changed || decoded.is_ok_and(|decoded| decoded.oddities.count() == 0));
    }

    #[test]
    fn no_changed_text_makes_decoding_panic(
        number in 0..METHODS.len(),
        at in 0..5000usize,
        byte in any::<u8>(),
    ) {
        let mut text = recorded(METHODS[number].name).to_string().into_bytes();
        let at = at % text.len();
        text[at] = byte;
        if let Some(result) = String::from_utf8(text).ok().as_deref().and_then(raw) {
            let _ = decode(&METHODS[number], &json!([]), &result);
        }
    }
}
