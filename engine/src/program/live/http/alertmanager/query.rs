//! What is asked of alerts, groups and silences: the parameters of the URL.

use regex::Regex;
use tocsin_engine::dispatch::alert::Labels;
use tocsin_engine::dispatch::matcher::{Matcher, all_match};
use tocsin_engine::dispatch::silence::{Silence, SilenceState};
use tocsin_engine::dispatch::view::AlertView;
use tocsin_engine::time::Timestamp;

use super::shapes::is_suppressed;

/// Longest regular expression, compiled, in bytes: parameters come from anyone who reaches the port.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// Matchers of one request.
const FILTERS_MAX: usize = 100;

/// Which alerts.
#[derive(Debug)]
pub struct AlertsQuery {
    filters: Vec<Matcher>,
    receiver: Option<Regex>,
    /// These are left out.
    without: Vec<Kind>,
}

/// A kind of alert that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Active,
    Silenced,
    Inhibited,
    Muted,
}

/// Which silences.
#[derive(Debug)]
pub struct SilencesQuery {
    filters: Vec<Matcher>,
    /// These are left out.
    without: Vec<SilenceState>,
}

impl AlertsQuery {
    /// Reads the parameters; the error says what would be right. Unknown ones are left alone, as Alertmanager does.
    pub fn read(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut query = AlertsQuery { filters: Vec::new(), receiver: None, without: Vec::new() };
        for (name, value) in pairs {
            match name.as_str() {
                "filter" => add_filter(&mut query.filters, &value)?,
                "receiver" => query.receiver = Some(receiver(&value)?),
                "active" => leave_out(&mut query.without, Kind::Active, &name, &value)?,
                "silenced" => leave_out(&mut query.without, Kind::Silenced, &name, &value)?,
                "inhibited" => leave_out(&mut query.without, Kind::Inhibited, &name, &value)?,
                "muted" => leave_out(&mut query.without, Kind::Muted, &name, &value)?,
                // Here every alert is processed by the time it is seen.
                "unprocessed" => drop(boolean(&name, &value)?),
                _ => {}
            }
        }
        Ok(query)
    }

    /// Whether an alert is asked for. Resolved ones never are.
    pub fn takes(&self, alert: &AlertView) -> bool {
        let is_left_out = |kind: &Kind| match kind {
            Kind::Active => !is_suppressed(alert),
            Kind::Silenced => !alert.silenced_by.is_empty(),
            Kind::Inhibited => !alert.inhibited_by.is_empty(),
            Kind::Muted => !alert.muted_by.is_empty(),
        };
        alert.ends_at.is_none()
            && !self.without.iter().any(is_left_out)
            && (self.receiver.is_none() || alert.receivers.iter().any(|name| self.takes_receiver(name)))
            && all_match(&self.filters, &alert.labels)
    }

    /// Whether groups of a receiver are asked for.
    pub fn takes_receiver(&self, name: &str) -> bool {
        self.receiver.as_ref().is_none_or(|receiver| receiver.is_match(name))
    }
}

impl SilencesQuery {
    /// Reads the parameters; the error says what would be right.
    pub fn read(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut query = SilencesQuery { filters: Vec::new(), without: Vec::new() };
        for (name, value) in pairs {
            match name.as_str() {
                "filter" => add_filter(&mut query.filters, &value)?,
                "active" => leave_out(&mut query.without, SilenceState::Active, &name, &value)?,
                "pending" => leave_out(&mut query.without, SilenceState::Pending, &name, &value)?,
                "expired" => leave_out(&mut query.without, SilenceState::Expired, &name, &value)?,
                _ => {}
            }
        }
        Ok(query)
    }

    /// Whether a silence is asked for: a filter is compared with what the silence's own matchers compare with.
    pub fn takes(&self, silence: &Silence, now: Timestamp) -> bool {
        let matchers = silence.draft.matchers.iter();
        let values: Labels = matchers.map(|own| (own.name.clone(), own.value.clone())).collect();
        !self.without.contains(&silence.state(now)) && all_match(&self.filters, &values)
    }
}

fn add_filter(filters: &mut Vec<Matcher>, text: &str) -> Result<(), String> {
    if filters.len() >= FILTERS_MAX {
        return Err(format!("filter is there more than {FILTERS_MAX} times, expected fewer"));
    }
    filters.push(Matcher::parse(text).map_err(|error| format!("filter: {error}"))?);
    Ok(())
}

/// A regular expression for the whole name.
fn receiver(text: &str) -> Result<Regex, String> {
    let whole = regex::RegexBuilder::new(&format!("^(?:{text})$")).size_limit(REGEX_BYTES_MAX).build();
    whole.map_err(|_| format!("receiver is {text:?}, expected a regular expression"))
}

/// Adds a kind if the parameter says no to it, and takes it away if a later one says yes.
fn leave_out<K: PartialEq>(without: &mut Vec<K>, kind: K, name: &str, value: &str) -> Result<(), String> {
    without.retain(|other| *other != kind);
    if !boolean(name, value)? {
        without.push(kind);
    }
    Ok(())
}

fn boolean(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("{name} is {value:?}, expected true or false")),
    }
}
