//! What a plot shows, as its caller knows it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use jiff::tz::TimeZone;
use tocsin_proto::pb::notification::Point;

use super::Plot;
use super::draw;
use super::view::View;

/// What is to be shown. Texts may be hostile, points unsorted, numbers absurd.
///
/// With moments it is an alert's, small and about its latest value; without it is a series', wide and with a legend.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chart {
    /// What it is about.
    pub title: String,
    /// What was measured, in words.
    pub subtitle: String,
    /// Unit of the values; empty for plain numbers.
    pub unit: String,
    /// The line, and the dashed line of its limit.
    pub points: Vec<Point>,
    /// What was expected; empty if nothing was, and interrupted where an end is no number.
    pub band: Vec<Band>,
    /// Points to be marked.
    pub marked: Vec<Mark>,
    /// Vertical lines.
    pub moments: Vec<Moment>,
}

/// Values that were expected at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// Unix ms.
    pub at: i64,
    /// The lowest, in the chart's unit.
    pub low: f64,
    /// The highest, in the chart's unit.
    pub high: f64,
}

/// A point to be marked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mark {
    /// Unix ms.
    pub at: i64,
    /// In the chart's unit.
    pub value: f64,
    /// How serious it is.
    pub weight: Weight,
}

/// How serious a mark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Worth a note.
    Note,
    /// Worth a look.
    Warning,
    /// Worth waking someone.
    Page,
}

impl Weight {
    /// As the plot says it.
    pub fn name(self) -> &'static str {
        match self {
            Weight::Note => "note",
            Weight::Warning => "warning",
            Weight::Page => "page",
        }
    }
}

/// Something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Unix ms.
    pub at: i64,
    /// What.
    pub happening: Happening,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// The alert fired.
    Fired,
    /// The alert resolved.
    Resolved,
}

impl Happening {
    /// As the plot says it.
    pub fn name(self) -> &'static str {
        match self {
            Happening::Fired => "fired",
            Happening::Resolved => "resolved",
        }
    }
}

impl Chart {
    /// Draws it, with times in `zone`. None if fewer than two points differ in time and have a value that is a number.
    pub fn plot(&self, zone: &TimeZone) -> Option<Plot> {
        let drawn = || {
            let view = View::new(self, zone)?;
            Some(Plot { svg: draw::svg(&view)?, png: draw::png(&view)?, size: draw::pixels(&view) })
        };
        // The numbers are a stranger's and the drawing library has assertions: no picture is worth a lost alert.
        catch_unwind(AssertUnwindSafe(drawn)).ok().flatten()
    }
}
