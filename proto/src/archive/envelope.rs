//! The top level of an event, looked at without decoding what is inside.
//!
//! Accepts exactly what `event.proto` describes and reads no further than the first level, so an event with a 4 MB
//! block in it costs as much as a ping.

use std::ops::Range;

use super::MAX_FRAME_BYTES;
use super::varint::{self, VarintError};

/// 2009-01-03, the day of the genesis block, in unix ms.
const TIMESTAMP_MS_MIN: u64 = 1_230_940_800_000;
/// The last millisecond of 2106-02-07 that Bitcoin's 32-bit unix seconds can express.
const TIMESTAMP_MS_MAX: u64 = u32::MAX as u64 * 1000 + 999;
/// Before December 2025 the timestamp was in seconds; as milliseconds they would all lie before March 1973.
const LEGACY_TIMESTAMP_BELOW: u64 = 100_000_000_000;

/// Field of what the monitor says of itself: ours, and therefore above 100.
pub const OBSERVER: u32 = 110;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH_DELIMITED: u32 = 2;
const FIXED32: u32 = 5;

/// What stands around an event's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// When the extractor built the event, in unix ms, 2009-01-03 to 2106-02-07.
    pub timestamp_ms: u64,
    /// Name of the node; peer-observer's own streams leave it out.
    pub node: Option<&'a str>,
    /// When the engine or the recorder received the event, in unix ms, not checked.
    pub received_at_ms: Option<u64>,
    /// Running number per node and extractor.
    pub sequence: Option<u64>,
    /// Field number of the extractor's message in `Event`: 1 to 5, or [`OBSERVER`].
    pub extractor: u32,
    /// The extractor's message, encoded.
    pub body: &'a [u8],
}

/// Why a payload is not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// An integer does not end in the payload or has more than 64 bits.
    #[error("byte {at}: no valid varint, expected one that ends within the {len} bytes of the event")]
    Varint {
        /// Where in the payload.
        at: usize,
        /// Length of the payload.
        len: usize,
    },
    /// A field number or wire type that an event does not have.
    #[error(
        "byte {at}: field {number} has wire type {wire_type}, expected fields 1 to 5, 100 and 110 with wire type 2, \
         10, 101 and 102 with 0, or a number above"
    )]
    Field {
        /// Where in the payload.
        at: usize,
        /// Field number found.
        number: u32,
        /// Wire type found.
        wire_type: u32,
    },
    /// A field reaches past the end of the payload.
    #[error("byte {at}: field has {len} bytes, expected at most the {left} that are left")]
    FieldLength {
        /// Where in the payload its content begins.
        at: usize,
        /// Length it claims.
        len: u64,
        /// Bytes left.
        left: usize,
    },
    /// The node's name is not UTF-8.
    #[error("byte {at}: field 100, the node, is not utf-8")]
    Node {
        /// Where in the payload its content begins.
        at: usize,
    },
    /// Field 10 is missing.
    #[error("no timestamp, expected field 10")]
    NoTimestamp,
    /// The timestamp is no plausible time.
    #[error("timestamp is {timestamp_ms} ms, expected 2009-01-03 to 2106-02-07")]
    Timestamp {
        /// Value of field 10.
        timestamp_ms: u64,
    },
    /// There is an envelope and nothing in it.
    #[error("no extractor, expected one of fields 1 to 5, or 110")]
    NoExtractor,
    /// A sound event of an extractor that this program does not know.
    #[error("extractor is field {number}, expected 1 to 5, or 110: the event is from a newer peer-observer")]
    UnknownExtractor {
        /// Field number, 6 to 9.
        number: u32,
    },
    /// An event of a peer-observer from before 2025-12-11.
    #[error(
        "event is in the legacy schema used before 2025-12-11, expected the later one with its timestamp in \
         milliseconds"
    )]
    Legacy,
    /// Longer than any event.
    #[error("event has {len} bytes, expected at most {MAX_FRAME_BYTES}")]
    TooLong {
        /// Length of the payload.
        len: usize,
    },
}

/// Checks that `payload` is an encoded `event.Event` and returns its top level.
///
/// A field that occurs twice has its last value, as in protobuf. Fields above 102 are skipped. Errs if anything else
/// than the fields of `event.proto` is found, the last field does not end with the payload, or the timestamp or the
/// extractor is missing. The body is not looked at.
pub fn envelope(payload: &[u8]) -> Result<Envelope<'_>, EnvelopeError> {
    let spans = Spans::find(payload)?;
    Ok(Envelope {
        timestamp_ms: spans.timestamp_ms,
        node: spans.node.as_ref().and_then(|node| std::str::from_utf8(slice(payload, node)).ok()),
        received_at_ms: spans.received_at_ms,
        sequence: spans.sequence,
        extractor: spans.extractor,
        body: slice(payload, &spans.body),
    })
}

/// An [`Envelope`] that borrows nothing: places in the payload instead of slices.
///
/// 32-bit, since a payload has at most [`MAX_FRAME_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spans {
    pub timestamp_ms: u64,
    pub node: Option<Range<u32>>,
    pub received_at_ms: Option<u64>,
    pub sequence: Option<u64>,
    pub extractor: u32,
    pub body: Range<u32>,
}

