//! Statistical anomaly detectors: one numeric series in, how unusual each sample is out.
//!
//! Streaming: a sample is judged by what came before it and by nothing else, and then learnt from. Memory is constant.
//! A [`Detector`] is what a rule asks for like a window; [`Kind`] is the table of those there are.
//!
//! ```text
//!                     .-- pattern: level and shape, on five-minute roll-ups --.
//!  sample -> default -|                                                       |-> Assessment
//!                     '-- point: spikes and dips, as the samples come --------'
//! ```
//!
//! | files | are |
//! |---|---|
//! | [`level`], [`seasonal`], [`range`], [`novelty`], [`cusum`], [`autoregressive`], [`holt_winters`], [`flat_line`] | methods: what each expects, and how far off a sample is |
//! | [`slots`], [`scale`], [`cold`], [`season`] | parts of methods: a value for each time of the season, how far is usual, series that began just now, the season's length (`augurs`) |
//! | [`calibration`], [`rarity`], [`gate`] | from how far off to how rare, by the series' own history; the gate lets a report through once, of the pattern channel and of `seasonal`, `range` and `novelty` alone: the others tell it for as long as it lasts |
//! | [`pattern`], [`point`], [`default`], [`alone`] | the channels, both together, and one method alone as a detector |
//! | [`roll_up`] | means of five minutes: what pattern, seasonal and novelty judge if samples come more often |
//! | [`fleet`] | one node among its siblings (`augurs`) |
//!
//! What measurably does not help is not here, however well known: change points by BOCPD, peaks over threshold alone, random
//! cut forests, z-normed profiles (measured on NAB and WSD before this was built). `augurs`' change points look ahead.

pub mod alone;
pub mod autoregressive;
pub mod calibration;
pub mod cold;
pub mod cusum;
pub mod default;
pub mod flat_line;
pub mod fleet;
pub mod gate;
pub mod holt_winters;
pub mod level;
#[cfg(test)]
mod noise;
pub mod novelty;
pub mod pattern;
pub mod point;
pub mod range;
pub mod rarity;
pub mod roll_up;
#[cfg(test)]
mod samples;
pub mod scale;
pub mod season;
pub mod seasonal;
pub mod slots;

use serde::{Deserialize, Serialize};

use alone::Alone;
use roll_up::Rolled;

use crate::time::Timestamp;

/// How serious a report is. One scale for all series: the tail probability of what was seen, as `-log10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Tier {
    /// Nothing to report.
    #[default]
    Usual,
    /// Worth a note: about one a month and series of roll-ups is a false alarm.
    Note,
    /// Worth a look.
    Warning,
    /// Worth waking someone, if something else bears it out.
    Page,
}

/// Which way a series must depart from what is expected to be reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Direction {
    /// Either way.
    #[default]
    Both,
    /// Only more than expected.
    Up,
    /// Only less than expected.
    Down,
}

/// What a detector says of one sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// The sample that was judged: of a roll-up its mean.
    pub value: f64,
    /// 0 (usual) to 1: one less the probability that a usual sample departs as far, calibrated on the series itself.
    pub score: f64,
    /// What was expected; NaN while nothing is.
    pub expected: f64,
    /// Lower end of what is usual; NaN while unknown.
    pub lower: f64,
    /// Upper end of what is usual; NaN while unknown.
    pub upper: f64,
    /// Enough has been seen for the score to mean what it says.
    pub warm: bool,
    /// What is to be reported now.
    pub tier: Tier,
}

impl Assessment {
    /// Of a sample that cannot be judged yet.
    pub fn unknown(value: f64) -> Self {
        Assessment {
            value,
            score: 0.0,
            expected: f64::NAN,
            lower: f64::NAN,
            upper: f64::NAN,
            warm: false,
            tier: Tier::Usual,
        }
    }
}

/// What is known of a series besides its samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Time between samples, in milliseconds.
    pub step_ms: i64,
    /// Length of the season, in milliseconds.
    pub season_ms: i64,
    /// After this time extremes and flat runs of the past are forgotten, in milliseconds; other memories have lengths of their
    /// own.
    pub over_ms: i64,
    /// Departures from what is expected that are smaller than this are never reported, in the series' own unit.
    pub effect_min: f64,
    /// Which way a departure matters.
    pub direction: Direction,
    /// The samples are counts of independent events: their scale is at least the square root of what is expected.
    pub counts: bool,
}

impl Default for Settings {
    fn default() -> Self {
        const DAY_MS: i64 = 86_400_000;
        Settings {
            step_ms: 300_000,
            season_ms: DAY_MS,
            over_ms: 28 * DAY_MS,
            effect_min: 0.0,
            direction: Direction::Both,
            counts: false,
        }
    }
}

/// A detector that can be asked for by name.
pub trait Method {
    /// Judges a sample by what came before, then learns from it. Samples come in order of time, every `step_ms`;
    /// values are finite.
    fn push(&mut self, at: Timestamp, value: f64) -> Assessment;

    /// Samples are missing here: what follows does not continue what was.
    fn skip(&mut self);
}

