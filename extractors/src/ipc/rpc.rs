//! JSON-RPC over the node's IPC socket: no port, no password, and no place in the queue of the HTTP workers.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::answers::response;
use super::connection::{Connection, Failure, Limits, set_thread};
use super::local;
use super::node_capnp::{rpc, thread};

/// The interface's only method.
const METHOD: &str = "executeRpc";
/// The name our calls go by, for a node that has -rpcwhitelist.
const USER: &str = "tocsin";
/// The endpoint that belongs to no wallet.
const URI: &str = "/";
/// Bytes of one answer, a little more than its text.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Calls under way at once, each on a thread of the node: as many as bitcoind has for HTTP (-rpcthreads).
const CALLS_MAX: usize = 16;
/// Calls that wait for a place.
const QUEUE_MAX: usize = 1024;
/// How long the handshake, and the way to the interface, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a caller waits, for a place and for the answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// A call that nobody waits for any more keeps its place, so that a node that hangs is not given ever more work. After
/// this time the connection is given up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);

/// Calls JSON-RPC methods over a node's IPC socket. Connects at the first call, and again whenever it must.
#[derive(Debug)]
pub struct IpcRpc {
    socket: PathBuf,
    /// To the thread, once there is one.
    calls: Mutex<Option<mpsc::Sender<Pending>>>,
}

/// A request and where its answer goes.
struct Pending {
    request: String,
    answer: oneshot::Sender<Result<String, Failure>>,
}

impl IpcRpc {
    /// For the node with this socket. Does nothing yet.
    pub fn new(socket: PathBuf) -> Self {
        IpcRpc { socket, calls: Mutex::new(None) }
    }

    /// Executes one JSON-RPC request and returns the response, both as JSON text. Up to 16 run at once, others wait.
    ///
    /// # Errors
    ///
    /// No node, no answer within two minutes, an answer of more than 64 MiB, or a node before 31.99, which has no such
    /// interface. An error the method returns is part of the response.
    pub async fn execute(&self, request: String) -> Result<String, String> {
        let (answer, answered) = oneshot::channel();
        let calls = self.calls()?;
        let execution = async {
            calls.send(Pending { request, answer }).await.map_err(|_| LOST)?;
            answered.await.map_err(|_| LOST)?.map_err(|failure| failure.to_string())
        };
        let waited = timeout(CALL_TIMEOUT, execution).await;
        waited.unwrap_or_else(|_| Err(Failure::Unanswered(METHOD, CALL_TIMEOUT).to_string()))
    }

    /// The way to the thread, which is started if there is none.
    fn calls(&self) -> Result<mpsc::Sender<Pending>, String> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(calls) = calls.as_ref().filter(|calls| !calls.is_closed()) {
            return Ok(calls.clone());
        }
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let socket = self.socket.clone();
        local::spawn("ipc-rpc", move || serve(socket, receiver))
            .map_err(|error| format!("no thread for IPC: {error}"))?;
        *calls = Some(sender.clone());
        Ok(sender)
    }
}

/// The thread ended before the answer came; the next call starts another.
const LOST: &str = "the IPC connection was lost";

/// Takes calls until the other side is dropped, and runs each in a task.
async fn serve(socket: PathBuf, mut calls: mpsc::Receiver<Pending>) {
    let places = Arc::new(Semaphore::new(CALLS_MAX));
    let pool = Rc::new(Pool { socket, link: AsyncMutex::new(None) });
    while let Some(Pending { request, answer }) = calls.recv().await {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        // Whoever asked may have gone while this waited for a place.
        if answer.is_closed() {
            continue;
        }
        let pool = pool.clone();
        tokio::task::spawn_local(async move {
            let _ = answer.send(pool.execute(&request).await);
            drop(place);
        });
    }
}

/// The connection of the moment, if any.
struct Pool {
    socket: PathBuf,
    /// Locked while connecting, so that calls share the outcome.
    link: AsyncMutex<Option<Rc<Link>>>,
}

impl Pool {
    async fn execute(&self, request: &str) -> Result<String, Failure> {
        let link = self.link().await?;
        match timeout(GIVE_UP_AFTER, link.execute(request)).await {
            Ok(answer) => answer,
            Err(_) => {
                self.link.lock().await.take_if(|current| Rc::ptr_eq(current, &link));
                Err(Failure::Unanswered(METHOD, GIVE_UP_AFTER))
            }
        }
    }

    async fn link(&self) -> Result<Rc<Link>, Failure> {
        let mut link = self.link.lock().await;
        if let Some(link) = link.as_ref().filter(|link| !link.connection.has_ended()) {
            return Ok(link.clone());
        }
        *link = None;
        let opened = timeout(CONNECT_TIMEOUT, Link::open(&self.socket)).await;
        let opened = opened.map_err(|_| Failure::Unanswered("makeRpc", CONNECT_TIMEOUT))?;
        Ok(link.insert(Rc::new(opened?)).clone())
    }
}

/// A connection with its Rpc interface.
struct Link {
    connection: Connection,
    rpc: rpc::Client,
    /// Threads of the node that run no call.
    idle: RefCell<Vec<thread::Client>>,
}

impl Link {
    async fn open(socket: &Path) -> Result<Self, Failure> {
        let limits = Limits { message_bytes: ANSWER_BYTES_MAX, handshake: CONNECT_TIMEOUT };
        let connection = Connection::open(socket, limits).await?;
        let thread = connection.make_thread("tocsin-rpc").await?;
        let rpc = connection.rpc(&thread).await?;
        Ok(Link { connection, rpc, idle: RefCell::new(vec![thread]) })
    }

    async fn execute(&self, request: &str) -> Result<String, Failure> {
        let idle = self.idle.borrow_mut().pop();
        let thread = match idle {
            Some(thread) => thread,
            None => self.connection.make_thread("tocsin-rpc").await?,
        };
        let mut call = self.rpc.execute_rpc_request();
        let mut parameters = call.get();
        set_thread(parameters.reborrow().init_context(), &thread);
        parameters.set_request(request);
        parameters.set_uri(URI);
        parameters.set_user(USER);
        let answer = self.connection.call(METHOD, call.send().promise).await;
        self.idle.borrow_mut().push(thread);
        let text = answer?.get().map_err(Into::into).and_then(response);
        text.map_err(|error| Failure::Unreadable(METHOD, error))
    }
}
