//! Records as the tracepoint programs write them (`bpf/records.h`), read field by field.
//!
//! Nothing here trusts a length: a record that is too short is none, and text ends at its first NUL or at its field's
//! end. Numbers are in the machine's byte order.

/// Bytes of a message record before the payload.
#[cfg(test)]
const MESSAGE_BYTES: usize = 200;
const ADDR_BYTES: usize = 128;
const CONN_TYPE_BYTES: usize = 24;

/// What a record tells, with references into its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// When the probe fired, in nanoseconds of CLOCK_MONOTONIC.
    pub at: u64,
    /// Fields that could not be read from the node's memory and are empty: the bits of [`UNREAD`].
    pub unread: u16,
    /// What happened.
    pub body: Body<'a>,
}

/// Names of the bits in [`Record::unread`], lowest first.
pub const UNREAD: [&str; 6] = ["address", "connection type", "message type", "payload", "hash", "reason"];

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// A P2P message.
    Message(Message<'a>),
    /// A peer connected; the number is of inbound connections.
    InboundConnection(Connection<'a>),
    /// The node connected; the number is of outbound connections.
    OutboundConnection(Connection<'a>),
    /// A connection was closed; the number is when it had been opened (Unix seconds).
    ClosedConnection(Connection<'a>),
    /// A peer was evicted; the number is when it had connected (Unix seconds).
    EvictedConnection(Connection<'a>),
    /// A peer broke a rule.
    Misbehaving {
        /// The peer.
        peer_id: u64,
        /// What it did; may be empty.
        reason: &'a [u8],
    },
    /// A transaction entered the mempool.
    Added(Entry<'a>),
    /// A transaction left the mempool.
    Removed {
        /// The transaction.
        entry: Entry<'a>,
        /// When it had entered (Unix seconds).
        entry_time: u64,
        /// Why it left.
        reason: &'a [u8],
    },
    /// A transaction was replaced.
    Replaced {
        /// The one that goes.
        replaced: Entry<'a>,
        /// When it had entered (Unix seconds).
        entry_time: u64,
        /// What comes: a transaction or a package.
        replacement: Entry<'a>,
        /// Whether it is a transaction.
        by_transaction: bool,
    },
    /// A transaction was refused.
    Rejected {
        /// The transaction.
        txid: &'a [u8],
        /// Why.
        reason: &'a [u8],
    },
    /// A block was connected.
    BlockConnected(BlockConnected<'a>),
    /// The cache of unspent outputs was written.
    Flush(Flush),
    /// A coin was added to the cache.
    CoinAdded(Coin<'a>),
    /// A coin was spent.
    CoinSpent(Coin<'a>),
    /// A coin was dropped from the cache.
    CoinUncached(Coin<'a>),
}

/// A P2P message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Whether the node received it.
    pub inbound: bool,
    /// The peer.
    pub peer_id: u64,
    /// Length of its payload in bytes, of which less may be in `payload`.
    pub size: u64,
    /// The peer's address and port.
    pub addr: &'a [u8],
    /// Kind of connection.
    pub conn_type: &'a [u8],
    /// Message type.
    pub msg_type: &'a [u8],
    /// What was captured of the payload.
    pub payload: &'a [u8],
}

/// A connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection<'a> {
    /// The peer.
    pub peer_id: u64,
    /// Depends on what happened, see [`Body`].
    pub number: u64,
    /// Network as Core numbers it.
    pub network: u32,
    /// The peer's address and port.
    pub addr: &'a [u8],
    /// Kind of connection.
    pub conn_type: &'a [u8],
}

/// An entry of the mempool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its id.
    pub id: &'a [u8],
    /// Fee in satoshis.
    pub fee: i64,
    /// Virtual size in vbytes.
    pub vsize: i32,
}

/// A connected block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockConnected<'a> {
    /// Its hash.
    pub hash: &'a [u8],
    /// Number of transactions.
    pub transactions: u64,
    /// Signature operation cost.
    pub sigops: i64,
    /// Time it took: nanoseconds, microseconds from nodes 23 and 24.
    pub duration: i64,
    /// Its height.
    pub height: i32,
    /// Number of inputs.
    pub inputs: i32,
}

/// A flush of the cache of unspent outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flush {
    /// Time it took in microseconds.
    pub duration: i64,
    /// Coins in the cache.
    pub coins: u64,
    /// Memory of the cache in bytes.
    pub bytes: u64,
    /// Mode as the node numbers it.
    pub mode: u32,
    /// Whether it was for pruning.
    pub prune: bool,
}

/// A coin of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coin<'a> {
    /// Transaction that made it.
    pub txid: &'a [u8],
    /// Value in satoshis.
    pub value: i64,
    /// Output of the transaction.
    pub vout: u32,
    /// Height it is from.
    pub height: u32,
    /// Whether it is from a coinbase.
    pub coinbase: bool,
}

/// Bytes of a record that are yet to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_ne_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_ne_bytes)
    }

    fn hash(&mut self) -> Option<&'a [u8]> {
        self.bytes(32)
    }

    /// The text in a field of `room` bytes.
    fn text(&mut self, room: usize) -> Option<&'a [u8]> {
        let field = self.bytes(room)?;
        let end = field.iter().position(|byte| *byte == 0);
        Some(&field[..end.unwrap_or(room)])
    }
}

