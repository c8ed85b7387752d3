//! Who may change what, and what the calls of our own do.

use serde_json::Value;

use super::super::sample;
use super::clerk::GONE;
use super::{Served, TOKEN, now_ms};

const WRITES: [(&str, &str); 6] = [
    ("POST", "/api/v2/silences"),
    ("DELETE", "/api/v2/silence/0b1e5c1e-6a0f-4c59-9d3b-0b1e5c1e6a0f"),
    ("POST", "/api/tocsin/v1/alerts/0123456789abcdef/acknowledge"),
    ("POST", "/api/tocsin/v1/alerts/0123456789abcdef/unacknowledge"),
    ("POST", "/api/tocsin/v1/notifications/00112233445566778899aabbccddeeff/resend"),
    ("POST", "/api/v2/alerts"),
];

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// The fingerprint of the alert that is acknowledged.
fn acknowledged() -> String {
    let dispatch = sample::dispatch(now_ms());
    let found = dispatch.view.alerts.iter().find(|alert| alert.acknowledgement.is_some());
    found.expect("one of the sample").fingerprint.to_string()
}

#[test]
fn without_a_configured_token_every_write_is_refused() {
    let served = Served::start(sample::status(now_ms()));
    for (method, path) in WRITES {
        let (code, body) = served.send(method, path, &bearer(TOKEN), "{}");
        assert_eq!(code, 403, "{method} {path}");
        assert!(body.contains("token_file in [http]"), "{body}");
    }
}

#[test]
fn a_wrong_or_missing_token_is_refused() {
    let served = Served::start_all();
    for (method, path) in WRITES {
        for (head, expected) in [
            (String::new(), "a token is missing"),
            (bearer("wrong"), "the token is wrong"),
            (bearer(""), "a token is missing"),
            (format!("Authorization: Basic {TOKEN}\r\n"), "a token is missing"),
        ] {
            let (code, body) = served.send(method, path, &head, "{}");
            assert_eq!(code, 401, "{method} {path} {head}");
            assert!(body.contains(expected) && !body.contains(TOKEN), "{body}");
        }
    }
    let silences = served.json("/api/v2/silences");
    assert_eq!(silences.as_array().map(Vec::len), Some(1));
}

#[test]
fn a_changed_token_counts_at_once_and_an_unreadable_one_lets_nobody_in() {
    let served = Served::start_all();
    let file = served.folder.path().join("token");
    let resend = |token: &str| {
        served.send(
            "POST",
            &format!("/api/tocsin/v1/notifications/{}/resend", sample::DEAD),
            &bearer(token),
            "",
        )
    };
    assert_eq!(resend(TOKEN).0, 200);
    std::fs::write(&file, "another").expect("writable");
    assert_eq!((resend(TOKEN).0, resend("another").0), (401, 200));
    for broken in ["", " \n"] {
        std::fs::write(&file, broken).expect("writable");
        assert_eq!((resend("").0, resend("another").0), (403, 403));
    }
    std::fs::remove_file(&file).expect("it is there");
    let (code, body) = resend("another");
    assert_eq!(code, 403);
    assert!(!body.contains(&file.display().to_string()), "{body}");
}

#[test]
fn bodies_are_bounded() {
    let served = Served::start_all();
    let body = " ".repeat(70_000);
    let (code, _) = served.send("POST", "/api/v2/silences", &bearer(TOKEN), &body);
    assert_eq!(code, 413);
    let path = format!("/api/tocsin/v1/alerts/{}/acknowledge", acknowledged());
    assert_eq!(served.send("POST", &path, &bearer(TOKEN), &body).0, 413);
}

#[test]
fn alerts_come_from_rules_alone() {
    let served = Served::start_all();
    let (code, body) = served.send("POST", "/api/v2/alerts", &bearer(TOKEN), "[]");
    assert_eq!(code, 501);
    assert!(body.contains("rules"), "{body}");
}

