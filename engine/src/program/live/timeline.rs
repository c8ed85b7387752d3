//! What the alerts did, as lines of JSON in a file: what `replay --format json` prints for the same events.
//!
//! After a restart the engine goes back to its checkpoint and does again what it did since. The file is cut back to the
//! same point, so that it tells each change once.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use tocsin_engine::timeline::Change;

/// Changes that could not be written and wait for the next try, in bytes; older ones go.
const PENDING_MAX: usize = 1 << 20;

/// The timeline's file.
#[derive(Debug)]
pub struct Timeline {
    file: File,
    length: u64,
    pending: String,
}

impl Timeline {
    /// Opens the file and cuts it to `length` bytes.
    pub fn open(path: &Path, length: u64) -> io::Result<Self> {
        let mut file = File::options().create(true).read(true).write(true).truncate(false).open(path)?;
        let length = length.min(file.metadata()?.len());
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        Ok(Timeline { file, length, pending: String::new() })
    }

    /// Appends changes. After an error they are kept and written with the next ones; no line is written in part.
    pub fn append(&mut self, changes: &[Change]) -> io::Result<()> {
        for change in changes {
            self.pending += &change.to_json();
            self.pending.push('\n');
        }
        if let Err(error) = self.file.write_all(self.pending.as_bytes()) {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::Start(self.length))?;
            if self.pending.len() > PENDING_MAX {
                self.pending.clear();
            }
            return Err(error);
        }
        self.length += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// True if all changes are in the file; those that wait are tried again.
    pub fn is_written(&mut self) -> bool {
        self.pending.is_empty() || self.append(&[]).is_ok()
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }
}
