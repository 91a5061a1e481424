//! The book and the README are run: every fleet file in them is read, every command typed, every list held against the
//! program. `book/support.rs` reads pages; this file says what must hold. The conventions of blocks are in
//! CONTRIBUTING.md, "Examples in the book"; `BOOK=write cargo test --test book` puts the real output into the pages.

#[path = "book/support.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;
use support::{Block, Page, code_words, fleet, normal, pages, project, read, section, tables};

/// Writes a page's output into it instead of comparing, for who changes what the program prints.
fn rewrites() -> bool {
    std::env::var("BOOK").is_ok_and(|word| word == "write")
}

#[test]
fn every_example_runs() {
    let pages = pages();
    let examples = pages.iter().flat_map(Page::blocks).filter(Block::is_example).count();
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let played: Vec<_> = pages.iter().map(|page| scope.spawn(|| play(page))).collect();
        played.into_iter().flat_map(|page| page.join().expect("a page is played to its end")).collect()
    });
    assert!(wrong.is_empty(), "{}\n\nafter a look: BOOK=write cargo test --test book", wrong.join("\n\n"));
    assert!(examples > 60, "the pages have lost their examples: {examples} are left");
}

/// What is wrong with a page's examples, played one after the other in a folder of the page's own.
fn play(page: &Page) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut scene = support::Scene::new();
    let mut text = page.text.clone();
    for block in page.blocks() {
        let Some(shown) = scene.play(&block, &mut wrong, page) else { continue };
        if rewrites() {
            text = text.replacen(&block.source, &format!("```{}\n{shown}```\n", block.info), 1);
        } else if normal(&shown) != normal(&block.body) {
            wrong.push(format!("{}:{} prints\n{shown}", page.name, block.line));
        }
    }
    if text != page.text {
        std::fs::write(&page.path, text).expect("a page of ours can be written");
    }
    wrong
}

