//! What an anomaly window keeps of one key: the step under way, the detector, and what masks it.
//!
//! The samples of a step add up to one number, which the detector judges when the step is over. A step in which nobody
//! listened is missing and never zero; one in which the source was heard and the key had no sample is zero where the
//! number is a total. Everything is bounded: [`MEDIAN_MAX`] values and [`GROUPS_MAX`] groups of the step, the points of a
//! plot, and the detector's own state.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::Window;
use super::series::SERIES_MAX;
use crate::detectors::{Assessment, Detector, Direction, Kind, Settings, Tier};
use crate::time::Timestamp;

/// Values of a step whose median is exact; of more every second is kept, of twice as many every fourth, and so on.
pub const MEDIAN_MAX: usize = 256;
/// Groups of a step that are counted apart.
pub const GROUPS_MAX: usize = 1024;
/// An assessment is shown for so many steps, its own included.
const SHOWN_STEPS: i64 = 3;
/// Missing steps after which the next one that is not missing is only a part of one.
const GAP_STEPS: u32 = 2;
/// Missing steps after which a cell sleeps until its window takes another sample.
pub const AWAKE_STEPS: u32 = 60;
/// After a restart nothing is judged for so long: a node reconnects within some minutes.
const MASK_MS_MIN: i64 = 600_000;
/// After a restart a series that does not come back is judged again after this time (facts on restarts: at most 24 h).
const MASK_MS_MAX: i64 = 86_400_000;
/// So many steps in a row within the band show that a series has come back.
const BACK_STEPS: u32 = 3;

/// What one sample of a watched series is: the aggregate of the events of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Take {
    /// Number of samples.
    Count,
    /// Sum of the values.
    Sum,
    /// Smallest value.
    Min,
    /// Largest value.
    Max,
    /// Arithmetic mean.
    Mean,
    /// Median.
    Median,
    /// Newest value.
    Last,
    /// How much a counter grew in a step; a counter that falls has been reset and counts from zero.
    Increase,
    /// How much a counter grew in a second.
    Rate,
    /// Rows of the newest poll.
    PollCount,
    /// Sum over the rows of the newest poll.
    PollSum,
    /// Largest of the rows of the newest poll.
    PollMax,
    /// Share of the samples that have the same netgroup as most others, 0 to 1.
    TopShare,
}

impl Take {
    /// The words rules use, in the order of the documentation.
    pub const NAMES: [(&str, Take); 13] = [
        ("last", Take::Last),
        ("count", Take::Count),
        ("sum", Take::Sum),
        ("min", Take::Min),
        ("max", Take::Max),
        ("mean", Take::Mean),
        ("median", Take::Median),
        ("increase", Take::Increase),
        ("rate", Take::Rate),
        ("poll_count", Take::PollCount),
        ("poll_sum", Take::PollSum),
        ("poll_max", Take::PollMax),
        ("top_share", Take::TopShare),
    ];

    /// The word rules use.
    pub fn name(self) -> &'static str {
        Take::NAMES.iter().find(|(_, take)| *take == self).map_or("", |(name, _)| name)
    }

    /// True if the value of the field is taken, not only that it is there or which it is.
    pub fn needs_number(self) -> bool {
        !matches!(self, Take::Count | Take::PollCount | Take::TopShare)
    }

    /// True if it is of the rows of one poll.
    pub fn is_of_poll(self) -> bool {
        matches!(self, Take::PollCount | Take::PollSum | Take::PollMax)
    }

    /// True if it is of the growth of a counter.
    pub fn is_growth(self) -> bool {
        matches!(self, Take::Increase | Take::Rate)
    }

    /// True if it is a whole number where the values are.
    pub fn keeps_integers(self) -> bool {
        !matches!(self, Take::Mean | Take::Median | Take::Increase | Take::Rate | Take::TopShare)
    }

    /// What shows of a step without samples that there were none, for events of this extractor.
    pub fn heard_by(self, extractor: u32) -> HeardBy {
        let is_total = matches!(self, Take::Count | Take::Sum);
        match () {
            _ if self.is_of_poll() => HeardBy::Polls,
            _ if (is_total || self.is_growth()) && STREAMED.contains(&extractor) => {
                HeardBy::Extractor(extractor)
            }
            _ if is_total => HeardBy::Polls,
            _ => HeardBy::Samples,
        }
    }
}

