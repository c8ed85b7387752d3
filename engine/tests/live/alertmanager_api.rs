//! A running tocsin asked by Debian's amtool and by its own commands; and what the commands say without one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tocsin_testing::{eventually, free_port};

use crate::harness::{PATIENCE, Tocsin};

/// Fires at once and as long as nothing answers where the node should be.
const RULE: &str = "//! The node is not there.\nconst RULE = #{ severity: \"warning\", status: \"stable\", every: \"1s\", \
                    by: [\"extractor.name\"], windows: #{ state: #{ last: \"extractor.state\", over: \"1m\" } } };\n\
                    fn check(w, params) { if w.state == 0 { #{ value: 0, limit: 1, summary: \"nobody \\x1b[31mthere\" } } }\n";
const TOKEN: &str = "correct-horse";

/// Takes requests and keeps their bodies; answers 200, or 400 if the path ends in `bad`.
struct Sink {
    port: u16,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl Sink {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let bodies = Arc::<Mutex<Vec<Value>>>::default();
        let kept = bodies.clone();
        // Ends with the process of the test.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream);
                let (mut first, mut length) = (String::new(), 0);
                let _ = reader.read_line(&mut first);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).is_err() || line.trim().is_empty() {
                        break;
                    }
                    let line = line.to_ascii_lowercase();
                    let found =
                        line.strip_prefix("content-length:").and_then(|text| text.trim().parse().ok());
                    length = found.unwrap_or(length);
                }
                let mut body = vec![0; length];
                let _ = reader.read_exact(&mut body);
                let is_bad = first.contains("bad ");
                if !is_bad {
                    kept.lock().expect("whole").push(serde_json::from_slice(&body).unwrap_or_default());
                }
                let code = if is_bad { "400 Bad Request" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {code}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let _ = reader.get_mut().write_all(answer.as_bytes());
            }
        });
        Sink { port, bodies }
    }

    /// Two receivers: `ops`, which is told, and `lost`, which refuses.
    fn receivers(&self) -> String {
        let port = self.port;
        format!(
            "[[receiver]]\nname = \"ops\"\n[receiver.webhook]\nurl = \"http://127.0.0.1:{port}/good\"\n\
             [[receiver]]\nname = \"lost\"\n[receiver.webhook]\nurl = \"http://127.0.0.1:{port}/bad\"\n\
             [dispatch.route]\nreceiver = \"ops\"\ngroup_by = [\"alertname\"]\ngroup_wait = \"1s\"\n\
             group_interval = \"1s\"\n[[dispatch.route.routes]]\nreceiver = \"lost\"\ncontinue = true\n\
             [[dispatch.route.routes]]\nreceiver = \"ops\"\nmatchers = ['severity=\"warning\"']\n"
        )
    }
}

/// A running tocsin with an alert that fires.
struct Running {
    tocsin: Tocsin,
    sink: Sink,
    folder: tempfile::TempDir,
}

