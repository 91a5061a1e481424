//! Every field of a task as data: its name in the fleet file and its resolved value. `plan --json` walks this table, so
//! a field that is missing here is a field without an explanation; a test holds the table against the task type.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::id::IdMap;
use crate::id::PoolId;
use crate::model::scorer::{JsonTest, Source};
use crate::model::{
    Action, Artifact, Delivery, Fleet, Limits, Need, Pool, Repeat, Retry, Scorer, ScorerRule, SecretUse, Task,
    WorkerRequest,
};
use crate::time::written;

/// The key in the fleet file, and its value as one would write it there.
pub(super) type Field = (&'static str, fn(&Fleet, &Task) -> Value);

/// In the order of the book's reference.
pub(super) const FIELDS: &[Field] = &[
    ("description", |_, task| json!(task.description)),
    ("run", |_, task| match &task.action {
        Action::Run(argv) => json!(argv),
        Action::Script { .. } => Value::Null,
    }),
    ("sh", |_, task| match &task.action {
        Action::Run(_) => Value::Null,
        Action::Script { text, .. } => json!(text),
    }),
    ("shell", |_, task| match &task.action {
        Action::Run(_) => Value::Null,
        Action::Script { shell, .. } => json!(shell.program()),
    }),
    ("needs", |fleet, task| task.needs.iter().map(|need| self::need(fleet, *need)).collect()),
    ("inputs", |_, task| json!(task.inputs)),
    ("outputs", |_, task| json!(task.outputs)),
    ("artifacts", |_, task| task.artifacts.iter().map(artifact).collect()),
    ("env", |_, task| pairs(&task.env)),
    ("pass_env", |_, task| json!(task.pass_env)),
    ("workdir", |_, task| json!(task.workdir)),
    ("stdin", |_, task| json!(task.stdin)),
    ("cache", |_, task| json!(task.cache)),
    ("scratch", |_, task| json!(task.scratch)),
    ("required_files", |_, task| json!(task.required_files)),
    ("required_env", |_, task| json!(task.required_env)),
    ("tools", |_, task| json!(task.tools)),
    ("writable_paths", |_, task| json!(task.writable_paths)),
    ("timeout", |_, task| duration(task.timeout)),
    ("idle_timeout", |_, task| duration(task.idle_timeout)),
    ("start_within", |_, task| duration(task.start_within)),
    ("retry", |_, task| task.retry.as_deref().map_or(Value::Null, retry)),
    ("repeat", |_, task| task.repeat.map_or(Value::Null, repeat)),
    ("on_unknown", |_, task| json!(task.on_unknown.name())),
    ("priority", |_, task| json!(task.priority)),
    ("uses", |fleet, task| uses(&fleet.pools, &task.uses)),
    ("tags", |_, task| json!(task.tags)),
    ("when", |_, task| json!({ "holds": task.unwanted.is_none(), "because": task.unwanted })),
    ("matrix", |_, task| pairs(&task.matrix)),
    ("allow_failure", |_, task| json!(task.allow_failure)),
    ("always", |_, task| json!(task.always)),
    ("on_failure", |fleet, task| task.on_failure.iter().map(|id| json!(fleet.tasks[*id].name)).collect()),
    ("worker", |_, task| task.worker.as_deref().map_or(Value::Null, request)),
    ("secrets", |_, task| task.secrets.iter().map(secret).collect()),
    ("limits", |_, task| task.limits.as_deref().map_or(Value::Null, limits)),
    ("scorers", |_, task| scorers(&task.scorers)),
    ("pass_score", |_, task| json!(task.pass_score)),
    ("metadata", |_, task| json!(task.metadata)),
];

pub(super) fn duration(duration: Option<Duration>) -> Value {
    duration.map_or(Value::Null, |duration| json!(written(duration)))
}

pub(super) fn pairs(pairs: &[(Box<str>, Box<str>)]) -> Value {
    pairs.iter().map(|(key, value)| (key.to_string(), json!(value))).collect::<Map<_, _>>().into()
}

fn need(fleet: &Fleet, need: Need) -> Value {
    json!({ "task": fleet.tasks[need.task].name, "accept": accept(need.accept_partial), "order_only": need.order_only })
}

/// What `accept` says when it is not written: only a pass.
pub(super) fn accept(partial: bool) -> &'static str {
    if partial { "partial" } else { "pass" }
}

fn artifact(artifact: &Artifact) -> Value {
    let Artifact { path, kind, mime_type, required } = artifact;
    json!({ "path": path, "kind": kind, "mime_type": mime_type, "required": required })
}

/// Null is one attempt.
fn retry(retry: &Retry) -> Value {
    let Retry { max_attempts, initial_backoff, max_backoff, multiplier, on } = retry;
    json!({
        "max_attempts": max_attempts, "initial_backoff": written(*initial_backoff),
        "max_backoff": written(*max_backoff), "multiplier": multiplier, "on": on.words().collect::<Vec<_>>(),
    })
}

