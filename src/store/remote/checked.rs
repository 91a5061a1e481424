//! Bytes on their way in or out, held against the digest and size they are said to have. The last of them are handed on
//! only when all of them are right: what reads from here never has a whole that is wrong.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use super::http::{Failure, io_failure};
use crate::digest::{Digest, Hasher};

pub(super) struct Checked<'s, R> {
    source: R,
    digest: Digest,
    size: u64,
    hasher: Hasher,
    stop: &'s AtomicBool,
    failure: Option<Failure>,
}

impl<'s, R: Read> Checked<'s, R> {
    pub(super) fn new(source: R, digest: Digest, size: u64, stop: &'s AtomicBool) -> Self {
        Self { source, digest, size, hasher: Hasher::default(), stop, failure: None }
    }

    /// Why reading failed, if it did so here.
    pub(super) fn into_failure(self) -> Option<Failure> {
        self.failure
    }

    fn fail(&mut self, failure: Failure) -> io::Result<usize> {
        let error = io::Error::new(io::ErrorKind::InvalidData, failure.to_string());
        self.failure = Some(failure);
        Err(error)
    }
}

impl<R: Read> Read for Checked<'_, R> {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return self.fail(Failure::Stopped);
        }
        let n = match self.source.read(piece) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => return self.fail(io_failure(&error)),
        };
        self.hasher.update(&piece[..n]);
        let bytes = self.hasher.bytes();
        if bytes > self.size || (n == 0 && !piece.is_empty() && bytes < self.size) {
            let what = if bytes > self.size { "more" } else { "fewer" };
            return self.fail(Failure::Failed(format!("sends {what} than the {} bytes of {}", self.size, self.digest)));
        }
        if bytes == self.size && self.hasher.finish() != self.digest {
            return self.fail(Failure::Failed(format!("sends other bytes than those of {}", self.digest)));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static GO: AtomicBool = AtomicBool::new(false);

    /// What comes out, in small pieces, and why no more does.
    fn read(bytes: &[u8], of: &[u8], stop: &AtomicBool) -> (Vec<u8>, Option<Failure>) {
        let mut checked = Checked::new(bytes, Digest::of(of), of.len() as u64, stop);
        let (mut out, mut piece) = (Vec::new(), [0; 4]);
        while let Ok(n) = checked.read(&mut piece) {
            if n == 0 {
                break;
            }
            out.extend_from_slice(&piece[..n]);
        }
        (out, checked.into_failure())
    }

    #[test]
    fn the_right_bytes_pass_and_no_others_do_to_their_end() {
        assert_eq!(read(b"0123456789", b"0123456789", &GO), (b"0123456789".to_vec(), None));
        assert_eq!(read(b"", b"", &GO), (Vec::new(), None));
        for wrong in [&b"0123456780"[..], b"x123456789", b"01234567", b"01234567890", b""] {
            let (out, failure) = read(wrong, b"0123456789", &GO);
            assert!(out.len() < 10 && matches!(failure, Some(Failure::Failed(_))), "{wrong:?} {failure:?}");
        }
    }

    #[test]
    fn a_cancelled_run_waits_for_no_bytes() {
        assert_eq!(read(b"0123", b"0123", &AtomicBool::new(true)), (Vec::new(), Some(Failure::Stopped)));
    }
}