/// Extractors that tell what happens as it happens, by their number in `Event`: eBPF, P2P and log. The others ask.
const STREAMED: [u32; 3] = [1, 3, 4];

/// What shows of a step without samples that there were none, and not that nobody listened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeardBy {
    /// Nothing: without samples the step is missing.
    Samples,
    /// An event of the same kind: the answer to a poll.
    Polls,
    /// An event of the same extractor, by its number in `Event`.
    Extractor(u32),
}

/// A series and how it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    /// What one sample of it is.
    pub take: Take,
    /// Time between samples in milliseconds; whole seconds.
    pub step_ms: i64,
    /// What judges it.
    pub detector: Kind,
    /// Length of the season in milliseconds.
    pub season_ms: i64,
    /// Which way a departure matters.
    pub direction: Direction,
    /// Smaller departures are not reported.
    pub effect_min: f64,
    /// What shows that a step is not missing.
    pub heard_by: HeardBy,
}

impl Watched {
    /// Step and season in milliseconds, shortest and longest.
    pub const STEP_MS: (i64, i64) = (1_000, 300_000);
    /// Shortest and longest season in milliseconds.
    pub const SEASON_MS: (i64, i64) = (3_600_000, 604_800_000);

    fn settings(&self, window: &Window) -> Settings {
        Settings {
            step_ms: self.step_ms,
            season_ms: self.season_ms,
            over_ms: window.over_ms,
            effect_min: self.effect_min,
            direction: self.direction,
            counts: self.take == Take::Count,
        }
    }
}

/// When each extractor of a node was heard.
///
/// An event is heard before its time has come, by the lateness that is allowed: of each extractor the newest three
/// seconds with an event are kept, so that a step can still be told from the one after it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Heard {
    /// Unix seconds by the extractor's number, oldest first.
    seconds: [[i64; 3]; Heard::EXTRACTORS],
}

impl Default for Heard {
    fn default() -> Self {
        Heard { seconds: [[i64::MIN; 3]; Heard::EXTRACTORS] }
    }
}

impl Heard {
    /// Numbers of extractors are below it.
    const EXTRACTORS: usize = 6;

    /// Notes an event of an extractor; `at` never goes back.
    pub fn note(&mut self, extractor: u32, at: Timestamp) {
        let Some(seconds) = self.seconds.get_mut(extractor as usize) else { return };
        let second = at.unix_ms().div_euclid(1000);
        if seconds[2] != second {
            *seconds = [seconds[1], seconds[2], second];
        }
    }

    /// True if the extractor was heard in a span of whole seconds, its end not included.
    pub fn within(&self, extractor: u32, from: Timestamp, until: Timestamp) -> bool {
        let span = from.unix_ms().div_euclid(1000)..until.unix_ms().div_euclid(1000);
        self.seconds.get(extractor as usize).is_some_and(|seconds| seconds.iter().any(|s| span.contains(s)))
    }
}

/// A step that is over.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// When it ended; it began a step before.
    pub ends_at: Timestamp,
    /// The source was heard in it.
    pub is_heard: bool,
    /// Number of the newest poll in it.
    pub poll: u64,
    /// The node loads the chain for the first time.
    pub is_syncing: bool,
}

/// What a rule is shown of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assessed {
    /// What was said of the newest step.
    pub assessment: Assessment,
    /// Seconds from the newest step of which something was to be reported to the newest one; none if there was none.
    pub reported_s: Option<i64>,
}

/// What is kept of one key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Watch {
    tally: Tally,
    counter: Option<Counter>,
    /// Made when the first step is judged: a key that only passes by costs little.
    detector: Option<Detector>,
    /// End of the step and what was said of it.
    newest: Option<(Timestamp, Assessment)>,
    /// End of the newest step that something was to be reported of.
    reported_at: Option<Timestamp>,
    /// Steps missing in a row.
    missing: u32,
    /// The step under way began before the key, or while nobody listened.
    is_partial: bool,
    /// Lower and upper end of what was usual when the detector was last warm.
    band: Option<(f64, f64)>,
    mask: Option<Mask>,
    /// The newest samples of the series.
    points: VecDeque<(Timestamp, f64)>,
}

/// A restart explains what is seen.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Mask {
    since: Timestamp,
    /// Steps in a row within the band.
    back: u32,
}

/// The readings of a counter.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Counter {
    at: Timestamp,
    value: f64,
    /// It grew so much since then.
    grown: f64,
    from: Timestamp,
}

