//! The metrics, all of them: one table, from the status to the samples Prometheus takes.
//!
//! Each scrape makes its samples from the newest status alone, so a series ends with what it is about. No label
//! holds a peer, an address or a text from the network: keys of alerts are counted, never named. Without any receiver
//! there is no dispatch, and no series of it.

use std::collections::BTreeMap;

use prometheus::core::Collector;
use prometheus::{CounterVec, GaugeVec, Opts, Registry, TextEncoder};
use tocsin_engine::alerts::State;
use tocsin_engine::dispatch::silence::SilenceState;
use tocsin_engine::dispatch::view::AlertView;
use tocsin_engine::rules::Severity;
use tocsin_engine::time::Timestamp;
use tocsin_notifiers::Failure;

use super::super::dispatch::status::{DispatchStatus, ReceiverStatus, StoreStatus};
use super::super::status::{
    CheckpointStatus, ExtractorState, NodeStatus, RecordingStatus, RuleEntry, SourceStatus, Status,
};
use super::alertmanager::shapes::VERSION as ALERTMANAGER_VERSION;

/// Values of the labels, and the number.
type Sample = (Vec<String>, f64);

/// One metric.
pub struct Metric {
    /// Its name; ends in the unit or `_total`.
    pub name: &'static str,
    help: &'static str,
    is_counter: bool,
    labels: &'static [&'static str],
    samples: Samples,
}

/// Where samples come from.
enum Samples {
    Engine(fn(&Status) -> Vec<Sample>),
    Dispatch(fn(&DispatchStatus) -> Vec<Sample>),
}

const fn counter(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    samples: fn(&Status) -> Vec<Sample>,
) -> Metric {
    Metric { name, help, is_counter: true, labels, samples: Samples::Engine(samples) }
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    samples: fn(&Status) -> Vec<Sample>,
) -> Metric {
    Metric { name, help, is_counter: false, labels, samples: Samples::Engine(samples) }
}

const fn told_counter(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    samples: fn(&DispatchStatus) -> Vec<Sample>,
) -> Metric {
    Metric { name, help, is_counter: true, labels, samples: Samples::Dispatch(samples) }
}

const fn told_gauge(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    samples: fn(&DispatchStatus) -> Vec<Sample>,
) -> Metric {
    Metric { name, help, is_counter: false, labels, samples: Samples::Dispatch(samples) }
}

/// Labels of what is counted by receiver.
const RECEIVER: &[&str] = &["receiver", "integration"];
/// Why alerts are not sent: names of decisions, so that each is there with 0.
const SUPPRESSIONS: [&str; 7] =
    ["silenced", "inhibited", "muted", "rate_limited", "flapping", "acknowledged", "experimental"];

