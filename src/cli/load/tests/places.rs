//! Workers and what bounds them, as a person and a program see them.

use super::shown::in_brief;
use super::*;
use crate::cli::{plan, workers};
use crate::engine::reuse::Rules;
use crate::report::Paint;

const PLACES: &str = r#"version = 1
name = "places"

[tasks.build]
run = "make"

[workers.here]
host = "local"
slots = 2
trust = "operator"

[workers.builder]
host = { kind = "ssh", host = "build.example", user = "ci", port = 2222, known_hosts = "known" }
max_concurrent_tasks = 16
labels = { os = "linux", room = "cellar" }
capabilities = ["cargo"]
roles = ["builder"]
tools = ["cargo", "git"]
lease = "45s"

[workers.box]
host = { kind = "podman", image = "debian:12", args = ["--cpus=2"] }

[policies.security]
default_trust = "sandbox"
max_trust = "local"
grants = [{ capability = "write:dist/**", scope = "build", reason = "leaves what it built" }]
"#;

fn shown(show: impl Fn(&Ready, &mut dyn std::io::Write) -> std::io::Result<()>) -> String {
    let folder = Folder::with("fleet.toml", PLACES);
    let ready = folder.load(&[], &[]).unwrap_or_else(|failed| panic!("{failed:?}"));
    let mut out = Vec::new();
    show(&ready, &mut out).expect("a vector takes everything");
    let workspace = ready.fleet.workspace.display().to_string();
    String::from_utf8(out).expect("text").replace(&workspace, "[workspace]")
}

