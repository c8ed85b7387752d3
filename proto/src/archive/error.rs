//! What can be wrong with an archive. The caller adds which one.

use std::io;

use super::envelope::EnvelopeError;

/// What is wrong with an archive, and where in its uncompressed bytes.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// There is not a single byte.
    #[error("archive is empty, expected a header and events")]
    Empty,
    /// It does not begin as an archive does.
    #[error("offset 0: {found}, expected the header of a peer-observer archive")]
    Header {
        /// What is there instead.
        found: String,
    },
    /// One frame is not an event; reading goes on with the next.
    #[error("offset {offset}: frame of {len} bytes is not an event: {reason}")]
    DamagedFrame {
        /// Where its length stands.
        offset: u64,
        /// Length of its payload.
        len: usize,
        /// What is wrong with it.
        reason: EnvelopeError,
    },
    /// The archive is older than the schema.
    #[error("offset {offset}: {}", EnvelopeError::Legacy)]
    LegacySchema {
        /// Where the first such event stands.
        offset: u64,
    },
    /// Where the frames begin is no longer known.
    #[error("offset {offset}: {found}; the events after it cannot be told apart")]
    FramingLost {
        /// The last place known to begin a frame.
        offset: u64,
        /// What is there instead.
        found: String,
    },
    /// The archive ends inside a frame: it was cut, or is still being written.
    #[error("offset {offset}: archive ends inside a frame, found {have} bytes of it, expected {want}")]
    CutShort {
        /// Where the frame's length stands.
        offset: u64,
        /// Bytes of length and payload that are there.
        have: usize,
        /// Bytes of length and payload that the frame has, or one more than `have` if its length is cut.
        want: usize,
    },
    /// The archive ends between two frames, but its zstd stream was not closed.
    #[error(
        "offset {offset}: archive ends before its zstd stream does: it was cut, or is still being written"
    )]
    UnfinishedStream {
        /// Where the next frame would begin.
        offset: u64,
    },
    /// The zstd stream is damaged. All that was decompressed before it has been read.
    #[error(
        "offset {offset}: zstd stream is damaged near byte {source_offset} of the compressed file: {reason}"
    )]
    Compression {
        /// How far the archive could be decompressed.
        offset: u64,
        /// Place in the compressed file.
        source_offset: u64,
        /// What zstd says.
        reason: io::Error,
    },
    /// The source cannot be read.
    #[error("offset {offset}: read failed: {reason}")]
    Read {
        /// How far the archive could be read.
        offset: u64,
        /// What the source says.
        reason: io::Error,
    },
}

impl ArchiveError {
    /// True if nothing can be read after this error.
    pub fn is_final(&self) -> bool {
        !matches!(self, ArchiveError::DamagedFrame { .. })
    }
}
