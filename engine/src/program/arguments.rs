//! What the command line says.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tocsin_engine::detectors::Kind;
use tocsin_extractors::NodeExtractors;
use tocsin_proto::Span;

const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 86_400;

const EXIT_CODES: &str = "Exit codes:
  0  all went well
  1  `test`, `check` or `notify test` found something wrong
  2  the command could not do its work (arguments, unreadable files)
  3  the input is damaged; the results cover what could be read
  4  a rule did not load or erred; the results cover the other rules (`run` goes on)";

const DETECT_HELP: &str = "Output, one row for each row read, written as soon as it is read:
  timestamp,value  as they were written
  anomaly_score    0 (usual) to 1: one less the probability that a usual value departs as far
  expected         what was expected; empty while unknown
  lower,upper      from where to where values are usual; empty while unknown

A score above 0.98 is a report: from 0.984 on (a probability of 10^-1.8) a note, from 0.999 on
a warning, from 0.9999 on a page. Rows that are not reported, or go on with what was reported,
get at most 0.98. A row is judged by the rows before it alone.

Times are RFC 3339, 2014-02-14 14:27:00 (UTC), a date, or unix seconds, milliseconds or
microseconds. Any step will do; the first ten rows show it and get the score 0. Rows that
cannot be read or are out of order get the score 0, too, and are counted. After 30 rows that go
forward from an earlier time the detector begins anew. A row is one line, also within quotes.

Exit codes:
  0  all went well
  2  the command could not do its work (arguments, unreadable files)
  3  some rows could not be read, or more than ten and one in a hundred were out of order; the
     others were judged";

/// Watches Bitcoin nodes and raises the alarm.
#[derive(Debug, Parser)]
#[command(name = "tocsin", version, about, after_help = EXIT_CODES)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch nodes: take events from extractors and NATS servers, record them, and tell what alerts do.
    #[command(after_help = EXIT_CODES)]
    Run(RunArguments),
    /// Record what arrives, without rules.
    #[command(after_help = EXIT_CODES)]
    Record(LiveArguments),
    /// Run one extractor of this machine's nodes for a tocsin elsewhere: its events go to the NATS server of [publish].
    #[command(after_help = EXIT_CODES)]
    Extract(ExtractArguments),
    /// Run recorded events through the rules and print what the alerts did.
    #[command(after_help = EXIT_CODES)]
    Replay(ReplayArguments),
    /// Run the rules' tests and the recorded incidents and compare the alerts with what is expected.
    #[command(after_help = EXIT_CODES)]
    Test(TestArguments),
    /// Check rules, their documentation and their tests without running them; or a configuration.
    #[command(after_help = EXIT_CODES)]
    Check(CheckArguments),
    /// Run an anomaly detector over the rows of a CSV file.
    #[command(after_help = DETECT_HELP)]
    Detect(DetectArguments),
    /// Show the alerts of a running tocsin, say why they fired and who was told, and take care of them.
    #[command(after_help = EXIT_CODES)]
    Alerts(AlertsArguments),
    /// Show, add and end silences of a running tocsin: what matches is not told.
    #[command(after_help = EXIT_CODES)]
    Silence(SilenceArguments),
    /// Send a sample to a receiver; show what a running tocsin told, and send again what it gave up.
    #[command(after_help = EXIT_CODES)]
    Notify(NotifyArguments),
    /// Print the catalogue of event kinds and their fields, as rules name them.
    Events(EventsArguments),
    /// Make a long recording by repeating short ones with shifted times and peer ids.
    Repeat(RepeatArguments),
}

/// Arguments of `tocsin run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// The configuration; engine/deploy/tocsin.example.toml shows every option.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// How alerts are printed: lines for people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Arguments of `tocsin record`.
#[derive(Debug, Args)]
pub struct LiveArguments {
    /// The configuration; engine/deploy/tocsin.example.toml shows every option.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Arguments of `tocsin extract`.
#[derive(Debug, Args)]
pub struct ExtractArguments {
    /// The extractor.
    #[arg(value_enum)]
    pub name: ExtractorName,
    /// The configuration; engine/deploy/tocsin.example.toml shows every option.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// One of the extractors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum ExtractorName {
    Rpc,
    P2p,
    Log,
    Ebpf,
    Ipc,
}

impl ExtractorName {
    /// As the configuration writes it.
    pub fn name(self) -> &'static str {
        match self {
            ExtractorName::Rpc => "rpc",
            ExtractorName::P2p => "p2p",
            ExtractorName::Log => "log",
            ExtractorName::Ebpf => "ebpf",
            ExtractorName::Ipc => "ipc",
        }
    }

    /// Leaves this one of a node's extractors, if it is there.
    pub fn only(self, all: NodeExtractors) -> NodeExtractors {
        let none = NodeExtractors::default();
        match self {
            ExtractorName::Rpc => NodeExtractors { rpc: all.rpc, ..none },
            ExtractorName::P2p => NodeExtractors { p2p: all.p2p, ..none },
            ExtractorName::Log => NodeExtractors { log: all.log, ..none },
            ExtractorName::Ebpf => NodeExtractors { ebpf: all.ebpf, ..none },
            ExtractorName::Ipc => NodeExtractors { ipc: all.ipc, ..none },
        }
    }
}

