//! The default series on normal and attacked nodes, and the default detector on series of others.

use tocsin_testing::benchmark::{PROFILES, load, score, unix_s};
use tocsin_testing::simulation::incident::Kind;

use crate::simulation::benchmark::{REPORTED, detect, file, folder, reports};
use crate::simulation::rule::Rule;
use crate::simulation::run::{Who, nodes};
use crate::simulation::series::defaults;

/// Nodes of the gate; `cargo bench --bench compare` has more.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=3;
const WEEKS: f64 = 4.0;
/// What the rule does not promise to find on its own: each is within what a node sees in a bad week (a third of the peers
/// gone over ten minutes, forty connections a minute, five times as many addresses). `inbound_drop`, `connection_churn` and
/// `addr_flood` look for these with limits of their own.
const WITHIN_THE_USUAL: [Kind; 3] = [Kind::InboundDrop, Kind::InboundFlood, Kind::AddrFlood];

#[test]
fn a_normal_node_has_an_alert_a_week_at_most_and_an_attacked_one_has_one_in_time() {
    let series = defaults();
    let kinds: Vec<Kind> = Kind::NAMES.iter().map(|(_, kind)| *kind).collect();
    let outcomes = nodes(SEEDS, 60, Who::Ours, &series, &Rule::shipped(), &kinds);
    let mut told = String::new();
    for (seed, outcome) in SEEDS.zip(&outcomes) {
        for alert in &outcome.alerts {
            let name = &series[alert.series].name;
            told += &format!("node {seed}, day {:.2}: {name}\n", alert.since_s / 86_400.0);
        }
    }
    let alerts: usize = outcomes.iter().map(|outcome| outcome.alerts.len()).sum();
    let weeks = WEEKS * outcomes.len() as f64;
    println!("{told}");
    let mut missed = Vec::new();
    for (name, kind) in Kind::NAMES {
        let after = outcomes.iter().flat_map(|outcome| &outcome.found_after_s);
        let after: Vec<Option<f64>> = after.filter(|(of, _)| *of == kind).map(|(_, after)| *after).collect();
        println!("{name}: {after:?} s");
        let found = after.iter().flatten().count();
        if found * 3 < after.len() * 2 && !WITHIN_THE_USUAL.contains(&kind) {
            missed.push(format!("{name}: found on {found} of {} nodes", after.len()));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    assert!(alerts as f64 <= weeks, "{alerts} alerts in {weeks} weeks of normal nodes:\n{told}");
}

#[test]
fn labelled_series_are_scored_at_the_threshold_that_is_shipped() {
    let Some(folder) = folder() else { return };
    let all = load(&folder).expect("labelled series");
    let scores: Vec<Vec<f64>> = all.iter().map(|series| detect(&file(&folder, series))).collect();
    let fixed = PROFILES.map(|profile| score(&all, &scores, &profile, Some(REPORTED)).score);
    println!(
        "standard {:.2}, low false positives {:.2}, low false negatives {:.2}",
        fixed[0], fixed[1], fixed[2]
    );
    assert!(fixed[0] >= 74.0 && fixed[1] >= 69.0, "{fixed:?}");
}

/// The dated events are those of the notes beside the series.
#[test]
fn series_of_the_bitcoin_network_have_a_report_a_month_and_the_dated_events() {
    let Some(folder) = folder().filter(|folder| folder.join("bitcoin").is_dir()) else { return };
    let events = [
        ("ping_median_ms.csv", "2021-06-28 00:00:00", "2021-07-20 00:00:00"),
        ("ping_median_ms.csv", "2023-05-05 00:00:00", "2023-05-12 00:00:00"),
        ("connected_ips.csv", "2025-02-18 00:00:00", "2025-02-21 00:00:00"),
    ];
    for name in ["ping_median_ms.csv", "connected_ips.csv"] {
        let (rows, reported) = reports(&folder, name);
        let months = (rows[rows.len() - 1].0 - rows[0].0) as f64 / (30.44 * 86_400.0);
        println!("{name}: {} reports in {months:.0} months", reported.len());
        assert!(reported.len() as f64 <= 1.5 * months, "{name}: {} in {months:.0} months", reported.len());
        for (_, from, until) in events.iter().filter(|(of, ..)| *of == name) {
            let (from_s, until_s) = (unix_s(from).expect("a time"), unix_s(until).expect("a time"));
            let is_found = reported.iter().any(|at_s| (from_s..until_s).contains(at_s));
            assert!(is_found, "{name}: nothing was reported from {from} to {until}");
        }
    }
}
