//! Random events of every kind: the walk takes from the wire exactly what a full decode holds.
//!
//! The reference decodes with prost, which fills in the defaults of required fields, and reads by reflection. All
//! choices come from a tape of numbers, so that a failing case shrinks to those that matter. The seed is fixed;
//! `PROPTEST_RNG_SEED` sets another, and `PROPTEST_CASES` (256) scales the number of cases.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::OnceLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use prost::Message as _;
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, Kind as ReflectedKind, MapKey, MessageDescriptor,
    ReflectMessage,
};
use tocsin_engine::plan::Plan;
use tocsin_engine::project::path::{FieldPath, KindId, PathError, joined, resolve, routes_of};
use tocsin_engine::project::plan::{Placement, Projection, ProjectionBuilder, Use};
use tocsin_engine::project::walk::{Scratch, Value, WalkError, read, skip, varint};
use tocsin_proto::pb::bitcoin_primitives::Transaction;
use tocsin_proto::pb::ebpf_extractor::ebpf::EbpfEvent;
use tocsin_proto::pb::ebpf_extractor::message_event::Msg;
use tocsin_proto::pb::ebpf_extractor::{Block, Ebpf, MessageEvent};
use tocsin_proto::pb::event::Event;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::schema::{Field, MessageId, Presence, Schema, Type, descriptors};

type Reflected = prost_reflect::Value;

#[test]
fn the_walk_yields_what_a_full_decode_yields() {
    each_kind(30..1000, |kind, tape, scratch| {
        let queries = random_queries(kind, tape);
        let wanted = queries.iter().flat_map(|query| &query.paths);
        let wanted =
            wanted.flat_map(|(path, _)| &path.routes).flatten().map(|step| step.name.clone()).collect();
        let event = Writer { tape, wanted }.event(kind);
        compare(kind, queries, &event, scratch)
    });
}

#[test]
fn every_field_of_every_kind_at_once_is_what_a_full_decode_yields() {
    each_kind(10..30, |kind, tape, scratch| {
        let event = Writer { tape, wanted: BTreeSet::new() }.event(kind);
        compare(kind, all_queries(kind), &event, scratch)
    });
}

#[test]
fn damaged_events_walk_or_err_and_never_panic() {
    let with_slots = |kind| {
        let mut queries = all_queries(kind);
        let projection = project(kind, &mut queries).unwrap();
        let placements: Vec<Placement> = queries.into_iter().flat_map(|query| query.placements).collect();
        (projection, placements)
    };
    let projections: Vec<(Projection, Vec<Placement>)> =
        (0..Schema::embedded().kinds().len()).map(with_slots).collect();
    each_kind(40..200, |kind, tape, scratch| {
        let whole = Writer { tape, wanted: BTreeSet::new() }.event(kind);
        for _ in 0..4 {
            let event = damaged(&whole, tape);
            let Ok(Some((found, body))) = classify(&event) else { continue };
            let (projection, placements) = &projections[found];
            scratch.fit(projection);
            let _ = projection.rows(&event, body, scratch, &mut |scope, slots| {
                // Rows before the damage are used, so they must lie within the event too.
                for placement in placements.iter().filter(|placement| placement.scope == scope) {
                    slots[placement.slots[0]].bytes(&event);
                }
            });
        }
        Ok(())
    });
}

#[test]
fn a_path_to_members_of_a_choice_within_lists_and_outside_gives_each_element() {
    let transactions =
        (1..4).map(|byte| Transaction { txid: vec![byte; 32], ..Transaction::default() }).collect();
    let block = Block { transactions, ..Block::default() };
    let message = MessageEvent { msg: Some(Msg::Block(block)), ..MessageEvent::default() };
    let ebpf = Ebpf { ebpf_event: Some(EbpfEvent::Message(message)) };
    let event = Event { peer_observer_event: Some(PeerObserverEvent::Ebpf(ebpf)), ..Event::default() };
    // tx.tx.txid, block.transactions.txid and blocktxn.transactions.txid
    let path = resolve(Schema::embedded(), "message.txid").unwrap();
    let kind = path.kind;
    let query = Query { paths: vec![(path, Use::Each)], placements: Vec::new() };
    compare(kind, vec![query], &event.encode_to_vec(), &mut Scratch::default()).unwrap();
}

