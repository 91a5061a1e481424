//! Properties of the graph against slow and obvious versions of the same, on small random fleets; sizes that only
//! linear code gets through; and one table for each kind of mistake.

use std::collections::{BTreeSet, VecDeque};

use super::select::{Part, Request, SelectError, select};
use super::testing::{Random, fleet, id, list, numbered};
use super::*;
use crate::model::task::is_glob;

/// Edges at random, as pairs; acyclic ones go from lower to higher numbers, renumbered.
fn random(seed: u64, tasks: usize, edges: usize, acyclic: bool) -> (Fleet, BTreeSet<(usize, usize)>) {
    let mut random = Random(seed);
    let mut number: Vec<usize> = (0..tasks).collect();
    for at in (1..tasks).rev() {
        number.swap(at, random.below(at + 1));
    }
    let mut pairs = BTreeSet::new();
    for _ in 0..edges {
        let (a, b) = (random.below(tasks), random.below(tasks));
        match (acyclic, a == b) {
            (true, true) => {}
            (true, false) => drop(pairs.insert((number[a.min(b)], number[a.max(b)]))),
            (false, _) => drop(pairs.insert((a, b))),
        }
    }
    let mut fleet = numbered(tasks);
    for task in 0..tasks {
        let needs: Vec<usize> = pairs.iter().filter(|(_, to)| *to == task).map(|(from, _)| *from).collect();
        fleet = fleet.needs(task, &needs);
    }
    (fleet, pairs)
}

/// The length of the shortest cycle, by a search from every task.
fn girth(tasks: usize, pairs: &BTreeSet<(usize, usize)>) -> Option<usize> {
    let through = |start: usize| {
        let mut distance = vec![None; tasks];
        let mut open = VecDeque::from([(start, 0)]);
        while let Some((task, depth)) = open.pop_front() {
            for (_, to) in pairs.iter().filter(|(from, _)| *from == task) {
                if *to == start {
                    return Some(depth + 1);
                }
                if distance[*to].replace(depth).is_none() {
                    open.push_back((*to, depth + 1));
                }
            }
        }
        None
    };
    (0..tasks).filter_map(through).min()
}

#[test]
fn the_order_respects_every_need() {
    for seed in 0..500 {
        let (fleet, pairs) = random(seed, 12, 20, true);
        let graph = Graph::of(&fleet).unwrap_or_else(|errors| panic!("seed {seed}: {errors:?}"));
        let at = |task: usize| graph.order().iter().position(|t| *t == id(task)).expect("every task is in the order");
        assert!(pairs.iter().all(|(from, to)| at(*from) < at(*to)), "seed {seed}");
        assert_eq!(graph.order().len(), 12);
        for task in fleet.tasks.ids() {
            let needs: Vec<_> = graph.needs(task).iter().map(|edge| (edge.from, edge.to)).collect();
            let expected: Vec<_> = pairs.iter().filter(|p| id(p.1) == task).map(|p| (id(p.0), id(p.1))).collect();
            assert_eq!(needs, expected, "seed {seed}");
            let after: BTreeSet<_> = graph.dependents(task).map(|edge| edge.to).collect();
            let expected: BTreeSet<_> = pairs.iter().filter(|p| id(p.0) == task).map(|p| id(p.1)).collect();
            assert_eq!(after, expected, "seed {seed}");
        }
    }
}

#[test]
fn the_cycle_reported_is_one_and_none_is_shorter() {
    for seed in 0..2_000 {
        let tasks = 3 + usize::try_from(seed % 6).unwrap();
        let (fleet, pairs) = random(seed, tasks, tasks + 2, false);
        let girth = girth(tasks, &pairs);
        let Err(errors) = Graph::of(&fleet) else {
            assert_eq!(girth, None, "seed {seed}");
            continue;
        };
        let mut shortest = None;
        for error in errors {
            let GraphError::Cycle { edges } = error else { panic!("seed {seed}: {error:?}") };
            for (edge, next) in edges.iter().zip(edges.iter().cycle().skip(1)) {
                assert_eq!(edge.to, next.from, "seed {seed}");
                assert!(pairs.contains(&(edge.from.index(), edge.to.index())), "seed {seed}");
            }
            shortest = shortest.into_iter().chain([edges.len()]).min();
        }
        assert_eq!(shortest, girth, "seed {seed}");
    }
}

