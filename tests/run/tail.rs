//! What a running task has printed, for who asks: `fleet status`, USR1, and the key on a terminal, which is left as it
//! was found whatever happens.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::support::{Fleet, until};

const TWO: &str = r#"
    [workers.w]
    host = "local"
    slots = 2
    [tasks.talks]
    sh = "seq 1 30; printf 'no end \\033[2J'; touch begun.1; while [ ! -e go ]; do sleep 0.01; done"
    [tasks.silent]
    sh = "touch begun.2; while [ ! -e go ]; do sleep 0.01; done"
"#;

#[test]
fn status_shows_the_last_lines_of_what_runs() {
    let fleet = Fleet::of(TWO);
    let mut run = fleet.start(["run"]);
    run.awaits("begun.1");
    run.awaits("begun.2");
    until("it is on record", || fleet.run(["status"]).passes().stdout().matches("running").count() == 4);
    fleet.run(["status"]).passes().never_says("no end");
    let told = fleet.run(["status", "talks"]).passes().never_says("silent").never_says("\x1b");
    drop(told.says("    … the last 10; all of it: fleet logs RUN talks\n    22\n").says("    30\n    no end \n"));
    let told = fleet.run(["status", "latest", "--tail", "2"]).passes();
    drop(told.says("    … the last 2; all of it: fleet logs RUN talks\n    30\n    no end \n").says("\nsilent "));
    fleet.run(["status", "latest", "silent", "talks", "--tail", "1"]).passes().says("    no end \n");
    let _ = fleet.clone().file("go", "");
    run.ends().passes();
    // Of what has ended the lines are shown when its name is said.
    fleet.run(["status", "--tail", "2"]).passes().never_says("no end");
    fleet.run(["status", "talks"]).passes().says("    no end \n").never_says("silent");
    fleet.run(["status", "nobody"]).fails_with(2).warns("no run is called `nobody`");
    fleet.run(["status", "latest", "talk"]).fails_with(2).warns("did you mean `talks`?");
    fleet.run(["status", "--tail", "2", "--json"]).fails_with(2);
}

#[test]
fn usr1_tells_what_runs_and_the_run_goes_on() {
    let fleet = Fleet::of(TWO);
    let mut run = fleet.start(["run"]);
    run.awaits("begun.1");
    run.awaits("begun.2");
    // What the task has printed last may be on its way still, so it is asked until it is there.
    let mut told = String::new();
    until("it is told", || {
        run.signal(Signal::USR1);
        let all = fleet.read("stderr");
        told = all.rfind("running  2 tasks").map_or(String::new(), |last| all[last..].to_owned());
        told.contains("no end \n")
    });
    assert!(told.starts_with("running  2 tasks run after ") && told.contains("running  silent  "), "{told}");
    assert!(told.contains("    27\n    28\n    29\n    30\n    no end \n") && !told.contains("    26\n"), "{told}");
    let fleet = fleet.file("go", "");
    run.ends().passes().never_says("no end \x1b[2J\nrunning");
    drop(fleet);
}

/// A shell line on a terminal of its own, and the keys that are pressed on it.
struct Terminal {
    fleet: Fleet,
    script: Child,
}

impl Terminal {
    /// What is behind `fleet run` sees the terminal as it is left.
    fn of(fleet: &Fleet) -> Self {
        let ours = fleet.command([]);
        let line = format!(
            "trap : INT QUIT; {} run; echo exit $?; stty -a | tr ' ;' '\\n\\n' | grep -x -e '-*icanon' -e '-*echo'",
            ours.get_program().to_string_lossy()
        );
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env_clear();
        command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(fleet.path("")).env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        let screen = std::fs::File::create(fleet.path("screen")).expect("the folder is ours");
        let script = command.stdin(Stdio::piped()).stdout(screen).spawn().expect("there is script");
        Self { fleet: fleet.clone(), script }
    }

    fn press(&mut self, keys: &str) {
        self.script.stdin.as_mut().expect("it is a pipe").write_all(keys.as_bytes()).expect("it lives");
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.fleet.path("screen")).expect("it is there")).replace('\r', "")
    }

    fn shows(&self, text: &str) {
        until(text, || self.screen().contains(text));
    }

    /// How it went, and that the terminal is as it was.
    fn ends(mut self, how: &str) -> String {
        until("it is over", || self.script.try_wait().expect("it is our child").is_some());
        let screen = self.screen();
        assert!(screen.contains(&format!("exit {how}\n")), "{screen}");
        assert!(screen.ends_with("\nicanon\necho\n"), "the terminal is not as it was: {screen}");
        screen
    }
}

#[test]
fn a_key_tells_what_runs() {
    let fleet = Fleet::of(TWO);
    let mut terminal = Terminal::of(&fleet);
    until("both run", || fleet.exists("begun.1") && fleet.exists("begun.2"));
    terminal.press("x");
    terminal.press("t");
    terminal.shows("running  silent  ");
    terminal.shows("    29\n    30\n    no end \n");
    let _ = fleet.file("go", "");
    let screen = terminal.ends("0");
    assert_eq!(screen.matches("2 tasks run after").count(), 1, "{screen}");
}

#[test]
fn ctrl_c_is_still_ctrl_c() {
    let fleet = Fleet::of("[tasks.a]\nsh = 'touch begun; while :; do sleep 0.01; done'\n");
    let mut terminal = Terminal::of(&fleet);
    until("it runs", || fleet.exists("begun"));
    terminal.press("\x03");
    terminal.ends("130");
}

#[test]
fn a_fleet_that_is_cut_down_leaves_the_terminal_as_it_was() {
    let fleet = Fleet::of("[tasks.a]\nsh = 'touch begun; while :; do sleep 0.01; done'\n");
    let mut terminal = Terminal::of(&fleet);
    until("it runs", || fleet.exists("begun"));
    // Ctrl-\ is QUIT, which nobody handles.
    terminal.press("\x1c");
    terminal.ends("131");
}
