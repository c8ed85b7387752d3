//! The interface as its callers see it: by raw requests, by promtool and by a real Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tocsin_testing::{Process, eventually, free_port};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::super::status::{Status, StatusBoard};
use super::metrics::{METRICS, render};
use super::{health, is_local_name, sample, serve};

const PATIENCE: Duration = Duration::from_secs(30);

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(deploy().join(name)).expect("a file of deploy/")
}

/// True if a program is there; says so if the test is skipped.
fn is_installed(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        eprintln!("skipped: {program} is not installed");
    }
    is_there
}

/// The real `serve` with the sample behind it.
struct Served {
    runtime: Runtime,
    board: StatusBoard,
    shutdown: CancellationToken,
    serving: Option<tokio::task::JoinHandle<()>>,
    port: u16,
}

impl Served {
    fn start(status: Status) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (board, shutdown) = (StatusBoard::default(), CancellationToken::new());
        board.write(status);
        let serving = runtime.spawn(serve(listener, board.clone(), shutdown.clone()));
        Served { runtime, board, shutdown, serving: Some(serving), port }
    }

    fn get(&self, path: &str) -> (u16, String, String) {
        get(self.port, path)
    }

    fn json(&self, path: &str) -> Value {
        let (code, head, body) = self.get(path);
        assert_eq!(code, 200, "{path}: {body}");
        assert!(head.contains("application/json"), "{head}");
        serde_json::from_str(&body).expect("JSON")
    }
}

/// Status code, head and body. HTTP 1.0, so that the body is not in chunks and ends with the connection.
fn get(port: u16, path: &str) -> (u16, String, String) {
    request(port, &format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n")).expect("an answer")
}

fn request(port: u16, request: &str) -> std::io::Result<(u16, String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::InvalidData)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Ok((code, head.to_string(), body.to_string()))
}

/// Everything but letters and digits percent-encoded.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Runs a program with this on its standard input; returns whether it ended well, and what it said.
fn run(command: &mut Command, input: &str) -> (bool, String) {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    if !is_installed("promtool") {
        return;
    }
    for status in [sample::status(now_ms()), Status::default()] {
        let (is_well, said) = run(Command::new("promtool").args(["check", "metrics"]), &render(&status));
        assert!(is_well && said.is_empty(), "{said}");
    }
    // It does complain of what is not right.
    let (is_well, _) = run(Command::new("promtool").args(["check", "metrics"]), "tocsinMs 1\n");
    assert!(!is_well);
}

#[test]
fn every_metric_of_the_table_has_a_sample() {
    let page = render(&sample::status(now_ms()));
    let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), METRICS.len(), "a name is there twice");
    for name in names {
        let is_sample =
            |line: &str| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "));
        assert!(page.lines().any(is_sample), "{name} has no sample");
    }
}

#[test]
fn no_metric_names_a_key() {
    let page = render(&sample::status(now_ms()));
    for secret in ["203.0.113.7", "address", "Satoshi", "onerror", "disk full", "evry"] {
        assert!(!page.contains(secret), "{secret} is in /metrics");
    }
}

#[test]
fn alerts_of_a_rule_and_node_are_one_series() {
    let page = render(&sample::status(now_ms()));
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
    status.alerts.extend(std::iter::repeat_n(alert, 50_000));
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
fn nothing_can_be_written_and_nothing_else_is_there() {
    let served = Served::start(sample::status(now_ms()));
    let post = |path: &str| {
        let head = format!("POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}");
        request(served.port, &head).expect("an answer").0
    };
    assert_eq!(["/", "/metrics", "/api/v1/rules", "/api/v1/alerts"].map(post), [405; 4]);
    assert_eq!(served.get("/api/v2/alerts").0, 404);
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

/// All expressions of the dashboard, with Grafana's variables filled in.
fn dashboard_queries() -> Vec<String> {
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
    let fill = |query: String| query.replace("$__rate_interval", "30s").replace("$node", ".*");
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
fn the_example_for_prometheus_is_right() {
    if is_installed("promtool") {
        let mut command = Command::new("promtool");
        let (is_well, said) = run(command.args(["check", "config"]).arg(deploy().join("prometheus.yml")), "");
        assert!(is_well, "{said}");
    }
}

#[test]
fn a_real_prometheus_takes_it_and_the_dashboard_finds_its_series() {
    if !is_installed("prometheus") {
        return;
    }
    let served = Served::start(sample::status(now_ms()));
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

    let (theirs, ours) = (prometheus.api("/api/v1/rules"), served.json("/api/v1/rules"));
    let rule = |answer: &Value, name: &str| {
        let groups = answer["data"]["groups"].as_array().expect("a list").clone();
        groups.into_iter().find(|group| group["rules"][0]["name"] == name).expect("the rule's group")
    };
    expect_shape("group", &rule(&theirs, "One"), &rule(&ours, "addr_flood"));
    expect_shape("alerts", &prometheus.api("/api/v1/alerts"), &served.json("/api/v1/alerts"));

    let mut quiet = sample::status(now_ms());
    quiet.alerts.clear();
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
