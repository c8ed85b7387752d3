//! The I/O around a conversation: reads, writes, and lets time pass.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bip324::Role;
use bip324::io::ProtocolError;
use bitcoin::p2p::Magic;
use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::pb::p2p_extractor::p2p::P2pEvent;
use tocsin_proto::pb::p2p_extractor::{ConnectionLost, HandshakeDone, P2p};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{MissedTickBehavior, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::conversation::{Conversation, Reaction, Unreadable};
use super::seat::{Candidate, Claim, Seat};
use super::session::Greeting;
use super::transport::Transport;
use crate::Emitter;

/// Until the handshake is done. Source: Bitcoin Core gives its peers the same time (`-peertimeout`).
const HANDSHAKE_MAX: Duration = Duration::from_secs(60);
/// A peer that takes nothing from us for so long is given up. The most we send unasked is 64 pings.
const WRITE_MAX: Duration = Duration::from_secs(60);
/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;
/// When the bus kept us from listening for longer, pongs that came meanwhile would be measured wrongly.
const DEAF_MAX: Duration = Duration::from_millis(10);
/// What must be there to tell the transports apart: magic and name of the first message. A v2 peer sends 64
/// at least.
const FIRST_BYTES: usize = 16;
/// Each node needs a listener of its own: the peers cannot be told apart.
const SECOND_PEER: &str =
    "p2p: a second peer connected; nothing of it is reported while the first one is there";
/// How the first message of a v1 peer goes on after the magic.
const VERSION_NAME: &[u8; 12] = b"version\0\0\0\0\0";

/// What all connections of a listener share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) emitter: Emitter,
    pub(super) seat: Seat,
}

impl Shared {
    /// Says that the node is not there.
    pub(super) fn wait_for_node(&self) {
        let listen = self.config.listen;
        self.emitter.waiting(format!("the node to connect: bitcoin.conf needs addnode={listen}"));
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the peer closed the connection")]
    Closed,
    #[error("{0}")]
    Failed(io::Error),
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    #[error("the peer is on {}, expected {}; see `network`", network_name(*.found), network_name(*.expected))]
    OtherNetwork { found: [u8; 4], expected: [u8; 4] },
    #[error("the v2 handshake failed: {0}")]
    Cipher(bip324::Error),
    #[error("the peer closed the connection in the v2 handshake; is it on the configured network?")]
    Deserted,
    #[error("no handshake within {HANDSHAKE_MAX:?}; is the node on the configured network?")]
    NoHandshake,
    #[error("the peer took nothing for {WRITE_MAX:?}")]
    Stuck,
    #[error("a newer connection of the same machine took over")]
    Replaced,
    #[error("told to end")]
    Stopped,
}

impl End {
    /// For `connection_lost`; `None` if that is not to be said, or was said already.
    fn reason(&self) -> Option<&'static str> {
        match self {
            End::Closed => Some("closed"),
            End::Failed(_) => Some("failed"),
            End::Stuck => Some("stuck"),
            End::Replaced | End::Stopped => None,
            _ => Some("unreadable"),
        }
    }

    /// True for what is no error: it happens whenever a node stops, or somebody looks whether the port is
    /// open.
    fn is_ordinary(&self) -> bool {
        matches!(self, End::Closed | End::Replaced | End::Stopped)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match error.kind() {
            // What of these it is depends on where we were when the other side went.
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => End::Closed,
            _ => End::Failed(error),
        }
    }
}

/// Serves one connection to its end. `stop` ends it.
pub(super) async fn serve(
    id: u64,
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    // Pings are small and must not wait for company.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let now = Instant::now();
    let candidate = Candidate { id, address: peer.ip(), since: now, heard_at: now };
    let mut connection = Connection {
        shared: &shared,
        peer,
        accepted_at: now,
        handshake_until: tokio::time::Instant::now() + HANDSHAKE_MAX,
        candidate,
        standing: Standing::New,
    };
    let end = tokio::select! {
        end = connection.talk(reader, writer) => end,
        () = stop.cancelled() => End::Stopped,
    };
    if !end.is_ordinary() {
        shared.emitter.error(format!("p2p connection: {end}"));
    }
    connection.leave(&end).await;
}

/// One connection and what it knows of itself.
struct Connection<'a> {
    shared: &'a Shared,
    peer: SocketAddr,
    accepted_at: Instant,
    handshake_until: tokio::time::Instant,
    candidate: Candidate,
    standing: Standing,
}

/// What a connection is to the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Not ready yet.
    New,
    /// Ready while another one is the node's.
    Spare,
    /// The node's.
    Seated,
}

