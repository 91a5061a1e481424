//! Refuses two tasks that may write one place when nothing makes one of them wait for the other.
//!
//! A place is an entry of `outputs` or `writable_paths`; a path stands for all below it too. Places
//! that can meet are found as in `files`, by folder. Tasks that share a place are put in order: each must come after
//! the one before it, and the rest follows, so `n` tasks cost `n` questions and not `n²`. Whether one comes after
//! another is asked for sixty-four pairs in one sweep over the order.
//!
//! A handler runs after the task whose failure starts it, and beside everything else.

use std::collections::{HashMap, HashSet};

use super::files::positive;
use super::pattern::{Pattern, STEPS_MAX, Steps, folders};
use super::{Graph, GraphError, WriteField, WritePlace};
use crate::id::{IdMap, TaskId};
use crate::model::Fleet;
use crate::model::task::is_glob;

/// A distinct text of the lists.
struct Place<'a> {
    text: &'a str,
    /// `None` for a path.
    glob: Option<Pattern>,
    /// Whether it stands for what is below it, too.
    folder: bool,
    writers: Vec<Writer>,
}

/// Who writes there, and where in the order of the graph it stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Writer {
    at: u32,
    place: WritePlace,
}

/// Most pairs of places at which one file could be.
const PAIRS_MAX: usize = 500_000;

/// Every two places that two unordered tasks may write, one error for a pair of places.
pub(super) fn unordered(fleet: &Fleet, graph: &Graph) -> Vec<GraphError> {
    let at = positions(graph);
    let places = places(fleet, graph, &at);
    let mut questions = Vec::new();
    for place in &places {
        let neighbours = place.writers.windows(2).map(|pair| (pair[0], pair[1]));
        // Equal outputs were refused already, ordered or not.
        let outputs = |writer: &Writer| writer.place.field == WriteField::Outputs;
        questions.extend(neighbours.filter(|(first, second)| !(outputs(first) && outputs(second))));
    }
    let Some(pairs) = meeting(&places) else { return vec![GraphError::GlobsTooWide] };
    for (a, b) in pairs {
        let (a, b) = (&places[a as usize].writers, &places[b as usize].writers);
        let (few, many) = if a.len() < b.len() { (a, b) } else { (b, a) };
        for &writer in few {
            let next = many.partition_point(|other| other < &writer);
            questions.extend(next.checked_sub(1).map(|before| (many[before], writer)));
            questions.extend(many.get(next).map(|after| (writer, *after)));
        }
    }
    questions.retain(|(first, second)| first.place.task != second.place.task);
    let answers = comes_after(graph, &at, &questions);
    let mut found: Vec<(WritePlace, WritePlace)> = questions
        .iter()
        .zip(answers)
        .filter(|((first, second), ordered)| !ordered && !excluded(fleet, first.place, second.place))
        .map(|((first, second), _)| (first.place.min(second.place), first.place.max(second.place)))
        .collect();
    found.sort_unstable();
    let mut said = HashSet::new();
    found.retain(|(first, second)| said.insert((first.text(fleet), second.text(fleet))));
    found.into_iter().map(|(first, second)| GraphError::SharedPlace { first, second }).collect()
}

/// Where each task stands in the order.
fn positions(graph: &Graph) -> IdMap<TaskId, u32> {
    let mut at: IdMap<TaskId, u32> = vec![0; graph.order().len()].into();
    for (&task, position) in graph.order().iter().zip(0..) {
        at[task] = position;
    }
    at
}

fn places<'a>(fleet: &'a Fleet, graph: &Graph, at: &IdMap<TaskId, u32>) -> Vec<Place<'a>> {
    let mut places: Vec<Place<'a>> = Vec::new();
    let mut by_text: HashMap<&str, u32> = HashMap::new();
    for (task, declared) in fleet.tasks.iter().filter(|(_, task)| task.unwanted.is_none()) {
        // A handler has its place behind the tasks whose failure it waits for.
        let behind = graph.owners(task).iter().map(|owner| at[*owner]).fold(at[task], u32::max);
        let lists = [
            (WriteField::Outputs, &*declared.outputs),
            (WriteField::WritablePaths, declared.writable_paths.as_deref().unwrap_or_default()),
        ];
        for (field, list) in lists {
            for (text, index) in positive(list) {
                let text = if text == "." { "" } else { text.trim_end_matches('/') };
                let folder = !is_glob(text);
                let found = *by_text.entry(text).or_insert_with(|| {
                    let glob = is_glob(text).then(|| Pattern::glob(text));
                    places.push(Place { text, glob, folder, writers: Vec::new() });
                    u32::try_from(places.len() - 1).expect("the size of a fleet file bounds its lists")
                });
                let place = &mut places[found as usize];
                place.folder |= folder;
                place.writers.push(Writer { at: behind, place: WritePlace { task, field, index } });
            }
        }
    }
    for place in &mut places {
        place.writers.sort_unstable();
    }
    places
}

