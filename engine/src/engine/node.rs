//! One node: its sequencer, its windows, its alerts. Nodes share nothing but the [`Library`].

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rhai::{Dynamic, Map};
use serde::{Deserialize, Serialize};

use super::Problem;
use super::evidence::Found;
use super::library::{Library, Subject};
use crate::alerts::{Alert, Alerts, State};
use crate::plan::{Destination, Feed, HandlerField, NODE_TABLE, RuleId, Source, TableId, WindowRef};
use crate::project::path::KindId;
use crate::project::walk::{Scratch, Value};
use crate::rules::RuleError;
use crate::rules::definition::Scope;
use crate::rules::guard::{Guard, Outlook};
use crate::rules::literal::Complaint;
use crate::sequence::{Arrival, Sequencer};
use crate::time::Timestamp;
use crate::timeline::{AlertKey, Change, hex};
use crate::windows::column::{Groups, RowId};
use crate::windows::key::{Key, hash_of_value};
use crate::windows::netgroup::hash_of_netgroup;
use crate::windows::series::Series;
use crate::windows::steps::Hearing;
use crate::windows::table::Table;
use crate::windows::watch::Heard;

/// Without any event for this long a node was not observed, and its windows are not filled until they are again.
const GAP_MS: i64 = 60_000;
/// The state of an extractor that reads its node.
const EXTRACTOR_UP: i64 = tocsin_proto::pb::observer::extractor_status::State::Up as i64;
/// A rule that errs is left alone for twice as long each time, up to this.
const BACK_OFF_MAX_MS: i64 = 600_000;
/// How often a firing alert's value and summary are brought up to date, as long as its rule certainly holds.
pub(super) const REFRESH_MS: i64 = 15_000;
/// Keys on which a script may err in one tick, or between two, before the rule is left alone: each error may cost all
/// the operations of a call.
const ERRORS_A_TICK_MAX: u32 = 16;

/// An event held until its time comes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Held {
    #[serde(skip)]
    pub kind: KindId,
    #[serde(skip)]
    pub body: Value,
    #[serde(with = "crate::stored::bytes")]
    pub event: Bytes,
    /// Where the event came from, for errors.
    pub origin: u64,
}

/// Where the results of a step go.
#[derive(Debug, Default)]
pub(super) struct Output {
    pub changes: Vec<Change>,
    pub problems: Vec<Problem>,
}

/// Health of one rule; all totals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleHealth {
    /// Keys looked at.
    pub evaluations: u64,
    /// Of those, how many needed the script.
    pub script_calls: u64,
    /// Findings, also the inhibited ones.
    pub findings: u64,
    /// Findings that another rule inhibited.
    pub inhibited: u64,
    /// Findings without room for another alert.
    pub crowded_out: u64,
    /// Script errors.
    pub failures: u64,
    /// Events that `on_event` was not shown, because it had erred shortly before.
    pub skipped: u64,
    /// The newest error.
    pub last_error: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Node {
    #[serde(with = "crate::stored::shared_text")]
    pub name: Arc<str>,
    pub sequencer: Sequencer<Held>,
    pub tables: Vec<Table>,
    pub alerts: Vec<Alerts>,
    pub rules: Vec<RuleState>,
    /// Guards where this node's parameters are its own.
    #[serde(skip)]
    pub guards: Vec<Option<Guard>>,
    pub next_tick: Vec<Timestamp>,
    /// Earliest of `next_tick`.
    pub next: Timestamp,
    /// Observed without a gap since then.
    pub observed_since: Timestamp,
    /// The same after a gap that has ended, until ticks have come as far as its end.
    observed_again: Option<Timestamp>,
    last_event_at: Timestamp,
    uptime_s: u64,
    /// It loads the chain for the first time.
    is_syncing: bool,
    /// When its extractors were heard.
    heard: Heard,
    /// Events by kind; the last place counts kinds unknown to the schema.
    pub events: Vec<u64>,
    pub undecodable: u64,
    /// Which rows of a table were taken already by the evaluation under way.
    #[serde(skip)]
    pub marks: Vec<Vec<u32>>,
    #[serde(skip)]
    mark: u32,
    #[serde(skip)]
    calls: Vec<Call>,
    /// Groups that have ticked since time alone changes nothing.
    pub settled: Groups,
    /// The tick under way ran a script that may have left something behind in `this`.
    #[serde(skip)]
    has_run_script: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct RuleState {
    pub health: RuleHealth,
    was_filled: bool,
    /// Firing alerts of the rules that inhibit this one.
    inhibiting: usize,
    /// All keys must be looked at, because changes were missed.
    pub look_at_all: bool,
    pub skip_until: Option<Timestamp>,
    pub errors_in_a_row: u32,
    /// Errors of `on_event` since the last tick.
    event_errors: u32,
    /// The last row that was looked at before there were too many errors: the next look begins after it.
    looked_up_to: Option<RowId>,
    /// What its script remembers of each key.
    pub states: BTreeMap<RowId, KeyState>,
    /// The youngest of its windows is there since then; before the node if all are.
    #[serde(skip)]
    pub begun_at: Timestamp,
}

/// What a script remembers of a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeyState {
    /// Which life of the row is meant.
    pub life: u32,
    #[serde(with = "super::state::plain")]
    pub this: Dynamic,
    /// `on_event` erred on the key, and is not called for it until then.
    skip_until: Option<Timestamp>,
    errors_in_a_row: u32,
}

