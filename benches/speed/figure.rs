//! From samples to tables and to the answers to the targets.

use std::fmt::Write as _;

use crate::case::{A_THREAD_EACH, Case};
use crate::meter::{End, Sample};
use crate::work::Shape;

/// A case with what was measured.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) case: Case,
    pub(crate) title: String,
    pub(crate) rounds: usize,
    pub(crate) runners: Vec<Runner>,
}

/// The samples of one runner, by round. Some sit out the later ones.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    pub(crate) name: String,
    pub(crate) samples: Vec<Sample>,
}

/// A promise and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) promise: String,
    pub(crate) measured: String,
    pub(crate) kept: bool,
}

/// The middle one, or the mean of the two in the middle; 0 of nothing.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}

impl Runner {
    fn wall(&self) -> f64 {
        median(self.samples.iter().map(|sample| sample.wall))
    }

    fn cpu(&self) -> f64 {
        median(self.samples.iter().map(|sample| sample.cpu))
    }

    fn lowest(&self) -> f64 {
        self.samples.iter().map(|sample| sample.wall).fold(f64::INFINITY, f64::min)
    }

    fn peak_kib(&self) -> u64 {
        self.samples.iter().map(|sample| sample.peak_kib).max().unwrap_or(0)
    }

    /// Peaks of the process itself and of its helper, each the highest of all rounds.
    fn watched(&self) -> Option<(u64, u64)> {
        let own = self.samples.iter().map(|sample| sample.own_kib).max().unwrap_or(0);
        let helper = self.samples.iter().map(|sample| sample.helper_kib).max().unwrap_or(0);
        (own > 0).then_some((own, helper))
    }

    fn failed(&self) -> Option<End> {
        self.samples.iter().map(|sample| sample.end).find(|&end| end != End::Passed)
    }

    /// The median over the rounds of what this one took by what `limit` took in the same round.
    fn ratio(&self, limit: &Self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().zip(&limit.samples).map(|(mine, theirs)| of(mine) / of(theirs)))
    }

    fn wall_ratio(&self, limit: &Self) -> f64 {
        self.ratio(limit, |sample| sample.wall)
    }

    fn cpu_ratio(&self, limit: &Self) -> f64 {
        // The clock of the scheduler is coarse for a process of a millisecond.
        self.ratio(limit, |sample| sample.cpu.max(1e-6))
    }
}

