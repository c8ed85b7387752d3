//! One connection as bytes: bytes in, bytes and events out. A transport and a session, no I/O, no clock.

use std::time::Duration;

use tocsin_proto::pb::p2p_extractor::HandshakeDone;
use tocsin_proto::pb::p2p_extractor::p2p::P2pEvent;

use super::session::{Greeting, HandshakeError, Output, Session, Settings};
use super::transport::{Packet, Transport, TransportError};

/// Why a conversation is over. What was seen before it counts.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The stream cannot be read any further.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The greeting cannot be read.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

/// What came of an input.
#[derive(Debug, Default, PartialEq)]
pub struct Reaction {
    /// Bytes to send.
    pub bytes: Vec<u8>,
    /// What was seen.
    pub events: Vec<P2pEvent>,
    /// What could not be read, as texts; the connection goes on.
    pub errors: Vec<String>,
}

/// The state of one connection.
pub struct Conversation {
    transport: Transport,
    session: Session,
}

impl Conversation {
    /// Begins a conversation with a peer that connected to us.
    pub fn new(transport: Transport, settings: Settings, greeting: Greeting) -> Self {
        Conversation { transport, session: Session::new(settings, greeting) }
    }

    /// What the peer said of itself; `None` until the handshake is done.
    pub fn handshake(&self) -> Option<HandshakeDone> {
        let transport = self.transport.name().to_string();
        self.session.handshake().map(|peer| HandshakeDone { transport, ..peer.clone() })
    }

    /// True once the handshake is done.
    pub fn is_up(&self) -> bool {
        self.session.handshake().is_some()
    }

    /// Takes bytes that arrived at `now`, the time since the connection began.
    ///
    /// # Errors
    /// If the conversation is over; the reaction holds what was seen before.
    pub fn receive(
        &mut self,
        now: Duration,
        bytes: &[u8],
        reaction: &mut Reaction,
    ) -> Result<(), Unreadable> {
        let mut output = Output::default();
        self.transport.push(bytes);
        let ended = loop {
            match self.transport.next(|command| self.session.wants(command)) {
                Ok(Some(Packet::Message(command, payload))) => {
                    if let Err(error) = self.session.receive(now, command, payload, &mut output) {
                        break Err(error.into());
                    }
                }
                Ok(Some(Packet::Damaged(command))) => {
                    output.errors.push(format!("{command}: its checksum is wrong"));
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            }
        };
        self.send(output, reaction);
        ended
    }

    /// Every ping interval.
    pub fn tick(&mut self, now: Duration, reaction: &mut Reaction) {
        let mut output = Output::default();
        self.session.tick(now, &mut output);
        self.send(output, reaction);
    }

    /// See [`Session::spoil_pings`].
    pub fn spoil_pings(&mut self) {
        self.session.spoil_pings();
    }

    fn send(&mut self, output: Output, reaction: &mut Reaction) {
        for (command, payload) in output.messages {
            self.transport.encode(command, &payload, &mut reaction.bytes);
        }
        reaction.events.extend(output.events);
        reaction.errors.extend(output.errors);
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use bip324::{GarbageResult, Handshake, Initialized, ReceivedKey, Role, VersionResult};
    use proptest::prelude::*;
    use proptest::sample::Index;
    use tocsin_proto::pb::event::Event;
    use tocsin_proto::pb::event::event::PeerObserverEvent;
    use tocsin_proto::pb::p2p_extractor::P2p;

    use super::*;
    use crate::p2p::command::Command;
    use crate::p2p::config::Blocks;
    use crate::p2p::transport::{PAYLOAD_BYTES_MAX, encode_v1};

    const REGTEST: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];
    /// The nonce the recordings were made with: their pongs answer the ping after it.
    const GREETING: Greeting = Greeting { time_s: 1_700_000_000, nonce: 0x0102_0304_0506_0708 };
    const SETTINGS: Settings =
        Settings { addresses: true, transactions: true, fee_filter: true, blocks: Blocks::Headers };

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/extract/p2p")
    }

    fn recorded(name: &str) -> Vec<u8> {
        std::fs::read(folder().join(name)).expect("a recording")
    }

    /// What came of a stream.
    #[derive(Debug, Default, PartialEq)]
    struct Outcome {
        reaction: Reaction,
        handshake: Option<HandshakeDone>,
        ended: Option<Unreadable>,
    }

    /// Gives `stream` to a conversation, one byte at a time until the handshake is done and one ping is sent,
    /// then in parts as long as `parts` says, over and over.
    fn converse(transport: Transport, stream: &[u8], parts: &[usize]) -> Outcome {
        let mut conversation = Conversation::new(transport, SETTINGS, GREETING);
        let mut outcome = Outcome::default();
        let (mut rest, mut lengths) = (stream, parts.iter().cycle());
        while !rest.is_empty() && outcome.ended.is_none() {
            let was_up = conversation.is_up();
            let length = if was_up { *lengths.next().expect("endless") } else { 1 };
            let (part, later) = rest.split_at(length.min(rest.len()));
            rest = later;
            let received = conversation.receive(Duration::from_millis(1500), part, &mut outcome.reaction);
            outcome.ended = received.err();
            if conversation.is_up() && !was_up {
                conversation.tick(Duration::from_secs(1), &mut outcome.reaction);
            }
        }
        outcome.handshake = conversation.handshake();
        outcome
    }

