//! The folder of an attempt's own: made before it, gone after it.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::supervisor::stage::tree;

/// Removed with all in it when this is dropped.
#[derive(Debug)]
pub(super) struct Private(PathBuf);

impl Private {
    /// Makes the folder with `home` and `tmp` in it, for this user alone. One that is there is what a supervisor left that
    /// was killed.
    pub(super) fn make(path: &Path) -> io::Result<Self> {
        if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            drop(Self(path.to_owned()));
        }
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        builder.create(path)?;
        let this = Self(path.to_owned());
        builder.create(path.join("home"))?;
        builder.create(path.join("tmp"))?;
        Ok(this)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        tree::remove(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_private_and_goes_away_whatever_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("private");
        let private = Private::make(&path).unwrap();
        for part in ["", "home", "tmp"] {
            assert_eq!(fs::metadata(path.join(part)).unwrap().permissions().mode() & 0o7777, 0o700);
        }
        fs::write(path.join("home/left"), "x").unwrap();
        std::mem::forget(private);
        let private = Private::make(&path).unwrap();
        assert!(!path.join("home/left").exists(), "it begins empty");
        fs::create_dir_all(path.join("home/a/b")).unwrap();
        fs::write(path.join("home/a/b/c"), "x").unwrap();
        for part in ["home/a/b", "home/a"] {
            fs::set_permissions(path.join(part), Permissions::from_mode(0o500)).unwrap();
        }
        drop(private);
        assert!(!path.exists());
    }
}
