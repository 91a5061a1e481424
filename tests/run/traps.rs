//! Edits that users of other tools have seen missed, and edits that made too much run again.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use super::support::{Fleet, Ran, until};

/// One task that copies the files of `in/` into one.
const JOIN: &str = "[tasks.join]\ninputs = ['in/**']\noutputs = ['all']\nsh = 'cat in/* > all'\n";

fn join() -> Fleet {
    let fleet = Fleet::of(JOIN).file("in/a", "aaa\n").file("in/b", "bbb\n");
    fleet.run(["run"]).passes().ran("join").file_says("all", "aaa\nbbb\n").then()
}

/// The task runs because of what was just done, and then no more.
#[track_caller]
fn runs_once(fleet: &Fleet, task: &str) {
    fleet.run(["run"]).passes().ran(task);
    fleet.run(["run"]).passes().ran("");
}

const DAY: Duration = Duration::from_hours(24);

#[test]
fn a_golden_file_that_only_a_scorer_reads_is_no_less_an_input() {
    let scorer = "scorers = ['exit_code', { kind = 'regex_match', path = 'golden', pattern = 'yes' }]";
    let tasks = format!(
        "[scorers.exit_code]\nkind = 'exit_code'\n[tasks.a]\ninputs = []\noutputs = ['o']\nrun = 'touch o'\n{scorer}\n"
    );
    let fleet = Fleet::of(&tasks).file("golden", "yes\n");
    runs_once(&fleet, "a");
    fleet.write("golden", "oh yes\n");
    runs_once(&fleet, "a");
    fleet.write("golden", "no\n");
    fleet.run(["run"]).fails_with(1).ran("a");
}

#[test]
fn a_variable_that_chooses_the_language_or_a_toolchain_counts_without_being_declared() {
    let fleet = Fleet::of("[tasks.a]\ninputs = []\nrun = 'true'\n").var("LANG", "C").var("RUSTUP_TOOLCHAIN", "1.90");
    runs_once(&fleet, "a");
    let fleet = fleet.var("RUSTUP_TOOLCHAIN", "1.91");
    runs_once(&fleet, "a");
    let fleet = fleet.var("LANG", "C.UTF-8").var("USER", "somebody");
    runs_once(&fleet, "a");
    fleet.var("USER", "else").run(["run"]).passes().ran("");
}

// ── Time ─────────────────────────────────────────────────────────────────

#[test]
fn a_touch_is_no_change() {
    let fleet = join();
    for at in [SystemTime::now(), SystemTime::now() + DAY, SystemTime::now() - 1000 * DAY, SystemTime::UNIX_EPOCH] {
        fleet.stamp("in/a", at);
        fleet.stamp("all", at);
        fleet.run(["run"]).passes().ran("").reused("join");
    }
    // Nor is the same content in a new file.
    fleet.delete("in/a");
    fleet.write("in/a", "aaa\n");
    fleet.run(["run"]).passes().ran("").reused("join");
    fleet.chmod("in/a", 0o600);
    fleet.run(["run"]).passes().ran("").reused("join");
}

#[test]
fn an_edit_is_noticed_whatever_the_clock_says() {
    let fleet = join();
    let mut round = 0;
    for before in [SystemTime::UNIX_EPOCH, SystemTime::now() - DAY, SystemTime::now() + DAY] {
        for after in [SystemTime::UNIX_EPOCH, SystemTime::now() - 2 * DAY, SystemTime::now() + 2 * DAY, before] {
            fleet.stamp("in/a", before);
            fleet.stamp("all", before);
            fleet.run(["run"]).passes().ran("");
            round += 1;
            let text = format!("{round:03}\n");
            fleet.write("in/a", &text);
            fleet.stamp("in/a", after);
            fleet.run(["run"]).passes().ran("join").file_says("all", &format!("{text}bbb\n"));
        }
    }
}

