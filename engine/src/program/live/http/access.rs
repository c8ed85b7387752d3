//! Who may change something: callers that show the token of `[http] token_file`.
//!
//! Without such a file nobody may. The file is read for each write, so a changed token counts at once.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ring::digest::{SHA256, digest};
use tocsin_notifiers::secret::{Secret, SecretSource};

use super::Interface;

/// Proof that the caller may change something.
#[derive(Debug, Clone, Copy)]
pub struct Writer;

/// Why something is not answered or not done, as Alertmanager writes it: the text as JSON.
#[derive(Debug)]
pub struct Refusal {
    code: StatusCode,
    text: String,
}

impl Refusal {
    /// With this code.
    pub fn new(code: StatusCode, text: impl Into<String>) -> Self {
        Refusal { code, text: text.into() }
    }

    /// What was asked was wrong.
    pub fn of_bad(text: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, text)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut answer = (self.code, Json(self.text)).into_response();
        if self.code == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        Refusal::new(rejection.status(), rejection.body_text())
    }
}

impl FromRequestParts<Interface> for Writer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, interface: &Interface) -> Result<Self, Refusal> {
        let Some(file) = &interface.token_file else {
            let text = "nothing can be changed here: no token is configured, expected token_file in [http]";
            return Err(Refusal::new(StatusCode::FORBIDDEN, text));
        };
        let token = SecretSource::File(file.clone()).read().map_err(|error| {
            tracing::error!("http.token_file: {error}");
            let text = "nothing can be changed here: token_file in [http] cannot be read, the log says why";
            Refusal::new(StatusCode::FORBIDDEN, text)
        })?;
        let refused = |text: &str| Err(Refusal::new(StatusCode::UNAUTHORIZED, text));
        match parts.headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes())) {
            Some(shown) if is_same(shown, &token) => Ok(Writer),
            Some(_) => refused("the token is wrong, expected that of token_file in [http]"),
            None => refused("a token is missing, expected the header Authorization: Bearer TOKEN"),
        }
    }
}

/// The token of a header; the scheme's case does not count (RFC 9110, 11.1).
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Compares digests, byte by byte to the last: how long that takes says nothing of the token.
fn is_same(shown: &[u8], token: &Secret) -> bool {
    let (shown, token) = (digest(&SHA256, shown), digest(&SHA256, token.expose().as_bytes()));
    let differences = shown.as_ref().iter().zip(token.as_ref()).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_is_the_token() {
        let token = Secret::new("s3cret".to_string());
        assert!(is_same(b"s3cret", &token));
        for wrong in ["", "s3cre", "s3cret ", "S3cret", "s3crets"] {
            assert!(!is_same(wrong.as_bytes(), &token), "{wrong:?}");
        }
    }

    #[test]
    fn a_token_is_read_from_its_header() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        for wrong in ["", "Bearer", "Basic abc", "abc"] {
            assert_eq!(bearer(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
