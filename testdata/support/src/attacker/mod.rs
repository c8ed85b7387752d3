//! Attacks on a regtest node of one's own, so that the rules fire on what really happens.
//!
//! Everything here connects to 127.0.0.1 and speaks with regtest's network magic: it takes a port and no address, and a
//! node of another network hangs up at the first message. Each attack is one peer's behaviour and blocks until it is
//! over; run several in threads. The node should run with `-connect=0`, so that it dials none of the addresses it is
//! told. The same program sends the same random numbers in each run.

mod blocks;
mod catalogue;
mod connections;
mod floods;
mod misbehaviour;
mod peer;
mod random;
mod wire;

use std::io;
use std::time::{Duration, Instant};

pub use blocks::ForeignChain;
pub use catalogue::{ATTACKS, Attack};
pub use connections::{connection_churn, open_many};
pub use floods::{addr_flood, getdata_flood, inv_flood, orphans, ping_spam};
pub use misbehaviour::{Misbehaviour, misbehave};
pub use peer::Peer;

/// Acts at once and then every `period` until `duration` is over; returns how often. The first error ends it.
///
/// Where an act takes longer than the period, the ones after it follow at once until the average is right again.
fn repeat(period: Duration, duration: Duration, mut act: impl FnMut() -> io::Result<()>) -> io::Result<u64> {
    assert!(!period.is_zero(), "a period of nothing never ends");
    let began_at = Instant::now();
    let mut times = 0;
    let mut due = Duration::ZERO;
    while due < duration && began_at.elapsed() < duration {
        act()?;
        times += 1;
        due += period;
        std::thread::sleep(due.min(duration).saturating_sub(began_at.elapsed()));
    }
    Ok(times)
}
