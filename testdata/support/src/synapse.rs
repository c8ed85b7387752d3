//! A real Matrix homeserver: Synapse, with its database in a folder of its own.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha1};
use serde_json::{Value, json};

use crate::process::python;
use crate::{Process, eventually, free_port};

/// How long the server may take to start or answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lets tests register users.
const SECRET: &str = "registration";

/// How many requests the server allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatrixLimits {
    /// As many as tests make.
    Wide,
    /// Two messages, and then one in two seconds.
    Narrow,
}

/// A homeserver named `localhost`.
#[derive(Debug)]
pub struct Synapse {
    folder: tempfile::TempDir,
    port: u16,
    process: Option<Process>,
}

/// Somebody who is logged in.
#[derive(Debug, Clone)]
pub struct MatrixUser {
    /// As `@anna:localhost`.
    pub id: String,
    /// The password.
    pub password: String,
    /// Token of a device of their own.
    pub token: String,
    url: String,
}

impl Synapse {
    /// Starts it on a free port; returns when it answers.
    #[track_caller]
    pub fn start(limits: MatrixLimits) -> Self {
        let folder = tempfile::Builder::new().prefix("synapse").tempdir().expect("a folder");
        let mut server = Synapse { folder, port: free_port(), process: None };
        let write = |name: &str, text: &str| {
            std::fs::write(server.folder.path().join(name), text).expect("a file is written");
        };
        write("signing.key", "ed25519 a_test AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n");
        // JSON is YAML.
        write("homeserver.yaml", &settings(server.folder.path(), server.port, limits).to_string());
        write("log.yaml", &logging(server.folder.path()).to_string());
        server.start_again();
        server
    }

