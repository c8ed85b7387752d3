//! Which connection is the node's: the first that was ready, for as long as it lasts.
//!
//! Others are answered and kept, so that the node need not dial again if a stranger was quicker, but nothing
//! of them is reported. One of them moves up when the seat becomes free.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// After this silence a newer connection from the same machine moves up.
///
/// A machine that lost power does not close its connections; the node on it connects anew. A node that hangs
/// does not.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A connection that is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its number.
    pub(super) id: u64,
    /// Where it comes from.
    pub(super) address: IpAddr,
    /// When it was ready.
    pub(super) since: Instant,
    /// When its last bytes arrived.
    pub(super) heard_at: Instant,
}

/// What came of a claim.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The seat was the candidate's already.
    Held,
    /// The seat was free and is the candidate's now.
    Taken,
    /// The seat is the candidate's now, and was that of a connection whose machine is gone.
    TakenFrom(Candidate),
    /// The seat is another's.
    Occupied,
}

/// The seat of the node.
#[derive(Debug, Default)]
pub(super) struct Seat {
    holder: Mutex<Option<Candidate>>,
}

impl Seat {
    /// Claims the seat, at `now`.
    pub(super) fn claim(&self, candidate: Candidate, now: Instant) -> Claim {
        let mut holder = self.holder();
        let claim = match *holder {
            Some(current) if current.id == candidate.id => Claim::Held,
            Some(current) if !is_gone(&current, &candidate, now) => return Claim::Occupied,
            Some(current) => Claim::TakenFrom(current),
            None => Claim::Taken,
        };
        *holder = Some(candidate);
        claim
    }

    /// Gives the seat up, if it is held.
    pub(super) fn leave(&self, id: u64) {
        self.holder().take_if(|current| current.id == id);
    }

    /// The number of the connection that holds it.
    pub(super) fn held_by(&self) -> Option<u64> {
        self.holder().map(|current| current.id)
    }

    fn holder(&self) -> MutexGuard<'_, Option<Candidate>> {
        // Nothing panics while it holds the lock.
        self.holder.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// True if the holder's machine has connected anew. On loopback there is no such machine: a silent holder
/// hangs.
fn is_gone(holder: &Candidate, candidate: &Candidate, now: Instant) -> bool {
    let is_silent = now.saturating_duration_since(holder.heard_at) >= SILENCE_MAX;
    is_silent
        && candidate.id > holder.id
        && holder.address == candidate.address
        && !holder.address.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn candidate(id: u64, address: IpAddr, heard_at: Instant) -> Candidate {
        Candidate { id, address, since: heard_at, heard_at }
    }

    #[test]
    fn the_first_keeps_the_seat_until_it_leaves() {
        let (seat, now) = (Seat::default(), Instant::now());
        assert_eq!(seat.claim(candidate(1, LOOPBACK, now), now), Claim::Taken);
        assert_eq!(seat.claim(candidate(2, LOOPBACK, now), now), Claim::Occupied);
        assert_eq!(seat.claim(candidate(1, LOOPBACK, now), now), Claim::Held);
        seat.leave(2);
        assert_eq!(seat.held_by(), Some(1));
        seat.leave(1);
        assert_eq!(seat.claim(candidate(2, LOOPBACK, now), now), Claim::Taken);
    }

    #[track_caller]
    fn check_after_silence(holder: IpAddr, newcomer: IpAddr, silence: Duration, moves_up: Option<u64>) {
        let (seat, start) = (Seat::default(), Instant::now());
        let first = candidate(1, holder, start);
        seat.claim(first, start);
        let now = start + silence;
        let expected = moves_up.map_or(Claim::Occupied, |_| Claim::TakenFrom(first));
        assert_eq!(seat.claim(candidate(2, newcomer, now), now), expected);
        assert_eq!(seat.held_by(), moves_up.or(Some(1)));
    }

    #[test]
    fn a_machine_that_came_back_takes_its_seat_again() {
        check_after_silence(FAR, FAR, SILENCE_MAX, Some(2));
        check_after_silence(FAR, FAR, SILENCE_MAX - Duration::from_millis(1), None);
        let other = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
        check_after_silence(FAR, other, SILENCE_MAX, None);
    }

    #[test]
    fn a_node_that_hangs_on_loopback_keeps_its_seat() {
        check_after_silence(LOOPBACK, LOOPBACK, Duration::from_secs(3600), None);
    }
}