#[test]
fn an_edit_that_keeps_size_and_time_is_noticed() {
    let fleet = join();
    for text in ["AAA\n", "BBB\n", "aaa\n"] {
        fleet.run(["run"]).passes();
        fleet.write_unstamped("in/a", text);
        fleet.run(["run"]).passes().file_says("all", &format!("{text}bbb\n"));
    }
    // Another file in its place, with its time, as `mv` and unpacking make them.
    let fleet = fleet.file("other", "XXX\n");
    fleet.stamp("other", fleet.stamped("in/a"));
    fleet.rename("other", "in/a");
    fleet.run(["run"]).passes().ran("join").file_says("all", "XXX\nbbb\n");
}

#[test]
fn edits_within_one_tick_of_the_clock_are_noticed() {
    // As fast as it goes, so that some stamps are the same.
    let fleet = join();
    for round in 100..120 {
        fleet.write("in/a", format!("{round}\n"));
        fleet.run(["run", "-o", "quiet"]).passes().ran("join").file_says("all", &format!("{round}\nbbb\n"));
    }
}

#[test]
fn rehash_reads_every_file_and_finds_the_same() {
    let fleet = join();
    fleet.run(["run", "--rehash"]).passes().ran("").reused("join");
    fleet.write_unstamped("in/b", "BBB\n");
    fleet.run(["run", "--rehash"]).passes().ran("join").file_says("all", "aaa\nBBB\n");
    fleet.run(["run"]).passes().ran("");
}

// ── Files ────────────────────────────────────────────────────────────────

#[test]
fn a_new_file_that_a_glob_takes_is_a_change() {
    let fleet = join();
    let fleet = fleet.file("in/c", "ccc\n").file("beside", "");
    fleet.run(["run"]).passes().ran("join").file_says("all", "aaa\nbbb\nccc\n");
    let fleet = fleet.file("in/.hidden", "");
    runs_once(&fleet, "join");
    // An empty folder holds no file.
    fleet.folder("in/folder");
    fleet.run(["run"]).passes().ran("");
    fleet.delete("in/folder");
    fleet.delete("in/.hidden");
    fleet.delete("in/c");
    fleet.run(["run"]).passes().ran("").reused("join").file_says("all", "aaa\nbbb\n");
}

#[test]
fn an_input_that_is_not_there_yet_counts_when_it_comes() {
    let fleet = Fleet::of(
        "[tasks.t]\ninputs = ['maybe', 'some*']\noutputs = ['o']\nsh = 'cat maybe some* > o 2> /dev/null || true'\n",
    );
    let told = fleet.run(["run"]).passes().ran("t").says("`maybe` among the inputs of `t` matches no file");
    told.then().run(["run"]).passes().ran("").reused("t").says("`maybe` among the inputs of `t` matches no file");
    fleet.write("maybe", "1");
    fleet.run(["run"]).passes().ran("t").file_says("o", "1");
    fleet.write("some", "2");
    fleet.run(["run"]).passes().ran("t").file_says("o", "12");
    fleet.delete("maybe");
    fleet.run(["run"]).passes().ran("t").file_says("o", "2");
}

#[test]
fn a_rename_is_a_change_although_the_bytes_are_the_same() {
    let fleet = Fleet::of("[tasks.t]\ninputs = ['in/**']\noutputs = ['o']\nsh = 'ls in > o'\n").file("in/a", "");
    let fleet = fleet.run(["run"]).passes().then();
    for (from, to) in [("a", "b"), ("b", "B"), ("B", "e\u{301}"), ("e\u{301}", "\u{e9}"), ("\u{e9}", "ß"), ("ß", "ss")]
    {
        fleet.rename(&format!("in/{from}"), &format!("in/{to}"));
        fleet.run(["run"]).passes().ran("t").file_says("o", &format!("{to}\n"));
        fleet.run(["run"]).passes().ran("");
    }
}

