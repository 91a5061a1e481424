//! The cases: what each runs, as rows that are measured in turn. The first row of most is what the others are held
//! against.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::copies::{Copies, Due};
use crate::meter::Order;
use crate::peer::Peer;
use crate::work::{self, Detail, Shape, Work};

/// From here on a case is measured once, because it takes a minute.
const HUGE: usize = 50_000;
/// Above this many tasks GNU parallel, which takes a few milliseconds for each, runs in the first round only.
const PARALLEL_MAX: usize = 2_000;

/// Untimed runs before the first round of what keeps its state: one builds, one finds nothing to do and leaves the state
/// as the next will.
const WARM: usize = 2;

/// The bare loop that spawns from as many threads as tasks run at a time.
pub(crate) const A_THREAD_EACH: &str = "bare loop, a thread each";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Tasks {
        shape: Shape,
        count: usize,
    },
    One,
    Help,
    /// A file of that many tasks, read and checked.
    Check(usize),
    /// What that many tasks cost in memory.
    Memory(usize),
    /// One task that prints that many MiB.
    Print(usize),
    /// That many tasks, all up to date.
    Noop(usize),
    /// That many tasks, all up to date but one.
    Edit(usize),
}

/// One runner in one case.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) runner: String,
    pub(crate) order: Order,
    /// Untimed runs before the first round.
    pub(crate) warm: usize,
    /// What it has to do in a workspace that is up to date. Made so before each round, and checked after it.
    pub(crate) due: Option<Due>,
    /// It sits out later rounds.
    pub(crate) rounds_max: usize,
    /// Its failure means that there is nothing to compare.
    pub(crate) must_pass: bool,
}

/// What is the same for all cases.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) fleet: PathBuf,
    /// This program.
    pub(crate) own: PathBuf,
    /// Where everything is written.
    pub(crate) folder: PathBuf,
    pub(crate) jobs: usize,
    pub(crate) quick: bool,
    /// Those on PATH.
    pub(crate) peers: Vec<Peer>,
}

pub(crate) const FULL: [&str; 12] = [
    "help",
    "one",
    "check:10000",
    "chain:1000",
    "layers:5000",
    "wide:10000",
    "noop:10000",
    "edit:10000",
    "print:1024",
    "memory:10000",
    "memory:100000",
    "chain:100000",
];

/// The same questions with smaller numbers, where a smaller number answers them.
pub(crate) const QUICK: [&str; 11] = [
    "help",
    "one",
    "check:10000",
    "chain:200",
    "layers:1000",
    "wide:1000",
    "noop:2000",
    "edit:2000",
    "print:128",
    "memory:10000",
    "memory:100000",
];

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tasks { shape: Shape::Wide, count } => write!(f, "wide:{count}"),
            Self::Tasks { shape: Shape::Chain, count } => write!(f, "chain:{count}"),
            Self::Tasks { shape: Shape::Layers, count } => write!(f, "layers:{count}"),
            Self::One => f.write_str("one:1"),
            Self::Help => f.write_str("help"),
            Self::Check(count) => write!(f, "check:{count}"),
            Self::Memory(count) => write!(f, "memory:{count}"),
            Self::Print(mib) => write!(f, "print:{mib}"),
            Self::Noop(count) => write!(f, "noop:{count}"),
            Self::Edit(count) => write!(f, "edit:{count}"),
        }
    }
}

