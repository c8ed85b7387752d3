//! Email, to a real SMTP server that reads what it gets, and to one that fails.

// Tests have files.
#![allow(clippy::disallowed_methods)]

use std::io::Cursor;

use base64::Engine;
use tocsin_notifiers::config::Context;
use tocsin_notifiers::email::{self, Config};
use tocsin_notifiers::template::Templates;
use tocsin_notifiers::{Delivery, Failure, Notifier, NotifyError, Receipt};
use tocsin_proto::pb::notification::{Alert, Evidence, Notification, Point, Reason, Status};
use tocsin_testing::{SmtpServer, SmtpStub, SmtpTls, free_port};

const START_MS: i64 = 1_795_255_200_000;
const PASSWORD: &str = "correct-horse";

/// Table `[receiver.email]` for a server on this port, with these lines besides.
fn config(port: u16, lines: &str) -> Result<Config, String> {
    let table = format!("smarthost = \"localhost:{port}\"\nfrom = \"tocsin <tocsin@example.org>\"\n{lines}");
    toml::from_str(&table).map_err(|error| error.to_string())
}

fn context() -> Context {
    Context { receiver: "mail".to_string(), zone: jiff::tz::TimeZone::UTC, templates: Templates::default() }
}

fn notifier(port: u16, lines: &str) -> Box<dyn Notifier> {
    let config = config(port, &format!("to = [\"anna@example.org\"]\n{lines}")).expect("a table");
    email::notifier(&config, context()).expect("a good table")
}

/// For stubs: no encryption.
fn plain(port: u16, lines: &str) -> Box<dyn Notifier> {
    notifier(port, &format!("tls = \"none\"\n{lines}"))
}

fn notification(id: &str, reason: Reason, status: Status) -> Notification {
    let points =
        (0..=12).map(|n| Point { at: START_MS + n * 10_000, value: n as f64 * 10.0, limit: Some(60.0) });
    let labels = [("alertname", "addr_flood"), ("node", "hal"), ("severity", "critical"), ("peer_id", "45")];
    let alert = Alert {
        fingerprint: "00c0ffee00c0ffee".to_string(),
        status: status as i32,
        labels: labels.map(|(name, value)| (name.to_string(), value.to_string())).into(),
        annotations: [("summary".to_string(), "peer 45 (/Sätoshi:1.0/) sends 120 addresses".to_string())]
            .into(),
        starts_at: START_MS + 60_000,
        ends_at: if status == Status::Resolved { START_MS + 110_000 } else { 0 },
        evidence: Some(Evidence {
            quantity: "sum of message.addresses over 10m".to_string(),
            unit: "addresses".to_string(),
            points: points.collect(),
        }),
        ..Alert::default()
    };
    Notification {
        id: id.to_string(),
        decided_at: START_MS + 61_000,
        receiver: "mail".to_string(),
        reason: reason as i32,
        alerts: vec![alert],
        thread: "0f".repeat(16),
        number: 1,
        ..Notification::default()
    }
}

fn delivery(id: &str) -> Delivery {
    Delivery { notification: notification(id, Reason::FirstNotification, Status::Firing), first: None }
}

#[tokio::main(flavor = "current_thread")]
async fn send(notifier: &dyn Notifier, delivery: &Delivery) -> Result<Receipt, NotifyError> {
    notifier.notify(delivery).await
}

