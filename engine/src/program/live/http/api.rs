//! The shapes of Prometheus' `/api/v1/rules` and `/api/v1/alerts`, made from the status.
//!
//! A rule file is a group of one rule: a group of Prometheus has one file and one interval. Its name is the topic,
//! the folder the file is in. Unlike metrics, alerts here name their keys.
//! Source of the shapes: <https://prometheus.io/docs/prometheus/latest/querying/api/#rules>.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use tocsin_engine::alerts::State;
use tocsin_engine::engine::AlertReport;
use tocsin_engine::rules::Status as RuleStatus;
use tocsin_engine::time::Timestamp;
use tocsin_engine::windows::Reading;

use super::super::dispatch::change::label_name;
use super::super::status::{RuleEntry, Status};
use super::status_name;

/// A failure marks a rule this long: an erring rule may be left alone for 10 minutes, and is not known to be well sooner.
const FAILURE_STANDS_MS: u64 = 600_000;
/// What Go's zero time prints, for a rule that was never evaluated.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// The last instant that prints, in unix ms: what is later in some time zone is in the year 10000.
const LAST_MS: i64 = 253_402_207_200_000;

/// What is asked of `/api/v1/rules`.
#[derive(Debug, Default, PartialEq)]
pub struct RulesQuery {
    /// Only these rules, if any are named.
    names: Vec<String>,
    /// Only these topics, if any are named.
    groups: Vec<String>,
    /// Only these files, if any are named.
    files: Vec<String>,
    without_alerts: bool,
    /// Recording rules, of which there are none.
    only_recording: bool,
}

/// Answer of every call.
#[derive(Debug, Serialize)]
pub struct Answer<T> {
    status: &'static str,
    data: T,
}

/// All groups.
#[derive(Debug, Serialize)]
pub struct Rules<'s> {
    groups: Vec<Group<'s>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Group<'s> {
    name: &'s str,
    file: &'s str,
    rules: [Rule<'s>; 1],
    interval: f64,
    limit: u64,
    evaluation_time: f64,
    last_evaluation: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule<'s> {
    state: &'static str,
    name: &'s str,
    query: &'s str,
    duration: f64,
    keep_firing_for: f64,
    labels: BTreeMap<&'static str, String>,
    annotations: BTreeMap<&'static str, &'s str>,
    alerts: Vec<Alert<'s>>,
    health: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<&'s str>,
    /// The engine reads no clock, so it does not know how long a rule took.
    evaluation_time: f64,
    last_evaluation: String,
    r#type: &'static str,
}

/// All alerts.
#[derive(Debug, Serialize)]
pub struct Alerts<'s> {
    alerts: Vec<Alert<'s>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert<'s> {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<&'static str, Cow<'s, str>>,
    state: &'static str,
    active_at: String,
    value: String,
}

impl RulesQuery {
    /// Reads the parameters of the URL; the error says what would be accepted.
    pub fn read(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut query = RulesQuery::default();
        for (name, value) in pairs {
            match (name.as_str(), value.as_str()) {
                ("rule_name[]", _) => query.names.push(value),
                ("rule_group[]", _) => query.groups.push(value),
                ("file[]", _) => query.files.push(value),
                ("type", "alert" | "") => query.only_recording = false,
                ("type", "record") => query.only_recording = true,
                ("exclude_alerts", "true" | "1") => query.without_alerts = true,
                ("exclude_alerts", "false" | "0" | "") => query.without_alerts = false,
                ("type", _) => return Err(format!("type is {value:?}, expected alert or record")),
                ("exclude_alerts", _) => {
                    return Err(format!("exclude_alerts is {value:?}, expected true or false"));
                }
                // Answering with more than was asked for would be taken for what was asked for.
                ("match[]", _) => {
                    return Err("match[] is not supported, expected rule_name[] or file[]".into());
                }
                _ => {}
            }
        }
        Ok(query)
    }

    fn takes(&self, rule: &RuleEntry) -> bool {
        let is_in =
            |wanted: &[String], found: &str| wanted.is_empty() || wanted.iter().any(|name| name == found);
        !self.only_recording
            && is_in(&self.names, &rule.report.name)
            && is_in(&self.groups, topic(&rule.file))
            && is_in(&self.files, &rule.file)
    }
}

/// The rules in order of topics and files.
pub fn rules<'s>(status: &'s Status, query: &RulesQuery) -> Answer<Rules<'s>> {
    let mut reports: BTreeMap<&str, Vec<&AlertReport>> = BTreeMap::new();
    for alert in status.alerts.iter() {
        reports.entry(&alert.rule).or_default().push(alert);
    }
    let group = |rule: &'s RuleEntry| {
        let mut own = reports.remove(&*rule.report.name).unwrap_or_default();
        let state = state_of(&own);
        if query.without_alerts {
            own.clear();
        }
        let alerts = own.into_iter().map(|alert| Alert::new(alert, Some(rule))).collect();
        Group {
            name: topic(&rule.file),
            file: &rule.file,
            rules: [Rule::new(rule, state, alerts, status.at_ms)],
            interval: rule.every_s,
            limit: 0,
            evaluation_time: 0.0,
            last_evaluation: instant(rule.last_evaluated_ms),
        }
    };
    let mut groups: Vec<Group> = status.rules.iter().filter(|rule| query.takes(rule)).map(group).collect();
    groups.sort_by_key(|group| (group.name, group.file));
    Answer { status: "success", data: Rules { groups } }
}