/// Every metric.
#[rustfmt::skip]
pub static METRICS: &[Metric] = &[
    // The program.
    gauge("tocsin_build_info", "The version that runs; always 1.", &["version"],
        |_| vec![(texts([env!("CARGO_PKG_VERSION")]), 1.0)]),
    gauge("alertmanager_build_info", "The version of Alertmanager whose API is served; always 1.", &["version"],
        |_| vec![(texts([ALERTMANAGER_VERSION]), 1.0)]),
    gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", &[],
        |status| one(seconds(status.started_at_ms))),
    gauge("tocsin_ready", "1 once checkpoint and recording were caught up with and events are taken.", &[],
        |status| one(f64::from(status.is_ready))),
    gauge("tocsin_status_timestamp_seconds", "When the engine last said how it does.", &[],
        |status| one(seconds(status.at_ms))),
    gauge("tocsin_bus_queued_events", "Events waiting for the engine.", &[],
        |status| one(status.queued as f64)),

    // Alerts. The first two as Prometheus shows those of its own rules.
    gauge("ALERTS", "1 for each rule and node with an alert that is pending or firing.",
        &["alertname", "alertstate", "severity", "node"], alerts_by_state),
    gauge("ALERTS_FOR_STATE", "When a rule first found it on a node, by the node's clock.",
        &["alertname", "severity", "node"], alerts_since),
    gauge("tocsin_alerts", "Keys with an alert.", &["rule", "node", "severity", "state"], alerts_of_nodes),
    gauge("tocsin_rule_alerts", "Keys with an alert, on all nodes together.", &["rule", "severity", "state"],
        alerts_of_rules),

    // Rules.
    gauge("tocsin_rules_loaded", "Rules that run.", &[], |status| one(status.rules.len() as f64)),
    gauge("tocsin_rules_load_errors", "Rule files that did not load.", &[],
        |status| one(status.load_errors.len() as f64)),
    counter("tocsin_rules_reloads_total", "Reloads; after a failure the old rules run on.", &["outcome"],
        reloads),
    gauge("tocsin_rules_last_reload_successful", "1 if all rule files loaded the last time.", &[],
        |status| one(f64::from(last_reload_is_ok(status)))),
    gauge("tocsin_rules_last_reload_timestamp_seconds", "When rule files were last loaded.", &[],
        |status| one(seconds(status.reload.as_ref().map_or(status.started_at_ms, |reload| reload.at_ms)))),
    gauge("tocsin_rule_info", "What a rule is; always 1.", &["rule", "file", "severity", "status"],
        rule_words),
    gauge("tocsin_rule_interval_seconds", "Time between two evaluations of a rule.", &["rule"],
        |status| rules(status, |rule| rule.every_s)),
    gauge("tocsin_rule_last_evaluation_timestamp_seconds", "When a rule last looked at a key; 0: never.",
        &["rule"], |status| rules(status, |rule| seconds(rule.last_evaluated_ms))),
    counter("tocsin_rule_evaluations_total", "Keys a rule looked at.", &["rule"],
        |status| rules(status, |rule| rule.report.health.evaluations as f64)),
    counter("tocsin_rule_script_calls_total", "Evaluations that needed the script.", &["rule"],
        |status| rules(status, |rule| rule.report.health.script_calls as f64)),
    counter("tocsin_rule_failures_total", "Errors of a rule's script.", &["rule"],
        |status| rules(status, |rule| rule.report.health.failures as f64)),
    counter("tocsin_rule_findings_total", "Findings, also those another rule inhibited.", &["rule"],
        |status| rules(status, |rule| rule.report.health.findings as f64)),
    counter("tocsin_rule_findings_inhibited_total", "Findings that another rule inhibited.", &["rule"],
        |status| rules(status, |rule| rule.report.health.inhibited as f64)),
    counter("tocsin_rule_findings_crowded_out_total", "Findings without room for another alert.", &["rule"],
        |status| rules(status, |rule| rule.report.health.crowded_out as f64)),

    // Nodes.
    counter("tocsin_events_total", "Events taken.", &["node", "kind"], events),
    counter("tocsin_events_late_total", "Events that came after their time had passed.", &["node"],
        |status| nodes(status, |node| node.report.late as f64)),
    counter("tocsin_events_implausible_total", "Events dropped because no other bore out their time.",
        &["node"],
        |status| nodes(status, |node| node.report.implausible as f64)),
    counter("tocsin_events_undecodable_total", "Events whose fields do not decode.", &["node"],
        |status| nodes(status, |node| node.report.undecodable as f64)),
    counter("tocsin_payloads_undecodable_total", "Payloads that were no events.", &["node"],
        undecodable),
    counter("tocsin_events_lost_total", "Events missing from an extractor's numbering.",
        &["node", "extractor"],
        lost),
    counter("tocsin_clock_steps_total", "Times a node's clock was set.", &["node"],
        |status| nodes(status, |node| node.report.clock_steps as f64)),
    counter("tocsin_keys_evicted_total", "Keys of windows given up because there were too many.", &["node"],
        |status| nodes(status, |node| node.report.evicted as f64)),
    gauge("tocsin_clock_skew_seconds", "How far arrivals are behind a node's clock at least.", &["node"],
        |status| nodes(status, |node| node.report.skew_ms as f64 / 1000.0)),
    gauge("tocsin_lag_seconds", "Arrival less event time of the newest event.", &["node"],
        |status| nodes(status, |node| node.lag_ms as f64 / 1000.0)),
    gauge("tocsin_last_event_timestamp_seconds", "Arrival of the newest event.", &["node"],
        |status| nodes(status, |node| seconds(node.last_event_ms))),

    // Extractors and NATS.
    gauge("tocsin_extractor_up", "1 if the extractor reads the node.", &["node", "extractor"],
        |status| extractors(status, |extractor| f64::from(extractor.is_up))),
    gauge("tocsin_extractor_last_report_timestamp_seconds", "Arrival of the extractor's last report.",
        &["node", "extractor"],
        |status| extractors(status, |extractor| seconds(extractor.reported_ms))),
    gauge("tocsin_extractor_state_since_timestamp_seconds", "Since when the extractor is up or not.",
        &["node", "extractor"],
        |status| extractors(status, |extractor| seconds(extractor.since_ms))),
    counter("tocsin_extractor_events_total", "Events the extractor sent.", &["node", "extractor"],
        |status| extractors(status, |extractor| extractor.events as f64)),
    counter("tocsin_extractor_errors_total", "Errors of the extractor.", &["node", "extractor"],
        |status| extractors(status, |extractor| extractor.errors as f64)),
    counter("tocsin_extractor_lost_total", "Facts that never became events.", &["node", "extractor"],
        |status| extractors(status, |extractor| extractor.lost as f64)),
    counter("tocsin_extractor_reconnects_total", "Times the extractor reached its interface again.",
        &["node", "extractor"],
        |status| extractors(status, |extractor| extractor.reconnects as f64)),
    gauge("tocsin_source_connected", "1 while connected to the NATS server.", &["source"],
        |status| sources(status, |source| f64::from(source.is_connected))),
    counter("tocsin_source_messages_total", "Messages received from the NATS server.", &["source"],
        |status| sources(status, |source| source.messages as f64)),
    counter("tocsin_source_disconnects_total", "Times the connection to the NATS server was lost.",
        &["source"],
        |status| sources(status, |source| source.disconnects as f64)),
    counter("tocsin_source_slow_consumer_total", "Times the NATS client dropped messages, we being too slow.",
        &["source"],
        |status| sources(status, |source| source.slow_consumer as f64)),

    // Recording and checkpoint.
    counter("tocsin_recording_events_total", "Events recorded.", &[],
        |status| recording(status, |recording| recording.events as f64)),
    counter("tocsin_recording_bytes_total", "Bytes recorded, before compression.", &[],
        |status| recording(status, |recording| recording.bytes as f64)),
    counter("tocsin_recording_failures_total", "Events that could not be recorded.", &[],
        |status| recording(status, |recording| recording.failed as f64)),
    gauge("tocsin_recording_kept_files", "Files of recordings kept.", &[],
        |status| recording(status, |recording| recording.kept.0 as f64)),
    gauge("tocsin_recording_kept_bytes", "Size of the recordings kept.", &[],
        |status| recording(status, |recording| recording.kept.1 as f64)),
    gauge("tocsin_checkpoint_timestamp_seconds", "When the newest checkpoint was written; 0 for never.", &[],
        |status| checkpoint(status, |checkpoint| seconds(checkpoint.at_ms))),
    gauge("tocsin_checkpoint_size_bytes", "Size of the newest checkpoint.", &[],
        |status| checkpoint(status, |checkpoint| checkpoint.bytes as f64)),
    gauge("tocsin_checkpoint_duration_seconds", "How long the newest checkpoint took.", &[],
        |status| checkpoint(status, |checkpoint| checkpoint.seconds)),
    counter("tocsin_checkpoint_failures_total", "Checkpoints that could not be written.", &[],
        |status| checkpoint(status, |checkpoint| checkpoint.failed as f64)),

    // Dispatch.
    told_counter("tocsin_notifications_total", "Notifications decided.", RECEIVER,
        |status| receivers(status, |receiver| receiver.decided as f64)),
    told_counter("tocsin_notifications_delivered_total", "Notifications delivered.", RECEIVER,
        |status| receivers(status, |receiver| receiver.delivered as f64)),
    told_counter("tocsin_notifications_attempts_total", "Attempts to deliver a notification.", RECEIVER,
        |status| receivers(status, |receiver| receiver.attempts as f64)),
    told_counter("tocsin_notifications_failed_total", "Attempts to deliver a notification that failed.",
        &["receiver", "integration", "reason"], failed_attempts),
    told_counter("tocsin_notifications_delay_seconds_total",
        "Time from decision to delivery, summed over notifications delivered.", RECEIVER,
        |status| receivers(status, |receiver| receiver.delay_s)),
    told_gauge("tocsin_notifications_pending", "Notifications that wait to be delivered.", RECEIVER,
        |status| receivers(status, |receiver| receiver.pending as f64)),
    told_gauge("tocsin_notifications_dead", "Notifications given up that nobody has sent again.", RECEIVER,
        |status| receivers(status, |receiver| receiver.dead as f64)),
    told_gauge("tocsin_notifications_last_delivered_timestamp_seconds",
        "When something was last delivered; 0 for never.", RECEIVER,
        |status| receivers(status, |receiver| seconds(receiver.delivered_at_ms.unwrap_or(0)))),
    told_counter("tocsin_notifications_suppressed_total", "Decisions not to send an alert.", &["reason"],
        suppressed),
    told_gauge("tocsin_receiver_broken", "1 while nothing is tried because so much failed.", RECEIVER,
        |status| receivers(status, |receiver| f64::from(is_broken(receiver, status.view.at)))),
    told_gauge("tocsin_silences", "Silences.", &["state"], silences),
    told_gauge("tocsin_alerts_acknowledged", "Alerts that somebody takes care of.", &[],
        |status| one(alerts_told(status, |alert| alert.acknowledgement.is_some()))),
    told_gauge("tocsin_alerts_flapping", "Alerts that change too often to be told.", &[],
        |status| one(alerts_told(status, |alert| alert.is_flapping))),
    told_gauge("tocsin_dispatch_groups", "Groups of alerts.", &[],
        |status| one(status.view.groups.len() as f64)),
    told_gauge("tocsin_store_size_bytes", "Size of the store of dispatch.", &[],
        |status| store(status, |store| store.bytes as f64)),
    told_counter("tocsin_store_commits_total", "Transactions of the store.", &[],
        |status| store(status, |store| store.commits as f64)),
    told_counter("tocsin_store_failures_total", "Transactions of the store that failed.", &[],
        |status| store(status, |store| store.failed as f64)),
    told_gauge("tocsin_store_error", "1 while the store cannot be written.", &[],
        |status| store(status, |store| f64::from(store.error.is_some()))),
    told_gauge("tocsin_store_damaged", "1 if the store was found damaged at the start.", &[],
        |status| store(status, |store| f64::from(store.damage.is_some()))),
];

