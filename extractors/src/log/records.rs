//! From bytes to records: a record is what the node wrote with one call, mostly one line.
//!
//! A line without a time belongs to the record before it, if lines have times at all. However the bytes are cut into
//! pieces, the same records come out. Memory is bounded by `KEPT_MAX`.

use super::layout::has_time;

/// Bytes of a record that are kept.
pub const KEPT_MAX: usize = 64 * 1024;
/// Empty lines that the node writes when it starts.
const BLANKS_AT_START: u32 = 5;
/// Lines without a time in a row after which lines are taken to have none.
const CONTINUATION_MAX: u32 = 16;

/// What was written with one call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    /// Its text, at most [`KEPT_MAX`] bytes, without the end of its last line.
    pub text: Vec<u8>,
    /// Its full length in bytes, without the end of its last line.
    pub bytes: u64,
}

/// What comes out, in order.
#[derive(Debug, PartialEq)]
pub enum Piece<'a> {
    /// A record.
    Record(&'a Record),
    /// The mark of a start of the node: settings may be others from here on.
    Start,
}

/// The lines that are not yet a record.
#[derive(Debug, Default)]
pub struct Records {
    /// The line whose end has not come.
    line: Record,
    /// The record that may go on with the next line.
    record: Option<Record>,
    /// Whether lines have times.
    is_timed: bool,
    /// Lines without a time since the last with one.
    continued: u32,
    /// Empty lines since the last that was not.
    blanks: u32,
}

impl Record {
    fn add(&mut self, bytes: &[u8]) {
        let room = KEPT_MAX - self.text.len();
        self.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.bytes += bytes.len() as u64;
    }

    /// True if its text is not all of it.
    pub fn is_cut(&self) -> bool {
        self.bytes > self.text.len() as u64
    }
}

impl Records {
    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8], mut take: impl FnMut(Piece)) {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        // What follows the last end of a line is the beginning of the next.
        let beginning = lines.next_back().unwrap_or_default();
        for line in lines {
            self.line.add(line);
            let line = std::mem::take(&mut self.line);
            self.take_line(line, &mut take);
        }
        self.line.add(beginning);
    }

    /// Nothing more comes for now: a record whose line is whole does not wait for the next.
    pub fn flush(&mut self, mut take: impl FnMut(Piece)) {
        if let Some(record) = self.record.take() {
            take(Piece::Record(&record));
        }
    }

    /// Nothing more comes of this file: a line without an end is one.
    pub fn end(&mut self, mut take: impl FnMut(Piece)) {
        let line = std::mem::take(&mut self.line);
        if line.bytes > 0 {
            self.take_line(line, &mut take);
        }
        self.flush(take);
    }

    fn take_line(&mut self, line: Record, take: &mut impl FnMut(Piece)) {
        if line.bytes == 0 {
            self.blanks += 1;
            if self.blanks == BLANKS_AT_START {
                (self.is_timed, self.continued) = (false, 0);
                self.flush(&mut *take);
                take(Piece::Start);
            }
            return;
        }
        let blanks = std::mem::take(&mut self.blanks);
        let is_timed = has_time(&line.text);
        self.continued = if is_timed { 0 } else { self.continued + 1 };
        self.is_timed = is_timed || (self.is_timed && self.continued <= CONTINUATION_MAX);
        if let Some(record) = &mut self.record
            && self.is_timed
            && !is_timed
        {
            for _ in 0..=blanks {
                record.add(b"\n");
            }
            record.add(&line.text);
            record.bytes += line.bytes - line.text.len() as u64;
            return;
        }
        self.flush(take);
        self.record = Some(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIME: &str = "2026-03-09T12:00:00Z";

    /// The records of some pieces, all in one string each; `>` for a start.
    fn records(pieces: &[&[u8]]) -> Vec<String> {
        let mut found = Vec::new();
        let mut records = Records::default();
        let mut take = |piece: Piece| match piece {
            Piece::Record(record) => found.push(format!(
                "{}:{}",
                record.bytes,
                String::from_utf8_lossy(&record.text).replace(TIME, "T")
            )),
            Piece::Start => found.push(">".to_string()),
        };
        for piece in pieces {
            records.push(piece, &mut take);
        }
        records.end(&mut take);
        found
    }

    #[test]
    fn a_line_without_a_time_continues_the_record_before_it() {
        let text = format!("{TIME} one\nmore\n{TIME} two\n");
        assert_eq!(records(&[text.as_bytes()]), ["29:T one\nmore", "24:T two"]);
    }

    #[test]
    fn lines_are_records_if_none_has_a_time() {
        assert_eq!(records(&[b"one\n", b"two\nthr", b"ee"]), ["3:one", "3:two", "5:three"]);
    }

    #[test]
    fn a_start_forgets_that_lines_had_times() {
        let text = format!("{TIME} one\n\n\n\n\n\ntwo\nthree\n");
        assert_eq!(records(&[text.as_bytes()]), ["24:T one", ">", "3:two", "5:three"]);
    }

    #[test]
    fn many_lines_without_a_time_are_records() {
        let text = format!("{TIME} one\n{}", "noise\n".repeat(20));
        let found = records(&[text.as_bytes()]);
        assert_eq!(found.len(), 5);
        assert_eq!(found[1], "5:noise");
    }

    #[test]
    fn the_rest_of_a_long_line_is_counted_but_not_kept() {
        let long = vec![b'x'; 200_000];
        let mut records = Records::default();
        let mut lengths = Vec::new();
        let mut take = |piece: Piece| {
            if let Piece::Record(record) = piece {
                lengths.push((record.text.len(), record.bytes, record.is_cut()));
            }
        };
        records.push(&long, &mut take);
        records.push(b"\nshort\n", &mut take);
        records.end(&mut take);
        assert_eq!(lengths, [(KEPT_MAX, 200_000, true), (5, 5, false)]);
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_records(
            lines in prop::collection::vec("(2026-03-09T12:00:00Z )?[a-c\u{80}\u{fe}]{0,3}", 0..40),
            cuts in prop::collection::vec(0usize..400, 0..10),
        ) {
            let whole = lines.join("\n").into_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &whole[pair[0]..pair[1]]).collect();
            prop_assert_eq!(records(&pieces), records(&[&whole]));
        }
    }
}
