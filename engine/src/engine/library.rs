//! What the engine knows and never changes while it runs: the rules, their merged plan and their guards.

use std::sync::Arc;

use rhai::{Dynamic, Map};
use tocsin_proto::schema::Schema;

use super::evidence::Quantity;
use crate::alerts::Timing;
use crate::plan::{Plan, RuleId};
use crate::rules::guard::Guard;
use crate::rules::literal::{Complaint, LiteralValue};
use crate::rules::plain::check_plain;
use crate::rules::script::{STATE_MAX, Sandbox, dynamic_of, dynamic_of_shown, size_of};
use crate::rules::{Finding, Rule, RuleError};
use crate::windows::Shown;
use crate::windows::key::{Key, KeyPart};

/// Rules ready to run.
#[derive(Debug)]
pub struct Library {
    pub(super) rules: Vec<Rule>,
    pub(super) plan: Plan,
    sandbox: Sandbox,
    /// Guards for nodes without overrides of their own.
    guards: Vec<Option<Guard>>,
    pub(super) names: Vec<Arc<str>>,
    pub(super) key_names: Vec<Arc<[String]>>,
    /// What the windows of each rule say.
    pub(super) quantities: Vec<Vec<Quantity>>,
}

/// What a script is told about the key it is called for.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    pub key: &'a Key,
    pub node: &'a str,
    pub filled: bool,
}

impl Library {
    /// Merges loaded rules. `known` are the names of all rule files, also of those that failed to load.
    ///
    /// `sandbox` is the one the rules were loaded with.
    pub fn new(sandbox: Sandbox, rules: Vec<Rule>, known: &[String]) -> Result<Library, Vec<RuleError>> {
        let plan = Plan::new(Schema::embedded(), &rules, known)?;
        let names = rules.iter().map(|rule| rule.name.as_str().into()).collect();
        let key_names = rules.iter().map(|rule| rule.key_names.clone().into()).collect();
        let quantities = rules.iter().map(Quantity::of_rule).collect();
        let mut library = Library { rules, plan, sandbox, guards: Vec::new(), names, key_names, quantities };
        library.guards = (0..library.rules.len()).map(|rule| library.guard(rule, "")).collect();
        Ok(library)
    }