#[test]
fn names_that_look_alike_are_different_files() {
    let (composed, decomposed) = ("in/\u{e9}.txt", "in/e\u{301}.txt");
    let tasks = format!(
        "[tasks.small]\ninputs = ['in/a.txt']\nsh = 'true'\n[tasks.large]\ninputs = ['in/A.txt']\nsh = 'true'\n\
         [tasks.composed]\ninputs = ['{composed}']\nsh = 'true'\n[tasks.decomposed]\ninputs = ['{decomposed}']\nsh = 'true'\n"
    );
    let fleet = Fleet::of(&tasks).file("in/a.txt", "a").file("in/A.txt", "A").file(composed, "c").file(decomposed, "d");
    assert_eq!(
        fs::read_dir(fleet.path("in")).expect("it is a folder").count(),
        4,
        "a file system that tells them apart"
    );
    let fleet = fleet.run(["run"]).passes().then();
    for (file, task) in
        [("in/a.txt", "small"), ("in/A.txt", "large"), (composed, "composed"), (decomposed, "decomposed")]
    {
        fleet.append(file, "more");
        runs_once(&fleet, task);
    }
}

#[test]
fn an_input_that_becomes_executable_is_another_input() {
    let fleet = join();
    fleet.chmod("in/a", 0o755);
    runs_once(&fleet, "join");
    fleet.chmod("in/a", 0o644);
    fleet.run(["run"]).passes().ran("").reused("join");
}

#[test]
fn links_count_as_what_they_lead_to() {
    let fleet = Fleet::of(JOIN).file("one", "one\n").file("two", "two\n").file("in/b", "b\n");
    fleet.link("in/a", "../one");
    let fleet = fleet.run(["run"]).passes().file_says("all", "one\nb\n").then();
    fleet.write("one", "ONE\n");
    fleet.run(["run"]).passes().ran("join").file_says("all", "ONE\nb\n");
    fleet.write_unstamped("one", "one\n");
    fleet.run(["run"]).passes().file_says("all", "one\nb\n");
    fleet.link("in/a", "../two");
    fleet.run(["run"]).passes().ran("join").file_says("all", "two\nb\n");
    // A link on the way, and a link to a link.
    fleet.folder("first");
    fleet.folder("second");
    let fleet = fleet.file("first/f", "1\n").file("second/f", "2\n");
    fleet.link("way", "first");
    fleet.link("in/a", "../way/f");
    fleet.run(["run"]).passes().ran("join").file_says("all", "1\nb\n");
    fleet.link("way", "second");
    fleet.run(["run"]).passes().ran("join").file_says("all", "2\nb\n");
    fleet.write("second/f", "3\n");
    fleet.run(["run"]).passes().ran("join").file_says("all", "3\nb\n");
    // The same bytes behind another link are the same input.
    fleet.write("one", "3\n");
    fleet.link("in/a", "../one");
    fleet.run(["run"]).passes().ran("").reused("join");
}

#[test]
fn what_git_ignores_counts_where_it_is_named() {
    let tasks = "[tasks.named]\ninputs = ['gen/secret.txt']\nsh = 'true'\n[tasks.within]\ninputs = ['gen/**']\nsh = 'true'\n\
                 [tasks.all]\ninputs = ['**/*.txt']\nsh = 'true'\n";
    let fleet = Fleet::of(tasks).file(".gitignore", "gen/\n").file("gen/secret.txt", "1").file("seen.txt", "1");
    fleet.folder(".git");
    let fleet = fleet.run(["run"]).passes().then();
    fleet.write("gen/secret.txt", "2");
    runs_once(&fleet, "named within");
    fleet.write("seen.txt", "2");
    runs_once(&fleet, "all");
    // What is no longer ignored is new.
    fleet.write(".gitignore", "");
    runs_once(&fleet, "all");
}

// ── Programs and environment ─────────────────────────────────────────────