/// A call of `on_event` that a row asked for.
#[derive(Debug, Clone)]
struct Call {
    rule: RuleId,
    table: TableId,
    row: RowId,
    /// Which life of the row is meant: later rows of the same event may have taken its place.
    generation: u32,
    event: Map,
}

impl RuleState {
    /// The state of a rule that has only been counted so far.
    pub fn with_health(health: RuleHealth) -> RuleState {
        RuleState { health, ..RuleState::default() }
    }
}

impl Node {
    pub fn new(library: &Library, name: &str) -> Self {
        let plan = &library.plan;
        Node {
            name: name.into(),
            sequencer: Sequencer::default(),
            tables: plan.tables.iter().map(Table::new).collect(),
            alerts: plan.rules.iter().map(|_| Alerts::default()).collect(),
            rules: plan.rules.iter().map(|_| RuleState::default()).collect(),
            guards: library.own_guards(name),
            next_tick: vec![Timestamp::MIN; plan.groups.len()],
            next: Timestamp::MIN,
            observed_since: Timestamp::MIN,
            observed_again: None,
            last_event_at: Timestamp::MIN,
            uptime_s: 0,
            is_syncing: false,
            heard: Heard::default(),
            events: vec![0; plan.kinds.len() + 1],
            undecodable: 0,
            marks: vec![Vec::new(); plan.tables.len()],
            mark: 0,
            calls: Vec::new(),
            settled: 0,
            has_run_script: false,
        }
    }

    /// Takes an event nobody looks at: it still tells the time.
    pub fn observe(&mut self, at: Timestamp, arrival: Arrival, held: Held) -> Timestamp {
        if self.sequencer.observe(at, arrival) {
            self.sequencer.newest()
        } else {
            self.sequencer.accept(at, arrival, held)
        }
    }

    /// Notes that the node was heard of, whether or not a rule looks at the event.
    pub fn note_presence(&mut self, extractor: u32, at: Timestamp) {
        self.heard.note(extractor, at);
        if self.last_event_at == Timestamp::MIN {
            self.observed_since = at;
        } else if at.ms_since(self.last_event_at) > GAP_MS {
            self.observed_again = Some(at);
        }
        self.last_event_at = self.last_event_at.max(at);
        self.settled = 0;
    }

