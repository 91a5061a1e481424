//! The same work as the input file of each runner. A shape and a size always give the same graph and the same bytes.
//! Written straight to disk, so that the bench itself stays small (see `meter`).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::floor::TASK;

/// Width of a layer.
const LAYER: usize = 50;
/// How many layers back a need may reach.
const REACH: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Nothing needs anything.
    Wide,
    /// Each needs the one before.
    Chain,
    /// Layers of 50; a task needs two to four, mostly three, of the three layers before.
    Layers,
}

/// Tasks `t0`, `t1`, …
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) shape: Shape,
    pub(crate) count: usize,
}

/// How a task of a fleet file looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// `run` and `needs`.
    Bare,
    /// Nine keys, as people write them.
    Full,
}

impl Work {
    /// What a task needs, by number, ascending. Every task draws from its own seed, so no list of all is kept.
    fn needs(self, task: usize) -> Vec<usize> {
        match self.shape {
            Shape::Wide => Vec::new(),
            Shape::Chain => task.checked_sub(1).into_iter().collect(),
            Shape::Layers if task < LAYER => Vec::new(),
            Shape::Layers => {
                let layer = task / LAYER;
                let (first, end) = (layer.saturating_sub(REACH) * LAYER, layer * LAYER);
                let mut random = Random(task as u64);
                let count = [2, 3, 3, 4][random.below(4)];
                let mut needs = Vec::new();
                while needs.len() < count {
                    let need = first + random.below(end - first);
                    if !needs.contains(&need) {
                        needs.push(need);
                    }
                }
                needs.sort_unstable();
                needs
            }
        }
    }

    /// What nothing needs, which is what ninja and make are asked for.
    fn ends(self) -> Vec<usize> {
        let mut needed = vec![false; self.count];
        for need in (0..self.count).flat_map(|task| self.needs(task)) {
            needed[need] = true;
        }
        (0..self.count).filter(|&task| !needed[task]).collect()
    }

    /// For ninja and samurai: `build.ninja`.
    pub(crate) fn ninja(self, folder: &Path, command: &str) -> io::Result<()> {
        write(&folder.join("build.ninja"), |out| {
            writeln!(out, "rule run\n  command = {command}")?;
            for task in 0..self.count {
                write!(out, "build t{task}: run")?;
                let needs = self.needs(task);
                if !needs.is_empty() {
                    write!(out, " |{}", names(&needs, " t", "", ""))?;
                }
                writeln!(out)?;
            }
            writeln!(out, "build all: phony{}\ndefault all", names(&self.ends(), " t", "", ""))
        })
    }

    /// For make: `Makefile`. It starts a command without a shell when that needs none.
    pub(crate) fn make(self, folder: &Path, command: &str) -> io::Result<()> {
        write(&folder.join("Makefile"), |out| {
            writeln!(out, ".SUFFIXES:\nMAKEFLAGS += -rR")?;
            for task in 0..self.count {
                writeln!(out, ".PHONY: t{task}")?;
            }
            writeln!(out, ".DEFAULT_GOAL := all\n.PHONY: all\nall:{}", names(&self.ends(), " t", "", ""))?;
            for task in 0..self.count {
                writeln!(out, "t{task}:{}\n\t@{command}", names(&self.needs(task), " t", "", ""))?;
            }
            Ok(())
        })
    }

    /// For GNU parallel: one command a line. Knows no needs.
    pub(crate) fn lines(self, folder: &Path, command: &str) -> io::Result<()> {
        write(&folder.join("commands.txt"), |out| (0..self.count).try_for_each(|_| writeln!(out, "{command}")))
    }

