//! Paths of a fleet file: relative to the workspace, `/`-separated, and never out of it, by text or through a link.
//! `checked` is pure. `Links` looks at the disk and remembers each folder, so that ten thousand paths cost few reads.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use super::looks::{self, FolderLook};
use super::outside::Outside;
use crate::model::task::is_glob;

/// Why a path is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadPath {
    /// Bytes inside the text.
    pub at: Range<usize>,
    pub why: PathMistake,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMistake {
    Empty,
    Absolute,
    /// `~` is a shell's word for the home folder.
    Home,
    /// `..`
    Parent,
    /// A character no path may hold.
    Nul,
    /// Not a valid glob: what the glob library says.
    Glob(String),
    /// A pattern where one path is meant.
    NotOne,
    /// `!` with nothing to exclude from, or where exclusion means nothing.
    Exclusion,
    /// The link on the way, and where it leads.
    Link(String, String),
}

/// What may stand in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathKind {
    /// One path.
    One,
    /// A path or a glob.
    Glob,
    /// A path or a glob, or `!` and what to leave out.
    Exclusions,
}

/// The path in its one spelling, without `./`, doubled or trailing slashes.
pub(super) fn checked(text: &str, kind: PathKind) -> Result<Box<str>, BadPath> {
    let refuse = |at: Range<usize>, why| Err(BadPath { at, why });
    let excluded = text.starts_with('!');
    if excluded && kind != PathKind::Exclusions {
        return refuse(0..1, PathMistake::Exclusion);
    }
    let start = usize::from(excluded);
    let body = &text[start..];
    if body.is_empty() {
        return refuse(0..text.len(), PathMistake::Empty);
    }
    if body.starts_with('/') {
        return refuse(0..text.len(), PathMistake::Absolute);
    }
    if body == "~" || body.starts_with("~/") {
        return refuse(start..start + 1, PathMistake::Home);
    }
    if let Some(n) = body.find('\0') {
        return refuse(start + n..start + n + 1, PathMistake::Nul);
    }
    if let Some(at) = parent(body) {
        return refuse(start + at.start..start + at.end, PathMistake::Parent);
    }
    let globbing = is_glob(body);
    if globbing && kind == PathKind::One {
        // A path that only looks like a pattern can be named by escaping nothing: one path is taken by its letters,
        // so only the two characters that no sane file name holds are refused.
        if let Some(n) = body.find(['*', '?']) {
            return refuse(start + n..start + n + 1, PathMistake::NotOne);
        }
    } else if body.contains(['[', ']', '{', '}', '\\'])
        // Stars and question marks alone are always valid.
        && let Err(error) = globset::GlobBuilder::new(body).literal_separator(true).build()
    {
        return refuse(start..text.len(), PathMistake::Glob(error.kind().to_string()));
    }
    Ok(normal(text, start))
}

/// Where a component `..` stands, also inside the braces of a glob.
fn parent(body: &str) -> Option<Range<usize>> {
    if !body.contains("..") {
        return None;
    }
    let mut start = 0;
    for (at, c) in body.char_indices().chain([(body.len(), '/')]) {
        if matches!(c, '/' | '{' | '}' | ',') {
            if &body[start..at] == ".." {
                return Some(start..at);
            }
            start = at + 1;
        }
    }
    None
}

fn normal(text: &str, start: usize) -> Box<str> {
    let body = &text[start..];
    let clean = !body.contains("//") && !body.starts_with("./") && !body.contains("/./") && !body.ends_with(['/', '.']);
    if clean {
        return text.into();
    }
    let parts: Vec<&str> = body.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let joined = if parts.is_empty() { ".".to_owned() } else { parts.join("/") };
    format!("{}{joined}", &text[..start]).into()
}

/// Finds paths that leave the workspace through a symbolic link.
#[derive(Debug)]
pub(super) struct Links {
    workspace: PathBuf,
    /// Folders looked at, as written in paths; the workspace is `""`. Also those that are not there: a later look must
    /// find no link in them either.
    folders: HashMap<Box<str>, FolderLook>,
    /// Where links lead, as written in paths.
    targets: HashMap<Box<str>, Option<PathBuf>>,
}

impl Links {
    /// `workspace` is absolute and without links itself.
    #[must_use]
    pub(super) fn under(workspace: &Path) -> Self {
        Self { workspace: workspace.to_owned(), folders: HashMap::new(), targets: HashMap::new() }
    }

