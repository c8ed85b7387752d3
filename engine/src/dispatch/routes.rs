//! The tree of routes, ready to be walked: what is inherited is filled in.
//!
//! Depth first; the first route that matches wins unless it says `continue`; a route takes what none below it takes.

use super::alert::Labels;
use super::group::GroupId;
use super::matcher::{Matcher, all_match};
use super::routing::{Escalation, Route, Routing};
use super::text;

/// All routes; the root is the first.
#[derive(Debug, Clone)]
pub(super) struct Routes {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
struct Node {
    matchers: Vec<Matcher>,
    continues: bool,
    below: Vec<usize>,
    settings: Settings,
}

/// What holds for the alerts of a route.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// As Alertmanager writes it: the matchers from the root to the route.
    pub key: String,
    /// The route's own matchers, for people.
    pub name: String,
    pub receiver: String,
    pub group_by: Vec<String>,
    pub group_wait_ms: i64,
    pub group_interval_ms: i64,
    pub repeat_interval_ms: i64,
    pub mute_time_intervals: Vec<String>,
    pub active_time_intervals: Vec<String>,
    pub escalate: Vec<Escalation>,
}

impl Routes {
    pub fn new(routing: &Routing) -> Self {
        // Alertmanager's defaults.
        let above = Settings {
            key: String::new(),
            name: String::new(),
            receiver: String::new(),
            group_by: Vec::new(),
            group_wait_ms: 30_000,
            group_interval_ms: 300_000,
            repeat_interval_ms: 4 * 3_600_000,
            mute_time_intervals: Vec::new(),
            active_time_intervals: Vec::new(),
            escalate: Vec::new(),
        };
        let mut routes = Routes { nodes: Vec::new() };
        routes.add(&routing.route, &above);
        routes
    }

    fn add(&mut self, route: &Route, above: &Settings) -> usize {
        let settings = above.below(route);
        let place = self.nodes.len();
        self.nodes.push(Node {
            matchers: route.matchers.clone(),
            continues: route.r#continue,
            below: Vec::new(),
            settings: settings.clone(),
        });
        let below = route.routes.iter().map(|below| self.add(below, &settings)).collect();
        self.nodes[place].below = below;
        place
    }

    /// Places of the routes that take an alert; never none, as the root takes all.
    pub fn matching(&self, labels: &Labels) -> Vec<usize> {
        let mut found = Vec::new();
        self.walk(0, labels, &mut found);
        found
    }

    /// The groups an alert belongs to, and the places of their routes.
    pub fn groups(&self, labels: &Labels) -> Vec<(GroupId, usize)> {
        let places = self.matching(labels).into_iter();
        places.map(|place| (self.at(place).group_id(&self.at(place).group_labels(labels)), place)).collect()
    }

    fn walk(&self, place: usize, labels: &Labels, found: &mut Vec<usize>) {
        let before = found.len();
        for below in &self.nodes[place].below {
            let node = &self.nodes[*below];
            if !all_match(&node.matchers, labels) {
                continue;
            }
            self.walk(*below, labels, found);
            if !node.continues {
                break;
            }
        }
        if found.len() == before {
            found.push(place);
        }
    }

    pub fn at(&self, place: usize) -> &Settings {
        &self.nodes[place].settings
    }
}

impl Settings {
    fn below(&self, route: &Route) -> Settings {
        let name = route.matchers.iter().map(Matcher::to_string).collect::<Vec<_>>().join(",");
        let name = format!("{{{name}}}");
        Settings {
            key: if self.key.is_empty() { name.clone() } else { format!("{}/{name}", self.key) },
            name,
            receiver: route.receiver.clone().unwrap_or_else(|| self.receiver.clone()),
            group_by: route.group_by.clone().unwrap_or_else(|| self.group_by.clone()),
            group_wait_ms: route.group_wait.map_or(self.group_wait_ms, |span| span.millis()),
            group_interval_ms: route.group_interval.map_or(self.group_interval_ms, |span| span.millis()),
            repeat_interval_ms: route.repeat_interval.map_or(self.repeat_interval_ms, |span| span.millis()),
            mute_time_intervals: route.mute_time_intervals.clone(),
            active_time_intervals: route.active_time_intervals.clone(),
            escalate: route.escalate.clone().unwrap_or_else(|| self.escalate.clone()),
        }
    }

    /// The labels an alert is grouped by; of those it has.
    pub fn group_labels(&self, labels: &Labels) -> Labels {
        let is_taken = |name: &String| self.group_by == ["..."] || self.group_by.contains(name);
        labels
            .iter()
            .filter(|(name, _)| is_taken(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// A group; its key is as Alertmanager prints it.
    fn group_id(&self, group_labels: &Labels) -> GroupId {
        let key = format!("{}:{}", self.key, text::labels(group_labels));
        GroupId { key, receiver: self.receiver.clone() }
    }
}