    /// The rules, in the order of their numbers.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    fn guard(&self, rule: RuleId, node: &str) -> Option<Guard> {
        let rule = &self.rules[rule];
        let windows: Vec<String> = rule.definition.windows.iter().map(|window| window.name.clone()).collect();
        rule.script.check.as_ref().map(|check| Guard::new(check, &windows, rule.params.on(node)))
    }

    /// Guards of a node, where its parameters differ from those of all nodes.
    pub(super) fn own_guards(&self, node: &str) -> Vec<Option<Guard>> {
        let own = |(id, rule): (RuleId, &Rule)| {
            if rule.params.differ_on(node) { self.guard(id, node) } else { None }
        };
        self.rules.iter().enumerate().map(own).collect()
    }

    pub(super) fn common_guard(&self, rule: RuleId) -> Option<&Guard> {
        self.guards[rule].as_ref()
    }

    pub(super) fn timing(&self, rule: RuleId) -> Timing {
        let definition = &self.rules[rule].definition;
        Timing { pending_for: definition.for_s, keep_firing_for: definition.keep_firing_for_s }
    }

    /// Runs `check` for one key of one node.
    pub(super) fn check(
        &self,
        rule: RuleId,
        subject: &Subject,
        shown: impl Fn(usize) -> Shown,
        this: &mut Dynamic,
    ) -> Result<Option<Finding>, Complaint> {
        let definition = &self.rules[rule].definition;
        let mut w = Map::new();
        for (index, window) in definition.windows.iter().enumerate() {
            w.insert(window.name.as_str().into(), dynamic_of_shown(&window.window, shown(index)));
        }
        w.insert("filled".into(), subject.filled.into());
        w.insert("node".into(), subject.node.to_string().into());
        w.insert("key".into(), self.key_map(rule, subject.key).into());
        let params = self.params(rule, subject.node);
        let script = &self.rules[rule].script;
        let returned = self.sandbox.call(script, "check", Some(&mut *this), (w, params))?;
        self.bound_state(rule, "check", this)?;
        Ok(self.findings(rule, "check", returned)?.pop())
    }

    /// Runs `check` of a fleet rule: each window is a list with one value a node, in the order of `nodes`.
    pub(super) fn check_fleet(
        &self,
        rule: RuleId,
        key: &Key,
        nodes: &[&str],
        shown: impl Fn(usize, usize) -> Shown,
        filled: bool,
    ) -> Result<Vec<Finding>, Complaint> {
        let definition = &self.rules[rule].definition;
        let mut w = Map::new();
        for (index, window) in definition.windows.iter().enumerate() {
            let values: rhai::Array =
                (0..nodes.len()).map(|node| dynamic_of_shown(&window.window, shown(node, index))).collect();
            w.insert(window.name.as_str().into(), values.into());
        }
        let names: rhai::Array = nodes.iter().map(|name| name.to_string().into()).collect();
        w.insert("nodes".into(), names.into());
        w.insert("filled".into(), filled.into());
        w.insert("key".into(), self.key_map(rule, key).into());
        let params = self.params(rule, "");
        let returned = self.sandbox.call(&self.rules[rule].script, "check", None, (w, params))?;
        self.findings(rule, "check", returned)
    }

    fn findings(&self, rule: RuleId, function: &str, returned: Dynamic) -> Result<Vec<Finding>, Complaint> {
        let rule = &self.rules[rule];
        rule.findings(returned).map_err(|complaint| rule.script.placed(function, complaint))
    }

    /// Runs `on_event` for one event.
    pub(super) fn on_event(
        &self,
        rule: RuleId,
        node: &str,
        event: Map,
        this: &mut Dynamic,
    ) -> Result<Option<Finding>, Complaint> {
        let script = &self.rules[rule].script;
        let takes_params = script.on_event.as_ref().is_some_and(|function| function.params.len() == 2);
        let returned = if takes_params {
            self.sandbox.call(script, "on_event", Some(this), (event, self.params(rule, node)))?
        } else {
            self.sandbox.call(script, "on_event", Some(this), (event,))?
        };
        self.bound_state(rule, "on_event", this)?;
        Ok(self.findings(rule, "on_event", returned)?.pop())
    }

    /// Takes back a state that has grown too large, for it is under the control of whoever sends events, and one that
    /// cannot be stored.
    fn bound_state(&self, rule: RuleId, function: &str, this: &mut Dynamic) -> Result<(), Complaint> {
        let message = match check_plain(this).map(|()| size_of(this)) {
            Ok(0..=STATE_MAX) => return Ok(()),
            Ok(size) => {
                format!("`this` holds {size} entries and bytes, expected at most {STATE_MAX}; it is reset")
            }
            Err(found) => format!("`this` holds {found}, expected plain data; it is reset"),
        };
        *this = self.first_state(rule);
        Err(self.rules[rule].script.placed(function, Complaint::new(rhai::Position::NONE, message)))
    }

    /// What `this` is before a key's first event.
    pub(super) fn first_state(&self, rule: RuleId) -> Dynamic {
        let state = self.rules[rule].definition.state.as_ref();
        state.map_or_else(|| Map::new().into(), |state| dynamic_of(&state.value))
    }

    fn params(&self, rule: RuleId, node: &str) -> Map {
        let params = self.rules[rule].params.on(node).iter();
        params
            .map(|(name, value): &(String, LiteralValue)| (name.as_str().into(), dynamic_of(value)))
            .collect()
    }

    fn key_map(&self, rule: RuleId, key: &Key) -> Map {
        let part = |part: &KeyPart| match part {
            KeyPart::Int(value) => Dynamic::from(*value),
            KeyPart::Bool(value) => Dynamic::from(*value),
            KeyPart::Bytes(bytes) => crate::timeline::text_of_bytes(bytes).into(),
        };
        let names = self.rules[rule].key_names.iter();
        names.zip(&key.0).map(|(name, value)| (name.as_str().into(), part(value))).collect()
    }
}
