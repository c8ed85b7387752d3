//! What looks at a series: the engine's window with its detector and masks, or the field's bands.

use tocsin_engine::time::Timestamp;
use tocsin_engine::windows::watch::{HeardBy, Step, Take, Watch, Watched};
use tocsin_engine::windows::{Aggregate, Window};
use tocsin_testing::bands::{self, Bands};

use super::alarm::{Alarm, Knobs};
use super::rule::{Found, Rule};
use super::series::Subject;

const OVER_MS: i64 = 28 * 86_400_000;

/// One series of one node, watched by one method.
#[derive(Debug, Clone)]
pub struct Watcher {
    /// Its number in the list of series.
    pub series: usize,
    /// The newest finding is of a series that has no norm yet: it is told as information.
    pub is_cold: bool,
    method: Method,
    alarm: Alarm,
}

#[derive(Debug, Clone)]
enum Method {
    Ours(Box<Ours>),
    Bands(Box<(Bands, Growth)>),
}

/// A cell of an anomaly window.
#[derive(Debug, Clone)]
struct Ours {
    watch: Watch,
    watched: Watched,
    window: Window,
    rule: Rule,
}

impl Watcher {
    /// The engine's window and rule. Where the simulation's steps are longer than the series', totals are as much larger.
    pub fn ours(series: usize, subject: &Subject, step_s: i64, rule: &Rule) -> Self {
        let mut watched = subject.watched;
        let step_ms = watched.step_ms.max(1000 * step_s);
        let longer = step_ms / watched.step_ms;
        watched.step_ms = step_ms;
        if subject.is_total {
            watched.effect_min *= longer as f64;
        }
        let window = Window { aggregate: Aggregate::Anomaly(watched), over_ms: OVER_MS, integers: false };
        // The rule waits for the next sample to be odd too.
        let knobs = Knobs { for_s: rule.knobs.for_s * longer, ..rule.knobs };
        let ours = Ours { watch: Watch::default(), watched, window, rule: rule.of(subject) };
        Watcher { series, is_cold: false, method: Method::Ours(Box::new(ours)), alarm: Alarm::new(knobs) }
    }

    /// Bands around the series as the field would ask Prometheus for it: what is counted is the growth of a counter over
    /// half an hour (peer-observer) or five minutes.
    pub fn bands(series: usize, subject: &Subject, kind: bands::Kind, rule: &Rule) -> Self {
        let minutes = match kind {
            _ if !subject.is_total => 1,
            bands::Kind::Branch | bands::Kind::Merged => 30,
            _ => 5,
        };
        let bands = Bands::new(kind, 60, subject.sweep_min * minutes as f64);
        let method = Method::Bands(Box::new((bands, Growth { minutes, values: Vec::new() })));
        // What their rules wait for is part of them.
        Watcher { series, is_cold: false, method, alarm: Alarm::new(Knobs { for_s: 0, ..rule.knobs }) }
    }

    /// The node has restarted.
    pub fn restarted(&mut self, at_s: i64) {
        if let Method::Ours(ours) = &mut self.method {
            ours.watch.mask(Timestamp::from_unix_s(at_s));
        }
    }

    /// Takes what was read at the end of a step; NaN if nothing was. True if an alert begins to fire.
    pub fn step(&mut self, at_s: i64, value: f64, is_observed: bool) -> bool {
        let finding = match &mut self.method {
            Method::Ours(ours) => ours.step(at_s, value, is_observed).map(|found| {
                self.is_cold = found == Found::Information;
                found != Found::Nothing
            }),
            Method::Bands(bands) => Some(bands.0.push(at_s, bands.1.push(value)).fires),
        };
        let step_s = match &self.method {
            Method::Ours(ours) => ours.watched.step_ms / 1000,
            Method::Bands(_) => 60,
        };
        finding.is_some_and(|finding| self.alarm.step(at_s, step_s, finding))
    }
}

impl Ours {
    /// What the rule finds when a step of the window is over.
    fn step(&mut self, at_s: i64, value: f64, is_observed: bool) -> Option<Found> {
        let ends_at = Timestamp::from_unix_s(at_s);
        let take = self.watched.take;
        if value.is_finite() {
            let at = ends_at.plus_ms(-1);
            match take {
                // A count is as many events.
                Take::Count | Take::PollCount => {
                    (0..value as u64).for_each(|_| self.watch.push(take, at, 1.0, 0, 1))
                }
                Take::MedianAge => {
                    let since_s = at.unix_ms() as f64 / 1000.0 - value;
                    self.watch.push(take, at, since_s, 0, 1);
                }
                _ => self.watch.push(take, at, value, 0, 1),
            }
        }
        if (at_s * 1000) % self.watched.step_ms != 0 {
            return None;
        }
        let is_heard = is_observed && self.watched.heard_by != HeardBy::Samples;
        let step = Step { ends_at, is_heard, is_cut: false, poll: 1, is_syncing: false };
        self.watch.close(&self.window, &self.watched, &step);
        let assessed = self.watch.assessment();
        Some(assessed.map_or(Found::Nothing, |it| self.rule.check(&it.assessment, it.reported_s)))
    }
}

/// `increase()` over the last minutes; of part of them scaled up, as Prometheus does.
#[derive(Debug, Clone)]
struct Growth {
    minutes: usize,
    values: Vec<f64>,
}

impl Growth {
    fn push(&mut self, value: f64) -> f64 {
        if self.minutes == 1 {
            return value;
        }
        if self.values.len() == self.minutes {
            self.values.remove(0);
        }
        self.values.push(value);
        let known: Vec<f64> = self.values.iter().copied().filter(|value| value.is_finite()).collect();
        if known.len() < 2 || !value.is_finite() {
            return f64::NAN;
        }
        known.iter().sum::<f64>() / known.len() as f64 * self.minutes as f64
    }
}
