//! What a worker behind ssh costs, on loopback, against the same work on this machine and against `scp`, all in one go:
//! `cargo bench --bench hosts`, with `-- --quick` for a tenth of it. Figures of loopback have no network in them: what is
//! left is ours and `ssh`'s.

#[path = "../tests/hosts/mod.rs"]
mod hosts;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hosts::ssh::Sshd;
use tempfile::TempDir;

const FLEET: &str = env!("CARGO_BIN_EXE_fleet");
const ROUNDS: usize = 3;

fn main() {
    let quick = std::env::args().any(|word| word == "--quick");
    let Some(sshd) = hosts::or_left_out(Sshd::shared()) else { return };
    small_tasks(sshd, if quick { 100 } else { 1000 });
    large_input(sshd, if quick { 100 << 20 } else { 1 << 30 });
}

/// Many tasks that do nothing, with an input that is kept there: what is above one task is divided by the tasks above it,
/// so that reaching the host is in no figure.
fn small_tasks(sshd: &Sshd, count: usize) {
    println!("{count} tasks of `true` with an input, 2 slots, best of {ROUNDS}");
    let far = sshd.host("bench");
    let hosts = [("here", "\"local\""), ("ssh", &*far)];
    let mut rates = Vec::new();
    for (name, host) in hosts {
        let one = fastest(ROUNDS, || run(host, 1));
        let many = fastest(ROUNDS, || run(host, count));
        let each = many.saturating_sub(one) / u32::try_from(count - 1).unwrap_or(1);
        let rate = 1.0 / each.as_secs_f64();
        println!("  {name:6} {rate:7.0} a second   {each:?} a task   {one:?} for one");
        rates.push(rate);
    }
    println!("  a task behind ssh takes {:.2} of one here\n", rates[0] / rates[1]);
}

/// The time of a whole run.
fn run(host: &str, count: usize) -> Duration {
    let dir = workspace(host);
    let mut tasks = String::new();
    for n in 0..count {
        // Writing to a string cannot fail.
        let _ = writeln!(tasks, "[tasks.t{n}]\nrun = \"true\"\ninputs = [\"in\"]\ncache = false");
    }
    fs::write(dir.path().join("in"), "input").expect("the workspace can be written");
    let file = dir.path().join("fleet.toml");
    let head = fs::read_to_string(&file).expect("it was written");
    fs::write(file, head + &tasks).expect("the workspace can be written");
    timed(dir.path())
}

/// One large input: to the host for the first time, again, and by `scp`.
fn large_input(sshd: &Sshd, bytes: u64) {
    println!("an input of {} MiB, best of {ROUNDS}", bytes >> 20);
    let source = TempDir::new().expect("a folder");
    let big = source.path().join("big");
    let mut random = File::open("/dev/urandom").expect("there is one").take(bytes);
    std::io::copy(&mut random, &mut File::create(&big).expect("it can be made")).expect("it can be written");
    let scp = fastest(ROUNDS, || scp(sshd, &big));
    let (mut bare, mut first, mut again) = (Duration::MAX, Duration::MAX, Duration::MAX);
    for round in 0..ROUNDS {
        let dir = workspace(&sshd.host(&format!("big{round}")));
        fs::hard_link(&big, dir.path().join("big"))
            .or_else(|_| fs::copy(&big, dir.path().join("big")).map(drop))
            .unwrap();
        let file = dir.path().join("fleet.toml");
        let head = fs::read_to_string(&file).expect("it was written");
        // The supervisor is sent before anything is timed.
        fs::write(&file, format!("{head}[tasks.t]\nrun = \"true\"\n")).expect("the workspace can be written");
        bare = bare.min(timed(dir.path()));
        let task = "[tasks.t]\nrun = \"true\"\ninputs = [\"big\"]\ncache = false\n";
        fs::write(&file, head + task).expect("the workspace can be written");
        first = first.min(timed(dir.path()));
        again = again.min(timed(dir.path()));
        let _ = fs::remove_dir_all(Path::new(sshd.fact("working_directory")).join(format!("big{round}")));
    }
    let (first, again) = (first.saturating_sub(bare), again.saturating_sub(bare));
    let speed = |time: Duration| f64::from(u32::try_from(bytes >> 20).unwrap_or(u32::MAX)) / time.as_secs_f64();
    println!("  scp    {:7.0} MiB/s  {scp:?}", speed(scp));
    println!(
        "  fleet  {:7.0} MiB/s  {first:?}   {:.2} of scp's time",
        speed(first),
        first.as_secs_f64() / scp.as_secs_f64()
    );
    println!("  again  {again:?}   not sent, only laid out");
}

fn scp(sshd: &Sshd, file: &Path) -> Duration {
    let to = format!("{}/copied", sshd.fact("working_directory"));
    let mut scp = Command::new("scp");
    scp.args(["-F", "/dev/null", "-q", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]);
    scp.arg("-o").arg(format!("UserKnownHostsFile={}", sshd.fact("known_hosts")));
    scp.args(["-i", sshd.fact("identity"), "-P", &sshd.port().to_string()]);
    scp.arg(file).arg(format!("{}@127.0.0.1:{to}", sshd.fact("user")));
    let begin = Instant::now();
    let status = scp.stdin(Stdio::null()).status().expect("scp is there");
    assert!(status.success(), "scp: {status}");
    let took = begin.elapsed();
    let _ = fs::remove_file(to);
    took
}

fn workspace(host: &str) -> TempDir {
    let dir = TempDir::new().expect("a folder");
    let mut file = File::create(dir.path().join("fleet.toml")).expect("it can be made");
    let text = format!("version = 1\nname = \"bench\"\n[workers.w]\nhost = {host}\nslots = 2\n");
    file.write_all(text.as_bytes()).expect("it can be written");
    dir
}

fn timed(dir: &Path) -> Duration {
    let begin = Instant::now();
    let output = Command::new(FLEET).args(["run", "-o", "quiet"]).current_dir(dir).output().expect("fleet is built");
    let took = begin.elapsed();
    assert!(output.status.success(), "{output:?}");
    took
}

fn fastest(rounds: usize, mut time: impl FnMut() -> Duration) -> Duration {
    (0..rounds).map(|_| time()).min().unwrap_or_default()
}
