//! From the bytes of debug.log to events. Pure: the time of reading is an argument.

use std::time::Duration;

use tocsin_proto::pb::log_extractor::log::LogEvent;
use tocsin_proto::pb::log_extractor::{Log, LogDebugCategory, LogLevel, UnknownLogMessage};

use super::layout::Layout;
use super::messages;
use super::records::{Piece, Record, Records};
use super::volume::Volume;

/// Bytes of an unknown line that are sent.
const RAW_MAX: usize = 4096;

/// Turns bytes into events, however they are cut into pieces. No bytes make it fail; memory is bounded by 128 KiB.
#[derive(Debug)]
pub struct Decoder {
    records: Records,
    reader: Reader,
}

/// What turns a record into an event.
#[derive(Debug)]
struct Reader {
    raw_lines: bool,
    layout: Layout,
    volume: Volume,
    cut: u64,
    /// Whether the last thing the node said was that it has stopped; `None` if nothing was read.
    has_stopped: Option<bool>,
}

impl Decoder {
    /// A decoder at the beginning of a file. Without `raw_lines`, lines of no known shape are only counted.
    pub fn new(raw_lines: bool) -> Self {
        let reader = Reader {
            raw_lines,
            layout: Layout::default(),
            volume: Volume::default(),
            cut: 0,
            has_stopped: None,
        };
        Decoder { records: Records::default(), reader }
    }

    /// Takes bytes that stand before the first that are to become events: how lines look, and whether the node has
    /// stopped.
    pub fn learn(&mut self, before: &[u8]) {
        let mut unsent = Vec::new();
        // The first line may be half a line.
        let start = before.iter().position(|byte| *byte == b'\n').map_or(before.len(), |end| end + 1);
        let records = &mut self.records;
        records.push(&before[start..], |piece| self.reader.take(piece, 0, &mut unsent));
        records.flush(|piece| self.reader.take(piece, 0, &mut unsent));
        self.reader.volume = Volume::default();
        self.reader.cut = 0;
    }

    /// Takes the next bytes, read at `now_us` (Unix microseconds).
    pub fn push(&mut self, bytes: &[u8], now_us: u64, events: &mut Vec<Log>) {
        self.records.push(bytes, |piece| self.reader.take(piece, now_us, events));
    }

    /// Nothing more is there for now: the last whole line becomes an event.
    pub fn flush(&mut self, now_us: u64, events: &mut Vec<Log>) {
        self.records.flush(|piece| self.reader.take(piece, now_us, events));
    }

    /// The file has ended, another begins.
    pub fn end(&mut self, now_us: u64, events: &mut Vec<Log>) {
        self.records.end(|piece| self.reader.take(piece, now_us, events));
    }

    /// Lines whose rest was skipped, since the last call.
    pub fn take_cut(&mut self) -> u64 {
        std::mem::take(&mut self.reader.cut)
    }

    /// How much was read in the last `span`; `None` if nothing was.
    pub fn take_volume(&mut self, now_us: u64, span: Duration) -> Option<Log> {
        let volume = self.reader.volume.take(span)?;
        Some(Log {
            log_timestamp: now_us,
            category: LogDebugCategory::Unknown as i32,
            threadname: String::new(),
            log_level: LogLevel::Info as i32,
            log_line_bytes: 0,
            suppressing: None,
            log_event: Some(LogEvent::Volume(volume)),
        })
    }
}

impl Reader {
    fn take(&mut self, piece: Piece, now_us: u64, events: &mut Vec<Log>) {
        match piece {
            Piece::Record(record) => events.extend(self.read(record, now_us)),
            Piece::Start => self.layout = Layout::default(),
        }
    }

    fn read(&mut self, record: &Record, now_us: u64) -> Option<Log> {
        let text = String::from_utf8_lossy(&record.text);
        let line = self.layout.read(&text);
        let event = messages::event_of(line.message);
        self.volume.add(&line, record, event.is_some());
        self.cut += u64::from(record.is_cut());
        let event = self.with_history(event);
        let event = match event {
            Some(event) => event,
            None if self.raw_lines => unknown(line.message),
            None => return None,
        };
        Some(Log {
            log_timestamp: line.time_us.unwrap_or(now_us),
            category: line.category as i32,
            threadname: line.thread.to_string(),
            log_level: line.level as i32,
            log_line_bytes: record.bytes,
            suppressing: line.is_suppressing.then_some(true),
            log_event: Some(event),
        })
    }

    /// Says of a start whether the node had stopped before, and notes stops.
    fn with_history(&mut self, mut event: Option<LogEvent>) -> Option<LogEvent> {
        match &mut event {
            Some(LogEvent::NodeStart(start)) => {
                start.after_clean_stop = self.has_stopped;
                self.has_stopped = Some(false);
            }
            Some(LogEvent::NodeStop(stop)) if stop.done => self.has_stopped = Some(true),
            _ => self.has_stopped = self.has_stopped.or(Some(false)),
        }
        event
    }
}

fn unknown(message: &str) -> LogEvent {
    let mut end = message.len().min(RAW_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    LogEvent::UnknownLogMessage(UnknownLogMessage { raw_message: message[..end].to_string() })
}
