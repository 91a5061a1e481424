//! The shared cache against a real server: nginx, with the configuration that the book shows. What a server can do
//! wrong is in the unit tests of `store::remote`; here is that a right one is understood.

#[path = "hosts/nginx.rs"]
mod nginx;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;

use fleet::digest::Digest;
use fleet::model::{CacheMode, CacheRemote};
use fleet::protocol::receipt::{ArtifactRef, EntryKind, Mode, OutputRef, Score};
use fleet::store::Store;
use fleet::store::remote::{Extra, Remote, RemoteEntry, Token};
use nginx::{Nginx, READ_TOKEN, WRITE_TOKEN};
use tempfile::TempDir;

/// A machine: a store and a way to the cache.
struct Machine {
    _folder: TempDir,
    store: Store,
    remote: Remote,
}

impl Machine {
    fn at(url: &str, token: &str) -> Self {
        let folder = TempDir::new().expect("there is room for a folder");
        let store = Store::open(folder.path()).expect("the folder is ours");
        let (url, token_ref) = (url.into(), Some("CACHE_TOKEN".into()));
        let cache = CacheRemote { url, mode: CacheMode::ReadWrite, token_ref, trusted: true };
        let remote = Remote::new(&cache, Some(&Token::new(token)), Arc::default());
        Self { _folder: folder, store, remote }
    }

    fn output(&self, path: &str, bytes: &[u8], mode: u32) -> OutputRef {
        let put = self.store.put_bytes(bytes).expect("there is room");
        let mode = Some(Mode::of(mode));
        OutputRef { path: path.into(), digest: put.digest, size_bytes: put.bytes, mode, kind: EntryKind::File }
    }

    /// One of everything, with bytes of more than one piece.
    fn entry(&self) -> RemoteEntry {
        let large: Vec<u8> = (0..400_000_u32).flat_map(u32::to_le_bytes).collect();
        let log = self.store.put_bytes(b"built").expect("there is room");
        let link = OutputRef { mode: None, kind: EntryKind::Symlink, ..self.output("out/link", b"app", 0) };
        let folder = OutputRef { kind: EntryKind::Directory, ..self.output("out/empty", b"", 0o755) };
        RemoteEntry {
            outputs: vec![
                self.output("out/app", &large, 0o755),
                folder,
                link,
                self.output("out/nothing", b"", 0o600),
                self.output("out/ünïcode", b"x", 0o644),
            ],
            artifacts: vec![ArtifactRef {
                kind: "log".into(),
                path: "log/build.log".into(),
                checksum: Some(log.digest),
                mime_type: None,
                size_bytes: Some(log.bytes),
            }],
            extra: Extra {
                task: "build".into(),
                run_id: "20261120T120001Z-6a96a4ab".into(),
                journal_seq: 17,
                attempt: 2,
                exit_code: Some(0),
                score: Some(Score { value: 1.0, max: Some(1.0), notes: None }),
                fleet_version: "0.1.0".into(),
            },
        }
    }

    /// The machine has everything that an entry names.
    fn has(&self, entry: &RemoteEntry) -> bool {
        let outputs = entry.outputs.iter().filter(|output| output.kind != EntryKind::Directory);
        let artifacts = entry.artifacts.iter().filter_map(|artifact| artifact.checksum);
        outputs.map(|output| output.digest).chain(artifacts).all(|digest| self.store.verify(&digest).is_ok())
    }

    fn takes(&self, entry: &RemoteEntry) -> bool {
        self.remote.fetch_blobs(&self.store, &entry.outputs)
            && self.remote.fetch_artifacts(&self.store, &entry.artifacts)
    }

    fn is_content(&self) {
        assert_eq!(self.remote.warnings(), Vec::<String>::new());
    }
}

fn key() -> Digest {
    Digest::of(b"the fingerprint")
}

/// What one machine gives, another takes, and nothing is lost on the way.
fn goes_around(url: &str) {
    let (giver, taker) = (Machine::at(url, WRITE_TOKEN), Machine::at(url, READ_TOKEN));
    let entry = giver.entry();
    assert_eq!(taker.remote.fetch(&key()), None);
    assert!(giver.remote.publish(&giver.store, &key(), &entry), "{:?}", giver.remote.warnings());
    let found = taker.remote.fetch(&key()).expect("it is there");
    assert_eq!(found, entry);
    assert!(!taker.has(&found));
    assert!(taker.takes(&found), "{:?}", taker.remote.warnings());
    assert!(taker.has(&found));
    giver.is_content();
    taker.is_content();
}