impl Connection<'_> {
    async fn talk(&mut self, reader: OwnedReadHalf, mut writer: OwnedWriteHalf) -> End {
        match timeout_at(self.handshake_until, open(self.shared.config.magic(), reader, &mut writer)).await {
            Err(_) => End::NoHandshake,
            Ok(Err(end)) => end,
            Ok(Ok((transport, first, reader))) => self.converse(transport, first, reader, writer).await,
        }
    }

    async fn converse(
        &mut self,
        transport: Transport,
        first: Vec<u8>,
        mut reader: Rest<'_>,
        mut writer: OwnedWriteHalf,
    ) -> End {
        let config = &self.shared.config;
        let mut conversation = Conversation::new(transport, config.settings(), greeting());
        let mut ticks = tokio::time::interval(config.ping_every());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = vec![0; READ_BYTES];
        let mut pending = first;
        loop {
            let mut reaction = Reaction::default();
            let now = self.accepted_at.elapsed();
            let outcome = conversation.receive(now, &pending, &mut reaction);
            if let Err(end) = self.react(&mut conversation, reaction, &mut writer).await {
                return end;
            }
            if let Err(unreadable) = outcome {
                return unreadable.into();
            }
            pending.clear();
            // Reading comes first: a pong that is here already is no unanswered ping.
            tokio::select! {
                biased;
                count = reader.read(&mut buffer) => match count {
                    Ok(0) => return End::Closed,
                    Ok(count) => pending.extend_from_slice(&buffer[..count]),
                    Err(error) => return error.into(),
                },
                () = sleep_until(self.handshake_until), if !conversation.is_up() => return End::NoHandshake,
                _ = ticks.tick() => {
                    let mut reaction = Reaction::default();
                    conversation.tick(self.accepted_at.elapsed(), &mut reaction);
                    if let Err(end) = self.react(&mut conversation, reaction, &mut writer).await {
                        return end;
                    }
                }
            }
            if !pending.is_empty() {
                self.candidate.heard_at = Instant::now();
            }
        }
    }

    /// Sends and reports what came of an input.
    async fn react(
        &mut self,
        conversation: &mut Conversation,
        reaction: Reaction,
        writer: &mut OwnedWriteHalf,
    ) -> Result<(), End> {
        if !reaction.bytes.is_empty() {
            timeout(WRITE_MAX, writer.write_all(&reaction.bytes)).await.map_err(|_| End::Stuck)??;
        }
        for error in reaction.errors {
            self.shared.emitter.error(format!("p2p message: {error}"));
        }
        let Some(handshake) = conversation.handshake() else { return Ok(()) };
        let before = Instant::now();
        if self.claim_seat(handshake).await? {
            for event in reaction.events {
                self.emit(event).await;
            }
        }
        if before.elapsed() > DEAF_MAX {
            conversation.spoil_pings();
        }
        Ok(())
    }

    /// True if this connection is the node's.
    async fn claim_seat(&mut self, handshake: HandshakeDone) -> Result<bool, End> {
        let now = Instant::now();
        if self.standing == Standing::New {
            self.candidate.since = now;
        }
        match self.shared.seat.claim(self.candidate, now) {
            Claim::Held => return Ok(true),
            Claim::Occupied if self.standing == Standing::Seated => return Err(End::Replaced),
            Claim::Occupied => {
                if self.standing == Standing::New {
                    self.shared.emitter.error(SECOND_PEER);
                }
                self.standing = Standing::Spare;
                return Ok(false);
            }
            Claim::Taken => {}
            Claim::TakenFrom(gone) => {
                let lasted = now.saturating_duration_since(gone.since).as_secs_f64();
                let lost = ConnectionLost { reason: "replaced".to_string(), lasted };
                self.emit(P2pEvent::ConnectionLost(lost)).await;
            }
        }
        self.standing = Standing::Seated;
        let HandshakeDone { user_agent, transport, .. } = &handshake;
        self.shared.emitter.up(format!("{} {user_agent:?} over {transport}", self.peer));
        self.emit(P2pEvent::HandshakeDone(handshake)).await;
        Ok(true)
    }

    /// Gives the seat up and says so.
    async fn leave(&self, end: &End) {
        if self.shared.seat.held_by() != Some(self.candidate.id) {
            return;
        }
        // Said before the seat is free, so that it cannot come after the next one's handshake.
        if let Some(reason) = end.reason() {
            let lasted = self.candidate.since.elapsed().as_secs_f64();
            let lost = ConnectionLost { reason: reason.to_string(), lasted };
            self.emit(P2pEvent::ConnectionLost(lost)).await;
            self.shared.wait_for_node();
        }
        self.shared.seat.leave(self.candidate.id);
    }

    async fn emit(&self, event: P2pEvent) {
        self.shared.emitter.emit(PeerObserverEvent::P2p(P2p { p2p_event: Some(event) })).await;
    }
}

/// Where the rest of a connection is read from.
type Rest<'a> = Box<dyn AsyncRead + Unpin + Send + 'a>;

/// Finds out the transport; returns it with the bytes that were read and are the conversation's.
async fn open<'a, R, W>(
    magic: [u8; 4],
    mut reader: R,
    writer: &mut W,
) -> Result<(Transport, Vec<u8>, Rest<'a>), End>
where
    R: AsyncRead + Unpin + Send + 'a,
    W: AsyncWrite + Unpin,
{
    let mut first = [0; FIRST_BYTES];
    reader.read_exact(&mut first).await?;
    let (found, name) = first.split_first_chunk::<4>().expect("16 bytes");
    if name == VERSION_NAME {
        if *found != magic {
            return Err(End::OtherNetwork { found: *found, expected: magic });
        }
        return Ok((Transport::v1(magic), first.to_vec(), Box::new(reader)));
    }
    let reader = io::Cursor::new(first).chain(reader);
    match bip324::futures::handshake(magic, Role::Responder, None, None, reader, writer).await {
        Ok((inbound, outbound, reader)) => {
            Ok((Transport::v2(inbound, outbound), Vec::new(), Box::new(reader)))
        }
        Err(ProtocolError::Internal(error)) => Err(End::Cipher(error)),
        Err(ProtocolError::Io(error, _)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(End::Deserted)
        }
        Err(ProtocolError::Io(error, _)) => Err(End::Failed(error)),
    }
}

/// The network whose messages begin so.
fn network_name(magic: [u8; 4]) -> String {
    let magic = Magic::from_bytes(magic);
    bitcoin::Network::try_from(magic)
        .map_or_else(|_| format!("an unknown network ({magic:x})"), |network| network.to_string())
}

fn greeting() -> Greeting {
    use std::hash::{BuildHasher, RandomState};
    Greeting {
        time_s: (crate::now_ms() / 1000) as i64,
        // Its keys are random: good enough for what need only be different.
        nonce: RandomState::new().hash_one(0_u8),
    }
}
