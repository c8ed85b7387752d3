//! Requests of people and interfaces, and their answers, which wait until what was asked for is stored.

use tocsin_engine::dispatch::Input;
use tocsin_engine::time::Timestamp;

use super::status::NotificationState;
use super::store::{Store, Update, Waiting};
use super::thread::Thread;
use super::{Reply, Request};

/// An answer that is given once the batch is stored, or could not be: then with the error.
pub type Answer = Box<dyn FnOnce(Option<&str>) + Send>;

/// Answers with `result` if the batch could be stored.
fn answer<T: Send + 'static>(reply: Reply<T>, result: Result<T, String>) -> Answer {
    Box::new(move |error: Option<&str>| {
        let result = match error {
            None => result,
            Some(error) => result.and_then(|_| {
                Err(format!(
                    "it counts from now on but is not stored yet, and is lost if tocsin ends: {error}"
                ))
            }),
        };
        // Who asked may no longer wait.
        let _ = reply.send(result);
    })
}

impl Thread {
    /// Does what was asked. The answer comes with the next commit.
    pub(super) fn request(&mut self, request: Request, now: Timestamp) {
        match request {
            Request::Silence { id, draft, reply } => {
                let id = id.unwrap_or_else(uuid);
                let done = self.decide(Input::Silence { id: id.clone(), draft }, now);
                // A change that would alter the past has made another silence.
                self.answers.push(answer(reply, done.map(|silence| silence.unwrap_or(id))));
            }
            Request::ExpireSilence { id, reply } => {
                let done = self.decide(Input::ExpireSilence { id }, now);
                self.answers.push(answer(reply, done.map(drop)));
            }
            Request::Acknowledge { fingerprint, by, comment, reply } => {
                let done = self.decide(Input::Acknowledge { fingerprint, by, comment }, now);
                self.answers.push(answer(reply, done.map(drop)));
            }
            Request::Unacknowledge { fingerprint, by, reply } => {
                let done = self.decide(Input::Unacknowledge { fingerprint, by }, now);
                self.answers.push(answer(reply, done.map(drop)));
            }
            Request::Resend { id, reply } => {
                let done = self.resend(&id, now);
                self.answers.push(answer(reply, done));
            }
            Request::Explain { fingerprint, reply } => {
                let found = self.store.explain(fingerprint);
                let _ = reply.send(found.map_err(|error| unreadable(&self.store, &error)));
            }
            Request::Find { beginning, reply } => {
                let found = self.store.alerts(&beginning);
                let _ = reply.send(found.map_err(|error| unreadable(&self.store, &error)));
            }
            Request::Notifications { only_dead, limit, reply } => {
                let found = self.store.notifications(only_dead, limit);
                let _ = reply.send(found.map_err(|error| unreadable(&self.store, &error)));
            }
        }
    }

    fn decide(&mut self, input: Input, now: Timestamp) -> Result<Option<String>, String> {
        self.check_writable()?;
        self.meet(input, now)
    }

    fn check_writable(&self) -> Result<(), String> {
        match &self.outage {
            None => Ok(()),
            Some(outage) => Err(format!(
                "{}: cannot be written ({}), so nothing was changed; expected space and the right to write",
                self.store.path().display(),
                outage.error
            )),
        }
    }

    fn resend(&mut self, id: &str, now: Timestamp) -> Result<(), String> {
        self.check_writable()?;
        let record = self.store.record(id).map_err(|error| unreadable(&self.store, &error))?;
        let Some(record) = record else {
            return Err(format!("there is no notification {id:?}, expected the id of one that was given up"));
        };
        if !matches!(record.state, NotificationState::Dead { .. }) {
            return Err(format!("notification {id} was not given up, expected one that was"));
        }
        if self.post.address(&record.receiver).is_none() {
            return Err(format!(
                "notification {id} is for {:?}, expected one for a receiver of the configuration",
                record.receiver
            ));
        }
        let due_ms = now.unix_ms();
        self.batch.updates.push(Update {
            id: id.to_string(),
            state: NotificationState::Pending { next_attempt_at_ms: due_ms },
            attempts: 0,
            last_error: record.last_error,
            since_ms: Some(due_ms),
        });
        self.post.resend(Waiting {
            id: id.to_string(),
            receiver: record.receiver,
            group_key: record.group_key,
            attempts: 0,
            due_ms,
            decided_ms: record.decided_at_ms,
            since_ms: due_ms,
        });
        Ok(())
    }
}

fn unreadable(store: &Store, error: &super::store::Error) -> String {
    format!("{}: cannot be read: {error}", store.path().display())
}

/// A random UUID, version 4.
fn uuid() -> String {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0_u8; 16];
    SystemRandom::new().fill(&mut bytes).expect("the system gives random bytes");
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
