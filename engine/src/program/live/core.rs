//! The thread of the engine: events from the bus are stamped, recorded and given to the engine, in this order.
//!
//! After a restart it restores the checkpoint, reads what was recorded since, says for how long it was away, and goes on.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use tocsin_engine::engine::{BEAT_MS, Engine, Input, Problem};
use tocsin_engine::time::Timestamp;
use tocsin_engine::timeline::Change;
use tocsin_extractors::{CancellationToken, Outgoing, now_ms};
use tocsin_proto::archive::{ArchiveReader, Frame};
use tokio::sync::mpsc::Receiver;
use tokio::time::MissedTickBehavior;

use super::super::arguments::Format;
use super::super::output::Style;
use super::checkpoint::Checkpoint;
use super::config::Config;
use super::dispatch::change::Catalogue;
use super::dispatch::teller::{Teller, Told};
use super::intake::Intake;
use super::nats::Connection;
use super::recording::{self, Position, Recording};
use super::rules::Loaded;
use super::status::{CheckpointStatus, NodeStatus, ReloadStatus, RuleEntry, Status, StatusBoard};
use super::timeline::Timeline;

/// Events taken from the bus at once.
const BATCH: usize = 1024;
/// How often the recording is made readable and the status is put together.
const TEND_EVERY_MS: u64 = 1000;
/// How long extractors may take to end before they are left behind.
pub const GRACE: Duration = Duration::from_secs(10);
/// Lines that wait for standard output at most.
const PRINTED_MAX: usize = 4096;
/// Alerts whose newer values dispatch is told at once.
const REFRESHED_AT_ONCE: usize = 1000;
/// How long a checkpoint waits for dispatch; without it, it is left out this time.
const DISPATCH_PATIENCE: Duration = Duration::from_millis(200);
/// Problems of one kind that are logged in a minute; the rest is counted by the engine.
const LOGGED_A_MINUTE: u32 = 20;

/// What the thread works with.
pub struct Core {
    engine: Option<Engine>,
    intake: Intake,
    recording: Option<Recording>,
    timeline: Option<Timeline>,
    checkpoint_path: PathBuf,
    checkpoint_every_ms: u64,
    checkpointed_ms: u64,
    tended_ms: u64,
    format: Format,
    style: Style,
    board: StatusBoard,
    connections: Vec<Connection>,
    printer: Option<SyncSender<String>>,
    status: Status,
    logged: (u64, u32),
    now_ms: u64,
    /// How far `now_ms` runs ahead of the clock, since that was set back.
    ahead_ms: u64,
    origin: u64,
    /// What a run with rules left behind, while there are none.
    carried: Option<Checkpoint>,
    /// The line to dispatch, if anybody is told of alerts.
    teller: Option<Teller>,
    /// What alerts need of rules.
    catalogue: Catalogue,
    /// Place in the order of alerts where dispatch is told newer values next.
    refreshed: usize,
    /// A checkpoint on its way to the disk.
    writing: Option<JoinHandle<io::Result<(u64, f64)>>>,
}

/// What it is told from outside.
pub struct Inputs {
    /// Events of all sources.
    pub events: Receiver<Outgoing>,
    /// Rules loaded anew.
    pub reloads: Receiver<anyhow::Result<Loaded>>,
    /// When to end.
    pub shutdown: CancellationToken,
}

impl Core {
    /// Restores what a run before left in the data folder. Without rules nothing but the recording is kept.
    pub fn restore(
        config: &Config,
        rules: Option<Loaded>,
        format: Format,
        board: StatusBoard,
        connections: Vec<Connection>,
        teller: Option<Teller>,
    ) -> anyhow::Result<Core> {
        let folder = config.data.join("recordings");
        let mut core = Core::new(config, format, board, connections, teller);
        let checkpoint = core.read_checkpoint();
        if let Some(rules) = rules {
            core.status.load_errors = rules.errors;
            core.catalogue.learn(&rules.library);
            let timeline = config.data.join("timeline.jsonl");
            // Only what was recorded is done again; without a recording the timeline stays as it is.
            let again = checkpoint.as_ref().filter(|_| config.recording.enabled);
            let length = again.map_or(u64::MAX, |checkpoint| checkpoint.timeline);
            let opened = Timeline::open(&timeline, length);
            core.timeline =
                Some(opened.with_context(|| format!("{}: cannot be written", timeline.display()))?);
            let state = checkpoint.as_ref().and_then(|checkpoint| checkpoint.engine.as_deref());
            core.engine = Some(restored(rules.library, state));
        }
        let was_here = checkpoint.is_some();
        let mut clean = false;
        if let Some(mut checkpoint) = checkpoint {
            core.now_ms = checkpoint.at_ms;
            core.intake.memory = std::mem::take(&mut checkpoint.memory);
            let from = checkpoint.position.get_or_insert_with(|| Position::at(checkpoint.at_ms));
            let caught_up = core.catch_up(&folder, from);
            clean = checkpoint.clean && caught_up == 0;
            if core.engine.is_none() {
                core.carried = Some(checkpoint);
            }
        }
        if config.recording.enabled {
            let opened = Recording::new(folder.clone(), config.recording.clone());
            core.recording =
                Some(opened.with_context(|| format!("{}: cannot be written", folder.display()))?);
        }
        let seen_ms = core.intake.memory.nodes.values().map(|node| node.last_event_ms).max();
        core.now_ms = core.now_ms.max(seen_ms.unwrap_or(0));
        core.advance_clock();
        if was_here {
            core.tell_downtime(clean);
        }
        Ok(core)
    }

