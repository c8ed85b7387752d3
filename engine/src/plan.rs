//! All rules merged into one plan: what to take from each event kind, and which windows it goes to.
//!
//! The plan is made once when rules are loaded and shared by all nodes. Work per event depends on the windows that
//! take the event, not on the number of rules: paths are merged into one walk, filters into one tree, keys into
//! shared tables, and equal windows are one.

use serde::{Deserialize, Serialize};
use tocsin_proto::schema::{Presence, Schema, Type};

use crate::filters::{Equalities, FeedId, FilterTree};
use crate::project::path::{self, FieldPath, KindId};
use crate::project::plan::{Projection, ProjectionBuilder, ScopeId, Slot, Use};
use crate::project::walk::{Value, WalkError, read, skip, varint};
use crate::rules::definition::{Condition, Scope, Test};
use crate::rules::{Rule, RuleError};
use crate::windows::column::Groups;
use crate::windows::table::{ColumnId, TableDef};
use crate::windows::watch::{HeardBy, Take};
use crate::windows::{Aggregate, Window};

/// Index of a rule.
pub type RuleId = usize;
/// Index of a table of each node.
pub type TableId = usize;

/// The table without key fields, one row for the whole node.
pub const NODE_TABLE: TableId = 0;
/// The kind and field that tell of a closed connection, and the one that tells of a restart.
const CONNECTION_CLOSED: &str = "connection.closed.peer_id";
const UPTIME: &str = "uptime";
/// The field that tells that a node loads the chain for the first time.
const INITIAL_DOWNLOAD: &str = "blockchain_info.initialblockdownload";
/// The fields in which the monitor says of itself what it hears.
const EXTRACTOR_STATE: [&str; 2] = ["extractor.name", "extractor.state"];
const EVENTS_LOST: &str = "events_lost.extractor";

/// All rules merged.
#[derive(Debug)]
pub struct Plan {
    choices: Choices,
    /// What is taken from each kind; none of the kinds that no rule looks at.
    pub kinds: Vec<Option<KindPlan>>,
    /// The tables of each node.
    pub tables: Vec<TableDef>,
    /// What each table and its windows are, in words that other rules or a later version of the program have too.
    pub identities: Vec<TableIdentity>,
    /// Time between ticks of each group of rules, in milliseconds.
    pub groups: Vec<i64>,
    /// One for each rule, in the order of the rules.
    pub rules: Vec<RulePlan>,
    /// Rules in the order they are evaluated: those that inhibit others first.
    pub order: Vec<RuleId>,
}

/// What makes a table and its windows what they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableIdentity {
    /// Name of each key field, and whether it is text.
    pub keys: Vec<(String, bool)>,
    /// The whole definition of each window, in the order of the columns.
    pub windows: Vec<String>,
}

/// Where an event kind is on the way down from the event.
#[derive(Debug)]
enum Place {
    Kind(KindId, Type),
    Choice(Choices),
}

/// Members of a oneof by their field number; numbers are small, so a list is the quickest map.
type Choices = Vec<Option<Place>>;

/// What is taken from events of one kind.
#[derive(Debug)]
pub struct KindPlan {
    /// The walk.
    pub projection: Projection,
    /// What each scope's rows go to.
    pub scopes: Vec<ScopePlan>,
    /// Windows for which an event of the kind is the answer to a poll.
    pub polled: Vec<WindowRef>,
}

/// What the rows of one scope go to.
#[derive(Debug, Default)]
pub struct ScopePlan {
    /// Finds the feeds whose equality tests a row passes.
    pub filters: FilterTree,
    /// What rows go to.
    pub feeds: Vec<Feed>,
}

/// Rows that pass a filter, and where they go.
#[derive(Debug)]
pub struct Feed {
    /// What is left of the filter after the equality tests.
    pub tests: Vec<(Slot, Test)>,
    /// Where rows go.
    pub to: Destination,
}

