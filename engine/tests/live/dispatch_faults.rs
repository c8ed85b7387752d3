//! Kills at random moments while many alerts fire and resolve and the receivers fail: nothing that was decided is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tocsin_testing::eventually;

use crate::dispatch_log::{Reason, notifications, reasons};
use crate::harness::{PATIENCE, Tocsin};
use crate::peers::Peers;
use crate::receiver::{Arrived, Mood, Random, Receiver};

const KILLS: u64 = 200;
const ALERTS: u64 = 1000;
/// Time in which each alert fires once.
const ROUND: Duration = Duration::from_secs(70);
const ROUNDS: u32 = 2;
/// How long each peer speaks.
const SPEAKS_FOR: Duration = Duration::from_secs(3);
/// How long it may take until all is told once nothing fails any more.
const DRAINED_WITHIN: Duration = Duration::from_secs(150);
/// An alert that is not told as resolved fires again within this time.
const AGAIN_WITHIN_MS: i64 = 15_000;
/// Names of the receivers: one is told of each alert on its own, one of all together.
const RECEIVERS: [&str; 2] = ["each", "all"];

/// One change of the timeline, as receivers see it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    alert: String,
    starts_at_ms: i64,
    status: String,
}

fn config(peers: &Peers, receivers: &[Receiver; 2]) -> String {
    let mut text = peers.config();
    text += "[dispatch.flapping]\nchanges = 0\n\
             [dispatch.route]\nreceiver = \"all\"\ngroup_by = [\"alertname\"]\ngroup_wait = \"200ms\"\n\
             group_interval = \"1s\"\nrepeat_interval = \"4h\"\n\
             [[dispatch.route.routes]]\nreceiver = \"each\"\ngroup_by = [\"...\"]\ncontinue = true\n\
             [[dispatch.route.routes]]\nreceiver = \"all\"\n";
    for (name, receiver) in RECEIVERS.iter().zip(receivers) {
        text += &format!(
            "[[receiver]]\nname = {name:?}\n[receiver.webhook]\nurl = {:?}\ntimeout = \"1s\"\n",
            receiver.url()
        );
    }
    text
}

/// A change and when it was; unix ms.
#[derive(Debug, Clone)]
struct Change {
    told: Told,
    at_ms: i64,
}

/// The peers that speak at a moment: each for a while in each round, in turn.
fn speaking(at: Duration) -> impl Iterator<Item = u64> {
    (0..ALERTS).filter(move |peer| {
        let begins = ROUND.mul_f64(*peer as f64 / ALERTS as f64);
        (0..ROUNDS).any(|round| {
            let begins = begins + ROUND * round;
            at >= begins && at < begins + SPEAKS_FOR
        })
    })
}

/// Kills and starts it again until enough was killed and all peers have spoken. Every second time it has come so far that
/// it answers: on a slow machine nothing would ever be decided otherwise.
fn kill_at_random(tocsin: &mut Tocsin, random: &mut Random, is_over: &AtomicBool) -> u64 {
    let mut kills = 0;
    while kills < KILLS || !is_over.load(Ordering::Relaxed) {
        if kills % 2 == 0 {
            eventually(PATIENCE, "tocsin to be ready", || tocsin.get("/-/ready").ok());
        }
        std::thread::sleep(Duration::from_millis(random.below(1000)));
        assert!(!tocsin.process().has_ended(), "it ended by itself:\n{}", tail(&tocsin.log()));
        tocsin.kill();
        kills += 1;
        tocsin.start_unwatched();
    }
    kills
}

/// The alert of a change, as Alertmanager names it: FNV-1a over its labels in order of names.
fn fingerprint(change: &Value) -> String {
    let text = |name: &str| change[name].as_str().expect("text").to_string();
    let labels = [
        ("alertname", text("rule")),
        ("node", text("node")),
        ("peer_id", change["key"]["peer_id"].to_string()),
        ("severity", text("severity")),
        ("status", "stable".to_string()),
    ];
    let bytes =
        labels.iter().flat_map(|(name, value)| name.bytes().chain([0xff]).chain(value.bytes()).chain([0xff]));
    let hash = bytes.fold(14_695_981_039_346_656_037_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(1_099_511_628_211)
    });
    format!("{hash:016x}")
}

/// What the timeline says that fired and resolved.
fn changes(tocsin: &Tocsin) -> Vec<Change> {
    let mut since = BTreeMap::new();
    let mut changes = Vec::new();
    for change in tocsin.timeline() {
        let (alert, at_ms) = (fingerprint(&change), change["at_ms"].as_i64().expect("a number"));
        let status = change["state"].as_str().expect("text").to_string();
        match status.as_str() {
            "firing" => _ = since.insert(alert.clone(), at_ms),
            "resolved" => {}
            _ => continue,
        }
        let starts_at_ms = since[&alert];
        changes.push(Change { told: Told { alert, starts_at_ms, status }, at_ms });
    }
    changes
}