#[test]
fn a_path_never_means_two_fields_that_are_both_present() {
    // addr.addresses.port, addrv2.addresses.port, and of one version message receiver.port and sender.port
    let resolved = resolve(Schema::embedded(), "message.port");
    assert!(
        matches!(resolved, Err(PathError::Ambiguous { .. })),
        "{:?}",
        resolved.map(|path| path.routes.len())
    );
}

/// Runs a check for each kind, more often the more fields it has, within `cases`.
fn each_kind(
    cases: Range<u32>,
    check: impl Fn(KindId, &mut Tape, &mut Scratch) -> Result<(), TestCaseError>,
) {
    let schema = Schema::embedded();
    // One scratch for all: nothing may be left over from the event before.
    let scratch = std::cell::RefCell::new(Scratch::default());
    for (id, kind) in schema.kinds().iter().enumerate() {
        let mut config = Config { failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() };
        let wanted = cases.start + routes_of(schema, kind).len() as u32 * 3;
        config.cases = wanted.min(cases.end) * config.cases / 256;
        if config.rng_seed == RngSeed::Random {
            config.rng_seed = RngSeed::Fixed(id as u64);
        }
        let outcome = TestRunner::new(config).run(&vec(any::<u32>(), 0..1200), |words| {
            check(id, &mut Tape { words: words.into_iter() }, &mut scratch.borrow_mut())
        });
        match outcome {
            Ok(()) => {}
            // The tape itself tells nothing: the reason shows the paths and the event.
            Err(TestError::Fail(reason, _)) => panic!("{}: {}", kind.name, reason.message()),
            Err(TestError::Abort(reason)) => panic!("{}: {}", kind.name, reason.message()),
        }
    }
}

/// Random choices; the simplest one once the tape has run out.
struct Tape {
    words: std::vec::IntoIter<u32>,
}

