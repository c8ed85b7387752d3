//! Discord's webhook: one embed.
//! Source: https://docs.discord.com/developers/resources/webhook#execute-webhook, and `#embed-limits` of messages.

use serde_json::{Value, json};

use super::alertmanager::rfc3339;
use super::story::Story;
use crate::template::with_links;
use crate::text::cut;

/// Most characters of a title; Discord's limit.
const TITLE_MAX: usize = 256;
/// Most characters of a description; Discord takes 4096, and 6000 over all of an embed.
const DESCRIPTION_MAX: usize = 3000;
/// Most characters of a field; Discord takes 1024.
const FIELD_MAX: usize = 500;
/// Most fields, so that all of them stay within what an embed may have; Discord takes 25.
const FIELDS_MAX: usize = 4;
/// Most characters of the footer; Discord takes 2048.
const FOOTER_MAX: usize = 200;

/// The body.
pub fn body(story: &Story) -> Value {
    let items = story
        .items
        .iter()
        .map(|item| format!("**{}**\n{}", escape(&item.summary), escape(&item.details.join("\n"))));
    let description = match story.items.is_empty() {
        true => escape(story.body()),
        false => items.collect::<Vec<String>>().join("\n\n"),
    };
    let fields = story
        .advice
        .iter()
        .take(FIELDS_MAX)
        .map(|(title, text)| json!({"name": title, "value": within(&linked(text), FIELD_MAX)}));
    let color = u32::from_str_radix(story.headline.color().trim_start_matches('#'), 16).unwrap_or(0);
    let mut embed = json!({
        "title": within(&escape(&story.title), TITLE_MAX),
        "description": within(&description, DESCRIPTION_MAX),
        "color": color,
        "timestamp": rfc3339(story.decided_at),
        "fields": fields.collect::<Vec<Value>>(),
        "footer": {"text": cut(&story.footer, FOOTER_MAX)},
    });
    if !story.link.is_empty() {
        embed["url"] = json!(story.link);
    }
    // Nobody is called by what a stranger wrote.
    json!({"embeds": [embed], "allowed_mentions": {"parse": []}})
}

/// Cut, though not between a backslash and what it escapes.
fn within(text: &str, characters_max: usize) -> String {
    let mut cut = cut(text, characters_max);
    if cut.len() < text.len() && cut.ends_with('…') {
        let kept = cut.trim_end_matches('…');
        let backslashes = kept.len() - kept.trim_end_matches('\\').len();
        cut = format!("{}…", &kept[..kept.len() - backslashes % 2]);
    }
    cut
}

/// Escaped but for addresses, which a backslash would break.
fn linked(text: &str) -> String {
    with_links(text, escape, str::to_string)
}

/// Without meaning for Discord's markdown.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\*_~`|<>[]()#@".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
