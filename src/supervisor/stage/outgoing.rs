//! Files on their way to the engine.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::piece::{PIECE_BYTES, Squeeze};
use crate::digest::Digest;
use crate::store::Root;
use crate::supervisor::frame::{self, Kind, Stream};

/// A file on its way to the engine.
#[derive(Debug)]
pub(super) struct Outgoing {
    digest: Digest,
    source: Option<Source>,
    /// The file, while it is read: one at a time, of however many are on their way.
    from: Option<File>,
    squeeze: Squeeze,
}

/// Where the bytes of a digest are, before they are looked at.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) root: Arc<Root>,
    pub(super) path: Box<str>,
    /// Of a link, the text counts.
    pub(super) is_link: bool,
}

impl Outgoing {
    /// Of what is nowhere, nothing is sent but that it ends.
    pub(super) fn new(digest: Digest, source: Option<Source>) -> Self {
        Self { digest, source, from: None, squeeze: Squeeze::default() }
    }

    /// Appends the next piece; `true` after the last. A file that cannot be read ends early, and its digest says so.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> bool {
        let mut bytes = Vec::new();
        if let Some(Source { root, path, is_link }) = self.source.take() {
            if is_link {
                let text = std::fs::read_link(root.path().join(&*path)).unwrap_or_default();
                bytes = text.into_os_string().into_encoded_bytes();
            } else {
                self.from = root.read(Path::new(&*path)).ok();
            }
        }
        if let Some(from) = &mut self.from {
            bytes.reserve(PIECE_BYTES);
            let limit = u64::try_from(PIECE_BYTES).unwrap_or(u64::MAX);
            if from.take(limit).read_to_end(&mut bytes).is_err() || bytes.len() < PIECE_BYTES {
                self.from = None;
            }
        }
        let last = self.from.is_none();
        let start = out.len();
        out.extend_from_slice(&frame::header(Kind::Gives, Stream::Stdout, 0, 0));
        self.squeeze.put(out, &self.digest, &bytes, last);
        let head = frame::header(Kind::Gives, Stream::Stdout, 0, out.len() - start - frame::HEADER_BYTES);
        out[start..start + frame::HEADER_BYTES].copy_from_slice(&head);
        last
    }
}