#[test]
fn each_knot_has_its_own_cycle() {
    let fleet = numbered(5).needs(0, &[1]).needs(1, &[0]).needs(2, &[1, 3]).needs(3, &[2]).needs(4, &[3]);
    let errors = Graph::of(&fleet).unwrap_err();
    let lengths: Vec<_> = errors
        .iter()
        .map(|error| match error {
            GraphError::Cycle { edges } => edges.iter().map(|edge| edge.from.index()).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lengths, [[0, 1], [2, 3]]);
}

#[test]
fn rank_is_the_longest_path_to_the_end() {
    fn longest(task: usize, pairs: &BTreeSet<(usize, usize)>, within: &dyn Fn(usize) -> bool) -> u64 {
        let after = pairs.iter().filter(|(from, to)| *from == task && within(*to));
        after.map(|(_, to)| longest(*to, pairs, within)).max().unwrap_or(0) + cost(id(task))
    }
    fn cost(task: TaskId) -> u64 {
        1 + (task.index() as u64 * 7) % 5
    }
    for seed in 0..300 {
        let (fleet, pairs) = random(seed, 9, 14, true);
        let graph = Graph::of(&fleet).unwrap();
        let rank = graph.rank(cost);
        for (task, rank) in rank.iter() {
            assert_eq!(*rank, longest(task.index(), &pairs, &|_| true), "seed {seed}");
        }
        let request = Request { patterns: vec!["t3".into(), "t5".into()], ..Request::default() };
        let selection = select(&fleet, &graph, &request).unwrap();
        let path = graph.critical_path(cost, &selection);
        let within = |task: usize| selection.contains(id(task));
        let best = selection.tasks().map(|task| longest(task.index(), &pairs, &within)).max().unwrap();
        assert_eq!(path.iter().map(|task| cost(*task)).sum::<u64>(), best, "seed {seed}");
        assert!(path.windows(2).all(|pair| pairs.contains(&(pair[0].index(), pair[1].index()))), "seed {seed}");
    }
}

#[test]
fn a_selection_is_closed_under_needs_and_no_larger() {
    for seed in 0..500 {
        let (fleet, pairs) = random(seed, 10, 14, true);
        let graph = Graph::of(&fleet).unwrap();
        let mut random = Random(seed);
        let targets: BTreeSet<usize> = (0..2).map(|_| random.below(10)).collect();
        let patterns = targets.iter().map(|task| format!("t{task}")).collect();
        let selection = select(&fleet, &graph, &Request { patterns, except: vec![] }).unwrap();
        let mut expected = targets.clone();
        while let Some((from, _)) = pairs.iter().find(|(from, to)| expected.contains(to) && !expected.contains(from)) {
            expected.insert(*from);
        }
        assert_eq!(selection.tasks().map(TaskId::index).collect::<BTreeSet<_>>(), expected, "seed {seed}");
        assert_eq!(selection.targets.iter().map(|t| t.index()).collect::<BTreeSet<_>>(), targets, "seed {seed}");
        for task in selection.tasks() {
            if let Part::NeededBy(by) = selection.part(task) {
                assert!(pairs.contains(&(task.index(), by.index())) && selection.contains(by), "seed {seed}");
            }
        }
    }
}

#[test]
fn implied_edges_are_those_of_naive_matching() {
    let paths = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "e/a"];
    let globs = ["*", "d/*", "d/**", "**/a", "**", "d/*/a", "e/?", "{a,b}", "!a", "!d/**"];
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut fleet = numbered(6);
        let mut free = paths.to_vec();
        for task in 0..6 {
            // The second half only reads, so that no cycle hides the edges.
            let mut inputs: Vec<&str> = (0..random.below(3)).map(|_| globs[random.below(globs.len())]).collect();
            inputs.extend((0..random.below(3)).map(|_| paths[random.below(paths.len())]));
            if task < 3 {
                let output = free.swap_remove(random.below(free.len()));
                // Nor does one output lie in another, which two tasks may not have.
                free.retain(|path| {
                    !path.starts_with(&format!("{output}/")) && !output.starts_with(&format!("{path}/"))
                });
                fleet = fleet.files(task, &[], &[output]);
            } else {
                fleet = fleet.files(task, &inputs, &[]);
            }
        }
        let matches = |glob: &str, path: &str| {
            let glob = globset::GlobBuilder::new(glob).literal_separator(true).build().unwrap();
            glob.compile_matcher().is_match(path)
        };
        let holds = |folder: &str, path: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        // One of them may be a folder that holds the other, or all that the glob matches.
        let related = |input: &str, path: &str| {
            let fixed = input.find(['*', '?', '{']).map_or(input, |at| &input[..at]);
            matches(input, path) || holds(path, fixed) || fixed == input && holds(input, path)
        };
        let mut expected = BTreeSet::new();
        for (to, task) in fleet.tasks.iter() {
            let inputs = task.inputs.as_deref().unwrap();
            for (from, maker) in fleet.tasks.iter() {
                let reads = |path: &str| {
                    inputs.iter().any(|i| !i.starts_with('!') && related(i, path))
                        && !inputs.iter().any(|i| i.strip_prefix('!').is_some_and(|i| matches(i, path)))
                };
                if maker.outputs.iter().any(|path| reads(path)) {
                    expected.insert((from, to));
                }
            }
        }
        let graph = Graph::of(&fleet).unwrap_or_else(|errors| panic!("seed {seed}: {errors:?}"));
        assert_eq!(graph.edges().iter().map(|e| (e.from, e.to)).collect::<BTreeSet<_>>(), expected, "seed {seed}");
    }
}

