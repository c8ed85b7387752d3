//! A line of /proc/<pid>/stat or /proc/<pid>/task/<tid>/stat (proc(5)).

/// What is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Name of the process or thread, at most 15 bytes, of any characters.
    pub name: String,
    /// Its state, a letter.
    pub state: char,
    /// Time in user mode, in ticks.
    pub user: u64,
    /// Time in the kernel, in ticks.
    pub system: u64,
    /// When it started, in ticks since boot.
    pub started: u64,
}

impl Stat {
    /// Reads a line. `None` if it is none.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let line = String::from_utf8_lossy(line);
        // A name may hold spaces and brackets: it ends with the last bracket of the line.
        let (head, tail) = line.rsplit_once(") ")?;
        let (_, name) = head.split_once(" (")?;
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        // proc(5) counts from 1; the state, its field 3, is the first here.
        let number = |field: usize| fields.get(field - 3)?.parse().ok();
        Some(Stat {
            name: name.to_string(),
            state: fields.first()?.chars().next()?,
            user: number(14)?,
            system: number(15)?,
            started: number(22)?,
        })
    }

    /// Whether it has ended and only its parent has not noticed.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str =
        "S 1 2 3 0 -1 4194304 10 20 30 40 250 75 0 0 20 0 18 0 123456 1 2 18446744073709551615";

    #[track_caller]
    fn check(line: &str, name: &str) {
        let stat = Stat::parse(line.as_bytes()).expect("a line");
        let expected = Stat { name: name.to_string(), state: 'S', user: 250, system: 75, started: 123_456 };
        assert_eq!(stat, expected);
    }

    #[test]
    fn a_name_may_hold_spaces_and_brackets() {
        check(&format!("42 (b-msghand) {TAIL}"), "b-msghand");
        check(&format!("42 (b-scriptch.0) {TAIL}\n"), "b-scriptch.0");
        check(&format!("42 (tmux: (1) S 9) {TAIL}"), "tmux: (1) S 9");
        check(&format!("42 () {TAIL}"), "");
    }

    #[test]
    fn a_line_that_is_cut_short_or_garbage_is_none() {
        for line in ["", "42", "42 (bitcoind", "42 (bitcoind) ", "42 (bitcoind) S 1 2 3", ") (", "() S"] {
            assert_eq!(Stat::parse(line.as_bytes()), None, "{line}");
        }
        let negative = format!("42 (a) {TAIL}").replace("250", "-1");
        assert_eq!(Stat::parse(negative.as_bytes()), None);
    }
}
