//! Transactions and blocks: what arrives, waits, is confirmed, replaced, rejected or orphaned.

use super::incident::Effects;
use super::random::Random;
use super::rhythm::{Bursts, Drift, daily, weekend};

const HOUR_S: f64 = 3600.0;
const DAY_S: f64 = 86_400.0;
/// Transactions a second that the mempool takes: one node's log had 441,394 in a day (`peer-observer.md` 2.4).
const ADDED_PER_S: f64 = 5.1;
/// Mean time between blocks (`bitcoin-core.md` section 7).
const BLOCK_S: f64 = 600.0;
/// Transactions of a full block: 4,000,000 weight units at about 300 virtual bytes each.
const BLOCK_TRANSACTIONS: f64 = 3300.0;
/// Default limit of the mempool in bytes, and memory that a transaction takes there.
pub const USAGE_MAX: f64 = 300e6;
const USAGE_PER_TRANSACTION: f64 = 1550.0;

/// A block that was connected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block {
    /// Transactions in it.
    pub transactions: f64,
    /// How long connecting took, in seconds.
    pub connect_s: f64,
}

/// What happened during one step.
#[derive(Debug, Clone, Default)]
pub struct Happened {
    /// Transactions that peers brought and the mempool took.
    pub added: f64,
    /// Of these, such that replaced another.
    pub replaced: f64,
    /// Transactions that the mempool refused.
    pub rejected: f64,
    /// Announcements that came in: entries of inv messages.
    pub inv_entries: f64,
    /// Blocks connected.
    pub blocks: Vec<Block>,
}

/// The mempool and what feeds it.
#[derive(Debug, Clone)]
pub struct Transactions {
    random: Random,
    /// Announcements of one transaction, per peer that relays.
    announced: f64,
    /// Transactions that wait.
    waiting: f64,
    /// Of these, such that pay too little for most miners. At a quiet time 6 % of the limit was in use (incident I).
    cheap: f64,
    quick: Drift,
    slow: Drift,
    storms: Bursts,
    size: Drift,
    fees: Drift,
    replacing: Drift,
    refusing: Drift,
    broadcasts: Bursts,
    chains: Bursts,
    orphans: [f64; 2],
    orphan_weight: Drift,
    /// Transactions that wait to be announced to the slowest peer.
    queue: f64,
    /// Seconds to the next block.
    next_block_s: f64,
    /// Seconds to the next write of the coins' cache.
    next_flush_s: f64,
}

