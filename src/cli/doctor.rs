//! `fleet doctor`: what this machine can do for a run, found by trying it.

use std::io::{self, Write};
use std::process::{Command, Stdio};

use clap::Args;
use serde_json::{Value, json};

use super::{Shell, Trouble};
use crate::policy::ExitCode;
use crate::report::Paint;
use crate::report::color::Color;
use crate::supervisor::trial::{self, Trial};

/// Try what this machine can do: sandbox, limits, other programs
#[derive(Args, Debug)]
#[command(after_help = "\
Each line is something that was tried just now, by this user. What does not work is said with what it is needed for and
how to get it; nothing of it is needed by every fleet file, so the exit code is 0.")]
pub struct DoctorArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// A title, and what belongs under it.
type Part = (&'static str, Vec<Trial>);

/// # Errors
/// When standard output cannot be written.
pub fn run(args: &DoctorArgs, shell: Shell) -> Result<ExitCode, Trouble> {
    let parts: [Part; 2] = [("What can hold a task", trial::trials()), ("Other programs", programs())];
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.json {
        json(&parts, &mut out)?;
    } else {
        human(&parts, shell.stdout(), &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::Passed)
}

fn human(parts: &[Part], paint: Paint, out: &mut dyn Write) -> io::Result<()> {
    let width = parts.iter().flat_map(|(_, trials)| trials).map(|trial| trial.name.len()).max().unwrap_or(0);
    for (i, (title, trials)) in parts.iter().enumerate() {
        let gap = if i == 0 { "" } else { "\n" };
        writeln!(out, "{gap}{}", paint.color(Color::Bold, title))?;
        for Trial { name, purpose, found, get } in trials {
            match found {
                Ok(found) => writeln!(out, "  {}  {name:width$}  {found}", paint.color(Color::Green, "works  "))?,
                Err(why) => {
                    writeln!(out, "  {}  {name:width$}  {}", paint.color(Color::Yellow, "missing"), one_line(why))?;
                    writeln!(out, "  {:7}  {:width$}  needed for: {purpose}", "", "")?;
                    writeln!(out, "  {:7}  {:width$}  to get it: {get}", "", "")?;
                }
            }
        }
    }
    Ok(())
}

fn json(parts: &[Part], out: &mut dyn Write) -> io::Result<()> {
    let trials = parts.iter().flat_map(|(_, trials)| trials).map(|Trial { name, purpose, found, get }| {
        json!({
            "name": name,
            "works": found.is_ok(),
            "found": found.as_ref().ok(),
            "missing": found.as_ref().err(),
            "needed_for": purpose,
            "get": get,
        })
    });
    writeln!(out, "{:#}", json!({ "version": 1, "trials": trials.collect::<Value>() }))
}

fn programs() -> Vec<Trial> {
    let of = |name, purpose, get, found| Trial { name, purpose, found, get };
    let docker = "install Docker and let this user reach its engine (be in the group `docker`, or set DOCKER_HOST)";
    vec![
        of("git", "`--affected`, the commit in receipts", "apt-get install git", said("git", &["--version"])),
        of("ssh", "workers with `host.kind = \"ssh\"`", "apt-get install openssh-client, 8.5 or newer", ssh()),
        of("docker", "workers with `host.kind = \"docker\"`", docker, engine("docker")),
        of("podman", "workers with `host.kind = \"podman\"`", "apt-get install podman", engine("podman")),
        of("strace", "`fleet run --audit-inputs`", "apt-get install strace", said("strace", &["--version"])),
    ]
}

/// The first line of what a program says when it is asked something; some say it on standard error.
fn said(program: &str, words: &[&str]) -> Result<String, String> {
    let output =
        Command::new(program).args(words).stdin(Stdio::null()).output().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("{program} is not on PATH"),
            _ => format!("{program} cannot be started: {error}"),
        })?;
    let text = if output.stdout.is_empty() || !output.status.success() { &output.stderr } else { &output.stdout };
    let text = String::from_utf8_lossy(text);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned();
    match output.status.success() {
        true => Ok(line),
        false if line.is_empty() => Err(format!("{program} fails: {}", output.status)),
        false => Err(line),
    }
}

/// `KnownHostsCommand` came with 8.5. The client is asked whether it knows it, and not for its version.
fn ssh() -> Result<String, String> {
    let version = said("ssh", &["-V"])?;
    let options = ["-F", "none", "-G", "-o", "KnownHostsCommand=/bin/true", "localhost"];
    said("ssh", &options).map_err(|why| format!("{version} knows no KnownHostsCommand ({why})"))?;
    Ok(version)
}

/// Whether an engine answers; a client alone runs nothing.
fn engine(program: &str) -> Result<String, String> {
    let format = if program == "docker" { "{{.ServerVersion}}" } else { "{{.Version.Version}}" };
    let version = said(program, &["info", "--format", format])?;
    // A client that reaches nobody may still call that a success, without a version.
    if version.starts_with(|first: char| first.is_ascii_digit()) {
        Ok(format!("version {version}"))
    } else {
        Err(version)
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
