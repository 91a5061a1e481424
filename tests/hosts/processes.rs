//! Who lives, as `/proc` shows it. Processes of other namespaces are seen from here with numbers of our own.

use std::fs;
use std::path::PathBuf;

use rustix::process::{Pid, Signal, kill_process};

#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// What the kernel calls it: the first fifteen bytes of its program's name.
    pub(crate) name: String,
    arguments: Vec<Vec<u8>>,
}

impl Process {
    pub(crate) fn has_argument(&self, argument: &str) -> bool {
        self.arguments.iter().any(|own| own == argument.as_bytes())
    }

    /// Somewhere in its arguments.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        self.arguments.iter().any(|argument| String::from_utf8_lossy(argument).contains(text))
    }

    pub(crate) fn kill(&self) {
        kill(self.pid);
    }

    /// A zombie has no arguments and is none of them.
    fn read(pid: u32) -> Option<Self> {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|line| !line.is_empty())?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned();
        let line = line.strip_suffix(b"\0").unwrap_or(&line);
        Some(Self { pid, name, arguments: line.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect() })
    }
}

pub(crate) fn kill(pid: u32) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        // It may have ended by itself just before.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Who started a process, or took it over since.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// All that a process started and that they started, as far as they live.
pub(crate) fn below(pid: u32) -> Vec<u32> {
    let pairs: Vec<(u32, u32)> = all().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&above) = found.get(next) {
        found.extend(pairs.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("there is a /proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Everywhere on this machine, with this among their arguments.
pub(crate) fn with_argument(argument: &str) -> Vec<Process> {
    all().filter_map(Process::read).filter(|process| process.has_argument(argument)).collect()
}

/// Everywhere on this machine, with this somewhere in their arguments.
pub(crate) fn mentioning(text: &str) -> Vec<Process> {
    all().filter_map(Process::read).filter(|process| process.mentions(text)).collect()
}

/// Those that share the network of a process, without itself.
pub(crate) fn in_network_of(pid: u32) -> Vec<Process> {
    let network = |pid: u32| -> Option<PathBuf> { fs::read_link(format!("/proc/{pid}/ns/net")).ok() };
    let Some(theirs) = network(pid) else { return Vec::new() };
    let same = |other: &u32| *other != pid && network(*other).as_ref() == Some(&theirs);
    all().filter(same).filter_map(Process::read).collect()
}
