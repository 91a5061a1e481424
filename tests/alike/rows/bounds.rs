//! What the directory of an attempt may take.

use crate::behaviour::{Behaviour, Kind, On, alone};
use crate::column::Column;
use crate::seen::holds;
use crate::stage::Stage;

const IN_PLACE: &[(On, &str)] =
    &[(On::Only(Kind::LOCAL), "a local task without a sandbox works in the workspace itself")];

pub(super) const ROWS: &[Behaviour] = &[
    alone("a directory that grows too large", |column| {
        let stage =
            bounded(column, "outputs = ['out']\nsh = 'echo > out; head -c 33554432 /dev/zero > big; sleep 600'\n");
        let seen = stage.run(&["run"]);
        seen.exits(1)?;
        let (begin, end) = ("its directory on worker `two` grew to ", " MiB; `attempt_size` allows 16 MiB");
        seen.task("a")?.ends_like(&format!("fail/task: {begin}"), end)?;
        holds("it came back", !seen.path("out").exists())
    })
    .not_on(IN_PLACE),
    alone("inputs that are too large for a directory", |column| {
        let stage = bounded(column, "inputs = ['in']\nrun = 'touch ran'\n").file("in", vec![0; 17 << 20]);
        let seen = stage.run(&["run"]);
        seen.exits(1)?;
        let begin = "what it starts from takes 17 MiB, and `attempt_size` of worker `two` allows 16 MiB: ";
        seen.task("a")?.ends_like(&format!("fail/task: {begin}"), "").map(drop)
    })
    .not_on(IN_PLACE),
];

/// A task on the worker `two`, which is the last one declared.
fn bounded(column: &Column, task: &str) -> Stage {
    let workers = column.workers() + "attempt_size = '16MiB'\n";
    Stage::with_workers(column, &workers, &format!("[tasks.a]\nworker = {{ id = 'two' }}\n{task}"))
}