/// What a notification tells.
fn tells(arrived: &Arrived) -> Vec<Told> {
    let body = arrived.json();
    let alerts = body["alerts"].as_array().expect("alerts").iter();
    let tell = |alert: &Value| {
        let text = |name: &str| alert[name].as_str().expect("text").to_string();
        let starts_at: jiff::Timestamp = text("startsAt").parse().expect("an instant");
        Told { alert: text("fingerprint"), starts_at_ms: starts_at.as_millisecond(), status: text("status") }
    };
    alerts.map(tell).collect()
}

/// What a receiver was told.
fn told(receiver: &Receiver) -> BTreeSet<Told> {
    receiver.arrived().iter().flat_map(tells).collect()
}

/// Why a receiver need not have been told of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Told,
    /// A decision in the store says why not.
    Decided,
    /// It fired again before the group was told, and that was told.
    FiredAgain,
}

/// What a receiver knows of each change; none if it should have been told and was not.
fn knowledge(
    changes: &[Change],
    name: &str,
    told: &BTreeSet<Told>,
    reasons: &[Reason],
) -> Vec<(Told, Option<Known>)> {
    let why: BTreeSet<(&str, i64)> = reasons
        .iter()
        .filter(|reason| reason.receiver == name || reason.receiver.is_empty())
        .filter(|reason| !["fired", "grouped", "notified"].contains(&reason.kind.as_str()))
        // For a receiver: it resolved before that was told that it fires. Without one it is what the alert did.
        .filter(|reason| reason.kind != "resolved" || !reason.receiver.is_empty())
        .map(|reason| (reason.alert.as_str(), reason.starts_at_ms))
        .collect();
    let mut next: BTreeMap<&str, &Change> = BTreeMap::new();
    let mut known = Vec::new();
    for change in changes.iter().rev() {
        let Change { told: what, at_ms } = change;
        let after = next.insert(&what.alert, change);
        let is_again = |after: &Change| after.at_ms - at_ms < AGAIN_WITHIN_MS && told.contains(&after.told);
        let known_as = if told.contains(what) {
            Some(Known::Told)
        } else if why.contains(&(what.alert.as_str(), what.starts_at_ms)) {
            Some(Known::Decided)
        } else if what.status == "resolved" && after.is_some_and(is_again) {
            Some(Known::FiredAgain)
        } else {
            None
        };
        known.push((what.clone(), known_as));
    }
    known
}

/// The same for all receivers.
fn all_knowledge(tocsin: &Tocsin, receivers: &[Receiver; 2]) -> Vec<(Told, Option<Known>)> {
    let (changes, reasons) = (changes(tocsin), reasons(tocsin));
    let both = RECEIVERS.iter().zip(receivers);
    both.flat_map(|(name, receiver)| knowledge(&changes, name, &told(receiver), &reasons)).collect()
}

