//! `tocsin detect`: a detector over the rows of a CSV file, as they come.

mod instant;
mod output;
mod pace;
mod picture;
mod rows;
mod stream;
mod tally;

use std::io::{self, Write};

use tocsin_engine::detectors::{Assessment, Direction, Settings};
use tocsin_engine::time::Timestamp;

use super::Ended;
use super::arguments::{Departure, DetectArguments};
use output::Output;
use picture::Picture;
use rows::{Row, Rows};
use stream::{Judged, Stream};
use tally::Tally;

/// Rows that cannot be read are told one by one up to here; the rest is counted.
const TOLD_MAX: u64 = 5;

/// Runs the command.
pub fn run(arguments: &DetectArguments) -> anyhow::Result<Ended> {
    let mut picture = arguments.plot.as_deref().map(Picture::new).transpose()?;
    let mut rows = Rows::open(arguments.file.as_deref(), arguments.column.as_deref())?;
    let mut output = Output::new(rows.is_live)?;
    let mut stream = Stream::new(arguments.detector, settings(arguments));
    let mut tally = Tally::default();
    let name = rows.name.clone();
    while let Some(row) = rows.next()? {
        let judged = judge(&row, &mut stream, &mut tally, &name);
        let reported =
            judged.as_ref().and_then(|(at, _, assessment)| tally.judged(row.time, *at, assessment));
        output.row(row.time, row.value, judged.as_ref().map(|(_, _, assessment)| assessment), reported)?;
        // A plot is drawn even if nobody reads the rows any more.
        if output.is_closed() && picture.is_none() {
            return Ok(Ended::Well);
        }
        if let (Some(picture), Some((at, value, assessment))) = (&mut picture, judged) {
            picture.row(at, value, &assessment, reported);
        }
    }
    output.finish()?;
    let series = match rows.column() {
        Some(column) => format!("{name}, {column}"),
        None => name,
    };
    if let Some(picture) = &picture {
        picture.write(&series, &tally.reports())?;
    }
    tell(&tally.summary(&series, stream.step_ms()));
    Ok(if tally.is_damaged() { Ended::Damaged } else { Ended::Well })
}

/// Writes lines to standard error. Nobody may read it any more; the rows matter more.
fn tell(lines: &str) {
    let _ = io::stderr().write_all(lines.as_bytes());
}

/// What is said of a row that can be read and is in order; what cannot or is not is counted.
fn judge(
    row: &Row<'_>,
    stream: &mut Stream,
    tally: &mut Tally,
    name: &str,
) -> Option<(Timestamp, f64, Assessment)> {
    tally.rows += 1;
    let (at, value) = match &row.sample {
        Ok(sample) => *sample,
        Err(found) => {
            tally.unreadable += 1;
            if tally.unreadable <= TOLD_MAX {
                tell(&format!("tocsin: {name}: line {}: {found}\n", row.line));
            }
            return None;
        }
    };
    match stream.push(at, value) {
        Judged::Assessed(assessment) => Some((at, value, assessment)),
        Judged::Anew(assessment, step_ms) => {
            let step = tally::span(step_ms);
            let line = row.line;
            tell(&format!(
                "tocsin: {name}: line {line}: rows come every {step} now; the detector begins anew
"
            ));
            Some((at, value, assessment))
        }
        Judged::Back(assessment) => {
            let line = row.line;
            tell(&format!(
                "tocsin: {name}: line {line}: times went back and go forward from there; the detector begins anew\n"
            ));
            Some((at, value, assessment))
        }
        Judged::OutOfOrder => {
            tally.out_of_order += 1;
            None
        }
    }
}

fn settings(arguments: &DetectArguments) -> Settings {
    Settings {
        season_ms: arguments.season.millis(),
        over_ms: arguments.over.millis(),
        effect_min: arguments.effect_min,
        direction: match arguments.direction {
            Departure::Both => Direction::Both,
            Departure::Up => Direction::Up,
            Departure::Down => Direction::Down,
        },
        counts: arguments.counts,
        ..Settings::default()
    }
}
