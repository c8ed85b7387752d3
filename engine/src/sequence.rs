//! Puts one node's events into the order of their own time.
//!
//! Events arrive a little out of order (an outbound pong often precedes the ping it answers). They are held until the
//! allowed lateness has passed on the node's own clock and released in order of time; what comes later still is
//! released at once, at the time already reached, and counted. Nothing is dropped but an event whose time no other
//! event bears out.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// How long an event is waited for. Recordings of peer-observer are out of order by up to 70 ms.
pub const ALLOWED_LATENESS_MS: i64 = 80;
/// Events held at most; a node that sends more within the lateness has them released early.
const HELD_MAX: usize = 262_144;
/// A step of time further forward than this needs a second event to be believed.
pub const JUMP_MS: i64 = 60_000;
/// A last event this far ahead, which nothing can bear out any more, is believed.
const DAY_MS: i64 = 86_400_000;
/// Events in a row further behind than this mean that the node's clock was set back.
const BEHIND_MS: i64 = 10_000;
/// How many in a row.
const BEHIND_EVENTS: u32 = 50;
/// Where arrivals are stamped, how long a row of them must last: long enough to tell a clock from a backlog.
const BEHIND_SPAN_MS: i64 = 5_000;
/// The lowest difference between arrival and event time of this span is the node's skew.
const SKEW_SPAN_MS: i64 = 300_000;

/// What happened to a node's events on the way; all totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Released after their time had passed.
    pub late: u64,
    /// Dropped because their time was far ahead and no other event bore it out.
    pub implausible: u64,
    /// Times the node's clock was set back or forth.
    pub clock_steps: u64,
}

/// When an event arrived.
#[derive(Debug, Clone, Copy)]
pub enum Arrival {
    /// Stamped on arrival.
    Stamped(Timestamp),
    /// Not recorded, but worked out, see [`Sequencer::derive_arrival`].
    Derived(Timestamp),
}

/// Holds and orders the events of one node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sequencer<T> {
    held: VecDeque<(Timestamp, T)>,
    /// Latest event time seen.
    newest: Timestamp,
    /// Events up to here are released.
    watermark: Timestamp,
    suspect: Option<(Timestamp, T)>,
    behind: Behind,
    /// Added to event times since the node's clock was set.
    shift_ms: i64,
    skew: Skew,
    /// What happened so far.
    pub counts: Counts,
}

/// Events in a row that are behind what the node sent before.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Behind {
    events: u32,
    /// Time and arrival of the first of them.
    first_at: Timestamp,
    first_arrived_at: Timestamp,
}

/// Lowest difference between arrival and event time, over two spans that take turns.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Skew {
    current_ms: i64,
    previous_ms: i64,
    until: Timestamp,
}

impl<T> Default for Sequencer<T> {
    fn default() -> Self {
        Sequencer {
            held: VecDeque::new(),
            newest: Timestamp::MIN,
            watermark: Timestamp::MIN,
            suspect: None,
            behind: Behind::default(),
            shift_ms: 0,
            skew: Skew { current_ms: i64::MAX, previous_ms: i64::MAX, until: Timestamp::MIN },
            counts: Counts::default(),
        }
    }
}

impl<T> Sequencer<T> {
    /// Takes an event. Returns the latest event time now believed.
    pub fn accept(&mut self, event_at: Timestamp, arrival: Arrival, item: T) -> Timestamp {
        let mut at = event_at.plus_ms(self.shift_ms);
        let is_jump = self.newest != Timestamp::MIN && at.ms_since(self.newest) > JUMP_MS;
        let is_borne_out = matches!(arrival, Arrival::Stamped(arrived_at) if self.fits(at, arrived_at));
        if is_jump && !is_borne_out {
            return self.suspect(at, arrival, item);
        }
        if let Some((_, _)) = self.suspect.take() {
            self.counts.implausible += 1;
        }
        if self.newest.ms_since(at) > BEHIND_MS {
            if self.behind.is_clock_set_back(at, arrival) {
                at = self.step_clock(at, self.time_at(arrival));
            }
        } else {
            self.behind = Behind::default();
        }
        self.hold(at, arrival, item)
    }

    /// A time far ahead is believed when the next event is no less far ahead; until then it is put aside.
    fn suspect(&mut self, at: Timestamp, arrival: Arrival, item: T) -> Timestamp {
        match self.suspect.take() {
            Some((before, earlier)) if at.ms_since(before) >= -JUMP_MS => {
                let (mut before, mut at) = (before, at);
                if let Arrival::Stamped(arrived_at) = arrival
                    && arrived_at.ms_since(self.expected_arrival()) < JUMP_MS
                {
                    // The arrival shows how much time has really passed: the clock was set.
                    at = self.step_clock(at, self.newest);
                    before = at;
                }
                self.hold(before, arrival, earlier);
                self.hold(at, arrival, item)
            }
            dropped => {
                self.counts.implausible += u64::from(dropped.is_some());
                self.suspect = Some((at, item));
                self.newest
            }
        }
    }

