//! `tocsin check`: rules, their documentation and tests, and incidents, without running them; and configurations.

mod configuration;

use std::path::{Path, PathBuf};

use anyhow::Context;
use tocsin_engine::rules::series_file::WrittenSeries;

use super::Ended;
use super::arguments::CheckArguments;
use super::progress::print_line;
use super::rule_files::{self, LoadedRules, find, find_rules, is_rule};
use super::{incident, rule_test};

/// Runs the command.
pub fn run(arguments: &CheckArguments) -> anyhow::Result<Ended> {
    let configuration = arguments.config.as_deref().map(configuration::check);
    let paths = match arguments.paths.is_empty() {
        false => arguments.paths.clone(),
        true if configuration.is_some() => Vec::new(),
        true => ["rules", "testdata"].map(PathBuf::from).into(),
    };
    let configured = configuration.unwrap_or(Ended::Well);
    if paths.is_empty() {
        return Ok(configured);
    }
    Ok(content(&paths)?.max(configured))
}

/// Checks rules and incidents.
fn content(paths: &[PathBuf]) -> anyhow::Result<Ended> {
    let (mut rules, mut incidents) = (Vec::new(), Vec::new());
    for path in paths {
        let context =
            || format!("{}: cannot read, expected rules, incidents or folders of them", path.display());
        find_rules(path, &mut rules).with_context(context)?;
        find(path, &incident::is_expectation, &mut incidents).with_context(context)?;
    }
    rules.sort();
    rules.dedup();
    let loaded = rule_files::load_files(&rules, &WrittenSeries::default());
    for (name, count) in &loaded.generic {
        println!("{name}: {count} series");
    }
    let mut complaints = rule_complaints(loaded)?;
    for path in &incidents {
        complaints.extend(incident_complaints(path));
    }
    for complaint in &complaints {
        print_line(&complaint.to_string());
    }
    println!(
        "{} rules and {} incidents checked, {} complaints",
        rules.iter().filter(|path| is_rule(path)).count(),
        incidents.len(),
        complaints.len()
    );
    Ok(if complaints.is_empty() && !(rules.is_empty() && incidents.is_empty()) {
        Ended::Well
    } else {
        Ended::Failed
    })
}

fn rule_complaints(loaded: LoadedRules) -> anyhow::Result<Vec<String>> {
    let mut complaints: Vec<String> = Vec::new();
    for rule in &loaded.rules {
        complaints.extend(rule_files::header_errors(rule).iter().map(ToString::to_string));
        complaints.extend(test_complaints(Path::new(&rule.path)));
    }
    let (_, errors) = loaded.into_library(&[])?;
    complaints.extend(errors.iter().map(ToString::to_string));
    complaints.sort();
    // Rules of one file share its header and its test.
    complaints.dedup();
    Ok(complaints)
}

fn test_complaints(rule: &Path) -> Vec<String> {
    let path = rule_test::test_path(rule);
    if !path.exists() {
        return vec![format!("{}: the rule has no test, expected {}", rule.display(), path.display())];
    }
    match rule_test::read(&path) {
        Ok(test) => {
            let lack = |lack: &str| format!("{}: the test lacks {lack}", path.display());
            test.missing().into_iter().map(lack).collect()
        }
        Err(error) => vec![format!("{error:#}")],
    }
}

fn incident_complaints(path: &Path) -> Vec<String> {
    let incident = match incident::read(path) {
        Ok(incident) => incident,
        Err(error) => return vec![format!("{error:#}")],
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut complaints: Vec<String> = incident
        .recordings
        .iter()
        .filter(|recording| !folder.join(recording).exists())
        .map(|recording| format!("{}: there is no recording {}", path.display(), recording.display()))
        .collect();
    if incident.story.trim().is_empty() {
        complaints.push(format!("{}: the story is empty", path.display()));
    }
    complaints
}
