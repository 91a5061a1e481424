//! Making room for groups below our own in cgroup v2, where a group either has processes in it or hands controllers down.
//! What is in ours moves into a group below it first, which changes nothing for it. Groups are never made beside ours:
//! they would be outside of what bounds us, be it a unit of systemd, a container, or the task of another run.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The group that takes what was in a group before it was divided.
pub(super) const REST: &str = "fleet-rest";
/// How often new processes are looked for; each time some were made while the others were moved.
const ROUNDS_MAX: usize = 64;

/// What can be done with groups.
pub(super) trait Groups {
    fn read(&self, file: &Path) -> io::Result<String>;
    fn write(&self, file: &Path, text: &str) -> io::Result<()>;
    fn make(&self, folder: &Path) -> io::Result<()>;
    /// Systemd leaves the group of a unit to who runs in it.
    fn is_delegated(&self, unit: &Path) -> bool;

    fn words(&self, folder: &Path, file: &str) -> Vec<String> {
        let text = self.read(&folder.join(file)).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    }
}

/// The group at or below our `own` that hands `controller` down.
pub(super) fn hand_down(groups: &impl Groups, own: &Path, controller: &str) -> Result<PathBuf, String> {
    // It is here that a run, or another one before it, has moved us.
    let rest = own.parent().filter(|_| own.file_name().is_some_and(|name| name == REST));
    let folder = rest.unwrap_or(own);
    let shown = folder.display();
    let has = |file| groups.words(folder, file).iter().any(|word| word == controller);
    // The topmost group of all is the only one with both processes and controllers, and it has no type.
    let topmost = groups.read(&folder.join("cgroup.type")).is_err();
    if has("cgroup.subtree_control") && (topmost || groups.words(folder, "cgroup.procs").is_empty()) {
        return Ok(folder.to_owned());
    }
    if let Some(unit) = unit_of(folder).filter(|unit| !groups.is_delegated(unit)) {
        let unit = unit.display();
        return Err(format!("the control group {unit} is that of a unit of systemd without `Delegate=yes`"));
    }
    receive(groups, folder, controller)?;
    if topmost {
        enable(groups, folder, controller).map_err(|error| cannot_hand_down(folder, controller, &error))?;
        return Ok(folder.to_owned());
    }
    for _ in 0..ROUNDS_MAX {
        move_all(groups, folder).map_err(|why| format!("cannot divide the control group {shown}: {why}"))?;
        match enable(groups, folder, controller) {
            // With processes in it, some controllers make it a group of threads, below which no task can be.
            Ok(()) if groups.words(folder, "cgroup.procs").is_empty() => return Ok(folder.to_owned()),
            Ok(()) => {
                let _ = groups.write(&folder.join("cgroup.subtree_control"), &format!("-{controller}"));
            }
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {}
            Err(error) => return Err(cannot_hand_down(folder, controller, &error)),
        }
    }
    Err(format!("cannot divide the control group {shown}: processes are made in it faster than they can be moved"))
}

/// Sees to it that a group has the controller, if need be by telling those above it to hand it down.
fn receive(groups: &impl Groups, folder: &Path, controller: &str) -> Result<(), String> {
    if groups.words(folder, "cgroup.controllers").iter().any(|word| word == controller) {
        return Ok(());
    }
    let lacks = |why: &str| {
        format!("the control group {} does not have the controller `{controller}`, and {why}", folder.display())
    };
    match folder.parent() {
        // It takes back what it did not hand down by itself.
        Some(above) if above.extension().is_some_and(|kind| kind == "slice") => {
            Err(lacks("systemd hands it down only to a unit with `Delegate=yes`"))
        }
        Some(above) if groups.read(&above.join("cgroup.controllers")).is_ok() => {
            receive(groups, above, controller)?;
            enable(groups, above, controller).map_err(|error| lacks(&cannot_hand_down(above, controller, &error)))
        }
        _ => Err(lacks("nothing is above it here")),
    }
}

fn enable(groups: &impl Groups, folder: &Path, controller: &str) -> io::Result<()> {
    groups.write(&folder.join("cgroup.subtree_control"), &format!("+{controller}"))
}

fn cannot_hand_down(folder: &Path, controller: &str, error: &io::Error) -> String {
    format!("the control group {} cannot hand down `{controller}`: {error}", folder.display())
}

/// The group of the unit of systemd that a group belongs to. Without having been told to leave it alone, systemd starts
/// more processes in that of a service, takes controllers back, and ends a whole scope when the memory of one group in it
/// is full.
fn unit_of(folder: &Path) -> Option<&Path> {
    let is_unit = |kind: &std::ffi::OsStr| kind == "service" || kind == "scope";
    folder.ancestors().find(|folder| folder.extension().is_some_and(is_unit))
}

