//! What people ask for in Matrix rooms becomes requests to dispatch; what comes of it is the answer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use tocsin_engine::dispatch::alert::{Fingerprint, Labels};
use tocsin_engine::dispatch::matcher::{Matcher, Operator, parse_list};
use tocsin_engine::dispatch::silence::SilenceDraft;
use tocsin_engine::dispatch::view::AlertView;
use tocsin_engine::time::Timestamp;
use tocsin_extractors::{CancellationToken, now_ms};
use tocsin_notifiers::matrix::{Ask, Asked, listeners};
use tocsin_notifiers::redact::{Redact, redacted_text};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::alerts::story;
use super::config::Config;
use super::dispatch::{Dispatch, Request};
use super::http::own::story_of;

/// Alerts that `!alerts` lists.
const LISTED_MAX: usize = 30;
/// Requests that wait.
const WAITING_MAX: usize = 16;

/// Starts the listeners of all rooms that have allowed users, and what answers them.
pub fn start(
    config: &Config,
    dispatch: &Dispatch,
    shutdown: &CancellationToken,
) -> Result<Vec<JoinHandle<()>>, String> {
    let (requests, mut asked) = mpsc::channel::<Asked>(WAITING_MAX);
    let mut tasks: Vec<JoinHandle<()>> = listeners(&config.receivers)?
        .into_iter()
        .map(|listener| tokio::spawn(listener.run(requests.clone(), shutdown.clone().cancelled_owned())))
        .collect();
    let redacts = config.receivers.iter().map(|receiver| (receiver.name.clone(), receiver.redact));
    let chat = Chat { dispatch: dispatch.clone(), redacts: redacts.collect() };
    tasks.push(tokio::spawn(async move {
        while let Some(asked) = asked.recv().await {
            tracing::info!(
                receiver = asked.receiver,
                user = asked.user,
                "asked in the room: {:?}",
                asked.what
            );
            let answer = chat.answer(&asked.receiver, &asked.user, asked.what).await;
            // Who asked may have gone.
            let _ = asked.reply.send(answer);
        }
    }));
    Ok(tasks)
}

/// Answers what is asked in rooms.
struct Chat {
    dispatch: Dispatch,
    redacts: BTreeMap<String, Redact>,
}

