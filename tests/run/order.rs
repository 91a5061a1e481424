//! How many tasks at once, which ones beside each other, and which first.

use super::support::Fleet;

/// A task that notes in a file how many run while it does, itself included.
const COUNT: &str =
    "mkdir -p now && mkdir now/$FLEET_TASK && sleep 0.05 && ls now | wc -l >> seen && rmdir now/$FLEET_TASK";

fn most_at_once(fleet: &Fleet) -> u32 {
    let seen = fleet.read("seen");
    seen.lines().map(|line| line.trim().parse().expect("a number")).max().expect("something ran")
}

/// Eight tasks that could all run at once if nothing held them back.
fn eight(head: &str, each: &str) -> Fleet {
    Fleet::of(&format!("{head}\n[tasks.t]\nmatrix = {{ n = [1, 2, 3, 4, 5, 6, 7, 8] }}\nsh = '{COUNT}'\n{each}\n"))
}

#[test]
fn no_more_run_than_there_are_slots() {
    for (slots, most) in [("1", 1), ("3", 3)] {
        let fleet = eight(&format!("[workers.w]\nhost = 'local'\nslots = {slots}\n"), "");
        assert!(most_at_once(&fleet.run(["run"]).passes().then()) <= most);
    }
}

#[test]
fn max_parallel_holds_over_all_workers_and_jobs_over_the_file() {
    let workers = "[workers.a]\nhost = 'local'\nslots = 4\n[workers.b]\nhost = 'local'\nslots = 4\n";
    let fleet = eight(&format!("{workers}[policies]\nmax_parallel = 2\n"), "");
    assert!(most_at_once(&fleet.run(["run"]).passes().then()) <= 2);
    let fleet = eight(workers, "");
    assert!(most_at_once(&fleet.run(["run", "-j", "2"]).passes().then()) <= 2);
    let fleet = eight(&format!("{workers}[policies]\nmax_parallel = 4\n"), "");
    assert_eq!(most_at_once(&fleet.run(["run", "--jobs=1"]).passes().then()), 1);
}

/// Tasks that each wait until all of them have begun, so that the run ends only if they run at the same time.
fn together(head: &str, count: u32, each: &str) -> Fleet {
    let names: Vec<String> = (1..=count).map(|n| n.to_string()).collect();
    Fleet::of(&format!(
        "{head}\n[tasks.t]\nmatrix = {{ n = [{}] }}\ntimeout = '30s'\n\
         sh = 'touch begun.${{matrix.n}}; while [ $(ls begun.* | wc -l) -lt {count} ]; do sleep 0.01; done'\n{each}\n",
        names.join(", ")
    ))
}

#[test]
fn all_slots_of_all_workers_are_used() {
    let told =
        together("[workers.a]\nhost = 'local'\nslots = 2\n[workers.b]\nhost = { kind = 'local' }\nslots = 3\n", 5, "")
            .run(["run"])
            .passes()
            .says("  on a")
            .says("  on b");
    let on = |worker: &str| told.screen().lines().filter(|line| line.ends_with(&format!("on {worker}"))).count();
    assert_eq!((on("a"), on("b")), (2, 3));
}

#[test]
fn jobs_raise_what_the_file_allows_up_to_the_slots() {
    together("[workers.w]\nhost = 'local'\nslots = 3\n[policies]\nmax_parallel = 1\n", 3, "")
        .run(["run", "-j3"])
        .passes();
}

#[test]
fn a_pool_of_one_never_overlaps() {
    // `mkdir` fails where the folder is, so two holders at once are a failure of one of them.
    let told = Fleet::of(
        r#"
        [workers.w]
        host = "local"
        slots = 8
        [policies.limits]
        gpu = 1
        [tasks.t]
        matrix = { n = [1, 2, 3, 4, 5, 6, 7, 8] }
        uses = { gpu = 1 }
        sh = "date +%s%N > ${matrix.n}.begin; mkdir gpu; sleep 0.03; rmdir gpu; date +%s%N > ${matrix.n}.end"
        "#,
    )
    .run(["run"])
    .passes();
    let fleet = told.then();
    let at = |name: String| fleet.read(&name).trim().parse::<u64>().expect("a time");
    let mut times: Vec<_> = (1..=8).map(|n| (at(format!("{n}.begin")), at(format!("{n}.end")))).collect();
    times.sort_unstable();
    assert!(times.windows(2).all(|two| two[0].1 <= two[1].0), "{times:?}");
}

