//! Reading pages: blocks, sections, tables. And a scene: a temporary folder in which a page's examples are played.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use regex::Regex;
use tempfile::TempDir;

/// A page of the book, or one of the documents beside it.
pub(crate) struct Page {
    pub(crate) path: PathBuf,
    /// Seen from the project.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// A fenced block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// What stands behind the fence.
    pub(crate) info: String,
    pub(crate) body: String,
    /// The block as it stands in the page, fences included.
    pub(crate) source: String,
    pub(crate) line: usize,
}

/// Where a page's examples are played, one after the other.
pub(crate) struct Scene {
    folder: TempDir,
    /// The second of the last run.
    last_run: u64,
}

/// A path of the project.
pub(crate) fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(project(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every page of the book, the README, and what else is written for people.
pub(crate) fn pages() -> Vec<Page> {
    let mut paths: Vec<PathBuf> = walkdir::WalkDir::new(project("book/src"))
        .sort_by_file_name()
        .into_iter()
        .filter_map(Result::ok)
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    paths.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(project));
    paths.iter().map(|path| Page::at(path)).collect()
}

impl Page {
    pub(crate) fn at(path: &Path) -> Self {
        let path = path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.strip_prefix(project("")).unwrap_or(&path).display().to_string();
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { path, name, text }
    }

    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for (number, line) in self.text.lines().enumerate() {
            match &mut open {
                None => {
                    if let Some(info) = line.strip_prefix("```") {
                        let source = format!("{line}\n");
                        open = Some(Block { info: info.to_owned(), body: String::new(), source, line: number + 1 });
                    }
                }
                Some(block) => {
                    block.source.push_str(line);
                    block.source.push('\n');
                    if line == "```" {
                        blocks.extend(open.take());
                    } else {
                        block.body.push_str(line);
                        block.body.push('\n');
                    }
                }
            }
        }
        assert!(open.is_none(), "{}: a block is never closed", self.name);
        blocks
    }

    /// The text without its blocks.
    pub(crate) fn prose(&self) -> String {
        self.blocks().iter().fold(self.text.clone(), |text, block| text.replacen(&block.source, "", 1))
    }

    /// What a link to a heading may say behind its `#`, as mdBook makes it.
    pub(crate) fn anchors(&self) -> BTreeSet<String> {
        let prose = self.prose();
        let headings = prose.lines().filter(|line| line.starts_with('#'));
        headings
            .map(|line| {
                let text = line.trim_start_matches('#').trim().to_lowercase();
                let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
                kept.map(|c| if c == ' ' { '-' } else { c }).collect()
            })
            .collect()
    }
}

impl Block {
    pub(crate) fn words(&self) -> Vec<&str> {
        self.info.split_whitespace().collect()
    }

