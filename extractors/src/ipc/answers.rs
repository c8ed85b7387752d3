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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use capnp::message::ReaderOptions;
    use capnp::serialize;
    use proptest::prelude::*;
    use tocsin_proto::pb::event::Event;
    use tocsin_proto::pb::event::event::PeerObserverEvent;
    use tocsin_proto::pb::ipc_extractor::Ipc;
    use tocsin_proto::pb::ipc_extractor::ipc::IpcEvent;
    use tocsin_testing::expect_events;

    use super::super::news::News;
    use super::*;

    type Message = capnp::message::Reader<serialize::OwnedSegments>;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/extract/ipc")
    }

    /// The answers in a file: messages one after the other, each with an answer as its root.
    fn answers(name: &str) -> Vec<Message> {
        let bytes = std::fs::read(folder().join(name)).expect("a recording");
        let mut rest = bytes.as_slice();
        let next = || serialize::try_read_message(&mut rest, ReaderOptions::new()).expect("whole messages");
        std::iter::from_fn(next).collect()
    }

    fn events(found: impl IntoIterator<Item = IpcEvent>) -> Vec<Event> {
        let event = |(second, event)| Event {
            timestamp: second * 1000,
            peer_observer_event: Some(PeerObserverEvent::Ipc(Ipc { ipc_event: Some(event) })),
            ..Event::default()
        };
        (0u64..).zip(found).map(event).collect()
    }

    #[test]
    fn recorded_tips_give_one_event_each_change() {
        let mut news = News::default();
        let tips = answers("wait_tip_changed.bin");
        let tips =
            tips.iter().map(|answer| changed_tip(answer.get_root().expect("a struct")).expect("a tip"));
        let found: Vec<IpcEvent> = tips.filter_map(|tip| news.tip(tip.expect("one"))).collect();
        expect_events(&folder().join("wait_tip_changed.json"), &events(found));
    }

    #[test]
    fn both_methods_name_the_same_block() {
        let (changed, current) =
            (answers("wait_tip_changed.bin").remove(0), answers("get_tip.bin").remove(0));
        let changed = changed_tip(changed.get_root().expect("a struct")).expect("a tip");
        assert!(changed.is_some());
        assert_eq!(changed, current_tip(current.get_root().expect("a struct")).expect("a tip"));
    }

    #[test]
    fn recorded_states_give_one_event_each_change() {
        let mut news = News::default();
        let states = answers("is_initial_block_download.bin");
        let states = states.iter().map(|answer| {
            let answer: mining::is_initial_block_download_results::Reader<'_> =
                answer.get_root().expect("a struct");
            answer.get_result()
        });
        let found: Vec<IpcEvent> = states.filter_map(|state| news.download(state, Duration::ZERO)).collect();
        expect_events(&folder().join("is_initial_block_download.json"), &events(found));
    }

    #[test]
    fn an_empty_answer_is_no_tip() {
        let mut message = capnp::message::Builder::new_default();
        let answer = message.init_root::<mining::wait_tip_changed_results::Builder<'_>>();
        assert_eq!(changed_tip(answer.into_reader()), Ok(None));
        let answer = message.init_root::<mining::get_tip_results::Builder<'_>>();
        assert_eq!(current_tip(answer.into_reader()), Ok(None));
    }

    #[test]
    fn text_that_is_not_utf8_is_refused() {
        let mut message = capnp::message::Builder::new_default();
        let mut answer = message.init_root::<rpc::execute_rpc_results::Builder<'_>>();
        answer.set_result(capnp::text::Reader(&[0xff, 0xfe]));
        assert_eq!(response(answer.into_reader()), Err(Unreadable::Text));
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            // One segment, whatever is in it.
            let words = (bytes.len() / 8) as u32;
            let mut framed = vec![0; 4];
            framed.extend(words.to_le_bytes());
            framed.extend(&bytes[..words as usize * 8]);
            if let Ok(message) = serialize::read_message(framed.as_slice(), ReaderOptions::new()) {
                let _ = message.get_root().map(changed_tip);
                let _ = message.get_root().map(current_tip);
                let _ = message.get_root().map(response);
            }
        }
    }
}
