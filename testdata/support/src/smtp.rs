//! SMTP servers: a real one that reads the letters it takes, and one that fails as it is told.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::process::python;
use crate::{Process, eventually, free_port};

/// How long the server may take to start or answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Encryption that the server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// None.
    None,
    /// By STARTTLS; takes no letter without.
    Starttls,
    /// From the first byte.
    Tls,
}

/// aiosmtpd named `localhost`. Refuses recipients `unknown@` for good, and `later@` the first time.
#[derive(Debug)]
pub struct SmtpServer {
    folder: tempfile::TempDir,
    port: u16,
    _process: Process,
}

/// A letter as the server read it.
#[derive(Debug, Clone)]
pub struct Letter(Value);

impl SmtpServer {
    /// Starts it on a free port; takes letters only after a login if there is one (user and password).
    #[track_caller]
    pub fn start(tls: SmtpTls, login: Option<(&str, &str)>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        certify(folder.path());
        let script = folder.path().join("smtpd.py");
        std::fs::write(&script, include_str!("smtpd.py")).expect("writable");
        let port = free_port();
        let tls = match tls {
            SmtpTls::None => "none",
            SmtpTls::Starttls => "starttls",
            SmtpTls::Tls => "tls",
        };
        let (user, password) = login.unwrap_or_default();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut command = Command::new(python());
        command.arg(script).args([
            &port.to_string(),
            &path("letters"),
            tls,
            &path("cert.pem"),
            &path("key.pem"),
        ]);
        command.args([user, password]);
        let process = Process::start(&mut command, &folder.path().join("smtpd.log"));
        let server = SmtpServer { folder, port, _process: process };
        eventually(PATIENCE, "the SMTP server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        server
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate that clients have to trust.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// The letters it took so far.
    pub fn letters(&self) -> Vec<Letter> {
        let text = std::fs::read_to_string(self.folder.path().join("letters")).unwrap_or_default();
        text.lines().map(|line| Letter(serde_json::from_str(line).expect("JSON"))).collect()
    }
}

impl Letter {
    /// Values of a header, decoded.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let headers = self.0["headers"].as_array().into_iter().flatten();
        let found =
            headers.filter(|header| header[0].as_str().is_some_and(|other| other.eq_ignore_ascii_case(name)));
        found.filter_map(|header| header[1].as_str()).collect()
    }

    /// Names of all headers, in order.
    pub fn headers(&self) -> Vec<&str> {
        self.0["headers"].as_array().into_iter().flatten().filter_map(|header| header[0].as_str()).collect()
    }

    /// Whom it was for.
    pub fn recipients(&self) -> Vec<&str> {
        self.0["to"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The body: `type`, and `parts`, `text` or `base64`.
    pub fn body(&self) -> &Value {
        &self.0["body"]
    }

    /// What Python's email package found wrong with it.
    pub fn defects(&self) -> &Value {
        &self.0["defects"]
    }

    /// True if it came by an encrypted connection.
    pub fn was_encrypted(&self) -> bool {
        self.0["encrypted"] == true
    }

    /// The letter as it came.
    pub fn raw(&self) -> &str {
        self.0["raw"].as_str().expect("text")
    }
}

/// Makes a key and a certificate for localhost that is no authority: rustls takes no authority for a server.
fn certify(folder: &Path) {
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]);
    command.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    command.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]);
    command.arg(folder.join("key.pem")).arg("-out").arg(folder.join("cert.pem"));
    let output = command.output().expect("openssl is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A server that answers as it is told, and otherwise says yes.
#[derive(Debug)]
pub struct SmtpStub {
    port: u16,
    conversations: Arc<AtomicUsize>,
}

impl SmtpStub {
    /// Starts it. `answers` has, for the beginning of what a client says, the answer: lines of SMTP, `"silence"` or
    /// `"close"`. `""` stands for the greeting, `"."` for the end of the letter, `"letter"` for its first line.
    #[track_caller]
    pub fn start(answers: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let answers: Vec<(String, String)> =
            answers.iter().map(|(said, answer)| (said.to_string(), answer.to_string())).collect();
        let conversations = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&conversations);
        // Ends with the test's process; nothing waits for it.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let answers = answers.clone();
                std::thread::spawn(move || converse(stream, &answers));
            }
        });
        SmtpStub { port, conversations }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How often somebody connected.
    pub fn conversations(&self) -> usize {
        self.conversations.load(Ordering::SeqCst)
    }
}

/// None when the conversation is over.
fn converse(stream: TcpStream, answers: &[(String, String)]) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut say = |said: &str, otherwise: &str| {
        let found = answers.iter().find(|(begin, _)| match begin.as_str() {
            "" | "." | "letter" => begin == said,
            begin => said.starts_with(begin),
        });
        match found.map_or(otherwise, |(_, answer)| answer.as_str()) {
            "close" => return None,
            "silence" => std::thread::sleep(Duration::from_secs(3600)),
            "" => {}
            answer => write!(writer, "{answer}\r\n").ok()?,
        }
        Some(())
    };
    say("", "220 stub")?;
    let mut is_letter = false;
    for line in BufReader::new(stream).lines() {
        let line = line.ok()?;
        match (is_letter, line.as_str()) {
            (true, ".") => {
                is_letter = false;
                say(".", "250 taken")?;
            }
            (true, _) => say("letter", "")?,
            (false, "DATA") => {
                is_letter = true;
                say("DATA", "354 go on")?;
            }
            (false, line) if line.starts_with("EHLO") => say(line, "250-stub\r\n250 AUTH PLAIN LOGIN")?,
            (false, line) if line.starts_with("AUTH") => say(line, "235 welcome")?,
            (false, line) => say(line, "250 yes")?,
        }
    }
    None
}
