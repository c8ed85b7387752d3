//! Bytes that have arrived and are not used yet. Holds no more than one message and one read.

use std::ops::Range;

/// Room that is kept for the next message when the buffer is empty.
const KEPT: usize = 64 * 1024;

/// A queue of bytes that is read in slices.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    /// Bytes that are still to be dropped as they arrive.
    skipping: usize,
}

impl Inbox {
    /// Takes what has arrived.
    pub(super) fn push(&mut self, arrived: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        if self.bytes.is_empty() {
            self.bytes.shrink_to(KEPT);
        }
        let skipped = self.skipping.min(arrived.len());
        self.skipping -= skipped;
        self.bytes.extend_from_slice(&arrived[skipped..]);
    }

    /// The bytes that wait.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Takes the first `count` bytes, if so many wait; says where they stay until the next push.
    pub(super) fn take(&mut self, count: usize) -> Option<Range<usize>> {
        if self.waiting().len() < count {
            return None;
        }
        self.start += count;
        Some(self.start - count..self.start)
    }

    /// Bytes that were taken.
    pub(super) fn taken(&self, place: Range<usize>) -> &[u8] {
        &self.bytes[place]
    }

    /// As [`Inbox::taken`], to decrypt them where they are.
    pub(super) fn taken_mut(&mut self, place: Range<usize>) -> &mut [u8] {
        &mut self.bytes[place]
    }

    /// Drops the next `count` bytes, those included that have not arrived yet.
    pub(super) fn skip(&mut self, count: usize) {
        let here = count.min(self.waiting().len());
        self.start += here;
        self.skipping += count - here;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_bytes_are_never_held() {
        let mut inbox = Inbox::default();
        inbox.push(b"abc");
        inbox.skip(5);
        assert_eq!(inbox.waiting(), b"");
        inbox.push(b"d");
        assert_eq!(inbox.waiting(), b"");
        inbox.push(b"efg");
        assert_eq!(inbox.waiting(), b"fg");
        assert_eq!(inbox.take(3), None);
        let place = inbox.take(1).expect("two wait");
        assert_eq!(inbox.taken(place), b"f");
        inbox.push(b"h");
        assert_eq!(inbox.waiting(), b"gh");
    }

    #[test]
    fn room_of_a_large_message_is_given_back() {
        let mut inbox = Inbox::default();
        inbox.push(&vec![0; 1_000_000]);
        assert!(inbox.take(1_000_000).is_some());
        inbox.push(b"next");
        assert!(inbox.bytes.capacity() <= KEPT);
    }
}
