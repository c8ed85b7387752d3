//! One connection to a node under attack.

use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::p2p::{Address, ServiceFlags};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::random::Random;
use super::wire;
use crate::Node;

/// Knows wtxidrelay and addrv2, and is not offered BIP 434's `feature`.
const PROTOCOL_VERSION: u32 = 70_016;
/// How long the node may take to answer or to take what is sent. A busy one is what some attacks are for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node answers a flood with as much.
const BUFFER_BYTES: usize = 1 << 18;

/// An inbound peer of the node: shakes hands, answers pings, says that it has no transaction the node asks for, and
/// leaves everything else unanswered. Disconnects when dropped.
#[derive(Debug)]
pub struct Peer {
    local: SocketAddr,
    socket: TcpStream,
    /// Shared with the thread that answers, so that messages are not mixed.
    writer: Arc<Mutex<TcpStream>>,
    heard: Arc<Heard>,
    pings_sent: AtomicU64,
    threads: Vec<JoinHandle<()>>,
}

/// What the reading thread knows of the node.
#[derive(Debug, Default)]
struct Heard {
    has_ended: AtomicBool,
    /// Nonce of the newest pong; nonces count up.
    last_pong: AtomicU64,
}

impl Peer {
    /// Connects from 127.0.0.1; panics if the node does not shake hands.
    #[track_caller]
    pub fn connect(p2p_port: u16) -> Self {
        Peer::connect_from(Ipv4Addr::LOCALHOST, p2p_port)
            .unwrap_or_else(|error| panic!("no handshake: {error}"))
    }

