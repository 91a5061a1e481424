//! The supervisor through `Link`, with the real binary and real processes. Time decides nothing here except as a
//! generous upper bound that a guarantee names.

mod bound;
mod confine;
mod escape;
mod guard;
mod limits;
mod secrets;
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fleet::host::link::{Alive, FromSupervisor};
use fleet::host::local;
use fleet::supervisor::exits::{self, Entry};
use fleet::supervisor::frame::{self, EndedBy, Env, Hello, Kind, NotStartedCause, Spawn, Streams};
use rustix::process::{Pid, Signal};

use world::NOTHING_LEFT_WITHIN;
use world::{Engine, PATIENCE, assert_nothing_left, below, daemons, lines, marked, options, program, sh};

#[test]
fn exits_and_signals_are_told_as_they_are() {
    let mut engine = Engine::start();
    for code in [0, 1, 2, 126, 127, 255] {
        let exited = engine.run(1, &sh(&format!("exit {code}"))).exited().clone();
        assert_eq!((exited.code, exited.signal, exited.ended_by), (Some(code), None, None));
        assert_eq!((exited.output_bytes, exited.leaked), (0, vec![]));
    }
    for signal in [1, 2, 3, 6, 9, 13, 15] {
        let exited = engine.run(1, &sh(&format!("kill -{signal} $$"))).exited().clone();
        assert_eq!((exited.code, exited.signal), (None, Some(signal)), "signals are at their defaults and not blocked");
    }
    let exited = engine.run(2, &sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")).exited().clone();
    assert!(exited.max_rss_bytes > 100_000 && exited.wall_ms + 50 >= exited.cpu_ms, "{exited:?}");
}

#[test]
fn streams_are_merged_exactly_or_split() {
    let script = sh("i=0; while [ $i -lt 100 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done");
    let mut engine = Engine::start();
    let merged: String = lines(100, |i| format!("out {i}\nerr {i}\n"));
    assert_eq!(engine.run(1, &script).text(), merged);
    let split = Spawn { streams: Streams::Split, ..script };
    let heard = engine.run(2, &split);
    assert_eq!(heard.text(), lines(100, |i| format!("out {i}\n")));
    assert_eq!(heard.err, lines(100, |i| format!("err {i}\n")).into_bytes());
    assert_eq!(heard.exited().output_bytes, merged.len() as u64);
}

#[test]
fn much_output_arrives_whole_in_little_memory() {
    let mut engine = Engine::start();
    let file = engine.dir.path().join("much");
    let text: String = lines(200_000, |i| format!("line {i} of a long file\n"));
    fs::write(&file, &text).unwrap();
    assert!(engine.run(1, &program(&["/bin/cat", file.to_str().unwrap()])).text() == text, "bytes differ");
    let chatty = sh("i=0; while [ $i -lt 300 ]; do cat $0 >&2; i=$((i+1)); done");
    let chatty = Spawn { argv: [chatty.argv, vec![file.to_str().unwrap().to_owned()]].concat(), ..chatty };
    engine.keep = false;
    for attempt in 2..4 {
        engine.link.spawn(attempt, &Spawn { argv: chatty.argv.clone(), ..chatty.clone() }).unwrap();
    }
    engine.until("both ends", |heard| heard.values().filter(|heard| heard.over()).count() == 3);
    let each = 300 * text.len() as u64;
    assert!((2..4).all(|n| engine.heard[&n].exited().output_bytes == each));
    assert_eq!(engine.bytes, 2 * each + text.len() as u64);
    assert!(engine.supervisor_memory_kib() < 8 << 10, "{} KiB", engine.supervisor_memory_kib());
}

#[test]
fn an_engine_that_gives_no_credit_slows_the_task() {
    let mut engine = Engine::start();
    engine.credit = false;
    engine.keep = false;
    engine.link.spawn(1, &sh("head -c 10000000 /dev/zero; echo done >&2")).unwrap();
    let begin = Instant::now();
    while engine.bytes < 256 << 10 && begin.elapsed() < PATIENCE {
        engine.turn(Duration::from_millis(100));
    }
    for _ in 0..5 {
        engine.turn(Duration::from_millis(100));
    }
    assert_eq!(engine.bytes, 256 << 10, "the window, to the byte");
    assert!(!engine.heard[&1].over());
    // Others are not held up by it.
    assert_eq!(engine.run(2, &sh("exit 3")).exited().code, Some(3));
    engine.credit = true;
    engine.link.credit(1, 256 << 10);
    engine.until("the rest", |heard| heard[&1].over());
    assert_eq!(engine.bytes, 10_000_005);
}

#[test]
fn a_task_gets_what_was_said_and_nothing_else() {
    let mut engine = Engine::start();
    let dir = engine.dir.path().canonicalize().unwrap();
    fs::write(dir.join("in"), "from a file").unwrap();
    engine
        .link
        .env(&Env { id: 2, vars: vec![("A".into(), "1".into()), ("B".into(), "ü \n".into())], host: Vec::new() })
        .unwrap();
    let spawn = Spawn {
        env: 2,
        set: vec![("A".into(), "2".into()), ("C".into(), String::new())],
        ..program(&["/usr/bin/env", "-0"])
    };
    let state = engine.dir.path().display().to_string();
    let mut vars: Vec<_> = engine.run(1, &spawn).text().split_terminator('\0').map(str::to_owned).collect();
    vars.sort();
    let want = ["A=2", "B=ü \n", "C=", "FLEET_ATTEMPT_ID=run/task.1/1", &format!("FLEET_STATE_DIR={state}")];
    assert_eq!(vars, want);

    let spawn = Spawn { cwd: dir.display().to_string(), ..sh("pwd; cat; ls /proc/self/fd | wc -l") };
    assert_eq!(engine.run(2, &spawn).text(), format!("{}\n4\n", dir.display()), "stdin is empty; 0 1 2 and ls's own");
    let spawn = Spawn { stdin: Some(dir.join("in").display().to_string()), ..program(&["/bin/cat"]) };
    assert_eq!(engine.run(3, &spawn).text(), "from a file");
    let status = program(&["/bin/grep", "-E", "^(SigBlk|SigIgn|NSsid)", "/proc/self/status"]);
    let heard = engine.run(4, &status);
    let pid = heard.pid.unwrap();
    let bits = |name: &str| {
        let line = heard.text().lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim_start_matches(":\t"), 16).unwrap()
    };
    // 32 and 33 belong to the C library, which leaves them ignored in all that it spawns.
    assert_eq!((bits("SigBlk"), bits("SigIgn") & !(3 << 31)), (0, 0));
    assert!(heard.text().contains(&format!("NSsid:\t{pid}\n")), "{}", heard.text());
}

