//! Secrets as private files, from their `Spawn` to the attempt's end.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fleet::host::link::Alive;
use fleet::host::local;
use fleet::supervisor::frame::{NotStartedCause, Spawn};
use rustix::process::{Pid, Signal};

use super::in_a_process_of_its_own;
use super::world::{Engine, PATIENCE, sh};

fn with_secret(script: &str) -> Spawn {
    Spawn { secret_files: vec![("TOKEN_FILE".to_owned(), "canary-value".to_owned())], ..sh(script) }
}

/// Where the attempt said that its file is.
fn path_said(engine: &mut Engine, attempt: u32) -> PathBuf {
    engine.until("the path", |heard| heard.get(&attempt).is_some_and(|heard| heard.out.ends_with(b"\n")));
    PathBuf::from(engine.heard[&attempt].text().lines().next().unwrap())
}

#[test]
fn a_secret_is_a_private_file_until_its_attempt_has_ended() {
    let mut engine = Engine::start();
    let script = "echo $TOKEN_FILE; cat $TOKEN_FILE; stat -c ' %a' $TOKEN_FILE ${TOKEN_FILE%/*}; env";
    let heard = engine.run(1, &with_secret(script));
    let mut lines = heard.text().lines();
    let path = lines.next().unwrap().to_owned();
    assert_eq!((lines.next(), lines.next()), (Some("canary-value 600"), Some(" 700")));
    assert_eq!(heard.text().matches("canary-value").count(), 1, "it is in no variable");
    assert!(!Path::new(&path).parent().unwrap().exists(), "it ends with its attempt");

    let missing = Spawn { cwd: "/no/such".to_owned(), ..with_secret("") };
    assert_eq!(engine.not_started(&missing).0, NotStartedCause::Workdir);
    let root = Path::new(&path).ancestors().nth(2).unwrap().to_owned();
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "one that did not start leaves none either");

    engine.link.spawn(2, &with_secret("echo $TOKEN_FILE; sleep 1000")).unwrap();
    let path = path_said(&mut engine, 2);
    engine.link.kill(2);
    engine.until("its end", |heard| heard[&2].over());
    assert!(!path.exists());
    let Engine { link, .. } = engine;
    link.close(Duration::ZERO, &mut |_| {}).unwrap();
    assert!(!root.exists(), "nothing is left when the supervisor leaves");
}

#[test]
fn a_name_that_is_no_variable_is_refused() {
    let mut engine = Engine::start();
    let spawn = Spawn { secret_files: vec![("../x".to_owned(), "canary-value".to_owned())], ..sh("") };
    let (_, error) = engine.not_started(&spawn);
    assert!(error.contains("`../x`") && !error.contains("canary"), "{error}");
}

#[test]
fn what_a_killed_supervisor_left_goes_with_the_next_start() {
    if !in_a_process_of_its_own("secrets::what_a_killed_supervisor_left_goes_with_the_next_start") {
        return;
    }
    // A place where no other test's supervisors look.
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let runtime = memory.path().join("run");
    fs::DirBuilder::new().mode(0o700).create(&runtime).unwrap();
    let start = || Engine::start_with(&[("XDG_RUNTIME_DIR", runtime.to_str().unwrap())]);
    let mut engine = start();
    engine.link.spawn(1, &with_secret("echo $TOKEN_FILE; sleep 1000")).unwrap();
    let path = path_said(&mut engine, 1);
    let mut other = start();
    // It has looked around when it has done something.
    assert_eq!(other.run(1, &sh("exit 0")).exited().code, Some(0));
    assert!(path.starts_with(&runtime));
    let supervisor = Pid::from_raw(engine.link.pid().cast_signed()).unwrap();
    rustix::process::kill_process(supervisor, Signal::KILL).unwrap();
    while engine.turn(Duration::from_secs(1)) == Alive::Alive {}
    assert!(local::sweep(&[other.link.pid()]).clean);
    drop(engine.link);
    assert!(path.exists(), "a supervisor that was there before does not touch it");
    let _next = start();
    let begin = Instant::now();
    while path.exists() {
        assert!(begin.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!path.ancestors().nth(2).unwrap().exists());
}
