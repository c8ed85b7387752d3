//! Listens to the room: reactions and commands of allowed users become requests to the program.
//!
//! A request is made at most once: how far the room was read is kept before what was read is acted on, and what is older than
//! [`AGE_MAX`] is passed over. Which alerts a message is about stands in the message, so nothing is remembered here.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::Config;
use super::client::CallError;
use super::command::{self, Ask, Command, HELP};
use super::line::Line;
use super::message::{self, Place, Subject};
use super::session::Role;
use super::sync::{Batch, Heard, Said, heard};
use crate::Failure;
use crate::config::ReceiverConfig;

/// What was said longer ago is not acted on: after an outage an old `!silence 2h` would mean something else.
pub const AGE_MAX: Duration = Duration::from_secs(900);
/// How long the program may take for an answer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
/// First and longest wait after a failure.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The server is asked no more often than this.
const TURN_MIN: Duration = Duration::from_millis(200);
/// So many strangers are told once that they are; the others are not told at all.
const STRANGERS_MAX: usize = 100;

/// Somebody in the room asks for something.
#[derive(Debug)]
pub struct Asked {
    /// Name of the receiver whose room it is. What is answered is to be redacted as for it.
    pub receiver: String,
    /// Who: `@anna:example.org`. Is allowed to.
    pub user: String,
    /// What.
    pub what: Ask,
    /// The answer in words; it is said in the room.
    pub reply: oneshot::Sender<String>,
}

/// Listens to one room.
pub struct Listener {
    line: Line,
    receiver: String,
    room: String,
    allowed: BTreeSet<String>,
}

/// The listeners that these receivers need: one for each room and account with allowed users. Receivers that share both
/// share the listener, for a command must not be carried out twice; the first one's name is the listener's.
pub fn listeners(receivers: &[ReceiverConfig]) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::new();
    let mut known = BTreeSet::new();
    for receiver in receivers {
        let Some(config) = receiver.matrix.as_ref().filter(|config| !config.allowed_users.is_empty()) else {
            continue;
        };
        let account = format!("{:?} {:?}", config.user, config.access_token);
        if known.insert((config.homeserver.clone(), config.room.clone(), account)) {
            let listener = Listener::new(config, &receiver.name);
            listeners.push(listener.map_err(|error| format!("receiver {:?}: {error}", receiver.name))?);
        }
    }
    Ok(listeners)
}

/// Nobody takes requests any more.
struct Ended;

/// What is known while listening.
#[derive(Default)]
struct Ears {
    /// Our own user id.
    own: String,
    /// The room's id, once we are in it.
    room: Option<String>,
    /// How far the room was read.
    since: Option<String>,
    /// How far was read while waiting for an invitation.
    waiting_since: Option<String>,
    /// Strangers who were told that they are.
    strangers: BTreeSet<String>,
}

impl Listener {
    /// For one receiver. Reaches nothing and reads no secret.
    pub fn new(config: &Config, receiver: &str) -> Result<Self, String> {
        let line = Line::new(config, receiver, Role::Listener)?;
        let allowed = config.allowed_users.iter().cloned().collect();
        Ok(Listener { line, receiver: receiver.to_string(), room: config.room.clone(), allowed })
    }

    /// Listens until `shutdown`, or until nobody takes requests any more. Failures are logged and tried again for ever.
    pub async fn run(self, requests: mpsc::Sender<Asked>, shutdown: impl Future<Output = ()>) {
        tokio::select! {
            () = shutdown => (),
            () = self.listen(&requests) => (),
        }
    }

    async fn listen(&self, requests: &mpsc::Sender<Asked>) {
        let mut ears = Ears { since: self.line.client.session().since().await, ..Ears::default() };
        let mut wait = WAITS.0;
        loop {
            let turn = Instant::now();
            match self.turn(&mut ears, requests).await {
                Ok(Ok(())) => {
                    wait = WAITS.0;
                    // A server that does not wait for anything to happen would keep us busy.
                    sleep(TURN_MIN.saturating_sub(turn.elapsed())).await;
                }
                Ok(Err(Ended)) => return,
                Err(failure) => {
                    let error = &failure.error;
                    tracing::warn!(receiver = %self.receiver, %error, "the Matrix room cannot be read");
                    // A place in the history that the server does not know would fail for ever.
                    if error.failure == Failure::ClientError {
                        ears.since = None;
                        ears.waiting_since = None;
                    }
                    sleep(error.retry_after.unwrap_or(wait).max(WAITS.0)).await;
                    wait = (wait * 2).min(WAITS.1);
                }
            }
        }
    }

