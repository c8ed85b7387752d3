//! The pattern channel: changes of level and of shape, on roll-ups of five minutes or what comes coarser.
//!
//! Three methods look at each sample: subsequence novelty, the smoothed seasonal residual, and range novelty. The first
//! two are calibrated, each on its own past, and the mean of their rarities plus that of the range is the sample's: one
//! of the two must be very sure or both a little, and a value never seen is enough alone.
//!
//! Nothing is reported before a whole season has been seen, and nothing above a note before two: until then every hour of
//! the day is a new one.
//!
//! On NAB no single method comes near (facts: novelty 64, range 57, seasonal 53, the three together 74), and no further
//! one adds to them.

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::gate::{self, Gate};
use super::novelty::Novelty;
use super::range::{Place, Range};
use super::seasonal::{Residual, Seasonal};
use super::{Assessment, Direction, Method, Settings, Tier};
use crate::time::Timestamp;

/// State of the pattern channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pattern {
    direction: Direction,
    effect_min: f64,
    novelty: Novelty,
    of_novelty: Calibration,
    seasonal: Seasonal,
    of_seasonal: Calibration,
    range: Range,
    gate: Gate,
    season_ms: i64,
    /// When the first sample came.
    since: Option<Timestamp>,
}

impl Pattern {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        Pattern {
            direction: settings.direction,
            effect_min: settings.effect_min,
            novelty: Novelty::default(),
            of_novelty: Calibration::default(),
            seasonal: Seasonal::new(settings),
            of_seasonal: Calibration::default(),
            range: Range::new(settings.over_ms),
            gate: Gate::default(),
            season_ms: settings.season_ms,
            since: None,
        }
    }

    /// The highest tier that what has been seen can bear.
    fn tier_max(&self, at: Timestamp) -> Tier {
        let seen_ms = self.since.map_or(0, |since| at.ms_since(since));
        match seen_ms / self.season_ms.max(1) {
            _ if !self.of_seasonal.is_warm() => Tier::Usual,
            0 => Tier::Usual,
            1 => Tier::Note,
            _ => Tier::Page,
        }
    }

    /// Is it the direction that was asked for, and far enough off to matter? Shape has no direction of its own: it takes
    /// that of the level.
    fn matters(&self, value: f64, residual: Option<Residual>, place: Option<Place>) -> bool {
        let level = residual.map_or(0.0, |residual| residual.smoothed * residual.scale);
        let off = residual.map_or(0.0, |residual| value - residual.expected);
        let beyond = place
            .filter(|place| place.rarity > 0.0)
            .map_or(0.0, |place| value - place.lower.max(value.min(place.upper)));
        let towards = if beyond != 0.0 { beyond } else { level };
        let is_asked = match self.direction {
            Direction::Both => true,
            Direction::Up => towards > 0.0,
            Direction::Down => towards < 0.0,
        };
        is_asked && (residual.is_none() || level.abs().max(off.abs()) >= self.effect_min)
    }
}

impl Method for Pattern {
    fn push(&mut self, at: Timestamp, value: f64) -> Assessment {
        let calibrated = |calibration: &mut Calibration, score: f64| {
            let rarity = calibration.rarity(score);
            calibration.learn(score);
            rarity.unwrap_or(0.0)
        };
        let distance = self.novelty.push(at, value);
        let novelty = distance.map_or(0.0, |distance| calibrated(&mut self.of_novelty, distance));
        let residual = self.seasonal.push(at, value);
        let seasonal =
            residual.map_or(0.0, |residual| calibrated(&mut self.of_seasonal, residual.smoothed.abs()));
        let place = self.range.push(at, value);
        let rarity = 0.5 * (novelty + seasonal) + place.map_or(0.0, |place| place.rarity);
        self.since.get_or_insert(at);
        let tier_max = self.tier_max(at);
        // What may not be reported must not begin a cool-down.
        let may = tier_max > Tier::Usual && self.matters(value, residual, place);
        let tier = self.gate.pass(if may { rarity } else { 0.0 }).min(tier_max);
        let (low, high) = place.map_or((f64::NAN, f64::NAN), |place| (place.lower, place.upper));
        let (expected, margin) =
            residual.map_or((f64::NAN, f64::NAN), |residual| (residual.expected, residual.margin));
        Assessment {
            value,
            score: gate::score(rarity),
            expected,
            // Of two ends the nearer one; NaN is as good as none.
            lower: low.max(expected - margin),
            upper: high.min(expected + margin),
            warm: tier_max == Tier::Page,
            tier,
        }
    }

