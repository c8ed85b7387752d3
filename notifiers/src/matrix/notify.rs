//! Sends notifications into the room.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tocsin_proto::pb::notification::{Notification, Reason, Status};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Config;
use super::client::{CallError, Client, failed};
use super::message::{self, Place};
use super::session::Role;
use crate::config::Context;
use crate::plot::Plot;
use crate::{ATTEMPT_MAX, Attempt, Delivery, Failure, Notifier, NotifyError, Receipt};

/// How long the plot may take once the text is sent; the rest of an attempt is the text's.
const PLOT_MAX: Duration = Duration::from_secs(12);
/// A server that limits us is waited for so long before the plot is given up.
const PLOT_WAIT_MAX: Duration = Duration::from_secs(6);

/// Sends to one room.
pub(super) struct MatrixNotifier {
    client: Client,
    room: String,
    context: Context,
    /// The room's id once we are in it.
    joined: Mutex<Option<String>>,
}

impl Notifier for MatrixNotifier {
    fn notify<'a>(&'a self, delivery: &'a Delivery) -> Attempt<'a> {
        Box::pin(self.attempt(delivery))
    }
}

impl MatrixNotifier {
    pub fn new(config: &Config, context: Context) -> Result<Self, String> {
        let client = Client::new(config, &context.receiver, Role::Notifier)?;
        Ok(MatrixNotifier { client, room: config.room.clone(), context, joined: Mutex::new(None) })
    }

    async fn attempt(&self, delivery: &Delivery) -> Result<Receipt, NotifyError> {
        let text_max = ATTEMPT_MAX - PLOT_MAX;
        let told = timeout(text_max, self.tell(delivery)).await.unwrap_or_else(|_| {
            let text = format!("{}: not sent within {} s", self.room, text_max.as_secs());
            Err(failed(Failure::Timeout, true, text))
        });
        let (room, root) = told.map_err(|failure| failure.error)?;
        // People were told. If the picture fails, to tell them again would not help them.
        if let Some(plot) = self.plot(&delivery.notification) {
            let shown = timeout(PLOT_MAX, self.show(&room, &root, &delivery.notification, &plot)).await;
            let error = match shown {
                Ok(Ok(())) => None,
                Ok(Err(failure)) => Some(failure.error.text),
                Err(_) => Some(format!("not within {} s", PLOT_MAX.as_secs())),
            };
            if let Some(error) = error {
                tracing::warn!(receiver = %self.context.receiver, error, "a plot was not sent; its text was");
            }
        }
        Ok(Receipt { reference: root })
    }

    /// Sends the text; returns the room's id and the first event of the thread.
    async fn tell(&self, delivery: &Delivery) -> Result<(String, String), CallError> {
        let room = self.enter().await?;
        match self.tell_in(&room, delivery).await {
            // Somebody took us out of the room; perhaps we may come back.
            Err(failure) if failure.errcode == "M_FORBIDDEN" => {
                *self.joined.lock().await = None;
                let room = self.enter().await?;
                Ok((room.clone(), self.tell_in(&room, delivery).await?))
            }
            root => Ok((room, root?)),
        }
    }

    async fn tell_in(&self, room: &str, delivery: &Delivery) -> Result<String, CallError> {
        let notification = &delivery.notification;
        let message = self.context.templates.render(notification, &self.context.zone);
        let first = delivery.first.as_ref().map(|receipt| receipt.reference.as_str());
        if let Some(root) = first.filter(|root| root.starts_with('$')) {
            let reply = message::notification(notification, &message, &Place::Thread(root.to_string()));
            match self.send(room, &notification.id, &reply).await {
                Ok(_) => {
                    if notification.reason() == Reason::AllResolved {
                        let edit = message::edit(root, notification, &message);
                        self.send(room, &format!("{}-1", notification.id), &edit).await?;
                    }
                    return Ok(root.to_string());
                }
                // The room does not know the first message: it is another room now, say. A new thread, then.
                Err(failure) if failure.error.failure == Failure::ClientError && !failure.error.can_retry => {
                    tracing::debug!(error = %failure.error, "the thread cannot be gone on with");
                }
                Err(failure) => return Err(failure),
            }
        }
        let alone = message::notification(notification, &message, &Place::Room);
        self.send(room, &notification.id, &alone).await
    }

