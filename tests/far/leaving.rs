//! The end of `fleet` while something is being reached, and the end of what leads there.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::hosts::processes::{self, Process};
use super::{Far, fleet, program};

const LONG: Duration = Duration::from_mins(1);

#[track_caller]
fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Below a process: one with such an argument.
fn with_argument(above: &Child, argument: &str) -> Option<Process> {
    let below = processes::below(above.id());
    processes::with_argument(argument).into_iter().find(|one| below.contains(&one.pid))
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// A machine that takes every connection and says nothing.
fn silent(dir: &Path) -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let print = format!("SHA256:{}", "a".repeat(43));
    let host = format!(r#"{{ kind = "ssh", host = "127.0.0.1", port = {port}, host_key_fingerprint = "{print}" }}"#);
    let file = format!("version = 1\nname = \"x\"\n[workers.w]\nhost = {host}\n[tasks.t]\nrun = \"true\"\n");
    fs::write(dir.join("fleet.toml"), file).unwrap();
    listener
}

/// Starts it, waits until `ssh` is under way, sends a signal, and sees that nothing is left.
fn leaves_nothing(words: &[&str], signal: Signal, code: i32) {
    let (dir, temp) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let listener = silent(dir.path());
    let port = listener.local_addr().unwrap().port().to_string();
    let mut fleet = fleet(dir.path(), dir.path(), words);
    fleet.env("TMPDIR", temp.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut fleet = fleet.spawn().unwrap();
    let ssh = until("ssh is started", || with_argument(&fleet, "ControlMaster=yes").filter(|one| one.name == "ssh"));
    assert!(ssh.has_argument(&port));
    // No terminal is anybody's to ask there.
    let session = rustix::process::getsid(Pid::from_raw(ssh.pid.cast_signed())).unwrap();
    assert_eq!(session.as_raw_nonzero().get(), ssh.pid.cast_signed());
    let folder = || fs::read_dir(temp.path()).unwrap().flatten().map(|entry| entry.file_name()).collect::<Vec<_>>();
    assert!(folder().iter().any(|name| name.to_string_lossy().starts_with("fleet-ssh-")), "{:?}", folder());
    send(&fleet, signal);
    assert_eq!(fleet.wait().unwrap().code(), Some(code), "{words:?}");
    let left = processes::with_argument(&port);
    assert!(left.is_empty(), "{words:?}: {left:?}");
    assert!(folder().is_empty(), "{words:?}: {:?}", folder());
}

#[test]
fn a_run_that_is_ended_while_it_reaches_a_machine_leaves_nothing() {
    leaves_nothing(&["run"], Signal::INT, 130);
    leaves_nothing(&["run"], Signal::TERM, 143);
}

#[test]
fn so_does_a_check() {
    leaves_nothing(&["workers", "check"], Signal::INT, 130);
    leaves_nothing(&["workers", "check"], Signal::TERM, 143);
}

#[test]
fn and_so_does_cleaning() {
    leaves_nothing(&["workers", "clean"], Signal::INT, 130);
    leaves_nothing(&["workers", "clean"], Signal::TERM, 143);
}

#[test]
fn an_ssh_that_is_killed_is_named() {
    let Some(far) = Far::new("killed", "[tasks.t]\nsh = \"touch started; sleep 600\"\n") else { return };
    let mut run = far.fleet(&["run"]);
    run.stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = run.spawn().unwrap();
    until("the task runs", || {
        let attempts = walkdir::WalkDir::new(far.there().join("runs")).into_iter().flatten();
        { attempts }.find(|entry| entry.file_name() == "started")
    });
    with_argument(&run, "ControlMaster=yes").expect("ssh leads there").kill();
    let output = run.wait_with_output().unwrap();
    assert!(super::shown(&output).contains("`ssh` was ended by signal 9"), "{}", super::shown(&output));
}

/// A fleet of one container, and an engine that does as this script says.
fn engine(script: &str) -> (TempDir, TempDir) {
    let (dir, bin) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let host = r#"{ kind = "docker", image = "some:tag" }"#;
    let file = format!("version = 1\nname = \"x\"\n[workers.w]\nhost = {host}\n[tasks.t]\nrun = \"true\"\n");
    fs::write(dir.path().join("fleet.toml"), file).unwrap();
    program(bin.path(), "docker", script);
    (dir, bin)
}

/// Ends `fleet` when the engine hangs, and sees that the engine's program is gone as well.
fn engine_hangs((dir, bin): &(TempDir, TempDir), words: &[&str]) -> Option<i32> {
    let hangs = format!("{}/docker", bin.path().display());
    let mut command: Command = fleet(dir.path(), bin.path(), words);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut fleet = command.spawn().unwrap();
    until("the engine hangs", || bin.path().join("hangs").exists().then_some(()));
    send(&fleet, Signal::INT);
    let status = fleet.wait().unwrap();
    let of_engine = || processes::with_argument(&hangs);
    until("the engine's program ends", || of_engine().is_empty().then_some(()));
    status.code()
}

#[test]
fn an_engine_that_says_nothing_does_not_outlive_us() {
    let hang = "touch \"$(dirname \"$0\")/hangs\"; while :; do sleep 0.1; done";
    // At once, when nobody listens to signals yet.
    engine_hangs(&engine(hang), &["run"]);
    engine_hangs(&engine(hang), &["plan"]);
    // And when an image is there, and its container is being made.
    let later = format!("case \"$1\" in image) echo sha256:1;; *) {hang};; esac");
    assert_eq!(engine_hangs(&engine(&later), &["run"]), Some(130));
    assert_eq!(engine_hangs(&engine(&later), &["workers", "check"]), Some(130));
    assert_eq!(engine_hangs(&engine(hang), &["workers", "clean"]), Some(130));
}
