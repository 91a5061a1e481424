//! Stories of a machine behind ssh that are not about being like another host: what is kept there, what is sent, and what
//! the commands about workers say. `logins` what a machine, its keys and its disk may be like · `leaving` an end while
//! something is being reached · `engines` command lines of containers that do not do as they should.

#[path = "../hosts/mod.rs"]
mod hosts;

mod engines;
mod leaving;
mod logins;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hosts::ssh::Sshd;
use tempfile::TempDir;
use walkdir::WalkDir;

/// A workspace whose tasks run on that machine, in a folder there of its own.
struct Far {
    sshd: &'static Sshd,
    folder: &'static str,
    dir: TempDir,
    /// Before those of `PATH`: programs of the test's own.
    bin: TempDir,
}

impl Far {
    /// `None` where this machine cannot make one.
    fn new(folder: &'static str, tasks: &str) -> Option<Self> {
        let sshd = hosts::or_left_out(Sshd::shared())?;
        let far = Self { sshd, folder, dir: TempDir::new().unwrap(), bin: TempDir::new().unwrap() };
        far.write(&format!("[workers.far]\nhost = {}\n{tasks}", sshd.host(folder)));
        Some(far)
    }

    /// Another fleet file.
    fn write(&self, body: &str) {
        fs::write(self.dir.path().join("fleet.toml"), format!("version = 1\nname = \"far\"\n{body}")).unwrap();
    }

    /// With another text in the fleet file.
    fn replace(&self, from: &str, to: &str) {
        let file = self.dir.path().join("fleet.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from}: {text}");
        fs::write(&file, text.replace(from, to)).unwrap();
    }

    /// With this text as the user's configuration of `ssh`.
    fn configure(&self, config: &str) {
        let file = self.bin.path().join("config");
        fs::write(&file, config).unwrap();
        let ssh = which::which("ssh").unwrap();
        program(self.bin.path(), "ssh", &format!("exec '{}' -F '{}' \"$@\"", ssh.display(), file.display()));
    }

    fn fleet(&self, words: &[&str]) -> Command {
        fleet(self.dir.path(), self.bin.path(), words)
    }

    #[track_caller]
    fn fails(&self, words: &[&str]) -> String {
        let output = self.fleet(words).output().unwrap();
        assert_eq!(output.status.code(), Some(9), "{}", shown(&output));
        shown(&output)
    }

    #[track_caller]
    fn passes(&self, words: &[&str]) -> String {
        let output = self.fleet(words).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
        shown(&output)
    }

    fn there(&self) -> PathBuf {
        Path::new(self.sshd.fact("working_directory")).join(self.folder)
    }

    /// Kept files there: name, inode and size.
    fn kept(&self) -> Vec<(String, u64, u64)> {
        let files = WalkDir::new(self.there().join("cas")).into_iter().flatten().filter(|e| e.file_type().is_file());
        let mut kept: Vec<_> = files
            .map(|entry| {
                let about = entry.metadata().unwrap();
                (entry.file_name().to_string_lossy().into_owned(), about.ino(), about.size())
            })
            .collect();
        kept.sort();
        kept
    }
}

fn fleet(dir: &Path, bin: &Path, words: &[&str]) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(bin.to_owned()).chain(std::env::split_paths(&path));
    let mut fleet = Command::new(env!("CARGO_BIN_EXE_fleet"));
    fleet.args(words).current_dir(dir).env("PATH", std::env::join_paths(path).unwrap());
    fleet
}

