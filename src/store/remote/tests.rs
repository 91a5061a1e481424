//! Everything that a server can do to us, by a server that does it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::model::CacheMode;
use crate::protocol::receipt::Mode;

/// Long enough for an answer that comes, short enough to wait for one that does not.
const QUICK: Times = Times {
    connect: Duration::from_secs(5),
    request: Duration::from_millis(600),
    stall: Duration::from_millis(300),
    bytes_per_second: 1 << 20,
};

/// Where an answer that has to come must not be cut off by a busy machine.
const PATIENT: Times = Times {
    connect: Duration::from_mins(1),
    request: Duration::from_mins(1),
    stall: Duration::from_mins(1),
    bytes_per_second: 1,
};

/// `PUT /ac/<hex>`, headers in lower case, and the body.
#[derive(Clone, Debug)]
struct Asked {
    line: String,
    headers: String,
    body: Vec<u8>,
}

/// A server on a port of its own that answers each request as it is told to.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn new(answer: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, seen) = (answer.clone(), seen.clone());
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let Some(one) = request(&mut stream) else { return };
                    seen.lock().unwrap().push(one.clone());
                    answer(&one, &mut stream);
                });
            }
        });
        Self { url, asked }
    }

    /// One that answers everything alike.
    fn always(answer: impl AsRef<[u8]>) -> Self {
        let answer = answer.as_ref().to_vec();
        Self::new(move |_, stream| drop(stream.write_all(&answer)))
    }

    /// One that has these, by path, and takes everything.
    fn with(files: Vec<(String, Vec<u8>)>) -> Self {
        let files: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(files.into_iter().collect());
        Self::new(move |asked, stream| {
            let (method, path) = asked.line.split_once(' ').unwrap();
            let answer = match (method, files.lock().unwrap().get(path)) {
                ("PUT", _) => ok(b""),
                (_, None) => NOT_FOUND.to_vec(),
                ("HEAD", Some(bytes)) => {
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len()).into()
                }
                (_, Some(bytes)) => ok(bytes),
            };
            if method == "PUT" {
                files.lock().unwrap().insert(path.to_owned(), asked.body.clone());
            }
            let _ = stream.write_all(&answer);
        })
    }

    fn lines(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|asked| asked.line.clone()).collect()
    }
}

const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn request(stream: &mut TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut line, mut headers) = (String::new(), String::new());
    reader.read_line(&mut line).ok()?;
    while !headers.ends_with("\r\n\r\n") && headers != "\r\n" {
        if reader.read_line(&mut headers).ok()? == 0 {
            return None;
        }
    }
    let headers = headers.to_lowercase();
    if headers.contains("expect: 100-continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    Some(Asked { line, headers, body })
}

fn cache(url: &str) -> CacheRemote {
    CacheRemote { url: url.into(), mode: CacheMode::ReadWrite, token_ref: None, trusted: true }
}

fn remote(url: &str, times: Times) -> Remote {
    Remote::with_times(&cache(url), None, Arc::default(), times)
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

fn file(path: &str, bytes: &[u8]) -> OutputRef {
    let (digest, size_bytes) = (Digest::of(bytes), bytes.len() as u64);
    OutputRef { path: path.into(), digest, size_bytes, mode: Some(Mode::of(0o644)), kind: EntryKind::File }
}

fn key() -> Digest {
    Digest::of(b"key")
}

fn entry(outputs: Vec<OutputRef>) -> RemoteEntry {
    RemoteEntry { outputs, artifacts: Vec::new(), extra: Extra { task: "build".into(), ..Extra::default() } }
}

fn encoded(outputs: Vec<OutputRef>) -> Vec<u8> {
    action::encode(&entry(outputs), &key(), |_| None).unwrap()
}

fn cas(bytes: &[u8]) -> String {
    format!("/cas/{}", Digest::of(bytes).hex())
}

fn ac() -> String {
    format!("/ac/{}", key().hex())
}

/// Asks for an entry and for bytes; both must be misses that say why, and nothing may be in the store.
fn brings_nothing(url: &str, times: Times, says: &str) {
    let asked = remote(url, times);
    assert_eq!(asked.fetch(&key()), None);
    let warnings = asked.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains(says), "{says}: {warnings:?}");

    let (folder, store) = store();
    let asked = remote(url, times);
    assert!(!asked.fetch_blobs(&store, &[file("a", b"abc")]));
    let warnings = asked.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains(says), "{says}: {warnings:?}");
    assert_eq!(files_of(&folder), 0, "{says}");
}

