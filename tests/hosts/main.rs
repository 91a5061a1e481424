//! The hosts of the tests themselves: that they work without fleet, and that nothing of them is left when whoever started
//! them is killed. A failure here is none of fleet's.

#[path = "mod.rs"]
mod hosts;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use hosts::containers::{Containers, Engine};
use hosts::net::Machine;
use hosts::ssh::Sshd;
use hosts::{or_left_out, processes};

/// The end of a test that would hang.
const PATIENCE: Duration = Duration::from_mins(1);

fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
fn says(output: &Output) -> String {
    assert!(output.status.success(), "{:?} {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn ssh_lets_us_in_and_has_the_key_it_says() {
    let Some(sshd) = or_left_out(Sshd::shared()) else { return };
    assert_eq!(says(&sshd.ssh("echo in").output().unwrap()), "in\n");
    let mut wrong = sshd.ssh("echo in");
    // The first of two is the one that counts, so it goes in front.
    let words: Vec<_> = wrong.get_args().map(ToOwned::to_owned).collect();
    wrong = Command::new("ssh");
    wrong.arg("-o").arg(format!("UserKnownHostsFile={}", sshd.fact("known_hosts_wrong"))).args(words);
    let refused = wrong.output().unwrap();
    assert_eq!(refused.status.code(), Some(255), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains(sshd.fact("host_fingerprint")));
    assert_ne!(sshd.fact("host_fingerprint"), sshd.fact("other_fingerprint"));
}

#[test]
fn sessions_have_what_sshd_gives_them() {
    let Some(sshd) = or_left_out(Sshd::start("GIVEN=yes OTHER=1")) else { return };
    assert_eq!(says(&sshd.ssh("echo $GIVEN $OTHER").output().unwrap()), "yes 1\n");
}

#[test]
fn docker_runs_the_image() {
    runs_the_image(Engine::Docker);
}

#[test]
fn podman_runs_the_image() {
    runs_the_image(Engine::Podman);
}

fn runs_the_image(engine: Engine) {
    let Some(containers) = or_left_out(engine.shared()) else { return };
    let run = |words: &[&str]| says(&containers.command().args(words).output().unwrap());
    let image = containers.image();
    assert_eq!(run(&["run", "--rm", image, "sh", "-c", "echo in; date +%Z"]), "in\nAHEAD\n");
    let id = run(&["run", "--detach", image, "sleep", "1000"]);
    assert_eq!(run(&["exec", id.trim(), "hostname"]).trim(), &id[..12]);
    assert_eq!(containers.containers().len(), 1);
    // Both know this; its first process heeds no TERM, and podman would wait for it.
    run(&["kill", id.trim()]);
    run(&["rm", "--force", id.trim()]);
    // The plain name leads to the same engine.
    let path = std::env::var_os("PATH").unwrap();
    let mut plain = Command::new("sh");
    plain.arg("-c").arg(format!("{} inspect --format '{{{{.Id}}}}' {image}", engine.name()));
    let found = says(&plain.envs(containers.variables(&path)).output().unwrap());
    assert_eq!(found.trim().trim_start_matches("sha256:"), image.trim_start_matches("sha256:"));
}

#[test]
fn a_machine_is_cut_off_healed_and_loses_its_power() {
    let Some(machine) = or_left_out(Machine::start()) else { return };
    let file = format!("{}/kept", machine.fact("working_directory"));
    let is_in = || machine.ssh("true").output().unwrap().status.success();
    let mut stays = machine
        .ssh(&format!("echo > {file}; exec sleep 1234"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the file is there", || machine.path(&file).exists());
    assert!(!Path::new(&file).exists(), "its disk is its own");
    let sleeps = || machine.with_argument("1234").into_iter().filter(|process| process.name == "sleep").count();
    until("it sleeps", || sleeps() == 1);

    machine.cut();
    assert!(!is_in());
    assert_eq!((sleeps(), stays.try_wait().unwrap()), (1, None), "nobody is told");
    machine.heal();
    until("it is back", is_in);
    assert_eq!(sleeps(), 1);

    machine.slow();
    let begin = Instant::now();
    let sent = says(&machine.ssh("head -c 20000000 /dev/zero").output().unwrap());
    assert!(sent.len() == 20_000_000 && begin.elapsed() > Duration::from_millis(500), "{:?}", begin.elapsed());
    machine.fast();

    machine.kill_sshd();
    let told = stays.wait().unwrap();
    assert_eq!((told.code(), sleeps()), (Some(255), 1), "the connection ends, and nothing else");
    machine.power_off();
    assert_eq!(machine.processes().len(), 0);
    machine.power_on();
    assert!(is_in() && machine.path(&file).exists());
}

/// The other one is this test binary again, which runs only the test below and is killed.
#[test]
fn a_killed_test_leaves_no_host() {
    for host in ["ssh", "net", "docker", "podman"] {
        let mut other = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "waits_to_be_killed", "--nocapture"])
            .env("FLEET_TEST_HOST", host)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(other.stdout.take().unwrap()).lines().map(Result::unwrap);
        let said = lines.find(|line| line.starts_with("host "));
        let folder = said.as_deref().and_then(|line| line.strip_prefix("host "));
        let of_it = || folder.map_or(Vec::new(), processes::mentioning);
        assert!(folder.is_none() || !of_it().is_empty(), "{host} is there");
        other.kill().unwrap();
        other.wait().unwrap();
        let Some(folder) = folder else { continue };
        until(&format!("{host} is gone"), || of_it().is_empty() && !Path::new(folder).exists());
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        assert!(!mounts.contains(folder), "{mounts}");
    }
}

#[test]
fn waits_to_be_killed() {
    let Some(host) = std::env::var_os("FLEET_TEST_HOST") else { return };
    let stay = |folder: &Path| {
        println!("\nhost {}", folder.display());
        std::thread::sleep(PATIENCE);
    };
    let container = |engine: Engine| {
        let Some(containers) = or_left_out(engine.shared()) else { return };
        let image = containers.image();
        says(&containers.command().args(["run", "--detach", image, "sleep", "1000"]).output().unwrap());
        stay(Containers::folder(containers));
    };
    match host.to_str() {
        Some("ssh") => drop(or_left_out(Sshd::shared()).map(|sshd| stay(parent(sshd.fact("log"))))),
        Some("net") => drop(or_left_out(Machine::start()).map(|machine| stay(parent(machine.fact("log"))))),
        Some("docker") => container(Engine::Docker),
        _ => container(Engine::Podman),
    }
}

fn parent(path: &str) -> &Path {
    Path::new(path).parent().unwrap()
}
