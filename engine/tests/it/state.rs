//! Snapshots and reloads: an engine that is restored goes on as if nothing had happened.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestError;
use tocsin_engine::engine::{Engine, Input, Library, StateError};
use tocsin_engine::rules::Rule;
use tocsin_engine::rules::file::RuleFile;
use tocsin_engine::rules::script::Sandbox;
use tocsin_engine::rules::series::SeriesList;
use tocsin_engine::rules::series_file;
use tocsin_engine::time::Timestamp;
use tocsin_engine::timeline::Change;
use tocsin_proto::archive::{ArchiveReader, Frame};
use tocsin_proto::schema::Schema;

use super::stream::{self, Fact, Recorded, START_MS};
use super::{recording, root};

/// A run of an engine and all it says.
struct Run {
    engine: Engine,
    lines: Vec<String>,
    problems: String,
}

impl Run {
    fn new(library: Library) -> Run {
        Run { engine: Engine::new(library), lines: Vec::new(), problems: String::new() }
    }

    fn take(&mut self, frame: Frame) {
        let changes = self.engine.step(Input::Event { frame, node: "unnamed", origin: 0 });
        self.note(&changes);
    }

    fn note(&mut self, changes: &[Change]) {
        self.lines.extend(changes.iter().map(stream::line));
        for problem in self.engine.take_problems() {
            self.problems += &format!("{problem:?}\n");
        }
    }

    /// Goes on in another engine with the same rules.
    fn move_to(&mut self, library: Library) {
        let bytes = self.engine.snapshot();
        let (engine, notes) =
            Engine::restore(library, &bytes).map_err(|(_, error)| error).expect("a snapshot");
        assert_eq!(notes, [""; 0]);
        self.engine = engine;
    }

    fn end(mut self) -> (Vec<String>, String) {
        let changes = self.engine.finish();
        self.note(&changes);
        let reports =
            format!("{:#?} {:#?} {:#?}", self.engine.nodes(), self.engine.rules(), self.engine.alerts());
        (self.lines, self.problems + reports.as_str())
    }
}

#[track_caller]
fn assert_same(whole: &(Vec<String>, String), cut: &(Vec<String>, String), what: &str) {
    let lines = whole.0.len().max(cut.0.len());
    if let Some(first) = (0..lines).find(|n| whole.0.get(*n) != cut.0.get(*n)) {
        panic!("{what}, line {first}:\nwhole {:?}\ncut   {:?}", whole.0.get(first), cut.0.get(first));
    }
    if let Some((whole, cut)) = whole.1.lines().zip(cut.1.lines()).find(|(whole, cut)| whole != cut) {
        panic!("{what}, reports:\nwhole {whole}\ncut   {cut}");
    }
}

#[test]
fn a_restored_engine_goes_on_as_if_nothing_had_happened() {
    let library = || stream::library(&stream::RULES);
    let lines = std::cell::Cell::new(0);
    let inputs = (stream::steps(), proptest::collection::vec(any::<Index>(), 1..4), any::<bool>());
    let outcome = stream::runner(40, 12).run(&inputs, |(steps, cuts, is_stamped)| {
        let events = stream::recording(&steps);
        let (mut whole, mut cut) = (Run::new(library()), Run::new(library()));
        let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(events.len() + 1)).collect();
        for (number, event) in events.iter().enumerate() {
            if cuts.contains(&number) {
                cut.move_to(library());
            }
            whole.take(event.frame(is_stamped));
            cut.take(event.frame(is_stamped));
        }
        let (whole, cut) = (whole.end(), cut.end());
        lines.set(lines.get() + whole.0.len());
        assert_same(&whole, &cut, "a random recording");
        Ok(())
    });
    if let Err(TestError::Fail(reason, steps)) = &outcome {
        panic!("{reason}\n{steps:#?}");
    }
    outcome.expect("no case is given up");
    assert!(lines.get() > 1_000, "the recordings say too little: {} lines", lines.get());
}

/// The rules of the project.
pub fn rules_of_the_project() -> Library {
    let sandbox = Sandbox::new();
    let mut paths = Vec::new();
    for topic in
        std::fs::read_dir(root().join("rules")).expect("rules").flatten().filter(|e| e.path().is_dir())
    {
        let files =
            std::fs::read_dir(topic.path()).expect("a folder").map(|entry| entry.expect("readable").path());
        paths.extend(files.filter(|path| path.extension().is_some_and(|ending| ending == "rhai")));
    }
    paths.sort();
    let list = root().join("rules/anomaly/series.toml");
    let list = std::fs::read_to_string(&list).expect("the list of series");
    let series =
        SeriesList::new(Schema::embedded(), series_file::read_list("series.toml", &list).series, &[]);
    let load = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).expect("readable");
        let file = RuleFile::read(&sandbox, &path.display().to_string(), &text).expect("right");
        if file.is_for_each_series() {
            let (rules, errors) = file.rules_of_series(Schema::embedded(), &series.series);
            assert_eq!(errors, []);
            return rules;
        }
        vec![file.rule(Schema::embedded()).expect("right")]
    };
    let rules: Vec<Rule> = paths.iter().flat_map(load).collect();
    let known: Vec<String> = rules.iter().map(|rule| rule.name.clone()).collect();
    Library::new(sandbox, rules, &known).expect("the rules fit")
}