#[test]
fn a_result_goes_from_one_machine_to_another() {
    let Some(nginx) = Nginx::start() else { return };
    goes_around(&nginx.url());
    assert_eq!(nginx.names("ac"), [key().hex()]);
    // The large one, the text of the link, one letter, the log; an empty file needs no upload.
    assert_eq!(nginx.names("cas").len(), 4);
    assert_eq!(nginx.names(".incoming"), Vec::<String>::new());
}

/// Where nobody vouches for the server, nothing is said to it; where somebody does, all is well. Whom a process trusts
/// is in its environment, so the second half is a process of its own.
#[test]
fn a_server_proves_who_it_is() {
    let Some(nginx) = Nginx::start_with(true) else { return };
    let stranger = Machine::at(&nginx.url(), WRITE_TOKEN);
    assert_eq!(stranger.remote.fetch(&key()), None);
    assert!(!stranger.remote.publish(&stranger.store, &key(), &stranger.entry()));
    let warnings = stranger.remote.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("certificate"), "{warnings:?}");
    assert_eq!(nginx.names("cas"), Vec::<String>::new());

    let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tls/ca.pem");
    let trusting = Command::new(std::env::current_exe().expect("this is a program"))
        .args(["--exact", "with_tls", "--ignored", "--nocapture"])
        .env("SSL_CERT_FILE", authority)
        .env("CACHE_URL", nginx.url())
        .output()
        .expect("it can be started again");
    let said = String::from_utf8_lossy(&trusting.stdout);
    assert!(
        trusting.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&trusting.stderr)
    );
    assert_eq!(nginx.names("ac"), [key().hex()]);
}

#[test]
#[ignore = "a part of `a_server_proves_who_it_is`, which starts it with an environment of its own"]
fn with_tls() {
    // Without it, someone asked for all ignored tests.
    if let Ok(url) = std::env::var("CACHE_URL") {
        goes_around(&url);
    }
}

#[test]
fn who_may_read_may_not_write() {
    let Some(nginx) = Nginx::start() else { return };
    let reader = Machine::at(&nginx.url(), READ_TOKEN);
    let entry = reader.entry();
    assert!(!reader.remote.publish(&reader.store, &key(), &entry));
    let warnings = reader.remote.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("status 403"), "{warnings:?}");
    assert!(reader.remote.reads() && !reader.remote.writes());
    assert_eq!((nginx.names("ac"), nginx.names("cas")), (Vec::new(), Vec::new()));

    let nobody = Machine::at(&nginx.url(), "GUESSED-TOKEN");
    assert_eq!(nobody.remote.fetch(&key()), None);
    let warnings = nobody.remote.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("status 401"), "{warnings:?}");
    assert!(!nobody.remote.reads() && !nobody.remote.writes());
}

#[test]
fn bytes_are_uploaded_once() {
    let Some(nginx) = Nginx::start() else { return };
    let (first, second) = (Machine::at(&nginx.url(), WRITE_TOKEN), Machine::at(&nginx.url(), WRITE_TOKEN));
    let entry = first.entry();
    assert!(first.remote.publish(&first.store, &key(), &entry));
    let large = nginx.data().join("cas").join(entry.outputs[0].digest.hex());
    let before = fs::metadata(&large).expect("it is there").modified().expect("there are times");
    let inode = |path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).expect("it is there"));
    let was = inode(&large);
    // A machine that has never spoken to the server asks, and does not send the large one again.
    assert!(second.remote.publish(&second.store, &Digest::of(b"another"), &second.entry()));
    assert_eq!(inode(&large), was);
    assert_eq!(fs::metadata(&large).expect("it is there").modified().expect("there are times"), before);
    assert_eq!(nginx.names("ac").len(), 2);
    second.is_content();
}