    /// Releases what is due and ticks up to the node's time.
    pub fn drain(&mut self, library: &Library, scratch: &mut Scratch, output: &mut Output) {
        // A node without events has no time yet to tick in.
        if self.sequencer.newest() == Timestamp::MIN {
            return;
        }
        while let Some((at, held)) = self.sequencer.pop() {
            self.tick_until(library, at, output);
            self.apply(library, scratch, at, &held, output);
        }
        let watermark = self.sequencer.watermark();
        if self.next.min(self.closes_at()) <= watermark {
            self.tick_until(library, watermark, output);
        }
    }

    fn tick_until(&mut self, library: &Library, at: Timestamp, output: &mut Output) {
        if self.next == Timestamp::MIN {
            self.start_ticks(library, at);
        }
        loop {
            // Steps of anomaly windows end before rules look at the same instant, and before the next sample.
            let closes_at = self.closes_at();
            if closes_at <= at.min(self.next) {
                let hearing = Hearing { heard: &self.heard, is_syncing: self.is_syncing };
                self.tables.iter_mut().for_each(|table| table.close_steps(closes_at, &hearing));
                continue;
            }
            if self.next > at {
                break;
            }
            let now = self.next;
            self.tick(library, now, output);
            if self.is_idle(library) {
                // Nothing can happen before the next event: a gap of a year must not take a million ticks.
                self.start_ticks(library, at);
            }
        }
    }

    /// When the next step of an anomaly window ends.
    fn closes_at(&self) -> Timestamp {
        self.tables.iter().map(Table::closes_at).min().unwrap_or(Timestamp::MAX)
    }

    fn start_ticks(&mut self, library: &Library, at: Timestamp) {
        for (next, every_ms) in self.next_tick.iter_mut().zip(&library.plan.groups) {
            *next = at.next_multiple_ms(*every_ms);
        }
        self.next = self.next_tick.iter().min().copied().unwrap_or(Timestamp::MAX);
    }

    /// True if time alone changes nothing, and every rule has seen so. Ticks may then be left out: a live engine, which
    /// takes them one by one, comes to the same.
    pub fn is_idle(&self, library: &Library) -> bool {
        self.settled == all_groups(library) && self.is_quiet(library)
    }

    /// True if nothing is held, no sample is left to leave its window, no alert to end and no pause of a rule.
    fn is_quiet(&self, library: &Library) -> bool {
        self.sequencer.is_empty()
            && self.tables.iter().all(Table::is_idle)
            && self.alerts.iter().all(Alerts::is_empty)
            && !self.has_windows_to_fill(library)
            && self.rules.iter().all(|rule| rule.skip_until.is_none())
    }

    /// From when on the windows of a rule are filled.
    pub fn filled_at(&self, library: &Library, rule: RuleId) -> Timestamp {
        self.observed_since.max(self.rules[rule].begun_at).plus_ms(library.plan.rules[rule].over_max_ms)
    }

    fn has_windows_to_fill(&self, library: &Library) -> bool {
        let rules = 0..library.plan.rules.len();
        self.observed_again.is_some()
            || rules.into_iter().any(|rule| self.next <= self.filled_at(library, rule))
    }

    /// Gives an event's samples to the windows that take it and its fields to the scripts that ask for it.
    fn apply(
        &mut self,
        library: &Library,
        scratch: &mut Scratch,
        at: Timestamp,
        held: &Held,
        output: &mut Output,
    ) {
        let Some(Some(plan)) = library.plan.kinds.get(held.kind) else { return };
        self.settled = 0;
        for window in &plan.polled {
            self.tables[window.table].columns[window.column].note_poll(at);
        }
        let event = &held.event[..];
        let walked = plan.projection.rows(event, held.body, scratch, &mut |scope, slots| {
            let scope = &plan.scopes[scope];
            scope.filters.each(slots, event, &mut |feed| {
                self.feed(&scope.feeds[feed], slots, event, at, held.kind);
            });
        });
        if let Err(error) = walked {
            self.undecodable += 1;
            output.problems.push(Problem::Undecodable {
                node: self.name.clone(),
                at,
                origin: held.origin,
                reason: error.to_string(),
            });
        }
        if !self.calls.is_empty() {
            for call in std::mem::take(&mut self.calls) {
                self.call_on_event(library, call, at, output);
            }
        }
    }

