//! Every exit code of `fleet run`, and which of several wins. 130 and 143 are in `signals`, 8 in `time`.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use super::support::Fleet;

#[test]
fn nought_to_four() {
    let fleet = Fleet::of("[tasks.good]\nrun = 'true'\n[tasks.bad]\nrun = 'false'\n");
    fleet.run(["run", "good"]).passes();
    fleet.run(["run", "bad"]).fails_with(1);
    fleet.run(["run", "--no-such-option"]).fails_with(2);
    fleet.run(["run", "nothing"]).fails_with(2);
    fleet.run(["run", "-j0"]).fails_with(2);
    Fleet::of("[tasks.a]\nrun = 'true'\nneeds = ['b']\n").run(["run"]).fails_with(3).has_no_file(".fleet");
    fleet.run(["run", "--except", "*"]).fails_with(4);
    fleet.run(["run", "zz*"]).fails_with(4).warns("no task matches `zz*`");
    fleet.run(["run", "tag:none"]).fails_with(4).warns("no task matches `tag:none`");
    fleet.run(["run", "tag:none", "nobody"]).fails_with(2);
}

#[test]
fn the_strongest_of_several_wins() {
    Fleet::of("[tasks.bad]\nrun = 'false'\n[tasks.gone]\nrun = 'no-such-program'\n").run(["run"]).fails_with(9);
    Fleet::of(
        "[policies]\ntimeout = '200ms'\n[tasks.bad]\npriority = 1\nrun = 'false'\n[tasks.slow]\nrun = 'sleep 600'\n",
    )
    .run(["run", "-j2"])
    .fails_with(8);
    Fleet::of("[policies]\ntimeout = '200ms'\n[tasks.gone]\npriority = 1\nrun = 'no-such-program'\n[tasks.slow]\nrun = 'sleep 600'\n")
        .run(["run", "-j2"])
        .fails_with(9);
}

#[test]
fn two_runs_at_once_are_one_too_many() {
    let fleet = Fleet::of("[tasks.a]\nsh = 'touch begun; while [ ! -e go ]; do sleep 0.01; done'\n");
    let mut run = fleet.start(["run"]);
    run.awaits("begun");
    let pid = run.pid();
    fleet
        .run(["run"])
        .fails_with(11)
        .warns(&format!("run RUN of process {pid} holds DIR/.fleet: wait for it, or end it with kill {pid}"));
    // Those that only look never wait.
    fleet.run(["status"]).passes();
    fleet.run(["plan"]).passes();
    let fleet = fleet.file("go", "");
    run.ends().passes();
    fleet.run(["run"]).passes();
}

#[test]
fn output_that_goes_nowhere_is_74_and_the_run_is_still_recorded() {
    let fleet = Fleet::of("[tasks.a]\nrun = 'touch ran'\n[tasks.b]\nneeds = ['a']\nrun = 'touch also'\n");
    for words in [["run", "--color=never"], ["run", "--json"], ["run", "--output=stream"]] {
        let full = || Stdio::from(File::options().write(true).open("/dev/full").expect("Linux has it"));
        fleet
            .end(fleet.command(words).stdout(full()))
            .fails_with(74)
            .has_file("ran")
            .has_file("also")
            .result("b", "pass");
    }
}

#[test]
fn a_reader_that_leaves_is_output_that_goes_nowhere() {
    let fleet = Fleet::of("[tasks.a]\nrun = 'echo said'\n");
    let (read, write) = std::io::pipe().expect("there are pipes");
    drop(read);
    fleet.end(fleet.command(["run"]).stdout(write)).fails_with(74).result("a", "pass");
}

#[test]
fn a_state_directory_that_cannot_be_made_is_74() {
    // A file where the folder belongs: also root cannot write there.
    Fleet::of("[tasks.a]\nrun = 'touch ran'\n")
        .file(".fleet", "in the way")
        .run(["run"])
        .fails_with(74)
        .warns("the run could not be recorded")
        .has_no_file("ran");
    Fleet::of("[tasks.a]\nrun = 'touch ran'\n").file(".fleet/runs", "").run(["run"]).fails_with(74).has_no_file("ran");
}

#[test]
fn a_log_that_cannot_be_written_is_74() {
    // The task replaces the folder of the logs before it prints.
    let told = Fleet::of(
        "[tasks.a]\nsh = 'rm -rf .fleet/runs/*/logs; echo x > .fleet/runs/$FLEET_RUN_ID/logs; echo said'\n\
         [tasks.b]\nneeds = ['a']\nrun = 'touch ran'\n",
    )
    .run(["run"])
    .fails_with(74)
    .says("warning  a log cannot be written: ");
    drop(told.has_no_file("ran"));
}

#[test]
fn a_run_whose_records_were_removed_proves_nothing() {
    Fleet::of("[tasks.clean]\nrun = 'rm -rf .fleet'\n[tasks.after]\nneeds = ['clean']\nrun = 'true'\n")
        .run(["run"])
        .fails_with(74)
        .says("warning  the journal cannot be written: the journal was removed while the run went on");
}

/// A folder on a disk of its own that is nearly full, for the tests that may mount one.
struct Disk(tempfile::TempDir);

impl Disk {
    fn of(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let options = format!("size={size}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(folder.path()).output();
        mount.is_ok_and(|done| done.status.success()).then_some(Self(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, because whoever still looks at it is about to end.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_disk_ends_the_run_with_74_and_starts_nothing_more() {
    let fleet = Fleet::of(
        "[tasks.fills]\nsh = 'touch begun; while [ ! -e go ]; do sleep 0.01; done; head -c 4000000 /dev/zero > .fleet/runs/fill || :'\n\
         [tasks.t]\nneeds = ['fills']\nmatrix = { n = [1, 2, 3, 4, 5, 6, 7, 8, 9] }\nrun = 'touch ran.${matrix.n}'\n\
         [tasks.last]\nneeds = ['t']\nrun = 'touch last'\n",
    );
    // Mounting is for root; for others `a_journal_that_may_not_grow` shows the same.
    let Some(disk) = Disk::of("200k") else { return };
    fs::create_dir_all(fleet.path(".fleet")).expect("the folder is ours");
    std::os::unix::fs::symlink(disk.0.path(), fleet.path(".fleet/runs")).expect("the folder is ours");
    let mut run = fleet.start(["run", "-j1"]);
    run.awaits("begun");
    let fleet = fleet.file("go", "");
    let told = run.ends().fails_with(74).says("warning  ").has_no_file("last");
    drop((told, fleet));
}

#[test]
fn a_journal_that_may_not_grow_ends_the_run_with_74() {
    // No file may grow over some kilobytes.
    let fleet = Fleet::of(
        "[tasks.t]\nmatrix = { n = [1,2,3,4,5,6,7,8,9] }\nrun = 'true'\n[tasks.last]\nneeds = ['t']\nrun = 'touch last'\n",
    );
    let mut command = Command::new("sh");
    let ours = fleet.command(["run"]);
    command.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" run"]).arg(ours.get_program());
    command.env_clear().current_dir(fleet.path(""));
    command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    fleet.end(&mut command).fails_with(74).has_no_file("last");
}
