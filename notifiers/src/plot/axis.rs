//! The axis of values: its range, its marks and its unit.

use super::number;

/// A limit this many spans away from the values would make a flat line of them; it is shown at the edge instead.
const REACH_SPANS: f64 = 20.0;
/// The least span that counts for that, as a part of the values' size.
const LEAST_SPAN: f64 = 0.05;
/// Spans smaller than this part of the values' size are noise of floating point.
const NO_SPAN: f64 = 1e-6;
/// An axis that would begin above this part of its end begins at its own place, and not at zero.
const FROM_ZERO_UP_TO: f64 = 0.6;
/// Free space above and below, as a part of the span.
const MARGIN: f64 = 0.1;
/// At most so many steps.
const MARKS: f64 = 5.0;

/// Range and marks, in the values' own unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    pub low: f64,
    pub high: f64,
    /// Values and texts, from below.
    pub marks: Vec<(f64, String)>,
    /// The unit the texts are in; empty for plain numbers.
    pub unit: String,
    factor: f64,
}

impl Axis {
    /// An axis on which `values` fill most of the height, and `limits` have their place if they are not too far away.
    /// Sizes up to 1e300.
    pub fn new(values: &[f64], limits: &[f64], unit: &str) -> Self {
        let (low, high) = range(values, limits);
        let (factor, unit) = shown_unit(unit, low.abs().max(high.abs()));
        let step = step((high - low) / factor / MARKS);
        let first = (low / factor / step).ceil();
        let at = |number: u32| (first + f64::from(number)) * step;
        let values: Vec<f64> = (0..12).map(at).take_while(|value| *value * factor <= high).collect();
        let texts = number::of_axis(&values, step);
        let marks = values.iter().map(|value| value * factor).zip(texts).collect();
        Axis { low, high, marks, unit, factor }
    }

    /// How high a value is: 0 at the lower end, 1 at the upper one; those outside are at the ends.
    pub fn part(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// The value as a short text with the axis' unit.
    pub fn text(&self, value: f64) -> String {
        let number = number::short(value / self.factor);
        match self.unit.as_str() {
            "" => number,
            unit => format!("{number} {unit}"),
        }
    }
}

fn range(values: &[f64], limits: &[f64]) -> (f64, f64) {
    let (mut low, mut high) = ends(values);
    let size = low.abs().max(high.abs());
    // Values that are all zero give no measure of what is far.
    let reach = if size == 0.0 { f64::INFINITY } else { REACH_SPANS * (high - low).max(LEAST_SPAN * size) };
    let near: Vec<f64> =
        limits.iter().copied().filter(|limit| limit - high <= reach && low - limit <= reach).collect();
    if !near.is_empty() {
        let (limit_low, limit_high) = ends(&near);
        (low, high) = (low.min(limit_low), high.max(limit_high));
    }
    let size = low.abs().max(high.abs());
    if size == 0.0 {
        return (0.0, 1.0);
    }
    if high - low <= NO_SPAN * size {
        (low, high) = (low - 0.5 * size, high + 0.5 * size);
    }
    if low >= 0.0 && low <= FROM_ZERO_UP_TO * high {
        low = 0.0;
    }
    if high <= 0.0 && high >= FROM_ZERO_UP_TO * low {
        high = 0.0;
    }
    let margin = MARGIN * (high - low);
    (if low == 0.0 { 0.0 } else { low - margin }, if high == 0.0 { 0.0 } else { high + margin })
}

fn ends(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)))
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let fits = |factor: &f64| factor * power >= least;
    [1.0, 2.0, 5.0].into_iter().find(fits).unwrap_or(10.0) * power
}

/// Times are read in the unit that suits their size. Returns what one of it is in the given unit, and its name.
pub fn shown_unit(unit: &str, size: f64) -> (f64, String) {
    let of_seconds = |second: f64| match size / second {
        seconds if !seconds.is_finite() => None,
        seconds if seconds >= 172_800.0 => Some((86_400.0 * second, "days")),
        seconds if seconds >= 7_200.0 => Some((3_600.0 * second, "h")),
        seconds if seconds >= 300.0 => Some((60.0 * second, "min")),
        seconds if seconds >= 10.0 => Some((second, "s")),
        _ => None,
    };
    let found = match unit {
        "s" | "seconds" => of_seconds(1.0),
        "ms" | "milliseconds" => of_seconds(1e3),
        "us" | "µs" | "microseconds" => of_seconds(1e6),
        "ns" | "nanoseconds" => of_seconds(1e9),
        // The unit of a number of things says nothing.
        "count" | "1" => Some((1.0, "")),
        _ => None,
    };
    found.map_or((1.0, unit.to_string()), |(factor, name)| (factor, name.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.marks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn values_above_zero_stand_on_it() {
        let axis = Axis::new(&[5.0, 60.0], &[10.0], "count");
        assert_eq!(axis.low, 0.0);
        assert_eq!(texts(&axis), ["0", "20", "40", "60"]);
        assert_eq!(axis.unit, "");
    }

    #[test]
    fn heights_do_not_begin_at_zero() {
        let axis = Axis::new(&[800_000.0, 800_010.0], &[800_005.0], "");
        assert!(axis.low > 799_000.0);
        assert!(axis.marks.len() >= 3);
    }

    #[test]
    fn a_limit_far_above_leaves_the_values_their_height() {
        let axis = Axis::new(&[0.0, 5.0], &[1e6], "");
        assert!(axis.high < 10.0);
        assert_eq!(axis.part(1e6), 1.0);
    }

    #[test]
    fn a_limit_below_values_that_hardly_move_is_shown() {
        assert_eq!(Axis::new(&[1000.0, 1010.0], &[60.0], "").low, 0.0);
    }

    #[test]
    fn a_limit_over_nothing_but_zeros_is_shown() {
        assert!(Axis::new(&[0.0, 0.0], &[60.0], "").high > 60.0);
    }

    #[test]
    fn long_times_are_read_in_hours() {
        let axis = Axis::new(&[0.0, 10_800.0], &[], "s");
        assert_eq!(axis.unit, "h");
        assert_eq!(texts(&axis), ["0", "1", "2", "3"]);
        assert_eq!(axis.text(5_400.0), "1.5 h");
    }

    #[test]
    fn every_finite_axis_has_marks_in_order() {
        for values in
            [[0.0, 0.0], [-5.0, -5.0], [1e16, 1e16 + 2.0], [-1e300, 1e300], [1e-280, 2e-280], [-3.0, -1.0]]
        {
            let axis = Axis::new(&values, &[], "");
            assert!(axis.low < axis.high && axis.low.is_finite() && axis.high.is_finite(), "{values:?}");
            assert!((2..=8).contains(&axis.marks.len()), "{values:?}: {:?}", axis.marks);
            assert!(axis.marks.windows(2).all(|pair| pair[0].0 < pair[1].0), "{values:?}");
        }
    }
}
