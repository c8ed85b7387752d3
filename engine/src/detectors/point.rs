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
use super::gate::{NOTE, score, tier};
use super::holt_winters::Smoothing;
use super::rarity::{matters, of_score, scores_warm, shift};
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

/// State of the point channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Point {
    settings: Settings,
    /// See [`shift`]; a departure must be twice as rare, as there are two looks at each sample.
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
        let shift = shift(settings) + std::f64::consts::LOG10_2;
        Point {
            settings: *settings,
            shift,
            prediction: Prediction::new(settings),
            smoothing: Smoothing::new(settings),
            slots: Slots::new(settings, SLOTS_MAX),
            singles: Calibration::new(MEMORY),
            pairs: Calibration::new(MEMORY),
            scores: 0,
            scores_warm: scores_warm(shift + NOTE),
            recent: Recent::default(),
            last_at: None,
            is_broken: false,
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
        (self.before, self.pending) = (0.0, None);
        if missing.saturating_mul(step_ms) >= ACCEPTED_AFTER_MS {
            self.smoothing.restart();
            self.departure = None;
        }
        // A departure goes on across a short break, or one that misses a step now and then would never be accepted. While
        // it lasts nothing is learnt: the samples that are predicted from are those before it, break or not.
        if self.departure.is_none() {
            self.prediction.restart();
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

    /// Learns how far off a sample was. What is reported is learnt as if it were just reported: a departure that comes
    /// each day is still one, however often it was seen.
    fn learn_score(&mut self, view: Option<View>) {
        let Some(View { z, .. }) = view else { return };
        let note = self.shift + NOTE;
        let winsorised = |among: &Calibration, score: f64| match (self.departure, among.score_at(note)) {
            (Some(_), Some(limit)) => score.min(limit),
            _ => score,
        };
        let (single, pair) = (winsorised(&self.singles, z.abs()), winsorised(&self.pairs, self.pair(z)));
        self.singles.learn(single);
        self.pairs.learn(pair);
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

    /// Samples of the departure under way; 0 if there is none.
    pub fn departing(&self) -> u32 {
        self.departure.map_or(0, |departure| departure.samples)
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
        of_score(among, self.scores, z) - self.shift
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
                // Of two that are as far, the first is part of it.
                let samples = if pair >= PAIR_FROM { 2 } else { 1 };
                self.departure =
                    is_reported.then_some(Departure { is_rise, samples, rarity, farthest: value });
                self.learn_score(Some(view));
                if !is_reported {
                    rarity = rarity.min(NOTE - 0.01);
                    self.learn(at, value);
                }
            }
        }
        let band = self.reported_from() * view.scale;
        let lowest = if self.settings.counts { 0.0 } else { f64::NEG_INFINITY };
        Assessment {
            value,
            score: score(rarity),
            expected: view.expected,
            lower: (view.expected - band).max(lowest),
            upper: view.expected + band,
            warm: true,
            tier: tier(rarity),
        }
    }

    /// Deviations that are a note in this series.
    fn reported_from(&self) -> f64 {
        let (tail, least) =
            if self.settings.counts { (&self.pairs, PAIR_FROM) } else { (&self.singles, REPORTED_FROM) };
        tail.score_at(self.shift + NOTE).map_or(least, |score| score.max(least))
    }
}

