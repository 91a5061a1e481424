//! Hosts that are not as they should be.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::behaviour::{Behaviour, Host, On, Tried, alone, task};
use crate::column::Column;
use crate::hosts::{or_left_out, processes};
use crate::seen::holds;
use crate::stage::Stage;

const OWN_CLOCK: &[(On, &str)] = &[
    (On::Host(Host::Local), "it is the caller's machine"),
    (On::Host(Host::Docker), "a container has the clocks of its machine"),
    (On::Host(Host::Podman), "a container has the clocks of its machine"),
];

const NO_SMALL_DISK: &[(On, &str)] = &[
    (On::Host(Host::Local), "the state directory would be on the same disk, which is exit code 74"),
    (On::Host(Host::Docker), "its disk is that of its machine"),
    (On::Host(Host::Podman), "its disk is that of its machine"),
];

const HERE: &[(On, &str)] = &[(On::Host(Host::Local), "this machine is always there")];

const NO_KEY: &[(On, &str)] = &[
    (On::Host(Host::Local), "nothing is between the caller and this machine"),
    (On::Host(Host::Docker), "the socket of the engine is on this machine"),
    (On::Host(Host::Podman), "the engine is a program of this machine"),
];

const LOST: &str = "fail/transport: lost: ";

/// Goes on until somebody ends it.
const STAYS: &str = "[tasks.a]\nsh = 'echo begun; while :; do sleep 0.02 || :; done # @mark@'\n";

pub(super) const ROWS: &[Behaviour] = &[
    task("a host with another clock", "[tasks.clock]\nsh = 'cut -d. -f1 /proc/uptime'\n", |seen| {
        let task = seen.task("clock")?.is("pass")?;
        let seconds = |text: &str| text.split('.').next().and_then(|whole| whole.trim().parse::<u64>().ok());
        let ours = std::fs::read_to_string("/proc/uptime").ok().and_then(|text| seconds(&text)).unwrap_or_default();
        let theirs = seconds(&String::from_utf8_lossy(&task.printed()?)).unwrap_or_default();
        // A plain user has no such machine, and what is left is that nothing went wrong.
        let ahead = theirs > ours + 50_000 || !rustix::process::geteuid().is_root();
        holds(&format!("{theirs} and {ours} seconds are no two clocks"), ahead)?;
        let took = task.number("/duration_ms")?;
        holds(&format!("it took {took} ms"), took < 60_000).map(|()| task)
    })
    .not_on(OWN_CLOCK),
    alone("inputs that its disk cannot take", |column| {
        let tasks = "[tasks.a]\nrun = 'wc -c big'\ninputs = ['big']\n";
        let Some(Small { stage, _alone }) = on_a_small_disk(column, tasks)? else { return Ok(()) };
        let seen = stage.file("big", noise(8 << 20)).run(&["run", "a"]);
        seen.exits(9)?;
        let task =
            seen.task("a")?.ends_like("fail/transport: could not be started: `big` could not be staged: ", "")?;
        let cause = task.text("/cause")?;
        holds(&format!("it does not say so: {cause}"), cause.contains("No space left on device"))
    })
    .not_on(NO_SMALL_DISK),
    alone("a task that fills its disk", |column| {
        let tasks = "[tasks.a]\nsh = 'head -c 8388608 /dev/zero > big'\n\
                     [tasks.b]\nsh = 'head -c 3000000 /dev/zero > big; wc -c < big'\nneeds = ['a']\nalways = true\n";
        let Some(Small { stage, _alone }) = on_a_small_disk(column, tasks)? else { return Ok(()) };
        let seen = stage.run(&["run", "--keep-going", "a", "b"]);
        seen.exits(1)?;
        seen.task("a")?.is("fail/task: exit code 1")?;
        // What it wrote is gone with it.
        seen.task("b")?.passes_with("3000000\n").map(drop)
    })
    .not_on(NO_SMALL_DISK),
    alone("what a full disk keeps gives way", |column| {
        let tasks = "[tasks.a]\nrun = 'wc -c big'\ninputs = ['big']\n";
        let Some(Small { stage, _alone }) = on_a_small_disk(column, tasks)? else { return Ok(()) };
        // Each is there twice while its task runs, and once afterwards.
        let mut bytes = noise(1_600_000);
        let stage = stage.file("big", bytes.clone());
        stage.run(&["run", "a"]).exits(0)?;
        bytes.reverse();
        let stage = stage.file("big", bytes);
        let seen = stage.run(&["run", "a"]);
        seen.exits(0)?;
        seen.task("a")?.passes_with("1600000 big\n").map(drop)
    })
    .not_on(NO_SMALL_DISK),
    alone("a host that is not there", |column| {
        let stage = Stage::with_workers(column, &column.nobody(), "[tasks.a]\nrun = 'true'\n");
        let begin = Instant::now();
        let seen = stage.run(&["run"]);
        seen.exits(9)?;
        holds("it took too long", begin.elapsed() < Duration::from_secs(30))?;
        seen.task("a")?.ends_like("fail/transport: ", "").map(drop)
    })
    .not_on(HERE),
    alone("a host with another key", |column| {
        let Some((workers, expected, offered)) = column.wrong_key() else { return Err("it has no key".to_owned()) };
        let stage = Stage::with_workers(column, &workers, "[tasks.a]\nrun = 'touch ran'\n");
        let seen = stage.run(&["run"]);
        seen.exits(9)?;
        let cause = seen.task("a")?.text("/cause")?;
        for key in [expected, offered] {
            holds(&format!("`{key}` is not in `{cause}`"), cause.contains(&key))?;
        }
        Ok(())
    })
    .not_on(NO_KEY),
    alone("its supervisor is killed", |column| {
        lost(column, LOST, |task, _| {
            let mut above = std::iter::successors(Some(task), |pid| processes::parent(*pid));
            above
                .find(|pid| processes::with_argument("supervise").iter().any(|one| one.pid == *pid))
                .into_iter()
                .collect()
        })
    }),
    alone("what leads to it is killed", |column| {
        lost(column, LOST, |task, engine| processes::below(engine).into_iter().filter(|pid| *pid != task).collect())
    }),
];

