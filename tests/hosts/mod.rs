//! Real hosts for tests: each is a shell script beside this file that makes all it needs under one folder, and ends when
//! its standard input does. `keeper` starts one and talks to it · `ssh` a machine on loopback · `net` machines with a
//! network of their own, which can be cut off and lose power · `containers` docker and podman · `image` what runs in
//! them, made on the spot · `processes` who lives, as `/proc` shows it.
//!
//! A test binary takes this in by `#[path]`. Each host is started once in a process, when it is first asked for, and ends
//! with that process, also when it is killed. What this machine lacks is said in one line and left out; where `CI` is set
//! it is a failure.

#![allow(dead_code, reason = "no test binary needs all hosts")]

pub(crate) mod containers;
mod image;
mod keeper;
pub(crate) mod net;
pub(crate) mod processes;
pub(crate) mod ssh;

use std::path::PathBuf;

/// What is missing for a host, and how to get it.
pub(crate) type Missing = String;

/// Says what is missing and that it is left out; in CI nothing is left out.
#[track_caller]
pub(crate) fn or_left_out<T>(host: Result<T, Missing>) -> Option<T> {
    host.inspect_err(|missing| {
        assert!(std::env::var_os("CI").is_none(), "{missing}");
        eprintln!("LEFT OUT: {missing}");
    })
    .ok()
}

/// The programs a host needs, each with its Debian package.
fn programs(wanted: &[(&str, &str)]) -> Result<(), Missing> {
    for (program, package) in wanted {
        program_path(program).ok_or(format!("there is no {program}: on Debian, apt-get install {package}"))?;
    }
    Ok(())
}

/// Where a program is, also where a plain user's PATH does not lead.
fn program_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

fn root_for(what: &str) -> Result<(), Missing> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(format!("only root can start {what}")) }
}
