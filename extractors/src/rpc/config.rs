//! Settings of the extractor. What contradicts itself is refused when it is read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Error as _, IntoDeserializer};
use serde::{Deserialize, Deserializer, de};

use super::method::{METHODS, Method};
use tocsin_proto::Span;

/// Polling faster would be an attack on the node.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Settings of the extractor.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct Config {
    /// How the node is reached: `"http"`, or `"ipc"` for bitcoin-node's socket (after Bitcoin Core 31).
    pub transport: TransportKind,
    /// Address of the interface over HTTP; by default 127.0.0.1 and the port of `network`.
    pub url: Option<HttpUrl>,
    /// File with user and password that the node writes at each start; read again for each call.
    pub cookie_file: Option<PathBuf>,
    /// Folder of the node (-datadir): its cookie file and its socket are found there.
    pub datadir: Option<PathBuf>,
    /// The chain the node is on; says the port, and the folder within `datadir`.
    pub network: Network,
    /// User of a `-rpcauth` line, in place of a cookie.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// File whose first line is the user's password; read again for each call.
    pub password_file: Option<PathBuf>,
    /// Socket of bitcoin-node for the transport `"ipc"`; by default `node.sock` in `datadir`.
    pub socket: Option<PathBuf>,
    /// How long a call may take.
    pub timeout: Span,
    /// Time between two polls by method, such as `getpeerinfo = "5s"`; `"off"` or 0 for never.
    pub intervals: BTreeMap<String, Interval>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            transport: TransportKind::Http,
            url: None,
            cookie_file: None,
            datadir: None,
            network: Network::Main,
            user: None,
            password: None,
            password_file: None,
            socket: None,
            timeout: Span::from_secs(30),
            intervals: BTreeMap::new(),
        }
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The derived function, which `remote` makes an inherent one.
        let config = Config::deserialize(deserializer)?;
        config.check().map_err(D::Error::custom)?;
        Ok(config)
    }
}

impl Config {
    fn check(&self) -> Result<(), String> {
        if self.timeout.get().is_zero() {
            return Err("`timeout` is 0, expected at least \"1ms\"".to_string());
        }
        for (name, interval) in &self.intervals {
            if Method::named(name).is_none() {
                let known: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
                return Err(format!("`intervals` names {name:?}, expected one of {}", known.join(", ")));
            }
            if interval.0.is_some_and(|every| every < INTERVAL_MIN) {
                return Err(format!("the interval of {name} is below 100ms, expected more, or \"off\""));
            }
        }
        match self.transport {
            TransportKind::Http => self.check_credentials(),
            TransportKind::Ipc if self.socket_path().is_none() => {
                Err("the transport \"ipc\" needs `socket` or `datadir`".to_string())
            }
            TransportKind::Ipc => Ok(()),
        }
    }

    fn check_credentials(&self) -> Result<(), String> {
        let passwords = usize::from(self.password.is_some()) + usize::from(self.password_file.is_some());
        match (&self.user, &self.cookie_file, passwords) {
            (Some(_), Some(_), _) => {
                Err("`user` and `cookie_file` are both there, expected one of them".into())
            }
            (Some(_), None, 1) => Ok(()),
            (Some(_), None, _) => Err("`user` needs either `password_file` or `password`".into()),
            (None, _, 1..) => Err("a password is there without its `user`".into()),
            (None, Some(_), 0) => Ok(()),
            (None, None, 0) if self.datadir.is_some() => Ok(()),
            (None, None, 0) => {
                Err("expected `cookie_file`, `datadir`, or `user` with `password_file`".into())
            }
        }
    }

    /// Where the interface is.
    pub(super) fn http_url(&self) -> reqwest::Url {
        let default = || {
            let text = format!("http://127.0.0.1:{}", self.network.rpc_port());
            text.parse().expect("an address of ours")
        };
        self.url.clone().map_or_else(default, |url| url.0)
    }

    /// The cookie file, named or found in the node's folder.
    pub(super) fn cookie_path(&self) -> Option<PathBuf> {
        let found = || Some(self.datadir.as_ref()?.join(self.network.folder()).join(".cookie"));
        self.cookie_file.clone().or_else(found)
    }

    /// The socket, named or found in the node's folder.
    pub(super) fn socket_path(&self) -> Option<PathBuf> {
        let found = || Some(self.datadir.as_ref()?.join(self.network.folder()).join("node.sock"));
        self.socket.clone().or_else(found)
    }

    /// The methods that are polled, and how often.
    pub(super) fn polled(&self) -> impl Iterator<Item = (&'static Method, Duration)> {
        METHODS.iter().filter_map(|method| match self.intervals.get(method.name) {
            None => Some((method, method.every)),
            Some(interval) => Some((method, interval.0?)),
        })
    }
}

/// How the node is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransportKind {
    /// JSON-RPC over HTTP.
    Http,
    /// JSON-RPC over the Cap'n Proto socket of bitcoin-node.
    Ipc,
}

/// A chain, by the name `getblockchaininfo` has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The main chain.
    Main,
    /// Testnet3.
    #[serde(alias = "testnet")]
    Test,
    /// Testnet4.
    Testnet4,
    /// Signet.
    Signet,
    /// A chain of one's own.
    Regtest,
}

