//! When a notification is tried again, and when it is given up. Pure: attempts and instants in, an instant out.
//!
//! Two values decide: [`Policy`] for one notification, [`Breaker`] for one receiver over all its notifications. Neither
//! draws a random number: what spreads attempts over time is a hash of what they are about.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tocsin_proto::Span;

use crate::time::Timestamp;

use super::hash::fnv1a;

/// Longest wait after the first failed attempt; it doubles with each one.
pub const BACK_OFF_FIRST_MS: i64 = 1000;
/// Longest wait after any failed attempt, unless the destination asks for more.
pub const BACK_OFF_MAX_MS: i64 = 300_000;
/// Longest wait that a destination can ask for.
pub const RETRY_AFTER_MAX_MS: i64 = 3_600_000;
/// Failures in a row after which a receiver is left alone.
pub const FAILURES_MAX: u32 = 5;
/// A probe that has not ended after this time is lost: the program was stopped in between. Longer than any attempt.
pub const PROBE_LOST_AFTER_MS: i64 = 60_000;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The destination has it.
    Delivered,
    /// It has not, or did not say so.
    Failed(Failed),
}

/// What is to be known of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// Whether another attempt can help.
    pub retry: Retry,
    /// How long the destination asks to be left alone; at most [`RETRY_AFTER_MAX_MS`] is granted.
    pub retry_after: Option<Duration>,
}

impl Failed {
    fn asked_ms(self) -> i64 {
        let asked = self.retry_after.unwrap_or_default().as_millis();
        i64::try_from(asked).unwrap_or(i64::MAX).min(RETRY_AFTER_MAX_MS)
    }
}

/// Whether another attempt can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The destination or the way to it is in trouble.
    CanHelp,
    /// The notification itself is wrong for the destination, and will be.
    CannotHelp,
}

/// An attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempted<'a> {
    /// Id of the notification.
    pub notification: &'a str,
    /// Attempts made so far, with this one.
    pub attempts: u32,
    /// When the notification was decided, or sent again by hand.
    pub decided_at: Timestamp,
    /// When the attempt ended.
    pub at: Timestamp,
    /// How.
    pub failed: Failed,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another one, not before this.
    TryAt(Timestamp),
    /// None: it becomes a dead letter.
    GiveUp(GiveUp),
}

/// Why a notification is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUp {
    /// Another attempt cannot help.
    Final,
    /// It was tried for so long.
    TooOld(Span),
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GiveUp::Final => f.write_str("another attempt cannot help"),
            GiveUp::TooOld(span) => write!(f, "not delivered within {} s", span.get().as_secs_f64()),
        }
    }
}

/// How long one notification is tried.
///
/// After attempt n it waits between half of and all of `BACK_OFF_FIRST_MS` * 2^(n-1), at most [`BACK_OFF_MAX_MS`]; a
/// longer wait that the destination asks for is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// A failed attempt at this age or later is the last one: 24h. No notification is given up untried.
    pub give_up_after: Span,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { give_up_after: Span::from_secs(86_400) }
    }
}

impl Policy {
    /// What follows a failed attempt. The same attempt has the same answer, always.
    pub fn next(&self, attempted: &Attempted<'_>) -> Next {
        let Attempted { notification, attempts, decided_at, at, failed } = *attempted;
        if failed.retry == Retry::CannotHelp {
            return Next::GiveUp(GiveUp::Final);
        }
        if self.gives_up_at(decided_at) <= at {
            return Next::GiveUp(GiveUp::TooOld(self.give_up_after));
        }
        Next::TryAt(at.plus_ms(back_off_ms(notification, attempts).max(failed.asked_ms())))
    }

    /// When a notification is too old; a failed attempt from then on is the last one.
    pub fn gives_up_at(&self, decided_at: Timestamp) -> Timestamp {
        decided_at.plus_ms(self.give_up_after.millis())
    }
}

/// The wait after so many failures, in milliseconds: between half of and all of the doubled first one.
fn back_off_ms(about: &str, failures: u32) -> i64 {
    // 20 doublings are beyond the longest wait, and far from an overflow.
    let doublings = failures.saturating_sub(1).min(20);
    let longest_ms = (BACK_OFF_FIRST_MS << doublings).min(BACK_OFF_MAX_MS);
    let half_ms = longest_ms / 2;
    // Not above `half_ms`, so it fits.
    let spread_ms = (hash(about, failures) % (half_ms as u64 + 1)) as i64;
    longest_ms - spread_ms
}

