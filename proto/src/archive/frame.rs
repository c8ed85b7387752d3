//! One event as it stands in a recording.

use std::ops::Range;

use bytes::Bytes;

use super::envelope::{EnvelopeError, Spans, slice};

/// One event: its bytes and what its top level says.
///
/// The payload shares its memory with the frames read around it. Keeping one keeps their whole chunk of 256 KiB;
/// to keep a frame for long, copy its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Where its length stands, in bytes of the uncompressed archive.
    pub offset: u64,
    /// The encoded `event.Event`.
    pub payload: Bytes,
    /// When the extractor built the event, in unix ms, 2009-01-03 to 2106-02-07.
    pub timestamp_ms: u64,
    /// When the engine or the recorder received the event, in unix ms, not checked.
    pub received_at_ms: Option<u64>,
    /// Running number per node and extractor.
    pub sequence: Option<u64>,
    /// Field number of the extractor's message in `Event`: 1 to 5, or [`OBSERVER`](super::OBSERVER).
    pub extractor: u32,
    body: Range<u32>,
    node: Option<Range<u32>>,
}

impl Frame {
    /// Checks `payload` as [`envelope`](super::envelope()) does. For an event that is in no archive, `offset` is free.
    pub fn parse(offset: u64, payload: Bytes) -> Result<Frame, EnvelopeError> {
        let Spans { timestamp_ms, node, received_at_ms, sequence, extractor, body } = Spans::find(&payload)?;
        Ok(Frame { offset, payload, timestamp_ms, received_at_ms, sequence, extractor, body, node })
    }

    /// The extractor's message, encoded.
    pub fn body(&self) -> &[u8] {
        slice(&self.payload, &self.body)
    }

    /// Where the extractor's message is within the payload.
    pub fn body_range(&self) -> Range<u32> {
        self.body.clone()
    }

    /// Name of the node; peer-observer's own streams leave it out.
    pub fn node(&self) -> Option<&str> {
        let node = slice(&self.payload, self.node.as_ref()?);
        Some(std::str::from_utf8(node).expect("checked when the frame was parsed"))
    }
}