    /// One that knows nothing yet.
    fn new(
        config: &Config,
        format: Format,
        board: StatusBoard,
        connections: Vec<Connection>,
        teller: Option<Teller>,
    ) -> Core {
        Core {
            engine: None,
            intake: Intake::default(),
            recording: None,
            timeline: None,
            checkpoint_path: config.data.join("checkpoint"),
            checkpoint_every_ms: config.checkpoint.every.get().as_millis() as u64,
            checkpointed_ms: 0,
            tended_ms: 0,
            format,
            style: Style::of_stdout(),
            board,
            connections,
            printer: None,
            status: Status { started_at_ms: now_ms(), ..Status::default() },
            logged: (0, 0),
            now_ms: 0,
            ahead_ms: 0,
            origin: 0,
            carried: None,
            teller,
            catalogue: Catalogue::default(),
            refreshed: 0,
            writing: None,
        }
    }

    fn read_checkpoint(&self) -> Option<Checkpoint> {
        Checkpoint::read(&self.checkpoint_path).unwrap_or_else(|error| {
            let aside = self.checkpoint_path.with_extension("damaged");
            tracing::error!(
                "starting without the state of the run before ({} keeps it): {error:#}",
                aside.display()
            );
            let _ = std::fs::rename(&self.checkpoint_path, aside);
            None
        })
    }

    /// Gives the engine what was recorded after its checkpoint. Returns the number of events.
    fn catch_up(&mut self, folder: &Path, from: &Position) -> u64 {
        let mut count = 0;
        for path in recording::files(folder).unwrap_or_default() {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name < from.file.as_str() {
                continue;
            }
            let skipped = if name == from.file { from.events } else { 0 };
            let reader = match File::open(&path).map(ArchiveReader::new) {
                Ok(Ok(reader)) => reader,
                Ok(Err(error)) => {
                    tracing::warn!("{}: left out of the catching up: {error}", path.display());
                    continue;
                }
                Err(error) => {
                    tracing::warn!("{}: left out of the catching up: {error}", path.display());
                    continue;
                }
            };
            // A run that was killed leaves its last file without an end: what is readable is all there is.
            for frame in reader.filter_map(Result::ok).skip(skipped as usize) {
                self.intake.recall(&frame);
                self.step(frame, false);
                count += 1;
            }
            self.tell_problems();
        }
        if count > 0 {
            tracing::info!("read {count} events again that were recorded after the last checkpoint");
        }
        count
    }

    fn tell_downtime(&mut self, clean: bool) {
        for frame in self.intake.downtime(self.now_ms, clean) {
            let from = self.intake.memory.nodes[frame.node().unwrap_or_default()].last_event_ms;
            let node = frame.node().unwrap_or_default();
            let seconds = (self.now_ms - from) as f64 / 1000.0;
            let from = Timestamp::from_unix_ms(from as i64);
            tracing::warn!(node, "nothing was seen for {seconds:.1} s, since {from}: tocsin was not running");
            self.feed(frame);
        }
    }