    #[track_caller]
    fn check_recording(name: &str) {
        let outcome = converse(Transport::v1(REGTEST), &recorded(&format!("{name}.bin")), &[usize::MAX]);
        assert_eq!((&outcome.ended, outcome.reaction.errors.as_slice()), (&None, [].as_slice()));
        let handshake = outcome.handshake.map(P2pEvent::HandshakeDone);
        let events: Vec<Event> = handshake
            .into_iter()
            .chain(outcome.reaction.events)
            .map(|event| Event {
                timestamp: 1_700_000_000_000,
                peer_observer_event: Some(PeerObserverEvent::P2p(P2p { p2p_event: Some(event) })),
                ..Event::default()
            })
            .collect();
        tocsin_testing::expect_events(&folder().join(format!("{name}.json")), &events);
    }

    #[test]
    fn a_fresh_node_announces_its_first_blocks_and_a_transaction() {
        check_recording("fresh_node");
    }

    #[test]
    fn a_synced_node_names_its_fees_its_address_and_gossip_of_every_network() {
        check_recording("synced_node");
    }

    /// The two ends of an encrypted connection after its handshake: the one that dialled, and ours.
    fn encrypted() -> (Transport, Transport) {
        let begin = |role| {
            let mut key = [0; 64];
            let handshake = Handshake::<Initialized>::new(REGTEST, role).expect("a key");
            let handshake = handshake.send_key(None, &mut key).expect("fits");
            (handshake, key)
        };
        let ((dialler, dialler_key), (ours, our_key)) = (begin(Role::Initiator), begin(Role::Responder));
        let finish = |handshake: Handshake<bip324::SentKey<'_>>, their_key| {
            let mut version = vec![0; Handshake::<ReceivedKey<'_>>::send_version_len(None)];
            let handshake = handshake.receive_key(their_key).expect("a key");
            (handshake.send_version(&mut version, None).expect("fits"), version)
        };
        let (dialler, from_dialler) = finish(dialler, our_key);
        let (ours, from_us) = finish(ours, dialler_key);
        let agree = |handshake: Handshake<bip324::SentVersion>, theirs: &[u8]| {
            let Ok(GarbageResult::FoundGarbage { mut handshake, consumed_bytes }) =
                handshake.receive_garbage(theirs)
            else {
                panic!("no terminator")
            };
            let (length, packet) = theirs[consumed_bytes..].split_first_chunk().expect("a packet");
            assert_eq!(handshake.decrypt_packet_len(*length), Ok(packet.len()));
            let Ok(VersionResult::Complete { cipher }) = handshake.receive_version(&mut packet.to_vec())
            else {
                panic!("no version")
            };
            let (inbound, outbound) = cipher.into_split();
            Transport::v2(inbound, outbound)
        };
        (agree(dialler, &from_us), agree(ours, &from_dialler))
    }

    /// The messages of a recording that we know, encrypted, and our end of the connection.
    fn encrypt(stream: &[u8]) -> (Vec<u8>, Transport) {
        let (mut dialler, ours) = encrypted();
        let (mut plain, mut bytes) = (Transport::v1(REGTEST), Vec::new());
        plain.push(stream);
        while let Some(Packet::Message(command, payload)) = plain.next(|_| true).expect("whole") {
            dialler.encode(command, payload, &mut bytes);
        }
        (bytes, ours)
    }

    #[test]
    fn both_transports_carry_the_same_whatever_the_parts_they_arrive_in() {
        let stream = recorded("fresh_node.bin");
        let whole = converse(Transport::v1(REGTEST), &stream, &[usize::MAX]);
        assert_eq!(converse(Transport::v1(REGTEST), &stream, &[1]), whole);
        assert!(whole.reaction.events.len() > 40);
        for parts in [[1, 1], [3, 17], [usize::MAX, 1]] {
            let (bytes, ours) = encrypt(&stream);
            let outcome = converse(ours, &bytes, &parts);
            assert_eq!(outcome.reaction.events, whole.reaction.events);
            assert_eq!((outcome.ended, outcome.reaction.errors), (None, Vec::new()));
            assert_eq!(outcome.handshake.map(|handshake| handshake.transport), Some("v2".to_string()));
        }
    }

    #[test]
    fn a_changed_packet_ends_an_encrypted_conversation() {
        let (mut bytes, ours) = encrypt(&recorded("fresh_node.bin"));
        // The third byte of the first packet's length makes it longer than messages may be; the tenth is
        // contents.
        bytes[9] ^= 1;
        let outcome = converse(ours, &bytes, &[100]);
        assert!(
            matches!(outcome.ended, Some(Unreadable::Transport(TransportError::Cipher(_)))),
            "{outcome:?}"
        );
        let (mut bytes, ours) = encrypt(&recorded("fresh_node.bin"));
        bytes[2] ^= 0x80;
        let outcome = converse(ours, &bytes, &[100]);
        assert!(
            matches!(outcome.ended, Some(Unreadable::Transport(TransportError::TooLong { .. }))),
            "{outcome:?}"
        );
    }