fn files_of(folder: &tempfile::TempDir) -> usize {
    walkdir::WalkDir::new(folder.path())
        .into_iter()
        .filter(|entry| entry.as_ref().unwrap().file_type().is_file())
        .count()
}

#[test]
fn what_is_there_is_brought_and_verified() {
    let bytes = vec![7; 300_000];
    let outputs = vec![file("a", &bytes), file("b", b"abc"), file("same", b"abc"), file("empty", b"")];
    let server = Server::with(vec![
        (ac(), encoded(outputs.clone())),
        (cas(&bytes), bytes.clone()),
        (cas(b"abc"), b"abc".to_vec()),
    ]);
    let (_folder, store) = store();
    let remote = remote(&server.url, PATIENT);
    let mut found = remote.fetch(&key()).unwrap().outputs;
    found.sort_by_key(|output| outputs.iter().position(|other| other == output));
    assert_eq!(found, outputs);
    assert!(remote.fetch_blobs(&store, &found));
    for output in &outputs {
        assert_eq!(store.verify(&output.digest).unwrap(), output.size_bytes);
    }
    assert_eq!(server.lines().len(), 3, "{:?}", server.lines());
    // What is here is not asked for again.
    assert!(remote.fetch_blobs(&store, &found));
    assert_eq!(server.lines().len(), 3);
    assert_eq!(remote.warnings(), Vec::<String>::new());
}

#[test]
fn what_is_not_there_is_a_miss_without_a_word() {
    let server = Server::with(Vec::new());
    let (_folder, store) = store();
    let remote = remote(&server.url, PATIENT);
    for _ in 0..2 * FAILURES_MAX {
        assert_eq!(remote.fetch(&key()), None);
        assert!(!remote.fetch_blobs(&store, &[file("a", b"abc")]));
    }
    assert_eq!(remote.warnings(), Vec::<String>::new());
    assert!(remote.reads() && remote.writes());
}

#[test]
fn a_server_that_is_away_is_asked_once() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{port}");
    brings_nothing(&url, PATIENT, "cannot be reached");
    let remote = remote(&url, PATIENT);
    assert_eq!(remote.fetch(&key()), None);
    assert!(!remote.reads() && !remote.writes());
    let (_folder, store) = store();
    assert!(!remote.publish(&store, &key(), &entry(Vec::new())));
    assert_eq!(remote.warnings().len(), 1);
    assert_eq!(remote.fetch(&key()), None);
    assert_eq!(remote.warnings(), Vec::<String>::new());
}

#[test]
fn a_server_that_never_answers_is_not_waited_for() {
    let (never, waits) = mpsc::channel::<()>();
    let waits = Mutex::new(waits);
    let server = Server::new(move |_, _| {
        let _ = waits.lock().unwrap().recv();
    });
    brings_nothing(&server.url, QUICK, "does not answer in time");
    drop(never);
}

#[test]
fn a_server_that_stops_in_the_middle_is_not_waited_for() {
    let server = Server::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na");
        // Until the other side has given up.
        let _ = stream.peek(&mut [0]);
    });
    brings_nothing(&server.url, QUICK, "does not answer in time");
}

/// Each piece comes in time, and all of them never do.
#[test]
fn a_server_that_answers_drop_by_drop_is_not_waited_for() {
    let server = Server::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while stream.write_all(b"1\r\nx\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(30));
        }
    });
    let (_folder, store) = store();
    let remote = remote(&server.url, QUICK);
    assert_eq!(remote.fetch(&key()), None);
    assert!(!remote.fetch_blobs(&store, &[file("a", &vec![b'x'; 1 << 20])]));
    let warnings = remote.warnings();
    assert!(warnings.len() == 2 && warnings.iter().all(|one| one.contains("does not answer in time")), "{warnings:?}");
}

