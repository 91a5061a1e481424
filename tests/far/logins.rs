//! What a machine behind ssh may be like: its login, its keys, its disk, and what the user's `ssh` is told of it.

use std::fmt::Write as _;
use std::fs;

use super::{Far, Sshd, fleet, hosts, program, shown};
use tempfile::TempDir;

const TASK: &str = "[tasks.t]\nsh = \"echo ran\"\n";

/// The folders of `bin` there.
fn programs(far: &Far) -> Vec<String> {
    let entries = fs::read_dir(far.there().join("bin")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn several_workers_on_one_machine_may_bring_it_the_supervisor_at_once() {
    let Some(far) = Far::new("together", "") else { return };
    let host = far.sshd.host(far.folder);
    let mut body = String::new();
    for n in 0..4 {
        let labels = format!("labels = {{ n = \"{n}\" }}");
        writeln!(body, "[workers.w{n}]\n{labels}\nhost = {host}").unwrap();
        writeln!(body, "[tasks.t{n}]\nworker = {{ {labels} }}\nrun = \"true\"").unwrap();
    }
    far.write(&body);
    far.passes(&["run"]);
    let programs = programs(&far);
    assert_eq!(programs.len(), 1, "{programs:?}");
    let mut inside = fs::read_dir(far.there().join("bin").join(&programs[0])).unwrap().flatten();
    assert!(!inside.any(|entry| entry.path().is_dir()), "nobody moved theirs into it");
}

/// A workspace with a worker on a machine whose shell reads this first, where that is a bash that knows `sshd`; and what
/// plain `ssh` prints there.
fn with_login(script: &str) -> Option<(Sshd, TempDir, String)> {
    let folder = TempDir::new().unwrap();
    // Not before the machine was made: whoever makes it logs in to see that it works.
    fs::write(folder.path().join(".bashrc"), format!("if [ -e ~/is-made ]; then\n{script}\nfi\n")).unwrap();
    let sshd = hosts::or_left_out(Sshd::start(&format!("HOME={}", folder.path().display())))?;
    fs::write(folder.path().join("is-made"), "").unwrap();
    let file = format!("version = 1\nname = \"x\"\n[workers.w]\nhost = {}\n{TASK}", sshd.host("login"));
    fs::write(folder.path().join("fleet.toml"), file).unwrap();
    let printed = shown(&sshd.ssh("true").output().unwrap());
    if printed.is_empty() {
        eprintln!("LEFT OUT: the shell of this user reads no .bashrc for sshd");
        return None;
    }
    Some((sshd, folder, printed))
}

#[test]
fn a_login_may_print_what_it_likes() {
    let Some((_sshd, folder, printed)) = with_login("echo welcome; printf 'no end of line'") else { return };
    assert_eq!(printed, "welcome\nno end of line");
    let output = fleet(folder.path(), folder.path(), &["run"]).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
}

#[test]
fn a_login_that_lets_nobody_in_is_quoted() {
    let Some((_sshd, folder, _)) = with_login("echo 'This account is not available.'; exit 1") else { return };
    let output = fleet(folder.path(), folder.path(), &["run"]).output().unwrap();
    assert!(shown(&output).contains("its login says: This account is not available."), "{}", shown(&output));
}

/// A file system of its own in the worker's folder there; `false` where nobody may make one.
fn mount(far: &Far, options: &str) -> bool {
    let there = far.there();
    let mounted = far.sshd.ssh(&format!("mkdir -p {0} && mount -t tmpfs -o {options} tmpfs {0}", there.display()));
    { mounted }.status().unwrap().success()
}

fn on(far: &Far, command: &str) -> String {
    shown(&far.sshd.ssh(&format!("cd {} && {command}", far.there().display())).output().unwrap())
}

#[test]
fn a_folder_for_no_programs_is_told_at_once() {
    let Some(far) = Far::new("noexec", TASK) else { return };
    if !mount(&far, "noexec") {
        return;
    }
    let said = far.fails(&["run"]);
    assert!(said.contains("is its working directory on a file system that allows programs?"), "{said}");
    assert_eq!(on(&far, "ls -A bin"), "");
}

#[test]
fn what_does_not_fit_is_not_left_lying() {
    let Some(far) = Far::new("small", TASK) else { return };
    if !mount(&far, "size=1m") {
        return;
    }
    let said = far.fails(&["run"]);
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(on(&far, "ls -A bin"), "");
}

#[test]
fn a_full_disk_can_be_cleaned() {
    let Some(far) = Far::new("full", TASK) else { return };
    if !mount(&far, "size=200m") {
        return;
    }
    // A sending that died, files that are kept, and a sending that goes on.
    on(&far, "mkdir -p bin/.in-dead bin/.in-live cas/00 && echo x > bin/.in-live/fleet");
    on(
        &far,
        "head -c 90m /dev/zero > bin/.in-dead/fleet; cat /dev/zero > cas/00/kept; touch -d '1 hour ago' cas/00/kept",
    );
    on(&far, "touch -d '1 hour ago' bin/.in-dead/fleet bin/.in-dead");
    far.passes(&["workers", "clean"]);
    assert_eq!(on(&far, "find cas -type f; ls -A bin | grep dead"), "");
}

/// What a worker there cannot note is told, and no reason to end what runs elsewhere.
#[test]
fn a_full_disk_there_does_not_end_the_run() {
    let here = "[workers.here]\nhost = 'local'\nslots = 1\nroles = ['here']\n";
    let tasks = "[tasks.there]\nrun = 'true'\nworker = { id = 'far' }\n\
                 [tasks.after]\nrun = 'true'\nworker = { role = 'here' }\nneeds = ['there']\n";
    let Some(far) = Far::new("filled", &format!("{here}{tasks}")) else { return };
    if !mount(&far, "size=100m") {
        return;
    }
    far.passes(&["workers", "check"]);
    on(&far, "cat /dev/zero > fill");
    let said = far.passes(&["run"]);
    assert!(said.contains("worker `far` cannot write its exit log: No space left on device"), "{said}");
}

#[test]
fn a_sending_that_goes_on_is_left_alone() {
    let Some(far) = Far::new("going-on", TASK) else { return };
    let there = far.there().join("bin");
    for name in [".in-dead", ".in-live"] {
        fs::create_dir_all(there.join(name)).unwrap();
        fs::write(there.join(name).join("fleet"), "x").unwrap();
    }
    on(&far, "touch -d '1 hour ago' bin/.in-dead/fleet bin/.in-dead");
    far.passes(&["run"]);
    let left = programs(&far);
    assert!(left.contains(&".in-live".to_owned()) && !left.contains(&".in-dead".to_owned()), "{left:?}");
}

#[test]
fn the_users_configuration_gets_in_nobodys_way() {
    let Some(far) = Far::new("configured", TASK) else { return };
    far.configure("FingerprintHash md5\nSessionType none\n");
    far.passes(&["run"]);
    let host = format!("known_hosts = \"{}\", working_directory", far.sshd.fact("known_hosts"));
    far.replace(&format!("host_key_fingerprint = \"{}\", working_directory", far.sshd.fact("host_fingerprint")), &host);
    far.passes(&["run"]);
}

#[test]
fn an_authority_vouches_and_hides_no_other_reason() {
    let Some(far) = Far::new("authority", TASK) else { return };
    let pin = format!("host_key_fingerprint = \"{}\"", far.sshd.fact("host_fingerprint"));
    far.replace(&pin, &format!("known_hosts = \"{}\"", far.sshd.fact("known_hosts_authority")));
    far.passes(&["run"]);
    let identity = far.sshd.fact("identity");
    // A key of the machine's, which lets nobody in.
    far.replace(identity, &identity.replace("/user", "/other"));
    let said = far.fails(&["run"]);
    assert!(said.contains("Permission denied") && !said.contains("host key"), "{said}");
}

#[test]
fn a_file_of_known_hosts_that_is_not_there_is_named() {
    let Some(far) = Far::new("unknown", TASK) else { return };
    let pin = format!("host_key_fingerprint = \"{}\"", far.sshd.fact("host_fingerprint"));
    far.replace(&pin, "known_hosts = \"nowhere\"");
    let said = far.fails(&["run"]);
    assert!(said.contains("its known_hosts `") && said.contains("/nowhere` does not exist"), "{said}");
}

#[test]
fn ciphers_are_ours_to_choose_where_nobody_has_a_wish() {
    let Some(far) = Far::new("ciphers", TASK) else { return };
    let ssh = which::which("ssh").unwrap();
    let noted = far.dir.path().join("noted");
    let note = format!("echo \"$*\" >> '{}'; exec '{}'", noted.display(), ssh.display());
    program(far.bin.path(), "ssh", &format!("{note} \"$@\""));
    far.passes(&["run"]);
    let connections = |noted: String| -> Vec<bool> {
        let started = noted.lines().filter(|line| line.contains("ControlMaster=yes")).map(str::to_owned);
        started.map(|line| line.contains("Ciphers=^aes128-gcm@openssh.com")).collect()
    };
    let has_aes = fs::read_to_string("/proc/cpuinfo").unwrap_or_default().contains(" aes ");
    assert_eq!(connections(fs::read_to_string(&noted).unwrap()), [has_aes]);
    fs::remove_file(&noted).unwrap();
    let config = far.bin.path().join("config");
    fs::write(&config, "Ciphers aes128-ctr\n").unwrap();
    program(far.bin.path(), "ssh", &format!("{note} -F '{}' \"$@\"", config.display()));
    far.passes(&["run"]);
    assert_eq!(connections(fs::read_to_string(&noted).unwrap()), [false]);
}
