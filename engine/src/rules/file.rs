//! A rule file that was read: what all rules made of it share.

use std::collections::BTreeMap;
use std::sync::Arc;

use tocsin_proto::schema::Schema;

use super::definition::Definition;
use super::header::Header;
use super::literal::{self, Complaint, Literal};
use super::script::{Sandbox, Script};
use super::{Params, Rule, RuleError, key_name, rule_name};
use crate::stored::checksum;

/// A rule file whose script compiles and that declares a `RULE`.
#[derive(Debug)]
pub struct RuleFile {
    /// Where it is.
    pub path: String,
    pub(super) literal: Literal,
    text: String,
    header: Header,
    script: Arc<Script>,
    value_windows: Vec<String>,
}

impl RuleFile {
    /// Compiles a file and finds what it declares, which is not checked yet.
    pub fn read(sandbox: &Sandbox, path: &str, text: &str) -> Result<RuleFile, Vec<RuleError>> {
        let in_file = |complaint: Complaint| vec![RuleError::new(path, &complaint)];
        let script = sandbox.compile(text).map_err(in_file)?;
        let literal = literal::rule_literal(sandbox.ast(&script)).map_err(in_file)?;
        Ok(RuleFile {
            path: path.to_string(),
            literal,
            text: text.to_string(),
            header: Header::read(text),
            script: Arc::new(script),
            value_windows: value_windows(text),
        })
    }

    /// The rule of a file that has one.
    pub fn rule(&self, schema: &Schema) -> Result<Rule, Vec<RuleError>> {
        let in_file = |complaint: &Complaint| RuleError::new(&self.path, complaint);
        self.rule_of(schema, rule_name(&self.path), &self.literal)
            .map_err(|complaints| complaints.iter().map(in_file).collect())
    }

    /// A rule of this file's script that declares something else.
    pub(super) fn rule_of(
        &self,
        schema: &Schema,
        name: String,
        literal: &Literal,
    ) -> Result<Rule, Vec<Complaint>> {
        let definition = Definition::read(schema, literal)?;
        let everywhere =
            definition.params.iter().map(|param| (param.name.clone(), param.value.clone())).collect();
        let rule = Rule {
            name,
            path: self.path.clone(),
            series: None,
            header: self.header.clone(),
            key_names: definition.by.iter().map(key_name).collect(),
            params: Params { everywhere, on_node: BTreeMap::new() },
            definition,
            script: self.script.clone(),
            digest: checksum(self.text.as_bytes()),
            value_windows: self.value_windows.clone(),
        };
        let complaints = rule.complaints(schema);
        if complaints.is_empty() { Ok(rule) } else { Err(complaints) }
    }
}

/// Names in `value: w.NAME`. Only a hint, so that the text need not be understood.
fn value_windows(text: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names = text.split("value: w.").skip(1).filter_map(|rest| {
        let (name, after) = rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()));
        after.trim_start().starts_with([',', '}']).then(|| name.to_string())
    });
    names.collect()
}
