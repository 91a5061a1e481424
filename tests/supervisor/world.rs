//! An engine in miniature, and what a test asks the process table.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fleet::host::link::{Alive, FromSupervisor, Link};
use fleet::host::local::{self, LinkOptions};
use fleet::supervisor::frame::{Env, Exited, NotStarted, NotStartedCause, Place, Spawn, Stream};
use rustix::event::{PollFd, PollFlags, Timespec};

pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// What the guarantee says.
pub(crate) const NOTHING_LEFT_WITHIN: Duration = Duration::from_secs(2);

/// One attempt, as it was heard of.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) pid: Option<u32>,
    pub(crate) mechanisms: Vec<String>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
    pub(crate) exited: Option<Exited>,
    pub(crate) not_started: Option<NotStarted>,
    /// Paths of what it made.
    pub(crate) made: Vec<String>,
}

impl Heard {
    pub(crate) fn over(&self) -> bool {
        self.exited.is_some() || self.not_started.is_some()
    }

    pub(crate) fn exited(&self) -> &Exited {
        self.exited.as_ref().unwrap_or_else(|| panic!("no exit: {self:?}"))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }
}

pub(crate) struct Engine {
    pub(crate) link: Link,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) heard: BTreeMap<u32, Heard>,
    pub(crate) keep: bool,
    pub(crate) bytes: u64,
    pub(crate) credit: bool,
}

pub(crate) fn options(dir: &Path) -> LinkOptions {
    LinkOptions {
        exe: PathBuf::from(env!("CARGO_BIN_EXE_fleet")),
        exit_log: dir.join("here.log"),
        run: "run".to_owned(),
        state_dir: dir.to_owned(),
        place: None,
    }
}

pub(crate) fn sh(script: &str) -> Spawn {
    program(&["/bin/sh", "-c", script])
}

pub(crate) fn program(argv: &[&str]) -> Spawn {
    Spawn {
        argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
        cwd: "/".to_owned(),
        env: 1,
        grace_ms: 200,
        label: "task.1".to_owned(),
        ..Spawn::default()
    }
}

impl Engine {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = options(dir.path());
        Self::start_as(dir, &options)
    }

    /// With a supervisor that has other variables.
    pub(crate) fn start_with(variables: &[(&str, &str)]) -> Self {
        let set: Vec<String> = variables.iter().map(|(name, value)| format!("{name}='{value}' ")).collect();
        Self::start_by(&format!("{}exec {} \"$@\"", set.concat(), env!("CARGO_BIN_EXE_fleet")))
    }

    /// With a supervisor that a script starts.
    pub(crate) fn start_by(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let exe = dir.path().join("fleet");
        fs::write(&exe, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&exe, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let options = LinkOptions { exe, ..options(dir.path()) };
        Self::start_as(dir, &options)
    }

    /// With a supervisor that has a guard, which a script starts, in a place for anybody.
    pub(crate) fn start_guarded(script: &str, lease_ms: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let exe = dir.path().join("fleet");
        fs::write(&exe, format!("#!/bin/sh\n{script}\n")).unwrap();
        for (path, mode) in [(&*exe, 0o755), (dir.path(), 0o777)] {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        }
        let root = dir.path().join("place").display().to_string();
        let place = Place { root, worker: "w".to_owned(), lease_ms, cache_bytes: 1 << 20, attempt_bytes: 0 };
        let options = LinkOptions { exe, place: Some(place), ..options(dir.path()) };
        Self::start_as(dir, &options)
    }

    /// With a supervisor that has a place of its own, in which the folder of an attempt may take so much.
    pub(crate) fn start_bounded(attempt_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("place").display().to_string();
        let place = Place { root, worker: "w".to_owned(), lease_ms: 0, cache_bytes: 1 << 30, attempt_bytes };
        let options = LinkOptions { place: Some(place), ..options(dir.path()) };
        Self::start_as(dir, &options)
    }

    fn start_as(dir: tempfile::TempDir, options: &LinkOptions) -> Self {
        let mut link = local::start(options).unwrap();
        let path = ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned());
        link.env(&Env { id: 1, vars: vec![path], host: Vec::new() }).unwrap();
        Self { link, dir, heard: BTreeMap::new(), keep: true, bytes: 0, credit: true }
    }

    pub(crate) fn turn(&mut self, limit: Duration) -> Alive {
        self.link.flush().unwrap();
        let mut fds = vec![PollFd::from_borrowed_fd(self.link.as_fd(), PollFlags::IN)];
        if self.link.wants_write() {
            fds.push(PollFd::from_borrowed_fd(self.link.write_fd(), PollFlags::OUT));
        }
        rustix::event::poll(&mut fds, Some(&Timespec::try_from(limit).unwrap())).unwrap();
        let mut credits = Vec::new();
        let (heard, keep, bytes_sum) = (&mut self.heard, self.keep, &mut self.bytes);
        let alive = self
            .link
            .receive(&mut |frame| match frame {
                FromSupervisor::Started { attempt, started } => {
                    let heard = heard.entry(attempt).or_default();
                    (heard.pid, heard.mechanisms) = (Some(started.pid), started.mechanisms);
                }
                FromSupervisor::Output { attempt, stream, bytes } => {
                    credits.push((attempt, bytes.len() as u64));
                    *bytes_sum += bytes.len() as u64;
                    let heard = heard.entry(attempt).or_default();
                    assert!(!heard.over(), "output after the end");
                    if keep {
                        match stream {
                            Stream::Stdout => heard.out.extend_from_slice(bytes),
                            Stream::Stderr => heard.err.extend_from_slice(bytes),
                        }
                    }
                }
                FromSupervisor::Exited { attempt, exited } => {
                    assert!(heard[&attempt].pid.is_some(), "an end without a start");
                    assert!(heard.entry(attempt).or_default().exited.replace(exited).is_none());
                }
                FromSupervisor::NotStarted { attempt, error } => {
                    assert!(heard.entry(attempt).or_default().not_started.replace(error).is_none());
                }
                FromSupervisor::Collected { attempt, part } => {
                    let paths = part.entries.iter().map(|entry| entry.path.to_string());
                    heard.entry(attempt).or_default().made.extend(paths);
                }
                _ => {}
            })
            .unwrap();
        if self.credit {
            for (attempt, bytes) in credits {
                self.link.credit(attempt, bytes);
            }
            self.link.flush().unwrap();
        }
        alive
    }

    pub(crate) fn until(&mut self, what: &str, done: impl Fn(&BTreeMap<u32, Heard>) -> bool) {
        let begin = Instant::now();
        while !done(&self.heard) {
            assert!(begin.elapsed() < PATIENCE, "waited too long for {what}: {:?}", self.heard);
            assert_eq!(self.turn(Duration::from_millis(200)), Alive::Alive, "the supervisor left");
        }
    }

    pub(crate) fn run(&mut self, attempt: u32, spawn: &Spawn) -> &Heard {
        self.heard.remove(&attempt);
        self.link.spawn(attempt, spawn).unwrap();
        self.until("its end", |heard| heard.get(&attempt).is_some_and(Heard::over));
        &self.heard[&attempt]
    }

    pub(crate) fn said(&mut self, attempt: u32, text: &str) {
        self.until(text, |heard| {
            heard.get(&attempt).is_some_and(|heard| String::from_utf8_lossy(&heard.out).contains(text))
        });
    }

    pub(crate) fn not_started(&mut self, spawn: &Spawn) -> (NotStartedCause, String) {
        let error = self.run(9, spawn).not_started.clone().expect("it started");
        (error.cause, error.error)
    }

    /// The most it has held of its own: pages of the program's file are everybody's, and a debug build has many.
    pub(crate) fn supervisor_memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.link.pid())).unwrap();
        let field = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        field("VmHWM:").saturating_sub(field("RssFile:"))
    }
}

