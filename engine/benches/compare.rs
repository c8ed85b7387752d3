//! How often the default detector cries wolf on normal nodes, what it finds, and how it scores on labelled series,
//! beside the bands that Prometheus users have; all in one run.
//!
//! `cargo bench --bench compare [-- NODES]`. Labelled series are those of the folder that `TOCSIN_SERIES` names.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "../tests/it/simulation/mod.rs"]
mod simulation;

use std::path::{Path, PathBuf};

/// The workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

fn main() {
    // Cargo says `--bench` as well.
    let nodes = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(20);
    simulation::table::print(nodes, nodes.min(4));
}
