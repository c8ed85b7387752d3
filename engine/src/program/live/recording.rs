//! Writes what arrives to archives, one after the other, and removes the oldest.
//!
//! An archive is made readable once a second, so that a kill loses at most that second. A name tells when the archive
//! began; the order of names is the order of events.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tocsin_engine::time::Timestamp;
use tocsin_proto::archive::{ArchiveWriter, Compression};
use tocsin_proto::pb::archive::ArchiveHeader;

use super::config::Recording as Settings;
use super::status::RecordingStatus;

const ENDING: &str = ".bin.zst";
/// After an error, this long nothing is tried.
const RETRY_AFTER_MS: u64 = 10_000;

/// Where an event is in the recordings: the file's name and how many events are before it there.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// Name of the file, without its folder.
    pub file: String,
    /// Events in it.
    pub events: u64,
}

impl Position {
    /// Before everything recorded from `at_ms` (unix ms) on.
    pub fn at(at_ms: u64) -> Self {
        Position { file: format!("tocsin.{}", stamp(at_ms)), events: 0 }
    }
}

/// The recording of a running program.
pub struct Recording {
    folder: PathBuf,
    settings: Settings,
    open: Option<Open>,
    retry_at_ms: u64,
    /// What became of it.
    pub status: RecordingStatus,
}

struct Open {
    writer: ArchiveWriter<Counted>,
    position: Position,
    began_ms: u64,
    written: Arc<AtomicU64>,
    has_unflushed: bool,
}

/// Counts the bytes that reach the file.
struct Counted {
    file: File,
    written: Arc<AtomicU64>,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.written.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Recording {
    /// A recording in this folder; its first file is begun with the first event.
    pub fn new(folder: PathBuf, settings: Settings) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let mut recording =
            Recording { folder, settings, open: None, retry_at_ms: 0, status: RecordingStatus::default() };
        recording.count_kept();
        Ok(recording)
    }

    /// Appends an event that arrived at `now_ms`. What cannot be written is counted, and tried again later.
    pub fn write(&mut self, payload: &[u8], now_ms: u64) {
        match self.try_write(payload, now_ms) {
            Ok(true) => {
                self.status.events += 1;
                self.status.bytes += payload.len() as u64;
            }
            Ok(false) => self.status.failed += 1,
            Err(error) => self.fail(error, now_ms),
        }
    }

    fn try_write(&mut self, payload: &[u8], now_ms: u64) -> io::Result<bool> {
        if self.open.is_none() {
            if now_ms < self.retry_at_ms {
                return Ok(false);
            }
            self.open = Some(self.begin(now_ms)?);
        }
        let open = self.open.as_mut().expect("just opened");
        open.writer.write_event(payload)?;
        open.position.events += 1;
        open.has_unflushed = true;
        Ok(true)
    }

    fn begin(&mut self, now_ms: u64) -> io::Result<Open> {
        let stamp = stamp(now_ms);
        // A restart within the same millisecond must not overwrite.
        let name = (0..)
            .map(|n| format!("tocsin.{stamp}-{n}{ENDING}"))
            .find(|name| !self.folder.join(name).exists());
        let name = name.expect("some number is free");
        let file = File::options().write(true).create_new(true).open(self.folder.join(&name))?;
        let written = Arc::new(AtomicU64::new(0));
        let header = ArchiveHeader { created: now_ms / 1000, ..ArchiveHeader::default() };
        let level = self.settings.compression_level;
        let counted = Counted { file, written: written.clone() };
        let writer = ArchiveWriter::new(counted, &header, Compression::Zstd { level })?;
        self.status.file = name.clone();
        let position = Position { file: name, events: 0 };
        Ok(Open { writer, position, began_ms: now_ms, written, has_unflushed: false })
    }

    /// Makes what was written readable.
    pub fn flush(&mut self, now_ms: u64) {
        let Some(open) = self.open.as_mut().filter(|open| open.has_unflushed) else { return };
        open.has_unflushed = false;
        if let Err(error) = open.writer.flush() {
            self.fail(error, now_ms);
        }
    }

    /// Makes what was written readable, and begins a new file if this one is full; to be called about once a second.
    pub fn tend(&mut self, now_ms: u64) {
        self.flush(now_ms);
        let Some(open) = &mut self.open else { return };
        let age_ms = now_ms.saturating_sub(open.began_ms);
        let is_full = open.written.load(Ordering::Relaxed) >= self.settings.max_file_size.0;
        if is_full || age_ms >= self.settings.max_file_age.get().as_millis() as u64 {
            self.finish(now_ms);
            self.remove_old(now_ms);
        }
    }

    /// Completes the file now written.
    pub fn finish(&mut self, now_ms: u64) {
        if let Some(Err(error)) = self.open.take().map(|open| open.writer.finish()) {
            self.fail(error, now_ms);
        }
        self.count_kept();
    }

    /// Where the next event will be; all before it is readable. `None` before the first.
    pub fn position(&mut self, now_ms: u64) -> Option<Position> {
        self.tend(now_ms);
        self.open.as_ref().map(|open| open.position.clone())
    }

