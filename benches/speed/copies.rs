//! A workspace in which every task copies one file to another, as the input file of each runner, and the check that a
//! run wrote what was due there and nothing else. A runner that looks at nothing would be the fastest.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use crate::meter::End;
use crate::work::write;

const COPY: &str = "/bin/cp";

/// That many tasks `t0`, `t1`, …: `cp in/0 out/0`, `cp in/1 out/1`, …
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copies(pub(crate) usize);

impl Copies {
    /// The inputs, and the folder for the outputs, which `cp` does not make.
    pub(crate) fn inputs(self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder.join("in"))?;
        fs::create_dir_all(folder.join("out"))?;
        (0..self.0).try_for_each(|task| fs::write(folder.join(input(task)), format!("{task}\n")))
    }

    /// For ninja and samurai: `build.ninja`.
    pub(crate) fn ninja(self, folder: &Path) -> io::Result<()> {
        write(&folder.join("build.ninja"), |out| {
            writeln!(out, "rule copy\n  command = {COPY} $in $out")?;
            (0..self.0).try_for_each(|task| writeln!(out, "build {}: copy {}", output(task), input(task)))
        })
    }

    /// For make: `Makefile`.
    pub(crate) fn make(self, folder: &Path) -> io::Result<()> {
        write(&folder.join("Makefile"), |out| {
            write!(out, ".SUFFIXES:\nMAKEFLAGS += -rR\n.PHONY: all\nall:")?;
            (0..self.0).try_for_each(|task| write!(out, " {}", output(task)))?;
            writeln!(out)?;
            (0..self.0).try_for_each(|task| {
                let (from, to) = (input(task), output(task));
                writeln!(out, "{to}: {from}\n\t@{COPY} {from} {to}")
            })
        })
    }

    /// `fleet.toml`.
    pub(crate) fn fleet(self, folder: &Path) -> io::Result<()> {
        write(&folder.join("fleet.toml"), |out| {
            writeln!(out, "version = 1\nname = \"bench\"")?;
            (0..self.0).try_for_each(|task| {
                let (from, to) = (input(task), output(task));
                writeln!(out, "\n[tasks.t{task}]\nrun = [\"{COPY}\", \"{from}\", \"{to}\"]")?;
                writeln!(out, "inputs = [\"{from}\"]\noutputs = [\"{to}\"]")
            })
        })
    }
}

pub(crate) fn input(task: usize) -> String {
    format!("in/{task}")
}

pub(crate) fn output(task: usize) -> String {
    format!("out/{task}")
}

/// What a run has to do where everything is up to date: nothing, or one task whose input is edited just before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    pub(crate) copies: Copies,
    pub(crate) edited: Option<usize>,
}

/// When each output was written; `None`: it is not there.
pub(crate) type Stamps = Vec<Option<SystemTime>>;

impl Due {
    /// Edits, and takes the stamps of all outputs. What was appended before is still there, so that the content is one
    /// that no earlier run has seen.
    pub(crate) fn before(self, folder: &Path) -> io::Result<Stamps> {
        if let Some(task) = self.edited {
            OpenOptions::new().append(true).open(folder.join(input(task)))?.write_all(b"edited\n")?;
        }
        Ok(self.stamps(folder))
    }

    /// Whether a run has written what was due, and only that.
    pub(crate) fn after(self, folder: &Path, before: &Stamps) -> End {
        let after = self.stamps(folder);
        let written: Vec<usize> = (0..self.copies.0).filter(|&task| before[task] != after[task]).collect();
        let content = |name: String| fs::read(folder.join(name)).ok();
        match self.edited {
            Some(task) if written == [task] && content(input(task)) == content(output(task)) => End::Passed,
            Some(task) if written == [task] => End::Stale,
            None if written.is_empty() => End::Passed,
            _ => End::Wrote(written.len()),
        }
    }

    fn stamps(self, folder: &Path) -> Stamps {
        let stamp = |task| fs::metadata(folder.join(output(task))).and_then(|data| data.modified()).ok();
        (0..self.copies.0).map(stamp).collect()
    }
}
