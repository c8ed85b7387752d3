//! Many connections, and short ones.

use std::io;
use std::time::Duration;

use super::peer::source;
use super::{Peer, repeat};

/// Opens so many connections, each from another address of 127.0.0.0/8. Dropping the list closes them together.
#[track_caller]
pub fn open_many(p2p_port: u16, peers: usize) -> Vec<Peer> {
    let open = |number| Peer::connect_from(source(number), p2p_port);
    (0..peers).map(|number| open(number).unwrap_or_else(|error| panic!("peer {number}: {error}"))).collect()
}

/// Opens connections at this rate, shakes hands and closes each at once. Returns how many there were.
pub fn connection_churn(p2p_port: u16, per_minute: u32, duration: Duration) -> io::Result<u64> {
    let mut number = 0;
    repeat(Duration::from_secs(60) / per_minute, duration, || {
        number += 1;
        Peer::connect_from(source(number), p2p_port).map(Peer::close)
    })
}
