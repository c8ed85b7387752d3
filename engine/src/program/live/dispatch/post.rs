//! The receivers as the thread of dispatch sees them: what waits for each, and what came of attempts.

use std::time::Duration;

use tocsin_engine::dispatch::delivery::Attempted as Attempt;
use tocsin_engine::dispatch::delivery::{
    Breaker, Change, Ended, Failed, Next, Pass, Policy, RETRY_AFTER_MAX_MS, Retry,
};
use tocsin_engine::time::Timestamp;
use tocsin_notifiers::{Failure, NotifyError, Receipt};
use tocsin_proto::pb::notification::Notification;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::courier::{Address, Attempted};
use super::outbox::Outbox;
use super::status::{NotificationState, ReceiverStatus};
use super::store::{Batch, Store, Update, Waiting};

/// Where a notification cannot be read it is tried again after this time.
const READ_AGAIN_MS: i64 = 1000;

/// All receivers.
pub struct Post {
    lines: Vec<Line>,
}

struct Line {
    address: Address,
    deliveries: mpsc::Sender<(Notification, Option<Receipt>)>,
    outbox: Outbox,
    breaker: Breaker,
    /// Nothing is tried before this instant; unix ms.
    broken_until_ms: Option<i64>,
    status: ReceiverStatus,
    under_way: Option<(Waiting, Pass)>,
}

impl Post {
    /// Starts the receivers' tasks.
    pub fn start(addresses: Vec<Address>, runtime: &Handle, results: mpsc::Sender<Attempted>) -> Self {
        let line = |(place, address): (usize, Address)| Line {
            deliveries: address.start(place, runtime, results.clone()),
            outbox: Outbox::new(address.order),
            breaker: Breaker::default(),
            broken_until_ms: None,
            status: ReceiverStatus {
                name: address.name.clone(),
                integration: address.integration,
                ..ReceiverStatus::default()
            },
            under_way: None,
            address,
        };
        Post { lines: addresses.into_iter().enumerate().map(line).collect() }
    }

    /// What the run before left. Notifications for receivers that are no longer configured are given up.
    pub fn restore(
        &mut self,
        pending: Vec<Waiting>,
        dead: Vec<(String, u64)>,
        now_ms: i64,
        batch: &mut Batch,
    ) {
        for mut waiting in pending {
            if waiting.since_ms > now_ms {
                // The clock was set back.
                (waiting.due_ms, waiting.since_ms) = (now_ms, now_ms);
            }
            waiting.due_ms = waiting.due_ms.min(now_ms + RETRY_AFTER_MAX_MS);
            match self.line(&waiting.receiver) {
                Some(line) => line.outbox.add(waiting),
                None => {
                    let error = format!("no [[receiver]] is named {:?} any more", waiting.receiver);
                    tracing::error!("notification {} is given up: {error}", waiting.id);
                    batch.updates.push(Update {
                        id: waiting.id,
                        state: NotificationState::Dead { at_ms: now_ms },
                        attempts: waiting.attempts,
                        last_error: Some(error),
                        since_ms: None,
                    });
                }
            }
        }
        for (receiver, count) in dead {
            if let Some(line) = self.line(&receiver) {
                line.status.dead = count;
            }
        }
    }

    fn line(&mut self, receiver: &str) -> Option<&mut Line> {
        self.lines.iter_mut().find(|line| line.address.name == receiver)
    }

    /// How a receiver is reached.
    pub fn address(&self, receiver: &str) -> Option<&Address> {
        self.lines.iter().map(|line| &line.address).find(|address| address.name == receiver)
    }

    /// Takes a notification that was just stored.
    pub fn add(&mut self, notification: &Notification) {
        let Some(line) = self.line(&notification.receiver) else { return };
        line.status.decided += 1;
        line.outbox.add(Waiting {
            id: notification.id.clone(),
            receiver: notification.receiver.clone(),
            group_key: notification.group_key.clone(),
            attempts: 0,
            due_ms: notification.decided_at,
            decided_ms: notification.decided_at,
            since_ms: notification.decided_at,
        });
    }

    /// Takes one again that was given up.
    pub fn resend(&mut self, waiting: Waiting) {
        if let Some(line) = self.line(&waiting.receiver) {
            line.status.dead = line.status.dead.saturating_sub(1);
            line.outbox.add(waiting);
        }
    }

    /// When something is to be tried next; unix ms.
    pub fn next_due_ms(&self) -> Option<i64> {
        let due = |line: &Line| {
            let due_ms = line.outbox.next_due_ms()?;
            Some(line.broken_until_ms.map_or(due_ms, |until_ms| due_ms.max(until_ms)))
        };
        self.lines.iter().filter_map(due).min()
    }

    /// True while an attempt is under way.
    pub fn is_busy(&self) -> bool {
        self.lines.iter().any(|line| line.under_way.is_some())
    }