#[test]
fn globs_on_both_sides_make_an_edge_when_they_can_meet() {
    let edges = |output: &[&str], input: &[&str]| {
        let fleet = numbered(2).files(0, &[], output).files(1, input, &[]);
        Graph::of(&fleet).unwrap().edges().len()
    };
    assert_eq!(edges(&["gen/*.rs"], &["gen/**"]), 1);
    assert_eq!(edges(&["gen/**"], &["gen/a/*.rs"]), 1);
    assert_eq!(edges(&["*.o"], &["**/*.rs"]), 0);
    assert_eq!(edges(&["gen/*.rs"], &["gen/**", "!gen/**"]), 0);
    assert_eq!(edges(&["gen/**", "!gen/x"], &["gen/x"]), 0);
    assert_eq!(edges(&["gen/**"], &["gen/x", "gen/y"]), 1);
    assert_eq!(edges(&["a/**"], &["ab/**"]), 0);
}

#[test]
fn a_written_need_hides_the_file_edge() {
    let fleet = numbered(2).files(0, &[], &["x"]).files(1, &["x"], &[]).needs(1, &[0]);
    let graph = Graph::of(&fleet).unwrap();
    assert!(matches!(graph.needs(id(1)), [Edge { kind: EdgeKind::Declared { .. }, .. }]));
}

#[test]
fn a_handler_has_no_file_edges() {
    let fleet = numbered(3).files(0, &[], &["log"]).files(1, &["log"], &["note"]).files(2, &["note"], &[]);
    let graph = Graph::of(&fleet.on_failure(0, &[1])).unwrap();
    assert_eq!(graph.edges(), []);
    assert_eq!(graph.owners(id(1)), [id(0)]);
}

