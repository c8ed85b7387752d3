//! What stands before the message of a line: time, thread, source location, category and level.
//!
//! `[*] 2026-03-09T12:00:00.123456Z (mocktime: 2026-01-01T00:00:00Z) [msghand] [net.cpp:12] [Foo] [net:trace] message`
//!
//! Each part but the message may be absent, and the message may begin with a bracket of its own, such as `[snapshot]`.
//! A bracket is a category only if it is a known one. Whether the first bracket is a thread is learned from the lines:
//! with `-logthreadnames` each line has one. Source: `src/logging.cpp` of Bitcoin Core 25 to 31.

use tocsin_proto::pb::log_extractor::{LogDebugCategory as Category, LogLevel as Level};

/// As far as the end of a bracket is looked for; signatures of functions with templates are long.
const BRACKET_MAX: usize = 1024;
/// Threads of Bitcoin Core whose names are no categories.
const THREADS: [&str; 17] = [
    "init",
    "shutoff",
    "msghand",
    "opencon",
    "addcon",
    "dnsseed",
    "scheduler",
    "initload",
    "torcontrol",
    "mapport",
    "i2paccept",
    "privbcast",
    "txindex",
    "coinstatsindex",
    "utxocompact",
    "capnp-loop",
    "unknown",
];
/// Threads of which there are several: a number follows, as in `http.03`.
const NUMBERED_THREADS: [&str; 4] = ["http", "httpworker", "scriptch", "prevout"];

/// What stands before the message, and the message.
#[derive(Debug, PartialEq)]
pub struct Line<'a> {
    /// Whether the node drops messages at the time.
    pub is_suppressing: bool,
    /// Unix microseconds, if the line has a time.
    pub time_us: Option<u64>,
    /// The thread's name, or nothing.
    pub thread: &'a str,
    /// The category, `Unknown` if there is none.
    pub category: Category,
    /// The level.
    pub level: Level,
    /// The message.
    pub message: &'a str,
}

/// What was learned about the lines of a node.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    has_threads: Option<bool>,
}

impl Layout {
    /// Reads one line.
    pub fn read<'a>(&mut self, text: &'a str) -> Line<'a> {
        let (is_suppressing, rest) = match text.strip_prefix("[*] ") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (time_us, rest) = match time(rest.as_bytes()) {
            Some((time_us, length)) => (Some(time_us), without_mocktime(after(rest, length))),
            None => (None, rest),
        };
        let (thread, rest) = self.thread(rest);
        let rest = without_location(rest);
        let (category, level, message) = match bracket(rest).and_then(|(inside, message)| {
            category_and_level(inside).map(|(category, level)| (category, level, message))
        }) {
            Some(found) => found,
            None => (Category::Unknown, level_in_words(rest), rest),
        };
        Line { is_suppressing, time_us, thread, category, level, message }
    }

    /// Takes the name of the thread from the beginning, and learns whether lines have one.
    fn thread<'a>(&mut self, text: &'a str) -> (&'a str, &'a str) {
        let Some((name, rest)) = bracket(text) else {
            self.has_threads = Some(false);
            return ("", text);
        };
        let is_before_other =
            bracket(rest).is_some_and(|(next, _)| is_location(next) || category_and_level(next).is_some());
        let is_thread_name = THREADS.contains(&name)
            || name.split_once('.').is_some_and(|(name, _)| NUMBERED_THREADS.contains(&name));
        if is_location(name) {
            self.has_threads = Some(false);
        } else if is_before_other || is_thread_name {
            self.has_threads = Some(true);
        }
        if self.has_threads == Some(true) { (name, rest) } else { ("", text) }
    }
}

/// True if a line begins with a time.
pub fn has_time(line: &[u8]) -> bool {
    time(line.strip_prefix(b"[*] ").unwrap_or(line)).is_some()
}

/// Unix seconds of a date as the node writes it, `2026-03-09T12:00:00Z`.
pub fn date(text: &str) -> Option<u64> {
    time(text.as_bytes()).map(|(time_us, _)| time_us / 1_000_000)
}

