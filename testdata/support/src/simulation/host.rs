//! What the node's work looks like from outside: processor, answers to pings, bytes and log lines.

use super::incident::Effects;
use super::random::Random;
use super::rhythm::{Bursts, Drift};
use super::{peers, transactions};

const HOUR_S: f64 = 3600.0;
const DAY_S: f64 = 86_400.0;

/// What the work of one step depends on.
pub struct Load<'a> {
    /// Length of the step in seconds.
    pub step_s: f64,
    /// Peers that are connected.
    pub peers: f64,
    /// Peers that relay transactions.
    pub relaying: f64,
    /// What the peers did.
    pub of_peers: &'a peers::Happened,
    /// What transactions and blocks did.
    pub of_transactions: &'a transactions::Happened,
    /// Seconds spent on writing caches.
    pub flush_s: f64,
    /// Address entries that came in.
    pub addr_entries: f64,
    /// The newer version runs.
    pub is_upgraded: bool,
}

/// What was seen during one step.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Share of the message handler's time, 0 to 1.
    pub handler: f64,
    /// Answers to the observer's pings, one each ten seconds, in milliseconds.
    pub pings_ms: Vec<f64>,
    /// Median of the peers' newest ping times, in milliseconds.
    pub peer_ping_ms: f64,
    /// Bytes by message type, received and sent.
    pub received: Vec<(&'static str, f64)>,
    /// See `received`.
    pub sent: Vec<(&'static str, f64)>,
    /// Lines of the log: of debug categories, info, warning and error.
    pub lines: [f64; 4],
    /// Bytes of the log.
    pub log_bytes: f64,
    /// Share of the largest netgroup among connections, of the traffic, and of the messages that came in.
    pub netgroup: (f64, f64, f64),
    /// Peers that misbehaved.
    pub misbehaving: f64,
}

/// The machine the node runs on.
#[derive(Debug, Clone)]
pub struct Host {
    random: Random,
    /// Milliseconds of an answer on an idle machine.
    idle_ms: f64,
    /// Milliseconds to the median peer.
    distance_ms: f64,
    quick: Drift,
    route: [Drift; 2],
    detours: Bursts,
    serving: Bursts,
    chores: Bursts,
    group: Drift,
    warnings: Bursts,
    rare: Rare,
}

/// Message types that are a small part of all, from a stream of their own.
#[derive(Debug, Clone)]
struct Rare {
    random: Random,
    /// The largest netgroups by messages, and how talkative each is.
    groups: [(f64, Drift); 5],
}

impl Host {
    /// Of a node that has run for weeks.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, "host");
        Host {
            idle_ms: random.lognormal(1.5, 0.4),
            distance_ms: random.lognormal(90.0, 0.2),
            quick: Drift::new(1200.0, 0.1, &mut random),
            // Measured on ping_median_ms.csv since 2021: noise of 5.4 % (robust) with correlations of 0.60, 0.44, 0.23 and
            // 0.12 after 1, 2, 6 and 12 hours, and 8 % of the hours beyond three deviations, most of them above.
            route: [
                Drift::new(4.0 * HOUR_S, 0.045, &mut random),
                Drift::new(4.0 * DAY_S, 0.019, &mut random),
            ],
            detours: Bursts::new(1.0, 2.0 * HOUR_S, 0.6),
            serving: Bursts::new(0.25, 2.0 * HOUR_S, 0.7),
            chores: Bursts::new(1.0, 600.0, 0.6),
            group: Drift::new(8.0 * HOUR_S, 0.12, &mut random),
            warnings: Bursts::new(0.3, 120.0, 0.5),
            rare: Rare::new(seed),
            random,
        }
    }

    /// The node went down: nobody is served any more.
    pub fn stop(&mut self) {
        self.serving.clear();
    }

    /// One step of work.
    pub fn step(&mut self, load: &Load, effects: &Effects) -> Seen {
        // Somebody catches up with the chain: one node served 8,451 blocks in 4.5 hours (baselines), 0.52 a second.
        let served_per_s =
            self.serving.step(load.step_s, &mut self.random, |random| random.lognormal(0.3, 0.6).min(1.5));
        let served = self.random.poisson((served_per_s + 0.002) * load.step_s);
        let handler = self.handler(load, served, effects);
        let mut seen = Seen { handler, ..Seen::default() };
        self.pings(load, effects, &mut seen);
        self.traffic(load, served, &mut seen);
        self.log(load, effects, &mut seen);
        self.netgroup(load, served, &mut seen);
        self.rare.traffic(load, &mut seen);
        seen.misbehaving = self.random.poisson(3.0 * load.step_s / DAY_S);
        seen
    }

    /// Share of the message handler's time. 33 transactions a second took 60 % on a well-connected node (incident H): 1.8 % for
    /// each a second.
    fn handler(&mut self, load: &Load, served: f64, effects: &Effects) -> f64 {
        let per_s = load.of_transactions.added / load.step_s;
        let connecting: f64 = load.of_transactions.blocks.iter().map(|block| block.connect_s + 0.3).sum();
        let chores =
            self.chores.step(load.step_s, &mut self.random, |random| random.pareto(0.01, 1.5).min(0.1));
        let drift = self.quick.step(load.step_s, &mut self.random).exp();
        let saved = if load.is_upgraded { 0.9 } else { 1.0 };
        let relay = 0.018 * per_s * (load.peers / 90.0).sqrt() * saved;
        let share = (0.015 + relay + chores) * drift * self.random.lognormal(1.0, 0.06)
            + (connecting + load.flush_s + 0.02 * served) / load.step_s;
        if effects.is_saturated { self.random.between(0.96, 1.0) } else { share.min(0.99) }
    }

    /// A ping waits for what the message handler does. Idle it is milliseconds (`bitcoin-core.md` 3.2); a quiet node has
    /// single pings of 100 to 200 ms; one that comes while a block is connected or a cache is written waits for it.
    fn pings(&mut self, load: &Load, effects: &Effects, seen: &mut Seen) {
        let busy_s: f64 =
            load.of_transactions.blocks.iter().map(|block| block.connect_s + 0.2).sum::<f64>() + load.flush_s;
        for _ in 0..(load.step_s / 10.0).round().max(1.0) as usize {
            let queueing = 1.0 / (1.0 - seen.handler.min(0.9));
            let mut ping_ms = self.random.lognormal(self.idle_ms, 0.5)
                * queueing
                * (1.0 + 0.15 * self.random.student().abs());
            if self.random.chance(0.003) {
                ping_ms += self.random.lognormal(110.0, 0.4);
            }
            if self.random.chance((busy_s / load.step_s).min(1.0)) {
                ping_ms += 1000.0 * busy_s * self.random.uniform();
            }
            seen.pings_ms.push(ping_ms * effects.ping);
        }
        let route: f64 = self.route.iter_mut().map(|drift| drift.step(load.step_s, &mut self.random)).sum();
        let detour =
            self.detours.step(load.step_s, &mut self.random, |random| random.pareto(0.15, 2.5).min(0.8));
        let few = 0.02 * (90.0 / load.peers.max(1.0)).sqrt().min(5.0);
        let noise = (few * self.random.student()).clamp(-0.5, 0.5);
        seen.peer_ping_ms =
            self.distance_ms * (route + noise).exp() * (1.0 + detour) + 0.2 * seen.pings_ms[0];
    }

    /// Bytes by message type. An entry of an inv takes 36 bytes, a transaction about 450, a compact block 18,000 from each of
    /// three peers, a block 1.6 million; peers ping every two minutes.
    fn traffic(&mut self, load: &Load, served: f64, seen: &mut Seen) {
        let happened = load.of_transactions;
        let blocks = happened.blocks.len() as f64;
        let pings = self.random.poisson(load.peers * load.step_s / 120.0);
        let asking = self.random.poisson(0.1 * blocks * load.peers);
        let incomplete = self.random.poisson(0.4 * blocks);
        let bytes = self.random.lognormal(450.0, 0.05 + 0.3 / (1.0 + happened.added).sqrt());
        let announced = happened.added * load.relaying * 0.9;
        seen.received = vec![
            ("inv", happened.inv_entries * 36.0 + 30.0 * (happened.inv_entries / 4.0).ceil()),
            ("tx", (happened.added + happened.rejected) * bytes),
            ("addrv2", load.addr_entries * 28.0),
            ("cmpctblock", 3.0 * blocks * self.random.lognormal(18_000.0, 0.2)),
            ("blocktxn", incomplete * self.random.lognormal(25_000.0, 1.2)),
            ("headers", (4.0 + self.random.poisson(8.0)) * blocks * 106.0),
            ("getdata", self.random.poisson(1.3 * happened.added) * 40.0 + served * 61.0),
            ("ping", pings * 32.0),
            ("pong", pings * 32.0),
        ];
        seen.sent = vec![
            ("inv", announced * 36.0),
            ("tx", self.random.poisson(1.3 * happened.added) * bytes),
            ("getdata", happened.added * 1.05 * 37.0),
            ("headers", 0.8 * load.peers * blocks * 106.0),
            ("cmpctblock", (3.0 + asking) * blocks * 18_000.0),
            ("block", served * self.random.lognormal(1_500_000.0, 0.1)),
            ("addrv2", (0.4 * load.addr_entries).floor() * 28.0),
        ];
    }

    /// With the debug categories of `peer-observer.md` 2.4 one node wrote 8.7 million lines a day, 100 a second: most of them
    /// one for each message and announcement.
    fn log(&mut self, load: &Load, effects: &Effects, seen: &mut Seen) {
        let happened = load.of_transactions;
        let blocks = happened.blocks.len() as f64;
        let per_message = happened.inv_entries * 1.3 + 8.0 * happened.added + 2.0 * happened.rejected;
        let upgraded = if load.is_upgraded { 1.08 } else { 1.0 };
        let debug = (per_message + 6.0 * load.of_peers.closed + 90.0 * blocks) * upgraded;
        let information = self.random.poisson(3.0 * blocks + load.step_s / 600.0)
            + 0.1 * load.of_peers.addr_answers.len() as f64;
        // Warnings are rare: a few a day, and now and then a dozen.
        let burst = self.warnings.step(load.step_s, &mut self.random, |random| random.lognormal(0.05, 0.5));
        let warnings = self.random.poisson((3.0 / DAY_S + burst + effects.warnings_per_s) * load.step_s);
        let errors = self.random.poisson(0.05 * load.step_s / DAY_S);
        seen.lines = [self.random.poisson(debug), information.round(), warnings, errors];
        seen.log_bytes = (seen.lines.iter().sum::<f64>() * self.random.lognormal(140.0, 0.02)).round();
    }

    /// The largest netgroup is a twentieth of the connections; of the traffic it is more, and most while it is served old
    /// blocks.
    fn netgroup(&mut self, load: &Load, served: f64, seen: &mut Seen) {
        let drift = self.group.step(load.step_s, &mut self.random).exp();
        let connections = (0.05 * drift * load.peers).round().max(1.0) / load.peers.max(1.0);
        let bytes = |list: &[(&str, f64)]| list.iter().map(|(_, bytes)| bytes).sum::<f64>();
        let total = bytes(&seen.received) + bytes(&seen.sent);
        let for_one = served * 1_500_000.0;
        let rest = (total - for_one).max(1.0) * 0.07 * drift * self.random.lognormal(1.0, 0.15);
        seen.netgroup.0 = connections;
        seen.netgroup.1 = ((for_one.max(0.0) + rest) / total.max(1.0)).min(1.0);
    }
}