#[test]
fn failures_in_a_row_turn_it_off_with_one_last_word() {
    let server = Server::always(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    brings_nothing(&server.url, PATIENT, "answers with status 500");
    let before = server.lines().len();
    let remote = remote(&server.url, PATIENT);
    for _ in 0..10 {
        assert_eq!(remote.fetch(&key()), None);
    }
    assert_eq!(server.lines().len() - before, FAILURES_MAX as usize);
    let warnings = remote.warnings();
    assert!(warnings.len() == FAILURES_MAX as usize, "{warnings:?}");
    assert!(warnings[2].contains("3 failures in a row; this run goes on without it"), "{warnings:?}");
    assert!(!remote.reads());
}

#[test]
fn a_success_in_between_starts_the_count_again() {
    let count = AtomicUsize::new(0);
    let server = Server::new(move |_, stream| {
        let fails = count.fetch_add(1, Ordering::Relaxed) % 3 != 2;
        let bad = b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let _ = stream.write_all(if fails { bad } else { NOT_FOUND });
    });
    let remote = remote(&server.url, PATIENT);
    for _ in 0..30 {
        assert_eq!(remote.fetch(&key()), None);
    }
    assert!(remote.reads());
    assert_eq!(remote.warnings().len(), WARNINGS_MAX, "they do not grow with the run");
}

#[test]
fn an_answer_that_is_cut_off_is_no_answer() {
    let whole = encoded(vec![file("a", b"abc")]);
    let cut = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", whole.len());
    let server = Server::always([cut.as_bytes(), &whole[..whole.len() - 1]].concat());
    let asked = remote(&server.url, PATIENT);
    assert_eq!(asked.fetch(&key()), None);
    assert_eq!(asked.warnings().len(), 1);
    let server = Server::always(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nab");
    let (folder, store) = store();
    let asked = remote(&server.url, PATIENT);
    assert!(!asked.fetch_blobs(&store, &[file("a", b"abc")]));
    assert_eq!((asked.warnings().len(), files_of(&folder)), (1, 0));
}

#[test]
fn wrong_bytes_never_get_a_name() {
    for (answer, says) in [
        (ok(b"abd"), "other bytes"),
        (ok(b"abcd"), "4 bytes instead of 3"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcd".to_vec(), "more than the 3 bytes"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab".to_vec(), "fewer than the 3 bytes"),
    ] {
        let server = Server::always(answer);
        let (folder, store) = store();
        let remote = remote(&server.url, PATIENT);
        assert!(!remote.fetch_blobs(&store, &[file("a", b"abc")]));
        let warnings = remote.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains(says), "{warnings:?}");
        assert_eq!(files_of(&folder), 0);
    }
}

#[test]
fn a_body_without_end_is_not_read_to_it() {
    let endless = |head: &'static [u8]| {
        Server::new(move |_, stream| {
            let _ = stream.write_all(head);
            let piece = vec![b'x'; 64 << 10];
            while stream.write_all(&piece).is_ok() {}
        })
    };
    let server = endless(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    let asked = remote(&server.url, PATIENT);
    assert_eq!(asked.fetch(&key()), None);
    assert!(asked.warnings()[0].contains("more than 4194304 bytes"));
    // As many headers as it likes neither.
    let server = endless(b"HTTP/1.1 200 OK\r\nx: ");
    let asked = remote(&server.url, PATIENT);
    assert_eq!(asked.fetch(&key()), None);
    assert_eq!(asked.warnings().len(), 1);
}

#[test]
fn garbage_is_no_entry() {
    for answer in [ok(b"<html>welcome to the airport</html>"), ok(b""), ok(&[0xff; 5000])] {
        let remote = remote(&Server::always(answer).url, PATIENT);
        assert_eq!(remote.fetch(&key()), None);
        let warnings = remote.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("has an entry that"), "{warnings:?}");
    }
    brings_nothing(&Server::always(b"SSH-2.0-OpenSSH_9.9\r\n").url, PATIENT, "does not speak HTTP");
    let other = action::encode(&entry(Vec::new()), &Digest::of(b"another key"), |_| None).unwrap();
    let remote = remote(&Server::with(vec![(ac(), other)]).url, PATIENT);
    assert_eq!(remote.fetch(&key()), None);
    assert!(remote.warnings()[0].contains("is the result of something else"));
}

