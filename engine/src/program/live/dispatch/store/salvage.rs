//! What can be read of a damaged store, row by row.

use std::ffi::OsString;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use super::Error;

/// Where reading fails, the next rows are looked for in steps that double; after so many it is given up.
const STEPS_MAX: u32 = 40;
/// Numbers of rows that can be ours: those after a number without sense would have no order.
const NUMBERS: RangeInclusive<i64> = 1..=1 << 48;
/// What SQLite keeps beside a file.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];
/// Errors of a disk that cannot read a place.
const BAD_PLACES: [i32; 4] = [
    ffi::SQLITE_IOERR_READ,
    ffi::SQLITE_IOERR_SHORT_READ,
    ffi::SQLITE_IOERR_CORRUPTFS,
    ffi::SQLITE_IOERR_DATA,
];
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
    remove_beside(path)?;
    remove_file(path)
}

/// Removes what SQLite keeps beside a file.
pub fn remove_beside(path: &Path) -> io::Result<()> {
    BESIDE.into_iter().try_for_each(|ending| remove_file(&beside(path, ending)))
}

fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where a damaged file is moved to; nothing is there yet.
pub fn aside(path: &Path, now_ms: i64) -> PathBuf {
    let aside = (0..).map(|number| beside(path, &format!(".damaged-{}", now_ms + number)));
    aside.into_iter().find(|aside| !aside.exists()).expect("numbers do not end")
}

/// Renames a file of SQLite's with what is beside it; the file itself last, so that it can be done again after a kill.
pub fn rename(path: &Path, aside: &Path) -> io::Result<()> {
    for ending in BESIDE.into_iter().chain([""]) {
        match std::fs::rename(beside(path, ending), beside(aside, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Copies what can be read. Returns what that is, in words.
///
/// Errs if it cannot be written, or if nothing can be read for want of space or rights: that is no damage.
pub fn take_over(damaged: &Path, new: &mut Connection) -> Result<String, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let old = Connection::open_with_flags(damaged, flags)?;
    let (mut taken, mut parts) = (0, Vec::new());
    for (table, condition) in PARTS {
        let count = copy(&old, new, table, condition)?;
        taken += count;
        if count > 0 {
            parts.push(format!("{count} of {table}"));
        }
    }
    Ok(match taken {
        0 => "no rows".to_string(),
        taken => format!("{taken} rows ({})", parts.join(", ")),
    })
}

/// Copies the rows of a part, in a transaction of its own. Returns how many there were.
fn copy(old: &Connection, new: &mut Connection, table: &str, condition: &str) -> Result<usize, Error> {
    let transaction = new.transaction()?;
    let mut copied = 0;
    {
        let columns = transaction.prepare(&format!("SELECT * FROM {table}"))?;
        let columns: Vec<&str> = columns.column_names();
        let places: Vec<String> = (1..=columns.len() + 1).map(|number| format!("?{number}")).collect();
        // Rows keep their numbers, which are their order.
        let mut insert = transaction.prepare(&format!(
            "INSERT OR IGNORE INTO {table} (rowid, {}) VALUES ({})",
            columns.join(", "),
            places.join(", ")
        ))?;
        for (comparison, order, sign) in [(">", "", 1), ("<", "DESC", -1)] {
            // What comes after damage in the middle is met from the other end.
            let sql = format!(
                "SELECT rowid, * FROM {table} NOT INDEXED WHERE rowid {comparison} ?1 AND {condition} \
                 ORDER BY rowid {order}"
            );
            let mut put = |row: Vec<Value>| match insert.execute(rusqlite::params_from_iter(row)) {
                // Values that no row of ours has: their place is damaged.
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Ok(0),
                put => put,
            };
            if read_all(old, &sql, sign, table, columns.len(), &mut |row| {
                put(row).map(|count| copied += count)
            })? {
                break;
            }
        }
    }
    transaction.commit()?;
    Ok(copied)
}

/// Why rows were not copied.
enum Failed {
    Read(Error),
    Written(Error),
}

/// Reads in one direction, past damage. True if there was none; the error is one of writing.
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
        match read_on(old, sql, &mut from, table, columns, put) {
            Ok(()) => return Ok(step == 0),
            Err(Failed::Written(error)) => return Err(error),
            Err(Failed::Read(error)) if is_of_surroundings(&error) => return Err(error),
            // Nothing was read yet: there is no place to step on from.
            Err(_) if from == i64::MIN || from == i64::MAX => return Ok(false),
            Err(_) => from = from.saturating_add(sign << step.min(40)),
        }
    }
    Ok(false)
}

/// Reads until the first damage.
fn read_on(
    old: &Connection,
    sql: &str,
    from: &mut i64,
    table: &str,
    columns: usize,
    put: &mut dyn FnMut(Vec<Value>) -> Result<(), Error>,
) -> Result<(), Failed> {
    let mut statement = old.prepare(sql).map_err(Failed::Read)?;
    let mut rows = statement.query([*from]).map_err(Failed::Read)?;
    while let Some(row) = rows.next().map_err(Failed::Read)? {
        *from = row.get(0).map_err(Failed::Read)?;
        let values: Result<Vec<Value>, Error> = (0..=columns).map(|index| row.get(index)).collect();
        let values = values.map_err(Failed::Read)?;
        if NUMBERS.contains(from) && is_whole(table, &values[1..]) {
            put(values).map_err(Failed::Written)?;
        }
    }
    Ok(())
}

/// True if it is the disk or the rights that are to blame, and not what the file holds.
fn is_of_surroundings(error: &Error) -> bool {
    match error {
        Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DiskFull
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly => true,
            ErrorCode::SystemIoFailure => !BAD_PLACES.contains(&failure.extended_code),
            _ => false,
        },
        _ => false,
    }
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
