//! What a person reads.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use tocsin_notifiers::template::{Message, TEXT_BYTES_MAX, TITLE_MAX, TemplateConfig, Templates};
use tocsin_proto::pb::notification::{Alert, Evidence, Notification, Point, Reason, Status};

const AT: i64 = 1_795_280_405_000;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn firing(rule: &str, node: &str, severity: &str, peer: &str) -> Alert {
    Alert {
        fingerprint: format!("{:0>16}", peer),
        status: Status::Firing as i32,
        labels: map(&[
            ("alertname", rule),
            ("node", node),
            ("severity", severity),
            ("status", "stable"),
            ("peer_id", peer),
        ]),
        annotations: map(&[
            ("summary", &format!("peer {peer} announced 1160 addresses in 10 min, 60 are allowed")),
            ("why", "an honest peer relays few"),
            ("runbook", "compare other nodes, see https://example.org/runbook."),
        ]),
        starts_at: AT - 725_000,
        value: Some(1160.0),
        limit: Some(60.0),
        evidence: Some(Evidence {
            quantity: "sum of message.addresses over 10m".to_string(),
            unit: String::new(),
            points: [0.0, 300.0, 1160.0].map(|value| Point { at: AT, value, limit: Some(60.0) }).to_vec(),
        }),
        ..Alert::default()
    }
}

fn resolved(rule: &str, node: &str, severity: &str, peer: &str) -> Alert {
    Alert { status: Status::Resolved as i32, ends_at: AT - 5_000, ..firing(rule, node, severity, peer) }
}

fn notification(reason: Reason, alerts: Vec<Alert>) -> Notification {
    Notification {
        id: "0123456789abcdef0123456789abcdef".to_string(),
        decided_at: AT,
        receiver: "ops".to_string(),
        reason: reason as i32,
        reason_text: "first notification of the group".to_string(),
        alerts,
        external_url: "https://tocsin.example/".to_string(),
        ..Notification::default()
    }
}

fn render(notification: &Notification) -> Message {
    Templates::default().render(notification, &TimeZone::get("Europe/Berlin").expect("bundled"))
}

fn templates(text: &str) -> Result<Templates, String> {
    Templates::new(&TemplateConfig { text: Some(text.to_string()), ..TemplateConfig::default() })
}

#[track_caller]
fn check_title(reason: Reason, alerts: Vec<Alert>, title: &str) {
    assert_eq!(render(&notification(reason, alerts)).title, title);
}

#[test]
fn the_title_says_what_is_wrong_where() {
    let two =
        || vec![firing("addr_flood", "hal", "warning", "7"), firing("addr_flood", "hal", "critical", "8")];
    check_title(Reason::FirstNotification, two(), "[FIRING 2] addr_flood on hal (critical)");
    check_title(
        Reason::AllResolved,
        vec![resolved("addr_flood", "hal", "critical", "7")],
        "[RESOLVED] addr_flood on hal",
    );
    let mixed =
        vec![firing("addr_flood", "hal", "warning", "7"), resolved("tip_stalled", "len", "critical", "8")];
    check_title(Reason::SomeResolved, mixed, "[FIRING 1, RESOLVED 1] addr_flood on hal (warning)");
    check_title(Reason::Escalation, two(), "[ESCALATED, FIRING 2] addr_flood on hal (critical)");
    check_title(Reason::Flapping, two(), "[FLAPPING] addr_flood on hal (critical)");
    check_title(Reason::Settled, two(), "[SETTLED, FIRING 2] addr_flood on hal (critical)");
    check_title(Reason::Test, two(), "[TEST] addr_flood on hal (critical)");
    let nodes = ["a", "b", "c", "d"].map(|node| firing("addr_flood", node, "info", "1"));
    check_title(
        Reason::Digest,
        nodes.to_vec(),
        "[DIGEST, FIRING 4] addr_flood on a, b and 2 more nodes (info)",
    );
    check_title(Reason::Emergency, vec![], "[EMERGENCY] first notification of the group");
}

