//! Conditions on labels, as Alertmanager writes them: `severity="critical"`, `node!~"test.*"`.

use serde::{Deserialize, Deserializer, de};

use super::alert::Labels;

/// A condition on one label. A label that is not there has the empty value.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// What its value is compared with.
    pub value: String,
    /// How.
    pub operator: Operator,
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, a regular expression for the whole value.
    Matches,
    /// `!~`
    MatchesNot,
}

impl Matcher {
    /// Reads one matcher as Alertmanager writes it. The error says what was found and what would be right.
    pub fn parse(text: &str) -> Result<Matcher, String> {
        let _ = text;
        Err("not here yet".to_string())
    }

    /// A matcher from its parts, as the API gives them.
    pub fn new(name: &str, operator: Operator, value: &str) -> Result<Matcher, String> {
        Ok(Matcher { name: name.to_string(), value: value.to_string(), operator })
    }

    /// Whether labels meet the condition.
    pub fn matches(&self, labels: &Labels) -> bool {
        let _ = labels;
        false
    }
}

/// Whether labels meet all conditions.
pub fn all_match(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels))
}

impl<'de> Deserialize<'de> for Matcher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Matcher::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
