//! What an alert is shown with: the points of what was measured, bounded for each alert.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tocsin_proto::pb::notification::{Evidence, Point as EvidencePoint};

use crate::rules::Finding;
use crate::time::Timestamp;
use crate::windows::series::Series;

/// Points an alert keeps at most.
pub const POINTS_MAX: usize = 128;

/// What the values of findings are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// In words, as `sum of message.addresses over 10m`.
    #[serde(with = "crate::stored::shared_text")]
    pub quantity: Arc<str>,
    /// Their unit; empty for plain numbers.
    #[serde(with = "crate::stored::shared_text")]
    pub unit: Arc<str>,
}

impl Default for Measure {
    /// Something only the script knows.
    fn default() -> Self {
        Measure { quantity: "value".into(), unit: "".into() }
    }
}

/// A finding as a script told it.
#[derive(Debug, Clone)]
pub struct Telling {
    /// What it found.
    pub finding: Finding,
    /// What its value is.
    pub measure: Measure,
    /// How the value came about; wanted for a new alert only.
    pub series: Series,
}

/// The points of one alert, in order of time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Trail {
    pub measure: Measure,
    points: Vec<Point>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Point {
    at: Timestamp,
    value: f64,
    limit: Option<f64>,
    /// A script told it; else it was read from the window that the value was taken to be from.
    is_told: bool,
}

impl Trail {
    /// The points before a first finding. What the limit was meanwhile is not known: the finding's is taken.
    pub fn before(telling: &Telling, at: Timestamp) -> Trail {
        let mut trail = Trail { measure: telling.measure.clone(), points: Vec::new() };
        for (before, value) in telling.series.iter().filter(|(before, _)| *before < at) {
            trail.push(*before, *value, telling.finding.limit.number(), false);
        }
        trail
    }

    /// Takes what a script told at an instant.
    pub fn tell(&mut self, telling: &Telling, at: Timestamp) {
        if self.measure != telling.measure {
            // The value is not, or not always, what it was taken for.
            self.measure = Measure::default();
            self.points.retain(|point| point.is_told);
        }
        self.note(&telling.finding, at);
    }

    /// Takes the value and the limit of a finding, if they are numbers.
    pub fn note(&mut self, finding: &Finding, at: Timestamp) {
        if let Some(value) = finding.value.number() {
            self.push(at, value, finding.limit.number(), true);
        }
    }

    /// Takes a value that no script told.
    pub fn measure(&mut self, at: Timestamp, value: f64, limit: Option<f64>) {
        self.push(at, value, limit, false);
    }

    /// Takes a point; the newest of an instant counts.
    fn push(&mut self, at: Timestamp, value: f64, limit: Option<f64>, is_told: bool) {
        if !value.is_finite() || self.points.last().is_some_and(|last| last.at > at) {
            return;
        }
        self.points.pop_if(|last| last.at == at);
        if self.points.len() >= POINTS_MAX {
            let mut place = 0;
            self.points.retain(|_| {
                place += 1;
                place > POINTS_MAX / 2 || place % 2 == 1
            });
        }
        self.points.push(Point { at, value, limit: limit.filter(|limit| limit.is_finite()), is_told });
    }

    /// When the newest point is.
    pub fn last_at(&self) -> Option<Timestamp> {
        self.points.last().map(|point| point.at)
    }

    pub fn evidence(&self) -> Evidence {
        let point =
            |point: &Point| EvidencePoint { at: point.at.unix_ms(), value: point.value, limit: point.limit };
        Evidence {
            quantity: self.measure.quantity.to_string(),
            unit: self.measure.unit.to_string(),
            points: self.points.iter().map(point).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::Reading;

    fn telling(value: Reading, quantity: &str, series: &[(i64, f64)]) -> Telling {
        let series = series.iter().map(|(at_s, value)| (Timestamp::from_unix_s(*at_s), *value));
        Telling {
            finding: Finding {
                value,
                limit: Reading::Int(60),
                summary: String::new(),
                node: None,
                severity: None,
            },
            measure: Measure { quantity: quantity.into(), unit: "s".into() },
            series: series.collect(),
        }
    }

    fn points(trail: &Trail) -> Vec<(i64, f64)> {
        trail.points.iter().map(|point| (point.at.unix_ms() / 1000, point.value)).collect()
    }

    #[test]
    fn a_full_trail_keeps_its_first_and_last_points_and_thins_the_older_ones() {
        let mut trail = Trail::before(&telling(Reading::Nothing, "x", &[]), Timestamp::MIN);
        for second in 0..100_000 {
            trail.measure(Timestamp::from_unix_s(second), second as f64, None);
            assert!(trail.points.len() <= POINTS_MAX);
            assert_eq!(trail.points[0].value, 0.0);
            assert_eq!(trail.points.last().map(|point| point.value), Some(second as f64));
            assert!(trail.points.windows(2).all(|pair| pair[0].at < pair[1].at));
        }
        assert!(trail.points.len() > POINTS_MAX / 2);
        // The newer half is whole.
        let newest = &trail.points[trail.points.len() - POINTS_MAX / 4..];
        assert!(newest.windows(2).all(|pair| pair[1].value - pair[0].value == 1.0));
    }

    #[test]
    fn what_is_no_finite_number_is_no_point() {
        let told = telling(Reading::Nothing, "x", &[(1, f64::NAN), (2, f64::INFINITY), (3, 1.0)]);
        let mut trail = Trail::before(&told, Timestamp::from_unix_s(5));
        trail.tell(&told, Timestamp::from_unix_s(5));
        let told = telling(Reading::Float(f64::NAN), "x", &[]);
        trail.tell(&told, Timestamp::from_unix_s(6));
        assert_eq!(points(&trail), [(3, 1.0)]);
    }

    #[test]
    fn points_of_another_measure_are_not_shown_as_one() {
        let (first, second) = (Timestamp::from_unix_s(5), Timestamp::from_unix_s(7));
        let told = telling(Reading::Int(70), "count of message over 1m", &[(4, 9.0), (5, 10.0)]);
        let mut trail = Trail::before(&told, first);
        trail.tell(&told, first);
        trail.measure(Timestamp::from_unix_s(6), 3.0, None);
        assert_eq!(points(&trail), [(4, 9.0), (5, 70.0), (6, 3.0)]);
        assert_eq!(&*trail.measure.quantity, "count of message over 1m");
        trail.tell(&telling(Reading::Int(80), "age of message", &[]), second);
        assert_eq!(points(&trail), [(5, 70.0), (7, 80.0)]);
        assert_eq!(trail.measure, Measure::default());
    }
}
