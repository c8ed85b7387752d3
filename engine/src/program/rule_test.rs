//! The tests beside a rule: `<rule>.test.toml` with cases of made-up events and the alerts expected of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::slice;

use anyhow::{Context, bail};
use serde::{Deserialize, de};
use tocsin_engine::engine::{Engine, Input, Problem};
use tocsin_engine::rules::literal::LiteralValue;
use tocsin_engine::rules::rule_name;
use tocsin_engine::rules::series_file::{self, WrittenSeries};
use tocsin_engine::rules::{Override, RuleError};
use tocsin_engine::time::Timestamp;

use super::expectation::{ExpectedAlert, compare, episodes, offset_ms};
use super::rule_files::{self, LoadedRules, is_list};
use super::synthesis::{EventSeries, events};

/// 2026-01-01T00:00:00Z: when all tests begin.
const START: Timestamp = Timestamp::from_unix_s(1_767_225_600);

/// A test file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleTest {
    /// Its cases.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
    /// Series for a generic rule, in place of the lists; read by [`series_file`].
    #[serde(default, rename = "series")]
    _series: de::IgnoredAny,
    /// The same, with their places.
    #[serde(skip)]
    series: Option<WrittenSeries>,
}

/// Events and what is expected of the rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What the case shows, in a sentence.
    pub name: String,
    /// The events.
    #[serde(default)]
    pub event: Vec<EventSeries>,
    /// The alerts; none for a quiet case.
    #[serde(default)]
    pub alert: Vec<ExpectedAlert>,
    /// Time goes on up to here after the last event.
    pub until: Option<String>,
    /// Parameters of the rule that differ from its file's.
    #[serde(default)]
    pub params: BTreeMap<String, toml::Value>,
}

/// Where the test of a rule is.
pub fn test_path(rule: &Path) -> PathBuf {
    rule.with_extension("test.toml")
}

/// The rule a test belongs to; none if the path is no test's.
pub fn rule_path(test: &Path) -> Option<PathBuf> {
    let name = test.file_name()?.to_str()?.strip_suffix(".test.toml")?;
    Some(test.with_file_name(format!("{name}.rhai")))
}

/// Reads a test file.
pub fn read(path: &Path) -> anyhow::Result<RuleTest> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("{}: cannot read the test", path.display()))?;
    let mut test: RuleTest = toml::from_str(&text).with_context(|| path.display().to_string())?;
    let series = series_file::read_among_others(&path.display().to_string(), &text);
    test.series = Some(series).filter(|read| !read.series.is_empty() || !read.errors.is_empty());
    Ok(test)
}

impl RuleTest {
    /// What the test lacks to be a test of a rule.
    pub fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if self.cases.iter().all(|case| case.alert.is_empty()) {
            missing.push("a case in which the rule fires");
        }
        if self.cases.iter().all(|case| !case.alert.is_empty()) {
            missing.push("a case in which the rule stays quiet");
        }
        missing
    }
}

/// Runs a case of a rule's test. Returns a sentence for each difference.
pub fn run_case(rule: &Path, rules: &[PathBuf], test: &RuleTest, case: &Case) -> anyhow::Result<Vec<String>> {
    let name = rule_name(&rule.display().to_string());
    let loaded = load(rule, rules, test);
    if let Some(error) = error_of(&loaded, rule, &name) {
        bail!("{error}");
    }
    let overrides: Vec<Override> =
        case.params.iter().map(|(param, value)| over(&name, param, value)).collect();
    let names: Vec<String> =
        loaded.rules.iter().filter(|rule| rule.is_named(&name)).map(|rule| rule.name.clone()).collect();
    let (library, errors) = loaded.into_library(&overrides)?;
    if let Some(error) = errors.first() {
        bail!("{error}");
    }
    let mut engine = Engine::new(library);
    let mut changes = Vec::new();
    for frame in events(&case.event, START).map_err(anyhow::Error::msg)? {
        changes.extend(engine.step(Input::Event { frame, node: super::input::DEFAULT_NODE, origin: 0 }));
    }
    if let Some(until) = &case.until {
        let until_ms = offset_ms(until).map_err(anyhow::Error::msg)?;
        // Time comes in steps as it does live, not in one leap.
        for second in 0..=until_ms / 1000 {
            changes.extend(engine.step(Input::Tick(START.plus_ms(second * 1000))));
        }
    }
    changes.extend(engine.finish());
    let mut differences: Vec<String> = engine
        .take_problems()
        .into_iter()
        .map(|problem| match problem {
            Problem::Rule { error, .. } => error.to_string(),
            Problem::Undecodable { reason, .. } => format!("an event does not decode: {reason}"),
            Problem::TooManyNodes { node, .. } => format!("node {node:?} is one too many"),
        })
        .collect();
    // Rules of one file are tested together; if there is only one, the test need not name it.
    changes.retain(|change| names.iter().any(|name| *change.rule == **name));
    let own = if let [one] = &names[..] { one } else { &name };
    differences.extend(compare(&case.alert, &[], own, START, &episodes(&changes)));
    Ok(differences)
}

fn over(rule: &str, param: &str, value: &toml::Value) -> Override {
    let value = match value {
        toml::Value::Integer(value) => LiteralValue::Int(*value),
        toml::Value::Float(value) => LiteralValue::Float(*value),
        toml::Value::Boolean(value) => LiteralValue::Bool(*value),
        other => LiteralValue::Text(other.as_str().unwrap_or_default().to_string()),
    };
    Override { rule: rule.to_string(), param: param.to_string(), node: None, value }
}

/// The rule's file and those of the rules that inhibit it, and so on; with the test's series, or those of the lists.
fn load(rule: &Path, rules: &[PathBuf], test: &RuleTest) -> LoadedRules {
    let mut lists: Vec<PathBuf> = Vec::new();
    if test.series.is_none() {
        let beside = rule.with_file_name(series_file::FILE);
        lists.extend(rules.iter().filter(|path| is_list(path)).cloned());
        lists.extend(Some(beside).filter(|beside| beside.is_file() && !lists.contains(beside)));
    }
    let none = WrittenSeries::default();
    let load = |files: &[PathBuf]| {
        rule_files::load_files(&[&lists[..], files].concat(), test.series.as_ref().unwrap_or(&none))
    };
    let mut files = vec![rule.to_path_buf()];
    let mut next = 0;
    while next < files.len() {
        let loaded = load(slice::from_ref(&files[next]));
        for (name, _) in loaded.rules.iter().flat_map(|rule| &rule.definition.unless) {
            let is_it = |path: &&PathBuf| rule_name(&path.display().to_string()) == *name;
            if let Some(path) = rules.iter().find(is_it).filter(|path| !files.contains(path)) {
                files.push(path.clone());
            }
        }
        next += 1;
    }
    load(&files)
}

/// The error that keeps a rule from its test: one of its file, or of the series it is for.
fn error_of<'l>(loaded: &'l LoadedRules, rule: &Path, name: &str) -> Option<&'l RuleError> {
    let is_generic = loaded.generic.contains_key(name);
    let is_of_series = |path: &Path| is_list(path) || rule_path(path).is_some();
    loaded.errors.iter().find(|error| {
        let path = Path::new(&error.path);
        path == rule || (is_generic && is_of_series(path))
    })
}
