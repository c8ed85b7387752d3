//! What holds for any sequence of inputs.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use tocsin_engine::dispatch::decision::DecisionKind;
use tocsin_engine::dispatch::{Dispatcher, Input, Outcome, Row};
use tocsin_proto::pb::notification::Status;

use super::scene::{Scene, routing};
use crate::stream::runner;

/// All there is, with short times.
const EVERYTHING: &str = r#"
    [route]
    receiver = "chat"
    group_by = ["alertname"]
    escalate = [{ after = "7m", receiver = "phone" }, { after = "30m", receiver = "slow" }]
    [[route.routes]]
    matchers = ['alertname="b"']
    receiver = "slow"
    continue = true
    group_by = ["..."]
    [[route.routes]]
    matchers = ['alertname=~"b|c"']
    receiver = "phone"
    group_wait = "0s"
    group_interval = "90s"
    repeat_interval = "20m"
    mute_time_intervals = ["quarter"]
    [[route.routes]]
    matchers = ['alertname="d"']
    receiver = "mute"
    [[inhibit_rules]]
    source_matchers = ['alertname="a"']
    target_matchers = ['alertname=~"a|c"']
    equal = ["peer"]
    [[time_intervals]]
    name = "quarter"
    time_intervals = [{ times = [{ start_time = "08:15", end_time = "08:30" }] }]
    [flapping]
    changes = 4
    within = "20m"
    calm = "10m"
"#;

const NAMES: [&str; 8] = ["a/1", "a/2", "b/1", "b/2", "b/3", "c/1", "d/1", "d/2"];
/// When the silences of a run have ended.
const SILENCED_FOR_S: u64 = 3600;

#[derive(Debug, Clone)]
enum Action {
    Fire(usize),
    Resolve(usize),
    Refresh(usize),
    Silence(usize, u64),
    Expire(usize),
    Acknowledge(usize),
    Unacknowledge(usize),
    Reconcile(u8),
    Tick,
}

/// Seconds to wait, and what happens then.
type Step = (u64, Action);

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    let action = prop_oneof![
        8 => name.clone().prop_map(Action::Fire),
        6 => name.clone().prop_map(Action::Resolve),
        1 => name.clone().prop_map(Action::Refresh),
        1 => (name.clone(), 1..SILENCED_FOR_S).prop_map(|(name, span_s)| Action::Silence(name, span_s)),
        1 => name.clone().prop_map(Action::Expire),
        1 => name.clone().prop_map(Action::Acknowledge),
        1 => name.prop_map(Action::Unacknowledge),
        1 => any::<u8>().prop_map(Action::Reconcile),
        1 => Just(Action::Tick),
    ];
    let wait_s = prop_oneof![4 => 0..30u64, 3 => 0..300u64, 1 => 0..5000u64];
    (wait_s, action)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..80)
}

/// A run over random steps; what it said, in order.
struct Run {
    scene: Scene,
    said: Vec<String>,
    at_s: u64,
}

impl Run {
    fn new() -> Run {
        Run { scene: Scene::new(EVERYTHING), said: Vec::new(), at_s: 0 }
    }

    fn wait(&mut self, wait_s: u64) {
        self.at_s += wait_s;
        while let Some(outcome) = self.scene.tick_within(self.at_s) {
            self.note(&outcome);
        }
    }

    fn take(&mut self, (wait_s, action): &Step) {
        self.wait(*wait_s);
        let name = |place: &usize| NAMES[*place];
        let line = match action {
            Action::Fire(place) => format!("fire {}", name(place)),
            Action::Resolve(place) => format!("resolve {}", name(place)),
            Action::Refresh(place) => format!("refresh {}", name(place)),
            Action::Silence(place, span_s) => {
                let alert = &name(place)[..1];
                format!("silence s{place} alertname={alert} until={}s", self.at_s + span_s)
            }
            Action::Expire(place) => format!("expire s{place}"),
            Action::Acknowledge(place) => format!("ack {} bob", name(place)),
            Action::Unacknowledge(place) => format!("unack {} bob", name(place)),
            Action::Reconcile(known) => {
                let known = NAMES.iter().enumerate().filter(|(place, _)| known & (1 << place) != 0);
                format!("reconcile {}", known.map(|(_, name)| *name).collect::<Vec<_>>().join(" "))
            }
            Action::Tick => return self.tick(),
        };
        let outcome = self.scene.input(&line);
        self.note(&outcome);
    }