/// Processes that carry this state directory, zombies (whose environment is empty) left out.
pub(crate) fn marked(dir: &Path) -> Vec<String> {
    let want = format!("FLEET_STATE_DIR={}", dir.display());
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    processes
        .filter(|process| {
            let environ = fs::read(process.join("environ")).unwrap_or_default();
            environ.split(|&b| b == 0).any(|var| var == want.as_bytes())
        })
        .map(|process| {
            format!("{} {}", process.display(), fs::read_to_string(process.join("comm")).unwrap_or_default().trim())
        })
        .collect()
}

pub(crate) fn assert_nothing_left(dir: &Path, since: Instant) {
    loop {
        let left = marked(dir);
        if left.is_empty() {
            return;
        }
        assert!(since.elapsed() < NOTHING_LEFT_WITHIN, "still there: {left:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Living children of a process.
pub(crate) fn below(parent: u32) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let mut fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
        fields.next() != Some("Z") && fields.next() == Some(parent.to_string().as_str())
    };
    pids.filter(is_child).collect()
}

/// Daemons of every kind: a double fork into a session of its own that ignores TERM; the same with its standard streams
/// closed; one that lost its environment; a plain background child; one in a process group of its own.
pub(crate) const DAEMONS: &str = "
    (setsid sh -c 'trap \"\" TERM HUP INT; echo >>$0; while :; do sleep 1000; done' \"$1\" &) &
    (setsid sh -c 'trap \"\" TERM HUP; echo >>$0; exec sleep 1001' \"$1\" </dev/null >/dev/null 2>&1 &) &
    (env -i setsid sh -c 'trap \"\" TERM; echo >>$0; exec /bin/sleep 1002' \"$1\" </dev/null >/dev/null 2>&1 &) &
    sh -c 'echo >>$0; exec sleep 1003' \"$1\" &
    sh -c 'set -m; sh -c \"echo >>$0; exec sleep 1004\" &' \"$1\"
    while [ $(wc -l <\"$1\") -lt 5 ]; do sleep 0.02; done
    echo ready
";

pub(crate) fn daemons(dir: &Path, then: &str) -> Spawn {
    let count = dir.join(format!("count-{}", then.len()));
    fs::write(&count, "").unwrap();
    program(&["/bin/sh", "-c", &format!("{DAEMONS}{then}"), "sh", count.to_str().unwrap()])
}

pub(crate) fn lines(count: u32, line: impl Fn(u32) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().concat()
}
