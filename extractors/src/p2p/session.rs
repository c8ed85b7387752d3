//! One connection as messages: what is answered, what becomes an event. Does no I/O and knows no clock.

use std::collections::VecDeque;
use std::time::Duration;

use tocsin_proto::pb::p2p_extractor::p2p::P2pEvent;
use tocsin_proto::pb::p2p_extractor::{
    AddressAnnouncement, HandshakeDone, HeaderAnnouncement, InventoryAnnouncement, PingDuration, PingPending,
};

use super::command::Command;
use super::config::Blocks;
use super::payload::{self, PayloadError};

/// The protocol version we speak: the last one without `feature` negotiation (BIP 434), of which we use
/// nothing.
const PROTOCOL: u32 = 70_016;
/// First version that knows `wtxidrelay` and `sendaddrv2`.
const PROTOCOL_WTXID: u32 = 70_016;
/// Pings that may be unanswered at a time. More would tell nothing new of a node that hangs.
const PINGS_MAX: usize = 64;

/// What a session is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Report gossiped addresses.
    pub addresses: bool,
    /// Ask for announcements of transactions.
    pub transactions: bool,
    /// Report the fee filter.
    pub fee_filter: bool,
    /// How blocks are to be announced.
    pub blocks: Blocks,
}

/// What our `version` message says that is different each time.
#[derive(Debug, Clone, Copy)]
pub struct Greeting {
    /// Our clock, in Unix seconds.
    pub time_s: i64,
    /// A random number: tells our connections apart, and makes the nonces of our pings.
    pub nonce: u64,
}

/// What came of an input.
#[derive(Debug, Default, PartialEq)]
pub struct Output {
    /// Messages to send.
    pub messages: Vec<(Command, Vec<u8>)>,
    /// What was seen.
    pub events: Vec<P2pEvent>,
    /// What could not be read, as texts; the connection goes on.
    pub errors: Vec<String>,
}

/// The handshake cannot go on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("version: {0}")]
pub struct HandshakeError(#[from] PayloadError);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Until the peer's `version`: it connected to us, so it speaks first.
    Greeting,
    /// Until the peer's `verack`.
    Verack,
    /// Ready.
    Up,
}

/// A ping that is unanswered.
#[derive(Debug, Clone, Copy)]
struct Ping {
    nonce: u64,
    sent_at: Duration,
    /// We were not listening when the pong may have come: the time until then says nothing of the node.
    is_spoiled: bool,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    greeting: Greeting,
    phase: Phase,
    peer: Option<HandshakeDone>,
    pings: VecDeque<Ping>,
    pings_sent: u64,
}

impl Session {
    /// A session that waits for the peer's `version`.
    pub fn new(settings: Settings, greeting: Greeting) -> Self {
        Session {
            settings,
            greeting,
            phase: Phase::Greeting,
            peer: None,
            pings: VecDeque::new(),
            pings_sent: 0,
        }
    }

    /// What the peer said of itself; `None` until the handshake is done. The transport is not filled in.
    pub fn handshake(&self) -> Option<&HandshakeDone> {
        self.peer.as_ref().filter(|_| self.phase == Phase::Up)
    }

    /// True for the messages that [`Session::receive`] makes something of now; others need not be given to
    /// it.
    pub fn wants(&self, command: Command) -> bool {
        match self.phase {
            Phase::Greeting => command == Command::Version,
            Phase::Verack => command == Command::Verack,
            Phase::Up => match command {
                Command::Ping | Command::Pong | Command::Inv | Command::GetData => true,
                Command::Addr | Command::AddrV2 => self.settings.addresses,
                Command::FeeFilter => self.settings.fee_filter,
                Command::Headers => self.settings.blocks != Blocks::Inventory,
                Command::CmpctBlock => self.settings.blocks == Blocks::Compact,
                _ => false,
            },
        }
    }

