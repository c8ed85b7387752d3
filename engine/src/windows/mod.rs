//! Aggregates of samples over a sliding span of event time, per key.
//!
//! Time comes only from the samples and from the ticks, so a replayed recording fills a window exactly as the live
//! feed did. Memory is bounded by the spans and by a cap on keys, not by the uptime or by what peers send.
//!
//! A [`table::Table`] maps the keys of one node to rows; each window is a [`column::Column`] of it, and a row's
//! samples are in a cell of the column ([`samples`]). Rules with the same keys share a table, and rules that ask for
//! the same window share its column.

pub mod adopt;
pub mod column;
pub mod distinct;
pub mod key;
pub mod netgroup;
pub mod quantile;
pub mod samples;
pub mod series;
pub mod steps;
pub mod table;
pub mod watch;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;
use watch::Assessed;
use watch::Watched;

/// What a window says about its samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Aggregate {
    /// Number of samples.
    Count,
    /// Sum of the values.
    Sum,
    /// Smallest value.
    Min,
    /// Largest value.
    Max,
    /// Arithmetic mean.
    Mean,
    /// Newest value.
    Last,
    /// Oldest value in the span.
    First,
    /// Newest less oldest value: how a gauge moved.
    Delta,
    /// How much a counter grew; a counter that falls has been reset and counts from zero.
    Increase,
    /// [`Aggregate::Increase`] per second of the span.
    Rate,
    /// The value below which this share of the samples lies, within 1 % of the value.
    Quantile(f64),
    /// Population standard deviation.
    Stddev,
    /// Number of different values, within 2 %; exact while there are few.
    Distinct,
    /// Seconds since the newest sample.
    Age,
    /// How unusual a series is: no number but an assessment. Rules ask for it in a form of its own.
    Anomaly(Watched),
}

impl Aggregate {
    /// The words rules use, in the order of the documentation.
    pub const NAMES: [&str; 14] = [
        "count", "sum", "min", "max", "mean", "last", "first", "delta", "increase", "rate", "quantile",
        "stddev", "distinct", "age",
    ];

    /// The aggregate with this name; `q` is the share a quantile is asked for.
    pub fn from_name(name: &str, q: f64) -> Option<Self> {
        Some(match name {
            "count" => Aggregate::Count,
            "sum" => Aggregate::Sum,
            "min" => Aggregate::Min,
            "max" => Aggregate::Max,
            "mean" => Aggregate::Mean,
            "last" => Aggregate::Last,
            "first" => Aggregate::First,
            "delta" => Aggregate::Delta,
            "increase" => Aggregate::Increase,
            "rate" => Aggregate::Rate,
            "quantile" => Aggregate::Quantile(q),
            "stddev" => Aggregate::Stddev,
            "distinct" => Aggregate::Distinct,
            "age" => Aggregate::Age,
            _ => return None,
        })
    }

    /// The word rules use.
    pub fn name(self) -> &'static str {
        match self {
            Aggregate::Count => "count",
            Aggregate::Sum => "sum",
            Aggregate::Min => "min",
            Aggregate::Max => "max",
            Aggregate::Mean => "mean",
            Aggregate::Last => "last",
            Aggregate::First => "first",
            Aggregate::Delta => "delta",
            Aggregate::Increase => "increase",
            Aggregate::Rate => "rate",
            Aggregate::Quantile(_) => "quantile",
            Aggregate::Stddev => "stddev",
            Aggregate::Distinct => "distinct",
            Aggregate::Age => "age",
            Aggregate::Anomaly(_) => "anomaly",
        }
    }

    /// True if the aggregate takes the value of a field, not only that the event happened.
    pub fn needs_number(self) -> bool {
        match self {
            Aggregate::Count | Aggregate::Distinct | Aggregate::Age => false,
            Aggregate::Anomaly(watched) => watched.take.needs_number(),
            _ => true,
        }
    }

    /// True if a window keeps the values themselves, or the newest, the mean or the quantiles of each slot.
    pub fn keeps_values(self) -> bool {
        let keeps_none =
            matches!(self, Aggregate::Last | Aggregate::Increase | Aggregate::Rate | Aggregate::Anomaly(_));
        self.needs_number() && !keeps_none
    }

    /// True if the aggregate of whole numbers is a whole number.
    pub fn keeps_integers(self) -> bool {
        match self {
            Aggregate::Mean
            | Aggregate::Rate
            | Aggregate::Quantile(_)
            | Aggregate::Stddev
            | Aggregate::Age => false,
            Aggregate::Anomaly(watched) => watched.take.keeps_integers(),
            _ => true,
        }
    }

    /// What the window of a key without samples says.
    pub fn of_nothing(self) -> Reading {
        match self {
            Aggregate::Count | Aggregate::Distinct => Reading::Int(0),
            Aggregate::Sum | Aggregate::Increase => Reading::Int(0),
            Aggregate::Rate => Reading::Float(0.0),
            _ => Reading::Nothing,
        }
    }
}

