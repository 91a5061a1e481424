//! Whether a task is wanted here and now: `when` against the facts of this machine, this environment and this branch.
//! The facts are a value, so that a test can fix them.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

use globset::GlobBuilder;

use super::context::Context;
use super::error::SpecError;
use super::file::{OneOrMany, WhenEnv, WhenRaw, WhenValue};
use super::map::Spot;
use super::names::is_env_name;
use super::nearest::nearest;
use super::paths::PathKind;
use super::vars::Scope;

/// Finds the branch that is checked out in a workspace.
type AskBranch = dyn Fn(&Path) -> Option<String> + Send + Sync;

/// What `when` and the defaults ask of the outside. The caller of `load` gathers them.
pub struct Facts {
    /// As Rust names it: `linux`, `macos`.
    pub os: String,
    /// As Rust names it: `x86_64`, `aarch64`.
    pub arch: String,
    /// Slots of a local worker that does not say; at least 1.
    pub cores: u32,
    /// How many attempts at once the caller asks for; the implied local worker has slots for them.
    pub jobs: Option<u32>,
    /// The caller's environment, as far as it is UTF-8.
    env: HashMap<String, String>,
    ask_branch: Box<AskBranch>,
    branch: OnceLock<Option<String>>,
}

impl Facts {
    /// This platform, with the environment and the branch as given. The branch is asked for at most once, and only if
    /// a task wants to know; the argument is the workspace.
    pub fn new(
        cores: u32,
        env: HashMap<String, String>,
        branch: impl Fn(&Path) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            cores: cores.max(1),
            jobs: None,
            env,
            ask_branch: Box::new(branch),
            branch: OnceLock::new(),
        }
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str)
    }

    pub(super) fn branch(&self, workspace: &Path) -> Option<&str> {
        self.branch.get_or_init(|| (self.ask_branch)(workspace)).as_deref()
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the environment, which holds secrets.
        f.debug_struct("Facts").field("os", &self.os).field("arch", &self.arch).finish_non_exhaustive()
    }
}

const SYSTEMS: [&str; 10] =
    ["linux", "macos", "windows", "freebsd", "netbsd", "openbsd", "dragonfly", "android", "ios", "solaris"];
const ARCHITECTURES: [&str; 12] = [
    "x86_64",
    "aarch64",
    "x86",
    "arm",
    "riscv64",
    "riscv32",
    "powerpc64",
    "powerpc",
    "s390x",
    "loongarch64",
    "mips64",
    "wasm32",
];
/// Other names in use, and ours.
const ALSO: [(&str, &str); 10] = [
    ("darwin", "macos"),
    ("osx", "macos"),
    ("mac", "macos"),
    ("win32", "windows"),
    ("amd64", "x86_64"),
    ("x64", "x86_64"),
    ("x86-64", "x86_64"),
    ("arm64", "aarch64"),
    ("i386", "x86"),
    ("i686", "x86"),
];

/// Why the task is not wanted; `None` when it is. Every condition must hold, of several values one.
pub(super) fn unwanted(cx: &Context<'_>, scope: &Scope<'_>, spot: &Spot<'_>, when: &WhenRaw) -> Option<Box<str>> {
    // Every condition is checked, also behind one that does not hold: a mistake is one on every machine.
    let platform = |field: &'static str, what, known: &[&str], have: &str, wanted: &Option<OneOrMany>| {
        let wanted = names(cx, scope, &spot.key(field), wanted.as_ref()?);
        for (n, name) in wanted.iter().enumerate() {
            if !known.contains(&&**name) {
                let also = ALSO.iter().find(|(other, _)| *other == &**name).map(|(_, ours)| *ours);
                let near = also.filter(|ours| known.contains(ours)).or_else(|| nearest(name, known.iter().copied()));
                let (list, one) = (spot.key(field), matches!(wanted.len(), 1));
                let at = if one { cx.map.at(&list) } else { cx.map.at(&list.index(n)) };
                let near = near.map(str::to_owned);
                cx.report(SpecError::UnknownPlatform { what, name: name.to_string(), at, near });
            }
        }
        (!wanted.iter().any(|name| **name == *have)).then(|| format!("{field} is `{have}`, not {}", or(&wanted)))
    };
    let os = platform("os", "operating system", &SYSTEMS, &cx.facts.os, &when.os);
    let arch = platform("arch", "processor architecture", &ARCHITECTURES, &cx.facts.arch, &when.arch);
    let env = when.env.as_ref().and_then(|env| environment(cx, scope, &spot.key("env"), env));
    let branch = when.branch.as_ref().and_then(|globs| branch(cx, scope, &spot.key("branch"), globs));
    let exists = when.exists.as_ref().and_then(|paths| exists(cx, scope, &spot.key("exists"), paths));
    os.or(arch).or(env).or(branch).or(exists).map(Into::into)
}

