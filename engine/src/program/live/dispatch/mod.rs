//! The thread of dispatch: alert changes and requests in, stored decisions out, and the tasks that deliver them.
//!
//! The thread owns the dispatcher and the store. What waits for it is taken together and stored in one transaction; only
//! then are requests answered and notifications handed to the receivers' tasks (`courier`).

pub mod change;
mod clock;
mod courier;
mod names;
mod outage;
mod outbox;
pub mod plan;
mod post;
mod request;
mod room;
pub mod status;
mod store;
pub mod teller;
mod thread;

use std::path::Path;
use std::sync::{Arc, RwLock};

use tocsin_engine::dispatch::alert::{Fingerprint, Labels};
use tocsin_engine::dispatch::decision::Decision;
use tocsin_engine::dispatch::silence::SilenceDraft;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use plan::Plan;
use status::{DispatchStatus, NotificationRecord};
use teller::Teller;
use thread::Thread;

/// Requests that wait at most.
const REQUESTS_MAX: usize = 256;

/// How the rest of the program asks dispatch.
#[derive(Debug, Clone)]
pub struct Dispatch {
    requests: mpsc::Sender<Request>,
    newest: Arc<RwLock<Arc<DispatchStatus>>>,
}

/// The answer of dispatch: what was done, or what was found and what would be right.
pub type Reply<T> = oneshot::Sender<Result<T, String>>;

/// What interfaces and notifiers ask for. An answer comes once the change is stored.
#[derive(Debug)]
pub enum Request {
    /// A new silence, or a changed one if `id` is given; answers with its id.
    Silence { id: Option<String>, draft: SilenceDraft, reply: Reply<String> },
    /// Ends a silence.
    ExpireSilence { id: String, reply: Reply<()> },
    /// Somebody takes care of an alert.
    Acknowledge { fingerprint: Fingerprint, by: String, comment: String, reply: Reply<()> },
    /// The acknowledgement is taken back.
    Unacknowledge { fingerprint: Fingerprint, by: String, reply: Reply<()> },
    /// Tries a notification again that was given up.
    Resend { id: String, reply: Reply<()> },
    /// Why an alert fired and who was told.
    Explain { fingerprint: Fingerprint, reply: Reply<Explanation> },
    /// The alerts of the last 30 days whose ids begin so: lower-case hex digits. Some of them if there are many.
    Find { beginning: String, reply: Reply<Vec<Fingerprint>> },
    /// Notifications, newest first: those given up only, or all.
    Notifications { only_dead: bool, limit: usize, reply: Reply<Vec<NotificationRecord>> },
}

/// Why an alert fired, why it was or was not sent, to whom, when.
#[derive(Debug, Clone, Default)]
pub struct Explanation {
    /// The alert's labels, if they are known.
    pub labels: Option<Labels>,
    /// Decisions, oldest first.
    pub decisions: Vec<Decision>,
    /// Notifications that told it, oldest first.
    pub notifications: Vec<NotificationRecord>,
}

/// A started dispatch.
pub struct Started {
    /// For those who ask.
    pub dispatch: Dispatch,
    /// For the engine.
    pub teller: Teller,
    /// Ends soon after the teller is gone.
    pub thread: std::thread::JoinHandle<()>,
}

/// Opens the store in the data folder and starts the thread and the tasks; these run on the runtime this is called on.
/// `url` is where tocsin answers over HTTP. A thread that fails cancels `shutdown`: nobody would be told any more.
///
/// Errs if the store cannot be used.
pub fn start(
    data: &Path,
    mut plan: Plan,
    url: &str,
    shutdown: &CancellationToken,
) -> anyhow::Result<Started> {
    let (requests, asked) = mpsc::channel(REQUESTS_MAX);
    let newest = Arc::<RwLock<Arc<DispatchStatus>>>::default();
    let dispatch = Dispatch { requests, newest: newest.clone() };
    let runtime = tokio::runtime::Handle::current();
    let (listeners, hidden) = (std::mem::take(&mut plan.listeners), plan.hidden.clone());
    let (teller, listener) = teller::line(hidden.nodes.clone());
    let inputs = thread::Inputs { listener, requests: asked, shutdown: shutdown.clone() };
    let thread = Thread::open(&data.join("store.sqlite"), plan, url, newest, &runtime)?;
    let own = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let failed = shutdown.clone().drop_guard();
    let thread = std::thread::Builder::new().name("dispatch".to_string()).spawn(move || {
        own.block_on(thread.run(inputs));
        failed.disarm();
    })?;
    let (asks, asked) = mpsc::channel(REQUESTS_MAX);
    for listener in listeners {
        tokio::spawn(listener.run(asks.clone(), shutdown.clone().cancelled_owned()));
    }
    tokio::spawn(room::answer(asked, dispatch.clone(), hidden));
    Ok(Started { dispatch, teller, thread })
}

impl Dispatch {
    /// The newest status.
    pub fn status(&self) -> Arc<DispatchStatus> {
        self.newest.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Asks, and waits for the answer.
    pub async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        let gone = || "dispatch has ended".to_string();
        self.requests.send(request(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

#[cfg(test)]
impl Dispatch {
    /// One whose requests a test answers.
    pub fn of(requests: mpsc::Sender<Request>, newest: Arc<RwLock<Arc<DispatchStatus>>>) -> Self {
        Dispatch { requests, newest }
    }
}
