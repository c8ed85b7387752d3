//! One connection to bitcoin-node's IPC socket, from the handshake to its end.
//!
//! Whatever the other side sends, it costs bounded memory and no panic gets past the connection: Cap'n Proto's protocol
//! runs in a task of its own, and when that ends, for whatever reason, so does every call.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use capnp::ErrorKind;
use capnp::message::ReaderOptions;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{RpcSystem, twoparty};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::compat::{TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};
use tokio_util::sync::CancellationToken;

use super::answers::Unreadable;
use super::node_capnp::{context, init, mining, rpc, thread, thread_map};
use super::ration::{Ration, Rationed};

/// Depth of pointers in an answer: an envelope of the protocol and a struct in a struct.
const NESTING_MAX: i32 = 16;
/// Bytes the other side may send before it has answered anything; it takes a hundred.
const HANDSHAKE_BYTES: usize = 1 << 14;
/// Characters of an error's text that are kept: it comes from the other side.
const TEXT_MAX: usize = 200;

/// Why the node was not read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum Failure {
    /// There is no socket, or nobody listens at it.
    #[error("a node at the IPC socket {0}")]
    Absent(String),
    /// The socket is there and cannot be used.
    #[error("the IPC socket cannot be opened: {0}")]
    Unusable(String),
    /// Whoever listens does not speak the protocol.
    #[error("no IPC handshake: {0}")]
    NoHandshake(String),
    /// The connection ended.
    #[error("the node closed the IPC connection")]
    Closed,
    /// What was sent breaks the protocol.
    #[error("the IPC connection broke: {0}")]
    Broken(String),
    /// No answer came in this time.
    #[error("no answer to {0} over IPC within {1:?}")]
    Unanswered(&'static str, Duration),
    /// The node answered with an error.
    #[error("{0} failed: {1}")]
    Refused(&'static str, String),
    /// The node does not know this method.
    #[error("the node has no method {0}")]
    Unknown(&'static str),
    /// The node is too old.
    #[error("this node has no {0} interface; it needs {1} or later")]
    Missing(&'static str, &'static str),
    /// An answer that is none.
    #[error("the answer to {0}: {1}")]
    Unreadable(&'static str, Unreadable),
}

impl Failure {
    /// True if the node is merely not there, which is no error.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Failure::Absent(_) | Failure::Closed | Failure::Missing(..))
    }

    /// A method that makes an interface is unknown: the interface is missing, which came with version `since`.
    fn or_missing(self, interface: &'static str, since: &'static str) -> Failure {
        match self {
            Failure::Unknown(_) => Failure::Missing(interface, since),
            other => other,
        }
    }
}

/// How much a connection may carry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of one message from the node.
    pub(super) message_bytes: usize,
    /// How long the handshake may take.
    pub(super) handshake: Duration,
}

/// The Mining interface of one version of the node.
pub(super) struct Mining {
    /// Its methods.
    pub(super) client: mining::Client,
    /// Bits of the default that the schema gives the timeout of `waitTipChanged`.
    timeout_default: u64,
}

impl Mining {
    /// What a timeout is on the wire.
    pub(super) fn timeout(&self, timeout: Duration) -> u64 {
        (timeout.as_secs_f64() * 1000.0).to_bits() ^ self.timeout_default
    }
}

/// A connection that has begun. Calls on it end with it.
pub(super) struct Connection {
    init: init::Client,
    threads: thread_map::Client,
    ration: Ration,
    ended: CancellationToken,
    system: JoinHandle<()>,
    broken_by: Rc<RefCell<Option<String>>>,
}

impl Connection {
    /// Connects and greets. Must run in a `LocalSet`.
    pub(super) async fn open(socket: &Path, limits: Limits) -> Result<Self, Failure> {
        let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Failure::Absent(format!("{}: {error}", socket.display()))
            }
            _ => Failure::Unusable(format!("{}: {error}", socket.display())),
        })?;
        let (reader, writer) = stream.into_split();
        // Two messages of the largest kind may come before the first is taken.
        let ration = Ration::new(HANDSHAKE_BYTES, limits.message_bytes.saturating_mul(2));
        let network = twoparty::VatNetwork::new(
            Rationed::new(reader, ration.clone()).compat(),
            writer.compat_write(),
            Side::Client,
            ReaderOptions {
                traversal_limit_in_words: Some(limits.message_bytes / 8),
                nesting_limit: NESTING_MAX,
            },
        );
        let mut system = RpcSystem::new(Box::new(network), None);
        let init: init::Client = system.bootstrap(Side::Server);
        let ended = CancellationToken::new();
        let broken_by = Rc::new(RefCell::new(None));
        let system = tokio::task::spawn_local({
            // Dropped at the end and on a panic alike.
            let (guard, broken_by) = (ended.clone().drop_guard(), broken_by.clone());
            async move {
                let _guard = guard;
                if let Err(error) = system.await {
                    *broken_by.borrow_mut() = Some(text_of(&error));
                }
            }
        });
        let threads = init.construct_request().send().pipeline.get_thread_map();
        let connection = Connection { init, threads, ration, ended, system, broken_by };
        connection
            .greet(limits.handshake)
            .await
            .map_err(|failure| Failure::NoHandshake(failure.to_string()))?;
        Ok(connection)
    }

    /// Whoever answers this speaks the protocol.
    async fn greet(&self, patience: Duration) -> Result<(), Failure> {
        let greeting = self.call("construct", self.init.construct_request().send().promise);
        match tokio::time::timeout(patience, greeting).await {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(Failure::Unanswered("construct", patience)),
        }
    }

    /// Waits for a call's answer or the connection's end.
    pub(super) async fn call<T>(
        &self,
        method: &'static str,
        answer: impl Future<Output = Result<T, capnp::Error>>,
    ) -> Result<T, Failure> {
        let outcome = tokio::select! {
            biased;
            outcome = answer => outcome,
            () = self.ended.cancelled() => return Err(self.end()),
        };
        self.ration.refill();
        match outcome {
            Ok(answer) => Ok(answer),
            Err(error) if error.kind == ErrorKind::Unimplemented => Err(Failure::Unknown(method)),
            Err(error) if error.kind == ErrorKind::Disconnected => Err(self.end()),
            Err(error) => Err(Failure::Refused(method, text_of(&error))),
        }
    }

    fn end(&self) -> Failure {
        match &*self.broken_by.borrow() {
            Some(why) => Failure::Broken(why.clone()),
            None => Failure::Closed,
        }
    }

    /// True once nothing more will come.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// A thread of the server; it runs one call at a time.
    pub(super) async fn make_thread(&self, name: &str) -> Result<thread::Client, Failure> {
        let mut request = self.threads.make_thread_request();
        request.get().set_name(name);
        let answer = self.call("makeThread", request.send().promise).await?;
        let made = answer.get().and_then(|answer| answer.get_result());
        made.map_err(|error| Failure::Unreadable("makeThread", error.into()))
    }

    /// The Mining interface. Answered once the node's chain state is loaded.
    pub(super) async fn mining(&self, thread: &thread::Client) -> Result<Mining, Failure> {
        let mut request = self.init.make_mining_request();
        set_thread(request.get().init_context(), thread);
        let made = match self.call("makeMining", request.send().promise).await {
            Err(Failure::Unknown(_)) => return self.mining_before_v31(thread).await,
            answer => answer?.get().and_then(|answer| answer.get_result()),
        };
        let client = made.map_err(|error| Failure::Unreadable("makeMining", error.into()))?;
        Ok(Mining { client, timeout_default: f64::MAX.to_bits() })
    }

    async fn mining_before_v31(&self, thread: &thread::Client) -> Result<Mining, Failure> {
        let mut request = self.init.make_mining_old_request();
        set_thread(request.get().init_context(), thread);
        let answer = self.call("makeMining", request.send().promise).await;
        let answer = answer.map_err(|failure| failure.or_missing("Mining", "v29"))?;
        let made = answer.get().and_then(|answer| answer.get_result());
        let client = made.map_err(|error| Failure::Unreadable("makeMining", error.into()))?;
        Ok(Mining { client, timeout_default: 0 })
    }

    /// The Rpc interface.
    pub(super) async fn rpc(&self, thread: &thread::Client) -> Result<rpc::Client, Failure> {
        let mut request = self.init.make_rpc_request();
        set_thread(request.get().init_context(), thread);
        let answer = self.call("makeRpc", request.send().promise).await;
        let answer = answer.map_err(|failure| failure.or_missing("Rpc", "v31.99"))?;
        let made = answer.get().and_then(|answer| answer.get_result());
        made.map_err(|error| Failure::Unreadable("makeRpc", error.into()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.system.abort();
    }
}

/// Says on which thread of the server a call runs.
pub(super) fn set_thread(mut context: context::Builder<'_>, thread: &thread::Client) {
    context.set_thread(thread.clone());
}

/// What an error says: the beginning, on one line, since the other side may have written it.
fn text_of(error: &capnp::Error) -> String {
    let text = if error.extra.is_empty() { error.kind.to_string() } else { error.extra.clone() };
    text.chars().take(TEXT_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