/// Where a row goes.
#[derive(Debug)]
pub enum Destination {
    /// Samples for windows of one table.
    Windows {
        /// The table.
        table: TableId,
        /// The key's fields.
        key: Vec<Slot>,
        /// The windows and what each takes.
        targets: Vec<(ColumnId, Source)>,
    },
    /// A rule's `on_event`.
    Handler {
        /// The rule.
        rule: RuleId,
        /// The table of the rule's keys.
        table: TableId,
        /// The key's fields.
        key: Vec<Slot>,
        /// What the script reads.
        fields: Vec<HandlerField>,
    },
    /// A peer's connection has closed; the slot holds its id.
    ConnectionClosed(Slot),
    /// How long the node has been up, in seconds.
    Uptime(Slot),
    /// Whether the node loads the chain for the first time.
    InitialDownload(Slot),
    /// An extractor says whether it reads the node: its name and its state.
    ExtractorState(Slot, Slot),
    /// Events of an extractor are missing; the slot holds its name.
    EventsLost(Slot),
}

/// What a window takes from a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source {
    /// That the row is there, and the field if there is one.
    Presence(Option<Slot>),
    /// The field as a number.
    Number(Slot),
    /// The field as one of different values.
    Identity(Slot),
    /// The text of an address, by its netgroup.
    Netgroup(Slot),
}

/// A field a script reads of an event.
#[derive(Debug)]
pub struct HandlerField {
    /// Its names below `e`.
    pub path: Vec<String>,
    /// Where the walk puts it; none if this event kind has no such field.
    pub slot: Option<Slot>,
    /// Text, as opposed to bytes.
    pub is_text: bool,
    /// A hash, shown in the reversed order everybody writes hashes in.
    pub is_hash: bool,
}

/// What the engine needs to evaluate a rule.
#[derive(Debug)]
pub struct RulePlan {
    /// The table of its keys.
    pub table: TableId,
    /// Its windows in the order of their declaration.
    pub windows: Vec<WindowRef>,
    /// The group it ticks with.
    pub group: u32,
    /// Longest span of its windows.
    pub over_max_ms: i64,
    /// It has a window whose reading changes without samples.
    pub has_age: bool,
    /// Its script asks whether the windows are filled.
    pub reads_filled: bool,
    /// Rules that inhibit it, and whether key by key.
    pub inhibitors: Vec<(RuleId, bool)>,
}

/// Where a window of a rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowRef {
    /// The table.
    pub table: TableId,
    /// The column.
    pub column: ColumnId,
}

impl Plan {
    /// Merges rules. A rule that cannot be merged is reported and left out of everything but the numbering.
    ///
    /// `known` are the names of all rule files, so that a rule may name one that failed to load.
    pub fn new(schema: &Schema, rules: &[Rule], known: &[String]) -> Result<Plan, Vec<RuleError>> {
        let mut builder = Builder::new(schema);
        let mut errors = Vec::new();
        let inhibitors = inhibitors(rules, known, &mut errors);
        for (id, rule) in rules.iter().enumerate() {
            if let Err(message) = builder.add_rule(id, rule) {
                errors.push(RuleError { path: rule.path.clone(), place: None, message });
            }
        }
        let order = order(rules, &inhibitors, &mut errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(builder.build(inhibitors, order))
    }

    /// The kind of an event and where its value is, from its extractor's number and the extractor's message.
    ///
    /// `None` for a kind this schema does not know.
    pub fn classify(
        &self,
        event: &[u8],
        extractor: u32,
        body: Value,
    ) -> Result<Option<(KindId, Value)>, WalkError> {
        let Some(Some(mut place)) = self.choices.get(extractor as usize).map(Option::as_ref) else {
            return Ok(None);
        };
        let mut value = body;
        while let Place::Choice(choices) = place {
            let Some((chosen, chosen_value)) = choose(choices, event, value)? else { return Ok(None) };
            (place, value) = (chosen, chosen_value);
        }
        match place {
            Place::Kind(kind, _) => Ok(Some((*kind, value))),
            Place::Choice(_) => Ok(None),
        }
    }
}

/// The member of a oneof that a message holds; of several the last counts, as in protobuf.
fn choose<'p>(
    choices: &'p Choices,
    event: &[u8],
    message: Value,
) -> Result<Option<(&'p Place, Value)>, WalkError> {
    let Value::Bytes { start, len } = message else { return Ok(None) };
    let (mut at, end) = (start as usize, start as usize + len as usize);
    let message = event.get(..end).ok_or(WalkError::CutShort)?;
    let mut found = None;
    while at < end {
        let (key, after_key) = varint(message, at)?;
        let (number, wire_type) = ((key >> 3) as u32, (key & 7) as u8);
        at = match choices.get(number as usize).and_then(Option::as_ref) {
            Some(place) => {
                let ty = match place {
                    Place::Kind(_, ty) => *ty,
                    Place::Choice(_) => Type::Message(0),
                };
                let (value, after) = read(ty, message, after_key, number, wire_type)?;
                found = Some((place, value));
                after
            }
            None => skip(message, after_key, wire_type)?,
        };
    }
    Ok(found)
}

