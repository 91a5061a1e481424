//! Masking: no value of a secret gets into what is shown or stored, in whatever form a program prints it.
//!
//! - `forms` is what is looked for: the value as it is, in base64, hex, percent-encoding and the escapes of JSON, XML and shells
//! - `matcher` finds all of them at once, in linear time, across line breaks, and goes on where the last piece ended
//! - this file: what stands in the place of a value, and a stream that is masked as it comes
//!
//! Line breaks do not count, neither in a form nor in the text: base64 wraps its lines, and a terminal or a log may wrap
//! anything. Knows nothing of where the text comes from or goes to.

mod forms;
mod matcher;

use std::borrow::Cow;
use std::fmt;

use matcher::{Hit, Matcher, State};

/// The shortest value that can be masked. A shorter one stands in too many texts by chance.
pub const VALUE_BYTES_MIN: usize = 6;
/// The longest value. All its forms are kept in memory.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// The values of a run's secrets, ready to be looked for.
pub struct Masks {
    matcher: Matcher,
    /// In the order in which they were given.
    keys: Vec<Key>,
}

struct Key {
    name: Box<str>,
    /// What stands in the place of its value.
    mark: Box<str>,
}

/// Why a value cannot be masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmaskable {
    #[error("is shorter than {VALUE_BYTES_MIN} bytes, and so short a value cannot be masked")]
    TooShort,
    #[error("is longer than {} KiB", VALUE_BYTES_MAX >> 10)]
    TooLong,
}

impl fmt::Debug for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never a value or a form of one.
        f.debug_list().entries(self.keys.iter().map(|key| &key.name)).finish()
    }
}

/// Whether a value can be masked.
///
/// # Errors
/// Why not.
pub fn check(value: &str) -> Result<(), Unmaskable> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(Unmaskable::TooLong);
    }
    let counted = value.bytes().filter(|byte| !matcher::is_break(*byte)).count();
    if counted < VALUE_BYTES_MIN { Err(Unmaskable::TooShort) } else { Ok(()) }
}

impl Masks {
    /// Of secrets by key and value. Values that [`check`] refuses are left out.
    #[must_use]
    pub fn new<'s>(secrets: impl IntoIterator<Item = (&'s str, &'s str)>) -> Self {
        let (mut names, mut needles) = (Vec::new(), Vec::new());
        for (name, value) in secrets.into_iter().filter(|(_, value)| check(value).is_ok()) {
            needles.extend(forms::of(value).into_iter().map(|form| (names.len(), form)));
            names.push(name);
        }
        let marks: Vec<Box<str>> = names.iter().map(|name| mark(name, &needles)).collect();
        let keys = names.into_iter().zip(marks).map(|(name, mark)| Key { name: name.into(), mark }).collect();
        Self { matcher: Matcher::new(needles), keys }
    }

    /// The text with a mark in the place of every value.
    #[must_use]
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // Forms begin and end at characters, so this changes nothing.
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// As [`Self::text`], for a text in place.
    pub fn replace(&self, text: &mut String) {
        if let Cow::Owned(masked) = self.text(text) {
            *text = masked;
        }
    }

    /// As [`Self::text`], for a text that whoever gave it may have cut: its end may be the beginning of a value.
    #[must_use]
    pub fn cut_text(&self, text: &str) -> String {
        let mut masked = self.text(text).into_owned();
        let mut state = self.matcher.start();
        self.matcher.scan(&mut state, masked.as_bytes(), &mut |_| {});
        let open = self.matcher.depth(state);
        if open >= VALUE_BYTES_MIN {
            let end = (0..=masked.len() - open).rev().find(|at| masked.is_char_boundary(*at)).unwrap_or(0);
            masked.replace_range(end.., "***");
        }
        masked
    }

    #[must_use]
    pub fn bytes<'t>(&self, bytes: &'t [u8]) -> Cow<'t, [u8]> {
        if self.find(bytes).is_none() {
            return Cow::Borrowed(bytes);
        }
        let mut stream = Masker::default();
        let mut masked = stream.push(self, bytes).to_vec();
        masked.extend_from_slice(stream.finish(self));
        Cow::Owned(masked)
    }

    /// The key of the first value that stands in the text.
    #[must_use]
    pub fn find(&self, bytes: &[u8]) -> Option<&str> {
        Seeker::default().push(self, bytes)
    }
}

/// What stands in the place of a value. It must not hold a value itself, nor make one with what stands beside it.
fn mark(name: &str, needles: &[(usize, Vec<u8>)]) -> Box<str> {
    let named = [format!("[secret {name}]"), format!("<secret {name}>"), format!("(secret {name})")];
    let plain = ["***", "###", "---", "___", "~~~", "^^^", "•••", "███", "░░░"].map(str::to_owned);
    let safe = |mark: &String| {
        let bytes = mark.as_bytes();
        let edges = [bytes[0], bytes[bytes.len() - 1]];
        // A value that reaches into the mark has its first or its last byte; one that does not is inside it.
        needles.iter().all(|(_, needle)| {
            memchr::memchr2(edges[0], edges[1], needle).is_none() && memchr::memmem::find(bytes, needle).is_none()
        })
    };
    let mut marks = named.into_iter().chain(plain);
    marks.find(safe).unwrap_or_else(|| "***".to_owned()).into()
}

