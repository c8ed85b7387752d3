//! The live service from outside: the program with real nodes, real NATS servers, kills and restarts.

#![allow(clippy::disallowed_methods)]

mod end_to_end;
mod garbage;
mod harness;
mod nats;
mod reload;
mod restarts;
mod site;
