//! What a fleet file means once it is resolved: needs, matrices, variables, includes, defaults, places and origins.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use fleet::id::Id;
use fleet::model::{Action, Capability, ContainerEngine, Fleet, Host, SandboxLayer, ScorerRule, Shell, Trust};
use fleet::spec::{self, Facts, Loaded, Origin, Request, Seg, render};

fn load(files: &[(&str, &str)], set: &[(&str, &str)]) -> Loaded {
    let folder = tempfile::tempdir().expect("a folder for the files");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("inside the folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    load_at(&folder.path().join(files[0].0), set)
}

fn load_at(file: &Path, set: &[(&str, &str)]) -> Loaded {
    let env =
        HashMap::from([("CI", "true"), ("HOME", "/home/me")].map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut facts = Facts::new(4, env, |_| Some("release/1.4".to_owned()));
    "linux".clone_into(&mut facts.os);
    "x86_64".clone_into(&mut facts.arch);
    let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    match spec::load(&Request { file: file.to_owned(), set, facts }) {
        Ok(loaded) => loaded,
        Err(failure) => panic!("{}", render::human(&failure.problems, &failure.map, &render::Style::default())),
    }
}

fn fleet(text: &str) -> Fleet {
    load(&[("fleet.toml", text)], &[]).fleet
}

fn argv(fleet: &Fleet, task: &str) -> Vec<String> {
    let id = fleet.task_named(task).unwrap_or_else(|| panic!("no task {task}"));
    match &fleet.tasks[id].action {
        Action::Run(argv) => argv.iter().map(ToString::to_string).collect(),
        Action::Script { shell, text } => vec![shell.program().to_owned(), text.to_string()],
    }
}

fn needs(fleet: &Fleet, task: &str) -> Vec<String> {
    let id = fleet.task_named(task).unwrap_or_else(|| panic!("no task {task}"));
    fleet.tasks[id].needs.iter().map(|need| fleet.tasks[need.task].name.to_string()).collect()
}

#[test]
fn a_value_is_filled_in_after_splitting() {
    let fleet = fleet(
        "name = 'x'\n[vars]\nflags = '--a --b; rm'\n[tasks.a]\nrun = \"echo ${vars.flags} 'x ${task.name}' $${y}\"\n\
         [tasks.b]\nsh = 'echo ${vars.flags} ${HOME} $${vars.flags}'\n",
    );
    assert_eq!(argv(&fleet, "a"), ["echo", "--a --b; rm", "x a", "${y}"]);
    assert_eq!(argv(&fleet, "b"), ["sh", "echo --a --b; rm ${HOME} ${vars.flags}"]);
}

#[test]
fn set_goes_before_the_file_and_through_other_variables() {
    let files = [(
        "fleet.toml",
        "name = 'x'\n[vars]\na = 'file'\nb = '<${vars.a}>'\n[tasks.t]\nrun = 'echo ${vars.b}'\npriority = 1\n",
    )];
    let loaded = load(&files, &[("a", "${set}")]);
    assert_eq!(argv(&loaded.fleet, "t"), ["echo", "<${set}>"]);
    assert_eq!(loaded.map.origin("t", "run"), Origin::Set);
    let at = |line, column| Origin::File { path: "fleet.toml".to_owned(), line, column };
    assert_eq!(loaded.map.origin("t", "priority"), at(7, 1));
    assert_eq!(loaded.map.origin("t", "timeout"), Origin::Default);
}

#[test]
fn a_matrix_makes_instances_and_a_need_on_the_base_means_all() {
    let fleet = fleet(
        "name = 'x'\n[tasks.b]\nrun = 'cc ${matrix.arch} ${matrix.opt}'\n\
         matrix = { arch = ['x86', 'arm'], opt = [0, 1], exclude = [{ arch = 'arm', opt = 0 }] }\ntags = ['${matrix.arch}']\n\
         [tasks.all]\nrun = 'x'\nneeds = ['b']\n[tasks.one]\nrun = 'x'\nneeds = ['b:x86:1', 'tag:arm']\n\
         [tasks.same]\nrun = 'x'\nmatrix = { arch = ['x86'] }\nneeds = ['b:${matrix.arch}:0']\n",
    );
    assert_eq!(needs(&fleet, "all"), ["b:x86:0", "b:x86:1", "b:arm:1"]);
    assert_eq!(needs(&fleet, "one"), ["b:x86:1", "b:arm:1"]);
    assert_eq!(needs(&fleet, "same:x86"), ["b:x86:0"]);
    assert_eq!(argv(&fleet, "b:arm:1"), ["cc", "arm", "1"]);
    let instance = &fleet.tasks[fleet.task_named("b:arm:1").unwrap()];
    assert_eq!((&*instance.base, &*instance.matrix[0].0, &*instance.matrix[1].1), ("b", "arch", "1"));
}

#[test]
fn of_two_entries_for_one_need_the_stricter_holds() {
    let fleet = fleet(
        "name = 'x'\n[tasks.a]\nrun = 'x'\ntags = ['t']\n[tasks.b]\nrun = 'x'\n\
         needs = [{ task = 'a', accept = 'partial' }, 'tag:t']\n",
    );
    let need = fleet.tasks[fleet.task_named("b").unwrap()].needs[0];
    assert_eq!((need.task.index(), need.accept_partial), (0, false));
}

#[test]
fn defaults_stand_in_and_say_so() {
    let loaded = load(
        &[(
            "fleet.yaml",
            "name: x\ndefaults:\n  timeout: 10m\n  shell: bash\n  env: {A: 1, B: two}\n  workdir: sub/\ntasks:\n  a:\n    sh: x\n\
             \x20   env: {B: own}\n    timeout: 90s\n  b:\n    run: [x]\n    workdir: .\n",
        )],
        &[],
    );
    let fleet = &loaded.fleet;
    let [a, b] = ["a", "b"].map(|name| &fleet.tasks[fleet.task_named(name).unwrap()]);
    assert_eq!(a.action, Action::Script { shell: Shell::Bash, text: "x".into() });
    assert_eq!((a.timeout, b.timeout), (Some(Duration::from_secs(90)), Some(Duration::from_mins(10))));
    assert_eq!(&*a.env, [("A".into(), "1".into()), ("B".into(), "own".into())]);
    assert_eq!((&*a.workdir, &*b.workdir), ("sub", ""));
    assert_eq!(
        loaded.map.origin("b", "timeout"),
        Origin::Defaults { path: "fleet.yaml".to_owned(), line: 3, column: 3 }
    );
}

#[test]
fn includes_are_merged_across_syntaxes_and_folders() {
    let loaded = load(
        &[
            ("fleet.toml", "name = 'x'\ninclude = ['ci/*.*', '*.toml']\n[tasks.a]\nrun = 'x'\nneeds = ['b', 'c']\n"),
            ("ci/b.yaml", "include: [deep/c.json]\ntasks:\n  b:\n    run: x\n    uses: {gpu: 1}\n"),
            ("ci/deep/c.json", r#"{ "tasks": { "c": { "run": "x" } }, "policies": { "limits": { "gpu": 2 } } }"#),
        ],
        &[],
    );
    assert_eq!(needs(&loaded.fleet, "a"), ["b", "c"]);
    let (file, span) = loaded.map.place(&["tasks", "c", "run"].map(Seg::key)).unwrap();
    let source = loaded.map.source(file).unwrap();
    assert_eq!((source.name.as_str(), &source.text[span]), ("ci/deep/c.json", "\"x\""));
    assert_eq!(loaded.fleet.pools.values().next().unwrap().size, 2);
}

#[test]
fn when_is_decided_by_the_facts() {
    let wanted = |when: &str| {
        let fleet = fleet(&format!("name = 'x'\n[tasks.a]\nrun = 'x'\nwhen = {when}\n"));
        fleet.tasks.values().next().unwrap().unwanted.as_deref().map(str::to_owned)
    };
    for yes in [
        "{ os = 'linux' }",
        "{ os = ['macos', 'linux'], arch = 'x86_64' }",
        "{ env = 'CI' }",
        "{ env = { CI = 'true', NO = false } }",
        "{ branch = ['main', 'release/*'] }",
        "{ exists = 'fleet.toml' }",
        "{ exists = ['nothing', '*.toml'] }",
    ] {
        assert_eq!(wanted(yes), None, "{yes}");
    }
    for (no, why) in [
        ("{ os = 'macos' }", "os is `linux`, not `macos`"),
        ("{ env = 'NO' }", "`NO` is not set"),
        ("{ env = { CI = false } }", "`CI` is set"),
        ("{ env = { CI = 'no' } }", "`CI` is not `no`"),
        ("{ branch = ['main'] }", "branch is `release/1.4`, not `main`"),
        ("{ exists = 'src/**/*.rs' }", "`src/**/*.rs` does not exist"),
    ] {
        assert_eq!(wanted(no).as_deref(), Some(why), "{no}");
    }
}

#[test]
fn scorers_are_named_nested_and_rewritten() {
    let fleet = fleet(
        "name = 'x'\n[tasks.a]\nrun = 'x'\nscorers = ['both', { kind = 'json_path', path = 'a.json', query = '.a.b' }, 'outer']\n\
         [scorers.both]\nkind = 'all'\nof = ['code', { kind = 'regex_match', stream = 'stdout', pattern = 'ok ${task.name}' }]\n\
         [scorers.local]\nkind = 'file_exists'\npath = '${task.name}.txt'\n[scorers.outer]\nkind = 'any'\nof = ['local']\n\
         [scorers.code]\nkind = 'exit_code'\nexpect = [0, 3]\nweight = 2\n",
    );
    let scorers = &fleet.tasks.values().next().unwrap().scorers;
    assert_eq!(&*scorers[0].name, "both");
    let ScorerRule::Quorum { least: 2, of, .. } = &scorers[0].rule else { panic!("{:?}", scorers[0].rule) };
    assert_eq!((&*of[0].name, of[0].weight), ("code", 2.0));
    assert!(matches!(&of[1].rule, ScorerRule::RegexMatch { pattern, .. } if &**pattern == "ok a"));
    assert!(matches!(&scorers[1].rule, ScorerRule::JsonPath { query, .. } if &**query == "$.a.b"));
}

#[test]
fn handlers_tags_and_the_implied_worker() {
    let fleet = fleet(
        "name = 'x'\n[tasks.a]\nrun = 'x'\ntags = ['ci']\non_failure = ['h']\n[tasks.h]\nrun = 'x'\ntags = ['ci']\n\
         [tasks.b]\nrun = 'x'\nneeds = ['tag:ci']\n",
    );
    assert_eq!(needs(&fleet, "b"), ["a"], "a tag does not reach a handler");
    let a = &fleet.tasks[fleet.task_named("a").unwrap()];
    assert_eq!(&*fleet.tasks[a.on_failure[0]].name, "h");
    let worker = fleet.workers.values().next().unwrap();
    assert_eq!((worker.name.as_str(), worker.slots), ("local", 4));
}

#[test]
fn the_same_file_has_the_same_seed() {
    let text = "name = 'x'\n[tasks.a]\nrun = 'x'\n";
    assert_eq!(fleet(text).seed, fleet(text).seed);
    assert_ne!(fleet(text).seed, fleet(&format!("{text}# more\n")).seed);
    assert!(fleet(text).seed > 0);
}

#[test]
fn every_valid_fixture_has_a_meaning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fleets/valid");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the fixtures").flatten() {
        if entry.path().is_file() {
            load_at(&entry.path(), &[]);
            count += 1;
        }
    }
    assert!(count > 0);
}

#[test]
fn every_invalid_fixture_is_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fleets/invalid");
    for entry in fs::read_dir(folder).expect("the fixtures").flatten() {
        let facts = Facts::new(4, HashMap::new(), |_| None);
        let loaded = spec::load(&Request { file: entry.path(), set: Vec::new(), facts });
        assert!(loaded.is_err(), "{} loaded without a word", entry.path().display());
    }
}

