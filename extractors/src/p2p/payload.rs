//! What messages carry: decoded from, and encoded to, the bytes of a payload.
//!
//! Counts are checked against the protocol's limits and against what the payload can hold before anything is
//! reserved. Bytes that follow what is expected are ignored, as Bitcoin Core ignores them.

use bitcoin::block::Header;
use bitcoin::consensus::Decodable;
use bitcoin::consensus::encode::{Error as DecodeError, VarInt};
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::{AddrV2Message, Address as AddressV1};
use bitcoin::p2p::message_blockdata::Inventory;
use tocsin_proto::pb::bitcoin_primitives::{Address, BlockHeader, InventoryItem};

use crate::primitives;

/// Most entries of `addr` and `addrv2`. Source: Bitcoin Core, net_processing.cpp, MAX_ADDR_TO_SEND.
const ADDRESSES_MAX: u64 = 1000;
/// Most entries of `inv`. Source: Bitcoin Core, net_processing.cpp, MAX_INV_SZ.
const INVENTORY_MAX: u64 = 50_000;
/// Most entries of `headers`. Source: Bitcoin Core, net_processing.h, MAX_HEADERS_RESULTS.
const HEADERS_MAX: u64 = 2000;
/// Longest address of any network. Source: BIP 155.
const ADDRESS_BYTES_MAX: u64 = 512;
/// Longest user agent. Source: Bitcoin Core, net.h, MAX_SUBVERSION_LENGTH.
const USER_AGENT_BYTES_MAX: u64 = 256;

/// A payload that is not what its message carries.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// More of something than the protocol allows.
    #[error("{found} {what}, expected at most {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// As many as the payload claims.
        found: u64,
        /// The limit.
        max: u64,
    },
    /// It ends too early, or a number in it has no such encoding.
    #[error("the payload ends early or is malformed")]
    Malformed,
}

impl From<DecodeError> for PayloadError {
    fn from(_: DecodeError) -> Self {
        PayloadError::Malformed
    }
}

/// The unread rest of a payload.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next<T: Decodable>(&mut self) -> Result<T, PayloadError> {
        Ok(T::consensus_decode(&mut self.0)?)
    }

    fn bytes(&mut self, count: u64) -> Result<&'a [u8], PayloadError> {
        let count = usize::try_from(count).map_err(|_| PayloadError::Malformed)?;
        let (taken, rest) = self.0.split_at_checked(count).ok_or(PayloadError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A count of at most `max`.
    fn count(&mut self, what: &'static str, max: u64) -> Result<u64, PayloadError> {
        let VarInt(found) = self.next()?;
        if found > max { Err(PayloadError::TooMany { what, found, max }) } else { Ok(found) }
    }

    /// A list of at most `max` entries of at least `entry_bytes` bytes each.
    fn list<T>(
        &mut self,
        what: &'static str,
        max: u64,
        entry_bytes: usize,
        mut entry: impl FnMut(&mut Self) -> Result<T, PayloadError>,
    ) -> Result<Vec<T>, PayloadError> {
        let count = self.count(what, max)?;
        if count > (self.0.len() / entry_bytes) as u64 {
            return Err(PayloadError::Malformed);
        }
        (0..count).map(|_| entry(self)).collect()
    }
}

/// What a `version` message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Highest protocol version.
    pub version: u32,
    /// Services, one bit each.
    pub services: u64,
    /// The sender's clock, in Unix seconds.
    pub time_s: i64,
    /// Name and version of the software; bytes that are no UTF-8 are replaced.
    pub user_agent: String,
    /// Height of the sender's best block.
    pub start_height: i32,
}

