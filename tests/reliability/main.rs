//! What is promised of a run that somebody or something cuts short: each row of the scoreboard as a test.
//! `row` what is counted · `world` a folder with tasks that tell of themselves, and its judge · `kill` SIGKILL of whom, and
//! when · `writes` every write that can fail · `readers` who looks while a run writes, and runs that want the same
//! directory. `benches/reliability` runs the same at full scale and prints the table of the book.

mod kill;
mod readers;
mod row;
mod support;
mod world;
mod writes;

use row::Scale::Suite;

#[test]
fn the_engine_is_killed_at_its_writes() {
    kill::every_write().holds();
}

#[test]
fn a_run_that_goes_on_is_killed_again_and_again() {
    kill::three_deep(Suite).holds();
}

#[test]
fn engine_and_supervisor_are_killed_at_any_moment() {
    kill::any_moment(Suite).holds();
}
