//! What a mistake says and where it points, in the three syntaxes.

use crate::spec::error::Problem;
use crate::spec::file::{Accept, FileRaw, NeedRaw, RunRaw, Scalar, ScorerRef};
use crate::spec::source::{Syntax, parse};
use crate::spec::tree::FileId;

fn read(syntax: Syntax, text: &str) -> Result<FileRaw, Vec<Problem>> {
    super::file(&parse(FileId(0), syntax, text.as_bytes())?)
}

/// Each problem as `code: message @ 'what the first label covers' (help)`.
fn problems(syntax: Syntax, text: &str) -> Vec<String> {
    let problems = read(syntax, text).expect_err("the file has a mistake");
    let show = |problem: &Problem| {
        let place = problem.labels.first().map_or("", |label| &text[label.span.clone()]);
        let help = problem.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        format!("{}: {} @ {place:?}{help}", problem.code.trim_start_matches("fleet::"), problem.message)
    };
    problems.iter().map(show).collect()
}

const DEEP: [(Syntax, &str); 3] = [
    (
        Syntax::Toml,
        "name = \"ä\"\n[tasks.build]\nrun = \"x\"\nscorers = [\n  \"suite\",\n  { kind = \"all\", of = [{ kind = \"junit\", path = \"ü.xml\", mintests = 3 }] },\n]\n",
    ),
    (
        Syntax::Yaml,
        "name: ä\ntasks:\n  build:\n    run: x\n    scorers:\n      - suite\n      - kind: all\n        of:\n          - kind: junit\n            path: ü.xml\n            mintests: 3\n",
    ),
    (
        Syntax::Json,
        "{\"name\": \"ä\", \"tasks\": {\"build\": {\"run\": \"x\", \"scorers\": [\"suite\",\r\n {\"kind\": \"all\", \"of\": [{\"kind\": \"junit\", \"path\": \"ü.xml\", \"mintests\": 3}]}]}}}",
    ),
];

#[test]
fn a_wrong_key_deep_in_tagged_enums_is_pointed_at_exactly() {
    for (syntax, text) in DEEP {
        let text = text.replace("name = \"ä\"", "name = \"a\"").replace("name: ä", "name: a").replace("\"ä\"", "\"a\"");
        let place = if syntax == Syntax::Json { "\\\"mintests\\\"" } else { "mintests" };
        assert_eq!(
            problems(syntax, &text),
            [format!(
                "unknown_key: `tasks.build.scorers[1].of[0]` has no key `mintests` @ \"{place}\" (did you mean `min_tests`?)"
            )],
            "{syntax:?}"
        );
    }
}

#[test]
fn offsets_are_bytes_behind_wide_characters() {
    for (syntax, text) in DEEP {
        let problems = problems(syntax, text);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("bad_name: `ä` is not a name @"), "{problems:?}");
        assert!(problems[1].contains("mintests"), "{problems:?}");
    }
}

