//! The event schema as data: what a rule's field path is resolved against and what `tocsin events` prints.
//!
//! Read once from the descriptors that `build.rs` embeds, comments included: a field's comment carries its
//! `unit:` and `source:` lines, so the `.proto` files stay the only place where a field is described.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type as WireType};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};

/// The unit word that marks a field as a node's peer id, see [`Field::is_peer_id`].
pub const PEER_ID_UNIT: &str = "peer id";

/// The encoded `FileDescriptorSet` of all schemas, comments included.
pub fn descriptors() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"))
}

/// All messages reachable from `event.Event`, and the event kinds among them.
#[derive(Debug, Default)]
pub struct Schema {
    messages: Vec<MessageType>,
    enums: Vec<EnumType>,
    kinds: Vec<Kind>,
}

/// Index of a message type in a [`Schema`].
pub type MessageId = usize;
/// Index of an enum type in a [`Schema`].
pub type EnumId = usize;

/// One message type with its fields in order of their numbers.
#[derive(Debug)]
pub struct MessageType {
    /// Name without its package.
    pub name: String,
    /// What it is, from its comment.
    pub doc: String,
    /// Where its values come from (a tracepoint, an RPC), if the comment says so.
    pub source: Option<String>,
    /// Sorted by number.
    pub fields: Vec<Field>,
}

/// One enum type: names and numbers.
#[derive(Debug)]
pub struct EnumType {
    /// `(name, number)` in order of declaration.
    pub values: Vec<(String, i32)>,
}

/// One field of a message.
#[derive(Debug, Clone)]
pub struct Field {
    /// Name in the schema.
    pub name: String,
    /// Field number on the wire.
    pub number: u32,
    /// Type of one value.
    pub ty: Type,
    /// How often it occurs and what its absence means.
    pub presence: Presence,
    /// What it is.
    pub doc: String,
    /// Unit of a number, `hash` for hashes, `peer id` for peer ids.
    pub unit: Option<String>,
    /// Where the value comes from, if the comment says so.
    pub source: Option<String>,
}

/// How often a field occurs and what its absence means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Absent on the wire means the type's default, as prost decodes `required` and map entries.
    Required,
    /// Absent means absent.
    Optional,
    /// At most one field of this oneof (numbered within its message) is present.
    Oneof(i32),
    /// A list; absent means empty. Maps are lists of entries with `key` and `value`.
    Repeated,
}

/// Type of one value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Type {
    U32,
    U64,
    I32,
    I64,
    S32,
    S64,
    Fixed64,
    F64,
    Bool,
    Enum(EnumId),
    Str,
    Bytes,
    Message(MessageId),
}

/// One kind of event: the place in `Event` where a fact stands, such as `message` or `connection.closed`.
#[derive(Debug)]
pub struct Kind {
    /// The name rules use: the path below the extractor, `connection.closed`.
    pub name: String,
    /// Fields from `Event` down to the kind, as numbers.
    pub numbers: Vec<u32>,
    /// The last of those fields.
    pub field: Field,
    /// Where its values come from.
    pub source: String,
}

impl Schema {
    /// The schema this program was built with.
    pub fn embedded() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| {
            let set = FileDescriptorSet::decode(descriptors()).expect("written by build.rs");
            Builder::default().build(&set)
        })
    }

    /// The message type with this id.
    pub fn message(&self, id: MessageId) -> &MessageType {
        &self.messages[id]
    }

    /// The enum type with this id.
    pub fn enumeration(&self, id: EnumId) -> &EnumType {
        &self.enums[id]
    }

    /// All kinds of events, in the order of their numbers.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }
}

impl MessageType {
    /// The field with this number.
    pub fn field(&self, number: u32) -> Option<&Field> {
        self.fields.iter().find(|field| field.number == number)
    }

    /// A message that is nothing but a choice between its fields.
    fn is_pure_choice(&self) -> bool {
        !self.fields.is_empty()
            && self.fields.iter().all(|field| matches!(field.presence, Presence::Oneof(_)))
    }
}

impl Field {
    /// True for the fields that hold a node's id of a peer, which is gone when its connection closes.
    pub fn is_peer_id(&self) -> bool {
        self.unit.as_deref() == Some(PEER_ID_UNIT)
    }

