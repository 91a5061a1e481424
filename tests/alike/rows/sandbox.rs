//! What only a sandbox does, and every sandbox alike: what it keeps a task from, and what single grants let through.

use std::net::TcpListener;

use tempfile::TempDir;

use crate::behaviour::{Behaviour, Host, On, Sandbox, Tried, alone, task};
use crate::column::Column;
use crate::hosts::processes;
use crate::seen::{holds, same};
use crate::stage::Stage;

const ORDINARY: &[(On, &str)] = &[(On::NoSandbox, "only the trust `sandbox` keeps a task from it")];

const SYSTEM: &[(On, &str)] = &[
    ORDINARY[0],
    (On::Sandbox(Sandbox::Container), "a container has only what its image has, and it may write there until it ends"),
];

const NAMESPACES: &[(On, &str)] = &[
    (On::NoSandbox, "nothing is between its supervisor and the task"),
    (On::Sandbox(Sandbox::Landlock), "Landlock is no process, the task itself is held"),
    (On::Sandbox(Sandbox::Container), "what holds it is the container, whose first process is what leads to it"),
];

pub(super) const ROWS: &[Behaviour] = &[
    task(
        "a sandbox: root in it has no powers",
        "[tasks.powers]\nrun = ['grep', '-E', '^(CapPrm|CapEff|NoNewPrivs):', '/proc/self/status']\n",
        |seen| {
            // A plain user cannot take away what an exec might give, but then no exec gives anything.
            let none = "0".repeat(16);
            let want = format!("CapPrm:\t{none}\nCapEff:\t{none}\nNoNewPrivs:\t1\n");
            seen.task("powers")?.passes_with(want)
        },
    )
    .not_on(ORDINARY),
    task(
        "a sandbox: a file of the workspace by its path is not read",
        r#"
        [tasks.peeks]
        inputs = ["in/a.txt"]
        sh = '''
        cat in/a.txt
        for name in in/a.txt undeclared.txt; do cat "@workspace@/$name" 2> /dev/null || echo refused; done
        '''
        "#,
        |seen| {
            seen.file_says("undeclared.txt", "undeclared\n")?;
            seen.task("peeks")?.passes_with("the text of a\nrefused\nrefused\n")
        },
    )
    .not_on(ORDINARY),
    task(
        "a sandbox: what is written to HOME or beside it is gone",
        r#"
        [tasks.litters]
        sh = '''
        ls -A "$HOME"
        for place in "$HOME" "${TMPDIR:-/tmp}" /usr /etc /var /opt /dev /; do
          (: > "$place/@mark@litter") 2> /dev/null || :
        done
        [ -e "$HOME/@mark@litter" ] && [ -e "${TMPDIR:-/tmp}/@mark@litter" ] && echo written
        '''
        [tasks.litter-not]
        needs = ["litters"]
        sh = '''
        for place in "$HOME" "${TMPDIR:-/tmp}" /usr /etc /var /opt /dev /; do
          [ ! -e "$place/@mark@litter" ] || { echo "$place"; rm -f "$place/@mark@litter"; }
        done
        '''
        "#,
        |seen| {
            // In a container it is the image's, and our own place is in it.
            let first = seen.kind.sandbox.filter(|sandbox| *sandbox == Sandbox::Container).map_or("", |_| ".cache\n");
            seen.task("litters")?.passes_with(format!("{first}written\n"))?;
            seen.task("litter-not")?.passes_with("")
        },
    )
    .not_on(ORDINARY),
    task(
        "a sandbox: the system's folders are read-only",
        r#"
        [tasks.vandal]
        sh = '''
        for place in /usr /bin /etc /; do
          ! (: > "$place/@mark@") 2> /dev/null || { echo "$place"; rm -f "$place/@mark@"; }
        done
        ! (: >> /etc/passwd) 2> /dev/null || echo passwd
        '''
        "#,
        |seen| seen.task("vandal")?.passes_with(""),
    )
    .not_on(SYSTEM),
    task("a sandbox: a program that it does not show", "[tasks.unseen]\nrun = ['@workspace@/in/tool']\n", |seen| {
        let shows = " in the sandbox, which shows the system's folders and what the task was given";
        seen.task("unseen")?.ends_like("fail/transport: could not be started: ", shows)
    })
    .not_on(SYSTEM),
    alone("a sandbox: processes of another run are not seen", |column| {
        let other = Stage::new(column, "[tasks.a]\nsh = 'echo begun; while :; do sleep 0.05; done # @mark@'\n");
        let mut run = other.start(&["run"]);
        run.hears("a", "begun")?;
        // The pattern is none of what it finds.
        let (first, rest) = other.mark.split_at(1);
        let tasks = format!(
            r#"
            [tasks.a]
            sh = 'cat /proc/[0-9]*/cmdline 2> /dev/null | tr "\0" " " | grep -c "[{first}]{rest}" || :'
            "#
        );
        let stage = Stage::new(column, &tasks);
        let seen = stage.run(&["run"]);
        holds("the other is over", !processes::mentioning(&other.mark).is_empty())?;
        seen.task("a")?.passes_with("0\n").map(drop)
    })
    .not_on(ORDINARY),
    alone("a sandbox: the network and a folder are only for whom they are granted", granted).not_on(ORDINARY),
    alone("a sandbox: no secret without a grant", |column| {
        let policy = "[policies.security]\nallowed_secrets = ['ALIKE_TOKEN']\n";
        let tasks = "[tasks.a]\nsecrets = ['ALIKE_TOKEN']\nrun = 'true'\n";
        let stage = Stage::new(column, &format!("{policy}{tasks}")).var("ALIKE_TOKEN", "a value");
        stage.run(&["run"]).exits(3)
    })
    .not_on(ORDINARY),
    alone("a sandbox: what holds it is killed", |column| {
        super::disturbed::lost(column, "fail/transport: ", |task, _| processes::parent(task).into_iter().collect())
    })
    .not_on(NAMESPACES),
];