#[test]
fn ten_times_the_tasks_take_about_ten_times_the_time() {
    let text = |count: usize| {
        let mut text = "name = 'x'\n".to_owned();
        for n in 0..count {
            let need = n.saturating_sub(1) / 2;
            let _ = write!(
                text,
                "[tasks.task{n}]\nrun = 'echo {n}'\ninputs = ['src/{n}/**']\noutputs = ['out/{n}']\ntimeout = '5m'\n"
            );
            if n > 0 {
                let _ = writeln!(text, "needs = ['task{need}']");
            }
        }
        text
    };
    let time = |count| {
        let text = text(count);
        let start = Instant::now();
        let fleet = fleet(&text);
        assert_eq!(fleet.tasks.len(), count);
        start.elapsed()
    };
    let (small, large) = (time(1_000), time(10_000));
    // Quadratic work would be a hundredfold; a busy machine is not.
    assert!(large < small * 40 + Duration::from_millis(500), "{small:?} for 1,000 tasks, {large:?} for 10,000");
    println!("{small:?} for 1,000 tasks, {large:?} for 10,000");
}

#[test]
fn the_implied_worker_has_slots_for_what_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder for the file");
    let slots = |rest: &str, jobs: Option<u32>| {
        let file = folder.path().join("fleet.toml");
        fs::write(&file, format!("name = 'x'\n[tasks.a]\nrun = 'x'\n{rest}")).expect("a file");
        let mut facts = Facts::new(2, HashMap::new(), |_| None);
        facts.jobs = jobs;
        let loaded = spec::load(&Request { file, set: Vec::new(), facts }).expect("the file is right");
        loaded.fleet.workers.values().map(|worker| worker.slots).collect::<Vec<_>>()
    };
    let (parallel, declared) = ("[policies]\nmax_parallel = 6\n", "[workers.w]\nhost = 'local'\n");
    assert_eq!(slots("", None), [2]);
    assert_eq!(slots("", Some(4)), [4]);
    assert_eq!(slots("", Some(1)), [2]);
    assert_eq!(slots(parallel, None), [6]);
    assert_eq!(slots(parallel, Some(3)), [3]);
    assert_eq!(slots("[policies]\nmax_parallel = 1\n", None), [2]);
    assert_eq!(slots(declared, Some(4)), [2]);
    assert_eq!(slots(&format!("{declared}{parallel}"), None), [2]);
}

