//! A container of docker or podman, by their command line with words and no shell. The first process of a container is the
//! guard of a supervisor that talks over our end of `run -i`: when that closes, for whatever reason, the guard leaves and
//! the engine removes the container. So even we being killed leaves none. Labels name what is ours all the same, for
//! whoever cleans up behind a machine that lost power.
//!
//! The supervisor comes in a volume that is filled once for each build of it, so that any image will do, one without a
//! shell or a C library included, and so will an engine on another machine.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::bundle::Bundle;
use super::cell::Cell;
use super::connect::{Connected, Said, Site, Unreachable, not_started};
use super::link::Pipes;
use crate::digest::Digest;
use crate::model::{Container, ContainerEngine};
use crate::supervisor::program::start_in;

/// Where a container has the supervisor.
const FOLDER: &str = "/.fleet";
/// The label of everything of ours; its value names the state directory.
const LABEL: &str = "dev.fleet.state";
const LABEL_RUN: &str = "dev.fleet.run";
const LABEL_WORKER: &str = "dev.fleet.worker";
/// How long somebody else is given to fill a volume.
const FILL_MAX: Duration = Duration::from_mins(2);
const FILL_PAUSE: Duration = Duration::from_millis(200);
const CANNOT_FILL: &str = "the supervisor cannot be put into a volume";
/// The label of volumes that hold a supervisor.
const LABEL_PROGRAM: &str = "dev.fleet.program";

/// The image that a name means now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…`, as the engine starts it.
    pub id: String,
    /// `sha256:…` for receipts and fingerprints: the pinned digest, or else the id.
    pub digest: String,
}

/// Finds the image, and pulls it when it is not there.
///
/// # Errors
/// When the engine does not answer or has no such image.
pub fn image(container: &Container) -> Result<Image, Unreachable> {
    let engine = container.engine;
    match inspect(container) {
        Err(Failed::Said(_)) => {
            ask(engine, &["pull", "--quiet", "--", &container.image])
                .map_err(|error| error.about(engine, &format_args!("the image `{}` is not there", container.image)))?;
            inspect(container).map_err(|error| error.about(engine, &"the image is not there after it was pulled"))
        }
        found => found.map_err(|error| error.about(engine, &"it does not answer")),
    }
}

/// The image, if the engine has it already.
#[must_use]
pub fn image_here(container: &Container) -> Option<Image> {
    inspect(container).ok()
}

fn inspect(container: &Container) -> Result<Image, Failed> {
    let id = ask(container.engine, &["image", "inspect", "--format", "{{.Id}}", "--", &container.image])?;
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
    let engine = container.engine;
    let sent = provide(engine, site, image, &bundle)?;
    let words = start_in(Path::new(FOLDER), bundle.has_loader());
    let mut command = Command::new(engine.name());
    command.args(["run", "--interactive", "--rm", "--sig-proxy=false", "--name", name]);
    // What a task prints is for the run's own log, where secrets are masked, and for no other.
    command.args(["--log-driver", "none"]);
    command.args(["--label", &format!("{LABEL}={}", mark(&site.state_dir))]);
    command.args(["--label", &format!("{LABEL_RUN}={}", site.run)]);
    command.args(["--label", &format!("{LABEL_WORKER}={}", site.worker)]);
    command.args(["--volume", &format!("{}:{FOLDER}:ro", volume(&bundle))]);
    command.args(cell.map(Cell::args).unwrap_or_default()).args(&container.args);
    // The last of two is taken, and these are promised.
    command.args(cell.map(Cell::limit_args).unwrap_or_default());
    command.arg("--entrypoint").arg(&words[0]).arg(&image.id).args(&words[1..]).arg("guard");
    command.current_dir(&site.workspace);
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| missing(engine, &error))?;
    let said = Said::listen(child.stderr.take());
    let pipes = Pipes::of(child).map_err(Unreachable::new)?;
    Ok(Connected { pipes, said, root: String::new(), container: Some(name.to_owned()), sent })
}

