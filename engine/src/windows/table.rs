//! The keys of one node that share their fields, as rows, and the windows over them, as columns.
//!
//! Bounded by a cap on rows: when a new key comes and there is no room, a sixteenth of the rows, those unheard of the
//! longest, are given up and counted.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use super::column::{Column, Expired, Groups, RowId};
use super::key::{Key, hash_of_key, hash_of_row};
use super::steps::Hearing;
use super::{Reading, Window};
use crate::project::plan::Slot;
use crate::project::walk::Value;
use crate::time::Timestamp;

/// Index of a column in its table.
pub type ColumnId = usize;

/// What all nodes' tables of one kind have in common.
#[derive(Debug, Clone)]
pub struct TableDef {
    /// Names of the key fields, as alerts show them.
    pub key_names: Vec<String>,
    /// Which of the key fields is a peer id, if one is.
    pub peer_part: Option<usize>,
    /// Rows at most.
    pub keys_max: usize,
    /// The windows, and the groups of rules that look at each.
    pub columns: Vec<(Window, Groups)>,
    /// Longest time between two looks of any group: what a leaving key waits before it goes.
    pub every_max_ms: i64,
}

/// The keys of one node and the windows over them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Table {
    #[serde(skip)]
    pub(super) index: HashTable<RowId>,
    pub(super) rows: Vec<Row>,
    pub(super) free: Vec<RowId>,
    /// One a window of the [`TableDef`].
    pub columns: Vec<Column>,
    /// When cells want to be looked at.
    pub(super) wakes: BTreeMap<Timestamp, Vec<Wake>>,
    /// Entries in `wakes`.
    #[serde(skip)]
    pub(super) wakes_count: usize,
    /// When the next step of an anomaly window ends.
    #[serde(skip)]
    pub(super) closes_at: Timestamp,
    /// Rows to be given up, in order of time.
    pub(super) leaving: BTreeMap<Timestamp, Vec<(RowId, Leaving)>>,
    #[serde(skip)]
    pub(super) keys_max: usize,
    #[serde(skip)]
    pub(super) every_max_ms: i64,
    #[serde(skip)]
    pub(super) peer_part: Option<usize>,
    #[serde(skip)]
    pub(super) key_parts: usize,
    /// Keys given up because there were too many.
    pub evicted: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    pub key: Key,
    #[serde(skip)]
    pub hash: u64,
    touched_at: Timestamp,
    /// Cells and script states that keep the row alive.
    pub holds: u32,
    pub is_used: bool,
    /// Goes up each time the row is given up, so that a reused row is told from its predecessor.
    generation: u32,
}

/// A cell that wants to be looked at.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Wake {
    pub column: u32,
    pub row: RowId,
    generation: u32,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Leaving {
    generation: u32,
    /// The connection is gone: the row goes even if it still has samples.
    is_closed: bool,
}

impl Table {
    /// An empty table.
    pub fn new(def: &TableDef) -> Self {
        let mut table = Table {
            index: HashTable::new(),
            rows: Vec::new(),
            free: Vec::new(),
            columns: def.columns.iter().map(|(window, groups)| Column::new(*window, *groups)).collect(),
            wakes: BTreeMap::new(),
            wakes_count: 0,
            closes_at: Timestamp::MAX,
            leaving: BTreeMap::new(),
            keys_max: def.keys_max,
            every_max_ms: def.every_max_ms,
            peer_part: def.peer_part,
            key_parts: def.key_names.len(),
            evicted: 0,
        };
        if table.key_parts == 0 {
            // The node itself is there before its first sample: that there is none may be what a rule looks for.
            table.sole_row(Timestamp::MIN);
        }
        table
    }

    /// The row of the key in the slots of an event's row, made if it is new; `None` if a key field is absent.
    pub fn row_for(
        &mut self,
        slots: &[Value],
        fields: &[Slot],
        event: &[u8],
        at: Timestamp,
    ) -> Option<RowId> {
        if self.key_parts == 0 {
            return Some(self.sole_row(at));
        }
        let hash = hash_of_row(slots, fields, event)?;
        let rows = &self.rows;
        let is_same = |row: &RowId| rows[*row as usize].key.is_row(slots, fields, event);
        if let Some(row) = self.index.find(hash, is_same).copied() {
            self.rows[row as usize].touched_at = at;
            return Some(row);
        }
        Some(self.insert(Key::of_row(slots, fields, event)?, hash, at))
    }

