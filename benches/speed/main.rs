//! How far `fleet` is from the floor: `cargo bench --bench speed [-- --quick] [--rounds N] [--markdown FILE] [CASE…]`.
//!
//! Whole processes are measured, wall and CPU and peak memory, with journal, logs and receipts written as always.
//! All runners of a case take turns, round after round, and the figure is the ratio within a round, so that what else
//! the machine does falls on all of them. No figure fails the bench; that something could not be run does.
//!
//! `case` what is measured · `work` the files for it · `copies` those where nothing is left to do · `peer` the other
//! runners · `floor` the bare loops · `meter` one run of one process · `figure` tables and targets

mod case;
mod copies;
mod figure;
mod floor;
mod meter;
mod peer;
mod work;

use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use case::{Case, FULL, QUICK, Row, Setup};
use figure::{Measured, Runner, promises};
use meter::End;
use peer::PEERS;

const USAGE: &str = "\
cargo bench --bench speed -- [--quick] [--rounds N] [--jobs N] [--markdown FILE] [CASE…]

  --quick          smaller cases and two rounds: a minute instead of ten
  --rounds N       rounds of a case of a few seconds; smaller cases have more, larger ones fewer [default: 5]
  --jobs N         tasks at a time [default: the number of cores]
  --markdown FILE  write what is printed to a file as well
  CASE             help, one, check:N, chain:N, layers:N, wide:N, noop:N, edit:N, print:MIB, memory:N
                   [default: all of them]
";

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let text = |at: usize| words.get(at).and_then(|word| word.to_str()).unwrap_or_default();
    let number = |at: usize| text(at).parse::<usize>().unwrap_or(0);
    let done = match text(0) {
        "--limit" => floor::limit(text(1), number(2), number(3)),
        "--meter" => meter::meter(text(1), &words[2..]),
        _ => match Arguments::of(&words) {
            Ok(Some(arguments)) => bench(&arguments),
            Ok(None) => {
                print!("{USAGE}");
                Ok(ExitCode::SUCCESS)
            }
            Err(misuse) => {
                eprint!("{misuse}\n\n{USAGE}");
                Ok(ExitCode::from(2))
            }
        },
    };
    done.unwrap_or_else(|error| {
        eprintln!("speed: {error}");
        ExitCode::FAILURE
    })
}

#[derive(Clone, Debug)]
struct Arguments {
    quick: bool,
    rounds: usize,
    jobs: usize,
    markdown: Option<PathBuf>,
    cases: Vec<Case>,
}

impl Arguments {
    /// `None`: asked for help, or started by `cargo test`, where there is nothing to measure.
    fn of(words: &[OsString]) -> Result<Option<Self>, String> {
        let (mut bench, mut quick, mut rounds, mut markdown, mut cases) = (false, false, None, None, Vec::new());
        let mut jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let mut words = words.iter().map(|word| word.to_string_lossy());
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("`{word}` wants a value"));
            let positive =
                |text: &str| text.parse().ok().filter(|&n| n > 0).ok_or_else(|| format!("`{text}`: no number"));
            match &*word {
                "--bench" => bench = true,
                "--quick" => quick = true,
                "--rounds" => rounds = Some(positive(&value()?)?),
                "--jobs" => jobs = positive(&value()?)?,
                "--markdown" => markdown = Some(PathBuf::from(&*value()?)),
                "--help" | "-h" => return Ok(None),
                name => cases.push(Case::parse(name).ok_or_else(|| format!("no case is called `{name}`"))?),
            }
        }
        if !bench && cases.is_empty() {
            return Ok(None);
        }
        if cases.is_empty() {
            let usual: &[&str] = if quick { &QUICK } else { &FULL };
            cases.extend(usual.iter().map(|name| Case::parse(name).expect("the tables hold names of cases")));
        }
        let rounds = rounds.unwrap_or(if quick { 2 } else { 5 });
        Ok(Some(Self { quick, rounds, jobs, markdown, cases }))
    }
}

