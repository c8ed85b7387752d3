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
/// A state is taken to last for so long after it was read: twice the time between polls of slow extractors.
const HELD_MS: i64 = 60_000;
/// After a restart nothing is judged for so long: peers come back over one to three hours, most of them in the first.
const MASK_MS_MIN: i64 = 3_600_000;
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
    /// Median of how many seconds ago the values were, which are instants in unix seconds.
    MedianAge,
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
    pub const NAMES: [(&str, Take); 14] = [
        ("last", Take::Last),
        ("count", Take::Count),
        ("sum", Take::Sum),
        ("min", Take::Min),
        ("max", Take::Max),
        ("mean", Take::Mean),
        ("median", Take::Median),
        ("median_age", Take::MedianAge),
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

    /// True if half a step has half of it.
    pub fn adds_up(self) -> bool {
        matches!(self, Take::Count | Take::Sum | Take::Increase | Take::Rate)
    }

    /// True if it is a state that lasts until the next reading.
    pub fn lasts(self) -> bool {
        self == Take::Last || self.is_of_poll()
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
        !matches!(
            self,
            Take::Mean | Take::Median | Take::MedianAge | Take::Increase | Take::Rate | Take::TopShare
        )
    }

    /// What shows of a step without samples that there were none, for events of this extractor.
    pub fn heard_by(self, extractor: u32) -> HeardBy {
        let is_total = matches!(self, Take::Count | Take::Sum);
        match () {
            _ if self.is_of_poll() => HeardBy::Polls,
            _ if (is_total || self.is_growth())
                && STREAMED.iter().any(|(number, _)| *number == extractor) =>
            {
                HeardBy::Extractor(extractor)
            }
            _ if is_total => HeardBy::Polls,
            _ => HeardBy::Samples,
        }
    }
}

/// Extractors that tell what happens as it happens, by their number in `Event` and by name. The others ask.
const STREAMED: [(u32, &str); 3] = [(1, "ebpf"), (3, "p2p"), (4, "log")];
/// An extractor that says that it reads the node is heard for so long: it says so every ten seconds.
const STATUS_MS: i64 = 15_000;

/// What shows of a step without samples that there were none, and not that nobody listened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeardBy {
    /// Nothing: without samples the step is missing.
    Samples,
    /// An event of the same kind: the answer to a poll.
    Polls,
    /// An event of the same extractor, by its number in `Event`, or its word that it reads the node.
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

/// When each extractor of a node was heard, by its number in `Event`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Heard([Extractor; 6]);

/// When an extractor was heard.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Extractor {
    /// Unix seconds with an event, oldest first. An event is heard before its time has come, by the lateness that is
    /// allowed; three seconds are enough to tell a step from the one after it.
    seconds: [i64; 3],
    /// When it last said that it reads the node, if it said nothing else since.
    up_at: Option<Timestamp>,
    /// When it last said that it does not, or that events are missing.
    cut_at: Timestamp,
}

impl Default for Extractor {
    fn default() -> Self {
        Extractor { seconds: [i64::MIN; 3], up_at: None, cut_at: Timestamp::MIN }
    }
}

impl Heard {
    /// Notes an event of an extractor; `at` never goes back.
    pub fn note(&mut self, extractor: u32, at: Timestamp) {
        let Some(Extractor { seconds, .. }) = self.0.get_mut(extractor as usize) else { return };
        let second = at.unix_ms().div_euclid(1000);
        if seconds[2] != second {
            *seconds = [seconds[1], seconds[2], second];
        }
    }

    /// Notes that an extractor says that it reads the node.
    pub fn note_up(&mut self, name: &[u8], at: Timestamp) {
        if let Some(extractor) = self.named(name) {
            if extractor.up_at.is_none() && extractor.cut_at > Timestamp::MIN {
                // It was away: what happened in this step before is not known.
                extractor.cut_at = at;
            }
            extractor.up_at = Some(at);
        }
    }

    /// Notes that an extractor says that it does not read the node, or that events of it are missing.
    pub fn note_cut(&mut self, name: &[u8], at: Timestamp) {
        if let Some(extractor) = self.named(name) {
            (extractor.up_at, extractor.cut_at) = (None, at);
        }
    }

    fn named(&mut self, name: &[u8]) -> Option<&mut Extractor> {
        let (number, _) = STREAMED.iter().find(|(_, known)| known.as_bytes() == name)?;
        self.0.get_mut(*number as usize)
    }

    /// True if the extractor was heard in a span of whole seconds, its end not included.
    pub fn within(&self, extractor: u32, from: Timestamp, until: Timestamp) -> bool {
        let Some(extractor) = self.0.get(extractor as usize) else { return false };
        let span = from.unix_ms().div_euclid(1000)..until.unix_ms().div_euclid(1000);
        extractor.seconds.iter().any(|second| span.contains(second))
            || extractor.up_at.is_some_and(|at| (0..=STATUS_MS).contains(&until.ms_since(at)))
    }

