//! A receiver of webhooks that fails in every way, and forgets nothing.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// Failures of one id; waits double with each, and no test is to wait for minutes.
const FAILED_MAX: u32 = 4;

/// How a receiver treats requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Takes everything.
    Well,
    /// Fails one request in three, each time in one of its ways.
    FailsOneInThree,
    /// Says that each request is wrong.
    Refuses,
}

/// A request that arrived whole, whatever was answered.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Its `Idempotency-Key`.
    pub id: String,
    /// What it holds.
    pub body: String,
}

impl Arrived {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }
}

/// The server; it runs until the test ends.
#[derive(Debug, Clone)]
pub struct Receiver {
    port: u16,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    random: Random,
    mood: Option<Mood>,
    /// What it said it has.
    taken: Vec<Arrived>,
    /// What it has, also where it did not say so.
    arrived: Vec<Arrived>,
    failures: BTreeMap<&'static str, u64>,
    /// Failures by id.
    failed: BTreeMap<String, u32>,
}

/// Numbers that look random, the same for the same seed: xorshift64*.
#[derive(Debug, Default, Clone)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed | 1)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}

impl Receiver {
    /// Starts one on a free port.
    pub fn start(mood: Mood, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let log = Log { random: Random::new(seed), mood: Some(mood), ..Log::default() };
        let receiver = Receiver { port, log: Arc::new(Mutex::new(log)) };
        let own = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let own = own.clone();
                std::thread::spawn(move || own.serve(stream));
            }
        });
        receiver
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// Treats requests so from now on.
    pub fn becomes(&self, mood: Mood) {
        self.locked().mood = Some(mood);
    }

    /// What it acknowledged, in order.
    pub fn taken(&self) -> Vec<Arrived> {
        self.locked().taken.clone()
    }

    /// What it acknowledged and what it took without a word, in order.
    pub fn arrived(&self) -> Vec<Arrived> {
        self.locked().arrived.clone()
    }

    /// Failures by kind.
    pub fn failures(&self) -> BTreeMap<&'static str, u64> {
        self.locked().failures.clone()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn serve(&self, mut stream: TcpStream) {
        // A client that was killed in the middle of a request sent nothing.
        let Some(arrived) = read(&stream) else { return };
        let failure = self.locked().next_failure(&arrived.id);
        let answer = match failure {
            None => {
                let mut log = self.locked();
                log.arrived.push(arrived.clone());
                log.taken.push(arrived);
                "200 OK\r\n"
            }
            Some("400") => "400 Bad Request\r\n",
            Some("500") => "500 Internal Server Error\r\n",
            Some("429") => "429 Too Many Requests\r\n",
            Some("429 for 1 s") => "429 Too Many Requests\r\nRetry-After: 1\r\n",
            Some("closed") => return,
            Some("taken and closed") => {
                self.locked().arrived.push(arrived);
                return;
            }
            Some(_) => {
                // Longer than the client waits.
                std::thread::sleep(Duration::from_secs(5));
                return;
            }
        };
        let _ = write!(stream, "HTTP/1.1 {answer}Content-Length: 0\r\nConnection: close\r\n\r\n");
    }
}

impl Log {
    fn next_failure(&mut self, id: &str) -> Option<&'static str> {
        let failed = self.failed.entry(id.to_string()).or_default();
        match self.mood {
            Some(Mood::Refuses) => return Some("400"),
            Some(Mood::FailsOneInThree) if self.random.below(3) == 0 && *failed < FAILED_MAX => *failed += 1,
            _ => return None,
        }
        let failure = match self.random.below(100) {
            0..35 => "500",
            35..60 => "429",
            60..62 => "429 for 1 s",
            62..80 => "closed",
            80..98 => "taken and closed",
            _ => "hangs",
        };
        *self.failures.entry(failure).or_default() += 1;
        Some(failure)
    }
}

/// One request; none if it does not come whole.
fn read(stream: &TcpStream) -> Option<Arrived> {
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let mut reader = BufReader::new(stream);
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(": ") else { continue };
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => id = value.to_string(),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Arrived { id, body: String::from_utf8(body).ok()? })
}
