//! Rules with `scope: "fleet"`: they see the windows of all nodes at once, on a clock of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Problem;
use super::evidence::Found;
use super::library::Library;
use super::node::{Node, Output, REFRESH_MS, RuleHealth};
use crate::alerts::{Alert, Alerts, Measure, State};
use crate::plan::{NODE_TABLE, RuleId};
use crate::rules::RuleError;
use crate::rules::definition::Scope;
use crate::sequence::ALLOWED_LATENESS_MS;
use crate::time::Timestamp;
use crate::timeline::{AlertKey, Change};
use crate::windows::column::RowId;
use crate::windows::key::Key;
use crate::windows::series::Series;

/// The name alerts of no single node have in place of a node's.
pub const FLEET: &str = "fleet";

/// State of all fleet rules.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Fleet {
    pub rules: Vec<FleetRule>,
    /// Earliest tick of any of them.
    pub next: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct FleetRule {
    pub rule: RuleId,
    every_ms: i64,
    pub next: Timestamp,
    /// Alerts by node; those of no node under [`FLEET`].
    pub alerts: BTreeMap<String, Alerts>,
    pub errors_in_a_row: u32,
    pub health: RuleHealth,
    /// It found nothing when time alone changed nothing on any node, and no event has come since.
    pub is_settled: bool,
}

impl Fleet {
    pub fn new(library: &Library) -> Self {
        let fleet = |(_, rule): &(RuleId, &crate::rules::Rule)| rule.definition.scope == Scope::Fleet;
        let rules: Vec<FleetRule> = library
            .rules
            .iter()
            .enumerate()
            .filter(fleet)
            .map(|(id, rule)| FleetRule {
                rule: id,
                every_ms: rule.definition.every.as_millis() as i64,
                next: Timestamp::MIN,
                alerts: BTreeMap::new(),
                errors_in_a_row: 0,
                health: RuleHealth::default(),
                is_settled: false,
            })
            .collect();
        let next = if rules.is_empty() { Timestamp::MAX } else { Timestamp::MIN };
        Fleet { rules, next }
    }

    /// Evaluates the rules that are due when all nodes have come to `now` less the allowed lateness.
    ///
    /// `nodes` are in order of their names.
    pub fn tick(&mut self, library: &Library, nodes: &[&Node], now: Timestamp, output: &mut Output) {
        let now = now.plus_ms(-ALLOWED_LATENESS_MS);
        for rule in &mut self.rules {
            if rule.next == Timestamp::MIN {
                rule.next = now.next_multiple_ms(rule.every_ms);
            }
            if rule.next <= now {
                // After a gap one look is enough: the windows say what is now.
                let at = Timestamp::from_unix_ms(now.unix_ms().div_euclid(rule.every_ms) * rule.every_ms);
                rule.evaluate(library, nodes, at, output);
                rule.next = rule.next.max(at.next_multiple_ms(rule.every_ms));
            }
        }
        self.note_next();
    }

    /// Works out when the earliest rule is due.
    pub fn note_next(&mut self) {
        let earliest = self.rules.iter().map(|rule| rule.next).min().unwrap_or(Timestamp::MAX);
        self.next = earliest.plus_ms(ALLOWED_LATENESS_MS);
    }

    /// True if time alone changes nothing as long as it changes nothing on any node.
    pub fn is_idle(&self) -> bool {
        self.rules.iter().all(|rule| rule.is_settled)
    }

    /// Notes that an event has come.
    pub fn note_event(&mut self) {
        self.rules.iter_mut().for_each(|rule| rule.is_settled = false);
    }

    /// Health of a rule, if it is a fleet rule.
    pub fn health(&self, rule: RuleId) -> Option<&RuleHealth> {
        self.rules.iter().find(|fleet| fleet.rule == rule).map(|fleet| &fleet.health)
    }

    /// Alerts of a fleet rule, by node.
    pub fn alerts(&self, rule: RuleId) -> impl Iterator<Item = (&str, &Alerts)> {
        let rules = self.rules.iter().filter(move |fleet| fleet.rule == rule);
        rules.flat_map(|fleet| fleet.alerts.iter().map(|(node, alerts)| (node.as_str(), alerts)))
    }

    /// Alerts of a fleet rule now firing.
    pub fn firing(&self, rule: RuleId) -> usize {
        let alerts =
            self.rules.iter().filter(|fleet| fleet.rule == rule).flat_map(|fleet| fleet.alerts.values());
        alerts.map(|alerts| alerts.count(State::Firing)).sum()
    }
}

