//! What is wrong with a configuration, in words: line and key, what would be right, and never a value that may be a secret.
//!
//! `toml`'s own text of an error shows the whole line, and serde's messages repeat values.

use std::ops::Range;

use anyhow::anyhow;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

/// Parts of the names of keys whose values may be secrets, or hold some.
const SECRET_WORDS: [&str; 9] =
    ["auth", "header", "key", "login", "pass", "secret", "server", "token", "url"];
/// How messages begin that repeat no value.
const WITHOUT_VALUE: [&str; 3] = ["unknown field `", "missing field `", "`url` holds a user or a password;"];

/// Reads a text as TOML.
pub fn read<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    toml::from_str(text).map_err(|error| anyhow!(said(text, &error)))
}

fn said(text: &str, error: &Error) -> String {
    let Some(span) = error.span() else { return message(error.message(), "") };
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    match DeTable::parse(text) {
        // What is no TOML has no keys for sure; messages on it repeat nothing.
        Err(_) => format!("line {line}: {}", error.message()),
        Ok(table) => {
            let mut place = Place { start: span.start, ..Place::default() };
            place.look(table.get_ref(), "");
            let key = if place.path.is_empty() { String::new() } else { format!("{}: ", place.path) };
            format!("line {line}: {key}{}", message(error.message(), &place.path))
        }
    }
}

/// The message without what it repeats of the value; `path` are the keys that lead to it.
fn message(message: &str, path: &str) -> String {
    if WITHOUT_VALUE.iter().any(|beginning| message.starts_with(beginning)) {
        return message.to_string();
    }
    // What is expected comes last, and is ours or serde's.
    let expected = message.rsplit_once("expected ").map(|(_, expected)| format!(", expected {expected}"));
    let expected = expected.unwrap_or_default();
    let path = path.to_ascii_lowercase();
    if SECRET_WORDS.iter().any(|word| path.contains(word)) {
        return format!("the value is wrong, and not shown since it may be a secret{expected}");
    }
    for kind in ["type", "value"] {
        if let Some(found) = message.strip_prefix(&format!("invalid {kind}: ")) {
            let found = found.split([' ', ',']).next().unwrap_or_default();
            return format!("invalid {kind}: {found}{expected}");
        }
    }
    message.to_string()
}

/// The innermost key at an offset.
#[derive(Default)]
struct Place {
    start: usize,
    path: String,
    found: Option<Range<usize>>,
}

impl Place {
    fn look(&mut self, table: &DeTable, path: &str) {
        for (key, value) in table {
            let name = key.get_ref();
            let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
            self.meet(key.span(), &path);
            self.look_into(value, &path);
        }
    }

    fn look_into(&mut self, value: &Spanned<DeValue>, path: &str) {
        self.meet(value.span(), path);
        match value.get_ref() {
            DeValue::Table(table) => self.look(table, path),
            DeValue::Array(values) => values.iter().for_each(|value| self.look_into(value, path)),
            _ => {}
        }
    }

    fn meet(&mut self, span: Range<usize>, path: &str) {
        let is_inner = self.found.as_ref().is_none_or(|found| span.len() <= found.len());
        if span.contains(&self.start) && is_inner {
            (self.path, self.found) = (path.to_string(), Some(span));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    /// What is said of a line of a table; both stand after a receiver's first lines, the line is the fifth.
    #[track_caller]
    fn said(table: &str, line: &str) -> String {
        let text = format!("data = \"x\"\n[[receiver]]\nname = \"a\"\n{table}\n{line}\n");
        format!("{:#}", Config::parse(&text).expect_err(line))
    }

    #[test]
    fn a_mistyped_secret_is_not_repeated() {
        for (table, line) in [
            ("[receiver.matrix]", "password = \"hunter2\""),
            ("[receiver.matrix]", "access_token = { fil = \"hunter2\" }"),
            ("[receiver.matrix]", "access_token = { hunter2 = \"x\" }"),
            ("[receiver.matrix]", "access_token = { file = \"x\", env = \"hunter2\" }"),
            ("[receiver.matrix]", "homeserver = { a = \"hunter2\" }"),
            ("[receiver.email]", "password = [\"hunter2 expected hunter2\"]"),
            ("[receiver.webhook]", "url = [\"https://u:p@h/hunter2\"]"),
            ("[receiver.webhook]", "url_secret = \"https://u:p@h/hunter2\""),
            ("[receiver.webhook]", "routing_key = \"hunter2\""),
            ("[receiver.webhook]", "token = \"hunter2\""),
            ("[receiver.webhook]", "bearer_token = \"hunter2\""),
            ("[receiver.webhook]", "hmac_secret = \"hunter2\""),
            ("[receiver.webhook]", "headers = \"hunter2\""),
            ("[receiver.webhook]", "headers = { Authorization = [\"hunter2\"] }"),
            ("[receiver.webhook.headers]", "Authorization = { file = [\"hunter2\"] }"),
            ("[receiver.webhook]", "basic_auth = \"u:p hunter2\""),
            ("[receiver.webhook]", "basic_auth = { username = \"u\", password = \"hunter2\" }"),
            ("[publish]", "url = \"nats://u:p@h/hunter2\""),
            ("[publish]", "url = { a = \"nats://u:p@h/hunter2\" }"),
            ("[http]", "token_file = { a = \"hunter2\" }"),
            ("[[node]]", "rpc = { url = \"http://u:p@h/hunter2\" }"),
            ("[[node]]", "rpc = { password = [\"hunter2\"] }"),
        ] {
            let said = said(table, line);
            assert!(!said.contains("u:p") && !said.contains("hunter2"), "{line}: {said}");
            let key = line.split(' ').next().expect("a key");
            assert!(said.starts_with("line 5: ") && said.contains(key), "{line}: {said}");
        }
    }

    #[test]
    fn a_secret_where_a_table_belongs_is_not_repeated() {
        let said = said("", "webhook = \"https://u:p@h/hunter2\"");
        assert!(said.starts_with("line 5: receiver.webhook: invalid type: string, expected "), "{said}");
    }

    #[test]
    fn what_is_no_toml_is_not_repeated() {
        for line in [
            "token = hunter2",
            "token = \"hunter2",
            "token = \"hunter2\" \"u:p\"",
            "token = \"hunter2\\q\"",
            "token hunter2",
            "hunter2",
            "token = \"\"\"\nhunter2 = u:p",
            "token = \"a\"\ntoken = \"hunter2\"",
        ] {
            let said = said("[receiver.webhook]", line);
            assert!(said.starts_with("line "), "{said}");
            assert!(!said.contains("hunter2") && !said.contains("u:p"), "{line}: {said}");
        }
    }

    #[test]
    fn what_is_expected_of_a_secret_is_said() {
        let said = said("[receiver.matrix]", "password = \"hunter2\"");
        let expected = "line 5: receiver.matrix.password: the value is wrong, and not shown since it may be a \
            secret, expected { file = \"/PATH\" } or { env = \"NAME\" }";
        assert_eq!(said, expected);
    }
}
