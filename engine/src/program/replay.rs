//! `tocsin replay`: recorded events through the rules.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tocsin_engine::alerts::State;
use tocsin_engine::engine::{Engine, Input, NODES_MAX, Problem};
use tocsin_engine::timeline::Change;

use super::Ended;
use super::arguments::{Format, ReplayArguments, Speed};
use super::input::Recordings;
use super::live::config::Config;
use super::output::{Style, bytes, grouped};
use super::progress::Progress;
use super::rule_files::{self, parse_override};

/// Problems of one kind printed one by one; the rest is counted.
const PRINTED_MAX: usize = 20;

/// Runs the command.
pub fn run(arguments: &ReplayArguments) -> anyhow::Result<Ended> {
    let config = arguments.config.as_deref().map(Config::load).transpose()?;
    let (mut overrides, series) =
        config.map_or_else(Default::default, |config| (config.rules.set, config.series));
    for text in &arguments.rules.set {
        overrides.push(parse_override(text)?);
    }
    let (library, errors) = rule_files::load(&arguments.rules.paths, &series)?.into_library(&overrides)?;
    for error in &errors {
        eprintln!("tocsin: {error}");
    }
    let recordings = Recordings::open(&arguments.files, &arguments.nodes)?;
    let mut replay = Replay::new(Engine::new(library), &recordings, arguments);
    if !errors.is_empty() {
        replay.ended = Ended::RuleErred;
    }
    Ok(replay.run(recordings))
}

struct Replay {
    engine: Engine,
    format: Format,
    speed: Speed,
    style: Style,
    progress: Progress,
    tally: BTreeMap<String, Tally>,
    problems: BTreeMap<&'static str, usize>,
    ended: Ended,
    read_bytes: u64,
    first_ms: Option<u64>,
    last_ms: u64,
    started: Instant,
}

#[derive(Default)]
struct Tally {
    fired: u64,
    resolved: u64,
}

impl Replay {
    fn new(engine: Engine, recordings: &Recordings, arguments: &ReplayArguments) -> Self {
        Replay {
            engine,
            format: arguments.format,
            speed: arguments.speed,
            style: Style::of_stdout(),
            progress: Progress::new(recordings.total_bytes),
            tally: BTreeMap::new(),
            problems: BTreeMap::new(),
            ended: Ended::Well,
            read_bytes: 0,
            first_ms: None,
            last_ms: 0,
            started: Instant::now(),
        }
    }

    fn run(mut self, mut recordings: Recordings) -> Ended {
        let mut damage_told = 0;
        while let Some(arrived) = recordings.next() {
            let at_ms = arrived.frame.timestamp_ms;
            self.keep_pace(at_ms);
            self.read_bytes += arrived.frame.payload.len() as u64;
            let (node, origin) = (arrived.node, arrived.origin);
            let changes = self.engine.step(Input::Event { frame: arrived.frame, node, origin });
            if !changes.is_empty() {
                self.print(&changes);
            }
            self.tell_problems(&recordings);
            damage_told = self.tell_damage(&recordings, damage_told);
            self.progress.event(at_ms, || recordings.bytes_done());
        }
        let changes = self.engine.finish();
        self.print(&changes);
        self.tell_problems(&recordings);
        self.tell_damage(&recordings, damage_told);
        self.tell_untold();
        let took = self.progress.finish();
        if self.format == Format::Text {
            self.print_summary(took);
        }
        self.ended
    }

    /// Waits until it is time for an event, if the replay is not as fast as possible.
    fn keep_pace(&mut self, at_ms: u64) {
        let first_ms = *self.first_ms.get_or_insert(at_ms);
        self.last_ms = self.last_ms.max(at_ms);
        if let Speed::Times(times) = self.speed {
            let due = Duration::from_secs_f64(at_ms.saturating_sub(first_ms) as f64 / 1000.0 / times);
            if let Some(wait) = due.checked_sub(self.started.elapsed()) {
                std::thread::sleep(wait);
            }
        }
    }

    fn print(&mut self, changes: &[Change]) {
        for change in changes {
            let tally = self.tally.entry(change.rule.to_string()).or_default();
            match change.state {
                State::Firing => tally.fired += 1,
                State::Resolved => tally.resolved += 1,
                State::Pending => {}
            }
            let line = match self.format {
                Format::Json => change.to_json(),
                Format::Text => self.style.line(change),
            };
            self.progress.println(&line);
        }
    }

