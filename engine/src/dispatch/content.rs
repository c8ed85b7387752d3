//! What a receiver has to be told of a group now: inhibition, silences, mutes, flapping and escalation come together here.
//!
//! What was told as firing is told as resolved, whatever has hidden it since: nobody's chat shows an alert for ever.

use std::collections::BTreeSet;

use tocsin_proto::pb::notification::Reason;

use crate::time::Timestamp;

use super::Dispatcher;
use super::alert::{Fingerprint, is_experimental};
use super::decision::DecisionKind;
use super::group::{Group, GroupId, Thread, Told};
use super::record::Record;
use super::routes::Settings;
use super::routing::{Escalation, Receiver};
use super::silence::SilenceState;
use super::text;

/// What is to be told.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// All that fire and may be told.
    pub firing: Vec<Fingerprint>,
    /// Those of them the receiver does not know.
    pub new: Vec<Fingerprint>,
    /// What the receiver knows as firing and is no more.
    pub resolved: Vec<Fingerprint>,
    /// What changes too often since it was last told.
    pub flapping: Vec<Fingerprint>,
    /// What no longer changes too often.
    pub settled: Vec<Fingerprint>,
    /// What nobody acknowledged in time.
    pub escalated: Vec<Fingerprint>,
    /// Steps of escalation that tell them.
    pub steps: Vec<(usize, Fingerprint)>,
    /// What the receiver may forget without being told.
    pub lapsed: Vec<Fingerprint>,
    /// Whether it is time to tell the same again.
    pub is_repeat: bool,
    /// Whether the receiver knows of nothing else.
    pub is_all_resolved: bool,
    /// Whether the receiver has no thread yet.
    pub is_first: bool,
    /// Why alerts are not told.
    pub hidden: Vec<Remark>,
}

/// A decision about an alert and a receiver, to be said if it is news.
#[derive(Debug)]
pub(super) struct Remark {
    pub fingerprint: Fingerprint,
    pub kind: DecisionKind,
    /// What it is about, as which silence: said again only when this changes.
    pub subject: String,
    pub reason: String,
}

/// Where an alert is between what is and what the receiver knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Nothing,
    Known,
    New,
    Resolved,
    BeginsToFlap,
    Flaps,
    Settles,
}

impl Content {
    /// Why a notification is sent, if one is.
    pub fn reason(&self) -> Option<Reason> {
        let reasons = [
            (!self.new.is_empty() && self.is_first, Reason::FirstNotification),
            (!self.new.is_empty(), Reason::NewAlerts),
            (!self.flapping.is_empty(), Reason::Flapping),
            (!self.resolved.is_empty() && self.is_all_resolved, Reason::AllResolved),
            (!self.resolved.is_empty(), Reason::SomeResolved),
            (!self.settled.is_empty(), Reason::Settled),
            (!self.steps.is_empty(), Reason::Escalation),
            (self.is_repeat, Reason::RepeatInterval),
        ];
        reasons.into_iter().find(|(holds, _)| *holds).map(|(_, reason)| reason)
    }

    /// All that the receiver is told of.
    pub fn all(&self) -> BTreeSet<Fingerprint> {
        let lists = [&self.firing, &self.resolved, &self.flapping, &self.settled];
        lists.into_iter().flatten().copied().collect()
    }

    /// Whether the receiver knows of it no more. Lists are in order of fingerprints.
    fn ends(&self, fingerprint: Fingerprint) -> bool {
        let lists = [&self.resolved, &self.lapsed, &self.settled];
        lists.iter().any(|list| list.binary_search(&fingerprint).is_ok())
    }

    fn add(&mut self, fingerprint: Fingerprint, standing: Standing, fires: bool, receiver: &Receiver) {
        let changed = match standing {
            Standing::New => &mut self.new,
            Standing::BeginsToFlap => &mut self.flapping,
            Standing::Settles if fires || receiver.send_resolved => &mut self.settled,
            Standing::Resolved if receiver.send_resolved => &mut self.resolved,
            Standing::Settles | Standing::Resolved => return self.lapsed.push(fingerprint),
            Standing::Nothing | Standing::Known | Standing::Flaps => return,
        };
        changed.push(fingerprint);
    }
}

