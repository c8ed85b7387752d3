//! Range novelty: is a sample outside of all that has been within the last weeks?

use serde::{Deserialize, Serialize};

use super::gate::{self, Gate};
use super::rarity::matters;
use super::{Assessment, Method, Settings};
use crate::time::Timestamp;

/// Parts the memory is kept in; a whole part is forgotten at a time.
const PARTS: usize = 8;
/// A sample must be outside by more than this share of the range: each record is a little beyond the one before.
const TOLERANCE: f64 = 0.02;
/// Samples a part has at least. Among n samples one in n is the highest by chance: a memory of 4000, as long as that of the
/// calibration, is what a rarity above 2 can stand on. Series slower than about ten minutes are remembered for longer.
const PART_SAMPLES_MIN: u32 = 4000 / (PARTS as u32 - 1);
/// Samples before anything is new.
const WARMUP_SAMPLES: u8 = 150;

/// State of the method: the extremes of the last `over_ms`, and at most a seventh of it more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Range {
    part_ms: i64,
    /// Lowest and highest of each part, the newest last.
    parts: Vec<(f64, f64)>,
    /// When the newest part began, and its samples so far.
    since: Timestamp,
    samples: u32,
    /// Samples seen, at most [`WARMUP_SAMPLES`].
    seen: u8,
}

/// What the range says of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Values that would not be new.
    pub lower: f64,
    /// Values that would not be new.
    pub upper: f64,
    /// 0, or from 2 up if the sample is outside: 2 + log10(1 + 10 s), s = how far outside by the width of the range.
    pub rarity: f64,
}

impl Range {
    /// One that has seen nothing and remembers `over_ms` milliseconds.
    pub fn new(over_ms: i64) -> Self {
        Range {
            part_ms: (over_ms / (PARTS as i64 - 1)).max(1),
            parts: Vec::new(),
            since: Timestamp::MIN,
            samples: 0,
            seen: 0,
        }
    }

    /// The next sample, a finite value. `None` for the first 150.
    pub fn push(&mut self, at: Timestamp, value: f64) -> Option<Place> {
        self.turn(at);
        let place = (self.seen == WARMUP_SAMPLES).then(|| self.place(value));
        self.seen = self.seen.saturating_add(1).min(WARMUP_SAMPLES);
        if let Some((low, high)) = self.parts.last_mut() {
            (*low, *high) = (low.min(value), high.max(value));
        }
        place
    }

    /// Begins new parts as time goes by. A gap forgets nothing: parts without samples are not kept.
    fn turn(&mut self, at: Timestamp) {
        let is_over = at.ms_since(self.since) >= self.part_ms && self.samples >= PART_SAMPLES_MIN;
        if self.parts.is_empty() || is_over {
            self.parts.push((f64::INFINITY, f64::NEG_INFINITY));
            (self.since, self.samples) = (at, 0);
        }
        self.samples = self.samples.saturating_add(1);
        if self.parts.len() > PARTS {
            self.parts.remove(0);
        }
    }

    fn place(&self, value: f64) -> Place {
        let low = self.parts.iter().map(|part| part.0).fold(f64::INFINITY, f64::min);
        let high = self.parts.iter().map(|part| part.1).fold(f64::NEG_INFINITY, f64::max);
        let outside = (value - high).max(low - value).max(0.0);
        // In a series that never changed any change is as far outside as can be said: once its range.
        let by = if high > low { outside / (high - low) } else { f64::from(u8::from(outside > 0.0)) };
        let rarity = if by > TOLERANCE { 2.0 + (1.0 + 10.0 * by).log10() } else { 0.0 };
        let margin = TOLERANCE * (high - low);
        Place { lower: low - margin, upper: high + margin, rarity }
    }
}

/// Range novelty by itself. Its rarity needs no calibration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Alone {
    settings: Settings,
    range: Range,
    gate: Gate,
}

impl Alone {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        Alone { settings: *settings, range: Range::new(settings.over_ms), gate: Gate::default() }
    }
}

impl Method for Alone {
    fn push(&mut self, at: Timestamp, value: f64) -> Assessment {
        let Some(place) = self.range.push(at, value) else { return Assessment::unknown(value) };
        // How far beyond what would not be new.
        let departure = value - place.lower.max(value.min(place.upper));
        let may = matters(&self.settings, departure);
        // What may not be reported must not begin a cool-down.
        let tier = self.gate.pass(if may { place.rarity } else { 0.0 });
        Assessment {
            value,
            score: gate::score(place.rarity),
            expected: f64::NAN,
            lower: place.lower,
            upper: place.upper,
            warm: true,
            tier,
        }
    }

    fn skip(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::samples::{STEP_MS, at, noise};

    const DAY: usize = (86_400_000 / STEP_MS) as usize;

    fn seen(days: usize, value: impl Fn(usize) -> f64) -> Range {
        let mut range = Range::new(28 * 86_400_000);
        (0..days * DAY).for_each(|i| _ = range.push(at(i), value(i)));
        range
    }

    #[track_caller]
    fn check(range: &Range, i: usize, value: f64, is_new: bool) {
        let place = range.clone().push(at(i), value).expect("long enough");
        assert_eq!(place.rarity >= 2.0, is_new, "{value}: {place:?}");
        assert_eq!(value < place.lower || value > place.upper, is_new, "{value}: {place:?}");
    }

    #[test]
    fn only_what_is_clearly_outside_of_all_is_new() {
        let range = seen(2, |i| (i % 101) as f64);
        for (value, is_new) in
            [(0.0, false), (100.0, false), (101.0, false), (103.0, true), (-1.0, false), (-3.0, true)]
        {
            check(&range, 2 * DAY, value, is_new);
        }
    }

    #[test]
    fn further_outside_is_rarer() {
        let mut range = seen(2, |i| (i % 101) as f64);
        let near = range.clone().push(at(2 * DAY), 110.0).expect("long enough").rarity;
        let far = range.push(at(2 * DAY), 1e6).expect("long enough").rarity;
        assert!(2.0 < near && near < 3.0 && far > 6.0, "{near} {far}");
    }

    #[test]
    fn an_extreme_is_remembered_for_the_time_asked_for_and_then_forgotten() {
        let spike = |i: usize| if i == DAY { 1000.0 } else { noise(i) };
        check(&seen(28, spike), 28 * DAY, 900.0, false);
        check(&seen(34, spike), 34 * DAY, 900.0, true);
    }

    #[test]
    fn a_slow_series_is_remembered_for_longer() {
        let mut range = Range::new(28 * 86_400_000);
        let daily = |i: usize| at(i * DAY);
        for i in 0..1000 {
            range.push(daily(i), if i == 10 { 1000.0 } else { noise(i) });
        }
        let place = range.push(daily(1000), 900.0).expect("long enough");
        assert_eq!(place.rarity, 0.0, "1000 days are not 4000 samples");
    }

    #[test]
    fn any_change_of_what_never_changed_is_new() {
        let range = seen(1, |_| 7.0);
        check(&range, DAY, 7.0, false);
        check(&range, DAY, 7.1, true);
    }

    #[test]
    fn a_cold_start_reports_nothing() {
        let mut range = Range::new(28 * 86_400_000);
        for i in 0..150 {
            assert_eq!(range.push(at(i), i as f64), None);
        }
    }
}
