//! What changed in a workspace, asked of the `git` program: the other half of `--affected`.
//!
//! A path counts as changed when a commit since the base, the index, or the working tree differs there from what came
//! before it, and when it is neither tracked nor ignored. So what was changed and changed back counts as well: it errs
//! towards more. Renames are a path that is gone and one that is new. Whatever a person has told git to do with its
//! output is turned off.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::graph::affected::{Change, ChangeKind};

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// Where the current branch left the default one.
    DefaultBranch,
    /// Where it left that commit.
    Revision(String),
}

/// What changed since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The commit everything is compared with; the empty tree where there is no commit yet.
    pub base: String,
    /// What it was found by, as a person would name it: `origin/main`.
    pub since: String,
    /// By path.
    pub paths: Vec<Change>,
}

/// Why nobody knows what changed; each says what to type.
#[derive(Debug)]
pub enum GitError {
    NoGit,
    NotARepository(PathBuf),
    Unknown(String),
    NoDefault,
    NoCommonCommit {
        revision: String,
        shallow: bool,
    },
    /// Git's own words.
    Failed {
        doing: &'static str,
        said: String,
    },
    Io(io::Error),
}

impl fmt::Display for GitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoGit => f.write_str("--affected asks git what changed, and no `git` is on PATH: install it"),
            Self::NotARepository(folder) => write!(
                f,
                "`{}` is in no git repository, so nobody knows what changed: run without --affected, or `git init` first",
                folder.display()
            ),
            Self::Unknown(revision) => write!(
                f,
                "git knows no commit `{revision}` here: name a branch, a tag or a commit, or `git fetch` it first"
            ),
            Self::NoDefault => f.write_str(
                "this clone is shallow and has no default branch to compare with: name a commit, as in --affected HEAD^, \
                 or fetch the history with `git fetch --unshallow`",
            ),
            Self::NoCommonCommit { revision, shallow: true } => write!(
                f,
                "this clone is shallow and does not reach back to where `{revision}` and HEAD meet: \
                 `git fetch --unshallow`, or ask the CI for the whole history (fetch-depth: 0)"
            ),
            Self::NoCommonCommit { revision, shallow: false } => {
                write!(f, "`{revision}` and HEAD have no commit in common: name another one")
            }
            Self::Failed { doing, said } => write!(f, "git could not {doing}: {said}"),
            Self::Io(error) => write!(f, "git could not be asked: {error}"),
        }
    }
}

impl std::error::Error for GitError {}

/// What no setting of a person may change.
const SETTINGS: [&str; 11] = [
    "--no-pager",
    "--no-optional-locks",
    "--literal-pathspecs",
    "-c",
    "core.quotePath=false",
    "-c",
    "diff.relative=false",
    "-c",
    "diff.autoRefreshIndex=true",
    "-c",
    "color.ui=false",
];

/// What is asked of each of the three comparisons. `--raw`, because it has the kinds of files.
const DIFF: [&str; 8] = [
    "diff",
    "--raw",
    "-z",
    "--no-renames",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    // A submodule in which something changed is itself changed.
    "--ignore-submodules=none",
];

/// Whose commit a branch is expected to come back to, the first that there is.
const DEFAULT_BRANCHES: [&str; 6] = [
    "refs/remotes/origin/HEAD",
    "refs/remotes/upstream/HEAD",
    "refs/remotes/origin/main",
    "refs/remotes/origin/master",
    "refs/heads/main",
    "refs/heads/master",
];

/// Every path of the workspace that changed.
///
/// # Errors
/// When git is missing, cannot be asked, or does not know where to begin.
pub fn changes(workspace: &Path, since: &Since) -> Result<Changes, GitError> {
    let git = Git::at(workspace)?;
    let head = git.commit("HEAD")?;
    let (base, since) = git.base(since, head.as_deref())?;
    // All four at once; they only read.
    let committed = head.as_ref().map(|head| git.start(&with(&DIFF, &[&base, head, "--"]))).transpose()?;
    let indexed = git.start(&with(&DIFF, &["--cached", head.as_deref().unwrap_or(&base), "--"]))?;
    let edited = git.start(&with(&DIFF, &["--"]))?;
    let untracked = git.start(&["ls-files", "--others", "--exclude-standard", "--full-name", "-z"])?;
    let tracked = git.start(&["ls-files", "--stage", "--full-name", "-z"])?;

    let mut found = BTreeMap::new();
    for diff in committed.into_iter().chain([indexed, edited]) {
        for (path, kind) in of_diff(&finish(diff, "compare")?) {
            git.add(&mut found, &path, kind);
        }
    }
    for path in of_list(&finish(untracked, "list what is not tracked")?) {
        git.add_untracked(&mut found, &path);
    }
    let links = of_stage(&finish(tracked, "list what is tracked")?);
    let links: Vec<String> = links.iter().filter_map(|path| git.below(path)).map(str::to_owned).collect();
    add_through_links(workspace, &links, &mut found);
    let paths = found.into_iter().map(|(path, kind)| Change { path: path.into(), kind }).collect();
    Ok(Changes { base, since, paths })
}