#[test]
fn an_alert_is_acknowledged_and_that_is_taken_back() {
    let served = Served::start_all();
    let id = acknowledged();
    let acknowledgement = || {
        let alerts = served.json("/api/tocsin/v1/alerts");
        let alerts = alerts.as_array().expect("a list");
        let found = alerts.iter().find(|alert| alert["fingerprint"] == id).expect("the alert");
        found["acknowledgement"].clone()
    };
    assert_eq!(acknowledgement()["by"], "alice");
    let post = |call: &str, body: &str| {
        served.send("POST", &format!("/api/tocsin/v1/alerts/{id}/{call}"), &bearer(TOKEN), body)
    };
    assert_eq!(post("unacknowledge", r#"{"by":"bob"}"#).0, 200);
    assert_eq!(acknowledgement(), Value::Null);
    assert_eq!(post("acknowledge", r#"{"by":"bob","comment":"mine"}"#).0, 200);
    assert_eq!(acknowledgement()["by"], "bob");
    assert_eq!(acknowledgement()["comment"], "mine");
    assert_eq!(post("acknowledge", "{}").0, 400);
    let unknown = "/api/tocsin/v1/alerts/0123456789abcdef/acknowledge";
    let (code, body) = served.send("POST", unknown, &bearer(TOKEN), r#"{"by":"bob"}"#);
    assert_eq!((code, body.contains("no alert")), (400, true), "{body}");
}

#[test]
fn an_alert_tells_its_story() {
    let served = Served::start_all();
    let story = served.json(&format!("/api/tocsin/v1/alerts/{}/explain", acknowledged()));
    assert_eq!(story["alert"]["labels"]["alertname"], "addr_flood");
    assert_eq!(story["decisions"][0]["kind"], "fired");
    assert_eq!(story["decisions"][1]["receiver"], "ops");
    assert_eq!(story["notifications"][1]["state"], "dead");
    assert_eq!(served.get("/api/tocsin/v1/alerts/0123456789abcdef/explain").0, 404);
    let (code, _, body) = served.get("/api/tocsin/v1/alerts/0123/explain");
    assert_eq!(code, 404);
    assert!(body.contains("there is no alert 0123..., expected"), "{body}");
    let (code, _, body) = served.get("/api/tocsin/v1/alerts/012/explain");
    assert_eq!(code, 400);
    assert!(body.contains("expected 4 to 16 hex digits"), "{body}");
}

#[test]
fn the_beginning_of_an_id_finds_alerts_that_fire_and_those_that_do_no_more() {
    let served = Served::start_all();
    let gone = served.json("/api/tocsin/v1/alerts/DEFE/explain");
    assert_eq!(gone["fingerprint"], GONE.to_string());
    assert_eq!((&gone["alert"], &gone["labels"]["alertname"]), (&Value::Null, &"gone".into()));
    let firing = acknowledged();
    let story = served.json(&format!("/api/tocsin/v1/alerts/{}/explain", &firing[..8]));
    assert_eq!(story["fingerprint"], firing);
    assert_eq!(story["labels"], story["alert"]["labels"]);
}

#[test]
fn notifications_are_listed_and_sent_again() {
    let served = Served::start_all();
    let count = |query: &str| {
        let answer = served.json(&format!("/api/tocsin/v1/notifications?{query}"));
        answer.as_array().expect("a list").len()
    };
    assert_eq!((count(""), count("only_dead=true"), count("limit=2")), (3, 1, 2));
    assert_eq!(served.get("/api/tocsin/v1/notifications?limit=0").0, 400);
    let resend = |id: &str| {
        served.send("POST", &format!("/api/tocsin/v1/notifications/{id}/resend"), &bearer(TOKEN), "").0
    };
    assert_eq!((resend(sample::DEAD), resend("0123456789abcdef0123456789abcdef")), (200, 400));
    let receivers = served.json("/api/tocsin/v1/receivers");
    assert_eq!((&receivers[0]["name"], &receivers[0]["dead"]), (&"ops".into(), &1.into()));
    assert_eq!(receivers[0]["failed"]["timeout"], 5);
}

#[test]
fn without_dispatch_there_is_nothing_to_read() {
    let served = Served::start(sample::status(now_ms()));
    for path in ["alerts", "silences", "receivers", "alerts/groups"] {
        assert_eq!(served.json(&format!("/api/v2/{path}")), Value::Array(Vec::new()), "{path}");
    }
    let (code, _, body) = served.get("/api/tocsin/v1/receivers");
    assert_eq!(code, 503);
    assert!(body.contains("[[receiver]]"), "{body}");
}

#[test]
fn odd_requests_are_refused_and_break_nothing() {
    let served = Served::start_all();
    let long = "f".repeat(5_000);
    for path in [
        "/api/v2/silence/%00",
        "/api/v2/silence/..%2f..%2fetc",
        "/api/v2/silence/%ff%fe",
        &format!("/api/v2/silence/{long}"),
        "/api/tocsin/v1/alerts/%ff/explain",
        &format!("/api/tocsin/v1/alerts/{long}/explain"),
        "/api/tocsin/v1/alerts/%2b123456789abcde/explain",
        "/api/tocsin/v1/notifications?only_dead=perhaps",
        "/api/tocsin/v1/notifications?limit=99999999999999999999999",
        "/api/v2/alerts?filter=%ff%3d%ff%00%00{",
    ] {
        let (code, _, body) = served.get(path);
        assert!((400..500).contains(&code), "{path}: {code} {body}");
    }
    for body in ["", "null", "[]", "\"x\"", "{\"matchers\":null}", "[[[[[[[[[[[[[[", "\u{0}"] {
        let (code, said) = served.send("POST", "/api/v2/silences", &bearer(TOKEN), body);
        assert_eq!(code, 400, "{body:?}: {said}");
    }
    assert_eq!(served.json("/api/v2/silences").as_array().map(Vec::len), Some(1));
}
