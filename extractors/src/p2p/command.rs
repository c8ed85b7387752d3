//! The message types that are read or written here; all others are skipped.

use std::fmt;

/// A message type of the P2P protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Addresses.
    Addr,
    /// Addresses of all networks (BIP 155).
    AddrV2,
    /// A block as its header and short transaction ids (BIP 152).
    CmpctBlock,
    /// Lowest fee rate wanted.
    FeeFilter,
    /// A request for transactions or blocks.
    GetData,
    /// A request for headers.
    GetHeaders,
    /// Headers.
    Headers,
    /// An announcement of transactions or blocks.
    Inv,
    /// What was asked for is not here.
    NotFound,
    /// A sign of life is asked for.
    Ping,
    /// A sign of life.
    Pong,
    /// Addresses are wanted as `addrv2`.
    SendAddrV2,
    /// Blocks are wanted as `cmpctblock`.
    SendCmpct,
    /// Blocks are wanted as `headers`.
    SendHeaders,
    /// Ready.
    Verack,
    /// The greeting.
    Version,
    /// Transactions are wanted by wtxid (BIP 339).
    WtxidRelay,
}

/// Each type with its name and, if it has one, its short id in BIP 324.
const TABLE: [(Command, &str, Option<u8>); 17] = [
    (Command::Addr, "addr", Some(1)),
    (Command::AddrV2, "addrv2", Some(28)),
    (Command::CmpctBlock, "cmpctblock", Some(4)),
    (Command::FeeFilter, "feefilter", Some(5)),
    (Command::GetData, "getdata", Some(11)),
    (Command::GetHeaders, "getheaders", Some(12)),
    (Command::Headers, "headers", Some(13)),
    (Command::Inv, "inv", Some(14)),
    (Command::NotFound, "notfound", Some(17)),
    (Command::Ping, "ping", Some(18)),
    (Command::Pong, "pong", Some(19)),
    (Command::SendAddrV2, "sendaddrv2", None),
    (Command::SendCmpct, "sendcmpct", Some(20)),
    (Command::SendHeaders, "sendheaders", None),
    (Command::Verack, "verack", None),
    (Command::Version, "version", None),
    (Command::WtxidRelay, "wtxidrelay", None),
];

impl Command {
    /// All of them.
    #[cfg(test)]
    pub(super) fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(command, ..)| *command)
    }

    /// The type of this name; `None` for all that are not used here.
    pub fn from_name(name: &[u8; 12]) -> Option<Self> {
        TABLE.iter().find(|(command, ..)| command.name_bytes() == *name).map(|(command, ..)| *command)
    }

    /// The type of this short id of BIP 324; `None` for all that are not used here.
    pub fn from_short_id(id: u8) -> Option<Self> {
        TABLE.iter().find(|(.., short_id)| *short_id == Some(id)).map(|(command, ..)| *command)
    }

    fn row(self) -> &'static (Command, &'static str, Option<u8>) {
        TABLE.iter().find(|(command, ..)| *command == self).expect("every command has its row, see the test")
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Its name as on the wire: filled up with zeros.
    pub fn name_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        let name = self.name().as_bytes();
        bytes[..name.len()].copy_from_slice(name);
        bytes
    }

    /// Its short id in BIP 324.
    pub fn short_id(self) -> Option<u8> {
        self.row().2
    }
}

impl fmt::Display for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name_and_short_id() {
        // The table is in the order of the declaration, so that a missing row shows.
        for (number, (command, ..)) in TABLE.iter().enumerate() {
            assert_eq!(*command as usize, number);
            assert_eq!(Command::from_name(&command.name_bytes()), Some(*command));
            if let Some(id) = command.short_id() {
                assert_eq!(Command::from_short_id(id), Some(*command));
            }
        }
        assert_eq!(Command::WtxidRelay as usize + 1, TABLE.len());
    }

    #[test]
    fn names_must_fit_to_the_last_byte() {
        assert_eq!(Command::from_name(b"version\0\0\0\0x"), None);
        assert_eq!(Command::from_name(b"versionx\0\0\0\0"), None);
        assert_eq!(Command::from_short_id(0), None);
    }
}
