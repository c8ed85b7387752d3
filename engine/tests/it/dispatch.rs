//! Dispatch as timelines: what happens when, and who is told what. All that is told must be in the timeline.

mod properties;
mod scene;

use tocsin_engine::dispatch::Table;
use tocsin_engine::time::Timestamp;

use scene::{Scene, check, routing, told};

/// Groups by name, told to the chat.
const CHAT: &str = r#"
    [route]
    receiver = "chat"
    group_by = ["alertname"]
"#;

#[test]
fn a_new_group_waits_for_more_and_then_tells_changes_at_its_interval() {
    check(
        CHAT,
        "
        0s fire a/1
        10s fire a/2
        30s chat: first a/1 a/2
        1m fire a/3
        5m30s chat: new a/3 a/1 a/2
        6m resolve a/1
        10m30s chat: some_resolved a/2 a/3 -a/1
        11m resolve a/2
        11m resolve a/3
        15m30s chat: all_resolved -a/2 -a/3
        until 6h
        ",
    );
}

#[test]
fn an_alert_that_is_older_than_the_wait_is_told_at_once() {
    check(CHAT, "0s fire a since=-31s\n0s chat: first a\nuntil 1h");
    check(CHAT, "0s fire a since=-29s\n30s chat: first a\nuntil 1h");
    // It brings those forward that wait already.
    check(CHAT, "0s fire a/1\n10s fire a/2 since=-1h\n10s chat: first a/1 a/2\nuntil 1h");
}

#[test]
fn an_unchanged_group_is_repeated() {
    check(
        CHAT,
        "
        0s fire a
        30s chat: first a
        4h30s chat: repeat a
        8h30s chat: repeat a
        9h resolve a
        9h30s chat: all_resolved -a
        until 20h
        ",
    );
}

#[test]
fn an_alert_that_resolves_before_anybody_was_told_is_not_told() {
    let scene = check(CHAT, "0s fire a\n20s resolve a\nuntil 1h");
    assert_eq!(
        scene.decisions("a"),
        [
            "Fired: fires: a is bad; measured 7, limit 5",
            "Grouped chat: route {} -> chat: group {}:{alertname=\"a\"} waits until 2027-01-15T08:00:30.000Z",
            "Resolved: resolved after 20s: it no longer holds",
            "Resolved chat: chat is not told: it resolved before it was told that it fires",
        ]
    );
    assert_eq!(scene.dispatcher.view(scene.now).groups.len(), 0);
    assert_eq!(scene.dispatcher.view(scene.now).alerts.len(), 0);
}

#[test]
fn an_alert_that_fires_again_is_told_again() {
    check(
        CHAT,
        "
        0s fire a
        30s chat: first a
        1m resolve a
        2m fire a
        5m30s chat: new a
        6m resolve a
        10m30s chat: all_resolved -a
        11m fire a
        11m30s chat: first a
        until 12m
        ",
    );
}

#[test]
fn the_first_route_that_matches_wins_unless_it_continues() {
    let tree = r#"
        [route]
        receiver = "chat"
        group_by = ["alertname"]
        [[route.routes]]
        receiver = "phone"
        matchers = ['severity="critical"']
        continue = true
        [[route.routes]]
        receiver = "slow"
        matchers = ['severity=~"critical|warning"']
        group_wait = "10s"
        [[route.routes.routes]]
        receiver = "mute"
        matchers = ['node="n2"']
        [[route.routes]]
        receiver = "chat"
        matchers = ['node="n2"']
    "#;
    check(
        tree,
        "
        0s fire info severity=info
        0s fire warning severity=warning
        0s fire critical severity=critical
        0s fire deep severity=warning node=n2
        10s mute: first deep
        10s slow: first critical
        10s slow: first warning
        30s phone: first critical
        30s chat: first info
        until 40s
        ",
    );
}

#[test]
fn groups_have_the_keys_of_alertmanager() {
    let tree = r#"
        [route]
        receiver = "chat"
        group_by = ["..."]
        [[route.routes]]
        matchers = ['severity="critical"', 'node!="x"']
        group_by = ["alertname", "peer", "none"]
    "#;
    let scene = check(
        tree,
        "
        0s fire a/1 severity=critical
        0s fire b
        30s chat: first a/1
        30s chat: first b
        until 1m
        ",
    );
    let keys: Vec<String> = scene.notifications.iter().map(|n| n.group_key.clone()).collect();
    assert_eq!(
        keys,
        [
            r#"{}/{severity="critical",node!="x"}:{alertname="a", peer="1"}"#,
            r#"{}:{alertname="b", node="n", severity="warning", status="stable"}"#,
        ]
    );
    assert_eq!(scene.notifications[0].group_labels.len(), 2);
    assert_eq!(scene.notifications[0].common_labels.len(), 5);
    assert_eq!(
        scene.notifications[0].reason_text,
        r#"route {severity="critical",node!="x"} -> chat: first notification of the group"#
    );
}

