//! Where this process's control groups are, and where it may make more.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Controller;
use super::divide::{self, Groups};

/// How to be allowed to make groups.
pub(in super::super) const ADVICE: &str = "run fleet where it may make groups: in a scope of systemd with `Delegate=yes` \
    (`systemd-run --user --scope -p Delegate=yes fleet …`, as root without `--user`), in a container with `/sys/fs/cgroup` \
    writable, or without systemd as root, or in a group of cgroup v2 whose folder, `cgroup.procs` and \
    `cgroup.subtree_control` belong to this user";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// A group that can have groups with some controller below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) folder: PathBuf,
    pub(super) version: Version,
}

/// This process's own group in every hierarchy, and the places that were found so far.
#[derive(Debug, Default)]
pub(super) struct Hierarchies {
    /// By the name of a controller.
    one: BTreeMap<String, PathBuf>,
    two: Option<Own>,
    found: BTreeMap<Controller, Place>,
}

/// The groups of this machine.
struct Kernel;

/// Our own group in the one hierarchy of version 2.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Own {
    mount: PathBuf,
    group: PathBuf,
}

impl Hierarchies {
    pub(super) fn read() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mountinfo")?, &fs::read_to_string("/proc/self/cgroup")?))
    }

    /// `mountinfo` as of proc(5), `own` as of cgroups(7): `id:controllers:path`, where version 2 has no controllers.
    fn parse(mountinfo: &str, own: &str) -> Self {
        let mut this = Self::default();
        let own: Vec<(&str, &str)> = own.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')).collect();
        for line in mountinfo.lines() {
            let Some((mount, kind)) = line.split_once(" - ") else { continue };
            let fields: Vec<&str> = mount.split(' ').collect();
            let kind: Vec<&str> = kind.split(' ').collect();
            let ([_, _, _, root, point, ..], [system, _, options]) = (&fields[..], &kind[..]) else { continue };
            let path_of = |controllers: &dyn Fn(&str) -> bool| {
                own.iter().find(|(list, _)| controllers(list)).map(|(_, path)| below(point, root, path))
            };
            match *system {
                "cgroup2" => {
                    let group = path_of(&|list| list.is_empty());
                    this.two = group.map(|group| Own { mount: PathBuf::from(point), group });
                }
                "cgroup" => {
                    for option in options.split(',') {
                        if let Some(path) = path_of(&|list| list.split(',').any(|one| one == option)) {
                            this.one.insert(option.to_owned(), path);
                        }
                    }
                }
                _ => {}
            }
        }
        this
    }

    /// Where a group with this controller can be made. `on_first` is called with each place before it is used.
    pub(super) fn place(&mut self, controller: Controller, on_first: fn(&Path)) -> Result<Place, String> {
        if let Some(place) = self.found.get(&controller) {
            return Ok(place.clone());
        }
        let name = controller.name();
        let has = |own: &&Own| Kernel.words(&own.mount, "cgroup.controllers").iter().any(|word| word == name);
        let place = match (self.two.as_ref().filter(has), self.one.get(name)) {
            (Some(own), _) => Place { folder: divide::hand_down(&Kernel, &own.group, name)?, version: Version::Two },
            (None, Some(folder)) => Place { folder: folder.clone(), version: Version::One },
            (None, None) => {
                return Err(format!(
                    "no hierarchy of control groups has the controller `{name}`: it is off in this kernel, not handed down \
                     to this container, or not mounted here (`mount -t cgroup2 none /sys/fs/cgroup`)"
                ));
            }
        };
        on_first(&place.folder);
        self.found.insert(controller, place.clone());
        Ok(place)
    }
}

impl Groups for Kernel {
    fn read(&self, file: &Path) -> io::Result<String> {
        fs::read_to_string(file)
    }

    fn write(&self, file: &Path, text: &str) -> io::Result<()> {
        fs::write(file, text)
    }

    fn make(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir(folder)
    }

    fn is_delegated(&self, unit: &Path) -> bool {
        is_marked(unit) || systemd_says(unit)
    }
}

/// How systemd marks what it delegated, the one for those who may not see the other only from 251 on, and not in a
/// user's units everywhere.
fn is_marked(unit: &Path) -> bool {
    let mut value = [0; 1];
    let mut is = |name| rustix::fs::getxattr(unit, name, &mut value).is_ok() && value == *b"1";
    is("user.delegate") || is("trusted.delegate")
}

fn systemd_says(unit: &Path) -> bool {
    let Some(name) = unit.file_name() else { return false };
    let mut systemctl = Command::new("systemctl");
    if let Some(user) = manager_of(unit) {
        systemctl.arg("--user").env("XDG_RUNTIME_DIR", format!("/run/user/{user}"));
    }
    let asked =
        systemctl.args(["show", "--property=Delegate", "--value", "--"]).arg(name).stdin(Stdio::null()).output();
    asked.is_ok_and(|output| output.status.success() && output.stdout.trim_ascii() == b"yes")
}

/// Whose manager a unit belongs to, when it is not the machine's.
fn manager_of(unit: &Path) -> Option<&str> {
    let above = unit.parent()?.iter().filter_map(|part| part.to_str());
    above.filter_map(|part| part.strip_prefix("user@")?.strip_suffix(".service")).next_back()
}

/// A group's folder: `root` is the group that is mounted at `point`. In a container the kernel may tell a path of the
/// outside, of which nothing is mounted here; then it is the mount itself.
fn below(point: &str, root: &str, path: &str) -> PathBuf {
    let rest = if root == "/" { Some(path) } else { path.strip_prefix(root) };
    let folder = Path::new(point).join(rest.unwrap_or_default().trim_start_matches('/'));
    if folder.exists() { folder } else { PathBuf::from(point) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_groups_are_found_in_both_versions() {
        let mounts = "31 23 0:28 / /none rw,relatime - tmpfs tmpfs rw\n\
            32 31 0:29 / /none/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            33 31 0:30 /docker/a /none/memory rw - cgroup cgroup rw,memory\n\
            34 31 0:31 / /none/unified rw - cgroup2 cgroup2 rw\nbroken\n";
        let own = "3:cpu,cpuacct:/\n2:memory:/docker/a/b\n1:name=systemd:/\n0::/user.slice\nbroken\n";
        let found = Hierarchies::parse(mounts, own);
        // None of these folders is there, so each is the mount itself.
        assert_eq!(found.one["cpu"], Path::new("/none/cpu"));
        assert_eq!(found.one["memory"], Path::new("/none/memory"));
        let two = Own { mount: "/none/unified".into(), group: "/none/unified".into() };
        assert_eq!(found.two, Some(two));
        assert!(!found.one.contains_key("pids") && !found.one.contains_key("rw"));
    }

    #[test]
    fn what_is_mounted_may_be_a_part() {
        assert_eq!(below("/proc", "/docker/a", "/docker/a/self"), Path::new("/proc/self"));
        assert_eq!(below("/proc", "/", "/self"), Path::new("/proc/self"));
        assert_eq!(below("/proc", "/docker/a", "/outside/b"), Path::new("/proc"));
    }

    #[test]
    fn a_unit_belongs_to_the_manager_it_is_below() {
        let of = |path: &str| manager_of(Path::new(path)).map(str::to_owned);
        let user = "/sys/fs/cgroup/user.slice/user-7.slice/user@7.service";
        assert_eq!(of(&format!("{user}/app.slice/run-1.scope")), Some("7".to_owned()));
        assert_eq!((of(user), of("/sys/fs/cgroup/system.slice/a.service")), (None, None));
    }
}
