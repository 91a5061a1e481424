//! The scoreboard of what is promised of runs that are cut short: `cargo bench --bench reliability [-- --quick]
//! [--markdown FILE] [ROW…]`.
//!
//! The rows are those of `tests/reliability`, at full scale: how often something was tried, and what went wrong. Anything
//! that went wrong fails the bench.

#[path = "../../tests/reliability/main.rs"]
#[allow(dead_code, unused_imports, reason = "what only the tests ask for")]
mod reliability;

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use reliability::row::{Row, Scale};
use reliability::{kill, orphans, power, signals, threads};

const USAGE: &str = "\
cargo bench --bench reliability -- [--quick] [--markdown FILE] [ROW…]

  --quick          as much of each row as the tests try: a minute instead of twenty
  --markdown FILE  write the table to a file as well
  ROW              write, wait, moment, moment-10000, deep, power, orphans, signals, threads [default: all of them]
";

/// What a row is asked for by, and what makes it.
type Maker = (&'static str, fn(Scale) -> Row);

const ROWS: [Maker; 9] = [
    ("write", |_| kill::every_write()),
    ("wait", kill::every_wait),
    ("moment", |scale| {
        kill::any_moment("SIGKILL of engine, supervisor or both at random moments, 400 tasks", scale.of(9, 40), 400)
    }),
    ("moment-10000", |scale| {
        kill::any_moment(
            "SIGKILL of engine, supervisor or both at random moments, 10,000 tasks",
            scale.of(1, 10),
            10_000,
        )
    }),
    ("deep", kill::three_deep),
    ("power", power::every_prefix),
    ("orphans", orphans::every_kind),
    ("signals", signals::every_kind),
    ("threads", threads::any_number),
];

/// The other rows: what is tried, and the tests that try all of it. They count nothing, they fail.
const TESTS: [[&str; 3]; 6] = [
    [
        "journal cut at every byte; a bit flipped at every byte of a small run",
        "every byte, by the reader and by the repair; a sample of them by the program",
        "src/journal/tests.rs, src/journal/repair/tests.rs, tests/run/journal.rs",
    ],
    [
        "nth write fails (ENOSPC, EIO, short write), all n; tiny tmpfs; RLIMIT_FSIZE",
        "every call that writes, opens, syncs or renames, one at a time",
        "tests/reliability/writes.rs",
    ],
    ["wall clock ±1 day mid-run", "a clock that is told what to say", "src/time/clock.rs"],
    [
        "1 GiB without newline, 10 million lines, invalid UTF-8, escapes",
        "the run and what is replayed",
        "tests/run/output.rs",
    ],
    ["two runs in one directory; 50 concurrent readers", "runs and readers at once", "tests/reliability/readers.rs"],
    [
        "the scheduler's and the resume decision tables, enumerated",
        "every combination of what a decision looks at, and random worlds, against a second reading of the rules",
        "src/policy/resume.rs, src/policy/verdict/tests.rs, src/schedule/sim.rs",
    ],
];

struct Arguments {
    scale: Scale,
    markdown: Option<PathBuf>,
    rows: Vec<Maker>,
}

impl Arguments {
    /// `None`: asked for help, or started by `cargo test`, where the tests try it.
    fn of(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let (mut bench, mut asked) = (false, Self { scale: Scale::Full, markdown: None, rows: Vec::new() });
        while let Some(word) = words.next() {
            match &*word {
                "--bench" => bench = true,
                "--quick" => asked.scale = Scale::Suite,
                "--markdown" => asked.markdown = Some(words.next().ok_or("`--markdown` wants a file")?.into()),
                "--help" | "-h" => return Ok(None),
                name => {
                    let row = ROWS.into_iter().find(|(known, _)| *known == name);
                    asked.rows.push(row.ok_or_else(|| format!("no row is called `{name}`"))?);
                }
            }
        }
        if asked.rows.is_empty() {
            asked.rows.extend(ROWS);
        }
        Ok(bench.then_some(asked))
    }
}

fn main() -> ExitCode {
    let done = match Arguments::of(std::env::args().skip(1)) {
        Ok(Some(arguments)) => bench(&arguments),
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(misuse) => {
            eprint!("{misuse}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("reliability: {error}");
        ExitCode::FAILURE
    })
}

fn bench(arguments: &Arguments) -> io::Result<ExitCode> {
    let mut table = "| row | tried | result |\n| --- | --- | --- |\n".to_owned();
    print!("{table}");
    let mut all_well = true;
    for (name, make) in &arguments.rows {
        let begin = Instant::now();
        let row = make(arguments.scale);
        let line = format!("| {} | {} | {} |\n", row.name, row.tried, row.result());
        print!("{line}");
        io::stdout().flush()?;
        eprintln!("{name} took {:.0?}", begin.elapsed());
        row.examples.iter().for_each(|example| eprintln!("  {example}"));
        all_well &= row.all_well();
        table.push_str(&line);
        // With each row, so that a bench that is cut short has something to show.
        if let Some(file) = &arguments.markdown {
            fs::write(file, &table)?;
        }
    }
    if arguments.rows.len() == ROWS.len() {
        let rows = TESTS.map(|[row, tried, tests]| format!("| {row} | {tried} | held by {tests} |\n")).concat();
        print!("{rows}");
        table.push_str(&rows);
        if let Some(file) = &arguments.markdown {
            fs::write(file, &table)?;
        }
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
