//! Secrets of receivers: read from files or the environment, never printed.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

/// A secret's value; prints as stars.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
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

/// A value that may be a secret: the text itself, or where it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Given {
    /// The text itself; prints as stars all the same.
    Text(Secret),
    /// Where it is.
    Source(SecretSource),
}

impl Given {
    /// The text, or what is read.
    pub fn read(&self) -> Result<Secret, String> {
        match self {
            Given::Text(text) => Ok(text.clone()),
            Given::Source(source) => source.read(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2".to_string());
        assert_eq!(format!("{secret:?} {:?}", Given::Text(secret.clone())), "*** Text(***)");
    }

    #[test]
    fn a_secret_is_read_anew_without_white_space_around_it() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let source = SecretSource::File(file.path().to_path_buf());
        assert!(source.read().expect_err("it is empty").ends_with("is empty, expected a secret"));
        for text in ["one", "two"] {
            std::fs::write(file.path(), format!(" {text}\n")).expect("writable");
            assert_eq!(source.read().expect("a secret").expose(), text);
        }
        let missing = SecretSource::Env("TOCSIN_NOT_SET".to_string());
        assert_eq!(missing.read(), Err("variable TOCSIN_NOT_SET: is not set, or is no text".to_string()));
    }
}
