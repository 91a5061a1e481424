//! What a person sees of one run in each way of showing it, and what the ways have in common.

use std::io::ErrorKind;

use indicatif::{InMemoryTerm, ProgressDrawTarget};

use super::ci::Ci;
use super::human::{Human, Options};
use super::json::Json;
use super::testing::{Closed, World, Written, options};
use super::{OutputMode, Paint, Sink, Sinks};
use crate::id::{Attempt, Id as _, WorkerId};
use crate::journal::{Event, Stream};
use crate::policy::ExitCode;
use crate::policy::retry::Next;
use crate::protocol::receipt::AttemptRecord;
use crate::protocol::{FailureKind, TaskResult};

/// Two tasks pass, one of them loudly; one fails, so one is skipped.
fn tell(world: &mut World, sink: &mut dyn Sink) {
    world.begin(sink);
    world.start(sink, "build");
    world.start(sink, "lint");
    world.print(sink, "build", b"compiling\n  linki");
    world.wait(400);
    world.print(sink, "lint", b"nothing to say\n");
    world.pass(sink, "lint");
    world.print(sink, "build", b"ng\nno newline at the end");
    world.wait(1_000);
    world.pass(sink, "build");
    world.start(sink, "test");
    world.print_to(sink, "test", Stream::Stderr, b"\x1b[31massertion\x1b[0m failed\x1b[2J\n");
    world.wait(12_345);
    world.tell(sink, Event::Warning { text: "the clock was set back" }).unwrap();
    world.fail(sink, "test", FailureKind::Task, "exit code 1, expected 0");
    world.skip(sink, "publish", "needs test, which failed");
    world.end(sink, ExitCode::Failed, &["build", "test"]);
}

fn shown(options: impl FnOnce(Written) -> Options) -> String {
    let mut world = World::new(&["build", "lint", "test", "publish"]);
    let written = Written::default();
    tell(&mut world, &mut Human::new(options(written.clone())));
    // Escapes stand as `^`, so that this file has none.
    written.text().replace('\x1b', "^")
}

