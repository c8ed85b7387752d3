//! The node's process: finding it, and noticing that it has ended or runs another program.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::config::Config;
use super::privileges::Identity;
use super::stat::Stat;

/// Names of the programs that are Bitcoin Core's nodes.
const NODES: [&str; 2] = ["bitcoind", "bitcoin-node"];
/// The kernel keeps so many bytes of a process's name.
const NAME_BYTES: usize = 15;

/// A process of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// The program it runs, for people.
    pub binary: PathBuf,
    /// Where to attach: the very file it runs, even if another one took its place in the file system since.
    pub attach_to: PathBuf,
    /// When it started, in ticks since boot: tells it from another process that got its id.
    started: u64,
    /// Device and inode of the file it runs, if we may know.
    file: Option<(u64, u64)>,
}

impl Process {
    /// The process the settings name; an error says for people what is not there.
    pub fn find(config: &Config) -> Result<Self, String> {
        let pid = match (config.pid, &config.pid_file) {
            (Some(pid), _) => pid,
            (None, Some(file)) => read_pid_file(file)?,
            (None, None) => search(config.binary.as_deref())?,
        };
        let process = Process::read(pid, config.binary.as_deref())?;
        match &config.binary {
            Some(binary) if !runs(pid, binary) => Err(format!(
                "process {pid} to run {}; it runs {}",
                binary.display(),
                process.binary.display()
            )),
            _ => Ok(process),
        }
    }

    fn read(pid: u32, binary: Option<&Path>) -> Result<Self, String> {
        let started = started(pid).ok_or_else(|| format!("process {pid}"))?;
        let exe = exe_link(pid);
        let file = identity(&exe);
        let claimed = || claimed_binary(pid);
        let binary = match fs::read_link(&exe) {
            Ok(path) => path,
            // Attaching to a file that the process does not run does no harm: it gives no events.
            Err(error) => binary
                .map(Path::to_path_buf)
                .or_else(claimed)
                .ok_or_else(|| format!("the right to read {}: {error}; set `binary`", exe.display()))?,
        };
        let attach_to = if file.is_some() { exe } else { binary.clone() };
        Ok(Process { pid, binary, attach_to, started, file })
    }

    /// Whether it still runs, and the same program.
    pub fn is_running(&self) -> bool {
        let is_same = |file| identity(&exe_link(self.pid)).is_none_or(|now| now == file);
        started(self.pid) == Some(self.started) && self.file.is_none_or(is_same)
    }

    /// The user and groups it runs as.
    pub fn identity(&self) -> Option<Identity> {
        Identity::of_status(&fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?)
    }
}

fn exe_link(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/exe"))
}

/// The program a process of our own user was started as, by its own account. The link to the file it runs stays closed
/// to us if it has capabilities that we gave up, as a node that runs as root does.
fn claimed_binary(pid: u32) -> Option<PathBuf> {
    let owner = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let program = command_line.split(|byte| *byte == 0).next()?;
    let path = PathBuf::from(String::from_utf8_lossy(program).into_owned());
    (owner == rustix::process::geteuid().as_raw() && path.is_absolute()).then_some(path)
}

/// Device and inode of a file.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// When a process started; `None` if there is none, or one that has ended.
fn started(pid: u32) -> Option<u64> {
    let stat = Stat::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)?;
    (!stat.has_ended()).then_some(stat.started)
}

fn read_pid_file(file: &Path) -> Result<u32, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    text.trim().parse().map_err(|_| format!("{} to hold a process id", file.display()))
}

/// The only process that runs the program, or one of Core's.
fn search(binary: Option<&Path>) -> Result<u32, String> {
    let what = binary.map_or_else(|| NODES.join(" or "), |binary| binary.display().to_string());
    let folder = fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?;
    let pids = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let found: Vec<u32> = pids.filter(|pid| is_node(*pid, binary) && started(*pid).is_some()).collect();
    match found[..] {
        [pid] => Ok(pid),
        [] => Err(format!("a process of {what}")),
        _ => Err(format!("`pid_file` to say which process of {what} it is: {found:?}")),
    }
}

fn is_node(pid: u32, binary: Option<&Path>) -> bool {
    match binary {
        Some(binary) => runs(pid, binary),
        None => NODES.iter().any(|name| is_called(pid, name)),
    }
}

/// Whether a process runs this program. If its file may not be seen, its name has to do: attaching to the program of
/// a process that does not run it gives no events.
fn runs(pid: u32, binary: &Path) -> bool {
    let exe = exe_link(pid);
    match (identity(&exe), identity(binary)) {
        (Some(runs), Some(wanted)) if runs == wanted => true,
        // The file may have been replaced since; the link keeps its path.
        (Some(_), _) => fs::read_link(&exe).is_ok_and(|link| {
            let link = link.to_string_lossy();
            Path::new(link.trim_end_matches(" (deleted)")) == binary
        }),
        (None, _) => binary.file_name().is_some_and(|name| is_called(pid, &name.to_string_lossy())),
    }
}

fn is_called(pid: u32, name: &str) -> bool {
    let name = &name.as_bytes()[..name.len().min(NAME_BYTES)];
    fs::read(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_ascii_end() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(binary: Option<PathBuf>) -> Config {
        Config { pid: Some(std::process::id()), binary, ..Config::default() }
    }

    #[test]
    fn a_process_is_found_by_id_by_file_and_by_program() {
        let exe = std::env::current_exe().expect("there is one");
        let by_id = Process::find(&own(Some(exe.clone()))).expect("running");
        assert_eq!((by_id.pid, &by_id.binary), (std::process::id(), &exe));
        assert!(by_id.is_running());
        let folder = tempfile::tempdir().expect("a folder");
        let pid_file = folder.path().join("bitcoind.pid");
        fs::write(&pid_file, format!("{}\n", std::process::id())).expect("writable");
        let by_file = Config { pid_file: Some(pid_file), ..Config::default() };
        assert_eq!(Process::find(&by_file), Ok(by_id.clone()));
        // Of a program of its own: other tests run as this one at the same time.
        let program = folder.path().join("bitcoind");
        fs::copy("/bin/sleep", &program).expect("sleep is there");
        #[allow(clippy::disallowed_methods)]
        let mut child = std::process::Command::new(&program).arg("60").spawn().expect("a program");
        let by_program = Config { binary: Some(program), ..Config::default() };
        let found = Process::find(&by_program).map(|process| process.pid);
        child.kill().expect("ours");
        child.wait().expect("ours");
        assert_eq!(found, Ok(child.id()));
    }

    #[test]
    fn a_process_that_runs_something_else_is_not_the_node() {
        let error = Process::find(&own(Some("/usr/bin/bitcoind".into()))).expect_err("not ours");
        assert!(error.contains("to run /usr/bin/bitcoind"), "{error}");
    }

    #[test]
    fn a_process_that_ended_is_not_running_even_if_nobody_waited_for_it() {
        #[allow(clippy::disallowed_methods)]
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep is there");
        let config = Config { pid: Some(child.id()), ..Config::default() };
        let process = Process::find(&config).expect("running");
        child.kill().expect("ours");
        tocsin_testing::eventually(std::time::Duration::from_secs(5), "its end", || {
            (!process.is_running()).then_some(())
        });
        child.wait().expect("ours");
        assert!(Process::find(&config).is_err());
    }
}