/// Arguments of `tocsin replay`.
#[derive(Debug, Args)]
pub struct ReplayArguments {
    /// Recordings (.bin or .bin.zst, told apart by their content), merged by time; - is standard input.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub rules: RuleArguments,
    /// A configuration whose [[series]] and [rules.set] hold here too; --set comes after them.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Name of the node where neither event nor file says it; once for all files, or once for each file.
    #[arg(long = "node", value_name = "NAME")]
    pub nodes: Vec<String>,
    /// How fast: max, or a multiple of real time as 10x.
    #[arg(long, value_name = "max|Nx", default_value = "max", value_parser = parse_speed)]
    pub speed: Speed,
    /// How alerts are printed: lines for people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Which rules, and with which parameters.
#[derive(Debug, Args)]
pub struct RuleArguments {
    /// Folder of rules, or one rule file; can be given more than once.
    #[arg(long = "rules", value_name = "DIR", default_value = "rules")]
    pub paths: Vec<PathBuf>,
    /// Override a parameter: RULE.PARAM=VALUE for all nodes, RULE.PARAM@NODE=VALUE for one.
    #[arg(long = "set", value_name = "RULE.PARAM=VALUE")]
    pub set: Vec<String>,
}

/// Arguments of `tocsin test`.
#[derive(Debug, Args)]
pub struct TestArguments {
    /// Rules, their tests, incidents or folders of them.
    #[arg(default_values = ["rules", "testdata"])]
    pub paths: Vec<PathBuf>,
    /// Rules that incidents are replayed with.
    #[arg(long = "rules", value_name = "DIR", default_value = "rules")]
    pub rules: Vec<PathBuf>,
}

/// Arguments of `tocsin check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Rules, their tests, incidents or folders of them [default: rules testdata, unless --config is given].
    pub paths: Vec<PathBuf>,
    /// A configuration: its options, receivers, routes, templates, time zones, files of secrets, and rules.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Arguments of `tocsin detect`.
#[derive(Debug, Args)]
pub struct DetectArguments {
    /// CSV file with a header, a column of times and one of values; - or nothing is standard input.
    pub file: Option<PathBuf>,
    /// The column of values [default: value, else the first that is a number]; without a header its number, from 1.
    #[arg(long, value_name = "NAME")]
    pub column: Option<String>,
    /// Draw the series, what was expected, and what was reported; the name ends in .svg or .png.
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
    /// Which detector; as in rules, as are the options below.
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = detector_names())]
    pub detector: Kind,
    /// How long a season is.
    #[arg(long, value_name = "SPAN", default_value = "1d", value_parser = parse_season)]
    pub season: Span,
    /// How long the past counts.
    #[arg(long, value_name = "SPAN", default_value = "28d", value_parser = parse_over)]
    pub over: Span,
    /// Which way values must depart from what is expected.
    #[arg(long, value_enum, default_value_t = Departure::Both)]
    pub direction: Departure,
    /// Departures smaller than this, in the unit of the values, are not reported.
    #[arg(long, value_name = "NUMBER", default_value = "0", value_parser = parse_effect)]
    pub effect_min: f64,
    /// The values count independent events: they scatter by at least the square root of what is expected.
    #[arg(long)]
    pub counts: bool,
}

/// Which way a value departs from what is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Departure {
    Both,
    Up,
    Down,
}

fn detector_names() -> impl TypedValueParser<Value = Kind> {
    let kind = |name: String| Kind::NAMES.into_iter().find(|(known, _)| *known == name).map(|(_, kind)| kind);
    PossibleValuesParser::new(Kind::NAMES.map(|(name, _)| name))
        .try_map(move |name| kind(name).ok_or("unknown"))
}

/// As the `season` of a window.
fn parse_season(text: &str) -> Result<Span, String> {
    parse_span(text, 7 * DAY_S, "expected 1h to 7d")
}

/// As the `over` of a window.
fn parse_over(text: &str) -> Result<Span, String> {
    parse_span(text, 366 * DAY_S, "expected 1h to a year")
}

fn parse_span(text: &str, most_s: i64, expected: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    if !(HOUR_S * 1000..=most_s * 1000).contains(&span.millis()) {
        return Err(expected.to_string());
    }
    Ok(span)
}

fn parse_effect(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "expected a number that is not negative".to_string())
}

/// Which running tocsin is asked.
#[derive(Debug, Args)]
pub struct ServerArguments {
    /// Its configuration, which says where it listens and where the token is.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Its address [default: http.listen of --config, or http://127.0.0.1:9464].
    #[arg(long, value_name = "URL", global = true)]
    pub url: Option<String>,
    /// File of the token that changes need [default: http.token_file of --config].
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
}

