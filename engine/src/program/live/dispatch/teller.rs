//! How the engine's thread tells dispatch what alerts do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tocsin_engine::dispatch::alert::{AlertChange, Fingerprint};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::names::NodeNames;

/// Changes on their way at most; beyond that the engine waits.
const ON_THE_WAY_MAX: usize = 1024;
/// Time between two looks for room.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What dispatch is told by the engine.
#[derive(Debug)]
pub enum Told {
    /// An alert fired or resolved.
    Changed {
        /// What it did.
        change: AlertChange,
        /// False if it is done again after a restart.
        is_new: bool,
    },
    /// Newer values of some that fire.
    Refreshed(Vec<AlertChange>),
    /// All alerts, after a restart or a reload.
    Reconciled {
        /// Those that fire.
        firing: Vec<AlertChange>,
        /// Those that may.
        pending: Vec<Fingerprint>,
    },
}

/// The engine's end of the line.
#[derive(Debug)]
pub struct Teller {
    line: mpsc::Sender<Told>,
    nodes: NodeNames,
    told: u64,
    committed: Arc<AtomicU64>,
    has_orphans: Arc<AtomicBool>,
}

/// The end of dispatch.
#[derive(Debug)]
pub struct Listener {
    /// What is told.
    pub line: mpsc::Receiver<Told>,
    /// How much of it is stored.
    pub committed: Arc<AtomicU64>,
    /// Whether dispatch knows alerts as firing that the engine did not say to fire.
    pub has_orphans: Arc<AtomicBool>,
}

/// A line from the engine to dispatch; `nodes` are the names that dispatch hides where it is to.
pub fn line(nodes: NodeNames) -> (Teller, Listener) {
    let (sender, receiver) = mpsc::channel(ON_THE_WAY_MAX);
    let committed = Arc::new(AtomicU64::new(0));
    let has_orphans = Arc::new(AtomicBool::new(false));
    let listener =
        Listener { line: receiver, committed: committed.clone(), has_orphans: has_orphans.clone() };
    (Teller { line: sender, nodes, told: 0, committed, has_orphans }, listener)
}

impl Teller {
    /// Names nodes that are watched; to be said before the alerts that may tell of them.
    pub fn name<'n>(&self, nodes: impl IntoIterator<Item = &'n String>) {
        self.nodes.learn(nodes);
    }

    /// Tells; waits where dispatch is behind. False if dispatch has ended.
    pub fn tell(&mut self, mut told: Told) -> bool {
        // Counted first: what nobody hears any more is never stored, and no checkpoint may be written past it.
        self.told += 1;
        loop {
            match self.line.try_send(told) {
                Ok(()) => return true,
                Err(TrySendError::Full(back)) => told = back,
                Err(TrySendError::Closed(_)) => return false,
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Tells what may be left out where dispatch is behind.
    pub fn mention(&mut self, told: Told) {
        if self.line.capacity() > ON_THE_WAY_MAX / 2 && self.line.try_send(told).is_ok() {
            self.told += 1;
        }
    }

    /// True if dispatch waits to hear what became of alerts that it knows.
    pub fn has_orphans(&self) -> bool {
        self.has_orphans.load(Ordering::Relaxed)
    }

    /// True if all that was told is stored.
    pub fn is_committed(&self) -> bool {
        self.committed.load(Ordering::Acquire) == self.told
    }

    /// Waits until all that was told is stored; false if it is not within `patience`.
    pub fn wait_committed(&self, patience: Duration) -> bool {
        let looks = patience.as_millis() / LOOK_EVERY.as_millis();
        for _ in 0..looks {
            if self.is_committed() || self.line.is_closed() {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.is_committed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_after_dispatch_failed_is_never_taken_for_stored() {
        let (mut teller, listener) = line(NodeNames::default());
        assert!(teller.tell(Told::Reconciled { firing: Vec::new(), pending: Vec::new() }));
        listener.committed.store(1, Ordering::Release);
        assert!(teller.is_committed());
        drop(listener);
        assert!(!teller.tell(Told::Reconciled { firing: Vec::new(), pending: Vec::new() }));
        assert!(!teller.wait_committed(Duration::from_secs(60)));
    }
}