impl Tape {
    fn below(&mut self, limit: usize) -> usize {
        self.words.next().unwrap_or(0) as usize % limit
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// An integer of any width, the extremes among them.
    fn bits(&mut self) -> u64 {
        let (high, low) = (self.below(1 << 32) as u64, self.below(1 << 32) as u64);
        match self.below(8) {
            0 => low % 4,
            1 => low,
            2 => u64::MAX,
            3 => *self.pick(&[u64::from(u32::MAX), 1 << 31, (1 << 31) - 1, 1 << 63, (1 << 63) - 1, 127, 128]),
            _ => (high << 32 | low) >> self.below(64),
        }
    }
}

/// Paths placed together, with what became of them.
struct Query {
    paths: Vec<(FieldPath, Use)>,
    placements: Vec<Placement>,
}

fn random_queries(kind: KindId, tape: &mut Tape) -> Vec<Query> {
    let first = random_path(kind, None, tape);
    let near = first.0.routes[0].first().map(|step| step.number);
    let mut queries = vec![Query { paths: vec![first], placements: Vec::new() }];
    for _ in 0..1 + tape.below(8) {
        let next = random_path(kind, near, tape);
        let last = queries.last_mut().expect("begun above");
        if last.paths.len() < 4 && !tape.one_in(3) {
            last.paths.push(next);
        } else {
            queries.push(Query { paths: vec![next], placements: Vec::new() });
        }
    }
    queries
}

/// Each route by its full name, once as a number and once element by element.
fn all_queries(kind: KindId) -> Vec<Query> {
    let schema = Schema::embedded();
    let kind_def = &schema.kinds()[kind];
    let names =
        routes_of(schema, kind_def).into_iter().map(|route| format!("{}.{}", kind_def.name, joined(&route)));
    let paths: Vec<FieldPath> = [kind_def.name.clone()]
        .into_iter()
        .chain(names)
        .map(|name| resolve(schema, &name).unwrap())
        .collect();
    [Use::Number, Use::Each]
        .iter()
        .flat_map(|usage| paths.iter().map(|path| (path.clone(), *usage)))
        .map(|path| Query { paths: vec![path], placements: Vec::new() })
        .collect()
}

/// A random field by its full name, or by a shorter one that still means something; mostly one that can be present
/// together with the member `near` of the kind's choice.
fn random_path(kind: KindId, near: Option<u32>, tape: &mut Tape) -> (FieldPath, Use) {
    let schema = Schema::embedded();
    let kind_def = &schema.kinds()[kind];
    let usage = *tape.pick(&[Use::Each, Use::Number]);
    let mut routes = routes_of(schema, kind_def);
    if near.is_some() && !tape.one_in(4) {
        let is_choice = |step: &Field| matches!(step.presence, Presence::Oneof(_));
        routes.retain(|route| Some(route[0].number) == near || !is_choice(&route[0]));
    }
    if routes.is_empty() || tape.one_in(12) {
        return (resolve(schema, &kind_def.name).unwrap(), usage);
    }
    let route = tape.pick(&routes);
    let full = resolve(schema, &format!("{}.{}", kind_def.name, joined(route))).unwrap();
    assert!(
        full.routes.iter().any(|found| joined(found) == joined(route)),
        "{} is another field",
        joined(route)
    );
    let (last, before) = route.split_last().expect("never empty");
    let mut segments: Vec<&str> = before.iter().map(|step| step.name.as_str()).collect();
    segments.retain(|_| !tape.one_in(2));
    segments.push(&last.name);
    let short = resolve(schema, &format!("{}.{}", kind_def.name, segments.join(".")));
    (short.unwrap_or(full), usage)
}

fn project(kind: KindId, queries: &mut [Query]) -> Result<Projection, TestCaseError> {
    let schema = Schema::embedded();
    let mut builder = ProjectionBuilder::new(&schema.kinds()[kind].field);
    for query in queries {
        let paths: Vec<(&FieldPath, Use)> = query.paths.iter().map(|(path, usage)| (path, *usage)).collect();
        let placed = builder.place(&paths);
        prop_assert_eq!(placed.is_err(), meetings(&query.paths).is_empty(), "{:?}", placed);
        query.placements = placed.unwrap_or_default();
    }
    Ok(builder.build(schema))
}

/// Walks and decodes the event and compares the rows of all placements.
fn compare(
    kind: KindId,
    mut queries: Vec<Query>,
    event: &[u8],
    scratch: &mut Scratch,
) -> Result<(), TestCaseError> {
    let projection = project(kind, &mut queries)?;
    let (found, body) = classify(event).unwrap().expect("a kind of the schema");
    prop_assert_eq!(found, kind);
    scratch.fit(&projection);
    let mut rows = Vec::new();
    let walked =
        projection.rows(event, body, scratch, &mut |scope, slots| rows.push((scope, slots.to_vec())));
    prop_assert_eq!(walked, Ok(()));
    let body = decoded_body(kind, event);
    for Query { paths, placements } in &queries {
        let meetings = meetings(paths);
        prop_assert_eq!(placements.len(), meetings.len());
        for (placement, meeting) in placements.iter().zip(&meetings) {
            let of_scope = rows.iter().filter(|(scope, _)| *scope == placement.scope);
            let walked: Vec<Vec<Value>> = of_scope
                .map(|(_, slots)| placement.slots.iter().map(|slot| slots[*slot]).collect())
                .collect();
            let expected: Vec<Vec<Option<Reflected>>> = contexts(&body, meeting)
                .iter()
                .map(|context| paths.iter().map(|path| value_of(path, meeting, &body, context)).collect())
                .collect();
            let same = walked.len() == expected.len()
                && walked.iter().zip(&expected).all(|(walked, expected)| {
                    walked.iter().zip(expected).all(|(walked, expected)| is_same(*walked, expected, event))
                });
            let names = |(path, usage): &(FieldPath, Use)| {
                format!("{usage:?} {:?}", path.routes.iter().map(|route| joined(route)).collect::<Vec<_>>())
            };
            let names: Vec<String> = paths.iter().map(names).collect();
            prop_assert!(
                same,
                "{names:#?} in list {meeting:?}:\nwalked {walked:?}\nexpected {expected:?}\nevent {event:02x?}"
            );
        }
    }
    Ok(())
}

/// The kind of an event and its value, as the engine finds them.
fn classify(event: &[u8]) -> Result<Option<(KindId, Value)>, WalkError> {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    let plan = PLAN.get_or_init(|| Plan::new(Schema::embedded(), &[], &[]).expect("no rules, no errors"));
    let (mut at, mut found) = (0, None);
    while at < event.len() {
        let (key, after) = varint(event, at)?;
        let (number, wire_type) = ((key >> 3) as u32, (key & 7) as u8);
        at = if (1..=5).contains(&number) || number == 110 {
            let (value, after) = read(Type::Message(0), event, after, number, wire_type)?;
            found = Some((number, value));
            after
        } else {
            skip(event, after, wire_type)?
        };
    }
    let Some((extractor, body)) = found else { return Ok(None) };
    plan.classify(event, extractor, body)
}

/// One to four bytes changed, taken away or put in, or the end cut off.
fn damaged(whole: &[u8], tape: &mut Tape) -> Vec<u8> {
    let mut event = whole.to_vec();
    for _ in 0..1 + tape.below(4) {
        let at = tape.below(event.len() + 1);
        match tape.below(4) {
            0 if at < event.len() => event[at] = tape.below(256) as u8,
            1 if at < event.len() => event[at] ^= 1 << tape.below(8),
            2 => event.insert(at, tape.below(256) as u8),
            _ => event.truncate(at),
        }
    }
    event
}

// ---------------------------------------------------------------------------------------------------------------
// The wire writer.

/// Writes random events.
struct Writer<'t> {
    tape: &'t mut Tape,
    /// Names of fields that a choice takes more often than others.
    wanted: BTreeSet<String>,
}

