//! The ways in which a digest could be stale, and none may be.

use std::fs::{self, FileTimes, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use super::*;
use crate::store::stats::{GRANULARITY_COARSE_NS, GRANULARITY_NS};

const HOUR: i64 = 3_600_000_000_000;

struct Place {
    dir: tempfile::TempDir,
    root: Arc<Root>,
}

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Arc::new(Root::open(dir.path()).unwrap());
        let place = Self { dir, root };
        for (path, text) in files {
            place.write(path, text);
        }
        place
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    fn cache(&self) -> PathBuf {
        self.at(".fleet/cache")
    }

    /// With a clock an hour ahead, so that what is hashed now is believed later.
    fn files(&self) -> Files {
        Files::open_at(self.root.clone(), Some(&self.cache()), true, Some(stats::now() + HOUR))
    }

    fn stat(&self, path: &str) -> Stat {
        Stat::of_open(&self.root.read(Path::new(path)).unwrap()).unwrap()
    }

    /// Sets the time of the last change back to what it was.
    fn with_mtime_kept(&self, path: &str, change: impl FnOnce()) {
        let before = fs::metadata(self.at(path)).unwrap().modified().unwrap();
        change();
        self.set_mtime(path, before);
    }

    fn set_mtime(&self, path: &str, time: SystemTime) {
        let file = OpenOptions::new().append(true).open(self.at(path)).unwrap();
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
    }
}

/// Writes a digest into the cache that is not the file's.
fn plant(files: &Files, place: &Place, path: &str, hashed_at: i64) {
    files.stats.put(path, Entry { stat: place.stat(path), digest: Digest::of(b"planted"), hashed_at });
}

/// Whether the cache was believed.
fn believes(files: &Files, path: &str) -> bool {
    let digest = files.digest(&[path]).unwrap()[0].digest;
    assert_eq!(Some(digest), files.look(path).unwrap().map(|file| file.digest));
    let literal = Scan::new(&[path]).unwrap();
    assert_eq!(digest, files.find_and_digest(&literal).unwrap().0[0].digest);
    digest == Digest::of(b"planted")
}

fn digest(files: &Files, path: &str) -> Digest {
    files.digest(&[path]).unwrap()[0].digest
}

#[test]
fn a_digest_that_holds_is_kept_from_run_to_run() {
    let place = Place::new(&[("a", "one"), ("b/c", "two")]);
    fs::set_permissions(place.at("a"), fs::Permissions::from_mode(0o751)).unwrap();
    let first = place.files();
    let found = first.digest(&["b/c", "a"]).unwrap();
    assert_eq!((found[1].digest, found[1].size_bytes), (Digest::of(b"one"), 3));
    assert_eq!((found[1].mode, found[1].kind), (Some(Mode::of(0o751)), EntryKind::File));
    first.save().unwrap();
    let saved = fs::metadata(place.cache().join(stats::NAME)).unwrap().modified().unwrap();

    let second = place.files();
    plant(&second, &place, "a", stats::now() + HOUR);
    second.save().unwrap();
    let third = place.files();
    assert!(believes(&third, "a") && !believes(&third, "b/c"), "what was saved is what is believed");
    let written = fs::metadata(place.cache().join(stats::NAME)).unwrap().modified().unwrap();
    third.save().unwrap();
    assert_ne!(saved, written);
    let after = fs::metadata(place.cache().join(stats::NAME)).unwrap().modified().unwrap();
    assert_eq!(written, after, "nothing changed, nothing is written");
}

#[test]
fn a_touch_is_no_change() {
    let place = Place::new(&[("a", "one")]);
    let files = place.files();
    let before = digest(&files, "a");
    place.set_mtime("a", SystemTime::now() - Duration::from_secs(90));
    assert_eq!(digest(&files, "a"), before);
    plant(&files, &place, "a", stats::now() + HOUR);
    assert!(believes(&files, "a"));
    place.set_mtime("a", SystemTime::now() - Duration::from_secs(80));
    assert!(!believes(&files, "a"), "it was hashed again, because it could have changed");
}

