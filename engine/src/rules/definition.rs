//! What a rule declares, checked: the typed form of its `RULE` literal and of its header.

use std::time::Duration;

use rhai::Position;
use tocsin_proto::schema::{PEER_ID_UNIT, Schema, Type};

use super::literal::{Complaint, Entry, Literal, LiteralValue};
use super::{Severity, Status};
use crate::detectors::{Direction, Kind};
use crate::project::path::{self, FieldPath, KindId, nearest_names};
use crate::time::parse_duration;
use crate::windows::watch::{Take, Watched};
use crate::windows::{Aggregate, Window};

/// Keys a rule's windows may hold for each node unless it says otherwise. A node has at most some hundreds of peers
/// at once, so this is room for a day of churn; at a few hundred bytes a key it bounds a table to some megabytes.
pub const KEYS_MAX_DEFAULT: i64 = 16_384;

/// The declared part of a rule.
#[derive(Debug, Clone)]
pub struct Definition {
    /// How bad it is.
    pub severity: Severity,
    /// Whether it may wake people.
    pub status: Status,
    /// Fields the rule's keys are made of.
    pub by: Vec<FieldPath>,
    /// Time between evaluations.
    pub every: Duration,
    /// How long findings must last before the alert fires.
    pub for_s: Duration,
    /// How long the alert keeps firing without findings.
    pub keep_firing_for_s: Duration,
    /// Keys per node at most.
    pub keys_max: usize,
    /// Whether it sees one node or all of them.
    pub scope: Scope,
    /// Rules that inhibit this one while they fire on the same node.
    pub unless: Vec<(String, Position)>,
    /// Numbers and texts that configuration may override.
    pub params: Vec<Param>,
    /// Windows by the names the script uses.
    pub windows: Vec<WindowDefinition>,
    /// Events that `on_event` is called for.
    pub on: Vec<EventFilter>,
    /// What `this` holds before the first event of a key.
    pub state: Option<Literal>,
}

/// What a rule sees at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One node.
    Node,
    /// All nodes.
    Fleet,
}

/// A parameter with its default.
#[derive(Debug, Clone)]
pub struct Param {
    /// Its name in `params`.
    pub name: String,
    /// Its value unless overridden.
    pub value: LiteralValue,
}

/// A window as a rule declares it.
#[derive(Debug, Clone)]
pub struct WindowDefinition {
    /// Its name in `w`.
    pub name: String,
    /// Aggregate and span.
    pub window: Window,
    /// The field whose values are aggregated.
    pub value: FieldPath,
    /// The same as the rule writes it.
    pub text: String,
    /// Which events are taken.
    pub filter: Vec<Condition>,
    /// Fields its keys are made of, if they differ from the rule's. Empty: one value for the whole node.
    pub by: Option<Vec<FieldPath>>,
    /// Where it stands.
    pub position: Position,
}

impl WindowDefinition {
    /// What it says, in words: `sum of message.addresses over 10m`.
    pub fn quantity(&self) -> String {
        let over_ms = self.window.over_ms;
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
        let (unit_ms, unit) = units
            .into_iter()
            .find(|(unit_ms, _)| over_ms % unit_ms == 0)
            .expect("each is whole in milliseconds");
        let over = format!("over {}{unit}", over_ms / unit_ms);
        match self.window.aggregate {
            Aggregate::Age => format!("age of {}", self.text),
            Aggregate::Quantile(q) => format!("quantile {q} of {} {over}", self.text),
            Aggregate::Anomaly(watched) => {
                let seconds = watched.step_ms / 1000;
                format!("{} of {} each {seconds}s", watched.take.name(), self.text)
            }
            other => format!("{} of {} {over}", other.name(), self.text),
        }
    }

    /// Unit of what it says, as the schema writes it; empty for plain numbers.
    pub fn unit(&self) -> String {
        // Of a list its length is taken.
        let is_plain = ["count", "number", "id", "index", "hash", "ratio", "height", PEER_ID_UNIT];
        let of_field = self.value.field.unit.as_deref().filter(|_| !self.value.field.is_repeated());
        let of_field = of_field.filter(|unit| !is_plain.contains(unit)).unwrap_or("");
        match self.window.aggregate {
            Aggregate::Count | Aggregate::Distinct => String::new(),
            Aggregate::Age => "s".to_string(),
            Aggregate::Rate => format!("{of_field}/s"),
            Aggregate::Anomaly(watched) => match watched.take {
                Take::Count | Take::PollCount | Take::TopShare => String::new(),
                Take::Rate => format!("{of_field}/s"),
                _ => of_field.to_string(),
            },
            _ => of_field.to_string(),
        }
    }
}

