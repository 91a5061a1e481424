//! Where this process's control groups are, and where it may make more.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Controller;

/// How to be allowed to make groups.
pub(in super::super) const ADVICE: &str = "run fleet where it may make groups: as root, or in a unit of systemd with \
    `Delegate=yes` (`systemd-run --user --scope -p Delegate=yes fleet …`), in a container with `/sys/fs/cgroup` writable";

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
        let two =
            self.two.as_ref().filter(|own| words(&own.mount, "cgroup.controllers").iter().any(|word| word == name));
        let place = match (two, self.one.get(name)) {
            (Some(own), _) => Place { folder: own.parent_for(name)?, version: Version::Two },
            (None, Some(folder)) => Place { folder: folder.clone(), version: Version::One },
            (None, None) => {
                return Err(format!(
                    "no hierarchy of control groups has the controller `{name}`: it is off in this kernel or not mounted \
                     here (`mount -t cgroup2 none /sys/fs/cgroup`)"
                ));
            }
        };
        on_first(&place.folder);
        self.found.insert(controller, place.clone());
        Ok(place)
    }
}

impl Own {
    /// The nearest group from our own upwards that hands the controller down. A group with processes in it cannot
    /// (unless it is the root), so mostly that is the one above our own.
    fn parent_for(&self, controller: &str) -> Result<PathBuf, String> {
        let mut why = String::new();
        for folder in self.group.ancestors().take(2).filter(|folder| folder.starts_with(&self.mount)) {
            if words(folder, "cgroup.subtree_control").iter().any(|word| word == controller) {
                return Ok(folder.to_owned());
            }
            match fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}")) {
                Ok(()) => return Ok(folder.to_owned()),
                Err(error) => {
                    why = format!("the control group {} cannot hand down `{controller}`: {error}", folder.display());
                }
            }
        }
        Err(why)
    }
}

fn words(folder: &Path, file: &str) -> Vec<String> {
    let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
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
    fn the_nearest_group_that_hands_a_controller_down_is_taken() {
        let mount = tempfile::tempdir().unwrap();
        let group = mount.path().join("slice/scope");
        fs::create_dir_all(&group).unwrap();
        let own = Own { mount: mount.path().to_owned(), group: group.clone() };
        // A folder takes no write: the kernel refuses it too while there are processes in the group.
        fs::create_dir(group.join("cgroup.subtree_control")).unwrap();
        fs::write(mount.path().join("slice/cgroup.subtree_control"), "cpu memory\n").unwrap();
        assert_eq!(own.parent_for("memory"), Ok(mount.path().join("slice")));
        fs::remove_dir(group.join("cgroup.subtree_control")).unwrap();
        fs::write(group.join("cgroup.subtree_control"), "").unwrap();
        assert_eq!(own.parent_for("memory"), Ok(group.clone()), "it is asked to");
        assert_eq!(fs::read_to_string(group.join("cgroup.subtree_control")).unwrap(), "+memory");
        let top = Own { mount: mount.path().to_owned(), group: mount.path().to_owned() };
        fs::create_dir(mount.path().join("cgroup.subtree_control")).unwrap();
        assert!(top.parent_for("pids").unwrap_err().contains("cannot hand down `pids`"), "never above what is mounted");
    }
}