    /// Whether it is read or run.
    pub(crate) fn is_example(&self) -> bool {
        let words = self.words();
        words.first() == Some(&"console")
            || words.iter().skip(1).any(|word| matches!(*word, "fleet" | "fleet-fragment") || word.starts_with("file="))
    }
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().expect("there is room for a folder"), last_run: 0 }
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).expect("a folder in our own");
        }
        fs::write(path, text).expect("a file in our own folder");
    }

    /// What a shell prints for a line, both streams.
    pub(crate) fn run(&self, line: &str) -> String {
        self.run_after(line, 0).0
    }

    fn run_after(&self, line: &str, last: i32) -> (String, i32) {
        let bin = Path::new(env!("CARGO_BIN_EXE_fleet")).parent().expect("the program is in a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("sh")
            .args(["-c", &format!("exec 2>&1; (exit {last}); {line}")])
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("HOME", self.folder.path())
            .env("LC_ALL", "C.UTF-8")
            .output()
            .expect("there is a shell");
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code().unwrap_or(-1))
    }

    /// Reads or runs a block. Answers what a console block should say, or nothing for the other kinds.
    pub(crate) fn play(&mut self, block: &Block, wrong: &mut Vec<String>, page: &Page) -> Option<String> {
        let words = block.words();
        let place = format!("{}:{}", page.name, block.line);
        if let Some(name) = words.iter().find_map(|word| word.strip_prefix("file=")) {
            self.write(name, &block.body);
            return None;
        }
        match &words[..] {
            ["console"] => return Some(self.console(&block.body)),
            [syntax @ ("toml" | "yaml" | "json"), "fleet", rest @ ..] => {
                for ending in ["toml", "yaml", "json"] {
                    // There may be none.
                    let _ = fs::remove_file(self.folder.path().join(format!("fleet.{ending}")));
                }
                self.write(&format!("fleet.{syntax}"), &block.body);
                self.expect(rest.contains(&"wrong"), &place, wrong);
            }
            ["toml", "fleet-fragment"] => {
                let own = Self::new();
                own.write("fleet.toml", &format!("version = 1\nname = \"x\"\n{}", completed(&block.body)));
                own.expect(false, &place, wrong);
            }
            _ => {}
        }
        None
    }

    fn expect(&self, is_wrong: bool, place: &str, wrong: &mut Vec<String>) {
        let (said, code) = self.run_after("fleet check", 0);
        if code != if is_wrong { 3 } else { 0 } {
            wrong.push(format!("{place}: `fleet check` exits {code}\n{said}"));
        }
    }

    /// Run ids sort by the second of their start, so which of two in one second is the latest is left to chance.
    fn next_second(&mut self) {
        let second = || UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        while second() == self.last_run {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.last_run = second();
    }

    /// The block with what its commands really print.
    fn console(&mut self, body: &str) -> String {
        let mut shown = String::new();
        let mut last = 0;
        for line in body.lines().filter(|line| line.starts_with("$ ")) {
            if line.contains("fleet run") {
                self.next_second();
            }
            let (said, code) = self.run_after(&line[2..], last);
            last = code;
            let kept = written_after(body, line);
            let said = if matches(&kept, &said) { kept } else { said };
            shown.push_str(line);
            shown.push('\n');
            shown.push_str(&said);
            if !said.is_empty() && !said.ends_with('\n') {
                shown.push('\n');
            }
        }
        shown
    }
}

/// A fragment that has no task of its own gets one, since a fleet file needs one.
fn completed(body: &str) -> String {
    if body.contains("[tasks") { body.to_owned() } else { format!("{body}\n[tasks.only]\nrun = \"true\"\n") }
}

