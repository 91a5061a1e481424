//! `all`, `any` and `quorum`: a combination of other scorers, of which at least `least` must pass.
//!
//! Three-valued, so that a broken part only breaks the whole when the decision hangs on it. It passes when enough
//! passed, whatever the broken ones would have said. It does not pass when even with all broken ones counted as passed
//! there would be too few. Otherwise nobody can say, and it is broken.

use super::{Finding, Grade};
use crate::model::scorer::QuorumWord;
use crate::protocol::receipt::ScorerRecord;

pub(super) fn judge(word: QuorumWord, least: u32, parts: &[ScorerRecord]) -> Finding {
    let passed = parts.iter().filter(|part| part.passed && !part.broken).count();
    let broken = parts.iter().filter(|part| part.broken).count();
    let least = least as usize;
    let grade = if passed >= least {
        Grade::Decided(true)
    } else if passed + broken < least {
        Grade::Decided(false)
    } else {
        Grade::Broken
    };
    Finding { grade, value: share(passed, parts.len()), max: 1.0, evidence: evidence(word, least, passed, parts) }
}

#[expect(clippy::cast_precision_loss, reason = "a fleet file has far fewer than 2^52 scorers")]
fn share(passed: usize, of: usize) -> f64 {
    if of == 0 { 1.0 } else { passed as f64 / of as f64 }
}

/// The count, then each part that did not pass and what it said.
fn evidence(word: QuorumWord, least: usize, passed: usize, parts: &[ScorerRecord]) -> String {
    let needed = if word == QuorumWord::Quorum { format!(", {least} needed") } else { String::new() };
    let mut said = vec![format!("{passed} of {} passed{needed}", parts.len())];
    said.extend(parts.iter().filter(|part| part.broken || !part.passed).map(|part| {
        let how = if part.broken { "broke" } else { "did not pass" };
        format!("`{}` {how}: {}", part.name, part.evidence)
    }));
    said.join("; ")
}
