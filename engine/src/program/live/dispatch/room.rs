//! What people ask for in a Matrix room: requests to dispatch, and their answers in words.

use std::collections::BTreeMap;

use tocsin_engine::dispatch::alert::Fingerprint;
use tocsin_engine::dispatch::matcher::{Matcher, Operator};
use tocsin_engine::dispatch::silence::SilenceDraft;
use tocsin_engine::dispatch::view::AlertView;
use tocsin_notifiers::matrix::{Ask, Asked};
use tocsin_notifiers::redact::{Redact, redacted_text};
use tocsin_proto::Span;
use tokio::sync::mpsc;

use super::names::NodeNames;
use super::status::NotificationState;
use super::{Dispatch, Request};

/// Lines of an answer at most.
const LINES_MAX: usize = 20;

/// What is hidden in answers.
#[derive(Debug, Clone, Default)]
pub struct Hidden {
    /// What, by the name of the receiver whose room it is.
    pub redact: BTreeMap<String, Redact>,
    /// Names of nodes.
    pub nodes: NodeNames,
}

/// Answers until nobody asks any more.
pub async fn answer(mut asked: mpsc::Receiver<Asked>, dispatch: Dispatch, hidden: Hidden) {
    while let Some(Asked { receiver, user, what, reply }) = asked.recv().await {
        tracing::info!(receiver, user, "asked in the room: {what:?}");
        let said = carry_out(&dispatch, &user, what).await.unwrap_or_else(|error| error);
        // Who asked may have gone.
        let _ = reply.send(hidden.apply(said, &dispatch, &receiver));
    }
}

async fn carry_out(dispatch: &Dispatch, user: &str, what: Ask) -> Result<String, String> {
    match what {
        Ask::Acknowledge { alerts, comment } => {
            let of = |fingerprint, reply| Request::Acknowledge {
                fingerprint,
                by: user.to_string(),
                comment: comment.clone(),
                reply,
            };
            let done = for_each(dispatch, &alerts, of).await?;
            Ok(format!("{user} takes care of {done}"))
        }
        Ask::Unacknowledge { alerts } => {
            let of = |fingerprint, reply| Request::Unacknowledge { fingerprint, by: user.to_string(), reply };
            let done = for_each(dispatch, &alerts, of).await?;
            Ok(format!("nobody takes care of {done} any more"))
        }
        Ask::Silence { span, matchers, comment } => {
            let matchers: Result<Vec<Matcher>, String> =
                matchers.iter().map(|text| Matcher::parse(text)).collect();
            silence(dispatch, user, span, matchers?, comment).await
        }
        Ask::SilenceGroup { span, alerts, comment } => {
            let matchers = group_matchers(dispatch, &alerts)?;
            silence(dispatch, user, span, matchers, comment).await
        }
        Ask::ExpireSilence { id } => {
            dispatch.ask(|reply| Request::ExpireSilence { id: id.clone(), reply }).await?;
            Ok(format!("silence {id} has ended"))
        }
        Ask::Alerts => Ok(alerts(dispatch)),
        Ask::Explain { alert } => explain(dispatch, &alert).await,
    }
}

/// Asks the same of each alert. Some of them may have resolved: it is an error only if it worked for none.
async fn for_each(
    dispatch: &Dispatch,
    alerts: &[String],
    request: impl Fn(Fingerprint, super::Reply<()>) -> Request,
) -> Result<String, String> {
    let (mut done, mut last_error) = (Vec::new(), None);
    for alert in alerts {
        let fingerprint: Fingerprint = alert.parse()?;
        match dispatch.ask(|reply| request(fingerprint, reply)).await {
            Ok(()) => done.push(alert.as_str()),
            Err(error) => last_error = Some(error),
        }
    }
    match (done.is_empty(), last_error) {
        (true, Some(error)) => Err(error),
        _ => Ok(done.join(", ")),
    }
}

