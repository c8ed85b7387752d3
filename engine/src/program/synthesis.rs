//! Events for rule tests, out of what a test file says: a kind, when and how often, and the fields that matter.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use tocsin_engine::project::path::{self, KindId, joined};
use tocsin_engine::time::Timestamp;
use tocsin_proto::archive::Frame;
use tocsin_proto::schema::{Field, Kind, Schema, Type};

use super::expectation::offset_ms;

/// Some events of one kind, as a test file writes them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventSeries {
    /// The event kind.
    pub kind: String,
    /// Time of the first event.
    #[serde(default = "default_at")]
    pub at: String,
    /// Time between events.
    #[serde(default = "default_every")]
    pub every: String,
    /// How many.
    #[serde(default = "default_times")]
    pub times: u32,
    /// The node, if there is more than one.
    pub node: Option<String>,
    /// Values by field path within the kind. A number for a list is its length; `{ start, step }` counts from event
    /// to event; `{ cycle = [..] }` takes one after the other. For a kind that is a plain value, the field is `value`.
    #[serde(default)]
    pub set: BTreeMap<String, toml::Value>,
}

fn default_at() -> String {
    "0s".to_string()
}

fn default_every() -> String {
    "1s".to_string()
}

fn default_times() -> u32 {
    1
}

/// Events a test may make at most.
const EVENTS_MAX: u32 = 200_000;

/// The events of several series in order of time.
pub fn events(series: &[EventSeries], start: Timestamp) -> Result<Vec<Frame>, String> {
    let mut frames = Vec::new();
    for (number, one) in series.iter().enumerate() {
        let in_series = |message: String| format!("event {}: {message}", number + 1);
        frames.extend(one.frames(start).map_err(in_series)?);
    }
    frames.sort_by_key(|frame| frame.timestamp_ms);
    Ok(frames)
}

impl EventSeries {
    fn frames(&self, start: Timestamp) -> Result<Vec<Frame>, String> {
        if self.times > EVENTS_MAX {
            return Err(format!("times is {}, expected at most {EVENTS_MAX}", self.times));
        }
        let schema = Schema::embedded();
        let (kind, rest) = path::split_kind(schema, &self.kind).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err(format!("kind is {:?}, expected the kind {}", self.kind, schema.kinds()[kind].name));
        }
        let (at_ms, every_ms) = (offset_ms(&self.at)?, offset_ms(&self.every)?);
        let fields = self.fields(schema, kind)?;
        let kind = &schema.kinds()[kind];
        (0..self.times)
            .map(|index| {
                let at = start.plus_ms(at_ms + every_ms * i64::from(index));
                let body = self.body(schema, kind, &fields, index)?;
                Ok(frame(kind.numbers.as_slice(), body, at, self.node.as_deref()))
            })
            .collect()
    }

    /// Where each value goes, found once for all events.
    fn fields<'s>(
        &'s self,
        schema: &Schema,
        kind: KindId,
    ) -> Result<Vec<(Vec<Field>, &'s toml::Value)>, String> {
        let place = |(text, value): (&String, &'s toml::Value)| {
            let resolved = path::resolve_in(schema, kind, text).map_err(|error| error.to_string())?;
            match resolved.routes.as_slice() {
                [route] => Ok((route.clone(), value)),
                routes => {
                    let names: Vec<String> = routes.iter().map(|route| joined(route)).collect();
                    Err(format!("{text:?} is not one field, expected one of {}", names.join(", ")))
                }
            }
        };
        self.set.iter().map(place).collect()
    }

    /// The value of the kind's field, with its tag's wire type.
    fn body(
        &self,
        schema: &Schema,
        kind: &Kind,
        fields: &[(Vec<Field>, &toml::Value)],
        index: u32,
    ) -> Result<Wire, String> {
        let Type::Message(_) = kind.field.ty else {
            let value = self.set.get("value").ok_or("set has no value, expected value = ..")?;
            return wire(&kind.field, &nth(value, index)?);
        };
        let mut tree = Tree::default();
        for (route, value) in fields {
            tree.set(schema, route, &nth(value, index)?)
                .map_err(|message| format!("{}: {message}", joined(route)))?;
        }
        Ok(Wire::Bytes(tree.encode()))
    }
}

/// The value for the event with this number.
fn nth(value: &toml::Value, index: u32) -> Result<toml::Value, String> {
    let toml::Value::Table(table) = value else { return Ok(value.clone()) };
    if let Some(toml::Value::Array(items)) = table.get("cycle") {
        let item = items.get(index as usize % items.len().max(1));
        return item.cloned().ok_or("cycle is empty".to_string());
    }
    match (table.get("start"), table.get("step")) {
        (Some(toml::Value::Integer(start)), Some(toml::Value::Integer(step))) => {
            Ok(toml::Value::Integer(start + step * i64::from(index)))
        }
        (Some(start), Some(step)) => match (as_float(start), as_float(step)) {
            (Some(start), Some(step)) => Ok(toml::Value::Float(start + step * f64::from(index))),
            _ => Err("start and step are no numbers".to_string()),
        },
        _ => Ok(value.clone()),
    }
}

fn as_float(value: &toml::Value) -> Option<f64> {
    match value {
        toml::Value::Integer(value) => Some(*value as f64),
        toml::Value::Float(value) => Some(*value),
        _ => None,
    }
}

/// A message being built: fields by number.
#[derive(Debug, Default)]
struct Tree {
    fields: BTreeMap<u32, Vec<Node>>,
}

