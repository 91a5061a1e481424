//! The parts of a run that cost time for each task, each for itself: `cargo bench --bench parts [FILTER]`.
//! Figures per task are in the `items` column. Whole processes are measured by `speed`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use tempfile::TempDir;

use fleet::cli::kept::Key;
use fleet::digest::Digest;
use fleet::graph::Graph;
use fleet::graph::select::{self, Selection};
use fleet::id::{Attempt, IdMap, RunId, TaskId};
use fleet::journal::{Event, Journal};
use fleet::model::Fleet;
use fleet::policy::mask::{Masker, Masks};
use fleet::protocol::receipt::{Receipt, Score, TaskResult, Usage};
use fleet::schedule::{Action, Candidates, Input, Item, Need, Part, Scheduler, Work};
use fleet::spec::{self, Facts, FileId, Syntax};
use fleet::store::state::StateDir;
use fleet::store::{Root, Scan, scan};
use fleet::time::{Millis, Stamp};

const TASKS: usize = 10_000;
const LAYER: usize = 50;
const SYNTAXES: [&str; 3] = ["toml", "yaml", "json"];

fn main() {
    divan::main();
}

/// Layers of 50 in which each task needs three of the layer before.
fn needs(task: usize) -> Vec<String> {
    let Some(first) = (task / LAYER).checked_sub(1).map(|layer| layer * LAYER) else { return Vec::new() };
    [0, 17, 31].iter().map(|step| format!("t{}", first + (task + step) % LAYER)).collect()
}

/// A fleet file of [`TASKS`] tasks.
fn text(syntax: &str) -> String {
    let mut text = match syntax {
        "toml" => "version = 1\nname = \"bench\"\n",
        "yaml" => "version: 1\nname: bench\ntasks:\n",
        _ => "{\"version\": 1, \"name\": \"bench\", \"tasks\": {",
    }
    .to_owned();
    for task in 0..TASKS {
        let needs = needs(task);
        let comma = if task == 0 { "" } else { "," };
        match syntax {
            "toml" => writeln!(text, "[tasks.t{task}]\nrun = [\"/bin/true\"]\nneeds = {needs:?}"),
            "yaml" => writeln!(text, "  t{task}:\n    run: [/bin/true]\n    needs: {needs:?}"),
            _ => writeln!(text, "{comma}\"t{task}\": {{\"run\": [\"/bin/true\"], \"needs\": {needs:?}}}"),
        }
        .expect("a string takes everything");
    }
    if syntax == "json" {
        text.push_str("}}");
    }
    text
}

/// The fleet file on disk, and a request for it. The folder goes with the first.
fn request(syntax: &str) -> (TempDir, spec::Request) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let file = folder.path().join("fleet").with_extension(syntax);
    fs::write(&file, text(syntax)).expect("a new file can be written");
    let facts = Facts::new(2, HashMap::new(), |_: &Path| None);
    (folder, spec::Request { file, set: Vec::new(), facts })
}

fn fleet() -> Fleet {
    let (_folder, request) = request("json");
    spec::load(&request).expect("the file above is right").fleet
}

fn everything(fleet: &Fleet, graph: &Graph) -> Selection {
    select::select(fleet, graph, &select::Request::default()).expect("everything can be selected")
}

/// Text to tree alone.
#[divan::bench(args = SYNTAXES, sample_count = 20)]
fn parse(bencher: Bencher<'_, '_>, syntax: &str) {
    let text = text(syntax);
    let kind = Syntax::of(Path::new(&format!("fleet.{syntax}"))).expect("a known ending");
    bencher
        .counter(BytesCount::of_str(&text))
        .counter(ItemsCount::new(TASKS))
        .bench(|| spec::parse(FileId(0), kind, text.as_bytes()).expect("the text above is right"));
}

/// File to fleet.
#[divan::bench(args = SYNTAXES, sample_count = 20)]
fn load(bencher: Bencher<'_, '_>, syntax: &str) {
    let (_folder, request) = request(syntax);
    bencher.counter(ItemsCount::new(TASKS)).bench(|| spec::load(&request).expect("the file above is right"));
}

