//! A plan comes back as it was, and only as it was. That it is never served where the file says something else is told
//! through the binary, in `tests/run/kept_plan.rs`; here is that it is served at all, and what damage does.

use std::collections::HashMap;
use std::fmt::Write as _;

use tempfile::TempDir;

use super::*;
use crate::cli::load;

fn facts() -> Facts {
    Facts::new(2, HashMap::new(), |_| None)
}

/// A workspace with a state directory and as many tasks as it takes.
fn workspace() -> (TempDir, spec::Request) {
    let folder = tempfile::tempdir().unwrap();
    StateDir::of(folder.path()).create().unwrap();
    let mut text = "version = 1\nname = \"kept\"\n".to_owned();
    for task in 0..TASKS_MIN {
        write!(text, "[tasks.t{task}]\nrun = \"true\"\ninputs = [\"in/{task}\"]\noutputs = [\"out/{task}\"]\n")
            .unwrap();
    }
    let file = folder.path().join("fleet.toml");
    fs::write(&file, text).unwrap();
    (folder, spec::Request { file, set: Vec::new(), facts: facts() })
}

fn read_and_keep(request: &spec::Request) -> (Key, Fleet, Graph) {
    let key = Key::of(request).unwrap();
    let spec::Loaded { fleet, map, looks } = spec::load(request).unwrap();
    let graph = load::check(&fleet, &map).unwrap();
    key.keep(&looks, &fleet, &graph);
    (key, fleet, graph)
}

fn debug(plan: &(Fleet, Graph)) -> String {
    format!("{plan:#?}")
}

#[test]
fn every_valid_fleet_comes_back_as_it_was() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fleets/valid");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let Ok(spec::Loaded { fleet, map, .. }) = spec::load(&spec::Request { file, set: Vec::new(), facts: facts() })
        else {
            continue;
        };
        let graph = load::check(&fleet, &map).unwrap();
        let mut bytes = Vec::new();
        fleet::put(&fleet, &graph, &mut bytes);
        let plan = (fleet, graph);
        assert_eq!(debug(&fleet::take(&bytes).unwrap()), debug(&plan), "{}", plan.0.file.display());
        bytes.push(0);
        assert!(fleet::take(&bytes).is_none(), "nothing may stand behind it");
        seen += 1;
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn a_plan_is_served_as_long_as_nothing_changes() {
    let (_folder, request) = workspace();
    assert!(Key::of(&request).unwrap().load(&request.facts).is_none(), "there is none yet");
    let (key, fleet, graph) = read_and_keep(&request);
    let plan = (fleet, graph);
    // At first by the content of the file, which is as young as the plan; later by its stamp.
    for _ in 0..3 {
        assert_eq!(debug(&key.load(&request.facts).map(|(fleet, graph, _)| (fleet, graph)).unwrap()), debug(&plan));
    }
}

#[test]
fn the_command_takes_it_and_reads_the_file_only_for_places() {
    let (folder, request) = workspace();
    let source = crate::cli::args::Source { file: Some(request.file.clone()), set: Vec::new() };
    let load = || load::load(&source, &[], &[], folder.path(), facts()).unwrap();
    let mut first = load();
    assert!(first.is_unkept());
    first.keep();
    let second = load();
    assert!(!second.is_unkept());
    let path = [crate::spec::Seg::key("name")];
    assert_eq!(second.origins.map().origin_at(&path), first.origins.map().origin_at(&path));
}

#[test]
fn small_fleets_and_folders_without_state_are_left_alone() {
    let (folder, request) = workspace();
    let text = fs::read_to_string(&request.file).unwrap();
    fs::write(&request.file, text.rsplit_once("[tasks.").unwrap().0).unwrap();
    read_and_keep(&request);
    assert!(!folder.path().join(".fleet/cache").exists(), "one task too few");
    fs::write(&request.file, text).unwrap();
    fs::remove_dir_all(folder.path().join(".fleet")).unwrap();
    read_and_keep(&request);
    assert!(!folder.path().join(".fleet").exists(), "keeping makes no state directory");
}

