//! What dispatch knows and what it decided, on disk: one SQLite file.
//!
//! A change of an alert and the notifications that follow from it are one transaction, on disk before anything is sent.
//! A damaged file is moved aside, and what can be read of it is taken over.

mod batch;
mod log;
mod replacement;
mod salvage;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use prost::Message as _;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, params};
use tocsin_engine::dispatch::{Row, Table};
use tocsin_engine::stored::checksum;
use tocsin_proto::pb::notification::Notification;

pub use batch::{Batch, StoredChange, Update};
pub use log::Waiting;

use super::status::NotificationState;

/// Version of the tables.
const VERSION: &str = "1";
/// How long another process may hold the file.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// What is over is kept so long: 30 days.
const KEPT_MS: i64 = 30 * 86_400_000;
/// Rows that one step of forgetting removes from a table at most.
const FORGOTTEN_AT_ONCE: usize = 500;
/// A log of SQLite's that is larger is cut when it is begun anew, in bytes.
const WAL_BYTES_MAX: u32 = 8 << 20;

/// The open store.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// Damage that was met, in words.
    damage: RefCell<Option<String>>,
    /// What is to be told of a new store that is in its place and could not be opened yet.
    replaced: Option<String>,
}

/// How much of what is long over a step forgot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgotten {
    /// All of it.
    All,
    /// As much as one step does: there may be more.
    Some,
}

/// Why something could not be stored or read.
pub type Error = rusqlite::Error;

impl Store {
    /// Opens the store, or makes an empty one. A damaged one is moved aside, and what was found is said in words.
    ///
    /// Errs if it cannot be written, or if it is of a newer version.
    pub fn open(path: &Path, now_ms: i64) -> anyhow::Result<(Store, Option<String>)> {
        let expected = || {
            format!(
                "{}: the store cannot be used, expected a file on a disk with space that only this tocsin writes",
                path.display()
            )
        };
        let store = Store::open_whole(path, now_ms).with_context(expected)?;
        let said = store.meta(replacement::SAID).with_context(expected)?;
        Ok((store, said))
    }

    fn open_whole(path: &Path, now_ms: i64) -> anyhow::Result<Store> {
        replacement::finish(path)?;
        if !path.exists() {
            match replacement::last_aside(path)? {
                Some(aside) => _ = replacement::take_back(path, &aside)?,
                None => replacement::create(path)?,
            }
        }
        let damage = match Store::connect(path) {
            Ok(store) => match store.check()? {
                None => return Ok(store),
                Some(damage) => damage,
            },
            Err(error) if is_damage(&error) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        replacement::replace(path, &damage, now_ms)?;
        Ok(Store::connect(path)?)
    }

    /// True if damage was met since it was opened.
    pub fn is_damaged(&self) -> bool {
        self.damage.borrow().is_some()
    }

    /// Moves the damaged file aside and takes over what can be read of it. Returns what was found, in words.
    ///
    /// Errs if that cannot be written: it is still damaged then.
    pub fn replace(&mut self, now_ms: i64) -> anyhow::Result<String> {
        let damage = self.damage.borrow().clone().unwrap_or_default();
        // Closed first: an open one would remove at its end what is beside the new file, which has the same name.
        self.connection = Connection::open_in_memory()?;
        let replaced = match self.replaced.take() {
            Some(said) => Ok(said),
            None => replacement::replace(&self.path, &damage, now_ms),
        };
        match (replaced, Store::connect(&self.path)) {
            (Ok(said), Ok(store)) => {
                *self = store;
                Ok(said)
            }
            (Ok(said), Err(error)) => {
                self.replaced = Some(said);
                Err(error.into())
            }
            (Err(error), old) => {
                // Some of it can be read meanwhile.
                if let Ok(old) = old {
                    self.connection = old.connection;
                }
                Err(error)
            }
        }
    }

    /// Notes damage that was met.
    fn watched<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && is_damage(error)
        {
            self.note_damage(error.to_string());
        }
        result
    }

