//! Who may know whom: every `crate::…` path of every source file, held against the table in the head comment of
//! `src/lib.rs`; and that whatever decides cannot reach the clock, the disk, a process or a thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use walkdir::WalkDir;

/// Modules that decide and must come to the same decision anywhere, at any time.
const PURE: [&str; 5] = ["graph", "plan", "place", "policy", "schedule"];

/// What only an effect needs. Constants of `libc` are numbers and pass (`policy/signal.rs` names signals by them): a
/// name in capitals does nothing.
static EFFECT: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"\bstd::(fs|process|thread|net|env|os)\b",
        r"|\b(Instant|SystemTime)\b",
        r"|\b(rustix|rayon|walkdir|tempfile|signal_hook|getrandom|which)::",
        r"|\blibc::[a-z_]",
        r"|\.(canonicalize|exists|metadata|read_dir|is_file|is_dir|symlink_metadata)\(\)",
    ))
});

/// Modules that are in no layer: what only tests see.
const OUTSIDE: [&str; 1] = ["samples"];

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is valid")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// A source file without comments, strings and what only tests see, and the module path it stands for.
#[derive(Debug)]
struct Source {
    /// `spec::error`; empty for `lib.rs`.
    module: String,
    code: String,
}

/// All files of the library, by module path.
static SOURCES: LazyLock<BTreeMap<String, Source>> = LazyLock::new(|| {
    let files = WalkDir::new(root()).into_iter().map(|entry| entry.expect("the sources can be read").into_path());
    let sources = files.filter(|path| path.extension().is_some_and(|end| end == "rs") && !path.ends_with("main.rs"));
    let all: Vec<Source> = sources.map(|path| Source::read(&path)).collect();
    let tests: BTreeSet<String> = all.iter().flat_map(Source::test_modules).collect();
    let is_test = |module: &str| tests.iter().any(|test| within(module, test));
    let kept = all.into_iter().filter(|source| !is_test(&source.module));
    kept.map(|mut source| {
        source.code = without_tests(&source.code);
        (source.module.clone(), source)
    })
    .collect()
});

impl Source {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a source file is text");
        let below = path.strip_prefix(root()).expect("it lies below src").with_extension("");
        let parts: Vec<_> = below.iter().map(|part| part.to_str().expect("module names are text")).collect();
        let parts = match parts.as_slice() {
            [parts @ .., "mod"] => parts,
            ["lib"] => &[],
            file => file,
        };
        Self { module: parts.join("::"), code: bare(&text) }
    }

    /// The modules that this file declares for tests only.
    fn test_modules(&self) -> Vec<String> {
        static DECLARED: LazyLock<Regex> = LazyLock::new(|| regex(r"#\[cfg\(test\)\]\s*(?:pub )?mod (\w+);"));
        DECLARED.captures_iter(&self.code).map(|found| join(&self.module, &found[1])).collect()
    }

    /// Every module of the crate that this file names, as far as files go: `crate::…` paths, those from its own place
    /// on (`super::`, `self::`), and its child modules, from which it may hand names on.
    fn names(&self) -> BTreeSet<String> {
        static PATH: LazyLock<Regex> = LazyLock::new(|| regex(r"\b(?:crate|self|super)::"));
        static USE: LazyLock<Regex> = LazyLock::new(|| regex(r"\buse (\w+)::"));
        let mut found = BTreeSet::new();
        for start in PATH.find_iter(&self.code) {
            // `super::super::x` was seen from its first word on.
            if !self.code[..start.start()].ends_with("::") {
                self.tree(&self.code[start.start()..], "", &mut found);
            }
        }
        for child in USE.captures_iter(&self.code) {
            let name = join(&self.module, &child[1]);
            if SOURCES.contains_key(&name) {
                self.tree(&self.code[child.get(1).expect("it matched").start()..], &self.module, &mut found);
            }
        }
        found
    }

    /// Walks a path, or a tree of them in braces, from `at` on. Returns what is left behind it.
    fn tree<'t>(&self, text: &'t str, at: &str, found: &mut BTreeSet<String>) -> &'t str {
        let text = text.trim_start();
        if let Some(mut rest) = text.strip_prefix('{') {
            loop {
                rest = self.tree(rest, at, found).trim_start();
                // ` as name` behind a path.
                let end = rest.find([',', '}', '{', ';']).unwrap_or(rest.len());
                let Some(after) = rest.get(end..).and_then(|rest| rest.strip_prefix(',')) else {
                    return rest.get(end + 1..).unwrap_or_default();
                };
                rest = after;
                if let Some(after) = rest.trim_start().strip_prefix('}') {
                    return after;
                }
            }
        }
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        let next = match word {
            "crate" => String::new(),
            "self" if at.is_empty() => self.module.clone(),
            "self" => at.to_owned(),
            "super" => {
                let from = if at.is_empty() { &self.module } else { at };
                from.rsplit_once("::").map_or(String::new(), |(above, _)| above.to_owned())
            }
            word => join(at, word),
        };
        if let Some(rest) = rest.strip_prefix("::") {
            return self.tree(rest, &next, found);
        }
        found.insert(file_of(&next));
        rest
    }
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

