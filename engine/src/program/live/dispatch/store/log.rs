//! What is read of the store while the program runs: changes, notifications and decisions.

use prost::Message as _;
use rusqlite::{OptionalExtension, Row, params};
use tocsin_engine::dispatch::alert::{AlertState, Fingerprint, Labels};
use tocsin_engine::dispatch::decision::{Decision, DecisionKind};
use tocsin_engine::time::Timestamp;
use tocsin_notifiers::Receipt;
use tocsin_proto::pb::notification::{Notification, Reason};

use super::super::Explanation;
use super::super::status::{NotificationRecord, NotificationState};
use super::{Error, Store, StoredChange, batch, sum_of_body};

/// Decisions and notifications that one explanation shows at most; the newest ones.
const EXPLAINED_MAX: u32 = 1000;
/// Alerts that are found for the beginning of an id at most.
const FOUND_MAX: u32 = 10;
const RECORD: &str = "id, receiver, group_key, reason, reason_text, decided_at, state, attempts, \
                      next_attempt_at, last_error, ended_at";

/// A notification that waits to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its id.
    pub id: String,
    /// Whom it is for.
    pub receiver: String,
    /// The group, whose notifications keep their order.
    pub group_key: String,
    /// Attempts so far.
    pub attempts: u32,
    /// When it is tried; unix ms.
    pub due_ms: i64,
    /// When it was decided; unix ms.
    pub decided_ms: i64,
    /// When it was decided, or sent again by hand; unix ms.
    pub since_ms: i64,
}

impl Store {
    /// Whether a change was stored before.
    pub fn has_change(&self, change: &StoredChange) -> Result<bool, Error> {
        let find =
            || self.connection.prepare_cached("SELECT 1 FROM changes WHERE id = ?1")?.exists([change.id()]);
        self.watched(find())
    }

    /// The newest change of an alert.
    pub fn latest_change(&self, fingerprint: Fingerprint) -> Result<Option<StoredChange>, Error> {
        let sql = "SELECT at, state, starts_at FROM changes WHERE alert = ?1 ORDER BY rowid DESC LIMIT 1";
        let read = |row: &Row| {
            let state: String = row.get(1)?;
            let is_firing = state == batch::state_name(AlertState::Firing);
            let state = if is_firing { AlertState::Firing } else { AlertState::Resolved };
            Ok(StoredChange { fingerprint, at_ms: row.get(0)?, state, starts_at_ms: row.get(2)? })
        };
        let find =
            || self.connection.prepare_cached(sql)?.query_row([fingerprint.to_string()], read).optional();
        self.watched(find())
    }

    /// Notifications that wait, in the order in which they were decided.
    pub fn pending(&self) -> Result<Vec<Waiting>, Error> {
        let sql = "SELECT id, receiver, group_key, attempts, next_attempt_at, decided_at, since FROM notifications \
                   WHERE state = 'pending' ORDER BY rowid";
        let read = |row: &Row| {
            Ok(Waiting {
                id: row.get(0)?,
                receiver: row.get(1)?,
                group_key: row.get(2)?,
                attempts: row.get(3)?,
                due_ms: row.get(4)?,
                decided_ms: row.get(5)?,
                since_ms: row.get(6)?,
            })
        };
        self.connection.prepare(sql)?.query_map([], read)?.collect()
    }

    /// How many notifications of each receiver were given up.
    pub fn dead(&self) -> Result<Vec<(String, u64)>, Error> {
        let sql = "SELECT receiver, count(*) FROM notifications WHERE state = 'dead' GROUP BY receiver";
        self.connection.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    }

