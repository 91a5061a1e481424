//! This program as another host can run it: the file itself and, when it was linked dynamically, the loader and the
//! libraries that it runs with right now. So any build of it starts on any Linux of the same architecture, whatever C
//! library is there, a container with nothing but one program included.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Hasher};
use crate::supervisor::program::{LOADER, PROGRAM};

/// Digits of the digest that name it on another host.
const NAME_DIGITS: usize = 32;
/// Where the kernel says which file this process is.
const SELF: &str = "/proc/self/exe";
/// An ELF header of 64 bits, and the program header that names the loader.
const ELF_64_LE: &[u8] = b"\x7fELF\x02\x01";
const PT_INTERP: u32 = 3;

/// Files that start this program elsewhere.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Its folder there.
    pub name: String,
    pub digest: Digest,
    /// The name there and the file here, sorted by name.
    pub files: Vec<(String, PathBuf)>,
}

impl Bundle {
    /// The program that runs, with all it has mapped.
    ///
    /// # Errors
    /// When the system does not say what that is, or it cannot be read.
    pub fn of_this_program() -> io::Result<Self> {
        if cfg!(not(target_os = "linux")) {
            return Err(io::Error::other("only a fleet that runs on Linux can send itself to another Linux"));
        }
        let exe = PathBuf::from(SELF);
        let mut files = vec![(PROGRAM.to_owned(), exe.clone())];
        if let Some(loader) = loader(&mut File::open(&exe)?)? {
            files.push((LOADER.to_owned(), loader.clone()));
            let not_ours = [identity(&exe)?, identity(&loader)?];
            for library in mapped()? {
                let name = library.file_name().and_then(|name| name.to_str()).map(str::to_owned);
                if let Some(name) = name.filter(|_| identity(&library).is_ok_and(|id| !not_ours.contains(&id))) {
                    files.push((name, library));
                }
            }
        }
        files.sort();
        files.dedup_by(|a, b| a.0 == b.0);
        let digest = digest_of(&files)?;
        Ok(Self { name: digest.hex()[..NAME_DIGITS].to_owned(), digest, files })
    }

    #[must_use]
    pub fn has_loader(&self) -> bool {
        self.files.iter().any(|(name, _)| name == LOADER)
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().filter_map(|(_, path)| fs::metadata(path).ok()).map(|about| about.len()).sum()
    }
}

/// The digest of what a folder holds, as a [`Bundle`] has it.
///
/// # Errors
/// When it cannot be read.
pub fn digest_of_folder(folder: &Path) -> io::Result<Digest> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|_| io::Error::other("a name is not UTF-8"))?;
        files.push((name, entry.path()));
    }
    files.sort();
    digest_of(&files)
}

/// Of a line `<digest> <name>` for each file.
fn digest_of(files: &[(String, PathBuf)]) -> io::Result<Digest> {
    let mut all = Hasher::default();
    for (name, path) in files {
        let (digest, _) = Digest::of_reader(File::open(path)?)?;
        all.update(format!("{digest} {name}\n").as_bytes());
    }
    Ok(all.finish())
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|about| (about.dev(), about.ino()))
}

/// The files with code that this process has mapped.
fn mapped() -> io::Result<Vec<PathBuf>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let mut files: Vec<PathBuf> = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (_, rights) = (words.next(), words.next().unwrap_or_default());
        if let Some(at) = line.find('/').filter(|_| rights.contains('x')) {
            files.push(PathBuf::from(&line[at..]));
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// The loader that an ELF file names; `None` for one that needs none. Source: the ELF-64 object file format, chapters
/// "File header" and "Program header table".
fn loader(file: &mut (impl Read + io::Seek)) -> io::Result<Option<PathBuf>> {
    let bad = || io::Error::other("this program is no 64-bit little-endian ELF file");
    let mut head = [0; 64];
    file.read_exact(&mut head)?;
    if !head.starts_with(ELF_64_LE) {
        return Err(bad());
    }
    let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let table = u64::from_le_bytes(*head[32..].first_chunk().ok_or_else(bad)?);
    let (size, count) = (usize::from(half(54)), usize::from(half(56)));
    if size < 56 {
        return Err(bad());
    }
    let mut headers = vec![0; size * count];
    file.seek(io::SeekFrom::Start(table))?;
    file.read_exact(&mut headers)?;
    for header in headers.chunks_exact(size) {
        let word = |at: usize| header[at..].first_chunk().copied().map(u64::from_le_bytes).unwrap_or_default();
        if header.first_chunk().copied().map(u32::from_le_bytes) == Some(PT_INTERP) {
            let mut name = Vec::new();
            file.seek(io::SeekFrom::Start(word(8)))?;
            file.take(word(32).min(4096)).read_to_end(&mut name)?;
            let name = String::from_utf8(name).map_err(|_| bad())?;
            return Ok(Some(PathBuf::from(name.trim_end_matches('\0'))));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::supervisor::program::start_in;

    #[test]
    fn a_bundle_starts_by_what_it_brings_and_is_known_by_its_digest() {
        let bundle = Bundle::of_this_program().unwrap();
        let dir = tempfile::TempDir::new().unwrap();
        for (name, path) in &bundle.files {
            fs::copy(path, dir.path().join(name)).unwrap();
        }
        assert_eq!(digest_of_folder(dir.path()).unwrap(), bundle.digest);
        let words = start_in(dir.path(), bundle.has_loader());
        // This is the program of the tests, which can list them.
        let listed = Command::new(&words[0]).args(&words[1..]).arg("--list").env_clear().output().unwrap();
        assert!(listed.status.success(), "{listed:?}");
        fs::write(dir.path().join(PROGRAM), "other").unwrap();
        assert_ne!(digest_of_folder(dir.path()).unwrap(), bundle.digest);
    }
}
