//! The other commands, from outside.

use std::fs;

use super::{recording, replay, stderr, stdout, tocsin};

#[test]
fn events_lists_every_kind_with_type_unit_and_source() {
    let text = stdout(&tocsin(&["events"]));
    for expected in [
        "message.meta.peer_id",
        "peer id",
        "net:inbound_message",
        "getpeerinfo",
        "network_info.connections_in",
    ] {
        assert!(text.contains(expected), "{expected}");
    }
    let one = stdout(&tocsin(&["events", "ping_duration"]));
    assert!(one.contains("ping_duration.duration") && one.contains("ns") && !one.contains("message.meta"));
    assert_eq!(tocsin(&["events", "no_such_kind"]).status.code(), Some(2));
}

#[test]
fn a_parameter_can_be_overridden() {
    let attack = recording("incidents/ping_spam");
    assert_eq!(stdout(&replay(&attack, &["--set", "ping_spam.pings_max=100000"])), "");
    let on_other = replay(&attack, &["--set", "ping_spam.pings_max@hal=100000"]);
    assert_eq!(stdout(&on_other), stdout(&replay(&attack, &[])));
    assert_eq!(stdout(&replay(&attack, &["--node", "hal", "--set", "ping_spam.pings_max@hal=100000"])), "");
    let wrong = replay(&attack, &["--set", "ping_spam.ping_max=1"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("pings_max"), "{}", stderr(&wrong));
    let wrong = replay(&attack, &["--set", "ping_spm.pings_max=1"]);
    assert!(stderr(&wrong).contains("ping_spam"), "{}", stderr(&wrong));
    let wrong = replay(&attack, &["--set", "ping_spam.pings_max=many"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", stderr(&wrong));
}

#[test]
fn text_output_ends_with_a_summary() {
    let output = tocsin(&["replay", recording("incidents/ping_spam").to_str().expect("UTF-8")]);
    let text = stdout(&output);
    assert!(text.contains("FIRING") && text.contains("peer_id=49"), "{text}");
    assert!(text.contains("events/s") && text.contains("fired 1"), "{text}");
}

#[test]
fn a_missed_an_early_and_an_unexpected_alert_fail_the_test() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::copy(recording("incidents/ping_spam"), folder.path().join("recording.bin.zst")).expect("copied");
    let expected = folder.path().join("expected.toml");
    let head = "story = \"x\"\nstart_ms = 1795229908788\nrecordings = [\"recording.bin.zst\"]\n";
    let run = |alerts: &str| {
        fs::write(&expected, format!("{head}{alerts}")).expect("writable");
        let output = tocsin(&["test", expected.to_str().expect("UTF-8")]);
        (output.status.code(), stdout(&output))
    };
    let right = "[[alert]]\nrule = \"ping_spam\"\nkey = { peer_id = 49 }\nfires = \"6s\"\n";
    assert_eq!(run(right).0, Some(0), "{}", run(right).1);
    for (wrong, message) in [
        (String::new(), "was not expected"),
        (right.replace("6s", "60s"), "early"),
        (right.replace("6s", "0s"), "late"),
        (right.replace("49", "50"), "did not fire"),
        (format!("{right}resolves = \"60s\"\n"), "still firing at the end"),
        (right.replace("ping_spam", "inv_flood"), "did not fire"),
    ] {
        let (code, text) = run(&wrong);
        assert_eq!(code, Some(1), "{wrong}");
        assert!(text.contains(message), "{message:?} is not in: {text}");
    }
}

#[test]
fn repeat_makes_a_recording_of_the_length_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let long = folder.path().join("long.bin.zst");
    let short = recording("incidents/ping_spam");
    let arguments =
        ["repeat", short.to_str().expect("UTF-8"), "--events", "40000", "--node", "hal", "--output"];
    let mut arguments: Vec<&str> = arguments.to_vec();
    arguments.push(long.to_str().expect("UTF-8"));
    assert!(tocsin(&arguments).status.success());
    let output = replay(&long, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let firing: Vec<&str> =
        text.lines().filter(|line| line.contains("\"ping_spam\"") && line.contains("firing")).collect();
    // The attack of each round, by a peer of its own.
    assert_eq!(firing.len(), 2, "{text}");
    assert!(firing[0].contains("{\"peer_id\":49}") && firing[1].contains("{\"peer_id\":100049}"), "{text}");
    assert!(text.contains("\"node\":\"hal\""));
}

#[test]
fn help_teaches() {
    let text = stdout(&tocsin(&["--help"]));
    for command in ["replay", "test", "check", "events", "repeat", "Exit codes"] {
        assert!(text.contains(command), "{command}");
    }
}