    fn feed(&mut self, feed: &Feed, slots: &[Value], event: &[u8], at: Timestamp, kind: KindId) {
        if !feed.tests.iter().all(|(slot, test)| crate::filters::passes(test, slots[*slot], event)) {
            return;
        }
        match &feed.to {
            Destination::Windows { table, key, targets } => {
                let table = &mut self.tables[*table];
                let mut row = None;
                for (column, source) in targets {
                    let Some((value, hash)) = source.sample(slots, event) else { continue };
                    // Looked up at the first sample: a key without any gets no row.
                    if row.is_none() {
                        row = table.row_for(slots, key, event, at);
                    }
                    let Some(row) = row else { return };
                    table.push(*column, row, at, value, hash);
                }
            }
            Destination::Handler { rule, table, key, fields } => {
                let Some(row) = self.tables[*table].row_for(slots, key, event, at) else { return };
                let generation = self.tables[*table].generation(row);
                let event = event_map(fields, slots, event, kind);
                self.calls.push(Call { rule: *rule, table: *table, row, generation, event });
            }
            Destination::ConnectionClosed(slot) => {
                if let Value::U64(peer_id) = slots[*slot] {
                    self.tables.iter_mut().for_each(|table| table.close_peer(peer_id, at));
                }
            }
            Destination::Uptime(slot) => {
                let Value::U64(uptime_s) = slots[*slot] else { return };
                if uptime_s < self.uptime_s {
                    for table in &mut self.tables {
                        table.close_all_peers(at);
                        table.mask(at);
                    }
                }
                self.uptime_s = uptime_s;
            }
            Destination::ExtractorState(name, state) => {
                let name = slots[*name].bytes(event);
                match slots[*state] {
                    Value::I64(EXTRACTOR_UP) => self.heard.note_up(name, at),
                    _ => self.heard.note_cut(name, at),
                }
            }
            Destination::EventsLost(name) => self.heard.note_cut(slots[*name].bytes(event), at),
            Destination::InitialDownload(slot) => self.is_syncing = slots[*slot] == Value::Bool(true),
        }
    }

    fn tick(&mut self, library: &Library, now: Timestamp, output: &mut Output) {
        let plan = &library.plan;
        let mut due = 0_u32;
        for (group, next) in self.next_tick.iter_mut().enumerate() {
            if *next <= now {
                due |= 1 << group;
                *next = now.next_multiple_ms(plan.groups[group]);
            }
        }
        self.next = self.next_tick.iter().min().copied().unwrap_or(Timestamp::MAX);
        if let Some(since) = self.observed_again.take_if(|since| *since <= now) {
            self.observed_since = since;
        }
        let was_quiet = self.is_quiet(library);
        self.has_run_script = false;
        for table in &mut self.tables {
            table.expire(now);
            for group in 0..plan.groups.len() as u32 {
                if due & (1 << group) != 0 {
                    table.columns.iter_mut().for_each(|column| column.refresh(group, now));
                }
            }
        }
        for rule in &plan.order {
            if due & (1 << plan.rules[*rule].group) != 0
                && library.rules[*rule].definition.scope == Scope::Node
            {
                self.evaluate(library, *rule, now, output);
            }
        }
        for table in &mut self.tables {
            for group in 0..plan.groups.len() as u32 {
                if due & (1 << group) != 0 {
                    table.columns.iter_mut().for_each(|column| column.clear_changed(group));
                }
            }
            table.sweep(now);
        }
        self.settled = if was_quiet && !self.has_run_script { self.settled | due } else { 0 };
    }