#[test]
fn variables_count_when_they_reach_the_task() {
    let tasks = "[tasks.sets]\ninputs = []\nenv = { OWN = '1' }\nsh = 'true'\n\
                 [tasks.passes]\ninputs = []\npass_env = ['MY_*']\nsh = 'true'\n\
                 [tasks.hides]\ninputs = []\npass_env = ['MY_*']\nenv = { MY_A = 'x' }\nsh = 'true'\n";
    let fleet = Fleet::of(tasks).var("MY_A", "1");
    let fleet = fleet.run(["run"]).passes().then();
    let fleet = fleet.var("OTHER", "1").var("OWN", "2");
    fleet.run(["run"]).passes().ran("");
    let fleet = fleet.var("MY_A", "2");
    runs_once(&fleet, "passes");
    let fleet = fleet.var("MY_B", "");
    runs_once(&fleet, "passes hides");
    fleet.reword("OWN = '1'", "OWN = '2'");
    runs_once(&fleet, "sets");
    fleet.reword("OWN = '2'", "OWN = '2', MORE = ''");
    runs_once(&fleet, "sets");
}

/// A program that prints a word.
fn program(text: &str) -> String {
    format!("#!/bin/sh\necho {text}\n")
}

#[test]
fn an_upgrade_of_a_declared_tool_is_a_change() {
    let fleet = Fleet::of("[tasks.t]\ninputs = []\noutputs = ['o']\ntools = ['mytool']\nsh = 'mytool > o'\n");
    let fleet = fleet.file("new/keep", "").file("bin/mytool", program("one")).executable("bin/mytool");
    let path = |fleet: &Fleet, folders: &[&str]| {
        let folders: Vec<String> = folders.iter().map(|folder| fleet.path(folder).display().to_string()).collect();
        format!("{}:{}", folders.join(":"), std::env::var("PATH").expect("tests have a PATH"))
    };
    let (bin, both) = (path(&fleet, &["bin"]), path(&fleet, &["new", "bin"]));
    let fleet = fleet.var("PATH", &bin);
    fleet.run(["run"]).passes().ran("t").file_says("o", "one\n");
    fleet.run(["run"]).passes().ran("");
    fleet.write("bin/mytool", program("three"));
    fleet.run(["run"]).passes().ran("t").file_says("o", "three\n");
    // Packages that are built reproducibly have the same time in every version, and may have the same size.
    fleet.write_unstamped("bin/mytool", &program("eight"));
    fleet.run(["run"]).passes().ran("t").file_says("o", "eight\n");
    let fleet = fleet.file("other", program("seven")).executable("other");
    fleet.stamp("other", fleet.stamped("bin/mytool"));
    fleet.rename("other", "bin/mytool");
    fleet.run(["run"]).passes().ran("t").file_says("o", "seven\n");
    // Another one that comes first on PATH.
    let fleet = fleet.var("PATH", &both);
    fleet.run(["run"]).passes().ran("");
    let fleet = fleet.file("new/mytool", program("first")).executable("new/mytool");
    fleet.run(["run"]).passes().ran("t").file_says("o", "first\n");
    fleet.delete("new/mytool");
    fleet.run(["run"]).passes().ran("").reused("t").file_says("o", "seven\n");
    // Gone altogether.
    fleet.delete("bin/mytool");
    fleet.run(["run"]).fails_with(9).says("the tool `mytool` is not on PATH");
}

#[test]
fn a_program_of_the_workspace_is_an_input_of_what_runs_it() {
    let tasks = "[tasks.t]\ninputs = []\nscratch = true\nrun = './tools/gen'\n[tasks.judged]\ninputs = []\nrun = 'true'\n\
                 scorers = [{ kind = 'command', run = ['tools/judge', 'x'] }]\n\
                 [tasks.fed]\ninputs = []\nstdin = 'tools/gen'\nrun = 'cat'\n";
    let fleet = Fleet::of(tasks).file("tools/gen", program("one")).executable("tools/gen");
    let fleet = fleet.file("tools/judge", program("fine")).executable("tools/judge");
    let fleet = fleet.run(["run"]).passes().ran("t judged fed").then();
    fleet.run(["run"]).passes().ran("");
    fleet.write("tools/gen", program("two"));
    runs_once(&fleet, "t fed");
    fleet.write("tools/judge", "#!/bin/sh\nexit 1\n");
    fleet.run(["run"]).fails_with(1).ran("judged");
    fleet.run(["run"]).fails_with(1).ran("judged");
}

