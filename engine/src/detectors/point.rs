//! The point channel: spikes and dips at the resolution the samples come in, by rarity and size of effect.
//!
//! Three methods say what they expect (the last eight samples, Holt-Winters, the slot of the season); a departure counts
//! by the geometric mean of what it is to each of them, so that one that is misled is outvoted. It is reported if it is
//! far (seven deviations) and rare (in the tail of the series' own history) and has the least effect asked for. While it
//! is reported nothing is learnt from it. After an hour it is accepted as the new norm. (facts/anomaly.md 3.1, 5.2 D3)
//!
//! A series goes through two stages. For fifteen hours it is *cold*: see [`cold`](super::cold); the most it reports is a
//! note, and from a hundred scores on what is reported must also be among the rarest hundredth. Then it is *warm*: the
//! tail of the scores is extrapolated, by two decades at most. Counts come in bursts (an answer to `getaddr` is a
//! thousand addresses at once), so of counts one sample is never reported, only two in a row.

use serde::{Deserialize, Serialize};

use super::autoregressive::Prediction;
use super::calibration::Calibration;
use super::cold::{Level, Recent};
use super::holt_winters::Smoothing;
use super::rarity::{NOTE, limit, matters, score, scores_warm, shift, tier};
use super::scale::{REPORTED_FROM, floor};
use super::slots::{SLOTS_MAX, Slots};
use super::{Assessment, Method, Settings, Tier};
use crate::time::Timestamp;

/// Scores that a tail is taken from (facts/anomaly.md 3.1).
const MEMORY: f32 = 20_000.0;
/// Deviations of two samples in a row that weigh as much as seven of one: their mean is 5 * sqrt(2) deviations off.
const PAIR_FROM: f64 = 5.0;
/// Keeps one method that sees nothing from silencing the others altogether (facts: D3).
const SOFTENED_BY: f64 = 0.1;
/// A departure goes on while it is at least half of what is reported, so that noise does not cut it up.
const GOES_ON: f64 = 0.5;
/// A departure is the norm after this time: twice the longest spike or dip that this channel is for. What lasts longer
/// is a change of level, the pattern channel's. At least so many samples, for rare ones.
const ACCEPTED_AFTER_MS: i64 = 3_600_000;
const ACCEPTED_AFTER_SAMPLES: u32 = 30;
/// Samples after which a norm that was accepted is known well enough to judge by.
const UNJUDGED: u8 = 30;
/// A young series accepts as its norm what lasted as long as what it knew before, and at least so many samples.
const COLD_ACCEPTED_AFTER: usize = 12;
/// A departure of a young series that lasts no longer than this was a burst, and bursts are in its nature: the next is
/// measured by it.
const BURST: u32 = 6;
/// Rarity that is asked of a cold series once it can be told.
const COLD_RARITY: f64 = 2.0;
/// Samples after a gap that are neither judged nor learnt: a node that stops or starts leaves steps half filled.
const UNSETTLED: u8 = 2;

/// State of the point channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Point {
    settings: Settings,
    /// See [`shift`]; twice as much is asked for as there are two looks at each sample.
    shift: f64,
    prediction: Prediction,
    smoothing: Smoothing,
    slots: Slots,
    singles: Calibration,
    pairs: Calibration,
    /// Scores learnt, and those that make the series warm.
    scores: u32,
    scores_warm: u32,
    recent: Recent,
    last_at: Option<Timestamp>,
    is_broken: bool,
    unsettled: u8,
    unjudged: u8,
    /// Departure of the sample before, signed.
    before: f64,
    /// Sample of a young series that is reported if the next is like it, and learnt if not.
    pending: Option<(Timestamp, f64)>,
    departure: Option<Departure>,
}

/// What is being reported.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Departure {
    is_rise: bool,
    samples: u32,
    /// The rarest of it so far.
    rarity: f64,
    /// The value farthest from what was expected so far.
    farthest: f64,
}

/// What is expected of a sample, and how it departs from that.
#[derive(Debug, Clone, Copy)]
struct View {
    expected: f64,
    scale: f64,
    /// Deviations, signed.
    z: f64,
}

