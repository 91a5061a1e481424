//! From the words of a command line to a fleet that is ready: the file read and resolved, its graph in order, a worker
//! for every task, and the tasks that were asked for. Or all that is wrong with them, each with its place.

use std::cell::OnceCell;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::affected::Affected;
use super::args::{self, Chosen, ChosenBy, Misuse, Source};
use super::kept::{self, Key};
use super::mistake::Mistakes;
use super::{Shell, Trouble, identity};
use crate::digest::Digest;
use crate::graph::Graph;
use crate::graph::select::{self, SelectError, Selection};
use crate::id::TaskId;
use crate::model::Fleet;
use crate::place::{self, Impossible};
use crate::policy::ExitCode;
use crate::spec::render::Style;
use crate::spec::{self, Facts, Looks, Problem, SourceMap};
use crate::store::state::StateDir;

/// All that a command needs to know of a fleet file.
#[derive(Debug)]
pub struct Ready {
    pub fleet: Fleet,
    pub graph: Graph,
    pub selection: Selection,
    pub origins: Origins,
    /// The fleet file, and how it came to be chosen.
    pub chosen: Chosen,
    /// What a change touches, when the selection was narrowed to that.
    pub affected: Option<Affected>,
    digest: Option<Digest>,
    unkept: Option<(Key, Looks)>,
}

/// Where everything stands in the files. After a kept plan was taken nothing was read, and is only when it is asked for.
#[derive(Debug)]
pub struct Origins {
    request: spec::Request,
    map: OnceCell<SourceMap>,
}

impl Origins {
    #[must_use]
    pub fn map(&self) -> &SourceMap {
        self.map.get_or_init(|| places_of(&self.request))
    }

    fn into_map(self) -> SourceMap {
        self.map.into_inner().unwrap_or_else(|| places_of(&self.request))
    }
}

fn places_of(request: &spec::Request) -> SourceMap {
    match spec::load(request) {
        Ok(loaded) => loaded.map,
        // Changed a moment ago; places in it are still places.
        Err(failure) => failure.map,
    }
}

impl Ready {
    /// Keeps the plan for the next command, once there is a state directory. Does nothing where it was kept already.
    pub fn keep(&mut self) {
        if StateDir::of(&self.fleet.workspace).path().is_dir()
            && let Some((key, looks)) = self.unkept.take()
        {
            key.keep(&looks, &self.fleet, &self.graph);
        }
    }

    /// Of all that the fleet file means.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest.unwrap_or_else(|| kept::digest(&self.fleet, &self.graph))
    }

    /// All that the fleet file means, as bytes in which every text stands as it is.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        kept::bytes(&self.fleet, &self.graph)
    }

    /// Whether the file was read for this, and the plan not kept yet.
    #[must_use]
    pub fn is_unkept(&self) -> bool {
        self.unkept.is_some()
    }

    /// What a command that only shows things leaves with.
    #[must_use]
    pub fn exit(&self) -> ExitCode {
        if self.selection.is_empty() && !self.is_untouched() { ExitCode::NothingSelected } else { ExitCode::Passed }
    }

    /// Whether something was selected, and no change touches any of it: nothing is left to do.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.affected.is_some() && self.selection.is_empty()
    }
}

/// Why there is no fleet.
#[derive(Debug)]
pub enum Failed {
    Misuse(Misuse),
    /// The fleet file is wrong; `folder` is the way to it, as it was typed.
    Invalid {
        problems: Vec<Problem>,
        map: SourceMap,
        folder: PathBuf,
    },
    /// The fleet file is right, but what was asked for is not in it.
    Selection {
        problems: Vec<Problem>,
        exit: ExitCode,
    },
}

impl From<Misuse> for Failed {
    fn from(misuse: Misuse) -> Self {
        Self::Misuse(misuse)
    }
}

impl Failed {
    /// As it is told to a person.
    #[must_use]
    pub fn trouble(self, shell: Shell) -> Trouble {
        match self {
            Self::Misuse(misuse) => Trouble::Misuse(misuse),
            Self::Invalid { problems, map, folder } => {
                let mut prefix = folder.display().to_string();
                if !prefix.is_empty() && !prefix.ends_with('/') {
                    prefix.push('/');
                }
                let style = Style { color: shell.stderr().is_on(), prefix, ..Style::default() };
                Trouble::Invalid(spec::render::human(&problems, &map, &style))
            }
            Self::Selection { problems, exit } => Trouble::Other(exit, lines(&problems)),
        }
    }
}

/// One line for each problem; they have no place in a file worth drawing.
fn lines(problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        let separator = if text.is_empty() { "" } else { "\n" };
        let _ = write!(text, "{separator}{}", problem.message);
        if let Some(help) = &problem.help {
            let _ = write!(text, "; {help}");
        }
    }
    text
}

/// [`load`] from the current folder, for a command that people use: names a fleet file they may not have expected.
///
/// # Errors
/// As [`load`], ready to be told.
pub fn open(source: &Source, words: &[String], except: &[String], shell: Shell) -> Result<Ready, Trouble> {
    open_with(source, words, except, facts(), shell)
}

/// [`open`] on a machine as `facts` describes it.
///
/// # Errors
/// As [`open`].
pub(super) fn open_with(
    source: &Source,
    words: &[String],
    except: &[String],
    facts: Facts,
    shell: Shell,
) -> Result<Ready, Trouble> {
    let folder = std::env::current_dir()?;
    let mut ready = load(source, words, except, &folder, facts).map_err(|failed| failed.trouble(shell))?;
    ready.keep();
    if ready.chosen.by == ChosenBy::Above {
        // On standard error, where no program reads it; a closed one is no reason to stop.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("fleet file: {}\n", ready.chosen.file.display()),
        );
    }
    Ok(ready)
}

