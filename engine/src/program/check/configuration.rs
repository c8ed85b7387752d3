//! Checks a configuration: that it can be read and means something, that files of secrets can be read, that rules load and
//! have the parameters it sets. Reaches nothing.

use std::path::Path;

use tocsin_engine::rules::RuleError;
use tocsin_notifiers::secret::SecretSource;
use toml::Value;

use super::super::Ended;
use super::super::live::config::Config;
use super::super::progress::print_line;
use super::super::rule_files;
use super::super::table::printable;

/// Characters of a complaint.
const COMPLAINT_MAX: usize = 2_000;

/// Prints what is wrong with a configuration.
pub fn check(path: &Path) -> Ended {
    let place = path.display();
    let complaints = match std::fs::read_to_string(path) {
        Ok(text) => complaints(&place.to_string(), &text),
        Err(error) => vec![format!("cannot be read: {error}")],
    };
    for complaint in &complaints {
        for line in complaint.trim_end().lines() {
            print_line(&printable(&format!("{place}: {line}"), COMPLAINT_MAX));
        }
    }
    print_line(&format!("{place}: {} complaints", complaints.len()));
    if complaints.is_empty() { Ended::Well } else { Ended::Failed }
}

/// Everything that is wrong with the text of a configuration.
fn complaints(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    match Config::parse_in(path, text) {
        Ok(config) => complaints.extend(rule_complaints(path, &config)),
        Err(error) => complaints.push(format!("{error:#}")),
    }
    // A text that is no TOML at all was complained of above.
    if let Ok(table) = text.parse::<toml::Table>() {
        secrets("", &Value::Table(table), &mut complaints);
    }
    complaints
}

fn rule_complaints(path: &str, config: &Config) -> Vec<String> {
    let loaded = match rule_files::load(&config.rules.paths, &config.series) {
        Ok(loaded) => loaded,
        Err(error) => return vec![format!("rules.paths: {error:#}")],
    };
    match loaded.into_library(&config.rules.set) {
        Ok((_, errors)) => errors.iter().map(|error| said(path, error)).collect(),
        Err(error) => {
            let text = format!("{error:#}");
            vec![format!("rules.set: {}", text.strip_prefix("--set: ").unwrap_or(&text))]
        }
    }
}

/// An error of a rule or a list, or of the series of the configuration at `path`.
fn said(path: &str, error: &RuleError) -> String {
    match error.place {
        Some((line, column)) if error.path == path => format!("{line}:{column}: {}", error.message),
        _ => format!("rules.paths: {error}"),
    }
}

/// Complains of each secret that cannot be read: tables of one key `file` or `env`, and keys that end in `password_file`
/// or `token_file`. `place` is the key that leads here.
fn secrets(place: &str, value: &Value, complaints: &mut Vec<String>) {
    if let Some(source) = source(place, value) {
        if let Err(error) = source.read() {
            complaints.push(format!("{place}: the secret cannot be read: {error}"));
        }
        return;
    }
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                secrets(&place, value, complaints);
            }
        }
        Value::Array(values) => {
            for (number, value) in values.iter().enumerate() {
                let name = value.get("name").and_then(Value::as_str);
                let shown = name.map_or_else(|| number.to_string(), |name| format!("{name:?}"));
                secrets(&format!("{place}[{shown}]"), value, complaints);
            }
        }
        _ => {}
    }
}

/// Where the secret is that a value names, if it names one.
fn source(place: &str, value: &Value) -> Option<SecretSource> {
    match value {
        Value::String(file) if place.ends_with("password_file") || place.ends_with("token_file") => {
            Some(SecretSource::File(file.into()))
        }
        Value::Table(table) if table.len() == 1 => {
            let text = |key: &str| table.get(key).and_then(Value::as_str);
            let file = text("file").map(|file| SecretSource::File(file.into()));
            file.or_else(|| text("env").map(|name| SecretSource::Env(name.to_string())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn expect(text: &str, expected: &[&str]) {
        let found = complaints("x.toml", &format!("data = \"x\"\n[rules]\npaths = []\n{text}"));
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found:?} does not say {expected:?}");
        }
    }

    #[test]
    fn secrets_are_looked_for_wherever_they_stand() {
        expect("[http]\ntoken_file = \"/nowhere/token\"\n", &["http.token_file: the secret cannot be read"]);
        expect(
            "[[nats]]\nname = \"n\"\nurl = \"nats://x\"\npassword_file = \"/nowhere/p\"\n",
            &["nats[\"n\"].password_file: the secret cannot be read: /nowhere/p"],
        );
        let mut found = Vec::new();
        let table = "[[receiver]]\nname = \"ops\"\n[receiver.matrix]\ntoken = { env = \"TOCSIN_NOT_SET\" }\n";
        secrets("", &Value::Table(table.parse().expect("TOML")), &mut found);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("receiver[\"ops\"].matrix.token: ") && found[0].contains("TOCSIN_NOT_SET")
        );
    }

    #[test]
    fn a_configuration_with_nothing_wrong_has_no_complaints() {
        expect("", &[]);
    }

    #[test]
    fn what_is_wrong_names_its_place() {
        expect("[http]\nlissten = 1\n", &["lissten"]);
        expect("[rules.set]\n\"no_rule.param\" = 1\n", &["rules.set: "]);
    }
}