/// Moves the processes of a group into one below it.
fn move_all(groups: &impl Groups, folder: &Path) -> Result<(), String> {
    let processes = groups.words(folder, "cgroup.procs");
    if processes.is_empty() {
        return Ok(());
    }
    let rest = folder.join(REST);
    match groups.make(&rest) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(format!("cannot make {}: {error}", rest.display()));
        }
        _ => {}
    }
    for process in processes {
        // It would mean ourselves.
        if process == "0" {
            return Err("there are processes in it that are not seen from here".to_owned());
        }
        match groups.write(&rest.join("cgroup.procs"), &process) {
            // It has ended.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(error) => return Err(format!("cannot move process {process} to {}: {error}", rest.display())),
            Ok(()) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::*;

    /// As the kernel treats groups, as far as we use them.
    #[derive(Default)]
    struct Kernel {
        groups: RefCell<BTreeMap<PathBuf, Group>>,
        /// Processes that are made in a group when somebody looks who is there.
        forks: RefCell<Vec<&'static str>>,
        delegated: bool,
    }

    #[derive(Clone, Default)]
    struct Group {
        controllers: Vec<String>,
        handed_down: Vec<String>,
        processes: Vec<String>,
        foreign: bool,
    }

    fn threaded(controllers: &[String]) -> bool {
        controllers.iter().any(|name| name != "memory")
    }

    impl Groups for Kernel {
        fn read(&self, file: &Path) -> io::Result<String> {
            let folder = file.parent().unwrap();
            let top = folder == Path::new("/c");
            let mut groups = self.groups.borrow_mut();
            let group = groups.get_mut(folder).ok_or(ErrorKind::NotFound)?;
            match file.file_name().unwrap().to_str().unwrap() {
                "cgroup.type" if top => Err(ErrorKind::NotFound.into()),
                "cgroup.type" => Ok("domain\n".to_owned()),
                "cgroup.controllers" => Ok(group.controllers.join(" ")),
                "cgroup.subtree_control" => Ok(group.handed_down.join(" ")),
                "cgroup.procs" => {
                    let text = group.processes.join("\n");
                    if !top && let Some(made) = self.forks.borrow_mut().pop() {
                        group.processes.push(made.to_owned());
                    }
                    Ok(text)
                }
                _ => Err(ErrorKind::NotFound.into()),
            }
        }

        fn write(&self, file: &Path, text: &str) -> io::Result<()> {
            let folder = file.parent().unwrap();
            let mut groups = self.groups.borrow_mut();
            if groups.get(folder).ok_or(ErrorKind::NotFound)?.foreign {
                return Err(ErrorKind::PermissionDenied.into());
            }
            if file.ends_with("cgroup.procs") {
                if text == "gone" {
                    groups.values_mut().for_each(|group| group.processes.retain(|process| process != text));
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
                let above = &groups[folder.parent().unwrap()];
                if threaded(&above.handed_down) && !above.processes.is_empty() && folder.parent() != Some("/c".as_ref())
                {
                    return Err(ErrorKind::Unsupported.into());
                }
                groups.values_mut().for_each(|group| group.processes.retain(|process| process != text));
                groups.get_mut(folder).unwrap().processes.push(text.to_owned());
                return Ok(());
            }
            let group = groups.get_mut(folder).unwrap();
            let (sign, name) = text.split_at(1);
            if !group.controllers.iter().any(|word| word == name) {
                return Err(ErrorKind::NotFound.into());
            }
            group.handed_down.retain(|word| word != name);
            if sign == "+" {
                if !group.processes.is_empty() && name == "memory" && folder != Path::new("/c") {
                    return Err(ErrorKind::ResourceBusy.into());
                }
                group.handed_down.push(name.to_owned());
                let below = groups.iter_mut().filter(|(path, _)| path.parent() == Some(folder));
                below.for_each(|(_, group)| group.controllers.push(name.to_owned()));
            }
            Ok(())
        }

        fn make(&self, folder: &Path) -> io::Result<()> {
            let mut groups = self.groups.borrow_mut();
            if groups.contains_key(folder) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let above = &groups[folder.parent().unwrap()];
            if above.foreign {
                return Err(ErrorKind::PermissionDenied.into());
            }
            let new = Group { controllers: above.handed_down.clone(), ..Group::default() };
            groups.insert(folder.to_owned(), new);
            Ok(())
        }

        fn is_delegated(&self, _: &Path) -> bool {
            self.delegated
        }
    }

    fn kernel(own: &str, processes: &[&str]) -> Kernel {
        let list = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let all = list(&["cpu", "memory", "pids"]);
        let top = Group { controllers: all.clone(), handed_down: all.clone(), ..Group::default() };
        let group = Group { controllers: all, processes: list(processes), ..Group::default() };
        Kernel { groups: RefCell::new([("/c".into(), top), (own.into(), group)].into()), ..Kernel::default() }
    }

    fn of(kernel: &Kernel, folder: &str) -> Group {
        kernel.groups.borrow()[Path::new(folder)].clone()
    }

    #[test]
    fn a_group_with_processes_is_divided_and_nothing_is_made_beside_it() {
        for controllers in [["pids", "memory", "cpu"], ["memory", "cpu", "pids"], ["cpu", "pids", "memory"]] {
            let kernel = kernel("/c/own", &["7", "gone", "9"]);
            for controller in controllers {
                assert_eq!(hand_down(&kernel, Path::new("/c/own"), controller), Ok("/c/own".into()), "{controllers:?}");
            }
            assert_eq!(of(&kernel, "/c/own").handed_down, controllers);
            assert_eq!(of(&kernel, "/c/own/fleet-rest").processes, ["7", "9"]);
            // A run that is started from there finds the same place.
            let again = hand_down(&kernel, Path::new("/c/own/fleet-rest"), "memory");
            assert_eq!(again, Ok("/c/own".into()));
        }
    }

    #[test]
    fn what_is_made_meanwhile_is_moved_too() {
        for controller in ["pids", "memory"] {
            let kernel = Kernel { forks: vec!["10", "11", "12"].into(), ..kernel("/c/own", &["7"]) };
            assert_eq!(hand_down(&kernel, Path::new("/c/own"), controller), Ok("/c/own".into()));
            assert_eq!(of(&kernel, "/c/own").processes, Vec::<String>::new());
            assert_eq!(of(&kernel, "/c/own/fleet-rest").processes.len(), 4);
            assert_eq!(of(&kernel, "/c/own").handed_down, [controller]);
        }
    }

    #[test]
    fn the_topmost_group_is_not_divided() {
        let kernel = kernel("/c/own", &[]);
        kernel.groups.borrow_mut().get_mut(Path::new("/c")).unwrap().processes.push("1".to_owned());
        kernel.groups.borrow_mut().get_mut(Path::new("/c")).unwrap().handed_down.clear();
        assert_eq!(hand_down(&kernel, Path::new("/c"), "memory"), Ok("/c".into()));
        assert_eq!(
            (of(&kernel, "/c").handed_down, of(&kernel, "/c").processes),
            (vec!["memory".into()], vec!["1".into()])
        );
        assert!(!kernel.groups.borrow().contains_key(Path::new("/c/fleet-rest")));
    }

    #[test]
    fn a_unit_of_systemd_is_divided_only_when_it_was_delegated() {
        for own in ["/c/a.service", "/c/a.scope", "/c/a.scope/b"].map(Path::new) {
            let kernel = || {
                let kernel = self::kernel("/c/a.scope", &[]);
                let group = Group { processes: vec!["7".to_owned()], ..of(&kernel, "/c/a.scope") };
                kernel.groups.borrow_mut().insert(own.to_owned(), group);
                kernel
            };
            let refused = kernel();
            let why = hand_down(&refused, own, "pids").unwrap_err();
            assert!(why.contains("/c/a.") && why.contains("Delegate=yes"), "{why}");
            assert_eq!(refused.groups.borrow()[own].processes, ["7"], "nothing is moved");
            assert_eq!(hand_down(&Kernel { delegated: true, ..kernel() }, own, "pids"), Ok(own.to_owned()));
        }
    }

    #[test]
    fn those_above_are_told_to_hand_it_down_unless_they_are_systemds() {
        let under = |above: &str| {
            let kernel = kernel(above, &[]);
            let own = Path::new(above).join("shell");
            kernel
                .groups
                .borrow_mut()
                .insert(own.clone(), Group { processes: vec!["7".to_owned()], ..Group::default() });
            (hand_down(&kernel, &own, "pids"), of(&kernel, above).handed_down, of(&kernel, above).processes)
        };
        let (place, handed_down, processes) = under("/c/mine");
        assert_eq!((place, handed_down, processes), (Ok("/c/mine/shell".into()), vec!["pids".to_owned()], vec![]));
        let (refused, handed_down, _) = under("/c/user.slice");
        assert!(refused.unwrap_err().contains("Delegate=yes"));
        assert_eq!(handed_down, Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_divided_says_why() {
        let own = Path::new("/c/own");
        let foreign = kernel("/c/own", &["7"]);
        foreign.groups.borrow_mut().get_mut(own).unwrap().foreign = true;
        let without = kernel("/c/own", &["7"]);
        without.groups.borrow_mut().values_mut().for_each(|group| group.controllers = vec!["memory".to_owned()]);
        let cases = [
            (foreign, "cannot divide the control group /c/own: cannot make /c/own/fleet-rest: permission denied"),
            (without, "the control group /c does not have the controller `pids`, and nothing is above it here"),
            (kernel("/c/own", &["7", "0"]), "processes in it that are not seen from here"),
        ];
        for (kernel, want) in cases {
            let why = hand_down(&kernel, own, "pids").unwrap_err();
            assert!(why.contains(want), "{why}");
        }
    }
}