    /// Works until the sources end, or until they do not although they were told to. False if nobody told them to.
    pub async fn run(mut self, mut inputs: Inputs) -> bool {
        self.printer = Some(printer());
        self.status.is_ready = true;
        self.publish(0);
        self.reconcile();
        let mut ticks = tokio::time::interval(Duration::from_millis(BEAT_MS as u64));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut batch = Vec::with_capacity(BATCH);
        let shutdown = inputs.shutdown.clone();
        let too_long = async move {
            shutdown.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::pin!(too_long);
        loop {
            tokio::select! {
                count = inputs.events.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        break;
                    }
                    self.take(&mut batch);
                }
                _ = ticks.tick() => self.tick(inputs.events.len()),
                Some(loaded) = inputs.reloads.recv() => self.reload(loaded),
                () = &mut too_long => {
                    tracing::warn!("some extractors did not end within {} s and are left behind", GRACE.as_secs());
                    while let Ok(event) = inputs.events.try_recv() {
                        batch.push(event);
                    }
                    self.take(&mut batch);
                    break;
                }
            }
        }
        self.end();
        inputs.shutdown.is_cancelled()
    }

    /// Time of arrival: never earlier than one given before, also over a restart. Where the clock was set back, time runs
    /// on from where it was.
    fn advance_clock(&mut self) {
        let clock_ms = now_ms();
        if clock_ms + self.ahead_ms < self.now_ms {
            self.ahead_ms = self.now_ms - clock_ms;
            tracing::warn!("the clock was set back; times of arrival run {} ms ahead of it", self.ahead_ms);
        }
        self.now_ms = clock_ms + self.ahead_ms;
    }

    fn take(&mut self, batch: &mut Vec<Outgoing>) {
        self.advance_clock();
        for event in batch.drain(..) {
            match self.intake.accept(&event.payload, &event.node, self.now_ms) {
                Ok(accepted) => {
                    if let Some(lost) = accepted.lost {
                        let node = lost.node().unwrap_or_default();
                        self.log_some(format_args!(
                            "events of node {node} are missing before one now received"
                        ));
                        self.feed(lost);
                    }
                    self.feed(accepted.frame);
                }
                Err(error) => {
                    self.log_some(format_args!("a payload from node {} is no event: {error}", event.node))
                }
            }
        }
    }

    /// Records an event and gives it to the engine.
    fn feed(&mut self, frame: Frame) {
        if let Some(recording) = &mut self.recording {
            recording.write(&frame.payload, self.now_ms);
        }
        self.step(frame, true);
    }

    fn step(&mut self, frame: Frame, is_new: bool) {
        self.origin += 1;
        let Some(engine) = &mut self.engine else { return };
        let changes = engine.step(Input::Event { frame, node: "", origin: self.origin });
        self.tell(&changes, is_new);
    }

    fn tick(&mut self, queued: usize) {
        self.advance_clock();
        if let Some(engine) = &mut self.engine {
            let changes = engine.step(Input::Tick(Timestamp::from_unix_ms(self.now_ms as i64)));
            self.tell(&changes, true);
        }
        self.tell_problems();
        if self.now_ms - self.tended_ms >= TEND_EVERY_MS {
            self.tended_ms = self.now_ms;
            if let Some(recording) = &mut self.recording {
                recording.tend(self.now_ms);
            }
            self.tell_losses();
            self.publish(queued);
            self.refresh();
        }
        if self.now_ms - self.checkpointed_ms >= self.checkpoint_every_ms {
            self.checkpoint(false);
        }
    }

    fn tell(&mut self, changes: &[Change], is_new: bool) {
        if changes.is_empty() {
            return;
        }
        if is_new && let Some(recording) = &mut self.recording {
            // What was told must come out again after a kill: the events it follows from first.
            recording.flush(self.now_ms);
        }
        if let Some(timeline) = &mut self.timeline
            && let Err(error) = timeline.append(changes)
        {
            self.log_some(format_args!("the timeline cannot be written, and is tried again: {error}"));
        }
        self.tell_dispatch(changes, is_new);
        if !is_new {
            return;
        }
        for change in changes {
            let line = match self.format {
                Format::Json => change.to_json(),
                Format::Text => self.style.line(change),
            };
            // Where nobody reads fast enough lines are left out; the timeline has them.
            let _ = self.printer.as_ref().map(|printer| printer.try_send(line));
        }
    }

    /// Tells dispatch which nodes there are: alerts may tell of nodes that are in none of their labels.
    fn name_nodes(&self) {
        if let Some(teller) = &self.teller {
            teller.name(self.intake.memory.nodes.keys());
        }
    }

    fn tell_dispatch(&mut self, changes: &[Change], is_new: bool) {
        if !changes.is_empty() {
            self.name_nodes();
        }
        let Some(teller) = &mut self.teller else { return };
        for change in changes.iter().filter_map(|change| self.catalogue.change(change)) {
            // Where dispatch has ended the program is about to end, and the next run tells it again.
            teller.tell(Told::Changed { change, is_new });
        }
    }

    /// Tells dispatch all alerts: it may know of others, or not of all.
    fn reconcile(&mut self) {
        self.name_nodes();
        let (Some(teller), Some(engine)) = (&mut self.teller, &self.engine) else { return };
        teller.tell(self.catalogue.told(&engine.alerts()));
    }

    /// Tells dispatch newer values of alerts that fire: of all in turn, where there are very many.
    fn refresh(&mut self) {
        self.name_nodes();
        let Some(teller) = &mut self.teller else { return };
        let alerts = &self.status.alerts;
        if teller.has_orphans() {
            return teller.mention(self.catalogue.told(alerts));
        }
        if self.refreshed >= alerts.len() {
            self.refreshed = 0;
        }
        let next = alerts.iter().skip(self.refreshed).take(REFRESHED_AT_ONCE);
        let firing: Vec<_> = next.filter_map(|alert| self.catalogue.firing(alert)).collect();
        self.refreshed += REFRESHED_AT_ONCE;
        if !firing.is_empty() {
            teller.mention(Told::Refreshed(firing));
        }
    }

    fn tell_problems(&mut self) {
        let problems = self.engine.as_mut().map(Engine::take_problems).unwrap_or_default();
        for problem in problems {
            match problem {
                Problem::Rule { node, at, error } => {
                    self.log_some(format_args!("{error} (node {node}, {at})"))
                }
                Problem::TooManyNodes { node, .. } => {
                    self.log_some(format_args!("node {node:?} is one too many"))
                }
                Problem::Undecodable { node, at, reason, .. } => {
                    self.log_some(format_args!("an event of node {node} at {at} does not decode: {reason}"));
                }
            }
        }
    }

    /// What NATS servers lost of events without running numbers is a loss as well, of a number nobody knows.
    fn tell_losses(&mut self) {
        let losses: Vec<_> = self.connections.iter_mut().filter_map(Connection::take_loss).collect();
        for loss in losses {
            let frame = self.intake.loss(&loss.node, &loss.source, loss.count, loss.what, self.now_ms);
            self.feed(frame);
        }
    }

    fn log_some(&mut self, text: std::fmt::Arguments) {
        let minute = self.now_ms / 60_000;
        let count = if self.logged.0 == minute { self.logged.1 } else { 0 };
        self.logged = (minute, count + 1);
        if count < LOGGED_A_MINUTE {
            tracing::warn!("{text}");
        }
    }

    fn reload(&mut self, loaded: anyhow::Result<Loaded>) {
        self.advance_clock();
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                self.note_reload(vec![format!("{error:#}")]);
                return;
            }
        };
        if let Some(engine) = &mut self.engine {
            let (changes, notes) = engine.reload(loaded.library);
            for note in notes {
                tracing::info!("reload: {note}");
            }
            // What ends now ends under the labels it fired with.
            self.tell(&changes, true);
        }
        if let Some(engine) = &self.engine {
            self.catalogue.learn(engine.library());
        }
        self.reconcile();
        self.note_reload(loaded.errors);
    }

    fn note_reload(&mut self, errors: Vec<String>) {
        let is_ok = errors.is_empty();
        for error in &errors {
            tracing::error!("{error}; the version that loaded last runs on");
        }
        tracing::info!("rules loaded anew{}", if is_ok { "" } else { ", but not all of them" });
        let (ok, failed) = self.status.reloads;
        self.status.reloads = if is_ok { (ok + 1, failed) } else { (ok, failed + 1) };
        self.status.reload = Some(ReloadStatus { at_ms: self.now_ms, is_ok });
        self.status.load_errors = errors;
    }

    /// Writes a checkpoint, on a thread of its own: the disk may be busy. One that is still being written is waited for
    /// only at the end.
    fn checkpoint(&mut self, clean: bool) {
        self.checkpointed_ms = self.now_ms;
        if clean || self.writing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.note_written();
        }
        // Changes that are not in the timeline yet would be left out of it by a restart from here; and nobody would be
        // told of those that dispatch has not stored.
        let is_written = self.timeline.as_mut().is_none_or(Timeline::is_written);
        let patience = if clean { GRACE } else { DISPATCH_PATIENCE };
        let is_told = is_written && self.teller.as_ref().is_none_or(|teller| teller.wait_committed(patience));
        if self.writing.is_some() || !is_told {
            return;
        }
        let started = Instant::now();
        let position = self.recording.as_mut().and_then(|recording| recording.position(self.now_ms));
        let mut checkpoint = Checkpoint {
            position,
            timeline: self.timeline.as_ref().map_or(0, Timeline::length),
            memory: self.intake.memory.clone(),
            clean,
            at_ms: self.now_ms,
            engine: self.engine.as_ref().map(Engine::snapshot),
        };
        if let Some(carried) = &self.carried {
            // The next run with rules goes on from there, through what is recorded now.
            checkpoint.position.clone_from(&carried.position);
            checkpoint.engine.clone_from(&carried.engine);
            checkpoint.timeline = carried.timeline;
        }
        let path = self.checkpoint_path.clone();
        let write = move || checkpoint.write(&path).map(|bytes| (bytes, started.elapsed().as_secs_f64()));
        self.writing = std::thread::Builder::new().name("checkpoint".to_string()).spawn(write).ok();
        if clean {
            self.note_written();
        }
    }

    /// Waits for the checkpoint that is being written, if there is one, and notes what became of it.
    fn note_written(&mut self) {
        let Some(written) = self.writing.take().map(JoinHandle::join) else { return };
        let status = self.status.checkpoint.get_or_insert_with(CheckpointStatus::default);
        match written {
            Ok(Ok((bytes, seconds))) => {
                (status.at_ms, status.bytes, status.seconds) = (self.now_ms, bytes, seconds)
            }
            Ok(Err(error)) => {
                status.failed += 1;
                tracing::error!(
                    "{}: the checkpoint cannot be written: {error}",
                    self.checkpoint_path.display()
                );
            }
            Err(_) => status.failed += 1,
        }
    }

    /// Puts the status together.
    fn publish(&mut self, queued: usize) {
        let status = &mut self.status;
        status.at_ms = self.now_ms;
        status.queued = queued;
        status.extractors = self.intake.extractors.clone();
        status.lost = self.intake.lost.clone();
        status.undecodable = self.intake.undecodable.clone();
        status.sources = self.connections.iter().map(Connection::status).collect();
        status.recording = self.recording.as_ref().map(|recording| recording.status.clone());
        if let Some(engine) = &self.engine {
            // Shared with the status that is published: with their evidence they may be many megabytes.
            status.alerts = Arc::new(engine.alerts());
            let memory = &self.intake.memory;
            let node = |report: tocsin_engine::engine::NodeReport| {
                let memory = memory.nodes.get(&*report.name);
                let (last_event_ms, lag_ms) = memory.map_or((0, 0), |node| (node.last_event_ms, node.lag_ms));
                NodeStatus { report, last_event_ms, lag_ms }
            };
            status.nodes = engine.nodes().into_iter().map(node).collect();
            status.rules = rule_entries(engine);
        }
        self.board.write(status.clone());
    }

    fn end(mut self) {
        self.advance_clock();
        self.tell_problems();
        self.tell_losses();
        self.checkpoint(true);
        if let Some(recording) = &mut self.recording {
            recording.finish(self.now_ms);
        }
    }
}

