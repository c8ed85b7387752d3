//! Statistical anomaly detectors: one numeric series in, how unusual each sample is out.
//!
//! Streaming: a sample is judged by what came before it and by nothing else, and then learnt from. Memory is constant.
//! A [`Detector`] is what a rule asks for like a window; [`Kind`] is the table of those there are.
//!
//! ```text
//!                     .-- pattern: level and shape, on five-minute roll-ups --.
//!  sample -> default -|                                                       |-> Assessment
//!                     '-- point: spikes and dips, as the samples come --------'
//! ```

pub mod default;
pub mod fleet;
pub mod pattern;
pub mod point;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// How serious a report is. One scale for all series: the tail probability of what was seen, as `-log10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Tier {
    /// Nothing to report.
    #[default]
    Usual,
    /// Worth a note: about one a month and series of roll-ups is a false alarm.
    Note,
    /// Worth a look.
    Warning,
    /// Worth waking someone, if something else bears it out.
    Page,
}

/// Which way a series must depart from what is expected to be reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Direction {
    /// Either way.
    #[default]
    Both,
    /// Only more than expected.
    Up,
    /// Only less than expected.
    Down,
}

/// What a detector says of one sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// The sample that was judged: of a roll-up its mean.
    pub value: f64,
    /// 0 (usual) to 1: one less the probability that a usual sample departs as far, calibrated on the series itself.
    pub score: f64,
    /// What was expected; NaN while nothing is.
    pub expected: f64,
    /// Lower end of what is usual; NaN while unknown.
    pub lower: f64,
    /// Upper end of what is usual; NaN while unknown.
    pub upper: f64,
    /// Enough has been seen for the score to mean what it says.
    pub warm: bool,
    /// What is to be reported now.
    pub tier: Tier,
}

impl Assessment {
    /// Of a sample that cannot be judged yet.
    pub fn unknown(value: f64) -> Self {
        Assessment {
            value,
            score: 0.0,
            expected: f64::NAN,
            lower: f64::NAN,
            upper: f64::NAN,
            warm: false,
            tier: Tier::Usual,
        }
    }
}

/// What is known of a series besides its samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Time between samples, in milliseconds.
    pub step_ms: i64,
    /// Length of the season, in milliseconds.
    pub season_ms: i64,
    /// After this time the past is forgotten, in milliseconds.
    pub over_ms: i64,
    /// Departures from what is expected that are smaller than this are never reported by the point channel, in the
    /// series' own unit.
    pub effect_min: f64,
    /// Which way a departure matters.
    pub direction: Direction,
    /// The samples are counts of independent events: their scale is at least the square root of what is expected.
    pub counts: bool,
}

impl Default for Settings {
    fn default() -> Self {
        const DAY_MS: i64 = 86_400_000;
        Settings {
            step_ms: 300_000,
            season_ms: DAY_MS,
            over_ms: 28 * DAY_MS,
            effect_min: 0.0,
            direction: Direction::Both,
            counts: false,
        }
    }
}

/// A detector that can be asked for by name.
pub trait Method {
    /// Judges a sample by what came before, then learns from it. Samples come in order of time, every `step_ms`;
    /// values are finite.
    fn push(&mut self, at: Timestamp, value: f64) -> Assessment;

    /// Samples are missing here: what follows does not continue what was.
    fn skip(&mut self);
}

/// The detectors a rule can ask for. Adding one is a file and a line in each of the tables below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Kind {
    /// Both channels.
    #[default]
    Default,
    /// Level and shape on roll-ups.
    Pattern,
    /// Spikes and dips.
    Point,
}

impl Kind {
    /// The names rules use.
    pub const NAMES: [(&str, Kind); 3] =
        [("default", Kind::Default), ("pattern", Kind::Pattern), ("point", Kind::Point)];
}

/// A detector of any kind, with its state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Detector {
    /// [`Kind::Default`].
    Default(Box<default::Default>),
    /// [`Kind::Pattern`].
    Pattern(Box<pattern::Pattern>),
    /// [`Kind::Point`].
    Point(Box<point::Point>),
}

impl Detector {
    /// One that has seen nothing.
    pub fn new(kind: Kind, settings: &Settings) -> Self {
        match kind {
            Kind::Default => Detector::Default(Box::new(default::Default::new(settings))),
            Kind::Pattern => Detector::Pattern(Box::new(pattern::Pattern::new(settings))),
            Kind::Point => Detector::Point(Box::new(point::Point::new(settings))),
        }
    }

    fn method(&mut self) -> &mut dyn Method {
        match self {
            Detector::Default(method) => &mut **method,
            Detector::Pattern(method) => &mut **method,
            Detector::Point(method) => &mut **method,
        }
    }

    /// Judges a sample and learns from it. A value that is not finite is as good as missing.
    pub fn push(&mut self, at: Timestamp, value: f64) -> Assessment {
        if !value.is_finite() {
            self.skip();
            return Assessment::unknown(value);
        }
        self.method().push(at, value)
    }

    /// Samples are missing here, or are explained and not to be learnt from.
    pub fn skip(&mut self) {
        self.method().skip();
    }
}