// ── The fleet file ───────────────────────────────────────────────────────

#[test]
fn every_change_of_a_task_that_could_matter_makes_it_run() {
    let changes = [
        ("sh = 'cat in.txt > o'", "sh = 'cat < in.txt > o'"),
        ("sh = 'cat < in.txt > o'", "run = ['cp', 'in.txt', 'o']"),
        (
            "run = ['cp', 'in.txt', 'o']",
            "run = ['cp', 'in.txt', 'o']\nscorers = [{ kind = 'file_exists', path = 'o' }]",
        ),
        ("path = 'o' }", "path = 'in.txt' }"),
        ("path = 'in.txt' }", "path = 'in.txt', weight = 2 }"),
        ("weight = 2 }", "weight = 2 }, { kind = 'exit_code' }"),
        ("outputs = ['o']", "outputs = ['o']\nartifacts = [{ path = 'o', kind = 'log' }]"),
        ("kind = 'log'", "kind = 'report'"),
        ("outputs = ['o']\n", ""),
        ("inputs = ['in.txt']", "inputs = ['in.txt']\nscratch = true"),
        ("inputs = ['in.txt']", "inputs = ['*.txt']\nenv = { E = '' }"),
    ];
    let fleet =
        Fleet::of("[tasks.t]\ninputs = ['in.txt']\noutputs = ['o']\nsh = 'cat in.txt > o'\n").file("in.txt", "1");
    let fleet = fleet.run(["run"]).passes().then();
    for (from, to) in changes {
        eprintln!("{from} → {to}");
        fleet.reword(from, to);
        runs_once(&fleet, "t");
    }
}

#[test]
fn what_bounds_a_task_or_names_it_for_people_changes_nothing() {
    let fleet = join();
    for more in ["timeout = '1h'", "priority = 3", "description = 'x'", "tags = ['y']", "metadata = { z = 1 }"] {
        fleet.append("fleet.toml", &format!("{more}\n"));
        fleet.run(["run"]).passes().ran("").reused("join");
    }
}

#[test]
fn a_value_of_a_matrix_is_a_part_of_its_task() {
    let fleet = Fleet::of(
        "[tasks.t]\nmatrix = { os = ['a', 'b'] }\ninputs = []\noutputs = ['o.${matrix.os}']\nsh = 'echo ${matrix.os} > o.${matrix.os}'\n",
    );
    let fleet = fleet.run(["run"]).passes().ran("t:a t:b").then();
    fleet.reword("['a', 'b']", "['b', 'c']");
    fleet.run(["run"]).passes().ran("t:c").reused("t:b");
    fleet.reword("['b', 'c']", "['a', 'b', 'c']");
    fleet.run(["run"]).passes().ran("").reused("t:a t:b t:c");
    // An axis more is another instance, even with a command that does not mention it.
    fleet.reword("os = ['a', 'b', 'c']", "os = ['a'], x = [1]");
    fleet.run(["run"]).passes().ran("t:a:1");
}

#[test]
fn a_task_that_was_away_for_a_while_is_known_again() {
    let fleet = join();
    let with = fleet.read("fleet.toml");
    fleet.tasks("[tasks.other]\ninputs = []\nrun = 'true'\n");
    fleet.run(["run"]).passes().ran("other");
    fleet.delete("all");
    fleet.write("fleet.toml", &with);
    fleet.run(["run"]).passes().ran("").reused("join").file_says("all", "aaa\nbbb\n");
    fleet.tasks("[tasks.other]\ninputs = []\nrun = 'true'\n");
    fleet.write("in/a", "xxx\n");
    fleet.run(["run"]).passes().ran("").reused("other");
    fleet.write("fleet.toml", &with);
    fleet.run(["run"]).passes().ran("join").file_says("all", "xxx\nbbb\n");
    // Under another name it is another task.
    fleet.reword("[tasks.join]", "[tasks.unite]");
    fleet.run(["run"]).passes().ran("unite");
}