#[test]
fn what_cannot_start_says_why() {
    let mut engine = Engine::start();
    let dir = engine.dir.path().to_owned();
    let path = |name: &str| dir.join(name).display().to_string();
    fs::write(dir.join("plain"), "#!/bin/sh\n").unwrap();
    for (name, text) in [("garbage", "garbage\n"), ("lost", "#!/no/such/interpreter\n")] {
        fs::write(dir.join(name), text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir.join(name), mode).unwrap();
    }
    let long = "x".repeat(100_000);
    let cases = [
        (program(&["/no/such/program"]), NotStartedCause::NotFound, "/no/such/program does not exist"),
        (program(&["true"]), NotStartedCause::Request, "absolute"),
        (program(&[]), NotStartedCause::Request, "absolute"),
        (program(&["/bin/echo", "a\0b"]), NotStartedCause::Request, "NUL"),
        (program(&[&path("plain")]), NotStartedCause::NotExecutable, "chmod +x"),
        (program(&["/tmp"]), NotStartedCause::NotExecutable, "is a directory"),
        (program(&[&path("garbage")]), NotStartedCause::BadFormat, "neither"),
        (program(&[&path("lost")]), NotStartedCause::BadFormat, "interpreter"),
        (Spawn { cwd: "/no/such".into(), ..sh("") }, NotStartedCause::Workdir, "/no/such"),
        (Spawn { cwd: path("plain"), ..sh("") }, NotStartedCause::Workdir, "not a directory"),
        (Spawn { stdin: Some("/no/such".into()), ..sh("") }, NotStartedCause::Stdin, "/no/such"),
        (program(&["/bin/true", &long, &long, &long, &long, &long]), NotStartedCause::TooLong, "longer"),
    ];
    for (spawn, cause, text) in cases {
        let spawn = match cause {
            // Four base environments of a megabyte would do as well; an argument over 128 KiB is simpler.
            NotStartedCause::TooLong => program(&["/bin/true", &"x".repeat(200_000)]),
            _ => spawn,
        };
        let (got, error) = engine.not_started(&spawn);
        assert!(got == cause && error.contains(text), "{cause:?} {text}: {got:?} {error}");
    }
    // The longest request there is: what is said of it would be longer.
    let endless = |length: usize| Spawn { cwd: format!("/{}", "x".repeat(length)), ..sh("") };
    let room = frame::BODY_BYTES_MAX - serde_json::to_string(&endless(0)).unwrap().len();
    let (cause, error) = engine.not_started(&endless(room));
    assert!(cause == NotStartedCause::Workdir && error.contains("working directory") && error.contains("os error"));
    assert!(engine.link.spawn(10, &program(&["/bin/true", &"x".repeat(2 << 20)])).is_err());
    assert_eq!(engine.run(11, &program(&["/bin/true"])).exited().code, Some(0), "the link goes on");
}

