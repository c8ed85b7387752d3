//! Samples that come more often than every five minutes, as the means of five minutes.
//!
//! The methods that know the shape of a season are made for five minutes a sample: their memory is counted in samples, and
//! noise of ten seconds is none of theirs. Samples that come every five minutes or more rarely are roll-ups already.

use serde::{Deserialize, Serialize};

use super::{Assessment, Method, Settings, Tier};
use crate::time::Timestamp;

/// Length of a roll-up in milliseconds.
pub const ROLL_UP_MS: i64 = 300_000;

/// The settings of what judges roll-ups.
pub fn settings(of_samples: &Settings) -> Settings {
    Settings { step_ms: of_samples.step_ms.max(ROLL_UP_MS), ..*of_samples }
}

fn number_of(at: Timestamp) -> i64 {
    at.unix_ms().div_euclid(ROLL_UP_MS)
}

/// The roll-up under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RollUp {
    /// Counted from the epoch.
    number: i64,
    sum: f64,
    count: u32,
    /// Sum and number of samples that are left out of it.
    left_sum: f64,
    left_count: u32,
    /// Samples a roll-up has if none is missing; 0 if samples are roll-ups already.
    full: u32,
}

/// What a sample closed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Closed {
    /// Nothing: it belongs to the roll-up under way.
    Nothing,
    /// A roll-up of which too little is known.
    Unknown,
    /// A roll-up that has a mean.
    Mean {
        /// When it began.
        at: Timestamp,
        /// Mean of its samples.
        mean: f64,
        /// There is a gap after it: what it says is no news any more.
        is_late: bool,
    },
}

impl RollUp {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        let full =
            if settings.step_ms < ROLL_UP_MS { (ROLL_UP_MS / settings.step_ms.max(1)) as u32 } else { 0 };
        RollUp { number: i64::MIN, sum: 0.0, count: 0, left_sum: 0.0, left_count: 0, full }
    }

    /// Whether samples are rolled up at all.
    pub fn is_fine(&self) -> bool {
        self.full > 0
    }

    /// Whether a sample is the first of another roll-up than the one under way.
    pub fn is_next(&self, at: Timestamp) -> bool {
        number_of(at) != self.number
    }

    /// The next sample comes: closes what it does not belong to.
    pub fn close(&mut self, at: Timestamp) -> Closed {
        if !self.is_next(at) {
            return Closed::Nothing;
        }
        let number = number_of(at);
        let seen = self.count.saturating_add(self.left_count);
        // What most samples are is the level, whatever it was taken for.
        let (sum, count) = match self.left_count > self.count {
            true => (self.sum + self.left_sum, seen),
            false => (self.sum, self.count),
        };
        // Half a roll-up is as good as a whole one; less is too noisy to compare.
        let closed = if count > 0 && 2 * u64::from(seen) >= u64::from(self.full) {
            Closed::Mean {
                at: Timestamp::from_unix_ms(self.number.saturating_mul(ROLL_UP_MS)),
                mean: sum / f64::from(count),
                is_late: number > self.number.saturating_add(1),
            }
        } else {
            Closed::Unknown
        };
        *self = RollUp { number, sum: 0.0, count: 0, left_sum: 0.0, left_count: 0, ..*self };
        closed
    }

    /// Takes a sample into the roll-up under way.
    pub fn take(&mut self, value: f64) {
        self.sum += value;
        self.count = self.count.saturating_add(1);
    }

    /// Takes samples out again that are no part of the level.
    pub fn leave_out(&mut self, sum: f64, count: u32) {
        let count = count.min(self.count);
        (self.sum, self.count) = (self.sum - sum, self.count - count);
        (self.left_sum, self.left_count) = (self.left_sum + sum, self.left_count.saturating_add(count));
    }

    /// Whether this can be the state of one with these settings.
    pub fn is_sound(&self, settings: &Settings) -> bool {
        self.full == RollUp::new(settings).full && (self.sum + self.left_sum).is_finite()
    }
}

/// A method that judges roll-ups: what it said of the newest stands until the next.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rolled<M> {
    /// What judges.
    pub method: M,
    /// What is under way.
    pub roll_up: RollUp,
    /// What the method said of the newest roll-up.
    pub newest: Assessment,
}

impl<M: Method> Rolled<M> {
    /// For samples of these settings; the method is one for [`settings`].
    pub fn new(of_samples: &Settings, method: M) -> Self {
        Rolled { method, roll_up: RollUp::new(of_samples), newest: Assessment::unknown(f64::NAN) }
    }

    /// Whether the roll-up can be the state of one with these settings.
    pub fn is_sound(&self, of_samples: &Settings) -> bool {
        self.roll_up.is_sound(of_samples)
    }

    /// Closes what the next sample does not belong to; what is said of the newest roll-up.
    pub fn close(&mut self, at: Timestamp) -> Assessment {
        match self.roll_up.close(at) {
            Closed::Nothing => {}
            Closed::Unknown => self.newest.tier = Tier::Usual,
            Closed::Mean { at, mean, is_late } => {
                self.newest = self.method.push(at, mean);
                if is_late {
                    self.newest.tier = Tier::Usual;
                }
            }
        }
        self.newest
    }
}

impl<M: Method> Method for Rolled<M> {
    fn push(&mut self, at: Timestamp, value: f64) -> Assessment {
        if !self.roll_up.is_fine() {
            return self.method.push(at, value);
        }
        let newest = self.close(at);
        self.roll_up.take(value);
        if newest.value.is_nan() { Assessment::unknown(value) } else { newest }
    }

    /// Of roll-ups the method sees from the time between them what is missing.
    fn skip(&mut self) {
        if !self.roll_up.is_fine() {
            self.method.skip();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::samples::{at, daily, noise};
    use crate::detectors::{Detector, Kind};

    #[test]
    fn what_is_made_for_five_minutes_judges_the_means_of_them() {
        const FULL: usize = 30;
        let value = |i: usize| daily(i) + noise(i) + if i > 3000 { 40.0 } else { 0.0 };
        for kind in [Kind::Pattern, Kind::Seasonal, Kind::Novelty] {
            let mut fine = Detector::new(kind, &Settings { step_ms: 10_000, ..Settings::default() });
            let mut coarse = Detector::new(kind, &Settings::default());
            let mut expected = Assessment::unknown(0.0);
            let mut reports = 0;
            for i in 0..3100 {
                for k in 0..FULL {
                    // They differ within the roll-up, by nothing on average.
                    let jitter = if k % 2 == 0 { 8.0 } else { -8.0 };
                    let told = fine.push(at(i).plus_ms(k as i64 * 10_000), value(i) + jitter);
                    assert!(i == 0 || (told.value - expected.value).abs() < 1e-9, "{kind:?} {i}");
                    assert_eq!(told.tier, expected.tier, "{kind:?} {i}");
                }
                expected = coarse.push(at(i), value(i));
                reports += usize::from(expected.tier > Tier::Usual);
            }
            assert!(reports > 0, "{kind:?}");
        }
    }
}
