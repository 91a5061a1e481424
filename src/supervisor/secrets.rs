//! Secrets as files: written just before an attempt starts, gone when it has ended. They are in memory (a tmpfs) where
//! there is one that is ours to use, otherwise in the state directory, always in a folder that nobody else may enter.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::owner;

/// Begins the name of every supervisor's folder: `fleet-secrets.<run>.<owner>.<random>`.
const PREFIX: &str = "fleet-secrets.";
/// What statfs(2) calls a tmpfs.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// The folder of this supervisor, which holds one for every attempt that was given secrets.
#[derive(Debug, Default)]
pub(super) struct SecretFiles {
    run: String,
    state_dir: PathBuf,
    /// Made for the first secret, removed when this is dropped.
    root: Option<TempDir>,
}

impl SecretFiles {
    /// Removes what supervisors left that were killed.
    pub(super) fn new(run: &str, state_dir: &Path) -> Self {
        remove_left(&[state_dir]);
        Self { run: run.to_owned(), state_dir: state_dir.to_owned(), root: None }
    }

    /// Writes each value to a file with the name of its variable. Answers the attempt's folder.
    pub(super) fn put(&mut self, number: u32, files: &[(String, String)]) -> io::Result<PathBuf> {
        let root = match &self.root {
            Some(root) => root.path(),
            None => self.root.insert(self.make_root()?).path(),
        };
        let folder = root.join(number.to_string());
        // What a number before this one left would be somebody else's.
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let written = files.iter().try_for_each(|(name, value)| write(&folder, name, value));
        if written.is_err() {
            let _ = fs::remove_dir_all(&folder);
        }
        written.map(|()| folder)
    }

    /// The attempt has ended.
    pub(super) fn remove(&self, number: u32) {
        if let Some(root) = &self.root {
            // Most attempts have none; what cannot be removed now goes with the root.
            let _ = fs::remove_dir_all(root.path().join(number.to_string()));
        }
    }

    fn make_root(&self) -> io::Result<TempDir> {
        let prefix = format!("{PREFIX}{}.{}.", self.run, owner::name());
        let mut why = io::Error::from(io::ErrorKind::NotFound);
        for place in self.places() {
            // Under a name that nobody can know before.
            let private = fs::Permissions::from_mode(0o700);
            match tempfile::Builder::new().prefix(&prefix).permissions(private).tempdir_in(place) {
                Ok(root) => return Ok(root),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// Where the root may be, the best first.
    fn places(&self) -> Vec<PathBuf> {
        memories().chain([self.state_dir.clone()]).collect()
    }
}

/// Removes what supervisors left that are dead, in memory and in these folders.
pub(crate) fn remove_left(more: &[&Path]) {
    for place in memories().chain(more.iter().map(|place| place.to_path_buf())) {
        remove_stale(&place);
    }
}

/// Folders in memory that are ours to use.
fn memories() -> impl Iterator<Item = PathBuf> {
    let me = rustix::process::getuid().as_raw();
    let session = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| {
        dir.is_absolute() && fs::metadata(dir).is_ok_and(|meta| meta.uid() == me && meta.mode().trailing_zeros() >= 6)
    });
    session.into_iter().chain([PathBuf::from("/dev/shm")]).filter(|dir| is_tmpfs(dir))
}

/// Where secrets would be kept in memory, for who only wants to know.
pub(super) fn memory() -> Result<String, String> {
    let mut why = "there is no tmpfs".to_owned();
    for place in memories() {
        match tempfile::Builder::new().prefix(PREFIX).tempdir_in(&place) {
            Ok(_) => return Ok(place.display().to_string()),
            Err(error) => why = format!("{} cannot be written: {error}", place.display()),
        }
    }
    Err(why)
}

/// A variable's name is the file's, so that a program may tell by the path what it holds.
fn write(folder: &Path, name: &str, value: &str) -> io::Result<()> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '=', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{name}` cannot be a variable")));
    }
    let path = folder.join(name);
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(value.as_bytes())
}

fn is_tmpfs(dir: &Path) -> bool {
    // The type of the field differs between machines.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "it is i64 on this one")]
    rustix::fs::statfs(dir).is_ok_and(|stat| stat.f_type as i64 == TMPFS_MAGIC)
}

/// Of our own user's folders only: in a place that others can write, one may be made to look like ours.
fn remove_stale(place: &Path) {
    let me = rustix::process::getuid().as_raw();
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let gone = rest.rsplit('.').nth(1).is_some_and(owner::is_gone);
        // Does not follow a link.
        if gone && entry.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == me) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_for_each_that_only_we_may_read_and_none_afterwards() {
        let state = tempfile::tempdir().unwrap();
        let mut secrets = SecretFiles::new("run.1", state.path());
        let pairs = [("A".to_owned(), "one".to_owned()), ("B_FILE".to_owned(), "two\n".to_owned())];
        let folder = secrets.put(3, &pairs).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!((mode(&folder), mode(folder.parent().unwrap()), mode(&folder.join("A"))), (0o700, 0o700, 0o600));
        assert_eq!(fs::read_to_string(folder.join("B_FILE")).unwrap(), "two\n");
        assert!(secrets.put(3, &pairs).is_err(), "the number is in use");
        secrets.remove(3);
        assert!(!folder.exists());

        for bad in ["", "..", "a/b", "a=b"] {
            assert!(secrets.put(4, &[pairs[0].clone(), (bad.to_owned(), String::new())]).is_err());
            assert!(!folder.with_file_name("4").exists());
        }
        let folder = secrets.put(4, &pairs).unwrap();
        let root = folder.parent().unwrap().to_owned();
        // One that lives is not anyone's to clear away.
        drop(SecretFiles::new("run.2", state.path()));
        assert!(folder.join("A").exists());
        drop(secrets);
        assert!(!root.exists());
    }

    #[test]
    fn what_a_dead_one_left_is_removed() {
        let state = tempfile::tempdir().unwrap();
        let mine = owner::name();
        let (_, rest) = mine.split_once('-').unwrap();
        let left = state.path().join(format!("{PREFIX}r.{}-{rest}.x", i32::MAX));
        fs::create_dir_all(left.join("1")).unwrap();
        fs::write(left.join("1/A"), "one").unwrap();
        let other = state.path().join(format!("{PREFIX}strange"));
        fs::create_dir(&other).unwrap();
        drop(SecretFiles::new("r", state.path()));
        assert!(!left.exists() && other.exists());
    }
}
