//! A real nginx on a port of its own, with the configuration that the book shows: `book/src/guide/shared-cache.md`.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// What the configuration in the book lets read, and what it lets write.
pub(crate) const READ_TOKEN: &str = "READ-TOKEN";
pub(crate) const WRITE_TOKEN: &str = "WRITE-TOKEN";

/// Another program may take a port between our looking and nginx' listening.
const TRIES: usize = 5;

const PATIENCE: Duration = Duration::from_mins(1);

/// A server that is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Nginx {
    folder: TempDir,
    server: Child,
    port: u16,
    tls: bool,
}

/// The program, or `None` where the test is to be left out. In CI nothing is left out.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.map(|folder| folder.join("nginx")).find(|program| program.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "there is no nginx: on Debian, apt-get install nginx-light");
        eprintln!("LEFT OUT: there is no nginx; on Debian, apt-get install nginx-light");
    }
    found
}

impl Nginx {
    /// Without TLS.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(false)
    }

    /// With the certificate in `testdata/tls`, which `ca.pem` there signed.
    pub(crate) fn start_with(tls: bool) -> Option<Self> {
        let program = program()?;
        for _ in 0..TRIES {
            let folder = TempDir::new().expect("there is room for a folder");
            fs::create_dir(folder.path().join("data")).expect("the folder is ours");
            let port = free_port();
            fs::write(folder.path().join("nginx.conf"), config(folder.path(), port, tls)).expect("the folder is ours");
            let server = Command::new(&program)
                .args(["-e", "error.log", "-c", "nginx.conf", "-p"])
                .arg(folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("nginx can be started");
            let mut nginx = Self { folder, server, port, tls };
            if nginx.is_up() {
                return Some(nginx);
            }
            eprintln!("nginx did not start:\n{}", nginx.errors());
        }
        panic!("nginx does not start");
    }

    fn is_up(&mut self) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if self.server.try_wait().expect("it is our child").is_some() {
                return false;
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://localhost:{}", if self.tls { "https" } else { "http" }, self.port)
    }

    /// Where the files of `/ac` and `/cas` are.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The names in a folder of the data.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.data().join(folder)).into_iter().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("the folder is ours").file_name().into_string().expect("hex")).collect();
        names.sort();
        names
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        if std::thread::panicking() {
            eprintln!("nginx said:\n{}", self.errors());
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}

/// The block of the book, with a port, folders and a certificate of ours, in a file that needs nothing else. One
/// process, so that ending it ends all of it, and it is us, so that the folder is ours.
fn config(folder: &Path, port: u16, tls: bool) -> String {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(project.join("book/src/guide/shared-cache.md")).expect("the page is there");
    let block = page.split_once("```text nginx\n").and_then(|(_, rest)| rest.split_once("```\n"));
    let mut block = block.expect("the page has the configuration").0.to_owned();
    let mut put = |from: &str, to: &str| {
        assert!(block.contains(from), "the configuration in the book has no `{from}` any more");
        block = block.replace(from, to);
    };
    let listen = format!("listen 127.0.0.1:{port}{};", if tls { " ssl" } else { "" });
    put("listen 443 ssl;", &listen);
    put("/etc/ssl/cache.example.pem", &project.join("testdata/tls/server.pem").display().to_string());
    put("/etc/ssl/cache.example.key", &project.join("testdata/tls/server.key").display().to_string());
    put("/srv/fleet-cache", &folder.join("data").display().to_string());
    let temporary: String = ["proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};\n", folder.display()))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\npid {}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{block}}}\n",
        folder.display()
    )
}
