//! The pure engine: events in, alert changes out.
//!
//! Data flows one way: [`project`] takes values from events, [`sequence`] orders events in time, [`windows`] aggregate,
//! [`rules`] judge, [`alerts`] remember, [`timeline`] tells,
//! and [`dispatch`] decides whom. [`plan`] merges all rules so that work per event does not
//! depend on their number, and [`engine`] puts the parts together.

pub mod alerts;
pub mod detectors;
pub mod dispatch;
pub mod engine;
pub mod filters;
pub mod plan;
pub mod project;
pub mod rules;
pub mod sequence;
pub mod stored;
pub mod time;
pub mod timeline;
pub mod windows;