#[test]
fn every_block_of_a_fleet_file_is_tagged() {
    let mut wrong = Vec::new();
    for page in pages() {
        for block in page.blocks() {
            let known = ["toml", "yaml", "json", "console", "sh", "text", "rust"];
            let words = block.words();
            if !words.first().is_some_and(|first| known.contains(first)) {
                wrong.push(format!("{}:{} ```{}", page.name, block.line, block.info));
            } else if matches!(words[0], "toml" | "yaml" | "json") && !block.is_example() {
                wrong.push(format!("{}:{} ```{} is run by nothing", page.name, block.line, block.info));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").expect("a pattern of ours");
    let mut wrong = Vec::new();
    for page in pages() {
        for found in link.captures_iter(&page.prose()) {
            let target = &found[1];
            if target.starts_with("http") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let folder = page.path.parent().expect("a page is in a folder");
            let file = if file.is_empty() { page.path.clone() } else { folder.join(file) };
            if !file.exists() {
                wrong.push(format!("{}: {target}", page.name));
            } else if !anchor.is_empty() && !Page::at(&file).anchors().contains(anchor) {
                wrong.push(format!("{}: {target} (no such heading)", page.name));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
}

#[test]
fn the_summary_lists_every_page_once() {
    let summary = read("book/src/SUMMARY.md");
    let link = Regex::new(r"\]\(([^)]+)\)").expect("a pattern of ours");
    let listed: Vec<String> = link.captures_iter(&summary).map(|found| found[1].to_owned()).collect();
    let unique: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
    assert_eq!(unique.len(), listed.len(), "a page is listed twice");
    let there: BTreeSet<String> = pages()
        .into_iter()
        .filter_map(|page| page.name.strip_prefix("book/src/").map(str::to_owned))
        .filter(|name| name != "SUMMARY.md")
        .collect();
    assert_eq!(unique, there.iter().map(String::as_str).collect());
}

#[test]
fn the_table_of_exit_codes_is_the_programs() {
    let printed: Vec<(String, String)> = fleet(&["help", "exit-codes"])
        .lines()
        .filter_map(|line| line.trim().split_once("  "))
        .map(|(code, meaning)| (code.to_owned(), meaning.to_owned()))
        .collect();
    assert!(printed.len() > 10);
    let page = read("book/src/reference/exit-codes.md");
    let rows: Vec<(String, String)> =
        tables(&page).filter(|row| row.len() >= 3).map(|row| (row[0].clone(), row[2].clone())).collect();
    assert_eq!(rows, printed);
}

#[test]
fn the_base_environment_is_the_engines() {
    let source = read("src/engine/environment.rs");
    let list = source.split_once("BASE_ENV: &[&str] = &[").and_then(|(_, rest)| rest.split_once("];"));
    let list = list.expect("the engine has the list").0;
    let quoted = Regex::new("\"([^\"]+)\"").expect("a pattern of ours");
    let ours: BTreeSet<String> = quoted.captures_iter(list).map(|found| found[1].to_owned()).collect();
    let page = read("book/src/reference/environment.md");
    assert_eq!(code_words(section(&page, "The base list")), ours);
}

#[test]
fn a_task_gets_the_variables_that_the_page_lists_and_no_other_of_ours() {
    let page = read("book/src/reference/environment.md");
    let told: BTreeSet<String> = code_words(section(&page, "Variables of fleet"))
        .into_iter()
        .filter(|word| word.starts_with("FLEET_"))
        .collect();
    let scene = support::Scene::new();
    scene.write(
        "fleet.toml",
        "version = 1\nname = \"x\"\n[tasks.show]\nrun = \"env\"\nscratch = true\nenv = { OWN = \"1\" }\n",
    );
    scene.run("fleet run -o quiet");
    let seen: BTreeSet<String> = scene
        .run("fleet logs show")
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.starts_with("FLEET_"))
        .collect();
    assert_eq!(seen, told);
}

#[test]
fn the_reference_has_every_key_of_the_schema() {
    let schema: serde_json::Value =
        serde_json::from_str(&read("schemas/fleet.schema.json")).expect("the schema is JSON");
    let mut keys = BTreeSet::new();
    support::properties(&schema, &mut keys);
    assert!(keys.len() > 60, "the schema was not understood");
    let words = code_words(&read("book/src/reference/fleet-file.md"));
    let missing: Vec<&String> = keys.iter().filter(|key| !words.contains(*key)).collect();
    assert!(missing.is_empty(), "book/src/reference/fleet-file.md says nothing of {missing:?}");
}

#[test]
fn every_key_that_is_said_to_come_later_is_refused_as_such() {
    let page = read("book/src/reference/fleet-file.md");
    let mut tried = 0;
    for row in tables(section(&page, "Not supported yet")) {
        let [place, keys, ..] = &row[..] else { continue };
        for key in code_words(keys) {
            let file = support::with_key(place, &key);
            let scene = support::Scene::new();
            scene.write("fleet.toml", &file);
            let said = scene.run("fleet check");
            assert!(said.contains("fleet::not_supported_yet"), "{place} {key}\n{file}\n{said}");
            tried += 1;
        }
    }
    assert!(tried > 15, "the table was not understood: {tried}");
}

#[test]
fn every_code_of_a_diagnostic_is_explained_once() {
    let code = Regex::new(r"fleet::[a-z_0-9]+").expect("a pattern of ours");
    let quoted = Regex::new("\"(fleet::[a-z_0-9]+)\"").expect("a pattern of ours");
    let mut ours = BTreeSet::new();
    for file in support::sources(&project("src")) {
        let text = std::fs::read_to_string(&file).expect("a source of ours is text");
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        if !file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs") {
            ours.extend(quoted.captures_iter(text).map(|found| found[1].to_owned()));
        }
    }
    let page = read("book/src/reference/diagnostics.md");
    let rows: Vec<String> =
        tables(&page).filter_map(|row| code.find(&row[0]).map(|found| found.as_str().to_owned())).collect();
    let told: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(told, ours);
    assert_eq!(rows.len(), told.len(), "a code is explained twice");
}

#[test]
fn the_page_of_the_command_line_has_every_command_and_option() {
    let page = read("book/src/reference/cli.md");
    let option = Regex::new(r"(?m)^ {2,6}(?:-\w, )?(--[a-z][a-z-]*)").expect("a pattern of ours");
    let command = Regex::new(r"(?m)^  ([a-z]+) ").expect("a pattern of ours");
    let first = fleet(&["help"]);
    let commands = first.split("Options:").next().unwrap_or_default();
    let mut count = 0;
    for found in command.captures_iter(commands) {
        let name = &found[1];
        let heading = format!("fleet {name}");
        let text = section(&page, &heading);
        let words = code_words(text);
        let help = match name {
            "receipts" => fleet(&["help", "receipts", "show"]),
            "journal" => fleet(&["help", "journal", "check"]) + &fleet(&["help", "journal", "repair"]),
            "cache" => fleet(&["help", "cache", "check"]) + &fleet(&["help", "cache", "stats"]),
            "workers" => fleet(&["help", "workers", "list"]),
            name => fleet(&["help", name]),
        };
        for found in option.captures_iter(&help) {
            let long = &found[1];
            let common = ["--help", "--color"].contains(&long);
            let told = words.iter().any(|word| word.split([' ', ',', '=', '[']).any(|part| part == long));
            assert!(common || told, "book/src/reference/cli.md: `{heading}` says nothing of {long}");
        }
        count += 1;
    }
    assert!(count >= 8, "the first page of the help was not understood:\n{first}");
}

#[test]
fn the_page_of_scorers_has_every_kind() {
    let page = read("book/src/reference/scorers.md");
    for kind in fleet::scorer::KINDS {
        let text = section(&page, kind.name);
        assert!(text.contains("```toml fleet"), "`{}` has no example", kind.name);
    }
}

#[test]
fn the_readme_names_its_two_commands() {
    let text = read("README.md");
    let commands: Vec<Block> =
        Page::at(Path::new(&project("README.md"))).blocks().into_iter().filter(|block| block.info == "sh").collect();
    let lines: Vec<&str> = commands.iter().map(|block| block.body.trim()).collect();
    assert_eq!(lines, ["cargo run --locked --quiet -- run fleet.toml.example", "cargo test --locked"]);
    assert!(read(".ci/run").contains("cargo test --locked"), "CI runs the README's second command");
    assert!(text.contains("MIT OR Apache-2.0"));
}

#[test]
fn the_arguments_of_containers_are_those_of_the_table() {
    let page = read("book/src/reference/fleet-file.md");
    let rows = tables(section(&page, "Arguments of containers"));
    let told: Vec<(String, String)> = rows
        .filter_map(|row| Some((row.first()?.clone(), row.get(1)?.clone())))
        .filter(|(flags, _)| flags.starts_with('`'))
        .collect();
    let words = |names: Vec<String>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    // Flags that are alike stand in one row.
    let mut ours: Vec<(String, String)> = Vec::new();
    for flag in fleet::spec::container::FLAGS {
        let (names, rule) = (words(flag.names()), flag.rule.words());
        match ours.last_mut().filter(|(_, last)| *last == rule) {
            Some((all, _)) => *all = format!("{all}, {names}"),
            None => ours.push((names, rule)),
        }
    }
    let shown: Vec<String> = ours.iter().map(|(names, rule)| format!("| {names} | {rule} |")).collect();
    assert_eq!(told, ours, "the table is\n{}", shown.join("\n"));
}