    /// Connects from an address of this machine in 127.0.0.0/8. Errs if the node refuses or hangs up.
    pub fn connect_from(source: Ipv4Addr, p2p_port: u16) -> io::Result<Self> {
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, p2p_port));
        assert!(target.ip().is_loopback() && source.is_loopback(), "only nodes on this machine are attacked");
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect_timeout(&target.into(), PATIENCE)?;
        let mut socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, socket.try_clone()?);
        shake_hands(&mut socket, &mut reader)?;
        socket.set_read_timeout(None)?;

        let local = socket.local_addr()?;
        let writer = Arc::new(Mutex::new(socket.try_clone()?));
        let heard = Arc::new(Heard::default());
        let (answer, answers) = channel();
        let (reading, answering) = (heard.clone(), writer.clone());
        let threads = vec![
            std::thread::spawn(move || listen(&mut reader, &reading, &answer)),
            std::thread::spawn(move || send_answers(&answers, &answering)),
        ];
        Ok(Peer { local, socket, writer, heard, pings_sent: AtomicU64::new(0), threads })
    }

    /// Sends a message; waits while the node takes none. Errs when it has hung up or takes nothing for 30 s.
    pub fn send(&self, message: NetworkMessage) -> io::Result<()> {
        self.send_frame(&wire::frame(message))
    }

    /// Sends a message that is on the wire's format already.
    pub(super) fn send_frame(&self, frame: &[u8]) -> io::Result<()> {
        self.writer.lock().expect("no writer panics").write_all(frame)
    }

    /// Sends a ping, whose answer nobody waits for.
    pub fn ping(&self) -> io::Result<()> {
        self.send_ping().map(|_| ())
    }

    fn send_ping(&self) -> io::Result<u64> {
        let nonce = self.pings_sent.fetch_add(1, Ordering::Relaxed) + 1;
        self.send(NetworkMessage::Ping(nonce))?;
        Ok(nonce)
    }

    /// How long a ping takes there and back: afterwards the node has handled all that was sent before. Errs when the
    /// node has hung up or does not answer within 30 s.
    pub fn round_trip(&self) -> io::Result<Duration> {
        let sent_at = Instant::now();
        let nonce = self.send_ping()?;
        while self.heard.last_pong.load(Ordering::Acquire) < nonce {
            if !self.is_connected() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if sent_at.elapsed() > PATIENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(sent_at.elapsed())
    }

    /// False once the node has hung up.
    pub fn is_connected(&self) -> bool {
        !self.heard.has_ended.load(Ordering::Acquire)
    }

    /// Own address and port, by which the node knows this peer.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What the node's `getpeerinfo` says of this peer; `None` when it does not list it any more.
    pub fn info(&self, node: &Node) -> Option<Value> {
        let peers = node.rpc("getpeerinfo", json!([]));
        let address = self.local.to_string();
        peers.as_array()?.iter().find(|peer| peer["addr"] == address.as_str()).cloned()
    }

    /// The node's number for this peer, which alerts have as `peer_id`; ask while it is connected.
    #[track_caller]
    pub fn id(&self, node: &Node) -> u64 {
        let info = self.info(node).expect("the node lists its peers");
        info["id"].as_u64().expect("a peer id")
    }

    /// Disconnects, as dropping does.
    pub fn close(self) {}
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It fails where the node has hung up already; the threads end either way.
        let _ = self.socket.shutdown(Shutdown::Both);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Sends and receives `version` and `verack`.
fn shake_hands(socket: &mut TcpStream, reader: &mut BufReader<TcpStream>) -> io::Result<()> {
    socket.write_all(&wire::frame(NetworkMessage::Version(version(
        socket.peer_addr()?,
        socket.local_addr()?,
    ))))?;
    loop {
        match wire::read(reader)? {
            Some(NetworkMessage::Version(_)) => {
                socket.write_all(&wire::frame(NetworkMessage::WtxidRelay))?;
                socket.write_all(&wire::frame(NetworkMessage::SendAddrV2))?;
                socket.write_all(&wire::frame(NetworkMessage::Verack))?;
            }
            Some(NetworkMessage::Verack) => return Ok(()),
            _ => {}
        }
    }
}

/// Offers witness data only: a peer that offered blocks would be asked for headers and had to answer.
fn version(receiver: SocketAddr, sender: SocketAddr) -> VersionMessage {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    VersionMessage {
        version: PROTOCOL_VERSION,
        services: ServiceFlags::WITNESS,
        timestamp: now.as_secs() as i64,
        receiver: Address::new(&receiver, ServiceFlags::NONE),
        sender: Address::new(&sender, ServiceFlags::WITNESS),
        nonce: Random::next_of_program().number(),
        user_agent: "/tocsin-attacker:0.1.0/".to_string(),
        start_height: 0,
        relay: true,
    }
}

/// Reads until the connection ends. Never writes: a node that waits for us to read would wait for ever.
fn listen(reader: &mut BufReader<TcpStream>, heard: &Heard, answer: &Sender<NetworkMessage>) {
    while let Ok(message) = wire::read(reader) {
        let reply = match message {
            Some(NetworkMessage::Ping(nonce)) => NetworkMessage::Pong(nonce),
            Some(NetworkMessage::Pong(nonce)) => {
                heard.last_pong.fetch_max(nonce, Ordering::Release);
                continue;
            }
            Some(NetworkMessage::GetData(asked)) => {
                let missing: Vec<Inventory> = asked.into_iter().filter(is_transaction).collect();
                if missing.is_empty() {
                    continue;
                }
                NetworkMessage::NotFound(missing)
            }
            _ => continue,
        };
        if answer.send(reply).is_err() {
            break;
        }
    }
    heard.has_ended.store(true, Ordering::Release);
}

fn is_transaction(entry: &Inventory) -> bool {
    matches!(entry, Inventory::Transaction(_) | Inventory::WTx(_) | Inventory::WitnessTransaction(_))
}

/// Writes what the reading thread wants answered. Few, because a node pings every two minutes and asks for at most a
/// hundred transactions at a time.
fn send_answers(answers: &Receiver<NetworkMessage>, writer: &Mutex<TcpStream>) {
    for answer in answers {
        let frame = wire::frame(answer);
        if writer.lock().expect("no writer panics").write_all(&frame).is_err() {
            return;
        }
    }
}

/// Where the peer of this number connects from: 127.0.0.2 to 127.0.0.201, in turn.
pub(super) fn source(number: usize) -> Ipv4Addr {
    const SOURCES: usize = 200;
    Ipv4Addr::new(127, 0, 0, 2 + (number % SOURCES) as u8)
}
