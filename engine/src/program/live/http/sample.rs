//! A status with something in every field, for the tests.

use std::sync::Arc;

use tocsin_engine::alerts::State;
use tocsin_engine::dispatch::alert::Fingerprint;
use tocsin_engine::dispatch::matcher::Matcher;
use tocsin_engine::dispatch::silence::{Silence, SilenceDraft};
use tocsin_engine::dispatch::view::{Acknowledgement, AlertView, GroupView, View};
use tocsin_engine::engine::{AlertReport, NodeReport, RuleHealth, RuleReport};
use tocsin_engine::rules::header::Header;
use tocsin_engine::rules::{Severity, Status as RuleStatus};
use tocsin_engine::time::Timestamp;
use tocsin_engine::timeline::AlertKey;
use tocsin_engine::windows::Reading;
use tocsin_engine::windows::key::{Key, KeyPart};
use tocsin_notifiers::Failure;
use tocsin_proto::pb::notification::Reason;

use super::super::dispatch::status::*;
use super::super::status::*;

/// An address that belongs into the API and on the page, and never into a metric.
pub const ADDRESS: &str = "203.0.113.7:8333";
/// A name that would break out of a label, a JSON string or a page that is not careful.
pub const HOSTILE: &str = "ev\"il\\</td>\n<script>alert(1)</script>{x=\"";
/// When the first of the two alerts of `addr_flood` on `hal` began.
pub const FIRST_MS: i64 = 1_795_229_900_000;

/// The status at an instant.
pub fn status(at_ms: u64) -> Status {
    Status {
        at_ms,
        started_at_ms: at_ms - 3_600_000,
        is_ready: true,
        nodes: vec![node("hal", at_ms), node(HOSTILE, at_ms)],
        rules: vec![
            rule("addr_flood", "rules/peers/addr_flood.rhai", 120, 0),
            rule("idle", "rules/node/idle.rhai", 0, 0),
            rule("tip_stalled", "rules/chain/tip_stalled.rhai", 7, 1),
        ],
        alerts: Arc::new(vec![
            alert("addr_flood", "hal", State::Firing, FIRST_MS + 5_000),
            alert("addr_flood", "hal", State::Pending, FIRST_MS),
            alert("tip_stalled", HOSTILE, State::Pending, FIRST_MS),
        ]),
        extractors: [
            (("hal".to_string(), "rpc".to_string()), extractor(true, at_ms)),
            ((HOSTILE.to_string(), "p2p".to_string()), extractor(false, at_ms)),
        ]
        .into(),
        sources: vec![SourceStatus {
            name: "fleet".into(),
            is_connected: true,
            messages: 900,
            disconnects: 1,
            slow_consumer: 2,
        }],
        lost: [(("hal".to_string(), "rpc".to_string()), 5)].into(),
        undecodable: [("hal".to_string(), 6)].into(),
        queued: 17,
        recording: Some(RecordingStatus {
            file: "/var/lib/tocsin/recording/1.bin.zst".into(),
            events: 1000,
            bytes: 50_000,
            kept: (3, 150_000),
            failed: 1,
            last_error: Some("disk full".into()),
        }),
        checkpoint: Some(CheckpointStatus { at_ms: at_ms - 10_000, bytes: 70_000, seconds: 0.25, failed: 1 }),
        load_errors: vec!["rules/peers/new.rhai:3:5: RULE.evry: unknown key <b>".into()],
        reload: Some(ReloadStatus { at_ms: at_ms - 60_000, is_ok: false }),
        reloads: (4, 1),
    }
}

fn node(name: &str, at_ms: u64) -> NodeStatus {
    let report = NodeReport {
        name: name.into(),
        events: vec![("message", 800), ("peer_infos", 20)],
        late: 3,
        implausible: 1,
        clock_steps: 1,
        undecodable: 2,
        evicted: 4,
        skew_ms: -250,
    };
    NodeStatus { report, last_event_ms: at_ms - 500, lag_ms: 1500 }
}

fn rule(name: &str, file: &str, evaluations: u64, failures: u64) -> RuleEntry {
    let health = RuleHealth {
        evaluations,
        script_calls: evaluations / 2,
        findings: evaluations / 4,
        inhibited: 1,
        crowded_out: 2,
        failures,
        skipped: 0,
        last_error: (failures > 0).then(|| "line 3: w.rate is nothing".to_string()),
    };
    let header = Header {
        title: format!("The condition of {name}."),
        why: "It fills addrman.".into(),
        false_positives: "A getaddr.".into(),
        remedy: "Disconnect the peer.".into(),
        references: String::new(),
    };
    RuleEntry {
        report: RuleReport { name: name.into(), health, firing: 0 },
        file: file.into(),
        severity: Severity::Warning,
        status: RuleStatus::Stable,
        header,
        every_s: 5.0,
        for_s: 60.0,
        keep_firing_for_s: 300.0,
        last_evaluated_ms: 0,
        last_failed_ms: 0,
    }
}

fn alert(rule: &str, node: &str, state: State, since_ms: i64) -> AlertReport {
    let since = Timestamp::from_unix_ms(since_ms);
    AlertReport {
        rule: rule.into(),
        series: None,
        node: node.into(),
        key: AlertKey {
            names: vec!["address".to_string(), "peer.id".to_string()].into(),
            key: Key(Box::new([KeyPart::Bytes(ADDRESS.as_bytes().into()), KeyPart::Int(since_ms % 10_000)])),
        },
        severity: Severity::Warning,
        state,
        since,
        fired_at: (state == State::Firing).then_some(since),
        last_finding_at: since.plus_ms(5_000),
        value: Reading::Int(2000),
        limit: Reading::Float(60.5),
        summary: format!("{ADDRESS} sent <img src=x onerror=alert(1)>"),
        evidence: Default::default(),
    }
}

