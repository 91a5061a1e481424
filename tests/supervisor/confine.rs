//! A held task behaves as any other, and holds nothing that it was not given.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fleet::supervisor::frame::{Confine, EndedBy, Env, Layer, NotStartedCause, Spawn, Streams};

use super::world::{Engine, NOTHING_LEFT_WITHIN, assert_nothing_left, below, daemons, lines, marked, program, sh};

/// The layers that this machine has. Where there is CI, all of them.
pub(super) fn layers() -> Vec<Layer> {
    let mut engine = Engine::start();
    let works = |layer: &Layer| {
        let trial = engine.run(9, &Spawn { confine: Some(Box::new(holding(*layer))), ..sh("exit 0") });
        let Some(why) = &trial.not_started else { return true };
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{layer:?} has to work here: {}", why.error);
        println!("not tested, for want of {layer:?}: {}", why.error);
        false
    };
    [Layer::Bubblewrap, Layer::Landlock].into_iter().filter(works).collect()
}

pub(super) fn holding(layer: Layer) -> Confine {
    Confine { read: Some(Vec::new()), layers: vec![layer], ..Confine::default() }
}

/// In a folder of its own, which it may write, with a private one.
pub(super) fn held(engine: &Engine, layer: Layer, spawn: Spawn) -> Spawn {
    let work = engine.dir.path().join("work");
    fs::create_dir_all(&work).unwrap();
    let text = |name: &str| engine.dir.path().join(name).display().to_string();
    let confine = Confine { write: vec![text("work")], private: Some(text("private")), ..holding(layer) };
    Spawn { cwd: text("work"), confine: Some(Box::new(confine)), ..spawn }
}

#[test]
fn exits_and_signals_are_exact() {
    for layer in layers() {
        let mut engine = Engine::start();
        for code in [0, 1, 42, 126, 127, 128, 137, 143, 255] {
            let spawn = held(&engine, layer, sh(&format!("exit {code}")));
            let exited = engine.run(1, &spawn).exited().clone();
            assert_eq!((exited.code, exited.signal, exited.ended_by), (Some(code), None, None), "{layer:?}");
            assert_eq!(exited.leaked, Vec::<String>::new());
        }
        for signal in [1, 2, 3, 6, 9, 13, 14, 15] {
            let spawn = held(&engine, layer, sh(&format!("kill -{signal} $$")));
            let exited = engine.run(1, &spawn).exited().clone();
            assert_eq!((exited.code, exited.signal), (None, Some(signal)), "{layer:?}");
        }
        let work = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        let spawn = held(&engine, layer, sh(work));
        let exited = engine.run(1, &spawn).exited().clone();
        let bare = engine.run(2, &sh(work)).exited().clone();
        assert!(exited.cpu_ms * 2 > bare.cpu_ms && exited.max_rss_bytes > 100_000, "{layer:?} {exited:?} {bare:?}");
        assert!(below(engine.link.pid()).is_empty());
    }
}

#[test]
fn a_held_task_says_by_what() {
    let both = ["seccomp", "no_capabilities", "no_new_privs", "rlimits", "private_home"];
    for layer in layers() {
        let mut engine = Engine::start();
        let spawn = held(&engine, layer, sh(""));
        let said = engine.run(1, &spawn).mechanisms.clone();
        let own: &[&str] = match layer {
            Layer::Bubblewrap => {
                &["bubblewrap", "user_namespace", "pid_namespace", "ipc_namespace", "network_namespace"]
            }
            Layer::Landlock => &["landlock"],
        };
        for name in own.iter().chain(&both) {
            assert!(said.iter().any(|said| said == name), "{layer:?} {name}: {said:?}");
        }
        let script = "grep -E '^(NoNewPrivs|Seccomp|CapEff|CapPrm|CapBnd|CapAmb):' /proc/self/status; ulimit -c";
        let text = engine
            .run(
                2,
                &held(
                    &engine,
                    layer,
                    sh(&format!("exec 3</proc/self/status; {}", script.replace("/proc/self/status", "/dev/fd/3"))),
                ),
            )
            .text()
            .to_owned();
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default();
        assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1", "2"), "{layer:?} {text}");
        for set in ["CapEff:", "CapPrm:", "CapAmb:"] {
            assert_eq!(u64::from_str_radix(field(set), 16), Ok(0), "{layer:?} {text}");
        }
        assert!(text.ends_with("\n0\n"), "no core file: {text}");
        assert!(engine.run(3, &sh("")).mechanisms.is_empty(), "nothing holds what did not ask");
    }
}

