//! The shapes of Alertmanager's answers, and of the silence it is given.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tocsin_engine::dispatch::alert::Labels;
use tocsin_engine::dispatch::matcher::{Flags, Matcher};
use tocsin_engine::dispatch::silence::{Silence, SilenceDraft, SilenceState};
use tocsin_engine::dispatch::view::{AlertView, GroupView, View};
use tocsin_engine::time::Timestamp;

use super::super::super::status::Status;
use super::super::api::in_range;
use super::query::AlertsQuery;

/// The version whose API this is; `amtool` compares it with its own.
pub const VERSION: &str = "0.25.0";
/// An alert that fires says when it would end by itself if nothing were heard of it: Alertmanager's `resolve_timeout`.
const RESOLVE_TIMEOUT_MS: i64 = 300_000;

/// `gettableAlert`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownAlert<'v> {
    annotations: BTreeMap<&'v str, Cow<'v, str>>,
    ends_at: String,
    fingerprint: String,
    receivers: Vec<Value>,
    starts_at: String,
    status: Value,
    updated_at: String,
    labels: &'v Labels,
}

/// `alertGroup`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownGroup<'v> {
    alerts: Vec<ShownAlert<'v>>,
    labels: &'v Labels,
    receiver: Value,
}

/// `gettableSilence`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownSilence<'v> {
    id: &'v str,
    status: Value,
    updated_at: String,
    comment: &'v str,
    created_by: &'v str,
    ends_at: String,
    matchers: Vec<Value>,
    starts_at: String,
}

/// `postableSilence`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostedSilence {
    #[serde(default)]
    id: Option<String>,
    matchers: Vec<PostedMatcher>,
    starts_at: String,
    ends_at: String,
    created_by: String,
    comment: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostedMatcher {
    name: String,
    value: String,
    is_regex: bool,
    #[serde(default = "yes")]
    is_equal: bool,
}

fn yes() -> bool {
    true
}

/// `alertmanagerStatus`.
pub fn status(status: &Status, configuration: &str) -> Value {
    let revision = concat!("tocsin ", env!("CARGO_PKG_VERSION"));
    json!({
        "cluster": {"name": "tocsin", "peers": [], "status": if status.is_ready { "ready" } else { "settling" }},
        "config": {"original": configuration},
        "uptime": instant(Timestamp::from_unix_ms(status.started_at_ms as i64)),
        "versionInfo": {
            "branch": "", "buildDate": "", "buildUser": "", "goVersion": "",
            "revision": revision, "version": VERSION,
        },
    })
}

/// RFC 3339.
fn instant(at: Timestamp) -> String {
    in_range(at).to_string()
}

/// Whether an alert is held back.
pub fn is_suppressed(alert: &AlertView) -> bool {
    !(alert.silenced_by.is_empty() && alert.inhibited_by.is_empty() && alert.muted_by.is_empty())
}

/// A text that may hold what a peer sent, as clients can print it: `amtool` would hand escape sequences to the terminal.
/// Labels stay as they are, since silences compare with them.
fn without_controls(text: &str) -> Cow<'_, str> {
    let is_bad = |c: char| c.is_control() && c != '\n';
    match text.contains(is_bad) {
        true => text.replace(is_bad, "\u{fffd}").into(),
        false => text.into(),
    }
}

impl<'v> ShownAlert<'v> {
    /// An alert as it is at an instant.
    pub fn new(alert: &'v AlertView, now: Timestamp) -> Self {
        let annotations = alert.annotations.iter();
        let inhibited_by: Vec<String> = alert.inhibited_by.iter().map(ToString::to_string).collect();
        ShownAlert {
            annotations: annotations.map(|(name, text)| (name.as_str(), without_controls(text))).collect(),
            ends_at: instant(alert.ends_at.unwrap_or(now.plus_ms(RESOLVE_TIMEOUT_MS))),
            fingerprint: alert.fingerprint.to_string(),
            receivers: alert.receivers.iter().map(|name| json!({"name": name})).collect(),
            starts_at: instant(alert.starts_at),
            status: json!({
                "state": if is_suppressed(alert) { "suppressed" } else { "active" },
                "silencedBy": alert.silenced_by,
                "inhibitedBy": inhibited_by,
                "mutedBy": alert.muted_by,
            }),
            updated_at: instant(alert.updated_at),
            labels: &alert.labels,
        }
    }
}

impl<'v> ShownGroup<'v> {
    /// The groups that have alerts that are asked for, in order of their labels.
    pub fn all(view: &'v View, query: &AlertsQuery) -> Vec<Self> {
        let mut groups: Vec<&GroupView> =
            view.groups.iter().filter(|group| query.takes_receiver(&group.receiver)).collect();
        groups.sort_by_key(|group| (&group.labels, &group.receiver));
        let shown = |group: &'v GroupView| {
            let find = |fingerprint| {
                let place = view.alerts.binary_search_by_key(fingerprint, |alert| alert.fingerprint).ok()?;
                Some(&view.alerts[place])
            };
            let alerts = group.alerts.iter().filter_map(find).filter(|alert| query.takes(alert));
            let alerts: Vec<_> = alerts.map(|alert| ShownAlert::new(alert, view.at)).collect();
            let receiver = json!({"name": group.receiver});
            (!alerts.is_empty()).then_some(ShownGroup { alerts, labels: &group.labels, receiver })
        };
        groups.into_iter().filter_map(shown).collect()
    }
}

