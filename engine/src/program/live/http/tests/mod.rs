//! The interface as its callers see it: by raw requests, by promtool and by a real Prometheus.

mod amtool;
mod clerk;
mod deploy;
mod interface;
mod prometheus;
mod writes;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::super::status::{Status, StatusBoard};
use super::{Interface, sample, serve};

const PATIENCE: Duration = Duration::from_secs(30);

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

/// The folder of what is installed.
fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(deploy().join(name)).expect("a file of deploy/")
}

/// True if a program is there; says so if the test is skipped.
fn is_installed(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        eprintln!("skipped: {program} is not installed");
    }
    is_there
}

/// The real `serve` with the sample behind it.
struct Served {
    runtime: Runtime,
    board: StatusBoard,
    shutdown: CancellationToken,
    serving: Option<tokio::task::JoinHandle<()>>,
    port: u16,
    folder: tempfile::TempDir,
}

/// Routing as the program writes it.
const CONFIGURATION: &str = "route:\n  receiver: 'ops'\n  routes:\n  -\n    receiver: 'desk'\n    \
    matchers: ['severity=\"critical\"']\nreceivers:\n- name: 'ops'\n- name: 'desk'\n";
/// The token of the tests.
const TOKEN: &str = "t0k3n";

impl Served {
    /// Without dispatch and without a token.
    fn start(status: Status) -> Self {
        Served::start_with(status, |_, _| {})
    }

    /// With the sample behind dispatch, and the token.
    fn start_all() -> Self {
        Served::start_with(sample::status(now_ms()), |runtime, interface| {
            interface.dispatch = Some(clerk::start(runtime, sample::dispatch(now_ms())));
        })
    }

    fn start_with(status: Status, change: impl FnOnce(&Runtime, &mut Interface)) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (board, shutdown) = (StatusBoard::default(), CancellationToken::new());
        board.write(status);
        let token_file = folder.path().join("token");
        std::fs::write(&token_file, format!("{TOKEN}\n")).expect("writable");
        let mut interface = Interface {
            board: board.clone(),
            dispatch: None,
            token_file: None,
            configuration: CONFIGURATION.into(),
        };
        change(&runtime, &mut interface);
        if interface.dispatch.is_some() {
            interface.token_file = Some(token_file);
        }
        let serving = runtime.spawn(serve(listener, interface, shutdown.clone()));
        Served { runtime, board, shutdown, serving: Some(serving), port, folder }
    }

    /// A request with a body and these lines in its head, each with its end.
    fn send(&self, method: &str, path: &str, head: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n{head}\r\n{body}"
        );
        let (code, _, body) = request(self.port, &text).expect("an answer");
        (code, body)
    }

    fn get(&self, path: &str) -> (u16, String, String) {
        get(self.port, path)
    }

    fn json(&self, path: &str) -> Value {
        let (code, head, body) = self.get(path);
        assert_eq!(code, 200, "{path}: {body}");
        assert!(head.contains("application/json"), "{head}");
        serde_json::from_str(&body).expect("JSON")
    }
}

/// Status code, head and body. HTTP 1.0, so that the body is not in chunks and ends with the connection.
fn get(port: u16, path: &str) -> (u16, String, String) {
    request(port, &format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n")).expect("an answer")
}

fn request(port: u16, request: &str) -> std::io::Result<(u16, String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::InvalidData)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Ok((code, head.to_string(), body.to_string()))
}

/// Everything but letters and digits percent-encoded.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Runs a program with this on its standard input; returns whether it ended well, and what it said.
fn run(command: &mut Command, input: &str) -> (bool, String) {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
