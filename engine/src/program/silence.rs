//! `tocsin silence`: what shall not be told for a while.

use anyhow::bail;
use serde_json::{Value, json};
use tocsin_engine::dispatch::matcher::Matcher;
use tocsin_engine::time::Timestamp;
use tocsin_extractors::now_ms;

use super::Ended;
use super::arguments::{Format, SilenceAction, SilenceAddArguments, SilenceArguments};
use super::client::{Client, resolve};
use super::progress::print_line;
use super::table::{columns, items, printable, second, text};

/// Characters of a silence's id, a UUID.
const ID_CHARS: usize = 36;

/// Runs the command.
pub fn run(arguments: &SilenceArguments) -> anyhow::Result<Ended> {
    let client = Client::new(&arguments.server)?;
    match arguments.action.as_ref().unwrap_or(&SilenceAction::List { expired: false }) {
        SilenceAction::Add(silence) => {
            let answer = client.post("/api/v2/silences", &body(silence, now_ms() as i64)?)?;
            match arguments.format {
                Format::Json => print_line(&answer.to_string()),
                Format::Text => print_line(answer["silenceID"].as_str().unwrap_or_default()),
            }
        }
        SilenceAction::List { expired } => {
            let expired = if *expired { "true" } else { "false" };
            let silences = client.get("/api/v2/silences", &[("expired", expired)])?;
            match arguments.format {
                Format::Json => print_line(&silences.to_string()),
                Format::Text => print_line(list(&silences).trim_end()),
            }
        }
        SilenceAction::Expire { id } => {
            let silences = client.get("/api/v2/silences", &[("expired", "false")])?;
            let ids = silences.as_array().into_iter().flatten().filter_map(|silence| silence["id"].as_str());
            let id = resolve("silence", id, ID_CHARS, ids)?;
            client.delete(&format!("/api/v2/silence/{id}"))?;
            print_line(&format!("silence {id} has ended"));
        }
    }
    Ok(Ended::Well)
}

/// What is posted; `now_ms` is unix ms.
fn body(silence: &SilenceAddArguments, now_ms: i64) -> anyhow::Result<Value> {
    let mut matchers = Vec::new();
    for text in &silence.matchers {
        let matcher = Matcher::parse(text).map_err(|error| anyhow::anyhow!("{error}"))?;
        let flags = matcher.operator.flags();
        matchers.push(json!({
            "name": matcher.name, "value": matcher.value,
            "isRegex": flags.is_regex, "isEqual": flags.is_equal,
        }));
    }
    let starts_at = match &silence.start {
        None => Timestamp::from_unix_ms(now_ms),
        Some(text) => match text.parse::<jiff::Timestamp>() {
            Ok(instant) => Timestamp::from_unix_ms(instant.as_millisecond()),
            Err(_) => bail!("--start {text}: expected an instant such as 2026-11-21T18:00:00Z"),
        },
    };
    Ok(json!({
        "matchers": matchers,
        "startsAt": starts_at.to_string(),
        "endsAt": starts_at.plus_ms(silence.span.millis()).to_string(),
        "createdBy": silence.by.clone().unwrap_or_else(super::user),
        "comment": silence.comment,
    }))
}

fn list(silences: &Value) -> String {
    let row = |silence: &Value| {
        let matchers: Vec<String> = items(&silence["matchers"]).map(matcher).collect();
        [
            text(&silence["id"]).to_string(),
            text(&silence["status"]["state"]).to_string(),
            second(&silence["startsAt"]),
            second(&silence["endsAt"]),
            text(&silence["createdBy"]).to_string(),
            matchers.join(" "),
            text(&silence["comment"]).to_string(),
        ]
    };
    let rows: Vec<_> = items(silences).map(row).collect();
    if rows.is_empty() {
        return "no silences".to_string();
    }
    columns(["ID", "STATE", "FROM (UTC)", "UNTIL (UTC)", "BY", "ALERTS", "COMMENT"], &rows)
}

/// A matcher as it is written.
fn matcher(matcher: &Value) -> String {
    let operator = match (matcher["isRegex"] == true, matcher["isEqual"] == true) {
        (false, true) => "=",
        (false, false) => "!=",
        (true, true) => "=~",
        (true, false) => "!~",
    };
    let text = |name: &str| matcher[name].as_str().unwrap_or_default();
    printable(&format!("{}{operator}{:?}", text("name"), text("value")), 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(matchers: &[&str], start: Option<&str>) -> SilenceAddArguments {
        SilenceAddArguments {
            matchers: matchers.iter().map(ToString::to_string).collect(),
            span: "2h".parse().expect("a span"),
            comment: "why".to_string(),
            start: start.map(str::to_string),
            by: Some("me".to_string()),
        }
    }

    #[test]
    fn a_silence_lasts_from_its_start() {
        let silence =
            body(&add(&["node=hal", "severity!~\"crit.*\""], None), 1_795_229_905_000).expect("right");
        assert_eq!(silence["startsAt"], "2026-11-21T02:58:25.000Z");
        assert_eq!(silence["endsAt"], "2026-11-21T04:58:25.000Z");
        assert_eq!(
            (&silence["matchers"][1]["isRegex"], &silence["matchers"][1]["isEqual"]),
            (&json!(true), &json!(false))
        );
        let later = body(&add(&["node=hal"], Some("2026-11-22T01:00:00+01:00")), 0).expect("right");
        assert_eq!(later["endsAt"], "2026-11-22T02:00:00.000Z");
    }

    #[test]
    fn what_is_wrong_is_said_before_anything_is_asked() {
        assert!(body(&add(&["node"], None), 0).is_err());
        let error = body(&add(&["node=hal"], Some("tomorrow")), 0).expect_err("no instant").to_string();
        assert!(error.contains("--start tomorrow"), "{error}");
    }
}