impl Rare {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, "rare messages");
        // One entity sends 5 to 10 % of all messages to every node (`peer-observer.md`, incident C); others are smaller.
        let shares = [random.between(0.05, 0.10), 0.05, 0.04, 0.035, 0.03];
        let groups = shares.map(|share| (share, Drift::new(6.0 * HOUR_S, 0.15, &mut random)));
        Rare { random, groups }
    }

    /// Old peers send addr rather than addrv2, peers that lack transactions of a compact block ask for them, and who
    /// connects or hears of a block asks for headers.
    fn traffic(&mut self, load: &Load, seen: &mut Seen) {
        let blocks = load.of_transactions.blocks.len() as f64;
        let addresses = self.random.poisson(0.05 * load.addr_entries);
        let asking = self.random.poisson(1.5 * blocks);
        let headers = self.random.poisson(0.3 * load.of_peers.opened + 0.05 * load.peers * blocks);
        let size = self.random.lognormal(300.0, 0.8);
        seen.received.extend([
            ("addr", 30.0 * addresses),
            ("getblocktxn", asking * size),
            ("getheaders", 1000.0 * headers),
        ]);
        let messages = 0.25 * load.of_transactions.inv_entries
            + 2.3 * load.of_transactions.added
            + load.peers * load.step_s / 60.0;
        let mut largest = 0.0_f64;
        for (share, drift) in &mut self.groups {
            let talk = drift.step(load.step_s, &mut self.random).exp();
            largest = largest.max(self.random.poisson(messages * *share * talk));
        }
        seen.netgroup.2 = (largest / messages.max(1.0)).min(1.0);
    }
}