#[test]
fn a_letter_has_text_html_and_the_plot_inline() {
    let server = SmtpServer::start(SmtpTls::None, None);
    send(&*plain(server.port(), ""), &delivery("a1")).expect("taken");
    let letters = server.letters();
    let [letter] = letters.as_slice() else { panic!("{} letters", letters.len()) };
    assert_eq!(letter.defects(), &serde_json::json!([]));
    assert_eq!(letter.recipients(), ["anna@example.org"]);
    assert_eq!(letter.header("From"), ["tocsin <tocsin@example.org>"]);
    assert_eq!(letter.header("Subject"), ["addr_flood on hal (critical)"]);
    assert_eq!(letter.header("Message-ID"), ["<a1@example.org>"]);
    assert_eq!(letter.header("Auto-Submitted"), ["auto-generated"]);
    assert_eq!(letter.header("Date"), ["Sat, 21 Nov 2026 10:01:01 +0000"]);
    assert!(letter.header("References").is_empty() && letter.header("In-Reply-To").is_empty());

    let body = letter.body();
    assert_eq!(body["type"], "multipart/alternative");
    assert_eq!(body["parts"][0]["type"], "text/plain");
    let text = body["parts"][0]["text"].as_str().expect("text");
    assert!(
        text.starts_with("[FIRING 1] addr_flood on hal (critical)") && text.contains("/Sätoshi:1.0/"),
        "{text}"
    );
    let related = &body["parts"][1];
    assert_eq!(related["type"], "multipart/related");
    let html = related["parts"][0]["text"].as_str().expect("HTML");
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("Sätoshi:1.0"), "{html}");
    let image = &related["parts"][1];
    assert_eq!((&image["type"], &image["disposition"]), (&"image/png".into(), &"inline".into()));
    let cid = image["cid"].as_str().expect("a Content-ID").trim_matches(['<', '>']);
    assert!(html.contains(&format!("src=\"cid:{cid}\"")), "{cid} is not in {html}");
    let png = base64::engine::general_purpose::STANDARD.decode(image["base64"].as_str().expect("base64"));
    let reader = png::Decoder::new(Cursor::new(png.expect("base64"))).read_info().expect("a PNG");
    assert_eq!((reader.info().width, reader.info().height), (800, 450));
}

#[test]
fn letters_of_a_group_are_one_thread() {
    let server = SmtpServer::start(SmtpTls::None, None);
    let notifier = plain(server.port(), "");
    let first = send(&*notifier, &delivery("a1")).expect("taken");
    let mut second = delivery("b2");
    second.notification.alerts.push(second.notification.alerts[0].clone());
    second.notification.alerts[1].labels.insert("alertname".to_string(), "ping_flood".to_string());
    second.first = Some(first.clone());
    let after_second = send(&*notifier, &second).expect("taken");
    let resolved = notification("c3", Reason::AllResolved, Status::Resolved);
    send(&*notifier, &Delivery { notification: resolved, first: Some(after_second) }).expect("taken");

    let letters = server.letters();
    assert_eq!(letters.len(), 3);
    for (letter, id) in letters.iter().zip(["<a1@example.org>", "<b2@example.org>", "<c3@example.org>"]) {
        assert_eq!(letter.header("Message-ID"), [id]);
    }
    for letter in &letters[1..] {
        assert_eq!(letter.header("In-Reply-To"), ["<a1@example.org>"]);
        assert_eq!(letter.header("References"), ["<a1@example.org>"]);
        assert_eq!(letter.header("Subject"), ["Re: addr_flood on hal (critical)"]);
    }
    let text = letters[2].body()["parts"][0]["text"].as_str().expect("text");
    assert!(text.starts_with("[RESOLVED]"), "{text}");
}

#[test]
fn a_test_says_so_in_its_subject() {
    let server = SmtpServer::start(SmtpTls::None, None);
    let test = notification("a1", Reason::Test, Status::Firing);
    send(&*plain(server.port(), ""), &Delivery { notification: test, first: None }).expect("taken");
    let letters = server.letters();
    assert!(letters[0].header("Subject")[0].starts_with("[TEST]"), "{:?}", letters[0].header("Subject"));
}

#[test]
fn a_repeat_has_the_same_id_and_date() {
    let server = SmtpServer::start(SmtpTls::None, None);
    for _ in 0..2 {
        // A notifier of its own each time: as after a restart.
        send(&*plain(server.port(), ""), &delivery("a1")).expect("taken");
    }
    let letters = server.letters();
    for name in ["Message-ID", "Date", "Subject"] {
        assert_eq!(letters[0].header(name), letters[1].header(name));
    }
}

