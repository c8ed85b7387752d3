//! What comes back over HTTP: read within a bound, and what it means if it is no success. Secrets are kept out of errors.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::text::line;
use crate::{Failure, NotifyError};

/// Most characters that an error shows of what somebody else said.
const SHOWN_MAX: usize = 300;
/// How long a destination can ask to be left alone; longer is taken for this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);

/// How much of an answer was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// All of it.
    Whole,
    /// As much as was wanted; there is more.
    Cut,
}

/// Reads at most so many bytes of an answer. What was read stays in `bytes` if the connection breaks.
pub async fn read(
    answer: &mut Response,
    bytes: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<Read, reqwest::Error> {
    while let Some(chunk) = answer.chunk().await? {
        let room = bytes_max - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok(Read::Cut);
        }
    }
    Ok(Read::Whole)
}

/// What a code that is no success means, and whether another attempt can help. A login that is refused is tried again:
/// a token that is renewed within the day loses nothing.
pub fn meaning(status: StatusCode) -> (Failure, bool) {
    match status.as_u16() {
        401 | 403 => (Failure::AuthError, true),
        408 => (Failure::Timeout, true),
        425 => (Failure::ServerError, true),
        429 => (Failure::RateLimited, true),
        500.. => (Failure::ServerError, true),
        _ => (Failure::ClientError, false),
    }
}

/// No answer came, or not all of it.
pub fn broken<'s>(
    place: &str,
    secrets: impl IntoIterator<Item = &'s str>,
    error: reqwest::Error,
) -> NotifyError {
    let (failure, what) = match () {
        () if error.is_timeout() => (Failure::Timeout, "no answer in time"),
        () if error.is_connect() => (Failure::Connection, "cannot be reached"),
        () => (Failure::Connection, "the connection broke"),
    };
    let text = format!("{place}: {what}: {}", shown(&chain(&error.without_url()), secrets));
    NotifyError { failure, can_retry: true, retry_after: None, text }
}

/// How long we are asked to wait: `Retry-After` as seconds or as a date, else Discord's `retry_after` (seconds) or
/// Telegram's `parameters.retry_after` (seconds) in the body.
/// Sources: RFC 9110 10.2.3; Discord, rate limits; Telegram Bot API, ResponseParameters.
pub fn retry_after(headers: &HeaderMap, body: &Value) -> Option<Duration> {
    let header = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds: Option<f64> = header.and_then(|text| text.parse().ok()).or_else(|| {
        let until = jiff::fmt::rfc2822::parse(header?).ok()?.timestamp();
        Some(until.duration_since(jiff::Timestamp::now()).as_secs_f64())
    });
    let in_body = || body["retry_after"].as_f64().or_else(|| body["parameters"]["retry_after"].as_f64());
    // A date in the past, a negative number and no number at all ask for nothing.
    let seconds = seconds.or_else(in_body).filter(|seconds| !seconds.is_nan())?;
    Some(Duration::from_secs_f64(seconds.clamp(0.0, RETRY_AFTER_MAX.as_secs_f64())))
}

/// The text in one line without secrets, bounded. Secrets are hidden before anything is cut, for half a secret would
/// not be found.
pub fn shown<'s>(text: &str, secrets: impl IntoIterator<Item = &'s str>) -> String {
    let mut secrets: Vec<String> = secrets.into_iter().flat_map(forms).collect();
    // A secret may be part of another one, which would then not be found any more.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let mut text = text.to_string();
    for secret in &secrets {
        text = text.replace(secret, "***");
    }
    line(&text, SHOWN_MAX)
}

/// A secret as it is, and as JSON writes it.
fn forms(secret: &str) -> Vec<String> {
    let json = Value::from(secret).to_string();
    let mut forms = vec![secret.to_string(), json[1..json.len() - 1].to_string()];
    forms.retain(|form| !form.is_empty());
    forms.dedup();
    forms
}

/// An error with its causes.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_before_anything_is_cut() {
        let text = format!("{} s3cret-of-ours", "x".repeat(SHOWN_MAX - 8));
        let shown = shown(&text, ["s3cret-of-ours"]);
        assert!(shown.ends_with("x ***"), "{shown}");
    }

    #[test]
    fn a_secret_within_another_one_does_not_uncover_it() {
        assert_eq!(shown("got dXNlcjphYg== and ab", ["ab", "ph", "dXNlcjphYg=="]), "got *** and ***");
        assert_eq!(shown(r#"{"said": "a\"b"}"#, ["a\"b", ""]), r#"{"said": "***"}"#);
    }
}
