//! Subsequence novelty: how far the newest stretch of a series is from the nearest stretches before it.
//!
//! The score is the mean Euclidean distance of the newest [`STRETCH`] samples to the [`NEAREST`] most similar stretches
//! among the last [`PAST`] starts, in the series' own unit. Only the past is compared with, and the level counts: stretches
//! are not normalised, since a curve of the usual shape at another level is what one wants to hear of (NAB: 64 against
//! 14 points of normalised ones).
//!
//! The squared distance at a lag L is the sum of (x[t-k] - x[t-k-L])^2 over the stretch, so each sample adds one term and
//! takes one away. A sum that only ever adds and subtracts drifts; therefore all are made anew every [`REBUILD`] samples.
//! The sums are not stored: they follow from the samples kept, in the same order of operations, to the bit.
//!
//! Sources: Yeh et al. (2016), matrix profile (STAMPI); Lu et al. (2022), left-only discords; Burnaev & Ishimtsev (2016),
//! nearest neighbours on NAB. Bound: [`KEPT`] samples of 4 bytes.

use serde::{Deserialize, Serialize};

use super::alone::{Opinion, Raw};
use crate::time::Timestamp;

/// Samples of a stretch: about five hours of five-minute roll-ups. 32 to 96 do as well on NAB.
pub const STRETCH: usize = 64;
/// Starts of stretches that the newest is compared with. 1000 to 8000 do as well on NAB.
pub const PAST: usize = 1000;
/// How many of the nearest are averaged.
const NEAREST: usize = 3;
/// Stretches that share more than half with the newest are similar because they are the same.
const LAG_MIN: usize = STRETCH / 2;
/// Fewer stretches to compare with make everything look new.
const CANDIDATES_MIN: usize = 100;
/// Samples between two times that the sums are made anew.
const REBUILD: usize = 64;
/// Samples kept: the oldest stretch as it was at the last rebuild.
const KEPT: usize = PAST + STRETCH + REBUILD;

/// An interval between samples this many times the usual one is a gap that no stretch goes across: a quarter of a stretch.
/// A shorter hole shifts what follows by less than a quarter. Series whose samples come irregularly by nature would never
/// have an unbroken stretch if each longer wait broke it.
const GAP: f64 = (STRETCH / 4) as f64;

/// State of the method.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Novelty {
    rhythm: Rhythm,
    /// Taken off each value: a level of a billion would leave four bytes no digits for what happens.
    origin: f64,
    values: Recent,
    /// Lengths of the unbroken stretches, the newest last. Each but the last is at least [`STRETCH`].
    segments: Vec<u16>,
    /// Samples since the sums were made anew; `None`: they must be.
    since_rebuild: Option<u16>,
    /// By lag, the squared distance of the newest stretch to the one so many samples before. Empty after a restart.
    #[serde(skip)]
    sums: Vec<f64>,
}

impl Default for Novelty {
    fn default() -> Self {
        Novelty {
            rhythm: Rhythm::default(),
            origin: f64::NAN,
            values: Recent::default(),
            segments: vec![0],
            since_rebuild: None,
            sums: Vec::new(),
        }
    }
}

impl Novelty {
    /// The next sample, a finite value: how new the stretch is that it ends, at least 0, in the unit of the value.
    ///
    /// `None` until there are [`STRETCH`] samples since the beginning or a gap, and a hundred stretches to compare with.
    pub fn push(&mut self, at: Timestamp, value: f64) -> Option<f64> {
        self.take(at, value).map(|(distance, _)| distance)
    }

    /// Takes a sample: the distance to the nearest stretches and how many samples ago the nearest was.
    fn take(&mut self, at: Timestamp, value: f64) -> Option<(f64, usize)> {
        if self.rhythm.is_gap(at) {
            self.break_off();
        }
        if self.origin.is_nan() {
            self.origin = value;
        }
        // Beyond 1e30 squares of differences would be infinite; nothing real is.
        self.values.push((value - self.origin).clamp(-1e30, 1e30) as f32);
        let current = self.segments.last_mut().expect("there is always a last one");
        *current += 1;
        let is_whole = usize::from(*current) >= STRETCH;
        self.trim();
        if !is_whole {
            return None;
        }
        self.advance();
        self.nearest()
    }

    /// Samples are missing here: no stretch goes across.
    fn break_off(&mut self) {
        let current = self.segments.last_mut().expect("there is always a last one");
        if usize::from(*current) < STRETCH {
            // No stretch fits into it, so nothing will be compared with it.
            self.values.drop_newest(usize::from(*current));
            *current = 0;
        } else {
            self.segments.push(0);
        }
        self.since_rebuild = None;
    }

