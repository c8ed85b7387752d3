//! Addresses of the overlay networks as people write them.

/// Base 32 of RFC 4648 in lower case, as Tor and I2P use it.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A Tor v2 address from its 10 bytes.
pub(super) fn v2(key_hash: &[u8]) -> String {
    format!("{}.onion", base32(key_hash))
}

/// A Tor v3 address from its public key: with checksum and version, so that it can be looked up and dialled.
///
/// Source: Tor's rend-spec-v3, "Encoding onion addresses".
pub(super) fn v3(key: &[u8; 32]) -> String {
    const VERSION: u8 = 3;
    let mut hashed = b".onion checksum".to_vec();
    hashed.extend_from_slice(key);
    hashed.push(VERSION);
    let checksum = sha3_256(&hashed);
    let address = [key.as_slice(), &checksum[..2], &[VERSION]].concat();
    format!("{}.onion", base32(&address))
}

/// An I2P address from the hash of its destination.
pub(super) fn i2p(hash: &[u8; 32]) -> String {
    format!("{}.b32.i2p", base32(hash))
}

fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut held, mut bits) = (0_u32, 0);
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(held >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(held << (5 - bits) & 31) as usize]));
    }
    text
}

/// Bytes of a block of SHA3-256.
const RATE: usize = 136;

/// SHA3-256 (FIPS 202) of less than one block: all that an address needs.
fn sha3_256(message: &[u8]) -> [u8; 32] {
    assert!(message.len() < RATE, "one block only");
    let mut block = [0; RATE];
    block[..message.len()].copy_from_slice(message);
    block[message.len()] = 0x06;
    block[RATE - 1] |= 0x80;
    let mut state = [0_u64; 25];
    for (lane, bytes) in state.iter_mut().zip(block.as_chunks::<8>().0) {
        *lane = u64::from_le_bytes(*bytes);
    }
    keccak_f1600(&mut state);
    let mut digest = [0; 32];
    for (bytes, lane) in digest.as_chunks_mut::<8>().0.iter_mut().zip(state) {
        *bytes = lane.to_le_bytes();
    }
    digest
}

/// What each round of the permutation adds to the first lane: bits of a shift register (FIPS 202, algorithm
/// 5).
const ROUNDS: [u64; 24] = {
    let mut rounds = [0; 24];
    let (mut register, mut step) = (1_u8, 0);
    while step < 24 * 7 {
        rounds[step / 7] |= ((register & 1) as u64) << ((1_u32 << (step % 7)) - 1);
        register = if register & 0x80 == 0 { register << 1 } else { (register << 1) ^ 0x71 };
        step += 1;
    }
    rounds
};

/// Where rho and pi carry a lane, and how far they turn it: along one path through all lanes but the first,
/// by the triangular numbers (FIPS 202, algorithms 2 and 3).
const PATH: [(usize, u32); 24] = {
    let mut path = [(0, 0); 24];
    let (mut x, mut y, mut step) = (1, 0, 0);
    while step < 24 {
        (x, y) = (y, (2 * x + 3 * y) % 5);
        path[step] = (x + 5 * y, ((step + 1) * (step + 2) / 2 % 64) as u32);
        step += 1;
    }
    path
};

/// The permutation of FIPS 202, section 3.3; lane (x, y) is at x + 5 y.
fn keccak_f1600(state: &mut [u64; 25]) {
    for round in ROUNDS {
        let columns: [u64; 5] =
            std::array::from_fn(|x| state[x] ^ state[x + 5] ^ state[x + 10] ^ state[x + 15] ^ state[x + 20]);
        let parity: [u64; 5] =
            std::array::from_fn(|x| columns[(x + 4) % 5] ^ columns[(x + 1) % 5].rotate_left(1));
        for row in state.as_chunks_mut::<5>().0 {
            for (lane, parity) in row.iter_mut().zip(parity) {
                *lane ^= parity;
            }
        }
        let mut carried = state[1];
        for (place, turn) in PATH {
            carried = std::mem::replace(&mut state[place], carried.rotate_left(turn));
        }
        for row in state.as_chunks_mut::<5>().0 {
            let before = *row;
            for x in 0..5 {
                row[x] ^= !before[(x + 1) % 5] & before[(x + 2) % 5];
            }
        }
        state[0] ^= round;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn sha3_agrees_with_published_digests() {
        // NIST's examples for SHA3-256: the empty message and "abc".
        let empty = "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a";
        let abc = "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532";
        assert_eq!((hex(&sha3_256(b"")), hex(&sha3_256(b"abc"))), (empty.to_string(), abc.to_string()));
    }

    #[test]
    fn base32_pads_the_last_letter_with_zero_bits() {
        // RFC 4648, section 10, without padding and in lower case.
        for (bytes, text) in [("f", "my"), ("fo", "mzxq"), ("foo", "mzxw6"), ("foobar", "mzxw6ytboi")] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn a_v3_address_survives_the_way_from_its_key_and_back() {
        // The Tor Project's own site; its first 32 bytes are the key.
        let known = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid";
        let mut bits = Vec::new();
        for letter in known.bytes() {
            let value = ALPHABET.iter().position(|known| *known == letter).expect("base 32");
            bits.extend((0..5).rev().map(|bit| (value >> bit & 1) as u8));
        }
        let bytes: Vec<u8> =
            bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | bit)).collect();
        let key = <&[u8; 32]>::try_from(&bytes[..32]).expect("35 bytes");
        assert_eq!(v3(key), format!("{known}.onion"));
    }
}