    /// Looks at a rule's keys whose windows changed, and ends the alerts nothing keeps alive.
    fn evaluate(&mut self, library: &Library, rule: RuleId, now: Timestamp, output: &mut Output) {
        let plan = &library.plan.rules[rule];
        if let Some(until) = self.rules[rule].skip_until {
            if now < until {
                return;
            }
            self.rules[rule].skip_until = None;
            self.rules[rule].look_at_all = true;
        }
        let filled = self.filled_at(library, rule) <= now;
        let inhibiting =
            plan.inhibitors.iter().map(|(other, _)| self.alerts[*other].count(State::Firing)).sum();
        let state = &mut self.rules[rule];
        state.event_errors = 0;
        let look_at_all = std::mem::take(&mut state.look_at_all)
            || plan.has_age
            || (plan.reads_filled && filled != state.was_filled)
            || inhibiting < state.inhibiting;
        state.was_filled = filled;
        state.inhibiting = inhibiting;
        if !look_at_all && self.alerts[rule].is_empty() && !self.has_changes(library, rule) {
            return;
        }
        let mut first_error = None;
        let mut errors = 0;
        let mut rows = self.rows_to_look_at(library, rule, look_at_all);
        if let Some(last) = self.rules[rule].looked_up_to.take() {
            // Keys that err must not keep those behind them from being looked at for ever.
            let next = rows.iter().position(|row| *row > last).unwrap_or(0);
            rows.rotate_left(next);
        }
        for row in rows {
            // One key on which the script errs must not hide the others, but each may cost all its operations.
            if let Err(complaint) = self.look_at(library, rule, row, now, filled, output) {
                first_error.get_or_insert(complaint);
                errors += 1;
            }
            if errors >= ERRORS_A_TICK_MAX {
                self.rules[rule].looked_up_to = Some(row);
                break;
            }
        }
        self.keep_unchanged(library, rule, now, output);
        if let Some(complaint) = &first_error {
            self.count_error(library, rule, complaint, now, output);
            self.back_off(library, rule, now);
        } else {
            self.rules[rule].errors_in_a_row = 0;
        }
        let mut alerts = std::mem::take(&mut self.alerts[rule]);
        alerts.note_values(now, REFRESH_MS, |key, measure| self.value_now(library, rule, key, measure, now));
        self.alerts[rule] = alerts;
        for (key, mut alert) in self.alerts[rule].settle(now, library.timing(rule)) {
            if let Some(value) = self.value_now(library, rule, &key, alert.measure(), now) {
                alert.note_value(now, value);
            }
            output.changes.push(self.change(library, rule, key, State::Resolved, &alert, now));
        }
    }

    fn has_changes(&self, library: &Library, rule: RuleId) -> bool {
        let plan = &library.plan.rules[rule];
        let mut windows = plan.windows.iter();
        windows.any(|window| !self.tables[window.table].columns[window.column].changed(plan.group).is_empty())
    }

    /// Rows that changed since the rule last looked, each once; all rows if changes were missed.
    fn rows_to_look_at(&mut self, library: &Library, rule: RuleId, all: bool) -> Vec<RowId> {
        let plan = &library.plan.rules[rule];
        if plan.windows.is_empty() {
            return Vec::new();
        }
        let table = &self.tables[plan.table];
        let changed =
            |window: &WindowRef| self.tables[window.table].columns[window.column].changed(plan.group);
        // A window without keys is part of every key's reading.
        let is_shared = |window: &WindowRef| plan.table != NODE_TABLE && window.table == NODE_TABLE;
        self.mark = self.mark.wrapping_add(1);
        let marks = &mut self.marks[plan.table];
        marks.resize(table.capacity(), 0);
        let mut rows = Vec::new();
        if all || plan.windows.iter().any(|window| is_shared(window) && !changed(window).is_empty()) {
            rows.extend(table.used_rows());
            rows.iter().for_each(|row| marks[*row as usize] = self.mark);
            return rows;
        }
        for window in plan.windows.iter().filter(|window| window.table == plan.table) {
            for row in changed(window) {
                if marks[*row as usize] != self.mark && table.is_used(*row) {
                    marks[*row as usize] = self.mark;
                    rows.push(*row);
                }
            }
        }
        rows
    }

