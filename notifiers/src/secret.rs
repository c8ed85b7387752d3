//! Secrets of receivers: read from files or the environment, never printed.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

/// A secret's value; prints as stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// From its text.
    pub fn new(text: String) -> Self {
        Secret(text)
    }

    /// The text itself; must go into requests only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret is: `{ file = "/etc/tocsin/token" }` or `{ env = "TOCSIN_TOKEN" }`. Read anew for each use, so that it
/// can be changed without a restart.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretSource {
    /// A file; white space around the secret is no part of it.
    File(PathBuf),
    /// A variable of the environment.
    Env(String),
}

impl SecretSource {
    /// Reads it. The error names the place and never the secret.
    pub fn read(&self) -> Result<Secret, String> {
        let (place, text) = match self {
            SecretSource::File(path) => (
                path.display().to_string(),
                std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?,
            ),
            SecretSource::Env(name) => (
                format!("variable {name}"),
                std::env::var(name).map_err(|_| format!("variable {name}: is not set, or is no text"))?,
            ),
        };
        match text.trim() {
            "" => Err(format!("{place}: is empty, expected a secret")),
            text => Ok(Secret(text.to_string())),
        }
    }
}
