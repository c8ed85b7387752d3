//! When each method is called: each on its own beat, none waits for another, none while the node is not
//! there.
//!
//! One task a method, so at most one call of a method is under way. One more task finds the node again when
//! it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::pb::rpc_extractor::Rpc;
use tocsin_proto::pb::rpc_extractor::rpc::RpcEvent;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::call::{STARTING, UNKNOWN_METHOD, call};
use super::config::Config;
use super::decode::{Decoded, Odd, decode};
use super::method::{Method, UPTIME};
use super::transport::{CallError, Transport};
use crate::emitter::now_ms;
use crate::{Backoff, Emitter};

/// First calls are this far apart: a node that just started has other things to do.
const SPREAD: Duration = Duration::from_millis(50);
/// A method that timed out is tried again after at most this: each try may block one more of the node's
/// threads.
const RETRY_LONGEST: Duration = Duration::from_secs(60);
/// Larger answers are decoded apart from the tasks that wait for sockets.
const DECODE_HERE_BYTES_MAX: usize = 256 << 10;

/// Whether the node answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reach {
    is_up: bool,
    /// How often it was reached anew. What it cannot do is asked again after each time.
    times: u64,
}

/// What the tasks of one node share.
struct Link {
    transport: Transport,
    timeout: Duration,
    emitter: Emitter,
    reach: watch::Sender<Reach>,
    /// The node's last uptime in seconds.
    uptime_s: AtomicU64,
}

/// What a method does after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Goes on as before.
    OnTime,
    /// Waits longer: the node has too much to do.
    Later,
    /// Waits until the node is reached anew, which may be another version.
    Missing,
}

