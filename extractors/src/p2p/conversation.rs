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
