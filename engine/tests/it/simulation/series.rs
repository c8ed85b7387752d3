//! The default series, as they are shipped, and where the simulation has what they read.

use std::fs;

use tocsin_engine::detectors::{Direction, Kind as DetectorKind};
use tocsin_engine::windows::watch::{HeardBy, Take, Watched};
use tocsin_testing::simulation::incident::Kind;
use toml::{Table, Value};

const SECOND_NS: f64 = 1e9;
const MS_NS: f64 = 1e6;

/// A series, one of its keys, the reading that the simulation has for it, and the unit that reading is in.
const READINGS: [(&str, &str, &str, f64); 44] = [
    ("inbound_connections", "", "inbound", 1.0),
    ("inbound_by_network", "ipv4", "inbound/ipv4", 1.0),
    ("inbound_by_network", "ipv6", "inbound/ipv6", 1.0),
    ("inbound_by_network", "onion", "inbound/onion", 1.0),
    ("inbound_by_network", "i2p", "inbound/i2p", 1.0),
    ("outbound_connections", "", "outbound", 1.0),
    ("outbound_by_network", "ipv4", "outbound/ipv4", 1.0),
    ("outbound_by_network", "ipv6", "outbound/ipv6", 1.0),
    ("outbound_by_network", "onion", "outbound/onion", 1.0),
    ("outbound_by_network", "i2p", "outbound/i2p", 1.0),
    ("connections_opened", "", "opened", 1.0),
    ("connections_closed", "", "closed", 1.0),
    ("connections_evicted", "", "evicted", 1.0),
    ("connection_lifetimes", "", "closed/age_median", 1.0),
    ("addr_entries", "", "addr/entries", 1.0),
    ("inv_entries", "", "inv/entries", 1.0),
    ("inv_to_send", "", "queue/max", 1.0),
    ("transactions_accepted", "", "transactions/added", 1.0),
    ("transactions_rejected", "", "transactions/rejected", 1.0),
    ("transactions_replaced", "", "transactions/replaced", 1.0),
    ("mempool_size", "", "mempool/bytes", 1.0),
    ("mempool_min_fee", "", "mempool/fee_min", 1.0),
    ("orphans", "", "orphans/count", 1.0),
    ("orphan_weight", "", "orphans/weight", 1.0),
    ("block_connect_time", "", "block/connect_s", SECOND_NS),
    ("addrman_new", "", "addrman/new", 1.0),
    ("addrman_tried", "", "addrman/tried", 1.0),
    ("ping_backlog", "", "ping/median", MS_NS),
    ("message_handler_cpu", "", "handler", 1.0),
    ("log_warnings", "", "log/warning", 1.0),
    ("log_lines", "", "log/info", 1.0),
    ("log_debug_lines", "", "log/debug", 1.0),
    ("message_bytes", "addr", "received/addr", 1.0),
    ("message_bytes", "addrv2", "received/addrv2", 1.0),
    ("message_bytes", "cmpctblock", "received/cmpctblock", 1.0),
    ("message_bytes", "getblocktxn", "received/getblocktxn", 1.0),
    ("message_bytes", "getdata", "received/getdata", 1.0),
    ("message_bytes", "getheaders", "received/getheaders", 1.0),
    ("message_bytes", "headers", "received/headers", 1.0),
    ("message_bytes", "inv", "received/inv", 1.0),
    ("message_bytes", "ping", "received/ping", 1.0),
    ("message_bytes", "pong", "received/pong", 1.0),
    ("message_bytes", "tx", "received/tx", 1.0),
    ("netgroup_share", "", "netgroup/messages", 1.0),
];

/// A series of one key, and how its rule judges it.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Series and key: `inbound_by_network/onion`.
    pub name: String,
    /// The reading of the simulation, and what turns it into the unit of the series.
    pub reading: &'static str,
    pub unit: f64,
    pub watched: Watched,
    /// Name of the series, and least effect as it is written.
    pub series: String,
    pub effect_min: f64,
    /// A count or a sum of what happened in a step; steps without any are zero.
    pub is_total: bool,
    /// What peer-observer-agents' sweep asks of the effect; of totals per minute.
    pub sweep_min: f64,
}

