//! Delivers notifications: one file a destination. Knows `proto`, not the engine.
//!
//! Dispatch decides what is sent to whom and the program stores it before it comes here; a notifier makes one attempt
//! and says whether another can help. The notification's id goes along in the destination's own way (Matrix transaction
//! id, Message-ID, `Idempotency-Key`), so that a repeat is harmless.

// Notifiers are where clocks and sockets belong; the lint guards the engine.
#![allow(clippy::disallowed_methods)]

pub mod alertmanager;
mod answer;
pub mod config;
pub mod email;
pub mod http;
pub mod matrix;
pub mod plot;
pub mod redact;
pub mod secret;
pub mod template;
mod text;
pub mod webhook;

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use tocsin_proto::pb::notification::Notification;

pub use config::ReceiverConfig;

/// Delivers to one destination.
pub trait Notifier: Send + Sync {
    /// Makes one attempt. Must end by itself: every wait inside has a limit ([`ATTEMPT_MAX`] over all).
    fn notify<'a>(&'a self, delivery: &'a Delivery) -> Attempt<'a>;
}

/// An attempt under way.
pub type Attempt<'a> = Pin<Box<dyn Future<Output = Result<Receipt, NotifyError>> + Send + 'a>>;

/// How long an attempt may take before it is given up.
pub const ATTEMPT_MAX: Duration = Duration::from_secs(30);

/// What is to be delivered.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What the receiver is told; already redacted.
    pub notification: Notification,
    /// What the first delivery of the thread left, if there was one: replies and edits refer to it.
    pub first: Option<Receipt>,
}

/// What a delivery leaves for later ones of its thread: a Matrix event id, say. Empty if there is nothing to refer to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// In the destination's own terms.
    pub reference: String,
}

/// An attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct NotifyError {
    /// Which kind of failure.
    pub failure: Failure,
    /// Whether another attempt can help.
    pub can_retry: bool,
    /// How long the destination asks to be left alone.
    pub retry_after: Option<Duration>,
    /// What was asked and what came back, without secrets.
    pub text: String,
}

/// Kinds of failures: a closed list, for metrics. The first four are Alertmanager's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The destination says that the request is wrong.
    ClientError,
    /// The destination is in trouble.
    ServerError,
    /// The login is wrong.
    AuthError,
    /// Too many requests.
    RateLimited,
    /// It took too long.
    Timeout,
    /// It cannot be reached, or the connection broke.
    Connection,
    /// Anything else.
    Other,
}

impl Failure {
    /// All of them.
    pub const ALL: [Failure; 7] = [
        Failure::ClientError,
        Failure::ServerError,
        Failure::AuthError,
        Failure::RateLimited,
        Failure::Timeout,
        Failure::Connection,
        Failure::Other,
    ];

    /// As metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Failure::ClientError => "client_error",
            Failure::ServerError => "server_error",
            Failure::AuthError => "auth_error",
            Failure::RateLimited => "rate_limited",
            Failure::Timeout => "timeout",
            Failure::Connection => "connection",
            Failure::Other => "other",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Chooses the provider of cryptography for TLS; to be called before any client is made. Harmless if called twice.
pub fn choose_cryptography() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
