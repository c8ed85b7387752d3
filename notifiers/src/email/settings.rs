//! The configuration, checked.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::extension::ClientId;

use super::{Config, Tls};
use crate::ATTEMPT_MAX;
use crate::secret::SecretSource;

/// Port on which TLS begins with the first byte.
const TLS_PORT: u16 = 465;
/// Most recipients of one receiver.
const RECIPIENTS_MAX: usize = 50;

/// What every attempt needs.
#[derive(Debug)]
pub struct Settings {
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    pub login: Option<(String, SecretSource)>,
    pub from: Mailbox,
    pub to: Vec<Mailbox>,
    pub ca_file: Option<PathBuf>,
    pub hello: ClientId,
    pub timeout: Duration,
}

impl Settings {
    /// The error names the key, what was found and what would be right.
    pub fn new(config: &Config) -> Result<Self, String> {
        let (host, port) = smarthost(&config.smarthost)?;
        let default = if port == TLS_PORT { Tls::Tls } else { Tls::Starttls };
        let tls = config.tls.unwrap_or(default);
        if tls == Tls::None && !is_this_machine(&host) {
            return Err(format!(
                "tls is \"none\" for {host}, expected \"starttls\" or \"tls\" for a server on another machine (or \
                 \"none_over_network\", if everybody in between may read it)"
            ));
        }
        let login = login(config)?;
        if login.is_some() && tls == Tls::NoneOverNetwork {
            return Err(
                "tls is \"none_over_network\" and there is a password, expected \"starttls\" or \"tls\""
                    .into(),
            );
        }
        if config.to.is_empty() || config.to.len() > RECIPIENTS_MAX {
            return Err(format!("to has {} addresses, expected 1 to {RECIPIENTS_MAX}", config.to.len()));
        }
        let to = config.to.iter().map(|text| mailbox("to", text)).collect::<Result<_, _>>()?;
        let timeout = config.timeout.map_or(ATTEMPT_MAX, |span| span.get());
        if timeout.is_zero() || timeout > ATTEMPT_MAX {
            return Err(format!("timeout is {timeout:?}, expected more than 0 and at most {ATTEMPT_MAX:?}"));
        }
        Ok(Settings {
            host,
            port,
            tls,
            login,
            from: mailbox("from", &config.from)?,
            to,
            ca_file: config.ca_file.clone(),
            hello: hello(config.hello.as_deref())?,
            timeout,
        })
    }

    /// The server, for errors.
    pub fn place(&self) -> String {
        format!("smtp server {}:{}", self.host, self.port)
    }
}

fn smarthost(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("smarthost is {text:?}, expected a host and a port, as \"smtp.example.org:587\"");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_name = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    if !is_name && host.parse::<IpAddr>().is_err() {
        return Err(wrong());
    }
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    Ok((host.to_string(), port))
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn login(config: &Config) -> Result<Option<(String, SecretSource)>, String> {
    match (&config.user, &config.password) {
        (Some(user), Some(password)) => Ok(Some((user.clone(), password.clone()))),
        (None, None) => Ok(None),
        (Some(_), None) => Err("user without password, expected both or neither".to_string()),
        (None, Some(_)) => Err("password without user, expected both or neither".to_string()),
    }
}

fn mailbox(key: &str, text: &str) -> Result<Mailbox, String> {
    let wrong =
        || format!("{key} has {text:?}, expected \"name@example.org\" or \"Name <name@example.org>\"");
    let mailbox: Mailbox = text.parse().map_err(|_| wrong())?;
    let address: &str = mailbox.email.as_ref();
    // Few servers take other addresses, and a Message-ID has no place for another domain.
    if !address.is_ascii() || text.contains(char::is_control) {
        return Err(wrong());
    }
    Ok(mailbox)
}

fn hello(name: Option<&str>) -> Result<ClientId, String> {
    let Some(name) = name else {
        return Ok(ClientId::default());
    };
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b));
    if is_name {
        Ok(ClientId::Domain(name.to_string()))
    } else {
        Err(format!("hello is {name:?}, expected a name such as \"node.example.org\""))
    }
}
