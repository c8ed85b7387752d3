//! The methods that are polled. A new one is a line here, a decoder and a message of the schema.

use std::time::Duration;

use serde_json::Value;
use tocsin_proto::pb::rpc_extractor::rpc::RpcEvent;

use super::decode::{self, Answer, Odd};

/// A method of the interface.
#[derive(Debug)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// Time between two polls, unless the configuration says otherwise.
    pub every: Duration,
    /// Parameters as JSON: one call each, one after the other.
    params: &'static [&'static str],
    /// Makes an event of the result.
    pub(super) decode: fn(&Answer<'_>) -> Result<RpcEvent, Odd>,
}

impl Method {
    /// The method of this name.
    pub fn named(name: &str) -> Option<&'static Method> {
        METHODS.iter().find(|method| method.name == name)
    }

    /// The parameters of each call of one poll.
    pub fn params(&self) -> impl Iterator<Item = Value> {
        self.params.iter().map(|params| serde_json::from_str(params).expect("the table holds JSON"))
    }
}

/// Takes no lock in the node: what fails this one fails them all.
pub(super) const UPTIME: &str = "uptime";

const NONE: &[&str] = &["[]"];
/// The targets peer-observer asks for: ten minutes, an hour, a day.
const FEE_TARGETS: &[&str] = &[
    r#"[1,"economical"]"#,
    r#"[6,"economical"]"#,
    r#"[144,"economical"]"#,
    r#"[1,"conservative"]"#,
    r#"[6,"conservative"]"#,
    r#"[144,"conservative"]"#,
];

/// All of them. Cheap ones are polled every ten seconds; `getchaintips` walks the whole block index and
/// `getrawaddrman` answers with tens of megabytes.
pub static METHODS: [Method; 13] = [
    method(UPTIME, 10, NONE, decode::uptime),
    method("getpeerinfo", 10, NONE, decode::peer_infos),
    method("getmempoolinfo", 10, NONE, decode::mempool_info),
    method("getnettotals", 10, NONE, decode::net_totals),
    method("getnetworkinfo", 10, NONE, decode::network_info),
    method("getblockchaininfo", 10, NONE, decode::blockchain_info),
    method("getorphantxs", 10, &["[1]"], decode::orphan_txs),
    method("getaddrmaninfo", 10, NONE, decode::addrman_info),
    method("getmemoryinfo", 60, NONE, decode::memory_info),
    method("getchaintxstats", 60, NONE, decode::chain_tx_stats),
    method("getchaintips", 60, NONE, decode::chain_tips),
    method("estimatesmartfee", 60, FEE_TARGETS, decode::smart_fee),
    method("getrawaddrman", 1800, NONE, decode::addrman),
];

const fn method(
    name: &'static str,
    every_s: u64,
    params: &'static [&'static str],
    decode: fn(&Answer<'_>) -> Result<RpcEvent, Odd>,
) -> Method {
    Method { name, every: Duration::from_secs(every_s), params, decode }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_a_name_of_its_own_and_parameters_that_are_lists() {
        for (index, method) in METHODS.iter().enumerate() {
            assert!(std::ptr::eq(Method::named(method.name).expect("found"), &METHODS[index]));
            assert!(method.params().count() > 0 && method.params().all(|params| params.is_array()));
        }
    }
}