#[test]
fn its_environment_descriptors_and_folders_are_what_was_said() {
    for layer in layers() {
        let mut engine = Engine::start();
        engine
            .link
            .env(&Env { id: 2, vars: vec![("A".into(), "1".into()), ("B".into(), "ü \n".into())], host: Vec::new() })
            .unwrap();
        let private = engine.dir.path().join("private").display().to_string();
        let set = vec![
            ("A".into(), "2".into()),
            ("HOME".into(), format!("{private}/home")),
            ("LD_PRELOAD".into(), "/no/such.so".into()),
            ("TMPDIR".into(), format!("{private}/tmp")),
        ];
        let spawn = Spawn { env: 2, set, ..held(&engine, layer, program(&["/usr/bin/env", "-0"])) };
        let heard = engine.run(1, &Spawn { streams: Streams::Split, ..spawn.clone() });
        let mut vars: Vec<_> = heard.text().split_terminator('\0').map(str::to_owned).collect();
        vars.sort();
        let state = engine.dir.path().display().to_string();
        let want = [
            "A=2".to_owned(),
            "B=ü \n".to_owned(),
            "FLEET_ATTEMPT_ID=run/task.1/1".to_owned(),
            format!("FLEET_STATE_DIR={state}"),
            format!("HOME={private}/home"),
            "LD_PRELOAD=/no/such.so".to_owned(),
            format!("TMPDIR={private}/tmp"),
        ];
        assert_eq!(vars, want, "{layer:?}");
        let script = "cd; pwd; stat -c %a . ../tmp; echo x >$TMPDIR/y; echo x >z; cat; stat -c '%n' /proc/$$/fd/*";
        let spawn = Spawn {
            set: spawn.set.into_iter().filter(|(name, _)| name != "LD_PRELOAD").collect(),
            ..held(&engine, layer, sh(script))
        };
        let text = engine.run(2, &spawn).text().to_owned();
        assert!(text.starts_with(&format!("{private}/home\n700\n700\n")), "{layer:?} {text}");
        assert!(!fs::exists(&private).unwrap(), "the private folder ends with the attempt");
        let list = "opendir(my $d, '/proc/self/fd') or die $!; my $own = fileno($d) // ''; print join(' ', sort grep /\\d/, readdir $d)";
        let text = engine.run(3, &held(&engine, layer, program(&["/usr/bin/perl", "-e", list]))).text().to_owned();
        assert_eq!(text, "0 1 2 3", "{layer:?}: the three, and the list's own");
        let limits = program(&["/bin/grep", "-E", "^(SigBlk|SigIgn)", "/proc/self/status"]);
        let text = engine.run(4, &held(&engine, layer, limits)).text().to_owned();
        for line in text.lines() {
            let bits = u64::from_str_radix(line.split_once('\t').unwrap().1, 16).unwrap();
            assert_eq!(bits & !(3 << 31), 0, "{layer:?} {text}");
        }
    }
}

#[test]
fn streams_and_stdin_are_as_ever() {
    let script = "i=0; while [ $i -lt 100 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
    for layer in layers() {
        let mut engine = Engine::start();
        let merged: String = lines(100, |i| format!("out {i}\nerr {i}\n"));
        let spawn = held(&engine, layer, sh(script));
        assert_eq!(engine.run(1, &spawn).text(), merged, "{layer:?}");
        let heard = engine.run(2, &Spawn { streams: Streams::Split, ..spawn });
        assert_eq!(heard.text(), lines(100, |i| format!("out {i}\n")), "{layer:?}");
        assert_eq!(heard.err, lines(100, |i| format!("err {i}\n")).into_bytes(), "{layer:?}");
        let file = engine.dir.path().join("in");
        fs::write(&file, "x".repeat(3 << 20)).unwrap();
        let spawn = Spawn { stdin: Some(file.display().to_string()), ..held(&engine, layer, program(&["/bin/cat"])) };
        assert_eq!(engine.run(3, &spawn).exited().output_bytes, 3 << 20, "{layer:?}");
    }
}

