//! What makes a series move: the hour, the day, slow drifts and bursts.

use super::random::Random;

const HOUR_S: f64 = 3600.0;
const DAY_S: f64 = 86_400.0;

/// Share of nodes up by hour (UTC), as departures from the week's median in units of the largest: measured on
/// `bitcoin/connected_ips.csv` of the shared series (medians by hour, where the largest is 0.42 %).
const BY_HOUR: [f64; 24] = [
    0.07, -0.26, -0.93, -0.69, -0.69, -0.45, -0.48, -0.21, -0.07, -0.31, 0.0, 0.14, 0.26, 0.48, 0.38, 0.6,
    0.86, 1.05, 0.95, 0.76, 0.6, 0.52, 0.14, 0.1,
];
/// The same by day of the week from Monday, measured in the same way; the largest is 0.26 %.
const BY_DAY: [f64; 7] = [0.65, -0.35, -0.54, 0.0, -0.15, 0.62, 1.0];

/// Where in the day `at_s` (unix seconds) is: about -1 in the European night, 1 in its late afternoon.
pub fn daily(at_s: f64) -> f64 {
    smooth(&BY_HOUR, (at_s / HOUR_S).rem_euclid(24.0))
}

/// Where in the week `at_s` (unix seconds) is, as far as nodes go: 1 on Sundays, when more home nodes are up.
pub fn weekly(at_s: f64) -> f64 {
    smooth(&BY_DAY, weekday(at_s) - 0.5)
}

/// 1 at the weekend and 0 on working days, with a passage of six hours.
pub fn weekend(at_s: f64) -> f64 {
    let day = weekday(at_s);
    ((day - 5.0) * 4.0).clamp(0.0, 1.0).min(((7.0 - day) * 4.0).clamp(0.0, 1.0))
}

/// Days since Monday midnight.
fn weekday(at_s: f64) -> f64 {
    // 1 January 1970 was a Thursday.
    (at_s / DAY_S + 3.0).rem_euclid(7.0)
}

/// Straight lines between the points of a circle.
fn smooth(points: &[f64], place: f64) -> f64 {
    let place = place.rem_euclid(points.len() as f64);
    let (index, part) = (place as usize % points.len(), place.fract());
    points[index] * (1.0 - part) + points[(index + 1) % points.len()] * part
}

/// Noise with a memory: it returns to 0 within about `memory_s` (Ornstein & Uhlenbeck 1930).
#[derive(Debug, Clone)]
pub struct Drift {
    memory_s: f64,
    deviation: f64,
    value: f64,
}

impl Drift {
    /// With this memory in seconds and standard deviation, somewhere in its course.
    pub fn new(memory_s: f64, deviation: f64, random: &mut Random) -> Self {
        Drift { memory_s, deviation, value: deviation * random.normal() }
    }

    /// Its value now.
    pub fn now(&self) -> f64 {
        self.value
    }

    /// Its value `step_s` later. The course does not depend on the length of the steps, but for chance.
    pub fn step(&mut self, step_s: f64, random: &mut Random) -> f64 {
        let kept = (-step_s / self.memory_s).exp();
        self.value = kept * self.value + self.deviation * (1.0 - kept * kept).sqrt() * random.normal();
        self.value
    }
}

/// What now and then begins, lasts for a time and is over.
#[derive(Debug, Clone)]
pub struct Bursts {
    per_day: f64,
    /// Median of the duration in seconds; its logarithm has the deviation `spread`.
    lasts_s: f64,
    spread: f64,
    /// Seconds left and size of those under way.
    under_way: Vec<(f64, f64)>,
}

impl Bursts {
    /// So many a day on the mean, and half of them shorter than `lasts_s`.
    pub fn new(per_day: f64, lasts_s: f64, spread: f64) -> Self {
        Bursts { per_day, lasts_s, spread, under_way: Vec::new() }
    }

    /// Sum of the sizes of those under way, `step_s` later; `size` draws that of a new one.
    pub fn step(&mut self, step_s: f64, random: &mut Random, size: impl FnOnce(&mut Random) -> f64) -> f64 {
        self.under_way.retain_mut(|(left_s, _)| {
            *left_s -= step_s;
            *left_s > 0.0
        });
        if random.chance(self.per_day * step_s / DAY_S) {
            let lasts_s = random.lognormal(self.lasts_s, self.spread);
            self.under_way.push((lasts_s, size(random)));
        }
        self.under_way.iter().map(|(_, size)| size).sum()
    }

    /// Ends what is under way.
    pub fn clear(&mut self) {
        self.under_way.clear();
    }
}
