//! What can be read of a damaged store, row by row.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use super::Error;

/// Where reading fails, the next rows are looked for in steps that double; after so many it is given up.
const STEPS_MAX: u32 = 40;
/// What is taken over first matters most: silences and acknowledgements, what waits to be sent, then the rest.
const PARTS: [(&str, &str); 8] = [
    ("state", "kind IN ('silence', 'acknowledgement')"),
    ("notifications", "state <> 'delivered'"),
    ("state", "kind NOT IN ('silence', 'acknowledgement')"),
    ("changes", "true"),
    ("receipts", "true"),
    ("decisions", "true"),
    ("labels", "true"),
    ("notifications", "state = 'delivered'"),
];

/// A file that SQLite keeps beside another.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// Removes a file of SQLite's with what is beside it.
pub fn remove(path: &Path) -> io::Result<()> {
    for ending in ["", "-wal", "-shm"] {
        match std::fs::remove_file(beside(path, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Renames a file of SQLite's with what is beside it. Returns its new name.
pub fn move_aside(path: &Path, now_ms: i64) -> io::Result<PathBuf> {
    let aside = (0..).map(|number| beside(path, &format!(".damaged-{}", now_ms + number)));
    let aside = aside.into_iter().find(|aside| !aside.exists()).expect("numbers do not end");
    for ending in ["-wal", "-shm", ""] {
        match std::fs::rename(beside(path, ending), beside(&aside, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

/// Copies what can be read. Returns what that is, in words.
pub fn take_over(damaged: &Path, new: &mut Connection) -> String {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let Ok(old) = Connection::open_with_flags(damaged, flags) else { return "no rows".to_string() };
    let (mut taken, mut parts) = (0, Vec::new());
    for (table, condition) in PARTS {
        let count = copy(&old, new, table, condition).unwrap_or(0);
        taken += count;
        if count > 0 {
            parts.push(format!("{count} of {table}"));
        }
    }
    match taken {
        0 => "no rows".to_string(),
        taken => format!("{taken} rows ({})", parts.join(", ")),
    }
}

/// Copies the rows of a part, in a transaction of its own. Returns how many there were.
fn copy(old: &Connection, new: &mut Connection, table: &str, condition: &str) -> Result<usize, Error> {
    let transaction = new.transaction()?;
    let mut copied = 0;
    {
        let columns = transaction.prepare(&format!("SELECT * FROM {table}"))?.column_count();
        let places: Vec<String> = (1..=columns).map(|number| format!("?{number}")).collect();
        let mut insert =
            transaction.prepare(&format!("INSERT OR IGNORE INTO {table} VALUES ({})", places.join(", ")))?;
        for (sql, sign) in [
            (
                format!(
                    "SELECT rowid, * FROM {table} NOT INDEXED WHERE rowid > ?1 AND {condition} ORDER BY rowid"
                ),
                1,
            ),
            // What comes after damage in the middle is met from the other end.
            (
                format!(
                    "SELECT rowid, * FROM {table} NOT INDEXED WHERE rowid < ?1 AND {condition} ORDER BY rowid DESC"
                ),
                -1,
            ),
        ] {
            let mut put = |row: Vec<Value>| insert.execute(rusqlite::params_from_iter(row));
            if read_all(old, &sql, sign, table, columns, &mut |row| put(row).map(|count| copied += count))? {
                break;
            }
        }
    }
    transaction.commit()?;
    Ok(copied)
}

/// Reads in one direction, past damage. True if there was none.
fn read_all(
    old: &Connection,
    sql: &str,
    sign: i64,
    table: &str,
    columns: usize,
    put: &mut dyn FnMut(Vec<Value>) -> Result<(), Error>,
) -> Result<bool, Error> {
    let mut from = if sign > 0 { i64::MIN } else { i64::MAX };
    for step in 0..STEPS_MAX {
        let result = (|| {
            let mut statement = old.prepare(sql)?;
            let mut rows = statement.query([from])?;
            while let Some(row) = rows.next()? {
                from = row.get(0)?;
                let values: Result<Vec<Value>, Error> = (1..=columns).map(|index| row.get(index)).collect();
                let values = values?;
                if is_whole(table, &values) {
                    put(values)?;
                }
            }
            Ok::<(), Error>(())
        })();
        match result {
            Ok(()) => return Ok(step == 0),
            // Nothing was read yet: there is no place to step on from.
            Err(_) if from == i64::MIN || from == i64::MAX => return Ok(false),
            Err(_) => from = from.saturating_add(sign << step.min(40)),
        }
    }
    Ok(false)
}

/// False if a row does not have the checksum it was stored with.
fn is_whole(table: &str, values: &[Value]) -> bool {
    match (table, values) {
        ("state", [Value::Text(kind), Value::Text(key), Value::Text(value), Value::Integer(sum)]) => {
            super::sum_of_state(kind, key, value) == *sum
        }
        ("state", _) => false,
        ("notifications", [Value::Text(id), _, _, _, _, _, _, _, _, body, sum, ..]) => match (body, sum) {
            (Value::Blob(body), Value::Integer(sum)) => super::sum_of_body(id, body) == *sum,
            _ => false,
        },
        ("notifications", _) => false,
        _ => true,
    }
}