/// Kills some while a task runs: its result is lost, and so is the task.
pub(super) fn lost(column: &Column, how: &str, whom: impl Fn(u32, u32) -> Vec<u32>) -> Tried {
    let stage = Stage::new(column, STAYS);
    let mut run = stage.start(&["run"]);
    run.hears("a", "begun")?;
    // What a shell has just forked and not yet replaced has its arguments as well.
    let marked: Vec<u32> = processes::mentioning(&stage.mark).into_iter().map(|process| process.pid).collect();
    let under = |pid: &u32| processes::parent(*pid).is_some_and(|parent| marked.contains(&parent));
    let task = marked.iter().find(|pid| !under(pid)).ok_or("the task is not there")?;
    let victims = whom(*task, run.pid());
    holds("there is nobody to kill", !victims.is_empty())?;
    victims.into_iter().for_each(processes::kill);
    let begin = Instant::now();
    let seen = run.ends();
    seen.exits(9)?;
    holds("it took too long", begin.elapsed() < Duration::from_secs(40))?;
    seen.task("a")?.ends_like(how, "")?;
    while !processes::mentioning(&stage.mark).is_empty() {
        holds("the task still runs", begin.elapsed() < Duration::from_secs(40))?;
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The disk is one for all columns.
struct Small {
    stage: Stage,
    _alone: MutexGuard<'static, ()>,
}

/// On a machine that has been used before, and has 4 MiB left.
fn on_a_small_disk(column: &Column, tasks: &str) -> Result<Option<Small>, String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // One who panicked with it has left nothing in disorder.
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((workers, machine)) = or_left_out(column.small()) else { return Ok(None) };
    let stage = Stage::with_workers(column, &workers, &format!("{tasks}[tasks.first]\nrun = 'true'\n"));
    stage.run(&["run", "first"]).exits(0)?;
    machine.tight();
    Ok(Some(Small { stage, _alone: alone }))
}

/// Bytes that no compression makes fewer.
fn noise(len: usize) -> Vec<u8> {
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes.extend(x.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