    fn tick(&mut self) {
        if self.scene.dispatcher.next_due() == Some(self.scene.now) {
            return;
        }
        let outcome = self.scene.step(Input::Tick);
        assert!(outcome.rows.is_empty() && outcome.decisions.is_empty(), "nothing was due, but {outcome:?}");
    }

    fn note(&mut self, outcome: &Outcome) {
        self.said.extend(outcome.notifications.iter().map(|notification| format!("{notification:?}")));
        self.said.extend(outcome.decisions.iter().map(|decision| format!("{decision:?}")));
        self.said.extend(outcome.refused.clone());
    }

    /// Does all that is due, and hears from the engine what fires.
    fn reconcile(&mut self) {
        let outcome = self.scene.step(Input::Tick);
        self.note(&outcome);
        let alerts = self.scene.dispatcher.view(self.scene.now).alerts;
        let firing = alerts.iter().filter(|alert| alert.ends_at.is_none());
        let firing = firing.map(|alert| alert.fingerprint).collect();
        let outcome = self.scene.step(Input::Reconciled { firing, pending: Default::default() });
        self.note(&outcome);
    }

    /// Goes on with what the store has.
    fn restart(&mut self) {
        let rows: Vec<Row> = self.scene.rows();
        let (dispatcher, notes) = Dispatcher::restore(routing(EVERYTHING), &rows);
        assert_eq!(notes, [""; 0]);
        self.scene.dispatcher = dispatcher;
    }

    /// What receivers heard of episodes, in order of time.
    fn heard(&self) -> impl Iterator<Item = ((&str, &str, i64), Status)> {
        self.scene.notifications.iter().flat_map(|notification| {
            let receiver = notification.receiver.as_str();
            let alerts = notification.alerts.iter();
            alerts.map(move |alert| ((receiver, alert.fingerprint.as_str(), alert.starts_at), alert.status()))
        })
    }
}

#[test]
fn a_restored_dispatcher_goes_on_as_if_nothing_had_happened() {
    let notifications = std::cell::Cell::new(0);
    let inputs = (steps(), proptest::collection::vec(any::<Index>(), 1..4));
    runner(32, 41)
        .run(&inputs, |(steps, cuts)| {
            let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(steps.len())).collect();
            let (mut whole, mut cut) = (Run::new(), Run::new());
            for (number, step) in steps.iter().enumerate() {
                if cuts.contains(&number) {
                    let outcome = cut.scene.step(Input::Tick);
                    cut.note(&outcome);
                    cut.restart();
                    cut.reconcile();
                    whole.reconcile();
                }
                whole.take(step);
                cut.take(step);
            }
            whole.wait(20_000);
            cut.wait(20_000);
            let count = whole.said.len().max(cut.said.len());
            for place in 0..count {
                prop_assert_eq!(whole.said.get(place), cut.said.get(place), "{}", place);
            }
            prop_assert_eq!(whole.scene.rows(), cut.scene.rows());
            notifications.set(notifications.get() + whole.scene.notifications.len());
            Ok(())
        })
        .expect("holds");
    assert!(notifications.get() > 300, "{} notifications are too few to show it", notifications.get());
}

#[test]
fn no_two_notifications_have_the_same_id_and_threads_are_numbered() {
    runner(32, 42)
        .run(&steps(), |steps| {
            let mut run = Run::new();
            steps.iter().for_each(|step| run.take(step));
            run.wait(20_000);
            let mut threads: BTreeMap<&str, u32> = BTreeMap::new();
            let mut ids = std::collections::BTreeSet::new();
            for notification in &run.scene.notifications {
                prop_assert!(ids.insert(&notification.id), "{:?}", notification);
                prop_assert_eq!(notification.id.len(), 32);
                prop_assert!(!notification.alerts.is_empty());
                let number = threads.entry(&notification.thread).or_default();
                *number += 1;
                prop_assert_eq!(notification.number, *number);
            }
            Ok(())
        })
        .expect("holds");
}

