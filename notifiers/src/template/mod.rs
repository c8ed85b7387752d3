//! Texts of notifications: minijinja templates, ours by default.
//!
//! A template reads nothing but its context, runs for a bounded number of steps and makes a bounded text; what
//! `rules/README.md` is for rules, the section on templates in `notifiers/README.md` is for them.

mod context;
mod filters;
mod headline;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use jiff::tz::TimeZone;
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Value};
use serde::Deserialize;
use tocsin_proto::pb::notification::{Alert, Evidence, Notification, Point, Reason, Status};

pub use context::{measured, reason_name, summary};
pub use filters::{duration, escape, links, number, time, with_links, wrap};
pub use headline::Headline;

use crate::text::{cut_bytes, line};

/// Most bytes of a text.
pub const TEXT_BYTES_MAX: usize = 65_536;
/// Most characters of a title.
pub const TITLE_MAX: usize = 200;
/// Alerts shown in full; others are counted by name.
pub const ALERTS_SHOWN: usize = 10;
/// Steps of one rendering; ours take some thousand.
const STEPS_MAX: u64 = 500_000;
/// Most bytes that a template may write before it is stopped.
const WRITTEN_MAX: usize = 1 << 20;

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
#[derive(Clone)]
pub struct Templates {
    environment: Arc<Environment<'static>>,
}

impl fmt::Debug for Templates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Templates").finish_non_exhaustive()
    }
}

impl Default for Templates {
    fn default() -> Self {
        static OURS: OnceLock<Templates> = OnceLock::new();
        OURS.get_or_init(|| Templates { environment: Arc::new(environment()) }).clone()
    }
}

/// What templates made of a notification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// One line, without line ends.
    pub title: String,
    /// Plain text; stands alone: its first line is the title.
    pub text: String,
    /// HTML of the body, without a document around it; stands alone, too. Only tags that Matrix clients show.
    pub html: String,
}

impl Templates {
    /// Compiles. The error names the template and the line, what was found and what would be right.
    pub fn new(config: &TemplateConfig) -> Result<Self, String> {
        let given = [("title", &config.title), ("text", &config.text), ("html", &config.html)];
        let given = given.into_iter().filter_map(|(name, source)| Some((name, source.as_deref()?)));
        Templates::of(given)
    }

    /// Compiles a single template for [`Templates::one`].
    pub(crate) fn of_one(name: &'static str, source: &str) -> Result<Self, String> {
        Templates::of([(name, source)].into_iter())
    }

    fn of<'a>(given: impl Iterator<Item = (&'static str, &'a str)>) -> Result<Self, String> {
        let mut environment = environment();
        let mut names = Vec::new();
        for (name, source) in given {
            environment
                .add_template_owned(name, source.to_string())
                .map_err(|error| describe(name, &error))?;
            names.push(name);
        }
        let templates = Templates { environment: Arc::new(environment) };
        for name in names {
            templates.check(name)?;
        }
        Ok(templates)
    }

    /// True if the receiver has a template of its own by this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.environment.get_template(name).is_ok()
    }

    /// Names that do not exist and filters that do not exist show only when a template runs, so it runs here.
    fn check(&self, name: &str) -> Result<(), String> {
        let template = self.environment.get_template(name).map_err(|error| describe(name, &error))?;
        let mut unknown: Vec<String> = template
            .undeclared_variables(false)
            .into_iter()
            .filter(|variable| {
                !context::NAMES.contains(&variable.as_str())
                    && self.environment.globals().all(|(global, _)| global != variable)
            })
            .collect();
        unknown.sort();
        if let Some(unknown) = unknown.first() {
            return Err(format!(
                "{name}: {unknown:?} is no known name, expected one of {}",
                context::NAMES.join(", ")
            ));
        }
        for reason in [Reason::FirstNotification, Reason::AllResolved] {
            self.one(name, &sample(reason), &TimeZone::UTC)?;
        }
        Ok(())
    }

    /// The texts for a notification, with times in `zone`. A template that errs falls back to ours, and the text says so.
    pub fn render(&self, notification: &Notification, zone: &TimeZone) -> Message {
        let headline = Headline::of(notification);
        let context = context::context(notification, &headline, zone, ALERTS_SHOWN);
        let mut errors = Vec::new();
        let title = self.own("title", &context, &mut errors).map(|title| line(&title, TITLE_MAX));
        let text = self.own("text", &context, &mut errors);
        let html = self.own("html", &context, &mut errors);
        // Our texts begin with the title, whosever it is.
        let headline = match title.filter(|title| !title.is_empty()) {
            Some(title) => headline.titled(&title),
            None => headline,
        };
        let ours = |name: &str| self.ours(name, notification, &headline, zone);
        let mut message = Message {
            title: headline.line(),
            text: text.unwrap_or_else(|| ours("our_text")),
            html: html.unwrap_or_else(|| ours("our_html")),
        };
        for error in &errors {
            let note = format!("A template of this receiver failed, so this is the built-in text: {error}");
            message.text.push_str(&format!("\n{note}\n"));
            message.html.push_str(&format!("<p><em>{}</em></p>", escape(&note)));
        }
        message.text = cut_bytes(&message.text, TEXT_BYTES_MAX, "\n[cut]\n");
        if message.html.len() > TEXT_BYTES_MAX {
            message.html = format!("<h4>{}</h4>", escape(&message.title));
        }
        message
    }

    /// What a single template makes of a notification; an error ends up in a text for people, bounded.
    pub(crate) fn one(
        &self,
        name: &str,
        notification: &Notification,
        zone: &TimeZone,
    ) -> Result<String, String> {
        let headline = Headline::of(notification);
        self.run(name, &context::context(notification, &headline, zone, ALERTS_SHOWN))
    }

    /// What the receiver's own template made; none if it has none, or if it erred, or made too much.
    fn own(&self, name: &str, context: &Value, errors: &mut Vec<String>) -> Option<String> {
        self.environment.get_template(name).ok()?;
        match self.run(name, context) {
            Ok(text) if text.len() <= TEXT_BYTES_MAX || name != "html" => Some(text),
            Ok(text) => {
                let found = text.len();
                errors.push(format!("{name}: {found} bytes, expected at most {TEXT_BYTES_MAX}"));
                None
            }
            Err(error) => {
                errors.push(line(&error, 500));
                None
            }
        }
    }

    /// Our text, with as many alerts as fit.
    fn ours(&self, name: &str, notification: &Notification, headline: &Headline, zone: &TimeZone) -> String {
        // Leaves room for notes about templates that failed.
        let bytes_max = TEXT_BYTES_MAX - 8192;
        for shown in [ALERTS_SHOWN, 5, 2, 1, 0] {
            let text = self.run(name, &context::context(notification, headline, zone, shown));
            if let Some(text) = text.ok().filter(|text| text.len() <= bytes_max) {
                return text;
            }
        }
        let line = headline.line();
        if name == "our_html" { format!("<h4>{}</h4>", escape(&line)) } else { format!("{line}\n") }
    }

    fn run(&self, name: &str, context: &Value) -> Result<String, String> {
        let template = self.environment.get_template(name).map_err(|error| describe(name, &error))?;
        let mut written = Bounded(Vec::new());
        template.render_captured_to(context.clone(), &mut written).map_err(|error| describe(name, &error))?;
        Ok(String::from_utf8_lossy(&written.0).trim().to_string() + "\n")
    }
}

