//! The configuration of the live commands: one TOML file, `engine/deploy/tocsin.example.toml` shows every option.

mod wrong;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Deserializer, de};
use tocsin_engine::dispatch::routing::Written;
use tocsin_engine::rules::Override;
use tocsin_engine::rules::literal::LiteralValue;
use tocsin_engine::rules::series_file::{self, WrittenSeries};
use tocsin_extractors::NodeExtractors;
use tocsin_notifiers::ReceiverConfig;
use tocsin_proto::Span;

use super::super::rule_files::parse_override_target;
use super::dispatch::plan::Plan;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder of recordings, checkpoint and timeline.
    pub data: PathBuf,
    /// What is logged.
    #[serde(default)]
    pub log: Log,
    /// The HTTP interface.
    #[serde(default)]
    pub http: Http,
    /// Where rules are and what is different about them here.
    #[serde(default)]
    pub rules: Rules,
    /// What is recorded and how long it is kept.
    #[serde(default)]
    pub recording: Recording,
    /// Series for generic rules: more of them, or other values of those in the lists beside the rules. Read by
    /// [`series_file`].
    #[serde(default, rename = "series")]
    _series: de::IgnoredAny,
    /// The same, with their places.
    #[serde(skip)]
    pub series: WrittenSeries,
    /// How often the engine's state is saved.
    #[serde(default)]
    pub checkpoint: Checkpoint,
    /// Nodes read by extractors of this process.
    #[serde(default, rename = "node")]
    pub nodes: Vec<Node>,
    /// NATS servers that events come from.
    #[serde(default, rename = "nats")]
    pub nats: Vec<Nats>,
    /// Where `tocsin extract` sends events.
    pub publish: Option<NatsServer>,
    /// Who is told of which alerts.
    pub dispatch: Option<Written>,
    /// Who can be told.
    #[serde(default, rename = "receiver")]
    pub receivers: Vec<ReceiverConfig>,
}

/// What is logged, on standard error.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// For people or for programs.
    pub format: LogFormat,
    /// What is worth a line: error, warn, info, debug, trace, or `tracing`'s filter syntax.
    pub level: String,
}

/// How lines of the log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The HTTP interface.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address and port; loopback by default, since alerts name peers.
    pub listen: SocketAddr,
    /// File of the token that callers must show who change something: silences, acknowledgements. Without it nothing can
    /// be changed over HTTP.
    pub token_file: Option<PathBuf>,
    /// Where people reach it, for links in notifications; `listen` if left out.
    pub external_url: Option<String>,
}

/// Where rules are and what is different about them here.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Folders of rules, or rule files.
    pub paths: Vec<PathBuf>,
    /// How often the files are looked at for changes.
    pub reload_every: Span,
    /// Parameters: `"RULE.PARAM"` or `"RULE.PARAM@NODE"`, and the value.
    #[serde(deserialize_with = "overrides")]
    pub set: Vec<Override>,
}

/// What is recorded and how long it is kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recording {
    /// Whether anything is.
    pub enabled: bool,
    /// A new file is begun at this size.
    pub max_file_size: Size,
    /// A new file is begun after this time.
    pub max_file_age: Span,
    /// The oldest files go when all together are larger.
    pub max_total_size: Size,
    /// Files older than this go.
    pub max_age: Span,
    /// zstd level, 1 to 19.
    #[serde(deserialize_with = "compression_level")]
    pub compression_level: i32,
}

/// How often the engine's state is saved.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoint {
    /// Time between two.
    pub every: Span,
}

/// One node and how it is read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name in events and alerts.
    #[serde(deserialize_with = "node_name")]
    pub name: String,
    /// JSON-RPC.
    pub rpc: Option<tocsin_extractors::rpc::Config>,
    /// A peer of ours that the node connects to.
    pub p2p: Option<tocsin_extractors::p2p::Config>,
    /// debug.log.
    pub log: Option<tocsin_extractors::log::Config>,
    /// Tracepoints and threads.
    pub ebpf: Option<tocsin_extractors::ebpf::Config>,
    /// Cap'n Proto.
    pub ipc: Option<tocsin_extractors::ipc::Config>,
}