/// The module whose file holds what a path names.
fn file_of(path: &str) -> String {
    let mut path = path;
    while !SOURCES.contains_key(path) {
        path = path.rsplit_once("::").map_or("", |(above, _)| above);
    }
    path.to_owned()
}

fn within(module: &str, outer: &str) -> bool {
    module.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn top(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

/// Blanks comments and strings, so that words in them name nothing.
fn bare(text: &str) -> String {
    static SKIPPED: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r#"(?s)//[^\n]*|/\*.*?\*/"#,
            r####"|r###".*?"###|r##".*?"##|r#".*?"#|r"[^"]*""####,
            r#"|"(?:\\.|[^"\\])*""#,
            r#"|'(?:\\[^u]|\\u\{[0-9a-fA-F]+\}|\\x..|[^'\\])'"#
        ))
    });
    SKIPPED.replace_all(text, "\"\"").into_owned()
}

/// Without items under `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        let item = &rest[at..];
        let open = item.find(['{', ';']).unwrap_or(item.len());
        let mut depth = 0_i32;
        let mut end = item.len();
        for (n, byte) in item.bytes().enumerate().skip(open) {
            depth += i32::from(byte == b'{') - i32::from(byte == b'}');
            if depth == 0 {
                end = n + 1;
                break;
            }
        }
        rest = &item[end..];
    }
    kept + rest
}

