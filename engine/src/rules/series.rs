//! Series: numbers worth watching, listed as data, and the generic rules that watch each of them.
//!
//! A rule file with `for_each: "series"` becomes one ordinary rule for each series, named `<file>_<series>`: its windows
//! that are the text `"series"` are the series' window, its `by` is the series' `by`, and its `params` have besides:
//! `series` (the name), `unit`, `effect_min`, `step` (as written, such as "10s"), and `per` (" in 10s" where values are
//! totals of a step, else ""). What is wrong with a series is said of the series, and what is wrong with the file once.

use rhai::Position;
use tocsin_proto::schema::Schema;

use super::definition::Definition;
use super::file::RuleFile;
use super::literal::{Complaint, Entry, Literal, LiteralValue};
use super::{Rule, RuleError, rule_name};
use crate::project::path::nearest_names;
use crate::stored::checksum;
use crate::windows::Aggregate;

/// What a window says that stands for each series, and what `for_each` says.
const SERIES: &str = "series";
/// Parameters that each series gives. Nothing overrides them: they say what the series is.
pub(super) const GIVEN: [&str; 5] = [SERIES, "unit", "effect_min", "step", "per"];
/// The step of an anomaly window that does not say one.
const STEP: &str = "10s";
/// What a sample is a total of a step of.
const TOTALS: [&str; 3] = ["count", "sum", "increase"];
/// Keys of a series besides those of its window.
const KEYS: [&str; 4] = ["name", "why", "off", "by"];
/// Length of a name: rule and series together are a label.
const NAME_MAX: usize = 64;

/// A series as a list or a configuration writes it, not checked against the schema yet.
#[derive(Debug, Clone)]
pub struct Written {
    /// Its name.
    pub name: String,
    /// The file it stands in.
    pub path: String,
    position: Position,
    /// Whether it is switched off, if that is said.
    off: Option<bool>,
    /// All that is said but name and `off`.
    entries: Vec<Entry>,
}

/// A series that rules can watch.
#[derive(Debug, Clone)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Why it is worth watching.
    pub why: String,
    /// Unit of its values, as the schema writes it; empty for plain numbers.
    pub unit: String,
    path: String,
    position: Position,
    window: Literal,
    by: Option<Literal>,
}

/// All series there are, and what is wrong with others.
#[derive(Debug, Default)]
pub struct SeriesList {
    /// The series, in the order they were written.
    pub series: Vec<Series>,
    /// Names of all series that are not switched off, also of those that something is wrong with.
    pub known: Vec<String>,
    /// Names of those that are switched off.
    pub off: Vec<String>,
    /// What is wrong.
    pub errors: Vec<RuleError>,
    /// Nobody wrote of any.
    pub is_empty: bool,
}

impl Written {
    /// Reads a table of a list in the file `path`.
    pub fn read(path: &str, table: &Literal) -> Result<Written, RuleError> {
        Written::read_table(path, table).map_err(|complaint| RuleError::new(path, &complaint))
    }

