//! What the issue of a recording promises, seen from the command line: the rules named, and how soon.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{recording, replay, stdout};

const RULES: [&str; 13] = [
    "addr_flood",
    "chain_reorg",
    "connection_churn",
    "extractor_silent",
    "inbound_drop",
    "inv_flood",
    "node_restarted",
    "orphan_dos",
    "peer_misbehaving",
    "ping_backlog",
    "ping_spam",
    "tip_behind",
    "tip_stalled",
];

/// Replays a recording and checks that `rule` fires for each of `peers` (or without key) within 30 s of `start_ms`,
/// and that nothing fires but `rule` and `also`. What the generic rules say is in `expected.toml` and
/// `expected.anomaly.toml` of the recording.
#[track_caller]
fn check(name: &str, start_ms: i64, rule: &str, peers: &[i64], also: &[&str]) {
    let output = replay(&recording(name), &[]);
    assert!(output.status.success(), "{output:?}");
    let text = stdout(&output);
    let fired: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("one JSON object a line"))
        .filter(|change| change["state"] == "firing" && !is_generic(change))
        .collect();
    for change in &fired {
        let found = change["rule"].as_str().expect("a rule");
        assert!(RULES.contains(&found));
        assert!(found == rule || also.contains(&found), "{name}: {change}");
    }
    let own: Vec<&Value> = fired.iter().filter(|change| change["rule"] == rule).collect();
    for change in &own {
        let after_ms = change["at_ms"].as_i64().expect("a time") - start_ms;
        assert!(peers.len() > 3 || (0..30_000).contains(&after_ms), "{name}: fired after {after_ms} ms");
    }
    let keys: BTreeSet<i64> = own.iter().filter_map(|change| change["key"]["peer_id"].as_i64()).collect();
    assert_eq!(keys, peers.iter().copied().collect(), "{name}");
    assert!(!own.is_empty(), "{name}: {rule} did not fire");
}

fn is_generic(change: &Value) -> bool {
    ["anomaly_", "fleet_"].iter().any(|file| change["rule"].as_str().expect("a rule").starts_with(file))
}

#[test]
fn addr_flood_names_its_four_peers_within_half_a_minute() {
    let output = replay(&recording("incidents/addr_flood"), &[]);
    for line in stdout(&output).lines() {
        let change: Value = serde_json::from_str(line).expect("JSON");
        let after_ms = change["at_ms"].as_i64().expect("a time") - 1_795_229_898_758;
        assert!(is_generic(&change) || after_ms < 30_000, "{line}");
    }
    check("incidents/addr_flood", 1_795_229_898_758, "addr_flood", &[45, 46, 47, 48], &[]);
}

#[test]
fn each_attack_is_named_and_nothing_else() {
    check("incidents/connection_churn", 1_795_229_914_297, "connection_churn", &[], &[]);
    check("incidents/inbound_drop", 1_795_229_898_150, "inbound_drop", &[], &[]);
    check("incidents/inv_flood", 1_795_230_513_572, "inv_flood", &[38, 39, 40], &[]);
    check("incidents/orphan_dos", 1_795_230_512_664, "orphan_dos", &[35, 36, 37], &[]);
    check("incidents/ping_backlog", 1_795_231_189_746, "ping_backlog", &[], &[]);
    check("incidents/ping_backlog_mild", 1_795_230_868_978, "ping_backlog", &[], &[]);
    check("incidents/ping_spam", 1_795_229_908_788, "ping_spam", &[49], &[]);
    check("incidents/reorg_stale_tip", 1_795_230_025_426, "tip_behind", &[], &[]);
    check("incidents/node_restart", 1_795_229_908_321, "node_restarted", &[], &[]);
    let floods = ["inv_flood", "addr_flood"];
    check("incidents/misbehaving", 1_795_231_712_356, "peer_misbehaving", &[46, 48, 50, 51, 52], &floods);
}

#[test]
fn a_quiet_recording_prints_nothing() {
    let output = replay(&recording("quiet/baseline_quiet"), &[]);
    assert!(output.status.success());
    assert_eq!(stdout(&output), "");
}
