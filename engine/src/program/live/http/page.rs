//! The live picture as one page that loads nothing else and reloads itself.
//!
//! What is in it may come from attackers: every text passes through [`escape`], and there is no other way into a cell.

mod dispatch;

use std::fmt::Write as _;

use tocsin_engine::alerts::State;
use tocsin_engine::engine::AlertReport;
use tocsin_engine::time::Timestamp;
use tocsin_engine::windows::Reading;

use super::super::status::Status;
use super::{api, status_name};

pub use dispatch::Told;

/// Alerts shown; a flood of them must not be one for the browser too. `/api/v1/alerts` has them all.
const ALERTS_MAX: usize = 200;
/// Characters of a cell shown.
const CELL_MAX: usize = 400;
const STYLE: &str = "
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif }
body { margin: 1.5rem auto; max-width: 90rem; padding: 0 1rem }
h1 { font-size: 1.3rem } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid #8884; vertical-align: top;
  overflow-wrap: anywhere }
th { font-weight: 600; opacity: .7 }
.bad td:first-child { color: #d22; font-weight: 600 } .warn td:first-child { color: #b70; font-weight: 600 }
.quiet { opacity: .7 }
";

/// How a row looks.
#[derive(Clone, Copy)]
enum Look {
    Plain,
    Warn,
    Bad,
}

/// A row's look and the texts of its cells.
type Row = (Look, Vec<String>);

/// The page.
pub fn render(status: &Status, told: Option<Told>) -> String {
    let mut page = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width\">");
    page.push_str("<meta http-equiv=\"refresh\" content=\"5\"><title>");
    let firing = status.alerts.iter().filter(|alert| alert.state == State::Firing).count();
    let _ = write!(page, "{firing} firing, tocsin</title><style>{STYLE}</style></head><body>");
    let state = if status.is_ready { "" } else { ", catching up" };
    let at = instant(status.at_ms);
    let _ =
        write!(page, "<h1>{firing} firing</h1><p class=\"quiet\">{}</p>", escape(&format!("{at}{state}")));
    alerts(&mut page, status, told);
    if let Some(told) = told {
        dispatch::receivers(&mut page, told.status);
        dispatch::silences(&mut page, told.status);
        dispatch::notifications(&mut page, told.notifications);
    }
    troubles(&mut page, status);
    nodes(&mut page, status);
    extractors(&mut page, status);
    rules(&mut page, status);
    store(&mut page, status, told);
    page.push_str("</body></html>\n");
    page
}

fn alerts(page: &mut String, status: &Status, told: Option<Told>) {
    let marks = dispatch::marks(status, told);
    let mut alerts: Vec<&AlertReport> = status.alerts.iter().collect();
    alerts
        .sort_by_key(|alert| (alert.state == State::Pending, std::cmp::Reverse(alert.severity), alert.since));
    let row = |alert: &&AlertReport| {
        let mark = marks(alert);
        let look = match (alert.state, &mark) {
            // Somebody has seen it.
            (State::Firing, Some(_)) => Look::Plain,
            (State::Firing, None) => Look::Bad,
            _ => Look::Warn,
        };
        let key: Vec<String> = alert.key.parts().map(|(name, text)| format!("{name}={text}")).collect();
        let cells = [
            alert.state.name(),
            &alert.severity.to_string(),
            &alert.rule,
            &alert.node,
            &key.join(" "),
            &alert.since.to_string(),
            &format!("{} / {}", number(alert.value), number(alert.limit)),
            &alert.summary,
            &mark.unwrap_or_default(),
        ];
        (look, cells.map(str::to_string).to_vec())
    };
    let rows = alerts.iter().take(ALERTS_MAX).map(row);
    table(page, "Alerts", "state,severity,rule,node,key,since,value / limit,summary,held back", rows);
    if alerts.len() > ALERTS_MAX {
        let _ = write!(page, "<p class=\"quiet\">and {} more: /api/v1/alerts</p>", alerts.len() - ALERTS_MAX);
    }
}

/// Rules that did not load or erred lately.
fn troubles(page: &mut String, status: &Status) {
    let unloaded =
        status.load_errors.iter().map(|error| (Look::Bad, vec!["not loaded".into(), error.clone()]));
    let is_erring = |rule: &&super::super::status::RuleEntry| api::health(rule, status.at_ms) == "err";
    let erring = status.rules.iter().filter(is_erring).map(|rule| {
        let error = rule.report.health.last_error.clone().unwrap_or_default();
        (Look::Warn, vec!["erring".to_string(), format!("{}: {error}", rule.report.name)])
    });
    let rows: Vec<Row> = unloaded.chain(erring).collect();
    if !rows.is_empty() {
        table(page, "Rules in trouble", "what,error", rows.into_iter());
    }
}

fn nodes(page: &mut String, status: &Status) {
    let rows = status.nodes.iter().map(|node| {
        let events: u64 = node.report.events.iter().map(|(_, count)| count).sum();
        let lost = status.lost.iter().filter(|((name, _), _)| **name == *node.report.name);
        let lost: u64 = lost.map(|(_, count)| count).sum();
        let cells = vec![
            node.report.name.to_string(),
            instant(node.last_event_ms),
            events.to_string(),
            lost.to_string(),
            node.report.late.to_string(),
            (node.report.undecodable + node.report.implausible).to_string(),
            format!("{:.3}", node.lag_ms as f64 / 1000.0),
            format!("{:.3}", node.report.skew_ms as f64 / 1000.0),
        ];
        (if lost > 0 { Look::Warn } else { Look::Plain }, cells)
    });
    table(page, "Nodes", "node,last event,events,lost,late,dropped,lag s,skew s", rows);
}

