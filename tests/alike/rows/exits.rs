//! How a process ends, and what that comes to.

use crate::behaviour::{Behaviour, task};
use crate::stage::Stage;

pub(super) fn prepare(stage: Stage) -> Stage {
    stage
        .file("programs/plain", "#!/bin/sh\necho ran\n")
        .file("programs/garbage", "neither a program nor a script\n")
        .mode("programs/garbage", 0o755)
        .file("programs/lost", "#!/no/such/interpreter\n")
        .mode("programs/lost", 0o755)
}

pub(super) const ROWS: &[Behaviour] = &[
    task("exit code 0", "[tasks.exit-0]\nsh = 'exit 0'\n", |seen| {
        seen.task("exit-0")?.is("pass")?.says("/exit_code", 0)
    })
    .as_in_docker(),
    task("exit code 1", "[tasks.exit-1]\nsh = 'exit 1'\n", |seen| {
        seen.task("exit-1")?.is("fail/task: exit code 1")?.says("/exit_code", 1)
    })
    .as_in_docker(),
    task("exit code 2", "[tasks.exit-2]\nsh = 'exit 2'\n", |seen| {
        seen.task("exit-2")?.is("fail/task: exit code 2")?.says("/exit_code", 2)
    })
    .as_in_docker(),
    task("exit code 42", "[tasks.exit-42]\nsh = 'exit 42'\n", |seen| {
        seen.task("exit-42")?.is("fail/task: exit code 42")?.says("/exit_code", 42)
    }),
    task("exit code 126", "[tasks.exit-126]\nsh = 'exit 126'\n", |seen| {
        seen.task("exit-126")?.is("fail/task: exit code 126")?.says("/exit_code", 126)
    })
    .as_in_docker(),
    task("exit code 127 is the task's own", "[tasks.exit-127]\nsh = 'exit 127'\n", |seen| {
        seen.task("exit-127")?.is("fail/task: exit code 127")?.says("/exit_code", 127)
    })
    .as_in_docker(),
    task("exit code 255 is the task's own", "[tasks.exit-255]\nsh = 'exit 255'\n", |seen| {
        seen.task("exit-255")?.is("fail/task: exit code 255")?.says("/exit_code", 255)
    }),
    task(
        "an exit code that a scorer expects",
        "[tasks.exit-expected]\nsh = 'exit 3'\nscorers = [{ kind = 'exit_code', expect = [0, 3] }]\n",
        |seen| seen.task("exit-expected")?.is("pass")?.says("/exit_code", 3),
    )
    .as_in_docker(),
    task("death by SIGTERM", "[tasks.dies-15]\nsh = 'kill -TERM $$'\n", |seen| {
        let task = seen.task("dies-15")?.is("fail/transport: ended by SIGTERM without an exit code")?;
        task.says("/signal", 15)?.says("/exit_code", ())
    })
    .as_in_docker(),
    task("death by SIGKILL", "[tasks.dies-9]\nsh = 'kill -KILL $$'\n", |seen| {
        let task = seen.task("dies-9")?.is("fail/transport: ended by SIGKILL without an exit code")?;
        task.says("/signal", 9)?.says("/exit_code", ())
    }),
    task("death by SIGSEGV", "[tasks.dies-11]\nsh = 'kill -SEGV $$'\n", |seen| {
        let task = seen.task("dies-11")?.is("fail/transport: ended by SIGSEGV without an exit code")?;
        task.says("/signal", 11)?.says("/exit_code", ())
    })
    .as_in_docker(),
    task("a program that is nowhere", "[tasks.nowhere]\nrun = 'no-such-program'\n", |seen| {
        let task = seen.task("nowhere")?;
        task.is("fail/transport: could not be started: the program `no-such-program` is not on PATH")?
            .says("/exit_code", ())
    }),
    task(
        "a program that may not be executed",
        "[tasks.plain]\nrun = './programs/plain'\ninputs = ['programs/plain']\n",
        |seen| {
            let cause = "the program `./programs/plain` does not exist or is not executable";
            seen.task("plain")?.is(&format!("fail/transport: could not be started: {cause}"))
        },
    )
    .as_in_docker(),
    task(
        "a file that is no program",
        "[tasks.garbage]\nrun = './programs/garbage'\ninputs = ['programs/garbage']\n",
        |seen| seen.task("garbage")?.ends_like("fail/transport: could not be started: ", ""),
    )
    .as_in_docker(),
    task(
        "a script whose interpreter is nowhere",
        "[tasks.lost]\nrun = './programs/lost'\ninputs = ['programs/lost']\n",
        |seen| seen.task("lost")?.ends_like("fail/transport: could not be started: ", ""),
    )
    .as_in_docker(),
];
