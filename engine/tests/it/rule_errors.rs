//! Bad rules: each gives its error with file and line, and disturbs no other.

use std::fs;
use std::path::Path;

use super::{recording, replay, root, stderr, stdout};

const HEADER: &str = "//! A test.\n//! Why: x\n//! False positives: x\n//! Do: x\n";

/// Replays an attack with the project's rules and one more, and checks the error of that one. The other rules must
/// say what they say without it.
#[track_caller]
fn check(rule: &str, expected: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("broken.rhai");
    fs::write(&path, format!("{HEADER}{rule}")).expect("writable");
    let attack = recording("incidents/addr_flood");
    let rules = root().join("rules");
    let both = ["--rules", rules.to_str().expect("UTF-8"), "--rules", path.to_str().expect("UTF-8")];
    let output = replay(&attack, &both);
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(4), "{errors}");
    for expected in expected {
        assert!(errors.contains(expected), "{expected:?} is not in: {errors}");
    }
    assert!(!errors.contains("panicked"), "{errors}");
    assert_eq!(stdout(&output), stdout(&replay(&attack, &[])));
}

const WINDOWS: &str = "by: [\"message.peer_id\"], windows: #{ pings: #{ count: \"message\", over: \"1m\" } }";

#[test]
fn an_endless_loop_is_ended_and_backed_off() {
    let rule = format!(
        "const RULE = #{{ severity: \"info\", {WINDOWS} }};\nfn check(w, params) {{\n  let x = w.pings;\n  loop {{ x += 1; }}\n}}"
    );
    check(&rule, &["broken.rhai:8:", "operations"]);
}

#[test]
fn a_state_that_grows_for_ever_is_taken_back() {
    let rule = "const RULE = #{ severity: \"info\", on: \"message\", state: #{ seen: [] } };\nfn on_event(e) {\n  this.seen.push(e.addr);\n}";
    check(rule, &["broken.rhai:7:", "`this` holds"]);
}

#[test]
fn a_misspelt_field_of_an_event_names_the_right_one() {
    let rule = "const RULE = #{ severity: \"info\",\n windows: #{ x: #{ sum: \"message.adresses\", over: \"1m\" } } };\nfn check(w, params) { if w.x > 1 { #{} } }";
    check(rule, &["broken.rhai:6:", "message.adresses", "addr.addresses"]);
}

#[test]
fn a_misspelt_window_names_the_right_one() {
    let rule = format!(
        "const RULE = #{{ severity: \"info\", {WINDOWS} }};\nfn check(w, params) {{\n  if w.pins > 1 {{ #{{}} }}\n}}"
    );
    check(&rule, &["broken.rhai:7:", "\"pins\"", "pings"]);
}

#[test]
fn a_misspelt_parameter_names_the_right_one() {
    let rule = format!(
        "const RULE = #{{ severity: \"info\", params: #{{ pings_max: 1 }}, {WINDOWS} }};\nfn check(w, params) {{ if w.pings > params.ping_max {{ #{{}} }} }}"
    );
    check(&rule, &["broken.rhai:6:", "\"ping_max\"", "pings_max"]);
}

#[test]
fn a_misspelt_key_of_rule_names_the_right_one() {
    let rule = format!(
        "const RULE = #{{ severity: \"info\",\n sevrity: 1, {WINDOWS} }};\nfn check(w, params) {{ w.pings; }}"
    );
    check(&rule, &["broken.rhai:6:", "\"sevrity\"", "severity"]);
}

#[test]
fn a_wrong_type_in_a_script_is_found_when_it_runs() {
    let rule = format!(
        "const RULE = #{{ severity: \"info\", {WINDOWS} }};\nfn check(w, params) {{\n  let x = w.pings + #{{}};\n}}"
    );
    check(&rule, &["broken.rhai:7:"]);
    let rule = format!(
        "const RULE = #{{ severity: \"info\", {WINDOWS} }};\nfn check(w, params) {{ if w.pings > 0 {{ true }} }}"
    );
    check(&rule, &["broken.rhai:6:", "a bool", "value, limit, summary"]);
}

#[test]
fn a_wrong_type_in_a_filter_is_found_when_the_rule_loads() {
    let rule = "const RULE = #{ severity: \"info\",\n windows: #{ x: #{ count: \"message\", where: #{ inbound: 1 }, over: \"1m\" } } };\nfn check(w, params) { w.x; }";
    check(rule, &["broken.rhai:6:", "inbound is a whole number, expected true or false"]);
}

#[test]
fn a_syntax_error_has_its_place() {
    check("const RULE = #{ severity: \"info\" ;\n", &["broken.rhai:5:"]);
}

#[test]
fn check_reports_a_rule_without_documentation_and_without_test() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bare.rhai");
    let rule = format!(
        "const RULE = #{{ severity: \"info\", {WINDOWS} }};\nfn check(w, params) {{ if w.pings > 9 {{ #{{}} }} }}"
    );
    fs::write(&path, rule).expect("writable");
    let output = super::tocsin(&[Path::new("check"), &path]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1));
    for expected in ["no `Why:`", "no `Do:`", "no `False positives:`", "has no test"] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn files_that_cannot_be_read_keep_no_other_rule_from_running() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("latin.rhai"), b"//! caf\xe9\n").expect("writable");
    std::os::unix::fs::symlink("nowhere.rhai", folder.path().join("dangling.rhai")).expect("a link");
    std::os::unix::fs::symlink("nowhere.txt", folder.path().join("dangling.txt")).expect("a link");
    let attack = recording("incidents/addr_flood");
    let rules = root().join("rules");
    let both = ["--rules", rules.to_str().expect("UTF-8"), "--rules", folder.path().to_str().expect("UTF-8")];
    let output = replay(&attack, &both);
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(4), "{errors}");
    for file in ["latin.rhai: cannot read the rule", "dangling.rhai: cannot read the rule"] {
        assert!(errors.contains(file), "{errors}");
    }
    assert!(!errors.contains("dangling.txt"), "{errors}");
    assert_eq!(stdout(&output), stdout(&replay(&attack, &[])));
}