    /// One answer of the server and what follows from it.
    async fn turn(
        &self,
        ears: &mut Ears,
        requests: &mpsc::Sender<Asked>,
    ) -> Result<Result<(), Ended>, CallError> {
        if ears.own.is_empty() {
            let path = ["_matrix", "client", "v3", "account", "whoami"];
            let answer = self.line.client.call(self.line.client.request(Method::GET, &path)).await?;
            ears.own = answer["user_id"].as_str().unwrap_or_default().to_string();
        }
        let Some(room) = ears.room.clone() else {
            return self.enter(ears).await.map(Ok);
        };
        let batch = self.line.sync(Some(&room), ears.since.as_deref()).await?;
        let is_first = ears.since.is_none();
        self.keep(ears, &batch, is_first).await;
        if batch.has_left {
            tracing::warn!(receiver = %self.receiver, room, "somebody took us out of the Matrix room");
            ears.room = None;
        }
        // Without a place in the history, all that is there was said before we listened.
        if is_first {
            return Ok(Ok(()));
        }
        if batch.is_cut {
            tracing::warn!(receiver = %self.receiver, "so much was said in the Matrix room that some was not read");
        }
        for heard in batch.events.iter().filter_map(heard) {
            if let Err(Ended) = self.hear(ears, &room, &heard, requests).await {
                return Ok(Err(Ended));
            }
        }
        Ok(Ok(()))
    }

