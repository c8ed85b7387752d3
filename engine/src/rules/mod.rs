//! Rules: one heuristic each, one `.rhai` file each.
//!
//! `literal` reads what a file declares, `definition` checks it, `script` runs its functions in a sandbox, and `guard`
//! spares most of those runs. A [`Rule`] is all of that for one file; it knows nothing of nodes or alerts. A generic file
//! becomes a rule for each of the [`series`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rhai::{Dynamic, Position};
use serde::{Deserialize, Serialize};
use tocsin_proto::schema::Schema;

use crate::project::path::{self, FieldPath, KindId, PathError, nearest_names};
use crate::windows::Reading;

pub mod definition;
pub mod file;
pub mod guard;
pub mod header;
pub mod literal;
pub mod plain;
pub mod script;
pub mod series;
pub mod series_file;
mod siblings;

use definition::{ASSESSMENT_FIELDS, Definition, Scope, WindowDefinition};
use file::RuleFile;
use header::Header;
use literal::{Complaint, LiteralValue};
use script::{FieldRead, Function, Sandbox, Script};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

/// Whether a rule is trusted to wake people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is.
    Stable,
    /// It never reaches a receiver that wakes people.
    Experimental,
}

impl Severity {
    /// The severity of this name.
    pub fn from_name(name: &str) -> Option<Severity> {
        [Severity::Info, Severity::Warning, Severity::Critical]
            .into_iter()
            .find(|severity| severity.to_string() == name)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        })
    }
}

/// A rule holds for a key now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What was measured.
    #[serde(with = "crate::windows::stored_reading")]
    pub value: Reading,
    /// What it should not have passed.
    #[serde(with = "crate::windows::stored_reading")]
    pub limit: Reading,
    /// Why, in words.
    pub summary: String,
    /// The node it is about, if a fleet rule found it on one.
    pub node: Option<String>,
    /// How bad this one is, if it is less bad than the rule's are. The first of an alert counts.
    pub severity: Option<Severity>,
}

/// Something is wrong with a rule file; prints as `file:line:column: what`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct RuleError {
    /// The file.
    pub path: String,
    /// Line and column, if it is about a place.
    pub place: Option<(usize, usize)>,
    /// What was found and what would be right.
    pub message: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.path, self.message),
            None => write!(f, "{}: {}", self.path, self.message),
        }
    }
}

impl RuleError {
    /// A complaint in a file.
    pub fn new(path: &str, complaint: &Complaint) -> Self {
        let place = complaint.position.line().map(|line| (line, complaint.position.position().unwrap_or(1)));
        RuleError { path: path.to_string(), place, message: complaint.message.clone() }
    }
}

/// A loaded rule.
#[derive(Debug)]
pub struct Rule {
    /// File name without `.rhai`; for a rule of a series followed by `_` and the series' name.
    pub name: String,
    /// The file, for errors.
    pub path: String,
    /// The series it watches, if its file is a generic one.
    pub series: Option<Arc<str>>,
    /// Its documentation.
    pub header: Header,
    /// What it declares.
    pub definition: Definition,
    /// Its functions; rules of one file share them.
    pub script: Arc<Script>,
    /// Names of its key fields, as alerts show them.
    pub key_names: Vec<String>,
    /// Parameters with the overrides of the configuration.
    pub params: Params,
    /// Differs for different texts of the file.
    pub digest: u64,
    /// Names of windows that the file says a finding's value is: `value: w.NAME`.
    pub value_windows: Vec<String>,
}

/// The parameters of a rule: what its file says, overridden for all nodes or for some.
#[derive(Debug, Default)]
pub struct Params {
    everywhere: Vec<(String, LiteralValue)>,
    on_node: BTreeMap<String, Vec<(String, LiteralValue)>>,
}

/// One override of a parameter, as `--set RULE.PARAM=VALUE` or `--set RULE.PARAM@NODE=VALUE` writes it.
#[derive(Debug, Clone)]
pub struct Override {
    /// The rule.
    pub rule: String,
    /// The parameter.
    pub param: String,
    /// The node; all nodes if none.
    pub node: Option<String>,
    /// The new value.
    pub value: LiteralValue,
}

impl Rule {
    /// Loads a file of one rule. All that is wrong with it is returned at once.
    pub fn load(schema: &Schema, sandbox: &Sandbox, path: &str, text: &str) -> Result<Rule, Vec<RuleError>> {
        RuleFile::read(sandbox, path, text)?.rule(schema)
    }