#[test]
fn a_silenced_alert_is_told_when_the_silence_ends_and_it_still_fires() {
    let scene = check(
        CHAT,
        "
        0s silence s1 alertname=a until=12m
        10s fire a
        10s fire b
        40s chat: first b
        15m40s chat: first a
        until 1h
        ",
    );
    let why = "silence s1 by anna until 2027-01-15T08:12:00.000Z: upgrade";
    assert_eq!(scene.decisions("a")[2], format!("Silenced chat: {why}"));
    // Told once, though the group was looked at three times.
    assert_eq!(scene.decisions("a").len(), 4);
}

#[test]
fn what_was_told_as_firing_is_told_as_resolved_through_a_silence() {
    check(
        CHAT,
        "
        0s fire a/1
        0s fire a/2
        30s chat: first a/1 a/2
        1m silence s1 alertname=a until=10h
        1m fire a/3
        2m resolve a/1
        5m30s chat: some_resolved -a/1
        6m resolve a/2
        6m resolve a/3
        10m30s chat: all_resolved -a/2
        until 20h
        ",
    );
}

#[test]
fn a_silence_ends_early_when_it_is_expired_and_cannot_end_twice() {
    let mut scene = check(
        CHAT,
        "
        0s silence s1 alertname=a until=10h
        0s fire a
        1m expire s1
        5m30s chat: first a
        until 10m
        ",
    );
    assert_eq!(
        scene.refused("expire s1"),
        "silence s1 ended at 2027-01-15T08:01:00.000Z, expected one that has not ended"
    );
    assert_eq!(scene.refused("expire s2"), "\"s2\" is no silence, expected the id of one");
    // Expired ones are shown for some days, and then forgotten.
    assert_eq!(scene.dispatcher.view(scene.now).silences.len(), 1);
    scene.run_until("6d");
    assert_eq!(scene.dispatcher.view(scene.now).silences.len(), 0);
    assert!(scene.rows.keys().all(|(table, _)| *table != Table::Silence));
}

#[test]
fn a_silence_that_cannot_be_changed_in_place_is_replaced() {
    let mut scene = check(CHAT, "0s silence s1 alertname=a until=1h\nuntil 1m");
    let outcome = scene.input("silence s1 alertname=a until=2h start=0s");
    assert_eq!(outcome.silence.as_deref(), Some("s1"));
    let outcome = scene.input("silence s1 alertname=b until=2h");
    let id = outcome.silence.expect("made");
    assert_ne!(id, "s1");
    let outcome = scene.input("fire a");
    assert_eq!(outcome.refused, None);
    scene.input("fire b");
    let view = scene.dispatcher.view(scene.now);
    let silenced: Vec<usize> = view.alerts.iter().map(|alert| alert.silenced_by.len()).collect();
    assert_eq!(silenced.iter().sum::<usize>(), 1, "{view:?}");
    assert_eq!(view.alerts.iter().flat_map(|alert| &alert.silenced_by).collect::<Vec<_>>(), [&id]);
}

#[test]
fn replacements_at_the_same_instant_have_ids_of_their_own() {
    let mut scene = check(CHAT, "0s silence s1 alertname=a until=1h\nuntil 1m");
    let first = scene.input("silence s1 alertname=b until=2h").silence.expect("made");
    let second = scene.input("silence s1 alertname=c until=2h").silence.expect("made");
    assert_ne!(first, second);
    scene.input("fire b");
    scene.input("fire c");
    let view = scene.dispatcher.view(scene.now);
    let mut silenced: Vec<&String> = view.alerts.iter().flat_map(|alert| &alert.silenced_by).collect();
    silenced.sort();
    let mut made = [&first, &second];
    made.sort();
    assert_eq!(silenced, made);
}

#[test]
fn there_is_an_end_of_silences_also_for_replacements() {
    let mut scene = Scene::new(CHAT);
    for number in 0..10_000 {
        scene.input(&format!("silence s{number} alertname=a until=1h"));
    }
    let refused = "there are 10000 silences, expected fewer; expired ones go after some days";
    assert_eq!(scene.refused("silence s alertname=a until=1h"), refused);
    assert_eq!(scene.refused("silence s1 alertname=b until=1h"), refused);
    // What is refused changes nothing, and what needs no room is not refused.
    assert_eq!(scene.input("silence s1 alertname=a until=2h").silence.as_deref(), Some("s1"));
}

/// Criticals hide warnings of their node.
const INHIBITED: &str = r#"
    [route]
    receiver = "chat"
    group_by = ["alertname"]
    [[inhibit_rules]]
    source_matchers = ['severity="critical"']
    target_matchers = ['severity=~"warning|critical"']
    equal = ["node", "rack"]
"#;

#[test]
fn an_alert_is_inhibited_while_a_source_with_equal_labels_fires() {
    let scene = check(
        INHIBITED,
        "
        0s fire down severity=critical node=n1
        0s fire slow severity=warning node=n1
        0s fire slow/2 severity=warning node=n2
        30s chat: first down
        30s chat: first slow/2
        6m resolve down
        10m30s chat: all_resolved -down
        10m30s chat: new slow slow/2
        until 1h
        ",
    );
    assert!(scene.decisions("slow")[2].starts_with("Inhibited chat: inhibited while alert "), "{scene:?}");
    assert!(scene.decisions("slow")[2].ends_with("fires: down on n1"));
}

