//! `tocsin notify`: what was told to receivers and what was given up; and a sample to see that a receiver works.

mod sample;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::Value;
use tocsin_extractors::now_ms;

use super::Ended;
use super::arguments::{Format, NotifyAction, NotifyArguments};
use super::client::{Client, resolve};
use super::live::config::Config;
use super::progress::print_line;
use super::table::{columns, items, printable, second, text};

/// Hex digits of a notification's id.
const ID_DIGITS: usize = 32;
/// Notifications that an id is looked for in.
const SEARCHED: &str = "10000";

/// Runs the command.
pub fn run(arguments: &NotifyArguments) -> anyhow::Result<Ended> {
    let none = NotifyAction::List { dead: false, limit: 100 };
    let action = arguments.action.as_ref().unwrap_or(&none);
    if let NotifyAction::Test { receiver } = action {
        let Some(config) = &arguments.server.config else {
            bail!("--config is missing, expected the configuration with the receiver {receiver:?}");
        };
        return test(config, receiver);
    }
    let client = Client::new(&arguments.server)?;
    let show = |answer: &Value, for_people: fn(&Value) -> String| match arguments.format {
        Format::Json => print_line(&answer.to_string()),
        Format::Text => print_line(for_people(answer).trim_end()),
    };
    match action {
        NotifyAction::Test { .. } => {}
        NotifyAction::List { dead, limit } => {
            let query = [("only_dead", dead.to_string()), ("limit", limit.to_string())];
            let query = query.each_ref().map(|(name, value)| (*name, value.as_str()));
            show(&client.get("/api/tocsin/v1/notifications", &query)?, list);
        }
        NotifyAction::Resend { id } => {
            let query = [("only_dead", "true"), ("limit", SEARCHED)];
            let dead = client.get("/api/tocsin/v1/notifications", &query)?;
            let ids = dead.as_array().into_iter().flatten().filter_map(|record| record["id"].as_str());
            let id = resolve("given-up notification", id, ID_DIGITS, ids)?;
            client.post(&format!("/api/tocsin/v1/notifications/{id}/resend"), &Value::Null)?;
            print_line(&format!("notification {id} is tried again"));
        }
        NotifyAction::Receivers => show(&client.get("/api/tocsin/v1/receivers", &[])?, receivers),
    }
    Ok(Ended::Well)
}

/// Sends a sample to one receiver of a configuration, in one attempt as the program would make it. Needs no running
/// tocsin.
fn test(path: &Path, name: &str) -> anyhow::Result<Ended> {
    let plan = Config::load(path)?.plan()?;
    let receivers = plan.map(|plan| plan.addresses).unwrap_or_default();
    let Some(receiver) = receivers.iter().find(|receiver| receiver.name == name) else {
        let names: Vec<&str> = receivers.iter().map(|receiver| receiver.name.as_str()).collect();
        bail!("{}: there is no receiver {name:?}, expected one of {names:?}", path.display());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.context("cannot start threads")?;
    let started = Instant::now();
    let sent = runtime.block_on(receiver.attempt(sample::notification(name, now_ms() as i64), None));
    let (seconds, integration) = (started.elapsed().as_secs_f64(), receiver.integration);
    match sent {
        Ok(receipt) => {
            let reference = match receipt.reference.as_str() {
                "" => String::new(),
                reference => format!(" as {}", printable(reference, 200)),
            };
            print_line(&format!("{name}: delivered by {integration} in {seconds:.1} s{reference}"));
            Ok(Ended::Well)
        }
        Err(error) => {
            let again =
                if error.can_retry { "another attempt could help" } else { "no other attempt would help" };
            let text = printable(&error.text, 1000);
            print_line(&format!(
                "{name}: not delivered by {integration}: {text} ({}; {again})",
                error.failure
            ));
            Ok(Ended::Failed)
        }
    }
}

fn list(records: &Value) -> String {
    let row = |record: &Value| {
        [
            text(&record["id"]).to_string(),
            text(&record["receiver"]).to_string(),
            second(&record["decidedAt"]),
            text(&record["state"]).to_string(),
            second(&record["stateAt"]),
            record["attempts"].to_string(),
            text(&record["reasonText"]).to_string(),
            text(&record["lastError"]).to_string(),
        ]
    };
    let rows: Vec<_> = items(records).map(row).collect();
    if rows.is_empty() {
        return "no notifications".to_string();
    }
    columns(["ID", "RECEIVER", "DECIDED (UTC)", "STATE", "AT (UTC)", "ATTEMPTS", "WHY", "LAST ERROR"], &rows)
}

fn receivers(receivers: &Value) -> String {
    let row = |receiver: &Value| {
        let state = match receiver["brokenUntil"].is_string() {
            true => format!("left alone until {}", second(&receiver["brokenUntil"])),
            false => "ready".to_string(),
        };
        [
            text(&receiver["name"]).to_string(),
            text(&receiver["integration"]).to_string(),
            state,
            receiver["pending"].to_string(),
            receiver["dead"].to_string(),
            receiver["delivered"].to_string(),
            second(&receiver["deliveredAt"]),
            text(&receiver["lastError"]).to_string(),
        ]
    };
    let rows: Vec<_> = items(receivers).map(row).collect();
    let headings =
        ["RECEIVER", "BY", "STATE", "PENDING", "GIVEN UP", "DELIVERED", "LAST DELIVERED (UTC)", "LAST ERROR"];
    columns(headings, &rows)
}
