//! JSON-RPC over HTTP: connections that stay open, the cookie as it is now, answers of bounded size.

use std::error::Error as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, Response, StatusCode, Url, header};
use tokio::io::AsyncReadExt as _;

use super::config::{Config, Secret};
use super::transport::{ANSWER_BYTES_MAX, CallError};

/// The node closes connections that were idle for 30 s (-rpcservertimeout); we close them first.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// A host that does not answer at all is not worth the time of a call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A cookie has 75 bytes.
const SECRET_BYTES_MAX: u64 = 4096;

/// The way to a node over HTTP.
#[derive(Debug)]
pub struct Http {
    client: Client,
    url: Url,
    credentials: Credentials,
}

/// Where user and password come from.
#[derive(Debug)]
enum Credentials {
    /// The node writes a new one at each start, so it is read for each call.
    Cookie(PathBuf),
    File {
        user: String,
        password_file: PathBuf,
    },
    Fixed(Login),
}

/// User and password.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Login {
    user: String,
    password: Secret,
}

impl Http {
    /// For a configuration that was checked.
    pub fn new(config: &Config) -> Self {
        // TLS is not used here, but a client of a reqwest that has it cannot be made without. Chosen once a process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_idle_timeout(IDLE_MAX)
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .expect("without TLS and proxies nothing can fail");
        Http { client, url: config.http_url(), credentials: Credentials::new(config) }
    }

    /// Host and port.
    pub fn place(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        format!("{host}:{}", self.url.port_or_known_default().unwrap_or_default())
    }

    /// Sends a request and reads the answer's body.
    pub async fn exchange(&self, request: String) -> Result<Vec<u8>, CallError> {
        let login = self.credentials.read().await?;
        let mut response = self.send(&request, &login).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            // The node may have restarted between reading the cookie and calling.
            let now = self.credentials.read().await?;
            if now != login {
                response = self.send(&request, &now).await?;
            }
        }
        match response.status() {
            StatusCode::UNAUTHORIZED => {
                Err(CallError::Unauthorized("it refuses user and password (HTTP status 401)".to_string()))
            }
            StatusCode::FORBIDDEN => Err(CallError::Forbidden),
            StatusCode::SERVICE_UNAVAILABLE => Err(CallError::Busy),
            // Errors of JSON-RPC 1 come with status 404 or 500 and the JSON.
            status => {
                let body = read_body(response).await?;
                match status.is_success() || body.starts_with(b"{") {
                    true => Ok(body),
                    false => {
                        Err(CallError::Malformed(format!("HTTP status {} without JSON", status.as_u16())))
                    }
                }
            }
        }
    }

    /// Sends a request; once more if the connection broke, as an idle one may just have been closed by the
    /// node.
    async fn send(&self, request: &str, login: &Login) -> Result<Response, CallError> {
        match self.send_once(request, login).await {
            Err(error) if !error.is_connect() && !error.is_timeout() => {
                self.send_once(request, login).await.map_err(|error| unanswered(&error))
            }
            other => other.map_err(|error| unanswered(&error)),
        }
    }

    async fn send_once(&self, request: &str, login: &Login) -> reqwest::Result<Response> {
        self.client
            .post(self.url.clone())
            .basic_auth(&login.user, Some(login.password.reveal()))
            .header(header::CONTENT_TYPE, "application/json")
            .body(request.to_string())
            .send()
            .await
    }
}

/// Says the first cause, such as `Connection refused`; what is around it only names the address again.
fn unanswered(error: &reqwest::Error) -> CallError {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let is_no_http = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
    };
    let text = causes.clone().last().map_or_else(|| "no answer".to_string(), ToString::to_string);
    match causes.into_iter().any(is_no_http) {
        true => CallError::Malformed(format!("the answer is no HTTP: {text}")),
        false => CallError::Unreachable(text),
    }
}

async fn read_body(mut response: Response) -> Result<Vec<u8>, CallError> {
    let too_large = || CallError::Malformed(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes"));
    if response.content_length().is_some_and(|length| length > ANSWER_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > ANSWER_BYTES_MAX => return Err(too_large()),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(_) => {
                return Err(CallError::Malformed(format!(
                    "the answer is cut off after {} bytes",
                    body.len()
                )));
            }
        }
    }
}

impl Credentials {
    fn new(config: &Config) -> Self {
        match (&config.user, &config.password, &config.password_file) {
            (Some(user), Some(password), _) => {
                Credentials::Fixed(Login { user: user.clone(), password: password.clone() })
            }
            (Some(user), None, Some(file)) => {
                Credentials::File { user: user.clone(), password_file: file.clone() }
            }
            _ => Credentials::Cookie(config.cookie_path().expect("the configuration was checked")),
        }
    }

    async fn read(&self) -> Result<Login, CallError> {
        match self {
            Credentials::Fixed(login) => Ok(login.clone()),
            Credentials::File { user, password_file } => {
                Ok(Login { user: user.clone(), password: Secret::new(first_line(password_file).await?) })
            }
            Credentials::Cookie(file) => {
                let line = first_line(file).await?;
                let (user, password) = line
                    .split_once(':')
                    .ok_or_else(|| CallError::Unauthorized(format!("{} holds no cookie", file.display())))?;
                Ok(Login { user: user.to_string(), password: Secret::new(password.to_string()) })
            }
        }
    }
}

/// The first line of a small file. A missing one counts as a node that is not there: it deletes its cookie at
/// the end.
async fn first_line(path: &Path) -> Result<String, CallError> {
    let failed = |error: std::io::Error| {
        let text = format!("{}: {error}", path.display());
        match error.kind() {
            ErrorKind::NotFound => CallError::Unreachable(text),
            _ => CallError::Unauthorized(text),
        }
    };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES_MAX).read_to_end(&mut bytes).await.map_err(failed)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| CallError::Unauthorized(format!("{} is no text", path.display())))?;
    Ok(text.lines().next().unwrap_or_default().to_string())
}
