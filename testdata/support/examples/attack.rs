//! Attacks a regtest node of one's own, to see a rule fire:
//! `cargo run -p tocsin-testing --example attack -- ping_spam 18444 30s`.
//!
//! It takes a port and no address, so only a node on this machine can be meant. See that the port is that of your node:
//! a node that finds its port taken ends, and whoever has it is attacked.

use std::io;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use tocsin_testing::attacker::{ATTACKS, Peer};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [name, port, duration] = arguments[..] else {
        print_usage();
        return ExitCode::from(2);
    };
    match attack(name, port, duration) {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn print_usage() {
    eprintln!("usage: attack NAME PORT DURATION, such as: attack ping_spam 18444 30s");
    eprintln!("The port is the P2P port of a regtest node on this machine, started with -connect=0.\n");
    for attack in &ATTACKS {
        eprintln!("  {:<17} {} (rule {})", attack.name, attack.what, attack.rule);
    }
}

fn attack(name: &str, port: &str, duration: &str) -> io::Result<String> {
    let known = ATTACKS.iter().find(|attack| attack.name == name);
    let attack =
        known.ok_or_else(|| wrong(format!("no attack {name:?}; without arguments all are listed")))?;
    let port = port.parse().map_err(|_| wrong(format!("{port:?} is no port, expected 1 to 65535")))?;
    let duration =
        span(duration).ok_or_else(|| wrong(format!("{duration:?} is no duration like 30s or 2m")))?;
    // Said before anything begins, because an attack takes it for granted.
    Peer::connect_from(Ipv4Addr::LOCALHOST, port)
        .map_err(|error| wrong(format!("no regtest node on port {port}: {error}")))?;
    (attack.run)(port, duration)
}

fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// Whole seconds or minutes.
fn span(text: &str) -> Option<Duration> {
    let (number, unit_s) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s')?, 1),
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(unit_s).map(Duration::from_secs)
}