    /// True if the extractor did not tell all that happened since `from`.
    pub fn is_cut(&self, extractor: u32, from: Timestamp) -> bool {
        self.0.get(extractor as usize).is_some_and(|extractor| extractor.cut_at >= from)
    }
}

/// A step that is over.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// When it ended; it began a step before.
    pub ends_at: Timestamp,
    /// The source was heard in it.
    pub is_heard: bool,
    /// The source did not tell all of it.
    pub is_cut: bool,
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
    /// The newest reading of a state, and the end of its step.
    state: Option<(Timestamp, f64)>,
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
            state: None,
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
        let value = if take == Take::MedianAge { at.unix_ms() as f64 / 1000.0 - value } else { value };
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
        let value = self.value(watched, step).filter(|_| !step.is_cut).or_else(|| self.held(step));
        if let Some(value) = value.filter(|_| watched.take.lasts() && self.is_read(watched, step)) {
            self.state = Some((step.ends_at, value));
        }
        self.tally = Tally::default();
        let was_shown = self.newest.is_some();
        let is_old = |ends_at: Timestamp| step.ends_at.ms_since(ends_at) >= SHOWN_STEPS * watched.step_ms;
        self.newest.take_if(|(ends_at, _)| is_old(*ends_at));
        let Some(value) = value else {
            self.missing = self.missing.saturating_add(1);
            // A part of a step is less than a step of what is added up; a reading is whole at any time.
            self.is_partial |= self.missing >= GAP_STEPS && watched.take.adds_up();
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

    /// A state that was read shortly before: polls come a little late, or more rarely than steps.
    fn held(&self, step: &Step) -> Option<f64> {
        self.state.filter(|(read_at, _)| step.ends_at.ms_since(*read_at) <= HELD_MS).map(|(_, value)| value)
    }

    /// True if the step has a reading of its own.
    fn is_read(&self, watched: &Watched, step: &Step) -> bool {
        self.tally.count > 0 || (watched.take.is_of_poll() && step.is_heard)
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
        // What was reported just before may be of the restart too, and what was read was of another process.
        (self.reported_at, self.state) = (None, None);
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
            Take::Median | Take::MedianAge => self.keep(value),
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
            Take::Median | Take::MedianAge => median(&self.values),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::Aggregate;

    const STEP_MS: i64 = 10_000;

    fn watched(take: Take, extractor: u32) -> Watched {
        Watched {
            take,
            step_ms: STEP_MS,
            detector: Kind::Default,
            season_ms: 86_400_000,
            direction: Direction::Both,
            effect_min: 0.0,
            heard_by: take.heard_by(extractor),
        }
    }

    /// A watch that is fed step by step.
    struct Fed {
        watch: Watch,
        watched: Watched,
        steps: i64,
        poll: u64,
    }

    impl Fed {
        fn new(take: Take, extractor: u32) -> Fed {
            Fed { watch: Watch::default(), watched: watched(take, extractor), steps: 0, poll: 0 }
        }

        fn begins_at(&self) -> Timestamp {
            Timestamp::from_unix_ms(self.steps * STEP_MS)
        }

        fn push(&mut self, offset_ms: i64, value: f64) {
            let at = self.begins_at().plus_ms(offset_ms);
            self.watch.push(self.watched.take, at, value, value.to_bits(), self.poll);
        }

        fn close(&mut self, is_heard: bool) -> bool {
            self.steps += 1;
            let step = Step {
                ends_at: self.begins_at(),
                is_heard,
                is_cut: false,
                poll: self.poll,
                is_syncing: false,
            };
            let window =
                Window { aggregate: Aggregate::Anomaly(self.watched), over_ms: 1 << 40, integers: true };
            self.watch.close(&window, &self.watched, &step)
        }

        /// Ends a step with these samples and says what was judged.
        fn step(&mut self, values: &[f64]) -> Option<f64> {
            for (n, value) in values.iter().enumerate() {
                self.push(n as i64 * 1_000, *value);
            }
            self.close(!values.is_empty());
            let is_new = |(at, _): &(Timestamp, Assessment)| *at == self.begins_at();
            self.watch.newest.filter(is_new).map(|(_, assessment)| assessment.value)
        }
    }

    /// What is judged of a step with these samples, after one that is only a part.
    #[track_caller]
    fn check(take: Take, values: &[f64], expected: f64) {
        let mut fed = Fed::new(take, 1);
        assert_eq!(fed.step(&[7.0]), None, "a part of a step is not judged");
        assert_eq!(fed.step(values), Some(expected), "{take:?}");
    }

    #[test]
    fn each_take_says_what_its_name_says() {
        let values = [4.0, 10.0, 1.0, 5.0];
        check(Take::Count, &values, 4.0);
        check(Take::Sum, &values, 20.0);
        check(Take::Min, &values, 1.0);
        check(Take::Max, &values, 10.0);
        check(Take::Mean, &values, 5.0);
        check(Take::Last, &values, 5.0);
        check(Take::Median, &values, 4.5);
        check(Take::Median, &[1.0, 9.0, 2.0], 2.0);
        check(Take::TopShare, &[1.0, 2.0, 1.0, 1.0], 0.75);
    }

    #[test]
    fn the_median_of_many_is_near_and_bounded() {
        let values: Vec<f64> = (0..10_000).map(|n| f64::from(n * 7919 % 10_000)).collect();
        let mut fed = Fed::new(Take::Median, 1);
        fed.step(&[0.0]);
        values.iter().for_each(|value| fed.push(0, *value));
        assert!(fed.watch.tally.values.len() <= MEDIAN_MAX);
        let median = fed.step(&[]).unwrap_or_default();
        assert!((4_000.0..6_000.0).contains(&median), "{median}");
    }

    #[test]
    fn the_top_share_is_found_among_more_groups_than_are_counted() {
        let mut fed = Fed::new(Take::TopShare, 1);
        fed.step(&[0.0]);
        for n in 0..30_000 {
            fed.push(0, if n % 3 == 0 { -1.0 } else { f64::from(n) });
        }
        assert!(fed.watch.tally.groups.len() <= GROUPS_MAX);
        let share = fed.step(&[]).unwrap_or_default();
        assert!(share <= 1.0 / 3.0 && share > 0.33, "{share}");
    }

    #[test]
    fn a_counter_that_falls_has_grown_from_zero() {
        let mut fed = Fed::new(Take::Increase, 2);
        assert_eq!(fed.step(&[100.0]), None);
        assert_eq!(fed.step(&[130.0]), None, "the first step was only a part");
        assert_eq!(fed.step(&[160.0]), Some(30.0));
        assert_eq!(fed.step(&[20.0]), Some(20.0));
        let mut fed = Fed::new(Take::Rate, 2);
        [0.0, 10.0].iter().for_each(|value| assert_eq!(fed.step(&[*value]), None));
        assert_eq!(fed.step(&[60.0]), Some(5.0));
    }

    #[test]
    fn polls_of_a_counter_that_come_early_or_late_make_no_difference() {
        let mut fed = Fed::new(Take::Rate, 2);
        for (n, offset_ms) in [5_000, 5_000, 9_900, 100, 9_900, 200, 0, 9_000, 5_000].into_iter().enumerate()
        {
            // A counter that grows by one a second.
            let at_s = n as f64 * 10.0 + offset_ms as f64 / 1000.0;
            fed.push(offset_ms, at_s);
            fed.close(true);
            if let Some((_, assessment)) = fed.watch.newest {
                assert!((assessment.value - 1.0).abs() < 1e-9, "{n}: {}", assessment.value);
            }
        }
        assert!(fed.watch.points.len() >= 5);
    }

    #[test]
    fn a_step_in_which_nobody_listened_is_missing_and_one_with_silence_is_zero() {
        for take in [Take::Count, Take::Sum] {
            let mut fed = Fed::new(take, 1);
            fed.step(&[1.0]);
            assert_eq!(fed.step(&[1.0]), Some(1.0));
            fed.close(true);
            assert_eq!(
                fed.watch.assessment().map(|said| said.assessment.value),
                Some(0.0),
                "heard, and no sample"
            );
            assert!(!fed.close(false), "missing: what was said stays for a while");
            assert_eq!(fed.watch.points.len(), 2);
        }
        let mut fed = Fed::new(Take::Mean, 1);
        fed.step(&[1.0]);
        assert_eq!(fed.step(&[3.0]), Some(3.0));
        fed.close(true);
        assert_eq!(fed.watch.points.len(), 1, "values that did not come are never zero");
    }

    #[test]
    fn a_state_that_is_polled_every_half_minute_lasts_for_a_minute() {
        let mut fed = Fed::new(Take::Last, 1);
        for value in [60.0, 61.0, 0.0] {
            fed.step(&[value]);
            fed.close(true);
            fed.close(true);
        }
        (0..6).for_each(|_| _ = fed.close(false));
        let values: Vec<f64> = fed.watch.points().map(|(_, value)| value).collect();
        assert_eq!(values, [60.0, 60.0, 61.0, 61.0, 61.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_reading_after_a_long_wait_is_whole() {
        let mut fed = Fed::new(Take::Max, 1);
        fed.step(&[0.1]);
        fed.step(&[0.1]);
        (0..5).for_each(|_| _ = fed.close(true));
        assert_eq!(fed.step(&[90.0]), Some(90.0));
    }

    #[test]
    fn what_was_said_is_shown_for_three_steps() {
        let mut fed = Fed::new(Take::Mean, 1);
        fed.step(&[1.0]);
        assert!(fed.step(&[3.0]).is_some());
        assert!(!fed.close(false) && !fed.close(false));
        assert!(fed.watch.assessment().is_some());
        assert!(fed.close(false), "the script must see that it is gone");
        assert!(fed.watch.assessment().is_none());
        assert!(!fed.close(false));
    }

    #[test]
    fn after_two_missing_steps_the_next_is_only_a_part() {
        let mut fed = Fed::new(Take::Count, 1);
        fed.step(&[1.0]);
        fed.close(false);
        assert_eq!(fed.step(&[1.0]), Some(1.0), "one missing step is no gap");
        fed.close(false);
        fed.close(false);
        assert_eq!(fed.step(&[1.0]), None);
        assert_eq!(fed.step(&[1.0]), Some(1.0));
    }

    #[test]
    fn a_poll_without_rows_for_the_key_is_zero() {
        let mut fed = Fed::new(Take::PollCount, 2);
        let poll = |fed: &mut Fed, rows: usize| {
            fed.poll += 1;
            (0..rows).for_each(|_| fed.push(0, 1.0));
        };
        poll(&mut fed, 1);
        fed.close(true);
        // The newest poll of a step counts.
        poll(&mut fed, 5);
        poll(&mut fed, 3);
        fed.close(true);
        poll(&mut fed, 5);
        poll(&mut fed, 0);
        fed.close(true);
        fed.close(false);
        poll(&mut fed, 2);
        fed.close(true);
        let values: Vec<f64> = fed.watch.points().map(|(_, value)| value).collect();
        assert_eq!(values, [3.0, 0.0, 0.0, 2.0], "without a poll what the last one said holds");
    }

    #[test]
    fn a_long_gap_lets_the_watch_sleep_and_a_sample_wakes_it() {
        let mut fed = Fed::new(Take::Mean, 1);
        fed.step(&[1.0]);
        for _ in 0..AWAKE_STEPS {
            fed.close(false);
            assert!(fed.watch.is_awake());
        }
        fed.close(false);
        assert!(!fed.watch.is_awake());
        fed.push(0, 1.0);
        assert!(fed.watch.is_awake());
    }

    /// Steps until a value is judged again after a restart.
    fn masked_steps(band: Option<(f64, f64)>, direction: Direction, value: impl Fn(i64) -> f64) -> i64 {
        let mut fed = Fed::new(Take::Last, 1);
        fed.watched.direction = direction;
        fed.step(&[1.0]);
        assert!(fed.step(&[1.0]).is_some());
        fed.watch.band = band;
        assert!(fed.watch.mask(fed.begins_at()), "what was shown is explained too");
        (0..100_000).find(|n| fed.step(&[value(*n)]).is_some()).expect("a day is over at some time")
    }

    #[test]
    fn a_restart_masks_until_the_series_is_back() {
        let (hour, day) = (360, 8_640);
        let band = Some((50.0, 150.0));
        assert_eq!(masked_steps(None, Direction::Both, |_| 0.0), hour);
        assert_eq!(masked_steps(band, Direction::Both, |_| 100.0), hour);
        assert_eq!(masked_steps(band, Direction::Both, |n| if n < 400 { 0.0 } else { 60.0 }), 403);
        assert_eq!(masked_steps(band, Direction::Both, |n| if n % 3 == 0 { 0.0 } else { 60.0 }), day);
        assert_eq!(masked_steps(band, Direction::Up, |_| 0.0), hour);
        assert_eq!(masked_steps(band, Direction::Down, |_| 0.0), day);
        assert_eq!(masked_steps(Some((f64::NAN, 150.0)), Direction::Both, |_| 0.0), hour);
    }

    #[test]
    fn an_extractor_is_heard_by_its_events_and_by_its_word() {
        let at = Timestamp::from_unix_s;
        let mut heard = Heard::default();
        assert!(!heard.within(4, at(0), at(10)));
        [3, 11, 12].iter().for_each(|second| heard.note(4, at(*second)));
        assert!(heard.within(4, at(0), at(10)), "events of the step after it came before it was closed");
        assert!(!heard.within(4, at(13), at(20)) && !heard.within(3, at(0), at(10)));
        heard.note_up(b"log", at(15));
        assert!(heard.within(4, at(20), at(30)));
        assert!(!heard.within(4, at(30), at(40)), "it has not said so for long");
        heard.note_cut(b"log", at(29));
        assert!(heard.is_cut(4, at(20)) && !heard.is_cut(4, at(30)) && !heard.is_cut(3, at(20)));
    }
}