/// The rules that inhibit each rule.
fn inhibitors(rules: &[Rule], known: &[String], errors: &mut Vec<RuleError>) -> Vec<Vec<(RuleId, bool)>> {
    let find = |name: &str| rules.iter().position(|rule| rule.name == name);
    let mut all = Vec::new();
    for rule in rules {
        let mut of_rule = Vec::new();
        for (name, position) in &rule.definition.unless {
            let of_fleet = |rule: &Rule| rule.definition.scope == Scope::Fleet;
            if of_fleet(rule) || find(name).is_some_and(|other| of_fleet(&rules[other])) {
                let message =
                    "unless: fleet rules neither inhibit nor are inhibited: they have no node".to_string();
                errors.push(RuleError {
                    path: rule.path.clone(),
                    place: line_and_column(*position),
                    message,
                });
                continue;
            }
            match find(name) {
                Some(other) => {
                    let same_keys = !rule.key_names.is_empty() && rules[other].key_names == rule.key_names;
                    of_rule.push((other, same_keys));
                }
                None if known.contains(name) => {}
                None => {
                    let nearest = path::nearest_names(known.iter().cloned(), name);
                    let message =
                        format!("unless: there is no rule {name:?}, nearest: {}", nearest.join(", "));
                    errors.push(RuleError {
                        path: rule.path.clone(),
                        place: line_and_column(*position),
                        message,
                    });
                }
            }
        }
        all.push(of_rule);
    }
    all
}

fn line_and_column(position: rhai::Position) -> Option<(usize, usize)> {
    position.line().map(|line| (line, position.position().unwrap_or(1)))
}

/// Rules in an order in which those that inhibit come before those they inhibit.
fn order(rules: &[Rule], inhibitors: &[Vec<(RuleId, bool)>], errors: &mut Vec<RuleError>) -> Vec<RuleId> {
    let mut order: Vec<RuleId> = Vec::new();
    let mut waiting: Vec<RuleId> = (0..rules.len()).collect();
    while !waiting.is_empty() {
        let (ready, blocked): (Vec<RuleId>, Vec<RuleId>) = waiting
            .iter()
            .partition(|rule| inhibitors[**rule].iter().all(|(other, _)| order.contains(other)));
        if ready.is_empty() {
            let rule = &rules[blocked[0]];
            let message = "unless: these rules inhibit each other in a circle".to_string();
            errors.push(RuleError { path: rule.path.clone(), place: None, message });
            break;
        }
        order.extend(ready);
        waiting = blocked;
    }
    order
}

struct Builder<'s> {
    schema: &'s Schema,
    kinds: Vec<Option<KindBuilder>>,
    tables: Vec<TableDef>,
    identities: Vec<TableIdentity>,
    groups: Vec<i64>,
    rules: Vec<RulePlan>,
}

struct KindBuilder {
    projection: ProjectionBuilder,
    feeds: Vec<FeedBuilder>,
    polled: Vec<WindowRef>,
}

struct FeedBuilder {
    scope: ScopeId,
    equalities: Equalities,
    tests: Vec<(Slot, Test)>,
    to: Destination,
}

