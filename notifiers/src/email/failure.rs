//! What went wrong, for retries, metrics and people.

use lettre::transport::smtp;

use crate::text::line;
use crate::{Failure, NotifyError};

/// Most characters of a server's words in an error.
const WORDS_MAX: usize = 300;
/// Replies that concern the login (RFC 4954).
const LOGIN_CODES: [&str; 5] = ["454", "530", "534", "535", "538"];

/// What was being done when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Connect,
    Starttls,
    Login,
    Mail,
}

/// The failure of a stage at `place`. A server may answer a login with the very words it got, so of its answer to that
/// only the number is told.
pub fn of(place: &str, stage: Stage, error: &smtp::Error) -> NotifyError {
    let code = error.status().map(|code| code.to_string());
    let is_login = stage == Stage::Login || code.as_deref().is_some_and(|code| LOGIN_CODES.contains(&code));
    let failure = match () {
        () if error.is_timeout() => Failure::Timeout,
        () if is_login && (code.is_some() || error.is_client()) => Failure::AuthError,
        () if error.is_permanent() => Failure::ClientError,
        () if error.is_transient() => Failure::ServerError,
        () if error.is_client() => Failure::Other,
        () => Failure::Connection,
    };
    let words = match (stage, code) {
        (Stage::Login, Some(code)) => format!("the login was refused ({code})"),
        _ => line(&error.to_string(), WORDS_MAX),
    };
    let doing = match stage {
        Stage::Connect => "connecting",
        Stage::Starttls => "starting TLS",
        Stage::Login => "login",
        Stage::Mail => "mail",
    };
    NotifyError {
        failure,
        // A password that is put right within the day loses nothing.
        can_retry: failure == Failure::AuthError || !error.is_permanent(),
        retry_after: None,
        text: format!("{place}: {doing}: {words}"),
    }
}

/// Every recipient was refused, and will be again.
pub fn refused(text: String) -> NotifyError {
    NotifyError { failure: Failure::ClientError, can_retry: false, retry_after: None, text }
}

/// Something on our side is wrong, and may be put right.
pub fn local(failure: Failure, text: String) -> NotifyError {
    NotifyError { failure, can_retry: true, retry_after: None, text }
}

/// Something that no attempt will change.
pub fn other(text: String) -> NotifyError {
    NotifyError { failure: Failure::Other, can_retry: false, retry_after: None, text }
}