    /// True if this is the rule's name, or its file's.
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || (self.series.is_some() && rule_name(&self.path) == name)
    }

    fn complaints(&self, schema: &Schema) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        let definition = &self.definition;
        let nowhere = Position::NONE;
        if self.script.check.is_some() == definition.windows.is_empty() {
            complaints.push(Complaint::new(nowhere, "fn check(w, params) and RULE.windows go together"));
        }
        if self.script.on_event.is_some() == definition.on.is_empty() {
            complaints.push(Complaint::new(nowhere, "fn on_event(e) and RULE.on go together"));
        }
        if self.script.check.is_none() && !definition.for_s.is_zero() {
            let message = "for_s needs fn check(w, params): an event is over as soon as it is seen";
            complaints.push(Complaint::new(nowhere, message));
        }
        if definition.scope == Scope::Fleet && self.script.on_event.is_some() {
            complaints
                .push(Complaint::new(nowhere, "fn on_event(e) sees one node, expected scope: \"node\""));
        }
        if let Some(check) = &self.script.check {
            self.check_reads(check, &mut complaints);
        }
        if let Some(on_event) = &self.script.on_event {
            self.check_event_reads(schema, on_event, &mut complaints);
        }
        for window in &definition.windows {
            let placed = self.key_paths(schema, window.value.kind, window.by.as_deref());
            if let Err(message) = placed {
                complaints
                    .push(Complaint::new(window.position, format!("window {}: {message}", window.name)));
            }
        }
        for on in &definition.on {
            if let Err(message) = self.key_paths(schema, on.kind, None) {
                complaints.push(Complaint::new(on.position, format!("on: {message}")));
            }
        }
        complaints
    }

    fn check_reads(&self, check: &Function, complaints: &mut Vec<Complaint>) {
        let mut known: Vec<String> =
            self.definition.windows.iter().map(|window| window.name.clone()).collect();
        known.push("filled".into());
        known.push("key".into());
        known.push(if self.definition.scope == Scope::Fleet { "nodes" } else { "node" }.into());
        for read in check.reads_of(0) {
            complaints.extend(unknown_name("w", &known, &read.path[0], read.position));
            if let ("key", Some(part)) = (read.path[0].as_str(), read.path.get(1)) {
                complaints.extend(unknown_name("w.key", &self.key_names, part, read.position));
            }
            complaints.extend(self.unknown_part(read));
        }
        let names: Vec<String> = self.definition.params.iter().map(|param| param.name.clone()).collect();
        for read in check.reads_of(1) {
            complaints.extend(unknown_name("params", &names, &read.path[0], read.position));
        }
        if check.escapes.is_empty() {
            for window in &self.definition.windows {
                if !check.reads_of(0).any(|read| read.path[0] == window.name) {
                    let message = format!("window {} is never read", window.name);
                    complaints.push(Complaint::new(window.position, message));
                }
            }
        }
    }

    /// A misspelt field of what an anomaly window says.
    fn unknown_part(&self, read: &FieldRead) -> Option<Complaint> {
        let [window, part, ..] = read.path.as_slice() else { return None };
        let of_window = |known: &&WindowDefinition| known.name == *window;
        self.definition.windows.iter().find(of_window)?.window.watched()?;
        if self.definition.scope == Scope::Fleet {
            // It is a list.
            return None;
        }
        let fields = ASSESSMENT_FIELDS.map(String::from);
        unknown_name(&format!("w.{window}"), &fields, part, read.position)
    }

    fn check_event_reads(&self, schema: &Schema, on_event: &Function, complaints: &mut Vec<Complaint>) {
        for (param, position) in &on_event.escapes {
            if *param == 0 {
                let name = &on_event.params[0];
                let message =
                    format!("{name} is used as a whole, expected one of its fields as {name}.height");
                complaints.push(Complaint::new(*position, message));
            }
        }
        for read in on_event.reads_of(0) {
            if read.path == ["kind"] {
                continue;
            }
            let field = read.path.join(".");
            let resolved = self.definition.on.iter().map(|on| path::resolve_in(schema, on.kind, &field));
            let mut errors: Vec<PathError> = Vec::new();
            let mut found = false;
            for result in resolved {
                match result {
                    Ok(_) => found = true,
                    Err(error) => errors.push(error),
                }
            }
            if let (false, Some(error)) = (found, errors.first()) {
                complaints.push(Complaint::new(read.position, error.to_string()));
            }
        }
        let names: Vec<String> = self.definition.params.iter().map(|param| param.name.clone()).collect();
        for read in on_event.reads_of(1) {
            complaints.extend(unknown_name("params", &names, &read.path[0], read.position));
        }
    }

    /// The fields of an event kind that hold this rule's key there; `own` is the window's own `by`.
    ///
    /// Empty if the window has one value for the whole node.
    pub fn key_paths(
        &self,
        schema: &Schema,
        kind: KindId,
        own: Option<&[FieldPath]>,
    ) -> Result<Vec<FieldPath>, String> {
        if let Some(own) = own {
            if !own.is_empty() && own.len() != self.definition.by.len() {
                let (found, expected) = (own.len(), self.definition.by.len());
                return Err(format!("by has {found} fields, expected none or the rule's {expected}"));
            }
            if let Some(other) = own.iter().find(|path| path.kind != kind) {
                let (found, expected) = (&schema.kinds()[other.kind].name, &schema.kinds()[kind].name);
                return Err(format!("by has a field of {found}, expected fields of {expected}"));
            }
            return Ok(own.to_vec());
        }
        self.definition.by.iter().map(|path| same_field(schema, kind, path)).collect()
    }

    /// A finding a function of this rule returned: nothing, one, or (for fleet rules) several.
    pub fn findings(&self, returned: Dynamic) -> Result<Vec<Finding>, Complaint> {
        let wrong = |found: &str| {
            let message =
                format!("the function returned {found}, expected () or #{{ value, limit, summary }}");
            Complaint::new(Position::NONE, message)
        };
        if returned.is_unit() {
            return Ok(Vec::new());
        }
        if self.definition.scope == Scope::Fleet && returned.is_array() {
            let items = returned.into_array().map_err(wrong)?;
            let findings: Result<Vec<Vec<Finding>>, Complaint> =
                items.into_iter().map(|item| self.findings(item)).collect();
            return Ok(findings?.into_iter().flatten().collect());
        }
        let type_name = returned.type_name();
        let Some(map) = returned.try_cast::<rhai::Map>() else {
            return Err(wrong(&format!("a {type_name}")));
        };
        let mut finding = Finding {
            value: Reading::Nothing,
            limit: Reading::Nothing,
            summary: String::new(),
            node: None,
            severity: None,
        };
        for (name, value) in map {
            match name.as_str() {
                "value" => finding.value = number(&name, &value)?,
                "limit" => finding.limit = number(&name, &value)?,
                "summary" => finding.summary = text(&name, value)?,
                "severity" => finding.severity = Some(self.lower_severity(value)?),
                "node" if self.definition.scope == Scope::Fleet => finding.node = Some(text(&name, value)?),
                other => return Err(wrong(&format!("a finding with {other:?}"))),
            }
        }
        Ok(vec![finding])
    }

    /// The severity a finding says: the rule's or a lower one, for people chose what the rule may do at most.
    fn lower_severity(&self, value: Dynamic) -> Result<Severity, Complaint> {
        let most = self.definition.severity;
        let name = text("severity", value)?;
        Severity::from_name(&name).filter(|severity| *severity <= most).ok_or_else(|| {
            let known = [Severity::Info, Severity::Warning, Severity::Critical];
            let may: Vec<String> =
                known.iter().filter(|known| **known <= most).map(ToString::to_string).collect();
            let message = format!("the finding's severity is {name:?}, expected one of {}", may.join(", "));
            Complaint::new(Position::NONE, message)
        })
    }
}

