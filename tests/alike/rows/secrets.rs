//! Secrets: how a task gets one, and where none is.

use std::path::Path;

use walkdir::WalkDir;

use crate::behaviour::{Behaviour, Tried, alone};
use crate::column::Column;
use crate::seen::{Seen, holds};
use crate::stage::Stage;

/// The value is made up of the mark of the workspace, so that no other run has it.
const KEY: &str = "ALIKE_TOKEN";

const POLICY: &str = "[policies.security]\nallowed_secrets = ['ALIKE_TOKEN']\n";

/// A sandbox has none without.
const GRANT: &str = "grants = [{ capability = 'secrets', scope = 'a', reason = 'it asks for them' }]\n";

pub(super) const ROWS: &[Behaviour] = &[
    alone("a secret as a private file", |column| {
        let tasks = r#"
            [tasks.a]
            secrets = ["ALIKE_TOKEN"]
            sh = '''
            [ -z "${ALIKE_TOKEN:-}" ]
            ls -l "$ALIKE_TOKEN_FILE" | cut -c1-10
            wc -c < "$ALIKE_TOKEN_FILE" | tr -d " "
            '''
            "#;
        with_secret(column, tasks, |seen, value| {
            seen.task("a")?.passes_with(format!("-rw-------\n{}\n", value.len())).map(drop)
        })
    }),
    alone("a secret as a variable", |column| {
        let tasks = r#"
            [tasks.a]
            secrets = [{ key = "ALIKE_TOKEN", as = "env:OTHER_NAME" }]
            sh = 'printf %s "$OTHER_NAME" | wc -c | tr -d " "'
            [tasks.other]
            needs = ["a"]
            sh = 'echo "${OTHER_NAME:-none} ${ALIKE_TOKEN:-none}"'
            "#;
        with_secret(column, tasks, |seen, value| {
            seen.task("a")?.passes_with(format!("{}\n", value.len()))?;
            seen.task("other")?.passes_with("none none\n").map(drop)
        })
    }),
    alone("a secret that is printed is masked", |column| {
        let tasks = r#"
            [tasks.a]
            secrets = [{ key = "ALIKE_TOKEN", as = "env" }]
            sh = 'echo "it is $ALIKE_TOKEN"; echo "$ALIKE_TOKEN" >&2'
            "#;
        with_secret(column, tasks, |seen, _| {
            seen.task("a")?.passes_with("it is [secret ALIKE_TOKEN]\n[secret ALIKE_TOKEN]\n").map(drop)
        })
    }),
    alone("a secret in an output is not kept", |column| {
        let tasks = r#"
            [tasks.a]
            secrets = [{ key = "ALIKE_TOKEN", as = "env" }]
            sh = 'mkdir -p out; echo "$ALIKE_TOKEN" > out/leak.txt'
            artifacts = [{ path = "out/leak.txt" }]
            "#;
        with_secret(column, tasks, |seen, _| seen.task("a")?.ends_like("fail/", "").map(drop))
    }),
    alone("a secret is only for those that are allowed it", |column| {
        let tasks = "[tasks.a]\nsecrets = ['OTHER_TOKEN']\nrun = 'true'\n";
        let stage = Stage::new(column, &format!("{}{tasks}", policy(column))).var("OTHER_TOKEN", "another value");
        stage.run(&["run"]).exits(3)
    }),
];

fn policy(column: &Column) -> String {
    format!("{POLICY}{}", column.kind.sandbox.map_or("", |_| GRANT))
}

/// A run with a secret, of which nothing is found afterwards: not in what is kept here, and not on the host.
fn with_secret(column: &Column, tasks: &str, judge: fn(&Seen, &str) -> Tried) -> Tried {
    let stage = Stage::new(column, &format!("{}{tasks}", policy(column)));
    let value = format!("canary of {}", stage.mark);
    let stage = stage.var(KEY, &value);
    let seen = stage.run(&["run"]);
    judge(&seen, &value).map_err(|why| seen.explained(why))?;
    let places = column.kept().into_iter().chain([stage.path(".fleet"), stage.path(".stdout"), stage.path(".stderr")]);
    for place in places {
        holds_none(&place, &value)?;
    }
    Ok(())
}

fn holds_none(place: &Path, value: &str) -> Tried {
    for entry in WalkDir::new(place).into_iter().flatten().filter(|entry| entry.file_type().is_file()) {
        // Other runs come and go there.
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        // The program itself is large, and has no values in it.
        let small = bytes.len() < 16 << 20;
        let found = small && bytes.windows(value.len()).any(|part| part == value.as_bytes());
        holds(&format!("the value is in {}", entry.path().display()), !found)?;
    }
    Ok(())
}
