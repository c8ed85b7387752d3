//! The store from the outside: what was stored is found again, and what was damaged is said.

use std::path::{Path, PathBuf};

use tocsin_engine::dispatch::alert::{AlertState, Fingerprint};
use tocsin_engine::dispatch::decision::{Decision, DecisionKind};
use tocsin_engine::time::Timestamp;
use tocsin_notifiers::Receipt;

use super::*;

const DAY_MS: i64 = 86_400_000;

fn path(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("store.sqlite")
}

fn notification(id: &str) -> Notification {
    Notification {
        id: id.to_string(),
        receiver: "phone".to_string(),
        group_key: "{}:{}".to_string(),
        thread: "t".to_string(),
        decided_at: 1000,
        reason_text: "new ".repeat(100),
        ..Notification::default()
    }
}

fn silence(key: &str) -> ((Table, String), Option<String>) {
    ((Table::Silence, key.to_string()), Some(format!("{{\"id\":\"{key}\"}}")))
}

/// Notifications 0 to `count`, each with a change and a decision; a silence and a receipt.
fn batch(count: u64) -> Batch {
    let mut batch = Batch::default();
    batch.rows.extend([silence("quiet")]);
    batch.receipts.push(("phone".to_string(), "t".to_string(), Receipt { reference: "$first".to_string() }));
    for number in 0..count {
        batch.notifications.push(notification(&number.to_string()));
        batch.changes.push(StoredChange {
            fingerprint: Fingerprint(number),
            at_ms: 5,
            state: AlertState::Firing,
            starts_at_ms: 5,
        });
        let labels = [("alertname", "addr_flood"), ("node", "alice")];
        let labels = labels.map(|(name, value)| (name.to_string(), value.to_string()));
        batch.labels.insert(Fingerprint(number), labels.into());
        batch.decisions.push(Decision {
            at: Timestamp::from_unix_ms(1000),
            fingerprint: Fingerprint(number),
            starts_at: Timestamp::from_unix_ms(5),
            receiver: Some("phone".to_string()),
            kind: DecisionKind::Notified,
            reason: "first notification".to_string(),
            notification: Some(number.to_string()),
        });
    }
    batch
}

fn delivered(id: &str) -> Update {
    Update {
        id: id.to_string(),
        state: NotificationState::Delivered { at_ms: 2000 },
        attempts: 1,
        last_error: None,
        since_ms: None,
    }
}

#[track_caller]
fn opened(path: &Path) -> (Store, Option<String>) {
    Store::open(path, 3000).expect("the store opens")
}

#[test]
fn what_was_stored_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut store, damage) = opened(&path(&folder));
    assert_eq!(damage, None);
    store.commit(&batch(3), 1000).expect("stored");
    let update = Batch { updates: vec![delivered("0")], ..Batch::default() };
    store.commit(&update, 2000).expect("stored");
    drop(store);
    let (store, damage) = opened(&path(&folder));
    assert_eq!((damage, store.last_ms().expect("readable")), (None, 2000));
    let rows = store.rows().expect("readable");
    assert_eq!((rows.len(), rows[0].key.as_str()), (1, "quiet"));
    let pending = store.pending().expect("readable");
    assert_eq!(pending.iter().map(|waiting| waiting.id.as_str()).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(store.notification("1").expect("readable"), Some(notification("1")));
    let receipt = store.receipt("phone", "t").expect("readable").expect("there");
    assert_eq!(receipt.reference, "$first");
    let latest = store.latest_change(Fingerprint(1)).expect("readable").expect("there");
    assert!(store.has_change(&latest).expect("readable"));
    let explained = store.explain(Fingerprint(1)).expect("readable");
    assert_eq!((explained.decisions.len(), explained.notifications.len()), (1, 1));
    assert_eq!(explained.decisions[0].kind, DecisionKind::Notified);
    assert_eq!(explained.labels.expect("known")["node"], "alice");
}

#[test]
fn an_alert_is_found_by_the_beginning_of_its_id() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut store, _) = opened(&path(&folder));
    store.commit(&batch(20), 1000).expect("stored");
    let found = |beginning: &str| store.alerts(beginning).expect("readable");
    assert_eq!(found("000000000000001"), (16..20).map(Fingerprint).collect::<Vec<_>>());
    assert_eq!(found("000000000000000f"), [Fingerprint(15)]);
    assert_eq!((found("0000").len(), found("1").len(), found("%").len()), (10, 0, 0));
    while store.forget(31 * DAY_MS).expect("stored") == Forgotten::Some {}
    assert_eq!(store.alerts("0000").expect("readable"), []);
    assert_eq!(store.explain(Fingerprint(1)).expect("readable").labels, None);
}

