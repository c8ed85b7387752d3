//! Sends notifications into the room.

use std::time::Duration;

use tocsin_proto::pb::notification::{Alert, Notification, Reason, Status};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Config;
use super::client::{CallError, failed};
use super::line::Line;
use super::message::{self, Place};
use super::session::Role;
use crate::config::Context;
use crate::plot::Plot;
use crate::{ATTEMPT_MAX, Attempt, Delivery, Failure, Notifier, NotifyError, Receipt};

/// How long the text may take.
const TEXT_MAX: Duration = Duration::from_secs(17);
/// How long the plot may take once the text is sent, drawn and shown.
const PLOT_MAX: Duration = Duration::from_secs(10);
/// A server that limits us is waited for so long before the plot is given up.
const PLOT_WAIT_MAX: Duration = Duration::from_secs(6);
/// Alerts that are tried for a picture.
const PICTURED_MAX: usize = 20;
// A text that was sent must not count as failed because its plot took too long, also on a machine that is busy.
const _: () = assert!(TEXT_MAX.as_secs() + PLOT_MAX.as_secs() + 3 <= ATTEMPT_MAX.as_secs());

/// Sends to one room.
pub(super) struct MatrixNotifier {
    line: Line,
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
        let line = Line::new(config, &context.receiver, Role::Notifier)?;
        Ok(MatrixNotifier { line, room: config.room.clone(), context, joined: Mutex::new(None) })
    }

    async fn attempt(&self, delivery: &Delivery) -> Result<Receipt, NotifyError> {
        let told = timeout(TEXT_MAX, self.tell(delivery)).await.unwrap_or_else(|_| {
            let text = format!("{}: not sent within {} s", self.room, TEXT_MAX.as_secs());
            Err(failed(Failure::Timeout, true, text))
        });
        let (room, root) = told.map_err(|failure| failure.error)?;
        // People were told. If the picture fails, to tell them again would not help them.
        let shown = timeout(PLOT_MAX, self.illustrate(&room, &root, &delivery.notification)).await;
        let error = match shown {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(format!("not within {} s", PLOT_MAX.as_secs())),
        };
        if let Some(error) = error {
            tracing::warn!(receiver = %self.context.receiver, error, "a plot was not sent; its text was");
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
            match self.line.send(room, &notification.id, &reply).await {
                Ok(_) => {
                    if notification.reason() == Reason::AllResolved {
                        let edit = message::edit(root, notification, &message);
                        self.line.send(room, &format!("{}-1", notification.id), &edit).await?;
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
        self.line.send(room, &notification.id, &alone).await
    }

    /// The room's id; joins it if need be. Only the configured room is ever joined.
    async fn enter(&self) -> Result<String, CallError> {
        let mut joined = self.joined.lock().await;
        if let Some(room) = &*joined {
            return Ok(room.clone());
        }
        let room = self.line.join(&self.room).await?;
        if self.line.betrays(&room).await {
            tracing::warn!(
                receiver = %self.context.receiver, room,
                "the room is end-to-end encrypted, but what we send there is not; set encrypted = true"
            );
        }
        *joined = Some(room.clone());
        Ok(room)
    }

    /// Shows the picture of what was measured, if there is one. It is drawn beside other tasks, which should not wait.
    async fn illustrate(&self, room: &str, root: &str, told: &Notification) -> Result<(), String> {
        let Some(alerts) = pictured(told) else { return Ok(()) };
        let zone = self.context.zone.clone();
        let drawing = tokio::task::spawn_blocking(move || {
            alerts.iter().find_map(|alert| crate::plot::evidence(alert, &zone))
        });
        let plot = drawing.await.map_err(|error| format!("it cannot be drawn: {error}"))?;
        let Some(plot) = plot else { return Ok(()) };
        self.show(room, root, told, &plot).await.map_err(|failure| failure.error.text)
    }

    /// Uploads the picture and shows it in the thread.
    async fn show(&self, room: &str, root: &str, told: &Notification, plot: &Plot) -> Result<(), CallError> {
        let uploaded = patiently(|| self.line.upload(plot)).await?;
        let content = message::image(told, plot, uploaded, &Place::Thread(root.to_string()));
        let transaction = format!("{}-2", told.id);
        patiently(|| self.line.send(room, &transaction, &content)).await?;
        Ok(())
    }
}

/// The alerts of which one is shown as a picture: those that fire, or the resolved ones if none does. None if the
/// notification tells nothing new about what was measured.
fn pictured(notification: &Notification) -> Option<Vec<Alert>> {
    const WITHOUT: [Reason; 5] =
        [Reason::RepeatInterval, Reason::Flapping, Reason::Settled, Reason::Digest, Reason::Emergency];
    if WITHOUT.contains(&notification.reason()) {
        return None;
    }
    let all_resolved = notification.alerts.iter().all(|alert| alert.status() != Status::Firing);
    let status = if all_resolved { Status::Resolved } else { Status::Firing };
    let has_points =
        |alert: &&Alert| alert.evidence.as_ref().is_some_and(|evidence| evidence.points.len() > 1);
    let alerts = notification.alerts.iter().filter(|alert| alert.status() == status).filter(has_points);
    // Where none of the first ones can be drawn, the others are of no other kind.
    Some(alerts.take(PICTURED_MAX).cloned().collect())
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
