//! The comparison as a table: everything in it is measured in one run.

use tocsin_testing::benchmark::{PROFILES, load, score};
use tocsin_testing::simulation::LENGTH_S;
use tocsin_testing::simulation::incident::Kind;

use super::benchmark::{REPORTED, detect, file, folder, of_bands};
use super::rule::Rule;
use super::run::{Alert, Outcome, Who, nodes};
use super::series::{Subject, defaults, shows_in};

/// Readings that the field's own rules have bands around (`transformations.yml` of peer-observer, peer-observer-agents).
const OF_THE_FIELD: [&str; 6] =
    ["inbound", "inbound/ipv4", "outbound", "closed", "addr/entries", "queue/max"];

/// Prints false alerts and recall on simulated nodes, and scores on labelled series.
pub fn print(seeds: u64, fine_seeds: u64) {
    let series = defaults();
    println!(
        "{seeds} nodes of four weeks, {} series, a sample a minute. Alerts a node and week: all, of series without a norm yet, within \
         twelve hours of a restart or an outage, and of the six series that the field's rules watch; incidents found, and how many would be by chance.\n",
        series.len()
    );
    println!(
        "{:<28} {:>8} {:>12} {:>14} {:>12} {:>9} {:>10} {:>8}",
        "", "alerts", "information", "after restart", "six series", "found", "by chance", "median"
    );
    let mut found = Vec::new();
    for (name, who) in Who::all() {
        let outcomes = of(seeds, 60, who, &series);
        line(name, &outcomes, &series);
        found.push((name, outcomes));
    }
    if fine_seeds > 0 {
        line("tocsin, every ten seconds", &of(fine_seeds, 10, Who::Ours, &series), &series);
    }
    println!("\nFound of each incident, and minutes until then (median).\n");
    for (name, kind) in Kind::NAMES {
        let cells = found.iter().map(|(_, outcomes)| {
            let after = after_s(outcomes, Some(kind));
            format!("{:>3}/{} {:>5}", after.len(), outcomes.len(), minutes(&after))
        });
        println!("{name:<18} {}", cells.collect::<Vec<_>>().join("  "));
    }
    labelled();
}

fn of(seeds: u64, step_s: u32, who: Who, series: &[Subject]) -> Vec<Outcome> {
    let kinds: Vec<Kind> = Kind::NAMES.iter().map(|(_, kind)| *kind).collect();
    nodes(1..=seeds, step_s, who, series, &Rule::shipped(), &kinds)
}

fn line(name: &str, outcomes: &[Outcome], series: &[Subject]) {
    let weeks = 4.0 * outcomes.len() as f64;
    let alerts = outcomes.iter().map(|outcome| outcome.alerts.len()).sum::<usize>() as f64 / weeks;
    let explained = outcomes.iter().map(|outcome| outcome.explained).sum::<usize>() as f64 / weeks;
    let information =
        outcomes.iter().flat_map(|outcome| &outcome.alerts).filter(|alert| alert.is_cold).count() as f64
            / weeks;
    let is_own = |reading: &str| OF_THE_FIELD.contains(&reading);
    let own = outcomes
        .iter()
        .flat_map(|outcome| &outcome.alerts)
        .filter(|alert| is_own(series[alert.series].reading));
    let own = own.count() as f64 / weeks;
    let after = after_s(outcomes, None);
    let all = outcomes.len() * Kind::NAMES.len();
    println!(
        "{name:<28} {alerts:>8.2} {information:>12.2} {explained:>14.2} {own:>12.2} {:>5}/{all} {:>10.0} {:>4} min",
        after.len(),
        by_chance(outcomes, series),
        minutes(&after)
    );
}

/// How many incidents would be found by alerts that know nothing of them, from how often the same series are told of on
/// quiet days.
fn by_chance(outcomes: &[Outcome], series: &[Subject]) -> f64 {
    let mut sum = 0.0;
    for outcome in outcomes {
        for (_, kind) in Kind::NAMES {
            let shows = |alert: &&Alert| shows_in(kind).contains(&series[alert.series].reading);
            let alerts = outcome.alerts.iter().filter(shows).count() as f64;
            sum += 1.0 - (-alerts * kind.lasts_s() / LENGTH_S as f64).exp();
        }
    }
    sum
}

/// Seconds until incidents were found, in order.
fn after_s(outcomes: &[Outcome], kind: Option<Kind>) -> Vec<f64> {
    let all = outcomes.iter().flat_map(|outcome| &outcome.found_after_s);
    let mut after: Vec<f64> =
        all.filter(|(of, _)| kind.is_none_or(|kind| kind == *of)).filter_map(|(_, after)| *after).collect();
    after.sort_by(f64::total_cmp);
    after
}

fn minutes(after_s: &[f64]) -> String {
    after_s.get(after_s.len() / 2).map_or("-".into(), |after_s| format!("{:.0}", after_s / 60.0))
}

/// Scores on labelled series, at the threshold that is shipped (of bands: where their alerts fire) and at the best one.
fn labelled() {
    let Some(folder) = folder() else { return };
    let all = load(&folder).expect("labelled series");
    println!("\n{} labelled series: standard / low false positives / low false negatives.\n", all.len());
    println!("{:<28} {:>24} {:>24}", "", "as shipped", "at the best threshold");
    for (name, who) in Who::all() {
        let (fixed, free): (Vec<Vec<f64>>, Vec<Vec<f64>>) = match who {
            Who::Ours => all
                .iter()
                .map(|series| detect(&file(&folder, series)))
                .map(|scores| (scores.clone(), scores))
                .unzip(),
            Who::Bands(kind) => all.iter().map(|series| of_bands(kind, series)).unzip(),
        };
        let row = |scores: &[Vec<f64>], threshold| {
            PROFILES
                .map(|profile| format!("{:.2}", score(&all, scores, &profile, threshold).score))
                .join(" / ")
        };
        println!("{name:<28} {:>24} {:>24}", row(&fixed, Some(REPORTED)), row(&free, None));
    }
}
