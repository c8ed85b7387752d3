//! How alert changes look on a terminal.

use std::io::IsTerminal;

use tocsin_engine::alerts::State;
use tocsin_engine::rules::Severity;
use tocsin_engine::timeline::Change;

/// Escape sequences, or nothing where the output is no terminal.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    is_plain: bool,
}

impl Style {
    /// Colours if standard output is a terminal and `NO_COLOR` is not set.
    pub fn of_stdout() -> Self {
        Style { is_plain: !std::io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some() }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.is_plain { text.to_string() } else { format!("\x1b[{code}m{text}\x1b[0m") }
    }

    /// Bold.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Dim.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// One line for one change.
    pub fn line(self, change: &Change) -> String {
        let time = change.at.to_string();
        let time = time.split_once('T').map_or(time.as_str(), |(_, time)| time.trim_end_matches('Z'));
        let state = match (change.state, change.severity) {
            (State::Firing, Severity::Critical) => self.paint("1;41;97", "FIRING  "),
            (State::Firing, Severity::Warning) => self.paint("1;31", "FIRING  "),
            (State::Firing, Severity::Info) => self.paint("1;33", "FIRING  "),
            (State::Pending, _) => self.paint("33", "pending "),
            (State::Resolved, _) => self.paint("32", "resolved"),
        };
        let key: Vec<String> = change.key.parts().map(|(name, value)| format!("{name}={value}")).collect();
        let about = if key.is_empty() {
            change.node.to_string()
        } else {
            format!("{} {}", change.node, key.join(" "))
        };
        // Both may hold what a peer sent: nothing of it steers the terminal.
        let [about, summary] =
            [about.as_str(), &change.summary].map(|text| text.replace(char::is_control, "\u{fffd}"));
        let severity = format!("{:<8}", change.severity);
        format!(
            "{}  {state}  {}  {}  {}  {}",
            self.dim(time),
            severity,
            self.bold(&format!("{:<16}", change.rule)),
            format_args!("{about:<18}"),
            summary
        )
    }
}

/// A count with thousands separated, as 1,234,567.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A byte count in the unit that suits it.
pub fn bytes(count: f64) -> String {
    match count {
        count if count >= 1e9 => format!("{:.2} GB", count / 1e9),
        count if count >= 1e6 => format!("{:.1} MB", count / 1e6),
        count if count >= 1e3 => format!("{:.1} kB", count / 1e3),
        count => format!("{count:.0} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234), "1,234");
        assert_eq!(grouped(123_456_789), "123,456,789");
    }
}