#[test]
fn alerts_that_match_both_sides_do_not_inhibit_each_other() {
    check(
        INHIBITED,
        "
        0s fire down severity=critical
        0s fire up severity=critical
        30s chat: first down
        30s chat: first up
        until 1h
        ",
    );
}

#[test]
fn an_experimental_alert_inhibits_only_experimental_ones() {
    check(
        INHIBITED,
        "
        0s fire down severity=critical status=experimental
        0s fire slow
        0s fire odd status=experimental
        30s chat: first down
        30s chat: first slow
        until 1h
        ",
    );
}

/// The phone is called when nobody acknowledges in a quarter of an hour, and again after an hour.
const ESCALATED: &str = r#"
    [route]
    receiver = "chat"
    group_by = ["alertname"]
    escalate = [{ after = "15m", receiver = "phone" }, { after = "1h", receiver = "phone" }]
"#;

#[test]
fn what_nobody_acknowledges_is_escalated_once_a_step_and_resolved_there_too() {
    let scene = check(
        ESCALATED,
        "
        0s fire a/1
        30s chat: first a/1
        6m fire a/2
        10m30s chat: new a/2 a/1
        15m30s phone: escalation a/1
        25m30s phone: escalation a/2 a/1
        1h30s phone: escalation a/1 a/2
        1h10m30s phone: escalation a/2 a/1
        2h resolve a/1
        2h30s chat: some_resolved a/2 -a/1
        2h30s phone: some_resolved a/2 -a/1
        3h resolve a/2
        3h30s chat: all_resolved -a/2
        3h30s phone: all_resolved -a/2
        until 9h
        ",
    );
    let reason =
        "Escalated phone: route {} -> phone: nobody acknowledged within 15m of telling chat: a on n (peer=1)";
    assert!(scene.decisions("a/1").contains(&reason.to_string()), "{:?}", scene.decisions("a/1"));
    let threads: Vec<(&str, u32)> = scene.told_to("phone").map(|n| (n.thread.as_str(), n.number)).collect();
    let thread = threads[0].0;
    assert_eq!(threads, (1..=6).map(|number| (thread, number)).collect::<Vec<_>>());
}

#[test]
fn an_acknowledged_group_is_neither_escalated_nor_repeated() {
    let scene = check(
        ESCALATED,
        "
        0s fire a/1
        30s chat: first a/1
        14m ack a/1 bob
        5h fire a/2
        5h30s chat: new a/2 a/1
        5h1m ack a/2 bob
        10h resolve a/1
        10h resolve a/2
        10h30s chat: all_resolved -a/1 -a/2
        until 20h
        ",
    );
    let decisions = scene.decisions("a/1");
    assert_eq!(decisions[3], "Acknowledged: acknowledged by bob: on it");
    assert_eq!(decisions[4], "Acknowledged chat: not repeated: acknowledged by bob");
    assert_eq!(scene.notifications[1].alerts[1].acknowledged_by, "bob");
}

#[test]
fn a_new_alert_of_an_acknowledged_group_has_the_whole_time_to_be_acknowledged() {
    check(
        ESCALATED,
        "
        0s fire a/1
        30s chat: first a/1
        14m ack a/1 bob
        2h fire a/2
        2h30s chat: new a/2 a/1
        2h15m30s phone: escalation a/2
        2h16m ack a/2 bob
        until 9h
        ",
    );
}

#[test]
fn an_alert_that_nobody_takes_care_of_does_not_keep_later_ones_from_escalation() {
    check(
        &ESCALATED.replace(", { after = \"1h\", receiver = \"phone\" }", ""),
        "
        0s fire a/1
        30s chat: first a/1
        15m30s phone: escalation a/1
        3h fire a/2 severity=critical
        3h30s chat: new a/2 a/1
        3h15m30s phone: escalation a/2 a/1
        until 6h
        ",
    );
}

#[test]
fn each_alert_is_told_by_each_step_though_two_are_due_at_once() {
    check(
        ESCALATED,
        "
        0s fire a/1
        30s chat: first a/1
        15m30s phone: escalation a/1
        45m fire a/2
        45m30s chat: new a/2 a/1
        1h30s phone: escalation a/1 a/2
        1h45m30s phone: escalation a/2 a/1
        until 4h
        ",
    );
}

#[test]
fn an_alert_that_flaps_does_not_keep_others_from_escalation() {
    check(
        &format!("{ESCALATED}{FLAPPING}"),
        "
        0s fire a/1
        30s chat: first a/1
        1m resolve a/1
        2m fire a/1
        3m resolve a/1
        4m fire a/1
        5m30s chat: flapping ~a/1
        15m30s phone: escalation ~a/1
        16m ack a/1 bob
        20m fire a/2
        20m30s chat: new a/2 ~a/1
        30m resolve a/1
        31m fire a/1
        35m30s phone: escalation a/2 ~a/1
        until 40m
        ",
    );
}

