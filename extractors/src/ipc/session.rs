//! What is asked over one connection: the tip by long poll, and beside it the state and the answer times by polling.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::time::{Duration, Instant};

use tocsin_proto::pb::event::event::PeerObserverEvent;
use tocsin_proto::pb::ipc_extractor::ipc::IpcEvent;
use tocsin_proto::pb::ipc_extractor::{Call, Ipc};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::answers::{changed_tip, current_tip};
use super::connection::{Connection, Failure, Limits, Mining, set_thread};
use super::news::News;
use super::node_capnp::thread;
use super::{Backoff, Config, Emitter};

/// Bytes of one message: the answers here have less than a hundred; an error's text has some hundreds.
const MESSAGE_BYTES_MAX: usize = 1 << 16;
/// A connection on which a call stays unanswered for so long is given up. Each one given up leaves blocked threads in
/// the node until it answers, so this is far longer than it takes to report the silence.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);
/// Wait between tips while the node downloads thousands a second.
const DOWNLOAD_PAUSE: Duration = Duration::from_millis(100);
/// Wait after an answer without news that came early: another client interrupts, or the node shuts down.
const EARLY_PAUSE: Duration = Duration::from_millis(250);

/// Reads the node over one connection until that fails.
pub(super) async fn read(
    config: &Config,
    emitter: &Emitter,
    news: &mut News,
    backoff: &mut Backoff,
) -> Result<Infallible, Failure> {
    let limits = Limits { message_bytes: MESSAGE_BYTES_MAX, handshake: config.call_timeout.get() };
    let connection = Connection::open(&config.socket, limits).await?;
    news.connected();
    let session = Session {
        config,
        emitter,
        connection: &connection,
        news: RefCell::new(news),
        silent: Cell::new(0),
        reading: format!("the tip and initial block download over {}", config.socket.display()),
        began: Instant::now(),
    };
    let tip_thread = session.connection.make_thread("tocsin-tip").await?;
    let poll_thread = session.connection.make_thread("tocsin-poll").await?;
    let mining = session.measured("makeMining", connection.mining(&poll_thread)).await?;
    backoff.reset();
    emitter.up(&session.reading);
    // Neither ends but by failing.
    tokio::try_join!(session.follow_tip(&mining, &tip_thread), session.poll(&mining, &poll_thread))
        .map(|(never, _)| never)
}

struct Session<'a> {
    config: &'a Config,
    emitter: &'a Emitter,
    connection: &'a Connection,
    news: RefCell<&'a mut News>,
    /// Calls that are not answered in time.
    silent: Cell<usize>,
    /// What the state says while all is well.
    reading: String,
    began: Instant,
}

impl Session<'_> {
    /// Tells each tip as soon as the node has it.
    async fn follow_tip(&self, mining: &Mining, thread: &thread::Client) -> Result<Infallible, Failure> {
        const METHOD: &str = "waitTipChanged";
        let wait = self.config.tip_timeout.get();
        loop {
            let mut request = mining.client.wait_tip_changed_request();
            set_thread(request.get().init_context(), thread);
            request.get().set_current_tip(&self.news.borrow().last_hash());
            request.get().set_timeout(mining.timeout(wait));
            let asked_at = Instant::now();
            let call = self.connection.call(METHOD, request.send().promise);
            let answer = self.answer(METHOD, wait + self.config.call_timeout.get(), call).await?;
            let tip = answer.get().map_err(Into::into).and_then(changed_tip);
            let tip = tip.map_err(|error| Failure::Unreadable(METHOD, error))?;
            let event = tip.and_then(|tip| self.news.borrow_mut().tip(tip));
            match event {
                Some(event) => self.emit(event).await,
                None if asked_at.elapsed() < wait / 2 => sleep(EARLY_PAUSE).await,
                None => {}
            }
            if self.news.borrow().is_downloading() {
                sleep(DOWNLOAD_PAUSE).await;
            }
        }
    }

    /// Tells initial block download, and how long the answers take.
    async fn poll(&self, mining: &Mining, thread: &thread::Client) -> Result<Infallible, Failure> {
        const TIP: &str = "getTip";
        const DOWNLOAD: &str = "isInitialBlockDownload";
        let mut ticks = interval(self.config.poll_every.get());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let mut request = mining.client.is_initial_block_download_request();
            set_thread(request.get().init_context(), thread);
            let call = self.connection.call(DOWNLOAD, request.send().promise);
            let answer = self.measured(DOWNLOAD, call).await?;
            let active =
                answer.get().map_err(|error| Failure::Unreadable(DOWNLOAD, error.into()))?.get_result();
            let event = self.news.borrow_mut().download(active, self.began.elapsed());
            if let Some(event) = event {
                self.emit(event).await;
            }

            let mut request = mining.client.get_tip_request();
            set_thread(request.get().init_context(), thread);
            let call = self.connection.call(TIP, request.send().promise);
            let answer = self.measured(TIP, call).await?;
            // The long poll tells the tip; two tellers would disagree on the order.
            let tip = answer.get().map_err(Into::into).and_then(current_tip);
            tip.map_err(|error| Failure::Unreadable(TIP, error))?;
        }
    }

    /// As [`Session::answer`] within the configured time, and tells how long it took.
    async fn measured<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let asked_at = Instant::now();
        let answer = self.answer(method, self.config.call_timeout.get(), call).await?;
        self.emit_call(method, asked_at.elapsed(), true).await;
        Ok(answer)
    }

    /// Waits for an answer; each `patience` without one is an event. The call is left standing: another would block
    /// another thread of the node.
    async fn answer<T>(
        &self,
        method: &'static str,
        patience: Duration,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut call = std::pin::pin!(call);
        let asked_at = Instant::now();
        let mut is_silent = false;
        loop {
            if let Ok(answer) = timeout(patience, call.as_mut()).await {
                self.note_answer(is_silent);
                return answer;
            }
            if !is_silent {
                is_silent = true;
                self.silent.set(self.silent.get() + 1);
                self.emitter.waiting(format_args!("an answer to {method} over IPC"));
            }
            let waited = asked_at.elapsed();
            self.emit_call(method, waited, false).await;
            if waited >= GIVE_UP_AFTER {
                return Err(Failure::Unanswered(method, waited));
            }
        }
    }

    fn note_answer(&self, was_silent: bool) {
        if was_silent {
            self.silent.set(self.silent.get() - 1);
            if self.silent.get() == 0 {
                self.emitter.up(&self.reading);
            }
        }
    }

    async fn emit_call(&self, method: &str, duration: Duration, answered: bool) {
        let call = Call { method: method.to_string(), duration: duration.as_secs_f64(), answered };
        self.emit(IpcEvent::IpcCall(call)).await;
    }

    async fn emit(&self, event: IpcEvent) {
        self.emitter.emit(PeerObserverEvent::Ipc(Ipc { ipc_event: Some(event) })).await;
    }
}