/// What a page shows below a command.
fn written_after(body: &str, command: &str) -> String {
    let mut lines = body.lines().skip_while(|line| *line != command).skip(1);
    let mut text = String::new();
    for line in lines.by_ref().take_while(|line| !line.starts_with("$ ")) {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Whether what is shown stands for what was printed: `…` alone in a line is any number of lines, `[..]` any text in one.
fn matches(shown: &str, printed: &str) -> bool {
    if normal(shown) == normal(printed) {
        return true;
    }
    let mut pattern = String::from("^");
    for line in normal(shown).lines() {
        if line.trim() == "…" {
            pattern.push_str("(?s:.*\n)??");
            continue;
        }
        let parts: Vec<String> = line.split("[..]").map(regex::escape).collect();
        pattern.push_str(&parts.join("[^\n]*"));
        pattern.push('\n');
    }
    pattern.push('$');
    Regex::new(&pattern).expect("escaped").is_match(&normal(printed))
}

/// Text without what differs from run to run: ids, times, durations, digests, process ids; and without the summary's
/// lines on where the time went, which name whatever took longest.
pub(crate) fn normal(text: &str) -> String {
    let rules = [
        (r"\d{8}T\d{6}Z-[0-9a-f]{8}", "<run>"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
        (r"sha256:[0-9a-f]{64}", "<digest>"),
        (r#""sum":"[0-9a-f]{8}""#, "\"sum\":\"<sum>\""),
        // Where a system keeps its programs.
        (r#""/(usr/|usr/local/)?bin/"#, "\"/bin/"),
        (r#""(pid|duration_ms|cpu_ms|max_rss_bytes)": ?\d+"#, "\"$1\":0"),
        (r"(^|[^\w.])(\d+h ?)?(\d+m ?)?\d+(\.\d+)?(ms|s|m|h)\b", "$1<took>"),
        (r"(?m)^(slowest|critical path)  .*\n( {15}.*\n)*", ""),
        (r"(?m) +$", ""),
        (r" {2,}<took>", "  <took>"),
    ];
    let mut text = if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    for (pattern, with) in rules {
        text = Regex::new(pattern).expect("a pattern of ours").replace_all(&text, with).into_owned();
    }
    text
}

/// What `fleet` prints.
pub(crate) fn fleet(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_fleet")).args(words).output().expect("the program was built");
    String::from_utf8(output.stdout).expect("fleet prints text")
}

/// The part of a page below a heading of any level, up to the next of its level or above.
pub(crate) fn section<'p>(page: &'p str, heading: &str) -> &'p str {
    let mut start = None;
    let mut at = 0;
    let mut in_block = false;
    for line in page.split_inclusive('\n') {
        in_block ^= line.starts_with("```");
        let level = if in_block { 0 } else { line.bytes().take_while(|byte| *byte == b'#').count() };
        let title = line.trim_start_matches('#').trim().trim_matches('`');
        match start {
            Some((from, depth)) if level > 0 && level <= depth => return &page[from..at],
            None if level > 0 && title == heading => start = Some((at + line.len(), level)),
            _ => {}
        }
        at += line.len();
    }
    let (from, _) = start.unwrap_or_else(|| panic!("no heading `{heading}`"));
    &page[from..]
}

/// The rows of every table of a text, without heads and rules.
pub(crate) fn tables(text: &str) -> impl Iterator<Item = Vec<String>> {
    let lines: Vec<&str> = text.lines().collect();
    let is_row = |line: &str| line.starts_with('|') && line.ends_with('|');
    let is_rule = |line: &str| is_row(line) && line.chars().all(|c| matches!(c, '|' | '-' | ':' | ' '));
    let rows: Vec<Vec<String>> = lines
        .iter()
        .enumerate()
        .filter(|(at, line)| is_row(line) && !is_rule(line) && !lines.get(at + 1).is_some_and(|next| is_rule(next)))
        .map(|(_, line)| {
            // `\|` is a bar in a cell.
            let line = line.trim_matches('|').replace("\\|", "\u{1}");
            line.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect()
        })
        .collect();
    rows.into_iter()
}

/// Everything that stands between backticks.
pub(crate) fn code_words(text: &str) -> BTreeSet<String> {
    let code = Regex::new("`([^`\n]+)`").expect("a pattern of ours");
    code.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

/// Every key that a schema gives a meaning to.
pub(crate) fn properties(schema: &serde_json::Value, keys: &mut BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(fields) => {
            if let Some(serde_json::Value::Object(named)) = fields.get("properties") {
                keys.extend(named.keys().cloned());
            }
            fields.values().for_each(|value| properties(value, keys));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| properties(item, keys)),
        _ => {}
    }
}

/// A fleet file that says `key` in that place.
pub(crate) fn with_key(place: &str, key: &str) -> String {
    let task = "[tasks.only]\nrun = \"true\"\n";
    let body = match place {
        "the file" => format!("{key} = {{}}\n{task}"),
        "`[defaults]`" => format!("{task}[defaults]\n{key} = 1\n"),
        "a task" => format!("{task}{key} = 1\n"),
        "a need" => format!("{task}needs = [{{ task = \"other\", {key} = true }}]\n[tasks.other]\nrun = \"true\"\n"),
        "`when`" => format!("{task}when = {{ {key} = \"x\" }}\n"),
        "`worker` of a task" => format!("{task}worker = {{ {key} = \"x\" }}\n"),
        "`[cache]`" => format!("{task}[cache]\n{key} = \"1\"\n"),
        "`[policies]`" => format!("{task}[policies]\n{key} = {{}}\n"),
        "kinds of scorers" => format!("{task}scorers = [{{ kind = \"{key}\" }}]\n"),
        "kinds of hosts" => format!("{task}[workers.w]\nhost = {{ kind = \"{key}\" }}\n"),
        "trust of a local worker" => format!("{task}[workers.w]\nhost = \"local\"\ntrust = \"{key}\"\n"),
        other => panic!("the table speaks of {other}, which this test does not know"),
    };
    format!("version = 1\nname = \"x\"\n{body}")
}

/// The Rust files under a folder.
pub(crate) fn sources(folder: &Path) -> Vec<PathBuf> {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .collect()
}
