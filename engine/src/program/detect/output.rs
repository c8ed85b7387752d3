//! What is written for each row.

use std::io::{self, StdoutLock};

use anyhow::Context;
use tocsin_engine::detectors::{Assessment, Tier};

const HEADER: [&str; 6] = ["timestamp", "value", "anomaly_score", "expected", "lower", "upper"];
/// Scores of what is not reported, or not again, end here, so that one threshold tells reports from the rest: theirs
/// are at least 1 - 10^-1.8.
const UNREPORTED_MAX: f64 = 0.98;
/// Digits of what is expected; more would say more than a detector knows.
const DIGITS: usize = 7;

/// Standard output as CSV.
pub struct Output {
    /// None when its reader has gone.
    writer: Option<csv::Writer<StdoutLock<'static>>>,
    /// Somebody may wait for each row.
    is_live: bool,
}

impl Output {
    /// Writes the header. If `is_live`, each row is handed over as it is written.
    pub fn new(is_live: bool) -> anyhow::Result<Self> {
        let mut output = Output { writer: Some(csv::Writer::from_writer(io::stdout().lock())), is_live };
        output.write(HEADER.map(str::as_bytes))?;
        Ok(output)
    }

    /// Writes a row; without an assessment its score is 0 and nothing is expected. `reported` is what begins with it.
    pub fn row(
        &mut self,
        time: &[u8],
        value: &[u8],
        assessment: Option<&Assessment>,
        reported: Option<Tier>,
    ) -> anyhow::Result<()> {
        let score = match (assessment, reported) {
            (None, _) => "0".to_string(),
            (Some(assessment), Some(_)) => assessment.score.clamp(0.0, 1.0).to_string(),
            (Some(assessment), None) => assessment.score.clamp(0.0, UNREPORTED_MAX).to_string(),
        };
        let expected = |number: fn(&Assessment) -> f64| assessment.map(number).map_or(String::new(), rounded);
        let [middle, lower, upper] = [expected(|a| a.expected), expected(|a| a.lower), expected(|a| a.upper)];
        self.write([time, value, score.as_bytes(), middle.as_bytes(), lower.as_bytes(), upper.as_bytes()])
    }

    /// Nobody reads any more (`| head`).
    pub fn is_closed(&self) -> bool {
        self.writer.is_none()
    }

    /// Hands over what was not yet.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        let flushed = self.writer.as_mut().map_or(Ok(()), csv::Writer::flush);
        self.check(flushed)
    }

    fn write(&mut self, fields: [&[u8]; 6]) -> anyhow::Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let written = writer.write_record(fields).map_err(of_io);
        let written = written.and_then(|()| if self.is_live { writer.flush() } else { Ok(()) });
        self.check(written)
    }

    fn check(&mut self, written: io::Result<()>) -> anyhow::Result<()> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.writer = None;
                Ok(())
            }
            written => written.context("standard output: cannot be written"),
        }
    }
}

/// What went wrong below: the kind tells whether anybody still reads.
fn of_io(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// Seven digits of a number, written as short as can be; nothing for what is no number.
pub fn rounded(number: f64) -> String {
    if !number.is_finite() {
        return String::new();
    }
    let rounded: f64 = format!("{number:.*e}", DIGITS - 1).parse().unwrap_or(number);
    // As `{}`, but not with three hundred digits.
    let text = format!("{rounded:?}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let numbers = [0.0, 12.0, 0.1 + 0.2, 123_456.789, -2.5e-9, 1e300, f64::NAN];
        assert_eq!(numbers.map(rounded), ["0", "12", "0.3", "123456.8", "-2.5e-9", "1e300", ""]);
    }
}
