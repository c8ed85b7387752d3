//! What is wrong with a receiver is told before anything is sent.

mod common;

use common::receiver;
use serde_json::{Value, json};

#[track_caller]
fn check(config: Value, part: &str) {
    let error = receiver(config).err().expect("it is wrong");
    assert!(error.contains(part), "{error}: expected {part}");
}

#[test]
fn errors_name_the_receiver_and_what_would_be_right() {
    let hook = json!({"url": "http://127.0.0.1/"});
    let exactly_one = "receiver \"ops\": expected exactly one of";
    check(json!({"name": "ops"}), exactly_one);
    check(json!({"name": "ops", "webhook": hook, "alertmanager": {"urls": ["http://a/"]}}), exactly_one);
    check(json!({"name": " ", "webhook": hook}), "expected name");
    check(
        json!({"name": "ops", "webhook": hook, "time_zone": "Mars/Olympus"}),
        "time_zone is \"Mars/Olympus\"",
    );
    let limit = json!({"notifications": 0, "per": "1h"});
    check(json!({"name": "ops", "webhook": hook, "rate_limit": limit}), "rate_limit allows nothing");
    let templates = json!({"text": "a\n{{ nobody }}"});
    check(
        json!({"name": "ops", "webhook": hook, "templates": templates}),
        "receiver \"ops\": templates: text: ",
    );
    check(json!({"name": "ops", "webhook": hook, "redact": "all"}), "addresses_and_nodes");
    check(json!({"name": "ops", "webhook": hook, "color": 1}), "color");
}
