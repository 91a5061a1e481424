//! What a result depends on, as parts with a name and a digest each: the fingerprint is the digest of all of them, and
//! what changed since an earlier result is where two lists of them differ. One walk makes both, so what decides and
//! what explains cannot disagree. Source: "Reuse" in the design's semantics.

use std::cmp::Ordering;
use std::fmt::Write as _;

use crate::digest::{Digest, Hasher};
use crate::graph::affected::takes;
use crate::model::scorer::Source;
use crate::model::{Action, Delivery, Repeat, Scorer, ScorerRule, SecretUse, Task};
use crate::protocol::receipt::{EntryKind, Mode, OutputRef};

/// Goes up when the walk changes its meaning; no older result is reused then.
pub const VERSION: u32 = 1;

/// Most bytes of a value that are kept to be shown; the digest is of all of it.
const SHOWN_BYTES_MAX: usize = 512;

/// What kind of thing a result depends on. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The program and its arguments, or the script and its shell.
    Command = 1,
    /// A file that is run: the program or that of a scorer, when it lies in the workspace.
    Program = 2,
    Workdir = 3,
    Stdin = 4,
    /// A variable by name, whose value is never shown.
    Variable = 5,
    Matrix = 6,
    /// A file of `inputs`.
    Input = 7,
    /// What a needed task made.
    Need = 8,
    Scorer = 9,
    /// The patterns of what is kept.
    Outputs = 10,
    /// A program of `tools`: where it is, and its bytes.
    Tool = 11,
    Platform = 12,
    Scratch = 13,
    /// A file that a scorer reads and the task does not declare to make.
    Scored = 14,
    /// How many repetitions judge it.
    Repeat = 15,
    /// The images of the containers it may run in.
    Image = 16,
    /// A secret by its key, and where it comes from and how; never by its value.
    Secret = 17,
}

impl Kind {
    pub const ALL: [Self; 17] = [
        Self::Command,
        Self::Program,
        Self::Workdir,
        Self::Stdin,
        Self::Variable,
        Self::Matrix,
        Self::Input,
        Self::Need,
        Self::Scorer,
        Self::Outputs,
        Self::Tool,
        Self::Platform,
        Self::Scratch,
        Self::Scored,
        Self::Repeat,
        Self::Image,
        Self::Secret,
    ];

    /// In explanations and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Program => "program",
            Self::Workdir => "workdir",
            Self::Stdin => "stdin",
            Self::Variable => "variable",
            Self::Matrix => "matrix",
            Self::Input => "input",
            Self::Need => "need",
            Self::Scorer => "scorer",
            Self::Outputs => "outputs",
            Self::Tool => "tool",
            Self::Platform => "platform",
            Self::Scratch => "scratch",
            Self::Scored => "scored_file",
            Self::Repeat => "repeat",
            Self::Image => "image",
            Self::Secret => "secret",
        }
    }

    #[must_use]
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// One thing a result depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub kind: Kind,
    /// Which one of its kind; empty where there is only one.
    pub name: Box<str>,
    pub digest: Digest,
    /// The value, where it is short and no secret can be in it.
    pub shown: Box<str>,
}

/// What is not in the task itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The files of `inputs`, sorted by path.
    pub inputs: &'a [OutputRef],
    /// Those of [`own_files`] that exist.
    pub own_files: &'a [(Kind, OutputRef)],
    /// Name and outputs' digest of each needed task that is not order-only, in the order of the task's needs.
    pub needs: &'a [(Box<str>, Digest)],
    /// What `pass_env` lets through, sorted by name.
    pub passed: &'a [(String, String)],
    /// Name, path and content of each of `tools`.
    pub tools: &'a [(Box<str>, String, Digest)],
    /// Operating system and architecture.
    pub platform: &'a str,
    /// What its containers are made of, each image once, sorted. All that it may run in count, wherever it does.
    pub images: &'a [Box<str>],
}

