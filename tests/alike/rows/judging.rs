//! Scorers, attempts, and the account that is kept.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::behaviour::{Behaviour, Host, Sandbox, task};
use crate::seen::{holds, same};

const MADE: &str = r#"
[tasks.scored]
sh = """
mkdir scored
echo 'all is well' > scored/text
echo '{"n": {"of": 81.5}}' > scored/data.json
echo '<testsuite tests="1"><testcase name="a"/></testsuite>' > scored/junit.xml
"""
outputs = ["scored/**"]
scorers = [
  { kind = "regex_match", path = "scored/text", pattern = "^all .* well" },
  { kind = "file_exists", path = "scored/text", min_bytes = 3 },
  { kind = "json_path", path = "scored/data.json", query = "$.n.of", at_least = 80 },
  { kind = "junit", path = "scored/junit.xml", min_tests = 1 },
  { kind = "command", run = "grep -q well scored/text" },
]
"#;

/// The keys of the receipt of a task that passed, printed, and made something, in their order.
const KEYS: [&str; 24] = [
    "run_id",
    "task_id",
    "worker_id",
    "completed_at",
    "result",
    "artifacts",
    "score",
    "attempt",
    "started_at",
    "duration_ms",
    "exit_code",
    "attempts",
    "argv",
    "argv_digest",
    "inputs_digest",
    "fingerprint",
    "outputs",
    "host",
    "trust",
    "scorers",
    "usage",
    "log",
    "fleet_version",
    "journal_seq",
];