impl Dispatcher {
    /// What the receiver has to be told of the group.
    pub(super) fn content(&self, id: &GroupId, group: &Group, receiver: &Receiver) -> Content {
        let settings = self.routes.at(group.route);
        let thread = group.threads.get(&receiver.name);
        let is_own = id.receiver == receiver.name;
        let muted_by = self.muted_by(settings, self.now);
        let mut content = Content { is_first: thread.is_none(), ..Content::default() };
        let is_held = group.held.contains_key(&receiver.name);
        let told = thread.into_iter().flat_map(|thread| thread.told.keys());
        let candidates: BTreeSet<&Fingerprint> =
            if is_own { group.members.iter().collect() } else { told.collect() };
        for fingerprint in candidates {
            let Some(record) = self.alerts.get(fingerprint) else { continue };
            let hidden = self.hidden(*fingerprint, record, receiver, &muted_by);
            let told = group.told(&receiver.name, *fingerprint);
            let standing = match is_own {
                true => standing(record, told, receiver, hidden.is_some(), is_held),
                false => standing_of_known(record, told, hidden.is_some()),
            };
            content.add(*fingerprint, standing, record.fires(), receiver);
            let fires = record.fires() && standing != Standing::Nothing && standing != Standing::Resolved;
            if fires && hidden.is_none() {
                content.firing.push(*fingerprint);
            }
            let flaps = (standing == Standing::Flaps).then(|| self.flaps(*fingerprint, record));
            content.hidden.extend(hidden.filter(|_| record.fires()).or(flaps));
        }
        self.add_escalation(&mut content, id, group, receiver, &muted_by);
        let mut known = thread.into_iter().flat_map(|thread| thread.told.keys());
        content.is_all_resolved =
            content.firing.is_empty() && known.all(|fingerprint| content.ends(*fingerprint));
        if is_own && content.reason().is_none() {
            self.add_repeat(&mut content, settings, thread);
        }
        content
    }

    /// Why an alert is not to be told, if it fires.
    fn hidden(
        &self,
        fingerprint: Fingerprint,
        record: &Record,
        receiver: &Receiver,
        muted_by: &[String],
    ) -> Option<Remark> {
        let hidden =
            |kind, subject: &str, reason| Remark { fingerprint, kind, subject: subject.to_string(), reason };
        self.inhibited(record)
            .map(|(by, reason)| hidden(DecisionKind::Inhibited, &by, reason))
            .or_else(|| self.silenced(record).map(|(by, reason)| hidden(DecisionKind::Silenced, &by, reason)))
            .or_else(|| {
                let by = muted_by.first()?;
                Some(hidden(DecisionKind::Muted, by, format!("its route is muted at this time by {by:?}")))
            })
            .or_else(|| {
                let name = &receiver.name;
                let reason = format!("its rule is experimental and {name} wakes people");
                let is_kept_away = receiver.wakes && is_experimental(&record.labels);
                is_kept_away.then(|| hidden(DecisionKind::Experimental, name, reason))
            })
    }

    fn inhibited(&self, record: &Record) -> Option<(String, String)> {
        let by = self.inhibition.sources(&record.labels).next()?;
        let name = self.alerts.get(&by).map(Record::name).unwrap_or_default();
        Some((by.to_string(), format!("inhibited while alert {by} fires: {name}")))
    }

    fn silenced(&self, record: &Record) -> Option<(String, String)> {
        let silences = record.silences.iter().filter_map(|id| self.silences.get(id));
        let silence = silences.into_iter().find(|silence| silence.state(self.now) == SilenceState::Active)?;
        let (id, draft) = (&silence.id, &silence.draft);
        let comment = if draft.comment.is_empty() { "no comment" } else { &draft.comment };
        let reason = format!("silence {id} by {} until {}: {comment}", draft.created_by, draft.ends_at);
        Some((id.clone(), reason))
    }

    fn flaps(&self, fingerprint: Fingerprint, record: &Record) -> Remark {
        let since = record.changes.flapping_since.unwrap_or(self.now).to_string();
        let calm = text::span(self.routing.flapping.calm.millis());
        let reason = format!(
            "it changes too often since {since}; its changes are not sent until it has not changed for {calm}"
        );
        Remark { fingerprint, kind: DecisionKind::Flapping, subject: since, reason }
    }

    /// Names of the time intervals that mute a route now.
    pub(super) fn muted_by(&self, settings: &Settings, now: Timestamp) -> Vec<String> {
        let holds = |name: &&String| {
            let mut named = self.routing.time_intervals.iter().filter(|interval| interval.name == **name);
            named.any(|named| named.time_intervals.iter().any(|interval| interval.contains(now)))
        };
        let active = &settings.active_time_intervals;
        let muting = settings.mute_time_intervals.iter().filter(holds);
        let is_inactive = !active.is_empty() && !active.iter().any(|name| holds(&name));
        muting.chain(active.iter().filter(|_| is_inactive)).cloned().collect()
    }

