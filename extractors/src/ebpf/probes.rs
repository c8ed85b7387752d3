//! The tracepoint programs: loading them into the kernel, and attaching them to a process.

use std::sync::Once;

use libbpf_rs::{Link, MapCore as _, MapFlags, Object, ObjectBuilder, PrintLevel};

use super::config::{Config, Group};
use super::process::Process;

/// The compiled programs of `bpf/`.
const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tocsin.bpf.o"));

/// A tracepoint of Bitcoin Core and the program that takes it.
struct Probe {
    group: Group,
    provider: &'static str,
    name: &'static str,
    program: &'static str,
}

const fn probe(group: Group, provider: &'static str, name: &'static str, program: &'static str) -> Probe {
    Probe { group, provider, name, program }
}

/// All of them.
const PROBES: [Probe; 16] = [
    probe(Group::Messages, "net", "inbound_message", "inbound_message"),
    probe(Group::Messages, "net", "outbound_message", "outbound_message"),
    probe(Group::Connections, "net", "inbound_connection", "inbound_connection"),
    probe(Group::Connections, "net", "outbound_connection", "outbound_connection"),
    probe(Group::Connections, "net", "closed_connection", "closed_connection"),
    probe(Group::Connections, "net", "evicted_inbound_connection", "evicted_inbound_connection"),
    probe(Group::Connections, "net", "misbehaving_connection", "misbehaving_connection"),
    probe(Group::Mempool, "mempool", "added", "mempool_added"),
    probe(Group::Mempool, "mempool", "removed", "mempool_removed"),
    probe(Group::Mempool, "mempool", "replaced", "mempool_replaced"),
    probe(Group::Mempool, "mempool", "rejected", "mempool_rejected"),
    probe(Group::Validation, "validation", "block_connected", "block_connected"),
    probe(Group::Utxocache, "utxocache", "flush", "utxocache_flush"),
    probe(Group::Coins, "utxocache", "add", "utxocache_add"),
    probe(Group::Coins, "utxocache", "spent", "utxocache_spent"),
    probe(Group::Coins, "utxocache", "uncache", "utxocache_uncache"),
];

/// What a drop counter counts, in the order of `enum drop` in `bpf/common.h`.
pub const DROPS: [&str; 8] = [
    "small_messages ring: messages",
    "medium_messages ring: payloads",
    "large_messages ring: payloads",
    "huge_messages ring: payloads",
    "connections ring",
    "mempool ring",
    "validation ring",
    "utxocache ring",
];

/// A ring: its name, its size in KiB, the largest record in it, and whether anything can come into it.
struct Ring {
    name: &'static str,
    kib: u32,
    record_bytes: u32,
    is_used: bool,
}

/// The programs, loaded.
#[derive(Debug)]
pub struct Programs {
    object: Object,
    rings: Vec<&'static str>,
}

/// What was attached. Detaches when dropped.
#[derive(Debug)]
pub struct Attached {
    /// Tracepoints that are read.
    pub names: Vec<String>,
    /// Tracepoints that are not there.
    pub missing: Vec<String>,
    /// Why the last of them could not be attached.
    pub error: Option<String>,
    _links: Vec<Link>,
}

impl Programs {
    /// Loads what the settings ask for. Needs CAP_BPF, CAP_PERFMON and a kernel with BTF.
    pub fn load(config: &Config) -> Result<Self, libbpf_rs::Error> {
        route_messages();
        let mut open = ObjectBuilder::default().open_memory(OBJECT)?;
        for mut program in open.progs_mut() {
            let is_wanted = |probe: &Probe| {
                config.groups.contains(&probe.group) && program.name() == std::ffi::OsStr::new(probe.program)
            };
            let load = PROBES.iter().any(is_wanted);
            program.set_autoload(load);
        }
        let rings = rings(config);
        for mut map in open.maps_mut() {
            if let Some(ring) = rings.iter().find(|ring| map.name() == std::ffi::OsStr::new(ring.name)) {
                map.set_max_entries(ring.size())?;
                map.set_autocreate(is_loaded(ring, config))?;
            }
        }
        let object = open.load()?;
        let rings = rings.iter().filter(|ring| ring.is_used).map(|ring| ring.name).collect();
        let programs = Programs { object, rings };
        programs.set_capture(config)?;
        Ok(programs)
    }

    fn set_capture(&self, config: &Config) -> Result<(), libbpf_rs::Error> {
        let limits =
            [config.capture.payload_bytes, config.capture.block_bytes].map(u32::to_ne_bytes).concat();
        match self.map("capture") {
            Some(map) => map.update(&0u32.to_ne_bytes(), &limits, MapFlags::ANY),
            None => Ok(()),
        }
    }