#[test]
fn the_token_goes_to_its_server_and_nowhere_else() {
    let other = Server::with(Vec::new());
    let to = format!(
        "HTTP/1.1 302 Found\r\nLocation: {}/cas/x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        other.url
    );
    let server = Server::always(to);
    let token = Token::new("s3cret-t0ken\n");
    let named = CacheRemote { token_ref: Some("CACHE_TOKEN".into()), ..cache(&server.url) };
    let remote = Remote::with_times(&named, Some(&token), Arc::default(), PATIENT);
    let (_folder, store) = store();
    let put = store.put_bytes(b"abc").unwrap();
    assert_eq!(remote.fetch(&key()), None);
    assert!(!remote.publish(&store, &key(), &entry(vec![OutputRef { digest: put.digest, ..file("a", b"abc") }])));
    let warnings = remote.warnings();
    assert!(warnings[0].contains("redirects with status 302"), "{warnings:?}");
    assert_eq!(other.lines(), Vec::<String>::new());
    let asked = server.asked.lock().unwrap();
    assert!(asked.len() == 2 && asked.iter().all(|one| one.headers.contains("authorization: bearer s3cret-t0ken\r\n")));
    let shown = format!("{remote:?} {token:?} {warnings:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn a_server_that_does_not_know_us_is_left_alone() {
    for status in [401, 403] {
        let server = Server::always(format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
        let named = CacheRemote { token_ref: Some("CACHE_TOKEN".into()), ..cache(&server.url) };
        let remote = Remote::with_times(&named, Some(&Token::new("s3cret")), Arc::default(), PATIENT);
        assert_eq!(remote.fetch(&key()), None);
        assert_eq!(remote.fetch(&key()), None);
        let warnings = remote.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("look at the token in CACHE_TOKEN"), "{warnings:?}");
        assert!(!warnings[0].contains("s3cret"));
        assert_eq!(server.lines().len(), 1);
    }
}

#[test]
fn without_its_token_it_is_off() {
    let server = Server::with(Vec::new());
    let named = CacheRemote { token_ref: Some("CACHE_TOKEN".into()), ..cache(&server.url) };
    for (token, says) in [
        (None, "the variable CACHE_TOKEN is not set"),
        (Some(Token::new(" \n")), "cannot be a token"),
        (Some(Token::new("line\nbreak")), "cannot be a token"),
    ] {
        let remote = Remote::new(&named, token.as_ref(), Arc::default());
        assert_eq!(remote.fetch(&key()), None);
        let warnings = remote.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains(says), "{warnings:?}");
    }
    assert_eq!(server.lines(), Vec::<String>::new());
}

#[test]
fn the_mode_and_the_trust_say_what_is_asked() {
    let server = Server::with(vec![(ac(), encoded(Vec::new()))]);
    let (_folder, store) = store();
    for (mode, trusted, reads, writes) in [
        (CacheMode::ReadWrite, true, true, true),
        (CacheMode::ReadOnly, true, true, false),
        (CacheMode::ReadWrite, false, false, true),
        (CacheMode::ReadOnly, false, false, false),
    ] {
        let remote =
            Remote::with_times(&CacheRemote { mode, trusted, ..cache(&server.url) }, None, Arc::default(), PATIENT);
        assert_eq!((remote.reads(), remote.writes()), (reads, writes));
        assert_eq!(remote.fetch(&key()).is_some(), reads);
        assert_eq!(remote.publish(&store, &key(), &entry(Vec::new())), writes);
        assert_eq!(remote.warnings().len(), usize::from(!trusted));
    }
}

#[test]
fn bytes_are_uploaded_before_the_entry_that_names_them() {
    let server = Server::with(Vec::new());
    let (_folder, store) = store();
    let large = vec![9; 2 << 20];
    let mut outputs: Vec<OutputRef> =
        (0..20).map(|n| file(&format!("f{n}"), format!("bytes {n}").as_bytes())).collect();
    outputs.push(file("large", &large));
    outputs.push(file("empty", b""));
    outputs.push(OutputRef { mode: None, kind: EntryKind::Symlink, ..file("link", b"f1") });
    outputs.sort_by(|a, b| a.path.cmp(&b.path));
    for n in 0..20 {
        store.put_bytes(format!("bytes {n}").as_bytes()).unwrap();
    }
    store.put_bytes(&large).unwrap();
    store.put_bytes(b"").unwrap();
    store.put_bytes(b"f1").unwrap();
    let remote = remote(&server.url, PATIENT);
    assert!(remote.publish(&store, &key(), &entry(outputs.clone())), "{:?}", remote.warnings());
    let lines = server.lines();
    assert_eq!(lines.last(), Some(&format!("PUT {}", ac())));
    // Twenty small ones, a question and an upload for the large one, the link's text, the entry.
    assert_eq!(lines.len(), 20 + 2 + 1 + 1, "{lines:#?}");
    // Another machine has all of it.
    let (_other, elsewhere) = self::store();
    let reader = self::remote(&server.url, PATIENT);
    let found = reader.fetch(&key()).unwrap();
    assert_eq!(found, entry(outputs.clone()));
    assert!(reader.fetch_blobs(&elsewhere, &found.outputs));
    assert!(outputs.iter().all(|output| elsewhere.verify(&output.digest).is_ok()));
    // The next task with the same bytes uploads only its entry, and so does someone who asks for the large one.
    assert!(remote.publish(&store, &Digest::of(b"another"), &entry(outputs)));
    assert_eq!(server.lines()[lines.len()..].iter().filter(|line| line.starts_with("PUT")).count(), 1);
}

