//! The loop of dispatch: takes what waits, decides, stores, and only then answers and sends.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tocsin_engine::dispatch::alert::{AlertChange, AlertState, Fingerprint};
use tocsin_engine::dispatch::decision::DecisionKind;
use tocsin_engine::dispatch::{Dispatcher, Input};
use tocsin_engine::time::Timestamp;
use tocsin_proto::pb::notification::Notification;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Request;
use super::clock::Clock;
use super::courier::Attempted;
use super::outage::{self, Outage, Unstored};
use super::plan::Plan;
use super::post::Post;
use super::request::Answer;
use super::status::{DispatchStatus, StoreStatus};
use super::store::{Batch, Forgotten, Store, StoredChange};
use super::teller::{Listener, Told};

/// Changes that wait to be stored at most; beyond that the engine waits.
const WAITING_MAX: usize = 65_536;
/// Things taken together at most.
const AT_ONCE_MAX: usize = 1024;
/// Where the store cannot be written it is tried again after this time.
const STORE_AGAIN_MS: i64 = 1000;
/// How often the status is put together, at least.
const PUBLISH_EVERY_MS: i64 = 1000;
/// How often what is long over is forgotten.
const FORGET_EVERY_MS: i64 = 60_000;
/// How long attempts under way, and a store that cannot be written, are waited for at the end.
const END_MAX: Duration = Duration::from_secs(5);
/// Time between two errors about the store in the log.
const LOG_EVERY_MS: i64 = 60_000;

/// What the thread works with.
pub struct Thread {
    clock: Clock,
    dispatcher: Dispatcher,
    pub(super) store: Store,
    pub(super) post: Post,
    pub(super) batch: Batch,
    pub(super) answers: Vec<Answer>,
    pub(super) outage: Option<Outage>,
    /// The batch's changes, to be named where they cannot be stored.
    unstored: Unstored,
    /// Since when alerts fire, on the node's clock.
    firing: BTreeMap<Fingerprint, i64>,
    /// Ids of the batch's changes.
    waiting: BTreeSet<String>,
    /// Alerts that resolved in the batch.
    resolved: BTreeSet<Fingerprint>,
    /// Things that the engine told.
    heard: u64,
    results: mpsc::Receiver<Attempted>,
    emergencies: (mpsc::Sender<bool>, mpsc::Receiver<bool>),
    runtime: Handle,
    root: String,
    url: String,
    newest: Arc<RwLock<Arc<DispatchStatus>>>,
    status: StoreStatus,
    suppressed: BTreeMap<&'static str, u64>,
    try_store_ms: i64,
    published_ms: i64,
    forgot_ms: i64,
    logged_ms: i64,
}

/// What it is told from outside.
pub struct Inputs {
    /// The engine.
    pub listener: Listener,
    /// People and interfaces.
    pub requests: mpsc::Receiver<Request>,
    /// When to end.
    pub shutdown: CancellationToken,
}

/// What woke the thread.
enum Woken {
    Told(Option<Told>),
    Asked(Request),
    Attempted(Attempted),
    Emergency(bool),
    Timer,
}

impl Thread {
    /// Opens the store and restores what the run before left there.
    pub fn open(
        path: &Path,
        plan: Plan,
        url: &str,
        newest: Arc<RwLock<Arc<DispatchStatus>>>,
        runtime: &Handle,
    ) -> anyhow::Result<Thread> {
        let now_ms = tocsin_extractors::now_ms() as i64;
        let (store, damage) = Store::open(path, now_ms)?;
        let mut clock = Clock::new(store.last_ms()?);
        let now = clock.now();
        let root = plan.root();
        let nodes = plan.hidden.nodes.clone();
        let (dispatcher, notes) = Dispatcher::restore(plan.routing, &store.rows()?);
        for note in notes {
            tracing::warn!("restart: {note}");
        }
        let (sender, results) = mpsc::channel(AT_ONCE_MAX);
        let mut batch = Batch::default();
        let mut post = Post::start(plan.addresses, runtime, sender);
        post.restore(store.pending()?, store.dead()?, now.unix_ms(), &mut batch);
        let alerts = dispatcher.view(now).alerts;
        nodes.learn(alerts.iter().filter_map(|alert| alert.labels.get("node")));
        let mut thread = Thread {
            clock,
            dispatcher,
            store,
            post,
            batch,
            answers: Vec::new(),
            outage: None,
            unstored: Unstored::default(),
            firing: BTreeMap::new(),
            waiting: BTreeSet::new(),
            resolved: BTreeSet::new(),
            heard: 0,
            results,
            emergencies: mpsc::channel(4),
            runtime: runtime.clone(),
            root,
            url: url.to_string(),
            newest,
            status: StoreStatus::default(),
            suppressed: BTreeMap::new(),
            try_store_ms: 0,
            published_ms: 0,
            forgot_ms: 0,
            logged_ms: 0,
        };
        if let Some(damage) = damage {
            thread.note_damage(damage, now);
        }
        Ok(thread)
    }