/// By whatever there is: the image of the tests has no bash, and many a machine no `nc`.
const ASKS: &str = r#"
ask() { if command -v bash; then bash -c ": < /dev/tcp/127.0.0.1/@port@"; else nc 127.0.0.1 @port@ < /dev/null; fi; }
ask > /dev/null 2>&1 && echo reached || echo refused
(echo $FLEET_TASK > "@place@/$FLEET_TASK") 2> /dev/null && echo written || echo refused
"#;

fn granted(column: &Column) -> Tried {
    let server = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let port = server.local_addr().map_err(|error| error.to_string())?.port();
    let folder = TempDir::new().map_err(|error| error.to_string())?;
    let place = folder.path().display();
    let tasks = format!(
        r#"
        [policies.security]
        grants = [
          {{ capability = "network", scope = "may", reason = "asks a server" }},
          {{ capability = "write:{place}/**", scope = "may", reason = "leaves a file" }},
        ]
        [tasks.may]
        sh = '''{ASKS}'''
        [tasks.may-not]
        sh = '''{ASKS}'''
        "#
    )
    .replace("@port@", &port.to_string())
    .replace("@place@", &place.to_string());
    let stage = Stage::new(column, &tasks);
    let seen = stage.run(&["run"]);
    seen.task("may-not")?.passes_with("refused\nrefused\n")?.says("/trust/grants", ())?;
    // The engines of the tests have no network that they could give.
    let reached = if matches!(column.kind.host, Host::Local | Host::Ssh) { "reached" } else { "refused" };
    let may = seen.task("may")?.passes_with(format!("{reached}\nwritten\n"))?;
    let mechanisms = may.receipt["trust"]["mechanisms"].to_string();
    holds(&format!("it has no network by {mechanisms}"), !mechanisms.contains("network"))?;
    same("what it wrote", std::fs::read_to_string(folder.path().join("may")).unwrap_or_default(), "may\n".to_owned())?;
    holds("the other wrote too", !folder.path().join("may-not").exists())
}
