//! Alerts of the engine as dispatch sees them: labels and annotations from rule, node and key.

use std::collections::BTreeMap;
use std::sync::Arc;

use tocsin_engine::alerts::State;
use tocsin_engine::dispatch::alert::{AlertChange, AlertState, Fingerprint, Labels};
use tocsin_engine::engine::{AlertReport, Library};
use tocsin_engine::rules::header::Header;
use tocsin_engine::rules::{Severity, Status};
use tocsin_engine::timeline::{AlertKey, Change};
use tocsin_engine::windows::Reading;

use super::teller::Told;

/// What alerts need of rules, also of rules that are no longer there: their alerts still resolve.
#[derive(Debug, Default)]
pub struct Catalogue {
    rules: BTreeMap<Arc<str>, Known>,
}

/// What alerts need of a rule.
#[derive(Debug)]
struct Known {
    status: Status,
    header: Header,
    series: Option<Arc<str>>,
}

impl Catalogue {
    /// Notes the rules now loaded.
    pub fn learn(&mut self, library: &Library) {
        for rule in library.rules() {
            let known = Known {
                status: rule.definition.status,
                header: rule.header.clone(),
                series: rule.series.clone(),
            };
            self.rules.insert(rule.name.as_str().into(), known);
        }
    }

    /// A change for dispatch; none for alerts that are only pending.
    pub fn change(&self, change: &Change) -> Option<AlertChange> {
        let state = match change.state {
            State::Pending => return None,
            State::Firing => AlertState::Firing,
            State::Resolved => AlertState::Resolved,
        };
        Some(AlertChange {
            at: change.at,
            state,
            labels: self.labels(&change.rule, &change.node, &change.key, change.severity),
            annotations: self.annotations(&change.rule, &change.summary),
            starts_at: change.since,
            value: number(change.value),
            limit: number(change.limit),
            evidence: change.evidence.clone(),
        })
    }

    /// An alert that fires, with its newest values; none if it is only pending.
    pub fn firing(&self, report: &AlertReport) -> Option<AlertChange> {
        if report.state != State::Firing {
            return None;
        }
        Some(AlertChange {
            at: report.last_finding_at,
            state: AlertState::Firing,
            labels: self.labels(&report.rule, &report.node, &report.key, report.severity),
            annotations: self.annotations(&report.rule, &report.summary),
            starts_at: report.fired_at.unwrap_or(report.since),
            value: number(report.value),
            limit: number(report.limit),
            evidence: report.evidence.clone(),
        })
    }

    /// All alerts, those that are only pending by name.
    pub fn told(&self, reports: &[AlertReport]) -> Told {
        Told::Reconciled {
            firing: reports.iter().filter_map(|alert| self.firing(alert)).collect(),
            pending: reports.iter().filter_map(|alert| self.pending(alert)).collect(),
        }
    }

    /// An alert that is only pending; none if it fires.
    fn pending(&self, report: &AlertReport) -> Option<Fingerprint> {
        let labels = || self.labels(&report.rule, &report.node, &report.key, report.severity);
        (report.state == State::Pending).then(|| Fingerprint::of(&labels()))
    }

    fn labels(&self, rule: &Arc<str>, node: &str, key: &AlertKey, severity: Severity) -> Labels {
        let mut labels: Labels = key.parts().map(|(name, text)| (label_name(name), text)).collect();
        // Those that everybody matches on come last: a key of the same name does not hide them.
        let known = self.rules.get(rule);
        if let Some(series) = known.and_then(|known| known.series.as_ref()) {
            labels.insert("series".to_string(), series.to_string());
        }
        labels.insert("alertname".to_string(), rule.to_string());
        labels.insert("node".to_string(), node.to_string());
        labels.insert("severity".to_string(), severity.to_string());
        if let Some(known) = known {
            let status = match known.status {
                Status::Stable => "stable",
                Status::Experimental => "experimental",
            };
            labels.insert("status".to_string(), status.to_string());
        }
        labels
    }

    fn annotations(&self, rule: &Arc<str>, summary: &str) -> Labels {
        let mut annotations = Labels::from([("summary".to_string(), summary.to_string())]);
        let Some(Known { header, .. }) = self.rules.get(rule) else { return annotations };
        for (name, text) in [
            ("why", &header.why),
            ("false_positives", &header.false_positives),
            ("runbook", &header.remedy),
            ("references", &header.references),
        ] {
            if !text.is_empty() {
                annotations.insert(name.to_string(), text.clone());
            }
        }
        annotations
    }
}

fn number(reading: Reading) -> Option<f64> {
    match reading {
        Reading::Nothing => None,
        Reading::Int(value) => Some(value as f64),
        Reading::Float(value) => Some(value),
    }
}

/// A name of a key as the name of a label: letters, digits and underscores.
pub fn label_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use tocsin_engine::windows::key::Key;

    use super::*;

    #[test]
    fn alerts_of_a_series_are_labelled_with_it() {
        let mut catalogue = Catalogue::default();
        let series = |series: Option<&str>| Known {
            status: Status::Stable,
            header: Header::default(),
            series: series.map(Into::into),
        };
        catalogue.rules.insert("anomaly_bytes".into(), series(Some("bytes")));
        catalogue.rules.insert("ping_spam".into(), series(None));
        let label = |rule: &str| {
            let key = AlertKey { names: Vec::new().into(), key: Key::default() };
            catalogue.labels(&rule.into(), "hal", &key, Severity::Info).remove("series")
        };
        assert_eq!(label("anomaly_bytes").as_deref(), Some("bytes"));
        assert_eq!(label("ping_spam"), None);
    }
}