    /// True if the field holds a list.
    pub fn is_repeated(&self) -> bool {
        self.presence == Presence::Repeated
    }
}

impl Type {
    /// True for integers, floats, booleans and enums: what has a numeric value of its own.
    pub fn is_number(self) -> bool {
        !matches!(self, Type::Str | Type::Bytes | Type::Message(_))
    }
}

#[derive(Default)]
struct Builder {
    schema: Schema,
    message_ids: BTreeMap<String, MessageId>,
    enum_ids: BTreeMap<String, EnumId>,
}

impl Builder {
    fn build(mut self, set: &FileDescriptorSet) -> Schema {
        for file in &set.file {
            self.declare(file.package(), &file.message_type, &file.enum_type);
        }
        for file in &set.file {
            let comments = Comments::of(file);
            for (index, message) in file.message_type.iter().enumerate() {
                self.define(file.package(), message, &comments, vec![4, index as i32]);
            }
        }
        let root = self.message_ids[".event.Event"];
        for extractor in self.schema.messages[root].fields.clone() {
            if let (Presence::Oneof(_), Type::Message(_)) = (extractor.presence, extractor.ty) {
                self.add_kinds("", &extractor, vec![extractor.number]);
            }
        }
        self.schema
    }

    fn declare(
        &mut self,
        scope: &str,
        messages: &[DescriptorProto],
        enums: &[prost_types::EnumDescriptorProto],
    ) {
        for declared in enums {
            let values =
                declared.value.iter().map(|value| (value.name().to_string(), value.number())).collect();
            self.enum_ids.insert(format!(".{scope}.{}", declared.name()), self.schema.enums.len());
            self.schema.enums.push(EnumType { values });
        }
        for message in messages {
            let full = format!("{scope}.{}", message.name());
            self.message_ids.insert(format!(".{full}"), self.schema.messages.len());
            self.schema.messages.push(MessageType {
                name: message.name().to_string(),
                doc: String::new(),
                source: None,
                fields: Vec::new(),
            });
            self.declare(&full, &message.nested_type, &message.enum_type);
        }
    }

    fn define(&mut self, scope: &str, message: &DescriptorProto, comments: &Comments, path: Vec<i32>) {
        let full = format!("{scope}.{}", message.name());
        let id = self.message_ids[&format!(".{full}")];
        let is_map_entry = message.options.as_ref().is_some_and(|options| options.map_entry());
        let mut fields: Vec<Field> = message
            .field
            .iter()
            .enumerate()
            .map(|(index, field)| {
                let comment = comments.at(&path, 2, index);
                self.field(field, comment, is_map_entry)
            })
            .collect();
        fields.sort_by_key(|field| field.number);
        let comment = comments.get(&path);
        self.schema.messages[id].doc = comment.doc;
        self.schema.messages[id].source = comment.source;
        self.schema.messages[id].fields = fields;
        for (index, nested) in message.nested_type.iter().enumerate() {
            let mut nested_path = path.clone();
            nested_path.extend([3, index as i32]);
            self.define(&full, nested, comments, nested_path);
        }
    }