#[test]
fn the_text_tells_what_since_when_and_what_to_do() {
    let alerts = vec![
        firing("addr_flood", "hal", "warning", "7"),
        firing("addr_flood", "hal", "warning", "8"),
        resolved("tip_stalled", "hal", "critical", "9"),
    ];
    let message = render(&notification(Reason::NewAlerts, alerts));
    let expected = "\
[FIRING 2, RESOLVED 1] addr_flood on hal (warning)

addr_flood (warning)

peer 7 announced 1160 addresses in 10 min, 60 are allowed
  1160 against a limit of 60 (sum of message.addresses over 10m)  ▁▃█
  since 2026-11-21 17:48:00 CET (12 min 5 s)
  peer_id=7 (id 0000000000000007)

peer 8 announced 1160 addresses in 10 min, 60 are allowed
  1160 against a limit of 60 (sum of message.addresses over 10m)  ▁▃█
  since 2026-11-21 17:48:00 CET (12 min 5 s)
  peer_id=8 (id 0000000000000008)

What to do: compare other nodes, see https://example.org/runbook.

Why: an honest peer relays few

tip_stalled (critical)

peer 9 announced 1160 addresses in 10 min, 60 are allowed
  1160 against a limit of 60 (sum of message.addresses over 10m)  ▁▃█
  resolved 2026-11-21 18:00:00 CET after 12 min
  peer_id=9 (id 0000000000000009)

Sent because: first notification of the group
More of one: tocsin alerts explain 0000000000000007
https://tocsin.example/
";
    assert_eq!(message.text, expected);
}

#[test]
fn the_html_says_the_same_and_links() {
    let message =
        render(&notification(Reason::FirstNotification, vec![firing("addr_flood", "hal", "warning", "7")]));
    let expected = "\
<h4><font color=\"#fb8c00\" data-mx-color=\"#fb8c00\">[FIRING 1]</font> addr_flood on hal (warning)</h4>
<p><strong>peer 7 announced 1160 addresses in 10 min, 60 are allowed</strong><br>1160 against a limit of 60 \
(sum of message.addresses over 10m)<br>since 2026-11-21 17:48:00 CET (12 min 5 s)<br><em>peer_id=7</em> · \
<code>0000000000000007</code></p>
<p><strong>What to do:</strong> compare other nodes, see \
<a href=\"https://example.org/runbook\">https://example.org/runbook</a>.</p>
<p><strong>Why:</strong> an honest peer relays few</p>
<p><em>Sent because: first notification of the group</em></p>
<p><em>More of one:</em> <code>tocsin alerts explain 0000000000000007</code></p>
<p><a href=\"https://tocsin.example/\">https://tocsin.example/</a></p>
";
    assert_eq!(message.html.replace("&#x2f;", "/"), expected);
}

#[test]
fn a_hostile_text_stays_text_of_one_line() {
    let hostile = "</h4><script>alert(1)</script>\r\nBcc: everyone@example.org\u{202e} {{ 7 * 7 }} @everyone";
    let mut alert = firing(hostile, hostile, "warning", hostile);
    alert.annotations = map(&[("summary", hostile), ("why", hostile), ("runbook", hostile)]);
    alert.acknowledged_by = hostile.to_string();
    let message = render(&notification(Reason::FirstNotification, vec![alert]));
    assert!(!message.title.contains(['\r', '\n', '\u{202e}']), "{}", message.title);
    assert!(message.title.chars().count() <= TITLE_MAX);
    assert!(!message.html.contains("<script"), "{}", message.html);
    assert!(!message.text.contains('\u{202e}'));
    assert!(message.text.lines().all(|line| !line.starts_with("Bcc")), "{}", message.text);
    assert!(message.text.contains("{{ 7 * 7 }}"));
}