impl Case {
    /// `NAME` or `NAME:SIZE`.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        let (name, size) = match word.split_once(':') {
            Some((name, size)) => (name, Some(size.parse().ok().filter(|&size: &usize| size > 0)?)),
            None => (word, None),
        };
        let tasks = |shape, usual| Self::Tasks { shape, count: size.unwrap_or(usual) };
        Some(match name {
            "wide" => tasks(Shape::Wide, 10_000),
            "chain" => tasks(Shape::Chain, 1_000),
            "layers" => tasks(Shape::Layers, 5_000),
            "one" => Self::One,
            "help" => Self::Help,
            "check" => Self::Check(size.unwrap_or(10_000)),
            "memory" => Self::Memory(size.unwrap_or(10_000)),
            "print" => Self::Print(size.unwrap_or(1024)),
            "noop" => Self::Noop(size.unwrap_or(10_000)),
            "edit" => Self::Edit(size.unwrap_or(10_000)),
            _ => return None,
        })
    }

    /// In words, for a heading.
    pub(crate) fn title(self, jobs: usize) -> String {
        match self {
            Self::Tasks { shape: Shape::Wide, count } => format!("{count} × /bin/true, {jobs} at a time"),
            Self::Tasks { shape: Shape::Chain, count } => format!("{count} × /bin/true, one after the other"),
            Self::Tasks { shape: Shape::Layers, count } => {
                format!("{count} × /bin/true in layers of 50, about three needs each, {jobs} at a time")
            }
            Self::One => "one task, from the prompt to the exit".to_owned(),
            Self::Help => "fleet --help".to_owned(),
            Self::Check(count) => format!("a file of {count} tasks in layers, read and checked"),
            Self::Memory(count) => format!("memory of {count} tasks that need nothing"),
            Self::Print(mib) => format!("one task that prints {mib} MiB"),
            Self::Noop(count) => {
                format!("{count} × `cp in/N out/N`, all up to date, state warm; the limit looks at each file once")
            }
            Self::Edit(count) => {
                format!(
                    "{count} × `cp in/N out/N`, one input edited before each round; the limit is fleet where none is"
                )
            }
        }
    }

    /// How often it is measured, when a case of a few seconds is measured `rounds` times.
    pub(crate) fn rounds(self, rounds: usize) -> usize {
        match self {
            Self::Tasks { count, .. } | Self::Memory(count) if count >= HUGE => 1,
            Self::Tasks { .. } => rounds,
            Self::One | Self::Help => rounds * 6,
            Self::Check(_) => rounds * 2,
            Self::Noop(_) | Self::Edit(_) => rounds * 4,
            Self::Memory(_) | Self::Print(_) => rounds.min(3),
        }
    }

    /// Writes the files, and says who runs.
    pub(crate) fn prepare(self, setup: &Setup) -> io::Result<Vec<Row>> {
        match self {
            Self::Tasks { shape, count } => setup.tasks(self, Work { shape, count }),
            Self::One => setup.tasks(self, Work { shape: Shape::Wide, count: 1 }),
            Self::Help => setup.help(),
            Self::Check(count) => setup.check(self, Work { shape: Shape::Layers, count }),
            Self::Memory(count) => setup.memory(self, Work { shape: Shape::Wide, count }),
            Self::Print(mib) => setup.print(self, mib),
            Self::Noop(count) => setup.noop(self, Copies(count)),
            Self::Edit(count) => setup.edit(self, Copies(count)),
        }
    }
}

