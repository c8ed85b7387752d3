//! The samples of one key within one span: exact while few, in 60 slots when many.
//!
//! Exact up to [`EXACT_MAX`] samples (one exactly a span old still counts); beyond that each slot keeps a running
//! aggregate, and a slot leaves as a whole when the first of it leaves the span: a value then misses at most one slot
//! in 60 (and less than 60 ms more, where the span is no multiple of that), and never counts what is older.

use serde::{Deserialize, Serialize};

use super::Window;
use crate::time::Timestamp;

/// Samples kept one by one before slots take over.
pub const EXACT_MAX: usize = 32;

/// What a slot keeps of its samples, and what several slots add up to.
pub trait Slot: Clone + Default {
    /// Takes one sample.
    fn add(&mut self, value: f64);
    /// Takes a slot of later samples.
    fn merge(&mut self, later: &Self);
    /// True if no sample was taken.
    fn is_empty(&self) -> bool;
}

/// The samples of one key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Samples<S> {
    /// Each with its time, oldest first.
    Exact(Vec<(Timestamp, f64)>),
    /// One aggregate a slot.
    Slots(Box<Ring<S>>),
}

/// The last 64 slots; slot number `n` covers the times from `n` to `n + 1` slot lengths.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ring<S> {
    slots: Vec<S>,
    newest: i64,
    /// Where the newest slot begins and ends: most samples fall into it, and need no division to find it.
    newest_ms: std::ops::Range<i64>,
}

/// One sample, or those of one slot.
#[derive(Debug, Clone)]
pub struct Part<S> {
    /// None of them came before; a slot's length before a single sample.
    pub begins_at: Timestamp,
    /// All of them had come by then.
    pub at: Timestamp,
    /// What they add up to.
    pub total: S,
    /// The value of a single sample.
    pub exact: Option<f64>,
}

impl<S: Slot> Default for Samples<S> {
    fn default() -> Self {
        Samples::Exact(Vec::new())
    }
}

impl<S: Slot> Samples<S> {
    /// Takes a sample no older than the ones before it.
    pub fn push(&mut self, window: &Window, at: Timestamp, value: f64) {
        if let Samples::Exact(samples) = self {
            if samples.len() < EXACT_MAX {
                samples.push((at, value));
                return;
            }
            drop_older(samples, at.plus_ms(-window.over_ms));
            if samples.len() < EXACT_MAX {
                samples.push((at, value));
                return;
            }
            let mut ring = Ring::new();
            for (at, value) in samples.iter() {
                ring.push(window, *at, *value);
            }
            *self = Samples::Slots(Box::new(ring));
        }
        if let Samples::Slots(ring) = self {
            ring.push(window, at, value);
        }
    }

    /// Forgets what left the span by `now`; a ring that has run empty goes back to exact.
    pub fn expire(&mut self, window: &Window, now: Timestamp) {
        match self {
            Samples::Exact(samples) => drop_older(samples, now.plus_ms(-window.over_ms)),
            Samples::Slots(ring) => {
                if ring.oldest(window, now).is_none() {
                    *self = Samples::default();
                }
            }
        }
    }

    /// When the oldest sample leaves the span; none without samples.
    pub fn next_expiry(&self, window: &Window, now: Timestamp) -> Option<Timestamp> {
        match self {
            Samples::Exact(samples) => samples.first().map(|(at, _)| at.plus_ms(window.over_ms + 1)),
            Samples::Slots(ring) => ring
                .oldest(window, now)
                .map(|slot| Timestamp::from_unix_ms((slot + window.slots()) * window.slot_ms())),
        }
    }

    /// False if nothing can have made this but damage.
    pub fn is_sound(&self) -> bool {
        match self {
            Samples::Exact(samples) => samples.len() <= EXACT_MAX,
            Samples::Slots(ring) => ring.slots.len() == Window::SLOTS_MAX as usize,
        }
    }

    /// The aggregate of the samples within the span at `now`.
    pub fn total(&self, window: &Window, now: Timestamp) -> S {
        let mut total = S::default();
        match self {
            Samples::Exact(samples) => {
                let from = now.plus_ms(-window.over_ms);
                for (_, value) in samples.iter().filter(|(at, _)| *at >= from) {
                    total.add(*value);
                }
            }
            Samples::Slots(ring) => {
                for slot in ring.live(window, now) {
                    total.merge(ring.slot(slot));
                }
            }
        }
        total
    }