#[test]
fn an_entry_whose_bytes_did_not_arrive_is_not_uploaded() {
    let server = Server::new(|asked, stream| {
        let full = if asked.line.starts_with("PUT /cas/") { "507 Full" } else { "200 OK" };
        let _ =
            stream.write_all(format!("HTTP/1.1 {full}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes());
    });
    let (_folder, store) = store();
    store.put_bytes(b"abc").unwrap();
    let remote = remote(&server.url, PATIENT);
    assert!(!remote.publish(&store, &key(), &entry(vec![file("a", b"abc")])));
    assert!(server.lines().iter().all(|line| !line.starts_with("PUT /ac/")));
    assert!(remote.warnings()[0].contains("with status 507"));
    assert!(remote.writes(), "the next may fit");
}

#[test]
fn a_server_that_takes_nothing_is_told_so_once() {
    for status in [401, 403, 405] {
        let server = Server::always(format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
        let (_folder, store) = store();
        let large = vec![1; 40_000];
        store.put_bytes(&large).unwrap();
        let remote = remote(&server.url, PATIENT);
        for _ in 0..3 {
            assert!(!remote.publish(&store, &key(), &entry(vec![file("a", &large)])));
        }
        let warnings = remote.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("mode = \"read-only\""), "{warnings:?}");
        assert!(remote.reads() && !remote.writes());
    }
}

#[test]
fn damage_in_our_store_is_not_handed_on() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = Server::with(Vec::new());
    let (_folder, store) = store();
    let bytes = vec![1; 50_000];
    let path = store.path(&store.put_bytes(&bytes).unwrap().digest);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&path, vec![2; 50_000]).unwrap();
    let remote = remote(&server.url, PATIENT);
    assert!(!remote.publish(&store, &key(), &entry(vec![file("a", &bytes)])));
    assert!(remote.warnings()[0].contains("the store is damaged"));
    let whole = server.asked.lock().unwrap().iter().filter(|asked| asked.body.len() == bytes.len()).count();
    assert_eq!(whole, 0);
    let lost = entry(vec![file("b", b"never put")]);
    assert!(!remote.publish(&store, &key(), &lost));
    assert!(server.lines().iter().all(|line| !line.starts_with("PUT /ac/")));
}

#[test]
fn a_cancelled_run_ends_a_transfer_between_two_pieces() {
    let stop = Arc::new(AtomicBool::new(false));
    let cancel = stop.clone();
    let bytes = vec![5; 1 << 20];
    let body = bytes.clone();
    let server = Server::new(move |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&body[..1000]);
        cancel.store(true, Ordering::Relaxed);
        let _ = stream.write_all(&body[1000..]);
    });
    let (folder, store) = store();
    let remote = Remote::with_times(&cache(&server.url), None, stop, PATIENT);
    assert!(!remote.fetch_blobs(&store, &[file("a", &bytes)]));
    assert_eq!(remote.warnings(), Vec::<String>::new(), "nobody asks why");
    assert_eq!(files_of(&folder), 0);
    assert_eq!(remote.fetch(&key()), None);
    assert_eq!(server.lines().len(), 1);
}

#[test]
fn only_so_many_requests_are_made_at_once() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, peak) = (now.clone(), most.clone());
    let server = Server::new(move |_, stream| {
        peak.fetch_max(count.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(2));
        count.fetch_sub(1, Ordering::SeqCst);
        let _ = stream.write_all(&ok(b""));
    });
    let (_folder, store) = store();
    let outputs: Vec<OutputRef> = (0..60).map(|n| file(&format!("f{n:02}"), format!("{n}").as_bytes())).collect();
    for n in 0..60 {
        store.put_bytes(format!("{n}").as_bytes()).unwrap();
    }
    let remote = remote(&server.url, PATIENT);
    std::thread::scope(|scope| {
        for n in 0..3_u8 {
            let (remote, store, outputs) = (&remote, &store, &outputs);
            scope.spawn(move || assert!(remote.publish(store, &Digest::of(&[n]), &entry(outputs.clone()))));
        }
    });
    let most = most.load(Ordering::SeqCst);
    assert!((2..=TRANSFERS_MAX).contains(&most), "{most}");
}