impl Method for Point {
    fn push(&mut self, at: Timestamp, value: f64) -> Assessment {
        self.arrive(at);
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

#[cfg(test)]
mod tests {
    use super::super::noise::{Noise, check_goes_on};
    use super::super::{Direction, Kind};
    use super::*;

    const STEP_S: i64 = 10;
    const TEN_SECONDS: fn() -> Settings = || Settings { step_ms: STEP_S * 1000, ..Settings::default() };

    /// Pushes samples one after the other and gives back what is said of each.
    fn push_all(point: &mut Point, from: i64, values: &[f64]) -> Vec<Assessment> {
        let at = |number: usize| Timestamp::from_unix_s((from + number as i64) * STEP_S);
        values.iter().enumerate().map(|(number, value)| point.push(at(number), *value)).collect()
    }

    fn tiers(assessments: &[Assessment]) -> Vec<bool> {
        assessments.iter().map(|assessment| assessment.tier > Tier::Usual).collect()
    }

    /// What is reported of the last samples, after others.
    #[track_caller]
    fn check_cold(settings: &Settings, before: &[f64], then: &[f64], reported: &[bool]) {
        let mut point = Point::new(settings);
        let told = push_all(&mut point, 0, before);
        assert!(tiers(&told).iter().all(|reported| !reported), "before: {told:?}");
        let told = push_all(&mut point, before.len() as i64, then);
        assert_eq!(tiers(&told), reported, "{told:?}");
        let is_capped = told.iter().all(|one| one.tier <= Tier::Note && !one.warm);
        assert!(is_capped, "a cold series knows notes only");
    }

    /// A point channel after a day of noise about a level, and the number of the next sample.
    fn warm(settings: &Settings, level: f64, deviation: f64) -> (Point, i64) {
        let mut noise = Noise::new(7);
        let values: Vec<f64> = (0..8_640).map(|_| level + deviation * noise.normal()).collect();
        let mut point = Point::new(settings);
        let told = push_all(&mut point, 0, &values);
        assert!(tiers(&told).iter().all(|reported| !reported), "noise is not reported");
        (point, 8_640)
    }

    #[test]
    fn scores_know_nothing_of_the_future_and_survive_a_restart() {
        check_goes_on(Kind::Point, &TEN_SECONDS());
        check_goes_on(Kind::Point, &Settings { counts: true, ..TEN_SECONDS() });
    }

    #[test]
    fn young_series_reports_a_fall_to_a_seventh_in_its_second_sample() {
        let settings = Settings { effect_min: 5.0, ..TEN_SECONDS() };
        let before = [71.0, 71.0, 72.0, 72.0, 70.0, 71.0, 71.0, 70.0, 71.0, 71.0, 70.0];
        check_cold(&settings, &before, &[38.0, 11.0, 11.0, 12.0, 70.0], &[false, false, true, true, false]);
    }

    #[test]
    fn young_series_of_counts_reports_a_flood_and_no_burst() {
        let settings = Settings { counts: true, effect_min: 5.0, ..TEN_SECONDS() };
        let before = [0.0, 3.0, 0.0, 0.0, 11.0, 0.0, 2.0, 0.0, 0.0, 5.0, 0.0, 1.0];
        check_cold(&settings, &before, &[4008.0, 0.0, 3.0], &[false, false, false]);
        check_cold(&settings, &before, &[40.0, 52.0, 0.0], &[false, false, false]);
        check_cold(&settings, &before, &[4008.0, 20005.0, 20002.0, 3.0], &[false, true, true, false]);
    }

    #[test]
    fn burst_that_was_reported_is_what_the_next_is_measured_by() {
        let settings = Settings { counts: true, effect_min: 5.0, ..TEN_SECONDS() };
        let mut point = Point::new(&settings);
        let mut values = vec![0.0; 20];
        values.extend([300.0, 300.0]);
        values.extend([0.0; 20]);
        values.extend([300.0, 300.0, 0.0]);
        let reported = tiers(&push_all(&mut point, 0, &values));
        assert!(reported[21]);
        assert_eq!(reported.iter().filter(|reported| **reported).count(), 1);
    }

    #[test]
    fn young_series_accepts_what_lasted_longer_than_what_it_knew() {
        let mut values = vec![10.0; 12];
        values.extend([100.0; 40]);
        let reported = tiers(&push_all(&mut Point::new(&TEN_SECONDS()), 0, &values));
        assert!(reported[13] && reported[20]);
        assert!(!reported[30..].iter().any(|reported| *reported));
    }

    #[test]
    fn warm_series_reports_a_spike_and_a_dip_and_nothing_less() {
        let (point, next) = warm(&TEN_SECONDS(), 100.0, 3.0);
        for (value, is_reported) in [(160.0, true), (40.0, true), (112.0, false), (88.0, false)] {
            let told = point.clone().push(Timestamp::from_unix_s(next * STEP_S), value);
            assert_eq!(told.tier > Tier::Usual, is_reported, "{told:?}");
            assert!(told.warm && (told.value < told.lower || told.value > told.upper) == is_reported);
        }
    }

    #[test]
    fn two_samples_are_reported_that_one_would_not_be() {
        let (mut point, next) = warm(&TEN_SECONDS(), 100.0, 3.0);
        let reported = tiers(&push_all(&mut point, next, &[120.5, 120.5]));
        assert_eq!(reported, [false, true]);
    }

    #[test]
    fn one_sample_of_counts_is_never_reported() {
        let (mut point, next) = warm(&Settings { counts: true, ..TEN_SECONDS() }, 100.0, 3.0);
        let reported = tiers(&push_all(&mut point, next, &[5_000.0, 100.0, 5_000.0, 5_000.0]));
        assert_eq!(reported, [false, false, false, true]);
    }

    #[test]
    fn effect_and_direction_are_respected() {
        for (value, direction, effect_min, is_reported) in [
            (160.0, Direction::Both, 50.0, true),
            (160.0, Direction::Both, 70.0, false),
            (160.0, Direction::Down, 0.0, false),
            (40.0, Direction::Down, 0.0, true),
            (40.0, Direction::Up, 0.0, false),
        ] {
            let (mut point, next) = warm(&Settings { direction, effect_min, ..TEN_SECONDS() }, 100.0, 3.0);
            let told = point.push(Timestamp::from_unix_s(next * STEP_S), value);
            assert_eq!(told.tier > Tier::Usual, is_reported, "{value} {direction:?} {effect_min}");
        }
    }

    #[test]
    fn departure_is_no_norm_for_an_hour_and_is_then() {
        let (mut point, next) = warm(&TEN_SECONDS(), 100.0, 3.0);
        let mut noise = Noise::new(3);
        let values: Vec<f64> = (0..1_000).map(|_| 200.0 + 3.0 * noise.normal()).collect();
        let told = push_all(&mut point, next, &values);
        let reported = tiers(&told);
        assert!(reported[..360].iter().all(|reported| *reported));
        assert!((told[359].expected - 100.0).abs() < 6.0, "nothing was learnt: {:?}", told[359]);
        assert!(!reported[360..].iter().any(|reported| *reported));
        assert!((told[999].expected - 200.0).abs() < 6.0, "it is the norm: {:?}", told[999]);
    }

    /// A lasting change with some steps missing: how many samples of it were reported, and what the last is said to be.
    fn lasts(
        mut point: Point,
        next: i64,
        count: i64,
        is_missing: impl Fn(i64) -> bool,
    ) -> (usize, Assessment) {
        let mut noise = Noise::new(3);
        let mut told = Vec::new();
        for number in 0..count {
            let value = 200.0 + 3.0 * noise.normal();
            if is_missing(number) {
                point.skip();
            } else {
                told.push(point.push(Timestamp::from_unix_s((next + number) * STEP_S), value));
            }
        }
        (tiers(&told).iter().filter(|reported| **reported).count(), told[told.len() - 1])
    }

    #[test]
    fn departure_goes_on_across_a_short_break_and_is_the_norm_after_an_hour() {
        let breaks: [fn(i64) -> bool; 3] = [|i| i % 100 == 99, |i| i % 100 > 97, |i| (50..60).contains(&i)];
        for is_missing in breaks {
            let (point, next) = warm(&TEN_SECONDS(), 100.0, 3.0);
            let (reported, last) = lasts(point, next, 1_000, is_missing);
            assert!((350..=360).contains(&reported), "{reported}");
            assert!((last.expected - 200.0).abs() < 6.0 && last.tier == Tier::Usual, "{last:?}");
        }
        let mut young = Point::new(&TEN_SECONDS());
        push_all(&mut young, 0, &[100.0; 40]);
        let (reported, _) = lasts(young, 40, 200, |i| i % 10 == 9);
        assert!((20..=40).contains(&reported), "{reported}");
    }

    #[test]
    fn departure_ends_with_a_gap() {
        let (point, next) = warm(&TEN_SECONDS(), 100.0, 3.0);
        let (reported, _) = lasts(point, next, 1_000, |i| (100..500).contains(&i));
        assert!((100..150).contains(&reported), "a level of its own is begun after the gap: {reported}");
    }

    #[test]
    fn heavy_tails_are_not_reported() {
        let settings = Settings { step_ms: 60_000, ..Settings::default() };
        let mut reports = 0;
        for seed in 1..=4 {
            let (mut point, mut noise) = (Point::new(&settings), Noise::new(seed));
            for minute in 0..5 * 1_440 {
                let day = (minute as f64 / 1_440.0 * std::f64::consts::TAU).sin();
                let value = 100.0 + 20.0 * day + 5.0 * noise.student(3);
                let told = point.push(Timestamp::from_unix_s(minute * 60), value);
                reports += u32::from(told.tier > Tier::Usual);
            }
        }
        assert!(reports <= 2, "{reports} reports in 20 days: more than one in ten");
    }

    #[test]
    fn state_is_small() {
        let (point, _) = warm(&TEN_SECONDS(), 100.0, 3.0);
        let bytes = postcard::to_stdvec(&point).expect("can be written").len();
        assert!(bytes <= 7 * 1024, "{bytes} bytes");
    }
}