#[test]
fn a_need_that_comes_or_goes_is_a_change() {
    let up = "[tasks.up]\ninputs = ['in']\noutputs = ['mid']\nsh = 'cat in > mid'\n";
    let fleet = Fleet::of(&format!("{up}[tasks.t]\nneeds = ['up']\ninputs = []\nsh = 'true'\n")).file("in", "1");
    let fleet = fleet.run(["run"]).passes().ran("up t").then();
    fleet.reword("needs = ['up']\n", "");
    fleet.run(["run"]).passes().ran("t").reused("up");
    fleet.write("in", "2");
    fleet.run(["run"]).passes().ran("up").reused("t");
    fleet.reword("[tasks.t]\n", "[tasks.t]\nneeds = ['up']\n");
    fleet.run(["run"]).passes().ran("t").reused("up");
    fleet.write("in", "1");
    fleet.run(["run"]).passes().ran("").reused("up t");
}

#[test]
fn what_is_required_is_asked_for_although_nothing_changed() {
    let tasks = "[tasks.t]\ninputs = []\nrequired_files = ['must']\nrequired_env = ['HAVE']\npass_env = ['HAVE']\nsh = 'true'\n";
    let fleet = Fleet::of(tasks).file("must", "").var("HAVE", "1");
    let fleet = fleet.run(["run"]).passes().then();
    fleet.run(["run"]).passes().reused("t");
    fleet.delete("must");
    fleet.run(["run"]).fails_with(9).says("the required file `must` does not exist");
    fleet.write("must", "");
    fleet.run(["run"]).passes().reused("t");
}

// ── Tasks that do not stick to their part ────────────────────────────────

#[test]
fn a_task_that_rewrites_its_input_is_never_reused_wrongly_and_never_undoes_an_edit() {
    let fleet = Fleet::of(
        "[tasks.fmt]\ninputs = ['in/*']\nsh = 'for f in in/*; do tr a-z A-Z < $f > tmp; cat tmp > $f; done'\n",
    );
    let fleet = fleet.file("in/a", "one").file("in/b", "two");
    fleet.run(["run"]).passes().ran("fmt").file_says("in/a", "ONE");
    // What it was given is not there any more; what it made of it is looked at for the first time.
    fleet.run(["run"]).passes().ran("fmt").file_says("in/a", "ONE");
    fleet.run(["run"]).passes().ran("").reused("fmt");
    for text in ["edited", "ONE", "edited", "one", "", "ONE"] {
        fleet.write("in/a", text);
        fleet.run(["run"]).passes().file_says("in/a", &text.to_uppercase()).file_says("in/b", "TWO");
        let is_formatted = text == text.to_uppercase();
        assert!(is_formatted || fleet.started() == ["fmt"], "{text}");
    }
    fleet.delete("in/a");
    fleet.run(["run"]).passes().has_no_file("in/a");
    fleet.run(["run"]).passes().ran("").has_no_file("in/a").file_says("in/b", "TWO");
}

#[test]
fn what_would_be_restored_over_its_own_input_is_refused() {
    for inputs in ["in/*", "in/a", "in", "**"] {
        let tasks = format!("[tasks.fmt]\ninputs = ['{inputs}']\noutputs = ['in/a']\nrun = 'touch in/a'\n");
        let fleet = Fleet::of(&tasks).file("in/a", "mine");
        fleet.run(["run"]).fails_with(3).warns("fleet::cycle").file_says("in/a", "mine");
    }
}