#[test]
fn time_limits_end_it_and_say_which() {
    let mut engine = Engine::start();
    let spawn = Spawn { timeout_ms: Some(100), ..sh("echo hi; exec sleep 1000") };
    let heard = engine.run(1, &spawn);
    assert_eq!((heard.exited().ended_by, heard.exited().signal), (Some(EndedBy::Timeout), Some(15)));
    assert_eq!(heard.text(), "hi\n");

    let spawn =
        Spawn { idle_timeout_ms: Some(1500), ..sh("for i in 1 2 3 4 5 6; do echo $i; sleep 0.1; done; sleep 1000") };
    let heard = engine.run(2, &spawn);
    assert_eq!(heard.exited().ended_by, Some(EndedBy::IdleTimeout));
    assert_eq!(heard.text(), "1\n2\n3\n4\n5\n6\n", "output keeps it going");

    let spawn = Spawn { timeout_ms: Some(50), ..sh("trap '' TERM; while :; do sleep 0.05; done") };
    let heard = engine.run(3, &spawn);
    assert_eq!((heard.exited().ended_by, heard.exited().signal), (Some(EndedBy::Timeout), Some(9)));

    let polite = sh("trap 'echo bye; exit 7' TERM; echo on; while :; do sleep 0.02; done");
    engine.link.spawn(4, &polite).unwrap();
    engine.said(4, "on");
    engine.link.stop(4, Duration::from_secs(30));
    engine.until("its end", |heard| heard[&4].over());
    let heard = &engine.heard[&4];
    assert_eq!((heard.exited().ended_by, heard.exited().code), (Some(EndedBy::Stop), Some(7)));
    assert!(heard.text().ends_with("bye\n"), "its last words are heard: {}", heard.text());

    engine.link.spawn(5, &sh("trap '' TERM; echo on; while :; do sleep 0.02; done")).unwrap();
    engine.said(5, "on");
    engine.link.stop(5, Duration::from_mins(50));
    engine.link.kill(5);
    engine.until("its end", |heard| heard[&5].over());
    assert_eq!((engine.heard[&5].exited().ended_by, engine.heard[&5].exited().signal), (Some(EndedBy::Stop), Some(9)));
}

#[test]
fn a_kill_cuts_the_grace_of_what_outlives_its_main_process() {
    let mut engine = Engine::start();
    for second in [true, false] {
        engine.heard.clear();
        engine.link.spawn(1, &sh("(trap '' TERM; echo on; sleep 333); true")).unwrap();
        engine.said(1, "on");
        // What it prints may come before the word that it runs.
        engine.until("its start", |heard| heard[&1].pid.is_some());
        let main = engine.heard[&1].pid.unwrap();
        engine.link.stop(1, Duration::from_mins(5));
        let begin = Instant::now();
        while Path::new(&format!("/proc/{main}")).exists() {
            assert!(begin.elapsed() < PATIENCE, "its main process outlives a TERM");
            engine.turn(Duration::from_millis(5));
        }
        if second {
            engine.link.kill(1);
        } else {
            engine.link.stop(1, Duration::from_millis(1));
        }
        engine.until("its end", |heard| heard[&1].over());
        let exited = engine.heard[&1].exited();
        assert_eq!((exited.ended_by, exited.signal), (Some(EndedBy::Stop), Some(15)));
        assert!(exited.leaked.iter().any(|shown| shown.ends_with(" sleep")), "{exited:?}");
    }
}

