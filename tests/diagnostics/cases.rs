//! The cases: a name, and the files, the first of which is loaded. `name@` is a link to the path in it.

use super::Files;

#[rustfmt::skip]
#[expect(clippy::needless_raw_string_hashes, reason = "all files are quoted alike")]
pub(crate) const CASES: &[(&str, Files)] = &[
    ("toml_syntax", &[
        ("fleet.toml", br#"name = "x"
[tasks.a
run = "x"
"#),
    ]),
    ("toml_duplicate_key", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
run = "y"
"#),
    ]),
    ("toml_duplicate_table", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[tasks.a]
run = "y"
"#),
    ]),
    ("toml_bare_value", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = cargo build
"#),
    ]),
    ("toml_crlf", &[
        ("fleet.toml", b"name = \"x\"\r\n[tasks.a]\r\nrunn = \"x\"\r\n"),
    ]),
    ("toml_bom", &[
        ("fleet.toml", b"\xef\xbb\xbfname = \"x\"\n[tasks.a]\nrun = \"a | b\"\n"),
    ]),
    ("toml_not_utf8", &[
        ("fleet.toml", b"name = \"x\"\n[tasks.a]\nrun = \"\xff\xfe\"\n"),
    ]),
    ("toml_utf16", &[
        ("fleet.toml", b"\xff\xfen\x00a\x00m\x00e\x00"),
    ]),
    ("toml_non_ascii_columns", &[
        ("fleet.toml", r#"name = "x"
[tasks.a]
env = { "grüße" = "日本" }
run = "echo '日本語' | grüßen"
"#.as_bytes()),
    ]),
    ("toml_too_deep", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
metadata = { a = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]] }
"#),
    ]),
    ("empty_file", &[
        ("fleet.toml", br#""#),
    ]),
    ("yaml_tab", &[
        ("fleet.yaml", b"name: x\ntasks:\n  a:\n\trun: x\n"),
    ]),
    ("yaml_boolean", &[
        ("fleet.yaml", br#"name: x
tasks:
  a:
    run: x
    always: yes
"#),
    ]),
    ("yaml_duplicate_key", &[
        ("fleet.yaml", br#"name: x
tasks:
  a:
    run: x
    run: y
"#),
    ]),
    ("yaml_syntax", &[
        ("fleet.yaml", br#"name: x
tasks:
  a:
    run: "x
"#),
    ]),
    ("yaml_documents", &[
        ("fleet.yaml", br#"name: x
tasks:
  a:
    run: x
---
name: y
"#),
    ]),
    ("yaml_merge_key", &[
        ("fleet.yaml", br#"name: x
tasks:
  a: &a
    run: x
  b:
    <<: *a
"#),
    ]),
    ("yaml_tag", &[
        ("fleet.yaml", br#"name: x
tasks:
  a:
    run: !!binary aGk=
"#),
    ]),
    ("yaml_unknown_alias", &[
        ("fleet.yaml", br#"name: x
tasks:
  a:
    run: *nothing
"#),
    ]),
    ("yaml_complex_key", &[
        ("fleet.yaml", br#"name: x
tasks:
  ? [a, b]
  : run: x
"#),
    ]),
    ("yaml_nothing", &[
        ("fleet.yaml", br#"name: x
tasks:
  a:
    run:
"#),
    ]),
    ("yaml_crlf", &[
        ("fleet.yaml", b"name: x\r\ntasks:\r\n  a:\r\n    runn: x\r\n"),
    ]),
    ("yaml_bom", &[
        ("fleet.yaml", b"\xef\xbb\xbfname: x\ntasks:\n  a:\n    needs: [b]\n    run: x\n"),
    ]),
    ("yaml_shell_syntax", &[
        ("fleet.yaml", br#"name: x
tasks:
  a:
    run: cargo test | tee log
"#),
    ]),
    ("yaml_bare_number", &[
        ("fleet.yaml", br#"name: x
tasks:
  a:
    run: x
    timeout: 90
"#),
    ]),
    ("yaml_block_shell", &[
        ("fleet.yaml", br#"name: x
tasks:
  a:
    run: |
      cargo build
      cargo test
"#),
    ]),
    ("yaml_unknown_key", &[
        ("fleet.yaml", br#"name: x
tasks:
  a:
    run: x
    need: [b]
"#),
    ]),
    ("yaml_need_unknown", &[
        ("fleet.yaml", br#"name: x
tasks:
  build:
    run: x
  test:
    needs: [biuld]
    run: y
"#),
    ]),
    ("json_comment", &[
        ("fleet.json", br#"{
  "name": "x", // why
  "tasks": { "a": { "run": "x" } }
}
"#),
    ]),
    ("json_trailing_comma", &[
        ("fleet.json", br#"{
  "name": "x",
  "tasks": { "a": { "run": "x", } }
}
"#),
    ]),
    ("json_single_quotes", &[
        ("fleet.json", br#"{ 'name': 'x' }
"#),
    ]),
    ("json_duplicate_key", &[
        ("fleet.json", br#"{ "name": "x", "tasks": { "a": { "run": "x" }, "a": { "run": "y" } } }
"#),
    ]),
    ("json_cut_off", &[
        ("fleet.json", br#"{ "name": "x", "tasks": {
"#),
    ]),
    ("json_shell_syntax", &[
        ("fleet.json", br#"{ "name": "x", "tasks": { "a": { "run": "a && b" } } }
"#),
    ]),
    ("json_escaped_text", &[
        ("fleet.json", br#"{ "name": "x", "tasks": { "a": { "run": "a \u0026\u0026 b" } } }
"#),
    ]),
    ("json_null", &[
        ("fleet.json", br#"{ "name": "x", "tasks": { "a": { "run": null } } }
"#),
    ]),
    ("unknown_key", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
needz = []
"#),
    ]),
    ("unknown_key_no_near", &[
        ("fleet.toml", br#"name = "x"
colour = "red"
[tasks.a]
run = "x"
"#),
    ]),
    ("unknown_key_in_scorer", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = [{ kind = "junit", pth = "a.xml", path = "b.xml" }]
"#),
    ]),
    ("wrong_type", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = 5
always = "yes"
needs = "b"
priority = 1.5
"#),
    ]),
    ("missing_field", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
artifacts = [{ kind = "log" }]
"#),
    ]),
    ("missing_kind", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = [{ path = "b.xml" }]
"#),
    ]),
    ("unknown_kind", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = [{ kind = "jnit", path = "b.xml" }]
"#),
    ]),
    ("unknown_word", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
sh = "x"
shell = "zsh"
"#),
    ]),
    ("not_supported_yet", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
budget = { max_seconds = 3 }
needs = ["b"]
[tasks.b]
run = "y"
[gates.release]
require = []
"#),
    ]),
    ("kind_not_supported_yet", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = [{ kind = "manual" }]
"#),
    ]),
    ("retry_verifier", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
retry = { on = ["transport", "verifier", "transport"] }
"#),
    ]),
    ("retry_numbers", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
retry = { max_attempts = 0, multiplier = 0.9, initial_backoff = 5, on = ["tsk"] }
[tasks.b]
run = "x"
retry = { multiplier = inf }
"#),
    ]),
    ("backoff_crossed", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
retry = { initial_backoff = "10m" }
[tasks.b]
run = "x"
retry = { initial_backoff = "10m", max_backoff = "1m" }
"#),
    ]),
    ("backoff_crossed_in_defaults", &[
        ("fleet.toml", br#"name = "x"
[defaults]
retry = { initial_backoff = "6m" }
[tasks.a]
run = "x"
[tasks.b]
run = "x"
"#),
    ]),
    ("repeat_numbers", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
repeat = { runs = 0, quorum = 0 }
[tasks.d]
run = "x"
repeat = { quorum = 2 }
[tasks.e]
run = "x"
repeat = 3
"#),
    ]),
    ("retry_too_much", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
retry = { max_attempts = 1001, initial_backoff = "2d", max_backoff = "3d", on = [] }
"#),
    ]),
    ("repeat_quorum", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
repeat = { runs = 3, quorum = 4 }
[tasks.b]
run = "x"
repeat = { runs = 1001 }
"#),
    ]),
    ("on_unknown_word", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
on_unknown = "ask"
"#),
    ]),
    ("duration_bare_number", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
timeout = 90
"#),
    ]),
    ("duration_without_unit", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
timeout = "90"
"#),
    ]),
    ("duration_unknown_unit", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
timeout = "10 minutes"
"#),
    ]),
    ("duration_zero", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
timeout = "0s"
"#),
    ]),
    ("duration_through_variable", &[
        ("fleet.toml", br#"name = "x"
[vars]
t = "ten"
[tasks.a]
run = "x"
timeout = "${vars.t}"
"#),
    ]),
    ("size_bare_number", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = [{ kind = "junit", path = "a.xml", max_bytes = 512 }]
"#),
    ]),
    ("size_unknown_unit", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = [{ kind = "junit", path = "a.xml", max_bytes = "512M" }]
"#),
    ]),
    ("size_through_variable", &[
        ("fleet.toml", br#"name = "x"
[vars]
s = "512"
[tasks.a]
run = "x"
scorers = [{ kind = "junit", path = "a.xml", max_bytes = "${vars.s}" }]
"#),
    ]),
    ("name_bad", &[
        ("fleet.toml", br#"name = "x"
[tasks."a b"]
run = "x"
"#),
    ]),
    ("number_zero", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[workers.w]
host = "local"
slots = 0
"#),
    ]),
    ("number_negative", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
uses = { gpu = -1 }
[policies.limits]
gpu = 1
"#),
    ]),
    ("share_out_of_range", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
pass_score = 1.5
"#),
    ]),
    ("weight_zero", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = [{ kind = "exit_code", weight = 0 }]
"#),
    ]),
    ("seed_zero", &[
        ("fleet.toml", br#"name = "x"
seed = 0
[tasks.a]
run = "x"
"#),
    ]),
    ("matrix_without_axes", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
matrix = { exclude = [] }
"#),
    ]),
    ("version_unknown", &[
        ("fleet.toml", br#"name = "x"
version = 2
[tasks.a]
run = "x"
"#),
    ]),
    ("name_missing", &[
        ("fleet.toml", br#"[tasks.a]
run = "x"
"#),
    ]),
    ("no_tasks", &[
        ("fleet.toml", br#"name = "x"
[vars]
a = "b"
"#),
    ]),
    ("include_missing", &[
        ("fleet.toml", br#"name = "x"
include = ["ci/test.toml"]
[tasks.a]
run = "x"
"#),
        ("ci/tests.toml", br#"[tasks.b]
run = "x"
"#),
    ]),
    ("include_nothing", &[
        ("fleet.toml", br#"name = "x"
include = ["ci/*.toml"]
[tasks.a]
run = "x"
"#),
    ]),
    ("include_cycle", &[
        ("fleet.toml", br#"name = "x"
include = ["a.toml"]
[tasks.a]
run = "x"
"#),
        ("a.toml", br#"include = ["b.yaml"]
"#),
        ("b.yaml", br#"include:
  - a.toml
"#),
    ]),
    ("include_not_a_fleet_file", &[
        ("fleet.toml", br#"name = "x"
include = ["notes.txt"]
[tasks.a]
run = "x"
"#),
        ("notes.txt", br#"hi"#),
    ]),
    ("include_leaves_workspace", &[
        ("fleet.toml", br#"name = "x"
include = ["../other.toml"]
[tasks.a]
run = "x"
"#),
    ]),
    ("include_twice_defined", &[
        ("fleet.toml", br#"name = "x"
include = ["ci.yaml"]
[tasks.build]
run = "x"
"#),
        ("ci.yaml", br#"tasks:
  build:
    run: y
"#),
    ]),
    ("include_key_twice", &[
        ("fleet.toml", br#"name = "x"
include = ["ci.toml"]
seed = 1
[tasks.build]
run = "x"
"#),
        ("ci.toml", br#"seed = 2
"#),
    ]),
    ("include_mistake_inside", &[
        ("fleet.toml", br#"name = "x"
include = ["ci.toml"]
[tasks.build]
run = "x"
"#),
        ("ci.toml", br#"[tasks.test]
run = "y"
needs = ["biuld"]
"#),
    ]),
    ("file_ending", &[
        ("fleet.txt", br#"name = "x"
"#),
    ]),
    ("reference_unknown", &[
        ("fleet.toml", br#"name = "x"
[vars]
profile = "dev"
[tasks.a]
run = "cargo build --profile ${vars.profil}"
"#),
    ]),
    ("reference_without_family", &[
        ("fleet.toml", br#"name = "x"
[vars]
profile = "dev"
[tasks.a]
env = { P = "${profile}" }
run = "x"
"#),
    ]),
    ("reference_environment", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
sh = "echo ${env.HOME} ${HOME}"
"#),
    ]),
    ("reference_open", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = ["echo", "${vars.x"]
"#),
    ]),
    ("reference_no_matrix", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "echo ${matrix.arch}"
"#),
    ]),
    ("vars_cycle", &[
        ("fleet.toml", br#"name = "x"
[vars]
a = "${vars.b}"
b = "<${vars.c}>"
c = "${vars.a}"
[tasks.a]
run = "x"
"#),
    ]),
    ("vars_explode", &[
        ("fleet.toml", br#"name = "x"
[vars]
v0 = "xxxxxxxxxxxxxxxx"
v1 = "${vars.v0}${vars.v0}${vars.v0}${vars.v0}${vars.v0}${vars.v0}${vars.v0}${vars.v0}"
v2 = "${vars.v1}${vars.v1}${vars.v1}${vars.v1}${vars.v1}${vars.v1}${vars.v1}${vars.v1}"
v3 = "${vars.v2}${vars.v2}${vars.v2}${vars.v2}${vars.v2}${vars.v2}${vars.v2}${vars.v2}"
v4 = "${vars.v3}${vars.v3}${vars.v3}${vars.v3}${vars.v3}${vars.v3}${vars.v3}${vars.v3}"
v5 = "${vars.v4}${vars.v4}${vars.v4}${vars.v4}${vars.v4}${vars.v4}${vars.v4}${vars.v4}"
v6 = "${vars.v5}${vars.v5}${vars.v5}${vars.v5}${vars.v5}${vars.v5}${vars.v5}${vars.v5}"
[tasks.a]
run = "x"
"#),
    ]),
    ("action_missing", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
needs = []
"#),
    ]),
    ("action_twice", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
sh = "y"
"#),
    ]),
    ("shell_pipe", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "cargo test | tee log"
"#),
    ]),
    ("shell_redirect", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "cargo test > log 2>&1"
"#),
    ]),
    ("shell_sequence", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "cargo build; cargo test"
"#),
    ]),
    ("shell_and", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "cargo build && cargo test"
"#),
    ]),
    ("shell_background", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "server &"
"#),
    ]),
    ("shell_variable", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "echo $HOME"
"#),
    ]),
    ("shell_substitution", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "echo $(date) `date`"
"#),
    ]),
    ("shell_glob", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "ls *.rs"
"#),
    ]),
    ("shell_home", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "ls ~/x"
"#),
    ]),
    ("shell_subshell", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "(cd x)"
"#),
    ]),
    ("shell_builtin", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "cd src"
"#),
    ]),
    ("shell_assignment", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "CC=clang make"
"#),
    ]),
    ("shell_comment", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "make all # everything"
"#),
    ]),
    ("shell_in_scorer", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = [{ kind = "command", run = "grep x | wc" }]
"#),
    ]),
    ("shell_lines", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = """
cargo build
cargo test
"""
"#),
    ]),
    ("quote_open", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "echo 'hi"
"#),
    ]),
    ("backslash_alone", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = 'echo \'
"#),
    ]),
    ("command_empty", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = " "
[tasks.b]
run = []
[tasks.c]
run = ["", "x"]
"#),
    ]),
    ("command_nul", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = ["echo", "a\u0000b"]
"#),
    ]),
    ("script_empty", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
sh = "\n"
"#),
    ]),
    ("shell_without_script", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
shell = "bash"
"#),
    ]),
    ("need_unknown", &[
        ("fleet.toml", br#"name = "x"
[tasks.build]
run = "x"

[tasks.test]
run = "y"
needs = ["biuld"]
"#),
    ]),
    ("need_unknown_far", &[
        ("fleet.toml", br#"name = "x"
[tasks.build]
run = "x"
needs = ["deploy"]
"#),
    ]),
    ("need_unknown_table", &[
        ("fleet.toml", br#"name = "x"
[tasks.build]
run = "x"
[tasks.test]
run = "y"
needs = [{ task = "buld", accept = "partial" }]
"#),
    ]),
    ("need_unknown_instance", &[
        ("fleet.toml", br#"name = "x"
[tasks.build]
run = "x"
matrix = { arch = ["x86_64", "aarch64"] }
[tasks.test]
run = "y"
needs = ["build:aarch46"]
"#),
    ]),
    ("need_itself", &[
        ("fleet.toml", br#"name = "x"
[tasks.build]
run = "x"
needs = ["build"]
"#),
    ]),
    ("need_itself_by_tag", &[
        ("fleet.toml", br#"name = "x"
[tasks.build]
run = "x"
tags = ["ci"]
[tasks.test]
run = "y"
tags = ["ci"]
needs = ["tag:ci"]
"#),
    ]),
    ("need_twice", &[
        ("fleet.toml", br#"name = "x"
[tasks.build]
run = "x"
[tasks.test]
run = "y"
needs = ["build", "build"]
"#),
    ]),
    ("need_on_handler", &[
        ("fleet.toml", br#"name = "x"
[tasks.build]
run = "x"
on_failure = ["clean"]
[tasks.clean]
run = "y"
[tasks.test]
run = "z"
needs = ["clean"]
"#),
    ]),
    ("tag_unknown", &[
        ("fleet.toml", br#"name = "x"
[tasks.build]
run = "x"
tags = ["ci", "fast"]
[tasks.test]
run = "y"
needs = ["tag:fsat"]
"#),
    ]),
    ("tag_unknown_far", &[
        ("fleet.toml", br#"name = "x"
[tasks.test]
run = "y"
needs = ["tag:slow"]
"#),
    ]),
    ("tag_bad", &[
        ("fleet.toml", br#"name = "x"
[tasks.test]
run = "y"
tags = ["my tag"]
"#),
    ]),
    ("tag_twice", &[
        ("fleet.toml", br#"name = "x"
[tasks.test]
run = "y"
tags = ["a", "b", "a"]
"#),
    ]),
    ("handler_unknown", &[
        ("fleet.toml", br#"name = "x"
[tasks.clean]
run = "x"
[tasks.build]
run = "y"
on_failure = ["claen"]
"#),
    ]),
    ("handler_of_itself", &[
        ("fleet.toml", br#"name = "x"
[tasks.build]
run = "y"
on_failure = ["build"]
"#),
    ]),
    ("handler_with_needs", &[
        ("fleet.toml", br#"name = "x"
[tasks.build]
run = "x"
on_failure = ["clean"]
[tasks.clean]
run = "y"
needs = ["build"]
always = true
"#),
    ]),
    ("matrix_value_twice", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
matrix = { arch = ["x", "y", "x"] }
"#),
    ]),
    ("matrix_bad_value", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
matrix = { arch = ["x/y"] }
"#),
    ]),
    ("matrix_empty_axis", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
matrix = { arch = [] }
"#),
    ]),
    ("matrix_unknown_axis", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
matrix = { arch = ["x", "y"], exclude = [{ ach = "x" }] }
"#),
    ]),
    ("matrix_excludes_nothing", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
matrix = { arch = ["x", "y"], os = ["l", "m"], exclude = [{ arch = "z", os = "l" }] }
"#),
    ]),
    ("matrix_excludes_all", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
matrix = { arch = ["x", "y"], exclude = [{ arch = "x" }, { arch = "y" }] }
"#),
    ]),
    ("matrix_too_many_tasks", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[tasks.a.matrix]
a = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59]
b = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59]
c = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59]
"#),
    ]),
    ("worker_unknown", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
worker = { id = "bulder" }
[workers.builder]
host = "local"
"#),
    ]),
    ("host_word", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[workers.w]
host = "ssh"
[workers.v]
host = "podman"
"#),
    ]),
    ("host_word_unknown", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[workers.w]
host = "lokal"
[workers.v]
host = { kind = "dokker", image = "x" }
"#),
    ]),
    ("host_incomplete", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[workers.w]
host = { kind = "ssh", user = "ci" }
[workers.v]
host = { kind = "docker", imgae = "x" }
"#),
    ]),
    ("ssh_names", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[workers.a]
host = { kind = "ssh", host = "-oProxyCommand=sh" }
[workers.b]
host = { kind = "ssh", host = "ci@build.example" }
[workers.c]
host = { kind = "ssh", host = "build example", user = "-l" }
[workers.d]
host = { kind = "ssh", host = "", user = "a;b" }
"#),
    ]),
    ("ssh_name_through_variable", &[
        ("fleet.toml", br#"name = "x"
[vars]
host = "-x"
[tasks.a]
run = "x"
[workers.w]
host = { kind = "ssh", host = "${vars.host}" }
"#),
    ]),
    ("ssh_paths", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[workers.a]
host = { kind = "ssh", host = "h", identity = "~/.ssh/ci" }
[workers.b]
host = { kind = "ssh", host = "h", identity = "~root/key", known_hosts = "../known_hosts" }
[workers.c]
host = { kind = "ssh", host = "h", identity = "/keys/%h", known_hosts = "/etc/../hosts" }
[workers.d]
host = { kind = "ssh", host = "h", identity = "-key", working_directory = "~/fleet" }
[workers.e]
host = { kind = "ssh", host = "h", working_directory = "/" }
[workers.f]
host = { kind = "ssh", host = "h", working_directory = "/srv/../x" }
"#),
    ]),
    ("ssh_fingerprint", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[workers.w]
host = { kind = "ssh", host = "h", host_key_fingerprint = "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48" }
"#),
    ]),
    ("image_bad", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[workers.a]
host = { kind = "docker", image = "-v" }
[workers.b]
host = { kind = "docker", image = "Rust" }
[workers.c]
host = { kind = "podman", image = "rust@sha256:abc" }
[workers.d]
host = { kind = "podman", image = "docker://rust" }
"#),
    ]),
    ("image_not_pinned", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[workers.w]
host = { kind = "podman", image = "rust:1.85" }
trust = "local"
"#),
    ]),
    ("image_not_pinned_by_policy", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[workers.w]
host = { kind = "docker", image = "rust" }
[policies.security]
default_trust = "operator"
max_trust = "local"
"#),
    ]),
    ("container_args", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[workers.a]
host = { kind = "docker", image = "rust", args = ["--cpus=2", "--privileged", "--network=bridge", "-v", "./data:/data"] }
[workers.b]
host = { kind = "docker", image = "rust@sha256:abababababababababababababababababababababababababababababababab", args = ["-v", "/var/run/docker.sock:/s", "-v", "/etc:/etc", "--pid", "host"] }
trust = "local"
"#),
    ]),
    ("container_args_no_trust", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[workers.w]
host = { kind = "podman", image = "rust@sha256:abababababababababababababababababababababababababababababababab", args = ["--rm", "other/image", "--read-only=yes", "--new", "-x", "-m"] }
trust = "operator"
"#),
    ]),
    ("slots_twice", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[workers.w]
host = "local"
slots = 2
max_concurrent_tasks = 3
"#),
    ]),
    ("worker_field_of_remote", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[workers.w]
host = "local"
lease = "30s"
reconnect = "0s"
cache_size = "1GiB"
attempt_size = "1GiB"
[workers.s]
host = "local"
trust = "sandbox"
lease = "30s"
cache_size = "1GiB"
attempt_size = "1GiB"
"#),
    ]),
    ("attempt_size_too_small", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[workers.w]
host = { kind = "ssh", host = "h" }
attempt_size = "64kB"
"#),
    ]),
    ("lease_out_of_range", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[workers.w]
host = { kind = "ssh", host = "h" }
lease = "2s"
[workers.v]
host = { kind = "ssh", host = "h" }
lease = "2h"
"#),
    ]),
    ("trust_of_host", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[workers.w]
host = "local"
trust = "remote_verified"
[workers.v]
host = { kind = "docker", image = "x" }
[policies.security]
default_trust = "remote_verified"
"#),
    ]),
    ("limits_bad", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
limits = { cpu = 0, memory = "512kB", pids = 0 }
[tasks.b]
run = "x"
limits = { cpu = 2000, memory = 512, disk = 3 }
"#),
    ]),
    ("limit_too_small", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
limits = { memory = "512kB" }
"#),
    ]),
    ("limit_too_large", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
limits = { pids = 4194304 }
[tasks.b]
run = "x"
limits = { pids = 99999999 }
"#),
    ]),
    ("grant_without_reason", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[policies.security]
grants = [{ capability = "secrets", scope = "a" }]
"#),
    ]),
    ("grant_for_nobody", &[
        ("fleet.toml", br#"name = "x"
[tasks.publish]
run = "x"
matrix = { to = ["a", "b"] }
[policies.security]
grants = [{ capability = "network", scope = "pubish", reason = "x" }, { capability = "network", scope = "publish:c", reason = "x" }, { capability = "network", scope = "publish", reason = "x" }]
"#),
    ]),
    ("grants_of_no_capability", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[policies.security]
grants = [
  { capability = "netwrok", scope = "a", reason = "x" },
  { capability = "write", scope = "a", reason = "x" },
  { capability = "write:**/dist", scope = "a", reason = "x" },
  { capability = "write:../dist", scope = "a", reason = " " },
  { capability = "write:logs/*.log", scope = "a", reason = "x" },
  { capability = "root", scope = "a[", reason = "x" },
]
"#),
    ]),
    ("security_lists", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[policies.security]
sandbox = ["landlock", "landlock"]
allowed_secrets = ["A", "not-a-name", "A"]
secrets_directory = "secrets"
secrets_command = "pass show | head -1"
"#),
    ]),
    ("pool_unknown", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
uses = { gpus = 1 }
[policies.limits]
gpu = 2
"#),
    ]),
    ("pool_too_small", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
uses = { gpu = 3 }
[policies.limits]
gpu = 2
"#),
    ]),
    ("platform_unknown", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
when = { os = "darwin", arch = ["x86_64", "amd46"] }
"#),
    ]),
    ("branch_glob", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
when = { branch = "release/[" }
"#),
    ]),
    ("scorer_unknown", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = ["siute"]
[scorers.suite]
kind = "exit_code"
"#),
    ]),
    ("scorer_cycle", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[scorers.one]
kind = "all"
of = ["two"]
[scorers.two]
kind = "any"
of = ["one"]
"#),
    ]),
    ("scorer_twice", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = ["suite", "suite"]
[scorers.suite]
kind = "exit_code"
"#),
    ]),
    ("scorer_too_many", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
[scorers.s0]
kind = "exit_code"
[scorers.s1]
kind = "all"
of = ["s0", "s0", "s0", "s0", "s0", "s0", "s0", "s0", "s0", "s0", "s0", "s0"]
[scorers.s2]
kind = "all"
of = ["s1", "s1", "s1", "s1", "s1", "s1", "s1", "s1", "s1", "s1", "s1", "s1"]
[scorers.s3]
kind = "all"
of = ["s2", "s2", "s2", "s2", "s2", "s2", "s2", "s2", "s2", "s2", "s2", "s2"]
"#),
    ]),
    ("regex_bad", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = [{ kind = "regex_match", stream = "stdout", pattern = "ok (\\d+" }]
"#),
    ]),
    ("regex_bad_literal", &[
        ("fleet.toml", r#"name = "x"
[tasks.a]
run = "x"
scorers = [{ kind = "regex_match", stream = "stdout", pattern = 'größe (?=x)' }]
"#.as_bytes()),
    ]),
    ("regex_too_large", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = [{ kind = "regex_match", stream = "stdout", pattern = '(\w{500}){20}' }]
"#),
    ]),
    ("regex_no_source", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = [{ kind = "regex_match", pattern = 'x' }]
"#),
    ]),
    ("regex_two_sources", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = [{ kind = "regex_match", pattern = 'x', path = "a", stream = "stderr" }]
"#),
    ]),
    ("json_path_bad", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = [{ kind = "json_path", path = "a.json", query = "$.items[?@.ok ==]" }]
"#),
    ]),
    ("json_path_bad_dotted", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = [{ kind = "json_path", path = "a.json", query = ".a..b[" }]
"#),
    ]),
    ("json_path_bounds", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = [{ kind = "json_path", path = "a.json", query = "$.a", at_least = 5, at_most = 3 }]
"#),
    ]),
    ("quorum_too_large", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = [{ kind = "quorum", least = 3, of = [{ kind = "exit_code" }, { kind = "file_exists", path = "x" }] }]
"#),
    ]),
    ("combination_empty", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = [{ kind = "all", of = [] }]
"#),
    ]),
    ("exit_code_bad", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
scorers = [{ kind = "exit_code", expect = [0, 256] }]
"#),
    ]),
    ("path_absolute", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
inputs = ["/etc/passwd"]
"#),
    ]),
    ("path_parent", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
outputs = ["target/../../x"]
"#),
    ]),
    ("path_home", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
workdir = "~/x"
"#),
    ]),
    ("path_link", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
required_files = ["out/hosts"]
"#),
        ("out@", br#"/etc"#),
    ]),
    ("path_empty", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
stdin = ""
"#),
    ]),
    ("path_pattern", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
stdin = "data/*.csv"
"#),
    ]),
    ("path_exclusion", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
required_files = ["!a"]
"#),
    ]),
    ("path_bad_glob", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
inputs = ["src/[a-"]
"#),
    ]),
    ("path_nul", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
inputs = ["a\u0000b"]
"#),
    ]),
    ("path_twice", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
outputs = ["a", "./a"]
"#),
    ]),
    ("only_exclusions", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
inputs = ["!src/**"]
"#),
    ]),
    ("idle_timeout_too_long", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
timeout = "1m"
idle_timeout = "5m"
"#),
    ]),
    ("env_name_bad", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
env = { "MY-VAR" = "1" }
pass_env = ["OK_*", "NOT-OK"]
required_env = ["A*"]
"#),
    ]),
    ("own_variable", &[
        ("fleet.toml", br#"name = "x"
[policies.security]
allowed_secrets = ["TOKEN", "FLEET_RUN_ID", "FLEET_OTHER"]
[defaults]
env = { FLEET_STATE_DIR = "/tmp" }
[tasks.a]
run = "x"
env = { FLEET_TASK = "mine", FLEET_TASKS = "2" }
[tasks.b]
run = "x"
secrets = [
    { key = "TOKEN", as = "env:FLEET_ATTEMPT_ID" },
    { key = "TOKEN", as = "file:FLEET_WORKSPACE" },
    { key = "FLEET_RUN_ID", as = "env" },
    "FLEET_OTHER",
]
"#),
    ]),
    ("text_empty", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
tools = ["cargo", ""]
"#),
    ]),
    ("cache_url_scheme", &[
        ("fleet.toml", br#"name = "x"
[cache]
remote = "cache.example:8080"
[tasks.a]
run = "x"
"#),
    ]),
    ("cache_url_host", &[
        ("fleet.toml", br#"name = "x"
[cache]
remote = "https:///bazel"
[tasks.a]
run = "x"
"#),
    ]),
    ("cache_url_port", &[
        ("fleet.toml", br#"name = "x"
cache.remote.url = "https://cache.example:80800/x"
[tasks.a]
run = "x"
"#),
    ]),
    ("cache_url_query", &[
        ("fleet.toml", br#"name = "x"
[cache]
remote = "https://cache.example/x?team=a"
[tasks.a]
run = "x"
"#),
    ]),
    ("cache_url_character", &[
        ("fleet.yaml", br#"name: x
cache:
  remote: https://cache.example/a b
tasks:
  a:
    run: x
"#),
    ]),
    ("cache_url_through_variable", &[
        ("fleet.toml", br#"name = "x"
[vars]
cache = "nfs://cache"
[cache]
remote = { url = "${vars.cache}/x" }
[tasks.a]
run = "x"
"#),
    ]),
    ("cache_url_user", &[
        ("fleet.toml", br#"name = "x"
[cache]
remote = { url = "https://ci@cache.example" }
[tasks.a]
run = "x"
"#),
    ]),
    ("cache_mode_unknown", &[
        ("fleet.toml", br#"name = "x"
[cache]
remote = { url = "https://cache.example", mode = "readonly" }
[tasks.a]
run = "x"
"#),
    ]),
    ("cache_token_not_a_name", &[
        ("fleet.toml", br#"name = "x"
[cache]
remote = { url = "https://cache.example", token_ref = "Bearer abc" }
[tasks.a]
run = "x"
"#),
    ]),
    ("cache_token_in_clear", &[
        ("fleet.toml", br#"name = "x"
[cache]
remote = { url = "http://cache.example:8080", token_ref = "CACHE_TOKEN" }
[tasks.a]
run = "x"
"#),
    ]),
    ("cache_trust_without_remote", &[
        ("fleet.json", br#"{
  "name": "x",
  "cache": { "trust_remote": true },
  "tasks": { "a": { "run": "x" } }
}
"#),
    ]),
    ("cache_without_url", &[
        ("fleet.toml", br#"name = "x"
[cache]
remote = { mode = "read-only", token = "abc" }
[tasks.a]
run = "x"
"#),
    ]),
    ("secret_key", &[
        ("fleet.toml", br#"name = "x"
[policies.security]
allowed_secrets = ["TOKEN"]
[tasks.a]
run = "x"
secrets = ["my token"]
"#),
    ]),
    ("secret_not_allowed", &[
        ("fleet.toml", br#"name = "x"
[tasks.a]
run = "x"
secrets = [{ key = "TOKEN", as = "env" }]
"#),
    ]),
    ("secret_not_in_the_list", &[
        ("fleet.yaml", br#"name: x
policies:
  security:
    allowed_secrets: [DEPLOY_KEY]
tasks:
  a:
    run: x
    secrets: [TOKEN]
"#),
    ]),
    ("secret_nearly_in_the_list", &[
        ("fleet.toml", br#"name = "x"
[policies.security]
allowed_secrets = ["CRATES_TOKEN"]
[tasks.a]
run = "x"
secrets = ["CRATE_TOKEN"]
"#),
    ]),
    ("secret_delivery", &[
        ("fleet.toml", br#"name = "x"
[policies.security]
allowed_secrets = ["TOKEN"]
[tasks.a]
run = "x"
secrets = [{ key = "TOKEN", as = "fil:PATH_OF_IT" }]
[tasks.b]
run = "x"
secrets = [{ key = "TOKEN", as = "argument" }]
[tasks.c]
run = "x"
secrets = [{ key = "TOKEN", as = "env:1X" }]
"#),
    ]),
    ("secret_source", &[
        ("fleet.toml", br#"name = "x"
[policies.security]
allowed_secrets = ["TOKEN"]
[tasks.a]
run = "x"
secrets = [{ key = "TOKEN", source = "vault" }]
[tasks.b]
run = "x"
secrets = [{ key = "TOKEN", source = "files" }]
"#),
    ]),
    ("secret_command_missing", &[
        ("fleet.toml", br#"name = "x"
[policies.security]
allowed_secrets = ["TOKEN"]
[tasks.a]
run = "x"
secrets = [{ key = "TOKEN", source = "command" }]
"#),
    ]),
    ("secret_variable_twice", &[
        ("fleet.toml", br#"name = "x"
[policies.security]
allowed_secrets = ["TOKEN", "OTHER"]
[defaults]
env = { SET = "1" }
[tasks.a]
run = "x"
secrets = [{ key = "TOKEN", as = "env:X" }, { key = "OTHER", as = "file:X" }]
[tasks.b]
run = "x"
secrets = [{ key = "TOKEN", as = "env:SET" }]
"#),
    ]),
    ("secret_passed", &[
        ("fleet.toml", br#"name = "x"
[policies.security]
allowed_secrets = ["TOKEN", "OTHER"]
[defaults]
pass_env = ["T*", "OTHER"]
[tasks.a]
run = "x"
secrets = ["OTHER"]
[tasks.b]
run = "x"
pass_env = ["TOK*", "TOKEN"]
required_env = ["TOKEN"]
[tasks.c]
run = "x"
"#),
    ]),
    ("secret_passed_yaml", &[
        ("fleet.yaml", br#"name: x
policies:
  security:
    allowed_secrets: [TOKEN]
tasks:
  a:
    run: x
    pass_env: [TOKEN]
"#),
    ]),
    ("literal_secret", &[
        ("fleet.toml", b"name = \"x\"\n[tasks.a]\nenv = { A = \"ghp_\x41b3De6Gh9Jk2Mn5Pq8St1Vw4Yz7Bc0Ef3Hi6\" }\nrun = \"curl https://me:\x68unter2@host.example\"\n# AKIA\x41BCDEFGH12345678\n"),
    ]),
    ("literal_secret_beside_another_mistake", &[
        ("fleet.toml", b"name = \"x\"\n[tasks.a]\nenv = { A = \"ghp_\x41b3De6Gh9Jk2Mn5Pq8St1Vw4Yz7Bc0Ef3Hi6\" }\nrunn = [\n"),
    ]),
    ("literal_secret_in_the_message", &[
        ("fleet.toml", b"name = \"x\"\n[tasks.a]\nrun = \"x\"\nshell = \"ghp_\x41b3De6Gh9Jk2Mn5Pq8St1Vw4Yz7Bc0Ef3Hi6\"\n"),
    ]),
    ("literal_private_key", &[
        ("fleet.yaml", b"name: x\ntasks:\n  a:\n    run: x\n    env:\n      KEY: |\n        -----BEGIN PRIVATE KEY-----\n        \x4dIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ\n        C7VJTUt9Us8cKjMzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMv\n        -----END PRIVATE KEY-----\n"),
    ]),
];
