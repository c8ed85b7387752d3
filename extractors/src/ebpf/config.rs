//! Settings of the extractor.

use std::path::PathBuf;

use serde::Deserialize;

use super::message::RawTransactions;
use tocsin_proto::Span;

/// Settings of the extractor. Without any it finds the only bitcoind of the machine and reads all but single coins.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The node's process id file: `bitcoind.pid` in the network's data folder. The surest way if there are several nodes.
    pub pid_file: Option<PathBuf>,
    /// The node's program: the process that runs it is the node.
    pub binary: Option<PathBuf>,
    /// The node's process id. When it ends, so does the reading.
    pub pid: Option<u32>,
    /// What to read: `messages`, `connections`, `mempool`, `validation`, `utxocache`, `coins`. All but `coins` by
    /// default, which are thousands of events a block.
    pub groups: Vec<Group>,
    /// How much to take of a message.
    pub capture: Capture,
    /// Memory between node and extractor.
    pub rings: Rings,
    /// How often to report what the node's threads use.
    pub threads_every: Span,
    /// The user to become once attached: a name of /etc/passwd or a number. By default the user the node runs as.
    pub user: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            pid_file: None,
            binary: None,
            pid: None,
            groups: vec![
                Group::Messages,
                Group::Connections,
                Group::Mempool,
                Group::Validation,
                Group::Utxocache,
            ],
            capture: Capture::default(),
            rings: Rings::default(),
            threads_every: Span::from_secs(5),
            user: None,
        }
    }
}

/// A group of tracepoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// P2P messages.
    Messages,
    /// Connections that open, close, are evicted or misbehave.
    Connections,
    /// Transactions that enter, leave or are refused by the mempool.
    Mempool,
    /// Connected blocks.
    Validation,
    /// Flushes of the cache of unspent outputs.
    Utxocache,
    /// Every coin that enters or leaves that cache.
    Coins,
}

/// How much to take of a message. What is cut has `captured` set and no content; blocks keep their header.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capture {
    /// Payload bytes to take of a message, at most. The default is the longest payload there is.
    pub payload_bytes: u32,
    /// The same for `block` messages. 80 is the header; 0 is nothing but that there was one.
    pub block_bytes: u32,
    /// Whether events carry transactions as serialised, besides their ids.
    pub raw_transactions: bool,
}

impl Default for Capture {
    fn default() -> Self {
        Capture { payload_bytes: 4_000_000, block_bytes: 4_000_000, raw_transactions: true }
    }
}

impl Capture {
    /// Whether events carry serialised transactions.
    pub(crate) fn raw(&self) -> RawTransactions {
        match self.raw_transactions {
            true => RawTransactions::Keep,
            false => RawTransactions::Leave,
        }
    }
}

/// Memory of the rings between node and extractor in KiB, rounded up to a power of two. Not swapped, and taken as long
/// as the extractor runs: 59 MiB by default. Rings that nothing can come into are left out. What finds its ring full is
/// lost and counted.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rings {
    /// Messages of up to 512 bytes, and what is known of longer ones whose ring is full. By default for 11,000.
    pub small_messages: u32,
    /// Messages of up to 4 KiB. By default for 1,900.
    pub medium_messages: u32,
    /// Messages of up to 64 KiB. By default for 127.
    pub large_messages: u32,
    /// Messages of up to 4,000,000 bytes. By default for 8; 4096 is the least.
    pub huge_messages: u32,
    /// Connections. By default for 5,200.
    pub connections: u32,
    /// Changes of the mempool. By default for 21,000: a block may remove some 7,000 transactions at once.
    pub mempool: u32,
    /// Connected blocks.
    pub validation: u32,
    /// Flushes and coins of the cache of unspent outputs. By default 256, with `coins` 8192 (for 90,000).
    pub utxocache: Option<u32>,
}

impl Default for Rings {
    fn default() -> Self {
        Rings {
            small_messages: 8192,
            medium_messages: 8192,
            large_messages: 8192,
            huge_messages: 32_768,
            connections: 1024,
            mempool: 2048,
            validation: 256,
            utxocache: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_to_be_set_and_unknown_keys_are_errors() {
        let config: Config = serde_json::from_str("{}").expect("valid");
        assert!(!config.groups.contains(&Group::Coins));
        let config: Config =
            serde_json::from_str(r#"{"groups": ["coins"], "capture": {"block_bytes": 80}}"#).expect("valid");
        assert_eq!((config.groups, config.capture.block_bytes), (vec![Group::Coins], 80));
        assert!(serde_json::from_str::<Config>(r#"{"group": []}"#).is_err());
    }
}