impl Chat {
    /// Does what was asked, and says in words what came of it, without what the room is not to see.
    async fn answer(&self, receiver: &str, user: &str, ask: Ask) -> String {
        let done = match ask {
            Ask::Acknowledge { alerts, comment } => self.acknowledge(&alerts, user, &comment).await,
            Ask::Unacknowledge { alerts } => self.unacknowledge(&alerts, user).await,
            Ask::Silence { span, matchers, comment } => match parse_list(&matchers.join(",")) {
                Ok(matchers) => self.silence(matchers, span.get(), user, comment).await,
                Err(error) => Err(error),
            },
            Ask::SilenceGroup { span, alerts, comment } => match self.group(receiver, &alerts) {
                Ok(matchers) => self.silence(matchers, span.get(), user, comment).await,
                Err(error) => Err(error),
            },
            Ask::ExpireSilence { id } => {
                let ended = self.dispatch.ask(|reply| Request::ExpireSilence { id: id.clone(), reply }).await;
                ended.map(|()| format!("silence {id} has ended"))
            }
            Ask::Alerts => Ok(list(&self.dispatch.status().view.alerts)),
            Ask::Explain { alert } => match alert.parse() {
                Ok(fingerprint) => match story_of(&self.dispatch, fingerprint).await {
                    Ok(Some(story)) => Ok(story::tell(&story)),
                    Ok(None) => Err(format!("nothing is known of an alert {alert}")),
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            },
        };
        let text = done.unwrap_or_else(|error| format!("that did not work: {error}"));
        let redact = self.redacts.get(receiver).copied().unwrap_or_default();
        let status = self.dispatch.status();
        let nodes = status.view.alerts.iter().filter_map(|alert| alert.labels.get("node"));
        redacted_text(&text, redact, nodes)
    }

    /// Of the alerts named those that fire are acknowledged; a message tells resolved ones too.
    async fn acknowledge(&self, alerts: &[String], by: &str, comment: &str) -> Result<String, String> {
        let mut taken = 0;
        let mut refused = String::new();
        for alert in alerts {
            let fingerprint: Fingerprint = alert.parse()?;
            let (by, comment) = (by.to_string(), comment.to_string());
            let ask = |reply| Request::Acknowledge { fingerprint, by, comment, reply };
            match self.dispatch.ask(ask).await {
                Ok(()) => taken += 1,
                Err(error) => refused = error,
            }
        }
        match taken {
            0 => Err(refused),
            1 => Ok(format!("{by} takes care of it: no repeats and no escalation until it resolves")),
            _ => Ok(format!(
                "{by} takes care of {taken} alerts: no repeats and no escalation until they resolve"
            )),
        }
    }

    async fn unacknowledge(&self, alerts: &[String], by: &str) -> Result<String, String> {
        for alert in alerts {
            let fingerprint: Fingerprint = alert.parse()?;
            let by = by.to_string();
            self.dispatch.ask(|reply| Request::Unacknowledge { fingerprint, by, reply }).await?;
        }
        Ok("nobody takes care of it any more".to_string())
    }

    async fn silence(
        &self,
        matchers: Vec<Matcher>,
        span: Duration,
        by: &str,
        comment: String,
    ) -> Result<String, String> {
        let words = matchers.iter().map(Matcher::to_string).collect::<Vec<_>>().join(", ");
        let starts_at = Timestamp::from_unix_ms(now_ms() as i64);
        let ends_at = starts_at.plus_ms(span.as_millis() as i64);
        // Alertmanager asks for a comment, and so does whoever reads the silence next.
        let comment = if comment.is_empty() { "said in the Matrix room".to_string() } else { comment };
        let draft = SilenceDraft { matchers, starts_at, ends_at, created_by: by.to_string(), comment };
        let id = self.dispatch.ask(|reply| Request::Silence { id: None, draft, reply }).await?;
        Ok(format!("silence {id} until {ends_at}: {words}"))
    }

    /// The labels that these alerts' group is made by, as matchers; of a group that is everything, the rule and the node.
    fn group(&self, receiver: &str, alerts: &[String]) -> Result<Vec<Matcher>, String> {
        let first: Fingerprint = alerts.first().ok_or("expected a message about alerts")?.parse()?;
        let view = &self.dispatch.status().view;
        let of_group = view.groups.iter().filter(|group| group.alerts.contains(&first));
        let group = of_group.clone().find(|group| group.receiver == receiver).or(of_group.clone().next());
        let labels: Labels = match group {
            Some(group) if !group.labels.is_empty() => group.labels.clone(),
            _ => {
                let alert = view.alerts.iter().find(|alert| alert.fingerprint == first);
                let alert =
                    alert.ok_or("these alerts are over, expected matchers: !silence 2h node=\"a\"")?;
                let own =
                    alert.labels.iter().filter(|(name, _)| ["alertname", "node"].contains(&name.as_str()));
                own.map(|(name, value)| (name.clone(), value.clone())).collect()
            }
        };
        labels.iter().map(|(name, value)| Matcher::new(name, Operator::Equal, value)).collect()
    }
}

/// What fires, a line each.
fn list(alerts: &[AlertView]) -> String {
    let firing: Vec<&AlertView> = alerts.iter().filter(|alert| alert.ends_at.is_none()).collect();
    if firing.is_empty() {
        return "nothing fires".to_string();
    }
    let mut text = String::new();
    for alert in firing.iter().take(LISTED_MAX) {
        let label = |name: &str| alert.labels.get(name).map_or("", String::as_str);
        let summary = alert.annotations.get("summary").map_or("", String::as_str);
        let mark = match (&alert.acknowledgement, alert.silenced_by.is_empty()) {
            (Some(acknowledgement), _) => format!(" ({} takes care of it)", acknowledgement.by),
            (None, false) => " (silenced)".to_string(),
            (None, true) => String::new(),
        };
        let (name, node, id) = (label("alertname"), label("node"), alert.fingerprint);
        let _ = writeln!(text, "{id} {name} on {node}{mark}: {summary}");
    }
    if firing.len() > LISTED_MAX {
        let _ = writeln!(text, "and {} more", firing.len() - LISTED_MAX);
    }
    text
}