#[test]
fn ten_alerts_are_shown_in_full_and_the_rest_counted() {
    let mut alerts: Vec<Alert> =
        (0..25).map(|peer| firing("addr_flood", "hal", "warning", &peer.to_string())).collect();
    alerts.push(firing("tip_stalled", "len", "critical", "1"));
    let told = Notification { truncated_alerts: 4, ..notification(Reason::FirstNotification, alerts) };
    let message = render(&told);
    assert!(message.title.starts_with("[FIRING 26+]"), "{}", message.title);
    assert_eq!(message.text.matches("since 2026").count(), 10);
    let rest = "Not shown: 15 of addr_flood on hal, 1 of tip_stalled on len, 4 more";
    assert!(message.text.contains(rest), "{}", message.text);
    assert_eq!(message.text.matches("What to do").count(), 1);
    assert!(message.html.contains("15 of addr_flood on hal"));
}

#[test]
fn the_greatest_notification_still_makes_a_bounded_text() {
    let long = "<&\"'>".repeat(20_000);
    let alert = |index: usize| {
        let mut alert = firing(&format!("{index}{long}"), &long, "warning", &long);
        alert.annotations =
            map(&[("summary", &long), ("why", &long), ("runbook", &long), ("references", &long)]);
        alert
    };
    let message = render(&notification(Reason::FirstNotification, (0..40).map(alert).collect()));
    assert!(message.text.len() <= TEXT_BYTES_MAX, "{}", message.text.len());
    assert!(message.html.len() <= TEXT_BYTES_MAX, "{}", message.html.len());
    assert!(message.title.chars().count() <= TITLE_MAX);
    assert!(message.html.ends_with("</p>\n") || message.html.ends_with("</h4>\n"), "it is cut in the middle");
}

#[test]
fn a_notification_without_anything_still_makes_a_message() {
    let message =
        render(&Notification { reason_text: "the store is full".to_string(), ..Notification::default() });
    assert_eq!(message.title, "the store is full");
    assert!(message.text.starts_with("the store is full\n"));
}

#[test]
fn a_template_of_ones_own_takes_the_place_of_ours() {
    let config = TemplateConfig {
        title: Some("{{ severity | upper }}: {{ names | join(' ') }}\n".to_string()),
        text: Some(
            "{% for a in firing %}{{ a.labels.peer_id }} {{ a.value | number }} {{ a.starts_at | time }} \
             {{ a.lasted_ms | duration }}{% endfor %}"
                .to_string(),
        ),
        html: Some("<p>{{ alerts[0].summary }}</p>".to_string()),
    };
    let mut alert = firing("addr_flood", "hal", "warning", "7");
    alert.annotations.insert("summary".to_string(), "a <b>".to_string());
    let message = Templates::new(&config)
        .expect("it is right")
        .render(&notification(Reason::FirstNotification, vec![alert]), &TimeZone::UTC);
    assert_eq!(message.title, "WARNING: addr_flood");
    assert_eq!(message.text, "7 1160 2026-11-21 16:48:00 UTC 12 min 5 s\n");
    assert_eq!(message.html, "<p>a &lt;b&gt;</p>\n");
}

#[test]
fn our_texts_begin_with_the_receivers_own_title() {
    let config =
        TemplateConfig { title: Some("node {{ nodes[0] }} <ill>".to_string()), ..TemplateConfig::default() };
    let told = notification(Reason::FirstNotification, vec![firing("addr_flood", "hal", "warning", "7")]);
    let message = Templates::new(&config).expect("it is right").render(&told, &TimeZone::UTC);
    assert_eq!(message.title, "node hal <ill>");
    assert!(message.text.starts_with("node hal <ill>\n\npeer 7"), "{}", message.text);
    assert!(message.html.starts_with("<h4>node hal &lt;ill&gt;</h4>"), "{}", message.html);
}

#[test]
fn trouble_of_the_program_itself_is_told_once_and_first() {
    let message = render(&notification(Reason::Emergency, vec![]));
    assert_eq!(message.text, "[EMERGENCY] first notification of the group\n\nhttps://tocsin.example/\n");
}