#[test]
fn what_cannot_start_says_why_from_inside() {
    for layer in layers() {
        let mut engine = Engine::start();
        let dir = engine.dir.path().to_owned();
        let hidden = dir.join("hidden");
        fs::write(&hidden, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&hidden, fs::Permissions::from_mode(0o755)).unwrap();
        let spawn = held(&engine, layer, sh(""));
        fs::write(dir.join("work/garbage"), "garbage\n").unwrap();
        fs::set_permissions(dir.join("work/garbage"), fs::Permissions::from_mode(0o755)).unwrap();
        let with = |argv: &str| Spawn { argv: vec![argv.to_owned()], ..spawn.clone() };
        let garbage = dir.join("work/garbage").display().to_string();
        let cases = [
            (with("/no/such/program"), NotStartedCause::NotFound, "/no/such/program does not exist"),
            (with(&garbage), NotStartedCause::BadFormat, "neither"),
            (with("/usr"), NotStartedCause::NotExecutable, "is a directory"),
            (Spawn { cwd: "/no/such".into(), ..spawn.clone() }, NotStartedCause::Workdir, "/no/such"),
        ];
        for (spawn, cause, text) in cases {
            let (got, error) = engine.not_started(&spawn);
            assert!(got == cause && error.contains(text), "{layer:?} {cause:?} {text}: {got:?} {error}");
            assert!(!dir.join("private").exists(), "{layer:?}: nothing is left of it");
        }
        // One hides it, the other refuses it.
        let (got, error) = engine.not_started(&with(&hidden.display().to_string()));
        assert!(matches!(got, NotStartedCause::NotFound | NotStartedCause::NotExecutable), "{layer:?} {error}");
        let mut gone = spawn.clone();
        gone.confine.as_mut().unwrap().write.push("/no/such".to_owned());
        assert_eq!(engine.not_started(&gone).0, NotStartedCause::Request);
        assert!(below(engine.link.pid()).is_empty());
    }
}

#[test]
fn orders_reach_it() {
    let polite = "trap 'echo bye; exit 7' TERM; echo on; while :; do sleep 0.02; done";
    for layer in layers() {
        let mut engine = Engine::start();
        engine.link.spawn(1, &held(&engine, layer, sh(polite))).unwrap();
        engine.said(1, "on");
        engine.link.stop(1, Duration::from_secs(30));
        engine.until("its end", |heard| heard[&1].over());
        let heard = &engine.heard[&1];
        assert_eq!((heard.exited().ended_by, heard.exited().code), (Some(EndedBy::Stop), Some(7)), "{layer:?}");
        assert!(heard.text().ends_with("bye\n"), "{layer:?} {}", heard.text());

        let spawn = Spawn { timeout_ms: Some(100), ..held(&engine, layer, sh("echo hi; exec sleep 1000")) };
        let exited = engine.run(2, &spawn).exited().clone();
        assert_eq!((exited.ended_by, exited.signal), (Some(EndedBy::Timeout), Some(15)), "{layer:?}");
        let stubborn = "trap '' TERM; echo on; while :; do sleep 0.05; done";
        let spawn = Spawn { timeout_ms: Some(100), ..held(&engine, layer, sh(stubborn)) };
        let exited = engine.run(3, &spawn).exited().clone();
        assert_eq!((exited.ended_by, exited.signal), (Some(EndedBy::Timeout), Some(9)), "{layer:?}");
        engine.link.spawn(4, &held(&engine, layer, sh(stubborn))).unwrap();
        engine.said(4, "on");
        engine.link.kill(4);
        engine.until("its end", |heard| heard[&4].over());
        assert_eq!(engine.heard[&4].exited().signal, Some(9), "{layer:?}");
        let begin = Instant::now();
        while !below(engine.link.pid()).is_empty() {
            assert!(begin.elapsed() < NOTHING_LEFT_WITHIN, "{layer:?}");
        }
        assert!(!engine.dir.path().join("private").exists());
    }
}

