//! Contents of the events we send.
//!
//! Labels and summaries are partly written by attackers: nobody is mentioned, whatever a text says, and an event always
//! fits into what a server takes.

use serde_json::{Value, json};
use tocsin_proto::pb::notification::{Notification, Status};

use crate::plot::Plot;
use crate::template::Message;
use crate::text::cut_bytes;

/// Servers take events of 65,536 bytes with all their headers; encryption makes four bytes of three.
/// Source: <https://spec.matrix.org/latest/client-server-api/#size-limits>.
const CONTENT_BYTES_MAX: usize = 44_000;
/// What is left of a text when the event would be too big, in bytes.
const TEXT_BYTES_MAX: usize = 8_000;
/// Alerts an event names; more are not acknowledged by one reaction.
const ALERTS_MAX: usize = 500;
/// Our part of a content: which alerts the message is about.
const ALERTS_KEY: &str = "org.tocsin.alerts";

/// Which alerts a message of ours is about; kept in the message, so that no other memory is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Subject {
    /// Fingerprints of those that fire, 16 hex digits each.
    pub alerts: Vec<String>,
}

impl Subject {
    fn of(notification: &Notification) -> Self {
        let firing = notification.alerts.iter().filter(|alert| alert.status() == Status::Firing);
        Subject { alerts: firing.take(ALERTS_MAX).map(|alert| alert.fingerprint.clone()).collect() }
    }

    fn json(&self) -> Value {
        json!({"firing": self.alerts})
    }

    /// Reads it back from a content; none if the message is not about alerts.
    pub fn read(content: &Value) -> Option<Self> {
        let firing = content[ALERTS_KEY]["firing"].as_array()?;
        let alerts = firing.iter().filter_map(Value::as_str).take(ALERTS_MAX).map(str::to_string);
        Some(Subject { alerts: alerts.collect() })
    }
}

/// Where a message stands in the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// By itself.
    Room,
    /// An answer to this event.
    Reply(String),
    /// In the thread of this event.
    Thread(String),
}

impl Place {
    fn put(&self, content: &mut Value) {
        content["m.relates_to"] = match self {
            Place::Room => return,
            Place::Reply(event) => json!({"m.in_reply_to": {"event_id": event}}),
            // The reply is for clients that know no threads.
            Place::Thread(root) => json!({
                "rel_type": "m.thread", "event_id": root,
                "is_falling_back": true, "m.in_reply_to": {"event_id": root},
            }),
        };
    }
}

/// A notification as a message. `m.text`: push rules pass over `m.notice`, and this must wake people.
pub(super) fn notification(notification: &Notification, message: &Message, place: &Place) -> Value {
    let mut content = fitting(message, |text| {
        let mut content = text;
        content["msgtype"] = json!("m.text");
        content[ALERTS_KEY] = Subject::of(notification).json();
        content
    });
    place.put(&mut content);
    content
}

/// Puts a notification in the place of an earlier message.
pub(super) fn edit(earlier: &str, notification: &Notification, message: &Message) -> Value {
    let new = self::notification(notification, message, &Place::Room);
    json!({
        "msgtype": "m.text",
        // For clients that know no edits.
        "body": format!("* {}", clean(&message.title)),
        "m.mentions": {},
        "m.new_content": new,
        "m.relates_to": {"rel_type": "m.replace", "event_id": earlier},
    })
}

/// A plot that was uploaded; `uploaded` says where it is, in Matrix' terms.
pub(super) fn image(notification: &Notification, plot: &Plot, uploaded: Value, place: &Place) -> Value {
    let (width, height) = plot.size;
    let mut content = uploaded;
    let rest = json!({
        "msgtype": "m.image",
        "body": "evidence.png",
        "info": {"mimetype": "image/png", "w": width, "h": height, "size": plot.png.len()},
        "m.mentions": {},
        ALERTS_KEY: Subject::of(notification).json(),
    });
    for (key, value) in rest.as_object().into_iter().flatten() {
        content[key] = value.clone();
    }
    place.put(&mut content);
    content
}