impl Params {
    /// All parameters as they are on a node.
    pub fn on(&self, node: &str) -> &[(String, LiteralValue)] {
        self.on_node.get(node).unwrap_or(&self.everywhere)
    }

    /// True if the node has values of its own.
    pub fn differ_on(&self, node: &str) -> bool {
        self.on_node.contains_key(node)
    }

    fn set(&mut self, change: &Override) -> Result<(), String> {
        let names = self.everywhere.iter().map(|(name, _)| name.clone());
        let Some(index) = self.everywhere.iter().position(|(name, _)| *name == change.param) else {
            let nearest = nearest_names(names, &change.param);
            return Err(format!(
                "rule {} has no parameter {:?}{}",
                change.rule,
                change.param,
                hint(&nearest)
            ));
        };
        let params = match &change.node {
            None => &mut self.everywhere,
            Some(node) => self.on_node.entry(node.clone()).or_insert_with(|| self.everywhere.clone()),
        };
        let value = match (&params[index].1, &change.value) {
            (LiteralValue::Float(_), LiteralValue::Int(value)) => LiteralValue::Float(*value as f64),
            (LiteralValue::Int(_), LiteralValue::Int(_))
            | (LiteralValue::Float(_), LiteralValue::Float(_))
            | (LiteralValue::Int(_), LiteralValue::Float(_))
            | (LiteralValue::Bool(_), LiteralValue::Bool(_))
            | (LiteralValue::Text(_), LiteralValue::Text(_)) => change.value.clone(),
            (found, _) => {
                let kind = literal::Literal { value: found.clone(), position: Position::NONE };
                return Err(format!("{}.{} must be {}", change.rule, change.param, kind.kind()));
            }
        };
        params[index].1 = value;
        Ok(())
    }
}