pub fn read(name: &str) -> String {
    let path = crate::root().join("rules/anomaly").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The default series, with every key that a node has.
///
/// # Panics
///
/// If the list has a series that the simulation does not know: it must be added there.
pub fn defaults() -> Vec<Subject> {
    let list: Table = read("series.toml").parse().expect("a list of series");
    let tables = list["series"].as_array().expect("series are tables");
    let mut subjects = Vec::new();
    for table in tables.iter().map(|value| value.as_table().expect("a table")) {
        let name = text(table, "name", "");
        let before = subjects.len();
        let keys = READINGS.iter().filter(|(of, key, ..)| *of == name && is_watched(table, key));
        for (_, key, reading, unit) in keys {
            subjects.push(subject(table, name, key, reading, *unit));
        }
        assert!(subjects.len() > before, "series {name} is not simulated");
    }
    subjects
}

/// Whether the series' filters leave its key, if it has one.
fn is_watched(table: &Table, key: &str) -> bool {
    let by = table.get("by").and_then(Value::as_array).and_then(|by| by.first()).and_then(Value::as_str);
    let field = by.and_then(|by| by.rsplit('.').next()).unwrap_or_default();
    let has =
        |list: &Value| list.as_array().is_some_and(|list| list.iter().any(|item| item.as_str() == Some(key)));
    match table.get("where").and_then(|filter| filter.get(field)) {
        Some(list @ Value::Array(_)) => has(list),
        Some(Value::Table(condition)) => !condition.get("not").is_some_and(has),
        _ => true,
    }
}

fn text<'t>(table: &'t Table, key: &str, otherwise: &'t str) -> &'t str {
    table.get(key).map_or(otherwise, |value| value.as_str().expect("a text"))
}

fn subject(table: &Table, name: &str, key: &str, reading: &'static str, unit: f64) -> Subject {
    let take = text(table, "take", "last");
    let take = Take::NAMES.iter().find(|(known, _)| *known == take).expect("a known aggregate").1;
    let span_ms = |key, otherwise| {
        let text = text(table, key, otherwise);
        let (number, unit) = text.split_at(text.len() - 1);
        let unit_ms = match unit {
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => 86_400_000,
        };
        number.parse::<i64>().expect("a duration") * unit_ms
    };
    let effect_min = match table.get("effect_min") {
        Some(Value::Integer(number)) => *number as f64,
        Some(Value::Float(number)) => *number,
        _ => 0.0,
    };
    let is_total = matches!(take, Take::Count | Take::Sum | Take::PollCount | Take::PollSum | Take::PollMax);
    let whole = if key.is_empty() { name.to_string() } else { format!("{name}/{key}") };
    Subject {
        name: whole,
        series: name.to_string(),
        effect_min,
        reading,
        unit,
        watched: Watched {
            // A share is simulated as such.
            take: if take == Take::TopShare { Take::Last } else { take },
            step_ms: span_ms("step", "10s"),
            detector: DetectorKind::Default,
            season_ms: span_ms("season", "1d"),
            direction: match text(table, "direction", "both") {
                "up" => Direction::Up,
                "down" => Direction::Down,
                _ => Direction::Both,
            },
            effect_min,
            heard_by: if is_total { HeardBy::Polls } else { HeardBy::Samples },
        },
        is_total: matches!(take, Take::Count | Take::Sum),
        sweep_min: sweep_min(reading) * unit,
    }
}

/// Smallest effects of the sweep: `inbound_conns` 5, `outbound_conns` 2, addr 0.5 a second, and so on.
fn sweep_min(reading: &str) -> f64 {
    match reading {
        _ if reading.starts_with("inbound") => 5.0,
        _ if reading.starts_with("outbound") => 2.0,
        "addr/entries" => 0.5 * 60.0,
        "evicted" => 0.1 * 60.0,
        "queue/max" => 100.0,
        "ping/median" => 20.0,
        "block/connect_s" => 0.1,
        "transactions/rejected" | "transactions/added" => 60.0,
        "transactions/replaced" => 0.5 * 60.0,
        _ if reading.starts_with("log/") => 60.0,
        _ => 0.0,
    }
}

/// Readings in which an incident must show: one of them is enough.
pub fn shows_in(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::InboundDrop | Kind::InboundGone => &["inbound", "inbound/ipv4"],
        Kind::InboundFlood => &["opened", "closed"],
        Kind::OutboundDrop => &["outbound", "outbound/ipv4"],
        Kind::AddrFlood => &["addr/entries", "received/addrv2"],
        Kind::PingBacklog => &["ping/median"],
        Kind::InvToSend => &["queue/max", "ping/median", "handler", "inbound"],
        Kind::InvFlood => &["inv/entries", "received/inv"],
        Kind::TransactionFlood => &["transactions/added", "handler", "inv/entries", "queue/max"],
        Kind::OrphanFlood => &["orphans/count", "orphans/weight"],
        Kind::RejectFlood => &["transactions/rejected"],
        Kind::SlowBlocks => &["block/connect_s"],
        Kind::LogFlood => &["log/warning"],
    }
}