#[test]
fn an_acknowledgement_holds_while_its_alert_flaps_and_ends_when_it_settles_as_resolved() {
    let mut scene = check(
        &format!("{ESCALATED}{FLAPPING}"),
        "
        0s fire a
        30s chat: first a
        1m resolve a
        2m fire a
        3m resolve a
        4m fire a
        5m30s chat: flapping ~a
        6m ack a bob
        7m resolve a
        7m restart
        8m fire a
        40m30s chat: settled a
        41m restart
        2h resolve a
        2h30s chat: all_resolved -a
        3h fire a
        3h30s chat: first a
        3h1m resolve a
        3h2m fire a
        3h3m resolve a
        3h5m30s chat: flapping ~a
        3h6m ack a bob
        until 3h10m
        ",
    );
    let acknowledged =
        |scene: &Scene| scene.rows.keys().filter(|(table, _)| *table == Table::Acknowledgement).count();
    assert_eq!(acknowledged(&scene), 1);
    scene.play("until 3h40m");
    assert_eq!(acknowledged(&scene), 0);
    scene.play("3h50m fire a\nuntil 4h10m");
    assert_eq!(
        scene.lines[6..],
        ["3h35m30s chat: settled -a", "3h50m30s chat: first a", "4h5m30s phone: escalation a"]
    );
}

#[test]
fn what_was_escalated_while_it_flapped_is_not_escalated_again_when_it_settles() {
    check(
        &format!("{}{FLAPPING}", ESCALATED.replace(", { after = \"1h\", receiver = \"phone\" }", "")),
        "
        0s fire a
        30s chat: first a
        1m resolve a
        2m fire a
        3m resolve a
        4m fire a
        5m30s chat: flapping ~a
        15m30s phone: escalation ~a
        20m resolve a
        21m fire a
        55m30s chat: settled a
        55m30s phone: settled a
        until 3h
        ",
    );
}

#[test]
fn an_acknowledgement_ends_with_its_episode_and_can_be_taken_back() {
    let mut scene = check(
        ESCALATED,
        "
        0s fire a
        30s chat: first a
        1m ack a bob
        10m resolve a
        10m30s chat: all_resolved -a
        11m fire a
        11m30s chat: first a
        12m ack a bob
        20m unack a bob
        26m30s phone: escalation a
        until 30m
        ",
    );
    let taken = "Unacknowledged: bob took back the acknowledgement by bob".to_string();
    assert!(scene.decisions("a").contains(&taken), "{scene:?}");
    assert!(scene.refused("unack a bob").ends_with("expected one that somebody acknowledged"));
    assert!(scene.refused("ack b bob").ends_with("expected the id of one that does"));
}

#[test]
fn a_silenced_alert_is_not_escalated() {
    check(
        ESCALATED,
        "
        0s fire a
        30s chat: first a
        5m silence s1 alertname=a until=18m
        20m30s phone: escalation a
        21m silence s2 alertname=a until=10h
        until 9h
        ",
    );
}

/// Four changes within an hour are too many, half an hour without is calm.
const FLAPPING: &str = "\n[flapping]\nchanges = 4\nwithin = \"1h\"\ncalm = \"30m\"";

fn flapping() -> String {
    format!("{CHAT}{FLAPPING}")
}

#[test]
fn an_alert_that_flaps_is_told_once_and_once_more_when_it_settled() {
    let scene = check(
        &flapping(),
        "
        0s fire a
        30s chat: first a
        1m resolve a
        2m fire a
        3m resolve a
        4m fire a
        5m30s chat: flapping ~a
        6m resolve a
        7m fire a
        20m resolve a
        21m fire a
        55m30s chat: settled a
        4h55m30s chat: repeat a
        5h resolve a
        5h30s chat: all_resolved -a
        until 9h
        ",
    );
    let text = &scene.notifications[1].reason_text;
    assert!(
        text.contains(
            "changed 4 times within 1h, and changes are not sent until there was none for 30m: a on n"
        ),
        "{text}"
    );
}

#[test]
fn a_flapping_alert_that_settles_as_resolved_ends_its_thread() {
    check(
        &flapping(),
        "
        0s fire a
        30s chat: first a
        1m resolve a
        2m fire a
        3m resolve a
        5m30s chat: flapping ~a
        35m30s chat: settled -a
        50m fire a
        50m30s chat: first a
        until 1h
        ",
    );
}

#[test]
fn when_a_flapping_alert_settles_no_notification_is_sent_beside_one_that_says_the_same() {
    check(
        &flapping(),
        "
        0s fire a/1
        0s fire a/2
        30s chat: first a/1 a/2
        1m resolve a/1
        2m fire a/1
        3m resolve a/1
        5m30s chat: flapping a/2 ~a/1
        31m resolve a/2
        35m30s chat: all_resolved -a/1 -a/2
        until 1h
        ",
    );
}

