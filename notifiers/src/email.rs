//! email: not here yet.

use serde::Deserialize;

use crate::Notifier;
use crate::config::Context;

/// Table `[receiver.email]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// The notifier of a table.
pub fn notifier(config: &Config, context: Context) -> Result<Box<dyn Notifier>, String> {
    let _ = (config, context);
    Err("email: not here yet".to_string())
}
