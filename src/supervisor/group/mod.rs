//! Control groups: the kernel's bounds on cores, memory and processes. One group an attempt, in each hierarchy that its
//! bounds need, made before its first process and removed after its last.
//! `find` where groups can be made, in the one hierarchy of cgroup v2 or the several of v1 · `divide` how room is made in
//! the former · `remove` their end.

mod divide;
mod find;
mod remove;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;

use super::frame::Limits;
use super::owner;
use crate::model::PIDS_MAX;
pub(super) use find::ADVICE;
use find::{Hierarchies, Place, Version};

/// Begins the name of every group: `fleet.<run>.<owner>.<attempt>`.
const PREFIX: &str = "fleet.";
/// The time over which cores are counted, and a longer one for shares that would be less than a millisecond of it.
const PERIOD_US: u64 = 100_000;
const LONG_PERIOD_US: u64 = 1_000_000;

/// Where a container finds its own group in either version.
const OWN_EVENTS: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

/// What can be bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Controller {
    Cpu,
    Memory,
    Pids,
}

impl Controller {
    /// Every one there is.
    pub(super) const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Pids];

    /// As the kernel has it.
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }

    fn mechanism(self) -> &'static str {
        match self {
            Self::Cpu => "cgroup_cpu",
            Self::Memory => "cgroup_memory",
            Self::Pids => "cgroup_pids",
        }
    }
}

/// Makes groups, and knows where.
#[derive(Debug, Default)]
pub(super) struct Groups(Mutex<Option<Hierarchies>>);

/// The groups of one attempt. Dropping it ends what is still in them and removes them.
#[derive(Debug)]
pub(super) struct Group {
    controllers: Vec<Controller>,
    /// A folder for each hierarchy.
    folders: Vec<(PathBuf, Version)>,
}

impl Groups {
    /// Makes the groups that these bounds take. `extra` processes are ours and do not count as the task's.
    pub(super) fn make(&self, run: &str, attempt: u32, limits: Limits, extra: u32) -> Result<Group, String> {
        let mut hierarchies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hierarchies.is_none() {
            *hierarchies =
                Some(Hierarchies::read().map_err(|error| format!("cannot read the control groups: {error}"))?);
        }
        let Some(hierarchies) = hierarchies.as_mut() else { return Err("there are no control groups".to_owned()) };
        let name = format!("{PREFIX}{run}.{}.{attempt}", owner::name());
        let mut group = Group { controllers: Vec::new(), folders: Vec::new() };
        for (controller, settings) in settings(limits, extra) {
            let place = hierarchies.place(controller, remove_stale)?;
            group.add(&place, &name, controller, &settings)?;
        }
        Ok(group)
    }
}

impl Controller {
    /// Bounds that take this controller and hold nothing back, for who only wants to know whether it works.
    pub(super) fn trial(self) -> Limits {
        match self {
            Self::Cpu => Limits { cpu_milli: Some(1000), ..Limits::default() },
            Self::Memory => Limits { memory_bytes: Some(1 << 30), ..Limits::default() },
            Self::Pids => Limits { pids: Some(64), ..Limits::default() },
        }
    }
}

impl Group {
    fn add(&mut self, place: &Place, name: &str, controller: Controller, settings: &Settings) -> Result<(), String> {
        let folder = place.folder.join(name);
        let cannot =
            |what: &str, error: io::Error| format!("cannot {what} the control group {}: {error}", folder.display());
        if !self.folders.iter().any(|(there, _)| *there == folder) {
            fs::create_dir(&folder).map_err(|error| cannot("make", error))?;
            self.folders.push((folder.clone(), place.version));
        }
        for setting in settings.of(place.version) {
            match fs::write(folder.join(setting.file), &setting.value) {
                Err(error) if !(setting.optional && error.kind() == ErrorKind::NotFound) => {
                    return Err(cannot(&format!("write {} of", setting.file), error));
                }
                _ => {}
            }
        }
        self.controllers.push(controller);
        Ok(())
    }

    /// Writing to each joins.
    pub(super) fn files(&self) -> Vec<String> {
        self.folders.iter().map(|(folder, _)| folder.join("cgroup.procs").display().to_string()).collect()
    }

    pub(super) fn mechanisms(&self) -> impl Iterator<Item = &'static str> {
        self.controllers.iter().map(|controller| controller.mechanism())
    }

    /// Where it was made, for who only wants to know.
    pub(super) fn shown(&self) -> String {
        let Some((folder, version)) = self.folders.first() else { return String::new() };
        let version = if *version == Version::One { "v1" } else { "v2" };
        format!("cgroup {version} at {}", folder.parent().unwrap_or(folder).display())
    }

    pub(super) fn oom_killed(&self) -> bool {
        self.folders.iter().any(|(folder, version)| match version {
            Version::One => oom_kills(&folder.join("memory.oom_control")).is_some_and(|kills| kills > 0),
            Version::Two => is_too_large(folder),
        })
    }
}

/// In version 2 the kernel counts what it ended in a group also in all groups above it, whichever of them was full, and
/// a run within the run has groups in ours.
fn is_too_large(folder: &Path) -> bool {
    let killed = oom_kills(&folder.join("memory.events")).is_some_and(|kills| kills > 0);
    killed && count(&folder.join("memory.events.local"), "oom").is_none_or(|full| full > 0)
}

/// What the kernel says in a group's file of how many processes it ended for the memory they took.
fn oom_kills(file: &Path) -> Option<u64> {
    count(file, "oom_kill")
}