impl Transactions {
    /// Of a node that has run for weeks.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, "transactions");
        Transactions {
            // 3,329,366 entries announced for 441,394 transactions by about 90 peers on one node (2.4); 1,037,820 for
            // 40,392 by 96 peers in an archive (baselines): 0.08 to 0.27 for each peer.
            announced: random.lognormal(0.12, 0.3),
            waiting: random.lognormal(30_000.0, 0.6),
            cheap: random.lognormal(8_000.0, 0.4),
            quick: Drift::new(HOUR_S, 0.12, &mut random),
            slow: Drift::new(3.0 * DAY_S, 0.12, &mut random),
            storms: Bursts::new(0.7, 1200.0, 0.8),
            size: Drift::new(6.0 * HOUR_S, 0.08, &mut random),
            fees: Drift::new(2.0 * DAY_S, 0.2, &mut random),
            replacing: Drift::new(1800.0, 0.5, &mut random),
            refusing: Drift::new(1.5 * HOUR_S, 0.6, &mut random),
            broadcasts: Bursts::new(6.0, 90.0, 0.6),
            chains: Bursts::new(3.0, 120.0, 0.5),
            orphans: [2.0, 25.0],
            orphan_weight: Drift::new(2.0 * HOUR_S, 0.25, &mut random),
            queue: 30.0,
            next_block_s: random.exponential(BLOCK_S),
            next_flush_s: random.between(0.0, HOUR_S),
            random,
        }
    }

    /// Transactions in the mempool.
    pub fn mempool(&self) -> f64 {
        self.waiting.round()
    }

    /// Memory the mempool takes, in bytes.
    pub fn usage(&self) -> f64 {
        (self.waiting * USAGE_PER_TRANSACTION * (0.3 * self.size_now()).exp()).min(USAGE_MAX).round()
    }

    /// Virtual bytes of the mempool.
    pub fn bytes(&self) -> f64 {
        (self.waiting * 300.0 * self.size_now().exp()).round()
    }

    /// Least fee rate of the mempool in BTC/kvB: that of relay (0.1 sat/vB since version 30) until the mempool is full.
    pub fn fee_min(&self) -> f64 {
        let fill = self.waiting * USAGE_PER_TRANSACTION / USAGE_MAX;
        1e-6 * (1.0 + (40.0 * (fill - 1.0)).max(0.0))
    }

    /// Orphans and their weight.
    pub fn orphans(&self) -> (f64, f64) {
        let count = self.orphans.iter().sum::<f64>().round();
        (count, (count * 1800.0 * self.orphan_weight_now().exp()).round())
    }

    /// Announcements in the longest queue to a peer, and those in all queues.
    pub fn queues(&mut self, peers: f64) -> (f64, f64) {
        let longest = self.queue * self.random.lognormal(1.6, 0.25);
        (longest.round(), (self.queue * 0.8 * peers * self.random.lognormal(1.0, 0.08)).round())
    }

    fn size_now(&self) -> f64 {
        self.size.now()
    }

    fn orphan_weight_now(&self) -> f64 {
        self.orphan_weight.now()
    }

    /// Blocks while the node is down, found anew at its start.
    pub fn sleep(&mut self, step_s: f64) {
        self.next_block_s = (self.next_block_s - step_s).max(1.0);
        self.orphans = [0.0; 2];
        self.queue = 0.0;
    }

    /// The mempool `step_s` later.
    pub fn step(
        &mut self,
        at_s: f64,
        step_s: f64,
        uptime_s: f64,
        relaying: f64,
        announced_per_s: f64,
        effects: &Effects,
    ) -> Happened {
        let mut happened = Happened::default();
        let rate = self.rate(at_s, step_s) * effects.transactions;
        happened.added = {
            // Relay comes in gusts: a step has more or less than its share.
            let gust = self.random.lognormal(1.0, 0.1);
            self.random.poisson(rate * step_s * gust)
        };
        self.waiting += happened.added;
        self.size.step(step_s, &mut self.random);
        self.orphan_weight.step(step_s, &mut self.random);
        let entries = happened.added * self.announced * relaying * self.random.lognormal(1.0, 0.06);
        happened.inv_entries = (entries * effects.inv).round();
        self.blocks(step_s, uptime_s, effects, &mut happened);
        // A full mempool lets go of those that pay least.
        self.waiting = self.waiting.min(1.02 * USAGE_MAX / USAGE_PER_TRANSACTION);
        self.refuse(at_s, step_s, rate, effects, &mut happened);
        self.orphan(step_s, rate, effects, happened.blocks.len());
        self.announce(step_s, rate, announced_per_s, effects, happened.blocks.len());
        happened
    }

    /// Transactions a second. A season of a day and a week, drifts of an hour and of days, and storms (batches of an
    /// exchange, a consolidation) that bring 1.3 to 2.5 times as many for some minutes. Who sees a long queue sends
    /// less: fees rise.
    fn rate(&mut self, at_s: f64, step_s: f64) -> f64 {
        let storm = self.storms.step(step_s, &mut self.random, |random| random.pareto(0.3, 1.5).min(1.5));
        let season = 1.0 + 0.18 * daily(at_s) - 0.12 * weekend(at_s);
        let drift = self.quick.step(step_s, &mut self.random) + self.slow.step(step_s, &mut self.random);
        let demand = (1.0 + self.waiting / 60_000.0).powf(-0.3) * 1.12;
        ADDED_PER_S * season * drift.exp() * demand * (1.0 + storm)
    }

    /// Blocks come as a Poisson process. Each takes what pays best, and empties part of the queues.
    fn blocks(&mut self, step_s: f64, uptime_s: f64, effects: &Effects, happened: &mut Happened) {
        self.next_block_s -= step_s;
        self.next_flush_s -= step_s;
        self.fees.step(step_s, &mut self.random);
        while self.next_block_s <= 0.0 {
            self.next_block_s += self.random.exponential(BLOCK_S);
            let capacity = BLOCK_TRANSACTIONS
                * (-self.size_now() - 0.3 * self.fees.now()).exp()
                * self.random.lognormal(1.0, 0.12);
            let is_empty = self.random.chance(0.003);
            let taken =
                if is_empty { 1.0 } else { capacity.min(0.95 * (self.waiting - self.cheap)).max(1.0) };
            self.waiting -= taken - 1.0;
            let cold = 1.0 + 4.0 * (-uptime_s / (6.0 * HOUR_S)).exp();
            let usual_s = self.random.lognormal(0.02 + 0.13 * taken / BLOCK_TRANSACTIONS, 0.45) * cold;
            happened.blocks.push(Block {
                transactions: taken.round(),
                connect_s: usual_s + effects.connect_s * self.random.lognormal(1.0, 0.1),
            });
        }
    }

    /// Seconds that the message handler spent on writing the coins' cache: about once an hour after a block.
    pub fn flush_s(&mut self, has_block: bool) -> f64 {
        if !has_block || self.next_flush_s > 0.0 {
            return 0.0;
        }
        self.next_flush_s = self.random.between(50.0, 70.0) * 60.0;
        self.random.lognormal(0.4, 0.7)
    }

    /// Replacements are a few per cent of what comes and move by themselves; rejections too, and somebody who
    /// broadcasts a batch that cannot be taken brings dozens within a minute or two.
    fn refuse(&mut self, at_s: f64, step_s: f64, rate: f64, effects: &Effects, happened: &mut Happened) {
        let replacing = self.replacing.step(step_s, &mut self.random).exp();
        happened.replaced = self.random.poisson(0.03 * rate * replacing * step_s);
        let refusing = self.refusing.step(step_s, &mut self.random).exp();
        let batch =
            self.broadcasts.step(step_s, &mut self.random, |random| random.lognormal(0.6, 1.0).min(8.0));
        let season = 1.0 + 0.1 * daily(at_s);
        let after_block = 0.003 * happened.blocks.iter().map(|block| block.transactions).sum::<f64>();
        let mean = (0.15 * refusing * season + batch + effects.rejects_per_s) * step_s + after_block;
        happened.rejected = self.random.poisson(mean);
    }

    /// Most orphans find their parents within a minute; a tenth stay until a block or eviction clears them (version 30 knows
    /// no expiry). Chains of transactions come at once.
    fn orphan(&mut self, step_s: f64, rate: f64, effects: &Effects, blocks: usize) {
        let chains = self.chains.step(step_s, &mut self.random, |random| random.lognormal(0.3, 0.8).min(3.0));
        let coming = (0.005 * rate + chains) * step_s;
        for (kind, (share, stay_s)) in [(0.9, 60.0), (0.1, 3.0 * HOUR_S)].into_iter().enumerate() {
            let kept = (-step_s / stay_s).exp();
            let cleared = 0.85_f64.powi(blocks as i32);
            let born = self.random.poisson(share * coming);
            self.orphans[kind] = self.orphans[kind] * kept * cleared + born;
        }
        if effects.orphans > 0.0 {
            self.orphans[1] = self.orphans[1].max(effects.orphans);
        }
    }

    /// What waits to be announced: a flush every five seconds, at most `announced_per_s` (7 up to version 30, 14 from 31
    /// on), and less after a block.
    fn announce(&mut self, step_s: f64, rate: f64, announced_per_s: f64, effects: &Effects, blocks: usize) {
        let least = rate * 5.0;
        self.queue += (rate - announced_per_s) * step_s;
        self.queue *= 0.4_f64.powi(blocks as i32);
        self.queue = self.queue.clamp(least, 80_000.0).max(effects.queue);
    }
}
