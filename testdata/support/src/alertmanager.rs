//! A real Alertmanager.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::{Process, eventually, free_port};

/// How long it may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Tells nobody; what it has is asked for.
const CONFIG: &str = "route: { receiver: nobody }\nreceivers: [ { name: nobody } ]\n";

/// Debian's prometheus-alertmanager with a folder of its own, and no cluster.
#[derive(Debug)]
pub struct Alertmanager {
    folder: tempfile::TempDir,
    port: u16,
    process: Option<Process>,
}

impl Alertmanager {
    /// Starts it on a free port; returns when it is ready.
    #[track_caller]
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("alertmanager").tempdir().expect("a folder");
        std::fs::write(folder.path().join("alertmanager.yml"), CONFIG).expect("writable");
        let mut server = Alertmanager { folder, port: free_port(), process: None };
        server.start_again();
        server
    }

    /// Starts it anew on the same port; it has forgotten its alerts, as they are not kept.
    #[track_caller]
    pub fn start_again(&mut self) {
        let folder = self.folder.path();
        let path = |name: &str| folder.join(name).display().to_string();
        let mut command = Command::new("prometheus-alertmanager");
        command.args([
            format!("--config.file={}", path("alertmanager.yml")),
            format!("--storage.path={}", path("data")),
            format!("--web.listen-address=127.0.0.1:{}", self.port),
            "--cluster.listen-address=".to_string(),
        ]);
        let mut process = Process::start(&mut command, &folder.join("output.log"));
        eventually(PATIENCE, "the Alertmanager to be ready", || {
            if process.has_ended() {
                panic!("the Alertmanager ended at once: {}", log(&folder.join("output.log")));
            }
            self.ask("/-/ready").ok()
        });
        self.process = Some(process);
    }

    /// Its address for clients.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its alerts, as `/api/v2/alerts` tells them; resolved ones are not among them.
    #[track_caller]
    pub fn alerts(&self) -> Vec<Value> {
        let answer = self.ask("/api/v2/alerts").unwrap_or_else(|error| panic!("alerts: {error}"));
        serde_json::from_str(&answer).expect("a list")
    }

    /// Kills it, as `kill -9` would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    fn ask(&self, path: &str) -> Result<String, String> {
        let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE));
        let agent: ureq::Agent = config.build().into();
        let mut answer =
            agent.get(format!("{}{path}", self.url())).call().map_err(|error| error.to_string())?;
        answer.body_mut().read_to_string().map_err(|error| error.to_string())
    }
}

fn log(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