/// The rows of the table in `src/lib.rs`, top first. In a row with "then", each part is a row of its own.
fn layers() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(root().join("lib.rs")).expect("the library is there");
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | ")).skip(2);
    let rows = rows.filter(|row| !row.starts_with("--"));
    rows.flat_map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let modules = cells[1].split(", then ").map(|part| part.split(", ").map(str::to_owned).collect());
        modules.map(|modules: Vec<String>| (cells[0].to_owned(), modules)).collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn modules_know_only_the_layers_above_their_own() {
    let layers = layers();
    let rank = |module: &str| layers.iter().position(|(_, modules)| modules.iter().any(|name| name == top(module)));
    let all: BTreeSet<&str> = SOURCES.keys().map(|module| top(module)).filter(|module| !module.is_empty()).collect();
    for module in &all {
        assert!(rank(module).is_some() || OUTSIDE.contains(module), "`{module}` is in no layer of src/lib.rs");
    }
    for (_, modules) in &layers {
        for module in modules {
            assert!(all.contains(&**module), "src/lib.rs puts `{module}` in a layer, and there is none");
        }
    }
    let mut wrong = Vec::new();
    let mut seen = 0;
    for source in SOURCES.values().filter(|source| !source.module.is_empty()) {
        for name in source.names() {
            let (Some(from), Some(to)) = (rank(&source.module), rank(&name)) else { continue };
            seen += 1;
            if to > from {
                wrong.push(format!("{} ({}) names {name} ({})", source.module, layers[from].0, layers[to].0));
            }
        }
    }
    assert!(seen > 300, "the paths are found: {seen}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Modules of one layer may use each other one way only, so that each can be read before what uses it.
#[test]
fn modules_of_a_layer_have_an_order() {
    let mut uses: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for source in SOURCES.values() {
        let others = source.names().into_iter().map(|name| top(&name).to_owned());
        uses.entry(top(&source.module)).or_default().extend(others.filter(|name| name != top(&source.module)));
    }
    uses.remove("");
    while !uses.is_empty() {
        let free = uses.iter().find(|(_, needs)| needs.iter().all(|need| !uses.contains_key(&**need)));
        let Some(free) = free.map(|(module, _)| *module) else { panic!("a circle among {uses:#?}") };
        uses.remove(free);
    }
}

#[test]
fn what_decides_reaches_neither_clock_nor_disk_nor_processes_nor_threads() {
    let mut way: BTreeMap<String, String> = BTreeMap::new();
    let mut open: Vec<String> = SOURCES.keys().filter(|module| PURE.contains(&top(module))).cloned().collect();
    assert!(open.len() > 15, "they are found: {open:?}");
    for start in &open {
        way.insert(start.clone(), start.clone());
    }
    let mut wrong = Vec::new();
    while let Some(module) = open.pop() {
        let source = &SOURCES[&module];
        if let Some(found) = EFFECT.find(&source.code) {
            wrong.push(format!("{} has `{}`", way[&module], found.as_str()));
        }
        for next in source.names().into_iter().filter(|next| !next.is_empty()) {
            if !way.contains_key(&next) {
                way.insert(next.clone(), format!("{} → {next}", way[&module]));
                open.push(next);
            }
        }
    }
    assert!(way.contains_key("model::task") && way.contains_key("time"), "the ways are followed: {way:#?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A limit that is counted on the wall's clock fires, or never does, when somebody sets that clock. So whatever runs,
/// ends or watches tasks has no way to ask for it: the engine has stamps from `time::clock::Clock`, which asks once.
#[test]
fn no_deadline_knows_the_walls_time() {
    static WALL: LazyLock<Regex> =
        LazyLock::new(|| regex(r"\bSystemTime\b|\bUNIX_EPOCH\b|\bclock::now\b|ClockId::Realtime|CLOCK_REALTIME"));
    let runs = ["schedule", "policy", "supervisor", "host", "engine", "scorer", "report"];
    let asks = SOURCES.values().filter(|source| runs.contains(&top(&source.module)) && WALL.is_match(&source.code));
    let found: Vec<&str> = asks.map(|source| &*source.module).collect();
    assert_eq!(found, [""; 0]);
    let clock = &SOURCES["time::clock"].code;
    assert_eq!(WALL.find_iter(clock).map(|found| found.as_str()).collect::<Vec<_>>().len(), 4, "{clock}");
}

/// A plan is kept and believed by the questions that were asked while it was made. So nothing that reads a fleet file
/// may ask the outside behind the back of `spec::outside`.
#[test]
fn a_fleet_file_is_read_through_one_window() {
    let may = [
        "spec::looks",
        "spec::outside",
        // Finds the fleet file itself, which is in the name of a kept plan.
        "spec::resolve",
    ];
    // What a program was built for does not change, and an address is only a value.
    let effect = |code: &str| EFFECT.is_match(&code.replace("std::env::consts", "").replace("std::net::Ipv6Addr", ""));
    let asks = |source: &&Source| top(&source.module) == "spec" && effect(&source.code);
    let wrong: Vec<&str> = SOURCES.values().filter(asks).map(|source| &*source.module).collect();
    assert_eq!(wrong, may);
}

/// The reader above sees what it must.
#[test]
fn paths_are_found_wherever_they_stand() {
    let source = Source {
        module: "engine::launch".into(),
        code: without_tests(&bare(
            r##"
            //! crate::cli is only spoken of
            use crate::{graph::{Graph, select::Selection as S}, id::TaskId};
            use super::{judge, sink::Sink};
            fn f(text: &str) -> crate::time::Millis { let s = "crate::report"; let r = r#"crate::journal"#; '"'; crate::time::clock::now() }
            #[cfg(test)]
            mod tests { use crate::cli::load; fn g() { {} } }
            use crate::place;
            "##,
        )),
    };
    let names: Vec<String> = source.names().into_iter().collect();
    let expected = ["engine::judge", "engine::sink", "graph", "graph::select", "id", "place", "time", "time::clock"];
    assert_eq!(names, expected);
    let effects =
        ["std::fs::read", "use std::time::{Duration, Instant}", "libc::kill(1)", "rustix::fs::CWD", "x.exists()"];
    assert!(effects.iter().all(|code| EFFECT.is_match(code)));
    let fine = ["libc::SIGKILL", "std::time::Duration", "std::fmt", "self.files", "on_process"];
    assert!(!fine.iter().any(|code| EFFECT.is_match(code)));
}
