//! What was found, for the summary at the end.

use std::fmt::Write as _;

use tocsin_engine::detectors::{Assessment, Tier};
use tocsin_engine::time::Timestamp;

use super::output::rounded;
use super::rows::clean;
use crate::program::output::grouped;

/// So many reports are told one by one.
const TOLD_MAX: usize = 10;

/// More rows out of order than this, and than one in a hundred, are no accident.
const OUT_OF_ORDER_MAX: u64 = 10;

/// Counts, and the strongest reports.
#[derive(Debug, Default)]
pub struct Tally {
    /// All of them.
    pub rows: u64,
    pub unreadable: u64,
    pub out_of_order: u64,
    /// The first time, and the last, which is also as written.
    span: Option<(String, Timestamp, Vec<u8>)>,
    is_warm: bool,
    /// Reports of notes, warnings and pages.
    counts: [u64; 3],
    /// The strongest first.
    strongest: Vec<Report>,
    /// The row before was part of this report.
    open: Option<Report>,
}

#[derive(Debug, Clone)]
struct Report {
    tier: Tier,
    at: String,
    /// Of its value too: it may be of several rows together.
    assessment: Assessment,
}

impl Report {
    fn strength(&self) -> (Tier, f64) {
        (self.tier, self.assessment.score)
    }
}

impl Tally {
    /// Notes a row that was judged. Rows in a row that are reported are one report; returns the tier of one that begins
    /// or becomes more serious with this row.
    pub fn judged(&mut self, time: &[u8], at: Timestamp, assessment: &Assessment) -> Option<Tier> {
        self.span = Some(match self.span.take() {
            None => (shown(time, at), at, time.to_vec()),
            Some((first, _, mut last)) => {
                last.clear();
                last.extend_from_slice(time);
                (first, at, last)
            }
        });
        self.is_warm |= assessment.warm;
        if assessment.tier == Tier::Usual {
            self.close();
            return None;
        }
        let report = Report { tier: assessment.tier, at: shown(time, at), assessment: *assessment };
        match &mut self.open {
            Some(open) if open.strength() >= report.strength() => None,
            Some(open) => {
                let is_raised = report.tier > open.tier;
                *open = report;
                is_raised.then_some(assessment.tier)
            }
            None => {
                self.open = Some(report);
                Some(assessment.tier)
            }
        }
    }

    /// True if the results cover only a part of what should be there.
    pub fn is_damaged(&self) -> bool {
        let is_disordered =
            self.out_of_order > OUT_OF_ORDER_MAX && self.out_of_order.saturating_mul(100) > self.rows;
        self.unreadable > 0 || is_disordered
    }

    fn close(&mut self) {
        let Some(report) = self.open.take() else { return };
        self.counts[place(report.tier)] += 1;
        let stronger = |other: &Report| {
            let ((tier, score), (other_tier, other_score)) = (report.strength(), other.strength());
            other_tier.cmp(&tier).then(other_score.total_cmp(&score)).is_ge()
        };
        let place = self.strongest.partition_point(stronger);
        self.strongest.insert(place, report);
        self.strongest.truncate(TOLD_MAX);
    }

    /// Counts of reports: `2 pages, 1 warning, 5 notes`.
    pub fn reports(&mut self) -> String {
        self.close();
        let words = [("page", self.counts[2]), ("warning", self.counts[1]), ("note", self.counts[0])];
        let words = words.into_iter().filter(|(_, count)| *count > 0);
        let words: Vec<String> = words.map(|(word, count)| counted(count, word)).collect();
        if words.is_empty() { "nothing to report".to_string() } else { words.join(", ") }
    }

    /// Lines for people; `step_ms` is None if too few rows came.
    pub fn summary(&mut self, series: &str, step_ms: Option<i64>) -> String {
        let reports = self.reports();
        let mut text = format!("{series}: {}", counted(self.rows, "row"));
        if let Some(step_ms) = step_ms {
            let _ = write!(text, " every {}", span(step_ms));
        }
        if let Some((first, at, last)) = &self.span {
            let _ = write!(text, ", {first} to {}", shown(last, *at));
        }
        let _ = writeln!(text, "\n{reports}");
        for report in &self.strongest {
            let _ = writeln!(text, "  {}", line(report));
        }
        let told = self.strongest.len() as u64;
        let all: u64 = self.counts.iter().sum();
        if all > told {
            let _ = writeln!(text, "  and {} weaker ones", grouped(all - told));
        }
        if self.unreadable + self.out_of_order > 0 {
            let _ = writeln!(
                text,
                "not judged: {} that cannot be read, {} out of order",
                counted(self.unreadable, "row"),
                grouped(self.out_of_order)
            );
        }
        if !self.is_warm {
            text.push_str(
                "the series is too short to be judged: the detector was still learning at its end\n",
            );
        }
        text
    }
}

