//! That the value of a secret gets where it should and nowhere else: canaries go through every channel there is, and are
//! then looked for on the disk, in arguments, and in all that `fleet` prints. `given` who gets one.

mod given;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::process::Signal;

use super::support::{Fleet, processes, until};

/// With a character that every encoding treats in its own way.
const BY_ENV: &str = "canary-E/7f3a+91\"c d%5e&2b";
const BY_FILE: &str = "canary-F-0011223344556677";
const BY_COMMAND: &str = "canary-C-8899aabbccddeeff";
const CANARIES: [&str; 3] = [BY_ENV, BY_FILE, BY_COMMAND];

const POLICY: &str = r#"
    [policies.security]
    allowed_secrets = ["BY_ENV", "BY_FILE", "BY_COMMAND"]
    secrets_command = ["sh", "pass.sh"]
"#;

/// A folder with a secret of each source, and tasks.
fn fleet(tasks: &str) -> Fleet {
    let fleet = Fleet::of(&format!("{POLICY}{tasks}")).var("BY_ENV", BY_ENV);
    let pass =
        format!("[ \"$1\" = BY_COMMAND ] || exit 3\nprintf '%s%s\\n' '{}' '{}'\n", &BY_COMMAND[..9], &BY_COMMAND[9..]);
    let fleet = fleet.file("pass.sh", pass).file(".config/fleet/secrets/BY_FILE", format!("{BY_FILE}\n"));
    mode(&fleet, ".config/fleet/secrets", 0o700);
    mode(&fleet, ".config/fleet/secrets/BY_FILE", 0o600);
    fleet
}

