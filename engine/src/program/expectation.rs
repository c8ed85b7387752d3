//! What a test expects of the alerts, and how that is compared with what they did.

use std::collections::BTreeMap;

use serde::Deserialize;
use tocsin_engine::alerts::State;
use tocsin_engine::time::{Timestamp, parse_duration};
use tocsin_engine::timeline::Change;

/// An alert that must fire, as a test file writes it. Times are counted from the start of the test.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedAlert {
    /// The rule; in a rule's own test it is that rule.
    pub rule: Option<String>,
    /// The node, if there is more than one.
    pub node: Option<String>,
    /// Values of the key by name; may be left out for rules without keys.
    #[serde(default)]
    pub key: BTreeMap<String, toml::Value>,
    /// When it fires.
    pub fires: String,
    /// When it is resolved; left out, it must still be firing at the end.
    pub resolves: Option<String>,
    /// What its summary says when it fires, or a part of it.
    pub says: Option<String>,
    /// How bad it is: info, warning or critical.
    pub severity: Option<String>,
    /// How far both may be off, to either side.
    #[serde(default = "default_within")]
    pub within: String,
}

/// Alerts that may fire and need not, as a test file writes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowedAlert {
    /// The rule; `*` at its end stands for anything.
    pub rule: String,
    /// The node, if there is more than one.
    pub node: Option<String>,
    /// It may not fire before; the start of the recording, if left out.
    pub from: Option<String>,
    /// It may not fire after; the end of the recording, if left out.
    pub until: Option<String>,
}

impl AllowedAlert {
    /// What is wrong with it.
    pub fn complaint(&self) -> Option<String> {
        let offsets = [&self.from, &self.until].into_iter().flatten();
        offsets.map(|text| offset_ms(text)).find_map(Result::err)
    }

    fn allows(&self, episode: &Episode, start: Timestamp) -> bool {
        let is_rule = match self.rule.strip_suffix('*') {
            Some(beginning) => episode.rule.starts_with(beginning),
            None => episode.rule == self.rule,
        };
        let fired_ms = episode.fired_at.ms_since(start);
        let offset = |text: &Option<String>| text.as_deref().map(offset_ms).transpose().ok().flatten();
        is_rule
            && self.node.as_ref().is_none_or(|node| *node == episode.node)
            && offset(&self.from).is_none_or(|from_ms| fired_ms >= from_ms)
            && offset(&self.until).is_none_or(|until_ms| fired_ms <= until_ms)
    }
}

fn default_within() -> String {
    "5s".to_string()
}

/// One time an alert fired, and when it was resolved.
#[derive(Debug, Clone)]
pub struct Episode {
    rule: String,
    node: String,
    key: BTreeMap<String, String>,
    fired_at: Timestamp,
    resolved_at: Option<Timestamp>,
    summary: String,
    severity: String,
}

/// The times alerts fired, in order.
pub fn episodes(changes: &[Change]) -> Vec<Episode> {
    let mut episodes: Vec<Episode> = Vec::new();
    for change in changes {
        let key: BTreeMap<String, String> =
            change.key.parts().map(|(name, value)| (name.to_string(), value)).collect();
        match change.state {
            State::Pending => {}
            State::Firing => episodes.push(Episode {
                rule: change.rule.to_string(),
                node: change.node.to_string(),
                key,
                fired_at: change.at,
                resolved_at: None,
                summary: change.summary.clone(),
                severity: change.severity.to_string(),
            }),
            State::Resolved => {
                let open = episodes.iter_mut().rev().find(|episode| {
                    (episode.rule.as_str(), episode.node.as_str(), &episode.key)
                        == (&*change.rule, &*change.node, &key)
                });
                if let Some(open) = open {
                    open.resolved_at = Some(change.at);
                }
            }
        }
    }
    episodes
}

