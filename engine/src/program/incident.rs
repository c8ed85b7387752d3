//! Incidents: a folder with a recording and `expected.toml`, its story and the alerts expected of it.
//!
//! All rules run over the recording, and every alert that is not expected is a failure. A folder below `quiet/` must
//! expect none. Beside `expected.toml` there may be others, as `expected.anomaly.toml`: what some rules find alone.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;
use tocsin_engine::engine::{Engine, Input, Problem};
use tocsin_engine::rules::rule_name;
use tocsin_engine::rules::series_file::WrittenSeries;
use tocsin_engine::time::Timestamp;

use super::expectation::{AllowedAlert, ExpectedAlert, compare, episodes};
use super::input::Recordings;
use super::rule_files::{self, is_list};

/// True for `expected.toml`, the file that makes a folder an incident, and `expected.WORD.toml`.
pub fn is_expectation(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name == "expected.toml" || (name.starts_with("expected.") && name.ends_with(".toml"))
}

/// What is known of an incident.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// What happened.
    pub story: String,
    /// What times are counted from, in unix milliseconds: the beginning of the attack, or of the recording.
    pub start_ms: i64,
    /// The recordings, beside this file.
    pub recordings: Vec<PathBuf>,
    /// Name of the node, if the recordings do not say.
    pub node: Option<String>,
    /// Names of rule files, if these alone run.
    pub rules: Option<Vec<String>>,
    /// The alerts.
    #[serde(default)]
    pub alert: Vec<ExpectedAlert>,
    /// Alerts that may fire and need not.
    #[serde(default)]
    pub allowed: Vec<AllowedAlert>,
}

/// Reads the description of an incident.
pub fn read(path: &Path) -> anyhow::Result<Incident> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot read", path.display()))?;
    let incident: Incident = toml::from_str(&text).with_context(|| path.display().to_string())?;
    let is_quiet = path.components().any(|part| part.as_os_str() == "quiet");
    if is_quiet && !(incident.alert.is_empty() && incident.allowed.is_empty()) {
        bail!("{}: expects alerts, but nothing may fire below quiet/", path.display());
    }
    if let Some(alert) = incident.alert.iter().find(|alert| alert.rule.is_none()) {
        bail!("{}: the alert at {} has no rule", path.display(), alert.fires);
    }
    if let Some(complaint) = incident.allowed.iter().find_map(AllowedAlert::complaint) {
        bail!("{}: allowed: {complaint}", path.display());
    }
    Ok(incident)
}

/// The rule files an incident runs, with the lists of series.
fn chosen(incident: &Incident, rules: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let Some(names) = &incident.rules else { return Ok(rules.to_vec()) };
    let name_of = |path: &PathBuf| rule_name(&path.display().to_string());
    if let Some(name) = names.iter().find(|name| rules.iter().all(|path| name_of(path) != **name)) {
        bail!("rules: there is no rule file {name}.rhai, expected names of files below --rules");
    }
    let is_chosen = |path: &&PathBuf| is_list(path) || names.contains(&name_of(path));
    Ok(rules.iter().filter(is_chosen).cloned().collect())
}

/// Replays an incident with all rules, or those it names. Returns a sentence for each difference.
pub fn run(path: &Path, rules: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let incident = read(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let files: Vec<PathBuf> = incident.recordings.iter().map(|file| folder.join(file)).collect();
    let nodes: Vec<String> = incident.node.iter().cloned().collect();
    let rules = chosen(&incident, rules)?;
    let (library, errors) = rule_files::load_files(&rules, &WrittenSeries::default()).into_library(&[])?;
    let mut engine = Engine::new(library);
    let mut recordings = Recordings::open(&files, &nodes)?;
    let mut differences: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let mut changes = Vec::new();
    while let Some(arrived) = recordings.next() {
        let (node, origin) = (arrived.node, arrived.origin);
        changes.extend(engine.step(Input::Event { frame: arrived.frame, node, origin }));
    }
    changes.extend(engine.finish());
    for problem in engine.take_problems() {
        differences.push(match problem {
            Problem::Rule { error, .. } => error.to_string(),
            Problem::TooManyNodes { node, .. } => format!("node {node:?} is one too many"),
            Problem::Undecodable { origin, reason, .. } => {
                format!("{}: {reason}", recordings.place_of(origin))
            }
        });
    }
    differences.extend(recordings.damage.iter().cloned());
    let start = Timestamp::from_unix_ms(incident.start_ms);
    differences.extend(compare(&incident.alert, &incident.allowed, "", start, &episodes(&changes)));
    Ok(differences)
}