    fn read_table(path: &str, table: &Literal) -> Result<Written, Complaint> {
        let entries = table.map("series")?;
        let get = |name: &str| entries.iter().find(|entry| entry.name == name).map(|entry| &entry.literal);
        let name = get("name").ok_or_else(|| {
            let message = "the series has no name, expected one as name = \"inbound_connections\"";
            Complaint::new(table.position, message)
        })?;
        let (name, position) = (name.text("name")?, name.position);
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_word) {
            let expected = format!("expected 1 to {NAME_MAX} small letters, digits and _");
            let message = format!("series {name:?} cannot be part of a rule's name, {expected}");
            return Err(Complaint::new(position, message));
        }
        let off = match get("off") {
            None => None,
            Some(Literal { value: LiteralValue::Bool(off), .. }) => Some(*off),
            Some(other) => {
                let message = format!("series {name}: off is {}, expected true or false", other.kind());
                return Err(Complaint::new(other.position, message));
            }
        };
        let own = entries.iter().filter(|entry| !["name", "off"].contains(&entry.name.as_str()));
        Ok(Written {
            name: name.to_string(),
            path: path.to_string(),
            position: table.position,
            off,
            entries: own.cloned().collect(),
        })
    }

    /// True if this cannot be meant as a series of its own: it says neither why nor of what.
    fn is_change(&self) -> bool {
        let is_own = |entry: &Entry| entry.name == "why" || is_quantity(&entry.name);
        !self.entries.iter().any(is_own)
    }

    /// This series with the keys that a change gives anew. All of it stands where the change stands from now on.
    fn changed_by(&self, change: &Written) -> Written {
        let is_kept = |entry: &&Entry| change.entries.iter().all(|new| new.name != entry.name);
        let kept = self.entries.iter().filter(is_kept).map(|entry| Entry {
            name: entry.name.clone(),
            position: change.position,
            literal: placed(&entry.literal, change.position),
        });
        Written {
            off: change.off.or(self.off),
            entries: kept.chain(change.entries.iter().cloned()).collect(),
            ..change.clone()
        }
    }

    /// Checks the series. Its window is read as one of a rule.
    fn series(&self, schema: &Schema) -> Result<Series, Vec<Complaint>> {
        let get = |name: &str| self.entries.iter().find(|entry| entry.name == name);
        let mut complaints = Vec::new();
        let why = get("why").map_or(Ok(""), |entry| entry.literal.text("why"));
        let why = why.unwrap_or_else(|complaint| {
            complaints.push(complaint);
            "-"
        });
        if why.trim().is_empty() {
            let message = "there is no why, expected a sentence with the reason and its source";
            complaints.push(Complaint::new(self.position, message));
        }
        let parts =
            self.entries.iter().filter(|entry| !KEYS.contains(&entry.name.as_str())).cloned().collect();
        let window = Literal { value: LiteralValue::Map(parts), position: self.position };
        let by = get("by").map(|entry| entry.literal.clone());
        let unit = match Definition::read(schema, &self.probe(&window, by.as_ref())) {
            Ok(definition) => definition.windows.first().map(|window| window.unit()).unwrap_or_default(),
            Err(found) => {
                complaints.extend(found.into_iter().map(|complaint| self.of_series(complaint)));
                String::new()
            }
        };
        if !complaints.is_empty() {
            return Err(complaints);
        }
        let (name, path, position) = (self.name.clone(), self.path.clone(), self.position);
        Ok(Series { name, why: why.trim().to_string(), unit, path, position, window, by })
    }

    /// A complaint about the window in a rule as one about the series.
    fn of_series(&self, complaint: Complaint) -> Complaint {
        let of_window = format!("window {}", self.name);
        let message = complaint.message.strip_prefix(&of_window).unwrap_or(&complaint.message);
        let message = message.trim_start_matches([':', ' ']).replacen("has no key", "there is no key", 1);
        let is_unknown = |entry: &&Entry| {
            entry.position == complaint.position
                && message.starts_with(&format!("there is no key {:?}", entry.name))
        };
        let own = self.entries.iter().find(is_unknown).and_then(|entry| {
            nearest_names(KEYS.iter().map(ToString::to_string), &entry.name).into_iter().next()
        });
        let own = own.map_or(String::new(), |own| format!(", or {own}"));
        Complaint::new(complaint.position, format!("{message}{own}"))
    }

    /// A `RULE` with nothing but the window and its keys.
    fn probe(&self, window: &Literal, by: Option<&Literal>) -> Literal {
        let at = self.position;
        let severity = Literal { value: LiteralValue::Text("info".into()), position: at };
        let windows = LiteralValue::Map(vec![entry(&self.name, window.clone())]);
        let mut entries =
            vec![entry("severity", severity), entry("windows", Literal { value: windows, position: at })];
        entries.extend(by.map(|by| entry("by", by.clone())));
        Literal { value: LiteralValue::Map(entries), position: at }
    }

    fn wrong(&self, complaint: &Complaint) -> RuleError {
        let message = format!("series {}: {}", self.name, complaint.message);
        RuleError::new(&self.path, &Complaint::new(complaint.position, message))
    }
}

