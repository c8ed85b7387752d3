//! What the store of a tocsin says, read beside it.

use rusqlite::{Connection, OpenFlags};

use crate::harness::Tocsin;

/// A notification in the store.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its id.
    pub id: String,
    /// Whom it is for.
    pub receiver: String,
    /// What became of it.
    pub state: String,
}

/// Why somebody was told or was not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// The alert.
    pub alert: String,
    /// When it began to fire; unix ms.
    pub starts_at_ms: i64,
    /// Whom it concerns; empty for all.
    pub receiver: String,
    /// What was decided.
    pub kind: String,
}

fn open(tocsin: &Tocsin) -> Option<Connection> {
    let path = tocsin.data().join("store.sqlite");
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    connection.busy_timeout(std::time::Duration::from_secs(10)).ok()?;
    Some(connection)
}

/// All notifications, oldest first.
pub fn notifications(tocsin: &Tocsin) -> Vec<Stored> {
    let read = || {
        let connection = open(tocsin)?;
        let sql = "SELECT id, receiver, state FROM notifications ORDER BY rowid";
        let mut statement = connection.prepare(sql).ok()?;
        let stored =
            |row: &rusqlite::Row| Ok(Stored { id: row.get(0)?, receiver: row.get(1)?, state: row.get(2)? });
        let rows = statement.query_map([], stored).ok()?;
        rows.collect::<Result<Vec<_>, _>>().ok()
    };
    read().unwrap_or_default()
}

/// All decisions.
pub fn reasons(tocsin: &Tocsin) -> Vec<Reason> {
    let read = || {
        let connection = open(tocsin)?;
        let sql = "SELECT alert, starts_at, coalesce(receiver, ''), kind FROM decisions";
        let mut statement = connection.prepare(sql).ok()?;
        let reason = |row: &rusqlite::Row| {
            Ok(Reason {
                alert: row.get(0)?,
                starts_at_ms: row.get(1)?,
                receiver: row.get(2)?,
                kind: row.get(3)?,
            })
        };
        let rows = statement.query_map([], reason).ok()?;
        rows.collect::<Result<Vec<_>, _>>().ok()
    };
    read().unwrap_or_default()
}