fn mode(fleet: &Fleet, name: &str, mode: u32) {
    fs::set_permissions(fleet.path(name), fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// What would show a canary: its forms, and its beginning alone.
fn forms(value: &str) -> Vec<Vec<u8>> {
    let hex = |f: fn(&u8) -> String| value.as_bytes().iter().map(f).collect::<String>();
    let json = serde_json::to_string(value).expect("a text");
    let mut forms = vec![
        value[..12].to_owned(),
        hex(|b| format!("{b:02x}")),
        hex(|b| format!("{b:02X}")),
        hex(|b| format!("%{b:02X}")),
        hex(|b| format!("\\u{b:04x}")),
        json[1..json.len() - 1].to_owned(),
    ];
    for before in 0..3 {
        let whole = [&vec![b'.'; before][..], value.as_bytes()].concat();
        let from = (before * 8_usize).div_ceil(6);
        forms.push(base64(&whole)[from..whole.len() * 8 / 6].to_owned());
    }
    forms.into_iter().map(String::into_bytes).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: Vec<u8> = bytes.iter().flat_map(|b| (0..8).rev().map(move |n| b >> n & 1)).collect();
    let digit = |six: &[u8]| six.iter().fold(0, |sum, bit| sum << 1 | usize::from(*bit)) << (6 - six.len());
    bits.chunks(6).map(|six| char::from(DIGITS[digit(six)])).collect()
}

fn shows(text: &[u8], value: &str) -> bool {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
    forms(value).iter().any(|form| memchr::memmem::find(&text, form).is_some())
}

#[track_caller]
fn hides(what: &str, text: &[u8]) {
    for value in CANARIES {
        assert!(!shows(text, value), "{what} shows {value}:\n{}", String::from_utf8_lossy(text));
    }
}

/// Every file below the folder, by its name and its bytes, but for the one that holds a secret. What is removed meanwhile, as
/// the supervisor of a killed run does with what that left, is not there.
fn files(fleet: &Fleet) -> BTreeMap<String, Vec<u8>> {
    fn below(folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in there(fs::read_dir(folder)).into_iter().flatten() {
            let Some(path) = there(entry).map(|entry| entry.path()) else { continue };
            let Some(about) = there(fs::symlink_metadata(&path)) else { continue };
            let name = path.to_string_lossy().into_owned();
            match about {
                about if about.is_dir() => below(&path, files),
                about if about.is_file() => files.extend(there(fs::read(&path)).map(|bytes| (name, bytes))),
                _ => drop(files.insert(name, Vec::new())),
            }
        }
    }
    fn there<T>(read: io::Result<T>) -> Option<T> {
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            read => Some(read.expect("it is ours")),
        }
    }
    let mut all = BTreeMap::new();
    below(&fleet.path(""), &mut all);
    all.retain(|name, _| !name.ends_with("secrets/BY_FILE"));
    all
}

#[track_caller]
fn nothing_on_disk(fleet: &Fleet) {
    for (name, bytes) in files(fleet) {
        hides("a name", name.as_bytes());
        hides(&name, &bytes);
    }
}

/// What commands print of a run that is over.
#[track_caller]
fn nothing_is_told(fleet: &Fleet) {
    let commands: [&[&str]; 10] = [
        &["status"],
        &["status", "--json"],
        &["logs", "t"],
        &["logs", "--raw", "t"],
        &["receipts", "show", "t"],
        &["plan", "--json"],
        &["plan"],
        &["explain", "t"],
        &["list"],
        &["check"],
    ];
    for words in commands {
        let output = fleet.command([]).args(words).output().expect("the program was built");
        hides(&words.join(" "), &output.stdout);
        hides(&words.join(" "), &output.stderr);
    }
}

const ALL: &str = r#"[{ key = "BY_FILE", source = "file" }, { key = "BY_ENV", as = "env" }, { key = "BY_COMMAND", source = "command", as = "env:CMD" }, { key = "BY_FILE", source = "file", as = "env:FROM_FILE" }]"#;

/// Prints what the variable V holds in every form.
const PRINTS: &str = r#"
    echo "$V"
    printf '%s' "$V" | { head -c 9; sleep 0.1; cat; }
    echo; echo "$V" >&2
    printf '%s' "$V" | base64; printf '.%s' "$V" | base64 -w 10; printf '..%s..' "$V" | base64 | tr '+/' '-_'
    printf '%s' "$V" | fold -w 5; echo
    printf '%s' "$V" | od -An -v -tx1 | tr -d ' \n'; echo
    printf '%s' "$V" | od -An -v -tx1 | tr -d ' ' | tr a-f A-F; echo
    printf '%s' "$V" | od -An -v -tx1 | tr -d '\n' | tr ' ' '%'; echo
    printf '{"v":"%s"}\n' "$(printf '%s' "$V" | sed 's/["\\]/\\&/g')"
    printf '{"v":"%s"}\n' "$(printf '%s' "$V" | sed 's/["\\/]/\\&/g')"
"#;

fn prints() -> String {
    let one = |variable: &str| format!("V=\"${variable}\"\n{PRINTS}\n");
    ["BY_ENV", "CMD", "FROM_FILE"].map(one).concat()
}

#[test]
fn no_channel_shows_a_value() {
    for words in
        [&["run"][..], &["run", "--json"], &["run", "-o", "stream", "--no-progress"], &["run", "--ci", "--explain"]]
    {
        let fleet = fleet(&format!(
            r#"
            # With less trust it could not write below /proc, and so not call itself by a value.
            [workers.w]
            host = "local"
            trust = "operator"
            [tasks.t]
            secrets = {}
            sh = '''
            {}
            echo "<testsuite tests='1' failures='1'><testcase name='a'><failure message='$CMD'/></testcase></testsuite>" > /dev/null
            sh -c 'printf %s "$CMD" > /proc/$$/comm; while :; do sleep 1; done' >/dev/null 2>&1 &
            sleep 0.2
            '''
            retry = {{ max_attempts = 2, initial_backoff = "1ms" }}
            scorers = [
                {{ kind = "regex_match", stream = "stdout", pattern = "canary" }},
                {{ kind = "command", run = ["sh", "-c", "echo scored; cat printed 2>/dev/null || true"] }},
            ]
            "#,
            ALL,
            prints()
        ));
        let output = fleet.command([]).args(words).output().expect("the program was built");
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        hides("stdout", &output.stdout);
        hides("stderr", &output.stderr);
        let log = fleet.log("t");
        assert!(
            log.contains("[secret BY_ENV]") && log.contains("[secret BY_COMMAND]") && log.contains("scored"),
            "{log}"
        );
        assert!(log.contains("[secret BY_FILE]"), "{log}");
        let receipt = fleet.receipt("t");
        assert!(receipt["leaked"][0].as_str().is_some_and(|name| name.ends_with(" ***")), "{receipt}");
        nothing_on_disk(&fleet);
        nothing_is_told(&fleet);
    }
}

