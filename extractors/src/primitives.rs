//! From Bitcoin's wire types to those of the events: addresses, inventory, headers, transactions.
//!
//! Shared by the extractors that see P2P messages. Hash bytes stay in internal order, as in the schema.

// What an extractor does not use yet another one does.
#![allow(dead_code)]

mod onion;

use std::net::{Ipv4Addr, Ipv6Addr};

use bitcoin::block::Header;
use bitcoin::consensus::encode::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::p2p::address::{AddrV2, AddrV2Message, Address as AddressV1};
use bitcoin::p2p::message_blockdata::Inventory;
use tocsin_proto::pb::bitcoin_primitives::{
    Address, BlockHeader, InventoryItem, Transaction, UnknownAddress, UnknownItem, address, inventory_item,
};

/// First six bytes of an IPv6 address that stands for a Tor v2 address in `addr` and `version` (OnionCat).
const ONION_CAT: [u8; 6] = [0xfd, 0x87, 0xd8, 0x7e, 0xeb, 0x43];

/// An entry of an `addr` message, or an address of a `version` message (which carries no time: 0).
///
/// `last_seen` is in Unix seconds, as the sender claims.
pub(crate) fn address_v1(last_seen: u32, address: &AddressV1) -> Address {
    let ip = Ipv6Addr::from(address.address);
    let octets = ip.octets();
    let place = match ip.to_ipv4_mapped() {
        Some(ipv4) => address::Address::Ipv4(ipv4.to_string()),
        None if octets[..6] == ONION_CAT => address::Address::Torv2(onion::v2(&octets[6..])),
        None => address::Address::Ipv6(ip.to_string()),
    };
    Address {
        timestamp: last_seen,
        services: address.services.to_u64(),
        port: u32::from(address.port),
        address: Some(place),
    }
}

/// An entry of an `addrv2` message (BIP 155).
pub(crate) fn address_v2(entry: &AddrV2Message) -> Address {
    let place = match &entry.addr {
        AddrV2::Ipv4(ip) => address::Address::Ipv4(ip.to_string()),
        AddrV2::Ipv6(ip) => address::Address::Ipv6(ip.to_string()),
        AddrV2::TorV2(key_hash) => address::Address::Torv2(onion::v2(key_hash)),
        AddrV2::TorV3(key) => address::Address::Torv3(onion::v3(key)),
        AddrV2::I2p(hash) => address::Address::I2p(onion::i2p(hash)),
        AddrV2::Cjdns(ip) => address::Address::Cjdns(ip.to_string()),
        AddrV2::Unknown(id, bytes) => {
            address::Address::Unknown(UnknownAddress { id: u32::from(*id), address: bytes.clone() })
        }
    };
    Address {
        timestamp: entry.time,
        services: entry.services.to_u64(),
        port: u32::from(entry.port),
        address: Some(place),
    }
}

/// An address of BIP 155 from its network id and bytes; whatever does not fit its network is `Unknown`.
///
/// `bitcoin` refuses the whole message for one such entry. Bitcoin Core only skips the entry, so that an
/// attacker could hide all the others with it.
pub(crate) fn bip155(network: u8, bytes: &[u8]) -> AddrV2 {
    let unknown = || AddrV2::Unknown(network, bytes.to_vec());
    match network {
        1 => <[u8; 4]>::try_from(bytes).map_or_else(|_| unknown(), |ip| AddrV2::Ipv4(Ipv4Addr::from(ip))),
        2 => match <[u8; 16]>::try_from(bytes).map(Ipv6Addr::from) {
            Ok(ip) if ip.to_ipv4_mapped().is_none() && bytes[..6] != ONION_CAT => AddrV2::Ipv6(ip),
            _ => unknown(),
        },
        3 => bytes.try_into().map_or_else(|_| unknown(), AddrV2::TorV2),
        4 => bytes.try_into().map_or_else(|_| unknown(), AddrV2::TorV3),
        5 => bytes.try_into().map_or_else(|_| unknown(), AddrV2::I2p),
        6 => match <[u8; 16]>::try_from(bytes) {
            Ok(ip) if ip[0] == 0xfc => AddrV2::Cjdns(Ipv6Addr::from(ip)),
            _ => unknown(),
        },
        _ => unknown(),
    }
}

/// An entry of `inv`, `getdata` or `notfound`.
pub(crate) fn inventory(entry: &Inventory) -> InventoryItem {
    use inventory_item::Item;
    let bytes = |hash: &[u8; 32]| hash.to_vec();
    let item = match entry {
        Inventory::Error | Inventory::Unknown { inv_type: 0, .. } => Item::Error(true),
        Inventory::Transaction(id) => Item::Transaction(bytes(id.as_byte_array())),
        Inventory::Block(hash) => Item::Block(bytes(hash.as_byte_array())),
        Inventory::CompactBlock(hash) => Item::CompactBlock(bytes(hash.as_byte_array())),
        Inventory::WTx(id) => Item::Wtx(bytes(id.as_byte_array())),
        Inventory::WitnessTransaction(id) => Item::WitnessTransaction(bytes(id.as_byte_array())),
        Inventory::WitnessBlock(hash) => Item::WitnessBlock(bytes(hash.as_byte_array())),
        Inventory::Unknown { inv_type, hash } => {
            Item::Unknown(UnknownItem { inv_type: *inv_type, hash: bytes(hash) })
        }
    };
    InventoryItem { item: Some(item) }
}

/// A block header, with its hash.
pub(crate) fn block_header(header: &Header) -> BlockHeader {
    BlockHeader {
        version: header.version.to_consensus(),
        prev_blockhash: header.prev_blockhash.as_byte_array().to_vec(),
        merkle_root: header.merkle_root.as_byte_array().to_vec(),
        time: header.time,
        bits: header.bits.to_consensus(),
        nonce: header.nonce,
        hash: header.block_hash().as_byte_array().to_vec(),
    }
}

