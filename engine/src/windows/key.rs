//! The keys windows are grouped by: the values of some fields of an event.

use std::hash::{BuildHasher, Hasher};

use serde::{Deserialize, Serialize};

use crate::project::plan::Slot;
use crate::project::walk::Value;

/// Value of one key field. Numbers of either sign are one kind, so that a peer id is the same key wherever it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum KeyPart {
    /// Any integer, enum number or 0 and 1 of a boolean; the bits of a u64 beyond `i64::MAX` wrap.
    Int(i64),
    /// True or false.
    Bool(bool),
    /// Text or bytes.
    Bytes(#[serde(with = "crate::stored::bytes")] Box<[u8]>),
}

/// Values of the key fields, in the order of the rule's `by`. Empty for a rule without `by`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Key(pub Box<[KeyPart]>);

impl Key {
    /// The key in the slots of a row; `None` if a field of it is absent.
    pub fn of_row(slots: &[Value], fields: &[Slot], event: &[u8]) -> Option<Key> {
        let part = |slot: &Slot| match slots[*slot] {
            Value::Absent | Value::F64(_) => None,
            Value::U64(value) => Some(KeyPart::Int(value as i64)),
            Value::I64(value) => Some(KeyPart::Int(value)),
            Value::Bool(value) => Some(KeyPart::Bool(value)),
            value @ Value::Bytes { .. } => Some(KeyPart::Bytes(value.bytes(event).into())),
        };
        fields.iter().map(part).collect::<Option<Box<[KeyPart]>>>().map(Key)
    }

    /// True if the slots of a row hold this key; allocates nothing.
    pub fn is_row(&self, slots: &[Value], fields: &[Slot], event: &[u8]) -> bool {
        self.0.iter().zip(fields).all(|(part, slot)| match (part, slots[*slot]) {
            (KeyPart::Int(key), Value::U64(value)) => *key == value as i64,
            (KeyPart::Int(key), Value::I64(value)) => *key == value,
            (KeyPart::Bool(key), Value::Bool(value)) => *key == value,
            (KeyPart::Bytes(key), value @ Value::Bytes { .. }) => **key == *value.bytes(event),
            _ => false,
        })
    }
}

/// Hash of the key in the slots of a row; `None` if a field of it is absent. Seeded with a constant: the same
/// recording must fill the tables the same way.
pub fn hash_of_row(slots: &[Value], fields: &[Slot], event: &[u8]) -> Option<u64> {
    let mut hasher = hasher();
    for slot in fields {
        match slots[*slot] {
            Value::Absent | Value::F64(_) => return None,
            Value::U64(value) => hasher.write_u64(value),
            Value::I64(value) => hasher.write_u64(value as u64),
            Value::Bool(value) => hasher.write_u8(u8::from(value)),
            value @ Value::Bytes { .. } => hasher.write(value.bytes(event)),
        }
    }
    Some(hasher.finish())
}

/// [`hash_of_row`] of a key.
pub fn hash_of_key(key: &Key) -> u64 {
    let mut hasher = hasher();
    for part in &key.0 {
        match part {
            KeyPart::Int(value) => hasher.write_u64(*value as u64),
            KeyPart::Bool(value) => hasher.write_u8(u8::from(*value)),
            KeyPart::Bytes(bytes) => hasher.write(bytes),
        }
    }
    hasher.finish()
}

/// Hash of one value, for counting different ones.
pub fn hash_of_value(value: Value, event: &[u8]) -> u64 {
    let mut hasher = hasher();
    match value {
        Value::Absent => {}
        Value::U64(value) => hasher.write_u64(value),
        Value::I64(value) => hasher.write_u64(value as u64),
        Value::F64(value) => hasher.write_u64(value.to_bits()),
        Value::Bool(value) => hasher.write_u64(u64::from(value)),
        value @ Value::Bytes { .. } => hasher.write(value.bytes(event)),
    }
    mixed(hasher.finish())
}

/// Hash of bytes in parts.
pub fn hash_of_bytes(parts: &[&[u8]]) -> u64 {
    let mut hasher = hasher();
    parts.iter().for_each(|part| hasher.write(part));
    mixed(hasher.finish())
}

/// The sketch wants every bit mixed; foldhash's fast variant leaves the low ones weak (splitmix64 finaliser).
fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn hasher() -> impl Hasher {
    foldhash::fast::FixedState::with_seed(0x746f_6373_696e).build_hasher()
}
