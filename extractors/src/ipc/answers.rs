//! From answers of the node to facts. Pure; any message gives a fact or an error, never a panic.

use super::node_capnp::{block_ref, mining, rpc};

/// Bytes of a block's hash.
pub(super) const HASH_BYTES: usize = 32;

/// A block: where a chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tip {
    /// Its height.
    pub(super) height: i32,
    /// Its hash, in the order of the block header's bytes.
    pub(super) hash: [u8; HASH_BYTES],
}

/// Why an answer is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// The message does not hold what it should.
    #[error("not readable: {0}")]
    Message(capnp::ErrorKind),
    /// A hash has another length.
    #[error("a hash of {0} bytes, not 32")]
    HashLength(usize),
    /// No block has such a height.
    #[error("a height of {0}")]
    Height(i32),
    /// A text that is not in UTF-8.
    #[error("text that is not UTF-8")]
    Text,
}

impl From<capnp::Error> for Unreadable {
    fn from(error: capnp::Error) -> Self {
        Unreadable::Message(error.kind)
    }
}

/// The tip of `waitTipChanged`; none if the node shuts down or another client interrupted the wait.
pub(super) fn changed_tip(
    answer: mining::wait_tip_changed_results::Reader<'_>,
) -> Result<Option<Tip>, Unreadable> {
    if !answer.has_result() {
        return Ok(None);
    }
    tip(answer.get_result()?)
}

/// The tip of `getTip`; none while the node has none.
pub(super) fn current_tip(answer: mining::get_tip_results::Reader<'_>) -> Result<Option<Tip>, Unreadable> {
    if !answer.get_has_result() {
        return Ok(None);
    }
    tip(answer.get_result()?)
}

fn tip(block: block_ref::Reader<'_>) -> Result<Option<Tip>, Unreadable> {
    let hash = block.get_hash()?;
    if hash.is_empty() {
        return Ok(None);
    }
    let hash = hash.try_into().map_err(|_| Unreadable::HashLength(hash.len()))?;
    match block.get_height() {
        height if height < 0 => Err(Unreadable::Height(height)),
        height => Ok(Some(Tip { height, hash })),
    }
}

/// The JSON text of `executeRpc`.
pub(super) fn response(answer: rpc::execute_rpc_results::Reader<'_>) -> Result<String, Unreadable> {
    answer.get_result()?.to_string().map_err(|_| Unreadable::Text)
}
