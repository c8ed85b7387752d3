//! One pass over the wire bytes of an event that fills the slots of its kind's [`Projection`].
//!
//! Nothing is allocated per event once the scratch has grown, and what no path asked for is skipped by its length:
//! a 4 MB block costs no more than its header.

use tocsin_proto::schema::Type;

use super::plan::{NodeId, Projection, ScopeId, Slot};

/// One value taken from an event. Text and bytes are ranges of the walked bytes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Value {
    /// The field, or the message it belongs to, is not there.
    #[default]
    Absent,
    /// Unsigned integer, or the length of a list.
    U64(u64),
    /// Signed integer or enum.
    I64(i64),
    /// Floating point.
    F64(f64),
    /// Boolean.
    Bool(bool),
    /// Text, bytes or a message: where it is in the walked bytes.
    Bytes {
        /// Offset of the first byte.
        start: u32,
        /// Length in bytes.
        len: u32,
    },
}

impl Value {
    /// The value as a sample: numbers as they are, `true` as 1, text and bytes by their length.
    pub fn number(self) -> Option<f64> {
        match self {
            Value::Absent => None,
            Value::U64(value) => Some(value as f64),
            Value::I64(value) => Some(value as f64),
            Value::F64(value) => Some(value),
            Value::Bool(value) => Some(f64::from(u8::from(value))),
            Value::Bytes { len, .. } => Some(f64::from(len)),
        }
    }

    /// The bytes of text, bytes or a message within the walked bytes; empty for other values.
    pub fn bytes(self, walked: &[u8]) -> &[u8] {
        match self {
            Value::Bytes { start, len } => &walked[start as usize..start as usize + len as usize],
            _ => &[],
        }
    }
}

/// What is wrong with the bytes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// A length or a number runs past the end of what encloses it.
    #[error("a field runs past the end of its message")]
    CutShort,
    /// A field's wire type is not the one of its schema type.
    #[error("field {number} has wire type {wire_type}, which its type does not allow")]
    WireType {
        /// Field number.
        number: u32,
        /// Found wire type.
        wire_type: u8,
    },
    /// A tag that no encoder writes.
    #[error("malformed tag or varint")]
    Malformed,
}

#[derive(Debug)]
pub(super) struct Node {
    /// Entry number plus one by field number; 0 is a field nobody asked for.
    pub(super) lookup: Box<[u8]>,
    pub(super) entries: Box<[Entry]>,
    pub(super) defaults: Box<[(Slot, Value)]>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) ty: Type,
    pub(super) repeated: bool,
    pub(super) actions: Box<[Action]>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    /// Put the value into the slot; of several the last counts, as in protobuf.
    Read(Slot),
    /// Add one to the slot.
    Count(Slot),
    /// Walk the message.
    Descend(NodeId),
    /// Keep the element for its scope.
    Collect(ScopeId),
}

/// Reused space for the values of one event.
#[derive(Debug, Default)]
pub struct Scratch {
    /// One value a slot.
    pub slots: Vec<Value>,
    /// The elements of each scope's list.
    lists: Vec<Vec<Value>>,
}

impl Scratch {
    /// Makes room for one more projection's slots and scopes.
    pub fn fit(&mut self, projection: &Projection) {
        self.slots.resize(self.slots.len().max(projection.slots), Value::Absent);
        let scopes = projection.scopes.len();
        self.lists.resize_with(self.lists.len().max(scopes), Vec::new);
    }
}

impl Projection {
    /// Walks an event of this kind and calls `row` for each row of each scope that any path asked for.
    ///
    /// `event` is the whole event, `body` the value of the kind's field in it. `row` is told the scope; the slots of
    /// that scope and of those enclosing it hold the row's values. Rows come before the rows of lists within them.
    pub fn rows(
        &self,
        event: &[u8],
        body: Value,
        scratch: &mut Scratch,
        row: &mut impl FnMut(ScopeId, &[Value]),
    ) -> Result<(), WalkError> {
        self.scope_row(0, event, body, scratch, row)
    }

    fn scope_row(
        &self,
        id: ScopeId,
        event: &[u8],
        element: Value,
        scratch: &mut Scratch,
        row: &mut impl FnMut(ScopeId, &[Value]),
    ) -> Result<(), WalkError> {
        let scope = &self.scopes[id];
        for slot in &scope.slots {
            scratch.slots[*slot] = Value::Absent;
        }
        for slot in &scope.element_slots {
            scratch.slots[*slot] = element;
        }
        for child in &scope.children {
            scratch.lists[*child].clear();
        }
        if let (Some(node), Value::Bytes { start, len }) = (scope.node, element) {
            self.walk(node, event, start as usize, start as usize + len as usize, scratch)?;
        }
        row(id, &scratch.slots);
        for child in &scope.children {
            let elements = std::mem::take(&mut scratch.lists[*child]);
            for element in &elements {
                self.scope_row(*child, event, *element, scratch, row)?;
            }
            scratch.lists[*child] = elements;
        }
        Ok(())
    }

    fn walk(
        &self,
        node: NodeId,
        event: &[u8],
        mut at: usize,
        end: usize,
        scratch: &mut Scratch,
    ) -> Result<(), WalkError> {
        let node = &self.nodes[node];
        for (slot, value) in &node.defaults {
            scratch.slots[*slot] = *value;
        }
        let message = event.get(..end).ok_or(WalkError::CutShort)?;
        while at < end {
            let (key, after_key) = varint(message, at)?;
            at = after_key;
            let number = (key >> 3) as u32;
            let wire_type = (key & 7) as u8;
            let found = node.lookup.get(number as usize).copied().unwrap_or(0);
            if found == 0 {
                at = skip(message, at, wire_type)?;
                continue;
            }
            let entry = &node.entries[usize::from(found) - 1];
            if wire_type == 2 && entry.repeated && is_packable(entry.ty) {
                at = self.packed(entry, message, at, scratch)?;
                continue;
            }
            let (value, after_value) = read(entry.ty, message, at, number, wire_type)?;
            at = after_value;
            self.act(entry, value, event, scratch)?;
        }
        Ok(())
    }