/// FNV-1a, then the finish of splitmix64: FNV alone hardly spreads a change of the last byte.
fn hash(text: &str, number: u32) -> u64 {
    let fnv = fnv1a(text.bytes().chain([0xff]).chain(number.to_be_bytes()));
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Leaves a receiver alone that fails, whatever the notification: a circuit breaker.
///
/// Closed, everything passes. [`FAILURES_MAX`] failures in a row open it, and so does one with which the destination asks
/// for time. Open, one attempt at a time passes as a probe when the wait is over: delivered, it closes the breaker, failed,
/// it starts a longer wait. Failures that another attempt cannot help count for nothing: they are about the
/// notification, not about the receiver. The state is stored as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// Failures in a row.
    failures: u32,
    /// Present while it is open.
    open: Option<Open>,
}

/// What an open breaker waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    /// No probe before this.
    probe_at: Timestamp,
    /// Since when a probe is under way, if one is.
    probing_since: Option<Timestamp>,
}

/// Whether an attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Yes, and others beside it.
    Free,
    /// Yes, and no other until it ends.
    Probe,
    /// Not before this; ask again then.
    Wait(Timestamp),
}

impl Breaker {
    /// Asks for an attempt. Whoever gets a pass must hand it back to [`Breaker::ended`].
    pub fn begin(&mut self, now: Timestamp) -> Pass {
        let Some(open) = &mut self.open else {
            return Pass::Free;
        };
        let (until, wait_max_ms) = match open.probing_since {
            Some(since) => (since.plus_ms(PROBE_LOST_AFTER_MS), PROBE_LOST_AFTER_MS),
            None => (open.probe_at, RETRY_AFTER_MAX_MS),
        };
        // A wait longer than any that is ever set: the clock was put back.
        if now < until && until.ms_since(now) <= wait_max_ms {
            return Pass::Wait(until);
        }
        open.probing_since = Some(now);
        Pass::Probe
    }

    /// Takes note of how an attempt ended that had this pass; `receiver` is its name. Returns what that changed.
    pub fn ended(&mut self, receiver: &str, pass: Pass, ended: Ended, now: Timestamp) -> Change {
        let failed = match ended {
            Ended::Delivered => {
                let was_open = self.open.is_some();
                *self = Breaker::default();
                return if was_open { Change::Closed } else { Change::None };
            }
            Ended::Failed(failed) => failed,
        };
        match (&mut self.open, pass, failed.retry) {
            // What began before it opened says nothing new.
            (Some(_), Pass::Free, _) | (None, _, Retry::CannotHelp) => return Change::None,
            // The probe told nothing about the receiver: the next may follow at once.
            (Some(open), _, Retry::CannotHelp) => {
                *open = Open { probe_at: now, probing_since: None };
                return Change::None;
            }
            (_, _, Retry::CanHelp) => self.failures = self.failures.saturating_add(1),
        }
        let asked_ms = failed.asked_ms();
        if self.open.is_none() && self.failures < FAILURES_MAX && asked_ms == 0 {
            return Change::None;
        }
        let probe_at = now.plus_ms(back_off_ms(receiver, self.failures).max(asked_ms));
        let was_open = self.open.replace(Open { probe_at, probing_since: None }).is_some();
        if was_open { Change::None } else { Change::Opened(probe_at) }
    }