#[test]
fn a_notification_stored_twice_stays_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut store, _) = opened(&path(&folder));
    store.commit(&batch(1), 1000).expect("stored");
    let update = Batch { updates: vec![delivered("0")], ..Batch::default() };
    store.commit(&update, 2000).expect("stored");
    store.commit(&batch(1), 3000).expect("stored");
    assert_eq!(store.pending().expect("readable"), []);
}

#[test]
fn a_row_without_a_value_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut store, _) = opened(&path(&folder));
    store.commit(&batch(0), 1000).expect("stored");
    let mut gone = Batch::default();
    gone.rows.insert((Table::Silence, "quiet".to_string()), None);
    store.commit(&gone, 1001).expect("stored");
    assert_eq!(store.rows().expect("readable"), []);
}

#[test]
fn after_thirty_days_what_is_over_is_forgotten_and_what_waits_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut store, _) = opened(&path(&folder));
    let mut both = batch(2);
    both.updates.push(delivered("0"));
    store.commit(&both, 1000).expect("stored");
    assert_eq!(store.forget(29 * DAY_MS).expect("stored"), Forgotten::All);
    assert_eq!(store.notifications(false, 10).expect("readable").len(), 2);
    assert_eq!(store.forget(31 * DAY_MS).expect("stored"), Forgotten::All);
    let left = store.notifications(false, 10).expect("readable");
    assert_eq!(left.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["1"]);
    assert!(store.latest_change(Fingerprint(1)).expect("readable").is_none());
    assert_eq!(store.rows().expect("readable").len(), 1);
}

#[test]
fn more_than_one_step_forgets_is_said_to_be_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut store, _) = opened(&path(&folder));
    store.commit(&batch(501), 1000).expect("stored");
    assert_eq!(store.forget(31 * DAY_MS).expect("stored"), Forgotten::Some);
    assert_eq!(store.forget(31 * DAY_MS).expect("stored"), Forgotten::All);
    assert!(store.latest_change(Fingerprint(500)).expect("readable").is_none());
}

#[test]
fn every_damage_is_said_and_the_rest_is_taken_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut store, _) = opened(&path(&folder));
    store.commit(&batch(60), 1000).expect("stored");
    drop(store);
    let whole = std::fs::read(path(&folder)).expect("readable");
    assert!(!salvage::beside(&path(&folder), "-wal").exists(), "all is in the one file");
    let mut said = 0;
    for at in (0..whole.len() - 600).step_by(1999) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut damaged = whole.clone();
        damaged[at..at + 600].fill(0x5a);
        std::fs::write(path(&folder), damaged).expect("writable");
        let (mut store, damage) = opened(&path(&folder));
        let kept = store.pending().expect("readable").len();
        let silences = store.rows().expect("readable").len();
        // What is not said is whole: free space was hit, or what is kept for explanations only.
        assert!(damage.is_some() || (kept == 60 && silences == 1), "unsaid damage at {at}: {kept} kept");
        said += usize::from(damage.is_some());
        // Only the first page holds where everything is.
        assert!(at < 4096 || kept >= 30, "{kept} kept with damage at {at}: {damage:?}");
        store.commit(&Batch::default(), 3001).expect("stored");
        drop(store);
        assert_eq!(opened(&path(&folder)).1, None, "the new store is whole");
    }
    assert!(said > 10, "{said} of the damages were said");
}

#[test]
fn an_emptied_file_is_damage() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(opened(&path(&folder)));
    std::fs::write(path(&folder), "").expect("writable");
    let (_, damage) = opened(&path(&folder));
    let damage = damage.expect("it is said");
    assert!(damage.contains("store.sqlite.damaged-3000"), "{damage}");
}

#[test]
fn a_store_that_cannot_be_used_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("nowhere/store.sqlite");
    let error = format!("{:#}", Store::open(&missing, 0).expect_err("there is no folder"));
    assert!(error.contains("nowhere/store.sqlite") && error.contains("expected"), "{error}");

    let (store, _) = opened(&path(&folder));
    store.connection.execute("UPDATE meta SET value = '9' WHERE name = 'version'", []).expect("stored");
    drop(store);
    let error = format!("{:#}", Store::open(&path(&folder), 0).expect_err("it is of another version"));
    assert!(error.contains("version is \"9\", expected \"1\""), "{error}");
}

/// A folder with a store of `count` notifications in which one is damaged.
fn damaged(count: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut store, _) = opened(&path(&folder));
    store.commit(&batch(count), 1000).expect("stored");
    store.commit(&Batch { updates: vec![delivered("2")], ..Batch::default() }, 1001).expect("stored");
    damage(&store);
    folder
}

