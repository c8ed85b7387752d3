//! End-to-end encrypted rooms against a real homeserver, with a real client of another person.
#![cfg(feature = "matrix-e2ee")]
// Tests have clocks and files.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::time::Duration;

use matrix_sdk::config::SyncSettings;
use matrix_sdk::ruma::OwnedRoomId;
use serde_json::{Value, json};
use tocsin_notifiers::config::ReceiverConfig;
use tocsin_notifiers::matrix::{Ask, listeners};
use tocsin_notifiers::{Delivery, Receipt};
use tocsin_proto::pb::notification::{Alert, Notification, Reason, Status};
use tocsin_testing::{MatrixLimits, MatrixUser, Synapse, eventually};
use tokio::sync::{mpsc, oneshot};

const PATIENCE: Duration = Duration::from_secs(60);
const ALERT: &str = "00000000000000a1";

/// Anna's client, which can decrypt.
async fn client(server: &Synapse, user: &MatrixUser) -> matrix_sdk::Client {
    let client = matrix_sdk::Client::builder().homeserver_url(server.url()).build().await.expect("a client");
    client.matrix_auth().login_username(&user.id, &user.password).send().await.expect("logged in");
    client.sync_once(SyncSettings::new()).await.expect("synced");
    client
}

/// Messages that Anna can read, as they come.
async fn read_until(client: &matrix_sdk::Client, room: &OwnedRoomId, part: &str) -> Value {
    let reading = async {
        loop {
            let settings = SyncSettings::new().timeout(Duration::from_secs(2));
            let answer = client.sync_once(settings).await.expect("synced");
            for event in answer.rooms.joined.get(room).iter().flat_map(|joined| &joined.timeline.events) {
                let event: Value = serde_json::from_str(event.raw().json().get()).expect("JSON");
                if event["content"]["body"].as_str().is_some_and(|body| body.contains(part)) {
                    return event;
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("nobody says {part}"))
}

fn notification(id: &str, reason: Reason, status: Status) -> Notification {
    let alert =
        Alert { fingerprint: ALERT.to_string(), status: status.into(), starts_at: 1, ..Alert::default() };
    let mut told = Notification { id: id.to_string(), reason: reason.into(), ..Notification::default() };
    told.reason_text = format!("reason of {id}");
    told.alerts = vec![alert];
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_room_reads_notifications_and_asks_while_the_server_learns_nothing() {
    tocsin_notifiers::choose_cryptography();
    let folder = tempfile::tempdir().expect("a folder");
    let (server, anna, room, receiver) = tokio::task::block_in_place(|| site(folder.path()));
    let reader = client(&server, &anna).await;
    let id: OwnedRoomId = room.as_str().try_into().expect("a room");

    // It listens first: a device gets no keys of what was said before it was there.
    let listener = listeners(std::slice::from_ref(&receiver)).expect("listeners").remove(0);
    let (requests, mut inbox) = mpsc::channel(8);
    let (shutdown, stopped) = oneshot::channel::<()>();
    let listening = tokio::spawn(listener.run(requests, async move { drop(stopped.await) }));
    tokio::task::block_in_place(|| {
        eventually(PATIENCE, "the listener to listen", || {
            let session = std::fs::read_to_string(folder.path().join("session.listener")).ok()?;
            let session: Value = serde_json::from_str(&session).ok()?;
            session["since"].is_string().then_some(())
        });
    });

    let send = async |told: Notification, first: Option<Receipt>| {
        let notifier = receiver.notifier().expect("a notifier");
        notifier.notify(&Delivery { notification: told, first }).await
    };
    let told = || notification("n1", Reason::FirstNotification, Status::Firing);
    let receipt = send(told(), None).await.expect("sent");
    assert_eq!(send(told(), None).await.expect("sent again"), receipt, "a restart keeps the device");
    let event = read_until(&reader, &id, "reason of n1").await;
    assert_eq!(event["event_id"], json!(receipt.reference));
    let more = notification("n2", Reason::NewAlerts, Status::Firing);
    send(more, Some(receipt.clone())).await.expect("sent");
    read_until(&reader, &id, "reason of n2").await;

    let said = reader.get_room(&id).expect("the room");
    let relation = json!({"rel_type": "m.annotation", "event_id": receipt.reference, "key": "👍"});
    said.send_raw("m.reaction", json!({"m.relates_to": relation})).await.expect("said");
    let asked = tokio::time::timeout(PATIENCE, inbox.recv()).await.expect("in time").expect("a request");
    assert_eq!(asked.what, Ask::Acknowledge { alerts: vec![ALERT.to_string()], comment: String::new() });
    asked.reply.send("you have it".to_string()).expect("waited for");
    read_until(&reader, &id, "you have it").await;
    let command = json!({"msgtype": "m.text", "body": "!unsilence x"});
    said.send_raw("m.room.message", command).await.expect("said");
    let asked = tokio::time::timeout(PATIENCE, inbox.recv()).await.expect("in time").expect("a request");
    assert_eq!(asked.user, anna.id);
    assert_eq!(asked.what, Ask::ExpireSilence { id: "x".to_string() });
    asked.reply.send("no silence x".to_string()).expect("waited for");
    read_until(&reader, &id, "no silence x").await;

    let plain = tokio::task::block_in_place(|| anna.messages(&room));
    assert_eq!(plain, Vec::<Value>::new(), "the server sees no message, only encrypted events");
    drop(shutdown);
    listening.await.expect("no panic");
}

/// Anna's encrypted room on a homeserver, and the receiver for it.
fn site(folder: &Path) -> (Synapse, MatrixUser, String, ReceiverConfig) {
    let server = Synapse::start(MatrixLimits::Wide);
    let (anna, tocsin) = (server.user("anna"), server.user("tocsin"));
    let room = anna.create_room("ops", &[&tocsin]);
    let path = format!("/_matrix/client/v3/rooms/{room}/state/m.room.encryption/");
    anna.call("PUT", &path, Some(json!({"algorithm": "m.megolm.v1.aes-sha2"})));
    std::fs::write(folder.join("password"), &tocsin.password).expect("written");
    let table = json!({
        "homeserver": server.url(), "room": room, "user": tocsin.id,
        "password": {"file": folder.join("password")}, "session_file": folder.join("session"),
        "allowed_users": [anna.id], "encrypted": true,
    });
    let receiver = serde_json::from_value(json!({"name": "ops", "matrix": table})).expect("a receiver");
    (server, anna, room, receiver)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_not_encrypted_is_told_nothing() {
    tocsin_notifiers::choose_cryptography();
    let folder = tempfile::tempdir().expect("a folder");
    let (_server, anna, _, mut receiver) = tokio::task::block_in_place(|| site(folder.path()));
    let plain = tokio::task::block_in_place(|| {
        let plain = anna.create_room("plain", &[]);
        anna.call(
            "PUT",
            &format!("/_matrix/client/v3/rooms/{plain}/state/m.room.join_rules/"),
            Some(json!({"join_rule": "public"})),
        );
        plain
    });
    receiver.matrix.as_mut().expect("Matrix").room = plain.clone();
    let notifier = receiver.notifier().expect("a notifier");
    let told = notification("n1", Reason::FirstNotification, Status::Firing);
    let error = notifier.notify(&Delivery { notification: told, first: None }).await.expect_err("refused");
    assert!(!error.can_retry && error.text.contains("not encrypted"), "{error}");
    assert_eq!(tokio::task::block_in_place(|| anna.messages(&plain)), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_be_opened_are_tried_again() {
    tocsin_notifiers::choose_cryptography();
    let folder = tempfile::tempdir().expect("a folder");
    let (_server, _anna, _, receiver) = tokio::task::block_in_place(|| site(folder.path()));
    let keys = folder.path().join("session.keys");
    std::fs::write(&keys, "no folder").expect("written");
    let notifier = receiver.notifier().expect("a notifier");
    let told = notification("n1", Reason::FirstNotification, Status::Firing);
    let error = notifier.notify(&Delivery { notification: told.clone(), first: None }).await;
    let error = error.expect_err("no keys");
    assert!(error.can_retry && error.text.contains("session.keys"), "{error}");
    std::fs::remove_file(&keys).expect("it is there");
    notifier.notify(&Delivery { notification: told, first: None }).await.expect("sent");
}