/// The git of one workspace.
struct Git<'a> {
    workspace: &'a Path,
    /// The way from the top of the repository to the workspace, with a `/` behind it; empty for the top.
    prefix: String,
    shallow: bool,
}

impl<'a> Git<'a> {
    fn at(workspace: &'a Path) -> Result<Self, GitError> {
        let mut git = Self { workspace, prefix: String::new(), shallow: false };
        let asked = git.ask(&["rev-parse", "--is-inside-work-tree", "--is-shallow-repository", "--show-prefix"])?;
        if !asked.status.success() {
            let said = said(&asked);
            return Err(if said.contains("not a git repository") {
                GitError::NotARepository(workspace.to_owned())
            } else {
                GitError::Failed { doing: "look at the repository", said }
            });
        }
        let text = text(&asked.stdout);
        let mut lines = text.splitn(3, '\n');
        if lines.next() != Some("true") {
            return Err(GitError::NotARepository(workspace.to_owned()));
        }
        git.shallow = lines.next() == Some("true");
        let prefix = lines.next().unwrap_or_default();
        prefix.strip_suffix('\n').unwrap_or(prefix).clone_into(&mut git.prefix);
        Ok(git)
    }

    fn start<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Child, GitError> {
        let mut command = Command::new("git");
        command.args(SETTINGS).args(words).current_dir(self.workspace);
        // Errors are looked at, so they have to be in one language.
        command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => GitError::NoGit,
            _ => GitError::Io(error),
        })
    }

    fn ask(&self, words: &[&str]) -> Result<Output, GitError> {
        self.start(words)?.wait_with_output().map_err(GitError::Io)
    }

    /// The id of a commit, if there is such a one.
    fn commit(&self, revision: &str) -> Result<Option<String>, GitError> {
        let peeled = format!("{revision}^{{commit}}");
        self.line(&["rev-parse", "--verify", "--quiet", "--end-of-options", &peeled])
    }

    /// The only line that a command answers with; none when it fails or answers nothing.
    fn line(&self, words: &[&str]) -> Result<Option<String>, GitError> {
        let asked = self.ask(words)?;
        let line = text(&asked.stdout).trim_end().to_owned();
        Ok((asked.status.success() && !line.is_empty()).then_some(line))
    }

    /// The commit to compare with, and what it was found by.
    fn base(&self, since: &Since, head: Option<&str>) -> Result<(String, String), GitError> {
        let (found, name) = match since {
            Since::Revision(revision) => {
                let found = self.commit(revision)?.ok_or_else(|| GitError::Unknown(revision.clone()))?;
                (Some(found), revision.clone())
            }
            Since::DefaultBranch => self.default_branch()?,
        };
        match (found, head) {
            (Some(found), Some(head)) => {
                let base = self.line(&["merge-base", &found, head])?;
                let missing = || GitError::NoCommonCommit { revision: name.clone(), shallow: self.shallow };
                Ok((base.ok_or_else(missing)?, name))
            }
            (None, Some(_)) if self.shallow => Err(GitError::NoDefault),
            (None, Some(head)) => Ok((head.to_owned(), "HEAD".to_owned())),
            (Some(found), None) => Ok((found, name)),
            (None, None) => {
                // Git knows the tree without files without having it.
                let empty = self.line(&["hash-object", "-t", "tree", "--stdin"])?;
                let failed = || GitError::Failed { doing: "name the empty tree", said: "no answer".to_owned() };
                Ok((empty.ok_or_else(failed)?, "the beginning".to_owned()))
            }
        }
    }

    /// The first of [`DEFAULT_BRANCHES`] that there is.
    fn default_branch(&self) -> Result<(Option<String>, String), GitError> {
        for branch in DEFAULT_BRANCHES {
            if let Some(found) = self.commit(branch)? {
                let short = branch.trim_start_matches("refs/remotes/").trim_start_matches("refs/heads/");
                let target = self.line(&["symbolic-ref", "--short", "--quiet", branch])?;
                return Ok((Some(found), target.unwrap_or_else(|| short.to_owned())));
            }
        }
        Ok((None, String::new()))
    }

    /// A path of the repository as one of the workspace.
    fn below<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(&*self.prefix).filter(|path| !path.is_empty())
    }

    fn add(&self, found: &mut BTreeMap<String, ChangeKind>, path: &str, kind: ChangeKind) {
        if let Some(path) = self.below(path) {
            let known = found.entry(path.to_owned()).or_insert(kind);
            *known = kind.max(*known);
        }
    }

    fn add_untracked(&self, found: &mut BTreeMap<String, ChangeKind>, path: &str) {
        // Another repository inside of this one is listed as a folder.
        if let Some(folder) = path.strip_suffix('/') {
            return self.add(found, folder, ChangeKind::Folder);
        }
        let is_link = |path: &str| self.workspace.join(path).symlink_metadata().is_ok_and(|found| found.is_symlink());
        let kind = if self.below(path).is_some_and(is_link) { ChangeKind::Link } else { ChangeKind::File };
        self.add(found, path, kind);
    }
}

