//! One HTTP request to a destination: limits on time and size, failures by kind, secrets kept out of errors.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode, Url, redirect};
use serde::Deserialize;
use serde_json::Value;
use tocsin_proto::Span;

use crate::secret::{Given, Secret, SecretSource};
use crate::text::line;
use crate::{ATTEMPT_MAX, Failure, NotifyError, answer};

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 65_536;
/// A part of a URL that is at least so long may be a token.
const TOKEN_MIN: usize = 6;

/// Login by name and password.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// The name.
    pub username: String,
    /// The password.
    pub password: SecretSource,
}

/// How a destination is reached.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Headers besides those of the protocol.
    pub headers: BTreeMap<String, Given>,
    /// Token of `Authorization: Bearer`.
    pub bearer_token: Option<SecretSource>,
    /// Name and password of `Authorization: Basic`.
    pub basic_auth: Option<BasicAuth>,
    /// Certificates (PEM) of the authorities to trust, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// How long one request may take.
    pub timeout: Duration,
    /// The client of the last attempt.
    pub(crate) made: Made,
}

type Made = Arc<Mutex<Option<(Trust, Client)>>>;

/// Who vouches for servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Whom the system trusts.
    System,
    /// These certificates alone, as PEM.
    Only(Vec<u8>),
}

/// What is posted.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where to; never shown, as it may hold a token.
    pub url: Secret,
    /// The body.
    pub body: Vec<u8>,
    /// Its kind.
    pub content_type: String,
    /// Headers of this request alone.
    pub headers: Vec<(&'static str, String)>,
    /// What else must not be shown.
    pub secrets: Vec<Secret>,
}

impl Access {
    /// Checks what can be checked without reaching anything.
    pub fn check(&self) -> Result<(), String> {
        for name in self.headers.keys() {
            if name.parse::<HeaderName>().is_err() {
                return Err(format!(
                    "headers: {name:?} is no name of a header, expected letters, digits and dashes"
                ));
            }
        }
        if self.bearer_token.is_some() && self.basic_auth.is_some() {
            return Err(
                "bearer_token and basic_auth are both given, expected one of them at most".to_string()
            );
        }
        match self.timeout {
            timeout if timeout.is_zero() || timeout >= ATTEMPT_MAX => Err(format!(
                "timeout is {} s, expected more than 0 and less than {} s",
                timeout.as_secs_f64(),
                ATTEMPT_MAX.as_secs()
            )),
            _ => Ok(()),
        }
    }

    /// Posts it; done if the answer's code is 2xx. Redirects are not followed: they would carry secrets elsewhere.
    pub async fn post(&self, request: Request) -> Result<(), NotifyError> {
        let url = url(request.url.expose()).map_err(misconfigured)?;
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or("?").to_string(),
        };
        let mut secrets = request.secrets.clone();
        secrets.extend(tokens(&url));
        let mut headers = self.headers(&mut secrets).map_err(misconfigured)?;
        let ours = request.headers.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in ours.chain([("content-type", request.content_type.as_str())]) {
            let value = HeaderValue::from_str(value);
            headers.insert(name, value.map_err(|_| misconfigured(format!("header {name} is no text")))?);
        }
        let client = self.client(&url).map_err(misconfigured)?;
        let mut sent = client.post(url).headers(headers);
        if let Some(login) = &self.basic_auth {
            let password = login.password.read().map_err(misconfigured)?;
            sent = sent.basic_auth(&login.username, Some(password.expose()));
            secrets.push(basic(&login.username, password.expose()));
            secrets.push(password);
        }
        let mut answered =
            sent.body(request.body).send().await.map_err(|error| broken(&host, &secrets, error))?;
        let status = answered.status();
        if status.is_success() {
            return Ok(());
        }
        let headers = answered.headers().clone();
        let mut text = Vec::new();
        // What is wrong is known already; a body that breaks off takes nothing away.
        let _ = answer::read(&mut answered, &mut text, ANSWER_BYTES_MAX).await;
        Err(refused(&host, status, &headers, &String::from_utf8_lossy(&text), &secrets))
    }

    /// The client of the last attempt, unless the authorities to trust have changed.
    fn client(&self, url: &Url) -> Result<Client, String> {
        let trust = match &self.ca_file {
            // Without TLS nobody is trusted; so a system without authorities does not stop plain HTTP.
            _ if url.scheme() == "http" => Trust::Only(Vec::new()),
            Some(path) => Trust::Only(
                std::fs::read(path).map_err(|error| format!("ca_file: {}: {error}", path.display()))?,
            ),
            None => Trust::System,
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = made.as_ref().filter(|(known, _)| *known == trust) {
            return Ok(client.clone());
        }
        let client = self.new_client(&trust)?;
        *made = Some((trust, client.clone()));
        Ok(client)
    }

    fn new_client(&self, trust: &Trust) -> Result<Client, String> {
        crate::choose_cryptography();
        let mut builder = Client::builder()
            .user_agent(concat!("tocsin/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(self.timeout)
            .timeout(self.timeout)
            // A connection that waited since the last notification is likely dead.
            .pool_max_idle_per_host(0);
        if let Trust::Only(pem) = trust {
            let certificates = reqwest::Certificate::from_pem_bundle(pem).unwrap_or_default();
            if certificates.is_empty() && !pem.is_empty() {
                return Err("ca_file: no certificate found in it, expected PEM".to_string());
            }
            builder = builder.tls_certs_only(certificates);
        }
        builder.build().map_err(|error| format!("TLS cannot be set up: {}", answer::chain(&error)))
    }

    fn headers(&self, secrets: &mut Vec<Secret>) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let value = value.read()?;
            headers.insert(
                name.parse::<HeaderName>().map_err(|error| error.to_string())?,
                sensitive(name, &value)?,
            );
            // A server may repeat `Bearer` and a token as a token alone.
            secrets
                .extend(value.expose().split_whitespace().filter(|part| part.len() >= TOKEN_MIN).map(secret));
            secrets.push(value);
        }
        if let Some(token) = &self.bearer_token {
            let token = token.read()?;
            let value = Secret::new(format!("Bearer {}", token.expose()));
            headers.insert("authorization", sensitive("authorization", &value)?);
            secrets.push(token);
        }
        Ok(headers)
    }
}

