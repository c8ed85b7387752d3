//! End-to-end encryption through matrix-sdk: what is said and heard, with keys in a folder beside the session file.
//!
//! Keys go to all devices of the room's members, verified or not, as Element does by default.

use std::io::Cursor;
use std::path::PathBuf;

use matrix_sdk::authentication::matrix::MatrixSession;
use matrix_sdk::config::{RequestConfig, SyncSettings, SyncToken};
use matrix_sdk::deserialized_responses::TimelineEvent;
use matrix_sdk::room::{IncludeRelations, RelationsOptions};
use matrix_sdk::ruma::api::client::filter::FilterDefinition;
use matrix_sdk::ruma::api::error::ErrorBody;
use matrix_sdk::ruma::events::relation::RelationType;
use matrix_sdk::ruma::{OwnedEventId, OwnedRoomId, TransactionId, UInt};
use matrix_sdk::store::RoomLoadSettings;
use matrix_sdk::{HttpError, Room, SessionMeta, SessionTokens};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::client::{CALL_MAX, CallError, Client, broken, failed, refused};
use super::line::{THREAD_MAX, named};
use super::sync::{Batch, EVENTS_MAX, POLL};
use crate::Failure;
use crate::answer::shown;
use crate::secret::Secret;

/// The keys of one device.
pub(super) struct Keys {
    folder: PathBuf,
    /// The client, and the token it has.
    opened: Mutex<Option<(matrix_sdk::Client, Secret)>>,
}

impl Keys {
    pub fn new(client: &Client) -> Result<Self, String> {
        let file =
            client.session().file().ok_or("matrix: encrypted needs session_file, to keep keys beside it")?;
        let mut folder = file.to_path_buf().into_os_string();
        folder.push(".keys");
        Ok(Keys { folder: folder.into(), opened: Mutex::new(None) })
    }

    /// Sends a message. Refuses a room that is not encrypted: somebody relies on it that it is.
    pub async fn send(
        &self,
        client: &Client,
        room: &str,
        transaction: &str,
        content: &Value,
    ) -> Result<String, CallError> {
        let place = "encrypted send";
        let sdk = self.open(client).await?;
        // New members and devices since the last time get the key.
        let settings = SyncSettings::new().timeout(std::time::Duration::ZERO).filter(filter().into());
        self.done(place, client, sdk.sync_once(settings).await).await?;
        let room = self.room(&sdk, room)?;
        let state = self.done(place, client, room.latest_encryption_state().await).await?;
        if !state.is_encrypted() {
            let text = "encrypted is true, but the room is not encrypted; nothing was sent".to_string();
            return Err(failed(Failure::Other, false, text));
        }
        let transaction: &TransactionId = transaction.into();
        let sent = room.send_raw("m.room.message", content).with_transaction_id(transaction).await;
        Ok(self.done(place, client, sent).await?.response.event_id.to_string())
    }

    /// Uploads a picture that only the room can read; returns the part of a content that says where it is.
    pub async fn upload(&self, client: &Client, png: &[u8]) -> Result<Value, CallError> {
        let sdk = self.open(client).await?;
        let uploaded = sdk.upload_encrypted_file(&mut Cursor::new(png)).await;
        let file = self.done("encrypted upload", client, uploaded).await?;
        let file = serde_json::to_value(file);
        Ok(json!({"file": file.map_err(|error| failed(Failure::Other, false, error.to_string()))?}))
    }

    /// Waits for something to happen in the room; without `since` it answers at once.
    pub async fn sync(&self, client: &Client, room: &str, since: Option<&str>) -> Result<Batch, CallError> {
        let sdk = self.open(client).await?;
        let (token, timeout) = match since {
            Some(since) => (SyncToken::Specific(since.to_string()), POLL),
            None => (SyncToken::NoToken, std::time::Duration::ZERO),
        };
        let settings = SyncSettings::new().token(token).timeout(timeout).filter(filter().into());
        let mut answer = self.done("encrypted sync", client, sdk.sync_once(settings).await).await?;
        let id = room_id(room)?;
        let mut batch = Batch {
            next: answer.next_batch,
            has_left: answer.rooms.left.contains_key(&id),
            ..Batch::default()
        };
        if let Some(joined) = answer.rooms.joined.remove(&id) {
            batch.is_cut = joined.timeline.limited;
            batch.events = joined.timeline.events.iter().filter_map(value).collect();
        }
        Ok(batch)
    }

    /// An event of the room.
    pub async fn event(&self, client: &Client, room: &str, event: &str) -> Result<Value, CallError> {
        let sdk = self.open(client).await?;
        let found = self.room(&sdk, room)?.event(&event_id(event)?, None).await;
        Ok(value(&self.done("encrypted event", client, found).await?).unwrap_or_default())
    }

