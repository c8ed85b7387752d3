//! Protobuf's variable-length integers, decoded from the start of a slice.

/// Why no integer stands at the start of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VarintError {
    /// The slice ends before the integer does.
    Incomplete,
    /// More than 64 bits.
    Malformed,
}

/// The integer at the start of `bytes` and how many bytes it takes, 1 to 10.
#[inline(always)]
pub(super) fn decode(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    match *bytes {
        [byte, ..] if byte < 0x80 => Ok((u64::from(byte), 1)),
        [low, high, ..] if high < 0x80 => Ok((u64::from(low & 0x7f) | (u64::from(high) << 7), 2)),
        _ => decode_long(bytes),
    }
}

fn decode_long(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        // Nine bytes carry 63 bits, so the tenth may add one.
        if index == 9 && *byte > 1 {
            return Err(VarintError::Malformed);
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            return Ok((value, index + 1));
        }
    }
    Err(VarintError::Incomplete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_decodes_as_prost_encodes_it() {
        for shift in 0..64 {
            for value in [1 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                prost::encoding::encode_varint(value, &mut bytes);
                assert_eq!(decode(&bytes), Ok((value, bytes.len())));
                assert_eq!(decode(&bytes[..bytes.len() - 1]), Err(VarintError::Incomplete));
            }
        }
    }

    #[test]
    fn more_than_64_bits_are_malformed() {
        assert_eq!(decode(&[0xff; 10]), Err(VarintError::Malformed));
        assert_eq!(
            decode(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2]),
            Err(VarintError::Malformed)
        );
    }
}