/// What stands for reading, checking and ordering when nothing changed: one input and one output each.
#[divan::bench(sample_count = 20)]
fn kept(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    StateDir::of(folder.path()).create().expect("the folder is ours");
    let mut text = "version = 1\nname = \"bench\"\n".to_owned();
    for task in 0..TASKS {
        writeln!(text, "[tasks.t{task}]\nrun = \"cp in/{task} out/{task}\"").expect("a string takes everything");
        writeln!(text, "inputs = [\"in/{task}\"]\noutputs = [\"out/{task}\"]").expect("a string takes everything");
    }
    let file = folder.path().join("fleet.toml");
    fs::write(&file, text).expect("a new file can be written");
    let request = spec::Request { file, set: Vec::new(), facts: Facts::new(2, HashMap::new(), |_: &Path| None) };
    // Young files are asked for their content.
    std::thread::sleep(std::time::Duration::from_millis(100));
    let spec::Loaded { fleet, looks, .. } = spec::load(&request).expect("the file above is right");
    let graph = Graph::of(&fleet).expect("no task needs another");
    let key = Key::of(&request).expect("the file is there");
    key.keep(&looks, &fleet, &graph);
    bencher.counter(ItemsCount::new(TASKS)).bench(|| {
        let key = Key::of(black_box(&request)).expect("the file is there");
        key.load(&request.facts).expect("nothing has changed")
    });
}

#[divan::bench(sample_count = 20)]
fn graph(bencher: Bencher<'_, '_>) {
    let fleet = fleet();
    bencher.counter(ItemsCount::new(TASKS)).bench(|| Graph::of(black_box(&fleet)).expect("layers have no cycle"));
}

#[divan::bench(sample_count = 20)]
fn selection(bencher: Bencher<'_, '_>) {
    let fleet = fleet();
    let graph = Graph::of(&fleet).expect("layers have no cycle");
    bencher.counter(ItemsCount::new(TASKS)).bench(|| everything(black_box(&fleet), &graph));
}

#[divan::bench(sample_count = 20)]
fn rank(bencher: Bencher<'_, '_>) {
    let fleet = fleet();
    let graph = Graph::of(&fleet).expect("layers have no cycle");
    bencher.counter(ItemsCount::new(TASKS)).bench(|| black_box(&graph).rank(|_| 1));
}

#[divan::bench(sample_count = 20)]
fn plan(bencher: Bencher<'_, '_>) {
    let fleet = fleet();
    let graph = Graph::of(&fleet).expect("layers have no cycle");
    let selection = everything(&fleet, &graph);
    bencher
        .counter(ItemsCount::new(TASKS))
        .bench(|| fleet::plan::plan(&fleet, &graph, &selection).expect("every task can run here"));
}

/// What the engine tells the scheduler of a fleet whose tasks ask for nothing.
fn work(fleet: &Fleet, graph: &Graph, selection: &Selection) -> Work {
    let ranks = graph.rank(|_| 1);
    let item = |id: TaskId| Item {
        part: if selection.contains(id) { Part::Selected } else { Part::Out },
        needs: graph.needs(id).iter().map(|edge| Need { task: edge.from, accept_partial: false }).collect(),
        candidates: Candidates::Any,
        uses: [].into(),
        priority: 0,
        rank: ranks[id],
        tie: fleet::plan::tie(fleet.seed, id),
        always: false,
        allow_failure: false,
        on_failure: [].into(),
        start_within: None,
        attempts: 0,
        wait: Duration::ZERO,
        avoid: None,
    };
    Work {
        tasks: IdMap::from(fleet.tasks.ids().map(item).collect::<Vec<_>>()),
        workers: IdMap::from(vec![2]),
        pools: IdMap::from(Vec::new()),
        max_parallel: None,
        fail_fast: false,
    }
}

/// A whole run as the scheduler sees it: every task is told to be running, then to have passed.
#[divan::bench(sample_count = 20)]
fn schedule(bencher: Bencher<'_, '_>) {
    let fleet = fleet();
    let graph = Graph::of(&fleet).expect("layers have no cycle");
    let selection = everything(&fleet, &graph);
    bencher.counter(ItemsCount::new(TASKS)).with_inputs(|| work(&fleet, &graph, &selection)).bench_values(run);
}

fn run(work: Work) -> Scheduler {
    let mut scheduler = Scheduler::new(work);
    let (mut actions, mut started, mut now) = (Vec::new(), VecDeque::new(), 0);
    scheduler.step(Millis(now), Input::Begin, &mut actions);
    loop {
        for action in actions.drain(..) {
            if let Action::Start { task, .. } = action {
                started.push_back(task);
            }
        }
        let Some(task) = started.pop_front() else { break };
        now += 1;
        scheduler.step(Millis(now), Input::Running(task), &mut actions);
        scheduler.step(Millis(now), Input::Settled { task, result: TaskResult::Pass }, &mut actions);
        started.extend(actions.drain(..).filter_map(|action| match action {
            Action::Start { task, .. } => Some(task),
            _ => None,
        }));
    }
    assert!(scheduler.is_done(), "nothing is left to start, so all is settled");
    scheduler
}