/// All alerts, in the order of the status.
pub fn alerts(status: &Status) -> Answer<Alerts<'_>> {
    let rules: BTreeMap<&str, &RuleEntry> =
        status.rules.iter().map(|rule| (&*rule.report.name, rule)).collect();
    let alert = |alert| Alert::new(alert, rules.get(&*alert.rule).copied());
    Answer { status: "success", data: Alerts { alerts: status.alerts.iter().map(alert).collect() } }
}

impl<'s> Rule<'s> {
    fn new(rule: &'s RuleEntry, state: &'static str, alerts: Vec<Alert<'s>>, now_ms: u64) -> Self {
        let health = health(rule, now_ms);
        let labels =
            [("severity", rule.severity.to_string()), ("status", status_name(rule.status).to_string())];
        let annotations = [
            ("summary", &rule.header.title),
            ("why", &rule.header.why),
            ("false_positives", &rule.header.false_positives),
            ("runbook", &rule.header.remedy),
            ("references", &rule.header.references),
        ];
        let written = annotations.into_iter().filter(|(_, text)| !text.is_empty());
        Rule {
            state,
            name: &rule.report.name,
            query: &rule.file,
            duration: rule.for_s,
            keep_firing_for: rule.keep_firing_for_s,
            labels: labels.into(),
            annotations: written.map(|(name, text)| (name, text.as_str())).collect(),
            alerts,
            health,
            last_error: rule.report.health.last_error.as_deref().filter(|_| health == "err"),
            evaluation_time: 0.0,
            last_evaluation: instant(rule.last_evaluated_ms),
            r#type: "alerting",
        }
    }
}

impl<'s> Alert<'s> {
    fn new(alert: &'s AlertReport, rule: Option<&'s RuleEntry>) -> Self {
        let mut annotations = BTreeMap::from([("summary", Cow::from(&alert.summary))]);
        if alert.limit != Reading::Nothing {
            annotations.insert("limit", number(alert.limit).into());
        }
        if let Some(rule) = rule {
            annotations.insert("why", (&rule.header.why).into());
            annotations.insert("runbook", (&rule.header.remedy).into());
        }
        Alert {
            labels: api_labels(alert),
            annotations,
            state: alert.state.name(),
            active_at: in_range(alert.since).to_string(),
            value: number(alert.value),
        }
    }
}

/// The labels by which dispatch knows an alert: those of the API, and the status of its rule.
pub fn labels(alert: &AlertReport, status: RuleStatus) -> BTreeMap<String, String> {
    let mut labels = api_labels(alert);
    labels.insert("status".to_string(), status_name(status).to_string());
    labels
}

