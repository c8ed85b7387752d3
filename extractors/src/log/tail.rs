//! The growing end of a file, through everything that is done to log files.
//!
//! Renamed and made anew: the old file is read until the new one has something in it, then its rest, then the new one.
//! Emptied or rewritten in place: what was read last is looked for, and reading goes on behind it, or else at the
//! beginning. Deleted: what the node still writes is read until there is a new file. What a file held at the moment it
//! was emptied, and had not been read, is gone.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::unix::pipe;

/// Bytes read at once.
const CHUNK: usize = 256 * 1024;
/// Bytes before the place of reading that are compared with what was read there; a log line or two, with their times.
const SEEN_MAX: usize = 256;
/// Bytes before the first place of reading that are handed out to learn from.
const BEFORE_MAX: u64 = 64 * 1024;
/// As far as what was read last is looked for in a rewritten file. `-shrinkdebugfile` keeps 10 MB.
const SEARCH_MAX: u64 = 16 * 1024 * 1024;
/// Looks at a rewritten file that still grows, before it is taken as it is.
const SETTLING_MAX: u32 = 10;

/// Follows one path.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    from_start: bool,
    source: Option<Source>,
}

#[derive(Debug)]
enum Source {
    File(Reader),
    Pipe(pipe::Receiver, Id),
}

/// Device and inode: which file it is, whatever its name.
type Id = (u64, u64);

#[derive(Debug)]
struct Reader {
    file: File,
    id: Id,
    offset: u64,
    /// The last bytes before `offset`, as they were read.
    seen: Vec<u8>,
    /// Set while the file is not what was read: its size at the last look, and the number of looks.
    rewritten: Option<(u64, u32)>,
}

/// What one look at the file gave.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// What stands before the place where reading begins.
    Before(Vec<u8>),
    /// The next bytes.
    Bytes(Vec<u8>),
    /// There is nothing new.
    Idle,
    /// The file ended for good; what comes next is the beginning of another.
    Ended,
    /// There is no such file, or it cannot be read.
    Missing(String),
}

impl Tail {
    /// Follows `path`. Without `from_start`, a file that is there at the first look is read from its end.
    pub fn new(path: PathBuf, from_start: bool) -> Self {
        Tail { path, from_start, source: None }
    }

    /// Looks at the file once. Blocks as long as the file system does.
    pub fn poll(&mut self) -> Step {
        self.try_poll().unwrap_or_else(|error| Step::Missing(error.to_string()))
    }

    fn try_poll(&mut self) -> io::Result<Step> {
        let Some(source) = &mut self.source else {
            let opened = self.open();
            let is_missing = opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            // Whatever comes later was written while we watched.
            self.from_start |= opened.is_ok() || is_missing;
            return opened;
        };
        let (step, id) = match source {
            Source::File(reader) => (reader.read()?, reader.id),
            Source::Pipe(pipe, id) => (read_pipe(pipe)?, *id),
        };
        if step != Step::Idle {
            return Ok(step);
        }
        let at_path = std::fs::metadata(&self.path)?;
        // Before there is something in a new file the node may still write to the old one.
        if id_of(&at_path) == id || at_path.is_file() && at_path.len() == 0 {
            return Ok(Step::Idle);
        }
        // The node writes to the new file now: all it wrote to the old one is there to be read.
        if let Source::File(reader) = source
            && let Step::Bytes(rest) = reader.read()?
        {
            return Ok(Step::Bytes(rest));
        }
        self.source = None;
        Ok(Step::Ended)
    }

    fn open(&mut self) -> io::Result<Step> {
        let metadata = std::fs::metadata(&self.path)?;
        if metadata.file_type().is_fifo() {
            // Held open for writing as well: otherwise each end of the node would be an end of the pipe.
            let pipe = pipe::OpenOptions::new().read_write(true).open_receiver(&self.path)?;
            self.source = Some(Source::Pipe(pipe, id_of(&metadata)));
            return Ok(Step::Idle);
        }
        if !metadata.is_file() {
            return Err(io::Error::other("neither a file nor a FIFO"));
        }
        let file = File::open(&self.path)?;
        let metadata = file.metadata()?;
        let offset = if self.from_start { 0 } else { metadata.len() };
        let mut before = vec![0; offset.min(BEFORE_MAX) as usize];
        let beginning = offset - before.len() as u64;
        file.read_exact_at(&mut before, beginning)?;
        let mut reader = Reader { file, id: id_of(&metadata), offset, seen: Vec::new(), rewritten: None };
        reader.remember(&before);
        self.source = Some(Source::File(reader));
        Ok(Step::Before(before))
    }

    /// Waits until it is worth while to look again: so long, or until there is something in the pipe.
    pub async fn wait(&self, interval: Duration) {
        let ready = async {
            match &self.source {
                Some(Source::Pipe(pipe, _)) => pipe.readable().await.is_ok(),
                _ => std::future::pending().await,
            }
        };
        let _ = tokio::time::timeout(interval, ready).await;
    }
}

impl Reader {
    fn read(&mut self) -> io::Result<Step> {
        if self.rewritten.is_some() {
            return self.find_place();
        }
        let mut bytes = vec![0; self.seen.len() + CHUNK];
        let read = self.file.read_at(&mut bytes, self.offset - self.seen.len() as u64)?;
        bytes.truncate(read);
        if !bytes.starts_with(&self.seen) {
            self.rewritten = Some((0, 0));
            return self.find_place();
        }
        let new = bytes.split_off(self.seen.len());
        if new.is_empty() {
            return Ok(Step::Idle);
        }
        self.offset += new.len() as u64;
        self.remember(&new);
        Ok(Step::Bytes(new))
    }

