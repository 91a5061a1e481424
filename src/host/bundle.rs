//! This program as another host can run it: the file itself and, when it was linked dynamically, the loader and the
//! libraries that it runs with right now. So any build of it starts on any Linux of the same architecture, whatever C
//! library is there, a container with nothing but one program included. Of each file only what a loader maps is taken:
//! what else there is (symbols, the lines of the source) is most of a file and nobody's business elsewhere.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Hasher};
use crate::supervisor::program::{LOADER, PROGRAM};

/// Digits of the digest that name it on another host.
const NAME_DIGITS: usize = 32;
/// Where the kernel says which file this process is.
const SELF: &str = "/proc/self/exe";
/// How a 64-bit little-endian file begins, the size of its header, and the program headers of what is mapped and of the
/// loader's name.
const ELF_64_LE: &[u8] = b"\x7fELF\x02\x01";
const HEADER: usize = 64;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;

/// Files that start this program elsewhere.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Its folder there.
    pub name: String,
    pub digest: Digest,
    /// Sorted by their names there.
    pub files: Vec<(String, Mapped)>,
}

/// What a loader maps of an ELF file.
#[derive(Clone, Debug)]
pub struct Mapped {
    path: PathBuf,
    /// The file's header, which says that there are no sections.
    head: [u8; HEADER],
    bytes: u64,
}

impl Mapped {
    fn of(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let elf = Elf::read(&mut file)?;
        let mut head = elf.head;
        // The section table, the size and number of its entries and the entry with their names.
        for part in [40..48, 58..60, 60..62, 62..64] {
            head[part].fill(0);
        }
        Ok(Self { path: path.to_owned(), head, bytes: elf.mapped() })
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// From its beginning to its end.
    ///
    /// # Errors
    /// When the file cannot be opened any more.
    pub fn read(&self) -> io::Result<impl Read + use<>> {
        let mut file = File::open(&self.path)?;
        file.seek(io::SeekFrom::Start(HEADER as u64))?;
        Ok(io::Cursor::new(self.head).chain(file.take(self.bytes - HEADER as u64)))
    }
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
        let mut files = vec![(PROGRAM.to_owned(), Mapped::of(&exe)?)];
        let mut file = File::open(&exe)?;
        if let Some(loader) = Elf::read(&mut file)?.loader(&mut file)? {
            files.push((LOADER.to_owned(), Mapped::of(&loader)?));
            let not_ours = [identity(&exe)?, identity(&loader)?];
            for library in mapped()? {
                let name = library.file_name().and_then(|name| name.to_str()).map(str::to_owned);
                if let Some(name) = name.filter(|_| identity(&library).is_ok_and(|id| !not_ours.contains(&id))) {
                    files.push((name, Mapped::of(&library)?));
                }
            }
        }
        files.sort_by(|a, b| a.0.cmp(&b.0));
        files.dedup_by(|a, b| a.0 == b.0);
        let digest = digest_of(files.iter().map(|(name, file)| (&**name, file.read())))?;
        Ok(Self { name: digest.hex()[..NAME_DIGITS].to_owned(), digest, files })
    }

    #[must_use]
    pub fn has_loader(&self) -> bool {
        self.files.iter().any(|(name, _)| name == LOADER)
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, file)| file.bytes).sum()
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
    digest_of(files.iter().map(|(name, path)| (&**name, File::open(path))))
}

/// Of a line `<digest> <name>` for each file.
fn digest_of<'a, R: Read>(files: impl Iterator<Item = (&'a str, io::Result<R>)>) -> io::Result<Digest> {
    let mut all = Hasher::default();
    for (name, file) in files {
        let (digest, _) = Digest::of_reader(file?)?;
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

/// The beginning of an ELF file. Source: the ELF-64 object file format, chapters "File header" and "Program header table".
struct Elf {
    head: [u8; HEADER],
    /// Type, offset and size in the file of each program header.
    parts: Vec<(u32, u64, u64)>,
    /// Where the program header table ends.
    table_end: u64,
}

impl Elf {
    fn read(file: &mut File) -> io::Result<Self> {
        let bad = || io::Error::other("this program is no 64-bit little-endian ELF file");
        let mut head = [0; HEADER];
        file.read_exact(&mut head)?;
        let half = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
        let table = u64::from_le_bytes(*head[32..].first_chunk().ok_or_else(bad)?);
        let (size, count) = (half(54), half(56));
        if !head.starts_with(ELF_64_LE) || size < 56 {
            return Err(bad());
        }
        let mut headers = vec![0; size * count];
        file.seek(io::SeekFrom::Start(table))?;
        file.read_exact(&mut headers)?;
        let part = |header: &[u8]| {
            let word = |at: usize| header[at..].first_chunk().copied().map(u64::from_le_bytes).unwrap_or_default();
            let kind = header.first_chunk().copied().map(u32::from_le_bytes).unwrap_or_default();
            (kind, word(8), word(32))
        };
        let parts = headers.chunks_exact(size).map(part).collect();
        Ok(Self { head, parts, table_end: table.saturating_add(headers.len() as u64) })
    }

    /// Bytes from the beginning to the end of what is mapped.
    fn mapped(&self) -> u64 {
        let loaded = self.parts.iter().filter(|(kind, ..)| *kind == PT_LOAD);
        loaded.map(|(_, at, bytes)| at.saturating_add(*bytes)).fold(self.table_end, u64::max)
    }

    /// The loader that it names; `None` for one that needs none.
    fn loader(&self, file: &mut File) -> io::Result<Option<PathBuf>> {
        let Some((_, at, bytes)) = self.parts.iter().find(|(kind, ..)| *kind == PT_INTERP) else { return Ok(None) };
        let mut name = Vec::new();
        file.seek(io::SeekFrom::Start(*at))?;
        file.take((*bytes).min(4096)).read_to_end(&mut name)?;
        let name = String::from_utf8(name).map_err(|_| io::Error::other("the loader's name is not UTF-8"))?;
        Ok(Some(PathBuf::from(name.trim_end_matches('\0'))))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;
    use crate::supervisor::program::start_in;

    #[test]
    fn a_bundle_starts_by_what_it_brings_and_is_known_by_its_digest() {
        let bundle = Bundle::of_this_program().unwrap();
        let dir = tempfile::TempDir::new().unwrap();
        for (name, file) in &bundle.files {
            let to = dir.path().join(name);
            io::copy(&mut file.read().unwrap(), &mut File::create(&to).unwrap()).unwrap();
            fs::set_permissions(to, fs::Permissions::from_mode(0o755)).unwrap();
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
