//! One request at a time to a server that speaks the plain protocol: `<base>/ac/<hex>` and `<base>/cas/<hex>`, GET, HEAD
//! and PUT. Every request is bounded in time and bytes, redirects are not followed (so the token goes nowhere else),
//! and nothing that is said about a failure holds the token.

use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use ureq::http::{HeaderValue, Response, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, Error, SendBody, Timeout};

use super::Token;
use crate::digest::Digest;
use crate::model::CacheRemote;

/// Until a connection stands, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For a request and its answer, without the bytes of a blob.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Without a byte coming or going.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A blob may take its size over this more; slower, running the task is the better choice.
pub const BYTES_PER_SECOND_MIN: u64 = 128 << 10;

/// Requests at once, over all tasks.
pub const TRANSFERS_MAX: usize = 8;

/// From this size on the server is asked before the bytes are sent, so that a refusal costs nothing.
const EXPECT_BYTES: u64 = 1 << 20;

/// How much of an answer's body that nobody wants is read to keep the connection.
const DRAIN_BYTES: u64 = 64 << 10;

/// Time a connection may lie idle; longer, and the server may be closing it as we write.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Times, so that tests can shorten them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) connect: Duration,
    pub(super) request: Duration,
    pub(super) stall: Duration,
    pub(super) bytes_per_second: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            connect: CONNECT_TIMEOUT,
            request: REQUEST_TIMEOUT,
            stall: STALL_TIMEOUT,
            bytes_per_second: BYTES_PER_SECOND_MIN,
        }
    }
}

impl Times {
    fn of_blob(self, size: u64) -> Duration {
        self.request + Duration::from_secs(size / self.bytes_per_second)
    }
}

/// Action results or content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Action,
    Content,
}

impl Kind {
    fn folder(self) -> &'static str {
        match self {
            Self::Action => "ac",
            Self::Content => "cas",
        }
    }
}

/// Why a request brought nothing, as the end of a sentence about the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection: there is nothing to be hoped from the next request.
    Unreachable(String),
    /// The server does not know us: 401, 403, 407.
    Refused(u16),
    /// The server will not take this upload.
    NotTaken(u16),
    Failed(String),
    /// The run is being cancelled.
    Stopped,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "cannot be reached: {why}"),
            Self::Refused(status) => write!(f, "refuses us with status {status}"),
            Self::NotTaken(status) => write!(f, "does not take an upload, with status {status}"),
            Self::Failed(why) => f.write_str(why),
            Self::Stopped => f.write_str("was not waited for"),
        }
    }
}

pub(super) struct Client {
    base: Box<str>,
    agent: Agent,
    authorization: Option<HeaderValue>,
    times: Times,
    gate: Gate,
    stop: Arc<AtomicBool>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.base)
    }
}

impl Client {
    pub(super) fn new(remote: &CacheRemote, token: Option<&Token>, times: Times, stop: Arc<AtomicBool>) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("fleet/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(times.connect))
            .timeout_connect(Some(times.connect))
            .timeout_per_read(Some(times.stall))
            .timeout_per_write(Some(times.stall))
            .timeout_global(Some(times.request))
            .max_idle_connections(TRANSFERS_MAX)
            .max_idle_connections_per_host(TRANSFERS_MAX)
            .max_idle_age(IDLE_TIMEOUT);
        if remote.is_loopback() {
            // A proxy has another loopback.
            config = config.proxy(None);
        }
        if remote.url.starts_with("https:") {
            config = config.tls_config(tls());
        }
        let agent = config.build().new_agent();
        let authorization = token.and_then(Token::header);
        Self { base: remote.url.clone(), agent, authorization, times, gate: Gate::new(TRANSFERS_MAX), stop }
    }

    /// Reads what the server has under a digest, or nothing where it has nothing. `size` is that of a blob where it is
    /// known, which bounds the time.
    pub(super) fn get<T>(
        &self,
        kind: Kind,
        digest: &Digest,
        size: Option<u64>,
        read: impl FnOnce(&mut dyn Read) -> Result<T, Failure>,
    ) -> Result<Option<T>, Failure> {
        let _turn = self.gate.enter(&self.stop)?;
        let mut request = self.agent.get(self.url(kind, digest));
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        // Only where it differs: settings of one request cost a new set of TLS settings.
        let answer = match size.map(|size| self.times.of_blob(size)) {
            Some(time) if time > self.times.request => request.config().timeout_global(Some(time)).build().call(),
            _ => request.call(),
        };
        let mut answer = answer.map_err(|error| failure(&error))?;
        match answer.status().as_u16() {
            200 => {
                let stated = answer.body().content_length();
                if let (Some(stated), Some(size)) = (stated, size)
                    && stated != size
                {
                    return Err(Failure::Failed(format!("sends {stated} bytes instead of {size}")));
                }
                read(&mut answer.body_mut().as_reader()).map(Some)
            }
            404 | 410 => {
                drain(&mut answer);
                Ok(None)
            }
            status => Err(refusal(&mut answer, status)),
        }
    }

