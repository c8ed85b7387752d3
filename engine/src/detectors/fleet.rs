//! One node among its siblings, at one instant: which of them is unlike the others.
//!
//! Nodes of one operator see one network, so what moves all of them is the network's doing and what moves one is its own.
//! Two questions are asked of `augurs`. DBSCAN finds the majority: more than half of the nodes, each close to the next.
//! Where there is none the fleet is of no one mind, and no node can be called odd. A node outside is then compared with
//! its siblings alone by double MAD, robust where mean and deviation are not: with itself among them a fleet of four
//! would hide what it looks for.
//!
//! Constant and mostly constant values, usual for counts, have a MAD of zero, which `augurs` refuses to divide by. So a
//! floor is part of the question: what differs by less does not matter, however rare it is.

use augurs::outlier::{DbscanDetector, MADDetector, OutlierDetector};

/// Siblings a node is compared with, at the least: of fewer nobody can say which is odd.
pub const SIBLINGS_MIN: usize = 3;

/// Robust standard deviations from the siblings' median beyond which a node is odd. Source: Iglewicz and Hoaglin, How to
/// Detect and Handle Outliers (1993), as used by peer-observer-agents.
pub const DISTANCE_MAX: f64 = 3.5;

/// What makes a MAD a standard deviation if values are normal.
const MAD_TO_DEVIATION: f64 = 1.4826;

/// A node unlike its siblings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlier {
    /// Its place in the list of values.
    pub index: usize,
    /// Its value.
    pub value: f64,
    /// Median of its siblings.
    pub typical: f64,
    /// The end of the siblings' band that it is beyond.
    pub limit: f64,
}

/// The values unlike the others, in order of their places. `None` and numbers that are not finite are left out.
///
/// `floor` is the least difference from the siblings' median that matters, in the unit of the values; at least zero.
pub fn outliers(values: &[Option<f64>], floor: f64) -> Vec<Outlier> {
    let known: Vec<(usize, f64)> = values
        .iter()
        .enumerate()
        .filter_map(|(index, value)| value.filter(|value| value.is_finite()).map(|value| (index, value)))
        .collect();
    if known.len() <= SIBLINGS_MIN {
        return Vec::new();
    }
    let floor = if floor.is_finite() { floor.max(0.0) } else { 0.0 };
    let outside_majority = outside_majority(&known, floor);
    let odd = |place: &usize| {
        let (index, value) = known[*place];
        let siblings: Vec<f64> = known
            .iter()
            .enumerate()
            .filter(|(other, _)| other != place)
            .map(|(_, (_, value))| *value)
            .collect();
        let (typical, lower, upper) = band(&siblings, floor);
        let limit = if value < typical { lower } else { upper };
        (value < lower || value > upper).then_some(Outlier { index, value, typical, limit })
    };
    outside_majority.iter().filter_map(odd).collect()
}

/// Places of the values that belong to no majority; none if there is no majority.
fn outside_majority(known: &[(usize, f64)], floor: f64) -> Vec<usize> {
    let all: Vec<f64> = known.iter().map(|(_, value)| *value).collect();
    let centre = median(&all);
    let deviations: Vec<f64> = all.iter().map(|value| (value - centre).abs()).collect();
    // Neighbours within the floor or the usual scatter are of one mind.
    let reach = floor.max(MAD_TO_DEVIATION * median(&deviations));
    let rows: Vec<[f64; 1]> = all.iter().map(|value| [*value]).collect();
    let rows: Vec<&[f64]> = rows.iter().map(|row| &row[..]).collect();
    let detector = DbscanDetector::with_epsilon(reach);
    let found = detector.preprocess(&rows).and_then(|data| detector.detect(&data));
    found
        .ok()
        .filter(|found| found.cluster_band.is_some())
        .map_or(Vec::new(), |found| found.outlying_series.into_iter().collect())
}

