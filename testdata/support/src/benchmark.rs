//! How the Numenta Anomaly Benchmark scores a detector, and the folder of series it is scored on.
//!
//! Written anew from its description: Lavin & Ahmad, "Evaluating Real-time Anomaly Detection Algorithms", 2015
//! (arXiv:1510.03336). What is found early in a labelled window is worth up to 1, what is found at its end nothing;
//! a window that is missed costs 1 (2 where misses matter more); a false alarm costs up to 0.11 (0.22 where false
//! alarms matter more), less if it comes right after a window. All of that is scaled so that who says nothing has 0 and who finds
//! every window at its first row without a false alarm has 100.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What a hit, a false alarm and a miss weigh.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// Its name in tables.
    pub name: &'static str,
    /// Of a window found at its first row.
    pub hit: f64,
    /// Of a false alarm far from every window.
    pub false_alarm: f64,
    /// Of a window that was not found.
    pub miss: f64,
}

/// The benchmark's three profiles.
pub const PROFILES: [Profile; 3] = [
    Profile { name: "standard", hit: 1.0, false_alarm: 0.11, miss: 1.0 },
    Profile { name: "low false positives", hit: 1.0, false_alarm: 0.22, miss: 1.0 },
    Profile { name: "low false negatives", hit: 1.0, false_alarm: 0.11, miss: 2.0 },
];

/// A labelled series.
#[derive(Debug, Clone)]
pub struct Series {
    /// File below `data/`.
    pub name: String,
    /// Unix seconds and value of each row.
    pub rows: Vec<(i64, f64)>,
    /// First and last row of each labelled window.
    pub windows: Vec<(usize, usize)>,
}

/// The result of one profile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// 0 is that of silence, 100 that of a perfect detector.
    pub score: f64,
    /// Rows with at least this score are alarms.
    pub threshold: f64,
    /// Labelled windows that were found.
    pub found: usize,
    /// Alarms outside of windows.
    pub false_alarms: usize,
}

/// Reads `labels.json` and the series it names from a folder.
///
/// # Errors
///
/// What is missing or malformed, with the file's name.
pub fn load(folder: &Path) -> Result<Vec<Series>, String> {
    let path = folder.join("labels.json");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let labels: BTreeMap<String, Vec<(String, String)>> =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut found = Vec::new();
    for (name, windows) in labels {
        let rows = [folder.join("data").join(&name), folder.join(&name)]
            .iter()
            .find(|path| path.is_file())
            .ok_or_else(|| format!("{name}: no such file below data/"))
            .and_then(|path| rows(path))?;
        let mut spans = Vec::new();
        for (from, until) in windows {
            let (from, until) = (unix_s(&from)?, unix_s(&until)?);
            let first = rows.partition_point(|(at, _)| *at < from);
            let last = rows.partition_point(|(at, _)| *at <= until) - 1;
            spans.push((first, last));
        }
        found.push(Series { name, rows, windows: spans });
    }
    Ok(found)
}

/// Reads `timestamp,value` rows below a heading.
///
/// # Errors
///
/// The first line that is neither.
pub fn rows(path: &Path) -> Result<Vec<(i64, f64)>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let row = |(number, line): (usize, &str)| {
        let (at, value) = line.split_once(',').ok_or("no comma".to_string())?;
        let value = value.trim().parse().map_err(|_| format!("{value:?} is no number"))?;
        unix_s(at)
            .map(|at| (at, value))
            .map_err(|error| format!("{}:{}: {error}", path.display(), number + 1))
    };
    text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()).map(row).collect()
}

/// Unix seconds of `YYYY-MM-DD hh:mm:ss`, with or without a fraction, taken for UTC.
///
/// # Errors
///
/// If it is none.
pub fn unix_s(text: &str) -> Result<i64, String> {
    let parts: Vec<i64> = text
        .trim()
        .split(['-', ' ', 'T', ':'])
        .map(|part| part.split('.').next().unwrap_or_default().parse())
        .collect::<Result<_, _>>()
        .map_err(|_| format!("{text:?} is no time"))?;
    let [year, month, day, hour, minute, second] = parts[..] else {
        return Err(format!("{text:?} is no time"));
    };
    // Days from the civil calendar (Hinnant, "chrono-compatible low-level date algorithms").
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days =
        era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    Ok(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// The benchmark's discount by place: near 1 well before 0, none at 0, near -1 after.
fn sigmoid(place: f64) -> f64 {
    if place > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * place).exp()) - 1.0 }
}

/// A row that counts: its score, the window it is in, and what an alarm there is worth.
#[derive(Debug, Clone, Copy)]
struct Place {
    score: f64,
    window: Option<usize>,
    worth: f64,
}