impl Setup {
    fn folder(&self, case: Case, runner: &str) -> io::Result<PathBuf> {
        let folder = self.folder.join(format!("{case}-{runner}").replace([':', ' ', ',', '`'], "-"));
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    fn row(runner: &str, folder: &Path, argv: impl IntoIterator<Item = OsString>) -> Row {
        let argv = argv.into_iter().collect();
        let order = Order { argv, folder: folder.to_owned(), state: &[], watch: false };
        Row { runner: runner.to_owned(), order, warm: 0, due: None, rounds_max: usize::MAX, must_pass: true }
    }

    fn fleet_row(&self, runner: &str, folder: &Path, arguments: &[&str]) -> Row {
        let arguments = arguments.iter().map(OsString::from);
        let mut row = Self::row(runner, folder, std::iter::once(self.fleet.clone().into()).chain(arguments));
        row.order.state = &[".fleet"];
        row
    }

    fn own_row(&self, runner: &str, folder: &Path, arguments: &[&str]) -> Row {
        let arguments = arguments.iter().map(OsString::from);
        Self::row(runner, folder, std::iter::once(self.own.clone().into()).chain(arguments))
    }

    fn peer_row(&self, peer: &Peer, case: Case, work: Work, command: &str) -> io::Result<Row> {
        let folder = self.folder(case, peer.name)?;
        (peer.file)(work, &folder, command)?;
        Ok(self.peer_in(peer, &folder))
    }

    fn peer_in(&self, peer: &Peer, folder: &Path) -> Row {
        let mut row = Self::row(peer.name, folder, peer.argv(self.jobs).into_iter().map(OsString::from));
        row.order.state = peer.state;
        // A peer that breaks down is a result.
        row.must_pass = false;
        row
    }

    fn tasks(&self, case: Case, work: Work) -> io::Result<Vec<Row>> {
        let at_a_time = if work.shape == Shape::Chain { 1 } else { self.jobs.min(work.count) };
        let (count, at_a_time) = (work.count.to_string(), at_a_time.to_string());
        let limit = self.folder(case, "limit")?;
        let mut rows = vec![self.own_row("bare loop", &limit, &["--limit", "spawn", &count, &at_a_time])];
        if at_a_time != "1" {
            let arguments = ["--limit", "threads", &count, &at_a_time];
            rows.push(self.own_row(A_THREAD_EACH, &limit, &arguments));
        }
        let folder = self.folder(case, "fleet")?;
        work.fleet(&folder)?;
        rows.push(self.fleet_row("fleet", &folder, &["run", "-j", &self.jobs.to_string()]));
        for peer in &self.peers {
            if work.shape == Shape::Wide || peer.knows_needs {
                let mut row = self.peer_row(peer, case, work, crate::floor::TASK)?;
                if !peer.knows_needs && work.count > PARALLEL_MAX {
                    row.rounds_max = 1;
                }
                rows.push(row);
            }
        }
        Ok(rows)
    }

    fn help(&self) -> io::Result<Vec<Row>> {
        let folder = self.folder(Case::Help, "fleet")?;
        Ok(vec![
            Self::row("/bin/true", &folder, [crate::floor::TASK.into()]),
            self.fleet_row("fleet --help", &folder, &["--help"]),
        ])
    }

    fn check(&self, case: Case, work: Work) -> io::Result<Vec<Row>> {
        let argv = [crate::floor::TASK];
        let folder = self.folder(case, "fleet")?;
        let full = self.folder(case, "full")?;
        work.fleet(&folder)?;
        work.yaml(&folder, &argv)?;
        work.json(&folder, &argv)?;
        work.toml(&full, &argv, Detail::Full)?;
        Ok(vec![
            self.fleet_row("fleet check, TOML", &folder, &["check", "fleet.toml"]),
            self.fleet_row("fleet check, YAML", &folder, &["check", "fleet.yaml"]),
            self.fleet_row("fleet check, JSON", &folder, &["check", "fleet.json"]),
            self.fleet_row("fleet check, TOML, nine keys a task", &full, &["check", "fleet.toml"]),
        ])
    }

    fn memory(&self, case: Case, work: Work) -> io::Result<Vec<Row>> {
        let folder = self.folder(case, "fleet")?;
        work.fleet(&folder)?;
        let mut rows =
            vec![self.fleet_row("fleet check", &folder, &["check"]), self.fleet_row("fleet plan", &folder, &["plan"])];
        if work.count < HUGE || !self.quick {
            let mut run = self.fleet_row("fleet run", &folder, &["run", "-j", &self.jobs.to_string()]);
            run.order.watch = true;
            rows.push(run);
        }
        Ok(rows)
    }

    fn print(&self, case: Case, mib: usize) -> io::Result<Vec<Row>> {
        let folder = self.folder(case, "fleet")?;
        let blob = work::blob(&folder, mib)?;
        let blob = work::text(blob.as_os_str())?;
        let work = Work { shape: Shape::Wide, count: 1 };
        work.toml(&folder, &["/bin/cat", blob], Detail::Bare)?;
        let command = format!("/bin/cat '{blob}'");
        let piped = |name: &str, line: String| Self::row(name, &folder, ["/bin/sh", "-c", &line].map(OsString::from));
        let mut fleet = self.fleet_row("fleet", &folder, &["run"]);
        fleet.order.watch = true;
        let mut rows = vec![
            piped("`cat` through a pipe", format!("{command} | cat")),
            // As far as the bytes have to go here: to the supervisor, and to the engine.
            piped("`cat` through two pipes", format!("{command} | cat | cat")),
            fleet,
        ];
        for peer in self.peers.iter().filter(|peer| peer.captures) {
            let mut row = self.peer_row(peer, case, work, &command)?;
            row.rounds_max = 1;
            rows.push(row);
        }
        Ok(rows)
    }

    /// What runs again and again in one workspace, with what it left there.
    fn kept(mut row: Row, due: Due) -> Row {
        row.order.state = &[];
        Row { warm: WARM, due: Some(due), ..row }
    }

    fn kept_fleet(&self, runner: &str, case: Case, due: Due) -> io::Result<Row> {
        let folder = self.folder(case, runner)?;
        due.copies.inputs(&folder)?;
        due.copies.fleet(&folder)?;
        let arguments = ["run", "--output", "quiet", "-j", &self.jobs.to_string()];
        Ok(Self::kept(self.fleet_row(runner, &folder, &arguments), due))
    }

    fn kept_peers(&self, case: Case, due: Due) -> io::Result<Vec<Row>> {
        let mut rows = Vec::new();
        for peer in &self.peers {
            if let Some(file) = peer.copies {
                let folder = self.folder(case, peer.name)?;
                due.copies.inputs(&folder)?;
                file(due.copies, &folder)?;
                rows.push(Self::kept(self.peer_in(peer, &folder), due));
            }
        }
        Ok(rows)
    }

    fn noop(&self, case: Case, copies: Copies) -> io::Result<Vec<Row>> {
        let due = Due { copies, edited: None };
        let fleet = self.kept_fleet("fleet", case, due)?;
        let looks = ["--limit", "stat", &copies.0.to_string(), &self.jobs.to_string()];
        // The very files that fleet has there.
        let looks = self.own_row(&format!("stat by {} threads", self.jobs), &fleet.order.folder, &looks);
        Ok([looks, fleet].into_iter().chain(self.kept_peers(case, due)?).collect())
    }

    fn edit(&self, case: Case, copies: Copies) -> io::Result<Vec<Row>> {
        let due = Due { copies, edited: Some(copies.0 / 2) };
        // In a workspace of its own: what an edit leaves is not a no-op's to clear up.
        let noop = self.kept_fleet("fleet, nothing edited", case, Due { edited: None, ..due })?;
        let fleet = self.kept_fleet("fleet", case, due)?;
        Ok([noop, fleet].into_iter().chain(self.kept_peers(case, due)?).collect())
    }
}
