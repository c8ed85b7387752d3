//! The dashboard, the alerts and the units of `deploy/`.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::super::metrics::METRICS;
use super::{is_installed, run, text};

/// All expressions of the dashboard, with Grafana's variables filled in.
pub fn dashboard_queries() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                let expressions = fields.iter().filter(|(name, _)| *name == "expr" || *name == "definition");
                found.extend(expressions.filter_map(|(_, value)| value.as_str()).map(str::to_string));
                fields.values().for_each(|value| collect(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let dashboard: Value = serde_json::from_str(&text("grafana.json")).expect("JSON");
    let mut found = Vec::new();
    collect(&dashboard, &mut found);
    let fill = |query: String| query.replace("$__rate_interval", "30s").replace("$node", ".+");
    found.into_iter().map(fill).collect()
}

/// The metrics a text names: words that begin as ours do.
fn metrics_named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_metric =
        |word: &&str| ["tocsin_", "process_", "ALERTS"].iter().any(|start| word.starts_with(start));
    words.filter(is_metric).map(str::to_string).collect()
}

#[test]
fn dashboard_and_alerts_ask_only_for_metrics_that_exist() {
    let known: BTreeSet<String> = METRICS.iter().map(|metric| metric.name.to_string()).collect();
    let queries = dashboard_queries();
    assert!(queries.len() > 30, "only {} queries", queries.len());
    for (place, asked) in [
        ("grafana.json", metrics_named(&queries.join("\n"))),
        ("prometheus.rules.yml", metrics_named(&text("prometheus.rules.yml"))),
    ] {
        assert!(asked.len() > 10, "{place} asks for nothing");
        let unknown: Vec<&String> = asked.difference(&known).collect();
        assert!(unknown.is_empty(), "{place} asks for {unknown:?}");
    }
}

#[test]
fn the_units_are_right() {
    if !is_installed("systemd-analyze") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let instance = "tocsin-extract@ebpf.service.d";
    std::fs::create_dir(folder.path().join(instance)).expect("a folder");
    for name in ["tocsin.service", "tocsin-extract@.service", &format!("{instance}/capabilities.conf")] {
        let there = text(name).replace("/usr/bin/tocsin", "/bin/true");
        std::fs::write(folder.path().join(name), there).expect("writable");
    }
    for (unit, exposure_max) in [
        ("tocsin.service", "20"),
        ("tocsin-extract@rpc.service", "20"),
        ("tocsin-extract@ebpf.service", "35"),
    ] {
        let mut command = Command::new("systemd-analyze");
        let command = command.args(["verify", "--man=no", unit]).current_dir(folder.path());
        let (is_well, said) =
            run(command.env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display())), "");
        assert!(is_well && said.is_empty(), "{unit}: {said}");
        let mut command = Command::new("systemd-analyze");
        let command =
            command.args(["security", "--no-pager", "--offline=true", "--threshold", exposure_max, unit]);
        let (is_well, said) =
            run(command.env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display())), "");
        assert!(is_well, "{unit} is more exposed than {exposure_max} in 100:\n{said}");
    }
}
