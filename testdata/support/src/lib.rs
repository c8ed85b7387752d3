//! The real parts that tests run against, started on free loopback ports and stopped at the end of the test.

// Tests have clocks, files and processes.
#![allow(clippy::disallowed_methods)]

mod expected;
mod node;
mod process;

use std::net::TcpListener;
use std::time::{Duration, Instant};

pub use expected::{event_json, expect_events};
pub use node::Node;
pub use process::{NatsServer, Process};

/// A port nobody listens on at the moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
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