#[test]
fn two_tasks_with_one_output_are_refused() {
    let same = |fleet: &Fleet| match Graph::of(fleet).unwrap_err().as_slice() {
        [GraphError::SameOutput { first, second }] => {
            (first.task.index(), first.index, second.task.index(), second.index)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(same(&numbered(2).files(0, &[], &["a", "x"]).files(1, &[], &["x"])), (0, 1, 1, 0));
    // Ordered or not, and globs as well.
    assert_eq!(same(&numbered(2).files(0, &[], &["d/*"]).files(1, &[], &["d/*"]).needs(1, &[0])), (0, 0, 1, 0));
    // Unless only one of them runs here.
    let fleet = numbered(3).files(0, &[], &["x"]).files(1, &[], &["x"]).files(2, &["x"], &[]);
    let graph = Graph::of(&fleet.with(0, |task| task.unwanted = Some("os is linux".into()))).unwrap();
    assert_eq!(graph.needs(id(2)).len(), 2);
}

#[test]
fn unordered_tasks_do_not_write_one_place() {
    let shared = |fleet: &Fleet| match Graph::of(fleet) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .iter()
            .map(|error| match error {
                GraphError::SharedPlace { first, second } => (first.task.index(), second.task.index()),
                other => panic!("{other:?}"),
            })
            .collect(),
    };
    let two = || numbered(3).writable(0, &["target"]).writable(1, &["target"]);
    assert_eq!(shared(&two()), [(0, 1)]);
    assert_eq!(shared(&two().needs(1, &[0])), []);
    assert_eq!(shared(&two().needs(1, &[2]).needs(2, &[0])), []);
    assert_eq!(shared(&two().with(0, |task| task.unwanted = Some("no".into()))), []);
    for (first, second, expected) in [
        ("target", "target/debug", true),
        ("target/debug", "target", true),
        ("target/**", "target/a/*.o", true),
        ("target/*.a", "target/*.o", false),
        ("a", "b", false),
        (".", "b/c", true),
        ("out/*/x", "out/debug", true),
        ("out", "outer", false),
    ] {
        let found = shared(&numbered(2).writable(0, &[first]).writable(1, &[second]));
        assert_eq!(!found.is_empty(), expected, "{first} and {second}");
        let found = shared(&numbered(2).files(0, &[], &[]).writable(0, &[first]).files(1, &[], &["b/c"]));
        assert_eq!(!found.is_empty(), first == "." || first == "b", "{first} and an output");
    }
    let fleet = numbered(2).writable(0, &["out", "!out/b"]).files(1, &[], &["out/b"]);
    assert_eq!(shared(&fleet), []);
}

#[test]
fn a_handler_writes_after_its_task_and_beside_the_rest() {
    let fleet = || numbered(3).writable(0, &["d"]).writable(1, &["d"]).on_failure(0, &[1]);
    assert!(Graph::of(&fleet()).is_ok());
    assert!(Graph::of(&fleet().writable(2, &["d"]).needs(0, &[2])).is_ok());
    assert!(Graph::of(&fleet().writable(2, &["d"]).needs(2, &[0])).is_err());
}

#[test]
fn unordered_writers_are_found_as_a_naive_search_finds_them() {
    for seed in 0..1_000 {
        let (mut fleet, pairs) = random(seed, 7, 9, true);
        let mut random = Random(seed ^ 0xabc);
        let places = ["d", "d/a", "d/a/x", "e", "d/*", "e/**"];
        let chosen: Vec<&str> = (0..7).map(|_| places[random.below(places.len())]).collect();
        for (task, place) in chosen.iter().enumerate().filter(|(task, _)| task % 2 == 0) {
            fleet = fleet.writable(task, &[place]);
        }
        let before = |from: usize, to: usize| {
            let mut reached = BTreeSet::from([from]);
            while let Some((_, next)) = pairs.iter().find(|(a, b)| reached.contains(a) && !reached.contains(b)) {
                reached.insert(*next);
            }
            reached.contains(&to)
        };
        let meet = |a: &str, b: &str| {
            let glob = |text: &str| if is_glob(text) { text.to_owned() } else { format!("{text}{{,/**}}") };
            pattern::Pattern::glob(&glob(a)).meets(&pattern::Pattern::glob(&glob(b)))
        };
        let writers = [0, 2, 4, 6];
        let clash = writers
            .iter()
            .flat_map(|a| writers.iter().map(move |b| (*a, *b)))
            .any(|(a, b)| a < b && meet(chosen[a], chosen[b]) && !before(a, b) && !before(b, a));
        assert_eq!(Graph::of(&fleet).is_err(), clash, "seed {seed}: {chosen:?}");
    }
}

fn chosen(fleet: &Fleet, patterns: &[&str], except: &[&str]) -> Result<Vec<String>, Vec<SelectError>> {
    let graph = Graph::of(fleet).unwrap();
    let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    let selection = select(fleet, &graph, &Request { patterns: texts(patterns), except: texts(except) })?;
    Ok(selection.tasks().map(|task| fleet.tasks[task].name.to_string()).collect())
}

#[test]
fn patterns_name_tasks_matrices_globs_and_tags() {
    let fleet = fleet(&["build", "lint:x86", "lint:arm", "test-a", "test-b", "notify"])
        .needs(3, &[0])
        .on_failure(3, &[5])
        .with(1, |task| task.tags = list(&["ci"]));
    let ok = |patterns: &[&str], except: &[&str]| chosen(&fleet, patterns, except).unwrap();
    assert_eq!(ok(&["build"], &[]), ["build"]);
    assert_eq!(ok(&["lint"], &[]), ["lint:x86", "lint:arm"]);
    assert_eq!(ok(&["lint:arm"], &[]), ["lint:arm"]);
    assert_eq!(ok(&["test*"], &[]), ["build", "test-a", "test-b"]);
    assert_eq!(ok(&["*arm"], &[]), ["lint:arm"]);
    assert_eq!(ok(&["tag:ci"], &[]), ["lint:x86"]);
    assert_eq!(ok(&[], &[]), ["build", "lint:x86", "lint:arm", "test-a", "test-b"]);
    assert_eq!(ok(&["*"], &["lint"]), ["build", "test-a", "test-b"]);
    assert_eq!(ok(&[], &["build"]), ["lint:x86", "lint:arm", "test-b"]);
    assert_eq!(ok(&["build"], &["build"]), [""; 0]);

    let err = |patterns: &[&str], except: &[&str]| chosen(&fleet, patterns, except).unwrap_err();
    let unknown = |pattern: &str, nearest: Option<&str>| SelectError::Unknown {
        pattern: pattern.into(),
        nearest: nearest.map(Into::into),
    };
    assert_eq!(err(&["biuld", "zzz"], &[]), [unknown("biuld", Some("build")), unknown("zzz", None)]);
    let no_match = |pattern: &str, nearest: Option<&str>| SelectError::NoMatch {
        pattern: pattern.into(),
        nearest: nearest.map(Into::into),
    };
    assert_eq!(err(&["tag:cu"], &[]), [no_match("tag:cu", Some("tag:ci"))]);
    assert_eq!(err(&[], &["tag:cu"]), [unknown("tag:cu", Some("tag:ci"))]);
    assert_eq!(err(&["ci"], &[]), [unknown("ci", Some("tag:ci"))]);
    assert_eq!(err(&["x*"], &["buidl"]), [unknown("buidl", Some("build")), no_match("x*", None)]);
    assert_eq!(err(&["notify"], &[]), [SelectError::Handler { pattern: "notify".into(), owner: id(3) }]);
    assert_eq!(
        err(&["test-a"], &["build"]),
        [SelectError::Contradiction { pattern: "test-a".into(), task: id(3), needs: id(0) }]
    );
}

#[test]
fn handlers_join_with_the_task_they_handle() {
    let fleet = numbered(6).on_failure(0, &[1]).on_failure(1, &[2]).needs(1, &[3]).on_failure(5, &[4]);
    let graph = Graph::of(&fleet).unwrap();
    let request = Request { patterns: vec!["t0".into()], except: vec![] };
    let selection = select(&fleet, &graph, &request).unwrap();
    let parts: Vec<Part> = fleet.tasks.ids().map(|task| selection.part(task)).collect();
    let expected =
        [Part::Target, Part::HandlerOf(id(0)), Part::HandlerOf(id(1)), Part::NeededBy(id(1)), Part::Out, Part::Out];
    assert_eq!(parts, expected);
    assert_eq!(selection.handlers().collect::<Vec<_>>(), [id(1), id(2)]);
}

/// Bounded by their size: quadratic time or a recursion would not end or overflow the test's stack.
#[test]
fn a_chain_of_a_hundred_thousand_is_nothing_special() {
    let count = 100_000;
    let mut fleet = numbered(count);
    for task in 1..count {
        fleet = fleet.needs(task, &[task - 1]);
    }
    let graph = Graph::of(&fleet).unwrap();
    assert_eq!(graph.rank(|_| 1)[id(0)], count as u64);
    let last = Request { patterns: vec![format!("t{}", count - 1)], except: vec![] };
    let selection = select(&fleet, &graph, &last).unwrap();
    assert_eq!(graph.critical_path(|_| 1, &selection).len(), count);

    let ring = fleet.needs(0, &[count - 1]);
    match Graph::of(&ring).unwrap_err().as_slice() {
        [GraphError::Cycle { edges }] => assert_eq!(edges.len(), count),
        other => panic!("{} errors", other.len()),
    }
}

#[test]
fn a_ladder_of_rings_is_searched_within_its_bound() {
    let count = 60_000;
    let mut fleet = numbered(count);
    for task in 1..count {
        fleet = fleet.needs(task, &[task - 1]);
    }
    // Every ring passes the long way round, and each has a chord, so no task falls out early.
    let fleet = (0..100).fold(fleet, |fleet, task| fleet.needs(task, &[count - 1 - task]));
    assert!(matches!(Graph::of(&fleet).unwrap_err().as_slice(), [GraphError::Cycle { .. }, ..]));
}

#[test]
fn ten_thousand_files_in_a_row_make_a_chain() {
    let mut fleet = numbered(10_000);
    for task in 0..10_000 {
        let (input, output) = (format!("out/{}/f", task.max(1) - 1), format!("out/{task}/f"));
        let inputs: &[&str] = if task == 0 { &["src/**"] } else { &[&input] };
        fleet = fleet.files(task, inputs, &[&output]).writable(task, &["target"]);
    }
    let graph = Graph::of(&fleet).unwrap();
    assert_eq!(graph.edges().len(), 9_999);
    assert_eq!(graph.order().last(), Some(&id(9_999)));
}

#[test]
fn ten_thousand_globs_are_held_only_against_what_is_near() {
    let mut fleet = numbered(10_000);
    for task in 0..5_000 {
        let (output, input) = (format!("pkg/{task}/gen/*.rs"), format!("pkg/{task}/**/*.rs"));
        fleet = fleet.files(2 * task, &[], &[&output]).files(2 * task + 1, &[&input], &[]);
    }
    assert_eq!(Graph::of(&fleet).unwrap().edges().len(), 5_000);
}
