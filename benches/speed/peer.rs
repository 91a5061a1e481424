//! The other runners: how each is called, which file it reads, and whether it is here.

use std::io;
use std::path::Path;
use std::process::Command;

use crate::copies::Copies;
use crate::work::Work;

/// A runner to be compared with. A new one is one row of [`PEERS`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// What distributions call the package.
    pub(crate) package: &'static str,
    program: &'static str,
    /// Behind the program; `{jobs}` is how many tasks at a time.
    arguments: &'static [&'static str],
    pub(crate) file: fn(Work, &Path, &str) -> io::Result<()>,
    /// The file for copies; `None`: it does not know when a file is up to date.
    pub(crate) copies: Option<fn(Copies, &Path) -> io::Result<()>>,
    /// What it leaves behind and would read the next time.
    pub(crate) state: &'static [&'static str],
    /// Whether it knows that one task needs another.
    pub(crate) knows_needs: bool,
    /// Whether it takes in what tasks print, instead of handing its own standard output down.
    pub(crate) captures: bool,
}

pub(crate) const PEERS: [Peer; 4] = [
    Peer {
        name: "make",
        package: "make",
        program: "make",
        arguments: &["-j{jobs}"],
        file: Work::make,
        copies: Some(Copies::make),
        state: &[],
        knows_needs: true,
        captures: false,
    },
    Peer {
        name: "ninja",
        package: "ninja-build",
        program: "ninja",
        arguments: &["-j{jobs}"],
        file: Work::ninja,
        copies: Some(Copies::ninja),
        state: &[".ninja_log", ".ninja_deps"],
        knows_needs: true,
        captures: true,
    },
    Peer {
        name: "samurai",
        package: "samurai",
        program: "samu",
        arguments: &["-j{jobs}"],
        file: Work::ninja,
        copies: Some(Copies::ninja),
        state: &[".ninja_log", ".ninja_deps"],
        knows_needs: true,
        captures: true,
    },
    Peer {
        name: "GNU parallel",
        package: "parallel",
        program: "parallel",
        arguments: &["-j{jobs}", "-a", "commands.txt"],
        file: Work::lines,
        copies: None,
        state: &[],
        knows_needs: false,
        captures: true,
    },
];

impl Peer {
    /// What it says its version is; `None` when it is not on PATH.
    pub(crate) fn version(&self) -> Option<String> {
        let output = Command::new(self.program).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        Some(number.unwrap_or("of an unknown version").to_owned())
    }

    pub(crate) fn argv(&self, jobs: usize) -> Vec<String> {
        let arguments = self.arguments.iter().map(|word| word.replace("{jobs}", &jobs.to_string()));
        std::iter::once(self.program.to_owned()).chain(arguments).collect()
    }
}