/// Whatever happens to the server's files, nobody gets wrong bytes, and nobody fails.
#[test]
fn damage_on_the_server_is_a_miss() {
    let Some(nginx) = Nginx::start() else { return };
    let giver = Machine::at(&nginx.url(), WRITE_TOKEN);
    let entry = giver.entry();
    assert!(giver.remote.publish(&giver.store, &key(), &entry));
    let of = |n: usize| nginx.data().join("cas").join(entry.outputs[n].digest.hex());
    let write = |path: &std::path::Path, bytes: &[u8]| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("the file is ours");
        fs::write(path, bytes).expect("the file is ours");
    };
    let whole = fs::read(of(0)).expect("it is there");

    // Another byte in the middle.
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    write(&of(0), &changed);
    let taker = Machine::at(&nginx.url(), READ_TOKEN);
    let found = taker.remote.fetch(&key()).expect("the entry is whole");
    assert!(!taker.takes(&found));
    assert!(taker.store.verify(&entry.outputs[0].digest).is_err());
    assert!(taker.remote.warnings().iter().any(|one| one.contains("other bytes")));

    // Cut off.
    write(&of(0), &whole[..whole.len() - 1]);
    let taker = Machine::at(&nginx.url(), READ_TOKEN);
    assert!(!taker.takes(&found));
    assert!(taker.store.verify(&entry.outputs[0].digest).is_err());

    // Deleted, as caches do, without a warning.
    fs::remove_file(of(0)).expect("the file is ours");
    let taker = Machine::at(&nginx.url(), READ_TOKEN);
    assert!(!taker.takes(&found));
    taker.is_content();

    // The machine that made it heals the cache.
    let again = Machine::at(&nginx.url(), WRITE_TOKEN);
    assert!(again.remote.publish(&again.store, &key(), &again.entry()));
    assert!(taker.takes(&found) && taker.has(&found));

    // The entry itself, cut anywhere, or that of another fingerprint.
    let action = nginx.data().join("ac").join(key().hex());
    let bytes = fs::read(&action).expect("it is there");
    for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        write(&action, &bytes[..cut]);
        let taker = Machine::at(&nginx.url(), READ_TOKEN);
        assert_eq!(taker.remote.fetch(&key()), None);
        assert_eq!(taker.remote.warnings().len(), 1, "cut at {cut}");
    }
    let other = Digest::of(b"another");
    fs::write(nginx.data().join("ac").join(other.hex()), &bytes).expect("the folder is ours");
    let taker = Machine::at(&nginx.url(), READ_TOKEN);
    assert_eq!(taker.remote.fetch(&other), None);
    assert!(taker.remote.warnings()[0].contains("something else"));
}

#[test]
fn many_tasks_share_one_cache_at_once() {
    let Some(nginx) = Nginx::start() else { return };
    let (giver, taker) = (Machine::at(&nginx.url(), WRITE_TOKEN), Machine::at(&nginx.url(), READ_TOKEN));
    let key = |n: u32| Digest::of(&n.to_le_bytes());
    let entry = |machine: &Machine, n: u32| RemoteEntry {
        outputs: (0..10)
            .map(|m| machine.output(&format!("out/{n}.{m}"), format!("{n} {m}").as_bytes(), 0o644))
            .collect(),
        artifacts: Vec::new(),
        extra: Extra { task: format!("t{n}").into(), ..Extra::default() },
    };
    std::thread::scope(|scope| {
        for half in 0..4 {
            let giver = &giver;
            scope.spawn(move || {
                for n in (half..16).step_by(4) {
                    assert!(giver.remote.publish(&giver.store, &key(n), &entry(giver, n)));
                }
            });
        }
    });
    std::thread::scope(|scope| {
        for half in 0..4 {
            let (giver, taker) = (&giver, &taker);
            scope.spawn(move || {
                for n in (half..16).step_by(4) {
                    let found = taker.remote.fetch(&key(n)).expect("it was given");
                    assert_eq!(found, entry(giver, n));
                    assert!(taker.takes(&found) && taker.has(&found));
                }
            });
        }
    });
    giver.is_content();
    taker.is_content();
}

/// A server that goes away in the middle of a run takes nothing with it but itself.
#[test]
fn a_server_that_goes_away_is_done_without() {
    let Some(nginx) = Nginx::start() else { return };
    let machine = Machine::at(&nginx.url(), WRITE_TOKEN);
    let entry = machine.entry();
    assert!(machine.remote.publish(&machine.store, &key(), &entry));
    drop(nginx);
    for n in 0..10_u8 {
        assert_eq!(machine.remote.fetch(&Digest::of(&[n])), None);
        assert!(!machine.remote.publish(&machine.store, &Digest::of(&[n]), &entry));
    }
    let warnings = machine.remote.warnings();
    assert!(
        (1..=2).contains(&warnings.len()) && warnings.last().expect("one").contains("goes on without it"),
        "{warnings:?}"
    );
    assert!(!machine.remote.reads());
}
