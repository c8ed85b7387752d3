//! Four weeks of a normal Bitcoin node on mainnet: what a monitor sees of it, step by step.
//!
//! For measuring how often detectors cry wolf, and whether they find what is put into it. It simulates what happens at a
//! node (peers that come, stay and leave; transactions that wait for blocks; blocks at random times; a message handler
//! that does one thing at a time), not the shape of each series by itself: so series move together as they do on a node,
//! and one cause shows in many of them. Deterministic: the same seed gives the same four weeks.
//!
//! # Why this is like a node
//!
//! Figures are from the project's notes on peer-observer (P: section), on Bitcoin Core (C: section) and on detection
//! (D: section), and from two real series of the network (KIT DSN monitor, CC BY 4.0, doi 10.5281/zenodo.14627525),
//! measured on their logarithms with seven-day medians as trend and medians by hour and weekday as season; "deviation" is
//! 1.4826 times the median absolute one. What the simulation gives stands in brackets where it can be compared: the mean of
//! eight seeds, measured in the same way.
//!
//! | what | how | source |
//! |---|---|---|
//! | inbound peers | 30 to 114 slots, with evictions where they are all taken, mixture of stays of 40 min, 6 h, 4 days | P5 baselines 40 to 125 peers; C0; P5 D longest stay 243 h |
//! | share of nodes up | day 0.42 %, week 0.26 %, noise 1 % of which 65 % has a memory of 15 h | `connected_ips`: 0.41 to 0.42 %; 0.26 %; 1.0 %; correlation .63/.44/.30/.14 after 1/6/12/24 h |
//! | hiccups of the line | 6.5 in four weeks, 5 to 25 % of the peers, over in about an hour | `connected_ips`: 6.5 drops of 5 to 24 %, a quarter of 10 % or more, 0.5 to 1.5 h |
//! | connections | three to seven a minute, most closed within a second; crawlers in bursts | P5 baselines 3 a minute; P2.4 9,710 closed a day; P5 D median 580 ms, 90 % 987 ms |
//! | outbound | 8 + 2 that stay for days, a feeler each 2 min, a further one each 5 min for 43 s | C7 baselines; P5 D median 43.1 s |
//! | addresses | 0.0125 a second and peer, talkative peers over 0.1, up to 1000 at once from a new outbound peer | P5 E honest 0 to 0.025; P4 (3); C3.3; day total about P5 F 50 to 65 thousand unique |
//! | transactions | 5.1 a second, day 18 %, weekend -12 %, drifts of 12 % over an hour and over days, storms of 1.3 to 2.5 times | P2.4 441,394 a day; seasons judged: no figure at hand |
//! | announcements | 0.08 to 0.27 of a transaction's per peer | P2.4 3.3 million a day; P5 1,037,820 for 40,392 by 96 peers |
//! | blocks | Poisson, 600 s; take 3300 transactions that pay best | C7 |
//! | connecting a block | lognormal, 150 ms; five times that after a start; a cache written once an hour | P3.8 calls 100 ms more unusual; P5 K attack 64 to 92 s |
//! | ping | milliseconds, queueing with load, single ones of 100 to 200 ms, waits for blocks and caches | C3.2; recordings of quiet nodes |
//! | peers' ping | noise 5 %, memory of 4 h and days, detours | `ping_median_ms` since 2021: 5.4 % (5.5); correlation .60/.44/.23/.12 (.60/.39/.09/.01) after 1/2/6/12 h; 8 % (6) beyond 3 deviations |
//! | orphans | most find their parents in a minute, a tenth stays, chains come at once | C3.3: no expiry since version 30 |
//! | queues of announcements | flushed every 5 s, 7 a second (14 from version 31 on), shorter after blocks | C3.2; C7 over 1000 for 5 min is unusual |
//! | message handler | 1.8 % for each transaction a second, blocks, served blocks | P5 H: 33 a second is 50 to 70 % |
//! | bytes | of what came and went; now and then somebody is served old blocks for hours | P5 baselines 8,451 blocks in 4.5 h |
//! | log | 100 debug lines a second, few others | P2.4 8.7 million lines a day |
//! | restarts | three, peers return within three hours; the third brings another version | D3.4 three hours; P1.10 and C4.2 what versions change |
//! | outages of the observer | five of minutes, one of hours | `connected_ips`: 6 of 2.4 to 40 h in 11 months |
//!
//! What has no figure is judged, and said so here: the seasons of transactions, addrman's tables (within their limits of
//! C2.2), rejections and replacements (below the sweep's limits of P3.8), warnings. A normal node has no attack: storms,
//! hiccups, talkative peers and served blocks are normal.