fn repeat(repeat: Repeat) -> Value {
    let Repeat { runs, quorum } = repeat;
    json!({ "runs": runs, "quorum": quorum })
}

fn uses(pools: &IdMap<PoolId, Pool>, uses: &[(PoolId, u32)]) -> Value {
    uses.iter().map(|(pool, count)| (pools[*pool].name.to_string(), json!(count))).collect::<Map<_, _>>().into()
}

fn request(request: &WorkerRequest) -> Value {
    let WorkerRequest { id, labels, capabilities, trust, role, tools } = request;
    json!({
        "id": id, "labels": labels, "capabilities": capabilities, "trust": trust.map(crate::model::Trust::name),
        "role": role, "tools": tools,
    })
}

fn secret(secret: &SecretUse) -> Value {
    let SecretUse { key, source, delivery } = secret;
    let delivery = match delivery {
        Delivery::File(name) => format!("file:{name}"),
        Delivery::Env(name) => format!("env:{name}"),
    };
    json!({ "key": key, "source": source.name(), "as": delivery })
}

fn limits(limits: &Limits) -> Value {
    let Limits { cpu_milli, memory_bytes, pids } = limits;
    json!({ "cpu": cpu_milli.map(|milli| f64::from(milli) / 1000.0), "memory": memory_bytes, "pids": pids })
}

/// A task without scorers has `exit_code` with its defaults, and the plan says so.
fn scorers(scorers: &[Scorer]) -> Value {
    if scorers.is_empty() {
        let rule = ScorerRule::ExitCode { expect: Box::new([0]) };
        return json!([scorer(&Scorer { name: "exit_code".into(), weight: 1.0, at_least: 1.0, required: true, rule })]);
    }
    scorers.iter().map(scorer).collect()
}

fn scorer(scorer: &Scorer) -> Value {
    let Scorer { name, weight, at_least, required, rule } = scorer;
    let mut all = json!({
        "name": name, "kind": rule.kind(), "weight": weight, "at_least": at_least, "required": required,
    });
    let own = match rule {
        ScorerRule::ExitCode { expect } => json!({ "expect": expect }),
        ScorerRule::FileExists { path, min_bytes } => json!({ "path": path, "min_bytes": min_bytes }),
        ScorerRule::RegexMatch { source, pattern, max_bytes } => {
            let (key, value) = match source {
                Source::Path(path) => ("path", &**path),
                Source::Stdout => ("stream", "stdout"),
                Source::Stderr => ("stream", "stderr"),
            };
            json!({ key: value, "pattern": pattern, "max_bytes": max_bytes })
        }
        ScorerRule::JsonPath { path, query, test, max_bytes } => {
            let JsonTest { equals, at_least, at_most, matches } = test;
            // `at_least` of this kind is the bound of the value, so it goes over the share of the score, which is unused.
            json!({
                "path": path, "query": query, "max_bytes": max_bytes,
                "equals": equals, "at_least": at_least, "at_most": at_most, "matches": matches,
            })
        }
        ScorerRule::Command { argv, score_from_stdout, timeout } => json!({
            "run": argv, "score": score_from_stdout.then_some("stdout-json"), "timeout": written(*timeout),
        }),
        ScorerRule::Junit { path, min_tests, max_bytes } => {
            json!({ "path": path, "min_tests": min_tests, "max_bytes": max_bytes })
        }
        ScorerRule::Quorum { word: _, least, of } => {
            json!({ "least": least, "of": of.iter().map(self::scorer).collect::<Value>() })
        }
    };
    if let (Value::Object(all), Value::Object(own)) = (&mut all, own) {
        all.extend(own);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::testing::{fleet, id};

    /// Every field of `Task` but its name and its base, which a plan shows outside the table. The destructuring fails
    /// to compile when a field is added.
    #[test]
    fn every_field_of_a_task_is_explained() {
        let fleet = fleet(&["t"]);
        let Task {
            name: _,
            base: _,
            description: _,
            action: _,
            needs: _,
            inputs: _,
            outputs: _,
            artifacts: _,
            env: _,
            pass_env: _,
            workdir: _,
            stdin: _,
            cache: _,
            scratch: _,
            required_files: _,
            required_env: _,
            tools: _,
            writable_paths: _,
            timeout: _,
            idle_timeout: _,
            start_within: _,
            retry: _,
            repeat: _,
            on_unknown: _,
            priority: _,
            uses: _,
            tags: _,
            unwanted: _,
            matrix: _,
            allow_failure: _,
            always: _,
            on_failure: _,
            worker: _,
            secrets: _,
            limits: _,
            scorers: _,
            pass_score: _,
            metadata: _,
        } = &fleet.tasks[id(0)];
        // Without the name and the base, and `action` stands for three keys.
        assert_eq!(FIELDS.len(), 38 - 2 + 2);
    }
}