#[test]
fn every_mistake_of_a_file_is_told_in_one_go() {
    let text = r#"
version = "1"
nmae = "x"
[agents.a]
[vars]
pi = 3.14
[tasks.build]
run = 3
needs = ["a", 4, { order_only = true, tsk = 1 }]
timeout = 90
idle_timeout = "90"
start_within = "soon"
budget = {}
priority = 9999999999
pass_score = 2
uses = { gpu = 0 }
shell = "fish"
stdin = ["x"]
[tasks."a b"]
scratch = "true"
[workers.far]
host = "ssh"
slots = 1
[workers.farther]
host = { kind = "dokker", image = "x" }
[workers.box]
trust = "sandbx"
[scorers.s]
min_bytes = 1
[scorers.t]
kind = "juint"
[scorers.u]
kind = "regex_match"
max_bytes = 5
path = 1
at_leest = 0.5
"#;
    assert_eq!(
        problems(Syntax::Toml, text).join("\n"),
        r#"wrong_type: `version` must be a whole number, not text @ "\"1\"" (remove the quotes)
unknown_key: a fleet file has no key `nmae` @ "nmae" (did you mean `name`?)
not_supported_yet: `agents` in a fleet file is not supported yet @ "agents" (remove it; nothing in a fleet file is read and ignored)
wrong_type: `vars.pi` must be text, a whole number or `true` or `false`, not a number @ "3.14" (put quotes around it: `"3.14"`)
wrong_type: `tasks.build.run` must be text or a list, not an integer @ "3" (put quotes around it: `"3"`)
wrong_type: `tasks.build.needs[1]` must be text or a table, not an integer @ "4" (put quotes around it: `"4"`)
missing_field: `tasks.build.needs[2]` has no `task` @ "{ order_only = true, tsk = 1 }"
unknown_key: `tasks.build.needs[2]` has no key `tsk` @ "tsk" (did you mean `task`?)
bad_duration: `tasks.build.timeout` must be a duration as text, not an integer @ "90" (give it a unit: `"90s"`)
bad_duration: `tasks.build.idle_timeout`: the duration `90` has no unit @ "90" (write "90s")
bad_duration: `tasks.build.start_within`: the duration `soon` has no number where one belongs @ "soon" (write a number and a unit, such as "90s", "10m" or "1h30m")
not_supported_yet: `budget` in `tasks.build` is not supported yet @ "budget" (remove it; nothing in a fleet file is read and ignored)
bad_value: `tasks.build.priority` must be at most 2147483647 @ "9999999999"
bad_value: `tasks.build.pass_score` must be from 0 to 1 @ "2"
bad_value: `tasks.build.uses.gpu` must be at least 1 @ "0"
unknown_value: `tasks.build.shell` cannot be `fish` @ "\"fish\"" (it is one of `sh`, `bash`)
wrong_type: `tasks.build.stdin` must be text, not a list @ "[\"x\"]"
bad_name: `a b` is not a name @ "\"a b\"" (a name starts with a letter or digit, goes on with letters, digits, `.`, `_` or `-`, and has at most 128: `a-b`)
wrong_type: `tasks.a b.scratch` must be `true` or `false`, not text @ "\"true\"" (remove the quotes)
host_word: `workers.far.host` needs more than the word `ssh` @ "\"ssh\"" (write `host = { kind = "ssh", host = "build.example" }`)
unknown_value: `workers.farther.host.kind` cannot be `dokker` @ "\"dokker\"" (did you mean `docker`? It is one of `local`, `ssh`, `docker`, `podman`, `container`)
missing_field: `workers.box` has no `host` @ "box"
unknown_value: `workers.box.trust` cannot be `sandbx` @ "\"sandbx\"" (did you mean `sandbox`? It is one of `sandbox`, `local`, `remote_verified`, `operator`)
missing_field: `scorers.s` has no `kind` @ "s" (kinds are `exit_code`, `file_exists`, `regex_match`, `json_path`, `command`, `junit`, `all`, `any`, `quorum`)
unknown_value: `scorers.t.kind` cannot be `juint` @ "\"juint\"" (did you mean `junit`? It is one of `exit_code`, `file_exists`, `regex_match`, `json_path`, `command`, `junit`, `all`, `any`, `quorum`)
missing_field: `scorers.u` has no `pattern` @ "u"
bad_size: `scorers.u.max_bytes` must be a size as text, not an integer @ "5" (give it a unit: `"5B"`)
wrong_type: `scorers.u.path` must be text, not an integer @ "1" (put quotes around it: `"1"`)
unknown_key: `scorers.u` has no key `at_leest` @ "at_leest" (did you mean `at_least`?)"#
    );
}

