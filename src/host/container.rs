//! A container of docker or podman, by their command line with words and no shell. The first process of a container is the
//! guard of a supervisor that talks over our end of `run -i`: when that closes, for whatever reason, the guard leaves and
//! the engine removes the container. So even we being killed leaves none. Labels name what is ours all the same, for
//! whoever cleans up behind a machine that lost power.
//!
//! The supervisor comes in a volume that is filled once for each build of it, so that any image will do, one without a
//! shell or a C library included, and so will an engine on another machine.
//! `command_line` what an engine is asked · `program` the volume · `args` what a worker adds · `held` which bounds are
//! held.

mod args;
mod command_line;
mod held;
mod program;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::bundle::Bundle;
use super::cell::Cell;
use super::client::{Bond, Client, Clients};
use super::connect::{Connected, Site, Unreachable};
use crate::digest::Digest;
use crate::model::{Container, ContainerEngine};
use crate::supervisor::program::start_in;
use args::Bounds;
use command_line::{CommandLine, Failed};
use program::{LABEL_PROGRAM, Program, WHOLE, volume};

/// Where a container has the supervisor.
const FOLDER: &str = "/.fleet";
/// The label of everything of ours; its value names the state directory.
const LABEL: &str = "dev.fleet.state";
const LABEL_RUN: &str = "dev.fleet.run";
const LABEL_WORKER: &str = "dev.fleet.worker";
/// How long the fetching of an image may take.
const PULL_MAX: Duration = Duration::from_hours(1);
/// Podman gives a container whose image cannot be written to such a folder by itself. Programs are started from it.
const ROOM: [&str; 2] = ["--tmpfs", "/tmp:rw,exec,nosuid,nodev,mode=1777"];

/// The image that a name means now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…`, as the engine starts it.
    pub id: String,
    /// `sha256:…` for receipts and fingerprints: the pinned digest, or else the id.
    pub digest: String,
}

/// Finds the image, and pulls it when the engine says that it is not there.
///
/// # Errors
/// When the engine does not answer or has no such image.
pub fn image(container: &Container, clients: &Clients) -> Result<Image, Unreachable> {
    let line = CommandLine { engine: container.engine, clients };
    match inspect(container, line) {
        Err(error) if error.is_no_image() => {}
        found => return found.map_err(|error| line.about(&error, &"it does not answer")),
    }
    line.ask_for(PULL_MAX, &["pull", "--quiet", "--", &container.image])
        .map_err(|error| line.about(&error, &format_args!("the image `{}` is not there", container.image)))?;
    inspect(container, line).map_err(|error| line.about(&error, &"the image is not there after it was pulled"))
}

/// What a look for an image came to that pulls nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Here {
    Image(Image),
    Not,
    /// The engine does not answer in time, and will not for the next question.
    Silent,
}

#[must_use]
pub fn image_here(container: &Container) -> Here {
    let line = CommandLine { engine: container.engine, clients: &Clients::default() };
    match inspect(container, line) {
        Ok(image) => Here::Image(image),
        Err(error) if error.is_silent() => Here::Silent,
        Err(_) => Here::Not,
    }
}

fn inspect(container: &Container, line: CommandLine<'_>) -> Result<Image, Failed> {
    let id = line.ask(&["image", "inspect", "--format", "{{.Id}}", "--", &container.image])?;
    // Podman leaves the algorithm out.
    let id = if id.contains(':') { id } else { format!("sha256:{id}") };
    let pinned = container.is_pinned().then(|| container.image.rsplit('@').next().unwrap_or_default().to_owned());
    Ok(Image { digest: pinned.unwrap_or_else(|| id.clone()), id })
}

/// Starts a container and leaves a supervisor in it that waits for its greeting. `name` is unique.
///
/// # Errors
/// See [`Unreachable`].
pub fn connect(
    container: &Container,
    cell: Option<&Cell>,
    site: &Site,
    image: &Image,
    name: &str,
) -> Result<Connected, Unreachable> {
    let bundle = Bundle::of_this_program()
        .map_err(|error| Unreachable::new(format_args!("this program cannot be sent: {error}")))?;
    let line = CommandLine { engine: container.engine, clients: &site.clients };
    let sent = Program::new(line, (site, &bundle), image, &container.args).provide()?;
    let words = start_in(Path::new(FOLDER), bundle.has_loader());
    let mut command = Command::new(container.engine.name());
    command.args(["run", "--interactive", "--rm", "--sig-proxy=false", "--name", name]);
    // What a task prints is for the run's own log, where secrets are masked, and for no other.
    command.args(["--log-driver", "none"]);
    command.args(["--label", &format!("{LABEL}={}", mark(&site.state_dir))]);
    command.args(["--label", &format!("{LABEL_RUN}={}", site.run)]);
    command.args(["--label", &format!("{LABEL_WORKER}={}", site.worker)]);
    command.args(["--volume", &format!("{}:{FOLDER}:ro", volume(&bundle))]);
    if container.engine == ContainerEngine::Docker && args::leave_no_room(&container.args) {
        command.args(ROOM);
    }
    let says_no_network = cell.and_then(|cell| cell.sandbox.as_ref()).is_some_and(|opened| !opened.network);
    command.args(cell.map(Cell::args).unwrap_or_default());
    command.args(args::with_sources(&args::beside(says_no_network, &container.args), &site.workspace));
    // The last of two is taken, and these are promised.
    let bounds = cell.and_then(|cell| cell.limits.as_ref()).map(|limits| Bounds::of(limits).within(&container.args));
    command.args(bounds.map(Bounds::args).unwrap_or_default());
    command.arg("--entrypoint").arg(&words[0]).arg(&image.id).args(&words[1..]).arg("guard");
    command.current_dir(&site.workspace);
    // It leads there for longer than the thread lives that starts it, and ends with its input.
    let mut client = Client::start(&site.clients, Bond::Free, command).map_err(|failure| line.missing(&failure))?;
    if let Some(bounds) = bounds
        && let Err(error) = held::check(line, name, bounds, &mut client)
    {
        // It leaves by itself when nobody holds its other end, and at once.
        drop(client);
        remove_by(line, name);
        return Err(error);
    }
    let (pipes, said) = client.into_pipes().map_err(Unreachable::new)?;
    Ok(Connected { pipes, said, root: String::new(), container: Some(name.to_owned()), sent })
}

