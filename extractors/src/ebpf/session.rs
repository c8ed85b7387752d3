//! The extractor's thread: finds the node, attaches, reads, and starts over when the node does.

use std::time::{Duration, Instant};

use tocsin_proto::pb::ebpf_extractor::Probes;
use tocsin_proto::pb::ebpf_extractor::ebpf::EbpfEvent;
use tokio_util::sync::CancellationToken;

use super::clock::{self, Clock};
use super::config::Config;
use super::event::ebpf;
use super::privileges::{self, Identity};
use super::probes::{Attached, DROPS, Programs};
use super::process::Process;
use super::rings::{Pass, Rings};
use super::usage::Reading;
use crate::emitter::now_ms;
use crate::{Backoff, Emitter};

/// How long to sleep when the rings are empty. Shorter than the engine waits for late events by far.
const PAUSE: Duration = Duration::from_millis(10);
/// How often to look at the counters and the clocks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often to look for the process, and whether it still runs: a node without blocks opens its connections half a
/// second after it starts, others take seconds.
const SEARCH_EVERY: Duration = Duration::from_millis(100);

/// Reads until told to stop.
pub fn run(config: &Config, emitter: &Emitter, shutdown: &CancellationToken) {
    let mut backoff = Backoff::default();
    while !shutdown.is_cancelled() {
        match Session::open(config, emitter) {
            Ok(mut session) => session.run(shutdown),
            Err(error) => {
                emitter.waiting(format!(
                    "the kernel to load tracepoint programs (needs CAP_BPF and CAP_PERFMON): {error}"
                ));
                sleep(backoff.wait(), shutdown);
            }
        }
    }
}

fn sleep(span: Duration, shutdown: &CancellationToken) {
    let until = Instant::now() + span;
    while Instant::now() < until && !shutdown.is_cancelled() {
        std::thread::sleep(PAUSE.min(span));
    }
}

struct Session<'a> {
    config: &'a Config,
    emitter: &'a Emitter,
    rings: Rings,
    programs: Programs,
    clock: Clock,
    drops: [u64; DROPS.len()],
    has_dropped_privileges: bool,
}

impl<'a> Session<'a> {
    fn open(config: &'a Config, emitter: &'a Emitter) -> Result<Self, libbpf_rs::Error> {
        let programs = Programs::load(config)?;
        let rings = Rings::new(&programs, config.capture.raw())?;
        Ok(Session {
            config,
            emitter,
            rings,
            programs,
            clock: Clock::read(),
            drops: [0; DROPS.len()],
            has_dropped_privileges: false,
        })
    }

    fn run(&mut self, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            match Process::find(self.config) {
                Ok(process) => {
                    let attached = self.programs.attach(&process, &self.config.groups);
                    if attached.names.is_empty() {
                        self.refuse(&process, &attached);
                        sleep(LOOK_EVERY, shutdown);
                    } else {
                        self.drop_privileges(&process);
                        self.watch(&process, attached, shutdown);
                    }
                }
                Err(missing) => {
                    self.emitter.waiting(missing);
                    sleep(SEARCH_EVERY, shutdown);
                }
            }
        }
    }

    fn refuse(&self, process: &Process, attached: &Attached) {
        let why = attached.error.as_deref().unwrap_or("no group is asked for");
        let binary = process.binary.display();
        self.emitter.waiting(format!("tracepoints in {binary} (built with WITH_USDT?): {why}"));
    }

    /// Reads a process until it ends.
    fn watch(&mut self, process: &Process, attached: Attached, shutdown: &CancellationToken) {
        self.announce(process, &attached);
        self.clock = Clock::read();
        let (mut looked_at, mut seen_at) = (Instant::now(), Instant::now());
        let mut usage = Reading::of(process.pid, seconds());
        while !shutdown.is_cancelled() {
            let pass = self.rings.read();
            let is_behind = pass.is_behind;
            self.emit(pass);
            if looked_at.elapsed() >= LOOK_EVERY {
                looked_at = Instant::now();
                self.clock = Clock::read();
                self.report_drops();
                self.report_usage(process, &mut usage);
            }
            if seen_at.elapsed() >= SEARCH_EVERY {
                seen_at = Instant::now();
                if !process.is_running() {
                    self.emitter.waiting(format!("the node to start again: process {} ended", process.pid));
                    break;
                }
            }
            if !is_behind {
                std::thread::sleep(PAUSE);
            }
        }
        drop(attached);
        let rest = self.rings.drain();
        self.emit(rest);
        self.report_drops();
    }

    fn announce(&self, process: &Process, attached: &Attached) {
        let binary = process.binary.display().to_string();
        let (read, asked) = (attached.names.len(), attached.names.len() + attached.missing.len());
        if !attached.missing.is_empty() {
            let node = self.emitter.node();
            tracing::warn!(node, "{binary} has no tracepoints {}", attached.missing.join(", "));
        }
        self.emitter.up(format!("{read} of {asked} tracepoints of process {} ({binary})", process.pid));
        let probes = Probes {
            pid: process.pid,
            binary,
            attached: attached.names.clone(),
            missing: attached.missing.clone(),
        };
        self.emitter.emit_blocking(now_ms(), ebpf(EbpfEvent::Probes(probes)));
    }

    /// Once the first process is found; from then on this thread is what remains.
    fn drop_privileges(&mut self, process: &Process) {
        if self.has_dropped_privileges {
            return;
        }
        self.has_dropped_privileges = true;
        let identity = match &self.config.user {
            Some(user) => Identity::named(user).map(Some),
            None => Ok(process.identity()),
        };
        let became = identity.and_then(|identity| match identity {
            Some(identity) => privileges::become_identity(&identity),
            None => Ok(()),
        });
        if let Err(error) = became {
            self.emitter.error(format!("the ebpf thread stays the user it is: {error}"));
        }
        match privileges::drop_capabilities() {
            Ok(remaining) => tracing::info!(node = self.emitter.node(), "the ebpf thread keeps {remaining}"),
            Err(error) => self.emitter.error(format!("giving up privileges: {error}")),
        }
    }

    fn emit(&self, pass: Pass) {
        for (at, event) in pass.events {
            self.emitter.emit_blocking(self.clock.unix_ms(at), event);
        }
        for error in pass.errors {
            self.emitter.error(error);
        }
    }

    fn report_drops(&mut self) {
        let now = self.programs.drops();
        for ((count, before), what) in now.iter().zip(&self.drops).zip(DROPS) {
            if count > before {
                self.emitter.lost_blocking(count - before, what);
            }
        }
        self.drops = now;
    }

    fn report_usage(&self, process: &Process, before: &mut Reading) {
        let now_s = seconds();
        if now_s - before.at_s < self.config.threads_every.get().as_secs_f64() {
            return;
        }
        let now = Reading::of(process.pid, now_s);
        let usage = now.since(before, rustix::param::clock_ticks_per_second() as f64);
        self.emitter.emit_blocking(now_ms(), ebpf(EbpfEvent::Process(usage)));
        *before = now;
    }
}

fn seconds() -> f64 {
    clock::monotonic_ns() as f64 / 1e9
}
