//! The table as it is printed: a row for each behaviour, a column for each host, and below it why a cell is not `ok`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use super::behaviour::{Behaviour, Kind, Tried};

#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Ok,
    Fail(String),
    /// The host cannot have it.
    NotHere(&'static str),
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
            let Some(reason) = behaviour.reason_against(kind) else { return "ok".to_owned() };
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
            Self::NotHere(_) => "n.a.",
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
            write!(f, "  {:6}", kind.name())?;
        }
        writeln!(f)?;
        let mut reasons = BTreeSet::new();
        for row in &self.rows {
            write!(f, "{row:width$}")?;
            for (kind, cells) in &self.columns {
                let cell = cells.get(row);
                write!(f, "  {:6}", cell.map_or("-", Cell::word))?;
                if let Some(Cell::NotHere(reason)) = cell {
                    reasons.insert(format!("n.a.  {row} @ {}: {reason}", kind.name()));
                }
            }
            writeln!(f)?;
        }
        let count =
            |word: &str| self.columns.values().flat_map(BTreeMap::values).filter(|cell| cell.word() == word).count();
        writeln!(
            f,
            "\n{} behaviours on {} hosts: {} ok, {} FAIL, {} n.a.",
            self.rows.len(),
            self.columns.len(),
            count("ok"),
            count("FAIL"),
            count("n.a.")
        )?;
        reasons.iter().try_for_each(|reason| writeln!(f, "{reason}"))
    }
}
