//! How a run is shown: what `run`, `resume` and `rerun` take in the same words.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use console::Term;
use indicatif::ProgressDrawTarget;

use super::{Shell, env};
use crate::policy::ExitCode;
use crate::report::ci::Ci;
use crate::report::{Drain, Human, Json, OutputMode, Queue, Rerun, Sinks, human};

/// How to show a run.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line, and they mean nothing together"
)]
#[derive(Args, Clone, Debug, Default)]
pub struct ShowArgs {
    /// Say of each task that runs why no earlier result is reused
    #[arg(long)]
    pub explain: bool,
    /// Print each event as a line of JSON on standard output, and everything for people on standard error
    #[arg(long)]
    pub json: bool,
    /// How to show what tasks print [default: grouped]
    #[arg(short, long, value_enum, value_name = "HOW")]
    pub output: Option<OutputMode>,
    /// No live display; a line per event instead
    #[arg(long)]
    pub no_progress: bool,
    /// As a CI wants it: --no-progress --output grouped --keep-going, and the marks of GitHub Actions or GitLab
    #[arg(long)]
    pub ci: bool,
}

impl ShowArgs {
    /// Everyone who listens to the run: people, and with `--json` programs.
    pub(super) fn sinks(&self, rerun: Rerun, shell: Shell) -> io::Result<(Sinks, Vec<Drain>)> {
        let (terminal, paint) = if self.json {
            (io::stderr().is_terminal(), shell.stderr())
        } else {
            (io::stdout().is_terminal(), shell.stdout())
        };
        let to: Box<dyn Write + Send> = if self.json { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
        let (human, drain) = Human::beside(human::Options {
            to,
            terminal,
            paint,
            size: || Term::stderr().size(),
            output: self.output.unwrap_or_default(),
            // A colour is not a dumb terminal's only lack: it cannot move the cursor either.
            live: self
                .wants_live(io::stderr().is_terminal(), env("TERM").as_deref())
                .then(|| (ProgressDrawTarget::stderr_with_hz(human::DRAWS_PER_SECOND), shell.stderr())),
            ci: if self.ci { Ci::detect(env) } else { Ci::None },
            rerun,
            explain: self.explain,
        })?;
        let sinks = Sinks::default().with(human);
        if !self.json {
            return Ok((sinks, vec![drain]));
        }
        let (queue, all) = Queue::start(Box::new(io::stdout()))?;
        Ok((sinks.with(Json::new(Box::new(queue)).explaining(self.explain)), vec![drain, all]))
    }

    /// Whether the terminal's keys are for us: where the live display is that they go with.
    pub(super) fn wants_keys(&self) -> bool {
        io::stdin().is_terminal() && self.wants_live(io::stderr().is_terminal(), env("TERM").as_deref())
    }

    pub(super) fn wants_live(&self, terminal: bool, term: Option<&str>) -> bool {
        terminal && !self.no_progress && !self.ci && term.is_some_and(|term| term != "dumb")
    }
}

/// Waits until whoever reads has all of it. The run is over by then, so a signal ends the wait and us.
pub(super) fn all_written(drains: Vec<Drain>) -> io::Result<()> {
    for (signal, exit) in [
        (libc::SIGINT, ExitCode::Interrupted),
        (libc::SIGTERM, ExitCode::Terminated),
        (libc::SIGHUP, ExitCode::Terminated),
    ] {
        if !crate::supervisor::is_ignored(signal) {
            let always = Arc::new(AtomicBool::new(true));
            signal_hook::flag::register_conditional_shutdown(signal, exit.code().into(), always)?;
        }
    }
    drains.into_iter().map(Drain::wait).fold(Ok(()), Result::and)
}