/// All metrics in Prometheus' text format.
pub fn render(status: &Status, dispatch: Option<&DispatchStatus>) -> String {
    let registry = Registry::new();
    for metric in METRICS {
        let samples = match metric.samples {
            Samples::Engine(samples) => samples(status),
            Samples::Dispatch(samples) => dispatch.map(samples).unwrap_or_default(),
        };
        registry.register(metric.collect(&samples)).expect("names differ, a test sees to it");
    }
    TextEncoder::new().encode_to_string(&registry.gather()).expect("empty families are not gathered")
}

impl Metric {
    fn collect(&self, samples: &[Sample]) -> Box<dyn Collector> {
        let options = Opts::new(self.name, self.help);
        if self.is_counter {
            let family = CounterVec::new(options, self.labels).expect("names of the table are valid");
            samples.iter().for_each(|(labels, value)| family.with_label_values(labels).inc_by(*value));
            Box::new(family)
        } else {
            let family = GaugeVec::new(options, self.labels).expect("names of the table are valid");
            samples.iter().for_each(|(labels, value)| family.with_label_values(labels).set(*value));
            Box::new(family)
        }
    }
}

fn seconds(unix_ms: u64) -> f64 {
    unix_ms as f64 / 1000.0
}

fn one(value: f64) -> Vec<Sample> {
    vec![(Vec::new(), value)]
}