/// A NATS server that events come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    /// Its name in logs and metrics.
    pub name: String,
    /// `nats://HOST:PORT`, or `tls://HOST:PORT`.
    #[serde(deserialize_with = "server_url")]
    pub url: String,
    /// User, if the server asks for one.
    pub user: Option<String>,
    /// File that holds the user's password.
    pub password_file: Option<PathBuf>,
    /// Whose subjects and events.
    #[serde(default)]
    pub subjects: Subjects,
    /// The node all its events are of; peer-observer's do not say. One server per node, then.
    #[serde(default, deserialize_with = "some_node_name")]
    pub node: Option<String>,
}

/// Whose subjects a NATS server carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subjects {
    /// `tocsin.NODE.EXTRACTOR`.
    #[default]
    Tocsin,
    /// `netmsg`, `netconn`, `rpc` and so on.
    PeerObserver,
}

/// How to reach a NATS server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsServer {
    /// `nats://HOST:PORT`, or `tls://HOST:PORT`.
    #[serde(deserialize_with = "server_url")]
    pub url: String,
    /// User, if the server asks for one.
    pub user: Option<String>,
    /// File that holds the user's password.
    pub password_file: Option<PathBuf>,
}

impl Default for Log {
    fn default() -> Self {
        Log { format: LogFormat::Human, level: "info".to_string() }
    }
}

impl Default for Http {
    fn default() -> Self {
        Http { listen: SocketAddr::from(([127, 0, 0, 1], 9464)), token_file: None, external_url: None }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Rules { paths: vec!["rules".into()], reload_every: Span::from_secs(2), set: Vec::new() }
    }
}

impl Default for Recording {
    fn default() -> Self {
        Recording {
            enabled: true,
            max_file_size: Size(256 << 20),
            max_file_age: Span::from_secs(3600),
            max_total_size: Size(20 << 30),
            max_age: Span::from_secs(30 * 86_400),
            compression_level: 3,
        }
    }
}

impl Default for Checkpoint {
    fn default() -> Self {
        Checkpoint { every: Span::from_secs(30) }
    }
}

impl Config {
    /// Reads and checks a configuration file.
    pub fn load(path: &Path) -> anyhow::Result<Config> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{}: cannot read the configuration", path.display()))?;
        Config::parse_in(&path.display().to_string(), &text)
            .with_context(|| format!("{}: the configuration is wrong", path.display()))
    }

    /// Reads and checks the text of the configuration in the file `path`. What is wrong with its series is said in them, for
    /// that is not known before the lists are.
    pub fn parse_in(path: &str, text: &str) -> anyhow::Result<Config> {
        let mut config: Config = wrong::read(text)?;
        config.series = series_file::read_among_others(path, text);
        let mut names: Vec<&str> = config.nodes.iter().map(|node| node.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            bail!("[[node]] name = {:?} is there twice, expected a name of its own for each", twice[0]);
        }
        let (file, total) = (config.recording.max_file_size, config.recording.max_total_size);
        if total.0 / 2 < file.0 {
            bail!("recording.max_total_size is less than twice max_file_size, expected more: files go whole");
        }
        for nats in &config.nats {
            let is_peer_observer = nats.subjects == Subjects::PeerObserver;
            if is_peer_observer && nats.node.is_none() {
                bail!(
                    "[[nats]] name = {:?}: node is missing, expected a name: peer-observer's events do not say which node they are of",
                    nats.name
                );
            }
        }
        config.plan()?;
        Ok(config)
    }

    /// [`Config::parse_in`] no file in particular.
    #[cfg(test)]
    pub fn parse(text: &str) -> anyhow::Result<Config> {
        Config::parse_in("tocsin.toml", text)
    }

    /// Who is told of alerts and how; none if nobody is. Reaches nothing and reads no secret.
    pub fn plan(&self) -> anyhow::Result<Option<Plan>> {
        let mut receivers = self.receivers.clone();
        for receiver in &mut receivers {
            if let Some(matrix) = &mut receiver.matrix {
                let file = format!("matrix-{}.session", file_name(&receiver.name));
                matrix.session_file.get_or_insert_with(|| self.data.join(file));
            }
        }
        let plan = Plan::new(self.dispatch.as_ref(), &receivers);
        let mut plan = plan.map_err(|wrong| anyhow!(wrong.join("\n")))?;
        if let Some(plan) = &mut plan {
            let nodes = self.nodes.iter().map(|node| &node.name);
            plan.hidden.nodes.learn(nodes.chain(self.nats.iter().filter_map(|nats| nats.node.as_ref())));
        }
        Ok(plan)
    }
}

