//! The task of one receiver: makes one attempt at a time and says what came of it.

use std::sync::Arc;

use tocsin_notifiers::redact::{Redact, redacted};
use tocsin_notifiers::{ATTEMPT_MAX, Delivery, Failure, Notifier, NotifyError, Receipt, ReceiverConfig};
use tocsin_proto::pb::notification::Notification;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::names::NodeNames;
use super::outbox::Order;

/// A receiver and how it is reached.
#[derive(Clone)]
pub struct Address {
    /// Its name.
    pub name: String,
    /// `matrix`, `email`, `webhook` or `alertmanager`.
    pub integration: &'static str,
    /// Digests tell what several groups would: with a rate limit there is one order for all.
    pub order: Order,
    redact: Redact,
    nodes: NodeNames,
    notifier: Arc<dyn Notifier>,
}

/// What came of an attempt.
#[derive(Debug)]
pub struct Attempted {
    /// Place of the receiver in the configuration.
    pub receiver: usize,
    /// What was to be delivered.
    pub id: String,
    /// Its thread.
    pub thread: String,
    /// What the destination said.
    pub result: Result<Receipt, NotifyError>,
}

impl Address {
    /// The receiver of a configuration; `nodes` are the names it is not told if it is to be told none. The error says
    /// what is wrong with the configuration.
    pub fn new(config: &ReceiverConfig, nodes: &NodeNames) -> Result<Self, String> {
        Ok(Address {
            name: config.name.clone(),
            integration: config.integration(),
            order: if config.rate_limit.is_some() { Order::OfAll } else { Order::OfGroups },
            redact: config.redact,
            nodes: nodes.clone(),
            notifier: config.notifier()?.into(),
        })
    }

    /// Makes one attempt, which ends in time whatever the notifier does.
    pub async fn attempt(
        &self,
        notification: Notification,
        first: Option<Receipt>,
    ) -> Result<Receipt, NotifyError> {
        let (notifier, redact, nodes) = (self.notifier.clone(), self.redact, self.nodes.all());
        // Whatever fails in there fails this attempt only.
        let mut attempt = tokio::spawn(async move {
            let delivery = Delivery { notification: redacted(notification, redact, &nodes), first };
            notifier.notify(&delivery).await
        });
        let failed =
            |failure, text: String| Err(NotifyError { failure, can_retry: true, retry_after: None, text });
        match tokio::time::timeout(ATTEMPT_MAX, &mut attempt).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => {
                failed(Failure::Other, "the notifier failed, which is a mistake of ours".to_string())
            }
            Err(_) => {
                attempt.abort();
                failed(Failure::Timeout, format!("nothing came of it within {} s", ATTEMPT_MAX.as_secs()))
            }
        }
    }

    /// Starts the task. What is given to it is attempted in order; it ends when nothing more can come.
    pub fn start(
        &self,
        place: usize,
        runtime: &Handle,
        results: mpsc::Sender<Attempted>,
    ) -> mpsc::Sender<(Notification, Option<Receipt>)> {
        let (deliveries, mut waiting) = mpsc::channel::<(Notification, Option<Receipt>)>(1);
        let address = self.clone();
        runtime.spawn(async move {
            while let Some((notification, first)) = waiting.recv().await {
                let (id, thread) = (notification.id.clone(), notification.thread.clone());
                let result = address.attempt(notification, first).await;
                if results.send(Attempted { receiver: place, id, thread, result }).await.is_err() {
                    return;
                }
            }
        });
        deliveries
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tocsin_notifiers::Attempt;
    use tocsin_proto::pb::notification::Alert;

    use super::*;

    /// Keeps what it is to deliver.
    #[derive(Default)]
    struct Kept(Mutex<Vec<Notification>>);

    impl Notifier for Kept {
        fn notify<'a>(&'a self, delivery: &'a Delivery) -> Attempt<'a> {
            self.0.lock().expect("no panic").push(delivery.notification.clone());
            Box::pin(async { Ok(Receipt::default()) })
        }
    }

    #[tokio::test]
    async fn nodes_seen_since_the_start_are_not_told_to_who_is_to_be_told_none() {
        let (kept, nodes) = (Arc::new(Kept::default()), NodeNames::default());
        let address = Address {
            name: "ops".to_string(),
            integration: "webhook",
            order: Order::OfGroups,
            redact: Redact::AddressesAndNodes,
            nodes: nodes.clone(),
            notifier: kept.clone(),
        };
        nodes.learn([&"hal".to_string()]);
        nodes.learn([&"bob".to_string()]);
        let summary = ("summary".to_string(), "hal and bob are on different tips".to_string());
        let alert = Alert { annotations: [summary].into(), ..Alert::default() };
        let fleet = Notification { alerts: vec![alert], ..Notification::default() };
        address.attempt(fleet, None).await.expect("delivered");
        let told = kept.0.lock().expect("no panic")[0].alerts[0].annotations["summary"].clone();
        assert!(told.starts_with("node-") && told.ends_with(" are on different tips"), "{told}");
        assert!(!told.contains("hal") && !told.contains("bob"), "{told}");
    }
}
