//! How much the node writes, by category and level.

use std::collections::BTreeMap;
use std::time::Duration;

use tocsin_proto::pb::log_extractor::{LogCount, LogVolume};

use super::layout::Line;
use super::records::Record;

/// What was written since the last report. Its size is bounded by the number of categories and levels.
#[derive(Debug, Default)]
pub struct Volume {
    total: LogVolume,
    counts: BTreeMap<(i32, i32), LogCount>,
}

impl Volume {
    /// Counts a record.
    pub fn add(&mut self, line: &Line, record: &Record, is_known: bool) {
        // The end of the line was written as well.
        let bytes = record.bytes + 1;
        self.total.lines += 1;
        self.total.bytes += bytes;
        self.total.unknown_lines += u64::from(!is_known);
        self.total.suppressing_lines += u64::from(line.is_suppressing);
        self.total.cut_lines += u64::from(record.is_cut());
        let (category, level) = (line.category as i32, line.level as i32);
        let count = self.counts.entry((category, level)).or_default();
        (count.category, count.level) = (category, level);
        count.lines += 1;
        count.bytes += bytes;
    }

    /// The report of the last `span`, `None` if nothing was written. Counting begins anew.
    pub fn take(&mut self, span: Duration) -> Option<LogVolume> {
        let Volume { total, counts } = std::mem::take(self);
        (total.lines > 0).then(|| LogVolume {
            span: span.as_millis() as u64,
            counts: counts.into_values().collect(),
            ..total
        })
    }
}
