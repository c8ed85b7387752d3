//! Texts of notifications: minijinja templates, ours by default.

use jiff::tz::TimeZone;
use serde::Deserialize;
use tocsin_proto::pb::notification::Notification;

/// Table `[receiver.templates]`: templates of one's own, in place of ours.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemplateConfig {
    /// One line: the subject of an email, the title of a card.
    pub title: Option<String>,
    /// The plain text.
    pub text: Option<String>,
    /// The same as HTML; values are escaped.
    pub html: Option<String>,
}

/// Compiled templates.
#[derive(Debug, Clone, Default)]
pub struct Templates {}

/// What templates made of a notification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// One line, without line ends.
    pub title: String,
    /// Plain text.
    pub text: String,
    /// HTML of the body, without a document around it. Only tags that Matrix clients show.
    pub html: String,
}

impl Templates {
    /// Compiles. The error names the template and the line, what was found and what would be right.
    pub fn new(config: &TemplateConfig) -> Result<Self, String> {
        let _ = config;
        Ok(Templates {})
    }

    /// The texts for a notification, with times in `zone`. A template that errs falls back to ours, and the text says so.
    pub fn render(&self, notification: &Notification, zone: &TimeZone) -> Message {
        let _ = (notification, zone);
        Message::default()
    }
}