impl Writer<'_> {
    fn event(&mut self, kind: KindId) -> Vec<u8> {
        let kind = &Schema::embedded().kinds()[kind];
        let (last, outer) = kind.numbers.split_last().expect("a kind is below the event");
        let mut chunks = vec![(*last, self.tagged(*last, kind.field.ty))];
        for number in outer.iter().rev() {
            self.add_unknown(&mut chunks);
            let message = self.joined(chunks);
            let mut chunk = self.tag(*number, 2);
            chunk.extend(self.length_delimited(&message));
            chunks = vec![(*number, chunk)];
        }
        for (number, ty) in [(10, Type::U64), (100, Type::Str), (101, Type::U64), (102, Type::U64)] {
            if !self.tape.one_in(2) {
                chunks.push((number, self.tagged(number, ty)));
            }
        }
        self.add_unknown(&mut chunks);
        self.joined(chunks)
    }

    fn message(&mut self, id: MessageId) -> Vec<u8> {
        let fields = &Schema::embedded().message(id).fields;
        let chosen = self.choices(fields);
        let mut chunks = Vec::new();
        for field in fields {
            match field.presence {
                Presence::Required if self.tape.one_in(12) => {}
                Presence::Optional if !self.tape.one_in(2) => {}
                Presence::Oneof(oneof) if chosen[&oneof] != Some(field.number) => {}
                Presence::Repeated => self.list(field, &mut chunks),
                _ => chunks.push((field.number, self.tagged(field.number, field.ty))),
            }
        }
        self.add_unknown(&mut chunks);
        self.joined(chunks)
    }

    /// The member that each oneof has, if any.
    fn choices(&mut self, fields: &[Field]) -> BTreeMap<i32, Option<u32>> {
        let mut members: BTreeMap<i32, Vec<&Field>> = BTreeMap::new();
        for field in fields {
            if let Presence::Oneof(oneof) = field.presence {
                members.entry(oneof).or_default().push(field);
            }
        }
        let choose = |members: Vec<&Field>| {
            let wanted: Vec<&Field> =
                members.iter().copied().filter(|member| self.wanted.contains(&member.name)).collect();
            let from = if wanted.is_empty() || self.tape.one_in(4) { members } else { wanted };
            let member = self.tape.pick(&from).number;
            (!self.tape.one_in(12)).then_some(member)
        };
        members.into_values().map(choose).enumerate().map(|(oneof, member)| (oneof as i32, member)).collect()
    }

    fn list(&mut self, field: &Field, chunks: &mut Vec<(u32, Vec<u8>)>) {
        let mut count = self.tape.below(5);
        if let Some((key, value)) = entry_types(field) {
            return self.map(field.number, key, value, count, chunks);
        }
        if field.ty.is_number() && self.tape.one_in(3) {
            let packed: Vec<u8> = (0..count).flat_map(|_| self.value(field.ty)).collect();
            let mut chunk = self.tag(field.number, 2);
            chunk.extend(self.length_delimited(&packed));
            chunks.push((field.number, chunk));
            // Both ways in one message are allowed and add up.
            count = self.tape.below(2);
        }
        for _ in 0..count {
            chunks.push((field.number, self.tagged(field.number, field.ty)));
        }
    }

    /// Entries in order of their keys, each once: what is left when a map was decoded.
    fn map(&mut self, number: u32, key: Type, value: Type, count: usize, chunks: &mut Vec<(u32, Vec<u8>)>) {
        let mut texts: Vec<String> = (0..count).map(|_| self.text()).collect();
        let mut numbers: Vec<u32> = (0..count).map(|_| self.tape.bits() as u32).collect();
        texts.sort();
        texts.dedup();
        numbers.sort();
        numbers.dedup();
        let keys: Vec<Vec<u8>> = match key {
            Type::Str => texts.iter().map(|text| self.length_delimited(text.as_bytes())).collect(),
            Type::U32 => numbers.iter().map(|number| self.varint(u64::from(*number))).collect(),
            other => unimplemented!("{other:?} is the key of no map"),
        };
        for encoded in keys {
            let mut entry = Vec::new();
            // An absent key is the default.
            if encoded != [0] || self.tape.one_in(2) {
                let mut chunk = self.tag(1, if key == Type::Str { 2 } else { 0 });
                chunk.extend(encoded);
                entry.push((1, chunk));
            }
            if !self.tape.one_in(8) {
                entry.push((2, self.tagged(2, value)));
            }
            self.add_unknown(&mut entry);
            let entry = self.joined(entry);
            let mut chunk = self.tag(number, 2);
            chunk.extend(self.length_delimited(&entry));
            chunks.push((number, chunk));
        }
    }

    /// Fields of newer versions.
    fn add_unknown(&mut self, chunks: &mut Vec<(u32, Vec<u8>)>) {
        while self.tape.one_in(6) {
            let number = 500 + self.tape.below(3000) as u32;
            let (wire_type, value) = match self.tape.below(4) {
                0 => (0, self.value(Type::U64)),
                1 => (1, self.value(Type::Fixed64)),
                2 => (2, self.value(Type::Bytes)),
                _ => (5, vec![0xff; 4]),
            };
            let mut chunk = self.tag(number, wire_type);
            chunk.extend(value);
            chunks.push((number, chunk));
        }
    }

    /// The fields one behind the other, sometimes in another order; elements of a list stay in theirs.
    fn joined(&mut self, mut chunks: Vec<(u32, Vec<u8>)>) -> Vec<u8> {
        if self.tape.one_in(4) {
            let mut order: Vec<u32> = chunks.iter().map(|(number, _)| *number).collect();
            for index in (1..order.len()).rev() {
                order.swap(index, self.tape.below(index + 1));
            }
            let mut shuffled = Vec::new();
            for number in order {
                let next =
                    chunks.iter().position(|(other, _)| *other == number).expect("each number as often");
                shuffled.push(chunks.remove(next));
            }
            chunks = shuffled;
        }
        chunks.into_iter().flat_map(|(_, chunk)| chunk).collect()
    }

    fn tagged(&mut self, number: u32, ty: Type) -> Vec<u8> {
        let wire_type = match ty {
            Type::Fixed64 | Type::F64 => 1,
            Type::Str | Type::Bytes | Type::Message(_) => 2,
            _ => 0,
        };
        let mut chunk = self.tag(number, wire_type);
        chunk.extend(self.value(ty));
        chunk
    }

    fn tag(&mut self, number: u32, wire_type: u64) -> Vec<u8> {
        self.varint(u64::from(number) << 3 | wire_type)
    }

    fn value(&mut self, ty: Type) -> Vec<u8> {
        match ty {
            Type::Message(id) => {
                let message = self.message(id);
                self.length_delimited(&message)
            }
            Type::Str => {
                let text = self.text();
                self.length_delimited(text.as_bytes())
            }
            Type::Bytes => {
                let len = *self.tape.pick(&[0, 1, 6, 32, 300]);
                let bytes: Vec<u8> = (0..len).map(|index| index as u8 ^ 0x5a).collect();
                self.length_delimited(&bytes)
            }
            Type::F64 => {
                let bits = f64::from_bits(self.tape.bits());
                let extremes = [0.0, -0.0, 1.5, -1e-300, f64::INFINITY, f64::MIN, bits];
                let value = *self.tape.pick(&extremes);
                // NaN equals nothing, and no JSON holds one.
                (if value.is_nan() { 0.25 } else { value }).to_le_bytes().to_vec()
            }
            Type::Fixed64 => self.tape.bits().to_le_bytes().to_vec(),
            Type::Bool => {
                let value = self.tape.below(2) as u64;
                self.varint(value)
            }
            Type::Enum(id) if !self.tape.one_in(4) => {
                let number = self.tape.pick(&Schema::embedded().enumeration(id).values).1;
                self.varint(number as u64)
            }
            Type::U64 | Type::I64 | Type::S64 => {
                let value = self.tape.bits();
                self.varint(value)
            }
            Type::U32 | Type::S32 => {
                let value = self.tape.bits() as u32;
                self.wide(u64::from(value))
            }
            // A negative number has ten bytes on the wire.
            Type::I32 | Type::Enum(_) => {
                let value = self.tape.bits() as i32;
                self.wide(value as u64)
            }
        }
    }

    /// A narrow number, seldom one that is too wide and gets cut.
    fn wide(&mut self, value: u64) -> Vec<u8> {
        let excess = if self.tape.one_in(20) { 1 << (32 + self.tape.below(32)) } else { 0 };
        self.varint(value ^ excess)
    }

    fn text(&mut self) -> String {
        let texts = ["", "a", "ping", "/Satoshi:29.0.0/", "größe €", "🦀\0\n", "\u{10ffff}"];
        let text = *self.tape.pick(&texts);
        if self.tape.one_in(10) {
            format!("{text}{}", self.tape.below(1000)).repeat(40)
        } else {
            text.to_string()
        }
    }

    fn length_delimited(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut chunk = self.varint(bytes.len() as u64);
        chunk.extend(bytes);
        chunk
    }

    /// A varint, seldom in more bytes than it needs.
    fn varint(&mut self, mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        if bytes.len() < 9 && self.tape.one_in(60) {
            *bytes.last_mut().expect("never empty") |= 0x80;
            bytes.push(0);
        }
        bytes
    }
}

