//! A stream that ends when the other side sends more than was asked for.
//!
//! The protocol lets either side begin calls and hand over objects, which stay in memory until released. A node we only
//! ask has no use for that, so what it may send is bounded by what we ask.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that may still be read. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Ration {
    left: Rc<Cell<usize>>,
    full: usize,
}

impl Ration {
    /// One of `first` bytes, and of `full` bytes from the first answer on.
    pub(super) fn new(first: usize, full: usize) -> Self {
        Ration { left: Rc::new(Cell::new(first)), full }
    }

    /// An answer was taken: the other side may send as much again.
    pub(super) fn refill(&self) {
        self.left.set(self.full);
    }
}

/// Reads from `R` what the ration allows, then errs. It may be overdrawn by one buffer of the reader.
#[derive(Debug)]
pub(super) struct Rationed<R> {
    inner: R,
    ration: Ration,
}

impl<R> Rationed<R> {
    /// Reads `inner` within `ration`.
    pub(super) fn new(inner: R, ration: Ration) -> Self {
        Rationed { inner, ration }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Rationed<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.ration.left.get();
        if left == 0 {
            return Poll::Ready(Err(io::Error::other("it sends more than it was asked for")));
        }
        let before = buffer.filled().len();
        let outcome = ready!(Pin::new(&mut self.inner).poll_read(context, buffer));
        self.ration.left.set(left.saturating_sub(buffer.filled().len() - before));
        Poll::Ready(outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn reading_ends_with_the_ration_and_goes_on_when_it_is_refilled() {
        let ration = Ration::new(8, 16);
        let mut reader = Rationed::new(&[7u8; 64][..], ration.clone());
        let mut buffer = [0; 8];
        assert_eq!(reader.read(&mut buffer).await.expect("within the ration"), 8);
        assert!(reader.read(&mut buffer).await.is_err());
        ration.refill();
        for _ in 0..2 {
            assert_eq!(reader.read(&mut buffer).await.expect("refilled"), 8);
        }
        assert!(reader.read(&mut buffer).await.is_err());
    }
}