/// The time at the beginning, in Unix microseconds, and its length.
fn time(bytes: &[u8]) -> Option<(u64, usize)> {
    let number = |from: usize, to: usize| {
        bytes.get(from..to)?.iter().try_fold(0u64, |number, byte| {
            byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0'))
        })
    };
    let has_marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')]
        .iter()
        .all(|(place, mark)| bytes.get(*place) == Some(mark));
    if !has_marks {
        return None;
    }
    let days = days_since_epoch(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (mut micros, mut end) = (0, 19);
    if bytes.get(19) == Some(&b'.') {
        let digits = bytes[20..].iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
        micros = number(20, 20 + digits)? * 10u64.pow(6 - digits as u32);
        end = 20 + digits;
    }
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    (bytes.get(end) == Some(&b'Z')).then_some((seconds * 1_000_000 + micros, end + 1))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, up to the year 9999.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    const DAYS_BEFORE_MONTH: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let is_leap = leap_days(year) > leap_days(year - 1);
    let in_year = DAYS_BEFORE_MONTH[month as usize - 1] + u64::from(is_leap && month > 2) + day - 1;
    Some((year - 1970) * 365 + leap_days(year - 1) - leap_days(1969) + in_year)
}

fn without_mocktime(text: &str) -> &str {
    let mocktime = text.strip_prefix("(mocktime: ").and_then(|rest| rest.split_once(')'));
    mocktime.map_or(text, |(_, rest)| after(rest, 0))
}

/// `[file:line] [function] `
fn without_location(text: &str) -> &str {
    match bracket(text) {
        Some((location, rest)) if is_location(location) => bracket(rest).map_or(rest, |(_, rest)| rest),
        _ => text,
    }
}

/// What follows the first `length` bytes and a space.
fn after(text: &str, length: usize) -> &str {
    let rest = text.get(length..).unwrap_or_default();
    rest.strip_prefix(' ').unwrap_or(rest)
}

/// What is in the bracket at the beginning, and what follows it. Brackets may hold brackets.
fn bracket(text: &str) -> Option<(&str, &str)> {
    if !text.starts_with('[') {
        return None;
    }
    let mut depth = 0u32;
    for (place, byte) in text.bytes().enumerate().take(BRACKET_MAX) {
        match byte {
            b'[' => depth += 1,
            b']' if depth == 1 => {
                let rest = &text[place + 1..];
                return (rest.is_empty() || rest.starts_with(' ')).then(|| (&text[1..place], after(rest, 0)));
            }
            b']' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// True for `src/net.cpp:12`.
fn is_location(inside: &str) -> bool {
    inside.rsplit_once(':').is_some_and(|(file, line)| {
        let is_file = [".cpp", ".h", ".c", ".cc"].iter().any(|ending| file.ends_with(ending));
        is_file && !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// `net`, `net:trace`, `all:info`, or `warning`. With a level, a category we do not know is one as well.
fn category_and_level(inside: &str) -> Option<(Category, Level)> {
    match inside.split_once(':') {
        Some((category, level)) => {
            let is_word = category.bytes().all(|byte| byte.is_ascii_lowercase());
            let level = level_of(level).filter(|_| is_word)?;
            Some((category_of(category).unwrap_or(Category::Unknown), level))
        }
        None => match category_of(inside) {
            Some(category) => Some((category, Level::Debug)),
            None => level_of(inside).map(|level| (Category::Unknown, level)),
        },
    }
}

fn level_of(name: &str) -> Option<Level> {
    Some(match name {
        "info" => Level::Info,
        "warning" => Level::Warning,
        "error" => Level::Error,
        "debug" => Level::Debug,
        "trace" => Level::Trace,
        _ => return None,
    })
}

/// Before Bitcoin Core 28 warnings and errors had no level, but said so.
fn level_in_words(message: &str) -> Level {
    match message.split_once(": ").map_or("", |(word, _)| word) {
        "ERROR" | "Error" => Level::Error,
        "WARNING" | "Warning" => Level::Warning,
        _ => Level::Info,
    }
}

fn category_of(name: &str) -> Option<Category> {
    // The wire names them as the node does, in capitals.
    let is_name = name.len() <= 20 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'2');
    if !is_name || name == "unknown" {
        return None;
    }
    Category::from_str_name(&name.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIME_US: u64 = 1_773_057_600_000_000;

    #[track_caller]
    fn check(text: &str, thread: &str, category: Category, level: Level, message: &str) {
        let line = Layout::default().read(text);
        let found = (line.thread, line.category, line.level, line.message);
        assert_eq!(found, (thread, category, level, message));
    }

    #[test]
    fn times_are_read_with_and_without_fractions() {
        let read = |text: &str| Layout::default().read(text).time_us;
        assert_eq!(read("2026-03-09T12:00:00Z x"), Some(TIME_US));
        assert_eq!(read("2026-03-09T12:00:00.000001Z x"), Some(TIME_US + 1));
        assert_eq!(read("2026-03-09T12:00:00.5Z x"), Some(TIME_US + 500_000));
        assert_eq!(read("[*] 2026-03-09T12:00:00Z x"), Some(TIME_US));
        assert_eq!(date("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(date("2000-02-29T00:00:00Z"), Some(951_782_400));
        assert_eq!(date("2100-03-01T00:00:00Z"), Some(4_107_542_400));
        for wrong in ["2026-03-09 12:00:00Z", "2026-13-09T12:00:00Z", "2026-03-09T12:00:00.1234567Z", ""] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_part_may_be_absent() {
        check("2026-03-09T12:00:00Z x y", "", Category::Unknown, Level::Info, "x y");
        check("[net] x", "", Category::Net, Level::Debug, "x");
        check("x", "", Category::Unknown, Level::Info, "x");
        check("2026-03-09T12:00:00Z [net:trace] x", "", Category::Net, Level::Trace, "x");
        check("2026-03-09T12:00:00Z [all:info] x", "", Category::Unknown, Level::Info, "x");
        check("2026-03-09T12:00:00Z [warning] x", "", Category::Unknown, Level::Warning, "x");
        check("2026-03-09T12:00:00Z [msghand] [i2p] x", "msghand", Category::I2p, Level::Debug, "x");
        check("2026-03-09T12:00:00Z [scriptch.1] x", "scriptch.1", Category::Unknown, Level::Info, "x");
        check("[*] 2026-03-09T12:00:00Z [error] x", "", Category::Unknown, Level::Error, "x");
        let mocked = "2026-03-09T12:00:00Z (mocktime: 2026-03-09T12:00:00Z) [init] x";
        check(mocked, "init", Category::Unknown, Level::Info, "x");
        check("ERROR: x", "", Category::Unknown, Level::Error, "ERROR: x");
    }

    #[test]
    fn source_locations_may_hold_brackets_and_spaces() {
        let long = "[msghand] [net_processing.cpp:12] [bool {anonymous}::Foo(T) [with T = A[2]]] [net] x";
        check(long, "msghand", Category::Net, Level::Debug, "x");
        check("[src/init.cpp:1] [AppInit] x", "", Category::Unknown, Level::Info, "x");
    }

    #[test]
    fn brackets_that_are_no_category_belong_to_the_message() {
        for own in ["[snapshot] x", "[background validation] x", "[my wallet] x", "[] x", "[half x"] {
            check(own, "", Category::Unknown, Level::Info, own);
        }
        check("[newer:debug] x", "", Category::Unknown, Level::Debug, "x");
    }

    #[test]
    fn whether_lines_have_threads_is_learned() {
        let mut layout = Layout::default();
        assert_eq!(layout.read("[net] x").category, Category::Net);
        layout.read("[msghand] x");
        let line = layout.read("[net] x");
        assert_eq!((line.thread, line.category), ("net", Category::Unknown));
        let line = layout.read("[basic block filter index] [snapshot] x");
        assert_eq!((line.thread, line.message), ("basic block filter index", "[snapshot] x"));
        layout.read("x");
        assert_eq!(layout.read("[net] x").category, Category::Net);
    }

    proptest! {
        #[test]
        fn no_line_panics(
            time in "(\\[\\*\\] )?(2026-03-09T12:00:00(\\.[0-9]{0,7})?Z )?",
            rest in "(\\[[a-zé:.0-9\\]\\[]{0,9}\\] ?){0,4}.{0,9}",
        ) {
            let text = time + &rest;
            let line = Layout::default().read(&text);
            prop_assert!(text.ends_with(line.message));
        }
    }
}