    /// Follows the part of a checked path that has no pattern. A path that does not exist yet leads nowhere else.
    pub(super) fn check(&mut self, outside: &Outside<'_>, path: &str) -> Result<(), BadPath> {
        let start = usize::from(path.starts_with('!'));
        let body = &path[start..];
        let mut folder = "";
        if !self.folders.contains_key(folder) {
            self.folders.insert("".into(), looks::folder(self.workspace.clone()));
        }
        for part in body.split('/').take_while(|part| !is_glob(part)) {
            let Some(here) = self.folders.get(folder) else { return Ok(()) };
            let end = part.as_ptr() as usize - body.as_ptr() as usize + part.len();
            let way = &body[..end];
            if has_link(here, part) {
                let link = here.path.join(part);
                let target = self.targets.entry(way.into()).or_insert_with(|| outside.real(&link));
                let Some(target) = target else { return Ok(()) };
                if !target.starts_with(&self.workspace) {
                    let why = PathMistake::Link(way.to_owned(), target.display().to_string());
                    return Err(BadPath { at: start..start + end, why });
                }
                if !self.folders.contains_key(way) {
                    self.folders.insert(way.into(), looks::folder(target.clone()));
                }
            } else if end < body.len() && !self.folders.contains_key(way) {
                let path = here.path.join(part);
                // What is not there has nothing in it.
                let child = if here.stamp.is_some() { looks::folder(path) } else { FolderLook::missing(path) };
                self.folders.insert(way.into(), child);
            }
            folder = way;
        }
        Ok(())
    }

    pub(super) fn into_folders(self) -> Vec<FolderLook> {
        let mut folders: Vec<FolderLook> = self.folders.into_values().collect();
        folders.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        folders
    }
}

fn has_link(folder: &FolderLook, name: &str) -> bool {
    !folder.links.is_empty() && folder.links.binary_search_by(|link| (**link).cmp(OsStr::new(name))).is_ok()
}

/// `path` seen from `base` when it is inside, with `/`; else as it is.
#[must_use]
pub(super) fn shown(path: &Path, base: &Path) -> String {
    let relative = path.strip_prefix(base).unwrap_or(path);
    let mut text = String::new();
    for component in relative.components() {
        if !text.is_empty() && !text.ends_with('/') {
            text.push('/');
        }
        match component {
            Component::RootDir => text.push('/'),
            other => text.push_str(&other.as_os_str().to_string_lossy()),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Facts;

    #[test]
    fn paths_get_one_spelling() {
        for (text, path) in [
            ("src/a.rs", "src/a.rs"),
            ("./src//a.rs", "src/a.rs"),
            ("src/", "src"),
            (".", "."),
            ("!src/./gen/**", "!src/gen/**"),
            ("a..b/c", "a..b/c"),
            ("src/{a,b}.rs", "src/{a,b}.rs"),
        ] {
            assert_eq!(&*checked(text, PathKind::Exclusions).unwrap(), path, "{text}");
        }
        assert_eq!(&*checked("a[1].txt", PathKind::One).unwrap(), "a[1].txt");
    }

    #[test]
    fn what_leaves_the_workspace_is_refused() {
        use PathKind::*;
        for (text, kind, at, why) in [
            ("", One, 0..0, PathMistake::Empty),
            ("/etc/passwd", One, 0..11, PathMistake::Absolute),
            ("!/etc", Exclusions, 0..5, PathMistake::Absolute),
            ("a/../../b", One, 2..4, PathMistake::Parent),
            ("{a,../b}", Glob, 3..5, PathMistake::Parent),
            ("~/x", One, 0..1, PathMistake::Home),
            ("a*", One, 1..2, PathMistake::NotOne),
            ("!a", Glob, 0..1, PathMistake::Exclusion),
        ] {
            assert_eq!(checked(text, kind), Err(BadPath { at, why }), "{text}");
        }
        assert!(matches!(checked("a[", Glob), Err(BadPath { why: PathMistake::Glob(_), .. })));
    }

    #[test]
    fn links_out_of_the_workspace_are_found() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        let root = inside.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::os::unix::fs::symlink(outside.path(), root.join("a/out")).unwrap();
        std::os::unix::fs::symlink("b", root.join("a/in")).unwrap();
        let facts = Facts::new(1, HashMap::new(), |_| None);
        let outside = Outside::new(&facts);
        let mut links = Links::under(&root);
        for fine in ["a/b/c", "a/in/c", "nowhere/at/all", "a/*/x", "."] {
            assert_eq!(links.check(&outside, fine), Ok(()), "{fine}");
        }
        for bad in ["a/out", "a/out/x", "!a/out/*.rs"] {
            let error = links.check(&outside, bad).unwrap_err();
            assert!(matches!(error.why, PathMistake::Link(..)), "{bad}");
            assert!(bad[error.at].ends_with("a/out"));
        }
    }
}
