//! The pattern channel: changes of level and of shape, on roll-ups of five minutes or what comes coarser.

use serde::{Deserialize, Serialize};

use super::{Assessment, Method, Settings};
use crate::time::Timestamp;

/// State of the pattern channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pattern {
    settings: Settings,
}

impl Pattern {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        Pattern { settings: *settings }
    }
}

impl Method for Pattern {
    fn push(&mut self, _at: Timestamp, value: f64) -> Assessment {
        let _ = self.settings;
        Assessment::unknown(value)
    }

    fn skip(&mut self) {}
}
