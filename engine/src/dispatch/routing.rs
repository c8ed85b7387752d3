//! Who is to be told of which alerts: the tables `[dispatch]` of the configuration, in Alertmanager's words.

use serde::Deserialize;
use tocsin_proto::Span;

use super::interval::TimeInterval;
use super::matcher::Matcher;

/// All of it, checked.
#[derive(Debug, Clone)]
pub struct Routing {
    /// Root of the tree; takes every alert.
    pub route: Route,
    /// What hides what.
    pub inhibit_rules: Vec<InhibitRule>,
    /// Times that routes name.
    pub time_intervals: Vec<NamedInterval>,
    /// What is too many changes.
    pub flapping: Flapping,
    /// The receivers that routes name.
    pub receivers: Vec<Receiver>,
}

/// Table `[dispatch]` as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// Root of the tree.
    pub route: Route,
    /// What hides what.
    #[serde(default)]
    pub inhibit_rules: Vec<InhibitRule>,
    /// Times that routes name.
    #[serde(default)]
    pub time_intervals: Vec<NamedInterval>,
    /// What is too many changes.
    #[serde(default)]
    pub flapping: Flapping,
}

/// One route. What is not given is taken from the route above; at the root these are Alertmanager's defaults.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// Name of a receiver; the root must have one.
    pub receiver: Option<String>,
    /// Labels whose values make a group; `["..."]` is each alert on its own.
    pub group_by: Option<Vec<String>>,
    /// Labels an alert must have; the root has none.
    pub matchers: Vec<Matcher>,
    /// How long a new group waits for more alerts: 30s.
    pub group_wait: Option<Span>,
    /// How long a group waits before it tells changes: 5m.
    pub group_interval: Option<Span>,
    /// After which time an unchanged group is told again: 4h.
    pub repeat_interval: Option<Span>,
    /// Whether the next routes beside this one are tried too.
    pub r#continue: bool,
    /// Names of time intervals in which nothing is sent.
    pub mute_time_intervals: Vec<String>,
    /// Names of time intervals outside of which nothing is sent.
    pub active_time_intervals: Vec<String>,
    /// Whom to tell besides when nobody acknowledges.
    pub escalate: Vec<Escalation>,
    /// Routes below, tried in order.
    pub routes: Vec<Route>,
}

/// A step of escalation.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// So long after the group was first told.
    pub after: Span,
    /// Name of a receiver.
    pub receiver: String,
}

/// While an alert that matches `source_matchers` fires, those that match `target_matchers` and have the same values of
/// the labels `equal` are not sent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InhibitRule {
    /// What hides.
    pub source_matchers: Vec<Matcher>,
    /// What is hidden.
    pub target_matchers: Vec<Matcher>,
    /// Labels that must be equal.
    #[serde(default)]
    pub equal: Vec<String>,
}

/// A name for times.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedInterval {
    /// As routes name it.
    pub name: String,
    /// Any of these.
    pub time_intervals: Vec<TimeInterval>,
}

/// An alert that fires or resolves `changes` times within `within` is flapping: that is said once, and its changes are no
/// longer sent until it has not changed for `calm`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flapping {
    /// Changes; 0 turns the detection off.
    pub changes: u32,
    /// Time for them.
    pub within: Span,
    /// Time without any that ends it.
    pub calm: Span,
}

impl Default for Flapping {
    fn default() -> Self {
        Flapping { changes: 6, within: Span::from_secs(3600), calm: Span::from_secs(1800) }
    }
}

/// What dispatch must know of a receiver.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Its name.
    pub name: String,
    /// True if it wakes people: rules with `status: "experimental"` do not reach it.
    pub wakes: bool,
    /// True if it is told when alerts resolve.
    pub send_resolved: bool,
    /// How many notifications in how long; what is beyond is told together in a digest.
    pub rate_limit: Option<RateLimit>,
}

/// A limit of notifications.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// So many at once.
    pub notifications: u32,
    /// After which so many more are allowed.
    pub per: Span,
}

impl Routing {
    /// Checks what is written. All that is wrong is returned at once; each text names the table and key, what was found
    /// and what would be right.
    pub fn new(written: Written, receivers: Vec<Receiver>) -> Result<Routing, Vec<String>> {
        let Written { route, inhibit_rules, time_intervals, flapping } = written;
        Ok(Routing { route, inhibit_rules, time_intervals, flapping, receivers })
    }
}
