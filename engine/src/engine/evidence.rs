//! Which window the value of a finding was read from, and so what the value is and how it came about.
//!
//! A script returns a number and does not say where it has it from. It is taken for the reading of a window of the rule that
//! equals it, first of those that the text names as a value (`value: w.NAME`), then of the others in their order; or that
//! does in another unit of time (a rule may divide nanoseconds to milliseconds). A value that
//! no window reads is the script's own: it has no past, and only findings are its points. If later findings do not bear
//! a match out, it is given up (`alerts/trail.rs`).

use std::sync::Arc;

use super::library::Library;
use super::node::Node;
use crate::alerts::{Measure, Telling};
use crate::plan::{NODE_TABLE, RuleId, WindowRef};
use crate::rules::definition::WindowDefinition;
use crate::rules::{Finding, Rule};
use crate::time::Timestamp;
use crate::windows::Reading;
use crate::windows::column::RowId;
use crate::windows::key::Key;
use crate::windows::series::Series;

/// Units of time as the schema writes them, and what they are in nanoseconds.
const TIME_UNITS: [(&str, f64); 6] =
    [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("min", 60e9), ("h", 3600e9)];

/// What a window of a rule says.
#[derive(Debug)]
pub(super) struct Quantity {
    measure: Measure,
    /// Another window of the rule that keeps values of the same field.
    values_in: Option<usize>,
    /// The text says that it is a value.
    is_named: bool,
}

/// A window that a value was read from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    window: usize,
    /// The value is the reading times the first and over the second.
    scale: (f64, f64),
    measure: Measure,
}

/// A finding and where its value is from.
#[derive(Debug)]
pub(super) struct Found {
    pub finding: Finding,
    pub source: Option<Source>,
}

impl Quantity {
    /// Of each window of a rule.
    pub fn of_rule(rule: &Rule) -> Vec<Quantity> {
        let windows = &rule.definition.windows;
        let quantity = |window: &WindowDefinition| {
            let quantity = window.quantity();
            // Windows that differ in their filters only are told apart by their names.
            let is_shared = windows.iter().filter(|other| other.quantity() == quantity).count() > 1;
            let quantity = if is_shared { format!("{quantity} ({})", window.name) } else { quantity };
            let values_in = windows.iter().position(|other| keeps_values_of(other, window));
            let measure = Measure { quantity: quantity.into(), unit: window.unit().into() };
            Quantity { measure, values_in, is_named: rule.value_windows.contains(&window.name) }
        };
        windows.iter().map(quantity).collect()
    }
}

/// True if one window keeps values of the same field, events and keys as another.
fn keeps_values_of(keeper: &WindowDefinition, window: &WindowDefinition) -> bool {
    // Neither the conditions nor the paths can be compared but as text.
    let origin =
        |window: &WindowDefinition| format!("{:?} {:?} {:?}", window.value, window.filter, window.by);
    keeper.window.aggregate.keeps_values() && origin(keeper) == origin(window)
}

impl Source {
    fn apply(&self, value: f64) -> f64 {
        value * self.scale.0 / self.scale.1
    }
}

impl Found {
    /// The finding as its alert takes it; `series` is asked for how the value came about.
    pub fn telling(self, series: impl FnOnce(&Source) -> Series) -> Telling {
        let series = self.source.as_ref().map_or(Series::new(), |source| {
            let series = series(source).into_iter();
            series.map(|(at, value)| (at, source.apply(value))).collect()
        });
        let measure = self.source.map_or_else(Measure::default, |source| source.measure);
        Telling { finding: self.finding, measure, series }
    }
}

impl Library {
    /// The window that a value was read from, if it can be told; `reading` says what the script was shown of each.
    pub(super) fn source(
        &self,
        rule: RuleId,
        value: Reading,
        reading: impl Fn(usize) -> Reading,
    ) -> Option<Source> {
        let value = value.number()?;
        let quantities = &self.quantities[rule];
        let read: Vec<Option<f64>> = (0..quantities.len()).map(|window| reading(window).number()).collect();
        let equal = |is_named: bool| {
            let mut windows = read.iter().zip(quantities);
            windows.position(|(read, quantity)| quantity.is_named == is_named && *read == Some(value))
        };
        if let Some(window) = equal(true).or_else(|| equal(false)) {
            let measure = quantities[window].measure.clone();
            return Some(Source { window, scale: (1.0, 1.0), measure });
        }
        read.into_iter().enumerate().find_map(|(window, read)| {
            let Measure { quantity, unit } = &quantities[window].measure;
            let (from, read) = (nanoseconds(unit)?, read?);
            let is_value = |(_, to): &&(&str, f64)| (read * from / to - value).abs() <= value.abs() * 1e-9;
            let (unit, to) = TIME_UNITS.iter().find(is_value)?;
            let measure = Measure { quantity: quantity.clone(), unit: Arc::from(*unit) };
            Some(Source { window, scale: (from, *to), measure })
        })
    }

    /// The window that the values of an alert are read from, if the rule has it.
    fn source_of(&self, rule: RuleId, measure: &Measure) -> Option<Source> {
        let mut windows = self.quantities[rule].iter().map(|quantity| &quantity.measure).enumerate();
        let (window, known) = windows.find(|(_, known)| known.quantity == measure.quantity)?;
        let scale = if known.unit == measure.unit {
            (1.0, 1.0)
        } else {
            (nanoseconds(&known.unit)?, nanoseconds(&measure.unit)?)
        };
        Some(Source { window, scale, measure: measure.clone() })
    }
}

