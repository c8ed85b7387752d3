//! `tocsin`: the program around the engine, and the only place with clocks, files and a terminal.

// The engine is pure and the lint keeps it so; this is where its inputs come from.
#![allow(clippy::disallowed_methods)]

use std::process::ExitCode;

use clap::Parser;

mod program;

fn main() -> ExitCode {
    let arguments = program::arguments::Arguments::parse();
    match program::run(arguments) {
        Ok(ended) => ExitCode::from(ended as u8),
        Err(error) => {
            eprintln!("tocsin: {error:#}");
            ExitCode::from(program::Ended::Unable as u8)
        }
    }
}