/// The types of key and value if a list is a map.
fn entry_types(field: &Field) -> Option<(Type, Type)> {
    let Type::Message(id) = field.ty else { return None };
    let message = Schema::embedded().message(id);
    match message.fields.as_slice() {
        [key, value] if message.name.ends_with("Entry") && key.name == "key" && value.name == "value" => {
            Some((key.ty, value.ty))
        }
        _ => None,
    }
}

// ---------------------------------------------------------------------------------------------------------------
// The reference.

/// The value of the event's kind after a full decode.
fn decoded_body(kind: KindId, event: &[u8]) -> Reflected {
    static EVENT: OnceLock<MessageDescriptor> = OnceLock::new();
    let descriptor = EVENT.get_or_init(|| {
        let pool = DescriptorPool::decode(descriptors()).expect("written by build.rs");
        pool.get_message_by_name("event.Event").expect("in the schema")
    });
    let filled = Event::decode(event).expect("our own encoding").encode_to_vec();
    let event = DynamicMessage::decode(descriptor.clone(), &filled[..]).expect("prost's encoding");
    let numbers = &Schema::embedded().kinds()[kind].numbers;
    numbers.iter().fold(Reflected::Message(canonical(&event)), |value, number| {
        let message = value.as_message().expect("a kind is below messages");
        message.get_field_by_number(*number).expect("of the schema").into_owned()
    })
}

