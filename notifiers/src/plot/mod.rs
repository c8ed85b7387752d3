//! Plots: what was measured, its limit, and when the alert fired and resolved; or a series, what was expected of it, and
//! what was reported. SVG and PNG.
//!
//! The same alert gives the same bytes. The background is opaque and dark, so that one picture suits light and dark
//! surroundings; colours are also told apart by people who see fewer of them, and no colour says anything that a text or
//! a shape does not. Cost is bounded by the width of the picture, not by the number of points.

mod axis;
mod chart;
mod clock;
mod draw;
mod number;
mod text;
mod view;

use jiff::tz::TimeZone;
use tocsin_proto::pb::notification::Alert;

pub(crate) use axis::shown_unit;
pub(crate) use number::short;

pub use chart::{Band, Chart, Happening, Mark, Moment, Weight};

/// A plot; both forms show the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plot {
    /// As SVG.
    pub svg: String,
    /// As PNG.
    pub png: Vec<u8>,
    /// Width and height of the PNG, in pixels.
    pub size: (u32, u32),
}

/// Labels that every alert has: no part of the key.
const NOT_OF_THE_KEY: [&str; 4] = ["alertname", "node", "severity", "status"];

/// The plot of an alert's evidence; none if there are fewer than two points in time that have a value.
pub fn evidence(alert: &Alert, zone: &TimeZone) -> Option<Plot> {
    let evidence = alert.evidence.as_ref()?;
    let mut moments = vec![Moment { at: alert.starts_at, happening: Happening::Fired }];
    if alert.ends_at != 0 {
        moments.push(Moment { at: alert.ends_at, happening: Happening::Resolved });
    }
    let chart = Chart {
        title: title(alert),
        subtitle: evidence.quantity.clone(),
        unit: evidence.unit.clone(),
        points: evidence.points.clone(),
        moments,
        ..Chart::default()
    };
    chart.plot(zone)
}

/// Name, node and key: `addr_flood · my-node · peer_id 45`.
fn title(alert: &Alert) -> String {
    let label = |name: &str| alert.labels.get(name).cloned().unwrap_or_default();
    let mut labels: Vec<(&String, &String)> = alert.labels.iter().collect();
    labels.sort();
    let key = labels.into_iter().filter(|(name, _)| !NOT_OF_THE_KEY.contains(&name.as_str()));
    let key = key.map(|(name, value)| format!("{name} {value}"));
    let parts = [label("alertname"), label("node")].into_iter().chain(key);
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
}