    /// Takes a message that arrived at `now`, the time since the connection began.
    ///
    /// # Errors
    /// If the peer's `version` cannot be read; the connection is of no use then.
    pub fn receive(
        &mut self,
        now: Duration,
        command: Command,
        payload: &[u8],
        output: &mut Output,
    ) -> Result<(), HandshakeError> {
        match (self.phase, command) {
            (Phase::Greeting, Command::Version) => self.greet(payload, output)?,
            (Phase::Verack, Command::Verack) => self.get_ready(output),
            (Phase::Up, _) if self.wants(command) => {
                if let Err(error) = self.observe(now, command, payload, output) {
                    output.errors.push(format!("{command}: {error}"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Answers `version` with all that must come before our `verack`.
    fn greet(&mut self, payload: &[u8], output: &mut Output) -> Result<(), HandshakeError> {
        let theirs = payload::version(payload)?;
        let Greeting { time_s, nonce } = self.greeting;
        let user_agent = concat!("/tocsin:", env!("CARGO_PKG_VERSION"), "/");
        let relay = u8::from(self.settings.transactions);
        let ours = payload::our_version(PROTOCOL, time_s, nonce, user_agent, relay);
        output.messages.push((Command::Version, ours));
        if theirs.version >= PROTOCOL_WTXID {
            output.messages.push((Command::WtxidRelay, Vec::new()));
            output.messages.push((Command::SendAddrV2, Vec::new()));
        }
        output.messages.push((Command::Verack, Vec::new()));
        self.phase = Phase::Verack;
        self.peer = Some(HandshakeDone {
            version: theirs.version,
            services: theirs.services,
            user_agent: theirs.user_agent,
            start_height: theirs.start_height,
            time: theirs.time_s,
            transport: String::new(),
        });
        Ok(())
    }

    fn get_ready(&mut self, output: &mut Output) {
        self.phase = Phase::Up;
        if self.settings.blocks != Blocks::Inventory {
            output.messages.push((Command::SendHeaders, Vec::new()));
        }
        if self.settings.blocks == Blocks::Compact {
            // High bandwidth (1) and version 2, see BIP 152.
            let announce = [&[1_u8], 2_u64.to_le_bytes().as_slice()].concat();
            output.messages.push((Command::SendCmpct, announce));
        }
    }

    fn observe(
        &mut self,
        now: Duration,
        command: Command,
        payload: &[u8],
        output: &mut Output,
    ) -> Result<(), PayloadError> {
        match command {
            Command::Ping => {
                output.messages.push((Command::Pong, payload::nonce(payload)?.to_le_bytes().to_vec()))
            }
            Command::Pong => self.end_ping(now, payload::nonce(payload)?, output),
            // We have nothing to give; what was asked for is said back as not found.
            Command::GetData => {
                payload::inv(payload)?;
                output.messages.push((Command::NotFound, payload.to_vec()));
            }
            Command::Addr => announce_addresses(payload::addr(payload)?, output),
            Command::AddrV2 => announce_addresses(payload::addrv2(payload)?, output),
            Command::Inv => self.announce_inventory(payload, output)?,
            Command::FeeFilter => {
                output.events.push(P2pEvent::FeefilterAnnouncement(payload::fee_filter(payload)?));
            }
            Command::Headers => {
                let headers = payload::headers(payload)?;
                // A node that is still far behind answers with none.
                if !headers.is_empty() {
                    let announcement = HeaderAnnouncement { headers, compact: false };
                    output.events.push(P2pEvent::HeaderAnnouncement(announcement));
                }
            }
            Command::CmpctBlock => {
                let headers = vec![payload::compact_block_header(payload)?];
                let announcement = HeaderAnnouncement { headers, compact: true };
                output.events.push(P2pEvent::HeaderAnnouncement(announcement));
            }
            _ => {}
        }
        Ok(())
    }

    fn announce_inventory(&self, payload: &[u8], output: &mut Output) -> Result<(), PayloadError> {
        let (inventory, last_block) = payload::inv(payload)?;
        if let Some(block) = last_block.filter(|_| self.settings.blocks != Blocks::Inventory) {
            // A node announces by headers only to peers that know the block before. Asking for this one's
            // header tells it so: the next block comes as a header. Asking for it at once after the handshake
            // would not do, as we know no block near the tip then, and the answer would be the oldest 2000
            // headers.
            output.messages.push((Command::GetHeaders, payload::get_header(PROTOCOL, block)));
        }
        if !inventory.is_empty() {
            output.events.push(P2pEvent::InventoryAnnouncement(InventoryAnnouncement { inventory }));
        }
        Ok(())
    }

    /// Every ping interval: reports pings of earlier intervals that are unanswered, and sends the next.
    pub fn tick(&mut self, now: Duration, output: &mut Output) {
        if self.phase != Phase::Up {
            return;
        }
        if let Some(oldest) = self.pings.iter().find(|ping| !ping.is_spoiled) {
            output.events.push(P2pEvent::PingPending(PingPending {
                duration: nanoseconds(now.saturating_sub(oldest.sent_at)),
                pending: self.pings.len() as u32,
            }));
        }
        if self.pings.len() < PINGS_MAX {
            self.pings_sent += 1;
            let nonce = self.greeting.nonce.wrapping_add(self.pings_sent);
            self.pings.push_back(Ping { nonce, sent_at: now, is_spoiled: false });
            output.messages.push((Command::Ping, nonce.to_le_bytes().to_vec()));
        }
    }

    /// We have not been listening for a while: pongs that come now say nothing of the node.
    pub fn spoil_pings(&mut self) {
        self.pings.iter_mut().for_each(|ping| ping.is_spoiled = true);
    }

    fn end_ping(&mut self, now: Duration, nonce: u64, output: &mut Output) {
        let Some(position) = self.pings.iter().position(|ping| ping.nonce == nonce) else {
            output.errors.push("pong: no ping of ours has its nonce".to_string());
            return;
        };
        if let Some(ping) = self.pings.remove(position).filter(|ping| !ping.is_spoiled) {
            let duration = nanoseconds(now.saturating_sub(ping.sent_at));
            output.events.push(P2pEvent::PingDuration(PingDuration { duration }));
        }
    }
}

fn announce_addresses(addresses: Vec<tocsin_proto::pb::bitcoin_primitives::Address>, output: &mut Output) {
    if !addresses.is_empty() {
        output.events.push(P2pEvent::AddressAnnouncement(AddressAnnouncement { addresses }));
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings =
        Settings { addresses: true, transactions: true, fee_filter: true, blocks: Blocks::Headers };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn commands(output: &Output) -> Vec<Command> {
        output.messages.iter().map(|(command, _)| *command).collect()
    }

    /// A session whose peer speaks `protocol`, and what it sent until it was ready.
    fn ready(settings: Settings, protocol: u32) -> (Session, Output) {
        let mut session = Session::new(settings, Greeting { time_s: 0, nonce: u64::MAX });
        let mut output = Output::default();
        let version = payload::our_version(protocol, 0, 0, "/peer/", 1);
        session.receive(seconds(0), Command::Version, &version, &mut output).expect("valid");
        session.receive(seconds(0), Command::Verack, &[], &mut output).expect("valid");
        assert!(session.handshake().is_some());
        (session, output)
    }

    fn tick(session: &mut Session, at: Duration) -> Output {
        let mut output = Output::default();
        session.tick(at, &mut output);
        output
    }

    fn receive(session: &mut Session, at: Duration, command: Command, payload: &[u8]) -> Output {
        let mut output = Output::default();
        session.receive(at, command, payload, &mut output).expect("the handshake is done");
        output
    }

    fn pending(output: &Output) -> Option<(u64, u32)> {
        output.events.iter().find_map(|event| match event {
            P2pEvent::PingPending(pending) => Some((pending.duration, pending.pending)),
            _ => None,
        })
    }

    #[test]
    fn what_must_come_before_verack_does() {
        use Command::{SendAddrV2, SendHeaders, Verack, Version, WtxidRelay};
        let (_, output) = ready(SETTINGS, 70_016);
        assert_eq!(commands(&output), [Version, WtxidRelay, SendAddrV2, Verack, SendHeaders]);
        // A node of before 2021 knows no wtxidrelay.
        let (_, output) = ready(SETTINGS, 70_015);
        assert_eq!(commands(&output), [Version, Verack, SendHeaders]);
        let (_, output) = ready(Settings { blocks: Blocks::Compact, ..SETTINGS }, 70_016);
        assert_eq!(output.messages.last(), Some(&(Command::SendCmpct, vec![1, 2, 0, 0, 0, 0, 0, 0, 0])));
    }

    #[test]
    fn nothing_is_said_or_measured_before_the_peer_has_greeted() {
        let mut session = Session::new(SETTINGS, Greeting { time_s: 0, nonce: 0 });
        for command in [Command::Verack, Command::Ping, Command::Inv, Command::FeeFilter] {
            assert_eq!(receive(&mut session, seconds(0), command, &[0; 8]), Output::default());
        }
        assert_eq!(tick(&mut session, seconds(1)), Output::default());
    }

    #[test]
    fn a_backlog_shows_while_it_grows_and_when_it_ends() {
        let (mut session, _) = ready(SETTINGS, 70_016);
        let first = tick(&mut session, seconds(1));
        assert_eq!((commands(&first), pending(&first)), (vec![Command::Ping], None));
        let second = tick(&mut session, seconds(2));
        assert_eq!(pending(&second), Some((1_000_000_000, 1)));
        assert_eq!(pending(&tick(&mut session, seconds(3))), Some((2_000_000_000, 2)));

        let pong = receive(&mut session, seconds(4), Command::Pong, &first.messages[0].1);
        assert_eq!(pong.events, [P2pEvent::PingDuration(PingDuration { duration: 3_000_000_000 })]);
        let pong = receive(&mut session, seconds(4), Command::Pong, &second.messages[0].1);
        assert_eq!(pong.events, [P2pEvent::PingDuration(PingDuration { duration: 2_000_000_000 })]);
        let again = receive(&mut session, seconds(4), Command::Pong, &second.messages[0].1);
        assert_eq!((again.events.len(), again.errors.len()), (0, 1));
        assert_eq!(pending(&tick(&mut session, seconds(5))), Some((2_000_000_000, 1)));
    }

    #[test]
    fn a_node_that_never_answers_is_sent_no_more_than_64_pings() {
        let (mut session, _) = ready(SETTINGS, 70_016);
        let outputs: Vec<Output> = (1..=1000).map(|second| tick(&mut session, seconds(second))).collect();
        assert_eq!(outputs.iter().map(|output| output.messages.len()).sum::<usize>(), PINGS_MAX);
        assert_eq!(pending(&outputs[999]), Some((999_000_000_000, 64)));
    }

    #[test]
    fn a_time_in_which_we_did_not_listen_is_not_blamed_on_the_node() {
        let (mut session, _) = ready(SETTINGS, 70_016);
        let first = tick(&mut session, seconds(1));
        session.spoil_pings();
        let second = tick(&mut session, seconds(2));
        assert_eq!(pending(&second), None);
        assert_eq!(receive(&mut session, seconds(3), Command::Pong, &first.messages[0].1), Output::default());
        let pong = receive(&mut session, seconds(3), Command::Pong, &second.messages[0].1);
        assert_eq!(pong.events, [P2pEvent::PingDuration(PingDuration { duration: 1_000_000_000 })]);
    }

    #[test]
    fn what_the_peer_asks_is_answered() {
        let (mut session, _) = ready(SETTINGS, 70_016);
        let pong = receive(&mut session, seconds(1), Command::Ping, &[7; 8]);
        assert_eq!(pong.messages, [(Command::Pong, vec![7; 8])]);
        let asked = [&[1, 1, 0, 0, 0], [7; 32].as_slice()].concat();
        let answer = receive(&mut session, seconds(1), Command::GetData, &asked);
        assert_eq!(answer.messages, [(Command::NotFound, asked)]);
    }

    #[test]
    fn the_header_of_a_block_that_came_by_hash_is_asked_for() {
        let block = [&[1, 2, 0, 0, 0], [7; 32].as_slice()].concat();
        let (mut session, _) = ready(SETTINGS, 70_016);
        let output = receive(&mut session, seconds(1), Command::Inv, &block);
        assert_eq!(commands(&output), [Command::GetHeaders]);
        assert!(output.messages[0].1.ends_with(&[7; 32]));
        let (mut session, _) = ready(Settings { blocks: Blocks::Inventory, ..SETTINGS }, 70_016);
        let output = receive(&mut session, seconds(1), Command::Inv, &block);
        assert_eq!((output.messages.len(), output.events.len()), (0, 1));
        assert!(!session.wants(Command::Headers));
    }

    #[test]
    fn what_is_not_to_be_reported_is_not_wanted() {
        let silent = Settings { addresses: false, transactions: false, fee_filter: false, ..SETTINGS };
        let (session, output) = ready(silent, 70_016);
        assert!(
            ![Command::Addr, Command::AddrV2, Command::FeeFilter].iter().any(|kind| session.wants(*kind))
        );
        // The last byte of `version` asks for transactions.
        assert_eq!(output.messages[0].1.last(), Some(&0));
    }
}
