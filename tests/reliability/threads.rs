//! How many threads look at files and judge is nobody's business: the receipts are the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Stdio;

use serde_json::Value;

use super::row::{Row, Scale, pseudo_random};
use super::world::World;

const THREADS: [&str; 4] = ["1", "2", "8", "64"];

/// What one run has in other words than the next: its name, its times, what it cost, and where in the journal it is.
const MASKED: [&str; 9] =
    ["run_id", "completed_at", "started_at", "duration_ms", "usage", "log", "journal_seq", "pid", "fleet_version"];

/// The same fleet and seed, run by different numbers of threads, once from nothing and once with results that stand.
pub(crate) fn any_number(scale: Scale) -> Row {
    let mut row = Row::new("the same file and seed at 1, 2, 8 and 64 threads", &["differences", "panics"]);
    let seeds = scale.of(4, 100);
    let mut compared = 0;
    for seed in 1..=seeds {
        let text = fleet_of(seed);
        let jobs = if seed % 2 == 0 { "1" } else { "4" };
        let mut first: Option<[BTreeMap<String, Value>; 2]> = None;
        for threads in THREADS {
            let world = World::of(&text);
            let both = [(); 2].map(|()| {
                let mut command = world.command(&[], &["run", "--keep-going", "-j", jobs]);
                let code = command.env("RAYON_NUM_THREADS", threads).status().expect("the program was built").code();
                if !matches!(code, Some(0 | 1)) {
                    row.wrong("panics", format!("exit {code:?} of seed {seed} at {threads} threads"));
                }
                receipts(&world, jobs == "1")
            });
            compared += both.iter().map(BTreeMap::len).sum::<usize>();
            match &first {
                None => first = Some(both),
                Some(first) => first.iter().zip(&both).for_each(|(one, other)| {
                    compare(one, other, &format!("seed {seed} at {threads} threads"), &mut row);
                }),
            }
        }
    }
    row.tried = format!("{seeds} seeds, two runs at each number of threads, {compared} receipts");
    row
}

fn compare(one: &BTreeMap<String, Value>, other: &BTreeMap<String, Value>, what: &str, row: &mut Row) {
    for task in one.keys().chain(other.keys().filter(|task| !one.contains_key(*task))) {
        if one.get(task) != other.get(task) {
            row.wrong("differences", format!("{what}: {:?} and {:?}", one.get(task), other.get(task)));
        }
    }
}

/// With the causes of skips only where tasks end one after the other: of several needs that failed, the first is named.
fn receipts(world: &World, in_turn: bool) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let output = world.command(&[], &["receipts", "show", "latest"]).stdout(Stdio::piped()).output();
    let shown: Value = serde_json::from_slice(&output.expect("the program was built").stdout).unwrap_or_default();
    for mut receipt in shown.as_array().cloned().unwrap_or_default() {
        let task = receipt["task_id"].as_str().unwrap_or_default().to_owned();
        mask(&mut receipt);
        if receipt["result"] == "skip" && !in_turn {
            receipt["cause"].take();
        }
        all.insert(task, receipt);
    }
    all
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(keys) => {
            keys.retain(|key, _| !MASKED.contains(&key.as_str()));
            keys.values_mut().for_each(mask);
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

/// Tasks with needs, files, scorers and failures, all by the seed.
fn fleet_of(seed: u64) -> String {
    let mut throws = 0_u64;
    let mut below = |end: u64| {
        throws += 1;
        pseudo_random(seed * 10_007 + throws) % end
    };
    let mut text = format!("version = 1\nname = 'threads'\nseed = {seed}\n");
    for n in 0..8 + below(12) {
        let mut needs: Vec<u64> = (0..below(4).min(n)).map(|_| below(n)).collect();
        needs.sort_unstable();
        needs.dedup();
        let named = |list: &[u64], prefix: &str| {
            list.iter().map(|need| format!("'{prefix}{need}'")).collect::<Vec<_>>().join(", ")
        };
        let code = if below(8) == 0 { 3 } else { 0 };
        let reads: String = needs.iter().fold(String::new(), |text, need| text + &format!(" made/{need}"));
        let _ = write!(
            text,
            "[tasks.t{n}]\nneeds = [{}]\ninputs = [{}]\noutputs = ['made/{n}']\n\
             sh = 'mkdir -p made; cat /dev/null{reads} > made/{n}; echo {n} | tee -a made/{n}; exit {code}'\n",
            named(&needs, "t"),
            named(&needs, "made/"),
        );
        if below(3) == 0 {
            let pattern = below(24);
            let _ = writeln!(text, "artifacts = [{{ path = 'made/{n}', kind = 'list' }}]");
            let _ = writeln!(
                text,
                "scorers = [{{ kind = 'file_exists', path = 'made/{n}' }}, \
                 {{ kind = 'regex_match', path = 'made/{n}', pattern = '{pattern}', required = false }}]"
            );
        }
    }
    text
}