    #[test]
    fn decoys_and_unknown_packets_are_skipped() {
        let (mut dialler, mut ours) = encrypted();
        let Transport::V2(sender) = &mut dialler else { panic!("v2") };
        let mut bytes = Vec::new();
        for (contents, kind) in [
            (vec![18; 9], bip324::PacketType::Decoy),
            (vec![], bip324::PacketType::Genuine),
            (vec![200, 1, 2], bip324::PacketType::Genuine),
            (vec![0, 1, 2], bip324::PacketType::Genuine),
            (b"\0nonsense\0\0\0\0".to_vec(), bip324::PacketType::Genuine),
        ] {
            sender.encode_packet(&contents, kind, &mut bytes);
        }
        dialler.encode(Command::Ping, &[7; 8], &mut bytes);
        ours.push(&bytes);
        assert_eq!(ours.next(|_| true), Ok(Some(Packet::Message(Command::Ping, &[7; 8]))));
        assert_eq!(ours.next(|_| true), Ok(None));
    }

    /// A stream whose handshake is that of the recording, and what follows it.
    fn after_handshake(what: &[u8]) -> Outcome {
        let mut stream = Vec::new();
        let recording = recorded("fresh_node.bin");
        stream.extend_from_slice(&recording[..24 * 4 + 103]);
        stream.extend_from_slice(what);
        let outcome = converse(Transport::v1(REGTEST), &stream, &[7]);
        assert!(outcome.handshake.is_some());
        outcome
    }

    fn message(command: Command, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_v1(REGTEST, command, payload, &mut bytes);
        bytes
    }

    #[test]
    fn a_wrong_checksum_costs_one_message() {
        let fee = 1000_i64.to_le_bytes();
        let mut damaged = message(Command::FeeFilter, &fee);
        damaged[30] ^= 1;
        damaged.extend(message(Command::FeeFilter, &fee));
        let outcome = after_handshake(&damaged);
        assert_eq!(outcome.reaction.errors, ["feefilter: its checksum is wrong"]);
        assert_eq!(outcome.reaction.events, [P2pEvent::FeefilterAnnouncement(1000)]);
        assert_eq!(outcome.ended, None);
    }

    #[test]
    fn a_malformed_payload_costs_one_message() {
        let odd = [message(Command::Inv, &[5, 1]), message(Command::FeeFilter, &[1; 8])].concat();
        let outcome = after_handshake(&odd);
        assert_eq!(outcome.reaction.errors, ["inv: the payload ends early or is malformed"]);
        assert_eq!(outcome.reaction.events.len(), 1);
    }

    #[test]
    fn a_message_that_is_not_wanted_passes_without_being_checked_or_held() {
        let mut unwanted = message(Command::Version, &[1; 1000]);
        unwanted[20] ^= 1;
        unwanted.extend(message(Command::FeeFilter, &[0; 8]));
        let outcome = after_handshake(&unwanted);
        assert_eq!((outcome.reaction.errors.len(), outcome.reaction.events.len()), (0, 1));
    }

    #[test]
    fn a_wrong_beginning_or_length_ends_the_conversation() {
        let outcome = after_handshake(&[0; 24]);
        let magic = TransportError::Magic { found: [0; 4], expected: REGTEST };
        assert_eq!(outcome.ended, Some(Unreadable::Transport(magic)));
        let mut long = message(Command::Inv, &[]);
        long[16..20].copy_from_slice(&(PAYLOAD_BYTES_MAX as u32 + 1).to_le_bytes());
        let outcome = after_handshake(&long);
        let too_long = TransportError::TooLong { found: PAYLOAD_BYTES_MAX + 1 };
        assert_eq!(outcome.ended, Some(Unreadable::Transport(too_long)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_change_of_a_stream_makes_it_panic_or_depend_on_its_parts(
            changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..8),
            cut in any::<Index>(),
            parts in proptest::collection::vec(1..400_usize, 1..8),
        ) {
            let mut stream = recorded("fresh_node.bin");
            for (place, byte) in changes {
                let place = place.index(stream.len());
                stream[place] = byte;
            }
            stream.truncate(cut.index(stream.len()) + 1);
            let whole = converse(Transport::v1(REGTEST), &stream, &[usize::MAX]);
            prop_assert_eq!(converse(Transport::v1(REGTEST), &stream, &parts), whole);
        }

        #[test]
        fn no_payload_with_a_right_checksum_makes_a_conversation_panic(
            command in proptest::sample::select(Command::all().collect::<Vec<_>>()),
            payload in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            prop_assert_eq!(after_handshake(&message(command, &payload)).ended, None);
        }

        #[test]
        fn noise_over_encryption_gives_no_event(noise in proptest::collection::vec(any::<u8>(), 64..200)) {
            let (_, ours) = encrypted();
            // A length that is within bounds waits for more than there is, or fails its tag; none gives an
            // event.
            let outcome = converse(ours, &noise, &[10]);
            prop_assert_eq!(outcome.reaction, Reaction::default());
        }
    }
}
