//! From bytes to messages and back: the plain transport (v1) and the encrypted one (v2, BIP 324).
//!
//! Messages that are not wanted are skipped: over v1 without being held. Over v2 a message must be there as a
//! whole to be decrypted. No more than one message is held, and memory grows only as bytes arrive.

use std::ops::Range;

use bip324::{InboundCipher, OutboundCipher, PacketType};
use bitcoin::hashes::{Hash as _, sha256d};

use super::command::Command;
use super::inbox::Inbox;

/// Largest payload of a message, in bytes.
///
/// Source: Bitcoin Core, net.h, MAX_PROTOCOL_MESSAGE_LENGTH.
pub const PAYLOAD_BYTES_MAX: usize = 4_000_000;
/// A v1 header: magic, name, length of the payload, checksum.
pub(super) const V1_HEADER_BYTES: usize = 24;
/// Length field of a v2 packet.
const V2_LENGTH_BYTES: usize = bip324::NUM_LENGTH_BYTES;
/// What surrounds the contents of a v2 packet: flags and authentication tag.
const V2_AROUND_BYTES: usize = bip324::NUM_HEADER_BYTES + 16;
/// Largest contents of a v2 packet: a zero byte, a name, a payload.
const V2_CONTENTS_BYTES_MAX: usize = 1 + 12 + PAYLOAD_BYTES_MAX;

/// The stream cannot be read any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Not what the messages of the network begin with.
    #[error("a message begins with {found:02x?}, expected the network's {expected:02x?}")]
    Magic {
        /// What was found.
        found: [u8; 4],
        /// What was expected.
        expected: [u8; 4],
    },
    /// Longer than messages may be.
    #[error("a message of {found} bytes, expected at most {PAYLOAD_BYTES_MAX}")]
    TooLong {
        /// Length it claims, in bytes.
        found: usize,
    },
    /// A packet that was not encrypted with the keys of the connection.
    #[error("a packet cannot be decrypted: {0}")]
    Cipher(bip324::Error),
}

/// What was found in the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A message and its payload.
    Message(Command, &'a [u8]),
    /// A message whose checksum is wrong; the stream goes on after it.
    Damaged(Command),
}

/// Either transport. Holds the state of one connection.
pub enum Transport {
    /// Plain.
    V1(V1),
    /// Encrypted.
    V2(Box<V2>),
}

impl Transport {
    /// Plain, on the network of this magic.
    pub fn v1(magic: [u8; 4]) -> Self {
        Transport::V1(V1 { magic, inbox: Inbox::default() })
    }

    /// Encrypted, after the handshake that gave these ciphers.
    pub fn v2(inbound: InboundCipher, outbound: OutboundCipher) -> Self {
        Transport::V2(Box::new(V2 { inbound, outbound, inbox: Inbox::default(), length: None }))
    }

    /// `v1` or `v2`.
    pub fn name(&self) -> &'static str {
        match self {
            Transport::V1(_) => "v1",
            Transport::V2(_) => "v2",
        }
    }

    /// Takes bytes from the peer; [`Transport::next`] is then asked until it has no more.
    pub fn push(&mut self, arrived: &[u8]) {
        match self {
            Transport::V1(v1) => v1.inbox.push(arrived),
            Transport::V2(v2) => v2.inbox.push(arrived),
        }
    }

    /// The next message that is wanted and has arrived as a whole.
    ///
    /// # Errors
    /// When the stream cannot be read any further; the connection is of no use then.
    pub fn next(&mut self, wanted: impl Fn(Command) -> bool) -> Result<Option<Packet<'_>>, TransportError> {
        match self {
            Transport::V1(v1) => v1.next(wanted),
            Transport::V2(v2) => v2.next(wanted),
        }
    }

    /// Appends a message to what is to be sent.
    pub fn encode(&mut self, command: Command, payload: &[u8], bytes: &mut Vec<u8>) {
        match self {
            Transport::V1(v1) => encode_v1(v1.magic, command, payload, bytes),
            Transport::V2(v2) => v2.encode(command, payload, bytes),
        }
    }
}

/// The plain transport.
pub struct V1 {
    magic: [u8; 4],
    inbox: Inbox,
}

