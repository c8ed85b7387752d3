//! The live service from outside: the program with real nodes, real NATS servers, kills and restarts.

#![allow(clippy::disallowed_methods)]

mod harness;
mod nats;
