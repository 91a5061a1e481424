//! How a person ends a run, and what is on record then.

use rustix::process::Signal;

use super::support::Fleet;

/// `polite` says that it was asked and leaves; `deaf` cannot be asked. Both say when they have begun.
const TWO: &str = r#"
    [workers.w]
    host = "local"
    slots = 2
    [tasks.polite]
    sh = "trap 'echo asked; exit 0' TERM; touch polite; while :; do sleep 0.02; done"
    [tasks.after]
    needs = ["polite"]
    run = "touch after"
    [tasks.finally]
    needs = ["polite"]
    always = true
    run = "touch finally"
"#;

const DEAF: &str = r#"
    [tasks.deaf]
    sh = "trap 'touch asked' TERM; touch deaf || :; while :; do sleep 0.02 || :; done"
    on_failure = ["handler"]
    [tasks.handler]
    run = "touch handled"
"#;

#[test]
fn the_first_signal_asks_and_everything_is_on_record() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 143)] {
        let fleet = Fleet::of(TWO);
        let mut run = fleet.start(["run"]);
        run.awaits("polite");
        run.signal(signal);
        let told = run
            .ends()
            .fails_with(code)
            .prints("polite", "asked\n")
            .result("polite", "skip: interrupted")
            .result("after", "skip: interrupted")
            .result("finally", "skip: interrupted")
            .has_no_file("after")
            .has_no_file("finally");
        let receipt = told.receipt("polite");
        assert_eq!((&receipt["attempt"], &receipt["exit_code"]), (&1.into(), &0.into()), "{receipt}");
        let end = fleet.end_record();
        assert_eq!((&end["status"], &end["exit_code"]), (&"cancelled".into(), &code.into()));
    }
}

#[test]
fn an_interrupted_run_says_how_it_goes_on() {
    for words in [["run", "-o", "quiet"], ["run", "-f", "fleet.toml"]] {
        let fleet = Fleet::of(TWO);
        let mut run = fleet.start(words);
        run.awaits("polite");
        run.signal(Signal::INT);
        let file = if words[1] == "-f" { " -f fleet.toml" } else { "" };
        run.ends().fails_with(130).says(&format!("to go on       fleet resume{file} RUN\n"));
    }
}

#[test]
fn a_second_signal_kills_at_once() {
    for (first, second, code) in [(Signal::INT, Signal::INT, 130), (Signal::TERM, Signal::INT, 143)] {
        let fleet = Fleet::of(DEAF);
        let mut run = fleet.start(["run"]);
        run.awaits("deaf");
        run.signal(first);
        // It has heard the first one and goes on: so it is the second that ends it, and not the ten seconds.
        run.awaits("asked");
        let begin = std::time::Instant::now();
        run.signal(second);
        let told = run.ends().fails_with(code).result("deaf", "skip: interrupted").has_no_file("handled");
        assert!(begin.elapsed() < fleet::engine::GRACE, "{:?}", begin.elapsed());
        assert_eq!(told.receipt("deaf")["signal"], 9);
    }
}

#[test]
fn who_does_not_listen_is_killed_after_the_grace() {
    let fleet = Fleet::of(DEAF);
    let mut run = fleet.start(["run"]);
    run.awaits("deaf");
    let begin = std::time::Instant::now();
    run.signal(Signal::TERM);
    let told = run.ends().fails_with(143).result("deaf", "skip: interrupted").has_file("asked");
    assert!(begin.elapsed() >= fleet::engine::GRACE, "{:?}", begin.elapsed());
    assert_eq!(told.receipt("deaf")["signal"], 9);
}

#[test]
fn an_interruption_while_a_scorer_runs_is_an_interruption() {
    let fleet = Fleet::of(
        r#"
        [tasks.judged]
        run = "true"
        scorers = [{ kind = "command", run = ["sh", "-c", "touch judging; exec sleep 600"] }]
        "#,
    );
    let mut run = fleet.start(["run"]);
    run.awaits("judging");
    run.signal(Signal::INT);
    run.ends().fails_with(130).result("judged", "skip: interrupted");
}

#[test]
fn a_signal_that_the_caller_had_ignored_stays_ignored() {
    // As `nohup` does.
    let fleet = Fleet::of("[tasks.a]\nsh = 'touch begun; while [ ! -e go ]; do sleep 0.01; done'\n");
    let mut command = std::process::Command::new("sh");
    let ours = fleet.command(["run"]);
    command.args(["-c", "trap '' HUP; exec \"$0\" run"]).arg(ours.get_program());
    command.env_clear().current_dir(fleet.path(""));
    command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut run = fleet.live(&mut command);
    run.awaits("begun");
    run.signal(Signal::HUP);
    let fleet = fleet.file("go", "");
    run.ends().passes();
    drop(fleet);
}