fn receipt(run: &RunId, task: &str) -> Receipt {
    Receipt {
        run_id: run.as_str().into(),
        task_id: task.into(),
        worker_id: "local".into(),
        completed_at: Stamp(1_795_171_950_999),
        result: TaskResult::Pass,
        failure_kind: None,
        artifacts: Vec::new(),
        score: Some(Score { value: 1.0, max: Some(1.0), notes: None }),
        attempt: 1,
        started_at: Some(Stamp(1_795_171_950_998)),
        duration_ms: 1,
        exit_code: Some(0),
        signal: None,
        cause: None,
        flaky: false,
        attempts: Vec::new(),
        repeat: None,
        argv: ["/bin/true".into()].into(),
        argv_digest: Some(Digest::of(b"[\"/bin/true\"]")),
        inputs_digest: None,
        fingerprint: None,
        reused: None,
        outputs: Vec::new(),
        host: Some("local".into()),
        image: None,
        trust: None,
        scorers: Vec::new(),
        usage: Some(Usage { cpu_ms: 1, max_rss_bytes: 1 << 20, output_bytes: 0 }),
        log: None,
        leaked: Vec::new(),
        labels: Arc::new(BTreeMap::new()),
        metadata: BTreeMap::new(),
        fleet_version: "0.1.0".into(),
        journal_seq: 0,
    }
}

/// The four records of a task, and the write that makes them believed.
#[divan::bench(args = [1, 16])]
fn journal(bencher: Bencher<'_, '_>, tasks_a_write: usize) {
    let fleet = fleet();
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let id = RunId::parse("20261120T105230Z-1f9c03ab").expect("a run id");
    let mut journal = Journal::create(folder.path(), &id).expect("a new journal");
    let (task, worker) = (fleet.tasks.id_at(7).expect("10,000"), fleet.workers.id_at(0).expect("the local worker"));
    let receipt = receipt(&id, &fleet.tasks[task].name);
    let (attempt, stamp) = (Attempt::FIRST, Stamp(1_795_171_950_999));
    bencher.counter(ItemsCount::new(tasks_a_write)).bench_local(|| {
        for _ in 0..tasks_a_write {
            journal.record(stamp, &Event::Queued { task }, &fleet);
            journal.record(stamp, &Event::Starting { task, attempt, worker, placement: None }, &fleet);
            journal.record(stamp, &Event::Running { task, attempt, pid: 4711 }, &fleet);
            journal.record(stamp, &Event::Settled { task, receipt: &receipt }, &fleet);
        }
        journal.write().expect("the disk has room");
    });
}

/// A folder of 1,000 files of 16 KiB in ten folders.
fn files() -> (TempDir, Root) {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    for file in 0..1_000_u32 {
        let path: PathBuf = folder.path().join(format!("src/{}/{file}.c", file % 10));
        fs::create_dir_all(path.parent().expect("it has two")).expect("a new folder");
        fs::write(path, file.to_le_bytes().repeat(4 << 10)).expect("the disk has room");
    }
    let root = Root::open(folder.path()).expect("the folder just made");
    (folder, root)
}

/// Globs to names.
#[divan::bench(sample_count = 20)]
fn expand(bencher: Bencher<'_, '_>) {
    let (_folder, root) = files();
    let scan = Scan::new(&["src/**/*.c", "!src/9/**"]).expect("these are globs");
    bencher.counter(ItemsCount::new(1_000_usize)).bench(|| scan.expand(&root).expect("the files are there"));
}

/// Names to digests.
#[divan::bench(sample_count = 20)]
fn digest(bencher: Bencher<'_, '_>) {
    let (_folder, root) = files();
    let found = Scan::new(&["src/**/*.c"]).and_then(|scan| scan.expand(&root)).expect("the files are there");
    bencher
        .counter(ItemsCount::new(found.files.len()))
        .counter(BytesCount::new(found.files.len() * (16 << 10)))
        .bench(|| scan::digest_files(&root, &found.files).expect("the files are there"));
}

/// What a task prints: lines of a log, none of which holds a secret.
fn printed() -> String {
    let mut text = String::new();
    for line in 0..200_000 {
        let _ = writeln!(
            text,
            "[{line:>8}] compiling module_{} of crate_{} with opt-level={}",
            line % 97,
            line % 13,
            line % 4
        );
    }
    text
}

/// Masking output without a hit, in pieces as pipes give them, by the number of secrets.
#[divan::bench(args = [1, 4, 16], sample_count = 20)]
fn mask(bencher: Bencher<'_, '_>, secrets: u32) {
    let values: Vec<String> = (0..secrets).map(|n| Digest::of(&n.to_le_bytes()).hex()[..40].to_owned()).collect();
    let masks = Masks::new(values.iter().map(|value| ("KEY", value.as_str())));
    let text = printed();
    bencher.counter(BytesCount::of_str(&text)).bench_local(|| {
        let mut masker = Masker::default();
        let sent: usize = text.as_bytes().chunks(64 << 10).map(|piece| masker.push(&masks, piece).len()).sum();
        sent + masker.finish(&masks).len()
    });
}
