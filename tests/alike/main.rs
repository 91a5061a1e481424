//! The same everywhere: a table of behaviours, each tried on every kind of host by the built binary, and one cell for
//! each. `behaviour` what a row is · `column` a host and how its workers are declared · `stage` a workspace there and
//! the runs in it · `seen` what a run left behind · `rows` the behaviours · `table` how it is printed, and held against
//! the page of the book that lists them.
//!
//! Behaviours that do not disturb each other are tasks of one fleet file, so a host is reached once for all of them. The
//! others have a workspace of their own. A cell is `ok`, `FAIL`, `n.a.` where a host cannot have it, with the reason, or
//! `=` where another column shows as much of it.

mod behaviour;
mod column;
mod rows;
mod seen;
mod stage;
mod table;

#[path = "../hosts/mod.rs"]
mod hosts;
#[path = "../run/support/journal.rs"]
#[allow(dead_code, reason = "only what reads records is wanted here")]
mod journal;

use std::collections::BTreeMap;
use std::sync::Once;

use behaviour::{Behaviour, Host, Kind, Tried, Way};
use column::Column;
use stage::Stage;
use table::{Cell, Table};

#[test]
fn every_host_does_the_same() {
    let behaviours = rows::all();
    let mut table = Table::new(&behaviours);
    std::thread::scope(|scope| {
        let columns = Kind::ALL.map(|kind| {
            let behaviours = &behaviours;
            (
                kind,
                scope.spawn(move || {
                    let column = hosts::or_left_out(Column::of(kind))?;
                    settle(&column);
                    Some(column_of(&column, behaviours))
                }),
            )
        });
        for (kind, column) in columns {
            match column.join() {
                Ok(Some(cells)) => table.add(kind, cells),
                Ok(None) => {}
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    println!("{table}");
    let failures = table.failures();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// `BOOK=write` puts it there.
#[test]
fn the_book_has_the_table() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("book/src/design/alike.md");
    let text = std::fs::read_to_string(&page).expect("the page is there");
    let (begin, _) = text.split_once("| behaviour |").expect("the page has the table");
    let want = format!("{begin}{}", table::for_the_book(&rows::all()));
    if std::env::var_os("BOOK").is_some_and(|how| how == "write") {
        std::fs::write(page, want).expect("the book is ours");
    } else {
        assert!(text == want, "the table is another: BOOK=write cargo test --test alike, and look at the difference");
    }
}

/// Tries all that a host can have. What has runs of its own is tried while the shared one goes on.
fn column_of(column: &Column, behaviours: &[Behaviour]) -> BTreeMap<&'static str, Cell> {
    let (together, alone): (Vec<_>, Vec<_>) = behaviours
        .iter()
        .filter(|behaviour| behaviour.left_out(column.kind).is_none())
        .partition(|behaviour| matches!(behaviour.way, Way::Together { .. }));
    let mut cells: BTreeMap<_, _> = std::thread::scope(|scope| {
        let shared = scope.spawn(|| shared_run(column, &together));
        let alone = alone.into_iter().filter_map(|behaviour| match behaviour.way {
            Way::Alone(try_it) => Some((behaviour.name, Cell::of(try_it(column)))),
            Way::Together { .. } | Way::Last => None,
        });
        let alone: Vec<_> = alone.collect();
        shared.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).into_iter().chain(alone).collect()
    });
    for behaviour in behaviours {
        if let Some(why) = behaviour.left_out(column.kind) {
            cells.insert(behaviour.name, Cell::LeftOut(why));
        }
    }
    cells.insert(rows::NOTHING_LEFT, Cell::of(nothing_left(column)));
    cells
}

/// Lets a machine that columns share have `fleet` sent once, and not by each of the runs that begin at the same time.
fn settle(column: &Column) {
    static SENT: Once = Once::new();
    if column.kind.host == Host::Ssh {
        let tasks =
            ["one", "two"].map(|worker| format!("[tasks.{worker}]\nworker = {{ id = '{worker}' }}\nrun = 'true'\n"));
        // What goes wrong here goes wrong in every row.
        SENT.call_once(|| drop(Stage::new(column, &tasks.concat()).run(&["run"])));
    }
}

/// One run of all tasks that do not disturb each other.
fn shared_run(column: &Column, behaviours: &[&Behaviour]) -> Vec<(&'static str, Cell)> {
    let tasks: String = behaviours.iter().map(|behaviour| behaviour.tasks()).collect();
    let stage = rows::prepare(Stage::new(column, &tasks));
    let seen = stage.run(&["run", "--keep-going"]);
    let judged = behaviours.iter().filter_map(|behaviour| match behaviour.way {
        Way::Together { judge, .. } => {
            Some((behaviour.name, Cell::of(judge(&seen).map(drop).map_err(|why| seen.explained(why)))))
        }
        Way::Alone(_) | Way::Last => None,
    });
    judged.collect()
}

/// After all of it: no process that bears the mark of the column.
fn nothing_left(column: &Column) -> Tried {
    let left = hosts::processes::mentioning(&column.mark);
    if left.is_empty() { Ok(()) } else { Err(format!("still there: {left:?}")) }
}