impl V1 {
    fn next(&mut self, wanted: impl Fn(Command) -> bool) -> Result<Option<Packet<'_>>, TransportError> {
        loop {
            let Some(header) = self.inbox.waiting().first_chunk::<V1_HEADER_BYTES>() else { return Ok(None) };
            let (magic, name, length, checksum) = split_header(header);
            if magic != self.magic {
                return Err(TransportError::Magic { found: magic, expected: self.magic });
            }
            if length > PAYLOAD_BYTES_MAX {
                return Err(TransportError::TooLong { found: length });
            }
            let Some(command) = Command::from_name(&name).filter(|command| wanted(*command)) else {
                self.inbox.skip(V1_HEADER_BYTES + length);
                continue;
            };
            let Some(place) = self.inbox.take(V1_HEADER_BYTES + length) else { return Ok(None) };
            let payload = &self.inbox.taken(place)[V1_HEADER_BYTES..];
            let is_whole = checksum_of(payload) == checksum;
            return Ok(Some(if is_whole {
                Packet::Message(command, payload)
            } else {
                Packet::Damaged(command)
            }));
        }
    }
}

fn split_header(header: &[u8; V1_HEADER_BYTES]) -> ([u8; 4], [u8; 12], usize, [u8; 4]) {
    let [m0, m1, m2, m3, name @ .., l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    ([m0, m1, m2, m3], name, u32::from_le_bytes([l0, l1, l2, l3]) as usize, [c0, c1, c2, c3])
}

fn checksum_of(payload: &[u8]) -> [u8; 4] {
    let [c0, c1, c2, c3, ..] = sha256d::Hash::hash(payload).to_byte_array();
    [c0, c1, c2, c3]
}

/// Appends a v1 message to `bytes`.
pub fn encode_v1(magic: [u8; 4], command: Command, payload: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&command.name_bytes());
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&checksum_of(payload));
    bytes.extend_from_slice(payload);
}

/// The encrypted transport.
pub struct V2 {
    inbound: InboundCipher,
    outbound: OutboundCipher,
    inbox: Inbox,
    /// Length of the packet that arrives. Decrypting it twice would put the cipher out of step.
    length: Option<usize>,
}

impl V2 {
    fn next(&mut self, wanted: impl Fn(Command) -> bool) -> Result<Option<Packet<'_>>, TransportError> {
        while let Some(contents) = self.decrypt()? {
            let (command, name_bytes) = read_name(self.inbox.taken(contents.clone()));
            if let Some(command) = command.filter(|command| wanted(*command)) {
                let payload = self.inbox.taken(contents.start + name_bytes..contents.end);
                return Ok(Some(Packet::Message(command, payload)));
            }
        }
        Ok(None)
    }

    /// Decrypts the next packet where it is, and says where its contents are: empty for a decoy.
    fn decrypt(&mut self) -> Result<Option<Range<usize>>, TransportError> {
        let length = match self.length {
            Some(length) => length,
            None => {
                let Some(place) = self.inbox.take(V2_LENGTH_BYTES) else { return Ok(None) };
                let encrypted = self.inbox.taken(place).try_into().expect("taken so many");
                self.inbound.decrypt_packet_len(encrypted)
            }
        };
        if length > V2_CONTENTS_BYTES_MAX + V2_AROUND_BYTES {
            return Err(TransportError::TooLong { found: length });
        }
        self.length = Some(length);
        let Some(place) = self.inbox.take(length) else { return Ok(None) };
        self.length = None;
        let packet = self.inbox.taken_mut(place.clone());
        let (kind, plain) = self.inbound.decrypt_in_place(packet, None).map_err(TransportError::Cipher)?;
        let start = place.start + bip324::NUM_HEADER_BYTES;
        Ok(Some(match kind {
            PacketType::Genuine => start..place.start + plain.len(),
            PacketType::Decoy => start..start,
        }))
    }

    fn encode(&mut self, command: Command, payload: &[u8], bytes: &mut Vec<u8>) {
        let mut contents = Vec::with_capacity(13 + payload.len());
        match command.short_id() {
            Some(id) => contents.push(id),
            None => {
                contents.push(0);
                contents.extend_from_slice(&command.name_bytes());
            }
        }
        contents.extend_from_slice(payload);
        self.encode_packet(&contents, PacketType::Genuine, bytes);
    }

    /// Appends a packet of any contents.
    pub(super) fn encode_packet(&mut self, contents: &[u8], kind: PacketType, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.outbound.encrypt_to_vec(contents, kind, None));
    }
}

/// The message type that contents begin with, and the bytes that say so.
fn read_name(contents: &[u8]) -> (Option<Command>, usize) {
    match contents {
        [] => (None, 0),
        [0, name @ ..] => match name.first_chunk() {
            Some(name) => (Command::from_name(name), 13),
            None => (None, 0),
        },
        [id, ..] => (Command::from_short_id(*id), 1),
    }
}
