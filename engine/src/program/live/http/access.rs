//! Who may change something: callers that show the token of `[http] token_file`.
//!
//! Without such a file nobody may. The file is read for each write, so a changed token counts at once.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use ring::digest::{SHA256, digest};
use tocsin_notifiers::secret::{Secret, SecretSource};

use super::Interface;

/// Proof that the caller may change something.
#[derive(Debug, Clone, Copy)]
pub struct Writer;

/// A refusal, as Alertmanager writes its errors: the text as JSON.
pub fn refusal(code: StatusCode, text: &str) -> Response {
    (code, Json(text)).into_response()
}

impl FromRequestParts<Interface> for Writer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, interface: &Interface) -> Result<Self, Response> {
        let Some(file) = &interface.token_file else {
            let text = "nothing can be changed here: no token is configured, expected token_file in [http]";
            return Err(refusal(StatusCode::FORBIDDEN, text));
        };
        let token = SecretSource::File(file.clone()).read().map_err(|error| {
            tracing::error!("http.token_file: {error}");
            refusal(
                StatusCode::FORBIDDEN,
                "nothing can be changed here: the file of the token cannot be read",
            )
        })?;
        let shown = parts.headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        match shown {
            Some(shown) if is_same(shown, &token) => Ok(Writer),
            _ => {
                let text = match shown {
                    Some(_) => "the token is wrong, expected that of token_file in [http]",
                    None => "a token is missing, expected the header Authorization: Bearer TOKEN",
                };
                let mut answer = refusal(StatusCode::UNAUTHORIZED, text);
                answer.headers_mut().insert(WWW_AUTHENTICATE, "Bearer".parse().expect("plain text"));
                Err(answer)
            }
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