#[test]
fn a_flapping_alert_that_nobody_was_told_of_is_told_when_it_fires() {
    check(
        &flapping(),
        "
        0s fire a
        5s resolve a
        10s fire a
        15s resolve a
        1m fire a
        5m30s chat: flapping ~a
        until 20m
        ",
    );
}

#[test]
fn an_orphan_that_the_engine_resolves_itself_is_not_said_to_be_lost() {
    let scene = check(
        CHAT,
        "
        0s fire a
        30s chat: first a
        1m restart
        1m reconcile
        2m resolve a
        3m fire a since=-3m
        5m30s chat: all_resolved -a
        until 1h
        ",
    );
    assert_eq!(scene.notifications[1].reason_text, "route {} -> chat: all alerts resolved");
}

/// Two notifications at once, and one more every ten minutes.
const SLOW: &str = r#"
    [route]
    receiver = "slow"
    group_by = ["alertname"]
    [[route.routes]]
    matchers = ['severity="critical"']
    receiver = "chat"
"#;

#[test]
fn what_a_rate_limit_holds_back_is_told_in_one_digest_and_nothing_is_lost() {
    let scene = check(
        SLOW,
        "
        0s fire a
        1s fire b
        2s fire c
        3s fire d
        30s slow: first a
        31s slow: first b
        4m resolve c
        5m fire d/2
        10m30s slow: digest d/2 d -c
        until 1h
        ",
    );
    let digest = &scene.notifications[2];
    assert_eq!(
        digest.reason_text,
        "slow: the rate limit of 2 in 20m held back 2 groups since 2027-01-15T08:00:32.000Z; 2 alerts firing, 1 \
         resolved: {}:{alertname=\"c\"} (0 firing, 1 resolved), {}:{alertname=\"d\"} (2 firing, 0 resolved)"
    );
    assert!(scene.decisions("c").iter().any(|decision| {
        decision.starts_with("RateLimited slow: the rate limit of 2 in 20m holds it back since")
    }));
    // What the digest told is known: its resolve follows.
    let lines = told(SLOW, "0s fire a\n0s fire b\n0s fire c\n0s fire d\n12m resolve d\nuntil 1h");
    assert_eq!(lines[2..], ["10m30s slow: digest c d", "20m30s slow: all_resolved -d"]);
}

#[test]
fn that_an_alert_flaps_is_said_to_be_held_back_too() {
    let scene = check(
        &format!("{SLOW}{FLAPPING}"),
        "
        0s fire a
        0s fire b
        30s slow: first a
        30s slow: first b
        1m resolve a
        2m fire a
        3m resolve a
        10m30s slow: flapping ~a
        until 11m
        ",
    );
    assert!(
        scene.decisions("a").iter().any(|decision| decision.starts_with("RateLimited slow: ")),
        "{scene:?}"
    );
}

#[test]
fn one_group_that_was_held_back_is_told_as_itself() {
    check(
        SLOW,
        "
        0s fire a
        0s fire b
        0s fire c
        30s slow: first a
        30s slow: first b
        10m30s slow: first c
        until 1h
        ",
    );
}

#[test]
fn receivers_that_wake_people_do_not_get_experimental_alerts() {
    let scene = check(
        "[route]\nreceiver = \"phone\"\ngroup_by = [\"node\"]",
        "
        0s fire a status=experimental
        0s fire b
        30s phone: first b
        6m resolve a
        until 1h
        ",
    );
    assert_eq!(
        scene.decisions("a")[2],
        "Experimental phone: its rule is experimental and phone wakes people"
    );
}

#[test]
fn receivers_that_want_no_resolves_get_none() {
    check(
        "[route]\nreceiver = \"mute\"\ngroup_by = [\"node\"]",
        "
        0s fire a
        0s fire b
        30s mute: first a b
        6m resolve a
        7m fire c
        10m30s mute: new c b
        11m resolve b
        11m resolve c
        16m fire a
        16m30s mute: first a
        until 1h
        ",
    );
}

#[test]
fn after_a_restart_escalation_and_repeats_wait_for_the_engine() {
    check(
        ESCALATED,
        "
        0s fire a
        0s fire b
        30s chat: first a
        30s chat: first b
        10m away 5h
        5h10m fire c since=-1h
        5h10m chat: first c
        5h11m resolve a
        5h11m reconcile b c
        5h11m phone: escalation b
        5h15m chat: all_resolved -a
        5h15m chat: repeat b
        5h25m phone: escalation c
        until 6h
        ",
    );
}

#[test]
fn an_engine_that_says_nothing_does_not_hold_back_escalation_for_ever() {
    check(
        ESCALATED,
        "
        0s fire a
        30s chat: first a
        10m away 5h
        5h12m phone: escalation a
        5h13m reconcile a
        5h15m chat: repeat a
        until 6h
        ",
    );
}

