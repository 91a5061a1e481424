//! How values become bytes and values again: numbers in as few bytes as they need, texts and lists behind their length.
//! Nothing here says what a value is; only the program that wrote bytes may read them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::Duration;

/// Bytes to be read, and how many of each kind of thing an id among them may name.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
    pub(super) tasks: usize,
    pub(super) pools: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, tasks: 0, pools: 0 }
    }

    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(bytes)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn text(&mut self) -> Option<&'a str> {
        let count = self.count()?;
        std::str::from_utf8(self.bytes(count)?).ok()
    }

    /// How many follow: bytes, or items of at least one byte each.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(u64::take(self)?).ok()?;
        (count <= self.rest.len()).then_some(count)
    }
}

/// What can be kept.
pub(super) trait Code: Sized {
    fn put(&self, to: &mut Vec<u8>);
    /// `None` where the bytes are not what `put` writes.
    fn take(from: &mut Reader<'_>) -> Option<Self>;
}

/// All fields of a struct, in this order. A field that is missing here does not compile.
macro_rules! record {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl Code for $name {
            fn put(&self, to: &mut Vec<u8>) {
                let $name { $($field),* } = self;
                $($field.put(to);)*
            }
            fn take(from: &mut Reader<'_>) -> Option<Self> {
                Some($name { $($field: Code::take(from)?),* })
            }
        }
    };
}

/// All variants of an enum, each with its number. A variant that is missing here does not compile.
macro_rules! choice {
    ($name:ident { $($tag:literal => $variant:ident $( ( $inner:ident ) )? $( { $($field:ident),* } )? ),* $(,)? }) => {
        impl Code for $name {
            fn put(&self, to: &mut Vec<u8>) {
                match self {
                    $($name::$variant $( ( $inner ) )? $( { $($field),* } )? => {
                        to.push($tag);
                        $($inner.put(to);)?
                        $($($field.put(to);)*)?
                    })*
                }
            }
            fn take(from: &mut Reader<'_>) -> Option<Self> {
                Some(match from.byte()? {
                    $($tag => {
                        $(let $inner = Code::take(from)?;)?
                        $($(let $field = Code::take(from)?;)*)?
                        $name::$variant $( ( $inner ) )? $( { $($field),* } )?
                    })*
                    _ => return None,
                })
            }
        }
    };
}

pub(super) use {choice, record};

