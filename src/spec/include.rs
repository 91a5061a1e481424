//! `include`: finds the files, reads each once, and merges them into one. A name defined twice is a mistake that shows
//! both places; files that include each other are one that shows the circle.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::de;
use super::error::{Place, Problem, SpecError};
use super::file::FileRaw;
use super::map::{Source, SourceMap, Spot};
use super::nearest::nearest;
use super::outside::{Outside, beside};
use super::paths::{self, PathKind, PathMistake, shown};
use super::source::{Syntax, parse};
use super::tree::{FileId, Seg};

/// Most files of one fleet.
pub(super) const FILES_MAX: usize = 2_000;

/// Reads a fleet file and all it includes. What is read comes in the order of its [`FileId`]s.
pub(super) struct Reader<'a> {
    pub(super) map: &'a mut SourceMap,
    pub(super) problems: Vec<Problem>,
    workspace: &'a Path,
    outside: &'a Outside<'a>,
    known: HashMap<PathBuf, FileId>,
    /// For each file, the `include` entry that asked for it first.
    asked: Vec<Option<(FileId, Place)>>,
    files: Vec<FileRaw>,
    mistakes: Vec<SpecError>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(map: &'a mut SourceMap, workspace: &'a Path, outside: &'a Outside<'a>) -> Self {
        Self {
            map,
            problems: Vec::new(),
            workspace,
            outside,
            known: HashMap::new(),
            asked: Vec::new(),
            files: Vec::new(),
            mistakes: Vec::new(),
        }
    }

    /// All files, the main one first; what is wrong with them is in `problems`.
    pub(super) fn read(mut self, main: PathBuf, syntax: Syntax, bytes: &[u8]) -> (Vec<FileRaw>, Vec<Problem>) {
        self.file(main, syntax, bytes, None);
        // Files are read in waves; each file's includes are found when its turn comes.
        let mut turn = 0;
        while turn < self.files.len() && self.mistakes.len() < 100 {
            self.includes(turn);
            turn += 1;
        }
        let map = &*self.map;
        self.problems.extend(self.mistakes.iter().map(|mistake| mistake.problem(map)));
        (self.files, self.problems)
    }

    fn file(&mut self, path: PathBuf, syntax: Syntax, bytes: &[u8], by: Option<(FileId, Place)>) {
        let name = shown(&path, self.workspace);
        let without_mark = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let text: Arc<str> = match std::str::from_utf8(without_mark) {
            // A file that is too large is refused by its size, so its text need not be kept.
            Ok(_) if bytes.len() > super::source::FILE_BYTES_MAX => "".into(),
            Ok(text) => text.into(),
            // What can be shown: all before the first bad byte, and a mark in its place.
            Err(error) => String::from_utf8_lossy(&without_mark[..=error.valid_up_to()]).into(),
        };
        let id = self.map.push(Source::new(path.clone(), name, text, syntax));
        self.known.insert(path, id);
        self.asked.push(by);
        let read = parse(id, syntax, bytes).and_then(|tree| {
            let read = de::file(&tree);
            self.map.keep(id, tree);
            read
        });
        match read {
            Ok(raw) => self.files.push(raw),
            Err(problems) => {
                self.problems.extend(problems);
                self.files.push(empty());
            }
        }
    }

    fn includes(&mut self, turn: usize) {
        let file = FileId(u32::try_from(turn).unwrap_or(u32::MAX));
        let Some(list) = self.files[turn].include.clone() else { return };
        let Some(folder) = self.map.source(file).and_then(|source| source.path.parent()).map(Path::to_owned) else {
            return;
        };
        for (n, pattern) in list.iter().enumerate() {
            let at = self.entry(file, n);
            let checked = match paths::checked(pattern, PathKind::Glob) {
                Ok(path) => path,
                Err(bad) => {
                    let spot = Spot::top("include");
                    let inside = self.map.inside(&spot.index(n), pattern, &bad.at);
                    let at = if inside.file == file { inside } else { at };
                    self.mistakes.push(SpecError::Path { at, path: pattern.to_string(), why: bad.why });
                    continue;
                }
            };
            if crate::model::task::is_glob(&checked) {
                self.matching(file, &folder, &checked, &at);
            } else {
                self.one(file, &folder.join(&*checked), &at, &checked);
            }
        }
    }

    fn entry(&self, file: FileId, n: usize) -> Place {
        let path = [Seg::key("include"), Seg::Index(n)];
        let span = self.map.tree(file).and_then(|tree| tree.value_span(&path)).unwrap_or(0..0);
        Place { file, span }
    }

    fn matching(&mut self, file: FileId, folder: &Path, pattern: &str, at: &Place) {
        let found = self.outside.matching(folder, pattern);
        if found.is_empty() {
            self.mistakes.push(SpecError::IncludeNothing { at: at.clone(), pattern: pattern.to_owned() });
        }
        // A pattern may match the very file it stands in, which is no circle.
        let own = self.map.source(file).map(|source| source.path.clone());
        for path in found.into_iter().filter(|path| Some(path) != own.as_ref()) {
            let name = shown(&path, folder);
            self.one(file, &path, at, &name);
        }
    }

    fn one(&mut self, file: FileId, path: &Path, at: &Place, name: &str) {
        let Some(real) = self.outside.real(path) else {
            let files = beside(path);
            let near = path.file_name().and_then(|name| nearest(name.to_str()?, files.iter().map(String::as_str)));
            let near = near.map(|near| match name.rsplit_once('/') {
                Some((folder, _)) => format!("{folder}/{near}"),
                None => near.to_owned(),
            });
            self.mistakes.push(SpecError::IncludeMissing { at: at.clone(), path: name.to_owned(), near });
            return;
        };
        if !real.starts_with(self.workspace) {
            let why = PathMistake::Link(name.to_owned(), real.display().to_string());
            self.mistakes.push(SpecError::Path { at: at.clone(), path: name.to_owned(), why });
            return;
        }
        if let Some(other) = self.known.get(&real) {
            self.circle(file, *other, at);
            return;
        }
        if self.files.len() >= FILES_MAX {
            self.mistakes.push(SpecError::TooManyFiles { at: at.clone(), limit: FILES_MAX });
            return;
        }
        let unreadable = |why: String| SpecError::IncludeUnreadable { at: at.clone(), path: name.to_owned(), why };
        let Some(syntax) = Syntax::of(&real) else {
            self.mistakes.push(unreadable("its name ends in none of .toml, .yaml, .yml and .json".to_owned()));
            return;
        };
        match self.outside.file(&real) {
            Ok(bytes) => self.file(real, syntax, &bytes, Some((file, at.clone()))),
            Err(error) => self.mistakes.push(unreadable(plain(&error))),
        }
    }

    /// Reports a circle when `other` is one of the files that led to `file`.
    fn circle(&mut self, file: FileId, other: FileId, at: &Place) {
        let name = |id: FileId| self.map.source(id).map_or_else(String::new, |source| source.name.clone());
        let mut along = vec![(at.clone(), name(other))];
        let mut here = file;
        while here != other {
            let Some((by, place)) = self.asked.get(here.0 as usize).cloned().flatten() else { return };
            along.push((place, name(here)));
            here = by;
        }
        along.reverse();
        self.mistakes.push(SpecError::IncludeCycle { along });
    }
}