#[test]
fn a_value_is_found_in_the_pieces_between_which_the_other_stream_comes() {
    let other = "x between";
    for (secret, value) in
        [("{ key = 'BY_ENV', as = 'env:V' }", "$V"), ("{ key = 'BY_ENV', as = 'file:F' }", "$(cat \"$F\")")]
    {
        for words in [&["run"][..], &["run", "--json"], &["run", "-o", "stream", "--no-progress"]] {
            let fleet = fleet(&format!(
                r#"
                [tasks.t]
                secrets = [{secret}]
                sh = '''
                V="{value}"
                printf '%s' "$V" | head -c 13; sleep 0.1; echo {other} >&2; sleep 0.1; printf '%s' "$V" | tail -c +14; echo
                printf '%s' "$V" | head -c 13 >&2; sleep 0.1; echo {other}; sleep 0.1; printf '%s' "$V" | tail -c +14 >&2
                '''
                [tasks.other]
                needs = ["t"]
                sh = 'for n in 1 2 3 4; do echo $n; echo $n >&2; done'
                "#
            ));
            let output = fleet.command([]).args(words).output().expect("the program was built");
            assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
            hides("stdout", &output.stdout);
            hides("stderr", &output.stderr);
            let log = fleet.log("t");
            for rest in [&BY_ENV[..13], &BY_ENV[13..]] {
                assert!(!log.contains(rest), "{log}");
                assert!(!String::from_utf8_lossy(&output.stdout).contains(rest), "{rest}");
            }
            assert_eq!((log.matches("[secret BY_ENV]").count(), log.matches(other).count()), (2, 2), "{log}");
            // Without secrets of its own, a task has one pipe, and its order is exact.
            assert_eq!(fleet.log("other"), "1\n1\n2\n2\n3\n3\n4\n4\n");
            nothing_on_disk(&fleet);
            nothing_is_told(&fleet);
        }
    }
}

#[test]
fn scorers_see_masked_text_and_say_no_value() {
    let fleet = fleet(
        r#"
        [tasks.t]
        secrets = [{ key = "BY_COMMAND", source = "command", as = "env" }]
        sh = '''
        printf '{"v": "%s"}' "$BY_COMMAND" > found.json
        echo "<testsuite><testcase name='a'><failure message='$BY_COMMAND'>$BY_COMMAND</failure></testcase></testsuite>" > junit.xml
        '''
        scorers = [
            { kind = "json_path", path = "found.json", query = "$.v", equals = "other", required = false },
            { kind = "junit", path = "junit.xml" },
            { kind = "command", name = "env", run = ["sh", "-c", "test -z \"$(printenv BY_COMMAND)\""] },
            { kind = "command", name = "says", run = ["sh", "-c", "cat found.json; exit 1"] },
            { kind = "command", name = "notes", run = ["sh", "-c", "printf '{\"value\":0,\"max\":1,\"notes\":\"%s\"}' $(cut -d'\"' -f4 found.json)"], score = "stdout-json" },
        ]
        "#,
    );
    fleet.run(["run"]).fails_with(1);
    let receipt = fleet.receipt("t");
    let passed = |name: &str| {
        let all = receipt["scorers"].as_array().expect("scorers");
        all.iter().find(|one| one["name"] == name).expect("it judged")["passed"].clone()
    };
    // A scorer's program is not given the task's secrets.
    assert_eq!(passed("env"), true);
    assert!(receipt["scorers"].to_string().contains("[secret BY_COMMAND]"), "{receipt}");
    assert!(fleet.log("t").contains("[secret BY_COMMAND]"));
    for made in ["found.json", "junit.xml"] {
        fs::remove_file(fleet.path(made)).expect("the task made it");
    }
    nothing_on_disk(&fleet);
    nothing_is_told(&fleet);
}

