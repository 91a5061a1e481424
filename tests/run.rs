//! `fleet run` through its built binary, with real processes: what the contract promises, told as stories.
//!
//! - `support` the story builder, living runs, and what is read back: receipts, journal, processes
//! - `execution` what a task is given and must find · `time` its clocks · `order` when it runs, and beside whom
//! - `placement` on which worker · `limits` what it may take of the machine
//! - `outcome` needs, failures and what they lead to · `reading` which file and which tasks are meant
//! - `cache` what is kept of past runs
//! - `affected` what a git change touches · `audit` what a traced task read
//! - `journal` one that is damaged, and repaired
//! - `judging` scorers · `records` journal, receipts, store, status, logs · `terminal` what a person sees
//! - `explain` why a task would run or not, foreseen and held against what happens
//! - `kept_plan` that no command believes an old reading of the file
//! - `output` much of it, odd bytes, and readers that stand still
//! - `sharing` a cache of several machines
//! - `reuse` what does not run again · `restore` its outputs, and a state directory that suffered · `traps` edits that other
//!   tools miss
//! - `resume` a run that was cut short goes on · `rerun` a run is done again
//! - `room` what the directory of an attempt may take
//! - `secrets` values that get where they should and nowhere else
//! - `retries` several attempts of a task · `tail` what a running task has printed so far
//! - `signals` how a run is ended · `exits` its codes · `leftovers` that nothing is left behind
//!
//! Time never decides: tasks meet at files, and a limit is only there to end a test that would hang.

#[path = "hosts/nginx.rs"]
mod nginx;

mod run {
    mod affected;
    mod audit;
    mod cache;
    mod execution;
    mod exits;
    mod explain;
    mod journal;
    mod judging;
    mod kept_plan;
    mod leftovers;
    mod limits;
    mod order;
    mod outcome;
    mod output;
    mod placement;
    mod reading;
    mod records;
    mod rerun;
    mod restore;
    mod resume;
    mod retries;
    mod reuse;
    mod room;
    mod secrets;
    mod sharing;
    mod signals;
    mod support;
    mod tail;
    mod terminal;
    mod time;
    mod traps;
}
