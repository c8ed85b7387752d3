//! One series through a detector, whatever the step of its rows.
//!
//! What a row gets depends on the rows before it and on nothing else. The first rows show the step and get no score; the
//! detector learns from them when the step is known. When rows come at another step for good, a new detector begins; so it
//! does when times have gone back and go forward from there, as where two files were put together.

use std::collections::VecDeque;

use tocsin_engine::detectors::{Assessment, Detector, Kind, Settings};
use tocsin_engine::time::Timestamp;

use super::pace::{self, Pace, ROWS_MIN, ROWS_OF_CHANGE};

/// A series and its detector.
pub struct Stream {
    kind: Kind,
    /// As asked for; the step is the detector's.
    settings: Settings,
    detector: Option<Detector>,
    pace: Pace,
    /// The latest rows: what a new detector learns from first.
    latest: VecDeque<(Timestamp, f64)>,
    /// Rows in a row that came at another step.
    rows_of_change: usize,
    /// Rows in a row that are out of order but ascend among themselves.
    behind: Vec<(Timestamp, f64)>,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Judged {
    /// A detector says this of it.
    Assessed(Assessment),
    /// So it is with this row too, and it is the first at another step, in milliseconds.
    Anew(Assessment, i64),
    /// So it is with this row too, and it is the last of so many that go forward from an earlier time.
    Back(Assessment),
    /// Its time is not after that of the row before: nothing is said of it, or learnt from it.
    OutOfOrder,
}

impl Stream {
    /// One that has seen nothing. The step of `settings` does not matter.
    pub fn new(kind: Kind, settings: Settings) -> Self {
        Stream {
            kind,
            settings,
            detector: None,
            pace: Pace::default(),
            latest: VecDeque::new(),
            rows_of_change: 0,
            behind: Vec::new(),
        }
    }

    /// The step of the detector, in milliseconds; none until it is known.
    pub fn step_ms(&self) -> Option<i64> {
        self.detector.as_ref().map(|_| self.settings.step_ms)
    }

    /// Judges a row by those before it, and learns from it.
    pub fn push(&mut self, at: Timestamp, value: f64) -> Judged {
        let interval_ms = self.latest.back().map(|(before, _)| at.ms_since(*before));
        if interval_ms.is_some_and(|interval_ms| interval_ms <= 0) {
            return self.push_behind(at, value);
        }
        self.behind.clear();
        let is_gap = interval_ms.is_some_and(|interval_ms| self.pace.is_gap(interval_ms));
        if let Some(interval_ms) = interval_ms {
            self.pace.note(interval_ms);
        }
        let changed_to = self.changed_step();
        let assessment = match (&mut self.detector, changed_to) {
            (Some(_), Some(step_ms)) => {
                self.begin(step_ms);
                self.assess(at, value, is_gap)
            }
            (Some(_), None) => self.assess(at, value, is_gap),
            (None, _) => Assessment::unknown(value),
        };
        if self.latest.len() == ROWS_OF_CHANGE {
            self.latest.pop_front();
        }
        self.latest.push_back((at, value));
        if self.detector.is_none() && self.latest.len() >= ROWS_MIN {
            let step_ms = self.pace.step_ms().expect("as many intervals are noted as rows came");
            self.begin(step_ms);
        }
        match changed_to {
            Some(_) => Judged::Anew(assessment, self.settings.step_ms),
            None => Judged::Assessed(assessment),
        }
    }

    /// Keeps a row that is out of order. When enough of them go forward, the series goes on from there: a new detector
    /// learns from those before this one.
    fn push_behind(&mut self, at: Timestamp, value: f64) -> Judged {
        if self.behind.last().is_some_and(|(before, _)| at.ms_since(*before) <= 0) {
            self.behind.clear();
        }
        if self.behind.len() + 1 < ROWS_OF_CHANGE {
            self.behind.push((at, value));
            return Judged::OutOfOrder;
        }
        let behind = std::mem::take(&mut self.behind);
        *self = Stream::new(self.kind, self.settings);
        for (at, value) in behind {
            self.push(at, value);
        }
        match self.push(at, value) {
            Judged::Assessed(assessment) | Judged::Anew(assessment, _) => Judged::Back(assessment),
            other => other,
        }
    }

    fn assess(&mut self, at: Timestamp, value: f64, is_gap: bool) -> Assessment {
        let Some(detector) = &mut self.detector else { return Assessment::unknown(value) };
        if is_gap {
            detector.skip();
        }
        detector.push(at, value)
    }