/// Decodes `version`.
///
/// # Errors
/// If it ends before the start height, or its user agent is longer than 256 bytes.
pub fn version(payload: &[u8]) -> Result<Version, PayloadError> {
    let mut reader = Reader(payload);
    let (version, services, time_s) = (reader.next()?, reader.next()?, reader.next()?);
    let (_receiver, _sender): (AddressV1, AddressV1) = (reader.next()?, reader.next()?);
    let _nonce: u64 = reader.next()?;
    let user_agent_bytes = reader.count("bytes of user agent", USER_AGENT_BYTES_MAX)?;
    let user_agent = String::from_utf8_lossy(reader.bytes(user_agent_bytes)?).into_owned();
    Ok(Version { version, services, time_s, user_agent, start_height: reader.next()? })
}

/// Encodes our `version`: no services, and transactions announced to us only if `relay` is 1 and not 0.
pub fn our_version(protocol: u32, time_s: i64, nonce: u64, user_agent: &str, relay: u8) -> Vec<u8> {
    const NO_ADDRESS: [u8; 26] = [0; 26];
    assert!(user_agent.len() < 0xfd, "one byte of length");
    let mut payload = Vec::new();
    payload.extend_from_slice(&protocol.to_le_bytes());
    payload.extend_from_slice(&0_u64.to_le_bytes());
    payload.extend_from_slice(&time_s.to_le_bytes());
    payload.extend_from_slice(&NO_ADDRESS);
    payload.extend_from_slice(&NO_ADDRESS);
    payload.extend_from_slice(&nonce.to_le_bytes());
    payload.push(user_agent.len() as u8);
    payload.extend_from_slice(user_agent.as_bytes());
    payload.extend_from_slice(&0_i32.to_le_bytes());
    payload.push(relay);
    payload
}

/// Decodes the nonce of `ping` and `pong`.
///
/// # Errors
/// If it is not there.
pub fn nonce(payload: &[u8]) -> Result<u64, PayloadError> {
    Reader(payload).next()
}

/// Decodes `feefilter`, in satoshi per 1000 virtual bytes.
///
/// # Errors
/// If it is not there.
pub fn fee_filter(payload: &[u8]) -> Result<i64, PayloadError> {
    Reader(payload).next()
}

/// Decodes `addr`.
///
/// # Errors
/// If it has more than 1000 entries or ends early.
pub fn addr(payload: &[u8]) -> Result<Vec<Address>, PayloadError> {
    Reader(payload).list("addresses", ADDRESSES_MAX, 30, |reader| {
        Ok(primitives::address_v1(reader.next()?, &reader.next()?))
    })
}

/// Decodes `addrv2`. An entry that does not fit its network is an unknown one; the others do not suffer.
///
/// # Errors
/// If it has more than 1000 entries, one of more than 512 bytes, or ends early.
pub fn addrv2(payload: &[u8]) -> Result<Vec<Address>, PayloadError> {
    Reader(payload).list("addresses", ADDRESSES_MAX, 9, |reader| {
        let time = reader.next()?;
        let VarInt(services) = reader.next()?;
        let network = reader.next()?;
        let bytes = reader.count("bytes of an address", ADDRESS_BYTES_MAX)?;
        let addr = primitives::bip155(network, reader.bytes(bytes)?);
        let port = u16::swap_bytes(reader.next()?);
        let services = ServiceFlags::from(services);
        Ok(primitives::address_v2(&AddrV2Message { time, services, addr, port }))
    })
}

/// Decodes `inv`, and the hash of the last block in it.
///
/// # Errors
/// If it has more than 50,000 entries or ends early.
pub fn inv(payload: &[u8]) -> Result<(Vec<InventoryItem>, Option<[u8; 32]>), PayloadError> {
    let mut last_block = None;
    let items = Reader(payload).list("inventory entries", INVENTORY_MAX, 36, |reader| {
        let entry: Inventory = reader.next()?;
        if let Inventory::Block(hash) = entry {
            last_block = Some(*hash.as_ref());
        }
        Ok(primitives::inventory(&entry))
    })?;
    Ok((items, last_block))
}

