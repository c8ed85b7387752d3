//! The time in which nothing can be stored: said loudly, and not through the store.

use tocsin_engine::dispatch::alert::{AlertChange, AlertState, Fingerprint, Labels};
use tocsin_engine::stored::checksum;
use tocsin_proto::pb::notification::{Alert, Notification, Reason, Status};

/// So long it may be a moment's trouble that is over before anybody has read of it.
const QUIET_MS: i64 = 10_000;
/// It is said again after this time.
const AGAIN_MS: i64 = 15 * 60_000;
/// It is tried again after this time where nobody could be reached.
const RETRY_MS: i64 = 15_000;
/// Waiting alerts that are named.
const NAMED_MAX: usize = 20;

/// The store cannot be written.
#[derive(Debug)]
pub struct Outage {
    /// Since when; unix ms.
    pub began_ms: i64,
    /// Why, in words.
    pub error: String,
    /// Times it was said.
    pub told: u32,
    next_ms: i64,
}

/// Changes of alerts that are not stored yet.
#[derive(Debug, Default)]
pub struct Unstored {
    count: u32,
    named: Vec<Alert>,
}

impl Unstored {
    /// A change waits to be stored.
    pub fn note(&mut self, change: &AlertChange) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(alert(change));
        }
    }
}

impl Outage {
    /// It begins.
    pub fn new(now_ms: i64, error: String) -> Self {
        Outage { began_ms: now_ms, error, told: 0, next_ms: now_ms + QUIET_MS }
    }

    /// What is to be said at this instant, if anything is.
    pub fn tell(
        &mut self,
        now_ms: i64,
        receiver: &str,
        store: &str,
        unstored: &Unstored,
    ) -> Option<Notification> {
        if now_ms < self.next_ms {
            return None;
        }
        self.told += 1;
        self.next_ms = now_ms + AGAIN_MS;
        let seconds = (now_ms - self.began_ms) / 1000;
        let text = format!(
            "tocsin cannot store anything since {seconds} s, so nobody is told of alerts: {store}: {}. \
             {} changes of alerts wait, and are lost if tocsin is killed now. Expected: space on the disk, \
             and the right to write there",
            self.error, unstored.count
        );
        let mut notification = notification(self.began_ms, self.told, now_ms, receiver, store, text);
        notification.truncated_alerts = unstored.count.saturating_sub(unstored.named.len() as u32);
        notification.alerts.extend(unstored.named.iter().cloned());
        Some(notification)
    }

    /// What is to be said when it is over: only that which was said to have begun ends.
    pub fn end(&self, now_ms: i64, receiver: &str, store: &str, unstored: &Unstored) -> Option<Notification> {
        if self.told == 0 {
            return None;
        }
        let seconds = (now_ms - self.began_ms) / 1000;
        let text = format!(
            "tocsin can store again after {seconds} s; the {} changes of alerts that waited are stored and \
             are told now",
            unstored.count
        );
        let mut notification = notification(self.began_ms, self.told + 1, now_ms, receiver, store, text);
        if let Some(own) = notification.alerts.first_mut() {
            own.status = Status::Resolved as i32;
            own.ends_at = now_ms;
        }
        Some(notification)
    }

    /// Nobody could be reached: it is said again soon.
    pub fn was_not_heard(&mut self, now_ms: i64) {
        self.next_ms = self.next_ms.min(now_ms + RETRY_MS);
    }

    /// When something is to be said next; unix ms.
    pub fn next_ms(&self) -> i64 {
        self.next_ms
    }
}

/// That a store was found damaged.
pub fn of_damage(now_ms: i64, receiver: &str, store: &str, damage: &str) -> Notification {
    notification(now_ms, 1, now_ms, receiver, store, format!("the store of tocsin was damaged: {damage}"))
}

/// What the program says of itself, as an alert of its own.
fn notification(
    began_ms: i64,
    number: u32,
    now_ms: i64,
    receiver: &str,
    store: &str,
    text: String,
) -> Notification {
    let labels = Labels::from([
        ("alertname".to_string(), "tocsin_store".to_string()),
        ("severity".to_string(), "critical".to_string()),
        ("status".to_string(), "stable".to_string()),
    ]);
    let annotations = Labels::from([
        ("summary".to_string(), text.clone()),
        ("why".to_string(), "What is not stored is not told, and is lost when tocsin is killed.".to_string()),
        ("runbook".to_string(), format!("Look at the disk of {store} and at the log of tocsin.")),
    ]);
    let thread = hash(&format!("thread {began_ms} {receiver}"));
    let own = Alert {
        fingerprint: Fingerprint::of(&labels).to_string(),
        status: Status::Firing as i32,
        labels: labels.clone(),
        annotations: annotations.clone(),
        starts_at: began_ms,
        ..Alert::default()
    };
    Notification {
        id: hash(&format!("{began_ms} {number} {receiver}")),
        decided_at: now_ms,
        receiver: receiver.to_string(),
        group_key: "{}:{alertname=\"tocsin_store\"}".to_string(),
        reason: Reason::Emergency as i32,
        reason_text: text,
        group_labels: [("alertname".to_string(), "tocsin_store".to_string())].into(),
        common_labels: labels,
        common_annotations: annotations,
        alerts: vec![own],
        thread,
        number,
        ..Notification::default()
    }
}

/// 32 hex digits that differ for different texts.
fn hash(text: &str) -> String {
    let half = |salt: &str| checksum(format!("{salt} {text}").as_bytes());
    format!("{:016x}{:016x}", half("tocsin emergency"), half("emergency tocsin"))
}

fn alert(change: &AlertChange) -> Alert {
    let is_over = change.state == AlertState::Resolved;
    Alert {
        fingerprint: change.fingerprint().to_string(),
        status: if is_over { Status::Resolved } else { Status::Firing } as i32,
        labels: change.labels.clone(),
        annotations: change.annotations.clone(),
        starts_at: change.starts_at.unix_ms(),
        ends_at: if is_over { change.at.unix_ms() } else { 0 },
        value: change.value,
        limit: change.limit,
        ..Alert::default()
    }
}