/// Events of one kind that fit a filter.
#[derive(Debug, Clone)]
pub struct EventFilter {
    /// The event kind.
    pub kind: KindId,
    /// Which of them.
    pub filter: Vec<Condition>,
    /// Where it stands.
    pub position: Position,
}

/// A condition on one field.
#[derive(Debug, Clone)]
pub struct Condition {
    /// The field.
    pub field: FieldPath,
    /// What it must be.
    pub test: Test,
}

/// What a field must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// One of these values.
    In(Vec<Operand>),
    /// None of these values.
    NotIn(Vec<Operand>),
    /// A number between these, both included.
    Range {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
}

/// A value a field is compared with, by the field's type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operand {
    /// An integer or an enum's number.
    Int(i64),
    /// True or false.
    Bool(bool),
    /// Text.
    Text(String),
}

const KEYS: [&str; 14] = [
    "severity",
    "status",
    "by",
    "every",
    "for_s",
    "keep_firing_for_s",
    "max_keys",
    "scope",
    "unless",
    "params",
    "windows",
    "on",
    "state",
    // Gone before a definition is read; see `series`.
    "for_each",
];
/// Keys of an anomaly window.
const ANOMALY_KEYS: [&str; 10] =
    ["anomaly", "take", "step", "detector", "season", "over", "direction", "effect_min", "where", "by"];
/// What a script can read of an anomaly window.
pub const ASSESSMENT_FIELDS: [&str; 8] =
    ["value", "score", "expected", "lower", "upper", "warm", "tier", "reported_s"];
const DAY_S: i64 = 86_400;

impl Definition {
    /// Reads and checks a `RULE` literal; every complaint it finds is returned.
    pub fn read(schema: &Schema, literal: &Literal) -> Result<Definition, Vec<Complaint>> {
        let mut reader = Reader { schema, complaints: Vec::new() };
        let definition = reader.definition(literal);
        match definition {
            Some(definition) if reader.complaints.is_empty() => Ok(definition),
            _ => Err(reader.complaints),
        }
    }
}

struct Reader<'s> {
    schema: &'s Schema,
    complaints: Vec<Complaint>,
}