    /// Works until the engine has ended.
    pub async fn run(mut self, mut inputs: Inputs) {
        self.commit(&inputs.listener);
        self.publish();
        loop {
            let woken = self.wait(&mut inputs).await;
            let mut has_ended = !self.take(woken);
            for _ in 0..AT_ONCE_MAX {
                let Some(woken) = self.next_waiting(&mut inputs) else { break };
                has_ended |= !self.take(woken);
            }
            self.turn(&inputs.listener);
            if has_ended {
                break;
            }
        }
        self.end(&inputs.listener).await;
    }

    async fn wait(&mut self, inputs: &mut Inputs) -> Woken {
        let wait = self.wait_for();
        let has_room = self.has_room(inputs);
        tokio::select! {
            told = inputs.listener.line.recv(), if has_room => Woken::Told(told),
            Some(request) = inputs.requests.recv() => Woken::Asked(request),
            Some(attempted) = self.results.recv() => Woken::Attempted(attempted),
            Some(was_heard) = self.emergencies.1.recv() => Woken::Emergency(was_heard),
            () = tokio::time::sleep(wait) => Woken::Timer,
        }
    }

    /// At the end everything is taken: the engine is not to wait for a disk that may stay full.
    fn has_room(&self, inputs: &Inputs) -> bool {
        self.batch.changes.len() < WAITING_MAX || inputs.shutdown.is_cancelled()
    }

    fn next_waiting(&mut self, inputs: &mut Inputs) -> Option<Woken> {
        if let Ok(attempted) = self.results.try_recv() {
            return Some(Woken::Attempted(attempted));
        }
        if let Ok(request) = inputs.requests.try_recv() {
            return Some(Woken::Asked(request));
        }
        if !self.has_room(inputs) {
            return None;
        }
        match inputs.listener.line.try_recv() {
            Ok(told) => Some(Woken::Told(Some(told))),
            Err(_) => None,
        }
    }

    /// How long nothing is to be done unless something comes.
    fn wait_for(&mut self) -> Duration {
        let now_ms = self.clock.now().unix_ms();
        let mut due_ms = self.published_ms + PUBLISH_EVERY_MS;
        due_ms = due_ms.min(self.dispatcher.next_due().map_or(i64::MAX, Timestamp::unix_ms));
        due_ms = due_ms.min(self.post.next_due_ms().unwrap_or(i64::MAX));
        if let Some(outage) = &self.outage {
            due_ms = due_ms.min(self.try_store_ms).min(outage.next_ms());
        }
        Duration::from_millis((due_ms - now_ms).clamp(1, PUBLISH_EVERY_MS) as u64)
    }

    /// False if the engine has ended.
    fn take(&mut self, woken: Woken) -> bool {
        let now = self.clock.now();
        match woken {
            Woken::Told(None) => return false,
            Woken::Told(Some(told)) => {
                self.heard += 1;
                self.hear(told, now);
            }
            Woken::Asked(request) => self.request(request, now),
            Woken::Attempted(attempted) => self.post.attempted(attempted, now.unix_ms(), &mut self.batch),
            Woken::Emergency(was_heard) => {
                if let Some(outage) = self.outage.as_mut().filter(|_| !was_heard) {
                    outage.was_not_heard(now.unix_ms());
                }
            }
            Woken::Timer => {}
        }
        true
    }

