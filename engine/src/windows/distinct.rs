//! How many different values there were within the span.
//!
//! Exact up to [`EXACT_MAX`] values; beyond that a HyperLogLog whose registers remember for each rank when it was
//! last seen, so that values leave the span slot by slot.
//! Sources: Flajolet et al. (2007), HyperLogLog; Chabchoub & Hebrail (2010), sliding HyperLogLog;
//! Ertl (2017), arXiv 1702.01284 section 4, an estimator without bias at any count.

use serde::{Deserialize, Serialize};

use super::Window;
use crate::time::Timestamp;

/// Values kept one by one before the sketch takes over.
pub const EXACT_MAX: usize = 256;
/// 2^14 registers: a standard error of 1.04 / sqrt(16384) = 0.8 %.
const INDEX_BITS: u32 = 14;
const REGISTERS: usize = 1 << INDEX_BITS;
/// A rank of 32 is reached at 2^46 values.
const RANKS: usize = 32;
/// Marks a rank that was not seen within the span.
const NEVER: u8 = u8::MAX;
/// Slots are kept modulo this; stale ones are swept before a round of it is over.
const ROUND: i64 = 255;

/// The different values of one key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Distinct {
    /// Hash of each value with the time it was last seen, in no order that matters.
    Exact(Vec<(u64, Timestamp)>),
    /// Registers.
    Sketch(Box<Registers>),
}

/// For each register and rank the slot (modulo [`ROUND`]) in which it was last seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Registers {
    #[serde(with = "crate::stored::bytes")]
    seen: Vec<u8>,
    /// For each register one more than the highest rank ever seen since the last sweep: where to begin to look.
    #[serde(with = "crate::stored::bytes")]
    top: Vec<u8>,
    newest: i64,
    swept: i64,
}

impl Default for Distinct {
    fn default() -> Self {
        Distinct::Exact(Vec::new())
    }
}

impl Distinct {
    /// Takes a value by its hash (all 64 bits well mixed).
    pub fn push(&mut self, window: &Window, at: Timestamp, hash: u64) {
        match self {
            Distinct::Exact(values) => {
                if let Some(known) = values.iter_mut().find(|(known, _)| *known == hash) {
                    known.1 = at;
                    return;
                }
                if values.len() == EXACT_MAX {
                    values.retain(|(_, seen)| *seen >= at.plus_ms(-window.over_ms));
                }
                if values.len() < EXACT_MAX {
                    values.push((hash, at));
                    return;
                }
                let mut registers = Registers::new(window, values[0].1);
                values.sort_by_key(|(_, seen)| *seen);
                for (hash, seen) in values.iter() {
                    registers.push(window, *seen, *hash);
                }
                registers.push(window, at, hash);
                *self = Distinct::Sketch(Box::new(registers));
            }
            Distinct::Sketch(registers) => registers.push(window, at, hash),
        }
    }

    /// Forgets what left the span by `now`; a sketch that has run empty goes back to exact.
    pub fn expire(&mut self, window: &Window, now: Timestamp) {
        match self {
            Distinct::Exact(values) => values.retain(|(_, seen)| *seen >= now.plus_ms(-window.over_ms)),
            Distinct::Sketch(registers) => {
                if window.slot_of(now) - registers.newest >= window.slots() {
                    *self = Distinct::default();
                }
            }
        }
    }

    /// When the count may next fall; none without values.
    pub fn next_expiry(&self, window: &Window, now: Timestamp) -> Option<Timestamp> {
        match self {
            Distinct::Exact(values) => {
                values.iter().map(|(_, seen)| *seen).min().map(|seen| seen.plus_ms(window.over_ms + 1))
            }
            Distinct::Sketch(_) => Some(now.next_multiple_ms(window.slot_ms())),
        }
    }

    /// Number of different values within the span at `now`.
    pub fn count(&self, window: &Window, now: Timestamp) -> u64 {
        match self {
            Distinct::Exact(values) => {
                let from = now.plus_ms(-window.over_ms);
                values.iter().filter(|(_, seen)| *seen >= from).count() as u64
            }
            Distinct::Sketch(registers) => registers.estimate(window, now).round() as u64,
        }
    }

    /// False if nothing can have made this but damage.
    pub fn is_sound(&self) -> bool {
        match self {
            Distinct::Exact(values) => values.len() <= EXACT_MAX,
            Distinct::Sketch(registers) => {
                registers.seen.len() == REGISTERS * RANKS
                    && registers.top.len() == REGISTERS
                    && registers.top.iter().all(|top| usize::from(*top) <= RANKS)
            }
        }
    }

    /// True if the values no longer fit into a small list.
    pub fn is_sketch(&self) -> bool {
        matches!(self, Distinct::Sketch(_))
    }
}

impl Registers {
    fn new(window: &Window, at: Timestamp) -> Self {
        let slot = window.slot_of(at);
        Registers { seen: vec![NEVER; REGISTERS * RANKS], top: vec![0; REGISTERS], newest: slot, swept: slot }
    }

