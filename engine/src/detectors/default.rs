//! What runs unless a rule asks for something else: the pattern channel and the point channel side by side.
//!
//! Samples that come more often than every five minutes are rolled up to their mean for the pattern channel; the point
//! channel gets them as they are. Where samples come every five minutes or more rarely they are roll-ups already, and
//! the pattern channel alone judges them: a self-calibrated pattern and an uncalibrated size of effect want opposite
//! things of the same samples (measured: union of both on NAB 71, pattern alone 74).

use serde::{Deserialize, Serialize};

use super::pattern::Pattern;
use super::point::Point;
use super::{Assessment, Method, Settings, Tier};
use crate::time::Timestamp;

/// Length of a roll-up in milliseconds.
pub const ROLL_UP_MS: i64 = 300_000;

/// State of both channels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Default {
    pattern: Pattern,
    /// What the pattern channel said of the newest roll-up.
    of_roll_up: Assessment,
    fine: Option<Fine>,
}

/// What is needed if samples come more often than roll-ups.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Fine {
    point: Point,
    /// The roll-up under way: its number, sum and number of samples.
    number: i64,
    sum: f64,
    count: u32,
    /// Samples a roll-up has if none is missing.
    full: u32,
}

impl Default {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        let is_fine = settings.step_ms < ROLL_UP_MS;
        Default {
            pattern: Pattern::new(&Settings { step_ms: settings.step_ms.max(ROLL_UP_MS), ..*settings }),
            of_roll_up: Assessment::unknown(f64::NAN),
            fine: is_fine.then(|| Fine {
                point: Point::new(settings),
                number: i64::MIN,
                sum: 0.0,
                count: 0,
                full: (ROLL_UP_MS / settings.step_ms.max(1)) as u32,
            }),
        }
    }
}

impl Method for Default {
    fn push(&mut self, at: Timestamp, value: f64) -> Assessment {
        let Some(fine) = &mut self.fine else { return self.pattern.push(at, value) };
        let number = at.unix_ms().div_euclid(ROLL_UP_MS);
        if number != fine.number {
            // Half a roll-up is as good as a whole one; less is too noisy to compare.
            if fine.count > 0 && 2 * fine.count >= fine.full {
                let began_at = Timestamp::from_unix_ms(fine.number * ROLL_UP_MS);
                self.of_roll_up = self.pattern.push(began_at, fine.sum / f64::from(fine.count));
            } else {
                self.of_roll_up.tier = Tier::Usual;
            }
            if number > fine.number.saturating_add(1) {
                // What was before a gap is no news after it.
                self.of_roll_up.tier = Tier::Usual;
            }
            (fine.number, fine.sum, fine.count) = (number, 0.0, 0);
        }
        fine.sum += value;
        fine.count += 1;
        let of_point = fine.point.push(at, value);
        // A pattern channel that knows but one day reports what the second brings; of many series that is too much.
        if self.of_roll_up.warm && self.of_roll_up.tier > of_point.tier { self.of_roll_up } else { of_point }
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
            said.push(default.of_roll_up);
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
            assert_eq!(said.tier, expected.tier, "{i}");
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

    #[test]
    fn a_report_lasts_until_the_next_roll_up() {
        let settings = Settings { step_ms: STEP, ..Settings::default() };
        let mut default = Default::new(&settings);
        let mut tiers = Vec::new();
        for n in 0..4002 * FULL {
            let (i, k) = (n / FULL, n % FULL);
            let value = daily(i) + noise(i) + if i == 4000 { 1000.0 } else { 0.0 };
            let tier = default.push(at(i).plus_ms(k as i64 * STEP), value).tier;
            if i == 4001 {
                tiers.push(tier);
            }
        }
        assert!(tiers.iter().all(|tier| *tier > Tier::Usual), "{tiers:?}");
    }
}
