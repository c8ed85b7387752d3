//! The part of the page that says who is told of what.

use std::collections::BTreeMap;

use tocsin_engine::dispatch::alert::Fingerprint;
use tocsin_engine::dispatch::silence::{Silence, SilenceState};
use tocsin_engine::dispatch::view::AlertView;
use tocsin_engine::engine::AlertReport;

use super::super::super::dispatch::status::{
    DispatchStatus, NotificationRecord, NotificationState, ReceiverStatus, StoreStatus,
};
use super::super::super::status::Status;
use super::super::alertmanager::shapes::silence_order;
use super::super::api::labels;
use super::{Look, Row, instant, table};

/// Silences shown; `/api/v2/silences` has them all.
const SILENCES_MAX: usize = 100;

/// What dispatch knows.
#[derive(Debug, Clone, Copy)]
pub struct Told<'s> {
    /// Of itself.
    pub status: &'s DispatchStatus,
    /// The newest notifications, newest first.
    pub notifications: &'s [NotificationRecord],
}

/// Says of an alert why nobody is told of it (any more), if that is so.
pub fn marks<'s>(
    status: &'s Status,
    told: Option<Told<'s>>,
) -> impl Fn(&AlertReport) -> Option<String> + use<'s> {
    let known: BTreeMap<Fingerprint, &AlertView> = told
        .iter()
        .flat_map(|told| told.status.view.alerts.iter().map(|alert| (alert.fingerprint, alert)))
        .filter(|(_, alert)| mark(alert).is_some())
        .collect();
    let statuses: BTreeMap<&str, _> =
        status.rules.iter().map(|rule| (&*rule.report.name, rule.status)).collect();
    move |alert| {
        if known.is_empty() {
            return None;
        }
        let status = statuses.get(&*alert.rule)?;
        mark(known.get(&Fingerprint::of(&labels(alert, *status)))?)
    }
}

fn mark(alert: &AlertView) -> Option<String> {
    let mut marks = Vec::new();
    if let Some(acknowledgement) = &alert.acknowledgement {
        marks.push(format!("acknowledged by {}", acknowledgement.by));
    }
    if let Some(silence) = alert.silenced_by.first() {
        marks.push(format!("silenced by {silence}"));
    }
    if let Some(other) = alert.inhibited_by.first() {
        marks.push(format!("inhibited by {other}"));
    }
    if let Some(interval) = alert.muted_by.first() {
        marks.push(format!("muted in {interval}"));
    }
    if alert.is_flapping {
        marks.push("flapping".to_string());
    }
    (!marks.is_empty()).then(|| marks.join(", "))
}

/// How receivers do.
pub fn receivers(page: &mut String, status: &DispatchStatus) {
    let now_ms = status.view.at.unix_ms();
    let row = |receiver: &ReceiverStatus| -> Row {
        let broken_until_ms = receiver.broken_until_ms.filter(|until_ms| *until_ms as i64 > now_ms);
        let (look, state) = match broken_until_ms {
            Some(until_ms) => (Look::Bad, format!("left alone until {}", instant(until_ms))),
            None if receiver.dead > 0 => (Look::Warn, "gave something up".to_string()),
            None => (Look::Plain, "well".to_string()),
        };
        let cells = vec![
            state,
            receiver.name.clone(),
            receiver.integration.to_string(),
            receiver.pending.to_string(),
            receiver.dead.to_string(),
            receiver.delivered.to_string(),
            instant(receiver.delivered_at_ms.unwrap_or(0)),
            receiver.last_error.clone().unwrap_or_default(),
        ];
        (look, cells)
    };
    let headings = "state,receiver,integration,pending,given up,delivered,last delivered,last error";
    table(page, "Receivers", headings, status.receivers.iter().map(row));
}

/// Silences that hold or will hold.
pub fn silences(page: &mut String, status: &DispatchStatus) {
    let at = status.view.at;
    let is_alive = |silence: &&Silence| silence.state(at) != SilenceState::Expired;
    let mut silences: Vec<_> = status.view.silences.iter().filter(is_alive).collect();
    silences.sort_by_key(|silence| silence_order(silence, at));
    let rows = silences.into_iter().take(SILENCES_MAX).map(|silence| {
        let matchers: Vec<String> = silence.draft.matchers.iter().map(ToString::to_string).collect();
        let cells = vec![
            silence.state(at).as_str().to_string(),
            silence.id.clone(),
            matchers.join(" "),
            silence.draft.starts_at.to_string(),
            silence.draft.ends_at.to_string(),
            silence.draft.created_by.clone(),
            silence.draft.comment.clone(),
        ];
        (Look::Plain, cells)
    });
    table(page, "Silences", "state,id,alerts,from,until,by,comment", rows);
}

/// What was told last.
pub fn notifications(page: &mut String, notifications: &[NotificationRecord]) {
    let at = |unix_ms: i64| instant(unix_ms.max(0) as u64);
    let rows = notifications.iter().map(|record| {
        let (look, state) = match record.state {
            NotificationState::Pending { next_attempt_at_ms } => {
                (Look::Warn, format!("pending until {}", at(next_attempt_at_ms)))
            }
            NotificationState::Delivered { at_ms } => (Look::Plain, format!("delivered {}", at(at_ms))),
            NotificationState::Dead { at_ms } => (Look::Bad, format!("given up {}", at(at_ms))),
        };
        let cells = vec![
            state,
            record.id.clone(),
            record.receiver.clone(),
            at(record.decided_at_ms),
            record.reason_text.clone(),
            record.group_key.clone(),
            record.attempts.to_string(),
            record.last_error.clone().unwrap_or_default(),
        ];
        (look, cells)
    });
    table(page, "Notifications", "state,id,receiver,decided,why,group,attempts,last error", rows);
}

/// How the store of dispatch does.
pub fn store(store: &StoreStatus) -> Row {
    let text = format!("{} commits, {} failed; {} bytes", store.commits, store.failed, store.bytes);
    let error = store.error.clone().or_else(|| store.damage.clone()).unwrap_or_default();
    let look = if store.error.is_some() { Look::Bad } else { Look::Plain };
    (look, vec!["dispatch".to_string(), text, error])
}