    /// Hands what is due to the receivers' tasks.
    pub fn hand_out(&mut self, store: &Store, batch: &mut Batch, now_ms: i64) {
        for line in &mut self.lines {
            let Some((waiting, pass)) = line.next(now_ms) else { continue };
            match read(store, batch, &waiting) {
                Ok(Some(delivery)) => {
                    // The task has room for one, and none is under way.
                    match line.deliveries.try_send(delivery) {
                        Ok(()) => line.under_way = Some((waiting, pass)),
                        Err(_) => line.attempted(waiting, pass, &task_ended(), now_ms, batch),
                    }
                    continue;
                }
                Ok(None) => line.give_up(&waiting, "it cannot be read from the store", now_ms, batch),
                Err(error) => {
                    tracing::error!("notification {} cannot be read and is tried again: {error}", waiting.id);
                    line.outbox.again(now_ms + READ_AGAIN_MS, waiting.attempts);
                }
            }
            // Nothing was tried, so nothing is known of the receiver.
            line.ended(pass, Ended::Failed(UNTRIED), now_ms);
        }
    }

    /// Notes what came of an attempt.
    pub fn attempted(&mut self, attempted: Attempted, now_ms: i64, batch: &mut Batch) {
        let Some(line) = self.lines.get_mut(attempted.receiver) else { return };
        let Some((mut waiting, pass)) = line.under_way.take_if(|(waiting, _)| waiting.id == attempted.id)
        else {
            return;
        };
        match attempted.result {
            Ok(receipt) => {
                waiting.attempts += 1;
                line.status.attempts += 1;
                line.ended(pass, Ended::Delivered, now_ms);
                line.delivered(&waiting, now_ms, batch);
                batch.receipts.push((waiting.receiver, attempted.thread, receipt));
            }
            Err(error) => line.attempted(waiting, pass, &error, now_ms, batch),
        }
    }

    /// The receivers.
    pub fn status(&self) -> Vec<ReceiverStatus> {
        let status = |line: &Line| ReceiverStatus {
            pending: line.outbox.len(),
            broken_until_ms: line.broken_until_ms.map(|ms| ms as u64),
            ..line.status.clone()
        };
        self.lines.iter().map(status).collect()
    }
}

fn task_ended() -> NotifyError {
    NotifyError {
        failure: Failure::Other,
        can_retry: true,
        retry_after: None,
        text: "the task of the receiver has ended, which is a mistake of ours; a restart of tocsin helps"
            .to_string(),
    }
}

/// For the breaker, where there was no attempt after all.
const UNTRIED: Failed = Failed { retry: Retry::CannotHelp, retry_after: None };

/// What the policy must know of an error.
fn failed(error: &NotifyError) -> Failed {
    let retry = if error.can_retry { Retry::CanHelp } else { Retry::CannotHelp };
    Failed { retry, retry_after: error.retry_after.filter(|wait| *wait > Duration::ZERO) }
}

impl Line {
    /// The next one that is due, if the receiver is not to be left alone.
    fn next(&mut self, now_ms: i64) -> Option<(Waiting, Pass)> {
        if self.outbox.next_due_ms()? > now_ms || self.broken_until_ms.is_some_and(|until| now_ms < until) {
            return None;
        }
        let pass = self.breaker.begin(Timestamp::from_unix_ms(now_ms));
        if let Pass::Wait(until) = pass {
            self.broken_until_ms = Some(until.unix_ms());
            return None;
        }
        let waiting = self.outbox.take(now_ms)?;
        Some((waiting, pass))
    }

    fn ended(&mut self, pass: Pass, ended: Ended, now_ms: i64) {
        let name = &self.address.name;
        match self.breaker.ended(name, pass, ended, Timestamp::from_unix_ms(now_ms)) {
            Change::None => {}
            Change::Opened(until) => {
                self.broken_until_ms = Some(until.unix_ms());
                tracing::error!(receiver = name, "so much failed that nothing is tried before {until}");
            }
            Change::Closed => tracing::info!(receiver = name, "takes notifications again"),
        }
        if !self.breaker.is_open() {
            self.broken_until_ms = None;
        }
    }

    /// An attempt failed.
    fn attempted(
        &mut self,
        mut waiting: Waiting,
        pass: Pass,
        error: &NotifyError,
        now_ms: i64,
        batch: &mut Batch,
    ) {
        waiting.attempts += 1;
        self.status.attempts += 1;
        self.ended(pass, Ended::Failed(failed(error)), now_ms);
        self.failed(&waiting, error, now_ms, batch);
        if self.breaker.is_open() {
            self.give_up_older(&error.text, now_ms, batch);
        }
    }

    /// A receiver that is dead takes one attempt at a time: what is too old for another goes with the one that failed.
    fn give_up_older(&mut self, error: &str, now_ms: i64, batch: &mut Batch) {
        let give_up_after = Policy::default().give_up_after;
        for waiting in self.outbox.take_older(now_ms - give_up_after.millis()) {
            let hours = give_up_after.millis() / 3_600_000;
            let why = format!("{error}; the receiver takes nothing, and this is older than {hours} h");
            self.bury(&waiting, &why, now_ms, batch);
        }
    }

