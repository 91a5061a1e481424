//! What must hold of the content store.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::{GetError, Store};
use crate::digest::Digest;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn overwrite(store: &Store, digest: &Digest, bytes: &[u8]) {
    let path = store.path(digest);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_was_put_comes_back_and_is_kept_once() {
    let (dir, store) = store();
    for bytes in [&b""[..], b"abc", &vec![7; 300_000]] {
        let first = store.put_bytes(bytes).unwrap();
        assert!(first.new && first.digest == Digest::of(bytes) && first.bytes == bytes.len() as u64);
        assert!(!store.put_file(bytes).unwrap().new);
        let mut out = Vec::new();
        store.get(&first.digest, &mut out).unwrap();
        assert!(out == bytes);
    }
    let digest = Digest::of(b"abc");
    assert!(
        store
            .path(&digest)
            .ends_with("store/sha256/ba/78/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    );
    let left: Vec<_> = fs::read_dir(dir.path().join("store")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["sha256"], "temporary files are left behind");
    assert!(matches!(store.verify(&Digest::of(b"never put")), Err(GetError::Missing(_))));
}

#[test]
fn damage_is_noticed_and_a_damaged_size_is_repaired_by_putting_again() {
    let (_dir, store) = store();
    let digest = store.put_bytes(b"content").unwrap().digest;
    for at in 0..7 {
        let mut bytes = *b"content";
        bytes[at] ^= 1;
        overwrite(&store, &digest, &bytes);
        assert!(matches!(store.verify(&digest), Err(GetError::Damaged { named, .. }) if named == digest));
    }
    overwrite(&store, &digest, b"conten");
    assert!(matches!(store.verify(&digest), Err(GetError::Damaged { .. })));
    assert!(store.put_file(&b"content"[..]).unwrap().new);
    assert_eq!(store.verify(&digest).unwrap(), 7);
}

#[test]
fn a_link_in_the_store_is_not_followed() {
    let (dir, store) = store();
    let outside = tempfile::tempdir().unwrap();
    let digest = store.put_bytes(b"content").unwrap().digest;
    fs::write(outside.path().join("same"), b"content").unwrap();
    fs::remove_file(store.path(&digest)).unwrap();
    symlink(outside.path().join("same"), store.path(&digest)).unwrap();
    assert!(store.verify(&digest).is_err());
    // Not even one that stays inside: what it leads to was not stored under this name.
    fs::write(dir.path().join("store/copy"), b"content").unwrap();
    fs::remove_file(store.path(&digest)).unwrap();
    symlink("../../../copy", store.path(&digest)).unwrap();
    assert!(store.verify(&digest).is_err());
    let other = Digest::of(b"other").hex();
    symlink(outside.path(), dir.path().join("store/sha256").join(&other[..2])).unwrap();
    assert!(store.put_bytes(b"other").is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn a_source_that_fails_leaves_nothing() {
    struct Fails;
    impl io::Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let (dir, store) = store();
    assert!(store.put_file(Fails).is_err());
    assert_eq!(fs::read_dir(dir.path().join("store")).unwrap().count(), 1);
}

#[test]
fn many_may_put_the_same_at_once() {
    let (_dir, store) = store();
    let new: usize = std::thread::scope(|scope| {
        let put = || (0..20u8).filter(|n| store.put_bytes(&[*n; 1000]).unwrap().new).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(put)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(new, 20);
    for n in 0..20u8 {
        store.verify(&Digest::of(&[n; 1000])).unwrap();
    }
}

#[test]
fn a_check_names_what_is_damaged_and_sets_it_aside() {
    let (dir, store) = store();
    let top = dir.path().join("store");
    let put = |bytes: &[u8]| store.put_bytes(bytes).unwrap().digest;
    let (whole, writable, empty) = (put(b"whole"), put(b"writable"), put(b""));
    let seen = |checked: super::check::Checked| -> Vec<String> {
        checked.damaged.iter().map(|damaged| format!("{}: {}", damaged.path.display(), damaged.fault)).collect()
    };
    fs::set_permissions(store.path(&writable), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(seen(store.check(false).unwrap()), [] as [&str; 0]);
    let mode = |digest| fs::metadata(store.path(digest)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&writable), 0o444, "its bytes were read and are what they must be");

    let (flipped, torn, written, link) = (put(b"flipped"), put(b"torn"), put(b"written"), put(b"link"));
    overwrite(&store, &flipped, b"fl1pped");
    overwrite(&store, &torn, b"");
    overwrite(&store, &written, b"WRITTEN");
    for digest in [&flipped, &torn] {
        fs::set_permissions(store.path(digest), fs::Permissions::from_mode(0o444)).unwrap();
    }
    fs::remove_file(store.path(&link)).unwrap();
    symlink(store.path(&whole), store.path(&link)).unwrap();
    fs::write(top.join("sha256/notes.txt"), "").unwrap();
    fs::create_dir_all(top.join("sha256/00/zz/x")).unwrap();
    fs::write(store.path(&whole).with_file_name("short"), "").unwrap();
    let name = |digest: &Digest, what: &str| format!("{}: {what}", super::relative(digest));
    let mut expected = vec![
        name(&torn, &format!("it holds {}", Digest::of(b""))),
        name(&written, &format!("it holds {}", Digest::of(b"WRITTEN"))),
        name(&link, "it is not a file"),
        "sha256/notes.txt: nothing in the store has such a name".to_owned(),
        "sha256/00/zz: nothing in the store has such a name".to_owned(),
        format!("{}/short: nothing in the store has such a name", super::relative(&whole).rsplit_once('/').unwrap().0),
    ];
    expected.sort_unstable();
    let mut found = seen(store.check(false).unwrap());
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(seen(store.check(false).unwrap()), [] as [&str; 0], "all of it was set aside");
    assert_eq!(seen(store.check(true).unwrap()), [name(&flipped, &format!("it holds {}", Digest::of(b"fl1pped")))]);
    let checked = store.check(true).unwrap();
    assert_eq!((checked.blobs, checked.read, checked.bytes, checked.damaged.len()), (3, 3, 13, 0));
    assert_eq!(store.inventory().unwrap().aside.len(), 7);
    assert!(store.put_bytes(b"flipped").unwrap().new);
    overwrite(&store, &flipped, b"FLIPPED");
    store.check(true).unwrap();
    assert_eq!(store.inventory().unwrap().aside.len(), 8, "the earlier one is not lost");
    store.verify(&empty).unwrap();
}

#[test]
fn puts_without_a_sync_of_their_own_are_synced_together() {
    let (dir, store) = store();
    fs::write(dir.path().join("file"), "from a file").unwrap();
    store.sync_all().unwrap();
    let put = store.put_file_unsynced(&mut fs::File::open(dir.path().join("file")).unwrap()).unwrap();
    assert!(put.new && put.digest == Digest::of(b"from a file"));
    assert!(store.put_bytes_unsynced(b"bytes").unwrap().new);
    assert!(!store.put_bytes(b"bytes").unwrap().new);
    assert!(store.unsynced.load(std::sync::atomic::Ordering::Acquire));
    store.sync_all().unwrap();
    assert!(!store.unsynced.load(std::sync::atomic::Ordering::Acquire));
    store.verify(&put.digest).unwrap();
}