/// The bytes of `payload` at `span`, which was found in it.
pub(super) fn slice<'a>(payload: &'a [u8], span: &Range<u32>) -> &'a [u8] {
    &payload[span.start as usize..span.end as usize]
}

impl Spans {
    pub(super) fn find(payload: &[u8]) -> Result<Spans, EnvelopeError> {
        if payload.len() > MAX_FRAME_BYTES {
            return Err(EnvelopeError::TooLong { len: payload.len() });
        }
        let mut fields = Fields { payload, at: 0 };
        let mut timestamp_ms = None;
        let mut has_microseconds = false;
        let (mut node, mut received_at_ms, mut sequence) = (None, None, None);
        let (mut extractor, mut body) = (0, 0..0);
        while fields.at < payload.len() {
            let at = fields.at;
            match fields.tag()? {
                // 6 to 9 are told apart at the end: what follows says whether this is an event at all.
                (number @ (1..=9 | OBSERVER), LENGTH_DELIMITED) => {
                    body = fields.bytes()?;
                    extractor = number;
                }
                (10, VARINT) => timestamp_ms = Some(fields.varint()?),
                (11, VARINT) => {
                    fields.varint()?;
                    has_microseconds = true;
                }
                (100, LENGTH_DELIMITED) => node = Some(fields.text()?),
                (101, VARINT) => received_at_ms = Some(fields.varint()?),
                (102, VARINT) => sequence = Some(fields.varint()?),
                (103.., wire_type @ (VARINT | FIXED64 | LENGTH_DELIMITED | FIXED32)) => {
                    fields.skip(wire_type)?
                }
                (number, wire_type) => return Err(EnvelopeError::Field { at, number, wire_type }),
            }
        }
        let timestamp_ms = match timestamp_ms {
            _ if has_microseconds => return Err(EnvelopeError::Legacy),
            None => return Err(EnvelopeError::NoTimestamp),
            Some(timestamp) if timestamp < LEGACY_TIMESTAMP_BELOW => return Err(EnvelopeError::Legacy),
            Some(timestamp_ms @ TIMESTAMP_MS_MIN..=TIMESTAMP_MS_MAX) => timestamp_ms,
            Some(timestamp_ms) => return Err(EnvelopeError::Timestamp { timestamp_ms }),
        };
        match extractor {
            0 => Err(EnvelopeError::NoExtractor),
            1..=5 | OBSERVER => Ok(Spans { timestamp_ms, node, received_at_ms, sequence, extractor, body }),
            number => Err(EnvelopeError::UnknownExtractor { number }),
        }
    }
}