/// Applies overrides to rules. What is said of all nodes comes first, and what is said of all rules of a file before what
/// is said of one, so that a node's own value stands, and a rule's own.
pub fn apply_overrides(rules: &mut [Rule], overrides: &[Override]) -> Result<(), String> {
    let mut ordered: Vec<&Override> = overrides.iter().collect();
    let is_of_one = |change: &Override| rules.iter().any(|rule| rule.name == change.rule);
    ordered.sort_by_key(|change| (change.node.is_some(), is_of_one(change)));
    for change in ordered {
        let mut is_there = false;
        for rule in rules.iter_mut().filter(|rule| rule.is_named(&change.rule)) {
            if rule.series.is_some() && series::GIVEN.contains(&change.param.as_str()) {
                let Override { rule, param, .. } = change;
                return Err(format!(
                    "{rule}.{param} is given by the series, expected it in [[series]] of the configuration"
                ));
            }
            rule.params.set(change)?;
            is_there = true;
        }
        if !is_there {
            let names = rules.iter().flat_map(|rule| [rule.name.clone(), rule_name(&rule.path)]);
            let nearest = nearest_names(names, &change.rule);
            return Err(format!("there is no rule {:?}{}", change.rule, hint(&nearest)));
        }
    }
    Ok(())
}

pub(crate) fn hint(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!(", nearest: {}", nearest.join(", ")) }
}

/// A rule's name: its file's name without the ending.
pub fn rule_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.strip_suffix(".rhai").unwrap_or(file).to_string()
}

/// The name alerts show for a key field. All peer ids have the same, whatever each event kind calls them.
fn key_name(path: &FieldPath) -> String {
    if path.field.is_peer_id() { "peer_id".into() } else { path.field.name.clone() }
}

/// The field of `kind` that means the same as `path` does in its own kind.
fn same_field(schema: &Schema, kind: KindId, path: &FieldPath) -> Result<FieldPath, String> {
    if path.kind == kind {
        return Ok(path.clone());
    }
    if path.field.is_peer_id() {
        let routes = path::routes_of(schema, &schema.kinds()[kind]);
        let mut peer_ids = routes.iter().filter(|route| route.last().is_some_and(|field| field.is_peer_id()));
        if let Some(route) = peer_ids.next() {
            return path::resolve_in(schema, kind, &path::joined(route)).map_err(|error| error.to_string());
        }
    }
    path::resolve_in(schema, kind, &path.field.name)
        .map_err(|error| format!("{error}; give the window its own by, or by: [] for one value a node"))
}

fn unknown_name(of: &str, known: &[String], name: &str, position: Position) -> Option<Complaint> {
    if known.iter().any(|known| known == name) {
        return None;
    }
    let nearest = nearest_names(known.iter().cloned(), name);
    let expected = if nearest.is_empty() { known.join(", ") } else { nearest.join(", ") };
    let expected = if expected.is_empty() { "none: there are none".to_string() } else { expected };
    Some(Complaint::new(position, format!("{of} has no field {name:?}, expected {expected}")))
}

fn number(name: &str, value: &Dynamic) -> Result<Reading, Complaint> {
    match (value.as_int(), value.as_float()) {
        (Ok(value), _) => Ok(Reading::Int(value)),
        (_, Ok(value)) => Ok(Reading::Float(value)),
        _ if value.is_unit() => Ok(Reading::Nothing),
        _ => {
            let message = format!("the finding's {name} is a {}, expected a number", value.type_name());
            Err(Complaint::new(Position::NONE, message))
        }
    }
}

fn text(name: &str, value: Dynamic) -> Result<String, Complaint> {
    let found = value.type_name();
    value.into_string().map_err(|_| {
        Complaint::new(Position::NONE, format!("the finding's {name} is a {found}, expected a text"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_may_be_less_bad_than_its_rule_and_not_worse() {
        let sandbox = Sandbox::new();
        let text = "const RULE = #{ severity: \"warning\", windows: #{ n: #{ count: \"message\", over: \"1m\" } } };\n\
            fn check(w, params) { #{ severity: w.n } }\n";
        let rule = Rule::load(Schema::embedded(), &sandbox, "one.rhai", text).expect("right");
        let severity = |name: &str| {
            let finding = rhai::Map::from([("severity".into(), name.to_string().into())]);
            rule.findings(finding.into()).map(|found| found[0].severity)
        };
        assert_eq!(severity("info"), Ok(Some(Severity::Info)));
        assert_eq!(severity("warning"), Ok(Some(Severity::Warning)));
        for wrong in ["critical", "bad"] {
            let error = severity(wrong).expect_err(wrong).to_string();
            assert!(error.contains(wrong) && error.ends_with("expected one of info, warning"), "{error}");
        }
    }
}
