//! Series of others: `tocsin detect` and the field's bands on them.
//!
//! The folder is named by `TOCSIN_SERIES`: `labels.json` and `data/` with labelled series as the Numenta Anomaly Benchmark
//! has them, and `bitcoin/` with series of the Bitcoin network. It is no part of the project.

use std::path::{Path, PathBuf};
use std::process::Command;

use tocsin_testing::bands::{self, Bands};
use tocsin_testing::benchmark::{Series, rows};

/// Names the folder.
pub const FOLDER: &str = "TOCSIN_SERIES";
/// What is reported at the lowest tier has at least this score: one less a probability of 10 to the power of -1.8.
pub const REPORTED: f64 = 0.984_151;
/// After an alert of a band, rows in which only a larger excess is another one; as the engine's own gate has it.
const QUIET_ROWS: usize = 100;

/// The folder, or a printed reason why there is nothing to see.
pub fn folder() -> Option<PathBuf> {
    let found = std::env::var_os(FOLDER).map(PathBuf::from);
    if found.is_none() {
        println!("skipped: {FOLDER} names no folder of labelled series");
    }
    found
}

/// Scores of `tocsin detect` for each row of a file.
pub fn detect(path: &Path) -> Vec<f64> {
    let output = Command::new(env!("CARGO_BIN_EXE_tocsin")).arg("detect").arg(path).output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let score = |line: &str| line.split(',').nth(2).and_then(|score| score.parse().ok());
    text.lines().skip(1).map(|line| score(line).unwrap_or_else(|| panic!("{line:?} has no score"))).collect()
}

/// The file of a series.
pub fn file(folder: &Path, series: &Series) -> PathBuf {
    folder.join("data").join(&series.name)
}

/// What bands say of each row: 1 where an alert begins to fire, and the excess over the band as a score for any threshold.
pub fn of_bands(kind: bands::Kind, series: &Series) -> (Vec<f64>, Vec<f64>) {
    let mut intervals: Vec<i64> = series.rows.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    intervals.sort_unstable();
    let step_s = intervals[intervals.len() / 2].max(1);
    let mut bands = Bands::new(kind, step_s, 0.0);
    let (mut alerts, mut scores) = (Vec::new(), Vec::new());
    let (mut fired, mut last) = (false, (0.0, 0));
    for (row, (at_s, value)) in series.rows.iter().enumerate() {
        let said = bands.push(*at_s, *value);
        alerts.push(f64::from(u8::from(said.fires && !fired)));
        fired = said.fires;
        let score = if said.excess.is_finite() { said.excess / (1.0 + said.excess) } else { 0.0 };
        // Above a half is outside.
        let is_new = score > 0.5 && (score > last.0 || row > last.1 + QUIET_ROWS);
        if is_new {
            last = (score, row);
        }
        scores.push(if is_new { score } else { 0.0 });
    }
    (alerts, scores)
}

/// Times at which something was reported of a series of the Bitcoin network.
pub fn reports(folder: &Path, name: &str) -> (Vec<(i64, f64)>, Vec<i64>) {
    let path = folder.join("bitcoin").join(name);
    let rows = rows(&path).expect("a series");
    let scores = detect(&path);
    assert_eq!(rows.len(), scores.len(), "{name}: one score for each row");
    let reported =
        rows.iter().zip(scores).filter(|(_, score)| *score >= REPORTED).map(|((at_s, _), _)| *at_s);
    let reported = reported.collect();
    (rows, reported)
}