    /// Alerts whose key was not looked at, because nothing changed for it, stay as they are.
    fn keep_unchanged(&mut self, library: &Library, rule: RuleId, now: Timestamp, output: &mut Output) {
        if self.alerts[rule].is_empty() || library.plan.rules[rule].windows.is_empty() {
            return;
        }
        let table_id = library.plan.rules[rule].table;
        let (table, marks) = (&self.tables[table_id], &self.marks[table_id]);
        let (unchanged, gone): (Vec<Key>, Vec<Key>) = self.alerts[rule]
            .keys()
            .filter(|key| table.row_of(key).is_none_or(|row| marks[row as usize] != self.mark))
            .cloned()
            .partition(|key| table.row_of(key).is_some());
        for key in &gone {
            self.alerts[rule].release(key);
        }
        for key in unchanged {
            if self.is_inhibited(library, rule, &key) {
                self.alerts[rule].release(&key);
                continue;
            }
            if let Some(state) = self.alerts[rule].keep(&key, now, library.timing(rule)) {
                output.changes.push(self.entered(library, rule, key, state, now));
            }
        }
    }

    fn look_at(
        &mut self,
        library: &Library,
        rule: RuleId,
        row: RowId,
        now: Timestamp,
        filled: bool,
        output: &mut Output,
    ) -> Result<(), Complaint> {
        let plan = &library.plan.rules[rule];
        let tables = &self.tables;
        let shown = |window: usize| {
            let window = plan.windows[window];
            let row = if window.table == NODE_TABLE { 0 } else { row };
            tables[window.table].columns[window.column].shown(row, now)
        };
        let state = &mut self.rules[rule];
        state.health.evaluations += 1;
        let guard = self.guards[rule].as_ref().or(library.common_guard(rule));
        let outlook = guard.map_or(Outlook::Unsure, |guard| guard.outlook(&shown, filled));
        let has_alerts = !self.alerts[rule].is_empty();
        match outlook {
            Outlook::Quiet if !has_alerts => return Ok(()),
            Outlook::Quiet => {
                self.alerts[rule].release(tables[plan.table].key(row));
                return Ok(());
            }
            Outlook::Finding if has_alerts && state.inhibiting == 0 => {
                let key = tables[plan.table].key(row);
                if self.alerts[rule].keep_firing(key, now, REFRESH_MS) {
                    state.health.findings += 1;
                    return Ok(());
                }
            }
            _ => {}
        }
        state.health.script_calls += 1;
        let key = tables[plan.table].key(row);
        let subject = Subject { key, node: &self.name, filled };
        let generation = tables[plan.table].generation(row);
        let mut first_state;
        // A key without events yet is checked with the state it would begin with.
        let this = match state.states.get_mut(&row) {
            Some(known) if known.life == generation => {
                self.has_run_script = true;
                &mut known.this
            }
            _ => {
                first_state = library.first_state(rule);
                &mut first_state
            }
        };
        let found = library.check(rule, &subject, shown, this)?;
        let key = key.clone();
        match found {
            Some(finding) => {
                let reading = |window| shown(window).reading();
                let found = Found { source: library.source(rule, finding.value, reading), finding };
                self.take_finding(library, rule, key, found, now, output);
            }
            None => self.alerts[rule].release(&key),
        }
        Ok(())
    }

