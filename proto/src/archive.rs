//! Recordings: peer-observer archives, read and written.
//!
//! An archive is `[varint length][ArchiveHeader]` and then `[varint length][event.Event]` to the end, plain or inside
//! zstd. Every whole event before a damage is yielded, byte for byte as it was published, and no input makes the reader
//! panic. It holds at most one frame of [`MAX_FRAME_BYTES`], one chunk of 256 KiB and zstd's window of 128 MiB.

mod chunk;
mod decompressor;
mod envelope;
mod error;
mod frame;
mod reader;
mod varint;
mod writer;

#[cfg(test)]
mod tests;

pub use envelope::{Envelope, EnvelopeError, OBSERVER, envelope};
pub use error::ArchiveError;
pub use frame::Frame;
pub use reader::ArchiveReader;
pub use writer::{ArchiveWriter, Compression};

/// Longest event accepted, in bytes. A block of 4 MB, the largest real payload, takes an eighth of it.
pub const MAX_FRAME_BYTES: usize = 32 << 20;
