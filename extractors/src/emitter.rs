//! The way out of an extractor: events are stamped, numbered, encoded and put on the bus, in this order and in one step.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use prost::Message as _;
use tocsin_proto::pb::event::Event;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::pb::observer::events_lost::Place;
use tocsin_proto::pb::observer::extractor_status::State;
use tocsin_proto::pb::observer::observer::ObserverEvent;
use tocsin_proto::pb::observer::{EventsLost, ExtractorStatus, Observer};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

/// Events the bus holds; an extractor that finds it full waits.
pub const BUS_CAPACITY: usize = 65_536;
/// Bytes the bus holds: a block is an event, too.
pub const BUS_BYTES: usize = 256 << 20;
/// Field of the running number in `Event`, and what it takes at most.
const SEQUENCE: (u32, usize) = (102, 12);
/// How often an extractor reports its state.
const STATUS_EVERY: Duration = Duration::from_secs(10);
/// The same error is logged once in this time.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// Different errors whose last time of logging is remembered.
const LOGGED_MAX: usize = 64;

/// One encoded event on its way to the engine.
#[derive(Debug)]
pub struct Outgoing {
    /// The node.
    pub node: Arc<str>,
    /// The extractor.
    pub extractor: &'static str,
    /// The encoded `event.Event`.
    pub payload: Bytes,
    /// Its room on the bus, given back when it is dropped.
    _room: OwnedSemaphorePermit,
}

/// The sending side of a bus.
#[derive(Debug, Clone)]
pub struct Bus {
    events: mpsc::Sender<Outgoing>,
    room: Arc<Semaphore>,
}

/// A bus: what extractors put in, in their order.
pub fn bus() -> (Bus, mpsc::Receiver<Outgoing>) {
    let (events, received) = mpsc::channel(BUS_CAPACITY);
    (Bus { events, room: Arc::new(Semaphore::new(BUS_BYTES)) }, received)
}

impl Bus {
    /// Puts an encoded event in, when there is room. False if nobody takes events any more.
    pub async fn send(&self, node: Arc<str>, extractor: &'static str, payload: Bytes) -> bool {
        let room = self.room(payload.len()).await;
        self.events.send(Outgoing { node, extractor, payload, _room: room }).await.is_ok()
    }

    async fn room(&self, bytes: usize) -> OwnedSemaphorePermit {
        let room = self.room.clone().acquire_many_owned(permits(bytes)).await;
        room.expect("the semaphore is never closed")
    }
}

/// What an event takes of [`BUS_BYTES`]; one that is larger than all of it would wait for ever.
fn permits(bytes: usize) -> u32 {
    bytes.min(BUS_BYTES) as u32
}

/// What one extractor of one node sends events with. Clones share the numbering.
///
/// When the bus is full, sending waits: the extractor then reads its node more slowly, and what the node drops in the
/// meantime shows in its own counters (ring buffers). Nothing is dropped here.
#[derive(Debug, Clone)]
pub struct Emitter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    node: Arc<str>,
    extractor: &'static str,
    bus: Bus,
    started_at: u64,
    totals: Mutex<Totals>,
    /// Told when the state changes.
    changed: Notify,
}

#[derive(Debug)]
struct Totals {
    sequence: u64,
    errors: u64,
    lost: u64,
    reconnects: u64,
    was_up: bool,
    state: State,
    since: u64,
    detail: String,
    last_error: Option<String>,
    logged: BTreeMap<String, Instant>,
    /// Events at the last status, and when that was.
    reported: (u64, Instant),
}

/// Now, in Unix milliseconds.
pub fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_epoch.map_or(0, |elapsed| elapsed.as_millis() as u64)
}

impl Emitter {
    /// An emitter that numbers from 1.
    pub fn new(node: &str, extractor: &'static str, bus: Bus) -> Self {
        let now = now_ms();
        let totals = Totals {
            sequence: 0,
            errors: 0,
            lost: 0,
            reconnects: 0,
            was_up: false,
            state: State::Waiting,
            since: now,
            detail: "starting".to_string(),
            last_error: None,
            logged: BTreeMap::new(),
            reported: (0, Instant::now()),
        };
        let inner = Inner {
            node: node.into(),
            extractor,
            bus,
            started_at: now,
            totals: Mutex::new(totals),
            changed: Notify::new(),
        };
        Emitter { inner: Arc::new(inner) }
    }

    /// The node's name.
    pub fn node(&self) -> &str {
        &self.inner.node
    }