/// Fills the volume of this build, if nobody has. Whoever has the container by which it is filled is the one to fill it; a
/// second worker, or another run, waits for that.
fn provide(engine: ContainerEngine, site: &Site, image: &Image, bundle: &Bundle) -> Result<Option<u64>, Unreachable> {
    let volume = volume(bundle);
    // The second one says that the first is whole.
    let whole = format!("{volume}-whole");
    let helper = format!("fleet-fill-{}", bundle.name);
    let begin = Instant::now();
    let is_whole = || ask(engine, &["volume", "inspect", &volume, &whole]).is_ok();
    loop {
        if is_whole() {
            return Ok(None);
        }
        let error = match take_filler(engine, (site, image, bundle), (&volume, &helper)) {
            Ok(()) => break,
            Err(error) => error,
        };
        if ask(engine, &["container", "inspect", &helper]).is_ok() {
            if begin.elapsed() > FILL_MAX {
                // Who made it died over it.
                let _ = ask(engine, &["rm", "--force", &helper]);
            }
        } else if begin.elapsed() > FILL_MAX.mul_f32(1.5) || !error.is_taken() {
            return Err(error.about(engine, &CANNOT_FILL));
        }
        thread::sleep(FILL_PAUSE);
    }
    // Somebody else may have had it, and be done, since we looked.
    let done = if is_whole() {
        Ok(None)
    } else {
        fill(engine, image, bundle, (&volume, &helper)).and_then(|sent| {
            let label = format!("{LABEL_PROGRAM}={}", bundle.name);
            let mark = ask(engine, &["volume", "create", "--label", &label, &whole]);
            mark.map(|_| Some(sent)).map_err(|error| error.about(engine, &CANNOT_FILL))
        })
    };
    let _ = ask(engine, &["rm", "--force", &helper]);
    done
}

/// Makes the container that fills a volume; there is one of its name at most.
fn take_filler(
    engine: ContainerEngine,
    (site, image, bundle): (&Site, &Image, &Bundle),
    (volume, filler): (&str, &str),
) -> Result<(), Failed> {
    let label = format!("{LABEL_PROGRAM}={}", bundle.name);
    match ask(engine, &["volume", "create", "--label", &label, volume]) {
        Err(error) if !error.is_taken() => return Err(error),
        _ => {}
    }
    let mount = format!("{volume}:{FOLDER}");
    let ours = format!("{LABEL}={}", mark(&site.state_dir));
    let program = format!("{FOLDER}/fleet");
    let words = ["create", "--name", filler, "--label", &ours, "--volume", &mount, "--entrypoint", &program, &image.id];
    ask(engine, &words).map(drop)
}

fn fill(
    engine: ContainerEngine,
    image: &Image,
    bundle: &Bundle,
    (volume, filler): (&str, &str),
) -> Result<u64, Unreachable> {
    let folder = tempfile::tempdir().and_then(|folder| gather(bundle, folder.path()).map(|()| folder));
    let folder = folder.map_err(|error| Unreachable::new(format_args!("this program cannot be sent: {error}")))?;
    let from = format!("{}/.", folder.path().display());
    ask(engine, &["cp", &from, &format!("{filler}:{FOLDER}")]).map_err(|error| error.about(engine, &CANNOT_FILL))?;
    check(engine, image, bundle, volume)?;
    Ok(bundle.bytes())
}

/// What arrived has to be what was sent.
fn check(engine: ContainerEngine, image: &Image, bundle: &Bundle, volume: &str) -> Result<(), Unreachable> {
    let words: Vec<String> = start_in(Path::new(FOLDER), bundle.has_loader())
        .into_iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let mount = format!("{volume}:{FOLDER}:ro");
    let mut all = vec!["run", "--rm", "--network", "none", "--volume", &mount, "--entrypoint", &words[0], &image.id];
    all.extend(words[1..].iter().map(String::as_str));
    all.extend(["guard", "--digest", FOLDER]);
    let digest =
        ask(engine, &all).map_err(|error| error.about(engine, &"the supervisor does not start in the image"))?;
    if digest == bundle.digest.to_string() {
        return Ok(());
    }
    let _ = ask(engine, &["volume", "rm", "--force", volume]);
    Err(Unreachable::new(format_args!("{}: the supervisor arrived damaged", engine.name())))
}