#[test]
fn a_worker_has_a_host_and_the_trust_that_is_left_of_it() {
    let digest = "ab".repeat(32);
    let text = |security: &str| {
        format!(
            "name = 'x'\n[tasks.a]\nrun = 'x'\nlimits = {{ cpu = 0.5 }}\n[defaults]\nlimits = {{ pids = 3 }}\n\
             [tasks.b]\nrun = 'x'\n[workers.here]\nhost = 'local'\n\
             [workers.far]\nhost = {{ kind = 'ssh', host = 'h', identity = '~/.ssh/ci', known_hosts = 'keys/known', \
             working_directory = '/srv//fleet/' }}\nlease = '5s'\ntools = ['cc']\n\
             [workers.box]\nhost = {{ kind = 'container', image = 'x@sha256:{digest}' }}\nmax_concurrent_tasks = 3\n\
             [workers.boss]\nhost = 'local'\ntrust = 'operator'\n{security}"
        )
    };
    let trusts = |security: &str| {
        let fleet = fleet(&text(security));
        fleet.workers.values().map(|worker| format!("{} of {}", worker.trust, worker.own_trust)).collect::<Vec<_>>()
    };
    let own = ["local of local", "remote_verified of remote_verified", "sandbox of sandbox", "operator of operator"];
    assert_eq!(trusts(""), own);
    assert_eq!(trusts("[policies.security]\n"), own);
    let lowered = ["local of local", "local of remote_verified", "sandbox of sandbox", "local of operator"];
    assert_eq!(trusts("[policies.security]\nmax_trust = 'local'\n"), lowered);
    let common = ["sandbox of sandbox", "sandbox of sandbox", "sandbox of sandbox", "operator of operator"];
    assert_eq!(trusts("[policies.security]\ndefault_trust = 'sandbox'\n"), common);

    let fleet = fleet(&text(""));
    let workers: Vec<_> = fleet.workers.values().collect();
    let Host::Ssh(ssh) = &workers[1].host else { panic!("{:?}", workers[1].host) };
    assert_eq!(ssh.identity.as_deref(), Some(Path::new("/home/me/.ssh/ci")));
    assert_eq!(ssh.known_hosts, Some(fleet.workspace.join("keys/known")));
    assert_eq!(ssh.working_directory.as_deref(), Some("/srv/fleet"));
    assert_eq!((workers[0].slots, workers[1].slots, workers[2].slots), (4, 1, 3), "elsewhere nobody knows the cores");
    assert_eq!((workers[1].lease, &*workers[1].tools), (Duration::from_secs(5), &["cc".to_owned()][..]));
    let Host::Container(container) = &workers[2].host else { panic!("{:?}", workers[2].host) };
    assert_eq!((container.engine, container.is_pinned()), (ContainerEngine::Docker, true));
    let limits: Vec<_> =
        fleet.tasks.values().map(|task| task.limits.as_deref().map(|l| (l.cpu_milli, l.pids))).collect();
    assert_eq!(limits, [Some((Some(500), None)), Some((None, Some(3)))], "a task's own table is taken whole");
}

