//! NATS: events in from servers with our subjects or peer-observer's, and events out for `tocsin extract`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Context;
use async_nats::{Client, ConnectOptions, Event};
use futures_util::StreamExt;
use tocsin_extractors::{Bus, CancellationToken, Outgoing};
use tokio::sync::mpsc::Receiver;

use super::config::{Nats, NatsServer, Subjects};
use super::status::SourceStatus;

/// Messages the client library holds for us; what comes when it is full is dropped by it and shows as a gap.
const SUBSCRIPTION_CAPACITY: usize = 262_144;
/// Messages published but not yet on the wire.
const CLIENT_CAPACITY: usize = 65_536;

/// What became of one connection; shared with the client library's own task.
#[derive(Debug, Clone)]
pub struct Connection {
    counts: Arc<Counts>,
    /// Disconnects and drops that were told.
    told: (u64, u64),
}

/// Events were lost, and no running number shows how many.
#[derive(Debug)]
pub struct Loss {
    /// The node they were of.
    pub node: String,
    /// The connection.
    pub source: String,
    /// At least so many.
    pub count: u64,
    /// How they were lost.
    pub what: &'static str,
}

#[derive(Debug)]
struct Counts {
    name: String,
    /// The node of all events, where they have no running numbers.
    node: Option<String>,
    is_connected: AtomicBool,
    messages: AtomicU64,
    disconnects: AtomicU64,
    slow_consumer: AtomicU64,
}

impl Connection {
    /// A connection not yet made; with the node of all its events, where they do not say and have no running numbers.
    pub fn new(name: &str, node: Option<String>) -> Self {
        let counts = Counts {
            name: name.to_string(),
            node,
            is_connected: AtomicBool::new(false),
            messages: AtomicU64::new(0),
            disconnects: AtomicU64::new(0),
            slow_consumer: AtomicU64::new(0),
        };
        Connection { counts: Arc::new(counts), told: (0, 0) }
    }

    /// What was lost since this was last asked, where running numbers cannot tell.
    pub fn take_loss(&mut self) -> Option<Loss> {
        let node = self.counts.node.clone()?;
        let now = (
            self.counts.disconnects.load(Ordering::Relaxed),
            self.counts.slow_consumer.load(Ordering::Relaxed),
        );
        let (disconnects, dropped) = (now.0 - self.told.0, now.1 - self.told.1);
        self.told = now;
        let what = if dropped > 0 { "dropped by the NATS client" } else { "the connection was lost" };
        let source = self.counts.name.clone();
        let count = disconnects + dropped;
        (count > 0).then_some(Loss { node, source, count, what })
    }

    /// Its state and totals now.
    pub fn status(&self) -> SourceStatus {
        SourceStatus {
            name: self.counts.name.clone(),
            is_connected: self.counts.is_connected.load(Ordering::Relaxed),
            messages: self.counts.messages.load(Ordering::Relaxed),
            disconnects: self.counts.disconnects.load(Ordering::Relaxed),
            slow_consumer: self.counts.slow_consumer.load(Ordering::Relaxed),
        }
    }

    fn note(&self, event: &Event, url: &str) {
        let name = self.counts.name.as_str();
        match event {
            Event::Connected => {
                self.counts.is_connected.store(true, Ordering::Relaxed);
                tracing::info!(nats = name, "connected to {url}");
            }
            Event::Disconnected => {
                self.counts.is_connected.store(false, Ordering::Relaxed);
                self.counts.disconnects.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(nats = name, "the connection to {url} is lost; trying again");
            }
            Event::SlowConsumer(_) => _ = self.counts.slow_consumer.fetch_add(1, Ordering::Relaxed),
            other => tracing::debug!(nats = name, "{other}"),
        }
    }
}

/// Connects, now or when the server comes; errs only if the settings are wrong.
async fn connect(server: &NatsServer, connection: &Connection) -> anyhow::Result<Client> {
    let mut options = ConnectOptions::new()
        .name("tocsin")
        .retry_on_initial_connect()
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .client_capacity(CLIENT_CAPACITY);
    if let Some(user) = &server.user {
        let file = server.password_file.as_ref().context("a NATS user needs a password_file")?;
        let password = std::fs::read_to_string(file)
            .with_context(|| format!("{}: cannot read the NATS password", file.display()))?;
        options = options.user_and_password(user.clone(), password.trim().to_string());
    }
    let (noted, url) = (connection.clone(), server.url.clone());
    let options = options.event_callback(move |event| {
        noted.note(&event, &url);
        std::future::ready(())
    });
    tracing::info!(nats = connection.counts.name, "waiting for {}", server.url);
    options.connect(&server.url).await.with_context(|| format!("{}: no NATS server can be there", server.url))
}

/// Puts what a server publishes onto the bus, until `shutdown`.
pub async fn receive(
    settings: Nats,
    connection: Connection,
    bus: Bus,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let client = connect(&settings.server(), &connection).await?;
    let subject = match settings.subjects {
        Subjects::Tocsin => "tocsin.>",
        // All of peer-observer's subjects are of one word.
        Subjects::PeerObserver => "*",
    };
    let mut messages = client.subscribe(subject).await.context("cannot subscribe")?;
    let fixed: Option<Arc<str>> = settings.node.map(Arc::from);
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            () = shutdown.cancelled() => break,
        };
        let Some(message) = message else { break };
        connection.counts.messages.fetch_add(1, Ordering::Relaxed);
        // `tocsin.NODE.EXTRACTOR`; the event itself says it too and then counts.
        let node =
            fixed.clone().unwrap_or_else(|| message.subject.split('.').nth(1).unwrap_or("node").into());
        if !bus.send(node, "", message.payload).await {
            break;
        }
    }
    Ok(())
}

/// Publishes what comes from the bus until the bus ends.
///
/// Without a server the client library's room fills up, then the bus, and then extractors wait.
pub async fn publish(server: NatsServer, mut events: Receiver<Outgoing>) -> anyhow::Result<()> {
    let connection = Connection::new("publish", None);
    let client = connect(&server, &connection).await?;
    let mut batch = Vec::new();
    while events.recv_many(&mut batch, 1024).await > 0 {
        for event in batch.drain(..) {
            let subject = format!("tocsin.{}.{}", event.node, event.extractor);
            if let Err(error) = client.publish(subject, event.payload).await {
                // Too large for the server, most likely; the receiver sees the gap in the numbers.
                tracing::warn!(
                    "an event of {} of node {} could not be published: {error}",
                    event.extractor,
                    event.node
                );
            }
        }
    }
    client.flush().await.context("the last events could not be sent")
}
