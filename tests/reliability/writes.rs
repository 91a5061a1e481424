//! The disk fails at the nth call, for all n, in the engine, in its threads, in the supervisor and in the tasks alike.
//! The run may end as it must, but it never passes falsely, never panics, and what it has recorded can be read.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::support::{FLEET, Place, child_of, is_traced, told, until};

/// Files that are read, kept, and made of each other, so that every kind of write happens.
const TASKS: &str = r#"
    [workers.w]
    host = "local"
    slots = 2
    [tasks.make]
    inputs = ["in"]
    outputs = ["out"]
    artifacts = [{ path = "out", kind = "file" }]
    sh = "echo made; cp in out"
    [tasks.use]
    needs = ["make"]
    sh = "echo used; cat out > used"
    [tasks.alone]
    sh = "echo alone > alone; echo said"
"#;

fn place() -> Place {
    let place = Place::with(TASKS);
    place.write("in", "what is made of it\n");
    place
}

/// `strace`, which makes calls fail; `None` where there is none, which only a machine of CI must have.
fn strace(place: &Place) -> Option<Command> {
    match place.command("strace").arg("-V").output() {
        Ok(_) => {}
        Err(error) if std::env::var_os("CI").is_none_or(|ci| ci != "true") => {
            eprintln!("without strace no call can be made to fail: {error}");
            return None;
        }
        Err(error) => panic!("strace: {error}"),
    }
    let mut command = place.command("strace");
    command.args(["-f", "-qq", "-o", "/dev/null"]);
    Some(command)
}

/// A run in which calls fail.
fn traced(place: &Place, calls: &str, inject: &str) -> Option<Output> {
    let mut command = strace(place)?;
    command.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{inject}")]);
    Some(command.args([FLEET, "run", "--no-progress"]).output().expect("it was there"))
}

/// What must hold however the run ended.
fn assert_honest(place: &Place, ended: &Output, what: &str) {
    let told = format!("{what}: {}", told(ended));
    assert!(!told.contains("internal error") && !told.contains("panicked"), "{told}");
    if told.contains("error while loading shared libraries") {
        // It was not fleet that began.
        return;
    }
    let code = ended.status.code().unwrap_or_else(|| panic!("ended by a signal: {told}"));
    assert!([0, 1, 2, 3, 9, 74].contains(&code), "{told}");
    if code == 0 {
        let mut passed = place.with_result("pass");
        passed.sort_unstable();
        assert_eq!(passed, ["alone", "make", "use"], "a false pass: {told}");
        let last = place.records().pop().expect("it has records");
        assert_eq!((&last["run"]["status"], &last["run"]["exit_code"]), (&"completed".into(), &0.into()), "{told}");
    }
    // Whatever is on record as made is there.
    for (task, file) in [("make", "out"), ("use", "used")] {
        if place.with_result("pass").iter().any(|passed| passed == task) {
            assert_eq!(fs::read_to_string(place.path(file)).ok().as_deref(), Some("what is made of it\n"), "{told}");
        }
    }
    // It can be read, and the next run is not led astray.
    if place.runs().next().is_some() {
        let checked = place.fleet(["journal", "check"]);
        let nothing = self::told(&checked).contains("it ended before it began");
        assert_eq!(checked.status.code(), Some(if nothing { 2 } else { 0 }), "{told}\n{}", self::told(&checked));
    }
    for file in ["out", "used", "alone"] {
        let _ = fs::remove_file(place.path(file));
    }
    let again = place.fleet(["run"]);
    assert_eq!(again.status.code(), Some(0), "the next run, after {told}\n{}", self::told(&again));
    assert_eq!(fs::read_to_string(place.path("used")).ok().as_deref(), Some("what is made of it\n"), "{told}");
}

/// Tries the nth call of each process and thread, from the first to the one that nobody makes any more.
fn each(calls: &str, error: &str, most: usize) {
    for n in 1..=most {
        for ever in ["", "+"] {
            let place = place();
            let inject = format!("error={error}:when={n}{ever}");
            let Some(ended) = traced(&place, calls, &inject) else { return };
            assert_honest(&place, &ended, &format!("{calls} {inject}"));
        }
    }
}

#[test]
fn a_full_disk_at_any_write() {
    each("write,writev,pwrite64", "ENOSPC", 24);
}

#[test]
fn a_broken_disk_at_any_write() {
    each("write,writev,pwrite64", "EIO", 24);
}

