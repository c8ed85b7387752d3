//! Follows the node's debug.log and turns its lines into events.
//!
//! The way of a byte: [`tail`] reads the file, whatever happens to it; [`records`] puts lines together; [`layout`]
//! reads what stands before the message; [`messages`] knows the messages by their [`template`]s and makes [`events`]
//! of them; [`Decoder`] is all of these but the first, and pure. Memory is bounded by the longest line that is kept.

mod decoder;
mod events;
mod layout;
mod messages;
mod records;
mod tail;
mod template;
mod volume;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::pb::log_extractor::Log;
use tokio_util::sync::CancellationToken;

use crate::Emitter;
use tocsin_proto::Span;

pub use decoder::Decoder;
use tail::{Step, Tail};

/// How often the volume is reported.
const VOLUME_EVERY: Duration = Duration::from_secs(10);

/// Settings of the extractor.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The log: `debug.log` in the folder of the network, below the data folder. `bitcoin-cli getrpcinfo` names it. It
    /// may also be a FIFO, but then a monitor that falls behind holds up the node.
    pub path: PathBuf,
    /// How often the file is looked at.
    #[serde(default = "poll_interval")]
    pub poll_interval: Span,
    /// Whether a file that is there when the extractor starts is read from its beginning. Otherwise what it holds is
    /// taken for known. A file that appears or is replaced later is always read from its beginning.
    #[serde(default)]
    pub from_start: bool,
    /// Whether lines of no known shape are sent, with their text. If not, they are only counted, in the volume that is
    /// sent every ten seconds: this spares thousands of events per second with `-debug=net`.
    #[serde(default = "raw_lines")]
    pub raw_lines: bool,
}

fn poll_interval() -> Span {
    Span::from_millis(100)
}

fn raw_lines() -> bool {
    true
}

/// Runs until `shutdown` is cancelled.
pub async fn run(config: Config, emitter: Emitter, shutdown: CancellationToken) {
    tokio::select! {
        () = follow(config, &emitter) => {}
        () = shutdown.cancelled() => {}
    }
}

/// Reads on and on. It may be dropped at any await.
async fn follow(config: Config, emitter: &Emitter) {
    let path = config.path.display().to_string();
    let mut tail = Tail::new(config.path, config.from_start);
    let mut decoder = Decoder::new(config.raw_lines);
    let mut events: Vec<Log> = Vec::new();
    let mut volume_at = Instant::now();
    loop {
        // A file system that hangs must not hold up others.
        let polled = tokio::task::spawn_blocking(move || {
            let step = tail.poll();
            (tail, step)
        });
        let step;
        (tail, step) = polled.await.expect("reading does not panic");
        let is_at_end = matches!(step, Step::Idle | Step::Missing(_));
        take(step, &path, &mut decoder, emitter, &mut events);
        for _ in 0..decoder.take_cut() {
            emitter.error(format!("{path}: a line longer than 64 KiB, its rest was skipped"));
        }
        if volume_at.elapsed() >= VOLUME_EVERY {
            events.extend(decoder.take_volume(now_us(), volume_at.elapsed()));
            volume_at = Instant::now();
        }
        for log in events.drain(..) {
            emitter.emit(PeerObserverEvent::Log(log)).await;
        }
        if is_at_end {
            tail.wait(config.poll_interval.get()).await;
        }
    }
}

/// Decodes what one look at the file gave.
fn take(step: Step, path: &str, decoder: &mut Decoder, emitter: &Emitter, events: &mut Vec<Log>) {
    match step {
        Step::Before(bytes) => {
            emitter.up(path);
            decoder.learn(&bytes);
        }
        // Not up: it may be what the node still writes to a file that was deleted.
        Step::Bytes(bytes) => decoder.push(&bytes, now_us(), events),
        // The node writes whole records at once, so what stands at the end is whole, unless its line is not.
        Step::Idle => {
            emitter.up(path);
            decoder.flush(now_us(), events);
        }
        Step::Missing(why) => {
            emitter.waiting(format!("{path}: {why}"));
            decoder.flush(now_us(), events);
        }
        Step::Ended => decoder.end(now_us(), events),
    }
}

/// Now, in Unix microseconds.
fn now_us() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_epoch.map_or(0, |elapsed| elapsed.as_micros() as u64)
}
