//! Reads an archive frame by frame, past damaged frames, up to where it cannot be understood.

use std::io::{self, Read};

use prost::Message as _;

use super::chunk::Chunk;
use super::decompressor::{DecompressError, Decompressor, ZSTD_MAGIC};
use super::varint;
use super::{ArchiveError, EnvelopeError, Frame, MAX_FRAME_BYTES};
use crate::pb::archive::ArchiveHeader;

/// A header holds a time, a flag and a name.
const HEADER_BYTES_MAX: u64 = 64 << 10;
/// What the header of older archives begins with, and its length.
const OLD_HEADER_MAGIC: [u8; 2] = *b"PA";
const OLD_HEADER_BYTES: usize = 16;
/// A flipped length makes garbage of all that follows, a flipped payload of one frame only.
const DAMAGED_IN_A_ROW_MAX: u32 = 3;

/// The events of one archive, in the order they were recorded.
///
/// As an iterator it yields every sound frame, an error for each damaged one, and at the end nothing or one error
/// that [is final](ArchiveError::is_final).
pub struct ArchiveReader<R> {
    source: Counted<R>,
    decompressor: Option<Decompressor>,
    chunk: Chunk,
    /// Where the chunk begins in the uncompressed archive.
    offset: u64,
    header: ArchiveHeader,
    damage: DamagedRun,
    is_at_end: bool,
}

/// Damaged frames since the last sound one.
#[derive(Default)]
struct DamagedRun {
    offset: u64,
    frames: u32,
    legacy: u32,
}

impl<R: Read> ArchiveReader<R> {
    /// Reads the header. `source` needs no buffer, and may be compressed with zstd or not.
    ///
    /// Errs if the archive is empty, cut inside the header, not readable, or no archive.
    pub fn new(source: R) -> Result<Self, ArchiveError> {
        let mut source = Counted { source, bytes: 0 };
        let read_failed = |reason| ArchiveError::Read { offset: 0, reason };
        let mut start = [0; ZSTD_MAGIC.len()];
        let mut len = 0;
        while len < start.len() {
            match source.read(&mut start[len..]).map_err(read_failed)? {
                0 => break,
                added => len += added,
            }
        }
        let (decompressor, chunk) = if start == ZSTD_MAGIC {
            (Some(Decompressor::new(&start).map_err(read_failed)?), Chunk::new(&[]))
        } else {
            (None, Chunk::new(&start[..len]))
        };
        let mut reader = ArchiveReader {
            source,
            decompressor,
            chunk,
            offset: 0,
            header: ArchiveHeader::default(),
            damage: DamagedRun::default(),
            is_at_end: false,
        };
        reader.read_header()?;
        Ok(reader)
    }

    /// What the archive says about itself. All of it is zero or absent in archives from before May 2026.
    pub fn header(&self) -> &ArchiveHeader {
        &self.header
    }

    /// The next frame, a damaged frame as an error, or `None` at the end or after a final error.
    pub fn next_frame(&mut self) -> Option<Result<Frame, ArchiveError>> {
        if self.is_at_end {
            return None;
        }
        let next = self.read_frame().transpose();
        self.is_at_end = match &next {
            None => true,
            Some(Ok(_)) => false,
            Some(Err(error)) => error.is_final(),
        };
        next
    }

    /// Bytes of the uncompressed archive up to the next frame.
    pub fn bytes_read(&self) -> u64 {
        self.offset
    }

    /// Bytes consumed of the source, which is compressed or not; read ahead by up to 256 KiB if not.
    pub fn source_bytes_read(&self) -> u64 {
        let ahead = self.decompressor.as_ref().map_or(0, Decompressor::bytes_ahead);
        self.source.bytes - ahead as u64
    }

    fn read_header(&mut self) -> Result<(), ArchiveError> {
        if self.fill(2)? && self.chunk.filled().starts_with(&OLD_HEADER_MAGIC) {
            self.take(0, OLD_HEADER_BYTES)?;
            return Ok(());
        }
        let no_header = |found| ArchiveError::Header { found };
        let (len, len_bytes) = match self.read_length() {
            Ok(Some((len @ 1..=HEADER_BYTES_MAX, len_bytes))) => (len as usize, len_bytes),
            Ok(Some((len, _))) => return Err(no_header(format!("header has {len} bytes"))),
            Ok(None) => return Err(ArchiveError::Empty),
            Err(ArchiveError::FramingLost { found, .. }) => return Err(no_header(found)),
            Err(error) => return Err(error),
        };
        let encoded = self.take(len_bytes, len)?;
        self.header = ArchiveHeader::decode(encoded).map_err(|error| no_header(error.to_string()))?;
        Ok(())
    }

