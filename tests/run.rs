//! `fleet run` through its built binary, with real processes: what the contract promises, told as stories.
//!
//! - `support` the story builder, living runs, and what is read back: receipts, journal, processes
//! - `execution` what a task is given and must find · `time` its clocks · `order` when it runs, and beside whom
//! - `outcome` needs, failures and what they lead to · `reading` which file and which tasks are meant
//! - `judging` scorers · `records` journal, receipts, store, status, logs · `terminal` what a person sees
//! - `reuse` what does not run again · `restore` its outputs, and a state directory that suffered · `traps` edits that other
//!   tools miss
//! - `signals` how a run is ended · `exits` its codes · `leftovers` that nothing is left behind
//!
//! Time never decides: tasks meet at files, and a limit is only there to end a test that would hang.

mod run {
    mod execution;
    mod exits;
    mod judging;
    mod leftovers;
    mod order;
    mod outcome;
    mod reading;
    mod records;
    mod restore;
    mod reuse;
    mod signals;
    mod support;
    mod terminal;
    mod time;
    mod traps;
}
