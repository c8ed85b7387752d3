//! The way to the room: plain, or end-to-end encrypted.
//!
//! Notifier and listener speak through this and need not know which it is. Logins, joins and their errors are the same for
//! both ([`Client`]); only what is said and heard passes through encryption.

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::Config;
use super::client::{CallError, Client, failed};
#[cfg(feature = "matrix-e2ee")]
use super::encrypted::Keys;
use super::session::Role;
use super::sync::{self, Batch};
use crate::Failure;
use crate::plot::Plot;

/// Messages of a thread that are looked at.
pub(super) const THREAD_MAX: u32 = 100;

/// Speaks and listens as one user on one device.
pub(super) struct Line {
    pub client: Client,
    #[cfg(feature = "matrix-e2ee")]
    keys: Option<Keys>,
}

impl Line {
    /// Reaches nothing and reads no secret.
    pub fn new(config: &Config, receiver: &str, role: Role) -> Result<Self, String> {
        let client = Client::new(config, receiver, role)?;
        #[cfg(feature = "matrix-e2ee")]
        return Ok(Line { keys: config.encrypted.then(|| Keys::new(&client)).transpose()?, client });
        #[cfg(not(feature = "matrix-e2ee"))]
        match config.encrypted {
            true => Err("matrix: encrypted is true, but this tocsin was built without it; build with \
                         --features matrix-e2ee"
                .to_string()),
            false => Ok(Line { client }),
        }
    }

    /// Joins a room by id or alias; harmless if we are in it. Returns its id.
    pub async fn join(&self, room: &str) -> Result<String, CallError> {
        let request = self.client.request(Method::POST, &["_matrix", "client", "v3", "join", room]);
        named(&self.client.call(request.json(&json!({}))).await?, "room_id", "POST join")
    }

    /// Whether the room is encrypted and we are not, so that members see plain messages where they trust in encryption.
    pub async fn betrays(&self, room: &str) -> bool {
        #[cfg(feature = "matrix-e2ee")]
        if self.keys.is_some() {
            return false;
        }
        let path = ["_matrix", "client", "v3", "rooms", room, "state", "m.room.encryption", ""];
        self.client.call(self.client.request(Method::GET, &path)).await.is_ok()
    }

    /// Sends a message; returns its event id, or the earlier one's if the server knows the transaction.
    pub async fn send(&self, room: &str, transaction: &str, content: &Value) -> Result<String, CallError> {
        #[cfg(feature = "matrix-e2ee")]
        if let Some(keys) = &self.keys {
            return keys.send(&self.client, room, transaction, content).await;
        }
        let path = ["_matrix", "client", "v3", "rooms", room, "send", "m.room.message", transaction];
        let answer = self.client.call(self.client.request(Method::PUT, &path).json(content)).await?;
        named(&answer, "event_id", "PUT send")
    }

    /// Uploads a picture; returns the part of a content that says where it is.
    pub async fn upload(&self, plot: &Plot) -> Result<Value, CallError> {
        #[cfg(feature = "matrix-e2ee")]
        if let Some(keys) = &self.keys {
            return keys.upload(&self.client, &plot.png).await;
        }
        let request = self.client.request(Method::POST, &["_matrix", "media", "v3", "upload"]);
        let request = request.query(&[("filename", "evidence.png")]).header(CONTENT_TYPE, "image/png");
        let answer = self.client.call(request.body(plot.png.clone())).await?;
        Ok(json!({"url": named(&answer, "content_uri", "POST upload")?}))
    }

    /// Waits for something to happen; without `since` it answers at once. Without a room only invitations are waited for.
    pub async fn sync(&self, room: Option<&str>, since: Option<&str>) -> Result<Batch, CallError> {
        #[cfg(feature = "matrix-e2ee")]
        if let (Some(keys), Some(room)) = (&self.keys, room) {
            return keys.sync(&self.client, room, since).await;
        }
        sync::sync(&self.client, room, since).await
    }

    /// An event of the room.
    pub async fn event(&self, room: &str, event: &str) -> Result<Value, CallError> {
        #[cfg(feature = "matrix-e2ee")]
        if let Some(keys) = &self.keys {
            return keys.event(&self.client, room, event).await;
        }
        let path = ["_matrix", "client", "v3", "rooms", room, "event", event];
        self.client.call(self.client.request(Method::GET, &path)).await
    }

    /// The newest events of the thread that begins with `root`.
    pub async fn thread(&self, room: &str, root: &str) -> Result<Vec<Value>, CallError> {
        #[cfg(feature = "matrix-e2ee")]
        if let Some(keys) = &self.keys {
            return keys.thread(&self.client, room, root).await;
        }
        let path = ["_matrix", "client", "v1", "rooms", room, "relations", root, "m.thread"];
        let request = self.client.request(Method::GET, &path).query(&[("limit", THREAD_MAX)]);
        match self.client.call(request).await?["chunk"].take() {
            Value::Array(events) => Ok(events),
            _ => Ok(Vec::new()),
        }
    }
}

/// A text of an answer.
pub(super) fn named(answer: &Value, key: &str, place: &str) -> Result<String, CallError> {
    let text = answer[key].as_str().map(str::to_string);
    text.ok_or_else(|| failed(Failure::ServerError, true, format!("{place}: the answer has no {key}")))
}