#[test]
fn an_order_after_the_main_process_is_gone_does_not_lengthen_anything() {
    let mut engine = Engine::start();
    engine.link.spawn(1, &sh("setsid sleep 334 & echo on")).unwrap();
    engine.said(1, "on");
    engine.link.stop(1, Duration::from_mins(5));
    engine.until("its end", |heard| heard[&1].over());
}

#[test]
fn what_is_no_regular_file_is_refused_as_stdin() {
    let mut engine = Engine::start();
    let fifo = engine.dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let link = engine.dir.path().join("link");
    std::os::unix::fs::symlink(&fifo, &link).unwrap();
    for path in [fifo.as_path(), link.as_path(), Path::new("/tmp"), Path::new("/dev/zero")] {
        let spawn = Spawn { stdin: Some(path.display().to_string()), timeout_ms: Some(50), ..program(&["/bin/cat"]) };
        let (cause, error) = engine.not_started(&spawn);
        assert!(cause == NotStartedCause::Stdin && error.contains(&path.display().to_string()), "{error}");
    }
    let spawn = Spawn { stdin: Some("/dev/null".to_owned()), ..program(&["/bin/cat"]) };
    assert_eq!(engine.run(1, &spawn).exited().code, Some(0));
}

#[test]
fn a_spawn_that_hangs_does_not_keep_a_supervisor() {
    let mut engine = Engine::start();
    let path = engine.dir.path().join("leased");
    let held = fs::File::create(&path).unwrap();
    // Whoever opens it waits for us to give it back, three quarters of a minute if we never do.
    if !lease(&held) {
        return;
    }
    engine.link.spawn(1, &sh("echo on; sleep 335")).unwrap();
    engine.said(1, "on");
    let spawn = Spawn { stdin: Some(path.display().to_string()), ..program(&["/bin/cat"]) };
    engine.link.spawn(2, &spawn).unwrap();
    let dir = engine.dir.path().to_owned();
    engine.link.kill(2);
    for _ in 0..5 {
        engine.turn(Duration::from_millis(50));
    }
    assert!(!engine.heard.contains_key(&2), "it hangs");
    let begin = Instant::now();
    let Engine { link, dir: keep, .. } = engine;
    // It leaves by itself; a link would kill it after three seconds.
    drop(link);
    let took = begin.elapsed();
    assert!(took < Duration::from_millis(2900), "{took:?}");
    assert_nothing_left(&dir, Instant::now());
    drop((keep, held));
}

#[expect(unsafe_code, reason = "leases have no safe wrapper")]
fn lease(file: &fs::File) -> bool {
    use std::os::fd::AsRawFd as _;
    // SAFETY: both calls only set properties of an open file.
    unsafe {
        libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) == 0
            // To be asked for it back must not end the test.
            && libc::fcntl(file.as_raw_fd(), libc::F_SETOWN, 0) == 0
    }
}

#[test]
fn a_stop_that_overtakes_the_start_still_holds() {
    let mut engine = Engine::start();
    for attempt in 0..20 {
        engine.link.spawn(attempt, &sh("sleep 1000")).unwrap();
        engine.link.kill(attempt);
    }
    engine.until("all ends", |heard| heard.values().filter(|heard| heard.over()).count() == 20);
    assert!(engine.heard.values().all(|heard| heard.exited().ended_by == Some(EndedBy::Kill)));
}

