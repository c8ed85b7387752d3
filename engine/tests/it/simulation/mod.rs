//! Does it cry wolf, and does it find the wolf? The engine's default series on four simulated weeks of a node, and the
//! default detector on labelled series, beside the bands of the field. `cargo bench --bench compare` prints the table.

// The tests need a part of it, the table in benches/compare.rs another.
#![allow(dead_code)]

pub mod alarm;
pub mod benchmark;
pub mod rule;
pub mod run;
pub mod series;
pub mod table;
pub mod watcher;