/// A file that is named through a link has changed when the file has.
fn add_through_links(workspace: &Path, links: &[String], found: &mut BTreeMap<String, ChangeKind>) {
    let mut new = BTreeSet::new();
    for link in links {
        let Some(target) = target(workspace, link) else { continue };
        if found.contains_key(&target) {
            new.insert(link.clone());
        }
        let start = format!("{target}/");
        let inside = found.range(start.clone()..).map(|(path, _)| path).take_while(|path| path.starts_with(&start));
        new.extend(inside.map(|path| format!("{link}/{}", &path[start.len()..])));
    }
    for path in new {
        found.entry(path).or_insert(ChangeKind::File);
    }
}

/// Where a link of the workspace leads inside of it; also when there is nothing any more.
fn target(workspace: &Path, link: &str) -> Option<String> {
    let there = workspace.join(link);
    if let Ok(real) = there.canonicalize() {
        return Some(real.strip_prefix(workspace.canonicalize().ok()?).ok()?.to_str()?.to_owned());
    }
    let named = Path::new(link).parent()?.join(std::fs::read_link(there).ok()?);
    let mut inside = PathBuf::new();
    for part in named.components() {
        match part {
            Component::Normal(name) => inside.push(name),
            Component::ParentDir if inside.pop() => {}
            Component::CurDir => {}
            _ => return None,
        }
    }
    inside.to_str().map(str::to_owned)
}

fn with<'w>(first: &[&'w str], more: &[&'w str]) -> Vec<&'w str> {
    first.iter().chain(more).copied().collect()
}

fn finish(child: Child, doing: &'static str) -> Result<Vec<u8>, GitError> {
    let output = child.wait_with_output().map_err(GitError::Io)?;
    if output.status.success() { Ok(output.stdout) } else { Err(GitError::Failed { doing, said: said(&output) }) }
}

/// What git complained of, without its own word for an error.
fn said(output: &Output) -> String {
    let text = text(&output.stderr);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    line.strip_prefix("fatal: ").unwrap_or(line).trim().to_owned()
}

/// Patterns are text, so a path that is not is held against them as far as it is.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn of_list(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes.split(|byte| *byte == 0).filter(|path| !path.is_empty()).map(text)
}

/// `:100644 120000 <id> <id> M\0path\0`; two paths behind a rename or a copy.
fn of_diff(bytes: &[u8]) -> Vec<(String, ChangeKind)> {
    let mut found = Vec::new();
    let mut fields = of_list(bytes);
    while let Some(head) = fields.next() {
        let Some(words) = head.strip_prefix(':') else { continue };
        let modes: Vec<&str> = words.split(' ').take(2).collect();
        let kind = kind(&modes);
        let two = words.rsplit(' ').next().is_some_and(|status| status.starts_with(['R', 'C']));
        for path in fields.by_ref().take(if two { 2 } else { 1 }) {
            found.push((path, kind));
        }
    }
    found
}

fn kind(modes: &[&str]) -> ChangeKind {
    if modes.contains(&"160000") {
        ChangeKind::Folder
    } else if modes.contains(&"120000") {
        ChangeKind::Link
    } else {
        ChangeKind::File
    }
}

/// The links of `120000 <id> 0\tpath\0`.
fn of_stage(bytes: &[u8]) -> Vec<String> {
    let entries = bytes.split(|byte| *byte == 0).filter(|entry| entry.starts_with(b"120000 "));
    entries.map(text).filter_map(|entry| entry.split_once('\t').map(|(_, path)| path.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_prints_is_read() {
        let raw = b":100644 100644 aaa bbb M\0src/a b.rs\0:000000 120000 000 ccc A\0link\0\
            :160000 160000 ddd ddd M\0vendor/lib\0:100644 100644 aaa aaa R100\0old\0new\0:100644 000000 aaa 000 D\0gone\n\xc3\xa9\0";
        let found = of_diff(raw);
        let expected = [
            ("src/a b.rs", ChangeKind::File),
            ("link", ChangeKind::Link),
            ("vendor/lib", ChangeKind::Folder),
            ("old", ChangeKind::File),
            ("new", ChangeKind::File),
            ("gone\né", ChangeKind::File),
        ];
        assert_eq!(found, expected.map(|(path, kind)| (path.to_owned(), kind)));
        assert_eq!(of_diff(b""), []);
        assert_eq!(of_diff(b":100644"), []);
        assert_eq!(of_list(b"a\0b/\0").collect::<Vec<_>>(), ["a", "b/"]);
        assert_eq!(of_stage(b"100644 aaa 0\ta\x00120000 bbb 0\tto/link\0"), ["to/link"]);
    }
}