/// The detectors a rule can ask for. Adding one is a file and a line in each of the tables below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Kind {
    /// Both channels.
    #[default]
    Default,
    /// Level and shape on roll-ups.
    Pattern,
    /// Spikes and dips.
    Point,
    /// Departure from a level.
    Level,
    /// Departure from what the last samples foretell.
    Autoregressive,
    /// Departure from a level and a season.
    HoltWinters,
    /// Small departures that add up.
    Cusum,
    /// A value that has stopped changing.
    FlatLine,
    /// Departure of the level from the time of the season.
    Seasonal,
    /// Values never seen, of samples as they come.
    Range,
    /// Shapes never seen.
    Novelty,
}

impl Kind {
    /// The names rules use.
    pub const NAMES: [(&str, Kind); 11] = [
        ("default", Kind::Default),
        ("pattern", Kind::Pattern),
        ("point", Kind::Point),
        ("robust_level", Kind::Level),
        ("autoregressive", Kind::Autoregressive),
        ("holt_winters", Kind::HoltWinters),
        ("cusum", Kind::Cusum),
        ("flat_line", Kind::FlatLine),
        ("seasonal", Kind::Seasonal),
        ("range", Kind::Range),
        ("novelty", Kind::Novelty),
    ];
}

/// A detector of any kind, with its state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Detector {
    /// [`Kind::Default`].
    Default(Box<default::Default>),
    /// [`Kind::Pattern`].
    Pattern(Box<Rolled<pattern::Pattern>>),
    /// [`Kind::Point`].
    Point(Box<point::Point>),
    /// [`Kind::Level`].
    Level(Box<level::Level>),
    /// [`Kind::Autoregressive`].
    Autoregressive(Box<autoregressive::Autoregressive>),
    /// [`Kind::HoltWinters`].
    HoltWinters(Box<holt_winters::HoltWinters>),
    /// [`Kind::Cusum`].
    Cusum(Box<cusum::Cusum>),
    /// [`Kind::FlatLine`].
    FlatLine(Box<flat_line::FlatLine>),
    /// [`Kind::Seasonal`].
    Seasonal(Box<Rolled<Alone<seasonal::Seasonal>>>),
    /// [`Kind::Range`].
    Range(Box<range::Alone>),
    /// [`Kind::Novelty`].
    Novelty(Box<Rolled<Alone<novelty::Novelty>>>),
}

impl Detector {
    /// One that has seen nothing.
    pub fn new(kind: Kind, settings: &Settings) -> Self {
        let of_roll_ups = roll_up::settings(settings);
        match kind {
            Kind::Default => Detector::Default(Box::new(default::Default::new(settings))),
            Kind::Pattern => {
                Detector::Pattern(Box::new(Rolled::new(settings, pattern::Pattern::new(&of_roll_ups))))
            }
            Kind::Point => Detector::Point(Box::new(point::Point::new(settings))),
            Kind::Level => Detector::Level(Box::new(level::Level::new(settings))),
            Kind::Autoregressive => {
                Detector::Autoregressive(Box::new(autoregressive::Autoregressive::new(settings)))
            }
            Kind::HoltWinters => Detector::HoltWinters(Box::new(holt_winters::HoltWinters::new(settings))),
            Kind::Cusum => Detector::Cusum(Box::new(cusum::Cusum::new(settings))),
            Kind::FlatLine => Detector::FlatLine(Box::new(flat_line::FlatLine::new(settings))),
            Kind::Seasonal => {
                let seasonal = seasonal::Seasonal::new(&of_roll_ups);
                Detector::Seasonal(Box::new(Rolled::new(settings, Alone::new(settings, seasonal))))
            }
            Kind::Range => Detector::Range(Box::new(range::Alone::new(settings))),
            Kind::Novelty => {
                let novelty = Alone::new(settings, novelty::Novelty::default());
                Detector::Novelty(Box::new(Rolled::new(settings, novelty)))
            }
        }
    }

    fn method(&mut self) -> &mut dyn Method {
        match self {
            Detector::Default(method) => &mut **method,
            Detector::Pattern(method) => &mut **method,
            Detector::Point(method) => &mut **method,
            Detector::Level(method) => &mut **method,
            Detector::Autoregressive(method) => &mut **method,
            Detector::HoltWinters(method) => &mut **method,
            Detector::Cusum(method) => &mut **method,
            Detector::FlatLine(method) => &mut **method,
            Detector::Seasonal(method) => &mut **method,
            Detector::Range(method) => &mut **method,
            Detector::Novelty(method) => &mut **method,
        }
    }

    /// Judges a sample and learns from it. A value that is not finite is as good as missing.
    pub fn push(&mut self, at: Timestamp, value: f64) -> Assessment {
        if !value.is_finite() {
            self.skip();
            return Assessment::unknown(value);
        }
        // Beyond this, squares and differences would not be finite; nothing real is.
        self.method().push(at, value.clamp(-1e30, 1e30))
    }

