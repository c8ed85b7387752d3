//! promtool and a real Prometheus, with the configuration of `deploy/`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;
use tocsin_testing::{Process, eventually, free_port};

use super::super::super::status::Status;
use super::super::metrics::render;
use super::super::sample;
use super::deploy::dashboard_queries;
use super::{PATIENCE, Served, deploy, encoded, get, is_installed, now_ms, request, run, text};

#[test]
fn promtool_finds_nothing_to_complain_of() {
    if !is_installed("promtool") {
        return;
    }
    let dispatch = sample::dispatch(now_ms());
    for (status, dispatch) in [(sample::status(now_ms()), Some(&dispatch)), (Status::default(), None)] {
        let text = render(&status, dispatch);
        let (is_well, said) = run(Command::new("promtool").args(["check", "metrics"]), &text);
        assert!(is_well && said.is_empty(), "{said}");
    }
    // It does complain of what is not right.
    let (is_well, _) = run(Command::new("promtool").args(["check", "metrics"]), "tocsinMs 1\n");
    assert!(!is_well);
}

#[test]
fn the_example_for_prometheus_is_right() {
    if is_installed("promtool") {
        let mut command = Command::new("promtool");
        let (is_well, said) = run(command.args(["check", "config"]).arg(deploy().join("prometheus.yml")), "");
        assert!(is_well, "{said}");
    }
}

/// A real Prometheus with the configuration of `deploy/`, scraping each second.
struct Prometheus {
    _process: Process,
    _folder: tempfile::TempDir,
    port: u16,
}

impl Prometheus {
    fn start(target: u16) -> Self {
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let config = text("prometheus.yml")
            .replace("127.0.0.1:9464", &format!("127.0.0.1:{target}"))
            .replace("scrape_configs:", "global: {evaluation_interval: 1s}\nscrape_configs:")
            .replace("scrape_interval: 15s", "scrape_interval: 1s")
            .replace("- prometheus.rules.yml", "- prometheus.rules.yml\n  - oracle.yml");
        let rules = text("prometheus.rules.yml").replace("[10m]", "[5s]");
        let oracle = "groups: [{name: oracle, interval: 1s, rules: [{alert: One, expr: vector(1), \
                      labels: {a: b}, annotations: {c: d}}]}]\n";
        for (name, text) in
            [("prometheus.yml", config.as_str()), ("prometheus.rules.yml", &rules), ("oracle.yml", oracle)]
        {
            std::fs::write(folder.path().join(name), text).expect("writable");
        }
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", path("prometheus.yml")));
        command.arg(format!("--storage.tsdb.path={}", path("tsdb")));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = Process::start(&mut command, &folder.path().join("prometheus.log"));
        let prometheus = Prometheus { _process: process, _folder: folder, port };
        eventually(PATIENCE, "prometheus to be ready", || {
            let head = format!("GET /-/ready HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n");
            request(port, &head).ok().filter(|(code, _, _)| *code == 200)
        });
        prometheus
    }

    fn api(&self, path: &str) -> Value {
        serde_json::from_str(&get(self.port, path).2).expect("JSON")
    }

    /// Labels and values of an instant query.
    fn query(&self, query: &str) -> Vec<(BTreeMap<String, String>, String)> {
        let answer = self.api(&format!("/api/v1/query?query={}", encoded(query)));
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let results = answer["data"]["result"].as_array().expect("a vector");
        let labels = |result: &Value| serde_json::from_value(result["metric"].clone()).expect("labels");
        let value = |result: &Value| result["value"][1].as_str().expect("a number").to_string();
        results.iter().map(|result| (labels(result), value(result))).collect()
    }

    #[track_caller]
    fn expect(&self, query: &str) -> Vec<(BTreeMap<String, String>, String)> {
        eventually(PATIENCE, query, || Some(self.query(query)).filter(|found| !found.is_empty()))
    }
}

#[test]
fn a_real_prometheus_takes_it_and_the_dashboard_finds_its_series() {
    if !is_installed("prometheus") {
        return;
    }
    let served = Served::start_all();
    let prometheus = Prometheus::start(served.port);
    assert_eq!(prometheus.expect(r#"up{job="tocsin"} == 1"#).len(), 1);
    let alerts = prometheus.expect(r#"ALERTS{job="tocsin",alertname="addr_flood"}"#);
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].0["alertstate"], "firing");
    assert_eq!(prometheus.expect(r#"ALERTS_FOR_STATE{job="tocsin",node="hal"}"#)[0].1, "1795229900");
    let names: BTreeSet<String> = prometheus
        .expect("tocsin_lag_seconds")
        .into_iter()
        .map(|(mut labels, _)| labels.remove("node").expect("a label"))
        .collect();
    assert_eq!(names, BTreeSet::from(["hal".to_string(), sample::HOSTILE.to_string()]));

    for query in dashboard_queries()
        .iter()
        .filter(|query| !query.starts_with("label_values") && !query.starts_with("changes("))
    {
        prometheus.expect(query);
    }
    // An alert of deploy/prometheus.rules.yml on what the sample is short of.
    prometheus.expect(r#"ALERTS{alertname="TocsinExtractorDown",extractor="p2p"}"#);
    prometheus.expect(r#"ALERTS{alertname="TocsinNotificationsGivenUp",receiver="ops"}"#);

    let (theirs, ours) = (prometheus.api("/api/v1/rules"), served.json("/api/v1/rules"));
    let rule = |answer: &Value, name: &str| {
        let groups = answer["data"]["groups"].as_array().expect("a list").clone();
        groups.into_iter().find(|group| group["rules"][0]["name"] == name).expect("the rule's group")
    };
    expect_shape("group", &rule(&theirs, "One"), &rule(&ours, "addr_flood"));
    expect_shape("alerts", &prometheus.api("/api/v1/alerts"), &served.json("/api/v1/alerts"));

    let mut quiet = sample::status(now_ms());
    quiet.alerts = Default::default();
    served.board.write(quiet);
    eventually(PATIENCE, "the series of the alert to end", || {
        prometheus.query(r#"ALERTS{job="tocsin",node=~".+"}"#).is_empty().then_some(())
    });
}

/// What Prometheus' answer has, ours must have too, of the same type.
#[track_caller]
fn expect_shape(place: &str, theirs: &Value, ours: &Value) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours))
            if !place.ends_with("labels") && !place.ends_with("annotations") =>
        {
            for (name, value) in theirs {
                let ours = ours.get(name).unwrap_or_else(|| panic!("{place} has no {name}"));
                expect_shape(&format!("{place}.{name}"), value, ours);
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            if let Some(first) = theirs.first() {
                expect_shape(place, first, ours.first().unwrap_or_else(|| panic!("{place} is empty")));
            }
        }
        _ => {
            let kinds = [theirs, ours].map(std::mem::discriminant);
            assert_eq!(kinds[0], kinds[1], "{place}: {theirs} and {ours}");
        }
    }
}