#[test]
fn the_workers_for_people() {
    insta::assert_snapshot!(shown(|ready, out| workers::human(ready, Paint::OFF, out)), @r#"
here     local   this machine
  2 slots, trust local (it has operator, and `max_trust` leaves it that)
builder  ssh     ci@build.example:2222
  16 slots, trust sandbox, lease 45s
  labels: os = "linux", room = "cellar"
  capabilities: cargo
  roles: builder
  tools: cargo, git
box      podman  debian:12
  1 slot, trust sandbox, lease 30s
"#);
}

#[test]
fn the_workers_for_programs() {
    insta::assert_snapshot!(shown(workers::json), @r#"
{
  "version": 1,
  "fleet": "places",
  "workers": [
    {
      "name": "here",
      "host": {
        "kind": "local"
      },
      "slots": 2,
      "labels": {},
      "capabilities": [],
      "roles": [],
      "tools": [],
      "trust": {
        "own": "operator",
        "given": "local"
      },
      "lease": null,
      "reconnect": null,
      "cache_size": null,
      "attempt_size": null,
      "metadata": {}
    },
    {
      "name": "builder",
      "host": {
        "kind": "ssh",
        "host": "build.example",
        "user": "ci",
        "port": 2222,
        "identity": null,
        "known_hosts": "[workspace]/known",
        "host_key_fingerprint": null,
        "working_directory": null
      },
      "slots": 16,
      "labels": {
        "os": "linux",
        "room": "cellar"
      },
      "capabilities": [
        "cargo"
      ],
      "roles": [
        "builder"
      ],
      "tools": [
        "cargo",
        "git"
      ],
      "trust": {
        "own": "sandbox",
        "given": "sandbox"
      },
      "lease": "45s",
      "reconnect": "1m",
      "cache_size": 10737418240,
      "attempt_size": 21474836480,
      "metadata": {}
    },
    {
      "name": "box",
      "host": {
        "kind": "podman",
        "image": "debian:12",
        "args": [
          "--cpus=2"
        ]
      },
      "slots": 1,
      "labels": {},
      "capabilities": [],
      "roles": [],
      "tools": [],
      "trust": {
        "own": "sandbox",
        "given": "sandbox"
      },
      "lease": "30s",
      "reconnect": "1m",
      "cache_size": 10737418240,
      "attempt_size": 21474836480,
      "metadata": {}
    }
  ]
}
"#);
}

#[test]
fn the_plan_for_programs_has_every_value_of_them_and_its_origin() {
    let text = shown(|ready, out| plan::show(ready, Rules::default(), true, Paint::OFF, out));
    let mut plan: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
    plan["workers"].as_object_mut().expect("a table").values_mut().for_each(in_brief);
    in_brief(&mut plan["policies"]["security"]);
    let shown = serde_json::json!({ "workers": plan["workers"], "security": plan["policies"]["security"] });
    insta::assert_snapshot!(format!("{shown:#}"), @r#"
    {
      "workers": {
        "here": {
          "host": "{\"kind\":\"local\"} file fleet.toml:8:1",
          "slots": "2 file fleet.toml:9:1",
          "labels": "{} default",
          "capabilities": "[] default",
          "roles": "[] default",
          "tools": "[] default",
          "trust": "\"local\" file fleet.toml:10:1",
          "lease": "null default",
          "reconnect": "null default",
          "cache_size": "null default",
          "attempt_size": "null default",
          "metadata": "{} default"
        },
        "builder": {
          "host": "{\"kind\":\"ssh\",\"host\":\"build.example\",\"user\":\"ci\",\"port\":2222,\"identity\":null,\"known_hosts\":\"[workspace]/known\",\"host_key_fingerprint\":null,\"working_directory\":null} file fleet.toml:13:1",
          "slots": "16 file fleet.toml:14:1",
          "labels": "{\"os\":\"linux\",\"room\":\"cellar\"} file fleet.toml:15:1",
          "capabilities": "[\"cargo\"] file fleet.toml:16:1",
          "roles": "[\"builder\"] file fleet.toml:17:1",
          "tools": "[\"cargo\",\"git\"] file fleet.toml:18:1",
          "trust": "\"sandbox\" file fleet.toml:25:1",
          "lease": "\"45s\" file fleet.toml:19:1",
          "reconnect": "\"1m\" default",
          "cache_size": "10737418240 default",
          "attempt_size": "21474836480 default",
          "metadata": "{} default"
        },
        "box": {
          "host": "{\"kind\":\"podman\",\"image\":\"debian:12\",\"args\":[\"--cpus=2\"]} file fleet.toml:22:1",
          "slots": "1 default",
          "labels": "{} default",
          "capabilities": "[] default",
          "roles": "[] default",
          "tools": "[] default",
          "trust": "\"sandbox\" file fleet.toml:25:1",
          "lease": "\"30s\" default",
          "reconnect": "\"1m\" default",
          "cache_size": "10737418240 default",
          "attempt_size": "21474836480 default",
          "metadata": "{} default"
        }
      },
      "security": {
        "default_trust": "\"sandbox\" file fleet.toml:25:1",
        "max_trust": "\"local\" file fleet.toml:26:1",
        "require_identity_verification": "false default",
        "allowed_secrets": "[] default",
        "grants": "[{\"capability\":\"write:dist/**\",\"scope\":\"build\",\"reason\":\"leaves what it built\"}] file fleet.toml:27:1",
        "sandbox": "[\"bubblewrap\",\"landlock\"] default",
        "secrets_directory": "null default",
        "secrets_command": "null default"
      }
    }
    "#);
}

#[test]
fn the_plan_says_what_is_granted_and_why() {
    insta::assert_snapshot!(shown(|ready, out| plan::show(ready, Rules::default(), false, Paint::OFF, out)), @"
    places: 1 step on 3 workers
    1* build  any worker  requested
       make
       run because it declares no `inputs`
       granted write:dist/**: leaves what it built
    ");
}

#[test]
fn a_request_for_more_trust_than_the_policy_gives_says_so() {
    insta::assert_snapshot!(wrong(r#"name = "x"
version = 1

[tasks.publish]
run = "true"
worker = { trust = "operator" }

[workers.boss]
host = "local"
trust = "operator"

[policies.security]
max_trust = "local"
"#), @r#"
fleet::impossible_worker

  × no worker can run task `publish`
   ╭─[fleet.toml:6:1]
 5 │ run = "true"
 6 │ worker = { trust = "operator" }
   · ───┬──
   ·    ╰── asked for here
 7 │ 
 8 │ [workers.boss]
   ·          ──┬─
   ·            ╰── the nearest, lacks the trust operator (it has operator, of which `max_trust` leaves local)
 9 │ host = "local"
   ╰────
    ╭─[fleet.toml:13:13]
 12 │ [policies.security]
 13 │ max_trust = "local"
    ·             ───┬───
    ·                ╰── no worker has more trust than this
    ╰────
  help: raise `max_trust`, or let task `publish` ask for less
"#);
}

#[test]
fn a_machine_that_nothing_verifies_is_a_mistake_where_the_policy_wants_it_verified() {
    // They are asked and connect to nothing, but there are machines without them.
    let there = ["ssh", "ssh-keygen"].iter().all(|program| which::which(program).is_ok());
    if !there && std::env::var("CI").as_deref() != Ok("true") {
        println!("skipped: there is no ssh or no ssh-keygen here");
        return;
    }
    let text = |known: &str| {
        format!(
            "name = \"x\"\nversion = 1\n\n[tasks.a]\nrun = \"true\"\n\n[workers.far]\n\
             host = {{ kind = \"ssh\", host = \"build.example\", port = 2222, {known} }}\n\n\
             [policies.security]\nrequire_identity_verification = true\n"
        )
    };
    let own = text("known_hosts = \"known\"");
    let folder = Folder::with("fleet.toml", &own);
    let Err(Failed::Invalid { problems, map, .. }) = folder.load(&[], &[]) else { panic!("it is a mistake") };
    let shown = spec::render::human(&problems, &map, &Style::default());
    let workspace = folder.dir.path().canonicalize().expect("the folder is there").display().to_string();
    insta::assert_snapshot!(shown.replace(&workspace, "[workspace]"), @r#"
    fleet::unknown_host_key

      × nothing verifies the machine of worker `far`
        ╭─[fleet.toml:8:31]
      7 │ [workers.far]
      8 │ host = { kind = "ssh", host = "build.example", port = 2222, known_hosts = "known" }
        ·                               ───────┬───────
        ·                                      ╰── no key is known of [build.example]:2222
      9 │ 
     10 │ [policies.security]
     11 │ require_identity_verification = true
        ·                                 ──┬─
        ·                                   ╰── wanted here
        ╰────
      help: pin its key with `host_key_fingerprint`, which `ssh-keygen -lf` prints on the machine
            itself, or put its key into [workspace]/known
    "#);

    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0nQc5GoB0zBOXNQC2JLGDSYVUsm5OaGsKYNkhZi0T8";
    let known = |line: &str| {
        std::fs::write(folder.dir.path().join("known"), format!("{line} {key}\n")).expect("a file");
        folder.load(&[], &[]).is_ok()
    };
    assert!(known("[build.example]:2222"), "its key is known");
    assert!(!known("build.example"), "that is the key of another port");
    assert!(!known("@revoked [build.example]:2222"), "that key verifies nobody");
    let pinned = "host_key_fingerprint = \"SHA256:ohD8VZEXGWo6Ez8GSEJQ9WpafgLFsOfLOtGGQCQo6Og\"";
    assert!(Folder::with("fleet.toml", &text(pinned)).load(&[], &[]).is_ok(), "a pinned key needs no file");
}
