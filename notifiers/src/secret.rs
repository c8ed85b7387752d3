//! Secrets of receivers: read from files or the environment, never printed.

use std::fmt;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A secret's value; prints as stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The usual message would repeat the value, here and below.
        let text = String::deserialize(deserializer);
        text.map(Secret).map_err(|_| D::Error::custom("the value is no text, expected a text in quotes"))
    }
}

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file; white space around the secret is no part of it.
    File(PathBuf),
    /// A variable of the environment.
    Env(String),
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Place {
            File(PathBuf),
            Env(String),
        }
        match Place::deserialize(deserializer) {
            Ok(Place::File(path)) => Ok(SecretSource::File(path)),
            Ok(Place::Env(name)) => Ok(SecretSource::Env(name)),
            Err(_) => Err(D::Error::custom(
                "the secret is not named so, expected { file = \"/PATH\" } or { env = \"NAME\" }",
            )),
        }
    }
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
    fn a_mistyped_secret_is_not_repeated() {
        for text in [
            "\"hunter2\"",
            "{\"fil\": \"hunter2\"}",
            "{\"file\": [\"hunter2\"]}",
            "{\"hunter2\": 1}",
            "[\"hunter2\"]",
        ] {
            let error = serde_json::from_str::<SecretSource>(text).expect_err(text).to_string();
            assert!(error.contains("expected { file = ") && !error.contains("hunter2"), "{error}");
        }
        for text in ["[\"hunter2\"]", "{\"hunter2\": \"hunter2\"}"] {
            let error = serde_json::from_str::<Secret>(text).expect_err(text).to_string();
            assert!(!error.contains("hunter2"), "{error}");
            let error = serde_json::from_str::<Given>(text).expect_err(text).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let source = serde_json::from_str::<SecretSource>("{\"env\": \"NAME\"}").expect("a source");
        assert_eq!(source, SecretSource::Env("NAME".to_string()));
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