/// The system's words without its number.
pub(super) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// A table of the file in which nothing is said.
pub(super) fn empty<T: serde::de::DeserializeOwned>() -> T {
    serde::Deserialize::deserialize(serde::de::value::MapDeserializer::<_, serde::de::value::Error>::new(
        std::iter::empty::<(&str, &str)>(),
    ))
    .expect("every field of these tables is optional")
}

/// All files as one. Tables of names are joined; everything else may be said by one file only.
pub(super) fn merge(map: &SourceMap, files: Vec<FileRaw>) -> (FileRaw, Vec<SpecError>) {
    let mut merge = Merge { map, owners: BTreeMap::new(), mistakes: Vec::new() };
    let mut whole: FileRaw = empty();
    for (n, part) in files.into_iter().enumerate() {
        let file = FileId(u32::try_from(n).unwrap_or(u32::MAX));
        merge.add(file, &mut whole, part);
    }
    (whole, merge.mistakes)
}

struct Merge<'a> {
    map: &'a SourceMap,
    /// Which file said a thing first, by its path of one or two keys.
    owners: BTreeMap<(&'static str, Box<str>), FileId>,
    mistakes: Vec<SpecError>,
}

macro_rules! joined {
    ($self:ident, $file:ident, $whole:ident, $part:ident, $($field:ident: $what:literal,)*) => {$(
        if let Some(table) = $part.$field {
            let entries = &mut $whole.$field.get_or_insert_default().0;
            for (name, value) in table.0 {
                if $self.claim($file, stringify!($field), &name, $what) {
                    entries.push((name, value));
                }
            }
        }
    )*};
}

