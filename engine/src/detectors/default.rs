//! What runs unless a rule asks for something else: the pattern channel and the point channel side by side.
//!
//! Samples that come more often than every five minutes are rolled up to their mean for the pattern channel; the point
//! channel gets them as they are. Where samples come every five minutes or more rarely they are roll-ups already, and
//! the pattern channel alone judges them: a self-calibrated pattern and an uncalibrated size of effect want opposite
//! things of the same samples (measured: union of both on NAB 71, pattern alone 74).
//!
//! One thing is told once. A departure of one or two samples that the point channel reported is no part of the mean: it
//! says nothing of the level. What lasts longer is, and the pattern channel sees it; of a roll-up in which the point
//! channel reported something it tells only what is of a higher tier.

use serde::{Deserialize, Serialize};

use super::pattern::Pattern;
use super::point::Point;
use super::roll_up::{self, RollUp, Rolled};
use super::{Assessment, Method, Settings, Tier};
use crate::time::Timestamp;

/// A departure of no more samples than this is left out of the mean.
const SPIKE_MAX: u32 = 2;

/// State of both channels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Default {
    pattern: Rolled<Pattern>,
    fine: Option<Fine>,
}

/// What is needed if samples come more often than roll-ups.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Fine {
    point: Point,
    /// The highest tier the point channel told in the roll-up under way.
    told: Tier,
    spike: Spike,
}

/// The departure that the point channel reports, as far as it is in the roll-up under way and short.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Spike {
    sum: f64,
    count: u32,
    /// The sample before, if it is in this roll-up.
    before: Option<f64>,
}

impl Spike {
    /// Sees a sample and how many samples the departure has that it belongs to; leaves one that is over out of the mean.
    fn push(&mut self, roll_up: &mut RollUp, value: f64, departing: u32) {
        match departing {
            0 => self.leave_out(roll_up),
            1..=SPIKE_MAX => {
                // The first of a pair is reported with the second only.
                if let (2, 0, Some(before)) = (departing, self.count, self.before) {
                    (self.sum, self.count) = (before, 1);
                }
                (self.sum, self.count) = (self.sum + value, self.count.saturating_add(1));
            }
            _ => (self.sum, self.count) = (0.0, 0),
        }
        self.before = Some(value);
    }

    fn leave_out(&mut self, roll_up: &mut RollUp) {
        roll_up.leave_out(self.sum, self.count);
        *self = Spike::default();
    }
}

impl Default {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        let pattern = Rolled::new(settings, Pattern::new(&roll_up::settings(settings)));
        let fine = pattern.roll_up.is_fine().then(|| Fine {
            point: Point::new(settings),
            told: Tier::Usual,
            spike: Spike::default(),
        });
        Default { pattern, fine }
    }
}

impl Method for Default {
    fn push(&mut self, at: Timestamp, value: f64) -> Assessment {
        let Default { pattern, fine } = self;
        let Some(fine) = fine else { return pattern.push(at, value) };
        if pattern.roll_up.is_next(at) {
            fine.spike.leave_out(&mut pattern.roll_up);
            let newest = pattern.close(at);
            if newest.tier <= fine.told {
                pattern.newest.tier = Tier::Usual;
            }
            fine.told = Tier::Usual;
        }
        pattern.roll_up.take(value);
        let of_point = fine.point.push(at, value);
        let departing = if of_point.tier > Tier::Usual { fine.point.departing() } else { 0 };
        fine.spike.push(&mut pattern.roll_up, value, departing);
        fine.told = fine.told.max(of_point.tier);
        // A pattern channel that knows but one day reports what the second brings; of many series that is too much.
        if pattern.newest.warm && pattern.newest.tier > of_point.tier { pattern.newest } else { of_point }
    }