#[test]
fn what_a_task_leaves_is_ended_and_named() {
    let mut engine = Engine::start();
    let dir = engine.dir.path().to_owned();
    // Another attempt with a daemon of its own must not be touched.
    let other = sh("(setsid sleep 1010 &) & echo ready; read x < $0");
    let fifo = dir.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let other = Spawn { argv: [other.argv, vec![fifo.display().to_string()]].concat(), ..other };
    engine.link.spawn(1, &other).unwrap();
    engine.said(1, "ready");

    let heard = engine.run(2, &daemons(&dir, "exit 4"));
    assert_eq!(heard.exited().code, Some(4));
    let leaked = heard.exited().leaked.clone();
    for name in ["sh", "sleep"] {
        assert!(leaked.iter().any(|entry| entry.ends_with(&format!(" {name}"))), "{leaked:?}");
    }
    for entry in &leaked {
        let pid = entry.split_once(' ').unwrap().0;
        assert!(!Path::new("/proc").join(pid).exists(), "{entry} survived");
    }
    let left = marked(&dir);
    assert!(left.iter().any(|process| process.ends_with("sleep")), "the other attempt's daemon lives: {left:?}");
    fs::write(&fifo, "\n").unwrap();
    engine.until("the other's end", |heard| heard[&1].over());
    // The daemon that lost its environment names nobody, so it goes with the last attempt that is older than it.
    assert_eq!(engine.heard[&1].exited().leaked.len(), 2);
    assert!(below(engine.link.pid()).is_empty());

    let log = exits::read(&dir.join("here.log")).unwrap();
    assert_eq!(log.unreadable, 0);
    let exits = log.entries.iter().filter(|entry| matches!(entry, Entry::Exited(exit) if !exit.leaked.is_empty()));
    assert_eq!(exits.count(), 2);
    assert_eq!(log.entries.iter().filter(|entry| matches!(entry, Entry::Spawned { .. })).count(), 2);
}

