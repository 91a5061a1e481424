//! What a task finds: its words, its environment, its folder, its standard input.

use crate::behaviour::{Behaviour, Host, On, Sandbox, task};
use crate::seen::{holds, same};
use crate::stage::Stage;

pub(super) fn prepare(stage: Stage) -> Stage {
    stage
        .var("PASSED_ONE", "a value of the caller's")
        .var("PASSED_TWO", "ü\nthe second line")
        .file("stdin.txt", "from a file\nwithout an end")
        .file("sub/dir/here", "here\n")
}

/// What every task sees in these runs, sorted: three of the base list, and the variables of fleet. A machine behind ssh has
/// more of the base list to say, such as who is logged in.
const NAMES: [&str; 9] = [
    "FLEET_ATTEMPT",
    "FLEET_ATTEMPT_ID",
    "FLEET_RUN_ID",
    "FLEET_STATE_DIR",
    "FLEET_TASK",
    "FLEET_WORKSPACE",
    "HOME",
    "LC_ALL",
    "PATH",
];

/// Of the base list, what a login may set.
const LOGIN: [&str; 5] = ["LOGNAME", "PYENV_ROOT", "SHELL", "USER", "XDG_RUNTIME_DIR"];

pub(super) const ROWS: &[Behaviour] = &[
    task("the environment is exactly what is declared", "[tasks.env]\nrun = 'env'\nenv = { OWN = 1 }\n", |seen| {
        let task = seen.task("env")?.is("pass")?;
        let lines = task.lines()?;
        let names = lines.iter().filter_map(|line| Some(line.split_once('=')?.0));
        let login = |name: &str| match seen.kind.host {
            Host::Ssh => LOGIN.contains(&name),
            // It says so in every container.
            Host::Podman => name == "TERM",
            Host::Local | Host::Docker => false,
        };
        let mut names: Vec<&str> = names.filter(|name| !login(name)).collect();
        names.sort_unstable();
        let mut want = NAMES.to_vec();
        want.push("OWN");
        // A container is its own already; elsewhere a sandbox has a folder for temporary files.
        want.extend(seen.kind.sandbox.filter(|sandbox| *sandbox != Sandbox::Container).map(|_| "TMPDIR"));
        want.sort_unstable();
        same("the names", names, want)?;
        Ok(task)
    }),
    task("PATH leads to the host's programs", "[tasks.finds]\nsh = 'which cat'\n", |seen| {
        let task = seen.task("finds")?.is("pass")?;
        let lines = task.lines()?;
        holds(&format!("cat is at {lines:?}"), lines[0].starts_with('/') && lines[0].ends_with("/cat"))?;
        Ok(task)
    })
    .as_in_docker(),
    task("HOME is a folder of the host", "[tasks.home]\nsh = '[ -d \"$HOME\" ] && cd'\n", |seen| {
        seen.task("home")?.passes_with("")
    }),
    task(
        "pass_env",
        "[tasks.passed]\nsh = 'printf \"<%s>\" \"$PASSED_ONE\" \"$PASSED_TWO\"'\npass_env = ['PASSED_*']\n",
        |seen| seen.task("passed")?.passes_with("<a value of the caller's><ü\nthe second line>"),
    )
    .as_in_docker(),
    task(
        "env wins over what is passed",
        "[tasks.over]\nsh = 'echo $PASSED_ONE'\npass_env = ['PASSED_*']\nenv = { PASSED_ONE = 'own' }\n",
        |seen| seen.task("over")?.passes_with("own\n"),
    )
    .as_in_docker(),
    task("a value with spaces", "[tasks.v1]\nsh = 'printf %s \"$V\"'\nenv = { V = '  two  words  ' }\n", |seen| {
        seen.task("v1")?.passes_with("  two  words  ")
    })
    .as_in_docker(),
    task("a value with line ends", "[tasks.v2]\nsh = 'printf %s \"$V\"'\nenv = { V = \"one\\ntwo\\n\" }\n", |seen| {
        seen.task("v2")?.passes_with("one\ntwo\n")
    })
    .as_in_docker(),
    task(
        "a value with quotes and what shells replace",
        r#"
        [tasks.v3]
        sh = 'printf %s "$V"'
        env = { V = '''a'b"c$HOME`id`\d*;|&(x) # ~''' }
        "#,
        |seen| seen.task("v3")?.passes_with(r#"a'b"c$HOME`id`\d*;|&(x) # ~"#),
    ),
    task(
        "a value that is not ASCII",
        "[tasks.v4]\nsh = 'printf %s \"$V\"'\nenv = { V = 'grün 日本 🚀' }\n",
        |seen| seen.task("v4")?.passes_with("grün 日本 🚀"),
    )
    .as_in_docker(),
    task("an empty value", "[tasks.v5]\nsh = 'echo \"${V-unset}|${W-unset}\"'\nenv = { V = '' }\n", |seen| {
        seen.task("v5")?.passes_with("|unset\n")
    })
    .as_in_docker(),
    task(
        "FLEET_TASK, FLEET_ATTEMPT, FLEET_RUN_ID",
        "[tasks.named]\nsh = 'echo $FLEET_TASK $FLEET_ATTEMPT $FLEET_RUN_ID'\n",
        |seen| {
            let task = seen.task("named")?;
            let run = task.text("/run_id")?;
            task.passes_with(format!("named 1 {run}\n"))
        },
    ),
    task(
        "words are what was written",
        r#"
        [tasks.words]
        run = ["printf", "<%s>", "two words", "a'b\"c", "$HOME `id` *", "new\nline", "grün 日本", "", "back\\slash", "-e", "--"]
        "#,
        |seen| {
            let want = "<two words><a'b\"c><$HOME `id` *><new\nline><grün 日本><><back\\slash><-e><-->";
            seen.task("words")?.passes_with(want)
        },
    ),
    task("a script for sh", "[tasks.sh]\nsh = '''\nx=1\necho $((x + 1)) | cat\nfalse\necho never\n'''\n", |seen| {
        seen.task("sh")?.prints("2\n")?.is("fail/task: exit code 1")
    })
    .as_in_docker(),
    task(
        "a script for bash",
        "[tasks.bash]\nshell = 'bash'\nsh = 'a=(x y z); echo ${#a[@]}; false | true'\n",
        |seen| seen.task("bash")?.prints("3\n")?.is("fail/task: exit code 1"),
    )
    .not_on(&[
        (On::Host(Host::Docker), "the image is one busybox, which has no bash"),
        (On::Host(Host::Podman), "the image is one busybox, which has no bash"),
    ]),
    task("a shell that is nowhere", "[tasks.no-bash]\nshell = 'bash'\nsh = 'echo never'\n", |seen| {
        let cause = "fail/transport: could not be started: the program `bash` is not on PATH";
        seen.task("no-bash")?.is(cause)
    })
    .as_in_docker()
    .not_on(&[(On::Host(Host::Local), "this machine has bash"), (On::Host(Host::Ssh), "that machine has bash")]),
    task(
        "the workspace is where it starts",
        "[tasks.cwd]\nsh = '[ \"$(pwd -P)\" = \"$FLEET_WORKSPACE\" ] && pwd'\n",
        |seen| {
            let task = seen.task("cwd")?.is("pass")?;
            let lines = task.lines()?;
            holds(&format!("it is {lines:?}"), lines.len() == 1 && lines[0].starts_with('/'))?;
            Ok(task)
        },
    ),
    task(
        "workdir",
        "[tasks.below]\nworkdir = 'sub/dir'\nsh = '[ \"$(pwd -P)\" = \"$FLEET_WORKSPACE/sub/dir\" ] && cat here'\ninputs = ['sub/dir/here']\n",
        |seen| seen.task("below")?.passes_with("here\n"),
    )
    .as_in_docker(),
    task("a workdir that is nowhere", "[tasks.away]\nworkdir = 'no/such/folder'\nrun = 'true'\n", |seen| {
        seen.task("away")?.ends_like(
            "fail/transport: could not be started: cannot enter the working directory ",
            "/no/such/folder: No such file or directory (os error 2)",
        )
    }),
    task("standard input is empty", "[tasks.no-input]\nsh = 'wc -c | tr -d \" \"'\n", |seen| {
        seen.task("no-input")?.passes_with("0\n")
    }),
    task("standard input from a file", "[tasks.input]\nrun = 'cat'\nstdin = 'stdin.txt'\n", |seen| {
        seen.task("input")?.passes_with("from a file\nwithout an end")
    }),
    task(
        "a private folder for the attempt",
        "[tasks.scratch]\nscratch = true\nsh = '''\n[ -d \"$FLEET_ATTEMPT_DIR\" ]\n[ -z \"$(ls -A \"$FLEET_ATTEMPT_DIR\")\" ]\necho x > \"$FLEET_ATTEMPT_DIR/x\"\ncat \"$FLEET_ATTEMPT_DIR/x\"\n'''\n",
        |seen| seen.task("scratch")?.passes_with("x\n"),
    ),
];