/// The message with its required fields, and key and value of a map's entry, filled in and without unknown ones.
fn canonical(message: &DynamicMessage) -> DynamicMessage {
    let mut filled = DynamicMessage::new(message.descriptor());
    let is_entry = message.descriptor().is_map_entry();
    for field in message.descriptor().fields() {
        if message.has_field(&field) || is_entry || field.cardinality() == Cardinality::Required {
            filled.set_field(&field, canonical_value(&message.get_field(&field)));
        }
    }
    filled
}

fn canonical_value(value: &Reflected) -> Reflected {
    match value {
        Reflected::Message(message) => Reflected::Message(canonical(message)),
        Reflected::List(list) => Reflected::List(list.iter().map(canonical_value).collect()),
        Reflected::Map(map) => {
            Reflected::Map(map.iter().map(|(key, value)| (key.clone(), canonical_value(value))).collect())
        }
        other => other.clone(),
    }
}

/// The lists in which paths meet, as the field numbers on the way there.
fn meetings(paths: &[(FieldPath, Use)]) -> Vec<Vec<u32>> {
    let of_path = |(path, usage): &(FieldPath, Use)| -> BTreeSet<Vec<u32>> {
        path.routes.iter().map(|route| list_of(route, *usage)).collect()
    };
    let lists: Vec<BTreeSet<Vec<u32>>> = paths.iter().map(of_path).collect();
    let candidates: BTreeSet<Vec<u32>> = lists.iter().flatten().cloned().chain([Vec::new()]).collect();
    let fits =
        |meeting: &Vec<u32>| lists.iter().all(|lists| lists.iter().any(|list| meeting.starts_with(list)));
    candidates.into_iter().filter(fits).collect()
}