    /// Finds where to go on in a file that was rewritten, once it has settled.
    fn find_place(&mut self) -> io::Result<Step> {
        let (last_size, looks) = self.rewritten.unwrap_or_default();
        let size = self.file.metadata()?.len();
        if size == 0 || (size != last_size && looks < SETTLING_MAX) {
            self.rewritten = Some((size, looks + u32::from(size > 0)));
            return Ok(Step::Idle);
        }
        let mut bytes = vec![0; size.min(SEARCH_MAX) as usize];
        let read = self.file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        self.rewritten = None;
        if let Some(place) = end_of_last(&bytes, &self.seen) {
            self.offset = place as u64;
            return Ok(Step::Idle);
        }
        (self.offset, self.seen) = (0, Vec::new());
        Ok(Step::Ended)
    }

    fn remember(&mut self, new: &[u8]) {
        self.seen.extend_from_slice(&new[new.len().saturating_sub(SEEN_MAX)..]);
        self.seen.drain(..self.seen.len().saturating_sub(SEEN_MAX));
    }
}

/// Where the last occurrence of `wanted` ends.
fn end_of_last(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let last = *wanted.last()?;
    let ends = (wanted.len()..=bytes.len()).rev();
    ends.into_iter().find(|end| bytes[end - 1] == last && bytes[..*end].ends_with(wanted))
}

fn read_pipe(pipe: &pipe::Receiver) -> io::Result<Step> {
    let mut bytes = vec![0; CHUNK];
    match pipe.try_read(&mut bytes) {
        Ok(read) => {
            bytes.truncate(read);
            Ok(if bytes.is_empty() { Step::Idle } else { Step::Bytes(bytes) })
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Step::Idle),
        Err(error) => Err(error),
    }
}

fn id_of(metadata: &Metadata) -> Id {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    struct Log {
        folder: tempfile::TempDir,
        tail: Tail,
    }

    impl Log {
        fn new(from_start: bool) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let tail = Tail::new(folder.path().join("debug.log"), from_start);
            Log { folder, tail }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("debug.log")
        }

        fn append(&self, text: &str) {
            let mut file = OpenOptions::new().create(true).append(true).open(self.path()).expect("a file");
            file.write_all(text.as_bytes()).expect("writable");
        }

        /// All that is read until nothing is new; `|` where a file ends.
        fn read(&mut self) -> String {
            let mut text = String::new();
            let mut idle = 0;
            while idle < 3 {
                match self.tail.poll() {
                    Step::Bytes(bytes) => text.push_str(&String::from_utf8(bytes).expect("our text")),
                    Step::Ended => text.push('|'),
                    Step::Before(_) => {}
                    Step::Idle | Step::Missing(_) => idle += 1,
                }
            }
            text
        }
    }

    #[test]
    fn a_file_that_is_there_is_read_from_its_end_and_one_that_comes_later_from_its_beginning() {
        let mut log = Log::new(false);
        log.append("old\n");
        assert_eq!(log.tail.poll(), Step::Before(b"old\n".to_vec()));
        log.append("new\n");
        assert_eq!(log.read(), "new\n");

        let mut log = Log::new(false);
        assert!(matches!(log.tail.poll(), Step::Missing(_)));
        log.append("new\n");
        assert_eq!(log.read(), "new\n");

        let mut log = Log::new(true);
        log.append("old\n");
        assert_eq!(log.read(), "old\n");
    }

    #[test]
    fn a_renamed_file_is_read_to_its_end_before_the_new_one() {
        let mut log = Log::new(true);
        log.append("one\n");
        assert_eq!(log.read(), "one\n");
        let old = log.path().with_extension("1");
        fs::rename(log.path(), &old).expect("renamed");
        let mut node = OpenOptions::new().append(true).open(&old).expect("the node has it open");
        node.write_all(b"two\n").expect("writable");
        assert_eq!(log.read(), "two\n");
        // logrotate makes the new file before the node knows of it.
        log.append("");
        node.write_all(b"three\n").expect("writable");
        assert_eq!(log.read(), "three\n");
        node.write_all(b"four\n").expect("writable");
        log.append("five\n");
        assert_eq!(log.read(), "four\n|five\n");
    }

    #[test]
    fn an_emptied_file_is_read_from_its_beginning() {
        let mut log = Log::new(true);
        log.append("one\ntwo\n");
        assert_eq!(log.read(), "one\ntwo\n");
        fs::write(log.path(), "").expect("emptied");
        assert_eq!(log.read(), "");
        log.append("three, which is longer than all there was\n");
        assert_eq!(log.read(), "|three, which is longer than all there was\n");
    }

    #[test]
    fn a_shrunk_file_is_read_on_where_reading_was() {
        let mut log = Log::new(true);
        let lines: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        log.append(&lines);
        assert_eq!(log.read(), lines);
        let end = lines[lines.len() - 2000..].to_string();
        fs::write(log.path(), format!("{end}\n\n\nnew\n")).expect("rewritten in place");
        assert_eq!(log.read(), "\n\n\nnew\n");
        log.append("newer\n");
        assert_eq!(log.read(), "newer\n");
    }

    #[test]
    fn a_deleted_file_is_read_until_there_is_a_new_one() {
        let mut log = Log::new(true);
        log.append("one\n");
        assert_eq!(log.read(), "one\n");
        let mut node = OpenOptions::new().append(true).open(log.path()).expect("the node has it open");
        fs::remove_file(log.path()).expect("deleted");
        node.write_all(b"two\n").expect("writable");
        assert_eq!(log.read(), "two\n");
        assert!(matches!(log.tail.poll(), Step::Missing(_)));
        log.append("three\n");
        assert_eq!(log.read(), "|three\n");
    }
}
