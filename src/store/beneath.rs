//! Opening files under a folder without ever leaving it, whatever links lie in the way and whoever moves them while we
//! look. Linux does this in one call (`openat2`). Elsewhere the path is resolved first, and then opened along the
//! resolved way with no link allowed any more: a link that is put there in between is refused instead of followed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

/// A folder that nothing opened through it lies outside of.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    fd: OwnedFd,
}

impl Root {
    /// # Errors
    /// When the folder cannot be resolved or opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let fd = rustix::fs::openat(CWD, &path, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY, Mode::empty())?;
        Ok(Self { path, fd })
    }

    /// The folder, absolute and free of links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Opens a file for reading; links are followed as long as they stay inside. Never blocks on a FIFO.
    ///
    /// # Errors
    /// As opening does; a path that leaves the folder is [`io::ErrorKind::CrossesDevices`] with a text that says so.
    pub fn read(&self, relative: &Path) -> io::Result<File> {
        match self.open_at(relative, OFlags::empty(), Links::Inside) {
            Err(error) if escapes(&error) => self.open_at(&self.resolve(relative)?, OFlags::empty(), Links::No),
            result => result,
        }
    }

    /// Opens a file for reading, through no link at all.
    ///
    /// # Errors
    /// As opening does; a link anywhere on the way is an error.
    pub fn read_no_links(&self, relative: &Path) -> io::Result<File> {
        self.open_at(relative, OFlags::empty(), Links::No)
    }

    /// Opens a folder to write in, through no link at all, and makes what is missing on the way to it.
    ///
    /// # Errors
    /// See [`Obstacle`].
    pub fn make_folder(&self, relative: &Path) -> Result<OwnedFd, Obstacle> {
        if relative.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(Obstacle::Leaves);
        }
        if let Ok(folder) = self.open_at(relative, OFlags::DIRECTORY, Links::No) {
            return Ok(folder.into());
        }
        let mut way = PathBuf::new();
        let mut folder = self.fd.try_clone().map_err(Obstacle::Io)?;
        for name in relative {
            way.push(name);
            folder = match step_into(&folder, name) {
                Err(Errno::NOENT) => match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o777)) {
                    // Somebody else may have made it in the meantime.
                    Ok(()) | Err(Errno::EXIST) => step_into(&folder, name),
                    Err(errno) => Err(errno),
                },
                result => result,
            }
            .map_err(|errno| match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_symlink() => Obstacle::Link(way.clone()),
                Ok(stat) if !FileType::from_raw_mode(stat.st_mode).is_dir() => Obstacle::NotAFolder(way.clone()),
                _ => Obstacle::Io(errno.into()),
            })?;
        }
        Ok(folder)
    }

    /// Whether there is a folder inside; links are followed as long as they stay inside.
    #[must_use]
    pub fn has_folder(&self, relative: &Path) -> bool {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::ResolveFlags;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            if rustix::fs::openat2(&self.fd, relative, flags, Mode::empty(), resolve).is_ok() {
                return true;
            }
        }
        // Also for a link with an absolute path, which the call above takes for one that leaves.
        self.resolve(relative).is_ok_and(|resolved| self.path.join(resolved).is_dir())
    }

    #[cfg(target_os = "linux")]
    fn open_at(&self, relative: &Path, more: OFlags, links: Links) -> io::Result<File> {
        use rustix::fs::ResolveFlags;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | more;
        let resolve = match links {
            Links::Inside => ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
            Links::No => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        };
        let path = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        loop {
            match rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), resolve) {
                Ok(fd) => return Ok(File::from(fd)),
                // The kernel could not be sure while something was renamed.
                Err(Errno::AGAIN) => {}
                // Before Linux 5.6, or forbidden by a sandbox that does not know the call.
                Err(Errno::NOSYS | Errno::PERM) => return self.open_checked(relative, flags, links),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn open_at(&self, relative: &Path, more: OFlags, links: Links) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | more;
        self.open_checked(relative, flags, links)
    }

    /// The portable way: resolve, check, open along.
    fn open_checked(&self, relative: &Path, flags: OFlags, links: Links) -> io::Result<File> {
        let resolved = self.resolve(relative)?;
        if matches!(links, Links::No) && resolved != relative {
            return Err(leaves(relative));
        }
        self.open_along(&resolved, flags)
    }

    /// The way to a path with all links followed, relative to the folder.
    fn resolve(&self, relative: &Path) -> io::Result<PathBuf> {
        let resolved = self.path.join(relative).canonicalize()?;
        resolved.strip_prefix(&self.path).map(Path::to_owned).map_err(|_| leaves(relative))
    }

    /// Opens along a way that has no links, one folder after the other.
    fn open_along(&self, resolved: &Path, flags: OFlags) -> io::Result<File> {
        let mut folder: Option<OwnedFd> = None;
        let mut rest = resolved.components().peekable();
        while let Some(part) = rest.next() {
            let Component::Normal(name) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
            let at = folder.as_ref().unwrap_or(&self.fd);
            if rest.peek().is_none() {
                return Ok(File::from(rustix::fs::openat(at, name, flags | OFlags::NOFOLLOW, Mode::empty())?));
            }
            folder = Some(rustix::fs::openat(at, name, PASS_THROUGH, Mode::empty())?);
        }
        // The path is the folder itself.
        Ok(File::from(self.fd.try_clone()?))
    }
}