    fn act(&self, entry: &Entry, value: Value, event: &[u8], scratch: &mut Scratch) -> Result<(), WalkError> {
        for action in &entry.actions {
            match *action {
                Action::Read(slot) => scratch.slots[slot] = value,
                Action::Count(slot) => {
                    let Value::U64(count) = scratch.slots[slot] else { continue };
                    scratch.slots[slot] = Value::U64(count + 1);
                }
                Action::Collect(scope) => scratch.lists[scope].push(value),
                Action::Descend(child) => {
                    let Value::Bytes { start, len } = value else { continue };
                    self.walk(child, event, start as usize, start as usize + len as usize, scratch)?;
                }
            }
        }
        Ok(())
    }

    /// A list of numbers in one length-delimited field.
    fn packed(
        &self,
        entry: &Entry,
        message: &[u8],
        at: usize,
        scratch: &mut Scratch,
    ) -> Result<usize, WalkError> {
        let (len, mut at) = varint(message, at)?;
        let end = end_of(message, at, len)?;
        let wire_type = if matches!(entry.ty, Type::Fixed64 | Type::F64) { 1 } else { 0 };
        while at < end {
            let (value, after) = read(entry.ty, &message[..end], at, 0, wire_type)?;
            at = after;
            self.act(entry, value, message, scratch)?;
        }
        Ok(end)
    }
}

fn is_packable(ty: Type) -> bool {
    !matches!(ty, Type::Str | Type::Bytes | Type::Message(_))
}

/// Reads a varint at `at`; returns it and the offset behind it.
#[inline(always)]
pub fn varint(bytes: &[u8], at: usize) -> Result<(u64, usize), WalkError> {
    // Lengths and tags take one or two bytes, so these two have a way of their own.
    match bytes.get(at..) {
        Some([byte, ..]) if *byte < 0x80 => Ok((u64::from(*byte), at + 1)),
        Some([low, high, ..]) if *high < 0x80 => Ok((u64::from(*low & 0x7f) | u64::from(*high) << 7, at + 2)),
        _ => long_varint(bytes, at),
    }
}

fn long_varint(bytes: &[u8], at: usize) -> Result<(u64, usize), WalkError> {
    let mut value = 0_u64;
    for index in 0..10 {
        let byte = *bytes.get(at + index).ok_or(WalkError::CutShort)?;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            // The tenth byte has room for one bit.
            return if index == 9 && byte > 1 {
                Err(WalkError::Malformed)
            } else {
                Ok((value, at + index + 1))
            };
        }
    }
    Err(WalkError::Malformed)
}

fn end_of(bytes: &[u8], at: usize, len: u64) -> Result<usize, WalkError> {
    let end = usize::try_from(len).ok().and_then(|len| at.checked_add(len)).ok_or(WalkError::CutShort)?;
    if end <= bytes.len() { Ok(end) } else { Err(WalkError::CutShort) }
}

/// The offset behind a value nobody asked for.
#[inline]
pub fn skip(bytes: &[u8], at: usize, wire_type: u8) -> Result<usize, WalkError> {
    match wire_type {
        0 => Ok(varint(bytes, at)?.1),
        1 => end_of(bytes, at, 8),
        2 => {
            let (len, at) = varint(bytes, at)?;
            end_of(bytes, at, len)
        }
        5 => end_of(bytes, at, 4),
        _ => Err(WalkError::Malformed),
    }
}

/// Reads the value of a field of this type behind its tag; returns it and the offset behind it.
#[inline]
pub fn read(
    ty: Type,
    bytes: &[u8],
    at: usize,
    number: u32,
    wire_type: u8,
) -> Result<(Value, usize), WalkError> {
    let expected = match ty {
        Type::Fixed64 | Type::F64 => 1,
        Type::Str | Type::Bytes | Type::Message(_) => 2,
        _ => 0,
    };
    if wire_type != expected {
        return Err(WalkError::WireType { number, wire_type });
    }
    if expected == 1 {
        let end = end_of(bytes, at, 8)?;
        let bits = u64::from_le_bytes(bytes[at..end].try_into().expect("eight bytes by end_of"));
        let value = if ty == Type::F64 { Value::F64(f64::from_bits(bits)) } else { Value::U64(bits) };
        return Ok((value, end));
    }
    let (raw, after) = varint(bytes, at)?;
    // Narrow types are cut to their width first, as prost does.
    let value = match ty {
        Type::U32 => Value::U64(u64::from(raw as u32)),
        Type::U64 => Value::U64(raw),
        Type::I32 | Type::Enum(_) => Value::I64(i64::from(raw as i32)),
        Type::I64 => Value::I64(raw as i64),
        Type::S32 => Value::I64(i64::from(zigzag(u64::from(raw as u32)) as i32)),
        Type::S64 => Value::I64(zigzag(raw)),
        Type::Bool => Value::Bool(raw != 0),
        _ => {
            let end = end_of(bytes, after, raw)?;
            let too_long = |_| WalkError::CutShort;
            let start = u32::try_from(after).map_err(too_long)?;
            return Ok((Value::Bytes { start, len: u32::try_from(raw).map_err(too_long)? }, end));
        }
    };
    Ok((value, after))
}

fn zigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}