    /// Joins the room, or waits until something happens, such as an invitation.
    async fn enter(&self, ears: &mut Ears) -> Result<(), CallError> {
        match self.line.join(&self.room).await {
            Ok(room) => {
                ears.room = Some(room);
                Ok(())
            }
            Err(failure)
                if matches!(failure.errcode.as_str(), "M_FORBIDDEN" | "M_NOT_FOUND" | "M_UNKNOWN") =>
            {
                if ears.waiting_since.is_none() {
                    tracing::warn!(
                        receiver = %self.receiver, error = %failure.error,
                        "the Matrix room cannot be joined; waiting for an invitation"
                    );
                }
                let batch = self.line.sync(None, ears.waiting_since.as_deref()).await?;
                ears.waiting_since = Some(batch.next);
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    /// Keeps how far was read, before anything of it is acted on.
    async fn keep(&self, ears: &mut Ears, batch: &Batch, is_first: bool) {
        ears.since = Some(batch.next.clone());
        // An answer without events may be read again.
        if is_first || !batch.events.is_empty() {
            self.line.client.session().keep_since(ears.since.clone()).await;
        }
    }

    async fn hear(
        &self,
        ears: &mut Ears,
        room: &str,
        heard: &Heard,
        requests: &mpsc::Sender<Asked>,
    ) -> Result<(), Ended> {
        if heard.user == ears.own {
            return Ok(());
        }
        if heard.age > AGE_MAX {
            tracing::debug!(user = heard.user, age = ?heard.age, "too old to be acted on");
            return Ok(());
        }
        if !self.allowed.contains(&heard.user) {
            self.turn_away(ears, room, heard).await;
            return Ok(());
        }
        let (what, place) = match &heard.said {
            Said::Assent { to } => match self.assent(ears, room, to).await {
                Some((what, place)) => (Ok(Some(what)), place),
                None => return Ok(()),
            },
            Said::Text { text, thread, reply_to } => {
                let Some(command) = command::parse(text) else { return Ok(()) };
                let about = thread.as_ref().or(reply_to.as_ref());
                (self.understood(ears, room, command, about).await, place(heard, thread.as_ref()))
            }
        };
        let answer = match what {
            Ok(None) => Some(HELP.to_string()),
            Ok(Some(what)) => self.ask(heard, what, requests).await?,
            Err(wrong) => Some(wrong),
        };
        if let Some(answer) = answer {
            self.say(room, heard, &answer, &place).await;
        }
        Ok(())
    }

    /// Tells a stranger once that nothing is done, if what they said would have been for us.
    async fn turn_away(&self, ears: &mut Ears, room: &str, heard: &Heard) {
        if ears.strangers.contains(&heard.user) || ears.strangers.len() >= STRANGERS_MAX {
            return;
        }
        let place = match &heard.said {
            Said::Assent { to } => self.assent(ears, room, to).await.map(|(_, place)| place),
            Said::Text { text, thread, .. } => command::parse(text).map(|_| place(heard, thread.as_ref())),
        };
        let Some(place) = place else { return };
        ears.strangers.insert(heard.user.clone());
        tracing::warn!(
            user = heard.user,
            "asked for something in the Matrix room, but is not in allowed_users"
        );
        let answer = format!("{}: you are not in my allowed_users, so I do nothing.", heard.user);
        self.say(room, heard, &answer, &place).await;
    }

    /// What a reaction asks for and where it is answered; none if it belongs to no message of ours about alerts.
    async fn assent(&self, ears: &Ears, room: &str, to: &str) -> Option<(Ask, Place)> {
        let (subject, root) = self.subject(ears, room, to).await?;
        let ask = Ask::Acknowledge { alerts: subject.alerts, comment: String::new() };
        Some((ask, Place::Thread(root)))
    }

    /// What a command asks for, none for help; the error is the answer.
    async fn understood(
        &self,
        ears: &Ears,
        room: &str,
        command: Result<Command, String>,
        about: Option<&String>,
    ) -> Result<Option<Ask>, String> {
        match command? {
            Command::Help => Ok(None),
            Command::Complete(ask) => Ok(Some(ask)),
            Command::Here(here) => {
                let subject = match about {
                    Some(about) => self.subject(ears, room, about).await,
                    None => None,
                };
                let subject = subject.map(|(subject, _)| subject).filter(|found| !found.alerts.is_empty());
                let subject = subject.ok_or_else(|| {
                    "which alerts? Say it in the thread of a notification, or name them; !help says how"
                        .to_string()
                })?;
                Ok(Some(here.of(subject.alerts)))
            }
        }
    }

    /// What a message of ours is about, and the first event of its thread. For the first message of a thread it is what the
    /// whole thread is about; only our own messages count, whoever imitates them.
    async fn subject(&self, ears: &Ears, room: &str, event: &str) -> Option<(Subject, String)> {
        let found = self.line.event(room, event).await;
        let found = found.inspect_err(|failure| self.warn(failure)).ok()?;
        let mut subject = own_subject(ears, &found)?;
        let relation = &found["content"]["m.relates_to"];
        if relation["rel_type"] == "m.thread" {
            return Some((subject, relation["event_id"].as_str()?.to_string()));
        }
        match self.line.thread(room, event).await {
            Ok(replies) => {
                let more = replies.iter().filter_map(|reply| own_subject(ears, reply));
                let all = more.flat_map(|subject| subject.alerts).chain(subject.alerts);
                subject.alerts = all.collect::<BTreeSet<_>>().into_iter().collect();
            }
            Err(failure) => self.warn(&failure),
        }
        Some((subject, event.to_string()))
    }

    /// The program's answer; none if there is none to be said.
    async fn ask(
        &self,
        heard: &Heard,
        what: Ask,
        requests: &mpsc::Sender<Asked>,
    ) -> Result<Option<String>, Ended> {
        // A message about what has resolved: nothing is left to do.
        if matches!(&what, Ask::Acknowledge { alerts, .. } if alerts.is_empty()) {
            return Ok(None);
        }
        tracing::info!(receiver = %self.receiver, user = heard.user, ?what, "asked for in the Matrix room");
        let (reply, answer) = oneshot::channel();
        let asked = Asked { receiver: self.receiver.clone(), user: heard.user.clone(), what, reply };
        requests.send(asked).await.map_err(|_| Ended)?;
        let answer = timeout(ANSWER_WAIT_MAX, answer).await;
        Ok(Some(match answer {
            Ok(Ok(answer)) => answer,
            _ => "I got no answer from the program; it may have been done or not.".to_string(),
        }))
    }

    /// Says something; that it fails stops nothing.
    async fn say(&self, room: &str, heard: &Heard, text: &str, place: &Place) {
        if text.trim().is_empty() {
            return;
        }
        let transaction = format!("answer-{}", heard.event);
        let content = message::answer(text, place);
        if let Err(failure) = self.line.send(room, &transaction, &content).await {
            self.warn(&failure);
        }
    }

    fn warn(&self, failure: &CallError) {
        tracing::warn!(receiver = %self.receiver, error = %failure.error, "a call to the Matrix homeserver failed");
    }
}

/// Where a text is answered: in its thread, or else as a reply.
fn place(heard: &Heard, thread: Option<&String>) -> Place {
    match thread {
        Some(root) => Place::Thread(root.clone()),
        None => Place::Reply(heard.event.clone()),
    }
}

/// What an event is about, if it is one of ours.
fn own_subject(ears: &Ears, event: &Value) -> Option<Subject> {
    let is_ours = event["sender"].as_str() == Some(ears.own.as_str()) && !ears.own.is_empty();
    Subject::read(&event["content"]).filter(|_| is_ours)
}