#[test]
fn hostile_texts_stay_inside_of_their_place() {
    let server = SmtpServer::start(SmtpTls::None, None);
    let hostile = "x\r\nBcc: eve@example.org\r\n\r\n<script>alert(1)</script>\u{202e}\0ü\n.\nQUIT\n";
    let mut delivery = delivery("a1\r\nBcc: eve@example.org");
    let alert = &mut delivery.notification.alerts[0];
    alert.labels.insert("alertname".to_string(), hostile.to_string());
    alert.labels.insert("node".to_string(), hostile.repeat(500));
    alert.annotations.insert("summary".to_string(), hostile.to_string());
    if let Some(evidence) = &mut alert.evidence {
        evidence.quantity = format!("\"><script>{hostile}");
    }
    delivery.first = Some(Receipt { reference: format!("<a@b>\r\nBcc: eve@example.org> {hostile}") });
    let notifier = plain(server.port(), "");
    send(&*notifier, &delivery).expect("taken");
    delivery.first = Some(Receipt { reference: format!("<a@b> {hostile}") });
    send(&*notifier, &delivery).expect("taken");
    let letters = server.letters();
    assert_eq!(letters.len(), 2);
    for letter in &letters {
        assert_eq!(letter.recipients(), ["anna@example.org"]);
        assert_eq!(letter.defects(), &serde_json::json!([]));
        assert!(letter.header("Bcc").is_empty(), "{:?}", letter.headers());
        assert!(letter.header("Subject")[0].chars().count() < 210);
        assert!(letter.header("Subject")[0].contains("<script>"), "the subject is plain text");
        let html = letter.body()["parts"][1]["parts"][0]["text"].as_str().expect("HTML");
        assert!(!html.contains("<script"), "{html}");
        assert!(letter.raw().lines().all(|line| line.len() <= 998));
    }
}

#[test]
fn letters_go_encrypted_and_with_a_login() {
    for (tls, name) in [(SmtpTls::Starttls, "starttls"), (SmtpTls::Tls, "tls")] {
        let server = SmtpServer::start(tls, Some(("tocsin", PASSWORD)));
        let folder = tempfile::tempdir().expect("a folder");
        let password = folder.path().join("password");
        std::fs::write(&password, format!("{PASSWORD}\n")).expect("writable");
        let lines = format!(
            "tls = \"{name}\"\nca_file = {:?}\nuser = \"tocsin\"\npassword = {{ file = {password:?} }}",
            server.ca_file()
        );
        let notifier = notifier(server.port(), &lines);
        send(&*notifier, &delivery("a1")).expect("taken");
        assert!(server.letters()[0].was_encrypted());

        // The password is read anew each time, so a wrong one needs no restart.
        std::fs::write(&password, "wrong-battery").expect("writable");
        let error = send(&*notifier, &delivery("b2")).expect_err("a wrong password");
        assert_eq!((error.failure, error.can_retry), (Failure::AuthError, true), "{error}");
        assert!(!format!("{error:?}").contains("wrong-battery"));
        std::fs::write(&password, PASSWORD).expect("writable");
        send(&*notifier, &delivery("b2")).expect("taken");
        assert_eq!(server.letters().len(), 2);
    }
}

#[test]
fn a_certificate_that_nobody_trusts_gets_no_letter() {
    let server = SmtpServer::start(SmtpTls::Starttls, None);
    let other = SmtpServer::start(SmtpTls::None, None);
    let lines = format!("tls = \"starttls\"\nca_file = {:?}", other.ca_file());
    let error = send(&*notifier(server.port(), &lines), &delivery("a1")).expect_err("not trusted");
    assert_eq!((error.failure, error.can_retry), (Failure::Connection, true), "{error}");
    assert!(server.letters().is_empty());
}

#[test]
fn without_starttls_there_is_neither_letter_nor_password() {
    let stub = SmtpStub::start(&[("MAIL", "close"), ("AUTH", "close")]);
    let error =
        send(&*notifier(stub.port(), "tls = \"starttls\""), &delivery("a1")).expect_err("no STARTTLS");
    assert!(error.can_retry && error.text.contains("STARTTLS"), "{error}");
}

