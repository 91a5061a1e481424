//! Who looks at a run while it is written: nobody waits, nobody fails, and nobody sees half of anything. And of many
//! runs that want one directory, one has it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{FLEET, Place, told};

const TASKS: usize = 150;
const READERS: usize = 50;
/// Far more than any command takes that waits for nobody, on a machine with fifty of them.
const LONGEST: Duration = Duration::from_mins(1);

#[test]
fn fifty_readers_never_wait_and_never_see_half_of_a_record() {
    let tasks: Vec<String> = (0..TASKS).map(|n| format!("[tasks.t{n}]\nsh = 'echo {n}; sleep 0.03'\n")).collect();
    let place = Place::with(&tasks.concat());
    let (over, looks, seen) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let mut run = place.command(FLEET).args(["run", "-o", "quiet", "-j", "4"]).spawn().expect("the program was built");
    while place.records().is_empty() {
        assert!(run.try_wait().expect("it is our child").is_none(), "it ended before it began");
    }
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            let (place, over, looks, seen) = (&place, &over, &looks, &seen);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    seen.fetch_max(look(place, reader), Ordering::Relaxed);
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        assert!(run.wait().expect("it is our child").success());
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(place.with_result("pass").len(), TASKS);
    assert!(looks.load(Ordering::Relaxed) >= READERS && seen.load(Ordering::Relaxed) > 0, "{looks:?} {seen:?}");
}

/// One look, each reader in its own way; how many results it saw.
fn look(place: &Place, reader: usize) -> usize {
    let begin = Instant::now();
    let name = format!("t{reader}");
    let output = match reader % 4 {
        0 => place.fleet(["status", "--json"]),
        1 => place.fleet(["receipts", "show", "latest"]),
        2 => place.fleet(["logs", &name]),
        _ => place.fleet(["journal", "check"]),
    };
    assert!(begin.elapsed() < LONGEST, "it waited for somebody");
    // A task that was not started yet has no log.
    let none = output.status.code() == Some(2) && told(&output).contains("was not started");
    assert!(output.status.success() || (reader % 4 == 2 && none), "{}", told(&output));
    let text = String::from_utf8(output.stdout).expect("it is text");
    match reader % 4 {
        0 => {
            let run: Value = serde_json::from_str(&text).expect("it is JSON");
            let tasks = run["tasks"].as_array().expect("a list");
            assert_eq!((tasks.len(), &run["torn"]), (TASKS, &Value::Null), "{text}");
            tasks.iter().filter(|task| task["receipt"]["result"] == "pass").count()
        }
        1 => serde_json::from_str::<Vec<Value>>(&text).expect("it is JSON").len(),
        2 => {
            assert!(text.is_empty() || text == format!("{reader}\n"), "{text}");
            0
        }
        _ => {
            assert!(text.contains("all whole"), "{text}");
            0
        }
    }
}

#[test]
fn of_many_runs_in_one_directory_one_has_it_and_the_others_name_it() {
    let place = Place::with("[tasks.a]\nsh = 'echo . >> ran; touch begun; while [ ! -e go ]; do sleep 0.01; done'\n");
    let mut runs: Vec<_> = (0..12)
        .map(|_| {
            let mut command = place.command(FLEET);
            command.args(["run", "-o", "quiet"]).stderr(std::process::Stdio::piped()).spawn().expect("it was built")
        })
        .collect();
    let begin = Instant::now();
    let mut refused = Vec::new();
    while runs.len() > 1 {
        assert!(begin.elapsed() < LONGEST, "more than one holds it");
        std::thread::sleep(Duration::from_millis(10));
        let mut left = Vec::new();
        for mut run in runs {
            let is_over = run.try_wait().expect("it is our child").is_some();
            if is_over { refused.push(run) } else { left.push(run) }
        }
        runs = left;
    }
    let owner = runs.pop().expect("one is left");
    for one in refused {
        let output = one.wait_with_output().expect("it is our child");
        assert_eq!(output.status.code(), Some(11), "{}", told(&output));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&format!(" of process {} holds ", owner.id())), "{said}");
    }
    place.write("go", "");
    assert!(owner.wait_with_output().expect("it is our child").status.success());
    assert_eq!(std::fs::read_to_string(place.path("ran")).expect("it ran"), ".\n");
}