#[test]
fn alerts_the_engine_no_longer_knows_after_a_restart_are_resolved_after_a_while() {
    let scene = check(
        CHAT,
        "
        0s fire a/1
        0s fire a/2
        0s fire a/3
        30s chat: first a/1 a/2 a/3
        1m restart
        1m reconcile a/1
        3m refresh a/3
        10m30s chat: some_resolved a/1 a/3 -a/2
        until 1h
        ",
    );
    let decisions = scene.decisions("a/2");
    let resolved = decisions.iter().find(|decision| decision.starts_with("Resolved"));
    assert_eq!(
        resolved.map(String::as_str),
        Some("Resolved: resolved after 6m: the engine no longer knows it since a restart or a reload")
    );
    let text = &scene.notifications[1].reason_text;
    assert!(text.ends_with("; the engine no longer knows of some since a restart or a reload"), "{text}");
}

#[test]
fn an_alert_that_is_pending_after_a_restart_is_resolved_only_when_it_is_no_longer() {
    let pending: String = (2..12).map(|minute| format!("{minute}m reconcile ?a/1 ?a/2\n")).collect();
    check(
        CHAT,
        &format!(
            "
            0s fire a/1
            0s fire a/2
            30s chat: first a/1 a/2
            1m restart
            1m reconcile ?a/1 ?a/2
            {pending}
            11m30s reconcile ?a/2
            12m fire a/2
            12m reconcile a/2
            20m30s chat: some_resolved a/2 -a/1
            20m45s resolve a/2
            25m30s chat: all_resolved -a/2
            until 1h
            "
        ),
    );
}

#[test]
fn an_alert_that_the_engine_knows_after_all_fires_again() {
    check(
        CHAT,
        "
        0s fire a
        30s chat: first a
        1m reconcile
        10m30s chat: all_resolved -a
        20m refresh a
        20m chat: first a
        21m refresh a
        until 1h
        ",
    );
}

#[test]
fn an_alert_goes_on_if_the_engine_lost_its_state_and_finds_it_again() {
    check(
        CHAT,
        "
        0s fire a
        30s chat: first a
        1m restart
        1m reconcile
        2m fire a
        2m fire a
        20m resolve a
        20m30s chat: all_resolved -a
        until 1h
        ",
    );
}

#[test]
fn changes_that_come_again_after_a_crash_change_nothing() {
    check(
        CHAT,
        "
        0s fire a
        30s chat: first a
        1m resolve a
        2m fire a
        5m30s chat: new a
        6m fire a since=-6m
        6m resolve a since=-6m at=-5m
        6m fire a since=-4m
        7m resolve a since=-5m
        10m30s chat: all_resolved -a
        11m fire a since=-11m
        11m resolve a since=-11m at=-10m
        11m fire a since=-9m
        11m resolve a since=-9m
        until 1h
        ",
    );
}

#[test]
fn an_alert_that_fires_anew_while_it_fires_begins_another_episode() {
    let scene = check(
        CHAT,
        "
        0s fire a
        30s chat: first a
        1m fire a
        5m30s chat: new a
        until 1h
        ",
    );
    let starts: Vec<i64> = scene.notifications.iter().map(|n| n.alerts[0].starts_at).collect();
    assert_eq!(starts[1] - starts[0], 60_000);
    assert!(scene.decisions("a").contains(&"Resolved: resolved after 1m: it fires anew".to_string()));
}

#[test]
fn under_another_routing_a_receiver_is_not_told_again_what_it_knows() {
    let mut scene = check(CHAT, "0s fire a\n0s fire b\n30s chat: first a\n30s chat: first b\nuntil 1m");
    let other = r#"
        [route]
        receiver = "chat"
        group_by = ["node"]
        [[route.routes]]
        receiver = "phone"
        matchers = ['alertname="b"']
    "#;
    let notes = scene.restart(routing(other));
    assert_eq!(
        notes[..2],
        [
            "group {}:{alertname=\"a\"} of chat is dropped: its route is gone",
            "group {}:{alertname=\"b\"} of chat is dropped: its route is gone",
        ]
    );
    assert!(notes[2].starts_with("chat is not told any more of alert "), "{notes:?}");
    scene.play("6m resolve a\nuntil 11m");
    assert_eq!(scene.lines[2..], ["1m phone: first b", "10m30s chat: all_resolved -a"]);
    // What is gone is gone from the store too.
    let notes = scene.restart(routing(other));
    assert_eq!(notes, [""; 0]);
}

#[test]
fn under_another_routing_what_was_escalated_is_not_escalated_again() {
    let mut scene = check(ESCALATED, "0s fire a\n30s chat: first a\n15m30s phone: escalation a\nuntil 20m");
    let notes = scene.restart(routing(&ESCALATED.replace("alertname", "node")));
    assert_eq!(notes, ["group {}:{alertname=\"a\"} of chat is dropped: its route is gone"]);
    scene.play("25m resolve a\nuntil 1h");
    assert_eq!(scene.lines[2..], ["25m30s chat: all_resolved -a", "25m30s phone: all_resolved -a"]);
    // It is the same conversation.
    let threads: Vec<(&str, u32)> = scene.told_to("phone").map(|n| (n.thread.as_str(), n.number)).collect();
    assert_eq!(threads, [(threads[0].0, 1), (threads[0].0, 2)]);
}