    /// The samples within the span at `now` and when each came, oldest first; where only slots are kept, the slots that
    /// are not empty.
    pub fn parts(&self, window: &Window, now: Timestamp) -> Vec<Part<S>> {
        match self {
            Samples::Exact(samples) => {
                let from = now.plus_ms(-window.over_ms);
                let part = |(at, value): &(Timestamp, f64)| {
                    let mut total = S::default();
                    total.add(*value);
                    Part {
                        begins_at: at.plus_ms(-window.slot_ms()).max(from),
                        at: *at,
                        total,
                        exact: Some(*value),
                    }
                };
                samples.iter().filter(|(at, _)| *at >= from).map(part).collect()
            }
            Samples::Slots(ring) => {
                let start = |slot: i64| Timestamp::from_unix_ms(slot * window.slot_ms());
                let part = |slot: i64| Part {
                    begins_at: start(slot),
                    at: start(slot + 1).min(now),
                    total: ring.slot(slot).clone(),
                    exact: None,
                };
                ring.live(window, now).filter(|slot| !ring.slot(*slot).is_empty()).map(part).collect()
            }
        }
    }
}

impl<S: Slot> Ring<S> {
    fn new() -> Self {
        Ring { slots: vec![S::default(); Window::SLOTS_MAX as usize], newest: i64::MIN / 2, newest_ms: 0..0 }
    }

    fn push(&mut self, window: &Window, at: Timestamp, value: f64) {
        if self.newest_ms.contains(&at.unix_ms()) {
            self.slots[position(self.newest)].add(value);
            return;
        }
        let slot = window.slot_of(at);
        if slot > self.newest {
            // Slots that nothing fell into must not show what they held a round ago.
            for skipped in (self.newest + 1).max(slot - Window::SLOTS_MAX + 1)..=slot {
                self.slots[position(skipped)] = S::default();
            }
            self.newest = slot;
            self.newest_ms = slot * window.slot_ms()..(slot + 1) * window.slot_ms();
        }
        self.slots[position(slot)].add(value);
    }

    fn slot(&self, slot: i64) -> &S {
        &self.slots[position(slot)]
    }

    /// Numbers of the slots that are within the span at `now`.
    fn live(&self, window: &Window, now: Timestamp) -> std::ops::RangeInclusive<i64> {
        (window.slot_of(now).max(self.newest) - window.slots() + 1)..=self.newest
    }

    fn oldest(&self, window: &Window, now: Timestamp) -> Option<i64> {
        self.live(window, now).find(|slot| !self.slot(*slot).is_empty())
    }
}

fn position(slot: i64) -> usize {
    slot.rem_euclid(Window::SLOTS_MAX) as usize
}

fn drop_older(samples: &mut Vec<(Timestamp, f64)>, from: Timestamp) {
    let gone = samples.iter().take_while(|(at, _)| *at < from).count();
    samples.drain(..gone);
}

/// Number of samples.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Count(pub u64);

/// Number and sum of samples.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sum {
    /// Number of samples.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

/// Oldest and newest, smallest and largest sample.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Extent {
    /// Oldest and newest value, if any.
    pub ends: Option<(f64, f64)>,
    /// Smallest value; infinity without samples.
    pub min: f64,
    /// Largest value; minus infinity without samples.
    pub max: f64,
}

/// Count, mean and squared distance from the mean.
/// Source: Chan, Golub, LeVeque (1979), updating formulae for pairwise variance.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Spread {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Slot for Count {
    fn add(&mut self, _value: f64) {
        self.0 += 1;
    }
    fn merge(&mut self, later: &Self) {
        self.0 += later.0;
    }
    fn is_empty(&self) -> bool {
        self.0 == 0
    }
}

impl Slot for Sum {
    fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
    }
    fn merge(&mut self, later: &Self) {
        self.count += later.count;
        self.sum += later.sum;
    }
    fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Default for Extent {
    fn default() -> Self {
        Extent { ends: None, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Slot for Extent {
    fn add(&mut self, value: f64) {
        self.merge(&Extent { ends: Some((value, value)), min: value, max: value });
    }
    fn merge(&mut self, later: &Self) {
        self.ends = match (self.ends, later.ends) {
            (Some((first, _)), Some((_, last))) => Some((first, last)),
            (ends, None) | (None, ends) => ends,
        };
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
    }
    fn is_empty(&self) -> bool {
        self.ends.is_none()
    }
}

impl Slot for Spread {
    fn add(&mut self, value: f64) {
        self.merge(&Spread { count: 1.0, mean: value, squares: 0.0 });
    }
    fn merge(&mut self, later: &Self) {
        let count = self.count + later.count;
        if count == 0.0 {
            return;
        }
        let apart = later.mean - self.mean;
        self.squares += later.squares + apart * apart * self.count * later.count / count;
        self.mean += apart * later.count / count;
        self.count = count;
    }
    fn is_empty(&self) -> bool {
        self.count == 0.0
    }
}

impl Spread {
    /// Arithmetic mean; none without samples.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0.0).then_some(self.mean)
    }

    /// Population standard deviation; none without samples.
    pub fn stddev(&self) -> Option<f64> {
        (self.count > 0.0).then(|| (self.squares / self.count).max(0.0).sqrt())
    }
}
