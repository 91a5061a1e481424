//! The marks that the CI around a run understands: folded groups of lines, and errors shown on their own.
//! GitHub: workflow commands. GitLab: collapsible sections (it has no error mark in a log).

use std::io::Write as _;

use crate::time::Stamp;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ci {
    #[default]
    None,
    GitHub,
    GitLab,
}

impl Ci {
    /// Which one this process runs in. `env` looks up a variable.
    pub fn detect(env: impl Fn(&str) -> Option<String>) -> Self {
        if env("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
            Self::GitHub
        } else if env("GITLAB_CI").is_some_and(|value| value == "true") {
            Self::GitLab
        } else {
            Self::None
        }
    }

    /// Opens a group named after a task. Without a CI it is a plain heading.
    pub fn open(self, task: &str, at: Stamp, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = match self {
            Self::None => writeln!(out, "--- {task}"),
            Self::GitHub => writeln!(out, "::group::{task}"),
            Self::GitLab => {
                let (time, section) = (at.0.div_euclid(1000), section(task));
                writeln!(out, "\x1b[0Ksection_start:{time}:{section}[collapsed=true]\r\x1b[0K{task}")
            }
        };
    }

    pub fn close(self, task: &str, at: Stamp, out: &mut Vec<u8>) {
        let _ = match self {
            Self::None => Ok(()),
            Self::GitHub => writeln!(out, "::endgroup::"),
            Self::GitLab => {
                writeln!(out, "\x1b[0Ksection_end:{}:{}\r\x1b[0K", at.0.div_euclid(1000), section(task))
            }
        };
    }

    /// Says that a task failed, where the CI shows errors.
    pub fn error(self, task: &str, cause: &str, out: &mut Vec<u8>) {
        if self == Self::GitHub {
            let _ = writeln!(out, "::error title={}::{}", property(task), data(cause));
        }
    }

    /// Whether a heading and the lines under it have an end mark, so that an empty group would be noise.
    #[must_use]
    pub fn is_some(self) -> bool {
        self != Self::None
    }
}

/// GitLab allows letters, digits, `_`, `.` and `-` in the name of a section: all a task's name has but `:`.
fn section(task: &str) -> String {
    task.replace(':', ".")
}

/// As `@actions/core` escapes the text of a workflow command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(ci: Ci) -> String {
        let mut out = Vec::new();
        ci.open("lint:x86", Stamp(1_700_000_000_500), &mut out);
        ci.error("lint:x86", "100% wrong\nexit code 1", &mut out);
        ci.close("lint:x86", Stamp(1_700_000_001_500), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_ci_gets_its_own_marks() {
        assert_eq!(marks(Ci::None), "--- lint:x86\n");
        assert_eq!(
            marks(Ci::GitHub),
            "::group::lint:x86\n::error title=lint%3Ax86::100%25 wrong%0Aexit code 1\n::endgroup::\n"
        );
        assert_eq!(
            marks(Ci::GitLab),
            "\x1b[0Ksection_start:1700000000:lint.x86[collapsed=true]\r\x1b[0Klint:x86\n\
             \x1b[0Ksection_end:1700000001:lint.x86\r\x1b[0K\n"
        );
    }

    #[test]
    fn a_ci_is_known_by_its_variable() {
        let env = |set: &'static str| move |name: &str| (name == set).then(|| "true".to_owned());
        assert_eq!(Ci::detect(env("GITHUB_ACTIONS")), Ci::GitHub);
        assert_eq!(Ci::detect(env("GITLAB_CI")), Ci::GitLab);
        assert_eq!(Ci::detect(env("CI")), Ci::None);
    }
}