#[track_caller]
fn check_incident(name: &str) {
    let bytes = std::fs::read(recording(name)).expect("a recording");
    let frames: Vec<Frame> =
        ArchiveReader::new(&bytes[..]).expect("a header").map(|frame| frame.expect("intact")).collect();
    let mut whole = Run::new(rules_of_the_project());
    frames.iter().for_each(|frame| whole.take(frame.clone()));
    let whole = whole.end();
    let mut cut = Run::new(rules_of_the_project());
    for (number, frame) in frames.into_iter().enumerate() {
        if number % 4001 == 1234 {
            cut.move_to(rules_of_the_project());
        }
        cut.take(frame);
    }
    assert_same(&whole, &cut.end(), name);
    assert!(!whole.0.is_empty(), "{name}: nothing happened");
}

#[test]
fn a_recorded_attack_is_told_the_same_across_restarts() {
    for name in
        ["addr_flood", "connection_churn", "node_restart", "misbehaving", "ping_backlog", "reorg_stale_tip"]
    {
        check_incident(&format!("incidents/{name}"));
    }
}

/// An engine that has seen some of everything.
fn busy() -> Run {
    let mut run = Run::new(stream::library(&stream::RULES));
    for n in 0..600_i64 {
        let fact = match n % 4 {
            0 => Fact::Mempool(n % 7),
            1 => Fact::Misbehaving { peer_id: n as u64 % 9, message: "mutated block" },
            _ => Fact::Message { peer_id: n as u64 % 2, size: n as u64 * 2, times: 1 },
        };
        let event =
            Recorded { node: stream::NODES[n as usize % 3], at_ms: n * 500, received_ms: n * 500 + 3, fact };
        run.take(event.frame(true));
        run.take(event.frame(true));
    }
    run
}

#[test]
fn damaged_snapshots_are_errors() {
    let bytes = busy().engine.snapshot();
    let restore =
        |bytes: &[u8]| Engine::restore(stream::library(&[]), bytes).map(|_| ()).map_err(|(_, error)| error);
    assert_eq!(restore(&bytes), Ok(()));
    for len in (0..bytes.len()).step_by(97).chain(0..40) {
        assert!(restore(&bytes[..len]).is_err(), "cut at {len}");
    }
    for at in (0..bytes.len()).step_by(101).chain(0..40) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(restore(&flipped).is_err(), "flipped at {at}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert_eq!(restore(&longer), Err(StateError::Damaged));
    assert_eq!(restore(b"tocsnap\x04 of a later version"), Err(StateError::Unknown));
}

/// [`stream::RULES`] with one text replaced in one of them, and some left out.
fn edited(rule: &str, from: &str, to: &str, without: &[&str]) -> Library {
    let texts: Vec<(&str, String)> = stream::RULES
        .iter()
        .filter(|(name, _)| !without.contains(name))
        .map(|(name, text)| {
            assert!(*name != rule || text.contains(from), "{text}");
            (*name, if *name == rule { text.replace(from, to) } else { text.to_string() })
        })
        .collect();
    let rules: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    stream::library(&rules)
}

#[test]
fn a_reload_of_the_same_rules_changes_nothing() {
    let (mut whole, mut cut) = (busy(), busy());
    let (changes, notes) = cut.engine.reload(stream::library(&stream::RULES));
    assert_eq!((changes.len(), notes.len()), (0, 0), "{notes:?}");
    for n in 600..900 {
        let fact = Fact::Message { peer_id: n % 3, size: n, times: 1 };
        let at_ms = n as i64 * 500;
        let event = Recorded { node: "hal", at_ms, received_ms: at_ms, fact };
        whole.take(event.frame(true));
        cut.take(event.frame(true));
    }
    assert_same(&whole.end(), &cut.end(), "after the reload");
}

fn alerts_of<'r>(
    run: &'r Run,
    rule: &'r str,
) -> impl Iterator<Item = tocsin_engine::engine::AlertReport> + 'r {
    run.engine.alerts().into_iter().filter(move |alert| &*alert.rule == rule)
}