/// The innermost list on a route that gives a row an element.
fn list_of(route: &[Field], usage: Use) -> Vec<u32> {
    let mut steps: Vec<&Field> = route.iter().collect();
    if usage == Use::Number {
        steps.pop();
    }
    while steps.last().is_some_and(|step| step.presence != Presence::Repeated) {
        steps.pop();
    }
    steps.iter().map(|step| step.number).collect()
}

/// For each row of a list: the elements it and the lists enclosing it have in this row.
fn contexts(body: &Reflected, list: &[u32]) -> Vec<Vec<Reflected>> {
    let Some((number, rest)) = list.split_first() else { return vec![Vec::new()] };
    let message = body.as_message().expect("lists are in messages");
    let field = message.descriptor().get_field(*number).expect("of the schema");
    if !field.is_list() && !field.is_map() {
        return step(message, *number).map_or(Vec::new(), |value| contexts(&value, rest));
    }
    let mut rows = Vec::new();
    for element in elements(message, *number) {
        for mut inner in contexts(&element, rest) {
            inner.insert(0, element.clone());
            rows.push(inner);
        }
    }
    rows
}

/// The value of a field that is no list; none if it is absent.
fn step(message: &DynamicMessage, number: u32) -> Option<Reflected> {
    let field = message.descriptor().get_field(number).expect("of the schema");
    message.has_field(&field).then(|| message.get_field(&field).into_owned())
}