/// An engine with the state of a run before, as far as it can be read.
fn restored(library: tocsin_engine::engine::Library, state: Option<&[u8]>) -> Engine {
    let Some(state) = state else { return Engine::new(library) };
    match Engine::restore(library, state) {
        Ok((engine, notes)) => {
            for note in notes {
                tracing::warn!("restart: {note}");
            }
            engine
        }
        Err((library, error)) => {
            tracing::error!("the engine starts empty, its state cannot be restored: {error}");
            Engine::new(library)
        }
    }
}

fn rule_entries(engine: &Engine) -> Vec<RuleEntry> {
    let rules = engine.library().rules().iter().zip(engine.rules());
    let entry = |(rule, report): (&tocsin_engine::rules::Rule, _)| RuleEntry {
        report,
        file: rule.path.clone(),
        severity: rule.definition.severity,
        status: rule.definition.status,
        header: rule.header.clone(),
        every_s: rule.definition.every.as_secs_f64(),
        for_s: rule.definition.for_s.as_secs_f64(),
        keep_firing_for_s: rule.definition.keep_firing_for_s.as_secs_f64(),
        last_evaluated_ms: 0,
        last_failed_ms: 0,
    };
    rules.map(entry).collect()
}

/// A thread that prints: a reader that hangs must not hold up the engine.
fn printer() -> SyncSender<String> {
    let (lines, printed) = std::sync::mpsc::sync_channel::<String>(PRINTED_MAX);
    std::thread::spawn(move || {
        for line in printed {
            // Nobody may be reading.
            let _ = writeln!(io::stdout(), "{line}");
        }
    });
    lines
}