    /// Sends an event; the server returns the earlier one's id if it knows the transaction.
    async fn send(&self, room: &str, transaction: &str, content: &Value) -> Result<String, CallError> {
        send(&self.client, room, transaction, content).await
    }

    /// The room's id; joins it if need be. Only the configured room is ever joined.
    async fn enter(&self) -> Result<String, CallError> {
        let mut joined = self.joined.lock().await;
        if let Some(room) = &*joined {
            return Ok(room.clone());
        }
        let room = join(&self.client, &self.room).await?;
        self.warn_if_encrypted(&room).await;
        *joined = Some(room.clone());
        Ok(room)
    }

    async fn warn_if_encrypted(&self, room: &str) {
        let path = ["_matrix", "client", "v3", "rooms", room, "state", "m.room.encryption", ""];
        if self.client.call(self.client.request(Method::GET, &path)).await.is_ok() {
            tracing::warn!(
                receiver = %self.context.receiver, room,
                "the room is end-to-end encrypted, but what we send there is not; set encrypted = true"
            );
        }
    }

    /// The picture that belongs to a notification: of its first firing alert that has one, or of the first resolved one.
    fn plot(&self, notification: &Notification) -> Option<Plot> {
        // These tell nothing new about what was measured.
        const WITHOUT: [Reason; 5] =
            [Reason::RepeatInterval, Reason::Flapping, Reason::Settled, Reason::Digest, Reason::Emergency];
        if WITHOUT.contains(&notification.reason()) {
            return None;
        }
        let all_resolved = notification.alerts.iter().all(|alert| alert.status() != Status::Firing);
        let status = if all_resolved { Status::Resolved } else { Status::Firing };
        let mut alerts = notification.alerts.iter().filter(|alert| alert.status() == status);
        alerts.find_map(|alert| crate::plot::evidence(alert, &self.context.zone))
    }

    /// Uploads the picture and shows it in the thread.
    async fn show(&self, room: &str, root: &str, told: &Notification, plot: &Plot) -> Result<(), CallError> {
        let uri = patiently(|| self.upload(plot)).await?;
        let content = message::image(told, plot, &uri, &Place::Thread(root.to_string()));
        let transaction = format!("{}-2", told.id);
        patiently(|| self.send(room, &transaction, &content)).await?;
        Ok(())
    }

    async fn upload(&self, plot: &Plot) -> Result<String, CallError> {
        let request = self.client.request(Method::POST, &["_matrix", "media", "v3", "upload"]);
        let request = request.query(&[("filename", "evidence.png")]).header(CONTENT_TYPE, "image/png");
        let answer = self.client.call(request.body(plot.png.clone())).await?;
        named(&answer, "content_uri", "POST upload")
    }
}

/// Tries once more if the server says that it will not be long.
async fn patiently<T, A: Future<Output = Result<T, CallError>>>(
    call: impl Fn() -> A,
) -> Result<T, CallError> {
    let first = call().await;
    match &first {
        Err(CallError { error: NotifyError { retry_after: Some(wait), .. }, .. })
            if *wait <= PLOT_WAIT_MAX =>
        {
            tokio::time::sleep(*wait).await;
            call().await
        }
        _ => first,
    }
}

/// Sends an event; returns its id, or the earlier one's if the server knows the transaction.
pub(super) async fn send(
    client: &Client,
    room: &str,
    transaction: &str,
    content: &Value,
) -> Result<String, CallError> {
    let path = ["_matrix", "client", "v3", "rooms", room, "send", "m.room.message", transaction];
    let answer = client.call(client.request(Method::PUT, &path).json(content)).await?;
    named(&answer, "event_id", "PUT send")
}

/// Joins a room by id or alias; harmless if we are in it. Returns its id.
pub(super) async fn join(client: &Client, room: &str) -> Result<String, CallError> {
    let request = client.request(Method::POST, &["_matrix", "client", "v3", "join", room]);
    named(&client.call(request.json(&json!({}))).await?, "room_id", "POST join")
}

/// A text of an answer.
fn named(answer: &Value, key: &str, place: &str) -> Result<String, CallError> {
    let text = answer[key].as_str().map(str::to_string);
    text.ok_or_else(|| failed(Failure::ServerError, true, format!("{place}: the answer has no {key}")))
}