#[test]
fn a_route_below_may_take_off_escalation() {
    let tree = format!(
        "{ESCALATED}[[route.routes]]\nmatchers = ['alertname=\"a\"']\nescalate = []\n\
         [[route.routes]]\nmatchers = ['alertname=\"b\"']"
    );
    check(
        &tree,
        "
        0s fire a
        0s fire b
        30s chat: first a
        30s chat: first b
        15m30s phone: escalation b
        until 20m
        ",
    );
}

#[test]
fn an_experimental_alert_is_not_escalated_to_who_is_woken() {
    let scene = check(ESCALATED, "0s fire a status=experimental\n30s chat: first a\nuntil 2h");
    let decisions = scene.decisions("a");
    assert_eq!(decisions[3..], ["Experimental phone: its rule is experimental and phone wakes people"]);
}

#[test]
fn a_change_stores_a_few_rows_however_many_alerts_there_are() {
    let mut scene = Scene::new(CHAT);
    for number in 0..2000 {
        let outcome = scene.input(&format!("fire a/{number}"));
        assert!(outcome.rows.len() <= 3, "{} rows for alert {number}", outcome.rows.len());
    }
    scene.run_until("1m");
    assert_eq!(scene.lines.len(), 1);
    let bytes: usize =
        scene.input("fire a/new").rows.iter().flat_map(|row| &row.value).map(|value| value.len()).sum();
    assert!(bytes < 2000, "{bytes} bytes for one change");
    // A flush that finds nothing to tell stores when the next one is.
    scene.run_until("6m");
    scene.run_until("11m");
    assert_eq!(scene.lines.len(), 2);
}

#[test]
fn a_clock_that_was_set_back_while_away_delays_nothing() {
    let tree = SLOW.replace("[[route.routes]]", "group_interval = \"1h\"\n[[route.routes]]");
    let mut scene = check(
        &tree,
        "
        1000h fire a
        1000h30s slow: first a
        1000h1m fire b
        1000h1m30s slow: first b
        1000h2m fire c
        1000h2m resolve a
        until 1000h3m
        ",
    );
    scene.now = Timestamp::from_unix_ms(scene::START_MS);
    scene.restart(routing(&tree));
    scene.play("until 2h");
    // A minute of the ten had passed before; the others begin now.
    assert_eq!(scene.lines[2..], ["9m slow: first c", "1h slow: all_resolved -a"]);
}

#[test]
fn escalation_may_be_to_the_same_receiver() {
    check(
        &ESCALATED.replace("phone", "chat"),
        "
        0s fire a
        30s chat: first a
        15m30s chat: escalation a
        1h30s chat: escalation a
        2h resolve a
        2h30s chat: all_resolved -a
        until 9h
        ",
    );
}

#[test]
fn damaged_rows_are_left_out_and_named() {
    let mut scene = check(CHAT, "0s fire a\n30s chat: first a\nuntil 1m");
    for value in scene.rows.values_mut() {
        value.truncate(value.len() / 2);
    }
    let notes = scene.restart(routing(CHAT));
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(notes[0].starts_with("stored Alert \""), "{notes:?}");
    scene.play("2m fire a\nuntil 3m");
    assert_eq!(scene.lines[1..], ["2m30s chat: first a"]);
}

#[test]
fn long_lists_and_texts_are_bounded() {
    let many: String = (0..1000).map(|n| format!("0s fire a/{n}\n")).collect();
    let scene = Scene::played(CHAT, &format!("{many}until 1m"));
    let [notification] = &scene.notifications[..] else { panic!("{:?}", scene.lines) };
    assert_eq!((notification.alerts.len(), notification.truncated_alerts), (200, 800));
    // The others were told too, and resolve.
    let mut scene = scene;
    let all: String = (0..1000).map(|n| format!("2m resolve a/{n}\n")).collect();
    scene.play(&format!("{all}until 6m"));
    assert_eq!(scene.notifications[1].truncated_alerts, 800);
    let view = scene.dispatcher.view(scene.now);
    assert_eq!((view.alerts.len(), view.groups.len()), (0, 0));

    let mut scene = Scene::new(CHAT);
    scene.input(&format!("fire a summary={} peer={}", "é".repeat(100_000), "x".repeat(100_000)));
    scene.run_until("1m");
    let alert = &scene.notifications[0].alerts[0];
    assert!(alert.annotations["summary"].len() < 9000 && alert.labels["peer"].len() < 1100);
}