#[derive(Debug)]
enum Node {
    Value(Wire),
    Message(Tree),
}

/// A value as it goes on the wire.
#[derive(Debug)]
enum Wire {
    Varint(u64),
    Fixed64(u64),
    Bytes(Vec<u8>),
}

impl Tree {
    fn set(&mut self, schema: &Schema, route: &[Field], value: &toml::Value) -> Result<(), String> {
        let Some((first, rest)) = route.split_first() else { return Ok(()) };
        let nodes = self.fields.entry(first.number).or_default();
        if !rest.is_empty() {
            if nodes.is_empty() {
                nodes.push(Node::Message(Tree::default()));
            }
            let Some(Node::Message(inner)) = nodes.first_mut() else {
                return Err("is set twice".to_string());
            };
            return inner.set(schema, rest, value);
        }
        match value {
            toml::Value::Integer(length) if first.is_repeated() && matches!(first.ty, Type::Message(_)) => {
                let length =
                    usize::try_from(*length).map_err(|_| "a length cannot be negative".to_string())?;
                nodes.extend((0..length.min(1_000_000)).map(|_| Node::Message(Tree::default())));
            }
            toml::Value::Array(items) if first.is_repeated() => {
                for item in items {
                    nodes.push(node(schema, first, item)?);
                }
            }
            value => nodes.push(node(schema, first, value)?),
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, nodes) in &self.fields {
            for node in nodes {
                match node {
                    Node::Value(wire) => put(&mut out, *number, wire),
                    Node::Message(tree) => put(&mut out, *number, &Wire::Bytes(tree.encode())),
                }
            }
        }
        out
    }
}

fn node(schema: &Schema, field: &Field, value: &toml::Value) -> Result<Node, String> {
    let (Type::Message(id), toml::Value::Table(parts)) = (field.ty, value) else {
        if matches!((field.ty, value), (Type::Message(_), toml::Value::Boolean(true))) {
            return Ok(Node::Message(Tree::default()));
        }
        return if let (Type::Enum(id), toml::Value::String(text)) = (field.ty, value) {
            let values = &schema.enumeration(id).values;
            let found = values.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
            let number =
                found.map(|(_, number)| *number).ok_or(format!("{text:?} is no value of {}", field.name))?;
            Ok(Node::Value(Wire::Varint(number as u64)))
        } else {
            Ok(Node::Value(wire(field, value)?))
        };
    };
    let mut tree = Tree::default();
    for (name, value) in parts {
        let inner = schema.message(id).fields.iter().find(|field| field.name == *name);
        let inner = inner.ok_or(format!("{} has no field {name:?}", schema.message(id).name))?;
        tree.set(schema, std::slice::from_ref(inner), value)?;
    }
    Ok(Node::Message(tree))
}

fn wire(field: &Field, value: &toml::Value) -> Result<Wire, String> {
    let wrong = || format!("{} cannot be {value}", field.name);
    Ok(match (field.ty, value) {
        (Type::U32 | Type::U64 | Type::I32 | Type::I64 | Type::Enum(_), toml::Value::Integer(value)) => {
            Wire::Varint(*value as u64)
        }
        (Type::S32 | Type::S64, toml::Value::Integer(value)) => {
            Wire::Varint(((value << 1) ^ (value >> 63)) as u64)
        }
        (Type::Bool, toml::Value::Boolean(value)) => Wire::Varint(u64::from(*value)),
        (Type::Fixed64, toml::Value::Integer(value)) => Wire::Fixed64(*value as u64),
        (Type::F64, value) => Wire::Fixed64(as_float(value).ok_or_else(wrong)?.to_bits()),
        (Type::Str, toml::Value::String(text)) => Wire::Bytes(text.clone().into_bytes()),
        (Type::Bytes, toml::Value::String(text)) => Wire::Bytes(unhex(text).ok_or_else(wrong)?),
        _ => return Err(wrong()),
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits?;
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Wraps a kind's value in the messages above it and in an event.
fn frame(numbers: &[u32], body: Wire, at: Timestamp, node: Option<&str>) -> Frame {
    let mut wrapped = body;
    for number in numbers.iter().rev() {
        let mut message = Vec::new();
        put(&mut message, *number, &wrapped);
        wrapped = Wire::Bytes(message);
    }
    let Wire::Bytes(mut event) = wrapped else { unreachable!("every kind is below an extractor") };
    put(&mut event, 10, &Wire::Varint(at.unix_ms() as u64));
    if let Some(node) = node {
        put(&mut event, 100, &Wire::Bytes(node.as_bytes().to_vec()));
    }
    Frame::parse(0, Bytes::from(event)).expect("an event with a plausible time")
}

fn put(out: &mut Vec<u8>, number: u32, wire: &Wire) {
    match wire {
        Wire::Varint(value) => {
            put_varint(out, u64::from(number) << 3);
            put_varint(out, *value);
        }
        Wire::Fixed64(value) => {
            put_varint(out, u64::from(number) << 3 | 1);
            out.extend(value.to_le_bytes());
        }
        Wire::Bytes(bytes) => {
            put_varint(out, u64::from(number) << 3 | 2);
            put_varint(out, bytes.len() as u64);
            out.extend(bytes);
        }
    }
}

fn put_varint(out: &mut Vec<u8>, value: u64) {
    prost::encoding::encode_varint(value, out);
}
