//! Writes an archive that peer-observer's tools and [`ArchiveReader`](super::ArchiveReader) read.

use std::io::{self, BufWriter, Write};

use prost::Message as _;

use super::MAX_FRAME_BYTES;
use crate::pb::archive::ArchiveHeader;

/// How an archive is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    None,
    /// One zstd stream with a checksum at its end.
    Zstd {
        /// 1 (fast) to 22 (small, and takes 835 MB to write); 0 is zstd's default.
        level: i32,
    },
}

/// Writes events behind a header. After an error the archive ends in the middle of something: begin a new one.
///
/// Dropped without [`finish`](Self::finish), a compressed archive reads as one that is still being written.
pub struct ArchiveWriter<W: Write> {
    sink: BufWriter<Sink<W>>,
}

enum Sink<W: Write> {
    Plain(W),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins an archive with `header`. `sink` needs no buffer.
    pub fn new(sink: W, header: &ArchiveHeader, compression: Compression) -> io::Result<Self> {
        let sink = match compression {
            Compression::None => Sink::Plain(sink),
            Compression::Zstd { level } => {
                let mut encoder = zstd::stream::write::Encoder::new(sink, level)?;
                encoder.include_checksum(true)?;
                Sink::Zstd(encoder)
            }
        };
        let mut writer = ArchiveWriter { sink: BufWriter::with_capacity(64 << 10, sink) };
        writer.sink.write_all(&header.encode_length_delimited_to_vec())?;
        Ok(writer)
    }

    /// Appends one encoded `event.Event` as it is, without looking into it.
    ///
    /// Errs with `InvalidInput`, and writes nothing, if it is longer than [`MAX_FRAME_BYTES`].
    pub fn write_event(&mut self, payload: &[u8]) -> io::Result<()> {
        if payload.len() > MAX_FRAME_BYTES {
            let found = format!("event has {} bytes, expected at most {MAX_FRAME_BYTES}", payload.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, found));
        }
        let mut length = [0; 10];
        let mut rest = &mut length[..];
        prost::encoding::encode_varint(payload.len() as u64, &mut rest);
        let unused = rest.len();
        self.sink.write_all(&length[..10 - unused])?;
        self.sink.write_all(payload)
    }

    /// Makes all that was written so far readable. Each call ends a zstd block, so frequent ones compress worse.
    pub fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    /// Completes the archive and returns what it was written to.
    pub fn finish(self) -> io::Result<W> {
        let mut sink = match self.sink.into_inner().map_err(io::IntoInnerError::into_error)? {
            Sink::Plain(sink) => sink,
            Sink::Zstd(encoder) => encoder.finish()?,
        };
        sink.flush()?;
        Ok(sink)
    }
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Plain(sink) => sink.write(bytes),
            Sink::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::Plain(sink) => sink.flush(),
            Sink::Zstd(encoder) => encoder.flush(),
        }
    }
}