/// Why no result of this task is ever reused; `None` for one whose results are.
#[must_use]
pub fn never_reusable(task: &Task) -> Option<&'static str> {
    if task.inputs.is_none() {
        Some("it declares no `inputs`")
    } else if !task.cache {
        Some("it says `cache = false`")
    } else {
        None
    }
}

/// Files of the workspace besides `inputs` whose content is part of the result, as paths or globs: what is run, what is
/// read from, and what scorers read. What the task declares to make is what they judge, and no part of it.
#[must_use]
pub fn own_files(task: &Task) -> Vec<(Kind, String)> {
    let mut files = Vec::new();
    let mut program = |name: &str| {
        if name.contains('/') && !name.starts_with('/') {
            let name = name.trim_start_matches("./");
            let place = if task.workdir.is_empty() { name.to_owned() } else { format!("{}/{name}", task.workdir) };
            files.push((Kind::Program, place));
        }
    };
    if let Action::Run(argv) = &task.action {
        program(&argv[0]);
    }
    let mut scored = Vec::new();
    scorer_files(&task.scorers, &mut program, &mut |path| scored.push(path.to_owned()));
    let made = || task.outputs.iter().chain(task.artifacts.iter().map(|artifact| &artifact.path)).map(|path| &**path);
    files.extend(scored.into_iter().filter(|path| !takes(made(), path)).map(|path| (Kind::Scored, path)));
    files.extend(task.stdin.iter().map(|path| (Kind::Stdin, path.to_string())));
    files
}

/// Files of the workspace that a task's scorers read, as paths or globs.
#[must_use]
pub fn scored_files(task: &Task) -> Vec<String> {
    let mut files = Vec::new();
    scorer_files(&task.scorers, &mut |_| {}, &mut |path| files.push(path.to_owned()));
    files
}

fn scorer_files(scorers: &[Scorer], program: &mut impl FnMut(&str), file: &mut impl FnMut(&str)) {
    for scorer in scorers {
        match &scorer.rule {
            ScorerRule::Command { argv, .. } => program(&argv[0]),
            ScorerRule::Quorum { of, .. } => scorer_files(of, program, file),
            ScorerRule::FileExists { path, .. }
            | ScorerRule::JsonPath { path, .. }
            | ScorerRule::Junit { path, .. }
            | ScorerRule::RegexMatch { source: Source::Path(path), .. } => file(path),
            ScorerRule::ExitCode { .. } | ScorerRule::RegexMatch { .. } => {}
        }
    }
}

/// The digest of what a task made, for those that need it: paths, contents, links, and whether files are executable.
#[must_use]
pub fn digest_of_outputs(outputs: &[OutputRef]) -> Digest {
    let mut hasher = Hasher::default();
    for output in outputs {
        frame(&mut hasher, &[output.path.as_bytes(), output.digest.as_bytes(), form(output).as_bytes()]);
    }
    hasher.finish()
}

/// What about a file is content besides its bytes.
fn form(file: &OutputRef) -> &'static str {
    match file.kind {
        EntryKind::File if file.mode.is_some_and(Mode::is_executable) => "executable",
        EntryKind::File => "",
        EntryKind::Symlink => "link",
        EntryKind::Directory => "empty folder",
    }
}

/// The digest over everything.
#[must_use]
pub fn fingerprint(task: &Task, facts: &Facts<'_>) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(&VERSION.to_le_bytes());
    // A task is told its name.
    frame(&mut hasher, &[task.name.as_bytes()]);
    walk(task, facts, &mut |kind, name, digest, shown| {
        frame(&mut hasher, &[&[kind as u8], name.as_bytes(), digest.as_bytes(), shown.as_bytes()]);
    });
    hasher.finish()
}

/// Everything, one by one, sorted by kind and name.
#[must_use]
pub fn parts(task: &Task, facts: &Facts<'_>) -> Vec<Part> {
    let mut parts = Vec::with_capacity(facts.inputs.len() + 8);
    walk(task, facts, &mut |kind, name, digest, shown| {
        parts.push(Part { kind, name: name.into(), digest, shown: shown.into() });
    });
    parts.sort_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
    parts
}

