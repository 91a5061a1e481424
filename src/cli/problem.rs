//! What keeps a command from doing its work, and how that is told.

use std::io::{self, Write as _};

use super::args::Misuse;
use super::{Shell, records};
use crate::policy::ExitCode;
use crate::report::color::Color;

#[derive(Debug)]
pub enum Trouble {
    /// The words on the command line mean nothing here.
    Misuse(Misuse),
    /// The fleet file has problems; the text shows them all.
    Invalid(String),
    /// What a command printed could not be written.
    NotWritten(io::Error),
    /// Anything else, with the code that says what it was.
    Other(ExitCode, String),
}

impl From<Misuse> for Trouble {
    fn from(misuse: Misuse) -> Self {
        Self::Misuse(misuse)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::NotWritten(error)
    }
}

impl From<records::Trouble> for Trouble {
    fn from(trouble: records::Trouble) -> Self {
        match trouble {
            records::Trouble::Misuse(misuse) => Self::Misuse(misuse),
            records::Trouble::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => Self::NotWritten(error),
            // Also what could not be read, which the text says.
            other => Self::Other(ExitCode::of_number(other.code()).unwrap_or(ExitCode::Internal), other.to_string()),
        }
    }
}

impl Trouble {
    #[must_use]
    pub fn exit(&self) -> ExitCode {
        match self {
            Self::Misuse(_) => ExitCode::Usage,
            Self::Invalid(_) => ExitCode::InvalidFile,
            Self::NotWritten(_) => ExitCode::NotWritten,
            Self::Other(code, _) => *code,
        }
    }

    /// Says it on standard error and answers the exit code. Where standard error is closed the code has to do.
    pub(super) fn tell(&self, shell: Shell) -> ExitCode {
        let error = shell.stderr().color(Color::Red, "error:");
        let mut stderr = io::stderr().lock();
        let _ = match self {
            Self::Misuse(misuse) => writeln!(stderr, "{error} {misuse}"),
            Self::Invalid(problems) => stderr.write_all(problems.as_bytes()),
            // Whoever closed the pipe does not want to hear of it.
            Self::NotWritten(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Self::NotWritten(cause) => writeln!(stderr, "{error} the output could not be written: {cause}"),
            Self::Other(_, text) => writeln!(stderr, "{error} {text}"),
        };
        self.exit()
    }
}