    fn tell_problems(&mut self, recordings: &Recordings) {
        for problem in self.engine.take_problems() {
            match problem {
                Problem::Rule { node, at, error } => {
                    self.tell("rule errors", Ended::RuleErred, format!("{error} (node {node}, {at})"));
                }
                Problem::TooManyNodes { node, origin } => {
                    let place = recordings.place_of(origin);
                    let text =
                        format!("{place}: node {node:?} is one too many, expected at most {NODES_MAX} nodes");
                    self.tell("events of too many nodes", Ended::Damaged, text);
                }
                Problem::Undecodable { node, at, origin, reason } => {
                    let place = recordings.place_of(origin);
                    let text =
                        format!("{place}: {reason}; the rest of the event is skipped (node {node}, {at})");
                    self.tell("undecodable events", Ended::Damaged, text);
                }
            }
        }
    }

    fn tell_damage(&mut self, recordings: &Recordings, told: usize) -> usize {
        for damage in &recordings.damage[told..] {
            self.tell("damaged places", Ended::Damaged, damage.clone());
        }
        recordings.damage.len()
    }

    fn tell(&mut self, what: &'static str, ended: Ended, text: String) {
        let count = self.problems.entry(what).or_default();
        *count += 1;
        if *count <= PRINTED_MAX {
            self.progress.eprintln(&format!("tocsin: {text}"));
        }
        // Damage matters more than a broken rule: results of all rules may be missing something.
        if self.ended == Ended::Well || ended == Ended::Damaged {
            self.ended = ended;
        }
    }

    fn tell_untold(&self) {
        for (what, count) in &self.problems {
            if *count > PRINTED_MAX {
                self.progress.eprintln(&format!("tocsin: {} more {what}", count - PRINTED_MAX));
            }
        }
    }

    fn print_summary(&self, took: Duration) {
        let seconds = took.as_secs_f64().max(1e-6);
        let span_s = self.last_ms.saturating_sub(self.first_ms.unwrap_or(self.last_ms)) as f64 / 1000.0;
        println!();
        println!(
            "{} events, {} of {} in {seconds:.2} s: {} events/s, {}/s",
            self.style.bold(&grouped(self.progress.events)),
            bytes(self.read_bytes as f64),
            span(span_s),
            grouped((self.progress.events as f64 / seconds) as u64),
            bytes(self.read_bytes as f64 / seconds),
        );
        for node in self.engine.nodes() {
            let mut notes = Vec::new();
            let counts = [
                (node.late, "late"),
                (node.implausible, "with an implausible time"),
                (node.clock_steps, "clock steps"),
                (node.undecodable, "undecodable"),
            ];
            notes.extend(
                counts
                    .iter()
                    .filter(|(count, _)| *count > 0)
                    .map(|(count, what)| format!("{} {what}", grouped(*count))),
            );
            if node.evicted > 0 {
                notes.push(format!("{} keys given up", grouped(node.evicted)));
            }
            let events: u64 = node.events.iter().map(|(_, count)| count).sum();
            let notes = if notes.is_empty() { String::new() } else { format!(", {}", notes.join(", ")) };
            println!("node {}: {} events{notes}", self.style.bold(&node.name), grouped(events));
        }
        if self.tally.is_empty() {
            println!("no alerts");
        }
        for rule in self.engine.rules() {
            let Some(tally) = self.tally.get(&*rule.name).filter(|tally| tally.fired > 0) else { continue };
            println!(
                "{} fired {}, resolved {}, still firing {}",
                self.style.bold(&format!("{:<18}", rule.name)),
                tally.fired,
                tally.resolved,
                rule.firing
            );
        }
        for rule in self.engine.rules().iter().filter(|rule| rule.health.failures > 0) {
            let error = rule.health.last_error.as_deref().unwrap_or_default();
            println!("{} erred {} times, last: {error}", self.style.bold(&rule.name), rule.health.failures);
        }
    }
}

/// A span of time in words.
fn span(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..120 => format!("{whole} s"),
        120..7200 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}