/// A folder on the way is only passed through, which needs no right to read it.
#[cfg(target_os = "linux")]
const PASS_THROUGH: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW).union(OFlags::PATH);
#[cfg(not(target_os = "linux"))]
const PASS_THROUGH: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

#[derive(Clone, Copy, Debug)]
enum Links {
    /// Followed while they stay inside.
    Inside,
    No,
}

/// Why a folder cannot be had.
#[derive(Debug)]
pub enum Obstacle {
    /// The path has `..` in it or is absolute.
    Leaves,
    Link(PathBuf),
    NotAFolder(PathBuf),
    Io(io::Error),
}

fn step_into(folder: &OwnedFd, name: &std::ffi::OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty())
}

fn escapes(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::XDEV.raw_os_error())
}

fn leaves(relative: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::CrossesDevices, format!("`{}` leads out of its folder", relative.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_put_there_after_the_path_was_resolved_is_not_followed() {
        let dir = tempfile::TempDir::new().unwrap();
        let at = |path: &str| dir.path().join(path);
        std::fs::create_dir_all(at("w/in")).unwrap();
        std::fs::create_dir(at("out")).unwrap();
        std::fs::write(at("w/in/file"), "in").unwrap();
        std::fs::write(at("out/file"), "out").unwrap();
        let root = Root::open(&at("w")).unwrap();
        let open = |path: &Path| root.open_along(path, OFlags::RDONLY | OFlags::CLOEXEC);
        let resolved = root.resolve(Path::new("in/file")).unwrap();
        assert!(open(&resolved).is_ok());

        std::fs::remove_file(at("w/in/file")).unwrap();
        symlink("../../out/file", at("w/in/file")).unwrap();
        assert!(open(&resolved).is_err(), "the file is a link now");

        std::fs::rename(at("w/in"), at("w/was")).unwrap();
        symlink("../out", at("w/in")).unwrap();
        assert!(open(&resolved).is_err(), "its folder is a link now");
    }

    #[test]
    fn the_portable_way_opens_what_the_kernels_way_does() {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::create_dir_all(dir.path().join("w/in")).unwrap();
        std::fs::write(dir.path().join("w/in/file"), "in").unwrap();
        std::fs::write(dir.path().join("out"), "out").unwrap();
        let root = Root::open(&dir.path().join("w")).unwrap();
        for (link, target) in [("near", "in/file"), ("folder", "in"), ("leak", "../out"), ("loop", "loop")] {
            symlink(target, dir.path().join("w").join(link)).unwrap();
        }
        symlink(root.path().join("in/file"), root.path().join("absolute")).unwrap();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let paths =
            ["in/file", "near", "folder/file", "absolute", "leak", "loop", "nowhere", "../out", "in/../near", "", "in"];
        for path in paths.map(Path::new) {
            assert_eq!(root.read(path).is_ok(), root.open_checked(path, flags, Links::Inside).is_ok(), "{path:?}");
            let no_links = root.open_checked(path, flags, Links::No).is_ok();
            assert_eq!(no_links, ["in/file", "", "in"].map(Path::new).contains(&path), "{path:?}");
        }
    }
}
