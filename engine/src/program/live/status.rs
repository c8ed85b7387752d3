//! What the running program knows of itself, as one value: made by the engine's thread about once a second, read by
//! `/metrics`, `/api/v1/...` and whoever asks. All `u64` counts are totals since the program started unless they say
//! otherwise.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use tocsin_engine::engine::{AlertReport, NodeReport, RuleReport};
use tocsin_engine::rules::header::Header;
use tocsin_engine::rules::{Severity, Status as RuleStatus};

/// Where the newest [`Status`] is found.
#[derive(Debug, Clone, Default)]
pub struct StatusBoard {
    newest: Arc<RwLock<Arc<Status>>>,
}

impl StatusBoard {
    /// The newest status.
    pub fn read(&self) -> Arc<Status> {
        self.newest.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Replaces the status. Has one caller, the engine's thread. Fills in `last_evaluated_ms` and `last_failed_ms` of
    /// the rules from what changed since the status before.
    pub fn write(&self, mut status: Status) {
        let before = self.read();
        let entries: BTreeMap<_, _> = before.rules.iter().map(|rule| (&rule.report.name, rule)).collect();
        for rule in &mut status.rules {
            rule.compare(entries.get(&rule.report.name).copied(), status.at_ms);
        }
        *self.newest.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(status);
    }
}

/// The program at one moment.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// When this status was made; unix ms.
    pub at_ms: u64,
    /// When the program started; unix ms.
    pub started_at_ms: u64,
    /// True once checkpoint and recording were caught up with and events are taken from sources.
    pub is_ready: bool,
    /// The nodes seen, in order of names.
    pub nodes: Vec<NodeStatus>,
    /// The rules loaded, in order of their files.
    pub rules: Vec<RuleEntry>,
    /// Alerts pending and firing.
    pub alerts: Arc<Vec<AlertReport>>,
    /// Newest state each extractor reported, by node and extractor.
    pub extractors: BTreeMap<(String, String), ExtractorState>,
    /// The NATS connections.
    pub sources: Vec<SourceStatus>,
    /// Events missing from the numbering, by node and extractor.
    pub lost: BTreeMap<(String, String), u64>,
    /// Payloads that were no events, by node.
    pub undecodable: BTreeMap<String, u64>,
    /// Events waiting on the bus at this moment.
    pub queued: usize,
    /// The recording.
    pub recording: Option<RecordingStatus>,
    /// The newest checkpoint.
    pub checkpoint: Option<CheckpointStatus>,
    /// Rule files that did not load, one text each.
    pub load_errors: Vec<String>,
    /// The last reload of the rules; none before the first.
    pub reload: Option<ReloadStatus>,
    /// Reloads that worked, and reloads that left old rules running.
    pub reloads: (u64, u64),
}

/// One node.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    /// What the engine counted.
    pub report: NodeReport,
    /// Arrival of the newest event; unix ms.
    pub last_event_ms: u64,
    /// Arrival less event time of the newest event, in ms: transport delay plus difference of the clocks.
    pub lag_ms: i64,
}

/// One rule.
#[derive(Debug, Clone)]
pub struct RuleEntry {
    /// Its work.
    pub report: RuleReport,
    /// The file it came from.
    pub file: String,
    /// How bad its alerts are.
    pub severity: Severity,
    /// Whether it may wake people.
    pub status: RuleStatus,
    /// Its documentation.
    pub header: Header,
    /// Time between evaluations, in seconds.
    pub every_s: f64,
    /// How long findings must last before the alert fires, in seconds.
    pub for_s: f64,
    /// How long the alert fires on without findings, in seconds.
    pub keep_firing_for_s: f64,
    /// When a status first showed its newest evaluation; unix ms, 0 for never. Filled in by [`StatusBoard::write`].
    pub last_evaluated_ms: u64,
    /// When a status first showed its newest failure; unix ms, 0 for never. Filled in by [`StatusBoard::write`].
    pub last_failed_ms: u64,
}

impl RuleEntry {
    fn compare(&mut self, before: Option<&RuleEntry>, now_ms: u64) {
        let since = |count: fn(&RuleEntry) -> u64, last_ms: fn(&RuleEntry) -> u64| match before {
            Some(before) if count(before) == count(self) => last_ms(before),
            _ if count(self) == 0 => 0,
            _ => now_ms,
        };
        let evaluated = since(|rule| rule.report.health.evaluations, |rule| rule.last_evaluated_ms);
        let failed = since(|rule| rule.report.health.failures, |rule| rule.last_failed_ms);
        (self.last_evaluated_ms, self.last_failed_ms) = (evaluated, failed);
    }
}

/// What an extractor last said of itself.
#[derive(Debug, Clone, Default)]
pub struct ExtractorState {
    /// True if it reads the node.
    pub is_up: bool,
    /// What it waits for, or what it reads.
    pub detail: String,
    /// Events it sent since it started.
    pub events: u64,
    /// Errors since it started.
    pub errors: u64,
    /// Facts that never became events since it started.
    pub lost: u64,
    /// Times it reached its interface again since it started.
    pub reconnects: u64,
    /// The last error.
    pub last_error: Option<String>,
    /// Since when it is in this state; unix ms.
    pub since_ms: u64,
    /// Arrival of this report; unix ms.
    pub reported_ms: u64,
}

/// One NATS connection.
#[derive(Debug, Clone)]
pub struct SourceStatus {
    /// Its name in the configuration.
    pub name: String,
    /// True while connected.
    pub is_connected: bool,
    /// Messages received.
    pub messages: u64,
    /// Times the connection was lost.
    pub disconnects: u64,
    /// Times the client library dropped messages because we were too slow.
    pub slow_consumer: u64,
}

/// The recording.
#[derive(Debug, Clone, Default)]
pub struct RecordingStatus {
    /// The file now written.
    pub file: String,
    /// Events recorded.
    pub events: u64,
    /// Bytes recorded before compression.
    pub bytes: u64,
    /// Files kept, and their bytes.
    pub kept: (u64, u64),
    /// Events that could not be recorded.
    pub failed: u64,
    /// The last error.
    pub last_error: Option<String>,
}

/// The newest checkpoint.
#[derive(Debug, Clone, Default)]
pub struct CheckpointStatus {
    /// When it was written; unix ms.
    pub at_ms: u64,
    /// Its size.
    pub bytes: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Checkpoints that could not be written.
    pub failed: u64,
}

/// The last reload of the rules.
#[derive(Debug, Clone, Default)]
pub struct ReloadStatus {
    /// When; unix ms.
    pub at_ms: u64,
    /// True if all rule files loaded.
    pub is_ok: bool,
}
