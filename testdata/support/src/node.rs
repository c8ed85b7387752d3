//! A real regtest node of Bitcoin Core 31.99.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Process, eventually, free_port};

/// How long a node may take to start or stop on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pays to anyone, so that tests can spend what they mine without a wallet.
const ANYONE: &str = "raw(51)#8lvh9jxk";

/// A node with a folder of its own.
#[derive(Debug)]
pub struct Node {
    folder: tempfile::TempDir,
    exe: PathBuf,
    arguments: Vec<String>,
    rpc_port: u16,
    p2p_port: u16,
    process: Option<Process>,
}

impl Node {
    /// Starts bitcoind with these options besides its own; returns when it answers.
    #[track_caller]
    pub fn start(options: &[&str]) -> Self {
        Node::launch(executable("BITCOIND_EXE", "bitcoind"), options)
    }

    /// Starts bitcoin-node with its IPC socket at [`Node::socket`].
    #[track_caller]
    pub fn start_ipc(options: &[&str]) -> Self {
        let options: Vec<&str> = options.iter().copied().chain(["-ipcbind=unix"]).collect();
        Node::launch(executable("BITCOIN_NODE_EXE", "bitcoin-node"), &options)
    }

    #[track_caller]
    fn launch(exe: PathBuf, options: &[&str]) -> Self {
        let (rpc_port, p2p_port) = (free_port(), free_port());
        let folder = tempfile::Builder::new().prefix("node").tempdir().expect("a folder");
        let mut arguments = vec![
            "-regtest".to_string(),
            format!("-datadir={}", folder.path().display()),
            // By default it goes on with ::1 alone if the port is taken on 127.0.0.1, and never answers.
            format!("-rpcbind=127.0.0.1:{rpc_port}"),
            "-rpcallowip=127.0.0.1".to_string(),
            format!("-rpcport={rpc_port}"),
            format!("-bind=127.0.0.1:{p2p_port}"),
            "-listen=1".to_string(),
            "-listenonion=0".to_string(),
            "-natpmp=0".to_string(),
            "-discover=0".to_string(),
            "-dnsseed=0".to_string(),
            "-fixedseeds=0".to_string(),
            "-dbcache=16".to_string(),
        ];
        arguments.extend(options.iter().map(|option| option.to_string()));
        let mut node = Node { folder, exe, arguments, rpc_port, p2p_port, process: None };
        node.start_again();
        node
    }

    /// Starts it anew, with the same folder and ports.
    #[track_caller]
    pub fn start_again(&mut self) {
        let mut command = Command::new(&self.exe);
        command.args(&self.arguments);
        let mut process = Process::start(&mut command, &self.folder.path().join("output.log"));
        eventually(PATIENCE, "the node to answer", || {
            if process.has_ended() {
                let output = std::fs::read_to_string(self.folder.path().join("output.log"));
                panic!("the node ended at once: {}", output.unwrap_or_default());
            }
            self.try_rpc("getblockcount", json!([])).ok()
        });
        self.process = Some(process);
    }

    /// Calls a method; an error is a failed test.
    #[track_caller]
    pub fn rpc(&self, method: &str, params: Value) -> Value {
        self.try_rpc(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Calls a method.
    pub fn try_rpc(&self, method: &str, params: Value) -> Result<Value, String> {
        let cookie = std::fs::read_to_string(self.cookie_file()).map_err(|error| error.to_string())?;
        let (user, password) = cookie.trim().split_once(':').ok_or("no cookie")?;
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent: ureq::Agent = config.timeout_global(Some(PATIENCE)).build().into();
        let url = format!("http://127.0.0.1:{}/", self.rpc_port);
        let mut answer = agent
            .post(url)
            .header("Authorization", format!("Basic {}", base64(format!("{user}:{password}").as_bytes())))
            .send_json(json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
            .map_err(|error| error.to_string())?;
        let answer: Value = answer.body_mut().read_json().map_err(|error| error.to_string())?;
        match answer.get("error") {
            Some(error) if !error.is_null() => Err(error.to_string()),
            _ => Ok(answer["result"].clone()),
        }
    }

    /// Mines blocks whose coinbase anyone can spend; returns their hashes.
    #[track_caller]
    pub fn mine(&self, blocks: u32) -> Vec<String> {
        let hashes = self.rpc("generatetodescriptor", json!([blocks, ANYONE]));
        serde_json::from_value(hashes).expect("hashes")
    }

    /// The network's folder: `.cookie`, `debug.log`, `bitcoind.pid`.
    pub fn datadir(&self) -> PathBuf {
        self.folder.path().join("regtest")
    }

    /// The cookie file.
    pub fn cookie_file(&self) -> PathBuf {
        self.datadir().join(".cookie")
    }

    /// The IPC socket of a node of [`Node::start_ipc`].
    pub fn socket(&self) -> PathBuf {
        self.datadir().join("node.sock")
    }

    /// Port of the RPC interface on 127.0.0.1.
    pub fn rpc_port(&self) -> u16 {
        self.rpc_port
    }

    /// Port of the P2P interface on 127.0.0.1.
    pub fn p2p_port(&self) -> u16 {
        self.p2p_port
    }

    /// The program.
    pub fn exe(&self) -> &Path {
        &self.exe
    }

    /// The process, which must be running.
    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a running node")
    }

    /// Its process id.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("a running node").pid()
    }

    /// Kills it, as `kill -9` would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops it in an orderly way.
    #[track_caller]
    pub fn stop(&mut self) {
        self.rpc("stop", json!([]));
        self.process().wait(PATIENCE);
        self.process = None;
    }
}

/// The program an environment variable names, else the one built into `target/`, once.
fn executable(variable: &str, name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(exe) = std::env::var_os(variable) {
        return exe.into();
    }
    let folder = BUILT.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build_bitcoind.sh");
        let output = Command::new(script).output().expect("the build script starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    });
    folder.join(name)
}

/// As HTTP's basic authentication wants it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number =
            chunk.iter().fold(0u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let is_padding = digit > chunk.len();
            let index = (number >> (18 - 6 * digit)) & 63;
            text.push(if is_padding { '=' } else { char::from(DIGITS[index as usize]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_starts_mines_stops_and_starts_again() {
        let mut node = Node::start(&[]);
        assert_eq!(node.mine(2).len(), 2);
        node.stop();
        node.start_again();
        assert_eq!(node.rpc("getblockcount", json!([])), json!(2));
        node.kill();
        node.start_again();
    }
}
