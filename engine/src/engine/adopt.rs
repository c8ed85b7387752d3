//! What was remembered under some rules, made to fit others: by names and definitions, never by numbers.

use std::collections::BTreeMap;
use std::mem::take;
use std::sync::Arc;

use tocsin_proto::archive::Frame;

use super::fleet::Fleet;
use super::library::Library;
use super::node::{Held, Node, RuleState};
use super::state::{Identity, RuleIdentity};
use crate::alerts::{Alerts, State};
use crate::plan::{NODE_TABLE, RuleId, TableId};
use crate::project::walk::Value;
use crate::sequence::ALLOWED_LATENESS_MS;
use crate::time::Timestamp;
use crate::timeline::{AlertKey, Change};
use crate::windows::adopt::Before;
use crate::windows::column::RowId;
use crate::windows::table::{ColumnId, Table};

/// Where everything was before.
pub(super) struct Mapping {
    before: Identity,
    after: Identity,
    /// For each table the one before.
    tables: Vec<Option<TableId>>,
    /// For each window of each table the one before.
    columns: Vec<Vec<Option<ColumnId>>>,
    /// For each group before the one now.
    groups: Vec<Option<u32>>,
    /// For each rule the one before.
    rules: Vec<Option<RuleId>>,
}

/// What had to go.
#[derive(Default)]
pub(super) struct Gone {
    /// Ends of alerts.
    pub changes: Vec<Change>,
    /// Keys of scripts that had state, by rule.
    pub states: BTreeMap<String, usize>,
}

impl Mapping {
    pub fn new(before: Identity, after: Identity) -> Mapping {
        let table_before =
            |keys: &Vec<(String, bool)>| before.tables.iter().position(|known| known.keys == *keys);
        let tables: Vec<Option<TableId>> =
            after.tables.iter().map(|table| table_before(&table.keys)).collect();
        let columns = after.tables.iter().zip(&tables).map(|(table, from)| {
            let known = from.map_or(&[][..], |from| &before.tables[from].windows);
            table.windows.iter().map(|window| known.iter().position(|known| known == window)).collect()
        });
        let columns = columns.collect();
        let group_now = |every: &i64| after.groups.iter().position(|known| known == every);
        let groups = before.groups.iter().map(|every| group_now(every).map(|group| group as u32)).collect();
        let rule_before = |rule: &RuleIdentity| {
            let is_same = |known: &RuleIdentity| (&known.name, known.is_fleet) == (&rule.name, rule.is_fleet);
            before.rules.iter().position(is_same)
        };
        let rules = after.rules.iter().map(rule_before).collect();
        Mapping { before, after, tables, columns, groups, rules }
    }

    /// A rule as it was before, if it was there; and whether its file and its keys are as they were.
    fn rule_before(&self, rule: RuleId) -> Option<(RuleId, bool, bool)> {
        let before = self.rules[rule]?;
        let (was, is) = (&self.before.rules[before], &self.after.rules[rule]);
        let same_keys = self.tables[is.table] == Some(was.table);
        Some((before, same_keys && was.text == is.text, same_keys))
    }

    fn has_other_params(&self, rule: RuleId) -> bool {
        let before = self.rules[rule].map(|before| self.before.rules[before].params);
        before != Some(self.after.rules[rule].params)
    }

    /// A node under the rules of now.
    pub fn node(&self, mut node: Node, library: &Library, gone: &mut Gone) -> Node {
        let now = node.sequencer.watermark();
        for held in node.sequencer.items_mut() {
            classify(held, library);
        }
        node.tables = self.tables(take(&mut node.tables), library, now);
        let old_alerts = take(&mut node.alerts);
        let old_rules = take(&mut node.rules);
        node.rules = self.rule_states(old_rules, &node.tables, library, gone);
        node.alerts = self.alerts(old_alerts, &node.name, now, gone);
        for (id, table) in node.tables.iter_mut().enumerate() {
            let states =
                if id == NODE_TABLE { BTreeMap::new() } else { count_states(&node.rules, id, library) };
            table.count_holds(&states, now);
        }
        self.adopt_ticks(&mut node, now);
        let events = take(&mut node.events);
        let count =
            |kind: &String| self.before.kinds.iter().position(|known| known == kind).map(|id| events[id]);
        node.events = self.after.kinds.iter().map(|kind| count(kind).unwrap_or(0)).collect();
        node.events.push(events.last().copied().unwrap_or(0));
        node.guards = library.own_guards(&node.name);
        node.marks = vec![Vec::new(); node.tables.len()];
        node
    }