/// Decodes `headers`.
///
/// # Errors
/// If it has more than 2000 entries or ends early.
pub fn headers(payload: &[u8]) -> Result<Vec<BlockHeader>, PayloadError> {
    Reader(payload).list("headers", HEADERS_MAX, 81, |reader| {
        let header: Header = reader.next()?;
        let VarInt(_transactions) = reader.next()?;
        Ok(primitives::block_header(&header))
    })
}

/// Decodes the header at the start of `cmpctblock`.
///
/// # Errors
/// If it is not there.
pub fn compact_block_header(payload: &[u8]) -> Result<BlockHeader, PayloadError> {
    let header: Header = Reader(payload).next()?;
    Ok(primitives::block_header(&header))
}

/// Encodes a `getheaders` for the header of one block: an empty locator, and the block as the end.
pub fn get_header(protocol: u32, block: [u8; 32]) -> Vec<u8> {
    [protocol.to_le_bytes().as_slice(), &[0], &block].concat()
}

#[cfg(test)]
mod tests {
    use bitcoin::consensus::encode::serialize;
    use bitcoin::p2p::address::AddrV2;
    use proptest::prelude::*;
    use tocsin_proto::pb::bitcoin_primitives::address;

    use super::*;

    fn entry(addr: AddrV2) -> AddrV2Message {
        AddrV2Message { time: 1_700_000_000, services: ServiceFlags::NETWORK, addr, port: 8333 }
    }

    #[test]
    fn our_version_can_be_read_by_ourselves() {
        let payload = our_version(70016, 1_700_000_000, 7, "/tocsin:0.1.0/", 1);
        let expected = Version {
            version: 70016,
            services: 0,
            time_s: 1_700_000_000,
            user_agent: "/tocsin:0.1.0/".to_string(),
            start_height: 0,
        };
        assert_eq!(version(&payload), Ok(expected));
    }

    #[test]
    fn addrv2_agrees_with_the_library() {
        let entries = vec![
            entry(AddrV2::Ipv4([1, 2, 3, 4].into())),
            entry(AddrV2::TorV3([7; 32])),
            entry(AddrV2::Unknown(99, vec![1; 512])),
        ];
        let expected: Vec<Address> = entries.iter().map(primitives::address_v2).collect();
        assert_eq!(addrv2(&serialize(&entries)), Ok(expected));
    }

    #[test]
    fn one_odd_address_hides_no_other() {
        // An IPv4 address dressed up as IPv6, which the library refuses together with all that follow.
        let mut payload =
            serialize(&vec![entry(AddrV2::Unknown(2, vec![0; 16])), entry(AddrV2::I2p([1; 32]))]);
        let address = payload.windows(16).position(|bytes| bytes == [0; 16]).expect("there");
        payload[address + 10..address + 12].copy_from_slice(&[0xff, 0xff]);
        let found = addrv2(&payload).expect("both are read");
        assert!(matches!(found[0].address, Some(address::Address::Unknown(_))));
        assert!(matches!(found[1].address, Some(address::Address::I2p(_))));
    }

    #[test]
    fn a_count_that_the_payload_cannot_hold_is_refused_before_anything_is_reserved() {
        assert_eq!(inv(&[0xfd, 0x50, 0xc3]), Err(PayloadError::Malformed));
        let too_many =
            PayloadError::TooMany { what: "inventory entries", found: u64::MAX, max: INVENTORY_MAX };
        assert_eq!(inv(&[0xff; 9]), Err(too_many));
        assert_eq!(
            addr(&[0xfd, 0xe9, 0x03]).map_err(|error| error.to_string()),
            Err("1001 addresses, expected at most 1000".to_string())
        );
    }

    proptest! {
        #[test]
        fn no_payload_makes_a_decoder_panic(payload in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = (version(&payload), nonce(&payload), fee_filter(&payload), addr(&payload));
            let _ = (addrv2(&payload), inv(&payload), headers(&payload), compact_block_header(&payload));
        }
    }
}