/// The elements of a list, or the entries of a map in order of their keys.
fn elements(message: &DynamicMessage, number: u32) -> Vec<Reflected> {
    let field = message.descriptor().get_field(number).expect("of the schema");
    match message.get_field(&field).into_owned() {
        Reflected::List(list) => list,
        Reflected::Map(map) => {
            let ReflectedKind::Message(entry) = field.kind() else { unreachable!("entries are messages") };
            let sorted: BTreeMap<MapKey, Reflected> = map.into_iter().collect();
            let entry_of = |(key, value): (MapKey, Reflected)| {
                let mut entry = DynamicMessage::new(entry.clone());
                entry.set_field_by_number(1, key.into());
                entry.set_field_by_number(2, value);
                Reflected::Message(entry)
            };
            sorted.into_iter().map(entry_of).collect()
        }
        other => unreachable!("{other:?} is no list"),
    }
}

/// What a path means in one row: the value of whichever of its routes is there.
fn value_of(
    (path, usage): &(FieldPath, Use),
    meeting: &[u32],
    body: &Reflected,
    context: &[Reflected],
) -> Option<Reflected> {
    let here = |route: &&Vec<Field>| meeting.starts_with(&list_of(route, *usage));
    let mut values =
        path.routes.iter().filter(here).filter_map(|route| route_value(route, *usage, body, context));
    let value = values.next();
    assert!(
        values.next().is_none(),
        "{:?} means two fields that are both present",
        path.routes.iter().map(|route| joined(route)).collect::<Vec<_>>()
    );
    value
}

fn route_value(route: &[Field], usage: Use, body: &Reflected, context: &[Reflected]) -> Option<Reflected> {
    let mut value = body.clone();
    let mut context = context.iter();
    for (index, field) in route.iter().enumerate() {
        let message = value.as_message().expect("only messages have fields");
        value = if field.presence != Presence::Repeated {
            step(message, field.number)?
        } else if usage == Use::Number && index + 1 == route.len() {
            Reflected::U64(elements(message, field.number).len() as u64)
        } else {
            context.next().expect("a route's lists are those of its row").clone()
        };
    }
    Some(value)
}

/// True if the walk's value, and the number it stands for, are those of the decoded event.
fn is_same(walked: Value, expected: &Option<Reflected>, event: &[u8]) -> bool {
    let Some(expected) = expected else { return walked == Value::Absent && walked.number().is_none() };
    let number = match expected {
        Reflected::Bool(value) => f64::from(u8::from(*value)),
        Reflected::I32(value) | Reflected::EnumNumber(value) => f64::from(*value),
        Reflected::I64(value) => *value as f64,
        Reflected::U32(value) => f64::from(*value),
        Reflected::U64(value) => *value as f64,
        Reflected::F64(value) => *value,
        Reflected::String(value) => value.len() as f64,
        Reflected::Bytes(value) => value.len() as f64,
        // The length of a message says nothing that a decoded one could be compared with.
        _ => walked.number().unwrap_or_default(),
    };
    walked.number().map(f64::to_bits) == Some(number.to_bits())
        && match (walked, expected) {
            (Value::Bool(walked), Reflected::Bool(expected)) => walked == *expected,
            (Value::I64(walked), Reflected::I32(expected) | Reflected::EnumNumber(expected)) => {
                walked == i64::from(*expected)
            }
            (Value::I64(walked), Reflected::I64(expected)) => walked == *expected,
            (Value::U64(walked), Reflected::U32(expected)) => walked == u64::from(*expected),
            (Value::U64(walked), Reflected::U64(expected)) => walked == *expected,
            (Value::F64(walked), Reflected::F64(expected)) => walked.to_bits() == expected.to_bits(),
            (Value::Bytes { .. }, Reflected::String(expected)) => walked.bytes(event) == expected.as_bytes(),
            (Value::Bytes { .. }, Reflected::Bytes(expected)) => walked.bytes(event) == expected,
            (Value::Bytes { .. }, Reflected::Message(expected)) => {
                DynamicMessage::decode(expected.descriptor(), walked.bytes(event))
                    .is_ok_and(|walked| canonical(&walked) == canonical(expected))
            }
            _ => false,
        }
}
