//! Telegram's sendMessage, with its HTML.
//! Source: https://core.telegram.org/bots/api#sendmessage, and `#html-style`.

use serde_json::{Value, json};

use super::story::Story;
use crate::template::escape;
use crate::text::cut;

/// Most characters of a message; Telegram's limit, which counts what is left after the markup is read.
const MESSAGE_MAX: usize = 4096;
/// Most characters of a text that stands alone.
const ALONE_MAX: usize = 3000;

/// The body.
pub fn body(story: &Story, chat_id: &str) -> Value {
    let mut parts = Vec::new();
    for item in &story.items {
        parts.push(format!("<b>{}</b>\n{}", escape(&item.summary), escape(&item.details.join("\n"))));
    }
    if story.items.is_empty() {
        parts.push(escape(&cut(story.body(), ALONE_MAX)));
    }
    parts.extend(story.advice.iter().map(|(title, text)| format!("<b>{title}:</b> {}", escape(text))));
    if !story.footer.is_empty() {
        parts.push(format!("<i>{}</i>", escape(&story.footer)));
    }
    if !story.link.is_empty() {
        parts.push(escape(&story.link));
    }
    let chat_id = chat_id.parse::<i64>().map_or_else(|_| json!(chat_id), |number| json!(number));
    json!({
        "chat_id": chat_id,
        "text": joined(format!("<b>{}</b>", escape(&cut(&story.title, 250))), &parts),
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": true},
        // What is over makes no sound.
        "disable_notification": story.headline.status == "resolved",
    })
}

/// The first part, and of the others as many as fit; a part is never cut, as half a tag is an error.
fn joined(mut text: String, parts: &[String]) -> String {
    let mut characters = utf16(&text);
    let mut has_room = true;
    for part in parts.iter().filter(|part| !part.is_empty()) {
        let more = utf16(part) + 2;
        has_room = characters + more + 3 <= MESSAGE_MAX;
        if !has_room {
            continue;
        }
        characters += more;
        text.push_str("\n\n");
        text.push_str(part);
    }
    if !has_room {
        text.push_str("\n\n…");
    }
    text
}

/// Telegram counts as UTF-16 does.
fn utf16(text: &str) -> usize {
    text.encode_utf16().count()
}
