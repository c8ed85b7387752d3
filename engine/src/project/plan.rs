//! All field paths of one event kind, merged into a tree of tags that is walked once per event.
//!
//! A *scope* is where rows come from: the event itself, or the elements of one list in it (`peer_infos` has a scope
//! per peer). A *slot* is where the walk puts one value. A placement says in which scope a set of paths meets and
//! in which slots their values are; it is made once per window and shared wherever the paths are the same.

use std::collections::BTreeMap;

use tocsin_proto::schema::{Field, Presence, Schema, Type};

use super::path::{FieldPath, joined};
use super::walk::{Action, Entry, Node, Value};

/// Index of a value in [`super::walk::Scratch`].
pub type Slot = usize;
/// Index of a scope; 0 is the event itself.
pub type ScopeId = usize;
/// Index of a node of the tag tree.
pub type NodeId = usize;

/// What the walk takes from events of one kind.
#[derive(Debug)]
pub struct Projection {
    pub(super) nodes: Vec<Node>,
    /// The scopes; 0 is the event itself.
    pub scopes: Vec<Scope>,
    pub(super) slots: usize,
}

/// The event itself or the elements of one list.
#[derive(Debug, Default)]
pub struct Scope {
    /// Node walked for each element; none for lists of plain values.
    pub(super) node: Option<NodeId>,
    /// Slots that hold the element itself.
    pub(super) element_slots: Vec<Slot>,
    /// Slots emptied before each element.
    pub(super) slots: Vec<Slot>,
    /// Scopes of the lists within an element.
    pub children: Vec<ScopeId>,
}

/// How a path is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// As one number: a list gives its length.
    Number,
    /// As the value of a key or a filter, or to be counted: a list gives each of its elements.
    Each,
}

/// A set of paths that meet in one scope.
#[derive(Debug, Clone)]
pub struct Placement {
    /// Where rows come from.
    pub scope: ScopeId,
    /// One slot a path, in the order asked for.
    pub slots: Vec<Slot>,
}

/// The paths cannot be put side by side.
#[derive(Debug, thiserror::Error)]
#[error("{} are in different lists of the event, expected fields of one list and of what encloses it", .0.join(" and "))]
pub struct DifferentLists(Vec<String>);

/// Merges paths of one kind; see the module's head.
#[derive(Debug)]
pub struct ProjectionBuilder {
    nodes: Vec<NodeBuilder>,
    scopes: Vec<Scope>,
    slots: usize,
    shared: BTreeMap<(ScopeId, String), Slot>,
}

#[derive(Debug, Default)]
struct NodeBuilder {
    fields: BTreeMap<u32, EntryBuilder>,
}

#[derive(Debug)]
struct EntryBuilder {
    field: Field,
    reads: Vec<Slot>,
    lengths: Vec<Slot>,
    marks: Vec<Slot>,
    child: Option<NodeId>,
    list: Option<ScopeId>,
}

impl ProjectionBuilder {
    /// Nothing taken yet from events whose kind is the field `kind`.
    pub fn new(kind: &Field) -> Self {
        let event = Scope { node: matches!(kind.ty, Type::Message(_)).then_some(0), ..Scope::default() };
        ProjectionBuilder {
            nodes: vec![NodeBuilder::default()],
            scopes: vec![event],
            slots: 0,
            shared: BTreeMap::new(),
        }
    }

    /// Puts paths side by side: one placement for each list in which they meet.
    pub fn place(&mut self, paths: &[(&FieldPath, Use)]) -> Result<Vec<Placement>, DifferentLists> {
        let mut meetings: Vec<Vec<u32>> = paths
            .iter()
            .flat_map(|(path, usage)| path.routes.iter().map(|route| list_prefix(route, *usage)))
            .chain([Vec::new()])
            .collect();
        meetings.sort();
        meetings.dedup();
        let mut placements = Vec::new();
        for meeting in meetings {
            if let Some(placement) = self.place_at(&meeting, paths) {
                placements.push(placement);
            }
        }
        if placements.is_empty() {
            let names = paths.iter().map(|(path, _)| joined(&path.routes[0])).collect();
            return Err(DifferentLists(names));
        }
        Ok(placements)
    }

