//! Every row of the outcome table, on real files in a temporary workspace.

mod combinations;
mod files;
mod kinds;
mod reports;

use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::model::scorer::SCORED_BYTES_MAX;

/// A workspace, and a folder beside it that belongs to somebody else.
struct Place {
    dir: TempDir,
    workspace: Root,
}

/// The three answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Pass,
    /// fail/task
    Task,
    /// fail/verifier
    Verifier,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("workspace")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(dir.path().join("outside/file"), "outside").unwrap();
        let workspace = Root::open(&dir.path().join("workspace")).unwrap();
        Self { dir, workspace }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join("workspace").join(path)
    }

    fn file(self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        std::fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        std::fs::write(self.path(path), bytes).unwrap();
        self
    }

    fn link(self, path: &str, target: impl AsRef<Path>) -> Self {
        symlink(target, self.path(path)).unwrap();
        self
    }

    fn evidence(&self) -> Evidence<'_> {
        Evidence {
            workspace: &self.workspace,
            exit_code: 0,
            stdout: Captured::default(),
            stderr: Captured::default(),
            commands: &[],
        }
    }

    fn record(&self, rule: ScorerRule) -> ScorerRecord {
        score(&[scorer(rule)], &self.evidence()).remove(0)
    }

    #[track_caller]
    fn answers(&self, rule: ScorerRule, want: Answer) -> ScorerRecord {
        let shown = format!("{rule:?}");
        let record = self.record(rule);
        assert_eq!(answer(&record), want, "{shown}: {}", record.evidence);
        record
    }
}

fn scorer(rule: ScorerRule) -> Scorer {
    Scorer { name: rule.kind().into(), weight: 1.0, at_least: 1.0, required: true, rule }
}

/// What a record says; also holds it to what is true of every record.
fn answer(record: &ScorerRecord) -> Answer {
    assert!(!(record.passed && record.broken));
    assert!(record.value.is_finite() && record.max > 0.0 && (0.0..=record.max).contains(&record.value), "{record:?}");
    assert!(!record.evidence.is_empty() && record.evidence.len() <= EVIDENCE_BYTES_MAX + '…'.len_utf8());
    assert!(!record.evidence.chars().any(char::is_control), "{:?}", record.evidence);
    match (record.passed, record.broken) {
        (true, _) => Answer::Pass,
        (false, true) => Answer::Verifier,
        (false, false) => Answer::Task,
    }
}
