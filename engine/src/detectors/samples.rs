//! Series for the tests of detectors: a sample every five minutes, the same each time.

use crate::time::Timestamp;

/// Time between samples in milliseconds.
pub const STEP_MS: i64 = 300_000;

/// When sample `i` comes: from a Monday at midnight on.
pub fn at(i: usize) -> Timestamp {
    const MONDAY_MS: i64 = 1_767_571_200_000;
    Timestamp::from_unix_ms(MONDAY_MS + i as i64 * STEP_MS)
}

/// A day's wave between 80 and 120.
pub fn daily(i: usize) -> f64 {
    let into = (i as i64 * STEP_MS) as f64 / 86_400_000.0;
    100.0 + 20.0 * (into * std::f64::consts::TAU).sin()
}

/// Numbers between -3 and 3 with mean 0 and deviation about 1, of sample `i` alone (splitmix64, sum of four).
pub fn noise(i: usize) -> f64 {
    let uniform = |salt: u64| {
        let mut x = (i as u64).wrapping_mul(4).wrapping_add(salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..4).map(|salt| uniform(salt) - 0.5).sum::<f64>() * 1.73
}