#[test]
fn it_stands_still_when_told() {
    for layer in layers() {
        let mut engine = Engine::start();
        let script = "echo on; i=0; while [ $i -lt 50 ]; do sleep 0.01; i=$((i+1)); done; echo off";
        engine.link.spawn(1, &Spawn { timeout_ms: Some(20_000), ..held(&engine, layer, sh(script)) }).unwrap();
        engine.said(1, "on");
        engine.link.suspend();
        for _ in 0..15 {
            engine.turn(Duration::from_millis(100));
        }
        assert_eq!(engine.heard[&1].text(), "on\n", "{layer:?}");
        engine.link.resume();
        engine.until("its end", |heard| heard[&1].over());
        assert_eq!((engine.heard[&1].text(), engine.heard[&1].exited().code), ("on\noff\n", Some(0)), "{layer:?}");
    }
}

#[test]
fn what_it_leaves_is_ended_and_named() {
    for layer in layers() {
        let mut engine = Engine::start();
        let dir = engine.dir.path().to_owned();
        let spawn = held(&engine, layer, sh(""));
        let daemons = daemons(&dir.join("work"), "exit 4");
        let heard = engine.run(1, &Spawn { argv: daemons.argv, ..spawn.clone() });
        assert_eq!(heard.exited().code, Some(4), "{layer:?}");
        let leaked = heard.exited().leaked.clone();
        for name in ["sh", "sleep"] {
            assert!(leaked.iter().any(|entry| entry.ends_with(&format!(" {name}"))), "{layer:?} {leaked:?}");
        }
        let since = Instant::now();
        while marked(&dir).len() > 1 {
            assert!(since.elapsed() < NOTHING_LEFT_WITHIN, "{layer:?} {:?}", marked(&dir));
        }
        // What hears of an order with its attempt has the same grace.
        let script = "(trap 'sleep 0.3; echo last >words; exit' TERM; echo on; while :; do sleep 0.02; done) & wait";
        engine.link.spawn(2, &Spawn { argv: sh(script).argv, ..spawn }).unwrap();
        engine.said(2, "on");
        engine.link.stop(2, Duration::from_secs(20));
        engine.until("its end", |heard| heard[&2].over());
        assert_eq!(engine.heard[&2].exited().leaked, Vec::<String>::new(), "{layer:?}");
        assert_eq!(fs::read_to_string(dir.join("work/words")).unwrap_or_default(), "last\n", "{layer:?}");
    }
}

#[test]
fn nothing_outlives_its_supervisor() {
    for layer in layers() {
        let mut engine = Engine::start();
        let dir = engine.dir.path().to_owned();
        engine.link.spawn(1, &held(&engine, layer, sh("(setsid sleep 1000 &) & echo on; sleep 1001"))).unwrap();
        engine.said(1, "on");
        let Engine { link, dir: keep, .. } = engine;
        let since = Instant::now();
        link.close(Duration::ZERO, &mut |_| {}).unwrap();
        assert_nothing_left(&dir, since);
        assert!(!dir.join("private").exists(), "{layer:?}");
        drop(keep);
    }
}

#[test]
fn a_secret_is_seen_by_its_attempt_alone() {
    for layer in layers() {
        let mut engine = Engine::start();
        let secret = |name: &str| vec![("TOKEN_FILE".to_owned(), format!("canary-{name}"))];
        let spawn = held(&engine, layer, sh("cat $TOKEN_FILE; echo; echo $TOKEN_FILE; sleep 1000"));
        engine.link.spawn(1, &Spawn { secret_files: secret("one"), ..spawn.clone() }).unwrap();
        engine.said(1, "/TOKEN_FILE\n");
        let path = engine.heard[&1].text().lines().nth(1).unwrap().to_owned();
        let script = format!(
            "cat $TOKEN_FILE; cat {path}; ls {path} ${{TOKEN_FILE%/*/*}}/*; echo x >$TOKEN_FILE; cat $TOKEN_FILE"
        );
        let mut other = Spawn { secret_files: secret("two"), argv: sh(&script).argv, ..spawn };
        other.confine.as_mut().unwrap().private = None;
        let text = engine.run(2, &other).text().to_owned();
        assert_eq!((text.matches("canary-two").count(), text.contains("canary-one")), (2, false), "{layer:?} {text}");
        engine.link.kill(1);
        engine.until("its end", |heard| heard[&1].over());
        assert!(fs::metadata(&path).is_err());
    }
}