    /// Samples are missing here, or are explained and not to be learnt from.
    pub fn skip(&mut self) {
        self.method().skip();
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{daily, noise};
    use super::*;

    /// Samples with what makes them hard: gaps, spikes, a level that shifts, values that are missing.
    fn series(step_ms: i64, count: usize) -> Vec<(Timestamp, f64)> {
        let steps_per_five_minutes = (300_000 / step_ms).max(1) as usize;
        let mut at = Timestamp::from_unix_ms(1_767_571_200_000);
        (0..count)
            .map(|i| {
                at = at.plus_ms(if i % 1777 == 1776 { 40 * step_ms } else { step_ms });
                let level = if i > count / 2 { 30.0 } else { 0.0 };
                let spike = if i % 977 == 0 { 300.0 } else { 0.0 };
                let value = daily(i / steps_per_five_minutes) + noise(i) + level + spike;
                (at, if i % 1009 == 0 { f64::NAN } else { value })
            })
            .collect()
    }

    /// What is said of each sample, to the bit.
    fn run(detector: &mut Detector, step_ms: i64, samples: &[(Timestamp, f64)]) -> Vec<String> {
        let mut last = None;
        samples
            .iter()
            .map(|(at, value)| {
                if last.replace(*at).is_some_and(|last| at.ms_since(last) / 3 > step_ms) {
                    detector.skip();
                }
                format!("{:?}", detector.push(*at, *value))
            })
            .collect()
    }

    fn every_kind(check: impl Fn(&str, Kind, &Settings, &[(Timestamp, f64)])) {
        for (step_ms, count) in [(10_000, 12_000), (300_000, 6000)] {
            let settings = Settings { step_ms, ..Settings::default() };
            for (name, kind) in Kind::NAMES {
                check(name, kind, &settings, &series(step_ms, count));
            }
        }
    }

    #[test]
    fn the_scores_of_a_prefix_are_the_prefix_of_the_scores() {
        every_kind(|name, kind, settings, samples| {
            let whole = run(&mut Detector::new(kind, settings), settings.step_ms, samples);
            for length in [1, 100, 1800, samples.len() - 1] {
                let prefix = run(&mut Detector::new(kind, settings), settings.step_ms, &samples[..length]);
                assert!(whole[..length] == prefix[..], "{name}, {length} of {}", samples.len());
            }
        });
    }

    #[test]
    fn a_detector_restored_from_its_bytes_goes_on_as_if_nothing_had_happened() {
        every_kind(|name, kind, settings, samples| {
            let whole = run(&mut Detector::new(kind, settings), settings.step_ms, samples);
            let mut detector = Detector::new(kind, settings);
            let mut said = Vec::new();
            // An odd number, so that each phase of whatever is periodic inside is met.
            for part in samples.chunks(397) {
                said.extend(run(&mut detector, i64::MAX / 4, part));
                let bytes = postcard::to_allocvec(&detector).expect("plain data");
                detector = postcard::from_bytes(&bytes).expect("what was just written");
                assert_eq!(postcard::to_allocvec(&detector).expect("plain data"), bytes, "{name}");
            }
            let unbroken = run(&mut Detector::new(kind, settings), i64::MAX / 4, samples);
            assert!(said == unbroken, "{name} at {} ms", settings.step_ms);
            assert_eq!(said.len(), whole.len());
        });
    }

    #[test]
    fn the_state_is_at_most_twenty_kibibytes() {
        every_kind(|name, kind, settings, samples| {
            let mut detector = Detector::new(kind, settings);
            run(&mut detector, settings.step_ms, samples);
            let bytes = postcard::to_allocvec(&detector).expect("plain data").len();
            assert!(bytes <= 20 * 1024, "{name}: {bytes} bytes");
        });
    }

    #[test]
    fn no_value_and_no_time_makes_nonsense_of_the_score() {
        const VALUES: [f64; 9] = [0.0, 1e308, -1e308, 1e-320, 1.0, -1.0, 1e30, 7e15, f64::INFINITY];
        every_kind(|name, kind, settings, samples| {
            let mut detector = Detector::new(kind, settings);
            for (i, (at, value)) in samples.iter().enumerate() {
                let value = if noise(i) > 1.0 { VALUES[i % VALUES.len()] } else { *value };
                let at = if i % 50 == 0 { Timestamp::from_unix_ms(at.unix_ms() - 86_400_000) } else { *at };
                let assessment = detector.push(at, value);
                assert!((0.0..=1.0).contains(&assessment.score), "{name}, {i}: {assessment:?}");
            }
            for at in [Timestamp::MIN, Timestamp::MAX, Timestamp::MIN] {
                let assessment = detector.push(at, 100.0);
                assert!((0.0..=1.0).contains(&assessment.score), "{name}: {assessment:?}");
            }
        });
    }

    #[test]
    fn what_is_no_number_is_as_good_as_missing() {
        let mut detector = Detector::new(Kind::Default, &Settings::default());
        let assessment = detector.push(Timestamp::from_unix_s(0), f64::NAN);
        assert!(assessment.score == 0.0 && !assessment.warm && assessment.tier == Tier::Usual);
    }
}
