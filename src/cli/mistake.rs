//! What the graph, the places and the selection refuse, as problems with places in the fleet file. These layers speak of
//! tasks and positions in lists; only here both they and the files are known.

use std::collections::HashSet;

use super::identity::Unknown;
use crate::engine::Lacking;
use crate::graph::select::SelectError;
use crate::graph::{Edge, EdgeKind, GraphError, WriteField, WritePlace};
use crate::id::{TaskId, WorkerId};
use crate::model::task::is_glob;
use crate::model::{Fleet, Task};
use crate::place::{Impossible, Lack};
use crate::spec::{Label, Problem, Seg, SourceMap};

/// Longest part of a cycle that is named in the message itself; every edge still has its label.
const NAMES_MAX: usize = 8;
/// Most labels on one cycle: a drawing of more is no help.
const LABELS_MAX: usize = 32;

/// Turns mistakes of one fleet into problems.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mistakes<'a> {
    pub fleet: &'a Fleet,
    pub map: &'a SourceMap,
}

impl Mistakes<'_> {
    /// One problem for each mistake that a person made: instances of a matrix repeat the mistake of their table.
    pub(super) fn of_graph(self, errors: &[GraphError]) -> Vec<Problem> {
        let mut said = HashSet::new();
        let problems = errors.iter().map(|error| match error {
            GraphError::Cycle { edges } => self.cycle(edges),
            GraphError::SameOutput { first, second } => self.same_output(*first, *second),
            GraphError::SharedPlace { first, second } => self.shared_place(*first, *second),
            GraphError::TooManyEdges { limit } => Problem {
                code: "fleet::too_many_edges",
                message: format!("files imply more than {limit} edges between tasks"),
                labels: Vec::new(),
                help: Some("narrow the globs in `inputs` and `outputs` to what each task reads and makes".into()),
            },
            GraphError::GlobsTooWide => Problem {
                code: "fleet::globs_too_wide",
                message: "too many globs of the fleet could match the same files".into(),
                labels: Vec::new(),
                help: Some("begin globs with a folder: only those of one folder are held against each other".into()),
            },
        });
        problems.filter(|problem| said.insert((problem.code, places(problem)))).collect()
    }

    /// One problem for each table that asks for too much, with the nearest worker.
    pub(super) fn of_places(self, impossible: &[(TaskId, Impossible)]) -> Vec<Problem> {
        let mut said = HashSet::new();
        let problems = impossible.iter().map(|(task, no)| self.impossible(*task, no));
        problems.filter(|problem| said.insert((problem.code, places(problem)))).collect()
    }

    /// One problem for each machine that nothing verifies, where the policy wants it verified.
    pub(super) fn of_identity(self, unknown: &[(WorkerId, Unknown)]) -> Vec<Problem> {
        let problem = |(id, why): &(WorkerId, Unknown)| {
            let worker = &self.fleet.workers[*id].name;
            let host = ["workers", worker.as_str(), "host", "host"].map(Seg::key);
            let policy = ["policies", "security", "require_identity_verification"].map(Seg::key);
            let text = match why {
                Unknown::NoKey { name, .. } => format!("no key is known of {name}"),
                Unknown::NotAsked(why) => why.clone(),
            };
            let labels = [self.label(&host, text), self.label(&policy, "wanted here".to_owned())];
            Problem {
                code: "fleet::unknown_host_key",
                message: format!("nothing verifies the machine of worker `{worker}`"),
                labels: labels.into_iter().flatten().collect(),
                help: Some(match why {
                    Unknown::NoKey { files, .. } => {
                        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
                        let files =
                            if files.is_empty() { "a file of known hosts".to_owned() } else { files.join(", ") };
                        format!(
                            "pin its key with `host_key_fingerprint`, which `ssh-keygen -lf` prints on the machine itself, \
                             or put its key into {files}"
                        )
                    }
                    Unknown::NotAsked(_) => {
                        "pin its key with `host_key_fingerprint`, which needs no look-up".to_owned()
                    }
                }),
            }
        };
        unknown.iter().map(problem).collect()
    }

    /// One problem for each thing that is not on this machine; instances of a matrix may each lack their own.
    pub(super) fn of_preflight(self, lacking: &[(TaskId, Lacking)]) -> Vec<Problem> {
        let mut said = HashSet::new();
        let problem = |(id, lacking): &(TaskId, Lacking)| {
            let task = self.task(*id);
            let entry = |table: &str, name: Option<&str>| {
                let names = [Some(table), name, Some(lacking.field)].into_iter().flatten().map(Seg::key);
                self.map.place(&names.chain([Seg::Index(lacking.index)]).collect::<Vec<_>>())
            };
            let place = entry("tasks", Some(&task.base)).or_else(|| entry("defaults", None));
            Problem {
                code: "fleet::not_there",
                message: format!("task `{}` cannot start here: {}", task.name, lacking.why),
                labels: place
                    .map(|(file, span)| Label { file, span, text: "asked for here".into() })
                    .into_iter()
                    .collect(),
                help: Some("the file is right; this machine lacks what it asks for".into()),
            }
        };
        let problems = lacking.iter().map(problem);
        problems.filter(|problem| said.insert((problem.message.clone(), places(problem)))).collect()
    }

    pub(super) fn of_selection(self, errors: &[SelectError]) -> Vec<Problem> {
        errors.iter().map(|error| self.selection(error)).collect()
    }

    fn cycle(self, edges: &[Edge]) -> Problem {
        // Told in the order of waiting: each task waits for the next, the last for the first.
        let waits: Vec<Edge> = edges.iter().rev().copied().collect();
        let name = |task: TaskId| &*self.task(task).name;
        let labels = waits.iter().take(LABELS_MAX).filter_map(|edge| self.waiting(*edge)).collect();
        let message = if let [only] = waits.as_slice() {
            format!("task `{}` waits for itself", name(only.to))
        } else {
            let mut names: Vec<String> =
                waits.iter().take(NAMES_MAX).map(|edge| format!("`{}`", name(edge.to))).collect();
            if waits.len() > NAMES_MAX {
                names.push(format!("… {} more", waits.len() - NAMES_MAX));
            }
            names.push(format!("`{}`", name(waits[0].to)));
            format!("tasks wait for each other: {}", names.join(" → "))
        };
        let by_file = waits.iter().any(|edge| matches!(edge.kind, EdgeKind::File { .. }));
        let help = match (waits.len(), by_file) {
            (1, true) => "a task cannot read what it writes: take the output out of `inputs` with `!`",
            (_, true) => "remove one of these needs, or narrow the files of one of these tasks",
            _ => "remove one of these needs",
        };
        Problem { code: "fleet::cycle", message, labels, help: Some(help.into()) }
    }

    /// Where it is written that `edge.to` waits.
    fn waiting(self, edge: Edge) -> Option<Label> {
        let (to, from) = (self.task(edge.to), self.task(edge.from));
        match edge.kind {
            EdgeKind::Declared { .. } => {
                let path = self.need(to, from);
                self.label(&path, format!("`{}` needs `{}`", to.name, from.name))
            }
            EdgeKind::File { output, input } => {
                let path = field(&to.base, "inputs", input as usize);
                let made = from.outputs.get(output as usize).map_or("", |text| text);
                let text = if edge.to == edge.from {
                    format!("`{}` reads `{made}`, which it writes", to.name)
                } else {
                    format!("`{}` reads `{made}`, which `{}` writes", to.name, from.name)
                };
                self.label(&path, text)
            }
        }
    }

    /// The entry of `needs` that means `need`: its name, its matrix, or one of its tags.
    fn need(self, task: &Task, need: &Task) -> Vec<Seg> {
        let list = vec![Seg::key("tasks"), Seg::key(&task.base), Seg::key("needs")];
        let Some(node) = self.map.place(&list).and_then(|(file, _)| self.map.tree(file)?.at(&list)) else {
            return list;
        };
        let means = |text: &str| {
            let tag = text.strip_prefix("tag:");
            *text == *need.name || *text == *need.base || tag.is_some_and(|tag| need.tags.iter().any(|t| **t == *tag))
        };
        let found = node.items().position(|item| {
            let written = item.as_str().or_else(|| item.get("task")?.as_str());
            written.is_some_and(means)
        });
        list.into_iter().chain(found.map(Seg::Index)).collect()
    }

    fn same_output(self, first: WritePlace, second: WritePlace) -> Problem {
        let (a, b) = (self.task(first.task), self.task(second.task));
        let text = second.text(self.fleet).unwrap_or_default();
        let same_table = a.base == b.base;
        let mut labels: Vec<Label> = Vec::new();
        labels.extend(self.written(second, if same_table { "every instance writes this" } else { "here again" }));
        if !same_table {
            labels.extend(self.written(first, "first here"));
        }
        Problem {
            code: "fleet::same_output",
            message: format!("tasks `{}` and `{}` both have the output `{text}`", a.name, b.name),
            labels,
            help: Some(match (same_table, b.matrix.first()) {
                (true, Some((axis, _))) => format!("put the instance into the path, for example `${{matrix.{axis}}}`"),
                _ => "give one of them another path: a file has one maker".into(),
            }),
        }
    }

    fn shared_place(self, first: WritePlace, second: WritePlace) -> Problem {
        let (a, b) = (self.task(first.task), self.task(second.task));
        let (there, here) = (first.text(self.fleet).unwrap_or_default(), second.text(self.fleet).unwrap_or_default());
        let same_table = a.base == b.base;
        let what = if there == here { format!("`{here}`") } else { format!("the same files, `{there}` and `{here}`") };
        let mut labels: Vec<Label> = Vec::new();
        if same_table {
            labels.extend(self.written(second, "every instance may write here"));
        } else {
            labels.extend(self.written(second, &format!("`{}` may write here", b.name)));
            labels.extend(self.written(first, &format!("`{}` may write here", a.name)));
        }
        Problem {
            code: "fleet::shared_writes",
            message: format!("tasks `{}` and `{}` may write {what} at the same time", a.name, b.name),
            labels,
            help: Some(match (same_table, b.matrix.first()) {
                (true, Some((axis, _))) => format!("put the instance into the path, for example `${{matrix.{axis}}}`"),
                _ => format!(
                    "let one wait for the other, for example `needs = [\"{}\"]` in `{}`, or keep the paths apart",
                    a.name, b.name
                ),
            }),
        }
    }

    fn impossible(self, task: TaskId, no: &Impossible) -> Problem {
        let task = self.task(task);
        let worker = &self.fleet.workers[no.nearest];
        let lacks: Vec<String> = no.lacks.iter().map(ToString::to_string).collect();
        let asked = [Seg::key("tasks"), Seg::key(&task.base), Seg::key("worker")];
        let own = [Seg::key("workers"), Seg::key(&worker.name)];
        let mut labels: Vec<Label> = Vec::new();
        labels.extend(self.label(&asked, "asked for here".into()));
        if no.lacks.iter().any(|lack| matches!(lack, Lack::Secrets { .. })) {
            let secrets = [Seg::key("tasks"), Seg::key(&task.base), Seg::key("secrets")];
            labels.extend(self.label(&secrets, "what it asks to know".into()));
        }
        labels.extend(self.label(&own, format!("the nearest, lacks {}", all_of(&lacks))));
        let declared = self.map.place(&own).is_some();
        // Nobody has more than `max_trust`, so a worker with more would be no help.
        let most = self.fleet.policies.security.as_deref().map(|security| security.max_trust);
        let bounded =
            |lack: &Lack| matches!(lack, Lack::Trust { wanted, .. } if most.is_some_and(|most| most < *wanted));
        let bounded = no.lacks.iter().any(bounded);
        if bounded {
            let most = [Seg::key("policies"), Seg::key("security"), Seg::key("max_trust")];
            labels.extend(self.label(&most, "no worker has more trust than this".into()));
        }
        Problem {
            code: "fleet::impossible_worker",
            message: format!("no worker can run task `{}`", task.name),
            labels,
            help: Some(if bounded {
                format!("raise `max_trust`, or let task `{}` ask for less", task.name)
            } else if declared {
                format!("give worker `{}` what it lacks, or ask for less", worker.name)
            } else {
                format!(
                    "the file declares no workers, so there is only `{}`, which lacks {}: declare one under [workers]",
                    worker.name,
                    all_of(&lacks)
                )
            }),
        }
    }

    fn selection(self, error: &SelectError) -> Problem {
        let name = |task: TaskId| &*self.task(task).name;
        let place = |task: TaskId, text: String| {
            self.map.key(&[Seg::key("tasks"), Seg::key(&self.task(task).base)]).map(|(file, span)| Label {
                file,
                span,
                text,
            })
        };
        match error {
            SelectError::Unknown { pattern, nearest } => Problem {
                code: "fleet::unknown_selection",
                message: if pattern.starts_with("tag:") || is_glob(pattern) {
                    format!("no task matches `{pattern}`")
                } else {
                    format!("no task is named `{pattern}`")
                },
                labels: Vec::new(),
                help: Some(instead(nearest.as_deref())),
            },
            SelectError::NoMatch { pattern, nearest } => Problem {
                code: "fleet::nothing_matches",
                message: format!("no task matches `{pattern}`"),
                labels: Vec::new(),
                help: Some(instead(nearest.as_deref())),
            },
            SelectError::Handler { pattern, owner } => Problem {
                code: "fleet::handler_selected",
                message: format!("`{pattern}` runs only after a failure of `{}`", name(*owner)),
                labels: place(*owner, format!("names `{pattern}` in `on_failure`")).into_iter().collect(),
                help: Some(format!("run `{}` instead, or take `{pattern}` out of `on_failure`", name(*owner))),
            },
            SelectError::Contradiction { pattern, task, needs } => Problem {
                code: "fleet::excepted_need",
                message: format!(
                    "`{}` is asked for, but needs `{}`, which --except leaves out",
                    name(*task),
                    name(*needs)
                ),
                labels: Vec::new(),
                help: Some(format!("leave out `{pattern}` as well, or neither")),
            },
        }
    }

    fn task(&self, task: TaskId) -> &Task {
        &self.fleet.tasks[task]
    }

    fn written(self, place: WritePlace, text: &str) -> Option<Label> {
        let name = match place.field {
            WriteField::Outputs => "outputs",
            WriteField::WritablePaths => "writable_paths",
        };
        self.label(&field(&self.task(place.task).base, name, place.index as usize), text.into())
    }

    /// The label at a path, or at the nearest thing around it that is written.
    fn label(self, path: &[Seg], text: String) -> Option<Label> {
        let place = (1..=path.len()).rev().find_map(|len| self.map.place(&path[..len]).filter(|_| len > 1));
        place.map(|(file, span)| Label { file, span, text })
    }
}

fn field(task: &str, name: &str, index: usize) -> Vec<Seg> {
    vec![Seg::key("tasks"), Seg::key(task), Seg::key(name), Seg::Index(index)]
}

/// What to type instead of a word that names nothing.
fn instead(nearest: Option<&str>) -> String {
    nearest.map_or_else(|| "`fleet list` shows what there is".into(), |nearest| format!("did you mean `{nearest}`?"))
}

fn places(problem: &Problem) -> Vec<(crate::spec::FileId, usize)> {
    let mut places: Vec<_> = problem.labels.iter().map(|label| (label.file, label.span.start)).collect();
    places.sort_unstable();
    places
}

/// `a`, `a and b`, `a, b and c`.
fn all_of(texts: &[String]) -> String {
    match texts {
        [] => String::new(),
        [only] => only.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}
