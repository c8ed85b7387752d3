//! The plot of a series of any length: what can be seen of it, gathered as rows come.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jiff::tz::TimeZone;
use tocsin_engine::detectors::{Assessment, Tier};
use tocsin_engine::time::Timestamp;
use tocsin_notifiers::plot::{Band, Chart, Mark, Weight};
use tocsin_proto::pb::notification::Point;

/// Pieces of time with rows in them that are kept apart; several for each column of the picture.
const PIECES_MAX: usize = 4096;

/// A picture in the making. Its memory does not grow with the series.
pub struct Picture {
    path: PathBuf,
    form: Form,
    pieces: Vec<Piece>,
    /// Length of a piece in milliseconds; doubled when there are too many.
    piece_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Svg,
    Png,
}

/// The rows of one piece of time that a line through all of them would show.
#[derive(Debug, Clone, Copy)]
struct Piece {
    /// Unix time divided by the length of pieces.
    number: i64,
    first: Row,
    last: Row,
    lowest: Row,
    highest: Row,
    /// The most serious report.
    reported: Option<(Tier, Row)>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    at: Timestamp,
    value: f64,
    /// NaN while unknown.
    lower: f64,
    upper: f64,
}

impl Piece {
    /// Adds what comes after it.
    fn extend(&mut self, after: &Piece) {
        self.last = after.last;
        if after.lowest.value < self.lowest.value {
            self.lowest = after.lowest;
        }
        if after.highest.value > self.highest.value {
            self.highest = after.highest;
        }
        let tier = |reported: Option<(Tier, Row)>| reported.map(|(tier, _)| tier);
        if tier(after.reported) > tier(self.reported) {
            self.reported = after.reported;
        }
    }

    /// The rows that are kept, in order and each once.
    fn rows(&self) -> Vec<Row> {
        let mut rows = vec![self.first, self.lowest, self.highest, self.last];
        rows.sort_by_key(|row| row.at);
        rows.dedup_by_key(|row| row.at);
        rows
    }
}

impl Picture {
    /// One that is to be written to `path`. Errs if its ending is none that can be drawn, or its folder is not there.
    pub fn new(path: &Path) -> anyhow::Result<Self> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        let form = match ending.as_deref() {
            Some("svg") => Form::Svg,
            Some("png") => Form::Png,
            _ => bail!("{}: the plot's name is expected to end in .svg or .png", path.display()),
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) {
            bail!("{}: its folder is not there", path.display());
        }
        Ok(Picture { path: path.to_path_buf(), form, pieces: Vec::new(), piece_ms: 1 })
    }

    /// Adds a row. `reported` is the tier of a report that begins with it. When time goes back, what was before is not
    /// drawn.
    pub fn row(&mut self, at: Timestamp, value: f64, assessment: &Assessment, reported: Option<Tier>) {
        let row = Row { at, value, lower: assessment.lower, upper: assessment.upper };
        let piece = Piece {
            number: at.unix_ms().div_euclid(self.piece_ms),
            first: row,
            last: row,
            lowest: row,
            highest: row,
            reported: reported.map(|tier| (tier, row)),
        };
        if self.pieces.last().is_some_and(|last| last.last.at > at) {
            self.pieces.clear();
        }
        match self.pieces.last_mut() {
            Some(last) if last.number == piece.number => last.extend(&piece),
            _ => self.pieces.push(piece),
        }
        while self.pieces.len() > PIECES_MAX {
            self.halve();
        }
    }

    /// Makes pieces twice as long.
    fn halve(&mut self) {
        self.piece_ms *= 2;
        let mut pieces: Vec<Piece> = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            let number = piece.number.div_euclid(2);
            match pieces.last_mut() {
                Some(last) if last.number == number => last.extend(piece),
                _ => pieces.push(Piece { number, ..*piece }),
            }
        }
        self.pieces = pieces;
    }

    /// Draws it and puts it in place of what was there, at once and whole.
    pub fn write(&self, series: &str, reports: &str) -> anyhow::Result<()> {
        let plot = self.chart(series, reports).plot(&TimeZone::UTC);
        let Some(plot) = plot else {
            bail!(
                "{}: cannot be drawn, expected at least two rows that could be judged",
                self.path.display()
            );
        };
        let bytes = match self.form {
            Form::Svg => plot.svg.as_bytes(),
            Form::Png => plot.png.as_slice(),
        };
        let mut name = self.path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}.draft", std::process::id()));
        let draft = self.path.with_file_name(name);
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&draft)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&draft, &self.path)
        };
        let written = write();
        if written.is_err() {
            let _ = std::fs::remove_file(&draft);
        }
        written.with_context(|| format!("{}: cannot be written", self.path.display()))
    }

    fn chart(&self, series: &str, reports: &str) -> Chart {
        let rows = || self.pieces.iter().flat_map(Piece::rows);
        let weight = |tier: Tier| match tier {
            Tier::Usual => None,
            Tier::Note => Some(Weight::Note),
            Tier::Warning => Some(Weight::Warning),
            Tier::Page => Some(Weight::Page),
        };
        let mark = |(tier, row): (Tier, Row)| {
            Some(Mark { at: row.at.unix_ms(), value: row.value, weight: weight(tier)? })
        };
        Chart {
            title: series.to_string(),
            subtitle: reports.to_string(),
            unit: String::new(),
            points: rows().map(|row| Point { at: row.at.unix_ms(), value: row.value, limit: None }).collect(),
            band: rows().map(|row| Band { at: row.at.unix_ms(), low: row.lower, high: row.upper }).collect(),
            marked: self.pieces.iter().filter_map(|piece| mark(piece.reported?)).collect(),
            moments: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(rows: i64) -> Picture {
        let mut picture = Picture::new(Path::new("x.svg")).expect("an ending that can be drawn");
        for number in 0..rows {
            let value = if number == 77_777 { 1e6 } else { (number % 10) as f64 };
            let reported = (number % 50_000 == 4).then_some(Tier::Note);
            let at = Timestamp::from_unix_s(number * 10);
            picture.row(at, value, &Assessment::unknown(value), reported);
        }
        picture
    }

    #[test]
    fn a_long_series_keeps_its_spikes_and_reports_and_little_else() {
        let chart = picture(200_000).chart("", "");
        assert!(chart.points.len() <= 4 * PIECES_MAX, "{}", chart.points.len());
        assert!(chart.points.contains(&Point { at: 777_770_000, value: 1e6, limit: None }));
        assert_eq!(
            chart.marked.iter().map(|mark| mark.at).collect::<Vec<_>>(),
            [40_000, 500_040_000, 1_000_040_000, 1_500_040_000]
        );
        assert!(chart.points.is_sorted_by_key(|point| point.at));
    }

    #[test]
    fn a_short_series_is_kept_whole() {
        assert_eq!(picture(3_000).chart("", "").points.len(), 3_000);
    }

    #[test]
    fn a_name_that_says_no_form_is_refused() {
        for name in ["x.gif", "x", "no such folder/x.svg"] {
            assert!(Picture::new(Path::new(name)).is_err(), "{name}");
        }
    }
}