fn extractors(page: &mut String, status: &Status) {
    let extractors = status.extractors.iter().map(|((node, name), state)| {
        let cells = vec![
            if state.is_up { "up" } else { "waiting" }.to_string(),
            node.clone(),
            name.clone(),
            state.detail.clone(),
            instant(state.since_ms),
            state.events.to_string(),
            state.errors.to_string(),
            state.lost.to_string(),
            state.last_error.clone().unwrap_or_default(),
        ];
        (if state.is_up { Look::Plain } else { Look::Bad }, cells)
    });
    table(page, "Extractors", "state,node,extractor,detail,since,events,errors,lost,last error", extractors);
    if status.sources.is_empty() {
        return;
    }
    let sources = status.sources.iter().map(|source| {
        let state = if source.is_connected { "connected" } else { "away" };
        let numbers =
            [source.messages, source.disconnects, source.slow_consumer].map(|count| count.to_string());
        let cells = [state.to_string(), source.name.clone()].into_iter().chain(numbers).collect();
        (if source.is_connected { Look::Plain } else { Look::Bad }, cells)
    });
    table(page, "NATS", "state,source,messages,disconnects,slow consumer", sources);
}

fn rules(page: &mut String, status: &Status) {
    let rows = status.rules.iter().map(|rule| {
        let health = &rule.report.health;
        let cells = vec![
            rule.report.name.to_string(),
            rule.severity.to_string(),
            status_name(rule.status).to_string(),
            rule.report.firing.to_string(),
            health.evaluations.to_string(),
            health.findings.to_string(),
            health.failures.to_string(),
            rule.header.title.clone(),
        ];
        (Look::Plain, cells)
    });
    table(page, "Rules", "rule,severity,status,firing,evaluations,findings,failures,finds", rows);
}

fn store(page: &mut String, status: &Status, told: Option<Told>) {
    let recording = status.recording.iter().map(|recording| {
        let (files, bytes) = recording.kept;
        let text = format!(
            "{}: {} events, {} not recorded; {files} files of {bytes} bytes kept",
            recording.file, recording.events, recording.failed
        );
        let error = recording.last_error.clone().unwrap_or_default();
        (
            if recording.failed > 0 { Look::Bad } else { Look::Plain },
            vec!["recording".to_string(), text, error],
        )
    });
    let checkpoint = status.checkpoint.iter().map(|checkpoint| {
        let (at, bytes) = (instant(checkpoint.at_ms), checkpoint.bytes);
        let text =
            format!("{at}, {bytes} bytes in {:.3} s; {} failed", checkpoint.seconds, checkpoint.failed);
        (Look::Plain, vec!["checkpoint".to_string(), text, String::new()])
    });
    let dispatch = told.map(|told| dispatch::store(&told.status.store));
    table(page, "Store", "what,state,last error", recording.chain(checkpoint).chain(dispatch));
}

/// A heading and a table; `headings` are separated by commas.
fn table(page: &mut String, title: &str, headings: &str, rows: impl Iterator<Item = Row>) {
    let mut rows = rows.peekable();
    let _ = write!(page, "<h2>{}</h2>", escape(title));
    if rows.peek().is_none() {
        page.push_str("<p class=\"quiet\">none</p>");
        return;
    }
    page.push_str("<table><tr>");
    page.extend(headings.split(',').map(|heading| format!("<th>{}</th>", escape(heading))));
    page.push_str("</tr>\n");
    for (look, cells) in rows {
        let class = match look {
            Look::Plain => "",
            Look::Warn => " class=\"warn\"",
            Look::Bad => " class=\"bad\"",
        };
        let _ = write!(page, "<tr{class}>");
        page.extend(cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))));
        page.push_str("</tr>\n");
    }
    page.push_str("</table>");
}

/// A text as it can stand in an element: no markup, and no invisible characters that turn around what follows.
fn escape(text: &str) -> String {
    let mut shown: String =
        text.chars().take(CELL_MAX).map(|c| if is_hidden(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(CELL_MAX).is_some() {
        shown.push('…');
    }
    tocsin_notifiers::template::escape(&shown)
}

/// Source of the list: Unicode's properties Control and Bidi_Control.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// An instant of the program's clock; 0 is never.
fn instant(unix_ms: u64) -> String {
    match i64::try_from(unix_ms) {
        Ok(0) => "never".to_string(),
        Ok(ms) => Timestamp::from_unix_ms(ms).to_string(),
        Err(_) => format!("{unix_ms} ms"),
    }
}

fn number(reading: Reading) -> String {
    match reading {
        Reading::Nothing => "-".to_string(),
        Reading::Int(value) => value.to_string(),
        Reading::Float(value) => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(
            escape("<a href='x'>&\"\n\u{202e}"),
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\u{fffd}\u{fffd}"
        );
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(escape(&"ä".repeat(CELL_MAX + 1)), format!("{}…", "ä".repeat(CELL_MAX)));
    }
}