impl<'v> ShownSilence<'v> {
    /// A silence as it is at an instant.
    pub fn new(silence: &'v Silence, now: Timestamp) -> Self {
        let draft = &silence.draft;
        let matcher = |matcher: &Matcher| {
            let Flags { is_regex, is_equal } = matcher.operator.flags();
            json!({"isEqual": is_equal, "isRegex": is_regex, "name": matcher.name, "value": matcher.value})
        };
        ShownSilence {
            id: &silence.id,
            status: json!({"state": silence.state(now).as_str()}),
            updated_at: instant(silence.updated_at),
            comment: &draft.comment,
            created_by: &draft.created_by,
            ends_at: instant(draft.ends_at),
            matchers: draft.matchers.iter().map(matcher).collect(),
            starts_at: instant(draft.starts_at),
        }
    }
}

/// Active silences first, those that end soonest before others; then pending ones, the next before others; then expired
/// ones, newest first. As Alertmanager sorts them.
pub fn silence_order(silence: &Silence, now: Timestamp) -> (u8, Timestamp, Reverse<Timestamp>) {
    let draft = &silence.draft;
    match silence.state(now) {
        SilenceState::Active => (0, draft.ends_at, Reverse(Timestamp::MIN)),
        SilenceState::Pending => (1, draft.starts_at, Reverse(Timestamp::MIN)),
        SilenceState::Expired => (2, Timestamp::MIN, Reverse(draft.ends_at)),
    }
}

impl PostedSilence {
    /// Reads a body: the id, if one is given, and what the silence is to be. The error says what would be right.
    pub fn read(body: &[u8], now: Timestamp) -> Result<(Option<String>, SilenceDraft), String> {
        let posted: PostedSilence =
            serde_json::from_slice(body).map_err(|error| format!("the silence is wrong: {error}"))?;
        let matcher = |matcher: &PostedMatcher| {
            let operator = Flags { is_regex: matcher.is_regex, is_equal: matcher.is_equal }.into();
            Matcher::new(&matcher.name, operator, &matcher.value)
        };
        let draft = SilenceDraft {
            matchers: posted.matchers.iter().map(matcher).collect::<Result<_, _>>()?,
            starts_at: read_instant("startsAt", &posted.starts_at)?,
            ends_at: read_instant("endsAt", &posted.ends_at)?,
            created_by: posted.created_by,
            comment: posted.comment,
        };
        draft.check(now)?;
        Ok((posted.id.filter(|id| !id.is_empty()), draft))
    }
}

fn read_instant(name: &str, text: &str) -> Result<Timestamp, String> {
    let instant: Result<jiff::Timestamp, _> = text.parse();
    let instant = instant.map_err(|_| {
        format!("{name} is {text:?}, expected an instant of RFC 3339 such as 2026-11-21T18:00:00Z")
    })?;
    Ok(Timestamp::from_unix_ms(instant.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_795_229_905_000);

    fn silence(matchers: &str, starts_at: &str, ends_at: &str) -> String {
        format!(
            r#"{{"matchers":{matchers},"startsAt":"{starts_at}","endsAt":"{ends_at}","createdBy":"me","comment":""}}"#
        )
    }

    const MATCHERS: &str = r#"[{"name":"node","value":"hal","isRegex":false}]"#;

    #[test]
    fn nothing_in_an_annotation_steers_a_terminal() {
        assert_eq!(without_controls("a\x1b[31m\nb"), "a\u{fffd}[31m\nb");
    }

    #[test]
    fn a_silence_is_read() {
        let body = silence(MATCHERS, "2026-11-21T02:00:00Z", "2026-11-21T04:00:00.5+01:00");
        let (id, draft) = PostedSilence::read(body.as_bytes(), NOW).expect("a silence");
        assert_eq!(id, None);
        assert_eq!(draft.matchers[0].to_string(), "node=\"hal\"");
        assert_eq!(draft.ends_at.to_string(), "2026-11-21T03:00:00.500Z");
    }

    #[test]
    fn a_wrong_silence_says_what_would_be_right() {
        let (first, last) = ("2026-11-21T02:00:00Z", "2026-11-21T04:00:00Z");
        let check = |body: &str, expected: &str| {
            let error = PostedSilence::read(body.as_bytes(), NOW).expect_err(body);
            assert!(error.contains(expected), "{error}");
        };
        check("", "the silence is wrong");
        check("{}", "matchers");
        check(&silence("[]", first, last), "no matchers");
        check(&silence(r#"[{"name":"a","value":"b"}]"#, first, last), "isRegex");
        check(&silence(MATCHERS, last, first), "later than its start");
        check(&silence(MATCHERS, first, "2026-11-21T02:30:00Z"), "later than now");
        check(&silence(MATCHERS, "now", last), "RFC 3339");
    }
}