#[test]
fn what_is_wrong_with_a_routing_is_said_at_once() {
    let wrong = r#"
        [route]
        receiver = "chat"
        matchers = ['a="b"']
        mute_time_intervals = ["night"]
        group_interval = "0s"
        [[route.routes]]
        receiver = "x"
        group_by = ["...", "a", "a", ""]
        mute_time_intervals = ["noon"]
        escalate = [{ after = "0s", receiver = "y" }]
        [[inhibit_rules]]
        source_matchers = []
        target_matchers = ['a="b"']
        equal = [""]
        [[time_intervals]]
        name = "night"
        time_intervals = []
        [flapping]
        changes = 1
        calm = "0s"
    "#;
    let errors = scene::try_routing(wrong).expect_err("wrong");
    assert_eq!(
        errors,
        [
            "dispatch.route.matchers has 1, expected none as the root takes every alert; put them into a \
             [[dispatch.route.routes]]",
            "dispatch.route.mute_time_intervals has 1, expected none as the root is never muted and routes below do \
             not take it over; put it into each [[dispatch.route.routes]] that it is for",
            "dispatch.route.group_interval is 0, expected a span longer than nothing, as \"5m\"",
            "dispatch.route.routes[0].receiver is \"x\", expected one of \"chat\", \"phone\", \"mute\", \"slow\"",
            "dispatch.route.routes[0].group_by[2] is \"a\", which is there already, expected it once",
            "dispatch.route.routes[0].group_by[3] is empty, expected the name of a label",
            "dispatch.route.routes[0].group_by has \"...\" and labels, expected \"...\" alone or labels alone",
            "dispatch.route.routes[0].mute_time_intervals[0] is \"noon\", expected one of \"night\"",
            "dispatch.route.routes[0].escalate[0].receiver is \"y\", expected one of \"chat\", \"phone\", \
             \"mute\", \"slow\"",
            "dispatch.route.routes[0].escalate[0].after is 0, expected a span longer than nothing, as \"5m\"",
            "dispatch.inhibit_rules[0].source_matchers is empty, expected one matcher or more",
            "dispatch.inhibit_rules[0].equal[0] is empty, expected the name of a label",
            "dispatch.flapping.changes is 1, expected 2 to 1000, or 0 for never",
            "dispatch.flapping.calm is 0, expected a span longer than nothing, as \"5m\"",
        ]
    );
    let errors = scene::try_routing("[route]").expect_err("no receiver");
    assert_eq!(
        errors,
        ["dispatch.route.receiver is not there, expected one of \"chat\", \"phone\", \"mute\", \"slow\""]
    );
}

/// Nights are quiet, and the phone rings at weekends only. Scenes begin at eight on a Friday.
const MUTED: &str = r#"
    [route]
    receiver = "chat"
    group_by = ["alertname"]
    [[route.routes]]
    matchers = ['severity="critical"']
    receiver = "phone"
    active_time_intervals = ["weekend"]
    [[route.routes]]
    mute_time_intervals = ["night"]
    repeat_interval = "7d"
    [[time_intervals]]
    name = "night"
    time_intervals = [{ times = [{ start_time = "08:00", end_time = "10:00" }] }]
    [[time_intervals]]
    name = "weekend"
    time_intervals = [{ weekdays = ["saturday", "sunday"] }]
"#;

#[test]
fn a_muted_route_tells_when_its_time_comes_but_resolves_at_any_time() {
    let scene = check(
        MUTED,
        "
        0s fire a
        1h30m resolve a
        1h30m fire b
        2h30s chat: first b
        23h fire c
        23h30s chat: first c
        24h1m resolve c
        24h5m30s chat: all_resolved -c
        until 25h
        ",
    );
    assert_eq!(scene.decisions("a")[2], "Muted chat: its route is muted at this time by \"night\"");
    assert_eq!(scene.decisions("a").len(), 5);
}

#[test]
fn a_route_below_a_muted_one_is_not_muted() {
    let tree =
        MUTED.replace("repeat_interval = \"7d\"", "[[route.routes.routes]]\nmatchers = ['alertname=\"b\"']");
    check(&tree, "0s fire a\n0s fire b\n30s chat: first b\nuntil 1h");
}

#[test]
fn outside_of_its_active_times_a_route_tells_nothing() {
    let scene = check(
        MUTED,
        "
        0s fire a severity=critical
        16h30s phone: first a
        until 17h
        ",
    );
    assert_eq!(scene.decisions("a")[2], "Muted phone: its route is muted at this time by \"weekend\"");
    let early = Scene::played(MUTED, "0s fire a severity=critical\nuntil 1m");
    assert_eq!(early.dispatcher.view(early.now).alerts[0].muted_by, ["weekend"]);
}

#[test]
fn the_view_says_who_hides_what() {
    let scene = check(
        INHIBITED,
        "
        0s silence s1 alertname=down until=1h
        0s fire down severity=critical
        0s fire slow
        0s ack slow bob
        until 10s
        ",
    );
    let view = scene.dispatcher.view(scene.now);
    let find = |name: &str| view.alerts.iter().find(|alert| alert.labels["alertname"] == name).expect(name);
    assert_eq!(find("down").silenced_by, ["s1"]);
    assert_eq!(find("slow").inhibited_by, [find("down").fingerprint]);
    assert_eq!(find("slow").receivers, ["chat"]);
    assert_eq!(find("slow").acknowledgement.as_ref().map(|ack| ack.by.as_str()), Some("bob"));
    assert_eq!(view.groups.iter().map(|group| group.alerts.len()).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(view.receivers, ["chat", "phone", "mute", "slow"]);
}