    fn sole_row(&mut self, at: Timestamp) -> RowId {
        if self.rows.is_empty() {
            let key = Key::default();
            let hash = hash_of_key(&key);
            self.insert(key, hash, at);
            // Never given up: it is the node itself.
            self.rows[0].holds = 1;
        }
        0
    }

    fn insert(&mut self, key: Key, hash: u64, at: Timestamp) -> RowId {
        if self.rows.len() - self.free.len() >= self.keys_max {
            self.evict_stalest();
        }
        let mut row = Row { key, hash, touched_at: at, holds: 0, is_used: true, generation: 0 };
        let id = match self.free.pop() {
            Some(id) => {
                row.generation = self.rows[id as usize].generation;
                self.rows[id as usize] = row;
                id
            }
            None => {
                self.rows.push(row);
                (self.rows.len() - 1) as RowId
            }
        };
        let rows = &self.rows;
        self.index.insert_unique(hash, id, |row| rows[*row as usize].hash);
        id
    }

    pub(super) fn evict_stalest(&mut self) {
        let mut rows: Vec<(Timestamp, RowId)> =
            self.used_rows().map(|row| (self.rows[row as usize].touched_at, row)).collect();
        let give_up = rows.len().div_ceil(16);
        rows.select_nth_unstable(give_up - 1);
        rows.truncate(give_up);
        rows.sort_unstable();
        for (_, row) in rows {
            self.evicted += 1;
            self.give_up(row);
        }
    }

    /// The row of a key, if it has one.
    pub fn row_of(&self, key: &Key) -> Option<RowId> {
        if self.key_parts == 0 {
            return (!self.rows.is_empty()).then_some(0);
        }
        self.index.find(hash_of_key(key), |row| self.rows[*row as usize].key == *key).copied()
    }

    /// The key of a row in use.
    pub fn key(&self, row: RowId) -> &Key {
        &self.rows[row as usize].key
    }