impl<'s> Builder<'s> {
    fn new(schema: &'s Schema) -> Self {
        let node = TableDef {
            key_names: Vec::new(),
            peer_part: None,
            keys_max: 1,
            columns: Vec::new(),
            every_max_ms: 0,
        };
        Builder {
            schema,
            kinds: schema.kinds().iter().map(|_| None).collect(),
            tables: vec![node],
            identities: vec![TableIdentity { keys: Vec::new(), windows: Vec::new() }],
            groups: Vec::new(),
            rules: Vec::new(),
        }
    }

    fn add_rule(&mut self, id: RuleId, rule: &Rule) -> Result<(), String> {
        let definition = &rule.definition;
        let group = self.group(definition.every.as_millis() as i64)?;
        let table = self.table(rule);
        let mut windows = Vec::new();
        for window in &definition.windows {
            let by = rule.key_paths(self.schema, window.value.kind, window.by.as_deref())?;
            let table = if by.is_empty() { NODE_TABLE } else { table };
            // Fleet rules read their windows at their own ticks and keep no list of changes.
            let groups = if definition.scope == Scope::Fleet { 0 } else { 1 << group };
            let place = Wanted { table, by: &by, window: window.window, groups };
            windows.push(self.window(&window.value, &window.filter, &place)?);
        }
        for on in &definition.on {
            let by = rule.key_paths(self.schema, on.kind, None)?;
            let reads = rule.script.on_event.iter().flat_map(|function| function.reads_of(0));
            let paths: Vec<&Vec<String>> =
                reads.map(|read| &read.path).filter(|path| **path != ["kind"]).collect();
            self.handler(id, table, on.kind, &on.filter, &by, &paths)?;
        }
        let reads_filled =
            rule.script.check.iter().any(|check| {
                !check.escapes.is_empty() || check.reads_of(0).any(|read| read.path[0] == "filled")
            });
        // An anomaly window says itself whether it has seen enough.
        let filling = definition.windows.iter().filter(|window| window.window.watched().is_none());
        self.rules.push(RulePlan {
            table,
            windows,
            group,
            over_max_ms: filling.map(|window| window.window.over_ms).max().unwrap_or(0),
            has_age: definition.windows.iter().any(|window| window.window.aggregate == Aggregate::Age),
            reads_filled,
            inhibitors: Vec::new(),
        });
        Ok(())
    }

    fn group(&mut self, every_ms: i64) -> Result<u32, String> {
        let group = match self.groups.iter().position(|known| *known == every_ms) {
            Some(group) => group,
            None => {
                self.groups.push(every_ms);
                self.groups.len() - 1
            }
        };
        if group >= Groups::BITS as usize {
            return Err(format!("every: the rules use more than {} different intervals", Groups::BITS));
        }
        Ok(group as u32)
    }

    fn table(&mut self, rule: &Rule) -> TableId {
        let definition = &rule.definition;
        let every_ms = definition.every.as_millis() as i64;
        let is_text = |path: &FieldPath| matches!(path.field.ty, Type::Str | Type::Bytes);
        let keys: Vec<(String, bool)> =
            rule.key_names.iter().cloned().zip(definition.by.iter().map(is_text)).collect();
        let id = match self.identities.iter().position(|known| known.keys == keys) {
            Some(id) => id,
            None => {
                self.identities.push(TableIdentity { keys, windows: Vec::new() });
                self.tables.push(TableDef {
                    key_names: rule.key_names.clone(),
                    peer_part: definition.by.iter().position(|path| path.field.is_peer_id()),
                    keys_max: 1,
                    columns: Vec::new(),
                    every_max_ms: 0,
                });
                self.tables.len() - 1
            }
        };
        let table = &mut self.tables[id];
        table.keys_max = table.keys_max.max(definition.keys_max);
        table.every_max_ms = table.every_max_ms.max(every_ms);
        id
    }

    fn kind(&mut self, kind: KindId) -> &mut KindBuilder {
        let field = &self.schema.kinds()[kind].field;
        self.kinds[kind].get_or_insert_with(|| KindBuilder {
            projection: ProjectionBuilder::new(field),
            feeds: Vec::new(),
            polled: Vec::new(),
        })
    }