fn extractor(is_up: bool, at_ms: u64) -> ExtractorState {
    ExtractorState {
        is_up,
        detail: "/Satoshi:31.0.0(<b>)/".into(),
        events: 400,
        errors: 2,
        lost: 1,
        reconnects: 3,
        last_error: Some("connection refused".into()),
        since_ms: at_ms - 100_000,
        reported_ms: at_ms - 2_000,
    }
}

/// The id of the silence, and of a notification that was given up.
pub const SILENCE: &str = "0b1e5c1e-6a0f-4c59-9d3b-0b1e5c1e6a0f";
pub const DEAD: &str = "00112233445566778899aabbccddeeff";

/// Dispatch at an instant: the alerts of [`status`], the first acknowledged, the second silenced, the third inhibited.
pub fn dispatch(at_ms: u64) -> DispatchStatus {
    let at = Timestamp::from_unix_ms(at_ms as i64);
    let reports = status(at_ms).alerts;
    let mut alerts: Vec<AlertView> = reports.iter().map(|report| alert_view(report, at)).collect();
    let third = alerts[2].fingerprint;
    alerts[0].acknowledgement =
        Some(Acknowledgement { by: "alice".into(), comment: "on <b>it</b>".into(), at: at.plus_ms(-60_000) });
    alerts[1].silenced_by.push(SILENCE.into());
    alerts[1].inhibited_by.push(third);
    alerts[1].is_flapping = true;
    alerts.sort_by_key(|alert| alert.fingerprint);
    let group = GroupView {
        key: "{}:{alertname=\"addr_flood\"}".into(),
        labels: [("alertname".to_string(), "addr_flood".to_string())].into(),
        receiver: "ops".into(),
        alerts: alerts.iter().map(|alert| alert.fingerprint).collect(),
        next_flush_at: at.plus_ms(30_000),
        told_at: None,
    };
    let draft = SilenceDraft {
        matchers: vec![Matcher::parse("node=\"hal\"").expect("a matcher")],
        starts_at: at.plus_ms(-3_600_000),
        ends_at: at.plus_ms(3_600_000),
        created_by: "alice".into(),
        comment: "work on <b>hal</b>".into(),
    };
    DispatchStatus {
        view: View {
            at,
            alerts,
            groups: vec![group],
            silences: vec![Silence { id: SILENCE.into(), draft, updated_at: at.plus_ms(-3_600_000) }],
            receivers: vec!["ops".into(), "<b>\"desk".into()],
        },
        receivers: vec![receiver("ops", "matrix", at_ms), receiver("<b>\"desk", "email", at_ms)],
        store: StoreStatus {
            commits: 40,
            failed: 1,
            error: Some("database or disk is full".into()),
            bytes: 65_536,
            damage: None,
        },
        suppressed: [("silenced", 3)].into(),
    }
}

fn alert_view(report: &AlertReport, at: Timestamp) -> AlertView {
    let labels = super::api::labels(report, RuleStatus::Stable);
    AlertView {
        fingerprint: Fingerprint::of(&labels),
        labels,
        annotations: [("summary".to_string(), report.summary.clone())].into(),
        starts_at: report.since,
        updated_at: at,
        ends_at: None,
        value: Some(2000.0),
        limit: Some(60.5),
        evidence: Default::default(),
        receivers: vec!["ops".into()],
        silenced_by: Vec::new(),
        inhibited_by: Vec::new(),
        muted_by: Vec::new(),
        acknowledgement: None,
        is_flapping: false,
    }
}

fn receiver(name: &str, integration: &'static str, at_ms: u64) -> ReceiverStatus {
    ReceiverStatus {
        name: name.into(),
        integration,
        pending: 2,
        dead: 1,
        decided: 10,
        delivered: 7,
        attempts: 12,
        failed: [(Failure::Timeout, 5)].into(),
        delay_s: 3.5,
        broken_until_ms: Some(at_ms + 60_000),
        last_error: Some("POST https://hooks.example/: timed out".into()),
        delivered_at_ms: Some(at_ms - 5_000),
    }
}

/// What was told, newest first.
pub fn notifications(at_ms: u64) -> Vec<NotificationRecord> {
    let at_ms = at_ms as i64;
    let record = |id: &str, state| NotificationRecord {
        id: id.into(),
        receiver: "ops".into(),
        group_key: "{}:{alertname=\"addr_flood\"}".into(),
        reason: Reason::FirstNotification,
        reason_text: "first notification of <i>the group</i>".into(),
        decided_at_ms: at_ms - 20_000,
        state,
        attempts: 3,
        last_error: Some("503 Service Unavailable".into()),
    };
    vec![
        record("ffeeddccbbaa99887766554433221100", NotificationState::Pending { next_attempt_at_ms: at_ms }),
        record("0123456789abcdef0123456789abcdef", NotificationState::Delivered { at_ms: at_ms - 9_000 }),
        record(DEAD, NotificationState::Dead { at_ms: at_ms - 8_000 }),
    ]
}