/// What the samples of the step under way add up to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Tally {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    last: f64,
    poll: u64,
    /// Every `stride`th value, for the median.
    values: Vec<f64>,
    stride: u64,
    /// How often each group came, and how often a sample of a group without a place took one away from all of them.
    groups: BTreeMap<u64, u32>,
}

impl Default for Watch {
    fn default() -> Self {
        Watch {
            tally: Tally::default(),
            counter: None,
            detector: None,
            newest: None,
            reported_at: None,
            missing: 0,
            is_partial: true,
            band: None,
            mask: None,
            points: VecDeque::new(),
        }
    }
}

impl Watch {
    /// Takes a sample of the step under way; `group` stands for its netgroup, `poll` is the number of its poll.
    pub fn push(&mut self, take: Take, at: Timestamp, value: f64, group: u64, poll: u64) {
        if !value.is_finite() {
            return;
        }
        if take.is_growth() {
            self.read_counter(at, value);
        }
        if take.is_of_poll() && self.tally.poll != poll {
            self.tally = Tally { poll, ..Tally::default() };
        }
        self.tally.add(take, value, group);
    }

    fn read_counter(&mut self, at: Timestamp, value: f64) {
        match &mut self.counter {
            Some(counter) => {
                // A counter that fell was reset, and has grown from zero since.
                counter.grown += if value >= counter.value { value - counter.value } else { value };
                (counter.at, counter.value) = (at, value);
            }
            None => self.counter = Some(Counter { at, value, grown: 0.0, from: at }),
        }
    }

    /// Ends a step: judges it, or skips it if it is missing, only a part, or explained. True if what is shown changed.
    pub fn close(&mut self, window: &Window, watched: &Watched, step: &Step) -> bool {
        let value = self.value(watched, step);
        self.tally = Tally::default();
        let was_shown = self.newest.is_some();
        let is_old = |ends_at: Timestamp| step.ends_at.ms_since(ends_at) >= SHOWN_STEPS * watched.step_ms;
        self.newest.take_if(|(ends_at, _)| is_old(*ends_at));
        let Some(value) = value else {
            self.missing = self.missing.saturating_add(1);
            self.is_partial |= self.missing >= GAP_STEPS;
            // A long gap is told once.
            if self.missing <= AWAKE_STEPS {
                self.skip();
            }
            return was_shown && self.newest.is_none();
        };
        self.missing = 0;
        let is_partial = std::mem::replace(&mut self.is_partial, false);
        if self.is_masked(value, watched, step) {
            self.newest = None;
            self.skip();
            return was_shown;
        }
        if is_partial {
            self.skip();
            return was_shown && self.newest.is_none();
        }
        self.judge(window, watched, step.ends_at, value);
        true
    }

    fn judge(&mut self, window: &Window, watched: &Watched, ends_at: Timestamp, value: f64) {
        let new = || Detector::new(watched.detector, &watched.settings(window));
        let detector = self.detector.get_or_insert_with(new);
        let assessment = detector.push(ends_at.plus_ms(-watched.step_ms), value);
        if assessment.warm {
            self.band = Some((assessment.lower, assessment.upper));
        }
        self.newest = Some((ends_at, assessment));
        if assessment.tier > Tier::Usual {
            self.reported_at = Some(ends_at);
        }
        if self.points.len() >= SERIES_MAX {
            self.points.pop_front();
        }
        self.points.push_back((ends_at, value));
    }

    fn skip(&mut self) {
        if let Some(detector) = &mut self.detector {
            detector.skip();
        }
    }

    /// The sample of the step; none if it is missing.
    fn value(&mut self, watched: &Watched, step: &Step) -> Option<f64> {
        if watched.take.is_growth() {
            return self.growth(watched, step);
        }
        let tally = &mut self.tally;
        if watched.take.is_of_poll() && tally.poll != step.poll {
            // The newest poll had no row for the key.
            *tally = Tally::default();
        }
        if tally.count > 0 {
            return tally.value(watched.take);
        }
        let is_total = watched.heard_by != HeardBy::Samples;
        (is_total && step.is_heard).then_some(0.0)
    }

