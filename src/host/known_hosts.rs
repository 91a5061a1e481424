//! Where `ssh` looks for the keys of a machine: what its configuration means, in its own words.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::model::Ssh;

/// `ssh -G` prints what its configuration means for a machine. What comes from the file stands behind `--` or is the value
/// of an option.
fn config(ssh: &Ssh) -> Command {
    let mut command = Command::new("ssh");
    command.arg("-G");
    if let Some(port) = ssh.port {
        command.arg("-p").arg(port.to_string());
    }
    if let Some(user) = &ssh.user {
        command.arg("-l").arg(user);
    }
    command.arg("--").arg(&ssh.host);
    command
}

/// What came out of a program that could be started. `ssh-keygen` fails when it finds nothing, which is an answer.
///
/// # Errors
/// When it could not be started, or is `ssh` and failed: what it said last.
pub fn run(command: &mut Command) -> Result<Output, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if program == "ssh" && !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it failed");
        return Err(format!("{program}: {last}"));
    }
    Ok(output)
}

/// Under which name, and in which files, `ssh` looks for the keys of a machine.
#[derive(Debug, PartialEq, Eq)]
pub struct Meant {
    pub name: String,
    pub files: Vec<PathBuf>,
}

impl Meant {
    /// Asks `ssh`.
    ///
    /// # Errors
    /// When it could not be asked.
    pub fn by(ssh: &Ssh) -> Result<Self, String> {
        let asked = run(&mut config(ssh))?;
        let home = std::env::var("HOME").ok();
        Ok(Self::of(&String::from_utf8_lossy(&asked.stdout), ssh, home.as_deref()))
    }

    /// From what `ssh -G` printed. The worker's own `known_hosts` is the only file that counts.
    fn of(printed: &str, ssh: &Ssh, home: Option<&str>) -> Self {
        let value = |key: &str| {
            let mut lines = printed.lines().filter_map(|line| line.split_once(' '));
            lines.find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value.trim())
        };
        let set = |key: &str| value(key).filter(|value| !value.is_empty() && *value != "none");
        let machine = set("hostname").unwrap_or(&ssh.host);
        let name = match (set("hostkeyalias"), set("port")) {
            (Some(alias), _) => alias.to_owned(),
            (None, None | Some("22")) => machine.to_owned(),
            (None, Some(port)) => format!("[{machine}]:{port}"),
        };
        let listed = ["userknownhostsfile", "globalknownhostsfile"].into_iter().filter_map(set);
        let files = match &ssh.known_hosts {
            Some(own) => vec![own.clone()],
            None => listed.flat_map(str::split_whitespace).map(|file| below_home(file, home)).collect(),
        };
        Self { name, files }
    }
}

fn below_home(file: &str, home: Option<&str>) -> PathBuf {
    match (file.strip_prefix("~/"), home) {
        (Some(below), Some(home)) => Path::new(home).join(below),
        _ => PathBuf::from(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh(known_hosts: Option<&str>) -> Ssh {
        Ssh {
            host: "build".into(),
            user: None,
            port: None,
            identity: None,
            known_hosts: known_hosts.map(PathBuf::from),
            host_key_fingerprint: None,
            working_directory: None,
        }
    }

    #[test]
    fn a_machine_is_looked_for_as_ssh_does() {
        let printed =
            "user ci\nhostname build.example\nport 22\nuserknownhostsfile ~/.ssh/a /b\nglobalknownhostsfile /c /d\n";
        let meant = Meant::of(printed, &ssh(None), Some("/home/ci"));
        assert_eq!(meant.name, "build.example");
        assert_eq!(meant.files, ["/home/ci/.ssh/a", "/b", "/c", "/d"].map(PathBuf::from));
        let port = printed.replace("port 22", "port 2222");
        assert_eq!(Meant::of(&port, &ssh(None), None).name, "[build.example]:2222");
        let alias = format!("{port}hostkeyalias other\n");
        let meant = Meant::of(&alias, &ssh(Some("/own")), None);
        assert_eq!((meant.name.as_str(), meant.files), ("other", vec![PathBuf::from("/own")]));
        let none = printed.replace("~/.ssh/a /b", "none");
        assert_eq!(Meant::of(&none, &ssh(None), None).files, ["/c", "/d"].map(PathBuf::from));
    }
}
