//! Rows of a CSV file: which columns are meant, and what a row says.
//!
//! Rows are given as they come, and the columns are known from the header and the first row: nothing is read ahead. A row is
//! one line, whatever quotes are in it: a stray one must not swallow the rest of the file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
use csv::ByteRecord;
use tocsin_engine::project::path::nearest_names;
use tocsin_engine::time::Timestamp;

use super::instant;

/// Names of columns of times, in the order they are looked for.
const TIME_NAMES: [&str; 6] = ["timestamp", "time", "datetime", "date", "ts", "at"];
/// The column of values if nothing else is said.
const VALUE_NAME: &str = "value";
/// Fields are cut to so many characters in texts for people.
const SHOWN_CHARACTERS: usize = 40;
/// So many columns are named in an error.
const SHOWN_COLUMNS: usize = 30;

/// A longer field is no time, value or name.
const FIELD_MAX: usize = 4096;
/// What some programs begin files with.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// What is kept of a line.
const LINE_MAX: u64 = 1 << 20;

/// The rows of one file.
pub struct Rows {
    /// The file, for texts: its path, or `standard input`.
    pub name: String,
    /// Rows come from a pipe or a terminal, and somebody may wait for each answer.
    pub is_live: bool,
    lines: Lines,
    record: ByteRecord,
    /// What is wrong with all of the row.
    wrong: Option<&'static str>,
    /// `record` is a row that was read to look for columns, and not given yet.
    is_pending: bool,
    columns: Columns,
}

/// Where times and values stand.
struct Columns {
    /// None if the first row is no header.
    names: Option<Vec<String>>,
    time: usize,
    /// None until the first row shows which of the columns are numbers.
    value: Option<usize>,
}

/// One row.
pub struct Row<'r> {
    /// Number of its line, from 1.
    pub line: u64,
    /// The fields as they are written.
    pub time: &'r [u8],
    pub value: &'r [u8],
    /// What they say; or what was found and what would be accepted.
    pub sample: Result<(Timestamp, f64), String>,
}

impl Rows {
    /// Opens a file, or standard input for `-` or nothing, and reads its header.
    pub fn open(path: Option<&Path>, column: Option<&str>) -> anyhow::Result<Self> {
        let path = path.filter(|path| path.as_os_str() != "-");
        let (name, is_live, source): (String, bool, Box<dyn BufRead>) = match path {
            None => ("standard input".to_string(), true, Box::new(io::stdin().lock())),
            Some(path) => {
                let file =
                    File::open(path).with_context(|| format!("{}: cannot be opened", path.display()))?;
                let is_live = !file.metadata().is_ok_and(|file| file.is_file());
                (path.display().to_string(), is_live, Box::new(BufReader::new(file)))
            }
        };
        Rows::new(name, is_live, source, column)
    }

    fn new(
        name: String,
        is_live: bool,
        source: Box<dyn BufRead>,
        column: Option<&str>,
    ) -> anyhow::Result<Self> {
        let mut lines = Lines { source, line: Vec::new(), number: 0 };
        let mut record = ByteRecord::new();
        let is_there = lines.next().with_context(|| format!("{name}: cannot be read"))?;
        if !is_there {
            bail!("{name}: there is nothing in it, expected rows of a time and a value");
        }
        if let Some(wrong) =
            split(lines.line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&lines.line), &mut record)
        {
            bail!("{name}: the first line cannot be read: {wrong}");
        }
        if record.len() < 2 {
            let found = shown(&record[0]);
            bail!(
                "{name}: the first line has one field ({found}), expected a time and a value with a comma between"
            );
        }
        let is_pending = is_data(&record);
        let columns = match is_pending {
            true => Columns::of_row(&record, column),
            false => Columns::of_header(&record, column),
        };
        let columns = columns.with_context(|| name.clone())?;
        Ok(Rows { name, is_live, lines, record, wrong: None, is_pending, columns })
    }

    /// Name of the column of values; none if there is no header or no row yet.
    pub fn column(&self) -> Option<&str> {
        self.columns.names.as_ref()?.get(self.columns.value?).map(String::as_str)
    }

    /// The next row; none at the end.
    pub fn next(&mut self) -> anyhow::Result<Option<Row<'_>>> {
        if !std::mem::take(&mut self.is_pending) {
            if !self.lines.next().with_context(|| format!("{}: cannot be read", self.name))? {
                return Ok(None);
            }
            self.wrong = split(&self.lines.line, &mut self.record);
        }
        let line = self.lines.number;
        if let Some(wrong) = self.wrong {
            return Ok(Some(Row { line, time: b"", value: b"", sample: Err(wrong.to_string()) }));
        }
        let value = match self.columns.value {
            Some(value) => value,
            None => self.columns.choose(&self.record).with_context(|| self.name.clone())?,
        };
        let (time, value) = (self.record.get(self.columns.time), self.record.get(value));
        let sample = sample(time, value);
        Ok(Some(Row { line, time: time.unwrap_or_default(), value: value.unwrap_or_default(), sample }))
    }
}