impl FleetRule {
    fn evaluate(&mut self, library: &Library, nodes: &[&Node], at: Timestamp, output: &mut Output) {
        let plan = &library.plan.rules[self.rule];
        let filled = nodes.iter().all(|node| node.filled_at(library, self.rule) <= at);
        let findings_before = self.health.findings;
        self.is_settled = false;
        for (key, rows) in self.keys(library, nodes) {
            let names: Vec<&str> = rows.iter().map(|(node, _)| &*nodes[*node].name).collect();
            let shown = |index: usize, window: usize| {
                let (node, row) = rows[index];
                let window = plan.windows[window];
                let row = if window.table == NODE_TABLE { 0 } else { row };
                let now = nodes[node].sequencer.watermark();
                nodes[node].tables[window.table].columns[window.column].shown_now(row, now)
            };
            self.health.evaluations += 1;
            self.health.script_calls += 1;
            match library.check_fleet(self.rule, &key, &names, shown, filled) {
                Ok(findings) => {
                    for finding in findings {
                        let is_about =
                            |index: &usize| finding.node.as_deref().is_none_or(|node| node == names[*index]);
                        let source = (0..names.len()).filter(is_about).find_map(|index| {
                            let of_node = |window| shown(index, window).reading();
                            Some((library.source(self.rule, finding.value, of_node)?, nodes[rows[index].0]))
                        });
                        let (source, node) = source.unzip();
                        self.take_finding(library, key.clone(), Found { finding, source }, node, at, output);
                    }
                }
                Err(complaint) => {
                    let error = RuleError::new(&library.rules[self.rule].path, &complaint);
                    self.health.failures += 1;
                    self.health.last_error = Some(error.to_string());
                    self.next = at.plus_ms((self.every_ms << self.errors_in_a_row.min(12)).min(600_000));
                    self.errors_in_a_row += 1;
                    output.problems.push(Problem::Rule { node: FLEET.into(), at, error });
                    return;
                }
            }
        }
        self.errors_in_a_row = 0;
        self.settle(library, nodes, at, output);
        self.is_settled = filled
            && self.health.findings == findings_before
            && self.alerts.is_empty()
            && nodes.iter().all(|node| node.is_idle(library));
    }

    /// Each key that any node has, with the nodes that have it and their rows.
    fn keys(&self, library: &Library, nodes: &[&Node]) -> BTreeMap<Key, Vec<(usize, RowId)>> {
        let plan = &library.plan.rules[self.rule];
        let mut keys: BTreeMap<Key, Vec<(usize, RowId)>> = BTreeMap::new();
        for (index, node) in nodes.iter().enumerate() {
            let table = &node.tables[plan.table];
            if plan.table == NODE_TABLE {
                keys.entry(Key::default()).or_default().push((index, 0));
                continue;
            }
            let has_samples = |row: &RowId| {
                let mut windows = plan.windows.iter().filter(|window| window.table == plan.table);
                windows.any(|window| table.columns[window.column].holds(*row))
            };
            for row in table.used_rows().filter(has_samples) {
                keys.entry(table.key(row).clone()).or_default().push((index, row));
            }
        }
        keys
    }

    fn take_finding(
        &mut self,
        library: &Library,
        key: Key,
        found: Found,
        measured_on: Option<&Node>,
        at: Timestamp,
        output: &mut Output,
    ) {
        self.health.findings += 1;
        let name = found.finding.node.clone().unwrap_or_else(|| FLEET.to_string());
        let alerts = self.alerts.entry(name.clone()).or_default();
        let measured_on = measured_on.filter(|_| alerts.get(&key).is_none());
        let telling = found.telling(|source| {
            measured_on.map_or(Series::new(), |node| {
                node.series(library, self.rule, &key, source, node.sequencer.watermark())
            })
        });
        if let Some(state) = alerts.refresh(key.clone(), telling, at, library.timing(self.rule)) {
            let alert = self.alerts[&name].get(&key).expect("it entered a state just now");
            output.changes.push(self.change(library, &name, key, state, alert, at));
        }
    }

    fn settle(&mut self, library: &Library, nodes: &[&Node], at: Timestamp, output: &mut Output) {
        let timing = library.timing(self.rule);
        let rule = self.rule;
        let value_now = |name: &str, key: &Key, measure: &Measure| {
            let node = nodes.iter().find(|node| *node.name == *name)?;
            node.value_now(library, rule, key, measure, node.sequencer.watermark())
        };
        let mut ended = Vec::new();
        for (name, alerts) in &mut self.alerts {
            alerts.note_values(at, REFRESH_MS, |key, measure| value_now(name, key, measure));
            for (key, mut alert) in alerts.settle(at, timing) {
                if let Some(value) = value_now(name, &key, alert.measure()) {
                    alert.note_value(at, value);
                }
                ended.push((name.clone(), key, alert));
            }
        }
        self.alerts.retain(|_, alerts| !alerts.is_empty());
        for (name, key, alert) in ended {
            output.changes.push(self.change(library, &name, key, State::Resolved, &alert, at));
        }
    }

    fn change(
        &self,
        library: &Library,
        node: &str,
        key: Key,
        state: State,
        alert: &Alert,
        at: Timestamp,
    ) -> Change {
        let node: Arc<str> = node.into();
        Change {
            at,
            rule: library.names[self.rule].clone(),
            node,
            key: AlertKey { names: library.key_names[self.rule].clone(), key },
            state,
            severity: alert.severity(library.rules[self.rule].definition.severity),
            value: alert.finding.value,
            limit: alert.finding.limit,
            summary: alert.finding.summary.clone(),
            since: alert.began_at(),
            evidence: alert.evidence(),
        }
    }
}
