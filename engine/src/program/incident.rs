//! Incidents: a folder with a recording and `expected.toml`, its story and the alerts expected of it.
//!
//! All rules run over the recording, and every alert that is not expected is a failure. A folder below `quiet/` must
//! expect none.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;
use tocsin_engine::engine::{Engine, Input, Problem};
use tocsin_engine::time::Timestamp;

use super::expectation::{ExpectedAlert, compare, episodes};
use super::input::Recordings;
use super::rule_files;

/// Name of the file that makes a folder an incident.
pub const EXPECTED: &str = "expected.toml";

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
    /// The alerts.
    #[serde(default)]
    pub alert: Vec<ExpectedAlert>,
}

/// Reads the description of an incident.
pub fn read(path: &Path) -> anyhow::Result<Incident> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}: cannot read", path.display()))?;
    let incident: Incident = toml::from_str(&text).with_context(|| path.display().to_string())?;
    let is_quiet = path.components().any(|part| part.as_os_str() == "quiet");
    if is_quiet && !incident.alert.is_empty() {
        bail!("{}: expects alerts, but nothing may fire below quiet/", path.display());
    }
    if let Some(alert) = incident.alert.iter().find(|alert| alert.rule.is_none()) {
        bail!("{}: the alert at {} has no rule", path.display(), alert.fires);
    }
    Ok(incident)
}

/// Replays an incident with all rules. Returns a sentence for each difference.
pub fn run(path: &Path, rules: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let incident = read(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let files: Vec<PathBuf> = incident.recordings.iter().map(|file| folder.join(file)).collect();
    let nodes: Vec<String> = incident.node.iter().cloned().collect();
    let (library, errors) = rule_files::load_files(rules).into_library(&[])?;
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
    differences.extend(compare(&incident.alert, "", start, &episodes(&changes)));
    Ok(differences)
}
