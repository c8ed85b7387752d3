//! What is usual at this time of the season: a mean and a deviation for each slot of it.
//!
//! Memory is 288 slots whatever the step; a day has one for each five minutes (facts/anomaly.md 5.2, D2 raw).

use serde::{Deserialize, Serialize};

use super::Settings;
use super::scale::LEARNT_AT_LEAST;
use crate::time::Timestamp;

/// Most slots a season has.
pub const SLOTS_MAX: i64 = 288;
/// Share of a slot that a visit replaces (facts/anomaly.md 2.2: 0.15).
const RATE_OF_VISIT: f64 = 0.15;
/// Rate of the deviation over all slots (facts/anomaly.md 2.2).
const RATE_OVERALL: f64 = 0.01;
/// Visits a slot needs before it says something (facts/anomaly.md 2.2).
const VISITS_MIN: u8 = 2;
/// Deviations beyond which a sample is learnt as if it were at so many (facts/anomaly.md 2.2).
const WINSORISED_AT: f64 = 4.0;
/// Of a mean absolute deviation, to compare with a standard deviation (facts/anomaly.md 2.2).
const TO_STANDARD: f64 = 1.4826;

/// Cuts a season into slots.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Season {
    length_ms: i64,
    slot_ms: i64,
    /// Samples in a visit of a slot.
    pub samples: f64,
}

impl Season {
    /// The season of the settings, in at most `slots_max` slots of at least a step.
    pub fn new(settings: &Settings, slots_max: i64) -> Self {
        let step_ms = settings.step_ms.max(1);
        let length_ms = settings.season_ms.max(step_ms);
        let slots = slots_max.min(length_ms / step_ms).max(1);
        // Rounded up, so that there are never more slots than that.
        let slot_ms = (length_ms + slots - 1) / slots;
        Season { length_ms, slot_ms, samples: (slot_ms as f64 / step_ms as f64).max(1.0) }
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        ((self.length_ms + self.slot_ms - 1) / self.slot_ms) as usize
    }

    /// The slot of an instant.
    pub fn slot(&self, at: Timestamp) -> usize {
        (at.unix_ms().rem_euclid(self.length_ms) / self.slot_ms) as usize
    }

    /// The rate of a sample with which a whole visit replaces `of_visit`.
    pub fn rate(&self, of_visit: f64) -> f64 {
        1.0 - (1.0 - of_visit).powf(1.0 / self.samples)
    }
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Slot {
    mean: f32,
    /// Mean absolute deviation.
    deviation: f32,
    visits: u8,
}

/// The slots of a season.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Slots {
    season: Season,
    rate: f64,
    slots: Vec<Slot>,
    /// Mean absolute deviation over all slots.
    overall: f64,
    samples: u32,
    /// The slot under way and the samples it had in this visit.
    current: u16,
    position: u32,
}

impl Slots {
    /// Slots that have seen nothing.
    pub fn new(settings: &Settings, slots_max: i64) -> Self {
        let season = Season::new(settings, slots_max);
        Slots {
            season,
            rate: season.rate(RATE_OF_VISIT),
            slots: vec![Slot::default(); season.slots()],
            overall: 0.0,
            samples: 0,
            current: u16::MAX,
            position: 0,
        }
    }

    /// Expected value and scale at an instant: of its slot and the two beside it, as far as they have been visited
    /// twice.
    pub fn expected(&self, at: Timestamp) -> Option<(f64, f64)> {
        let slot = self.season.slot(at);
        let count = self.slots.len();
        let (mut mean, mut deviation, mut known) = (0.0, 0.0, 0.0);
        for number in [slot + count - 1, slot, slot + 1] {
            let near = &self.slots[number % count];
            if near.visits >= VISITS_MIN {
                mean += f64::from(near.mean);
                deviation += f64::from(near.deviation);
                known += 1.0;
            }
        }
        let is_known = self.slots[slot].visits >= VISITS_MIN && known > 0.0;
        is_known.then(|| (mean / known, TO_STANDARD * (deviation / known + 0.25 * self.overall)))
    }

