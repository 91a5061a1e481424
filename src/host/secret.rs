//! Where the values of secrets come from: the caller's environment, a private folder, a program that prints them.
//! No error repeats a value, or what a program printed as one.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, Stat};
use zeroize::Zeroizing;

use crate::policy::mask::{self, Masks, Unmaskable, VALUE_BYTES_MAX};

/// How long the program may take for one secret.
pub const COMMAND_TIME: Duration = Duration::from_secs(30);
/// How often it is asked whether it has ended, once its output has.
const LOOK: Duration = Duration::from_millis(5);
/// Most that is shown of what it said when it failed.
const SAID_BYTES_MAX: usize = 1 << 10;

/// A value, which does not stay in freed memory.
pub type Value = Zeroizing<String>;

/// A variable of the caller.
///
/// # Errors
/// Why there is no such value, in words.
pub fn from_env(key: &str, variable: impl Fn(&str) -> Option<OsString>) -> Result<Value, String> {
    let value = variable(key).ok_or_else(|| format!("the variable `{key}` is not set"))?;
    let value = value.into_string().map_err(|_| format!("the variable `{key}` is not UTF-8"))?;
    checked(value, &format!("the variable `{key}`"))
}

/// The folder of secrets where the policy names none.
#[must_use]
pub fn default_folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(config.join("fleet/secrets"))
}

/// The file with the key's name in a folder that nobody else may enter.
///
/// # Errors
/// Why there is no such value, in words.
pub fn from_file(key: &str, folder: Option<&Path>) -> Result<Value, String> {
    let folder = folder.ok_or("there is no folder of secrets: neither XDG_CONFIG_HOME nor HOME is set")?;
    let here = folder.display();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags | OFlags::DIRECTORY, Mode::empty())
        .map_err(|error| format!("the folder of secrets `{here}` cannot be opened: {}", io::Error::from(error)))?;
    let about = rustix::fs::fstat(&opened).map_err(|error| format!("`{here}`: {}", io::Error::from(error)))?;
    is_private(&about, "0700").map_err(|why| format!("the folder of secrets `{here}` {why}"))?;
    let path = folder.join(key);
    let path = path.display();
    // Does not wait for a writer of what may be a pipe.
    let file = rustix::fs::openat(&opened, key, flags | OFlags::NONBLOCK, Mode::empty())
        .map_err(|error| format!("the file `{path}` cannot be opened: {}", io::Error::from(error)))?;
    let about = rustix::fs::fstat(&file).map_err(|error| format!("`{path}`: {}", io::Error::from(error)))?;
    if !rustix::fs::FileType::from_raw_mode(about.st_mode).is_file() {
        return Err(format!("`{path}` is not a regular file"));
    }
    is_private(&about, "0600").map_err(|why| format!("the file `{path}` {why}"))?;
    let bytes = bounded(File::from(file)).map_err(|error| format!("the file `{path}` cannot be read: {error}"))?;
    text(bytes, &format!("the file `{path}`"))
}

fn is_private(about: &Stat, wanted: &str) -> Result<(), String> {
    if about.st_uid != rustix::process::geteuid().as_raw() {
        return Err(format!("belongs to another user ({})", about.st_uid));
    }
    let mode = about.st_mode & 0o7777;
    if mode & 0o077 != 0 {
        return Err(format!("is open to others (mode {mode:04o}): make it {wanted}"));
    }
    Ok(())
}

/// What a program prints that is given the key as its last word.
///
/// # Errors
/// Why there is no such value, in words.
pub fn from_command(key: &str, argv: &[Box<str>], folder: &Path, known: &[&str]) -> Result<Value, String> {
    let (program, words) = argv.split_first().ok_or("`secrets_command` is empty")?;
    asked(key, program, words, folder, known, COMMAND_TIME)
}

fn asked(
    key: &str,
    program: &str,
    words: &[Box<str>],
    folder: &Path,
    known: &[&str],
    time: Duration,
) -> Result<Value, String> {
    let failed = |why: &dyn std::fmt::Display| format!("`{program}` {why}");
    let mut command = Command::new(program);
    command.args(words.iter().map(|word| &**word)).arg(key).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(&format!("cannot be started: {error}")))?;
    let ends = Instant::now() + time;
    let late = format!("has not ended after {} s", time.as_secs_f32());
    let (printed, said) = (child.stdout.take().map(reader), child.stderr.take().map(reader));
    // Each ends when its pipe is closed, which something that the program left running may never do.
    let taken = |from: Option<mpsc::Receiver<io::Result<Zeroizing<Vec<u8>>>>>| {
        let left = ends.saturating_duration_since(Instant::now());
        from.ok_or(()).and_then(|from| from.recv_timeout(left).map_err(drop))
    };
    let printed = taken(printed);
    let said = taken(said);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < ends && printed.is_ok() && said.is_ok() => std::thread::sleep(LOOK),
            _ => {
                // It may be gone already; then there is nothing to end.
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(&late));
            }
        }
    };
    let (Ok(printed), Ok(said)) = (printed, said) else { return Err(failed(&late)) };
    let printed = printed.map_err(|error| failed(&format!("cannot be heard: {error}")))?;
    if printed.len() > BOUND {
        // It was not heard to its end, which it may have taken ill.
        return Err(format!("what `{program}` prints {}", Unmaskable::TooLong));
    }
    if !status.success() {
        let said = said.map(|said| masked(&said, &printed, known)).unwrap_or_default();
        let colon = if said.is_empty() { "" } else { ": " };
        return Err(failed(&format!("failed ({status}){colon}{said}")));
    }
    text(printed, &format!("what `{program}` prints"))
}

fn reader(from: impl Read + Send + 'static) -> mpsc::Receiver<io::Result<Zeroizing<Vec<u8>>>> {
    let (to, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody waits any more when the time is over.
        let _ = to.send(bounded(from));
    });
    receiver
}

/// With the newline that may end it.
const BOUND: usize = VALUE_BYTES_MAX + 2;

/// A little more than the longest value, so that a longer one is seen to be longer.
fn bounded(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(BOUND + 1));
    from.take(BOUND as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a program said, on one line, without values: also not the one that it may have printed before it failed.
fn masked(said: &[u8], printed: &[u8], known: &[&str]) -> String {
    let printed = String::from_utf8_lossy(printed);
    let printed = printed.trim_end_matches(['\n', '\r']);
    let masks = Masks::new(known.iter().copied().chain([printed]).map(|value| ("VALUE", value)));
    let said = masks.bytes(said);
    let said = String::from_utf8_lossy(&said[..said.len().min(SAID_BYTES_MAX)]).into_owned();
    let words: Vec<&str> =
        said.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ")
}

/// Without the one newline that ends the line.
fn text(mut bytes: Zeroizing<Vec<u8>>, what: &str) -> Result<Value, String> {
    if bytes.ends_with(b"\n") {
        let end = bytes.len() - if bytes.ends_with(b"\r\n") { 2 } else { 1 };
        bytes.truncate(end);
    }
    let text = String::from_utf8(std::mem::take(&mut bytes)).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        format!("{what} is not UTF-8")
    })?;
    checked(text, what)
}

fn checked(value: String, what: &str) -> Result<Value, String> {
    let value = Zeroizing::new(value);
    if value.contains('\0') {
        return Err(format!("{what} holds a NUL character"));
    }
    mask::check(&value).map_err(|why| format!("{what} {why}"))?;
    Ok(value)
}

#[cfg(test)]
mod tests;
