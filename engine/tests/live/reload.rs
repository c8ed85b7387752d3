//! Rules are changed while the program runs, and configurations that are wrong are refused.

use std::process::Command;

use tocsin_testing::{NatsServer, eventually};

use crate::harness::{PATIENCE, Tocsin, root};

const RULE: &str = "const RULE = #{ severity: \"info\", status: \"stable\", every: \"5s\",\n    windows: #{ pings: #{ count: \
                    \"message\", over: \"1m\" } } };\nfn check(w, params) { if w.pings > 3 { #{ value: w.pings, limit: 3, \
                    summary: \"x\" } } }\n";

#[test]
fn a_changed_rule_is_taken_over_and_a_broken_one_leaves_the_old_one_running() {
    let server = NatsServer::start();
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().display().to_string();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("writable");
    write("one.rhai", RULE);
    let config = format!(
        "[rules]\npaths = [{rules:?}]\nreload_every = \"100ms\"\n[[nats]]\nname = \"n\"\nurl = {:?}\n",
        server.url()
    );
    let mut tocsin = Tocsin::run(&config);
    let rule_names = || {
        let rules = tocsin.get("/api/v1/rules").expect("rules");
        ["one", "two"].map(|name| rules.contains(&format!("\"name\":\"{name}\"")))
    };
    eventually(PATIENCE, "the first rule", || (rule_names() == [true, false]).then_some(()));
    write("two.rhai", RULE);
    eventually(PATIENCE, "the second rule", || (rule_names() == [true, true]).then_some(()));

    write("one.rhai", "const RULE = #{ severity: ");
    eventually(PATIENCE, "the broken rule to be told", || tocsin.log().contains("one.rhai:1").then_some(()));
    eventually(PATIENCE, "the metric", || {
        tocsin.metric("tocsin_rules_last_reload_successful").filter(|value| *value == 0.0)
    });
    assert_eq!(rule_names(), [true, true], "the old version runs on");

    write("one.rhai", RULE);
    std::fs::remove_file(folder.path().join("two.rhai")).expect("removable");
    eventually(PATIENCE, "the second rule to go", || (rule_names() == [true, false]).then_some(()));
    eventually(PATIENCE, "the metric", || {
        tocsin.metric("tocsin_rules_last_reload_successful").filter(|value| *value == 1.0)
    });
    tocsin.stop();
}

#[track_caller]
fn refused(config: &str, expected: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tocsin.toml");
    std::fs::write(&file, config.replace("DATA", &folder.path().join("data").display().to_string()))
        .expect("writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tocsin"));
    let output = command.current_dir(root()).args(["run", "--config"]).arg(file).output().expect("runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    for words in expected {
        assert!(errors.contains(words), "{errors:?} does not say {words:?}");
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_line_and_key() {
    refused(
        "data = \"DATA\"\n[http]\nlissten = \"127.0.0.1:0\"\n",
        &["tocsin.toml", "line 3", "lissten", "listen"],
    );
    refused("data = \"DATA\"\n[http]\nlisten = \"127.0.0.1:0\"\n", &["nothing to watch"]);
    refused("data = \"DATA\"\n[rules.set]\n\"addr_flood.entries_maxx\" = 1\n", &["entries_maxx"]);
    refused("data = \"DATA\"\n[[node]]\nname = \"a\"\n[node.rcp]\n", &["line 4", "rcp", "rpc"]);
}