    /// The column of a window; the one that is already there if a rule asked for the same before.
    fn window(
        &mut self,
        value: &FieldPath,
        filter: &[Condition],
        wanted: &Wanted,
    ) -> Result<WindowRef, String> {
        let identity = identity(self.schema, value, filter, wanted);
        let known = &self.identities[wanted.table].windows;
        if let Some(column) = known.iter().position(|known| *known == identity) {
            self.tables[wanted.table].columns[column].1 |= wanted.groups;
            return Ok(WindowRef { table: wanted.table, column });
        }
        let usage = if wanted.window.aggregate.needs_number() { Use::Number } else { Use::Each };
        let is_kind_itself = value.routes[0].is_empty() && matches!(value.field.ty, Type::Message(_));
        let mut paths: Vec<(&FieldPath, Use)> = Vec::new();
        if !is_kind_itself {
            paths.push((value, usage));
        }
        paths.extend(wanted.by.iter().map(|path| (path, Use::Each)));
        paths.extend(filter.iter().map(|condition| (&condition.field, usage_of(condition))));
        let placements = self.kind(value.kind).projection.place(&paths).map_err(|error| error.to_string())?;

        let columns = &mut self.tables[wanted.table].columns;
        let column = columns.len();
        columns.push((wanted.window, wanted.groups));
        self.identities[wanted.table].windows.push(identity);
        for placement in placements {
            let mut slots = placement.slots.iter().copied();
            let value_slot = if is_kind_itself { None } else { slots.next() };
            let key: Vec<Slot> = slots.by_ref().take(wanted.by.len()).collect();
            let (equalities, tests) = split_filter(filter, slots);
            let source = match (wanted.window.aggregate, value_slot) {
                (Aggregate::Count | Aggregate::Age, slot) => Source::Presence(slot),
                (Aggregate::Distinct, Some(slot)) => Source::Identity(slot),
                (Aggregate::Anomaly(watched), Some(slot)) if watched.take == Take::TopShare => {
                    Source::Netgroup(slot)
                }
                (Aggregate::Anomaly(watched), slot) if !watched.take.needs_number() => Source::Presence(slot),
                (_, Some(slot)) => Source::Number(slot),
                (_, None) => Source::Presence(None),
            };
            let feed = FeedBuilder {
                scope: placement.scope,
                equalities,
                tests,
                to: Destination::Windows { table: wanted.table, key, targets: Vec::new() },
            };
            self.add_target(value.kind, feed, (column, source));
        }
        let window = WindowRef { table: wanted.table, column };
        if wanted.window.watched().is_some_and(|watched| watched.heard_by == HeardBy::Polls) {
            self.kind(value.kind).polled.push(window);
        }
        Ok(window)
    }

    /// Adds a window to the feed that takes the same rows, if there is one.
    fn add_target(&mut self, kind: KindId, feed: FeedBuilder, target: (ColumnId, Source)) {
        let builder = self.kinds[kind].as_mut().expect("made by `kind` before");
        let same = |known: &&mut FeedBuilder| known.takes_the_same_rows(&feed);
        let feed = match builder.feeds.iter_mut().find(same) {
            Some(known) => known,
            None => {
                builder.feeds.push(feed);
                builder.feeds.last_mut().expect("just pushed")
            }
        };
        let Destination::Windows { targets, .. } = &mut feed.to else { unreachable!("windows feed windows") };
        if !targets.contains(&target) {
            targets.push(target);
        }
    }