#[test]
fn grouped_shows_the_whole_log_of_each_task_when_it_ends() {
    insta::assert_snapshot!(shown(|to| options(to, OutputMode::Grouped)), @"
    run      20261120T105230Z-1f9c03ab  4 tasks of fleet.toml
    start    build
    start    lint
    --- lint
    nothing to say
    pass     lint  400ms
    --- build
    compiling
      linking
    no newline at the end
    pass     build  1.4s
    start    test
    warning  the clock was set back
    --- test
    ^[31massertion^[0m failed^[2J
    fail     test  12.3s  task: exit code 1, expected 0
    skip     publish  needs test, which failed

    fail     test  12.3s  task: exit code 1, expected 0

    slowest        test 12.3s, build 1.4s, lint 400ms
    critical path  build 1.4s → test 12.3s = 13.7s of 13.7s wall
    to rerun       fleet run test
    2 passed, 1 failed, 1 skipped in 13.7s  20261120T105230Z-1f9c03ab
    ");
}

#[test]
fn what_was_just_shown_is_not_said_again() {
    let end = |failing: &[&str], ci: Ci| {
        let mut world = World::new(&["a", "b"]);
        let written = Written::default();
        let mut sink = Human::new(Options { ci, ..options(written.clone(), OutputMode::Grouped) });
        for name in failing {
            world.start(&mut sink, name);
            world.print(&mut sink, name, format!("{name} says no\n").as_bytes());
            world.wait(1_000);
            world.fail(&mut sink, name, FailureKind::Task, "exit code 1");
        }
        world.end(&mut sink, ExitCode::Failed, &[]);
        written.text()
    };
    insta::assert_snapshot!(end(&["a"], Ci::None), @"
    start    a
    --- a
    a says no
    fail     a  1.0s  task: exit code 1

    to rerun       fleet run a
    1 failed in 1.0s  20261120T105230Z-1f9c03ab
    ");
    insta::assert_snapshot!(end(&["a", "b"], Ci::None), @"
    start    a
    --- a
    a says no
    fail     a  1.0s  task: exit code 1
    start    b
    --- b
    b says no
    fail     b  1.0s  task: exit code 1

    fail     a  1.0s  task: exit code 1
        a says no
    fail     b  1.0s  task: exit code 1

    slowest        a 1.0s, b 1.0s
    to rerun       fleet run a b
    2 failed in 2.0s  20261120T105230Z-1f9c03ab
    ");
    // The one log that is shown stands folded away.
    let folded = end(&["a"], Ci::GitHub);
    assert!(folded.contains("\nfail     a  1.0s  task: exit code 1\n    a says no\n"), "{folded}");
}

#[test]
fn stream_shows_whole_lines_as_they_come() {
    insta::assert_snapshot!(shown(|to| options(to, OutputMode::Stream)), @"
    run      20261120T105230Z-1f9c03ab  4 tasks of fleet.toml
    start    build
    start    lint
    build | compiling
    lint | nothing to say
    pass     lint  400ms
    build |   linking
    build | no newline at the end
    pass     build  1.4s
    start    test
    test | ^[31massertion^[0m failed^[2J
    warning  the clock was set back
    fail     test  12.3s  task: exit code 1, expected 0
    skip     publish  needs test, which failed

    fail     test  12.3s  task: exit code 1, expected 0
        ^[31massertion^[0m failed^[2J

    slowest        test 12.3s, build 1.4s, lint 400ms
    critical path  build 1.4s → test 12.3s = 13.7s of 13.7s wall
    to rerun       fleet run test
    2 passed, 1 failed, 1 skipped in 13.7s  20261120T105230Z-1f9c03ab
    ");
}

#[test]
fn on_fail_shows_only_the_log_of_what_did_not_pass() {
    insta::assert_snapshot!(shown(|to| options(to, OutputMode::OnFail)), @"
    run      20261120T105230Z-1f9c03ab  4 tasks of fleet.toml
    start    build
    start    lint
    pass     lint  400ms
    pass     build  1.4s
    start    test
    warning  the clock was set back
    --- test
    ^[31massertion^[0m failed^[2J
    fail     test  12.3s  task: exit code 1, expected 0
    skip     publish  needs test, which failed

    fail     test  12.3s  task: exit code 1, expected 0

    slowest        test 12.3s, build 1.4s, lint 400ms
    critical path  build 1.4s → test 12.3s = 13.7s of 13.7s wall
    to rerun       fleet run test
    2 passed, 1 failed, 1 skipped in 13.7s  20261120T105230Z-1f9c03ab
    ");
}

#[test]
fn quiet_shows_warnings_and_the_summary() {
    insta::assert_snapshot!(shown(|to| options(to, OutputMode::Quiet)), @"
    warning  the clock was set back

    fail     test  12.3s  task: exit code 1, expected 0
        ^[31massertion^[0m failed^[2J

    to rerun       fleet run test
    2 passed, 1 failed, 1 skipped in 13.7s  20261120T105230Z-1f9c03ab
    ");
}

#[test]
fn github_gets_groups_and_errors() {
    let shown = shown(|to| Options { ci: Ci::GitHub, ..options(to, OutputMode::Grouped) });
    insta::assert_snapshot!(shown, @"
    run      20261120T105230Z-1f9c03ab  4 tasks of fleet.toml
    start    build
    start    lint
    ::group::lint
    nothing to say
    ::endgroup::
    pass     lint  400ms
    ::group::build
    compiling
      linking
    no newline at the end
    ::endgroup::
    pass     build  1.4s
    start    test
    warning  the clock was set back
    ::group::test
    ^[31massertion^[0m failed^[2J
    ::endgroup::
    fail     test  12.3s  task: exit code 1, expected 0
    ::error title=test::exit code 1, expected 0
    skip     publish  needs test, which failed

    fail     test  12.3s  task: exit code 1, expected 0
        ^[31massertion^[0m failed^[2J

    slowest        test 12.3s, build 1.4s, lint 400ms
    critical path  build 1.4s → test 12.3s = 13.7s of 13.7s wall
    to rerun       fleet run test
    2 passed, 1 failed, 1 skipped in 13.7s  20261120T105230Z-1f9c03ab
    ");
}

#[test]
fn a_terminal_gets_colours_and_no_other_escapes() {
    let shown = shown(|to| Options { paint: Paint::ON, terminal: true, ..options(to, OutputMode::Stream) });
    insta::assert_snapshot!(shown, @"
    ^[1mrun     ^[0m 20261120T105230Z-1f9c03ab  4 tasks of fleet.toml
    ^[2mstart   ^[0m build
    ^[2mstart   ^[0m lint
    ^[36mbuild^[0m | compiling
    ^[36mlint^[0m | nothing to say
    ^[32mpass    ^[0m lint  400ms
    ^[36mbuild^[0m |   linking
    ^[36mbuild^[0m | no newline at the end
    ^[32mpass    ^[0m build  1.4s
    ^[2mstart   ^[0m test
    ^[36mtest^[0m | ^[31massertion^[0m failed
    ^[33mwarning ^[0m the clock was set back
    ^[31mfail    ^[0m test  12.3s  task: exit code 1, expected 0
    ^[2mskip    ^[0m publish  needs test, which failed

    ^[31mfail    ^[0m ^[1mtest^[0m  12.3s  task: exit code 1, expected 0
        ^[31massertion^[0m failed

    ^[1mslowest       ^[0m test 12.3s, build 1.4s, lint 400ms
    ^[1mcritical path ^[0m build 1.4s → test 12.3s = 13.7s of 13.7s wall
    ^[1mto rerun      ^[0m fleet run test
    ^[32m2 passed^[0m, ^[31m1 failed^[0m, ^[2m1 skipped^[0m in 13.7s  ^[2m20261120T105230Z-1f9c03ab^[0m
    ");
}

#[test]
fn a_terminal_without_colours_gets_no_escapes_at_all() {
    for mode in [OutputMode::Grouped, OutputMode::Stream, OutputMode::OnFail, OutputMode::Quiet] {
        let shown = shown(|to| Options { terminal: true, ..options(to, mode) });
        assert!(!shown.contains('^'), "{shown:?}");
        assert!(shown.contains("assertion failed"), "{shown:?}");
    }
}

#[test]
fn a_narrow_terminal_wraps_the_times() {
    let shown = shown(|to| Options { terminal: true, size: || (24, 40), ..options(to, OutputMode::OnFail) });
    insta::assert_snapshot!(shown, @"
    run      20261120T105230Z-1f9c03ab  4 tasks of fleet.toml
    start    build
    start    lint
    pass     lint  400ms
    pass     build  1.4s
    start    test
    warning  the clock was set back
    --- test
    assertion failed
    fail     test  12.3s  task: exit code 1, expected 0
    skip     publish  needs test, which failed

    fail     test  12.3s  task: exit code 1, expected 0

    slowest        test 12.3s, build 1.4s,
                   lint 400ms
    critical path  build 1.4s →
                   test 12.3s = 13.7s of 13.7s wall
    to rerun       fleet run test
    2 passed, 1 failed, 1 skipped in 13.7s  20261120T105230Z-1f9c03ab
    ");
}

#[test]
fn a_long_critical_path_shows_its_ends() {
    let names: Vec<String> = (0..1_000).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&names);
    let written = Written::default();
    let mut sink = Human::new(options(written.clone(), OutputMode::OnFail));
    for name in &names {
        world.start(&mut sink, name);
        world.wait(100);
        world.pass(&mut sink, name);
    }
    world.end(&mut sink, ExitCode::Passed, &names);
    let text = written.text();
    let times = &text[text.find("slowest").unwrap()..];
    insta::assert_snapshot!(times, @"
    slowest        t0 100ms, t1 100ms, t2 100ms, t3 100ms, t4 100ms
    critical path  t0 100ms → t1 100ms → t2 100ms → t3 100ms → t4 100ms → t5 100ms → (992 more) →
                   t998 100ms → t999 100ms = 1m40s of 1m40s wall
    1000 passed in 1m40s  20261120T105230Z-1f9c03ab
    ");
}

#[test]
fn what_failed_in_numbers_is_told_in_a_screen_or_two() {
    let names: Vec<String> = (0..300).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&names);
    let written = Written::default();
    let mut sink = Human::new(options(written.clone(), OutputMode::Quiet));
    for name in &names {
        world.start(&mut sink, name);
        let lines: String = (1..=30).map(|n| [name, " says ", &n.to_string(), "\n"].concat()).collect();
        world.print(&mut sink, name, lines.as_bytes());
        world.fail(&mut sink, name, FailureKind::Verifier, "the scorer `suite` broke");
    }
    world.end(&mut sink, ExitCode::Failed, &[]);
    let text = written.text();
    assert!(text.lines().count() < 290, "{text}");
    assert!(
        text.contains("    … the last 20 lines; all of it: fleet logs 20261120T105230Z-1f9c03ab t0\n    t0 says 11\n")
    );
    assert!(!text.contains("t0 says 10\n") && text.contains("t9 says 30\n") && !text.contains("t10 says"));
    assert!(text.contains("and 250 more; all of them: fleet status 20261120T105230Z-1f9c03ab\n"));
    assert!(text.contains("to rerun       fleet run\n"), "{text}");
}

#[test]
fn allowed_failures_come_last_and_are_not_rerun_and_neither_are_handlers() {
    let mut world = World::new(&["flaky", "test", "clean up"]);
    let (flaky, test, handler) = (world.task("flaky"), world.task("test"), world.task("clean up"));
    world.fleet.tasks[flaky].allow_failure = true;
    world.fleet.tasks[test].on_failure = Box::new([handler]);
    let written = Written::default();
    let mut sink = Human::new(options(written.clone(), OutputMode::Quiet));
    world.fail(&mut sink, "flaky", FailureKind::Task, "exit code 3, expected 0");
    world.fail(&mut sink, "test", FailureKind::Transport, "the program `x` could not be started");
    world.settle(&mut sink, "clean up", TaskResult::Timeout, Some(FailureKind::Task), Some("over its timeout of 1s"));
    world.end(&mut sink, ExitCode::Infrastructure, &[]);
    insta::assert_snapshot!(written.text(), @"
    fail     test  0ms  transport: the program `x` could not be started
    timeout  clean up  0ms  task: over its timeout of 1s
    fail     flaky  0ms  task: exit code 3, expected 0  (allowed)

    to rerun       fleet run test
    2 failed, 1 timed out in 0ms  20261120T105230Z-1f9c03ab
    exit 9: infrastructure or transport failed
    ");
}

#[test]
fn parts_of_lines_wait_for_their_end() {
    let mut world = World::new(&["a", "b"]);
    let written = Written::default();
    let mut sink = Human::new(options(written.clone(), OutputMode::Stream));
    world.print(&mut sink, "a", b"one, ");
    world.print(&mut sink, "b", b"b's own\n\n");
    world.print_to(&mut sink, "a", Stream::Stderr, b"error\nhalf");
    world.print(&mut sink, "a", b"two\nthree");
    world.tick(&mut sink);
    assert_eq!(written.text(), "b | b's own\nb | \na | error\na | one, two\n");
    world.pass(&mut sink, "a");
    world.tick(&mut sink);
    assert!(written.text().contains("a | three\na | half\npass "), "{}", written.text());
}

#[test]
fn a_line_without_an_end_takes_little_memory() {
    let world = World::new(&["a"]);
    let written = Written::default();
    let mut sink = Human::new(options(written.clone(), OutputMode::Stream));
    for _ in 0..1_000 {
        let (task, attempt) = (world.task("a"), Attempt::FIRST);
        world.tell(&mut sink, Event::Output { task, attempt, stream: Stream::Stdout, bytes: &[b'x'; 1_000] }).unwrap();
    }
    assert!(written.bytes() > 800_000, "{}", written.bytes());
}

#[test]
fn a_log_that_is_gone_is_said_and_does_not_end_the_report() {
    let mut world = World::new(&["a"]);
    let written = Written::default();
    let mut sink = Human::new(options(written.clone(), OutputMode::Grouped));
    world.print(&mut sink, "a", b"x\n");
    let log = world.view().run_dir.join("logs/a.1.log");
    let mut receipt = super::testing::receipt(world.view().run, "a", TaskResult::Pass);
    receipt.log = Some(crate::protocol::receipt::LogRef {
        path: "logs/a.1.log".into(),
        digest: crate::digest::Digest::of(b"x\n"),
        bytes: 2,
        truncated: false,
    });
    std::fs::remove_file(log).unwrap();
    let task = world.task("a");
    world.tell(&mut sink, Event::Settled { task, receipt: &receipt }).unwrap();
    world.end(&mut sink, ExitCode::Passed, &[]);
    assert!(written.text().contains("--- a\n(the log could not be read: No such file"), "{}", written.text());
}

#[test]
fn one_closed_pipe_is_an_error_and_the_other_sinks_go_on() {
    let mut world = World::new(&["a", "b"]);
    let written = Written::default();
    let mut sinks = Sinks::default()
        .with(Json::new(Box::new(Closed)))
        .with(Human::new(options(written.clone(), OutputMode::Grouped)));
    world.start(&mut sinks, "a");
    let error = sinks.tick(&world.view(), crate::time::Millis(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    world.pass(&mut sinks, "a");
    world.start(&mut sinks, "b");
    world.tick(&mut sinks);
    assert!(written.text().ends_with("start    b\n"), "{}", written.text());
}

#[test]
fn json_is_one_event_a_line_and_the_last_has_the_receipt() {
    let mut world = World::new(&["build", "lint", "test", "publish"]);
    let written = Written::default();
    tell(&mut world, &mut Json::new(Box::new(written.clone())));
    let events: Vec<serde_json::Value> =
        written.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let states: Vec<_> = events.iter().map(|e| format!("{} {}", e["task_id"], e["state"]).replace('"', "")).collect();
    assert_eq!(states.len(), 13, "{states:?}");
    assert_eq!(states[..3], ["build queued", "build starting", "build running"]);
    assert_eq!(states[11..], ["test failed", "publish cancelled"]);
    assert_eq!(events[11]["extra"]["receipt"]["result"], "fail");
}

/// A terminal on which both the display and the text appear, as a person has them.
#[derive(Clone, Debug)]
struct Screen(InMemoryTerm);

impl std::io::Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        use indicatif::TermLike as _;
        self.0.write_str(&String::from_utf8_lossy(bytes).replace('\n', "\r\n"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn on_screen(size: fn() -> (u16, u16), output: OutputMode) -> (InMemoryTerm, Human) {
    let (rows, columns) = size();
    let term = InMemoryTerm::new(rows, columns);
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(term.clone()), 255);
    let screen = Screen(term.clone());
    let live = Some((target, Paint::OFF));
    (term, Human::new(Options { terminal: true, size, live, ..options(screen, output) }))
}

#[test]
fn the_display_shows_what_runs_below_what_was_printed_and_leaves_nothing() {
    let mut world = World::new(&["build", "lint", "test", "publish"]);
    let (term, mut sink) = on_screen(|| (24, 72), OutputMode::Grouped);
    world.begin(&mut sink);
    world.start(&mut sink, "build");
    world.wait(1_500);
    world.start(&mut sink, "lint");
    world.print(&mut sink, "build", b"compiling\n");
    world.wait(2_000);
    world.tick(&mut sink);
    insta::assert_snapshot!(term.contents(), @"
    run      20261120T105230Z-1f9c03ab  4 tasks of fleet.toml
         3.5s build
         2.0s lint
     [>                       ] 0/4  2 running  3.5s
    ");
    world.pass(&mut sink, "build");
    world.pass(&mut sink, "lint");
    world.start(&mut sink, "test");
    world.wait(90_000);
    world.tick(&mut sink);
    insta::assert_snapshot!(term.contents(), @"
    run      20261120T105230Z-1f9c03ab  4 tasks of fleet.toml
    --- build
    compiling
    pass     build  3.5s
        1m30s test
     [============>           ] 2/4  1 running  1m33s
    ");
    world.fail(&mut sink, "test", FailureKind::Task, "exit code 1, expected 0");
    world.skip(&mut sink, "publish", "needs test, which failed");
    world.end(&mut sink, ExitCode::Failed, &["build", "test"]);
    insta::assert_snapshot!(term.contents(), @"
    run      20261120T105230Z-1f9c03ab  4 tasks of fleet.toml
    --- build
    compiling
    pass     build  3.5s
    fail     test  1m30s  task: exit code 1, expected 0

    slowest        test 1m30s, build 3.5s, lint 2.0s
    critical path  build 3.5s → test 1m30s = 1m33s of 1m33s wall
    to rerun       fleet run test
    2 passed, 1 failed, 1 skipped in 1m33s  20261120T105230Z-1f9c03ab
    ");
}

#[test]
fn a_file_gets_every_line_though_a_terminal_shows_the_display() {
    let term = InMemoryTerm::new(24, 80);
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(term.clone()), 255);
    let with = shown(|to| Options { live: Some((target, Paint::OFF)), ..options(to, OutputMode::OnFail) });
    assert_eq!(with, shown(|to| options(to, OutputMode::OnFail)));
}

#[test]
fn the_display_fits_a_small_window() {
    let names: Vec<String> = (0..40).map(|n| format!("a-task-with-a-long-name-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&names);
    let (term, mut sink) = on_screen(|| (10, 30), OutputMode::OnFail);
    for name in &names[..20] {
        world.start(&mut sink, name);
    }
    world.skip(&mut sink, names[30], "not wanted");
    world.wait(200);
    world.tick(&mut sink);
    insta::assert_snapshot!(term.contents(), @"
       200ms a-task-with-a-long
       200ms a-task-with-a-long
       200ms a-task-with-a-long
             and 17 more
    [>         ] 1/40  200ms
    ");
}

#[test]
fn an_event_costs_little_when_nothing_of_it_is_shown() {
    let mut world = World::new(&["a"]);
    let (task, attempt, worker) = (world.task("a"), Attempt::FIRST, WorkerId::from_index(0));
    let receipt = super::testing::receipt(world.view().run, "a", TaskResult::Pass);
    for output in [OutputMode::Quiet, OutputMode::Grouped] {
        let mut sink = Human::new(options(std::io::sink(), output));
        let began = std::time::Instant::now();
        for _ in 0..10_000 {
            world.tell(&mut sink, Event::Queued { task }).unwrap();
            world.tell(&mut sink, Event::Starting { task, attempt, worker, placement: None }).unwrap();
            world.tell(&mut sink, Event::Running { task, attempt, pid: 1 }).unwrap();
            world.tell(&mut sink, Event::Settled { task, receipt: &receipt }).unwrap();
        }
        let each = began.elapsed() / 40_000;
        // Unoptimised and on a busy machine; a system call or a draw per event would be far above it.
        assert!(each < std::time::Duration::from_micros(30), "{each:?}");
        eprintln!("{output:?}: {each:?} an event");
    }
    world.wait(1);
}

#[test]
fn the_display_counts_what_waits_for_another_attempt() {
    let mut world = World::new(&["shaky", "other"]);
    let (task, attempt, worker) = (world.task("shaky"), Attempt(2), WorkerId::from_index(0));
    let (term, mut sink) = on_screen(|| (24, 80), OutputMode::OnFail);
    world.start(&mut sink, "shaky");
    world.start(&mut sink, "other");
    let record = AttemptRecord {
        result: TaskResult::Fail,
        failure_kind: Some(FailureKind::Task),
        cause: Some("exit code 1".to_owned()),
        log: None,
        ..crate::samples::full_receipt().attempts.remove(0)
    };
    let next = Next::Retry { attempt: 2, of: 3, wait: std::time::Duration::from_millis(4200) };
    world.tell(&mut sink, Event::Restarted { task, record: &record, next }).unwrap();
    world.wait(200);
    world.tick(&mut sink);
    insta::assert_snapshot!(term.contents(), @"
    retry    shaky  2/3 in 4.2s  task: exit code 1
        200ms other
     [>                       ] 0/2  1 running, 1 to retry  200ms
    ");
    world.tell(&mut sink, Event::Starting { task, attempt, worker, placement: None }).unwrap();
    world.tick(&mut sink);
    let bar = " [>                       ] 0/2  2 running  200ms";
    assert!(term.contents().ends_with(bar), "{}", term.contents());
}
