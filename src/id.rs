//! Names for things, as types: an index per kind of thing, the map each one indexes, and the id of a run.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// A dense index made only by the [`IdMap`] it points into.
pub trait Id: Copy + Eq + Ord {
    fn from_index(index: usize) -> Self;
    fn index(self) -> usize;
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl Id for $name {
            fn from_index(index: usize) -> Self {
                Self(u32::try_from(index).expect("named limits keep every count far below 2^32"))
            }
            fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id! {
    /// A task of the resolved fleet, matrix instances included.
    TaskId
}
id! {
    /// A declared (or implied) worker.
    WorkerId
}
id! {
    /// A named pool of `[policies.limits]`.
    PoolId
}

/// A vector indexed by one kind of id.
#[derive(Clone, PartialEq, Eq)]
pub struct IdMap<I, T> {
    items: Vec<T>,
    id: PhantomData<fn() -> I>,
}

impl<I: Id, T> IdMap<I, T> {
    #[must_use]
    pub fn new() -> Self {
        Self::from(Vec::new())
    }

    /// One copy of `value` for each entry of another map with the same ids.
    #[must_use]
    pub fn filled<U>(like: &IdMap<I, U>, value: T) -> Self
    where
        T: Clone,
    {
        Self::from(vec![value; like.len()])
    }

    pub fn push(&mut self, item: T) -> I {
        let id = I::from_index(self.items.len());
        self.items.push(item);
        id
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The id at a position; `None` past the end.
    #[must_use]
    pub fn id_at(&self, index: usize) -> Option<I> {
        (index < self.items.len()).then(|| I::from_index(index))
    }

    pub fn ids(&self) -> impl DoubleEndedIterator<Item = I> + ExactSizeIterator + use<I, T> {
        (0..self.items.len()).map(I::from_index)
    }

    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (I, &T)> + ExactSizeIterator {
        self.items.iter().enumerate().map(|(i, t)| (I::from_index(i), t))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (I, &mut T)> {
        self.items.iter_mut().enumerate().map(|(i, t)| (I::from_index(i), t))
    }

    pub fn values(&self) -> std::slice::Iter<'_, T> {
        self.items.iter()
    }
}

impl<I, T> From<Vec<T>> for IdMap<I, T> {
    fn from(items: Vec<T>) -> Self {
        Self { items, id: PhantomData }
    }
}

impl<I: Id, T> Default for IdMap<I, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I: Id, T> Index<I> for IdMap<I, T> {
    type Output = T;
    fn index(&self, id: I) -> &T {
        &self.items[id.index()]
    }
}

impl<I: Id, T> IndexMut<I> for IdMap<I, T> {
    fn index_mut(&mut self, id: I) -> &mut T {
        &mut self.items[id.index()]
    }
}

impl<I, T: fmt::Debug> fmt::Debug for IdMap<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items.fmt(f)
    }
}

/// One try of a task, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u32);

impl Attempt {
    pub const FIRST: Self = Self(1);

    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a run: its start in UTC to the second, then eight hex digits, of which three are the milliseconds of that
/// second and five are random. So ids sort by time, and `latest` is the latest also of two runs within a second.
/// `20261120T105230Z-1f9c03ab`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(String);

impl RunId {
    /// Takes any non-empty text that is safe as a folder name; `None` otherwise.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        is_name(text).then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn new(started: crate::time::Stamp, random: u32) -> Self {
        Self(format!("{}-{:03x}{:05x}", started.compact(), started.0.rem_euclid(1000), random & 0xf_ffff))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Longest name of a task, worker, scorer, pool or run, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Whether `text` is a name as the format defines it: `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 128 bytes.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= NAME_BYTES_MAX
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_format_says() {
        for good in ["a", "0", "build", "a.b_c-d", &"x".repeat(128)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".a", "-a", "_a", "a b", "a/b", "ä", "a:b", &"x".repeat(129)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn run_ids_sort_by_the_time_of_their_start() {
        let at = |ms, random| RunId::new(crate::time::Stamp(ms), random);
        assert_eq!(at(1_795_171_950_505, 0xfff9_c03a).as_str(), "20261120T105230Z-1f99c03a");
        let starts = [0, 1, 2, 999, 1000, 1_795_171_950_505, 1_795_171_950_506];
        let ids = starts.map(|ms| at(ms, u32::try_from(ms.rem_euclid(7)).unwrap_or(0) * 0x1234_5678));
        assert!(ids.windows(2).all(|two| two[0] < two[1]), "{ids:?}");
    }
}