    fn field(&self, field: &FieldDescriptorProto, comment: Comment, is_map_entry: bool) -> Field {
        let ty = match field.r#type() {
            WireType::Uint32 => Type::U32,
            WireType::Uint64 => Type::U64,
            WireType::Int32 => Type::I32,
            WireType::Int64 => Type::I64,
            WireType::Sint32 => Type::S32,
            WireType::Sint64 => Type::S64,
            WireType::Fixed64 => Type::Fixed64,
            WireType::Double => Type::F64,
            WireType::Bool => Type::Bool,
            WireType::String => Type::Str,
            WireType::Bytes => Type::Bytes,
            WireType::Enum => Type::Enum(self.enum_ids[field.type_name()]),
            WireType::Message => Type::Message(self.message_ids[field.type_name()]),
            other => unimplemented!("{}: {other:?} is not used by any event", field.name()),
        };
        let presence = match (field.label(), field.oneof_index) {
            (Label::Repeated, _) => Presence::Repeated,
            (_, Some(oneof)) => Presence::Oneof(oneof),
            (Label::Required, _) => Presence::Required,
            _ if is_map_entry => Presence::Required,
            _ => Presence::Optional,
        };
        Field {
            name: field.name().to_string(),
            number: field.number() as u32,
            ty,
            presence,
            doc: comment.doc,
            unit: comment.unit,
            source: comment.source,
        }
    }

    /// A kind is the first message on the way down that is more than a choice between others.
    fn add_kinds(&mut self, prefix: &str, field: &Field, numbers: Vec<u32>) {
        if let Type::Message(id) = field.ty
            && self.schema.messages[id].is_pure_choice()
        {
            for choice in self.schema.messages[id].fields.clone() {
                let name = match numbers.len() {
                    1 => choice.name.clone(),
                    _ => format!("{prefix}.{}", choice.name),
                };
                let mut numbers = numbers.clone();
                numbers.push(choice.number);
                self.add_kinds(&name, &choice, numbers);
            }
            return;
        }
        let name = if numbers.len() == 1 { field.name.clone() } else { prefix.to_string() };
        let message = match field.ty {
            Type::Message(id) => self.schema.messages[id].source.clone(),
            _ => None,
        };
        let source = field.source.clone().or(message).unwrap_or_default();
        self.schema.kinds.push(Kind { name, numbers, field: field.clone(), source });
    }
}

/// The comments of one file by the path of what they describe.
struct Comments<'a> {
    by_path: BTreeMap<&'a [i32], &'a str>,
}

#[derive(Default)]
struct Comment {
    doc: String,
    unit: Option<String>,
    source: Option<String>,
}

impl<'a> Comments<'a> {
    fn of(file: &'a FileDescriptorProto) -> Self {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        let by_path =
            locations.map(|location| (location.path.as_slice(), location.leading_comments())).collect();
        Comments { by_path }
    }

    fn at(&self, path: &[i32], member: i32, index: usize) -> Comment {
        let mut path = path.to_vec();
        path.extend([member, index as i32]);
        self.get(&path)
    }

    fn get(&self, path: &[i32]) -> Comment {
        let mut comment = Comment::default();
        for line in self.by_path.get(path).copied().unwrap_or_default().lines().map(str::trim) {
            if let Some(unit) = line.strip_prefix("unit:") {
                comment.unit = Some(unit.trim().to_string());
            } else if let Some(source) = line.strip_prefix("source:") {
                comment.source = Some(source.trim().to_string());
            } else if !line.is_empty() {
                if !comment.doc.is_empty() {
                    comment.doc.push(' ');
                }
                comment.doc.push_str(line);
            }
        }
        comment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> &'static Kind {
        let kinds = Schema::embedded().kinds();
        kinds.iter().find(|kind| kind.name == name).unwrap_or_else(|| panic!("no kind {name}"))
    }

    #[test]
    fn kinds_are_named_by_their_place_below_the_extractor() {
        assert_eq!(kind("message").numbers, [1, 1]);
        assert_eq!(kind("connection.closed").numbers, [1, 2, 1]);
        assert_eq!(kind("peer_infos").numbers, [2, 1]);
        assert_eq!(kind("uptime").field.ty, Type::U32);
        assert_eq!(kind("log").numbers, [4]);
        assert_eq!(kind("block_tip").numbers, [5, 1]);
    }

    #[test]
    fn no_two_kinds_have_the_same_name() {
        let mut names: Vec<&str> = Schema::embedded().kinds().iter().map(|kind| kind.name.as_str()).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    #[test]
    fn every_kind_has_a_source_and_every_number_a_unit() {
        let schema = Schema::embedded();
        for kind in schema.kinds() {
            assert!(!kind.source.is_empty(), "{} has no source", kind.name);
        }
        for message in &schema.messages {
            for field in &message.fields {
                // A map's comment stands on the map field, not on its generated entry.
                let is_map_entry = message.name.ends_with("Entry") && field.doc.is_empty();
                let countable = field.ty.is_number() && !matches!(field.ty, Type::Bool | Type::Enum(_));
                if countable && !is_map_entry {
                    assert!(field.unit.is_some(), "{}.{} has no unit", message.name, field.name);
                }
                assert!(
                    is_map_entry || !field.doc.is_empty(),
                    "{}.{} has no comment",
                    message.name,
                    field.name
                );
            }
        }
    }
}
