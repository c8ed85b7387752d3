//! The engine's state on disk, so that a restart continues.
//!
//! A checkpoint holds the state and the place in the recording it belongs to. After a restart the state is restored and
//! what was recorded after it is read again: nothing that was recorded is lost to the rules, however the end came.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::intake::Memory;
use super::recording::Position;

/// First bytes of a checkpoint: name and version of the format.
const MAGIC: &[u8; 8] = b"tocsin\x00\x01";
/// Largest state that is read.
const BODY_BYTES_MAX: u64 = 4 << 30;

/// State of a running program.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Where the recording goes on; none if nothing is recorded.
    pub position: Option<Position>,
    /// Length of the timeline.
    pub timeline: u64,
    /// What was seen of nodes and extractors.
    pub memory: Memory,
    /// True if the program ended in an orderly way right after it.
    pub clean: bool,
    /// Unix ms.
    pub at_ms: u64,
    /// The engine, as it encodes itself; none if there was none.
    pub engine: Option<Vec<u8>>,
}

impl Checkpoint {
    /// Writes it in place of the one before, which stays whole until the new one is. Returns its size in bytes.
    pub fn write(&self, path: &Path) -> io::Result<u64> {
        let body = postcard::to_stdvec(self).map_err(io::Error::other)?;
        let mut encoder = zstd::stream::write::Encoder::new(MAGIC.to_vec(), 1)?;
        encoder.include_checksum(true)?;
        encoder.write_all(&body)?;
        let bytes = encoder.finish()?;
        let draft = path.with_extension("draft");
        let mut file = File::create(&draft)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        Ok(bytes.len() as u64)
    }

    /// Reads one; `None` if there is none.
    pub fn read(path: &Path) -> anyhow::Result<Option<Checkpoint>> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.with_context(|| format!("{}: cannot be read", path.display()))?,
        };
        let Some(body) = bytes.strip_prefix(MAGIC.as_slice()) else {
            bail!("{}: is no checkpoint of this version of tocsin", path.display());
        };
        let damaged = || format!("{}: the checkpoint is damaged", path.display());
        let mut decoded = Vec::new();
        let decoder = zstd::stream::read::Decoder::new(body).with_context(damaged)?;
        decoder.take(BODY_BYTES_MAX).read_to_end(&mut decoded).with_context(damaged)?;
        let checkpoint = postcard::from_bytes(&decoded).with_context(damaged)?;
        Ok(Some(checkpoint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            position: Some(Position { file: "tocsin.x.bin.zst".to_string(), events: 7 }),
            timeline: 11,
            memory: Memory::default(),
            clean: true,
            at_ms: 13,
            engine: Some(vec![1, 2, 3]),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint");
        assert!(Checkpoint::read(&path).expect("no error").is_none());
        checkpoint().write(&path).expect("writable");
        let read = Checkpoint::read(&path).expect("readable").expect("is there");
        assert_eq!(read, checkpoint());
    }

    #[test]
    fn every_damage_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint");
        checkpoint().write(&path).expect("writable");
        let whole = std::fs::read(&path).expect("readable");
        for at in 0..whole.len() {
            std::fs::write(&path, &whole[..at]).expect("writable");
            assert!(Checkpoint::read(&path).is_err(), "cut at {at}");
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            std::fs::write(&path, flipped).expect("writable");
            // zstd has a bit that it ignores; a flip of that changes nothing.
            if let Ok(Some(read)) = Checkpoint::read(&path) {
                assert_eq!(read, checkpoint(), "flipped at {at}");
            }
        }
    }
}