impl Columns {
    fn of_header(header: &ByteRecord, wanted: Option<&str>) -> anyhow::Result<Self> {
        let names: Vec<String> =
            header.iter().map(|name| String::from_utf8_lossy(name).trim().to_string()).collect();
        let find = |wanted: &str| {
            let exact = names.iter().position(|name| name == wanted);
            exact.or_else(|| names.iter().position(|name| name.eq_ignore_ascii_case(wanted)))
        };
        let time = TIME_NAMES.iter().find_map(|name| find(name)).unwrap_or(0);
        let value = match wanted {
            Some(wanted) => match find(wanted) {
                Some(found) => Some(found),
                None => bail!(no_such_column(wanted, &names)),
            },
            None => find(VALUE_NAME),
        };
        // With two columns there is no choice, whatever the first row says.
        let value = value.or((names.len() == 2).then(|| 1 - time.min(1)));
        Ok(Columns { names: Some(names), time, value })
    }

    /// Without a header the time comes first, and a column is named by its number.
    fn of_row(row: &ByteRecord, wanted: Option<&str>) -> anyhow::Result<Self> {
        let value = match wanted {
            None => first_number(row, 0),
            Some(wanted) => match wanted.parse::<usize>() {
                Ok(number) if (1..=row.len()).contains(&number) => Some(number - 1),
                _ => bail!(
                    "the first line is no header, so --column is expected to be a number from 1 to {}, found {wanted:?}",
                    row.len()
                ),
            },
        };
        Ok(Columns { names: None, time: 0, value })
    }

    /// Takes the first column that is a number in this row: those after the time first.
    fn choose(&mut self, row: &ByteRecord) -> anyhow::Result<usize> {
        let Some(value) = first_number(row, self.time) else {
            let names = self.names.as_deref().unwrap_or_default();
            bail!("no column of the first row is a number, expected --column and one of {}", listed(names));
        };
        self.value = Some(value);
        Ok(value)
    }
}

/// Lines one by one.
struct Lines {
    source: Box<dyn BufRead>,
    /// The latest without its end; of one that is too long the beginning.
    line: Vec<u8>,
    /// Its number, from 1.
    number: u64,
}

impl Lines {
    /// Reads the next line that is not empty. False at the end.
    fn next(&mut self) -> io::Result<bool> {
        loop {
            self.line.clear();
            if self.source.by_ref().take(LINE_MAX).read_until(b'\n', &mut self.line)? == 0 {
                return Ok(false);
            }
            self.number += 1;
            match self.line.pop_if(|last| *last == b'\n') {
                Some(_) => _ = self.line.pop_if(|last| *last == b'\r'),
                None => _ = self.source.skip_until(b'\n')?,
            }
            if !self.line.is_empty() {
                return Ok(true);
            }
        }
    }
}