fn rules(status: &Status, value: fn(&RuleEntry) -> f64) -> Vec<Sample> {
    status.rules.iter().map(|rule| (texts([&rule.report.name]), value(rule))).collect()
}

fn nodes(status: &Status, value: fn(&NodeStatus) -> f64) -> Vec<Sample> {
    status.nodes.iter().map(|node| (texts([&node.report.name]), value(node))).collect()
}

fn extractors(status: &Status, value: fn(&ExtractorState) -> f64) -> Vec<Sample> {
    let states = status.extractors.iter();
    states.map(|((node, name), state)| (texts([node, name]), value(state))).collect()
}

fn sources(status: &Status, value: fn(&SourceStatus) -> f64) -> Vec<Sample> {
    status.sources.iter().map(|source| (texts([&source.name]), value(source))).collect()
}

fn recording(status: &Status, value: fn(&RecordingStatus) -> f64) -> Vec<Sample> {
    status.recording.iter().map(|recording| (Vec::new(), value(recording))).collect()
}

fn checkpoint(status: &Status, value: fn(&CheckpointStatus) -> f64) -> Vec<Sample> {
    status.checkpoint.iter().map(|checkpoint| (Vec::new(), value(checkpoint))).collect()
}

fn receivers(status: &DispatchStatus, value: impl Fn(&ReceiverStatus) -> f64) -> Vec<Sample> {
    let sample = |receiver: &ReceiverStatus| (texts([&receiver.name, receiver.integration]), value(receiver));
    status.receivers.iter().map(sample).collect()
}

