//! Slack's incoming webhook: a line of text, then an attachment with the colour of the severity.
//! Sources: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks,
//! https://docs.slack.dev/messaging/formatting-message-text, https://docs.slack.dev/reference/block-kit/blocks.

use serde_json::{Value, json};

use super::story::Story;
use crate::template::with_links;
use crate::text::cut;

/// Most characters of a section; Slack takes 3000.
const SECTION_MAX: usize = 2900;

/// The body.
pub fn body(story: &Story) -> Value {
    let mut blocks: Vec<Value> = Vec::new();
    for item in &story.items {
        blocks.push(section(&format!("*{}*\n{}", plain(&item.summary), escape(&item.details.join("\n")))));
    }
    if story.items.is_empty() {
        blocks.push(section(&escape(story.body())));
    }
    for (title, text) in &story.advice {
        blocks.push(section(&format!("*{title}:* {}", linked(text))));
    }
    if !story.footer.is_empty() {
        let text = json!({"type": "mrkdwn", "text": within(&escape(&story.footer)), "verbatim": true});
        blocks.push(json!({"type": "context", "elements": [text]}));
    }
    // An empty section is refused.
    blocks.retain(|block| block["text"]["text"] != "");
    // Slack takes 50.
    blocks.truncate(50);
    let title = escape(&story.title);
    let text = match story.link.as_str() {
        "" => title,
        link => format!("{title} (<{}|open>)", escape(link).replace('|', "%7C")),
    };
    json!({
        "text": text,
        "unfurl_links": false,
        "unfurl_media": false,
        "attachments": [{"color": story.headline.color(), "blocks": blocks}],
    })
}

/// Verbatim: names of channels and people in a stranger's text do not become mentions.
fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": within(text), "verbatim": true}})
}

/// Cut, though not within an escape or a link.
fn within(text: &str) -> String {
    let mut kept = cut(text, SECTION_MAX);
    if kept == text {
        return kept;
    }
    for (begin, end) in [('&', ';'), ('<', '>')] {
        if let Some(at) = kept.rfind(begin).filter(|at| !kept[*at..].contains(end)) {
            kept = format!("{}…", &kept[..at]);
        }
    }
    kept
}

/// The three characters that Slack's markup needs escaped.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Escaped, with addresses as links: verbatim text has none by itself.
fn linked(text: &str) -> String {
    with_links(text, escape, |address| format!("<{}>", escape(address)))
}

/// Escaped, for a place between stars: a star of its own would end the bold part.
fn plain(text: &str) -> String {
    escape(text).replace('*', "∗")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_not_cut_within_an_escape() {
        let text = "&lt;".repeat(SECTION_MAX);
        let cut = within(&text);
        assert!(cut.chars().count() <= SECTION_MAX);
        assert!(cut.trim_end_matches('…').ends_with("&lt;"), "{}", &cut[cut.len() - 10..]);
    }
}
