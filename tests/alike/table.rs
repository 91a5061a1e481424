//! The table as it is printed: a row for each behaviour, a column for each host, and below it why a cell is not `ok`.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::behaviour::{Behaviour, Kind, LeftOut, Tried};

/// The width of a column at least.
const CELL: usize = 6;
/// The word for what another column shows as well.
const AS_IN: &str = "=";

#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Ok,
    Fail(String),
    LeftOut(LeftOut),
}

#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<&'static str>,
    columns: BTreeMap<Kind, BTreeMap<&'static str, Cell>>,
}

/// The same as it has to be: a row for each behaviour, and below it the reasons.
pub(crate) fn for_the_book(behaviours: &[Behaviour]) -> String {
    let names = Kind::ALL.map(Kind::name).join(" | ");
    let mut text = format!("| behaviour | {names} |\n| --- |{}\n", " --- |".repeat(Kind::ALL.len()));
    let mut reasons: Vec<&str> = Vec::new();
    for behaviour in behaviours {
        let cells = Kind::ALL.map(|kind| {
            let reason = match behaviour.left_out(kind) {
                None => return "ok".to_owned(),
                Some(LeftOut::AsIn(_)) => return AS_IN.to_owned(),
                Some(LeftOut::Cannot(reason)) => reason,
            };
            let known = reasons.iter().position(|other| *other == reason).unwrap_or_else(|| {
                reasons.push(reason);
                reasons.len() - 1
            });
            format!("n.a. {}", known + 1)
        });
        let _ = writeln!(text, "| {} | {} |", behaviour.name, cells.join(" | "));
    }
    let reasons = reasons.iter().enumerate().fold(String::new(), |mut text, (n, reason)| {
        let _ = writeln!(text, "{}. {reason}", n + 1);
        text
    });
    format!("{text}\n{reasons}")
}

impl Cell {
    pub(crate) fn of(tried: Tried) -> Self {
        tried.map_or_else(Self::Fail, |()| Self::Ok)
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fail(_) => "FAIL",
            Self::LeftOut(LeftOut::Cannot(_)) => "n.a.",
            Self::LeftOut(LeftOut::AsIn(_)) => AS_IN,
        }
    }
}

impl Table {
    pub(crate) fn new(behaviours: &[Behaviour]) -> Self {
        Self { rows: behaviours.iter().map(|behaviour| behaviour.name).collect(), columns: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, kind: Kind, cells: BTreeMap<&'static str, Cell>) {
        self.columns.insert(kind, cells);
    }

    /// Every cell that is not as it has to be; a column with a row too few is one too.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for (kind, cells) in &self.columns {
            for row in &self.rows {
                match cells.get(row) {
                    Some(Cell::Fail(why)) => failures.push(format!("{row} @ {}: {why}", kind.name())),
                    Some(_) => {}
                    None => failures.push(format!("{row} @ {}: was not tried", kind.name())),
                }
            }
        }
        failures
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.chars().count()).max().unwrap_or_default();
        write!(f, "\n{:width$}", "behaviour")?;
        for kind in self.columns.keys() {
            write!(f, "  {:CELL$}", kind.name())?;
        }
        writeln!(f)?;
        // Of a row and a reason: whom it is about.
        let mut reasons: BTreeMap<(String, &str), Vec<String>> = BTreeMap::new();
        for row in &self.rows {
            write!(f, "{row:width$}")?;
            for (kind, cells) in &self.columns {
                let cell = cells.get(row);
                write!(f, "  {:1$}", cell.map_or("-", Cell::word), kind.name().len().max(CELL))?;
                match cell {
                    Some(Cell::LeftOut(LeftOut::Cannot(reason))) => {
                        reasons.entry((format!("n.a.  {row}"), reason)).or_default().push(kind.name());
                    }
                    Some(Cell::LeftOut(LeftOut::AsIn(other))) => {
                        reasons.entry((AS_IN.to_owned(), other)).or_insert_with(|| vec![kind.name()]);
                    }
                    _ => {}
                }
            }
            writeln!(f)?;
        }
        let count =
            |word: &str| self.columns.values().flat_map(BTreeMap::values).filter(|cell| cell.word() == word).count();
        writeln!(
            f,
            "\n{} behaviours on {} hosts: {} ok, {} FAIL, {} n.a., {} as on another",
            self.rows.len(),
            self.columns.len(),
            count("ok"),
            count("FAIL"),
            count("n.a."),
            count(AS_IN)
        )?;
        for ((row, reason), kinds) in &reasons {
            let kinds = kinds.join(", ");
            if row == AS_IN {
                writeln!(f, "{AS_IN}     {kinds}: the supervisor makes it so, and `{reason}` shows that it does")?;
            } else {
                writeln!(f, "{row} @ {kinds}: {reason}")?;
            }
        }
        Ok(())
    }
}