/// Median of the siblings and the band beyond which a value is odd, at least `floor` to either side.
fn band(siblings: &[f64], floor: f64) -> (f64, f64, f64) {
    let typical = median(siblings);
    let (mut lower, mut upper) = (typical - floor, typical + floor);
    let detector = MADDetector::with_threshold(DISTANCE_MAX);
    // An error says that most values are the same: then the floor alone decides.
    let found = detector.preprocess(&[siblings]).and_then(|data| detector.detect(&data));
    if let Some(usual) = found.ok().and_then(|found| found.cluster_band)
        && let (Some(from), Some(to)) = (usual.min.first(), usual.max.first())
    {
        (lower, upper) = (lower.min(*from), upper.max(*to));
    }
    (typical, lower, upper)
}

/// The middle of at least one value; of an even number the mean of the two in the middle.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[f64], floor: f64, expected: &[usize]) {
        let values: Vec<Option<f64>> = values.iter().map(|value| Some(*value)).collect();
        let found: Vec<usize> = outliers(&values, floor).iter().map(|outlier| outlier.index).collect();
        assert_eq!(found, expected, "{values:?}");
    }

    #[test]
    fn one_of_four_that_differs_is_found() {
        check(&[70.0, 10.0, 71.0, 69.0], 5.0, &[1]);
        check(&[70.0, 72.0, 71.0, 130.0], 5.0, &[3]);
    }

    #[test]
    fn two_siblings_are_too_few() {
        check(&[70.0, 10.0, 71.0], 5.0, &[]);
        assert_eq!(outliers(&[Some(70.0), None, Some(10.0), Some(f64::NAN), Some(71.0)], 5.0), []);
    }

    #[test]
    fn equal_values_have_no_deviation_and_the_floor_decides() {
        check(&[8.0, 8.0, 8.0, 8.0, 8.0], 2.0, &[]);
        check(&[8.0, 8.0, 7.0, 8.0, 8.0], 2.0, &[]);
        check(&[8.0, 8.0, 0.0, 8.0, 8.0], 2.0, &[2]);
        check(&[0.0, 0.0, 0.0, 0.0, 40.0], 10.0, &[4]);
    }

    #[test]
    fn a_fleet_that_moves_together_has_no_outlier() {
        check(&[20.0, 22.0, 19.0, 21.0, 20.0], 5.0, &[]);
    }

    #[test]
    fn a_fleet_in_two_halves_has_no_majority_and_no_outlier() {
        check(&[10.0, 11.0, 12.0, 90.0, 91.0, 92.0], 5.0, &[]);
    }

    #[test]
    fn wide_scatter_is_usual_and_narrow_scatter_with_one_far_off_is_not() {
        check(&[40.0, 115.0, 60.0, 95.0, 80.0, 125.0, 50.0], 5.0, &[]);
        check(&[80.0, 84.0, 79.0, 82.0, 81.0, 125.0, 83.0], 5.0, &[5]);
    }

    #[test]
    fn both_ends_can_be_odd_and_say_what_they_are_beyond() {
        let values: Vec<Option<f64>> = [50.0, 51.0, 52.0, 53.0, 54.0, 0.0, 200.0].map(Some).to_vec();
        let found = outliers(&values, 5.0);
        assert_eq!(found.iter().map(|outlier| outlier.index).collect::<Vec<_>>(), [5, 6]);
        assert!(found[0].limit < 50.0 && found[1].limit > 54.0, "{found:?}");
        assert_eq!(found[0].typical, 52.5);
    }

    #[test]
    fn no_values_and_wrong_floors_find_nothing_and_do_not_panic() {
        assert_eq!(outliers(&[], 1.0), []);
        assert_eq!(outliers(&[None; 9], f64::NAN), []);
        check(&[1.0, 1.0, 1.0, 1.0], -5.0, &[]);
        check(&[1e300, -1e300, 1e300, 1e300, 0.0], 0.0, &[1, 4]);
    }
}