    /// Segments hold as many samples as there are.
    fn trim(&mut self) {
        let total: usize = self.segments.iter().map(|length| usize::from(*length)).sum();
        if total > KEPT {
            self.segments[0] -= (total - KEPT) as u16;
            if usize::from(self.segments[0]) < STRETCH && self.segments.len() > 1 {
                let oldest = self.segments.remove(0);
                self.values.drop_oldest(usize::from(oldest));
                self.since_rebuild = None;
            }
        }
    }

    /// Brings the sums to the newest sample.
    fn advance(&mut self) {
        match self.since_rebuild {
            Some(since) if usize::from(since) + 1 < REBUILD => {
                if self.sums.is_empty() {
                    // As it was before this sample, which is at 0 now.
                    self.rebuild(usize::from(since) + 1);
                    for back in (1..=usize::from(since)).rev() {
                        self.slide(back);
                    }
                }
                self.slide(0);
                self.since_rebuild = Some(since + 1);
            }
            _ => {
                self.recentre();
                self.rebuild(0);
                self.since_rebuild = Some(0);
            }
        }
    }

    /// Moves the origin if the digits do not suffice for what happens.
    fn recentre(&mut self) {
        const LEVELS_MIN: f32 = 4096.0;
        let kept = self.values.kept();
        let low = kept.iter().copied().fold(f32::INFINITY, f32::min);
        let high = kept.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if low.abs().max(high.abs()) > LEVELS_MIN * (high - low) {
            let middle = 0.5 * (f64::from(low) + f64::from(high));
            self.origin += middle;
            self.values.shift(middle);
        }
    }

    /// Makes the sums as they were `back` samples ago.
    fn rebuild(&mut self, back: usize) {
        self.sums.clear();
        self.sums.resize(PAST + 1, 0.0);
        let values = &self.values.window()[back..];
        for k in 0..STRETCH {
            let newer = f64::from(values[k]);
            for (sum, older) in self.sums.iter_mut().zip(&values[k..]) {
                let difference = newer - f64::from(*older);
                *sum += difference * difference;
            }
        }
    }

    /// Moves the sums from one sample earlier to the sample `back` samples ago.
    fn slide(&mut self, back: usize) {
        let values = &self.values.window()[back..];
        let (came, went) = (f64::from(values[0]), f64::from(values[STRETCH]));
        for ((sum, with_came), with_went) in self.sums.iter_mut().zip(values).zip(&values[STRETCH..]) {
            let (came, went) = (came - f64::from(*with_came), went - f64::from(*with_went));
            *sum += came * came - went * went;
        }
    }

    /// Mean distance to the nearest stretches, and the lag of the nearest.
    fn nearest(&self) -> Option<(f64, usize)> {
        let mut nearest = [f64::INFINITY; NEAREST];
        let (mut candidates, mut lag) = (0, 0);
        // Age of a segment's newest sample.
        let mut age = 0;
        for length in self.segments.iter().rev().map(|length| usize::from(*length)) {
            let from = age.max(LAG_MIN);
            let to = (age + length + 1).saturating_sub(STRETCH).min(PAST + 1);
            age += length;
            if from >= to {
                continue;
            }
            candidates += to - from;
            for (number, sum) in self.sums[from..to].iter().enumerate() {
                if *sum < nearest[0] {
                    lag = from + number;
                }
                if *sum < nearest[NEAREST - 1] {
                    nearest[NEAREST - 1] = *sum;
                    nearest.sort_by(f64::total_cmp);
                }
            }
        }
        // A sum that should be 0 can be a little less.
        let mean = nearest.iter().map(|sum| sum.max(0.0).sqrt()).sum::<f64>() / NEAREST as f64;
        (candidates >= CANDIDATES_MIN).then_some((mean, lag))
    }

    /// The largest difference between the newest stretch and the one `lag` samples before.
    fn departure(&self, lag: usize) -> f64 {
        let values = self.values.window();
        let differences = values[..STRETCH].iter().zip(&values[lag..]).map(|(new, old)| f64::from(new - old));
        differences.fold(0.0, |largest: f64, one| if one.abs() > largest.abs() { one } else { largest })
    }
}

impl Raw for Novelty {
    fn judge(&mut self, at: Timestamp, value: f64) -> Option<Opinion> {
        let (score, lag) = self.take(at, value)?;
        Some(Opinion {
            score,
            departure: self.departure(lag),
            expected: f64::NAN,
            lower: f64::NAN,
            upper: f64::NAN,
        })
    }
}