    /// Learns a sample.
    pub fn learn(&mut self, at: Timestamp, value: f64) {
        let number = self.season.slot(at);
        let slot = &mut self.slots[number];
        if number != usize::from(self.current) || f64::from(self.position) >= self.season.samples {
            (self.current, self.position) = (number as u16, 0);
            slot.visits = slot.visits.saturating_add(1);
        }
        self.position += 1;
        let before = f64::from(slot.visits.saturating_sub(1)) * self.season.samples;
        let seen = before + f64::from(self.position);
        let rate = self.rate.max(1.0 / seen);
        let mut residual = if seen <= 1.0 { 0.0 } else { value - f64::from(slot.mean) };
        if slot.visits >= VISITS_MIN {
            let usual = WINSORISED_AT * (f64::from(slot.deviation) + 0.25 * self.overall);
            let bound = usual.max(LEARNT_AT_LEAST * residual.abs());
            residual = residual.clamp(-bound, bound);
        }
        if seen <= 1.0 {
            slot.mean = value as f32;
        } else {
            slot.mean = (f64::from(slot.mean) + rate * residual) as f32;
            let grown = rate * (residual.abs() - f64::from(slot.deviation));
            slot.deviation = (f64::from(slot.deviation) + grown) as f32;
            self.samples = self.samples.saturating_add(1);
            let rate = RATE_OVERALL.max(1.0 / f64::from(self.samples));
            self.overall += rate * (residual.abs() - self.overall);
        }
    }

    /// Forgets all: what was usual is not any more.
    pub fn forget(&mut self) {
        self.slots.fill(Slot::default());
        (self.overall, self.samples, self.current, self.position) = (0.0, 0, u16::MAX, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_says_nothing_before_its_second_visit() {
        let mut slots = Slots::new(&Settings { step_ms: 10_000, ..Settings::default() }, SLOTS_MAX);
        let at = |number: i64| Timestamp::from_unix_s(number * 10);
        for number in 0..8_640 {
            assert_eq!(slots.expected(at(number)), None);
            slots.learn(at(number), 5.0);
        }
        assert_eq!(slots.expected(at(8_640)), None);
        slots.learn(at(8_640), 5.0);
        assert_eq!(slots.expected(at(8_641)).map(|(mean, _)| mean), Some(5.0));
        slots.forget();
        assert_eq!(slots.expected(at(8_641)), None);
    }

    #[test]
    fn visit_counts_the_same_however_many_samples_it_has() {
        let mut means = Vec::new();
        for step_s in [10, 60, 300] {
            let mut slots =
                Slots::new(&Settings { step_ms: step_s * 1_000, ..Settings::default() }, SLOTS_MAX);
            let mut push_day = |day: i64, spread: f64| {
                for number in 0..86_400 / step_s {
                    let sign = if (number + day) % 2 == 0 { spread } else { -spread };
                    let level = if day >= 20 { 110.0 } else { 100.0 };
                    slots.learn(Timestamp::from_unix_s(day * 86_400 + number * step_s), level + sign);
                }
            };
            (0..20).for_each(|day| push_day(day, 10.0));
            push_day(20, 0.0);
            let (mean, _) = slots.expected(Timestamp::from_unix_s(21 * 86_400)).expect("visited");
            means.push(mean);
        }
        assert!(means.iter().all(|mean| (mean - 101.5).abs() < 1.0), "{means:?}");
    }

    #[test]
    fn season_of_any_length_has_its_slots() {
        for (season_ms, step_ms) in
            [(86_400_000, 10_000), (3_600_000, 10_000), (1_000, 60_000), (86_399_999, 7)]
        {
            let season = Season::new(&Settings { season_ms, step_ms, ..Settings::default() }, SLOTS_MAX);
            assert!(season.slots() >= 1 && season.slots() <= SLOTS_MAX as usize);
            for at in [-1, 0, 1, season_ms - 1, season_ms, 1_795_229_768_754] {
                assert!(season.slot(Timestamp::from_unix_ms(at)) < season.slots());
            }
        }
    }
}
