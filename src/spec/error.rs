//! Mistakes in a fleet file: data in [`SpecError`], words in `error/text.rs`, both ends meet in [`Problem`].
//! A problem says what is wrong, where (several places, maybe in several files), and what to type instead.

mod cache;
mod draft;
mod place;
mod retry;
mod secret;
mod text;

use std::ops::Range;

use super::container::{ArgMistake, ImageMistake};
use super::host::{FarMistake, NameMistake};
use super::paths::PathMistake;
use super::quantity::UnitMistake;
use super::security::GrantMistake;
use super::shell::ShellSyntax;
use super::tree::FileId;
use super::url::UrlMistake;
use super::vars::ReferenceMistake;
use crate::model::Trust;

/// One mistake, ready to be rendered for people or machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable, `fleet::unknown_key`.
    pub code: &'static str,
    pub message: String,
    /// The first one is the place itself; others say what it clashes with.
    pub labels: Vec<Label>,
    pub help: Option<String>,
}

/// A place and what to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub file: FileId,
    /// Bytes of the file's text.
    pub span: Range<usize>,
    pub text: String,
}

/// Bytes of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: FileId,
    pub span: Range<usize>,
}

/// The nearest known name, and where it is declared.
pub type Near = Option<(String, Option<Place>)>;

/// Every mistake that is seen once a file has the right shape. Places are where the mistake stands; `task`, `field`
/// and the like are names for the message.
#[derive(Clone, Debug, PartialEq)]
pub enum SpecError {
    // ── files ──
    /// The fleet file itself.
    Unreadable {
        path: String,
        why: String,
    },
    IncludeMissing {
        at: Place,
        path: String,
        near: Option<String>,
    },
    IncludeNothing {
        at: Place,
        pattern: String,
    },
    IncludeUnreadable {
        at: Place,
        path: String,
        why: String,
    },
    /// The `include` entries along the circle.
    IncludeCycle {
        along: Vec<(Place, String)>,
    },
    TooManyFiles {
        at: Place,
        limit: usize,
    },
    DefinedTwice {
        what: &'static str,
        name: String,
        first: Place,
        again: Place,
    },
    MissingName {
        at: Place,
    },
    UnsupportedVersion {
        at: Place,
        version: u32,
    },
    NoTasks {
        at: Place,
    },

    // ── variables ──
    Reference {
        at: Place,
        name: String,
        why: ReferenceMistake,
    },
    VarsCycle {
        names: Vec<String>,
        along: Vec<Place>,
    },
    UnknownSet {
        name: String,
        near: Near,
    },

    // ── what to run ──
    NoAction {
        task: String,
        at: Place,
    },
    TwoActions {
        task: String,
        run: Place,
        sh: Place,
    },
    Shell {
        owner: String,
        found: Vec<(Place, ShellSyntax)>,
        text: String,
        script: bool,
    },
    OpenQuote {
        at: Place,
    },
    LoneBackslash {
        at: Place,
    },
    EmptyCommand {
        at: Place,
    },
    NulByte {
        at: Place,
        field: &'static str,
    },
    ShellWithoutScript {
        task: String,
        at: Place,
        run: Place,
    },

    // ── the graph, as far as names go ──
    UnknownNeed {
        task: String,
        need: String,
        at: Place,
        near: Near,
    },
    UnknownTag {
        task: String,
        tag: String,
        at: Place,
        near: Near,
    },
    SelfNeed {
        task: String,
        at: Place,
        tag: Option<String>,
    },
    NeedOnHandler {
        task: String,
        need: String,
        at: Place,
        by: Place,
    },
    NeedTwice {
        task: String,
        need: String,
        first: Place,
        again: Place,
    },
    TooManyNeeds {
        at: Place,
        limit: usize,
    },
    UnknownHandler {
        task: String,
        name: String,
        at: Place,
        near: Near,
    },
    SelfHandler {
        task: String,
        at: Place,
    },
    HandlerField {
        task: String,
        field: &'static str,
        at: Place,
        by: Place,
    },

    // ── matrix ──
    MatrixValueTwice {
        axis: String,
        value: String,
        first: Place,
        again: Place,
    },
    BadMatrixValue {
        axis: String,
        value: String,
        at: Place,
    },
    UnknownAxis {
        axis: String,
        at: Place,
        near: Near,
    },
    ExcludesNothing {
        task: String,
        at: Place,
        values: String,
    },
    ExcludesAll {
        task: String,
        at: Place,
    },
    TooManyTasks {
        at: Place,
        limit: usize,
    },

    // ── workers, pools, platforms ──
    UnknownWorker {
        task: String,
        worker: String,
        at: Place,
        near: Near,
    },
    UnknownPool {
        task: String,
        pool: String,
        at: Place,
        near: Near,
    },
    UsesTooMuch {
        task: String,
        pool: String,
        asks: u32,
        size: u32,
        at: Place,
        size_at: Place,
    },
    UnknownPlatform {
        what: &'static str,
        name: String,
        at: Place,
        near: Option<String>,
    },

