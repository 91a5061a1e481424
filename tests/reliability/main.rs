//! What is promised of a run that somebody or something cuts short: each row of the scoreboard as a test.
//! `row` what is counted · `world` a folder with tasks that tell of themselves, and its judge · `kill` SIGKILL of whom, and
//! when · `writes` every write that can fail · `readers` who looks while a run writes, and runs that want the same
//! directory · `power` what a loss of power leaves · `orphans` what a task leaves · `signals` how a person ends a run ·
//! `threads` that their number changes nothing. `benches/reliability` runs the rows at full scale and prints the table of
//! the book.

pub(crate) mod kill;
pub(crate) mod orphans;
pub(crate) mod power;
mod readers;
pub(crate) mod row;
pub(crate) mod signals;
mod support;
pub(crate) mod threads;
pub(crate) mod world;
mod writes;

#[test]
fn the_engine_is_killed_at_its_writes() {
    kill::every_write().holds();
}

#[test]
fn a_run_that_goes_on_is_killed_again_and_again() {
    kill::three_deep(row::Scale::Suite).holds();
}

#[test]
fn engine_and_supervisor_are_killed_at_any_moment() {
    kill::any_moment("SIGKILL of engine, supervisor or both, 400 tasks", 9, 400).holds();
}

#[test]
fn the_engine_is_killed_as_it_waits() {
    kill::every_wait(row::Scale::Suite).holds();
}

#[test]
fn nothing_outlives_who_started_it() {
    orphans::every_kind(row::Scale::Suite).holds();
}

#[test]
fn a_person_ends_a_run() {
    signals::every_kind(row::Scale::Suite).holds();
}

#[test]
fn any_number_of_threads_comes_to_the_same() {
    threads::any_number(row::Scale::Suite).holds();
}

#[test]
fn the_power_fails_at_every_event() {
    power::every_prefix(row::Scale::Suite).holds();
}
