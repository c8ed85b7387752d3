//! Telegram's sendMessage, with its HTML.
//! Source: https://core.telegram.org/bots/api#sendmessage, and `#html-style`.

use serde_json::{Value, json};

use super::story::Story;
use crate::template::escape;
use crate::text::cut;

/// Most characters of a message; Telegram's limit, which counts what is left after the markup is read. Here the markup
/// counts, too.
const MESSAGE_MAX: usize = 4096;
/// Most characters of a title, before it is escaped.
const TITLE_MAX: usize = 250;
/// Most characters of the small print and the link together, escaped: the rest is for what is wrong.
const END_MAX: usize = 1000;
/// Where there is less room than that, no part is cut to fit.
const PART_MIN: usize = 40;

/// A part of the message: texts, each within a tag or within none.
type Part<'s> = Vec<(Option<&'static str>, &'s str)>;

/// The body.
pub fn body(story: &Story, chat_id: &str) -> Value {
    let details: Vec<String> = story.items.iter().map(|item| item.details.join("\n")).collect();
    let items = story.items.iter().zip(&details);
    let mut parts: Vec<Part<'_>> = items
        .map(|(item, details)| vec![(Some("b"), item.summary.as_str()), (None, "\n"), (None, details)])
        .collect();
    if story.items.is_empty() {
        parts.push(vec![(None, story.body())]);
    }
    let advice = story.advice.iter();
    parts.extend(advice.map(|(title, text)| vec![(Some("b"), title.as_str()), (None, ": "), (None, text)]));
    let end: [Part<'_>; 2] = [vec![(Some("i"), story.footer.as_str())], vec![(None, story.link.as_str())]];
    let end = joined(String::new(), &end, END_MAX);
    let title = format!("<b>{}</b>", escape(&cut(&story.title, TITLE_MAX)));
    let chat_id = chat_id.parse::<i64>().map_or_else(|_| json!(chat_id), |number| json!(number));
    json!({
        "chat_id": chat_id,
        "text": joined(title, &parts, MESSAGE_MAX - utf16(&end)) + end.as_str(),
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": true},
        // What is over makes no sound.
        "disable_notification": story.headline.status == "resolved",
    })
}

/// The beginning, and of the parts as much as fits; what is cut or left out is said by `…`.
fn joined(mut text: String, parts: &[Part<'_>], max: usize) -> String {
    const LEFT_OUT: &str = "\n\n…";
    let mut is_cut = false;
    for part in parts {
        let room = max.saturating_sub(utf16(&text) + utf16(LEFT_OUT) + 2);
        let (mut fitting, is_part_cut) = fitted(part, room);
        if is_part_cut && room < PART_MIN {
            fitting.clear();
        }
        is_cut |= is_part_cut;
        if !fitting.is_empty() {
            text.push_str("\n\n");
            text.push_str(&fitting);
        }
    }
    if is_cut {
        text.push_str(LEFT_OUT);
    }
    text
}

/// As much of a part as fits once it is escaped, and whether that is not all. What is cut is the text, never a tag or an
/// escape: half of one is an error.
fn fitted(part: &Part<'_>, max: usize) -> (String, bool) {
    let mut fitting = String::new();
    for (tag, text) in part.iter().filter(|(_, text)| !text.is_empty()) {
        let (open, close) = match tag {
            Some(tag) => (format!("<{tag}>"), format!("</{tag}>")),
            None => (String::new(), String::new()),
        };
        let room = max.saturating_sub(utf16(&fitting) + open.len() + close.len());
        let kept = prefix(text, room);
        if !kept.is_empty() {
            fitting.push_str(&format!("{open}{}{close}", escape(kept)));
        }
        if kept.len() < text.len() {
            return (fitting, true);
        }
    }
    (fitting, false)
}

/// The longest beginning of a text that fits once it is escaped.
fn prefix(text: &str, max: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, c)| {
        used += utf16(&escape(c.encode_utf8(&mut [0; 4])));
        used > max
    });
    end.map_or(text, |(end, _)| &text[..end])
}

/// Telegram counts as UTF-16 does.
fn utf16(text: &str) -> usize {
    text.encode_utf16().count()
}
