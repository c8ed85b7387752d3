//! Calls of the client-server API: one call, its limits, and what its failure means.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde_json::Value;

use super::Config;
use super::session::{Role, Session};
use crate::answer::{self, Read};
use crate::{Failure, NotifyError};

/// How long one call may take.
pub(super) const CALL_MAX: Duration = Duration::from_secs(15);
/// Answers beyond this are cut off, in bytes: fifty events of the greatest size fit.
const ANSWER_MAX: usize = 8 << 20;
/// What a server asks for is believed up to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Calls one homeserver as one user.
pub(super) struct Client {
    http: reqwest::Client,
    homeserver: Url,
    session: Session,
}

/// A call failed.
#[derive(Debug, Clone)]
pub(super) struct CallError {
    /// Matrix' name of the error, such as `M_FORBIDDEN`; empty if the server gave none.
    pub errcode: String,
    /// The same for the caller of the notifier.
    pub error: NotifyError,
}

impl Client {
    /// Reaches nothing and reads no secret.
    pub fn new(config: &Config, receiver: &str, role: Role) -> Result<Self, String> {
        config.check()?;
        crate::choose_cryptography();
        let http = reqwest::Client::builder()
            .connect_timeout(CALL_MAX)
            .timeout(CALL_MAX)
            // The API has no redirects but of media; another host must not see the token.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("tocsin")
            .build()
            .map_err(|error| format!("matrix: {error}"))?;
        let session = Session::new(config, receiver, role);
        Ok(Client { http, homeserver: config.homeserver()?, session })
    }

    /// A request; the parts of the path may hold any characters.
    pub fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.http.request(method, at(&self.homeserver, path))
    }

    /// Makes a call with the user's token; logs in if need be, and once more if the token is no longer known.
    pub async fn call(&self, request: RequestBuilder) -> Result<Value, CallError> {
        let token = self.session.token(&self.http, &self.homeserver).await?;
        let again = request.try_clone();
        let first = execute(request.bearer_auth(token.expose()), &[token.expose()]).await;
        match (first, again) {
            (Err(error), Some(again))
                if error.errcode == "M_UNKNOWN_TOKEN" && self.session.has_password() =>
            {
                self.session.forget(&token).await;
                let token = self.session.token(&self.http, &self.homeserver).await?;
                execute(again.bearer_auth(token.expose()), &[token.expose()]).await
            }
            (answer, _) => answer,
        }
    }

    /// The token to call with; logs in if there is none.
    #[cfg(feature = "matrix-e2ee")]
    pub async fn token(&self) -> Result<crate::secret::Secret, CallError> {
        self.session.token(&self.http, &self.homeserver).await
    }

    /// The homeserver's address.
    #[cfg(feature = "matrix-e2ee")]
    pub fn homeserver(&self) -> &Url {
        &self.homeserver
    }

    /// Where the session keeps what must survive a restart.
    pub fn session(&self) -> &Session {
        &self.session
    }
}

/// The address of a path below the homeserver's.
pub(super) fn at(homeserver: &Url, path: &[&str]) -> Url {
    let mut url = homeserver.clone();
    url.path_segments_mut().expect("checked to be http or https").pop_if_empty().extend(path);
    url
}

/// Sends a request and reads the answer within the limits. `secrets` are hidden should the answer repeat them.
pub(super) async fn execute(request: RequestBuilder, secrets: &[&str]) -> Result<Value, CallError> {
    let (http, request) = request.build_split();
    let request = request.map_err(|error| broken("request", error, secrets))?;
    let place = format!("{} {}", request.method(), request.url().path());
    let mut answered = http.execute(request).await.map_err(|error| broken(&place, error, secrets))?;
    let (status, headers) = (answered.status(), answered.headers().clone());
    let mut bytes = Vec::new();
    let read = answer::read(&mut answered, &mut bytes, ANSWER_MAX).await;
    if read.map_err(|error| broken(&place, error, secrets))? == Read::Cut {
        let text = format!("{place}: the answer is longer than {ANSWER_MAX} bytes");
        return Err(failed(Failure::ServerError, true, text));
    }
    let body: Option<Value> = serde_json::from_slice(&bytes).ok().filter(Value::is_object);
    match body {
        Some(body) if status.is_success() => Ok(body),
        None if status.is_success() => {
            let text = format!("{place}: the answer is no JSON object, as a homeserver's would be");
            Err(failed(Failure::ServerError, true, text))
        }
        body => {
            let body = body.unwrap_or_default();
            let asked = answer::retry_after(&headers, &body);
            Err(refused(&place, status, body, asked, secrets))
        }
    }
}

