//! Settings of the extractor.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bitcoin::p2p::Magic;
use serde::{Deserialize, Deserializer, de};

use super::session::Settings;
use tocsin_proto::Span;

/// Shortest time between pings: a node answers them between its other work, and should not notice.
const PING_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Settings of the extractor. The node is told to connect to `listen` with `addnode=` in its bitcoin.conf.
///
/// What connects is believed to be the node: the first connection is it as long as it lasts. Listen on
/// loopback, or on an address that only the node reaches.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// The only addresses that may connect; with none, all may.
    pub allow: Vec<IpAddr>,
    /// The node's network.
    pub network: Network,
    /// First four bytes of all messages, as eight hexadecimal digits: for a signet of one's own.
    #[serde(deserialize_with = "magic_from_hex")]
    pub magic: Option<Magic>,
    /// Time between pings. An answer takes as long as the node's message handler is behind.
    pub ping_interval: Span,
    /// Report the addresses that the node gossips.
    pub addresses: bool,
    /// Have the node announce transactions. Without, `inventory_announcement` has blocks alone.
    pub transactions: bool,
    /// Report the node's fee filter.
    pub fee_filter: bool,
    /// How the node is to announce blocks.
    pub blocks: Blocks,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9333)),
            allow: Vec::new(),
            network: Network::Main,
            magic: None,
            ping_interval: Span::from_secs(1),
            addresses: true,
            transactions: true,
            fee_filter: true,
            blocks: Blocks::Headers,
        }
    }
}

impl Config {
    /// First four bytes of all messages.
    pub(super) fn magic(&self) -> [u8; 4] {
        let of_network = match self.network {
            Network::Main => Magic::BITCOIN,
            Network::Testnet => Magic::TESTNET3,
            Network::Testnet4 => Magic::TESTNET4,
            Network::Signet => Magic::SIGNET,
            Network::Regtest => Magic::REGTEST,
        };
        self.magic.unwrap_or(of_network).to_bytes()
    }

    /// Time between pings, at least 10 ms.
    pub(super) fn ping_every(&self) -> Duration {
        self.ping_interval.get().max(PING_INTERVAL_MIN)
    }

    /// What sessions are to do.
    pub(super) fn settings(&self) -> Settings {
        Settings {
            addresses: self.addresses,
            transactions: self.transactions,
            fee_filter: self.fee_filter,
            blocks: self.blocks,
        }
    }
}

/// A network, by its name in bitcoin.conf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The one with the money.
    Main,
    /// The third test network.
    #[serde(alias = "test")]
    Testnet,
    /// The fourth test network.
    Testnet4,
    /// The public signet.
    Signet,
    /// A network of one's own, for tests.
    Regtest,
}

/// How blocks are announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Blocks {
    /// By hash, in `inventory_announcement`.
    Inventory,
    /// By header, in `header_announcement`, once the node has checked the block. The first one after a
    /// handshake comes by hash too.
    Headers,
    /// As compact blocks, in `header_announcement`, before the node has checked the block. Some 20 kB a
    /// block.
    Compact,
}

fn magic_from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Magic>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = |_| {
        de::Error::custom(format!(
            "`{text}` is no magic, expected eight hexadecimal digits, such as \"0a03cf40\""
        ))
    };
    text.parse().map(Some).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Config, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_table_listens_on_loopback_for_a_main_network_node() {
        let config = parse("{}").expect("all settings have defaults");
        assert!(config.listen.ip().is_loopback());
        assert_eq!(config.magic(), [0xf9, 0xbe, 0xb4, 0xd9]);
        assert_eq!(config.ping_every(), Duration::from_secs(1));
    }

    #[test]
    fn a_signet_of_ones_own_has_a_magic_of_its_own() {
        let config = parse(r#"{"network": "signet", "magic": "01020304"}"#).expect("valid");
        assert_eq!(config.magic(), [1, 2, 3, 4]);
        let error = parse(r#"{"magic": "0102"}"#).expect_err("too short");
        assert!(error.contains("`0102` is no magic, expected eight hexadecimal digits"), "{error}");
    }

    #[test]
    fn pings_are_never_sent_without_a_pause() {
        let config = parse(r#"{"ping_interval": "0s"}"#).expect("valid");
        assert_eq!(config.ping_every(), Duration::from_millis(10));
    }
}
