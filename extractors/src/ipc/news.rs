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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(news: &mut News, height: i32, hash: u8) -> Option<(i32, Option<u32>)> {
        match news.tip(Tip { height, hash: [hash; 32] })? {
            IpcEvent::BlockTip(tip) => Some((tip.height, tip.skipped)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_tip_is_told_once_and_says_what_it_skips() {
        let mut news = News::default();
        assert_eq!(told(&mut news, 100, 1), Some((100, Some(0))));
        assert_eq!(told(&mut news, 100, 1), None);
        assert_eq!(told(&mut news, 101, 2), Some((101, Some(0))));
        assert_eq!(told(&mut news, 105, 3), Some((105, Some(3))));
    }

    #[test]
    fn another_branch_skips_nothing() {
        let mut news = News::default();
        assert_eq!(told(&mut news, 100, 1), Some((100, Some(0))));
        assert_eq!(told(&mut news, 100, 2), Some((100, Some(0))));
        assert_eq!(told(&mut news, 98, 3), Some((98, Some(0))));
        assert_eq!(told(&mut news, 0, 4), Some((0, Some(0))));
        assert_eq!(told(&mut news, i32::MAX, 5), Some((i32::MAX, Some(i32::MAX as u32 - 1))));
    }

    #[test]
    fn a_new_connection_tells_the_tip_anew_and_what_was_missed() {
        let mut news = News::default();
        assert_eq!(news.last_hash(), [0; 32]);
        assert_eq!(told(&mut news, 100, 1), Some((100, Some(0))));
        assert_eq!(news.last_hash(), [1; 32]);
        news.connected();
        assert_eq!(news.last_hash(), [0; 32]);
        assert_eq!(told(&mut news, 100, 1), Some((100, Some(0))));
        news.connected();
        assert_eq!(told(&mut news, 110, 2), Some((110, Some(9))));
    }

    #[test]
    fn download_is_told_on_a_change_and_every_minute() {
        let mut news = News::default();
        let mut at = |active, second| news.download(active, Duration::from_secs(second)).is_some();
        assert!(at(true, 0));
        assert!(!at(true, 59));
        assert!(at(true, 60));
        assert!(at(false, 61));
        assert!(!at(false, 120));
        assert!(at(false, 121));
        news.connected();
        assert!(news.download(false, Duration::from_secs(122)).is_some());
    }
}
