//! Alerts as dispatch sees them: labels, as in Alertmanager, instead of a rule, a node and a key.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tocsin_proto::pb::notification::Evidence;

use crate::time::Timestamp;

use super::hash::fnv1a;

/// Names and values.
pub type Labels = BTreeMap<String, String>;

/// Whether the rule of an alert with these labels is experimental.
pub(super) fn is_experimental(labels: &Labels) -> bool {
    labels.get("status").is_some_and(|status| status == "experimental")
}

/// Alertmanager's fingerprint of labels; prints as 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// FNV-1a over names and values in order of names, each followed by a byte 0xff.
    /// Source: `LabelSet.Fingerprint` of prometheus/common; so an Alertmanager shows the same ids.
    pub fn of(labels: &Labels) -> Self {
        let bytes = labels
            .iter()
            .flat_map(|(name, value)| name.bytes().chain([0xff]).chain(value.bytes()).chain([0xff]));
        Fingerprint(fnv1a(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16);
        number
            .map(Fingerprint)
            .ok_or_else(|| format!("{text:?} is no id of an alert, expected 16 hex digits"))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// State of an alert for dispatch; pending ones are not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AlertState {
    Firing,
    Resolved,
}

/// An alert fired, fires on with newer values, or resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertChange {
    /// When, on the node's clock.
    pub at: Timestamp,
    /// Fires or resolved.
    pub state: AlertState,
    /// What it is: `alertname`, `node`, `severity`, `status` (of the rule) and the fields of the key.
    pub labels: Labels,
    /// What to know of it: `summary`, `why`, `runbook` and others; may change while it fires.
    pub annotations: Labels,
    /// When it began to fire, on the node's clock; names the episode together with the labels.
    pub starts_at: Timestamp,
    /// What was measured, if anything was.
    pub value: Option<f64>,
    /// What it should not have passed, if there is such a number.
    pub limit: Option<f64>,
    /// What was measured over time.
    pub evidence: Evidence,
}

impl AlertChange {
    /// The alert.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_of_alertmanager() {
        // Of no labels: the offset basis, as `LabelSet{}.Fingerprint()` prints it.
        assert_eq!(Fingerprint::of(&Labels::new()).to_string(), "cbf29ce484222325");
        assert_eq!("cbf29ce484222325".parse(), Ok(Fingerprint::of(&Labels::new())));
        assert!("cbf2".parse::<Fingerprint>().is_err());
    }
}