impl Running {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).display().to_string();
        for (name, text) in [
            ("nobody.rhai", RULE),
            ("token", TOKEN),
            ("http.yml", &format!("authorization: {{type: Bearer, credentials: {TOKEN}}}\n")),
        ] {
            std::fs::write(folder.path().join(name), text).expect("writable");
        }
        let sink = Sink::start();
        let config = format!(
            "token_file = {:?}\n[rules]\npaths = [{:?}]\n{}[[node]]\nname = \"alice\"\n[node.rpc]\n\
             url = \"http://127.0.0.1:{}\"\nuser = \"u\"\npassword = \"p\"\n",
            at("token"),
            at("nobody.rhai"),
            sink.receivers(),
            free_port()
        );
        Running { tocsin: Tocsin::run(&config), sink, folder }
    }

    fn config(&self) -> PathBuf {
        self.tocsin.data().parent().expect("a folder").join("tocsin.toml")
    }

    fn url(&self) -> String {
        let config = std::fs::read_to_string(self.config()).expect("readable");
        let listen = config.split("listen = \"").nth(1).and_then(|rest| rest.split('"').next());
        format!("http://{}", listen.expect("an address"))
    }

    /// amtool with the token, which must work.
    #[track_caller]
    fn amtool(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("amtool");
        command.arg(format!("--alertmanager.url={}", self.url())).env("HOME", self.folder.path());
        command.arg("--http.config.file").arg(self.folder.path().join("http.yml")).args(arguments);
        let (code, text) = run(&mut command);
        assert_eq!(code, Some(0), "amtool {arguments:?}: {text}");
        text
    }

    /// A command of tocsin, which must work.
    #[track_caller]
    fn ask(&self, arguments: &[&str]) -> String {
        let (code, text) = command(arguments, &["--config", &self.config().to_string_lossy()]);
        assert_eq!(code, Some(0), "tocsin {arguments:?}: {text}");
        text
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ask(&[arguments, &["--format", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The alert, once it fires.
    #[track_caller]
    fn alert(&self) -> Value {
        eventually(PATIENCE, "the alert to fire", || self.json(&["alerts"]).get(0).cloned())
    }
}

fn command(arguments: &[&str], more: &[&str]) -> (Option<i32>, String) {
    run(Command::new(env!("CARGO_BIN_EXE_tocsin")).args(arguments).args(more))
}

/// Exit code, and what was said.
fn run(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn is_amtool_installed() -> bool {
    let is_there = Command::new("amtool").arg("--version").output().is_ok();
    if !is_there {
        eprintln!("skipped: amtool is not installed");
    }
    is_there
}

#[test]
fn amtool_works_with_a_running_tocsin_and_silences_survive_a_kill() {
    if !is_amtool_installed() {
        return;
    }
    let mut running = Running::start();
    let id = running.alert()["fingerprint"].as_str().expect("an id").to_string();
    let found = running.amtool(&["-o", "json", "alert", "query", "alertname=nobody", "node=~\"al.*\""]);
    let found: Value = serde_json::from_str(&found).expect("JSON");
    assert_eq!(found[0]["fingerprint"], id);
    assert_eq!(found[0]["status"]["state"], "active");

    let add = ["silence", "add", "alertname=nobody", "-c", "at work", "-a", "bob", "-d", "2h"];
    let silence = running.amtool(&add).trim().to_string();
    let is_silenced = |running: &Running| running.alert()["silencedBy"] == serde_json::json!([silence]);
    eventually(PATIENCE, "the alert to be silenced", || is_silenced(&running).then_some(()));
    assert_eq!(running.amtool(&["alert", "query", "-o", "json"]).trim(), "[]");
    running.amtool(&["silence", "update", &silence, "-d", "5h", "-c", "longer"]);
    assert!(running.amtool(&["silence", "query", "-o", "extended"]).contains("longer"));

    running.tocsin.kill();
    running.tocsin.start_again();
    eventually(PATIENCE, "the alert to be silenced still", || is_silenced(&running).then_some(()));

    // With a later start it is another silence, and the old one has ended.
    let later = ["--start", "2999-01-01T00:00:00Z", "--end", "2999-01-02T00:00:00Z"];
    let updated = running.amtool(&[&["-o", "json", "silence", "update", &silence], &later[..]].concat());
    let updated: Value = serde_json::from_str(&updated).expect("JSON");
    let other = updated[0]["id"].as_str().expect("an id").to_string();
    assert_ne!(other, silence);
    eventually(PATIENCE, "the alert to be told again", || {
        running.amtool(&["alert", "query", "-o", "simple"]).contains("nobody").then_some(())
    });
    running.amtool(&["silence", "expire", &other]);
    let expired = running.amtool(&["silence", "query", "--expired", "-q"]);
    assert!(expired.contains(&silence) && expired.contains(&other), "{expired}");

    assert!(running.amtool(&["config", "show"]).contains("receiver: 'ops'"));
    assert_eq!(running.amtool(&["config", "routes", "test", "severity=warning"]).trim(), "lost,ops");
    assert!(running.amtool(&["config", "routes", "show"]).contains("lost"));
    assert!(running.amtool(&["cluster", "show"]).contains("ready"));
    running.tocsin.stop();
}

#[test]
fn the_commands_show_who_was_told_and_take_care_of_an_alert() {
    let running = Running::start();
    let id = running.alert()["fingerprint"].as_str().expect("an id").to_string();
    let prefix = &id[..6];
    let explained = |words: &[&str]| {
        eventually(PATIENCE, &format!("{words:?} in the story"), || {
            let story = running.ask(&["alerts", "explain", prefix]);
            words.iter().all(|words| story.contains(words)).then_some(story)
        })
    };
    let story = explained(&["nobody on alice", "fired", "delivered at", "given up at"]);
    assert!(story.is_ascii() && !story.contains('\x1b') && story.contains("nobody ?[31mthere"), "{story}");
    let body =
        eventually(PATIENCE, "the webhook", || running.sink.bodies.lock().expect("whole").first().cloned());
    assert_eq!(body["alerts"][0]["fingerprint"], id);

    for (arguments, expected) in [
        (vec!["alerts"], "nobody"),
        (vec!["alerts", "show", prefix], "receivers"),
        (vec!["silence"], "no silences"),
        (vec!["notify"], "delivered"),
        (vec!["notify", "receivers"], "webhook"),
    ] {
        let text = running.ask(&arguments);
        assert!(text.contains(expected) && text.is_ascii(), "{arguments:?}: {text}");
    }

    running.ask(&["alerts", "ack", prefix, "--comment", "mine", "--by", "carol"]);
    assert_eq!(running.alert()["acknowledgement"]["by"], "carol");
    explained(&["acknowledged"]);
    let page = running.tocsin.get("/").expect("the page");
    assert!(page.contains("acknowledged by carol"), "{page}");
    running.ask(&["alerts", "unack", prefix]);
    assert!(running.alert()["acknowledgement"].is_null());

    let added = running.ask(&["silence", "add", "alertname=nobody", "--for", "2h", "--comment", "why"]);
    assert!(running.ask(&["silence", "list"]).contains("nobody"));
    running.ask(&["silence", "expire", &added[..8]]);
    assert!(running.ask(&["silence", "list"]).contains("no silences"));

    let dead = running.json(&["notify", "list", "--dead"])[0].clone();
    assert_eq!((&dead["receiver"], &dead["state"]), (&"lost".into(), &"dead".into()));
    let attempts = || {
        running
            .tocsin
            .metric("tocsin_notifications_attempts_total{integration=\"webhook\",receiver=\"lost\"}")
    };
    let before = attempts().expect("a counter");
    running.ask(&["notify", "resend", dead["id"].as_str().expect("an id")]);
    eventually(PATIENCE, "another attempt", || attempts().filter(|attempts| *attempts > before));

    // By default an alert fires on for five minutes after the last finding.
    let never =
        RULE.replace("w.state == 0", "w.state == 99").replace("every: ", "keep_firing_for_s: 1, every: ");
    assert!(never.contains("99") && never.contains("keep_firing_for_s"), "{never}");
    std::fs::write(running.folder.path().join("nobody.rhai"), never).expect("writable");
    eventually(PATIENCE, "the alert to be forgotten", || {
        running.ask(&["alerts"]).contains("no alert fires").then_some(())
    });
    explained(&["nobody on alice, warning, fires no more", "resolved"]);
}

#[test]
fn what_cannot_be_done_is_said_with_the_right_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token").display().to_string();
    let url = format!("http://127.0.0.1:{}", free_port());
    #[track_caller]
    fn expect((code, said): (Option<i32>, String), expected: i32, words: &str) {
        assert_eq!(code, Some(expected), "{said}");
        assert!(said.contains(words), "{said}");
    }
    expect(command(&["alerts", "--url", &url], &[]), 2, "expected it to run there");
    expect(command(&["alerts", "--url", "nonsense"], &[]), 2, "--url nonsense");
    let port = free_port();
    for (wrong, words) in [
        (format!("http://me:hunter2@127.0.0.1:{port}/?t=hunter2#hunter2"), "expected it to run there"),
        (format!("ftp://me:hunter2@127.0.0.1:{port}"), "--url 127.0.0.1"),
        ("http://me:hunter2@127.0.0.1:port".to_string(), "--url 127.0.0.1:port"),
    ] {
        let (code, said) = command(&["alerts", "--url", &wrong], &[]);
        assert!(!said.contains("hunter2") && !said.contains("me:"), "{said}");
        assert!(said.contains("127.0.0.1"), "{said}");
        expect((code, said), 2, words);
    }
    let add = ["silence", "add", "node=a", "--for", "1h", "--comment", "c", "--token-file", &token];
    expect(command(&add, &["--url", &url]), 2, "token cannot be read");
    expect(command(&["silence", "add", "node=a", "--for", "soon", "--comment", "c"], &[]), 2, "soon");
    expect(command(&["notify", "test", "ops"], &[]), 2, "--config");
    let running = Running::start();
    let url = running.url();
    for read in ["alerts", "silence", "notify"] {
        expect(command(&[read, "--url", &url, "--token-file", &token], &[]), 0, "");
    }
    std::fs::write(&token, "wrong").expect("writable");
    let add = ["silence", "add", "node=a", "--for", "1h", "--comment", "c", "--url", &url];
    expect(command(&add, &[]), 2, "401");
    expect(command(&add, &["--token-file", &token]), 2, "the token is wrong");
    expect(command(&["alerts", "show", "ffffffffffffffff", "--url", &url], &[]), 2, "does not fire");
    expect(command(&["alerts", "explain", "ffffffffffffffff", "--url", &url], &[]), 2, "nothing is known");
    expect(command(&["alerts", "explain", "xy", "--url", &url], &[]), 2, "no id");
}

#[test]
fn a_sample_is_sent_without_a_running_tocsin() {
    let (sink, folder) = (Sink::start(), tempfile::tempdir().expect("a folder"));
    let config = folder.path().join("tocsin.toml");
    std::fs::write(&config, format!("data = \"x\"\n[rules]\npaths = []\n{}", sink.receivers()))
        .expect("writable");
    let test =
        |receiver: &str| command(&["notify", "test", receiver, "--config"], &[&config.to_string_lossy()]);
    let (code, said) = test("ops");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("ops: delivered by webhook"), "{said}");
    let body = sink.bodies.lock().expect("whole").first().cloned().expect("a notification");
    assert_eq!(body["alerts"][0]["labels"]["alertname"], "test", "{body}");
    let (code, said) = test("lost");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("not delivered") && said.contains("400") && said.contains("client_error"),
        "{said}"
    );
    let (code, said) = test("nobody");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("ops") && said.contains("lost"), "{said}");
}

