//! From an answer to the event it is: pure, one function a method.
//!
//! Versions 25 to 31.99 of Bitcoin Core are read alike. A field that only some versions have is absent or
//! zero without a word; one that all have and that is missing or of another type is zero and noted. An answer
//! that lacks what it is about is refused, since zeros in its place would be read as facts.

mod addrman;
mod chain;
mod fees;
mod json;
mod mempool;
mod network;
mod node;
mod peers;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

pub use json::{Odd, Oddities};
use serde_json::Value;
use serde_json::value::RawValue;
use tocsin_proto::pb::rpc_extractor::rpc::RpcEvent;

pub(super) use addrman::{addrman, addrman_info};
pub(super) use chain::{blockchain_info, chain_tips, chain_tx_stats};
pub(super) use fees::smart_fee;
pub(super) use mempool::{mempool_info, orphan_txs};
pub(super) use network::{net_totals, network_info};
pub(super) use node::{memory_info, uptime};
pub(super) use peers::peer_infos;

use self::json::Cursor;
use super::method::Method;

/// An event, and what in the answer was not as expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The event.
    pub event: RpcEvent,
    /// Fields that were missing or of another type.
    pub oddities: Oddities,
}

/// What a method's decoder reads.
pub(super) struct Answer<'a> {
    method: &'static str,
    params: &'a Value,
    result: &'a RawValue,
    oddities: RefCell<Oddities>,
}

impl Answer<'_> {
    fn parse(&self) -> Result<Value, Odd> {
        parse(self.method, self.result.get())
    }

    fn top<'b>(&'b self, value: &'b Value) -> Cursor<'b> {
        Cursor::top(self.method, value, &self.oddities)
    }
}

fn parse(method: &'static str, text: &str) -> Result<Value, Odd> {
    serde_json::from_str(text).map_err(|error| Odd::unreadable(method, &error))
}

/// Decodes the `result` of `method` called with `params`. Errs if it is not what this method answers.
pub fn decode(method: &Method, params: &Value, result: &RawValue) -> Result<Decoded, Odd> {
    let answer = Answer { method: method.name, params, result, oddities: RefCell::default() };
    let event = (method.decode)(&answer)?;
    Ok(Decoded { event, oddities: answer.oddities.into_inner() })
}