    fn delivered(&mut self, waiting: &Waiting, now_ms: i64, batch: &mut Batch) {
        self.outbox.done();
        self.status.delivered += 1;
        self.status.delivered_at_ms = Some(now_ms as u64);
        self.status.delay_s += (now_ms - waiting.decided_ms).max(0) as f64 / 1000.0;
        batch.updates.push(Update {
            id: waiting.id.clone(),
            state: NotificationState::Delivered { at_ms: now_ms },
            attempts: waiting.attempts,
            last_error: None,
            since_ms: None,
        });
    }

    fn failed(&mut self, waiting: &Waiting, error: &NotifyError, now_ms: i64, batch: &mut Batch) {
        *self.status.failed.entry(error.failure).or_default() += 1;
        self.status.last_error = Some(error.text.clone());
        let attempt = Attempt {
            notification: &waiting.id,
            attempts: waiting.attempts,
            decided_at: Timestamp::from_unix_ms(waiting.since_ms),
            at: Timestamp::from_unix_ms(now_ms),
            failed: failed(error),
        };
        match Policy::default().next(&attempt) {
            Next::GiveUp(why) => self.give_up(waiting, &format!("{}; {why}", error.text), now_ms, batch),
            Next::TryAt(at) => {
                let at_ms = at.unix_ms();
                tracing::warn!(
                    receiver = self.address.name,
                    "attempt {} at notification {} failed, the next is in {} s: {}",
                    waiting.attempts,
                    waiting.id,
                    (at_ms - now_ms) / 1000,
                    error.text
                );
                self.outbox.again(at_ms, waiting.attempts);
                batch.updates.push(Update {
                    id: waiting.id.clone(),
                    state: NotificationState::Pending { next_attempt_at_ms: at_ms },
                    attempts: waiting.attempts,
                    last_error: Some(error.text.clone()),
                    since_ms: None,
                });
            }
        }
    }

    /// The one under way is given up.
    fn give_up(&mut self, waiting: &Waiting, error: &str, now_ms: i64, batch: &mut Batch) {
        self.outbox.done();
        self.bury(waiting, error, now_ms, batch);
    }

    fn bury(&mut self, waiting: &Waiting, error: &str, now_ms: i64, batch: &mut Batch) {
        tracing::error!(
            receiver = self.address.name,
            "notification {} is given up after {} attempts: {error}",
            waiting.id,
            waiting.attempts
        );
        self.status.dead += 1;
        batch.updates.push(Update {
            id: waiting.id.clone(),
            state: NotificationState::Dead { at_ms: now_ms },
            attempts: waiting.attempts,
            last_error: Some(error.to_string()),
            since_ms: None,
        });
    }
}

/// A notification and what the first delivery of its thread left.
fn read(
    store: &Store,
    batch: &Batch,
    waiting: &Waiting,
) -> Result<Option<(Notification, Option<Receipt>)>, super::store::Error> {
    let Some(notification) = store.notification(&waiting.id)? else { return Ok(None) };
    let is_of = |(receiver, thread, _): &&(String, String, Receipt)| {
        *receiver == notification.receiver && *thread == notification.thread
    };
    let first = match store.receipt(&notification.receiver, &notification.thread)? {
        Some(first) => Some(first),
        None => batch.receipts.iter().find(is_of).map(|(_, _, receipt)| receipt.clone()),
    };
    Ok(Some((notification, first)))
}

#[cfg(test)]
mod tests {
    use super::super::names::NodeNames;
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    /// A receiver whose task has ended, so that each attempt fails at once.
    fn without_task() -> Post {
        tocsin_notifiers::choose_cryptography();
        let config = toml::from_str("name = \"hook\"\n[webhook]\nurl = \"http://127.0.0.1:9/\"\n");
        let address = Address::new(&config.expect("a receiver"), &NodeNames::default()).expect("right");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (results, _) = mpsc::channel(1);
        Post::start(vec![address], runtime.handle(), results)
    }

    #[test]
    fn a_dead_receiver_is_tried_again_and_keeps_no_more_than_a_day() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut store, _) = Store::open(&folder.path().join("store.sqlite"), 0).expect("a store");
        let notification = |number: u32| Notification {
            id: number.to_string(),
            receiver: "hook".to_string(),
            group_key: number.to_string(),
            ..Notification::default()
        };
        let batch = Batch { notifications: (0..10).map(notification).collect(), ..Batch::default() };
        store.commit(&batch, 0).expect("stored");
        let mut post = without_task();
        batch.notifications.iter().for_each(|notification| post.add(notification));
        let mut updates = Batch::default();
        for hour in 0..24 {
            post.hand_out(&store, &mut updates, hour * HOUR_MS);
        }
        let status = &post.status()[0];
        assert_eq!((status.pending, status.dead, status.attempts), (10, 0, 24));
        post.hand_out(&store, &mut updates, 25 * HOUR_MS);
        let status = &post.status()[0];
        assert_eq!((status.pending, status.dead), (0, 10));
        store.commit(&updates, 25 * HOUR_MS).expect("stored");
        assert_eq!(store.pending().expect("readable"), []);
    }
}