    fn fail(&mut self, error: io::Error, now_ms: u64) {
        self.status.failed += 1;
        let text = format!("{}: {error}", self.folder.display());
        tracing::error!("the recording cannot be written, and is tried again in 10 s: {text}");
        self.status.last_error = Some(text);
        if let Some(open) = self.open.take()
            && open.written.load(Ordering::Relaxed) == 0
        {
            // Nothing is in it, and there would be one more with every try.
            let _ = std::fs::remove_file(self.folder.join(&open.position.file));
        }
        self.retry_at_ms = now_ms + RETRY_AFTER_MS;
        self.remove_old(now_ms);
    }

    fn remove_old(&mut self, now_ms: u64) {
        let Ok(files) = files(&self.folder) else { return };
        let max_age_ms = self.settings.max_age.get().as_millis() as u64;
        let sizes: Vec<(PathBuf, u64, u64)> = files
            .into_iter()
            .filter_map(|path| about(&path, now_ms).map(|(size, age_ms)| (path, size, age_ms)))
            .collect();
        let mut total: u64 = sizes.iter().map(|(_, size, _)| size).sum();
        for (path, size, age_ms) in sizes {
            if total <= self.settings.max_total_size.0 && age_ms <= max_age_ms {
                continue;
            }
            match std::fs::remove_file(&path) {
                Ok(()) => total -= size,
                Err(error) => {
                    tracing::warn!("{}: the old recording cannot be removed: {error}", path.display())
                }
            }
        }
        self.count_kept();
    }

    fn count_kept(&mut self) {
        let sizes = files(&self.folder).unwrap_or_default().into_iter().filter_map(|path| about(&path, 0));
        self.status.kept = sizes.fold((0, 0), |(count, bytes), (size, _)| (count + 1, bytes + size));
    }
}

/// A time as names of files have it: 20261121-143000-000.
fn stamp(at_ms: u64) -> String {
    let time = Timestamp::from_unix_ms(at_ms as i64).to_string();
    let short = time.chars().filter_map(|c| match c {
        '-' | ':' | 'Z' => None,
        'T' | '.' => Some('-'),
        c => Some(c),
    });
    short.collect()
}

/// Size of a file, and its age since it was last written to, in ms.
fn about(path: &Path, now_ms: u64) -> Option<(u64, u64)> {
    let about = path.metadata().ok()?;
    let modified = about.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some((about.len(), now_ms.saturating_sub(modified.as_millis() as u64)))
}

/// The recordings of a folder, oldest first.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("tocsin.") && name.ends_with(ENDING)
        })
        .collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::config::Size;
    use super::*;
    use tocsin_proto::Span;

    const NOW_MS: u64 = 1_790_000_000_000;

    fn settings() -> Settings {
        Settings { max_file_age: Span::from_secs(60), ..Settings::default() }
    }

    fn payload() -> Vec<u8> {
        let mut payload = Vec::new();
        prost::encoding::bytes::encode(2, &vec![24, 7], &mut payload);
        prost::encoding::uint64::encode(10, &NOW_MS, &mut payload);
        payload
    }

    fn events(path: &Path) -> usize {
        let file = File::open(path).expect("a recording");
        let reader = tocsin_proto::archive::ArchiveReader::new(file).expect("an archive");
        reader.filter(Result::is_ok).count()
    }

    #[test]
    fn what_was_tended_to_is_readable_without_an_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut recording = Recording::new(folder.path().into(), settings()).expect("writable");
        for _ in 0..100 {
            recording.write(&payload(), NOW_MS);
        }
        let position = recording.position(NOW_MS).expect("events were written");
        assert_eq!(position.events, 100);
        // As after a kill: the writer never ends its file.
        let files = files(folder.path()).expect("readable");
        assert_eq!(events(&files[0]), 100);
    }

    #[test]
    fn files_rotate_by_age_and_the_oldest_go_by_size() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = settings();
        settings.max_total_size = Size(1);
        let mut recording = Recording::new(folder.path().into(), settings).expect("writable");
        for minute in 0..3 {
            recording.write(&payload(), NOW_MS + minute * 60_000);
            recording.tend(NOW_MS + (minute + 1) * 60_000);
        }
        recording.write(&payload(), NOW_MS + 180_000);
        let kept = files(folder.path()).expect("readable");
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert_eq!(recording.status.events, 4);
    }

    #[test]
    fn a_folder_that_is_gone_is_counted_and_tried_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("recordings");
        let mut recording = Recording::new(path.clone(), settings()).expect("writable");
        std::fs::remove_dir_all(&path).expect("removable");
        recording.write(&payload(), NOW_MS);
        recording.write(&payload(), NOW_MS + 1);
        assert_eq!((recording.status.events, recording.status.failed), (0, 2));
        std::fs::create_dir_all(&path).expect("writable");
        recording.write(&payload(), NOW_MS + RETRY_AFTER_MS);
        assert_eq!(recording.status.events, 1);
    }
}