/// Places of one series. The first 15 % of its first 5000 rows are for warming up and do not count.
fn places(series: &Series, scores: &[f64], windows_before: usize) -> Vec<Place> {
    assert_eq!(series.rows.len(), scores.len(), "{}: one score for each row", series.name);
    let warm_up = (0.15 * scores.len().min(5000) as f64).floor() as usize;
    let place = |(row, score): (usize, &f64)| {
        let inside = series.windows.iter().position(|(first, last)| (*first..=*last).contains(&row));
        let before = series.windows.iter().rev().find(|(_, last)| *last < row);
        let worth = match (inside, before) {
            (Some(window), _) => {
                let (first, last) = series.windows[window];
                let size = (last - first + 1) as f64;
                sigmoid(-((last - row + 1) as f64) / size) / sigmoid(-1.0)
            }
            (None, Some((first, last))) => sigmoid((row - last) as f64 / ((last - first).max(1)) as f64),
            (None, None) => -1.0,
        };
        Place { score: *score, window: inside.map(|window| windows_before + window), worth }
    };
    scores.iter().enumerate().map(place).skip(warm_up).collect()
}

/// Scores the rows of all series with one threshold for all; with the best one if none is given.
///
/// # Panics
///
/// If the scores of a series are not as many as its rows.
pub fn score(all: &[Series], scores: &[Vec<f64>], profile: &Profile, threshold: Option<f64>) -> Scored {
    let windows = all.iter().map(|series| series.windows.len()).sum::<usize>();
    let mut every: Vec<Place> = Vec::new();
    let mut before = 0;
    for (series, scores) in all.iter().zip(scores) {
        every.extend(places(series, scores, before));
        before += series.windows.len();
    }
    every.sort_by(|a, b| b.score.total_cmp(&a.score));
    let silence = -profile.miss * windows as f64;
    let scale = 100.0 / (profile.hit * windows as f64 - silence);
    let mut best_of = vec![-profile.miss; windows];
    let (mut raw, mut found, mut false_alarms) = (silence, 0, 0);
    let scored = |raw: f64, threshold, found, false_alarms| Scored {
        score: scale * (raw - silence),
        threshold,
        found,
        false_alarms,
    };
    let mut best = scored(silence, 1.1, 0, 0);
    for (index, place) in every.iter().enumerate() {
        if threshold.is_some_and(|threshold| place.score < threshold) {
            break;
        }
        match place.window {
            None => {
                raw += profile.false_alarm * place.worth;
                false_alarms += 1;
            }
            Some(window) => {
                // Only the earliest alarm of a window counts, which is worth the most.
                let worth = (profile.hit * place.worth).max(best_of[window]);
                found += usize::from(best_of[window] == -profile.miss);
                raw += worth - best_of[window];
                best_of[window] = worth;
            }
        }
        let is_last_of_its_score = every.get(index + 1).is_none_or(|next| next.score < place.score);
        let now = scored(raw, place.score, found, false_alarms);
        if threshold.is_some() || (is_last_of_its_score && now.score > best.score) {
            best = now;
        }
    }
    threshold.map_or(best, |threshold| Scored { threshold, ..best })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A series of 1000 rows with one window, and alarms at these rows.
    #[track_caller]
    fn check(alarms: &[usize], standard: f64) {
        let series = Series {
            name: "test".into(),
            rows: (0..1000).map(|row| (300 * row, 0.0)).collect(),
            windows: vec![(500, 599)],
        };
        let scores: Vec<f64> = (0..1000).map(|row| f64::from(u8::from(alarms.contains(&row)))).collect();
        let found = score(&[series], &[scores], &PROFILES[0], Some(0.5)).score;
        assert!((found - standard).abs() < 0.01, "{found}, expected {standard}");
    }

    #[test]
    fn silence_is_nothing_and_the_first_row_of_a_window_all() {
        check(&[], 0.0);
        check(&[500], 100.0);
        check(&[500, 550, 599], 100.0);
    }

    #[test]
    fn a_late_hit_is_worth_less_and_a_false_alarm_costs() {
        // Half way: 2 / (1 + e^-2.55) - 1 over 2 / (1 + e^-5) - 1.
        check(&[549], 50.0 + 50.0 * 0.8667);
        check(&[300, 500], 100.0 - 5.5);
        // The warm-up is not scored, and an alarm shortly after a window costs little.
        check(&[100, 500], 100.0);
        check(&[500, 602], 100.0 - 5.5 * 0.0756);
    }

    #[test]
    fn times_are_read_as_utc() {
        assert_eq!(unix_s("1970-01-02 00:00:01"), Ok(86_401));
        assert_eq!(unix_s("2026-03-02 00:00:00.000000"), Ok(1_772_409_600));
        assert!(unix_s("yesterday").is_err());
    }
}