#[test]
fn an_artifact_with_a_value_is_refused_and_not_kept() {
    for (made, path) in [
        (r#"printf 'x %s y' "$BY_ENV" > made.txt"#, "made.txt"),
        (r#"head -c 300000 /dev/zero > made.txt; printf '.%s' "$BY_ENV" | base64 -w 7 >> made.txt"#, "made.txt"),
    ] {
        for key in ["artifacts = [{ path = 'made.*' }]", "inputs = []\noutputs = ['made.*']"] {
            let fleet =
                fleet(&format!("[tasks.t]\nsecrets = [{{ key = 'BY_ENV', as = 'env' }}]\nsh = '''{made}'''\n{key}\n"));
            let what = if key.starts_with("artifacts") { "artifact" } else { "output" };
            let cause = format!("fail/task: its {what} `{path}` holds the secret `BY_ENV`");
            fleet.run(["run"]).fails_with(1).result("t", &cause);
            fs::remove_file(fleet.path(path)).expect("the task made it");
            nothing_on_disk(&fleet);
            nothing_is_told(&fleet);
            // The refusal is no result that could be reused.
            fleet.run(["run"]).fails_with(1).result("t", &cause);
        }
    }
}

#[test]
fn a_receipt_that_would_name_a_value_is_refused() {
    let fleet = fleet(
        r#"
        [tasks.t]
        secrets = [{ key = "BY_COMMAND", source = "command", as = "env" }]
        sh = 'mkdir -p out; echo hello > "out/$BY_COMMAND"'
        inputs = []
        outputs = ["out/*"]
        "#,
    );
    fleet.run(["run"]).fails_with(1);
    assert!(fleet.result("t").starts_with("fail/task: "), "{}", fleet.result("t"));
    fs::remove_dir_all(fleet.path("out")).expect("the task made it");
    nothing_on_disk(&fleet);
    nothing_is_told(&fleet);
}

#[test]
fn a_file_is_private_and_goes_with_its_attempt() {
    let fleet = fleet(
        r#"
        [tasks.t]
        secrets = ["BY_ENV", { key = "BY_FILE", source = "file", as = "file:WHERE" }]
        sh = '''
        [ -z "${BY_ENV-}${BY_FILE-}" ]
        stat -c '%a %F' "$BY_ENV_FILE" "$WHERE" "$(dirname "$WHERE")"
        cksum < "$WHERE" | cut -d' ' -f2
        dirname "$WHERE" > folder
        touch there; while [ ! -e go ]; do sleep 0.01; done
        '''
        "#,
    );
    let mut run = fleet.start(["run"]);
    run.awaits("there");
    let folder = fleet.read("folder");
    let about = fs::metadata(folder.trim()).expect("it lives as long as the attempt");
    assert_eq!((about.mode() & 0o777, about.uid()), (0o700, rustix::process::geteuid().as_raw()));
    fs::write(fleet.path("go"), "").expect("the folder is ours");
    let told = run.ends().passes();
    told.log("t", &format!("600 regular file\n600 regular file\n700 directory\n{}\n", BY_FILE.len()));
    assert!(!Path::new(folder.trim()).exists());
    nothing_on_disk(&fleet);
}

#[test]
fn no_process_has_a_value_among_its_arguments() {
    let fleet =
        fleet(&format!("[tasks.t]\nsecrets = {ALL}\nsh = 'touch there; while [ ! -e go ]; do sleep 0.01; done'\n"));
    let mut run = fleet.start(["run"]);
    run.awaits("there");
    let arguments = |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut seen = 0;
    for _ in 0..20 {
        for entry in fs::read_dir("/proc").expect("there is a /proc").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.bytes().all(|byte| byte.is_ascii_digit()) {
                hides("cmdline", &arguments(&name));
                seen += 1;
            }
        }
    }
    assert!(seen > 20 && processes::supervisor(run.pid()) > 0);
    fs::write(fleet.path("go"), "").expect("the folder is ours");
    run.ends().passes();
}

#[test]
fn a_secret_that_cannot_be_had_ends_it_before_it_begins() {
    let task = |one: &str| {
        fleet(&format!("[tasks.first]\nrun = 'touch begun'\n[tasks.t]\nsecrets = [{one}]\nrun = 'touch begun'\n"))
    };
    let cases: [(Fleet, &str); 6] = [
        (
            Fleet::of(&format!("{POLICY}[tasks.t]\nsecrets = ['BY_ENV']\nrun = 'touch begun'\n")),
            "the secret `BY_ENV` of task `t` (source `env`) cannot be had: the variable `BY_ENV` is not set",
        ),
        (
            task("'BY_ENV'").var("BY_ENV", "short"),
            "the variable `BY_ENV` is shorter than 6 bytes, and so short a value cannot be masked",
        ),
        (task("{ key = 'BY_ENV', source = 'file' }"), "the file `DIR/.config/fleet/secrets/BY_ENV` cannot be opened"),
        (
            task("{ key = 'BY_ENV', source = 'command' }"),
            "(source `command`) cannot be had: `sh` failed (exit status: 3)",
        ),
        (
            {
                let fleet = task("{ key = 'BY_FILE', source = 'file' }");
                mode(&fleet, ".config/fleet/secrets/BY_FILE", 0o644);
                fleet
            },
            "is open to others (mode 0644): make it 0600",
        ),
        (
            {
                let fleet = task("{ key = 'BY_FILE', source = 'file' }");
                mode(&fleet, ".config/fleet/secrets", 0o750);
                fleet
            },
            "is open to others (mode 0750): make it 0700",
        ),
    ];
    for (fleet, why) in cases {
        fleet.run(["run"]).fails_with(2).warns(why).has_no_file("begun").has_no_file(".fleet");
    }
}

#[test]
fn only_what_is_selected_is_asked_for() {
    let fleet = Fleet::of(&format!(
        "{POLICY}[tasks.t]\nsecrets = ['BY_ENV']\nrun = 'true'\n[tasks.other]\nrun = 'true'\n[tasks.unwanted]\nwhen = {{ env = 'NO_SUCH' }}\nsecrets = ['BY_ENV']\nrun = 'true'\n"
    ));
    fleet.run(["run", "other", "unwanted"]).passes();
    fleet.run(["run", "t"]).fails_with(2).warns("the secret `BY_ENV` of task `t`");
}

#[test]
fn a_value_in_plain_text_is_refused_before_it_is_recorded() {
    let fleet = fleet(
        r#"
        [vars]
        token = "none"
        [tasks.t]
        secrets = ["BY_ENV"]
        env = { X = "${vars.token}" }
        run = "true"
        "#,
    );
    let set = format!("token={BY_ENV}");
    let ran = fleet.run(["run", "--set", &set]).fails_with(2);
    let ran = ran.warns("`--set token=…` holds the value of the secret `BY_ENV`").has_no_file(".fleet");
    hides("stdout", ran.stdout().as_bytes());
    let text = fleet
        .read("fleet.toml")
        .replace("none", "canary-C-8899aabbccddeeff")
        .replace("BY_ENV\"]\n        env", "BY_COMMAND\"]\n        env");
    let text = text.replace("secrets = [\"BY_COMMAND\"]", "secrets = [{ key = \"BY_COMMAND\", source = \"command\" }]");
    let fleet = fleet.file("fleet.toml", text);
    fleet
        .run(["run"])
        .fails_with(3)
        .warns("the value of the secret `BY_COMMAND` stands in the fleet file as it is, in task `t`")
        .has_no_file(".fleet");
}

#[test]
fn a_failing_program_of_secrets_says_no_value() {
    let fleet = fleet(
        "[tasks.t]\nsecrets = [{ key = 'BY_ENV', as = 'env' }, { key = 'BY_COMMAND', source = 'command' }]\nrun = 'true'\n",
    )
    .file("pass.sh", "printf '%s%s\\n' canary-C- 8899aabbccddeeff; printf '%s%s is locked\\n' canary-C- 8899aabbccddeeff >&2; exit 1\n");
    let output = fleet.command(["run"]).output().expect("the program was built");
    assert_eq!(output.status.code(), Some(2));
    hides("stderr", &output.stderr);
    assert!(String::from_utf8_lossy(&output.stderr).contains("is locked"));
}

#[test]
fn a_killed_run_leaves_no_value_and_goes_on() {
    let fleet = fleet(&format!(
        "[tasks.t]\nsecrets = {ALL}\nsh = '''\n{}\ntouch there; while [ ! -e go ]; do sleep 0.01; done\n'''\n",
        prints()
    ));
    let mut run = fleet.start(["run"]);
    run.awaits("there");
    run.signal(Signal::KILL);
    until("the run is gone", || run.is_over());
    drop(run);
    nothing_on_disk(&fleet);
    fs::write(fleet.path("go"), "").expect("the folder is ours");
    let told = fleet.run(["resume"]).passes();
    hides("stdout", told.stdout().as_bytes());
    nothing_on_disk(&fleet);
    nothing_is_told(&fleet);
}

#[test]
fn another_value_is_no_reason_to_run_again() {
    let text = "[tasks.t]\nsecrets = [{ key = 'BY_ENV', as = 'env' }]\ninputs = []\nsh = 'test -n \"$BY_ENV\"'\n";
    let fleet = fleet(text);
    fleet.run(["run"]).passes();
    let fleet = fleet.var("BY_ENV", "another-value-of-it");
    fleet.run(["run"]).passes().says("reused");
    let changed = fleet.read("fleet.toml").replace("as = 'env'", "as = 'env:OTHER'").replace("$BY_ENV", "$OTHER");
    fleet.file("fleet.toml", changed).run(["run"]).passes().never_says("reused");
}

#[test]
fn what_looks_like_a_value_and_is_none_is_printed_whole() {
    let cut = &BY_COMMAND[..11];
    let fleet = fleet(&format!(
        "[tasks.t]\nsecrets = [{{ key = 'BY_COMMAND', source = 'command' }}]\nsh = 'printf {cut}; printf {cut} >&2'\n\
         scorers = [{{ kind = 'command', run = ['sh', '-c', 'printf {cut}'] }}]\n"
    ));
    fleet.run(["run"]).passes().log("t", &format!("{cut}{cut}[fleet: scorer command]\n{cut}"));
}

#[test]
fn why_a_task_runs_is_told_without_values() {
    let task = "[tasks.t]\ninputs = []\n";
    let fleet = Fleet::of(&format!("{task}run = 'echo {BY_COMMAND}'\n"));
    fleet.run(["run"]).passes();
    let secret = format!("{POLICY}{task}run = 'true'\nsecrets = [{{ key = 'BY_COMMAND', source = 'command' }}]\n");
    let fleet = fleet.file("pass.sh", format!("echo {BY_COMMAND}"));
    let fleet = fleet.file("fleet.toml", format!("version = 1\nname = 'story'\nseed = 1\n{secret}"));
    let told = fleet.run(["run", "--explain"]).passes().says("the command changed from");
    hides("stdout", told.stdout().as_bytes());
    told.says("[secret BY_COMMAND]");
}

#[test]
fn a_preflight_says_which_secrets_are_missing() {
    let fleet =
        fleet("[tasks.t]\nsecrets = ['BY_ENV', { key = 'BY_ENV', source = 'file', as = 'env:X' }]\nrun = 'true'\n");
    let told = fleet.run(["check", "--preflight"]).fails_with(9);
    told.says("task `t` cannot start here: its secret `BY_ENV` cannot be had: the file `").never_says("2 problems");
}

#[test]
fn a_task_in_a_run_with_secrets_is_not_traced() {
    let fleet = fleet("[tasks.t]\nsecrets = ['BY_ENV']\ninputs = []\nrun = 'true'\n");
    if fleet.run(["run", "--audit-inputs", "t"]).status() != Some(9) {
        // Without a tracer it does not come that far.
        assert!(std::env::var_os("CI").is_none(), "a tracer is missing");
        return;
    }
    assert!(fleet.result("t").contains("cannot be traced"), "{}", fleet.result("t"));
}

/// Where a sandbox can be had, a task in it works on a copy, and what it made comes back through the store.
#[test]
fn a_copy_brings_back_no_value() {
    let text = |made: &str, key: &str| {
        format!(
            "[policies.security]\nallowed_secrets = ['BY_COMMAND']\nsecrets_command = ['sh', 'pass.sh']\n\
             grants = [{{ capability = 'secrets', scope = 't', reason = 'a test' }}]\n\
             [workers.w]\nhost = 'local'\ntrust = 'sandbox'\n\
             [tasks.t]\nsecrets = [{{ key = 'BY_COMMAND', source = 'command', as = 'env' }}]\nsh = '''{made}'''\n{key}\n"
        )
    };
    let pass = format!("printf '%s%s\\n' '{}' '{}'\n", &BY_COMMAND[..9], &BY_COMMAND[9..]);
    let made =
        r#"echo "$BY_COMMAND"; head -c 300000 /dev/zero > made.txt; printf '%s' "$BY_COMMAND" | base64 >> made.txt"#;
    for (key, what) in [("artifacts = [{ path = 'made.*' }]", "artifact"), ("outputs = ['made.*']", "output")] {
        let fleet = Fleet::of(&text(made, key)).file("pass.sh", &pass);
        let ran = fleet.run(["run"]);
        if fleet.result("t").contains("could not be started") {
            // This machine has no sandbox.
            assert!(std::env::var_os("CI").is_none(), "{}", fleet.result("t"));
            let _ = ran.status();
            return;
        }
        ran.fails_with(1).result("t", &format!("fail/task: its {what} `made.txt` holds the secret `BY_COMMAND`"));
        assert!(fleet.log("t").contains("[secret BY_COMMAND]"));
        assert!(!fleet.exists("made.txt"), "it came back");
        nothing_on_disk(&fleet);
        nothing_is_told(&fleet);
    }
}

#[test]
fn a_granted_sandbox_reads_its_file_and_nothing_of_others() {
    let fleet = Fleet::of(
        "[policies.security]\nallowed_secrets = ['BY_ENV']\n\
         grants = [{ capability = 'secrets', scope = 't', reason = 'a test' }]\n\
         [workers.w]\nhost = 'local'\ntrust = 'sandbox'\n\
         [tasks.t]\nsecrets = ['BY_ENV']\n\
         sh = 'wc -c < \"$BY_ENV_FILE\"; stat -c %a \"$BY_ENV_FILE\"; test -z \"$(printenv BY_ENV)\"'\n",
    );
    let fleet = fleet.var("BY_ENV", BY_ENV);
    let ran = fleet.run(["run"]);
    if fleet.result("t").contains("could not be started") {
        // This machine has no sandbox.
        assert!(std::env::var_os("CI").is_none(), "{}", fleet.result("t"));
        let _ = ran.status();
        return;
    }
    ran.passes().log("t", &format!("{}\n600\n", BY_ENV.len()));
    nothing_on_disk(&fleet);
}