    fn tables(&self, tables: Vec<Table>, library: &Library, now: Timestamp) -> Vec<Table> {
        let mut tables: Vec<Option<Table>> = tables.into_iter().map(Some).collect();
        let defs = library.plan.tables.iter().zip(&self.tables).zip(&self.columns);
        let adopt = |((def, from), columns): ((&_, &Option<TableId>), &Vec<_>)| {
            let mut table = match from.and_then(|from| tables[from].take()) {
                Some(table) => return table.adopt(def, &Before { columns, groups: &self.groups }, now),
                None => Table::new(def),
            };
            table.columns.iter_mut().for_each(|column| column.since = now);
            table
        };
        defs.map(adopt).collect()
    }

    fn rule_states(
        &self,
        before: Vec<RuleState>,
        tables: &[Table],
        library: &Library,
        gone: &mut Gone,
    ) -> Vec<RuleState> {
        let mut before: Vec<Option<RuleState>> = before.into_iter().map(Some).collect();
        let mut states = Vec::new();
        for (rule, plan) in library.plan.rules.iter().enumerate() {
            let found = self.rule_before(rule).and_then(|(id, ..)| before[id].take());
            let is_same = self.rule_before(rule).is_some_and(|(_, is_same, _)| is_same);
            let mut state = found.unwrap_or_default();
            let table = &tables[plan.table];
            state.states.retain(|row, known| table.is_used(*row) && table.generation(*row) == known.life);
            if !is_same {
                if !state.states.is_empty() {
                    *gone.states.entry(self.after.rules[rule].name.clone()).or_default() +=
                        state.states.len();
                }
                state = RuleState::with_health(state.health);
            }
            state.look_at_all |= !is_same || self.has_other_params(rule);
            let columns = plan.windows.iter().map(|window| &tables[window.table].columns[window.column]);
            let since = columns.filter(|column| !column.is_watch()).map(|column| column.since);
            state.begun_at = since.max().unwrap_or(Timestamp::MIN);
            states.push(state);
        }
        states
    }

    fn alerts(&self, before: Vec<Alerts>, node: &Arc<str>, now: Timestamp, gone: &mut Gone) -> Vec<Alerts> {
        let mut before: Vec<Option<Alerts>> = before.into_iter().map(Some).collect();
        let mut after = Vec::new();
        for rule in 0..self.after.rules.len() {
            let found = match self.rule_before(rule) {
                Some((id, _, true)) => before[id].take(),
                _ => None,
            };
            after.push(found.unwrap_or_default());
        }
        for (rule, alerts) in before.into_iter().enumerate() {
            alerts.into_iter().for_each(|alerts| self.end(rule, alerts, node, now, gone));
        }
        after
    }

    /// Ends the alerts of a rule that is gone, or has other keys now.
    fn end(&self, rule: RuleId, alerts: Alerts, node: &Arc<str>, at: Timestamp, gone: &mut Gone) {
        let rule = &self.before.rules[rule];
        let is_there = self.after.rules.iter().any(|now| now.name == rule.name);
        let reason = if is_there { "the rule has other keys now" } else { "the rule was removed" };
        let names: Vec<String> =
            self.before.tables[rule.table].keys.iter().map(|(name, _)| name.clone()).collect();
        let names: Arc<[String]> = names.into();
        for (key, alert) in alerts.into_all().filter(|(_, alert)| alert.state == State::Firing) {
            gone.changes.push(Change {
                at,
                rule: rule.name.as_str().into(),
                node: node.clone(),
                key: AlertKey { names: names.clone(), key },
                state: State::Resolved,
                severity: alert.severity(rule.severity),
                value: alert.finding.value,
                limit: alert.finding.limit,
                summary: format!("{reason}: {}", alert.finding.summary),
                since: alert.began_at(),
                evidence: alert.evidence(),
            });
        }
    }

    fn adopt_ticks(&self, node: &mut Node, now: Timestamp) {
        let before = take(&mut node.next_tick);
        let next_tick = |(group, every_ms): (usize, &i64)| {
            let known = self.groups.iter().position(|now| *now == Some(group as u32));
            match known {
                Some(known) => before[known],
                None if node.next == Timestamp::MIN => Timestamp::MIN,
                None => now.next_multiple_ms(*every_ms),
            }
        };
        node.next_tick = self.after.groups.iter().enumerate().map(next_tick).collect();
        if node.next != Timestamp::MIN {
            node.next = node.next_tick.iter().min().copied().unwrap_or(Timestamp::MAX);
        }
        if self.before != self.after {
            node.settled = 0;
        }
    }

