//! Prints readings of the simulated node as `timestamp,value` rows, to look at or to measure.
//!
//! `cargo run --release -p tocsin-testing --example simulation -- SEED STEP_S READING`

use tocsin_testing::simulation::Simulation;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next =
        |what: &str| arguments.next().unwrap_or_else(|| panic!("{what} is missing: SEED STEP_S READING"));
    let seed: u64 = next("SEED").parse().expect("SEED is a number");
    let step_s: u32 = next("STEP_S").parse().expect("STEP_S is a number of seconds");
    let reading = next("READING");
    println!("timestamp,value");
    for step in Simulation::new(seed, step_s).filter(|step| step.is_observed) {
        let value = step.value(&reading);
        if value.is_finite() {
            println!("{},{value}", step.at_ms / 1000);
        }
    }
}
