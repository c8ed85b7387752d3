//! When the node is up and observed: three restarts, the last of them an upgrade, and outages of the observer.

use super::random::Random;

const HOUR_S: f64 = 3600.0;
const DAY_S: f64 = 86_400.0;
/// Length of the simulation.
pub const DAYS: f64 = 28.0;

/// The node and its observer at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State {
    /// Seconds since the node's start; `None` while it is down.
    pub uptime_s: Option<f64>,
    /// Somebody looks.
    pub is_observed: bool,
    /// The newer version runs.
    pub is_upgraded: bool,
}

/// What happens when, in seconds since the begin.
#[derive(Debug, Clone)]
pub struct Calendar {
    /// From when to when the node is down.
    downtimes: Vec<(f64, f64)>,
    /// From when to when nobody looks.
    outages: Vec<(f64, f64)>,
}

impl Calendar {
    /// Of one node.
    ///
    /// Restarts are minutes long (a shutdown writes the caches, a start reads the index) and at least three days apart;
    /// the upgrade takes longer. Outages: five of minutes (an extractor is restarted) and one of hours. The monitor
    /// behind `connected_ips.csv` had 6 of 2.4 to 40 hours in eleven months, one in two four-week periods.
    pub fn new(random: &mut Random) -> Self {
        let mut downtimes = Vec::new();
        for number in 0..3 {
            // One in each third, so that they are apart, and none in the last three days of a third.
            let third = DAYS / 3.0 * DAY_S;
            let from = f64::from(number) * third + random.between(DAY_S, third - 3.0 * DAY_S);
            let lasts = if number == 2 { random.between(300.0, 1500.0) } else { random.between(60.0, 420.0) };
            downtimes.push((from, from + lasts));
        }
        let mut outages = Vec::new();
        for number in 0..6 {
            let from = random.between(0.5, DAYS - 0.5) * DAY_S;
            let lasts =
                if number == 0 { random.lognormal(3.0 * HOUR_S, 0.6) } else { random.lognormal(720.0, 0.8) };
            outages.push((from, from + lasts.clamp(120.0, 8.0 * HOUR_S)));
        }
        Calendar { downtimes, outages }
    }

    /// How things are `since_s` seconds after the begin. The node was started three weeks before the begin.
    pub fn at(&self, since_s: f64) -> State {
        let is_within = |&(from, until): &(f64, f64)| from <= since_s && since_s < until;
        let is_down = self.downtimes.iter().any(is_within);
        let ended = self.downtimes.iter().filter(|(_, until)| *until <= since_s);
        let started = ended.clone().next_back().map_or(-21.0 * DAY_S, |(_, until)| *until);
        State {
            uptime_s: (!is_down).then_some(since_s - started),
            is_observed: !is_down && !self.outages.iter().any(is_within),
            is_upgraded: ended.count() == self.downtimes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_restarts_three_times_and_has_a_long_outage() {
        for seed in 0..50 {
            let calendar = Calendar::new(&mut Random::new(seed, "calendar"));
            let minutes = (0..40_320).map(|minute| calendar.at(f64::from(minute) * 60.0));
            let states: Vec<State> = minutes.collect();
            let starts =
                states.windows(2).filter(|pair| pair[0].uptime_s.is_none() && pair[1].uptime_s.is_some());
            assert_eq!(starts.count(), 3);
            let unseen = states.iter().filter(|state| !state.is_observed).count();
            assert!((60..1200).contains(&unseen), "{unseen} minutes without observer");
        }
    }
}
