//! What waits to be sent to one receiver, and what is tried next. Does no I/O: the thread of dispatch asks it.
//!
//! Groups keep their order: a later notification of a group never overtakes an earlier one. A group that waits for
//! another try holds up no other; but where digests tell several groups at once there is one order for all. One attempt is
//! under way at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::store::Waiting;

/// Which notifications keep their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Those of a group.
    OfGroups,
    /// All of the receiver.
    OfAll,
}

/// The notifications that wait for one receiver.
#[derive(Debug)]
pub struct Outbox {
    order: Order,
    /// By group, in order of decision.
    lines: BTreeMap<String, VecDeque<Entry>>,
    /// The first of each line, by the instant it is due and its place in the order of decision.
    heads: BTreeMap<(i64, u64), String>,
    /// The group whose first notification is being sent.
    under_way: Option<String>,
    added: u64,
    count: u64,
    ids: BTreeSet<String>,
}

#[derive(Debug)]
struct Entry {
    place: u64,
    waiting: Waiting,
}

impl Outbox {
    /// An empty one.
    pub fn new(order: Order) -> Self {
        Outbox {
            order,
            lines: BTreeMap::new(),
            heads: BTreeMap::new(),
            under_way: None,
            added: 0,
            count: 0,
            ids: BTreeSet::new(),
        }
    }

    /// Adds a notification at the end of its group's line. One that is there already is left alone.
    pub fn add(&mut self, waiting: Waiting) {
        if !self.ids.insert(waiting.id.clone()) {
            return;
        }
        self.added += 1;
        self.count += 1;
        let group_key = match self.order {
            Order::OfGroups => waiting.group_key.clone(),
            Order::OfAll => String::new(),
        };
        let (place, due_ms) = (self.added, waiting.due_ms);
        let line = self.lines.entry(group_key.clone()).or_default();
        line.push_back(Entry { place, waiting });
        if line.len() == 1 {
            self.heads.insert((due_ms, place), group_key);
        }
    }

    /// How many there are, the one under way too.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// When the next one is due; none while one is under way or nothing waits. Unix ms.
    pub fn next_due_ms(&self) -> Option<i64> {
        match self.under_way {
            Some(_) => None,
            None => self.heads.keys().next().map(|(due_ms, _)| *due_ms),
        }
    }

    /// Takes the next one that is due; it is under way until [`Outbox::done`] or [`Outbox::again`].
    pub fn take(&mut self, now_ms: i64) -> Option<Waiting> {
        if self.next_due_ms()? > now_ms {
            return None;
        }
        let (_, group_key) = self.heads.pop_first()?;
        let waiting = self.lines.get(&group_key)?.front()?.waiting.clone();
        self.under_way = Some(group_key);
        Some(waiting)
    }

    /// The one under way was delivered or given up.
    pub fn done(&mut self) {
        let Some(group_key) = self.under_way.take() else { return };
        let Some(line) = self.lines.get_mut(&group_key) else { return };
        if let Some(entry) = line.pop_front() {
            self.ids.remove(&entry.waiting.id);
            self.count -= 1;
        }
        match line.front() {
            Some(next) => _ = self.heads.insert((next.waiting.due_ms, next.place), group_key),
            None => _ = self.lines.remove(&group_key),
        }
    }

    /// The one under way is tried again at an instant. Unix ms.
    pub fn again(&mut self, due_ms: i64, attempts: u32) {
        let Some(group_key) = self.under_way.take() else { return };
        let Some(entry) = self.lines.get_mut(&group_key).and_then(VecDeque::front_mut) else { return };
        (entry.waiting.due_ms, entry.waiting.attempts) = (due_ms, attempts);
        self.heads.insert((due_ms, entry.place), group_key);
    }