/// Damages the first notification.
fn damage(store: &Store) {
    let sql = "UPDATE notifications SET body = x'5a5a' WHERE id = '0'";
    assert_eq!(store.connection.execute(sql, []).expect("stored"), 1);
}

fn files(folder: &tempfile::TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path()).expect("readable");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The store opens, says that it was damaged, and holds all but the damaged notification, in their order.
#[track_caller]
fn is_saved(folder: &tempfile::TempDir) {
    let (store, damage) = opened(&path(folder));
    let damage = damage.expect("it is said");
    assert!(damage.contains("could be read of"), "{damage}");
    let stored = store.notifications(false, 10).expect("readable");
    assert_eq!(stored.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["4", "3", "2", "1"]);
    assert_eq!(store.rows().expect("readable").len(), 1);
    drop(store);
    assert_eq!(files(folder), ["store.sqlite", "store.sqlite.damaged-3000"]);
    let (mut store, damage) = opened(&path(folder));
    assert!(damage.is_some(), "it is said until that is stored");
    store.commit(&Batch::default(), 3001).expect("stored");
    drop(store);
    assert_eq!(opened(&path(folder)).1, None);
}

#[test]
fn what_is_taken_over_keeps_its_order() {
    is_saved(&damaged(5));
}

#[test]
fn a_kill_while_a_damaged_store_is_replaced_loses_nothing_wherever_it_happens() {
    let replaced = || {
        let folder = damaged(5);
        drop(opened(&path(&folder)));
        let (draft, aside) =
            (folder.path().join("store.draft"), folder.path().join("store.sqlite.damaged-3000"));
        (folder, draft, aside)
    };
    // Before the draft was finished.
    let folder = damaged(5);
    std::fs::write(folder.path().join("store.draft"), "half").expect("writable");
    is_saved(&folder);
    // Before the damaged file was moved aside.
    let (folder, draft, aside) = replaced();
    std::fs::rename(path(&folder), &draft).expect("renamed");
    std::fs::rename(&aside, path(&folder)).expect("renamed");
    is_saved(&folder);
    // Before the draft was put in its place.
    let (folder, draft, _) = replaced();
    std::fs::rename(path(&folder), &draft).expect("renamed");
    is_saved(&folder);
    // The damaged file is all that is there.
    let (folder, _, _) = replaced();
    std::fs::remove_file(path(&folder)).expect("removed");
    is_saved(&folder);
}

#[test]
fn what_cannot_be_written_is_not_taken_for_damage() {
    let folder = damaged(300);
    let mut small = Connection::open_in_memory().expect("memory");
    small.execute_batch(include_str!("schema.sql")).expect("made");
    let pages: u32 = small.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a number");
    small.pragma_update(None, "max_page_count", pages + 4).expect("set");
    let error = salvage::take_over(&path(&folder), &mut small).expect_err("there is no room");
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DiskFull), "{error}");
}

#[test]
fn damage_that_is_met_while_reading_replaces_the_store_and_what_is_stored_then_outlives_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut store, _) = opened(&path(&folder));
    store.commit(&batch(5), 1000).expect("stored");
    assert!(store.notification("0").expect("readable").is_some() && !store.is_damaged());
    damage(&store);
    assert_eq!(store.notification("0").expect("readable"), None);
    assert!(store.is_damaged());
    let said = store.replace(2000).expect("there is space");
    assert!(said.contains("notification 0 does not have the checksum"), "{said}");
    assert!(!store.is_damaged());
    store.commit(&Batch { updates: vec![delivered("1")], ..Batch::default() }, 2001).expect("stored");
    // As a kill leaves it: the store is not closed.
    let killed = tempfile::tempdir().expect("a folder");
    for name in files(&folder).iter().filter(|name| !name.contains("damaged") && !name.ends_with("-shm")) {
        std::fs::copy(folder.path().join(name), killed.path().join(name)).expect("copied");
    }
    let pending = opened(&path(&killed)).0.pending().expect("readable");
    assert_eq!(pending.iter().map(|waiting| waiting.id.as_str()).collect::<Vec<_>>(), ["2", "3", "4"]);
}

#[test]
fn only_damage_and_a_missing_table_are_damage() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = opened(&path(&folder));
    store.connection.execute("UPDATE meta SET value = x'00' WHERE name = 'version'", []).expect_err("strict");
    store
        .connection
        .execute_batch("DROP TABLE meta; CREATE TABLE meta (name TEXT, value ANY) STRICT;")
        .expect("made");
    store.connection.execute("INSERT INTO meta VALUES ('version', 1)", []).expect("stored");
    drop(store);
    Store::open(&path(&folder), 3000).expect_err("a number is no version, and no damage");
    assert_eq!(files(&folder), ["store.sqlite"]);
}