fn is_broken(receiver: &ReceiverStatus, now: Timestamp) -> bool {
    receiver
        .broken_until_ms
        .is_some_and(|until_ms| now.unix_ms() < i64::try_from(until_ms).unwrap_or(i64::MAX))
}

fn store(status: &DispatchStatus, value: fn(&StoreStatus) -> f64) -> Vec<Sample> {
    one(value(&status.store))
}

fn alerts_told(status: &DispatchStatus, is_counted: fn(&AlertView) -> bool) -> f64 {
    status.view.alerts.iter().filter(|alert| is_counted(alert)).count() as f64
}

/// Every kind of failure is there with 0.
fn failed_attempts(status: &DispatchStatus) -> Vec<Sample> {
    let of_receiver = |receiver: &ReceiverStatus| {
        Failure::ALL.map(|kind| {
            let count = receiver.failed.get(&kind).copied().unwrap_or(0);
            (texts([&receiver.name, receiver.integration, kind.name()]), count as f64)
        })
    };
    status.receivers.iter().flat_map(of_receiver).collect()
}

fn suppressed(status: &DispatchStatus) -> Vec<Sample> {
    let mut counts: BTreeMap<&str, u64> = SUPPRESSIONS.map(|name| (name, 0)).into();
    counts.extend(&status.suppressed);
    counts.into_iter().map(|(name, count)| (texts([name]), count as f64)).collect()
}

fn silences(status: &DispatchStatus) -> Vec<Sample> {
    let sample = |state: SilenceState| {
        let silences = status.view.silences.iter();
        let count = silences.filter(|silence| silence.state(status.view.at) == state).count();
        (texts([state.as_str()]), count as f64)
    };
    [SilenceState::Pending, SilenceState::Active, SilenceState::Expired].map(sample).into()
}

/// The alerts of a rule and node, without their keys: firing if one is, and as old as the oldest.
fn by_rule_and_node(status: &Status) -> BTreeMap<(&str, Severity, &str), (State, Timestamp)> {
    let mut alerts = BTreeMap::new();
    for alert in status.alerts.iter() {
        let name = (&*alert.rule, alert.severity, &*alert.node);
        let (state, since) = alerts.entry(name).or_insert((alert.state, alert.since));
        if alert.state == State::Firing {
            *state = State::Firing;
        }
        *since = alert.since.min(*since);
    }
    alerts
}

