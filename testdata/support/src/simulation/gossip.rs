//! Addresses: what peers tell, and the tables the node keeps of them.

use super::incident::Effects;
use super::random::Random;
use super::rhythm::{Bursts, Drift, daily};

const HOUR_S: f64 = 3600.0;
const DAY_S: f64 = 86_400.0;
/// Addresses that one peer relays each second: honest peers send 0 to 0.025 (`peer-observer.md` incident E).
const ENTRIES_PER_PEER_S: f64 = 0.0125;
/// Places in the tables (`bitcoin-core.md` 2.2): 65,536 new and 16,384 tried.
const NEW: f64 = 52_000.0;
const TRIED: f64 = 9_000.0;

/// Addresses as they come and are kept.
#[derive(Debug, Clone)]
pub struct Gossip {
    random: Random,
    relay: Drift,
    talkers: Bursts,
    new: Drift,
    tried: Drift,
    /// Entries above the usual in the new table, as answers and floods leave them behind.
    surplus: f64,
    level: [f64; 2],
}

impl Gossip {
    /// Of a node that has run for weeks.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, "gossip");
        Gossip {
            relay: Drift::new(2.0 * HOUR_S, 0.2, &mut random),
            talkers: Bursts::new(2.0, HOUR_S, 0.8),
            new: Drift::new(3.0 * DAY_S, 0.015, &mut random),
            tried: Drift::new(5.0 * DAY_S, 0.01, &mut random),
            surplus: 0.0,
            level: [random.lognormal(NEW, 0.08).min(60_000.0), random.lognormal(TRIED, 0.15)],
            random,
        }
    }

    /// Addresses that come in during one step, and messages they come in. Relayed ones come in messages of up to ten, a few
    /// talkative peers (crawlers) send more than 0.1 a second for an hour, and answers to our getaddr are whole.
    pub fn step(
        &mut self,
        at_s: f64,
        step_s: f64,
        peers: f64,
        answers: &[f64],
        effects: &Effects,
    ) -> (f64, f64) {
        let relay = self.relay.step(step_s, &mut self.random).exp() * (1.0 + 0.05 * daily(at_s));
        let talk = self.talkers.step(step_s, &mut self.random, |random| random.pareto(0.1, 1.5).min(1.0));
        let rate = (ENTRIES_PER_PEER_S * peers * relay + talk) * effects.addr;
        // One to four at a time.
        let messages = self.random.poisson(rate * step_s / 2.2);
        let entries = messages + self.random.poisson(1.2 * messages);
        let answered: f64 = answers.iter().sum();
        // An address that was not known takes a place; places of old ones become free within days.
        self.surplus += 0.01 * (rate * step_s - ENTRIES_PER_PEER_S * peers * step_s) + 0.05 * answered;
        self.surplus *= (-step_s / (2.0 * DAY_S)).exp();
        self.new.step(step_s, &mut self.random);
        self.tried.step(step_s, &mut self.random);
        (entries + answered, messages + answers.len() as f64)
    }

    /// Entries in the new and in the tried table.
    pub fn tables(&self) -> (f64, f64) {
        let new = (self.level[0] * (1.0 + self.new.now()) + self.surplus).min(65_536.0);
        (new.round(), (self.level[1] * (1.0 + self.tried.now())).min(16_384.0).round())
    }
}
