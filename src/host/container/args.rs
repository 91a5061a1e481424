//! The `args` of a worker, flag by flag: which of them ours say already, and which mean something to the containers
//! that only bring the supervisor into a volume.

use std::path::{Component, Path, PathBuf};

use crate::model::{Limits, PIDS_MAX};
use crate::spec::container::FLAGS;

/// What says where a container's files and network are, which are ours to say for one that brings the supervisor.
const OF_TASKS: [&str; 13] = [
    "network",
    "net",
    "publish",
    "publish-all",
    "add-host",
    "dns",
    "volume",
    "volumes-from",
    "mount",
    "tmpfs",
    "hostname",
    "env",
    "env-file",
];
/// Where a supervisor finds room that finds none elsewhere.
const TEMPORARY: &str = "/tmp";

/// Processes and threads of our own in a container, at most: the guard, the supervisor and its threads.
const OUR_PIDS: u32 = 20;
/// Billionths in a core.
const NANO: u64 = 1_000_000_000;
const NANO_IN_MILLI: u64 = 1_000_000;

/// The bounds of an attempt, as an engine counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Billionths of a core.
    pub cpu_nano: Option<u64>,
    pub memory_bytes: Option<u64>,
    pub pids: Option<u64>,
}

impl Bounds {
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            cpu_nano: limits.cpu_milli.map(|milli| u64::from(milli) * NANO_IN_MILLI),
            memory_bytes: limits.memory_bytes,
            pids: limits.pids.map(|pids| u64::from(pids.saturating_add(OUR_PIDS).min(PIDS_MAX))),
        }
    }

    /// The lower one of each that both have: a task does not loosen what holds all that run on a worker. Of a flag that is
    /// said twice an engine takes the last.
    pub(super) fn within(self, args: &[String]) -> Self {
        let all = split(args);
        let of = |name: &str, read: fn(&str) -> Option<u64>| {
            all.iter().rfind(|arg| arg.names.contains(&name)).and_then(|arg| read(arg.value))
        };
        let lower = |ours: Option<u64>, name, read| ours.map(|ours| of(name, read).map_or(ours, |own| own.min(ours)));
        Self {
            cpu_nano: lower(self.cpu_nano, "cpus", nano),
            memory_bytes: lower(self.memory_bytes, "memory", bytes),
            pids: lower(self.pids, "pids-limit", |text| text.trim().parse().ok().filter(|pids| *pids > 0)),
        }
    }

    pub(super) fn args(self) -> Vec<String> {
        let cpu = self.cpu_nano.map(|nano| format!("--cpus={}.{:09}", nano / NANO, nano % NANO));
        // Without swap beside it, as a control group of ours has none.
        let memory = self.memory_bytes.map(|bytes| format!("--memory={bytes}"));
        let swap = self.memory_bytes.map(|bytes| format!("--memory-swap={bytes}"));
        let pids = self.pids.map(|pids| format!("--pids-limit={pids}"));
        [cpu, memory, swap, pids].into_iter().flatten().collect()
    }
}

/// `1.5` cores. As with sizes, 0 is no bound, and what cannot be read an engine does not read either.
fn nano(text: &str) -> Option<u64> {
    #[expect(clippy::cast_precision_loss, reason = "a core has few digits")]
    let nano = text.trim().parse::<f64>().ok()? * NANO as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in the range")]
    (1.0..1e18).contains(&nano).then_some(nano.round() as u64)
}

/// A size as the engines write it: `64m`, `1.5 GiB`, `512KB`, all of them in powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start();
    let factor = match unit.strip_suffix('b').unwrap_or(unit).trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * 1024_f64.powi(factor);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in the range")]
    (1.0..1e19).contains(&bytes).then_some(bytes as u64)
}

/// One flag, or several of a letter in one word.
#[derive(Debug, PartialEq, Eq)]
struct Arg<'a> {
    /// Without dashes; of known flags the first of its long names.
    names: Vec<&'a str>,
    value: &'a str,
    words: &'a [String],
}

