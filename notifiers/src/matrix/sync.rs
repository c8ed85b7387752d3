//! Reads what the server says has happened in the room.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::client::{CALL_MAX, CallError, Client, failed};
use super::command;
use crate::Failure;

/// How long the server waits for something to happen before it answers.
pub(super) const POLL: Duration = Duration::from_secs(30);
/// More events of one answer are not read; the oldest are left out.
pub(super) const EVENTS_MAX: u32 = 50;

/// What happened since the last time.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Batch {
    /// Where to go on.
    pub next: String,
    /// Messages and reactions in the room, oldest first.
    pub events: Vec<Value>,
    /// True if events are missing because there were too many.
    pub is_cut: bool,
    /// True if we are no longer in the room.
    pub has_left: bool,
}

/// Waits for something to happen; without `since` it answers at once. Without a room only invitations are waited for.
pub(super) async fn sync(
    client: &Client,
    room: Option<&str>,
    since: Option<&str>,
) -> Result<Batch, CallError> {
    let nothing = json!({"types": []});
    let mut filter = json!({
        "presence": nothing, "account_data": nothing,
        "room": {
            "account_data": nothing, "ephemeral": nothing, "state": nothing,
            "timeline": {"types": ["m.room.message", "m.reaction"], "limit": EVENTS_MAX},
        },
    });
    match room {
        Some(room) => filter["room"]["rooms"] = json!([room]),
        None => filter["room"]["timeline"]["types"] = json!([]),
    }
    let mut query = vec![("filter", filter.to_string()), ("set_presence", "offline".to_string())];
    if let Some(since) = since {
        query.push(("since", since.to_string()));
        query.push(("timeout", POLL.as_millis().to_string()));
    }
    let request = client.request(Method::GET, &["_matrix", "client", "v3", "sync"]);
    let answer = client.call(request.query(&query).timeout(POLL + CALL_MAX)).await?;
    let batch = read(answer, room.unwrap_or_default());
    if batch.next.is_empty() {
        let text = "GET sync: the answer has no next_batch".to_string();
        return Err(failed(Failure::ServerError, true, text));
    }
    Ok(batch)
}

fn read(mut answer: Value, room: &str) -> Batch {
    let next = answer["next_batch"].as_str().unwrap_or_default().to_string();
    let has_left = !answer["rooms"]["leave"][room].is_null();
    let timeline = ["rooms", "join", room, "timeline"];
    let timeline = timeline.into_iter().try_fold(&mut answer, |value, key| value.get_mut(key));
    let mut batch = Batch { next, has_left, ..Batch::default() };
    if let Some(timeline) = timeline {
        batch.is_cut = timeline["limited"] == json!(true);
        if let Some(Value::Array(events)) = timeline.get_mut("events").map(Value::take) {
            batch.events = events;
        }
    }
    batch
}

/// Something somebody said that may concern us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    /// The event.
    pub event: String,
    /// Who.
    pub user: String,
    /// How long ago, by the server's clock.
    pub age: Duration,
    /// What.
    pub said: Said,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// A reaction that means that somebody takes care.
    Assent {
        /// The event it belongs to.
        to: String,
    },
    /// A text.
    Text {
        /// Without what it quotes.
        text: String,
        /// First event of the thread it stands in.
        thread: Option<String>,
        /// The event it answers.
        reply_to: Option<String>,
    },
}

