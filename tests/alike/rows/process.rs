//! What a task is as a process, and what it leaves.

use rustix::process::Signal;

use crate::behaviour::{Behaviour, alone, task};
use crate::seen::{holds, same};
use crate::stage::Stage;

pub(super) const ROWS: &[Behaviour] = &[
    task(
        "only three descriptors are open",
        "[tasks.fds]\nsh = 'for n in 0 1 2 3 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$n ] || echo $n; done'\n",
        |seen| {
            let task = seen.task("fds")?.is("pass")?;
            // Some shells keep a script or a folder open above 9.
            same("what is open", task.lines()?, vec!["0", "1", "2"]).map(|()| task)
        },
    ),
    task(
        "no descriptor reaches a program it starts",
        "[tasks.fds-exec]\nrun = ['ls', '/proc/self/fd']\n",
        // The fourth is the folder that `ls` reads.
        |seen| seen.task("fds-exec")?.passes_with("0\n1\n2\n3\n"),
    )
    .as_in_docker(),
    task(
        "a session and a group of its own",
        "[tasks.session]\nsh = 'read -r stat < /proc/$$/stat; set -- ${stat##*)}; echo $(($3 - $$)) $(($4 - $$))'\n",
        |seen| seen.task("session")?.passes_with("0 0\n"),
    )
    .as_in_docker(),
    task(
        "no terminal",
        "[tasks.tty]\nsh = 'read -r stat < /proc/$$/stat; set -- ${stat##*)}; echo $5; ! (: < /dev/tty) 2> /dev/null'\n",
        |seen| seen.task("tty")?.passes_with("0\n"),
    ),
    task(
        "signals are at their defaults",
        "[tasks.signals]\nrun = ['grep', '-E', '^Sig(Blk|Ign)', '/proc/self/status']\n",
        |seen| {
            let task = seen.task("signals")?.is("pass")?;
            for line in task.lines()? {
                let bits = line.rsplit_once('\t').map_or("", |(_, bits)| bits);
                let bits = u64::from_str_radix(bits, 16).map_err(|error| format!("{line}: {error}"))?;
                // 32 and 33 belong to the C library, which leaves them ignored in all that it spawns.
                same(&line, bits & !(3 << 31), 0)?;
            }
            Ok(task)
        },
    )
    .as_in_docker(),
    task(
        "the umask is 022",
        "[tasks.umask]\nsh = 'umask; > new; mkdir newdir; ls -ld new newdir | cut -c1-10'\n",
        |seen| seen.task("umask")?.passes_with("0022\n-rw-r--r--\ndrwxr-xr-x\n"),
    )
    .as_in_docker(),
    task(
        "more memory than its limit",
        "[tasks.mem]\nlimits = { memory = '64MiB' }\nsh = \"x=$(head -c 300000000 /dev/zero | tr '\\\\0' x); echo alive\"\n",
        |seen| seen.task("mem")?.is("fail/task: took more memory than its limit of 64 MiB"),
    ),
    task("limits leave room", "[tasks.limits]\nsh = 'ulimit -n; ulimit -s; ulimit -f; ulimit -t'\n", |seen| {
        let task = seen.task("limits")?.is("pass")?;
        let lines = task.lines()?;
        let at_least =
            |n: usize, least: u64| lines[n] == "unlimited" || lines[n].parse().is_ok_and(|got: u64| got >= least);
        holds(&format!("they are {lines:?}"), at_least(0, 1024) && at_least(1, 8192))?;
        same("files and CPU time", lines[2..].to_vec(), vec!["unlimited", "unlimited"])?;
        Ok(task)
    })
    .as_in_docker(),
    task(
        "a daemon it leaves is ended and named",
        r#"
        [tasks.daemon]
        sh = """
        (setsid sh -c 'echo > daemon-there; while :; do sleep 1; done' @mark@ > /dev/null 2>&1 < /dev/null &)
        while [ ! -e daemon-there ]; do sleep 0.02; done
        """
        "#,
        |seen| {
            let task = seen.task("daemon")?.is("pass")?;
            let leaked = task.receipt["leaked"].as_array().cloned().unwrap_or_default();
            let named = leaked.iter().filter_map(|one| one.as_str()?.split_once(' ')).any(|(pid, name)| {
                pid.parse::<u32>().is_ok() && ["sh", "busybox", "ash", "dash", "sleep"].contains(&name)
            });
            holds(&format!("it is not named: {leaked:?}"), named)?;
            Ok(task)
        },
    ),
    task(
        "a background process that holds the pipe",
        r#"
        [tasks.holder]
        sh = "sh -c 'while :; do sleep 1; done' @mark@ & echo done"
        "#,
        |seen| {
            let task = seen.task("holder")?.passes_with("done\n")?;
            let took = task.number("/duration_ms")?;
            holds(&format!("it took {took} ms"), took < 30_000)?;
            holds("nothing is named", task.receipt["leaked"].as_array().is_some_and(|leaked| !leaked.is_empty()))?;
            Ok(task)
        },
    ),
    alone("two slots are two at once", |column| {
        let tasks = ["a", "b"].map(|name| {
            format!("[tasks.{name}]\nworker = {{ id = 'one' }}\nsh = 'echo begun; while :; do sleep 0.05; done'\n")
        });
        let stage = Stage::new(column, &tasks.concat());
        let mut run = stage.start(&["run"]);
        // Neither ends by itself.
        run.hears("a", "begun")?;
        run.hears("b", "begun")?;
        run.signal(Signal::INT);
        run.ends().exits(130)
    }),
    task(
        "many small tasks",
        r#"
        [tasks.small]
        matrix = { ten = [@tens@], one = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"] }
        run = "echo ${matrix.ten} ${matrix.one}"
        "#,
        |seen| {
            for n in 0..seen.kind.many() {
                let task = seen.task(&format!("small:{}:{}", n / 10, n % 10))?;
                task.passes_with(format!("{} {}\n", n / 10, n % 10))?;
            }
            seen.task("small:0:0")
        },
    ),
];