    fn handler(
        &mut self,
        rule: RuleId,
        table: TableId,
        kind: KindId,
        filter: &[Condition],
        by: &[FieldPath],
        reads: &[&Vec<String>],
    ) -> Result<(), String> {
        let schema = self.schema;
        let fields: Vec<(Vec<String>, FieldPath)> = reads
            .iter()
            .filter_map(|read| Some(((*read).clone(), path::resolve_in(schema, kind, &read.join(".")).ok()?)))
            .collect();
        let mut paths: Vec<(&FieldPath, Use)> = by.iter().map(|path| (path, Use::Each)).collect();
        paths.extend(filter.iter().map(|condition| (&condition.field, usage_of(condition))));
        paths.extend(fields.iter().map(|(_, path)| (path, field_usage(path))));
        let builder = self.kind(kind);
        let placements = builder.projection.place(&paths).map_err(|error| error.to_string())?;
        for placement in placements {
            let mut slots = placement.slots.iter().copied();
            let key: Vec<Slot> = slots.by_ref().take(by.len()).collect();
            let (equalities, tests) = split_filter(filter, slots.by_ref().take(filter.len()));
            let field = |((names, path), slot): (&(Vec<String>, FieldPath), Slot)| HandlerField {
                path: names.clone(),
                slot: Some(slot),
                is_text: path.field.ty == Type::Str,
                is_hash: path.field.unit.as_deref() == Some("hash"),
            };
            let mut fields: Vec<HandlerField> = fields.iter().zip(slots).map(field).collect();
            let absent = reads.iter().filter(|read| fields.iter().all(|field| field.path != ***read));
            let absent: Vec<HandlerField> = absent
                .map(|read| HandlerField {
                    path: (*read).clone(),
                    slot: None,
                    is_text: false,
                    is_hash: false,
                })
                .collect();
            fields.extend(absent);
            let to = Destination::Handler { rule, table, key, fields };
            builder.feeds.push(FeedBuilder { scope: placement.scope, equalities, tests, to });
        }
        Ok(())
    }

    /// Peers' keys go when their connections close or the node restarts. A restart and the first load of the chain mask
    /// anomaly windows.
    fn add_node_watch(&mut self) {
        let has_peers = self.tables.iter().any(|table| table.peer_part.is_some());
        let mut columns = self.tables.iter().flat_map(|table| &table.columns);
        let has_watched = columns.any(|(window, _)| window.watched().is_some());
        type To = fn(&[Slot]) -> Destination;
        let wanted: [(&[&str], bool, To); 5] = [
            (&[CONNECTION_CLOSED], has_peers, |slots| Destination::ConnectionClosed(slots[0])),
            (&[UPTIME], has_peers || has_watched, |slots| Destination::Uptime(slots[0])),
            (&[INITIAL_DOWNLOAD], has_watched, |slots| Destination::InitialDownload(slots[0])),
            (&EXTRACTOR_STATE, has_watched, |slots| Destination::ExtractorState(slots[0], slots[1])),
            (&[EVENTS_LOST], has_watched, |slots| Destination::EventsLost(slots[0])),
        ];
        for (names, _, to) in wanted.into_iter().filter(|(_, is_wanted, _)| *is_wanted) {
            let path = |name: &&str| path::resolve(self.schema, name).expect("a path of our own schema");
            let paths: Vec<FieldPath> = names.iter().map(path).collect();
            let uses: Vec<(&FieldPath, Use)> = paths.iter().map(|path| (path, Use::Each)).collect();
            let builder = self.kind(paths[0].kind);
            let placements = builder.projection.place(&uses).expect("they are side by side");
            for placement in placements {
                let to = to(&placement.slots);
                builder.feeds.push(FeedBuilder {
                    scope: placement.scope,
                    equalities: Vec::new(),
                    tests: Vec::new(),
                    to,
                });
            }
        }
    }

    fn build(mut self, inhibitors: Vec<Vec<(RuleId, bool)>>, order: Vec<RuleId>) -> Plan {
        self.add_node_watch();
        for (rule, inhibitors) in self.rules.iter_mut().zip(inhibitors) {
            rule.inhibitors = inhibitors;
        }
        let schema = self.schema;
        let kinds = self.kinds.into_iter().map(|kind| kind.map(|kind| kind.build(schema))).collect();
        Plan {
            choices: choices(schema),
            kinds,
            tables: self.tables,
            identities: self.identities,
            groups: self.groups,
            rules: self.rules,
            order,
        }
    }
}

