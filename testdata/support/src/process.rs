//! Programs that tests start and stop.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::{eventually, free_port};

/// A started program; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it, with its output in `log`.
    #[track_caller]
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log file");
        let errors = file.try_clone().expect("a second handle");
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        Process { child: child.unwrap_or_else(|error| panic!("{command:?} does not start: {error}")) }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// True if it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_some()
    }

    /// Sends a signal by its name, such as `TERM` or `STOP`.
    pub fn send(&self, signal: &str) {
        let status = Command::new("kill").args([format!("-{signal}"), self.pid().to_string()]).status();
        assert!(status.expect("kill is there").success(), "kill -{signal} failed");
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end and returns the exit code.
    #[track_caller]
    pub fn wait(&mut self, patience: Duration) -> Option<i32> {
        eventually(patience, "the program to end", || self.child.try_wait().expect("our child")).code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The Python that has the servers: the one `SERVERS_PYTHON` names, else that of `testdata/install_servers.sh`, once.
pub(crate) fn python() -> PathBuf {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    if let Some(exe) = std::env::var_os("SERVERS_PYTHON") {
        return exe.into();
    }
    let install = || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../install_servers.sh");
        let output = Command::new(script).output().expect("the script starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    };
    INSTALLED.get_or_init(install).clone()
}

/// A real nats-server.
#[derive(Debug)]
pub struct NatsServer {
    folder: tempfile::TempDir,
    port: u16,
    process: Option<Process>,
}

impl NatsServer {
    /// Starts it on a free port, with the payload limit that blocks need.
    #[track_caller]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("nats.conf"), "max_payload: 8388608\n").expect("writable");
        let mut server = NatsServer { folder, port: free_port(), process: None };
        server.start_again();
        server
    }

    /// Starts it anew on the same port.
    #[track_caller]
    pub fn start_again(&mut self) {
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-c"]);
        command.arg(self.folder.path().join("nats.conf"));
        self.process = Some(Process::start(&mut command, &self.folder.path().join("nats.log")));
        eventually(Duration::from_secs(10), "nats-server to listen", || {
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    /// Its address for clients.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills it, as `kill -9` would.
    pub fn kill(&mut self) {
        self.process = None;
    }
}
