//! Matrix: messages in one room through the client-server API, and what people of the room ask for there.
//!
//! A group of alerts is one thread: its first notification is a message in the room, later ones are replies in its thread,
//! and once all is resolved the first message is edited to say so, which a glance at the room shows. The notification's id
//! is the transaction id; the server returns the same event for a repeat as long as the device is the same, which is
//! why the device is remembered.
//!
//! Source: <https://spec.matrix.org/latest/client-server-api/>.

mod client;
mod command;
#[cfg(feature = "matrix-e2ee")]
mod encrypted;
mod line;
mod listener;
mod message;
mod notify;
mod session;
mod sync;

use std::path::PathBuf;

use reqwest::Url;
use serde::Deserialize;

use crate::Notifier;
use crate::config::Context;
use crate::secret::SecretSource;

pub use command::Ask;
pub use listener::{Asked, Listener, listeners};

/// Table `[receiver.matrix]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address of the homeserver's client-server API: `https://matrix.example.org`.
    pub homeserver: String,
    /// The room: `!id:example.org`, or `#alias:example.org`.
    pub room: String,
    /// Token of a device of its own. Either this, or `user` and `password`.
    pub access_token: Option<SecretSource>,
    /// Who logs in: `@tocsin:example.org`.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<SecretSource>,
    /// Where device, token and place in the room's history are kept, so that a restart is no new login and repeats are
    /// known as such. Written with mode 0600. The program gives one below its data folder if this is left out.
    pub session_file: Option<PathBuf>,
    /// Whose reactions and commands count: `["@anna:example.org"]`. If empty, nothing in the room is listened to.
    #[serde(default)]
    pub allowed_users: Vec<String>,
    /// Whether the room is end-to-end encrypted; needs the feature `matrix-e2ee`, `user` with `password`, and
    /// `session_file`, beside which keys are kept.
    #[serde(default)]
    pub encrypted: bool,
}

/// The notifier of a table.
pub fn notifier(config: &Config, context: Context) -> Result<Box<dyn Notifier>, String> {
    Ok(Box::new(notify::MatrixNotifier::new(config, context)?))
}

impl Config {
    /// The error names the key, what was found and what would be right.
    fn check(&self) -> Result<(), String> {
        if !self.room.starts_with(['!', '#']) {
            return Err(format!(
                "matrix: room is {:?}, expected \"!id:example.org\" or \"#alias:example.org\"",
                self.room
            ));
        }
        let is_user = |id: &str| id.starts_with('@') && id.contains(':');
        let users = self.allowed_users.iter().chain(&self.user);
        if let Some(wrong) = users.into_iter().find(|user| !is_user(user)) {
            return Err(format!("matrix: user {wrong:?} is no user id, expected \"@name:example.org\""));
        }
        if self.encrypted && self.access_token.is_some() {
            // Notifier and listener each need a device of their own: keys belong to a device.
            return Err("matrix: encrypted needs user and password instead of access_token".to_string());
        }
        match (&self.access_token, &self.user, &self.password) {
            (Some(_), None, None) | (None, Some(_), Some(_)) => Ok(()),
            _ => Err("matrix: expected either access_token, or user and password".to_string()),
        }
    }

    fn homeserver(&self) -> Result<Url, String> {
        let url = Url::parse(&self.homeserver).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty()
        });
        // The text is not repeated: it may hold a password.
        url.ok_or_else(|| {
            "matrix: homeserver is no address, expected one like \"https://matrix.example.org\"".to_string()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(table: &str, expected: Result<(), &str>) {
        let table = format!("homeserver = \"https://m.example\"\n{table}");
        let config: Config = toml_like(&table);
        let found = config.check().map_err(|error| error.to_string());
        match (found, expected) {
            (Ok(()), Ok(())) => (),
            (Err(found), Err(part)) => assert!(found.contains(part), "{found}"),
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    }

    /// `key = JSON` lines.
    fn toml_like(text: &str) -> Config {
        let entry = |line: &str| {
            let (key, value) = line.split_once(" = ")?;
            Some((key.to_string(), serde_json::from_str(value).ok()?))
        };
        let table: serde_json::Map<String, serde_json::Value> = text.lines().filter_map(entry).collect();
        serde_json::from_value(table.into()).expect("a table")
    }

    #[test]
    fn a_token_or_a_user_with_a_password_is_a_login() {
        check("room = \"!r:m\"\naccess_token = {\"env\": \"T\"}", Ok(()));
        check("room = \"#r:m\"\nuser = \"@t:m\"\npassword = {\"env\": \"P\"}", Ok(()));
        check("room = \"!r:m\"", Err("either access_token"));
        check("room = \"!r:m\"\nuser = \"@t:m\"", Err("either access_token"));
        check(
            "room = \"!r:m\"\naccess_token = {\"env\": \"T\"}\nuser = \"@t:m\"",
            Err("either access_token"),
        );
    }

    #[test]
    fn encryption_needs_a_login_of_its_own() {
        check(
            "room = \"!r:m\"\naccess_token = {\"env\": \"T\"}\nencrypted = true",
            Err("user and password instead of access_token"),
        );
    }

    #[test]
    fn a_room_or_a_user_that_is_none_is_named() {
        check("room = \"ops\"\naccess_token = {\"env\": \"T\"}", Err("room is \"ops\""));
        check(
            "room = \"!r:m\"\naccess_token = {\"env\": \"T\"}\nallowed_users = [\"anna\"]",
            Err("user \"anna\""),
        );
    }

    #[test]
    fn a_password_in_the_address_is_refused_and_not_repeated() {
        let mut config = toml_like("homeserver = \"https://me:hunter2@m.example\"\nroom = \"!r:m\"");
        let error = config.homeserver().expect_err("refused");
        assert!(!error.contains("hunter2"), "{error}");
        config.homeserver = "ftp://m.example".to_string();
        config.homeserver().expect_err("refused");
    }
}
