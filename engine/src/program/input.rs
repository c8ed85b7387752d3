//! Recordings as one stream of events, merged by time.
//!
//! Files of one node that follow each other are read one after the other, files that overlap side by side. A file is
//! opened when its time comes, because a compressed one needs up to 128 MiB while it is read.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tocsin_engine::sequence::ALLOWED_LATENESS_MS;
use tocsin_proto::archive::{ArchiveError, ArchiveReader, Frame};

/// Name of the node where nothing says another.
pub const DEFAULT_NODE: &str = "node";

type Source = Box<dyn Read>;

/// Recordings merged by time.
pub struct Recordings {
    /// Recordings not yet begun, latest first.
    waiting: Vec<Recording>,
    /// Recordings being read.
    open: Vec<Recording>,
    current: usize,
    /// Paths by number, for [`Recordings::place_of`].
    paths: Vec<PathBuf>,
    /// Frames and files found damaged.
    pub damage: Vec<String>,
    done_bytes: u64,
    /// Size of all files together; 0 if one of them is standard input.
    pub total_bytes: u64,
}

struct Recording {
    number: usize,
    path: PathBuf,
    node: String,
    /// Open while it is read; opened again when its time comes.
    reader: Option<ArchiveReader<Source>>,
    next: Option<Frame>,
    /// Latest time so far of this recording: what it is merged by.
    time_ms: u64,
}

/// An event and where it came from.
pub struct Arrived<'r> {
    pub frame: Frame,
    /// Its node, if the event itself does not say.
    pub node: &'r str,
    /// Finds it again, see [`Recordings::place_of`].
    pub origin: u64,
}

const OFFSET_BITS: u32 = 48;

impl Recordings {
    /// Opens recordings. `nodes` are names for recordings that say none: none, one, or one for each.
    pub fn open(paths: &[PathBuf], nodes: &[String]) -> anyhow::Result<Self> {
        if nodes.len() > 1 && nodes.len() != paths.len() {
            bail!(
                "--node is given {} times for {} files, expected once or once for each",
                nodes.len(),
                paths.len()
            );
        }
        let mut recordings = Recordings {
            waiting: Vec::new(),
            open: Vec::new(),
            current: 0,
            paths: paths.to_vec(),
            damage: Vec::new(),
            done_bytes: 0,
            total_bytes: 0,
        };
        let mut sizes = Vec::new();
        for (number, path) in paths.iter().enumerate() {
            let node = nodes.get(number).or(nodes.first()).cloned();
            sizes.push(if is_pipe(path) {
                None
            } else {
                Some(std::fs::metadata(path).map_or(0, |file| file.len()))
            });
            let recording = recordings.begin(number, path, node)?;
            recordings.waiting.extend(recording);
        }
        recordings.total_bytes =
            sizes.into_iter().collect::<Option<Vec<u64>>>().map_or(0, |sizes| sizes.iter().sum());
        recordings.waiting.sort_by_key(|recording| std::cmp::Reverse((recording.time_ms, recording.number)));
        Ok(recordings)
    }

    /// Reads a recording up to its first event, to know when its time comes.
    fn begin(
        &mut self,
        number: usize,
        path: &Path,
        node: Option<String>,
    ) -> anyhow::Result<Option<Recording>> {
        let mut reader = match open_archive(path)? {
            Ok(reader) => reader,
            Err(error) => {
                self.damage.push(format!("{}: {error}", path.display()));
                return Ok(None);
            }
        };
        let node = reader.header().node.clone().or(node).unwrap_or_else(|| DEFAULT_NODE.to_string());
        let mut damage = Vec::new();
        let Some(first) = next_frame(&mut reader, path, &mut damage) else {
            self.damage.extend(damage);
            return Ok(None);
        };
        let mut recording = Recording {
            number,
            path: path.to_path_buf(),
            node,
            time_ms: arrival_ms(&first),
            reader: None,
            next: None,
        };
        if is_pipe(path) {
            self.damage.extend(damage);
            recording.reader = Some(reader);
            recording.next = Some(first);
        }
        Ok(Some(recording))
    }

