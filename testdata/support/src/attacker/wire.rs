//! Bitcoin's v1 transport, as far as an attacker needs it.

use std::io::{self, Read};

use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::p2p::Magic;
use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};

/// Magic, command, length, checksum.
const HEADER_BYTES: usize = 24;
/// MAX_PROTOCOL_MESSAGE_LENGTH of Bitcoin Core.
const PAYLOAD_BYTES_MAX: usize = 4_000_000;
/// What an attacker has to understand; the rest is read and dropped undecoded, since floods are answered by floods.
const UNDERSTOOD: [&str; 5] = ["version", "verack", "ping", "pong", "getdata"];

/// A message as it goes over the wire on regtest.
pub(super) fn frame(message: NetworkMessage) -> Vec<u8> {
    serialize(&RawNetworkMessage::new(Magic::REGTEST, message))
}

/// The next message; `None` if it is one an attacker need not understand. Errs at the end of the connection and when
/// the other side does not speak regtest's protocol.
pub(super) fn read(reader: &mut impl Read) -> io::Result<Option<NetworkMessage>> {
    let mut frame = vec![0; HEADER_BYTES];
    reader.read_exact(&mut frame)?;
    let command = frame[4..16].split(|byte| *byte == 0).next().unwrap_or_default();
    let is_understood = UNDERSTOOD.iter().any(|known| known.as_bytes() == command);
    let length = u32::from_le_bytes([frame[16], frame[17], frame[18], frame[19]]) as usize;
    if frame[..4] != Magic::REGTEST.to_bytes() || length > PAYLOAD_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no message of a regtest node"));
    }
    if !is_understood {
        io::copy(&mut reader.take(length as u64), &mut io::sink())?;
        return Ok(None);
    }
    frame.resize(HEADER_BYTES + length, 0);
    reader.read_exact(&mut frame[HEADER_BYTES..])?;
    let message = deserialize::<RawNetworkMessage>(&frame)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    Ok(Some(message.into_payload()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_passed_over() {
        let bytes = [frame(NetworkMessage::FeeFilter(1000)), frame(NetworkMessage::Ping(7))].concat();
        let mut reader = &bytes[..];
        assert_eq!(read(&mut reader).expect("a whole message"), None);
        assert_eq!(read(&mut reader).expect("a whole message"), Some(NetworkMessage::Ping(7)));
        assert!(read(&mut reader).is_err());
    }

    #[test]
    fn another_network_and_absurd_lengths_are_errors() {
        let mainnet = serialize(&RawNetworkMessage::new(Magic::BITCOIN, NetworkMessage::Ping(7)));
        assert!(read(&mut &mainnet[..]).is_err());
        let mut huge = frame(NetworkMessage::Ping(7));
        huge[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(read(&mut &huge[..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
