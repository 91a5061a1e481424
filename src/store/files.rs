//! What the workspace holds now, as tasks' inputs and outputs are looked at.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::fstat;

use super::scan::{digest_files, found};
use super::{Found, Root, Scan, ScanError};
use crate::protocol::receipt::{Mode, OutputRef};

#[derive(Debug)]
pub struct Files {
    root: Arc<Root>,
}

impl Files {
    #[must_use]
    pub fn open(root: Arc<Root>, _cache_dir: Option<&Path>, _believe: bool) -> Self {
        Self { root }
    }

    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// # Errors
    /// See [`ScanError`].
    pub fn find(&self, scan: &Scan) -> Result<Found, ScanError> {
        scan.expand(&self.root)
    }

    /// # Errors
    /// See [`ScanError`].
    pub fn digest<S: AsRef<str> + Sync>(&self, paths: &[S]) -> Result<Vec<OutputRef>, ScanError> {
        let mut all = digest_files(&self.root, paths)?;
        for file in &mut all {
            let io = |error| ScanError::Io { path: file.path.to_string(), error };
            let stat = fstat(self.root.read(Path::new(&*file.path)).map_err(io)?).map_err(|error| io(error.into()))?;
            file.mode = Some(Mode::of(stat.st_mode));
        }
        Ok(all)
    }

    /// # Errors
    /// See [`ScanError`].
    pub fn look(&self, path: &str) -> Result<Option<OutputRef>, ScanError> {
        match found(self.root.read(Path::new(path)), path)? {
            None => Ok(None),
            Some(_) => Ok(self.digest(&[path])?.pop()),
        }
    }

    pub fn moved(&self) {}

    /// # Errors
    /// Never.
    pub fn save(&self) -> io::Result<()> {
        Ok(())
    }
}
