//! Command lines of containers: what they are given, and what they say.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::hosts::containers::{Containers, Engine};
use super::{fleet, hosts, program, shown};

/// A workspace with a worker in a container.
struct Contained {
    containers: &'static Containers,
    dir: TempDir,
}

impl Contained {
    fn new(engine: Engine, trust: &str, args: &str) -> Option<Self> {
        let containers = hosts::or_left_out(engine.shared())?;
        let dir = TempDir::new().unwrap();
        let host = containers.host().replace(" }", &format!(", args = [{args}] }}"));
        let file = format!(
            "version = 1\nname = \"x\"\n[workers.w]\ntrust = \"{trust}\"\nhost = {host}\n[tasks.t]\nsh = \"echo ran\"\n"
        );
        fs::write(dir.path().join("fleet.toml"), file).unwrap();
        Some(Self { containers, dir })
    }

    fn run(&self) -> Output {
        self.fleet(&["run"])
    }

    fn fleet(&self, words: &[&str]) -> Output {
        let mut fleet = fleet(self.dir.path(), Path::new("/nowhere"), words);
        let path = std::env::var_os("PATH").unwrap_or_default();
        fleet.envs(self.containers.variables(&path)).output().unwrap()
    }

    /// By way of a `docker` that does first as this script says, which has the real one in `$real`.
    fn by_way_of(&self, bin: &TempDir, script: &str, words: &[&str]) -> Output {
        let real = which::which("docker").unwrap();
        program(bin.path(), "docker", &format!("real='{}'\n{script}\nexec \"$real\" \"$@\"", real.display()));
        let variables = self.containers.variables(OsStr::new(""));
        fleet(self.dir.path(), bin.path(), words).envs(variables).output().unwrap()
    }

    /// Another line for the task.
    fn with(self, line: &str) -> Self {
        let file = self.dir.path().join("fleet.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}{line}\n")).unwrap();
        self
    }

    #[track_caller]
    fn passes(&self) {
        let output = self.run();
        assert!(output.status.success(), "{}", shown(&output));
    }

    #[track_caller]
    fn asked(&self, words: &[&str]) {
        let output = Command::output(self.containers.command().args(words)).unwrap();
        assert!(output.status.success(), "{}", shown(&output));
    }

    fn all_volumes(&self) -> String {
        let listed = Command::output(self.containers.command().args(["volume", "ls", "--quiet"])).unwrap();
        String::from_utf8_lossy(&listed.stdout).into_owned()
    }

    /// Those of this program.
    fn volumes(&self) -> Vec<String> {
        let all = self.all_volumes();
        all.lines().filter(|name| name.starts_with("fleet-")).map(str::to_owned).collect()
    }
}

const BOTH: [Engine; 2] = [Engine::Docker, Engine::Podman];

#[test]
fn no_network_may_be_said_twice() {
    for engine in BOTH {
        if let Some(contained) = Contained::new(engine, "sandbox", r#""--network=none""#) {
            contained.passes();
        }
    }
}

#[test]
fn an_image_that_is_only_read_has_room_for_a_task() {
    for engine in BOTH {
        if let Some(contained) = Contained::new(engine, "sandbox", r#""--read-only""#) {
            contained.passes();
        }
    }
}

#[test]
fn one_that_has_no_room_says_so() {
    let args = r#""--read-only", "--read-only-tmpfs=false""#;
    let Some(contained) = Contained::new(Engine::Podman, "operator", args) else { return };
    let said = shown(&contained.run());
    assert!(said.contains("it cannot serve: ") && said.contains("cannot be used"), "{said}");
    assert!(!said.contains("stages nothing"), "{said}");
}

#[test]
fn what_cannot_be_filled_is_not_left() {
    for engine in BOTH {
        // The first of the process has no volume of ours yet, unless another test was first.
        let Some(contained) = Contained::new(engine, "operator", r#""--runtime=nosuch""#) else { continue };
        let before = contained.volumes();
        let output = contained.run();
        assert!(!output.status.success(), "{}", shown(&output));
        assert_eq!(contained.volumes(), before, "{}", shown(&output));
    }
}

/// As rootless podman does on cgroup v1, and docker where its kernel lacks a controller.
const HOLDS_NO_MEMORY: &str = r#"case "$*" in
"container inspect --format {{.HostConfig"*)
  told=$("$real" "$@") || exit
  echo "$told" | awk -F '|' -v OFS='|' '{ $4 = 0; print }'
  exit;;
esac"#;