#[test]
fn many_at_once() {
    for layer in layers() {
        let mut engine = Engine::start();
        let confine = Confine { private: None, ..holding(layer) };
        for attempt in 0..40 {
            let spawn =
                Spawn { confine: Some(Box::new(confine.clone())), ..program(&["/bin/echo", &attempt.to_string()]) };
            engine.link.spawn(attempt, &spawn).unwrap();
        }
        engine.until("all ends", |heard| heard.values().filter(|heard| heard.over()).count() == 40);
        for (attempt, heard) in &engine.heard {
            assert_eq!((heard.exited().code, heard.text()), (Some(0), format!("{attempt}\n").as_str()), "{layer:?}");
        }
    }
}

#[test]
fn without_a_layer_that_works_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    // A supervisor that finds no bwrap, and later one that finds one which does nothing.
    for broken in [false, true] {
        if broken {
            fs::write(dir.path().join("bwrap"), "#!/bin/sh\necho 'bwrap: no namespaces here' >&2\nexit 1\n").unwrap();
            fs::set_permissions(dir.path().join("bwrap"), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut engine = Engine::start_with(&[("PATH", &dir.path().display().to_string())]);
        let spawn = Spawn { confine: Some(Box::new(holding(Layer::Bubblewrap))), ..sh("echo ran") };
        let (cause, error) = engine.not_started(&spawn);
        assert_eq!(cause, NotStartedCause::Confine);
        let why = if broken { "bwrap: no namespaces here" } else { "bwrap is not on PATH" };
        assert!(error.contains(why) && error.contains("apt-get install bubblewrap"), "{error}");
        assert_eq!(engine.run(1, &sh("exit 3")).exited().code, Some(3), "others are not held up");
        if layers().contains(&Layer::Landlock) {
            let layers = vec![Layer::Bubblewrap, Layer::Landlock];
            let both = Confine { layers, ..holding(Layer::Landlock) };
            let heard = engine.run(2, &Spawn { confine: Some(Box::new(both)), ..sh("exit 4") });
            assert_eq!(heard.exited().code, Some(4));
            assert!(heard.mechanisms.iter().all(|name| name != "bubblewrap"), "{:?}", heard.mechanisms);
        }
    }
    let mut engine = Engine::start();
    let weak = Confine { read: Some(Vec::new()), ..Confine::default() };
    let (cause, _) = engine.not_started(&Spawn { confine: Some(Box::new(weak)), ..sh("") });
    assert_eq!(cause, NotStartedCause::Request, "reading cannot be held by nothing");
}

/// A folder with the program, its loader and its libraries, as a machine gets that has none of them.
fn bundle() -> tempfile::TempDir {
    let exe = env!("CARGO_BIN_EXE_fleet");
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("ldd").arg(exe).output().expect("a C library brings ldd");
    for word in String::from_utf8(output.stdout).unwrap().split_whitespace().filter(|word| word.starts_with('/')) {
        let name = Path::new(word).file_name().unwrap().to_str().unwrap();
        fs::copy(word, dir.path().join(if name.starts_with("ld-") { "ld.so" } else { name })).unwrap();
    }
    fs::copy(exe, dir.path().join("fleet")).unwrap();
    dir
}

#[test]
fn a_program_with_a_loader_of_its_own_holds_tasks_too() {
    let bundle = bundle();
    let path = |name: &str| bundle.path().join(name).display().to_string();
    let words = [path("ld.so"), "--library-path".to_owned(), bundle.path().display().to_string(), path("fleet")];
    let list = words.clone().map(|word| format!("\"{word}\"")).join(",");
    let script = format!("FLEET_PROGRAM='[{list}]' exec {} \"$@\"", words.join(" "));
    for layer in layers() {
        let mut engine = Engine::start_by(&script);
        let spawn = held(&engine, layer, sh("echo in; exit 42"));
        let heard = engine.run(1, &spawn);
        assert_eq!((heard.text(), heard.exited().code), ("in\n", Some(42)), "{layer:?}");
    }
}
