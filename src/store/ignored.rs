//! What `.gitignore` files say, as git reads them: nested, the nearest first, the last line that matches wins, and
//! nothing beneath an ignored folder comes back. Only files of the workspace count, with or without a repository: what
//! a task reads must not depend on whose home it is or on `.git/info/exclude`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::scan::ScanError;
use super::scan::is_hidden;

const NAME: &str = ".gitignore";

/// Largest `.gitignore` that is read.
pub(super) const GITIGNORE_BYTES_MAX: u64 = 1 << 20;

/// Negations that leave a folder of which everything is ignored what it is: they only keep it in git.
const KEEPS: [&str; 4] = ["!.gitignore", "!/.gitignore", "!.gitkeep", "!/.gitkeep"];

/// Lines that ignore everything in a folder.
const ALL: [&str; 4] = ["*", "/*", "**", "/**"];

/// What holds for the entries of a folder.
#[derive(Clone, Debug, Default)]
pub(super) struct Context {
    /// The folder lies in, or is, an ignored one: how many components that one's path has.
    pub ignored: Option<usize>,
    rules: Option<Arc<Level>>,
    /// It is or lies in a state directory, where no rule counts.
    exempt: bool,
}

/// The `.gitignore` of one folder.
#[derive(Debug)]
struct Level {
    rules: Gitignore,
    /// Components of the folder's path.
    depth: usize,
    /// Where in a path the part behind the folder begins.
    skip: usize,
    /// It ignores all that is beside it, as tools write it into their caches. Then the folder is what is ignored, and
    /// a pattern that names the folder names what is in it.
    all: bool,
    up: Option<Arc<Level>>,
}

impl Context {
    /// Of a folder below another (the workspace is below none); reads its `.gitignore`.
    pub(super) fn below(parent: Option<&Self>, folder: &Path, opened: &File) -> Result<Self, ScanError> {
        // What names a state directory names all of it.
        if parent.is_some_and(|parent| parent.exempt) || folder.file_name().is_some_and(is_hidden) {
            return Ok(Self { exempt: true, ..Self::default() });
        }
        let ignored = parent.and_then(|parent| parent.judge(folder, true));
        if ignored.is_some() {
            return Ok(Self { ignored, ..Self::default() });
        }
        let up = parent.and_then(|parent| parent.rules.clone());
        let text = match read(opened) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(Self { rules: up, ..Self::default() }),
            Err(error) => return Err(ScanError::Io { path: folder.join(NAME).display().to_string(), error }),
        };
        let mut builder = GitignoreBuilder::new(".");
        let (mut all, mut negated) = (false, false);
        for line in text.trim_start_matches('\u{feff}').lines() {
            // What is no glob ignores nothing, as with git.
            let _ = builder.add_line(None, line);
            let line = line.trim_end();
            all |= ALL.contains(&line);
            negated |= line.starts_with('!') && !KEEPS.contains(&line);
        }
        let length = folder.as_os_str().len();
        let level = Level {
            rules: builder.build().unwrap_or_else(|_| Gitignore::empty()),
            depth: folder.components().count(),
            skip: if length == 0 { 0 } else { length + 1 },
            all: all && !negated,
            up,
        };
        Ok(Self { rules: Some(Arc::new(level)), ..Self::default() })
    }

    /// Whether an entry of the folder is ignored: how many components the path of the ignored thing has, which is the
    /// entry or a folder it lies in.
    pub(super) fn judge(&self, path: &Path, is_folder: bool) -> Option<usize> {
        if self.ignored.is_some() {
            return self.ignored;
        }
        let bytes = path.as_os_str().as_bytes();
        let mut next = self.rules.as_ref();
        while let Some(level) = next {
            let below = Path::new(OsStr::from_bytes(bytes.get(level.skip..).unwrap_or_default()));
            match level.rules.matched(below, is_folder) {
                Match::Ignore(_) if level.all => return Some(level.depth),
                Match::Ignore(_) => return Some(path.components().count()),
                Match::Whitelist(_) => return None,
                Match::None => next = level.up.as_ref(),
            }
        }
        None
    }

    /// Whether there is anything that could ignore an entry.
    pub(super) fn is_empty(&self) -> bool {
        self.ignored.is_none() && self.rules.is_none()
    }
}

/// The text of the `.gitignore` in a folder; `None` where there is none. A link is none: git does not follow it either.
fn read(folder: &File) -> io::Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match rustix::fs::openat(folder, NAME, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(GITIGNORE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > GITIGNORE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {GITIGNORE_BYTES_MAX} bytes")));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
