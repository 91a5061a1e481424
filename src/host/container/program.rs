//! The supervisor as a volume of an engine, filled once for each build of it: by `cp` into a container that never starts,
//! of which there can be one of its name. Whoever made that is the one to fill the volume. A second volume says that the
//! first is whole.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::super::bundle::Bundle;
use super::super::connect::{Site, Unreachable};
use super::command_line::{CommandLine, Failed};
use super::{FOLDER, Image, LABEL, args, mark};
use crate::supervisor::program::start_in;

/// How long somebody else is given to fill a volume.
const FILL_MAX: Duration = Duration::from_mins(2);
const FILL_PAUSE: Duration = Duration::from_millis(200);
/// How long one step of it may take: files go to an engine that may be elsewhere, and a program of an image is started.
const STEP_MAX: Duration = Duration::from_mins(10);
const CANNOT_FILL: &str = "the supervisor cannot be put into a volume";
/// The label of volumes that hold a supervisor.
pub(super) const LABEL_PROGRAM: &str = "dev.fleet.program";
/// Ends the name of the volume that says that another one is whole.
pub(super) const WHOLE: &str = "-whole";

/// A volume that is to be there, and by what it is filled.
pub(super) struct Program<'a> {
    line: CommandLine<'a>,
    site: &'a Site,
    image: &'a Image,
    bundle: &'a Bundle,
    /// Of the worker's `args`, those that its containers start with.
    args: Vec<String>,
    volume: String,
    filler: String,
}

pub(super) fn volume(bundle: &Bundle) -> String {
    format!("fleet-{}", bundle.name)
}

impl<'a> Program<'a> {
    pub(super) fn new(
        line: CommandLine<'a>,
        (site, bundle): (&'a Site, &'a Bundle),
        image: &'a Image,
        args: &[String],
    ) -> Self {
        let filler = format!("fleet-fill-{}", bundle.name);
        Self { line, site, image, bundle, args: args::of_programs(args), volume: volume(bundle), filler }
    }

    /// Fills the volume, if nobody has; a second worker, or another run, waits for whoever does. Answers with the bytes.
    pub(super) fn provide(&self) -> Result<Option<u64>, Unreachable> {
        let begin = Instant::now();
        loop {
            if self.is_whole() {
                return Ok(None);
            }
            let error = match self.take_filler() {
                Ok(()) => break,
                Err(error) => error,
            };
            if error.is_silent() {
                return Err(self.line.about(&error, &CANNOT_FILL));
            }
            if self.line.ask(&["container", "inspect", &self.filler]).is_ok() {
                if begin.elapsed() > FILL_MAX {
                    // Who made it died over it.
                    let _ = self.line.ask(&["rm", "--force", &self.filler]);
                }
            } else if begin.elapsed() > FILL_MAX.mul_f32(1.5) || !error.is_taken() {
                self.take_back();
                return Err(self.line.about(&error, &CANNOT_FILL));
            }
            thread::sleep(FILL_PAUSE);
        }
        // Somebody else may have had it, and be done, since we looked.
        let done = if self.is_whole() { Ok(None) } else { self.fill().map(Some) };
        let _ = self.line.ask(&["rm", "--force", &self.filler]);
        if done.is_err() {
            self.take_back();
        }
        done
    }

    fn is_whole(&self) -> bool {
        self.line.ask(&["volume", "inspect", &self.volume, &self.whole()]).is_ok()
    }

    fn whole(&self) -> String {
        format!("{}{WHOLE}", self.volume)
    }

    /// Removes what was begun, unless somebody else has it in hand: a volume that a container has stays.
    fn take_back(&self) {
        let _ = self.line.ask(&["volume", "rm", &self.volume]);
    }

    fn label(&self) -> String {
        format!("{LABEL_PROGRAM}={}", self.bundle.name)
    }

    fn take_filler(&self) -> Result<(), Failed> {
        match self.line.ask(&["volume", "create", "--label", &self.label(), &self.volume]) {
            Err(error) if !error.is_taken() => return Err(error),
            _ => {}
        }
        let mount = format!("{}:{FOLDER}", self.volume);
        let ours = format!("{LABEL}={}", mark(&self.site.state_dir));
        let program = format!("{FOLDER}/fleet");
        let mut words = vec!["create", "--name", &self.filler, "--label", &ours, "--volume", &mount];
        words.extend(self.args.iter().map(String::as_str));
        words.extend(["--entrypoint", &program, &self.image.id]);
        self.line.ask_for(STEP_MAX, &words).map(drop)
    }

    fn fill(&self) -> Result<u64, Unreachable> {
        let folder = tempfile::tempdir().and_then(|folder| gather(self.bundle, folder.path()).map(|()| folder));
        let folder = folder.map_err(|error| Unreachable::new(format_args!("this program cannot be sent: {error}")))?;
        let from = format!("{}/.", folder.path().display());
        let cannot = |error: Failed| self.line.about(&error, &CANNOT_FILL);
        self.line.ask_for(STEP_MAX, &["cp", &from, &format!("{}:{FOLDER}", self.filler)]).map_err(cannot)?;
        self.check()?;
        self.line.ask(&["volume", "create", "--label", &self.label(), &self.whole()]).map_err(cannot)?;
        Ok(self.bundle.bytes())
    }

    /// What arrived has to be what was sent.
    fn check(&self) -> Result<(), Unreachable> {
        let words: Vec<String> = start_in(Path::new(FOLDER), self.bundle.has_loader())
            .into_iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let mount = format!("{}:{FOLDER}:ro", self.volume);
        let mut all = vec!["run", "--rm", "--network", "none", "--volume", &mount];
        all.extend(self.args.iter().map(String::as_str));
        all.extend(["--entrypoint", &words[0], &self.image.id]);
        all.extend(words[1..].iter().map(String::as_str));
        all.extend(["guard", "--digest", FOLDER]);
        let digest = self.line.ask_for(STEP_MAX, &all);
        let digest = digest.map_err(|error| self.line.about(&error, &"the supervisor does not start in the image"))?;
        if digest == self.bundle.digest.to_string() {
            return Ok(());
        }
        Err(Unreachable::new(format_args!("{}: the supervisor arrived damaged", self.line.engine.name())))
    }
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
