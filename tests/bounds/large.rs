//! Large files, right and wrong: what they cost grows with their size, and where it would grow with the number of pairs
//! in them, there is a limit with a name.

use std::fmt::Write as _;
use std::time::Duration;

use fleet::spec::Syntax;

use super::meter::{Cost, measure};
use super::{Checked, Desk, MEMORY_MAX, hold};

/// Unoptimised, on a busy machine; the program itself is some twenty times faster.
const LONGEST: Duration = Duration::from_mins(2);

/// A file of that many tasks, `body` adding to each.
fn toml(head: &str, tasks: usize, mut body: impl FnMut(usize) -> String) -> String {
    let mut text = format!("name = 'large'\nversion = 1\n{head}\n");
    for n in 0..tasks {
        let _ = writeln!(text, "[tasks.t{n}]\nrun = '/bin/true'\n{}", body(n));
    }
    text
}

/// `text` for each number, as a list.
fn list(count: usize, text: impl Fn(usize) -> String) -> String {
    let all: Vec<String> = (0..count).map(|n| format!("'{}'", text(n))).collect();
    format!("[{}]", all.join(","))
}

fn check(what: &str, text: &str) -> (Checked, Cost) {
    let (checked, cost) = Desk::new().check(Syntax::Toml, text.as_bytes());
    println!(
        "{what}: {} KiB, {:?}, {} MiB, {} MiB kept",
        text.len() >> 10,
        cost.time,
        cost.peak >> 20,
        cost.kept >> 20
    );
    assert!(cost.time < LONGEST && cost.peak < MEMORY_MAX, "{what}: {cost:?}");
    (checked, cost)
}

fn right(what: &str, text: &str) -> Cost {
    match check(what, text) {
        (Ok(_), cost) => cost,
        (Err((problems, _)), _) => panic!("{what}: {:#?}", &problems[..problems.len().min(3)]),
    }
}

fn wrong(what: &str, text: &str, code: &str) {
    let (Err((problems, map)), _) = check(what, text) else { panic!("{what} is taken") };
    assert_eq!(problems[0].code, code, "{what}: {:?}", problems[0]);
    let ((), cost) = measure(|| hold(&problems, &map, what));
    assert!(cost.time < LONGEST && cost.peak < MEMORY_MAX, "{what} was shown at {cost:?}");
}

/// What is held for a task is counted here, so that nobody adds to it unseen.
#[test]
fn a_hundred_thousand_tasks_fit_in_little_memory() {
    let needs = |n: usize| if n > 0 { format!("needs = ['t{}']", n - 1) } else { String::new() };
    let cost = right("a chain", &toml("", 100_000, needs));
    assert!(cost.peak < 110 << 20 && cost.kept < 64 << 20, "{cost:?}");
}

#[test]
fn cycles_of_any_length_and_number_are_told() {
    let ring = |n: usize| format!("needs = ['t{}']", (n + 1) % 100_000);
    wrong("one ring", &toml("", 100_000, ring), "fleet::cycle");
    wrong("pairs", &toml("", 20_000, |n| format!("needs = ['t{}']", n ^ 1)), "fleet::cycle");
}

#[test]
fn globs_in_folders_are_cheap() {
    let chain = |n: usize| format!("inputs = ['out/{}/**']\noutputs = ['out/{n}/*.o']", n + 1);
    right("a chain of globs", &toml("", 10_000, chain));
    right("a folder each", &toml("", 10_000, |n| format!("writable_paths = ['{n}/**']")));
    let without = list(10_000, |n| format!("!src/**/*{n}.rs")).replacen('[', "['**',", 1);
    let excludes = |n: usize| if n == 0 { format!("inputs = {without}") } else { "outputs = ['src/x.rs']".into() };
    right("exclusions", &toml("", 2, excludes));
}

#[test]
fn globs_without_folders_are_compared_up_to_a_limit() {
    right("names", &toml("", 2_000, |n| format!("inputs = ['**/*.c']\noutputs = ['**/{n}.o']")));
    let (inputs, outputs) = (list(3_000, |n| format!("in/**/{n}*.o")), list(3_000, |n| format!("in/**/x{n}*.o")));
    let both = |n: usize| if n == 0 { format!("inputs = {inputs}") } else { format!("outputs = {outputs}") };
    right("names in one folder", &toml("", 2, both));
    let wide = |n: usize| format!("inputs = ['**/*{n}*']\noutputs = ['**/*{n}*?.o']");
    wrong("all against all", &toml("", 3_000, wide), "fleet::globs_too_wide");
    wrong("places of all", &toml("", 2_000, |n| format!("writable_paths = ['**/{n}/**']")), "fleet::globs_too_wide");
}

#[test]
fn what_is_shared_by_all_is_told_up_to_a_limit() {
    wrong("one output", &toml("", 5_000, |_| "outputs = ['a/**']".into()), "fleet::same_output");
    wrong(
        "nobody to do it",
        &toml("", 5_000, |_| "worker = { capabilities = ['x'] }".into()),
        "fleet::impossible_worker",
    );
    let unknown = |n: usize| format!("needs = ['u{n}']");
    wrong("unknown needs", &toml("", 20_000, unknown), "fleet::unknown_need");
}

#[test]
fn needs_of_all_on_many_stop_at_the_limit() {
    let tags = |n: usize| if n < 1_000 { "tags = ['x']" } else { "needs = ['tag:x']" }.to_owned();
    right("a hundred", &toml("", 1_100, tags));
    wrong("ten million", &toml("", 10_000, tags), "fleet::too_many_needs");
}

#[test]
fn nesting_has_a_limit() {
    let scorer =
        |depth: usize| "{kind='any',of=[{kind='exit_code'},".repeat(depth) + "{kind='exit_code'}" + &"]}".repeat(depth);
    right("twenty", &toml("", 100, |_| format!("scorers = [{}]", scorer(20))));
    wrong("sixty", &toml("", 10, |_| format!("scorers = [{}]", scorer(60))), "fleet::too_deep");
}

#[test]
fn matrices_stop_at_the_limit() {
    let axes = |values: &str| {
        let all: Vec<String> = (0..60).map(|n| format!("a{n} = [{values}]")).collect();
        format!("matrix = {{ {} }}", all.join(", "))
    };
    right("sixty axes of one value", &toml("", 20, |_| axes("'x'")));
    wrong("sixty axes of two", &toml("", 20, |_| axes("'x', 'y'")), "fleet::too_many_tasks");
    let excluded: Vec<String> = (0..99).map(|n| format!("{{ a = 'v{n}' }}")).collect();
    let values = list(100, |n| format!("v{n}"));
    let square = format!("matrix = {{ a = {values}, b = {values}, exclude = [{}] }}", excluded.join(","));
    right("all but one row excluded", &toml("", 1, |_| square.clone()));
}

#[test]
fn variables_stop_at_the_limit() {
    let vars = |count: usize, value: &dyn Fn(String) -> String| {
        (1..count).fold("[vars]\nv0 = 'x'\n".to_owned(), |mut text, n| {
            let _ = writeln!(text, "v{n} = '{}'", value(format!("${{vars.v{}}}", n - 1)));
            text
        })
    };
    let double = vars(1_000, &|one| format!("{one}{one}"));
    wrong("doubling", &toml(&double, 1, |_| String::new()), "fleet::value_too_large");
    let chain = vars(10_000, &|one| one);
    let last = |_| "description = '${vars.v9999}'".to_owned();
    right("a long chain", &toml(&chain, 1, last));
}