#[test]
fn the_policy_on_security_is_resolved_with_the_tasks_its_grants_are_for() {
    let fleet = fleet(
        "name = 'x'\n[tasks.lint]\nrun = 'x'\nmatrix = { on = ['a', 'b'] }\n[tasks.publish]\nrun = 'x'\n[policies.security]\n\
         require_identity_verification = true\nallowed_secrets = ['TOKEN']\nsandbox = ['landlock']\n\
         secrets_directory = '~/secrets'\nsecrets_command = 'pass show'\ngrants = [\
         { capability = 'network', scope = 'lint', reason = 'r' }, { capability = 'release', scope = 'publish', reason = 'r' },\
         { capability = 'write:./dist//**', scope = 'lint:b*', reason = 'r' }]\n",
    );
    let security = fleet.policies.security.as_deref().expect("the table is there");
    assert_eq!((security.default_trust, security.max_trust), (None, Trust::Operator));
    assert_eq!(security.secrets_directory.as_deref(), Some(Path::new("/home/me/secrets")));
    assert_eq!(security.secrets_command.as_deref(), Some(&["pass".into(), "show".into()][..]));
    assert_eq!(security.sandbox, [SandboxLayer::Landlock]);
    assert_eq!(security.grants[2].capability, Capability::Write("dist/**".into()));
    let covered = |n: usize| {
        let covers = security.grants[n].covers();
        let tasks = fleet.tasks.values().filter(|task| covers(&task.name, &task.base));
        tasks.map(|task| &*task.name).collect::<Vec<_>>()
    };
    assert_eq!([covered(0), covered(1), covered(2)], [vec!["lint:a", "lint:b"], vec!["publish"], vec!["lint:b"]]);
}

