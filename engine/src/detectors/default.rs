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
            if 2 * fine.count >= fine.full && fine.count > 0 {
                let closed_at = Timestamp::from_unix_ms(fine.number * ROLL_UP_MS);
                self.of_roll_up = self.pattern.push(closed_at, fine.sum / f64::from(fine.count));
            } else if fine.number != i64::MIN {
                self.pattern.skip();
                self.of_roll_up.tier = Tier::Usual;
            }
            (fine.number, fine.sum, fine.count) = (number, 0.0, 0);
        }
        fine.sum += value;
        fine.count += 1;
        let of_point = fine.point.push(at, value);
        if of_point.tier == Tier::Usual && self.of_roll_up.tier > Tier::Usual {
            return self.of_roll_up;
        }
        of_point
    }

    fn skip(&mut self) {
        match &mut self.fine {
            None => self.pattern.skip(),
            // A gap shorter than half a roll-up does not matter to it.
            Some(fine) => fine.point.skip(),
        }
    }
}
