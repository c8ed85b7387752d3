//! Matrix against a real homeserver, and against servers that are none.

// Tests have clocks and files.
#![allow(clippy::disallowed_methods)]

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tocsin_notifiers::config::ReceiverConfig;
use tocsin_notifiers::matrix::{Ask, listeners};
use tocsin_notifiers::{Delivery, Failure, NotifyError, Receipt};
use tocsin_proto::Span;
use tocsin_proto::pb::notification::{Alert, Evidence, Notification, Point, Reason, Status};
use tocsin_testing::{MatrixLimits, MatrixUser, Synapse, eventually, free_port};
use tokio::sync::{mpsc, oneshot};

const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_ALERT: &str = "00000000000000a1";
const SECOND_ALERT: &str = "00000000000000a2";

/// A homeserver with Anna, her room `#ops:localhost`, and the user tocsin, who is invited there.
struct Site {
    server: Synapse,
    anna: MatrixUser,
    tocsin: MatrixUser,
    room: String,
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Site {
    fn start(limits: MatrixLimits) -> Self {
        let server = Synapse::start(limits);
        let (anna, tocsin) = (server.user("anna"), server.user("tocsin"));
        let room = anna.create_room("ops", &[&tocsin]);
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("token"), &tocsin.token).expect("written");
        std::fs::write(folder.path().join("password"), format!("{}\n", tocsin.password)).expect("written");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        Site { server, anna, tocsin, room, folder, runtime }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Logs in with a token.
    fn with_token(&self) -> ReceiverConfig {
        self.receiver(json!({"room": self.room, "access_token": {"file": self.file("token")}}))
    }

    /// Logs in with a password, keeps its session, and listens to Anna.
    fn with_password(&self) -> ReceiverConfig {
        self.receiver(json!({
            "room": "#ops:localhost", "user": self.tocsin.id, "password": {"file": self.file("password")},
            "session_file": self.file("session"), "allowed_users": [self.anna.id],
        }))
    }

    fn receiver(&self, table: Value) -> ReceiverConfig {
        receiver(&self.server.url(), table)
    }

    fn send(
        &self,
        receiver: &ReceiverConfig,
        told: Notification,
        first: Option<&str>,
    ) -> Result<String, NotifyError> {
        send(&self.runtime, receiver, told, first)
    }

    /// What is written in the room, each as its body, in order.
    fn bodies(&self) -> Vec<String> {
        let events = self.anna.messages(&self.room);
        events.iter().filter_map(|event| Some(event["content"]["body"].as_str()?.to_string())).collect()
    }

    /// Until a listener has looked into the room: what was said before that does not count.
    #[track_caller]
    fn wait_until_read(&self) {
        eventually(PATIENCE, "the listener to listen", || {
            let session = std::fs::read_to_string(self.file("session.listener")).ok()?;
            let session: Value = serde_json::from_str(&session).ok()?;
            session["since"].is_string().then_some(())
        });
    }

    #[track_caller]
    fn wait_for(&self, part: &str) {
        eventually(PATIENCE, part, || self.bodies().iter().any(|body| body.contains(part)).then_some(()));
    }
}

fn receiver(homeserver: &str, mut table: Value) -> ReceiverConfig {
    table["homeserver"] = json!(homeserver);
    serde_json::from_value(json!({"name": "ops", "matrix": table})).expect("a receiver")
}

fn send(
    runtime: &tokio::runtime::Runtime,
    receiver: &ReceiverConfig,
    told: Notification,
    first: Option<&str>,
) -> Result<String, NotifyError> {
    let notifier = receiver.notifier().expect("a notifier");
    let first = first.map(|reference| Receipt { reference: reference.to_string() });
    let delivery = Delivery { notification: told, first };
    runtime.block_on(notifier.notify(&delivery)).map(|receipt| receipt.reference)
}

fn alert(fingerprint: &str, status: Status) -> Alert {
    let text = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let point = |number: i64| Point { at: number * 10_000, value: number as f64, limit: Some(3.0) };
    Alert {
        fingerprint: fingerprint.to_string(),
        status: status.into(),
        labels: text(&[("alertname", "addr_flood"), ("node", "a"), ("severity", "critical")]),
        annotations: text(&[("summary", "peer says <b>@room</b>"), ("runbook", "disconnect it")]),
        starts_at: 30_000,
        ends_at: if status == Status::Resolved { 60_000 } else { 0 },
        value: Some(5.0),
        limit: Some(3.0),
        evidence: Some(Evidence {
            quantity: "sum of message.addresses over 10m".to_string(),
            unit: String::new(),
            points: (0..6).map(point).collect(),
        }),
        ..Alert::default()
    }
}

fn notification(id: &str, reason: Reason, alerts: Vec<Alert>) -> Notification {
    Notification {
        id: id.to_string(),
        decided_at: 61_000,
        receiver: "ops".to_string(),
        reason: reason.into(),
        reason_text: format!("reason of {id}"),
        alerts,
        thread: "f".repeat(32),
        number: 1,
        ..Notification::default()
    }
}

fn firing(id: &str) -> Notification {
    notification(id, Reason::FirstNotification, vec![alert(FIRST_ALERT, Status::Firing)])
}

#[test]
fn a_notification_is_one_message_however_often_it_is_sent() {
    let site = Site::start(MatrixLimits::Wide);
    let receiver = site.with_password();
    let event = site.send(&receiver, firing("n1"), None).expect("sent");
    // A new notifier is what a restart is; the session file makes it the same device.
    assert_eq!(site.send(&receiver, firing("n1"), None).expect("sent again"), event);
    assert_ne!(site.send(&receiver, firing("n2"), None).expect("another"), event);

    let texts: Vec<Value> =
        site.anna.messages(&site.room).into_iter().filter(|e| e["content"]["msgtype"] == "m.text").collect();
    assert_eq!(texts.len(), 2);
    assert_eq!(texts[0]["sender"], json!(site.tocsin.id));
    assert_eq!(texts[0]["content"]["m.mentions"], json!({}), "nobody is mentioned");
    let plain = texts[0]["content"]["body"].as_str().expect("text");
    assert!(plain.contains("addr_flood") && !plain.contains("@room"), "{plain}");
    let html = texts[0]["content"]["formatted_body"].as_str().expect("HTML");
    assert!(html.contains("&lt;b&gt;") && !html.contains("<b>"), "{html}");

    let session = std::fs::read_to_string(site.file("session")).expect("a session");
    assert!(session.contains("TOCSIN_") && !session.contains(&site.tocsin.password));
    let mode = std::fs::metadata(site.file("session")).expect("a session").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_group_is_one_thread_with_its_plot_and_its_first_message_says_when_it_is_over() {
    let site = Site::start(MatrixLimits::Wide);
    let receiver = site.with_token();
    let root = site.send(&receiver, firing("n1"), None).expect("sent");
    let resolved = || notification("n2", Reason::AllResolved, vec![alert(FIRST_ALERT, Status::Resolved)]);
    assert_eq!(site.send(&receiver, resolved(), Some(&root)).expect("sent"), root);
    // A repeat of what has several events adds none of them again.
    site.send(&receiver, resolved(), Some(&root)).expect("sent");

    let events = site.anna.messages(&site.room);
    let of = |relation: &str, kind: &str| -> Vec<Value> {
        let of_kind = |e: &&Value| {
            e["content"]["m.relates_to"]["rel_type"] == relation && e["content"]["msgtype"] == kind
        };
        events.iter().filter(of_kind).map(|event| event["content"].clone()).collect()
    };
    let (replies, edits, images) =
        (of("m.thread", "m.text"), of("m.replace", "m.text"), of("m.thread", "m.image"));
    assert_eq!((replies.len(), edits.len(), images.len()), (1, 1, 2));
    assert_eq!(replies[0]["m.relates_to"]["event_id"], json!(root));
    assert_eq!(edits[0]["m.relates_to"]["event_id"], json!(root));
    let new = edits[0]["m.new_content"]["body"].as_str().expect("text");
    assert!(new.to_lowercase().contains("resolved"), "{new}");

    let uri = images[0]["url"].as_str().expect("a picture").replace("mxc://", "");
    let size = images[0]["info"]["size"].as_u64().expect("a size");
    let path = format!("/_matrix/client/v1/media/download/{uri}");
    let picture = site.anna.download(&path);
    assert!(picture.starts_with(b"\x89PNG") && picture.len() as u64 == size);
}

#[test]
fn a_thread_that_the_room_does_not_know_begins_anew() {
    let site = Site::start(MatrixLimits::Wide);
    let receiver = site.with_token();
    let gone = format!("${}", "A".repeat(43));
    let event = site.send(&receiver, firing("n1"), Some(&gone)).expect("sent");
    let found = site.anna.messages(&site.room);
    assert_eq!(found[0]["event_id"], json!(event));
}

#[test]
fn what_can_be_mended_later_is_tried_again_and_what_cannot_is_not() {
    let mut site = Site::start(MatrixLimits::Wide);
    let check = |result: Result<String, NotifyError>, failure: Failure, can_retry: bool| {
        let error = result.expect_err("refused");
        assert_eq!((error.failure, error.can_retry), (failure, can_retry), "{error}");
        assert!(!error.text.contains("syt_") && !error.text.contains("password of"), "{error}");
    };
    std::fs::write(site.file("wrong"), "syt_wrong").expect("written");
    let wrong = site.receiver(json!({"room": site.room, "access_token": {"file": site.file("wrong")}}));
    check(site.send(&wrong, firing("n1"), None), Failure::AuthError, true);
    let wrong = site.receiver(json!({
        "room": site.room, "user": site.tocsin.id, "password": {"file": site.file("wrong")},
    }));
    check(site.send(&wrong, firing("n1"), None), Failure::AuthError, true);

    let cellar = site.anna.create_room("cellar", &[]);
    let other = site.receiver(json!({"room": cellar, "access_token": {"file": site.file("token")}}));
    check(site.send(&other, firing("n1"), None), Failure::AuthError, true);
    site.anna.invite(&cellar, &site.tocsin);
    site.send(&other, firing("n1"), None).expect("invited by now");

    // The token is taken back while a password is there.
    let with_password = site.with_password();
    site.send(&with_password, firing("n2"), None).expect("sent");
    site.tocsin.call("POST", "/_matrix/client/v3/logout/all", Some(json!({})));
    site.send(&with_password, firing("n3"), None).expect("logged in again");

    site.server.kill();
    check(site.send(&with_password, firing("n4"), None), Failure::Connection, true);
    site.server.start_again();
    site.send(&with_password, firing("n4"), None).expect("it is there again");
}

#[test]
fn a_server_that_limits_us_says_how_long() {
    let site = Site::start(MatrixLimits::Narrow);
    let receiver = site.with_token();
    let limited = (0..10).find_map(|n| site.send(&receiver, resolved_test(n), None).err());
    let error = limited.expect("ten at once are too many");
    assert_eq!((error.failure, error.can_retry), (Failure::RateLimited, true));
    let wait = error.retry_after.expect("a time");
    assert!(wait > Duration::ZERO && wait <= Duration::from_secs(10), "{wait:?}");
    eventually(PATIENCE, "the limit to pass", || site.send(&receiver, resolved_test(99), None).ok());
}

/// Without a plot: that would take its time until it is allowed.
fn resolved_test(number: u32) -> Notification {
    notification(&format!("t{number}"), Reason::Digest, vec![])
}

#[test]
fn servers_that_are_none_are_errors_and_tried_again() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("token"), "syt_token").expect("written");
    for (answer, failure) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", Failure::ServerError),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", Failure::Connection),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", Failure::ClientError),
        ("HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n", Failure::ServerError),
        ("SSH-2.0-server\r\n", Failure::Connection),
        // Endless.
        ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n*", Failure::ServerError),
    ] {
        let url = impostor(&runtime, answer);
        let table = json!({"room": "!r:x", "access_token": {"file": folder.path().join("token")}});
        let error = send(&runtime, &receiver(&url, table), firing("n1"), None).expect_err(answer);
        assert_eq!((error.failure, error.can_retry), (failure, true), "{answer}: {error}");
        assert!(!error.text.contains("syt_token"), "{error}");
        let asked = answer.contains("retry-after").then_some(Duration::from_secs(7));
        assert_eq!(error.retry_after, asked);
    }
}