    // ── places and trust ──
    SshName {
        field: &'static str,
        at: Place,
        why: NameMistake,
    },
    FarPath {
        field: &'static str,
        at: Place,
        why: FarMistake,
    },
    Fingerprint {
        at: Place,
    },
    Image {
        at: Place,
        why: ImageMistake,
    },
    ImageByTag {
        worker: String,
        image: String,
        engine: &'static str,
        trust: Trust,
        at: Place,
        trust_at: Option<Place>,
    },
    ContainerArg {
        worker: String,
        flag: String,
        trust: Trust,
        at: Place,
        why: ArgMistake,
    },
    TwoSlots {
        at: Place,
        other: Place,
    },
    /// On a local host.
    FieldOfRemote {
        field: &'static str,
        at: Place,
        host_at: Place,
    },
    Lease {
        at: Place,
        least: String,
        most: String,
    },
    /// `remote_verified` of what is not behind ssh.
    TrustOfHost {
        worker: String,
        host: &'static str,
        at: Place,
    },
    AttemptSize {
        at: Place,
    },
    MemoryLimit {
        at: Place,
    },
    PidsLimit {
        max: u32,
        at: Place,
    },
    Grant {
        at: Place,
        capability: String,
        why: GrantMistake,
    },
    GrantForNobody {
        at: Place,
        scope: String,
        near: Option<String>,
    },

    // ── scorers ──
    UnknownScorer {
        name: String,
        at: Place,
        near: Near,
    },
    ScorerCycle {
        names: Vec<String>,
        along: Vec<Place>,
    },
    ScorerTwice {
        owner: String,
        name: String,
        first: Place,
        again: Place,
    },
    TooManyScorers {
        at: Place,
        limit: usize,
        deep: bool,
    },
    BadRegex {
        at: Place,
        why: String,
    },
    BadJsonPath {
        at: Place,
        why: String,
    },
    RegexSource {
        at: Place,
        both: Option<(Place, Place)>,
    },
    QuorumTooLarge {
        least: u32,
        of: usize,
        at: Place,
        of_at: Place,
    },
    BadExitCode {
        code: i32,
        at: Place,
    },
    BoundsCrossed {
        least: f64,
        most: f64,
        at: Place,
        other: Place,
    },

    // ── attempts ──
    BackoffCrossed {
        initial: String,
        max: String,
        at: Place,
        max_at: Option<Place>,
    },
    BackoffTooLong {
        at: Place,
        limit: String,
    },
    TooManyAttempts {
        field: &'static str,
        at: Place,
        limit: u32,
    },
    RepeatQuorum {
        quorum: u32,
        runs: u32,
        at: Place,
        runs_at: Place,
    },

    // ── secrets ──
    SecretKey {
        at: Place,
    },
    SecretDelivery {
        at: Place,
        word: String,
        near: Option<String>,
    },
    SecretVariable {
        task: String,
        variable: String,
        first: Place,
        again: Place,
    },
    SecretNotAllowed {
        task: String,
        key: String,
        at: Place,
        list_at: Option<Place>,
        near: Option<String>,
    },
    /// The variable of a secret in `pass_env`.
    SecretPassed {
        key: String,
        at: Place,
    },
    SecretCommand {
        at: Place,
    },
    LiteralSecret {
        what: &'static str,
        at: Place,
    },

    // ── the shared cache ──
    Url {
        at: Place,
        why: UrlMistake,
    },
    TokenRef {
        at: Place,
    },
    TokenInClear {
        at: Place,
        url_at: Place,
    },
    TrustWithoutRemote {
        at: Place,
    },

    // ── values ──
    Path {
        at: Place,
        path: String,
        why: PathMistake,
    },
    OnlyExclusions {
        field: &'static str,
        at: Place,
    },
    Duration {
        at: Place,
        why: UnitMistake,
        instead: Option<String>,
    },
    Size {
        at: Place,
        why: UnitMistake,
        instead: Option<String>,
    },
    IdleTooLong {
        task: String,
        idle: String,
        timeout: String,
        at: Place,
        timeout_at: Place,
    },
    EnvName {
        at: Place,
        name: String,
        pattern: bool,
    },
    /// A variable that fleet sets itself.
    OwnVariable {
        at: Place,
        name: String,
    },
    BadTag {
        at: Place,
        tag: String,
    },
    ItemTwice {
        field: &'static str,
        item: String,
        first: Place,
        again: Place,
    },
    EmptyList {
        field: String,
        at: Place,
    },
    EmptyText {
        field: &'static str,
        at: Place,
    },
    BadGlob {
        at: Place,
        why: String,
    },
}

impl Place {
    #[must_use]
    pub fn label(&self, text: impl Into<String>) -> Label {
        Label { file: self.file, span: self.span.clone(), text: text.into() }
    }
}

/// Sorts by place, drops what is said twice about one place, and sees to it that every problem has help.
pub fn in_order(problems: &mut Vec<Problem>) {
    for problem in problems.iter_mut().filter(|problem| problem.help.is_none()) {
        problem.help = text::general_help(problem.code).map(str::to_owned);
    }
    let place = |problem: &Problem| problem.labels.first().map(|label| (label.file, label.span.start, label.span.end));
    problems.sort_by(|a, b| (place(a), a.code).cmp(&(place(b), b.code)).then_with(|| a.message.cmp(&b.message)));
    // One mistake in a matrix task is met once for every instance, each with its own name in the message.
    problems
        .dedup_by(|b, a| a.code == b.code && place(a) == place(b) && (place(a).is_some() || a.message == b.message));
}