    fn hear(&mut self, told: Told, now: Timestamp) {
        match told {
            Told::Changed { change, is_new } => self.change(change, is_new, now),
            Told::Refreshed(alerts) => {
                for mut alert in alerts {
                    match self.fires_since(alert.fingerprint()) {
                        Some(starts_at_ms) => {
                            alert.starts_at = Timestamp::from_unix_ms(starts_at_ms);
                            self.step(Input::Refreshed(alert), now);
                        }
                        None => self.fire(alert, now),
                    }
                }
            }
            Told::Reconciled { firing, pending } => self.reconcile(firing, pending, now),
        }
    }

    /// An alert fired or resolved. What was stored before a restart is told again by the engine and is no news.
    fn change(&mut self, mut change: AlertChange, is_new: bool, now: Timestamp) {
        let fingerprint = change.fingerprint();
        let told = StoredChange::of(&change);
        let is_known = self.waiting.contains(&told.id()) || self.store.has_change(&told).unwrap_or(false);
        if is_known || (!is_new && self.is_older(&told)) {
            return;
        }
        if change.state == AlertState::Resolved
            && let Some(starts_at_ms) = self.fires_since(fingerprint)
        {
            change.starts_at = Timestamp::from_unix_ms(starts_at_ms);
        }
        self.apply(change, now);
    }

    fn apply(&mut self, change: AlertChange, now: Timestamp) {
        let stored = StoredChange::of(&change);
        match change.state {
            AlertState::Firing => {
                self.firing.insert(stored.fingerprint, stored.starts_at_ms);
                self.resolved.remove(&stored.fingerprint);
            }
            AlertState::Resolved => {
                self.firing.remove(&stored.fingerprint);
                self.resolved.insert(stored.fingerprint);
            }
        }
        self.unstored.note(&change);
        self.waiting.insert(stored.id());
        self.batch.labels.insert(stored.fingerprint, change.labels.clone());
        self.batch.changes.push(stored);
        self.step(Input::Changed(change), now);
    }

    /// An alert fires that dispatch did not know of.
    fn fire(&mut self, mut alert: AlertChange, now: Timestamp) {
        alert.at = alert.starts_at;
        self.apply(alert, now);
    }

    fn reconcile(&mut self, alerts: Vec<AlertChange>, pending: Vec<Fingerprint>, now: Timestamp) {
        let view = self.dispatcher.view(now);
        let known = view.alerts.iter().filter(|alert| alert.ends_at.is_none());
        let known: BTreeSet<Fingerprint> = known.map(|alert| alert.fingerprint).collect();
        let firing: BTreeSet<Fingerprint> = alerts.iter().map(AlertChange::fingerprint).collect();
        for mut alert in alerts {
            let fingerprint = alert.fingerprint();
            if let Some(starts_at_ms) = self.fires_since(fingerprint) {
                alert.starts_at = Timestamp::from_unix_ms(starts_at_ms);
            }
            if known.contains(&fingerprint) {
                self.firing.insert(fingerprint, alert.starts_at.unix_ms());
                self.step(Input::Refreshed(alert), now);
            } else {
                self.fire(alert, now);
            }
        }
        self.firing.retain(|fingerprint, _| firing.contains(fingerprint));
        self.step(Input::Reconciled { firing, pending: pending.into_iter().collect() }, now);
    }

    /// Since when an alert fires, if it does; unix ms on the node's clock.
    fn fires_since(&self, fingerprint: Fingerprint) -> Option<i64> {
        if let Some(starts_at_ms) = self.firing.get(&fingerprint) {
            return Some(*starts_at_ms);
        }
        if self.resolved.contains(&fingerprint) {
            return None;
        }
        let latest = self.store.latest_change(fingerprint).ok()??;
        (latest.state == AlertState::Firing).then_some(latest.starts_at_ms)
    }

    fn is_older(&self, told: &StoredChange) -> bool {
        let latest = self.store.latest_change(told.fingerprint);
        latest.ok().flatten().is_some_and(|latest| told.at_ms < latest.at_ms)
    }