/// Splits a line into its fields, without quotes around them. Returns what is wrong with it.
fn split(line: &[u8], record: &mut ByteRecord) -> Option<&'static str> {
    record.clear();
    if line.len() as u64 >= LINE_MAX {
        return Some("the line is longer than 1 MB");
    }
    let mut rest = Some(line);
    let mut field = Vec::new();
    while let Some(line) = rest {
        field.clear();
        let mut unquoted = line;
        if let Some(mut quoted) = line.strip_prefix(b"\"") {
            // Two quotes within are one that is meant.
            loop {
                let Some(end) = quoted.iter().position(|byte| *byte == b'"') else {
                    return Some("a quoted field does not end in its line");
                };
                field.extend_from_slice(&quoted[..end]);
                quoted = &quoted[end + 1..];
                let Some(more) = quoted.strip_prefix(b"\"") else { break };
                field.push(b'"');
                quoted = more;
            }
            unquoted = quoted;
        }
        let end = unquoted.iter().position(|byte| *byte == b',');
        field.extend_from_slice(&unquoted[..end.unwrap_or(unquoted.len())]);
        rest = end.map(|end| &unquoted[end + 1..]);
        if field.len() > FIELD_MAX {
            return Some("a field is longer than 4 kB");
        }
        record.push_field(&field);
    }
    None
}

/// The first row is no header: it has a time and a number.
fn is_data(record: &ByteRecord) -> bool {
    text(&record[0]).and_then(instant::parse).is_some() && first_number(record, 0).is_some()
}

/// The first column that is a number, from the one after `time` around to the one before it.
fn first_number(record: &ByteRecord, time: usize) -> Option<usize> {
    let columns = (time + 1..record.len()).chain(0..time.min(record.len()));
    columns.into_iter().find(|column| number(&record[*column]).is_some())
}

fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field).ok()
}

