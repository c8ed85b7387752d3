//! Email by SMTP: text and HTML with the plots inline, one thread a group.
//!
//! A letter's `Message-ID` is made of the notification's id, so a repeat is the same letter. Nothing goes unencrypted to
//! another machine unless the configuration says so in as many words, and the password never does.

mod document;
mod failure;
mod letter;
mod settings;
mod smtp;

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lettre::Address;
use serde::Deserialize;
use tocsin_proto::Span;

use crate::config::Context;
use crate::secret::SecretSource;
use crate::{Attempt, Delivery, Failure, Notifier, NotifyError, Receipt};

pub use letter::Letter;
use settings::Settings;

/// Notifications of which it is remembered who of several recipients has them.
const PARTLY_DELIVERED_MAX: usize = 64;

/// Table `[receiver.email]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server that takes our mail: `host:port`.
    pub smarthost: String,
    /// How the connection is encrypted; without it `tls` for port 465 and `starttls` for others.
    pub tls: Option<Tls>,
    /// Name for the login; without it there is none.
    pub user: Option<String>,
    /// Password for the login.
    pub password: Option<SecretSource>,
    /// Sender: `tocsin@example.org` or `tocsin <tocsin@example.org>`.
    pub from: String,
    /// Recipients, written as the sender is.
    pub to: Vec<String>,
    /// Certificates (PEM) that are trusted in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// What we call ourselves; without it the name of this machine.
    pub hello: Option<String>,
    /// How long an attempt may take; without it, and at most, [`crate::ATTEMPT_MAX`].
    pub timeout: Option<Span>,
}

/// Encryption of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Begins in the clear and changes to TLS before anything is said; never goes on without it.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// No encryption; for a server on this machine.
    None,
    /// No encryption, and no login, though others may read along.
    NoneOverNetwork,
}

/// The notifier of a table.
pub fn notifier(config: &Config, context: Context) -> Result<Box<dyn Notifier>, String> {
    let settings = Settings::new(config).map_err(|error| format!("email: {error}"))?;
    crate::choose_cryptography();
    Ok(Box::new(Email { settings: Arc::new(settings), context, partly: Mutex::default() }))
}

/// The letter that a delivery would send with this configuration; for looking at it. Reaches nothing.
pub fn preview(config: &Config, context: &Context, delivery: &Delivery) -> Result<Letter, String> {
    let settings = Settings::new(config).map_err(|error| format!("email: {error}"))?;
    Letter::new(&settings, context, delivery).map_err(|error| error.text)
}

/// Delivers to one list of recipients.
struct Email {
    settings: Arc<Settings>,
    context: Context,
    /// Ids of notifications that some recipients have and others shall get later, with those who have it.
    partly: Mutex<VecDeque<(String, BTreeSet<Address>)>>,
}

impl Notifier for Email {
    fn notify<'a>(&'a self, delivery: &'a Delivery) -> Attempt<'a> {
        Box::pin(async move {
            let letter = self.letter(delivery).await?;
            match tokio::time::timeout(self.settings.timeout, self.attempt(&delivery.notification.id, letter))
                .await
            {
                Ok(result) => result,
                Err(_) => Err(NotifyError {
                    failure: Failure::Timeout,
                    can_retry: true,
                    retry_after: None,
                    text: format!("{}: no answer within {:?}", self.settings.place(), self.settings.timeout),
                }),
            }
        })
    }
}

impl Email {
    async fn attempt(&self, id: &str, letter: Letter) -> Result<Receipt, NotifyError> {
        let have_it = self.who_have(id);
        let to = self.settings.to.iter().map(|mailbox| mailbox.email.clone());
        let to: Vec<Address> = to.filter(|address| !have_it.contains(address)).collect();
        let outcome = smtp::send(&self.settings, &letter.bytes, &to).await?;
        for (address, text) in &outcome.refused {
            tracing::warn!(receiver = self.context.receiver, %address, "recipient refused: {text}");
        }
        if let Some(error) = outcome.later {
            self.remember(id, have_it.into_iter().chain(outcome.accepted).collect());
            return Err(error);
        }
        match (outcome.accepted.is_empty() && have_it.is_empty(), outcome.refused.into_iter().next()) {
            (true, Some((_, text))) => Err(failure::refused(text)),
            _ => Ok(Receipt { reference: letter.reference }),
        }
    }

    /// Drawing takes longer than other tasks should wait.
    async fn letter(&self, delivery: &Delivery) -> Result<Letter, NotifyError> {
        let (settings, context, delivery) = (self.settings.clone(), self.context.clone(), delivery.clone());
        let made = tokio::task::spawn_blocking(move || Letter::new(&settings, &context, &delivery));
        made.await
            .unwrap_or_else(|error| Err(failure::other(format!("the letter cannot be written: {error}"))))
    }

    fn who_have(&self, id: &str) -> BTreeSet<Address> {
        let partly = self.partly.lock().unwrap_or_else(PoisonError::into_inner);
        partly.iter().find(|(other, _)| other == id).map(|(_, have_it)| have_it.clone()).unwrap_or_default()
    }

    fn remember(&self, id: &str, have_it: BTreeSet<Address>) {
        let mut partly = self.partly.lock().unwrap_or_else(PoisonError::into_inner);
        partly.retain(|(other, _)| other != id);
        partly.push_back((id.to_string(), have_it));
        while partly.len() > PARTLY_DELIVERED_MAX {
            partly.pop_front();
        }
    }
}