    fn map(&self, name: &str) -> Option<libbpf_rs::Map<'_>> {
        self.object.maps().find(|map| map.name() == std::ffi::OsStr::new(name))
    }

    /// The rings that records come into.
    pub fn rings(&self) -> impl Iterator<Item = libbpf_rs::Map<'_>> {
        self.rings.iter().filter_map(|name| self.map(name))
    }

    /// What was dropped since loading, by the counters of [`DROPS`].
    pub fn drops(&self) -> [u64; DROPS.len()] {
        let map = self.map("drops");
        std::array::from_fn(|counter| {
            let key = (counter as u32).to_ne_bytes();
            let cpus = map.as_ref().and_then(|map| map.lookup_percpu(&key, MapFlags::ANY).ok().flatten());
            let count = |cpu: Vec<u8>| cpu.try_into().map_or(0, u64::from_ne_bytes);
            cpus.unwrap_or_default().into_iter().map(count).sum()
        })
    }

    /// Attaches each program to its tracepoint in the process. One that is not there, or that libbpf cannot read the
    /// arguments of, is left out.
    pub fn attach(&self, process: &Process, groups: &[Group]) -> Attached {
        let mut attached = Attached { names: vec![], missing: vec![], error: None, _links: vec![] };
        let pid = i32::try_from(process.pid).unwrap_or(i32::MAX);
        for probe in PROBES.iter().filter(|probe| groups.contains(&probe.group)) {
            let name = format!("{}:{}", probe.provider, probe.name);
            let mut programs = self.object.progs_mut();
            let Some(program) = programs.find(|one| one.name() == std::ffi::OsStr::new(probe.program)) else {
                continue;
            };
            match program.attach_usdt(pid, &process.attach_to, probe.provider, probe.name) {
                Ok(link) => {
                    attached.names.push(name);
                    attached._links.push(link);
                }
                Err(error) => {
                    attached.missing.push(name);
                    attached.error = Some(error.to_string());
                }
            }
        }
        attached
    }
}

impl Ring {
    /// Bytes: a power of two that a record, with the kernel's own 8 bytes, fits into.
    fn size(&self) -> u32 {
        let least = if self.is_used { self.record_bytes.saturating_add(16) } else { 4096 };
        let wanted = if self.is_used { self.kib.saturating_mul(1024) } else { 0 };
        wanted.max(least).max(4096).checked_next_power_of_two().unwrap_or(1 << 31)
    }
}

/// A program of the ring's group is loaded, so the ring must exist.
fn is_loaded(ring: &Ring, config: &Config) -> bool {
    ring.is_used || (ring.name.ends_with("_messages") && config.groups.contains(&Group::Messages))
}

fn rings(config: &Config) -> Vec<Ring> {
    let has = |group| config.groups.contains(&group);
    // A class is used if payloads longer than those of the class below are taken.
    let takes = |more_than: u32| {
        has(Group::Messages) && config.capture.payload_bytes.max(config.capture.block_bytes) > more_than
    };
    let ring = |name, kib, record_bytes, is_used| Ring { name, kib, record_bytes, is_used };
    let utxocache = config.rings.utxocache.unwrap_or(if has(Group::Coins) { 8192 } else { 256 });
    let sizes = config.rings;
    vec![
        ring("small_messages", sizes.small_messages, 200 + 512, has(Group::Messages)),
        ring("medium_messages", sizes.medium_messages, 200 + 4096, takes(512)),
        ring("large_messages", sizes.large_messages, 200 + 65_536, takes(4096)),
        ring("huge_messages", sizes.huge_messages, 200 + 4_000_000, takes(65_536)),
        ring("connections", sizes.connections, 192, has(Group::Connections)),
        ring("mempool", sizes.mempool, 176, has(Group::Mempool)),
        ring("validation", sizes.validation, 80, has(Group::Validation)),
        ring("utxocache", utxocache, 72, has(Group::Utxocache) || has(Group::Coins)),
    ]
}

/// What libbpf has to say goes to the log. Missing tracepoints are reported as such, so this is for those who look.
fn route_messages() {
    static ONCE: Once = Once::new();
    fn print(level: PrintLevel, message: String) {
        match level {
            PrintLevel::Warn => tracing::debug!(target: "libbpf", "{}", message.trim_end()),
            _ => tracing::trace!(target: "libbpf", "{}", message.trim_end()),
        }
    }
    ONCE.call_once(|| {
        libbpf_rs::set_print(Some((PrintLevel::Info, print)));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ebpf::config::Capture;

    fn used(config: &Config) -> Vec<(&'static str, u32)> {
        rings(config).iter().filter(|ring| ring.is_used).map(|ring| (ring.name, ring.size())).collect()
    }

    #[test]
    fn all_rings_together_are_as_large_as_documented() {
        let sum: u32 = used(&Config::default()).iter().map(|(_, size)| size).sum();
        assert_eq!(sum / 1024, 8192 + 8192 + 8192 + 32_768 + 1024 + 2048 + 256 + 256);
    }

    #[test]
    fn rings_that_nothing_can_come_into_are_left_out() {
        let capture = Capture { payload_bytes: 512, block_bytes: 4096, ..Capture::default() };
        let config = Config { groups: vec![Group::Messages], capture, ..Config::default() };
        assert_eq!(used(&config), [("small_messages", 8 << 20), ("medium_messages", 8 << 20)]);
    }

    #[test]
    fn a_ring_holds_at_least_one_record() {
        let mut config = Config { groups: vec![Group::Messages], ..Config::default() };
        (config.rings.huge_messages, config.rings.large_messages, config.rings.small_messages) = (0, 0, 0);
        let sizes: Vec<u32> = used(&config).iter().map(|(_, size)| *size).collect();
        assert_eq!(sizes, [4096, 8 << 20, 128 << 10, 4 << 20]);
    }
}
