//! Which windows take a row: a tree of equality tests, so that a row is not tried against every rule.
//!
//! Most filters say `command == "ping"`. The tree branches on the values of the fields that most filters name, and a
//! row follows the branch of its own value and the one of the filters that do not care. What is left of a filter
//! (ranges, exclusions) is tested at the leaf.

use std::cmp::Ordering;

use crate::project::plan::Slot;
use crate::project::walk::Value;
use crate::rules::definition::{Operand, Test};

/// Index of what a filter leads to.
pub type FeedId = usize;

/// The tree over the filters of one scope.
#[derive(Debug, Default)]
pub struct FilterTree {
    nodes: Vec<Branch>,
}

#[derive(Debug, Default)]
struct Branch {
    /// Filters that end here.
    feeds: Vec<FeedId>,
    /// The field tested, and a branch for each value, sorted by value.
    slot: Slot,
    values: Vec<(Operand, usize)>,
    /// Filters that do not test the field.
    others: Option<usize>,
}

/// Equality tests of one filter: field and accepted values.
pub type Equalities = Vec<(Slot, Vec<Operand>)>;

impl FilterTree {
    /// The tree for these filters.
    pub fn new(filters: Vec<(FeedId, Equalities)>) -> Self {
        let mut tree = FilterTree::default();
        if !filters.is_empty() {
            tree.grow(filters);
        }
        tree
    }

    fn grow(&mut self, filters: Vec<(FeedId, Equalities)>) -> usize {
        let id = self.nodes.len();
        self.nodes.push(Branch::default());
        let Some(slot) = most_tested(&filters) else {
            self.nodes[id].feeds = filters.into_iter().map(|(feed, _)| feed).collect();
            return id;
        };
        let mut by_value: Vec<(Operand, Vec<(FeedId, Equalities)>)> = Vec::new();
        let mut others = Vec::new();
        for (feed, mut tests) in filters {
            let Some(place) = tests.iter().position(|(tested, _)| *tested == slot) else {
                others.push((feed, tests));
                continue;
            };
            let (_, accepted) = tests.swap_remove(place);
            for value in accepted {
                match by_value.iter_mut().find(|(known, _)| *known == value) {
                    Some((_, filters)) => filters.push((feed, tests.clone())),
                    None => by_value.push((value, vec![(feed, tests.clone())])),
                }
            }
        }
        by_value.sort_by(|a, b| a.0.cmp(&b.0));
        let values = by_value.into_iter().map(|(value, filters)| (value, self.grow(filters))).collect();
        let others = (!others.is_empty()).then(|| self.grow(others));
        self.nodes[id] = Branch { feeds: Vec::new(), slot, values, others };
        id
    }

    /// Calls `take` for each filter whose equality tests the row passes.
    pub fn each(&self, slots: &[Value], event: &[u8], take: &mut impl FnMut(FeedId)) {
        if !self.nodes.is_empty() {
            self.follow(0, slots, event, take);
        }
    }

    fn follow(&self, node: usize, slots: &[Value], event: &[u8], take: &mut impl FnMut(FeedId)) {
        let branch = &self.nodes[node];
        for feed in &branch.feeds {
            take(*feed);
        }
        if !branch.values.is_empty() {
            let value = slots[branch.slot];
            if let Ok(found) = branch.values.binary_search_by(|(known, _)| order(known, value, event)) {
                self.follow(branch.values[found].1, slots, event, take);
            }
        }
        if let Some(others) = branch.others {
            self.follow(others, slots, event, take);
        }
    }
}

fn most_tested(filters: &[(FeedId, Equalities)]) -> Option<Slot> {
    let mut counts: Vec<(Slot, usize)> = Vec::new();
    for (slot, _) in filters.iter().flat_map(|(_, tests)| tests) {
        match counts.iter_mut().find(|(known, _)| known == slot) {
            Some((_, count)) => *count += 1,
            None => counts.push((*slot, 1)),
        }
    }
    counts.into_iter().max_by_key(|(slot, count)| (*count, std::cmp::Reverse(*slot))).map(|(slot, _)| slot)
}

/// How an operand compares with a row's value; values of another type come after everything.
fn order(operand: &Operand, value: Value, event: &[u8]) -> Ordering {
    match (operand, value) {
        (Operand::Int(known), Value::I64(value)) => known.cmp(&value),
        (Operand::Int(known), Value::U64(value)) => i128::from(*known).cmp(&i128::from(value)),
        (Operand::Bool(known), Value::Bool(value)) => known.cmp(&value),
        (Operand::Text(known), Value::Bytes { .. }) => known.as_bytes().cmp(value.bytes(event)),
        _ => Ordering::Less,
    }
}

/// True if a row's value passes a test.
pub fn passes(test: &Test, value: Value, event: &[u8]) -> bool {
    match test {
        Test::In(operands) => operands.iter().any(|operand| order(operand, value, event).is_eq()),
        Test::NotIn(operands) => {
            value != Value::Absent && operands.iter().all(|operand| order(operand, value, event).is_ne())
        }
        Test::Range { min, max } => value.number().is_some_and(|value| *min <= value && value <= *max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reaches_exactly_the_filters_it_passes() {
        let text = |text: &str| Operand::Text(text.into());
        let tree = FilterTree::new(vec![
            (0, vec![(0, vec![text("ping")]), (1, vec![Operand::Bool(true)])]),
            (1, vec![(0, vec![text("addr"), text("addrv2")])]),
            (2, vec![]),
            (3, vec![(1, vec![Operand::Bool(true)])]),
            (4, vec![(0, vec![text("ping")]), (1, vec![Operand::Bool(false)])]),
        ]);
        let event = b"pingaddrv2";
        let reached = |start: u32, len: u32, inbound: bool| {
            let mut feeds = Vec::new();
            let slots = [Value::Bytes { start, len }, Value::Bool(inbound)];
            tree.each(&slots, event, &mut |feed| feeds.push(feed));
            feeds.sort();
            feeds
        };
        assert_eq!(reached(0, 4, true), [0, 2, 3]);
        assert_eq!(reached(4, 6, false), [1, 2]);
        assert_eq!(reached(4, 4, true), [1, 2, 3]);
        assert_eq!(reached(0, 2, false), [2]);
    }
}
