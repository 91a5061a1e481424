//! `command`: a program of the user's judges, and may print a score.
//! The engine ran it; here its end becomes a finding. Codes 126 and 127 are what a shell says of a program that it
//! could not start, so they are the scorer's own fault, as are a kill, a timeout and a score that cannot be read.

use serde::Deserialize;

use super::{CommandEnd, CommandHow, Finding, Grade, SCORE_BYTES_MAX};
use crate::policy::signal::signal_name;

/// What a program prints with `score = "stdout-json"`. Unknown keys are left alone.
#[derive(Debug, Deserialize)]
struct Printed {
    value: f64,
    /// 1 unless said, as in the protocol's score.
    max: Option<f64>,
    notes: Option<String>,
}

pub(super) fn judge(end: Option<&CommandEnd>, score_from_stdout: bool) -> Finding {
    let Some(end) = end else { return Finding::broken("the program was not run") };
    match &end.how {
        CommandHow::NotStarted(error) => Finding::broken(format!("could not be started: {error}")),
        CommandHow::Signaled(signal) => Finding::broken(format!("ended by {}", signal_name(*signal))),
        CommandHow::Outgrown => Finding::broken("wrote more than the `attempt_size` of its worker allows"),
        CommandHow::TimedOut => Finding::broken("ran longer than its timeout"),
        CommandHow::Exited(code @ 1..=125) => refused(*code, end, score_from_stdout),
        CommandHow::Exited(0) if score_from_stdout => read(&end.stdout).unwrap_or_else(Finding::broken),
        CommandHow::Exited(0) => Finding::yes("exit code 0"),
        CommandHow::Exited(code) => Finding::broken(format!("exit code {code}: the program could not be run")),
    }
}

/// A program that said no. Its score, when it printed one, is kept for the mean, but no score turns its no into a yes.
fn refused(code: i32, end: &CommandEnd, score_from_stdout: bool) -> Finding {
    let printed = if score_from_stdout { read(&end.stdout).ok() } else { None };
    match printed {
        Some(score) => {
            Finding { grade: Grade::Decided(false), evidence: format!("exit code {code}, {}", score.evidence), ..score }
        }
        None => Finding { grade: Grade::Decided(false), ..Finding::no(format!("exit code {code}")) },
    }
}

/// Reads a printed score; `Err` says what is wrong with it.
fn read(stdout: &[u8]) -> Result<Finding, String> {
    if stdout.len() > SCORE_BYTES_MAX {
        return Err(format!("printed more than {SCORE_BYTES_MAX} bytes where a score was expected"));
    }
    let printed: Printed =
        serde_json::from_slice(stdout).map_err(|error| format!("its output is not a score: {error}"))?;
    let max = printed.max.unwrap_or(1.0);
    // JSON has no infinities, so what is left to refuse is a scale that is no scale and a value off the scale.
    if max <= 0.0 || !(0.0..=max).contains(&printed.value) {
        return Err(format!("its score of {} of {max} is not on a scale from 0 to its maximum", printed.value));
    }
    let notes = printed.notes.map(|notes| format!(": {notes}")).unwrap_or_default();
    Ok(Finding {
        grade: Grade::Share,
        value: printed.value,
        max,
        evidence: format!("{} of {max}{notes}", printed.value),
    })
}
