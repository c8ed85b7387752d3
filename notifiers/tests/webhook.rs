//! Exact payloads, and every way in which a server can fail.

// Tests have clocks, files and processes.
#![allow(clippy::disallowed_methods)]

mod common;

use std::time::Duration;

use common::{Answer, Received, Server, delivery, fires, firing, notification, notifier, receiver, resolved};
use serde_json::{Value, json};
use tocsin_notifiers::{Failure, NotifyError};
use tocsin_proto::pb::notification::{Notification, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Sends to a server that takes everything; returns what it got.
async fn sent(mut config: Value, notification: Notification) -> Received {
    let server = Server::answering(200).await;
    if config.get("url").is_none() {
        config["url"] = json!(format!("{}/hook", server.url));
    } else {
        config["url"] = json!(server.url);
    }
    let notifier = notifier("webhook", config);
    notifier.notify(&delivery(notification)).await.expect("it is taken");
    server.only()
}

fn file(text: &str) -> (tempfile::NamedTempFile, Value) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("writable");
    let source = json!({"file": file.path()});
    (file, source)
}

#[tokio::test]
async fn the_default_is_alertmanagers_payload() {
    let received = sent(json!({}), notification(Reason::SomeResolved, vec![firing(), resolved()])).await;
    let alert = |status: &str, ends_at: &str| {
        json!({
            "status": status,
            "labels": {"alertname": "addr_flood", "node": "hal", "severity": "critical", "peer_id": "7",
                "agent": "/<@everyone> & *co*/"},
            "annotations": {"summary": "peer 7 </b><!channel> @everyone *flood* & more",
                "why": "an honest peer relays few", "runbook": "compare other nodes"},
            "startsAt": "2026-11-21T16:48:00.123Z",
            "endsAt": ends_at,
            "generatorURL": "https://tocsin.example/",
            "fingerprint": "0123456789abcdef",
        })
    };
    let expected = json!({
        "version": "4",
        "groupKey": "{}:{alertname=\"addr_flood\"}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "ops",
        "groupLabels": {"alertname": "addr_flood"},
        "commonLabels": {"alertname": "addr_flood", "node": "hal"},
        "commonAnnotations": {"why": "an honest peer relays few"},
        "externalURL": "https://tocsin.example/",
        "notification_reason": "some alerts resolved",
        "alerts": [alert("firing", "0001-01-01T00:00:00Z"), alert("resolved", "2026-11-21T17:00:00.123Z")],
    });
    assert_eq!(received.json(), expected);
    assert_eq!(received.path, "/hook");
    assert_eq!(received.header("content-type"), "application/json");
    assert_eq!(received.header("idempotency-key"), "0f".repeat(16));
    assert!(received.header("user-agent").starts_with("tocsin/"));
}

#[tokio::test]
async fn alerts_beyond_the_limit_are_counted() {
    let many = notification(Reason::NewAlerts, vec![firing(), firing(), firing()]);
    let body = sent(json!({"max_alerts": 1}), Notification { truncated_alerts: 5, ..many }).await.json();
    assert_eq!((body["alerts"].as_array().map(Vec::len), &body["truncatedAlerts"]), (Some(1), &json!(7)));
    let all = sent(json!({}), notification(Reason::AllResolved, vec![resolved()])).await.json();
    assert_eq!(
        (&all["status"], &all["notification_reason"]),
        (&json!("resolved"), &json!("all alerts resolved"))
    );
}

