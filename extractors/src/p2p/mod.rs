//! A peer that the node connects to (`addnode=`): how far its message handler is behind, and what it
//! announces.
//!
//! The node dials and is told nothing but what the handshake needs: we offer no services, so it asks nothing
//! of us. Both transports are spoken. Connections are bounded in number, in time and in memory, whoever is at
//! the other end.

mod command;
mod config;
mod connection;
mod conversation;
mod inbox;
mod payload;
mod seat;
mod session;
mod transport;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{self, JoinSet};
use tokio_util::sync::CancellationToken;

pub use command::Command;
pub use config::{Blocks, Config, Network};
pub use conversation::{Conversation, Reaction, Unreadable};
pub use session::{Greeting, HandshakeError, Settings};
pub use transport::{PAYLOAD_BYTES_MAX, Transport, TransportError, encode_v1};

use crate::{Backoff, Emitter};
use connection::Shared;
use seat::Seat;

/// Connections at a time. When there is one more, the oldest that is not the node's goes.
const CONNECTIONS_MAX: usize = 8;
/// After an error of `accept`, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Listens for the node until `shutdown` is cancelled.
pub async fn run(config: Config, emitter: Emitter, shutdown: CancellationToken) {
    let shared = Arc::new(Shared { config, emitter, seat: Seat::default() });
    let mut backoff = Backoff::default();
    loop {
        match TcpListener::bind(shared.config.listen).await {
            Ok(listener) => {
                shared.wait_for_node();
                let mut connections = Connections::new(shared);
                tokio::select! {
                    () = connections.accept(listener) => {}
                    () = shutdown.cancelled() => {}
                }
                return connections.end().await;
            }
            Err(error) => {
                let listen = shared.config.listen;
                shared.emitter.error(format!("p2p: cannot listen on {listen}: {error}"));
                shared.emitter.waiting(format!("{listen} to be free to listen on"));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.wait()) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// One that is being served.
struct Open {
    number: u64,
    task: task::Id,
    stop: CancellationToken,
}

/// The connections there are, oldest first.
struct Connections {
    shared: Arc<Shared>,
    open: VecDeque<Open>,
    tasks: JoinSet<()>,
    accepted: u64,
}

impl Connections {
    fn new(shared: Arc<Shared>) -> Self {
        Connections { shared, open: VecDeque::new(), tasks: JoinSet::new(), accepted: 0 }
    }

    /// Accepts connections for ever.
    async fn accept(&mut self, listener: TcpListener) {
        loop {
            tokio::select! {
                accepted = listener.accept() => self.welcome(accepted).await,
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    self.forget(ended.map_or_else(|failed| failed.id(), |(task, ())| task));
                }
            }
        }
    }

    fn forget(&mut self, task: task::Id) {
        if let Some(place) = self.open.iter().position(|connection| connection.task == task)
            && let Some(connection) = self.open.remove(place)
        {
            // It has left its seat, unless it panicked.
            self.shared.seat.leave(connection.number);
        }
    }

    async fn welcome(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                self.shared.emitter.error(format!("p2p: cannot accept a connection: {error}"));
                return tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        };
        let allow = &self.shared.config.allow;
        if !allow.is_empty() && !allow.contains(&peer.ip().to_canonical()) {
            self.shared.emitter.error(format!("p2p: {} may not connect, see `allow`", peer.ip()));
            return;
        }
        if self.open.len() >= CONNECTIONS_MAX {
            self.dismiss_one();
        }
        self.accepted += 1;
        let (number, stop) = (self.accepted, CancellationToken::new());
        let served = connection::serve(number, stream, peer, self.shared.clone(), stop.clone());
        let task = self.tasks.spawn(served).id();
        self.open.push_back(Open { number, task, stop });
    }

    /// Makes room: the oldest connection that is not the node's goes.
    fn dismiss_one(&mut self) {
        let holder = self.shared.seat.held_by();
        if let Some(place) = self.open.iter().position(|connection| Some(connection.number) != holder)
            && let Some(connection) = self.open.remove(place)
        {
            connection.stop.cancel();
            self.shared
                .emitter
                .error("p2p: too many connections; the oldest that is not the node's was closed");
        }
    }

    /// Ends them all.
    async fn end(mut self) {
        self.open.iter().for_each(|connection| connection.stop.cancel());
        while self.tasks.join_next().await.is_some() {}
    }
}
