//! What people ask for: silences and acknowledgements. What cannot be met is refused in words and changes nothing.

use super::alert::Fingerprint;
use super::decision::DecisionKind;
use super::matcher::all_match;
use super::silence::{COMMENT_BYTES_MAX, CREATED_BY_BYTES_MAX, Silence, SilenceDraft, SilenceState, Update};
use super::text;
use super::timers::Due;
use super::view::Acknowledgement;
use super::{Dispatcher, Outcome};

/// Silences that are kept, expired ones too.
const SILENCES_MAX: usize = 10_000;

impl Dispatcher {
    pub(super) fn silence(&mut self, id: String, draft: SilenceDraft) -> Result<String, String> {
        let now = self.now;
        draft.check(now)?;
        let old = self.silences.get_mut(&id);
        if let Some(silence) = old.filter(|silence| silence.update(&draft, now) == Update::InPlace) {
            silence.change(draft, now);
            self.keep_silence(&id);
            return Ok(id);
        }
        if self.silences.len() >= SILENCES_MAX {
            return Err(format!(
                "there are {SILENCES_MAX} silences, expected fewer; expired ones go after some days"
            ));
        }
        let Some(old) = self.silences.get(&id) else {
            self.add_silence(id.clone(), draft);
            return Ok(id);
        };
        // Several may be replaced at the same instant; there is a free id, as there are no more numbers taken than silences.
        let ids = (0..=SILENCES_MAX).map(|number| old.replacement_id(now, number));
        let new_id = ids.into_iter().find(|id| !self.silences.contains_key(id));
        let new_id = new_id.ok_or_else(|| format!("silence {id} has no free id, expected another one"))?;
        if let Some(old) = self.silences.get_mut(&id) {
            old.expire(now);
        }
        self.keep_silence(&id);
        self.add_silence(new_id.clone(), draft);
        Ok(new_id)
    }

    fn add_silence(&mut self, id: String, draft: SilenceDraft) {
        for record in self.alerts.values_mut() {
            if all_match(&draft.matchers, &record.labels) {
                record.silences.insert(id.clone());
            }
        }
        self.silences.insert(id.clone(), Silence::new(id.clone(), draft, self.now));
        self.keep_silence(&id);
    }

    /// Stores it and looks after it when it is to be forgotten.
    fn keep_silence(&mut self, id: &str) {
        self.unsaved.silences.insert(id.to_string());
        self.schedule_silence(id);
    }

    pub(super) fn schedule_silence(&mut self, id: &str) {
        let forgotten_at = self.silences.get(id).map(Silence::forgotten_at);
        self.timers.set(Due::Silence(id.to_string()), forgotten_at);
    }

    /// The timer of a silence is due: it expired long ago.
    pub(super) fn forget_silence(&mut self, id: &str) {
        let Some(silence) = self.silences.remove(id) else { return };
        for record in self.alerts.values_mut() {
            record.silences.remove(&silence.id);
        }
        self.unsaved.silences.insert(silence.id);
    }

    pub(super) fn expire_silence(&mut self, id: &str) -> Result<(), String> {
        let now = self.now;
        let silence = self.silences.get_mut(id);
        let silence = silence.ok_or_else(|| format!("{id:?} is no silence, expected the id of one"))?;
        if silence.state(now) == SilenceState::Expired {
            let ended_at = silence.draft.ends_at;
            return Err(format!("silence {id} ended at {ended_at}, expected one that has not ended"));
        }
        silence.expire(now);
        self.keep_silence(id);
        Ok(())
    }

    /// Silences that an alert meets.
    pub(super) fn match_silences(&mut self, fingerprint: Fingerprint) {
        let Some(record) = self.alerts.get_mut(&fingerprint) else { return };
        let matching =
            self.silences.values().filter(|silence| all_match(&silence.draft.matchers, &record.labels));
        record.silences = matching.map(|silence| silence.id.clone()).collect();
    }

    pub(super) fn acknowledge(
        &mut self,
        fingerprint: Fingerprint,
        by: &str,
        comment: &str,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let now = self.now;
        let record = self.alerts.get_mut(&fingerprint).filter(|record| record.is_open());
        let record = record.ok_or_else(|| no_such_alert(fingerprint))?;
        let by = text::bounded(by, CREATED_BY_BYTES_MAX);
        let comment = text::bounded(comment, COMMENT_BYTES_MAX);
        let said = if comment.is_empty() { String::new() } else { format!(": {comment}") };
        let reason = format!("acknowledged by {by}{said}");
        record.acknowledgement = Some(Acknowledgement { by, comment, at: now });
        self.note_acknowledgement(fingerprint, DecisionKind::Acknowledged, reason, outcome);
        Ok(())
    }

    pub(super) fn unacknowledge(
        &mut self,
        fingerprint: Fingerprint,
        by: &str,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let record = self.alerts.get_mut(&fingerprint).filter(|record| record.is_open());
        let record = record.ok_or_else(|| no_such_alert(fingerprint))?;
        let taken = record.acknowledgement.take();
        let taken = taken.ok_or_else(|| {
            format!("alert {fingerprint} is not acknowledged, expected one that somebody acknowledged")
        })?;
        let by = text::bounded(by, CREATED_BY_BYTES_MAX);
        let reason = format!("{by} took back the acknowledgement by {}", taken.by);
        self.note_acknowledgement(fingerprint, DecisionKind::Unacknowledged, reason, outcome);
        Ok(())
    }

    fn note_acknowledgement(
        &mut self,
        fingerprint: Fingerprint,
        kind: DecisionKind,
        reason: String,
        outcome: &mut Outcome,
    ) {
        self.unsaved.acknowledgements.insert(fingerprint);
        self.decide(fingerprint, kind, reason, outcome);
        let memberships = self.alerts.get(&fingerprint).map(|record| record.memberships.clone());
        for membership in memberships.unwrap_or_default() {
            self.plan_escalation(&membership.group);
        }
    }
}

fn no_such_alert(fingerprint: Fingerprint) -> String {
    format!("no alert {fingerprint} fires or flaps, expected the id of one that does")
}