/// Compares what happened with what was expected. Returns a sentence for each difference: an alert that is missing,
/// early, late or neither expected nor allowed.
pub fn compare(
    expected: &[ExpectedAlert],
    allowed: &[AllowedAlert],
    own_rule: &str,
    start: Timestamp,
    found: &[Episode],
) -> Vec<String> {
    let mut left: Vec<&Episode> = found.iter().collect();
    let mut differences = Vec::new();
    for alert in expected {
        let wanted = match Wanted::new(alert, own_rule, start) {
            Ok(wanted) => wanted,
            Err(message) => {
                differences.push(message);
                continue;
            }
        };
        let same = |episode: &&Episode| wanted.is_about(episode);
        let nearest = left
            .iter()
            .enumerate()
            .filter(|(_, episode)| same(episode))
            .min_by_key(|(_, episode)| episode.fired_at.ms_since(wanted.fires_at).abs())
            .map(|(index, _)| index);
        match nearest {
            None => differences.push(format!("{} did not fire, expected at {}", wanted.name, alert.fires)),
            Some(index) => {
                let episode = left.remove(index);
                differences.extend(wanted.differences(episode, start));
            }
        }
    }
    left.retain(|episode| !allowed.iter().any(|allowed| allowed.allows(episode, start)));
    for episode in left {
        let after_s = episode.fired_at.ms_since(start) as f64 / 1000.0;
        differences.push(format!(
            "{} fired at {after_s} s and was not expected: {}",
            name(&episode.rule, &episode.node, &episode.key),
            episode.summary
        ));
    }
    differences
}

/// An expected alert with its times read.
struct Wanted<'e> {
    rule: &'e str,
    node: Option<&'e str>,
    key: BTreeMap<String, String>,
    fires_at: Timestamp,
    resolves_at: Option<Timestamp>,
    within_ms: i64,
    says: Option<&'e str>,
    severity: Option<&'e str>,
    name: String,
}

impl<'e> Wanted<'e> {
    fn new(alert: &'e ExpectedAlert, own_rule: &'e str, start: Timestamp) -> Result<Self, String> {
        let rule = alert.rule.as_deref().unwrap_or(own_rule);
        let key: BTreeMap<String, String> =
            alert.key.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        Ok(Wanted {
            name: name(rule, alert.node.as_deref().unwrap_or(""), &key),
            rule,
            node: alert.node.as_deref(),
            fires_at: start.plus_ms(offset_ms(&alert.fires)?),
            resolves_at: alert.resolves.as_deref().map(offset_ms).transpose()?.map(|ms| start.plus_ms(ms)),
            within_ms: offset_ms(&alert.within)?,
            says: alert.says.as_deref(),
            severity: alert.severity.as_deref(),
            key,
        })
    }

    fn is_about(&self, episode: &Episode) -> bool {
        self.rule == episode.rule
            && self.node.is_none_or(|node| node == episode.node)
            && self.key == episode.key
    }

    fn differences(&self, episode: &Episode, start: Timestamp) -> Vec<String> {
        let seconds = |at: Timestamp| at.ms_since(start) as f64 / 1000.0;
        let mut differences = Vec::new();
        let compare = |what: &str, found: Timestamp, expected: Timestamp| {
            let side = if found < expected { "early" } else { "late" };
            (found.ms_since(expected).abs() > self.within_ms).then(|| {
                format!(
                    "{} {what} at {} s, {side}: expected at {} s within {} s",
                    self.name,
                    seconds(found),
                    seconds(expected),
                    self.within_ms as f64 / 1000.0
                )
            })
        };
        differences.extend(compare("fired", episode.fired_at, self.fires_at));
        if let Some(says) = self.says.filter(|says| !episode.summary.contains(says)) {
            differences.push(format!("{} says {:?}, expected {says:?}", self.name, episode.summary));
        }
        if let Some(severity) = self.severity.filter(|severity| *severity != episode.severity) {
            differences.push(format!("{} is {}, expected {severity}", self.name, episode.severity));
        }
        match (episode.resolved_at, self.resolves_at) {
            (Some(found), Some(expected)) => differences.extend(compare("was resolved", found, expected)),
            (None, None) => {}
            (Some(found), None) => differences.push(format!(
                "{} was resolved at {} s, expected to be still firing at the end",
                self.name,
                seconds(found)
            )),
            (None, Some(expected)) => differences.push(format!(
                "{} was still firing at the end, expected resolved at {} s",
                self.name,
                seconds(expected)
            )),
        }
        differences
    }
}

/// A time counted from the start of a test, in milliseconds: a duration, or 0.
pub fn offset_ms(text: &str) -> Result<i64, String> {
    if matches!(text, "0" | "0s") {
        return Ok(0);
    }
    parse_duration(text).map(|duration| duration.as_millis() as i64)
}

fn text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn name(rule: &str, node: &str, key: &BTreeMap<String, String>) -> String {
    let mut name = rule.to_string();
    if !node.is_empty() {
        name.push_str(&format!(" on {node}"));
    }
    for (part, value) in key {
        name.push_str(&format!(" {part}={value}"));
    }
    name
}
