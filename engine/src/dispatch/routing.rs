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

/// One route. What is not given is taken from the route above: receiver, `group_by`, the three times and escalation; time
/// intervals are not, as in Alertmanager. At the root these are Alertmanager's defaults: all alerts in one group, 30s, 5m,
/// 4h.
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
    /// Names of time intervals in which nothing is sent; the root has none, and routes below do not take them over.
    pub mute_time_intervals: Vec<String>,
    /// Names of time intervals outside of which nothing is sent; as above.
    pub active_time_intervals: Vec<String>,
    /// Whom to tell besides when nobody acknowledges; empty is nobody, whatever the route above says.
    pub escalate: Option<Vec<Escalation>>,
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
/// the labels `equal` are not sent. Alerts of experimental rules hide only those of such rules.
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

/// Steps of escalation of one route.
const ESCALATIONS_MAX: usize = 16;
/// Changes that are remembered of an alert.
const CHANGES_MAX: u32 = 1000;
/// Notifications a bucket holds.
const BURST_MAX: u32 = 10_000;

impl Routing {
    /// Checks what is written. All that is wrong is returned at once; each text names the table and key, what was found
    /// and what would be right.
    pub fn new(written: Written, receivers: Vec<Receiver>) -> Result<Routing, Vec<String>> {
        let Written { route, inhibit_rules, time_intervals, flapping } = written;
        let mut wrong = Vec::new();
        check_receivers(&receivers, &mut wrong);
        check_intervals(&time_intervals, &mut wrong);
        check_root(&route, &receivers, &mut wrong);
        let known = Known {
            receivers: receivers.iter().map(|receiver| receiver.name.as_str()).collect(),
            intervals: time_intervals.iter().map(|interval| interval.name.as_str()).collect(),
        };
        known.check_route("dispatch.route", &route, &mut wrong);
        for (place, rule) in inhibit_rules.iter().enumerate() {
            check_inhibition(&format!("dispatch.inhibit_rules[{place}]"), rule, &mut wrong);
        }
        check_flapping(&flapping, &mut wrong);
        match wrong.is_empty() {
            true => Ok(Routing { route, inhibit_rules, time_intervals, flapping, receivers }),
            false => Err(wrong),
        }
    }

    /// The receiver of a name.
    pub fn receiver(&self, name: &str) -> Option<&Receiver> {
        self.receivers.iter().find(|receiver| receiver.name == name)
    }
}

/// Names that may be used.
struct Known<'a> {
    receivers: Vec<&'a str>,
    intervals: Vec<&'a str>,
}

impl Known<'_> {
    fn check_route(&self, place: &str, route: &Route, wrong: &mut Vec<String>) {
        if let Some(receiver) = &route.receiver {
            check_name(&format!("{place}.receiver"), receiver, &self.receivers, wrong);
        }
        check_group_by(place, route.group_by.as_deref().unwrap_or_default(), wrong);
        // A group may tell at once, but it may not tell without end.
        for (key, span) in
            [("group_interval", route.group_interval), ("repeat_interval", route.repeat_interval)]
        {
            check_span(&format!("{place}.{key}"), span, wrong);
        }
        let intervals = [
            ("mute_time_intervals", &route.mute_time_intervals),
            ("active_time_intervals", &route.active_time_intervals),
        ];
        for (key, names) in intervals {
            for (at, name) in names.iter().enumerate() {
                check_name(&format!("{place}.{key}[{at}]"), name, &self.intervals, wrong);
            }
        }
        let steps = route.escalate.as_deref().unwrap_or_default();
        if steps.len() > ESCALATIONS_MAX {
            let found = steps.len();
            wrong.push(format!("{place}.escalate has {found} steps, expected at most {ESCALATIONS_MAX}"));
        }
        for (at, step) in steps.iter().enumerate() {
            check_name(&format!("{place}.escalate[{at}].receiver"), &step.receiver, &self.receivers, wrong);
            check_span(&format!("{place}.escalate[{at}].after"), Some(step.after), wrong);
        }
        for (at, below) in route.routes.iter().enumerate() {
            self.check_route(&format!("{place}.routes[{at}]"), below, wrong);
        }
    }
}

fn check_name(place: &str, name: &str, known: &[&str], wrong: &mut Vec<String>) {
    if known.contains(&name) {
        return;
    }
    let names: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
    let right = match names.is_empty() {
        true => "none, as none is defined".to_string(),
        false => format!("one of {}", names.join(", ")),
    };
    wrong.push(format!("{place} is {name:?}, expected {right}"));
}