    fn call_on_event(&mut self, library: &Library, call: Call, at: Timestamp, output: &mut Output) {
        let Call { rule, row, generation: life, .. } = call;
        let table = &mut self.tables[call.table];
        if !table.is_used(row) || table.generation(row) != life {
            return;
        }
        let state = &mut self.rules[rule];
        let is_known = state.states.get(&row).is_some_and(|known| known.life == life);
        if !is_known {
            if call.table != NODE_TABLE {
                table.hold(row);
            }
            let this = library.first_state(rule);
            state.states.insert(row, KeyState { life, this, skip_until: None, errors_in_a_row: 0 });
        }
        let known = state.states.get_mut(&row).expect("inserted above");
        if state.skip_until.max(known.skip_until).is_some_and(|until| at < until) {
            state.health.skipped += 1;
            return;
        }
        state.health.evaluations += 1;
        state.health.script_calls += 1;
        let key = table.key(row).clone();
        match library.on_event(rule, &self.name, call.event, &mut known.this) {
            Ok(found) => {
                (known.skip_until, known.errors_in_a_row) = (None, 0);
                if let Some(finding) = found {
                    let found = Found { finding, source: None };
                    self.take_finding(library, rule, key.clone(), found, at, output);
                    // An event is over as soon as it is seen.
                    self.alerts[rule].release(&key);
                }
            }
            Err(complaint) => {
                known.skip_until = Some(at.plus_ms(pause_ms(library, rule, known.errors_in_a_row)));
                known.errors_in_a_row += 1;
                state.event_errors += 1;
                if state.event_errors >= ERRORS_A_TICK_MAX {
                    state.event_errors = 0;
                    self.back_off(library, rule, at);
                }
                self.count_error(library, rule, &complaint, at, output);
            }
        }
    }

    fn take_finding(
        &mut self,
        library: &Library,
        rule: RuleId,
        key: Key,
        found: Found,
        now: Timestamp,
        output: &mut Output,
    ) {
        self.rules[rule].health.findings += 1;
        let alerts = &self.alerts[rule];
        if alerts.len() >= library.plan.tables[library.plan.rules[rule].table].keys_max
            && alerts.get(&key).is_none()
        {
            // Alerts outlive their keys, so the cap on keys alone does not bound them.
            self.rules[rule].health.crowded_out += 1;
            return;
        }
        if self.is_inhibited(library, rule, &key) {
            self.rules[rule].health.inhibited += 1;
            self.alerts[rule].release(&key);
            return;
        }
        let is_new = self.alerts[rule].get(&key).is_none();
        let telling =
            found.telling(
                |source| {
                    if is_new { self.series(library, rule, &key, source, now) } else { Series::new() }
                },
            );
        if let Some(state) = self.alerts[rule].refresh(key.clone(), telling, now, library.timing(rule)) {
            output.changes.push(self.entered(library, rule, key, state, now));
        }
    }

    /// True while a rule that inhibits this one fires: on the node, or on the same key where their keys are the same.
    fn is_inhibited(&self, library: &Library, rule: RuleId, key: &Key) -> bool {
        library.plan.rules[rule].inhibitors.iter().any(|(other, same_key)| {
            let alerts = &self.alerts[*other];
            if *same_key {
                alerts.get(key).is_some_and(|alert| alert.state == State::Firing)
            } else {
                alerts.any_firing()
            }
        })
    }

    /// Leaves a rule that erred alone for a while. Its alerts stay as they are.
    fn back_off(&mut self, library: &Library, rule: RuleId, now: Timestamp) {
        let state = &mut self.rules[rule];
        state.skip_until = Some(now.plus_ms(pause_ms(library, rule, state.errors_in_a_row)));
        state.errors_in_a_row += 1;
    }

    fn count_error(
        &mut self,
        library: &Library,
        rule: RuleId,
        complaint: &Complaint,
        at: Timestamp,
        output: &mut Output,
    ) {
        let error = RuleError::new(&library.rules[rule].path, complaint);
        let health = &mut self.rules[rule].health;
        health.failures += 1;
        health.last_error = Some(error.to_string());
        output.problems.push(Problem::Rule { node: self.name.clone(), at, error });
    }