#[test]
fn yaml_scalars_are_what_yaml_1_2_says() {
    assert_eq!(
        problems(
            Syntax::Yaml,
            "tasks:\n  a:\n    scratch: yes\n    always: off\n    allow_failure: maybe\n    sh: 12\n    description:\n    needs: b\n    timeout: 90\n    priority: 0x10\n"
        )
        .join("\n"),
        r#"wrong_type: `tasks.a.scratch` must be `true` or `false`, not text @ "yes" (YAML 1.2 has no `yes` for booleans: write `true`)
wrong_type: `tasks.a.always` must be `true` or `false`, not text @ "off" (YAML 1.2 has no `off` for booleans: write `false`)
wrong_type: `tasks.a.allow_failure` must be `true` or `false`, not text @ "maybe"
wrong_type: `tasks.a.sh` must be text, not an integer @ "12" (put quotes around it: `"12"`)
wrong_type: `tasks.a.description` must be text, not nothing @ "" (write a value, or remove the key)
wrong_type: `tasks.a.needs` must be a list, not text @ "b" (put brackets around it: `["b"]`)
bad_duration: `tasks.a.timeout` must be a duration as text, not an integer @ "90" (give it a unit: `"90s"`)"#
    );
}

#[test]
fn the_three_syntaxes_say_the_same() {
    let toml = r#"
version = 1
name = "x"
metadata = { a = [1, 2.5, { b = true }] }
[vars]
profile = "release"
jobs = 4
[tasks.build]
run = ["cargo", "build"]
needs = ["a", { task = "b", accept = "partial" }]
matrix = { os = ["linux", 1, true], exclude = [{ os = 1 }] }
when = { env = { CI = true, X = "y" }, branch = ["main", "release/*"] }
scorers = ["s", { kind = "exit_code", expect = [0, 3], weight = 2 }]
[workers.here]
host = { kind = "local" }
slots = 2
"#;
    let yaml = "version: 1\nname: x\nmetadata: {a: [1, 2.5, {b: true}]}\nvars:\n  profile: release\n  jobs: 4\ntasks:\n  build:\n    run: [cargo, build]\n    needs: [a, {task: b, accept: partial}]\n    matrix: {os: [linux, 1, true], exclude: [{os: 1}]}\n    when: {env: {CI: true, X: y}, branch: [main, release/*]}\n    scorers:\n    - s\n    - {kind: exit_code, expect: [0, 3], weight: 2}\nworkers: {here: {host: {kind: local}, slots: 2}}\n";
    let toml = read(Syntax::Toml, toml).unwrap();
    let yaml = read(Syntax::Yaml, yaml).unwrap();
    let json = r#"{"version": 1, "name": "x", "metadata": {"a": [1, 2.5, {"b": true}]}, "vars": {"profile": "release", "jobs": 4},
        "tasks": {"build": {"run": ["cargo", "build"], "needs": ["a", {"task": "b", "accept": "partial"}],
        "matrix": {"os": ["linux", 1, true], "exclude": [{"os": 1}]},
        "when": {"env": {"CI": true, "X": "y"}, "branch": ["main", "release/*"]},
        "scorers": ["s", {"kind": "exit_code", "expect": [0, 3], "weight": 2}]}},
        "workers": {"here": {"host": {"kind": "local"}, "slots": 2}}}"#;
    assert_eq!(toml, yaml);
    assert_eq!(toml, read(Syntax::Json, json).unwrap());
    let (_, task) = &toml.tasks.as_ref().unwrap()[0];
    assert!(matches!(task.run.as_deref(), Some(RunRaw::Argv(argv)) if argv.len() == 2));
    assert!(matches!(&task.needs.as_ref().unwrap()[1], NeedRaw::Table(need) if need.accept == Some(Accept::Partial)));
    assert!(
        matches!(&task.scorers.as_ref().unwrap()[1], ScorerRef::Inline(scorer) if scorer.common().weight == Some(2.0))
    );
    assert_eq!(toml.vars.as_ref().unwrap()[1].1, Scalar::Integer(4));
}

#[test]
fn mistakes_are_bounded_in_number() {
    let text: String = (0..5000).fold(String::new(), |text, i| text + &format!("wrong{i} = 1\n"));
    assert_eq!(read(Syntax::Toml, &text).unwrap_err().len(), super::PROBLEMS_MAX);
}

#[test]
fn a_task_as_written_is_small() {
    // 100,000 of them are in memory at once.
    assert!(size_of::<crate::spec::file::TaskRaw>() <= 272, "{}", size_of::<crate::spec::file::TaskRaw>());
}