/// Starts polling; ends when the tasks are dropped.
pub fn start(config: &Config, emitter: Emitter) -> JoinSet<()> {
    let transport = Transport::new(config);
    emitter.waiting(format!("the node at {}", transport.place()));
    let link = Arc::new(Link {
        transport,
        timeout: config.timeout.get(),
        emitter,
        reach: watch::Sender::new(Reach { is_up: false, times: 0 }),
        uptime_s: AtomicU64::new(0),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(find_again(link.clone()));
    for (number, (method, every)) in (0..).zip(config.polled()) {
        tasks.spawn(poll(link.clone(), method, every, SPREAD * number));
    }
    tasks
}

/// Calls `uptime` while the node is lost, until it answers.
async fn find_again(link: Arc<Link>) {
    let method = Method::named(UPTIME).expect("in the table");
    let mut reach = link.reach.subscribe();
    let mut backoff = Backoff::default();
    loop {
        let Ok(lost) = reach.wait_for(|reach| !reach.is_up).await.map(|reach| *reach) else { return };
        for params in method.params() {
            link.call(method, &params, lost).await;
        }
        let is_up = link.reach.borrow().is_up;
        match is_up {
            true => backoff.reset(),
            false => sleep(backoff.wait()).await,
        }
    }
}

async fn poll(link: Arc<Link>, method: &'static Method, every: Duration, offset: Duration) {
    let mut ticks = interval_at(Instant::now() + offset, every);
    // What was missed while the node was slow is not made up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut reach = link.reach.subscribe();
    let mut backoff = Backoff::new(every, RETRY_LONGEST.max(every));
    let mut missing_at = None;
    loop {
        ticks.tick().await;
        if !reach.borrow().is_up {
            if reach.wait_for(|reach| reach.is_up).await.is_err() {
                return;
            }
            sleep(offset).await;
        }
        let seen = *reach.borrow_and_update();
        if missing_at == Some(seen.times) {
            continue;
        }
        match link.poll(method, seen).await {
            Next::OnTime => backoff.reset(),
            Next::Missing => missing_at = Some(seen.times),
            Next::Later => {
                tokio::select! {
                    () = sleep(backoff.wait()) => {}
                    _ = reach.wait_for(|reach| reach.times != seen.times) => {}
                }
            }
        }
    }
}

impl Link {
    async fn poll(&self, method: &'static Method, seen: Reach) -> Next {
        for params in method.params() {
            let next = self.call(method, &params, seen).await;
            if next != Next::OnTime {
                return next;
            }
        }
        Next::OnTime
    }

    /// Makes one call and sends the events of it. `seen` is what was known of the node before.
    async fn call(&self, method: &'static Method, params: &Value, seen: Reach) -> Next {
        let mut called = call(&self.transport, self.timeout, method.name, params).await;
        let at = now_ms();
        let mut decoded = None;
        if let Ok(result) = &called.outcome {
            match decode_apart(method, params, result).await {
                Ok(found) => decoded = Some(found),
                Err(odd) => called.outcome = Err(CallError::Malformed(odd.to_string())),
            }
        }
        self.emit(at, RpcEvent::RpcCall(called.event(method.name))).await;
        if let Some(decoded) = decoded {
            self.take(at, decoded).await;
        }
        match called.outcome {
            Ok(_) => {
                self.reached(seen);
                Next::OnTime
            }
            Err(error) => self.failed(method, error, seen),
        }
    }

    async fn take(&self, at: u64, decoded: Decoded) {
        for odd in decoded.oddities.named() {
            self.emitter.error(odd);
        }
        if let RpcEvent::Uptime(uptime_s) = decoded.event {
            let before = self.uptime_s.swap(uptime_s.into(), Ordering::Relaxed);
            if u64::from(uptime_s) < before {
                // It restarted between two calls, maybe as another version.
                self.reach.send_modify(|reach| reach.times += 1);
            }
        }
        self.emit(at, decoded.event).await;
    }

    async fn emit(&self, at: u64, event: RpcEvent) {
        self.emitter.emit_at(at, PeerObserverEvent::Rpc(Rpc { rpc_event: Some(event) })).await;
    }

    fn failed(&self, method: &Method, error: CallError, seen: Reach) -> Next {
        let place = self.transport.place();
        match &error {
            CallError::Unreachable(why) => self.lost(seen, format!("the node at {place} ({why})")),
            CallError::Answer { code: STARTING, .. } => {
                self.lost(seen, "the node to finish starting".to_string());
            }
            CallError::Unauthorized(why) => {
                self.emitter.error(format!("{place}: {why}"));
                self.lost(seen, format!("the node at {place} to accept us ({why})"));
            }
            CallError::Timeout if method.name == UPTIME => {
                self.emitter.error(format!("{}: {error}", method.name));
                self.lost(seen, format!("the node at {place} to answer"));
                return Next::OnTime;
            }
            CallError::Answer { code: UNKNOWN_METHOD, .. } => {
                self.reached(seen);
                tracing::info!(node = self.emitter.node(), "the node has no {}: it is left out", method.name);
                return Next::Missing;
            }
            CallError::Forbidden => {
                self.reached(seen);
                self.emitter.error(format!("{}: {error}", method.name));
                return Next::Missing;
            }
            CallError::Timeout | CallError::Busy => {
                self.emitter.error(format!("{}: {error}", method.name));
                return Next::Later;
            }
            CallError::Answer { .. } => {
                self.reached(seen);
                self.emitter.error(format!("{}: {error}", method.name));
            }
            CallError::Malformed(_) => {
                self.emitter.error(format!("{}: {error}", method.name));
                if !seen.is_up {
                    // It may be anything that listens there.
                    self.lost(seen, format!("the node at {place} to answer ({error})"));
                }
            }
        }
        Next::OnTime
    }

    /// The node answered a call that began when it was lost.
    fn reached(&self, seen: Reach) {
        if !seen.is_up {
            self.reach.send_modify(|reach| *reach = Reach { is_up: true, times: reach.times + 1 });
            self.emitter.up(format!("the node at {}", self.transport.place()));
        }
    }

    /// The node does not answer. A call that began before it was last reached says nothing new.
    fn lost(&self, seen: Reach, waiting_for: String) {
        let is_news = self.reach.send_if_modified(|reach| {
            let is_news = reach.times == seen.times;
            reach.is_up &= !is_news;
            is_news
        });
        if is_news {
            self.emitter.waiting(waiting_for);
        }
    }
}

/// Decodes here, or apart if the answer is large.
async fn decode_apart(method: &'static Method, params: &Value, result: &RawValue) -> Result<Decoded, Odd> {
    if result.get().len() <= DECODE_HERE_BYTES_MAX {
        return decode(method, params, result);
    }
    let (params, result) = (params.clone(), result.to_owned());
    let decoding = tokio::task::spawn_blocking(move || decode(method, &params, &result));
    match decoding.await {
        Ok(decoded) => decoded,
        // A defect of ours; the supervisor counts it and starts the extractor again.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
