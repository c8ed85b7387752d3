//! Decides what of the node's answers is an event. Pure.

use std::time::Duration;

use tocsin_proto::pb::ipc_extractor::ipc::IpcEvent;
use tocsin_proto::pb::ipc_extractor::{BlockTip, InitialBlockDownload};

use super::answers::Tip;

/// Initial block download is told again after this time, changed or not.
const DOWNLOAD_EVERY: Duration = Duration::from_secs(60);

/// What was told of a node, over all its connections.
#[derive(Debug, Default)]
pub(super) struct News {
    tip: Option<Tip>,
    /// The next tip is told even if it is the last one.
    tells_tip: bool,
    /// Whether it was downloading, and when that was told.
    download: Option<(bool, Duration)>,
}

impl News {
    /// A connection was made: the state is told anew.
    pub(super) fn connected(&mut self) {
        self.tells_tip = true;
        self.download = None;
    }

    /// Hash of the last tip; all zero if none is to be told anew.
    pub(super) fn last_hash(&self) -> [u8; 32] {
        self.tip.filter(|_| !self.tells_tip).map_or([0; 32], |tip| tip.hash)
    }

    /// The event of a tip, if it is another than the last.
    pub(super) fn tip(&mut self, tip: Tip) -> Option<IpcEvent> {
        let last = self.tip.replace(tip);
        if last == Some(tip) && !self.tells_tip {
            return None;
        }
        self.tells_tip = false;
        let skipped = last.map_or(0, |last| i64::from(tip.height) - i64::from(last.height) - 1);
        Some(IpcEvent::BlockTip(BlockTip {
            height: tip.height,
            hash: tip.hash.to_vec(),
            skipped: Some(skipped.clamp(0, i64::from(u32::MAX)) as u32),
        }))
    }

    /// The event of initial block download at `now` (time since any fixed moment): on a change and every minute.
    pub(super) fn download(&mut self, active: bool, now: Duration) -> Option<IpcEvent> {
        let is_known =
            self.download.is_some_and(|(told, at)| told == active && now.saturating_sub(at) < DOWNLOAD_EVERY);
        if is_known {
            return None;
        }
        self.download = Some((active, now));
        Some(IpcEvent::InitialBlockDownload(InitialBlockDownload { active }))
    }

    /// True while the node says that it downloads.
    pub(super) fn is_downloading(&self) -> bool {
        matches!(self.download, Some((true, _)))
    }
}