    /// Whether the receiver is left alone.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// What the end of an attempt changed: worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// The receiver is left alone; the first probe is at this instant.
    Opened(Timestamp),
    /// The receiver takes notifications again.
    Closed,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AGAIN: Failed = Failed { retry: Retry::CanHelp, retry_after: None };
    const FINAL: Failed = Failed { retry: Retry::CannotHelp, retry_after: None };

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_unix_ms(ms)
    }

    fn attempted(attempts: u32, at_ms: i64, failed: Failed) -> Attempted<'static> {
        Attempted { notification: "4f1c", attempts, decided_at: at(0), at: at(at_ms), failed }
    }

    fn asked(retry_after_s: u64) -> Failed {
        Failed { retry_after: Some(Duration::from_secs(retry_after_s)), ..AGAIN }
    }

    /// Milliseconds to the next attempt.
    fn wait_ms(attempted: &Attempted<'_>) -> i64 {
        match Policy::default().next(attempted) {
            Next::TryAt(next) => next.ms_since(attempted.at),
            Next::GiveUp(why) => panic!("given up: {why}"),
        }
    }

    #[test]
    fn waits_double_up_to_five_minutes() {
        let longest_s = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300];
        for (attempts, longest_s) in (1..).zip(longest_s) {
            let wait_ms = wait_ms(&attempted(attempts, 0, AGAIN));
            assert!((longest_s * 500..=longest_s * 1000).contains(&wait_ms), "{attempts}: {wait_ms} ms");
        }
        for attempts in [0, u32::MAX] {
            assert!(wait_ms(&attempted(attempts, 0, AGAIN)) <= BACK_OFF_MAX_MS);
        }
    }

    #[test]
    fn waits_are_spread_evenly_and_always_the_same() {
        // A hundred notifications that failed together do not come back together.
        let ids: Vec<String> = (0..100).map(|number| format!("notification-{number}")).collect();
        let waits = |attempts| -> Vec<i64> {
            let wait =
                |id: &String| wait_ms(&Attempted { notification: id, ..attempted(attempts, 0, AGAIN) });
            ids.iter().map(wait).collect()
        };
        assert_eq!(waits(5), waits(5));
        for attempts in [1, 5, 30] {
            let waits = waits(attempts);
            let longest = (1000_i64 << (attempts - 1).min(20)).min(300_000);
            for fifth in 0..5 {
                let (from, to) = (longest * (5 + fifth) / 10, longest * (6 + fifth) / 10);
                let within = waits.iter().filter(|wait| (from..to).contains(wait)).count();
                assert!((5..40).contains(&within), "{within} of 100 wait {from} to {to} ms");
            }
        }
        // Computed apart from this code: no build and no machine has others.
        assert_eq!([wait_ms(&attempted(1, 0, AGAIN)), wait_ms(&attempted(2, 0, AGAIN))], [736, 1479]);
    }

    #[test]
    fn a_destination_is_left_alone_as_long_as_it_asks_but_an_hour_at_most() {
        for (asked_s, expected_ms) in
            [(10, 10_000), (3600, 3_600_000), (3601, 3_600_000), (u64::MAX, 3_600_000)]
        {
            assert_eq!(wait_ms(&attempted(1, 0, asked(asked_s))), expected_ms);
        }
        // Less than the back-off is no reason to hurry.
        assert_eq!(wait_ms(&attempted(9, 0, asked(1))), wait_ms(&attempted(9, 0, AGAIN)));
        assert_eq!(wait_ms(&attempted(9, 0, asked(0))), wait_ms(&attempted(9, 0, AGAIN)));
    }

    #[test]
    fn what_cannot_be_helped_is_given_up_at_once() {
        let failed = Failed { retry_after: Some(Duration::from_secs(5)), ..FINAL };
        assert_eq!(Policy::default().next(&attempted(1, 0, failed)), Next::GiveUp(GiveUp::Final));
        assert_eq!(GiveUp::Final.to_string(), "another attempt cannot help");
    }

    #[test]
    fn a_notification_is_given_up_after_a_day_but_never_untried() {
        let day_ms = 86_400_000;
        assert!(matches!(Policy::default().next(&attempted(300, day_ms - 1, AGAIN)), Next::TryAt(_)));
        let Next::GiveUp(why) = Policy::default().next(&attempted(1, day_ms, AGAIN)) else {
            panic!("not given up")
        };
        assert_eq!(why.to_string(), "not delivered within 86400 s");
        let policy: Policy = toml::from_str(r#"give_up_after = "90s""#).expect("right");
        assert!(matches!(policy.next(&attempted(3, 89_999, AGAIN)), Next::TryAt(_)));
        assert!(matches!(policy.next(&attempted(3, 90_000, AGAIN)), Next::GiveUp(GiveUp::TooOld(_))));
        // A clock that was put back makes nothing old.
        assert!(matches!(policy.next(&attempted(3, -1_000_000, AGAIN)), Next::TryAt(_)));
    }

    #[test]
    fn a_day_of_trouble_takes_some_hundred_attempts() {
        let (mut now_ms, mut attempts) = (0, 0);
        loop {
            attempts += 1;
            match Policy::default().next(&attempted(attempts, now_ms, AGAIN)) {
                Next::TryAt(next) => now_ms = next.unix_ms(),
                Next::GiveUp(_) => break,
            }
        }
        assert!((290..600).contains(&attempts), "{attempts} attempts");
        assert!((86_400_000..86_700_000).contains(&now_ms), "given up at {now_ms} ms");
    }

    /// Begins and ends attempts at instants, in seconds.
    struct Timeline {
        breaker: Breaker,
    }

    impl Timeline {
        fn new() -> Self {
            Timeline { breaker: Breaker::default() }
        }

        #[track_caller]
        fn attempt(&mut self, at_s: i64, pass: Pass, ended: Ended) -> Change {
            assert_eq!(self.breaker.begin(at(at_s * 1000)), pass, "at {at_s} s: {:?}", self.breaker);
            self.breaker.ended("hook", pass, ended, at(at_s * 1000))
        }

        /// Opens it with five failures at 0 s; returns when the first probe is.
        fn opened() -> (Self, Timestamp) {
            let mut timeline = Timeline::new();
            for _ in 1..FAILURES_MAX {
                assert_eq!(timeline.attempt(0, Pass::Free, Ended::Failed(AGAIN)), Change::None);
            }
            let Change::Opened(probe_at) = timeline.attempt(0, Pass::Free, Ended::Failed(AGAIN)) else {
                panic!("not opened")
            };
            assert!(timeline.breaker.is_open());
            (timeline, probe_at)
        }
    }

    #[test]
    fn five_failures_in_a_row_open_the_breaker() {
        let (mut timeline, probe_at) = Timeline::opened();
        // The fifth wait of the back-off.
        assert!((8000..=16_000).contains(&probe_at.unix_ms()), "{probe_at}");
        assert_eq!(timeline.breaker.begin(at(0)), Pass::Wait(probe_at));
        assert_eq!(timeline.breaker.begin(probe_at.plus_ms(-1)), Pass::Wait(probe_at));
        assert_eq!(timeline.breaker.begin(probe_at), Pass::Probe);
    }

    #[test]
    fn a_success_between_failures_begins_the_row_anew() {
        let mut timeline = Timeline::new();
        for _ in 0..10 {
            for _ in 1..FAILURES_MAX {
                assert_eq!(timeline.attempt(0, Pass::Free, Ended::Failed(AGAIN)), Change::None);
            }
            assert_eq!(timeline.attempt(0, Pass::Free, Ended::Delivered), Change::None);
        }
        assert!(!timeline.breaker.is_open());
        assert_eq!(timeline.breaker.failures(), 0);
    }

    #[test]
    fn one_probe_at_a_time_and_its_success_closes() {
        let (mut timeline, probe_at) = Timeline::opened();
        assert_eq!(timeline.breaker.begin(probe_at), Pass::Probe);
        let lost_at = probe_at.plus_ms(PROBE_LOST_AFTER_MS);
        assert_eq!(timeline.breaker.begin(probe_at.plus_ms(10)), Pass::Wait(lost_at));
        let change = timeline.breaker.ended("hook", Pass::Probe, Ended::Delivered, probe_at.plus_ms(20));
        assert_eq!(change, Change::Closed);
        assert_eq!(timeline.breaker, Breaker::default());
        assert_eq!(timeline.breaker.begin(probe_at.plus_ms(20)), Pass::Free);
    }

    #[test]
    fn a_failed_probe_waits_longer_up_to_five_minutes() {
        let (mut timeline, mut probe_at) = Timeline::opened();
        for longest_s in [32, 64, 128, 256, 300, 300, 300] {
            assert_eq!(timeline.breaker.begin(probe_at), Pass::Probe);
            let change = timeline.breaker.ended("hook", Pass::Probe, Ended::Failed(AGAIN), probe_at);
            assert_eq!(change, Change::None);
            let Pass::Wait(next) = timeline.breaker.begin(probe_at) else { panic!("no wait") };
            let wait_ms = next.ms_since(probe_at);
            assert!((longest_s * 500..=longest_s * 1000).contains(&wait_ms), "{wait_ms} ms");
            probe_at = next;
        }
    }

    #[test]
    fn final_failures_are_not_the_receivers() {
        let mut timeline = Timeline::new();
        for _ in 0..100 {
            assert_eq!(timeline.attempt(0, Pass::Free, Ended::Failed(FINAL)), Change::None);
        }
        assert_eq!(timeline.breaker, Breaker::default());
        // They do not end a row of failures either: a text that cannot be rendered never reached the receiver.
        let (mut timeline, probe_at) = Timeline::opened();
        assert_eq!(timeline.breaker.begin(probe_at), Pass::Probe);
        timeline.breaker.ended("hook", Pass::Probe, Ended::Failed(FINAL), probe_at);
        assert!(timeline.breaker.is_open());
        assert_eq!(timeline.breaker.begin(probe_at), Pass::Probe);
    }

    #[test]
    fn a_destination_that_asks_for_time_gets_it_from_all_notifications() {
        let mut timeline = Timeline::new();
        let change = timeline.attempt(0, Pass::Free, Ended::Failed(asked(30)));
        assert_eq!(change, Change::Opened(at(30_000)));
        assert_eq!(timeline.breaker.begin(at(29_999)), Pass::Wait(at(30_000)));
        assert_eq!(timeline.attempt(30, Pass::Probe, Ended::Failed(asked(u64::MAX))), Change::None);
        let hour = at(30_000 + RETRY_AFTER_MAX_MS);
        assert_eq!(timeline.breaker.begin(at(31_000)), Pass::Wait(hour));
        assert_eq!(timeline.attempt(3630, Pass::Probe, Ended::Delivered), Change::Closed);
    }

    #[test]
    fn attempts_that_began_before_it_opened_do_not_disturb_the_wait() {
        let (mut timeline, probe_at) = Timeline::opened();
        for ended in [Ended::Failed(AGAIN), Ended::Failed(asked(3000)), Ended::Failed(FINAL)] {
            assert_eq!(timeline.breaker.ended("hook", Pass::Free, ended, at(100)), Change::None);
            assert_eq!(timeline.breaker.begin(at(100)), Pass::Wait(probe_at));
        }
        assert_eq!(timeline.breaker.failures(), FAILURES_MAX);
        // One that was delivered after all is news.
        assert_eq!(timeline.breaker.ended("hook", Pass::Free, Ended::Delivered, at(200)), Change::Closed);
    }

    #[test]
    fn a_probe_that_a_crash_lost_does_not_block_the_receiver() {
        let (mut timeline, probe_at) = Timeline::opened();
        assert_eq!(timeline.breaker.begin(probe_at), Pass::Probe);
        let json = serde_json::to_string(&timeline.breaker).expect("json");
        let mut restored: Breaker = serde_json::from_str(&json).expect("written here");
        assert_eq!(restored, timeline.breaker);
        let lost_at = probe_at.plus_ms(PROBE_LOST_AFTER_MS);
        assert_eq!(restored.begin(lost_at.plus_ms(-1)), Pass::Wait(lost_at));
        assert_eq!(restored.begin(lost_at), Pass::Probe);
    }

    #[test]
    fn a_clock_that_is_put_back_does_not_block_the_receiver() {
        let (timeline, _) = Timeline::opened();
        let mut waiting = timeline.breaker.clone();
        assert_eq!(waiting.begin(at(-86_400_000)), Pass::Probe);
        let mut probing = timeline.breaker;
        assert_eq!(probing.begin(at(60_000)), Pass::Probe);
        assert_eq!(probing.begin(at(-86_400_000)), Pass::Probe);
    }

    #[test]
    fn a_broken_state_is_an_error_and_no_panic() {
        for json in ["", "{}", "[]", r#"{"failures":-1,"open":null}"#, r#"{"failures":0,"open":{}}"#] {
            assert!(serde_json::from_str::<Breaker>(json).is_err(), "{json}");
        }
        let json = r#"{"failures":4294967295,"open":{"probe_at":9223372036854775807,"probing_since":-9223372036854775808}}"#;
        let mut breaker: Breaker = serde_json::from_str(json).expect("numbers");
        let pass = breaker.begin(at(0));
        assert_eq!(pass, Pass::Probe);
        breaker.ended("hook", pass, Ended::Failed(AGAIN), at(0));
        assert!(matches!(breaker.begin(at(0)), Pass::Wait(_)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_wait_is_bounded_and_kept(id in ".{0,40}", attempts: u32, asked_ms: Option<u64>, now_ms in 0..1_i64 << 45) {
            let failed = Failed { retry_after: asked_ms.map(Duration::from_millis), ..AGAIN };
            let attempted =
                Attempted { notification: &id, attempts, decided_at: at(now_ms), at: at(now_ms), failed };
            let wait_ms = wait_ms(&attempted);
            prop_assert!((500..=RETRY_AFTER_MAX_MS).contains(&wait_ms));
            prop_assert!(wait_ms >= failed.asked_ms());
        }

        #[test]
        fn a_breaker_always_lets_a_probe_pass_within_an_hour(steps in prop::collection::vec((0..4_u8, 0..100_000_u64), 1..60)) {
            let mut breaker = Breaker::default();
            let mut now = at(0);
            for (kind, ms) in steps {
                now = now.plus_ms(ms as i64);
                let ended = match kind {
                    0 => Ended::Delivered,
                    1 => Ended::Failed(AGAIN),
                    2 => Ended::Failed(FINAL),
                    _ => Ended::Failed(Failed { retry_after: Some(Duration::from_millis(ms)), ..AGAIN }),
                };
                match breaker.begin(now) {
                    Pass::Wait(until) => {
                        prop_assert!(until > now && until.ms_since(now) <= RETRY_AFTER_MAX_MS);
                        prop_assert_eq!(breaker.clone().begin(until), Pass::Probe);
                    }
                    pass => {
                        breaker.ended("hook", pass, ended, now);
                    }
                }
            }
        }
    }
}