fn alerts_by_state(status: &Status) -> Vec<Sample> {
    let sample = |((rule, severity, node), (state, _)): ((&str, Severity, &str), (State, Timestamp))| {
        (texts([rule, state.name(), &severity.to_string(), node]), 1.0)
    };
    by_rule_and_node(status).into_iter().map(sample).collect()
}

fn alerts_since(status: &Status) -> Vec<Sample> {
    let sample = |((rule, severity, node), (_, since)): ((&str, Severity, &str), (State, Timestamp))| {
        (texts([rule, &severity.to_string(), node]), since.unix_ms() as f64 / 1000.0)
    };
    by_rule_and_node(status).into_iter().map(sample).collect()
}

fn alerts_of_nodes(status: &Status) -> Vec<Sample> {
    let mut counts: BTreeMap<(&str, &str, Severity, &str), f64> = BTreeMap::new();
    for alert in status.alerts.iter() {
        *counts.entry((&alert.rule, &alert.node, alert.severity, alert.state.name())).or_default() += 1.0;
    }
    let sample = |((rule, node, severity, state), count): ((&str, &str, Severity, &str), f64)| {
        (texts([rule, node, &severity.to_string(), state]), count)
    };
    counts.into_iter().map(sample).collect()
}

fn alerts_of_rules(status: &Status) -> Vec<Sample> {
    let mut counts: BTreeMap<(&str, Severity, &str), f64> = BTreeMap::new();
    // Every rule is there with 0, so that a first alert is seen as a rise.
    for (rule, state) in
        status.rules.iter().flat_map(|rule| [State::Pending, State::Firing].map(|state| (rule, state)))
    {
        counts.insert((&rule.report.name, rule.severity, state.name()), 0.0);
    }
    for alert in status.alerts.iter() {
        *counts.entry((&alert.rule, alert.severity, alert.state.name())).or_default() += 1.0;
    }
    let sample = |((rule, severity, state), count): ((&str, Severity, &str), f64)| {
        (texts([rule, &severity.to_string(), state]), count)
    };
    counts.into_iter().map(sample).collect()
}

fn rule_words(status: &Status) -> Vec<Sample> {
    let sample = |rule: &RuleEntry| {
        let severity = rule.severity.to_string();
        (texts([&rule.report.name, &rule.file, &severity, super::status_name(rule.status)]), 1.0)
    };
    status.rules.iter().map(sample).collect()
}

fn events(status: &Status) -> Vec<Sample> {
    let of_node = |node: &NodeStatus| {
        let sample = |(kind, count): &(&str, u64)| (texts([&node.report.name, kind]), *count as f64);
        node.report.events.iter().map(sample).collect::<Vec<_>>()
    };
    status.nodes.iter().flat_map(of_node).collect()
}

/// Every extractor is there with 0: Prometheus does not see a series rise that begins with what was lost.
fn lost(status: &Status) -> Vec<Sample> {
    let mut counts: BTreeMap<_, u64> = status.extractors.keys().map(|name| (name, 0)).collect();
    counts.extend(status.lost.iter().map(|(name, count)| (name, *count)));
    counts.into_iter().map(|((node, name), count)| (texts([node, name]), count as f64)).collect()
}

/// Every node is there with 0, for the same reason.
fn undecodable(status: &Status) -> Vec<Sample> {
    let mut counts: BTreeMap<&str, u64> = status.nodes.iter().map(|node| (&*node.report.name, 0)).collect();
    counts.extend(status.undecodable.iter().map(|(node, count)| (node.as_str(), *count)));
    counts.into_iter().map(|(node, count)| (texts([node]), count as f64)).collect()
}

fn reloads(status: &Status) -> Vec<Sample> {
    let (worked, failed) = status.reloads;
    vec![(texts(["success"]), worked as f64), (texts(["failure"]), failed as f64)]
}

/// Did the last loading of rules work, be it a reload or the first?
fn last_reload_is_ok(status: &Status) -> bool {
    status.reload.as_ref().map_or(status.load_errors.is_empty(), |reload| reload.is_ok)
}

fn texts<const N: usize>(labels: [&str; N]) -> Vec<String> {
    labels.map(str::to_string).to_vec()
}