    /// Nothing: what a gap is follows from the time between samples, see [`super::novelty`].
    fn skip(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::samples::{at, daily, noise};

    const DAY: usize = 288;

    /// The reports over some days: sample and tier.
    fn reports(settings: &Settings, days: usize, value: impl Fn(usize) -> f64) -> Vec<(usize, Tier)> {
        let mut pattern = Pattern::new(settings);
        (0..days * DAY)
            .map(|i| (i, pattern.push(at(i), value(i)).tier))
            .filter(|(_, tier)| *tier > Tier::Usual)
            .collect()
    }

    /// Five weeks as usual, but for what happens on day 28.
    fn happens(settings: &Settings, what: impl Fn(usize) -> f64) -> Vec<(usize, Tier)> {
        let all = reports(settings, 35, |i| daily(i) + noise(i) + i.checked_sub(28 * DAY).map_or(0.0, &what));
        all.into_iter().filter(|(i, _)| *i >= 28 * DAY).map(|(i, tier)| (i - 28 * DAY, tier)).collect()
    }

    #[test]
    fn a_usual_month_has_hardly_a_report() {
        let reports = reports(&Settings::default(), 60, |i| daily(i) + noise(i));
        assert!(reports.len() <= 4 && reports.iter().all(|(_, tier)| *tier < Tier::Page), "{reports:?}");
    }

    #[test]
    fn a_drop_of_the_level_is_reported_within_the_hour_and_not_again_when_it_has_become_the_norm() {
        let reports = happens(&Settings::default(), |_| -30.0);
        let first = reports.first().expect("a report");
        assert!(first.0 <= 12, "{reports:?}");
        assert!(reports.iter().any(|(_, tier)| *tier >= Tier::Warning), "{reports:?}");
        assert!(reports.iter().all(|(i, _)| *i <= 3 * DAY), "{reports:?}");
    }

    #[test]
    fn the_same_a_second_time_on_the_next_day_is_reported_again() {
        let reports =
            happens(&Settings::default(), |i| if i % DAY < 48 && i < 2 * DAY { -60.0 } else { 0.0 });
        assert!(reports.iter().any(|(i, _)| *i <= 12), "{reports:?}");
        assert!(reports.iter().any(|(i, _)| (DAY..DAY + 48).contains(i)), "{reports:?}");
    }

    #[test]
    fn a_usual_value_at_an_unusual_hour_is_reported() {
        // Noon's level at midnight; the value itself is within the range of every day.
        let reports =
            happens(&Settings::default(), |i| if i < 96 { daily(i + DAY / 2) - daily(i) } else { 0.0 });
        assert!(reports.iter().any(|(i, _)| *i <= 96), "{reports:?}");
    }

    #[test]
    fn only_the_direction_asked_for_is_reported() {
        for (direction, other) in [(Direction::Up, -30.0), (Direction::Down, 30.0)] {
            let settings = Settings { direction, ..Settings::default() };
            assert!(happens(&settings, |i| if i < DAY { other } else { 0.0 }).iter().all(|(i, _)| *i >= DAY));
            assert!(happens(&settings, |_| -other).iter().any(|(i, _)| *i <= 12));
        }
    }

    #[test]
    fn what_is_smaller_than_the_least_effect_is_not_reported() {
        let settings = Settings { effect_min: 50.0, ..Settings::default() };
        assert_eq!(happens(&settings, |_| -30.0), []);
        assert!(!happens(&settings, |_| -60.0).is_empty());
    }

    #[test]
    fn a_gap_reports_nothing() {
        for hours in [1, 5, 30] {
            let mut pattern = Pattern::new(&Settings::default());
            (0..28 * DAY).for_each(|i| _ = pattern.push(at(i), daily(i) + noise(i)));
            let after = (28 * DAY + hours * 12)..(30 * DAY + hours * 12);
            let reported =
                after.filter(|i| pattern.push(at(*i), daily(*i) + noise(*i)).tier > Tier::Usual).count();
            assert!(reported <= 1, "{reported} after {hours} hours");
        }
    }

    #[test]
    fn a_cold_start_reports_nothing_on_the_first_day_and_notes_on_the_second() {
        // Comes up from nothing, as connections do after a start.
        let climbs = |i: usize| 125.0 * (1.0 - (-(i as f64) / 100.0).exp()) + noise(i);
        let reports = reports(&Settings::default(), 2, climbs);
        assert!(reports.iter().all(|(i, tier)| *i >= DAY && *tier == Tier::Note), "{reports:?}");
    }

    #[test]
    fn the_band_holds_what_is_usual_and_not_what_is_reported() {
        let mut pattern = Pattern::new(&Settings::default());
        let mut outside = 0;
        for i in 0..28 * DAY {
            let Assessment { value, expected, lower, upper, warm, .. } =
                pattern.push(at(i), daily(i) + noise(i));
            assert!(!warm || lower < expected && expected < upper, "{i}: {lower} {expected} {upper}");
            outside += usize::from(i > 7 * DAY && !(lower..=upper).contains(&value));
        }
        assert!(outside < 100, "{outside} of {}", 21 * DAY);
        let drop = pattern.push(at(28 * DAY), 40.0);
        assert!(drop.tier > Tier::Usual && drop.value < drop.lower && drop.lower > 70.0, "{drop:?}");
    }

    #[test]
    fn one_wild_sample_does_not_widen_the_band() {
        let mut pattern = Pattern::new(&Settings::default());
        for i in 0..28 * DAY {
            let wild = if i == 14 * DAY { 1e6 } else { 0.0 };
            let Assessment { lower, upper, .. } = pattern.push(at(i), 50.0 + noise(i) + wild);
            let is_narrow = lower > 40.0 && upper < 60.0;
            assert!(i < 16 * DAY || is_narrow, "{i}: {lower} to {upper}");
        }
    }
}
