//! Finds rule files and loads them; a file that does not load keeps no other from loading.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rhai::Position;
use tocsin_engine::engine::Library;
use tocsin_engine::rules::literal::LiteralValue;
use tocsin_engine::rules::script::Sandbox;
use tocsin_engine::rules::{Override, Rule, RuleError, apply_overrides, rule_name};
use tocsin_proto::schema::Schema;

/// Rules from files, and what was wrong with those that did not load.
pub struct LoadedRules {
    pub rules: Vec<Rule>,
    pub errors: Vec<RuleError>,
    /// Names of all rule files.
    pub known: Vec<String>,
    pub sandbox: Sandbox,
}

/// Loads all rules below these paths.
pub fn load(paths: &[PathBuf]) -> anyhow::Result<LoadedRules> {
    let mut files = Vec::new();
    for path in paths {
        find(path, &is_rule, &mut files).with_context(|| {
            format!("{}: cannot read rules, expected a folder or a .rhai file", path.display())
        })?;
    }
    files.sort();
    files.dedup();
    Ok(load_files(&files))
}

/// Loads these rule files.
pub fn load_files(files: &[PathBuf]) -> LoadedRules {
    let mut texts = Vec::new();
    let mut unread = Vec::new();
    for file in files {
        let path = file.display().to_string();
        match fs::read_to_string(file) {
            Ok(text) => texts.push((path, text)),
            Err(error) => {
                let message = format!("cannot read the rule: {error}");
                unread.push(RuleError { path, place: None, message });
            }
        }
    }
    let mut loaded = load_texts(texts.iter().map(|(path, text)| (path.clone(), text.as_str())));
    loaded.known.extend(unread.iter().map(|error| rule_name(&error.path)));
    loaded.errors.extend(unread);
    loaded
}

/// Loads rules from the paths and texts of their files.
pub fn load_texts<'t>(files: impl Iterator<Item = (String, &'t str)>) -> LoadedRules {
    let mut loaded =
        LoadedRules { rules: Vec::new(), errors: Vec::new(), known: Vec::new(), sandbox: Sandbox::new() };
    for (path, text) in files {
        let name = rule_name(&path);
        if loaded.known.contains(&name) {
            let message = format!("there is another rule named {name:?}, expected a file name of its own");
            loaded.errors.push(RuleError { path, place: None, message });
            continue;
        }
        loaded.known.push(name);
        match Rule::load(Schema::embedded(), &loaded.sandbox, &path, text) {
            Ok(rule) => loaded.rules.push(rule),
            Err(errors) => loaded.errors.extend(errors),
        }
    }
    loaded
}

impl LoadedRules {
    /// Merges the rules into a library. Rules that cannot be merged are left out and reported.
    pub fn into_library(mut self, overrides: &[Override]) -> anyhow::Result<(Library, Vec<RuleError>)> {
        let in_broken = |change: &&Override| {
            let is_loaded = self.rules.iter().any(|rule| rule.name == change.rule);
            is_loaded || !self.known.contains(&change.rule)
        };
        let overrides: Vec<Override> = overrides.iter().filter(in_broken).cloned().collect();
        apply_overrides(&mut self.rules, &overrides)
            .map_err(|message| anyhow::anyhow!("--set: {message}"))?;
        loop {
            let LoadedRules { rules, mut errors, known, sandbox } = self;
            let plan_errors = match tocsin_engine::plan::Plan::new(Schema::embedded(), &rules, &known) {
                Ok(_) => Vec::new(),
                Err(errors) => errors,
            };
            if plan_errors.is_empty() {
                let library = Library::new(sandbox, rules, &known);
                let library = library.map_err(|errors| anyhow::anyhow!("{}", errors[0]))?;
                return Ok((library, errors));
            }
            let kept = rules
                .into_iter()
                .filter(|rule| plan_errors.iter().all(|error| error.path != rule.path))
                .collect();
            errors.extend(plan_errors);
            self = LoadedRules { rules: kept, errors, known, sandbox };
        }
    }
}

/// Reads `RULE.PARAM=VALUE` and `RULE.PARAM@NODE=VALUE`.
pub fn parse_override(text: &str) -> anyhow::Result<Override> {
    let Some((target, value)) = text.split_once('=') else {
        bail!("--set {text}: expected RULE.PARAM=VALUE or RULE.PARAM@NODE=VALUE")
    };
    let value = match (value.parse::<i64>(), value.parse::<f64>(), value) {
        (Ok(value), _, _) => LiteralValue::Int(value),
        (_, Ok(value), _) if value.is_finite() => LiteralValue::Float(value),
        (_, _, "true") => LiteralValue::Bool(true),
        (_, _, "false") => LiteralValue::Bool(false),
        _ => LiteralValue::Text(value.to_string()),
    };
    parse_override_target(target, value).with_context(|| format!("--set {text}"))
}

/// Reads `RULE.PARAM` and `RULE.PARAM@NODE`.
pub fn parse_override_target(target: &str, value: LiteralValue) -> anyhow::Result<Override> {
    let Some((rule, param)) = target.split_once('.') else {
        bail!("{target}: expected RULE.PARAM or RULE.PARAM@NODE")
    };
    let (param, node) = match param.split_once('@') {
        Some((param, node)) => (param, Some(node.to_string())),
        None => (param, None),
    };
    if node.as_deref() == Some("") {
        bail!("{target}: the node's name is empty, expected RULE.PARAM or RULE.PARAM@NODE");
    }
    Ok(Override { rule: rule.to_string(), param: param.to_string(), node, value })
}

/// What is wrong with a rule's documentation.
pub fn header_errors(rule: &Rule) -> Vec<RuleError> {
    let missing = rule.header.missing();
    let complaint = |part: &&str| {
        let message = format!("the header has no `{part}`; it becomes the alert's runbook");
        let complaint = tocsin_engine::rules::literal::Complaint::new(Position::NONE, message);
        RuleError::new(&rule.path, &complaint)
    };
    missing.iter().map(complaint).collect()
}

/// True for rule files.
pub fn is_rule(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "rhai")
}

/// Collects the files below a path that fit, in order of their names. What is below and cannot be looked at, as a link
/// to nowhere, counts as a file if its name fits: whoever reads it finds out. It is left out otherwise.
pub fn find(path: &Path, fits: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if fs::metadata(path)?.is_file() {
        if fits(path) {
            found.push(path.to_path_buf());
        }
        return Ok(());
    }
    let mut entries: Vec<PathBuf> =
        fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    entries.sort();
    for entry in entries {
        match fs::metadata(&entry) {
            Ok(_) => find(&entry, fits, found)?,
            Err(_) if fits(&entry) => found.push(entry),
            Err(_) => {}
        }
    }
    Ok(())
}