impl SeriesList {
    /// Merges lists with what the configuration says: a new name adds a series, a known one changes the keys given.
    pub fn new(schema: &Schema, lists: Vec<Written>, changes: &[Written]) -> SeriesList {
        let is_empty = lists.is_empty() && changes.is_empty();
        let mut list = SeriesList { is_empty, ..SeriesList::default() };
        let mut all: Vec<Written> = Vec::new();
        for written in lists {
            list.add(written, &mut all);
        }
        let mut changed: Vec<&str> = Vec::new();
        for change in changes {
            let known = all.iter().position(|known| known.name == change.name);
            match known {
                // Twice in the configuration.
                Some(known) if changed.contains(&change.name.as_str()) => {
                    list.errors.push(twice(change, &all[known]));
                }
                Some(known) => all[known] = all[known].changed_by(change),
                None if change.is_change() => {
                    let nearest = nearest_names(all.iter().map(|known| known.name.clone()), &change.name);
                    let hint = super::hint(&nearest);
                    let complaint =
                        Complaint::new(change.position, format!("there is no such series to change{hint}"));
                    list.errors.push(change.wrong(&complaint));
                }
                None => all.push(change.clone()),
            }
            changed.push(&change.name);
        }
        let (off, on): (Vec<&Written>, Vec<&Written>) =
            all.iter().partition(|written| written.off == Some(true));
        list.off = off.into_iter().map(|written| written.name.clone()).collect();
        for written in on {
            list.known.push(written.name.clone());
            match written.series(schema) {
                Ok(series) => list.series.push(series),
                Err(found) => {
                    list.errors.extend(found.iter().map(|complaint| written.wrong(complaint)));
                }
            }
        }
        list
    }

    fn add(&mut self, written: Written, all: &mut Vec<Written>) {
        match all.iter().find(|known| known.name == written.name) {
            Some(known) => self.errors.push(twice(&written, known)),
            None => all.push(written),
        }
    }
}

fn twice(written: &Written, known: &Written) -> RuleError {
    let place = RuleError::new(&known.path, &Complaint::new(known.position, "it is also there"));
    let complaint = Complaint::new(written.position, format!("the name is there twice, {place}"));
    written.wrong(&complaint)
}

impl Series {
    /// What its window says of a key.
    fn said(&self, name: &str) -> Option<&LiteralValue> {
        let entries = self.window.map("window").ok()?;
        entries.iter().find(|entry| entry.name == name).map(|entry| &entry.literal.value)
    }

    /// The least departure that matters, in the unit of the series; 0 if it does not say.
    fn effect_min(&self) -> LiteralValue {
        self.said("effect_min").cloned().unwrap_or(LiteralValue::Int(0))
    }

    /// The length of a step as it is written; empty if its window has no steps.
    fn step(&self) -> &str {
        match self.said("step") {
            Some(LiteralValue::Text(step)) => step,
            _ if self.said("anomaly").is_some() => STEP,
            _ => "",
        }
    }

    /// The time that a value is the total of, as ` in 10s`; empty if values are no totals.
    fn per(&self) -> String {
        match self.said("take") {
            Some(LiteralValue::Text(take)) if TOTALS.contains(&take.as_str()) => {
                format!(" in {}", self.step())
            }
            _ => String::new(),
        }
    }
}

impl RuleFile {
    /// True if the file is a generic one: a rule for each series.
    pub fn is_for_each_series(&self) -> bool {
        self.entry("for_each").is_some()
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        let LiteralValue::Map(entries) = &self.literal.value else { return None };
        entries.iter().find(|entry| entry.name == name)
    }

    /// The rules of a generic file. What is wrong with one series only is said of the series, anything else once of the
    /// file.
    pub fn rules_of_series(&self, schema: &Schema, series: &[Series]) -> (Vec<Rule>, Vec<RuleError>) {
        if let Err(complaints) = self.check_for_each() {
            let errors = complaints.iter().map(|complaint| RuleError::new(&self.path, complaint));
            return (Vec::new(), errors.collect());
        }
        let mut rules = Vec::new();
        let mut complaints: Vec<(Complaint, Vec<&Series>)> = Vec::new();
        for one in series {
            match self.rule_of_series(schema, one) {
                Ok(rule) => rules.push(rule),
                Err(found) => {
                    for complaint in found {
                        match complaints.iter_mut().find(|(known, _)| *known == complaint) {
                            Some((_, of)) => of.push(one),
                            None => complaints.push((complaint, vec![one])),
                        }
                    }
                }
            }
        }
        let error = |(complaint, of): (Complaint, Vec<&Series>)| match of[..] {
            [one] if series.len() > 1 => {
                let message = format!("series {} in {}: {}", one.name, self.path, complaint.message);
                RuleError::new(&one.path, &Complaint::new(one.position, message))
            }
            _ if of.len() == series.len() => RuleError::new(&self.path, &complaint),
            _ => {
                let message =
                    format!("{} (with {} series, such as {})", complaint.message, of.len(), of[0].name);
                RuleError::new(&self.path, &Complaint::new(complaint.position, message))
            }
        };
        (rules, complaints.into_iter().map(error).collect())
    }