    fn note_damage(&self, damage: String) {
        self.damage.borrow_mut().get_or_insert(damage);
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn connect(path: &Path) -> Result<Store, Error> {
        // An empty file would be made where there is none.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_MAX)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
        Ok(Store { connection, path: path.to_path_buf(), damage: RefCell::default(), replaced: None })
    }

    /// What is damaged, in words.
    fn check(&self) -> anyhow::Result<Option<String>> {
        match self.find_damage() {
            Ok(found) => Ok(found),
            Err(error) => match error.downcast_ref::<Error>() {
                Some(cause) if is_damage(cause) => Ok(Some(cause.to_string())),
                _ => Err(error),
            },
        }
    }

    fn find_damage(&self) -> anyhow::Result<Option<String>> {
        let found: String = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if found != "ok" {
            return Ok(Some(found));
        }
        match self.meta("version") {
            Ok(Some(version)) if version == VERSION => {}
            Ok(Some(version)) => {
                bail!("its version is {version:?}, expected {VERSION:?}; a newer tocsin wrote it")
            }
            Ok(None) => return Ok(Some("its version is missing".to_string())),
            // Something else is there in the place of ours.
            Err(error) if is_missing_table(&error) => return Ok(Some(error.to_string())),
            Err(error) => return Err(error.into()),
        }
        // Writable, and no other process holds it.
        self.connection.execute("UPDATE meta SET value = value", [])?;
        let damaged = self.damaged_rows()?;
        Ok((damaged > 0).then(|| format!("{damaged} rows do not have the checksum they were stored with")))
    }

    fn damaged_rows(&self) -> Result<usize, Error> {
        let mut damaged = 0;
        let mut states = self.connection.prepare("SELECT kind, key, value, sum FROM state")?;
        let mut rows = states.query([])?;
        while let Some(row) = rows.next()? {
            let (kind, key, value): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            damaged += usize::from(sum_of_state(&kind, &key, &value) != row.get::<_, i64>(3)?);
        }
        let mut bodies =
            self.connection.prepare("SELECT id, body, sum FROM notifications WHERE state <> 'delivered'")?;
        let mut rows = bodies.query([])?;
        while let Some(row) = rows.next()? {
            let (id, body): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
            damaged += usize::from(sum_of_body(&id, &body) != row.get::<_, i64>(2)?);
        }
        Ok(damaged)
    }

    fn meta(&self, name: &str) -> Result<Option<String>, Error> {
        let sql = "SELECT value FROM meta WHERE name = ?1";
        self.connection.query_row(sql, [name], |row| row.get(0)).optional()
    }

    /// The newest instant that dispatch stored; unix ms.
    pub fn last_ms(&self) -> Result<i64, Error> {
        Ok(self.meta("now")?.and_then(|now| now.parse().ok()).unwrap_or(0))
    }

    /// The dispatcher's state.
    pub fn rows(&self) -> Result<Vec<Row>, Error> {
        let mut found = Vec::new();
        let mut statement =
            self.connection.prepare("SELECT kind, key, value FROM state ORDER BY kind, key")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let kind: String = row.get(0)?;
            let table = TABLES.into_iter().find(|table| table_name(*table) == kind);
            let Some(table) = table else { continue };
            found.push(Row { table, key: row.get(1)?, value: Some(row.get(2)?) });
        }
        Ok(found)
    }

    /// Stores all of a batch, or nothing of it. When it returns it is on the disk.
    pub fn commit(&mut self, batch: &Batch, now_ms: i64) -> Result<(), Error> {
        let stored = self.put(batch, now_ms);
        self.watched(stored)
    }

    fn put(&mut self, batch: &Batch, now_ms: i64) -> Result<(), Error> {
        let transaction = self.connection.transaction()?;
        put_changes(&transaction, batch, now_ms)?;
        put_state(&transaction, batch)?;
        put_decisions(&transaction, batch)?;
        put_notifications(&transaction, batch)?;
        put_updates(&transaction, batch, now_ms)?;
        transaction
            .prepare_cached("INSERT OR REPLACE INTO meta VALUES ('now', ?1)")?
            .execute([now_ms.to_string()])?;
        // The first batch of a new store tells of it.
        transaction.prepare_cached("DELETE FROM meta WHERE name = ?1")?.execute([replacement::SAID])?;
        transaction.commit()
    }

    /// Forgets some of what is long over.
    pub fn forget(&mut self, now_ms: i64) -> Result<Forgotten, Error> {
        let before = now_ms - KEPT_MS;
        let transaction = self.connection.transaction()?;
        let mut forgotten = Forgotten::All;
        for (table, is_over) in [
            ("changes", "stored_at < ?1"),
            ("labels", "stored_at < ?1"),
            ("decisions", "at < ?1"),
            ("receipts", "stored_at < ?1"),
            ("notifications", "decided_at < ?1 AND state = 'delivered'"),
            ("notifications", "decided_at < ?1 AND state = 'dead' AND ended_at < ?1"),
        ] {
            let sql = format!(
                "DELETE FROM {table} WHERE rowid IN \
                 (SELECT rowid FROM {table} WHERE {is_over} LIMIT {FORGOTTEN_AT_ONCE})"
            );
            if transaction.prepare_cached(&sql)?.execute([before])? == FORGOTTEN_AT_ONCE {
                forgotten = Forgotten::Some;
            }
        }
        transaction.commit()?;
        Ok(forgotten)
    }

    /// Its size on the disk, in bytes.
    pub fn bytes(&self) -> u64 {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        size(&self.path) + size(&salvage::beside(&self.path, "-wal"))
    }
}

