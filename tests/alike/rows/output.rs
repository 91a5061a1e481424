//! What a task prints.

use std::fmt::Write as _;

use crate::behaviour::{Behaviour, alone, task};
use crate::seen::{holds, same};
use crate::stage::Stage;

const MIB: usize = 1 << 20;

pub(super) const ROWS: &[Behaviour] = &[
    task("standard output", "[tasks.says-out]\nsh = 'echo out'\n", |seen| {
        seen.task("says-out")?.passes_with("out\n")?.says("/usage/output_bytes", 4)
    })
    .as_in_docker(),
    task("standard error", "[tasks.says-err]\nsh = 'echo err >&2'\n", |seen| {
        seen.task("says-err")?.passes_with("err\n")?.says("/usage/output_bytes", 4)
    })
    .as_in_docker(),
    task(
        "both streams in their order",
        "[tasks.says-both]\nsh = 'i=0; while [ $i -lt 200 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done'\n",
        |seen| {
            let want = (0..200).fold(String::new(), |mut text, n| {
                let _ = write!(text, "out {n}\nerr {n}\n");
                text
            });
            seen.task("says-both")?.passes_with(want)
        },
    ),
    task(
        "streams that are kept apart for scorers",
        r#"
        [tasks.says-apart]
        sh = "echo out; echo err >&2"
        scorers = [
          { kind = "regex_match", name = "out", stream = "stdout", pattern = '\Aout\n\z' },
          { kind = "regex_match", name = "err", stream = "stderr", pattern = '\Aerr\n\z' },
        ]
        "#,
        |seen| seen.task("says-apart")?.is("pass")?.says("/scorers/0/passed", true)?.says("/scorers/1/passed", true),
    ),
    task("no line end at the end", "[tasks.says-cut]\nrun = ['printf', 'no end']\n", |seen| {
        seen.task("says-cut")?.passes_with("no end")
    })
    .as_in_docker(),
    task(
        "bytes of every value",
        r#"
        [tasks.says-bytes]
        sh = 'i=0; while [ $i -lt 256 ]; do printf "\\$(printf %o $i)"; i=$((i+1)); done'
        "#,
        |seen| seen.task("says-bytes")?.passes_with((0..=255).collect::<Vec<u8>>()),
    )
    .as_in_docker(),
    task("bytes that are no text", "[tasks.says-latin]\nrun = ['printf', 'gr\\374n \\303\\274\\n']\n", |seen| {
        seen.task("says-latin")?.passes_with(b"gr\xfcn \xc3\xbc\n")
    })
    .as_in_docker(),
    task("nothing at all", "[tasks.says-nothing]\nrun = 'true'\n", |seen| {
        seen.task("says-nothing")?.passes_with("")?.says("/log", ())?.says("/usage/output_bytes", 0)
    })
    .as_in_docker(),
    task("10 MiB of output", "[tasks.says-much]\nsh = 'head -c 10485760 /dev/zero | tr \"\\0\" x'\n", |seen| {
        let task = seen.task("says-much")?.is("pass")?;
        let log = task.printed()?;
        holds("not all of it is in the log", log.len() == 10 * MIB && log.iter().all(|byte| *byte == b'x'))?;
        task.says("/usage/output_bytes", 10 * MIB)?.says("/log/truncated", false)
    }),
    task(
        "a line of 1 MiB",
        "[tasks.says-line]\nsh = 'head -c 1048576 /dev/zero | tr \"\\0\" y; echo; echo after'\n",
        |seen| seen.task("says-line")?.passes_with([vec![b'y'; MIB], b"\nafter\n".to_vec()].concat()),
    )
    .as_in_docker(),
    task(
        "head and tail of too much",
        "[tasks.says-over]\nsh = 'echo first; head -c 70000000 /dev/zero | tr \"\\0\" z; echo; echo last'\n",
        |seen| {
            let task = seen.task("says-over")?.is("pass")?.says("/log/truncated", true)?;
            let log = task.printed()?;
            // The marker for what was left out is beyond the bound.
            holds("its log is over its bound", log.len() <= 64 * MIB + 1024)?;
            holds("its first or last line is missing", log.starts_with(b"first\n") && log.ends_with(b"\nlast\n"))?;
            task.says("/usage/output_bytes", 70_000_000 + 12)
        },
    ),
    alone("output is there while the task runs", |column| {
        let stage =
            Stage::new(column, "[tasks.a]\nsh = 'echo begun; read x < /dev/null || while :; do sleep 0.05; done'\n");
        let mut run = stage.start(&["run"]);
        run.hears("a", "begun")?;
        run.signal(rustix::process::Signal::INT);
        let seen = run.ends();
        same("what it printed", seen.task("a")?.lines()?, vec!["begun"])
    }),
];