    fn step_clock(&mut self, at: Timestamp, now: Timestamp) -> Timestamp {
        self.shift_ms += now.ms_since(at);
        self.counts.clock_steps += 1;
        self.behind = Behind::default();
        now
    }

    /// How late it is on the node when an event arrives, as its earlier events show.
    fn time_at(&self, arrival: Arrival) -> Timestamp {
        match arrival {
            Arrival::Stamped(arrived_at) => self.newest.max(arrived_at.plus_ms(-self.skew_ms())),
            Arrival::Derived(_) => self.newest,
        }
    }

    fn expected_arrival(&self) -> Timestamp {
        self.newest.plus_ms(self.skew_ms())
    }

    fn hold(&mut self, at: Timestamp, arrival: Arrival, item: T) -> Timestamp {
        self.newest = self.newest.max(at);
        self.skew.update(arrival, at);
        let at = if at < self.watermark {
            self.counts.late += 1;
            self.watermark
        } else {
            at
        };
        let mut place = self.held.len();
        while place > 0 && self.held[place - 1].0 > at {
            place -= 1;
        }
        if place == self.held.len() {
            self.held.push_back((at, item));
        } else {
            self.held.insert(place, (at, item));
        }
        self.watermark = self.watermark.max(self.newest.plus_ms(-ALLOWED_LATENESS_MS));
        if self.held.len() > HELD_MAX {
            self.watermark = self.watermark.max(self.held[self.held.len() - HELD_MAX].0);
        }
        self.newest
    }

    /// Notes the time of an event that nobody will look at. False if only [`Sequencer::accept`] can judge the time.
    pub fn observe(&mut self, event_at: Timestamp, arrival: Arrival) -> bool {
        let at = event_at.plus_ms(self.shift_ms);
        let is_plain = self.suspect.is_none()
            && self.newest != Timestamp::MIN
            && at.ms_since(self.newest).abs() <= BEHIND_MS
            && at >= self.watermark;
        if is_plain {
            self.behind = Behind::default();
            self.newest = self.newest.max(at);
            self.skew.update(arrival, at);
            self.watermark = self.watermark.max(self.newest.plus_ms(-ALLOWED_LATENESS_MS));
        }
        is_plain
    }

    /// When an event arrived that does not say so, if it is `now` on the other nodes.
    ///
    /// A recording in order of time shows the newest time of its nodes. A node whose first event is far ahead of the
    /// others has a clock that is ahead, and does not make the others late.
    pub fn derive_arrival(&self, event_at: Timestamp, now: Timestamp) -> Timestamp {
        let is_first = self.newest == Timestamp::MIN;
        if is_first && now != Timestamp::MIN && event_at.ms_since(now) > JUMP_MS {
            return now;
        }
        now.max(event_at.plus_ms(self.skew_ms().min(0)))
    }

    /// True if an event arrived about as long after its time as the node's events do.
    pub fn fits(&self, event_at: Timestamp, received_at: Timestamp) -> bool {
        received_at.ms_since(event_at).saturating_sub(self.skew_ms()).abs() <= JUMP_MS
    }

    /// Latest event time seen.
    pub fn newest(&self) -> Timestamp {
        self.newest
    }

    /// Lets time pass without events: it is `now` where arrivals are stamped.
    pub fn advance(&mut self, now: Timestamp) {
        // Before its first event nobody knows how late it is on the node.
        if self.newest == Timestamp::MIN {
            return;
        }
        let here = now.plus_ms(-self.skew_ms() - ALLOWED_LATENESS_MS);
        // Once it is as late as an event said, there is no doubt about it.
        if let Some((at, item)) = self.suspect.take_if(|(at, _)| *at <= here) {
            self.hold(at, Arrival::Derived(now), item);
        }
        self.watermark = self.watermark.max(here);
    }

    /// Nothing more will come: everything held may go.
    pub fn finish(&mut self) {
        match self.suspect.take() {
            Some((at, item)) if at.ms_since(self.newest) <= DAY_MS => {
                self.hold(at, Arrival::Derived(at), item);
            }
            dropped => self.counts.implausible += u64::from(dropped.is_some()),
        }
        self.watermark = self.watermark.max(self.newest);
    }

    /// The next event whose time has come.
    pub fn pop(&mut self) -> Option<(Timestamp, T)> {
        if self.held.front()?.0 <= self.watermark { self.held.pop_front() } else { None }
    }

    /// All events held, and the one in doubt.
    pub fn items_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.held.iter_mut().chain(&mut self.suspect).map(|(_, item)| item)
    }

    /// True if no event is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Everything up to here has been released.
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// How far arrivals are behind the node's clock: latency plus the difference of the clocks.
    pub fn skew_ms(&self) -> i64 {
        let lowest = self.skew.current_ms.min(self.skew.previous_ms);
        if lowest == i64::MAX { 0 } else { lowest }
    }
}