/// How often samples come.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Rhythm {
    last: Option<Timestamp>,
    /// Mean interval in milliseconds.
    interval_ms: f64,
    /// Intervals seen, at most 50.
    count: u8,
}

impl Rhythm {
    /// Takes the next sample's time: did it come after a gap?
    fn is_gap(&mut self, at: Timestamp) -> bool {
        let Some(last) = self.last.replace(at) else { return false };
        let interval_ms = at.ms_since(last).max(0) as f64;
        let is_gap = self.count >= 4 && interval_ms > GAP * self.interval_ms;
        self.count = self.count.saturating_add(1).min(50);
        // One long night must not make short gaps look usual.
        let interval_ms = if self.count > 4 { interval_ms.min(10.0 * self.interval_ms) } else { interval_ms };
        self.interval_ms += (interval_ms - self.interval_ms) / f64::from(self.count);
        is_gap
    }
}

/// The newest samples, the newest first, followed by zeros.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Vec<f32>", into = "Vec<f32>")]
struct Recent {
    buffer: Vec<f32>,
    head: usize,
    len: usize,
}

impl Recent {
    /// Room for new samples before the others have to be moved.
    const ROOM: usize = 256;

    fn kept(&self) -> &[f32] {
        &self.buffer[self.head..self.head + self.len]
    }

    fn window(&self) -> &[f32] {
        &self.buffer[self.head..self.head + KEPT]
    }

    fn push(&mut self, value: f32) {
        if self.head == 0 {
            self.buffer.copy_within(..KEPT, Self::ROOM);
            self.head = Self::ROOM;
        }
        self.head -= 1;
        self.buffer[self.head] = value;
        self.buffer[self.head + KEPT] = 0.0;
        self.len = (self.len + 1).min(KEPT);
    }

    fn drop_newest(&mut self, count: usize) {
        self.head += count;
        self.len -= count;
        // What lies beyond must stay zero, as it is after a restart.
        let end = self.head + self.len;
        self.buffer[end..].fill(0.0);
    }

    fn drop_oldest(&mut self, count: usize) {
        self.len -= count;
        let end = self.head + self.len;
        self.buffer[end..].fill(0.0);
    }

    fn shift(&mut self, by: f64) {
        for value in &mut self.buffer[self.head..self.head + self.len] {
            *value = (f64::from(*value) - by) as f32;
        }
    }
}

impl Default for Recent {
    fn default() -> Self {
        Recent::from(Vec::new())
    }
}

impl From<Vec<f32>> for Recent {
    fn from(kept: Vec<f32>) -> Self {
        let mut buffer = vec![0.0; Self::ROOM + KEPT + STRETCH];
        let len = kept.len().min(KEPT);
        buffer[Self::ROOM..Self::ROOM + len].copy_from_slice(&kept[..len]);
        Recent { buffer, head: Self::ROOM, len }
    }
}

