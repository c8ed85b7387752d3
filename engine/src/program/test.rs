//! `tocsin test`: every rule's tests and every incident.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;

use super::Ended;
use super::arguments::TestArguments;
use super::output::Style;
use super::rule_files::{find, find_rules, is_rule};
use super::{incident, rule_test};

/// Runs the command.
pub fn run(arguments: &TestArguments) -> anyhow::Result<Ended> {
    let started = Instant::now();
    let mut rules = Vec::new();
    // A rule can be tested where there are no others.
    let has_default = |path: &&PathBuf| path.exists() || *path != Path::new("rules");
    for path in arguments.rules.iter().filter(has_default) {
        find_rules(path, &mut rules).with_context(|| format!("{}: cannot read rules", path.display()))?;
    }
    let mut files = Vec::new();
    for path in &arguments.paths {
        find(path, &is_test, &mut files).with_context(|| format!("{}: cannot read tests", path.display()))?;
    }
    // A rule stands for its test, and is loaded even if it is not below --rules, with the series beside it.
    let mut tests: Vec<PathBuf> = files
        .iter()
        .map(|file| if is_rule(file) { rule_test::test_path(file) } else { file.clone() })
        .collect();
    for file in files.iter().filter(|file| is_rule(file)) {
        find_rules(file, &mut rules).with_context(|| format!("{}: cannot read", file.display()))?;
    }
    for list in [&mut tests, &mut rules] {
        list.sort();
        list.dedup();
    }
    let mut report = Report { style: Style::of_stdout(), passed: 0, failed: 0 };
    for test in &tests {
        match rule_test::rule_path(test) {
            Some(rule) => run_rule_test(&rule, test, &rules, &mut report),
            None => report.case(&test.display().to_string(), incident::run(test, &rules)),
        }
    }
    println!(
        "{} passed, {} failed in {:.1} s",
        report.passed,
        report.failed,
        started.elapsed().as_secs_f64()
    );
    Ok(if report.failed == 0 && report.passed > 0 { Ended::Well } else { Ended::Failed })
}

fn is_test(path: &Path) -> bool {
    is_rule(path) || rule_test::rule_path(path).is_some() || incident::is_expectation(path)
}

fn run_rule_test(rule: &Path, test: &Path, rules: &[PathBuf], report: &mut Report) {
    let path = test.display();
    let test = match rule_test::read(test) {
        Ok(test) => test,
        Err(error) => return report.case(&path.to_string(), Err(error)),
    };
    for lack in test.missing() {
        let lack = format!("there is no {}", lack.trim_start_matches("a "));
        report.case(&path.to_string(), Ok(vec![lack]));
    }
    for case in &test.cases {
        let name = format!("{path}: {}", case.name);
        report.case(&name, rule_test::run_case(rule, rules, &test, case));
    }
}

struct Report {
    style: Style,
    passed: usize,
    failed: usize,
}

impl Report {
    fn case(&mut self, name: &str, result: anyhow::Result<Vec<String>>) {
        let differences = match result {
            Ok(differences) => differences,
            Err(error) => vec![format!("{error:#}")],
        };
        if differences.is_empty() {
            self.passed += 1;
            println!("{} {name}", self.style.dim("ok  "));
            return;
        }
        self.failed += 1;
        println!("{} {name}", self.style.bold("FAIL"));
        for difference in differences {
            println!("       {difference}");
        }
    }
}
