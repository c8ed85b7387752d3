//! The point channel: spikes and dips at the resolution the samples come in, by rarity and size of effect.

use serde::{Deserialize, Serialize};

use super::{Assessment, Method, Settings};
use crate::time::Timestamp;

/// State of the point channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Point {
    settings: Settings,
}

impl Point {
    /// One that has seen nothing.
    pub fn new(settings: &Settings) -> Self {
        Point { settings: *settings }
    }
}

impl Method for Point {
    fn push(&mut self, _at: Timestamp, value: f64) -> Assessment {
        let _ = self.settings;
        Assessment::unknown(value)
    }

    fn skip(&mut self) {}
}