fn nanoseconds(unit: &str) -> Option<f64> {
    TIME_UNITS.iter().find(|(known, _)| *known == unit).map(|(_, nanoseconds)| *nanoseconds)
}

impl Node {
    /// How the reading of a window came about for a key.
    pub(super) fn series(
        &self,
        library: &Library,
        rule: RuleId,
        key: &Key,
        source: &Source,
        now: Timestamp,
    ) -> Series {
        let windows = &library.plan.rules[rule].windows;
        let Some(row) = self.row_in(windows[source.window], key) else { return Series::new() };
        let column = |window: usize| &self.tables[windows[window].table].columns[windows[window].column];
        let series = column(source.window).series(row, now);
        match library.quantities[rule][source.window].values_in {
            // The newest value alone has no past.
            Some(other) if series.is_empty() => column(other).values(row, now),
            _ => series,
        }
    }

    /// What is measured of an alert now, read from the window its values are from. A key that is gone reads as one without
    /// samples.
    pub(super) fn value_now(
        &self,
        library: &Library,
        rule: RuleId,
        key: &Key,
        measure: &Measure,
        now: Timestamp,
    ) -> Option<f64> {
        let source = library.source_of(rule, measure)?;
        let window = library.plan.rules[rule].windows[source.window];
        let column = &self.tables[window.table].columns[window.column];
        let reading = match self.row_in(window, key) {
            Some(row) => column.read(row, now),
            None => column.of_nothing(),
        };
        reading.number().map(|value| source.apply(value))
    }

    fn row_in(&self, window: WindowRef, key: &Key) -> Option<RowId> {
        if window.table == NODE_TABLE { Some(0) } else { self.tables[window.table].row_of(key) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::script::Sandbox;
    use tocsin_proto::schema::Schema;

    fn library() -> Library {
        let text = r#"
            const RULE = #{ severity: "info", by: ["message.peer_id"], windows: #{
                asked: #{ count: "message", where: #{ command: "getaddr" }, over: "90s" },
                pings: #{ count: "message", where: #{ command: "ping" }, over: "90s" },
                entries: #{ sum: "message.addresses", over: "10m" },
                size: #{ rate: "message.size", over: "1h" },
                newest: #{ last: "message.size", over: "1m" },
                half: #{ quantile: "message.size", q: 0.5, over: "2h" },
                slow: #{ quantile: "ping_duration.duration", q: 0.99, over: "1d", by: [] },
                quiet_s: #{ age: "uptime", over: "1d", by: [] },
            } };
            fn check(w, params) {
                if w.asked + w.pings + w.entries + w.size + w.newest + w.half + w.slow > w.quiet_s { #{ value: 1 } }
                else if w.half > 1 { #{ value: w.half, limit: 1 } }
            }
            "#;
        let sandbox = Sandbox::new();
        let rule = Rule::load(Schema::embedded(), &sandbox, "rules/test.rhai", text).expect("right");
        Library::new(sandbox, vec![rule], &["test".to_string()]).expect("one rule fits")
    }

    /// What a value is if the windows read these numbers.
    #[track_caller]
    fn check(value: Reading, readings: [f64; 8], expected: Option<(&str, &str)>) {
        let source = library().source(0, value, |window| Reading::Float(readings[window]));
        let found = source.as_ref().map(|source| (&*source.measure.quantity, &*source.measure.unit));
        assert_eq!(found, expected);
        if let (Some(source), Some(value)) = (source, value.number()) {
            assert!((source.apply(readings[source.window]) - value).abs() <= 1e-9 * value.abs());
            let again = library().source_of(0, &source.measure).expect("the rule has the window");
            assert_eq!((again.window, again.measure), (source.window, source.measure));
        }
    }

    #[test]
    fn a_value_is_told_in_the_words_of_the_first_window_that_reads_it() {
        let readings = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 60e6, 120.0];
        check(Reading::Int(1), readings, Some(("count of message over 90s (asked)", "")));
        check(Reading::Int(2), readings, Some(("count of message over 90s (pings)", "")));
        check(Reading::Int(3), readings, Some(("sum of message.addresses over 10m", "")));
        check(Reading::Float(4.0), readings, Some(("rate of message.size over 1h", "bytes/s")));
        check(Reading::Float(5.0), readings, Some(("last of message.size over 1m", "bytes")));
        check(
            Reading::Int(60_000_000),
            readings,
            Some(("quantile 0.99 of ping_duration.duration over 1d", "ns")),
        );
        check(Reading::Int(120), readings, Some(("age of uptime", "s")));
        check(Reading::Int(7), readings, None);
        check(Reading::Nothing, readings, None);
        check(Reading::Float(f64::NAN), [f64::NAN; 8], None);
    }

    #[test]
    fn of_windows_that_read_the_same_the_one_that_the_text_names_is_taken() {
        let words = "quantile 0.5 of message.size over 2h";
        check(Reading::Float(6.0), [6.0; 8], Some((words, "bytes")));
    }

    #[test]
    fn a_span_may_be_told_in_another_unit() {
        let readings = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 61.7e6, 150.0];
        check(
            Reading::Float(61.7),
            readings,
            Some(("quantile 0.99 of ping_duration.duration over 1d", "ms")),
        );
        check(Reading::Float(2.5), readings, Some(("age of uptime", "min")));
        // Only of time such units are known.
        check(Reading::Float(0.005), readings, None);
    }

    #[test]
    fn the_newest_value_has_its_past_from_a_window_of_the_same_field() {
        let quantities = &library().quantities[0];
        assert_eq!(quantities[4].values_in, Some(5));
        assert_eq!(quantities[0].values_in, None);
    }
}
