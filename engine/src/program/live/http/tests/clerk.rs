//! A dispatch of one task that keeps silences and acknowledgements in its status and sends nothing.

use std::sync::{Arc, RwLock};

use tocsin_engine::dispatch::alert::Fingerprint;
use tocsin_engine::dispatch::decision::{Decision, DecisionKind};
use tocsin_engine::dispatch::silence::{Silence, SilenceDraft, Update};
use tocsin_engine::dispatch::view::Acknowledgement;
use tocsin_engine::time::Timestamp;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::super::super::dispatch::status::{DispatchStatus, NotificationState};
use super::super::super::dispatch::{Dispatch, Explanation, Request};
use super::{now_ms, sample};

/// An alert that only the store knows.
pub const GONE: Fingerprint = Fingerprint(0xdefe_0000_0000_0001);

/// Starts it.
pub fn start(runtime: &Runtime, mut status: DispatchStatus) -> Dispatch {
    let (requests, mut asked) = mpsc::channel(8);
    let newest = Arc::new(RwLock::new(Arc::new(status.clone())));
    let board = newest.clone();
    runtime.spawn(async move {
        while let Some(request) = asked.recv().await {
            status.view.at = Timestamp::from_unix_ms(now_ms() as i64);
            answer(&mut status, request, &|status| *board.write().expect("whole") = Arc::new(status.clone()));
        }
    });
    Dispatch::of(requests, newest)
}

fn answer(status: &mut DispatchStatus, request: Request, publish: &dyn Fn(&DispatchStatus)) {
    let now = status.view.at;
    match request {
        Request::Silence { id, draft, reply } => {
            let id = silence(status, id, draft);
            publish(status);
            let _ = reply.send(Ok(id));
        }
        Request::ExpireSilence { id, reply } => {
            let found = status.view.silences.iter_mut().find(|silence| silence.id == id);
            found.expect("it was looked for").expire(now);
            publish(status);
            let _ = reply.send(Ok(()));
        }
        Request::Acknowledge { fingerprint, by, comment, reply } => {
            let found = status.view.alerts.iter_mut().find(|alert| alert.fingerprint == fingerprint);
            let done = found.map(|alert| {
                alert.acknowledgement = Some(Acknowledgement { by, comment, at: now });
            });
            publish(status);
            let _ = reply.send(done.ok_or_else(|| format!("no alert {fingerprint} fires")));
        }
        Request::Unacknowledge { fingerprint, reply, .. } => {
            let found = status.view.alerts.iter_mut().find(|alert| alert.fingerprint == fingerprint);
            let done = found.map(|alert| alert.acknowledgement = None);
            publish(status);
            let _ = reply.send(done.ok_or_else(|| format!("no alert {fingerprint} fires")));
        }
        Request::Resend { id, reply } => {
            let is_dead = id == sample::DEAD;
            let _ = reply.send(is_dead.then_some(()).ok_or_else(|| format!("{id} was not given up")));
        }
        Request::Explain { fingerprint: GONE, reply } => {
            let labels = [("alertname".to_string(), "gone".to_string())];
            let fired = decision(GONE, now, DecisionKind::Fired, "long ago");
            let told =
                Explanation { labels: Some(labels.into()), decisions: vec![fired], ..Explanation::default() };
            let _ = reply.send(Ok(told));
        }
        Request::Explain { fingerprint, reply } => {
            let known = status.view.alerts.iter().find(|alert| alert.fingerprint == fingerprint);
            let told = known.map_or_else(Explanation::default, |alert| Explanation {
                labels: Some(alert.labels.clone()),
                decisions: vec![
                    decision(alert.fingerprint, alert.starts_at, DecisionKind::Fired, "2000 over 60.5"),
                    decision(
                        alert.fingerprint,
                        alert.starts_at,
                        DecisionKind::Notified,
                        "first notification",
                    ),
                ],
                notifications: sample::notifications(now_ms()).split_off(1),
            });
            let _ = reply.send(Ok(told));
        }
        Request::Find { beginning, reply } => {
            let known = status.view.alerts.iter().map(|alert| alert.fingerprint);
            let found = known.chain([GONE]).filter(|id| id.to_string().starts_with(&beginning));
            let _ = reply.send(Ok(found.collect()));
        }
        Request::Notifications { only_dead, limit, reply } => {
            let mut found = sample::notifications(now_ms());
            found.retain(|record| !only_dead || matches!(record.state, NotificationState::Dead { .. }));
            found.truncate(limit);
            let _ = reply.send(Ok(found));
        }
    }
}

fn decision(fingerprint: Fingerprint, starts_at: Timestamp, kind: DecisionKind, reason: &str) -> Decision {
    Decision {
        at: starts_at.plus_ms(30_000),
        fingerprint,
        starts_at,
        receiver: (kind == DecisionKind::Notified).then(|| "ops".to_string()),
        kind,
        reason: reason.to_string(),
        notification: (kind == DecisionKind::Notified).then(|| sample::DEAD.to_string()),
    }
}

/// Makes or changes a silence, and says its id.
fn silence(status: &mut DispatchStatus, id: Option<String>, draft: SilenceDraft) -> String {
    let (now, silences) = (status.view.at, &mut status.view.silences);
    let known = id.and_then(|id| silences.iter_mut().find(|silence| silence.id == id));
    if let Some(silence) = known {
        if silence.update(&draft, now) == Update::InPlace {
            silence.change(draft, now);
            return silence.id.clone();
        }
        silence.expire(now);
    }
    let id = format!("00000000-0000-4000-8000-{:012}", silences.len());
    silences.push(Silence::new(id.clone(), draft, now));
    id
}
