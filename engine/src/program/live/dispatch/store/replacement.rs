//! A store in the place of one that is damaged or gone.
//!
//! It is made beside it as a draft, which is put in its place once it is whole: a kill or a full disk at any moment leaves
//! the damaged file, or a draft that says that it is finished.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rusqlite::{Connection, OptionalExtension};

use super::{Error, VERSION, salvage};

/// Row of `meta` in a finished draft: the new name of the file it was made of.
const MADE_OF: &str = "salvaged from";
/// Row of `meta`: what is to be told of the replacement. It goes with the first batch, which tells it.
pub const SAID: &str = "salvage";

/// Makes an empty store. A file is at its place only once it is whole: one that is empty was damaged.
pub fn create(path: &Path) -> anyhow::Result<()> {
    begin(path)?.close().map_err(|(_, error)| error)?;
    put_in_place(path)
}

/// Takes over what can be read of a damaged file, which is moved aside. Returns what was found, in words.
///
/// Errs if what is read cannot be written: then the damaged file is still there.
pub fn replace(path: &Path, damage: &str, now_ms: i64) -> anyhow::Result<String> {
    if let Some(said) = finish(path)? {
        return Ok(said);
    }
    let aside = salvage::aside(path, now_ms);
    fill(path, path, &aside, &|saved| {
        let (path, aside) = (path.display(), aside.display());
        format!(
            "{path} was damaged ({damage}) and is now {aside}; {saved} could be read of it and are kept, the rest is lost"
        )
    })?;
    finish(path)?.context("the new store is not whole")
}

/// Takes over what can be read of a file that was moved aside and that nothing took the place of.
pub fn take_back(path: &Path, aside: &Path) -> anyhow::Result<String> {
    fill(path, aside, aside, &|saved| {
        let (path, aside) = (path.display(), aside.display());
        format!(
            "{path} was gone; {saved} could be read of the damaged {aside} and are kept, the rest is lost. Expected: \
             both moved away where an empty store is wanted"
        )
    })?;
    finish(path)?.context("the new store is not whole")
}

/// Puts a finished draft in its place and removes an unfinished one. Returns what is to be told, if there was a finished one.
pub fn finish(path: &Path) -> anyhow::Result<Option<String>> {
    let draft = draft(path);
    if !draft.exists() {
        return Ok(None);
    }
    let Ok(Some((aside, said))) = made_of(&draft) else {
        salvage::remove(&draft)?;
        return Ok(None);
    };
    if path.exists() {
        salvage::rename(path, &path.with_file_name(aside))?;
    }
    put_in_place(path)?;
    Ok(Some(said))
}

/// The damaged file that was moved aside last.
pub fn last_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    let name = salvage::beside(path, ".damaged-");
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut last: Option<(i64, PathBuf)> = None;
    for entry in std::fs::read_dir(folder(path))? {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let at_ms = file.strip_prefix(&name).and_then(|at_ms| at_ms.parse().ok());
        last = last.max(at_ms.map(|at_ms| (at_ms, entry.path())));
    }
    Ok(last.map(|(_, path)| path))
}

fn draft(path: &Path) -> PathBuf {
    path.with_extension("draft")
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A new draft, without rows. Unlike the store it has no log beside it: it is renamed as one file.
fn begin(path: &Path) -> anyhow::Result<Connection> {
    let draft = draft(path);
    salvage::remove(&draft)?;
    let connection = Connection::open(&draft)?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.execute_batch(&format!("BEGIN; {} COMMIT;", include_str!("schema.sql")))?;
    connection.execute("INSERT INTO meta VALUES ('version', ?1)", [VERSION])?;
    Ok(connection)
}

/// A draft with what can be read of a file. It is finished when it says what is to be told.
fn fill(path: &Path, from: &Path, aside: &Path, say: &dyn Fn(&str) -> String) -> anyhow::Result<()> {
    let mut connection = begin(path)?;
    let saved = salvage::take_over(from, &mut connection)?;
    let aside = aside.file_name().unwrap_or_default().to_string_lossy();
    let rows = (MADE_OF, aside, SAID, say(&saved));
    connection.execute("INSERT INTO meta VALUES (?1, ?2), (?3, ?4)", rows)?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// The new name of the file that a finished draft was made of, and what is to be told.
fn made_of(draft: &Path) -> Result<Option<(String, String)>, Error> {
    let connection = Connection::open(draft)?;
    let sql =
        "SELECT made.value, said.value FROM meta made, meta said WHERE made.name = ?1 AND said.name = ?2";
    connection.query_row(sql, [MADE_OF, SAID], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

fn put_in_place(path: &Path) -> anyhow::Result<()> {
    // Where the file is gone, what was beside it must not be taken for a part of the new one.
    salvage::remove_beside(path)?;
    std::fs::rename(draft(path), path)?;
    File::open(folder(path))?.sync_all()?;
    Ok(())
}