#[test]
fn an_input_that_is_edited_while_the_task_runs_makes_no_result_to_keep() {
    let fleet = Fleet::of(
        "[tasks.t]\ninputs = ['in*']\noutputs = ['o']\nsh = 'cat in > o; touch begun; while [ ! -e go ]; do sleep 0.01; done'\n",
    )
    .file("in", "old");
    let mut run = fleet.start(["run"]);
    run.awaits("begun");
    fleet.write("in", "new");
    fleet.write("go", "");
    let told = run.ends().passes().ran("t").file_says("o", "old");
    let fleet = told.then();
    let told = fleet.run(["run", "--explain"]).passes().ran("t").file_says("o", "new");
    told.says("its last result was not kept: the input `in` changed while it ran");
    fleet.run(["run"]).passes().ran("").reused("t");
    // Back to what the first run began with: its outputs were never those of these bytes for sure.
    fleet.write("in", "old");
    fleet.run(["run"]).passes().ran("t").file_says("o", "old");
}

#[test]
fn a_generated_input_is_what_its_generator_makes_of_it() {
    let fleet = Fleet::of(
        "[tasks.gen]\ninputs = ['src']\noutputs = ['gen/list']\nsh = 'mkdir -p gen; sort src > gen/list'\n\
         [tasks.use]\ninputs = ['gen/list']\noutputs = ['o']\nsh = 'cat gen/list > o'\n",
    )
    .file("src", "b\na\n");
    let fleet = fleet.run(["run"]).passes().ran("gen use").file_says("o", "a\nb\n").then();
    fleet.run(["run"]).passes().ran("").reused("gen use");
    fleet.write("src", "a\nb\n");
    fleet.run(["run"]).passes().ran("gen").reused("use");
    fleet.write("src", "c\n");
    fleet.run(["run"]).passes().ran("gen use").file_says("o", "c\n");
    // An edit of what is generated is undone before it is used.
    for spoil in [&(|fleet: &Fleet| fleet.write("gen/list", "mine\n")) as &dyn Fn(&Fleet), &|fleet| fleet.delete("gen")]
    {
        spoil(&fleet);
        fleet.run(["run"]).passes().ran("").reused("gen use").file_says("gen/list", "c\n").file_says("o", "c\n");
        spoil(&fleet);
        fleet.run(["run", "use"]).passes().ran("").file_says("gen/list", "c\n").file_says("o", "c\n");
    }
}

// ── Places, and what breaks off ──────────────────────────────────────────

#[test]
fn a_copy_of_a_workspace_believes_nothing_that_is_not_so_there() {
    let fleet = join();
    let there = Fleet::new();
    let copy = std::process::Command::new("cp").arg("-a").arg(fleet.path(".")).arg(there.path("copy")).status();
    assert!(copy.expect("there is a cp").success());
    let there = there.inside("copy");
    let ran = |fleet: &Fleet, told: Ran| -> (bool, String) {
        let told = told.passes();
        (!told.stdout().contains("(1 reused)"), fs::read_to_string(fleet.path("copy/all")).expect("it is made"))
    };
    // Both are edited differently, with the same sizes and times.
    let stamp = fleet.stamped("in/a");
    fleet.write_unstamped("in/a", "one\n");
    there.write("copy/in/a", "two\n");
    there.stamp("copy/in/a", stamp);
    assert_eq!(ran(&there, there.run(["run"])), (true, "two\nbbb\n".to_owned()));
    fleet.run(["run"]).passes().ran("join").file_says("all", "one\nbbb\n");
    // What the original knows by now, the copy has to find out itself.
    there.write("copy/in/a", "one\n");
    assert_eq!(ran(&there, there.run(["run"])), (true, "one\nbbb\n".to_owned()));
    // What both knew before, both know.
    there.write("copy/in/a", "aaa\n");
    there.delete("copy/all");
    assert_eq!(ran(&there, there.run(["run"])), (false, "aaa\nbbb\n".to_owned()));
    // One folder takes the place of the other.
    fleet.run(["run"]).passes().ran("");
    fs::rename(there.path("copy"), fleet.path("moved")).expect("both are ours");
    let moved = fleet.clone().inside("moved");
    moved.run(["run"]).passes().says("(1 reused)");
    assert_eq!(fleet.read("moved/all"), "aaa\nbbb\n");
}