/// Reads a record. `None` if it is cut short or of an unknown kind.
pub fn read(bytes: &[u8]) -> Option<Record<'_>> {
    let mut rest = Rest(bytes);
    let (at, kind, unread, captured) = (rest.u64()?, rest.u16()?, rest.u16()?, rest.u32()?);
    let body = match kind {
        1 => Body::Message(message(&mut rest, true, captured)?),
        2 => Body::Message(message(&mut rest, false, captured)?),
        3 => Body::InboundConnection(connection(&mut rest)?),
        4 => Body::OutboundConnection(connection(&mut rest)?),
        5 => Body::ClosedConnection(connection(&mut rest)?),
        6 => Body::EvictedConnection(connection(&mut rest)?),
        7 => Body::Misbehaving { peer_id: rest.u64()?, reason: rest.text(136)? },
        8 => Body::Added(added(&mut rest)?),
        9 => removed(&mut rest)?,
        10 => replaced(&mut rest)?,
        11 => Body::Rejected { txid: rest.hash()?, reason: rest.text(128)? },
        12 => Body::BlockConnected(block_connected(&mut rest)?),
        13 => Body::Flush(flush(&mut rest)?),
        14 => Body::CoinAdded(coin(&mut rest)?),
        15 => Body::CoinSpent(coin(&mut rest)?),
        16 => Body::CoinUncached(coin(&mut rest)?),
        _ => return None,
    };
    Some(Record { at, unread, body })
}

/// Bytes of `record` that mean something: a message's record has room for the largest payload of its class.
#[cfg(test)]
pub fn used(record: &[u8]) -> &[u8] {
    match read(record).map(|record| record.body) {
        Some(Body::Message(message)) => &record[..MESSAGE_BYTES + message.payload.len()],
        _ => record,
    }
}

fn message<'a>(rest: &mut Rest<'a>, inbound: bool, captured: u32) -> Option<Message<'a>> {
    Some(Message {
        inbound,
        peer_id: rest.u64()?,
        size: rest.u64()?,
        addr: rest.text(ADDR_BYTES)?,
        conn_type: rest.text(CONN_TYPE_BYTES)?,
        msg_type: rest.text(16)?,
        payload: rest.bytes(captured as usize)?,
    })
}

fn connection<'a>(rest: &mut Rest<'a>) -> Option<Connection<'a>> {
    let (peer_id, number, network, _hole) = (rest.u64()?, rest.u64()?, rest.u32()?, rest.u32()?);
    let (addr, conn_type) = (rest.text(ADDR_BYTES)?, rest.text(CONN_TYPE_BYTES)?);
    Some(Connection { peer_id, number, network, addr, conn_type })
}

