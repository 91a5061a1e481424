//! The environment of a task: a base list everyone gets, what the task lets through, what it sets.
//! The base is captured once, and each distinct `pass_env` makes one shared environment that the supervisor is told
//! of once, so that a task costs only its own few variables.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::Glob;

use crate::supervisor::frame::Env;
use crate::supervisor::lookup;

/// What every task gets from the caller's environment when it is there. A trailing `*` stands for any ending.
/// The list is part of the format: `book/src/reference/environment.md` prints it and a test holds the two against each other.
pub(super) const BASE_ENV: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    "TERM",
    "TMPDIR",
    // Where toolchains keep themselves.
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "GOPATH",
    "GOROOT",
    "GOCACHE",
    "GOMODCACHE",
    "JAVA_HOME",
    "NVM_DIR",
    "VOLTA_HOME",
    "PYENV_ROOT",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "RBENV_ROOT",
    "NIX_PATH",
    "NIX_PROFILES",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    // How the network is reached.
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Those of [`BASE_ENV`] whose value is part of what a result depends on, because it chooses a language or a toolchain.
/// The others say who and where the caller is, which changes from one machine to the next and decides nothing.
/// `book/src/guide/reuse.md` lists them.
pub(super) const COUNTED_ENV: &[&str] = &[
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    "RUSTUP_TOOLCHAIN",
    "GOROOT",
    "JAVA_HOME",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "NIX_PATH",
];

/// Those of [`BASE_ENV`] that mean the same on every host: they choose what a task says and how, and a result depends on
/// them, so a task elsewhere has those of the caller and not those of a host that happened to be free.
pub(super) const SPOKEN_ENV: &[&str] = &["LANG", "LANGUAGE", "LC_*", "TZ"];

/// The variables of one environment, sorted by name.
pub(crate) type Variables = Vec<(String, String)>;

/// The caller's environment, and the shared environments made from it.
pub(crate) struct Environments {
    caller: Variables,
    /// Given to every task by us.
    own: Variables,
    /// Variables of the caller that nothing lets through.
    withheld: Box<[Box<str>]>,
    shared: Vec<Variables>,
    by_pass: HashMap<Box<[Box<str>]>, usize>,
    programs: HashMap<(String, String, PathBuf), Option<PathBuf>>,
    counted: HashMap<Box<[Box<str>]>, Arc<Variables>>,
}

/// Index of a shared environment, in the order they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SharedEnv(pub usize);

impl Environments {
    /// `withheld` are the keys of secrets: what has such a name is for the tasks that are given it, and is masked.
    /// Returns also the names whose values are not UTF-8: they reach no task, and the run says so.
    pub(crate) fn capture(
        variables: impl Iterator<Item = (OsString, OsString)>,
        own: Variables,
        withheld: &[Box<str>],
    ) -> (Self, Vec<String>) {
        let mut caller = Variables::new();
        let mut unreadable = Vec::new();
        for (name, value) in variables {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => caller.push((name, value)),
                (Ok(name), Err(_)) => unreadable.push(name),
                (Err(name), _) => unreadable.push(name.to_string_lossy().into_owned()),
            }
        }
        caller.sort();
        unreadable.sort();
        let this = Self {
            caller,
            own,
            withheld: withheld.into(),
            shared: Vec::new(),
            by_pass: HashMap::new(),
            programs: HashMap::new(),
            counted: HashMap::new(),
        };
        (this, unreadable)
    }

    /// The shared environment for a `pass_env` list; the second value is it, when it is new.
    pub(crate) fn shared_for(&mut self, pass: &[Box<str>]) -> (SharedEnv, Option<&Variables>) {
        if let Some(&index) = self.by_pass.get(pass) {
            return (SharedEnv(index), None);
        }
        let allowed = NameSet::of(BASE_ENV.iter().copied().chain(pass.iter().map(|p| &**p)));
        let mut variables: Variables = self.let_through(&allowed).collect();
        variables.extend(self.own.iter().cloned());
        variables.sort();
        let index = self.shared.len();
        self.shared.push(variables);
        self.by_pass.insert(pass.into(), index);
        (SharedEnv(index), self.shared.last())
    }

    /// A shared environment as the supervisor is told of it; its id is its index. On another host the base list is taken
    /// from that host's own environment, since who and where we are means nothing there; [`SPOKEN_ENV`] is the caller's.
    pub(crate) fn frame(&self, index: usize, is_remote: bool) -> Env {
        let id = u32::try_from(index).unwrap_or(u32::MAX);
        if !is_remote {
            return Env { id, vars: self.shared[index].clone(), host: Vec::new() };
        }
        let pass = self.by_pass.iter().find(|(_, at)| **at == index).map(|(pass, _)| &**pass).unwrap_or_default();
        let passed = NameSet::of(pass.iter().map(|pattern| &**pattern).chain(SPOKEN_ENV.iter().copied()));
        let ours = |name: &str| self.own.iter().any(|(own, _)| own == name);
        let vars = self.shared[index].iter().filter(|(name, _)| passed.has(name) || ours(name)).cloned().collect();
        let host = BASE_ENV.iter().filter(|name| !SPOKEN_ENV.contains(name) && !self.is_withheld(name));
        Env { id, vars, host: host.map(ToString::to_string).collect() }
    }

    /// Of what a `pass_env` list and the base list let through, what a result depends on, sorted by name.
    pub(crate) fn counted(&mut self, pass: &[Box<str>]) -> Arc<Variables> {
        if let Some(known) = self.counted.get(pass) {
            return Arc::clone(known);
        }
        let counts = NameSet::of(COUNTED_ENV.iter().copied().chain(pass.iter().map(|p| &**p)));
        let counted = Arc::new(self.let_through(&counts).collect());
        self.counted.insert(pass.into(), Arc::clone(&counted));
        counted
    }

    fn let_through(&self, names: &NameSet<'_>) -> impl Iterator<Item = (String, String)> {
        let is_passed = |name: &str| names.has(name) && !self.is_withheld(name);
        self.caller.iter().filter(move |(name, _)| is_passed(name)).cloned()
    }

    /// Whether a name is that of a secret.
    pub(crate) fn is_withheld(&self, name: &str) -> bool {
        self.withheld.iter().any(|key| **key == *name)
    }

    /// A variable of the caller.
    pub(crate) fn caller(&self, name: &str) -> Option<&str> {
        find(&self.caller, name)
    }

    /// The value a task will see: what it sets, else what is shared.
    pub(crate) fn value<'a>(
        &'a self,
        shared: SharedEnv,
        set: &'a [(Box<str>, Box<str>)],
        name: &str,
    ) -> Option<&'a str> {
        set.iter().find(|(n, _)| &**n == name).map(|(_, value)| &**value).or_else(|| find(&self.shared[shared.0], name))
    }

    /// The absolute path of a program as the task would find it: by PATH when it is a bare name, else from `cwd`.
    /// Looked up once for each name, PATH and folder.
    pub(crate) fn program(&mut self, name: &str, path: &str, cwd: &Path) -> Option<PathBuf> {
        let folder = if lookup::depends_on_folder(name, path) { cwd } else { Path::new("") };
        let key = (name.to_owned(), path.to_owned(), folder.to_owned());
        self.programs.entry(key).or_insert_with(|| lookup::find(name, path, cwd)).clone()
    }
}