/// Waits until nothing fires, nothing waits and nothing is missing.
fn drain(tocsin: &Tocsin, receivers: &[Receiver; 2]) {
    let began = Instant::now();
    let mut seen = String::new();
    loop {
        let changes = changes(tocsin);
        let firing = changes.iter().filter(|change| change.told.status == "firing").count();
        let pending = notifications(tocsin).iter().filter(|stored| stored.state == "pending").count();
        let known = all_knowledge(tocsin, receivers);
        let missing: Vec<Told> =
            known.into_iter().filter(|(_, known)| known.is_none()).map(|(change, _)| change).collect();
        let open = 2 * firing - changes.len();
        if open == 0 && pending == 0 && missing.is_empty() {
            return;
        }
        let state = format!(
            "{open} fire, {pending} wait, {} are missing, such as {:?}",
            missing.len(),
            missing.first()
        );
        if began.elapsed() > DRAINED_WITHIN {
            let story = missing.first().map(|told| story(tocsin, receivers, &told.alert)).unwrap_or_default();
            panic!("not drained: {state} (before: {seen})\n{story}\n{}", tail(&tocsin.log()));
        }
        seen = state;
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// All that is known of an alert, for the report of a failure.
fn story(tocsin: &Tocsin, receivers: &[Receiver; 2], alert: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let timeline = tocsin.timeline();
    lines.extend(timeline.iter().filter(|change| fingerprint(change) == alert).map(Value::to_string));
    lines.extend(
        reasons(tocsin).iter().filter(|reason| reason.alert == alert).map(|reason| format!("{reason:?}")),
    );
    for receiver in receivers {
        let told = told(receiver);
        lines.extend(told.iter().filter(|told| told.alert == alert).map(|told| format!("{told:?}")));
    }
    lines.join("\n")
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Each decided notification arrived; those that arrived more than once are the same. Returns deliveries and repeats.
fn check_arrived(tocsin: &Tocsin, receivers: &[Receiver; 2]) -> (usize, usize) {
    let stored = notifications(tocsin);
    let (mut deliveries, mut repeats) = (0, 0);
    for (name, receiver) in RECEIVERS.iter().zip(receivers) {
        let mut bodies: BTreeMap<String, String> = BTreeMap::new();
        for arrived in receiver.arrived() {
            deliveries += 1;
            match bodies.get(&arrived.id) {
                Some(body) => {
                    repeats += 1;
                    assert_eq!(*body, arrived.body, "{name}: {} differs", arrived.id);
                }
                None => _ = bodies.insert(arrived.id, arrived.body),
            }
        }
        let taken: BTreeSet<String> = receiver.taken().into_iter().map(|arrived| arrived.id).collect();
        for notification in stored.iter().filter(|stored| stored.receiver == *name) {
            assert_eq!(notification.state, "delivered", "{notification:?}");
            assert!(taken.contains(&notification.id), "{notification:?} never arrived");
        }
        for id in bodies.keys() {
            let is_stored = stored.iter().any(|stored| stored.id == *id && stored.receiver == *name);
            assert!(is_stored, "{name}: {id} was sent and is not in the store");
        }
    }
    (deliveries, repeats)
}

/// What is told of each alert on its own is decided once, with one id, and arrives in order. Returns how much was told.
fn check_order(receiver: &Receiver) -> usize {
    let mut ids: BTreeMap<Told, String> = BTreeMap::new();
    for arrived in receiver.arrived() {
        for told in tells(&arrived) {
            if told.status == "firing" {
                let resolved = Told { status: "resolved".to_string(), ..told.clone() };
                assert!(
                    ids.contains_key(&told) || !ids.contains_key(&resolved),
                    "{told:?} first arrived after it was told as resolved"
                );
            }
            let id = ids.entry(told.clone()).or_insert_with(|| arrived.id.clone());
            assert_eq!(*id, arrived.id, "{told:?} was decided twice");
        }
    }
    ids.len()
}

#[test]
fn nothing_decided_is_lost_by_kills_at_random_moments_while_receivers_fail() {
    let began = Instant::now();
    let seed = std::env::var("TOCSIN_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("TOCSIN_SEED={seed} gives the same kills and failures");
    let receivers = [1, 2].map(|number| Receiver::start(Mood::FailsOneInThree, seed * 3 + number));
    let peers = Peers::start();
    let mut tocsin = Tocsin::run(&config(&peers, &receivers));
    let is_over = AtomicBool::new(false);
    let kills = std::thread::scope(|scope| {
        scope.spawn(|| {
            let begin = Instant::now();
            while begin.elapsed() < ROUND * ROUNDS + SPEAKS_FOR {
                peers.speak(speaking(begin.elapsed()));
                std::thread::sleep(Duration::from_millis(250));
            }
            is_over.store(true, Ordering::Relaxed);
        });
        kill_at_random(&mut tocsin, &mut Random::new(seed), &is_over)
    });
    let killed_s = began.elapsed().as_secs();
    drain(&tocsin, &receivers);
    tocsin.stop();

    let changes = changes(&tocsin);
    let alerts: BTreeSet<&str> = changes.iter().map(|change| change.told.alert.as_str()).collect();
    let (deliveries, repeats) = check_arrived(&tocsin, &receivers);
    let known = all_knowledge(&tocsin, &receivers);
    let count = |as_what| known.iter().filter(|(_, known)| *known == Some(as_what)).count();
    let (told, decided, fired_again) = (count(Known::Told), count(Known::Decided), count(Known::FiredAgain));
    let failures: u64 = receivers.iter().flat_map(|receiver| receiver.failures().into_values()).sum();
    println!(
        "{kills} kills in {killed_s} s, {} alerts, {} changes, {} notifications, {deliveries} deliveries, {repeats} \
         repeats with the same id and body, {failures} failures of receivers, {} s in all",
        alerts.len(),
        changes.len(),
        notifications(&tocsin).len(),
        began.elapsed().as_secs()
    );
    println!(
        "each change for each receiver: {told} told, {decided} not for a reason in the store, {fired_again} resolved \
         and fired again before it was told"
    );
    println!("failures: {:?}", receivers.each_ref().map(Receiver::failures));
    assert!(kills >= KILLS);
    assert!(!tocsin.log().contains("panicked"), "{}", tail(&tocsin.log()));
    assert!(check_order(&receivers[0]) > alerts.len(), "alerts are told one by one");
    assert!(decided * 10 <= known.len(), "{decided} of {} are not told for a reason", known.len());
    assert!(fired_again * 20 <= known.len(), "{fired_again} of {} fired again", known.len());
    assert_eq!(told + decided + fired_again, known.len());
    assert!(told * 10 >= known.len() * 8, "most is told");
    assert!(alerts.len() as u64 >= ALERTS * 9 / 10, "only {} alerts fired", alerts.len());
    assert!(
        failures > 100 && repeats > 0,
        "{failures} failures, {repeats} repeats: they are what this is about"
    );
}