    /// A notification; none if it is not there or cannot be read.
    pub fn notification(&self, id: &str) -> Result<Option<Notification>, Error> {
        let sql = "SELECT body, sum FROM notifications WHERE id = ?1";
        let read = |row: &Row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?));
        let find = || self.connection.prepare_cached(sql)?.query_row([id], read).optional();
        let Some((body, sum)) = self.watched(find())? else { return Ok(None) };
        if sum_of_body(id, &body) != sum {
            self.note_damage(format!("notification {id} does not have the checksum it was stored with"));
            return Ok(None);
        }
        Ok(Notification::decode(body.as_slice()).ok())
    }

    /// What is known of a notification.
    pub fn record(&self, id: &str) -> Result<Option<NotificationRecord>, Error> {
        let sql = format!("SELECT {RECORD} FROM notifications WHERE id = ?1");
        let find = || self.connection.prepare_cached(&sql)?.query_row([id], record).optional();
        self.watched(find())
    }

    /// What the first delivery of a thread left.
    pub fn receipt(&self, receiver: &str, thread: &str) -> Result<Option<Receipt>, Error> {
        let sql = "SELECT reference FROM receipts WHERE receiver = ?1 AND thread = ?2";
        let read = |row: &Row| Ok(Receipt { reference: row.get(0)? });
        let find = || self.connection.prepare_cached(sql)?.query_row([receiver, thread], read).optional();
        self.watched(find())
    }

    /// Notifications, newest first.
    pub fn notifications(&self, only_dead: bool, limit: usize) -> Result<Vec<NotificationRecord>, Error> {
        let which = if only_dead { "WHERE state = 'dead'" } else { "" };
        let sql = format!("SELECT {RECORD} FROM notifications {which} ORDER BY rowid DESC LIMIT ?1");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let find = || self.connection.prepare_cached(&sql)?.query_map([limit], record)?.collect();
        self.watched(find())
    }

    /// Why an alert fired and who was told, oldest first.
    pub fn explain(&self, fingerprint: Fingerprint) -> Result<Explanation, Error> {
        self.watched(self.find_explanation(fingerprint))
    }

    fn find_explanation(&self, fingerprint: Fingerprint) -> Result<Explanation, Error> {
        let alert = fingerprint.to_string();
        let sql = "SELECT at, starts_at, receiver, kind, reason, notification FROM decisions \
                   WHERE alert = ?1 ORDER BY rowid DESC LIMIT ?2";
        let read = |row: &Row| {
            let kind: String = row.get(3)?;
            Ok(Decision {
                at: Timestamp::from_unix_ms(row.get(0)?),
                fingerprint,
                starts_at: Timestamp::from_unix_ms(row.get(1)?),
                receiver: row.get(2)?,
                kind: KINDS.into_iter().find(|known| known.name() == kind).unwrap_or(DecisionKind::Grouped),
                reason: row.get(4)?,
                notification: row.get(5)?,
            })
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let found: Result<Vec<Decision>, Error> =
            statement.query_map(params![alert, EXPLAINED_MAX], read)?.collect();
        let mut decisions = found?;
        decisions.reverse();
        let sql = format!(
            "SELECT {RECORD} FROM notifications WHERE id IN \
             (SELECT notification FROM decisions WHERE alert = ?1) ORDER BY rowid DESC LIMIT ?2"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let found: Result<Vec<NotificationRecord>, Error> =
            statement.query_map(params![alert, EXPLAINED_MAX], record)?.collect();
        let mut notifications = found?;
        notifications.reverse();
        Ok(Explanation { labels: self.labels(fingerprint)?, decisions, notifications })
    }

    /// The labels of an alert that changed in the last 30 days.
    fn labels(&self, fingerprint: Fingerprint) -> Result<Option<Labels>, Error> {
        let sql = "SELECT labels FROM labels WHERE alert = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let text: Option<String> =
            statement.query_row([fingerprint.to_string()], |row| row.get(0)).optional()?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Alerts whose ids begin so, in lower-case hex digits: some of them if there are many.
    pub fn alerts(&self, beginning: &str) -> Result<Vec<Fingerprint>, Error> {
        // The digits end with f: nothing that begins so is from `...g` on. Decisions can be younger than the last change.
        let sql = "SELECT alert FROM labels WHERE alert >= ?1 AND alert < ?1 || 'g' \
                   UNION SELECT alert FROM decisions WHERE alert >= ?1 AND alert < ?1 || 'g' LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let ids = statement.query_map(params![beginning, FOUND_MAX], |row| row.get::<_, String>(0))?;
        let ids: Result<Vec<String>, Error> = ids.collect();
        Ok(ids?.iter().filter_map(|id| id.parse().ok()).collect())
    }
}

fn record(row: &Row) -> Result<NotificationRecord, Error> {
    let state: String = row.get(6)?;
    let ended_ms: Option<i64> = row.get(10)?;
    let at_ms = ended_ms.unwrap_or(0);
    Ok(NotificationRecord {
        id: row.get(0)?,
        receiver: row.get(1)?,
        group_key: row.get(2)?,
        reason: Reason::try_from(row.get::<_, i32>(3)?).unwrap_or_default(),
        reason_text: row.get(4)?,
        decided_at_ms: row.get(5)?,
        state: match state.as_str() {
            "delivered" => NotificationState::Delivered { at_ms },
            "dead" => NotificationState::Dead { at_ms },
            _ => NotificationState::Pending { next_attempt_at_ms: row.get(8)? },
        },
        attempts: row.get(7)?,
        last_error: row.get(9)?,
    })
}

const KINDS: [DecisionKind; 13] = [
    DecisionKind::Fired,
    DecisionKind::Resolved,
    DecisionKind::Grouped,
    DecisionKind::Notified,
    DecisionKind::Silenced,
    DecisionKind::Inhibited,
    DecisionKind::Muted,
    DecisionKind::RateLimited,
    DecisionKind::Flapping,
    DecisionKind::Acknowledged,
    DecisionKind::Unacknowledged,
    DecisionKind::Escalated,
    DecisionKind::Experimental,
];