/// The one walk. What has no value (no matrix, no scorers) has no part.
fn walk(task: &Task, facts: &Facts<'_>, visit: &mut impl FnMut(Kind, &str, Digest, &str)) {
    let mut text = |kind: Kind, name: &str, value: &str| visit(kind, name, Digest::of(value.as_bytes()), shown(value));
    text(Kind::Platform, "", facts.platform);
    text(Kind::Command, "", &command(&task.action));
    if !facts.images.is_empty() {
        text(Kind::Image, "", &facts.images.join(" "));
    }
    if !task.workdir.is_empty() {
        text(Kind::Workdir, "", &task.workdir);
    }
    if task.scratch {
        text(Kind::Scratch, "", "true");
    }
    if let Some(Repeat { runs, quorum }) = task.repeat {
        // It decides the verdict. `retry` does not: a pass is a pass, at whatever attempt.
        text(Kind::Repeat, "", &format!("{quorum} of {runs}"));
    }
    for (name, source) in secrets(task) {
        text(Kind::Secret, &name, source);
    }
    for (axis, value) in &task.matrix {
        text(Kind::Matrix, axis, value);
    }
    if !task.scorers.is_empty() || task.pass_score > 0.0 {
        // The text of a rule says all that it does, and changes only when that does.
        let digest = Digest::of(format!("{:?} {}", task.scorers, task.pass_score).as_bytes());
        let names: Vec<&str> = task.scorers.iter().map(|scorer| &*scorer.name).collect();
        visit(Kind::Scorer, &names.join(", "), digest, "");
    }
    if !task.outputs.is_empty() || !task.artifacts.is_empty() {
        // Quoted like words of a shell, and artifacts with all that they say: no two declarations have one text.
        let mut patterns = shell_words::join(task.outputs.iter());
        let declared = patterns.len();
        for artifact in &task.artifacts {
            let _ = write!(patterns, "\n{artifact:?}");
        }
        visit(Kind::Outputs, "", Digest::of(patterns.as_bytes()), shown(&patterns[..declared]));
    }
    if let Some(paths) = &task.writable_paths {
        // What passed because it might write there may not pass where it may not.
        let paths = shell_words::join(paths.iter());
        visit(Kind::Outputs, "writable_paths", Digest::of(paths.as_bytes()), shown(&paths));
    }
    for (name, value) in &task.env {
        visit(Kind::Variable, name, Digest::of(value.as_bytes()), "");
    }
    // A variable of `env` hides one that is passed.
    let set = |name: &str| task.env.iter().any(|(own, _)| **own == *name);
    for (name, value) in facts.passed.iter().filter(|(name, _)| !set(name)) {
        visit(Kind::Variable, name, Digest::of(value.as_bytes()), "");
    }
    for (name, path, digest) in facts.tools {
        visit(Kind::Tool, name, *digest, path);
    }
    for (kind, file) in facts.own_files {
        visit(*kind, &file.path, file.digest, form(file));
    }
    for file in facts.inputs {
        visit(Kind::Input, &file.path, file.digest, form(file));
    }
    for (name, made) in facts.needs {
        visit(Kind::Need, name, *made, "");
    }
}

/// Each by its key and how it is delivered, with its source; in whatever order the task lists them.
fn secrets(task: &Task) -> Vec<(String, &'static str)> {
    let named = |SecretUse { key, source, delivery }: &SecretUse| match delivery {
        Delivery::File(name) => (format!("{key} as file:{name}"), source.name()),
        Delivery::Env(name) => (format!("{key} as env:{name}"), source.name()),
    };
    let mut secrets: Vec<(String, &str)> = task.secrets.iter().map(named).collect();
    secrets.sort_unstable();
    secrets
}

fn command(action: &Action) -> String {
    match action {
        Action::Run(argv) => {
            let words: Vec<&str> = argv.iter().map(|word| &**word).collect();
            shell_words::join(words)
        }
        Action::Script { shell, text } => format!("{}: {text}", shell.program()),
    }
}

