//! A made-up notification that shows everything a real one can have.

use ring::digest::{SHA256, digest};
use tocsin_engine::dispatch::alert::{Fingerprint, Labels};
use tocsin_proto::pb::notification::{Alert, Evidence, Notification, Point, Reason, Status};

/// Points of the evidence, and the time between two: ten minutes in all.
const POINTS: i64 = 60;
const POINT_MS: i64 = 10_000;
/// The made-up limit.
const LIMIT: f64 = 1000.0;

/// The notification at an instant in unix ms. Addresses are of the range for documentation (RFC 5737).
pub fn notification(receiver: &str, now_ms: i64) -> Notification {
    let labels: Labels = [
        ("alertname", "test"),
        ("node", "test"),
        ("severity", "info"),
        ("status", "stable"),
        ("address", "203.0.113.7:8333"),
    ]
    .map(|(name, value)| (name.to_string(), value.to_string()))
    .into();
    let annotations: Labels = [
        ("summary", "This is a test: 203.0.113.7:8333 sent 1743 addresses in 10 min, up to 1000 are normal"),
        ("why", "Somebody asked for it with `tocsin notify test`."),
        ("false_positives", "It always is one: nothing is wrong."),
        (
            "runbook",
            "Nothing. Look whether text and plot are what you expect, on the device that will show them.",
        ),
    ]
    .map(|(name, value)| (name.to_string(), value.to_string()))
    .into();
    let id: String = digest(&SHA256, format!("{receiver} {now_ms}").as_bytes()).as_ref()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let alert = Alert {
        fingerprint: Fingerprint::of(&labels).to_string(),
        status: Status::Firing.into(),
        labels: labels.clone().into_iter().collect(),
        annotations: annotations.clone().into_iter().collect(),
        starts_at: now_ms - 60_000,
        ends_at: 0,
        value: Some(1743.0),
        limit: Some(LIMIT),
        evidence: Some(evidence(now_ms)),
        acknowledged_by: String::new(),
        flapping: false,
    };
    Notification {
        thread: id.clone(),
        id,
        decided_at: now_ms,
        receiver: receiver.to_string(),
        group_key: "{}:{alertname=\"test\"}".to_string(),
        reason: Reason::Test.into(),
        reason_text: "asked for with tocsin notify test".to_string(),
        group_labels: [("alertname".to_string(), "test".to_string())].into(),
        common_labels: labels.into_iter().collect(),
        common_annotations: annotations.into_iter().collect(),
        alerts: vec![alert],
        truncated_alerts: 0,
        number: 1,
        external_url: String::new(),
    }
}

/// Quiet at first, and then a flood that passes the limit a minute ago.
fn evidence(now_ms: i64) -> Evidence {
    let point = |place: i64| {
        let flood = (place - 45).max(0) as f64 * 122.0;
        let value = 20.0 + (place % 7) as f64 * 5.0 + flood;
        Point { at: now_ms - (POINTS - 1 - place) * POINT_MS, value, limit: Some(LIMIT) }
    };
    Evidence {
        quantity: "sum of message.addresses over 10m".to_string(),
        unit: "addresses".to_string(),
        points: (0..POINTS).map(point).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_passes_its_limit_when_it_fires() {
        let sample = notification("ops", 1_795_229_905_000);
        assert_eq!((sample.id.len(), sample.reason()), (32, Reason::Test));
        let alert = &sample.alerts[0];
        let points = &alert.evidence.as_ref().expect("evidence").points;
        let first = points.iter().find(|point| point.value > LIMIT).expect("one over the limit");
        assert!((first.at - alert.starts_at).abs() <= POINT_MS, "{} {}", first.at, alert.starts_at);
        let last = points.last().expect("some");
        assert_eq!((last.at, Some(last.value)), (1_795_229_905_000, alert.value));
    }
}