    /// An alert that is there entered a state.
    fn entered(&self, library: &Library, rule: RuleId, key: Key, state: State, at: Timestamp) -> Change {
        let alert = self.alerts[rule].get(&key).expect("it entered a state just now");
        self.change(library, rule, key, state, alert, at)
    }

    fn change(
        &self,
        library: &Library,
        rule: RuleId,
        key: Key,
        state: State,
        alert: &Alert,
        at: Timestamp,
    ) -> Change {
        Change {
            at,
            rule: library.names[rule].clone(),
            node: self.name.clone(),
            key: AlertKey { names: library.key_names[rule].clone(), key },
            state,
            severity: alert.severity(library.rules[rule].definition.severity),
            value: alert.finding.value,
            limit: alert.finding.limit,
            summary: alert.finding.summary.clone(),
            since: alert.began_at(),
            evidence: alert.evidence(),
        }
    }
}

/// How long a rule is left alone after so many errors in a row.
fn pause_ms(library: &Library, rule: RuleId, errors_in_a_row: u32) -> i64 {
    let every_ms = library.plan.groups[library.plan.rules[rule].group as usize];
    (every_ms << errors_in_a_row.min(12)).min(BACK_OFF_MAX_MS.max(every_ms))
}

fn all_groups(library: &Library) -> Groups {
    Groups::MAX.checked_shr(Groups::BITS - library.plan.groups.len() as u32).unwrap_or(0)
}

impl Source {
    /// The number a window takes from a row, and the hash where different values are counted.
    fn sample(self, slots: &[Value], event: &[u8]) -> Option<(f64, u64)> {
        match self {
            Source::Presence(None) => Some((1.0, 0)),
            Source::Presence(Some(slot)) => (slots[slot] != Value::Absent).then_some((1.0, 0)),
            Source::Number(slot) => slots[slot].number().map(|value| (value, 0)),
            Source::Identity(slot) => {
                (slots[slot] != Value::Absent).then(|| (1.0, hash_of_value(slots[slot], event)))
            }
            Source::Netgroup(slot) => {
                (slots[slot] != Value::Absent).then(|| (1.0, hash_of_netgroup(slots[slot].bytes(event))))
            }
        }
    }
}

/// The fields of an event as a script sees them: `e.kind` and whatever else it reads.
fn event_map(fields: &[HandlerField], slots: &[Value], event: &[u8], kind: KindId) -> Map {
    let mut map = Map::new();
    let kinds = tocsin_proto::schema::Schema::embedded().kinds();
    map.insert("kind".into(), kinds[kind].name.clone().into());
    for field in fields {
        let value = field.slot.map_or(Dynamic::UNIT, |slot| dynamic_of_value(slots[slot], field, event));
        insert(&mut map, &field.path, value);
    }
    map
}

fn insert(map: &mut Map, path: &[String], value: Dynamic) {
    match path {
        [] => {}
        [name] => {
            map.insert(name.as_str().into(), value);
        }
        [name, rest @ ..] => {
            let entry = map.entry(name.as_str().into()).or_insert_with(|| Map::new().into());
            if let Ok(mut inner) = entry.as_map_mut() {
                insert(&mut inner, rest, value);
            }
        }
    }
}

fn dynamic_of_value(value: Value, field: &HandlerField, event: &[u8]) -> Dynamic {
    match value {
        Value::Absent => Dynamic::UNIT,
        // Numbers beyond 2^63 have no integer in the script language.
        Value::U64(value) => i64::try_from(value).map_or_else(|_| (value as f64).into(), Dynamic::from),
        Value::I64(value) => value.into(),
        Value::F64(value) => value.into(),
        Value::Bool(value) => value.into(),
        Value::Bytes { .. } if field.is_text => {
            String::from_utf8_lossy(value.bytes(event)).into_owned().into()
        }
        Value::Bytes { .. } if field.is_hash => hex(value.bytes(event).iter().rev()).into(),
        Value::Bytes { .. } => hex(value.bytes(event).iter()).into(),
    }
}