    /// The extractor's name.
    pub fn extractor(&self) -> &'static str {
        self.inner.extractor
    }

    /// Sends an event that happened now. Waits while the bus is full; does nothing once the other side is gone.
    pub async fn emit(&self, event: PeerObserverEvent) {
        self.emit_at(now_ms(), event).await;
    }

    /// Sends an event that happened at `timestamp_ms` (Unix milliseconds).
    pub async fn emit_at(&self, timestamp_ms: u64, event: PeerObserverEvent) {
        let payload = self.encode(timestamp_ms, event);
        let room = self.inner.bus.room(payload.len()).await;
        if let Ok(permit) = self.inner.bus.events.reserve().await {
            self.put(permit, payload, room);
        }
    }

    /// As [`Emitter::emit_at`], for a thread of its own.
    pub fn emit_blocking(&self, timestamp_ms: u64, event: PeerObserverEvent) {
        // The engine is behind: a millisecond is some hundreds of events of its work.
        let wait = || std::thread::sleep(Duration::from_millis(1));
        let payload = self.encode(timestamp_ms, event);
        let bus = &self.inner.bus;
        let room = loop {
            match bus.room.clone().try_acquire_many_owned(permits(payload.len())) {
                Ok(room) => break room,
                Err(_) if bus.events.is_closed() => return,
                Err(_) => wait(),
            }
        };
        let permit = loop {
            match bus.events.try_reserve() {
                Ok(permit) => break permit,
                Err(mpsc::error::TrySendError::Closed(())) => return,
                Err(mpsc::error::TrySendError::Full(())) => wait(),
            }
        };
        self.put(permit, payload, room);
    }

    /// An event without its number, and with room for it.
    fn encode(&self, timestamp_ms: u64, event: PeerObserverEvent) -> Vec<u8> {
        let event = Event {
            timestamp: timestamp_ms,
            node: Some(self.inner.node.to_string()),
            received_at: None,
            sequence: None,
            peer_observer_event: Some(event),
        };
        let mut payload = Vec::with_capacity(event.encoded_len() + SEQUENCE.1);
        event.encode(&mut payload).expect("a Vec grows");
        payload
    }

    /// Numbers an event and puts it on the bus in one step, so that the order of the bus is that of the numbers.
    fn put(&self, permit: mpsc::Permit<'_, Outgoing>, mut payload: Vec<u8>, room: OwnedSemaphorePermit) {
        let mut totals = self.totals();
        totals.sequence += 1;
        prost::encoding::uint64::encode(SEQUENCE.0, &totals.sequence, &mut payload);
        let (node, extractor) = (self.inner.node.clone(), self.inner.extractor);
        permit.send(Outgoing { node, extractor, payload: payload.into(), _room: room });
    }

    /// The node is not reached; says what is waited for. Logged when that changes.
    pub fn waiting(&self, for_what: impl Display) {
        self.enter(State::Waiting, for_what.to_string());
    }

    /// The node is reached; says what is read.
    pub fn up(&self, reading: impl Display) {
        self.enter(State::Up, reading.to_string());
    }

    fn enter(&self, state: State, detail: String) {
        let mut totals = self.totals();
        if totals.state == state && totals.detail == detail {
            return;
        }
        if state == State::Up && totals.state != State::Up {
            totals.reconnects += u64::from(totals.was_up);
            totals.was_up = true;
        }
        if totals.state != state {
            totals.since = now_ms();
        }
        (totals.state, totals.detail) = (state, detail);
        let (node, extractor) = (self.node(), self.extractor());
        match state {
            State::Up => tracing::info!(node, extractor, "reading {}", totals.detail),
            _ => tracing::warn!(node, extractor, "waiting for {}", totals.detail),
        }
        drop(totals);
        self.inner.changed.notify_one();
    }

    /// Something could not be read; nothing stops for it. Counted, and logged at most once a minute per text.
    pub fn error(&self, error: impl Display) {
        let text = error.to_string();
        let mut totals = self.totals();
        totals.errors += 1;
        let now = Instant::now();
        let is_due = totals.logged.get(&text).is_none_or(|last| now.duration_since(*last) >= LOG_EVERY);
        if is_due {
            if totals.logged.len() >= LOGGED_MAX {
                totals.logged.clear();
            }
            totals.logged.insert(text.clone(), now);
            tracing::warn!(node = self.node(), extractor = self.extractor(), "{text}");
        }
        totals.last_error = Some(text);
    }

    /// `count` facts never became events: counted, and an event of its own so that a rule can watch it.
    pub fn lost_blocking(&self, count: u64, what: &str) {
        let lost = self.note_loss(count, what);
        self.emit_blocking(now_ms(), lost);
    }

    /// As [`Emitter::lost_blocking`], for a task.
    pub async fn lost(&self, count: u64, what: &str) {
        let lost = self.note_loss(count, what);
        self.emit(lost).await;
    }

    fn note_loss(&self, count: u64, what: &str) -> PeerObserverEvent {
        self.totals().lost += count;
        observer_event(ObserverEvent::EventsLost(EventsLost {
            extractor: self.extractor().to_string(),
            place: Place::RingBuffer as i32,
            count,
            what: Some(what.to_string()),
        }))
    }

    /// Sends the state every ten seconds and when it changes, until `stop`.
    pub(crate) async fn report_status(&self, stop: tokio_util::sync::CancellationToken) {
        loop {
            let status = self.status();
            self.emit(status).await;
            tokio::select! {
                () = tokio::time::sleep(STATUS_EVERY) => {}
                () = self.inner.changed.notified() => {}
                () = stop.cancelled() => break,
            }
        }
    }

    /// The last event of an extractor that was told to end.
    pub(crate) async fn stopped(&self) {
        {
            let mut totals = self.totals();
            (totals.state, totals.since) = (State::Stopped, now_ms());
        }
        let status = self.status();
        self.emit(status).await;
    }

    fn status(&self) -> PeerObserverEvent {
        let mut totals = self.totals();
        let elapsed_s = totals.reported.1.elapsed().as_secs_f64().max(0.001);
        let rate = (totals.sequence - totals.reported.0) as f64 / elapsed_s;
        totals.reported = (totals.sequence, Instant::now());
        observer_event(ObserverEvent::Extractor(ExtractorStatus {
            name: self.extractor().to_string(),
            state: totals.state as i32,
            detail: totals.detail.clone(),
            events: totals.sequence,
            events_per_second: rate,
            errors: totals.errors,
            lost: totals.lost,
            reconnects: totals.reconnects,
            last_error: totals.last_error.clone(),
            started_at: self.inner.started_at,
            since: totals.since,
        }))
    }

    fn totals(&self) -> MutexGuard<'_, Totals> {
        // Nothing panics while it holds the lock; if something did, the totals are still good.
        self.inner.totals.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Puts what the monitor says of itself into an event.
