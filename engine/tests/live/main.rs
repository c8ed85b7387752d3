//! The live service from outside: the program with real nodes, real NATS servers, kills and restarts.

#![allow(clippy::disallowed_methods)]

mod alertmanager_api;
mod dispatch_faults;
mod dispatch_log;
mod dispatch_restarts;
mod end_to_end;
mod garbage;
mod harness;
mod nats;
mod peers;
mod receiver;
mod reload;
mod restarts;
mod site;