/// A window: an aggregate over a span.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// What it says.
    pub aggregate: Aggregate,
    /// The span in milliseconds, at least [`Window::OVER_MS_MIN`].
    pub over_ms: i64,
    /// True if the values are whole numbers, so that the script sees integers.
    pub integers: bool,
}

impl Window {
    /// Shortest span: below it slots of whole milliseconds would be too coarse.
    pub const OVER_MS_MIN: i64 = 1000;
    /// Slots that a ring has room for; no span needs more.
    pub const SLOTS_MAX: i64 = 64;

    /// Length of one slot, a sixtieth of the span.
    pub fn slot_ms(&self) -> i64 {
        self.over_ms / 60
    }

    /// Number of the slot an instant falls into.
    pub fn slot_of(&self, at: Timestamp) -> i64 {
        at.unix_ms().div_euclid(self.slot_ms())
    }

    /// Slots within the span, the one that is filling included: 60, or up to 63 in spans of a second or two.
    ///
    /// Together they are never longer than the span, and less than 60 ms shorter.
    pub fn slots(&self) -> i64 {
        self.over_ms / self.slot_ms()
    }

    /// A number as the script sees it.
    pub fn reading(&self, value: f64) -> Reading {
        // Beyond 2^53 a float no longer holds every integer, so none is claimed.
        if self.integers && self.aggregate.keeps_integers() && value.abs() < 9_007_199_254_740_992.0 {
            Reading::Int(value as i64)
        } else {
            Reading::Float(value)
        }
    }
}

/// What a window says for one key.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Reading {
    /// No sample in the span, and the aggregate of nothing is nothing.
    #[default]
    Nothing,
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
}

impl Reading {
    /// The number, if there is one and it is finite; whole ones beyond 2^53 to the next that a float holds.
    pub fn number(self) -> Option<f64> {
        match self {
            Reading::Nothing => None,
            Reading::Int(value) => Some(value as f64),
            Reading::Float(value) => Some(value).filter(|value| value.is_finite()),
        }
    }
}

/// What a rule is shown of a window for one key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shown {
    /// A number, or nothing.
    Number(Reading),
    /// Of an anomaly window: what was said of its newest step.
    Assessed(Assessed),
}

impl Shown {
    /// The number, or the sample that was judged.
    pub fn reading(self) -> Reading {
        match self {
            Shown::Number(reading) => reading,
            Shown::Assessed(assessed) => Reading::Float(assessed.assessment.value),
        }
    }
}

/// How a reading is stored in a snapshot; in JSON it is only a number. Use with `#[serde(with = "..")]`.
pub mod stored_reading {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Reading;

    #[derive(Serialize, Deserialize)]
    enum Stored {
        Nothing,
        Int(i64),
        Float(f64),
    }

    /// Writes a reading.
    pub fn serialize<S: Serializer>(reading: &Reading, serializer: S) -> Result<S::Ok, S::Error> {
        let stored = match *reading {
            Reading::Nothing => Stored::Nothing,
            Reading::Int(value) => Stored::Int(value),
            Reading::Float(value) => Stored::Float(value),
        };
        stored.serialize(serializer)
    }

    /// Reads a reading.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reading, D::Error> {
        Ok(match Stored::deserialize(deserializer)? {
            Stored::Nothing => Reading::Nothing,
            Stored::Int(value) => Reading::Int(value),
            Stored::Float(value) => Reading::Float(value),
        })
    }
}