/// A transaction by its ids, `with_raw` with its serialisation too.
pub(crate) fn transaction(transaction: &bitcoin::Transaction, with_raw: bool) -> Transaction {
    Transaction {
        txid: transaction.compute_txid().as_byte_array().to_vec(),
        wtxid: transaction.compute_wtxid().as_byte_array().to_vec(),
        raw: with_raw.then(|| serialize(transaction)),
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::p2p::ServiceFlags;
    use bitcoin::{Network, Txid, Wtxid};

    use super::*;

    fn v1(octets: [u8; 16]) -> address::Address {
        let ip = Ipv6Addr::from(octets);
        let address = AddressV1 { services: ServiceFlags::WITNESS, address: ip.segments(), port: 8333 };
        let converted = address_v1(7, &address);
        assert_eq!((converted.timestamp, converted.services, converted.port), (7, 8, 8333));
        converted.address.expect("always set")
    }

    fn v2(network: u8, bytes: &[u8]) -> address::Address {
        let addr = bip155(network, bytes);
        let entry = AddrV2Message { time: 7, services: ServiceFlags::NETWORK, addr, port: 1 };
        let converted = address_v2(&entry);
        assert_eq!((converted.timestamp, converted.services, converted.port), (7, 1, 1));
        converted.address.expect("always set")
    }

    #[test]
    fn an_addr_entry_may_be_ipv4_ipv6_or_tor_v2() {
        let mut mapped = [0; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 10, 1, 2, 3]);
        assert_eq!(v1(mapped), address::Address::Ipv4("10.1.2.3".to_string()));
        let mut loopback = [0; 16];
        loopback[15] = 1;
        assert_eq!(v1(loopback), address::Address::Ipv6("::1".to_string()));
        let mut onion = [0; 16];
        onion[..6].copy_from_slice(&ONION_CAT);
        assert_eq!(v1(onion), address::Address::Torv2("aaaaaaaaaaaaaaaa.onion".to_string()));
    }

    #[test]
    fn every_network_of_bip_155_has_its_field() {
        assert_eq!(v2(1, &[1, 2, 3, 4]), address::Address::Ipv4("1.2.3.4".to_string()));
        assert_eq!(v2(2, &[0x20; 16]), address::Address::Ipv6([0x2020_u16; 8].map(|_| "2020").join(":")));
        assert!(matches!(v2(3, &[0; 10]), address::Address::Torv2(_)));
        assert!(matches!(v2(4, &[0; 32]), address::Address::Torv3(_)));
        assert!(matches!(v2(5, &[0; 32]), address::Address::I2p(_)));
        assert_eq!(v2(6, &[0xfc; 16]), address::Address::Cjdns([0_u8; 8].map(|_| "fcfc").join(":")));
        let unknown = UnknownAddress { id: 200, address: vec![9] };
        assert_eq!(v2(200, &[9]), address::Address::Unknown(unknown));
    }

    #[test]
    fn what_does_not_fit_its_network_is_unknown_and_keeps_its_bytes() {
        let mut onion_cat = [0; 16];
        onion_cat[..6].copy_from_slice(&ONION_CAT);
        let mapped = Ipv4Addr::new(1, 2, 3, 4).to_ipv6_mapped().octets();
        let wrong: [(u8, &[u8]); 9] = [
            (1, &[1, 2, 3]),
            (2, &[0; 4]),
            (2, &mapped),
            (2, &onion_cat),
            (3, &[0; 11]),
            (4, &[0; 31]),
            (5, &[]),
            (6, &[0xfd; 16]),
            (6, &[0xfc; 15]),
        ];
        for (network, bytes) in wrong {
            let unknown = UnknownAddress { id: u32::from(network), address: bytes.to_vec() };
            assert_eq!(v2(network, bytes), address::Address::Unknown(unknown));
        }
    }

    #[test]
    fn inventory_keeps_its_type_and_the_order_of_its_hash() {
        use inventory_item::Item;
        let hash: [u8; 32] = std::array::from_fn(|position| position as u8);
        let unknown = UnknownItem { inv_type: 3, hash: hash.to_vec() };
        let cases = [
            (Inventory::Transaction(Txid::from_byte_array(hash)), Item::Transaction(hash.to_vec())),
            (Inventory::WTx(Wtxid::from_byte_array(hash)), Item::Wtx(hash.to_vec())),
            (Inventory::Unknown { inv_type: 0, hash }, Item::Error(true)),
            (Inventory::Unknown { inv_type: 3, hash }, Item::Unknown(unknown)),
        ];
        for (entry, item) in cases {
            assert_eq!(inventory(&entry).item, Some(item));
        }
    }

    #[test]
    fn the_genesis_block_has_its_known_hashes() {
        let genesis = bitcoin::constants::genesis_block(Network::Bitcoin);
        let header = block_header(&genesis.header);
        // Leading zeros of the hash as people know it are the last bytes in internal order.
        assert_eq!((header.hash[0], &header.hash[27..]), (0x6f, [0; 5].as_slice()));
        assert_eq!((header.version, header.bits, header.nonce), (1, 0x1d00_ffff, 2_083_236_893));
        let coinbase = transaction(&genesis.txdata[0], true);
        assert_eq!((&coinbase.txid, &coinbase.txid), (&coinbase.wtxid, &header.merkle_root));
        assert_eq!(coinbase.raw.map(|raw| raw.len()), Some(204));
        assert_eq!(transaction(&genesis.txdata[0], false).raw, None);
    }
}
