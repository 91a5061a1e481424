//! What looking at files and hashing them costs, against bare loops of the same calls on all cores: `cargo bench
//! --bench files`. Both sides take turns; of each the best round counts, and the ratio of the two is what to look at.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use fleet::store::{Files, Root, Scan};

const TASKS: usize = 10_000;
const ROUNDS: usize = 7;

fn main() {
    println!("{} cores, best of {ROUNDS}", rayon::current_num_threads());
    looks();
    walks();
    hashes("1 GiB in 64 files", 64, 16 << 20);
    hashes("10,000 files of 16 KiB", 10_000, 16 << 10);
    hashes("1 file of 256 MiB", 1, 256 << 20);
}

/// The best of all rounds of both, which take turns.
fn versus(mut ours: impl FnMut(), mut bare: impl FnMut()) -> [Duration; 2] {
    let mut best = [Duration::MAX; 2];
    let mut time = |at: usize, work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        best[at] = best[at].min(start.elapsed());
    };
    for _ in 0..ROUNDS {
        time(0, &mut ours);
        time(1, &mut bare);
    }
    best
}

fn line(name: &str, [ours, bare]: [Duration; 2]) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("{name:44} {:9.2} ms   bare {:9.2} ms   ratio {:.2}", ms(ours), ms(bare), ms(ours) / ms(bare));
}

/// Does something for every number on all cores, the numbers handed out one by one.
fn on_all_cores(count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..rayon::current_num_threads() {
            scope.spawn(|| {
                while let Some(at) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < count) {
                    work(at);
                }
            });
        }
    });
}

/// A folder with files; the first goes with it.
fn place(paths: &[String], bytes: usize) -> (TempDir, Arc<Root>) {
    let dir = tempfile::tempdir().expect("a folder for temporary files");
    let mut content = vec![0; bytes];
    for (at, path) in paths.iter().enumerate() {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("it lies in the folder")).expect("a folder can be made");
        content[..8].copy_from_slice(&at.to_le_bytes());
        fs::write(path, &content).expect("a new file can be written");
    }
    let root = Arc::new(Root::open(dir.path()).expect("it was just made"));
    (dir, root)
}

/// A run in which nothing changed: 10,000 tasks with an input and an output each.
fn looks() {
    let paths: Vec<String> =
        (0..TASKS).flat_map(|task| [format!("in/{}/t{task}.txt", task % 100), format!("out/t{task}.txt")]).collect();
    let (dir, root) = place(&paths, 64);
    // Files this young are not believed.
    std::thread::sleep(Duration::from_millis(50));
    let cache = dir.path().join(".fleet/cache");
    let cold = Files::open(root.clone(), Some(&cache), true);
    cold.digest(&paths).expect("they are there");
    let start = Instant::now();
    cold.save().expect("it can be written");
    println!("saving {} entries: {:?}", paths.len(), start.elapsed());
    let before = resident_kib();
    let start = Instant::now();
    let warm = Files::open(root.clone(), Some(&cache), true);
    println!("opening {} entries: {:?}, {} KiB", paths.len(), start.elapsed(), resident_kib().saturating_sub(before));
    let scans: Vec<Scan> = paths.iter().map(|path| Scan::new(&[path]).expect("it is a path")).collect();
    let bare_stat = |path: &str| rustix::fs::statat(root.as_fd(), path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
    let all = || scans.par_iter().for_each(|scan| assert!(look(&warm, scan)));
    let bare = || on_all_cores(paths.len(), |at| assert!(bare_stat(&paths[at]).is_ok()));
    line("20,000 literal patterns, warm", versus(all, bare));
    warm.moved();
    let all = || scans.par_iter().for_each(|scan| assert!(look(&warm, scan)));
    line("the same after somebody wrote", versus(all, bare));
    let all = || scans.iter().for_each(|scan| assert!(look(&warm, scan)));
    line("the same on one core", versus(all, || paths.iter().for_each(|path| assert!(bare_stat(path).is_ok()))));
    let one = Scan::new(&paths).expect("they are paths");
    let all = || assert_eq!(warm.find_and_digest(&one).expect("they are there").0.len(), paths.len());
    line("20,000 in one list", versus(all, bare));
    let again = || drop(Files::open(root.clone(), Some(&cache), true));
    line("opening, against reading the file", versus(again, || drop(fs::read(cache.join("files")))));
}

fn look(files: &Files, scan: &Scan) -> bool {
    files.find_and_digest(scan).is_ok_and(|(found, unmatched)| found.len() == 1 && unmatched.is_empty())
}

/// One walk of 20,000 files in 400 folders, against one thread that lists them.
fn walks() {
    let paths: Vec<String> = (0..20_000).map(|at| format!("p{}/s{}/f{at}.rs", at % 20, at % 400)).collect();
    let (dir, root) = place(&paths, 8);
    let scan = Scan::new(&["**/*.rs"]).expect("it is a glob");
    let ours = || {
        let files = Files::open(root.clone(), None, true);
        assert_eq!(files.find(&scan).expect("they are there").files.len(), paths.len());
    };
    line("one glob, 20,000 files in 400 folders", versus(ours, || assert_eq!(listed(dir.path()), paths.len())));
    let files = Files::open(root.clone(), None, true);
    let scans: Vec<Scan> =
        (0..400).map(|at| Scan::new(&[format!("p{}/s{at}/*.rs", at % 20)]).expect("it is a glob")).collect();
    let ours = || scans.par_iter().for_each(|scan| assert_eq!(files.find(scan).expect("there").files.len(), 50));
    line("400 globs of a folder each, shared walk", versus(ours, || assert_eq!(listed(dir.path()), paths.len())));
}

fn listed(folder: &Path) -> usize {
    let (mut open, mut files) = (vec![folder.to_owned()], 0);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).expect("it is a folder") {
            let entry = entry.expect("it can be read");
            if entry.file_type().expect("it has one").is_dir() { open.push(entry.path()) } else { files += 1 }
        }
    }
    files
}

/// Hashing with an empty stat cache.
fn hashes(name: &str, count: usize, bytes: usize) {
    let paths: Vec<String> = (0..count).map(|at| format!("d{}/f{at}", at % 100)).collect();
    let (dir, root) = place(&paths, bytes);
    let ours = || {
        let found = Files::open(root.clone(), None, true).digest(&paths).expect("they are there");
        assert_eq!(found.len(), count);
    };
    let bare = || on_all_cores(count, |at| bare_sha2(&dir.path().join(&paths[at])).expect("it is there"));
    line(name, versus(ours, bare));
}

fn bare_sha2(path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut piece = vec![0; 128 << 10];
    let mut hasher = Sha256::new();
    loop {
        match file.read(&mut piece)? {
            0 => break,
            n => hasher.update(&piece[..n]),
        }
    }
    std::hint::black_box(hasher.finalize());
    Ok(())
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}