/// A task whose outputs take a while to put back.
fn large() -> (Fleet, Vec<String>) {
    let fleet = Fleet::of(
        "[tasks.large]\ninputs = []\noutputs = ['out/**']\n\
         sh = 'mkdir -p out; for i in 0 1 2 3 4 5; do for j in 0 1 2 3; do { echo $i$j; head -c 300000 /dev/zero; } > out/$i$j; done; done'\n",
    );
    let fleet = fleet.run(["run"]).passes().then();
    let mut names: Vec<String> = Vec::new();
    for i in 0..6 {
        names.extend((0..4).map(|j| format!("{i}{j}")));
    }
    (fleet, names)
}

#[track_caller]
fn is_whole(fleet: &Fleet, names: &[String]) {
    let mut found: Vec<String> = fs::read_dir(fleet.path("out"))
        .expect("it is a folder")
        .map(|entry| entry.expect("it can be listed").file_name().to_string_lossy().into_owned())
        .collect();
    found.sort_unstable();
    assert_eq!(found, names, "and nothing half-done beside them");
    for name in names {
        let bytes = fs::read(fleet.path("out").join(name)).expect("it is there");
        assert_eq!((&bytes[..3], bytes.len()), (format!("{name}\n").as_bytes(), 300_003), "{name}");
        assert!(bytes[3..].iter().all(|byte| *byte == 0), "{name}");
    }
}

#[test]
fn a_restore_that_is_killed_is_completed_by_the_next_run() {
    let (fleet, names) = large();
    for round in 0..3 {
        fleet.delete("out");
        let run = fleet.start(["run"]);
        let some = round * 8;
        until("it has begun to put back", || {
            fs::read_dir(fleet.path("out")).is_ok_and(|entries| entries.count() > some)
        });
        run.signal(Signal::KILL);
        drop(run);
        // What has its name is whole.
        for entry in fs::read_dir(fleet.path("out")).expect("it is a folder") {
            let entry = entry.expect("it can be listed");
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(
                name.starts_with(".fleet-restore-") || entry.metadata().expect("it is there").len() == 300_003,
                "{name}"
            );
        }
        fleet.run(["run"]).passes().ran("").reused("large");
        is_whole(&fleet, &names);
    }
}

#[test]
fn a_disk_that_is_full_during_a_restore_ends_in_no_wrong_pass() {
    let (fleet, names) = large();
    let exe = env!("CARGO_BIN_EXE_fleet");
    // No file may become larger than half of an output: with a signal, and, where that is ignored, with an error.
    for limited in ["ulimit -f 292; exec \"$0\" run", "trap '' XFSZ; ulimit -f 292; exec \"$0\" run"] {
        fleet.delete("out");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", limited, exe]).env_clear().env("PATH", std::env::var("PATH").expect("tests have a PATH"));
        let output = command.current_dir(fleet.path("")).output().expect("there is a sh");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{limited}\n{said}");
        for name in &names {
            let found = fs::metadata(fleet.path("out").join(name));
            assert!(found.is_err() || !said.contains("(1 reused)"), "{limited}: {name}\n{said}");
        }
        fleet.run(["run"]).passes();
        is_whole(&fleet, &names);
    }
}

#[test]
fn two_tasks_that_make_one_file_are_refused() {
    let fleet = Fleet::of(
        "[tasks.a]\ninputs = []\noutputs = ['o']\nsh = 'echo a > o'\n[tasks.b]\nneeds = ['a']\ninputs = []\noutputs = ['o']\nsh = 'echo b > o'\n",
    );
    fleet.run(["run"]).fails_with(3).warns("fleet::same_output");
    assert!(!fleet.exists("o"));
}

#[test]
fn outputs_and_the_store_do_not_share_a_file() {
    let fleet = join();
    let before = fs::metadata(fleet.path("all")).expect("it is there");
    assert_eq!((before.nlink(), before.permissions().mode() & 0o200), (1, 0o200), "whoever wants to write to it may");
}