    /// The pattern channel sees from the time between roll-ups what is missing.
    fn skip(&mut self) {
        match &mut self.fine {
            None => self.pattern.skip(),
            Some(fine) => fine.point.skip(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::samples::{STEP_MS, at, daily, noise};

    const STEP: i64 = 10_000;
    const FULL: usize = (STEP_MS / STEP) as usize;

    /// What the pattern channel says of samples every ten seconds, once a roll-up; `keep` says which come.
    fn rolled_up(
        count: usize,
        value: impl Fn(usize) -> f64,
        keep: impl Fn(usize) -> bool,
    ) -> Vec<Assessment> {
        let mut default = Default::new(&Settings { step_ms: STEP, ..Settings::default() });
        let mut said = Vec::new();
        for i in 0..=count {
            for k in (0..FULL).filter(|k| i == count || keep(i * FULL + k)) {
                // They differ within the roll-up, by nothing on average.
                let jitter = if k % 2 == 0 { 1.0 } else { -1.0 };
                default.push(at(i).plus_ms(k as i64 * STEP), value(i) + jitter);
            }
            said.push(default.pattern.newest);
        }
        said
    }

    #[test]
    fn samples_every_ten_seconds_are_judged_by_their_five_minute_means() {
        let value = |i: usize| daily(i) + noise(i) + if i > 4000 { 40.0 } else { 0.0 };
        let said = rolled_up(4100, value, |_| true);
        let mut pattern = Pattern::new(&Settings::default());
        let mut reports = 0;
        for (i, said) in said[1..].iter().enumerate() {
            let expected = pattern.push(at(i), value(i));
            assert!((said.score - expected.score).abs() < 1e-9, "{i}");
            // Of what the point channel told as well only a higher tier is told.
            assert!(said.tier == expected.tier || i > 4000 && said.tier == Tier::Usual, "{i}");
            assert!((said.value - expected.value).abs() < 1e-9, "{i}");
            reports += usize::from(expected.tier > Tier::Usual);
        }
        assert!(reports > 0);
    }

    #[test]
    fn less_than_half_a_roll_up_is_not_judged() {
        let third = |n: usize| n % FULL < FULL / 3;
        assert!(rolled_up(400, daily, third).iter().all(|said| said.value.is_nan()));
    }

    /// What is said of four weeks with something on top from a row on: the tiers from there on, ten seconds each.
    fn tiers_of(what: impl Fn(usize) -> f64, rows: usize) -> Vec<Assessment> {
        let mut default = Default::new(&Settings { step_ms: STEP, ..Settings::default() });
        let from = 4000 * FULL + 7;
        (0..from + rows)
            .map(|n| {
                let top = n.checked_sub(from).map_or(0.0, &what);
                default.push(at(0).plus_ms(n as i64 * STEP), 20.0 + noise(n) + top)
            })
            .skip(from)
            .collect()
    }

    #[test]
    fn what_the_point_channel_reported_is_not_told_again_for_its_mean() {
        let told = tiers_of(|n| if n == 0 { 1e6 } else { 0.0 }, 90);
        assert!(told[0].tier > Tier::Usual, "{:?}", told[0]);
        assert!(told[1..].iter().all(|one| one.tier == Tier::Usual), "{told:?}");
        // Across the border of two roll-ups, and the weaker sample first.
        let told = tiers_of(|n| if (22..24).contains(&n) { 4000.0 } else { 0.0 }, 90);
        assert!(told.iter().enumerate().all(|(n, one)| (22..24).contains(&n) == (one.tier > Tier::Usual)));
    }

    #[test]
    fn what_lasts_is_part_of_the_mean() {
        let mut default = Default::new(&Settings { step_ms: STEP, ..Settings::default() });
        let from = 4000 * FULL;
        for n in 0..=from + FULL {
            let top = if (from..from + 10).contains(&n) { 300.0 } else { 0.0 };
            default.push(at(0).plus_ms(n as i64 * STEP), 20.0 + noise(n) + top);
        }
        assert!((default.pattern.newest.value - 120.0).abs() < 2.0, "{:?}", default.pattern.newest);
        assert!(default.pattern.newest.score > 0.9, "{:?}", default.pattern.newest);
    }

    #[test]
    fn a_report_lasts_until_the_next_roll_up() {
        let settings = Settings { step_ms: STEP, ..Settings::default() };
        let mut default = Default::new(&settings);
        let mut tiers = Vec::new();
        for n in 0..4000 * FULL {
            let (i, k) = (n / FULL, n % FULL);
            // A slow rise to what never was: the point channel follows it.
            let value = daily(i) + noise(n) + 0.1 * i.saturating_sub(3600) as f64;
            tiers.push(default.push(at(i).plus_ms(k as i64 * STEP), value).tier);
        }
        let tiers = &tiers[3600 * FULL..];
        let whole = |tiers: &&[Tier]| tiers.iter().all(|tier| *tier > Tier::Usual);
        assert!(tiers.chunks(FULL).any(|tiers| whole(&tiers)), "no report for a whole roll-up");
        assert!(tiers.chunks(FULL).all(|tiers| whole(&tiers) || tiers[0] == Tier::Usual));
    }
}
