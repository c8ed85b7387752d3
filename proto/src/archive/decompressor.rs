//! A zstd stream read block by block.
//!
//! zstd returns nothing from a call that meets damage, not even the blocks before it. So each call is given one block
//! at most: what was whole before the damage is out by then.

use std::io::{self, Read};

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation as _, OutBuffer};

/// What a zstd stream begins with.
pub(super) const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Largest window accepted, as a power of two: 128 MiB, that of zstd's highest levels.
const WINDOW_LOG_MAX: u32 = 27;
/// A little more than the largest block.
const INPUT_BYTES: usize = 160 << 10;
/// zstd asks for a block together with the header of the next.
const BLOCK_HEADER_BYTES: usize = 3;

/// Why the decompressor has nothing more to give.
pub(super) enum DecompressError {
    /// The source cannot be read.
    Source(io::Error),
    /// The compressed bytes are damaged.
    Damaged(io::Error),
    /// The source ended inside a stream.
    Unfinished,
}

/// Decompresses any number of zstd streams that follow each other.
pub(super) struct Decompressor {
    decoder: Decoder<'static>,
    input: Box<[u8]>,
    start: usize,
    end: usize,
    /// How many bytes zstd wants next.
    wanted: usize,
    is_inside_stream: bool,
    /// A part of the last block may still be in the decoder, for want of room.
    is_pending: bool,
}

impl Decompressor {
    /// `start` is what was already read of the source.
    pub fn new(start: &[u8]) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
        let mut input = vec![0; INPUT_BYTES].into_boxed_slice();
        input[..start.len()].copy_from_slice(start);
        Ok(Decompressor {
            decoder,
            input,
            start: 0,
            end: start.len(),
            wanted: 0,
            is_inside_stream: false,
            is_pending: false,
        })
    }

    /// How many bytes of the source were read ahead.
    pub fn bytes_ahead(&self) -> usize {
        self.end - self.start
    }

    /// Writes some decompressed bytes into `room`, which is not empty, and returns how many; 0 at the end.
    pub fn read(&mut self, source: &mut impl Read, room: &mut [u8]) -> Result<usize, DecompressError> {
        if self.is_pending {
            let written = self.step(0, room)?;
            if written > 0 {
                return Ok(written);
            }
        }
        loop {
            if self.start == self.end {
                self.end = source.read(&mut self.input).map_err(DecompressError::Source)?;
                self.start = 0;
                if self.end == 0 && self.is_inside_stream {
                    return Err(DecompressError::Unfinished);
                } else if self.end == 0 {
                    return Ok(0);
                }
            }
            let block = match self.wanted {
                0..=BLOCK_HEADER_BYTES => self.wanted.max(1),
                _ => self.wanted - BLOCK_HEADER_BYTES,
            };
            let written = self.step(block.min(self.bytes_ahead()), room)?;
            if written > 0 {
                return Ok(written);
            }
        }
    }

    /// Gives zstd the next `len` bytes of input and returns how many it wrote.
    fn step(&mut self, len: usize, room: &mut [u8]) -> Result<usize, DecompressError> {
        let room_bytes = room.len();
        let mut input = InBuffer::around(&self.input[self.start..self.start + len]);
        let mut output = OutBuffer::around(room);
        self.wanted = self.decoder.run(&mut input, &mut output).map_err(DecompressError::Damaged)?;
        self.start += input.pos();
        self.is_inside_stream = self.wanted > 0;
        self.is_pending = self.is_inside_stream && output.pos() == room_bytes;
        Ok(output.pos())
    }
}
