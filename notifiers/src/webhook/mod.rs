//! An HTTP request for each notification: Alertmanager's payload, that of a known chat or pager, or a template's.
//!
//! `Idempotency-Key` is the notification's id, so that a repeat can be told from news.

mod alertmanager;
mod discord;
mod ntfy;
mod pagerduty;
mod signature;
mod slack;
mod story;
mod telegram;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use tocsin_proto::Span;
use tocsin_proto::pb::notification::{Notification, Reason};

use crate::config::Context;
use crate::http::{self, Access, BasicAuth, Request, misconfigured};
use crate::secret::{Given, Secret, SecretSource};
use crate::template::{self, Templates};
use crate::{Attempt, Delivery, Failure, Notifier, NotifyError, Receipt};

/// Table `[receiver.webhook]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to; not needed for `pagerduty` and `telegram`, which know their service's.
    pub url: Option<Secret>,
    /// The same, if the URL is a secret, as those of Slack and Discord are.
    pub url_secret: Option<SecretSource>,
    /// What is posted.
    #[serde(default)]
    pub preset: Preset,
    /// The body, for preset `template`.
    pub template: Option<String>,
    /// Its kind, for preset `template`; `application/json` if absent.
    pub content_type: Option<String>,
    /// Further headers: `X-Key = "text"`, or `X-Key = { file = "/etc/tocsin/key" }`.
    #[serde(default)]
    pub headers: BTreeMap<String, Given>,
    /// Token of `Authorization: Bearer`.
    pub bearer_token: Option<SecretSource>,
    /// Name and password of `Authorization: Basic`.
    pub basic_auth: Option<BasicAuth>,
    /// Key of the signature: as Standard Webhooks write it (`whsec_` and base64), or any text.
    pub hmac_secret: Option<SecretSource>,
    /// How long one attempt may take.
    #[serde(default = "http::timeout")]
    pub timeout: Span,
    /// Most alerts in a body of preset `alertmanager` or `template`; 0 is no limit.
    #[serde(default)]
    pub max_alerts: u32,
    /// Certificates (PEM) of the authorities to trust, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Integration key, for preset `pagerduty`.
    pub routing_key: Option<SecretSource>,
    /// Topic, for preset `ntfy`.
    pub topic: Option<String>,
    /// Token of the bot, for preset `telegram`.
    pub token: Option<SecretSource>,
    /// Chat, for preset `telegram`: its number as text, or `@name`.
    pub chat_id: Option<String>,
}

/// What is posted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Alertmanager's webhook payload, version 4.
    #[default]
    Alertmanager,
    /// Slack's incoming webhook.
    Slack,
    /// Discord's webhook.
    Discord,
    /// PagerDuty's Events API, version 2.
    Pagerduty,
    /// ntfy's JSON.
    Ntfy,
    /// Telegram's sendMessage.
    Telegram,
    /// What `template` makes.
    Template,
}

/// Name of the template, by the kind of what it makes; the name says how values are escaped.
fn template_name(content_type: &str) -> &'static str {
    match content_type {
        kind if kind.contains("json") => "template.json",
        kind if kind.contains("html") || kind.contains("xml") => "template.html",
        _ => "template",
    }
}

impl Config {
    fn check(&self) -> Result<(), String> {
        let given = [
            ("template", self.template.is_some(), Preset::Template),
            ("content_type", self.content_type.is_some(), Preset::Template),
            ("routing_key", self.routing_key.is_some(), Preset::Pagerduty),
            ("topic", self.topic.is_some(), Preset::Ntfy),
            ("token", self.token.is_some(), Preset::Telegram),
            ("chat_id", self.chat_id.is_some(), Preset::Telegram),
        ];
        for (key, is_given, preset) in given {
            if is_given && preset != self.preset {
                return Err(format!(
                    "{key} is given for preset {:?}, expected it for {preset:?} alone",
                    self.preset
                ));
            }
            if !is_given && preset == self.preset && key != "content_type" {
                return Err(format!("{key} is missing, expected it for preset {preset:?}"));
            }
        }
        match (&self.url, &self.url_secret) {
            (Some(_), Some(_)) => Err("url and url_secret are both given, expected one of them".to_string()),
            (Some(given), None) => http::url(given.expose()).map(|_| ()),
            (None, None) if default_url(self.preset).is_none() => {
                Err("url is missing, expected url = \"https://host/path\" or url_secret = { file = \"...\" }"
                    .to_string())
            }
            _ => Ok(()),
        }
    }

    fn access(&self) -> Access {
        Access {
            headers: self.headers.clone(),
            bearer_token: self.bearer_token.clone(),
            basic_auth: self.basic_auth.clone(),
            ca_file: self.ca_file.clone(),
            timeout: self.timeout.get(),
            ..Access::default()
        }
    }
}

/// Where a service is if the configuration is silent.
fn default_url(preset: Preset) -> Option<&'static str> {
    match preset {
        Preset::Pagerduty => Some("https://events.pagerduty.com/v2/enqueue"),
        Preset::Telegram => Some("https://api.telegram.org"),
        _ => None,
    }
}