/// How long one request may take if the configuration is silent.
pub fn timeout() -> Span {
    Span::from_secs(10)
}

/// A URL of a destination. The error does not show it.
pub fn url(text: &str) -> Result<Url, String> {
    let expected = "expected https://host/path or http://host/path";
    let url = Url::parse(text).map_err(|error| format!("url cannot be read: {error}, {expected}"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        scheme => Err(format!("url begins with {}, {expected}", line(scheme, 20))),
    }
}

fn sensitive(name: &str, value: &Secret) -> Result<HeaderValue, String> {
    let header = HeaderValue::from_str(value.expose());
    let mut header =
        header.map_err(|_| format!("header {name}: its value holds characters that no header can"))?;
    header.set_sensitive(true);
    Ok(header)
}

/// What of a URL may be a secret: path, query, and each longer part of them; and the login, of any length and as it is
/// sent. Each as it is written, and as it is meant: `%21` is an exclamation mark.
fn tokens(url: &Url) -> Vec<Secret> {
    let whole = [url.as_str(), url.path(), url.query().unwrap_or("")];
    let parts = url.path().split('/').chain(url.query().unwrap_or("").split(['&', '=']));
    let long = whole.into_iter().chain(parts).filter(|text| text.len() >= TOKEN_MIN);
    let (name, password) = (url.username(), url.password().unwrap_or(""));
    // A name without a password is a token.
    let name_or_token = Some(name).filter(|name| password.is_empty() || name.len() >= TOKEN_MIN);
    let written = long.chain(name_or_token).chain([password]);
    let mut secrets: Vec<Secret> = written.flat_map(|text| [secret(text), secret(&decoded(text))]).collect();
    if !name.is_empty() || !password.is_empty() {
        secrets.push(basic(&decoded(name), &decoded(password)));
    }
    secrets
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_string())
}

/// Name and password as `Authorization: Basic` has them (RFC 7617).
fn basic(name: &str, password: &str) -> Secret {
    Secret::new(BASE64_STANDARD.encode(format!("{name}:{password}")))
}

/// The text with `%21` and the like as what they stand for.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits =
            after.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The configuration, or a file it names, is not right; that may be put right while we wait.
pub fn misconfigured(text: String) -> NotifyError {
    NotifyError { failure: Failure::Other, can_retry: true, retry_after: None, text }
}

fn broken(host: &str, secrets: &[Secret], error: reqwest::Error) -> NotifyError {
    answer::broken(host, secrets.iter().map(Secret::expose), error)
}

/// An answer came and says no.
fn refused(
    host: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &str,
    secrets: &[Secret],
) -> NotifyError {
    let (failure, can_retry) = answer::meaning(status);
    let mut text = format!("{host}: answered {status}");
    if status.is_redirection() {
        text.push_str(", a redirect, which is not followed; expected the final address as url");
    }
    let told = answer::shown(body, secrets.iter().map(Secret::expose));
    if !told.is_empty() {
        text.push_str(": ");
        text.push_str(&told);
    }
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let retry_after = answer::retry_after(headers, &body).filter(|_| can_retry);
    NotifyError { failure, can_retry, retry_after, text }
}