impl Network {
    /// Port of the interface. Source: Bitcoin Core, `chainparamsbase.cpp`.
    fn rpc_port(self) -> u16 {
        match self {
            Network::Main => 8332,
            Network::Test => 18332,
            Network::Testnet4 => 48332,
            Network::Signet => 38332,
            Network::Regtest => 18443,
        }
    }

    /// Folder within the node's. Source: as above.
    fn folder(self) -> &'static str {
        match self {
            Network::Main => "",
            Network::Test => "testnet3",
            Network::Testnet4 => "testnet4",
            Network::Signet => "signet",
            Network::Regtest => "regtest",
        }
    }
}

/// An address without user and password in it, as it is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl(reqwest::Url);

impl<'de> Deserialize<'de> for HttpUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The text itself is in no message: it may hold a password.
        let text = String::deserialize(deserializer)?;
        let url: reqwest::Url = text.parse().map_err(D::Error::custom)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(D::Error::custom("`url` holds a user or a password; use `user` and `password_file`"));
        }
        if url.scheme() != "http" || !url.has_host() {
            return Err(D::Error::custom(
                "`url` is expected as \"http://host:port\"; the node speaks no TLS",
            ));
        }
        Ok(HttpUrl(url))
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(super) fn new(text: String) -> Self {
        Secret(text)
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The usual message for another type would show the value.
        let text = String::deserialize(deserializer);
        text.map(Secret).map_err(|_| D::Error::custom("a password is expected as a text in quotes"))
    }
}

/// Time between two polls; `None` for never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval(Option<Duration>);

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl de::Visitor<'_> for Reader {
            type Value = Interval;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a span of time such as \"10s\", \"off\" or 0")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Interval, E> {
                match number {
                    0 => Ok(Interval(None)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Interval, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Interval, E> {
                if text == "off" || text == "0" {
                    return Ok(Interval(None));
                }
                let every = Span::deserialize(text.into_deserializer())?.get();
                Ok(Interval(Some(every).filter(|every| !every.is_zero())))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(config: Value) -> Result<Config, String> {
        serde_json::from_value(config).map_err(|error| error.to_string())
    }

    #[test]
    fn a_datadir_is_enough() {
        let config = read(json!({"datadir": "/home/alice/.bitcoin", "network": "signet"})).expect("good");
        assert_eq!(config.http_url().as_str(), "http://127.0.0.1:38332/");
        assert_eq!(config.cookie_path(), Some("/home/alice/.bitcoin/signet/.cookie".into()));
        assert_eq!(config.socket_path(), Some("/home/alice/.bitcoin/signet/node.sock".into()));
        assert_eq!(config.polled().count(), METHODS.len());
    }

    #[test]
    fn intervals_are_spans_or_off() {
        let intervals =
            json!({"getpeerinfo": "250ms", "uptime": "off", "getchaintips": 0, "getnettotals": "0s"});
        let config = read(json!({"datadir": "/", "intervals": intervals})).expect("good");
        let polled: BTreeMap<&str, Duration> =
            config.polled().map(|(method, every)| (method.name, every)).collect();
        assert_eq!(polled.len(), METHODS.len() - 3);
        assert_eq!(polled["getpeerinfo"], Duration::from_millis(250));
        assert_eq!(polled["getrawaddrman"], Duration::from_secs(1800));
    }

    #[test]
    fn what_contradicts_itself_is_refused_and_the_message_says_what_would_be_right() {
        for (config, says) in [
            (json!({}), "expected `cookie_file`, `datadir`, or `user`"),
            (json!({"user": "a"}), "`password_file`"),
            (json!({"user": "a", "password": "b", "password_file": "c"}), "either"),
            (json!({"user": "a", "password": "b", "cookie_file": "c"}), "one of them"),
            (json!({"datadir": "/", "password": "b"}), "without its `user`"),
            (json!({"datadir": "/", "url": "https://localhost"}), "TLS"),
            (json!({"datadir": "/", "timeout": "0s"}), "`timeout` is 0"),
            (json!({"datadir": "/", "intervals": {"getpeers": "1s"}}), "getpeerinfo"),
            (json!({"datadir": "/", "intervals": {"uptime": "1ms"}}), "below 100ms"),
            (json!({"datadir": "/", "intervals": {"uptime": 5}}), "a span of time"),
            (json!({"datadir": "/", "intervals": {"uptime": "soon"}}), "span of time"),
            (json!({"datadir": "/", "cookie": "/"}), "unknown field"),
            (json!({"transport": "ipc"}), "`socket`"),
        ] {
            let error = read(config.clone()).expect_err("refused");
            assert!(error.contains(says), "{config}: {error}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let config = read(json!({"user": "alice", "password": "hunter2"})).expect("good");
        assert!(!format!("{config:?}").contains("hunter2"));
        for config in [
            json!({"user": "alice", "password": 5550123}),
            json!({"datadir": "/", "url": "http://alice:5550123@localhost"}),
            json!({"datadir": "/", "url": "http://alice:5550123@local host"}),
            json!({"user": "alice", "password": ["5550123"]}),
        ] {
            let error = read(config).expect_err("refused");
            assert!(!error.contains("5550123"), "{error}");
        }
    }
}