/// A state directory, as a label has it.
fn mark(state_dir: &Path) -> String {
    Digest::of(state_dir.as_os_str().as_encoded_bytes()).hex()[..16].to_owned()
}

/// Removes a container, whatever runs in it.
pub fn remove(engine: ContainerEngine, name: &str) {
    remove_by(CommandLine { engine, clients: &Clients::default() }, name);
}

fn remove_by(line: CommandLine<'_>, name: &str) {
    // One that is gone is no error, and one that cannot be removed now is found by its label.
    let _ = line.ask(&["rm", "--force", "--volumes", name]);
}

/// Removes every container that runs of this state directory have left; their names.
///
/// # Errors
/// When the engine does not answer.
pub fn remove_left(engine: ContainerEngine, state_dir: &Path, clients: &Clients) -> Result<Vec<String>, Unreachable> {
    let line = CommandLine { engine, clients };
    let names = left(line, state_dir)?;
    for name in &names {
        remove_by(line, name);
    }
    Ok(names)
}

fn left(line: CommandLine<'_>, state_dir: &Path) -> Result<Vec<String>, Unreachable> {
    let filter = format!("label={LABEL}={}", mark(state_dir));
    let listed = line.ask(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]);
    let listed = listed.map_err(|error| line.about(&error, &"it does not answer"))?;
    Ok(listed.lines().map(str::to_owned).collect())
}

/// What the containers take that [`remove_left`] would remove, their images apart; as far as the engine says.
///
/// # Errors
/// When the engine does not answer.
pub fn bytes_left(engine: ContainerEngine, state_dir: &Path, clients: &Clients) -> Result<u64, Unreachable> {
    let line = CommandLine { engine, clients };
    let names = left(line, state_dir)?;
    let sizes = names.iter().filter_map(|name| {
        let said = line.ask(&["container", "inspect", "--size", "--format", "{{.SizeRw}}", name]).ok()?;
        said.parse::<u64>().ok()
    });
    Ok(sizes.sum())
}

/// Removes the volumes that hold supervisors of other builds, and answers with how many builds that were. The one of this
/// build stays, as on every host: a run of another workspace may be about to start from it. So does what a container has,
/// together with the mark that it is whole: whoever missed that would fill it under those that start from it.
///
/// # Errors
/// When the engine does not answer.
pub fn remove_programs(engine: ContainerEngine, clients: &Clients) -> Result<usize, Unreachable> {
    let line = CommandLine { engine, clients };
    let ours = Bundle::of_this_program().map(|bundle| volume(&bundle)).unwrap_or_default();
    let filter = format!("label={LABEL_PROGRAM}");
    let listed = line.ask(&["volume", "ls", "--filter", &filter, "--format", "{{.Name}}"]);
    let listed = listed.map_err(|error| line.about(&error, &"it does not answer"))?;
    let all: BTreeSet<&str> = listed.lines().map(|name| name.strip_suffix(WHOLE).unwrap_or(name)).collect();
    let others = all.into_iter().filter(|name| *name != ours && !is_in_use(line, name));
    Ok(others.filter(|name| remove_program(line, name)).count())
}

/// What nobody can tell counts as in use.
fn is_in_use(line: CommandLine<'_>, volume: &str) -> bool {
    let users = line.ask(&["ps", "--all", "--quiet", "--filter", &format!("volume={volume}")]);
    users.map_or(true, |users| !users.is_empty())
}

/// The mark that it is whole goes first.
fn remove_program(line: CommandLine<'_>, volume: &str) -> bool {
    let marks = line.ask(&["volume", "rm", &format!("{volume}{WHOLE}")]).is_ok();
    line.ask(&["volume", "rm", volume]).is_ok() || marks
}