#[test]
fn the_limits_of_what_is_kept_are_resolved_and_said_by_one_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = |main: &str, other: &str| {
        let file = folder.path().join("fleet.toml");
        let text =
            format!("name = 'x'\ninclude = ['other.toml']\nvars = {{ days = '3d' }}\n[tasks.a]\nrun = 'x'\n{main}");
        fs::write(&file, text).expect("a file");
        fs::write(folder.path().join("other.toml"), format!("version = 1\n{other}")).expect("a file");
        let facts = Facts::new(2, HashMap::new(), |_| None);
        spec::load(&Request { file, set: Vec::new(), facts }).map(|loaded| loaded.fleet.cache)
    };
    let none = cache("", "").expect("the file is right");
    assert_eq!((none.max_size, none.max_age), (None, None));
    let both =
        cache("[cache]\nmax_size = '20GiB'\n", "[cache]\nmax_age = '${vars.days}'\n").expect("the file is right");
    assert_eq!((both.max_size, both.max_age), (Some(20 << 30), Some(Duration::from_hours(72))));
    for (main, other) in [
        ("[cache]\nmax_age = '1d'\n", "[cache]\nmax_age = '1d'\n"),
        ("[cache]\nmax_age = '0d'\n", ""),
        ("[cache]\nmax_size = '20'\n", ""),
    ] {
        assert!(cache(main, other).is_err(), "{main}{other}");
    }
}
