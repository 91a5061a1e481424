//! The plan, list and graph of one small fleet, in every format.

use super::*;
use crate::cli::graph::Format;
use crate::cli::{graph, list, plan};
use crate::engine::reuse::Rules;
use crate::report::Paint;

fn shown(words: &[&str], show: impl Fn(&Ready, &mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let folder = Folder::with("fleet.toml", FLEET);
    let ready = folder.load(words, &[]).unwrap_or_else(|failed| panic!("{failed:?}"));
    let mut out = Vec::new();
    show(&ready, &mut out).expect("a vector takes everything");
    let text = String::from_utf8(out).expect("text");
    let dir = folder.dir.path().canonicalize().expect("the folder is there");
    text.replace(&dir.display().to_string(), "[workspace]")
}

/// Each field of a table as its value, where it came from, and the place.
pub(super) fn in_brief(table: &mut serde_json::Value) {
    for field in table.as_object_mut().expect("a table").values_mut() {
        let place = ["file", "line", "column"].map(|key| field[key].to_string()).join(":").replace('"', "");
        let origin = field["origin"].as_str().unwrap_or_default();
        let text = format!("{} {origin} {}", field["value"], place.replace("null:null:null", ""));
        *field = text.trim_end().into();
    }
}

#[test]
fn the_plan_for_people() {
    insta::assert_snapshot!(shown(&[], |ready, out| plan::show(ready, Rules::default(), false, Paint::OFF, out)), @"
    release: 7 steps on 2 workers
    1* build         any worker  requested
       cargo build --message-format 'short style'
       run because it has no earlier result here
    2  lint:aarch64  any worker  requested
       sh: cargo fmt --check …
       run because it declares no `inputs`
    3  lint:x86_64   any worker  requested
       sh: cargo fmt --check …
       run because it declares no `inputs`
    4  old           any worker  skipped: os is `linux`, not `macos`
       true
    5* test          here        requested; after build
       ./target/app --self-test
       run because it has no earlier result here
    6* publish       any worker  requested; after lint:x86_64, lint:aarch64, test, old
       ./publish.sh
       run because it declares no `inputs`
    7  collect       any worker  only after a failure of build
       ./collect.sh
    critical path (*): build → test → publish
    ");
    insta::assert_snapshot!(shown(&["test"], |ready, out| plan::show(ready, Rules::default(), false, Paint::OFF, out)), @"
    release: 3 steps on 2 workers
    1* build    any worker  needed by test
       cargo build --message-format 'short style'
       run because it has no earlier result here
    2* test     here        requested; after build
       ./target/app --self-test
       run because it has no earlier result here
    3  collect  any worker  only after a failure of build
       ./collect.sh
    critical path (*): build → test
    ");
}

#[test]
#[expect(clippy::too_many_lines, reason = "most of them are the snapshot")]
fn the_plan_for_programs_has_every_value_and_its_origin() {
    let text = shown(&["test"], |ready, out| plan::show(ready, Rules::default(), true, Paint::OFF, out));
    let plan: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
    let brief = serde_json::json!({ "all": plan, "steps": null });
    let mut all = brief["all"].clone();
    all["workers"].as_object_mut().expect("a table").values_mut().for_each(in_brief);
    all["steps"] = plan["steps"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|step| {
            let mut step = step.clone();
            in_brief(&mut step["fields"]);
            step
        })
        .collect();
    insta::assert_snapshot!(format!("{all:#}"), @r#"
    {
      "version": 1,
      "file": "[workspace]/fleet.toml",
      "fleet": {
        "name": {
          "value": "release",
          "origin": "file",
          "file": "fleet.toml",
          "line": 1,
          "column": 1
        },
        "description": {
          "value": null,
          "origin": "default"
        },
        "seed": {
          "value": 7,
          "origin": "file",
          "file": "fleet.toml",
          "line": 3,
          "column": 1
        },
        "labels": {
          "value": {},
          "origin": "default"
        },
        "metadata": {
          "value": {},
          "origin": "default"
        }
      },
      "policies": {
        "fail_fast": {
          "value": false,
          "origin": "default"
        },
        "max_parallel": {
          "value": null,
          "origin": "default"
        },
        "timeout": {
          "value": null,
          "origin": "default"
        },
        "limits": {
          "value": {},
          "origin": "default"
        },
        "security": null
      },
      "cache": {
        "max_size": {
          "value": null,
          "origin": "default"
        },
        "max_age": {
          "value": null,
          "origin": "default"
        },
        "remote": {
          "value": null,
          "origin": "default"
        },
        "trust_remote": {
          "value": false,
          "origin": "default"
        }
      },
      "workers": {
        "here": {
          "host": "{\"kind\":\"local\"} file fleet.toml:40:1",
          "slots": "2 file fleet.toml:41:1",
          "labels": "{} default",
          "capabilities": "[\"cargo\"] file fleet.toml:42:1",
          "roles": "[] default",
          "tools": "[] default",
          "trust": "\"local\" default",
          "lease": "null default",
          "reconnect": "null default",
          "cache_size": "null default",
          "attempt_size": "null default",
          "metadata": "{} default"
        },
        "there": {
          "host": "{\"kind\":\"local\"} file fleet.toml:45:1",
          "slots": "1 file fleet.toml:46:1",
          "labels": "{} default",
          "capabilities": "[] default",
          "roles": "[] default",
          "tools": "[] default",
          "trust": "\"local\" default",
          "lease": "null default",
          "reconnect": "null default",
          "cache_size": "null default",
          "attempt_size": "null default",
          "metadata": "{} default"
        }
      },
      "targets": [
        "test"
      ],
      "left_out": [],
      "critical_path": [
        "build",
        "test"
      ],
      "steps": [
        {
          "task": "build",
          "base": "build",
          "what": "run",
          "why": {
            "because": "needed",
            "by": "test"
          },
          "after": [],
          "workers": [
            "here",
            "there"
          ],
          "level": 0,
          "rank": 2,
          "critical": true,
          "grants": [],
          "fields": {
            "description": "\"Compile everything\" file fleet.toml:9:1",
            "run": "[\"cargo\",\"build\",\"--message-format\",\"short style\"] file fleet.toml:10:1",
            "sh": "null default",
            "shell": "null default",
            "needs": "[] default",
            "inputs": "[\"src/**\"] file fleet.toml:11:1",
            "outputs": "[\"target/app\"] file fleet.toml:12:1",
            "artifacts": "[] default",
            "env": "{} default",
            "pass_env": "[] default",
            "workdir": "\"\" default",
            "stdin": "null default",
            "cache": "true default",
            "scratch": "false default",
            "required_files": "[] default",
            "required_env": "[] default",
            "tools": "[] default",
            "writable_paths": "null default",
            "timeout": "\"10m\" defaults fleet.toml:6:1",
            "idle_timeout": "null default",
            "start_within": "null default",
            "retry": "null default",
            "repeat": "null default",
            "on_unknown": "\"retry\" default",
            "priority": "0 default",
            "uses": "{} default",
            "tags": "[] default",
            "when": "{\"holds\":true,\"because\":null} default",
            "matrix": "{} default",
            "allow_failure": "false default",
            "always": "false default",
            "on_failure": "[\"collect\"] file fleet.toml:13:1",
            "worker": "null default",
            "secrets": "[] default",
            "limits": "null default",
            "scorers": "[{\"name\":\"exit_code\",\"kind\":\"exit_code\",\"weight\":1.0,\"at_least\":1.0,\"required\":true,\"expect\":[0]}] default",
            "pass_score": "0.0 default",
            "metadata": "{} default"
          },
          "decision": "run",
          "reasons": [
            {
              "code": "first_run",
              "kind": null,
              "name": null,
              "change": null,
              "from": null,
              "to": null,
              "text": "it has no earlier result here"
            }
          ],
          "if_same": null,
          "reused": null,
          "restored": [],
          "fingerprint": null,
          "inputs": null,
          "needs": null
        },
        {
          "task": "test",
          "base": "test",
          "what": "run",
          "why": {
            "because": "requested"
          },
          "after": [
            {
              "task": "build",
              "kind": "file",
              "output": "target/app"
            }
          ],
          "workers": [
            "here"
          ],
          "level": 1,
          "rank": 1,
          "critical": true,
          "grants": [],
          "fields": {
            "description": "null default",
            "run": "[\"./target/app\",\"--self-test\"] file fleet.toml:24:1",
            "sh": "null default",
            "shell": "null default",
            "needs": "[] default",
            "inputs": "[\"target/app\"] file fleet.toml:25:1",
            "outputs": "[] default",
            "artifacts": "[] default",
            "env": "{} default",
            "pass_env": "[] default",
            "workdir": "\"\" default",
            "stdin": "null default",
            "cache": "true default",
            "scratch": "false default",
            "required_files": "[] default",
            "required_env": "[] default",
            "tools": "[] default",
            "writable_paths": "null default",
            "timeout": "\"10m\" defaults fleet.toml:6:1",
            "idle_timeout": "null default",
            "start_within": "null default",
            "retry": "null default",
            "repeat": "null default",
            "on_unknown": "\"retry\" default",
            "priority": "0 default",
            "uses": "{} default",
            "tags": "[] default",
            "when": "{\"holds\":true,\"because\":null} default",
            "matrix": "{} default",
            "allow_failure": "false default",
            "always": "false default",
            "on_failure": "[] default",
            "worker": "{\"id\":null,\"labels\":{},\"capabilities\":[\"cargo\"],\"trust\":null,\"role\":null,\"tools\":[]} file fleet.toml:26:1",
            "secrets": "[] default",
            "limits": "null default",
            "scorers": "[{\"name\":\"exit_code\",\"kind\":\"exit_code\",\"weight\":1.0,\"at_least\":1.0,\"required\":true,\"expect\":[0]}] default",
            "pass_score": "0.0 default",
            "metadata": "{} default"
          },
          "decision": "run",
          "reasons": [
            {
              "code": "first_run",
              "kind": null,
              "name": null,
              "change": null,
              "from": null,
              "to": null,
              "text": "it has no earlier result here"
            }
          ],
          "if_same": null,
          "reused": null,
          "restored": [],
          "fingerprint": null,
          "inputs": null,
          "needs": null
        },
        {
          "task": "collect",
          "base": "collect",
          "what": "on_failure",
          "why": {
            "because": "failure",
            "of": "build"
          },
          "after": [],
          "workers": [
            "here",
            "there"
          ],
          "level": 1,
          "rank": 0,
          "critical": false,
          "grants": [],
          "fields": {
            "description": "null default",
            "run": "[\"./collect.sh\"] file fleet.toml:37:1",
            "sh": "null default",
            "shell": "null default",
            "needs": "[] default",
            "inputs": "null default",
            "outputs": "[] default",
            "artifacts": "[] default",
            "env": "{} default",
            "pass_env": "[] default",
            "workdir": "\"\" default",
            "stdin": "null default",
            "cache": "true default",
            "scratch": "false default",
            "required_files": "[] default",
            "required_env": "[] default",
            "tools": "[] default",
            "writable_paths": "null default",
            "timeout": "\"10m\" defaults fleet.toml:6:1",
            "idle_timeout": "null default",
            "start_within": "null default",
            "retry": "null default",
            "repeat": "null default",
            "on_unknown": "\"retry\" default",
            "priority": "0 default",
            "uses": "{} default",
            "tags": "[] default",
            "when": "{\"holds\":true,\"because\":null} default",
            "matrix": "{} default",
            "allow_failure": "false default",
            "always": "false default",
            "on_failure": "[] default",
            "worker": "null default",
            "secrets": "[] default",
            "limits": "null default",
            "scorers": "[{\"name\":\"exit_code\",\"kind\":\"exit_code\",\"weight\":1.0,\"at_least\":1.0,\"required\":true,\"expect\":[0]}] default",
            "pass_score": "0.0 default",
            "metadata": "{} default"
          },
          "decision": null,
          "reasons": [],
          "if_same": null,
          "reused": null,
          "restored": [],
          "fingerprint": null,
          "inputs": null,
          "needs": null
        }
      ]
    }
    "#);
}

#[test]
fn the_list() {
    insta::assert_snapshot!(shown(&[], |ready, out| list::human(ready, Paint::OFF, out)), @r#"
    build         Compile everything
    lint:x86_64   #ci
    lint:aarch64  #ci
    test
    old           (not here: os is `linux`, not `macos`)
    publish
    collect       (after a failure of build)
    "#);
    insta::assert_snapshot!(shown(&["tag:ci"], list::json), @r#"
    {
      "version": 1,
      "fleet": "release",
      "tasks": [
        {
          "name": "lint:x86_64",
          "base": "lint",
          "description": null,
          "tags": [
            "ci"
          ],
          "matrix": {
            "target": "x86_64"
          },
          "needs": [],
          "handler_of": [],
          "not_here": null
        },
        {
          "name": "lint:aarch64",
          "base": "lint",
          "description": null,
          "tags": [
            "ci"
          ],
          "matrix": {
            "target": "aarch64"
          },
          "needs": [],
          "handler_of": [],
          "not_here": null
        }
      ]
    }
    "#);
}

#[test]
fn the_graph_in_each_format() {
    insta::assert_snapshot!(shown(&[], |ready, out| graph::write(ready, Format::Dot, out)), @r#"
    digraph "release" {
      rankdir=LR;
      node [shape=box];
      "build" [color=red, penwidth=2];
      "lint:x86_64";
      "lint:aarch64";
      "test" [color=red, penwidth=2];
      "old";
      "publish" [color=red, penwidth=2];
      "collect" [style=dashed];
      "build" -> "test" [label="target/app", color=red, penwidth=2];
      "lint:x86_64" -> "publish";
      "lint:aarch64" -> "publish";
      "test" -> "publish" [color=red, penwidth=2];
      "old" -> "publish";
      "build" -> "collect" [style=dashed, label="on failure"];
    }
    "#);
    insta::assert_snapshot!(shown(&[], |ready, out| graph::write(ready, Format::Mermaid, out)), @r#"
    flowchart LR
      t0["build"]:::critical
      t1["lint:x86_64"]
      t2["lint:aarch64"]
      t3["test"]:::critical
      t4["old"]
      t5["publish"]:::critical
      t6["collect"]:::handler
      t0 ==>|"target/app"| t3
      t1 --> t5
      t2 --> t5
      t3 ==> t5
      t4 --> t5
      t0 -.->|"on failure"| t6
      classDef critical stroke:#d00,stroke-width:3px
      classDef handler stroke-dasharray:4
    "#);
    insta::assert_snapshot!(shown(&["test"], |ready, out| graph::write(ready, Format::Json, out)), @r#"
    {
      "version": 1,
      "fleet": "release",
      "tasks": [
        {
          "name": "build",
          "base": "build",
          "part": "need",
          "tags": [],
          "critical": true
        },
        {
          "name": "test",
          "base": "test",
          "part": "target",
          "tags": [],
          "critical": true
        },
        {
          "name": "collect",
          "base": "collect",
          "part": "handler",
          "tags": [],
          "critical": false
        }
      ],
      "edges": [
        {
          "from": "build",
          "to": "test",
          "kind": "file",
          "critical": true,
          "output": "target/app",
          "input": "target/app"
        },
        {
          "from": "build",
          "to": "collect",
          "kind": "on_failure"
        }
      ],
      "critical_path": [
        "build",
        "test"
      ]
    }
    "#);
}