/// A program of a few words for the shell.
fn program(bin: &Path, name: &str, script: &str) {
    let file = bin.join(name);
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

fn shown(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn what_is_kept_there_is_not_sent_again() {
    let Some(far) = Far::new("once", "[tasks.t]\nsh = \"cat in\"\ninputs = [\"in\"]\ncache = false\n") else { return };
    fs::write(far.dir.path().join("in"), "a".repeat(100_000)).unwrap();
    far.passes(&["run"]);
    let first = far.kept();
    assert_eq!(first.len(), 1, "{first:?}");
    far.passes(&["run"]);
    assert_eq!(far.kept(), first, "the very file is used again");
    fs::write(far.dir.path().join("in"), "changed").unwrap();
    assert!(far.passes(&["run"]).contains("changed"));
    assert_eq!(far.kept().len(), 2);
}

#[test]
fn a_kept_file_that_was_damaged_is_asked_for_again() {
    let tasks = "[tasks.t]\nsh = \"cat in > out\"\ninputs = [\"in\"]\noutputs = [\"out\"]\ncache = false\n";
    let Some(far) = Far::new("damaged", tasks) else { return };
    fs::write(far.dir.path().join("in"), "as it was").unwrap();
    far.passes(&["run"]);
    for entry in WalkDir::new(far.there().join("cas")).into_iter().flatten().filter(|e| e.file_type().is_file()) {
        fs::remove_file(entry.path()).unwrap();
        fs::write(entry.path(), "not as it").unwrap();
    }
    far.passes(&["run"]);
    assert_eq!(fs::read_to_string(far.dir.path().join("out")).unwrap(), "as it was");
}

/// The folders of four attempts, one after another, of which the second changes what it starts from and hides that.
#[test]
fn a_copy_serves_again_unless_somebody_changed_it() {
    let forge = "touch -r in then; printf X | dd of=in conv=notrunc 2>/dev/null; touch -r then in; rm then";
    let tasks = ["true", forge, "true", "true"].iter().zip(1..).fold(String::new(), |all, (act, n)| {
        let after =
            if n == 1 { String::new() } else { format!("needs = [{{ task = \"t{}\", order_only = true }}]\n", n - 1) };
        let show = format!("cat in; echo; {act}; echo folder $FLEET_WORKSPACE; ls");
        format!("{all}[tasks.t{n}]\nsh = '{show}'\ninputs = [\"in\"]\ncache = false\n{after}")
    });
    let Some(far) = Far::new("serves", &tasks) else { return };
    fs::write(far.dir.path().join("in"), "as it was").unwrap();
    let said = far.passes(&["run"]);
    assert_eq!(said.matches("as it was").count(), 4, "{said}");
    let folders: Vec<&str> = said.lines().filter_map(|line| line.split("folder ").nth(1)).collect();
    let [first, second, third, fourth] = folders[..] else { panic!("{said}") };
    assert!(first == second && second != third && third == fourth, "{said}");
}

/// Who may mount can make a folder read only that looks as it did.
#[test]
fn a_copy_with_a_mount_in_it_does_not_serve_again() {
    let tasks = r#"[tasks.mounts]
sh = "if mount --bind . . 2> /dev/null; then mount -o remount,bind,ro .; fi"
inputs = ["in"]
cache = false
[tasks.next]
sh = "echo more >> in"
inputs = ["in"]
cache = false
needs = [{ task = "mounts", order_only = true }]
"#;
    let Some(far) = Far::new("mounts", tasks) else { return };
    fs::write(far.dir.path().join("in"), "as it was").unwrap();
    far.passes(&["run"]);
}

/// Beside a task that lives on, nobody can say whose a process is that hides it, so nothing that may be its folder serves.
#[test]
fn a_copy_does_not_serve_again_while_a_process_hides_whose_it_is() {
    let hides =
        r#"env -i "PATH=$PATH" setsid sh -c "sleep 1; echo changed > in" > /dev/null 2>&1 < /dev/null & sleep 0.2"#;
    let tasks = format!(
        r#"[tasks.beside]
sh = "sleep 3"
inputs = ["in"]
cache = false
[tasks.leaves]
sh = '''sleep 0.2; {hides}'''
inputs = ["in"]
cache = false
[tasks.next]
sh = "sleep 1.5; cat in"
inputs = ["in"]
cache = false
needs = [{{ task = "leaves", order_only = true }}]
"#
    );
    let Some(far) = Far::new("hides", &tasks) else { return };
    far.replace("[workers.far]", "[workers.far]\nslots = 2");
    fs::write(far.dir.path().join("in"), "as it was").unwrap();
    let said = far.passes(&["run"]);
    assert!(said.contains("as it was") && !said.contains("changed"), "{said}");
}

#[test]
fn workers_are_tried_and_cleaned() {
    let Some(far) = Far::new("tried", "[tasks.t]\nrun = \"true\"\ninputs = [\"fleet.toml\"]\n") else { return };
    let tried = far.passes(&["workers", "check"]);
    for text in ["works  far (ssh, trust remote_verified)", "there and back", "host_key_pinned"] {
        assert!(tried.contains(text), "{text}: {tried}");
    }
    let output = far.fleet(&["workers", "check", "--json"]).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["workers"][0]["works"], true, "{json:#}");
    far.passes(&["run"]);
    assert!(!far.kept().is_empty());
    // What is left of a run whose machine lost power.
    let left = far.there().join("runs/crashed.far/attempts/1/ws");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("big"), vec![1; 3 << 20]).unwrap();
    let said = far.passes(&["workers", "clean"]);
    assert!(said.contains("of files that were kept and 3.0 MiB that crashed runs have left in /"), "{said}");
    assert_eq!(far.kept(), []);
    assert!(far.passes(&["workers", "clean"]).starts_with("far: nothing is kept in /"));
    let runs = far.there().join("runs");
    assert_eq!(fs::read_dir(runs).unwrap().count(), 0, "nothing of a run is left there");
}

#[test]
fn a_worker_that_does_not_work_says_why() {
    let Some(far) = Far::new("wrong", "[tasks.t]\nrun = \"true\"\n") else { return };
    let right = far.sshd.fact("host_fingerprint");
    let wrong = far.sshd.fact("other_fingerprint");
    far.replace(right, wrong);
    let said = far.fails(&["workers", "check"]);
    for text in ["fails  far", right, wrong, "nothing was run there"] {
        assert!(said.contains(text), "{text}: {said}");
    }
}

#[test]
fn any_temporary_folder_will_do() {
    let Some(far) = Far::new("temporary", "[tasks.t]\nrun = \"true\"\n") else { return };
    let long = "long".repeat(30);
    for name in ["with a blank", "with 100% of \"all\"", &long] {
        let temp = far.dir.path().join(name);
        fs::create_dir(&temp).unwrap();
        let output = far.fleet(&["run"]).env("TMPDIR", &temp).output().unwrap();
        assert!(output.status.success(), "{name}: {}", shown(&output));
    }
}

#[test]
fn set_id_bits_stay_there() {
    let tasks = "[tasks.t]\nsh = \"echo x > out; chmod 6755 out\"\noutputs = [\"out\"]\n";
    let Some(far) = Far::new("bits", tasks) else { return };
    far.passes(&["run"]);
    assert_eq!(fs::metadata(far.dir.path().join("out")).unwrap().mode() & 0o7777, 0o755);
}