    /// The placement at one list, if every path has a route that ends there or in what encloses it and one ends there.
    fn place_at(&mut self, meeting: &[u32], paths: &[(&FieldPath, Use)]) -> Option<Placement> {
        let mut chosen: Vec<(Vec<&Vec<Field>>, Use)> = Vec::new();
        let mut ends_here = meeting.is_empty();
        for (path, usage) in paths {
            let routes: Vec<&Vec<Field>> =
                path.routes.iter().filter(|route| meeting.starts_with(&list_prefix(route, *usage))).collect();
            ends_here |= routes.iter().any(|route| list_prefix(route, *usage) == meeting);
            // Of members within a list and outside of it, those within are meant here.
            let deepest = routes.iter().map(|route| list_prefix(route, *usage).len()).max()?;
            let routes = routes.into_iter().filter(|route| list_prefix(route, *usage).len() == deepest);
            chosen.push((routes.collect(), *usage));
        }
        if !ends_here {
            return None;
        }
        let mut scope = 0;
        let slots = chosen
            .iter()
            .map(|(routes, usage)| {
                let (within, slot) = self.slot(routes, *usage);
                // Scopes are made outside in, so the innermost of a nest has the highest number.
                scope = scope.max(within);
                slot
            })
            .collect();
        Some(Placement { scope, slots })
    }

    /// The slot of one path (all its routes end in the same scope), made if it is new.
    fn slot(&mut self, routes: &[&Vec<Field>], usage: Use) -> (ScopeId, Slot) {
        let scope = self.scope_of(routes[0], usage);
        let names: Vec<String> = routes.iter().map(|route| joined(route)).collect();
        let key = (scope, format!("{usage:?} {}", names.join(" ")));
        if let Some(slot) = self.shared.get(&key) {
            return (scope, *slot);
        }
        let slot = self.slots;
        self.slots += 1;
        self.scopes[scope].slots.push(slot);
        self.shared.insert(key, slot);
        for route in routes {
            self.insert(route, usage, slot);
        }
        (scope, slot)
    }

    fn scope_of(&mut self, route: &[Field], usage: Use) -> ScopeId {
        let prefix = list_prefix(route, usage).len();
        self.descend(&route[..prefix]).0
    }

    /// Follows (and makes) the nodes and scopes along a route; returns the scope and the node it ends in.
    fn descend(&mut self, route: &[Field]) -> (ScopeId, NodeId) {
        let (mut scope, mut node) = (0, 0);
        for step in route {
            if step.is_repeated() {
                let list = match self.entry(node, step).list {
                    Some(list) => list,
                    None => self.add_list(scope, node, step),
                };
                scope = list;
                node = self.scopes[list].node.unwrap_or(0);
            } else {
                node = match self.entry(node, step).child {
                    Some(child) => child,
                    None => {
                        let child = self.add_node();
                        self.entry(node, step).child = Some(child);
                        child
                    }
                };
            }
        }
        (scope, node)
    }

    fn add_list(&mut self, scope: ScopeId, node: NodeId, step: &Field) -> ScopeId {
        let element_node = matches!(step.ty, Type::Message(_)).then(|| self.add_node());
        let list = self.scopes.len();
        self.scopes.push(Scope { node: element_node, ..Scope::default() });
        self.scopes[scope].children.push(list);
        self.entry(node, step).list = Some(list);
        list
    }

    fn add_node(&mut self) -> NodeId {
        self.nodes.push(NodeBuilder::default());
        self.nodes.len() - 1
    }

    fn entry(&mut self, node: NodeId, field: &Field) -> &mut EntryBuilder {
        self.nodes[node].fields.entry(field.number).or_insert_with(|| EntryBuilder {
            field: field.clone(),
            reads: Vec::new(),
            lengths: Vec::new(),
            marks: Vec::new(),
            child: None,
            list: None,
        })
    }

