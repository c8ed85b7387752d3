//! Which alerts hide which: an index over the firing sources, so that a target is looked up and not compared with all.

use std::collections::{BTreeMap, BTreeSet};

use super::alert::{Fingerprint, Labels};
use super::matcher::all_match;
use super::routing::InhibitRule;

/// The firing sources of each rule.
#[derive(Debug, Clone)]
pub(super) struct Inhibition {
    rules: Vec<(InhibitRule, BTreeMap<Vec<String>, Sources>)>,
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
                let sources = sources.entry(values(rule, labels)).or_default();
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
                let key = values(rule, labels);
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
                let found = sources.get(&values(rule, labels));
                let two_sided = found.filter(|_| !is_two_sided).map(|found| &found.two_sided);
                found
                    .into_iter()
                    .flat_map(|found| &found.one_sided)
                    .chain(two_sided.into_iter().flatten())
                    .copied()
            })
    }
}

/// Values of the labels that must be equal; a missing label is empty.
fn values(rule: &InhibitRule, labels: &Labels) -> Vec<String> {
    rule.equal.iter().map(|name| labels.get(name).cloned().unwrap_or_default()).collect()
}