fn names(cx: &Context<'_>, scope: &Scope<'_>, spot: &Spot<'_>, written: &OneOrMany) -> Vec<Box<str>> {
    if let OneOrMany::Many(list) = written
        && list.is_empty()
    {
        cx.report(SpecError::EmptyList { field: "when".to_owned(), at: cx.map.at(spot) });
    }
    match written {
        OneOrMany::One(text) => cx.text(scope, spot, text).into_iter().collect(),
        OneOrMany::Many(list) => {
            list.iter().enumerate().filter_map(|(n, text)| cx.text(scope, &spot.index(n), text)).collect()
        }
    }
}

fn or(names: &[Box<str>]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}

fn environment(cx: &Context<'_>, scope: &Scope<'_>, spot: &Spot<'_>, env: &WhenEnv) -> Option<String> {
    let valid = |name: &str, at: &dyn Fn() -> super::error::Place| {
        let valid = is_env_name(name);
        if !valid {
            cx.report(SpecError::EnvName { at: at(), name: name.to_owned(), pattern: false });
        }
        valid
    };
    match env {
        WhenEnv::Set(name) => {
            let name = cx.text(scope, spot, name)?;
            let known = valid(&name, &|| cx.map.at(spot)) && cx.outside.variable(&name, None);
            (!known).then(|| format!("`{name}` is not set"))
        }
        WhenEnv::Table(table) => table
            .iter()
            .filter_map(|(name, value)| {
                let spot = spot.key(name);
                if !valid(name, &|| cx.map.key_at(&spot)) {
                    return None;
                }
                match value {
                    WhenValue::Set(true) => (!cx.outside.variable(name, None)).then(|| format!("`{name}` is not set")),
                    WhenValue::Set(false) => cx.outside.variable(name, None).then(|| format!("`{name}` is set")),
                    WhenValue::Is(text) => {
                        let wanted = cx.text(scope, &spot, text)?;
                        // Not the value it has: it may be a secret.
                        (!cx.outside.variable(name, Some(&wanted))).then(|| format!("`{name}` is not `{wanted}`"))
                    }
                }
            })
            // All of them, for the sake of mistakes in later ones; the first is the reason.
            .collect::<Vec<_>>()
            .into_iter()
            .next(),
    }
}

fn branch(cx: &Context<'_>, scope: &Scope<'_>, spot: &Spot<'_>, globs: &OneOrMany) -> Option<String> {
    let wanted = names(cx, scope, spot, globs);
    let matchers: Vec<_> = wanted
        .iter()
        .filter_map(|glob| match GlobBuilder::new(glob).build() {
            Ok(glob) => Some(glob.compile_matcher()),
            Err(error) => {
                cx.report(SpecError::BadGlob { at: cx.map.at(spot), why: error.kind().to_string() });
                None
            }
        })
        .collect();
    match cx.outside.branch(cx.workspace) {
        None => Some("no branch is checked out".to_owned()),
        Some(have) if matchers.iter().any(|glob| glob.is_match(have)) => None,
        Some(have) => Some(format!("branch is `{have}`, not {}", or(&wanted))),
    }
}

fn exists(cx: &Context<'_>, scope: &Scope<'_>, spot: &Spot<'_>, paths: &OneOrMany) -> Option<String> {
    let one = matches!(paths, OneOrMany::One(_));
    let mut shown = Vec::new();
    let mut found = false;
    for (n, text) in paths.as_slice().iter().enumerate() {
        let item = spot.index(n);
        let spot = if one { spot } else { &item };
        let Some(path) = cx.path(scope, spot, text, PathKind::Glob) else { continue };
        found = found || cx.outside.exists(cx.workspace, &path);
        shown.push(path);
    }
    (!found).then(|| format!("{} does not exist", or(&shown)))
}