#[test]
fn a_damaged_plan_is_none() {
    let (_folder, request) = workspace();
    let (key, ..) = read_and_keep(&request);
    let path = key.folder().join(key.name());
    let good = fs::read(&path).unwrap();
    // On the bytes, and at some places also through the file.
    for at in 0..good.len() {
        for bit in [0, 3, 7] {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert!(whole(&bad).is_none(), "bit {bit} of byte {at}");
        }
        assert!(whole(&good[..at]).is_none(), "cut at {at}");
    }
    for at in [0, MARK.len(), MARK.len() + 70, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        assert!(key.load(&request.facts).is_none(), "byte {at}");
        fs::write(&path, &good[..at]).unwrap();
        assert!(key.load(&request.facts).is_none(), "cut at {at}");
    }
    fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    assert!(key.load(&request.facts).is_none());
    fs::write(&path, good).unwrap();
    assert!(key.load(&request.facts).is_some());
}

/// Were the digest to miss a damage, what is read must still hold together: no id that names nothing.
#[test]
fn bytes_that_are_no_plan_never_panic() {
    let (_folder, request) = workspace();
    let (_, fleet, graph) = read_and_keep(&request);
    let mut good = Vec::new();
    fleet::put(&fleet, &graph, &mut good);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] = bad[at].wrapping_add(1);
        if let Some((fleet, graph)) = fleet::take(&bad) {
            for task in fleet.tasks.ids() {
                assert!(graph.needs(task).len() + graph.dependents(task).len() <= graph.edges().len());
            }
        }
        assert!(fleet::take(&good[..at]).is_none());
    }
}

#[test]
fn a_plan_for_another_question_is_none() {
    let (_folder, request) = workspace();
    let (key, ..) = read_and_keep(&request);
    let plan = fs::read(key.folder().join(key.name())).unwrap();
    let ask = |change: &dyn Fn(&mut spec::Request)| {
        let mut other = spec::Request { file: request.file.clone(), set: Vec::new(), facts: facts() };
        change(&mut other);
        let other_key = Key::of(&other).unwrap();
        // Also where it is found under the name of the other.
        fs::write(other_key.folder().join(other_key.name()), &plan).unwrap();
        other_key.load(&other.facts).is_some()
    };
    assert!(ask(&|_| ()));
    assert!(!ask(&|request| request.facts.jobs = Some(3)));
    assert!(!ask(&|request| request.facts.cores += 1));
    assert!(!ask(&|request| request.facts.os.push('x')));
    assert!(!ask(&|request| request.facts.arch.push('x')));
    assert!(!ask(&|request| request.set.push(("a".into(), "b".into()))));
    let link = request.file.with_file_name("other.yaml");
    std::os::unix::fs::symlink(&request.file, &link).unwrap();
    assert!(!ask(&|request| request.file = link.clone()), "the name says it is YAML");
}

#[test]
fn a_link_in_place_of_a_plan_is_not_followed() {
    let (folder, request) = workspace();
    let (key, ..) = read_and_keep(&request);
    let (path, elsewhere) = (key.folder().join(key.name()), folder.path().join("elsewhere"));
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(key.load(&request.facts).is_none());
    read_and_keep(&request);
    assert!(path.symlink_metadata().unwrap().is_file(), "it is written over, not through");
}

#[test]
fn only_a_few_are_kept() {
    let (_folder, mut request) = workspace();
    for jobs in 1..10 {
        request.facts.jobs = Some(jobs);
        let (key, ..) = read_and_keep(&request);
        assert!(key.load(&request.facts).is_some(), "the newest is always there");
    }
    let key = Key::of(&request).unwrap();
    assert_eq!(fs::read_dir(key.folder()).unwrap().count(), PLANS_MAX);
}
