//! The vocabulary of tocsin: events as they cross the wire, their schema as data, and the recording format.
//!
//! Imports nothing of ours; everything else may import this. The `.proto` files are in `proto/schema/`.

pub mod archive;
pub mod schema;
mod span;

pub use span::Span;

/// The generated message types, one module a package of `proto/schema/`.
#[allow(missing_docs, clippy::all)]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/schemas.rs"));
}