#[test]
fn one_recipient_that_does_not_exist_keeps_nothing_from_the_others() {
    let server = SmtpServer::start(SmtpTls::None, None);
    let to = "tls = \"none\"\nto = [\"unknown@example.org\", \"anna@example.org\"]";
    let notifier =
        email::notifier(&config(server.port(), to).expect("a table"), context()).expect("a good table");
    send(&*notifier, &delivery("a1")).expect("taken");
    assert_eq!(server.letters()[0].recipients(), ["anna@example.org"]);
}

#[test]
fn recipients_that_have_the_letter_do_not_get_it_again() {
    let server = SmtpServer::start(SmtpTls::None, None);
    let to = "tls = \"none\"\nto = [\"later@example.org\", \"anna@example.org\"]";
    let notifier =
        email::notifier(&config(server.port(), to).expect("a table"), context()).expect("a good table");
    let error = send(&*notifier, &delivery("a1")).expect_err("one has to wait");
    assert_eq!((error.failure, error.can_retry), (Failure::ServerError, true), "{error}");
    send(&*notifier, &delivery("a1")).expect("taken");
    let letters = server.letters();
    let recipients: Vec<_> = letters.iter().map(|letter| letter.recipients()).collect();
    assert_eq!(recipients, [["anna@example.org"], ["later@example.org"]]);
}

#[track_caller]
fn check_failure(answers: &[(&str, &str)], failure: Failure, can_retry: bool, says: &str) {
    let stub = SmtpStub::start(answers);
    let timeout_s = if failure == Failure::Timeout { 1 } else { 30 };
    let lines =
        format!("timeout = \"{timeout_s}s\"\nuser = \"tocsin\"\npassword = {{ env = \"CARGO_PKG_NAME\" }}");
    let mut delivery = delivery("a1");
    // Plots take their time to draw.
    delivery.notification.alerts[0].evidence = None;
    let error = send(&*plain(stub.port(), &lines), &delivery).expect_err("a failure");
    assert_eq!((error.failure, error.can_retry), (failure, can_retry), "{answers:?}: {error}");
    assert!(error.text.contains(says), "{answers:?}: {error}");
    assert!(error.text.contains(&format!("localhost:{}", stub.port())), "{error}");
    assert!(!error.text.contains("tocsin-notifiers"), "the password is in {error}");
    assert!(error.text.chars().count() < 500, "{error}");
    assert_eq!(stub.conversations(), 1);
}

#[test]
fn a_server_that_says_yes_gets_the_letter() {
    let stub = SmtpStub::start(&[]);
    send(&*plain(stub.port(), ""), &delivery("a1")).expect("taken");
}

#[test]
fn silence_is_a_timeout() {
    for said in ["", "EHLO", "MAIL", "RCPT", "DATA", "."] {
        check_failure(&[(said, "silence")], Failure::Timeout, true, "no answer within 1s");
    }
}

#[test]
fn four_hundred_can_be_tried_again() {
    for said in ["", "EHLO", "MAIL", "RCPT", "DATA", "."] {
        check_failure(&[(said, "421 4.3.2 going down")], Failure::ServerError, true, "421");
        check_failure(&[(said, "451 4.7.1 come again")], Failure::ServerError, true, "come again");
    }
}

#[test]
fn five_hundred_is_final() {
    for said in ["", "EHLO", "MAIL", "RCPT", "DATA", "."] {
        check_failure(&[(said, "554 5.7.1 go away")], Failure::ClientError, false, "go away");
    }
}

#[test]
fn logins_that_are_refused_are_told_apart() {
    check_failure(&[("AUTH", "535 5.7.8 no")], Failure::AuthError, true, "535");
    check_failure(&[("AUTH", "454 4.7.0 not now")], Failure::AuthError, true, "454");
    check_failure(&[("MAIL", "530 5.7.0 who are you")], Failure::AuthError, true, "530");
}