/// True if the file is damaged: trying again does not help.
fn is_damage(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn is_missing_table(error: &Error) -> bool {
    matches!(error, Error::SqliteFailure(failure, Some(text))
        if failure.code == ErrorCode::Unknown && text.starts_with("no such table"))
}

const TABLES: [Table; 5] =
    [Table::Alert, Table::Group, Table::Silence, Table::Acknowledgement, Table::Receiver];

fn table_name(table: Table) -> &'static str {
    match table {
        Table::Alert => "alert",
        Table::Group => "group",
        Table::Silence => "silence",
        Table::Acknowledgement => "acknowledgement",
        Table::Receiver => "receiver",
    }
}

fn sum_of_state(kind: &str, key: &str, value: &str) -> i64 {
    checksum(format!("{kind}\0{key}\0{value}").as_bytes()) as i64
}

fn sum_of_body(id: &str, body: &[u8]) -> i64 {
    (checksum(id.as_bytes()) ^ checksum(body)) as i64
}

fn put_changes(transaction: &Transaction, batch: &Batch, now_ms: i64) -> Result<(), Error> {
    let sql = "INSERT OR IGNORE INTO changes VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut statement = transaction.prepare_cached(sql)?;
    for change in &batch.changes {
        let alert = change.fingerprint.to_string();
        let state = batch::state_name(change.state);
        statement.execute(params![change.id(), alert, change.at_ms, state, change.starts_at_ms, now_ms])?;
    }
    let mut statement = transaction.prepare_cached("INSERT OR REPLACE INTO labels VALUES (?1, ?2, ?3)")?;
    for (fingerprint, labels) in &batch.labels {
        let labels = serde_json::json!(labels).to_string();
        statement.execute(params![fingerprint.to_string(), labels, now_ms])?;
    }
    Ok(())
}

fn put_state(transaction: &Transaction, batch: &Batch) -> Result<(), Error> {
    let mut put = transaction.prepare_cached("INSERT OR REPLACE INTO state VALUES (?1, ?2, ?3, ?4)")?;
    let mut remove = transaction.prepare_cached("DELETE FROM state WHERE kind = ?1 AND key = ?2")?;
    for ((table, key), value) in &batch.rows {
        let kind = table_name(*table);
        match value {
            Some(value) => put.execute(params![kind, key, value, sum_of_state(kind, key, value)])?,
            None => remove.execute(params![kind, key])?,
        };
    }
    Ok(())
}

fn put_decisions(transaction: &Transaction, batch: &Batch) -> Result<(), Error> {
    let mut statement =
        transaction.prepare_cached("INSERT INTO decisions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for decision in &batch.decisions {
        statement.execute(params![
            decision.at.unix_ms(),
            decision.fingerprint.to_string(),
            decision.starts_at.unix_ms(),
            decision.receiver,
            decision.kind.name(),
            decision.reason,
            decision.notification
        ])?;
    }
    Ok(())
}

fn put_notifications(transaction: &Transaction, batch: &Batch) -> Result<(), Error> {
    let sql = "INSERT OR IGNORE INTO notifications VALUES \
               (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, 'pending', 0, ?8, NULL, NULL)";
    let mut statement = transaction.prepare_cached(sql)?;
    for notification in &batch.notifications {
        let Notification { id, receiver, group_key, thread, reason_text, .. } = notification;
        let body = notification.encode_to_vec();
        statement.execute(params![
            id,
            receiver,
            group_key,
            thread,
            notification.number,
            notification.reason,
            reason_text,
            notification.decided_at,
            body,
            sum_of_body(id, &body)
        ])?;
    }
    Ok(())
}

fn put_updates(transaction: &Transaction, batch: &Batch, now_ms: i64) -> Result<(), Error> {
    let sql = "UPDATE notifications SET state = ?2, attempts = ?3, next_attempt_at = ?4, last_error = ?5, \
               ended_at = ?6, since = coalesce(?7, since) WHERE id = ?1";
    let mut statement = transaction.prepare_cached(sql)?;
    for update in &batch.updates {
        let (state, next_ms, ended_ms) = match update.state {
            NotificationState::Pending { next_attempt_at_ms } => ("pending", next_attempt_at_ms, None),
            NotificationState::Delivered { at_ms } => ("delivered", 0, Some(at_ms)),
            NotificationState::Dead { at_ms } => ("dead", 0, Some(at_ms)),
        };
        statement.execute(params![
            update.id,
            state,
            update.attempts,
            next_ms,
            update.last_error,
            ended_ms,
            update.since_ms
        ])?;
    }
    let mut statement =
        transaction.prepare_cached("INSERT OR IGNORE INTO receipts VALUES (?1, ?2, ?3, ?4)")?;
    for (receiver, thread, receipt) in &batch.receipts {
        statement.execute(params![receiver, thread, receipt.reference, now_ms])?;
    }
    Ok(())
}