/// The notifier of a table.
pub fn notifier(config: &Config, context: Context) -> Result<Box<dyn Notifier>, String> {
    let in_table = |error: String| format!("webhook: {error}");
    config.check().map_err(in_table)?;
    let access = config.access();
    access.check().map_err(in_table)?;
    let content_type = config.content_type.clone().unwrap_or_else(|| "application/json".to_string());
    let name = template_name(&content_type);
    let body = match &config.template {
        Some(source) => Templates::of_one(name, source).map_err(in_table)?,
        None => Templates::default(),
    };
    let webhook = Webhook { config: config.clone(), context, access, content_type, name, body };
    if config.preset == Preset::Template {
        let made = webhook.templated(&template::sample(Reason::FirstNotification));
        made.map_err(|error| in_table(error.text))?;
    }
    Ok(Box::new(webhook))
}

struct Webhook {
    config: Config,
    context: Context,
    access: Access,
    content_type: String,
    name: &'static str,
    body: Templates,
}

impl Notifier for Webhook {
    fn notify<'a>(&'a self, delivery: &'a Delivery) -> Attempt<'a> {
        Box::pin(async move {
            let request = self.request(&delivery.notification)?;
            self.access.post(request).await.map(|()| Receipt::default())
        })
    }
}

impl Webhook {
    fn request(&self, notification: &Notification) -> Result<Request, NotifyError> {
        let mut secrets = Vec::new();
        let url = self.url(&mut secrets).map_err(misconfigured)?;
        let body = self.body(notification, &mut secrets)?;
        let mut headers = vec![("idempotency-key", notification.id.clone())];
        if let Some(source) = &self.config.hmac_secret {
            let key = source.read().map_err(misconfigured)?;
            let at_s = jiff::Timestamp::now().as_second();
            headers.extend(signature::headers(&key, &notification.id, at_s, &body).map_err(misconfigured)?);
            secrets.push(key);
        }
        Ok(Request { url, body, content_type: self.content_type.clone(), headers, secrets })
    }

    fn url(&self, secrets: &mut Vec<Secret>) -> Result<Secret, String> {
        let given = match (&self.config.url, &self.config.url_secret) {
            (Some(url), _) => url.clone(),
            (None, Some(source)) => source.read()?,
            (None, None) => Secret::new(default_url(self.config.preset).unwrap_or_default().to_string()),
        };
        let Some(source) = &self.config.token else { return Ok(given) };
        let token = source.read()?;
        let url = format!("{}/bot{}/sendMessage", given.expose().trim_end_matches('/'), token.expose());
        secrets.push(token);
        Ok(Secret::new(url))
    }

    fn body(&self, notification: &Notification, secrets: &mut Vec<Secret>) -> Result<Vec<u8>, NotifyError> {
        let story = || story::Story::of(notification, &self.context);
        let json: Value = match self.config.preset {
            Preset::Alertmanager => alertmanager::body(notification, self.config.max_alerts),
            Preset::Slack => slack::body(&story()),
            Preset::Discord => discord::body(&story()),
            Preset::Ntfy => ntfy::body(&story(), self.config.topic.as_deref().unwrap_or_default()),
            Preset::Telegram => telegram::body(&story(), self.config.chat_id.as_deref().unwrap_or_default()),
            Preset::Pagerduty => {
                let source = self.config.routing_key.as_ref().expect("checked with the configuration");
                let key = source.read().map_err(misconfigured)?;
                let body = pagerduty::body(notification, &story(), key.expose());
                secrets.push(key);
                body
            }
            Preset::Template => return self.templated(notification),
        };
        Ok(json.to_string().into_bytes())
    }

    /// There is no text of ours to fall back to: whoever waits for a template's body cannot read another.
    fn templated(&self, notification: &Notification) -> Result<Vec<u8>, NotifyError> {
        let notification = truncated(notification, self.config.max_alerts);
        let wrong =
            |text: String| NotifyError { failure: Failure::Other, can_retry: false, retry_after: None, text };
        let text = self.body.one(self.name, &notification, &self.context.zone).map_err(wrong)?;
        if self.name == "template.json" {
            let read: Result<serde::de::IgnoredAny, _> = serde_json::from_str(&text);
            read.map_err(|error| {
                wrong(format!(
                    "template: what it makes is no JSON: {error}; values come with quotes of their own"
                ))
            })?;
        }
        Ok(text.into_bytes())
    }
}

/// The notification with at most so many alerts; 0 is no limit.
fn truncated(notification: &Notification, alerts_max: u32) -> Notification {
    let mut notification = notification.clone();
    let kept = match alerts_max {
        0 => notification.alerts.len(),
        alerts_max => notification.alerts.len().min(alerts_max as usize),
    };
    let left_out = u32::try_from(notification.alerts.len() - kept).unwrap_or(u32::MAX);
    notification.truncated_alerts = notification.truncated_alerts.saturating_add(left_out);
    notification.alerts.truncate(kept);
    notification
}
