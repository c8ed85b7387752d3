//! A live engine, whose clock ticks between events, and a replay of what it recorded come to the same.

use proptest::prelude::*;
use proptest::test_runner::TestError;
use tocsin_engine::engine::{Engine, Input};
use tocsin_engine::time::Timestamp;

use super::stream::{self, Fact, Recorded, START_MS, Step};

/// How the clock of a live engine ticks.
#[derive(Debug, Clone, Copy)]
enum Clock {
    /// Every 100 ms.
    Even,
    /// Every 37 ms to a minute, and now and then once more with a time that is over.
    Uneven,
    /// When it is convenient: long after it was due, and just before the next event.
    Late,
}

struct Run {
    engine: Engine,
    lines: Vec<String>,
}

impl Run {
    fn new() -> Run {
        Run { engine: stream::engine(), lines: Vec::new() }
    }

    fn step(&mut self, input: Input) {
        let changes = self.engine.step(input);
        self.lines.extend(changes.iter().map(stream::line));
    }

    fn event(&mut self, event: &Recorded, is_stamped: bool) {
        self.step(Input::Event { frame: event.frame(is_stamped), node: "unnamed", origin: 0 });
    }

    fn tick(&mut self, now_ms: i64) {
        self.step(Input::Tick(Timestamp::from_unix_ms(START_MS + now_ms)));
    }

    /// The timeline, the problems, and what was seen of each node.
    fn end(mut self) -> (Vec<String>, String) {
        let problems = self.engine.take_problems();
        (self.lines, format!("{problems:#?} {:#?}", self.engine.nodes()))
    }
}

fn live(events: &[Recorded], clock: Clock) -> Run {
    let mut run = Run::new();
    let mut now_ms = -1_000;
    let mut mixed = 1_u64;
    for event in events {
        while now_ms < event.received_ms {
            mixed = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
            let step_ms = match clock {
                Clock::Even => 100,
                Clock::Uneven if mixed.is_multiple_of(3) => 37 + mixed as i64 % 60_000,
                Clock::Uneven => 37 + mixed as i64 % 200,
                Clock::Late => event.received_ms - now_ms,
            };
            now_ms += step_ms.abs();
            if now_ms <= event.received_ms {
                run.tick(now_ms);
                if matches!(clock, Clock::Uneven) && mixed.is_multiple_of(5) {
                    run.tick(now_ms - 10_000);
                }
            }
        }
        now_ms = event.received_ms;
        run.event(event, true);
    }
    run
}

fn replay(events: &[Recorded]) -> Run {
    let mut run = Run::new();
    events.iter().for_each(|event| run.event(event, true));
    run
}

fn check(steps: &[Step]) -> Result<usize, TestCaseError> {
    let events = stream::recording(steps);
    let replayed = replay(&events).end();
    for clock in [Clock::Even, Clock::Uneven, Clock::Late] {
        let live = live(&events, clock).end();
        if let Some(first) =
            (0..live.0.len().max(replayed.0.len())).find(|n| live.0.get(*n) != replayed.0.get(*n))
        {
            let (live, replayed) = (live.0.get(first), replayed.0.get(first));
            prop_assert!(false, "{:?}, line {}:\nlive     {:?}\nreplayed {:?}", clock, first, live, replayed);
        }
        prop_assert_eq!(&live.1, &replayed.1, "{:?}", clock);
    }
    Ok(replayed.0.len())
}

#[test]
fn ticks_of_the_live_clock_change_nothing() {
    let lines = std::cell::Cell::new(0);
    let outcome = stream::runner(24, 11).run(&stream::steps(), |steps| {
        lines.set(lines.get() + check(&steps)?);
        Ok(())
    });
    if let Err(TestError::Fail(reason, steps)) = &outcome {
        panic!("{reason}\n{steps:#?}");
    }
    outcome.expect("no case is given up");
    assert!(lines.get() > 1_000, "the recordings say too little: {} lines", lines.get());
}

fn reports(from_ms: i64, count: i64, step_ms: i64, received: impl Fn(i64) -> i64) -> Vec<Recorded> {
    let report = |n| Recorded {
        node: "ada",
        at_ms: from_ms + n * step_ms,
        received_ms: received(n),
        fact: Fact::Mempool(1000),
    };
    (0..count).map(report).collect()
}

#[test]
fn a_backlog_is_not_a_clock_set_back() {
    // Ten minutes of events arrive within one to twenty seconds, after a fresh one.
    for spacing_ms in [2, 30] {
        let mut events = reports(0, 100, 1_000, |n| n * 1_000 + 5);
        events.extend(reports(700_000, 1, 0, |_| 700_005));
        events.extend(reports(100_000, 600, 1_000, |n| 700_006 + n * spacing_ms));
        events.extend(reports(730_000, 100, 1_000, |n| 730_005 + n * 1_000));
        let run = replay(&events);
        let node = &run.engine.nodes()[0];
        assert_eq!((node.clock_steps, node.implausible, node.skew_ms), (0, 0, 5), "{spacing_ms}");
        assert_eq!(run.end(), live(&events, Clock::Even).end());
    }
}

#[test]
fn a_clock_set_back_is_followed_where_arrivals_are_stamped() {
    let mut events = reports(4_000_000, 100, 1_000, |n| n * 1_000 + 5);
    events.extend(reports(500_000, 200, 1_000, |n| 100_000 + n * 1_000 + 5));
    let run = replay(&events);
    let node = &run.engine.nodes()[0];
    assert_eq!((node.clock_steps, node.late), (1, 49));
    assert_eq!(run.end(), live(&events, Clock::Even).end());
}

#[test]
fn a_gap_leaves_windows_filled_until_it_ends_with_stamps_or_without() {
    // `begun` fires while its window of three minutes is not filled.
    for is_stamped in [true, false] {
        let mut run = Run::new();
        let mut events = reports(500, 300, 1_000, |n| 500 + n * 1_000);
        events.extend(reports(600_500, 300, 1_000, |n| 600_500 + n * 1_000));
        events.iter().for_each(|event| run.event(event, is_stamped));
        let begun = run.lines.iter().filter(|line| line.contains(r#""rule":"begun""#));
        let states: Vec<(i64, bool)> = begun
            .map(|line| {
                let (line, _) = line.split_once('\t').expect("the line, and what it does not say");
                let change: serde_json::Value = serde_json::from_str(line).expect("JSON");
                (change["at_ms"].as_i64().expect("a time") - START_MS, change["state"] == "firing")
            })
            .collect();
        assert_eq!(states, [(610_000, true), (790_000, false)], "{is_stamped}");
    }
}