#[test]
fn a_server_that_repeats_the_password_is_not_quoted() {
    let echo = base64::engine::general_purpose::STANDARD.encode("\0tocsin\0tocsin-notifiers");
    let answer = format!("535 AUTH PLAIN {echo} (tocsin-notifiers) is wrong");
    check_failure(&[("AUTH", &answer)], Failure::AuthError, true, "535");
}

#[test]
fn broken_connections_can_be_tried_again() {
    for said in ["", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "letter", "."] {
        check_failure(&[(said, "close")], Failure::Connection, true, "");
    }
    check_failure(&[("", "\u{1b}]0;what\u{7}")], Failure::Connection, true, "");
    check_failure(&[("", &format!("220 {}", "long".repeat(5_000)))], Failure::Connection, true, "");
}

#[test]
fn a_server_that_is_down_can_be_tried_again() {
    let error = send(&*plain(free_port(), ""), &delivery("a1")).expect_err("nobody there");
    assert_eq!((error.failure, error.can_retry), (Failure::Connection, true), "{error}");
}

#[test]
fn secrets_and_certificates_that_cannot_be_read_are_named() {
    let stub = SmtpStub::start(&[]);
    let lines = "user = \"tocsin\"\npassword = { file = \"/nonexistent/password\" }";
    let error = send(&*plain(stub.port(), lines), &delivery("a1")).expect_err("no password");
    assert_eq!((error.failure, error.can_retry), (Failure::AuthError, true));
    assert!(error.text.contains("/nonexistent/password"), "{error}");
    let lines = "tls = \"tls\"\nca_file = \"/nonexistent/ca.pem\"";
    let error = send(&*notifier(stub.port(), lines), &delivery("a1")).expect_err("no certificate");
    assert!(error.text.contains("/nonexistent/ca.pem"), "{error}");
}

#[track_caller]
fn check_config(lines: &str, expected: &str) {
    let table = format!("from = \"tocsin@example.org\"\nto = [\"anna@example.org\"]\n{lines}");
    // The later of two lines for one key counts.
    let mut keys: Vec<(&str, &str)> = Vec::new();
    for (key, value) in table.lines().filter_map(|line| line.split_once(" = ")) {
        keys.retain(|(other, _)| *other != key);
        keys.push((key, value));
    }
    let table: String = keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    let made = toml::from_str::<Config>(&table).map_err(|error| error.to_string());
    let error = made.and_then(|config| email::notifier(&config, context()).map(|_| ())).expect_err(lines);
    assert!(error.contains(expected), "{error}");
}

#[test]
fn tables_that_cannot_work_say_why() {
    let host = "smarthost = \"smtp.example.org:587\"";
    check_config("smarthost = \"smtp.example.org\"", "expected a host and a port");
    check_config("smarthost = \"smtp.example.org:0\"", "expected a host and a port");
    check_config("smarthost = \"a b\\r\\n:25\"", "expected a host and a port");
    check_config(&format!("{host}\ntls = \"none\""), "expected \"starttls\" or \"tls\"");
    check_config(&format!("{host}\ntls = \"ssl\""), "starttls");
    check_config(&format!("{host}\nuser = \"anna\""), "user without password");
    check_config(&format!("{host}\npassword = {{ env = \"X\" }}"), "password without user");
    let login = "user = \"anna\"\npassword = { env = \"X\" }";
    check_config(&format!("{host}\ntls = \"none_over_network\"\n{login}"), "there is a password");
    check_config(&format!("{host}\nto = []"), "to has 0 addresses");
    check_config(&format!("{host}\nto = [\"anna\"]"), "to has \"anna\"");
    check_config(&format!("{host}\nfrom = \"anna@exämple.org\""), "from has");
    check_config(&format!("{host}\nhello = \"a b\""), "hello is");
    check_config(&format!("{host}\ntimeout = \"31s\""), "timeout is 31s");
    check_config(&format!("{host}\npassword = \"secret-word\""), "password");
    check_config(&format!("{host}\nsmart = 1"), "smart");
}
