//! A supervisor that has a guard, as on a host where the engine is not.

use std::fs;

use fleet::supervisor::frame::Streams;

use crate::world::{Engine, sh};

/// Begins a guard, as nobody where we are root: root sees everything.
fn guard() -> String {
    let fleet = env!("CARGO_BIN_EXE_fleet");
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    format!("if [ $(id -u) = 0 ]; then exec {nobody} {fleet} guard; fi; exec {fleet} guard")
}

/// Whether nobody may execute our program; a checkout in a private folder cannot be tried as root.
fn can_be_tried() -> bool {
    let words = ["--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_fleet"), "--version"];
    let is_root = rustix::process::geteuid().is_root();
    !is_root || std::process::Command::new("setpriv").args(words).output().is_ok_and(|ended| ended.status.success())
}

#[test]
fn a_task_cannot_speak_in_its_supervisors_name() {
    if !can_be_tried() {
        return;
    }
    let mut engine = Engine::start_guarded(&guard(), 0);
    fs::write(engine.dir.path().join("input"), "what it reads").unwrap();
    let look = "cat; ls -l /proc/$PPID/fd/1 && echo supervisor; \
        guard=$(awk '/^PPid/ { print $2 }' /proc/$PPID/status); ls -l /proc/$guard/fd/1 && echo guard; \
        (: > /proc/$PPID/fd/1) && echo written; ls -l /proc/$$/fd/1 > /dev/null && echo itself";
    let mut spawn = sh(look);
    // What the supervisor opens by way of its own descriptors stays open to it.
    spawn.stdin = Some(engine.dir.path().join("input").display().to_string());
    spawn.streams = Streams::Split;
    let heard = engine.run(1, &spawn);
    assert_eq!(heard.text(), "what it readsitself\n", "{heard:?}");
}