impl Node {
    /// Its extractors.
    pub fn extractors(&self) -> NodeExtractors {
        let Node { name: _, rpc, p2p, log, ebpf, ipc } = self.clone();
        NodeExtractors { rpc, p2p, log, ebpf, ipc }
    }
}

impl Nats {
    /// How to reach it.
    pub fn server(&self) -> NatsServer {
        NatsServer {
            url: self.url.clone(),
            user: self.user.clone(),
            password_file: self.password_file.clone(),
        }
    }
}

/// A name as part of a file's name; different names stay different.
fn file_name(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    name.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") })
        .collect()
}

/// A size in bytes, written `100kB`, `256MB` or `20GB` (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || {
            de::Error::custom(format!(
                "`{text}` is no size; write a whole number and kB, MB or GB, such as \"256MB\""
            ))
        };
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let shift = match unit.trim() {
            "kB" => 10,
            "MB" => 20,
            "GB" => 30,
            _ => return Err(wrong()),
        };
        number.checked_mul(1 << shift).map(Size).ok_or_else(wrong)
    }
}

/// A name that can stand in a NATS subject, a metric's label and an alert.
fn node_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_name) {
        let expected = "expected 1 to 64 letters, digits, - and _";
        return Err(de::Error::custom(format!("`{name}` is no name for a node, {expected}")));
    }
    Ok(name)
}

fn some_node_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    node_name(deserializer).map(Some)
}

/// An address without user and password in it: it is logged.
fn server_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let url = String::deserialize(deserializer)?;
    if url.contains('@') {
        return Err(de::Error::custom(
            "the url holds a user, expected `user` and `password_file` of their own",
        ));
    }
    Ok(url)
}

fn compression_level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    let level = i32::deserialize(deserializer)?;
    if !(1..=19).contains(&level) {
        return Err(de::Error::custom(format!("compression_level is {level}, expected 1 to 19")));
    }
    Ok(level)
}

