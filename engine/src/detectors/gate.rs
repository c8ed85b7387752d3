//! When a rarity is reported: once, again if it gets worse, and not for a while otherwise.

use serde::{Deserialize, Serialize};

use super::Tier;

/// Rarity of the lowest tier. On five-minute roll-ups about one false report per series and eleven days (NAB).
pub const NOTE: f64 = 1.8;
/// Rarity of [`Tier::Warning`].
pub const WARNING: f64 = 3.0;
/// Rarity of [`Tier::Page`].
pub const PAGE: f64 = 4.0;

/// Samples after a report in which the same is not reported again: eight hours of five-minute roll-ups.
pub const COOL_DOWN_SAMPLES: u32 = 100;

/// Within the cool-down, a higher tier is reported, and what is this many times rarer (as a logarithm).
const ESCALATION: f64 = 2.0;

/// The tier of a rarity.
pub fn tier(rarity: f64) -> Tier {
    match rarity {
        rarity if rarity >= PAGE => Tier::Page,
        rarity if rarity >= WARNING => Tier::Warning,
        rarity if rarity >= NOTE => Tier::Note,
        _ => Tier::Usual,
    }
}

/// The score that says this rarity: 0 (usual) to 1.
pub fn score(rarity: f64) -> f64 {
    1.0 - 10f64.powf(-rarity)
}

/// Remembers the last report.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Gate {
    /// Rarity of the last report; 0 if there was none in the cool-down.
    reported: f64,
    /// Samples since.
    since: u32,
}

impl Gate {
    /// What to report of a sample of this rarity.
    pub fn pass(&mut self, rarity: f64) -> Tier {
        self.since = self.since.saturating_add(1);
        if self.since >= COOL_DOWN_SAMPLES {
            self.reported = 0.0;
        }
        let tier = tier(rarity);
        if tier == Tier::Usual || tier <= self::tier(self.reported) && rarity <= ESCALATION * self.reported {
            return Tier::Usual;
        }
        (self.reported, self.since) = (rarity, 0);
        tier
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_made_once_until_it_gets_worse_or_the_cool_down_is_over() {
        let mut gate = Gate::default();
        assert_eq!(gate.pass(1.79), Tier::Usual);
        assert_eq!(gate.pass(2.0), Tier::Note);
        assert_eq!(gate.pass(2.9), Tier::Usual, "the same tier and not twice as rare");
        assert_eq!(gate.pass(3.0), Tier::Warning);
        assert_eq!(gate.pass(4.0), Tier::Page);
        assert_eq!(gate.pass(8.0), Tier::Usual);
        assert_eq!(gate.pass(8.1), Tier::Page);
        for _ in 1..COOL_DOWN_SAMPLES {
            assert_eq!(gate.pass(8.1), Tier::Usual);
        }
        assert_eq!(gate.pass(8.1), Tier::Page);
    }

    #[test]
    fn the_score_is_one_less_the_probability() {
        assert_eq!(score(0.0), 0.0);
        assert!((score(2.0) - 0.99).abs() < 1e-12);
    }
}
