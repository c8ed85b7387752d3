//! Keys and windows of a snapshot, or of the rules before a reload, made to fit the rules of now.
//!
//! What is not stored is worked out again. Windows that nobody asks for any more are dropped; new ones are empty. A
//! snapshot is checked first, so that damage is an error and not a wrong index.

use std::collections::BTreeMap;
use std::mem::{discriminant, take};

use super::Window;
use super::column::{Body, Column, Groups, RowId};
use super::key::hash_of_key;
use super::table::{ColumnId, Row, Table, TableDef};
use crate::time::Timestamp;

/// What was where before.
#[derive(Debug)]
pub struct Before<'m> {
    /// For each window its column before, if it was there.
    pub columns: &'m [Option<ColumnId>],
    /// For each group before its number now, if it is still there.
    pub groups: &'m [Option<u32>],
}

impl Table {
    /// Fits a table to its definition; `now` is how late it is on the node.
    pub fn adopt(mut self, def: &TableDef, before: &Before, now: Timestamp) -> Table {
        let mut known: Vec<Option<Column>> = take(&mut self.columns).into_iter().map(Some).collect();
        let mut column_now = vec![None; known.len()];
        for (id, ((window, groups), from)) in def.columns.iter().zip(before.columns).enumerate() {
            let column = match from.and_then(|from| known.get_mut(from)?.take()) {
                Some(column) if column.window == *window => {
                    column_now[from.expect("it was found there")] = Some(id as u32);
                    column.adopt(*groups, before.groups, self.rows.len())
                }
                _ => Column { since: now, ..Column::new(*window, *groups) },
            };
            self.columns.push(column);
        }
        for wakes in self.wakes.values_mut() {
            wakes.retain_mut(|wake| match column_now.get(wake.column as usize) {
                Some(Some(column)) => {
                    wake.column = *column;
                    true
                }
                _ => false,
            });
        }
        self.wakes.retain(|_, wakes| !wakes.is_empty());
        self.wakes_count = self.wakes.values().map(Vec::len).sum();
        self.keys_max = def.keys_max;
        self.every_max_ms = def.every_max_ms;
        self.peer_part = def.peer_part;
        self.key_parts = def.key_names.len();
        self.note_closes_at();
        self.index_rows();
        while self.rows.len() - self.free.len() > self.keys_max {
            self.evict_stalest();
        }
        self
    }

    fn index_rows(&mut self) {
        self.rows.iter_mut().for_each(|row| row.hash = hash_of_key(&row.key));
        self.index.clear();
        self.index.reserve(self.rows.len(), |row| self.rows[*row as usize].hash);
        for (id, row) in self.rows.iter().enumerate().filter(|(_, row)| row.is_used) {
            let rows = &self.rows;
            self.index.insert_unique(row.hash, id as RowId, |row| rows[*row as usize].hash);
        }
    }

    /// Counts anew what keeps each row alive, after windows or states of scripts were dropped. `states` says how many
    /// scripts keep state for a row.
    pub fn count_holds(&mut self, states: &BTreeMap<RowId, u32>, now: Timestamp) {
        for id in 0..self.rows.len() {
            let row = id as RowId;
            let cells = self.columns.iter().filter(|column| column.holds(row)).count() as u32;
            // The node's own row is never given up.
            let own = u32::from(self.key_parts == 0);
            let holds = cells + states.get(&row).copied().unwrap_or(0) + own;
            let counted = &mut self.rows[id];
            let had = std::mem::replace(&mut counted.holds, if counted.is_used { holds } else { 0 });
            if counted.is_used && holds == 0 && had > 0 {
                self.leave(row, now, false);
            }
        }
    }