/// Answers each connection with this, with `*` for no end of spaces.
fn impostor(runtime: &tokio::runtime::Runtime, answer: &'static str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let port = free_port();
    let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", port))).expect("a free port");
    runtime.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.trim_end_matches('*').as_bytes()).await;
            while answer.ends_with('*') && stream.write_all(&[b' '; 65_536]).await.is_ok() {}
        }
    });
    format!("http://127.0.0.1:{port}")
}

/// A listener with a program behind it that says `done` to everything and remembers it.
struct Listening {
    asked: Arc<Mutex<VecDeque<(String, Ask)>>>,
    shutdown: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Listening {
    fn start(site: &Site) -> Self {
        let mut made = listeners(&[site.with_password(), site.with_password()]).expect("listeners");
        assert_eq!(made.len(), 1, "one for the same room and account");
        let listener = made.remove(0);
        let (requests, mut inbox) = mpsc::channel(8);
        let (shutdown, stopped) = oneshot::channel::<()>();
        let asked = Arc::new(Mutex::new(VecDeque::new()));
        let remember = asked.clone();
        let task = site.runtime.spawn(async move {
            let stopped = async move { drop(stopped.await) };
            let listening = tokio::spawn(listener.run(requests, stopped));
            while let Some(request) = inbox.recv().await {
                let _ = request.reply.send(format!("done {:?}", request.what));
                remember.lock().expect("whole").push_back((request.user, request.what));
            }
            listening.await.expect("no panic");
        });
        Listening { asked, shutdown: Some(shutdown), task }
    }

    #[track_caller]
    fn next(&self) -> (String, Ask) {
        eventually(PATIENCE, "a request", || self.asked.lock().expect("whole").pop_front())
    }

    fn stop(mut self, site: &Site) -> Vec<(String, Ask)> {
        let _ = self.shutdown.take().expect("runs").send(());
        site.runtime.block_on(&mut self.task).expect("no panic");
        self.asked.lock().expect("whole").drain(..).collect()
    }
}

fn in_thread(root: &str, text: &str) -> Value {
    json!({"msgtype": "m.text", "body": text, "m.relates_to": {"rel_type": "m.thread", "event_id": root}})
}

fn check_mark(event: &str) -> Value {
    json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": event, "key": "✅"}})
}

#[test]
fn reactions_and_commands_of_allowed_users_become_requests_and_those_of_others_do_not() {
    let site = Site::start(MatrixLimits::Wide);
    let ben = site.server.user("ben");
    site.anna.invite(&site.room, &ben);
    ben.join(&site.room);
    let receiver = site.with_password();
    let root = site.send(&receiver, firing("n1"), None).expect("sent");
    let more = notification("n2", Reason::NewAlerts, vec![alert(SECOND_ALERT, Status::Firing)]);
    site.send(&receiver, more, Some(&root)).expect("sent");
    site.anna.say(&site.room, "!alerts before it listens");
    let listening = Listening::start(&site);
    site.wait_until_read();

    let everything = vec![FIRST_ALERT.to_string(), SECOND_ALERT.to_string()];
    ben.send(&site.room, "m.reaction", check_mark(&root));
    ben.say(&site.room, "!silence 2h node=a");
    ben.send(&site.room, "m.room.message", in_thread(&root, "!ack"));
    site.wait_for("@ben:localhost: you are not in my allowed_users");
    // Somebody imitates a message of ours.
    let fake = ben.send(
        &site.room,
        "m.room.message",
        json!({"msgtype": "m.text", "body": "x", "org.tocsin.alerts": {"firing": [SECOND_ALERT]}}),
    );
    site.anna.send(&site.room, "m.reaction", check_mark(&fake));

    site.anna.send(&site.room, "m.reaction", check_mark(&root));
    let span = Span::from_secs(7200);
    let comment = |text: &str| text.to_string();
    let next = || {
        let (user, ask) = listening.next();
        assert_eq!(user, site.anna.id);
        ask
    };
    assert_eq!(next(), Ask::Acknowledge { alerts: everything.clone(), comment: comment("") });
    site.anna.say(&site.room, "!silence 2h node=\"a\" they know");
    let matchers = vec!["node=\"a\"".to_string()];
    assert_eq!(next(), Ask::Silence { span, matchers, comment: comment("they know") });
    site.anna.send(&site.room, "m.room.message", in_thread(&root, "!silence 2h"));
    assert_eq!(next(), Ask::SilenceGroup { span, alerts: everything, comment: comment("") });
    site.anna.say(&site.room, "!ack");
    site.wait_for("which alerts?");
    site.anna.say(&site.room, "!help");
    site.wait_for("!unsilence ID");

    site.wait_for("done SilenceGroup");
    let bodies = site.bodies();
    let strangers = bodies.iter().filter(|body| body.contains("allowed_users")).count();
    assert_eq!(strangers, 1, "a stranger is told once");
    let answers = site.anna.messages(&site.room);
    let answer =
        answers.iter().find(|event| event["content"]["body"].to_string().contains("done SilenceGroup"));
    assert_eq!(answer.expect("an answer")["content"]["m.relates_to"]["event_id"], json!(root));
    assert_eq!(listening.stop(&site), vec![]);
}

#[test]
fn a_command_is_carried_out_once_whether_or_not_there_is_a_restart() {
    let site = Site::start(MatrixLimits::Wide);
    let listening = Listening::start(&site);
    // It joins by itself, for it was invited.
    site.wait_until_read();
    site.anna.say(&site.room, "!unsilence before");
    assert_eq!(listening.next().1, Ask::ExpireSilence { id: "before".to_string() });
    site.wait_for("done ExpireSilence { id: \"before\" }");
    assert_eq!(listening.stop(&site), vec![]);

    site.anna.say(&site.room, "!unsilence while-away");
    let listening = Listening::start(&site);
    assert_eq!(listening.next().1, Ask::ExpireSilence { id: "while-away".to_string() });
    site.wait_for("done ExpireSilence { id: \"while-away\" }");
    assert_eq!(listening.stop(&site), vec![]);
    let bodies = site.bodies();
    assert_eq!(
        bodies.iter().filter(|body| body.contains("done ExpireSilence { id: \"before\" }")).count(),
        1
    );
}

#[test]
fn an_invitation_is_waited_for() {
    let site = Site::start(MatrixLimits::Wide);
    let path = format!("/_matrix/client/v3/rooms/{}/kick", site.room);
    site.anna.call("POST", &path, Some(json!({"user_id": site.tocsin.id})));
    let listening = Listening::start(&site);
    eventually(PATIENCE, "a login, and so an attempt to join", || {
        std::fs::read_to_string(site.file("session.listener")).ok()
    });
    site.anna.invite(&site.room, &site.tocsin);
    site.wait_until_read();
    site.anna.say(&site.room, "!alerts");
    assert_eq!(listening.next().1, Ask::Alerts);
    listening.stop(&site);
}

/// A homeserver that takes messages, and pictures without end.
fn homeserver_without_media(runtime: &tokio::runtime::Runtime) -> (String, Arc<Mutex<Vec<String>>>) {
    use axum::http::StatusCode;
    let paths = Arc::new(Mutex::new(Vec::new()));
    let seen = paths.clone();
    let answer = move |request: axum::extract::Request| {
        let (seen, path) = (seen.clone(), request.uri().path().to_string());
        async move {
            seen.lock().expect("no panic").push(path.clone());
            match path {
                path if path.contains("/media/") => std::future::pending().await,
                path if path.contains("/state/") => (StatusCode::NOT_FOUND, "{}".to_string()),
                path if path.contains("/join/") => (StatusCode::OK, r#"{"room_id": "!r:x"}"#.to_string()),
                _ => (StatusCode::OK, r#"{"event_id": "$e"}"#.to_string()),
            }
        }
    };
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    runtime.spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    (url, paths)
}

#[test]
fn a_text_that_was_sent_counts_however_long_its_plot_takes() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("token"), "syt_token").expect("written");
    let (url, paths) = homeserver_without_media(&runtime);
    let table = json!({"room": "!r:x", "access_token": {"file": folder.path().join("token")}});
    let sending = async {
        let notifier = receiver(&url, table).notifier().expect("a notifier");
        let told = Delivery { notification: firing("n1"), first: None };
        tokio::time::timeout(tocsin_notifiers::ATTEMPT_MAX, notifier.notify(&told)).await
    };
    let receipt = runtime.block_on(sending).expect("in time").expect("the text was sent");
    assert_eq!(receipt.reference, "$e");
    assert!(paths.lock().expect("no panic").iter().any(|path| path.contains("/media/")), "a plot was tried");
}
