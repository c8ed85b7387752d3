//! Who we are for the homeserver: the login, and what of it survives a restart.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use reqwest::{Method, Url};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;

use super::Config;
use super::client::{CallError, at, execute, failed};
use crate::Failure;
use crate::secret::{Secret, SecretSource};

/// What a session is for. Each has a device of its own, for a login ends the same device's earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Sends notifications.
    Notifier,
    /// Reads the room.
    Listener,
}

/// A login, made when it is needed.
pub(super) struct Session {
    account: Account,
    /// Whose `saved` is; that of another account is worth nothing.
    owner: String,
    /// The device without a file to remember one.
    device: String,
    file: Option<PathBuf>,
    /// Read from the file when it is first needed.
    saved: Mutex<Option<Saved>>,
}

enum Account {
    Token(SecretSource),
    Password { user: String, password: SecretSource },
}

/// What is kept in the session file. Holds a token: no `Debug`.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Saved {
    owner: String,
    device_id: String,
    access_token: Option<String>,
    /// What of the room's history was read, in the server's terms.
    since: Option<String>,
}

impl Session {
    pub fn new(config: &Config, receiver: &str, role: Role) -> Self {
        let account = match (&config.access_token, &config.user, &config.password) {
            (None, Some(user), Some(password)) => {
                Account::Password { user: user.clone(), password: password.clone() }
            }
            (Some(token), ..) => Account::Token(token.clone()),
            _ => unreachable!("checked before"),
        };
        let owner = format!("{} {}", config.homeserver, config.user.as_deref().unwrap_or_default());
        let device = device_of(&format!("{owner} {receiver} {role:?}"));
        let file = config.session_file.as_ref().map(|path| match role {
            Role::Notifier => path.clone(),
            Role::Listener => {
                let mut name = path.clone().into_os_string();
                name.push(".listener");
                name.into()
            }
        });
        Session { account, owner, device, file, saved: Mutex::new(None) }
    }

    fn load<'a>(&self, saved: &'a mut Option<Saved>) -> &'a mut Saved {
        saved.get_or_insert_with(|| {
            let saved = self.file.as_deref().and_then(read);
            saved.filter(|saved| saved.owner == self.owner).unwrap_or_default()
        })
    }

    /// Where it is kept.
    #[cfg(feature = "matrix-e2ee")]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether a new login is possible.
    pub fn has_password(&self) -> bool {
        matches!(self.account, Account::Password { .. })
    }

    /// The token to call with; logs in if there is none.
    pub async fn token(&self, http: &reqwest::Client, homeserver: &Url) -> Result<Secret, CallError> {
        let unreadable = |error| failed(Failure::AuthError, true, error);
        let (user, password) = match &self.account {
            Account::Token(source) => return source.read().map_err(unreadable),
            Account::Password { user, password } => (user, password),
        };
        let mut saved = self.saved.lock().await;
        let saved = self.load(&mut saved);
        if let Some(token) = &saved.access_token {
            return Ok(Secret::new(token.clone()));
        }
        let password = password.read().map_err(unreadable)?;
        if saved.device_id.is_empty() {
            // Kept before the login: if we end in between, the next login is the same device.
            saved.device_id = self.new_device();
            self.write(saved);
        }
        let body = json!({
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user},
            "password": password.expose(),
            "device_id": saved.device_id,
            "initial_device_display_name": "tocsin",
        });
        let url = at(homeserver, &["_matrix", "client", "v3", "login"]);
        let answer = execute(http.request(Method::POST, url).json(&body), &[password.expose()]).await?;
        let Some(token) = answer["access_token"].as_str() else {
            let text = "POST login: the answer has no access_token".to_string();
            return Err(failed(Failure::ServerError, true, text));
        };
        saved.access_token = Some(token.to_string());
        self.write(saved);
        Ok(Secret::new(token.to_string()))
    }

    /// The server does not know this token any more; the next call logs in.
    pub async fn forget(&self, token: &Secret) {
        let mut saved = self.saved.lock().await;
        let saved = self.load(&mut saved);
        if saved.access_token.as_deref() == Some(token.expose()) {
            saved.access_token = None;
        }
    }

    /// What of the room's history was read before the last restart.
    pub async fn since(&self) -> Option<String> {
        self.load(&mut *self.saved.lock().await).since.clone()
    }

    /// Keeps what of the room's history was read.
    pub async fn keep_since(&self, since: Option<String>) {
        let mut saved = self.saved.lock().await;
        let saved = self.load(&mut saved);
        saved.since = since;
        self.write(saved);
    }

    /// Random if it can be remembered, so that two programs of one configuration do not end each other's logins.
    fn new_device(&self) -> String {
        let mut bytes = [0; 8];
        match &self.file {
            Some(_) if SystemRandom::new().fill(&mut bytes).is_ok() => format!("TOCSIN_{}", hex(&bytes)),
            _ => self.device.clone(),
        }
    }

    /// A file that cannot be written costs a login at the next start, and no notification.
    fn write(&self, saved: &mut Saved) {
        let Some(path) = &self.file else { return };
        saved.owner.clone_from(&self.owner);
        if let Err(error) = replace(path, saved) {
            tracing::warn!(file = %path.display(), %error, "the Matrix session cannot be kept");
        }
    }
}

fn device_of(text: &str) -> String {
    format!("TOCSIN_{}", hex(&digest::digest(&digest::SHA256, text.as_bytes()).as_ref()[..8]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn read(path: &Path) -> Option<Saved> {
    let text = std::fs::read_to_string(path).ok()?;
    let saved = serde_json::from_str(&text).ok();
    if saved.is_none() {
        tracing::warn!(file = %path.display(), "is no Matrix session of ours; it is made anew");
    }
    saved
}

/// Renamed into place: an end in between leaves the old file.
fn replace(path: &Path, saved: &Saved) -> std::io::Result<()> {
    let mut new = path.to_path_buf().into_os_string();
    new.push(".new");
    let mut options = std::fs::OpenOptions::new();
    // A leftover of a run that was killed may have another mode.
    let _ = std::fs::remove_file(&new);
    let mut file = options.write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(saved)?)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}
