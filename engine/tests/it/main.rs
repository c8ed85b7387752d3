//! Everything that needs more than one module: properties over random events, and the program from outside.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod anomaly;
mod archives;
mod commands;
mod detect;
mod dispatch;
mod evidence;
mod false_alarms;
mod fleet;
mod incidents;
mod live;
mod projection;
mod rule_errors;
mod rule_health;
mod simulation;
mod state;
mod stream;
mod windows;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// A recording of `testdata/`.
fn recording(name: &str) -> PathBuf {
    root().join("testdata").join(name).join("recording.bin.zst")
}

/// Runs the program in the workspace.
fn tocsin<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tocsin"))
        .args(arguments)
        .current_dir(root())
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("the program starts")
}

/// Runs `tocsin replay FILE --format json` with more arguments.
fn replay(file: &Path, more: &[&str]) -> Output {
    let mut arguments =
        vec!["replay".to_string(), file.display().to_string(), "--format".into(), "json".into()];
    arguments.extend(more.iter().map(|argument| argument.to_string()));
    tocsin(&arguments)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
