//! The node's tracepoints (USDT), read through eBPF, and what its threads use.
//!
//! A straight line: the programs in `bpf/` write records into rings; [`record`] reads them, [`event`] and [`message`]
//! make events of them, [`rings`] puts these into the order of time, [`session`] hands them out. Attaching is per
//! process and to the very file it runs, so other nodes on the machine are not seen, and a replaced program is.

mod clock;
mod config;
mod event;
mod message;
mod order;
mod privileges;
mod probes;
mod process;
mod record;
mod rings;
mod session;
mod stat;
#[cfg(test)]
mod tests;
mod usage;

pub use config::{Capture, Config, Group, Rings};
pub use message::RawTransactions;
pub use privileges::become_user;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tokio_util::sync::CancellationToken;

use crate::Emitter;

/// A record as an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// When the probe fired, in nanoseconds of CLOCK_MONOTONIC.
    pub at: u64,
    /// Fields that could not be read from the node's memory and are empty, as bits; see `bpf/records.h`.
    pub unread: u16,
    /// The event.
    pub event: PeerObserverEvent,
}

/// Decodes a record of the tracepoint programs (`bpf/records.h`). `None` if it is none.
pub fn decode(bytes: &[u8], raw: RawTransactions) -> Option<Decoded> {
    let record = record::read(bytes)?;
    Some(Decoded { at: record.at, unread: record.unread, event: event::event(&record, raw) })
}

/// Runs until `shutdown` is cancelled, in a thread of its own that gives up its privileges.
pub async fn run(config: Config, emitter: Emitter, shutdown: CancellationToken) {
    let (ended, has_ended) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name("ebpf".to_string()).spawn({
        let (emitter, shutdown) = (emitter.clone(), shutdown.clone());
        move || {
            let _ended = ended;
            session::run(&config, &emitter, &shutdown);
        }
    });
    match thread {
        Ok(thread) => {
            let _ = has_ended.await;
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        Err(error) => emitter.error(format!("no thread to read tracepoints: {error}")),
    }
}
