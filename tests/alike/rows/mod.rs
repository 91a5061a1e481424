//! The behaviours, in the order of the table. `exits` how a process ends and what that comes to · `output` what it prints ·
//! `times` its limits, and how a person ends a run · `given` what it finds: words, environment, folder, input · `process`
//! what it is as a process, and what it leaves · `files` what it reads, `made` what it makes · `bounds` how much that may
//! be · `judging` scorers, attempts and receipts · `secrets` who gets one and where none is · `sandbox` what only a sandbox
//! does · `disturbed` hosts that are not as they should be.

mod bounds;
mod disturbed;
mod exits;
mod files;
mod given;
mod judging;
mod made;
mod output;
mod process;
mod sandbox;
mod secrets;
mod times;

use super::behaviour::{Behaviour, Way};
use super::stage::Stage;

/// Looked at when all else on a host is over.
pub(crate) const NOTHING_LEFT: &str = "nothing is left when all of it is over";

pub(crate) fn all() -> Vec<Behaviour> {
    let last = Behaviour::last(NOTHING_LEFT);
    let rows = [
        exits::ROWS,
        output::ROWS,
        times::ROWS,
        given::ROWS,
        process::ROWS,
        files::ROWS,
        made::ROWS,
        bounds::ROWS,
        judging::ROWS,
        secrets::ROWS,
        sandbox::ROWS,
        disturbed::ROWS,
        &[last],
    ]
    .concat();
    for (n, row) in rows.iter().enumerate() {
        assert!(rows[..n].iter().all(|other| other.name != row.name), "two rows are called `{}`", row.name);
        assert!(matches!(row.way, Way::Last | Way::Alone(_)) || !row.tasks().is_empty());
    }
    rows
}

/// The files that tasks of the shared fleet file read, and the variables of their caller.
pub(crate) fn prepare(stage: Stage) -> Stage {
    files::prepare(given::prepare(exits::prepare(stage)))
}