/// Reads an event; none if it is nothing of what we listen to.
pub(super) fn heard(event: &Value) -> Option<Heard> {
    let text = |value: &Value| value.as_str().map(str::to_string);
    let content = &event["content"];
    let relation = &content["m.relates_to"];
    let related = || text(&relation["event_id"]);
    let said = match (event["type"].as_str()?, relation["rel_type"].as_str()) {
        ("m.reaction", Some("m.annotation")) if command::acknowledges(relation["key"].as_str()?) => {
            Said::Assent { to: related()? }
        }
        // A command that is edited was carried out before.
        ("m.room.message", Some("m.replace")) => return None,
        ("m.room.message", kind) if content["msgtype"] == "m.text" => {
            let thread = related().filter(|_| kind == Some("m.thread"));
            let is_falling_back = relation["is_falling_back"] == json!(true);
            let reply_to = text(&relation["m.in_reply_to"]["event_id"]).filter(|_| !is_falling_back);
            let text = content["body"].as_str()?;
            let text = if reply_to.is_some() { without_quote(text) } else { text };
            Said::Text { text: text.to_string(), thread, reply_to }
        }
        _ => return None,
    };
    // Ages may be negative where clocks differ.
    let age_ms = event["unsigned"]["age"].as_i64().unwrap_or_default().max(0);
    let age = Duration::from_millis(age_ms.unsigned_abs());
    Some(Heard { event: text(&event["event_id"])?, user: text(&event["sender"])?, age, said })
}

/// Older clients put what a reply answers before it: lines that begin with `> `, then an empty one.
fn without_quote(text: &str) -> &str {
    let mut rest = text;
    while let Some((line, after)) = rest.split_once('\n')
        && line.starts_with("> ")
    {
        rest = after;
    }
    rest.trim_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, content: Value) -> Value {
        json!({
            "type": kind, "event_id": "$1", "sender": "@anna:m", "content": content, "unsigned": {"age": 1500},
        })
    }

    #[track_caller]
    fn check(kind: &str, content: Value, expected: Option<Said>) {
        let found = heard(&event(kind, content));
        assert_eq!(found.map(|heard| heard.said), expected);
    }

    fn said(text: &str, thread: Option<&str>, reply_to: Option<&str>) -> Option<Said> {
        let owned = |id: Option<&str>| id.map(str::to_string);
        Some(Said::Text { text: text.to_string(), thread: owned(thread), reply_to: owned(reply_to) })
    }

    #[test]
    fn a_check_mark_is_heard_and_other_reactions_are_not() {
        let reaction =
            |key: &str| json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": "$0", "key": key}});
        check("m.reaction", reaction("✅"), Some(Said::Assent { to: "$0".to_string() }));
        check("m.reaction", reaction("❌"), None);
        check("m.reaction", json!({"m.relates_to": {"rel_type": "m.annotation", "key": "✅"}}), None);
    }

    #[test]
    fn texts_know_their_thread_and_what_they_answer() {
        let text = |body: &str, relation: Value| json!({"msgtype": "m.text", "body": body, "m.relates_to": relation});
        check("m.room.message", text("!ack", Value::Null), said("!ack", None, None));
        let thread = json!({"rel_type": "m.thread", "event_id": "$0", "is_falling_back": true,
            "m.in_reply_to": {"event_id": "$9"}});
        check("m.room.message", text("!ack", thread), said("!ack", Some("$0"), None));
        let reply = json!({"m.in_reply_to": {"event_id": "$9"}});
        check("m.room.message", text("> <@t:m> a\n> b\n\n!ack", reply), said("!ack", None, Some("$9")));
        let edit = json!({"rel_type": "m.replace", "event_id": "$0"});
        check("m.room.message", text("* !ack", edit), None);
        check("m.room.message", json!({"msgtype": "m.notice", "body": "!ack"}), None);
        check("m.room.message", json!({"msgtype": "m.text", "body": 7}), None);
    }

    #[test]
    fn an_answer_of_any_shape_is_read_without_harm() {
        for answer in
            [json!({}), json!({"rooms": {"join": {"!r": 3}}}), json!({"rooms": {"join": {"!r": []}}})]
        {
            assert_eq!(read(answer, "!r").events, Vec::<Value>::new());
        }
        let full = json!({"next_batch": "n", "rooms": {"join": {"!r": {"timeline": {"events": [1], "limited": true}}}}});
        let batch = Batch { next: "n".to_string(), events: vec![json!(1)], is_cut: true, has_left: false };
        assert_eq!(read(full, "!r"), batch);
        assert_eq!(heard(&json!(1)), None);
    }
}