/// Walks over the fields of a payload.
struct Fields<'a> {
    payload: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    /// Field number and wire type.
    fn tag(&mut self) -> Result<(u32, u32), EnvelopeError> {
        let at = self.at;
        let tag = u32::try_from(self.varint()?)
            .map_err(|_| EnvelopeError::Varint { at, len: self.payload.len() })?;
        Ok((tag >> 3, tag & 7))
    }

    fn varint(&mut self) -> Result<u64, EnvelopeError> {
        match varint::decode(&self.payload[self.at..]) {
            Ok((value, len)) => {
                self.at += len;
                Ok(value)
            }
            Err(VarintError::Incomplete | VarintError::Malformed) => {
                Err(EnvelopeError::Varint { at: self.at, len: self.payload.len() })
            }
        }
    }

    fn bytes(&mut self) -> Result<Range<u32>, EnvelopeError> {
        let len = self.varint()?;
        self.span(len)
    }

    fn text(&mut self) -> Result<Range<u32>, EnvelopeError> {
        let span = self.bytes()?;
        match std::str::from_utf8(slice(self.payload, &span)) {
            Ok(_) => Ok(span),
            Err(_) => Err(EnvelopeError::Node { at: span.start as usize }),
        }
    }

    fn skip(&mut self, wire_type: u32) -> Result<(), EnvelopeError> {
        match wire_type {
            VARINT => self.varint().map(drop),
            FIXED64 => self.span(8).map(drop),
            FIXED32 => self.span(4).map(drop),
            _ => self.bytes().map(drop),
        }
    }

    fn span(&mut self, len: u64) -> Result<Range<u32>, EnvelopeError> {
        let start = self.at;
        let left = self.payload.len() - start;
        if len > left as u64 {
            return Err(EnvelopeError::FieldLength { at: start, len, left });
        }
        self.at += len as usize;
        Ok(start as u32..self.at as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::encoding;

    const AT_MS: u64 = 1_795_229_768_754;

    /// Encodes `(number, value)` as varint fields and `(number, bytes)` as length-delimited ones.
    #[derive(Default)]
    struct Payload(Vec<u8>);

    impl Payload {
        fn number(mut self, number: u32, value: u64) -> Self {
            encoding::uint64::encode(number, &value, &mut self.0);
            self
        }
        fn bytes(mut self, number: u32, value: &[u8]) -> Self {
            encoding::bytes::encode(number, &value.to_vec(), &mut self.0);
            self
        }
    }

    #[track_caller]
    fn check(payload: Payload, expected: Result<Envelope<'_>, &str>) {
        let found = envelope(&payload.0).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(String::from));
    }

    fn plain(extractor: u32, body: &[u8]) -> Envelope<'_> {
        Envelope { timestamp_ms: AT_MS, node: None, received_at_ms: None, sequence: None, extractor, body }
    }

    #[test]
    fn all_fields_are_found_in_any_order() {
        let payload = Payload::default()
            .bytes(100, b"alice")
            .number(102, 7)
            .number(10, AT_MS)
            .bytes(5, b"ipc")
            .number(101, AT_MS + 1);
        let node = Some("alice");
        let (received_at_ms, sequence) = (Some(AT_MS + 1), Some(7));
        check(payload, Ok(Envelope { node, received_at_ms, sequence, ..plain(5, b"ipc") }));
    }

    #[test]
    fn the_last_occurrence_wins() {
        let payload = Payload::default().bytes(1, b"first").number(10, 0).bytes(2, b"").number(10, AT_MS);
        check(payload, Ok(plain(2, b"")));
    }

    #[test]
    fn fields_of_later_versions_are_skipped_by_wire_type() {
        let mut payload = Payload::default().bytes(1, b"x").number(10, AT_MS).bytes(200, b"y").number(201, 5);
        encoding::fixed64::encode(202, &6, &mut payload.0);
        encoding::fixed32::encode(203, &7, &mut payload.0);
        check(payload, Ok(plain(1, b"x")));
    }

    #[test]
    fn a_group_is_no_field_of_an_event() {
        let mut payload = Payload::default().bytes(1, b"x").number(10, AT_MS);
        encoding::encode_key(103, encoding::WireType::StartGroup, &mut payload.0);
        assert!(matches!(envelope(&payload.0), Err(EnvelopeError::Field { number: 103, wire_type: 3, .. })));
    }

    #[test]
    fn other_numbers_and_wire_types_are_damage() {
        for (number, wire_type) in [(0, 0), (1, 0), (10, 2), (11, 2), (12, 0), (50, 2), (100, 0), (101, 2)] {
            let payload = match wire_type {
                0 => Payload(vec![]).number_raw(number),
                _ => Payload::default().bytes(number, b"x"),
            };
            let found = envelope(&payload.0);
            assert_eq!(found, Err(EnvelopeError::Field { at: 0, number, wire_type }));
        }
    }

    impl Payload {
        /// As `number`, but also with field number 0, which prost refuses to write.
        fn number_raw(mut self, number: u32) -> Self {
            encoding::encode_varint(u64::from(number << 3), &mut self.0);
            self.0.push(1);
            self
        }
    }

    #[test]
    fn every_cut_is_damage() {
        let whole = Payload::default().number(10, AT_MS).bytes(100, b"alice").bytes(1, b"body").0;
        for len in 0..whole.len() {
            assert!(envelope(&whole[..len]).is_err(), "{len} of {} bytes", whole.len());
        }
    }

    #[test]
    fn a_timestamp_and_an_extractor_are_required() {
        check(Payload::default().bytes(1, b"x"), Err("no timestamp, expected field 10"));
        check(
            Payload::default().number(10, AT_MS),
            Err("no extractor, expected one of fields 1 to 5, or 110"),
        );
    }

    #[test]
    fn a_timestamp_outside_bitcoin_s_time_is_damage() {
        let at = |timestamp_ms| Payload::default().bytes(1, b"").number(10, timestamp_ms);
        let early = "timestamp is 1230940799999 ms, expected 2009-01-03 to 2106-02-07";
        check(at(TIMESTAMP_MS_MIN - 1), Err(early));
        let late = "timestamp is 4294967296000 ms, expected 2009-01-03 to 2106-02-07";
        check(at(TIMESTAMP_MS_MAX + 1), Err(late));
        assert!(envelope(&at(TIMESTAMP_MS_MIN).0).is_ok());
        assert!(envelope(&at(TIMESTAMP_MS_MAX).0).is_ok());
    }

    #[test]
    fn seconds_or_microseconds_mark_the_legacy_schema() {
        let legacy = "event is in the legacy schema used before 2025-12-11, expected the later one with its \
                      timestamp in milliseconds";
        check(Payload::default().bytes(8, b"log").number(10, AT_MS / 1000), Err(legacy));
        check(Payload::default().bytes(1, b"x").number(10, AT_MS).number(11, 754), Err(legacy));
    }

    #[test]
    fn an_extractor_of_a_newer_peer_observer_is_named() {
        let newer = "extractor is field 6, expected 1 to 5, or 110: the event is from a newer peer-observer";
        check(Payload::default().bytes(6, b"x").number(10, AT_MS), Err(newer));
    }

    #[test]
    fn a_node_that_is_not_utf_8_is_damage() {
        let payload = Payload::default().bytes(1, b"x").number(10, AT_MS).bytes(100, b"\xff");
        check(payload, Err("byte 13: field 100, the node, is not utf-8"));
    }
}