    /// Takes out what was decided, or sent again by hand, before an instant; not what is under way. Unix ms.
    pub fn take_older(&mut self, than_ms: i64) -> Vec<Waiting> {
        let mut older = Vec::new();
        for (group_key, line) in &mut self.lines {
            let is_under_way = self.under_way.as_ref() == Some(group_key);
            let first = line.front().map(|entry| entry.place).filter(|_| is_under_way);
            let (gone, kept) = std::mem::take(line)
                .into_iter()
                .partition(|entry| entry.waiting.since_ms < than_ms && Some(entry.place) != first);
            *line = kept;
            let gone: VecDeque<Entry> = gone;
            older.extend(gone.into_iter().map(|entry| entry.waiting));
        }
        if older.is_empty() {
            return older;
        }
        for waiting in &older {
            self.ids.remove(&waiting.id);
        }
        self.count -= older.len() as u64;
        self.lines.retain(|_, line| !line.is_empty());
        let heads = self.lines.iter().filter(|(group_key, _)| self.under_way.as_ref() != Some(group_key));
        let head = |(group_key, line): (&String, &VecDeque<Entry>)| {
            let first = line.front()?;
            Some(((first.waiting.due_ms, first.place), group_key.clone()))
        };
        self.heads = heads.filter_map(head).collect();
        older
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(entries: &[(&str, &str)]) -> Outbox {
        filled(Outbox::new(Order::OfGroups), entries)
    }

    fn filled(mut outbox: Outbox, entries: &[(&str, &str)]) -> Outbox {
        for (since_ms, (id, group)) in (10..).zip(entries) {
            outbox.add(Waiting {
                id: id.to_string(),
                receiver: "r".to_string(),
                group_key: group.to_string(),
                attempts: 0,
                due_ms: 10,
                decided_ms: 10,
                since_ms,
            });
        }
        outbox
    }

    fn take(outbox: &mut Outbox, now_ms: i64) -> Option<String> {
        outbox.take(now_ms).map(|waiting| waiting.id)
    }

    #[test]
    fn what_was_decided_first_is_sent_first_and_one_at_a_time() {
        let mut outbox = outbox(&[("1", "a"), ("2", "b"), ("3", "a")]);
        assert_eq!(take(&mut outbox, 9), None);
        assert_eq!(take(&mut outbox, 10).as_deref(), Some("1"));
        assert_eq!(take(&mut outbox, 10), None);
        outbox.done();
        assert_eq!(take(&mut outbox, 10).as_deref(), Some("2"));
        outbox.done();
        assert_eq!(take(&mut outbox, 10).as_deref(), Some("3"));
        outbox.done();
        assert_eq!((take(&mut outbox, 10), outbox.len()), (None, 0));
    }

    #[test]
    fn a_group_that_waits_for_another_try_holds_up_no_other_and_is_not_overtaken_by_itself() {
        let mut outbox = outbox(&[("1", "a"), ("2", "a"), ("3", "b")]);
        assert_eq!(take(&mut outbox, 10).as_deref(), Some("1"));
        outbox.again(50, 1);
        assert_eq!(take(&mut outbox, 10).as_deref(), Some("3"));
        outbox.done();
        assert_eq!((take(&mut outbox, 49), outbox.next_due_ms()), (None, Some(50)));
        assert_eq!(take(&mut outbox, 50).as_deref(), Some("1"));
        outbox.done();
        assert_eq!(take(&mut outbox, 50).as_deref(), Some("2"));
    }

    #[test]
    fn what_waits_already_is_not_added_again() {
        let mut outbox = outbox(&[("1", "a"), ("1", "a")]);
        assert_eq!(outbox.len(), 1);
        assert_eq!(take(&mut outbox, 10).as_deref(), Some("1"));
        outbox.done();
        assert_eq!(take(&mut outbox, 10), None);
    }

    #[test]
    fn where_all_keep_their_order_a_group_that_waits_for_another_try_holds_up_the_others() {
        let mut outbox = filled(Outbox::new(Order::OfAll), &[("1", "a"), ("2", "digest")]);
        assert_eq!(take(&mut outbox, 10).as_deref(), Some("1"));
        outbox.again(50, 1);
        assert_eq!(take(&mut outbox, 49), None);
        assert_eq!(take(&mut outbox, 50).as_deref(), Some("1"));
        outbox.done();
        assert_eq!(take(&mut outbox, 50).as_deref(), Some("2"));
    }

    #[test]
    fn what_is_too_old_is_taken_out_and_the_rest_keeps_its_order() {
        let mut outbox = outbox(&[("1", "a"), ("2", "b"), ("3", "a"), ("4", "b"), ("5", "b")]);
        assert_eq!(take(&mut outbox, 10).as_deref(), Some("1"));
        let older = outbox.take_older(14);
        assert_eq!(older.iter().map(|waiting| waiting.id.as_str()).collect::<Vec<_>>(), ["3", "2", "4"]);
        assert_eq!((outbox.len(), outbox.take_older(14).len()), (2, 0));
        outbox.done();
        assert_eq!(take(&mut outbox, 10).as_deref(), Some("5"));
        outbox.done();
        assert_eq!((take(&mut outbox, 10), outbox.len()), (None, 0));
    }
}