impl From<Recent> for Vec<f32> {
    fn from(recent: Recent) -> Self {
        recent.kept().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::samples::{STEP_MS, at, daily, noise};

    /// The same, worked out from nothing: `values` are all since the last gap.
    fn from_nothing(values: &[f64]) -> f64 {
        let newest = &values[values.len() - STRETCH..];
        let end = values.len() - STRETCH - LAG_MIN;
        let start = (values.len() - STRETCH).saturating_sub(PAST);
        let mut distances: Vec<f64> = (start..=end)
            .map(|k| {
                values[k..k + STRETCH].iter().zip(newest).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
            })
            .collect();
        distances.sort_by(f64::total_cmp);
        distances[..NEAREST].iter().sum::<f64>() / NEAREST as f64
    }

    #[track_caller]
    fn check_sums(value: impl Fn(usize) -> f64, tolerance: f64) {
        let values: Vec<f64> = (0..3000).map(value).collect();
        let mut novelty = Novelty::default();
        for i in 0..values.len() {
            if let Some(distance) = novelty.push(at(i), values[i]) {
                let expected = from_nothing(&values[..=i]);
                assert!((distance - expected).abs() < tolerance, "{i}: {distance}, from nothing {expected}");
            }
        }
    }

    #[test]
    fn sums_that_slide_are_as_good_as_sums_made_anew() {
        check_sums(|i| daily(i) + noise(i), 1e-3);
    }

    #[test]
    fn a_spike_of_ten_million_leaves_nothing_behind_in_the_sums() {
        let mut novelty = Novelty::default();
        let mut plain = Novelty::default();
        for i in 0..3000 {
            let distance = novelty.push(at(i), if i == 1000 { 1e7 } else { daily(i) + noise(i) });
            let without = plain.push(at(i), daily(i) + noise(i));
            if i > 1000 + 2 * STRETCH {
                let (distance, without) = (distance.expect("long enough"), without.expect("long enough"));
                assert!((distance - without).abs() < 1.0, "{i}: {distance}, without {without}");
            }
        }
    }

    #[test]
    fn a_level_of_a_trillion_hides_nothing() {
        check_sums(|i| 1e12 + daily(i) + noise(i), 0.05);
        // The first sample does not show the level.
        let mut novelty = Novelty::default();
        let mut distance = None;
        for i in 0..4000 {
            distance = novelty.push(at(i), if i == 0 { 0.0 } else { 1e12 + daily(i) + noise(i) });
        }
        assert!(distance.is_some_and(|distance| (2.0..15.0).contains(&distance)), "{distance:?}");
    }

    #[test]
    fn a_shape_never_seen_is_further_away() {
        let mut novelty = Novelty::default();
        let mut highest: f64 = 0.0;
        for i in 0..2000 {
            if let Some(distance) = novelty.push(at(i), daily(i) + noise(i)).filter(|_| i > 700) {
                highest = highest.max(distance);
            }
        }
        // The same level on average, but up and down each time.
        let jagged = |i: usize| daily(i) + if i.is_multiple_of(2) { 8.0 } else { -8.0 };
        let distance = (2000..2064).map(|i| novelty.push(at(i), jagged(i))).last().flatten();
        assert!(distance > Some(2.0 * highest), "{distance:?}, usually at most {highest}");
    }

    #[test]
    fn no_stretch_goes_across_a_gap() {
        let mut novelty = Novelty::default();
        let mut jumped = |i: usize, steps: usize| {
            novelty.push(at(i + steps), if i < 500 { 0.0 } else { 1000.0 } + noise(i))
        };
        assert!((0..500).map(|i| jumped(i, 0)).last().flatten().is_some());
        for i in 500..500 + STRETCH - 1 {
            assert_eq!(jumped(i, 100), None, "{i}");
        }
        // The level is new, but no stretch has both levels: all is 64 samples at a distance of 1000.
        let distance = jumped(500 + STRETCH - 1, 100).expect("a whole stretch since the gap");
        assert!((distance - 8000.0).abs() < 100.0, "{distance}");
    }

    #[test]
    fn stretches_too_short_between_gaps_are_forgotten() {
        let mut novelty = Novelty::default();
        let mut i = 0;
        for round in 0..200 {
            for k in 0..30 {
                assert_eq!(novelty.push(at(i + 100 * round), noise(i)), None, "{k}");
                i += 1;
            }
        }
        assert!(novelty.values.len <= STRETCH && novelty.segments.len() == 1);
    }

    #[test]
    fn segments_and_samples_stay_bounded_and_together() {
        let mut novelty = Novelty::default();
        for i in 0..20_000 {
            let gaps = i / (STRETCH + 7);
            let distance = novelty.push(at(i + 50 * gaps), daily(i) + noise(i));
            assert!(distance.is_none_or(f64::is_finite));
            let total: usize = novelty.segments.iter().map(|length| usize::from(*length)).sum();
            assert_eq!(total, novelty.values.len);
            assert!(total <= KEPT && novelty.segments.len() <= KEPT / STRETCH + 2);
        }
    }

    #[test]
    fn a_hole_shorter_than_a_quarter_of_a_stretch_breaks_nothing() {
        let mut novelty = Novelty::default();
        (0..500).for_each(|i| _ = novelty.push(at(i), noise(i)));
        assert!(novelty.push(at(500 + 14), 0.0).is_some());
        assert_eq!(novelty.push(at(500 + 14 + 20), 0.0), None);
    }

    #[test]
    fn what_is_restored_at_any_sample_goes_on_to_the_bit() {
        let mut novelty = Novelty::default();
        let value = |i: usize| 1e6 * daily(i) + noise(i) + if i.is_multiple_of(701) { 1e12 } else { 0.0 };
        let time = |i: usize| at(i + if i > 1500 { 77 } else { 0 });
        for i in 0..1800 {
            if i % 17 == 0 {
                let bytes = postcard::to_allocvec(&novelty).expect("plain data");
                novelty = postcard::from_bytes(&bytes).expect("what was just written");
            }
            novelty.push(time(i), value(i));
        }
        let mut whole = Novelty::default();
        (0..1800).for_each(|i| _ = whole.push(time(i), value(i)));
        for i in 1800..2100 {
            assert_eq!(novelty.push(time(i), value(i)), whole.push(time(i), value(i)), "{i}");
        }
        assert_eq!(STEP_MS, at(1).ms_since(at(0)));
    }
}
