//! The progress bar of a long reading: events per second, event time, time left.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tocsin_engine::time::Timestamp;

use super::output::grouped;

/// A reading shorter than this shows no bar.
const MOMENT: Duration = Duration::from_millis(700);
const REDRAW: Duration = Duration::from_millis(100);

/// Prints a line on standard output. When its reader has gone (`| head`), nobody is left to work for.
pub fn print_line(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// Shows how far a reading has come, if standard error is a terminal and it takes longer than a moment.
pub struct Progress {
    started: Instant,
    drawn: Instant,
    is_shown: bool,
    bar: Option<ProgressBar>,
    total_bytes: u64,
    /// Events read so far.
    pub events: u64,
}

impl Progress {
    /// A bar over `total_bytes`; without a total it shows no time left.
    pub fn new(total_bytes: u64) -> Self {
        let now = Instant::now();
        Progress {
            started: now,
            drawn: now,
            is_shown: std::io::stderr().is_terminal(),
            bar: None,
            total_bytes,
            events: 0,
        }
    }

    /// Counts an event and redraws now and then.
    pub fn event(&mut self, at_ms: u64, bytes_done: impl FnOnce() -> u64) {
        self.events += 1;
        // Asking the clock for each event would cost as much as the event.
        if self.is_shown && self.events.is_multiple_of(1024) && self.drawn.elapsed() > REDRAW {
            self.redraw(at_ms, bytes_done());
        }
    }

    fn redraw(&mut self, at_ms: u64, bytes_done: u64) {
        self.drawn = Instant::now();
        let elapsed = self.started.elapsed();
        if elapsed < MOMENT {
            return;
        }
        let total = self.total_bytes;
        let bar = self.bar.get_or_insert_with(|| {
            let template =
                if total > 0 { "{bar:30} {percent:>3} %  {msg}  {eta} left" } else { "{spinner} {msg}" };
            let style = ProgressStyle::with_template(template).expect("a fixed template");
            ProgressBar::new(total).with_style(style)
        });
        let rate = (self.events as f64 / elapsed.as_secs_f64()) as u64;
        let at = Timestamp::from_unix_ms(at_ms as i64).to_string();
        bar.set_message(format!("{} events/s  {}", grouped(rate), at.get(..19).unwrap_or(&at)));
        bar.set_position(bytes_done.min(total));
    }

    /// Prints a line above the bar.
    pub fn println(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| print_line(line)),
            None => print_line(line),
        }
    }

    /// Prints a line on standard error, above the bar.
    pub fn eprintln(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Takes the bar away; returns how long it all took.
    pub fn finish(&mut self) -> Duration {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.started.elapsed()
    }
}