/// All that makes a window what it is: two rules that ask for the same share it.
fn identity(schema: &Schema, value: &FieldPath, filter: &[Condition], wanted: &Wanted) -> String {
    let path = |path: &FieldPath| {
        let routes: Vec<String> = path.routes.iter().map(|route| path::joined(route)).collect();
        format!("{} {}", schema.kinds()[path.kind].name, routes.join("|"))
    };
    let mut conditions: Vec<String> =
        filter.iter().map(|condition| format!("{} {:?}", path(&condition.field), condition.test)).collect();
    conditions.sort();
    let by: Vec<String> = wanted.by.iter().map(path).collect();
    format!("{} {by:?} {conditions:?} {:?}", path(value), wanted.window)
}

/// A window that a rule asks for.
struct Wanted<'a> {
    table: TableId,
    by: &'a [FieldPath],
    window: Window,
    groups: Groups,
}

impl FeedBuilder {
    fn takes_the_same_rows(&self, other: &FeedBuilder) -> bool {
        let (
            Destination::Windows { table, key, .. },
            Destination::Windows { table: other_table, key: other_key, .. },
        ) = (&self.to, &other.to)
        else {
            return false;
        };
        (self.scope, &self.equalities, &self.tests) == (other.scope, &other.equalities, &other.tests)
            && (table, key) == (other_table, other_key)
    }
}

impl KindBuilder {
    fn build(self, schema: &Schema) -> KindPlan {
        let projection = self.projection.build(schema);
        let mut filters: Vec<Vec<(FeedId, Equalities)>> =
            projection.scopes.iter().map(|_| Vec::new()).collect();
        let mut feeds: Vec<Vec<Feed>> = projection.scopes.iter().map(|_| Vec::new()).collect();
        for feed in self.feeds {
            filters[feed.scope].push((feeds[feed.scope].len(), feed.equalities));
            feeds[feed.scope].push(Feed { tests: feed.tests, to: feed.to });
        }
        let scopes = filters
            .into_iter()
            .zip(feeds)
            .map(|(filters, feeds)| ScopePlan { filters: FilterTree::new(filters), feeds })
            .collect();
        KindPlan { projection, scopes, polled: self.polled }
    }
}

/// How a condition uses its field: ranges take a list's length, everything else its elements.
fn usage_of(condition: &Condition) -> Use {
    match condition.test {
        Test::Range { .. } => Use::Number,
        _ => Use::Each,
    }
}

/// How a script reads a field: a list as its length.
fn field_usage(path: &FieldPath) -> Use {
    if path.field.is_repeated() { Use::Number } else { Use::Each }
}

/// Parts a filter into what the tree tests and what is tested at its leaves.
fn split_filter(filter: &[Condition], slots: impl Iterator<Item = Slot>) -> (Equalities, Vec<(Slot, Test)>) {
    let (mut equalities, mut tests) = (Vec::new(), Vec::new());
    for (condition, slot) in filter.iter().zip(slots) {
        match &condition.test {
            Test::In(operands) => equalities.push((slot, operands.clone())),
            test => tests.push((slot, test.clone())),
        }
    }
    (equalities, tests)
}

/// The kinds by the field numbers on the way to them.
fn choices(schema: &Schema) -> Choices {
    let mut top = Choices::new();
    for (id, kind) in schema.kinds().iter().enumerate() {
        let Some((last, before)) = kind.numbers.split_last() else { continue };
        let mut choices = &mut top;
        for number in before {
            let place = place_of(choices, *number).get_or_insert_with(|| Place::Choice(Choices::new()));
            let Place::Choice(deeper) = place else { unreachable!("a kind is no part of another") };
            choices = deeper;
        }
        debug_assert!(kind.field.presence != Presence::Repeated);
        *place_of(choices, *last) = Some(Place::Kind(id, kind.field.ty));
    }
    top
}

fn place_of(choices: &mut Choices, number: u32) -> &mut Option<Place> {
    let index = number as usize;
    if choices.len() <= index {
        choices.resize_with(index + 1, || None);
    }
    &mut choices[index]
}
