//! Every attack by name, at a strength at which its rule fires.

use std::io;
use std::time::Duration;

use super::{
    Misbehaviour, Peer, addr_flood, connection_churn, getdata_flood, inv_flood, misbehave, open_many,
    orphans, ping_spam,
};

/// An attack that needs no more than a port and a duration.
#[derive(Debug)]
pub struct Attack {
    /// By which people call it.
    pub name: &'static str,
    /// The rule that should fire.
    pub rule: &'static str,
    /// What it does.
    pub what: &'static str,
    /// Attacks the node on this port of 127.0.0.1 for so long; returns what was done. Errs when the node hangs up, and
    /// panics if there is none.
    pub run: fn(u16, Duration) -> io::Result<String>,
}

/// The attacks.
pub const ATTACKS: [Attack; 8] = [
    Attack { name: "ping_spam", rule: "ping_spam", what: "one peer pings ten times a second", run: pings },
    Attack {
        name: "addr_flood",
        rule: "addr_flood",
        what: "one peer announces a thousand addresses every two seconds",
        run: addresses,
    },
    Attack {
        name: "inv_flood",
        rule: "inv_flood",
        what: "one peer announces a thousand transactions every second",
        run: announcements,
    },
    Attack {
        name: "orphans",
        rule: "orphan_dos",
        what: "one peer sends twenty orphan transactions a second; the node must have a recent block",
        run: orphan_transactions,
    },
    Attack {
        name: "misbehave",
        rule: "peer_misbehaving",
        what: "five peers one after another break the protocol, each in another way",
        run: misbehaviours,
    },
    Attack {
        name: "getdata_flood",
        rule: "ping_backlog",
        what: "sixteen peers ask for 50,000 unknown transactions in each message, as fast as the node takes them",
        run: requests,
    },
    Attack {
        name: "connection_churn",
        rule: "connection_churn",
        what: "two connections a second are opened and closed at once",
        run: churn,
    },
    Attack {
        name: "inbound_drop",
        rule: "inbound_drop",
        what: "25 peers connect, stay for the duration and leave together",
        run: drop_together,
    },
];

fn pings(port: u16, duration: Duration) -> io::Result<String> {
    let sent = ping_spam(&Peer::connect(port), 10, duration)?;
    Ok(format!("{sent} pings"))
}

fn addresses(port: u16, duration: Duration) -> io::Result<String> {
    let sent = addr_flood(&Peer::connect(port), 1000, Duration::from_secs(2), duration)?;
    Ok(format!("{sent} messages of 1000 addresses"))
}

fn announcements(port: u16, duration: Duration) -> io::Result<String> {
    let sent = inv_flood(&Peer::connect(port), 1000, Duration::from_secs(1), duration)?;
    Ok(format!("{sent} messages of 1000 announcements"))
}

fn orphan_transactions(port: u16, duration: Duration) -> io::Result<String> {
    let sent = orphans(&Peer::connect(port), 20, duration)?;
    Ok(format!("{sent} orphan transactions"))
}

fn misbehaviours(port: u16, duration: Duration) -> io::Result<String> {
    for how in Misbehaviour::ALL {
        let peer = Peer::connect(port);
        misbehave(&peer, how)?;
        std::thread::sleep(duration / Misbehaviour::ALL.len() as u32);
        if peer.is_connected() {
            return Err(io::Error::other(format!(
                "{how:?} is no misbehaviour to this node, or the time is too short"
            )));
        }
    }
    Ok(format!("{} peers were disconnected", Misbehaviour::ALL.len()))
}

fn requests(port: u16, duration: Duration) -> io::Result<String> {
    let sent = getdata_flood(&open_many(port, 16), duration)?;
    Ok(format!("{sent} messages of 50,000 requests"))
}

fn churn(port: u16, duration: Duration) -> io::Result<String> {
    let opened = connection_churn(port, 120, duration)?;
    Ok(format!("{opened} connections"))
}

fn drop_together(port: u16, duration: Duration) -> io::Result<String> {
    let peers = open_many(port, 25);
    std::thread::sleep(duration);
    let count = peers.len();
    drop(peers);
    Ok(format!("{count} connections closed together"))
}