    /// Rows in use, in order of their numbers.
    pub fn used_rows(&self) -> impl Iterator<Item = RowId> + '_ {
        let used = |(_, row): &(usize, &Row)| row.is_used;
        self.rows.iter().enumerate().filter(used).map(|(id, _)| id as RowId)
    }

    /// True if the row is in use.
    pub fn is_used(&self, row: RowId) -> bool {
        self.rows.get(row as usize).is_some_and(|row| row.is_used)
    }

    /// Number of rows there have ever been at once; row numbers are below it.
    pub fn capacity(&self) -> usize {
        self.rows.len()
    }

    /// Which life of the row this is; differs after the row was given up and used again.
    pub fn generation(&self, row: RowId) -> u32 {
        self.rows[row as usize].generation
    }

    /// Gives a sample to one window of a row.
    pub fn push(&mut self, column: ColumnId, row: RowId, at: Timestamp, value: f64, hash: u64) {
        let pushed = self.columns[column].push(row, at, value, hash);
        if pushed.is_new {
            self.rows[row as usize].holds += 1;
        }
        if let Some(wake_at) = pushed.wake_at {
            let generation = self.rows[row as usize].generation;
            self.wake(wake_at, Wake { column: column as u32, row, generation });
        }
        if let Some(stalest) = self.columns[column].sketch_to_give_up(row) {
            self.evicted += 1;
            self.give_up(stalest);
        }
        if self.columns[column].is_watch() {
            self.closes_at = self.closes_at.min(self.columns[column].closes_at());
            if let Some(stalest) = self.columns[column].detector_to_give_up(row) {
                // Only the detector goes: other windows have room for more keys.
                self.evicted += 1;
                self.columns[column].give_up_detector(stalest);
                self.release(stalest, at);
            }
        }
    }

    /// A script keeps state for the row: it stays until the connection closes or the cap takes it.
    pub fn hold(&mut self, row: RowId) {
        self.rows[row as usize].holds += 1;
    }

    /// True if time alone changes nothing: no sample is left to leave its span, no row to go.
    pub fn is_idle(&self) -> bool {
        self.wakes.is_empty() && self.leaving.is_empty() && self.closes_at == Timestamp::MAX
    }

    /// When the next step of an anomaly window ends; [`Timestamp::MAX`] if none is under way.
    pub fn closes_at(&self) -> Timestamp {
        self.closes_at
    }

    /// Ends the steps whose time has come. To be called at [`Table::closes_at`], before samples of later steps come.
    pub fn close_steps(&mut self, now: Timestamp, hearing: &Hearing) {
        for column in 0..self.columns.len() {
            if self.columns[column].closes_at() <= now {
                for row in self.columns[column].close_step(hearing, self.key_parts == 0) {
                    self.release(row, now);
                }
            }
        }
        self.note_closes_at();
    }

    /// Begins to watch the node itself where a source is heard that has no sample for it yet.
    pub fn begin_watches(&mut self, now: Timestamp, hearing: &Hearing) {
        if self.key_parts != 0 {
            return;
        }
        for column in &mut self.columns {
            self.rows[0].holds += u32::from(column.begin_watch(now, hearing));
        }
        self.note_closes_at();
    }

    pub(super) fn note_closes_at(&mut self) {
        let steps = self.columns.iter().map(Column::closes_at);
        self.closes_at = steps.min().unwrap_or(Timestamp::MAX);
    }

    /// The node has restarted, which explains what its anomaly windows see for a while.
    pub fn mask(&mut self, at: Timestamp) {
        self.columns.iter_mut().for_each(|column| column.mask(at));
    }

    /// Lets samples leave their spans up to `now`.
    pub fn expire(&mut self, now: Timestamp) {
        while let Some(entry) = self.wakes.first_entry() {
            if *entry.key() > now {
                break;
            }
            let wakes = entry.remove();
            self.wakes_count -= wakes.len();
            for wake in wakes {
                if !self.is_meant(&wake) {
                    continue;
                }
                match self.columns[wake.column as usize].expire(wake.row, now) {
                    Expired::WakeAt(again) => self.wake(again, wake),
                    Expired::Empty => self.release(wake.row, now),
                    Expired::Absent => {}
                }
            }
        }
    }

    fn wake(&mut self, at: Timestamp, wake: Wake) {
        self.wakes.entry(at).or_default().push(wake);
        self.wakes_count += 1;
        // Keys given up leave their entries behind; they must not pile up faster than keys can come.
        if self.wakes_count > 4 * self.rows.len() * self.columns.len() + 1024 {
            let mut wakes = std::mem::take(&mut self.wakes);
            wakes.values_mut().for_each(|wakes| wakes.retain(|wake| self.is_meant(wake)));
            wakes.retain(|_, wakes| !wakes.is_empty());
            self.wakes_count = wakes.values().map(Vec::len).sum();
            self.wakes = wakes;
        }
    }

    /// True if the key that asked to be looked at is still there.
    fn is_meant(&self, wake: &Wake) -> bool {
        let row = &self.rows[wake.row as usize];
        row.is_used && row.generation == wake.generation && self.columns[wake.column as usize].holds(wake.row)
    }

    fn release(&mut self, row: RowId, now: Timestamp) {
        let released = &mut self.rows[row as usize];
        released.holds = released.holds.saturating_sub(1);
        if released.holds == 0 {
            self.leave(row, now, false);
        }
    }

    /// The connection of this peer has closed: its keys go once every group of rules has looked at them.
    pub fn close_peer(&mut self, peer_id: u64, now: Timestamp) {
        use super::key::KeyPart;
        let Some(part) = self.peer_part else { return };
        let peer = KeyPart::Int(peer_id as i64);
        let only_key = Key(Box::new([peer.clone()]));
        if self.key_parts == 1 {
            if let Some(row) = self.row_of(&only_key) {
                self.leave(row, now, true);
            }
            return;
        }
        let rows: Vec<RowId> =
            self.used_rows().filter(|row| self.rows[*row as usize].key.0[part] == peer).collect();
        for row in rows {
            self.leave(row, now, true);
        }
    }

    /// The node has restarted and counts its peers from zero again: all peers' keys go.
    pub fn close_all_peers(&mut self, now: Timestamp) {
        if self.peer_part.is_some() {
            let rows: Vec<RowId> = self.used_rows().collect();
            for row in rows {
                self.leave(row, now, true);
            }
        }
    }

    pub(super) fn leave(&mut self, row: RowId, now: Timestamp, is_closed: bool) {
        let leaving = Leaving { generation: self.rows[row as usize].generation, is_closed };
        self.leaving.entry(now.plus_ms(self.every_max_ms)).or_default().push((row, leaving));
    }

    /// Gives up the rows whose time has come. Call after the rules have looked.
    pub fn sweep(&mut self, now: Timestamp) {
        while let Some(entry) = self.leaving.first_entry() {
            if *entry.key() > now {
                break;
            }
            for (row, leaving) in entry.remove() {
                let candidate = &self.rows[row as usize];
                let is_same = candidate.is_used && candidate.generation == leaving.generation;
                if is_same && (leaving.is_closed || candidate.holds == 0) {
                    self.give_up(row);
                }
            }
        }
    }

    fn give_up(&mut self, row: RowId) {
        for column in &mut self.columns {
            column.remove(row);
        }
        let hash = self.rows[row as usize].hash;
        if let Ok(entry) = self.index.find_entry(hash, |id| *id == row) {
            entry.remove();
        }
        let given_up = &mut self.rows[row as usize];
        given_up.key = Key::default();
        given_up.is_used = false;
        given_up.generation += 1;
        given_up.holds = 0;
        self.free.push(row);
    }

    /// What a window said for a row when its changes were last refreshed.
    pub fn reading(&self, column: ColumnId, row: RowId, now: Timestamp) -> Reading {
        self.columns[column].reading(row, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::Aggregate;

    fn table(keys_max: usize) -> Table {
        let window = Window { aggregate: Aggregate::Count, over_ms: 600_000, integers: true };
        Table::new(&TableDef {
            key_names: vec!["peer_id".into()],
            peer_part: Some(0),
            keys_max,
            columns: vec![(window, 1)],
            every_max_ms: 5_000,
        })
    }

    fn push(table: &mut Table, peer_id: u64, at_ms: i64) -> RowId {
        let at = Timestamp::from_unix_ms(at_ms);
        let row = table.row_for(&[Value::U64(peer_id)], &[0], &[], at).unwrap();
        table.push(0, row, at, 1.0, 0);
        row
    }

    #[test]
    fn a_million_peers_stay_within_the_cap_and_the_stalest_go() {
        let mut table = table(1_000);
        for peer_id in 0..1_000_000 {
            push(&mut table, peer_id, peer_id as i64);
            push(&mut table, 7, peer_id as i64);
        }
        assert!(table.used_rows().count() <= 1_000);
        assert_eq!(table.evicted + table.used_rows().count() as u64, 1_000_000);
        let busy = table.row_of(&Key(Box::new([crate::windows::key::KeyPart::Int(7)]))).unwrap();
        assert!(
            matches!(table.columns[0].read(busy, Timestamp::from_unix_ms(1_000_000)), Reading::Int(n) if n > 500_000)
        );
    }

    #[test]
    fn a_closed_connection_frees_its_key_after_the_rules_have_looked() {
        let mut table = table(10);
        push(&mut table, 4, 1_000);
        table.close_peer(4, Timestamp::from_unix_ms(2_000));
        table.sweep(Timestamp::from_unix_ms(6_999));
        assert_eq!(table.used_rows().count(), 1);
        table.sweep(Timestamp::from_unix_ms(7_000));
        assert_eq!(table.used_rows().count(), 0);
    }

    #[test]
    fn a_quiet_key_goes_when_its_samples_have_left() {
        let mut table = table(10);
        push(&mut table, 4, 0);
        table.expire(Timestamp::from_unix_ms(620_000));
        table.sweep(Timestamp::from_unix_ms(630_000));
        assert_eq!(table.used_rows().count(), 0);
    }
}