mod calendar;
mod gossip;
mod host;
pub mod incident;
mod peers;
mod random;
mod rhythm;
mod transactions;

use calendar::Calendar;
use gossip::Gossip;
use host::{Host, Load, Seen};
use incident::{Effects, Incident};
use peers::{NETWORKS, Peers};
pub use random::Random;
use transactions::Transactions;

/// When the simulation begins: Monday, 2 March 2026, midnight UTC, in unix seconds.
pub const BEGIN_S: i64 = 1_772_409_600;
/// How long it is, in seconds.
pub const LENGTH_S: i64 = calendar::DAYS as i64 * 86_400;

/// What a monitor saw during one step.
#[derive(Debug, Clone)]
pub struct Seconds {
    /// End of the step, in unix milliseconds.
    pub at_ms: i64,
    /// The node was up and somebody looked; else there are no readings.
    pub is_observed: bool,
    /// Seconds since the node's start, while it is observed.
    pub uptime_s: f64,
    /// Name and value of what was read. Counts are of the step; NaN where a step has no sample (no block, no ping).
    pub readings: Vec<(&'static str, f64)>,
}

impl Seconds {
    /// The reading of this name; NaN if it has no sample in this step.
    ///
    /// # Panics
    ///
    /// If there is no such reading on an observed step.
    #[track_caller]
    pub fn value(&self, name: &str) -> f64 {
        let found = self.readings.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("no reading {name:?} is simulated")).1
    }
}

/// A node and its four weeks. An iterator over the steps.
#[derive(Debug, Clone)]
pub struct Simulation {
    step_s: f64,
    since_s: f64,
    incident: Option<Incident>,
    calendar: Calendar,
    peers: Peers,
    transactions: Transactions,
    gossip: Gossip,
    host: Host,
    was_up: bool,
}

impl Simulation {
    /// A node of its own for each seed, seen every `step_s` seconds (10 or a multiple).
    pub fn new(seed: u64, step_s: u32) -> Self {
        Simulation {
            step_s: f64::from(step_s),
            since_s: 0.0,
            incident: None,
            calendar: Calendar::new(&mut Random::new(seed, "calendar")),
            peers: Peers::new(seed),
            transactions: Transactions::new(seed),
            gossip: Gossip::new(seed),
            host: Host::new(seed),
            was_up: true,
        }
    }

    /// The same with an incident in it; what happened until then is not changed.
    pub fn with(mut self, incident: Incident) -> Self {
        self.incident = Some(incident);
        self
    }

    /// Seconds since the begin.
    pub fn since_s(&self) -> f64 {
        self.since_s
    }

    /// Whether the node is up and observed, without a restart or an outage, from `from_s` to `until_s` after the begin.
    pub fn is_undisturbed(&self, from_s: f64, until_s: f64) -> bool {
        let minutes = ((until_s - from_s) / 60.0) as usize;
        (0..minutes).all(|minute| self.calendar.at(from_s + 60.0 * minute as f64).is_observed)
    }

    /// One step of the node, and what there is to see of it.
    fn advance(&mut self, at_s: f64, uptime_s: f64, is_upgraded: bool) -> Vec<(&'static str, f64)> {
        let effects = Effects::of(self.incident.as_ref(), self.since_s);
        let step_s = self.step_s;
        let of_peers = self.peers.step(at_s, step_s, uptime_s, &effects);
        let relaying = self.peers.relaying();
        let announced_per_s = if is_upgraded { 14.0 } else { 7.0 };
        let of_transactions =
            self.transactions.step(at_s, step_s, uptime_s, relaying, announced_per_s, &effects);
        let peers = self.peers.inbound() + self.peers.outbound();
        let (addr_entries, addr_messages) =
            self.gossip.step(at_s, step_s, relaying, &of_peers.addr_answers, &effects);
        let flush_s = self.transactions.flush_s(!of_transactions.blocks.is_empty());
        let load = Load {
            step_s,
            peers,
            relaying,
            of_peers: &of_peers,
            of_transactions: &of_transactions,
            flush_s,
            addr_entries,
            is_upgraded,
        };
        let seen = self.host.step(&load, &effects);
        let mut readings = vec![("addr/entries", addr_entries), ("addr/messages", addr_messages)];
        self.read_peers(&of_peers, &mut readings);
        self.read_transactions(&of_transactions, peers, &mut readings);
        read_host(seen, &mut readings);
        let (new, tried) = self.gossip.tables();
        readings.extend([("addrman/new", new), ("addrman/tried", tried)]);
        readings
    }