    /// Advances the dispatcher by what nobody asked for.
    fn step(&mut self, input: Input, now: Timestamp) {
        // Newer values come each second.
        let is_logged = !matches!(input, Input::Refreshed(_));
        if let Some(error) = self.meet(input, now).err().filter(|_| is_logged) {
            tracing::error!("{error}");
        }
    }

    /// Advances the dispatcher and notes what is to be stored. Returns the id of the silence that was made or changed, if
    /// one was; or why a request cannot be met.
    pub(super) fn meet(&mut self, input: Input, now: Timestamp) -> Result<Option<String>, String> {
        let mut outcome = self.dispatcher.step(now, input);
        for decision in &outcome.decisions {
            if is_suppression(decision.kind) {
                *self.suppressed.entry(decision.kind.name()).or_default() += 1;
            }
        }
        for notification in &mut outcome.notifications {
            notification.external_url.clone_from(&self.url);
        }
        let (silence, refused) = (outcome.silence.take(), outcome.refused.take());
        self.batch.add(outcome);
        refused.map_or(Ok(silence), Err)
    }

    /// What follows when something was taken, or when a timer is due.
    fn turn(&mut self, listener: &Listener) {
        let now = self.clock.now();
        if self.dispatcher.next_due().is_some_and(|due| due <= now) {
            self.step(Input::Tick, now);
        }
        let has_answers = !self.answers.is_empty();
        self.commit(listener);
        self.tell_outage(now.unix_ms());
        self.post.hand_out(&self.store, &mut self.batch, now.unix_ms());
        if now.unix_ms() - self.forgot_ms >= FORGET_EVERY_MS && self.outage.is_none() {
            self.forgot_ms = now.unix_ms();
            match self.store.forget(now.unix_ms()) {
                Ok(Forgotten::All) => {}
                // The rest goes with the next turns, between which others are served.
                Ok(Forgotten::Some) => self.forgot_ms = 0,
                Err(error) => {
                    tracing::warn!("{}: old rows cannot be removed: {error}", self.store.path().display());
                }
            }
        }
        if has_answers || now.unix_ms() - self.published_ms >= PUBLISH_EVERY_MS {
            self.publish();
            listener.has_orphans.store(self.dispatcher.has_orphans(), Ordering::Relaxed);
        }
        for answer in std::mem::take(&mut self.answers) {
            answer(self.outage.as_ref().map(|outage| outage.error.as_str()));
        }
    }