#[test]
fn a_task_that_multiplies_while_it_is_swept_is_ended() {
    let mut engine = Engine::start();
    let dir = engine.dir.path().to_owned();
    let breed = "breed() { setsid sh -c \"$1\" sh \"$1\" $(($2-1)) >/dev/null 2>&1 & }
        [ $2 -gt 0 ] && { breed \"$1\" $2; breed \"$1\" $2; }; sleep 1000";
    let spawn = Spawn {
        timeout_ms: Some(20_000),
        ..program(&["/bin/sh", "-c", &format!("(sh -c '{breed}' sh '{breed}' 6 &); sleep 0.3; exit 0")])
    };
    assert_eq!(engine.run(1, &spawn).exited().code, Some(0));
    assert_nothing_else_than_the_supervisor(&dir);
}

fn assert_nothing_else_than_the_supervisor(dir: &Path) {
    let since = Instant::now();
    while marked(dir).len() > 1 {
        assert!(since.elapsed() < NOTHING_LEFT_WITHIN, "{:?}", marked(dir));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn goodbye_ends_all_and_hands_over_the_last_words() {
    let mut engine = Engine::start();
    let dir = engine.dir.path().to_owned();
    engine.link.spawn(1, &sh("trap 'echo bye; exit 7' TERM; echo on; while :; do sleep 0.02; done")).unwrap();
    engine.link.spawn(2, &daemons(&dir, "sleep 1000")).unwrap();
    engine.said(1, "on");
    engine.said(2, "ready");
    let mut ends = BTreeMap::new();
    let mut text = Vec::new();
    let mut on_frame = |frame: FromSupervisor<'_>| match frame {
        FromSupervisor::Exited { attempt, exited } => drop(ends.insert(attempt, exited)),
        FromSupervisor::Output { attempt: 1, bytes, .. } => text.extend_from_slice(bytes),
        _ => {}
    };
    engine.link.close(Duration::from_millis(500), &mut on_frame).unwrap();
    assert_nothing_left(&dir, Instant::now());
    assert!(text.ends_with(b"bye\n"), "{text:?}");
    assert_eq!((ends[&1].code, ends[&1].ended_by), (Some(7), Some(EndedBy::Shutdown)));
    assert_eq!((ends[&2].signal, ends[&2].ended_by), (Some(15), Some(EndedBy::Shutdown)));
}

/// What this process and the children of a dead one share: the sweeps act on a whole process, so each such test is a
/// process of its own, this test binary started again for one test.
fn in_a_process_of_its_own(test: &str) -> bool {
    if std::env::var_os("SUPERVISOR_TEST_ALONE").is_some() {
        return true;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("SUPERVISOR_TEST_ALONE", "1")
        .status()
        .unwrap();
    assert!(status.success());
    false
}

#[test]
fn a_killed_supervisor_leaves_nothing_after_a_sweep() {
    if !in_a_process_of_its_own("a_killed_supervisor_leaves_nothing_after_a_sweep") {
        return;
    }
    let mut engine = Engine::start();
    let dir = engine.dir.path().to_owned();
    let mut own = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
    engine.link.spawn(1, &daemons(&dir, "sleep 1000")).unwrap();
    engine.said(1, "ready");
    let since = Instant::now();
    rustix::process::kill_process(Pid::from_raw(engine.link.pid().cast_signed()).unwrap(), Signal::KILL).unwrap();
    while engine.turn(Duration::from_secs(1)) == Alive::Alive {}
    let swept = local::sweep(&[]);
    assert!(swept.clean && swept.ended.len() >= 6, "{swept:?}");
    assert_nothing_left(&dir, since);
    assert!(own.try_wait().unwrap().is_none(), "what the engine runs for itself is not touched");
    own.kill().unwrap();
    own.wait().unwrap();
}

/// An engine that is killed: this binary again, as a process that starts the daemons, says so and waits.
fn engine_to_kill(dir: &Path) -> (std::process::Child, u32) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["an_engine_that_only_waits", "--exact", "--nocapture"])
        .env("SUPERVISOR_TEST_ENGINE", dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    loop {
        if let Ok(pid) = fs::read_to_string(dir.join("supervisor.pid")) {
            return (child, pid.parse().unwrap());
        }
        assert!(begin.elapsed() < PATIENCE && child.try_wait().unwrap().is_none(), "the engine did not come up");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_engine_that_only_waits() {
    let Some(dir) = std::env::var_os("SUPERVISOR_TEST_ENGINE").map(PathBuf::from) else { return };
    let mut engine = Engine::start();
    engine.link = local::start(&options(&dir)).unwrap();
    let path = ("PATH".to_owned(), "/usr/bin:/bin".to_owned());
    engine.link.env(&Env { id: 1, vars: vec![path], host: Vec::new() }).unwrap();
    let mut daemons = daemons(&dir, "sleep 1000");
    // A process without the environment it was given, outside of every session of ours and with nobody left who saw
    // it become an orphan cannot be told from a stranger's.
    daemons.argv[2] = daemons.argv[2].replace("env -i", "env");
    engine.link.spawn(1, &daemons).unwrap();
    engine.said(1, "ready");
    fs::write(dir.join("pid"), engine.link.pid().to_string()).unwrap();
    fs::rename(dir.join("pid"), dir.join("supervisor.pid")).unwrap();
    loop {
        engine.turn(Duration::from_secs(1));
    }
}

#[test]
fn a_killed_engine_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut engine, _) = engine_to_kill(dir.path());
    assert!(marked(dir.path()).len() >= 5);
    let since = Instant::now();
    engine.kill().unwrap();
    engine.wait().unwrap();
    assert_nothing_left(dir.path(), since);
}

#[test]
fn when_both_are_killed_the_next_command_finds_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let (mut engine, supervisor) = engine_to_kill(dir.path());
    // The supervisor first held still, so that it cannot notice, and then ended after its engine.
    let supervisor = Pid::from_raw(supervisor.cast_signed()).unwrap();
    rustix::process::kill_process(supervisor, Signal::STOP).unwrap();
    engine.kill().unwrap();
    engine.wait().unwrap();
    rustix::process::kill_process(supervisor, Signal::KILL).unwrap();
    assert!(marked(dir.path()).len() >= 4);
    let since = Instant::now();
    let swept = local::sweep_state(dir.path(), &[dir.path().join("here.log")]);
    assert!(swept.clean && swept.ended.len() >= 4, "{swept:?}");
    assert_nothing_left(dir.path(), since);
}

#[test]
fn suspended_time_does_not_count() {
    let mut engine = Engine::start();
    let spawn = Spawn { timeout_ms: Some(3000), ..sh("echo on; sleep 0.5; echo off") };
    engine.link.spawn(1, &spawn).unwrap();
    engine.said(1, "on");
    engine.link.suspend();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(3500) {
        engine.turn(Duration::from_millis(100));
    }
    assert_eq!(engine.heard[&1].text(), "on\n", "it stands still");
    engine.link.resume();
    engine.until("its end", |heard| heard[&1].over());
    let exited = engine.heard[&1].exited();
    assert_eq!((exited.code, exited.ended_by), (Some(0), None));
    assert!(exited.wall_ms < 3000, "{exited:?}");
}

#[test]
fn a_supervisor_that_was_stopped_does_not_charge_the_task_for_it() {
    let mut engine = Engine::start();
    let spawn = Spawn { idle_timeout_ms: Some(2500), ..sh("echo on; sleep 4; echo off") };
    engine.link.spawn(1, &spawn).unwrap();
    engine.said(1, "on");
    let supervisor = Pid::from_raw(engine.link.pid().cast_signed()).unwrap();
    rustix::process::kill_process(supervisor, Signal::STOP).unwrap();
    std::thread::sleep(Duration::from_millis(3500));
    rustix::process::kill_process(supervisor, Signal::CONT).unwrap();
    engine.until("its end", |heard| heard[&1].over());
    assert_eq!(engine.heard[&1].exited().ended_by, None);
}

#[test]
fn signals_meant_for_a_terminal_do_not_reach_it() {
    let mut engine = Engine::start();
    assert_eq!(engine.run(1, &sh("exit 0")).exited().code, Some(0));
    let supervisor = Pid::from_raw(engine.link.pid().cast_signed()).unwrap();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::TSTP] {
        rustix::process::kill_process(supervisor, signal).unwrap();
    }
    assert_eq!(rustix::process::getsid(Some(supervisor)), Ok(supervisor), "it leads a session of its own");
    assert_eq!(engine.run(2, &sh("exit 5")).exited().code, Some(5));
}