macro_rules! once {
    ($self:ident, $file:ident, $table:literal, $whole:expr, $part:ident, $($field:ident),*) => {$(
        if let Some(value) = $part.$field && $self.claim($file, $table, stringify!($field), "key") {
            $whole.$field = Some(value);
        }
    )*};
}

impl Merge<'_> {
    fn add(&mut self, file: FileId, whole: &mut FileRaw, part: FileRaw) {
        // `version`, `$schema` and `include` speak of the file they stand in.
        if file == FileId(0) {
            whole.version = part.version;
        }
        if let Some(version) = part.version.filter(|version| *version != 1) {
            let span = self.map.tree(file).and_then(|tree| tree.value_span(&[Seg::key("version")])).unwrap_or(0..0);
            self.mistakes.push(SpecError::UnsupportedVersion { at: Place { file, span }, version });
        }
        once!(self, file, "", whole, part, name, description, seed);
        joined!(self, file, whole, part,
            labels: "label", vars: "variable", tasks: "task", workers: "worker", scorers: "scorer",
        );
        if let Some(free) = part.metadata {
            let entries = &mut whole.metadata.get_or_insert_default().0;
            for (name, value) in free.0 {
                if self.claim(file, "metadata", &name, "metadata") {
                    entries.insert(name, value);
                }
            }
        }
        if let Some(part) = part.defaults {
            let whole = whole.defaults.get_or_insert_with(|| Box::new(empty()));
            once!(
                self,
                file,
                "defaults",
                whole,
                part,
                timeout,
                idle_timeout,
                start_within,
                retry,
                repeat,
                on_unknown,
                env,
                pass_env,
                required_env,
                shell,
                workdir,
                priority,
                tools,
                cache,
                limits
            );
        }
        if let Some(part) = part.policies {
            let whole = whole.policies.get_or_insert_with(|| Box::new(empty()));
            once!(self, file, "policies", whole, part, fail_fast, max_parallel, timeout, limits, security);
        }
        if let Some(part) = part.cache {
            let whole = whole.cache.get_or_insert_with(|| Box::new(empty()));
            once!(self, file, "cache", whole, part, max_size, max_age, remote, trust_remote);
        }
    }

    /// Whether nobody said this before.
    fn claim(&mut self, file: FileId, table: &'static str, name: &str, what: &'static str) -> bool {
        // A single file has no name twice: its reader refuses duplicate keys.
        if self.map.sources().len() == 1 {
            return true;
        }
        let Some(first) = self.owners.insert((table, name.into()), file) else { return true };
        self.owners.insert((table, name.into()), first);
        let path: Vec<Seg> = [table, name].into_iter().filter(|key| !key.is_empty()).map(Seg::key).collect();
        let at = |file: FileId| Place {
            file,
            span: self.map.tree(file).and_then(|tree| tree.key_span(&path)).unwrap_or(0..0),
        };
        let (first, again) = (at(first), at(file));
        self.mistakes.push(SpecError::DefinedTwice { what, name: name.to_owned(), first, again });
        false
    }
}
