//! How what has no encoding of its own is written into a snapshot, and what tells two texts or two snapshots apart.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A number that differs for different bytes: FNV-1a, eight bytes at a time. It finds damage, not malice.
/// Source: Fowler, Noll, Vo, draft-eastlake-fnv; the offset and the prime of 64 bits.
pub fn checksum(bytes: &[u8]) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64 ^ bytes.len() as u64;
    let mut take = |word: u64| {
        // The product alone would let the upper bits of a word change nothing but the upper bits of the sum.
        sum = (sum ^ word).wrapping_mul(0x100_0000_01b3);
        sum ^= sum >> 32;
    };
    let mut words = bytes.chunks_exact(8);
    for word in words.by_ref() {
        take(u64::from_le_bytes(word.try_into().expect("eight bytes")));
    }
    words.remainder().iter().for_each(|byte| take(u64::from(*byte)));
    sum
}

/// Bytes in one piece. Use with `#[serde(with = "..")]`.
pub mod bytes {
    use serde::Serializer;

    use super::*;

    /// Writes bytes.
    pub fn serialize<S: Serializer>(bytes: &impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes.as_ref())
    }

    /// Reads bytes; no more is allocated than is there.
    pub fn deserialize<'de, D: Deserializer<'de>, B: From<Vec<u8>>>(deserializer: D) -> Result<B, D::Error> {
        struct Owned;
        impl Visitor<'_> for Owned {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_bytes(Owned).map(B::from)
    }
}

/// A text that is shared. Use with `#[serde(with = "..")]`.
pub mod shared_text {
    use serde::Serializer;

    use super::*;

    /// Writes a text.
    pub fn serialize<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    /// Reads a text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(deserializer).map(Arc::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_any_bit_changes_the_checksum() {
        let bytes: Vec<u8> = (0..=40).collect();
        for len in [0, 7, 8, 41] {
            for bit in 0..len * 8 {
                let mut changed = bytes[..len].to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(checksum(&changed), checksum(&bytes[..len]), "{len} {bit}");
            }
            assert_ne!(checksum(&bytes[..len]), checksum(&[&bytes[..len], &[0]].concat()));
        }
    }
}