    fn push(&mut self, window: &Window, at: Timestamp, hash: u64) {
        let slot = window.slot_of(at);
        if slot > self.newest {
            self.newest = slot;
            self.sweep();
        }
        let register = (hash >> (64 - INDEX_BITS)) as usize;
        let rank = ((hash << INDEX_BITS).leading_zeros() as usize).min(RANKS - 1);
        self.seen[register * RANKS + rank] = slot.rem_euclid(ROUND) as u8;
        self.top[register] = self.top[register].max(rank as u8 + 1);
    }

    /// Clears what left the span, often enough that no slot number comes round again while it stands.
    fn sweep(&mut self) {
        if self.newest - self.swept < ROUND - 2 * Window::SLOTS_MAX {
            return;
        }
        let (newest, swept) = (self.newest, self.swept);
        for seen in &mut self.seen {
            // A gap longer than a round makes everything stale.
            if newest - swept >= ROUND - Window::SLOTS_MAX || !is_live(*seen, newest, Window::SLOTS_MAX) {
                *seen = NEVER;
            }
        }
        for (ranks, top) in self.seen.chunks_exact(RANKS).zip(&mut self.top) {
            *top = ranks.iter().rposition(|seen| *seen != NEVER).map_or(0, |rank| rank as u8 + 1);
        }
        self.swept = newest;
    }

    fn estimate(&self, window: &Window, now: Timestamp) -> f64 {
        let (now, slots) = (window.slot_of(now).max(self.newest), window.slots());
        if now - self.newest >= slots {
            return 0.0;
        }
        // counts[0] are empty registers, counts[r] those whose highest rank is r.
        let mut counts = [0_u32; RANKS + 1];
        for (ranks, top) in self.seen.chunks_exact(RANKS).zip(&self.top) {
            let highest = ranks[..usize::from(*top)].iter().rposition(|seen| is_live(*seen, now, slots));
            counts[highest.map_or(0, |rank| rank + 1)] += 1;
        }
        ertl_estimate(&counts)
    }
}

fn is_live(seen: u8, now: i64, slots: i64) -> bool {
    seen != NEVER && (now - i64::from(seen)).rem_euclid(ROUND) < slots
}

/// Improved raw estimator (Ertl 2017, algorithm 6) with `RANKS` as the highest register value.
fn ertl_estimate(counts: &[u32; RANKS + 1]) -> f64 {
    let m = REGISTERS as f64;
    let mut z = m * tau((m - f64::from(counts[RANKS])) / m);
    for count in counts[1..RANKS].iter().rev() {
        z = 0.5 * (z + f64::from(*count));
    }
    z += m * sigma(f64::from(counts[0]) / m);
    m * m / (2.0 * std::f64::consts::LN_2 * z)
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::Aggregate;

    const WINDOW: Window = Window { aggregate: Aggregate::Distinct, over_ms: 60_000, integers: true };

    /// splitmix64: well mixed bits from a running number.
    fn hash(n: u64) -> u64 {
        let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[track_caller]
    fn check(values: std::ops::Range<u64>, seed: u64) {
        let expected = (values.end - values.start) as f64;
        let mut distinct = Distinct::default();
        for n in values {
            // Each value twice: a repeat must not count.
            distinct.push(&WINDOW, Timestamp::from_unix_ms(1000), hash(seed + n));
            distinct.push(&WINDOW, Timestamp::from_unix_ms(1001), hash(seed + n));
        }
        let found = distinct.count(&WINDOW, Timestamp::from_unix_ms(2000)) as f64;
        assert!((found - expected).abs() <= 0.02 * expected, "{found} for {expected}, seed {seed}");
    }

    #[test]
    fn few_values_are_counted_exactly() {
        let mut distinct = Distinct::default();
        for n in 0..EXACT_MAX as u64 {
            distinct.push(&WINDOW, Timestamp::from_unix_ms(0), hash(n));
        }
        assert_eq!(distinct.count(&WINDOW, Timestamp::from_unix_ms(0)), EXACT_MAX as u64);
    }

    #[test]
    fn many_values_are_counted_within_two_percent() {
        for (index, count) in [1_100, 5_000, 20_000, 50_000, 300_000, 1_000_000].into_iter().enumerate() {
            check(0..count, 1_000_000_007 * index as u64);
        }
    }

    #[test]
    fn values_leave_with_the_span_even_after_a_long_time() {
        let mut distinct = Distinct::default();
        for second in 0..2_000_u64 {
            for n in 0..500 {
                distinct.push(&WINDOW, Timestamp::from_unix_s(second as i64), hash(second * 500 + n));
            }
        }
        let now = Timestamp::from_unix_s(1_999);
        let found = distinct.count(&WINDOW, now) as f64;
        assert!((found - 30_000.0).abs() <= 0.02 * 30_000.0, "{found}");
        assert_eq!(distinct.count(&WINDOW, now.plus_ms(61_000)), 0);
        distinct.expire(&WINDOW, now.plus_ms(61_000));
        assert!(!distinct.is_sketch());
    }
}