fn added<'a>(rest: &mut Rest<'a>) -> Option<Entry<'a>> {
    Some(Entry { id: rest.hash()?, fee: rest.i64()?, vsize: rest.i32()? })
}

fn removed<'a>(rest: &mut Rest<'a>) -> Option<Body<'a>> {
    let (id, fee, entry_time) = (rest.hash()?, rest.i64()?, rest.u64()?);
    let (vsize, _hole, reason) = (rest.i32()?, rest.u32()?, rest.text(16)?);
    Some(Body::Removed { entry: Entry { id, fee, vsize }, entry_time, reason })
}

fn replaced<'a>(rest: &mut Rest<'a>) -> Option<Body<'a>> {
    let (replaced, replacement) = (rest.hash()?, rest.hash()?);
    let (replaced_fee, entry_time, replacement_fee) = (rest.i64()?, rest.u64()?, rest.i64()?);
    let (replaced_vsize, replacement_vsize, by_transaction) = (rest.i32()?, rest.i32()?, rest.u32()?);
    Some(Body::Replaced {
        replaced: Entry { id: replaced, fee: replaced_fee, vsize: replaced_vsize },
        entry_time,
        replacement: Entry { id: replacement, fee: replacement_fee, vsize: replacement_vsize },
        by_transaction: by_transaction != 0,
    })
}

fn block_connected<'a>(rest: &mut Rest<'a>) -> Option<BlockConnected<'a>> {
    Some(BlockConnected {
        hash: rest.hash()?,
        transactions: rest.u64()?,
        sigops: rest.i64()?,
        duration: rest.i64()?,
        height: rest.i32()?,
        inputs: rest.i32()?,
    })
}

fn flush(rest: &mut Rest<'_>) -> Option<Flush> {
    Some(Flush {
        duration: rest.i64()?,
        coins: rest.u64()?,
        bytes: rest.u64()?,
        mode: rest.u32()?,
        prune: rest.u32()? != 0,
    })
}

fn coin<'a>(rest: &mut Rest<'a>) -> Option<Coin<'a>> {
    Some(Coin {
        txid: rest.hash()?,
        value: rest.i64()?,
        vout: rest.u32()?,
        height: rest.u32()?,
        coinbase: rest.u32()? != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn misbehaving(reason: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        record.extend(5u64.to_ne_bytes());
        record.extend(7u16.to_ne_bytes());
        record.extend([0; 6]);
        record.extend(3u64.to_ne_bytes());
        let mut field = [b'x'; 136];
        field[..reason.len()].copy_from_slice(reason);
        record.extend(field);
        record
    }

    fn reason_of(record: &[u8]) -> Vec<u8> {
        match read(record).expect("a record").body {
            Body::Misbehaving { peer_id: 3, reason } => reason.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn text_ends_at_the_first_nul_and_leftovers_behind_it_are_not_read() {
        assert_eq!(reason_of(&misbehaving(b"bad\0")), b"bad");
        assert_eq!(reason_of(&misbehaving(b"\0")), b"");
    }

    #[test]
    fn text_without_a_nul_ends_with_its_field() {
        let mut record = misbehaving(b"");
        record.extend(b"the next record");
        assert_eq!(reason_of(&record), [b'x'; 136]);
    }

    #[test]
    fn a_record_that_is_cut_short_or_unknown_is_none() {
        let record = misbehaving(b"bad\0");
        for length in 0..record.len() {
            assert_eq!(read(&record[..length]), None);
        }
        let mut unknown = record;
        unknown[8] = 99;
        assert_eq!(read(&unknown), None);
    }

    #[test]
    fn a_message_that_claims_more_payload_than_there_is_is_none() {
        let mut record = vec![0; MESSAGE_BYTES + 4];
        record[8] = 1;
        record[12] = 4;
        assert!(read(&record).is_some());
        record[12] = 5;
        assert_eq!(read(&record), None);
    }
}
