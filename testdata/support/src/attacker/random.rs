//! Random numbers that are the same in each run.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};

/// A generator of 64-bit numbers, SplitMix64: Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators".
#[derive(Debug)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    /// The program's first, second, third generator.
    pub fn next_of_program() -> Self {
        static STARTED: AtomicU64 = AtomicU64::new(1);
        Random { state: STARTED.fetch_add(1, Ordering::Relaxed).wrapping_mul(0xd134_2543_de82_ef95) }
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Any hash.
    pub fn hash(&mut self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.chunks_exact_mut(8).for_each(|eight| eight.copy_from_slice(&self.number().to_le_bytes()));
        hash
    }

    /// An address that Bitcoin Core takes for routable and nobody has: one of 240.0.0.0/5.
    ///
    /// Those are reserved (RFC 1112) and unused. A node that dials what it was told thus reaches no stranger.
    pub fn unused_address(&mut self) -> Ipv4Addr {
        let number = self.number();
        Ipv4Addr::from(0xf000_0000 | (number as u32 & 0x07ff_ffff))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_and_are_all_reserved() {
        let mut random = Random { state: 7 };
        let addresses: std::collections::BTreeSet<Ipv4Addr> =
            (0..1000).map(|_| random.unused_address()).collect();
        assert!(addresses.len() > 990);
        assert!(addresses.iter().all(|address| (240..248).contains(&address.octets()[0])));
    }

    #[test]
    fn the_first_number_is_that_of_the_published_generator() {
        assert_eq!(Random { state: 0 }.number(), 0xe220_a839_7b1d_cdaf);
    }
}