#[test]
fn other_bytes_of_the_same_size_and_time_are_noticed() {
    let place = Place::new(&[("a", "one"), ("b", "two")]);
    let files = place.files();
    let before = files.digest(&["a", "b"]).unwrap();
    // Written over, and put in its place: the second keeps neither inode nor change time.
    place.with_mtime_kept("a", || place.write("a", "eno"));
    place.with_mtime_kept("b", || {
        place.write("c", "owt");
        fs::rename(place.at("c"), place.at("b")).unwrap();
    });
    let after = files.digest(&["a", "b"]).unwrap();
    assert_eq!((after[0].digest, after[1].digest), (Digest::of(b"eno"), Digest::of(b"owt")));
    assert!(before.iter().zip(&after).all(|(before, after)| before.size_bytes == after.size_bytes));
    let mode = before[0].mode;
    fs::set_permissions(place.at("a"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_ne!(files.digest(&["a"]).unwrap()[0].mode, mode);
}

#[test]
fn what_was_hashed_too_soon_after_it_was_written_is_hashed_again() {
    let place = Place::new(&[("a", "one")]);
    let newest = |place: &Place| place.stat("a").ctime.max(place.stat("a").mtime);
    let fine = place.stat("a").ctime % 1_000_000_000 != 0;
    assert!(fine, "the file system under the temporary folder stamps finer than seconds");
    let files = place.files();
    for (after, believed) in [(GRANULARITY_NS, false), (GRANULARITY_NS + 1, true), (0, false), (-HOUR, false)] {
        plant(&files, &place, "a", newest(&place) + after);
        assert_eq!(believes(&files, "a"), believed, "{after}");
        if !believed {
            assert_eq!(digest(&files, "a"), Digest::of(b"one"));
        }
    }
    // Whole seconds: the file system may know no better.
    place.set_mtime("a", SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    for (after, believed) in [(GRANULARITY_NS + 1, false), (GRANULARITY_COARSE_NS + 1, true)] {
        plant(&files, &place, "a", newest(&place) + after);
        assert_eq!(believes(&files, "a"), believed, "{after}");
    }
}

#[test]
fn a_clock_that_goes_back_makes_nothing_stale() {
    let place = Place::new(&[("a", "one")]);
    // Stamped when the clock was ahead.
    place.set_mtime("a", SystemTime::now() + Duration::from_hours(24));
    let files = place.files();
    plant(&files, &place, "a", stats::now());
    assert!(!believes(&files, "a"));
    // Hashed when the clock was ahead.
    place.set_mtime("a", SystemTime::now() - Duration::from_secs(90));
    let ahead = place.files();
    plant(&ahead, &place, "a", stats::now() + HOUR);
    assert!(believes(&ahead, "a"));
    ahead.save().unwrap();
    assert!(believes(&place.files(), "a"), "while it is ahead");
    assert!(!believes(&Files::open(place.root.clone(), Some(&place.cache()), true), "a"));
}

#[test]
fn files_too_young_to_be_believed_are_hashed_again_before_the_cache_is_saved() {
    let place = Place::new(&[("a", "one")]);
    let mut files = Files::open_at(place.root.clone(), Some(&place.cache()), true, Some(place.stat("a").ctime));
    digest(&files, "a");
    assert_eq!(files.stats.young(), [("a".into(), 3)]);
    files.save().unwrap();
    assert_eq!(files.stats.young().len(), 1, "it is still too young");
    let believed = |path| place.files().stats.get(path, &place.stat(path));
    assert_eq!(believed("a"), None);
    place.write("a", "two");
    files.clock = Some(stats::now() + HOUR);
    files.save().unwrap();
    assert_eq!(believed("a"), Some(Digest::of(b"two")), "what it holds now, not what it held");
}

#[test]
fn a_forced_rehash_believes_nothing_and_repairs() {
    let place = Place::new(&[("a", "one")]);
    let files = place.files();
    plant(&files, &place, "a", stats::now() + HOUR);
    files.save().unwrap();
    assert!(believes(&place.files(), "a"));
    let clock = Some(stats::now() + HOUR);
    let forced = Files::open_at(place.root.clone(), Some(&place.cache()), false, clock);
    assert!(!believes(&forced, "a"));
    forced.save().unwrap();
    assert!(!believes(&place.files(), "a"));
}

/// A file of `/proc` has no size and many bytes, as one that grows while it is read.
#[cfg(target_os = "linux")]
#[test]
fn what_changes_while_it_is_read_is_not_remembered() {
    let root = Arc::new(Root::open(Path::new("/proc/self")).unwrap());
    let files = Files::open_at(root, None, true, Some(i64::MAX));
    let found = files.digest(&["status", "cmdline"]).unwrap();
    assert!(found.iter().all(|file| file.size_bytes > 0));
    let stat = Stat::at(files.root.as_fd(), "cmdline").unwrap();
    assert_eq!(files.stats.get("cmdline", &stat), None);
    files.save().unwrap();
}

#[test]
fn a_link_has_the_digest_of_what_it_leads_to_now() {
    let place = Place::new(&[("real/a", "one"), ("real/b", "two")]);
    symlink("real/a", place.at("link")).unwrap();
    symlink(place.at("real/a"), place.at("absolute")).unwrap();
    symlink("link", place.at("twice")).unwrap();
    symlink("real", place.at("folder")).unwrap();
    let files = place.files();
    let all = ["link", "absolute", "twice", "folder/a"];
    let digests =
        |text: &str| files.digest(&all).unwrap().iter().all(|file| file.digest == Digest::of(text.as_bytes()));
    assert!(digests("one"));
    plant(&files, &place, "link", stats::now() + HOUR);
    assert!(believes(&files, "link"), "links are cached as well");
    place.with_mtime_kept("real/a", || place.write("real/a", "eno"));
    assert!(digests("eno"), "the links themselves did not change");
    fs::remove_file(place.at("link")).unwrap();
    symlink("real/b", place.at("link")).unwrap();
    assert_eq!((digest(&files, "link"), digest(&files, "twice")), (Digest::of(b"two"), Digest::of(b"two")));
    // A folder on the way leads elsewhere.
    place.write("other/a", "six");
    fs::remove_file(place.at("folder")).unwrap();
    symlink("other", place.at("folder")).unwrap();
    assert_eq!(digest(&files, "folder/a"), Digest::of(b"six"));
    let (found, unmatched) = files.find_and_digest(&Scan::new(&["link", "folder", "**/a"]).unwrap()).unwrap();
    assert_eq!(found.iter().map(|file| &*file.path).collect::<Vec<_>>(), ["link", "other/a", "real/a"]);
    assert_eq!(unmatched, [1], "a link to a folder is no file");
}

#[test]
fn nothing_outside_is_read_whether_the_cache_knows_it_or_not() {
    let outside = Place::new(&[("secret", "s"), ("src/a", "one")]);
    let place = Place::new(&[("src/a", "one"), ("b", "two")]);
    let files = place.files();
    files.digest(&["src/a", "b"]).unwrap();
    symlink(outside.at("secret"), place.at("leak")).unwrap();
    symlink(outside.dir.path(), place.at("out")).unwrap();
    symlink("nowhere", place.at("dangling")).unwrap();
    symlink("circle", place.at("circle")).unwrap();
    let refused = |files: &Files, path: &str| {
        let literal = Scan::new(&[path]).unwrap();
        let all = [files.digest(&[path]).err(), files.look(path).err(), files.find_and_digest(&literal).err()];
        assert!(all.iter().all(|error| matches!(error, Some(ScanError::Leaves { .. }))), "{path}: {all:?}");
    };
    for path in ["leak", "out", "out/secret", "out/src/a"] {
        refused(&files, path);
    }
    assert!(matches!(files.find(&Scan::new(&["out/*"]).unwrap()), Err(ScanError::Leaves { .. })));
    let none = Scan::new(&["dangling", "circle"]).unwrap();
    assert_eq!(files.find_and_digest(&none).unwrap(), (vec![], vec![0, 1]));
    assert!(files.digest(&["dangling"]).is_err() && files.digest(&["circle"]).is_err());
    // The folder moves out of the workspace with its files, which stay what they are.
    fs::rename(place.at("src"), outside.at("moved")).unwrap();
    symlink(outside.at("moved"), place.at("src")).unwrap();
    files.moved();
    refused(&files, "src/a");
}

#[test]
fn what_is_there_may_be_of_another_kind_now() {
    let place = Place::new(&[("a", "one"), ("b", "two")]);
    let files = place.files();
    let scan = Scan::new(&["a", "b"]).unwrap();
    assert_eq!(files.find_and_digest(&scan).unwrap().0.len(), 2);
    fs::remove_file(place.at("a")).unwrap();
    place.write("a/x", "in");
    fs::remove_file(place.at("b")).unwrap();
    let (found, unmatched) = files.find_and_digest(&scan).unwrap();
    assert_eq!((&*found[0].path, found.len(), &unmatched[..]), ("a/x", 1, &[1][..]));
    assert!(files.digest(&["a"]).is_err() && files.look("a").is_err());
    assert!(
        files.digest(&["b"]).is_err() && files.look("b").unwrap().is_none() && files.look("b/c").unwrap().is_none()
    );
    place.write("b", "two");
    assert_eq!(files.find_and_digest(&scan).unwrap().0.len(), 2, "it is back");
}

#[test]
fn names_are_taken_as_they_are() {
    let composed = "\u{e9}\u{2603}.txt";
    let decomposed = "e\u{301}\u{2603}.txt";
    let place =
        Place::new(&[(composed, "1"), (decomposed, "2"), ("漢 字/ß", "3"), ("A", "4"), ("a", "5"), ("nl\nx", "6")]);
    let files = place.files();
    let (found, unmatched) = files.find_and_digest(&Scan::new(&["**", composed, decomposed]).unwrap()).unwrap();
    assert_eq!((found.len(), unmatched.len()), (6, 0));
    files.save().unwrap();
    let again = place.files();
    for file in &found {
        let text = fs::read(place.at(&file.path)).unwrap();
        assert_eq!(file.digest, Digest::of(&text), "{}", file.path);
        assert_eq!(again.stats.get(&file.path, &place.stat(&file.path)), Some(file.digest));
    }
}

#[test]
fn a_name_that_is_no_text_is_an_error_only_where_it_is_taken() {
    let place = Place::new(&[("src/a.rs", "1"), ("odd/a.rs", "2")]);
    let name = std::ffi::OsStr::from_bytes(b"bad\xff.txt");
    fs::write(place.at("odd").join(name), "x").unwrap();
    fs::create_dir(place.at("odd").join(std::ffi::OsStr::from_bytes(b"dir\xff"))).unwrap();
    let files = place.files();
    for fine in ["**/*.rs", "src/**", "!odd/*.txt"] {
        assert!(files.find_and_digest(&Scan::new(&["**/*.rs", fine]).unwrap()).is_ok(), "{fine}");
    }
    assert!(files.find(&Scan::new(&["**", "!odd/*.txt"]).unwrap()).is_ok());
    for taken in ["**", "odd", "odd/*.txt"] {
        assert!(matches!(files.find(&Scan::new(&[taken]).unwrap()), Err(ScanError::NotUtf8 { .. })), "{taken}");
    }
}

#[test]
fn finding_and_digesting_at_once_is_the_same_as_one_after_the_other() {
    let names: Vec<String> = (0..400).map(|n| format!("d{}/e{}/f{n}.{}", n % 7, n % 3, ["rs", "c"][n % 2])).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (&**name, &**name)).collect();
    let place = Place::new(&files);
    let literal: Vec<&str> = names.iter().rev().map(|name| &**name).collect();
    let lists: [&[&str]; 6] = [
        &literal,
        &["d1", "d1/e0", "d2/**", "d1/**", "no", "no/**"],
        &["d1/e1/f1.c", "d1/*/*.c", "d1/e1/f1.c", "!**/f8*"],
        &["**/*.rs", "d3", "!d3/e1"],
        &["d0/e0/f0.rs", "!d0"],
        &[],
    ];
    for list in lists {
        let scan = Scan::new(list).unwrap();
        for files in [place.files(), place.files()] {
            let found = files.find(&scan).unwrap();
            let digests = files.digest(&found.files).unwrap();
            assert_eq!(files.find_and_digest(&scan).unwrap(), (digests, found.unmatched), "{list:?}");
            files.save().unwrap();
        }
    }
    assert_eq!(place.files().find_and_digest(&Scan::new(lists[0]).unwrap()).unwrap().0.len(), 400);
}
