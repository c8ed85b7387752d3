//! The real parts that tests run against, started on free loopback ports and stopped at the end of the test; and what
//! detectors are measured with: a simulated node, the bands of the field, the scoring of a benchmark.

// Tests have clocks, files and processes.
#![allow(clippy::disallowed_methods)]

mod alertmanager;
pub mod attacker;
pub mod bands;
pub mod benchmark;
mod expected;
mod node;
mod process;
pub mod simulation;
mod smtp;
mod synapse;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use alertmanager::Alertmanager;
pub use expected::{event_json, expect_events};
pub use node::Node;
pub use process::{NatsServer, Process};
pub use smtp::{Letter, SmtpServer, SmtpStub, SmtpTls};
pub use synapse::{MatrixLimits, MatrixUser, Synapse};

/// A port nobody listens on at the moment.
///
/// Below 32768: Linux takes those above for outgoing connections, and one of those may have the port before the test
/// listens on it. Each process begins elsewhere, so that tests that run side by side seldom ask for the same.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const PORTS: u32 = 22_000;
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(97);
    let port = |_| {
        let number = begin.wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed));
        (FIRST + number % PORTS) as u16
    };
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (0..PORTS).map(port).find(is_free).expect("a free port")
}

/// Asks `ready` until it answers; panics with `what` after `patience`.
#[track_caller]
pub fn eventually<T>(patience: Duration, what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + patience;
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(Instant::now() < until, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