    /// Stores the batch; what was decided in it is sent from now on. After an error it is kept and tried again.
    fn commit(&mut self, listener: &Listener) {
        let now = self.clock.now();
        if self.outage.is_some() && now.unix_ms() < self.try_store_ms {
            return;
        }
        if (!self.batch.is_empty() || self.store.is_damaged())
            && let Err(error) = self.put(now)
        {
            self.status.failed += 1;
            self.try_store_ms = now.unix_ms() + STORE_AGAIN_MS;
            self.note_outage(error, now.unix_ms());
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let unstored = std::mem::take(&mut self.unstored);
        self.waiting.clear();
        self.resolved.clear();
        for notification in &batch.notifications {
            self.post.add(notification);
        }
        listener.committed.store(self.heard, Ordering::Release);
        if let Some(outage) = self.outage.take() {
            self.status.error = None;
            tracing::warn!("{}: can be written again", self.store.path().display());
            let store = self.store.path().display().to_string();
            if let Some(mut notification) = outage.end(now.unix_ms(), &self.root, &store, &unstored) {
                // Stored as all others, with the next batch.
                notification.external_url.clone_from(&self.url);
                self.batch.notifications.push(notification);
            }
        }
    }

    fn put(&mut self, now: Timestamp) -> Result<(), String> {
        if !self.store.is_damaged() {
            match self.store.commit(&self.batch, now.unix_ms()) {
                Ok(()) => {
                    self.status.commits += 1;
                    return Ok(());
                }
                Err(error) if !self.store.is_damaged() => return Err(error.to_string()),
                Err(_) => {}
            }
        }
        let said = self.store.replace(now.unix_ms()).map_err(|error| format!("{error:#}"))?;
        self.note_damage(said, now);
        // What could not be read of the old one is still known here.
        let rows = self.dispatcher.all_rows().into_iter().map(|row| ((row.table, row.key), row.value));
        self.batch.rows.extend(rows);
        self.store.commit(&self.batch, now.unix_ms()).map_err(|error| error.to_string())?;
        self.status.commits += 1;
        Ok(())
    }

    fn note_damage(&mut self, damage: String, now: Timestamp) {
        tracing::error!("{damage}");
        let store = self.store.path().display().to_string();
        let mut notification = outage::of_damage(now.unix_ms(), &self.root, &store, &damage);
        notification.external_url.clone_from(&self.url);
        self.batch.notifications.push(notification);
        self.status.damage = Some(damage);
    }

    fn note_outage(&mut self, error: String, now_ms: i64) {
        if self.outage.is_none() || now_ms - self.logged_ms >= LOG_EVERY_MS {
            self.logged_ms = now_ms;
            tracing::error!(
                "{}: {error}: nobody is told of alerts while it cannot be written; tried again each second",
                self.store.path().display()
            );
        }
        self.status.error = Some(error.clone());
        match &mut self.outage {
            Some(outage) => outage.error = error,
            None => self.outage = Some(Outage::new(now_ms, error)),
        }
    }

    fn tell_outage(&mut self, now_ms: i64) {
        let store = self.store.path().display().to_string();
        let Some(outage) = &mut self.outage else { return };
        if let Some(notification) = outage.tell(now_ms, &self.root, &store, &self.unstored) {
            self.send(notification);
        }
    }

    /// Sends what cannot be stored, once.
    fn send(&self, mut notification: Notification) {
        notification.external_url.clone_from(&self.url);
        let Some(address) = self.post.address(&self.root).cloned() else { return };
        let heard = self.emergencies.0.clone();
        self.runtime.spawn(async move {
            let result = address.attempt(notification, None).await;
            if let Err(error) = &result {
                tracing::error!(receiver = address.name, "an emergency could not be told: {error}");
            }
            let _ = heard.send(result.is_ok()).await;
        });
    }

    fn publish(&mut self) {
        let now = self.clock.now();
        self.published_ms = now.unix_ms();
        let status = DispatchStatus {
            view: self.dispatcher.view(now),
            receivers: self.post.status(),
            store: StoreStatus { bytes: self.store.bytes(), ..self.status.clone() },
            suppressed: self.suppressed.clone(),
        };
        *self.newest.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(status);
    }

    /// Waits a little for attempts under way: everything is in the store, but a repeat can be spared.
    async fn end(&mut self, listener: &Listener) {
        let until = tokio::time::Instant::now() + END_MAX;
        while self.post.is_busy() || self.outage.is_some() {
            tokio::select! {
                Some(attempted) = self.results.recv() => { self.take(Woken::Attempted(attempted)); }
                () = tokio::time::sleep(Duration::from_millis(STORE_AGAIN_MS as u64)) => {}
                () = tokio::time::sleep_until(until) => break,
            }
            self.commit(listener);
        }
        self.commit(listener);
        if self.outage.is_some() {
            tracing::error!(
                "{}: {} changes of alerts and {} notifications could not be stored; what was recorded is read \
                 again by the next run",
                self.store.path().display(),
                self.batch.changes.len(),
                self.batch.notifications.len()
            );
        }
        self.publish();
    }
}

/// True for decisions that keep somebody from being told.
fn is_suppression(kind: DecisionKind) -> bool {
    match kind {
        DecisionKind::Silenced
        | DecisionKind::Inhibited
        | DecisionKind::Muted
        | DecisionKind::RateLimited
        | DecisionKind::Flapping
        | DecisionKind::Acknowledged
        | DecisionKind::Experimental => true,
        DecisionKind::Fired
        | DecisionKind::Resolved
        | DecisionKind::Grouped
        | DecisionKind::Notified
        | DecisionKind::Unacknowledged
        | DecisionKind::Escalated => false,
    }
}