    fn read_frame(&mut self) -> Result<Option<Frame>, ArchiveError> {
        let offset = self.offset;
        let Some((len, len_bytes)) = self.read_length()? else {
            return Ok(None);
        };
        if len > MAX_FRAME_BYTES as u64 {
            let found = format!("frame has {len} bytes, expected at most {MAX_FRAME_BYTES}");
            return Err(self.framing_lost(found));
        }
        let len = len as usize;
        let payload = self.take(len_bytes, len)?;
        match Frame::parse(offset, payload) {
            Ok(frame) => {
                self.damage.frames = 0;
                Ok(Some(frame))
            }
            Err(reason) => Err(self.damaged(offset, len, reason)),
        }
    }

    /// The length at the chunk's start and the bytes it takes, or `None` at the end of the archive.
    #[inline]
    fn read_length(&mut self) -> Result<Option<(u64, usize)>, ArchiveError> {
        loop {
            match varint::decode(self.chunk.filled()) {
                Ok(length) => return Ok(Some(length)),
                Err(varint::VarintError::Malformed) => {
                    return Err(self.framing_lost("length has more than 64 bits".to_string()));
                }
                Err(varint::VarintError::Incomplete) => {
                    let have = self.chunk.filled().len();
                    if !self.fill(have + 1)? {
                        let cut = ArchiveError::CutShort { offset: self.offset, have, want: have + 1 };
                        return if have == 0 { Ok(None) } else { Err(cut) };
                    }
                }
            }
        }
    }

    /// Consumes `skip` bytes and then `len` bytes, which it returns.
    #[inline]
    fn take(&mut self, skip: usize, len: usize) -> Result<bytes::Bytes, ArchiveError> {
        let want = skip + len;
        if self.chunk.filled().len() < want && !self.fill(want)? {
            let have = self.chunk.filled().len();
            return Err(ArchiveError::CutShort { offset: self.offset, have, want });
        }
        self.offset += want as u64;
        Ok(self.chunk.take(skip, len))
    }

    /// Reads until the chunk has `want` bytes; `false` if the archive ends before that.
    #[cold]
    fn fill(&mut self, want: usize) -> Result<bool, ArchiveError> {
        while self.chunk.filled().len() < want {
            let (source, decompressor) = (&mut self.source, &mut self.decompressor);
            let added = self.chunk.fill(want, |room| match decompressor {
                Some(decompressor) => decompressor.read(source, room),
                None => source.read(room).map_err(DecompressError::Source),
            });
            match added {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                // Cut inside a frame, that says more than inside a stream.
                Err(DecompressError::Unfinished) if !self.chunk.filled().is_empty() => return Ok(false),
                Err(error) => return Err(self.fill_failed(error)),
            }
        }
        Ok(true)
    }

    fn fill_failed(&self, error: DecompressError) -> ArchiveError {
        let offset = self.offset + self.chunk.filled().len() as u64;
        match error {
            DecompressError::Source(reason) => ArchiveError::Read { offset, reason },
            DecompressError::Unfinished => ArchiveError::UnfinishedStream { offset },
            DecompressError::Damaged(reason) => {
                ArchiveError::Compression { offset, source_offset: self.source_bytes_read(), reason }
            }
        }
    }

    #[cold]
    fn damaged(&mut self, offset: u64, len: usize, reason: EnvelopeError) -> ArchiveError {
        if matches!(reason, EnvelopeError::UnknownExtractor { .. }) {
            // Sound but for its content: the framing is right, however many of them follow each other.
            self.damage.frames = 0;
            return ArchiveError::DamagedFrame { offset, len, reason };
        }
        if self.damage.frames == 0 {
            self.damage = DamagedRun { offset, frames: 0, legacy: 0 };
        }
        self.damage.frames += 1;
        self.damage.legacy += u32::from(reason == EnvelopeError::Legacy);
        if self.damage.frames < DAMAGED_IN_A_ROW_MAX {
            ArchiveError::DamagedFrame { offset, len, reason }
        } else if self.damage.legacy == self.damage.frames {
            ArchiveError::LegacySchema { offset: self.damage.offset }
        } else {
            self.framing_lost(format!("{} frames in a row are not events", self.damage.frames))
        }
    }

    #[cold]
    fn framing_lost(&self, found: String) -> ArchiveError {
        let offset = if self.damage.frames > 0 { self.damage.offset } else { self.offset };
        ArchiveError::FramingLost { offset, found }
    }
}

impl<R: Read> Iterator for ArchiveReader<R> {
    type Item = Result<Frame, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_frame()
    }
}

/// A source that counts what was read from it.
struct Counted<R> {
    source: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.source.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(added) => {
                    self.bytes += added as u64;
                    return Ok(added);
                }
            }
        }
    }
}