impl Behind {
    /// Counts an event that is behind. True if the clock was set back: it runs on at the pace of the arrivals. A
    /// backlog comes in faster than it happened. Without stamps nobody can tell, and their number must do.
    fn is_clock_set_back(&mut self, at: Timestamp, arrival: Arrival) -> bool {
        let (Arrival::Stamped(arrived_at) | Arrival::Derived(arrived_at)) = arrival;
        if self.events == 0 {
            (self.first_at, self.first_arrived_at) = (at, arrived_at);
        }
        self.events += 1;
        if self.events < BEHIND_EVENTS || matches!(arrival, Arrival::Derived(_)) {
            return self.events >= BEHIND_EVENTS;
        }
        let (went_ms, passed_ms) = (at.ms_since(self.first_at), arrived_at.ms_since(self.first_arrived_at));
        if passed_ms < BEHIND_SPAN_MS {
            return false;
        }
        let is_set_back = went_ms <= passed_ms + passed_ms / 2;
        if !is_set_back {
            *self = Behind::default();
        }
        is_set_back
    }
}

impl Skew {
    fn update(&mut self, arrival: Arrival, event_at: Timestamp) {
        let (Arrival::Stamped(received_at) | Arrival::Derived(received_at)) = arrival;
        let difference_ms = received_at.ms_since(event_at);
        if received_at >= self.until {
            self.previous_ms = self.current_ms;
            self.current_ms = difference_ms;
            self.until = received_at.plus_ms(SKEW_SPAN_MS);
        } else {
            self.current_ms = self.current_ms.min(difference_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(at: i64) -> Timestamp {
        Timestamp::from_unix_ms(1_000_000_000_000 + at)
    }

    /// Feeds events by their times and returns the times they are released at, and the counts.
    fn run(times: &[i64]) -> (Vec<i64>, Counts) {
        let mut sequencer = Sequencer::default();
        let mut released = Vec::new();
        for time in times {
            let arrival = Arrival::Derived(sequencer.derive_arrival(ms(*time), sequencer.newest()));
            sequencer.accept(ms(*time), arrival, *time);
            while let Some((at, _)) = sequencer.pop() {
                released.push(at.ms_since(ms(0)));
            }
        }
        sequencer.finish();
        while let Some((at, _)) = sequencer.pop() {
            released.push(at.ms_since(ms(0)));
        }
        (released, sequencer.counts)
    }

    #[test]
    fn events_are_released_in_order_of_their_time() {
        let (released, counts) = run(&[0, 50, 20, 100, 60, 200]);
        assert_eq!(released, [0, 20, 50, 60, 100, 200]);
        assert_eq!(counts, Counts::default());
    }

    #[test]
    fn an_event_after_the_allowed_lateness_is_counted_and_kept() {
        let (released, counts) = run(&[0, 1000, 100]);
        assert_eq!(released, [0, 920, 1000]);
        assert_eq!(counts.late, 1);
    }

    #[test]
    fn events_of_the_same_time_keep_their_order_of_arrival() {
        let mut sequencer = Sequencer::default();
        for item in 0..5 {
            sequencer.accept(ms(7), Arrival::Derived(ms(7)), item);
        }
        sequencer.finish();
        let order: Vec<i32> = std::iter::from_fn(|| sequencer.pop()).map(|(_, item)| item).collect();
        assert_eq!(order, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn one_time_far_ahead_is_not_believed() {
        let (released, counts) = run(&[0, 1000, 900_000_000_000, 2000, 3000]);
        assert_eq!(released, [0, 1000, 2000, 3000]);
        assert_eq!(counts.implausible, 1);
    }

    #[test]
    fn a_gap_is_believed_when_a_second_event_bears_it_out() {
        let (released, counts) = run(&[0, 86_400_000, 86_400_010]);
        assert_eq!(released, [0, 86_400_000, 86_400_010]);
        assert_eq!(counts, Counts::default());
    }

    #[test]
    fn events_minutes_apart_are_all_believed() {
        let (released, counts) = run(&[0, 120_000, 240_000, 600_000]);
        assert_eq!(released, [0, 120_000, 240_000, 600_000]);
        assert_eq!(counts, Counts::default());
    }

    #[test]
    fn a_clock_set_back_is_followed_after_some_events() {
        let mut times: Vec<i64> = vec![0, 50_000];
        times.extend((0..100).map(|n| 20_000 + n * 10));
        let (released, counts) = run(&times);
        assert_eq!(counts.clock_steps, 1);
        assert!(counts.late < u64::from(BEHIND_EVENTS));
        assert!(released.is_sorted());
        assert_eq!(released.len(), times.len());
    }

    #[test]
    fn a_skewed_clock_does_not_make_events_late() {
        let mut sequencer = Sequencer::default();
        for n in 0..100 {
            // The node's clock is an hour ahead of ours, and events take 5 to 9 ms.
            let arrival = Arrival::Stamped(ms(n * 100 + 5 + n % 5));
            sequencer.accept(ms(3_600_000 + n * 100), arrival, n);
            sequencer.advance(ms(n * 100 + 9));
        }
        assert_eq!(sequencer.counts, Counts::default());
        assert_eq!(sequencer.skew_ms(), 5 - 3_600_000);
    }
}