    /// Whether the server has content of that digest and size; not when it does not say.
    pub(super) fn has(&self, digest: &Digest, size: u64) -> Result<bool, Failure> {
        let _turn = self.gate.enter(&self.stop)?;
        let mut request = self.agent.head(self.url(Kind::Content, digest));
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let answer = request.call().map_err(|error| failure(&error))?;
        let length = answer.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        match answer.status().as_u16() {
            200 => Ok(length.is_none_or(|length: u64| length == size)),
            // Not every server knows HEAD, and who may read may not write; the upload will show.
            _ => Ok(false),
        }
    }

    /// Uploads `size` bytes under a digest.
    pub(super) fn put(&self, kind: Kind, digest: &Digest, size: u64, mut bytes: impl Read) -> Result<(), Failure> {
        let _turn = self.gate.enter(&self.stop)?;
        let mut request = self
            .agent
            .put(self.url(kind, digest))
            .header(header::CONTENT_LENGTH, size)
            .header(header::CONTENT_TYPE, "application/octet-stream");
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        if size >= EXPECT_BYTES {
            request = request.header(header::EXPECT, "100-continue");
        }
        let body = SendBody::from_reader(&mut bytes);
        let time = self.times.of_blob(size);
        let answer = if time > self.times.request {
            request.config().timeout_global(Some(time)).build().send(body)
        } else {
            request.send(body)
        };
        let mut answer = answer.map_err(|error| failure(&error))?;
        match answer.status().as_u16() {
            200..=299 => {
                drain(&mut answer);
                Ok(())
            }
            status @ (400 | 402 | 404..=406 | 409 | 411 | 413..=416 | 422 | 501 | 507) => {
                drain(&mut answer);
                Err(Failure::NotTaken(status))
            }
            status => Err(refusal(&mut answer, status)),
        }
    }

    fn url(&self, kind: Kind, digest: &Digest) -> String {
        format!("{}/{}/{}", self.base, kind.folder(), digest.hex())
    }
}

/// The certificates of the system, so that a company's own authority counts and an old binary trusts nobody by itself.
fn tls() -> TlsConfig {
    let found = rustls_native_certs::load_native_certs();
    let certs: Vec<Certificate<'static>> =
        found.certs.iter().map(|cert| Certificate::from_der(cert.as_ref()).to_owned()).collect();
    TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&certs))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}

/// Reads on to the end of a short body, so that the connection can be used again.
fn drain(answer: &mut Response<Body>) {
    let _ = answer.body_mut().with_config().limit(DRAIN_BYTES).read_to_vec();
}

fn refusal(answer: &mut Response<Body>, status: u16) -> Failure {
    drain(answer);
    match status {
        401 | 403 | 407 => Failure::Refused(status),
        300..=399 => Failure::Failed(format!("redirects with status {status}, which is not followed")),
        _ => Failure::Failed(format!("answers with status {status}")),
    }
}

fn failure(error: &Error) -> Failure {
    let unreachable = |why: &str| Failure::Unreachable(why.to_owned());
    match error {
        Error::HostNotFound => unreachable("no such host"),
        Error::ConnectionFailed => unreachable("no connection"),
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => unreachable("no connection in time"),
        Error::Tls(why) => unreachable(why),
        Error::Rustls(error) => Failure::Unreachable(error.to_string()),
        Error::Io(error) => io_failure(error),
        Error::Timeout(_) => Failure::Failed("does not answer in time".to_owned()),
        error => Failure::Failed(format!("does not speak HTTP as expected: {error}")),
    }
}

/// Also of what a body's reader fails with.
pub(super) fn io_failure(error: &io::Error) -> Failure {
    use io::ErrorKind as Kind;
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        return failure(error);
    }
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return Failure::Unreachable(error.to_string());
    }
    match error.kind() {
        Kind::ConnectionRefused | Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::AddrNotAvailable => {
            Failure::Unreachable(error.to_string())
        }
        Kind::TimedOut => Failure::Failed("does not answer in time".to_owned()),
        Kind::UnexpectedEof => Failure::Failed("ends an answer early".to_owned()),
        _ => Failure::Failed(format!("breaks off: {error}")),
    }
}

/// Lets a number of requests in at once.
#[derive(Debug)]
struct Gate {
    free: Mutex<usize>,
    freed: Condvar,
}

/// How often someone who waits for a turn looks whether the run is being cancelled.
const STOP_POLL: Duration = Duration::from_millis(50);

struct Turn<'g>(&'g Gate);

impl Gate {
    fn new(free: usize) -> Self {
        Self { free: Mutex::new(free), freed: Condvar::new() }
    }

    fn enter(&self, stop: &AtomicBool) -> Result<Turn<'_>, Failure> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err(Failure::Stopped);
            }
            if *free > 0 {
                *free -= 1;
                return Ok(Turn(self));
            }
            free = self.freed.wait_timeout(free, STOP_POLL).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}
