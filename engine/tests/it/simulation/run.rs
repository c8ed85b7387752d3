//! A simulated node and all that watches it.

use tocsin_testing::bands;
use tocsin_testing::simulation::incident::{Incident, Kind};
use tocsin_testing::simulation::{LENGTH_S, Seconds, Simulation};

use super::rule::Rule;
use super::series::{Subject, shows_in};
use super::watcher::Watcher;

const DAY_S: f64 = 86_400.0;

/// Who watches: the engine's default, or one of the field's bands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Ours,
    Bands(bands::Kind),
}

impl Who {
    pub fn all() -> Vec<(&'static str, Who)> {
        let bands = bands::Kind::NAMES.into_iter().map(|(name, kind)| (name, Who::Bands(kind)));
        std::iter::once(("tocsin, default", Who::Ours)).chain(bands).collect()
    }
}

/// An alert that began to fire.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    pub series: usize,
    /// Seconds since the begin.
    pub since_s: f64,
    /// The series had no norm yet: the alert is information.
    pub is_cold: bool,
}

/// A node and its watchers.
#[derive(Debug, Clone)]
pub struct Node {
    simulation: Simulation,
    watchers: Vec<Watcher>,
    /// Name and unit of what each series reads.
    readings: Vec<(&'static str, f64)>,
    /// The place of each reading in a step's list.
    places: Vec<usize>,
    uptime_s: f64,
    is_ours: bool,
    /// The minute under way, for bands: newest value or sum.
    minute: Vec<(f64, bool)>,
}

impl Node {
    pub fn new(seed: u64, step_s: u32, who: Who, series: &[Subject], rule: &Rule) -> Self {
        let watcher = |(number, subject): (usize, &Subject)| match who {
            Who::Ours => Watcher::ours(number, subject, i64::from(step_s), rule),
            Who::Bands(kind) => Watcher::bands(number, subject, kind, rule),
        };
        Node {
            simulation: Simulation::new(seed, step_s),
            watchers: series.iter().enumerate().map(watcher).collect(),
            readings: series.iter().map(|subject| (subject.reading, subject.unit)).collect(),
            places: Vec::new(),
            uptime_s: 0.0,
            is_ours: who == Who::Ours,
            minute: series.iter().map(|subject| (f64::NAN, subject.is_total)).collect(),
        }
    }

    /// The same node with an incident that begins now, and only those watchers that should see it.
    fn branch(&self, kind: Kind) -> Node {
        let mut node = self.clone();
        node.simulation = node.simulation.with(Incident { kind, from_s: self.simulation.since_s() });
        node.watchers.retain(|watcher| shows_in(kind).contains(&self.readings[watcher.series].0));
        node
    }

    /// Runs until so many seconds after the begin; the alerts that began to fire.
    pub fn run_until(&mut self, until_s: f64) -> Vec<Alert> {
        let mut alerts = Vec::new();
        while self.simulation.since_s() < until_s {
            let Some(step) = self.simulation.next() else { break };
            if self.places.is_empty() && step.is_observed {
                let place = |name: &str| step.readings.iter().position(|(known, _)| *known == name);
                self.places = self
                    .readings
                    .iter()
                    .map(|(name, _)| place(name).unwrap_or_else(|| panic!("{name} is not simulated")))
                    .collect();
            }
            let since_s = self.simulation.since_s();
            self.take(&step, |watcher| {
                alerts.push(Alert { series: watcher.series, since_s, is_cold: watcher.is_cold });
            });
        }
        alerts
    }

    fn take(&mut self, step: &Seconds, mut fired: impl FnMut(&Watcher)) {
        let at_s = step.at_ms / 1000;
        if step.is_observed {
            if step.uptime_s < self.uptime_s {
                self.watchers.iter_mut().for_each(|watcher| watcher.restarted(at_s));
            }
            self.uptime_s = step.uptime_s;
        }
        for watcher in &mut self.watchers {
            let mut value = f64::NAN;
            if step.is_observed {
                value = step.readings[self.places[watcher.series]].1 * self.readings[watcher.series].1;
            }
            if self.is_ours {
                if watcher.step(at_s, value, step.is_observed) {
                    fired(watcher);
                }
                continue;
            }
            // Prometheus looks once a minute.
            let (minute, is_total) = &mut self.minute[watcher.series];
            let is_sum = *is_total && minute.is_finite() && value.is_finite();
            *minute = if is_sum {
                *minute + value
            } else if value.is_finite() {
                value
            } else {
                *minute
            };
            if at_s % 60 == 0 && watcher.step(at_s, std::mem::replace(minute, f64::NAN), step.is_observed) {
                fired(watcher);
            }
        }
    }
}

/// What one node gave.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Alerts of the quiet four weeks, by series.
    pub alerts: Vec<Alert>,
    /// Of these, such that began within twelve hours of a restart or an outage.
    pub explained: usize,
    /// Seconds from the begin of each incident to the first alert.
    pub found_after_s: Vec<(Kind, Option<f64>)>,
}

/// Four quiet weeks of a node, with incidents in copies of it that begin at some time of the fourth.
pub fn node(seed: u64, step_s: u32, who: Who, series: &[Subject], rule: &Rule, kinds: &[Kind]) -> Outcome {
    let quiet = Simulation::new(seed, 60);
    let mut node = Node::new(seed, step_s, who, series, rule);
    let mut outcome = Outcome::default();
    if !kinds.is_empty() {
        // Some hours after anything else, at another time of the day on each node.
        let hours = (0..96).map(|hour| (21.0 + (hour as f64 + (seed * 7 % 24) as f64) / 24.0) * DAY_S);
        let calm = |from_s: &f64| quiet.is_undisturbed(from_s - 43_200.0, from_s + 43_200.0);
        let from_s = hours.filter(|s| *s < 26.0 * DAY_S).find(calm).expect("a calm day in the fourth week");
        outcome.alerts = node.run_until(from_s);
        for kind in kinds {
            let from_s = node.simulation.since_s();
            let alerts = node.branch(*kind).run_until(from_s + kind.lasts_s());
            outcome.found_after_s.push((*kind, alerts.first().map(|alert| alert.since_s - from_s)));
        }
    }
    outcome.alerts.extend(node.run_until(LENGTH_S as f64));
    let is_explained = |alert: &&Alert| !quiet.is_undisturbed(alert.since_s - 43_200.0, alert.since_s);
    outcome.explained = outcome.alerts.iter().filter(is_explained).count();
    outcome
}

/// The same for each of these seeds, on two threads.
pub fn nodes(
    seeds: std::ops::RangeInclusive<u64>,
    step_s: u32,
    who: Who,
    series: &[Subject],
    rule: &Rule,
    kinds: &[Kind],
) -> Vec<Outcome> {
    let seeds: Vec<u64> = seeds.collect();
    let mut outcomes = vec![Outcome::default(); seeds.len()];
    let half = seeds.len().div_ceil(2);
    std::thread::scope(|scope| {
        for (seeds, outcomes) in seeds.chunks(half).zip(outcomes.chunks_mut(half)) {
            scope.spawn(move || {
                for (seed, outcome) in seeds.iter().zip(outcomes) {
                    *outcome = node(*seed, step_s, who, series, rule, kinds);
                }
            });
        }
    });
    outcomes
}