    /// `fleet.toml`.
    pub(crate) fn toml(self, folder: &Path, argv: &[&str], detail: Detail) -> io::Result<()> {
        write(&folder.join("fleet.toml"), |out| {
            writeln!(out, "version = 1\nname = \"bench\"")?;
            for task in 0..self.count {
                writeln!(out, "\n[tasks.t{task}]\nrun = [{}]", quoted(argv))?;
                let needs = self.needs(task);
                if !needs.is_empty() {
                    writeln!(out, "needs = [{}]", names(&needs, "\"t", "\"", ", "))?;
                }
                if detail == Detail::Full {
                    writeln!(out, "description = \"Step {task} of the bench\"\ntimeout = \"5m\"\ntags = [\"bench\"]")?;
                    writeln!(out, "inputs = [\"src/{task}/*.c\"]\noutputs = [\"out/{task}.o\"]")?;
                    writeln!(out, "env = {{ STEP = \"{task}\" }}\nrequired_files = [\"src/{task}/main.c\"]")?;
                }
            }
            Ok(())
        })
    }

    /// `fleet.yaml`.
    pub(crate) fn yaml(self, folder: &Path, argv: &[&str]) -> io::Result<()> {
        write(&folder.join("fleet.yaml"), |out| {
            writeln!(out, "version: 1\nname: bench\ntasks:")?;
            for task in 0..self.count {
                writeln!(out, "  t{task}:\n    run: [{}]", quoted(argv))?;
                let needs = self.needs(task);
                if !needs.is_empty() {
                    writeln!(out, "    needs: [{}]", names(&needs, "t", "", ", "))?;
                }
            }
            Ok(())
        })
    }

    /// `fleet.json`.
    pub(crate) fn json(self, folder: &Path, argv: &[&str]) -> io::Result<()> {
        write(&folder.join("fleet.json"), |out| {
            write!(out, "{{\n  \"version\": 1,\n  \"name\": \"bench\",\n  \"tasks\": {{")?;
            for task in 0..self.count {
                let comma = if task == 0 { "" } else { "," };
                write!(out, "{comma}\n    \"t{task}\": {{ \"run\": [{}]", quoted(argv))?;
                let needs = self.needs(task);
                if !needs.is_empty() {
                    write!(out, ", \"needs\": [{}]", names(&needs, "\"t", "\"", ", "))?;
                }
                write!(out, " }}")?;
            }
            writeln!(out, "\n  }}\n}}")
        })
    }

    /// The plainest `fleet.toml` of this work.
    pub(crate) fn fleet(self, folder: &Path) -> io::Result<()> {
        self.toml(folder, &[TASK], Detail::Bare)
    }
}

pub(crate) fn write(path: &Path, body: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or_else(|| Path::new(".")))?;
    let mut out = BufWriter::new(File::create(path)?);
    body(&mut out)?;
    out.flush()
}

fn names(tasks: &[usize], before: &str, after: &str, between: &str) -> String {
    let names: Vec<String> = tasks.iter().map(|task| format!("{before}{task}{after}")).collect();
    names.join(between)
}

fn quoted(argv: &[&str]) -> String {
    let words: Vec<String> = argv.iter().map(|word| format!("{word:?}")).collect();
    words.join(", ")
}

/// A file of that many MiB of text for a task to print. It is on disk when this returns, so that nobody's run has to
/// share it with the writing.
pub(crate) fn blob(folder: &Path, mib: usize) -> io::Result<PathBuf> {
    const LINE: &[u8] = b"the quick brown fox jumps over the lazy dog, and over again!!!\n";
    let path = folder.join("blob.txt");
    let piece: Vec<u8> = LINE.iter().copied().cycle().take(64 << 10).collect();
    let mut file = File::create(&path)?;
    (0..mib * 16).try_for_each(|_| file.write_all(&piece))?;
    file.sync_all()?;
    Ok(path)
}

/// A path as the files above can hold it.
pub(crate) fn text(path: &OsStr) -> io::Result<&str> {
    path.to_str().ok_or_else(|| io::Error::other(format!("{}: not UTF-8", path.display())))
}

/// `SplitMix64`: small, fixed for all time, and good enough for a graph.
#[derive(Clone, Copy, Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = z ^ (z >> 31);
        usize::try_from(z % limit as u64).expect("less than a usize")
    }
}