#[test]
fn one_task_needs_one_thread() {
    let mut engine = Engine::start();
    assert_eq!(engine.run(1, &program(&["/bin/true"])).exited().code, Some(0));
    let threads = fs::read_dir(format!("/proc/{}/task", engine.link.pid())).unwrap().count();
    assert_eq!(threads, 2, "the loop and a spawner");
}

#[test]
fn a_thousand_short_ones_at_once() {
    let mut engine = Engine::start();
    for attempt in 0..1000 {
        engine.link.spawn(attempt, &program(&["/bin/echo", &attempt.to_string()])).unwrap();
    }
    engine.until("all ends", |heard| heard.values().filter(|heard| heard.over()).count() == 1000);
    for (attempt, heard) in &engine.heard {
        assert_eq!((heard.exited().code, heard.text()), (Some(0), format!("{attempt}\n").as_str()));
    }
}

#[test]
fn many_are_stopped_at_once() {
    let mut engine = Engine::start();
    let spawn = sh("(setsid sleep 1000 &) & trap 'exit 3' TERM; echo on; while :; do sleep 0.05; done");
    for attempt in 0..30 {
        engine.link.spawn(attempt, &spawn).unwrap();
    }
    for attempt in 0..30 {
        engine.said(attempt, "on");
    }
    for attempt in 0..30 {
        engine.link.stop(attempt, Duration::from_secs(30));
    }
    engine.until("all ends", |heard| heard.values().filter(|heard| heard.over()).count() == 30);
    assert!(engine.heard.values().all(|heard| heard.exited().ended_by == Some(EndedBy::Stop)));
    assert!(below(engine.link.pid()).is_empty());
}

#[test]
fn a_stranger_on_the_other_end_is_refused() {
    let talk = |bytes: &[u8]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fleet"))
            .arg("supervise")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Its input stays open, so it leaves for what it read and not because we do.
        let mut input = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), output.stdout, String::from_utf8(output.stderr).unwrap())
    };
    let mut later = Vec::new();
    let hello =
        Hello { version: 99, run: "r".into(), state_dir: "/".into(), exit_log: "/dev/null".into(), place: None };
    frame::put(&mut later, Kind::Hello, 0, &hello).unwrap();
    let (code, said, why) = talk(&later);
    assert!(code == Some(70) && why.contains("version 99"), "{why}");
    assert_eq!(frame::peek(&said).unwrap().unwrap().kind, Some(Kind::Hello), "it says which version it speaks");

    let mut rude = Vec::new();
    frame::put_bare(&mut rude, Kind::Resume, 0);
    for bytes in [rude, vec![0xff; 64], b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
        let (code, said, why) = talk(&bytes);
        assert!(code == Some(70) && said.is_empty() && why.starts_with("fleet supervisor: "), "{why}");
    }
}