    /// What the counter grew by, for as long as a step or a second: polls come a little early or late.
    fn growth(&mut self, watched: &Watched, step: &Step) -> Option<f64> {
        let counter = self.counter.as_mut()?;
        if self.tally.count == 0 && step.is_heard && watched.heard_by != HeardBy::Samples {
            // It would have been told.
            counter.at = step.ends_at;
        }
        let passed_ms = counter.at.ms_since(counter.from);
        // Readings that are close together say little, and would be scaled up.
        if 2 * passed_ms < watched.step_ms {
            return None;
        }
        let unit_ms = if watched.take == Take::Rate { 1000 } else { watched.step_ms };
        let grown = counter.grown * unit_ms as f64 / passed_ms as f64;
        (counter.grown, counter.from) = (0.0, counter.at);
        Some(grown)
    }

    /// Masks what comes: the node has restarted. True if something was shown.
    pub fn mask(&mut self, at: Timestamp) -> bool {
        self.mask = Some(Mask { since: at, back: 0 });
        self.newest.take().is_some()
    }

    fn is_masked(&mut self, value: f64, watched: &Watched, step: &Step) -> bool {
        if step.is_syncing {
            return true;
        }
        let Some(mask) = &mut self.mask else { return false };
        let is_back = self.band.is_none_or(|(lower, upper)| {
            // An unknown end is no bound, and so is one that does not matter.
            let is_low = value < lower && watched.direction != Direction::Up;
            let is_high = value > upper && watched.direction != Direction::Down;
            !is_low && !is_high
        });
        mask.back = if is_back { mask.back + 1 } else { 0 };
        let since_ms = step.ends_at.ms_since(mask.since);
        let is_over = since_ms >= MASK_MS_MIN && (self.band.is_none() || mask.back >= BACK_STEPS);
        if is_over || since_ms >= MASK_MS_MAX {
            self.mask = None;
        }
        true
    }

    /// What was said of the newest step, unless that is too long ago.
    pub fn assessment(&self) -> Option<Assessed> {
        let (ends_at, assessment) = self.newest?;
        let reported_s = self.reported_at.map(|reported_at| ends_at.ms_since(reported_at) / 1000);
        Some(Assessed { assessment, reported_s })
    }

    /// The newest samples of the series and when their steps ended.
    pub fn points(&self) -> impl Iterator<Item = (Timestamp, f64)> + '_ {
        self.points.iter().copied()
    }

    /// True if steps must go on to be closed.
    pub fn is_awake(&self) -> bool {
        self.missing <= AWAKE_STEPS || self.tally.count > 0
    }

    /// False if nothing can have made this but damage.
    pub fn is_sound(&self) -> bool {
        self.tally.values.len() <= MEDIAN_MAX
            && self.tally.groups.len() <= GROUPS_MAX
            && self.points.len() <= SERIES_MAX
    }
}

impl Tally {
    fn add(&mut self, take: Take, value: f64, group: u64) {
        (self.min, self.max) = match self.count {
            0 => (value, value),
            _ => (self.min.min(value), self.max.max(value)),
        };
        match take {
            Take::Median => self.keep(value),
            Take::TopShare => self.count_group(group),
            _ => {}
        }
        self.count += 1;
        self.sum += value;
        self.last = value;
    }

    fn keep(&mut self, value: f64) {
        self.stride = self.stride.max(1);
        if !self.count.is_multiple_of(self.stride) {
            return;
        }
        if self.values.len() == MEDIAN_MAX {
            let mut number = 0;
            self.values.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.stride *= 2;
            if !self.count.is_multiple_of(self.stride) {
                return;
            }
        }
        self.values.push(value);
    }

    /// Counts a group among the most frequent ones: a count is too low by at most the samples over [`GROUPS_MAX`].
    /// Source: Misra, Gries (1982), "Finding repeated elements".
    fn count_group(&mut self, group: u64) {
        if let Some(count) = self.groups.get_mut(&group) {
            *count = count.saturating_add(1);
        } else if self.groups.len() < GROUPS_MAX {
            self.groups.insert(group, 1);
        } else {
            self.groups.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }

    /// The aggregate of at least one sample.
    fn value(&self, take: Take) -> Option<f64> {
        let count = self.count as f64;
        match take {
            Take::Count | Take::PollCount => Some(count),
            Take::Sum | Take::PollSum => Some(self.sum),
            Take::Min => Some(self.min),
            Take::Max | Take::PollMax => Some(self.max),
            Take::Mean => Some(self.sum / count),
            Take::Last => Some(self.last),
            Take::Median => median(&self.values),
            Take::TopShare => Some(f64::from(self.groups.values().max().copied().unwrap_or(0)) / count),
            Take::Increase | Take::Rate => None,
        }
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(lower + (upper - lower) / 2.0)
}
