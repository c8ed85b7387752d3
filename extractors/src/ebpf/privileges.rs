//! Giving up privileges.
//!
//! Loading and attaching need CAP_BPF and CAP_PERFMON, and again each time the node restarts, so these two stay. To
//! find the node's new process one must read its process id file, which is in a folder closed to others, and see which
//! program a process runs: both are open to the node's own user. So the thread becomes that user, which is less than
//! any capability that would do (CAP_SYS_PTRACE is the memory of every process; the user root, even without any
//! capability, owns the system's files).
//!
//! On Linux all of this belongs to a thread. Threads of one process share their memory, so it bounds what this thread
//! can be made to do by its input, not what code in the process could do: for that run the extractor as a process of
//! its own, with [`become_user`] before any other thread is started.

use std::fs;

use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

/// What loading and attaching need.
const KEPT: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::PERFMON);

/// A user with its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl Identity {
    /// The user of a process, from its /proc/<pid>/status.
    pub fn of_status(status: &str) -> Option<Self> {
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let numbers = |line: &str| -> Vec<u32> {
            line.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
        };
        // Real, effective, saved, file system.
        let (uids, gids) = (numbers(line("Uid:")?), numbers(line("Gid:")?));
        Some(Identity { uid: *uids.get(1)?, gid: *gids.get(1)?, groups: numbers(line("Groups:")?) })
    }

    /// A user by name or number, from the text of /etc/passwd and /etc/group.
    pub fn of_user(user: &str, passwd: &str, group: &str) -> Option<Self> {
        let fields = |line: &'_ str| -> Vec<String> { line.split(':').map(str::to_string).collect() };
        let entry = passwd
            .lines()
            .map(fields)
            .find(|entry| entry.len() > 3 && (entry[0] == user || entry[2] == user))?;
        let is_member = |members: &str| members.split(',').any(|member| member == entry[0]);
        let groups = group.lines().map(fields).filter(|group| group.len() > 3 && is_member(&group[3]));
        Some(Identity {
            uid: entry[2].parse().ok()?,
            gid: entry[3].parse().ok()?,
            groups: groups.filter_map(|group| group[2].parse().ok()).collect(),
        })
    }

    /// A user of this machine by name or number.
    pub fn named(user: &str) -> Result<Self, String> {
        let read = |file| fs::read_to_string(file).map_err(|error| format!("{file}: {error}"));
        let (passwd, group) = (read("/etc/passwd")?, read("/etc/group")?);
        Identity::of_user(user, &passwd, &group).ok_or_else(|| format!("{user}: no such user in /etc/passwd"))
    }
}

/// Becomes another user and gives up what needs no other: this thread and those it starts later.
///
/// Fails if it may not, as a user other than root may not; capabilities are the same as before then.
pub fn become_identity(identity: &Identity) -> Result<(), String> {
    if identity.uid == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let failed = |what: &'static str| move |error: rustix::io::Errno| format!("{what}: {error}");
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let groups: Vec<Gid> = identity.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    set_keep_capabilities(true).map_err(failed("keeping capabilities"))?;
    set_thread_groups(&groups).map_err(failed("setting groups"))?;
    set_thread_res_gid(gid, gid, gid).map_err(failed("setting the group"))?;
    set_thread_res_uid(uid, uid, uid).map_err(failed("setting the user"))
}

/// Keeps CAP_BPF and CAP_PERFMON, as far as they are there, and no other capability; nothing the thread starts can get
/// more again. Returns what remains, for the log.
pub fn drop_capabilities() -> Result<String, String> {
    let failed = |what: &'static str| move |error: rustix::io::Errno| format!("{what}: {error}");
    let there = capabilities(None).map_err(failed("reading capabilities"))?;
    let kept = there.permitted.intersection(KEPT);
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(failed("giving up capabilities"))?;
    set_no_new_privs(true).map_err(failed("setting no_new_privs"))?;
    let names: Vec<&str> = kept.iter_names().map(|(name, _)| name).collect();
    let uid = rustix::process::geteuid().as_raw();
    Ok(format!("user {uid}, capabilities {}", names.join(" and ")))
}

/// Makes the whole process run as `user` (a name of /etc/passwd or a number) with CAP_BPF and CAP_PERFMON alone.
///
/// For a process that does nothing but extract. Must be called before any thread is started: those that run already
/// keep what they have. Returns what remains. Fails if the user is unknown or the process may not change users.
pub fn become_user(user: &str) -> Result<String, String> {
    become_identity(&Identity::named(user)?)?;
    drop_capabilities()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_a_process_is_the_effective_one() {
        let status =
            "Name:\tbitcoind\nUid:\t1\t107\t3\t4\nGid:\t5\t112\t7\t8\nGroups:\t112 4 \nVmRSS:\t1 kB\n";
        let identity = Identity { uid: 107, gid: 112, groups: vec![112, 4] };
        assert_eq!(Identity::of_status(status), Some(identity));
        assert_eq!(Identity::of_status("Uid:\t1\n"), None);
    }

    #[test]
    fn a_user_is_found_by_name_or_number_with_its_groups() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbitcoin:x:107:112::/var/lib/bitcoind:/bin/false\n";
        let group = "root:x:0:\nadm:x:4:bitcoin,other\ntor:x:9:other\nbitcoin:x:112:\n";
        let identity = Some(Identity { uid: 107, gid: 112, groups: vec![4] });
        assert_eq!(Identity::of_user("bitcoin", passwd, group), identity);
        assert_eq!(Identity::of_user("107", passwd, group), identity);
        assert_eq!(Identity::of_user("bit", passwd, group), None);
    }

    #[test]
    fn a_thread_that_became_another_user_reads_no_more_than_that_user() {
        if !capabilities(None).expect("readable").effective.contains(CapabilitySet::SETUID) {
            println!("skipped: becoming another user needs CAP_SETUID");
            return;
        }
        let secret = tempfile::NamedTempFile::new().expect("a file that is closed to others");
        let thread = std::thread::spawn(move || {
            assert!(fs::read(secret.path()).is_ok());
            let remains = become_user("nobody").expect("root may");
            assert!(remains.starts_with("user 65534, capabilities "), "{remains}");
            assert!(fs::read(secret.path()).is_err());
            assert!(become_identity(&Identity { uid: 0, gid: 0, groups: vec![] }).is_err());
            fs::read_to_string("/proc/thread-self/status").expect("readable")
        });
        let status = thread.join().expect("no panic");
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).expect("there");
        assert_eq!(line("NoNewPrivs:"), "\t1");
        assert_eq!(line("Groups:").trim(), "");
        let kept = u64::from_str_radix(line("CapPrm:\t"), 16).expect("hexadecimal");
        assert_eq!(kept & !KEPT.bits(), 0);
    }
}