fn bench(arguments: &Arguments) -> io::Result<ExitCode> {
    // Beside the build and not in /tmp, which may be memory: the journal is to be synced to a disk.
    fs::create_dir_all(env!("CARGO_TARGET_TMPDIR"))?;
    let scratch = tempfile::Builder::new().prefix("speed-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let setup = Setup {
        fleet: env!("CARGO_BIN_EXE_fleet").into(),
        own: std::env::current_exe()?,
        folder: scratch.path().to_owned(),
        jobs: arguments.jobs,
        quick: arguments.quick,
        peers: PEERS.iter().filter(|peer| peer.version().is_some()).copied().collect(),
    };
    let mut report = Report { text: String::new(), file: arguments.markdown.as_deref() };
    report.say(&surroundings(), "")?;
    let mut all = Vec::new();
    for &case in &arguments.cases {
        let measured = measure(case, &setup, case.rounds(arguments.rounds))?;
        let table = measured.table();
        all.push(measured);
        report.say(&table, &promises(&all).0)?;
    }
    let (targets, missed) = promises(&all);
    print!("{targets}");
    eprintln!("{missed} missed; load at the end {}", load());
    Ok(ExitCode::SUCCESS)
}

/// What is printed, and kept for the file. That is written anew with each piece, so that a bench that is cut short has
/// something to show.
#[derive(Debug)]
struct Report<'a> {
    text: String,
    file: Option<&'a Path>,
}

impl Report<'_> {
    /// Prints a piece; `end` is what the file has behind it as long as nothing follows.
    fn say(&mut self, piece: &str, end: &str) -> io::Result<()> {
        println!("{piece}");
        self.text.push_str(piece);
        self.text.push('\n');
        self.file.map_or(Ok(()), |file| fs::write(file, self.text.clone() + end))
    }
}

/// Measures all rows of a case in turn, `rounds` times. The first moves on by one each round, so that nobody always
/// comes behind the same other.
fn measure(case: Case, setup: &Setup, rounds: usize) -> io::Result<Measured> {
    let rows = case.prepare(setup)?;
    let mut runners: Vec<Runner> =
        rows.iter().map(|row| Runner { name: row.runner.clone(), samples: Vec::new() }).collect();
    warm(case, &rows)?;
    for round in 0..rounds {
        if io::stderr().is_terminal() {
            eprint!("\r{case}: round {} of {rounds}  ", round + 1);
        }
        for at in (0..rows.len()).map(|place| (place + round) % rows.len()) {
            if round < rows[at].rounds_max {
                runners[at].samples.push(once(case, &rows[at])?);
            }
        }
    }
    if io::stderr().is_terminal() {
        eprint!("\r{:40}\r", "");
    }
    // The folders of 100,000 tasks are not left for the end.
    rows.iter().try_for_each(|row| match fs::remove_dir_all(&row.order.folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })?;
    Ok(Measured { case, title: case.title(setup.jobs), rounds, runners })
}

/// The untimed runs. First all build and then all find nothing to do, so that what was built has some age by then.
fn warm(case: Case, rows: &[Row]) -> io::Result<()> {
    let runs = rows.iter().map(|row| row.warm).max().unwrap_or(0);
    for run in 0..runs {
        for row in rows.iter().filter(|row| run < row.warm) {
            passed(case, row, row.order.measure()?)?;
        }
    }
    Ok(())
}

fn once(case: Case, row: &Row) -> io::Result<meter::Sample> {
    let folder = &row.order.folder;
    let before = row.due.map(|due| Ok::<_, io::Error>((due, due.before(folder)?))).transpose()?;
    let mut sample = row.order.measure()?;
    if let Some((due, before)) = before.filter(|_| sample.end == End::Passed) {
        sample.end = due.after(folder, &before);
    }
    passed(case, row, sample)
}

fn passed(case: Case, row: &Row, sample: meter::Sample) -> io::Result<meter::Sample> {
    if sample.end != End::Passed && row.must_pass {
        let says = row.order.complaints();
        return Err(io::Error::other(format!("{case}, {}: {}\n{says}", row.runner, sample.end)));
    }
    Ok(sample)
}

/// The machine, the day and the versions, as a paragraph.
fn surroundings() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let processor = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let processor = processor.map_or("a processor without a name", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let peers = PEERS.iter().map(|peer| match peer.version() {
        Some(version) => format!("{} {version}", peer.name),
        None => format!("{} is absent (package `{}`)", peer.name, peer.package),
    });
    format!(
        "fleet {} on {cores} cores of {processor}, {} {}, load {} at the start. Peers: {}.\n",
        env!("CARGO_PKG_VERSION"),
        read("/proc/sys/kernel/ostype").trim(),
        read("/proc/sys/kernel/osrelease").trim(),
        load(),
        peers.collect::<Vec<_>>().join(", "),
    )
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}