/// Looks for values in bytes that come in pieces, and changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Seeker {
    state: Option<State>,
    scratch: Vec<u8>,
}

impl Seeker {
    /// The key of a value that ends in this piece.
    pub fn push<'m>(&mut self, masks: &'m Masks, piece: &[u8]) -> Option<&'m str> {
        let mut found = None;
        let state = self.state.get_or_insert_with(|| masks.matcher.start());
        masks.matcher.scan(state, matcher::without_breaks(piece, &mut self.scratch), &mut |hit: Hit| {
            found.get_or_insert(hit.key);
        });
        found.map(|key| &*masks.keys[key].name)
    }
}

/// Masks one stream as it comes. Holds back no more than what may be the beginning of a value.
///
/// Positions count the bytes of the whole stream without its line breaks.
#[derive(Clone, Debug, Default)]
pub struct Masker {
    state: Option<State>,
    /// What came and has not gone out: from `done` on, line breaks included.
    held: Vec<u8>,
    done: u64,
    /// Where the stream ends so far.
    end: u64,
    /// Values found behind `done`, apart from each other.
    found: Vec<Found>,
    out: Vec<u8>,
    scratch: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    from: u64,
    to: u64,
    key: usize,
}

impl Masker {
    /// The part of the stream that can go out now.
    pub fn push<'a>(&'a mut self, masks: &Masks, piece: &'a [u8]) -> &'a [u8] {
        let state = self.state.get_or_insert_with(|| masks.matcher.start());
        let counted = matcher::without_breaks(piece, &mut self.scratch);
        let seen = self.end;
        let found = &mut self.found;
        masks.matcher.scan(state, counted, &mut |hit: Hit| {
            let to = seen + hit.end as u64;
            add(found, Found { from: to - hit.bytes as u64, to, key: hit.key });
        });
        self.end += counted.len() as u64;
        let limit = self.end - masks.matcher.depth(*state) as u64;
        if limit == self.end && self.found.is_empty() && self.held.is_empty() {
            self.done = self.end;
            return piece;
        }
        self.held.extend_from_slice(piece);
        self.release(masks, limit)
    }

    /// The rest of the stream; what comes next begins a new one.
    pub fn finish(&mut self, masks: &Masks) -> &[u8] {
        self.state = None;
        self.release(masks, self.end)
    }

    /// Moves what lies before `limit` from `held` to `out`.
    fn release(&mut self, masks: &Masks, limit: u64) -> &[u8] {
        self.out.clear();
        let stays = limit <= self.done
            && limit < self.end
            && self.found.first().is_none_or(|found| found.from > self.done)
            && self.held.first().is_some_and(|byte| !matcher::is_break(*byte));
        if stays {
            return &self.out;
        }
        let breaks: Vec<usize> =
            self.held.iter().enumerate().filter(|(_, byte)| matcher::is_break(**byte)).map(|(at, _)| at).collect();
        let mut limit = limit.max(self.done);
        let (mut at, mut whole) = (0, 0);
        for found in &self.found {
            // What is known to be a value need not wait for what it may grow into.
            if found.from > limit {
                break;
            }
            limit = limit.max(found.to);
            whole += 1;
            let to = place(&breaks, found.to - self.done - 1) + 1;
            if found.from >= self.done {
                self.out.extend_from_slice(&self.held[at..place(&breaks, found.from - self.done)]);
                self.out.extend_from_slice(masks.keys[found.key].mark.as_bytes());
            }
            // Else it has gone on from one whose mark is out already.
            at = at.max(to);
        }
        let to = if limit >= self.end { self.held.len() } else { place(&breaks, limit - self.done) };
        self.out.extend_from_slice(&self.held[at..to.max(at)]);
        self.held.drain(..to.max(at));
        self.found.drain(..whole);
        self.done = limit;
        &self.out
    }
}

/// Where in the held bytes the `n`th stands that is no line break.
fn place(breaks: &[usize], n: u64) -> usize {
    let n = usize::try_from(n).unwrap_or(usize::MAX);
    let (mut low, mut high) = (0, breaks.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        if breaks[middle] - middle <= n { low = middle + 1 } else { high = middle }
    }
    n + low
}

/// Values that overlap are one. They come in the order of their ends.
fn add(found: &mut Vec<Found>, mut new: Found) {
    while let Some(last) = found.last().copied().filter(|last| last.to > new.from) {
        if last.from <= new.from {
            new.key = last.key;
        }
        new.from = new.from.min(last.from);
        found.pop();
    }
    found.push(new);
}

#[cfg(test)]
mod tests;