pub fn observer_event(event: ObserverEvent) -> PeerObserverEvent {
    PeerObserverEvent::Observer(Observer { observer_event: Some(event) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(outgoing: &Outgoing) -> Event {
        Event::decode(outgoing.payload.clone()).expect("an event")
    }

    fn lost(event: &Event) -> &EventsLost {
        match &event.peer_observer_event {
            Some(PeerObserverEvent::Observer(Observer {
                observer_event: Some(ObserverEvent::EventsLost(lost)),
            })) => lost,
            other => panic!("no loss: {other:?}"),
        }
    }

    #[tokio::test]
    async fn events_are_numbered_in_the_order_of_the_bus() {
        let (bus, mut received) = bus();
        let emitter = Emitter::new("alice", "rpc", bus);
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let emitter = emitter.clone();
                tokio::spawn(async move {
                    for _ in 0..100 {
                        emitter.lost(1, "test").await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        for number in 1..=800 {
            let outgoing = received.recv().await.expect("an event");
            let event = decode(&outgoing);
            assert_eq!((event.sequence, event.node.as_deref()), (Some(number), Some("alice")));
            assert_eq!(lost(&event).count, 1);
        }
    }

    #[tokio::test]
    async fn a_status_tells_the_state_and_the_reconnects() {
        let (bus, mut received) = bus();
        let emitter = Emitter::new("alice", "log", bus);
        emitter.up("debug.log");
        emitter.waiting("debug.log");
        emitter.up("debug.log");
        emitter.error("a line that is none");
        emitter.stopped().await;
        let event = decode(&received.recv().await.expect("an event"));
        let Some(PeerObserverEvent::Observer(Observer {
            observer_event: Some(ObserverEvent::Extractor(status)),
        })) = event.peer_observer_event
        else {
            panic!("no status")
        };
        assert_eq!((status.reconnects, status.errors), (1, 1));
        assert_eq!(status.state, State::Stopped as i32);
        assert_eq!(status.last_error.as_deref(), Some("a line that is none"));
    }

    #[tokio::test]
    async fn the_bus_is_bounded_by_bytes_too() {
        let (bus, mut received) = bus();
        let large = || Bytes::from(vec![0; BUS_BYTES / 2 + 1]);
        assert!(bus.send("alice".into(), "ebpf", large()).await);
        let second = tokio::spawn({
            let bus = bus.clone();
            async move { bus.send("alice".into(), "ebpf", large()).await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!second.is_finished(), "there is no room yet");
        drop(received.recv().await);
        assert!(second.await.expect("no panic"));
    }
}