#[test]
fn no_room_for_any_name() {
    each("mkdir,mkdirat,rename,renameat,renameat2,link,linkat", "EDQUOT", 8);
}

#[test]
fn nothing_can_be_opened_any_more() {
    each("openat", "ENOSPC", 40);
}

#[test]
fn any_sync_or_cut_fails() {
    each("fsync,fdatasync,ftruncate,fchmod", "EIO", 8);
}

/// The journal, a log and the exit log, from the moment on that their names are known: each is 74, and said.
#[test]
fn what_must_last_and_cannot_be_written_is_74() {
    for file in ["journal.jsonl", "logs/later.1.log", "exits/local.log"] {
        for error in ["ENOSPC", "EDQUOT", "EIO"] {
            let place = Place::with(
                "[tasks.first]\nsh = 'touch begun; while [ ! -e go ]; do sleep 0.01; done'\n\
                 [tasks.later]\nneeds = ['first']\nrun = 'echo said'\n[tasks.last]\nneeds = ['later']\nrun = 'true'\n",
            );
            let Some(ended) = hurt(&place, file, error) else { return };
            let told = format!("{file} {error}: {}", told(&ended));
            assert_eq!(ended.status.code(), Some(74), "{told}");
            assert!(told.contains("cannot be written: ") && told.contains("(os error "), "{told}");
            assert!(!place.with_result("pass").contains(&"last".to_owned()), "{told}");
            assert_eq!(place.fleet(["journal", "check"]).status.code(), Some(0), "{told}");
        }
    }
}

/// Makes every write to one file of a run fail from the middle of the run on: the name of its folder is not known before.
fn hurt(place: &Place, file: &str, error: &str) -> Option<Output> {
    let mut strace = strace(place)?;
    let mut command = place.command(FLEET);
    command.args(["run", "--no-progress"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = command.spawn().expect("the program was built");
    until("the task runs", || place.path("begun").exists());
    let all = [run.id(), child_of(run.id())];
    strace
        .args(["-e", "trace=write", "-e", &format!("inject=write:error={error}"), "-P"])
        .arg(place.run_dir().join(file));
    strace.args(all.iter().flat_map(|pid| ["-p".to_owned(), pid.to_string()]));
    let mut strace = strace.spawn().expect("it was there");
    until("both are traced", || all.into_iter().all(is_traced));
    place.write("go", "");
    let ended = run.wait_with_output().expect("it is our child");
    let _ = strace.wait();
    Some(ended)
}

/// Files may not grow: writes are cut short, then refused, with a signal on top.
#[test]
fn files_that_may_not_grow() {
    for blocks in 0..=8 {
        let place = place();
        let line = format!("ulimit -f {blocks}; exec {FLEET} run --no-progress");
        let ended = place.command("sh").args(["-c", &line]).output().expect("there is a shell");
        assert_honest(&place, &ended, &format!("at most {blocks} blocks"));
        assert!(blocks > 0 || ended.status.code() == Some(74), "{}", told(&ended));
    }
}

/// A file system of so many pages.
#[test]
fn a_disk_that_is_full_after_a_few_pages() {
    let enter = ["--user", "--map-root-user", "--mount"];
    let place = place();
    let allowed = place.command("unshare").args(enter).args(["mount", "-t", "tmpfs", "none", "/mnt"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("this machine lets us mount nothing, so no disk is small");
        return;
    }
    let mut codes = Vec::new();
    for pages in (4..40).step_by(3) {
        let place = self::place();
        let state = place.path(".fleet");
        fs::create_dir(&state).expect("the folder is ours");
        let aside = place.path("aside");
        // What was written there is gone with the namespace, so it is copied out.
        let line = format!(
            "mount -t tmpfs -o size={bytes},nr_inodes=1k none {state} && {{ {FLEET} run --no-progress; code=$?; \
             cp -r {state} {aside}; exit $code; }}",
            bytes = pages * 4096,
            state = state.display(),
            aside = aside.display(),
        );
        let ended = place.command("unshare").args(enter).args(["sh", "-c", &line]).output().expect("it was there");
        fs::remove_dir(&state).expect("nothing was written through");
        if Path::new(&aside).exists() {
            fs::rename(&aside, &state).expect("the folder is ours");
        }
        assert_honest(&place, &ended, &format!("{pages} pages"));
        codes.push(ended.status.code().unwrap_or_default());
    }
    assert!(codes.contains(&74) && codes.ends_with(&[0]), "{codes:?}");
}