fn judged(kind: &'static str) -> impl Fn(&crate::seen::Seen) -> Result<crate::seen::Task<'_>, String> {
    move |seen| {
        let task = seen.task("scored")?.is("pass")?;
        let scorers = task.receipt["scorers"].as_array().cloned().unwrap_or_default();
        let one = scorers.iter().find(|scorer| scorer["kind"] == kind);
        let passed = one.is_some_and(|scorer| scorer["passed"] == true);
        holds(&format!("it did not pass: {scorers:?}"), passed)?;
        Ok(task)
    }
}

pub(super) const ROWS: &[Behaviour] = &[
    task("regex_match on a file that was made", MADE, |seen| judged("regex_match")(seen)),
    task("file_exists on a file that was made", "# above\n", |seen| judged("file_exists")(seen)),
    task("json_path on a file that was made", "# above\n", |seen| judged("json_path")(seen)),
    task("junit on a report that was made", "# above\n", |seen| judged("junit")(seen)),
    task("a command that looks at what was made", "# above\n", |seen| judged("command")(seen)),
    task(
        "a scorer that does not pass",
        "[tasks.scored-low]\nsh = 'echo bad'\nscorers = [{ kind = 'regex_match', stream = 'stdout', pattern = 'good' }]\n",
        |seen| seen.task("scored-low")?.is("fail/task: scorer `regex_match` did not pass: no match in stdout"),
    )
    .as_in_docker(),
    task(
        "a pass after a failure is flaky",
        "[tasks.flaky]\nretry = { max_attempts = 3, initial_backoff = '0s' }\nsh = 'echo try $FLEET_ATTEMPT; [ $FLEET_ATTEMPT = 2 ]'\n",
        |seen| {
            let task = seen.task("flaky")?.passes_with("try 2\n")?.says("/flaky", true)?.says("/attempt", 2)?;
            task.says("/attempts/0/exit_code", 1)?
                .says("/attempts/0/result", "fail")?
                .says("/attempts/1/result", "pass")
        },
    ),
    task(
        "a later attempt finds nothing of an earlier one's scratch",
        "[tasks.anew]\nscratch = true\nretry = { max_attempts = 2, initial_backoff = '0s' }\nsh = '''\n[ ! -e \"$FLEET_ATTEMPT_DIR/x\" ]\necho > \"$FLEET_ATTEMPT_DIR/x\"\n[ $FLEET_ATTEMPT = 2 ]\n'''\n",
        |seen| seen.task("anew")?.is("pass")?.says("/flaky", true),
    ),
    task(
        "the receipt has the same fields",
        "[tasks.full]\nsh = 'echo out; echo made > full.txt'\ninputs = ['in/a.txt']\noutputs = ['full.txt']\n",
        |seen| {
            let task = seen.task("full")?.is("pass")?;
            let keys: Vec<&str> = task.receipt.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
            // Only a container has an image.
            let image = matches!(seen.kind.host, Host::Docker | Host::Podman).then_some("image");
            let want = KEYS.into_iter().flat_map(|key| [Some(key), image.filter(|_| key == "host")]).flatten();
            same("they", keys, want.collect::<Vec<_>>())?;
            Ok(task)
        },
    ),
    task("the receipt names the kind of host", "[tasks.hosted]\nrun = 'true'\n", |seen| {
        seen.task("hosted")?.is("pass")?.says("/host", seen.kind.host.name())
    })
    .as_in_docker(),
    task("the receipt names what holds trust up", "[tasks.trusted]\nrun = 'true'\n", |seen| {
        let task = seen.task("trusted")?.is("pass")?;
        let mechanisms = task.receipt["trust"]["mechanisms"].as_array().cloned().unwrap_or_default();
        let held: &[&str] = match seen.kind.sandbox {
            None => &[],
            Some(Sandbox::Bubblewrap) => &["bubblewrap", "pid_namespace", "network_namespace", "seccomp", "private_home"],
            Some(Sandbox::Landlock) => &["landlock", "seccomp", "private_home"],
            Some(Sandbox::Container) => &["container_per_attempt", "no_network", "no_capabilities", "no_new_privs"],
        };
        for want in held.iter().chain(&["clean_env", "session", "subreaper"]) {
            holds(&format!("{want} is not among {mechanisms:?}"), mechanisms.iter().any(|name| name == want))?;
        }
        let alone = seen.kind.sandbox == Some(Sandbox::Landlock);
        holds("it is held by bubblewrap too", !(alone && mechanisms.iter().any(|name| name == "bubblewrap")))?;
        let sandbox = seen.kind.sandbox.map_or("", |_| "sandbox");
        holds("it is of another trust", task.text("/trust/enforced")?.starts_with(sandbox)).map(|()| task)
    }),
    task("usage is measured", "[tasks.busy]\nsh = 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'\n", |seen| {
        let task = seen.task("busy")?.is("pass")?;
        let (cpu, took) = (task.number("/usage/cpu_ms")?, task.number("/duration_ms")?);
        holds(&format!("{cpu} ms of CPU in {took} ms"), cpu > 0 && cpu <= took + 50)?;
        let rss = task.number("/usage/max_rss_bytes")?;
        holds(&format!("{rss} bytes"), (50_000..1 << 30).contains(&rss))?;
        Ok(task)
    }),
    task("times are those of the caller's clock", "[tasks.timed]\nrun = 'sleep 1'\n", |seen| {
        let task = seen.task("timed")?.is("pass")?;
        let took = task.number("/duration_ms")?;
        holds(&format!("it took {took} ms"), (100..60_000).contains(&took))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        for pointer in ["/started_at", "/completed_at"] {
            let at: jiff::Timestamp = task.text(pointer)?.parse().map_err(|error| format!("{pointer}: {error}"))?;
            let ago = i64::try_from(now).unwrap_or_default() - at.as_second();
            holds(&format!("{pointer} is {ago} seconds ago"), (-1..300).contains(&ago))?;
        }
        holds("it ended before it began", task.text("/started_at")? < task.text("/completed_at")?)?;
        Ok(task)
    }),
    task(
        "an account of everything, in one order",
        "[tasks.last]\npriority = -9\nneeds = ['timed']\nrun = 'true'\n",
        |seen| {
            let seqs: Vec<u64> = seen.receipts.iter().filter_map(|receipt| receipt["journal_seq"].as_u64()).collect();
            holds("the receipts have no order", seqs.is_sorted() && seqs.len() > 50)?;
            let word = seen.printed().lines().any(|line| line.contains(" passed") && line.contains(" failed"));
            holds("the summary is missing", word)?;
            seen.task("last")?.is("pass")
        },
    ),
];
