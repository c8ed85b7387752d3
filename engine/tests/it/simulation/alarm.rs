//! From what is said of a sample to an alert, as the engine's lifecycle has it: pending, firing, resolved.

/// How long a finding lasts before the alert fires, and how long it goes on firing without one, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Knobs {
    pub for_s: i64,
    pub keep_firing_for_s: i64,
}

/// One alert.
#[derive(Debug, Clone)]
pub struct Alarm {
    knobs: Knobs,
    found_since_s: Option<i64>,
    found_at_s: i64,
    is_firing: bool,
}

impl Alarm {
    pub fn new(knobs: Knobs) -> Self {
        Alarm { knobs, found_since_s: None, found_at_s: 0, is_firing: false }
    }

    /// Takes whether a rule found something at this time, which holds until the next step is over. True if the alert begins
    /// to fire before that.
    pub fn step(&mut self, at_s: i64, step_s: i64, finding: bool) -> bool {
        if finding {
            self.found_since_s.get_or_insert(at_s);
            self.found_at_s = at_s;
        } else if !self.is_firing {
            self.found_since_s = None;
        }
        if self.is_firing && self.found_at_s + self.knobs.keep_firing_for_s <= at_s {
            (self.is_firing, self.found_since_s) = (false, None);
        }
        let begins = !self.is_firing
            && self.found_since_s.is_some_and(|since| since + self.knobs.for_s < at_s + step_s);
        self.is_firing |= begins;
        begins
    }
}