#[track_caller]
fn check_error(source: &str, parts: &[&str]) {
    let error = templates(source).expect_err("it is wrong");
    for part in parts {
        assert!(error.contains(part), "{error}: expected {part}");
    }
}

#[test]
fn what_is_wrong_with_a_template_is_told_with_its_line() {
    check_error("one\n{% for a in alerts %}", &["text: line 2"]);
    check_error("one\n\n{{ title | shout }}", &["text: ", "title", "is no known name", "headline"]);
    check_error("one\n\n{{ headline | shout }}", &["text: line 3", "shout"]);
    check_error("{% include '/etc/passwd' %}", &["text: line 1", "passwd"]);
    check_error(
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        &["text: ", "fuel"],
    );
    check_error("{% for a in range(3000) %}{{ 'x' * 1000 }}{% endfor %}", &["text: ", "writes more than"]);
}

#[test]
fn a_template_that_fails_falls_back_to_ours_and_says_so() {
    let source = "{% if alerts | length > 1 %}{{ headline | round }}{% endif %}fine";
    let templates = templates(source).expect("fine for a single alert");
    let one = notification(Reason::FirstNotification, vec![firing("addr_flood", "hal", "warning", "7")]);
    assert_eq!(templates.render(&one, &TimeZone::UTC).text, "fine\n");
    let mut two = one.clone();
    two.alerts.push(firing("addr_flood", "hal", "warning", "8"));
    let message = templates.render(&two, &TimeZone::UTC);
    assert!(message.text.starts_with("[FIRING 2] addr_flood on hal (warning)\n"), "{}", message.text);
    assert!(message.text.contains("A template of this receiver failed"), "{}", message.text);
    assert!(message.text.contains("text: line 1"), "{}", message.text);
}

/// What the HTML's tags are, without their attributes.
fn tags(html: &str) -> Vec<String> {
    let inside = html.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default());
    inside.map(|tag| tag.split(' ').next().unwrap_or_default().to_string()).collect()
}

proptest! {
    #[test]
    fn whatever_strangers_write_the_html_has_our_tags_alone(
        texts in prop::collection::vec("\\PC{0,40}|[<>&\"'/=a-z !{}%\n\r\t\\-]{0,60}|https?://[<>\"'a-z ]{0,20}", 8),
        numbers in any::<(i64, i64, i64, f64, f64)>(), reason in 0..12, is_resolved in any::<bool>(),
    ) {
        let mut alert = firing(&texts[0], &texts[1], &texts[2], &texts[3]);
        for (name, text) in ["summary", "why", "runbook", "references"].into_iter().zip(&texts[4..]) {
            alert.annotations.insert(name.to_string(), text.clone());
        }
        alert.acknowledged_by = texts[0].clone();
        (alert.starts_at, alert.ends_at) = (numbers.0, numbers.1);
        (alert.value, alert.limit) = (Some(numbers.3), Some(numbers.4));
        alert.status = if is_resolved { Status::Resolved } else { Status::Firing } as i32;
        let told = Notification {
            decided_at: numbers.2, reason, reason_text: texts[7].clone(), external_url: texts[6].clone(), alerts: vec![alert],
            ..Notification::default()
        };
        let message = render(&told);
        prop_assert!(!message.title.contains(char::is_control), "{:?}", message.title);
        let first = message.text.lines().next().unwrap_or_default();
        prop_assert_eq!(first, message.title.as_str());
        for tag in tags(&message.html) {
            let is_ours = ["h4", "p", "strong", "em", "code", "br", "a", "font"].contains(&tag.trim_start_matches('/'));
            prop_assert!(is_ours, "{tag} in {}", message.html);
        }
        prop_assert!(!message.html.contains("built-in") && !message.text.contains("built-in"), "{}", message.text);
    }
}