    fn read_peers(&mut self, happened: &peers::Happened, readings: &mut Vec<(&'static str, f64)>) {
        const INBOUND: [&str; 4] = ["inbound/ipv4", "inbound/ipv6", "inbound/onion", "inbound/i2p"];
        const OUTBOUND: [&str; 4] = ["outbound/ipv4", "outbound/ipv6", "outbound/onion", "outbound/i2p"];
        let mut ages_s = happened.ages_s.clone();
        readings.extend([
            ("inbound", self.peers.inbound()),
            ("outbound", self.peers.outbound()),
            ("opened", happened.opened),
            ("closed", happened.closed),
            ("evicted", happened.evicted),
            ("closed/age_median", median(&mut ages_s)),
            ("closed/age_max", ages_s.last().copied().unwrap_or(f64::NAN)),
            ("closed/age_mean", ages_s.iter().sum::<f64>() / ages_s.len() as f64),
        ]);
        for network in 0..NETWORKS.len() {
            readings.push((INBOUND[network], self.peers.inbound_of(network)));
            readings.push((OUTBOUND[network], self.peers.outbound_of(network)));
        }
    }

    fn read_transactions(
        &mut self,
        happened: &transactions::Happened,
        peers: f64,
        readings: &mut Vec<(&'static str, f64)>,
    ) {
        let (orphans, weight) = self.transactions.orphans();
        let (queue_max, queue_sum) = self.transactions.queues(peers);
        let block = happened.blocks.last();
        readings.extend([
            ("transactions/added", happened.added),
            ("transactions/replaced", happened.replaced),
            ("transactions/rejected", happened.rejected),
            ("inv/entries", happened.inv_entries),
            ("inv/messages", (happened.inv_entries / 4.0).ceil()),
            ("mempool/size", self.transactions.mempool()),
            ("mempool/bytes", self.transactions.bytes()),
            ("mempool/usage", self.transactions.usage()),
            ("mempool/fee_min", self.transactions.fee_min()),
            ("orphans/count", orphans),
            ("orphans/weight", weight),
            ("queue/max", queue_max),
            ("queue/sum", queue_sum),
            ("block/connect_s", block.map_or(f64::NAN, |block| block.connect_s)),
            ("block/transactions", block.map_or(f64::NAN, |block| block.transactions)),
            ("block/count", happened.blocks.len() as f64),
        ]);
    }
}

fn read_host(mut seen: Seen, readings: &mut Vec<(&'static str, f64)>) {
    const RECEIVED: [&str; 12] = [
        "received/inv",
        "received/tx",
        "received/addrv2",
        "received/cmpctblock",
        "received/blocktxn",
        "received/headers",
        "received/getdata",
        "received/ping",
        "received/pong",
        "received/addr",
        "received/getblocktxn",
        "received/getheaders",
    ];
    const SENT: [&str; 7] = [
        "sent/inv",
        "sent/tx",
        "sent/getdata",
        "sent/headers",
        "sent/cmpctblock",
        "sent/block",
        "sent/addrv2",
    ];
    let newest = seen.pings_ms.last().copied().unwrap_or(f64::NAN);
    let ping_sum: f64 = seen.pings_ms.iter().sum();
    let pings = seen.pings_ms.len() as f64;
    let ping_median = median(&mut seen.pings_ms);
    let [debug, info, warning, error] = seen.lines;
    let total = |list: &[(&str, f64)]| list.iter().map(|(_, bytes)| bytes).sum::<f64>();
    readings.extend([
        ("handler", seen.handler),
        ("ping/last", newest),
        ("ping/median", ping_median),
        ("ping/mean", ping_sum / pings),
        ("ping/max", seen.pings_ms.last().copied().unwrap_or(f64::NAN)),
        ("peer_ping/median", seen.peer_ping_ms),
        ("log/debug", debug),
        ("log/info", info),
        ("log/warning", warning),
        ("log/error", error),
        ("log/bytes", seen.log_bytes),
        ("netgroup/connections", seen.netgroup.0),
        ("netgroup/bytes", seen.netgroup.1),
        ("netgroup/messages", seen.netgroup.2),
        ("misbehaving", seen.misbehaving),
        ("received", total(&seen.received)),
        ("sent", total(&seen.sent)),
    ]);
    readings.extend(RECEIVED.iter().zip(&seen.received).map(|(name, (_, bytes))| (*name, bytes.round())));
    readings.extend(SENT.iter().zip(&seen.sent).map(|(name, (_, bytes))| (*name, bytes.round())));
}

/// The middle value; sorts them. NaN if there is none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Iterator for Simulation {
    type Item = Seconds;

    fn next(&mut self) -> Option<Seconds> {
        if self.since_s >= LENGTH_S as f64 {
            return None;
        }
        self.since_s += self.step_s;
        let at_s = BEGIN_S as f64 + self.since_s;
        let state = self.calendar.at(self.since_s);
        let mut seconds = Seconds {
            at_ms: (at_s * 1000.0) as i64,
            is_observed: state.is_observed,
            uptime_s: 0.0,
            readings: Vec::new(),
        };
        match state.uptime_s {
            None => {
                if self.was_up {
                    self.peers.disconnect();
                    self.host.stop();
                }
                self.transactions.sleep(self.step_s);
            }
            Some(uptime_s) => {
                let readings = self.advance(at_s, uptime_s, state.is_upgraded);
                if state.is_observed {
                    (seconds.uptime_s, seconds.readings) = (uptime_s, readings);
                }
            }
        }
        self.was_up = state.uptime_s.is_some();
        Some(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::incident::Kind;
    use super::*;

    /// Mean of a reading per day over four weeks and two nodes.
    fn per_day(names: &[&str]) -> Vec<f64> {
        let mut sums = vec![0.0; names.len()];
        for seed in 0..2 {
            for step in Simulation::new(seed, 60).filter(|step| step.is_observed) {
                for (sum, name) in sums.iter_mut().zip(names) {
                    *sum += step.value(name);
                }
            }
        }
        sums.iter().map(|sum| sum / 2.0 / calendar::DAYS).collect()
    }

    #[test]
    fn a_day_has_as_many_transactions_addresses_connections_and_lines_as_on_mainnet() {
        let found = per_day(&["transactions/added", "addr/entries", "closed", "log/debug", "block/count"]);
        let expected = [
            // See the table above: 441,394; 50 to 65 thousand unique; 9,710 on one node; 8.7 million; 144.
            (330e3, 550e3),
            (45e3, 90e3),
            (5e3, 12e3),
            (5e6, 12e6),
            (130.0, 158.0),
        ];
        for (value, (low, high)) in found.iter().zip(expected) {
            assert!((low..high).contains(value), "{value} a day, expected {low} to {high}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_weeks() {
        let readings = |seed| {
            let steps = Simulation::new(seed, 60).take(2000);
            steps.flat_map(|step| step.readings).map(|(_, value)| value.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(readings(1), readings(1));
        assert_ne!(readings(1), readings(2));
    }

    #[test]
    fn an_incident_changes_nothing_before_it_begins() {
        for (name, kind) in Kind::NAMES {
            let incident = Incident { kind, from_s: 6000.0 };
            let quiet = Simulation::new(3, 60).take(300);
            let changed: Vec<bool> = quiet
                .zip(Simulation::new(3, 60).with(incident))
                .map(|(a, b)| {
                    let differ = |(x, y): (&(_, f64), &(_, f64))| x.1.to_bits() != y.1.to_bits();
                    a.readings.iter().zip(&b.readings).any(differ)
                })
                .collect();
            assert!(!changed[..99].contains(&true), "{name}");
            assert!(changed[99..].contains(&true), "{name} changes nothing");
        }
    }
}
