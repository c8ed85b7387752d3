//! Asks a running tocsin over HTTP.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;
use tocsin_notifiers::secret::{Secret, SecretSource};

use super::arguments::ServerArguments;
use super::live::config::Config;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where tocsin listens if nobody says otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:9464";
/// Digits of an id that must be given at least.
const ID_DIGITS_MIN: usize = 4;

/// A running tocsin.
pub struct Client {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    url: Url,
    token_file: Option<PathBuf>,
}

impl Client {
    /// The one that the arguments name. Reaches nothing yet.
    pub fn new(arguments: &ServerArguments) -> anyhow::Result<Self> {
        let config = arguments.config.as_deref().map(Config::load).transpose()?;
        let listening = config.as_ref().map(|config| format!("http://{}", reachable(config.http.listen)));
        let url = arguments.url.clone().or(listening).unwrap_or_else(|| DEFAULT_URL.to_string());
        let Some(url) = Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https")) else {
            // What comes before it may be a user and a password.
            let shown = url.rsplit('@').next().unwrap_or_default();
            bail!("--url {shown}: expected an address such as {DEFAULT_URL}");
        };
        let token_file = arguments.token_file.clone().or(config.and_then(|config| config.http.token_file));
        tocsin_notifiers::choose_cryptography();
        let mut client = reqwest::Client::builder().timeout(PATIENCE);
        // A redirect could lead the token elsewhere.
        client = client.redirect(reqwest::redirect::Policy::none());
        if is_local(&url) {
            client = client.no_proxy();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Client { runtime, client: client.build()?, url, token_file })
    }

    /// Reads. `path` begins after the host; `query` are names and values.
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, query, None)
    }

    /// Changes something.
    pub fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, path, &[], Some(body))
    }

    /// Takes something away.
    pub fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::DELETE, path, &[], None)
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", self.url.path().trim_end_matches('/')));
        let mut request = self.client.request(method.clone(), url).query(query);
        // Whoever only reads needs no token, and may not be allowed to read it.
        if let Some(file) = self.token_file.as_deref().filter(|_| method != Method::GET) {
            request = request.bearer_auth(read_token(file)?.expose());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = self.runtime.block_on(async {
            let answer = request.send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.text().await?))
        });
        let unreached = || format!("{}: cannot ask tocsin, expected it to run there", shown(&self.url));
        let (status, text) = answer.map_err(reqwest::Error::without_url).with_context(unreached)?;
        let answer: Option<Value> = serde_json::from_str(&text).ok();
        if status.is_success() {
            return Ok(answer.unwrap_or_default());
        }
        let reason = match &answer {
            Some(Value::String(reason)) => reason.as_str(),
            _ => text.trim(),
        };
        let hint = match status {
            StatusCode::UNAUTHORIZED if self.token_file.is_none() => "; give it by --token-file or --config",
            _ => "",
        };
        bail!("tocsin answered {}: {}{hint}", status.as_u16(), super::table::printable(reason, 500));
    }
}

/// The one of `ids` that begins so. `what` names one, in the singular; `full` is how many characters a whole id has: whoever gives
/// all of them may mean one that is not listed any more.
pub fn resolve<'i>(
    what: &str,
    prefix: &str,
    full: usize,
    ids: impl Iterator<Item = &'i str>,
) -> anyhow::Result<String> {
    let prefix = beginning(what, prefix, full)?;
    let mut found: Vec<&str> = ids.filter(|id| id.starts_with(&prefix)).collect();
    found.dedup();
    match found[..] {
        [id] => Ok(id.to_string()),
        [] if prefix.len() == full => Ok(prefix),
        [] => bail!("there is no {what} {prefix}..., expected the id of one that is listed"),
        _ => bail!("{prefix}... is the beginning of {} ids, expected more digits", found.len()),
    }
}

/// An id or its beginning as ids are written.
pub fn beginning(what: &str, prefix: &str, full: usize) -> anyhow::Result<String> {
    let is_id = |c: char| c.is_ascii_hexdigit() || c == '-';
    if prefix.len() < ID_DIGITS_MIN || prefix.len() > full || !prefix.chars().all(is_id) {
        bail!("{prefix:?} is no id of any {what}, expected {ID_DIGITS_MIN} to {full} hex digits");
    }
    Ok(prefix.to_ascii_lowercase())
}

fn read_token(path: &Path) -> anyhow::Result<Secret> {
    let read = SecretSource::File(path.to_path_buf()).read();
    read.map_err(|error| anyhow::anyhow!("the token cannot be read: {error}"))
}

/// An address without what may be secret: user, password and parameters.
fn shown(url: &Url) -> Url {
    let mut shown = url.clone();
    // It has a host, so it cannot fail.
    let _ = shown.set_username("").and_then(|()| shown.set_password(None));
    shown.set_query(None);
    shown.set_fragment(None);
    shown
}

/// Where one can reach what listens there: an unspecified address listens on all, loopback among them.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_may_be_the_beginning_of_one() {
        let ids = ["00112233", "00112299", "44556677"];
        let check = |prefix: &str| resolve("alert", prefix, 8, ids.into_iter());
        assert_eq!(check("4455").ok().as_deref(), Some("44556677"));
        assert_eq!(check("00112233").ok().as_deref(), Some("00112233"));
        assert_eq!(check("FFFFFFFF").ok().as_deref(), Some("ffffffff"));
        for (prefix, expected) in [
            ("001", "expected 4 to 8"),
            ("0011", "2 ids"),
            ("ffff", "there is no alert ffff"),
            ("xyzw", "no id"),
            ("445566770", "expected 4 to 8"),
        ] {
            let error = check(prefix).expect_err(prefix).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_listens_everywhere_is_reached_on_loopback() {
        let check = |listen: &str| reachable(listen.parse().expect("an address")).to_string();
        assert_eq!(check("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(check("[::]:1"), "[::1]:1");
        assert_eq!(check("192.0.2.1:1"), "192.0.2.1:1");
    }
}