    /// Starts it anew, with the same folder and port.
    #[track_caller]
    pub fn start_again(&mut self) {
        let mut command = Command::new(python());
        command.current_dir(self.folder.path());
        command.args(["-m", "synapse.app.homeserver", "-c", "homeserver.yaml"]);
        let log = self.folder.path().join("output.log");
        let mut process = Process::start(&mut command, &log);
        eventually(PATIENCE, "Synapse to answer", || {
            if process.has_ended() {
                panic!("Synapse ended at once: {}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            call(&self.url(), "GET", "/_matrix/client/versions", None, None).ok()
        });
        self.process = Some(process);
    }

    /// Kills it, as `kill -9` would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Its address for clients.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Registers a user and logs in.
    #[track_caller]
    pub fn user(&self, name: &str) -> MatrixUser {
        const REGISTER: &str = "/_synapse/admin/v1/register";
        let password = format!("password of {name}");
        let nonce = call(&self.url(), "GET", REGISTER, None, None).expect("a nonce")["nonce"].clone();
        let nonce = nonce.as_str().expect("a nonce is text");
        let mut engine = HmacEngine::<sha1::Hash>::new(SECRET.as_bytes());
        engine.input([nonce, name, password.as_str(), "notadmin"].join("\0").as_bytes());
        let mac = Hmac::<sha1::Hash>::from_engine(engine).to_string();
        let body = json!({
            "nonce": nonce, "username": name, "password": password, "admin": false, "mac": mac,
        });
        let answer = call(&self.url(), "POST", REGISTER, None, Some(&body)).expect("registered");
        let text = |key: &str| answer[key].as_str().expect("text").to_string();
        MatrixUser { id: text("user_id"), password, token: text("access_token"), url: self.url() }
    }
}

impl MatrixUser {
    /// Calls the client-server API; the path begins with `/_matrix`. An error is what the server said.
    pub fn try_call(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, String> {
        call(&self.url, method, path, Some(&self.token), body.as_ref())
    }

    /// The same; an error is a failed test.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        self.try_call(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// What is at a path, as bytes.
    #[track_caller]
    pub fn download(&self, path: &str) -> Vec<u8> {
        let request = ureq::get(format!("{}{path}", self.url));
        let answer = request.header("Authorization", format!("Bearer {}", self.token)).call();
        answer.expect("an answer").body_mut().read_to_vec().expect("bytes")
    }

    /// Makes a room with an alias `#{alias}:localhost` and invites these users; returns its id.
    #[track_caller]
    pub fn create_room(&self, alias: &str, invited: &[&MatrixUser]) -> String {
        let invited: Vec<&str> = invited.iter().map(|user| user.id.as_str()).collect();
        let body = json!({"preset": "private_chat", "room_alias_name": alias, "invite": invited});
        let room = self.call("POST", "/_matrix/client/v3/createRoom", Some(body));
        room["room_id"].as_str().expect("a room").to_string()
    }

    /// Invites somebody.
    #[track_caller]
    pub fn invite(&self, room: &str, user: &MatrixUser) {
        let path = format!("/_matrix/client/v3/rooms/{}/invite", encoded(room));
        self.call("POST", &path, Some(json!({"user_id": user.id})));
    }

    /// Joins a room.
    #[track_caller]
    pub fn join(&self, room: &str) {
        self.call("POST", &format!("/_matrix/client/v3/join/{}", encoded(room)), Some(json!({})));
    }

    /// Sends an event; returns its id.
    #[track_caller]
    pub fn send(&self, room: &str, kind: &str, content: Value) -> String {
        use std::sync::atomic::{AtomicU32, Ordering};
        static SENT: AtomicU32 = AtomicU32::new(0);
        let transaction = SENT.fetch_add(1, Ordering::Relaxed);
        let path = format!("/_matrix/client/v3/rooms/{}/send/{kind}/t{transaction}", encoded(room));
        let sent = self.call("PUT", &path, Some(content));
        sent["event_id"].as_str().expect("an event id").to_string()
    }

    /// Sends a plain text; returns the event's id.
    #[track_caller]
    pub fn say(&self, room: &str, text: &str) -> String {
        self.send(room, "m.room.message", json!({"msgtype": "m.text", "body": text}))
    }

    /// Messages of a room, oldest first, without state.
    #[track_caller]
    pub fn messages(&self, room: &str) -> Vec<Value> {
        let path = format!("/_matrix/client/v3/rooms/{}/messages?dir=b&limit=100", encoded(room));
        let answer = self.call("GET", &path, None);
        let mut events = answer["chunk"].as_array().expect("events").clone();
        events.retain(|event| event["type"] == "m.room.message");
        events.reverse();
        events
    }
}

/// A part of a path with everything encoded that is not plain.
fn encoded(part: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let encode = |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    part.bytes().map(encode).collect()
}

fn call(
    url: &str,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Result<Value, String> {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let agent: ureq::Agent = config.timeout_global(Some(PATIENCE)).build().into();
    let mut request = ureq::http::Request::builder().method(method).uri(format!("{url}{path}"));
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let text = body.map(Value::to_string).unwrap_or_default();
    let answer = match body {
        Some(_) => agent.run(request.header("Content-Type", "application/json").body(text).expect("valid")),
        None => agent.run(request.body(()).expect("valid")),
    };
    let mut answer = answer.map_err(|error| error.to_string())?;
    let status = answer.status();
    let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
    match status.is_success() {
        true => serde_json::from_str(&text).map_err(|error| error.to_string()),
        false => Err(format!("{status}: {text}")),
    }
}

/// The server's settings; all of them at https://element-hq.github.io/synapse/latest/usage/configuration/.
fn settings(folder: &Path, port: u16, limits: MatrixLimits) -> Value {
    let wide = json!({"per_second": 10_000, "burst_count": 10_000});
    let messages = match limits {
        MatrixLimits::Wide => wide.clone(),
        MatrixLimits::Narrow => json!({"per_second": 0.5, "burst_count": 2}),
    };
    json!({
        "server_name": "localhost",
        "report_stats": false,
        "signing_key_path": folder.join("signing.key"),
        "pid_file": folder.join("synapse.pid"),
        "log_config": folder.join("log.yaml"),
        "media_store_path": folder.join("media"),
        "database": {"name": "sqlite3", "args": {"database": folder.join("homeserver.db")}},
        "listeners": [{
            "port": port, "bind_addresses": ["127.0.0.1"], "type": "http",
            "resources": [{"names": ["client"]}],
        }],
        // Nothing is asked of other servers.
        "trusted_key_servers": [],
        "federation_domain_whitelist": [],
        "presence": {"enabled": false},
        "bcrypt_rounds": 4,
        "registration_shared_secret": SECRET,
        "macaroon_secret_key": "macaroons",
        "form_secret": "forms",
        "rc_message": messages,
        "rc_registration": wide,
        "rc_login": {"address": wide, "account": wide, "failed_attempts": wide},
        "rc_joins": {"local": wide, "remote": wide},
        "rc_invites": {"per_room": wide, "per_user": wide, "per_issuer": wide},
    })
}

fn logging(folder: &Path) -> Value {
    json!({
        "version": 1,
        "handlers": {"file": {"class": "logging.FileHandler", "filename": folder.join("synapse.log")}},
        "root": {"level": "WARNING", "handlers": ["file"]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_homeserver_carries_a_message_from_one_user_to_another() {
        let server = Synapse::start(MatrixLimits::Wide);
        let (anna, ben) = (server.user("anna"), server.user("ben"));
        let room = anna.create_room("ops", &[&ben]);
        ben.join(&room);
        anna.say(&room, "hello");
        assert_eq!(ben.messages(&room)[0]["content"]["body"], "hello");
    }
}