fn shown(value: &str) -> &str {
    let mut end = value.len().min(SHOWN_BYTES_MAX);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

/// Lengths before contents, so that no two lists of pieces have one encoding.
fn frame(hasher: &mut Hasher, pieces: &[&[u8]]) {
    let mut bytes = Vec::with_capacity(128);
    for piece in pieces {
        bytes.extend_from_slice(&(piece.len() as u64).to_le_bytes());
        bytes.extend_from_slice(piece);
    }
    hasher.update(&bytes);
}

/// How one part differs from the earlier result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub kind: Kind,
    pub name: Box<str>,
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Removed,
    /// The values, where they may be shown; empty otherwise.
    Changed {
        from: Box<str>,
        to: Box<str>,
    },
}

/// Where two lists of [`parts`] differ.
#[must_use]
pub fn differences(before: &[Part], now: &[Part]) -> Vec<Difference> {
    let order = |a: &Part, b: &Part| (a.kind, &a.name).cmp(&(b.kind, &b.name));
    let tell = |part: &Part, change| Difference { kind: part.kind, name: part.name.clone(), change };
    let (mut found, mut old, mut new) = (Vec::new(), before, now);
    loop {
        let order = match (old.first(), new.first()) {
            (None, None) => return found,
            (Some(a), Some(b)) => order(a, b),
            (a, _) => {
                if a.is_some() {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
        };
        if let (Ordering::Less, Some((part, rest))) = (order, old.split_first()) {
            found.push(tell(part, Change::Removed));
            old = rest;
        } else if let (Ordering::Greater, Some((part, rest))) = (order, new.split_first()) {
            found.push(tell(part, Change::Added));
            new = rest;
        } else if let (Some((a, olds)), Some((b, news))) = (old.split_first(), new.split_first()) {
            if (a.digest, &a.shown) != (b.digest, &b.shown) {
                found.push(tell(b, Change::Changed { from: a.shown.clone(), to: b.shown.clone() }));
            }
            (old, new) = (olds, news);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::receipt::Mode;
    use crate::samples;

    fn file(path: &str, content: &str, mode: u32) -> OutputRef {
        OutputRef {
            path: path.into(),
            digest: Digest::of(content.as_bytes()),
            size_bytes: content.len() as u64,
            mode: Some(Mode::of(mode)),
            kind: EntryKind::File,
        }
    }

    fn base() -> (Task, Vec<OutputRef>) {
        let mut task = samples::task("a");
        task.inputs = Some(["a".into(), "b".into()].into());
        task.env = [("X".into(), "1".into())].into();
        (task, vec![file("a", "1", 0o644), file("b", "2", 0o644)])
    }

    fn of(task: &Task, inputs: &[OutputRef], needs: &[(Box<str>, Digest)]) -> (Digest, Vec<Part>) {
        let facts = Facts { inputs, needs, platform: "linux-x86_64", ..Facts::default() };
        (fingerprint(task, &facts), parts(task, &facts))
    }

    fn artifact(path: &str, required: bool) -> crate::model::task::Artifact {
        crate::model::task::Artifact { path: path.into(), kind: "log".into(), mime_type: None, required }
    }

    /// Changes one thing and says what the explanation calls it.
    type Edit = (&'static str, fn(&mut Task, &mut Vec<OutputRef>, &mut Vec<(Box<str>, Digest)>));

    const EDITS: &[Edit] = &[
        ("command ", |task, _, _| task.action = Action::Run(["false".into()].into())),
        ("command ", |task, _, _| task.action = Action::Run(["true".into(), "".into()].into())),
        ("workdir ", |task, _, _| task.workdir = "sub".into()),
        ("scratch ", |task, _, _| task.scratch = true),
        ("matrix os", |task, _, _| task.matrix = [("os".into(), "linux".into())].into()),
        ("variable X", |task, _, _| task.env = [("X".into(), "2".into())].into()),
        ("variable Y", |task, _, _| task.env = [("X".into(), "1".into()), ("Y".into(), "".into())].into()),
        ("outputs ", |task, _, _| task.outputs = ["o".into()].into()),
        ("outputs ", |task, _, _| task.outputs = ["o p".into()].into()),
        ("outputs ", |task, _, _| task.outputs = ["o".into(), "p".into()].into()),
        ("outputs ", |task, _, _| task.artifacts = [artifact("o", false)].into()),
        ("outputs ", |task, _, _| task.artifacts = [artifact("o", true)].into()),
        ("outputs writable_paths", |task, _, _| task.writable_paths = Some(["w".into()].into())),
        ("outputs writable_paths", |task, _, _| task.writable_paths = Some([].into())),
        ("scorer ", |task, _, _| task.pass_score = 0.5),
        ("repeat ", |task, _, _| task.repeat = Some(Repeat { runs: 3, quorum: 2 })),
        ("repeat ", |task, _, _| task.repeat = Some(Repeat { runs: 3, quorum: 3 })),
        ("input a", |_, inputs, _| inputs[0] = file("a", "other", 0o644)),
        ("input a", |_, inputs, _| inputs[0] = file("a", "1", 0o755)),
        ("input a", |_, inputs, _| drop(inputs.remove(0))),
        ("input c", |_, inputs, _| inputs.push(file("c", "", 0o644))),
        ("need up", |_, _, needs| needs.push(("up".into(), Digest::of(b"")))),
    ];

    #[test]
    fn every_change_changes_the_fingerprint_and_is_named() {
        let (task, inputs) = base();
        let (before, old) = of(&task, &inputs, &[]);
        let mut seen = std::collections::HashSet::from([before]);
        for (name, edit) in EDITS {
            let (mut task, mut inputs, mut needs) = (task.clone(), inputs.clone(), Vec::new());
            edit(&mut task, &mut inputs, &mut needs);
            let (after, new) = of(&task, &inputs, &needs);
            assert!(seen.insert(after), "{name}");
            let told: Vec<String> =
                differences(&old, &new).iter().map(|d| format!("{} {}", d.kind.name(), d.name)).collect();
            assert_eq!(told, [*name]);
        }
    }

    #[test]
    fn what_does_not_decide_the_result_changes_nothing() {
        let (mut task, mut inputs) = base();
        let (before, old) = of(&task, &inputs, &[]);
        task.timeout = Some(std::time::Duration::from_secs(1));
        task.priority = 3;
        task.retry = Some(Box::default());
        task.on_unknown = crate::model::OnUnknown::Hold;
        task.description = Some("x".into());
        task.tags = ["t".into()].into();
        inputs[0].mode = Some(Mode::of(0o600));
        assert_eq!(of(&task, &inputs, &[]), (before, old.clone()));
        assert_eq!(differences(&old, &old), []);
    }

    #[test]
    fn contents_that_change_places_are_a_change() {
        let (task, inputs) = base();
        let swapped = [file("a", "2", 0o644), file("b", "1", 0o644)];
        assert_ne!(of(&task, &inputs, &[]).0, of(&task, &swapped, &[]).0);
        assert_ne!(digest_of_outputs(&inputs), digest_of_outputs(&swapped));
    }

    #[test]
    fn what_is_run_from_the_workspace_counts_as_content() {
        let (mut task, _) = base();
        assert_eq!(own_files(&task), []);
        task.action = Action::Run(["./tools/gen".into()].into());
        task.workdir = "sub".into();
        task.stdin = Some("in.txt".into());
        assert_eq!(own_files(&task), [(Kind::Program, "sub/tools/gen".into()), (Kind::Stdin, "in.txt".into())]);
        task.action = Action::Run(["/bin/true".into()].into());
        task.stdin = None;
        assert_eq!(own_files(&task), []);
    }

    #[test]
    fn kinds_are_known_by_their_numbers() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind as u8), Some(kind));
        }
        assert_eq!(Kind::of(0), None);
    }
}
