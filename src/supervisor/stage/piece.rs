//! A file's bytes as they cross the connection: in pieces, each behind the digest it belongs to, and compressed where
//! that pays. The pieces of one file come in order and whole files one after the other, so a receiver needs no offsets.
//! A piece is `digest 32 bytes · flags u8 · bytes`.

use std::borrow::Cow;

use crate::digest::Digest;

/// Read of a file at a time.
pub(crate) const PIECE_BYTES: usize = 256 << 10;
/// A piece that is compressed must lose a sixteenth at least, or it is not worth the other side's time.
const GAIN: usize = 16;
/// How many pieces of a file go uncompressed after one that did not gain anything.
const SKIP: u32 = 15;
const COMPRESSED: u8 = 1;
const LAST: u8 = 2;

/// Decides for the pieces of one file whether they are worth compressing.
#[derive(Debug, Default)]
pub(crate) struct Squeeze {
    skip: u32,
}

impl Squeeze {
    /// Appends the body of a piece.
    pub(crate) fn put(&mut self, out: &mut Vec<u8>, digest: &Digest, bytes: &[u8], last: bool) {
        out.extend_from_slice(digest.as_bytes());
        let flags = if last { LAST } else { 0 };
        if self.skip == 0 && !bytes.is_empty() {
            let squeezed = lz4_flex::block::compress_prepend_size(bytes);
            if squeezed.len() + bytes.len() / GAIN < bytes.len() {
                out.push(flags | COMPRESSED);
                out.extend_from_slice(&squeezed);
                return;
            }
            self.skip = SKIP;
        } else {
            self.skip = self.skip.saturating_sub(1);
        }
        out.push(flags);
        out.extend_from_slice(bytes);
    }
}

/// A piece, taken apart.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) digest: Digest,
    pub(crate) bytes: Cow<'a, [u8]>,
    /// No more of this file follows.
    pub(crate) last: bool,
}

impl<'a> Piece<'a> {
    /// `None` where the body is not what [`Squeeze::put`] writes.
    pub(crate) fn take(body: &'a [u8]) -> Option<Self> {
        let (digest, rest) = body.split_first_chunk::<32>()?;
        let (flags, bytes) = rest.split_first()?;
        let bytes = if flags & COMPRESSED == 0 {
            Cow::Borrowed(bytes)
        } else {
            let (size, squeezed) = lz4_flex::block::uncompressed_size(bytes).ok()?;
            // The size is a claim of the other side.
            if size > PIECE_BYTES {
                return None;
            }
            Cow::Owned(lz4_flex::block::decompress(squeezed, size).ok()?)
        };
        Some(Self { digest: Digest::from_bytes(*digest), bytes, last: flags & LAST != 0 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken(seed in proptest::collection::vec(any::<u8>(), 0..200), times in 1_usize..200, last: bool) {
            let bytes = seed.repeat(times);
            let digest = Digest::of(&bytes);
            let mut out = Vec::new();
            Squeeze::default().put(&mut out, &digest, &bytes, last);
            let piece = Piece::take(&out).unwrap();
            prop_assert_eq!((piece.digest, &*piece.bytes, piece.last), (digest, &*bytes, last));
            prop_assert!(out.len() <= bytes.len() + 33);
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Piece::take(&bytes);
        }
    }

    #[test]
    fn what_does_not_shrink_is_sent_as_it_is_and_a_size_that_is_a_lie_is_refused() {
        let mut out = Vec::new();
        Squeeze::default().put(&mut out, &Digest::of(b""), &[7; 4096], false);
        assert!(out.len() < 200 && Piece::take(&out).is_some());
        out[33..37].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Piece::take(&out).is_none());
    }
}
