//! Alertmanager's API: its shapes, and Debian's amtool against it.

use std::process::Command;

use serde_json::{Value, json};

use super::super::sample;
use super::{Served, TOKEN, encoded, is_installed, now_ms};

/// amtool with a token; what it printed on standard output, or what it said if it failed.
struct Amtool<'s> {
    served: &'s Served,
    config: std::path::PathBuf,
}

impl<'s> Amtool<'s> {
    /// None if amtool is not installed.
    fn new(served: &'s Served) -> Option<Self> {
        let config = served.folder.path().join("http.yml");
        let text = format!("authorization: {{type: Bearer, credentials: {TOKEN}}}\n");
        std::fs::write(&config, text).expect("writable");
        is_installed("amtool").then_some(Amtool { served, config })
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let (is_well, text) =
            self.attempt(arguments, &["--http.config.file", &self.config.to_string_lossy()]);
        assert!(is_well, "{arguments:?}: {text}");
        text
    }

    fn attempt(&self, arguments: &[&str], more: &[&str]) -> (bool, String) {
        let mut command = Command::new("amtool");
        command.arg(format!("--alertmanager.url=http://127.0.0.1:{}", self.served.port)).args(more);
        // No configuration of whoever runs the test.
        command.env("HOME", self.served.folder.path());
        let output = command.args(arguments).output().expect("amtool runs");
        // Warnings, as of other versions than its own, are what a user would see too.
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), if said.is_empty() { text } else { format!("{text}{said}") })
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.run(&[&["-o", "json"], arguments].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

#[test]
fn amtool_shows_alerts() {
    let served = Served::start_all();
    let Some(amtool) = Amtool::new(&served) else { return };
    let count = |arguments: &[&str]| amtool.json(arguments).as_array().expect("a list").len();
    // One of the three is silenced and inhibited.
    assert_eq!(count(&["alert", "query"]), 2);
    assert_eq!(count(&["alert", "query", "--silenced", "--inhibited"]), 1);
    assert_eq!(count(&["alert", "query", "--silenced"]), 0);
    assert_eq!(count(&["alert", "query", "tip_stalled"]), 1);
    assert_eq!(count(&["alert", "query", "node=~h.l"]), 1);
    assert_eq!(count(&["alert", "query", "severity!=warning"]), 0);
    assert_eq!(count(&["alert", "query", "-r", "ops"]), 2);
    assert_eq!(count(&["alert", "query", "-r", "op"]), 0);
    let text = amtool.run(&["-o", "extended", "alert", "query", "addr_flood"]);
    assert!(text.contains("addr_flood") && text.contains("2026-11-21 02:58:25 UTC"), "{text}");
}

#[test]
fn amtool_makes_changes_and_ends_silences() {
    let served = Served::start_all();
    let Some(amtool) = Amtool::new(&served) else { return };
    let add = ["silence", "add", "alertname=tip_stalled", "node=~\"h.*\"", "-c", "at work", "-a", "bob"];
    let id = amtool.run(&add).trim().to_string();
    let found = |id: &str| {
        let silences = amtool.json(&["silence", "query"]);
        let silences = silences.as_array().expect("a list").clone();
        silences.into_iter().find(|silence| silence["id"] == id)
    };
    let silence = found(&id).expect("the silence");
    assert_eq!((&silence["comment"], &silence["createdBy"]), (&"at work".into(), &"bob".into()));
    assert_eq!(silence["status"]["state"], "active");
    let matcher = json!({"isEqual": true, "isRegex": true, "name": "node", "value": "h.*"});
    assert!(silence["matchers"].as_array().expect("a list").contains(&matcher), "{silence}");

    amtool.run(&["silence", "update", &id, "-d", "5h", "-c", "at work still"]);
    let longer = found(&id).expect("the silence has kept its id");
    assert_eq!(longer["comment"], "at work still");
    assert!(longer["endsAt"].as_str() > silence["endsAt"].as_str(), "{longer}");
    assert_eq!(amtool.json(&["silence", "query", "alertname=tip_stalled"]).as_array().map(Vec::len), Some(1));
    assert_eq!(amtool.json(&["silence", "query", "alertname=other"]).as_array().map(Vec::len), Some(0));

    amtool.run(&["silence", "expire", &id]);
    assert_eq!(found(&id), None);
    let expired = amtool.run(&["silence", "query", "--expired", "-q"]);
    assert!(expired.contains(&id), "{expired}");
    assert_eq!(served.json(&format!("/api/v2/silence/{id}"))["status"]["state"], "expired");
}

#[test]
fn amtool_without_the_token_changes_nothing() {
    let served = Served::start_all();
    let Some(amtool) = Amtool::new(&served) else { return };
    let (is_well, said) = amtool.attempt(&["silence", "add", "alertname=x", "-c", "c"], &[]);
    assert!(!is_well && said.contains("401"), "{said}");
    assert_eq!(served.json("/api/v2/silences").as_array().map(Vec::len), Some(1));
}

#[test]
fn amtool_shows_configuration_and_status() {
    let served = Served::start_all();
    let Some(amtool) = Amtool::new(&served) else { return };
    assert!(amtool.run(&["config", "show"]).contains("receiver: 'ops'"));
    let tree = amtool.run(&["config", "routes", "show"]);
    assert!(tree.contains("ops") && tree.contains("desk"), "{tree}");
    assert_eq!(amtool.run(&["config", "routes", "test", "severity=critical"]).trim(), "desk");
    let cluster = amtool.run(&["cluster", "show"]);
    assert!(cluster.contains("ready"), "{cluster}");
}

#[test]
fn alerts_have_every_required_field() {
    let served = Served::start_all();
    let alerts = served.json("/api/v2/alerts");
    let alerts = alerts.as_array().expect("a list");
    assert_eq!(alerts.len(), 3);
    for alert in alerts {
        // `required` of gettableAlert.
        for field in ["receivers", "fingerprint", "startsAt", "updatedAt", "endsAt", "annotations", "status"]
        {
            assert!(!alert[field].is_null(), "{field} is missing: {alert}");
        }
        for field in ["silencedBy", "inhibitedBy"] {
            assert!(alert["status"][field].is_array(), "{field} is missing: {alert}");
        }
        assert_eq!(alert["fingerprint"].as_str().map(str::len), Some(16));
        assert!(alert["endsAt"].as_str() > alert["updatedAt"].as_str(), "{alert}");
    }
    let fingerprints: Vec<_> = alerts.iter().map(|alert| alert["fingerprint"].as_str()).collect();
    assert!(fingerprints.is_sorted(), "{fingerprints:?}");
    let states: Vec<&Value> = alerts.iter().map(|alert| &alert["status"]["state"]).collect();
    assert_eq!(states.iter().filter(|state| **state == "suppressed").count(), 1);
    assert_eq!(states.iter().filter(|state| **state == "active").count(), 2);
}

#[test]
fn groups_have_their_alerts() {
    let served = Served::start_all();
    let count = |query: &str| {
        let groups = served.json(&format!("/api/v2/alerts/groups?{query}"));
        groups[0]["alerts"].as_array().map(Vec::len)
    };
    assert_eq!((count(""), count("silenced=false"), count("receiver=desk")), (Some(3), Some(2), None));
    assert_eq!(count("filter=alertname%3Dnone"), None);
    let groups = served.json("/api/v2/alerts/groups");
    assert_eq!(groups[0]["receiver"]["name"], "ops");
    assert_eq!(groups[0]["labels"]["alertname"], "addr_flood");
}

#[test]
fn wrong_parameters_are_refused_as_alertmanager_does() {
    let served = Served::start_all();
    for query in ["filter=a", "filter=%7Ba", "receiver=(", "active=perhaps", "filter=a%3D~%22(%22"] {
        let (code, head, body) = served.get(&format!("/api/v2/alerts?{query}"));
        assert_eq!(code, 400, "{query}");
        assert!(head.contains("application/json"), "{head}");
        let text: String = serde_json::from_str(&body).expect("a text");
        assert!(["filter", "receiver", "active"].iter().any(|name| text.starts_with(name)), "{text}");
    }
    let many = "filter=a%3Db&".repeat(200);
    assert_eq!(served.get(&format!("/api/v2/silences?{many}")).0, 400);
    let large = encoded("(a{1000}){1000}");
    assert_eq!(served.get(&format!("/api/v2/alerts?receiver={large}")).0, 400);
}

#[test]
fn silences_that_are_not_there_are_not_found() {
    let served = Served::start_all();
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    let id = "11111111-2222-4333-8444-555555555555";
    assert_eq!(served.get(&format!("/api/v2/silence/{id}")).0, 404);
    assert_eq!(served.send("DELETE", &format!("/api/v2/silence/{id}"), &token, "").0, 404);
    let body = json!({
        "id": id, "createdBy": "me", "comment": "", "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "9000-01-01T00:00:00Z",
        "matchers": [{"name": "node", "value": "hal", "isRegex": false}],
    });
    assert_eq!(served.send("POST", "/api/v2/silences", &token, &body.to_string()).0, 404);
    let (code, body) = served.send("POST", "/api/v2/silences", &token, "{}");
    assert_eq!(code, 400);
    assert!(serde_json::from_str::<String>(&body).is_ok(), "{body}");
}

#[test]
fn the_page_shows_who_is_told_of_what() {
    let served = Served::start_all();
    let (_, _, page) = served.get("/");
    for shown in [
        "acknowledged by alice",
        &format!("silenced by {}", sample::SILENCE),
        "flapping",
        "left alone until",
        "node=&quot;hal&quot;",
        "hooks.example",
        sample::DEAD,
        "given up",
        "database or disk is full",
    ] {
        assert!(page.contains(shown), "{shown} is not on the page");
    }
    for markup in ["<script", "<b>", "<i>", "<img", "href"] {
        assert!(!page.contains(markup), "{markup} got onto the page");
    }
}

#[test]
fn the_status_says_whether_it_is_ready() {
    let served = Served::start(Default::default());
    assert_eq!(served.json("/api/v2/status")["cluster"]["status"], "settling");
    served.board.write(sample::status(now_ms()));
    let status = served.json("/api/v2/status");
    assert_eq!(status["cluster"]["status"], "ready");
    for field in ["version", "revision", "branch", "buildUser", "buildDate", "goVersion"] {
        assert!(status["versionInfo"][field].is_string(), "{field}");
    }
    assert!(status["uptime"].as_str().is_some_and(|text| text.ends_with('Z')), "{status}");
}