/// Arguments of `tocsin alerts`.
#[derive(Debug, Args)]
pub struct AlertsArguments {
    #[command(flatten)]
    pub server: ServerArguments,
    /// How the answer is printed: for people, or as JSON.
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    pub format: Format,
    /// What to do; list, if nothing is said.
    #[command(subcommand)]
    pub action: Option<AlertsAction>,
}

/// What `tocsin alerts` does. An id is the alert's fingerprint, or at least 4 digits of its beginning.
#[derive(Debug, Subcommand)]
pub enum AlertsAction {
    /// List the alerts that fire.
    List,
    /// Show all of one alert.
    Show {
        /// Its id, or at least 4 digits of its beginning.
        id: String,
    },
    /// Tell the story of an alert: why it fired, who was told, when, and what became of it.
    Explain {
        /// Its id, or at least 4 digits of its beginning.
        id: String,
    },
    /// Take care of an alert: no repeats and no escalation until it resolves.
    Ack {
        /// Its id, or at least 4 digits of its beginning.
        id: String,
        /// Why, in words.
        #[arg(long, default_value = "")]
        comment: String,
        /// Who [default: the user].
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
    /// Take an acknowledgement back.
    Unack {
        /// Its id, or at least 4 digits of its beginning.
        id: String,
        /// Who [default: the user].
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
}

/// Arguments of `tocsin silence`.
#[derive(Debug, Args)]
pub struct SilenceArguments {
    #[command(flatten)]
    pub server: ServerArguments,
    /// How the answer is printed: for people, or as JSON.
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    pub format: Format,
    /// What to do; list, if nothing is said.
    #[command(subcommand)]
    pub action: Option<SilenceAction>,
}

/// What `tocsin silence` does.
#[derive(Debug, Subcommand)]
pub enum SilenceAction {
    /// Add a silence and print its id.
    Add(SilenceAddArguments),
    /// List silences that hold or will hold.
    List {
        /// Those that have ended, too.
        #[arg(long)]
        expired: bool,
    },
    /// End a silence.
    Expire {
        /// Its id, or at least 4 characters of its beginning.
        id: String,
    },
}

/// What a silence is to be.
#[derive(Debug, Args)]
pub struct SilenceAddArguments {
    /// Labels of the alerts, all of which must match: alertname=addr_flood, node=~"test.*", severity!=critical.
    #[arg(required = true, value_name = "MATCHER")]
    pub matchers: Vec<String>,
    /// How long, as 30m, 2h or 3d.
    #[arg(long = "for", value_name = "SPAN")]
    pub span: Span,
    /// Why, in words.
    #[arg(long)]
    pub comment: String,
    /// From when on, as 2026-11-21T18:00:00Z [default: now].
    #[arg(long, value_name = "TIME")]
    pub start: Option<String>,
    /// Who [default: the user].
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

/// Arguments of `tocsin notify`.
#[derive(Debug, Args)]
pub struct NotifyArguments {
    #[command(flatten)]
    pub server: ServerArguments,
    /// How the answer is printed: for people, or as JSON.
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    pub format: Format,
    /// What to do; list, if nothing is said.
    #[command(subcommand)]
    pub action: Option<NotifyAction>,
}

/// What `tocsin notify` does.
#[derive(Debug, Subcommand)]
pub enum NotifyAction {
    /// Send a sample to a receiver of --config; needs no running tocsin.
    Test {
        /// Name of the receiver.
        receiver: String,
    },
    /// List notifications, newest first.
    List {
        /// Only those that were given up.
        #[arg(long)]
        dead: bool,
        /// So many at most.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        limit: u16,
    },
    /// Try a notification again that was given up.
    Resend {
        /// Its id, or at least 4 digits of its beginning.
        id: String,
    },
    /// Show how receivers do.
    Receivers,
}

/// Arguments of `tocsin events`.
#[derive(Debug, Args)]
pub struct EventsArguments {
    /// Only these kinds, or kinds whose name begins so.
    pub kinds: Vec<String>,
}

/// Arguments of `tocsin repeat`.
#[derive(Debug, Args)]
pub struct RepeatArguments {
    /// Recordings to repeat, one after the other.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// The recording to write; compressed if its name ends in .zst.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
    /// Stop after this many events.
    #[arg(long, value_name = "N")]
    pub events: u64,
    /// Node name to put into the new recording's header.
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
}

/// How fast a recording is replayed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// As fast as the machine can.
    Max,
    /// This many times as fast as it happened.
    Times(f64),
}

/// How alerts are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines for people (and, of a replay, a summary).
    Text,
    /// One JSON object a line, one line an alert change.
    Json,
}

fn parse_speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    match text.strip_suffix('x').unwrap_or(text).trim().parse::<f64>() {
        Ok(times) if times.is_finite() && times > 0.0 => Ok(Speed::Times(times)),
        _ => Err("expected max, or a multiple of real time as 10x".to_string()),
    }
}