/// Takes so much and no more.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > WRITTEN_MAX {
            return Err(io::Error::other(format!("it writes more than {WRITTEN_MAX} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An environment with our filters and our templates.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("of known options"));
    environment.set_fuel(Some(STEPS_MAX));
    environment.set_auto_escape_callback(|name| match name {
        "html" | "our_html" | "template.html" => AutoEscape::Html,
        "template.json" => AutoEscape::Json,
        _ => AutoEscape::None,
    });
    filters::add(&mut environment);
    environment.add_template("our_text", include_str!("text.jinja")).expect("a test compiles it");
    environment.add_template("our_html", include_str!("html.jinja")).expect("a test compiles it");
    environment
}

/// `text: line 3: unknown filter: filter foo is unknown`.
fn describe(name: &str, error: &minijinja::Error) -> String {
    let line = error.line().map_or(String::new(), |line| format!("line {line}: "));
    let source = std::error::Error::source(error).map_or(String::new(), |source| format!(": {source}"));
    match error.detail() {
        Some(detail) => format!("{name}: {line}{}: {detail}{source}", error.kind()),
        None => format!("{name}: {line}{}{source}", error.kind()),
    }
}

/// A notification that has everything a template may use.
pub fn sample(reason: Reason) -> Notification {
    let labels = [("alertname", "addr_flood"), ("node", "sample"), ("severity", "warning"), ("peer_id", "7")];
    let labels: BTreeMap<String, String> =
        labels.map(|(name, value)| (name.to_string(), value.to_string())).into();
    let annotations = [
        ("summary", "this is a sample: peer 7 announced 1160 addresses in 10 min, 60 are allowed"),
        ("why", "a sample shows what an alert will look like"),
        ("runbook", "nothing; this is a sample"),
    ];
    let annotations: BTreeMap<String, String> =
        annotations.map(|(name, value)| (name.to_string(), value.to_string())).into();
    let is_resolved = reason == Reason::AllResolved;
    let starts_at = 1_795_280_400_000;
    let point = |minute: i64| Point {
        at: starts_at + minute * 60_000,
        value: 129.0 * minute as f64,
        limit: Some(60.0),
    };
    let alert = Alert {
        fingerprint: "0123456789abcdef".to_string(),
        status: if is_resolved { Status::Resolved } else { Status::Firing } as i32,
        labels: labels.clone(),
        annotations: annotations.clone(),
        starts_at,
        ends_at: if is_resolved { starts_at + 600_000 } else { 0 },
        value: Some(1160.0),
        limit: Some(60.0),
        evidence: Some(Evidence {
            quantity: "sum of message.addresses over 10m".to_string(),
            unit: String::new(),
            points: (0..10).map(point).collect(),
        }),
        acknowledged_by: String::new(),
        flapping: false,
    };
    Notification {
        id: "0".repeat(32),
        decided_at: starts_at + 600_000,
        receiver: "sample".to_string(),
        group_key: "{}:{}".to_string(),
        reason: reason as i32,
        reason_text: "a sample was asked for".to_string(),
        group_labels: BTreeMap::new(),
        common_labels: labels,
        common_annotations: annotations,
        alerts: vec![alert],
        truncated_alerts: 0,
        thread: "0".repeat(32),
        number: 1,
        external_url: String::new(),
    }
}
