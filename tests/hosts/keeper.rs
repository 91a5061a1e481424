//! A script that is one host: started, asked for what a test has to know, and given orders.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

/// Ends its host when it is dropped; when it never is, the host ends with this process, whose death closes the pipe.
#[derive(Debug)]
pub(super) struct Keeper {
    script: Child,
    facts: BTreeMap<String, String>,
    talk: Mutex<Option<Talk>>,
}

#[derive(Debug)]
struct Talk {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Keeper {
    /// Runs a script of this folder until it is ready; otherwise why it is not.
    pub(super) fn start(script: &str, arguments: &[&OsStr]) -> Result<Self, String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts").join(script);
        let mut child = Command::new("sh")
            .arg(path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Not in the group of the terminal, whose Ctrl-C would end the script before it has ended its host.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{script}: {error}"))?;
        let orders = child.stdin.take().expect("it is a pipe");
        let answers = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut keeper =
            Self { script: child, facts: BTreeMap::new(), talk: Mutex::new(Some(Talk { orders, answers })) };
        loop {
            let line = keeper.line().ok_or(format!("{script} ended before it was ready"))?;
            if line == "ready" {
                return Ok(keeper);
            }
            if let Some(why) = line.strip_prefix("failed ") {
                return Err(format!("{script}: {why}"));
            }
            let (name, value) = line.split_once('=').ok_or(format!("{script} said `{line}`"))?;
            keeper.facts.insert(name.to_owned(), value.to_owned());
        }
    }

    fn line(&mut self) -> Option<String> {
        self.talk.get_mut().ok()?.as_mut()?.line()
    }

    pub(super) fn fact(&self, name: &str) -> &str {
        self.facts.get(name).unwrap_or_else(|| panic!("the script does not say {name}"))
    }

    /// Has the script do something, and waits until it is done.
    #[track_caller]
    pub(super) fn order(&self, order: &str) {
        let mut talk = self.talk.lock().expect("nobody panicked while they talked");
        let talk = talk.as_mut().expect("it lives");
        writeln!(talk.orders, "{order}").expect("the script lives");
        let answer = talk.line();
        assert_eq!(answer.as_deref(), Some("done"), "{order}");
    }
}

impl Talk {
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The end of its input is the order to end.
        if let Ok(talk) = self.talk.get_mut() {
            talk.take();
        }
        let _ = self.script.wait();
    }
}