async fn silence(
    dispatch: &Dispatch,
    user: &str,
    span: Span,
    matchers: Vec<Matcher>,
    comment: String,
) -> Result<String, String> {
    let now = dispatch.status().view.at;
    let ends_at = now.plus_ms(span.millis());
    let comment = if comment.is_empty() { "asked for in the room".to_string() } else { comment };
    let words = matchers.iter().map(Matcher::to_string).collect::<Vec<_>>().join(", ");
    let draft = SilenceDraft { matchers, starts_at: now, ends_at, created_by: user.to_string(), comment };
    let id = dispatch.ask(|reply| Request::Silence { id: None, draft, reply }).await?;
    Ok(format!("silence {id} until {ends_at}: {words}"))
}

/// What makes the group of these alerts.
fn group_matchers(dispatch: &Dispatch, alerts: &[String]) -> Result<Vec<Matcher>, String> {
    let wanted: Result<Vec<Fingerprint>, String> = alerts.iter().map(|alert| alert.parse()).collect();
    let wanted = wanted?;
    let status = dispatch.status();
    let holds = |alerts: &[Fingerprint]| alerts.iter().any(|alert| wanted.contains(alert));
    let group = status.view.groups.iter().find(|group| holds(&group.alerts));
    let Some(group) = group else {
        return Err("these alerts are in no group any more, expected matchers such as node=\"a\"".to_string());
    };
    if group.labels.is_empty() {
        return Err("the group is that of all alerts, expected matchers such as node=\"a\"".to_string());
    }
    group.labels.iter().map(|(name, value)| Matcher::new(name, Operator::Equal, value)).collect()
}

fn alerts(dispatch: &Dispatch) -> String {
    let status = dispatch.status();
    let firing: Vec<&AlertView> = status.view.alerts.iter().filter(|alert| alert.ends_at.is_none()).collect();
    let label = |alert: &AlertView, name: &str| alert.labels.get(name).cloned().unwrap_or_default();
    let line = |alert: &&AlertView| {
        let summary = alert.annotations.get("summary").map(String::as_str).unwrap_or_default();
        let by = alert.acknowledgement.as_ref().map(|by| format!(" ({} takes care)", by.by));
        format!(
            "{} {} {} on {}: {summary}{}",
            alert.fingerprint,
            label(alert, "severity"),
            label(alert, "alertname"),
            label(alert, "node"),
            by.unwrap_or_default()
        )
    };
    match firing.len() {
        0 => "nothing fires".to_string(),
        count => bounded(firing.iter().take(LINES_MAX).map(line).collect(), count),
    }
}

async fn explain(dispatch: &Dispatch, alert: &str) -> Result<String, String> {
    let fingerprint: Fingerprint = alert.parse()?;
    let told = dispatch.ask(|reply| Request::Explain { fingerprint, reply }).await?;
    if told.decisions.is_empty() {
        return Err(format!("nothing is known of {alert}, expected the id of an alert of the last 30 days"));
    }
    let skipped = told.decisions.len().saturating_sub(LINES_MAX);
    let mut lines: Vec<String> = Vec::new();
    for decision in told.decisions.iter().skip(skipped) {
        let to = decision.receiver.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        lines.push(format!("{} {}{to}: {}", decision.at, decision.kind.name(), decision.reason));
    }
    let is_dead = |state| matches!(state, NotificationState::Dead { .. });
    let dead = told.notifications.iter().filter(|record| is_dead(record.state)).count();
    if dead > 0 {
        lines.push(format!("{dead} of its notifications were given up"));
    }
    Ok(bounded(lines, told.decisions.len()))
}

fn bounded(lines: Vec<String>, count: usize) -> String {
    let more = count.saturating_sub(LINES_MAX);
    let rest = if more > 0 { format!("\nand {more} more") } else { String::new() };
    lines.join("\n") + rest.as_str()
}

impl Hidden {
    /// True if any receiver is not to be told the names of nodes.
    pub fn hides_nodes(&self) -> bool {
        self.redact.values().any(|redact| *redact == Redact::AddressesAndNodes)
    }

    /// The text without what is to be hidden.
    fn apply(&self, text: String, dispatch: &Dispatch, receiver: &str) -> String {
        let redact = self.redact.get(receiver).copied().unwrap_or_default();
        let status = dispatch.status();
        self.nodes.learn(status.view.alerts.iter().filter_map(|alert| alert.labels.get("node")));
        redacted_text(&text, redact, &self.nodes.all())
    }
}