#[test]
fn a_bound_that_the_engine_leaves_out_fails_the_attempt() {
    let Some(contained) = Contained::new(Engine::Docker, "operator", "") else { return };
    let contained = contained.with(r#"limits = { cpu = 1, memory = "64MiB", pids = 50 }"#);
    contained.passes();
    let bin = TempDir::new().unwrap();
    let output = contained.by_way_of(&bin, HOLDS_NO_MEMORY, &["run", "--json"]);
    let said = shown(&output);
    assert_eq!(output.status.code(), Some(9), "{said}");
    let why = "could not be started: worker `w`: docker does not hold `limits.memory`";
    assert!(said.contains(why), "{said}");
    assert!(!said.contains("trying again") && !said.contains("container_"), "{said}");
    let run = said.split("\"run_id\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let filter = format!("label=dev.fleet.run={run}");
    let left = Command::output(contained.containers.command().args(["ps", "--all", "--quiet", "--filter", &filter]));
    assert_eq!(left.unwrap().stdout, b"", "{said}");
    let output = contained.by_way_of(&bin, HOLDS_NO_MEMORY, &["workers", "check", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&json["workers"][0]["works"], &json["workers"][0]["limits"]["enforced"]),
        (&true.into(), &false.into())
    );
}

#[test]
fn a_task_does_not_loosen_the_bound_of_its_worker() {
    for engine in BOTH {
        let Some(contained) = Contained::new(engine, "operator", r#""--memory=64m", "--pids-limit=40""#) else {
            continue;
        };
        let contained = contained.with(r#"limits = { memory = "128MiB", pids = 30 }"#);
        let file = contained.dir.path().join("fleet.toml");
        let show =
            "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max pids/pids.max pids.max 2>/dev/null || :";
        fs::write(&file, fs::read_to_string(&file).unwrap().replace("echo ran", show)).unwrap();
        let said = shown(&contained.run());
        assert!(said.contains("1 passed") && said.contains("67108864") && !said.contains("134217728"), "{said}");
        // The lower one of 40 and of 30 beside our own.
        assert!(said.contains("40\n"), "{said}");
    }
}

#[test]
fn a_mount_whose_source_is_not_there_is_refused() {
    for engine in BOTH {
        let Some(contained) = Contained::new(engine, "local", r#""--network=none", "-v", "./no/no:/x""#) else {
            continue;
        };
        let source = contained.dir.path().join("no/no");
        let output = contained.run();
        let said = shown(&output);
        assert_eq!(output.status.code(), Some(9), "{said}");
        assert!(said.contains(&source.display().to_string()), "{said}");
        assert!(!source.exists(), "{said}");
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("in"), "is mounted").unwrap();
        let file = contained.dir.path().join("fleet.toml");
        fs::write(&file, fs::read_to_string(&file).unwrap().replace("echo ran", "cat /x/in")).unwrap();
        let said = shown(&contained.run());
        assert!(said.contains("is mounted"), "{said}");
    }
}

#[test]
fn what_others_start_from_is_not_cleaned() {
    for engine in BOTH {
        let Some(contained) = Contained::new(engine, "operator", "") else { continue };
        contained.passes();
        let mine = contained.all_volumes();
        let made = |name: &str| {
            for name in [name.to_owned(), format!("{name}-whole")] {
                contained.asked(&["volume", "create", "--label", "dev.fleet.program=x", &name]);
            }
        };
        made("other-idle");
        made("other-used");
        let image = contained.containers.image();
        contained.asked(&["create", "--name", "uses", "--volume", "other-used:/used", image, "true"]);
        let said = shown(&contained.fleet(&["workers", "clean"]));
        let left = contained.all_volumes();
        assert!(!left.contains("other-idle") && left.contains("other-used-whole"), "{said}{left}");
        assert!(mine.lines().all(|name| left.contains(name)), "{said}{left}");
        assert!(said.contains("the programs of 1 other builds"), "{said}");
        contained.asked(&["rm", "uses"]);
        contained.fleet(&["workers", "clean"]);
        assert_eq!(contained.all_volumes(), mine);
    }
}

/// A fleet of one container, and an engine that does as this script says; what it is told is noted.
fn told(script: &str) -> (String, String) {
    let (dir, bin) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let host = r#"{ kind = "docker", image = "some:tag", args = ["--ulimit", "nofile=64"] }"#;
    let file = format!("version = 1\nname = \"x\"\n[workers.w]\nhost = {host}\n[tasks.t]\nrun = \"true\"\n");
    fs::write(dir.path().join("fleet.toml"), file).unwrap();
    program(bin.path(), "docker", &format!("echo \"$*\" >> \"$(dirname \"$0\")/told\"\n{script}"));
    let output = fleet(dir.path(), bin.path(), &["run"]).output().unwrap();
    (shown(&output), fs::read_to_string(bin.path().join("told")).unwrap())
}

#[test]
fn an_engine_that_is_off_is_not_asked_for_images() {
    let off = "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?";
    let (said, told) = told(&format!("echo '{off}' >&2; exit 1"));
    assert!(said.contains(&format!("docker: it does not answer: {off}")), "{said}");
    assert!(!told.contains("pull"), "{told}");
}

#[test]
fn an_image_that_is_missing_is_pulled() {
    let (said, told) = told("echo 'Error response from daemon: No such image: some:tag' >&2; exit 1");
    assert!(said.contains("docker: the image `some:tag` is not there: "), "{said}");
    assert!(told.contains("pull --quiet -- some:tag"), "{told}");
}

#[test]
fn a_supervisor_is_tried_as_tasks_will_be_started() {
    let script = "case \"$1 $2\" in 'volume inspect') exit 1;; 'image inspect') echo sha256:1;; esac";
    let (_, told) = told(script);
    for (what, begin) in [("fills", "create --name fleet-fill-"), ("tries", "run --rm --network none")] {
        let line = told.lines().find(|line| line.starts_with(begin));
        let line = line.unwrap_or_else(|| panic!("nobody {what} it: {told}"));
        assert!(line.contains("--ulimit nofile=64 --entrypoint"), "{line}");
    }
    let taken_back = told.lines().rfind(|line| line.starts_with("volume rm fleet-"));
    assert!(taken_back.is_some_and(|line| !line.contains("-whole")), "{told}");
}
