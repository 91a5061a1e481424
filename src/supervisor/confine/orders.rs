//! What a supervisor tells `fleet confine` and what it hears back. Orders are one JSON text in a memory file, not an
//! argument: a list of paths may be longer than an argument, and nobody can read it in the process table. Reports are
//! lines of JSON in a pipe, between which a failing `bwrap` writes plain text.

use serde::{Deserialize, Serialize};

use super::super::frame::NotStarted;

/// The descriptors that `fleet confine` is started with, beside the task's own three.
pub(super) const ORDERS_FD: i32 = 3;
pub(super) const REPORT_FD: i32 = 4;
/// Options of `bwrap`, for its `--args`.
pub(super) const ARGS_FD: i32 = 5;
/// This program, to be started again where no path leads to it.
pub(super) const SELF_FD: i32 = 6;
/// The task's stderr, while `bwrap` complains into the report.
pub(super) const STDERR_FD: i32 = 7;

/// How to become the task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Orders {
    pub(super) argv: Vec<String>,
    /// `NAME=value`, all there is.
    pub(super) env: Vec<String>,
    pub(super) cwd: String,
    /// Files of control groups; writing to one joins the group.
    pub(super) groups: Vec<String>,
    pub(super) how: How,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum How {
    /// Nothing beside the control groups.
    #[default]
    Free,
    /// Landlock holds what may be written, and nothing else is held.
    WritesHeld { rules: Rules },
    /// Landlock and a filter of system calls hold it.
    Itself { rules: Rules, sockets: Sockets },
    /// Namespaces made by bubblewrap hold it, and in them the filter, and Landlock where there is any.
    Bubblewrap { program: String, command: Vec<String>, rules: Option<Rules>, sockets: Sockets },
}

/// Which sockets may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Sockets {
    None,
    /// IPv4 and IPv6, with what a program needs to look at its own addresses.
    Network,
    NetworkAndUnix,
}

/// What Landlock allows, by paths with all below them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rules {
    /// Reading is held too; otherwise everything may be read.
    pub(super) reads: bool,
    /// Signals and abstract sockets stay among the task's own processes.
    pub(super) scoped: bool,
    pub(super) read: Vec<String>,
    /// Folders whose names may be listed, and no more.
    pub(super) list: Vec<String>,
    pub(super) write: Vec<String>,
    /// Files that may be read and written as they are.
    pub(super) devices: Vec<String>,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// The task runs. Only said where the one who says it goes on living; otherwise the end of the pipe says it.
    Started,
    Failed(NotStarted),
    /// How the task's main process ended.
    Ended {
        code: Option<i32>,
        signal: Option<i32>,
    },
    /// What it left, which ends now: `pid name`, by the numbers that it saw itself.
    Leaked(Vec<String>),
}

impl Report {
    /// The line that says it, short enough to be written in one piece.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// `None` for what is no report: the complaint of another program.
    pub(super) fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_lines_and_complaints_are_not_reports() {
        let ended = Report::Ended { code: None, signal: Some(9) };
        let line = String::from_utf8(ended.line()).unwrap();
        assert_eq!((line.matches('\n').count(), Report::parse(line.trim_end())), (1, Some(ended)));
        for text in ["bwrap: Creating new namespace failed", "", "{}", "\"started\" "] {
            assert_eq!(Report::parse(text).is_some(), text.starts_with('"'), "{text}");
        }
    }
}