    /// The repeat interval elapsed, and somebody has still to take care.
    fn add_repeat(&self, content: &mut Content, settings: &Settings, thread: Option<&Thread>) {
        let elapsed_ms = thread.map_or(0, |thread| self.now.ms_since(thread.told_at));
        if elapsed_ms < settings.repeat_interval_ms || self.now < self.unheard_until {
            return;
        }
        let acknowledgements = content.firing.iter().map(|fingerprint| {
            let acknowledgement = self.alerts.get(fingerprint)?.acknowledgement.as_ref()?;
            Some((*fingerprint, acknowledgement))
        });
        let Some(acknowledgements) = acknowledgements.collect::<Option<Vec<_>>>() else {
            content.is_repeat = true;
            return;
        };
        content.hidden.extend(acknowledgements.into_iter().map(|(fingerprint, acknowledgement)| Remark {
            fingerprint,
            kind: DecisionKind::Acknowledged,
            subject: acknowledgement.at.to_string(),
            reason: format!("not repeated: acknowledged by {}", acknowledgement.by),
        }));
    }

    fn add_escalation(
        &self,
        content: &mut Content,
        id: &GroupId,
        group: &Group,
        receiver: &Receiver,
        muted_by: &[String],
    ) {
        let thread = group.threads.get(&id.receiver);
        let Some(thread) = thread.filter(|_| self.unheard_until <= self.now) else { return };
        for (step, escalation) in self.routes.at(group.route).escalate.iter().enumerate() {
            if escalation.receiver != receiver.name {
                continue;
            }
            for (fingerprint, told) in self.unattended(thread, step) {
                if self.now < due_at(told, escalation) {
                    continue;
                }
                match self.hidden(fingerprint, &self.alerts[&fingerprint], receiver, muted_by) {
                    Some(hidden) => content.hidden.push(hidden),
                    None => content.steps.push((step, fingerprint)),
                }
            }
        }
        let escalated: BTreeSet<Fingerprint> =
            content.steps.iter().map(|(_, fingerprint)| *fingerprint).collect();
        for list in [&mut content.resolved, &mut content.lapsed] {
            list.retain(|fingerprint| !escalated.contains(fingerprint));
        }
        content.firing.retain(|fingerprint| !escalated.contains(fingerprint));
        content.firing.extend(&escalated);
        content.escalated.extend(escalated);
    }

    /// Alerts that were told, fire, are acknowledged by nobody, and were not told by the step yet.
    fn unattended<'a>(
        &'a self,
        thread: &'a Thread,
        step: usize,
    ) -> impl Iterator<Item = (Fingerprint, &'a Told)> {
        let untold = thread.told.iter().filter(move |(_, told)| !told.steps.contains(&step));
        untold.filter_map(|(fingerprint, told)| {
            let record = self.alerts.get(fingerprint)?;
            let is_told = told.is_flapping || told.starts_at == record.starts_at;
            (is_told && record.fires() && record.acknowledgement.is_none()).then_some((*fingerprint, told))
        })
    }

    /// When steps of escalation are due, and were.
    pub(super) fn escalations<'a>(
        &'a self,
        id: &GroupId,
        group: &'a Group,
    ) -> impl Iterator<Item = Timestamp> + 'a {
        let steps = self.routes.at(group.route).escalate.iter().enumerate();
        group.threads.get(&id.receiver).into_iter().flat_map(move |thread| {
            steps.clone().flat_map(move |(step, escalation)| {
                self.unattended(thread, step).map(move |(_, told)| due_at(told, escalation))
            })
        })
    }
}

fn due_at(told: &Told, escalation: &Escalation) -> Timestamp {
    told.at.plus_ms(escalation.after.millis())
}

/// For the route's own receiver, who is told everything.
fn standing(
    record: &Record,
    told: Option<&Told>,
    receiver: &Receiver,
    is_hidden: bool,
    is_held: bool,
) -> Standing {
    let fires = record.fires();
    if record.is_flapping() && told.is_none() {
        // One that nobody was told of must not stay unknown because it changes too often.
        let is_told = record.told_to.contains(&receiver.name) || fires;
        return if is_told && !is_hidden { Standing::BeginsToFlap } else { Standing::Nothing };
    }
    match told {
        Some(_) => match standing_of_known(record, told, is_hidden) {
            Standing::Resolved if fires && !is_hidden => Standing::New,
            standing => standing,
        },
        None if is_hidden => Standing::Nothing,
        None if fires => Standing::New,
        // It fired and resolved while the rate limit held it back.
        None if is_held => Standing::Resolved,
        None => Standing::Nothing,
    }
}

/// For a receiver of escalation, who is told what becomes of what it knows.
fn standing_of_known(record: &Record, told: Option<&Told>, is_hidden: bool) -> Standing {
    let Some(told) = told else { return Standing::Nothing };
    let fires = record.fires();
    match (record.is_flapping(), told.is_flapping) {
        (true, true) => Standing::Flaps,
        (true, false) if is_hidden => Standing::Nothing,
        (true, false) => Standing::BeginsToFlap,
        (false, true) if fires && is_hidden => Standing::Nothing,
        (false, true) => Standing::Settles,
        (false, false) if fires && told.starts_at == record.starts_at => Standing::Known,
        (false, false) => Standing::Resolved,
    }
}