fn count(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The same of the container that we are in, which may have a bound of its own.
pub(super) fn oom_kills_here() -> Option<u64> {
    OWN_EVENTS.iter().find_map(|file| oom_kills(Path::new(file)))
}

impl Drop for Group {
    fn drop(&mut self) {
        self.folders.iter().for_each(|(folder, _)| remove::end(folder));
    }
}

/// Groups that a dead supervisor left; what still has processes stays.
fn remove_stale(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        if rest.rsplit('.').nth(1).is_some_and(owner::is_gone) {
            let _ = remove::empty(&entry.path());
        }
    }
}

/// A file of a group, and what to write to it.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    file: &'static str,
    value: String,
    /// Not every kernel has it, and without it the bound still holds.
    optional: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Settings {
    one: Vec<Setting>,
    two: Vec<Setting>,
}

impl Settings {
    fn of(&self, version: Version) -> &[Setting] {
        if version == Version::One { &self.one } else { &self.two }
    }
}

fn settings(limits: Limits, extra: u32) -> Vec<(Controller, Settings)> {
    let must = |file, value: String| Setting { file, value, optional: false };
    let may = |file, value: String| Setting { file, value, optional: true };
    let mut all = Vec::new();
    if let Some(milli) = limits.cpu_milli.map(|milli| u64::from(milli.max(1))) {
        let period = if milli < 10 { LONG_PERIOD_US } else { PERIOD_US };
        let quota = milli * period / 1000;
        let one = vec![must("cpu.cfs_period_us", period.to_string()), must("cpu.cfs_quota_us", quota.to_string())];
        all.push((Controller::Cpu, Settings { one, two: vec![must("cpu.max", format!("{quota} {period}"))] }));
    }
    if let Some(bytes) = limits.memory_bytes.map(|bytes| bytes.to_string()) {
        // Memory that may be swapped out has no bound in time. The whole task ends when it is over: one process of it
        // ended at random leaves the rest waiting for it.
        let one = vec![must("memory.limit_in_bytes", bytes.clone()), may("memory.memsw.limit_in_bytes", bytes.clone())];
        let two = vec![
            must("memory.max", bytes),
            may("memory.swap.max", "0".to_owned()),
            may("memory.oom.group", "1".to_owned()),
        ];
        all.push((Controller::Memory, Settings { one, two }));
    }
    if let Some(pids) = limits.pids {
        // What comes from us makes no bound one that the kernel refuses.
        let bound = pids.saturating_add(extra).min(PIDS_MAX.max(pids)).to_string();
        all.push((
            Controller::Pids,
            Settings { one: vec![must("pids.max", bound.clone())], two: vec![must("pids.max", bound)] },
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_share_has_a_longer_period() {
        let of = |milli| {
            let all = settings(Limits { cpu_milli: Some(milli), ..Limits::default() }, 0);
            all[0].1.two[0].value.clone()
        };
        let cases = [
            (0, "1000 1000000"),
            (1, "1000 1000000"),
            (9, "9000 1000000"),
            (10, "1000 100000"),
            (1500, "150000 100000"),
        ];
        for (milli, value) in cases {
            assert_eq!(of(milli), value);
        }
    }

    #[test]
    fn our_own_processes_do_not_count() {
        let all = settings(Limits { pids: Some(64), ..Limits::default() }, 2);
        assert_eq!((all.len(), &*all[0].1.one[0].value), (1, "66"));
        let all = settings(Limits { pids: Some(PIDS_MAX), ..Limits::default() }, 2);
        assert_eq!(all[0].1.two[0].value, PIDS_MAX.to_string());
        assert!(settings(Limits::default(), 2).is_empty());
    }

    /// A folder in place of the kernel's, so that both versions are tried on every machine.
    #[test]
    fn each_version_is_written_in_its_own_words() {
        let limits = Limits { cpu_milli: Some(500), memory_bytes: Some(4096), pids: Some(9) };
        for (version, files) in [
            (
                Version::One,
                "cpu.cfs_period_us=100000 cpu.cfs_quota_us=50000 memory.limit_in_bytes=4096 \
                memory.memsw.limit_in_bytes=4096 pids.max=9",
            ),
            (Version::Two, "cpu.max=50000 100000 memory.max=4096 memory.oom.group=1 memory.swap.max=0 pids.max=9"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let place = Place { folder: dir.path().to_owned(), version };
            let mut group = Group { controllers: Vec::new(), folders: Vec::new() };
            for (controller, settings) in settings(limits, 0) {
                group.add(&place, "one", controller, &settings).unwrap();
            }
            let mut written: Vec<_> =
                fs::read_dir(dir.path().join("one")).unwrap().map(|entry| entry.unwrap()).collect();
            written.sort_by_key(fs::DirEntry::file_name);
            let text = |entry: &fs::DirEntry| {
                format!("{}={}", entry.file_name().display(), fs::read_to_string(entry.path()).unwrap())
            };
            assert_eq!(written.iter().map(text).collect::<Vec<_>>().join(" "), files);
            assert_eq!(group.files(), [dir.path().join("one/cgroup.procs").display().to_string()]);
            assert_eq!(group.mechanisms().collect::<Vec<_>>(), ["cgroup_cpu", "cgroup_memory", "cgroup_pids"]);
            assert!(!group.oom_killed());
            let told = if version == Version::One { "memory.oom_control" } else { "memory.events" };
            fs::write(dir.path().join("one").join(told), "oom 3\noom_kill 2\n").unwrap();
            assert!(group.oom_killed());
            // Only version 2 has this file, and counts what a group within ended of its own.
            fs::write(dir.path().join("one/memory.events.local"), "low 0\noom 0\noom_kill 0\n").unwrap();
            assert_eq!(group.oom_killed(), version == Version::One);
            fs::write(dir.path().join("one/memory.events.local"), "low 0\noom 1\noom_kill 0\n").unwrap();
            assert!(group.oom_killed());
        }
    }
}
