//! The program's own log, on standard error.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use super::config::{Log, LogFormat};

/// Begins to log. Standard output is left to alerts.
pub fn start(log: &Log) -> anyhow::Result<()> {
    // The NATS client tells of every attempt to connect; we tell of those that matter.
    let filter = EnvFilter::try_new(format!("async_nats=warn,{}", log.level)).with_context(|| {
        format!("log.level = {:?}, expected error, warn, info, debug or trace", log.level)
    })?;
    // A standard error that nobody reads any more must stop nothing.
    let lines = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let is_terminal = std::io::stderr().is_terminal();
    match log.format {
        LogFormat::Human => lines.with_target(false).with_ansi(is_terminal).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}