/// A time as it was written; but people do not read unix time.
fn shown(time: &[u8], at: Timestamp) -> String {
    let is_number = std::str::from_utf8(time).is_ok_and(|time| time.trim().parse::<f64>().is_ok());
    if is_number { at.to_string().replace(".000Z", "Z") } else { clean(time) }
}

fn place(tier: Tier) -> usize {
    match tier {
        Tier::Usual | Tier::Note => 0,
        Tier::Warning => 1,
        Tier::Page => 2,
    }
}

/// A tier's name.
fn name(tier: Tier) -> &'static str {
    match tier {
        Tier::Usual => "usual",
        Tier::Note => "note",
        Tier::Warning => "warning",
        Tier::Page => "page",
    }
}

fn line(report: &Report) -> String {
    let Assessment { value, expected, lower, upper, .. } = report.assessment;
    // Five digits are enough for people.
    let short = |number: f64| match format!("{number:.4e}").parse::<f64>() {
        Ok(short) => rounded(short),
        Err(_) => String::new(),
    };
    let mut text = format!("{:<8}{}  {}", name(report.tier), report.at, short(value));
    if expected.is_finite() {
        let _ = write!(text, ", expected {}", short(expected));
    }
    if lower.is_finite() && upper.is_finite() {
        let _ = write!(text, " ({} to {})", short(lower), short(upper));
    }
    text
}

fn counted(count: u64, word: &str) -> String {
    format!("{} {word}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// A step in words: `30 min`.
pub fn span(ms: i64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    let fits = units.into_iter().find(|(unit_ms, _)| ms >= *unit_ms);
    let (unit_ms, unit) = fits.unwrap_or((1, "ms"));
    format!("{} {unit}", rounded((ms as f64 / unit_ms as f64 * 100.0).round() / 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assessment(tier: Tier, score: f64, value: f64) -> Assessment {
        Assessment { tier, score, warm: true, ..Assessment::unknown(value) }
    }

    #[test]
    fn neighbouring_rows_are_one_report_of_their_strongest() {
        let mut tally = Tally::default();
        let tiers = [Tier::Note, Tier::Warning, Tier::Warning, Tier::Usual, Tier::Note];
        let mut told = Vec::new();
        for (number, tier) in tiers.into_iter().enumerate() {
            let score = 0.99 + place(tier) as f64 / 1000.0;
            told.push(tally.judged(
                format!("t{number}").as_bytes(),
                Timestamp::MIN,
                &assessment(tier, score, number as f64),
            ));
        }
        assert_eq!(told, [Some(Tier::Note), Some(Tier::Warning), None, None, Some(Tier::Note)]);
        assert_eq!(tally.reports(), "1 warning, 1 note");
        let summary = tally.summary("x.csv, value", Some(1_800_000));
        assert!(summary.contains("every 30 min, t0 to t4"), "{summary}");
        assert!(summary.contains("  warning t1  1\n  note    t4  4\n"), "{summary}");
    }

    #[test]
    fn the_strongest_are_told_and_the_rest_is_counted() {
        let mut tally = Tally::default();
        for number in 0..30 {
            tally.judged(
                b"t",
                Timestamp::MIN,
                &assessment(Tier::Note, 0.99 + f64::from(number) / 1e4, f64::from(number)),
            );
            tally.judged(b"t", Timestamp::MIN, &assessment(Tier::Usual, 0.0, 0.0));
        }
        let summary = tally.summary("x", None);
        assert!(summary.contains("30 notes") && summary.contains("and 20 weaker ones"), "{summary}");
        assert!(summary.contains("t  29\n  note    t  28\n"), "{summary}");
    }

    #[test]
    fn spans_have_the_unit_that_suits_them() {
        assert_eq!([500, 10_000, 300_000, 5_400_000].map(span), ["500 ms", "10 s", "5 min", "1.5 h"]);
    }
}
