//! What the engine can be asked between steps: the alerts that are pending or firing.

use std::sync::Arc;

use tocsin_proto::pb::notification::Evidence;

use super::{Engine, FLEET};
use crate::alerts::{Alerts, State};
use crate::plan::RuleId;
use crate::rules::Severity;
use crate::time::Timestamp;
use crate::timeline::AlertKey;
use crate::windows::Reading;

/// An alert that is pending or firing.
#[derive(Debug, Clone)]
pub struct AlertReport {
    /// The rule's name.
    pub rule: Arc<str>,
    /// The series it watches, if its file is a generic one.
    pub series: Option<Arc<str>>,
    /// The node's name; `fleet` for what concerns no single node.
    pub node: Arc<str>,
    /// Names and values of the key.
    pub key: AlertKey,
    /// How bad it is.
    pub severity: Severity,
    /// Pending or firing.
    pub state: State,
    /// First finding, on the node's clock.
    pub since: Timestamp,
    /// When it entered firing, on the node's clock, if it fires.
    pub fired_at: Option<Timestamp>,
    /// Newest finding, on the node's clock.
    pub last_finding_at: Timestamp,
    /// What was measured.
    pub value: Reading,
    /// What it should not have passed.
    pub limit: Reading,
    /// Why, in words.
    pub summary: String,
    /// What was measured over time.
    pub evidence: Evidence,
}

impl Engine {
    /// All alerts that are pending or firing: in order of rules, then nodes, then keys.
    pub fn alerts(&self) -> Vec<AlertReport> {
        let mut reports = Vec::new();
        for rule in 0..self.library.rules.len() {
            for id in self.names.values() {
                let node = &self.nodes[*id];
                self.report_alerts(rule, &node.name, &node.alerts[rule], &mut reports);
            }
            for (node, alerts) in self.fleet.alerts(rule) {
                let name = if node.is_empty() { FLEET } else { node };
                self.report_alerts(rule, &name.into(), alerts, &mut reports);
            }
        }
        reports
    }

    fn report_alerts(&self, rule: RuleId, node: &Arc<str>, alerts: &Alerts, reports: &mut Vec<AlertReport>) {
        let report = |key: &crate::windows::key::Key| {
            let alert = alerts.get(key).expect("a key of these alerts");
            AlertReport {
                rule: self.library.names[rule].clone(),
                series: self.library.rules[rule].series.clone(),
                node: node.clone(),
                key: AlertKey { names: self.library.key_names[rule].clone(), key: key.clone() },
                severity: alert.severity(self.library.rules[rule].definition.severity),
                state: alert.state,
                since: alert.since,
                fired_at: alert.fired_at,
                last_finding_at: alert.last_finding_at,
                value: alert.finding.value,
                limit: alert.finding.limit,
                summary: alert.finding.summary.clone(),
                evidence: alert.evidence(),
            }
        };
        reports.extend(alerts.keys().map(report));
    }
}
