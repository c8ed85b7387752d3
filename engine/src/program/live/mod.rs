//! The running program.

// Nothing calls these before the live commands exist.
#![allow(dead_code)]

pub mod http;
pub mod status;
