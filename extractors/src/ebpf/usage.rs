//! What the node's process and its threads use, from /proc.

use std::collections::BTreeMap;
use std::fs;

use tocsin_proto::pb::ebpf_extractor::{ProcessUsage, ThreadUsage};

use super::stat::Stat;

/// Threads that are reported, at most. Core has some 30.
const THREADS_MAX: usize = 256;

/// What was read of a process at one time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// Seconds of a clock that rises.
    pub at_s: f64,
    /// By thread id.
    pub threads: BTreeMap<u32, Stat>,
    /// Resident memory in bytes.
    pub resident: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
}

impl Reading {
    /// Reads a process. What cannot be read is left out.
    pub fn of(pid: u32, at_s: f64) -> Self {
        let mut threads = BTreeMap::new();
        for entry in
            fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().take(THREADS_MAX)
        {
            let thread = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let stat = fs::read(entry.path().join("stat")).ok().and_then(|line| Stat::parse(&line));
            threads.extend(thread.zip(stat));
        }
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok();
        let pages: Option<u64> = statm.and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let open_files = fs::read_dir(format!("/proc/{pid}/fd")).ok().map(|files| files.count() as u64);
        let resident = pages.map(|pages| pages * rustix::param::page_size() as u64);
        Reading { at_s, threads, resident, open_files }
    }

    /// What was used since `before`. A thread that is new used all it has within that time.
    pub fn since(&self, before: &Reading, ticks_per_s: f64) -> ProcessUsage {
        let interval = (self.at_s - before.at_s).max(0.001);
        let seconds = |ticks: u64| ticks as f64 / ticks_per_s;
        let threads = self.threads.iter().map(|(id, now)| {
            let earlier = before.threads.get(id).filter(|earlier| earlier.started == now.started);
            let used_before = earlier.map_or(0, |earlier| earlier.user + earlier.system);
            let used = seconds((now.user + now.system).saturating_sub(used_before));
            ThreadUsage {
                name: now.name.clone(),
                cpu: (used / interval).min(1.0),
                user: seconds(now.user),
                system: seconds(now.system),
            }
        });
        ProcessUsage {
            interval,
            resident: self.resident,
            open_files: self.open_files,
            threads: threads.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(name: &str, user: u64, system: u64, started: u64) -> Stat {
        Stat { name: name.to_string(), state: 'S', user, system, started }
    }

    #[test]
    fn a_share_is_what_was_used_over_the_interval() {
        let before = Reading {
            at_s: 100.0,
            threads: BTreeMap::from([
                (1, thread("b-msghand", 1000, 500, 7)),
                (2, thread("b-net", 50, 50, 7)),
            ]),
            ..Reading::default()
        };
        let now = Reading {
            at_s: 105.0,
            threads: BTreeMap::from([
                (1, thread("b-msghand", 1300, 600, 7)),
                // Another thread with the id of one that ended.
                (2, thread("b-http.0", 10, 15, 99)),
                (3, thread("b-http.1", 100, 600, 99)),
            ]),
            resident: Some(4096),
            open_files: None,
        };
        let usage = now.since(&before, 100.0);
        let shares: Vec<(&str, f64)> = usage.threads.iter().map(|t| (t.name.as_str(), t.cpu)).collect();
        assert_eq!(shares, [("b-msghand", 0.8), ("b-http.0", 0.05), ("b-http.1", 1.0)]);
        assert_eq!((usage.threads[0].user, usage.threads[0].system), (13.0, 6.0));
        assert_eq!((usage.interval, usage.resident, usage.open_files), (5.0, Some(4096), None));
    }

    #[test]
    fn our_own_process_has_threads_memory_and_files() {
        let reading = Reading::of(std::process::id(), 0.0);
        assert!(!reading.threads.is_empty() && reading.resident > Some(0) && reading.open_files > Some(2));
        assert_eq!(Reading::of(u32::MAX, 0.0), Reading::default());
    }
}
