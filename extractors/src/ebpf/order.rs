//! Puts what several rings give into the order of time.
//!
//! Each ring is in order by itself, so what is held is some sorted runs, which sort in little more than one pass.

/// Things held until everything before them must have come.
#[derive(Debug)]
pub struct Order<T> {
    held: Vec<(u64, T)>,
}

impl<T> Order<T> {
    /// Holds nothing.
    pub fn new() -> Self {
        Order { held: Vec::new() }
    }

    /// Takes something that happened at `at`, in any unit that rises.
    pub fn push(&mut self, at: u64, thing: T) {
        self.held.push((at, thing));
    }

    /// What happened up to `until`, oldest first; of the same time, in order of arrival.
    pub fn release(&mut self, until: u64) -> Vec<(u64, T)> {
        self.held.sort_by_key(|(at, _)| *at);
        let later = self.held.partition_point(|(at, _)| *at <= until);
        let held = self.held.split_off(later);
        std::mem::replace(&mut self.held, held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_merged_and_what_is_newer_waits() {
        let mut order = Order::new();
        for (at, thing) in [(1, 'a'), (4, 'd'), (6, 'f'), (2, 'b'), (3, 'c'), (9, 'g')] {
            order.push(at, thing);
        }
        assert_eq!(order.release(4), [(1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')]);
        order.push(5, 'e');
        assert_eq!(order.release(6), [(5, 'e'), (6, 'f')]);
        assert_eq!(order.release(8), []);
        assert_eq!(order.release(u64::MAX), [(9, 'g')]);
    }

    #[test]
    fn the_same_time_keeps_the_order_of_arrival() {
        let mut order = Order::new();
        for thing in ['a', 'b', 'c'] {
            order.push(1, thing);
        }
        assert_eq!(order.release(1), [(1, 'a'), (1, 'b'), (1, 'c')]);
    }
}