/// What a `when` may ask of this machine.
pub(super) fn facts() -> Facts {
    let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
    // A variable that is no text can be asked for by nobody.
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    Facts::new(cores, std::env::vars_os().filter_map(text).collect(), branch)
}

/// The branch that the workspace is on; none outside of a repository and where no branch is checked out.
fn branch(workspace: &Path) -> Option<String> {
    let git = Command::new("git").arg("-C").arg(workspace).args(["symbolic-ref", "--short", "-q", "HEAD"]).output();
    let name = String::from_utf8(git.ok().filter(|git| git.status.success())?.stdout).ok()?;
    Some(name.trim_end().to_owned())
}

/// Reads the fleet file that `words` or `source` name, or the nearest one above `folder`, which is the current one, and
/// selects the other words.
///
/// # Errors
/// All problems of the first stage that has any: the words, the file, its graph and places, the selection.
pub fn load(
    source: &Source,
    words: &[String],
    except: &[String],
    folder: &Path,
    facts: Facts,
) -> Result<Ready, Failed> {
    let words = args::sort_out(words, source.file.as_deref())?;
    let chosen = args::choose(words.file, folder)?;
    let folder = chosen.file.parent().unwrap_or(Path::new("")).to_owned();
    let request = spec::Request { file: chosen.file.clone(), set: source.set.clone(), facts };
    let Plan { fleet, graph, digest, map, unkept } = match plan(&request) {
        Ok(plan) => plan,
        Err((problems, map)) => return Err(Failed::Invalid { problems, map, folder }),
    };
    let origins = Origins { request, map: map.map_or_else(OnceCell::new, OnceCell::from) };
    // Asked each time, also where the plan was kept: it lies outside of all that a plan is made from.
    let problems = identities(&fleet, &|| origins.map());
    if !problems.is_empty() {
        let map = origins.into_map();
        return Err(Failed::Invalid { problems, map, folder });
    }
    let request = select::Request { patterns: words.rest, except: except.to_vec() };
    let selection = select::select(&fleet, &graph, &request).map_err(|errors| {
        let unmatched = errors.iter().all(|error| matches!(error, SelectError::NoMatch { .. }));
        Failed::Selection {
            problems: Mistakes { fleet: &fleet, map: origins.map() }.of_selection(&errors),
            // A name that is not there was mistyped; a pattern may be right and find nothing.
            exit: if unmatched { ExitCode::NothingSelected } else { ExitCode::Usage },
        }
    })?;
    Ok(Ready { fleet, graph, selection, origins, chosen, affected: None, digest, unkept })
}

/// A fleet that is right, and its graph.
struct Plan {
    fleet: Fleet,
    graph: Graph,
    /// Where it was kept.
    digest: Option<Digest>,
    /// `None` when the plan was kept.
    map: Option<SourceMap>,
    unkept: Option<(Key, Looks)>,
}

/// The plan that was kept, or else the one that the file has now.
fn plan(request: &spec::Request) -> Result<Plan, (Vec<Problem>, SourceMap)> {
    let key = Key::of(request);
    if let Some((fleet, graph, digest)) = key.as_ref().and_then(|key| key.load(&request.facts)) {
        return Ok(Plan { fleet, graph, digest: Some(digest), map: None, unkept: None });
    }
    let spec::Loaded { fleet, map, looks } = spec::load(request).map_err(|failure| (failure.problems, failure.map))?;
    match check(&fleet, &map) {
        Ok(graph) => {
            // What `--set` says may be the value of a secret, and nobody has asked for the values yet.
            let may_hold = !request.set.is_empty() && fleet.tasks.values().any(|task| !task.secrets.is_empty());
            let unkept = key.filter(|_| !may_hold).map(|key| (key, looks));
            Ok(Plan { fleet, graph, digest: None, map: Some(map), unkept })
        }
        Err(problems) => Err((problems, map)),
    }
}

/// Most problems of each kind that are told. Nobody reads more, and a file can have a hundred thousand.
const PROBLEMS_MAX: usize = 500;

/// What only a resolved fleet shows: whether its tasks have an order, their own places, and workers.
///
/// # Errors
/// All that is wrong, of both kinds, each up to a bound.
pub fn check(fleet: &Fleet, map: &SourceMap) -> Result<Graph, Vec<Problem>> {
    let mistakes = Mistakes { fleet, map };
    let impossible = fleet.tasks.ids().filter_map(|task| place::candidates(fleet, task).err().map(|no| (task, no)));
    let impossible: Vec<(TaskId, Impossible)> = impossible.take(PROBLEMS_MAX).collect();
    let mut problems = mistakes.of_places(&impossible);
    match Graph::of(fleet) {
        Ok(graph) if problems.is_empty() => return Ok(graph),
        Ok(_) => {}
        Err(errors) => problems.extend(mistakes.of_graph(&errors[..errors.len().min(PROBLEMS_MAX)])),
    }
    problems.sort_by_key(|problem| problem.labels.first().map(|label| (label.file, label.span.start)));
    Err(problems)
}

/// The machines that nothing verifies, where the policy wants them verified. The places are asked for only then.
pub(super) fn identities<'m>(fleet: &Fleet, map: &dyn Fn() -> &'m SourceMap) -> Vec<Problem> {
    let unknown = identity::unknown(fleet);
    if unknown.is_empty() { Vec::new() } else { Mistakes { fleet, map: map() }.of_identity(&unknown) }
}

#[cfg(test)]
mod tests;