    /// The newest events of a thread.
    pub async fn thread(&self, client: &Client, room: &str, root: &str) -> Result<Vec<Value>, CallError> {
        let sdk = self.open(client).await?;
        let options = RelationsOptions {
            limit: Some(UInt::from(THREAD_MAX)),
            include_relations: IncludeRelations::RelationsOfType(RelationType::Thread),
            ..RelationsOptions::default()
        };
        let found = self.room(&sdk, room)?.relations(event_id(root)?, options).await;
        Ok(self.done("encrypted thread", client, found).await?.chunk.iter().filter_map(value).collect())
    }

    /// The client with the session's login; made anew if the login changed.
    async fn open(&self, client: &Client) -> Result<matrix_sdk::Client, CallError> {
        let mut opened = self.opened.lock().await;
        let token = client.token().await?;
        if let Some((sdk, _)) = opened.as_ref().filter(|(_, known)| *known == token) {
            return Ok(sdk.clone());
        }
        *opened = None;
        // Who and which device the token is; logs in again if it is no longer known.
        let path = ["_matrix", "client", "v3", "account", "whoami"];
        let answer = client.call(client.request(Method::GET, &path)).await?;
        let token = client.token().await?;
        // A key store that cannot be opened is trouble of this machine, which may pass.
        let wrong = |error: String| failed(Failure::Other, true, format!("encrypted session: {error}"));
        let user = named(&answer, "user_id", "GET whoami")?;
        let session = MatrixSession {
            meta: SessionMeta {
                user_id: user.try_into().map_err(|error| wrong(format!("{error}")))?,
                device_id: named(&answer, "device_id", "GET whoami")?.into(),
            },
            tokens: SessionTokens { access_token: token.expose().to_string(), refresh_token: None },
        };
        let sdk = matrix_sdk::Client::builder()
            .homeserver_url(client.homeserver())
            .sqlite_store(&self.folder, None)
            .request_config(RequestConfig::new().disable_retry().timeout(CALL_MAX))
            .build()
            .await
            .map_err(|error| wrong(format!("{}: {error}", self.folder.display())))?;
        let restored = sdk.matrix_auth().restore_session(session, RoomLoadSettings::default()).await;
        self.done("encrypted session", client, restored).await?;
        *opened = Some((sdk.clone(), token));
        Ok(sdk)
    }

    fn room(&self, sdk: &matrix_sdk::Client, room: &str) -> Result<Room, CallError> {
        let unknown = || failed(Failure::Other, true, format!("{room}: the server does not tell of it yet"));
        sdk.get_room(&room_id(room)?).ok_or_else(unknown)
    }

    /// The result with an error as the notifier's callers know it.
    async fn done<T>(
        &self,
        place: &str,
        client: &Client,
        result: matrix_sdk::Result<T>,
    ) -> Result<T, CallError> {
        let error = match result {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let token = client.token().await.ok();
        let secrets: Vec<&str> = token.iter().map(Secret::expose).collect();
        let mut failure = match error {
            matrix_sdk::Error::Http(error) => http_failure(place, *error, &secrets),
            error => {
                let text = shown(&format!("{place}: {error}"), secrets.iter().copied());
                failed(Failure::Other, true, text)
            }
        };
        if failure.errcode == "M_UNKNOWN_TOKEN" && client.session().has_password() {
            // The next attempt logs in.
            if let Some(token) = &token {
                client.session().forget(token).await;
            }
            failure.error.can_retry = true;
        }
        Err(failure)
    }
}

fn http_failure(place: &str, error: HttpError, secrets: &[&str]) -> CallError {
    if let Some(found) = error.as_client_api_error() {
        let body = match &found.body {
            ErrorBody::Standard(body) => serde_json::to_value(body).unwrap_or_default(),
            _ => Value::Null,
        };
        let status = StatusCode::from_u16(found.status_code.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
        return refused(place, status, body, None, secrets);
    }
    match error {
        HttpError::Reqwest(error) => broken(place, error, secrets),
        error => {
            let text = shown(&format!("{place}: {error}"), secrets.iter().copied());
            failed(Failure::ServerError, true, text)
        }
    }
}

/// Of the room's history only the newest.
fn filter() -> FilterDefinition {
    let mut filter = FilterDefinition::default();
    filter.presence.types = Some(Vec::new());
    filter.room.ephemeral.types = Some(Vec::new());
    filter.room.timeline.limit = Some(UInt::from(EVENTS_MAX));
    filter
}

/// The event as JSON, decrypted if we have its key.
fn value(event: &TimelineEvent) -> Option<Value> {
    serde_json::from_str(event.raw().json().get()).ok()
}

fn room_id(room: &str) -> Result<OwnedRoomId, CallError> {
    room.try_into().map_err(|error| failed(Failure::Other, false, format!("room {room:?}: {error}")))
}

fn event_id(event: &str) -> Result<OwnedEventId, CallError> {
    event.try_into().map_err(|error| failed(Failure::ClientError, false, format!("event {event:?}: {error}")))
}