/// Pairs of different places at which one file could be; `None` when there are too many, or too many to look at.
fn meeting(places: &[Place<'_>]) -> Option<Vec<(u32, u32)>> {
    let mut paths: HashMap<&str, u32> = HashMap::new();
    let mut globs: HashMap<&str, Vec<u32>> = HashMap::new();
    for (place, index) in places.iter().zip(0u32..) {
        match &place.glob {
            None if place.folder => drop(paths.insert(place.text, index)),
            None => {}
            Some(glob) => globs.entry(glob.folder()).or_default().push(index),
        }
    }
    if paths.is_empty() && globs.is_empty() {
        return Some(Vec::new());
    }
    let steps = Steps::new(STEPS_MAX);
    let mut pairs = Vec::new();
    for (place, index) in places.iter().zip(0u32..) {
        let folder = place.glob.as_ref().map_or(place.text, Pattern::folder);
        // A writable folder holds all that is below it.
        let own = place.glob.as_ref().map(|_| folder).into_iter();
        pairs.extend(own.chain(folders(folder)).filter_map(|above| paths.get(above)).map(|&other| (other, index)));
        // Globs of this folder and of those above.
        let own = place.glob.as_ref().map(|_| folder).into_iter();
        let around = own.chain(folders(folder)).filter_map(|above| globs.get(above)).flatten().copied();
        for other in around.filter(|&other| other != index) {
            let glob = places[other as usize].glob.as_ref().expect("only globs are listed by folder");
            let meets = match &place.glob {
                // Of two globs in one folder each sees the other: once is enough.
                Some(mine) if mine.folder() == glob.folder() && other > index => false,
                Some(mine) => glob.meets_within(mine, &steps),
                None => {
                    glob.meets_within(&Pattern::literal(place.text), &steps)
                        || place.folder && glob.meets_within(&Pattern::below(place.text), &steps)
                }
            };
            if meets {
                pairs.push((other, index));
            }
            if steps.are_over() || pairs.len() > PAIRS_MAX {
                return None;
            }
        }
    }
    Some(pairs)
}

/// Whether the `!` entries of one list take out all of the other's place.
fn excluded(fleet: &Fleet, first: WritePlace, second: WritePlace) -> bool {
    let takes_out = |place: WritePlace, other: WritePlace| {
        let task = &fleet.tasks[place.task];
        let list = match place.field {
            WriteField::Outputs => &*task.outputs,
            WriteField::WritablePaths => task.writable_paths.as_deref().unwrap_or_default(),
        };
        let text = other.text(fleet).unwrap_or_default();
        list.iter().filter_map(|entry| entry.strip_prefix('!')).map(Pattern::glob).any(|exclude| {
            if is_glob(text) {
                exclude.covers(&Pattern::glob(text))
            } else if other.field == WriteField::WritablePaths {
                exclude.covers(&Pattern::below(text))
            } else {
                exclude.meets(&Pattern::literal(text))
            }
        })
    };
    takes_out(first, second) || takes_out(second, first)
}

/// For each pair whether the second task runs only after the first has ended.
fn comes_after(graph: &Graph, at: &IdMap<TaskId, u32>, questions: &[(Writer, Writer)]) -> Vec<bool> {
    let mut answers = vec![false; questions.len()];
    // (from, to, which question), along the order, so that a sweep is short.
    let mut asked: Vec<(u32, u32, u32)> = Vec::new();
    for ((first, second), index) in questions.iter().zip(0u32..) {
        let (first, second) = (first.place.task, second.place.task);
        for (from, to) in [(first, second), (second, first)] {
            // Behind a handler is only what is behind its task: the handler itself may never run.
            if graph.is_handler(from) {
                continue;
            }
            let owner = match graph.owners(to) {
                [owner] => Some(*owner),
                _ => None,
            };
            answers[index as usize] |= owner == Some(from);
            let ends = [Some(to), owner].into_iter().flatten().map(|end| (at[from], at[end], index));
            asked.extend(ends.filter(|(start, end, _)| start < end));
        }
    }
    asked.sort_unstable();
    let mut reached: Vec<u64> = vec![0; graph.order().len()];
    for batch in asked.chunks(64) {
        let first = batch.iter().map(|(start, ..)| *start).min().unwrap_or(0) as usize;
        let last = batch.iter().map(|(_, end, _)| *end).max().unwrap_or(0) as usize;
        reached[first..=last].fill(0);
        for ((start, ..), bit) in batch.iter().zip(0..) {
            reached[*start as usize] |= 1 << bit;
        }
        for position in first..=last {
            let needs = graph.needs(graph.order()[position]).iter().map(|edge| at[edge.from] as usize);
            let from_needs = needs.filter(|need| *need >= first).fold(0, |bits, need| bits | reached[need]);
            reached[position] |= from_needs;
        }
        for ((_, end, question), bit) in batch.iter().zip(0..) {
            answers[*question as usize] |= reached[*end as usize] & (1 << bit) != 0;
        }
    }
    answers
}