fn api_labels(alert: &AlertReport) -> BTreeMap<String, String> {
    let key = alert.key.parts().map(|(name, text)| (label_name(name), text));
    // The three that everybody matches on come last: a key of the same name does not hide them.
    let own = [
        ("alertname".to_string(), alert.rule.to_string()),
        ("node".to_string(), alert.node.to_string()),
        ("severity".to_string(), alert.severity.to_string()),
    ];
    let series = alert.series.iter().map(|series| ("series".to_string(), series.to_string()));
    key.chain(series).chain(own).collect()
}

/// The folder a rule file is in.
pub fn topic(file: &str) -> &str {
    Path::new(file).parent().and_then(|folder| folder.file_name()?.to_str()).unwrap_or("rules")
}

/// Prometheus' word for how a rule does: `ok`, `err`, or `unknown` if it was never evaluated.
pub fn health(rule: &RuleEntry, now_ms: u64) -> &'static str {
    if rule.last_failed_ms > 0 && now_ms <= rule.last_failed_ms + FAILURE_STANDS_MS {
        "err"
    } else if rule.last_evaluated_ms == 0 {
        "unknown"
    } else {
        "ok"
    }
}

fn state_of(alerts: &[&AlertReport]) -> &'static str {
    match alerts.iter().any(|alert| alert.state == State::Firing) {
        true => State::Firing.name(),
        false if alerts.is_empty() => "inactive",
        false => State::Pending.name(),
    }
}

/// RFC 3339 with milliseconds; 0 is never.
fn instant(unix_ms: u64) -> String {
    match i64::try_from(unix_ms) {
        Ok(0) => NEVER.to_string(),
        Ok(ms) => Timestamp::from_unix_ms(ms.min(LAST_MS)).to_string(),
        Err(_) => Timestamp::from_unix_ms(LAST_MS).to_string(),
    }
}

/// The nearest instant that every client can read.
pub fn in_range(at: Timestamp) -> Timestamp {
    Timestamp::from_unix_ms(at.unix_ms().clamp(0, LAST_MS))
}

/// A number as Go's `%e` writes it, which is what Prometheus' clients know: `1e+00`.
fn number(reading: Reading) -> String {
    let value = match reading {
        Reading::Nothing => f64::NAN,
        Reading::Int(value) => value as f64,
        Reading::Float(value) => value,
    };
    if value.is_nan() {
        return "NaN".to_string();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_string();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').expect("the format writes an exponent");
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pairs: &[(&str, &str)]) -> Result<RulesQuery, String> {
        RulesQuery::read(pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    #[test]
    fn numbers_look_as_go_writes_them() {
        let readings = [
            Reading::Int(1),
            Reading::Float(0.00025),
            Reading::Int(-2000),
            Reading::Float(1.5e300),
            Reading::Float(f64::INFINITY),
            Reading::Nothing,
        ];
        let texts = readings.map(number);
        assert_eq!(texts, ["1e+00", "2.5e-04", "-2e+03", "1.5e+300", "+Inf", "NaN"]);
    }

    #[test]
    fn instants_are_rfc_3339_whatever_the_number() {
        assert_eq!(instant(0), NEVER);
        assert_eq!(instant(1_795_229_905_000), "2026-11-21T02:58:25.000Z");
        assert_eq!(instant(u64::MAX), "9999-12-30T22:00:00.000Z");
    }

    #[test]
    fn parameters_that_cannot_be_kept_are_refused() {
        assert!(check(&[("type", "alert"), ("exclude_alerts", "true"), ("other", "x")]).is_ok());
        assert_eq!(check(&[("type", "all")]), Err("type is \"all\", expected alert or record".into()));
        assert!(check(&[("exclude_alerts", "maybe")]).is_err());
        assert!(check(&[("match[]", "{a=\"b\"}")]).is_err());
    }
}