/// The words were held against the same table when the file was read.
fn split(args: &[String]) -> Vec<Arg<'_>> {
    let mut all = Vec::new();
    let mut rest = args;
    while let Some(first) = rest.first() {
        let (names, mut value, wants_next) = match first.strip_prefix("--") {
            Some(long) => of_long(long),
            None => of_shorts(first.trim_start_matches('-')),
        };
        let count = if wants_next && rest.len() > 1 { 2 } else { 1 };
        if count == 2 {
            value = &rest[1];
        }
        all.push(Arg { names, value, words: &rest[..count] });
        rest = &rest[count..];
    }
    all
}

/// Its names, its value, and whether that is the next word.
fn of_long(long: &str) -> (Vec<&str>, &str, bool) {
    let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
    let flag = FLAGS.iter().find(|flag| flag.long.contains(&name));
    let takes_next = value.is_none() && flag.is_some_and(|flag| flag.takes_value);
    (vec![flag.map_or(name, |flag| flag.long[0])], value.unwrap_or(""), takes_next)
}

fn of_shorts(shorts: &str) -> (Vec<&str>, &str, bool) {
    let mut names = Vec::new();
    for (at, short) in shorts.char_indices() {
        let Some(flag) = FLAGS.iter().find(|flag| flag.short == Some(short)) else { break };
        names.push(flag.long[0]);
        if flag.takes_value {
            let rest = &shorts[at + short.len_utf8()..];
            return (names, rest.strip_prefix('=').unwrap_or(rest), rest.is_empty());
        }
    }
    (names, "", false)
}

/// Those that are not said by ours already. That there is no network, said twice, an engine does not take.
pub(super) fn beside(ours_say_no_network: bool, args: &[String]) -> Vec<String> {
    let is_said = |arg: &Arg<'_>| ours_say_no_network && arg.names.contains(&"network") && arg.value == "none";
    split(args).iter().filter(|arg| !is_said(arg)).flat_map(|arg| arg.words).cloned().collect()
}

/// A folder or file that is mounted, as `--mount` says it: for `--volume` docker makes a source that is not there, as root,
/// and podman names no more than its first missing part. What has options that only `--volume` knows stays.
pub(super) fn with_sources(args: &[String], workspace: &Path) -> Vec<String> {
    let said = |arg: &Arg<'_>| {
        let mount = (arg.names == ["volume"]).then(|| bind(arg.value, workspace)).flatten();
        mount.map_or_else(|| arg.words.to_vec(), |mount| vec!["--mount".to_owned(), mount])
    };
    split(args).iter().flat_map(said).collect()
}

fn bind(value: &str, workspace: &Path) -> Option<String> {
    let mut parts = value.split(':');
    let (source, target) = (parts.next()?, parts.next()?);
    let read_only = match (parts.next(), parts.next()) {
        (None | Some("rw"), None) => "",
        (Some("ro"), None) => ",readonly",
        _ => return None,
    };
    // Without a slash or a dot it is the name of a volume.
    let is_path = source.starts_with(['/', '.']) && target.starts_with('/');
    let source = absolute(&workspace.join(source))?;
    let is_plain = !value.contains([',', '"']) && !source.contains([',', '"']);
    (is_path && is_plain).then(|| format!("type=bind,source={source},target={target}{read_only}"))
}

/// Without `.` and `..`, as docker reads a path; `None` when it is no text.
fn absolute(path: &Path) -> Option<String> {
    let mut whole = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(whole.pop()),
            part => whole.push(part),
        }
    }
    whole.into_os_string().into_string().ok()
}

/// Whether what is in the image cannot be written to, and nothing else is where a supervisor looks for room.
pub(super) fn leave_no_room(args: &[String]) -> bool {
    let all = split(args);
    let is_read_only = all.iter().any(|arg| arg.names.contains(&"read-only") && arg.value != "false");
    let is_mounted = |arg: &Arg<'_>| {
        let mounts = ["tmpfs", "volume", "mount"].iter().any(|name| arg.names.contains(name));
        mounts && arg.value.split([':', ',', '=']).any(|part| part == TEMPORARY)
    };
    is_read_only && !all.iter().any(is_mounted)
}

