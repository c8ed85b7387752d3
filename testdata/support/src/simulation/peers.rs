//! Who is connected to the node: arrivals, stays and departures.

use super::incident::Effects;
use super::random::Random;
use super::rhythm::{Bursts, Drift, daily, weekly};

const HOUR_S: f64 = 3600.0;
const DAY_S: f64 = 86_400.0;

/// Networks of peers, in this order everywhere.
pub const NETWORKS: [&str; 4] = ["ipv4", "ipv6", "onion", "i2p"];
/// Share of the standing inbound peers and mean stay in seconds of those that stay for a while. A mixture of
/// exponentials has the heavy tail that was measured: the longest stay in an archive was 243 hours.
const STAYS: [(f64, f64); 3] = [(0.15, 2400.0), (0.35, 6.0 * HOUR_S), (0.5, 4.0 * DAY_S)];
/// Inbound slots of Bitcoin Core up to version 31: 125 less 11.
const INBOUND_MAX: f64 = 114.0;
/// Peers that lost a connection to a restarted node are back after about this time: `anomaly.md` 3.4 restarts a node with
/// a ramp of three hours.
const RETURN_S: f64 = 3.0 * HOUR_S;
/// And after a hiccup of the node's own line: half an hour, as in `connected_ips.csv` (0.5 to 1.5 hours below).
const HICCUP_RETURN_S: f64 = 1500.0;

/// What happened during one step.
#[derive(Debug, Clone, Default)]
pub struct Happened {
    /// Inbound connections opened.
    pub opened: f64,
    /// Connections closed, of either direction.
    pub closed: f64,
    /// Of these, inbound peers that had to make room.
    pub evicted: f64,
    /// How long closed connections had lasted, in seconds.
    pub ages_s: Vec<f64>,
    /// Answers to our own getaddr that came in: entries.
    pub addr_answers: Vec<f64>,
}

/// All peers of the node.
#[derive(Debug, Clone)]
pub struct Peers {
    random: Random,
    /// Inbound peers of a usual hour.
    usual: f64,
    shares: [f64; 4],
    /// Connections a minute that are closed at once.
    probes_per_minute: f64,
    inbound: [[f64; 4]; 3],
    /// Peers that will be back: after a restart, after a hiccup.
    returning: [[f64; 4]; 3],
    back_soon: [[f64; 4]; 3],
    /// Networks of full-relay and block-relay peers, and seconds until the next attempt to fill a free place.
    full: Vec<usize>,
    block: Vec<usize>,
    redial_s: f64,
    population: Drift,
    homes: Drift,
    probing: Drift,
    crawlers: Bursts,
    has_extra: bool,
    /// Inbound peers there were when an incident began.
    before: Option<f64>,
}