#[test]
fn a_pool_is_shared_by_size_and_what_does_not_fit_lets_others_pass() {
    // `big` takes both units and is first; the small ones take one each; `free` takes none and must run beside `big`.
    Fleet::of(
        r#"
        [workers.w]
        host = "local"
        slots = 4
        [policies.limits]
        disk = 2
        [tasks.big]
        priority = 9
        uses = { disk = 2 }
        sh = "touch held; while [ ! -e free ]; do sleep 0.01; done; ls small.* 2>/dev/null && exit 1; rm held"
        timeout = "30s"
        [tasks.small]
        priority = 5
        matrix = { n = [1, 2] }
        uses = { disk = 1 }
        sh = "test ! -e held; touch small.${matrix.n}; while [ $(ls small.* | wc -l) -lt 2 ]; do sleep 0.01; done"
        timeout = "30s"
        [tasks.free]
        run = "touch free"
        "#,
    )
    .run(["run"])
    .passes();
}

#[test]
fn higher_priority_first_then_the_longer_way_to_the_end() {
    let fleet = Fleet::of(
        r#"
        [tasks.low]
        priority = -5
        run = "true"
        [tasks.high]
        priority = 10
        run = "true"
        [tasks.alone]
        run = "true"
        [tasks.long-1]
        run = "true"
        [tasks.long-2]
        needs = ["long-1"]
        run = "true"
        [tasks.long-3]
        needs = ["long-2"]
        run = "true"
        [tasks.short-1]
        run = "true"
        [tasks.short-2]
        needs = ["short-1"]
        run = "true"
        "#,
    );
    let started = fleet.run(["run", "-j1"]).passes().then().started();
    assert_eq!(started.first().map(String::as_str), Some("high"), "{started:?}");
    assert_eq!(started.last().map(String::as_str), Some("low"), "{started:?}");
    let place = |name: &str| started.iter().position(|task| task == name).unwrap_or_else(|| panic!("{name}"));
    assert_eq!(place("long-1"), 1, "{started:?}");
    assert!(place("long-1") < place("short-1") && place("short-1") < place("alone"), "{started:?}");
}

#[test]
fn one_seed_is_one_order() {
    let file = |seed: u32| {
        let head = format!("version = 1\nname = 'seeds'\nseed = {seed}\n");
        Fleet::new()
            .file("fleet.toml", format!("{head}[tasks.t]\nmatrix = {{ n = [1,2,3,4,5,6,7,8,9] }}\nrun = 'true'\n"))
    };
    let order = |seed| file(seed).run(["run", "-j1"]).passes().then().started();
    let first = order(7);
    assert_eq!(first.len(), 9);
    assert_eq!(order(7), first);
    assert!((8..12).any(|seed| order(seed) != first), "the seed decides ties");
}

#[test]
fn a_task_runs_only_where_its_request_is_met() {
    let told = Fleet::of(
        r#"
        [workers.plain]
        host = "local"
        [workers.special]
        host = "local"
        slots = 1
        labels = { room = "cellar" }
        capabilities = ["gpu"]
        trust = "operator"
        [tasks.label]
        worker = { labels = { room = "cellar" } }
        run = "true"
        [tasks.capability]
        worker = { capabilities = ["gpu"] }
        run = "true"
        [tasks.trust]
        worker = { trust = "operator" }
        run = "true"
        [tasks.id]
        worker = { id = "plain" }
        run = "true"
        "#,
    )
    .run(["run"])
    .passes();
    for task in ["label", "capability", "trust"] {
        assert_eq!(told.receipt(task)["worker_id"], "special", "{task}");
    }
    assert_eq!(told.receipt("id")["worker_id"], "plain");
    assert_eq!(told.receipt("trust")["trust"]["asked"], "operator");
    assert_eq!(told.receipt("trust")["trust"]["enforced"], "operator");
}

#[test]
fn more_jobs_than_cores_run_at_once() {
    // Each waits for all others, so they pass only together.
    let all = r#"
        [tasks.all]
        matrix = { n = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] }
        timeout = "30s"
        sh = "touch here.${matrix.n}; while [ $(ls here.* | wc -l) -lt 12 ]; do sleep 0.01; done"
    "#;
    Fleet::of(all).run(["run", "-j", "12"]).passes().quietly();
    Fleet::of(&format!("{all}[policies]\nmax_parallel = 12\n")).run(["run"]).passes();
}

#[test]
fn more_jobs_than_declared_slots_are_warned_of_once() {
    Fleet::of("[tasks.a]\nrun = 'true'\n[workers.w]\nhost = 'local'\nslots = 2\n")
        .run(["run", "-j8"])
        .passes()
        .warns("-j 8, but the worker has 2 slots");
}
