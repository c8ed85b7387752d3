//! Receivers as the configuration writes them: tables `[[receiver]]`.

use serde::Deserialize;
use tocsin_proto::Span;

use crate::redact::Redact;
use crate::template::TemplateConfig;
use crate::{Notifier, alertmanager, email, matrix, webhook};

/// One table `[[receiver]]`. Exactly one destination is given.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverConfig {
    /// Its name in routes, logs and metrics.
    pub name: String,
    /// True if it wakes people: rules with `status: "experimental"` do not reach it.
    #[serde(default)]
    pub wakes: bool,
    /// Whether it is told when alerts resolve.
    #[serde(default = "yes")]
    pub send_resolved: bool,
    /// What is hidden from it.
    #[serde(default)]
    pub redact: Redact,
    /// How many notifications in how long; what is beyond is told together in a digest.
    pub rate_limit: Option<RateLimit>,
    /// Time zone of times in texts and plots, such as `Europe/Berlin`.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// Texts of one's own.
    #[serde(default)]
    pub templates: TemplateConfig,
    /// A Matrix room.
    pub matrix: Option<matrix::Config>,
    /// Email.
    pub email: Option<email::Config>,
    /// An HTTP request.
    pub webhook: Option<webhook::Config>,
    /// An existing Alertmanager.
    pub alertmanager: Option<alertmanager::Config>,
}

/// A limit of notifications.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// So many at once.
    pub notifications: u32,
    /// After which so many more are allowed.
    pub per: Span,
}

fn yes() -> bool {
    true
}

fn utc() -> String {
    "UTC".to_string()
}

impl ReceiverConfig {
    /// Name of its destination: `matrix`, `email`, `webhook` or `alertmanager`; empty if there is none.
    pub fn integration(&self) -> &'static str {
        match (&self.matrix, &self.email, &self.webhook, &self.alertmanager) {
            (Some(_), ..) => "matrix",
            (_, Some(_), ..) => "email",
            (_, _, Some(_), _) => "webhook",
            (.., Some(_)) => "alertmanager",
            _ => "",
        }
    }

    /// The notifier. The error says what is wrong with the configuration: table, key, what was found and what would be
    /// right. Reaches nothing and reads no secret.
    pub fn notifier(&self) -> Result<Box<dyn Notifier>, String> {
        let given = [
            self.matrix.is_some(),
            self.email.is_some(),
            self.webhook.is_some(),
            self.alertmanager.is_some(),
        ];
        if given.iter().filter(|is_given| **is_given).count() != 1 {
            return Err(format!(
                "receiver {:?}: expected exactly one of matrix, email, webhook and alertmanager",
                self.name
            ));
        }
        if self.name.trim().is_empty() {
            return Err("a receiver has no name, expected name = \"...\"".to_string());
        }
        if self.rate_limit.is_some_and(|limit| limit.notifications == 0 || limit.per.millis() == 0) {
            return Err(format!(
                "receiver {:?}: rate_limit allows nothing, expected 1 notification or more in 1s or more",
                self.name
            ));
        }
        let context = Context::new(self)?;
        let made: Result<Box<dyn Notifier>, String> = match self {
            ReceiverConfig { matrix: Some(config), .. } => matrix::notifier(config, context),
            ReceiverConfig { email: Some(config), .. } => email::notifier(config, context),
            ReceiverConfig { webhook: Some(config), .. } => webhook::notifier(config, context),
            ReceiverConfig { alertmanager: Some(config), .. } => alertmanager::notifier(config, context),
            _ => unreachable!("one is given"),
        };
        made.map_err(|error| format!("receiver {:?}: {error}", self.name))
    }
}

/// What every notifier needs besides its own table.
#[derive(Debug, Clone)]
pub struct Context {
    /// The receiver's name.
    pub receiver: String,
    /// Zone of times in texts and plots.
    pub zone: jiff::tz::TimeZone,
    /// Texts.
    pub templates: crate::template::Templates,
}

impl Context {
    fn new(config: &ReceiverConfig) -> Result<Self, String> {
        let zone = jiff::tz::TimeZone::get(&config.time_zone).map_err(|_| {
            format!(
                "receiver {:?}: time_zone is {:?}, expected a name such as \"UTC\" or \"Europe/Berlin\"",
                config.name, config.time_zone
            )
        })?;
        let templates = crate::template::Templates::new(&config.templates)
            .map_err(|error| format!("receiver {:?}: templates: {error}", config.name))?;
        Ok(Context { receiver: config.name.clone(), zone, templates })
    }
}
