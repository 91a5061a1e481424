//! `file_exists`: a regular file, links followed inside the workspace, of at least `min_bytes`.

use super::Finding;
use super::files::{self, Look};
use crate::store::Root;

pub(super) fn score(workspace: &Root, path: &str, min_bytes: u64) -> Finding {
    match files::open(workspace, path) {
        Look::Found(file) if file.bytes < min_bytes => {
            Finding::no(format!("`{path}` has {} bytes, fewer than {min_bytes}", file.bytes))
        }
        Look::Found(file) => Finding::yes(format!("`{path}` is there, {} bytes", file.bytes)),
        Look::NoFile(why) => Finding::no(format!("`{path}` {why}")),
        Look::Unreadable(error) => Finding::broken(format!("`{path}` cannot be read: {error}")),
    }
}