#[test]
fn what_was_told_as_firing_is_told_as_resolved_once_all_resolved() {
    runner(32, 43)
        .run(&steps(), |steps| {
            let mut run = Run::new();
            steps.iter().for_each(|step| run.take(step));
            NAMES.iter().enumerate().for_each(|(place, _)| run.take(&(1, Action::Resolve(place))));
            run.wait(2 * 86_400);
            let known = run.heard().map(|((receiver, alert, _), status)| ((receiver, alert), status));
            for ((receiver, alert), status) in known.collect::<BTreeMap<_, _>>() {
                prop_assert!(receiver == "mute" || status == Status::Resolved, "{} {}", receiver, alert);
            }
            let view = run.scene.dispatcher.view(run.scene.now);
            prop_assert!(view.alerts.is_empty() && view.groups.is_empty(), "{:?}", view);
            Ok(())
        })
        .expect("holds");
}

#[test]
fn what_fires_and_is_not_hidden_is_told() {
    runner(32, 44)
        .run(&steps(), |steps| {
            let mut run = Run::new();
            steps.iter().for_each(|step| run.take(step));
            // Longer than any silence, mute and flapping, and as long as a repeat.
            run.wait(86_400);
            // A receiver may hear from the escalation of another group that an older episode ended.
            let known: BTreeMap<_, _> = run.heard().collect();
            for alert in run.scene.dispatcher.view(run.scene.now).alerts {
                if !alert.inhibited_by.is_empty() {
                    continue;
                }
                let (id, starts_at) = (alert.fingerprint.to_string(), alert.starts_at.unix_ms());
                for receiver in alert.receivers {
                    let told = known.get(&(receiver.as_str(), id.as_str(), starts_at));
                    prop_assert_eq!(told, Some(&Status::Firing), "{} {:?}", receiver, alert.labels);
                }
            }
            Ok(())
        })
        .expect("holds");
}

/// A week in which a hundred alerts change ten times each day, every few minutes.
#[test]
fn a_week_of_flapping_alerts() {
    let began_at = std::time::Instant::now();
    let mut scene = Scene::new(
        "[route]\nreceiver = \"chat\"\ngroup_by = [\"alertname\"]\n[flapping]\nchanges = 6\nwithin = \"1h\"\n\
         calm = \"30m\"",
    );
    let turns_of = |alert: u64| (0..10u64).map(move |turn| (turn * (180 + 3 * alert) + alert, alert, turn));
    let mut day: Vec<(u64, u64, u64)> = (0..100).flat_map(turns_of).collect();
    day.sort();
    for (number, (at_s, alert, turn)) in (0..7).flat_map(|number| day.iter().map(move |turn| (number, *turn)))
    {
        while scene.tick_within(number * 86_400 + at_s).is_some() {}
        let verb = if turn % 2 == 0 { "fire" } else { "resolve" };
        scene.input(&format!("{verb} a{}/{alert}", alert / 10));
    }
    scene.run_until("7d");
    let changes = day.len() * 7;
    println!(
        "{changes} changes of 100 alerts in a week: {} notifications, {} ms",
        scene.notifications.len(),
        began_at.elapsed().as_millis()
    );
    // Of each alert it is said once a day that it flaps.
    let flapping = scene.told_decisions(DecisionKind::Flapping);
    assert_eq!(flapping.values().copied().collect::<Vec<_>>(), vec![7; 100]);
    assert!(scene.notifications.len() < changes / 10, "{} notifications", scene.notifications.len());
    let view = scene.dispatcher.view(scene.now);
    assert!(view.alerts.is_empty() && view.groups.is_empty());
    let mut known = BTreeMap::new();
    for alert in scene.notifications.iter().flat_map(|notification| &notification.alerts) {
        known.insert(&alert.fingerprint, alert.status());
    }
    assert_eq!(known.values().copied().collect::<Vec<_>>(), vec![Status::Resolved; 100]);
}