impl Code for u64 {
    fn put(&self, to: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            to.push(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        to.push(rest.to_le_bytes()[0]);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = from.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

impl Code for i64 {
    fn put(&self, to: &mut Vec<u8>) {
        ((self << 1) ^ (self >> 63)).cast_unsigned().put(to);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        let folded = u64::take(from)?;
        Some((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }
}

impl Code for u32 {
    fn put(&self, to: &mut Vec<u8>) {
        u64::from(*self).put(to);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        u64::take(from)?.try_into().ok()
    }
}

impl Code for u16 {
    fn put(&self, to: &mut Vec<u8>) {
        u32::from(*self).put(to);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        u32::take(from)?.try_into().ok()
    }
}

impl Code for i32 {
    fn put(&self, to: &mut Vec<u8>) {
        i64::from(*self).put(to);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        i64::take(from)?.try_into().ok()
    }
}

impl Code for f64 {
    fn put(&self, to: &mut Vec<u8>) {
        to.extend(self.to_bits().to_le_bytes());
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self::from_bits(u64::from_le_bytes(from.bytes(8)?.try_into().ok()?)))
    }
}

impl Code for bool {
    fn put(&self, to: &mut Vec<u8>) {
        to.push(u8::from(*self));
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        match from.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Code for Duration {
    fn put(&self, to: &mut Vec<u8>) {
        self.as_secs().put(to);
        self.subsec_nanos().put(to);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        let (seconds, nanos) = (u64::take(from)?, u32::take(from)?);
        (nanos < 1_000_000_000).then(|| Self::new(seconds, nanos))
    }
}

pub(super) fn put_bytes(bytes: &[u8], to: &mut Vec<u8>) {
    (bytes.len() as u64).put(to);
    to.extend_from_slice(bytes);
}

impl Code for String {
    fn put(&self, to: &mut Vec<u8>) {
        put_bytes(self.as_bytes(), to);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        from.text().map(Into::into)
    }
}

impl Code for Box<str> {
    fn put(&self, to: &mut Vec<u8>) {
        put_bytes(self.as_bytes(), to);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        from.text().map(Into::into)
    }
}

impl Code for OsString {
    fn put(&self, to: &mut Vec<u8>) {
        put_bytes(self.as_bytes(), to);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        let count = from.count()?;
        Some(Self::from_vec(from.bytes(count)?.to_owned()))
    }
}

impl Code for PathBuf {
    fn put(&self, to: &mut Vec<u8>) {
        put_bytes(self.as_os_str().as_bytes(), to);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        OsString::take(from).map(Into::into)
    }
}

/// As JSON text: it has no other form that keeps everything.
impl Code for serde_json::Value {
    fn put(&self, to: &mut Vec<u8>) {
        self.to_string().put(to);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        serde_json::from_str(from.text()?).ok()
    }
}

impl<T: Code> Code for Option<T> {
    fn put(&self, to: &mut Vec<u8>) {
        to.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.put(to);
        }
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        if bool::take(from)? { T::take(from).map(Some) } else { Some(None) }
    }
}

impl<T: Code> Code for Vec<T> {
    fn put(&self, to: &mut Vec<u8>) {
        put_items(self, to);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        let count = from.count()?;
        let mut items = Self::with_capacity(count);
        for _ in 0..count {
            items.push(T::take(from)?);
        }
        Some(items)
    }
}

impl<T: Code> Code for Box<[T]> {
    fn put(&self, to: &mut Vec<u8>) {
        put_items(self, to);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        Vec::take(from).map(Vec::into_boxed_slice)
    }
}

pub(super) fn put_items<T: Code>(items: &[T], to: &mut Vec<u8>) {
    (items.len() as u64).put(to);
    for item in items {
        item.put(to);
    }
}

impl<T: Code> Code for Box<T> {
    fn put(&self, to: &mut Vec<u8>) {
        (**self).put(to);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        T::take(from).map(Self::new)
    }
}

impl<A: Code, B: Code> Code for (A, B) {
    fn put(&self, to: &mut Vec<u8>) {
        self.0.put(to);
        self.1.put(to);
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        Some((A::take(from)?, B::take(from)?))
    }
}

impl<K: Code + Ord, V: Code> Code for BTreeMap<K, V> {
    fn put(&self, to: &mut Vec<u8>) {
        (self.len() as u64).put(to);
        for (key, value) in self {
            key.put(to);
            value.put(to);
        }
    }

    fn take(from: &mut Reader<'_>) -> Option<Self> {
        let mut map = Self::new();
        for _ in 0..from.count()? {
            map.insert(K::take(from)?, V::take(from)?);
        }
        Some(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again<T: Code>(value: &T) -> Option<T> {
        let mut bytes = Vec::new();
        value.put(&mut bytes);
        let mut from = Reader::new(&bytes);
        let read = T::take(&mut from)?;
        from.rest.is_empty().then_some(read)
    }

    #[test]
    fn numbers_come_back() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            assert_eq!(again(&value), Some(value));
        }
        for value in [0, 1, -1, 63, -64, 64, i64::MIN, i64::MAX] {
            assert_eq!(again(&value), Some(value));
        }
        for value in [0.0, -0.0, 0.1, f64::MAX, f64::MIN_POSITIVE] {
            assert_eq!(again(&value).map(f64::to_bits), Some(value.to_bits()));
        }
        let short = |value: u64| {
            let mut bytes = Vec::new();
            value.put(&mut bytes);
            u32::take(&mut Reader::new(&bytes))
        };
        assert_eq!((short(u64::from(u32::MAX)), short(1 << 32)), (Some(u32::MAX), None));
    }

    #[test]
    fn texts_lists_and_tables_come_back() {
        let texts: Vec<Option<Box<str>>> = vec![None, Some("".into()), Some("äöü".into())];
        assert_eq!(again(&texts), Some(texts));
        let table = BTreeMap::from([("a".to_owned(), (1_u32, true)), ("b".to_owned(), (2, false))]);
        assert_eq!(again(&table), Some(table));
        let json = serde_json::json!({ "b": [1, 0.1, null], "a": { "x": -3, "text": "\u{0}ä" } });
        assert_eq!(again(&json).map(|value| value.to_string()), Some(json.to_string()));
        let path = PathBuf::from(OsString::from_vec(vec![b'/', 0xff, b'a']));
        assert_eq!(again(&path), Some(path));
    }

    #[test]
    fn what_is_no_code_is_refused() {
        let take = |bytes: &[u8]| <Vec<String>>::take(&mut Reader::new(bytes));
        assert_eq!(take(&[1, 1, b'a']), Some(vec!["a".to_owned()]));
        for bad in [&[][..], &[1], &[1, 2, b'a'], &[1, 1, 0xff], &[0xff; 11], &[0xff, 0xff, 0xff, 0xff, 0x0f, 0]] {
            assert_eq!(take(bad), None, "{bad:?}");
        }
        assert_eq!(bool::take(&mut Reader::new(&[2])), None);
    }
}