impl Point {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        Point {
            settings: *settings,
            shift: shift(settings) + std::f64::consts::LOG10_2,
            prediction: Prediction::new(settings),
            smoothing: Smoothing::new(settings),
            slots: Slots::new(settings, SLOTS_MAX),
            singles: Calibration::new(MEMORY),
            pairs: Calibration::new(MEMORY),
            scores: 0,
            scores_warm: scores_warm(settings),
            recent: Recent::default(),
            last_at: None,
            is_broken: false,
            unsettled: 0,
            unjudged: 0,
            before: 0.0,
            pending: None,
            departure: None,
        }
    }

    /// Sees what is missing since the last sample.
    fn arrive(&mut self, at: Timestamp) {
        let step_ms = self.settings.step_ms.max(1);
        let missing = self.last_at.map_or(0, |last| (at.ms_since(last) + step_ms / 2) / step_ms - 1);
        self.last_at = Some(at);
        if missing < 1 && !self.is_broken {
            return;
        }
        self.is_broken = false;
        self.prediction.restart();
        (self.before, self.pending, self.departure) = (0.0, None, None);
        if missing.saturating_mul(step_ms) >= ACCEPTED_AFTER_MS {
            self.smoothing.restart();
        }
        if missing >= 2 {
            self.unsettled = UNSETTLED;
        }
    }

    /// What the methods expect together; nothing if fewer than two of them know.
    fn view(&self, at: Timestamp, value: f64) -> Option<View> {
        let mut known = [(0.0, 0.0); 3];
        let mut count = 0;
        let of_slot =
            self.slots.expected(at).map(|(mean, scale)| (mean, scale.max(floor(&self.settings, mean))));
        for one in [self.prediction.expected(), self.smoothing.expected(at), of_slot].into_iter().flatten() {
            known[count] = one;
            count += 1;
        }
        let known = known.get_mut(..count).filter(|known| known.len() >= 2)?;
        known.sort_by(|one, other| one.0.total_cmp(&other.0));
        let expected = if count == 3 { known[1].0 } else { (known[0].0 + known[1].0) / 2.0 };
        let sign = if value < expected { -1.0 } else { 1.0 };
        let (mut logs, mut scales) = (0.0, 0.0);
        for (mean, scale) in known.iter() {
            // A method that sees the opposite sees nothing of this departure.
            logs += ((sign * (value - mean) / scale).max(0.0) + SOFTENED_BY).ln();
            scales += scale.ln();
        }
        let z = ((logs / count as f64).exp() - SOFTENED_BY).max(0.0);
        Some(View { expected, scale: (scales / count as f64).exp(), z: sign * z })
    }

    /// Two samples in a row are as far as the lesser of them, if they are so in the same direction.
    fn pair(&self, z: f64) -> f64 {
        if self.before * z > 0.0 { self.before.abs().min(z.abs()) } else { 0.0 }
    }

    /// Learns a sample that is no departure.
    fn learn(&mut self, at: Timestamp, value: f64) {
        self.prediction.learn(value);
        self.smoothing.learn(at, value);
        self.slots.learn(at, value);
        if self.scores < self.scores_warm {
            self.recent.learn(value);
        }
    }

    /// Learns how far off a sample was.
    fn learn_score(&mut self, view: Option<View>) {
        let Some(View { z, .. }) = view else { return };
        self.singles.learn(z.abs());
        self.pairs.learn(self.pair(z));
        self.before = z;
        self.scores = self.scores.saturating_add(1);
        if self.scores == self.scores_warm {
            self.recent.clear();
        }
    }

    /// Where the series went is its norm from now on.
    fn accept(&mut self) {
        self.prediction.restart_elsewhere();
        self.smoothing.restart_elsewhere();
        self.slots.forget();
        self.recent.clear();
        (self.before, self.pending, self.departure) = (0.0, None, None);
        self.unjudged = UNJUDGED;
    }

    fn accepted_after(&self) -> u32 {
        let samples = (ACCEPTED_AFTER_MS / self.settings.step_ms.max(1)) as u32;
        samples.max(ACCEPTED_AFTER_SAMPLES)
    }

    /// Whether a departure of a young series goes on; ends it if not.
    fn goes_on_cold(&mut self, level: Level, value: f64) -> bool {
        let Some(mut departure) = self.departure.take() else { return false };
        departure.samples += 1;
        let goes_on =
            departure.is_rise == (value > level.median) && level.is_still_far(&self.settings, value);
        if goes_on && departure.samples < self.recent.len().max(COLD_ACCEPTED_AFTER) as u32 {
            if (value - level.median).abs() > (departure.farthest - level.median).abs() {
                departure.farthest = value;
            }
            self.departure = Some(departure);
            return true;
        }
        if goes_on {
            self.accept();
            self.unjudged = 0;
        } else if departure.samples <= BURST {
            self.recent.widen(departure.farthest);
        }
        false
    }

    fn push_cold(&mut self, at: Timestamp, value: f64, view: Option<View>) -> Assessment {
        let Some(level) = self.recent.level(&self.settings) else {
            self.learn_score(view);
            self.learn(at, value);
            return Assessment::unknown(value);
        };
        let usual = level.assess(value);
        let noted = Assessment { tier: Tier::Note, score: score(NOTE), ..usual };
        let is_rise = value > level.median;
        if self.goes_on_cold(level, value) {
            return noted;
        }
        let rarity = view.and_then(|view| self.singles.rarity(view.z.abs()));
        let is_far = level.is_far(&self.settings, value) && rarity.is_none_or(|rarity| rarity >= COLD_RARITY);
        match self.pending.take() {
            Some((_, before)) if is_far && (before > level.median) == is_rise => {
                self.departure = Some(Departure { is_rise, samples: 2, rarity: NOTE, farthest: value });
                return noted;
            }
            Some((before_at, before)) => self.learn(before_at, before),
            None => {}
        }
        self.learn_score(view);
        if is_far {
            self.pending = Some((at, value));
        } else {
            self.learn(at, value);
        }
        usual
    }

    /// Rarity of a score among those learnt; 0 if it is too small to matter anyway.
    fn rarity(&self, among: &Calibration, z: f64) -> f64 {
        if z < GOES_ON * REPORTED_FROM {
            return 0.0;
        }
        among.rarity(z).unwrap_or(0.0).min(limit(self.scores)) - self.shift
    }

    fn push_warm(&mut self, at: Timestamp, value: f64, view: View) -> Assessment {
        let far = view.z.abs();
        let departs = matters(&self.settings, value - view.expected);
        let pair = self.pair(view.z);
        let of_single = if self.settings.counts { 0.0 } else { self.rarity(&self.singles, far) };
        let of_pair = self.rarity(&self.pairs, pair);
        let mut rarity = of_single.max(of_pair).max(0.0);
        let is_reported = departs
            && ((far >= REPORTED_FROM && of_single >= NOTE) || (pair >= PAIR_FROM && of_pair >= NOTE));
        let is_rise = view.z > 0.0;
        let goes_on = departs && far >= GOES_ON * REPORTED_FROM;
        match &mut self.departure {
            Some(departure) if goes_on && departure.is_rise == is_rise => {
                departure.samples += 1;
                departure.rarity = departure.rarity.max(if is_reported { rarity } else { 0.0 });
                rarity = departure.rarity;
                self.before = 0.0;
                if departure.samples >= self.accepted_after() {
                    self.accept();
                }
            }
            _ => {
                self.departure = is_reported.then_some(Departure { is_rise, samples: 1, rarity, farthest: value });
                self.learn_score(Some(view));
                if !is_reported {
                    rarity = rarity.min(NOTE - 0.01);
                    self.learn(at, value);
                }
            }
        }
        let band = REPORTED_FROM * view.scale;
        Assessment {
            value,
            score: score(rarity),
            expected: view.expected,
            lower: view.expected - band,
            upper: view.expected + band,
            warm: true,
            tier: tier(rarity),
        }
    }
}

impl Method for Point {
    fn push(&mut self, at: Timestamp, value: f64) -> Assessment {
        self.arrive(at);
        if self.unsettled > 0 {
            self.unsettled -= 1;
            return Assessment::unknown(value);
        }
        let view = self.view(at, value);
        if self.scores < self.scores_warm {
            return self.push_cold(at, value, view);
        }
        match view {
            Some(view) if self.unjudged == 0 => self.push_warm(at, value, view),
            _ => {
                self.unjudged = self.unjudged.saturating_sub(1);
                self.learn(at, value);
                Assessment::unknown(value)
            }
        }
    }

    fn skip(&mut self) {
        self.is_broken = true;
    }
}
