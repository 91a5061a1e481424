//! What the folder of an attempt may take.

use fleet::supervisor::frame::{Collect, Confine, EndedBy, Exited, Spawn, Staged};

use super::confine::{holding, layers};
use super::world::{Engine, Heard, sh};

const MIB: u64 = 1 << 20;
const MAX: u64 = 8 * MIB;

/// In a copy, with an output that is looked for.
fn copied(script: &str) -> Spawn {
    let collect = Collect { outputs: vec!["out".to_owned()], files: Vec::new() };
    let staged = Staged { scratch: true, collect: Some(collect), discard: false };
    Spawn { cwd: String::new(), staged: Some(staged), ..sh(script) }
}

fn run<'e>(engine: &'e mut Engine, attempt: u32, spawn: &Spawn) -> &'e Heard {
    engine.link.stage(attempt, &[]);
    engine.run(attempt, spawn)
}

fn size(exited: &Exited) -> Option<u64> {
    match exited.ended_by {
        Some(EndedBy::Size { bytes }) => Some(bytes),
        _ => None,
    }
}

#[test]
fn an_attempt_whose_folder_outgrows_its_bound_is_ended_at_once() {
    let mut engine = Engine::start_bounded(MAX);
    let fill = |to: &str| {
        copied(&format!(
            "trap 'echo asked' TERM; echo > out; head -c {} /dev/zero > {to}/big; while :; do sleep 1; done",
            2 * MAX
        ))
    };
    for (attempt, to) in [(1, "."), (2, "$FLEET_ATTEMPT_DIR")] {
        let heard = run(&mut engine, attempt, &fill(to));
        let exited = heard.exited();
        assert!(size(exited).is_some_and(|bytes| (MAX..3 * MAX).contains(&bytes)), "{exited:?}");
        assert!(exited.signal == Some(9) && !heard.text().contains("asked"), "{to}: no grace to fill more in");
        assert!(heard.made.is_empty(), "nothing of it is brought back");
    }
    // The folder of a held one's own is in its folder as well.
    for (attempt, layer) in (3..).zip(layers()) {
        for (n, to) in [(0, "$HOME"), (10, "$TMPDIR")] {
            let confine = Confine {
                write: vec!["ws".to_owned(), "scratch".to_owned()],
                private: Some("private".to_owned()),
                ..holding(layer)
            };
            let spawn = Spawn { confine: Some(Box::new(confine)), ..fill(to) };
            let heard = run(&mut engine, attempt + n, &spawn);
            assert!(size(heard.exited()).is_some_and(|bytes| bytes > MAX), "{layer:?} {to} {heard:?}");
        }
    }
}

#[test]
fn what_is_too_much_at_the_end_is_not_brought_back() {
    let mut engine = Engine::start_bounded(MAX);
    let fill = copied(&format!("echo > out; head -c {} /dev/zero > big", 2 * MAX));
    let heard = run(&mut engine, 1, &fill);
    assert!(size(heard.exited()).is_some_and(|bytes| bytes > MAX) && heard.made.is_empty(), "{heard:?}");
    // A hole takes nothing.
    let sparse = copied("echo > out; dd if=/dev/zero of=big bs=1 count=1 seek=1G");
    let heard = run(&mut engine, 2, &sparse);
    assert_eq!((size(heard.exited()), heard.exited().code), (None, Some(0)), "{heard:?}");
    assert_eq!(heard.made, ["out"]);
}

#[test]
fn an_attempt_within_its_bound_is_left_alone() {
    let mut engine = Engine::start_bounded(MAX);
    // Over two looks and more, whatever comes and goes in it.
    let busy = "i=0; while [ $i -lt 30 ]; do mkdir -p a/b/c; head -c 1000000 /dev/zero > a/b/c/x; mv a/b/c c; rm -r a c; \
        sleep 0.1; i=$((i+1)); done; echo > out";
    let heard = run(&mut engine, 1, &copied(busy));
    assert_eq!((heard.exited().ended_by, heard.exited().code), (None, Some(0)), "{heard:?}");
    assert_eq!(heard.made, ["out"]);
    let mut unbounded = Engine::start_bounded(0);
    let heard = run(&mut unbounded, 1, &copied("echo > out; head -c 16777216 /dev/zero > big; sleep 1.5"));
    assert_eq!((heard.exited().ended_by, heard.made.len()), (None, 1));
}