/// An answer to somebody. `m.notice`: whoever asked is awake, and the others need not be.
pub(super) fn answer(text: &str, place: &Place) -> Value {
    let text = Message { text: text.to_string(), ..Message::default() };
    let mut content = fitting(&text, |mut text| {
        text["msgtype"] = json!("m.notice");
        text
    });
    place.put(&mut content);
    content
}

/// The content with as much of the text as an event holds: all of it, or no HTML, or a part.
fn fitting(message: &Message, make: impl Fn(Value) -> Value) -> Value {
    let body = match message.text.trim() {
        "" => clean(&message.title),
        text => clean(text),
    };
    let mut full = json!({"body": body, "m.mentions": {}});
    if !message.html.trim().is_empty() {
        full["format"] = json!("org.matrix.custom.html");
        full["formatted_body"] = json!(clean(message.html.trim()));
    }
    let fits = |content: &Value| content.to_string().len() <= CONTENT_BYTES_MAX;
    let content = make(full);
    if fits(&content) {
        return content;
    }
    let content = make(json!({"body": body, "m.mentions": {}}));
    if fits(&content) {
        return content;
    }
    make(json!({"body": cut_bytes(&body, TEXT_BYTES_MAX, "…"), "m.mentions": {}}))
}

/// Without control characters, and with nothing that older clients take for a call to the whole room.
fn clean(text: &str) -> String {
    let text: String =
        text.chars().filter(|letter| !letter.is_control() || matches!(letter, '\n' | '\t')).collect();
    text.replace("@room", "@\u{200b}room")
}

#[cfg(test)]
mod tests {
    use tocsin_proto::pb::notification::Alert;

    use super::*;

    fn sample(alerts: usize) -> Notification {
        let alert = |number| Alert {
            fingerprint: format!("{number:016x}"),
            status: Status::Firing.into(),
            ..Alert::default()
        };
        Notification { alerts: (0..alerts).map(alert).collect(), ..Notification::default() }
    }

    fn texts(text: &str, html: &str) -> Message {
        Message { title: "title".to_string(), text: text.to_string(), html: html.to_string() }
    }

    #[test]
    fn a_message_names_its_firing_alerts_and_they_are_read_back() {
        let mut told = sample(2);
        told.alerts[1].status = Status::Resolved.into();
        let content = notification(&told, &texts("text", ""), &Place::Room);
        assert_eq!(Subject::read(&content), Some(Subject { alerts: vec![format!("{:016x}", 0)] }));
        assert_eq!(Subject::read(&json!({"body": "hello"})), None);
    }

    #[test]
    fn a_message_calls_nobody_whatever_its_texts_say() {
        let content =
            notification(&sample(1), &texts("@room by /@room:1\u{7}/", "<b>@room</b>"), &Place::Room);
        assert_eq!(content["m.mentions"], json!({}));
        assert!(!content.to_string().contains("@room"), "{content}");
        assert!(!content["body"].as_str().expect("text").contains('\u{7}'));
    }

    #[test]
    fn texts_of_any_size_fit_into_an_event() {
        // Quotes take two bytes in JSON, umlauts are cut in the middle if one is careless.
        for text in ["\"", "ü", "x"] {
            for length in [100, 20_000, 50_000, 1_000_000] {
                let message = texts(&text.repeat(length), &text.repeat(length));
                let content = edit("$root", &sample(2_000), &message);
                let size = content.to_string().len();
                assert!((100..48_000).contains(&size), "{length} of {text}: {size}");
            }
        }
    }

    #[test]
    fn without_texts_the_title_is_said() {
        let content = notification(&sample(0), &texts("", ""), &Place::Room);
        assert_eq!(content["body"], "title");
        assert_eq!(content.get("formatted_body"), None);
    }
}