    /// The step rows come at now, if that has been another than the detector's for long enough.
    fn changed_step(&mut self) -> Option<i64> {
        let (now_ms, known_ms) = (self.pace.step_ms()?, self.step_ms()?);
        let is_other = now_ms > 2 * known_ms || known_ms > 2 * now_ms;
        self.rows_of_change = if is_other { self.rows_of_change + 1 } else { 0 };
        (self.rows_of_change >= ROWS_OF_CHANGE).then_some(now_ms)
    }

    /// Begins a detector with the latest rows.
    fn begin(&mut self, step_ms: i64) {
        self.settings.step_ms = pace::round(step_ms);
        self.rows_of_change = 0;
        self.detector = Some(Detector::new(self.kind, &self.settings));
        let latest = std::mem::take(&mut self.latest);
        let mut before = None;
        for (at, value) in &latest {
            let is_gap = before.replace(*at).is_some_and(|before| self.pace.is_gap(at.ms_since(before)));
            self.assess(*at, *value, is_gap);
        }
        self.latest = latest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes a row for each time and returns the steps that were begun with, by number of row.
    fn steps(times_s: impl Iterator<Item = i64>) -> Vec<(usize, i64)> {
        let mut stream = Stream::new(Kind::Default, Settings::default());
        let mut steps = Vec::new();
        for (number, at_s) in times_s.enumerate() {
            stream.push(Timestamp::from_unix_s(at_s), 1.0);
            let step_ms = stream.step_ms();
            if step_ms != steps.last().map(|(_, step_ms)| *step_ms) {
                steps.extend(step_ms.map(|step_ms| (number, step_ms)));
            }
        }
        steps
    }

    #[test]
    fn a_detector_begins_with_the_tenth_row() {
        assert_eq!(steps((0..100).map(|number| number * 60)), [(9, 60_000)]);
    }

    #[test]
    fn jitter_and_gaps_change_no_step() {
        let late = |number: i64| number * 300 + number % 7 + if number > 50 { 86_400 } else { 0 };
        assert_eq!(steps((0..500).map(late)), [(9, 300_000)]);
    }

    #[test]
    fn another_step_for_good_begins_anew() {
        let daily_then_hourly = (0..100).map(|number| number * 86_400);
        let daily_then_hourly = daily_then_hourly.chain((1..100).map(|number| 99 * 86_400 + number * 3_600));
        let steps = steps(daily_then_hourly);
        assert_eq!(steps.iter().map(|(_, step_ms)| *step_ms).collect::<Vec<_>>(), [86_400_000, 3_600_000]);
        // Half of the intervals of the median, and the rows that make sure of it.
        assert!((130..150).contains(&steps[1].0), "{steps:?}");
    }

    #[test]
    fn times_that_do_not_go_forward_are_not_judged() {
        let mut stream = Stream::new(Kind::Default, Settings::default());
        stream.push(Timestamp::from_unix_s(60), 1.0);
        assert_eq!(stream.push(Timestamp::from_unix_s(60), 1.0), Judged::OutOfOrder);
        assert_eq!(stream.push(Timestamp::from_unix_s(0), 1.0), Judged::OutOfOrder);
        assert!(matches!(stream.push(Timestamp::from_unix_s(61), 1.0), Judged::Assessed(_)));
    }

    #[test]
    fn thirty_rows_that_go_forward_from_an_earlier_time_begin_anew() {
        let mut stream = Stream::new(Kind::Default, Settings::default());
        (1_000..2_000).for_each(|n| _ = stream.push(Timestamp::from_unix_s(n * 60), 1.0));
        // Ones that go back and forth are no series.
        for n in 0..100 {
            assert_eq!(stream.push(Timestamp::from_unix_s(n % 20 * 60), 1.0), Judged::OutOfOrder);
        }
        assert!(matches!(stream.push(Timestamp::from_unix_s(2_000 * 60), 1.0), Judged::Assessed(_)));
        for n in 0..29 {
            assert_eq!(stream.push(Timestamp::from_unix_s(n * 300), 1.0), Judged::OutOfOrder);
        }
        assert!(matches!(stream.push(Timestamp::from_unix_s(29 * 300), 1.0), Judged::Back(_)));
        assert_eq!(stream.step_ms(), Some(300_000));
        assert!(matches!(stream.push(Timestamp::from_unix_s(30 * 300), 1.0), Judged::Assessed(_)));
    }
}
