//! `regex_match`: the pattern matches somewhere in a file, or in a stream of the attempt.
//! The engine is linear in the text and bounded in its program, and so is the text, so no pattern or task can stall it.

use regex::RegexBuilder;

use super::files::{self, Content, Look};
use super::{Captured, Evidence, Finding, LOST};
use crate::model::scorer::{PATTERN_PROGRAM_BYTES_MAX, Source};

pub(super) fn score(evidence: &Evidence<'_>, source: &Source, pattern: &str, max_bytes: u64) -> Finding {
    match source {
        Source::Stdout => stream("stdout", evidence.stdout, pattern, max_bytes),
        Source::Stderr => stream("stderr", evidence.stderr, pattern, max_bytes),
        Source::Path(path) => match files::open(evidence.workspace, path) {
            Look::Found(file) => match file.read(max_bytes) {
                Ok(Content::Whole(bytes)) => judge(&format!("`{path}`"), &bytes, pattern),
                Ok(Content::OverBound) => over(&format!("`{path}`"), max_bytes),
                Err(error) => Finding::broken(format!("`{path}` cannot be read: {error}")),
            },
            Look::NoFile(why) => Finding::no(format!("`{path}` {why}")),
            Look::Unreadable(error) => Finding::broken(format!("`{path}` cannot be read: {error}")),
        },
    }
}

fn stream(name: &str, stream: Captured<'_>, pattern: &str, max_bytes: u64) -> Finding {
    if stream.total == LOST {
        return Finding::broken(format!("what it printed to {name} went down with the runner"));
    }
    if stream.total > max_bytes || stream.total > stream.bytes.len() as u64 {
        return over(name, max_bytes);
    }
    judge(name, stream.bytes, pattern)
}

fn over(name: &str, max_bytes: u64) -> Finding {
    Finding::broken(format!("{name} has more than the {max_bytes} bytes that are read"))
}

/// Whether the pattern matches in these bytes; `name` says in messages whose they are.
fn judge(name: &str, bytes: &[u8], pattern: &str) -> Finding {
    let regex = match RegexBuilder::new(pattern).size_limit(PATTERN_PROGRAM_BYTES_MAX).build() {
        Ok(regex) => regex,
        Err(error) => return Finding::broken(format!("its pattern cannot be used: {error}")),
    };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Finding::broken(format!("{name} is not UTF-8 at byte {}", error.valid_up_to())),
    };
    match regex.find(text) {
        Some(found) => {
            let line = text[..found.start()].bytes().filter(|b| *b == b'\n').count() + 1;
            Finding::yes(format!("matched in line {line} of {name}"))
        }
        None => Finding::no(format!("no match in {name}")),
    }
}
