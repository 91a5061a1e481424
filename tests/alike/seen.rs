//! What a run left behind: its exit code, receipts, logs, and the files of the workspace. Read without fleet's own code.

use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::behaviour::{Judged, Kind, Tried};
use super::journal;

#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) kind: Kind,
    workspace: PathBuf,
    run_dir: Option<PathBuf>,
    /// None when it had to be killed.
    code: Option<i32>,
    stdout: String,
    stderr: String,
    pub(crate) receipts: Vec<Value>,
}

/// A task of the run, by its receipt.
#[derive(Clone, Debug)]
pub(crate) struct Task<'a> {
    seen: &'a Seen,
    pub(crate) receipt: &'a Value,
}

/// Long values are told by their two ends.
fn told(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    if text.len() < 400 {
        return text;
    }
    let cut = |from: usize| (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    format!("{} … {} ({} characters)", &text[..cut(200)], &text[cut(text.len() - 100)..], text.len())
}

#[expect(clippy::needless_pass_by_value, reason = "what is compared is made for it")]
pub(crate) fn same<G: Debug + PartialEq<W>, W: Debug>(what: &str, got: G, want: W) -> Tried {
    if got == want { Ok(()) } else { Err(format!("{what} is {}, expected {}", told(&got), told(&want))) }
}

pub(crate) fn holds(what: &str, so: bool) -> Tried {
    if so { Ok(()) } else { Err(what.to_owned()) }
}

impl Seen {
    pub(crate) fn new(
        kind: Kind,
        workspace: &Path,
        run_dir: Option<PathBuf>,
        code: Option<i32>,
        stdout: String,
        stderr: String,
    ) -> Self {
        let records = run_dir.as_deref().map(journal::read).unwrap_or_default();
        let receipts = journal::receipts(&records);
        Self { kind, workspace: workspace.to_owned(), run_dir, code, stdout, stderr, receipts }
    }

    pub(crate) fn task(&self, name: &str) -> Judged<'_> {
        let mut found = self.receipts.iter().filter(|receipt| receipt["task_id"] == name);
        let Some(receipt) = found.next() else { return Err(format!("`{name}` has no receipt")) };
        holds(&format!("`{name}` has two receipts"), found.next().is_none())?;
        Ok(Task { seen: self, receipt })
    }

    pub(crate) fn exits(&self, code: i32) -> Tried {
        let hung = "it hung and was killed";
        same("the exit code", self.code.ok_or(hung), Ok(code)).map_err(|why| self.explained(why))
    }

    pub(crate) fn file(&self, name: &str) -> Result<Vec<u8>, String> {
        fs::read(self.workspace.join(name)).map_err(|error| format!("{name}: {error}"))
    }

    pub(crate) fn file_says(&self, name: &str, text: &str) -> Tried {
        same(name, String::from_utf8_lossy(&self.file(name)?), text)
    }

    pub(crate) fn mode(&self, name: &str) -> Result<u32, String> {
        let found = fs::symlink_metadata(self.workspace.join(name)).map_err(|error| format!("{name}: {error}"))?;
        Ok(found.permissions().mode() & 0o7777)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.workspace.join(name)
    }

    pub(crate) fn printed(&self) -> &str {
        &self.stdout
    }

    /// The reason, and what fleet itself said when the run did not even have receipts.
    pub(crate) fn explained(&self, why: String) -> String {
        if !self.receipts.is_empty() {
            return why;
        }
        format!("{why}; fleet said: {} {}", self.stdout.trim(), self.stderr.trim())
    }
}

impl<'a> Task<'a> {
    /// `pass`, `fail/task: exit code 3`, …: its result, with its cause.
    pub(crate) fn is(self, want: &str) -> Judged<'a> {
        same("the result", self.result(), want.to_owned()).map(|()| self)
    }

    /// Its result begins and ends like this; what is between differs by host.
    pub(crate) fn ends_like(self, begin: &str, end: &str) -> Judged<'a> {
        let result = self.result();
        let so = result.starts_with(begin) && result.ends_with(end);
        holds(&format!("the result is {result:?}, expected {begin:?} … {end:?}"), so).map(|()| self)
    }

    fn result(&self) -> String {
        let word = |key: &str| self.receipt[key].as_str().unwrap_or_default().to_owned();
        let kind = word("failure_kind");
        let kind = if kind.is_empty() { kind } else { format!("/{kind}") };
        let cause = word("cause");
        let cause = if cause.is_empty() { cause } else { format!(": {cause}") };
        format!("{}{kind}{cause}", word("result"))
    }

    /// What the receipt says there, a JSON pointer.
    pub(crate) fn says(self, pointer: &str, want: impl Into<Value>) -> Judged<'a> {
        let got = self.receipt.pointer(pointer).unwrap_or(&Value::Null);
        same(pointer, got, &want.into()).map(|()| self)
    }

    pub(crate) fn number(&self, pointer: &str) -> Result<u64, String> {
        let got = self.receipt.pointer(pointer).and_then(Value::as_u64);
        got.ok_or_else(|| format!("{pointer} is no number in {}", self.receipt))
    }

    pub(crate) fn text(&self, pointer: &str) -> Result<&'a str, String> {
        let got = self.receipt.pointer(pointer).and_then(Value::as_str);
        got.ok_or_else(|| format!("{pointer} is no text in {}", self.receipt))
    }

    /// All that its last attempt printed; nothing when it has no log.
    pub(crate) fn printed(&self) -> Result<Vec<u8>, String> {
        let Some(path) = self.receipt["log"]["path"].as_str() else { return Ok(Vec::new()) };
        let dir = self.seen.run_dir.as_ref().ok_or("there is no run")?;
        fs::read(dir.join(path)).map_err(|error| format!("{path}: {error}"))
    }

    pub(crate) fn lines(&self) -> Result<Vec<String>, String> {
        Ok(String::from_utf8_lossy(&self.printed()?).lines().map(str::to_owned).collect())
    }

    pub(crate) fn prints(self, want: impl AsRef<[u8]>) -> Judged<'a> {
        let got = self.printed()?;
        let want = want.as_ref();
        same("what it printed", String::from_utf8_lossy(&got), String::from_utf8_lossy(want))?;
        holds("what it printed differs in bytes that are no text", got == want)?;
        Ok(self)
    }

    /// It said that it had begun, and then that it was asked to end. A shell may say more of what it waited for.
    pub(crate) fn says_both(self) -> Judged<'a> {
        let lines = self.lines()?;
        let place = |word: &str| lines.iter().position(|line| line == word);
        holds(&format!("it said {lines:?}"), place("begun") == Some(0) && place("asked").is_some()).map(|()| self)
    }

    /// It passed and printed exactly this.
    pub(crate) fn passes_with(self, want: impl AsRef<[u8]>) -> Judged<'a> {
        // What it printed says most, so it is looked at first unless nothing was.
        let failed = self.result();
        self.prints(want).map_err(|why| format!("{why}, and the result {failed}"))?.is("pass")
    }
}
