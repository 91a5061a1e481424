//! What a task makes.

use serde_json::Value;

use crate::behaviour::{Behaviour, Kind, On, Sandbox, task};
use crate::journal::hex;
use crate::seen::{Task, holds, same};

const NO_CHMOD: &[(On, &str)] = &[(
    On::Sandbox(Sandbox::Landlock),
    "no rule of Landlock tells modes in the task's folder from others, so all are refused",
)];

/// What the receipt says of an output.
fn output(task: &Task<'_>, path: &str) -> Result<Value, String> {
    let outputs = task.receipt["outputs"].as_array();
    let found = outputs.and_then(|outputs| outputs.iter().find(|output| output["path"] == path));
    found.cloned().ok_or_else(|| format!("{path} is not among the outputs: {}", task.receipt["outputs"]))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

pub(super) const ROWS: &[Behaviour] = &[
    task(
        "outputs come back",
        "[tasks.makes]\nsh = 'mkdir -p made; echo made > made/one.txt'\noutputs = ['made/one.txt']\n",
        |seen| {
            let task = seen.task("makes")?.is("pass")?;
            same("its digest", output(&task, "made/one.txt")?["digest"].take(), digest(b"made\n"))?;
            seen.file_says("made/one.txt", "made\n").map(|()| task)
        },
    ),
    task(
        "outputs keep their modes",
        "[tasks.makes-modes]\nsh = 'mkdir moded; for m in 755 644 600 500; do echo $m > moded/$m; chmod $m moded/$m; done'\noutputs = ['moded/*']\n",
        |seen| {
            let task = seen.task("makes-modes")?.is("pass")?;
            for (name, mode) in [("moded/755", 0o755), ("moded/644", 0o644), ("moded/600", 0o600), ("moded/500", 0o500)]
            {
                same(name, seen.mode(name)?, mode)?;
                same(name, output(&task, name)?["mode"].take(), format!("{mode:04o}"))?;
            }
            Ok(task)
        },
    )
    .not_on(NO_CHMOD),
    task(
        "outputs by glob, and not what an exclusion takes away",
        "[tasks.makes-glob]\nsh = 'mkdir -p glob/deep; echo 1 > glob/a.txt; echo 2 > glob/deep/b.txt; echo 3 > glob/c.bak'\noutputs = ['glob/**', '!glob/*.bak']\n",
        |seen| {
            let task = seen.task("makes-glob")?.is("pass")?;
            same("the outputs", task.receipt["outputs"].as_array().map_or(0, Vec::len), 2)?;
            seen.file_says("glob/a.txt", "1\n")?;
            seen.file_says("glob/deep/b.txt", "2\n").map(|()| task)
        },
    )
    .as_in_docker(),
    task(
        "what is no output does not come back",
        "[tasks.makes-more]\nsh = 'echo 1 > wanted.txt; echo 2 > unwanted.txt'\noutputs = ['wanted.txt']\n",
        |seen| {
            seen.file_says("wanted.txt", "1\n")?;
            holds("it is there", !seen.path("unwanted.txt").exists())?;
            seen.task("makes-more")?.is("pass")
        },
    )
    .not_on(&[(On::Only(Kind::LOCAL), "a local task without a sandbox works in the workspace itself")]),
    task(
        "a whole folder as output",
        "[tasks.makes-folder]\nsh = 'mkdir -p folder/x/y; echo 1 > folder/1; echo 2 > folder/x/y/2'\noutputs = ['folder']\n",
        |seen| {
            seen.file_says("folder/1", "1\n")?;
            seen.file_says("folder/x/y/2", "2\n")?;
            seen.task("makes-folder")?.is("pass")
        },
    )
    .as_in_docker(),
    task(
        "an empty folder as output",
        "[tasks.makes-empty]\nsh = 'mkdir -p hollow/inner'\noutputs = ['hollow']\n",
        |seen| {
            let task = seen.task("makes-empty")?.is("pass")?;
            same("its kind", output(&task, "hollow/inner")?["kind"].take(), "directory")?;
            holds("it is no folder", seen.path("hollow/inner").is_dir()).map(|()| task)
        },
    )
    .as_in_docker(),
    task(
        "a link as output",
        "[tasks.makes-link]\nsh = 'mkdir linked; echo x > linked/to; ln -s to linked/from'\noutputs = ['linked/**']\n",
        |seen| {
            let task = seen.task("makes-link")?.is("pass")?;
            let link = std::fs::read_link(seen.path("linked/from")).map_err(|error| error.to_string())?;
            same("where it leads", link, std::path::PathBuf::from("to"))?;
            same("its kind", output(&task, "linked/from")?["kind"].take(), "symlink").map(|()| task)
        },
    ),
    task(
        "an empty file as output",
        "[tasks.makes-nothing]\nsh = '> nothing.txt'\noutputs = ['nothing.txt']\n",
        |seen| {
            let task = seen.task("makes-nothing")?.is("pass")?;
            same("its digest", output(&task, "nothing.txt")?["digest"].take(), digest(b""))?;
            seen.file_says("nothing.txt", "").map(|()| task)
        },
    )
    .as_in_docker(),
    task(
        "outputs with names that are not ASCII, and odd ones",
        "[tasks.umlaut-out]\nsh = '''mkdir -p out; echo 1 > 'out/größe 日本.txt'; echo 2 > \"out/-quo'te\"; echo 3 > 'out/new\nline' '''\noutputs = ['out/**']\n",
        |seen| {
            seen.file_says("out/größe 日本.txt", "1\n")?;
            seen.file_says("out/-quo'te", "2\n")?;
            seen.file_says("out/new\nline", "3\n")?;
            seen.task("umlaut-out")?.is("pass")
        },
    ),
    task(
        "an output of 8 MiB",
        "[tasks.makes-big]\nsh = 'head -c 8388608 /dev/zero | tr \"\\0\" b > big.bin'\noutputs = ['big.bin']\n",
        |seen| {
            let task = seen.task("makes-big")?.is("pass")?;
            let want = hex(&vec![b'b'; 8 << 20]);
            same("its digest", output(&task, "big.bin")?["digest"].take(), format!("sha256:{want}"))?;
            let got = hex(&seen.file("big.bin")?);
            same("the file", got, want).map(|()| task)
        },
    ),
    task(
        "200 outputs",
        "[tasks.makes-many]\nsh = 'mkdir many; i=0; while [ $i -lt 200 ]; do echo $i > many/$i; i=$((i+1)); done'\noutputs = ['many/*']\n",
        |seen| {
            for n in 0..200 {
                seen.file_says(&format!("many/{n}"), &format!("{n}\n"))?;
            }
            seen.task("makes-many")?.is("pass")
        },
    )
    .as_in_docker(),
    task("an output that is missing", "[tasks.misses]\nrun = 'true'\noutputs = ['never/*.made']\n", |seen| {
        seen.task("misses")?.is("fail/task: required output `never/*.made` is missing")?.says("/exit_code", 0)
    }),
    task(
        "an output that was there before is made anew",
        "[tasks.makes-anew]\nsh = 'echo new > in/not-in.bak'\noutputs = ['in/not-in.bak']\n",
        |seen| {
            seen.file_says("in/not-in.bak", "new\n")?;
            seen.task("makes-anew")?.is("pass")
        },
    )
    .as_in_docker(),
    task(
        "artifacts are kept by their digest",
        "[tasks.keeps]\nsh = 'mkdir kept; echo report > kept/report.txt'\nartifacts = [{ path = 'kept/*.txt', kind = 'report', mime_type = 'text/plain' }]\n",
        |seen| {
            let task = seen.task("keeps")?.is("pass")?.says("/artifacts/0/path", "kept/report.txt")?;
            let hex = hex(b"report\n");
            let store = format!(".fleet/store/sha256/{}/{}/{hex}", &hex[..2], &hex[2..4]);
            same("what is in the store", seen.file(&store)?, b"report\n".to_vec())?;
            task.says("/artifacts/0/checksum", digest(b"report\n"))?.says("/artifacts/0/size_bytes", 7)
        },
    ),
    task(
        "an artifact that is missing",
        "[tasks.keeps-not]\nrun = 'true'\nartifacts = [{ path = 'kept/*.none' }]\n",
        |seen| seen.task("keeps-not")?.is("fail/task: required artifact `kept/*.none` is missing"),
    )
    .as_in_docker(),
    task(
        "an artifact that may be missing",
        "[tasks.keeps-maybe]\nrun = 'true'\nartifacts = [{ path = 'kept/*.none', required = false }]\n",
        |seen| seen.task("keeps-maybe")?.is("pass"),
    )
    .as_in_docker(),
    task(
        "a failed task's artifacts come back",
        "[tasks.keeps-failed]\nsh = 'echo why > why.txt; exit 1'\nartifacts = [{ path = 'why.txt', kind = 'log' }]\n",
        |seen| {
            let task = seen.task("keeps-failed")?.is("fail/task: exit code 1")?;
            task.says("/artifacts/0/checksum", digest(b"why\n"))
        },
    ),
    task(
        "what a need made is there",
        "[tasks.gives]\nsh = 'mkdir given; echo given > given/x; cp in/tool given/run'\ninputs = ['in/tool']\noutputs = ['given/**']\n\
         [tasks.takes]\nneeds = ['gives']\nsh = 'cat given/x; ./given/run'\n",
        |seen| seen.task("takes")?.passes_with("given\nthe tool ran\n"),
    ),
    task(
        "what a need made on another worker is there",
        "[tasks.gives-far]\nworker = { id = 'one' }\nsh = 'mkdir far; echo far > far/x; ln -s x far/y'\noutputs = ['far/**']\n\
         [tasks.takes-far]\nneeds = ['gives-far']\nworker = { id = 'two' }\nsh = 'cat far/y'\ninputs = ['far/**']\n",
        |seen| {
            let task = seen.task("takes-far")?.passes_with("far\n")?.says("/worker_id", "two")?;
            seen.task("gives-far")?.says("/worker_id", "one").map(|_| task)
        },
    ),
];
