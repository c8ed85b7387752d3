//! Alerts reach Debian's own Alertmanager and leave it again.

// Tests have clocks, files and processes.
#![allow(clippy::disallowed_methods)]

mod common;

use std::time::Duration;

use common::{Server, delivery, firing, map, notification, notifier, receiver, resolved};
use serde_json::{Value, json};
use tocsin_notifiers::Failure;
use tocsin_proto::pb::notification::{Alert, Notification, Reason};
use tocsin_testing::{Alertmanager, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

/// What dispatch computes for these labels, and Alertmanager must compute, too: FNV-1a over names and values.
fn fingerprint(alert: &Alert) -> String {
    let bytes = alert.labels.iter().flat_map(|(name, value)| {
        name.bytes().chain([0xff]).chain(value.bytes()).chain([0xff]).collect::<Vec<u8>>()
    });
    let hash = bytes.fold(14_695_981_039_346_656_037_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(1_099_511_628_211)
    });
    format!("{hash:016x}")
}

/// The alert since `seconds_ago` on the machine's clock, which Alertmanager reads.
fn recent(alert: Alert, seconds_ago: i64) -> Alert {
    let now_ms = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_millis() as i64;
    let ends_at = if alert.ends_at == 0 { 0 } else { now_ms - 1000 };
    Alert { starts_at: now_ms - seconds_ago * 1000, ends_at, fingerprint: fingerprint(&alert), ..alert }
}

fn tell(url: &str, notification: &Notification) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let notifier = notifier("alertmanager", json!({"urls": [url]}));
    let told = runtime.block_on(notifier.notify(&delivery(notification.clone())));
    told.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn an_alert_appears_with_our_fingerprint_and_resolves() {
    let server = Alertmanager::start();
    let first = recent(firing(), 600);
    let fires = notification(Reason::FirstNotification, vec![first.clone()]);
    tell(&server.url(), &fires);
    let alerts =
        eventually(PATIENCE, "the alert", || Some(server.alerts()).filter(|alerts| !alerts.is_empty()));
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0]["fingerprint"], first.fingerprint);
    assert_eq!(alerts[0]["labels"], json!(first.labels));
    assert_eq!(alerts[0]["annotations"], json!(first.annotations));
    assert_eq!(alerts[0]["status"]["state"], "active");
    assert_eq!(alerts[0]["generatorURL"], "https://tocsin.example/");

    // A repeat, as after a crash, changes nothing but the end.
    tell(&server.url(), &fires);
    let again = server.alerts();
    assert_eq!(again.len(), 1);
    assert_eq!(
        (&again[0]["fingerprint"], &again[0]["startsAt"]),
        (&alerts[0]["fingerprint"], &alerts[0]["startsAt"])
    );

    let over = notification(Reason::AllResolved, vec![recent(resolved(), 600)]);
    tell(&server.url(), &over);
    eventually(PATIENCE, "the alert to be gone", || server.alerts().is_empty().then_some(()));
    tell(&server.url(), &over);
    assert_eq!(server.alerts(), Vec::<Value>::new(), "a repeated end is no news");
}

#[test]
fn odd_alerts_do_not_make_it_refuse_the_others() {
    let server = Alertmanager::start();
    let mut clock_ahead = recent(firing(), -7200);
    clock_ahead.labels = map(&[("alertname", "tip_stalled"), ("node", "ahead")]);
    let mut ended_before = recent(resolved(), 10);
    ended_before.ends_at = ended_before.starts_at - 5000;
    let mut empty_value = recent(firing(), 10);
    empty_value.labels = map(&[("alertname", "empty"), ("node", "")]);
    let alerts = vec![clock_ahead, ended_before, empty_value];
    let told = Notification { external_url: "no url".to_string(), ..notification(Reason::NewAlerts, alerts) };
    tell(&server.url(), &told);
    let names: Vec<Value> =
        eventually(PATIENCE, "two alerts", || Some(server.alerts()).filter(|alerts| alerts.len() == 2))
            .iter()
            .map(|alert| alert["labels"]["alertname"].clone())
            .collect();
    assert!(names.contains(&json!("tip_stalled")) && names.contains(&json!("empty")), "{names:?}");
}

#[test]
fn trouble_of_the_program_itself_becomes_an_alert() {
    let server = Alertmanager::start();
    let trouble = Notification {
        reason_text: "the store is full".to_string(),
        decided_at: recent(firing(), 0).starts_at,
        ..notification(Reason::Emergency, Vec::new())
    };
    tell(&server.url(), &trouble);
    let alerts =
        eventually(PATIENCE, "the alert", || Some(server.alerts()).filter(|alerts| !alerts.is_empty()));
    assert_eq!(alerts[0]["labels"], json!({"alertname": "tocsin_emergency", "severity": "critical"}));
    assert_eq!(alerts[0]["annotations"]["summary"], "the store is full");
}

#[tokio::test]
async fn a_firing_alert_lasts_as_long_as_the_table_says() {
    let server = Server::answering(200).await;
    let notifier =
        notifier("alertmanager", json!({"urls": [format!("{}/prefix/", server.url)], "lasting": "48h"}));
    let before = jiff::Timestamp::now();
    notifier.notify(&delivery(notification(Reason::NewAlerts, vec![firing()]))).await.expect("it is taken");
    let received = server.only();
    assert_eq!(received.path, "/prefix/api/v2/alerts");
    let ends_at: jiff::Timestamp =
        received.json()[0]["endsAt"].as_str().expect("a text").parse().expect("a time");
    let lasting_s = ends_at.duration_since(before).as_secs();
    assert!((48 * 3600 - 1..48 * 3600 + 300).contains(&lasting_s), "{lasting_s}");
}

#[tokio::test]
async fn one_of_several_that_takes_it_is_enough() {
    let (good, broken) = (Server::answering(200).await, Server::answering(500).await);
    let told = delivery(notification(Reason::NewAlerts, vec![firing()]));
    let both = notifier("alertmanager", json!({"urls": [broken.url, good.url]}));
    both.notify(&told).await.expect("one takes it");
    assert_eq!((good.received().len(), broken.received().len()), (1, 1), "each is told");

    let refusing = Server::answering(400).await;
    let neither = notifier("alertmanager", json!({"urls": [refusing.url, broken.url]}));
    let error = neither.notify(&told).await.expect_err("none takes it");
    assert_eq!((error.failure, error.can_retry), (Failure::ServerError, true), "one may recover");
    assert!(error.text.contains("400") && error.text.contains("500"), "{error}");
    let refused = notifier("alertmanager", json!({"urls": [refusing.url]}));
    let error = refused.notify(&told).await.expect_err("it is refused");
    assert_eq!((error.failure, error.can_retry), (Failure::ClientError, false));
}

#[test]
fn what_is_wrong_with_a_table_is_told() {
    for (config, part) in [
        (json!({"urls": []}), "urls is empty"),
        (json!({"urls": ["a:9093"]}), "alertmanager: url"),
        (json!({"urls": ["http://a:9093"], "lasting": "5s"}), "lasting is 5 s"),
    ] {
        let error = receiver(json!({"name": "ops", "alertmanager": config})).err().expect("it is wrong");
        assert!(error.contains(part), "{error}: expected {part}");
    }
}
