//! The kept plan: a fleet that was read and found right, with its graph, in `.fleet/cache/plan-…`, so that the next command
//! need not read ten thousand tasks again. It is taken only where reading them again would give the same, and thrown
//! away on the slightest doubt:
//!
//! - its name and its first lines are made from what the command asks (the file, `--set`, `-j`, the machine) and from the
//!   very program that wrote it;
//! - its bytes have the digest they had;
//! - every question that was asked of the outside while it was read has the same answer now (`spec::looks`).
//!
//! `code` is how values become bytes, `fleet` which values. Nothing here fails: without a plan the file is read.

mod code;
mod fleet;

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use code::{Code as _, Reader};

use crate::digest::Digest;
use crate::graph::Graph;
use crate::model::Fleet;
use crate::spec::{self, Answers, Facts, Looks};
use crate::store::state::StateDir;

/// Below this many tasks, reading the file is no slower than asking whether it need be read.
pub const TASKS_MIN: usize = 64;
/// How many plans of one workspace are kept: a few files, `--set`s and `-j`s in turn.
const PLANS_MAX: usize = 4;
/// Largest plan that is kept; two hundred thousand tasks with a kilobyte each.
const PLAN_BYTES_MAX: u64 = 256 << 20;
/// What a plan begins with; the number counts its forms.
const MARK: &str = "fleet plan 2\n";
/// What the names of plans begin with, and those of plans that are being written.
const PREFIX: &str = "plan-";
const PREFIX_UNFINISHED: &str = ".plan-";
/// Nobody writes a plan for that long: what is left of it is nobody's.
const UNFINISHED_MAX: Duration = Duration::from_hours(1);

/// What a command asks for, down to the program that answers.
#[derive(Clone, Debug)]
pub struct Key {
    /// The fleet file, free of links.
    file: PathBuf,
    digest: Digest,
}

impl Key {
    /// `None`: there is no such file, or the program does not know itself, and nothing is kept.
    #[must_use]
    pub fn of(request: &spec::Request) -> Option<Self> {
        let (file, syntax) = spec::find(&request.file).ok()?;
        let mut bytes = Vec::new();
        program(&mut bytes)?;
        file.put(&mut bytes);
        bytes.push(match syntax {
            spec::Syntax::Toml => 0,
            spec::Syntax::Yaml => 1,
            spec::Syntax::Json => 2,
        });
        request.set.put(&mut bytes);
        let Facts { os, arch, cores, jobs, .. } = &request.facts;
        os.put(&mut bytes);
        arch.put(&mut bytes);
        cores.put(&mut bytes);
        jobs.put(&mut bytes);
        Some(Self { file, digest: Digest::of(&bytes) })
    }

    fn workspace(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    fn folder(&self) -> PathBuf {
        StateDir::of(self.workspace()).cache_dir()
    }

    fn name(&self) -> String {
        format!("{PREFIX}{}", &self.digest.hex()[..16])
    }

    /// The plan that was kept, with its digest, where reading the file again would give the same.
    #[must_use]
    pub fn load(&self, facts: &Facts) -> Option<(Fleet, Graph, Digest)> {
        let bytes = read(&self.folder().join(self.name())).ok()?;
        let mut from = Reader::new(whole(&bytes)?);
        if Digest::take(&mut from)? != self.digest {
            return None;
        }
        let plan_digest = Digest::take(&mut from)?;
        let mut looks = Looks::take(&mut from)?;
        let answers = looks.recheck(facts, self.workspace());
        if answers == Answers::Changed {
            return None;
        }
        let (fleet, graph) = fleet::take(from.rest)?;
        if answers == Answers::Restamped {
            // The next command believes the new stamps at once. If they cannot be written, it asks again.
            let _ = self.write(&plan_digest, &looks, from.rest);
        }
        Some((fleet, graph, plan_digest))
    }

    /// Keeps a plan that was just read, where it is worth that and there is a state directory.
    pub fn keep(&self, looks: &Looks, fleet: &Fleet, graph: &Graph) {
        // A link to the file may have moved since the key was made.
        if fleet.tasks.len() < TASKS_MIN || fleet.file != self.file {
            return;
        }
        let mut plan = Vec::new();
        fleet::put(fleet, graph, &mut plan);
        // Without it, the next command reads the file again.
        let _ = self.write(&Digest::of(&plan), looks, &plan);
    }

    fn write(&self, plan_digest: &Digest, looks: &Looks, plan: &[u8]) -> io::Result<()> {
        let mut body = Vec::new();
        self.digest.put(&mut body);
        plan_digest.put(&mut body);
        looks.put(&mut body);
        body.extend_from_slice(plan);
        if body.len() as u64 >= PLAN_BYTES_MAX {
            return Ok(());
        }
        let folder = self.folder();
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // Of mode 0600, as all such files are: `--set` may have brought a secret.
        let mut file = tempfile::Builder::new().prefix(PREFIX_UNFINISHED).tempfile_in(&folder)?;
        writeln!(file, "{MARK}{}", Digest::of(&body).hex())?;
        file.write_all(&body)?;
        file.persist(folder.join(self.name()))?;
        forget(&folder)
    }
}

/// The digest of all that a fleet file means: equal for files that differ in nothing but words and comments.
#[must_use]
pub fn digest(fleet: &Fleet, graph: &Graph) -> Digest {
    Digest::of(&bytes(fleet, graph))
}

/// All that a fleet file means.
#[must_use]
pub fn bytes(fleet: &Fleet, graph: &Graph) -> Vec<u8> {
    let mut plan = Vec::new();
    fleet::put(fleet, graph, &mut plan);
    plan
}

/// The program that runs, so that no other build reads what it wrote: its version, and the file it was started from. Its
/// change time is known to nobody who could have put a plan of his own making into a workspace.
fn program(to: &mut Vec<u8>) -> Option<()> {
    let path =
        if cfg!(target_os = "linux") { PathBuf::from("/proc/self/exe") } else { std::env::current_exe().ok()? };
    let about = fs::metadata(path).ok()?;
    env!("CARGO_PKG_VERSION").to_owned().put(to);
    (about.dev(), about.ino()).put(to);
    about.size().put(to);
    (about.mtime(), about.mtime_nsec()).put(to);
    (about.ctime(), about.ctime_nsec()).put(to);
    Some(())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.len() > PLAN_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0));
    File::take(file, PLAN_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What stands behind the mark and the digest, where it is as it was written.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(MARK.as_bytes())?;
    let (digest, rest) = rest.split_at_checked(64)?;
    let body = rest.strip_prefix(b"\n")?;
    (Digest::of(body).hex().as_bytes() == digest).then_some(body)
}

/// Removes the oldest plans above the bound, and what a killed command left half written.
fn forget(folder: &Path) -> io::Result<()> {
    let mut plans: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)?.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let Ok(written) = entry.metadata().and_then(|about| Metadata::modified(&about)) else { continue };
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) {
            plans.push((written, path));
        } else if name.starts_with(PREFIX_UNFINISHED) && written.elapsed().is_ok_and(|age| age > UNFINISHED_MAX) {
            fs::remove_file(path)?;
        }
    }
    plans.sort_unstable_by(|a, b| b.cmp(a));
    plans.iter().skip(PLANS_MAX).try_for_each(|(_, path)| fs::remove_file(path))
}

#[cfg(test)]
mod tests;
