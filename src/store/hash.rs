//! Bytes of the workspace to digests: big reads, and many files at once, the largest first.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Root;
use super::scan::ScanError;
use super::stats::Stat;
use super::walk::lock;
use crate::digest::{Digest, Hasher};

/// Bytes read at a time; fits a core's own cache with room for what hashes it.
const PIECE_BYTES: usize = 256 << 10;

/// The kernel is told to read ahead in files from this size.
#[cfg(target_os = "linux")]
const ADVISE_BYTES: u64 = 1 << 20;

/// What one more file costs, in bytes that could be hashed meanwhile.
const FILE_COST_BYTES: u64 = 8 << 10;

/// Work below this is done before another core has woken up.
const PARALLEL_BYTES: u64 = 256 << 10;

/// A file, hashed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashed {
    pub digest: Digest,
    pub bytes: u64,
    pub stat: Stat,
    /// It did not change while it was read.
    pub steady: bool,
}

/// Hashes the regular file at a path.
pub(super) fn path(root: &Root, path: &str, piece: &mut Vec<u8>) -> Result<Hashed, ScanError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::CrossesDevices => ScanError::Leaves { path: path.to_owned() },
        _ => ScanError::Io { path: path.to_owned(), error },
    };
    let mut file = root.read(Path::new(path)).map_err(failed)?;
    let before = Stat::of_open(&file).map_err(failed)?;
    if !before.is_file() {
        return Err(failed(io::Error::other("not a regular file")));
    }
    let (digest, bytes) = read(&mut file, before.size, piece).map_err(failed)?;
    let after = Stat::of_open(&file).map_err(failed)?;
    Ok(Hashed { digest, bytes, stat: before, steady: before == after && bytes == before.size })
}

pub(super) fn read(file: &mut File, size: u64, piece: &mut Vec<u8>) -> io::Result<(Digest, u64)> {
    #[cfg(target_os = "linux")]
    if size >= ADVISE_BYTES {
        // Only advice: without it the same bytes come, later.
        let _ = rustix::fs::fadvise(&*file, 0, None, rustix::fs::Advice::Sequential);
    }
    // One byte more, so that the end of a small file shows in the first read that is short.
    let wanted = usize::try_from(size.saturating_add(1)).map_or(PIECE_BYTES, |size| size.min(PIECE_BYTES));
    if piece.len() < wanted {
        piece.resize(wanted, 0);
    }
    let mut hasher = Hasher::default();
    loop {
        match file.read(piece) {
            Ok(0) => return Ok((hasher.finish(), hasher.bytes())),
            Ok(n) => hasher.update(&piece[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Does `work` for every file of these sizes and returns what it gave, in their order: on all cores, the largest
/// first, so that none is left alone with a big one at the end; or here, when that is sooner done.
pub(super) fn each<T: Send>(sizes: &[u64], work: impl Fn(usize, &mut Vec<u8>) -> T + Sync) -> Vec<T> {
    let cost = sizes.iter().fold(0_u64, |sum, size| sum.saturating_add(size.saturating_add(FILE_COST_BYTES)));
    if sizes.len() < 2 || cost < PARALLEL_BYTES {
        let mut piece = Vec::new();
        return (0..sizes.len()).map(|at| work(at, &mut piece)).collect();
    }
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(sizes[*at]));
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(sizes.len())));
    let (next, done, order, work) = (&next, &done, &order, &work);
    rayon::scope(|scope| {
        for _ in 0..rayon::current_num_threads().min(sizes.len()) {
            scope.spawn(move |_| {
                let (mut piece, mut mine) = (Vec::new(), Vec::new());
                while let Some(&at) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    mine.push((at, work(at, &mut piece)));
                }
                lock(done).append(&mut mine);
            });
        }
    });
    let mut done = std::mem::take(&mut *lock(done));
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