fn seconds(value: f64) -> String {
    match value {
        0.0..0.1 => format!("{:.2} ms", value * 1e3),
        0.1..1.0 => format!("{:.0} ms", value * 1e3),
        1.0..10.0 => format!("{value:.2} s"),
        _ => format!("{value:.1} s"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "memory in KiB is far below 2^52")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

impl Measured {
    fn runner(&self, name: &str) -> Option<&Runner> {
        self.runners.iter().find(|runner| runner.name == name)
    }

    /// What the others are held against.
    fn limit(&self) -> Option<&Runner> {
        let has_none = matches!(self.case, Case::Check(_) | Case::Memory(_));
        self.runners.first().filter(|_| !has_none)
    }

    /// A heading and a table in Markdown.
    pub(crate) fn table(&self) -> String {
        let titles = ["runner", "wall, median", "wall, lowest", "CPU", "peak MiB", "× limit, wall", "× limit, CPU"];
        let rows = self.runners.iter().map(|runner| self.cells(runner)).collect::<Vec<_>>();
        let rounds = if self.rounds == 1 { "once".to_owned() } else { format!("{} rounds", self.rounds) };
        format!("### {}\n\n{}; {rounds}.\n\n{}", self.case, self.title, table(&titles, &rows))
    }

    fn cells(&self, runner: &Runner) -> Vec<String> {
        let mut name = runner.name.clone();
        if runner.samples.len() < self.rounds {
            write!(name, " (first round only)").expect("a string takes everything");
        }
        if let Some(end) = runner.failed() {
            return vec![
                name,
                end.to_string(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
            ];
        }
        let peak = match runner.watched() {
            Some((own, helper)) => {
                format!("{:.1} (engine {:.1}, supervisor {:.1})", mib(runner.peak_kib()), mib(own), mib(helper))
            }
            None => format!("{:.1}", mib(runner.peak_kib())),
        };
        let mut cells = vec![name, seconds(runner.wall()), seconds(runner.lowest()), seconds(runner.cpu()), peak];
        match self.limit() {
            Some(limit) => {
                cells.push(format!("{:.2}", runner.wall_ratio(limit)));
                cells.push(format!("{:.2}", runner.cpu_ratio(limit)));
            }
            None => cells.extend([String::new(), String::new()]),
        }
        cells
    }

    /// The targets that this case answers. `all` holds the other cases, for those that compare two.
    pub(crate) fn targets(&self, all: &[Self]) -> Vec<Target> {
        match self.case {
            Case::Tasks { shape: Shape::Chain, count } if count >= 50_000 => self.long_chain(count, all),
            Case::Tasks { .. } => self.near_limit("fleet", 1.25),
            Case::One => self.within("one task", "fleet", 0.010),
            Case::Help => self.within("`fleet --help`", "fleet --help", 0.005),
            Case::Check(count) => {
                let names = self.runners.iter().map(|runner| runner.name.clone());
                names.flat_map(|name| self.within(&format!("{count} tasks, {name}"), &name, 0.250)).collect()
            }
            Case::Memory(count) => self.memory(count),
            Case::Print(size) => self.print(size),
            Case::Noop(_) => self.noop(),
            Case::Edit(_) => self.near_limit("fleet", 1.3),
        }
    }

    fn near_limit(&self, name: &str, times: f64) -> Vec<Target> {
        let (Some(limit), Some(ours)) = (self.limit(), self.runner(name)) else { return Vec::new() };
        let (wall, cpu) = (ours.wall_ratio(limit), ours.cpu_ratio(limit));
        let mut measured = format!("{wall:.2} (CPU {cpu:.2})");
        if let Some(threads) = self.runner(A_THREAD_EACH) {
            // The promise is about the plain loop. More threads start more processes, here as there.
            let (wall, cpu) = (ours.wall_ratio(threads), ours.cpu_ratio(threads));
            write!(measured, "; with a thread each {wall:.2} (CPU {cpu:.2})").expect("a string takes everything");
        }
        vec![Target {
            promise: format!("{}: within {times} of {}", self.case, limit.name),
            measured,
            kept: wall <= times,
        }]
    }

    fn within(&self, what: &str, name: &str, limit: f64) -> Vec<Target> {
        let Some(ours) = self.runner(name) else { return Vec::new() };
        vec![Target {
            promise: format!("{what}: under {:.0} ms", limit * 1e3),
            measured: format!("{} (lowest {})", seconds(ours.wall()), seconds(ours.lowest())),
            kept: ours.wall() < limit,
        }]
    }

    /// Linear: no further from the bare loop than a chain of the usual length.
    fn long_chain(&self, count: usize, all: &[Self]) -> Vec<Target> {
        let short = all
            .iter()
            .find(|other| matches!(other.case, Case::Tasks { shape: Shape::Chain, count: short } if short < count));
        let ratio = |measured: &Self| Some(measured.runner("fleet")?.cpu_ratio(measured.limit()?));
        let (Some(long), Some(short)) = (ratio(self), short.and_then(ratio)) else { return Vec::new() };
        vec![Target {
            promise: format!("{}: ends well, in linear time", self.case),
            measured: format!("CPU {long:.2} × the bare loop, {short:.2} × in the short chain"),
            kept: long <= short * 1.15,
        }]
    }

    fn memory(&self, count: usize) -> Vec<Target> {
        let promised = match count {
            10_000 => 40.0,
            100_000 => 200.0,
            _ => return Vec::new(),
        };
        let whole = |runner: &Runner| match runner.watched() {
            // The engine's peak as `wait4` has it, because a look from outside can miss the last moment.
            Some((own, helper)) => mib(own.max(runner.peak_kib())) + mib(helper),
            None => mib(runner.peak_kib()),
        };
        let row = |runner: &Runner| Target {
            promise: format!("memory of {count} tasks, {}: under {promised} MiB", runner.name),
            measured: match runner.watched() {
                Some(_) => format!("{:.1} MiB, supervisor included", whole(runner)),
                None => format!("{:.1} MiB", whole(runner)),
            },
            kept: whole(runner) < promised,
        };
        self.runners.iter().map(row).collect()
    }

    /// Ahead of what was made for this, and small.
    fn noop(&self) -> Vec<Target> {
        let Some(ours) = self.runner("fleet") else { return Vec::new() };
        let rivals = ["ninja", "samurai"].into_iter().filter_map(|name| self.runner(name));
        let ahead = rivals.filter(|rival| rival.failed().is_none()).map(|rival| {
            let (wall, cpu) = (ours.wall_ratio(rival), ours.cpu_ratio(rival));
            Target {
                promise: format!("{}: ahead of {}", self.case, rival.name),
                measured: format!("{wall:.2} of its time (CPU {cpu:.2})"),
                kept: wall < 1.0,
            }
        });
        let memory = Target {
            promise: format!("{}: under 40 MiB", self.case),
            // All of it: where no task runs there is no supervisor.
            measured: format!("{:.1} MiB", mib(ours.peak_kib())),
            kept: mib(ours.peak_kib()) < 40.0,
        };
        ahead.chain([memory]).collect()
    }

    fn print(&self, size: usize) -> Vec<Target> {
        let mut targets = Vec::new();
        if let Some((own, helper)) = self.runner("fleet").and_then(Runner::watched) {
            for (who, kib) in [("engine", own), ("supervisor", helper)] {
                targets.push(Target {
                    promise: format!("{size} MiB printed, {who}: under 20 MiB of memory"),
                    measured: format!("{:.1} MiB", mib(kib)),
                    // Not seen is not kept.
                    kept: kib > 0 && mib(kib) < 20.0,
                });
            }
        }
        targets.extend(self.near_limit("fleet", 2.0));
        targets
    }
}

/// All promises in a table, and how many were not kept.
pub(crate) fn promises(all: &[Measured]) -> (String, usize) {
    let targets: Vec<Target> = all.iter().flat_map(|measured| measured.targets(all)).collect();
    let rows = targets.iter().map(|target| {
        let answer = if target.kept { "pass" } else { "MISS" };
        vec![target.promise.clone(), target.measured.clone(), answer.to_owned()]
    });
    let text = format!("### Targets\n\n{}", table(&["target", "measured", ""], &rows.collect::<Vec<_>>()));
    (text, targets.iter().filter(|target| !target.kept).count())
}

/// A Markdown table whose columns also line up as text: words to the left, figures to the right.
fn table(titles: &[&str], rows: &[Vec<String>]) -> String {
    let width = |text: &str| text.chars().count();
    let widths: Vec<usize> = (0..titles.len())
        .map(|column| rows.iter().map(|row| width(&row[column])).chain([width(titles[column]), 3]).max().unwrap_or(3))
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (column, cell) in cells.enumerate() {
            let fill = " ".repeat(widths[column] - width(cell));
            let cell = if column == 0 { format!("{cell}{fill}") } else { format!("{fill}{cell}") };
            write!(line, "| {cell} ").expect("a string takes everything");
        }
        line + "|\n"
    };
    let mut text = line(&mut titles.iter().copied());
    for (column, &width) in widths.iter().enumerate() {
        let rule = if column == 0 { "-".repeat(width) } else { format!("{}:", "-".repeat(width - 1)) };
        write!(text, "| {rule} ").expect("a string takes everything");
    }
    text.push_str("|\n");
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}
