//! Each route as a caller sees it.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::super::super::status::{Status, StatusBoard};
use super::super::metrics::{METRICS, render};
use super::super::{health, is_local_name, sample};
use super::{PATIENCE, Served, now_ms, request};

#[test]
fn every_metric_of_the_table_has_a_sample() {
    let page = render(&sample::status(now_ms()), Some(&sample::dispatch(now_ms())));
    let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), METRICS.len(), "a name is there twice");
    for name in names {
        let is_sample =
            |line: &str| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "));
        assert!(page.lines().any(is_sample), "{name} has no sample");
    }
}

#[test]
fn clients_of_alertmanager_find_the_version_of_its_api() {
    for dispatch in [None, Some(sample::dispatch(now_ms()))] {
        let page = render(&sample::status(now_ms()), dispatch.as_ref());
        let line = "alertmanager_build_info{version=\"0.25.0\"} 1";
        assert!(page.lines().any(|found| found == line), "{page}");
    }
    let status = Served::start_all().json("/api/v2/status");
    assert_eq!(status["versionInfo"]["version"], "0.25.0");
}

#[test]
fn losses_are_counted_from_nought() {
    let mut status = sample::status(now_ms());
    status.lost.clear();
    status.undecodable.clear();
    let page = render(&status, None);
    assert!(page.contains(r#"tocsin_events_lost_total{extractor="rpc",node="hal"} 0"#));
    assert!(page.contains(r#"tocsin_payloads_undecodable_total{node="hal"} 0"#));
    let page = render(&sample::status(now_ms()), Some(&sample::dispatch(now_ms())));
    assert!(page.contains(r#"tocsin_events_lost_total{extractor="rpc",node="hal"} 5"#));
    assert!(page.contains(r#"tocsin_payloads_undecodable_total{node="hal"} 6"#));
}

#[test]
fn no_metric_names_a_key() {
    let page = render(&sample::status(now_ms()), Some(&sample::dispatch(now_ms())));
    for secret in ["203.0.113.7", "address", "Satoshi", "onerror", "disk full", "evry"] {
        assert!(!page.contains(secret), "{secret} is in /metrics");
    }
}

#[test]
fn alerts_of_a_rule_and_node_are_one_series() {
    let page = render(&sample::status(now_ms()), Some(&sample::dispatch(now_ms())));
    let of_flood = |prefix: &str| -> Vec<String> {
        let lines = page.lines().filter(|line| line.starts_with(prefix) && line.contains("addr_flood"));
        lines.map(str::to_string).collect()
    };
    // One key fires and another, older one is pending: firing wins, the earlier instant counts.
    let labels = r#"alertname="addr_flood""#;
    let expected = format!(r#"ALERTS{{{labels},alertstate="firing",node="hal",severity="warning"}} 1"#);
    assert_eq!(of_flood("ALERTS{"), [expected]);
    let expected = format!(r#"ALERTS_FOR_STATE{{{labels},node="hal",severity="warning"}} 1795229900"#);
    assert_eq!(of_flood("ALERTS_FOR_STATE{"), [expected]);
    assert_eq!(of_flood("tocsin_alerts{").len(), 2);
    assert!(page.contains(r#"tocsin_rule_alerts{rule="idle",severity="warning",state="firing"} 0"#));
}

#[test]
fn rules_have_the_state_of_their_alerts_and_their_documentation() {
    let served = Served::start(sample::status(now_ms()));
    let groups = &served.json("/api/v1/rules")["data"]["groups"];
    let files: Vec<&Value> = groups.as_array().expect("a list").iter().map(|group| &group["file"]).collect();
    let expected = ["rules/chain/tip_stalled.rhai", "rules/node/idle.rhai", "rules/peers/addr_flood.rhai"];
    assert_eq!(files, expected);
    let rule = |group: usize| &groups[group]["rules"][0];
    assert_eq!([rule(0), rule(1), rule(2)].map(|rule| &rule["state"]), ["pending", "inactive", "firing"]);
    assert_eq!([rule(0), rule(1), rule(2)].map(|rule| &rule["health"]), ["err", "unknown", "ok"]);
    assert_eq!(rule(0)["lastError"], "line 3: w.rate is nothing");
    assert_eq!(rule(1)["lastEvaluation"], "0001-01-01T00:00:00Z");
    assert_eq!(rule(2)["annotations"]["runbook"], "Disconnect the peer.");
    assert_eq!(rule(2)["keepFiringFor"], 300.0);
    assert_eq!(groups[2]["name"], "peers");
    assert_eq!(groups[2]["interval"], 5.0);
    let alert = &rule(2)["alerts"][0];
    assert_eq!(alert["labels"]["address"], sample::ADDRESS);
    assert_eq!(alert["labels"]["alertname"], "addr_flood");
    assert_eq!(alert["activeAt"], "2026-11-21T02:58:25.000Z");
    assert_eq!(alert["value"], "2e+03");
}

#[test]
fn rules_can_be_asked_for_by_name_file_and_topic() {
    let served = Served::start(sample::status(now_ms()));
    let count = |query: &str| {
        let answer = served.json(&format!("/api/v1/rules?{query}"));
        answer["data"]["groups"].as_array().expect("a list").len()
    };
    assert_eq!(count("type=alert"), 3);
    assert_eq!(count("type=record"), 0);
    assert_eq!(count("rule_name[]=idle&rule_name%5B%5D=tip_stalled"), 2);
    assert_eq!(count("rule_group[]=peers"), 1);
    assert_eq!(count("file[]=rules/node/idle.rhai&rule_name[]=tip_stalled"), 0);
    let answer = served.json("/api/v1/rules?exclude_alerts=true&rule_name[]=addr_flood");
    let rule = &answer["data"]["groups"][0]["rules"][0];
    assert_eq!((&rule["state"], &rule["alerts"]), (&"firing".into(), &Value::Array(Vec::new())));
    let (code, _, body) = served.get("/api/v1/rules?type=all");
    assert_eq!(code, 400);
    assert!(body.contains("bad_data") && body.contains("expected alert or record"), "{body}");
}

#[test]
fn alerts_name_their_keys_and_survive_hostile_texts() {
    let served = Served::start(sample::status(now_ms()));
    let answer = served.json("/api/v1/alerts");
    let alerts = answer["data"]["alerts"].as_array().expect("a list");
    assert_eq!(alerts.len(), 3);
    assert_eq!(alerts[2]["labels"]["node"], sample::HOSTILE);
    assert_eq!(alerts[2]["labels"]["peer_id"], "0");
    assert_eq!(alerts[0]["annotations"]["limit"], "6.05e+01");
}

#[test]
fn the_page_shows_everything_and_runs_nothing() {
    let served = Served::start(sample::status(now_ms()));
    let (code, head, page) = served.get("/");
    assert_eq!(code, 200);
    assert!(head.contains("default-src 'none'") && head.contains("nosniff"), "{head}");
    for shown in
        ["1 firing", "addr_flood", sample::ADDRESS, "tip_stalled", "hal", "rpc", "disk full", "not loaded"]
    {
        assert!(page.contains(shown), "{shown} is not on the page");
    }
    for markup in ["<script", "<img", "<b>", "src=\"", "href"] {
        assert!(!page.contains(markup), "{markup} got onto the page");
    }
}

#[test]
fn a_flood_of_alerts_does_not_flood_the_page() {
    let mut status = sample::status(now_ms());
    let alert = status.alerts[0].clone();
    Arc::make_mut(&mut status.alerts).extend(std::iter::repeat_n(alert, 50_000));
    let served = Served::start(status);
    let (_, _, page) = served.get("/");
    assert!(page.len() < 200_000, "{} bytes", page.len());
    assert!(page.contains("and 49803 more"));
    assert!(served.json("/api/v1/alerts")["data"]["alerts"].as_array().expect("a list").len() == 50_003);
    assert!(served.get("/metrics").2.len() < 50_000);
}

#[test]
fn it_is_ready_when_the_status_says_so() {
    let served = Served::start(Status::default());
    assert_eq!(served.get("/-/ready").0, 503);
    assert_eq!(served.get("/-/healthy").0, 200);
    served.board.write(sample::status(now_ms()));
    assert_eq!(served.get("/-/ready").0, 200);
    assert_eq!(served.get("/-/healthy").0, 200);
    served.board.write(sample::status(now_ms() - 120_000));
    assert_eq!(served.get("/-/healthy").0, 503);
    assert_eq!(health(&sample::status(1_000_000_000), Duration::from_secs(1_000_050)), Ok(()));
}

#[test]
fn what_is_only_shown_cannot_be_written() {
    let served = Served::start(sample::status(now_ms()));
    let post = |path: &str| {
        let head = format!("POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}");
        request(served.port, &head).expect("an answer").0
    };
    assert_eq!(["/", "/metrics", "/api/v1/rules", "/api/v1/alerts"].map(post), [405; 4]);
}

#[test]
fn other_names_for_this_machine_are_refused() {
    let served = Served::start(sample::status(now_ms()));
    let ask = |host: &str| {
        let head = format!("GET /api/v1/alerts HTTP/1.0\r\nHost: {host}\r\n\r\n");
        request(served.port, &head).expect("an answer")
    };
    let (code, _, body) = ask("rebound.example:9464");
    assert_eq!(code, 403);
    assert!(!body.contains(sample::ADDRESS));
    assert_eq!(ask("localhost:9464").0, 200);
    let names = [
        "127.0.0.1",
        "[::1]:9464",
        "[::1]",
        "LOCALHOST",
        "localhost.evil.example",
        "127.0.0.1.evil.example:80",
        "",
    ];
    assert_eq!(names.map(is_local_name), [true, true, true, true, false, false, false]);
}

#[test]
fn shutdown_ends_it_even_if_a_caller_says_nothing() {
    let mut served = Served::start(sample::status(now_ms()));
    let mut silent = TcpStream::connect(("127.0.0.1", served.port)).expect("it listens");
    silent.write_all(b"GET /metrics HT").expect("it reads");
    assert_eq!(served.get("/-/ready").0, 200);
    served.shutdown.cancel();
    let serving = served.serving.take().expect("started");
    let ended = served.runtime.block_on(async { tokio::time::timeout(PATIENCE, serving).await });
    ended.expect("it ends").expect("without a panic");
}

#[test]
fn the_board_notes_when_rules_worked_and_failed() {
    let board = StatusBoard::default();
    let entry = |place: usize| {
        let rule = &board.read().rules[place];
        (rule.last_evaluated_ms, rule.last_failed_ms)
    };
    board.write(sample::status(10_000_000));
    assert_eq!([entry(0), entry(1), entry(2)], [(10_000_000, 0), (0, 0), (10_000_000, 10_000_000)]);
    let mut next = sample::status(10_001_000);
    next.rules[2].report.health.evaluations += 1;
    board.write(next);
    assert_eq!([entry(0), entry(1), entry(2)], [(10_000_000, 0), (0, 0), (10_001_000, 10_000_000)]);
}