    /// False if nothing can have made this but damage, if it has so many key fields and windows.
    pub fn is_sound(&self, key_parts: usize, columns: usize) -> bool {
        let rows = self.rows.len();
        let mut is_free = vec![false; rows];
        let free_once = self.free.iter().all(|row| {
            let was_free = is_free.get_mut(*row as usize).map(|free| std::mem::replace(free, true));
            was_free == Some(false)
        });
        let is_whole =
            |(row, free): (&Row, &bool)| row.is_used != *free && (*free || row.key.0.len() == key_parts);
        free_once
            && self.columns.len() == columns
            && self.rows.iter().zip(&is_free).all(is_whole)
            && self.columns.iter().all(|column| column.is_sound(rows))
            && self
                .wakes
                .values()
                .flatten()
                .all(|wake| (wake.row as usize) < rows && (wake.column as usize) < self.columns.len())
            && self.leaving.values().flatten().all(|(row, _)| (*row as usize) < rows)
    }
}

impl Column {
    fn adopt(mut self, groups: Groups, group_now: &[Option<u32>], rows: usize) -> Column {
        let mut known: Groups = 0;
        let mut changed = vec![Vec::new(); (Groups::BITS - groups.leading_zeros()) as usize];
        for (before, list) in take(&mut self.changed).into_iter().enumerate() {
            let Some(Some(now)) = group_now.get(before) else { continue };
            if self.groups & (1 << before) != 0 && groups & (1 << now) != 0 {
                known |= 1 << now;
                changed[*now as usize] = list;
            }
        }
        (self.groups, self.changed) = (groups, changed);
        self.cell_of = vec![0; rows];
        self.listed = vec![0; rows];
        for (group, list) in self.changed.iter().enumerate() {
            list.iter().for_each(|row| self.listed[*row as usize] |= 1 << group);
        }
        let mut is_free = vec![false; self.cells.len()];
        self.free.iter().for_each(|id| is_free[*id as usize] = true);
        self.sketches = 0;
        for (id, cell) in self.cells.iter().enumerate().filter(|(id, _)| !is_free[*id]) {
            self.cell_of[cell.row as usize] = id as u32 + 1;
            self.sketches += usize::from(matches!(&cell.body, Body::Distinct(d) if d.is_sketch()));
        }
        if groups & !known != 0 {
            // Groups that look for the first time have to see all.
            let live = (0..rows as RowId).filter(|row| self.cell_of[*row as usize] != 0);
            let live: Vec<RowId> = live.collect();
            for group in (0..Groups::BITS).filter(|group| groups & !known & (1 << group) != 0) {
                live.iter().for_each(|row| self.listed[*row as usize] |= 1 << group);
                self.changed[group as usize] = live.clone();
            }
        }
        self
    }

    fn is_sound(&self, rows: usize) -> bool {
        let mut is_free = vec![false; self.cells.len()];
        let free_once = self.free.iter().all(|id| {
            let was_free = is_free.get_mut(*id as usize).map(|free| std::mem::replace(free, true));
            was_free == Some(false)
        });
        let mut is_taken = vec![false; rows];
        let mut cells = self.cells.iter().zip(&is_free).filter(|(_, free)| !**free).map(|(cell, _)| cell);
        let expected = discriminant(&Body::new(self.window.aggregate));
        free_once
            && self.window.over_ms >= Window::OVER_MS_MIN
            && self.changed.len() == (Groups::BITS - self.groups.leading_zeros()) as usize
            && self.changed.iter().flatten().all(|row| (*row as usize) < rows)
            && cells.all(|cell| {
                let was_taken =
                    is_taken.get_mut(cell.row as usize).map(|taken| std::mem::replace(taken, true));
                was_taken == Some(false) && discriminant(&cell.body) == expected && cell.body.is_sound()
            })
    }
}

impl Body {
    fn is_sound(&self) -> bool {
        match self {
            Body::Count(samples) => samples.is_sound(),
            Body::Sum(samples) | Body::Growth { samples, .. } => samples.is_sound(),
            Body::Extent(samples) => samples.is_sound(),
            Body::Spread(samples) => samples.is_sound(),
            Body::Sketch(samples) => samples.is_sound(),
            Body::Distinct(distinct) => distinct.is_sound(),
            Body::Newest(_) => true,
            Body::Watch(watch) => watch.is_sound(),
        }
    }
}
