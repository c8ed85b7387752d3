//! What the alerts did: one [`Change`] each time an alert enters a state, and how it is written as a line of JSON.

use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use tocsin_proto::pb::notification::Evidence;

use crate::alerts::State;
use crate::rules::Severity;
use crate::time::Timestamp;
use crate::windows::Reading;
use crate::windows::key::{Key, KeyPart};

/// An alert entered a state.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// When, on the node's clock.
    pub at: Timestamp,
    /// The rule's name.
    pub rule: Arc<str>,
    /// The node's name; `fleet` for what concerns no single node.
    pub node: Arc<str>,
    /// Names and values of the key, in the order of the rule's `by`.
    pub key: AlertKey,
    /// The state entered.
    pub state: State,
    /// How bad it is.
    pub severity: Severity,
    /// What was measured.
    pub value: Reading,
    /// What it should not have passed.
    pub limit: Reading,
    /// Why, in words.
    pub summary: String,
    /// When the alert began to fire, which tells this episode of it from others; its first finding while it is pending.
    /// On the node's clock. Not part of the line.
    pub since: Timestamp,
    /// What was measured over time. Not part of the line.
    pub evidence: Evidence,
}

/// The key of an alert with the names of its fields.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertKey {
    /// One name for each part.
    pub names: Arc<[String]>,
    /// The parts.
    pub key: Key,
}

impl AlertKey {
    /// Name and text of each part.
    pub fn parts(&self) -> impl Iterator<Item = (&str, String)> {
        self.names.iter().zip(&self.key.0).map(|(name, part)| (name.as_str(), text_of(part)))
    }
}

/// A key part for people: hashes in the reversed order everybody writes them in, other bytes as text or in hex.
fn text_of(part: &KeyPart) -> String {
    match part {
        KeyPart::Int(value) => value.to_string(),
        KeyPart::Bool(value) => value.to_string(),
        KeyPart::Bytes(bytes) => text_of_bytes(bytes),
    }
}

/// Bytes for people: printable text as it is, 32 bytes as a hash, anything else in hex.
pub fn text_of_bytes(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_string(),
        _ if bytes.len() == 32 => hex(bytes.iter().rev()),
        _ => hex(bytes.iter()),
    }
}

/// Bytes in hex.
pub fn hex<'b>(bytes: impl Iterator<Item = &'b u8>) -> String {
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

impl Change {
    /// The change as one line of JSON, without the line's end.
    pub fn to_json(&self) -> String {
        let line = Line {
            at: self.at.to_string(),
            at_ms: self.at.unix_ms(),
            rule: &self.rule,
            node: &self.node,
            key: &self.key,
            state: self.state.name(),
            severity: self.severity.to_string(),
            value: self.value,
            limit: self.limit,
            summary: &self.summary,
        };
        serde_json::to_string(&line).expect("texts and numbers always serialise")
    }
}

/// The fields of a line, in their order.
#[derive(Serialize)]
struct Line<'c> {
    at: String,
    at_ms: i64,
    rule: &'c str,
    node: &'c str,
    key: &'c AlertKey,
    state: &'c str,
    severity: String,
    value: Reading,
    limit: Reading,
    summary: &'c str,
}

impl Serialize for AlertKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.names.len()))?;
        for (name, part) in self.names.iter().zip(&self.key.0) {
            match part {
                KeyPart::Int(value) => map.serialize_entry(name, value)?,
                KeyPart::Bool(value) => map.serialize_entry(name, value)?,
                KeyPart::Bytes(_) => map.serialize_entry(name, &text_of(part))?,
            }
        }
        map.end()
    }
}

impl Serialize for Reading {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Reading::Nothing => serializer.serialize_none(),
            Reading::Int(value) => serializer.serialize_i64(*value),
            // JSON has no infinity and no NaN; serde_json writes null for them.
            Reading::Float(value) => serializer.serialize_f64(*value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_line_with_its_fields_in_order() {
        let change = Change {
            at: Timestamp::from_unix_ms(1_795_229_905_000),
            rule: "addr_flood".into(),
            node: "hal".into(),
            key: AlertKey {
                names: vec!["peer_id".to_string()].into(),
                key: Key(Box::new([KeyPart::Int(45)])),
            },
            state: State::Firing,
            severity: Severity::Warning,
            value: Reading::Int(2000),
            limit: Reading::Float(60.5),
            summary: "a \"quoted\" word".into(),
            since: Timestamp::from_unix_ms(1_795_229_905_000),
            evidence: Evidence::default(),
        };
        assert_eq!(
            change.to_json(),
            r#"{"at":"2026-11-21T02:58:25.000Z","at_ms":1795229905000,"rule":"addr_flood","node":"hal","key":{"peer_id":45},"state":"firing","severity":"warning","value":2000,"limit":60.5,"summary":"a \"quoted\" word"}"#
        );
    }
}