    /// The next event by time; `None` at the end of all recordings.
    pub fn next(&mut self) -> Option<Arrived<'_>> {
        loop {
            self.open_due();
            if self.open.is_empty() {
                return None;
            }
            self.choose();
            let recording = &mut self.open[self.current];
            let frame = recording.next.take();
            let Some(frame) = frame else {
                let ended = self.open.remove(self.current);
                self.current = 0;
                self.done_bytes += ended.reader.map_or(0, |reader| reader.source_bytes_read());
                continue;
            };
            let reader = recording.reader.as_mut().expect("open recordings have a reader");
            recording.next = next_frame(reader, &recording.path, &mut self.damage);
            if let Some(next) = &recording.next {
                recording.time_ms = recording.time_ms.max(arrival_ms(next));
            }
            let recording = &self.open[self.current];
            let origin = (recording.number as u64) << OFFSET_BITS | frame.offset;
            return Some(Arrived { frame, node: &recording.node, origin });
        }
    }

    /// Opens the recordings whose first event is due.
    fn open_due(&mut self) {
        while let Some(first) = self.waiting.last() {
            let earliest = self.open.iter().filter(|open| open.next.is_some()).map(|open| open.time_ms).min();
            if earliest.is_some_and(|earliest| earliest < first.time_ms) {
                return;
            }
            let mut recording = self.waiting.pop().expect("just looked at");
            if recording.reader.is_none() {
                match open_archive(&recording.path) {
                    Ok(Ok(mut reader)) => {
                        recording.next = next_frame(&mut reader, &recording.path, &mut self.damage);
                        recording.reader = Some(reader);
                    }
                    Ok(Err(error)) => self.damage.push(format!("{}: {error}", recording.path.display())),
                    Err(error) => self.damage.push(format!("{error:#}")),
                }
            }
            if recording.reader.is_some() {
                self.open.push(recording);
            }
        }
    }

    /// Stays with the current recording until another is behind it by more than events may be late, so that a
    /// recording split in two is read as if it were whole.
    fn choose(&mut self) {
        if self.open.len() < 2 {
            self.current = 0;
            return;
        }
        let (earliest, earliest_ms) = self
            .open
            .iter()
            .enumerate()
            .map(|(index, recording)| (index, recording.time_ms))
            .min_by_key(|(index, time_ms)| (*time_ms, self.open[*index].number))
            .expect("not empty");
        let current = self.open.get(self.current).map_or(u64::MAX, |recording| recording.time_ms);
        if current > earliest_ms.saturating_add(ALLOWED_LATENESS_MS as u64) {
            self.current = earliest;
        }
    }

    /// The file and the offset of an event's origin.
    pub fn place_of(&self, origin: u64) -> String {
        let path = &self.paths[(origin >> OFFSET_BITS) as usize];
        format!("{}: frame at byte {}", path.display(), origin & ((1 << OFFSET_BITS) - 1))
    }

    /// Bytes of the files read so far.
    pub fn bytes_done(&self) -> u64 {
        let open = self.open.iter().filter_map(|recording| recording.reader.as_ref());
        self.done_bytes + open.map(ArchiveReader::source_bytes_read).sum::<u64>()
    }
}

fn open_archive(path: &Path) -> anyhow::Result<Result<ArchiveReader<Source>, ArchiveError>> {
    let source: Source = if is_stdin(path) {
        Box::new(io::stdin().lock())
    } else {
        let file =
            File::open(path).with_context(|| format!("{}: cannot open the recording", path.display()))?;
        Box::new(file)
    };
    Ok(ArchiveReader::new(source))
}

/// The next frame that is whole; what is damaged before it is noted.
fn next_frame(reader: &mut ArchiveReader<Source>, path: &Path, damage: &mut Vec<String>) -> Option<Frame> {
    loop {
        match reader.next_frame()? {
            Ok(frame) => return Some(frame),
            Err(error) => damage.push(format!("{}: {error}", path.display())),
        }
    }
}

/// When an event arrived, or where nobody noted that, when it happened: what recordings are merged by.
fn arrival_ms(frame: &Frame) -> u64 {
    frame.received_at_ms.unwrap_or(frame.timestamp_ms)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A pipe gives its bytes once: it stays open from its first event on.
fn is_pipe(path: &Path) -> bool {
    is_stdin(path) || std::fs::metadata(path).is_ok_and(|file| !file.is_file())
}
