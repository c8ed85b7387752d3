//! What the alerts did, as lines of JSON in a file: what `replay --format json` prints for the same events.
//!
//! After a restart the engine goes back to its checkpoint and does again what it did since. The file is cut back to the
//! same point, so that it tells each change once.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use tocsin_engine::timeline::Change;

/// The timeline's file.
#[derive(Debug)]
pub struct Timeline {
    file: File,
    length: u64,
}

impl Timeline {
    /// Opens the file and cuts it to `length` bytes.
    pub fn open(path: &Path, length: u64) -> io::Result<Self> {
        let mut file = File::options().create(true).read(true).write(true).truncate(false).open(path)?;
        let length = length.min(file.metadata()?.len());
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        Ok(Timeline { file, length })
    }

    /// Appends changes.
    pub fn append(&mut self, changes: &[Change]) -> io::Result<()> {
        let lines: String = changes.iter().map(|change| change.to_json() + "\n").collect();
        self.file.write_all(lines.as_bytes())?;
        self.length += lines.len() as u64;
        Ok(())
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }
}
