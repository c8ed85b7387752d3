//! What reads a Bitcoin node: one module an interface, each with decoding that is pure and I/O that is thin.
//!
//! An extractor is a function `run(config, emitter, shutdown)` that ends only when it is told to: it waits for a node
//! that is not there, reconnects to one that was lost, and counts what it cannot read. What it saw goes to its
//! [`Emitter`], which numbers, stamps and encodes it and puts it on the bus.

// Extractors are where clocks and sockets belong; the lint guards the engine.
#![allow(clippy::disallowed_methods)]

mod backoff;
pub mod ebpf;
mod emitter;
pub mod ipc;
pub mod log;
pub mod p2p;
mod primitives;
pub mod rpc;
mod supervisor;

pub use backoff::Backoff;
pub use emitter::{Bus, Emitter, Outgoing, bus, now_ms};
pub use supervisor::{NodeExtractors, start};
pub use tokio_util::sync::CancellationToken;