    /// The fleet rules of now; `now` is the latest arrival or tick.
    pub fn fleet(&self, before: Fleet, library: &Library, now: Timestamp, gone: &mut Gone) -> Fleet {
        let mut fleet = Fleet::new(library);
        let mut before: BTreeMap<RuleId, _> =
            before.rules.into_iter().map(|rule| (rule.rule, rule)).collect();
        for rule in &mut fleet.rules {
            let Some((id, is_same, same_keys)) = self.rule_before(rule.rule) else { continue };
            let Some(was) = before.get_mut(&id) else { continue };
            rule.health = take(&mut was.health);
            if same_keys {
                rule.alerts = take(&mut was.alerts);
            }
            if is_same {
                (rule.next, rule.errors_in_a_row) = (was.next, was.errors_in_a_row);
                rule.is_settled = was.is_settled && self.before == self.after;
            }
        }
        fleet.note_next();
        let at = now.plus_ms(-ALLOWED_LATENESS_MS);
        for (id, rule) in before {
            for (node, alerts) in rule.alerts {
                self.end(id, alerts, &node.as_str().into(), at, gone);
            }
        }
        fleet
    }

    /// What is different, in words; `states` says of how many keys a script's state had to go.
    pub fn notes(&self, states: BTreeMap<String, usize>) -> Vec<String> {
        let mut notes = Vec::new();
        for (id, rule) in self.after.rules.iter().enumerate() {
            match self.rule_before(id) {
                None => notes.push(format!("rule {} is new", rule.name)),
                Some((_, _, false)) => {
                    notes.push(format!("rule {} has other keys, its alerts end", rule.name))
                }
                Some((_, false, true)) => notes.push(format!("rule {} has changed", rule.name)),
                Some(_) if self.has_other_params(id) => {
                    notes.push(format!("rule {} has other parameters", rule.name));
                }
                Some(_) => {}
            }
        }
        for (id, rule) in self.before.rules.iter().enumerate() {
            if !self.rules.contains(&Some(id)) {
                notes.push(format!("rule {} is gone, its alerts end", rule.name));
            }
        }
        notes.extend(states.into_iter().map(|(rule, keys)| {
            format!("rule {rule}: what its script remembers of {keys} keys is dropped, because the script has changed")
        }));
        for (table, columns) in self.columns.iter().enumerate() {
            let new = self.after.tables[table].windows.iter().zip(columns).filter(|(_, from)| from.is_none());
            notes.extend(new.map(|(window, _)| format!("window {window} is new and begins to fill")));
        }
        for (id, table) in self.before.tables.iter().enumerate() {
            let kept = self.tables.iter().position(|from| *from == Some(id)).map(|now| &self.columns[now]);
            let is_kept = |column: usize| kept.is_some_and(|kept| kept.contains(&Some(column)));
            let dropped = table.windows.iter().enumerate().filter(|(column, _)| !is_kept(*column));
            notes.extend(dropped.map(|(_, window)| format!("window {window} is dropped")));
        }
        notes
    }
}

/// How many scripts keep state for each row of a table.
fn count_states(rules: &[RuleState], table: TableId, library: &Library) -> BTreeMap<RowId, u32> {
    let mut counts = BTreeMap::new();
    let of_table = rules.iter().zip(&library.plan.rules).filter(|(_, plan)| plan.table == table);
    for row in of_table.flat_map(|(state, _)| state.states.keys()) {
        *counts.entry(*row).or_default() += 1;
    }
    counts
}

/// Finds an event's kind anew: the numbers of kinds may have changed.
fn classify(held: &mut Held, library: &Library) {
    (held.kind, held.body) = (library.plan.kinds.len(), Value::Absent);
    let Ok(frame) = Frame::parse(0, held.event.clone()) else { return };
    let range = frame.body_range();
    let body = Value::Bytes { start: range.start, len: range.end - range.start };
    if let Ok(Some(found)) = library.plan.classify(&frame.payload, frame.extractor, body) {
        (held.kind, held.body) = found;
    }
}