/// Those that decide whether and how a program of an image starts.
pub(super) fn of_programs(args: &[String]) -> Vec<String> {
    let all = split(args);
    let wanted = all.iter().filter(|arg| !arg.names.iter().any(|name| OF_TASKS.contains(name)));
    wanted.flat_map(|arg| arg.words).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_of_programs_stays() {
        let args = words("--runtime=runsc -v ./a:/a --ulimit nofile=9 -m512m --net none -qP --unknown=x --init -e A=b");
        assert_eq!(of_programs(&args), words("--runtime=runsc --ulimit nofile=9 -m512m --unknown=x --init"));
    }

    #[test]
    fn bounds_are_said_and_nothing_else() {
        let limits = Limits { cpu_milli: Some(1500), memory_bytes: None, pids: None };
        assert_eq!(Bounds::of(&limits).args(), ["--cpus=1.500000000"]);
        let limits = Limits { cpu_milli: None, memory_bytes: Some(4096), pids: Some(9) };
        assert_eq!(Bounds::of(&limits).args(), ["--memory=4096", "--memory-swap=4096", "--pids-limit=29"]);
    }

    #[test]
    fn the_lower_bound_counts() {
        let limits = Limits { cpu_milli: Some(1500), memory_bytes: Some(128 << 20), pids: Some(PIDS_MAX) };
        let all = Bounds::of(&limits);
        assert_eq!(all.pids, Some(u64::from(PIDS_MAX)));
        let within = |args: &str| {
            let Bounds { cpu_nano, memory_bytes, pids } = all.within(&words(args));
            (cpu_nano.unwrap() / NANO_IN_MILLI, memory_bytes.unwrap() >> 20, pids.unwrap())
        };
        let ours = (1500, 128, u64::from(PIDS_MAX));
        for args in ["", "--cpus=2 -m 1g --pids-limit -1", "--cpus 0 --memory=0 --pids-limit=0", "--memory=64x"] {
            assert_eq!(within(args), ours, "{args}");
        }
        for args in ["--memory=64m", "-m64M", "-im 64MiB", "--memory 65536k", "-m=67108864b", "-m 1g --memory=0.0625g"]
        {
            assert_eq!(within(args), (1500, 64, ours.2), "{args}");
        }
        assert_eq!(within("-m 64m -m 1g"), ours);
        assert_eq!(within("--cpus .5 --pids-limit 9"), (500, 128, 9));
        // What the task does not bound is the worker's to say.
        assert_eq!(Bounds::default().within(&words("-m 64m")), Bounds::default());
    }

    #[test]
    fn what_is_mounted_has_to_be_there() {
        let said = |args: &str| with_sources(&words(args), Path::new("/ws/a")).join(" ");
        for args in ["-v ./b/../c:/x:rw", "-v=./c:/x", "-v./c:/x", "--volume /ws/a/c:/x"] {
            assert_eq!(said(&format!("--init {args}")), "--init --mount type=bind,source=/ws/a/c,target=/x", "{args}");
        }
        assert_eq!(said("--volume=../c:/x:ro -m 1g"), "--mount type=bind,source=/ws/c,target=/x,readonly -m 1g");
        for args in
            ["-v name:/x", "-v /x", "-v ./a:/x:z", "-v ./a:/x:ro,z", "-v ./a,b:/x", "-v ./a:x", "-Pv ./a:/x", "-v"]
        {
            assert_eq!(said(args), args);
        }
    }

    #[test]
    fn no_network_is_said_once() {
        for args in ["--network=none", "--network none", "--net none", "--net=none"] {
            assert_eq!(beside(true, &words(&format!("--init {args} -m 1g"))), words("--init -m 1g"), "{args}");
            assert_eq!(beside(false, &words(args)), words(args));
        }
        for args in ["", "--network=some", "--hostname none", "--init"] {
            assert_eq!(beside(true, &words(args)), words(args));
        }
    }

    #[test]
    fn read_only_leaves_no_room_unless_something_is_mounted() {
        assert!(leave_no_room(&words("--read-only")));
        assert!(leave_no_room(&words("--read-only=true --tmpfs /run")));
        for args in
            ["", "--read-only=false", "--read-only --tmpfs /tmp:exec", "--read-only --mount type=tmpfs,target=/tmp"]
        {
            assert!(!leave_no_room(&words(args)), "{args}");
        }
    }
}