    fn insert(&mut self, route: &[Field], usage: Use, slot: Slot) {
        let Some((last, before)) = route.split_last() else {
            self.scopes[0].element_slots.push(slot);
            return;
        };
        if last.is_repeated() && usage == Use::Each {
            let (scope, _) = self.descend(route);
            self.scopes[scope].element_slots.push(slot);
            return;
        }
        let (_, node) = self.descend(before);
        let entry = self.entry(node, last);
        if last.is_repeated() {
            entry.lengths.push(slot);
        } else if matches!(last.ty, Type::Message(_)) {
            entry.marks.push(slot);
        } else {
            entry.reads.push(slot);
        }
    }

    /// The finished projection.
    pub fn build(self, schema: &Schema) -> Projection {
        let nodes = (0..self.nodes.len()).map(|node| self.finish(schema, node)).collect();
        Projection { nodes, scopes: self.scopes, slots: self.slots }
    }

    fn finish(&self, schema: &Schema, node: NodeId) -> Node {
        let fields = &self.nodes[node].fields;
        let highest = fields.keys().last().map_or(0, |number| *number as usize);
        let mut lookup = vec![0_u8; highest + 1];
        let mut entries = Vec::new();
        for (number, entry) in fields {
            entries.push(entry.finish());
            lookup[*number as usize] = u8::try_from(entries.len()).expect("fewer than 256 fields a message");
        }
        Node { lookup: lookup.into(), entries: entries.into(), defaults: self.defaults(schema, node).into() }
    }

    /// What the slots below a node hold when the message is there and its fields are not.
    fn defaults(&self, schema: &Schema, node: NodeId) -> Vec<(Slot, Value)> {
        let mut defaults = Vec::new();
        for entry in self.nodes[node].fields.values() {
            defaults.extend(entry.lengths.iter().map(|slot| (*slot, Value::U64(0))));
            if entry.field.presence == Presence::Required {
                let value = default_of(schema, entry.field.ty);
                defaults.extend(entry.reads.iter().chain(&entry.marks).map(|slot| (*slot, value)));
                if let Some(child) = entry.child {
                    defaults.extend(self.defaults(schema, child));
                }
            }
        }
        defaults
    }
}

impl EntryBuilder {
    fn finish(&self) -> Entry {
        let mut actions = Vec::new();
        actions.extend(self.reads.iter().map(|slot| Action::Read(*slot)));
        actions.extend(self.lengths.iter().map(|slot| Action::Count(*slot)));
        actions.extend(self.marks.iter().map(|slot| Action::Read(*slot)));
        actions.extend(self.child.map(Action::Descend));
        actions.extend(self.list.map(Action::Collect));
        Entry { ty: self.field.ty, repeated: self.field.is_repeated(), actions: actions.into() }
    }
}

/// The steps of a route up to its innermost list that gives a row an element.
fn list_prefix(route: &[Field], usage: Use) -> Vec<u32> {
    let fans_out = |(index, step): (usize, &Field)| {
        step.is_repeated() && (usage == Use::Each || index + 1 < route.len())
    };
    let length = route.iter().enumerate().rposition(fans_out).map_or(0, |index| index + 1);
    route[..length].iter().map(|step| step.number).collect()
}

/// What prost decodes for an absent field of this type.
fn default_of(schema: &Schema, ty: Type) -> Value {
    match ty {
        Type::U32 | Type::U64 | Type::Fixed64 => Value::U64(0),
        Type::I32 | Type::I64 | Type::S32 | Type::S64 => Value::I64(0),
        Type::F64 => Value::F64(0.0),
        Type::Bool => Value::Bool(false),
        Type::Str | Type::Bytes | Type::Message(_) => Value::Bytes { start: 0, len: 0 },
        // An enum's default is its first value, whatever its number.
        Type::Enum(id) => {
            Value::I64(schema.enumeration(id).values.first().map_or(0, |(_, number)| i64::from(*number)))
        }
    }
}
