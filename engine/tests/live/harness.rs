//! A running `tocsin` and what it tells.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tocsin_testing::{Process, eventually, free_port};

/// How long things may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// A running program with a data folder of its own.
pub struct Tocsin {
    folder: tempfile::TempDir,
    command: &'static str,
    process: Option<Process>,
    http: u16,
}

impl Tocsin {
    /// Starts `tocsin run` with the rules of the project and this configuration besides `data` and `http`.
    #[track_caller]
    pub fn run(config: &str) -> Self {
        Tocsin::start("run", config)
    }

    /// Starts a live command.
    #[track_caller]
    pub fn start(command: &'static str, config: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("tocsin").tempdir().expect("a folder");
        let mut tocsin = Tocsin { folder, command, process: None, http: free_port() };
        tocsin.configure(config);
        tocsin.start_again();
        tocsin
    }

    /// Starts `tocsin run` as a shell does that has files end where they may not grow, in place of the program.
    #[track_caller]
    pub fn run_below_limits(config: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("tocsin").tempdir().expect("a folder");
        let mut tocsin = Tocsin { folder, command: "run", process: None, http: free_port() };
        tocsin.configure(config);
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "trap '' XFSZ; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_tocsin"),
            "run",
            "--config",
        ]);
        command.arg(tocsin.folder.path().join("tocsin.toml"));
        tocsin.process = Some(Process::start(&mut command, &tocsin.log_file()));
        eventually(PATIENCE, "tocsin to be ready", || tocsin.get("/-/ready").ok());
        tocsin
    }

    /// Writes the configuration, which counts from the next start on.
    pub fn configure(&self, config: &str) {
        self.configure_http("", config);
    }

    /// The same, with options of table `[http]` of their own.
    pub fn configure_http(&self, http: &str, config: &str) {
        let rules = if config.contains("[rules]") {
            String::new()
        } else {
            format!("[rules]\npaths = [{:?}]\n", root().join("rules").display().to_string())
        };
        let text = format!(
            "data = {:?}\n[http]\nlisten = \"127.0.0.1:{}\"\n{http}\n{rules}{config}",
            self.data().display().to_string(),
            self.http
        );
        std::fs::write(self.folder.path().join("tocsin.toml"), text).expect("writable");
    }

    /// Starts it anew with the same data.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.start_unwatched();
        if !self.command.starts_with("extract") {
            eventually(PATIENCE, "tocsin to be ready", || {
                let process = self.process.as_mut().expect("just started");
                if process.has_ended() {
                    panic!("tocsin ended at once:\n{}", self.log());
                }
                self.get("/-/ready").is_ok().then_some(())
            });
        }
    }

    /// Starts it anew with the same data and does not wait until it is ready.
    #[track_caller]
    pub fn start_unwatched(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tocsin"));
        command.args(self.command.split(' ')).arg("--config").arg(self.folder.path().join("tocsin.toml"));
        self.process = Some(Process::start(&mut command, &self.log_file()));
    }

    /// Another live command from the next start on.
    pub fn becomes(&mut self, command: &'static str) {
        self.command = command;
    }

    /// Where it keeps everything.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Its log and what it printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    /// The process, which must be running.
    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a running tocsin")
    }

    /// Kills it, as `kill -9` would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Asks it to end and waits for that.
    #[track_caller]
    pub fn stop(&mut self) {
        self.process().send("TERM");
        let code = self.process().wait(PATIENCE);
        assert_eq!(code, Some(0), "{}", self.log());
        self.process = None;
    }

    /// Reads from its HTTP interface.
    pub fn get(&self, path: &str) -> Result<String, String> {
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        let mut answer = ureq::get(url).call().map_err(|error| error.to_string())?;
        answer.body_mut().read_to_string().map_err(|error| error.to_string())
    }

    /// Writes JSON to its HTTP interface.
    pub fn post(&self, path: &str, token: &str, body: &Value) -> Result<String, String> {
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        let request = ureq::post(url).header("Authorization", format!("Bearer {token}"));
        let request = request.header("Content-Type", "application/json");
        let mut answer = request.send(body.to_string()).map_err(|error| error.to_string())?;
        answer.body_mut().read_to_string().map_err(|error| error.to_string())
    }

    /// The value of a metric with exactly these labels.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = self.get("/metrics").ok()?;
        let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(value)
    }

    /// Waits until an extractor of node alice says that it reads the node, or that it does not.
    #[track_caller]
    pub fn wait_for_extractor(&self, extractor: &str, is_up: bool) {
        let what = if is_up { "to read the node" } else { "to wait for the node" };
        let series = format!("tocsin_extractor_up{{extractor=\"{extractor}\",node=\"alice\"}}");
        eventually(PATIENCE, &format!("{extractor} {what}"), || {
            self.metric(&series).filter(|up| *up == f64::from(u8::from(is_up)))
        });
    }

    /// What the alerts did, as it wrote it down.
    pub fn timeline(&self) -> Vec<Value> {
        lines(&std::fs::read_to_string(self.data().join("timeline.jsonl")).unwrap_or_default())
    }

    /// Its recordings, oldest first.
    pub fn recordings(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.data().join("recordings")) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
        files.sort();
        files
    }
}

/// What `tocsin replay` says to these recordings, with the rules of the project.
pub fn replay(files: &[PathBuf]) -> Vec<Value> {
    replay_with(&root().join("rules"), files)
}

/// What `tocsin replay` says to these recordings, with these rules.
pub fn replay_with(rules: &Path, files: &[PathBuf]) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tocsin"));
    command.arg("replay").args(files).args(["--format", "json", "--rules"]).arg(rules);
    let output = command.output().expect("tocsin runs");
    lines(&String::from_utf8_lossy(&output.stdout))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}