fn gather(bundle: &Bundle, folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for (name, file) in &bundle.files {
        let to = folder.join(name);
        io::copy(&mut file.read()?, &mut fs::File::create(&to)?)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn volume(bundle: &Bundle) -> String {
    format!("fleet-{}", bundle.name)
}

/// A state directory, as a label has it.
fn mark(state_dir: &Path) -> String {
    Digest::of(state_dir.as_os_str().as_encoded_bytes()).hex()[..16].to_owned()
}

/// Removes a container, whatever runs in it.
pub fn remove(engine: ContainerEngine, name: &str) {
    // One that is gone is no error, and one that cannot be removed now is found by its label.
    let _ = ask(engine, &["rm", "--force", "--volumes", name]);
}

/// Removes every container that runs of this state directory have left; their names.
///
/// # Errors
/// When the engine does not answer.
pub fn remove_left(engine: ContainerEngine, state_dir: &Path) -> Result<Vec<String>, Unreachable> {
    let names = left(engine, state_dir)?;
    for name in &names {
        remove(engine, name);
    }
    Ok(names)
}

fn left(engine: ContainerEngine, state_dir: &Path) -> Result<Vec<String>, Unreachable> {
    let filter = format!("label={LABEL}={}", mark(state_dir));
    let listed = ask(engine, &["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]);
    let listed = listed.map_err(|error| error.about(engine, &"it does not answer"))?;
    Ok(listed.lines().map(str::to_owned).collect())
}

/// What the containers take that [`remove_left`] would remove, their images apart; as far as the engine says.
///
/// # Errors
/// When the engine does not answer.
pub fn bytes_left(engine: ContainerEngine, state_dir: &Path) -> Result<u64, Unreachable> {
    let names = left(engine, state_dir)?;
    let sizes = names.iter().filter_map(|name| {
        let said = ask(engine, &["container", "inspect", "--size", "--format", "{{.SizeRw}}", name]).ok()?;
        said.parse::<u64>().ok()
    });
    Ok(sizes.sum())
}

/// Removes the volumes that hold supervisors of other builds; those in use stay.
///
/// # Errors
/// When the engine does not answer.
pub fn remove_programs(engine: ContainerEngine) -> Result<usize, Unreachable> {
    let filter = format!("label={LABEL_PROGRAM}");
    let listed = ask(engine, &["volume", "ls", "--filter", &filter, "--format", "{{.Name}}"]);
    let listed = listed.map_err(|error| error.about(engine, &"it does not answer"))?;
    // The mark that one is whole goes first.
    let mut names: Vec<&str> = listed.lines().collect();
    names.sort_unstable_by_key(|name| std::cmp::Reverse(name.len()));
    Ok(names.into_iter().filter(|name| ask(engine, &["volume", "rm", name]).is_ok()).count())
}

/// Why an engine did not do as it was told.
#[derive(Debug)]
enum Failed {
    Start(io::Error),
    /// In its own words.
    Said(String),
}

impl Failed {
    /// Somebody else has a thing of that name.
    fn is_taken(&self) -> bool {
        matches!(self, Self::Said(said) if said.contains("already in use") || said.contains("already exists"))
    }

    fn about(self, engine: ContainerEngine, what: &dyn std::fmt::Display) -> Unreachable {
        match self {
            Self::Start(error) => missing(engine, &error),
            Self::Said(said) => Unreachable::new(format_args!("{}: {what}: {said}", engine.name())),
        }
    }
}

fn missing(engine: ContainerEngine, error: &io::Error) -> Unreachable {
    let package = match engine {
        ContainerEngine::Docker => "docker.io",
        ContainerEngine::Podman => "podman",
    };
    not_started(engine.name(), package, error)
}

/// What the engine prints, without the space around it.
fn ask(engine: ContainerEngine, words: &[&str]) -> Result<String, Failed> {
    let mut command = Command::new(engine.name());
    command.args(words).stdin(Stdio::null()).process_group(0);
    let Output { status, stdout, stderr } = command.output().map_err(Failed::Start)?;
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        return Err(Failed::Said(if said.is_empty() { status.to_string() } else { said.join("; ") }));
    }
    Ok(String::from_utf8_lossy(&stdout).trim().to_owned())
}