/// The number a field is; none if it is none, or not finite.
fn number(field: &[u8]) -> Option<f64> {
    text(field)?.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

fn sample(time: Option<&[u8]>, value: Option<&[u8]>) -> Result<(Timestamp, f64), String> {
    let found = |field: Option<&[u8]>| match field {
        None => "missing".to_string(),
        Some(field) if field.trim_ascii().is_empty() => "empty".to_string(),
        Some(field) => shown(field),
    };
    let at = time.and_then(text).and_then(instant::parse);
    let at = at.ok_or_else(|| format!("the time is {}, expected {}", found(time), instant::EXPECTED))?;
    let number = value.and_then(number);
    let number = number.ok_or_else(|| format!("the value is {}, expected a number", found(value)))?;
    Ok((at, number))
}

fn no_such_column(wanted: &str, names: &[String]) -> String {
    let nearest = nearest_names(names.iter().cloned(), wanted);
    let nearest =
        nearest.first().map_or(String::new(), |name| format!("; {} is nearest", shown(name.as_bytes())));
    format!("there is no column {wanted:?}, expected one of {}{nearest}", listed(names))
}

fn listed(names: &[String]) -> String {
    let mut listed: Vec<String> =
        names.iter().take(SHOWN_COLUMNS).map(|name| shown(name.as_bytes())).collect();
    if names.len() > SHOWN_COLUMNS {
        listed.push(format!("{} more", names.len() - SHOWN_COLUMNS));
    }
    listed.join(", ")
}

/// A field for people, in quotes.
fn shown(field: &[u8]) -> String {
    format!("\"{}\"", clean(field))
}

/// A field for people: cut, and without what steers a terminal.
pub fn clean(field: &[u8]) -> String {
    let text = String::from_utf8_lossy(field);
    let mut cut: String = text.chars().take(SHOWN_CHARACTERS).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &'static str, column: Option<&str>) -> anyhow::Result<Rows> {
        Rows::new("x.csv".to_string(), false, Box::new(text.as_bytes()), column)
    }

    /// Line numbers and values of all rows; NaN for those that cannot be read.
    fn values(text: &'static str, column: Option<&str>) -> Vec<(u64, f64)> {
        let mut rows = open(text, column).expect("columns");
        let mut values = Vec::new();
        while let Some(row) = rows.next().expect("readable") {
            values.push((row.line, row.sample.map_or(f64::NAN, |(_, value)| value)));
        }
        values
    }

    #[test]
    fn the_columns_are_found_by_name_in_any_order() {
        assert_eq!(values("value,x,Time\n5,6,2014-02-14\n", None), [(2, 5.0)]);
        assert_eq!(values("ts,host,peers,blocks\n1,hal,6,7\n", None), [(2, 6.0)]);
        assert_eq!(values("ts,host,peers,blocks\n1,hal,6,7\n", Some("Blocks")), [(2, 7.0)]);
        assert_eq!(values("\u{feff}when,what\n1,6\n", None), [(2, 6.0)]);
    }

    #[test]
    fn a_first_row_that_is_data_is_no_header() {
        assert_eq!(values("1392388020,hal,5,6\n1392388030,hal,7,8\n", None), [(1, 5.0), (2, 7.0)]);
        assert_eq!(values("1392388020,hal,5,6\n", Some("4")), [(1, 6.0)]);
        let error = open("1392388020,hal,5,6\n", Some("peers")).err().expect("no header");
        assert!(format!("{error:#}").contains("a number from 1 to 4"), "{error:#}");
    }

    #[test]
    fn lines_are_counted_with_either_ending_and_over_empty_ones() {
        assert_eq!(values("time,value\n1,2\n\n3,4\n5,6", None), [(2, 2.0), (4, 4.0), (5, 6.0)]);
        assert_eq!(values("time,value\r\n1,2\r\n\r\n3,4\r\n5,6", None), [(2, 2.0), (4, 4.0), (5, 6.0)]);
    }

    #[test]
    fn a_stray_quote_costs_its_row_and_no_other() {
        let text = "time,value,note\n1,2,\"so\n3,4,\"a, \"\"b\"\"\"\n5,\"6\",c\n7,\"8,d\n9,10,5\" disk\n";
        let expected = [(2, f64::NAN), (3, 4.0), (4, 6.0), (5, f64::NAN), (6, 10.0)];
        assert_eq!(format!("{:?}", values(text, None)), format!("{expected:?}"));
        let mut record = ByteRecord::new();
        assert_eq!(split(b"1,\"a, \"\"b\"\"\",", &mut record), None);
        assert_eq!(record, ByteRecord::from(vec!["1", "a, \"b\"", ""]));
        let long = [&b"1,"[..], &[b'2'; FIELD_MAX + 1]].concat();
        assert_eq!(split(&long, &mut record), Some("a field is longer than 4 kB"));
    }

    #[test]
    fn a_line_without_end_costs_one_row_and_no_memory() {
        let text = format!("time,value\n1,{}\n3,4\n", "2".repeat(3 << 20));
        assert_eq!(format!("{:?}", values(text.leak(), None)), format!("{:?}", [(2, f64::NAN), (3, 4.0)]));
    }

    #[test]
    fn a_wrong_column_is_told_with_those_there_are() {
        let error =
            format!("{:#}", open("time,peers_in,peers_out\n", Some("peers_inn")).err().expect("wrong"));
        assert_eq!(
            error,
            "x.csv: there is no column \"peers_inn\", expected one of \"time\", \"peers_in\", \"peers_out\"; \"peers_in\" is nearest"
        );
    }

    #[test]
    fn files_without_rows_of_two_fields_are_refused() {
        for (text, expected) in [("", "nothing in it"), ("value\n5\n", "one field (\"value\")")] {
            let error = format!("{:#}", open(text, None).err().expect("wrong"));
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let mut rows = open("time,value\nx,1\n2,\n3\n4,NaN\n5,\u{1b}[31m\n6,7\n", None).expect("columns");
        for expected in
            ["time is \"x\"", "value is empty", "value is missing", "value is \"NaN\"", "\u{fffd}[31m"]
        {
            let row = rows.next().expect("readable").expect("a row");
            let error = row.sample.expect_err("not readable");
            assert!(error.contains(expected), "{error}");
        }
        assert!(rows.next().expect("readable").expect("a row").sample.is_ok());
    }
}