fn find<'a>(variables: &'a Variables, name: &str) -> Option<&'a str> {
    let at = variables.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok()?;
    Some(&variables[at].1)
}

/// Names, and globs of names.
struct NameSet<'a> {
    exact: Vec<&'a str>,
    globs: Vec<globset::GlobMatcher>,
}

impl<'a> NameSet<'a> {
    fn of(names: impl Iterator<Item = &'a str>) -> Self {
        let (globs, mut exact): (Vec<_>, Vec<_>) = names.partition(|n| n.contains(['*', '?', '[']));
        exact.sort_unstable();
        // Patterns were checked when the file was read; one that does not compile matches nothing.
        let globs = globs.into_iter().filter_map(|g| Glob::new(g).ok()).map(|g| g.compile_matcher()).collect();
        Self { exact, globs }
    }

    fn has(&self, name: &str) -> bool {
        self.exact.binary_search(&name).is_ok() || self.globs.iter().any(|g| g.is_match(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(vars: &[(&str, &str)]) -> Environments {
        let own = vec![("FLEET_RUN_ID".into(), "r".into())];
        Environments::capture(
            vars.iter().map(|(k, v)| ((*k).into(), (*v).into())),
            own,
            &["KEPT_KEY".into(), "NO_PROXY".into()],
        )
        .0
    }

    #[test]
    fn a_task_sees_the_base_list_what_it_passes_and_nothing_else() {
        let mut all = captured(&[("PATH", "/bin"), ("LC_ALL", "C"), ("MY_A", "1"), ("SECRET", "x"), ("EXACT", "2")]);
        let (id, new) = all.shared_for(&["MY_*".into(), "EXACT".into()]);
        let names: Vec<_> = new.unwrap().iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["EXACT", "FLEET_RUN_ID", "LC_ALL", "MY_A", "PATH"]);
        assert_eq!(all.shared_for(&["MY_*".into(), "EXACT".into()]), (id, None));
        let (bare, new) = all.shared_for(&[]);
        assert_ne!(bare, id);
        assert_eq!(new.unwrap().len(), 3);
        assert_eq!(all.value(bare, &[("PATH".into(), "/x".into())], "PATH"), Some("/x"));
        assert_eq!(all.value(bare, &[], "PATH"), Some("/bin"));
        assert_eq!(all.value(bare, &[], "SECRET"), None);
        assert_eq!(all.caller("SECRET"), Some("x"));
    }

    #[test]
    fn the_variable_of_a_secret_is_let_through_by_nothing() {
        let mut all = captured(&[("KEPT_KEY", "x"), ("KEPT_OTHER", "1")]);
        let pass = ["KEPT_*".into(), "KEPT_KEY".into()];
        let (id, new) = all.shared_for(&pass);
        let names: Vec<_> = new.unwrap().iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["FLEET_RUN_ID", "KEPT_OTHER"]);
        assert_eq!(*all.counted(&pass), [("KEPT_OTHER".to_owned(), "1".to_owned())]);
        assert_eq!(all.value(id, &[], "KEPT_KEY"), None);
        assert!(!all.frame(id.0, true).host.iter().any(|name| name == "NO_PROXY"));
    }

    #[test]
    fn a_task_elsewhere_speaks_the_callers_language_in_the_hosts_place() {
        let mut all = captured(&[("PATH", "/bin"), ("LC_ALL", "C"), ("MY_A", "1"), ("SECRET", "x")]);
        all.shared_for(&["MY_*".into()]);
        let env = all.frame(0, true);
        let names: Vec<_> = env.vars.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["FLEET_RUN_ID", "LC_ALL", "MY_A"]);
        let is_asked = |name: &str| env.host.iter().any(|asked| asked == name);
        assert!(is_asked("PATH") && is_asked("HOME") && !is_asked("TZ") && !is_asked("LC_*"));
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_not_utf_8_is_named() {
        use std::os::unix::ffi::OsStringExt;
        let vars = [("BAD".into(), OsString::from_vec(vec![0xff])), ("PATH".into(), "/bin".into())];
        let (_, unreadable) = Environments::capture(vars.into_iter(), Variables::new(), &[]);
        assert_eq!(unreadable, ["BAD"]);
    }
}