fn overrides<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Override>, D::Error> {
    let entries = BTreeMap::<String, toml::Value>::deserialize(deserializer)?;
    let read = |(target, value): (String, toml::Value)| {
        let value = match value {
            toml::Value::Integer(value) => LiteralValue::Int(value),
            toml::Value::Float(value) => LiteralValue::Float(value),
            toml::Value::Boolean(value) => LiteralValue::Bool(value),
            toml::Value::String(value) => LiteralValue::Text(value),
            other => {
                let found = other.type_str();
                return Err(de::Error::custom(format!(
                    "{target} is a {found}, expected a number, text or boolean"
                )));
            }
        };
        parse_override_target(&target, value).map_err(|error| de::Error::custom(format!("{error:#}")))
    };
    entries.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../deploy/tocsin.example.toml");

    #[test]
    fn the_example_is_a_configuration() {
        let config = Config::parse(EXAMPLE).expect("the example");
        assert_eq!(config.nodes[0].name, "alice");
        let extractors = config.nodes[0].extractors();
        assert!(extractors.rpc.is_some() && extractors.p2p.is_some() && extractors.log.is_some());
        assert!(extractors.ebpf.is_some() && extractors.ipc.is_some());
    }

    #[test]
    fn what_the_readme_shows_is_a_configuration() {
        let readme = include_str!("../../../../README.md");
        let (_, shown) = readme.split_once("```toml\n[http]").expect("the README shows whom to tell");
        let (shown, _) = shown.split_once("```").expect("its end");
        let config = Config::parse(&format!("data = \"x\"\n[http]{shown}")).expect("what the README shows");
        assert_eq!(config.receivers.len(), 2);
    }

    #[test]
    fn the_example_shows_every_option() {
        // What is commented out in the example is an option too: with all of them set it still parses.
        let uncommented: Vec<&str> =
            EXAMPLE.lines().map(|line| line.strip_prefix("#= ").unwrap_or(line)).collect();
        let config = Config::parse(&uncommented.join("\n")).expect("the example with all its options");
        assert_eq!(config.nats.len(), 2);
        assert!(config.publish.is_some());
        assert_eq!(config.rules.set.len(), 2);
        assert_eq!(config.receivers.len(), 4);
        assert!(config.plan().expect("checked").is_some());
    }

    #[test]
    fn an_error_names_line_and_key() {
        let check = |text: &str, expected: &[&str]| {
            let error = format!("{:#}", Config::parse(text).expect_err(text));
            for words in expected {
                assert!(error.contains(words), "{error:?} does not say {words:?}");
            }
        };
        check("data = \"x\"\n[http]\nlissten = \"a\"\n", &["line 3", "lissten", "listen"]);
        check("data = \"x\"\n[http]\nlisten = \"nowhere\"\n", &["line 3", "listen", "socket address"]);
        check("data = \"x\"\n[recording]\nmax_age = \"soon\"\n", &["line 3", "soon", "\"10s\""]);
        check("data = \"x\"\n[recording]\nmax_file_size = \"1 TB\"\n", &["line 3", "1 TB", "256MB"]);
        check("data = \"x\"\n[rules.set]\n\"addr_flood\" = 1\n", &["addr_flood", "RULE.PARAM"]);
        check("data = \"x\"\n[[node]]\nname = \"a b\"\n", &["line 3", "a b", "letters"]);
        check("data = \"x\"\n[[node]]\nname = \"a\"\n[[node]]\nname = \"a\"\n", &["\"a\"", "twice"]);
        let nats = "data = \"x\"\n[[nats]]\nname = \"n\"\nurl = \"nats://x\"\nsubjects = \"peer-observer\"\n";
        check(nats, &["node is missing"]);
        check("[http]\n", &["missing field `data`"]);
        check("data = \"x\"\n[publish]\nurl = \"nats://u:p@h\"\n", &["line 3", "password_file"]);
        let sizes = "data = \"x\"\n[recording]\nmax_file_size = \"2MB\"\nmax_total_size = \"3MB\"\n";
        check(sizes, &["max_total_size", "twice"]);
        let hook = "[[receiver]]\nname = \"a\"\n[receiver.webhook]\nurl = \"http://127.0.0.1:1\"\n";
        let route = "[dispatch.route]\nreceiver = \"a\"\n";
        check(&format!("data = \"x\"\n{hook}"), &["[dispatch.route] is missing", "[[receiver]]"]);
        check(&format!("data = \"x\"\n{route}"), &["\"a\"", "receiver"]);
        check(&format!("data = \"x\"\n{route}{hook}{hook}"), &["[[receiver]]", "\"a\"", "twice"]);
        let both = format!("data = \"x\"\n{route}[[receiver]]\nname = \"a\"\n");
        check(&both, &["receiver \"a\"", "exactly one of matrix, email, webhook and alertmanager"]);
    }
}