impl Reader<'_> {
    /// Notes what is wrong and goes on, so that one run shows all there is to mend.
    fn note<T>(&mut self, result: Result<T, Complaint>) -> Option<T> {
        result.map_err(|complaint| self.complaints.push(complaint)).ok()
    }

    fn definition(&mut self, literal: &Literal) -> Option<Definition> {
        let entries = self.note(literal.map("RULE"))?;
        let known = &KEYS;
        self.refuse_unknown("RULE", entries, known);
        let get = |name: &str| entries.iter().find(|entry| entry.name == name).map(|entry| &entry.literal);

        let severity = self.severity(get("severity"), literal.position);
        let status = self.status(get("status"));
        let by = get("by").map_or(Vec::new(), |by| self.paths(by, "by"));
        let every = self.duration(get("every"), "every", "5s");
        let for_s = self.seconds(get("for_s"), "for_s", 0);
        let keep_firing_for_s = self.seconds(get("keep_firing_for_s"), "keep_firing_for_s", 300);
        let keys_max = self.int(get("max_keys"), "max_keys", KEYS_MAX_DEFAULT, 1..=1_000_000);
        let scope = self.scope(get("scope"));
        let unless = get("unless").map_or(Vec::new(), |unless| {
            let names = unless.texts("unless");
            let names = self.note(names).unwrap_or_default();
            names.into_iter().map(|(name, position)| (name.to_string(), position)).collect()
        });
        let params = get("params").map_or(Vec::new(), |params| self.params(params));
        let windows = get("windows").map_or(Vec::new(), |windows| self.windows(windows));
        // Fleet rules compare what nodes say now.
        if scope == Some(Scope::Node) {
            self.check_steps(&windows, every);
        }
        let on = get("on").map_or(Vec::new(), |on| self.on(on));
        let state = get("state").cloned();
        if let Some(state) = &state {
            let checked = state.map("state").map(|_| ());
            self.note(checked);
        }
        Some(Definition {
            severity: severity?,
            status: status?,
            by,
            every: every?,
            for_s: for_s?,
            keep_firing_for_s: keep_firing_for_s?,
            keys_max: usize::try_from(keys_max?).expect("checked to be at least 1"),
            scope: scope?,
            unless,
            params,
            windows,
            on,
            state,
        })
    }

    fn refuse_unknown(&mut self, what: &str, entries: &[Entry], known: &[&str]) {
        for entry in entries.iter().filter(|entry| !known.contains(&entry.name.as_str())) {
            let nearest = nearest_names(known.iter().map(|name| name.to_string()), &entry.name);
            let expected = if nearest.is_empty() { known.join(", ") } else { nearest.join(", ") };
            let message = format!("{what} has no key {:?}, expected {expected}", entry.name);
            self.complaints.push(Complaint::new(entry.position, message));
        }
    }

    fn choice<T>(
        &mut self,
        literal: Option<&Literal>,
        what: &str,
        choices: &[(&str, T)],
        default: Option<T>,
    ) -> Option<T>
    where
        T: Copy,
    {
        let Some(literal) = literal else { return default };
        let text = self.note(literal.text(what))?;
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let message = format!("{what} is {text:?}, expected one of {}", names.join(", "));
            self.complaints.push(Complaint::new(literal.position, message));
        }
        found
    }

    fn severity(&mut self, literal: Option<&Literal>, rule: Position) -> Option<Severity> {
        if literal.is_none() {
            self.complaints
                .push(Complaint::new(rule, "RULE has no severity, expected info, warning or critical"));
        }
        let choices =
            [("info", Severity::Info), ("warning", Severity::Warning), ("critical", Severity::Critical)];
        self.choice(literal, "severity", &choices, None)
    }

    fn status(&mut self, literal: Option<&Literal>) -> Option<Status> {
        let choices = [("stable", Status::Stable), ("experimental", Status::Experimental)];
        self.choice(literal, "status", &choices, Some(Status::Experimental))
    }

    fn scope(&mut self, literal: Option<&Literal>) -> Option<Scope> {
        self.choice(literal, "scope", &[("node", Scope::Node), ("fleet", Scope::Fleet)], Some(Scope::Node))
    }

    fn int(
        &mut self,
        literal: Option<&Literal>,
        what: &str,
        default: i64,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<i64> {
        match literal {
            Some(literal) => self.note(literal.int(what, range)),
            None => Some(default),
        }
    }

    fn seconds(&mut self, literal: Option<&Literal>, what: &str, default: i64) -> Option<Duration> {
        let seconds = self.int(literal, what, default, 0..=7 * DAY_S)?;
        Some(Duration::from_secs(seconds as u64))
    }

    fn duration(&mut self, literal: Option<&Literal>, what: &str, default: &str) -> Option<Duration> {
        let (text, position) = match literal {
            Some(literal) => (self.note(literal.text(what))?, literal.position),
            None => (default, Position::NONE),
        };
        let parsed =
            parse_duration(text).map_err(|error| Complaint::new(position, format!("{what}: {error}")));
        let duration = self.note(parsed)?;
        // A tick costs; what a window says cannot be known more exactly than events arrive.
        if duration < Duration::from_millis(100) {
            let message = format!("{what} is {text:?}, expected at least 100ms");
            self.complaints.push(Complaint::new(position, message));
        }
        Some(duration)
    }

    fn paths(&mut self, literal: &Literal, what: &str) -> Vec<FieldPath> {
        let texts = self.note(literal.texts(what)).unwrap_or_default();
        texts
            .into_iter()
            .filter_map(|(text, position)| {
                let path = path::resolve(self.schema, text)
                    .map_err(|error| Complaint::new(position, format!("{what}: {error}")));
                let path = self.note(path)?;
                self.check_key(&path, text, what, position);
                Some(path)
            })
            .collect()
    }

    fn check_key(&mut self, path: &FieldPath, text: &str, what: &str, position: Position) {
        if matches!(path.field.ty, Type::F64 | Type::Message(_)) {
            let message =
                format!("{what}: {text:?} cannot be a key, expected a field of integers, texts or bytes");
            self.complaints.push(Complaint::new(position, message));
        }
    }

    fn params(&mut self, literal: &Literal) -> Vec<Param> {
        let entries = self.note(literal.map("params")).unwrap_or_default();
        let param = |entry: &Entry| {
            if matches!(entry.literal.value, LiteralValue::Map(_)) {
                let message = format!(
                    "param {} is a map, expected a number, a text, true or false or a list",
                    entry.name
                );
                self.complaints.push(Complaint::new(entry.literal.position, message));
            }
            Param { name: entry.name.clone(), value: entry.literal.value.clone() }
        };
        entries.iter().map(param).collect()
    }

    fn windows(&mut self, literal: &Literal) -> Vec<WindowDefinition> {
        let entries = self.note(literal.map("windows")).unwrap_or_default();
        entries.iter().filter_map(|entry| self.window(entry)).collect()
    }

    fn window(&mut self, entry: &Entry) -> Option<WindowDefinition> {
        let what = format!("window {}", entry.name);
        let parts = self.note(entry.literal.map(&what))?;
        if parts.iter().any(|part| part.name == "anomaly") {
            return self.anomaly(entry, &what, parts);
        }
        let mut known: Vec<&str> = Aggregate::NAMES.to_vec();
        known.push("anomaly");
        known.extend(["q", "where", "over", "by"]);
        self.refuse_unknown(&what, parts, &known);
        self.refuse_taken_name(entry, &what);
        let get = |name: &str| parts.iter().find(|part| part.name == name).map(|part| &part.literal);
        let mut aggregates = parts.iter().filter(|part| Aggregate::NAMES.contains(&part.name.as_str()));
        let (Some(aggregate_part), None) = (aggregates.next(), aggregates.next()) else {
            let message = format!("{what} needs exactly one of {}, anomaly", Aggregate::NAMES.join(", "));
            self.complaints.push(Complaint::new(entry.position, message));
            return None;
        };
        let aggregate = self.aggregate(&what, &aggregate_part.name, get("q"), entry.position)?;
        let value_text = self.note(aggregate_part.literal.text(&what))?;
        let value = path::resolve(self.schema, value_text)
            .map_err(|error| Complaint::new(aggregate_part.literal.position, format!("{what}: {error}")));
        let value = self.note(value)?;
        self.check_number(&what, aggregate, &value, value_text, aggregate_part.literal.position);
        let over = match get("over") {
            Some(over) => self.duration(Some(over), &format!("{what}: over"), "")?,
            None => {
                self.complaints
                    .push(Complaint::new(entry.position, format!("{what} has no over, as over: \"10m\"")));
                return None;
            }
        };
        if (over.as_millis() as i64) < Window::OVER_MS_MIN {
            self.complaints.push(Complaint::new(
                entry.position,
                format!("{what}: over is too short, expected at least 1s"),
            ));
        }
        let filter = get("where").map_or(Vec::new(), |filter| self.conditions(&what, value.kind, filter));
        let by = get("by").map(|by| self.paths(by, &format!("{what}: by")));
        let window = Window {
            aggregate,
            over_ms: over.as_millis() as i64,
            integers: value.field.ty != Type::F64 || value.field.is_repeated(),
        };
        Some(WindowDefinition {
            name: entry.name.clone(),
            window,
            value,
            text: value_text.to_string(),
            filter,
            by,
            position: entry.position,
        })
    }

    /// What is said of a step may be a report that the next step does not repeat.
    fn check_steps(&mut self, windows: &[WindowDefinition], every: Option<Duration>) {
        let Some(every) = every else { return };
        for window in windows {
            let Some(watched) = window.window.watched() else { continue };
            if (every.as_millis() as i64) > watched.step_ms {
                let message = format!(
                    "window {}: its step is shorter than every, expected every: \"{}s\" or less, so that no step is missed",
                    window.name,
                    watched.step_ms / 1000
                );
                self.complaints.push(Complaint::new(window.position, message));
            }
        }
    }

    fn refuse_taken_name(&mut self, entry: &Entry, what: &str) {
        if ["filled", "key", "node", "nodes"].contains(&entry.name.as_str()) {
            let message = format!("{what}: the name is taken, w.{} has a meaning of its own", entry.name);
            self.complaints.push(Complaint::new(entry.position, message));
        }
    }

    /// A window that says how unusual a series is.
    fn anomaly(&mut self, entry: &Entry, what: &str, parts: &[Entry]) -> Option<WindowDefinition> {
        self.refuse_unknown(what, parts, &ANOMALY_KEYS);
        self.refuse_taken_name(entry, what);
        let get = |name: &str| parts.iter().find(|part| part.name == name).map(|part| &part.literal);
        let literal = get("anomaly").expect("the caller has seen it");
        let text = self.note(literal.text(what))?;
        let value = path::resolve(self.schema, text)
            .map_err(|error| Complaint::new(literal.position, format!("{what}: {error}")));
        let value = self.note(value)?;
        let take = self.named(get("take"), &format!("{what}: take"), &Take::NAMES, Take::Last);
        let named = format!("{what}: detector");
        let detector = self.named(get("detector"), &named, &Kind::NAMES, Kind::Default);
        let directions = [("both", Direction::Both), ("up", Direction::Up), ("down", Direction::Down)];
        let direction =
            self.named(get("direction"), &format!("{what}: direction"), &directions, Direction::Both);
        let step_ms = self.span(get("step"), &format!("{what}: step"), "10s", Watched::STEP_MS, "1s to 5m");
        let season_ms =
            self.span(get("season"), &format!("{what}: season"), "1d", Watched::SEASON_MS, "1h to 7d");
        let spans = (3_600_000, 366 * DAY_S * 1000);
        let over_ms = self.span(get("over"), &format!("{what}: over"), "4w", spans, "1h to a year");
        let effect_min = match get("effect_min") {
            Some(literal) => self.note(literal.number("effect_min")),
            None => Some(0.0),
        };
        let extractor = self.schema.kinds()[value.kind].numbers[0];
        let watched = Watched {
            take: take?,
            step_ms: step_ms?,
            detector: detector?,
            season_ms: season_ms?,
            direction: direction?,
            effect_min: effect_min?,
            heard_by: take?.heard_by(extractor),
        };
        self.check_watched(what, &watched, &value, parts, literal.position);
        let aggregate = Aggregate::Anomaly(watched);
        self.check_number(what, aggregate, &value, text, literal.position);
        let filter = get("where").map_or(Vec::new(), |filter| self.conditions(what, value.kind, filter));
        let by = get("by").map(|by| self.paths(by, &format!("{what}: by")));
        let integers = value.field.ty != Type::F64 || value.field.is_repeated();
        Some(WindowDefinition {
            name: entry.name.clone(),
            window: Window { aggregate, over_ms: over_ms?, integers },
            value,
            text: text.to_string(),
            filter,
            by,
            position: entry.position,
        })
    }

    fn check_watched(
        &mut self,
        what: &str,
        watched: &Watched,
        value: &FieldPath,
        parts: &[Entry],
        position: Position,
    ) {
        let position_of = |name: &str| {
            parts.iter().find(|part| part.name == name).map_or(position, |part| part.literal.position)
        };
        if watched.step_ms % 1000 != 0 {
            let message = format!("{what}: step is no whole number of seconds, expected 1s to 5m");
            self.complaints.push(Complaint::new(position_of("step"), message));
        }
        if watched.effect_min < 0.0 || !watched.effect_min.is_finite() {
            let message = format!(
                "{what}: effect_min is {}, expected 0 or more, in the unit of the series",
                watched.effect_min
            );
            self.complaints.push(Complaint::new(position_of("effect_min"), message));
        }
        if watched.take == Take::TopShare && (value.field.ty != Type::Str || value.field.is_repeated()) {
            let message = format!("{what}: top_share is of the text of an address, as message.meta.addr");
            self.complaints.push(Complaint::new(position, message));
        }
    }

    /// A word of a table; the error names the nearest ones.
    fn named<T: Copy>(
        &mut self,
        literal: Option<&Literal>,
        what: &str,
        names: &[(&str, T)],
        default: T,
    ) -> Option<T> {
        let Some(literal) = literal else { return Some(default) };
        let text = self.note(literal.text(what))?;
        let found = names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let all: Vec<String> = names.iter().map(|(name, _)| name.to_string()).collect();
            let nearest = nearest_names(all.iter().cloned(), text);
            let expected = if nearest.is_empty() { all.join(", ") } else { nearest.join(", ") };
            let message = format!("{what} is {text:?}, expected {expected}");
            self.complaints.push(Complaint::new(literal.position, message));
        }
        found
    }

    /// A duration in milliseconds between two others.
    fn span(
        &mut self,
        literal: Option<&Literal>,
        what: &str,
        default: &str,
        (min_ms, max_ms): (i64, i64),
        expected: &str,
    ) -> Option<i64> {
        let text = match literal {
            Some(literal) => self.note(literal.text(what))?,
            None => default,
        };
        let position = literal.map_or(Position::NONE, |literal| literal.position);
        let parsed =
            parse_duration(text).map_err(|error| Complaint::new(position, format!("{what}: {error}")));
        let span_ms = self.note(parsed)?.as_millis() as i64;
        if (min_ms..=max_ms).contains(&span_ms) {
            return Some(span_ms);
        }
        self.complaints.push(Complaint::new(position, format!("{what} is {text:?}, expected {expected}")));
        None
    }

    fn aggregate(
        &mut self,
        what: &str,
        name: &str,
        q: Option<&Literal>,
        position: Position,
    ) -> Option<Aggregate> {
        let share = match (name, q) {
            ("quantile", Some(q)) => self.note(q.number("q"))?,
            ("quantile", None) => {
                self.complaints
                    .push(Complaint::new(position, format!("{what}: quantile needs q, as q: 0.99")));
                return None;
            }
            (_, Some(q)) => {
                self.complaints
                    .push(Complaint::new(q.position, format!("{what}: q goes with quantile only")));
                return None;
            }
            (_, None) => 0.5,
        };
        if !(0.0..=1.0).contains(&share) {
            self.complaints.push(Complaint::new(position, format!("{what}: q is {share}, expected 0 to 1")));
        }
        Aggregate::from_name(name, share)
    }

    fn check_number(
        &mut self,
        what: &str,
        aggregate: Aggregate,
        value: &FieldPath,
        text: &str,
        position: Position,
    ) {
        let is_message = matches!(value.field.ty, Type::Message(_)) && !value.field.is_repeated();
        if aggregate.needs_number() && is_message {
            let message = format!("{what}: {text:?} is a message, expected one of its fields");
            self.complaints.push(Complaint::new(position, message));
        }
        if aggregate == Aggregate::Distinct && matches!(value.field.ty, Type::Message(_)) {
            let message = format!(
                "{what}: {text:?} is a message, expected one of its fields to count different values of"
            );
            self.complaints.push(Complaint::new(position, message));
        }
    }

    fn on(&mut self, literal: &Literal) -> Vec<EventFilter> {
        let items = match &literal.value {
            LiteralValue::List(items) => items.as_slice(),
            _ => std::slice::from_ref(literal),
        };
        items.iter().filter_map(|item| self.event_filter(item)).collect()
    }

    fn event_filter(&mut self, literal: &Literal) -> Option<EventFilter> {
        let (event, filter) = match &literal.value {
            LiteralValue::Text(_) => (literal, None),
            _ => {
                let entries = self.note(literal.map("on"))?;
                self.refuse_unknown("on", entries, &["event", "where"]);
                let get =
                    |name: &str| entries.iter().find(|entry| entry.name == name).map(|entry| &entry.literal);
                let Some(event) = get("event") else {
                    let message = "on has no event, expected an event kind as event: \"block_tip\"";
                    self.complaints.push(Complaint::new(literal.position, message));
                    return None;
                };
                (event, get("where"))
            }
        };
        let text = self.note(event.text("on"))?;
        let kind = path::split_kind(self.schema, text)
            .map_err(|error| Complaint::new(event.position, format!("on: {error}")));
        let (kind, rest) = self.note(kind)?;
        if !rest.is_empty() {
            let message = format!(
                "on: {text:?} is a field, expected the event kind {}",
                self.schema.kinds()[kind].name
            );
            self.complaints.push(Complaint::new(event.position, message));
        }
        let filter = filter.map_or(Vec::new(), |filter| self.conditions("on", kind, filter));
        Some(EventFilter { kind, filter, position: literal.position })
    }

    fn conditions(&mut self, what: &str, kind: KindId, literal: &Literal) -> Vec<Condition> {
        let entries = self.note(literal.map("where")).unwrap_or_default();
        entries.iter().filter_map(|entry| self.condition(what, kind, entry)).collect()
    }

    fn condition(&mut self, what: &str, kind: KindId, entry: &Entry) -> Option<Condition> {
        let field = path::resolve_in(self.schema, kind, &entry.name)
            .map_err(|error| Complaint::new(entry.position, format!("{what}: where: {error}")));
        let field = self.note(field)?;
        let test = match &entry.literal.value {
            LiteralValue::Map(parts) => self.map_test(what, &field, &entry.literal, parts)?,
            _ => Test::In(self.operands(what, &field, &entry.literal)?),
        };
        Some(Condition { field, test })
    }

    fn map_test(
        &mut self,
        what: &str,
        field: &FieldPath,
        literal: &Literal,
        parts: &[Entry],
    ) -> Option<Test> {
        self.refuse_unknown(&format!("{what}: where"), parts, &["min", "max", "not"]);
        let get = |name: &str| parts.iter().find(|part| part.name == name).map(|part| &part.literal);
        if let Some(not) = get("not") {
            return Some(Test::NotIn(self.operands(what, field, not)?));
        }
        if !field.field.ty.is_number() && !field.field.is_repeated() {
            let message =
                format!("{what}: where {} is no number, expected a value or a list", field.field.name);
            self.complaints.push(Complaint::new(literal.position, message));
            return None;
        }
        let bound = |reader: &mut Self, name: &str, default: f64| match get(name) {
            Some(literal) => reader.note(literal.number(name)),
            None => Some(default),
        };
        let (min, max) = (bound(self, "min", f64::NEG_INFINITY)?, bound(self, "max", f64::INFINITY)?);
        Some(Test::Range { min, max })
    }

    fn operands(&mut self, what: &str, field: &FieldPath, literal: &Literal) -> Option<Vec<Operand>> {
        let items = match &literal.value {
            LiteralValue::List(items) => items.as_slice(),
            _ => std::slice::from_ref(literal),
        };
        let mut operands: Vec<Operand> =
            items.iter().map(|item| self.operand(what, field, item)).collect::<Option<_>>()?;
        operands.sort();
        operands.dedup();
        Some(operands)
    }

    fn operand(&mut self, what: &str, field: &FieldPath, literal: &Literal) -> Option<Operand> {
        let name = &field.field.name;
        let wrong = |expected: &str| {
            let message = format!("{what}: where {name} is {}, expected {expected}", literal.kind());
            Complaint::new(literal.position, message)
        };
        let result = match (field.field.ty, &literal.value) {
            (Type::Bool, LiteralValue::Bool(value)) => Ok(Operand::Bool(*value)),
            (Type::Bool, _) => Err(wrong("true or false")),
            (Type::Str, LiteralValue::Text(text)) => Ok(Operand::Text(text.clone())),
            (Type::Str, _) => Err(wrong("a text")),
            (Type::Enum(id), LiteralValue::Text(text)) => {
                let values = &self.schema.enumeration(id).values;
                let found = values.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
                found.map(|(_, number)| Operand::Int(i64::from(*number))).ok_or_else(|| {
                    let names: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
                    let message =
                        format!("{what}: where {name} is {text:?}, expected one of {}", names.join(", "));
                    Complaint::new(literal.position, message)
                })
            }
            (Type::F64 | Type::Bytes | Type::Message(_), _) => {
                Err(wrong("a field of integers, texts or booleans"))
            }
            (_, LiteralValue::Int(value)) => Ok(Operand::Int(*value)),
            (_, _) => Err(wrong("a whole number")),
        };
        self.note(result)
    }
}
