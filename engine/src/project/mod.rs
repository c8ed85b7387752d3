//! From the field paths that rules name to the few values they need of each event.
//!
//! `path` resolves a path against the schema, `plan` merges all paths of one event kind into a tree of tags, `walk`
//! takes the values of one event in a single pass over its wire bytes and skips the rest by length.

pub mod path;
pub mod plan;
pub mod walk;