    fn check_for_each(&self) -> Result<(), Vec<Complaint>> {
        let mut complaints = Vec::new();
        if let Some(for_each) = self.entry("for_each")
            && !for_each.literal.text("for_each").is_ok_and(|text| text == SERIES)
        {
            let message = format!("for_each is something else, expected {SERIES:?}");
            complaints.push(Complaint::new(for_each.literal.position, message));
        }
        if let Some(by) = self.entry("by") {
            let message = "by is that of each series, expected none here";
            complaints.push(Complaint::new(by.position, message));
        }
        let windows = self.entry("windows").and_then(|windows| windows.literal.map("windows").ok());
        if !windows.unwrap_or_default().iter().any(|window| is_series(&window.literal)) {
            let message = format!("for_each needs a window that stands for the series, as x: {SERIES:?}");
            complaints.push(Complaint::new(self.literal.position, message));
        }
        let params = self.entry("params").and_then(|params| params.literal.map("params").ok());
        for param in params.unwrap_or_default().iter().filter(|param| GIVEN.contains(&&*param.name)) {
            let message = format!("param {} is given by each series, expected another name", param.name);
            complaints.push(Complaint::new(param.position, message));
        }
        if complaints.is_empty() { Ok(()) } else { Err(complaints) }
    }

    fn rule_of_series(&self, schema: &Schema, series: &Series) -> Result<Rule, Vec<Complaint>> {
        let literal = self.literal_of(series);
        let name = format!("{}_{}", rule_name(&self.path), series.name);
        let mut rule = self.rule_of(schema, name, &literal)?;
        rule.series = Some(series.name.as_str().into());
        rule.header.why = format!("{} {}", series.why, rule.header.why);
        // What a script remembers belongs to the series as it was.
        let text = format!("{} {:?}", rule.digest, placed(&literal, Position::NONE));
        rule.digest = checksum(text.as_bytes());
        Ok(rule)
    }

    /// What the file declares with a series in it.
    fn literal_of(&self, series: &Series) -> Literal {
        let LiteralValue::Map(entries) = &self.literal.value else { return self.literal.clone() };
        let mut entries: Vec<Entry> =
            entries.iter().filter(|entry| entry.name != "for_each").cloned().collect();
        for window in entries.iter_mut().filter(|entry| entry.name == "windows") {
            let LiteralValue::Map(windows) = &mut window.literal.value else { continue };
            for window in windows.iter_mut().filter(|window| is_series(&window.literal)) {
                window.literal = placed(&series.window, window.literal.position);
            }
        }
        let at = self.literal.position;
        entries.extend(series.by.as_ref().map(|by| entry("by", placed(by, at))));
        let text = |text: &str| Literal { value: LiteralValue::Text(text.to_string()), position: at };
        let given = [
            entry(SERIES, text(&series.name)),
            entry("unit", text(&series.unit)),
            entry("effect_min", Literal { value: series.effect_min(), position: at }),
            entry("step", text(series.step())),
            entry("per", text(&series.per())),
        ];
        match entries.iter_mut().find(|entry| entry.name == "params") {
            Some(Entry { literal: Literal { value: LiteralValue::Map(params), .. }, .. }) => {
                params.extend(given);
            }
            Some(_) => {}
            None => entries
                .push(entry("params", Literal { value: LiteralValue::Map(given.to_vec()), position: at })),
        }
        Literal { value: LiteralValue::Map(entries), position: at }
    }
}

/// True for keys that say what a window is of.
fn is_quantity(key: &str) -> bool {
    key == "anomaly" || Aggregate::NAMES.contains(&key)
}

fn is_series(window: &Literal) -> bool {
    matches!(&window.value, LiteralValue::Text(text) if text == SERIES)
}

fn entry(name: &str, literal: Literal) -> Entry {
    Entry { name: name.to_string(), position: literal.position, literal }
}

/// A literal as if all of it stood at one place.
fn placed(literal: &Literal, position: Position) -> Literal {
    let value = match &literal.value {
        LiteralValue::List(items) => {
            LiteralValue::List(items.iter().map(|item| placed(item, position)).collect())
        }
        LiteralValue::Map(entries) => LiteralValue::Map(
            entries
                .iter()
                .map(|entry| Entry {
                    name: entry.name.clone(),
                    position,
                    literal: placed(&entry.literal, position),
                })
                .collect(),
        ),
        plain => plain.clone(),
    };
    Literal { value, position }
}