/// What a refusal means; `header` is how long we are asked to wait, unless the body says it in Matrix' way.
pub(super) fn refused(
    place: &str,
    status: StatusCode,
    body: Value,
    header: Option<Duration>,
    secrets: &[&str],
) -> CallError {
    let errcode: String = body["errcode"].as_str().unwrap_or_default().chars().take(64).collect();
    let asked = body["retry_after_ms"].as_u64().map(Duration::from_millis);
    let (failure, can_retry) = match (answer::meaning(status), errcode.as_str()) {
        (_, "M_LIMIT_EXCEEDED") => (Failure::RateLimited, true),
        (_, "M_UNKNOWN_TOKEN" | "M_MISSING_TOKEN") => (Failure::AuthError, true),
        // Not a homeserver's answer: something before it speaks while it is away.
        ((Failure::ClientError, _), "") => (Failure::ClientError, true),
        (meaning, _) => meaning,
    };
    let said = match (errcode.as_str(), body["error"].as_str()) {
        ("", None) => String::new(),
        ("", Some(said)) => format!(": {said}"),
        (errcode, None) => format!(" {errcode}"),
        (errcode, Some(said)) => format!(" {errcode}: {said}"),
    };
    let text = answer::shown(&format!("{place}: {}{said}", status.as_u16()), secrets.iter().copied());
    let retry_after = asked.or(header).filter(|_| can_retry).map(|wait| wait.min(RETRY_AFTER_MAX));
    CallError { errcode, error: NotifyError { failure, can_retry, retry_after, text } }
}

/// No answer came, or not all of it.
pub(super) fn broken(place: &str, error: reqwest::Error, secrets: &[&str]) -> CallError {
    CallError { errcode: String::new(), error: answer::broken(place, secrets.iter().copied(), error) }
}

/// An error without a name of Matrix'.
pub(super) fn failed(failure: Failure, can_retry: bool, text: String) -> CallError {
    CallError { errcode: String::new(), error: NotifyError { failure, can_retry, retry_after: None, text } }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(status: u16, body: Value, failure: Failure, can_retry: bool, retry_after_ms: Option<u64>) {
        let status = StatusCode::from_u16(status).expect("a status");
        let error = refused("PUT /send", status, body, Some(Duration::from_secs(9)), &["s3cret"]).error;
        assert_eq!((error.failure, error.can_retry), (failure, can_retry), "{error}");
        assert_eq!(error.retry_after, retry_after_ms.map(Duration::from_millis));
    }

    #[test]
    fn refusals_say_whether_another_attempt_can_help() {
        let limited = json!({"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 1500});
        check(429, limited, Failure::RateLimited, true, Some(1500));
        check(429, Value::Null, Failure::RateLimited, true, Some(9000));
        check(401, json!({"errcode": "M_UNKNOWN_TOKEN"}), Failure::AuthError, true, Some(9000));
        check(403, json!({"errcode": "M_FORBIDDEN"}), Failure::AuthError, true, Some(9000));
        check(404, json!({"errcode": "M_NOT_FOUND"}), Failure::ClientError, false, None);
        check(404, Value::Null, Failure::ClientError, true, Some(9000));
        check(413, json!({"errcode": "M_TOO_LARGE"}), Failure::ClientError, false, None);
        check(502, Value::Null, Failure::ServerError, true, Some(9000));
    }

    #[test]
    fn a_server_that_asks_for_ages_is_not_believed() {
        let body = json!({"retry_after_ms": u64::MAX});
        check(429, body, Failure::RateLimited, true, Some(3_600_000));
    }

    #[test]
    fn errors_hide_secrets_and_bound_what_the_server_says() {
        let body = json!({"errcode": "M_X", "error": format!("no s3cret\n{}", "x".repeat(9000))});
        let error = refused("PUT /send", StatusCode::BAD_REQUEST, body, None, &["s3cret"]).error;
        assert!(error.text.starts_with("PUT /send: 400 M_X: no *** xxx"), "{error}");
        assert!(error.text.len() < 320, "{error}");
        let body = json!({"errcode": "M_X", "error": format!("{} s3cret", "x".repeat(270))});
        let error = refused("PUT /send", StatusCode::BAD_REQUEST, body, None, &["s3cret"]).error;
        assert!(!error.text.contains("s3"), "a secret is not found once half of it is cut off: {error}");
    }

    #[test]
    fn characters_of_ids_stay_in_their_part_of_the_path() {
        let homeserver = Url::parse("https://m.example/base/").expect("an address");
        let url = at(&homeserver, &["rooms", "#a/b?c:m", "send"]);
        assert_eq!(url.as_str(), "https://m.example/base/rooms/%23a%2Fb%3Fc:m/send");
    }
}
