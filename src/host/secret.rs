//! Where the values of secrets come from: the caller's environment, a private folder, a program that prints them.
//! No error repeats a value, or what a program printed as one.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags, Stat};
use zeroize::Zeroizing;

use super::local;
use crate::policy::mask::{self, Masks, Unmaskable, VALUE_BYTES_MAX};

/// How long the program may take for one secret.
pub const COMMAND_TIME: Duration = Duration::from_secs(30);
/// How often it is asked whether it has ended, while it says nothing.
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
    let mut out = Heard::of(child.stdout.take().map(OwnedFd::from));
    let mut err = Heard::of(child.stderr.take().map(OwnedFd::from));
    let heard = Heard::both(&mut out, &mut err, &mut child, time);
    if !matches!(heard, Ok(Some(_))) || out.bytes.len() > BOUND {
        // What it has started as well, while that can be known by its parent.
        local::end_tree(child.id());
        let _ = child.wait();
    }
    let ended = heard.map_err(|error| failed(&format!("cannot be heard: {error}")))?;
    if out.bytes.len() > BOUND {
        // It was not heard to its end, which it may have taken ill.
        return Err(format!("what `{program}` prints {}", Unmaskable::TooLong));
    }
    let Some(status) = ended else { return Err(failed(&format!("has not ended after {} s", time.as_secs_f32()))) };
    if !status.success() {
        let said = masked(&err.bytes, &out.bytes, known);
        let colon = if said.is_empty() { "" } else { ": " };
        return Err(failed(&format!("failed ({status}){colon}{said}")));
    }
    text(out.bytes, &format!("what `{program}` prints"))
}

/// What a program says on one of its streams, a little more of it than the longest value.
struct Heard {
    /// `None` once it was closed.
    from: Option<OwnedFd>,
    bytes: Zeroizing<Vec<u8>>,
}

impl Heard {
    fn of(from: Option<OwnedFd>) -> Self {
        // At its full size, so that no copy of a value is left behind when it grows.
        Self { from, bytes: Zeroizing::new(Vec::with_capacity(BOUND + 1)) }
    }

    /// Hears a program to its end, or to that of what can be a value, or of its time. When it has ended, what is there is
    /// all of it: something that it has started may hold its streams for as long as it likes.
    fn both(out: &mut Self, err: &mut Self, child: &mut Child, time: Duration) -> io::Result<Option<ExitStatus>> {
        let ends = Instant::now() + time;
        loop {
            let ended = child.try_wait()?;
            let mut got_some = false;
            for one in [&mut *out, &mut *err] {
                got_some |= one.take()?;
            }
            if out.bytes.len() > BOUND {
                return Ok(ended);
            }
            match ended {
                Some(_) if got_some => {}
                Some(_) => return Ok(ended),
                None if Instant::now() >= ends => return Ok(None),
                None if got_some => {}
                None => Self::wait(out, err)?,
            }
        }
    }

    fn wait(out: &Self, err: &Self) -> io::Result<()> {
        let open = [out, err].into_iter().filter_map(|one| one.from.as_ref());
        let mut fds: Vec<PollFd<'_>> = open.map(|from| PollFd::new(from, PollFlags::IN)).collect();
        let look = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos().into() };
        match rustix::event::poll(&mut fds, Some(&look)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes what is there, without waiting. What goes beyond the bound is dropped.
    fn take(&mut self) -> io::Result<bool> {
        let Some(from) = &self.from else { return Ok(false) };
        let mut fds = [PollFd::new(from, PollFlags::IN)];
        if rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? == 0 {
            return Ok(false);
        }
        let mut piece = Zeroizing::new([0; 4096]);
        let length = rustix::io::read(from, &mut piece[..])?;
        if length == 0 {
            self.from = None;
        }
        let room = (BOUND + 1).saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&piece[..length.min(room)]);
        Ok(length > 0)
    }
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