#[tokio::test]
async fn slack_gets_text_and_an_attachment_without_mentions() {
    let body = sent(json!({"preset": "slack"}), fires()).await.json();
    let section =
        |text: &str| json!({"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": true}});
    let expected = json!({
        "text": "[FIRING 1] addr_flood on hal (critical) (<https://tocsin.example/|open>)",
        "unfurl_links": false,
        "unfurl_media": false,
        "attachments": [{"color": "#e53935", "blocks": [
            section("*peer 7 &lt;/b&gt;&lt;!channel&gt; @everyone ∗flood∗ &amp; more*\n1160 against a limit of 60 \
                (addresses in 10m)\nsince 2026-11-21 16:48:00 UTC (12 min 5 s)\nid 0123456789abcdef"),
            section("*What to do:* compare other nodes"),
            section("*Why:* an honest peer relays few"),
            {"type": "context", "elements": [{"type": "mrkdwn", "verbatim": true,
                "text": "nobody was told yet · tocsin alerts explain 0123456789abcdef"}]},
        ]}],
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn discord_gets_an_embed_that_calls_nobody() {
    let body = sent(json!({"preset": "discord"}), fires()).await.json();
    let expected = json!({
        "embeds": [{
            "title": "\\[FIRING 1\\] addr\\_flood on hal \\(critical\\)",
            "description": "**peer 7 \\</b\\>\\<!channel\\> \\@everyone \\*flood\\* & more**\n1160 against a limit of 60 \
                \\(addresses in 10m\\)\nsince 2026-11-21 16:48:00 UTC \\(12 min 5 s\\)\nid 0123456789abcdef",
            "color": 0xe5_39_35,
            "timestamp": "2026-11-21T17:00:05.123Z",
            "fields": [
                {"name": "What to do", "value": "compare other nodes"},
                {"name": "Why", "value": "an honest peer relays few"},
            ],
            "footer": {"text": "nobody was told yet · tocsin alerts explain 0123456789abcdef"},
            "url": "https://tocsin.example/",
        }],
        "allowed_mentions": {"parse": []},
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn what_to_do_keeps_its_links() {
    let mut alert = firing();
    alert.annotations.insert("runbook".to_string(), "see *https://a.example/run_book?a=1&b=2*.".to_string());
    alert.annotations.insert("why".to_string(), "(https://a.example/x_y).".to_string());
    let told = || notification(Reason::FirstNotification, vec![alert.clone()]);
    let body = sent(json!({"preset": "slack"}), told()).await.json();
    let text = &body["attachments"][0]["blocks"][2]["text"]["text"];
    assert_eq!(text, "*Why:* (<https://a.example/x_y>).");
    let text = &body["attachments"][0]["blocks"][1]["text"]["text"];
    assert_eq!(text, "*What to do:* see *<https://a.example/run_book?a=1&amp;b=2*>.");
    let body = sent(json!({"preset": "discord"}), told()).await.json();
    assert_eq!(body["embeds"][0]["fields"][1]["value"], "\\(https://a.example/x_y\\).");
}

#[tokio::test]
async fn pagerduty_gets_an_event_of_one_incident_per_thread() {
    let (_kept, key) = file("R0UT1NGKEY");
    let config = json!({"preset": "pagerduty", "routing_key": key, "url": ""});
    let body = sent(config.clone(), fires()).await.json();
    let mut expected = json!({
        "routing_key": "R0UT1NGKEY",
        "event_action": "trigger",
        "dedup_key": "ab".repeat(16),
        "client": "tocsin",
        "client_url": "https://tocsin.example/",
        "links": [{"href": "https://tocsin.example/", "text": "tocsin"}],
        "payload": {
            "summary": "[FIRING 1] addr_flood on hal (critical)",
            "source": "hal",
            "severity": "critical",
            "timestamp": "2026-11-21T16:48:00.123Z",
            "component": "bitcoin node",
            "group": "{}:{alertname=\"addr_flood\"}",
            "class": "addr_flood",
            "custom_details": {
                "What to do": "compare other nodes",
                "Why": "an honest peer relays few",
                "sent because": "nobody was told yet · tocsin alerts explain 0123456789abcdef",
            },
        },
    });
    expected["payload"]["custom_details"]["text"] = body["payload"]["custom_details"]["text"].clone();
    assert_eq!(body, expected);
    let text = body["payload"]["custom_details"]["text"].as_str().expect("a text");
    assert!(text.starts_with("[FIRING 1] addr_flood on hal (critical)\n\npeer 7"), "{text}");

    let over = sent(config.clone(), notification(Reason::AllResolved, vec![resolved()])).await.json();
    assert_eq!((&over["event_action"], &over["dedup_key"]), (&json!("resolve"), &expected["dedup_key"]));
    let mut taken = firing();
    taken.acknowledged_by = "ann".to_string();
    let body = sent(config.clone(), notification(Reason::RepeatInterval, vec![taken.clone()])).await.json();
    assert_eq!(body["event_action"], "acknowledge");
    let body = sent(config, notification(Reason::NewAlerts, vec![taken, firing()])).await.json();
    assert_eq!(body["event_action"], "trigger");
}

#[tokio::test]
async fn ntfy_gets_a_priority_by_severity() {
    let received = sent(json!({"preset": "ntfy", "topic": "nodes", "url": ""}), fires()).await;
    let expected = json!({
        "topic": "nodes",
        "title": "[FIRING 1] addr_flood on hal (critical)",
        "message": "peer 7 </b><!channel> @everyone *flood* & more\n  1160 against a limit of 60 (addresses in 10m)\n  \
            since 2026-11-21 16:48:00 UTC (12 min 5 s)\n  agent=/<@everyone> & *co*/ peer_id=7 (id 0123456789abcdef)\n\n\
            What to do: compare other nodes\n\nWhy: an honest peer relays few\n\nSent because: nobody was told yet\n\
            More of one: tocsin alerts explain 0123456789abcdef\nhttps://tocsin.example/",
        "priority": 5,
        "tags": ["rotating_light"],
        "click": "https://tocsin.example/",
    });
    assert_eq!((received.json(), received.path.as_str()), (expected, "/"));
    let over = notification(Reason::AllResolved, vec![resolved()]);
    let body = sent(json!({"preset": "ntfy", "topic": "nodes"}), over).await.json();
    assert_eq!((&body["priority"], &body["tags"]), (&json!(2), &json!(["white_check_mark"])));
}

#[tokio::test]
async fn telegram_gets_its_html_at_the_bots_address() {
    let (_kept, token) = file("123:T0KEN");
    let config = json!({"preset": "telegram", "token": token, "chat_id": "-1001", "url": ""});
    let received = sent(config, fires()).await;
    let expected = json!({
        "chat_id": -1001,
        "text": "<b>[FIRING 1] addr_flood on hal (critical)</b>\n\n<b>peer 7 &lt;/b&gt;&lt;!channel&gt; @everyone *flood* \
            &amp; more</b>\n1160 against a limit of 60 (addresses in 10m)\nsince 2026-11-21 16:48:00 UTC (12 min 5 s)\n\
            id 0123456789abcdef\n\n<b>What to do</b>: compare other nodes\n\n<b>Why</b>: an honest peer relays few\n\n\
            <i>nobody was told yet · tocsin alerts explain 0123456789abcdef</i>\n\nhttps://tocsin.example/",
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": true},
        "disable_notification": false,
    });
    assert_eq!((received.json(), received.path.as_str()), (expected, "/bot123:T0KEN/sendMessage"));
}

#[tokio::test]
async fn the_greatest_notification_stays_within_the_limits_of_each_service() {
    let long = "<&\"'>*_@\\".repeat(5_000);
    let mut alert = firing();
    alert.acknowledged_by = long.clone();
    for text in alert.annotations.values_mut().chain(alert.labels.values_mut()) {
        *text = long.clone();
    }
    let told = || notification(Reason::FirstNotification, vec![alert.clone(); 40]);
    let count = |value: &Value| value.as_str().expect("a text").chars().count();

    let slack = sent(json!({"preset": "slack"}), told()).await.json();
    let blocks = slack["attachments"][0]["blocks"].as_array().expect("blocks").clone();
    assert!(blocks.len() <= 50);
    assert!(
        blocks
            .iter()
            .filter(|block| block["type"] == "section")
            .all(|block| count(&block["text"]["text"]) <= 3000)
    );

    let embed = sent(json!({"preset": "discord"}), told()).await.json()["embeds"][0].clone();
    let fields = embed["fields"].as_array().expect("fields");
    let in_fields: usize = fields.iter().map(|field| count(&field["name"]) + count(&field["value"])).sum();
    assert!(fields.iter().all(|field| count(&field["value"]) <= 1024));
    assert!(count(&embed["title"]) <= 256 && count(&embed["description"]) <= 4096);
    assert!(
        count(&embed["title"]) + count(&embed["description"]) + count(&embed["footer"]["text"]) + in_fields
            <= 6000
    );

    let (_kept, key) = file("R0UT1NGKEY");
    let received = sent(json!({"preset": "pagerduty", "routing_key": key}), told()).await;
    assert!(received.body.len() < 512_000 && count(&received.json()["payload"]["summary"]) <= 1024);

    let ntfy = sent(json!({"preset": "ntfy", "topic": "nodes"}), told()).await.json();
    assert!(ntfy["message"].as_str().expect("a text").len() <= 4096);

    let (_kept, token) = file("123:T0KEN");
    let received = sent(json!({"preset": "telegram", "token": token, "chat_id": "@ops", "url": ""}), told())
        .await
        .json();
    assert!(count(&received["text"]) <= 4096);
    let text = received["text"].as_str().expect("a text");
    assert_eq!(text.matches("<b>").count(), text.matches("</b>").count());
}

#[tokio::test]
async fn telegram_is_told_as_much_of_a_long_text_as_fits() {
    let (_kept, token) = file("123:T0KEN");
    let telegram = |told: Notification| {
        let config = json!({"preset": "telegram", "token": token, "chat_id": "1", "url": ""});
        async move { sent(config, told).await.json()["text"].as_str().expect("a text").to_string() }
    };
    // 600 characters become 3600; with what follows that is more than a message holds.
    let mut alert = firing();
    let quotes = "\"".repeat(590);
    for name in ["summary", "why", "runbook"] {
        alert.annotations.insert(name.to_string(), format!("{name}{quotes}"));
    }
    let text = telegram(notification(Reason::FirstNotification, vec![alert])).await;
    assert!(text.chars().count() <= 4096, "{}", text.chars().count());
    assert!(text.contains("<b>summary&quot;") && !text.contains("&quot;&q</b>"), "{text}");
    assert!(text.contains("since 2026"), "the details of the alert: {text}");
    assert!(text.contains("\n\n…\n\n<i>nobody was told yet"), "what is cut is said: {text}");
    assert!(text.ends_with("https://tocsin.example/"), "{text}");

    // A receiver's own text.
    let server = Server::answering(200).await;
    let own = json!({"text": "{% for _ in range(1500) %}<&>{% endfor %}"});
    let hook = json!({"preset": "telegram", "token": token, "chat_id": "1", "url": server.url});
    let notifier = receiver(json!({"name": "ops", "templates": own, "webhook": hook}));
    notifier.unwrap_or_else(|error| panic!("{error}")).notify(&delivery(fires())).await.expect("taken");
    let text = server.only().json()["text"].as_str().expect("a text").to_string();
    assert!((3500..=4096).contains(&text.chars().count()), "{}", text.chars().count());
    assert!(text.contains("&lt;&amp;&gt;&lt;") && text.contains('…'), "{text}");
}

#[tokio::test]
async fn how_many_alerts_are_not_shown_is_told_by_each_service() {
    let rule = |name: &str| {
        let mut alert = firing();
        alert.labels.insert("alertname".to_string(), name.to_string());
        alert.annotations.insert("false_positives".to_string(), "a rescan".to_string());
        alert
    };
    let told = || {
        let alerts = ["a", "b", "c", "d"].map(rule).into_iter().cycle().take(30).collect();
        Notification { truncated_alerts: 2, ..notification(Reason::FirstNotification, alerts) }
    };
    let embed = sent(json!({"preset": "discord"}), told()).await.json()["embeds"][0].clone();
    assert_eq!(embed["fields"][0], json!({"name": "Not shown", "value": "22 more alerts"}));
    let slack = sent(json!({"preset": "slack"}), told()).await.json();
    assert!(slack.to_string().contains("*Not shown:* 22 more alerts"), "{slack}");
}

#[tokio::test]
async fn a_digest_of_what_is_over_opens_no_incident() {
    let (_kept, key) = file("R0UT1NGKEY");
    let config = json!({"preset": "pagerduty", "routing_key": key});
    for (alerts, action) in
        [(vec![resolved()], "resolve"), (vec![], "resolve"), (vec![firing(), resolved()], "trigger")]
    {
        let body = sent(config.clone(), notification(Reason::Digest, alerts)).await.json();
        assert_eq!(body["event_action"], action);
    }
}

#[tokio::test]
async fn a_template_makes_a_body_whose_values_are_escaped() {
    let template =
        "{\"what\": {{ headline }}, \"first\": {{ alerts[0].summary }}, \"count\": {{ firing | length }}}";
    let received = sent(json!({"preset": "template", "template": template}), fires()).await;
    let expected = json!({
        "what": "[FIRING 1] addr_flood on hal (critical)",
        "first": "peer 7 </b><!channel> @everyone *flood* & more",
        "count": 1,
    });
    assert_eq!(received.json(), expected);
    let config = json!({"preset": "template", "template": "{{ headline }}", "content_type": "text/plain"});
    let received = sent(config, fires()).await;
    assert_eq!(received.body, "[FIRING 1] addr_flood on hal (critical)\n");
    assert_eq!(received.header("content-type"), "text/plain");
}

#[tokio::test]
async fn a_receivers_own_text_is_what_chats_are_told() {
    let server = Server::answering(200).await;
    let config = json!({
        "name": "ops",
        "templates": {"title": "T {{ severity }}", "text": "mine: {{ alerts[0].fingerprint }}"},
        "webhook": {"preset": "slack", "url": server.url},
    });
    let notifier = receiver(config).unwrap_or_else(|error| panic!("{error}"));
    notifier.notify(&delivery(fires())).await.expect("it is taken");
    let body = server.only().json();
    assert_eq!(body["text"], "T critical (<https://tocsin.example/|open>)");
    assert_eq!(body["attachments"][0]["blocks"][0]["text"]["text"], "mine: 0123456789abcdef");
}

#[tokio::test]
async fn requests_carry_the_login_headers_and_a_signature() {
    let (_token, token) = file("T0KEN");
    let (_key, key) = file("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let (_other, other) = file("s3cret");
    let headers = json!({"X-Plain": "text", "X-Secret": other});
    let config = json!({"bearer_token": token, "hmac_secret": key, "headers": headers});
    let received = sent(config, fires()).await;
    assert_eq!(received.header("authorization"), "Bearer T0KEN");
    assert_eq!((received.header("x-plain"), received.header("x-secret")), ("text", "s3cret"));
    assert_eq!(received.header("webhook-id"), "0f".repeat(16));
    let at_s: i64 = received.header("webhook-timestamp").parse().expect("a number");
    let now_s = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs() as i64;
    assert!((now_s - 300..=now_s).contains(&at_s));
    // Computed here by another way than there: from the key's bytes.
    let key = [
        0x31, 0xf2, 0x90, 0xf6, 0xbf, 0x06, 0x29, 0x8a, 0xab, 0x4f, 0x08, 0xd4, 0x3c, 0x3f, 0x08, 0x2c, 0xf6,
        0x48, 0xa3, 0x62, 0xda, 0x2d, 0xa4, 0xb0,
    ];
    let mut signed = format!("{}.{at_s}.", "0f".repeat(16)).into_bytes();
    signed.extend_from_slice(&received.body);
    let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key), &signed);
    let expected = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, tag);
    assert_eq!(received.header("webhook-signature"), format!("v1,{expected}"));

    let (_password, password) = file("pass");
    let received = sent(json!({"basic_auth": {"username": "ann", "password": password}}), fires()).await;
    assert_eq!(received.header("authorization"), "Basic YW5uOnBhc3M=");
}

/// What comes back if the server answers so.
async fn answered(status: u16, headers: Vec<(&'static str, String)>, body: &str) -> NotifyError {
    let server = Server::start(Answer { status, headers, body: body.to_string() }).await;
    let notifier = notifier("webhook", json!({"url": format!("{}/T0KENPATH/x", server.url)}));
    let error = notifier.notify(&delivery(fires())).await.expect_err("it is refused");
    assert_eq!(server.received().len(), 1, "one attempt makes one request");
    error
}

#[tokio::test]
async fn each_code_says_whether_another_attempt_can_help() {
    for status in [200, 201, 202, 204] {
        let server = Server::answering(status).await;
        let receipt = notifier("webhook", json!({"url": server.url})).notify(&delivery(fires())).await;
        assert!(receipt.is_ok(), "{status}");
    }
    let cases = [
        (400, Failure::ClientError, false),
        (401, Failure::AuthError, true),
        (403, Failure::AuthError, true),
        (404, Failure::ClientError, false),
        (408, Failure::Timeout, true),
        (410, Failure::ClientError, false),
        (413, Failure::ClientError, false),
        (425, Failure::ServerError, true),
        (429, Failure::RateLimited, true),
        (500, Failure::ServerError, true),
        (502, Failure::ServerError, true),
        (503, Failure::ServerError, true),
        (504, Failure::ServerError, true),
        (301, Failure::ClientError, false),
        (307, Failure::ClientError, false),
    ];
    for (status, failure, can_retry) in cases {
        let error = answered(status, Vec::new(), "it says\nwhy").await;
        assert_eq!(
            (error.failure, error.can_retry, error.retry_after),
            (failure, can_retry, None),
            "{status}"
        );
        assert!(error.text.contains(&status.to_string()) && error.text.contains("it says why"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_asks_to_wait_is_heard_in_every_form() {
    let wait = async |status: u16, header: &str, body: &str| {
        let headers = if header.is_empty() { Vec::new() } else { vec![("retry-after", header.to_string())] };
        answered(status, headers, body).await.retry_after
    };
    assert_eq!(wait(429, "17", "").await, Some(Duration::from_secs(17)));
    assert_eq!(wait(503, "120", "").await, Some(Duration::from_secs(120)));
    assert_eq!(
        wait(429, "", r#"{"retry_after": 1.5, "global": false}"#).await,
        Some(Duration::from_millis(1500))
    );
    let telegram = r#"{"ok": false, "parameters": {"retry_after": 35}}"#;
    assert_eq!(wait(429, "", telegram).await, Some(Duration::from_secs(35)));
    assert_eq!(
        wait(429, "Wed, 21 Oct 2015 07:28:00 GMT", "").await,
        Some(Duration::ZERO),
        "a date in the past"
    );
    let day = wait(429, "Fri, 31 Dec 2100 23:59:59 GMT", "").await;
    assert_eq!(day, Some(Duration::from_secs(86_400)), "not for ever");
    assert_eq!(wait(429, "-5", "").await, Some(Duration::ZERO));
    for nothing in ["soon", "NaN", ""] {
        assert_eq!(wait(429, nothing, "{").await, None, "{nothing}");
    }
    assert_eq!(wait(400, "17", "").await, None, "a final answer is final");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::answering(200).await;
    let error = answered(302, vec![("location", format!("{}/stolen", elsewhere.url))], "").await;
    assert!(error.text.contains("expected the final address as url"), "{error}");
    assert_eq!(elsewhere.received().len(), 0);
}

#[tokio::test]
async fn errors_hold_no_secret_even_if_the_server_echoes_it() {
    let (_kept, token) = file("123:T0KEN");
    let echo = r#"{"description": "no chat for /bot123:T0KEN/sendMessage, token 123:T0KEN"}"#;
    let server = Server::start(Answer { status: 404, headers: Vec::new(), body: echo.to_string() }).await;
    let config = json!({"preset": "telegram", "token": token, "chat_id": "1", "url": server.url});
    let error = notifier("webhook", config).notify(&delivery(fires())).await.expect_err("it is refused");
    assert!(!error.text.contains("T0KEN"), "{error}");
    assert!(error.text.contains("no chat for"), "{error}");

    let error = answered(500, Vec::new(), "cannot read /T0KENPATH/x").await;
    assert!(!format!("{error:?}").contains("T0KENPATH"), "{error:?}");

    let (_kept, url) = file("http://127.0.0.1:1/services/T000/SECRET");
    let error =
        notifier("webhook", json!({"preset": "slack", "url_secret": url})).notify(&delivery(fires())).await;
    let error = error.expect_err("nobody listens");
    assert!(error.text.contains("127.0.0.1") && !format!("{error:?}").contains("SECRET"), "{error:?}");
}

#[tokio::test]
async fn a_login_is_hidden_in_every_form_that_a_server_can_echo() {
    // What a server got as `Authorization`, or read from it; each with a login of its own.
    let echo = async |config: &dyn Fn(&str) -> Value, echo: &str| {
        let body = format!("no entry for {echo}, sorry");
        let server = Server::start(Answer { status: 401, headers: Vec::new(), body }).await;
        let error = notifier("webhook", config(&server.url)).notify(&delivery(fires())).await;
        let text = error.expect_err("it is refused").text;
        assert!(text.ends_with("no entry for ***, sorry"), "{text}");
    };
    let (_kept, password) = file("hunter2");
    let basic = |url: &str| json!({"url": url, "basic_auth": {"username": "ann", "password": password}});
    echo(&basic, "hunter2").await;
    echo(&basic, "YW5uOmh1bnRlcjI=").await;
    let in_url = |url: &str| json!({"url": url.replace("://", "://ann:p%21x@")});
    echo(&in_url, "p%21x").await;
    echo(&in_url, "p!x").await;
    echo(&in_url, "YW5uOnAheA==").await;
    let token_in_url = |url: &str| json!({"url": url.replace("://", "://t0k@")});
    echo(&token_in_url, "t0k").await;
    let in_header = |url: &str| json!({"url": url, "headers": {"Authorization": "Bearer t0ken4711"}});
    echo(&in_header, "t0ken4711").await;
}

/// A server below HTTP: does something with the connection once the request came.
async fn raw(answer: &'static [u8], then: Then) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            tokio::spawn(async move {
                let mut request = [0; 65_536];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
                match then {
                    Then::Close => {}
                    Then::Hang => std::future::pending().await,
                    Then::Flood => while stream.write_all(&[b'x'; 65_536]).await.is_ok() {},
                }
            });
        }
    });
    format!("http://{address}/")
}

#[derive(Clone, Copy)]
enum Then {
    Close,
    Hang,
    Flood,
}

async fn failed(config: Value) -> NotifyError {
    let attempt = notifier("webhook", config);
    let delivery = delivery(fires());
    let ended = tokio::time::timeout(Duration::from_secs(60), attempt.notify(&delivery)).await;
    ended.expect("an attempt ends by itself").expect_err("it fails")
}

#[tokio::test]
async fn a_server_that_breaks_off_or_hangs_ends_the_attempt() {
    let error = failed(json!({"url": raw(b"", Then::Close).await})).await;
    assert_eq!((error.failure, error.can_retry), (Failure::Connection, true), "{error}");
    let error = failed(json!({"url": raw(b"no HTTP at all\r\n\r\n", Then::Close).await})).await;
    assert_eq!((error.failure, error.can_retry), (Failure::Connection, true), "{error}");
    let error = failed(json!({"url": raw(b"", Then::Hang).await, "timeout": "200ms"})).await;
    assert_eq!((error.failure, error.can_retry), (Failure::Timeout, true), "{error}");
    let half = b"HTTP/1.1 500 Broken\r\ncontent-length: 100\r\n\r\nhalf";
    let error = failed(json!({"url": raw(half, Then::Hang).await, "timeout": "1s"})).await;
    assert_eq!((error.failure, error.can_retry), (Failure::ServerError, true), "{error}");
    let error = failed(json!({"url": "http://127.0.0.1:1/"})).await;
    assert_eq!((error.failure, error.can_retry), (Failure::Connection, true), "{error}");
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let endless = b"HTTP/1.1 400 No\r\ncontent-length: 99999999999\r\n\r\n";
    let error = failed(json!({"url": raw(endless, Then::Flood).await})).await;
    assert_eq!((error.failure, error.can_retry), (Failure::ClientError, false), "{error}");
    assert!(error.text.len() < 2000, "{}", error.text.len());
}

/// A TLS server with a certificate of its own for 127.0.0.1; takes every request.
fn tls_server(folder: &std::path::Path) -> String {
    use rustls::pki_types::pem::PemObject;
    tocsin_notifiers::choose_cryptography();
    let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout key.pem -out \
        ca.pem -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
    let made =
        std::process::Command::new("openssl").current_dir(folder).args(arguments.split_whitespace()).output();
    assert!(made.expect("openssl is there").status.success());
    let certificate =
        rustls::pki_types::CertificateDer::from_pem_file(folder.join("ca.pem")).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::from_pem_file(folder.join("key.pem")).expect("a key");
    let config =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    let config = std::sync::Arc::new(config.expect("they fit"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Ok(mut connection) = rustls::ServerConnection::new(config.clone()) else { continue };
            let mut tls = rustls::Stream::new(&mut connection, &mut stream);
            let mut request = [0; 4096];
            if std::io::Read::read(&mut tls, &mut request).is_ok() {
                let _ =
                    std::io::Write::write_all(&mut tls, b"HTTP/1.1 204 Fine\r\ncontent-length: 0\r\n\r\n");
            }
        }
    });
    format!("https://{address}/")
}

#[tokio::test]
async fn a_server_is_believed_only_if_somebody_trusted_vouches_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = tls_server(folder.path());
    let error = failed(json!({"url": url})).await;
    assert_eq!((error.failure, error.can_retry), (Failure::Connection, true), "{error}");
    let trusting = notifier("webhook", json!({"url": url, "ca_file": folder.path().join("ca.pem")}));
    trusting.notify(&delivery(fires())).await.expect("it is vouched for");

    let plain = Server::answering(200).await.url.replace("http://", "https://");
    let error = failed(json!({"url": plain})).await;
    assert_eq!((error.failure, error.can_retry), (Failure::Connection, true), "{error}");
    let error = failed(json!({"url": url, "ca_file": "/nowhere/ca.pem"})).await;
    assert!(error.text.contains("ca_file: /nowhere/ca.pem"), "{error}");
}

#[track_caller]
fn check_config(config: Value, part: &str) {
    let error = receiver(json!({"name": "ops", "webhook": config})).err().expect("it is wrong");
    assert!(error.contains(part), "{error}: expected {part}");
}

#[test]
fn what_is_wrong_with_a_table_is_told_before_anything_is_sent() {
    check_config(json!({}), "receiver \"ops\": webhook: url is missing");
    check_config(json!({"url": "ftp://T0KEN/"}), "url begins with ftp");
    check_config(json!({"url": "http://a/", "url_secret": {"env": "A"}}), "both given");
    check_config(json!({"url": "http://a/", "topic": "x"}), "topic is given");
    check_config(json!({"url": "http://a/", "preset": "ntfy"}), "topic is missing");
    check_config(json!({"preset": "pagerduty"}), "routing_key is missing");
    check_config(json!({"url": "http://a/", "timeout": "5m"}), "timeout is 300 s");
    check_config(json!({"url": "http://a/", "headers": {"a b": "c"}}), "no name of a header");
    check_config(
        json!({"url": "http://a/", "preset": "template", "template": "\n{{ nobody }}"}),
        "\"nobody\"",
    );
    check_config(
        json!({"url": "http://a/", "preset": "template", "template": "{\"a\": \"{{ headline }}\"}"}),
        "JSON",
    );
    check_config(json!({"url": "http://a/", "color": "red"}), "color");
}

#[test]
fn a_table_prints_without_its_secrets() {
    let config = json!({"name": "ops", "webhook": {"url": "http://a/T0KEN", "headers": {"X-Key": "T0KEN"}}});
    let config: tocsin_notifiers::ReceiverConfig = serde_json::from_value(config).expect("it is right");
    assert!(!format!("{config:?}").contains("T0KEN"), "{config:?}");
}
