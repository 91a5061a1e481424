//! An engine by its command line: what it is asked, how long it is waited for, and what it means when it refuses.

use std::process::Command;
use std::time::Duration;

use super::super::client::{self, Bond, Clients, Failure, Printed};
use super::super::connect::{Unreachable, failed};
use crate::model::ContainerEngine;

/// How long an engine may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
pub(super) struct CommandLine<'a> {
    pub engine: ContainerEngine,
    pub clients: &'a Clients,
}

/// Why an engine did not do as it was told.
#[derive(Debug)]
pub(super) enum Failed {
    Client(Failure),
    /// In its own words.
    Said(String),
}

impl CommandLine<'_> {
    /// What the engine prints, without the space around it.
    pub(super) fn ask<W: AsRef<str>>(self, words: &[W]) -> Result<String, Failed> {
        self.ask_for(ANSWER_MAX, words)
    }

    /// The same, of something that takes longer.
    pub(super) fn ask_for<W: AsRef<str>>(self, limit: Duration, words: &[W]) -> Result<String, Failed> {
        let mut command = Command::new(self.engine.name());
        command.args(words.iter().map(AsRef::as_ref));
        let Printed { status, stdout, said } =
            client::output(self.clients, Bond::Tied, command, limit).map_err(Failed::Client)?;
        if status.success() {
            return Ok(stdout);
        }
        Err(Failed::Said(if said.is_empty() { status.to_string() } else { said }))
    }

    pub(super) fn missing(self, failure: &Failure) -> Unreachable {
        let package = match self.engine {
            ContainerEngine::Docker => "docker.io",
            ContainerEngine::Podman => "podman",
        };
        failed(self.engine.name(), package, failure)
    }

    /// What could not be done, and why.
    pub(super) fn about(self, failed: &Failed, what: &dyn std::fmt::Display) -> Unreachable {
        let name = self.engine.name();
        match failed {
            Failed::Client(failure @ Failure::Start(_)) => self.missing(failure),
            Failed::Client(failure) => Unreachable::new(format_args!("{name}: {what}: {failure}")),
            Failed::Said(said) => Unreachable::new(format_args!("{name}: {what}: {said}")),
        }
    }
}

impl Failed {
    /// Somebody else has a thing of that name.
    pub(super) fn is_taken(&self) -> bool {
        self.says(&["already in use", "already exists"])
    }

    /// The engine answers, and has no such image. Anything else is no reason to fetch one.
    pub(super) fn is_no_image(&self) -> bool {
        self.says(&["no such image", "image not known", "no such object"])
    }

    /// The time for its answer was up.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self, Self::Client(Failure::Silent(_)))
    }

    fn says(&self, any: &[&str]) -> bool {
        matches!(self, Self::Said(said) if any.iter().any(|text| said.to_lowercase().contains(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_missing_when_the_engine_says_so() {
        let no_image = |said: &str| Failed::Said(said.to_owned()).is_no_image();
        assert!(no_image("Error response from daemon: No such image: nosuch:latest"));
        assert!(no_image("Error: No such object: nosuch"));
        assert!(no_image("Error: inspecting object: nosuch: image not known"));
        assert!(!no_image(
            "Cannot connect to the Docker daemon at unix:///run/docker.sock. Is the docker daemon running?"
        ));
        assert!(!no_image("permission denied while trying to connect to the Docker daemon socket"));
    }
}