impl Peers {
    /// Of a node that has run for weeks.
    ///
    /// Nodes have 40 to 125 peers (`peer-observer.md` section 5, baselines), ten of them outbound; without flooders three
    /// new inbound connections come a minute, and the log of one node had 9,710 closed sockets a day (2.4): 6.7 a minute.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, "peers");
        let usual = random.lognormal(70.0, 0.35).clamp(30.0, 115.0);
        let has_onion = random.chance(0.75);
        let has_i2p = has_onion && random.chance(0.6);
        let weights = [0.62, 0.12, if has_onion { 0.22 } else { 0.0 }, if has_i2p { 0.04 } else { 0.0 }];
        let total: f64 = weights.iter().sum();
        let shares = weights.map(|weight: f64| weight / total);
        let inbound = STAYS.map(|(part, _)| shares.map(|share| random.poisson(usual * part * share)));
        let mut peers = Peers {
            usual,
            shares,
            probes_per_minute: random.lognormal(4.0, 0.3),
            inbound,
            returning: [[0.0; 4]; 3],
            back_soon: [[0.0; 4]; 3],
            full: Vec::new(),
            block: Vec::new(),
            redial_s: 0.0,
            // Measured on connected_ips.csv: half-hourly noise of 1 % (robust), of which 65 % has a memory of 15 hours.
            population: Drift::new(15.0 * HOUR_S, 0.008, &mut random),
            homes: Drift::new(3.0 * DAY_S, 0.04, &mut random),
            probing: Drift::new(2.0 * HOUR_S, 0.3, &mut random),
            crawlers: Bursts::new(8.0, 300.0, 0.6),
            has_extra: false,
            before: None,
            random,
        };
        peers.full = (0..8).map(|_| peers.network()).collect();
        peers.block = (0..2).map(|_| peers.network()).collect();
        peers
    }

    /// Inbound peers, in all networks.
    pub fn inbound(&self) -> f64 {
        self.inbound.iter().flatten().sum()
    }

    /// Inbound peers of one network.
    pub fn inbound_of(&self, network: usize) -> f64 {
        self.inbound.iter().map(|of_stay| of_stay[network]).sum()
    }

    /// Outbound peers as a poll finds them: a further block-relay peer is tried every five minutes and stays for 43 s, a
    /// feeler every two minutes for under two seconds.
    pub fn outbound(&mut self) -> f64 {
        let feeler = self.random.chance(1.7 / 120.0);
        (self.full.len() + self.block.len()) as f64 + f64::from(u8::from(self.has_extra) + u8::from(feeler))
    }

    /// Lasting outbound peers of one network.
    pub fn outbound_of(&self, network: usize) -> f64 {
        self.full.iter().chain(&self.block).filter(|of| **of == network).count() as f64
    }

    /// Peers that relay transactions.
    pub fn relaying(&self) -> f64 {
        self.inbound() * 0.8 + self.full.len() as f64
    }

    /// The node went down: everybody is gone, and nine of ten who had stayed for long will be back.
    pub fn disconnect(&mut self) {
        for (stay, of_stay) in self.inbound.iter_mut().enumerate() {
            for (network, count) in of_stay.iter_mut().enumerate() {
                let back = if stay == 0 { 0.0 } else { 0.9 * *count };
                self.returning[stay][network] += back;
                *count = 0.0;
            }
        }
        self.full.clear();
        self.block.clear();
        self.redial_s = 0.0;
    }

    /// The peers `step_s` later, on a node that is up.
    pub fn step(&mut self, at_s: f64, step_s: f64, uptime_s: f64, effects: &Effects) -> Happened {
        let mut happened = Happened::default();
        self.hiccup(step_s, &mut happened, uptime_s);
        self.come_and_go(at_s, step_s, uptime_s, effects, &mut happened);
        self.leave(step_s, effects, &mut happened);
        self.probe(at_s, step_s, effects, &mut happened);
        self.dial(step_s, uptime_s, effects, &mut happened);
        self.make_room(&mut happened);
        happened
    }

    /// A moment of trouble on the node's line. `connected_ips.csv` shows 6.5 drops of 5 to 24 % in four weeks, a quarter of
    /// them of 10 % or more, that are over within 0.5 to 1.5 hours.
    fn hiccup(&mut self, step_s: f64, happened: &mut Happened, uptime_s: f64) {
        if !self.random.chance(6.5 / 28.0 * step_s / DAY_S) {
            return;
        }
        let lost = self.random.pareto(0.05, 2.0).min(0.25);
        for stay in 0..STAYS.len() {
            for network in 0..NETWORKS.len() {
                let gone =
                    self.random.poisson(lost * self.inbound[stay][network]).min(self.inbound[stay][network]);
                self.close(stay, network, gone, uptime_s, happened);
                self.back_soon[stay][network] += gone;
            }
        }
    }

    fn close(&mut self, stay: usize, network: usize, count: f64, uptime_s: f64, happened: &mut Happened) {
        self.inbound[stay][network] -= count;
        happened.closed += count;
        for _ in 0..count as usize {
            happened.ages_s.push(self.random.exponential(STAYS[stay].1).min(uptime_s));
        }
    }

    /// Arrivals and departures of those that stay for a while.
    fn come_and_go(
        &mut self,
        at_s: f64,
        step_s: f64,
        uptime_s: f64,
        effects: &Effects,
        happened: &mut Happened,
    ) {
        // Nodes that can be reached have the season that was measured on them; those that dial us are homes and wallets
        // as well, with more of a day.
        let population = 1.0
            + 0.0042 * daily(at_s)
            + 0.0026 * weekly(at_s)
            + self.population.step(step_s, &mut self.random);
        let homes = 1.0 + 0.05 * daily(at_s) + self.homes.step(step_s, &mut self.random);
        for (stay, (part, mean_s)) in STAYS.into_iter().enumerate() {
            let season = if stay == 2 { population } else { population * homes };
            for network in 0..NETWORKS.len() {
                let standing = self.usual * part * self.shares[network] * season * effects.inbound_share;
                let leaving = self.random.poisson(self.inbound[stay][network] * step_s / mean_s);
                let leaving = leaving.min(self.inbound[stay][network]);
                self.close(stay, network, leaving, uptime_s, happened);
                let mut coming = self.random.poisson(standing * step_s / mean_s);
                for (waiting, after_s) in
                    [(&mut self.returning, RETURN_S), (&mut self.back_soon, HICCUP_RETURN_S)]
                {
                    let waiting = &mut waiting[stay][network];
                    let back = self.random.poisson(*waiting * step_s / after_s).min(waiting.ceil());
                    *waiting = (*waiting - back).max(0.0);
                    coming += back;
                }
                self.inbound[stay][network] += coming;
                happened.opened += coming;
            }
        }
    }

    /// An incident drives peers away.
    fn leave(&mut self, step_s: f64, effects: &Effects, happened: &mut Happened) {
        if effects.inbound_share >= 1.0 {
            self.before = None;
            return;
        }
        let now = self.inbound();
        let before = *self.before.get_or_insert(now);
        let excess = (now - before * effects.inbound_share).max(0.0);
        let part = (3.0 * step_s / effects.leave_within_s).min(1.0) * excess / self.inbound().max(1.0);
        for stay in 0..STAYS.len() {
            for network in 0..NETWORKS.len() {
                let there = self.inbound[stay][network];
                let gone = self.random.poisson(part * there).min(there);
                self.close(stay, network, gone, f64::INFINITY, happened);
            }
        }
    }

    /// Connections that are closed at once: half lasted under 580 ms and nine of ten under 987 ms (`peer-observer.md`,
    /// incident D). Crawlers come in bursts.
    fn probe(&mut self, at_s: f64, step_s: f64, effects: &Effects, happened: &mut Happened) {
        let drift = self.probing.step(step_s, &mut self.random);
        let crawl = self.crawlers.step(step_s, &mut self.random, |random| random.pareto(1.0, 1.5).min(8.0));
        let rate = self.probes_per_minute * (1.0 + 0.05 * daily(at_s)) * drift.exp() * (1.0 + crawl);
        let count = self.random.poisson((rate + effects.probes_per_minute) / 60.0 * step_s);
        happened.opened += count;
        happened.closed += count;
        if self.inbound() + 1.0 > INBOUND_MAX {
            happened.evicted += count;
        }
        for _ in 0..count as usize {
            happened.ages_s.push(self.random.lognormal(0.58, 0.415));
        }
    }

    /// Outbound peers stay for days; a free place is filled within a minute, and a new full-relay peer answers getaddr with
    /// up to 1000 entries.
    fn dial(&mut self, step_s: f64, uptime_s: f64, effects: &Effects, happened: &mut Happened) {
        const STAY_S: f64 = 5.0 * DAY_S;
        for list in [&mut self.full, &mut self.block] {
            let before = list.len();
            list.retain(|_| !self.random.chance(step_s / STAY_S));
            for _ in list.len()..before {
                happened.closed += 1.0;
                happened.ages_s.push(self.random.exponential(STAY_S).min(uptime_s));
            }
        }
        while self.full.len() as f64 > effects.outbound_max {
            self.full.pop();
            happened.closed += 1.0;
            happened.ages_s.push(uptime_s.min(STAY_S));
        }
        // Feelers and further block-relay peers are closed too.
        let feelers = self.random.poisson(step_s / 120.0) + self.random.poisson(step_s / 300.0);
        happened.closed += feelers;
        happened.ages_s.extend((0..feelers as usize).map(|_| self.random.lognormal(1.7, 1.0)));
        self.has_extra = self.random.chance(43.0 / 300.0);
        self.redial_s -= step_s;
        while self.redial_s <= 0.0 {
            let wants_full = (self.full.len() as f64) < effects.outbound_max.min(8.0);
            if !wants_full && self.block.len() >= 2 {
                self.redial_s = 0.0;
                break;
            }
            // After a start the first attempts are made at once, later ones every half second with many failures.
            self.redial_s += self.random.exponential(if uptime_s < 300.0 { 8.0 } else { 40.0 });
            let network = self.network();
            if !wants_full {
                self.block.push(network);
                continue;
            }
            self.full.push(network);
            let is_whole = self.random.chance(0.7);
            happened.addr_answers.push(if is_whole {
                1000.0
            } else {
                self.random.between(100.0, 1000.0).round()
            });
        }
    }

    /// Who comes while all slots are taken drives another out.
    fn make_room(&mut self, happened: &mut Happened) {
        while self.inbound() > INBOUND_MAX {
            // The youngest of the largest netgroup goes: those that stay shortest.
            let places =
                (0..STAYS.len()).flat_map(|stay| (0..NETWORKS.len()).map(move |network| (stay, network)));
            let Some((stay, network)) =
                places.into_iter().find(|(stay, network)| self.inbound[*stay][*network] > 0.0)
            else {
                return;
            };
            self.inbound[stay][network] -= 1.0;
            happened.evicted += 1.0;
            happened.closed += 1.0;
            happened.ages_s.push(self.random.exponential(60.0));
        }
    }

    /// The network of a new outbound peer.
    fn network(&mut self) -> usize {
        let mut place = self.random.uniform();
        for (network, share) in self.shares.iter().enumerate() {
            place -= share;
            if place < 0.0 {
                return network;
            }
        }
        0
    }
}
