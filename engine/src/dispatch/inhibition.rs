//! Which alerts hide which: an index over the firing sources, so that a target is looked up and not compared with all.
//!
//! An alert of an experimental rule hides only others of such rules: a rule that may be wrong keeps nobody asleep.

use std::collections::{BTreeMap, BTreeSet};

use super::alert::{Fingerprint, Labels, is_experimental};
use super::matcher::all_match;
use super::routing::InhibitRule;

/// The firing sources of each rule.
#[derive(Debug, Clone)]
pub(super) struct Inhibition {
    rules: Vec<(InhibitRule, BTreeMap<Key, Sources>)>,
}

/// What sources are looked up by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    is_experimental: bool,
    /// Of the labels that must be equal.
    values: Vec<String>,
}

/// Firing sources with the same values of the equal labels.
#[derive(Debug, Clone, Default)]
struct Sources {
    /// Those that the rule could hide itself.
    two_sided: BTreeSet<Fingerprint>,
    one_sided: BTreeSet<Fingerprint>,
}

impl Inhibition {
    pub fn new(rules: &[InhibitRule]) -> Self {
        Inhibition { rules: rules.iter().map(|rule| (rule.clone(), BTreeMap::new())).collect() }
    }

    /// An alert began to fire.
    pub fn add(&mut self, fingerprint: Fingerprint, labels: &Labels) {
        for (rule, sources) in &mut self.rules {
            if all_match(&rule.source_matchers, labels) {
                let sources = sources.entry(Key::of(rule, labels)).or_default();
                let is_two_sided = all_match(&rule.target_matchers, labels);
                let side = if is_two_sided { &mut sources.two_sided } else { &mut sources.one_sided };
                side.insert(fingerprint);
            }
        }
    }

    /// An alert fires no longer.
    pub fn remove(&mut self, fingerprint: Fingerprint, labels: &Labels) {
        for (rule, sources) in &mut self.rules {
            if all_match(&rule.source_matchers, labels) {
                let key = Key::of(rule, labels);
                let Some(found) = sources.get_mut(&key) else { continue };
                found.one_sided.remove(&fingerprint);
                found.two_sided.remove(&fingerprint);
                if found.one_sided.is_empty() && found.two_sided.is_empty() {
                    sources.remove(&key);
                }
            }
        }
    }

    /// Alerts that hide one with these labels. Two that match both sides of a rule do not hide each other, and so none
    /// hides itself: as Alertmanager.
    pub fn sources<'a>(&'a self, labels: &'a Labels) -> impl Iterator<Item = Fingerprint> + 'a {
        self.rules
            .iter()
            .filter(|(rule, sources)| !sources.is_empty() && all_match(&rule.target_matchers, labels))
            .flat_map(move |(rule, sources)| {
                let is_two_sided = all_match(&rule.source_matchers, labels);
                let own = Key::of(rule, labels);
                let experimental = own.is_experimental.then(|| sources.get(&own)).flatten();
                let stable = sources.get(&Key { is_experimental: false, ..own });
                [stable, experimental].into_iter().flatten().flat_map(move |found| {
                    let two_sided = (!is_two_sided).then_some(&found.two_sided);
                    found.one_sided.iter().chain(two_sided.into_iter().flatten()).copied()
                })
            })
    }
}

impl Key {
    /// A missing label is empty.
    fn of(rule: &InhibitRule, labels: &Labels) -> Key {
        let values = rule.equal.iter().map(|name| labels.get(name).cloned().unwrap_or_default()).collect();
        Key { is_experimental: is_experimental(labels), values }
    }
}
