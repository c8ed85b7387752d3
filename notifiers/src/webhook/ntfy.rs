//! ntfy's publishing as JSON, posted to the root of the server.
//! Source: https://docs.ntfy.sh/publish/#publish-as-json.

use serde_json::{Value, json};

use super::story::Story;
use crate::text::{cut, cut_bytes};

/// Most bytes of a message; ntfy makes a file of a longer one.
const MESSAGE_MAX: usize = 4000;
/// Most characters of a title.
const TITLE_MAX: usize = 250;

/// The body.
pub fn body(story: &Story, topic: &str) -> Value {
    // 5 overrides "do not disturb"; 2 makes no sound.
    let (priority, tag) = match (story.headline.status, story.headline.severity) {
        ("resolved", _) => (2, "white_check_mark"),
        (_, "critical") => (5, "rotating_light"),
        (_, "warning") => (4, "warning"),
        _ => (3, "information_source"),
    };
    let mut body = json!({
        "topic": topic,
        "title": cut(&story.title, TITLE_MAX),
        "message": cut_bytes(story.body(), MESSAGE_MAX, "\n[cut]"),
        "priority": priority,
        "tags": [tag],
    });
    if !story.link.is_empty() {
        body["click"] = json!(story.link);
    }
    body
}