#[test]
fn a_configuration_is_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("tocsin.toml");
    let rule = folder.path().join("nobody.rhai");
    std::fs::write(&rule, RULE.replace("every: \"1s\",", "every: \"1s\", params: #{ most: 1 },"))
        .expect("writable");
    let receivers = Sink::start().receivers();
    let check = |text: &str| check_config(&config, &rule, text);
    let (code, said) = check(&receivers);
    assert_eq!((code, said.contains(": 0 complaints")), (Some(0), true), "{said}");
    let (code, said) = check(&receivers.replace("receiver = \"lost\"", "receiver = \"lots\""));
    assert_eq!((code, said.contains("lots")), (Some(1), true), "{said}");
    let webhook = "[receiver.webhook]\n";
    for (wrong, expected) in [
        (format!("time_zone = \"Mars/Olympus\"\n{webhook}"), "Mars/Olympus"),
        (format!("[receiver.templates]\ntitle = \"{{{{ x\"\n{webhook}"), "title"),
        (
            format!("{webhook}hmac_secret = {{ file = \"/nowhere/key\" }}\n"),
            "receiver[\"ops\"].webhook.hmac_secret",
        ),
        (format!("{webhook}colour = 1\n"), "colour"),
    ] {
        let (code, said) = check(&receivers.replacen(webhook, &wrong, 1));
        assert_eq!((code, said.contains(expected)), (Some(1), true), "{wrong}: {said}");
    }
    for (text, expected) in [
        ("[dispatch.route]\nreceiver = \"a\"\n", "dispatch.route.receiver"),
        ("[rules.set]\n\"nobody.mots\" = 2\n", "most"),
        ("[publish]\nurl = \"nats://h\"\npassword_file = \"/nowhere/p\"\n", "publish.password_file"),
        ("[[receiver]]\nname = \"a\"\n[dispatch.route]\nreceiver = \"a\"\n", "exactly one of"),
        ("[http]\nport = 1\n", "port"),
    ] {
        let (code, said) = check(text);
        assert_eq!(code, Some(1), "{text}: {said}");
        assert!(said.contains(expected) && said.contains("tocsin.toml: "), "{text}: {said}");
    }
    let (code, _) = command(&["check", "--config"], &["/nowhere/tocsin.toml"]);
    assert_eq!(code, Some(1));
}

fn check_config(config: &Path, rule: &Path, text: &str) -> (Option<i32>, String) {
    let text = format!("data = \"x\"\n[rules]\npaths = [{:?}]\n{text}", rule.display().to_string());
    std::fs::write(config, text).expect("writable");
    command(&["check", "--config"], &[&config.to_string_lossy()])
}
