//! The bytes read and not yet cut into frames.

use bytes::{Buf as _, Bytes, BytesMut};

/// Read in pieces of this size: some 3000 events, and small enough for a processor's cache.
const CHUNK_BYTES: usize = 256 << 10;

/// Memory that is filled at its end and given away from its start without a copy.
///
/// Only a frame that does not fit into what is left of the memory is moved.
pub(super) struct Chunk {
    /// Initialized throughout, so that a source can write into its tail.
    memory: BytesMut,
    filled: usize,
}

impl Chunk {
    pub fn new(start: &[u8]) -> Self {
        let mut memory = BytesMut::zeroed(CHUNK_BYTES);
        memory[..start.len()].copy_from_slice(start);
        Chunk { memory, filled: start.len() }
    }

    /// What was read and not yet taken.
    #[inline]
    pub fn filled(&self) -> &[u8] {
        &self.memory[..self.filled]
    }

    /// Lets `read` add to a chunk that has room for `total` bytes in all; it returns how many it added.
    pub fn fill<E>(
        &mut self,
        total: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        if self.memory.len() < total {
            self.make_room(total.max(CHUNK_BYTES));
        }
        let added = read(&mut self.memory[self.filled..])?;
        self.filled += added;
        Ok(added)
    }

    fn make_room(&mut self, total: usize) {
        self.memory.truncate(self.filled);
        // Succeeds without allocating when all frames cut from the memory are gone, as in a replay.
        if !self.memory.try_reclaim(total - self.filled) {
            let mut memory = BytesMut::with_capacity(total);
            memory.extend_from_slice(&self.memory);
            self.memory = memory;
        }
        self.memory.resize(total, 0);
    }

    /// Removes `skip` bytes, then `len` bytes which it returns; both must be filled.
    #[inline]
    pub fn take(&mut self, skip: usize, len: usize) -> Bytes {
        self.filled -= skip + len;
        self.memory.advance(skip);
        self.memory.split_to(len).freeze()
    }
}