fn check_span(place: &str, span: Option<Span>, wrong: &mut Vec<String>) {
    if span.is_some_and(|span| span.millis() == 0) {
        wrong.push(format!("{place} is 0, expected a span longer than nothing, as \"5m\""));
    }
}

fn check_group_by(place: &str, labels: &[String], wrong: &mut Vec<String>) {
    for (at, label) in labels.iter().enumerate() {
        if label.is_empty() {
            wrong.push(format!("{place}.group_by[{at}] is empty, expected the name of a label"));
        }
        if labels[..at].contains(label) {
            wrong.push(format!(
                "{place}.group_by[{at}] is {label:?}, which is there already, expected it once"
            ));
        }
    }
    if labels.len() > 1 && labels.iter().any(|label| label == "...") {
        wrong
            .push(format!("{place}.group_by has \"...\" and labels, expected \"...\" alone or labels alone"));
    }
}

fn check_root(route: &Route, receivers: &[Receiver], wrong: &mut Vec<String>) {
    if route.receiver.is_none() {
        let names: Vec<String> = receivers.iter().map(|receiver| format!("{:?}", receiver.name)).collect();
        let names = names.join(", ");
        wrong.push(format!("dispatch.route.receiver is not there, expected one of {names}"));
    }
    if !route.matchers.is_empty() {
        let found = route.matchers.len();
        wrong.push(format!(
            "dispatch.route.matchers has {found}, expected none as the root takes every alert; put them into a \
             [[dispatch.route.routes]]"
        ));
    }
    for (key, names) in [
        ("mute_time_intervals", &route.mute_time_intervals),
        ("active_time_intervals", &route.active_time_intervals),
    ] {
        if !names.is_empty() {
            let found = names.len();
            wrong.push(format!(
                "dispatch.route.{key} has {found}, expected none as the root is never muted and routes below do not \
                 take it over; put it into each [[dispatch.route.routes]] that it is for"
            ));
        }
    }
    if route.r#continue {
        wrong
            .push("dispatch.route.continue is true, expected none as nothing is beside the root".to_string());
    }
}

fn check_receivers(receivers: &[Receiver], wrong: &mut Vec<String>) {
    for (at, receiver) in receivers.iter().enumerate() {
        let name = &receiver.name;
        if name.is_empty() {
            wrong.push(format!("receiver[{at}].name is empty, expected a name"));
        }
        if receivers[..at].iter().any(|other| other.name == *name) {
            wrong
                .push(format!("receiver[{at}].name is {name:?}, which another has, expected one of its own"));
        }
        let Some(limit) = receiver.rate_limit else { continue };
        check_span(&format!("receiver[{at}].rate_limit.per"), Some(limit.per), wrong);
        if !(1..=BURST_MAX).contains(&limit.notifications) {
            let found = limit.notifications;
            wrong.push(format!(
                "receiver[{at}].rate_limit.notifications is {found}, expected 1 to {BURST_MAX}"
            ));
        }
    }
}

fn check_intervals(intervals: &[NamedInterval], wrong: &mut Vec<String>) {
    for (at, interval) in intervals.iter().enumerate() {
        let (place, name) = (format!("dispatch.time_intervals[{at}].name"), &interval.name);
        if name.is_empty() {
            wrong.push(format!("{place} is empty, expected a name"));
        }
        if intervals[..at].iter().any(|other| other.name == *name) {
            wrong.push(format!("{place} is {name:?}, which another has, expected one of its own"));
        }
    }
}

fn check_inhibition(place: &str, rule: &InhibitRule, wrong: &mut Vec<String>) {
    // Without matchers, any alert would hide all others.
    for (key, matchers) in
        [("source_matchers", &rule.source_matchers), ("target_matchers", &rule.target_matchers)]
    {
        if matchers.is_empty() {
            wrong.push(format!("{place}.{key} is empty, expected one matcher or more"));
        }
    }
    if let Some(at) = rule.equal.iter().position(String::is_empty) {
        wrong.push(format!("{place}.equal[{at}] is empty, expected the name of a label"));
    }
}

fn check_flapping(flapping: &Flapping, wrong: &mut Vec<String>) {
    let changes = flapping.changes;
    if changes == 0 {
        return;
    }
    if !(2..=CHANGES_MAX).contains(&changes) {
        wrong.push(format!(
            "dispatch.flapping.changes is {changes}, expected 2 to {CHANGES_MAX}, or 0 for never"
        ));
    }
    check_span("dispatch.flapping.within", Some(flapping.within), wrong);
    check_span("dispatch.flapping.calm", Some(flapping.calm), wrong);
}
