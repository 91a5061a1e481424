//! This program as it can be started again, also on a host where it lives beside the loader it was built for.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// The loader's name in a folder that holds all that the program needs.
pub const LOADER: &str = "ld.so";
/// The program's name there.
pub const PROGRAM: &str = "fleet";

/// The words that start this program, before its arguments.
///
/// # Errors
/// When the system does not say which file it is.
pub fn again() -> io::Result<Vec<OsString>> {
    let exe = std::env::current_exe()?;
    // A program that was started by a loader is, to the system, the loader.
    match exe.parent() {
        Some(folder) if exe.file_name().is_some_and(|name| name == LOADER) => Ok(start_in(folder, true)),
        _ => Ok(vec![exe.into_os_string()]),
    }
}

/// The words that start the program of a folder, with its own loader where there is one.
#[must_use]
pub fn start_in(folder: &Path, with_loader: bool) -> Vec<OsString> {
    let program: PathBuf = folder.join(PROGRAM);
    if with_loader {
        vec![folder.join(LOADER).into(), "--library-path".into(), folder.into(), program.into()]
    } else {
        vec![program.into()]
    }
}