#[test]
fn alerts_of_a_changed_rule_live_on_and_end_in_the_normal_way() {
    let mut run = busy();
    let before: Vec<_> = alerts_of(&run, "burst").map(|alert| (alert.node, alert.key, alert.since)).collect();
    assert!(!before.is_empty());
    let (changes, notes) = run.engine.reload(edited("burst", "w.pings > 3", "w.pings > 3000", &[]));
    assert_eq!(changes, []);
    assert_eq!(notes, ["rule burst has changed"]);
    let after: Vec<_> = alerts_of(&run, "burst").map(|alert| (alert.node, alert.key, alert.since)).collect();
    assert_eq!(before, after);
    // The samples are still there, and the new code finds nothing in them: over 10 s after the last finding.
    for second in 300..330 {
        run.engine
            .step(Input::Tick(Timestamp::from_unix_ms(START_MS + second * 1000)))
            .iter()
            .for_each(|change| run.lines.push(change.to_json()));
    }
    assert_eq!(alerts_of(&run, "burst").count(), 0);
    let resolved =
        run.lines.iter().filter(|line| line.contains("burst") && line.contains("resolved")).count();
    assert!(resolved >= before.len(), "{resolved}");
}

#[test]
fn alerts_of_a_rule_that_is_gone_end_at_once_and_say_why() {
    let without = || edited("few", "few", "few", &["strikes", "outlier"]);
    let mut run = busy();
    let firing = alerts_of(&run, "strikes").count();
    assert!(firing > 0);
    let (changes, notes) = run.engine.reload(without());
    assert_eq!(notes[..2], ["rule outlier is gone, its alerts end", "rule strikes is gone, its alerts end"]);
    assert!(notes[2].contains("mempool_info size") && notes[2].ends_with("is dropped"), "{notes:?}");
    let ended: Vec<&Change> = changes.iter().filter(|change| &*change.rule == "strikes").collect();
    assert_eq!(ended.len(), firing);
    let line = ended[0].to_json();
    assert!(line.contains(r#""state":"resolved""#) && line.contains("the rule was removed: "), "{line}");

    // After a restart the next step tells the same.
    let bytes = busy().engine.snapshot();
    let (mut restored, told) =
        Engine::restore(without(), &bytes).map_err(|(_, error)| error).expect("a snapshot");
    assert_eq!(told, notes);
    let later = restored.step(Input::Tick(Timestamp::from_unix_ms(START_MS)));
    assert_eq!(later, changes);
}

#[test]
fn other_keys_end_alerts_and_new_windows_begin_empty() {
    let mut run = busy();
    let (changes, notes) =
        run.engine.reload(edited("strikes", r#"by: ["connection.misbehaving.id"],"#, "", &[]));
    assert!(changes.iter().all(|change| change.summary.starts_with("the rule has other keys now: ")));
    assert!(!changes.is_empty());
    assert_eq!(notes[0], "rule strikes has other keys, its alerts end");

    // `begun` asks for a span it did not ask for before: not filled until it has passed.
    let mut run = busy();
    assert_eq!(alerts_of(&run, "begun").count(), 0, "three minutes have passed");
    let (_, notes) = run.engine.reload(edited("begun", "3m", "4m", &[]));
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(notes[1].contains("is new and begins to fill") && notes[2].contains("is dropped"), "{notes:?}");
    let mut states = Vec::new();
    for second in 300..600 {
        let event = Recorded {
            node: "ada",
            at_ms: second * 1000,
            received_ms: second * 1000,
            fact: Fact::Mempool(1),
        };
        let changes = run.engine.step(Input::Event { frame: event.frame(true), node: "", origin: 0 });
        let begun = changes.iter().filter(|change| &*change.rule == "begun" && &*change.node == "ada");
        states.extend(
            begun.map(|change| (change.at.ms_since(Timestamp::from_unix_ms(START_MS)), change.state.name())),
        );
    }
    assert_eq!(states, [(300_000, "firing"), (540_000, "resolved")]);
}

#[test]
fn a_lower_cap_holds_after_a_reload_and_samples_survive_a_higher_one() {
    let text = include_str!("rules/capped.rhai");
    let (higher, lower) = (text.replace("1000", "2000"), text.replace("1000", "10"));
    let message = |n: i64, peer_id: u64| Recorded {
        node: "ada",
        at_ms: n * 100,
        received_ms: n * 100,
        fact: Fact::Message { peer_id, size: 1, times: 1 },
    };
    let mut run = Run::new(stream::library(&[("one", text)]));
    (0..500).for_each(|n| run.take(message(n, n as u64).frame(true)));
    run.engine.reload(stream::library(&[("one", text), ("two", &higher)]));
    // The second sample of each key: only those whose first one survived are found, by both rules.
    (500..1_000).for_each(|n| run.take(message(n, n as u64 - 500).frame(true)));
    run.take(message(1_020, 0).frame(true));
    for name in ["one", "two"] {
        let fired = run.lines.iter().filter(|line| line.contains(&format!("\"rule\":\"{name}\""))).count();
        assert_eq!(fired, 500, "{name}");
    }
    let evicted = run.engine.nodes()[0].evicted;
    run.engine.reload(stream::library(&[("one", &lower)]));
    assert_eq!(run.engine.nodes()[0].evicted - evicted, 490);
}
